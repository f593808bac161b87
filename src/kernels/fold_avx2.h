/* Inside the kernels room: the steps by which vectors of products are added up inside themselves. Included by *_avx2.c only. */
#ifndef KERNELS_FOLD_AVX2_H
#define KERNELS_FOLD_AVX2_H

#include "kernels/avx2.h"

/* In each half, the sums of a's upper and lower quadword, then of b's; 16 bits wide or 32. Horizontal additions would do the same, but
 * on several processors those are microcode. */
ALWAYS_INLINE __m256i fold_quads(__m256i a, __m256i b, bool words) {
    __m256i crossed = _mm256_alignr_epi8(b, a, 8), straight = _mm256_blend_epi32(a, b, 0xCC);
    return words ? _mm256_add_epi16(crossed, straight) : _mm256_add_epi32(crossed, straight);
}

/* In each half, the sums of a's neighbouring dwords, then of b's. */
ALWAYS_INLINE __m256i fold_dwords(__m256i a, __m256i b, bool words) {
    __m256 x = _mm256_castsi256_ps(a), y = _mm256_castsi256_ps(b);
    __m256i evens = _mm256_castps_si256(_mm256_shuffle_ps(x, y, _MM_SHUFFLE(2, 0, 2, 0)));
    __m256i odds = _mm256_castps_si256(_mm256_shuffle_ps(x, y, _MM_SHUFFLE(3, 1, 3, 1)));
    return words ? _mm256_add_epi16(evens, odds) : _mm256_add_epi32(evens, odds);
}

#endif
