/* AVX-512 rung, mixing over tokens: causal convolution. */
#include "kernels/avx512.h"

enum { WIDTH = 4 }; /* taps of a channel, of every model so far; other widths are left to the rung below */

/* Taps of one channel are neighbours in w: sixteen channels by four taps, transposed to one vector per tap. */
ALWAYS_INLINE void four_taps(const float *w, __m512 taps[WIDTH]) {
    const __m512i first_two = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
    const __m512i last_two = _mm512_add_epi32(first_two, _mm512_set1_epi32(2));
    __m512 v[4];
    for (size_t i = 0; i < 4; i++) v[i] = _mm512_loadu_ps(w + 16 * i); /* four channels each */
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
    for (size_t j = 0; j < 3; j++) in[j] = avx512_load(state + j * n, lanes);
    in[3] = avx512_load(x, lanes);
    sum = _mm512_mul_ps(taps[0], in[0]);
    for (size_t j = 1; j < WIDTH; j++) {
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
