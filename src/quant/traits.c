/* The rows of the list as a table, and how a format is found in it. */
#include "quant/blocks.h"

#include <ctype.h>

static const QuantTraits table[QUANT_TYPE_COUNT] = {
#define X(NAME, name, ggml_id, safetensors, elems, bytes, n_scales, scale_offset) \
    [QUANT_##NAME] = {#NAME, ggml_id, safetensors, elems, bytes, n_scales, scale_offset, quant_decode_##name},
    QUANT_LIST(X)
#undef X
#define X(NAME, ggml_id, safetensors, bytes) [QUANT_##NAME] = {#NAME, ggml_id, safetensors, 1, bytes, 0, 0, NULL},
    QUANT_PLAIN_LIST(X)
#undef X
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
