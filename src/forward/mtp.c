/* The draft (MTP) layer: guesses the token after the next one, so that a step can try two tokens at once and read every dense weight
 * once for both. It can only cost time, never change an answer: what the trunk says of a token does not depend on guesses.
 *
 * A pair is the trunk's last hidden state of a token (after the final norm) and the token that follows it:
 *   x = fc [norm_e(embedding of the next); norm_h(h)];  x = full layer(x);  logits = head(norm_out(x))
 * The layer has keys and values of its own, one row per pair that it has seen. A pair is open until its next token is known; its
 * hidden state waits in the ForwardState, so sessions may take turns. */
#include "forward/inside.h"

#include <assert.h>
#include <string.h>

uint32_t forward_mtp_open(const ForwardState *s) { return s->mtp_open; }

/* Row t of the layer's input, from the token that follows and the hidden state h (after the final norm). */
static void make_row(Forward *f, uint32_t t, int32_t next, const float *h) {
    const ModelMtp *mtp = &f->c.model->mtp;
    const uint32_t hidden = f->s->hidden;
    float *x = f->mtp_in.x + (uint64_t)t * 2 * hidden;
    f->c.kernels->rms_norm(x + hidden, h, mtp->norm_hidden, f->s->eps, hidden);
    forward_embed(f, next, x);
    f->c.kernels->rms_norm(x, x, mtp->norm_embedding, f->s->eps, hidden);
    forward_row_ready(f, &f->mtp_in, t);
}

/* The layer over the n rows that make_row has written, into f->x. It counts its own pairs; distances are all that rotary positions
 * see. */
static ErrCode run_layer(Forward *f, ForwardState *s, uint32_t n, Err *err) {
    const Model *m = f->c.model;
    f->n = n;
    f->segments[0] = (Segment){.state = s, .n = n, .position = s->mtp_count};
    f->n_segments = 1;
    s->broken = true; /* until the rows are through */
    forward_matmul(f, &m->mtp.fc, f->mtp_in.acts, n, f->x, f->s->hidden);
    forward_mixers_begin(f);
    ErrCode code = forward_layer(f, &f->layers[m->shape.n_layers], NULL, err);
    if (code) return code;
    s->mtp_count += n;
    s->broken = false;
    return ERR_OK;
}

ErrCode forward_mtp_guess(Forward *f, ForwardState *s, const int32_t *next_ids, float *logits, Err *err) {
    const uint32_t n = s->mtp_open, hidden = f->s->hidden;
    if (n == 0) return ERR_OK;
    forward_enter(f, SECTION_DENSE);
    for (uint32_t t = 0; t < n; t++) make_row(f, t, next_ids[t], s->mtp_rows + (uint64_t)t * hidden);
    ErrCode code = run_layer(f, s, n, err);
    s->mtp_open = 0;
    if (!code && logits) forward_head(f, f->c.model->mtp.norm_out, n - 1, 1, logits);
    forward_enter(f, SECTION_OUTSIDE);
    return code;
}

void forward_mtp_keep(Forward *f, ForwardState *s, uint32_t first, uint32_t n) {
    const uint32_t hidden = f->s->hidden;
    assert(s->mtp_open + n <= FORWARD_MTP_OPEN);
    for (uint32_t t = 0; t < n; t++)
        f->c.kernels->rms_norm(s->mtp_rows + (uint64_t)(s->mtp_open + t) * hidden, f->x + (uint64_t)(first + t) * hidden,
                               f->c.model->norm_out, f->s->eps, hidden);
    s->mtp_open += n;
}

void forward_mtp_forget(Forward *f, ForwardState *s, uint32_t most) {
    const uint32_t hidden = f->s->hidden;
    if (s->mtp_open <= most) return;
    memmove(s->mtp_rows, s->mtp_rows + (uint64_t)(s->mtp_open - most) * hidden, (uint64_t)most * hidden * sizeof *s->mtp_rows);
    s->mtp_open = most;
}

ErrCode forward_mtp_learn(Forward *f, ForwardState *s, const int32_t *ids, uint32_t n, Err *err) {
    const uint32_t hidden = f->s->hidden;
    forward_enter(f, SECTION_DENSE);
    s->mtp_open = 0;
    forward_mtp_keep(f, s, n - 1, 1);
    ErrCode code = ERR_OK;
    if (n > 1) {
        for (uint32_t t = 0; t + 1 < n; t++) {
            float *h = f->x + (uint64_t)t * hidden;
            f->c.kernels->rms_norm(h, h, f->c.model->norm_out, f->s->eps, hidden);
            make_row(f, t, ids[t + 1], h);
        }
        code = run_layer(f, s, n - 1, err);
    }
    forward_enter(f, SECTION_OUTSIDE);
    return code;
}
