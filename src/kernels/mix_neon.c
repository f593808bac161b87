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

/* The delta rule for columns j .. j + 4 * VECTORS - 1 of the state. These columns of all rows (16 KiB for 128 rows of 32) stay in
 * the first cache between the pass that reads them and the pass that changes them. */
typedef struct Delta {
    const float *q, *k;
    float decay, beta, k_q;
    size_t dk, dv;
} Delta;

ALWAYS_INLINE void delta_columns(const Delta *a, size_t vectors, float *S, const float *v, float *o) {
    float32x4_t k_s[8], q_s[8], d[8];
    UNROLL for (size_t c = 0; c < vectors; c++) k_s[c] = q_s[c] = vdupq_n_f32(0.0f);
    for (size_t i = 0; i < a->dk; i++) {
        UNROLL for (size_t c = 0; c < vectors; c++) {
            float32x4_t s = vld1q_f32(S + i * a->dv + 4 * c);
            k_s[c] = vfmaq_n_f32(k_s[c], s, a->k[i]);
            q_s[c] = vfmaq_n_f32(q_s[c], s, a->q[i]);
        }
    }
    UNROLL for (size_t c = 0; c < vectors; c++) {
        d[c] = vmulq_n_f32(vfmsq_n_f32(vld1q_f32(v + 4 * c), k_s[c], a->decay), a->beta);
        vst1q_f32(o + 4 * c, vfmaq_n_f32(vmulq_n_f32(q_s[c], a->decay), d[c], a->k_q));
    }
    for (size_t i = 0; i < a->dk; i++) {
        UNROLL for (size_t c = 0; c < vectors; c++) {
            float *s = S + i * a->dv + 4 * c;
            vst1q_f32(s, vfmaq_n_f32(vmulq_n_f32(vld1q_f32(s), a->decay), d[c], a->k[i]));
        }
    }
}

static void delta_column(const Delta *a, float *S, const float *v, float *o) {
    float k_s = 0.0f, q_s = 0.0f;
    for (size_t i = 0; i < a->dk; i++) {
        k_s = fmaf(a->k[i], S[i * a->dv], k_s);
        q_s = fmaf(a->q[i], S[i * a->dv], q_s);
    }
    float d = a->beta * fmaf(-a->decay, k_s, *v);
    *o = fmaf(a->k_q, d, a->decay * q_s);
    for (size_t i = 0; i < a->dk; i++) S[i * a->dv] = fmaf(a->k[i], d, a->decay * S[i * a->dv]);
}

void kernels_neon_delta_rule(float *S, const float *q, const float *k, const float *v, float decay, float beta, float *o, float *tmp,
                             size_t dk, size_t dv) {
    (void)tmp;
    Delta a = {q, k, decay, beta, kernels_neon_dot(k, q, dk), dk, dv};
    size_t j = 0;
    for (; j + 32 <= dv; j += 32) delta_columns(&a, 8, S + j, v + j, o + j);
    for (; j + 4 <= dv; j += 4) delta_columns(&a, 1, S + j, v + j, o + j);
    for (; j < dv; j++) delta_column(&a, S + j, v + j, o + j);
}
