/* AVX-512 rung: weight rows times activations, in tiles of tokens. The integer products are in rows_avx512.c for few tokens, in
 * tile_avx512.c for more; here are those with f32 activations. */
#include "kernels/avx512.h"

enum { TILE = KERNELS_AVX512_TILE };

/* At most TILE tokens. scratch: [n], a decoded row. */
static void float_tile(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens, float *y,
                       size_t y_stride, float *scratch) {
    const float *x[TILE];
    size_t row_bytes = (size_t)quant_row_bytes(type, n);
    for (size_t t = 0; t < n_tokens; t++) x[t] = acts[t].x;
    if (type == QUANT_F32 || type == QUANT_F16 || type == QUANT_BF16) {
        kernels_avx512_dots(type, w, row_bytes, n_rows, x, n_tokens, n, y, y_stride);
        return;
    }
    for (size_t r = 0; r < n_rows; r++, w += row_bytes) {
        kernels_avx2_decode(type, w, scratch, n);
        kernels_avx512_dots(QUANT_F32, scratch, 0, 1, x, n_tokens, n, y + r, y_stride);
    }
}

/* Tokens are taken in tiles of neighbours that want the same arithmetic. */
void kernels_avx512_matmul(QuantType type, const void *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens, float *y,
                           size_t y_stride, float *scratch) {
    bool has_integer = kernels_has_integer(type);
    for (size_t first = 0, count; first < n_tokens; first += count) {
        bool integer = has_integer && acts[first].groups;
        for (count = 1; count < TILE && first + count < n_tokens; count++)
            if (integer != (has_integer && acts[first + count].groups)) break;
        float *out = y + first * y_stride;
        if (!integer) float_tile(type, w, n_rows, n, acts + first, count, out, y_stride, scratch);
        else if (count > KERNELS_AVX512_FEW) kernels_avx512_integer_tile(type, w, n_rows, n, acts + first, count, out, y_stride);
        else kernels_avx512_integer_rows(type, w, n_rows, n, acts + first, count, out, y_stride);
    }
}
