/* AVX2 rung: integer products of many rows with many tokens, the prefill's loop. The same integers as matmul_avx2.c finds for few
 * tokens, hence the same bits, at half the cost.
 *
 * A group is 8 blocks b of 32 elements. Here it is turned: vector k holds elements 4k .. 4k + 3 of all eight blocks, so that the sum
 * over a block runs over vectors and not inside one, and ends in lane b, where the float part wants it. Elements 0..15 of a
 * block, its first run, are vectors 0..3. Turning costs 24 shuffles: a row's group is turned once for all tokens; activations come
 * turned. */
#include "kernels/avx2.h"

enum { TOKENS = KERNELS_AVX2_TILE, ROWS = 16 }; /* lanes, and the current group of all tokens: the first cache */

/* How many pair products fit into 16 bits before they must be widened. */
typedef enum Kind {
    UNSIGNED,    /* 0..31 and a minimum: 4 * 2 * 31 * 127 */
    OFFSET,      /* the same after adding an offset, which is subtracted again through the sums of the activations */
    OFFSET_WIDE, /* 0..63 after adding 32: 2 * 2 * 63 * 127 */
    SIGNED,      /* -128..127: 1 * 2 * 128 * 127 */
} Kind;

static Kind kind_of(QuantType type, int *offset) {
    *offset = 0;
    switch (type) {
    case QUANT_Q4_0: *offset = 8; return OFFSET;
    case QUANT_Q5_0: *offset = 16; return OFFSET;
    case QUANT_MXFP4: *offset = 12; return OFFSET;
    case QUANT_Q3_K: *offset = 4; return OFFSET;
    case QUANT_IQ3_S: case QUANT_IQ1_S: case QUANT_IQ1_M: *offset = 15; return OFFSET;
    case QUANT_Q6_K: *offset = 32; return OFFSET_WIDE;
    case QUANT_Q4_1: case QUANT_Q5_1: case QUANT_Q2_K: case QUANT_Q4_K: case QUANT_Q5_K: return UNSIGNED;
    default: return SIGNED;
    }
}

/* The current group of one row. */
typedef struct Weights {
    __m256i w[8], size[8]; /* turned; |w|, SIGNED only */
    __m256i sub[2];        /* of the first and the second run of block b, twice in lane b */
    __m256i offset_sub;    /* offset * sub, in the order of runs */
    __m256i min_sub;
    __m256 scale, min;
} Weights;

/* Eight vectors of eight 32-bit elements, transposed in place. */
ALWAYS_INLINE void turn(__m256i v[8]) {
    __m256i a[8], b[8];
    UNROLL for (size_t i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
        a[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
    }
    UNROLL for (size_t i = 0; i < 8; i += 4) {
        b[i] = _mm256_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm256_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm256_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm256_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    UNROLL for (size_t i = 0; i < 4; i++) {
        v[i] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x20);
        v[i + 4] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x31);
    }
}

ALWAYS_INLINE void load_weights(Weights *r, Kind kind, int offset, const Group *g) {
    UNROLL for (size_t b = 0; b < 8; b++) {
        r->w[b] = _mm256_load_si256((const __m256i *)(g->w + 32 * b));
        if (kind == OFFSET || kind == OFFSET_WIDE) r->w[b] = _mm256_add_epi8(r->w[b], _mm256_set1_epi8((char)offset));
    }
    turn(r->w);
    if (kind == SIGNED) UNROLL for (size_t k = 0; k < 8; k++) r->size[k] = _mm256_abs_epi8(r->w[k]);
    __m256i sub = _mm256_loadu_si256((const __m256i *)g->sub), low = _mm256_and_si256(sub, _mm256_set1_epi32(0xFFFF));
    __m256i high = _mm256_srli_epi32(sub, 16);
    r->sub[0] = _mm256_or_si256(low, _mm256_slli_epi32(low, 16));
    r->sub[1] = _mm256_or_si256(high, _mm256_slli_epi32(high, 16));
    r->scale = _mm256_loadu_ps(g->scale);
    if (kind == OFFSET || kind == OFFSET_WIDE) r->offset_sub = _mm256_mullo_epi16(sub, _mm256_set1_epi16((short)offset));
    if (kind != UNSIGNED) return;
    r->min_sub = _mm256_loadu_si256((const __m256i *)g->min_sub);
    r->min = _mm256_loadu_ps(g->min);
}

/* Sixteen sums of two products each. */
ALWAYS_INLINE __m256i pairs(Kind kind, const Weights *r, const int8_t *q, size_t k) {
    __m256i x = _mm256_load_si256((const __m256i *)(q + 32 * k));
    if (kind == SIGNED) return _mm256_maddubs_epi16(r->size[k], _mm256_sign_epi8(x, r->w[k]));
    return _mm256_maddubs_epi16(r->w[k], x);
}

/* The sum over one run (4 vectors from k on) of each of the eight blocks, times the run's integer scale. */
ALWAYS_INLINE __m256i run_sums(Kind kind, const Weights *r, const int8_t *q, size_t k) {
    __m256i p[4], sub = r->sub[k / 4];
    UNROLL for (size_t i = 0; i < 4; i++) p[i] = pairs(kind, r, q, k + i);
    if (kind == SIGNED) {
        UNROLL for (size_t i = 0; i < 4; i++) p[i] = _mm256_madd_epi16(p[i], sub);
        return _mm256_add_epi32(_mm256_add_epi32(p[0], p[1]), _mm256_add_epi32(p[2], p[3]));
    }
    p[0] = _mm256_add_epi16(p[0], p[1]);
    p[2] = _mm256_add_epi16(p[2], p[3]);
    if (kind == OFFSET_WIDE) return _mm256_add_epi32(_mm256_madd_epi16(p[0], sub), _mm256_madd_epi16(p[2], sub));
    return _mm256_madd_epi16(_mm256_add_epi16(p[0], p[2]), sub);
}

/* The float part is that of group.h. */
ALWAYS_INLINE __m256 add_group(Kind kind, const Weights *r, const KernelsActGroup *x, __m256 lanes) {
    __m256i sums = _mm256_load_si256((const __m256i *)x->sums);
    __m256i sum = _mm256_add_epi32(run_sums(kind, r, x->turned, 0), run_sums(kind, r, x->turned, 4));
    if (kind == OFFSET || kind == OFFSET_WIDE) sum = _mm256_sub_epi32(sum, _mm256_madd_epi16(r->offset_sub, sums));
    __m256 x_scale = _mm256_load_ps(x->scale);
    lanes = _mm256_fmadd_ps(_mm256_mul_ps(r->scale, x_scale), _mm256_cvtepi32_ps(sum), lanes);
    if (kind != UNSIGNED) return lanes;
    __m256i min_sum = _mm256_madd_epi16(r->min_sub, sums);
    return _mm256_fmadd_ps(_mm256_mul_ps(r->min, x_scale), _mm256_cvtepi32_ps(min_sum), lanes);
}

/* Group number `at` of one row for all tokens. lanes: [n_tokens]. */
ALWAYS_INLINE void add_row(Kind kind, int offset, const Group *g, const KernelsActs *acts, size_t n_tokens, size_t at, __m256 *lanes) {
    Weights r;
    load_weights(&r, kind, offset, g);
    for (size_t t = 0; t < n_tokens; t++) lanes[t] = add_group(kind, &r, &acts[t].groups[at], lanes[t]);
}

void kernels_avx2_integer_tile(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens,
                               float *y, size_t y_stride) {
    Group g;
    __m256 lanes[ROWS][TOKENS];
    int offset;
    Kind kind = kind_of(type, &offset);
    size_t row_bytes = (size_t)quant_row_bytes(type, n), bytes = group_bytes(type);
    for (size_t top = 0; top < n_rows; top += ROWS, w += ROWS * row_bytes) {
        size_t rows = n_rows - top < ROWS ? n_rows - top : ROWS;
        memset(lanes, 0, rows * sizeof lanes[0]);
        for (size_t at = 0; at * GROUP_ELEMS < n; at++) {
            size_t rest = n - at * GROUP_ELEMS, n_blocks = rest < GROUP_ELEMS ? rest / 32 : GROUP_BLOCKS;
            for (size_t r = 0; r < rows; r++) {
                kernels_avx2_unpack(type, w + r * row_bytes + at * bytes, n_blocks, &g);
                switch (kind) {
                case UNSIGNED: add_row(UNSIGNED, 0, &g, acts, n_tokens, at, lanes[r]); break;
                case OFFSET: add_row(OFFSET, offset, &g, acts, n_tokens, at, lanes[r]); break;
                case OFFSET_WIDE: add_row(OFFSET_WIDE, offset, &g, acts, n_tokens, at, lanes[r]); break;
                case SIGNED: add_row(SIGNED, 0, &g, acts, n_tokens, at, lanes[r]); break;
                }
            }
        }
        for (size_t r = 0; r < rows; r++)
            for (size_t t = 0; t < n_tokens; t++) y[t * y_stride + top + r] = avx2_fold8(lanes[r][t]);
    }
}
