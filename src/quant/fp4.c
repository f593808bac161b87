/* Four-bit floats (E2M1) under a shared eight-bit scale.
 *
 *     MXFP4   32 elements: u8 e, 16 bytes            value * 2^(e - 128)
 *     NVFP4   64 elements: u8 scale[4], 32 bytes     value * scale / 2, one scale per 16
 *
 * The values stand doubled in their table, hence 128 instead of E8M0's 127, and the half. Low nibbles come first. */
#include "quant/blocks.h"
#include "quant/tables.h"

/* 2^(e - 128), exact for all e: 0 and 1 give denormals. */
static float half_e8m0(uint8_t e) {
    uint32_t bits = e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* An unsigned E4M3 scale: bias 7, no infinity; 0x7F, its NaN, counts as 0, and the sign bit is ignored otherwise. */
static float ue4m3(uint8_t code) {
    if (code == 0x7F) return 0;
    int exponent = code >> 3 & 15, mantissa = code & 7;
    if (exponent == 0) return (float)mantissa * 0x1p-9f;
    return (float)((8 + mantissa) << exponent) * 0x1p-10f; /* (1 + mantissa/8) * 2^(exponent - 7) */
}

void quant_decode_mxfp4(const void *src, float *dst, size_t n) {
    const uint8_t *block = src;
    for (size_t b = 0; b < n / 32; b++, block += 17, dst += 32) {
        float d = half_e8m0(block[0]);
        for (int i = 0; i < 16; i++) {
            dst[i] = (float)quant_kvalues_fp4[block[1 + i] & 15] * d;
            dst[i + 16] = (float)quant_kvalues_fp4[block[1 + i] >> 4] * d;
        }
    }
}

void quant_decode_nvfp4(const void *src, float *dst, size_t n) {
    const uint8_t *block = src;
    for (size_t b = 0; b < n / 64; b++, block += 36) {
        for (size_t run = 0; run < 4; run++, dst += 16) {
            const uint8_t *qs = block + 4 + 8 * run;
            float d = ue4m3(block[run]);
            for (int i = 0; i < 8; i++) {
                dst[i] = (float)quant_kvalues_fp4[qs[i] & 15] * d * 0.5f;
                dst[i + 8] = (float)quant_kvalues_fp4[qs[i] >> 4] * d * 0.5f;
            }
        }
    }
}
