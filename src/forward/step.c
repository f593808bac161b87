/* One step of the network: the file to read first, from its end (forward_step) upwards. n tokens go through all layers together, so
 * that each weight is read once per step; arrays are [n][...], and what a token computes does not depend on n. */
#include "forward/inside.h"

#include <string.h>

void forward_embed(const Forward *f, int32_t id, float *x) {
    const ModelMat *e = &f->c.model->embedding;
    quant_decode(e->type, e->data + (uint64_t)id * e->row_bytes, x, f->s->hidden);
}

static ErrCode run_layers(Forward *f, ForwardState *s, const ForwardWatch *watch, const ForwardProbe *probe, Err *err) {
    uint32_t n_linear = 0, n_full = 0;
    for (uint32_t l = 0; l < f->s->n_layers; l++) {
        const ModelLayer *layer = &f->c.model->layers[l];
        LayerAt at = {layer, l, layer->linear ? n_linear++ : n_full++, s->position};
        bool stop = watch && !watch->keep_going(watch->user);
        if (stop && (l == 0 || f->n > SHORT_STEP)) return err_set(err, ERR_INTERRUPTED, "interrupted");
        ErrCode code = forward_layer(f, s, &at, probe, err);
        if (code) return code;
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

ErrCode forward_step(Forward *f, ForwardState *s, const int32_t *ids, uint32_t n, const ForwardWatch *watch, const ForwardProbe *probe,
                     Err *err) {
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
    for (uint32_t t = 0; t < n; t++) forward_embed(f, ids[t], f->x + (uint64_t)t * f->s->hidden);
    forward_rope_table(f, s->position);
    code = run_layers(f, s, watch, probe, err);
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
