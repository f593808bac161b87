/* The gated delta net of a linear layer (Qwen3-Next, Qwen3.5):
 *   q, k, v = split(silu(conv(W_qkv x)));  q, k: l2 norm per head, q / sqrt(dk)
 *   beta = sigmoid(W_b x);  g = ssm_a * softplus(W_a x + dt_bias)
 *   per value head:  S = e^g S;  d = beta (v - S^T k);  S += k d^T;  o = S^T q
 *   out = W_out (norm(o) * silu(z))
 * computed by its recurrence, token after token, in prefill too: heads and columns of the state are independent, a block of columns
 * stays in the cache, and no way of cutting a prompt can change a bit. */
#include "forward/inside.h"

#include <math.h>
#include <string.h>

typedef struct LinearJob {
    Forward *f;
    const ModelLayer *layer;
    uint64_t conv_at;  /* of this layer in a state's conv: [blocks][width - 1][CONV_BLOCK] */
    uint64_t delta_at; /* the same in its delta: [lin_v_heads][blocks of columns][dk][columns of the block] */
} LinearJob;

/* Tasks are numbered [segments][parts]; the long segments, which take longest, come first. */
static const Segment *segment_of(const LinearJob *j, int task, uint32_t parts) {
    return &j->f->segments[j->f->n_segments - 1 - (uint32_t)task / parts];
}

/* One block of channels through all tokens of a segment, in time order. */
static void conv_task(void *arg, int task, int worker) {
    (void)worker;
    const LinearJob *j = arg;
    Forward *f = j->f;
    const Segment *g = segment_of(j, task, forward_conv_blocks(f->s));
    uint32_t channels = forward_conv_channels(f->s), width = f->s->conv_width;
    uint32_t block = (uint32_t)task % forward_conv_blocks(f->s), first = block * CONV_BLOCK;
    uint32_t n = channels - first < CONV_BLOCK ? channels - first : CONV_BLOCK;
    uint64_t floats = (uint64_t)(width - 1) * CONV_BLOCK, state_at = j->conv_at + block * floats;
    float *state = g->state->conv + state_at;
    for (uint32_t t = 0; t < g->n; t++) {
        uint64_t at = (uint64_t)(g->first + t) * channels + first;
        f->c.kernels->conv_silu(f->conv + at, f->wide + at, state, j->layer->conv + (uint64_t)first * width, n, width);
        if (t + 1 == g->mark) memcpy(g->state->marked_conv + state_at, state, floats * sizeof *state);
    }
}

/* One token: norms of q and k; beta and decay of every value head. */
static void gates_task(void *arg, int task, int worker) {
    (void)worker;
    const LinearJob *j = arg;
    Forward *f = j->f;
    const ModelShape *s = f->s;
    uint64_t t = (uint64_t)task;
    float *q = f->conv + t * forward_conv_channels(s), *k = q + forward_k_width(s);
    float q_scale = 1.0f / sqrtf((float)s->lin_k_dim);
    for (uint32_t h = 0; h < s->lin_k_heads; h++) {
        float *qh = q + (uint64_t)h * s->lin_k_dim, *kh = k + (uint64_t)h * s->lin_k_dim;
        f->c.kernels->l2_norm(qh, qh, 1e-6f, q_scale, s->lin_k_dim);
        f->c.kernels->l2_norm(kh, kh, 1e-6f, 1.0f, s->lin_k_dim);
    }
    float *beta = f->beta + t * s->lin_v_heads, *decay = f->decay + t * s->lin_v_heads;
    for (uint32_t h = 0; h < s->lin_v_heads; h++) {
        beta[h] = kernels_sigmoid(beta[h]);
        decay[h] = kernels_exp(j->layer->ssm_a[h] * kernels_softplus(decay[h] + j->layer->dt_bias[h]));
    }
}

static void run_columns(const LinearJob *j, float *state, uint32_t h, uint32_t column, uint32_t n_columns, uint32_t first, uint32_t last) {
    Forward *f = j->f;
    const ModelShape *s = f->s;
    uint32_t dk = s->lin_k_dim, dv = s->lin_v_dim;
    uint64_t gate = (uint64_t)first * s->lin_v_heads + h, stride = forward_conv_channels(s);
    const float *q = f->conv + first * stride + (uint64_t)model_k_head(s, h) * dk;
    KernelsDelta d = {.q = q,
                      .k = q + forward_k_width(s),
                      .v = f->conv + first * stride + 2 * (uint64_t)forward_k_width(s) + (uint64_t)h * dv + column,
                      .o = f->lin_o.x + (uint64_t)first * f->lin_o.n + (uint64_t)h * dv + column,
                      .decay = f->decay + gate,
                      .beta = f->beta + gate,
                      .stride = stride,
                      .o_stride = f->lin_o.n,
                      .gate_stride = s->lin_v_heads,
                      .n_tokens = last - first,
                      .dk = dk,
                      .n_columns = n_columns};
    f->c.kernels->delta_rule(state, &d);
}

/* One block of columns of a value head's state through rows first .. last - 1 of a segment, in time order; with a halt at the mark. */
static void delta_columns(const LinearJob *j, const Segment *g, uint32_t h, uint32_t column, uint32_t first, uint32_t last) {
    uint32_t dk = j->f->s->lin_k_dim, dv = j->f->s->lin_v_dim, mark = g->first + g->mark; /* no row without a mark ends there */
    uint32_t n_columns = dv - column < KERNELS_DELTA_COLUMNS ? dv - column : KERNELS_DELTA_COLUMNS;
    uint64_t at = j->delta_at + (uint64_t)h * dk * dv + (uint64_t)dk * column;
    float *state = g->state->delta + at;
    for (uint32_t next; first < last; first = next) {
        next = first < mark && mark < last ? mark : last;
        run_columns(j, state, h, column, n_columns, first, next);
        if (next == mark) memcpy(g->state->marked_delta + at, state, (uint64_t)dk * n_columns * sizeof *state);
    }
}

/* The gated norm of one value head's outputs, and its part of the rows that the output matrix reads. */
static void gated_norm(const LinearJob *j, uint32_t h, uint32_t first, uint32_t last) {
    Forward *f = j->f;
    uint32_t dv = f->s->lin_v_dim;
    for (uint32_t t = first; t < last; t++) {
        const float *z = f->z + (uint64_t)t * forward_v_width(f->s) + (uint64_t)h * dv;
        float *o = f->lin_o.x + (uint64_t)t * f->lin_o.n + (uint64_t)h * dv;
        f->c.kernels->rms_norm(o, o, j->layer->lin_norm, f->s->eps, dv);
        f->c.kernels->silu_mul(o, z, o, dv);
        if (dv % KERNELS_ACT_BLOCK == 0) forward_part_ready(f, &f->lin_o, t, h * dv, dv);
    }
}

/* One value head through all tokens of a segment. Some tokens at a time, so that their outputs are in a near cache when all columns
 * are there; a block of columns through these tokens, so that it is in the first. */
enum { DELTA_TOKENS = 32 };

static void head_task(void *arg, int task, int worker) {
    (void)worker;
    const LinearJob *j = arg;
    const ModelShape *s = j->f->s;
    const Segment *g = segment_of(j, task, s->lin_v_heads);
    uint32_t h = (uint32_t)task % s->lin_v_heads, end = g->first + g->n;
    for (uint32_t first = g->first; first < end; first += DELTA_TOKENS) {
        uint32_t last = end - first < DELTA_TOKENS ? end : first + DELTA_TOKENS;
        for (uint32_t column = 0; column < s->lin_v_dim; column += KERNELS_DELTA_COLUMNS) delta_columns(j, g, h, column, first, last);
        gated_norm(j, h, first, last);
    }
}

/* With more threads than heads: columns and norms for themselves. */
static void columns_task(void *arg, int task, int worker) {
    (void)worker;
    const LinearJob *j = arg;
    uint32_t blocks = forward_delta_blocks(j->f->s), heads = j->f->s->lin_v_heads;
    const Segment *g = segment_of(j, task, heads * blocks);
    uint32_t h = (uint32_t)task / blocks % heads, column = (uint32_t)task % blocks * KERNELS_DELTA_COLUMNS;
    delta_columns(j, g, h, column, g->first, g->first + g->n);
}

static void norm_task(void *arg, int task, int worker) {
    (void)worker;
    const LinearJob *j = arg;
    gated_norm(j, (uint32_t)task, 0, j->f->n);
}

static void delta_rule(LinearJob *j) {
    const ModelShape *s = j->f->s;
    OsPool *pool = j->f->c.pool;
    uint32_t heads = j->f->n_segments * s->lin_v_heads;
    if ((uint32_t)os_pool_threads(pool) <= heads / 2) {
        os_pool_run(pool, (int)heads, head_task, j);
    } else {
        os_pool_run(pool, (int)(heads * forward_delta_blocks(s)), columns_task, j);
        os_pool_run(pool, (int)s->lin_v_heads, norm_task, j);
    }
}

static void ready_task(void *arg, int task, int worker) {
    (void)worker;
    Forward *f = arg;
    forward_row_ready(f, &f->lin_o, (uint32_t)task);
}

void forward_linear(Forward *f, const LayerAt *at) {
    const ModelShape *s = f->s;
    const ModelLayer *layer = at->layer;
    LinearJob job = {f, layer, at->index * forward_conv_state_floats(s), at->index * forward_delta_floats(s)};
    const MatPart in[] = {{&layer->lin_qkv, f->in.acts, f->wide, forward_conv_channels(s)},
                          {&layer->lin_z, f->in.acts, f->z, forward_v_width(s)},
                          {&layer->lin_b, f->in_f32, f->beta, s->lin_v_heads},
                          {&layer->lin_a, f->in_f32, f->decay, s->lin_v_heads}};
    forward_matmuls(f, in, COUNT_OF(in), f->n);
    os_pool_run(f->c.pool, (int)(f->n_segments * forward_conv_blocks(s)), conv_task, &job);
    os_pool_run(f->c.pool, (int)f->n, gates_task, &job);
    delta_rule(&job);
    if (s->lin_v_dim % KERNELS_ACT_BLOCK) os_pool_run(f->c.pool, (int)f->n, ready_task, f); /* heads share blocks */
    forward_matmul(f, &layer->lin_out, f->lin_o.acts, f->n, f->mix, s->hidden);
}
