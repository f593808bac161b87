/* Sessions: feed, logits, sample. */
#include "engine/inside.h"

#include <math.h>
#include <string.h>

sluice_session *sluice_session_new(sluice_model *m, sluice_error *error) {
    Err err = {0};
    if (m->open_sessions >= m->max_sessions) {
        engine_refuse(error, ERR_STATE, "%d sessions are open and the memory plan has room for no more; set options.sessions",
                      m->open_sessions);
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

const int32_t *sluice_ids(const sluice_session *s, size_t *n) {
    *n = position_of(s);
    return s->ids;
}

const float *sluice_logits(const sluice_session *s) { return s->has_logits ? s->logits : NULL; }

void sluice_set_probe(sluice_session *s, const sluice_probe *probe) {
    if (probe) s->probe = *probe;
    else memset(&s->probe, 0, sizeof s->probe);
}

/* ---- feeding ---- */

/* A feed under way: what a running step needs to answer the room below. */
typedef struct Feeding {
    sluice_session *session;
    const char *stage;
    ForwardWatch watch;
    ForwardProbe probe;
    uint32_t before;           /* tokens that were fed earlier */
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

/* One step without guesses. */
static ErrCode feed_chunk(const Feeding *f, const int32_t *ids, uint32_t n, Err *err) {
    sluice_session *s = f->session;
    sluice_model *m = s->model;
    uint32_t position = forward_state_position(s->state);
    ErrCode code = n > 1 ? engine_drafts_before_chunk(s, ids[0], err) : ERR_OK;
    if (!code) code = forward_step(m->forward, s->state, ids, n, &f->watch, &f->probe, err);
    if (code) return code;
    if (s->probe.logits) give_all_logits(s, position, n);
    if (f->done + n == f->total) forward_logits(m->forward, n - 1, 1, s->logits);
    return engine_drafts_after_chunk(s, ids, n, err);
}

/* n more of the tokens are through. */
static void keep(Feeding *f, const int32_t *ids, uint32_t n) {
    memcpy(f->session->ids + f->before + f->done, ids, n * sizeof *ids);
    f->done += n;
}

/* One step of a feed: a token with a guess beside it, or a chunk. */
static ErrCode feed_some(Feeding *f, const int32_t *ids, uint32_t n, Err *err) {
    sluice_session *s = f->session;
    f->chunk = n;
    f->layers = 0;
    bool guess = n == 1 && engine_drafts_wanted(s);
    ErrCode code = guess ? engine_drafts_step(s, ids[0], &f->watch, &f->probe, err) : feed_chunk(f, ids, n, err);
    if (!code) keep(f, ids, n);
    return code;
}

/* More than one token is prefill: the caller had them all at once. */
static void account(sluice_stats *stats, uint64_t n, uint64_t ns) {
    if (n > 1) {
        stats->prefill_tokens += n;
        stats->prefill_ns += ns;
    } else {
        stats->decode_tokens += n;
        stats->decode_ns += ns;
    }
}

int sluice_feed(sluice_session *s, const int32_t *ids, size_t n, sluice_error *error) {
    sluice_model *m = s->model;
    uint32_t before = position_of(s);
    if (n == 0) return engine_refuse(error, ERR_RANGE, "there is nothing to feed: the prompt has no tokens");
    if (n > m->ctx - before)
        return engine_refuse(error, ERR_RANGE,
                             "%zu tokens do not fit: the context holds %u and %u are taken; raise --ctx to at least %zu", n, m->ctx, before,
                             n + before);
    uint64_t start = os_now_ns();
    Feeding f = {.session = s, .stage = n > 1 ? "prefill" : "decode", .before = before, .total = n};
    f.watch = (ForwardWatch){.user = &f, .keep_going = keep_going};
    f.probe = (ForwardProbe){.user = &f, .hidden = s->probe.hidden ? on_hidden : NULL, .routing = s->probe.routing ? on_routing : NULL,
                             .fetch = s->probe.fetch ? on_fetch : NULL};
    s->has_logits = false;
    if (engine_drafts_take(s, ids[0])) keep(&f, ids, 1); /* it was computed beside the token before it */
    while (f.done < n) {
        Err err = {0};
        uint64_t left = n - f.done;
        if (feed_some(&f, ids + f.done, left < m->chunk ? (uint32_t)left : m->chunk, &err)) return engine_fail(error, &err);
    }
    if (!all_finite(s->logits, m->model->shape.vocab)) {
        engine_drafts_drop(s); /* nor is the token beside it to be taken */
        forward_state_break(s->state);
        return engine_refuse(error, ERR_RANGE,
                             "a logit after token %u is not a finite number; the model file is damaged or its numbers overflow",
                             before + (uint32_t)n - 1);
    }
    s->has_logits = true;
    (void)tell_progress(&f, n); /* the last report: all done */
    uint64_t took = os_now_ns() - start;
    account(&m->stats, n, took);
    if (n == 1) engine_drafts_time(s, took);
    return SLUICE_OK;
}

/* ---- sampling ---- */

void sluice_session_seed(sluice_session *s, uint64_t seed) { xoshiro_seed(&s->sampler->random, seed); }

int32_t sluice_sample_allowed(sluice_session *s, const sluice_sampling *sampling, const uint32_t *allowed) {
    if (!s->has_logits) return -1;
    return engine_sampler_draw(s->sampler, s->logits, s->ids, position_of(s), sampling, allowed);
}

int32_t sluice_sample(sluice_session *s, const sluice_sampling *sampling) { return sluice_sample_allowed(s, sampling, NULL); }
