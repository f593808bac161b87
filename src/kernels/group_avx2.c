/* AVX2 rung: unpacking weights into groups, the same integers as group.c. Blocks of 32 are one vector of bytes each. */
#include "kernels/avx2.h"
#include "kernels/codebook.h"

static uint32_t load_u32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static float load_f16(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return _cvtsh_ss(h);
}

ALWAYS_INLINE __m256i load32(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
ALWAYS_INLINE void store_block(Group *g, size_t b, __m256i w) { _mm256_store_si256((__m256i *)(g->w + 32 * b), w); }
ALWAYS_INLINE __m256i bytes_of(int v) { return _mm256_set1_epi8((char)v); }

/* Bits of every byte, moved: by < 0 down, by > 0 up. Bits that cross into a neighbour are for the mask to remove. */
ALWAYS_INLINE __m256i shift_and_mask(__m256i v, int by, int mask) {
    v = by < 0 ? _mm256_srli_epi16(v, -by) : _mm256_slli_epi16(v, by);
    return _mm256_and_si256(v, bytes_of(mask));
}

/* 16 bytes to 32 nibbles: the low ones, then the high ones. */
ALWAYS_INLINE __m256i nibbles(const uint8_t *qs) {
    __m128i v = _mm_loadu_si128((const __m128i *)qs);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(v, 4), v), bytes_of(15));
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
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)values)), index);
}

/* ---- small types: 8 blocks side by side ----------------------------------------------------------------------------- */

/* The f16 at the same place of each of 8 blocks. */
ALWAYS_INLINE __m256 eight_scales(const uint8_t *src, size_t step) {
    uint16_t h[8];
    for (size_t b = 0; b < 8; b++) memcpy(&h[b], src + b * step, sizeof *h);
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)h));
}

ALWAYS_INLINE void unpack_small(QuantType type, const uint8_t *src, size_t step, Group *g) {
    UNROLL for (size_t b = 0; b < GROUP_BLOCKS; b++, src += step) {
        __m256i w;
        switch (type) {
        case QUANT_Q4_0: w = _mm256_sub_epi8(nibbles(src + 2), bytes_of(8)); break;
        case QUANT_Q4_1: w = nibbles(src + 4); break;
        case QUANT_Q5_0: w = _mm256_or_si256(nibbles(src + 6), fifth_bits(load_u32(src + 2))); break;
        case QUANT_Q5_1: w = _mm256_or_si256(nibbles(src + 8), fifth_bits(load_u32(src + 4))); break;
        case QUANT_IQ4_NL: w = look_up(group_iq4_values, nibbles(src + 2)); break;
        case QUANT_MXFP4: w = look_up(group_fp4_values, nibbles(src + 1)); break;
        default: w = load32(src + 2); break; /* Q8_0 */
        }
        if (type == QUANT_Q5_0) w = _mm256_sub_epi8(w, bytes_of(16));
        store_block(g, b, w);
    }
    src -= 8 * step;
    _mm256_storeu_si256((__m256i *)g->sub, _mm256_set1_epi16(1));
    if (type == QUANT_MXFP4) {
        UNROLL for (size_t b = 0; b < GROUP_BLOCKS; b++) g->scale[b] = group_mxfp4_scale(src[b * step]);
        return;
    }
    _mm256_storeu_ps(g->scale, eight_scales(src, step));
    if (type != QUANT_Q4_1 && type != QUANT_Q5_1) return;
    _mm256_storeu_ps(g->min, eight_scales(src + 2, step));
    _mm256_storeu_si256((__m256i *)g->min_sub, _mm256_set1_epi16(1));
}

/* ---- superblocks ---------------------------------------------------------------------------------------------------- */

ALWAYS_INLINE void set_scales(Group *g, float scale, float min) {
    _mm256_storeu_ps(g->scale, _mm256_set1_ps(scale));
    _mm256_storeu_ps(g->min, _mm256_set1_ps(min));
}

/* 8 bytes, one per block, to 16 integers, one per run. */
ALWAYS_INLINE __m256i per_run(uint32_t low, uint32_t high) {
    __m128i v = _mm_set_epi32(0, 0, (int)high, (int)low);
    return _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(v, v));
}

/* Block b of the two-bit types: four blocks share 32 bytes. Of the four-bit ones: two do. */
ALWAYS_INLINE __m256i two_bits(const uint8_t *qs, size_t b) { return shift_and_mask(load32(qs + b / 4 * 32), -(int)(b % 4 * 2), 3); }
ALWAYS_INLINE __m256i four_bits(const uint8_t *qs, size_t b) { return shift_and_mask(load32(qs + b / 2 * 32), -(int)(b % 2 * 4), 15); }

static void unpack_q2_k(const uint8_t *src, Group *g) {
    set_scales(g, load_f16(src + 80), -load_f16(src + 82));
    UNROLL for (size_t b = 0; b < GROUP_BLOCKS; b++) store_block(g, b, two_bits(src + 16, b));
    __m256i scales = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)src));
    _mm256_storeu_si256((__m256i *)g->sub, _mm256_and_si256(scales, _mm256_set1_epi16(15)));
    _mm256_storeu_si256((__m256i *)g->min_sub, _mm256_srli_epi16(scales, 4));
}

static void unpack_q3_k(const uint8_t *src, Group *g) {
    set_scales(g, load_f16(src + 108), 0.0f);
    const __m256i hmask = load32(src);
    UNROLL for (size_t b = 0; b < GROUP_BLOCKS; b++) {
        __m256i high = shift_and_mask(hmask, 2 - (int)b, 4);
        store_block(g, b, _mm256_sub_epi8(_mm256_or_si256(two_bits(src + 32, b), high), bytes_of(4)));
    }
    uint32_t a = load_u32(src + 96), c = load_u32(src + 100), top = load_u32(src + 104); /* top: two bits of each of the 16 */
    const uint32_t four = 0x0F0F0F0F, two = 0x03030303;
    uint32_t six[4] = {(a & four) | (top & two) << 4, (c & four) | (top >> 2 & two) << 4, (a >> 4 & four) | (top >> 4 & two) << 4,
                       (c >> 4 & four) | (top >> 6 & two) << 4};
    __m128i scales = _mm_loadu_si128((const __m128i *)six);
    _mm256_storeu_si256((__m256i *)g->sub, _mm256_cvtepi8_epi16(_mm_sub_epi8(scales, _mm_set1_epi8(32))));
}

/* Q4_K and Q5_K: bytes 0..3 and 4..7 hold scales and minima of blocks 0..3 in six bits, and in their upper two bits the upper
 * bits of those of blocks 4..7, whose lower four bits are the nibbles of bytes 8..11. */
ALWAYS_INLINE void unpack_scales_and_mins(const uint8_t *s, Group *g) {
    uint32_t a = load_u32(s), c = load_u32(s + 4), low = load_u32(s + 8);
    const uint32_t six = 0x3F3F3F3F, four = 0x0F0F0F0F, two = 0x03030303;
    _mm256_storeu_si256((__m256i *)g->sub, per_run(a & six, (low & four) | (a >> 6 & two) << 4));
    _mm256_storeu_si256((__m256i *)g->min_sub, per_run(c & six, (low >> 4 & four) | (c >> 6 & two) << 4));
}

static void unpack_q4_k(const uint8_t *src, Group *g) {
    set_scales(g, load_f16(src), -load_f16(src + 2));
    unpack_scales_and_mins(src + 4, g);
    UNROLL for (size_t b = 0; b < GROUP_BLOCKS; b++) store_block(g, b, four_bits(src + 16, b));
}

static void unpack_q5_k(const uint8_t *src, Group *g) {
    set_scales(g, load_f16(src), -load_f16(src + 2));
    unpack_scales_and_mins(src + 4, g);
    const __m256i qh = load32(src + 16);
    UNROLL for (size_t b = 0; b < GROUP_BLOCKS; b++) {
        store_block(g, b, _mm256_or_si256(four_bits(src + 48, b), shift_and_mask(qh, 4 - (int)b, 16)));
    }
}

static void unpack_q6_k(const uint8_t *src, Group *g) {
    set_scales(g, load_f16(src + 208), 0.0f);
    UNROLL for (size_t b = 0; b < GROUP_BLOCKS; b++) {
        size_t half = b / 4, quarter = b % 4;
        __m256i low = shift_and_mask(load32(src + half * 64 + quarter % 2 * 32), -(int)(quarter / 2 * 4), 15);
        __m256i high = shift_and_mask(load32(src + 128 + half * 32), 4 - (int)quarter * 2, 0x30);
        store_block(g, b, _mm256_sub_epi8(_mm256_or_si256(low, high), bytes_of(32)));
    }
    _mm256_storeu_si256((__m256i *)g->sub, _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(src + 192))));
}

static void unpack_iq4_xs(const uint8_t *src, Group *g) {
    set_scales(g, load_f16(src), 0.0f);
    UNROLL for (size_t b = 0; b < GROUP_BLOCKS; b++) store_block(g, b, look_up(group_iq4_values, nibbles(src + 8 + 16 * b)));
    /* six bits per block: nibbles of bytes 4..7, low ones first, and above them two bits of the word at 2 */
    uint32_t word = load_u32(src + 4);
    __m128i evens = _mm_cvtsi32_si128((int)(word & 0x0F0F0F0F)), odds = _mm_cvtsi32_si128((int)(word >> 4 & 0x0F0F0F0F));
    const __m128i to_top = _mm_setr_epi16(1 << 14, 1 << 12, 1 << 10, 1 << 8, 1 << 6, 1 << 4, 1 << 2, 1);
    __m128i high = _mm_srli_epi16(_mm_mullo_epi16(_mm_set1_epi16((short)(load_u32(src) >> 16)), to_top), 14);
    __m128i scales = _mm_or_si128(_mm_cvtepu8_epi16(_mm_unpacklo_epi8(evens, odds)), _mm_slli_epi16(high, 4));
    scales = _mm_sub_epi16(scales, _mm_set1_epi16(32));
    _mm_storeu_si128((__m128i *)g->sub, _mm_unpacklo_epi16(scales, scales));
    _mm_storeu_si128((__m128i *)(g->sub + 8), _mm_unpackhi_epi16(scales, scales));
}

static void unpack_codebook(QuantType type, const uint8_t *src, Group *g) {
    Codes codes;
    codebook_read(type, src, &codes, g);
    bool ternary = codebook_is_ternary(type);
    for (size_t b = 0; b < GROUP_BLOCKS; b++) {
        __m256i w = load32((const uint8_t *)(codes.point + 4 * b)), minus = spread_bits(load_u32(codes.sign + 4 * b));
        if (ternary) w = _mm256_add_epi8(w, _mm256_or_si256(minus, bytes_of(1)));
        else w = _mm256_sub_epi8(_mm256_xor_si256(w, minus), minus);
        store_block(g, b, w);
    }
}

void kernels_avx2_unpack(QuantType type, const uint8_t *src, size_t n_blocks, Group *g) {
    uint8_t whole[GROUP_BLOCKS * 34];
    if (n_blocks < GROUP_BLOCKS) { /* the end of a row of a small type: filled up with blocks that meet activations of zero */
        size_t bytes = n_blocks * (group_bytes(type) / GROUP_BLOCKS);
        memcpy(whole, src, bytes);
        memset(whole + bytes, 0, sizeof whole - bytes);
        src = whole;
    }
    switch (type) {
    case QUANT_Q4_0: unpack_small(QUANT_Q4_0, src, 18, g); break;
    case QUANT_Q4_1: unpack_small(QUANT_Q4_1, src, 20, g); break;
    case QUANT_Q5_0: unpack_small(QUANT_Q5_0, src, 22, g); break;
    case QUANT_Q5_1: unpack_small(QUANT_Q5_1, src, 24, g); break;
    case QUANT_IQ4_NL: unpack_small(QUANT_IQ4_NL, src, 18, g); break;
    case QUANT_MXFP4: unpack_small(QUANT_MXFP4, src, 17, g); break;
    case QUANT_Q2_K: unpack_q2_k(src, g); break;
    case QUANT_Q3_K: unpack_q3_k(src, g); break;
    case QUANT_Q4_K: unpack_q4_k(src, g); break;
    case QUANT_Q5_K: unpack_q5_k(src, g); break;
    case QUANT_Q6_K: unpack_q6_k(src, g); break;
    case QUANT_IQ4_XS: unpack_iq4_xs(src, g); break;
    case QUANT_Q8_0: unpack_small(QUANT_Q8_0, src, 34, g); break;
    default: unpack_codebook(type, src, g); break;
    }
}

/* Eight elements of one run as f32. */
ALWAYS_INLINE void decode8(const Group *g, size_t e, __m256 scale, bool has_min, __m256 min, float *dst) {
    __m256 w = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(g->w + e))));
    __m256 v = _mm256_mul_ps(scale, w);
    _mm256_storeu_ps(dst + e, has_min ? _mm256_add_ps(v, min) : v);
}

void kernels_avx2_decode(QuantType type, const uint8_t *src, float *dst, size_t n) {
    bool has_min = group_has_min(type);
    size_t bytes = group_bytes(type);
    for (size_t first = 0; first < n; first += GROUP_ELEMS, src += bytes, dst += GROUP_ELEMS) {
        size_t count = n - first < GROUP_ELEMS ? n - first : GROUP_ELEMS;
        Group g;
        kernels_avx2_unpack(type, src, count / 32, &g);
        for (size_t run = 0; run < count / 16; run++) {
            __m256 scale = _mm256_set1_ps(g.scale[run / 2] * (float)g.sub[run]);
            __m256 min = has_min ? _mm256_set1_ps(g.min[run / 2] * (float)g.min_sub[run]) : _mm256_setzero_ps();
            decode8(&g, 16 * run, scale, has_min, min, dst);
            decode8(&g, 16 * run + 8, scale, has_min, min, dst);
        }
    }
}
