/* NEON rung: attention of one head over blocks of keys. Formula and order: kernels.h; the scalar truth: scalar_mix.c. */
#include "kernels/neon.h"

/* part[i] = sum over keys of p[t] * value (t, i), keys ascending, for columns i .. i + 8 * pairs - 1. */
ALWAYS_INLINE void weigh_columns(QuantType type, const void *values, size_t stride, const float *p, size_t count, size_t pairs,
                                 size_t i, float *part) {
    float32x4x2_t sum[8];
    UNROLL for (size_t c = 0; c < pairs; c++) sum[c].val[0] = sum[c].val[1] = vdupq_n_f32(0.0f);
    for (size_t t = 0; t < count; t++) {
        UNROLL for (size_t c = 0; c < pairs; c++) {
            float32x4x2_t v = neon_load8(type, values, t * stride + i + 8 * c);
            sum[c].val[0] = vfmaq_n_f32(sum[c].val[0], v.val[0], p[t]);
            sum[c].val[1] = vfmaq_n_f32(sum[c].val[1], v.val[1], p[t]);
        }
    }
    UNROLL for (size_t c = 0; c < pairs; c++) {
        vst1q_f32(part + i + 8 * c, sum[c].val[0]);
        vst1q_f32(part + i + 8 * c + 4, sum[c].val[1]);
    }
}

ALWAYS_INLINE void weigh(QuantType type, const void *values, size_t stride, const float *p, size_t count, size_t dim_v, float *part) {
    size_t i = 0;
    for (; i + 64 <= dim_v; i += 64) weigh_columns(type, values, stride, p, count, 8, i, part);
    for (; i + 8 <= dim_v; i += 8) weigh_columns(type, values, stride, p, count, 1, i, part);
    for (; i < dim_v; i++) {
        part[i] = 0.0f;
        for (size_t t = 0; t < count; t++) {
            size_t at = t * stride + i;
            float value = type == QUANT_F32 ? ((const float *)values)[at] : quant_f16_to_f32(((const uint16_t *)values)[at]);
            part[i] = fmaf(p[t], value, part[i]);
        }
    }
}

void kernels_neon_attention(const float *q, const void *keys, const void *values, QuantType kv_type, size_t stride_k,
                            size_t stride_v, size_t n_keys, size_t dim, size_t dim_v, float *o, float *scratch) {
    size_t bytes = kv_type == QUANT_F32 ? 4 : 2;
    float *scores = scratch, *part = scratch + KERNELS_KEY_BLOCK; /* [dim_v] */
    float max = -INFINITY, sum = 0.0f;
    memset(o, 0, dim_v * sizeof *o);
    for (size_t first = 0; first < n_keys; first += KERNELS_KEY_BLOCK) {
        size_t count = n_keys - first < KERNELS_KEY_BLOCK ? n_keys - first : KERNELS_KEY_BLOCK;
        const char *k = (const char *)keys + first * stride_k * bytes, *v = (const char *)values + first * stride_v * bytes;
        for (size_t t = 0; t < count; t++) kernels_neon_dots(kv_type, k + t * stride_k * bytes, &q, 1, dim, &scores[t]);
        float block_max = kernels_neon_max(scores, count);
        float block_sum = kernels_neon_exp_sum(scores, block_max, count);
        if (kv_type == QUANT_F32) weigh(QUANT_F32, v, stride_v, scores, count, dim_v, part);
        else weigh(QUANT_F16, v, stride_v, scores, count, dim_v, part);

        float new_max = block_max > max ? block_max : max;
        float keep = poly_exp(max - new_max), take = poly_exp(block_max - new_max);
        sum = fmaf(block_sum, take, sum * keep);
        kernels_neon_scale(o, o, keep, dim_v);
        kernels_neon_axpy(o, part, take, dim_v);
        max = new_max;
    }
    if (n_keys) kernels_neon_scale(o, o, 1.0f / sum, dim_v);
}
