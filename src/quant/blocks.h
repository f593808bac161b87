/* Inside the quant room: loads from unaligned bytes, and the decoders that traits.c puts into rows.
 *
 * A block is read as bytes at the offsets of its layout, never as a struct: it may stand at any address of a file. Sums and
 * products are written in the order of the formats' definition and evaluated in f32 from left to right; that order is what
 * the reference vectors fix. */
#ifndef QUANT_BLOCKS_H
#define QUANT_BLOCKS_H

#include "quant/quant.h"

#include <string.h>

static inline uint16_t load_u16(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t load_u32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t load_u64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline float load_f16(const uint8_t *p) { return quant_f16_to_f32(load_u16(p)); }

/* half.c: plain numbers */
void quant_decode_f32(const void *src, float *dst, size_t n);
void quant_decode_f16(const void *src, float *dst, size_t n);
void quant_decode_bf16(const void *src, float *dst, size_t n);
/* legacy.c: 32 elements, one scale */
void quant_decode_q4_0(const void *src, float *dst, size_t n);
void quant_decode_q4_1(const void *src, float *dst, size_t n);
void quant_decode_q5_0(const void *src, float *dst, size_t n);
void quant_decode_q5_1(const void *src, float *dst, size_t n);
void quant_decode_q8_0(const void *src, float *dst, size_t n);
/* kquants.c: 256 elements, integer scales per 16 or 32 */
void quant_decode_q2_k(const void *src, float *dst, size_t n);
void quant_decode_q3_k(const void *src, float *dst, size_t n);
void quant_decode_q4_k(const void *src, float *dst, size_t n);
void quant_decode_q5_k(const void *src, float *dst, size_t n);
void quant_decode_q6_k(const void *src, float *dst, size_t n);
/* iquants.c: codebooks */
void quant_decode_iq2_xxs(const void *src, float *dst, size_t n);
void quant_decode_iq2_xs(const void *src, float *dst, size_t n);
void quant_decode_iq2_s(const void *src, float *dst, size_t n);
void quant_decode_iq3_xxs(const void *src, float *dst, size_t n);
void quant_decode_iq3_s(const void *src, float *dst, size_t n);
void quant_decode_iq1_s(const void *src, float *dst, size_t n);
void quant_decode_iq1_m(const void *src, float *dst, size_t n);
void quant_decode_iq4_nl(const void *src, float *dst, size_t n);
void quant_decode_iq4_xs(const void *src, float *dst, size_t n);
uint16_t quant_iq1_m_scale(const uint8_t *block); /* the bits of its f16 scale, which is spread over the block */
/* fp4.c: 4-bit floats */
void quant_decode_mxfp4(const void *src, float *dst, size_t n);
void quant_decode_nvfp4(const void *src, float *dst, size_t n);

#endif
