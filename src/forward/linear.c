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

enum { CONV_BLOCK = 256 }; /* channels whose convolution state lies together: the unit of work of one task */

typedef struct Linear {
    Rows o;              /* [chunk][V] input of the output projection */
    /* passing */
    float *wide;         /* [chunk][conv channels] before the convolution */
    float *conv;         /* [chunk][conv channels] after it: q, k, v */
    float *z;            /* [chunk][V] */
    float *beta, *decay; /* [chunk][lin_v_heads] */
} Linear;

typedef struct LinearJob {
    Forward *f;
    Linear *b;
    const ModelLayer *layer;
    /* of this layer in a state's recurrent, floats: */
    uint64_t delta_at; /* [lin_v_heads][blocks of KERNELS_DELTA_COLUMNS of dv][dk][columns of the block] */
    uint64_t conv_at;  /* [blocks of channels][width - 1][CONV_BLOCK] */
} LinearJob;

/* ---- sizes and buffers ---- */

static uint32_t k_width(const ModelShape *s) { return s->lin_k_heads * s->lin_k_dim; }
static uint32_t v_width(const ModelShape *s) { return s->lin_v_heads * s->lin_v_dim; }
static uint32_t conv_channels(const ModelShape *s) { return 2 * k_width(s) + v_width(s); }
static uint32_t conv_blocks(const ModelShape *s) { return (conv_channels(s) + CONV_BLOCK - 1) / CONV_BLOCK; }
static uint32_t delta_blocks(const ModelShape *s) { return (s->lin_v_dim + KERNELS_DELTA_COLUMNS - 1) / KERNELS_DELTA_COLUMNS; }
static uint64_t delta_floats(const ModelShape *s) { return (uint64_t)s->lin_v_heads * s->lin_k_dim * s->lin_v_dim; }

static uint64_t recurrent(const ForwardConfig *c) {
    const ModelShape *s = &c->model->shape;
    return delta_floats(s) + (s->conv_width ? (uint64_t)conv_blocks(s) * (s->conv_width - 1) * CONV_BLOCK : 0);
}

static ForwardToken token(const Model *m, QuantType kv_type) {
    const ModelShape *s = &m->shape;
    (void)kv_type;
    uint64_t conv = s->conv_width ? (uint64_t)conv_channels(s) * (s->conv_width - 1) : 0; /* without padding */
    return (ForwardToken){.state = (delta_floats(s) + conv) * sizeof(float)};
}

/* The longest row of its matrices. */
static uint64_t scratch(const ForwardConfig *c) { return v_width(&c->model->shape); }

static void *lay_out(const ForwardConfig *c, Cutter *own, Cutter *passing) {
    const ModelShape *s = &c->model->shape;
    uint64_t chunk = c->chunk, channels = conv_channels(s);
    Linear counted = {0}, *there = forward_take(own, 1, sizeof *there), *b = there ? there : &counted;
    forward_take_rows(own, &b->o, c, chunk, v_width(s));
    b->wide = forward_take_floats(passing, chunk * channels);
    b->conv = forward_take_floats(passing, chunk * channels);
    b->z = forward_take_floats(passing, chunk * v_width(s));
    b->beta = forward_take_floats(passing, chunk * s->lin_v_heads);
    b->decay = forward_take_floats(passing, chunk * s->lin_v_heads);
    return there;
}

static Linear *buffers_of(const Forward *f) { return f->mixers[MODEL_MIXER_LINEAR]; }

/* ---- running ---- */

/* Tasks are numbered [segments][parts]; the long segments, which take longest, come first. */
static const Segment *segment_of(const LinearJob *j, int task, uint32_t parts) {
    return &j->f->segments[j->f->n_segments - 1 - (uint32_t)task / parts];
}

/* One block of channels through all tokens of a segment, in time order. */
static void conv_task(void *arg, int task, int worker) {
    (void)worker;
    const LinearJob *j = arg;
    Forward *f = j->f;
    Linear *b = j->b;
    const Segment *g = segment_of(j, task, conv_blocks(f->s));
    uint32_t channels = conv_channels(f->s), width = f->s->conv_width;
    uint32_t block = (uint32_t)task % conv_blocks(f->s), first = block * CONV_BLOCK;
    uint32_t n = channels - first < CONV_BLOCK ? channels - first : CONV_BLOCK;
    uint64_t floats = (uint64_t)(width - 1) * CONV_BLOCK, state_at = j->conv_at + block * floats;
    float *state = g->state->recurrent + state_at;
    for (uint32_t t = 0; t < g->n; t++) {
        uint64_t at = (uint64_t)(g->first + t) * channels + first;
        f->c.kernels->conv_silu(b->conv + at, b->wide + at, state, j->layer->conv + (uint64_t)first * width, n, width);
        if (t + 1 == g->mark) memcpy(g->state->marked + state_at, state, floats * sizeof *state);
    }
}

/* One token: norms of q and k; beta and decay of every value head. */
static void gates_task(void *arg, int task, int worker) {
    (void)worker;
    const LinearJob *j = arg;
    Forward *f = j->f;
    Linear *b = j->b;
    const ModelShape *s = f->s;
    uint64_t t = (uint64_t)task;
    float *q = b->conv + t * conv_channels(s), *k = q + k_width(s);
    float q_scale = 1.0f / sqrtf((float)s->lin_k_dim);
    for (uint32_t h = 0; h < s->lin_k_heads; h++) {
        float *qh = q + (uint64_t)h * s->lin_k_dim, *kh = k + (uint64_t)h * s->lin_k_dim;
        f->c.kernels->l2_norm(qh, qh, 1e-6f, q_scale, s->lin_k_dim);
        f->c.kernels->l2_norm(kh, kh, 1e-6f, 1.0f, s->lin_k_dim);
    }
    float *beta = b->beta + t * s->lin_v_heads, *decay = b->decay + t * s->lin_v_heads;
    for (uint32_t h = 0; h < s->lin_v_heads; h++) {
        beta[h] = kernels_sigmoid(beta[h]);
        decay[h] = kernels_exp(j->layer->ssm_a[h] * kernels_softplus(decay[h] + j->layer->dt_bias[h]));
    }
}

static void run_columns(const LinearJob *j, float *state, uint32_t h, uint32_t column, uint32_t n_columns, uint32_t first, uint32_t last) {
    Forward *f = j->f;
    Linear *b = j->b;
    const ModelShape *s = f->s;
    uint32_t dk = s->lin_k_dim, dv = s->lin_v_dim;
    uint64_t gate = (uint64_t)first * s->lin_v_heads + h, stride = conv_channels(s);
    const float *q = b->conv + first * stride + (uint64_t)model_k_head(s, h) * dk;
    KernelsDelta d = {.q = q,
                      .k = q + k_width(s),
                      .v = b->conv + first * stride + 2 * (uint64_t)k_width(s) + (uint64_t)h * dv + column,
                      .o = b->o.x + (uint64_t)first * b->o.n + (uint64_t)h * dv + column,
                      .decay = b->decay + gate,
                      .beta = b->beta + gate,
                      .stride = stride,
                      .o_stride = b->o.n,
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
    float *state = g->state->recurrent + at;
    for (uint32_t next; first < last; first = next) {
        next = first < mark && mark < last ? mark : last;
        run_columns(j, state, h, column, n_columns, first, next);
        if (next == mark) memcpy(g->state->marked + at, state, (uint64_t)dk * n_columns * sizeof *state);
    }
}

/* The gated norm of one value head's outputs, and its part of the rows that the output matrix reads. */
static void gated_norm(const LinearJob *j, uint32_t h, uint32_t first, uint32_t last) {
    Forward *f = j->f;
    Linear *b = j->b;
    uint32_t dv = f->s->lin_v_dim;
    for (uint32_t t = first; t < last; t++) {
        const float *z = b->z + (uint64_t)t * v_width(f->s) + (uint64_t)h * dv;
        float *o = b->o.x + (uint64_t)t * b->o.n + (uint64_t)h * dv;
        f->c.kernels->rms_norm(o, o, j->layer->lin_norm, f->s->eps, dv);
        f->c.kernels->silu_mul(o, z, o, dv);
        if (dv % KERNELS_ACT_BLOCK == 0) forward_part_ready(f, &b->o, t, h * dv, dv);
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
    uint32_t blocks = delta_blocks(j->f->s), heads = j->f->s->lin_v_heads;
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
        os_pool_run(pool, (int)(heads * delta_blocks(s)), columns_task, j);
        os_pool_run(pool, (int)s->lin_v_heads, norm_task, j);
    }
}

static void ready_task(void *arg, int task, int worker) {
    (void)worker;
    Forward *f = arg;
    forward_row_ready(f, &buffers_of(f)->o, (uint32_t)task);
}

static void run(Forward *f, const LayerAt *at) {
    const ModelShape *s = f->s;
    const ModelLayer *layer = at->layer;
    Linear *b = buffers_of(f);
    LinearJob job = {f, b, layer, at->recurrent_at, at->recurrent_at + delta_floats(s)};
    const MatPart in[] = {{&layer->lin_qkv, f->in.acts, b->wide, conv_channels(s)},
                          {&layer->lin_z, f->in.acts, b->z, v_width(s)},
                          {&layer->lin_b, f->in_f32, b->beta, s->lin_v_heads},
                          {&layer->lin_a, f->in_f32, b->decay, s->lin_v_heads}};
    forward_matmuls(f, in, COUNT_OF(in), f->n);
    os_pool_run(f->c.pool, (int)(f->n_segments * conv_blocks(s)), conv_task, &job);
    os_pool_run(f->c.pool, (int)f->n, gates_task, &job);
    delta_rule(&job);
    if (s->lin_v_dim % KERNELS_ACT_BLOCK) os_pool_run(f->c.pool, (int)f->n, ready_task, f); /* heads share blocks */
    forward_matmul(f, &layer->lin_out, b->o.acts, f->n, f->mix, s->hidden);
}

const ForwardMixer forward_mixer_linear = {.recurrent = recurrent, .token = token, .scratch = scratch, .lay_out = lay_out, .run = run};
