/* Inside the kernels room: what the files of the AVX-512 rung share (F, BW, VL, DQ, VNNI). Included by *_avx512.c only.
 *
 * The 32 lanes of a sum are two vectors of sixteen. Tails are masked: lanes beyond the end are read as +0, as the order of sums
 * says, and never written. The same sources run on CPUs without AVX-512 in tests, with the instructions emulated
 * (tests/support/emulated_avx512.h): who uses another one adds it there if SIMDe lacks it. */
#ifndef KERNELS_AVX512_H
#define KERNELS_AVX512_H

#include "kernels/avx2.h"

#define AVX512_ALL ((__mmask16)0xFFFF)

/* The first n of sixteen lanes; n >= 16: all. */
ALWAYS_INLINE __mmask16 avx512_first(size_t n) { return (__mmask16)(n < 16 ? (1U << n) - 1 : 0xFFFFU); }

/* Is this the mask of all lanes, and is that known now, so that no mask is needed? */
#define AVX512_WHOLE(lanes) (__builtin_constant_p(lanes) && (lanes) == AVX512_ALL)

ALWAYS_INLINE __m512 avx512_load(const float *p, __mmask16 lanes) {
    return AVX512_WHOLE(lanes) ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(lanes, p);
}

ALWAYS_INLINE void avx512_store(float *p, __mmask16 lanes, __m512 v) {
    if (AVX512_WHOLE(lanes)) _mm512_storeu_ps(p, v);
    else _mm512_mask_storeu_ps(p, lanes, v);
}

/* The 32 lanes of one sum: v[j] holds lanes 16j .. 16j + 15. */
typedef struct Lanes512 {
    __m512 v[2];
} Lanes512;

/* 32 -> 16 -> 8 -> ... */
ALWAYS_INLINE float avx512_fold32(Lanes512 a) {
    __m512 v = _mm512_add_ps(a.v[0], a.v[1]);
    return avx2_fold8(_mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1)));
}

/* Sixteen elements i .. i + 15 of an array of f32, f16 or bf16 (as bytes: weights stand at any address), as f32. */
ALWAYS_INLINE __m512 avx512_load16(QuantType type, const void *p, size_t i, __mmask16 lanes) {
    const char *at = (const char *)p + (type == QUANT_F32 ? 4 : 2) * i;
    if (type == QUANT_F32) return avx512_load((const float *)(const void *)at, lanes);
    __m256i half;
    if (AVX512_WHOLE(lanes)) half = _mm256_loadu_si256((const __m256i *)(const void *)at);
    else half = _mm256_maskz_loadu_epi16(lanes, at);
    if (type == QUANT_F16) return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

ALWAYS_INLINE __m512 avx512_power_of_two(__m512i n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(127)), 23));
}

/* poly_exp, poly_sigmoid and poly_silu of poly.h on sixteen values. */
ALWAYS_INLINE __m512 avx512_exp(__m512 x) {
    x = _mm512_min_ps(_mm512_set1_ps(EXP_MAX), x); /* a NaN as second operand comes through */
    x = _mm512_max_ps(_mm512_set1_ps(EXP_MIN), x);
    __m512 rounded = _mm512_fmadd_ps(x, _mm512_set1_ps(EXP_LOG2E), _mm512_set1_ps(EXP_ROUND));
    __m512 n = _mm512_sub_ps(rounded, _mm512_set1_ps(EXP_ROUND));
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(EXP_LN2_HIGH), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(EXP_LN2_LOW), r);
    __m512 q = _mm512_fmadd_ps(_mm512_set1_ps(EXP_C6), r, _mm512_set1_ps(EXP_C5));
    q = _mm512_fmadd_ps(q, r, _mm512_set1_ps(EXP_C4));
    q = _mm512_fmadd_ps(q, r, _mm512_set1_ps(EXP_C3));
    q = _mm512_fmadd_ps(q, r, _mm512_set1_ps(EXP_C2));
    __m512 p = _mm512_add_ps(_mm512_fmadd_ps(_mm512_mul_ps(q, r), r, r), _mm512_set1_ps(1.0f));
    __m512i k = _mm512_sub_epi32(_mm512_castps_si512(rounded), _mm512_set1_epi32((int)EXP_ROUND_BITS));
    __m512i half = _mm512_srai_epi32(k, 1);
    p = _mm512_mul_ps(p, avx512_power_of_two(half));
    return _mm512_mul_ps(p, avx512_power_of_two(_mm512_sub_epi32(k, half)));
}

ALWAYS_INLINE __m512 avx512_sigmoid(__m512 x) {
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512 minus_x = _mm512_xor_ps(x, _mm512_set1_ps(-0.0f));
    return _mm512_div_ps(one, _mm512_add_ps(one, avx512_exp(minus_x)));
}

ALWAYS_INLINE __m512 avx512_silu(__m512 x) { return _mm512_mul_ps(x, avx512_sigmoid(x)); }

/* In vector_, dot_, mix_, attention_ and matmul_avx512.c. */
#define kernels_avx512_quantize kernels_avx2_quantize /* what it lacks */
RUNG_FUNCTIONS(RUNG_DECLARE, avx512)

/* dot_avx512.c: out[t * out_stride + r] = the dot product of n elements of row r of w (f32, f16 or bf16; rows w_stride bytes apart) with
 * x[t], r < n_rows, t < n_x */
void kernels_avx512_dots(QuantType type, const void *w, size_t w_stride, size_t n_rows, const float *const *x, size_t n_x, size_t n,
                         float *out, size_t out_stride);

/* Matrices with quantised activations: rows_avx512.c for up to KERNELS_AVX512_FEW tokens, tile_avx512.c for up to
 * KERNELS_AVX512_TILE */
enum { KERNELS_AVX512_FEW = 4, KERNELS_AVX512_TILE = 32 };
void kernels_avx512_integer_rows(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens,
                                 float *y, size_t y_stride);
void kernels_avx512_integer_tile(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens,
                                 float *y, size_t y_stride);

#endif
