/* Inside the kernels room: what the files of the AVX2 rung share. Included by *_avx2.c only.
 *
 * The 32 lanes of a sum are four vectors of eight; tails are brought to whole vectors with zeros, as the order of sums says. */
#ifndef KERNELS_AVX2_H
#define KERNELS_AVX2_H

#include "kernels/group.h"
#include "kernels/poly.h"
#include "kernels/rungs.h"

#include <immintrin.h>
#include <string.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* The 32 lanes of one sum: v[j] holds lanes 8j .. 8j + 7. */
typedef struct Lanes {
    __m256 v[4];
} Lanes;

/* 8 -> 4 -> 2 -> 1 */
ALWAYS_INLINE float avx2_fold8(__m256 v) {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

/* 32 -> 16 -> 8 -> ... */
ALWAYS_INLINE float avx2_fold32(Lanes a) {
    return avx2_fold8(_mm256_add_ps(_mm256_add_ps(a.v[0], a.v[2]), _mm256_add_ps(a.v[1], a.v[3])));
}

/* Eight elements i .. i + 7 of an array of f32, f16 or bf16 (as bytes: weights stand at any address), as f32. */
ALWAYS_INLINE __m256 avx2_load8(QuantType type, const void *p, size_t i) {
    const char *at = (const char *)p + (type == QUANT_F32 ? 4 : 2) * i;
    if (type == QUANT_F32) return _mm256_loadu_ps((const float *)(const void *)at);
    __m128i half = _mm_loadu_si128((const __m128i *)(const void *)at);
    if (type == QUANT_F16) return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

ALWAYS_INLINE __m256i avx2_power_of_two(__m256i n) {
    return _mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23);
}

/* poly_exp, poly_sigmoid and poly_silu of poly.h on eight values. */
ALWAYS_INLINE __m256 avx2_exp(__m256 x) {
    x = _mm256_min_ps(_mm256_set1_ps(EXP_MAX), x); /* a NaN as second operand comes through */
    x = _mm256_max_ps(_mm256_set1_ps(EXP_MIN), x);
    __m256 rounded = _mm256_fmadd_ps(x, _mm256_set1_ps(EXP_LOG2E), _mm256_set1_ps(EXP_ROUND));
    __m256 n = _mm256_sub_ps(rounded, _mm256_set1_ps(EXP_ROUND));
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(EXP_LN2_HIGH), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(EXP_LN2_LOW), r);
    __m256 q = _mm256_fmadd_ps(_mm256_set1_ps(EXP_C6), r, _mm256_set1_ps(EXP_C5));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(EXP_C4));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(EXP_C3));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(EXP_C2));
    __m256 p = _mm256_add_ps(_mm256_fmadd_ps(_mm256_mul_ps(q, r), r, r), _mm256_set1_ps(1.0f));
    __m256i k = _mm256_sub_epi32(_mm256_castps_si256(rounded), _mm256_set1_epi32((int)EXP_ROUND_BITS));
    __m256i half = _mm256_srai_epi32(k, 1);
    p = _mm256_mul_ps(p, _mm256_castsi256_ps(avx2_power_of_two(half)));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(avx2_power_of_two(_mm256_sub_epi32(k, half))));
}

ALWAYS_INLINE __m256 avx2_sigmoid(__m256 x) {
    const __m256 one = _mm256_set1_ps(1.0f);
    __m256 minus_x = _mm256_xor_ps(x, _mm256_set1_ps(-0.0f));
    return _mm256_div_ps(one, _mm256_add_ps(one, avx2_exp(minus_x)));
}

ALWAYS_INLINE __m256 avx2_silu(__m256 x) { return _mm256_mul_ps(x, avx2_sigmoid(x)); }

/* In vector_, dot_, mix_, attention_ and matmul_avx2.c. */
RUNG_FUNCTIONS(RUNG_DECLARE, avx2)

/* dot_avx2.c: out[t] = the dot product of n elements of w (f32, f16 or bf16) with x[t], t < n_x */
void kernels_avx2_dots(QuantType type, const void *w, const float *const *x, size_t n_x, size_t n, float *out);

/* group_avx2.c: as kernels_group_unpack; and as quant_decode, for all block types */
void kernels_avx2_unpack(QuantType type, const uint8_t *src, size_t n_blocks, Group *g);
void kernels_avx2_decode(QuantType type, const uint8_t *src, float *dst, size_t n);

/* tile_avx2.c: matmul with quantised activations, for up to KERNELS_AVX2_TILE tokens; pays from about four on */
enum { KERNELS_AVX2_TILE = 32 };
void kernels_avx2_integer_tile(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens,
                               float *y, size_t y_stride);

/* What a loop over rows is asked for. */
typedef struct RowsJob {
    QuantType type;
    const uint8_t *w;
    size_t n_rows, n, row_bytes, group_bytes;
    const KernelsActs *acts;
    size_t n_tokens;
    float *y;
    size_t y_stride;
    float *scratch;
} RowsJob;

/* rows_avx2.c: the same for up to KERNELS_AVX2_FEW tokens. scratch: n floats */
enum { KERNELS_AVX2_FEW = 4 };
void kernels_avx2_integer_rows(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens,
                               float *y, size_t y_stride, float *scratch);

/* nibbles_avx2.c: the same for one token and some of the types, two rows at a time, where n is a multiple of 256. Returns how many
 * rows it has done: none, or all but a last odd one. scratch: n floats */
ALWAYS_INLINE bool avx2_has_nibble_rows(QuantType type) {
    return type == QUANT_Q4_0 || type == QUANT_Q4_K || type == QUANT_IQ4_NL || type == QUANT_IQ4_XS || type == QUANT_MXFP4;
}
size_t kernels_avx2_nibble_rows(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActGroup *x, float *y,
                                float *scratch);

#endif
