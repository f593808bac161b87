/* quant: number and block formats, and the scalar truth of decoding them.
 *
 * What this is    one table row per type (name, block shape, decoder); half, bfloat16 and row conversions. Layouts and formulas
 *                 are those of ggml (spec: block layouts of GGUF types 0..40).
 * Who owns what   nothing is owned; tables are constant.
 * What may fail   nothing; a type that is not in the table has no row (NULL).
 * Threads         any.
 * Promise         decoding is bit-equal to the reference block vectors. Checked by tests/unit/test_quant.c.
 */
#ifndef QUANT_QUANT_H
#define QUANT_QUANT_H

#include "base/base.h"

/* Values are the project's own; QuantTraits.ggml_id holds the number a GGUF file uses. */
typedef enum QuantType {
    QUANT_F32, QUANT_F16, QUANT_BF16,
    QUANT_Q4_0, QUANT_Q4_1, QUANT_Q5_0, QUANT_Q5_1, QUANT_Q8_0,
    QUANT_Q2_K, QUANT_Q3_K, QUANT_Q4_K, QUANT_Q5_K, QUANT_Q6_K,
    QUANT_IQ2_XXS, QUANT_IQ2_XS, QUANT_IQ2_S, QUANT_IQ3_XXS, QUANT_IQ3_S, QUANT_IQ1_S, QUANT_IQ1_M, QUANT_IQ4_NL, QUANT_IQ4_XS,
    QUANT_MXFP4, QUANT_NVFP4,
    /* plain integers and doubles: they occur in files, never as weights; they have a size but no decoder */
    QUANT_I8, QUANT_I16, QUANT_I32, QUANT_I64, QUANT_F64, QUANT_U8,
    QUANT_TYPE_COUNT
} QuantType;

typedef struct QuantTraits {
    const char *name;        /* "Q4_K" */
    int ggml_id;             /* type number in GGUF; -1: none */
    const char *safetensors; /* dtype name in safetensors ("BF16"); NULL: none */
    uint32_t block_elems;    /* elements per block; 1 for plain types */
    uint32_t block_bytes;    /* bytes per block */
    uint32_t n_scales;       /* f16 scales and minima that stand side by side in a block ... */
    uint32_t scale_offset;   /* ... from this byte on; types with other scales have n_scales 0 */
    /* Decodes n elements (a multiple of block_elems) from src to dst; src needs no alignment. NULL: no weights of this type. */
    void (*decode)(const void *src, float *dst, size_t n);
} QuantTraits;

const QuantTraits *quant_traits(QuantType type);
/* False when there is no such type; *type is untouched then. */
bool quant_from_ggml(uint32_t ggml_id, QuantType *type);
bool quant_from_safetensors(Str dtype, QuantType *type);
bool quant_from_name(const char *name, QuantType *type); /* "q4_k", case ignored */
/* The name of a ggml type number that is valid but not supported here, or NULL (for error messages). */
const char *quant_ggml_unsupported_name(uint32_t ggml_id);

/* Bytes of a row of n elements; 0 when n is not a multiple of the block size, or on overflow. */
uint64_t quant_row_bytes(QuantType type, uint64_t n);
/* The row's decoder; the type must have one. */
void quant_decode(QuantType type, const void *src, float *dst, size_t n);
/* True when all n elements (a multiple of block_elems) decode to finite numbers. Reads only the scales of block types, so it can
 * check gigabytes at load. A scale that is a NaN in its own format (MXFP4 exponent 255, NVFP4 code 0x7F) is refused too. */
bool quant_finite(QuantType type, const void *src, size_t n);

/* The grids of the codebook types, for whoever multiplies without decoding. One point per entry; byte j, counted from the least
 * significant, is element j: 4 magnitudes in a u32, 8 in a u64. In iq1s_grid the bytes are signed: -1, 0 or 1. */
extern const uint32_t quant_iq3xxs_grid[256];
extern const uint32_t quant_iq3s_grid[512];
extern const uint64_t quant_iq2xxs_grid[256];
extern const uint64_t quant_iq2xs_grid[512];
extern const uint64_t quant_iq2s_grid[1024];
extern const uint64_t quant_iq1s_grid[2048];
/* 7 stored sign bits -> 8: the last one makes the number of minus signs even. */
extern const uint8_t quant_ksigns_iq2xs[128];

float quant_f16_to_f32(uint16_t h);
uint16_t quant_f32_to_f16(float f); /* round to nearest even */
static inline float quant_bf16_to_f32(uint16_t b) {
    union {
        uint32_t u;
        float f;
    } v = {(uint32_t)b << 16};
    return v.f;
}
uint16_t quant_f32_to_bf16(float f); /* round to nearest even */

#endif
