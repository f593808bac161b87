/* NEON rung, float dot products: one row against up to three vectors at a time, each in its own 32 lanes. */
#include "kernels/neon.h"

/* Adds the products of 32 elements at i to the lanes of each of n_x vectors. */
ALWAYS_INLINE void add_products(Lanes *lanes, QuantType type, const void *w, const float *const *x, size_t n_x, size_t i) {
    UNROLL for (size_t j = 0; j < 8; j += 2) {
        float32x4x2_t v = neon_load8(type, w, i + 4 * j);
        UNROLL for (size_t t = 0; t < n_x; t++) {
            lanes[t].v[j] = vfmaq_f32(lanes[t].v[j], v.val[0], vld1q_f32(x[t] + i + 4 * j));
            lanes[t].v[j + 1] = vfmaq_f32(lanes[t].v[j + 1], v.val[1], vld1q_f32(x[t] + i + 4 * j + 4));
        }
    }
}

/* type and n_x are constants where this is inlined, so that the lanes stay in registers. */
ALWAYS_INLINE void dots(QuantType type, const void *w, const float *const *x, size_t n_x, size_t n, float *out) {
    Lanes lanes[3];
    UNROLL for (size_t t = 0; t < n_x; t++) UNROLL for (size_t j = 0; j < 8; j++) lanes[t].v[j] = vdupq_n_f32(0.0f);
    size_t whole = n & ~(size_t)31;
    for (size_t i = 0; i < whole; i += 32) add_products(lanes, type, w, x, n_x, i);
    if (whole < n) {
        size_t bytes = type == QUANT_F32 ? 4 : 2;
        char w_tail[32 * 4] = {0};
        float x_tail[3][32] = {{0}};
        const float *x_tails[3] = {x_tail[0], x_tail[1], x_tail[2]};
        memcpy(w_tail, (const char *)w + bytes * whole, bytes * (n - whole));
        for (size_t t = 0; t < n_x; t++) memcpy(x_tail[t], x[t] + whole, sizeof(float) * (n - whole));
        add_products(lanes, type, w_tail, x_tails, n_x, 0);
    }
    UNROLL for (size_t t = 0; t < n_x; t++) out[t] = neon_fold32(lanes[t]);
}

ALWAYS_INLINE void dots_of_type(QuantType type, const void *w, const float *const *x, size_t n_x, size_t n, float *out) {
    for (; n_x > 3; n_x -= 3, x += 3, out += 3) dots(type, w, x, 3, n, out);
    if (n_x == 3) dots(type, w, x, 3, n, out);
    if (n_x == 2) dots(type, w, x, 2, n, out);
    if (n_x == 1) dots(type, w, x, 1, n, out);
}

void kernels_neon_dots(QuantType type, const void *w, const float *const *x, size_t n_x, size_t n, float *out) {
    if (type == QUANT_F32) dots_of_type(QUANT_F32, w, x, n_x, n, out);
    if (type == QUANT_F16) dots_of_type(QUANT_F16, w, x, n_x, n, out);
    if (type == QUANT_BF16) dots_of_type(QUANT_BF16, w, x, n_x, n, out);
}

float kernels_neon_dot(const float *a, const float *b, size_t n) {
    float sum;
    dots(QUANT_F32, a, &b, 1, n, &sum);
    return sum;
}
