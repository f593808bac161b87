/* Inside the kernels room: weights unpacked in registers, the same integers as group.c. Included by *_avx2.c only.
 *
 * The kernels multiply bytes, unsigned by signed. Where a type's weights are few enough bits wide, avx2_block therefore gives w
 * plus the type's offset, which makes it unsigned; a kernel subtracts offset * the sum of the activations at the end. type and b are
 * constants wherever these functions are inlined. */
#ifndef KERNELS_UNPACK_AVX2_H
#define KERNELS_UNPACK_AVX2_H

#include "kernels/avx2.h"

/* How many products of such a weight and an activation fit into 16 bits. */
typedef enum Range {
    RANGE_16,     /* 0..15: a run of 16, even all 32 of a block in two halves */
    RANGE_32,     /* 0..31: 8 */
    RANGE_64,     /* 0..63: 4 */
    RANGE_SIGNED, /* -128..127: 2, and |w| must be multiplied with the activation under the sign of w */
} Range;

/* What the inner loops must know of a type. */
typedef struct Form {
    Range range;
    int offset;
    GroupSub sub;
    bool has_min;
    bool has_signs; /* of weights beside their magnitudes, which the range is of: points, but not those of IQ1 */
} Form;

ALWAYS_INLINE Form avx2_form(QuantType type) {
    const GroupForm g = group_form(type);
    const bool has_signs = group_has_points(type) && type != QUANT_IQ1_S && type != QUANT_IQ1_M;
    const int low = has_signs ? 0 : g.low, top = g.high - low;
    const Range range = top < 16 ? RANGE_16 : top < 32 ? RANGE_32 : top < 64 ? RANGE_64 : RANGE_SIGNED;
    return (Form){range, range == RANGE_SIGNED ? 0 : -low, g.sub, g.has_min, has_signs};
}

/* Which types have registers of their own, here and in points_avx2.h. The functions below take the bytes of the group at src; of any
 * other type, the Group that group.c made of them. */
ALWAYS_INLINE bool avx2_has(QuantType type) {
    switch (type) {
    case QUANT_Q4_0: case QUANT_Q4_1: case QUANT_Q5_0: case QUANT_Q5_1: case QUANT_Q8_0: case QUANT_IQ4_NL: case QUANT_MXFP4:
    case QUANT_Q2_K: case QUANT_Q3_K: case QUANT_Q4_K: case QUANT_Q5_K: case QUANT_Q6_K: case QUANT_IQ4_XS: return true;
    default: return group_has_points(type);
    }
}

/* What they take of the group at src; g: memory for it. */
ALWAYS_INLINE const uint8_t *avx2_group(QuantType type, const uint8_t *src, Group *g) {
    if (avx2_has(type)) return src;
    kernels_group_unpack(type, src, GROUP_BLOCKS, g);
    return (const uint8_t *)g;
}

/* ---- loads ---------------------------------------------------------------------------------------------------------- */

ALWAYS_INLINE __m128i load16(const void *p) { return _mm_loadu_si128((const __m128i *)p); }
ALWAYS_INLINE __m256i load32(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
ALWAYS_INLINE __m256i bytes_of(int v) { return _mm256_set1_epi8((char)v); }

/* Of 8 blocks side by side, the word that begins each. Loads lie so that a block's word stands in its lane, and stay inside the group
 * for steps from 2 on. */
ALWAYS_INLINE __m128i eight_words(const uint8_t *src, size_t step) {
    const size_t next = step - 2;
    __m128i a = _mm_blend_epi16(load16(src), load16(src + next), 0x02);
    __m128i b = _mm_blend_epi16(load16(src + 2 * next), load16(src + 3 * next), 0x08);
    __m128i c = _mm_blend_epi16(load16(src + 4 * next), load16(src + 5 * next), 0x20);
    __m128i d = _mm_blend_epi16(load16(src + 6 * next), load16(src + 7 * next), 0x80);
    return _mm_blend_epi16(_mm_blend_epi16(a, b, 0x0C), _mm_blend_epi16(c, d, 0xC0), 0xF0);
}

/* The same with 32 bits from each block on; steps from 4 on. */
ALWAYS_INLINE __m256i eight_dwords(const uint8_t *src, size_t step) {
    const size_t next = step - 4;
    __m256i a = _mm256_blend_epi32(load32(src), load32(src + next), 0x02);
    __m256i b = _mm256_blend_epi32(load32(src + 2 * next), load32(src + 3 * next), 0x08);
    __m256i c = _mm256_blend_epi32(load32(src + 4 * next), load32(src + 5 * next), 0x20);
    __m256i d = _mm256_blend_epi32(load32(src + 6 * next), load32(src + 7 * next), 0x80);
    return _mm256_blend_epi32(_mm256_blend_epi32(a, b, 0x0C), _mm256_blend_epi32(c, d, 0xC0), 0xF0);
}

/* ---- weights -------------------------------------------------------------------------------------------------------- */

/* Bits of every byte, moved: by < 0 down, by > 0 up. Bits that cross into a neighbour are for the mask to remove. */
ALWAYS_INLINE __m256i shift_and_mask(__m256i v, int by, int mask) {
    v = by < 0 ? _mm256_srli_epi16(v, -by) : _mm256_slli_epi16(v, by);
    return _mm256_and_si256(v, bytes_of(mask));
}

/* 16 bytes to 32 nibbles: the low ones, then the high ones. */
ALWAYS_INLINE __m256i nibbles(const uint8_t *qs) {
    __m256i v = _mm256_srlv_epi64(_mm256_broadcastsi128_si256(load16(qs)), _mm256_setr_epi64x(0, 0, 4, 4));
    return _mm256_and_si256(v, bytes_of(15));
}

/* Bit i of `bits` as all bits of byte i. */
ALWAYS_INLINE __m256i spread_bits(uint32_t bits) {
    const __m256i byte_of = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit_of = _mm256_set1_epi64x((long long)0x8040201008040201);
    __m256i v = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), byte_of), bit_of);
    return _mm256_cmpeq_epi8(v, bit_of);
}

ALWAYS_INLINE __m256i fifth_bits(uint32_t bits) { return _mm256_and_si256(spread_bits(bits), bytes_of(16)); }

ALWAYS_INLINE __m256i look_up(const int8_t *values, __m256i index) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load16(values)), index);
}

/* Block b of the two-bit types: four blocks share 32 bytes. Of the four-bit ones: two do. */
ALWAYS_INLINE __m256i two_bits(const uint8_t *qs, size_t b) { return shift_and_mask(load32(qs + b / 4 * 32), -(int)(b % 4 * 2), 3); }
ALWAYS_INLINE __m256i four_bits(const uint8_t *qs, size_t b) { return shift_and_mask(load32(qs + b / 2 * 32), -(int)(b % 2 * 4), 15); }

ALWAYS_INLINE __m256i q6_k_block(const uint8_t *src, size_t b) {
    size_t half = b / 4, quarter = b % 4;
    __m256i low = shift_and_mask(load32(src + half * 64 + quarter % 2 * 32), -(int)(quarter / 2 * 4), 15);
    return _mm256_or_si256(low, shift_and_mask(load32(src + 128 + half * 32), 4 - (int)quarter * 2, 0x30));
}

/* Block b of the group at src: w + offset. Not for the codebook types. */
ALWAYS_INLINE __m256i avx2_block(QuantType type, const uint8_t *src, size_t b) {
    const __m256i fp4 = _mm256_broadcastsi128_si256(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
    switch (type) {
    case QUANT_Q4_0: return nibbles(src + 18 * b + 2);
    case QUANT_Q4_1: return nibbles(src + 20 * b + 4);
    case QUANT_Q5_0: return _mm256_or_si256(nibbles(src + 22 * b + 6), fifth_bits(load_u32(src + 22 * b + 2)));
    case QUANT_Q5_1: return _mm256_or_si256(nibbles(src + 24 * b + 8), fifth_bits(load_u32(src + 24 * b + 4)));
    case QUANT_IQ4_NL: return look_up(kernels_iq4_values, nibbles(src + 18 * b + 2));
    case QUANT_IQ4_XS: return look_up(kernels_iq4_values, nibbles(src + 16 * b + 8));
    case QUANT_MXFP4: return _mm256_shuffle_epi8(fp4, nibbles(src + 17 * b + 1));
    case QUANT_Q2_K: return two_bits(src + 16, b);
    case QUANT_Q3_K: return _mm256_or_si256(two_bits(src + 32, b), shift_and_mask(load32(src), 2 - (int)b, 4));
    case QUANT_Q4_K: return four_bits(src + 16, b);
    case QUANT_Q5_K: return _mm256_or_si256(four_bits(src + 48, b), shift_and_mask(load32(src + 16), 4 - (int)b, 16));
    case QUANT_Q6_K: return q6_k_block(src, b);
    case QUANT_Q8_0: return load32(src + 34 * b + 2);
    default: return _mm256_add_epi8(load32(((const Group *)(const void *)src)->w + 32 * b), bytes_of(avx2_form(type).offset));
    }
}

/* ---- scales --------------------------------------------------------------------------------------------------------- */

/* The scales of a group as group.h has them, but for the sign of the minima of types with integer scales: those are subtracted. */
typedef struct Scales {
    __m256 scale, min;    /* [8] of blocks; min only where the form has one */
    __m256i sub, min_sub; /* int16 [16] of runs; 1 where there are none */
} Scales;

/* 2^(e - 128) for e in the upper byte of each dword, the rest zeros; see group_mxfp4_scale. The bits are (e + 1) << 21 for the two
 * denormals and (e - 1) << 23 above, in either case the larger of both. */
ALWAYS_INLINE __m256 power_scales(__m256i e) {
    __m256i normal = _mm256_sub_epi32(_mm256_srli_epi32(e, 1), _mm256_set1_epi32(1 << 23));
    __m256i denormal = _mm256_add_epi32(_mm256_srli_epi32(e, 3), _mm256_set1_epi32(1 << 21));
    return _mm256_castsi256_ps(_mm256_max_epi32(normal, denormal));
}

/* For the byte e that begins each block. */
ALWAYS_INLINE __m256 mxfp4_scales(const uint8_t *src) { return power_scales(_mm256_slli_epi32(eight_dwords(src, 17), 24)); }

/* Two neighbouring f16, each in all lanes. */
ALWAYS_INLINE void two_scales(const uint8_t *src, Scales *s) {
    __m256 both = _mm256_cvtph_ps(_mm_castps_si128(_mm_broadcast_ss((const float *)(const void *)src)));
    s->scale = _mm256_moveldup_ps(both);
    s->min = _mm256_movehdup_ps(both);
}

ALWAYS_INLINE __m256 one_scale(const uint8_t *src) { return _mm256_cvtph_ps(_mm_set1_epi16((short)load_u16(src))); }

/* Q4_K and Q5_K: bytes 4..7 and 8..11 of the block hold scales and minima of blocks 0..3 in six bits, and in their upper two bits
 * the upper bits of those of blocks 4..7, whose lower four bits are the nibbles of bytes 12..15. */
ALWAYS_INLINE __m128i six_bit_bytes(const uint8_t *src) {
    const uint64_t four = 0x0F0F0F0F, two = 0x3030303030303030, six = 0x3F3F3F3F3F3F3F3F;
    uint64_t first, low = load_u32(src + 12);
    memcpy(&first, src + 4, sizeof first);
    uint64_t second = (low & four) | (low >> 4 & four) << 32 | (first >> 2 & two);
    /* scales 0..3, minima 0..3, scales 4..7, minima 4..7 */
    return _mm_set_epi64x((long long)second, (long long)(first & six));
}

ALWAYS_INLINE void six_bit_scales(const uint8_t *src, Scales *s) {
    __m256i v = _mm256_cvtepu8_epi16(six_bit_bytes(src));
    s->sub = _mm256_unpacklo_epi16(v, v);
    s->min_sub = _mm256_unpackhi_epi16(v, v);
}

/* Q3_K: 16 times four bits in bytes 96..103, low nibbles first, and above them two in bytes 104..107. */
ALWAYS_INLINE __m256i q3_k_scales(const uint8_t *src) {
    __m128i low = _mm_shuffle_epi32(load16(src + 92), _MM_SHUFFLE(2, 1, 2, 1));
    low = _mm_srlv_epi32(low, _mm_setr_epi32(0, 0, 4, 4));
    __m128i high = _mm_srlv_epi32(_mm_set1_epi32((int)load_u32(src + 104)), _mm_setr_epi32(0, 2, 4, 6));
    low = _mm_and_si128(low, _mm_set1_epi8(15));
    high = _mm_slli_epi32(_mm_and_si128(high, _mm_set1_epi8(3)), 4);
    return _mm256_cvtepi8_epi16(_mm_sub_epi8(_mm_or_si128(low, high), _mm_set1_epi8(32)));
}

/* IQ4_XS: six bits per block, in nibbles of bytes 4..7, low ones first, and above them two bits of the word at 2. */
ALWAYS_INLINE __m256i iq4_xs_scales(const uint8_t *src) {
    __m256i low = _mm256_srlv_epi32(_mm256_set1_epi32((int)load_u32(src + 4)), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
    __m256i high = _mm256_srlv_epi32(_mm256_set1_epi32((int)load_u32(src)), _mm256_setr_epi32(16, 18, 20, 22, 24, 26, 28, 30));
    low = _mm256_and_si256(low, _mm256_set1_epi32(15));
    high = _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(3)), 4);
    __m256i v = _mm256_sub_epi32(_mm256_or_si256(low, high), _mm256_set1_epi32(32));
    return _mm256_blend_epi16(v, _mm256_slli_epi32(v, 16), 0xAA);
}

ALWAYS_INLINE Scales group_scales(GroupSub sub, const Group *g) {
    const __m256 sign = _mm256_set1_ps(sub == GROUP_SUB_NONE ? 0.0f : -0.0f);
    return (Scales){_mm256_loadu_ps(g->scale), _mm256_xor_ps(_mm256_loadu_ps(g->min), sign), load32(g->sub), load32(g->min_sub)};
}

/* Not for the codebook types. */
ALWAYS_INLINE Scales avx2_scales(QuantType type, const uint8_t *src) {
    Scales s = {.sub = _mm256_set1_epi16(1), .min_sub = _mm256_set1_epi16(1)};
    switch (type) {
    case QUANT_MXFP4: s.scale = mxfp4_scales(src); break;
    case QUANT_Q4_0: case QUANT_IQ4_NL: s.scale = _mm256_cvtph_ps(eight_words(src, 18)); break;
    case QUANT_Q5_0: s.scale = _mm256_cvtph_ps(eight_words(src, 22)); break;
    case QUANT_Q8_0: s.scale = _mm256_cvtph_ps(eight_words(src, 34)); break;
    case QUANT_Q4_1: case QUANT_Q5_1:
        s.scale = _mm256_cvtph_ps(eight_words(src, type == QUANT_Q4_1 ? 20 : 24));
        s.min = _mm256_cvtph_ps(eight_words(src + 2, type == QUANT_Q4_1 ? 20 : 24));
        break;
    case QUANT_Q2_K:
        two_scales(src + 80, &s);
        s.sub = _mm256_cvtepu8_epi16(_mm_and_si128(load16(src), _mm_set1_epi8(15)));
        s.min_sub = _mm256_srli_epi16(_mm256_cvtepu8_epi16(load16(src)), 4);
        break;
    case QUANT_Q3_K:
        s.scale = one_scale(src + 108);
        s.sub = q3_k_scales(src);
        break;
    case QUANT_Q4_K: case QUANT_Q5_K:
        two_scales(src, &s);
        six_bit_scales(src, &s);
        break;
    case QUANT_Q6_K:
        s.scale = one_scale(src + 208);
        s.sub = _mm256_cvtepi8_epi16(load16(src + 192));
        break;
    case QUANT_IQ4_XS:
        s.scale = one_scale(src);
        s.sub = iq4_xs_scales(src);
        break;
    default: s = group_scales(avx2_form(type).sub, (const Group *)(const void *)src); break;
    }
    return s;
}

#endif
