/* AVX2 rung, attention: queries against a block of keys, in tiles of up to four. Formulas and order: kernels.h; the scalar truth:
 * scalar_attention.c; layout: kv.h. Lanes are keys in the first half and elements of values in the second, so nothing is folded; a
 * number is converted in registers and used by all queries of the tile. The tiles go together over two groups of keys, then over a
 * run of values, which are in the first cache for all tiles but one; meanwhile the next ones are fetched, for a tile that waits for
 * memory while the other lets it rest would take half as long again. */
#include "kernels/avx2.h"
#include "kernels/kv.h"

enum { TILE = 4 };

/* Up to TILE queries. */
typedef struct Tile {
    const KernelsQuery *queries;
    float *p;          /* [n][KERNELS_KEY_BLOCK] scores, then their exponentials */
    const char *ahead; /* what will be wanted after these keys or values ... */
    size_t fetch;      /* ... of which so many bytes are fetched with each row of 16 numbers */
} Tile;

/* Eight numbers as f32; of q8_0 their codes. */
ALWAYS_INLINE __m256 load_numbers(QuantType type, const char *p) {
    if (type == QUANT_Q8_0) return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
    return avx2_load8(type, p, 0);
}

/* ---- scores: lanes are keys ---- */

/* acc[q][..] += q[i] * keys, i ascending below n, for n_groups groups of 16 keys, group_bytes apart. */
ALWAYS_INLINE void add_products(QuantType type, const char *keys, size_t group_bytes, size_t n, const float *const *q, size_t n_q,
                                size_t n_groups, const char *ahead, size_t fetch, __m256 acc[TILE][4]) {
    for (size_t i = 0; i < n; i++, ahead += fetch) {
        __m256 key[4];
        _mm_prefetch(ahead, _MM_HINT_T1);
        UNROLL for (size_t g = 0; g < 2 * n_groups; g++)
            key[g] = load_numbers(type, keys + g / 2 * group_bytes + (i * KV_LANES + g % 2 * 8) * kv_bytes(type));
        UNROLL for (size_t a = 0; a < n_q; a++) {
            __m256 element = _mm256_broadcast_ss(q[a] + i);
            UNROLL for (size_t g = 0; g < 2 * n_groups; g++) acc[a][g] = _mm256_fmadd_ps(element, key[g], acc[a][g]);
        }
    }
}

ALWAYS_INLINE void no_sums(__m256 acc[TILE][4], size_t n_q, size_t n_vectors) {
    UNROLL for (size_t a = 0; a < n_q; a++) UNROLL for (size_t g = 0; g < n_vectors; g++) acc[a][g] = _mm256_setzero_ps();
}

/* Scores of n_groups groups of keys, to p + at of each query. */
ALWAYS_INLINE void score_groups(QuantType type, const char *keys, size_t dim, const Tile *tile, size_t n_q, size_t n_groups, size_t at) {
    const size_t group_bytes = kv_key_at(type, dim, KV_LANES, 0);
    const char *ahead = tile->ahead + at / KV_LANES % 2 * dim * tile->fetch;
    __m256 total[TILE][4], acc[TILE][4];
    const float *q[TILE];
    UNROLL for (size_t a = 0; a < n_q; a++) q[a] = tile->queries[a].q;
    no_sums(total, n_q, 2 * n_groups);
    if (type != QUANT_Q8_0) add_products(type, keys, group_bytes, dim, q, n_q, n_groups, ahead, tile->fetch, total);
    for (size_t i = 0; type == QUANT_Q8_0 && i < dim; i += KV_RUN, keys += KV_KEY_RUN_BYTES) {
        no_sums(acc, n_q, 2 * n_groups);
        add_products(type, keys, group_bytes, KV_RUN, q, n_q, n_groups, ahead, tile->fetch, acc);
        ahead += KV_RUN * tile->fetch;
        UNROLL for (size_t g = 0; g < 2 * n_groups; g++) {
            __m256 scale = avx2_load8(QUANT_F16, keys + g / 2 * group_bytes + kv_key_scale(dim, 0, 0), g % 2 * 8);
            UNROLL for (size_t a = 0; a < n_q; a++) total[a][g] = _mm256_fmadd_ps(scale, acc[a][g], total[a][g]);
        }
        UNROLL for (size_t a = 0; a < n_q; a++) q[a] += KV_RUN;
    }
    UNROLL for (size_t a = 0; a < n_q; a++)
        UNROLL for (size_t g = 0; g < 2 * n_groups; g++) _mm256_storeu_ps(tile->p + a * KERNELS_KEY_BLOCK + at + 8 * g, total[a][g]);
}

/* Keys at .. at + 31. Four queries keep eight sums of one group in registers, fewer take both groups at once. */
ALWAYS_INLINE void score_keys(QuantType type, const char *keys, size_t dim, const Tile *tile, size_t n_q, size_t at) {
    const size_t n_groups = n_q == TILE ? 1 : 2;
    for (size_t t = at; t < at + 2 * (size_t)KV_LANES; t += n_groups * KV_LANES)
        score_groups(type, keys + kv_key_at(type, dim, t, 0), dim, tile, n_q, n_groups, t);
}

/* ---- weighted values: lanes are elements ---- */

/* sums[a][..] += p[a][t] * value t, t from first to last, for the 16 elements of each of n_panels panels. */
ALWAYS_INLINE void weigh_panels(QuantType type, const char *panel, size_t first, size_t last, const float *const *p, size_t n_q,
                                size_t n_panels, const char *ahead, size_t fetch, float *const *sums) {
    const size_t panel_bytes = (size_t)KERNELS_KEY_BLOCK * KV_LANES * kv_bytes(type);
    __m256 acc[TILE][4];
    UNROLL for (size_t a = 0; a < n_q; a++)
        UNROLL for (size_t c = 0; c < 2 * n_panels; c++) acc[a][c] = _mm256_loadu_ps(sums[a] + 8 * c);
    for (size_t t = first; t < last; t++, ahead += fetch) {
        __m256 value[4];
        _mm_prefetch(ahead, _MM_HINT_T1);
        UNROLL for (size_t c = 0; c < 2 * n_panels; c++)
            value[c] = load_numbers(type, panel + c / 2 * panel_bytes + (t * KV_LANES + c % 2 * 8) * kv_bytes(type));
        UNROLL for (size_t a = 0; a < n_q; a++) {
            __m256 weight = _mm256_broadcast_ss(p[a] + t);
            UNROLL for (size_t c = 0; c < 2 * n_panels; c++) acc[a][c] = _mm256_fmadd_ps(weight, value[c], acc[a][c]);
        }
    }
    UNROLL for (size_t a = 0; a < n_q; a++)
        UNROLL for (size_t c = 0; c < 2 * n_panels; c++) _mm256_storeu_ps(sums[a] + 8 * c, acc[a][c]);
}

/* Both panels of a run, or the last one alone. */
ALWAYS_INLINE void weigh_run(QuantType type, const char *run, size_t n_panels, size_t first, size_t last, const float *const *p, size_t n_q,
                             const Tile *tile, float (*sums)[KV_RUN]) {
    const size_t panel_bytes = (size_t)KERNELS_KEY_BLOCK * KV_LANES * kv_bytes(type);
    float *at[TILE], *next[TILE];
    UNROLL for (size_t a = 0; a < n_q; a++) at[a] = sums[a], next[a] = sums[a] + KV_LANES;
    if (n_panels == 2 && n_q < TILE) {
        weigh_panels(type, run, first, last, p, n_q, 2, tile->ahead, tile->fetch, at);
        return;
    }
    weigh_panels(type, run, first, last, p, n_q, 1, tile->ahead, tile->fetch, at);
    const char *rest = tile->ahead + (last - first) * tile->fetch;
    if (n_panels == 2) weigh_panels(type, run + panel_bytes, first, last, p, n_q, 1, rest, tile->fetch, next);
}

/* Weights times the scales of a run of values. */
static void scale_weights(const char *scales, const float *p, size_t n, float *scaled) {
    for (size_t t = 0; t < n; t += 8) /* the arrays go on to the end of the block */
        _mm256_storeu_ps(scaled + t, _mm256_mul_ps(_mm256_loadu_ps(p + t), avx2_load8(QUANT_F16, scales, t)));
}

/* Elements i .. i + 31. Where queries see different numbers of keys, the last ones are weighed for one query at a time. */
ALWAYS_INLINE void weigh_elements(QuantType type, const char *values, size_t dim, const Tile *tile, size_t n_q, size_t i) {
    float sums[TILE][KV_RUN] = {{0}}, scaled[TILE][KERNELS_KEY_BLOCK];
    const float *p[TILE];
    const char *run = values + kv_value_at(type, 0, i);
    size_t n = dim - i < KV_RUN ? dim - i : KV_RUN, n_panels = n > KV_LANES ? 2 : 1, fewest = KERNELS_KEY_BLOCK;
    UNROLL for (size_t a = 0; a < n_q; a++) {
        size_t n_keys = tile->queries[a].n_keys;
        fewest = n_keys < fewest ? n_keys : fewest;
        p[a] = tile->p + a * KERNELS_KEY_BLOCK;
        if (type != QUANT_Q8_0) continue;
        scale_weights(values + kv_value_scale(0, i / KV_RUN), p[a], n_keys, scaled[a]);
        p[a] = scaled[a];
    }
    weigh_run(type, run, n_panels, 0, fewest, p, n_q, tile, sums);
    for (size_t a = 0; a < n_q; a++) {
        const KernelsQuery *query = &tile->queries[a];
        if (query->n_keys > fewest) weigh_run(type, run, n_panels, fewest, query->n_keys, p + a, 1, tile, sums + a);
        memcpy(query->part + i, sums[a], n * sizeof(float));
    }
}

/* ---- a block ---- */

/* Tiles of three or four rather than a tile of one: a loaded number is then used three times at least. */
static size_t tile_size(size_t left) { return left == TILE || left >= (size_t)2 * TILE ? TILE : left > TILE ? (left + 1) / 2 : left; }

/* The tile that begins at this query, over so many rows of 16 numbers. The first two tiles share the fetching of what comes next, and
 * one alone does it all: with more than two, memory has time enough. */
ALWAYS_INLINE Tile tile_of(QuantType type, const KernelsQuery *queries, size_t n, size_t first, float *p, const char *next, size_t rows) {
    size_t row_bytes = KV_LANES * kv_bytes(type), half = row_bytes / 2;
    Tile tile = {queries + first, p + first * KERNELS_KEY_BLOCK, next, n <= TILE ? row_bytes : first < (size_t)2 * TILE ? half : 0};
    if (first) tile.ahead += rows * half;
    return tile;
}

ALWAYS_INLINE void score_all(QuantType type, const char *keys, size_t dim, const KernelsQuery *queries, size_t n, float *p, size_t at,
                             const char *next) {
    for (size_t first = 0, size; first < n; first += size) {
        size = tile_size(n - first);
        Tile tile = tile_of(type, queries, n, first, p, next, 2 * dim);
        if (size == 4) score_keys(type, keys, dim, &tile, 4, at);
        if (size == 3) score_keys(type, keys, dim, &tile, 3, at);
        if (size == 2) score_keys(type, keys, dim, &tile, 2, at);
        if (size == 1) score_keys(type, keys, dim, &tile, 1, at);
    }
}

ALWAYS_INLINE void weigh_all(QuantType type, const char *values, size_t dim, const KernelsQuery *queries, size_t n, float *p, size_t i,
                             const char *next) {
    for (size_t first = 0, size; first < n; first += size) {
        size = tile_size(n - first);
        Tile tile = tile_of(type, queries, n, first, p, next, (size_t)2 * KERNELS_KEY_BLOCK);
        if (size == 4) weigh_elements(type, values, dim, &tile, 4, i);
        if (size == 3) weigh_elements(type, values, dim, &tile, 3, i);
        if (size == 2) weigh_elements(type, values, dim, &tile, 2, i);
        if (size == 1) weigh_elements(type, values, dim, &tile, 1, i);
    }
}

/* While keys or values are used, the next ones are fetched: after the last keys the first values, after those the next block's keys,
 * which follow where blocks lie side by side. */
ALWAYS_INLINE void attention(QuantType type, const char *keys, const char *values, size_t dim, const KernelsQuery *queries, size_t n,
                             float *p) {
    size_t most = 0;
    for (size_t a = 0; a < n; a++) most = queries[a].n_keys > most ? queries[a].n_keys : most;
    for (size_t at = 0, next = 2 * (size_t)KV_LANES; at < most; at = next, next += 2 * (size_t)KV_LANES)
        score_all(type, keys, dim, queries, n, p, at, next < most ? keys + kv_key_at(type, dim, next, 0) : values);
    for (size_t a = 0; a < n; a++) {
        float *part = queries[a].part, *scores = p + a * KERNELS_KEY_BLOCK;
        part[dim] = kernels_avx2_max(scores, queries[a].n_keys);
        part[dim + 1] = kernels_avx2_exp_sum(scores, part[dim], queries[a].n_keys);
    }
    for (size_t i = 0, next = KV_RUN; i < dim; i = next, next += KV_RUN)
        weigh_all(type, values, dim, queries, n, p, i,
                  next < dim ? values + kv_value_at(type, 0, next) : keys + kernels_kv_bytes(type, dim));
}

void kernels_avx2_attention(QuantType type, const void *keys, const void *values, size_t dim, const KernelsQuery *queries, size_t n,
                            float *scratch) {
    if (type == QUANT_F32) attention(QUANT_F32, keys, values, dim, queries, n, scratch);
    if (type == QUANT_F16) attention(QUANT_F16, keys, values, dim, queries, n, scratch);
    if (type == QUANT_Q8_0) attention(QUANT_Q8_0, keys, values, dim, queries, n, scratch);
}

void kernels_avx2_attention_join(float *total, const float *part, size_t dim) {
    float max = part[dim] > total[dim] ? part[dim] : total[dim];
    float keep = poly_exp(total[dim] - max), take = poly_exp(part[dim] - max);
    size_t i = 0;
    for (; i + 8 <= dim; i += 8) {
        __m256 before = _mm256_mul_ps(_mm256_loadu_ps(total + i), _mm256_set1_ps(keep));
        _mm256_storeu_ps(total + i, _mm256_fmadd_ps(_mm256_loadu_ps(part + i), _mm256_set1_ps(take), before));
    }
    for (; i < dim; i++) total[i] = fmaf(part[i], take, total[i] * keep);
    total[dim] = max;
    total[dim + 1] = fmaf(part[dim + 1], take, total[dim + 1] * keep);
}
