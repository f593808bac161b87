/* Lookup tables of the codebook formats. They are part of the formats: the same numbers as in ggml. Grids and signs stand in
 * quant.h. */
#ifndef QUANT_TABLES_H
#define QUANT_TABLES_H

#include "quant/quant.h"

/* One value per 4-bit code. */
extern const int8_t quant_kvalues_fp4[16]; /* twice the E2M1 numbers, so that they are integers */
extern const int8_t quant_kvalues_iq4nl[16];

#endif
