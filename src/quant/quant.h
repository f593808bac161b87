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

/* One line per number format: name, decoder (quant_decode_q4_k), number in GGUF files, dtype in safetensors, elements and bytes per
 * block, how many f16 scales and minima stand side by side in a block, and from which byte on. A format is a line here, its decoder in
 * the file of its family, and its reference blocks in tests/data/blocks/. */
#define QUANT_LIST(X)                                                                      \
    /* plain numbers: half.c */                                                            \
    X(F32, f32, 0, "F32", 1, 4, 0, 0)                                                      \
    X(F16, f16, 1, "F16", 1, 2, 0, 0)                                                      \
    X(BF16, bf16, 30, "BF16", 1, 2, 0, 0)                                                  \
    /* 32 elements, one scale: legacy.c */                                                 \
    X(Q4_0, q4_0, 2, NULL, 32, 18, 1, 0)                                                   \
    X(Q4_1, q4_1, 3, NULL, 32, 20, 2, 0)                                                   \
    X(Q5_0, q5_0, 6, NULL, 32, 22, 1, 0)                                                   \
    X(Q5_1, q5_1, 7, NULL, 32, 24, 2, 0)                                                   \
    X(Q8_0, q8_0, 8, NULL, 32, 34, 1, 0)                                                   \
    /* 256 elements, integer scales per 16 or 32: kquants.c */                             \
    X(Q2_K, q2_k, 10, NULL, 256, 84, 2, 80)                                                \
    X(Q3_K, q3_k, 11, NULL, 256, 110, 1, 108)                                              \
    X(Q4_K, q4_k, 12, NULL, 256, 144, 2, 0)                                                \
    X(Q5_K, q5_k, 13, NULL, 256, 176, 2, 0)                                                \
    X(Q6_K, q6_k, 14, NULL, 256, 210, 1, 208)                                              \
    /* points of a grid, and values of a table: iquants.c */                               \
    X(IQ2_XXS, iq2_xxs, 16, NULL, 256, 66, 1, 0)                                           \
    X(IQ2_XS, iq2_xs, 17, NULL, 256, 74, 1, 0)                                             \
    X(IQ2_S, iq2_s, 22, NULL, 256, 82, 1, 0)                                               \
    X(IQ3_XXS, iq3_xxs, 18, NULL, 256, 98, 1, 0)                                           \
    X(IQ3_S, iq3_s, 21, NULL, 256, 110, 1, 0)                                              \
    X(IQ1_S, iq1_s, 19, NULL, 256, 50, 1, 0)                                               \
    X(IQ1_M, iq1_m, 29, NULL, 256, 56, 0, 0) /* its f16 scale is spread over four words */ \
    X(IQ4_NL, iq4_nl, 20, NULL, 32, 18, 1, 0)                                              \
    X(IQ4_XS, iq4_xs, 23, NULL, 256, 136, 1, 0)                                            \
    /* four-bit floats: fp4.c */                                                           \
    X(MXFP4, mxfp4, 39, NULL, 32, 17, 0, 0)                                                \
    X(NVFP4, nvfp4, 40, NULL, 64, 36, 0, 0)

/* Plain integers and doubles: they occur in files, never as weights; they have a size but no decoder. Name, number in GGUF (-1: none),
 * dtype in safetensors, bytes. */
#define QUANT_PLAIN_LIST(X) \
    X(I8, 24, "I8", 1)      \
    X(I16, 25, "I16", 2)    \
    X(I32, 26, "I32", 4)    \
    X(I64, 27, "I64", 8)    \
    X(F64, 28, "F64", 8)    \
    X(U8, -1, "U8", 1)

/* Values are the project's own; QuantTraits.ggml_id holds the number a GGUF file uses. */
typedef enum QuantType {
#define X(NAME, ...) QUANT_##NAME,
    QUANT_LIST(X) QUANT_PLAIN_LIST(X)
#undef X
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
