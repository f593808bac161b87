/* AVX2 rung: weight rows times activations. A row is unpacked once for a tile of tokens; group.h has the formula of the integer
 * products, scalar_matmul.c its plain form. */
#include "kernels/avx2.h"
#include "kernels/order.h"

enum {
    TILE = KERNELS_AVX2_TILE, /* tokens at a time: their activations stay in the second cache while all rows pass by */
    FEW = 3,                  /* tokens for which a row is multiplied as it lies; for more, see tile_avx2.c */
};

/* ---- quantised activations ------------------------------------------------------------------------------------------ */

/* What a type asks of the inner loop; constant where it is inlined. */
typedef struct Shape {
    bool is_signed; /* w may be negative */
    bool has_sub;   /* integer scales per run of 16 */
    bool has_min;
} Shape;

/* Runs 0..15 to the order 0 2 4 .. 14 | 1 3 .. 15: the first half of a block is multiplied in the lower half of a vector. */
ALWAYS_INLINE __m256i split_runs(const int16_t *sub) {
    const __m256i evens_first = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    __m256i v = _mm256_shuffle_epi8(_mm256_loadu_si256((const __m256i *)sub), evens_first);
    return _mm256_permute4x64_epi64(v, 0xD8);
}

/* 32 products of block b as eight partial sums. |w| as unsigned times q with the sign of w: pairs stay below 2 * 128 * 127, so
 * that nothing saturates. */
ALWAYS_INLINE __m256i block_products(Shape shape, __m256i w, const int8_t *q, __m256i subs, size_t b) {
    __m256i x = _mm256_loadu_si256((const __m256i *)q);
    if (shape.is_signed) x = _mm256_sign_epi8(x, w), w = _mm256_abs_epi8(w);
    __m256i pairs = _mm256_maddubs_epi16(w, x);
    __m256i sub = _mm256_set1_epi16(1);
    if (shape.has_sub) sub = _mm256_shuffle_epi8(subs, _mm256_set1_epi16((short)(2 * b | (2 * b + 1) << 8)));
    return _mm256_madd_epi16(pairs, sub);
}

/* Eight vectors of partial sums to one vector of eight sums. */
ALWAYS_INLINE __m256i sum_each(const __m256i *v) {
    __m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    __m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32(v[4], v[5]), _mm256_hadd_epi32(v[6], v[7]));
    return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31));
}

/* Adds the products of one group to the 8 block lanes of one token. */
ALWAYS_INLINE __m256 add_group(Shape shape, const Group *g, const KernelsActGroup *x, __m256 lanes) {
    __m256i products[8], subs = shape.has_sub ? split_runs(g->sub) : _mm256_setzero_si256();
    UNROLL for (size_t b = 0; b < 8; b++)
        products[b] = block_products(shape, _mm256_load_si256((const __m256i *)(g->w + 32 * b)), x->q + 32 * b, subs, b);
    __m256 x_scale = _mm256_load_ps(x->scale);
    __m256 scale = _mm256_mul_ps(_mm256_loadu_ps(g->scale), x_scale);
    lanes = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(sum_each(products)), lanes);
    if (shape.has_min) {
        __m256i min_sub = _mm256_loadu_si256((const __m256i *)g->min_sub);
        __m256i sums = _mm256_load_si256((const __m256i *)x->sums);
        __m256 min = _mm256_mul_ps(_mm256_loadu_ps(g->min), x_scale);
        lanes = _mm256_fmadd_ps(min, _mm256_cvtepi32_ps(_mm256_madd_epi16(min_sub, sums)), lanes);
    }
    return lanes;
}

ALWAYS_INLINE void integer_row(Shape shape, QuantType type, const uint8_t *row, size_t n, const KernelsActs *acts, size_t n_tokens,
                               float *y, size_t y_stride) {
    __m256 lanes[FEW];
    Group g;
    size_t bytes = group_bytes(type);
    for (size_t t = 0; t < n_tokens; t++) lanes[t] = _mm256_setzero_ps();
    for (size_t i = 0; i * GROUP_ELEMS < n; i++, row += bytes) {
        size_t rest = n - i * GROUP_ELEMS;
        kernels_avx2_unpack(type, row, rest < GROUP_ELEMS ? rest / 32 : GROUP_BLOCKS, &g);
        for (size_t t = 0; t < n_tokens; t++) lanes[t] = add_group(shape, &g, &acts[t].groups[i], lanes[t]);
    }
    for (size_t t = 0; t < n_tokens; t++) y[t * y_stride] = avx2_fold8(lanes[t]);
}

/* At most FEW tokens, all quantised. */
static void integer_few(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens,
                        float *y, size_t y_stride) {
    size_t row_bytes = (size_t)quant_row_bytes(type, n);
    for (size_t r = 0; r < n_rows; r++, w += row_bytes, y++) {
        switch (type) {
        case QUANT_Q2_K: case QUANT_Q4_K: case QUANT_Q5_K:
            integer_row((Shape){false, true, true}, type, w, n, acts, n_tokens, y, y_stride);
            break;
        case QUANT_Q4_1: case QUANT_Q5_1: integer_row((Shape){false, false, true}, type, w, n, acts, n_tokens, y, y_stride); break;
        case QUANT_Q4_0: case QUANT_Q5_0: case QUANT_Q8_0: case QUANT_IQ4_NL: case QUANT_MXFP4:
            integer_row((Shape){true, false, false}, type, w, n, acts, n_tokens, y, y_stride);
            break;
        default: integer_row((Shape){true, true, false}, type, w, n, acts, n_tokens, y, y_stride); break;
        }
    }
}

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
            if (kernels_has_integer(type)) kernels_avx2_decode(type, w, scratch, n);
            else quant_decode(type, w, scratch, n);
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
        else if (count > FEW) kernels_avx2_integer_tile(type, w, n_rows, n, acts + first, count, out, y_stride);
        else integer_few(type, w, n_rows, n, acts + first, count, out, y_stride);
    }
}
