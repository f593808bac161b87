/* Inside the kernels room: weights in the form that the integer kernels multiply.
 *
 * A group is up to 8 blocks of 32 weights of one row: a superblock of 256, or 8 neighbouring blocks of the small types
 * (fewer at the end of a row). Element e of the group, in block b = e / 32 and run s = e / 16, is
 *
 *     scale[b] * sub[s] * w[e]  +  min[b] * min_sub[s]
 *
 * with small integers w, sub and min_sub (8 bits each), so that a block of 32 products with activations is one exact integer, the
 * block's activation scale can be taken out of it, and the block adds one float to the sum:
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

/* The integer scales `sub`: all 1, one per block of 32, one per run of 16. */
typedef enum GroupSub { GROUP_SUB_NONE, GROUP_SUB_BLOCK, GROUP_SUB_RUN } GroupSub;

/* The types that are multiplied as integers, a line each: name, its function in group.c or codebook.c, the least and the largest w, integer
 * scales, and whether it has a minimum (w is never negative then). A line and that function are enough: from here every rung knows how
 * to multiply, and what it has no registers for it unpacks as group.c does. */
#define GROUP_LIST(X) GROUP_SMALL_LIST(X) GROUP_SUPER_LIST(X) GROUP_POINT_LIST(X)
#define GROUP_SMALL_LIST(X) /* blocks of 32 */ \
    X(Q4_0, q4_0, -8, 7, NONE, false)          \
    X(Q4_1, q4_1, 0, 15, NONE, true)           \
    X(Q5_0, q5_0, -16, 15, NONE, false)        \
    X(Q5_1, q5_1, 0, 31, NONE, true)           \
    X(Q8_0, q8_0, -128, 127, NONE, false)      \
    X(IQ4_NL, iq4_nl, -127, 113, NONE, false)  \
    X(MXFP4, mxfp4, -12, 12, NONE, false)
#define GROUP_SUPER_LIST(X) /* superblocks of 256 */ \
    X(Q2_K, q2_k, 0, 3, RUN, true)                   \
    X(Q3_K, q3_k, -4, 3, RUN, false)                 \
    X(Q4_K, q4_k, 0, 15, BLOCK, true)                \
    X(Q5_K, q5_k, 0, 31, BLOCK, true)                \
    X(Q6_K, q6_k, -32, 31, RUN, false)               \
    X(IQ4_XS, iq4_xs, -127, 113, BLOCK, false)
#define GROUP_POINT_LIST(X) /* superblocks of points in a grid: codebook.h */ \
    X(IQ2_XXS, iq2_xxs, -43, 43, BLOCK, false)                                \
    X(IQ2_XS, iq2_xs, -43, 43, RUN, false)                                    \
    X(IQ2_S, iq2_s, -43, 43, RUN, false)                                      \
    X(IQ3_XXS, iq3_xxs, -62, 62, BLOCK, false)                                \
    X(IQ3_S, iq3_s, -15, 15, BLOCK, false)                                    \
    X(IQ1_S, iq1_s, -9, 9, BLOCK, false)                                      \
    X(IQ1_M, iq1_m, -9, 9, RUN, false)

typedef struct GroupForm {
    int low, high;
    GroupSub sub;
    bool has_min;
} GroupForm;

/* The line of a type; the type must have one. A constant where the type is one. */
static inline GroupForm group_form(QuantType type) {
    switch (type) {
#define X(NAME, name, low, high, sub, has_min) case QUANT_##NAME: return (GroupForm){low, high, GROUP_SUB_##sub, has_min};
        GROUP_LIST(X)
#undef X
    default: return (GroupForm){0};
    }
}

static inline bool group_has_points(QuantType type) {
    switch (type) {
#define X(NAME, ...) case QUANT_##NAME:
        GROUP_POINT_LIST(X) return true;
#undef X
    default: return false;
    }
}

/* Bytes of one whole group. */
size_t kernels_group_bytes(QuantType type);
/* Unpacks n_blocks (1..8; always 8 for types with superblocks) from src; the rest of the group becomes zeros. */
void kernels_group_unpack(QuantType type, const uint8_t *src, size_t n_blocks, Group *g);

/* The end of a row of a small type, n_blocks < 8 of them, with blocks of zeros behind, so that a whole group can be read; these
 * meet activations of zero. Returns `whole`. */
enum { GROUP_BYTES_MAX = GROUP_BLOCKS * 34 };
const uint8_t *kernels_group_filled_up(QuantType type, const uint8_t *src, size_t n_blocks, uint8_t whole[GROUP_BYTES_MAX]);

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
