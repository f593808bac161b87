/* AVX-512 rung, mixing over tokens: causal convolution and the gated delta rule. */
#include "kernels/avx512.h"

enum { WIDTH = 4 }; /* taps of a channel, of every model so far; other widths are left to the rung below */

/* Taps of one channel are neighbours in w: sixteen channels by four taps, transposed to one vector per tap. */
ALWAYS_INLINE void four_taps(const float *w, __m512 taps[WIDTH]) {
    const __m512i first_two = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
    const __m512i last_two = _mm512_add_epi32(first_two, _mm512_set1_epi32(2));
    __m512 v[4];
    UNROLL for (size_t i = 0; i < 4; i++) v[i] = _mm512_loadu_ps(w + 16 * i); /* four channels each */
    __m512 low01 = _mm512_permutex2var_ps(v[0], first_two, v[1]), high01 = _mm512_permutex2var_ps(v[2], first_two, v[3]);
    __m512 low23 = _mm512_permutex2var_ps(v[0], last_two, v[1]), high23 = _mm512_permutex2var_ps(v[2], last_two, v[3]);
    taps[0] = _mm512_shuffle_f32x4(low01, high01, 0x44);
    taps[1] = _mm512_shuffle_f32x4(low01, high01, 0xEE);
    taps[2] = _mm512_shuffle_f32x4(low23, high23, 0x44);
    taps[3] = _mm512_shuffle_f32x4(low23, high23, 0xEE);
}

/* The state moves up by one row as it is read; y may be x, so x is read first. */
ALWAYS_INLINE void conv_channels(float *y, const float *x, float *state, const __m512 taps[WIDTH], size_t n, __mmask16 lanes) {
    __m512 in[WIDTH], sum;
    UNROLL for (size_t j = 0; j < 3; j++) in[j] = avx512_load(state + j * n, lanes);
    in[3] = avx512_load(x, lanes);
    sum = _mm512_mul_ps(taps[0], in[0]);
    UNROLL for (size_t j = 1; j < WIDTH; j++) {
        sum = _mm512_fmadd_ps(taps[j], in[j], sum);
        avx512_store(state + (j - 1) * n, lanes, in[j]);
    }
    avx512_store(y, lanes, avx512_silu(sum));
}

void kernels_avx512_conv_silu(float *y, const float *x, float *state, const float *w, size_t n, size_t width) {
    if (width != WIDTH) {
        kernels_avx2_conv_silu(y, x, state, w, n, width);
        return;
    }
    __m512 taps[WIDTH];
    size_t c = 0;
    for (; c + 16 <= n; c += 16) {
        four_taps(w + WIDTH * c, taps);
        conv_channels(y + c, x + c, state + c, taps, n, AVX512_ALL);
    }
    if (c == n) return;
    float rest[16 * WIDTH] = {0};
    memcpy(rest, w + WIDTH * c, (n - c) * WIDTH * sizeof *w);
    four_taps(rest, taps);
    conv_channels(y + c, x + c, state + c, taps, n, avx512_first(n - c));
}

/* ---- the gated delta rule ------------------------------------------------------------------------------------------- */

enum { VECTORS = KERNELS_DELTA_COLUMNS / 16 };

/* Of the columns of one token. */
typedef struct Token {
    const float *k, *q; /* [dk] */
    __m512 d[VECTORS], decay;
    __m512 k_s[VECTORS], q_s[VECTORS]; /* S^T k and S^T q */
} Token;

/* One pass over the state: changes it by token `now`, and sums what comes out for token `next`. So the sums, which wait for each
 * other from row to row, run under the change of the state. Either may be NULL. */
ALWAYS_INLINE void delta_pass(float *S, size_t dk, size_t n_columns, const __mmask16 lanes[VECTORS], bool whole, const Token *now,
                              Token *next) {
    if (next) UNROLL for (size_t c = 0; c < VECTORS; c++) next->k_s[c] = next->q_s[c] = _mm512_setzero_ps();
    for (size_t i = 0; i < dk; i++, S += n_columns)
        UNROLL for (size_t c = 0; c < VECTORS; c++) {
            __m512 s = whole ? _mm512_loadu_ps(S + 16 * c) : _mm512_maskz_loadu_ps(lanes[c], S + 16 * c);
            if (now) {
                s = _mm512_fmadd_ps(_mm512_set1_ps(now->k[i]), now->d[c], _mm512_mul_ps(now->decay, s));
                if (whole) _mm512_storeu_ps(S + 16 * c, s);
                else _mm512_mask_storeu_ps(S + 16 * c, lanes[c], s);
            }
            if (!next) continue;
            next->k_s[c] = _mm512_fmadd_ps(_mm512_set1_ps(next->k[i]), s, next->k_s[c]);
            next->q_s[c] = _mm512_fmadd_ps(_mm512_set1_ps(next->q[i]), s, next->q_s[c]);
        }
}

/* What the sums of token t give: its output, and how it changes the state. */
ALWAYS_INLINE void delta_output(const KernelsDelta *a, size_t t, const __mmask16 lanes[VECTORS], Token *token) {
    const __m512 beta = _mm512_set1_ps(a->beta[t * a->gate_stride]), k_q = _mm512_set1_ps(kernels_avx512_dot(token->k, token->q, a->dk));
    token->decay = _mm512_set1_ps(a->decay[t * a->gate_stride]);
    UNROLL for (size_t c = 0; c < VECTORS; c++) {
        __m512 v = avx512_load(a->v + t * a->stride + 16 * c, lanes[c]);
        token->d[c] = _mm512_mul_ps(beta, _mm512_fnmadd_ps(token->decay, token->k_s[c], v));
        __m512 o = _mm512_fmadd_ps(k_q, token->d[c], _mm512_mul_ps(token->decay, token->q_s[c]));
        avx512_store(a->o + t * a->o_stride + 16 * c, lanes[c], o);
    }
}

ALWAYS_INLINE void delta_rule(float *S, const KernelsDelta *a, size_t n_columns, bool whole) {
    const __mmask16 lanes[VECTORS] = {avx512_first(n_columns), avx512_first(n_columns > 16 ? n_columns - 16 : 0)};
    Token now = {.k = a->k, .q = a->q};
    delta_pass(S, a->dk, n_columns, lanes, whole, NULL, &now);
    for (size_t t = 0; t < a->n_tokens; t++) {
        delta_output(a, t, lanes, &now);
        if (t + 1 == a->n_tokens) {
            delta_pass(S, a->dk, n_columns, lanes, whole, &now, NULL);
            return;
        }
        Token next = {.k = now.k + a->stride, .q = now.q + a->stride};
        delta_pass(S, a->dk, n_columns, lanes, whole, &now, &next);
        now = next;
    }
}

void kernels_avx512_delta_rule(float *S, const KernelsDelta *a) {
    if (a->n_columns == KERNELS_DELTA_COLUMNS) delta_rule(S, a, KERNELS_DELTA_COLUMNS, true);
    else delta_rule(S, a, a->n_columns, false);
}
