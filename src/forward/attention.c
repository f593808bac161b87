/* Full attention: grouped queries, norms of q and k, rotary positions on the first rotary_dim elements, causal softmax over fixed
 * key blocks, and where the architecture has it a sigmoid gate on the output. */
#include "forward/inside.h"

#include <math.h>
#include <string.h>

void forward_rope_table(Forward *f, uint32_t position) {
    uint32_t half = f->s->rotary_dim / 2;
    for (uint32_t t = 0; t < f->n; t++)
        for (uint32_t i = 0; i < half; i++) {
            /* the angle is rounded to f32, as in the reference; its cosine and sine are not rounded twice */
            double angle = (double)((float)(position + t) * f->inv_freq[i]);
            f->cosines[(uint64_t)t * half + i] = (float)cos(angle);
            f->sines[(uint64_t)t * half + i] = (float)sin(angle);
        }
}

typedef struct AttentionJob {
    Forward *f;
    const ModelLayer *layer;
    uint8_t *keys, *values; /* [kv_heads][ctx][head_dim] of kv_type */
    uint32_t position;
} AttentionJob;

static void store_row(const Forward *f, uint8_t *base, uint32_t head, uint32_t position, const float *row) {
    uint32_t dim = f->s->head_dim;
    uint64_t at = ((uint64_t)head * f->c.ctx + position) * dim;
    if (f->c.kv_type == QUANT_F32) {
        memcpy((float *)(void *)base + at, row, dim * sizeof *row);
    } else {
        uint16_t *half = (uint16_t *)(void *)base + at;
        for (uint32_t i = 0; i < dim; i++) half[i] = quant_f32_to_f16(row[i]);
    }
}

/* One token: queries and keys normed and turned, keys and values stored. */
static void place_task(void *arg, int task, int worker) {
    (void)worker;
    const AttentionJob *j = arg;
    Forward *f = j->f;
    const ModelShape *s = f->s;
    uint64_t t = (uint64_t)task;
    uint32_t dim = s->head_dim, q_stride = dim * (s->attn_gate ? 2 : 1), half = s->rotary_dim / 2;
    const float *cosines = f->cosines + t * half, *sines = f->sines + t * half;
    float q_scale = 1.0f / sqrtf((float)dim);
    for (uint32_t h = 0; h < s->n_heads; h++) {
        float *q = f->wide + (t * s->n_heads + h) * q_stride;
        f->c.kernels->rms_norm(q, q, j->layer->q_norm, s->eps, dim);
        f->c.kernels->rope(q, cosines, sines, s->rotary_dim);
        f->c.kernels->scale(q, q, q_scale, dim);
    }
    for (uint32_t h = 0; h < s->n_kv_heads; h++) {
        float *k = f->k + (t * s->n_kv_heads + h) * dim;
        f->c.kernels->rms_norm(k, k, j->layer->k_norm, s->eps, dim);
        f->c.kernels->rope(k, cosines, sines, s->rotary_dim);
        store_row(f, j->keys, h, j->position + (uint32_t)task, k);
        store_row(f, j->values, h, j->position + (uint32_t)task, f->v + (t * s->n_kv_heads + h) * dim);
    }
}

/* One query head of one token over all keys up to its own. */
static void head_task(void *arg, int task, int worker) {
    const AttentionJob *j = arg;
    Forward *f = j->f;
    const ModelShape *s = f->s;
    uint32_t t = (uint32_t)task / s->n_heads, h = (uint32_t)task % s->n_heads, dim = s->head_dim;
    uint64_t kv_head = h / (s->n_heads / s->n_kv_heads);
    uint64_t skip = kv_head * f->c.ctx * dim * quant_traits(f->c.kv_type)->block_bytes;
    const float *q = f->wide + ((uint64_t)t * s->n_heads + h) * dim * (s->attn_gate ? 2u : 1u);
    float *o = f->att_o.x + (uint64_t)t * f->att_o.n + (uint64_t)h * dim;
    f->c.kernels->attention(q, j->keys + skip, j->values + skip, f->c.kv_type, dim, dim, j->position + t + 1, dim, dim, o,
                            forward_scratch(f, worker));
    if (s->attn_gate) f->c.kernels->sigmoid_mul(o, q + dim, dim);
}

static void ready_task(void *arg, int task, int worker) {
    (void)worker;
    Forward *f = arg;
    forward_row_ready(f, &f->att_o, (uint32_t)task);
}

void forward_attention(Forward *f, ForwardState *state, const ModelLayer *layer, uint32_t index) {
    const ModelShape *s = f->s;
    uint64_t bytes = forward_keys_bytes(&f->c);
    uint8_t *keys = state->kv + 2 * (uint64_t)index * bytes;
    AttentionJob job = {f, layer, keys, keys + bytes, state->position};
    forward_matmul(f, &layer->q, f->in.acts, f->n, f->wide, (uint64_t)s->n_heads * s->head_dim * (s->attn_gate ? 2 : 1));
    forward_matmul(f, &layer->k, f->in.acts, f->n, f->k, (uint64_t)s->n_kv_heads * s->head_dim);
    forward_matmul(f, &layer->v, f->in.acts, f->n, f->v, (uint64_t)s->n_kv_heads * s->head_dim);
    os_pool_run(f->c.pool, (int)f->n, place_task, &job);
    os_pool_run(f->c.pool, (int)(f->n * s->n_heads), head_task, &job);
    os_pool_run(f->c.pool, (int)f->n, ready_task, f);
    forward_matmul(f, &layer->o, f->att_o.acts, f->n, f->mix, s->hidden);
}
