/* One step of the network: the file to read first, from forward_step upwards. n tokens, of one sequence or several, go through all
 * layers together, so that each weight is read once per step; arrays are [n][...], and what a token computes depends neither on n nor
 * on the other sequences. */
#include "forward/inside.h"

#include <assert.h>
#include <string.h>

void forward_embed(const Forward *f, int32_t id, float *x) {
    const ModelMat *e = &f->c.model->embedding;
    quant_decode(e->type, e->data + (uint64_t)id * e->row_bytes, x, f->s->hidden);
}

/* ---- the segments of a step ---- */

ErrCode forward_check(const Forward *f, const ForwardState *s, const int32_t *ids, uint32_t n, Err *err) {
    if (s->broken)
        return err_set(err, ERR_STATE, "the session stopped in the middle of a step; reset it or restore a snapshot");
    for (uint32_t t = 0; t < n; t++)
        if (ids[t] < 0 || (uint32_t)ids[t] >= f->s->vocab)
            return err_set(err, ERR_RANGE, "token id %d is outside the vocabulary of %u", ids[t], f->s->vocab);
    return ERR_OK;
}

static ErrCode check_segment(const Forward *f, const ForwardSegment *g, Err *err) {
    ErrCode code = forward_check(f, g->state, g->ids, g->n, err);
    if (code) return code;
    if (g->n > f->c.ctx - g->state->position)
        return err_set(err, ERR_RANGE, "the context is full: it holds %u tokens, %u are there and %u more were given; raise --ctx",
                       f->c.ctx, g->state->position, g->n);
    return ERR_OK;
}

static ErrCode check_request(const Forward *f, const ForwardSegment *segments, uint32_t n_segments, Err *err) {
    uint64_t n = 0;
    uint32_t n_long = 0;
    assert(n_segments > 0 && n_segments <= f->c.segments);
    for (uint32_t i = 0; i < n_segments; i++) {
        ErrCode code = check_segment(f, &segments[i], err);
        if (code) return code;
        assert(segments[i].n > 0);
        n += segments[i].n;
        assert(segments[i].n > FORWARD_SHORT || n_long == 0); /* long ones come last */
        n_long += segments[i].n > FORWARD_SHORT;
        for (uint32_t j = 0; j < i; j++) assert(segments[j].state != segments[i].state);
    }
    assert(n_long <= FORWARD_LONG_SEGMENTS);
    if (n > f->c.chunk)
        return err_set(err, ERR_RANGE, "a step takes 1 to %u tokens, not %llu", f->c.chunk, (unsigned long long)n);
    return ERR_OK;
}

/* Rows in the order of the segments. From here on the states are half advanced. */
static void begin(Forward *f, const ForwardSegment *segments, uint32_t n_segments) {
    float *kept = f->kept;
    f->n = 0;
    f->n_segments = n_segments;
    for (uint32_t i = 0; i < n_segments; i++) {
        const ForwardSegment *given = &segments[i];
        ForwardState *s = given->state;
        Segment *g = &f->segments[i];
        *g = (Segment){.state = s, .first = f->n, .n = given->n, .position = s->position, .mark = s->mark < given->n ? s->mark : 0};
        s->mark = 0;
        s->marked_position = s->position + g->mark;
        s->broken = true; /* until the step is through */
        if (g->n > FORWARD_SHORT) {
            g->kept = memcpy(kept, s->recurrent, s->recurrent_bytes);
            kept += s->recurrent_bytes / sizeof *kept;
        }
        for (uint32_t t = 0; t < g->n; t++) forward_embed(f, given->ids[t], f->x + (uint64_t)(f->n + t) * f->s->hidden);
        f->n += g->n;
    }
}

/* The segments from `first` on leave the step, as if they had not been in it: keys and values beyond a position are never read. Rows
 * before theirs stay where they are. */
static void take_back(Forward *f, uint32_t first) {
    for (uint32_t i = first; i < f->n_segments; i++) {
        const Segment *g = &f->segments[i];
        if (g->kept) memcpy(g->state->recurrent, g->kept, g->state->recurrent_bytes);
        g->state->broken = false;
    }
    f->n = f->segments[first].first;
    f->n_segments = first;
}

/* Somebody wants the step to end before this layer. False: all that is left of it is short, and goes on. */
static bool interrupt(Forward *f, uint32_t layer) {
    uint32_t first = 0;
    while (layer > 0 && first < f->n_segments && !f->segments[first].kept) first++;
    if (first == f->n_segments) return false;
    take_back(f, first);
    return true;
}

static void end(Forward *f) {
    if (f->n > 0) store_step(f->c.store, f->n);
    for (uint32_t i = 0; i < f->n_segments; i++) {
        f->segments[i].state->position += f->segments[i].n;
        f->segments[i].state->broken = false;
    }
}

/* ---- the step ---- */

static ErrCode run_layers(Forward *f, const ForwardWatch *watch, const ForwardProbe *probe, Err *err) {
    ErrCode code = ERR_OK, interrupted = ERR_OK;
    for (uint32_t l = 0; l < f->s->n_layers && !code; l++) {
        bool stop = watch && !watch->keep_going(watch->user);
        if (stop && interrupt(f, l)) interrupted = err_set(err, ERR_INTERRUPTED, "interrupted");
        if (f->n == 0) break;
        code = forward_layer(f, &f->layers[l], probe, err);
    }
    return code ? code : interrupted;
}

ErrCode forward_step(Forward *f, const ForwardSegment *segments, uint32_t n_segments, const ForwardWatch *watch, const ForwardProbe *probe,
                     Err *err) {
    ErrCode code = check_request(f, segments, n_segments, err);
    if (code) return code;
    forward_enter(f, SECTION_DENSE);
    begin(f, segments, n_segments);
    forward_ahead_begin(f);
    forward_mixers_begin(f);
    code = run_layers(f, watch, probe, err);
    forward_ahead_end(f, code == ERR_OK);
    forward_enter(f, SECTION_OUTSIDE);
    if (!code || code == ERR_INTERRUPTED) end(f);
    return code;
}

void forward_head(Forward *f, const float *norm, uint32_t first, uint32_t n, float *out) {
    for (uint32_t t = first; t < first + n; t++) {
        uint64_t row = (uint64_t)t * f->s->hidden;
        f->c.kernels->rms_norm(f->in.x + row, f->x + row, norm, f->s->eps, f->s->hidden);
        forward_row_ready(f, &f->in, t);
    }
    forward_matmul(f, &f->c.model->head, f->in.acts + first, n, out, f->s->vocab);
}

void forward_logits(Forward *f, uint32_t first, uint32_t n, float *out) {
    forward_enter(f, SECTION_DENSE);
    forward_head(f, f->c.model->norm_out, first, n, out);
    forward_enter(f, SECTION_OUTSIDE);
}
