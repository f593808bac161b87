/* AVX-512 rung: integer products of many rows with many tokens, the prefill's loop: a group of two rows is unpacked once for all
 * tokens of the tile, whose activations of that group stay in the first cache for sixteen rows. */
#include "kernels/unpack_avx512.h"

enum { TOKENS = KERNELS_AVX512_TILE, PAIRS = 8 };

static void unpack(QuantType type, const uint8_t *first, const uint8_t *second, size_t n_blocks, Pair *p) {
    uint8_t whole[2][GROUP_BYTES_MAX];
    if (n_blocks < GROUP_BLOCKS) {
        first = kernels_group_filled_up(type, first, n_blocks, whole[0]);
        second = kernels_group_filled_up(type, second, n_blocks, whole[1]);
    }
    avx512_unpack(type, first, second, p);
}

/* Group number i of two rows for all tokens, form constant where this is inlined but for its offset. lanes: [n_tokens]. */
ALWAYS_INLINE void add_tokens(PairForm form, const Pair *pair, const KernelsActs *acts, size_t n_tokens, size_t i, __m512 *lanes) {
    const Pair p = *pair; /* in registers */
    for (size_t t = 0; t < n_tokens; t++) lanes[t] = avx512_add_pair(form, &p, &acts[t].groups[i], lanes[t]);
}

static void add_group(PairForm form, const Pair *p, const KernelsActs *acts, size_t n_tokens, size_t i, __m512 *lanes) {
    switch (form.sub) {
    case GROUP_SUB_NONE:
        if (form.has_min) add_tokens((PairForm){GROUP_SUB_NONE, true, 0}, p, acts, n_tokens, i, lanes);
        else add_tokens((PairForm){GROUP_SUB_NONE, false, form.offset}, p, acts, n_tokens, i, lanes);
        break;
    case GROUP_SUB_BLOCK:
        if (form.has_min) add_tokens((PairForm){GROUP_SUB_BLOCK, true, 0}, p, acts, n_tokens, i, lanes);
        else add_tokens((PairForm){GROUP_SUB_BLOCK, false, form.offset}, p, acts, n_tokens, i, lanes);
        break;
    case GROUP_SUB_RUN:
        if (form.has_min) add_tokens((PairForm){GROUP_SUB_RUN, true, 0}, p, acts, n_tokens, i, lanes);
        else add_tokens((PairForm){GROUP_SUB_RUN, false, form.offset}, p, acts, n_tokens, i, lanes);
        break;
    }
}

/* Up to 2 * PAIRS rows; a last one without partner is its own, and the second result is not stored. */
static void some_rows(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens, float *y,
                      size_t y_stride) {
    __m512 lanes[PAIRS][TOKENS];
    const PairForm form = avx512_form(type);
    size_t row_bytes = (size_t)quant_row_bytes(type, n), bytes = kernels_group_bytes(type);
    memset(lanes, 0, (n_rows + 1) / 2 * sizeof lanes[0]);
    for (size_t i = 0; i * GROUP_ELEMS < n; i++) {
        size_t rest = n - i * GROUP_ELEMS, n_blocks = rest < GROUP_ELEMS ? rest / 32 : GROUP_BLOCKS;
        for (size_t r = 0; r < n_rows; r += 2) {
            const uint8_t *first = w + r * row_bytes + i * bytes;
            Pair p;
            unpack(type, first, r + 1 < n_rows ? first + row_bytes : first, n_blocks, &p);
            add_group(form, &p, acts, n_tokens, i, lanes[r / 2]);
        }
    }
    for (size_t r = 0; r < n_rows; r += 2)
        for (size_t t = 0; t < n_tokens; t++) {
            float rows[2];
            avx512_fold_pair(lanes[r / 2][t], rows);
            y[t * y_stride + r] = rows[0];
            if (r + 1 < n_rows) y[t * y_stride + r + 1] = rows[1];
        }
}

void kernels_avx512_integer_tile(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens,
                                 float *y, size_t y_stride) {
    const size_t step = (size_t)2 * PAIRS, row_bytes = (size_t)quant_row_bytes(type, n);
    for (size_t r = 0; r < n_rows; r += step)
        some_rows(type, w + r * row_bytes, n_rows - r < step ? n_rows - r : step, n, acts, n_tokens, y + r, y_stride);
}
