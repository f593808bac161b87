/* NEON rung, mixing over tokens: causal convolution and the gated delta rule. */
#include "kernels/neon.h"

/* The state moves up by one row as it is read; y may be x, so x is read first. */
static void conv_channel(float *y, const float *x, float *state, const float *taps, size_t n, size_t width) {
    float now = *x, sum = 0.0f;
    for (size_t j = 0; j < width; j++) {
        float in = j + 1 < width ? state[j * n] : now;
        sum = j == 0 ? taps[j] * in : fmaf(taps[j], in, sum);
        if (j > 0) state[(j - 1) * n] = in;
    }
    *y = poly_silu(sum);
}

void kernels_neon_conv_silu(float *y, const float *x, float *state, const float *w, size_t n, size_t width) {
    size_t c = 0;
    for (; width == 4 && c + 4 <= n; c += 4) { /* the width of every model so far */
        float32x4x4_t taps = vld4q_f32(w + 4 * c); /* taps of one channel are neighbours in w: one vector per tap */
        float32x4_t in[4], sum;
        for (size_t j = 0; j < 3; j++) in[j] = vld1q_f32(state + j * n + c);
        in[3] = vld1q_f32(x + c);
        sum = vmulq_f32(taps.val[0], in[0]);
        for (size_t j = 1; j < 4; j++) {
            sum = vfmaq_f32(sum, taps.val[j], in[j]);
            vst1q_f32(state + (j - 1) * n + c, in[j]);
        }
        vst1q_f32(y + c, neon_silu(sum));
    }
    for (; c < n; c++) conv_channel(y + c, x + c, state + c, w + c * width, n, width);
}

/* One token of the delta rule for columns j .. j + 4 * vectors - 1 of the state: a pass that reads them, and one that changes them, then
 * from the first cache. */
ALWAYS_INLINE void delta_columns(const KernelsDelta *a, size_t t, float k_q, size_t vectors, float *S, size_t j) {
    float32x4_t k_s[8], q_s[8], d[8];
    const float *q = a->q + t * a->stride, *k = a->k + t * a->stride, *v = a->v + t * a->stride + j;
    float decay = a->decay[t * a->gate_stride], beta = a->beta[t * a->gate_stride], *o = a->o + t * a->o_stride + j;
    UNROLL for (size_t c = 0; c < vectors; c++) k_s[c] = q_s[c] = vdupq_n_f32(0.0f);
    for (size_t i = 0; i < a->dk; i++) {
        UNROLL for (size_t c = 0; c < vectors; c++) {
            float32x4_t s = vld1q_f32(S + i * a->n_columns + j + 4 * c);
            k_s[c] = vfmaq_n_f32(k_s[c], s, k[i]);
            q_s[c] = vfmaq_n_f32(q_s[c], s, q[i]);
        }
    }
    UNROLL for (size_t c = 0; c < vectors; c++) {
        d[c] = vmulq_n_f32(vfmsq_n_f32(vld1q_f32(v + 4 * c), k_s[c], decay), beta);
        vst1q_f32(o + 4 * c, vfmaq_n_f32(vmulq_n_f32(q_s[c], decay), d[c], k_q));
    }
    for (size_t i = 0; i < a->dk; i++) {
        UNROLL for (size_t c = 0; c < vectors; c++) {
            float *s = S + i * a->n_columns + j + 4 * c;
            vst1q_f32(s, vfmaq_n_f32(vmulq_n_f32(vld1q_f32(s), decay), d[c], k[i]));
        }
    }
}

static void delta_column(const KernelsDelta *a, size_t t, float k_q, float *S, size_t j) {
    const float *q = a->q + t * a->stride, *k = a->k + t * a->stride;
    float decay = a->decay[t * a->gate_stride], k_s = 0.0f, q_s = 0.0f;
    for (size_t i = 0; i < a->dk; i++) {
        k_s = fmaf(k[i], S[i * a->n_columns + j], k_s);
        q_s = fmaf(q[i], S[i * a->n_columns + j], q_s);
    }
    float d = a->beta[t * a->gate_stride] * fmaf(-decay, k_s, a->v[t * a->stride + j]);
    a->o[t * a->o_stride + j] = fmaf(k_q, d, decay * q_s);
    for (size_t i = 0; i < a->dk; i++) {
        float *s = S + i * a->n_columns + j;
        *s = fmaf(k[i], d, decay * *s);
    }
}

void kernels_neon_delta_rule(float *S, const KernelsDelta *a) {
    for (size_t t = 0; t < a->n_tokens; t++) {
        float k_q = kernels_neon_dot(a->k + t * a->stride, a->q + t * a->stride, a->dk);
        size_t j = 0;
        for (; j + 32 <= a->n_columns; j += 32) delta_columns(a, t, k_q, 8, S, j);
        for (; j + 4 <= a->n_columns; j += 4) delta_columns(a, t, k_q, 1, S, j);
        for (; j < a->n_columns; j++) delta_column(a, t, k_q, S, j);
    }
}
