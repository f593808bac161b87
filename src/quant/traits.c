/* One row per number format. A new format is one enum value, one row here, one decoder, and its reference blocks in
 * tests/data/blocks/. */
#include "quant/blocks.h"

#include <ctype.h>

/* Columns: name, GGUF number, safetensors dtype, elements and bytes per block, f16 scales and where they stand, decoder. */
static const QuantTraits table[QUANT_TYPE_COUNT] = {
    [QUANT_F32] = {"F32", 0, "F32", 1, 4, 0, 0, quant_decode_f32},
    [QUANT_F16] = {"F16", 1, "F16", 1, 2, 0, 0, quant_decode_f16},
    [QUANT_BF16] = {"BF16", 30, "BF16", 1, 2, 0, 0, quant_decode_bf16},

    [QUANT_Q4_0] = {"Q4_0", 2, NULL, 32, 18, 1, 0, quant_decode_q4_0},
    [QUANT_Q4_1] = {"Q4_1", 3, NULL, 32, 20, 2, 0, quant_decode_q4_1},
    [QUANT_Q5_0] = {"Q5_0", 6, NULL, 32, 22, 1, 0, quant_decode_q5_0},
    [QUANT_Q5_1] = {"Q5_1", 7, NULL, 32, 24, 2, 0, quant_decode_q5_1},
    [QUANT_Q8_0] = {"Q8_0", 8, NULL, 32, 34, 1, 0, quant_decode_q8_0},

    [QUANT_Q2_K] = {"Q2_K", 10, NULL, 256, 84, 2, 80, quant_decode_q2_k},
    [QUANT_Q3_K] = {"Q3_K", 11, NULL, 256, 110, 1, 108, quant_decode_q3_k},
    [QUANT_Q4_K] = {"Q4_K", 12, NULL, 256, 144, 2, 0, quant_decode_q4_k},
    [QUANT_Q5_K] = {"Q5_K", 13, NULL, 256, 176, 2, 0, quant_decode_q5_k},
    [QUANT_Q6_K] = {"Q6_K", 14, NULL, 256, 210, 1, 208, quant_decode_q6_k},

    [QUANT_IQ2_XXS] = {"IQ2_XXS", 16, NULL, 256, 66, 1, 0, quant_decode_iq2_xxs},
    [QUANT_IQ2_XS] = {"IQ2_XS", 17, NULL, 256, 74, 1, 0, quant_decode_iq2_xs},
    [QUANT_IQ2_S] = {"IQ2_S", 22, NULL, 256, 82, 1, 0, quant_decode_iq2_s},
    [QUANT_IQ3_XXS] = {"IQ3_XXS", 18, NULL, 256, 98, 1, 0, quant_decode_iq3_xxs},
    [QUANT_IQ3_S] = {"IQ3_S", 21, NULL, 256, 110, 1, 0, quant_decode_iq3_s},
    [QUANT_IQ1_S] = {"IQ1_S", 19, NULL, 256, 50, 1, 0, quant_decode_iq1_s},
    [QUANT_IQ1_M] = {"IQ1_M", 29, NULL, 256, 56, 0, 0, quant_decode_iq1_m}, /* its f16 scale is spread over four words */
    [QUANT_IQ4_NL] = {"IQ4_NL", 20, NULL, 32, 18, 1, 0, quant_decode_iq4_nl},
    [QUANT_IQ4_XS] = {"IQ4_XS", 23, NULL, 256, 136, 1, 0, quant_decode_iq4_xs},

    [QUANT_MXFP4] = {"MXFP4", 39, NULL, 32, 17, 0, 0, quant_decode_mxfp4},
    [QUANT_NVFP4] = {"NVFP4", 40, NULL, 64, 36, 0, 0, quant_decode_nvfp4},

    [QUANT_I8] = {"I8", 24, "I8", 1, 1, 0, 0, NULL},
    [QUANT_I16] = {"I16", 25, "I16", 1, 2, 0, 0, NULL},
    [QUANT_I32] = {"I32", 26, "I32", 1, 4, 0, 0, NULL},
    [QUANT_I64] = {"I64", 27, "I64", 1, 8, 0, 0, NULL},
    [QUANT_F64] = {"F64", 28, "F64", 1, 8, 0, 0, NULL},
    [QUANT_U8] = {"U8", -1, "U8", 1, 1, 0, 0, NULL},
};

const QuantTraits *quant_traits(QuantType type) { return (unsigned)type < QUANT_TYPE_COUNT ? &table[type] : NULL; }

bool quant_from_ggml(uint32_t ggml_id, QuantType *type) {
    for (unsigned t = 0; t < QUANT_TYPE_COUNT; t++) {
        if (table[t].ggml_id < 0 || (uint32_t)table[t].ggml_id != ggml_id) continue;
        *type = (QuantType)t;
        return true;
    }
    return false;
}

bool quant_from_safetensors(Str dtype, QuantType *type) {
    for (unsigned t = 0; t < QUANT_TYPE_COUNT; t++) {
        if (!table[t].safetensors || !str_eq_c(dtype, table[t].safetensors)) continue;
        *type = (QuantType)t;
        return true;
    }
    return false;
}

static bool equal_any_case(const char *a, const char *b) {
    while (*a && toupper((unsigned char)*a) == toupper((unsigned char)*b)) a++, b++;
    return *a == *b;
}

bool quant_from_name(const char *name, QuantType *type) {
    for (unsigned t = 0; t < QUANT_TYPE_COUNT; t++) {
        if (!equal_any_case(name, table[t].name)) continue;
        *type = (QuantType)t;
        return true;
    }
    return false;
}

const char *quant_ggml_unsupported_name(uint32_t ggml_id) {
    switch (ggml_id) {
    /* numbers that old files used and ggml has since withdrawn */
    case 4: return "Q4_2";
    case 5: return "Q4_3";
    case 31: return "Q4_0_4_4";
    case 32: return "Q4_0_4_8";
    case 33: return "Q4_0_8_8";
    case 36: return "IQ4_NL_4_4";
    case 37: return "IQ4_NL_4_8";
    case 38: return "IQ4_NL_8_8";
    /* intermediate forms of activations, not meant for files */
    case 9: return "Q8_1";
    case 15: return "Q8_K";
    case 34: return "TQ1_0";
    case 35: return "TQ2_0";
    default: return NULL;
    }
}

uint64_t quant_row_bytes(QuantType type, uint64_t n) {
    const QuantTraits *t = quant_traits(type);
    uint64_t bytes;
    if (!t || n % t->block_elems != 0 || !mul_u64(n / t->block_elems, t->block_bytes, &bytes)) return 0;
    return bytes;
}

void quant_decode(QuantType type, const void *src, float *dst, size_t n) { table[type].decode(src, dst, n); }
