/* Scalar rung, mixing over tokens: causal convolution, the gated delta rule, attention. */
#include "kernels/poly.h"
#include "kernels/rungs.h"

#include <string.h>

void kernels_scalar_conv_silu(float *y, const float *x, float *state, const float *w, size_t n, size_t width) {
    for (size_t c = 0; c < n; c++) {
        const float *taps = w + c * width; /* [width] */
        float now = x[c], sum = 0.0f;
        for (size_t j = 0; j < width; j++) {
            float in = j + 1 < width ? state[j * n + c] : now;
            sum = j == 0 ? taps[j] * in : fmaf(taps[j], in, sum);
        }
        for (size_t j = 0; j + 1 < width; j++) state[j * n + c] = j + 2 < width ? state[(j + 1) * n + c] : now;
        y[c] = poly_silu(sum);
    }
}

void kernels_scalar_delta_rule(float *S, const float *q, const float *k, const float *v, float decay, float beta, float *o,
                               float *tmp, size_t dk, size_t dv) {
    float *k_s = tmp, *q_s = tmp + dv; /* [dv]: S^T k and S^T q */
    memset(tmp, 0, 2 * dv * sizeof *tmp);
    for (size_t i = 0; i < dk; i++) {
        kernels_scalar_axpy(k_s, S + i * dv, k[i], dv);
        kernels_scalar_axpy(q_s, S + i * dv, q[i], dv);
    }
    float k_q = kernels_scalar_dot(k, q, dk);
    float *d = k_s; /* takes the place of S^T k */
    for (size_t j = 0; j < dv; j++) {
        d[j] = beta * fmaf(-decay, k_s[j], v[j]);
        o[j] = fmaf(k_q, d[j], decay * q_s[j]);
    }
    for (size_t i = 0; i < dk; i++)
        for (size_t j = 0; j < dv; j++) S[i * dv + j] = fmaf(k[i], d[j], decay * S[i * dv + j]);
}

/* Row t of keys or values as f32: where it stands, or converted into row. */
static const float *kv_row(const void *base, QuantType type, size_t t, size_t stride, size_t dim, float *row) {
    if (type == QUANT_F32) return (const float *)base + t * stride;
    const uint16_t *half = (const uint16_t *)base + t * stride;
    for (size_t i = 0; i < dim; i++) row[i] = quant_f16_to_f32(half[i]);
    return row;
}

void kernels_scalar_attention(const float *q, const void *keys, const void *values, QuantType kv_type, size_t stride_k,
                              size_t stride_v, size_t n_keys, size_t dim, size_t dim_v, float *o, float *scratch) {
    float *scores = scratch, *row = scratch + KERNELS_KEY_BLOCK, *part = row + (dim > dim_v ? dim : dim_v); /* [dim_v] */
    float max = -INFINITY, sum = 0.0f;
    memset(o, 0, dim_v * sizeof *o);
    for (size_t first = 0; first < n_keys; first += KERNELS_KEY_BLOCK) {
        size_t count = n_keys - first < KERNELS_KEY_BLOCK ? n_keys - first : KERNELS_KEY_BLOCK;
        for (size_t t = 0; t < count; t++)
            scores[t] = kernels_scalar_dot(q, kv_row(keys, kv_type, first + t, stride_k, dim, row), dim);
        /* the block by itself: its maximum, its sum of exponentials, its weighted sum of values */
        float block_max = kernels_scalar_max(scores, count);
        float block_sum = kernels_scalar_exp_sum(scores, block_max, count);
        memset(part, 0, dim_v * sizeof *part);
        for (size_t t = 0; t < count; t++)
            kernels_scalar_axpy(part, kv_row(values, kv_type, first + t, stride_v, dim_v, row), scores[t], dim_v);
        /* what came before and the block, both brought to the common maximum */
        float new_max = block_max > max ? block_max : max;
        float keep = poly_exp(max - new_max), take = poly_exp(block_max - new_max);
        sum = fmaf(block_sum, take, sum * keep);
        for (size_t i = 0; i < dim_v; i++) o[i] = fmaf(part[i], take, o[i] * keep);
        max = new_max;
    }
    if (n_keys) kernels_scalar_scale(o, o, 1.0f / sum, dim_v);
}
