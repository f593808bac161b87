/* AVX2 rung: weights unpacked into groups in memory, and decoded to f32; the same integers as group.c. */
#include "kernels/points_avx2.h"

#include <assert.h>

ALWAYS_INLINE void store_block(Group *g, size_t b, __m256i w) { _mm256_store_si256((__m256i *)(g->w + 32 * b), w); }

/* type is a constant where these are inlined. */
ALWAYS_INLINE void unpack_points(QuantType type, const uint8_t *src, Group *g) {
    const Form form = avx2_form(type);
    Points points;
    points_read(type, src, &points);
    UNROLL for (size_t b = 0; b < GROUP_BLOCKS; b++) {
        __m256i w = points_block(type, src, &points, b);
        store_block(g, b, form.has_signs ? _mm256_sign_epi8(w, points_signs(&points, b)) : _mm256_sub_epi8(w, bytes_of(form.offset)));
    }
    _mm256_storeu_si256((__m256i *)g->sub, points.sub);
    _mm256_storeu_ps(g->scale, points.scale);
}

ALWAYS_INLINE void unpack(QuantType type, const uint8_t *src, Group *g) {
    const Form form = avx2_form(type);
    if (group_has_points(type)) {
        unpack_points(type, src, g);
        return;
    }
    if (!avx2_has(type)) {
        kernels_group_unpack(type, src, GROUP_BLOCKS, g);
        return;
    }
    UNROLL for (size_t b = 0; b < GROUP_BLOCKS; b++)
        store_block(g, b, _mm256_sub_epi8(avx2_block(type, src, b), bytes_of(form.offset)));
    Scales s = avx2_scales(type, src);
    _mm256_storeu_si256((__m256i *)g->sub, s.sub);
    _mm256_storeu_ps(g->scale, s.scale);
    if (!form.has_min) return;
    _mm256_storeu_si256((__m256i *)g->min_sub, s.min_sub);
    _mm256_storeu_ps(g->min, form.sub == GROUP_SUB_NONE ? s.min : _mm256_xor_ps(s.min, _mm256_set1_ps(-0.0f)));
}

void kernels_avx2_unpack(QuantType type, const uint8_t *src, size_t n_blocks, Group *g) {
    uint8_t whole[GROUP_BYTES_MAX];
    if (n_blocks < GROUP_BLOCKS) src = kernels_group_filled_up(type, src, n_blocks, whole);
    switch (type) {
#define X(NAME, ...) case QUANT_##NAME: unpack(QUANT_##NAME, src, g); break;
        GROUP_LIST(X)
#undef X
    default: assert(false && "a type that is not in the list");
    }
}

/* Eight elements of one run as f32. */
ALWAYS_INLINE void decode8(const Group *g, size_t e, __m256 scale, bool has_min, __m256 min, float *dst) {
    __m256 w = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(g->w + e))));
    __m256 v = _mm256_mul_ps(scale, w);
    _mm256_storeu_ps(dst + e, has_min ? _mm256_add_ps(v, min) : v);
}

/* NVFP4 has no groups: its scales, one per run of 16, are floats. Products of such a scale and a value, which stands doubled in
 * its table, are exact, so that the half may be taken of either. An unsigned E4M3 is an f32 that lacks 2^120; 0x7F counts as 0. */
static void decode_nvfp4(const uint8_t *src, float *dst, size_t n) {
    const __m128i values = load16(group_fp4_values);
    for (size_t block = 0; block < n / 64; block++, src += 36) {
        __m128i code = _mm_cvtepu8_epi32(_mm_set1_epi32((int)load_u32(src)));
        __m128i bits = _mm_slli_epi32(_mm_and_si128(code, _mm_set1_epi32(0x7F)), 20);
        bits = _mm_andnot_si128(_mm_cmpeq_epi32(code, _mm_set1_epi32(0x7F)), bits);
        float scale[4];
        _mm_storeu_ps(scale, _mm_mul_ps(_mm_castsi128_ps(bits), _mm_set1_ps(0x1p119f)));
        for (size_t run = 0; run < 4; run++, dst += 16) {
            __m128i q = _mm_loadl_epi64((const __m128i *)(src + 4 + 8 * run));
            q = _mm_and_si128(_mm_unpacklo_epi64(q, _mm_srli_epi16(q, 4)), _mm_set1_epi8(15));
            __m128i v = _mm_shuffle_epi8(values, q);
            __m256 d = _mm256_set1_ps(scale[run]);
            _mm256_storeu_ps(dst, _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v)), d));
            _mm256_storeu_ps(dst + 8, _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(v, 8))), d));
        }
    }
}

void kernels_avx2_decode(QuantType type, const uint8_t *src, float *dst, size_t n) {
    if (!kernels_has_integer(type)) {
        if (type == QUANT_NVFP4) decode_nvfp4(src, dst, n);
        else quant_decode(type, src, dst, n);
        return;
    }
    bool has_min = group_form(type).has_min;
    size_t bytes = kernels_group_bytes(type);
    for (size_t first = 0; first < n; first += GROUP_ELEMS, src += bytes, dst += GROUP_ELEMS) {
        size_t count = n - first < GROUP_ELEMS ? n - first : GROUP_ELEMS;
        Group g;
        kernels_avx2_unpack(type, src, count / 32, &g);
        for (size_t run = 0; run < count / 16; run++) {
            __m256 scale = _mm256_set1_ps(g.scale[run / 2] * (float)g.sub[run]);
            __m256 min = has_min ? _mm256_set1_ps(g.min[run / 2] * (float)g.min_sub[run]) : _mm256_setzero_ps();
            decode8(&g, 16 * run, scale, has_min, min, dst);
            decode8(&g, 16 * run + 8, scale, has_min, min, dst);
        }
    }
}
