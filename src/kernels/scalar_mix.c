/* Scalar rung, mixing over tokens: causal convolution, the gated delta rule. */
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

void kernels_scalar_delta_rule(float *S, const KernelsDelta *a) {
    float k_s[KERNELS_DELTA_COLUMNS], q_s[KERNELS_DELTA_COLUMNS], d[KERNELS_DELTA_COLUMNS]; /* S^T k, S^T q, what is written */
    size_t n = a->n_columns;
    for (size_t t = 0; t < a->n_tokens; t++) {
        const float *q = a->q + t * a->stride, *k = a->k + t * a->stride, *v = a->v + t * a->stride;
        float decay = a->decay[t * a->gate_stride], beta = a->beta[t * a->gate_stride], *o = a->o + t * a->o_stride;
        memset(k_s, 0, sizeof k_s);
        memset(q_s, 0, sizeof q_s);
        for (size_t i = 0; i < a->dk; i++) {
            kernels_scalar_axpy(k_s, S + i * n, k[i], n);
            kernels_scalar_axpy(q_s, S + i * n, q[i], n);
        }
        float k_q = kernels_scalar_dot(k, q, a->dk);
        for (size_t j = 0; j < n; j++) {
            d[j] = beta * fmaf(-decay, k_s[j], v[j]);
            o[j] = fmaf(k_q, d[j], decay * q_s[j]);
        }
        for (size_t i = 0; i < a->dk; i++)
            for (size_t j = 0; j < n; j++) S[i * n + j] = fmaf(k[i], d[j], decay * S[i * n + j]);
    }
}
