/* Full attention: grouped queries, norms of q and k, rotary positions on the first rotary_dim elements, keys and values put where the
 * kernels want them; attend.c does the rest. */
#include "forward/attention.h"

#include <math.h>

ForwardLists forward_attention_lists(const ForwardConfig *c) {
    const ModelShape *s = &c->model->shape;
    return (ForwardLists){.n = 2 * (uint64_t)s->n_kv_heads, .block_bytes = kernels_kv_bytes(c->kv_type, s->head_dim)};
}

static ForwardToken token(const Model *m, QuantType kv_type) {
    return (ForwardToken){.position = (uint64_t)2 * m->shape.n_kv_heads * quant_row_bytes(kv_type, m->shape.head_dim)};
}

/* The longest row of its matrices, or what attend.c needs. */
static uint64_t scratch(const ForwardConfig *c) {
    uint64_t row = (uint64_t)c->model->shape.n_heads * c->model->shape.head_dim, attend = forward_attend_scratch_floats(c);
    return row > attend ? row : attend;
}

static uint64_t q_width(const ModelShape *s) { return (uint64_t)s->n_heads * s->head_dim * (s->attn_gate ? 2 : 1); }

static void *lay_out(const ForwardConfig *c, Cutter *own, Cutter *passing) {
    const ModelShape *s = &c->model->shape;
    uint64_t chunk = c->chunk, kv_width = (uint64_t)s->n_kv_heads * s->head_dim, half = s->rotary_dim / 2;
    Attention counted = {0}, *there = forward_take(own, 1, sizeof *there), *a = there ? there : &counted;
    a->inv_freq = forward_take_floats(own, half);
    a->cosines = forward_take_floats(own, chunk * half);
    a->sines = forward_take_floats(own, chunk * half);
    forward_take_rows(own, &a->o, c, chunk, s->n_heads * s->head_dim);
    a->q = forward_take_floats(passing, chunk * q_width(s));
    a->k = forward_take_floats(passing, chunk * kv_width);
    a->v = forward_take_floats(passing, chunk * kv_width);
    a->parts = forward_take_floats(passing, forward_attend_parts_floats(c));
    for (uint32_t i = 0; there && i < half; i++) a->inv_freq[i] = (float)(1.0 / pow(s->rope_theta, 2.0 * i / s->rotary_dim));
    return there;
}

static void rope_row(const Attention *a, uint32_t half, uint32_t row, uint32_t position) {
    for (uint32_t i = 0; i < half; i++) {
        /* the angle is rounded to f32, as in the reference; its cosine and sine are not rounded twice */
        double angle = (double)((float)position * a->inv_freq[i]);
        a->cosines[(uint64_t)row * half + i] = (float)cos(angle);
        a->sines[(uint64_t)row * half + i] = (float)sin(angle);
    }
}

/* Every layer turns by the same angles. */
static void begin(Forward *f) {
    const Attention *a = forward_attention_of(f);
    for (uint32_t i = 0; i < f->n_segments; i++) {
        const Segment *g = &f->segments[i];
        for (uint32_t t = 0; t < g->n; t++) rope_row(a, f->s->rotary_dim / 2, g->first + t, g->position + t);
    }
}

typedef struct PlaceJob {
    Forward *f;
    const LayerAt *at;
} PlaceJob;

/* The token of row t at this position. */
static void place_token(const PlaceJob *j, const ForwardState *state, uint32_t t, uint32_t position) {
    Forward *f = j->f;
    const Attention *a = forward_attention_of(f);
    const ModelLayer *layer = j->at->layer;
    uint8_t *keys = forward_keys(state, j->at), *values = forward_values(state, j->at);
    const Kernels *kernels = f->c.kernels;
    const ModelShape *s = f->s;
    uint32_t dim = s->head_dim, q_stride = dim * (s->attn_gate ? 2 : 1), half = s->rotary_dim / 2;
    const float *cosines = a->cosines + (uint64_t)t * half, *sines = a->sines + (uint64_t)t * half;
    float q_scale = 1.0f / sqrtf((float)dim);
    for (uint32_t h = 0; h < s->n_heads; h++) {
        float *q = a->q + ((uint64_t)t * s->n_heads + h) * q_stride;
        kernels->rms_norm(q, q, layer->q_norm, s->eps, dim);
        kernels->rope(q, cosines, sines, s->rotary_dim);
        kernels->scale(q, q, q_scale, dim);
    }
    for (uint32_t h = 0; h < s->n_kv_heads; h++) {
        uint64_t row = ((uint64_t)t * s->n_kv_heads + h) * dim, block = forward_kv_block(&f->c, h, position / KERNELS_KEY_BLOCK);
        kernels->rms_norm(a->k + row, a->k + row, layer->k_norm, s->eps, dim);
        kernels->rope(a->k + row, cosines, sines, s->rotary_dim);
        kernels_store_key(f->c.kv_type, keys + block, position % KERNELS_KEY_BLOCK, a->k + row, dim);
        kernels_store_value(f->c.kv_type, values + block, position % KERNELS_KEY_BLOCK, a->v + row, dim);
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

static void run(Forward *f, const LayerAt *at) {
    const ModelShape *s = f->s;
    Attention *a = forward_attention_of(f);
    const ModelLayer *layer = at->layer;
    PlaceJob job = {f, at};
    const MatPart in[] = {{&layer->q, f->in.acts, a->q, q_width(s)},
                          {&layer->k, f->in.acts, a->k, (uint64_t)s->n_kv_heads * s->head_dim},
                          {&layer->v, f->in.acts, a->v, (uint64_t)s->n_kv_heads * s->head_dim}};
    forward_matmuls(f, in, COUNT_OF(in), f->n);
    uint32_t runs = 0;
    for (uint32_t i = 0; i < f->n_segments; i++) runs += runs_of(&f->segments[i]);
    os_pool_run(f->c.pool, (int)runs, place_task, &job);
    forward_attend(f, at);
    forward_matmul(f, &layer->o, a->o.acts, f->n, f->mix, s->hidden);
}

const ForwardMixer forward_mixer_full = {
    .lists = forward_attention_lists, .token = token, .scratch = scratch, .lay_out = lay_out, .begin = begin, .run = run};
