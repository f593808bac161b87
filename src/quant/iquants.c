/* Codebook formats. IQ1, IQ2 and IQ3 store 8 (or 4) elements at once as the number of a point in a fixed grid, with signs beside
 * it; IQ4 stores 4-bit codes of a fixed list of values. All but IQ4_NL are superblocks of 256 elements, eight groups of 32.
 *
 *     IQ2_XXS  d, 8 x {u8 grid[4], u32 signs and scale}                d*(1/2+sc)/4 * +-grid, 4-bit sc per 32
 *     IQ2_XS   d, u16 (grid 9, signs 7 bits)[32], u8 scales[8]         the same, 4-bit sc per 16
 *     IQ2_S    d, u8 grid[32], u8 signs[32], u8 qh[8], u8 scales[8]    the same
 *     IQ3_XXS  d, u8 grid[64], u32 signs and scale[8]                  d*(1/2+sc)/2 * +-grid, 4-bit sc per 32
 *     IQ3_S    d, u8 grid[64], u8 qh[8], u8 signs[32], u8 scales[4]    d*(1+2*sc) * +-grid, 4-bit sc per 32
 *     IQ1_S    d, u8 grid[32], u16 qh[8]                               d*(2*sc+1) * (grid +- 1/8), 3-bit sc per 32
 *     IQ1_M    u8 grid[32], u8 qh[16], u16 scales[4]                   the same, 3-bit sc per 16
 *     IQ4_NL   d, 16 bytes (32 elements)                               d * value[q]
 *     IQ4_XS   d, u16 scales_h, u8 scales_l[4], u8 qs[128]             d*(sc-32) * value[q], 6-bit sc per 32 */
#include "quant/blocks.h"
#include "quant/tables.h"

enum { N = 256, GROUPS = 8 };

/* dst[8] = scale * magnitude, negated where the sign bit is set. */
static void put8(float *dst, float scale, uint64_t magnitudes, unsigned signs) {
    for (int j = 0; j < 8; j++) {
        float y = scale * (float)(magnitudes >> 8 * j & 255);
        dst[j] = signs >> j & 1 ? -y : y;
    }
}

static uint64_t two_points(uint32_t low, uint32_t high) { return low | (uint64_t)high << 32; }

static int nibble_of(const uint8_t *bytes, size_t i) { return bytes[i / 2] >> (i % 2 * 4) & 15; }

void quant_decode_iq2_xxs(const void *src, float *dst, size_t n) {
    const uint8_t *block = src;
    for (size_t b = 0; b < n / N; b++, block += 66) {
        float d = load_f16(block);
        for (size_t g = 0; g < GROUPS; g++) {
            const uint8_t *points = block + 2 + 8 * g;
            uint32_t rest = load_u32(points + 4); /* 4 x 7 bits of signs, then the scale */
            float scale = d * (0.5f + (float)(rest >> 28)) * 0.25f;
            for (int l = 0; l < 4; l++, dst += 8)
                put8(dst, scale, quant_iq2xxs_grid[points[l]], quant_ksigns_iq2xs[rest >> 7 * l & 127]);
        }
    }
}

void quant_decode_iq2_xs(const void *src, float *dst, size_t n) {
    const uint8_t *block = src;
    for (size_t b = 0; b < n / N; b++, block += 74) {
        float d = load_f16(block);
        for (size_t p = 0; p < 32; p++, dst += 8) {
            uint16_t q = load_u16(block + 2 + 2 * p);
            float scale = d * (0.5f + (float)nibble_of(block + 66, p / 2)) * 0.25f;
            put8(dst, scale, quant_iq2xs_grid[q & 511], quant_ksigns_iq2xs[q >> 9]);
        }
    }
}

void quant_decode_iq2_s(const void *src, float *dst, size_t n) {
    const uint8_t *block = src;
    for (size_t b = 0; b < n / N; b++, block += 82) {
        const uint8_t *points = block + 2, *signs = block + 34, *qh = block + 66, *scales = block + 74;
        float d = load_f16(block);
        for (size_t p = 0; p < 32; p++, dst += 8) {
            int point = points[p] | (qh[p / 4] >> (p % 4 * 2) & 3) << 8;
            float scale = d * (0.5f + (float)nibble_of(scales, p / 2)) * 0.25f;
            put8(dst, scale, quant_iq2s_grid[point], signs[p]);
        }
    }
}

void quant_decode_iq3_xxs(const void *src, float *dst, size_t n) {
    const uint8_t *block = src;
    for (size_t b = 0; b < n / N; b++, block += 98) {
        const uint8_t *points = block + 2;
        float d = load_f16(block);
        for (size_t g = 0; g < GROUPS; g++) {
            uint32_t rest = load_u32(block + 66 + 4 * g);
            float scale = d * (0.5f + (float)(rest >> 28)) * 0.5f;
            for (int l = 0; l < 4; l++, dst += 8, points += 2)
                put8(dst, scale, two_points(quant_iq3xxs_grid[points[0]], quant_iq3xxs_grid[points[1]]),
                     quant_ksigns_iq2xs[rest >> 7 * l & 127]);
        }
    }
}

void quant_decode_iq3_s(const void *src, float *dst, size_t n) {
    const uint8_t *block = src;
    for (size_t b = 0; b < n / N; b++, block += 110) {
        const uint8_t *points = block + 2, *qh = block + 66, *signs = block + 74, *scales = block + 106;
        float d = load_f16(block);
        for (size_t p = 0; p < 32; p++, dst += 8, points += 2) {
            size_t g = p / 4, l = p % 4;
            int first = points[0] | (qh[g] >> 2 * l & 1) << 8, second = points[1] | (qh[g] >> (2 * l + 1) & 1) << 8;
            float scale = d * (float)(1 + 2 * nibble_of(scales, g));
            put8(dst, scale, two_points(quant_iq3s_grid[first], quant_iq3s_grid[second]), signs[p]);
        }
    }
}

/* dst[8] = scale * (grid point + delta), the point's elements being -1, 0 or 1. */
static void put8_ternary(float *dst, float scale, uint64_t point, float delta) {
    for (int j = 0; j < 8; j++) dst[j] = scale * ((float)(int8_t)(point >> 8 * j & 255) + delta);
}

void quant_decode_iq1_s(const void *src, float *dst, size_t n) {
    const uint8_t *block = src;
    for (size_t b = 0; b < n / N; b++, block += 50) {
        const uint8_t *points = block + 2;
        float d = load_f16(block);
        for (size_t g = 0; g < GROUPS; g++) {
            unsigned high = load_u16(block + 34 + 2 * g); /* 4 x 3 bits of the point, 3 of the scale, 1 of the delta */
            float scale = d * (float)(2 * (high >> 12 & 7) + 1), delta = high & 0x8000 ? -0.125f : 0.125f;
            for (int l = 0; l < 4; l++, dst += 8, points++)
                put8_ternary(dst, scale, quant_iq1s_grid[*points | (high >> 3 * l & 7) << 8], delta);
        }
    }
}

uint16_t quant_iq1_m_scale(const uint8_t *block) {
    uint16_t bits = 0;
    for (size_t i = 0; i < 4; i++) bits = (uint16_t)(bits | load_u16(block + 48 + 2 * i) >> 12 << 4 * i);
    return bits;
}

void quant_decode_iq1_m(const void *src, float *dst, size_t n) {
    const uint8_t *block = src;
    for (size_t b = 0; b < n / N; b++, block += 56) {
        const uint8_t *qh = block + 32;
        float d = quant_f16_to_f32(quant_iq1_m_scale(block));
        for (size_t p = 0; p < 32; p++, dst += 8) {
            unsigned scales = load_u16(block + 48 + p / 8 * 2); /* 3 bits per two points; the top 4 belong to d */
            unsigned high = (unsigned)qh[p / 2] >> p % 2 * 4;   /* 3 bits of the point, 1 of the delta */
            float scale = d * (float)(2 * (scales >> p % 8 / 2 * 3 & 7) + 1), delta = high & 8 ? -0.125f : 0.125f;
            put8_ternary(dst, scale, quant_iq1s_grid[block[p] | (high & 7) << 8], delta);
        }
    }
}

/* dst[32] = scale * value of the low nibbles of qs[16], then of the high ones. */
static void put32_iq4(float *dst, float scale, const uint8_t *qs) {
    for (int i = 0; i < 16; i++) {
        dst[i] = scale * (float)quant_kvalues_iq4nl[qs[i] & 15];
        dst[i + 16] = scale * (float)quant_kvalues_iq4nl[qs[i] >> 4];
    }
}

void quant_decode_iq4_nl(const void *src, float *dst, size_t n) {
    const uint8_t *block = src;
    for (size_t b = 0; b < n / 32; b++, block += 18, dst += 32) put32_iq4(dst, load_f16(block), block + 2);
}

void quant_decode_iq4_xs(const void *src, float *dst, size_t n) {
    const uint8_t *block = src;
    for (size_t b = 0; b < n / N; b++, block += 136) {
        float d = load_f16(block);
        unsigned high = load_u16(block + 2);
        for (size_t g = 0; g < GROUPS; g++, dst += 32) {
            int sc = nibble_of(block + 4, g) | (int)(high >> 2 * g & 3) << 4;
            put32_iq4(dst, d * (float)(sc - 32), block + 8 + 16 * g);
        }
    }
}
