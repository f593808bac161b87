/* Putting keys and values where attention finds them. The same function on every rung: it is called once per token and head. */
#include "kernels/kv.h"

#include <math.h>
#include <string.h>

size_t kernels_kv_bytes(QuantType type, size_t dim) {
    size_t padded = align_up(dim, KV_LANES); /* the last panel of values is whole */
    return (size_t)quant_row_bytes(type, padded) * KERNELS_KEY_BLOCK;
}

static void put_u16(uint8_t *at, uint16_t v) { memcpy(at, &v, sizeof v); }

/* Codes of 32 values and their scale: max |x| / 127 rounded to f16, codes against the rounded scale. A value that is not finite
 * gives a scale that is not finite, and then every product is NaN. */
static uint16_t quantize_run(const float *x, int8_t *q) {
    float top = 0.0f;
    for (size_t i = 0; i < KV_RUN; i++)
        if (fabsf(x[i]) > top || isnan(x[i])) top = fabsf(x[i]); /* nothing is larger than a NaN */
    uint16_t half = quant_f32_to_f16(top / 127.0f);
    float scale = quant_f16_to_f32(half);
    for (size_t i = 0; i < KV_RUN; i++) {
        float code = scale > 0.0f && scale < INFINITY ? rintf(x[i] / scale) : 0.0f;
        q[i] = (int8_t)(code > 127.0f ? 127.0f : code < -127.0f ? -127.0f : code);
    }
    return half;
}

void kernels_store_key(QuantType type, void *block, size_t t, const float *key, size_t dim) {
    uint8_t *to = block;
    if (type == QUANT_F32)
        for (size_t i = 0; i < dim; i++) memcpy(to + kv_key_at(type, dim, t, i), key + i, sizeof *key);
    if (type == QUANT_F16)
        for (size_t i = 0; i < dim; i++) put_u16(to + kv_key_at(type, dim, t, i), quant_f32_to_f16(key[i]));
    if (type == QUANT_Q8_0)
        for (size_t run = 0; run < dim / KV_RUN; run++) {
            int8_t q[KV_RUN];
            put_u16(to + kv_key_scale(dim, t, run), quantize_run(key + run * KV_RUN, q));
            for (size_t i = 0; i < KV_RUN; i++) memcpy(to + kv_key_at(type, dim, t, run * KV_RUN + i), q + i, 1);
        }
}

void kernels_store_value(QuantType type, void *block, size_t t, const float *value, size_t dim) {
    uint8_t *to = block;
    if (type == QUANT_F32)
        for (size_t i = 0; i < dim; i++) memcpy(to + kv_value_at(type, t, i), value + i, sizeof *value);
    if (type == QUANT_F16)
        for (size_t i = 0; i < dim; i++) put_u16(to + kv_value_at(type, t, i), quant_f32_to_f16(value[i]));
    if (type == QUANT_Q8_0)
        for (size_t run = 0; run < dim / KV_RUN; run++) {
            int8_t q[KV_RUN];
            put_u16(to + kv_value_scale(t, run), quantize_run(value + run * KV_RUN, q));
            for (size_t i = 0; i < KV_RUN; i++) memcpy(to + kv_value_at(type, t, run * KV_RUN + i), q + i, 1);
        }
}
