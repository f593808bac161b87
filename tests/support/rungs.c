#include "support/rungs.h"

#include <math.h>
#include <stddef.h>
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

/* Behind the name and the number, a rung is nothing but functions. */
static bool nothing_missing(const Kernels *k, const Kernels *r, char where[160]) {
    typedef void Function(void);
    const size_t first = offsetof(Kernels, dot), n = (sizeof(Kernels) - first) / sizeof(Function *);
    for (size_t i = 0; i < n; i++) {
        Function *of_k, *of_r;
        memcpy(&of_k, (const char *)k + first + i * sizeof of_k, sizeof of_k);
        memcpy(&of_r, (const char *)r + first + i * sizeof of_r, sizeof of_r);
        if (of_k && of_r) continue;
        snprintf(where, 160, "function %zu of %zu in struct Kernels, which the table of %s lacks", i + 1, n, of_k ? r->name : k->name);
        return false;
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
    y = box_floats(box, n, ORDINARY), z = box_copy(box, y, n); /* without a NaN where the gate has one, or nobody saw it get lost */
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

/* A few tokens at strides of their own; columns up to a whole block. */
static bool delta_rule_same(const Kernels *k, const Kernels *r, char *where) {
    static const size_t sizes[] = {1, 5, 8, 31, 32, 33, 100, 128}, columns[] = {1, 5, 8, 16, 17, 24, 31, 32};
    EACH_STYLE(style) for (size_t a = 0; a < COUNT_OF(sizes); a++) for (size_t b = 0; b < COUNT_OF(columns); b++) {
        size_t dk = sizes[a], n = columns[b], tokens = 1 + (a + b) % 3, stride = dk + n + 3, o_stride = n + 1;
        Box box = {.turn = a + b};
        float *S = box_floats(&box, dk * n, style), *S2 = box_copy(&box, S, dk * n);
        float *in = box_floats(&box, 3 * tokens * stride, style);
        float *gates = box_floats(&box, 4 * tokens, ORDINARY);
        float *o = box_floats(&box, tokens * o_stride, ORDINARY), *o2 = box_copy(&box, o, tokens * o_stride);
        KernelsDelta d = {.q = in, .k = in + tokens * stride, .v = in + 2 * tokens * stride, .o = o, .decay = gates, .beta = gates + 1,
                          .stride = stride, .o_stride = o_stride, .gate_stride = 2, .n_tokens = tokens, .dk = dk, .n_columns = n};
        k->delta_rule(S, &d);
        d.o = o2;
        r->delta_rule(S2, &d);
        bool same = same_floats(S, S2, dk * n) && same_floats(o, o2, tokens * o_stride);
        box_empty(&box);
        if (same) continue;
        snprintf(where, 160, "dk = %zu, %zu columns, %zu tokens, style %d", dk, n, tokens, (int)style);
        return false;
    }
    return true;
}

/* Keys and values in two blocks, every number of queries up to two tiles and one more, each with its own number of keys, joined and
 * divided: with NaN among the scores all of the result is NaN, and only that is promised. */
enum { MOST_QUERIES = 9, MOST_DIM = 128 };

static void attend(const Kernels *k, QuantType type, uint8_t *const blocks[4], size_t dim, const float *q, const size_t *n_keys, size_t n,
                   float *out) {
    static float parts[2][MOST_QUERIES][MOST_DIM + 2], scratch[MOST_QUERIES * KERNELS_KEY_BLOCK];
    KernelsQuery queries[MOST_QUERIES];
    for (size_t b = 0; b < 2; b++) {
        for (size_t a = 0; a < n; a++) queries[a] = (KernelsQuery){q + a * dim, parts[b][a], n_keys[a]};
        k->attention(type, blocks[2 * b], blocks[2 * b + 1], dim, queries, n, scratch);
    }
    for (size_t a = 0; a < n; a++) {
        k->attention_join(parts[0][a], parts[1][a], dim);
        k->scale(out + a * dim, parts[0][a], 1.0f / parts[0][a][dim + 1], dim);
    }
}

static bool attention_case(const Kernels *k, const Kernels *r, QuantType type, size_t dim, size_t n, size_t keys, Style style) {
    Box box = {.turn = dim + n};
    uint8_t *blocks[4]; /* keys, values, keys, values */
    for (size_t b = 0; b < 4; b++) {
        blocks[b] = box_take(&box, kernels_kv_bytes(type, dim), 2);
        memset(blocks[b], 0xFF, kernels_kv_bytes(type, dim)); /* NaN where nothing was stored: it must not be used */
        for (size_t t = 0; t < keys; t++) {
            float *row = box_floats(&box, dim, style == SPECIAL && random_bits() % 64 ? WIDE : style);
            (b % 2 ? kernels_store_value : kernels_store_key)(type, blocks[b], t, row, dim);
            free(box.blocks[--box.count]);
        }
    }
    size_t n_keys[MOST_QUERIES];
    for (size_t a = 0; a < n; a++) n_keys[a] = n % 2 ? keys : 1 + random_bits() % keys;
    float *q = box_floats(&box, n * dim, style == SPECIAL ? WIDE : style);
    float *want = box_floats(&box, n * dim, ORDINARY), *got = box_floats(&box, n * dim, ORDINARY);
    attend(k, type, blocks, dim, q, n_keys, n, want);
    attend(r, type, blocks, dim, q, n_keys, n, got);
    bool same = same_floats(want, got, n * dim);
    box_empty(&box);
    return same;
}

static bool attention_same(const Kernels *k, const Kernels *r, char *where) {
    static const size_t dims[] = {1, 8, 20, 32, 64, 71, MOST_DIM}, keys_of[] = {1, 2, 15, 16, 17, 63, 200, KERNELS_KEY_BLOCK};
    static const QuantType types[] = {QUANT_F32, QUANT_F16, QUANT_Q8_0};
    EACH_STYLE(style) for (size_t i = 0; i < COUNT_OF(dims) * COUNT_OF(keys_of) * COUNT_OF(types); i++) {
        size_t dim = dims[i % COUNT_OF(dims)], keys = keys_of[i / COUNT_OF(dims) % COUNT_OF(keys_of)];
        size_t n = 1 + random_bits() % MOST_QUERIES;
        QuantType type = types[i / COUNT_OF(dims) / COUNT_OF(keys_of)];
        if (type == QUANT_Q8_0 && dim % 32) continue;
        if (attention_case(k, r, type, dim, n, keys, style)) continue;
        snprintf(where, 160, "%s, dim = %zu, %zu keys, %zu queries, style %d", quant_traits(type)->name, dim, keys, n, (int)style);
        return false;
    }
    return true;
}

/* ---- matrices ------------------------------------------------------------------------------------------------------ */

typedef enum WithQ { NO_Q, ALL_Q, SOME_Q, WITH_Q_COUNT } WithQ;

/* The same weight everywhere, the least or the largest one of these bytes, but for the scales of the blocks. */
static void fill_weights(QuantType type, uint8_t *w, size_t n, int fill) {
    const QuantTraits *traits = quant_traits(type);
    size_t head = type == QUANT_MXFP4 ? 1 : 0, bytes = traits->block_bytes;
    if (traits->n_scales + head == 0) return;
    for (uint8_t *block = w; block < w + n / traits->block_elems * bytes; block += bytes) {
        uint8_t was[512];
        memcpy(was, block, bytes);
        memset(block + head, fill, bytes - head);
        memcpy(block + traits->scale_offset, was + traits->scale_offset, 2 * (size_t)traits->n_scales);
    }
}

/* fill: of every byte of the weights, and then all activations are equal too: the largest sums that there are; negative: at random. */
static bool matmul_case(const Kernels *k, const Kernels *r, QuantType type, size_t n, size_t rows, size_t tokens, WithQ with,
                        Style style, int fill) {
    Box box = {.turn = n + rows};
    KernelsActs acts[64];
    size_t row_bytes = (size_t)quant_row_bytes(type, n), stride = rows + 2;
    uint8_t *w = box_take(&box, rows * row_bytes, 1);
    rung_random_weights(type, w, rows * n, style == ORDINARY);
    if (fill >= 0) fill_weights(type, w, rows * n, fill);
    for (size_t t = 0; t < tokens; t++) {
        float *x = box_floats(&box, n, style);
        for (size_t i = 0; i < n && fill >= 0; i++) x[i] = t % 2 ? -1.0f : 1.0f;
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
                if (matmul_case(k, r, (QuantType)t, n, rows, tokens, with, style, -1)) continue;
                snprintf(where, 160, "%s, n = %zu, %zu rows, %zu tokens, %s, style %d", traits->name, n, rows, tokens,
                         with == NO_Q ? "f32" : with == ALL_Q ? "quantised" : "mixed", (int)style);
                return false;
            }
    }
    return true;
}

/* Sums at the ends of their range: whatever is added in 16 bits must fit. */
static bool largest_same(const Kernels *k, const Kernels *r, char *where) {
    static const int fills[] = {0x00, 0xFF, 0x0F, 0xF0, 0x7F, 0x80, 0x88, 0x77};
    for (unsigned t = 0; t < QUANT_TYPE_COUNT; t++) {
        if (!kernels_has_integer((QuantType)t)) continue;
        for (size_t i = 0; i < COUNT_OF(fills); i++)
            for (size_t tokens = 1; tokens < 48; tokens += tokens < 9 ? 1 : 19) {
                if (matmul_case(k, r, (QuantType)t, 512, 6, tokens, ALL_Q, ORDINARY, fills[i])) continue;
                snprintf(where, 160, "%s, all bytes %02x, %zu tokens", quant_traits((QuantType)t)->name, (unsigned)fills[i], tokens);
                return false;
            }
    }
    return true;
}

const RungCheck rung_checks[] = {
    {"every function", nothing_missing},
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
    {"matmul of the largest sums", largest_same},
};
const size_t rung_check_count = COUNT_OF(rung_checks);

uint64_t rung_digest(const RungCheck *check, const Kernels *k) {
    char where[160];
    random_state = 42;
    digest = 0xCBF29CE484222325;
    (void)check->same(k, k, where);
    return digest;
}
