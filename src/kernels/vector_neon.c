/* NEON rung, along one vector: norms, activations, rotary embedding, quantisation. What is left after whole vectors is done one
 * by one with the same formulas. */
#include "kernels/neon.h"
#include "kernels/order.h"

void kernels_neon_axpy(float *y, const float *x, float s, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        vst1q_f32(y + i, vfmaq_n_f32(vld1q_f32(y + i), vld1q_f32(x + i), s));
        vst1q_f32(y + i + 4, vfmaq_n_f32(vld1q_f32(y + i + 4), vld1q_f32(x + i + 4), s));
    }
    for (; i < n; i++) y[i] = fmaf(s, x[i], y[i]);
}

void kernels_neon_scale(float *y, const float *a, float s, size_t n) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4) vst1q_f32(y + i, vmulq_n_f32(vld1q_f32(a + i), s));
    for (; i < n; i++) y[i] = a[i] * s;
}

void kernels_neon_add(float *y, const float *x, size_t n) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4) vst1q_f32(y + i, vaddq_f32(vld1q_f32(y + i), vld1q_f32(x + i)));
    for (; i < n; i++) y[i] += x[i];
}

void kernels_neon_rms_norm(float *y, const float *x, const float *w, float eps, size_t n) {
    float r = order_rms_factor(kernels_neon_dot(x, x, n), eps, n);
    if (!w) {
        kernels_neon_scale(y, x, r, n);
        return;
    }
    size_t i = 0;
    for (; i + 4 <= n; i += 4) vst1q_f32(y + i, vmulq_f32(vmulq_n_f32(vld1q_f32(x + i), r), vld1q_f32(w + i)));
    for (; i < n; i++) y[i] = x[i] * r * w[i];
}

void kernels_neon_l2_norm(float *y, const float *x, float eps, float s, size_t n) {
    float r = 1.0f / sqrtf(kernels_neon_dot(x, x, n) + eps);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) vst1q_f32(y + i, vmulq_n_f32(vmulq_n_f32(vld1q_f32(x + i), r), s));
    for (; i < n; i++) y[i] = x[i] * r * s;
}

void kernels_neon_silu_mul(float *y, const float *gate, const float *up, size_t n) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4) vst1q_f32(y + i, vmulq_f32(neon_silu(vld1q_f32(gate + i)), vld1q_f32(up + i)));
    for (; i < n; i++) y[i] = poly_silu(gate[i]) * up[i];
}

void kernels_neon_sigmoid_mul(float *y, const float *g, size_t n) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4) vst1q_f32(y + i, vmulq_f32(vld1q_f32(y + i), neon_sigmoid(vld1q_f32(g + i))));
    for (; i < n; i++) y[i] *= poly_sigmoid(g[i]);
}

float kernels_neon_exp_sum(float *x, float shift, size_t n) {
    Lanes lanes;
    for (size_t j = 0; j < 8; j++) lanes.v[j] = vdupq_n_f32(0.0f);
    size_t i = 0;
    for (; i + 32 <= n; i += 32)
        UNROLL for (size_t j = 0; j < 8; j++) {
            float32x4_t e = neon_exp(vsubq_f32(vld1q_f32(x + i + 4 * j), vdupq_n_f32(shift)));
            vst1q_f32(x + i + 4 * j, e);
            lanes.v[j] = vaddq_f32(lanes.v[j], e);
        }
    float tail[ORDER_LANES] = {0}; /* exponentials are not negative: adding zeros changes no lane */
    for (size_t l = 0; i + l < n; l++) tail[l] = x[i + l] = poly_exp(x[i + l] - shift);
    for (size_t j = 0; j < 8 && i < n; j++) lanes.v[j] = vaddq_f32(lanes.v[j], vld1q_f32(tail + 4 * j));
    return neon_fold32(lanes);
}

float kernels_neon_max(const float *x, size_t n) {
    float32x4_t v = vdupq_n_f32(x[0]);
    size_t i = 0;
    for (; i + 4 <= n; i += 4) v = vmaxq_f32(v, vld1q_f32(x + i));
    float m = vmaxvq_f32(v);
    for (; i < n; i++) m = x[i] > m ? x[i] : m;
    return m + 0.0f;
}

void kernels_neon_rope(float *head, const float *cos, const float *sin, size_t rot) {
    size_t half = rot / 2, i = 0;
    for (; i + 4 <= half; i += 4) {
        float32x4_t a = vld1q_f32(head + i), b = vld1q_f32(head + i + half);
        float32x4_t c = vld1q_f32(cos + i), s = vld1q_f32(sin + i);
        vst1q_f32(head + i, vfmaq_f32(vnegq_f32(vmulq_f32(b, s)), a, c));
        vst1q_f32(head + i + half, vfmaq_f32(vmulq_f32(a, s), b, c));
    }
    for (; i < half; i++) {
        float a = head[i], b = head[i + half];
        head[i] = fmaf(a, cos[i], -(b * sin[i]));
        head[i + half] = fmaf(b, cos[i], a * sin[i]);
    }
}

/* 32 values to block b of a group; see scalar_matmul.c for the formula and for values that are not finite. */
static void quantize_block(const float *x, KernelsActGroup *g, size_t b) {
    float32x4_t v[8];
    uint32x4_t largest = vdupq_n_u32(0);
    UNROLL for (size_t j = 0; j < 8; j++) {
        v[j] = vld1q_f32(x + 4 * j);
        largest = vmaxq_u32(largest, vreinterpretq_u32_f32(vabsq_f32(v[j])));
    }
    float s = vgetq_lane_f32(vreinterpretq_f32_u32(vdupq_n_u32(vmaxvq_u32(largest))), 0) / 127.0f;
    int8x16_t bytes[2] = {vdupq_n_s8(0), vdupq_n_s8(0)};
    if (s > 0.0f && s < INFINITY) {
        int16x4_t narrow[8];
        UNROLL for (size_t j = 0; j < 8; j++) {
            float32x4_t scaled = vdivq_f32(v[j], vdupq_n_f32(s));
            scaled = vmaxq_f32(vminq_f32(scaled, vdupq_n_f32(127.0f)), vdupq_n_f32(-127.0f));
            narrow[j] = vmovn_s32(vcvtnq_s32_f32(scaled)); /* nearest even */
        }
        UNROLL for (size_t i = 0; i < 2; i++) {
            int8x8_t low = vmovn_s16(vcombine_s16(narrow[4 * i], narrow[4 * i + 1]));
            bytes[i] = vmovn_high_s16(low, vcombine_s16(narrow[4 * i + 2], narrow[4 * i + 3]));
        }
    }
    UNROLL for (size_t i = 0; i < 2; i++) {
        vst1q_s8(g->q + 32 * b + 16 * i, bytes[i]);
        g->sums[2 * b + i] = vaddlvq_s8(bytes[i]);
    }
    UNROLL for (size_t k = 0; k < 8; k++) memcpy(g->turned + 32 * k + 4 * b, g->q + 32 * b + 4 * k, 4);
    g->scale[b] = s;
}

void kernels_neon_quantize(const float *x, KernelsActGroup *groups, size_t first, size_t n) {
    for (size_t i = 0; i < n; i += KERNELS_ACT_BLOCK) {
        size_t at = first + i;
        float tail[KERNELS_ACT_BLOCK] = {0};
        const float *block = x + i;
        if (n - i < KERNELS_ACT_BLOCK) block = memcpy(tail, x + i, (n - i) * sizeof *x);
        quantize_block(block, &groups[at / KERNELS_ACT_GROUP], at % KERNELS_ACT_GROUP / KERNELS_ACT_BLOCK);
    }
}
