/* Are all decoded values finite? Asked of every weight at load, so it looks only at what can be infinite: the exponents of plain
 * numbers, the scales of blocks. A scale that is finite never overflows: the largest f16 times the largest integers of any format
 * stays far below the largest f32. */
#include "quant/blocks.h"

/* All the bits of `exponent` set means infinity or NaN. Runs of fixed length, so that the compiler may use vectors. */
enum { RUN = 64 };

static bool finite16(const uint8_t *src, size_t n, uint16_t exponent) {
    size_t i = 0;
    for (; i + RUN <= n; i += RUN) {
        uint16_t v[RUN], bad = 0;
        memcpy(v, src + 2 * i, sizeof v);
        for (int j = 0; j < RUN; j++) bad |= (v[j] & exponent) == exponent;
        if (bad) return false;
    }
    for (; i < n; i++)
        if ((load_u16(src + 2 * i) & exponent) == exponent) return false;
    return true;
}

static bool finite32(const uint8_t *src, size_t n) {
    const uint32_t exponent = 0x7F800000;
    size_t i = 0;
    for (; i + RUN <= n; i += RUN) {
        uint32_t v[RUN], bad = 0;
        memcpy(v, src + 4 * i, sizeof v);
        for (int j = 0; j < RUN; j++) bad |= (v[j] & exponent) == exponent;
        if (bad) return false;
    }
    for (; i < n; i++)
        if ((load_u32(src + 4 * i) & exponent) == exponent) return false;
    return true;
}

static bool finite64(const uint8_t *src, size_t n) {
    const uint64_t exponent = UINT64_C(0x7FF) << 52;
    for (size_t i = 0; i < n; i++)
        if ((load_u64(src + 8 * i) & exponent) == exponent) return false;
    return true;
}

static bool finite_bits(uint16_t f16) { return (f16 & 0x7C00) != 0x7C00; }

static bool finite_iq1_m(const uint8_t *block, size_t blocks) {
    for (size_t b = 0; b < blocks; b++, block += 56)
        if (!finite_bits(quant_iq1_m_scale(block))) return false;
    return true;
}

/* Exponent 255 is E8M0's NaN. From 253 on it depends on the elements: 8 * 2^125 is no f32 any more. */
static bool finite_mxfp4(const uint8_t *block, size_t blocks) {
    for (size_t b = 0; b < blocks; b++, block += 17) {
        if (block[0] < 253) continue;
        if (block[0] == 255) return false;
        float y[32];
        quant_decode_mxfp4(block, y, 32);
        if (!finite32((const uint8_t *)y, 32)) return false;
    }
    return true;
}

/* 0x7F is E4M3's NaN, with or without the sign bit. Decoding reads it as 0, but no quantiser writes it. */
static bool finite_nvfp4(const uint8_t *block, size_t blocks) {
    for (size_t b = 0; b < blocks; b++, block += 36)
        for (int i = 0; i < 4; i++)
            if ((block[i] & 0x7F) == 0x7F) return false;
    return true;
}

bool quant_finite(QuantType type, const void *src, size_t n) {
    const QuantTraits *t = quant_traits(type);
    if (!t) return false;
    const uint8_t *block = src;
    size_t blocks = n / t->block_elems;
    switch (type) {
    case QUANT_F32: return finite32(src, n);
    case QUANT_F16: return finite16(src, n, 0x7C00);
    case QUANT_BF16: return finite16(src, n, 0x7F80);
    case QUANT_F64: return finite64(src, n);
    case QUANT_IQ1_M: return finite_iq1_m(src, blocks);
    case QUANT_MXFP4: return finite_mxfp4(src, blocks);
    case QUANT_NVFP4: return finite_nvfp4(src, blocks);
    default: break;
    }
    if (t->n_scales == 0) return true; /* integers */
    for (size_t b = 0; b < blocks; b++, block += t->block_bytes)
        for (size_t i = 0; i < t->n_scales; i++)
            if (!finite_bits(load_u16(block + t->scale_offset + 2 * i))) return false;
    return true;
}
