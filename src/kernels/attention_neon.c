/* NEON rung, attention: queries against a block of keys, in tiles of up to four. Formulas and order: kernels.h; the scalar truth:
 * scalar_attention.c; layout: kv.h. Lanes are keys in the first half and elements of values in the second, so nothing is folded; a
 * number is converted in registers and used by all queries of the tile. */
#include "kernels/kv.h"
#include "kernels/neon.h"

enum { TILE = 4, VECTORS = KV_LANES / 4 };

/* Up to TILE queries. */
typedef struct Tile {
    const KernelsQuery *queries;
    float *p; /* [n][KERNELS_KEY_BLOCK] scores, then their exponentials */
} Tile;

/* Sixteen numbers as f32; of q8_0 their codes. */
typedef struct Numbers {
    float32x4_t v[VECTORS];
} Numbers;

ALWAYS_INLINE Numbers load_numbers(QuantType type, const uint8_t *p) {
    Numbers n;
    if (type == QUANT_Q8_0) {
        int8x16_t codes = vreinterpretq_s8_u8(vld1q_u8(p));
        int16x8_t low = vmovl_s8(vget_low_s8(codes)), high = vmovl_s8(vget_high_s8(codes));
        n.v[0] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(low)));
        n.v[1] = vcvtq_f32_s32(vmovl_s16(vget_high_s16(low)));
        n.v[2] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(high)));
        n.v[3] = vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)));
    } else {
        float32x4x2_t low = neon_load8(type, p, 0), high = neon_load8(type, p, 8);
        n.v[0] = low.val[0], n.v[1] = low.val[1], n.v[2] = high.val[0], n.v[3] = high.val[1];
    }
    return n;
}

/* acc[a] += factor[a][i] * numbers i, i from first to last; numbers i stand 16 apart. */
ALWAYS_INLINE void add_products(QuantType type, const uint8_t *numbers, size_t first, size_t last, const float *const *factor, size_t n_q,
                                Numbers *acc) {
    for (size_t i = first; i < last; i++) {
        Numbers n = load_numbers(type, numbers + i * KV_LANES * kv_bytes(type));
        UNROLL for (size_t a = 0; a < n_q; a++)
            UNROLL for (size_t c = 0; c < VECTORS; c++) acc[a].v[c] = vfmaq_n_f32(acc[a].v[c], n.v[c], factor[a][i]);
    }
}

ALWAYS_INLINE void no_sums(Numbers *acc, size_t n_q) {
    UNROLL for (size_t a = 0; a < n_q; a++) UNROLL for (size_t c = 0; c < VECTORS; c++) acc[a].v[c] = vdupq_n_f32(0.0f);
}

/* Scores of keys at .. at + 15. */
ALWAYS_INLINE void score_group(QuantType type, const uint8_t *keys, size_t dim, const Tile *tile, size_t n_q, size_t at) {
    Numbers total[TILE], acc[TILE];
    const float *q[TILE];
    keys += kv_key_at(type, dim, at, 0);
    UNROLL for (size_t a = 0; a < n_q; a++) q[a] = tile->queries[a].q;
    no_sums(total, n_q);
    if (type != QUANT_Q8_0) add_products(type, keys, 0, dim, q, n_q, total);
    for (size_t i = 0; type == QUANT_Q8_0 && i < dim; i += KV_RUN, keys += KV_KEY_RUN_BYTES) {
        no_sums(acc, n_q);
        add_products(type, keys, 0, KV_RUN, q, n_q, acc);
        Numbers scale = load_numbers(QUANT_F16, keys + kv_key_scale(dim, 0, 0));
        UNROLL for (size_t a = 0; a < n_q; a++) {
            UNROLL for (size_t c = 0; c < VECTORS; c++) total[a].v[c] = vfmaq_f32(total[a].v[c], scale.v[c], acc[a].v[c]);
            q[a] += KV_RUN;
        }
    }
    UNROLL for (size_t a = 0; a < n_q; a++)
        UNROLL for (size_t c = 0; c < VECTORS; c++) vst1q_f32(tile->p + a * KERNELS_KEY_BLOCK + at + 4 * c, total[a].v[c]);
}

/* Weights times the scales of a run of values. */
static void scale_weights(const uint8_t *scales, const float *p, size_t n, float *scaled) {
    for (size_t t = 0; t < n; t += 8) { /* the arrays go on to the end of the block */
        float32x4x2_t s = neon_load8(QUANT_F16, scales, t);
        vst1q_f32(scaled + t, vmulq_f32(vld1q_f32(p + t), s.val[0]));
        vst1q_f32(scaled + t + 4, vmulq_f32(vld1q_f32(p + t + 4), s.val[1]));
    }
}

/* Elements i .. i + 15. Where queries see different numbers of keys, the last ones are weighed for one query at a time. */
ALWAYS_INLINE void weigh_panel(QuantType type, const uint8_t *values, size_t dim, const Tile *tile, size_t n_q, const float *const *p,
                               size_t i) {
    Numbers sums[TILE];
    const uint8_t *panel = values + kv_value_at(type, 0, i);
    size_t n = dim - i < KV_LANES ? dim - i : KV_LANES, fewest = KERNELS_KEY_BLOCK;
    UNROLL for (size_t a = 0; a < n_q; a++) fewest = tile->queries[a].n_keys < fewest ? tile->queries[a].n_keys : fewest;
    no_sums(sums, n_q);
    add_products(type, panel, 0, fewest, p, n_q, sums);
    UNROLL for (size_t a = 0; a < n_q; a++) {
        add_products(type, panel, fewest, tile->queries[a].n_keys, p + a, 1, sums + a);
        memcpy(tile->queries[a].part + i, &sums[a], n * sizeof(float));
    }
}

/* Elements i .. i + 31: the panels that share scales. */
ALWAYS_INLINE void weigh_run(QuantType type, const uint8_t *values, size_t dim, const Tile *tile, size_t n_q, size_t i) {
    float scaled[TILE][KERNELS_KEY_BLOCK];
    const float *p[TILE];
    UNROLL for (size_t a = 0; a < n_q; a++) {
        p[a] = tile->p + a * KERNELS_KEY_BLOCK;
        if (type != QUANT_Q8_0) continue;
        scale_weights(values + kv_value_scale(0, i / KV_RUN), p[a], tile->queries[a].n_keys, scaled[a]);
        p[a] = scaled[a];
    }
    for (size_t e = i; e < dim && e < i + KV_RUN; e += KV_LANES) weigh_panel(type, values, dim, tile, n_q, p, e);
}

ALWAYS_INLINE void attention(QuantType type, const uint8_t *keys, const uint8_t *values, size_t dim, const KernelsQuery *queries, size_t n,
                             float *p) {
    size_t most = 0;
    for (size_t a = 0; a < n; a++) most = queries[a].n_keys > most ? queries[a].n_keys : most;
    for (size_t at = 0; at < most; at += KV_LANES)
        for (size_t a = 0, left = n, size; left; a += size, left -= size) {
            Tile tile = {queries + a, p + a * KERNELS_KEY_BLOCK};
            size = left >= TILE ? TILE : 1;
            if (size == TILE) score_group(type, keys, dim, &tile, TILE, at);
            else score_group(type, keys, dim, &tile, 1, at);
        }
    for (size_t a = 0; a < n; a++) {
        float *part = queries[a].part, *scores = p + a * KERNELS_KEY_BLOCK;
        part[dim] = kernels_neon_max(scores, queries[a].n_keys);
        part[dim + 1] = kernels_neon_exp_sum(scores, part[dim], queries[a].n_keys);
    }
    for (size_t i = 0; i < dim; i += KV_RUN)
        for (size_t a = 0, left = n, size; left; a += size, left -= size) {
            Tile tile = {queries + a, p + a * KERNELS_KEY_BLOCK};
            size = left >= TILE ? TILE : 1;
            if (size == TILE) weigh_run(type, values, dim, &tile, TILE, i);
            else weigh_run(type, values, dim, &tile, 1, i);
        }
}

void kernels_neon_attention(QuantType type, const void *keys, const void *values, size_t dim, const KernelsQuery *queries, size_t n,
                            float *scratch) {
    if (type == QUANT_F32) attention(QUANT_F32, keys, values, dim, queries, n, scratch);
    if (type == QUANT_F16) attention(QUANT_F16, keys, values, dim, queries, n, scratch);
    if (type == QUANT_Q8_0) attention(QUANT_Q8_0, keys, values, dim, queries, n, scratch);
}

void kernels_neon_attention_join(float *total, const float *part, size_t dim) {
    float max = part[dim] > total[dim] ? part[dim] : total[dim];
    float keep = poly_exp(total[dim] - max), take = poly_exp(part[dim] - max);
    size_t i = 0;
    for (; i + 4 <= dim; i += 4)
        vst1q_f32(total + i, vfmaq_n_f32(vmulq_n_f32(vld1q_f32(total + i), keep), vld1q_f32(part + i), take));
    for (; i < dim; i++) total[i] = fmaf(part[i], take, total[i] * keep);
    total[dim] = max;
    total[dim + 1] = fmaf(part[dim + 1], take, total[dim + 1] * keep);
}
