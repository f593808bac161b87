/* Inside the kernels room: where the keys and values of one head stand in a block. Attention reads both from end to end:
 *
 *   keys    [groups of 16 keys][dim][16]: a vector holds one element of neighbouring keys, so that scores need no fold;
 *   values  [panels of 16 elements][KERNELS_KEY_BLOCK][16]: a vector holds neighbouring elements of one value.
 *
 * q8_0 has a scale for each run of 32 elements of a key or value, as in the file format; codes and scales of a run stand together:
 *
 *   keys    [groups of 16 keys][runs] { int8 [32][16], f16 scales [16] }
 *   values  [runs] { int8 [2 panels][KERNELS_KEY_BLOCK][16], f16 scales [KERNELS_KEY_BLOCK] } */
#ifndef KERNELS_KV_H
#define KERNELS_KV_H

#include "kernels/kernels.h"

enum {
    KV_LANES = 16, /* keys of a group, elements of a panel */
    KV_RUN = 32,   /* elements that share a scale */
    KV_KEY_RUN_BYTES = KV_RUN * KV_LANES + 2 * KV_LANES,
    KV_VALUE_RUN_BYTES = KV_RUN * KERNELS_KEY_BLOCK + 2 * KERNELS_KEY_BLOCK,
};

/* Bytes of one number, its scale left aside. */
static inline size_t kv_bytes(QuantType type) { return type == QUANT_F32 ? 4 : type == QUANT_F16 ? 2 : 1; }

/* Element i of key t: q8_0: of its code; kv_key_scale: of the code's scale. */
static inline size_t kv_key_at(QuantType type, size_t dim, size_t t, size_t i) {
    size_t group = t / KV_LANES, lane = t % KV_LANES;
    if (type != QUANT_Q8_0) return ((group * dim + i) * KV_LANES + lane) * kv_bytes(type);
    return (group * (dim / KV_RUN) + i / KV_RUN) * KV_KEY_RUN_BYTES + i % KV_RUN * KV_LANES + lane;
}
static inline size_t kv_key_scale(size_t dim, size_t t, size_t run) {
    return (t / KV_LANES * (dim / KV_RUN) + run) * KV_KEY_RUN_BYTES + (size_t)KV_RUN * KV_LANES + 2 * (t % KV_LANES);
}

/* Element i of value t: q8_0: of its code; kv_value_scale: of the code's scale. */
static inline size_t kv_value_at(QuantType type, size_t t, size_t i) {
    if (type != QUANT_Q8_0) return ((i / KV_LANES * KERNELS_KEY_BLOCK + t) * KV_LANES + i % KV_LANES) * kv_bytes(type);
    size_t panel = i % KV_RUN / KV_LANES;
    return i / KV_RUN * KV_VALUE_RUN_BYTES + (panel * KERNELS_KEY_BLOCK + t) * KV_LANES + i % KV_LANES;
}
static inline size_t kv_value_scale(size_t t, size_t run) {
    return run * KV_VALUE_RUN_BYTES + (size_t)KV_RUN * KERNELS_KEY_BLOCK + 2 * t;
}

#endif
