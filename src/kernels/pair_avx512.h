/* Inside the kernels room: two rows' groups of weights as the AVX-512 rung multiplies them.
 *
 * A group is 8 blocks b of 32 elements (group.h). A vector holds those of two rows: 32-bit lane b is block b of the first row,
 * lane 8 + b of the second. Vector k of the weights holds elements 4k .. 4k + 3 of every block, as KernelsActGroup.turned does for
 * one row of activations, so that a block's sum runs over vectors and ends in the lane where the float part wants it.
 *
 * The instruction multiplies unsigned weights with signed activations: what may be negative is stored plus an offset of its
 * type, and the sum of products begins at -offset times the sum of the activations. All of it is exact. */
#ifndef KERNELS_PAIR_AVX512_H
#define KERNELS_PAIR_AVX512_H

#include "kernels/avx512.h"

/* What a type asks of the inner loop; constant where it is inlined. */
typedef enum PairForm {
    PAIR_PLAIN,     /* one sum per block, an offset */
    PAIR_BLOCK,     /* the same times an integer per block */
    PAIR_RUN,       /* the same with an integer per run of 16 */
    PAIR_PLAIN_MIN, /* likewise, not negative and with a minimum */
    PAIR_BLOCK_MIN,
    PAIR_RUN_MIN,
} PairForm;

typedef struct Pair {
    __m512i w[8];
    __m512i sub;      /* of block b, or of its first run; 32 bits. PLAIN: not set */
    __m512i sub_high; /* of its second run. RUN only */
    __m512i min_sub;  /* of both runs, 16 bits each. MIN only */
    __m512 scale;
    __m512 min; /* MIN only */
} Pair;

PairForm kernels_avx512_form(QuantType type, int *offset);

/* Unpacks n_blocks (1..8; always 8 for types with superblocks) of two rows; the rest of the groups becomes zeros. */
void kernels_avx512_unpack(QuantType type, const uint8_t *first, const uint8_t *second, size_t n_blocks, Pair *p);

#endif
