/* The gated delta net of a linear layer (Qwen3-Next, Qwen3.5):
 *   q, k, v = split(silu(conv(W_qkv x)));  q, k: l2 norm per head, q / sqrt(dk)
 *   beta = sigmoid(W_b x);  g = ssm_a * softplus(W_a x + dt_bias)
 *   per value head:  S = e^g S;  d = beta (v - S^T k);  S += k d^T;  o = S^T q
 *   out = W_out (norm(o) * silu(z))
 * computed by its recurrence, token after token, in prefill too: a head's state stays in the cache, heads are independent,
 * and no way of cutting a prompt can change a bit. */
#include "forward/inside.h"

#include <math.h>
#include <string.h>

typedef struct LinearJob {
    Forward *f;
    const ModelLayer *layer;
    float *conv_state; /* [blocks][width - 1][CONV_BLOCK] */
    float *delta;      /* [lin_v_heads][dk][dv] */
    float *marked_conv, *marked_delta; /* what both were after f->mark tokens goes there; NULL without a mark */
} LinearJob;

/* One block of channels through all tokens of the step, in time order. */
static void conv_task(void *arg, int task, int worker) {
    (void)worker;
    const LinearJob *j = arg;
    Forward *f = j->f;
    uint32_t channels = forward_conv_channels(f->s), width = f->s->conv_width;
    uint32_t first = (uint32_t)task * CONV_BLOCK;
    uint32_t n = channels - first < CONV_BLOCK ? channels - first : CONV_BLOCK;
    float *state = j->conv_state + (uint64_t)task * (width - 1) * CONV_BLOCK;
    for (uint32_t t = 0; t < f->n; t++) {
        uint64_t at = (uint64_t)t * channels + first;
        f->c.kernels->conv_silu(f->conv + at, f->wide + at, state, j->layer->conv + (uint64_t)first * width, n, width);
        if (j->marked_conv && t + 1 == f->mark)
            memcpy(j->marked_conv + (state - j->conv_state), state, (uint64_t)(width - 1) * CONV_BLOCK * sizeof *state);
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

/* One value head through all tokens of the step, in time order, each followed by its gated norm. */
static void head_task(void *arg, int task, int worker) {
    const LinearJob *j = arg;
    Forward *f = j->f;
    const ModelShape *s = f->s;
    uint32_t h = (uint32_t)task, dk = s->lin_k_dim, dv = s->lin_v_dim;
    float *state = j->delta + (uint64_t)h * dk * dv;
    for (uint32_t t = 0; t < f->n; t++) {
        const float *qkv = f->conv + (uint64_t)t * forward_conv_channels(s);
        const float *q = qkv + (uint64_t)model_k_head(s, h) * dk, *k = q + forward_k_width(s);
        const float *v = qkv + 2 * (uint64_t)forward_k_width(s) + (uint64_t)h * dv;
        const float *z = f->z + (uint64_t)t * forward_v_width(s) + (uint64_t)h * dv;
        float *o = f->lin_o.x + (uint64_t)t * f->lin_o.n + (uint64_t)h * dv;
        uint64_t gate = (uint64_t)t * s->lin_v_heads + h;
        f->c.kernels->delta_rule(state, q, k, v, f->decay[gate], f->beta[gate], o, forward_scratch(f, worker), dk, dv);
        if (j->marked_delta && t + 1 == f->mark)
            memcpy(j->marked_delta + (state - j->delta), state, (uint64_t)dk * dv * sizeof *state);
        f->c.kernels->rms_norm(o, o, j->layer->lin_norm, s->eps, dv);
        f->c.kernels->silu_mul(o, z, o, dv);
    }
}

static void ready_task(void *arg, int task, int worker) {
    (void)worker;
    Forward *f = arg;
    forward_row_ready(f, &f->lin_o, (uint32_t)task);
}

void forward_linear(Forward *f, ForwardState *state, const ModelLayer *layer, uint32_t index) {
    const ModelShape *s = f->s;
    uint64_t conv_at = index * forward_conv_state_floats(s), delta_at = index * forward_delta_floats(s);
    LinearJob job = {.f = f, .layer = layer, .conv_state = state->conv + conv_at, .delta = state->delta + delta_at};
    if (f->mark) job.marked_conv = state->marked_conv + conv_at, job.marked_delta = state->marked_delta + delta_at;
    forward_matmul(f, &layer->lin_qkv, f->in.acts, f->n, f->wide, forward_conv_channels(s));
    forward_matmul(f, &layer->lin_z, f->in.acts, f->n, f->z, forward_v_width(s));
    forward_matmul(f, &layer->lin_b, f->in_f32, f->n, f->beta, s->lin_v_heads);
    forward_matmul(f, &layer->lin_a, f->in_f32, f->n, f->decay, s->lin_v_heads);
    os_pool_run(f->c.pool, (int)forward_conv_blocks(s), conv_task, &job);
    os_pool_run(f->c.pool, (int)f->n, gates_task, &job);
    os_pool_run(f->c.pool, (int)s->lin_v_heads, head_task, &job);
    os_pool_run(f->c.pool, (int)f->n, ready_task, f);
    forward_matmul(f, &layer->lin_out, f->lin_o.acts, f->n, f->mix, s->hidden);
}
