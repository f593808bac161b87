/* Inside the kernels room: what the files of the NEON rung share. Included by *_neon.c and *_i8mm.c only.
 *
 * The 32 lanes of a sum are eight vectors of four; tails are brought to whole vectors with zeros, as the order of sums says. */
#ifndef KERNELS_NEON_H
#define KERNELS_NEON_H

#include "kernels/group.h"
#include "kernels/poly.h"
#include "kernels/rungs.h"

#include <arm_neon.h>
#include <string.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* The 32 lanes of one sum: v[j] holds lanes 4j .. 4j + 3. */
typedef struct Lanes {
    float32x4_t v[8];
} Lanes;

/* 4 -> 2 -> 1 */
ALWAYS_INLINE float neon_fold4(float32x4_t v) { return vpadds_f32(vadd_f32(vget_low_f32(v), vget_high_f32(v))); }

/* 32 -> 16 -> 8 -> 4 -> ... */
ALWAYS_INLINE float neon_fold32(Lanes a) {
    UNROLL for (size_t j = 0; j < 4; j++) a.v[j] = vaddq_f32(a.v[j], a.v[j + 4]);
    UNROLL for (size_t j = 0; j < 2; j++) a.v[j] = vaddq_f32(a.v[j], a.v[j + 2]);
    return neon_fold4(vaddq_f32(a.v[0], a.v[1]));
}

/* Eight elements i .. i + 7 of an array of f32, f16 or bf16 (as bytes: weights stand at any address), as f32. */
ALWAYS_INLINE float32x4x2_t neon_load8(QuantType type, const void *p, size_t i) {
    const uint8_t *at = (const uint8_t *)p + (type == QUANT_F32 ? 4 : 2) * i;
    if (type == QUANT_F32) return (float32x4x2_t){{vreinterpretq_f32_u8(vld1q_u8(at)), vreinterpretq_f32_u8(vld1q_u8(at + 16))}};
    uint16x8_t half = vreinterpretq_u16_u8(vld1q_u8(at));
    if (type == QUANT_F16) {
        float16x8_t f = vreinterpretq_f16_u16(half);
        return (float32x4x2_t){{vcvt_f32_f16(vget_low_f16(f)), vcvt_high_f32_f16(f)}};
    }
    return (float32x4x2_t){{vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(half), 16)), vreinterpretq_f32_u32(vshll_high_n_u16(half, 16))}};
}

ALWAYS_INLINE float32x4_t neon_power_of_two(int32x4_t n) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
}

/* poly_exp, poly_sigmoid and poly_silu of poly.h on four values. */
ALWAYS_INLINE float32x4_t neon_exp(float32x4_t x) {
    x = vminq_f32(vdupq_n_f32(EXP_MAX), x); /* a NaN comes through */
    x = vmaxq_f32(vdupq_n_f32(EXP_MIN), x);
    float32x4_t rounded = vfmaq_f32(vdupq_n_f32(EXP_ROUND), x, vdupq_n_f32(EXP_LOG2E));
    float32x4_t n = vsubq_f32(rounded, vdupq_n_f32(EXP_ROUND));
    float32x4_t r = vfmsq_f32(x, n, vdupq_n_f32(EXP_LN2_HIGH));
    r = vfmsq_f32(r, n, vdupq_n_f32(EXP_LN2_LOW));
    float32x4_t q = vfmaq_f32(vdupq_n_f32(EXP_C5), vdupq_n_f32(EXP_C6), r);
    q = vfmaq_f32(vdupq_n_f32(EXP_C4), q, r);
    q = vfmaq_f32(vdupq_n_f32(EXP_C3), q, r);
    q = vfmaq_f32(vdupq_n_f32(EXP_C2), q, r);
    float32x4_t p = vaddq_f32(vfmaq_f32(r, vmulq_f32(q, r), r), vdupq_n_f32(1.0f));
    int32x4_t k = vsubq_s32(vreinterpretq_s32_f32(rounded), vdupq_n_s32((int32_t)EXP_ROUND_BITS));
    int32x4_t half = vshrq_n_s32(k, 1);
    return vmulq_f32(vmulq_f32(p, neon_power_of_two(half)), neon_power_of_two(vsubq_s32(k, half)));
}

ALWAYS_INLINE float32x4_t neon_sigmoid(float32x4_t x) {
    const float32x4_t one = vdupq_n_f32(1.0f);
    return vdivq_f32(one, vaddq_f32(one, neon_exp(vnegq_f32(x))));
}

ALWAYS_INLINE float32x4_t neon_silu(float32x4_t x) { return vmulq_f32(x, neon_sigmoid(x)); }

/* Of four blocks: the sums of min_sub times the activations of a run, from the sums of the runs. */
ALWAYS_INLINE int32x4_t neon_min_sums(int16x8_t min_sub, int16x8_t sums) {
    return vpaddq_s32(vmull_s16(vget_low_s16(min_sub), vget_low_s16(sums)), vmull_high_s16(min_sub, sums));
}

/* In vector_, dot_, mix_, attention_ and matmul_neon.c. */
RUNG_FUNCTIONS(RUNG_DECLARE, neon)

/* dot_neon.c: out[t] = the dot product of n elements of w (f32, f16 or bf16) with x[t], t < n_x */
void kernels_neon_dots(QuantType type, const void *w, const float *const *x, size_t n_x, size_t n, float *out);

/* group_neon.c: as kernels_group_unpack; and as quant_decode, for the types with an integer kernel */
void kernels_neon_unpack(QuantType type, const uint8_t *src, size_t n_blocks, Group *g);
void kernels_neon_decode(QuantType type, const uint8_t *src, float *dst, size_t n);

/* tile_neon.c: matmul with quantised activations, for up to KERNELS_NEON_TILE tokens; less work than a row at a time from four on */
enum { KERNELS_NEON_TILE = 32 };
void kernels_neon_integer_tile(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens,
                               float *y, size_t y_stride);
/* tile_i8mm.c: the same on CPUs that have i8mm */
void kernels_i8mm_integer_tile(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens,
                               float *y, size_t y_stride);

/* matmul_neon.c: with that tile */
RUNG_DECLARE(i8mm, matmul)

#endif
