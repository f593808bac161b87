/* Inside the kernels room: weights in the form that the integer kernels multiply.
 *
 * A group is up to 8 blocks of 32 weights of one row: a superblock of 256, or 8 neighbouring blocks of the small types
 * (fewer at the end of a row). Element e of the group, in block b = e / 32 and run s = e / 16, is
 *
 *     scale[b] * sub[s] * w[e]  +  min[b] * min_sub[s]
 *
 * with small integers w, sub and min_sub, so that a block of 32 products with activations is one exact integer, the block's
 * activation scale can be taken out of it, and the block adds one float to the sum:
 *
 *     lane[b] = fmaf(scale[b] * x_scale[b], (float)(sum over e of sub[s] * w[e] * q[e]), lane[b])
 *     lane[b] = fmaf(min[b] * x_scale[b], (float)(sum over e of min_sub[s] * q[e]), lane[b])     types with a minimum only
 *
 * No integer exceeds 2^25. After the last group the 8 lanes are folded 8 -> 4 -> 2 -> 1. Blocks that a last group lacks count as
 * zeros. */
#ifndef KERNELS_GROUP_H
#define KERNELS_GROUP_H

#include "quant/quant.h"

enum { GROUP_ELEMS = 256, GROUP_BLOCKS = 8, GROUP_RUNS = 16 };

typedef struct Group {
    _Alignas(32) int8_t w[GROUP_ELEMS];
    int16_t sub[GROUP_RUNS];     /* 1 for types without */
    int16_t min_sub[GROUP_RUNS]; /* 1 for types without; not set for types without a minimum */
    float scale[GROUP_BLOCKS];
    float min[GROUP_BLOCKS]; /* not set for types without a minimum */
} Group;

/* Types whose elements are not scale times integer alone. */
bool kernels_group_has_min(QuantType type);
/* Types with integer scales per run: those with superblocks. */
bool kernels_group_has_sub(QuantType type);
/* Bytes of one whole group. */
size_t kernels_group_bytes(QuantType type);
/* Unpacks n_blocks (1..8; always 8 for types with superblocks) from src; the rest of the group becomes zeros. */
void kernels_group_unpack(QuantType type, const uint8_t *src, size_t n_blocks, Group *g);

/* 2^(e - 128): the scale of an MXFP4 block, whose values stand doubled in their table. */
static inline float group_mxfp4_scale(uint8_t e) {
    union {
        uint32_t u;
        float f;
    } v = {e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23};
    return v.f;
}

extern const int8_t kernels_iq4_values[16], group_fp4_values[16];

#endif
