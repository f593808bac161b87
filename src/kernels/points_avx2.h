/* Inside the kernels room: the codebook types (IQ1, IQ2, IQ3) in registers, the same integers as codebook.c. Included by *_avx2.c
 * only.
 *
 * What belongs to a point besides its eight low bits (more bits of its number, signs, scales) stands elsewhere in the superblock, in
 * each type in another way. It is put together for all points at once, in vectors; only the grid itself is looked up point by
 * point, with plain loads of whole points: gathers take up to twice as long (docs/experiments.md). */
#ifndef KERNELS_POINTS_AVX2_H
#define KERNELS_POINTS_AVX2_H

#include "kernels/unpack_avx2.h"

/* A superblock, read as far as vectors can. */
typedef struct Points {
    _Alignas(32) uint16_t number[64]; /* of points, in the order of points_slot; not for IQ2_XXS and IQ3_XXS, where they are bytes */
    __m256i marks[2]; /* one byte for 8 weights, in both halves those of blocks 0..3 and 4..7: signs; IQ1: see points_block */
    __m256i sub;
    __m256 scale;
} Points;

/* Where unpacking the bytes of 32 numbers in halves leaves number i. */
ALWAYS_INLINE size_t points_slot(size_t i) { return (i & ~(size_t)24) | (i & 8) << 1 | (i & 16) >> 1; }

/* 32 numbers from their low bytes and their high ones. */
ALWAYS_INLINE void points_number(Points *p, size_t first, __m256i low, __m256i high) {
    _mm256_store_si256((__m256i *)(p->number + first), _mm256_unpacklo_epi8(low, high));
    _mm256_store_si256((__m256i *)(p->number + first + 16), _mm256_unpackhi_epi8(low, high));
}

/* 32 times seven bits of signs: the eighth makes the number of minus signs even. */
ALWAYS_INLINE __m256i even_signs(__m256i v) {
    const char x = -128;
    const __m256i odd = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, x, x, 0, x, 0, 0, x, x, 0, 0, x, 0, x, x, 0));
    __m256i nibble = _mm256_and_si256(_mm256_xor_si256(v, _mm256_srli_epi16(v, 4)), bytes_of(15));
    return _mm256_or_si256(v, _mm256_shuffle_epi8(odd, nibble));
}

/* Per block a dword: four times seven bits of signs, then four bits of scale. This and its like return the marks. */
ALWAYS_INLINE __m256i read_rest(Points *p, __m256i rest) {
    __m256i half = _mm256_blend_epi16(rest, _mm256_slli_epi32(rest, 2), 0xAA);
    __m256i first = _mm256_and_si256(half, _mm256_set1_epi16(0x007F));
    __m256i second = _mm256_and_si256(_mm256_slli_epi16(half, 1), _mm256_set1_epi16(0x7F00));
    __m256i sub = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi32(rest, 27), _mm256_set1_epi32(30)), _mm256_set1_epi32(1));
    p->sub = _mm256_or_si256(sub, _mm256_slli_epi32(sub, 16));
    return even_signs(_mm256_or_si256(first, second));
}

/* 16 nibbles, low ones first, to the odd scales of runs. */
ALWAYS_INLINE __m256i nibble_scales(const uint8_t *src) {
    __m128i v = _mm_loadl_epi64((const __m128i *)(const void *)src);
    v = _mm_and_si128(_mm_unpacklo_epi8(v, _mm_srli_epi16(v, 4)), _mm_set1_epi8(15));
    __m256i s = _mm256_cvtepu8_epi16(v);
    return _mm256_or_si256(_mm256_add_epi16(s, s), _mm256_set1_epi16(1));
}

ALWAYS_INLINE __m256i iq2_xxs_rest(const uint8_t *src) {
    __m256 a = _mm256_castsi256_ps(load32(src + 2)), b = _mm256_castsi256_ps(load32(src + 34));
    __m256i odds = _mm256_castps_si256(_mm256_shuffle_ps(a, b, _MM_SHUFFLE(3, 1, 3, 1)));
    return _mm256_permute4x64_epi64(odds, _MM_SHUFFLE(3, 1, 2, 0));
}

ALWAYS_INLINE __m256i read_iq2_xs(const uint8_t *src, Points *p) {
    __m256i a = load32(src + 2), b = load32(src + 34);
    _mm256_store_si256((__m256i *)p->number, _mm256_and_si256(a, _mm256_set1_epi16(511)));
    _mm256_store_si256((__m256i *)(p->number + 16), _mm256_and_si256(b, _mm256_set1_epi16(511)));
    __m256i signs = _mm256_packus_epi16(_mm256_srli_epi16(a, 9), _mm256_srli_epi16(b, 9));
    p->sub = nibble_scales(src + 66);
    return even_signs(_mm256_permute4x64_epi64(signs, _MM_SHUFFLE(3, 1, 2, 0)));
}

ALWAYS_INLINE __m256i read_iq2_s(const uint8_t *src, Points *p) {
    __m256i high = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(src + 66)));
    high = _mm256_or_si256(high, _mm256_slli_epi32(high, 6));
    high = _mm256_or_si256(high, _mm256_slli_epi32(high, 12)); /* two bits begin each byte */
    points_number(p, 0, load32(src + 2), _mm256_and_si256(high, bytes_of(3)));
    p->sub = nibble_scales(src + 74);
    return load32(src + 34);
}

ALWAYS_INLINE __m256i read_iq3_s(const uint8_t *src, Points *p) {
    UNROLL for (size_t i = 0; i < 2; i++)
        points_number(p, 32 * i, load32(src + 2 + 32 * i), _mm256_and_si256(spread_bits(load_u32(src + 66 + 4 * i)), bytes_of(1)));
    __m256i sub = _mm256_srlv_epi32(_mm256_set1_epi32((int)load_u32(src + 106)), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
    sub = _mm256_and_si256(sub, _mm256_set1_epi32(15));
    sub = _mm256_or_si256(_mm256_add_epi32(sub, sub), _mm256_set1_epi32(1));
    p->sub = _mm256_or_si256(sub, _mm256_slli_epi32(sub, 16));
    return load32(src + 74);
}

/* The marks of IQ1: 1 where an eighth is added, 5 where it is taken. */
ALWAYS_INLINE __m256i read_iq1_s(const uint8_t *src, Points *p) {
    __m256i h = _mm256_cvtepu16_epi32(load16(src + 34)); /* 4 x 3 bits of the point, 3 of the scale, 1 of the delta */
    __m256i a = _mm256_and_si256(h, _mm256_set1_epi32(7)), b = _mm256_and_si256(_mm256_slli_epi32(h, 5), _mm256_set1_epi32(0x700));
    __m256i c = _mm256_and_si256(_mm256_slli_epi32(h, 10), _mm256_set1_epi32(0x70000));
    __m256i d = _mm256_and_si256(_mm256_slli_epi32(h, 15), _mm256_set1_epi32(0x7000000));
    points_number(p, 0, load32(src + 2), _mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d)));
    __m256i sub = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi32(h, 11), _mm256_set1_epi32(14)), _mm256_set1_epi32(1));
    p->sub = _mm256_or_si256(sub, _mm256_slli_epi32(sub, 16));
    __m256i minus = _mm256_srai_epi32(_mm256_slli_epi32(h, 16), 31);
    return _mm256_or_si256(_mm256_and_si256(minus, bytes_of(4)), bytes_of(1));
}

ALWAYS_INLINE __m256i read_iq1_m(const uint8_t *src, Points *p) {
    __m256i h = _mm256_cvtepu8_epi16(load16(src + 32)); /* two points: 3 bits of the number, 1 of the delta */
    h = _mm256_or_si256(h, _mm256_slli_epi16(h, 4));
    points_number(p, 0, load32(src), _mm256_and_si256(h, bytes_of(7)));
    /* four words of four times three bits, moved to the top */
    __m256i words = _mm256_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)(const void *)(src + 48)));
    const __m256i word_of = _mm256_setr_epi64x(0x0100010001000100, 0x0302030203020302, 0x0504050405040504, 0x0706070607060706);
    const __m256i to_top = _mm256_set1_epi64x(1LL << 13 | 1LL << 26 | 1LL << 39 | 1LL << 52);
    __m256i sub = _mm256_mullo_epi16(_mm256_shuffle_epi8(words, word_of), to_top);
    p->sub = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(sub, 12), _mm256_set1_epi16(14)), _mm256_set1_epi16(1));
    return _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(h, 1), bytes_of(4)), bytes_of(1));
}

/* The scale of IQ1_M: the upper four bits of each of four words. */
ALWAYS_INLINE __m256 iq1_m_scale(const uint8_t *src) {
    uint32_t a = load_u32(src + 48), b = load_u32(src + 52);
    uint32_t d = (a >> 12 & 0xF) | (a >> 24 & 0xF0) | (b >> 4 & 0xF00) | (b >> 16 & 0xF000);
    return _mm256_cvtph_ps(_mm_set1_epi16((short)d));
}

ALWAYS_INLINE float points_factor(QuantType type) { return type == QUANT_IQ3_S ? 1.0f : type == QUANT_IQ3_XXS ? 0.25f : 0.125f; }

/* type: a constant where this is inlined, here and below. */
ALWAYS_INLINE void points_read(QuantType type, const uint8_t *src, Points *p) {
    __m256i marks;
    switch (type) {
    case QUANT_IQ2_XXS: marks = read_rest(p, iq2_xxs_rest(src)); break;
    case QUANT_IQ3_XXS: marks = read_rest(p, load32(src + 66)); break;
    case QUANT_IQ2_XS: marks = read_iq2_xs(src, p); break;
    case QUANT_IQ2_S: marks = read_iq2_s(src, p); break;
    case QUANT_IQ3_S: marks = read_iq3_s(src, p); break;
    case QUANT_IQ1_S: marks = read_iq1_s(src, p); break;
    default: marks = read_iq1_m(src, p); break;
    }
    p->marks[0] = _mm256_permute2x128_si256(marks, marks, 0x00);
    p->marks[1] = _mm256_permute2x128_si256(marks, marks, 0x11);
    p->scale = _mm256_mul_ps(type == QUANT_IQ1_M ? iq1_m_scale(src) : one_scale(src), _mm256_set1_ps(points_factor(type)));
}

/* Number i of a group: of 8 weights, for IQ3 of 4. */
ALWAYS_INLINE size_t point_number(QuantType type, const uint8_t *src, const Points *p, size_t i) {
    switch (type) {
    case QUANT_IQ2_XXS: return src[2 + 8 * (i / 4) + i % 4];
    case QUANT_IQ3_XXS: return src[2 + i];
    case QUANT_IQ2_XS: return p->number[i];
    default: return p->number[points_slot(i)];
    }
}

ALWAYS_INLINE __m128i two_points(const uint64_t *grid, size_t a, size_t b) {
    __m128 low = _mm_castsi128_ps(_mm_loadl_epi64((const __m128i *)(grid + a)));
    return _mm_castps_si128(_mm_loadh_pi(low, (const __m64 *)(grid + b)));
}

ALWAYS_INLINE __m128i four_points(const uint32_t *grid, size_t a, size_t b, size_t c, size_t d) {
    return _mm_setr_epi32((int)grid[a], (int)grid[b], (int)grid[c], (int)grid[d]);
}

ALWAYS_INLINE __m256i points_of_8(QuantType type, const uint64_t *grid, const uint8_t *src, const Points *p, size_t b) {
#define NUMBER(i) point_number(type, src, p, 4 * b + (i))
    return _mm256_set_m128i(two_points(grid, NUMBER(2), NUMBER(3)), two_points(grid, NUMBER(0), NUMBER(1)));
#undef NUMBER
}

ALWAYS_INLINE __m256i points_of_4(QuantType type, const uint32_t *grid, const uint8_t *src, const Points *p, size_t b) {
#define NUMBER(i) point_number(type, src, p, 8 * b + (i))
    return _mm256_set_m128i(four_points(grid, NUMBER(4), NUMBER(5), NUMBER(6), NUMBER(7)),
                            four_points(grid, NUMBER(0), NUMBER(1), NUMBER(2), NUMBER(3)));
#undef NUMBER
}

/* The marks of block b, each eight times. */
ALWAYS_INLINE __m256i spread_marks(const Points *p, size_t b) {
    const __m256i byte_of = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    return _mm256_shuffle_epi8(p->marks[b / 4], _mm256_add_epi8(byte_of, bytes_of((int)(4 * (b % 4)))));
}

/* Block b: magnitudes; IQ1: weights in eighths plus the offset of their form. */
ALWAYS_INLINE __m256i points_block(QuantType type, const uint8_t *src, const Points *p, size_t b) {
    const __m256i eighths = _mm256_broadcastsi128_si256(_mm_setr_epi8(2, 10, 18, 0, 0, 8, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0));
    switch (type) {
    case QUANT_IQ2_XXS: return points_of_8(type, quant_iq2xxs_grid, src, p, b);
    case QUANT_IQ2_XS: return points_of_8(type, quant_iq2xs_grid, src, p, b);
    case QUANT_IQ2_S: return points_of_8(type, quant_iq2s_grid, src, p, b);
    case QUANT_IQ3_XXS: return points_of_4(type, quant_iq3xxs_grid, src, p, b);
    case QUANT_IQ3_S: return points_of_4(type, quant_iq3s_grid, src, p, b);
    default: break;
    }
    /* -1, 0 or 1, and a mark: 0, 1, 2 where an eighth is added and 4, 5, 6 where it is taken */
    __m256i v = _mm256_add_epi8(points_of_8(type, quant_iq1s_grid, src, p, b), spread_marks(p, b));
    return _mm256_shuffle_epi8(eighths, v);
}

/* The signs of block b, not for IQ1: bytes that are negative or positive, never 0. */
ALWAYS_INLINE __m256i points_signs(const Points *p, size_t b) {
    const __m256i bit_of = _mm256_set1_epi64x((long long)0x8040201008040201);
    const __m256i rest_of = _mm256_set1_epi64x(0x01406070787C7E7F); /* 128 - bit */
    return _mm256_add_epi8(_mm256_and_si256(spread_marks(p, b), bit_of), rest_of);
}

#endif
