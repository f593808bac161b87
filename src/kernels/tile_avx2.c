/* AVX2 rung: integer products of many rows with many tokens, the prefill's loop. The same integers as rows_avx2.c finds for few
 * tokens, hence the same bits, at half the cost.
 *
 * A group is 8 blocks b of 32 elements. Here it is turned: vector k holds elements 4k .. 4k + 3 of all eight blocks, so that the sum
 * over a block runs over vectors and not inside one, and ends in lane b, where the float part wants it. Elements 0..15 of a
 * block, its first run, are vectors 0..3. Activations come turned; a row's group is turned once for all tokens of a tile.
 *
 * What bounds this loop is the two pipes that multiply, so pairs of products are added in 16 bits for as long as they fit, before one
 * more multiplication widens them. Signed bytes of full range are split into two unsigned nibbles, which costs those pipes less than
 * to give every activation the sign of its weight and to widen every vector of pairs. */
#include "kernels/points_avx2.h"

enum {
    TOKENS = KERNELS_AVX2_TILE,
    ROWS = 16,  /* whose lanes, with a group of all tokens, two threads of a core can keep in the first cache */
    BLOCK = 4,  /* tokens whose sums are in registers */
};

/* A matrix and the tokens it is multiplied with. */
typedef struct Tile {
    QuantType type;
    const uint8_t *w;
    size_t row_bytes, bytes, n, n_tokens; /* bytes: of a group */
    const KernelsActGroup *x[TOKENS];     /* the first group of every token */
} Tile;

/* Eight vectors of eight 32-bit elements, transposed in place. */
ALWAYS_INLINE void turn(__m256i v[8]) {
    __m256i a[8], b[8];
    UNROLL for (size_t i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_epi32(v[i], v[i + 1]);
        a[i + 1] = _mm256_unpackhi_epi32(v[i], v[i + 1]);
    }
    UNROLL for (size_t i = 0; i < 8; i += 4) {
        b[i] = _mm256_unpacklo_epi64(a[i], a[i + 2]);
        b[i + 1] = _mm256_unpackhi_epi64(a[i], a[i + 2]);
        b[i + 2] = _mm256_unpacklo_epi64(a[i + 1], a[i + 3]);
        b[i + 3] = _mm256_unpackhi_epi64(a[i + 1], a[i + 3]);
    }
    UNROLL for (size_t i = 0; i < 4; i++) {
        v[i] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x20);
        v[i + 4] = _mm256_permute2x128_si256(b[i], b[i + 4], 0x31);
    }
}

/* How the products of a type are summed. */
typedef struct Way {
    int deep;   /* so many vectors of pairs of products may be added in 16 bits */
    int offset; /* makes the weights unsigned; what it adds is subtracted through the sums of the activations */
    bool split; /* into nibbles */
    bool halved; /* the weights, all even, for twice the scales */
} Way;

ALWAYS_INLINE Way way_of(QuantType type) {
    const Form form = avx2_form(type);
    switch (type) { /* with signs: their weights get them here, for all tokens */
    case QUANT_IQ3_S: return (Way){4, 15, .split = false};
    case QUANT_IQ3_XXS: return (Way){2, 31, .halved = true};
    case QUANT_IQ2_XXS: case QUANT_IQ2_XS: case QUANT_IQ2_S: return (Way){1, 43, .split = false};
    default: break;
    }
    switch (form.range) {
    case RANGE_16: return (Way){form.sub == GROUP_SUB_RUN ? 4 : 8, form.offset, .split = false};
    case RANGE_32: return (Way){4, form.offset, .split = false};
    case RANGE_64: return (Way){2, form.offset, .split = false};
    default: return (Way){form.sub == GROUP_SUB_RUN ? 4 : 8, 128, .split = true};
    }
}

/* The current group of one row. */
typedef struct Weights {
    __m256i w[8];         /* turned; plus the offset; the lower nibbles where they are split */
    __m256i upper[8];     /* the upper ones */
    __m256i sub[2];       /* of the first and the second run of block b, twice in lane b */
    __m256i upper_sub[2]; /* 16 * sub */
    __m256i offset_sub;   /* offset * sub, in the order of runs */
    Scales s;
} Weights;

/* Block b of a codebook type plus the offset of its way. */
ALWAYS_INLINE __m256i signed_block(QuantType type, const uint8_t *src, const Points *points, size_t b) {
    __m256i w = points_block(type, src, points, b);
    if (!avx2_form(type).has_signs) return w;
    if (way_of(type).halved) w = _mm256_srli_epi16(w, 1);
    return _mm256_add_epi8(_mm256_sign_epi8(w, points_signs(points, b)), bytes_of(way_of(type).offset));
}

ALWAYS_INLINE void load_weights(QuantType type, const uint8_t *src, Weights *r) {
    const Form form = avx2_form(type);
    const Way way = way_of(type);
    if (group_has_points(type)) {
        Points points;
        points_read(type, src, &points);
        UNROLL for (size_t b = 0; b < 8; b++) r->w[b] = signed_block(type, src, &points, b);
        r->s = (Scales){.scale = points.scale, .sub = way.halved ? _mm256_slli_epi16(points.sub, 1) : points.sub};
    } else {
        Group group;
        src = avx2_group(type, src, &group);
        UNROLL for (size_t b = 0; b < 8; b++) {
            r->w[b] = avx2_block(type, src, b);
            if (way.split) r->w[b] = _mm256_add_epi8(r->w[b], bytes_of(way.offset));
        }
        r->s = avx2_scales(type, src);
    }
    turn(r->w);
    if (way.split) {
        UNROLL for (size_t k = 0; k < 8; k++) {
            r->upper[k] = _mm256_and_si256(_mm256_srli_epi16(r->w[k], 4), bytes_of(15));
            r->w[k] = _mm256_and_si256(r->w[k], bytes_of(15));
        }
    }
    r->sub[0] = r->sub[1] = r->s.sub;
    if (form.sub == GROUP_SUB_RUN) {
        r->sub[0] = _mm256_blend_epi16(r->s.sub, _mm256_slli_epi32(r->s.sub, 16), 0xAA);
        r->sub[1] = _mm256_blend_epi16(r->s.sub, _mm256_srli_epi32(r->s.sub, 16), 0x55);
    }
    if (way.split) {
        UNROLL for (size_t run = 0; run < 2; run++) r->upper_sub[run] = _mm256_slli_epi16(r->sub[run], 4);
    }
    if (way.offset) r->offset_sub = _mm256_mullo_epi16(r->s.sub, _mm256_set1_epi16((short)way.offset));
}

/* The float part of group.h: adds a group whose integer sums are known to the lanes of one token. */
ALWAYS_INLINE __m256 add_sums(Form form, const Scales *s, __m256i sum, const KernelsActGroup *x, __m256 lanes) {
    __m256 x_scale = _mm256_load_ps(x->scale);
    lanes = _mm256_fmadd_ps(_mm256_mul_ps(s->scale, x_scale), _mm256_cvtepi32_ps(sum), lanes);
    if (!form.has_min) return lanes;
    __m256 min = _mm256_mul_ps(s->min, x_scale);
    __m256 min_sum = _mm256_cvtepi32_ps(_mm256_madd_epi16(s->min_sub, _mm256_load_si256((const __m256i *)x->sums)));
    return form.sub == GROUP_SUB_NONE ? _mm256_fmadd_ps(min, min_sum, lanes) : _mm256_fnmadd_ps(min, min_sum, lanes);
}

/* A sum is continued where it stands: the compiler must not gather terms, or their number exceeds that of registers. */
#define IN_PLACE(v) __asm__("" : "+x"(v))

/* Group number `at` of one row for n tokens from t on, step by step in turn, so that the steps of one fill the waits of another. */
ALWAYS_INLINE void add_block(QuantType type, const Weights *r, const Tile *tile, size_t at, size_t t, size_t n, __m256 *lanes) {
    const Way way = way_of(type);
    const size_t deep = (size_t)way.deep;
    const KernelsActGroup *x[BLOCK];
    __m256i words[BLOCK], upper_words[BLOCK], sum[BLOCK];
    const __m256i *w = r->w, *upper = r->upper;
    if (way.split) __asm__("" : "+r"(w), "+r"(upper)); /* too many for the registers: loaded where they are wanted */
    UNROLL for (size_t i = 0; i < n; i++) x[i] = tile->x[t + i] + at;
    UNROLL for (size_t k = 0; k < 8; k++) {
        __m256i w_k = w[k], upper_k = w_k;
        if (way.split) {
            upper_k = upper[k];
            IN_PLACE(w_k);
            IN_PLACE(upper_k);
        }
        UNROLL for (size_t i = 0; i < n; i++) {
            __m256i v = _mm256_load_si256((const __m256i *)(x[i]->turned + 32 * k));
            if (way.split) {
                IN_PLACE(v);
                __m256i p = _mm256_maddubs_epi16(upper_k, v);
                upper_words[i] = k % deep ? _mm256_add_epi16(upper_words[i], p) : p;
                IN_PLACE(upper_words[i]);
            }
            __m256i p = _mm256_maddubs_epi16(w_k, v);
            words[i] = k % deep ? _mm256_add_epi16(words[i], p) : p;
            IN_PLACE(words[i]);
        }
        if (k % deep < deep - 1) continue;
        UNROLL for (size_t i = 0; i < n; i++) {
            __m256i p = _mm256_madd_epi16(words[i], r->sub[k / 4]);
            sum[i] = k < deep ? p : _mm256_add_epi32(sum[i], p);
            if (way.split) sum[i] = _mm256_add_epi32(sum[i], _mm256_madd_epi16(upper_words[i], r->upper_sub[k / 4]));
            IN_PLACE(sum[i]);
        }
    }
    UNROLL for (size_t i = 0; i < n; i++) {
        if (way.offset) sum[i] = _mm256_sub_epi32(sum[i], _mm256_madd_epi16(r->offset_sub, _mm256_load_si256((const __m256i *)x[i]->sums)));
        lanes[t + i] = add_sums(avx2_form(type), &r->s, sum[i], x[i], lanes[t + i]);
    }
}

/* Group number `at` of one row for all tokens. lanes: [n_tokens]. */
ALWAYS_INLINE void add_row(QuantType type, const uint8_t *src, const Tile *tile, size_t at, __m256 *lanes) {
    Weights r;
    load_weights(type, src, &r);
    const size_t block = way_of(type).deep == 8 ? BLOCK : BLOCK / 2; /* shallow sums need registers of 16 and of 32 bits at once */
    size_t t = 0;
    for (; t + block <= tile->n_tokens; t += block) add_block(type, &r, tile, at, t, block, lanes);
    for (; t < tile->n_tokens; t++) add_block(type, &r, tile, at, t, 1, lanes);
}

/* Group number `at` of row r. */
ALWAYS_INLINE const uint8_t *group_of(QuantType type, const Tile *tile, size_t r, size_t at, uint8_t whole[GROUP_BYTES_MAX]) {
    const uint8_t *src = tile->w + r * tile->row_bytes + at * tile->bytes;
    size_t rest = tile->n - at * GROUP_ELEMS;
    return rest < GROUP_ELEMS ? kernels_group_filled_up(type, src, rest / 32, whole) : src;
}

/* lanes: [n_rows][n_tokens], close together, so that those of few tokens stay in the first cache */
ALWAYS_INLINE void tile_rows(QuantType type, const Tile *tile, size_t top, size_t n_rows, __m256 *lanes) {
    uint8_t whole[GROUP_BYTES_MAX];
    for (size_t at = 0; at * GROUP_ELEMS < tile->n; at++)
        for (size_t r = 0; r < n_rows; r++) add_row(type, group_of(type, tile, top + r, at, whole), tile, at, lanes + r * tile->n_tokens);
}

/* The lanes of eight rows to their sums, each folded 8 -> 4 -> 2 -> 1. */
ALWAYS_INLINE __m256 fold_eight(const __m256 *v, size_t step) {
    __m256 a[4], b[2];
    UNROLL for (size_t i = 0; i < 4; i++) {
        __m256 x = v[i * step], y = v[(i + 4) * step];
        a[i] = _mm256_add_ps(_mm256_permute2f128_ps(x, y, 0x20), _mm256_permute2f128_ps(x, y, 0x31));
    }
    UNROLL for (size_t i = 0; i < 2; i++)
        b[i] = _mm256_add_ps(_mm256_shuffle_ps(a[2 * i], a[2 * i + 1], 0x44), _mm256_shuffle_ps(a[2 * i], a[2 * i + 1], 0xEE));
    return _mm256_add_ps(_mm256_shuffle_ps(b[0], b[1], 0x88), _mm256_shuffle_ps(b[0], b[1], 0xDD));
}

static void store_sums(const __m256 *lanes, size_t n_rows, size_t n_tokens, float *y, size_t y_stride) {
    for (size_t t = 0; t < n_tokens; t++) {
        size_t r = 0;
        for (; r + 8 <= n_rows; r += 8) _mm256_storeu_ps(y + t * y_stride + r, fold_eight(lanes + r * n_tokens + t, n_tokens));
        for (; r < n_rows; r++) y[t * y_stride + r] = avx2_fold8(lanes[r * n_tokens + t]);
    }
}

/* One function per type: all of the inner loop's branches are decided here. */
#define X(NAME, name, ...)                                                                                          \
    static __attribute__((noinline)) void name##_rows(const Tile *tile, size_t top, size_t n_rows, __m256 *lanes) { \
        tile_rows(QUANT_##NAME, tile, top, n_rows, lanes);                                                          \
    }
GROUP_LIST(X)
#undef X

static void add_rows(const Tile *tile, size_t top, size_t n_rows, __m256 *lanes) {
    switch (tile->type) {
#define X(NAME, name, ...) case QUANT_##NAME: name##_rows(tile, top, n_rows, lanes); break;
        GROUP_LIST(X)
#undef X
    default: break;
    }
}

void kernels_avx2_integer_tile(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens,
                               float *y, size_t y_stride) {
    Tile tile = {type, w, (size_t)quant_row_bytes(type, n), kernels_group_bytes(type), n, n_tokens, {0}};
    __m256 lanes[ROWS * TOKENS];
    for (size_t t = 0; t < n_tokens; t++) tile.x[t] = acts[t].groups;
    for (size_t top = 0; top < n_rows; top += ROWS) {
        size_t rows = n_rows - top < ROWS ? n_rows - top : ROWS;
        memset(lanes, 0, rows * n_tokens * sizeof *lanes);
        add_rows(&tile, top, rows, lanes);
        store_sums(lanes, rows, n_tokens, y + top, y_stride);
    }
}
