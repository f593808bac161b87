/* NEON rung: weight rows times activations. A row is unpacked once for a tile of tokens; group.h has the formula of the integer
 * products, scalar_matmul.c its plain form. */
#include "kernels/neon.h"

enum {
    TILE = KERNELS_NEON_TILE, /* tokens at a time: their activations stay in the second cache while all rows pass by */
    FEW = 3,                  /* tokens for which a row is multiplied as it lies; for more, see tile_neon.c and tile_i8mm.c */
};

/* ---- quantised activations ------------------------------------------------------------------------------------------ */

/* Adds the products of one group to the 8 block lanes of one token. has_sub, has_min: the type has scales per run, minima. */
ALWAYS_INLINE void add_group(bool has_sub, bool has_min, const Group *g, const KernelsActGroup *x, float32x4_t lanes[2]) {
    const int32x4_t zero = vdupq_n_s32(0);
    UNROLL for (size_t h = 0; h < 2; h++) { /* blocks 4h .. 4h + 3 */
        int32x4_t blocks[4], runs[2];
        UNROLL for (size_t p = 0; p < 4; p++) {
            const int8_t *w = g->w + 128 * h + 32 * p, *q = x->q + 128 * h + 32 * p;
            int32x4_t first = vdotq_s32(zero, vld1q_s8(w), vld1q_s8(q));
            if (has_sub) blocks[p] = vpaddq_s32(first, vdotq_s32(zero, vld1q_s8(w + 16), vld1q_s8(q + 16)));
            else blocks[p] = vdotq_s32(first, vld1q_s8(w + 16), vld1q_s8(q + 16));
        }
        UNROLL for (size_t p = 0; p < 2; p++) runs[p] = vpaddq_s32(blocks[2 * p], blocks[2 * p + 1]);
        if (has_sub) { /* runs[p]: the sums of four runs; else of two blocks, two parts each */
            int16x8_t sub = vld1q_s16(g->sub + 8 * h);
            runs[0] = vmulq_s32(runs[0], vmovl_s16(vget_low_s16(sub)));
            runs[1] = vmulq_s32(runs[1], vmovl_high_s16(sub));
        }
        float32x4_t x_scale = vld1q_f32(x->scale + 4 * h), sum = vcvtq_f32_s32(vpaddq_s32(runs[0], runs[1]));
        lanes[h] = vfmaq_f32(lanes[h], vmulq_f32(vld1q_f32(g->scale + 4 * h), x_scale), sum);
        if (!has_min) continue;
        float32x4_t min_sum = vcvtq_f32_s32(neon_min_sums(vld1q_s16(g->min_sub + 8 * h), vld1q_s16(x->sums + 8 * h)));
        lanes[h] = vfmaq_f32(lanes[h], vmulq_f32(vld1q_f32(g->min + 4 * h), x_scale), min_sum);
    }
}

ALWAYS_INLINE void integer_row(bool has_sub, bool has_min, QuantType type, const uint8_t *row, size_t n, const KernelsActs *acts,
                               size_t n_tokens, float *y, size_t y_stride) {
    float32x4_t lanes[FEW][2];
    Group g;
    size_t bytes = kernels_group_bytes(type);
    for (size_t t = 0; t < n_tokens; t++) lanes[t][0] = lanes[t][1] = vdupq_n_f32(0.0f);
    for (size_t i = 0; i * GROUP_ELEMS < n; i++, row += bytes) {
        size_t rest = n - i * GROUP_ELEMS;
        kernels_neon_unpack(type, row, rest < GROUP_ELEMS ? rest / 32 : GROUP_BLOCKS, &g);
        for (size_t t = 0; t < n_tokens; t++) add_group(has_sub, has_min, &g, &acts[t].groups[i], lanes[t]);
    }
    for (size_t t = 0; t < n_tokens; t++) y[t * y_stride] = neon_fold4(vaddq_f32(lanes[t][0], lanes[t][1]));
}

/* At most FEW tokens, all quantised. */
static void integer_few(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens, float *y,
                        size_t y_stride) {
    size_t row_bytes = (size_t)quant_row_bytes(type, n);
    bool has_sub = group_form(type).sub != GROUP_SUB_NONE, has_min = group_form(type).has_min;
    for (size_t r = 0; r < n_rows; r++, w += row_bytes, y++) {
        if (has_sub && has_min) integer_row(true, true, type, w, n, acts, n_tokens, y, y_stride);
        else if (has_sub) integer_row(true, false, type, w, n, acts, n_tokens, y, y_stride);
        else if (has_min) integer_row(false, true, type, w, n, acts, n_tokens, y, y_stride);
        else integer_row(false, false, type, w, n, acts, n_tokens, y, y_stride);
    }
}

/* ---- f32 activations ------------------------------------------------------------------------------------------------ */

/* At most TILE tokens. scratch: [n], the decoded row. */
static void float_tile(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens, float *y,
                       size_t y_stride, float *scratch) {
    const float *x[TILE];
    float out[TILE];
    size_t row_bytes = (size_t)quant_row_bytes(type, n);
    bool plain = type == QUANT_F32 || type == QUANT_F16 || type == QUANT_BF16;
    for (size_t t = 0; t < n_tokens; t++) x[t] = acts[t].x;
    for (size_t r = 0; r < n_rows; r++, w += row_bytes, y++) {
        if (plain) {
            kernels_neon_dots(type, w, x, n_tokens, n, out);
        } else {
            if (kernels_has_integer(type)) kernels_neon_decode(type, w, scratch, n);
            else quant_decode(type, w, scratch, n);
            kernels_neon_dots(QUANT_F32, scratch, x, n_tokens, n, out);
        }
        for (size_t t = 0; t < n_tokens; t++) y[t * y_stride] = out[t];
    }
}

typedef void IntegerTile(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens, float *y,
                         size_t y_stride);

/* Tokens are taken in tiles of neighbours that want the same arithmetic. */
static void matmul(IntegerTile *integer_tile, QuantType type, const void *w, size_t n_rows, size_t n, const KernelsActs *acts,
                   size_t n_tokens, float *y, size_t y_stride, float *scratch) {
    bool has_integer = kernels_has_integer(type);
    for (size_t first = 0, count; first < n_tokens; first += count) {
        bool integer = has_integer && acts[first].groups;
        for (count = 1; count < TILE && first + count < n_tokens; count++)
            if (integer != (has_integer && acts[first + count].groups)) break;
        float *out = y + first * y_stride;
        if (!integer) float_tile(type, w, n_rows, n, acts + first, count, out, y_stride, scratch);
        else if (count > FEW) integer_tile(type, w, n_rows, n, acts + first, count, out, y_stride);
        else integer_few(type, w, n_rows, n, acts + first, count, out, y_stride);
    }
}

void kernels_neon_matmul(QuantType type, const void *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens, float *y,
                         size_t y_stride, float *scratch) {
    matmul(kernels_neon_integer_tile, type, w, n_rows, n, acts, n_tokens, y, y_stride, scratch);
}

void kernels_i8mm_matmul(QuantType type, const void *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens, float *y,
                         size_t y_stride, float *scratch) {
    matmul(kernels_i8mm_integer_tile, type, w, n_rows, n, acts, n_tokens, y, y_stride, scratch);
}
