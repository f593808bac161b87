/* AVX-512 on CPUs without it: included before the sources of the AVX-512 rung (the Makefile's EMULATED), whose intrinsics then
 * become functions of SIMDe, the distribution's libsimde-dev. What its version 0.7.4 lacks or names wrongly stands here, as two
 * halves of eight lanes or one lane after the other. */
#ifndef TESTS_EMULATED_AVX512_H
#define TESTS_EMULATED_AVX512_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include <string.h>

typedef union Emulated {
    __m512 ps;
    __m512i si;
    __m256 ps256[2];
    __m256i si256[2];
    float f32[16];
} Emulated;

static inline __m512 emulated_cvtepi32_ps(__m512i v) {
    Emulated a = {.si = v};
    for (int i = 0; i < 2; i++) a.ps256[i] = _mm256_cvtepi32_ps(a.si256[i]);
    return a.ps;
}

static inline __m512i emulated_cvtps_epi32(__m512 v) {
    Emulated a = {.ps = v};
    for (int i = 0; i < 2; i++) a.si256[i] = _mm256_cvtps_epi32(a.ps256[i]);
    return a.si;
}

static inline __m512 emulated_cvtph_ps(__m256i v) {
    Emulated a = {.ps256 = {_mm256_cvtph_ps(_mm256_castsi256_si128(v)), _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1))}};
    return a.ps;
}

static inline __m512i emulated_cvtepu16_epi32(__m256i v) {
    Emulated a = {.si256 = {_mm256_cvtepu16_epi32(_mm256_castsi256_si128(v)), _mm256_cvtepu16_epi32(_mm256_extracti128_si256(v, 1))}};
    return a.si;
}

static inline __m512i emulated_cvtepu8_epi32(__m128i v) {
    Emulated a = {.si256 = {_mm256_cvtepu8_epi32(v), _mm256_cvtepu8_epi32(_mm_srli_si128(v, 8))}};
    return a.si;
}

static inline __m512i emulated_cvtepi8_epi32(__m128i v) {
    Emulated a = {.si256 = {_mm256_cvtepi8_epi32(v), _mm256_cvtepi8_epi32(_mm_srli_si128(v, 8))}};
    return a.si;
}

static inline __m512i emulated_srai_epi32(__m512i v, unsigned by) {
    Emulated a = {.si = v};
    for (int i = 0; i < 2; i++) a.si256[i] = _mm256_srai_epi32(a.si256[i], (int)by);
    return a.si;
}

static inline __m256 emulated_extractf32x8_ps(__m512 v, int half) {
    Emulated a = {.ps = v};
    return a.ps256[half & 1];
}

/* Masked lanes are not touched in memory: they may lie beyond the end of an array. */
static inline __m512 emulated_maskz_loadu_ps(__mmask16 k, const void *p) {
    Emulated a = {.f32 = {0}};
    for (int i = 0; i < 16; i++)
        if (k >> i & 1) memcpy(&a.f32[i], (const char *)p + 4 * i, 4);
    return a.ps;
}

static inline void emulated_mask_storeu_ps(void *p, __mmask16 k, __m512 v) {
    Emulated a = {.ps = v};
    for (int i = 0; i < 16; i++)
        if (k >> i & 1) memcpy((char *)p + 4 * i, &a.f32[i], 4);
}

static inline __m256i emulated_maskz_loadu_epi16(__mmask16 k, const void *p) {
    short a[16] = {0};
    for (int i = 0; i < 16; i++)
        if (k >> i & 1) memcpy(&a[i], (const char *)p + 2 * i, 2);
    return _mm256_loadu_si256((const __m256i *)(const void *)a);
}

#undef _mm512_cvtepi32_ps
#define _mm512_cvtepi32_ps emulated_cvtepi32_ps
#undef _mm512_cvtps_epi32
#define _mm512_cvtps_epi32 emulated_cvtps_epi32
#undef _mm512_cvtph_ps
#define _mm512_cvtph_ps emulated_cvtph_ps
#undef _mm512_cvtepu16_epi32
#define _mm512_cvtepu16_epi32 emulated_cvtepu16_epi32
#undef _mm512_cvtepu8_epi32
#define _mm512_cvtepu8_epi32 emulated_cvtepu8_epi32
#undef _mm512_madd_epi16
#define _mm512_madd_epi16 simde_mm512_madd_epi16
#undef _mm512_cvtepi8_epi32
#define _mm512_cvtepi8_epi32 emulated_cvtepi8_epi32
#undef _mm512_srai_epi32
#define _mm512_srai_epi32 emulated_srai_epi32
#undef _mm512_extractf32x8_ps
#define _mm512_extractf32x8_ps emulated_extractf32x8_ps
#undef _mm512_maskz_loadu_ps
#define _mm512_maskz_loadu_ps emulated_maskz_loadu_ps
#undef _mm512_mask_storeu_ps
#define _mm512_mask_storeu_ps emulated_mask_storeu_ps
#undef _mm256_maskz_loadu_epi16
#define _mm256_maskz_loadu_epi16 emulated_maskz_loadu_epi16
#undef _mm512_shuffle_f32x4
#define _mm512_shuffle_f32x4 simde_mm512_shuffle_f32x4
#undef _mm512_shuffle_i64x2
#define _mm512_shuffle_i64x2 simde_mm512_shuffle_i64x2

#endif
