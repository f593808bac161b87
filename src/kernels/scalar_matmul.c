/* Scalar rung: weight rows times activations, and the quantisation of activations. */
#include "kernels/group.h"
#include "kernels/order.h"
#include "kernels/rungs.h"

#include <string.h>

/* The largest |x| of a block. Compared as bit patterns, which order like the numbers, infinity and NaN last: a value that is not
 * finite makes the scale not finite, and so shows in every result instead of vanishing. */
static float largest_magnitude(const float *x, size_t n) {
    union {
        uint32_t u;
        float f;
    } largest = {0}, v;
    for (size_t i = 0; i < n; i++) {
        v.f = x[i];
        v.u &= 0x7FFFFFFF;
        if (v.u > largest.u) largest = v;
    }
    return largest.f;
}

/* n <= 32 values to block b of a group. */
static void quantize_block(const float *x, size_t n, KernelsActGroup *g, size_t b) {
    float s = largest_magnitude(x, n) / 127.0f;
    bool representable = s > 0.0f && s < INFINITY;
    int16_t sums[2] = {0};
    for (size_t i = 0; i < KERNELS_ACT_BLOCK; i++) {
        float v = i < n && representable ? x[i] / s : 0.0f; /* beyond 127 only where s is a denormal and was rounded much */
        v = v < 127.0f ? v : 127.0f;
        v = v > -127.0f ? v : -127.0f;
        size_t e = KERNELS_ACT_BLOCK * b + i;
        g->q[e] = g->turned[kernels_turned(e)] = (int8_t)lrintf(v);
        sums[i / 16] = (int16_t)(sums[i / 16] + g->q[e]);
    }
    g->sums[2 * b] = sums[0];
    g->sums[2 * b + 1] = sums[1];
    g->scale[b] = s;
}

void kernels_scalar_quantize(const float *x, KernelsActGroup *groups, size_t first, size_t n) {
    for (size_t i = 0; i < n; i += KERNELS_ACT_BLOCK) {
        size_t at = first + i, count = n - i < KERNELS_ACT_BLOCK ? n - i : KERNELS_ACT_BLOCK;
        quantize_block(x + i, count, &groups[at / KERNELS_ACT_GROUP], at % KERNELS_ACT_GROUP / KERNELS_ACT_BLOCK);
    }
}

/* Adds the products of one group to the lanes; see group.h. */
static void add_group(const Group *g, bool has_min, const KernelsActGroup *x, float lanes[ORDER_BLOCK_LANES]) {
    for (size_t b = 0; b < ORDER_BLOCK_LANES; b++) {
        int32_t sum = 0, min_sum = 0;
        for (size_t e = 32 * b; e < 32 * b + 32; e++) {
            sum += g->sub[e / 16] * g->w[e] * x->q[e];
            if (has_min) min_sum += g->min_sub[e / 16] * x->q[e];
        }
        lanes[b] = fmaf(g->scale[b] * x->scale[b], (float)sum, lanes[b]);
        if (has_min) lanes[b] = fmaf(g->min[b] * x->scale[b], (float)min_sum, lanes[b]);
    }
}

static float integer_dot(QuantType type, const uint8_t *row, size_t n, const KernelsActGroup *x) {
    float lanes[ORDER_BLOCK_LANES] = {0};
    bool has_min = group_form(type).has_min;
    size_t bytes = kernels_group_bytes(type);
    for (size_t first = 0; first < n; first += GROUP_ELEMS, row += bytes, x++) {
        size_t n_blocks = (n - first < GROUP_ELEMS ? n - first : GROUP_ELEMS) / KERNELS_ACT_BLOCK;
        Group g;
        kernels_group_unpack(type, row, n_blocks, &g);
        add_group(&g, has_min, x, lanes);
    }
    return order_fold(lanes, ORDER_BLOCK_LANES);
}

void kernels_scalar_matmul(QuantType type, const void *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens,
                           float *y, size_t y_stride, float *scratch) {
    size_t row_bytes = (size_t)quant_row_bytes(type, n);
    bool integer = kernels_has_integer(type);
    for (size_t r = 0; r < n_rows; r++) {
        const uint8_t *row = (const uint8_t *)w + r * row_bytes;
        bool decoded = false;
        for (size_t t = 0; t < n_tokens; t++) {
            float *out = &y[t * y_stride + r];
            if (integer && acts[t].groups) {
                *out = integer_dot(type, row, n, acts[t].groups);
                continue;
            }
            if (!decoded) quant_decode(type, row, scratch, n);
            decoded = true;
            *out = kernels_scalar_dot(scratch, acts[t].x, n);
        }
    }
}
