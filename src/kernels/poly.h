/* Inside the kernels room: exp and its relatives for one value. Every rung evaluates exactly these operations in this order, the
 * vector rungs on several values at once, so the result is the same bits everywhere.
 *
 * exp(x) = 2^n * exp(r) with n = x / ln 2 rounded to nearest and |r| <= ln(2) / 2. exp(r) = 1 + r + r^2 * Q(r), Q of degree 4
 * with the least relative error (2^-28) on that interval. 2^n is applied as two factors, so that results in the range of
 * denormals are rounded once and the largest ones do not overflow early. NaN stays NaN.
 *
 * The largest error, of exp over all floats, of the others over all whose magnitude is at least 2^-24 (each was tried once;
 * tests/unit/test_kernels.c tries samples and the worst):
 *   exp       1.028 ulp, at -16.288
 *   sigmoid   2.481 ulp, at -16.636; 0 below -88.73, where exp(-x) overflows
 *   silu      2.861 ulp, at -16.699; likewise
 *   softplus  1.493 ulp, at -6.238 (single.c) */
#ifndef KERNELS_POLY_H
#define KERNELS_POLY_H

#include <math.h>
#include <stdint.h>

#define EXP_MAX 89.0f   /* exp overflows to infinity from 88.73 on */
#define EXP_MIN -104.0f /* exp rounds to 0 below -103.98 */
#define EXP_LOG2E 0x1.715476p+0f
#define EXP_LN2_HIGH 0x1.62e430p-1f
#define EXP_LN2_LOW -0x1.05c610p-29f
#define EXP_ROUND 0x1.8p+23f /* adding it rounds to an integer, which then stands in the low bits */
#define EXP_ROUND_BITS 0x4B400000u
#define EXP_C2 0x1.fffffcp-2f
#define EXP_C3 0x1.555490p-3f
#define EXP_C4 0x1.5558f4p-5f
#define EXP_C5 0x1.123a6cp-7f
#define EXP_C6 0x1.6a2352p-10f

static inline float poly_power_of_two(int32_t n) { /* -126 <= n <= 127 */
    union {
        uint32_t u;
        float f;
    } v = {((uint32_t)n + 127u) << 23};
    return v.f;
}

static inline float poly_exp(float x) {
    x = EXP_MAX < x ? EXP_MAX : x;
    x = EXP_MIN > x ? EXP_MIN : x;
    union {
        float f;
        uint32_t u;
    } rounded = {fmaf(x, EXP_LOG2E, EXP_ROUND)};
    float n = rounded.f - EXP_ROUND;
    float r = fmaf(-n, EXP_LN2_HIGH, x);
    r = fmaf(-n, EXP_LN2_LOW, r);
    float q = fmaf(EXP_C6, r, EXP_C5);
    q = fmaf(q, r, EXP_C4);
    q = fmaf(q, r, EXP_C3);
    q = fmaf(q, r, EXP_C2);
    float p = fmaf(q * r, r, r) + 1.0f;
    int32_t k = (int32_t)(rounded.u - EXP_ROUND_BITS), half = k >> 1;
    return p * poly_power_of_two(half) * poly_power_of_two(k - half);
}

static inline float poly_sigmoid(float x) { return 1.0f / (1.0f + poly_exp(-x)); }

static inline float poly_silu(float x) { return x * poly_sigmoid(x); }

#endif
