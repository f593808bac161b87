/* One step of the network: the file to read first. Arrays are [tokens of the step][...], and a weight is read once per step. */
#include "forward/inside.h"

#include <string.h>

static void embed(Forward *f, const int32_t *ids) {
    const ModelMat *e = &f->c.model->embedding;
    for (uint32_t t = 0; t < f->n; t++)
        quant_decode(e->type, e->data + (uint64_t)ids[t] * e->row_bytes, f->x + (uint64_t)t * f->s->hidden, f->s->hidden);
}

static void add_mix_task(void *arg, int task, int worker) {
    (void)worker;
    Forward *f = arg;
    uint64_t at = (uint64_t)task * f->s->hidden;
    f->c.kernels->add(f->x + at, f->mix + at, f->s->hidden);
}

void forward_add_mix(Forward *f) { os_pool_run(f->c.pool, (int)f->n, add_mix_task, f); }

static void report_routing(Forward *f, const ForwardProbe *probe, uint32_t layer, uint32_t position) {
    uint32_t k = f->c.top_k;
    Section section = forward_enter(f, SECTION_OUTSIDE);
    for (uint32_t t = 0; t < f->n; t++)
        probe->routing(probe->user, layer, position + t, k, f->top_ids + (uint64_t)t * k, f->top_w + (uint64_t)t * k);
    forward_enter(f, section);
}

static void report_hidden(Forward *f, const ForwardProbe *probe, uint32_t layer, uint32_t position) {
    Section section = forward_enter(f, SECTION_OUTSIDE);
    probe->hidden(probe->user, layer, position, f->n, f->x);
    forward_enter(f, section);
}

static uint64_t waited(const Forward *f) {
    StoreStats stats;
    store_stats(f->c.store, &stats);
    return stats.wait_ns;
}

/* The experts, and the probe's report of what they cost. */
static ErrCode run_experts(Forward *f, const ForwardState *s, const ForwardProbe *probe, uint32_t l, uint32_t n_wanted, Err *err) {
    bool report = probe && probe->fetch;
    uint64_t before = report ? waited(f) : 0;
    ErrCode code = forward_experts(f, &f->c.model->layers[l], l, n_wanted, err);
    if (code || !report) return code;
    Section section = forward_enter(f, SECTION_OUTSIDE);
    probe->fetch(probe->user, l, s->position, f->n, n_wanted, f->wanted, store_last_hits(f->c.store), waited(f) - before);
    forward_enter(f, section);
    return code;
}

static ErrCode run_layers(Forward *f, ForwardState *s, const ForwardProbe *probe, Err *err) {
    uint32_t linear_index = 0, full_index = 0;
    for (uint32_t l = 0; l < f->s->n_layers; l++) {
        const ModelLayer *layer = &f->c.model->layers[l];
        bool stop = probe && probe->keep_going && !probe->keep_going(probe->user);
        if (stop && (l == 0 || f->n > SHORT_STEP)) return err_set(err, ERR_INTERRUPTED, "interrupted");

        forward_norm_in(f, layer->norm_in);
        if (layer->linear) forward_linear(f, s, layer, linear_index++);
        else forward_attention(f, s, layer, full_index++);
        forward_add_mix(f);

        forward_norm_in(f, layer->norm_post);
        uint32_t n_wanted;
        ErrCode code = forward_route(f, layer, &n_wanted, err);
        if (!code) forward_ahead_check(f, l);
        if (!code && probe && probe->routing) report_routing(f, probe, l, s->position);
        if (!code) code = run_experts(f, s, probe, l, n_wanted, err);
        if (code == ERR_RANGE) err_prefix(err, "layer %u", l); /* a failed read already names layer and expert */
        if (code) return code;
        forward_add_mix(f);

        if (probe && probe->hidden) report_hidden(f, probe, l, s->position);
    }
    return ERR_OK;
}

static ErrCode check_request(const Forward *f, const ForwardState *s, const int32_t *ids, uint32_t n, Err *err) {
    if (s->broken)
        return err_set(err, ERR_STATE, "the session stopped in the middle of a step; reset it or restore a snapshot");
    if (n == 0 || n > f->c.chunk) return err_set(err, ERR_RANGE, "a step takes 1 to %u tokens, not %u", f->c.chunk, n);
    if (n > f->c.ctx - s->position)
        return err_set(err, ERR_RANGE, "the context is full: it holds %u tokens, %u are there and %u more were given; raise --ctx",
                       f->c.ctx, s->position, n);
    for (uint32_t t = 0; t < n; t++)
        if (ids[t] < 0 || (uint32_t)ids[t] >= f->s->vocab)
            return err_set(err, ERR_RANGE, "token id %d is outside the vocabulary of %u", ids[t], f->s->vocab);
    return ERR_OK;
}

ErrCode forward_step(Forward *f, ForwardState *s, const int32_t *ids, uint32_t n, const ForwardProbe *probe, Err *err) {
    ErrCode code = check_request(f, s, ids, n, err);
    if (code) return code;
    f->n = n;
    f->mark = s->mark < n ? s->mark : 0;
    s->mark = 0;
    s->marked_position = s->position + f->mark;
    s->broken = true; /* until the step is through */
    forward_enter(f, SECTION_DENSE);
    if (n > SHORT_STEP) memcpy(f->kept, s->delta, s->recurrent_bytes);
    forward_ahead_begin(f);
    embed(f, ids);
    forward_rope_table(f, s->position);
    code = run_layers(f, s, probe, err);
    forward_ahead_end(f, code == ERR_OK);
    forward_enter(f, SECTION_OUTSIDE);
    if (code == ERR_INTERRUPTED) {
        /* as if the step had not been: keys and values beyond the position are never read */
        if (n > SHORT_STEP) memcpy(s->delta, f->kept, s->recurrent_bytes);
        s->broken = false;
    }
    if (code) return code;
    store_step(f->c.store, n);
    s->position += n;
    s->broken = false;
    return ERR_OK;
}

void forward_logits(Forward *f, uint32_t first, uint32_t n, float *out) {
    const Model *m = f->c.model;
    forward_enter(f, SECTION_DENSE);
    for (uint32_t t = first; t < first + n; t++) {
        uint64_t at = (uint64_t)t * f->s->hidden;
        f->c.kernels->rms_norm(f->in.x + at, f->x + at, m->norm_out, f->s->eps, f->s->hidden);
        forward_row_ready(f, &f->in, t);
    }
    forward_matmul(f, &m->head, f->in.acts + first, n, out, f->s->vocab);
    forward_enter(f, SECTION_OUTSIDE);
}

void forward_times(const Forward *f, ForwardTimes *times) {
    *times = (ForwardTimes){.dense_ns = f->section_ns[SECTION_DENSE],
                            .expert_ns = f->section_ns[SECTION_EXPERT],
                            .store_ns = f->section_ns[SECTION_STORE]};
}

void forward_times_reset(Forward *f) {
    memset(f->section_ns, 0, sizeof f->section_ns);
    f->ahead.guesses = (ForwardGuesses){0, 0};
}
