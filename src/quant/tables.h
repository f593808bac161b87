/* Lookup tables of the codebook formats. They are part of the formats: the same numbers as in ggml. */
#ifndef QUANT_TABLES_H
#define QUANT_TABLES_H

#include <stdint.h>

/* One value per 4-bit code. */
extern const int8_t quant_kvalues_fp4[16]; /* twice the E2M1 numbers, so that they are integers */
extern const int8_t quant_kvalues_iq4nl[16];

/* 7 stored sign bits -> 8: the last one makes the number of minus signs even. */
extern const uint8_t quant_ksigns_iq2xs[128];

/* One grid point per entry; byte j, counted from the least significant, is element j: 4 magnitudes in a u32, 8 in a u64.
 * In iq1s_grid the bytes are signed: -1, 0 or 1. */
extern const uint32_t quant_iq3xxs_grid[256];
extern const uint32_t quant_iq3s_grid[512];
extern const uint64_t quant_iq2xxs_grid[256];
extern const uint64_t quant_iq2xs_grid[512];
extern const uint64_t quant_iq2s_grid[1024];
extern const uint64_t quant_iq1s_grid[2048];

#endif
