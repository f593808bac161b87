/* Random blocks. All bytes of a block are random but its scales, which are written such that the decoded values have mean 0 and a given
 * root mean square. How the scales must be is measured, not derived: a few blocks are decoded by the decoder of quant/. So every
 * format that quant/ can decode can be made. */
#include "forge/inside.h"

#include <math.h>
#include <string.h>

enum { SAMPLE_BLOCKS = 64, MAX_BLOCK_BYTES = 256, MAX_BLOCK_ELEMS = 256, IQ1_M_SCALES = 48 };

static void put_u16(uint8_t *at, uint16_t v) {
    at[0] = (uint8_t)v;
    at[1] = (uint8_t)(v >> 8);
}

/* The sign of a block comes from its own random bytes: without it, formats whose codes are not symmetric would add a constant to
 * everything, layer after layer. */
static void put_scales(const ForgeRecipe *r, const QuantTraits *t, uint8_t *block) {
    uint8_t *at = block + t->scale_offset;
    uint16_t sign = (uint16_t)((at[1] & 0x80) << 8);
    put_u16(at, r->first ^ sign);
    if (t->n_scales > 1) put_u16(at + 2, r->second ^ sign);
}

/* IQ1_M keeps its scale in the top four bits of four words; the topmost bit of all, its sign, stays random. */
static void put_iq1_m(const ForgeRecipe *r, uint8_t *block) {
    for (int i = 0; i < 4; i++) {
        uint8_t *high = block + IQ1_M_SCALES + (size_t)(2 * i + 1);
        uint8_t nibble = (uint8_t)((r->first >> 4 * i & 15) << 4), keep = i == 3 ? 0x8F : 0x0F;
        *high = (uint8_t)((*high & keep) | nibble);
    }
}

static uint8_t either(const ForgeRecipe *r, uint8_t random) { return random < r->share ? r->code : (uint8_t)(r->code + 1); }

static void put_block_scales(const ForgeRecipe *r, uint8_t *blocks, uint64_t n) {
    const QuantTraits *t = quant_traits(r->type);
    for (uint64_t b = 0; b < n; b++, blocks += t->block_bytes) {
        if (t->n_scales) put_scales(r, t, blocks);
        else if (r->type == QUANT_IQ1_M) put_iq1_m(r, blocks);
        else if (r->type == QUANT_MXFP4) blocks[0] = either(r, blocks[0]);
        else
            for (int i = 0; i < 4; i++) blocks[i] = either(r, blocks[i]); /* NVFP4 */
    }
}

static bool is_plain(QuantType type) { return type == QUANT_F32 || type == QUANT_F16 || type == QUANT_BF16; }

/* 16 random bits to a uniform number with the recipe's root mean square. */
static float uniform(const ForgeRecipe *r, uint64_t bits) { return ((float)(bits & 0xFFFF) - 32767.5f) * (r->rms * 0x1.bb67aep-15f); }

static void plain_numbers(const ForgeRecipe *r, Xoshiro *random, uint8_t *dst, uint64_t n) {
    uint64_t bits = 0;
    for (uint64_t i = 0; i < n; i++, bits >>= 16) {
        if (i % 4 == 0) bits = xoshiro_next(random);
        float v = uniform(r, bits);
        if (r->type == QUANT_F32) memcpy(dst + 4 * i, &v, sizeof v);
        else put_u16(dst + 2 * i, r->type == QUANT_F16 ? quant_f32_to_f16(v) : quant_f32_to_bf16(v));
    }
}

static void random_bytes(Xoshiro *random, uint8_t *dst, uint64_t bytes) {
    for (uint64_t i = 0; i < bytes; i += 8) {
        uint64_t v = xoshiro_next(random);
        memcpy(dst + i, &v, sizeof v);
    }
}

void forge_blocks(const ForgeRecipe *r, Xoshiro *random, uint8_t *dst, uint64_t n) {
    if (is_plain(r->type)) {
        plain_numbers(r, random, dst, n);
        return;
    }
    random_bytes(random, dst, n * quant_traits(r->type)->block_bytes);
    put_block_scales(r, dst, n);
}

/* ---- measuring a format ---- */

typedef struct Moments {
    double mean, rms;
} Moments;

/* Of the values that the same sample of blocks has with the scales of this recipe. */
static Moments moments(const ForgeRecipe *r) {
    const QuantTraits *t = quant_traits(r->type);
    uint8_t block[MAX_BLOCK_BYTES + FORGE_BLOCKS_SLACK] = {0};
    float values[MAX_BLOCK_ELEMS];
    Xoshiro random;
    double sum = 0, squares = 0;
    xoshiro_seed(&random, 1);
    for (int b = 0; b < SAMPLE_BLOCKS; b++) {
        random_bytes(&random, block, t->block_bytes);
        if (t->n_scales) block[t->scale_offset + 1] = 0; /* the sign is no matter of size */
        put_block_scales(r, block, 1);
        quant_decode(r->type, block, values, t->block_elems);
        for (uint32_t i = 0; i < t->block_elems; i++) {
            sum += (double)values[i];
            squares += (double)values[i] * (double)values[i];
        }
    }
    double n = (double)SAMPLE_BLOCKS * t->block_elems;
    return (Moments){sum / n, sqrt(squares / n)};
}

static uint16_t half(double v) {
    uint16_t bits = quant_f32_to_f16((float)v);
    return bits & 0x7FFF ? bits : (uint16_t)(bits | 1); /* a scale of 0 would make weights of 0 */
}

static void f16_scales(ForgeRecipe *r, double rms) {
    ForgeRecipe one = {.type = r->type, .first = half(1)};
    double ratio = 0;
    if (quant_traits(r->type)->n_scales > 1) {
        ForgeRecipe other = {.type = r->type, .second = half(1)};
        ratio = -moments(&one).mean / moments(&other).mean; /* so much of the minimum takes the mean away */
        one.second = half(ratio);
    }
    double d = rms / moments(&one).rms;
    r->first = half(d);
    r->second = half(d * ratio);
}

/* Scales of 8 bits grow in coarse steps: two neighbours are mixed such that the mean square is right. */
static void code_scales(ForgeRecipe *r, double rms) {
    ForgeRecipe low = {.type = r->type, .code = 0, .share = 0}; /* share 0: always code + 1 */
    int last = r->type == QUANT_MXFP4 ? 250 : 124;
    double below = moments(&low).rms, above = below;
    for (int code = 1; code <= last; code++) {
        low.code = (uint8_t)code;
        above = moments(&low).rms;
        if (above > rms) break;
        below = above;
    }
    r->code = low.code;
    double share = above > below ? (above * above - rms * rms) / (above * above - below * below) : 0;
    r->share = (uint8_t)(share < 0 ? 0 : share > 1 ? 255 : share * 255);
}

ErrCode forge_recipe(ForgeRecipe *r, QuantType type, double rms, Err *err) {
    const QuantTraits *t = quant_traits(type);
    *r = (ForgeRecipe){.type = type, .rms = (float)rms};
    if (!t->decode || t->block_bytes > MAX_BLOCK_BYTES || t->block_elems > MAX_BLOCK_ELEMS)
        return err_set(err, ERR_UNSUPPORTED, "%s is no number format of weights", t->name);
    if (is_plain(type)) return ERR_OK;
    if (t->n_scales || type == QUANT_IQ1_M) {
        f16_scales(r, rms);
        return ERR_OK;
    }
    if (type != QUANT_MXFP4 && type != QUANT_NVFP4)
        return err_set(err, ERR_UNSUPPORTED, "random weights of type %s cannot be made", t->name);
    code_scales(r, rms);
    return ERR_OK;
}
