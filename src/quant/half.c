/* The plain number formats: f32, f16, bf16, and the conversions between them.
 *
 * Written with integers, so that the result depends on no compiler flag and no instruction set; NaNs come out as the
 * hardware's own instructions give them (quiet, sign and upper payload kept). */
#include "quant/blocks.h"

typedef union FloatBits {
    float f;
    uint32_t u;
} FloatBits;

static uint32_t bits_of(float f) { return (FloatBits){.f = f}.u; }
static float of_bits(uint32_t u) { return (FloatBits){.u = u}.f; }

float quant_f16_to_f32(uint16_t h) {
    uint32_t sign = (h & 0x8000u) << 16, rest = h & 0x7FFFu;
    if (rest >= 0x7C00) return of_bits(sign | 0x7F800000 | rest << 13 | (rest > 0x7C00 ? 0x00400000 : 0));
    if (rest >= 0x0400) return of_bits(sign | ((rest << 13) + (112u << 23))); /* exponent bias 15 -> 127 */
    return of_bits(sign | bits_of((float)rest * 0x1p-24f));
}

uint16_t quant_f32_to_f16(float f) {
    uint32_t bits = bits_of(f), rest = bits & 0x7FFFFFFF, h;
    if (rest > 0x7F800000) {
        h = 0x7E00 | (rest >> 13 & 0x3FF);
    } else if (rest >= 0x47800000) { /* 65536 and more, infinity included */
        h = 0x7C00;
    } else if (rest >= 0x38800000) { /* 2^-14, the smallest normal f16; rounding may carry into the exponent and up to infinity */
        rest -= 112u << 23;
        h = (rest + 0xFFF + (rest >> 13 & 1)) >> 13;
    } else { /* one unit in the last place of 0.5 is 2^-24, the step of f16's denormals: the addition rounds to it */
        h = bits_of(of_bits(rest) + 0.5f) - bits_of(0.5f);
    }
    return (uint16_t)((bits >> 16 & 0x8000) | h);
}

uint16_t quant_f32_to_bf16(float f) {
    uint32_t bits = bits_of(f);
    if ((bits & 0x7FFFFFFF) > 0x7F800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

void quant_decode_f32(const void *src, float *dst, size_t n) { memcpy(dst, src, n * sizeof *dst); }

void quant_decode_f16(const void *src, float *dst, size_t n) {
    const uint8_t *p = src;
    for (size_t i = 0; i < n; i++) dst[i] = load_f16(p + 2 * i);
}

void quant_decode_bf16(const void *src, float *dst, size_t n) {
    const uint8_t *p = src;
    for (size_t i = 0; i < n; i++) dst[i] = quant_bf16_to_f32(load_u16(p + 2 * i));
}
