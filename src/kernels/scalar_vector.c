/* Scalar rung, along one vector: dot products, norms, activations, rotary embedding. */
#include "kernels/order.h"
#include "kernels/poly.h"
#include "kernels/rungs.h"

#include <string.h>

float kernels_scalar_dot(const float *a, const float *b, size_t n) {
    float lanes[ORDER_LANES] = {0};
    size_t whole = n - n % ORDER_LANES;
    for (size_t i = 0; i < whole; i += ORDER_LANES)
        for (size_t l = 0; l < ORDER_LANES; l++) lanes[l] = fmaf(a[i + l], b[i + l], lanes[l]);
    if (whole < n)
        for (size_t l = 0; l < ORDER_LANES; l++) {
            bool there = whole + l < n;
            lanes[l] = fmaf(there ? a[whole + l] : 0.0f, there ? b[whole + l] : 0.0f, lanes[l]);
        }
    return order_fold(lanes, ORDER_LANES);
}

void kernels_scalar_axpy(float *y, const float *x, float s, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = fmaf(s, x[i], y[i]);
}

void kernels_scalar_scale(float *y, const float *a, float s, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = a[i] * s;
}

void kernels_scalar_add(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

void kernels_scalar_rms_norm(float *y, const float *x, const float *w, float eps, size_t n) {
    float r = order_rms_factor(kernels_scalar_dot(x, x, n), eps, n);
    for (size_t i = 0; i < n; i++) y[i] = w ? x[i] * r * w[i] : x[i] * r;
}

void kernels_scalar_l2_norm(float *y, const float *x, float eps, float s, size_t n) {
    float r = 1.0f / sqrtf(kernels_scalar_dot(x, x, n) + eps);
    for (size_t i = 0; i < n; i++) y[i] = x[i] * r * s;
}

void kernels_scalar_silu_mul(float *y, const float *gate, const float *up, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = poly_silu(gate[i]) * up[i];
}

void kernels_scalar_sigmoid_mul(float *y, const float *g, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] *= poly_sigmoid(g[i]);
}

float kernels_scalar_exp_sum(float *x, float shift, size_t n) {
    float lanes[ORDER_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        x[i] = poly_exp(x[i] - shift);
        lanes[i % ORDER_LANES] += x[i];
    }
    return order_fold(lanes, ORDER_LANES);
}

float kernels_scalar_max(const float *x, size_t n) {
    float m = x[0];
    for (size_t i = 1; i < n; i++) m = x[i] > m ? x[i] : m;
    return m + 0.0f; /* -0 becomes +0, so that the order of comparisons cannot be seen */
}

void kernels_scalar_rope(float *head, const float *cos, const float *sin, size_t rot) {
    size_t half = rot / 2;
    for (size_t i = 0; i < half; i++) {
        float a = head[i], b = head[i + half];
        head[i] = fmaf(a, cos[i], -(b * sin[i]));
        head[i + half] = fmaf(b, cos[i], a * sin[i]);
    }
}
