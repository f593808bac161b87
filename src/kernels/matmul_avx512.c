/* AVX-512 rung: weight rows times activations. Two rows are unpacked at a time (pair_avx512.h); group.h has the formula of the
 * integer products, scalar_matmul.c its plain form. */
#include "kernels/order.h"
#include "kernels/pair_avx512.h"

enum {
    TILE = 32, /* tokens at a time: their activations stay in the second cache while all rows pass by, a group of all in the first */
    FEW = 4,   /* tokens for which two rows at a time are multiplied from end to end */
    PAIRS = 8, /* of rows, for more tokens: a group of all is multiplied before the next */
};

/* ---- quantised activations ------------------------------------------------------------------------------------------ */

ALWAYS_INLINE bool form_has_min(PairForm form) { return form >= PAIR_PLAIN_MIN; }
ALWAYS_INLINE bool form_has_sub(PairForm form) { return form != PAIR_PLAIN && form != PAIR_PLAIN_MIN; }
ALWAYS_INLINE bool form_has_runs(PairForm form) { return form == PAIR_RUN || form == PAIR_RUN_MIN; }

/* One row of eight numbers for both rows of a pair. */
ALWAYS_INLINE __m512i both(const void *eight) { return _mm512_broadcast_i64x4(_mm256_load_si256((const __m256i *)eight)); }

/* The sums over runs of 16 that four vectors hold, added to `sum`. */
ALWAYS_INLINE __m512i add_run(const Pair *p, const KernelsActGroup *x, size_t k, __m512i sum) {
    UNROLL for (size_t i = k; i < k + 4; i++) sum = _mm512_dpbusd_epi32(sum, p->w[i], both(x->turned + 32 * i));
    return sum;
}

/* Adds a group of two rows to the block lanes of one token. */
ALWAYS_INLINE __m512 add_pair(PairForm form, int offset, const Pair *p, const KernelsActGroup *x, __m512 lanes) {
    __m512i sums = both(x->sums), sum = _mm512_setzero_si512(), high = _mm512_setzero_si512();
    if (form_has_runs(form)) {
        if (!form_has_min(form)) {
            sum = _mm512_madd_epi16(_mm512_set1_epi32(-offset & 0xFFFF), sums);
            high = _mm512_madd_epi16(_mm512_set1_epi32(-offset * 0x10000), sums);
        }
        sum = _mm512_mullo_epi32(add_run(p, x, 0, sum), p->sub);
        sum = _mm512_add_epi32(sum, _mm512_mullo_epi32(add_run(p, x, 4, high), p->sub_high));
    } else {
        if (!form_has_min(form)) sum = _mm512_madd_epi16(_mm512_set1_epi16((short)-offset), sums);
        sum = add_run(p, x, 4, add_run(p, x, 0, sum));
        if (form_has_sub(form)) sum = _mm512_mullo_epi32(sum, p->sub);
    }
    __m512 x_scale = _mm512_castsi512_ps(both(x->scale));
    lanes = _mm512_fmadd_ps(_mm512_mul_ps(p->scale, x_scale), _mm512_cvtepi32_ps(sum), lanes);
    if (!form_has_min(form)) return lanes;
    __m512i min_sum = _mm512_madd_epi16(p->min_sub, sums);
    return _mm512_fmadd_ps(_mm512_mul_ps(p->min, x_scale), _mm512_cvtepi32_ps(min_sum), lanes);
}

/* Group number `at` of two rows for n_tokens tokens, form and offset constant where this is inlined. lanes: [n_tokens]. */
ALWAYS_INLINE void add_tokens(PairForm form, int offset, const Pair *pair, const KernelsActs *acts, size_t n_tokens, size_t at,
                              __m512 *lanes) {
    const Pair p = *pair; /* in registers */
    for (size_t t = 0; t < n_tokens; t++) lanes[t] = add_pair(form, offset, &p, &acts[t].groups[at], lanes[t]);
}

static void add_group(PairForm form, int offset, const Pair *p, const KernelsActs *acts, size_t n_tokens, size_t at, __m512 *lanes) {
    switch (form) {
    case PAIR_PLAIN: add_tokens(PAIR_PLAIN, offset, p, acts, n_tokens, at, lanes); break;
    case PAIR_BLOCK: add_tokens(PAIR_BLOCK, offset, p, acts, n_tokens, at, lanes); break;
    case PAIR_RUN: add_tokens(PAIR_RUN, offset, p, acts, n_tokens, at, lanes); break;
    case PAIR_PLAIN_MIN: add_tokens(PAIR_PLAIN_MIN, 0, p, acts, n_tokens, at, lanes); break;
    case PAIR_BLOCK_MIN: add_tokens(PAIR_BLOCK_MIN, 0, p, acts, n_tokens, at, lanes); break;
    case PAIR_RUN_MIN: add_tokens(PAIR_RUN_MIN, 0, p, acts, n_tokens, at, lanes); break;
    }
}

/* Up to 2 * PAIRS rows; an odd last one is its own partner, and its second result is not stored. */
static void integer_rows(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens,
                         float *y, size_t y_stride) {
    __m512 lanes[PAIRS][TILE];
    int offset;
    const PairForm form = kernels_avx512_form(type, &offset);
    size_t row_bytes = (size_t)quant_row_bytes(type, n), bytes = group_bytes(type);
    for (size_t r = 0; r < n_rows; r += 2)
        for (size_t t = 0; t < n_tokens; t++) lanes[r / 2][t] = _mm512_setzero_ps();
    for (size_t at = 0; at * GROUP_ELEMS < n; at++) {
        size_t rest = n - at * GROUP_ELEMS, n_blocks = rest < GROUP_ELEMS ? rest / 32 : GROUP_BLOCKS;
        for (size_t r = 0; r < n_rows; r += 2) {
            const uint8_t *first = w + r * row_bytes + at * bytes;
            Pair p;
            kernels_avx512_unpack(type, first, r + 1 < n_rows ? first + row_bytes : first, n_blocks, &p);
            add_group(form, offset, &p, acts, n_tokens, at, lanes[r / 2]);
        }
    }
    for (size_t r = 0; r < n_rows; r++)
        for (size_t t = 0; t < n_tokens; t++) {
            __m512 v = lanes[r / 2][t];
            y[t * y_stride + r] = avx2_fold8(r % 2 ? _mm512_extractf32x8_ps(v, 1) : _mm512_castps512_ps256(v));
        }
}

static void integer_tile(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens,
                         float *y, size_t y_stride) {
    const size_t step = n_tokens > FEW ? 2 * PAIRS : 2, row_bytes = (size_t)quant_row_bytes(type, n);
    for (size_t r = 0; r < n_rows; r += step)
        integer_rows(type, w + r * row_bytes, n_rows - r < step ? n_rows - r : step, n, acts, n_tokens, y + r, y_stride);
}

/* ---- f32 activations ------------------------------------------------------------------------------------------------ */

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
        if (kernels_has_integer(type)) kernels_avx2_decode(type, w, scratch, n);
        else quant_decode(type, w, scratch, n);
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
        if (integer) integer_tile(type, w, n_rows, n, acts + first, count, out, y_stride);
        else float_tile(type, w, n_rows, n, acts + first, count, out, y_stride, scratch);
    }
}
