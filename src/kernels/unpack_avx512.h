/* Inside the kernels room: unpacking weights of two rows in registers, on the AVX-512 rung. Included by the files that multiply them.
 *
 * A group is 8 blocks b of 32 elements (group.h). A vector holds those of two rows: 32-bit lane b is block b of the first row,
 * lane 8 + b of the second. Vector k of the weights holds elements 4k .. 4k + 3 of every block, as KernelsActGroup.turned does for
 * one row of activations, so that a block's sum runs over vectors and ends in the lane where the float part wants it. Bytes are
 * turned before their bits are taken apart, for there are fewer of them. Layouts as in the quant room (legacy.c, kquants.c,
 * iquants.c, fp4.c).
 *
 * The instruction multiplies unsigned weights with signed activations: what may be negative is stored plus an offset of its
 * type, and the sum of products begins at -offset times the sum of the activations. All of it is exact. */
#ifndef KERNELS_UNPACK_AVX512_H
#define KERNELS_UNPACK_AVX512_H

#include "kernels/avx512.h"

/* What a type asks of the loop that multiplies it; constant where it is inlined. */
typedef struct PairForm {
    GroupSub sub;
    bool has_min; /* and then no offset */
    int offset;
} PairForm;

ALWAYS_INLINE PairForm avx512_form(QuantType type) {
    const GroupForm g = group_form(type);
    return (PairForm){g.sub, g.has_min, -g.low};
}

/* A group of two rows. */
typedef struct Pair {
    __m512i w[8];
    __m512i sub;      /* of block b, or of its first run; 32 bits */
    __m512i sub_high; /* of its second run */
    __m512i min_sub;  /* of both runs, 16 bits each */
    __m512 scale, min;
} Pair;

ALWAYS_INLINE __m256i load32(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
ALWAYS_INLINE __m128i load16(const void *p) { return _mm_loadu_si128((const __m128i *)p); }
ALWAYS_INLINE __m512i join(__m256i first, __m256i second) { return _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1); }
ALWAYS_INLINE __m512 join_ps(__m256 first, __m256 second) { return _mm512_insertf32x8(_mm512_castps256_ps512(first), second, 1); }
ALWAYS_INLINE __m512i bits(int mask) { return _mm512_set1_epi8((char)mask); }

/* Per lane of 32 bits: a for the first row's blocks 0..7, b for the second's. */
#define LANES(b0, b1, b2, b3, b4, b5, b6, b7, second)                                                                            \
    _mm512_setr_epi32(b0, b1, b2, b3, b4, b5, b6, b7, (b0) + (second), (b1) + (second), (b2) + (second), (b3) + (second),        \
                      (b4) + (second), (b5) + (second), (b6) + (second), (b7) + (second))

/* ---- 256 nibbles in four pieces of 32 bytes: Q4_K, Q5_K, Q6_K ------------------------------------------------------- */

/* Of each of the two rows: 128 bytes at src; 32-bit word k of piece c stands at 8 c + k. Gives, for each k, word k of piece
 * piece[b] to lane b, moved down by shift[b] bits, of which the lower four of every byte are kept. */
ALWAYS_INLINE void turn_nibbles(const uint8_t *first, const uint8_t *second, __m512i piece, __m512i shift, __m512i w[8]) {
    /* by_word[h]: words 4 h .. 4 h + 3, of each the four pieces */
    const __m512i by_word = _mm512_setr_epi32(0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27);
    __m512i a[2], b[2];
    UNROLL for (int h = 0; h < 2; h++) {
        const __m512i at = _mm512_add_epi32(by_word, _mm512_set1_epi32(4 * h));
        a[h] = _mm512_permutex2var_epi32(_mm512_loadu_si512(first), at, _mm512_loadu_si512(first + 64));
        b[h] = _mm512_permutex2var_epi32(_mm512_loadu_si512(second), at, _mm512_loadu_si512(second + 64));
    }
    UNROLL for (int k = 0; k < 8; k++) {
        const __m512i at = _mm512_add_epi32(piece, _mm512_set1_epi32(k % 4 * 4));
        __m512i words = _mm512_permutex2var_epi32(a[k / 4], at, b[k / 4]);
        w[k] = _mm512_and_si512(_mm512_srlv_epi32(words, shift), bits(15));
    }
}

/* w[k] |= the bits under mask of words[k], turned right by `by`. */
ALWAYS_INLINE __m512i with_high_bits(__m512i w, __m512i words, __m512i by, int mask) {
    return _mm512_or_si512(w, _mm512_and_si512(_mm512_rorv_epi32(words, by), bits(mask)));
}

/* Number `at` of the first eight floats in all lanes of the first row, of the last eight in those of the second. */
ALWAYS_INLINE __m512 spread_halves(__m512 floats, int at) {
    return _mm512_permutexvar_ps(LANES(at, at, at, at, at, at, at, at, 8), floats);
}

/* Q4_K and Q5_K begin with two f16 and then, in 12 bytes s: s[0..3] and s[4..7] hold scales and minima of blocks 0..3 in six bits,
 * and in their upper two bits the upper bits of those of blocks 4..7, whose lower four bits are the nibbles of s[8..11]. */
ALWAYS_INLINE void scales_and_mins(const uint8_t *first, const uint8_t *second, Pair *p) {
    const __m256i v = _mm256_inserti128_si256(_mm256_castsi128_si256(load16(first)), load16(second), 1);
    const __m256i low_at = _mm256_broadcastsi128_si256(_mm_setr_epi8(4, 5, 6, 7, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15));
    const __m256i high_at = _mm256_broadcastsi128_si256(_mm_setr_epi8(-1, -1, -1, -1, 4, 5, 6, 7, -1, -1, -1, -1, 8, 9, 10, 11));
    __m256i low = _mm256_srlv_epi32(_mm256_shuffle_epi8(v, low_at), _mm256_setr_epi32(0, 0, 0, 4, 0, 0, 0, 4));
    low = _mm256_and_si256(low, _mm256_set1_epi64x(0x0F0F0F0F3F3F3F3F));
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(_mm256_shuffle_epi8(v, high_at), 2), _mm256_set1_epi8(0x30));
    /* scales of the first row, of the second; minima likewise; a byte per block */
    __m256i bytes = _mm256_permute4x64_epi64(_mm256_or_si256(low, high), 0xD8);
    p->sub = _mm512_cvtepu8_epi32(_mm256_castsi256_si128(bytes));
    __m512i mins = _mm512_cvtepu8_epi32(_mm256_extracti128_si256(bytes, 1));
    p->min_sub = _mm512_or_si512(mins, _mm512_slli_epi32(mins, 16));
    __m512 floats = _mm512_cvtph_ps(v);
    p->scale = spread_halves(floats, 0);
    p->min = _mm512_xor_ps(spread_halves(floats, 1), _mm512_set1_ps(-0.0f));
}

#define PIECE_OF_K LANES(0, 0, 1, 1, 2, 2, 3, 3, 16) /* Q4_K, Q5_K: two blocks share a piece */
#define SHIFT_OF_K LANES(0, 4, 0, 4, 0, 4, 0, 4, 0)

ALWAYS_INLINE void unpack_q4_k(const uint8_t *first, const uint8_t *second, Pair *p) {
    scales_and_mins(first, second, p);
    turn_nibbles(first + 16, second + 16, PIECE_OF_K, SHIFT_OF_K, p->w);
}

/* The fifth bit of element i of block b is bit b of byte i. */
ALWAYS_INLINE void unpack_q5_k(const uint8_t *first, const uint8_t *second, Pair *p) {
    scales_and_mins(first, second, p);
    turn_nibbles(first + 48, second + 48, PIECE_OF_K, SHIFT_OF_K, p->w);
    const __m512i fifth = join(load32(first + 16), load32(second + 16)), to_bit_4 = LANES(28, 29, 30, 31, 0, 1, 2, 3, 0);
    UNROLL for (int k = 0; k < 8; k++) {
        __m512i words = _mm512_permutexvar_epi32(LANES(k, k, k, k, k, k, k, k, 8), fifth);
        p->w[k] = with_high_bits(p->w[k], words, to_bit_4, 16);
    }
}

/* Per half of 128 elements: 64 bytes of nibbles, and 32 bytes of which each has two more bits of four blocks. */
ALWAYS_INLINE void unpack_q6_k(const uint8_t *first, const uint8_t *second, Pair *p) {
    turn_nibbles(first, second, LANES(0, 1, 0, 1, 2, 3, 2, 3, 16), LANES(0, 0, 4, 4, 0, 0, 4, 4, 0), p->w);
    const __m512i a = _mm512_loadu_si512(first + 128), b = _mm512_loadu_si512(second + 128);
    const __m512i to_bit_4 = LANES(28, 30, 0, 2, 28, 30, 0, 2, 0);
    UNROLL for (int k = 0; k < 8; k++) {
        __m512i words = _mm512_permutex2var_epi32(a, LANES(k, k, k, k, 8 + k, 8 + k, 8 + k, 8 + k, 16), b);
        p->w[k] = with_high_bits(p->w[k], words, to_bit_4, 0x30);
    }
    __m128i scales_a = load16(first + 192), scales_b = load16(second + 192);
    __m512i sub = _mm512_cvtepi8_epi16(_mm256_inserti128_si256(_mm256_castsi128_si256(scales_a), scales_b, 1));
    p->sub = _mm512_srai_epi32(_mm512_slli_epi32(sub, 16), 16);
    p->sub_high = _mm512_srai_epi32(sub, 16);
    uint16_t d[2];
    memcpy(&d[0], first + 208, sizeof d[0]);
    memcpy(&d[1], second + 208, sizeof d[1]);
    p->scale = join_ps(_mm256_set1_ps(_cvtsh_ss(d[0])), _mm256_set1_ps(_cvtsh_ss(d[1])));
}

/* ---- 16 bytes a block, elements 0..15 in the low nibbles, 16..31 in the high ones ----------------------------------- */

/* Of each row: the 16 bytes of blocks 0..3 and of 4..7. */
ALWAYS_INLINE void turn_blocks_of_16(const __m512i first[2], const __m512i second[2], __m512i w[8]) {
    const __m512i by_word = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
    UNROLL for (size_t k = 0; k < 4; k += 2) {
        const __m512i at = _mm512_add_epi32(by_word, _mm512_set1_epi32((int)k));
        __m512i a = _mm512_permutex2var_epi32(first[0], at, first[1]), b = _mm512_permutex2var_epi32(second[0], at, second[1]);
        w[k] = _mm512_shuffle_i64x2(a, b, 0x44);
        w[k + 1] = _mm512_shuffle_i64x2(a, b, 0xEE);
    }
    UNROLL for (int k = 0; k < 4; k++) {
        w[4 + k] = _mm512_and_si512(_mm512_srli_epi16(w[k], 4), bits(15));
        w[k] = _mm512_and_si512(w[k], bits(15));
    }
}

/* Values of nibbles from a table, plus the offset of the type. */
ALWAYS_INLINE void look_up(const int8_t *values, int offset, __m512i w[8]) {
    const __m512i table = _mm512_add_epi8(_mm512_broadcast_i32x4(load16(values)), bits(offset));
    UNROLL for (int k = 0; k < 8; k++) w[k] = _mm512_shuffle_epi8(table, w[k]);
}

/* 16 bytes at the same place of four blocks. */
ALWAYS_INLINE __m512i four_blocks(const uint8_t *at, size_t step) {
    __m512i v = _mm512_castsi128_si512(load16(at));
    v = _mm512_inserti32x4(v, load16(at + step), 1);
    v = _mm512_inserti32x4(v, load16(at + 2 * step), 2);
    return _mm512_inserti32x4(v, load16(at + 3 * step), 3);
}

ALWAYS_INLINE void small_nibbles(const uint8_t *first, const uint8_t *second, size_t at, size_t step, __m512i w[8]) {
    const __m512i a[2] = {four_blocks(first + at, step), four_blocks(first + at + 4 * step, step)};
    const __m512i b[2] = {four_blocks(second + at, step), four_blocks(second + at + 4 * step, step)};
    turn_blocks_of_16(a, b, w);
}

ALWAYS_INLINE short half_at(const uint8_t *p) {
    short h;
    memcpy(&h, p, sizeof h);
    return h;
}

/* The f16 at the head of each of eight blocks. */
ALWAYS_INLINE __m128i eight_halves(const uint8_t *p, size_t step) {
    return _mm_setr_epi16(half_at(p), half_at(p + step), half_at(p + 2 * step), half_at(p + 3 * step), half_at(p + 4 * step),
                          half_at(p + 5 * step), half_at(p + 6 * step), half_at(p + 7 * step));
}

ALWAYS_INLINE __m512 block_scales(const uint8_t *first, const uint8_t *second, size_t step) {
    __m128i a = eight_halves(first, step), b = eight_halves(second, step);
    return _mm512_cvtph_ps(_mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1));
}

ALWAYS_INLINE void unpack_q4_0(const uint8_t *first, const uint8_t *second, Pair *p) {
    small_nibbles(first, second, 2, 18, p->w);
    p->scale = block_scales(first, second, 18);
}

ALWAYS_INLINE void unpack_iq4_nl(const uint8_t *first, const uint8_t *second, Pair *p) {
    unpack_q4_0(first, second, p); /* the same layout */
    look_up(kernels_iq4_values, avx512_form(QUANT_IQ4_NL).offset, p->w);
}

ALWAYS_INLINE void unpack_q4_1(const uint8_t *first, const uint8_t *second, Pair *p) {
    small_nibbles(first, second, 4, 20, p->w);
    p->scale = block_scales(first, second, 20);
    p->min = block_scales(first + 2, second + 2, 20);
    p->min_sub = _mm512_set1_epi16(1);
}

/* group_mxfp4_scale of sixteen exponents: those below 2 are denormals, where the left side is the larger. */
ALWAYS_INLINE __m512 mxfp4_scales(__m128i exponents) {
    __m512i e = _mm512_cvtepu8_epi32(exponents);
    __m512i small = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), _mm512_min_epi32(e, _mm512_set1_epi32(2)));
    return _mm512_castsi512_ps(_mm512_max_epi32(small, _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23)));
}

ALWAYS_INLINE void unpack_mxfp4(const uint8_t *first, const uint8_t *second, Pair *p) {
    uint64_t e[2] = {0};
    UNROLL for (size_t b = 0; b < 8; b++) {
        e[0] |= (uint64_t)first[17 * b] << 8 * b;
        e[1] |= (uint64_t)second[17 * b] << 8 * b;
    }
    small_nibbles(first, second, 1, 17, p->w);
    look_up(group_fp4_values, avx512_form(QUANT_MXFP4).offset, p->w);
    p->scale = mxfp4_scales(_mm_set_epi64x((long long)e[1], (long long)e[0]));
}

/* A superblock of the same nibbles. Six bits of scale per block: the nibbles of the second word, above them two bits of the upper
 * half of the first. */
ALWAYS_INLINE void unpack_iq4_xs(const uint8_t *first, const uint8_t *second, Pair *p) {
    const __m512i a[2] = {_mm512_loadu_si512(first + 8), _mm512_loadu_si512(first + 72)};
    const __m512i b[2] = {_mm512_loadu_si512(second + 8), _mm512_loadu_si512(second + 72)};
    turn_blocks_of_16(a, b, p->w);
    look_up(kernels_iq4_values, avx512_form(QUANT_IQ4_XS).offset, p->w);
    __m128i heads[2] = {_mm_loadl_epi64((const __m128i *)first), _mm_loadl_epi64((const __m128i *)second)};
    const __m256i head = _mm256_inserti128_si256(_mm256_castsi128_si256(heads[0]), heads[1], 1);
    const __m512i words = _mm512_castsi256_si512(head);
    __m512i low = _mm512_permutexvar_epi32(LANES(1, 1, 1, 1, 1, 1, 1, 1, 4), words);
    __m512i high = _mm512_permutexvar_epi32(LANES(0, 0, 0, 0, 0, 0, 0, 0, 4), words);
    low = _mm512_and_si512(_mm512_srlv_epi32(low, LANES(0, 4, 8, 12, 16, 20, 24, 28, 0)), _mm512_set1_epi32(15));
    high = _mm512_and_si512(_mm512_srlv_epi32(high, LANES(16, 18, 20, 22, 24, 26, 28, 30, 0)), _mm512_set1_epi32(3));
    p->sub = _mm512_sub_epi32(_mm512_or_si512(low, _mm512_slli_epi32(high, 4)), _mm512_set1_epi32(32));
    p->scale = spread_halves(_mm512_cvtph_ps(head), 0);
}

/* ---- a byte per element --------------------------------------------------------------------------------------------- */

/* v[b]: block b of both rows. Transposed in place within each half: eight vectors of eight 32-bit words. */
ALWAYS_INLINE void turn_blocks_of_32(__m512i v[8]) {
    const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13), high = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    __m512i a[8], b[8];
    UNROLL for (size_t i = 0; i < 8; i += 2) {
        a[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
    UNROLL for (size_t i = 0; i < 8; i += 4) {
        b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    UNROLL for (size_t i = 0; i < 4; i++) {
        v[i] = _mm512_permutex2var_epi64(b[i], low, b[i + 4]);
        v[i + 4] = _mm512_permutex2var_epi64(b[i], high, b[i + 4]);
    }
}

ALWAYS_INLINE void unpack_q8_0(const uint8_t *first, const uint8_t *second, Pair *p) {
    UNROLL for (size_t b = 0; b < 8; b++)
        p->w[b] = _mm512_xor_si512(join(load32(first + 34 * b + 2), load32(second + 34 * b + 2)), bits(0x80)); /* + 128 */
    turn_blocks_of_32(p->w);
    p->scale = block_scales(first, second, 34);
}

/* Any other type: what the AVX2 rung unpacks. */
ALWAYS_INLINE void unpack_groups(QuantType type, const uint8_t *first, const uint8_t *second, Pair *p) {
    Group a, b;
    kernels_avx2_unpack(type, first, GROUP_BLOCKS, &a);
    kernels_avx2_unpack(type, second, GROUP_BLOCKS, &b);
    UNROLL for (size_t i = 0; i < 8; i++)
        p->w[i] = _mm512_add_epi8(join(load32(a.w + 32 * i), load32(b.w + 32 * i)), bits(avx512_form(type).offset));
    turn_blocks_of_32(p->w);
    __m512i sub = join(load32(a.sub), load32(b.sub));
    p->sub = _mm512_srai_epi32(_mm512_slli_epi32(sub, 16), 16);
    p->sub_high = _mm512_srai_epi32(sub, 16);
    p->scale = join_ps(_mm256_loadu_ps(a.scale), _mm256_loadu_ps(b.scale));
    if (!avx512_form(type).has_min) return;
    p->min_sub = join(load32(a.min_sub), load32(b.min_sub));
    p->min = join_ps(_mm256_loadu_ps(a.min), _mm256_loadu_ps(b.min));
}

/* ---- all types ------------------------------------------------------------------------------------------------------ */

/* What the form of the type does not ask for is not set. */
ALWAYS_INLINE void avx512_unpack(QuantType type, const uint8_t *first, const uint8_t *second, Pair *p) {
    switch (type) {
    case QUANT_Q4_K: unpack_q4_k(first, second, p); break;
    case QUANT_Q5_K: unpack_q5_k(first, second, p); break;
    case QUANT_Q6_K: unpack_q6_k(first, second, p); break;
    case QUANT_Q8_0: unpack_q8_0(first, second, p); break;
    case QUANT_Q4_0: unpack_q4_0(first, second, p); break;
    case QUANT_Q4_1: unpack_q4_1(first, second, p); break;
    case QUANT_IQ4_NL: unpack_iq4_nl(first, second, p); break;
    case QUANT_IQ4_XS: unpack_iq4_xs(first, second, p); break;
    case QUANT_MXFP4: unpack_mxfp4(first, second, p); break;
    default: unpack_groups(type, first, second, p); break;
    }
}

/* ---- products ------------------------------------------------------------------------------------------------------- */

/* Eight numbers for both rows. */
ALWAYS_INLINE __m512i avx512_both(const void *eight) { return _mm512_broadcast_i64x4(_mm256_load_si256((const __m256i *)eight)); }

/* The products of one run of 16, which four vectors hold, added to `sum`. */
ALWAYS_INLINE __m512i add_run(const Pair *p, const KernelsActGroup *x, size_t k, __m512i sum) {
    UNROLL for (size_t i = k; i < k + 4; i++) sum = _mm512_dpbusd_epi32(sum, p->w[i], avx512_both(x->turned + 32 * i));
    return sum;
}

/* Adds a group of two rows to the block lanes of one token; the float part is that of group.h. */
ALWAYS_INLINE __m512 avx512_add_pair(PairForm form, const Pair *p, const KernelsActGroup *x, __m512 lanes) {
    __m512i sums = avx512_both(x->sums), sum = _mm512_setzero_si512(), high = _mm512_setzero_si512();
    if (form.sub == GROUP_SUB_RUN) {
        if (!form.has_min) {
            sum = _mm512_madd_epi16(_mm512_set1_epi32(-form.offset & 0xFFFF), sums);
            high = _mm512_madd_epi16(_mm512_set1_epi32(-form.offset * 0x10000), sums);
        }
        sum = _mm512_mullo_epi32(add_run(p, x, 0, sum), p->sub);
        sum = _mm512_add_epi32(sum, _mm512_mullo_epi32(add_run(p, x, 4, high), p->sub_high));
    } else {
        if (!form.has_min) sum = _mm512_madd_epi16(_mm512_set1_epi16((short)-form.offset), sums);
        sum = add_run(p, x, 4, add_run(p, x, 0, sum));
        if (form.sub == GROUP_SUB_BLOCK) sum = _mm512_mullo_epi32(sum, p->sub);
    }
    __m512 x_scale = _mm512_castsi512_ps(avx512_both(x->scale));
    lanes = _mm512_fmadd_ps(_mm512_mul_ps(p->scale, x_scale), _mm512_cvtepi32_ps(sum), lanes);
    if (!form.has_min) return lanes;
    __m512i min_sum = _mm512_madd_epi16(p->min_sub, sums);
    return _mm512_fmadd_ps(_mm512_mul_ps(p->min, x_scale), _mm512_cvtepi32_ps(min_sum), lanes);
}

/* The results of both rows. */
ALWAYS_INLINE void avx512_fold_pair(__m512 lanes, float rows[2]) {
    rows[0] = avx2_fold8(_mm512_castps512_ps256(lanes));
    rows[1] = avx2_fold8(_mm512_extractf32x8_ps(lanes, 1));
}

#endif
