#include "support/rungs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- inputs ------------------------------------------------------------------------------------------------------- */

static uint64_t random_state = 42;

static uint32_t random_bits(void) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 32);
}

float rung_random(void) { return (float)(int32_t)random_bits() * 0x1p-31f; }

/* Ordinary values; all magnitudes, zeros and denormals; the same with infinities and NaN. */
typedef enum Style { ORDINARY, WIDE, SPECIAL, STYLE_COUNT } Style;

static float random_value(Style style) {
    static const float special[] = {INFINITY, -INFINITY, NAN, 0x1.fffffep127f, -0x1.fffffep127f};
    if (style == ORDINARY) return rung_random() * 2.0f;
    uint32_t pick = random_bits() % 32;
    if (pick == 0) return 0.0f;
    if (pick == 1) return -0.0f;
    if (pick == 2) return rung_random() * 0x1p-130f;
    if (pick == 3 && style == SPECIAL) return special[random_bits() % COUNT_OF(special)];
    if (pick < 16) return rung_random() * 100.0f;
    float mantissa = rung_random(); /* on a line of its own: the order in which arguments are evaluated is the compiler's choice */
    return ldexpf(mantissa, (int)(random_bits() % 277) - 149);
}

void rung_random_weights(QuantType type, uint8_t *w, size_t n, bool moderate) {
    const QuantTraits *traits = quant_traits(type);
    size_t blocks = n / traits->block_elems;
    for (size_t i = 0; i < blocks * traits->block_bytes; i++) w[i] = (uint8_t)random_bits();
    for (size_t i = 0; moderate && i < blocks; i++) {
        uint8_t *block = w + i * traits->block_bytes;
        for (uint32_t s = 0; s < traits->n_scales; s++) {
            uint16_t h = quant_f32_to_f16(rung_random() * 0.1f);
            memcpy(block + traits->scale_offset + 2 * s, &h, 2);
        }
        float f = rung_random();
        uint16_t f16 = quant_f32_to_f16(f), bf16 = quant_f32_to_bf16(f);
        if (type == QUANT_F32) memcpy(block, &f, 4);
        if (type == QUANT_F16) memcpy(block, &f16, 2);
        if (type == QUANT_BF16) memcpy(block, &bf16, 2);
        if (type == QUANT_MXFP4) block[0] = (uint8_t)(120 + block[0] % 8);
        if (type == QUANT_NVFP4)
            for (int s = 0; s < 4; s++) block[s] = (uint8_t)(0x30 + block[s] % 8);
        if (type == QUANT_IQ1_M) /* its scale is spread over the high bits of the last four words */
            for (int s = 0; s < 4; s++) block[49 + 2 * s] = (uint8_t)((block[49 + 2 * s] & 15) | (s == 3 ? 0x20 : 0x40));
    }
}

/* Arrays of exactly the length asked for, at changing distances from an aligned address, freed together. */
typedef struct Box {
    void *blocks[512];
    size_t count, turn;
} Box;

static void *box_take(Box *box, size_t bytes, size_t align) {
    size_t offset = ++box->turn * 5 % 8 * align;
    uint8_t *base = malloc(offset + bytes + 1);
    if (!base || box->count == COUNT_OF(box->blocks)) abort();
    box->blocks[box->count++] = base;
    base = realloc(base, offset + bytes ? offset + bytes : 1);
    if (!base) abort();
    box->blocks[box->count - 1] = base;
    return base + offset;
}

static float *box_floats(Box *box, size_t n, Style style) {
    float *x = box_take(box, n * sizeof *x, sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = random_value(style);
    return x;
}

/* Groups for n activations, with `fill` in every byte. */
static KernelsActGroup *box_groups(Box *box, size_t n, int fill) {
    size_t bytes = kernels_act_groups(n) * sizeof(KernelsActGroup);
    void *groups = aligned_alloc(_Alignof(KernelsActGroup), bytes ? bytes : sizeof(KernelsActGroup));
    if (!groups || box->count == COUNT_OF(box->blocks)) abort();
    memset(groups, fill, bytes);
    return box->blocks[box->count++] = groups;
}

static float *box_copy(Box *box, const float *x, size_t n) {
    float *copy = box_take(box, n * sizeof *copy, sizeof *copy);
    if (n) memcpy(copy, x, n * sizeof *copy);
    return copy;
}

static void box_empty(Box *box) {
    for (size_t i = 0; i < box->count; i++) free(box->blocks[i]);
    box->count = 0;
}

/* Of all values that were compared, see rung_digest: FNV-1a. */
static uint64_t digest;

static void digest_bytes(const void *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) digest = (digest ^ ((const uint8_t *)bytes)[i]) * 0x100000001B3;
}

/* The same bits, or both NaN. */
static bool same_floats(const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (isnan(a[i])) digest_bytes("NaN", 3);
        else digest_bytes(&a[i], sizeof *a);
        if (memcmp(&a[i], &b[i], sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i]))) return false;
    }
    return true;
}

/* ---- along one vector ---------------------------------------------------------------------------------------------- */

static size_t next_length(size_t n) { return n < 130 ? n + 1 : n < 1000 ? n * 2 - 3 : 5000; }
#define EACH_LENGTH(n, first) for (size_t n = (first); n < 5000; n = next_length(n))
#define EACH_STYLE(s) for (Style s = ORDINARY; s < STYLE_COUNT; s++)

typedef bool VectorCheck(const Kernels *k, const Kernels *r, Box *box, Style style, size_t n);

static bool each_vector(VectorCheck *check, size_t shortest, const Kernels *k, const Kernels *r, char *where) {
    EACH_STYLE(style) EACH_LENGTH(n, shortest) {
        Box box = {.turn = n};
        bool same = check(k, r, &box, style, n);
        box_empty(&box);
        if (same) continue;
        snprintf(where, 160, "n = %zu, style %d", n, (int)style);
        return false;
    }
    return true;
}

static bool dot_case(const Kernels *k, const Kernels *r, Box *box, Style style, size_t n) {
    float *a = box_floats(box, n, style), *b = box_floats(box, n, style);
    float want = k->dot(a, b, n), got = r->dot(a, b, n);
    return same_floats(&want, &got, 1);
}

static bool plain_case(const Kernels *k, const Kernels *r, Box *box, Style style, size_t n) {
    float *x = box_floats(box, n, style), *y = box_floats(box, n, style), *z = box_copy(box, y, n), s = random_value(style);
    k->axpy(y, x, s, n), r->axpy(z, x, s, n);
    if (!same_floats(y, z, n)) return false;
    k->add(y, x, n), r->add(z, x, n);
    if (!same_floats(y, z, n)) return false;
    k->scale(y, x, s, n), r->scale(z, x, s, n);
    return same_floats(y, z, n);
}

static bool norm_case(const Kernels *k, const Kernels *r, Box *box, Style style, size_t n) {
    float *x = box_floats(box, n, style), *w = box_floats(box, n, style);
    float *y = box_floats(box, n, ORDINARY), *z = box_floats(box, n, ORDINARY);
    k->rms_norm(y, x, w, 1e-6f, n), r->rms_norm(z, x, w, 1e-6f, n);
    if (!same_floats(y, z, n)) return false;
    k->l2_norm(y, x, 1e-6f, 0.3f, n), r->l2_norm(z, x, 1e-6f, 0.3f, n);
    if (!same_floats(y, z, n)) return false;
    z = box_copy(box, x, n);
    k->rms_norm(y, x, NULL, 1e-5f, n), r->rms_norm(z, z, NULL, 1e-5f, n); /* in place */
    return same_floats(y, z, n);
}

static bool activation_case(const Kernels *k, const Kernels *r, Box *box, Style style, size_t n) {
    float *gate = box_floats(box, n, style), *up = box_floats(box, n, style);
    for (size_t i = 0; i < n && style == ORDINARY; i++) gate[i] *= 60.0f;
    float *y = box_floats(box, n, ORDINARY), *z = box_copy(box, gate, n);
    k->silu_mul(y, gate, up, n), r->silu_mul(z, z, up, n); /* in place */
    if (!same_floats(y, z, n)) return false;
    k->sigmoid_mul(y, gate, n), r->sigmoid_mul(z, gate, n);
    return same_floats(y, z, n);
}

static bool exp_sum_case(const Kernels *k, const Kernels *r, Box *box, Style style, size_t n) {
    float *x = box_floats(box, n, style);
    for (size_t i = 0; i < n && style == ORDINARY; i++) x[i] *= 60.0f;
    float *z = box_copy(box, x, n), shift = random_value(ORDINARY), sums[2];
    sums[0] = k->exp_sum(x, shift, n), sums[1] = r->exp_sum(z, shift, n);
    return same_floats(x, z, n) && same_floats(&sums[0], &sums[1], 1);
}

static bool max_case(const Kernels *k, const Kernels *r, Box *box, Style style, size_t n) {
    float *x = box_floats(box, n, style);
    for (size_t i = 0; i < n; i++) x[i] = isnan(x[i]) ? -0.0f : style == WIDE ? -fabsf(x[i]) : x[i]; /* WIDE: zeros of both signs win */
    float want = k->max(x, n), got = r->max(x, n);
    return same_floats(&want, &got, 1);
}

static bool rope_case(const Kernels *k, const Kernels *r, Box *box, Style style, size_t n) {
    float *head = box_floats(box, 2 * n, style), *copy = box_copy(box, head, 2 * n);
    float *cos_ = box_floats(box, n, ORDINARY), *sin_ = box_floats(box, n, ORDINARY);
    k->rope(head, cos_, sin_, 2 * n), r->rope(copy, cos_, sin_, 2 * n);
    return same_floats(head, copy, 2 * n);
}

static bool quantize_case(const Kernels *k, const Kernels *r, Box *box, Style style, size_t n) {
    size_t first = KERNELS_ACT_BLOCK * (random_bits() % 8), groups = kernels_act_groups(first + n);
    float *x = box_floats(box, n, style);
    for (size_t i = 0; i < n && n % 3 == 0; i++) x[i] *= 0x1p-140f; /* scales that are denormals */
    KernelsActGroup *a = box_groups(box, first + n, 0x55), *b = box_groups(box, first + n, 0x55);
    k->quantize(x, a, first, n), r->quantize(x, b, first, n);
    for (size_t g = 0; g < groups; g++) { /* what a NaN's bits are is not promised */
        if (!same_floats(a[g].scale, b[g].scale, COUNT_OF(a->scale))) return false;
        memcpy(a[g].scale, b[g].scale, sizeof a->scale);
        digest_bytes(&a[g], offsetof(KernelsActGroup, scale));
    }
    return memcmp(a, b, groups * sizeof *a) == 0;
}

#define VECTOR_CHECK(name, shortest)                                                \
    static bool name##_same(const Kernels *k, const Kernels *r, char *where) {      \
        return each_vector(name##_case, shortest, k, r, where);                     \
    }
VECTOR_CHECK(dot, 0)
VECTOR_CHECK(plain, 0)
VECTOR_CHECK(norm, 0)
VECTOR_CHECK(activation, 0)
VECTOR_CHECK(exp_sum, 0)
VECTOR_CHECK(max, 1)
VECTOR_CHECK(rope, 0)
VECTOR_CHECK(quantize, 0)

/* ---- mixing over tokens -------------------------------------------------------------------------------------------- */

static bool conv_silu_same(const Kernels *k, const Kernels *r, char *where) {
    EACH_STYLE(style) for (size_t width = 1; width <= 6; width++) for (size_t n = 0; n < 300; n += n < 70 ? 1 : 61) {
        Box box = {.turn = n};
        float *state = box_floats(&box, (width - 1) * n, style), *state2 = box_copy(&box, state, (width - 1) * n);
        float *w = box_floats(&box, width * n, style), *x = box_floats(&box, n, style);
        float *y = box_floats(&box, n, ORDINARY), *z = box_copy(&box, x, n);
        k->conv_silu(y, x, state, w, n, width), r->conv_silu(z, z, state2, w, n, width); /* in place */
        bool same = same_floats(y, z, n) && same_floats(state, state2, (width - 1) * n);
        box_empty(&box);
        if (same) continue;
        snprintf(where, 160, "n = %zu, width %zu, style %d", n, width, (int)style);
        return false;
    }
    return true;
}

static bool delta_rule_same(const Kernels *k, const Kernels *r, char *where) {
    static const size_t sizes[] = {1, 5, 8, 16, 31, 32, 33, 64, 77, 100, 128};
    EACH_STYLE(style) for (size_t a = 0; a < COUNT_OF(sizes); a++) for (size_t b = 0; b < COUNT_OF(sizes); b++) {
        size_t dk = sizes[a], dv = sizes[b];
        Box box = {.turn = a + b};
        float *S = box_floats(&box, dk * dv, style), *S2 = box_copy(&box, S, dk * dv), *tmp = box_floats(&box, 2 * dv, ORDINARY);
        float *q = box_floats(&box, dk, style), *key = box_floats(&box, dk, style), *v = box_floats(&box, dv, style);
        float *o = box_floats(&box, dv, ORDINARY), *o2 = box_copy(&box, v, dv), decay = fabsf(rung_random());
        k->delta_rule(S, q, key, v, decay, 0.7f, o, tmp, dk, dv);
        r->delta_rule(S2, q, key, o2, decay, 0.7f, o2, tmp, dk, dv); /* o in place of v */
        bool same = same_floats(S, S2, dk * dv) && same_floats(o, o2, dv);
        box_empty(&box);
        if (same) continue;
        snprintf(where, 160, "dk = %zu, dv = %zu, style %d", dk, dv, (int)style);
        return false;
    }
    return true;
}

static uint16_t *box_halves(Box *box, const float *x, size_t n) {
    uint16_t *h = box_take(box, n * sizeof *h, sizeof *h);
    for (size_t i = 0; i < n; i++) h[i] = quant_f32_to_f16(x[i]);
    return h;
}

static bool attention_same(const Kernels *k, const Kernels *r, char *where) {
    static const size_t sizes[] = {1, 8, 20, 64, 71, 128}, keys_of[] = {0, 1, 2, 7, 63, 64, 65, 130, 333};
    EACH_STYLE(style) for (size_t a = 0; a < COUNT_OF(sizes); a++) for (size_t b = 0; b < COUNT_OF(keys_of); b++) {
        size_t dim = sizes[a], dim_v = sizes[(a + b) % COUNT_OF(sizes)], n = keys_of[b], larger = dim > dim_v ? dim : dim_v;
        Box box = {.turn = a + b};
        float *q = box_floats(&box, dim, style);
        float *scratch = box_floats(&box, KERNELS_KEY_BLOCK + 2 * larger, ORDINARY);
        float *o = box_floats(&box, dim_v, ORDINARY), *o2 = box_floats(&box, dim_v, ORDINARY);
        size_t stride_k = dim + 3, stride_v = dim_v + 1;
        float *keys = box_floats(&box, n * stride_k, style), *values = box_floats(&box, n * stride_v, style);
        uint16_t *hk = box_halves(&box, keys, n * stride_k), *hv = box_halves(&box, values, n * stride_v);
        k->attention(q, keys, values, QUANT_F32, stride_k, stride_v, n, dim, dim_v, o, scratch);
        r->attention(q, keys, values, QUANT_F32, stride_k, stride_v, n, dim, dim_v, o2, scratch);
        bool same = same_floats(o, o2, dim_v);
        k->attention(q, hk, hv, QUANT_F16, stride_k, stride_v, n, dim, dim_v, o, scratch);
        r->attention(q, hk, hv, QUANT_F16, stride_k, stride_v, n, dim, dim_v, o2, scratch);
        same = same && same_floats(o, o2, dim_v);
        box_empty(&box);
        if (same) continue;
        snprintf(where, 160, "dim = %zu, dim_v = %zu, %zu keys, style %d", dim, dim_v, n, (int)style);
        return false;
    }
    return true;
}

/* ---- matrices ------------------------------------------------------------------------------------------------------ */

typedef enum WithQ { NO_Q, ALL_Q, SOME_Q, WITH_Q_COUNT } WithQ;

static bool matmul_case(const Kernels *k, const Kernels *r, QuantType type, size_t n, size_t rows, size_t tokens, WithQ with,
                        Style style) {
    Box box = {.turn = n + rows};
    KernelsActs acts[64];
    size_t row_bytes = (size_t)quant_row_bytes(type, n), stride = rows + 2;
    uint8_t *w = box_take(&box, rows * row_bytes, 1);
    rung_random_weights(type, w, rows * n, style == ORDINARY);
    for (size_t t = 0; t < tokens; t++) {
        float *x = box_floats(&box, n, style);
        KernelsActGroup *groups = box_groups(&box, n, 0);
        k->quantize(x, groups, 0, n);
        bool quantised = with == ALL_Q || (with == SOME_Q && t % 3 != 1);
        acts[t] = (KernelsActs){x, quantised ? groups : NULL};
    }
    float *y = box_floats(&box, tokens * stride, ORDINARY), *z = box_copy(&box, y, tokens * stride);
    float *scratch = box_floats(&box, n, ORDINARY);
    k->matmul(type, w, rows, n, acts, tokens, y, stride, scratch);
    r->matmul(type, w, rows, n, acts, tokens, z, stride, scratch);
    bool same = same_floats(y, z, tokens * stride);
    box_empty(&box);
    return same;
}

static size_t next_width(const QuantTraits *traits, size_t n) {
    if (traits->block_elems == 1) return n < 70 ? n + 1 : n + 61;
    return n < 512 ? n + traits->block_elems : n + 768;
}

static bool matmul_same(const Kernels *k, const Kernels *r, char *where) {
    for (unsigned t = 0; t < QUANT_TYPE_COUNT; t++) {
        const QuantTraits *traits = quant_traits((QuantType)t);
        if (!traits->decode) continue;
        for (size_t n = traits->block_elems; n < 1300; n = next_width(traits, n))
            for (unsigned i = 0; i < STYLE_COUNT * WITH_Q_COUNT; i++) {
                Style style = (Style)(i % STYLE_COUNT);
                WithQ with = (WithQ)(i / STYLE_COUNT);
                size_t rows = 1 + random_bits() % 6, tokens = 1 + random_bits() % 5;
                if ((n == 256 || n == 288) && style == ORDINARY && with != SOME_Q) tokens = 45, rows = 37; /* more than any tile */
                if (matmul_case(k, r, (QuantType)t, n, rows, tokens, with, style)) continue;
                snprintf(where, 160, "%s, n = %zu, %zu rows, %zu tokens, %s, style %d", traits->name, n, rows, tokens,
                         with == NO_Q ? "f32" : with == ALL_Q ? "quantised" : "mixed", (int)style);
                return false;
            }
    }
    return true;
}

const RungCheck rung_checks[] = {
    {"dot", dot_same},
    {"axpy, add, scale", plain_same},
    {"rms_norm, l2_norm", norm_same},
    {"silu_mul, sigmoid_mul", activation_same},
    {"exp_sum", exp_sum_same},
    {"max", max_same},
    {"rope", rope_same},
    {"quantize", quantize_same},
    {"conv_silu", conv_silu_same},
    {"delta_rule", delta_rule_same},
    {"attention", attention_same},
    {"matmul", matmul_same},
};
const size_t rung_check_count = COUNT_OF(rung_checks);

uint64_t rung_digest(const RungCheck *check, const Kernels *k) {
    char where[160];
    random_state = 42;
    digest = 0xCBF29CE484222325;
    (void)check->same(k, k, where);
    return digest;
}
