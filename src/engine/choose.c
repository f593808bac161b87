/* What the caller wrote becomes what the rooms below take: names become kernels, a disk, number formats; a name or a number that
 * cannot be is refused here, with the flag and the choices. */
#include "engine/inside.h"

#include <string.h>

enum { MAX_CHUNK = 1 << 16 };

static ErrCode choose_policy(const char *name, CachePolicy *policy, Err *err) {
    char words[128];
    if (!name || strcmp(name, "auto") == 0) *policy = cache_policy_default();
    else if (!cache_policy_from_name(name, policy))
        return err_set(err, ERR_USAGE, "--policy %s: choose %s", name, words_of("auto|" CACHE_CHOICES, words, sizeof words));
    return ERR_OK;
}

ErrCode engine_choose(sluice_model *m, ForwardConfig *forward, Err *err) {
    static const Word kv[] = {{"f32", QUANT_F32}, {"f16", QUANT_F16}, {"q8_0", QUANT_Q8_0}};
    static const Word lookahead[] = {{"auto", FORWARD_AHEAD_AUTO}, {"on", FORWARD_AHEAD_ON}, {"off", FORWARD_AHEAD_OFF}};
    const sluice_options *o = &m->options;
    int kv_type = 0, ahead = 0;
    ErrCode code = kernels_choose(o->cpu, &m->kernels, err);
    if (!code) code = word_value("--kv", kv, COUNT_OF(kv), o->kv, &kv_type, err);
    if (!code) code = choose_policy(o->policy, &m->policy, err);
    if (!code) code = word_value("--lookahead", lookahead, COUNT_OF(lookahead), o->lookahead, &ahead, err);
    if (!code) code = engine_check_io(o, &(DiskChoose){0}, err);
    *forward = (ForwardConfig){.kernels = m->kernels, .precise = o->precise, .kv_type = (QuantType)kv_type,
                               .lookahead = (ForwardLookahead)ahead};
    return code;
}

ErrCode engine_check_kv(QuantType type, const ModelShape *s, Err *err) {
    uint32_t block = quant_traits(type)->block_elems;
    if (s->head_dim % block == 0) return ERR_OK;
    return err_set(err, ERR_UNSUPPORTED, "--kv q8_0 needs heads in blocks of %u, and those of this model are %u wide; choose f32 or f16",
                   block, s->head_dim);
}

static ErrCode in_range(const char *flag, int value, int64_t most, const char *of_what, Err *err) {
    if (value >= 0 && value <= most) return ERR_OK;
    return err_set(err, ERR_USAGE, "%s %d: must be from 1 to %lld%s", flag, value, (long long)most, of_what);
}

ErrCode engine_check_numbers(const sluice_model *m, Err *err) {
    const sluice_options *o = &m->options;
    ErrCode code = in_range("--threads", o->threads, 1024, "", err);
    if (!code) code = in_range("--ctx", o->ctx, 1 << 24, "", err);
    if (!code) code = in_range("--chunk", o->chunk, MAX_CHUNK, "", err);
    if (!code) code = in_range("--experts", o->experts, m->model->shape.n_experts, ", the number of experts of this model", err);
    if (!code) code = in_range("sessions", o->sessions, 1024, "", err);
    if (!code) code = in_range("cache slots", o->cache_slots, INT32_MAX, "", err);
    return code;
}
