/* The loops of peaks.h in 256-bit vectors. */
#include "peaks.h"

#include <immintrin.h>

/* Nothing happens here, but the compiler must believe that v changed: what depends on it stays inside the loop. */
#define KEEP(v) __asm__ volatile("" : "+x"(v))
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

static uint64_t read_avx2(const uint8_t *p, size_t bytes) {
    __m256i s[4];
    UNROLL for (int k = 0; k < 4; k++) s[k] = _mm256_setzero_si256();
    for (size_t i = 0; i < bytes; i += 256) {
        UNROLL for (size_t k = 0; k < 4; k++) s[k] = _mm256_add_epi64(s[k], _mm256_load_si256((const __m256i *)(p + i + 32 * k)));
        UNROLL for (size_t k = 0; k < 4; k++) s[k] = _mm256_add_epi64(s[k], _mm256_load_si256((const __m256i *)(p + i + 128 + 32 * k)));
    }
    s[0] = _mm256_add_epi64(_mm256_add_epi64(s[0], s[1]), _mm256_add_epi64(s[2], s[3]));
    return (uint64_t)_mm256_extract_epi64(s[0], 0) ^ (uint64_t)_mm256_extract_epi64(s[0], 3);
}

/* Narrow weights, the best case: four products of bytes are added in 16 bits before one step widens them. */
static uint64_t int8_avx2(size_t rounds, float *sink) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i w = _mm256_set1_epi8(15), x = _mm256_set1_epi8(-3), sum[4];
    UNROLL for (int k = 0; k < 4; k++) sum[k] = _mm256_setzero_si256();
    for (size_t r = 0; r < rounds; r++) {
        UNROLL for (int k = 0; k < 4; k++) {
            __m256i p[4];
            UNROLL for (int i = 0; i < 4; i++) {
                KEEP(w);
                p[i] = _mm256_maddubs_epi16(w, x);
            }
            __m256i all = _mm256_add_epi16(_mm256_add_epi16(p[0], p[1]), _mm256_add_epi16(p[2], p[3]));
            sum[k] = _mm256_add_epi32(sum[k], _mm256_madd_epi16(all, ones));
        }
    }
    sum[0] = _mm256_add_epi32(_mm256_add_epi32(sum[0], sum[1]), _mm256_add_epi32(sum[2], sum[3]));
    *sink = (float)_mm256_extract_epi32(sum[0], 0);
    return 512 * rounds;
}

static uint64_t f32_avx2(size_t rounds, float *sink) {
    __m256 a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(1.0f), sum[12];
    UNROLL for (int k = 0; k < 12; k++) sum[k] = _mm256_set1_ps((float)k);
    for (size_t r = 0; r < rounds; r++) {
        KEEP(a);
        UNROLL for (int k = 0; k < 12; k++) sum[k] = _mm256_fmadd_ps(sum[k], a, b);
    }
    UNROLL for (int k = 1; k < 12; k++) sum[0] = _mm256_add_ps(sum[0], sum[k]);
    *sink = _mm256_cvtss_f32(sum[0]);
    return 96 * rounds;
}

const PeakLoops peak_loops_avx2 = {read_avx2, int8_avx2, f32_avx2};
