/* Opening a model: headers, plan, then the large allocations, in this order. */
#include "engine/inside.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SAME_CODE(a, b) _Static_assert((int)a == (int)b, "sluice_code follows ErrCode")
SAME_CODE(SLUICE_USAGE, ERR_USAGE);
SAME_CODE(SLUICE_MEMORY, ERR_MEMORY);
SAME_CODE(SLUICE_STATE, ERR_STATE);
SAME_CODE(SLUICE_INTERRUPTED, ERR_INTERRUPTED);
_Static_assert((int)MODEL_GATE == (int)STORE_GATE && (int)MODEL_UP == (int)STORE_UP && (int)MODEL_DOWN == (int)STORE_DOWN &&
               (int)MODEL_MATS == (int)STORE_PARTS, "the store reads the model's table of experts");
_Static_assert((int)SLUICE_HIT == (int)STORE_HIT && (int)SLUICE_READ_AHEAD == (int)STORE_AHEAD && (int)SLUICE_MISS == (int)STORE_MISS,
               "a probe is told what the store says");

enum { DEFAULT_CTX = 4096, DEFAULT_CHUNK = 4096, LEAST_CHUNK = 16 };

int engine_fail(sluice_error *out, const Err *err) {
    if (out) {
        out->code = (int)err->code;
        snprintf(out->message, sizeof out->message, "%s", err->text);
    }
    return (int)err->code;
}

int engine_refuse(sluice_error *out, ErrCode code, const char *fmt, ...) {
    if (out) {
        va_list args;
        out->code = (int)code;
        va_start(args, fmt);
        vsnprintf(out->message, sizeof out->message, fmt, args);
        va_end(args);
    }
    return (int)code;
}

void sluice_options_init(sluice_options *o) { memset(o, 0, sizeof *o); }

/* ---- the plan ---- */

static uint64_t measured_budget(void) {
    OsMemory memory;
    os_memory(&memory);
    return engine_default_budget(memory.budget);
}

static ErrCode describe_records(sluice_model *m, Err *err) {
    ErrCode code = m->pool ? engine_open_disk(m, err) : ERR_OK; /* a sketch has neither */
    if (!code && m->disk) code = engine_add_mirrors(m, err);
    if (code) return code;
    m->slot_bytes = store_slot_bytes(m->model->records, (size_t)model_expert_layers(m->model) * m->model->shape.n_experts, m->disk);
    return ERR_OK;
}

static uint64_t logits_bytes(const sluice_model *m) { return (uint64_t)ENGINE_LOGIT_ROWS * m->model->shape.vocab * sizeof(float); }

/* One session beside its state: ids, logits, the sampler, its place in a step. */
static uint64_t session_bytes(const sluice_model *m) {
    uint32_t vocab = m->model->shape.vocab;
    uint64_t feeding = sizeof *m->segments + sizeof *m->stepping;
    return m->ctx * sizeof(int32_t) + vocab * sizeof(float) + engine_sampler_bytes(vocab) + engine_drafts_bytes(m) + feeding;
}

static StoreConfig store_config(const sluice_model *m, const ForwardConfig *forward) {
    return (StoreConfig){.n_layers = (int)model_expert_layers(m->model), .n_experts = (int)m->model->shape.n_experts,
                         .parts = m->model->records, .disk = m->disk, .policy = m->policy, .floor = m->top_k,
                         .hint_slots = forward->lookahead == FORWARD_AHEAD_OFF ? 0 : m->model->shape.n_experts};
}

/* Tables of the store for as many slots as there can be. */
static uint64_t store_tables(const sluice_model *m, const ForwardConfig *forward, const EnginePlanInput *in) {
    uint64_t slots = in->slots_wanted ? in->slots_wanted : in->slot_bytes ? in->ram_bytes / in->slot_bytes : 0;
    StoreConfig config = store_config(m, forward);
    return store_bytes(&config, slots < in->experts_total ? (uint32_t)slots : in->experts_total);
}

static uint32_t shorter(uint32_t chunk) {
    uint32_t three_quarters = chunk - chunk / 4;
    return three_quarters > LEAST_CHUNK ? three_quarters : LEAST_CHUNK;
}

ErrCode engine_make_plan(sluice_model *m, ForwardConfig *forward, Err *err) {
    const sluice_options *o = &m->options;
    const ModelShape *s = &m->model->shape;
    ErrCode code = ERR_OK;
    uint64_t sessions = (uint64_t)m->max_sessions;
    EnginePlanInput in = {
        .ram_bytes = o->ram_bytes ? o->ram_bytes : measured_budget(),
        .base_bytes = m->pool ? os_rss_now() : m->sketch_base,
        .peak_bytes = m->pool ? os_rss_peak() : m->sketch_peak,
        .dense_bytes = m->model->dense_bytes,
        .text_bytes = m->text_bytes,
        .snapshot_bytes = o->snapshot_bytes,
        .slot_bytes = m->slot_bytes,
        .experts_total = model_expert_layers(m->model) * s->n_experts,
        .slots_wanted = (uint32_t)o->cache_slots,
        .slots_min = ENGINE_MIN_SLOTS,
        .threads = m->pool ? os_pool_threads(m->pool) : m->sketch_threads,
        .ctx = forward->ctx,
        .ctx_step = KERNELS_KEY_BLOCK,
    };
    if (in.slots_wanted > in.experts_total) in.slots_wanted = in.experts_total;
    if (in.slots_wanted == 1) in.slots_wanted = ENGINE_MIN_SLOTS;
    in.base_bytes += store_tables(m, forward, &in);
    /* Every chunk reads nearly every expert once more, so a long one is worth memory that the cache loses: a chunk that was not asked
     * for shrinks only until its buffers are at most a sixteenth of the budget, and while nothing else fits. */
    for (;; forward->chunk = shorter(forward->chunk)) {
        ForwardSizes sizes = forward_sizes(forward, in.threads);
        in.buffers_bytes = sizes.buffers + logits_bytes(m) + sessions * session_bytes(m);
        in.state_bytes = sizes.state * sessions;
        in.kv_bytes = sizes.kv * sessions;
        in.position_bytes = (sizes.position + sizeof(int32_t)) * sessions;
        bool fixed = o->chunk || forward->chunk <= LEAST_CHUNK;
        if (!fixed && in.buffers_bytes > in.ram_bytes / 16) continue;
        code = engine_plan(&in, &m->plan, err);
        if (!code || fixed) break;
    }
    if (!code && err) memset(err, 0, sizeof *err); /* a larger chunk may have been refused before */
    m->chunk = forward->chunk;
    return code;
}

/* ---- opening ---- */

/* Loading as it is watched: by the caller, and by the engine whether there is still memory for the rest. */
typedef struct Loading {
    sluice_model *m;
    uint64_t looked_at; /* bytes that were loaded when memory was last read */
    bool short_of_memory;
    Err *err;
} Loading;

static bool load_progress(void *user, uint64_t done, uint64_t total) {
    enum { OFTEN = 16 << 20 };
    Loading *l = user;
    const sluice_options *o = &l->m->options;
    if (o->progress && !o->progress(o->user, "load", done, total)) return false;
    uint64_t every = total / 8 < OFTEN ? total / 8 : OFTEN;
    if (done - l->looked_at >= every && !o->mlock) { /* locked pages are there already */
        l->looked_at = done;
        l->short_of_memory = engine_watch_opening(l->m, total - done, l->err) != ERR_OK;
    }
    return !l->short_of_memory;
}

/* Memory is promised lazily: what a budget promises beyond the machine is not there when it is wanted. */
static void warn_of_overcommit(const sluice_model *m) {
    OsMemory memory;
    os_memory(&memory);
    uint64_t planned = m->plan.ram_bytes - m->plan.free_bytes;
    char a[32], b[32];
    if (planned > memory.budget)
        log_warn("the plan takes %s, but only %s are left now: the expert cache gets what is there; lower --ram",
                 format_size(planned, a), format_size(memory.budget, b));
}

/* Pieces on their way to the dense weights lie where slots, state and buffers will be, in half of it at the most. */
static ErrCode load_dense(sluice_model *m, Err *err) {
    enum { ENOUGH = 32 << 20 };
    const sluice_plan *p = &m->plan;
    Loading loading = {.m = m, .err = err};
    uint64_t later = p->cache_bytes + p->state_bytes + p->kv_bytes + p->buffers_bytes + p->free_bytes;
    ModelLoad how = {.disk = m->disk, .pool = m->pool, .buffer_bytes = later / 2 < ENOUGH ? later / 2 + 1 : ENOUGH,
                     .progress = load_progress, .user = &loading};
    Err stopped = {0};
    ErrCode code = model_load_dense(m->model, m->dense, &how, &stopped);
    if (code && !loading.short_of_memory) *err = stopped;
    disk_info(m->disk, &m->disk_before); /* what is counted begins here */
    return code ? err->code : ERR_OK;
}

static ErrCode allocate(sluice_model *m, ForwardConfig *forward, Err *err) {
    warn_of_overcommit(m);
    engine_watch_start(m);
    ErrCode code = engine_watch_opening(m, m->plan.dense_bytes, err);
    if (code) return code;
    m->dense = os_pages_new(m->plan.dense_bytes, err);
    if (!m->dense) return err->code;
    /* before a byte is read, so that a limit that is too small shows at once */
    if (m->options.mlock && os_pages_lock(m->dense, m->plan.dense_bytes, err)) return err_prefix(err, "--mlock");
    code = load_dense(m, err);
    if (!code) code = engine_watch_opening(m, 0, err);
    if (code) return code;
    StoreConfig store = store_config(m, forward);
    store.slab_bytes = m->plan.cache_bytes;
    store.filling = engine_watch_filling;
    store.user = m;
    m->store = store_new(&store, err);
    if (!m->store) return err->code;
    engine_watch_opened(m);
    forward->store = m->store;
    m->forward = forward_new(forward, err);
    if (!m->forward) return err->code;
    m->logits_bytes = logits_bytes(m);
    m->logits = os_pages_new(m->logits_bytes, err);
    if (!m->logits) return err->code;
    m->segments = MEM_NEW(ForwardSegment, (size_t)m->max_sessions);
    m->stepping = MEM_NEW(sluice_session *, (size_t)m->max_sessions);
    if (!m->segments || !m->stepping) return err_no_memory(err, (uint64_t)m->max_sessions * sizeof *m->segments, "the steps of sessions");
    engine_choose_threads(m);
    return ERR_OK;
}

/* Headers and choices: all that a plan needs. A sketch has neither disk nor threads. */
ErrCode engine_read_headers(sluice_model *m, ForwardConfig *forward, bool sketch, Err *err) {
    const sluice_options *o = &m->options;
    if (!o->model) return err_set(err, ERR_USAGE, "no model was named; give a GGUF file or a model folder");
    ErrCode code = engine_choose(m, forward, err);
    if (code) return code;
    m->format = o->embedded_bytes ? format_open_embedded(o->model, o->embedded_offset, o->embedded_bytes, err) : format_open(o->model, err);
    if (!m->format) return err->code;
    m->model = model_new(m->format, err);
    if (!m->model) return err->code;
    code = engine_choose_mtp(m, o->mtp, err);
    if (!code) code = engine_bind_mtp(m, o->ram_bytes ? o->ram_bytes : measured_budget(), err);
    if (!code && !sketch) code = format_hash(m->format, &m->hash, err);
    if (code) return code;
    format_drop_metadata(m->format); /* tens of megabytes that the plan would have to count */
    code = engine_check_numbers(m, err);
    if (!code) code = engine_check_kv(forward->kv_type, &m->model->shape, err);
    if (code) return code;
    if (!sketch) m->pool = os_pool_new(o->threads, err);
    if (!sketch && !m->pool) return err->code;
    const ModelShape *s = &m->model->shape;
    m->ctx = o->ctx ? (uint32_t)o->ctx : s->ctx_train && s->ctx_train < DEFAULT_CTX ? s->ctx_train : DEFAULT_CTX;
    m->kv_type = forward->kv_type;
    m->precise = o->precise;
    m->top_k = o->experts ? (uint32_t)o->experts : s->top_k;
    m->max_sessions = o->sessions ? o->sessions : 1;
    /* a prompt of some 100 KB, or of 12 KB beside a model that is itself tiny */
    m->text_bytes = m->model->dense_bytes < (UINT64_C(64) << 20) ? UINT64_C(512) << 10 : UINT64_C(4) << 20;
    if (o->text_bytes > m->text_bytes) m->text_bytes = o->text_bytes;
    forward->model = m->model;
    forward->pool = m->pool;
    forward->ctx = m->ctx;
    forward->segments = (uint32_t)m->max_sessions;
    forward->chunk = o->chunk ? (uint32_t)o->chunk : DEFAULT_CHUNK;
    if (forward->chunk > m->ctx) forward->chunk = m->ctx;
    forward->top_k = m->top_k;
    forward->mtp = m->model->mtp.bound;
    return describe_records(m, err);
}

static ErrCode open_model(sluice_model *m, Err *err) {
    ForwardConfig forward;
    ErrCode code = engine_read_headers(m, &forward, false, err);
    if (!code) code = engine_make_plan(m, &forward, err);
    return code ? code : allocate(m, &forward, err);
}

sluice_model *sluice_open(const sluice_options *options, sluice_error *error) {
    Err err = {0};
    sluice_model *m = MEM_NEW(sluice_model, 1);
    if (!m) {
        err_no_memory(&err, sizeof *m, "a model");
        engine_fail(error, &err);
        return NULL;
    }
    m->options = *options;
    if (open_model(m, &err)) {
        engine_fail(error, &err);
        sluice_close(m);
        return NULL;
    }
    m->options = (sluice_options){.seed = options->seed, .progress = options->progress, .user = options->user};
    return m;
}

void sluice_close(sluice_model *m) {
    if (!m) return;
    engine_watch_stop(m);
    mem_free(m->segments);
    mem_free(m->stepping);
    os_pages_free(m->logits, m->logits_bytes);
    forward_free(m->forward);
    store_free(m->store);
    disk_free(m->disk);
    os_pool_free(m->pool);
    os_pages_free(m->dense, m->plan.dense_bytes);
    model_free(m->model);
    if (m->format) format_close(m->format);
    mem_free(m);
}
