/* The numbers that go into the memory plan: what the process holds already, and what model, sessions and buffers will take. The plan itself
 * is a pure function of them (plan.c). */
#include "engine/inside.h"

#include <string.h>

_Static_assert((int)MODEL_GATE == (int)STORE_GATE && (int)MODEL_UP == (int)STORE_UP && (int)MODEL_DOWN == (int)STORE_DOWN &&
               (int)MODEL_MATS == (int)STORE_PARTS, "the store reads the model's table of experts");

enum { LEAST_CHUNK = 16 };

uint64_t engine_budget(const sluice_model *m) {
    if (m->options.ram_bytes) return m->options.ram_bytes;
    OsMemory memory;
    os_memory(&memory);
    return engine_default_budget(memory.budget);
}

uint64_t engine_logits_bytes(const sluice_model *m) { return (uint64_t)ENGINE_LOGIT_ROWS * m->model->shape.vocab * sizeof(float); }

/* One session beside its state: ids, logits, the sampler, its place in a step. */
static uint64_t session_bytes(const sluice_model *m) {
    uint32_t vocab = m->model->shape.vocab;
    uint64_t feeding = sizeof *m->segments + sizeof *m->stepping;
    return m->ctx * sizeof(int32_t) + vocab * sizeof(float) + engine_sampler_bytes(vocab) + engine_drafts_bytes(m) + feeding;
}

StoreConfig engine_store_config(const sluice_model *m, const ForwardConfig *forward) {
    return (StoreConfig){.n_layers = (int)model_expert_layers(m->model), .n_experts = (int)m->model->shape.n_experts,
                         .parts = m->model->records, .disk = m->disk, .policy = m->policy, .floor = m->top_k,
                         .hint_slots = forward->lookahead == FORWARD_AHEAD_OFF ? 0 : m->model->shape.n_experts};
}

/* Tables of the store for as many slots as there can be. */
static uint64_t store_tables(const sluice_model *m, const ForwardConfig *forward, const EnginePlanInput *in) {
    uint64_t slots = in->slots_wanted ? in->slots_wanted : in->slot_bytes ? in->ram_bytes / in->slot_bytes : 0;
    StoreConfig config = engine_store_config(m, forward);
    return store_bytes(&config, slots < in->experts_total ? (uint32_t)slots : in->experts_total);
}

static uint32_t shorter(uint32_t chunk) {
    uint32_t three_quarters = chunk - chunk / 4;
    return three_quarters > LEAST_CHUNK ? three_quarters : LEAST_CHUNK;
}

/* All but what depends on the chunk. A sketch has no threads of its own and tells what another process will hold. */
static EnginePlanInput fixed_numbers(const sluice_model *m, const ForwardConfig *forward) {
    const sluice_options *o = &m->options;
    EnginePlanInput in = {
        .ram_bytes = engine_budget(m),
        .base_bytes = m->pool ? os_rss_now() : m->sketch_base,
        .peak_bytes = m->pool ? os_rss_peak() : m->sketch_peak,
        .dense_bytes = m->model->dense_bytes,
        .text_bytes = m->text_bytes,
        .other_bytes = o->other_bytes,
        .snapshot_bytes = o->snapshot_bytes,
        .slot_bytes = m->slot_bytes,
        .experts_total = model_expert_layers(m->model) * m->model->shape.n_experts,
        .slots_wanted = (uint32_t)o->cache_slots,
        .slots_min = ENGINE_MIN_SLOTS,
        .threads = m->pool ? os_pool_threads(m->pool) : m->sketch_threads,
        .ctx = m->ctx,
        .ctx_step = KERNELS_KEY_BLOCK,
    };
    if (in.slots_wanted > in.experts_total) in.slots_wanted = in.experts_total;
    if (in.slots_wanted == 1) in.slots_wanted = ENGINE_MIN_SLOTS;
    in.base_bytes += store_tables(m, forward, &in);
    return in;
}

/* What all sessions take, and the buffers of a step, at this chunk. */
static void add_chunk(const sluice_model *m, const ForwardConfig *forward, EnginePlanInput *in) {
    uint64_t sessions = (uint64_t)m->max_sessions;
    ForwardSizes sizes = forward_sizes(forward, in->threads);
    in->buffers_bytes = sizes.buffers + engine_logits_bytes(m) + sessions * session_bytes(m);
    in->state_bytes = sizes.state * sessions;
    in->kv_bytes = sizes.kv * sessions;
    in->position_bytes = (sizes.position + sizeof(int32_t)) * sessions;
}

/* Every chunk reads nearly every expert once more, so a long one is worth memory that the cache loses: a chunk that was not asked for
 * shrinks only until its buffers are at most a sixteenth of the budget, and while nothing else fits. */
static ErrCode plan_chunk(sluice_model *m, ForwardConfig *forward, EnginePlanInput *in, Err *err) {
    for (;; forward->chunk = shorter(forward->chunk)) {
        add_chunk(m, forward, in);
        bool fixed = m->options.chunk || forward->chunk <= LEAST_CHUNK;
        if (!fixed && in->buffers_bytes > in->ram_bytes / 16) continue;
        ErrCode code = engine_plan(in, &m->plan, err);
        if (!code || fixed) return code;
    }
}

/* Where the choice is ours: a sixteenth of the budget too, if that is not more than four whole sessions. */
static uint64_t snapshots_wanted(const sluice_model *m, const ForwardConfig *forward, const EnginePlanInput *in) {
    ForwardSizes sizes = forward_sizes(forward, in->threads);
    uint64_t sessions = 4 * (sizes.state + sizes.kv + m->ctx * sizeof(int32_t) + m->model->shape.vocab * sizeof(float));
    return sessions < in->ram_bytes / 16 ? sessions : in->ram_bytes / 16;
}

ErrCode engine_make_plan(sluice_model *m, ForwardConfig *forward, Err *err) {
    const uint32_t longest = forward->chunk;
    const bool choose = m->options.snapshot_bytes == SLUICE_SNAPSHOTS_AUTO;
    EnginePlanInput in = fixed_numbers(m, forward);
    if (choose) in.snapshot_bytes = snapshots_wanted(m, forward, &in);
    ErrCode code = plan_chunk(m, forward, &in, err);
    if (code && choose) {
        in.snapshot_bytes = 0;
        forward->chunk = longest;
        code = plan_chunk(m, forward, &in, err);
    }
    if (!code && err) memset(err, 0, sizeof *err); /* a larger chunk may have been refused before */
    m->chunk = forward->chunk;
    return code;
}
