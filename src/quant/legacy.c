/* Blocks of 32 elements with one f16 scale d, and in the _1 types an f16 minimum m beside it.
 *
 *     Q4_0   d, 16 bytes               d * (q - 8)
 *     Q4_1   d, m, 16 bytes            d * q + m
 *     Q5_0   d, u32 high, 16 bytes     d * (q - 16)
 *     Q5_1   d, m, u32 high, 16 bytes  d * q + m
 *     Q8_0   d, 32 signed bytes        d * q
 *
 * The low nibbles of the 16 bytes are elements 0..15, the high ones 16..31; bit i of `high` is the fifth bit of element i. */
#include "quant/blocks.h"

enum { N = 32 };

static int nibble(const uint8_t *qs, int i) { return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4; }

static int five_bits(const uint8_t *qs, uint32_t high, int i) { return nibble(qs, i) | (int)(high >> i & 1) << 4; }

void quant_decode_q4_0(const void *src, float *dst, size_t n) {
    const uint8_t *block = src;
    for (size_t b = 0; b < n / N; b++, block += 18, dst += N) {
        float d = load_f16(block);
        for (int i = 0; i < N; i++) dst[i] = d * (float)(nibble(block + 2, i) - 8);
    }
}

void quant_decode_q4_1(const void *src, float *dst, size_t n) {
    const uint8_t *block = src;
    for (size_t b = 0; b < n / N; b++, block += 20, dst += N) {
        float d = load_f16(block), m = load_f16(block + 2);
        for (int i = 0; i < N; i++) dst[i] = d * (float)nibble(block + 4, i) + m;
    }
}

void quant_decode_q5_0(const void *src, float *dst, size_t n) {
    const uint8_t *block = src;
    for (size_t b = 0; b < n / N; b++, block += 22, dst += N) {
        float d = load_f16(block);
        uint32_t high = load_u32(block + 2);
        for (int i = 0; i < N; i++) dst[i] = d * (float)(five_bits(block + 6, high, i) - 16);
    }
}

void quant_decode_q5_1(const void *src, float *dst, size_t n) {
    const uint8_t *block = src;
    for (size_t b = 0; b < n / N; b++, block += 24, dst += N) {
        float d = load_f16(block), m = load_f16(block + 2);
        uint32_t high = load_u32(block + 4);
        for (int i = 0; i < N; i++) dst[i] = d * (float)five_bits(block + 8, high, i) + m;
    }
}

void quant_decode_q8_0(const void *src, float *dst, size_t n) {
    const uint8_t *block = src;
    for (size_t b = 0; b < n / N; b++, block += 34, dst += N) {
        float d = load_f16(block);
        for (int i = 0; i < N; i++) dst[i] = d * (float)(int8_t)block[2 + i];
    }
}
