/* AVX2 rung: integer products of weight rows with a few tokens, the loop of decoding. Every group is read once, unpacked in registers
 * and multiplied with all tokens; formula and order are those of group.h.
 *
 * A block's 32 products lie in one vector, the first run in its lower half. Four blocks are folded into one vector, in 16 bits as
 * long as they fit there, and only then meet their integer scales. Types of plain nibbles and one token have a loop that folds less
 * (nibbles_avx2.c). */
#include "kernels/fold_avx2.h"
#include "kernels/points_avx2.h"

/* Bytes ahead. Two streams of loads in one loop are more than the prefetchers of some processors follow. */
enum { PREFETCH = 4096 };

/* Weights of four blocks, and their signs where the form has them. */
typedef struct Four {
    __m256i w[4], signs[4];
} Four;

/* Products of 32 weights and activations, in pairs (16 bits) or, signed ones, in fours (32 bits). */
ALWAYS_INLINE __m256i products(Form form, __m256i w, const __m256i *signs, const int8_t *q) {
    __m256i x = _mm256_load_si256((const __m256i *)q);
    if (form.has_signs) x = _mm256_sign_epi8(x, *signs);
    if (form.range != RANGE_SIGNED) return _mm256_maddubs_epi16(w, x);
    return _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)), _mm256_set1_epi16(1));
}

/* Four blocks to one vector: in each half, dword j has the products of that run of block j; narrow ones as two words. */
ALWAYS_INLINE __m256i fold_four(Form form, const Four *f, const int8_t *q) {
    const __m256i ones = _mm256_set1_epi16(1);
    bool words = form.range != RANGE_SIGNED;
    __m256i p[4];
    UNROLL for (size_t j = 0; j < 4; j++) p[j] = products(form, f->w[j], &f->signs[j], q + 32 * j);
    __m256i a = fold_quads(p[0], p[1], words), b = fold_quads(p[2], p[3], words);
    if (form.range == RANGE_64) return fold_dwords(_mm256_madd_epi16(a, ones), _mm256_madd_epi16(b, ones), false);
    return fold_dwords(a, b, words);
}

/* Halves of two folded vectors: block b's two runs stand in lane b of both results. Of the lanes 0..3 `straight` has the first runs
 * and `crossed` the second ones; of the lanes 4..7 it is the other way round. */
typedef struct Runs {
    __m256i straight, crossed;
} Runs;

ALWAYS_INLINE Runs to_lanes(__m256i four0, __m256i four1) {
    return (Runs){_mm256_blend_epi32(four0, four1, 0xF0), _mm256_permute2x128_si256(four0, four1, 0x21)};
}

/* The sums of blocks from runs of two words per lane, times the integer scales. */
ALWAYS_INLINE __m256i scaled_words(Form form, Runs r, __m256i sub) {
    if (form.sub == GROUP_SUB_RUN) {
        const __m256i first = _mm256_setr_epi64x(0x0504050401000100, 0x0D0C0D0C09080908, 0x0706070603020302, 0x0F0E0F0E0B0A0B0A);
        const __m256i second = _mm256_permute4x64_epi64(first, _MM_SHUFFLE(1, 0, 3, 2));
        return _mm256_add_epi32(_mm256_madd_epi16(r.straight, _mm256_shuffle_epi8(sub, first)),
                                _mm256_madd_epi16(r.crossed, _mm256_shuffle_epi8(sub, second)));
    }
    if (form.sub == GROUP_SUB_NONE) sub = _mm256_set1_epi16(1);
    if (form.range == RANGE_16) return _mm256_madd_epi16(_mm256_add_epi16(r.straight, r.crossed), sub);
    return _mm256_add_epi32(_mm256_madd_epi16(r.straight, sub), _mm256_madd_epi16(r.crossed, sub));
}

/* The same from runs of one dword per lane. */
ALWAYS_INLINE __m256i scaled_dwords(Form form, Runs r, __m256i sub) {
    __m256i odd = _mm256_srai_epi32(sub, 16), even = _mm256_srai_epi32(_mm256_slli_epi32(sub, 16), 16);
    if (form.sub == GROUP_SUB_NONE) return _mm256_add_epi32(r.straight, r.crossed);
    if (form.sub == GROUP_SUB_BLOCK) return _mm256_mullo_epi32(_mm256_add_epi32(r.straight, r.crossed), odd);
    return _mm256_add_epi32(_mm256_mullo_epi32(r.straight, _mm256_blend_epi32(even, odd, 0xF0)),
                            _mm256_mullo_epi32(r.crossed, _mm256_blend_epi32(odd, even, 0xF0)));
}

/* Adds a group to the lanes of one token. four: its blocks 0..3 and 4..7, folded. */
ALWAYS_INLINE __m256 add_group(Form form, const Scales *s, __m256i four0, __m256i four1, const KernelsActGroup *x, __m256 lanes) {
    bool words = form.range == RANGE_16 || form.range == RANGE_32;
    Runs r = to_lanes(four0, four1);
    __m256i sum = words ? scaled_words(form, r, s->sub) : scaled_dwords(form, r, s->sub);
    __m256i runs = _mm256_load_si256((const __m256i *)x->sums);
    if (form.offset) {
        __m256i offset = _mm256_set1_epi16((short)form.offset);
        if (form.sub != GROUP_SUB_NONE) offset = _mm256_mullo_epi16(offset, s->sub);
        sum = _mm256_sub_epi32(sum, _mm256_madd_epi16(offset, runs));
    }
    __m256 x_scale = _mm256_load_ps(x->scale);
    lanes = _mm256_fmadd_ps(_mm256_mul_ps(s->scale, x_scale), _mm256_cvtepi32_ps(sum), lanes);
    if (!form.has_min) return lanes;
    __m256 min = _mm256_mul_ps(s->min, x_scale);
    __m256 min_sum = _mm256_cvtepi32_ps(_mm256_madd_epi16(form.sub == GROUP_SUB_NONE ? _mm256_set1_epi16(1) : s->min_sub, runs));
    return form.sub == GROUP_SUB_NONE ? _mm256_fmadd_ps(min, min_sum, lanes) : _mm256_fnmadd_ps(min, min_sum, lanes);
}

/* points: what points_read made of the group; only for the codebook types. */
ALWAYS_INLINE void unpack_four(QuantType type, const uint8_t *src, const Points *points, size_t first, Four *f) {
    UNROLL for (size_t j = 0; j < 4; j++) {
        f->w[j] = group_has_points(type) ? points_block(type, src, points, first + j) : avx2_block(type, src, first + j);
        if (avx2_form(type).has_signs) f->signs[j] = points_signs(points, first + j);
    }
}

ALWAYS_INLINE Scales unpack_scales(QuantType type, const uint8_t *src, const Points *points) {
    return group_has_points(type) ? (Scales){.scale = points->scale, .sub = points->sub} : avx2_scales(type, src);
}

/* One group of a row for all tokens. */
ALWAYS_INLINE void add_tokens(QuantType type, const uint8_t *src, const KernelsActs *acts, size_t n_tokens, size_t i, __m256 *lanes) {
    const Form form = avx2_form(type);
    __m256i four[KERNELS_AVX2_FEW];
    Points points;
    Group group;
    Four f;
    src = avx2_group(type, src, &group);
    if (group_has_points(type)) points_read(type, src, &points);
    unpack_four(type, src, &points, 0, &f);
    for (size_t t = 0; t < n_tokens; t++) four[t] = fold_four(form, &f, acts[t].groups[i].q);
    unpack_four(type, src, &points, 4, &f);
    Scales s = unpack_scales(type, src, &points);
    for (size_t t = 0; t < n_tokens; t++) {
        const KernelsActGroup *x = &acts[t].groups[i];
        lanes[t] = add_group(form, &s, four[t], fold_four(form, &f, x->q + 128), x, lanes[t]);
    }
}

/* The same group of two rows for one token, step by step in turn, so that one's arithmetic fills the waits of the other. */
ALWAYS_INLINE void add_two_rows(QuantType type, const uint8_t *src, size_t row_bytes, const KernelsActGroup *x, __m256 lanes[2]) {
    const Form form = avx2_form(type);
    const uint8_t *from[2];
    __m256i four[2][2];
    Points points[2];
    Group groups[2];
    Scales s[2];
    UNROLL for (size_t r = 0; r < 2; r++) {
        from[r] = avx2_group(type, src + r * row_bytes, &groups[r]);
        if (group_has_points(type)) points_read(type, from[r], &points[r]);
    }
    UNROLL for (size_t half = 0; half < 2; half++) UNROLL for (size_t r = 0; r < 2; r++) {
        Four f;
        unpack_four(type, from[r], &points[r], 4 * half, &f);
        four[r][half] = fold_four(form, &f, x->q + 128 * half);
    }
    UNROLL for (size_t r = 0; r < 2; r++) s[r] = unpack_scales(type, from[r], &points[r]);
    UNROLL for (size_t r = 0; r < 2; r++) lanes[r] = add_group(form, &s[r], four[r][0], four[r][1], x, lanes[r]);
}

/* Two rows for one token. type: the job's, as a constant. */
ALWAYS_INLINE void two_rows(QuantType type, const RowsJob *job, size_t r) {
    __m256 lanes[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    const uint8_t *src = job->w + r * job->row_bytes, *ahead = src + PREFETCH;
    for (size_t i = 0; i * GROUP_ELEMS < job->n; i++, src += job->group_bytes, ahead += 2 * job->group_bytes) {
        for (size_t at = 0; at < 2 * job->group_bytes; at += 64) _mm_prefetch((const char *)ahead + at, _MM_HINT_T0);
        add_two_rows(type, src, job->row_bytes, &job->acts->groups[i], lanes);
    }
    job->y[r] = avx2_fold8(lanes[0]);
    job->y[r + 1] = avx2_fold8(lanes[1]);
}

/* One row. type: the job's, as a constant. */
ALWAYS_INLINE void one_row(QuantType type, const RowsJob *job, size_t r, size_t n_tokens) {
    __m256 lanes[KERNELS_AVX2_FEW];
    const uint8_t *src = job->w + r * job->row_bytes;
    for (size_t t = 0; t < n_tokens; t++) lanes[t] = _mm256_setzero_ps();
    for (size_t i = 0; i * GROUP_ELEMS < job->n; i++, src += job->group_bytes) {
        uint8_t whole[GROUP_BYTES_MAX];
        const uint8_t *from = src;
        for (size_t at = 0; at < job->group_bytes; at += 64) _mm_prefetch((const char *)src + PREFETCH + at, _MM_HINT_T0);
        if (job->n - i * GROUP_ELEMS < GROUP_ELEMS) from = kernels_group_filled_up(type, src, job->n % GROUP_ELEMS / 32, whole);
        add_tokens(type, from, job->acts, n_tokens, i, lanes);
    }
    for (size_t t = 0; t < n_tokens; t++) job->y[t * job->y_stride + r] = avx2_fold8(lanes[t]);
}

ALWAYS_INLINE void rows(QuantType type, const RowsJob *job) {
    size_t r = 0;
    if (job->n_tokens > 1) {
        for (; r < job->n_rows; r++) one_row(type, job, r, job->n_tokens);
        return;
    }
    if (avx2_has_nibble_rows(type))
        r = kernels_avx2_nibble_rows(type, job->w, job->n_rows, job->n, job->acts->groups, job->y, job->scratch);
    else if (job->n % GROUP_ELEMS == 0)
        for (; r + 2 <= job->n_rows; r += 2) two_rows(type, job, r);
    for (; r < job->n_rows; r++) one_row(type, job, r, 1);
}

void kernels_avx2_integer_rows(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens,
                               float *y, size_t y_stride, float *scratch) {
    const RowsJob job = {type, w, n_rows, n, (size_t)quant_row_bytes(type, n), kernels_group_bytes(type), acts, n_tokens, y, y_stride,
                         scratch};
    switch (type) {
#define X(NAME, ...) case QUANT_##NAME: rows(QUANT_##NAME, &job); break;
        GROUP_LIST(X)
#undef X
    default: break;
    }
}
