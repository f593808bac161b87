/* AVX2 rung, mixing over tokens: causal convolution and the gated delta rule. */
#include "kernels/avx2.h"

/* Tap j of channels c .. c + 7; taps of one channel are neighbours in w. */
ALWAYS_INLINE __m256 tap8(const float *w, size_t c, size_t j, size_t width) {
    int step = (int)width;
    __m256i at = _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(step));
    return _mm256_i32gather_ps(w + c * width + j, at, 4);
}

void kernels_avx2_conv_silu(float *y, const float *x, float *state, const float *w, size_t n, size_t width) {
    size_t c = 0;
    for (; c + 8 <= n; c += 8) {
        __m256 now = _mm256_loadu_ps(x + c), sum = _mm256_setzero_ps();
        for (size_t j = 0; j < width; j++) {
            __m256 in = j + 1 < width ? _mm256_loadu_ps(state + j * n + c) : now, tap = tap8(w, c, j, width);
            sum = j == 0 ? _mm256_mul_ps(tap, in) : _mm256_fmadd_ps(tap, in, sum);
            if (j > 0) _mm256_storeu_ps(state + (j - 1) * n + c, in); /* the state moves up by one row */
        }
        _mm256_storeu_ps(y + c, avx2_silu(sum));
    }
    for (; c < n; c++) {
        float now = x[c], sum = 0.0f;
        for (size_t j = 0; j < width; j++) {
            float in = j + 1 < width ? state[j * n + c] : now, tap = w[c * width + j];
            sum = j == 0 ? tap * in : fmaf(tap, in, sum);
            if (j > 0) state[(j - 1) * n + c] = in;
        }
        y[c] = poly_silu(sum);
    }
}

/* The delta rule for columns j .. j + 8 * VECTORS - 1 of the state. These columns of all rows (16 KiB for 128 rows of 32) stay in
 * the first cache between the pass that reads them and the pass that changes them. */
typedef struct Delta {
    const float *q, *k;
    float decay, beta, k_q;
    size_t dk, dv;
} Delta;

ALWAYS_INLINE void delta_columns(const Delta *a, size_t vectors, float *S, const float *v, float *o) {
    __m256 k_s[4], q_s[4], d[4];
    UNROLL for (size_t c = 0; c < vectors; c++) k_s[c] = q_s[c] = _mm256_setzero_ps();
    for (size_t i = 0; i < a->dk; i++) {
        __m256 k = _mm256_broadcast_ss(a->k + i), q = _mm256_broadcast_ss(a->q + i);
        UNROLL for (size_t c = 0; c < vectors; c++) {
            __m256 s = _mm256_loadu_ps(S + i * a->dv + 8 * c);
            k_s[c] = _mm256_fmadd_ps(k, s, k_s[c]);
            q_s[c] = _mm256_fmadd_ps(q, s, q_s[c]);
        }
    }
    const __m256 decay = _mm256_set1_ps(a->decay);
    UNROLL for (size_t c = 0; c < vectors; c++) {
        d[c] = _mm256_mul_ps(_mm256_set1_ps(a->beta), _mm256_fnmadd_ps(decay, k_s[c], _mm256_loadu_ps(v + 8 * c)));
        _mm256_storeu_ps(o + 8 * c, _mm256_fmadd_ps(_mm256_set1_ps(a->k_q), d[c], _mm256_mul_ps(decay, q_s[c])));
    }
    for (size_t i = 0; i < a->dk; i++) {
        __m256 k = _mm256_broadcast_ss(a->k + i);
        UNROLL for (size_t c = 0; c < vectors; c++) {
            float *s = S + i * a->dv + 8 * c;
            _mm256_storeu_ps(s, _mm256_fmadd_ps(k, d[c], _mm256_mul_ps(decay, _mm256_loadu_ps(s))));
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

void kernels_avx2_delta_rule(float *S, const float *q, const float *k, const float *v, float decay, float beta, float *o, float *tmp,
                             size_t dk, size_t dv) {
    (void)tmp;
    Delta a = {q, k, decay, beta, kernels_avx2_dot(k, q, dk), dk, dv};
    size_t j = 0;
    for (; j + 32 <= dv; j += 32) delta_columns(&a, 4, S + j, v + j, o + j);
    for (; j + 8 <= dv; j += 8) delta_columns(&a, 1, S + j, v + j, o + j);
    for (; j < dv; j++) delta_column(&a, S + j, v + j, o + j);
}
