/* AVX2 rung, along one vector: norms, activations, rotary embedding, quantisation. What is left after whole vectors is done one
 * by one with the same formulas; the compiler turns fmaf into the instruction here. */
#include "kernels/avx2.h"
#include "kernels/order.h"

void kernels_avx2_axpy(float *y, const float *x, float s, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(y + i, _mm256_fmadd_ps(_mm256_set1_ps(s), _mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i)));
    for (; i < n; i++) y[i] = fmaf(s, x[i], y[i]);
}

void kernels_avx2_scale(float *y, const float *a, float s, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(y + i, _mm256_mul_ps(_mm256_loadu_ps(a + i), _mm256_set1_ps(s)));
    for (; i < n; i++) y[i] = a[i] * s;
}

void kernels_avx2_add(float *y, const float *x, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(y + i, _mm256_add_ps(_mm256_loadu_ps(y + i), _mm256_loadu_ps(x + i)));
    for (; i < n; i++) y[i] += x[i];
}

void kernels_avx2_rms_norm(float *y, const float *x, const float *w, float eps, size_t n) {
    float r = order_rms_factor(kernels_avx2_dot(x, x, n), eps, n);
    if (!w) {
        kernels_avx2_scale(y, x, r, n);
        return;
    }
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(r));
        _mm256_storeu_ps(y + i, _mm256_mul_ps(v, _mm256_loadu_ps(w + i)));
    }
    for (; i < n; i++) y[i] = x[i] * r * w[i];
}

void kernels_avx2_l2_norm(float *y, const float *x, float eps, float s, size_t n) {
    float r = 1.0f / sqrtf(kernels_avx2_dot(x, x, n) + eps);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(r));
        _mm256_storeu_ps(y + i, _mm256_mul_ps(v, _mm256_set1_ps(s)));
    }
    for (; i < n; i++) y[i] = x[i] * r * s;
}

void kernels_avx2_silu_mul(float *y, const float *gate, const float *up, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(y + i, _mm256_mul_ps(avx2_silu(_mm256_loadu_ps(gate + i)), _mm256_loadu_ps(up + i)));
    for (; i < n; i++) y[i] = poly_silu(gate[i]) * up[i];
}

void kernels_avx2_sigmoid_mul(float *y, const float *g, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(y + i, _mm256_mul_ps(_mm256_loadu_ps(y + i), avx2_sigmoid(_mm256_loadu_ps(g + i))));
    for (; i < n; i++) y[i] *= poly_sigmoid(g[i]);
}

float kernels_avx2_exp_sum(float *x, float shift, size_t n) {
    Lanes lanes;
    for (size_t j = 0; j < 4; j++) lanes.v[j] = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + 32 <= n; i += 32)
        UNROLL for (size_t j = 0; j < 4; j++) {
            __m256 e = avx2_exp(_mm256_sub_ps(_mm256_loadu_ps(x + i + 8 * j), _mm256_set1_ps(shift)));
            _mm256_storeu_ps(x + i + 8 * j, e);
            lanes.v[j] = _mm256_add_ps(lanes.v[j], e);
        }
    float tail[ORDER_LANES] = {0}; /* exponentials are not negative: adding zeros changes no lane */
    for (size_t l = 0; i + l < n; l++) tail[l] = x[i + l] = poly_exp(x[i + l] - shift);
    for (size_t j = 0; j < 4 && i < n; j++) lanes.v[j] = _mm256_add_ps(lanes.v[j], _mm256_loadu_ps(tail + 8 * j));
    return avx2_fold32(lanes);
}

float kernels_avx2_max(const float *x, size_t n) {
    __m256 v = _mm256_set1_ps(x[0]);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) v = _mm256_max_ps(_mm256_loadu_ps(x + i), v);
    float lanes[8], m = x[0];
    _mm256_storeu_ps(lanes, v);
    for (size_t l = 0; l < 8; l++) m = lanes[l] > m ? lanes[l] : m;
    for (; i < n; i++) m = x[i] > m ? x[i] : m;
    return m + 0.0f;
}

void kernels_avx2_rope(float *head, const float *cos, const float *sin, size_t rot) {
    size_t half = rot / 2, i = 0;
    for (; i + 8 <= half; i += 8) {
        __m256 a = _mm256_loadu_ps(head + i), b = _mm256_loadu_ps(head + i + half);
        __m256 c = _mm256_loadu_ps(cos + i), s = _mm256_loadu_ps(sin + i);
        _mm256_storeu_ps(head + i, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
        _mm256_storeu_ps(head + i + half, _mm256_fmadd_ps(b, c, _mm256_mul_ps(a, s)));
    }
    for (; i < half; i++) {
        float a = head[i], b = head[i + half];
        head[i] = fmaf(a, cos[i], -(b * sin[i]));
        head[i + half] = fmaf(b, cos[i], a * sin[i]);
    }
}

/* 32 values to block b of a group; see scalar_matmul.c for the formula and for values that are not finite. */
static void quantize_block(const float *x, KernelsActGroup *g, size_t b) {
    __m256 v[4];
    __m256i largest = _mm256_setzero_si256(), bytes = _mm256_setzero_si256();
    UNROLL for (size_t j = 0; j < 4; j++) {
        v[j] = _mm256_loadu_ps(x + 8 * j);
        largest = _mm256_max_epu32(largest, _mm256_and_si256(_mm256_castps_si256(v[j]), _mm256_set1_epi32(0x7FFFFFFF)));
    }
    __m128i top = _mm_max_epu32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
    top = _mm_max_epu32(top, _mm_shuffle_epi32(top, 0x4E));
    top = _mm_max_epu32(top, _mm_shuffle_epi32(top, 0xB1));
    float s = _mm_cvtss_f32(_mm_castsi128_ps(top)) / 127.0f;
    g->scale[b] = s;
    if (s > 0.0f && s < INFINITY) {
        __m256i i[4];
        UNROLL for (size_t j = 0; j < 4; j++) {
            __m256 scaled = _mm256_div_ps(v[j], _mm256_set1_ps(s));
            scaled = _mm256_max_ps(_mm256_min_ps(scaled, _mm256_set1_ps(127.0f)), _mm256_set1_ps(-127.0f));
            i[j] = _mm256_cvtps_epi32(scaled); /* nearest even */
        }
        /* packing works in halves of 128 bits and leaves runs of four in the order 0 2 4 6 1 3 5 7 */
        bytes = _mm256_packs_epi16(_mm256_packs_epi32(i[0], i[1]), _mm256_packs_epi32(i[2], i[3]));
        bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    }
    _mm256_store_si256((__m256i *)(g->q + 32 * b), bytes);
    UNROLL for (size_t k = 0; k < 8; k++) memcpy(g->turned + 32 * k + 4 * b, g->q + 32 * b + 4 * k, 4);
    /* sums of q + 128 in four quarters, the 128 taken off again */
    __m256i quarters = _mm256_sad_epu8(_mm256_xor_si256(bytes, _mm256_set1_epi8((char)0x80)), _mm256_setzero_si256());
    __m256i halves = _mm256_add_epi32(quarters, _mm256_shuffle_epi32(quarters, 0x4E));
    g->sums[2 * b] = (int16_t)(_mm256_extract_epi16(halves, 0) - 16 * 128);
    g->sums[2 * b + 1] = (int16_t)(_mm256_extract_epi16(halves, 8) - 16 * 128);
}

void kernels_avx2_quantize(const float *x, KernelsActGroup *groups, size_t first, size_t n) {
    for (size_t i = 0; i < n; i += KERNELS_ACT_BLOCK) {
        size_t at = first + i;
        float tail[KERNELS_ACT_BLOCK] = {0};
        const float *block = x + i;
        if (n - i < KERNELS_ACT_BLOCK) block = memcpy(tail, x + i, (n - i) * sizeof *x);
        quantize_block(block, &groups[at / KERNELS_ACT_GROUP], at % KERNELS_ACT_GROUP / KERNELS_ACT_BLOCK);
    }
}
