/* Sessions: feed, logits, sample, snapshot. */
#include "engine/inside.h"

#include <math.h>
#include <string.h>

struct sluice_snapshot {
    sluice_model *model;
    uint32_t position;
    bool has_logits;
    uint64_t bytes;       /* of all of this */
    EngineRandom random;
    int32_t *ids;         /* [position] */
    float *logits;        /* [vocab] */
    void *state;          /* what forward_state_save wrote */
};

sluice_session *sluice_session_new(sluice_model *m, sluice_error *error) {
    Err err = {0};
    if (m->open_sessions >= m->max_sessions) {
        err_set(&err, ERR_STATE, "%d sessions are open and the memory plan has room for no more; set options.sessions", m->open_sessions);
        engine_fail(error, &err);
        return NULL;
    }
    sluice_session *s = MEM_NEW(sluice_session, 1);
    if (!s) {
        err_no_memory(&err, sizeof *s, "a session");
        engine_fail(error, &err);
        return NULL;
    }
    s->model = m;
    m->open_sessions++;
    s->ids = MEM_NEW(int32_t, m->ctx);
    s->logits = MEM_NEW(float, m->model->shape.vocab);
    s->sampler = engine_sampler_new(m->model->shape.vocab, m->options.seed, &err);
    if (!s->ids || !s->logits) err_no_memory(&err, (uint64_t)m->ctx * 4 + (uint64_t)m->model->shape.vocab * 4, "a session");
    if (!err.code && m->model->mtp.bound) s->drafts = engine_drafts_new(m, &err);
    if (!err.code) s->state = forward_state_new(m->forward, &err);
    if (err.code) {
        engine_fail(error, &err);
        sluice_session_free(s);
        return NULL;
    }
    return s;
}

void sluice_session_free(sluice_session *s) {
    if (!s) return;
    forward_state_free(s->state);
    engine_drafts_free(s->drafts);
    engine_sampler_free(s->sampler);
    mem_free(s->ids);
    mem_free(s->logits);
    s->model->open_sessions--;
    mem_free(s);
}

void sluice_session_reset(sluice_session *s) {
    engine_drafts_reset(s);
    forward_state_clear(s->state);
    s->has_logits = false;
}

/* Tokens fed, which is what the caller knows of. */
static uint32_t position_of(const sluice_session *s) { return forward_state_position(s->state) - engine_drafts_waiting(s); }

int sluice_position(const sluice_session *s) { return (int)position_of(s); }

const float *sluice_logits(const sluice_session *s) { return s->has_logits ? s->logits : NULL; }

void sluice_set_probe(sluice_session *s, const sluice_probe *probe) {
    if (probe) s->probe = *probe;
    else memset(&s->probe, 0, sizeof s->probe);
}

/* ---- feeding ---- */

/* What a running step needs to answer the room below. */
typedef struct Feeding {
    sluice_session *session;
    const char *stage;
    uint64_t done, total;      /* tokens of whole chunks; of all */
    uint64_t chunk, layers;    /* tokens of the chunk under way, and how many of its layers were begun */
} Feeding;

static bool tell_progress(const Feeding *f, uint64_t done) {
    const sluice_options *o = &f->session->model->options;
    return !o->progress || o->progress(o->user, f->stage, done, f->total);
}

/* Before every layer. A chunk may take a minute, so each of its layers counts as a share of its tokens. */
static bool keep_going(void *user) {
    Feeding *f = user;
    engine_watch_memory(f->session->model);
    uint64_t n_layers = f->session->model->model->shape.n_layers, begun = f->layers < n_layers ? f->layers++ : n_layers;
    return tell_progress(f, f->done + f->chunk * begun / n_layers);
}

static void on_hidden(void *user, uint32_t layer, uint32_t position, uint32_t n, const float *x) {
    const sluice_probe *p = &((const Feeding *)user)->session->probe;
    p->hidden(p->user, (int)layer, (int)position, (int)n, x);
}

static void on_routing(void *user, uint32_t layer, uint32_t position, uint32_t k, const int32_t *experts, const float *weights) {
    const sluice_probe *p = &((const Feeding *)user)->session->probe;
    p->routing(p->user, (int)layer, (int)position, (int)k, experts, weights);
}

static void on_fetch(void *user, uint32_t layer, uint32_t position, uint32_t n, uint32_t n_wanted, const int32_t *experts,
                     const uint8_t *hit, uint64_t wait_ns) {
    const sluice_probe *p = &((const Feeding *)user)->session->probe;
    p->fetch(p->user, (int)layer, (int)position, (int)n, (int)n_wanted, experts, hit, wait_ns);
}

static void give_all_logits(sluice_session *s, uint32_t position, uint32_t n) {
    sluice_model *m = s->model;
    uint32_t vocab = m->model->shape.vocab;
    for (uint32_t t = 0; t < n; t += ENGINE_LOGIT_ROWS) {
        uint32_t rows = n - t < ENGINE_LOGIT_ROWS ? n - t : ENGINE_LOGIT_ROWS;
        forward_logits(m->forward, t, rows, m->logits);
        for (uint32_t r = 0; r < rows; r++) s->probe.logits(s->probe.user, (int)(position + t + r), m->logits + (uint64_t)r * vocab);
    }
}

static bool all_finite(const float *x, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

/* One step without guesses. last: its last token's logits are the session's. */
static ErrCode feed_chunk(sluice_session *s, const int32_t *ids, uint32_t n, bool last, const ForwardWatch *watch,
                          const ForwardProbe *probe, Err *err) {
    sluice_model *m = s->model;
    uint32_t position = forward_state_position(s->state);
    ErrCode code = n > 1 ? engine_drafts_before_chunk(s, ids[0], err) : ERR_OK;
    if (!code) code = forward_step(m->forward, s->state, ids, n, watch, probe, err);
    if (code) return code;
    if (s->probe.logits) give_all_logits(s, position, n);
    if (last) forward_logits(m->forward, n - 1, 1, s->logits);
    return engine_drafts_after_chunk(s, ids, n, err);
}

int sluice_feed(sluice_session *s, const int32_t *ids, size_t n, sluice_error *error) {
    sluice_model *m = s->model;
    Err err = {0};
    uint32_t position = position_of(s);
    if (n == 0) return engine_fail(error, (err_set(&err, ERR_RANGE, "there is nothing to feed: the prompt has no tokens"), &err));
    if (n > m->ctx - position) {
        err_set(&err, ERR_RANGE,
                "%zu tokens do not fit: the context holds %u and %u are taken; raise --ctx to at least %zu", n, m->ctx,
                position, n + position);
        return engine_fail(error, &err);
    }
    uint64_t start = os_now_ns();
    Feeding feeding = {.session = s, .stage = n > 1 ? "prefill" : "decode", .total = n};
    ForwardWatch watch = {.user = &feeding, .keep_going = keep_going};
    ForwardProbe probe = {.user = &feeding, .hidden = s->probe.hidden ? on_hidden : NULL,
                          .routing = s->probe.routing ? on_routing : NULL, .fetch = s->probe.fetch ? on_fetch : NULL};
    s->has_logits = false;
    size_t at = 0;
    if (engine_drafts_take(s, ids[0])) { /* it was computed beside the token before it */
        s->ids[position++] = ids[at++];
        feeding.done = at;
    }
    while (at < n) {
        uint32_t chunk = n - at < m->chunk ? (uint32_t)(n - at) : m->chunk;
        feeding.chunk = chunk;
        feeding.layers = 0;
        ErrCode code = chunk == 1 && engine_drafts_wanted(s) ? engine_drafts_step(s, ids[at], &watch, &probe, &err)
                                                            : feed_chunk(s, ids + at, chunk, at + chunk == n, &watch, &probe, &err);
        if (code) return engine_fail(error, &err);
        memcpy(s->ids + position, ids + at, chunk * sizeof *ids);
        position += chunk;
        at += chunk;
        feeding.done = at;
    }
    if (!all_finite(s->logits, m->model->shape.vocab)) {
        engine_drafts_drop(s); /* nor is the token beside it to be taken */
        forward_state_break(s->state);
        err_set(&err, ERR_RANGE, "a logit after token %u is not a finite number; the model file is damaged or its numbers overflow",
                position - 1);
        return engine_fail(error, &err);
    }
    s->has_logits = true;
    (void)tell_progress(&feeding, n); /* the last report: all done */
    uint64_t took = os_now_ns() - start;
    *(n > 1 ? &m->stats.prefill_tokens : &m->stats.decode_tokens) += n;
    *(n > 1 ? &m->stats.prefill_ns : &m->stats.decode_ns) += took;
    if (n == 1) engine_drafts_time(s, took);
    return SLUICE_OK;
}

/* ---- sampling ---- */

void sluice_session_seed(sluice_session *s, uint64_t seed) { engine_random_seed(&s->sampler->random, seed); }

int32_t sluice_sample(sluice_session *s, const sluice_sampling *sampling) {
    if (!s->has_logits) return -1;
    return engine_sampler_draw(s->sampler, s->logits, s->ids, position_of(s), sampling);
}

/* ---- snapshots ---- */

sluice_snapshot *sluice_snapshot_take(const sluice_session *s, sluice_error *error) {
    sluice_model *m = s->model;
    Err err = {0};
    if (forward_state_broken(s->state)) {
        err_set(&err, ERR_STATE, "the session stopped in the middle of a step: there is nothing to go on from");
        engine_fail(error, &err);
        return NULL;
    }
    engine_drafts_drop(s);
    uint32_t position = forward_state_position(s->state), vocab = m->model->shape.vocab;
    uint64_t state = forward_state_save_bytes(s->state);
    uint64_t bytes = sizeof(sluice_snapshot) + state + position * sizeof(int32_t) + vocab * sizeof(float);
    if (m->snapshot_bytes + bytes > m->plan.free_bytes) {
        char a[32], b[32];
        err_set(&err, ERR_MEMORY, "a snapshot of %s does not fit: the plan leaves %s for all of them; raise --ram or lower the cache slots",
                format_size(bytes, a), format_size(m->plan.free_bytes, b));
        engine_fail(error, &err);
        return NULL;
    }
    sluice_snapshot *snap = MEM_NEW(sluice_snapshot, 1);
    if (snap) {
        *snap = (sluice_snapshot){.model = m,
                                  .position = position,
                                  .has_logits = s->has_logits,
                                  .bytes = bytes,
                                  .random = s->sampler->random,
                                  .ids = MEM_NEW(int32_t, position),
                                  .logits = MEM_NEW(float, vocab),
                                  .state = mem_new(state, 1)};
        m->snapshot_bytes += bytes;
    }
    if (!snap || !snap->ids || !snap->logits || !snap->state) {
        sluice_snapshot_free(snap);
        err_no_memory(&err, bytes, "a snapshot");
        engine_fail(error, &err);
        return NULL;
    }
    memcpy(snap->ids, s->ids, position * sizeof *snap->ids);
    memcpy(snap->logits, s->logits, vocab * sizeof *snap->logits);
    forward_state_save(s->state, snap->state);
    return snap;
}

int sluice_snapshot_restore(sluice_session *s, const sluice_snapshot *snap, sluice_error *error) {
    if (snap->model != s->model) {
        Err err = {0};
        err_set(&err, ERR_STATE, "the snapshot belongs to another model");
        return engine_fail(error, &err);
    }
    engine_drafts_reset(s);
    forward_state_restore(s->state, snap->state, snap->position);
    memcpy(s->ids, snap->ids, snap->position * sizeof *snap->ids);
    memcpy(s->logits, snap->logits, s->model->model->shape.vocab * sizeof *snap->logits);
    s->has_logits = snap->has_logits;
    s->sampler->random = snap->random;
    return SLUICE_OK;
}

void sluice_snapshot_free(sluice_snapshot *snap) {
    if (!snap) return;
    snap->model->snapshot_bytes -= snap->bytes;
    mem_free(snap->ids);
    mem_free(snap->logits);
    mem_free(snap->state);
    mem_free(snap);
}
