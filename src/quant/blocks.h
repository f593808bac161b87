/* Inside the quant room: the decoders that traits.c puts into rows.
 *
 * A block is read as bytes at the offsets of its layout, never as a struct: it may stand at any address of a file. Sums and
 * products are written in the order of the formats' definition and evaluated in f32 from left to right; that order is what
 * the reference vectors fix. */
#ifndef QUANT_BLOCKS_H
#define QUANT_BLOCKS_H

#include "quant/quant.h"

static inline float load_f16(const uint8_t *p) { return quant_f16_to_f32(load_u16(p)); }

/* Each in the file of its family, as QUANT_LIST says. */
#define X(NAME, name, ...) void quant_decode_##name(const void *src, float *dst, size_t n);
QUANT_LIST(X)
#undef X

uint16_t quant_iq1_m_scale(const uint8_t *block); /* the bits of its f16 scale, which is spread over the block */

#endif
