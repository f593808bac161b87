/* AVX-512 rung, float dot products: four rows against up to three vectors at a time, each product in its own 32 lanes. One row
 * alone would wait for its own additions: two vectors of lanes are fewer than a multiply-add takes cycles. */
#include "kernels/avx512.h"

enum { ROWS = 4, VECTORS = 3 }; /* 24 vectors of lanes: with the operands they fill the 32 registers */

/* Adds the products of elements i .. i + 31, of which those under the masks exist, to the lanes. */
ALWAYS_INLINE void add_products(Lanes512 lanes[ROWS][VECTORS], QuantType type, const char *w, size_t w_stride, size_t n_rows,
                                const float *const *x, size_t n_x, size_t i, __mmask16 low, __mmask16 high) {
    UNROLL for (size_t j = 0; j < 2; j++) {
        const __mmask16 there = j ? high : low;
        __m512 xs[VECTORS];
        UNROLL for (size_t t = 0; t < n_x; t++) xs[t] = avx512_load(x[t] + i + 16 * j, there);
        UNROLL for (size_t r = 0; r < n_rows; r++) {
            __m512 v = avx512_load16(type, w + r * w_stride, i + 16 * j, there);
            UNROLL for (size_t t = 0; t < n_x; t++) lanes[r][t].v[j] = _mm512_fmadd_ps(v, xs[t], lanes[r][t].v[j]);
        }
    }
}

/* type, n_rows and n_x are constants where this is inlined, so that the lanes stay in registers. */
ALWAYS_INLINE void dots(QuantType type, const char *w, size_t w_stride, size_t n_rows, const float *const *x, size_t n_x, size_t n,
                        float *out, size_t out_stride) {
    Lanes512 lanes[ROWS][VECTORS];
    UNROLL for (size_t r = 0; r < n_rows; r++)
        UNROLL for (size_t t = 0; t < n_x; t++) lanes[r][t].v[0] = lanes[r][t].v[1] = _mm512_setzero_ps();
    size_t whole = n & ~(size_t)31;
    for (size_t i = 0; i < whole; i += 32) add_products(lanes, type, w, w_stride, n_rows, x, n_x, i, AVX512_ALL, AVX512_ALL);
    if (whole < n) {
        size_t rest = n - whole;
        __mmask16 low = avx512_first(rest), high = avx512_first(rest > 16 ? rest - 16 : 0);
        add_products(lanes, type, w, w_stride, n_rows, x, n_x, whole, low, high);
    }
    UNROLL for (size_t r = 0; r < n_rows; r++)
        UNROLL for (size_t t = 0; t < n_x; t++) out[t * out_stride + r] = avx512_fold32(lanes[r][t]);
}

ALWAYS_INLINE void some_rows(QuantType type, const char *w, size_t w_stride, size_t n_rows, const float *const *x, size_t n_x,
                             size_t n, float *out, size_t out_stride) {
    for (; n_x > VECTORS; n_x -= VECTORS, x += VECTORS, out += VECTORS * out_stride)
        dots(type, w, w_stride, n_rows, x, VECTORS, n, out, out_stride);
    if (n_x == 3) dots(type, w, w_stride, n_rows, x, 3, n, out, out_stride);
    if (n_x == 2) dots(type, w, w_stride, n_rows, x, 2, n, out, out_stride);
    if (n_x == 1) dots(type, w, w_stride, n_rows, x, 1, n, out, out_stride);
}

ALWAYS_INLINE void dots_of_type(QuantType type, const char *w, size_t w_stride, size_t n_rows, const float *const *x, size_t n_x,
                                size_t n, float *out, size_t out_stride) {
    size_t r = 0;
    for (; r + ROWS <= n_rows; r += ROWS) some_rows(type, w + r * w_stride, w_stride, ROWS, x, n_x, n, out + r, out_stride);
    for (; r < n_rows; r++) some_rows(type, w + r * w_stride, w_stride, 1, x, n_x, n, out + r, out_stride);
}

void kernels_avx512_dots(QuantType type, const void *w, size_t w_stride, size_t n_rows, const float *const *x, size_t n_x, size_t n,
                         float *out, size_t out_stride) {
    if (type == QUANT_F32) dots_of_type(QUANT_F32, w, w_stride, n_rows, x, n_x, n, out, out_stride);
    if (type == QUANT_F16) dots_of_type(QUANT_F16, w, w_stride, n_rows, x, n_x, n, out, out_stride);
    if (type == QUANT_BF16) dots_of_type(QUANT_BF16, w, w_stride, n_rows, x, n_x, n, out, out_stride);
}

float kernels_avx512_dot(const float *a, const float *b, size_t n) {
    float sum;
    dots(QUANT_F32, (const char *)a, 0, 1, &b, 1, n, &sum, 1);
    return sum;
}
