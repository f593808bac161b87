/* Opening a model, in this order: the headers (head.c), the memory plan (budget.c, plan.c), then the large allocations and what is read
 * into them. */
#include "engine/inside.h"

#include <string.h>

_Static_assert((int)SLUICE_HIT == (int)STORE_HIT && (int)SLUICE_READ_AHEAD == (int)STORE_AHEAD && (int)SLUICE_MISS == (int)STORE_MISS,
               "a probe is told what the store says");

void sluice_options_init(sluice_options *o) { memset(o, 0, sizeof *o); }

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

static ErrCode take_weights(sluice_model *m, Err *err) {
    ErrCode code = engine_watch_opening(m, m->plan.dense_bytes, err);
    if (code) return code;
    m->dense = os_pages_new(m->plan.dense_bytes, err);
    if (!m->dense) return err->code;
    /* before a byte is read, so that a limit that is too small shows at once */
    if (m->options.mlock && os_pages_lock(m->dense, m->plan.dense_bytes, err)) return err_prefix(err, "--mlock");
    code = load_dense(m, err);
    return code ? code : engine_watch_opening(m, 0, err);
}

static ErrCode take_cache(sluice_model *m, const ForwardConfig *forward, Err *err) {
    StoreConfig store = engine_store_config(m, forward);
    store.slab_bytes = m->plan.cache_bytes;
    store.filling = engine_watch_filling;
    store.user = m;
    m->store = store_new(&store, err);
    if (!m->store) return err->code;
    engine_watch_opened(m);
    return ERR_OK;
}

/* Of a step, and of what a step leaves. */
static ErrCode take_buffers(sluice_model *m, ForwardConfig *forward, Err *err) {
    forward->store = m->store;
    m->forward = forward_new(forward, err);
    if (!m->forward) return err->code;
    m->logits_bytes = engine_logits_bytes(m);
    m->logits = os_pages_new(m->logits_bytes, err);
    if (!m->logits) return err->code;
    m->segments = MEM_NEW(ForwardSegment, (size_t)m->max_sessions);
    m->stepping = MEM_NEW(sluice_session *, (size_t)m->max_sessions);
    if (!m->segments || !m->stepping) return err_no_memory(err, (uint64_t)m->max_sessions * sizeof *m->segments, "the steps of sessions");
    return ERR_OK;
}

static ErrCode allocate(sluice_model *m, ForwardConfig *forward, Err *err) {
    warn_of_overcommit(m);
    engine_watch_start(m);
    ErrCode code = take_weights(m, err);
    if (!code) code = take_cache(m, forward, err);
    if (!code) code = take_buffers(m, forward, err);
    if (!code) engine_choose_threads(m);
    return code;
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
