/* Full attention: grouped queries, norms of q and k, rotary positions on the first rotary_dim elements, keys and values put where the
 * kernels want them; attend.c does the rest. */
#include "forward/inside.h"

#include <math.h>

static void rope_row(Forward *f, uint32_t row, uint32_t position) {
    uint32_t half = f->s->rotary_dim / 2;
    for (uint32_t i = 0; i < half; i++) {
        /* the angle is rounded to f32, as in the reference; its cosine and sine are not rounded twice */
        double angle = (double)((float)position * f->inv_freq[i]);
        f->cosines[(uint64_t)row * half + i] = (float)cos(angle);
        f->sines[(uint64_t)row * half + i] = (float)sin(angle);
    }
}

void forward_rope_table(Forward *f) {
    for (uint32_t i = 0; i < f->n_segments; i++) {
        const Segment *g = &f->segments[i];
        for (uint32_t t = 0; t < g->n; t++) rope_row(f, g->first + t, g->position + t);
    }
}

typedef struct PlaceJob {
    Forward *f;
    const LayerAt *at;
} PlaceJob;

/* The token of row t at this position. */
static void place_token(const PlaceJob *j, const ForwardState *state, uint32_t t, uint32_t position) {
    Forward *f = j->f;
    const ModelLayer *layer = j->at->layer;
    uint8_t *keys = forward_keys(state, j->at), *values = forward_values(state, j->at);
    const Kernels *kernels = f->c.kernels;
    const ModelShape *s = f->s;
    uint32_t dim = s->head_dim, q_stride = dim * (s->attn_gate ? 2 : 1), half = s->rotary_dim / 2;
    const float *cosines = f->cosines + (uint64_t)t * half, *sines = f->sines + (uint64_t)t * half;
    float q_scale = 1.0f / sqrtf((float)dim);
    for (uint32_t h = 0; h < s->n_heads; h++) {
        float *q = f->wide + ((uint64_t)t * s->n_heads + h) * q_stride;
        kernels->rms_norm(q, q, layer->q_norm, s->eps, dim);
        kernels->rope(q, cosines, sines, s->rotary_dim);
        kernels->scale(q, q, q_scale, dim);
    }
    for (uint32_t h = 0; h < s->n_kv_heads; h++) {
        uint64_t row = ((uint64_t)t * s->n_kv_heads + h) * dim, block = forward_kv_block(&f->c, h, position / KERNELS_KEY_BLOCK);
        kernels->rms_norm(f->k + row, f->k + row, layer->k_norm, s->eps, dim);
        kernels->rope(f->k + row, cosines, sines, s->rotary_dim);
        kernels_store_key(f->c.kv_type, keys + block, position % KERNELS_KEY_BLOCK, f->k + row, dim);
        kernels_store_value(f->c.kv_type, values + block, position % KERNELS_KEY_BLOCK, f->v + row, dim);
    }
}

/* Queries and keys normed and turned, keys and values stored, of the tokens of one run of positions: neighbours share cache lines of
 * the keys, so that two threads would take them from each other. */
enum { PLACE_RUN = 16 };

static uint32_t runs_of(const Segment *g) { return (g->position % PLACE_RUN + g->n + PLACE_RUN - 1) / PLACE_RUN; }

static void place_task(void *arg, int task, int worker) {
    (void)worker;
    const PlaceJob *j = arg;
    const Segment *g = j->f->segments;
    uint32_t run = (uint32_t)task;
    for (; run >= runs_of(g); g++) run -= runs_of(g);
    uint32_t skip = g->position % PLACE_RUN, first = run * PLACE_RUN, last = first + PLACE_RUN - skip;
    for (uint32_t t = first > skip ? first - skip : 0; t < last && t < g->n; t++) place_token(j, g->state, g->first + t, g->position + t);
}

void forward_attention(Forward *f, const LayerAt *at) {
    const ModelShape *s = f->s;
    const ModelLayer *layer = at->layer;
    PlaceJob job = {f, at};
    const MatPart in[] = {{&layer->q, f->in.acts, f->wide, (uint64_t)s->n_heads * s->head_dim * (s->attn_gate ? 2 : 1)},
                          {&layer->k, f->in.acts, f->k, (uint64_t)s->n_kv_heads * s->head_dim},
                          {&layer->v, f->in.acts, f->v, (uint64_t)s->n_kv_heads * s->head_dim}};
    forward_matmuls(f, in, COUNT_OF(in), f->n);
    uint32_t runs = 0;
    for (uint32_t i = 0; i < f->n_segments; i++) runs += runs_of(&f->segments[i]);
    os_pool_run(f->c.pool, (int)runs, place_task, &job);
    forward_attend(f, at);
    forward_matmul(f, &layer->o, f->att_o.acts, f->n, f->mix, s->hidden);
}
