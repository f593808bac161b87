/* AVX-512 rung, along one vector: norms, activations, rotary embedding. Whole vectors first, then one under a mask. */
#include "kernels/avx512.h"
#include "kernels/order.h"

/* STEP(i, lanes) for the vector of sixteen at i: with all lanes as long as there are so many, then with those that are left. */
#define EACH_VECTOR(n, STEP)                                        \
    do {                                                            \
        size_t i = 0;                                               \
        for (; i + 16 <= (n); i += 16) STEP(i, AVX512_ALL);         \
        if (i < (n)) {                                              \
            __mmask16 rest = avx512_first((n) - i);                 \
            STEP(i, rest);                                          \
        }                                                           \
    } while (0)

void kernels_avx512_axpy(float *y, const float *x, float s, size_t n) {
    const __m512 factor = _mm512_set1_ps(s);
#define STEP(i, m) avx512_store(y + (i), m, _mm512_fmadd_ps(factor, avx512_load(x + (i), m), avx512_load(y + (i), m)))
    EACH_VECTOR(n, STEP);
#undef STEP
}

void kernels_avx512_scale(float *y, const float *a, float s, size_t n) {
    const __m512 factor = _mm512_set1_ps(s);
#define STEP(i, m) avx512_store(y + (i), m, _mm512_mul_ps(avx512_load(a + (i), m), factor))
    EACH_VECTOR(n, STEP);
#undef STEP
}

void kernels_avx512_add(float *y, const float *x, size_t n) {
#define STEP(i, m) avx512_store(y + (i), m, _mm512_add_ps(avx512_load(y + (i), m), avx512_load(x + (i), m)))
    EACH_VECTOR(n, STEP);
#undef STEP
}

/* y = x * a * w */
static void scale_and_weigh(float *y, const float *x, float a, const float *w, size_t n) {
    const __m512 factor = _mm512_set1_ps(a);
#define STEP(i, m)                                                                              \
    avx512_store(y + (i), m, _mm512_mul_ps(_mm512_mul_ps(avx512_load(x + (i), m), factor), avx512_load(w + (i), m)))
    EACH_VECTOR(n, STEP);
#undef STEP
}

void kernels_avx512_rms_norm(float *y, const float *x, const float *w, float eps, size_t n) {
    float r = order_rms_factor(kernels_avx512_dot(x, x, n), eps, n);
    if (w) scale_and_weigh(y, x, r, w, n);
    else kernels_avx512_scale(y, x, r, n);
}

void kernels_avx512_l2_norm(float *y, const float *x, float eps, float s, size_t n) {
    const __m512 r = _mm512_set1_ps(1.0f / sqrtf(kernels_avx512_dot(x, x, n) + eps)), factor = _mm512_set1_ps(s);
#define STEP(i, m) avx512_store(y + (i), m, _mm512_mul_ps(_mm512_mul_ps(avx512_load(x + (i), m), r), factor))
    EACH_VECTOR(n, STEP);
#undef STEP
}

void kernels_avx512_silu_mul(float *y, const float *gate, const float *up, size_t n) {
#define STEP(i, m) avx512_store(y + (i), m, _mm512_mul_ps(avx512_silu(avx512_load(gate + (i), m)), avx512_load(up + (i), m)))
    EACH_VECTOR(n, STEP);
#undef STEP
}

void kernels_avx512_sigmoid_mul(float *y, const float *g, size_t n) {
#define STEP(i, m) avx512_store(y + (i), m, _mm512_mul_ps(avx512_load(y + (i), m), avx512_sigmoid(avx512_load(g + (i), m))))
    EACH_VECTOR(n, STEP);
#undef STEP
}

/* The exponential of up to sixteen values in place; what is beyond them adds nothing (exponentials are not negative: adding +0
 * changes no lane). */
ALWAYS_INLINE __m512 add_exp(float *x, __mmask16 lanes, __m512 shift, __m512 sum) {
    __m512 e = avx512_exp(_mm512_sub_ps(avx512_load(x, lanes), shift));
    avx512_store(x, lanes, e);
    return AVX512_WHOLE(lanes) ? _mm512_add_ps(sum, e) : _mm512_mask_add_ps(sum, lanes, sum, e);
}

float kernels_avx512_exp_sum(float *x, float shift, size_t n) {
    Lanes512 sum = {{_mm512_setzero_ps(), _mm512_setzero_ps()}};
    const __m512 by = _mm512_set1_ps(shift);
    size_t i = 0;
    for (; i + 32 <= n; i += 32)
        UNROLL for (size_t j = 0; j < 2; j++) sum.v[j] = add_exp(x + i + 16 * j, AVX512_ALL, by, sum.v[j]);
    if (i < n) sum.v[0] = add_exp(x + i, avx512_first(n - i), by, sum.v[0]);
    if (i + 16 < n) sum.v[1] = add_exp(x + i + 16, avx512_first(n - i - 16), by, sum.v[1]);
    return avx512_fold32(sum);
}

float kernels_avx512_max(const float *x, size_t n) {
    __m512 v = _mm512_set1_ps(x[0]);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) v = _mm512_max_ps(_mm512_loadu_ps(x + i), v);
    if (i < n) v = _mm512_mask_max_ps(v, avx512_first(n - i), avx512_load(x + i, avx512_first(n - i)), v);
    float lanes[16], m = x[0];
    _mm512_storeu_ps(lanes, v);
    for (size_t l = 0; l < 16; l++) m = lanes[l] > m ? lanes[l] : m;
    return m + 0.0f;
}

ALWAYS_INLINE void rotate(float *a, float *b, const float *cos, const float *sin, __mmask16 lanes) {
    __m512 x = avx512_load(a, lanes), y = avx512_load(b, lanes);
    __m512 c = avx512_load(cos, lanes), s = avx512_load(sin, lanes);
    avx512_store(a, lanes, _mm512_fmsub_ps(x, c, _mm512_mul_ps(y, s)));
    avx512_store(b, lanes, _mm512_fmadd_ps(y, c, _mm512_mul_ps(x, s)));
}

void kernels_avx512_rope(float *head, const float *cos, const float *sin, size_t rot) {
    size_t half = rot / 2;
#define STEP(i, m) rotate(head + (i), head + half + (i), cos + (i), sin + (i), m)
    EACH_VECTOR(half, STEP);
#undef STEP
}
