/* NEON rung: integer products of many rows with many tokens, the prefill's loop. The same integers as matmul_neon.c finds for few
 * tokens, hence the same bits, with less work per token.
 *
 * A group is 8 blocks b of 32 elements. Here it is turned, as KernelsActGroup has it: vector 2k + h holds elements 4k .. 4k + 3 of
 * blocks 4h .. 4h + 3, so that one instruction adds four products to the sum of each of four blocks, and no sum has to be taken
 * inside a vector. Elements 0..15 of a block, its first run, are k = 0..3. A row's group is turned once for all tokens (32 shuffles)
 * and then stands in registers. */
#include "kernels/neon.h"

enum { TOKENS = KERNELS_NEON_TILE, ROWS = 16 }; /* lanes, and the current group of all tokens: the first cache */

/* The current group of one row. */
typedef struct Weights {
    int8x16_t w[16];     /* turned */
    int32x4_t sub[2][2]; /* [run of the block][h]; types with scales per run only */
    float32x4_t scale[2];
} Weights;

/* Four vectors of four 32-bit elements, transposed. */
ALWAYS_INLINE void turn(const int8_t *rows[4], int8x16_t out[4], size_t step) {
    int32x4_t v[4];
    UNROLL for (size_t i = 0; i < 4; i++) v[i] = vreinterpretq_s32_s8(vld1q_s8(rows[i]));
    int64x2_t low01 = vreinterpretq_s64_s32(vzip1q_s32(v[0], v[1])), low23 = vreinterpretq_s64_s32(vzip1q_s32(v[2], v[3]));
    int64x2_t high01 = vreinterpretq_s64_s32(vzip2q_s32(v[0], v[1])), high23 = vreinterpretq_s64_s32(vzip2q_s32(v[2], v[3]));
    out[0] = vreinterpretq_s8_s64(vzip1q_s64(low01, low23));
    out[step] = vreinterpretq_s8_s64(vzip2q_s64(low01, low23));
    out[2 * step] = vreinterpretq_s8_s64(vzip1q_s64(high01, high23));
    out[3 * step] = vreinterpretq_s8_s64(vzip2q_s64(high01, high23));
}

ALWAYS_INLINE void load_weights(Weights *r, bool has_sub, const Group *g) {
    UNROLL for (size_t h = 0; h < 2; h++) {
        UNROLL for (size_t run = 0; run < 2; run++) {
            const int8_t *w = g->w + 128 * h + 16 * run;
            turn((const int8_t *[4]){w, w + 32, w + 64, w + 96}, r->w + 8 * run + h, 2);
        }
        r->scale[h] = vld1q_f32(g->scale + 4 * h);
        if (!has_sub) continue;
        int16x8_t sub = vld1q_s16(g->sub + 8 * h);
        r->sub[0][h] = vmovl_s16(vget_low_s16(vuzp1q_s16(sub, sub)));
        r->sub[1][h] = vmovl_s16(vget_low_s16(vuzp2q_s16(sub, sub)));
    }
}

/* The float part is that of group.h. */
ALWAYS_INLINE void add_group(bool has_sub, bool has_min, const Weights *r, const Group *g, const KernelsActGroup *x,
                             float32x4_t lanes[2]) {
    UNROLL for (size_t h = 0; h < 2; h++) {
        int32x4_t runs[2] = {vdupq_n_s32(0), vdupq_n_s32(0)};
        UNROLL for (size_t k = 0; k < 8; k++) {
            int32x4_t *sum = &runs[has_sub ? k / 4 : 0];
            *sum = vdotq_s32(*sum, r->w[2 * k + h], vld1q_s8(x->turned + 32 * k + 16 * h));
        }
        if (has_sub) runs[0] = vmlaq_s32(vmulq_s32(runs[0], r->sub[0][h]), runs[1], r->sub[1][h]);
        float32x4_t x_scale = vld1q_f32(x->scale + 4 * h);
        lanes[h] = vfmaq_f32(lanes[h], vmulq_f32(r->scale[h], x_scale), vcvtq_f32_s32(runs[0]));
        if (!has_min) continue;
        float32x4_t min_sum = vcvtq_f32_s32(neon_min_sums(vld1q_s16(g->min_sub + 8 * h), vld1q_s16(x->sums + 8 * h)));
        lanes[h] = vfmaq_f32(lanes[h], vmulq_f32(vld1q_f32(g->min + 4 * h), x_scale), min_sum);
    }
}

/* Group number `at` of one row for all tokens. lanes: [n_tokens][2]. */
ALWAYS_INLINE void add_row(bool has_sub, bool has_min, const Group *g, const KernelsActs *acts, size_t n_tokens, size_t at,
                           float32x4_t (*lanes)[2]) {
    Weights r;
    load_weights(&r, has_sub, g);
    for (size_t t = 0; t < n_tokens; t++) add_group(has_sub, has_min, &r, g, &acts[t].groups[at], lanes[t]);
}

void kernels_neon_integer_tile(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens,
                               float *y, size_t y_stride) {
    Group g;
    float32x4_t lanes[ROWS][TOKENS][2];
    bool has_sub = group_form(type).sub != GROUP_SUB_NONE, has_min = group_form(type).has_min;
    size_t row_bytes = (size_t)quant_row_bytes(type, n), bytes = kernels_group_bytes(type);
    for (size_t top = 0; top < n_rows; top += ROWS, w += ROWS * row_bytes) {
        size_t rows = n_rows - top < ROWS ? n_rows - top : ROWS;
        memset(lanes, 0, rows * sizeof lanes[0]);
        for (size_t at = 0; at * GROUP_ELEMS < n; at++) {
            size_t rest = n - at * GROUP_ELEMS, n_blocks = rest < GROUP_ELEMS ? rest / 32 : GROUP_BLOCKS;
            for (size_t r = 0; r < rows; r++) {
                kernels_neon_unpack(type, w + r * row_bytes + at * bytes, n_blocks, &g);
                if (has_sub && has_min) add_row(true, true, &g, acts, n_tokens, at, lanes[r]);
                else if (has_sub) add_row(true, false, &g, acts, n_tokens, at, lanes[r]);
                else if (has_min) add_row(false, true, &g, acts, n_tokens, at, lanes[r]);
                else add_row(false, false, &g, acts, n_tokens, at, lanes[r]);
            }
        }
        for (size_t r = 0; r < rows; r++)
            for (size_t t = 0; t < n_tokens; t++) y[t * y_stride + top + r] = neon_fold4(vaddq_f32(lanes[r][t][0], lanes[r][t][1]));
    }
}
