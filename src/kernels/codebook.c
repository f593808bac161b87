/* Points, signs and scales of the codebook types. Layouts as in the quant room (iquants.c). */
#include "kernels/codebook.h"

#include <string.h>

static uint64_t two_points(uint32_t low, uint32_t high) { return low | (uint64_t)high << 32; }

/* A point of IQ1, -1, 0 or 1, in eighths. */
static uint64_t eighths(uint64_t point) { return point << 3 & 0xF8F8F8F8F8F8F8F8; }

static uint32_t nibble(const uint8_t *bytes, size_t i) { return (uint32_t)(bytes[i / 2] >> (i % 2 * 4) & 15); }

static void set_scales(Group *g, uint16_t f16, float factor) {
    float scale = quant_f16_to_f32(f16) * factor; /* factor: a power of two */
    for (size_t b = 0; b < GROUP_BLOCKS; b++) g->scale[b] = scale;
}

static void set_sub(Group *g, size_t run, size_t n_runs, uint32_t bits) {
    for (size_t s = run; s < run + n_runs; s++) g->sub[s] = (int16_t)(2 * bits + 1);
}

static void read_iq2_xxs(const uint8_t *src, Codes *c, Group *g) {
    set_scales(g, load_u16(src), 0.125f);
    for (size_t b = 0; b < GROUP_BLOCKS; b++) {
        const uint8_t *points = src + 2 + 8 * b;
        uint32_t rest = load_u32(points + 4); /* 4 x 7 bits of signs, then the scale */
        for (size_t l = 0; l < 4; l++) {
            c->point[4 * b + l] = quant_iq2xxs_grid[points[l]];
            c->sign[4 * b + l] = quant_ksigns_iq2xs[rest >> 7 * l & 127];
        }
        set_sub(g, 2 * b, 2, rest >> 28);
    }
}

static void read_iq2_xs(const uint8_t *src, Codes *c, Group *g) {
    set_scales(g, load_u16(src), 0.125f);
    for (size_t p = 0; p < 32; p++) {
        uint16_t q = load_u16(src + 2 + 2 * p);
        c->point[p] = quant_iq2xs_grid[q & 511];
        c->sign[p] = quant_ksigns_iq2xs[q >> 9];
    }
    for (size_t s = 0; s < GROUP_RUNS; s++) set_sub(g, s, 1, nibble(src + 66, s));
}

static void read_iq2_s(const uint8_t *src, Codes *c, Group *g) {
    set_scales(g, load_u16(src), 0.125f);
    for (size_t p = 0; p < 32; p++) c->point[p] = quant_iq2s_grid[src[2 + p] | (src[66 + p / 4] >> (p % 4 * 2) & 3) << 8];
    memcpy(c->sign, src + 34, 32);
    for (size_t s = 0; s < GROUP_RUNS; s++) set_sub(g, s, 1, nibble(src + 74, s));
}

static void read_iq3_xxs(const uint8_t *src, Codes *c, Group *g) {
    set_scales(g, load_u16(src), 0.25f);
    for (size_t p = 0; p < 32; p++) c->point[p] = two_points(quant_iq3xxs_grid[src[2 + 2 * p]], quant_iq3xxs_grid[src[3 + 2 * p]]);
    for (size_t b = 0; b < GROUP_BLOCKS; b++) {
        uint32_t rest = load_u32(src + 66 + 4 * b);
        for (size_t l = 0; l < 4; l++) c->sign[4 * b + l] = quant_ksigns_iq2xs[rest >> 7 * l & 127];
        set_sub(g, 2 * b, 2, rest >> 28);
    }
}

static void read_iq3_s(const uint8_t *src, Codes *c, Group *g) {
    set_scales(g, load_u16(src), 1.0f);
    for (size_t p = 0; p < 32; p++) {
        unsigned high = (unsigned)src[66 + p / 4] >> p % 4 * 2;
        uint32_t first = quant_iq3s_grid[src[2 + 2 * p] | (high & 1) << 8];
        c->point[p] = two_points(first, quant_iq3s_grid[src[3 + 2 * p] | (high >> 1 & 1) << 8]);
    }
    memcpy(c->sign, src + 74, 32);
    for (size_t b = 0; b < GROUP_BLOCKS; b++) set_sub(g, 2 * b, 2, nibble(src + 106, b));
}

static void read_iq1_s(const uint8_t *src, Codes *c, Group *g) {
    set_scales(g, load_u16(src), 0.125f);
    for (size_t b = 0; b < GROUP_BLOCKS; b++) {
        unsigned high = load_u16(src + 34 + 2 * b); /* 4 x 3 bits of the point, 3 of the scale, 1 of the delta */
        for (size_t l = 0; l < 4; l++) {
            c->point[4 * b + l] = eighths(quant_iq1s_grid[src[2 + 4 * b + l] | (high >> 3 * l & 7) << 8]);
            c->sign[4 * b + l] = high & 0x8000 ? 0xFF : 0;
        }
        set_sub(g, 2 * b, 2, high >> 12 & 7);
    }
}

static void read_iq1_m(const uint8_t *src, Codes *c, Group *g) {
    uint16_t words[4], d = 0; /* of each: 4 x 3 bits of scale, then four bits of d */
    for (size_t i = 0; i < 4; i++) {
        words[i] = load_u16(src + 48 + 2 * i);
        d = (uint16_t)(d | words[i] >> 12 << 4 * i);
    }
    set_scales(g, d, 0.125f);
    for (size_t p = 0; p < 32; p++) {
        unsigned high = (unsigned)src[32 + p / 2] >> p % 2 * 4; /* 3 bits of the point, 1 of the delta */
        c->point[p] = eighths(quant_iq1s_grid[src[p] | (high & 7) << 8]);
        c->sign[p] = high & 8 ? 0xFF : 0;
    }
    for (size_t s = 0; s < GROUP_RUNS; s++) set_sub(g, s, 1, (unsigned)words[s / 4] >> s % 4 * 3 & 7);
}

bool kernels_codebook_is_ternary(QuantType type) { return type == QUANT_IQ1_S || type == QUANT_IQ1_M; }

void kernels_codebook_read(QuantType type, const uint8_t *src, Codes *codes, Group *g) {
    switch (type) {
#define X(NAME, name, ...) case QUANT_##NAME: read_##name(src, codes, g); break;
        GROUP_POINT_LIST(X)
#undef X
    default: break;
    }
}
