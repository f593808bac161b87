/* Inside the kernels room: the order of sums, and the few formulas on their results that all rungs share. */
#ifndef KERNELS_ORDER_H
#define KERNELS_ORDER_H

#include <math.h>
#include <stddef.h>

enum {
    ORDER_LANES = 32,      /* of a float dot product: lane l adds elements l, l + 32, ... */
    ORDER_BLOCK_LANES = 8, /* of an integer dot product: lane l adds blocks l, l + 8, ... */
};

/* Folds lanes to one: 32 -> 16 -> ... -> 1, lane i += lane i + half. */
static inline float order_fold(float *lanes, size_t n) {
    for (size_t half = n / 2; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++) lanes[i] += lanes[i + half];
    return lanes[0];
}

static inline float order_rms_factor(float sum_of_squares, float eps, size_t n) {
    return 1.0f / sqrtf(sum_of_squares / (float)n + eps);
}

#endif
