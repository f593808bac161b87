/* AVX2 rung: two rows of weights with one token, for types of plain nibbles. Formula and order are those of group.h; rows_avx2.c has
 * the other types and the other numbers of rows and tokens.
 *
 * What is saved here is folding: parts of a block come to stand in the same place of several vectors and are added there. Where the
 * two runs of a block share its bytes, 16 bytes of two blocks make a vector: the first runs of both and, shifted, the second ones.
 * In Q4_K two blocks share 32 bytes, and the quadwords of 64 are exchanged while they are still packed, at half the price. Either
 * way blocks 0, 2, 4, 6 end in the lower lanes and 1, 3, 5, 7 in the upper ones, where they stay up to the end of the row. The
 * activations are brought into that order once for all rows. */
#include "kernels/fold_avx2.h"
#include "kernels/unpack_avx2.h"

enum { PREFETCH = 4096 }; /* bytes ahead, as in rows_avx2.c */

/* 256 activations in the order in which the weights come. */
typedef struct Acts {
    _Alignas(64) int8_t q[GROUP_ELEMS];
    uint8_t magnitude[GROUP_ELEMS]; /* |q|; for signed weights */
    float scale[GROUP_BLOCKS];
    int32_t offset[GROUP_BLOCKS]; /* what the offset of the weights adds to each block's sum */
    int16_t sums[GROUP_RUNS];
} Acts;

static const int TO_LANES[8] = {0, 2, 4, 6, 1, 3, 5, 7}, FROM_LANES[8] = {0, 4, 1, 5, 2, 6, 3, 7};

ALWAYS_INLINE bool is_signed(QuantType type) { return type == QUANT_IQ4_NL || type == QUANT_IQ4_XS; }

ALWAYS_INLINE void prepare(QuantType type, const KernelsActGroup *x, Acts *a) {
    const __m256i order = load32(TO_LANES);
    for (size_t j = 0; j < 4; j++) {
        __m256i v[2];
        if (type == QUANT_Q4_K) { /* see sum_exchanged */
            __m256i low = load32(x->q + 128 * (j % 2) + 32 * (j / 2)), high = load32(x->q + 128 * (j % 2) + 32 * (j / 2) + 64);
            v[0] = _mm256_unpacklo_epi64(low, high);
            v[1] = _mm256_unpackhi_epi64(low, high);
        } else { /* see sum_runs */
            __m256i even = load32(x->q + 64 * j), odd = load32(x->q + 64 * j + 32);
            v[0] = _mm256_permute2x128_si256(even, odd, 0x20);
            v[1] = _mm256_permute2x128_si256(even, odd, 0x31);
        }
        for (size_t i = 0; i < 2; i++) {
            _mm256_store_si256((__m256i *)(a->q + 64 * j + 32 * i), v[i]);
            if (is_signed(type)) _mm256_store_si256((__m256i *)(a->magnitude + 64 * j + 32 * i), _mm256_abs_epi8(v[i]));
        }
    }
    __m256i sums = _mm256_permutevar8x32_epi32(load32(x->sums), order);
    _mm256_store_ps(a->scale, _mm256_permutevar8x32_ps(_mm256_load_ps(x->scale), order));
    _mm256_store_si256((__m256i *)a->sums, sums);
    _mm256_store_si256((__m256i *)a->offset, _mm256_madd_epi16(_mm256_set1_epi16((short)avx2_form(type).offset), sums));
}

/* ---- scales, in the order of lanes ---------------------------------------------------------------------------------- */

/* The byte that begins block b of 17 is byte b of the b-th 16 bytes. */
ALWAYS_INLINE __m256 scales_of_17(const uint8_t *src) {
    const __m256i to_top = _mm256_setr_epi8(-1, -1, -1, 0, -1, -1, -1, 2, -1, -1, -1, 4, -1, -1, -1, 6, /**/
                                            -1, -1, -1, 1, -1, -1, -1, 3, -1, -1, -1, 5, -1, -1, -1, 7);
    __m256i a = _mm256_blend_epi16(load32(src), load32(src + 32), 0x02);
    __m256i b = _mm256_blend_epi16(load32(src + 64), load32(src + 96), 0x08);
    return power_scales(_mm256_shuffle_epi8(_mm256_blend_epi32(a, b, 0x22), to_top));
}

/* The f16 that begins block b of 18 bytes is word b of the b-th 16 bytes. */
ALWAYS_INLINE __m256 scales_of_18(const uint8_t *src) {
    const __m256i together = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1, /**/
                                              2, 3, 6, 7, 10, 11, 14, 15, -1, -1, -1, -1, -1, -1, -1, -1);
    __m256i a = _mm256_blend_epi32(load32(src), load32(src + 32), 0x22);
    __m256i b = _mm256_blend_epi32(load32(src + 64), load32(src + 96), 0x88);
    __m256i halves = _mm256_shuffle_epi8(_mm256_blend_epi32(a, b, 0xCC), together);
    return _mm256_cvtph_ps(_mm256_castsi256_si128(_mm256_permute4x64_epi64(halves, _MM_SHUFFLE(3, 3, 2, 0))));
}

/* IQ4_XS: six bits per block, see iq4_xs_scales. Both parts of each are shifted down from the upper byte of a word by a
 * multiplication, and a second one puts them together. */
ALWAYS_INLINE __m256i six_bits(const uint8_t *src) {
    const __m256i from = _mm256_setr_epi8(-1, 4, -1, 2, -1, 5, -1, 2, -1, 6, -1, 3, -1, 7, -1, 3, /**/
                                          -1, 4, -1, 2, -1, 5, -1, 2, -1, 6, -1, 3, -1, 7, -1, 3);
    const __m256i down = _mm256_setr_epi16(256, 256, 256, 16, 256, 256, 256, 16, 16, 64, 16, 4, 16, 64, 16, 4);
    uint64_t head;
    memcpy(&head, src, sizeof head);
    __m256i parts = _mm256_mulhi_epu16(_mm256_shuffle_epi8(_mm256_set1_epi64x((long long)head), from), down);
    parts = _mm256_and_si256(parts, _mm256_set1_epi32(3 << 16 | 15));
    return _mm256_sub_epi32(_mm256_madd_epi16(parts, _mm256_set1_epi32(16 << 16 | 1)), _mm256_set1_epi32(32));
}

/* Q4_K: those of six_bit_scales, each twice in its lane. */
ALWAYS_INLINE void six_bit_pairs(const uint8_t *src, __m256i *sub, __m256i *min_sub) {
    const __m256i from = _mm256_setr_epi8(0, -1, 0, -1, 2, -1, 2, -1, 8, -1, 8, -1, 10, -1, 10, -1, /**/
                                          1, -1, 1, -1, 3, -1, 3, -1, 9, -1, 9, -1, 11, -1, 11, -1);
    const __m256i min_from = _mm256_setr_epi8(4, -1, 4, -1, 6, -1, 6, -1, 12, -1, 12, -1, 14, -1, 14, -1, /**/
                                              5, -1, 5, -1, 7, -1, 7, -1, 13, -1, 13, -1, 15, -1, 15, -1);
    __m256i v = _mm256_broadcastsi128_si256(six_bit_bytes(src));
    *sub = _mm256_shuffle_epi8(v, from);
    *min_sub = _mm256_shuffle_epi8(v, min_from);
}

/* ---- rows ----------------------------------------------------------------------------------------------------------- */

/* 16 bytes of block 2j, 16 of block 2j + 1. */
ALWAYS_INLINE __m256i two_blocks(QuantType type, const uint8_t *src, size_t j) {
    if (type == QUANT_IQ4_XS) return load32(src + 8 + 32 * j);
    const size_t bytes = type == QUANT_MXFP4 ? 17 : 18, head = bytes - 16;
    const uint8_t *even = src + 2 * j * bytes + head;
    return _mm256_inserti128_si256(_mm256_castsi128_si256(load16(even)), load16(even + bytes), 1);
}

/* Products of blocks 2j and 2j + 1, first and second runs added: of unsigned weights four in a word, of signed ones in a dword. */
ALWAYS_INLINE __m256i sum_runs(QuantType type, __m256i packed, const Acts *x, size_t j) {
    const __m256i iq4 = _mm256_broadcastsi128_si256(load16(kernels_iq4_values)), ones = _mm256_set1_epi16(1);
    const __m256i fp4 = _mm256_broadcastsi128_si256(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
    __m256i p[2], w[2] = {_mm256_and_si256(packed, bytes_of(15)), shift_and_mask(packed, -4, 15)};
    UNROLL for (size_t run = 0; run < 2; run++) {
        __m256i q = _mm256_load_si256((const __m256i *)(x->q + 64 * j + 32 * run));
        if (!is_signed(type)) {
            if (type == QUANT_MXFP4) w[run] = _mm256_shuffle_epi8(fp4, w[run]);
            p[run] = _mm256_maddubs_epi16(w[run], q);
        } else { /* no weight is -128, so it may take the sign */
            __m256i magnitude = _mm256_load_si256((const __m256i *)(x->magnitude + 64 * j + 32 * run));
            __m256i w_signed = _mm256_sign_epi8(_mm256_shuffle_epi8(iq4, w[run]), q);
            p[run] = _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, w_signed), ones);
        }
    }
    return is_signed(type) ? _mm256_add_epi32(p[0], p[1]) : _mm256_add_epi16(p[0], p[1]);
}

/* Q4_K: products of low nibbles (j < 2) or high ones of 64 bytes, two blocks in turn by quadwords, four products in a word. */
ALWAYS_INLINE __m256i sum_exchanged(const uint8_t *src, const Acts *x, size_t j) {
    const uint8_t *qs = src + 16 + 64 * (j % 2);
    const int down = -(int)(j / 2 * 4);
    __m256i low = load32(qs), high = load32(qs + 32);
    __m256i a = shift_and_mask(_mm256_unpacklo_epi64(low, high), down, 15);
    __m256i b = shift_and_mask(_mm256_unpackhi_epi64(low, high), down, 15);
    return _mm256_add_epi16(_mm256_maddubs_epi16(a, _mm256_load_si256((const __m256i *)(x->q + 64 * j))),
                            _mm256_maddubs_epi16(b, _mm256_load_si256((const __m256i *)(x->q + 64 * j + 32))));
}

ALWAYS_INLINE __m256 add_q4_k(const uint8_t *src, const __m256i p[4], const Acts *x, __m256 lanes) {
    __m256i even = fold_dwords(p[0], p[1], true), odd = fold_dwords(p[2], p[3], true), sub, min_sub;
    __m256i sum = _mm256_add_epi16(_mm256_blend_epi32(even, odd, 0xF0), _mm256_permute2x128_si256(even, odd, 0x21));
    __m256 x_scale = _mm256_load_ps(x->scale);
    Scales s;
    two_scales(src, &s);
    six_bit_pairs(src, &sub, &min_sub);
    lanes = _mm256_fmadd_ps(_mm256_mul_ps(s.scale, x_scale), _mm256_cvtepi32_ps(_mm256_madd_epi16(sum, sub)), lanes);
    __m256i min_sum = _mm256_madd_epi16(min_sub, _mm256_load_si256((const __m256i *)x->sums));
    return _mm256_fnmadd_ps(_mm256_mul_ps(s.min, x_scale), _mm256_cvtepi32_ps(min_sum), lanes);
}

/* Adds a group whose products stand in p to the lanes. */
ALWAYS_INLINE __m256 add_products(QuantType type, const uint8_t *src, const __m256i p[4], const Acts *x, __m256 lanes) {
    if (type == QUANT_Q4_K) return add_q4_k(src, p, x, lanes);
    const __m256i ones = _mm256_set1_epi16(1);
    const bool words = !is_signed(type);
    __m256i a = fold_quads(p[0], p[1], words), b = fold_quads(p[2], p[3], words), sum;
    if (type == QUANT_Q4_0) sum = _mm256_madd_epi16(fold_dwords(a, b, true), ones);
    else if (type == QUANT_MXFP4) sum = fold_dwords(_mm256_madd_epi16(a, ones), _mm256_madd_epi16(b, ones), false);
    else sum = fold_dwords(a, b, false);
    if (words) sum = _mm256_sub_epi32(sum, _mm256_load_si256((const __m256i *)x->offset));
    if (type == QUANT_IQ4_XS) sum = _mm256_mullo_epi32(sum, six_bits(src));
    __m256 scale = type == QUANT_IQ4_XS ? one_scale(src) : type == QUANT_MXFP4 ? scales_of_17(src) : scales_of_18(src);
    return _mm256_fmadd_ps(_mm256_mul_ps(scale, _mm256_load_ps(x->scale)), _mm256_cvtepi32_ps(sum), lanes);
}

/* type is a constant where this is inlined. */
ALWAYS_INLINE void two_rows(QuantType type, const uint8_t *w, size_t row_bytes, const Acts *x, size_t n_groups, float y[2]) {
    const size_t bytes = type == QUANT_IQ4_XS || type == QUANT_MXFP4 ? 136 : 144;
    const __m256i order = load32(FROM_LANES);
    __m256 lanes[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (size_t i = 0; i < n_groups; i++) {
        const uint8_t *src = w + i * bytes, *ahead = w + 2 * i * bytes + PREFETCH;
        __m256i p[2][4];
        UNROLL for (size_t at = 0; at < 2 * bytes; at += 64) _mm_prefetch((const char *)ahead + at, _MM_HINT_T0);
        UNROLL for (size_t j = 0; j < 4; j++) UNROLL for (size_t r = 0; r < 2; r++) {
            const uint8_t *row = src + r * row_bytes;
            p[r][j] = type == QUANT_Q4_K ? sum_exchanged(row, &x[i], j) : sum_runs(type, two_blocks(type, row, j), &x[i], j);
        }
        UNROLL for (size_t r = 0; r < 2; r++) lanes[r] = add_products(type, src + r * row_bytes, p[r], &x[i], lanes[r]);
    }
    UNROLL for (size_t r = 0; r < 2; r++) y[r] = avx2_fold8(_mm256_permutevar8x32_ps(lanes[r], order));
}

ALWAYS_INLINE size_t pairs(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActGroup *x, float *y,
                           float *scratch) {
    const size_t row_bytes = (size_t)quant_row_bytes(type, n), n_groups = n / GROUP_ELEMS;
    Acts *acts = (Acts *)(void *)(scratch + (-(uintptr_t)scratch / sizeof(float)) % 16); /* the next cache line */
    size_t r = 0;
    for (size_t i = 0; i < n_groups; i++) prepare(type, &x[i], &acts[i]);
    for (; r + 2 <= n_rows; r += 2) two_rows(type, w + r * row_bytes, row_bytes, acts, n_groups, y + r);
    return r;
}

size_t kernels_avx2_nibble_rows(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActGroup *x, float *y,
                                float *scratch) {
    if (n_rows < 2 || n % GROUP_ELEMS) return 0;
    switch (type) {
    case QUANT_Q4_0: return pairs(QUANT_Q4_0, w, n_rows, n, x, y, scratch);
    case QUANT_Q4_K: return pairs(QUANT_Q4_K, w, n_rows, n, x, y, scratch);
    case QUANT_IQ4_NL: return pairs(QUANT_IQ4_NL, w, n_rows, n, x, y, scratch);
    case QUANT_IQ4_XS: return pairs(QUANT_IQ4_XS, w, n_rows, n, x, y, scratch);
    case QUANT_MXFP4: return pairs(QUANT_MXFP4, w, n_rows, n, x, y, scratch);
    default: return 0;
    }
}
