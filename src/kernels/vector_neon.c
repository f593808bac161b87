/* NEON rung, along one vector: norms, activations, rotary embedding. What is left after whole vectors is done one by one with the
 * same formulas. */
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
