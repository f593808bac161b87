/* AVX2 rung, mixing over tokens: causal convolution and the gated delta rule. */
#include "kernels/avx2.h"

/* Taps of one channel are neighbours in w: eight channels by four taps, transposed to one vector per tap. */
ALWAYS_INLINE void four_taps(const float *w, __m256 taps[4]) {
    __m256 v[4], a[4];
    UNROLL for (size_t i = 0; i < 4; i++) v[i] = _mm256_loadu_ps(w + 8 * i); /* channels 2i and 2i + 1 */
    a[0] = _mm256_permute2f128_ps(v[0], v[2], 0x20);                  /* channels i and i + 4 */
    a[1] = _mm256_permute2f128_ps(v[0], v[2], 0x31);
    a[2] = _mm256_permute2f128_ps(v[1], v[3], 0x20);
    a[3] = _mm256_permute2f128_ps(v[1], v[3], 0x31);
    __m256 low01 = _mm256_unpacklo_ps(a[0], a[1]), low23 = _mm256_unpacklo_ps(a[2], a[3]);
    __m256 high01 = _mm256_unpackhi_ps(a[0], a[1]), high23 = _mm256_unpackhi_ps(a[2], a[3]);
    taps[0] = _mm256_shuffle_ps(low01, low23, 0x44);
    taps[1] = _mm256_shuffle_ps(low01, low23, 0xEE);
    taps[2] = _mm256_shuffle_ps(high01, high23, 0x44);
    taps[3] = _mm256_shuffle_ps(high01, high23, 0xEE);
}

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

void kernels_avx2_conv_silu(float *y, const float *x, float *state, const float *w, size_t n, size_t width) {
    size_t c = 0;
    for (; width == 4 && c + 8 <= n; c += 8) { /* the width of every model so far */
        __m256 taps[4], in[4], sum;
        four_taps(w + 4 * c, taps);
        UNROLL for (size_t j = 0; j < 3; j++) in[j] = _mm256_loadu_ps(state + j * n + c);
        in[3] = _mm256_loadu_ps(x + c);
        sum = _mm256_mul_ps(taps[0], in[0]);
        UNROLL for (size_t j = 1; j < 4; j++) {
            sum = _mm256_fmadd_ps(taps[j], in[j], sum);
            _mm256_storeu_ps(state + (j - 1) * n + c, in[j]);
        }
        _mm256_storeu_ps(y + c, avx2_silu(sum));
    }
    for (; c < n; c++) conv_channel(y + c, x + c, state + c, w + c * width, n, width);
}

/* One token of the delta rule for 8 * vectors columns of the state, first of rows that are n_columns apart: a pass that reads them,
 * and one that changes them, then from the first cache. */
ALWAYS_INLINE void delta_columns(const KernelsDelta *a, size_t t, float k_q, size_t vectors, size_t n_columns, float *S, size_t j) {
    __m256 k_s[4], q_s[4], d[4];
    const float *q = a->q + t * a->stride, *k = a->k + t * a->stride, *v = a->v + t * a->stride + j;
    const __m256 decay = _mm256_set1_ps(a->decay[t * a->gate_stride]), beta = _mm256_set1_ps(a->beta[t * a->gate_stride]);
    float *o = a->o + t * a->o_stride + j;
    UNROLL for (size_t c = 0; c < vectors; c++) k_s[c] = q_s[c] = _mm256_setzero_ps();
    for (size_t i = 0; i < a->dk; i++) {
        __m256 key = _mm256_broadcast_ss(k + i), query = _mm256_broadcast_ss(q + i);
        UNROLL for (size_t c = 0; c < vectors; c++) {
            __m256 s = _mm256_loadu_ps(S + i * n_columns + j + 8 * c);
            k_s[c] = _mm256_fmadd_ps(key, s, k_s[c]);
            q_s[c] = _mm256_fmadd_ps(query, s, q_s[c]);
        }
    }
    UNROLL for (size_t c = 0; c < vectors; c++) {
        d[c] = _mm256_mul_ps(beta, _mm256_fnmadd_ps(decay, k_s[c], _mm256_loadu_ps(v + 8 * c)));
        _mm256_storeu_ps(o + 8 * c, _mm256_fmadd_ps(_mm256_set1_ps(k_q), d[c], _mm256_mul_ps(decay, q_s[c])));
    }
    for (size_t i = 0; i < a->dk; i++) {
        __m256 key = _mm256_broadcast_ss(k + i);
        UNROLL for (size_t c = 0; c < vectors; c++) {
            float *s = S + i * n_columns + j + 8 * c;
            _mm256_storeu_ps(s, _mm256_fmadd_ps(key, d[c], _mm256_mul_ps(decay, _mm256_loadu_ps(s))));
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

void kernels_avx2_delta_rule(float *S, const KernelsDelta *a) {
    for (size_t t = 0; t < a->n_tokens; t++) {
        float k_q = kernels_avx2_dot(a->k + t * a->stride, a->q + t * a->stride, a->dk);
        if (a->n_columns == KERNELS_DELTA_COLUMNS) {
            delta_columns(a, t, k_q, 4, KERNELS_DELTA_COLUMNS, S, 0);
            continue;
        }
        size_t j = 0;
        for (; j + 8 <= a->n_columns; j += 8) delta_columns(a, t, k_q, 1, a->n_columns, S, j);
        for (; j < a->n_columns; j++) delta_column(a, t, k_q, S, j);
    }
}
