/* AVX-512 rung, attention: queries against a block of keys, in tiles. Formulas and order: kernels.h; the scalar truth:
 * scalar_attention.c; layout: kv.h, whose groups of keys and panels of elements are one vector here. As on the AVX2 rung a number
 * is converted in registers and used by all queries of the tile, and the tiles go together over two groups of keys, then over a run
 * of values; with 32 registers a tile has eight queries, or four where q8_0 wants two sums of each. */
#include "kernels/avx512.h"
#include "kernels/kv.h"

enum { TILE = 8, TILE_Q8 = 4 };

/* Up to TILE queries. */
typedef struct Tile {
    const KernelsQuery *queries;
    float *p; /* [n][KERNELS_KEY_BLOCK] scores, then their exponentials */
} Tile;

/* Two vectors of sums for each query. */
typedef struct Sums {
    __m512 v[TILE][2];
} Sums;

ALWAYS_INLINE void no_sums(Sums *s, size_t n_q) {
    UNROLL for (size_t a = 0; a < n_q; a++) UNROLL for (size_t j = 0; j < 2; j++) s->v[a][j] = _mm512_setzero_ps();
}

/* Sixteen numbers as f32; of q8_0 their codes. */
ALWAYS_INLINE __m512 load_numbers(QuantType type, const char *p) {
    if (type == QUANT_Q8_0) return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
    return avx512_load16(type, p, 0, AVX512_ALL);
}

/* sums[a][j] += factors[a][i] * numbers i of stream j, i from first to last; a stream has 16 numbers of each i, and the two streams
 * stand `apart` bytes from each other. Scores: i is an element, the numbers are of 16 keys. Weighted values: i is a key, the numbers
 * are 16 elements. */
ALWAYS_INLINE void add_products(QuantType type, const char *stream, size_t apart, size_t n_streams, size_t first, size_t last,
                                const float *const *factors, size_t n_q, Sums *sums) {
    for (size_t i = first; i < last; i++) {
        __m512 numbers[2];
        UNROLL for (size_t j = 0; j < n_streams; j++) numbers[j] = load_numbers(type, stream + j * apart + i * KV_LANES * kv_bytes(type));
        UNROLL for (size_t a = 0; a < n_q; a++) {
            __m512 factor = _mm512_set1_ps(factors[a][i]);
            UNROLL for (size_t j = 0; j < n_streams; j++) sums->v[a][j] = _mm512_fmadd_ps(factor, numbers[j], sums->v[a][j]);
        }
    }
}

/* Keys at .. at + 31. */
ALWAYS_INLINE void score_keys(QuantType type, const char *keys, size_t dim, const Tile *tile, size_t n_q, size_t at) {
    const size_t group_bytes = kv_key_at(type, dim, KV_LANES, 0);
    const char *group = keys + kv_key_at(type, dim, at, 0);
    const float *q[TILE];
    Sums total;
    UNROLL for (size_t a = 0; a < n_q; a++) q[a] = tile->queries[a].q;
    no_sums(&total, n_q);
    if (type != QUANT_Q8_0) add_products(type, group, group_bytes, 2, 0, dim, q, n_q, &total);
    for (size_t i = 0; type == QUANT_Q8_0 && i < dim; i += KV_RUN, group += KV_KEY_RUN_BYTES) {
        Sums run;
        no_sums(&run, n_q);
        add_products(type, group, group_bytes, 2, 0, KV_RUN, q, n_q, &run);
        UNROLL for (size_t j = 0; j < 2; j++) {
            __m512 scale = avx512_load16(QUANT_F16, group + j * group_bytes + kv_key_scale(dim, 0, 0), 0, AVX512_ALL);
            UNROLL for (size_t a = 0; a < n_q; a++) total.v[a][j] = _mm512_fmadd_ps(scale, run.v[a][j], total.v[a][j]);
        }
        UNROLL for (size_t a = 0; a < n_q; a++) q[a] += KV_RUN;
    }
    UNROLL for (size_t a = 0; a < n_q; a++)
        UNROLL for (size_t j = 0; j < 2; j++) _mm512_storeu_ps(tile->p + a * KERNELS_KEY_BLOCK + at + 16 * j, total.v[a][j]);
}

ALWAYS_INLINE size_t panel_bytes(QuantType type) { return (size_t)KERNELS_KEY_BLOCK * KV_LANES * kv_bytes(type); }

/* Weights times the scales of a run of values. */
static void scale_weights(const char *scales, const float *p, size_t n, float *scaled) {
    for (size_t t = 0; t < n; t += 16) /* the arrays go on to the end of the block */
        _mm512_storeu_ps(scaled + t, _mm512_mul_ps(_mm512_loadu_ps(p + t), avx512_load16(QUANT_F16, scales, t, AVX512_ALL)));
}

/* The keys that one query sees and others do not. */
ALWAYS_INLINE void weigh_more(QuantType type, const char *panel, size_t n_panels, size_t first, size_t last, const float *p, float *out) {
    Sums sums;
    UNROLL for (size_t j = 0; j < n_panels; j++) sums.v[0][j] = _mm512_loadu_ps(out + 16 * j);
    add_products(type, panel, panel_bytes(type), n_panels, first, last, &p, 1, &sums);
    UNROLL for (size_t j = 0; j < n_panels; j++) _mm512_storeu_ps(out + 16 * j, sums.v[0][j]);
}

/* Elements i .. i + 31, or the last sixteen alone. Where queries see different numbers of keys, the last ones are weighed for one
 * query at a time. */
ALWAYS_INLINE void weigh_panels(QuantType type, const char *values, size_t dim, const Tile *tile, size_t n_q, size_t n_panels, size_t i) {
    const char *panel = values + kv_value_at(type, 0, i);
    float scaled[TILE][KERNELS_KEY_BLOCK], out[TILE][KV_RUN];
    const float *p[TILE];
    size_t fewest = KERNELS_KEY_BLOCK;
    Sums sums;
    UNROLL for (size_t a = 0; a < n_q; a++) {
        size_t n_keys = tile->queries[a].n_keys;
        fewest = n_keys < fewest ? n_keys : fewest;
        p[a] = tile->p + a * KERNELS_KEY_BLOCK;
        if (type != QUANT_Q8_0) continue;
        scale_weights(values + kv_value_scale(0, i / KV_RUN), p[a], n_keys, scaled[a]);
        p[a] = scaled[a];
    }
    no_sums(&sums, n_q);
    add_products(type, panel, panel_bytes(type), n_panels, 0, fewest, p, n_q, &sums);
    UNROLL for (size_t a = 0; a < n_q; a++) UNROLL for (size_t j = 0; j < n_panels; j++) _mm512_storeu_ps(out[a] + 16 * j, sums.v[a][j]);
    for (size_t a = 0; a < n_q; a++) {
        const KernelsQuery *query = &tile->queries[a];
        if (query->n_keys > fewest) weigh_more(type, panel, n_panels, fewest, query->n_keys, p[a], out[a]);
        memcpy(query->part + i, out[a], (dim - i < KV_RUN ? dim - i : KV_RUN) * sizeof(float));
    }
}

ALWAYS_INLINE void weigh_elements(QuantType type, const char *values, size_t dim, const Tile *tile, size_t n_q, size_t i) {
    if (dim - i > KV_LANES) weigh_panels(type, values, dim, tile, n_q, 2, i);
    else weigh_panels(type, values, dim, tile, n_q, 1, i);
}

/* ---- a block ---- */

/* Rather two tiles of three than one of four and a half-empty one: a loaded number is used by all queries of its tile. */
ALWAYS_INLINE size_t tile_size(QuantType type, size_t left) {
    const size_t most = type == QUANT_Q8_0 ? TILE_Q8 : TILE;
    return left >= most ? most : left > 4 ? (left + 1) / 2 : left;
}

ALWAYS_INLINE void score_all(QuantType type, const char *keys, size_t dim, const KernelsQuery *queries, size_t n, float *p, size_t at) {
    for (size_t first = 0, size; first < n; first += size) {
        size = tile_size(type, n - first);
        Tile tile = {queries + first, p + first * KERNELS_KEY_BLOCK};
        if (size == 8 && type != QUANT_Q8_0) score_keys(type, keys, dim, &tile, 8, at);
        if (size == 4) score_keys(type, keys, dim, &tile, 4, at);
        if (size == 3) score_keys(type, keys, dim, &tile, 3, at);
        if (size == 2) score_keys(type, keys, dim, &tile, 2, at);
        if (size == 1) score_keys(type, keys, dim, &tile, 1, at);
    }
}

ALWAYS_INLINE void weigh_all(QuantType type, const char *values, size_t dim, const KernelsQuery *queries, size_t n, float *p, size_t i) {
    for (size_t first = 0, size; first < n; first += size) {
        size = tile_size(type, n - first);
        Tile tile = {queries + first, p + first * KERNELS_KEY_BLOCK};
        if (size == 8 && type != QUANT_Q8_0) weigh_elements(type, values, dim, &tile, 8, i);
        if (size == 4) weigh_elements(type, values, dim, &tile, 4, i);
        if (size == 3) weigh_elements(type, values, dim, &tile, 3, i);
        if (size == 2) weigh_elements(type, values, dim, &tile, 2, i);
        if (size == 1) weigh_elements(type, values, dim, &tile, 1, i);
    }
}

ALWAYS_INLINE void attention(QuantType type, const char *keys, const char *values, size_t dim, const KernelsQuery *queries, size_t n,
                             float *p) {
    size_t most = 0;
    for (size_t a = 0; a < n; a++) most = queries[a].n_keys > most ? queries[a].n_keys : most;
    for (size_t at = 0; at < most; at += (size_t)2 * KV_LANES) score_all(type, keys, dim, queries, n, p, at);
    for (size_t a = 0; a < n; a++) {
        float *part = queries[a].part, *scores = p + a * KERNELS_KEY_BLOCK;
        part[dim] = kernels_avx512_max(scores, queries[a].n_keys);
        part[dim + 1] = kernels_avx512_exp_sum(scores, part[dim], queries[a].n_keys);
    }
    for (size_t i = 0; i < dim; i += KV_RUN) weigh_all(type, values, dim, queries, n, p, i);
}

void kernels_avx512_attention(QuantType type, const void *keys, const void *values, size_t dim, const KernelsQuery *queries, size_t n,
                              float *scratch) {
    if (type == QUANT_F32) attention(QUANT_F32, keys, values, dim, queries, n, scratch);
    if (type == QUANT_F16) attention(QUANT_F16, keys, values, dim, queries, n, scratch);
    if (type == QUANT_Q8_0) attention(QUANT_Q8_0, keys, values, dim, queries, n, scratch);
}

void kernels_avx512_attention_join(float *total, const float *part, size_t dim) {
    float max = part[dim] > total[dim] ? part[dim] : total[dim];
    float keep = poly_exp(total[dim] - max), take = poly_exp(part[dim] - max);
    for (size_t i = 0; i < dim; i += 16) {
        const __mmask16 lanes = avx512_first(dim - i);
        __m512 before = _mm512_mul_ps(avx512_load(total + i, lanes), _mm512_set1_ps(keep));
        avx512_store(total + i, lanes, _mm512_fmadd_ps(avx512_load(part + i, lanes), _mm512_set1_ps(take), before));
    }
    total[dim] = max;
    total[dim + 1] = fmaf(part[dim + 1], take, total[dim + 1] * keep);
}
