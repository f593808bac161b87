/* NEON rung: unpacking weights into groups, the same integers as group.c. Blocks of 32 are two vectors of bytes each. */
#include "kernels/codebook.h"
#include "kernels/neon.h"

static float load_f16(const uint8_t *p) {
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u8(vreinterpret_u8_u16(vld1_dup_u16((const uint16_t *)(const void *)p)))), 0);
}

/* The 32 elements of a block. */
typedef struct Bytes {
    uint8x16_t v[2];
} Bytes;

ALWAYS_INLINE Bytes load32(const uint8_t *p) { return (Bytes){{vld1q_u8(p), vld1q_u8(p + 16)}}; }

ALWAYS_INLINE void store_block(Group *g, size_t b, Bytes w) {
    vst1q_s8(g->w + 32 * b, vreinterpretq_s8_u8(w.v[0]));
    vst1q_s8(g->w + 32 * b + 16, vreinterpretq_s8_u8(w.v[1]));
}

/* Bits of every byte, moved: by < 0 down, by > 0 up. */
ALWAYS_INLINE Bytes shift_and_mask(Bytes a, int by, int mask) {
    UNROLL for (size_t i = 0; i < 2; i++)
        a.v[i] = vandq_u8(vshlq_u8(a.v[i], vdupq_n_s8((int8_t)by)), vdupq_n_u8((uint8_t)mask));
    return a;
}

ALWAYS_INLINE Bytes either(Bytes a, Bytes b) { return (Bytes){{vorrq_u8(a.v[0], b.v[0]), vorrq_u8(a.v[1], b.v[1])}}; }

ALWAYS_INLINE Bytes minus(Bytes a, int offset) {
    const uint8x16_t by = vdupq_n_u8((uint8_t)offset);
    return (Bytes){{vsubq_u8(a.v[0], by), vsubq_u8(a.v[1], by)}};
}

/* 16 bytes to 32 nibbles: the low ones, then the high ones. */
ALWAYS_INLINE Bytes nibbles(const uint8_t *qs) {
    uint8x16_t v = vld1q_u8(qs);
    return (Bytes){{vandq_u8(v, vdupq_n_u8(15)), vshrq_n_u8(v, 4)}};
}

/* Bit i of `bits` as all bits of byte i. */
ALWAYS_INLINE Bytes spread_bits(uint32_t bits) {
    const uint8x16_t bit_of = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
    Bytes a;
    UNROLL for (size_t i = 0; i < 2; i++, bits >>= 16)
        a.v[i] = vtstq_u8(vcombine_u8(vdup_n_u8((uint8_t)bits), vdup_n_u8((uint8_t)(bits >> 8))), bit_of);
    return a;
}

ALWAYS_INLINE Bytes fifth_bits(uint32_t bits) { return shift_and_mask(spread_bits(bits), 0, 16); }

ALWAYS_INLINE Bytes look_up(const int8_t *values, Bytes index) {
    uint8x16_t table = vreinterpretq_u8_s8(vld1q_s8(values));
    return (Bytes){{vqtbl1q_u8(table, index.v[0]), vqtbl1q_u8(table, index.v[1])}};
}

/* ---- small types: 8 blocks side by side ----------------------------------------------------------------------------- */

/* The f16 at the same place of each of 8 blocks. */
ALWAYS_INLINE void eight_scales(const uint8_t *src, size_t step, float *scales) {
    uint16_t h[8];
    for (size_t b = 0; b < 8; b++) memcpy(&h[b], src + b * step, sizeof *h);
    float32x4x2_t v = neon_load8(QUANT_F16, h, 0);
    vst1q_f32(scales, v.val[0]);
    vst1q_f32(scales + 4, v.val[1]);
}

ALWAYS_INLINE void fill_runs(int16_t *runs, int16_t value) {
    vst1q_s16(runs, vdupq_n_s16(value));
    vst1q_s16(runs + 8, vdupq_n_s16(value));
}

ALWAYS_INLINE void unpack_small(QuantType type, const uint8_t *src, size_t step, Group *g) {
    UNROLL for (size_t b = 0; b < GROUP_BLOCKS; b++, src += step) {
        Bytes w;
        switch (type) {
        case QUANT_Q4_0: w = minus(nibbles(src + 2), 8); break;
        case QUANT_Q4_1: w = nibbles(src + 4); break;
        case QUANT_Q5_0: w = minus(either(nibbles(src + 6), fifth_bits(load_u32(src + 2))), 16); break;
        case QUANT_Q5_1: w = either(nibbles(src + 8), fifth_bits(load_u32(src + 4))); break;
        case QUANT_IQ4_NL: w = look_up(kernels_iq4_values, nibbles(src + 2)); break;
        case QUANT_MXFP4: w = look_up(group_fp4_values, nibbles(src + 1)); break;
        default: w = load32(src + 2); break; /* Q8_0 */
        }
        store_block(g, b, w);
    }
    src -= 8 * step;
    fill_runs(g->sub, 1);
    if (type == QUANT_MXFP4) {
        UNROLL for (size_t b = 0; b < GROUP_BLOCKS; b++) g->scale[b] = group_mxfp4_scale(src[b * step]);
        return;
    }
    eight_scales(src, step, g->scale);
    if (type != QUANT_Q4_1 && type != QUANT_Q5_1) return;
    eight_scales(src + 2, step, g->min);
    fill_runs(g->min_sub, 1);
}

/* ---- superblocks ---------------------------------------------------------------------------------------------------- */

ALWAYS_INLINE void set_scales(Group *g, float scale, float min) {
    UNROLL for (size_t b = 0; b < GROUP_BLOCKS; b += 4) {
        vst1q_f32(g->scale + b, vdupq_n_f32(scale));
        vst1q_f32(g->min + b, vdupq_n_f32(min));
    }
}

ALWAYS_INLINE void store_runs(int16_t *runs, int8x16_t v) {
    vst1q_s16(runs, vmovl_s8(vget_low_s8(v)));
    vst1q_s16(runs + 8, vmovl_high_s8(v));
}

/* 8 bytes, one per block, to 16 integers, one per run. */
ALWAYS_INLINE void store_per_run(int16_t *runs, uint32_t low, uint32_t high) {
    int8x8_t v = vcreate_s8(low | (uint64_t)high << 32);
    store_runs(runs, vcombine_s8(vzip1_s8(v, v), vzip2_s8(v, v)));
}

/* Block b of the two-bit types: four blocks share 32 bytes. Of the four-bit ones: two do. */
ALWAYS_INLINE Bytes two_bits(const uint8_t *qs, size_t b) { return shift_and_mask(load32(qs + b / 4 * 32), -(int)(b % 4 * 2), 3); }
ALWAYS_INLINE Bytes four_bits(const uint8_t *qs, size_t b) { return shift_and_mask(load32(qs + b / 2 * 32), -(int)(b % 2 * 4), 15); }

static void unpack_q2_k(const uint8_t *src, Group *g) {
    set_scales(g, load_f16(src + 80), -load_f16(src + 82));
    UNROLL for (size_t b = 0; b < GROUP_BLOCKS; b++) store_block(g, b, two_bits(src + 16, b));
    uint8x16_t scales = vld1q_u8(src);
    store_runs(g->sub, vreinterpretq_s8_u8(vandq_u8(scales, vdupq_n_u8(15))));
    store_runs(g->min_sub, vreinterpretq_s8_u8(vshrq_n_u8(scales, 4)));
}

static void unpack_q3_k(const uint8_t *src, Group *g) {
    set_scales(g, load_f16(src + 108), 0.0f);
    const Bytes hmask = load32(src);
    UNROLL for (size_t b = 0; b < GROUP_BLOCKS; b++)
        store_block(g, b, minus(either(two_bits(src + 32, b), shift_and_mask(hmask, 2 - (int)b, 4)), 4));
    uint32_t a = load_u32(src + 96), c = load_u32(src + 100), top = load_u32(src + 104); /* top: two bits of each of the 16 */
    const uint32_t four = 0x0F0F0F0F, two = 0x03030303;
    uint64_t low = ((a & four) | (top & two) << 4) | (uint64_t)((c & four) | (top >> 2 & two) << 4) << 32;
    uint64_t high = ((a >> 4 & four) | (top >> 4 & two) << 4) | (uint64_t)((c >> 4 & four) | (top >> 6 & two) << 4) << 32;
    store_runs(g->sub, vsubq_s8(vcombine_s8(vcreate_s8(low), vcreate_s8(high)), vdupq_n_s8(32)));
}

/* Q4_K and Q5_K: bytes 0..3 and 4..7 hold scales and minima of blocks 0..3 in six bits, and in their upper two bits the upper
 * bits of those of blocks 4..7, whose lower four bits are the nibbles of bytes 8..11. */
ALWAYS_INLINE void unpack_scales_and_mins(const uint8_t *s, Group *g) {
    uint32_t a = load_u32(s), c = load_u32(s + 4), low = load_u32(s + 8);
    const uint32_t six = 0x3F3F3F3F, four = 0x0F0F0F0F, two = 0x03030303;
    store_per_run(g->sub, a & six, (low & four) | (a >> 6 & two) << 4);
    store_per_run(g->min_sub, c & six, (low >> 4 & four) | (c >> 6 & two) << 4);
}

static void unpack_q4_k(const uint8_t *src, Group *g) {
    set_scales(g, load_f16(src), -load_f16(src + 2));
    unpack_scales_and_mins(src + 4, g);
    UNROLL for (size_t b = 0; b < GROUP_BLOCKS; b++) store_block(g, b, four_bits(src + 16, b));
}

static void unpack_q5_k(const uint8_t *src, Group *g) {
    set_scales(g, load_f16(src), -load_f16(src + 2));
    unpack_scales_and_mins(src + 4, g);
    const Bytes qh = load32(src + 16);
    UNROLL for (size_t b = 0; b < GROUP_BLOCKS; b++)
        store_block(g, b, either(four_bits(src + 48, b), shift_and_mask(qh, 4 - (int)b, 16)));
}

static void unpack_q6_k(const uint8_t *src, Group *g) {
    set_scales(g, load_f16(src + 208), 0.0f);
    UNROLL for (size_t b = 0; b < GROUP_BLOCKS; b++) {
        size_t half = b / 4, quarter = b % 4;
        Bytes low = shift_and_mask(load32(src + half * 64 + quarter % 2 * 32), -(int)(quarter / 2 * 4), 15);
        Bytes high = shift_and_mask(load32(src + 128 + half * 32), 4 - (int)quarter * 2, 0x30);
        store_block(g, b, minus(either(low, high), 32));
    }
    store_runs(g->sub, vreinterpretq_s8_u8(vld1q_u8(src + 192)));
}

static void unpack_iq4_xs(const uint8_t *src, Group *g) {
    set_scales(g, load_f16(src), 0.0f);
    UNROLL for (size_t b = 0; b < GROUP_BLOCKS; b++) store_block(g, b, look_up(kernels_iq4_values, nibbles(src + 8 + 16 * b)));
    /* six bits per block: nibbles of bytes 4..7, low ones first, and above them two bits of the word at 2 */
    static const int16_t down[8] = {0, -2, -4, -6, -8, -10, -12, -14};
    uint32_t word = load_u32(src + 4);
    uint8x8_t evens = vcreate_u8(word & 0x0F0F0F0F), odds = vcreate_u8(word >> 4 & 0x0F0F0F0F);
    uint16x8_t high = vshlq_u16(vdupq_n_u16((uint16_t)(load_u32(src) >> 16)), vld1q_s16(down));
    uint16x8_t scales = vorrq_u16(vmovl_u8(vzip1_u8(evens, odds)), vshlq_n_u16(vandq_u16(high, vdupq_n_u16(3)), 4));
    int16x8_t sub = vsubq_s16(vreinterpretq_s16_u16(scales), vdupq_n_s16(32));
    vst1q_s16(g->sub, vzip1q_s16(sub, sub));
    vst1q_s16(g->sub + 8, vzip2q_s16(sub, sub));
}

static void unpack_points(QuantType type, const uint8_t *src, Group *g) {
    Codes codes;
    kernels_codebook_read(type, src, &codes, g);
    bool ternary = kernels_codebook_is_ternary(type);
    for (size_t b = 0; b < GROUP_BLOCKS; b++) {
        Bytes w = load32((const uint8_t *)(codes.point + 4 * b)), negative = spread_bits(load_u32(codes.sign + 4 * b));
        UNROLL for (size_t i = 0; i < 2; i++) {
            if (ternary) w.v[i] = vaddq_u8(w.v[i], vorrq_u8(negative.v[i], vdupq_n_u8(1)));
            else w.v[i] = vsubq_u8(veorq_u8(w.v[i], negative.v[i]), negative.v[i]);
        }
        store_block(g, b, w);
    }
}

void kernels_neon_unpack(QuantType type, const uint8_t *src, size_t n_blocks, Group *g) {
    uint8_t whole[GROUP_BYTES_MAX];
    if (n_blocks < GROUP_BLOCKS) src = kernels_group_filled_up(type, src, n_blocks, whole);
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
#define X(NAME, ...) case QUANT_##NAME:
        GROUP_POINT_LIST(X) unpack_points(type, src, g); break;
#undef X
    default: kernels_group_unpack(type, src, GROUP_BLOCKS, g); break; /* a type that has no registers of its own */
    }
}

/* Sixteen elements of one run as f32. */
ALWAYS_INLINE void decode_run(const int8_t *w, float scale, bool has_min, float min, float *dst) {
    int8x16_t bytes = vld1q_s8(w);
    int16x8_t halves[2] = {vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes)};
    UNROLL for (size_t i = 0; i < 4; i++) {
        int32x4_t wide = i % 2 ? vmovl_high_s16(halves[i / 2]) : vmovl_s16(vget_low_s16(halves[i / 2]));
        float32x4_t v = vmulq_n_f32(vcvtq_f32_s32(wide), scale);
        vst1q_f32(dst + 4 * i, has_min ? vaddq_f32(v, vdupq_n_f32(min)) : v);
    }
}

void kernels_neon_decode(QuantType type, const uint8_t *src, float *dst, size_t n) {
    bool has_min = group_form(type).has_min;
    size_t bytes = kernels_group_bytes(type);
    for (size_t first = 0; first < n; first += GROUP_ELEMS, src += bytes) {
        size_t count = n - first < GROUP_ELEMS ? n - first : GROUP_ELEMS;
        Group g;
        kernels_neon_unpack(type, src, count / 32, &g);
        for (size_t run = 0; run < count / 16; run++) {
            float scale = g.scale[run / 2] * (float)g.sub[run];
            float min = has_min ? g.min[run / 2] * (float)g.min_sub[run] : 0.0f;
            decode_run(g.w + 16 * run, scale, has_min, min, dst + first + 16 * run);
        }
    }
}
