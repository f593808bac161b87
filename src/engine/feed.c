/* Feeding: tokens of one session or of several become steps, and steps become logits. What the sessions of a feed have in common is only
 * that each weight and each expert is read once for all of them.
 *
 * A step takes whatever is short first, so that who decodes waits for nobody's prompt longer than one step, and then as much of the
 * long parts as a chunk holds. How the tokens are cut changes no bit. */
#include "engine/inside.h"

#include <math.h>
#include <string.h>

/* A feed under way: what a running step needs to answer the room below. */
typedef struct Feeding {
    sluice_model *m;
    const sluice_part *parts;
    size_t n_parts;
    const char *stage;
    ForwardWatch watch;
    ForwardProbe probe;
    uint64_t done, total;      /* tokens that are through; of all parts */
    uint32_t n_segments;       /* of the step under way: m->segments, of the sessions m->stepping */
    uint32_t step;             /* its tokens */
    uint64_t layers;           /* how many of its layers were begun */
} Feeding;

/* ---- being watched ---- */

static bool tell_progress(const Feeding *f, uint64_t done) {
    const sluice_options *o = &f->m->options;
    return !o->progress || o->progress(o->user, f->stage, done, f->total);
}

/* Before every layer. A chunk may take a minute, so each of its layers counts as a share of its tokens. */
static bool keep_going(void *user) {
    Feeding *f = user;
    engine_watch_memory(f->m);
    uint64_t n_layers = f->m->model->shape.n_layers, begun = f->layers < n_layers ? f->layers++ : n_layers;
    return tell_progress(f, f->done + f->step * begun / n_layers);
}

static void on_hidden(void *user, uint32_t segment, uint32_t layer, uint32_t position, uint32_t n, const float *x) {
    const sluice_probe *p = &((const Feeding *)user)->m->stepping[segment]->probe;
    if (p->hidden) p->hidden(p->user, (int)layer, (int)position, (int)n, x);
}

static void on_routing(void *user, uint32_t segment, uint32_t layer, uint32_t position, uint32_t k, const int32_t *experts,
                       const float *weights) {
    const sluice_probe *p = &((const Feeding *)user)->m->stepping[segment]->probe;
    if (p->routing) p->routing(p->user, (int)layer, (int)position, (int)k, experts, weights);
}

static void on_fetch(void *user, uint32_t layer, uint32_t n, uint32_t n_wanted, const int32_t *experts, const uint8_t *hit,
                     uint64_t wait_ns) {
    const Feeding *f = user;
    for (uint32_t i = 0; i < f->n_segments; i++) {
        const sluice_probe *p = &f->m->stepping[i]->probe;
        int position = (int)forward_state_position(f->m->segments[i].state);
        if (p->fetch) p->fetch(p->user, (int)layer, position, (int)n, (int)n_wanted, experts, hit, wait_ns);
    }
}

/* Asks the step only for what somebody wants to see. */
static ForwardProbe probe_for(Feeding *f) {
    ForwardProbe probe = {.user = f};
    for (size_t i = 0; i < f->n_parts; i++) {
        const sluice_probe *p = &f->parts[i].session->probe;
        if (p->hidden) probe.hidden = on_hidden;
        if (p->routing) probe.routing = on_routing;
        if (p->fetch) probe.fetch = on_fetch;
    }
    return probe;
}

/* ---- cutting ---- */

static uint64_t left_of(const sluice_session *s) { return s->feed.n - s->feed.done; }

/* Adds to the step what of a session it has room for. False: nothing, until the next step. */
static bool add_segment(Feeding *f, sluice_session *s, uint32_t *n_long) {
    uint32_t room = f->m->chunk - f->step, n = left_of(s) < room ? (uint32_t)left_of(s) : room;
    if (n == 0 || *n_long == FORWARD_LONG_SEGMENTS || (n <= FORWARD_SHORT && *n_long > 0)) return false; /* long ones come last */
    f->m->stepping[f->n_segments] = s;
    f->m->segments[f->n_segments++] = (ForwardSegment){s->state, s->feed.ids + s->feed.done, n};
    f->step += n;
    *n_long += n > FORWARD_SHORT;
    return true;
}

/* Single tokens come first: their logits are neighbours then. */
static void choose_segments(Feeding *f) {
    static const uint64_t most[] = {0, 1, FORWARD_SHORT, UINT64_MAX};
    uint32_t n_long = 0;
    f->n_segments = f->step = 0;
    f->layers = 0;
    for (size_t size = 1; size < COUNT_OF(most); size++)
        for (size_t i = 0; i < f->n_parts; i++) {
            uint64_t left = left_of(f->parts[i].session);
            if (left > most[size - 1] && left <= most[size] && !add_segment(f, f->parts[i].session, &n_long)) return;
        }
}

/* ---- one step ---- */

static void give_all_logits(sluice_session *s, uint32_t row, uint32_t n) {
    sluice_model *m = s->model;
    uint32_t vocab = m->model->shape.vocab, position = s->feed.before + s->feed.done;
    for (uint32_t t = 0; t < n; t += ENGINE_LOGIT_ROWS) {
        uint32_t rows = n - t < ENGINE_LOGIT_ROWS ? n - t : ENGINE_LOGIT_ROWS;
        forward_logits(m->forward, row + t, rows, m->logits);
        for (uint32_t r = 0; r < rows; r++) s->probe.logits(s->probe.user, (int)(position + t + r), m->logits + (uint64_t)r * vocab);
    }
}

/* Does the feed of this segment's session end in this step? */
static bool is_last(const Feeding *f, uint32_t segment) { return f->m->segments[segment].n == left_of(f->m->stepping[segment]); }

/* Logits of the sessions that are through with this step; the output matrix is read once for single tokens that are neighbours. row: of
 * the first. */
static void give_logits(const Feeding *f, uint32_t n_through) {
    sluice_model *m = f->m;
    uint32_t vocab = m->model->shape.vocab;
    for (uint32_t i = 0, row = 0, n; i < n_through; i += n) {
        n = 1;
        row += m->segments[i].n; /* the next segment's first */
        if (!is_last(f, i)) continue;
        if (m->segments[i].n == 1)
            while (n < ENGINE_LOGIT_ROWS && i + n < n_through && m->segments[i + n].n == 1 && is_last(f, i + n)) n++;
        if (n == 1) {
            forward_logits(m->forward, row - 1, 1, m->stepping[i]->logits);
            continue;
        }
        forward_logits(m->forward, row - 1, n, m->logits);
        for (uint32_t k = 0; k < n; k++) memcpy(m->stepping[i + k]->logits, m->logits + (uint64_t)k * vocab, vocab * sizeof *m->logits);
        row += n - 1;
    }
}

/* Of an interrupted step the short segments, which come first, are through. */
static uint32_t count_through(const Feeding *f) {
    for (uint32_t i = 0; i < f->n_segments; i++) {
        const sluice_session *s = f->m->stepping[i];
        if (forward_state_position(s->state) == s->feed.before + s->feed.done) return i;
    }
    return f->n_segments;
}

/* A step without guesses. */
static ErrCode run_step(Feeding *f, uint32_t *n_through, Err *err) {
    sluice_model *m = f->m;
    const ForwardSegment *only = f->n_segments == 1 ? &m->segments[0] : NULL;
    ErrCode code = ERR_OK, stopped;
    if (only && only->n > 1) code = engine_drafts_before_chunk(m->stepping[0], only->ids[0], err);
    if (code) return code;
    stopped = forward_step(m->forward, m->segments, f->n_segments, &f->watch, &f->probe, err);
    if (stopped && stopped != ERR_INTERRUPTED) return stopped;
    *n_through = count_through(f);
    for (uint32_t i = 0, row = 0; i < *n_through; row += m->segments[i++].n)
        if (m->stepping[i]->probe.logits) give_all_logits(m->stepping[i], row, m->segments[i].n);
    give_logits(f, *n_through);
    if (only) code = *n_through ? engine_drafts_after_chunk(m->stepping[0], only->ids, only->n, err) : ERR_OK;
    else
        for (uint32_t i = 0, row = 0; i < *n_through; row += m->segments[i++].n)
            engine_drafts_after_shared(m->stepping[i], row, m->segments[i].n);
    return code ? code : stopped;
}

static bool all_finite(const float *x, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

/* So many more of a session's tokens are through; at the last its logits are there. */
static ErrCode advance(Feeding *f, sluice_session *s, uint32_t n, Err *err) {
    memcpy(s->ids + s->feed.before + s->feed.done, s->feed.ids + s->feed.done, n * sizeof *s->ids);
    s->feed.done += n;
    f->done += n;
    if (left_of(s) > 0) return ERR_OK;
    s->has_logits = all_finite(s->logits, f->m->model->shape.vocab);
    if (s->has_logits) return ERR_OK;
    engine_drafts_drop(s); /* nor is the token beside it to be taken */
    forward_state_break(s->state);
    return err_set(err, ERR_RANGE, "a logit after token %u is not a finite number; the model file is damaged or its numbers overflow",
                   s->feed.before + s->feed.n - 1);
}

/* One step of a feed: a token with a guess beside it, or what choose_segments says. */
static ErrCode feed_some(Feeding *f, Err *err) {
    sluice_model *m = f->m;
    uint32_t n_through = 0;
    choose_segments(f);
    ErrCode code;
    if (f->step == 1 && engine_drafts_wanted(m->stepping[0])) {
        code = engine_drafts_step(m->stepping[0], m->segments[0].ids[0], &f->watch, &f->probe, err);
        n_through = !code;
    } else {
        code = run_step(f, &n_through, err);
    }
    for (uint32_t i = 0; i < n_through; i++) {
        ErrCode failed = advance(f, m->stepping[i], m->segments[i].n, err);
        if (failed) code = failed;
    }
    return code;
}

/* ---- the feed ---- */

static int check_part(const sluice_model *m, const sluice_part *part, sluice_error *error) {
    const sluice_session *s = part->session;
    Err err = {0};
    if (s->model != m) return engine_refuse(error, ERR_STATE, "the session belongs to another model");
    if (s->feed.chosen) return engine_refuse(error, ERR_USAGE, "a session can be fed only once at a time, and one was given twice");
    if (part->n == 0) return engine_refuse(error, ERR_RANGE, "there is nothing to feed: the prompt has no tokens");
    uint32_t before = engine_position(s);
    if (part->n > m->ctx - before)
        return engine_refuse(error, ERR_RANGE,
                             "%zu tokens do not fit: the context holds %u and %u are taken; raise --ctx to at least %zu", part->n, m->ctx,
                             before, part->n + before);
    return forward_check(m->forward, s->state, part->ids, (uint32_t)part->n, &err) ? engine_fail(error, &err) : SLUICE_OK;
}

/* All of them, before anything is changed. */
static int check_parts(const sluice_model *m, const sluice_part *parts, size_t n_parts, sluice_error *error) {
    size_t n = 0;
    int code = n_parts ? SLUICE_OK : engine_refuse(error, ERR_RANGE, "there is nothing to feed: no session was given");
    for (; n < n_parts && !code; n++) {
        code = check_part(m, &parts[n], error);
        parts[n].session->feed.chosen = true;
    }
    while (n > 0) parts[--n].session->feed.chosen = false;
    return code;
}

/* More than one token is prefill: the caller had them all at once. Steps are shared, so their time is shared out by tokens. */
static void account(const Feeding *f, uint64_t ns) {
    sluice_stats *stats = &f->m->stats;
    uint64_t decoded = 0;
    for (size_t i = 0; i < f->n_parts; i++) decoded += f->parts[i].n == 1;
    uint64_t decode_ns = decoded == f->total ? ns : (uint64_t)((double)ns * (double)decoded / (double)f->total);
    stats->decode_tokens += decoded;
    stats->decode_ns += decode_ns;
    stats->prefill_tokens += f->total - decoded;
    stats->prefill_ns += ns - decode_ns;
}

static ErrCode run(Feeding *f, Err *err) {
    ErrCode code = ERR_OK;
    for (size_t i = 0; i < f->n_parts; i++) {
        const sluice_part *part = &f->parts[i];
        sluice_session *s = part->session;
        s->feed = (EngineFeed){.ids = part->ids, .n = (uint32_t)part->n, .before = engine_position(s)};
        s->has_logits = false;
        f->total += part->n;
    }
    for (size_t i = 0; i < f->n_parts && !code; i++) {
        sluice_session *s = f->parts[i].session;
        if (engine_drafts_take(s, s->feed.ids[0])) code = advance(f, s, 1, err); /* it was computed beside the token before it */
    }
    f->stage = f->total > f->n_parts ? "prefill" : "decode";
    while (!code && f->done < f->total) code = feed_some(f, err);
    return code;
}

int sluice_feed_together(sluice_model *m, const sluice_part *parts, size_t n_parts, sluice_error *error) {
    Err err = {0};
    int refused = check_parts(m, parts, n_parts, error);
    if (refused) return refused;
    uint64_t start = os_now_ns();
    Feeding f = {.m = m, .parts = parts, .n_parts = n_parts, .watch.keep_going = keep_going};
    f.watch.user = &f;
    f.probe = probe_for(&f);
    if (run(&f, &err)) return engine_fail(error, &err);
    (void)tell_progress(&f, f.total); /* the last report: all done */
    uint64_t took = os_now_ns() - start;
    account(&f, took);
    if (f.total == 1) engine_drafts_time(parts[0].session, took);
    return SLUICE_OK;
}

int sluice_feed(sluice_session *s, const int32_t *ids, size_t n, sluice_error *error) {
    return sluice_feed_together(s->model, &(sluice_part){s, ids, n}, 1, error);
}
