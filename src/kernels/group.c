/* The scalar truth of unpacking weights into groups. Layouts as in the quant room (legacy.c, kquants.c, iquants.c, fp4.c). */
#include "kernels/codebook.h"
#include "kernels/group.h"
#include "kernels/kernels.h"

#include <assert.h>
#include <string.h>

const int8_t kernels_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
const int8_t group_fp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* A minimum makes negative weights unnecessary, and loops that add an offset to make them unsigned count on that. */
#define X(NAME, name, low, high, sub, has_min) _Static_assert((low) >= -128 && (high) <= 127 && (!(has_min) || (low) >= 0), #NAME);
GROUP_LIST(X)
#undef X

bool kernels_has_integer(QuantType type) {
    switch (type) {
#define X(NAME, ...) case QUANT_##NAME:
        GROUP_LIST(X) return true;
#undef X
    default: return false;
    }
}

size_t kernels_group_bytes(QuantType type) {
    const QuantTraits *t = quant_traits(type);
    return (size_t)t->block_bytes * (GROUP_ELEMS / t->block_elems);
}

const uint8_t *kernels_group_filled_up(QuantType type, const uint8_t *src, size_t n_blocks, uint8_t whole[GROUP_BYTES_MAX]) {
    size_t block_bytes = kernels_group_bytes(type) / GROUP_BLOCKS;
    assert(block_bytes * GROUP_BLOCKS <= GROUP_BYTES_MAX);
    memcpy(whole, src, n_blocks * block_bytes);
    memset(whole + n_blocks * block_bytes, 0, GROUP_BYTES_MAX - n_blocks * block_bytes);
    return whole;
}

static float load_f16(const uint8_t *p) { return quant_f16_to_f32(load_u16(p)); }

/* ---- small types: block b of a group -------------------------------------------------------------------------------- */

/* Number i of 32 nibbles in 16 bytes: the low ones, then the high ones. */
static int nibble(const uint8_t *qs, size_t i) { return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4; }
static int fifth_bit(const uint8_t *qh, size_t i) { return (int)(load_u32(qh) >> i & 1) << 4; }

static void unpack_q4_0(const uint8_t *src, Group *g, size_t b) {
    g->scale[b] = load_f16(src);
    for (size_t i = 0; i < 32; i++) g->w[32 * b + i] = (int8_t)(nibble(src + 2, i) - 8);
}

static void unpack_q4_1(const uint8_t *src, Group *g, size_t b) {
    g->scale[b] = load_f16(src);
    g->min[b] = load_f16(src + 2);
    for (size_t i = 0; i < 32; i++) g->w[32 * b + i] = (int8_t)nibble(src + 4, i);
}

static void unpack_q5_0(const uint8_t *src, Group *g, size_t b) {
    g->scale[b] = load_f16(src);
    for (size_t i = 0; i < 32; i++) g->w[32 * b + i] = (int8_t)((nibble(src + 6, i) | fifth_bit(src + 2, i)) - 16);
}

static void unpack_q5_1(const uint8_t *src, Group *g, size_t b) {
    g->scale[b] = load_f16(src);
    g->min[b] = load_f16(src + 2);
    for (size_t i = 0; i < 32; i++) g->w[32 * b + i] = (int8_t)(nibble(src + 8, i) | fifth_bit(src + 4, i));
}

static void unpack_q8_0(const uint8_t *src, Group *g, size_t b) {
    g->scale[b] = load_f16(src);
    memcpy(g->w + 32 * b, src + 2, 32);
}

static void unpack_iq4_nl(const uint8_t *src, Group *g, size_t b) {
    g->scale[b] = load_f16(src);
    for (size_t i = 0; i < 32; i++) g->w[32 * b + i] = kernels_iq4_values[nibble(src + 2, i)];
}

static void unpack_mxfp4(const uint8_t *src, Group *g, size_t b) {
    g->scale[b] = group_mxfp4_scale(src[0]);
    for (size_t i = 0; i < 32; i++) g->w[32 * b + i] = group_fp4_values[nibble(src + 1, i)];
}

static void unpack_small(QuantType type, const uint8_t *src, size_t n_blocks, Group *g) {
    size_t block_bytes = quant_traits(type)->block_bytes;
    if (n_blocks < GROUP_BLOCKS) memset(g, 0, sizeof *g);
    for (size_t b = 0; b < n_blocks; b++, src += block_bytes) {
        switch (type) {
#define X(NAME, name, ...) case QUANT_##NAME: unpack_##name(src, g, b); break;
            GROUP_SMALL_LIST(X)
#undef X
        default: break;
        }
        g->sub[2 * b] = g->sub[2 * b + 1] = 1;
        g->min_sub[2 * b] = g->min_sub[2 * b + 1] = 1;
    }
}

/* ---- superblocks ---------------------------------------------------------------------------------------------------- */

/* One scale and one minimum for the whole superblock; what blocks have of their own are integers. */
static void set_scales(Group *g, float scale, float min) {
    for (size_t b = 0; b < GROUP_BLOCKS; b++) {
        g->scale[b] = scale;
        g->min[b] = min;
    }
}

static void unpack_q2_k(const uint8_t *src, Group *g) {
    const uint8_t *qs = src + 16;
    set_scales(g, load_f16(src + 80), -load_f16(src + 82));
    for (size_t e = 0; e < GROUP_ELEMS; e++) g->w[e] = qs[e / 128 * 32 + e % 32] >> (e % 128 / 32 * 2) & 3;
    for (size_t s = 0; s < GROUP_RUNS; s++) {
        g->sub[s] = src[s] & 15;
        g->min_sub[s] = src[s] >> 4;
    }
}

static void unpack_q3_k(const uint8_t *src, Group *g) {
    const uint8_t *hmask = src, *qs = src + 32, *scales = src + 96;
    set_scales(g, load_f16(src + 108), 0.0f);
    for (size_t e = 0; e < GROUP_ELEMS; e++) {
        int low = qs[e / 128 * 32 + e % 32] >> (e % 128 / 32 * 2) & 3, high = hmask[e % 32] >> (e / 32) & 1;
        g->w[e] = (int8_t)(low + 4 * high - 4);
    }
    for (size_t s = 0; s < GROUP_RUNS; s++) {
        int low = s < 8 ? scales[s] & 15 : scales[s - 8] >> 4;
        g->sub[s] = (int16_t)((low | (scales[8 + s % 4] >> (s / 4 * 2) & 3) << 4) - 32);
    }
}

/* Q4_K and Q5_K: a scale and a minimum of six bits for each of eight blocks, in 12 bytes. Of blocks 0..3 they are the lower six bits of
 * s[0..3] and s[4..7]. Those of blocks 4..7 are in pieces: the lower four bits of both are the nibbles of s[8..11], the upper two are
 * what the first eight bytes have left. */
static void unpack_scales_and_mins(const uint8_t *s, Group *g) {
    for (size_t b = 0; b < GROUP_BLOCKS; b++) {
        int scale = b < 4 ? s[b] & 63 : (s[b + 4] & 15) | s[b - 4] >> 6 << 4;
        int min = b < 4 ? s[b + 4] & 63 : s[b + 4] >> 4 | s[b] >> 6 << 4;
        g->sub[2 * b] = g->sub[2 * b + 1] = (int16_t)scale;
        g->min_sub[2 * b] = g->min_sub[2 * b + 1] = (int16_t)min;
    }
}

/* 144 bytes: two f16, which all blocks share, the 12 bytes above, and qs[4][32], of which each byte has an element of two blocks, that
 * of the even one in its low nibble. An element is scale * sub * w - min * min_sub. */
static void unpack_q4_k(const uint8_t *src, Group *g) {
    const uint8_t *qs = src + 16;
    set_scales(g, load_f16(src), -load_f16(src + 2));
    unpack_scales_and_mins(src + 4, g);
    for (size_t e = 0; e < GROUP_ELEMS; e++) g->w[e] = qs[e / 64 * 32 + e % 32] >> (e / 32 % 2 * 4) & 15;
}

/* The same with a fifth bit: that of element i of block b is bit b of qh[i]. */
static void unpack_q5_k(const uint8_t *src, Group *g) {
    const uint8_t *qh = src + 16, *qs = src + 48;
    set_scales(g, load_f16(src), -load_f16(src + 2));
    unpack_scales_and_mins(src + 4, g);
    for (size_t e = 0; e < GROUP_ELEMS; e++) {
        int low = qs[e / 64 * 32 + e % 32] >> (e / 32 % 2 * 4) & 15, high = qh[e % 32] >> (e / 32) & 1;
        g->w[e] = (int8_t)(low | high << 4);
    }
}

static void unpack_q6_k(const uint8_t *src, Group *g) {
    const uint8_t *ql = src, *qh = src + 128;
    set_scales(g, load_f16(src + 208), 0.0f);
    for (size_t e = 0; e < GROUP_ELEMS; e++) {
        size_t half = e / 128, quarter = e % 128 / 32, i = e % 32;
        int low = ql[half * 64 + quarter % 2 * 32 + i] >> (quarter / 2 * 4) & 15;
        int high = qh[half * 32 + i] >> (quarter * 2) & 3;
        g->w[e] = (int8_t)((low | high << 4) - 32);
    }
    for (size_t s = 0; s < GROUP_RUNS; s++) g->sub[s] = (int8_t)src[192 + s];
}

static void unpack_iq4_xs(const uint8_t *src, Group *g) {
    const uint8_t *scales_low = src + 4, *qs = src + 8;
    uint16_t scales_high = load_u16(src + 2);
    set_scales(g, load_f16(src), 0.0f);
    for (size_t e = 0; e < GROUP_ELEMS; e++) g->w[e] = kernels_iq4_values[qs[e / 32 * 16 + e % 16] >> (e / 16 % 2 * 4) & 15];
    for (size_t b = 0; b < GROUP_BLOCKS; b++) {
        int scale = (scales_low[b / 2] >> (b % 2 * 4) & 15) | (scales_high >> (2 * b) & 3) << 4;
        g->sub[2 * b] = g->sub[2 * b + 1] = (int16_t)(scale - 32);
    }
}

static void unpack_points(QuantType type, const uint8_t *src, Group *g) {
    Codes codes;
    kernels_codebook_read(type, src, &codes, g);
    for (size_t e = 0; e < GROUP_ELEMS; e++) {
        int w = (int8_t)(codes.point[e / 8] >> e % 8 * 8 & 255), negative = codes.sign[e / 8] >> e % 8 & 1;
        if (kernels_codebook_is_ternary(type)) w += negative ? -1 : 1;
        else if (negative) w = -w;
        g->w[e] = (int8_t)w;
    }
}

void kernels_group_unpack(QuantType type, const uint8_t *src, size_t n_blocks, Group *g) {
    switch (type) {
#define X(NAME, name, ...) case QUANT_##NAME: unpack_##name(src, g); break;
        GROUP_SUPER_LIST(X)
#undef X
    default:
        if (group_has_points(type)) unpack_points(type, src, g);
        else unpack_small(type, src, n_blocks, g);
        break;
    }
}
