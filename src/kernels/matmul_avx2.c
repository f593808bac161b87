/* AVX2 rung: weight rows times activations. A row is unpacked once for a tile of tokens; group.h has the formula of the integer
 * products, scalar_matmul.c its plain form. */
#include "kernels/avx2.h"
#include "kernels/order.h"

enum { TILE = KERNELS_AVX2_TILE }; /* tokens at a time: their activations stay in the second cache while all rows pass by */

/* ---- f32 activations ------------------------------------------------------------------------------------------------ */

/* At most TILE tokens. scratch: [n], the decoded row. */
static void float_tile(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens, float *y,
                       size_t y_stride, float *scratch) {
    const float *x[TILE];
    float out[TILE];
    size_t row_bytes = (size_t)quant_row_bytes(type, n);
    bool plain = type == QUANT_F32 || type == QUANT_F16 || type == QUANT_BF16;
    for (size_t t = 0; t < n_tokens; t++) x[t] = acts[t].x;
    for (size_t r = 0; r < n_rows; r++, w += row_bytes, y++) {
        if (plain) {
            kernels_avx2_dots(type, w, x, n_tokens, n, out);
        } else {
            kernels_avx2_decode(type, w, scratch, n);
            kernels_avx2_dots(QUANT_F32, scratch, x, n_tokens, n, out);
        }
        for (size_t t = 0; t < n_tokens; t++) y[t * y_stride] = out[t];
    }
}

/* Tokens are taken in tiles of neighbours that want the same arithmetic. */
void kernels_avx2_matmul(QuantType type, const void *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens, float *y,
                         size_t y_stride, float *scratch) {
    bool has_integer = kernels_has_integer(type);
    for (size_t first = 0, count; first < n_tokens; first += count) {
        bool integer = has_integer && acts[first].groups;
        for (count = 1; count < TILE && first + count < n_tokens; count++)
            if (integer != (has_integer && acts[first + count].groups)) break;
        float *out = y + first * y_stride;
        if (!integer) float_tile(type, w, n_rows, n, acts + first, count, out, y_stride, scratch);
        else if (count > KERNELS_AVX2_FEW) kernels_avx2_integer_tile(type, w, n_rows, n, acts + first, count, out, y_stride);
        else kernels_avx2_integer_rows(type, w, n_rows, n, acts + first, count, out, y_stride, scratch);
    }
}
