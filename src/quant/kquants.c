/* K-quants: superblocks of 256 elements. One f16 scale d (and d_min for the types with a minimum) is shared by all; every 16 or
 * 32 elements have a small integer scale of their own.
 *
 *     Q2_K   u8 scales[16], u8 qs[64], d, d_min              d*sc * q - d_min*m, 4-bit sc and m per 16
 *     Q3_K   u8 hmask[32], u8 qs[64], u8 scales[12], d       d*(sc-32) * (q-4), 6-bit sc per 16
 *     Q4_K   d, d_min, u8 scales[12], u8 qs[128]             d*sc * q - d_min*m, 6-bit sc and m per 32
 *     Q5_K   d, d_min, u8 scales[12], u8 qh[32], u8 qs[128]  the same
 *     Q6_K   u8 ql[128], u8 qh[64], i8 scales[16], d         d*sc * (q-32), 8-bit sc per 16 */
#include "quant/blocks.h"

enum { N = 256 };

/* Q2_K and Q3_K keep four elements in a byte, 32 apart: element e of the superblock is in byte (e / 128) * 32 + e % 32, at bit
 * 2 * (e % 128 / 32). The run of 16 elements number `run` therefore begins at byte `first` and is shifted by `shift`. */
static void two_bit_run(size_t run, size_t *first, size_t *shift) {
    *first = run / 8 * 32 + run % 2 * 16;
    *shift = run % 8 / 2 * 2;
}

void quant_decode_q2_k(const void *src, float *dst, size_t n) {
    const uint8_t *block = src;
    for (size_t b = 0; b < n / N; b++, block += 84) {
        const uint8_t *scales = block, *qs = block + 16;
        float d = load_f16(block + 80), d_min = load_f16(block + 82);
        for (size_t run = 0; run < 16; run++, dst += 16) {
            size_t first, shift;
            two_bit_run(run, &first, &shift);
            float scale = d * (float)(scales[run] & 15), min = d_min * (float)(scales[run] >> 4);
            for (size_t i = 0; i < 16; i++) dst[i] = scale * (float)(qs[first + i] >> shift & 3) - min;
        }
    }
}

/* The 16 six-bit scales of Q3_K in 12 bytes: the low four bits in the nibbles of bytes 0..7, the high two in bytes 8..11. */
static int q3_k_scale(const uint8_t *scales, size_t j) {
    int low = j < 8 ? scales[j] & 15 : scales[j - 8] >> 4;
    int high = scales[8 + j % 4] >> (j / 4 * 2) & 3;
    return low | high << 4;
}

void quant_decode_q3_k(const void *src, float *dst, size_t n) {
    const uint8_t *block = src;
    for (size_t b = 0; b < n / N; b++, block += 110) {
        const uint8_t *hmask = block, *qs = block + 32, *scales = block + 96;
        float d = load_f16(block + 108);
        for (size_t run = 0; run < 16; run++, dst += 16) {
            size_t first, shift;
            two_bit_run(run, &first, &shift);
            float scale = d * (float)(q3_k_scale(scales, run) - 32);
            for (size_t i = 0; i < 16; i++) {
                int high = hmask[run % 2 * 16 + i] >> (run / 2) & 1; /* the third bit */
                dst[i] = scale * (float)((qs[first + i] >> shift & 3) + 4 * high - 4);
            }
        }
    }
}

/* The 8 pairs of six-bit scale and minimum of Q4_K and Q5_K in 12 bytes. */
static void scale_and_min(const uint8_t *s, size_t j, int *scale, int *min) {
    if (j < 4) {
        *scale = s[j] & 63;
        *min = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 15) | s[j - 4] >> 6 << 4;
        *min = s[j + 4] >> 4 | s[j] >> 6 << 4;
    }
}

void quant_decode_q4_k(const void *src, float *dst, size_t n) {
    const uint8_t *block = src;
    for (size_t b = 0; b < n / N; b++, block += 144) {
        float d = load_f16(block), d_min = load_f16(block + 2);
        for (size_t run = 0; run < 8; run++, dst += 32) { /* runs 2p and 2p+1 share 32 bytes: low and high nibbles */
            const uint8_t *qs = block + 16 + run / 2 * 32;
            size_t shift = run % 2 * 4;
            int sc, m;
            scale_and_min(block + 4, run, &sc, &m);
            float scale = d * (float)sc, min = d_min * (float)m;
            for (int i = 0; i < 32; i++) dst[i] = scale * (float)(qs[i] >> shift & 15) - min;
        }
    }
}

void quant_decode_q5_k(const void *src, float *dst, size_t n) {
    const uint8_t *block = src;
    for (size_t b = 0; b < n / N; b++, block += 176) {
        const uint8_t *qh = block + 16; /* bit `run` of qh[i]: the fifth bit of element i of that run */
        float d = load_f16(block), d_min = load_f16(block + 2);
        for (size_t run = 0; run < 8; run++, dst += 32) {
            const uint8_t *qs = block + 48 + run / 2 * 32;
            size_t shift = run % 2 * 4;
            int sc, m;
            scale_and_min(block + 4, run, &sc, &m);
            float scale = d * (float)sc, min = d_min * (float)m;
            for (int i = 0; i < 32; i++) {
                int q = (qs[i] >> shift & 15) | (qh[i] >> run & 1) << 4;
                dst[i] = scale * (float)q - min;
            }
        }
    }
}

void quant_decode_q6_k(const void *src, float *dst, size_t n) {
    const uint8_t *block = src;
    for (size_t b = 0; b < n / N; b++, block += 210) {
        float d = load_f16(block + 208);
        for (size_t run = 0; run < 16; run++, dst += 16) {
            /* A half of 128 elements is four quarters of 32: quarters 0 and 2 are the low and high nibbles of the first 32
             * bytes of ql, 1 and 3 those of the next 32; quarter k has bits 2k and 2k+1 of qh. */
            size_t half = run / 8, quarter = run % 8 / 2, i0 = run % 2 * 16;
            const uint8_t *ql = block + half * 64 + quarter % 2 * 32 + i0;
            const uint8_t *qh = block + 128 + half * 32 + i0;
            float scale = d * (float)(int8_t)block[192 + run];
            for (int i = 0; i < 16; i++) {
                int q = (ql[i] >> quarter / 2 * 4 & 15) | (qh[i] >> quarter * 2 & 3) << 4;
                dst[i] = scale * (float)(q - 32);
            }
        }
    }
}
