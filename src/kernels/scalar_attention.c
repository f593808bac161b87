/* Scalar rung, attention: queries against one block of keys, and blocks joined. Formulas and order: kernels.h; layout: kv.h. */
#include "kernels/kv.h"
#include "kernels/poly.h"
#include "kernels/rungs.h"

#include <string.h>

/* The number at p; of q8_0 the code. */
static float number(QuantType type, const uint8_t *p) {
    float f;
    uint16_t half;
    if (type == QUANT_Q8_0) return (float)*(const int8_t *)p;
    if (type == QUANT_F32) return memcpy(&f, p, sizeof f), f;
    return memcpy(&half, p, sizeof half), quant_f16_to_f32(half);
}

static float score(QuantType type, const uint8_t *keys, const float *q, size_t t, size_t dim) {
    size_t run = type == QUANT_Q8_0 ? KV_RUN : dim;
    float total = 0.0f;
    for (size_t first = 0; first < dim; first += run) {
        float sum = 0.0f;
        for (size_t i = first; i < first + run; i++) sum = fmaf(q[i], number(type, keys + kv_key_at(type, dim, t, i)), sum);
        total = type == QUANT_Q8_0 ? fmaf(number(QUANT_F16, keys + kv_key_scale(dim, t, first / KV_RUN)), sum, total) : sum;
    }
    return total;
}

void kernels_scalar_attention(QuantType type, const void *keys, const void *values, size_t dim, const KernelsQuery *queries, size_t n,
                              float *scratch) {
    for (size_t at = 0; at < n; at++) {
        const KernelsQuery *query = &queries[at];
        float *p = scratch, *o = query->part; /* [n_keys], [dim] */
        for (size_t t = 0; t < query->n_keys; t++) p[t] = score(type, keys, query->q, t, dim);
        o[dim] = kernels_scalar_max(p, query->n_keys);
        o[dim + 1] = kernels_scalar_exp_sum(p, o[dim], query->n_keys);
        for (size_t i = 0; i < dim; i++) {
            o[i] = 0.0f;
            for (size_t t = 0; t < query->n_keys; t++) {
                float weight = p[t];
                if (type == QUANT_Q8_0) weight *= number(QUANT_F16, (const uint8_t *)values + kv_value_scale(t, i / KV_RUN));
                o[i] = fmaf(weight, number(type, (const uint8_t *)values + kv_value_at(type, t, i)), o[i]);
            }
        }
    }
}

void kernels_scalar_attention_join(float *total, const float *part, size_t dim) {
    float max = part[dim] > total[dim] ? part[dim] : total[dim];
    float keep = poly_exp(total[dim] - max), take = poly_exp(part[dim] - max);
    for (size_t i = 0; i < dim; i++) total[i] = fmaf(part[i], take, total[i] * keep);
    total[dim] = max;
    total[dim + 1] = fmaf(part[dim + 1], take, total[dim + 1] * keep);
}
