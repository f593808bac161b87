/* Inside the kernels room: the codebook types (IQ1, IQ2, IQ3) as groups.
 *
 * Their weights stand eight at a time as the number of a point in a grid, with signs beside it (IQ2, IQ3) or with one eighth added
 * to or taken from all eight (IQ1, where everything is counted in eighths here). Scalar and NEON find the points here and set the
 * signs of 256 weights in their own ways; the AVX2 rung has loops of its own (points_avx2.h), which AVX-512 takes over. */
#ifndef KERNELS_CODEBOOK_H
#define KERNELS_CODEBOOK_H

#include "kernels/group.h"

typedef struct Codes {
    uint64_t point[32]; /* byte j: weight 8p + j without its sign */
    uint8_t sign[32];   /* bit j: weight 8p + j is negative; IQ1: 0xFF to subtract 1 from all eight, 0 to add it */
} Codes;

bool kernels_codebook_is_ternary(QuantType type); /* IQ1 */
/* Reads one superblock of a type that group_has_points: its points and signs, and the scales of the group; g->w is left to the caller. */
void kernels_codebook_read(QuantType type, const uint8_t *src, Codes *codes, Group *g);

#endif
