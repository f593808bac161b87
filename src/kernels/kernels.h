/* kernels: the arithmetic. Knows no model.
 *
 * What this is    a table of functions, one column per rung of the ladder (scalar < avx2 < ... on x86-64, scalar < neon on
 *                 AArch64), chosen once by CPU flags. scalar is the truth: every rung gives the same bits.
 * Who owns what   nothing; every array is the caller's.
 * What may fail   choosing a rung by its name; nothing else.
 * Threads         all functions are pure; callers split rows, heads or tokens over threads.
 * Promise         sums have an order, and it belongs to the output element alone. A float dot product of length n uses 32
 *                 virtual lanes: lane l adds elements l, l+32, l+64, ... with fused multiply-add in that order; then lanes
 *                 are folded 32 -> 16 -> 8 -> 4 -> 2 -> 1 (lane i += lane i + half). Elements that the last 32 lack count as
 *                 +0 * +0. With quantised activations the integer sum of a block of 32 is exact and adds one float (two for
 *                 types with minima); block b belongs to lane b % 8, blocks are added in ascending order, and the 8 lanes are
 *                 folded in the same way (formula: group.h). exp, sigmoid and friends are one polynomial on every rung. So
 *                 tile, batch, thread and instruction set never change a bit. NaN stays NaN on every rung, but which NaN is
 *                 not promised. Checked by tests/unit/test_kernels.c and test_kernels_rungs.c.
 */
#ifndef KERNELS_KERNELS_H
#define KERNELS_KERNELS_H

#include "base/base.h"
#include "quant/quant.h"

enum { KERNELS_ACT_BLOCK = 32, KERNELS_ACT_GROUP = 256 };

/* One line per rung, from low to high on each kind of CPU: its name, the builds that have it, and the flag of the CPU that it needs
 * (OS_CPU_LIST in os/os.h). A rung is a line here and its files. */
#define KERNELS_LIST(X)                   \
    X(SCALAR, scalar, ANY, 0)             \
    X(AVX2, avx2, X86, OS_CPU_AVX2)       \
    X(AVX512, avx512, X86, OS_CPU_AVX512) \
    X(NEON, neon, ARM, OS_CPU_NEON)

typedef enum KernelsRung {
#define X(NAME, ...) KERNELS_##NAME,
    KERNELS_LIST(X)
#undef X
    KERNELS_RUNG_COUNT
} KernelsRung;
#define KERNELS_WORD(NAME, name, ...) #name "|"
#define KERNELS_CHOICES KERNELS_LIST(KERNELS_WORD) /* "scalar|avx2|...|" */

/* 256 quantised activations, in the forms that the matrix kernels want: whatever one of them would have to prepare is prepared
 * here, once for all rows of all matrices. */
typedef struct KernelsActGroup {
    _Alignas(64) int8_t q[KERNELS_ACT_GROUP]; /* within +-127; block b = e / 32 of element e: value = scale[b] * q[e] */
    int8_t turned[KERNELS_ACT_GROUP]; /* q, turned by kernels_turned: run k of 32 holds elements 4k .. 4k + 3 of all eight blocks */
    int16_t sums[16];                 /* of every 16 neighbours in q */
    float scale[8];
} KernelsActGroup;

/* Where element e of a group stands in `turned`. */
static inline size_t kernels_turned(size_t e) { return 32 * (e % 32 / 4) + 4 * (e / 32) + e % 4; }

static inline size_t kernels_act_groups(size_t n) { return (n + KERNELS_ACT_GROUP - 1) / KERNELS_ACT_GROUP; }

/* Groups from one row of activations to the next, where many lie in an array. A group is nine cache lines: with an odd number of
 * groups between them, the same group of many rows spreads over all sets of a cache instead of fighting for a few. */
static inline size_t kernels_act_stride(size_t n) { return kernels_act_groups(n) | 1; }

/* A row of activations in the form the matrix kernels take. Quantised once per matrix input and shared by all matrices that
 * read it. */
typedef struct KernelsActs {
    const float *x;                /* [n] */
    const KernelsActGroup *groups; /* [kernels_act_groups(n)], blocks beyond n are zeros; NULL: precise arithmetic, x only */
} KernelsActs;

/* Attention works on blocks of this many keys; a block's sums do not depend on the blocks before it. */
enum { KERNELS_KEY_BLOCK = 256 };

/* One query's part of a block. */
typedef struct KernelsQuery {
    const float *q; /* [dim], scaled */
    float *part;    /* [dim + 2]: o', m, l */
    size_t n_keys;  /* it sees the first so many of the block, 1 to KERNELS_KEY_BLOCK */
} KernelsQuery;

/* What the delta rule reads of its tokens: the first one's arrays, and how far it is to the next one's. */
enum { KERNELS_DELTA_COLUMNS = 32 };
typedef struct KernelsDelta {
    const float *q, *k; /* [dk], q scaled; stride */
    const float *v;     /* [n_columns]; stride */
    float *o;           /* [n_columns]; o_stride. Not over v */
    const float *decay, *beta; /* exp(g), beta; gate_stride */
    size_t stride, o_stride, gate_stride;
    size_t n_tokens, dk, n_columns; /* at most KERNELS_DELTA_COLUMNS */
} KernelsDelta;

typedef struct Kernels {
    const char *name; /* "scalar", "avx2" */
    KernelsRung rung;

    /* sum of a[i] * b[i], i < n, in the order of the promise */
    float (*dot)(const float *a, const float *b, size_t n);
    /* y[i] += s * x[i], fused */
    void (*axpy)(float *y, const float *x, float s, size_t n);
    /* y[i] = a[i] * s */
    void (*scale)(float *y, const float *a, float s, size_t n);
    /* y[i] += x[i] */
    void (*add)(float *y, const float *x, size_t n);

    /* Weight rows times activations: y[t * y_stride + r] = row r of w . acts[t], for r < n_rows, t < n_tokens.
     * w: [n_rows][row bytes of (type, n)]. Where acts[t].groups is set and the type has an integer kernel that is used, else the row is
     * decoded to f32 and multiplied with x. scratch: n floats of this thread. The choice depends on the type and on groups only.
     * y must not overlap acts. */
    void (*matmul)(QuantType type, const void *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens, float *y,
                   size_t y_stride, float *scratch);

    /* Quantises x[0 .. n) to elements first .. first + n - 1 of a row; first is a multiple of 32. Per block of 32, scale = max |x| /
     * 127 and q = round to nearest even of x / scale; a last block that is not full is padded with zeros. Nothing else of the row
     * is written, so that threads can fill different blocks, and a row that ends inside a group must have been zeros before. A
     * zero block has scale 0. A block with a value that is not finite has a scale that is not finite and q 0, so that every
     * product with it is NaN. */
    void (*quantize)(const float *x, KernelsActGroup *groups, size_t first, size_t n);

    /* y = x * rsqrt(mean(x^2) + eps) * w, elementwise; w NULL: no weight. y may be x. */
    void (*rms_norm)(float *y, const float *x, const float *w, float eps, size_t n);
    /* y = x * rsqrt(sum(x^2) + eps) * s. y may be x. */
    void (*l2_norm)(float *y, const float *x, float eps, float s, size_t n);
    /* y[i] = silu(gate[i]) * up[i], silu(v) = v * sigmoid(v). y may be gate. */
    void (*silu_mul)(float *y, const float *gate, const float *up, size_t n);
    /* y[i] *= sigmoid(g[i]) */
    void (*sigmoid_mul)(float *y, const float *g, size_t n);
    /* x[i] = exp(x[i] - shift), returns the sum (32 lanes, order of the promise) */
    float (*exp_sum)(float *x, float shift, size_t n);
    /* the largest of x[0..n), +0 where that is a zero; n >= 1; NaN is not expected here */
    float (*max)(const float *x, size_t n);

    /* Rotary embedding, NeoX halves, in place on one head: pairs (i, i + rot/2), i < rot/2; cos, sin: [rot/2].
     * a' = fma(a, cos, -(b * sin)), b' = fma(b, cos, a * sin). */
    void (*rope)(float *head, const float *cos, const float *sin, size_t rot);

    /* Causal convolution of one token over channels [0, n): width taps per channel.
     * y[c] = silu( sum_j w[c * width + j] * in_j[c] ), j = 0 oldest; in_{width-1} = x, older ones from state [width-1][n] (oldest
     * row first), which is then shifted by one. Sum order: j ascending, starting from w*in_0, fused. y may be x. */
    void (*conv_silu)(float *y, const float *x, float *state, const float *w, size_t n, size_t width);

    /* The gated delta rule for neighbouring columns of one value head's state through n_tokens tokens, in time order.
     * S: [dk][n_columns], read and written once per token (row = key index; 32 columns of 128 rows stay in the first cache).
     * Columns know nothing of each other, so no cut changes a bit. Of each token, in one pass:
     * kS = S^T k, qS = S^T q (both summed over the key index ascending, fused);
     * d = beta * fma(-decay, kS, v); o = fma(k.q, d, decay * qS); S = fma(k, d, decay * S). */
    void (*delta_rule)(float *S, const KernelsDelta *a);

    /* Attention of n queries of one KV head (heads of a group, tokens of a chunk) over one block of keys: each key and value is
     * loaded once for several of them. keys, values: a block as kernels_store_key and _value write it. scratch: n *
     * KERNELS_KEY_BLOCK floats.
     * score = sum of q[i] * key[i], i ascending, fused; part: o' = sum of exp(score - m) * value, keys ascending, fused; m = max of
     * the scores; l = exp_sum(scores - m). With q8_0 each run of 32 elements of a key is summed by itself, over its codes, and
     * joins with total = fma(scale, run, total); a value's weight is exp(score - m) * scale, rounded, times its code. */
    void (*attention)(QuantType kv_type, const void *keys, const void *values, size_t dim, const KernelsQuery *queries, size_t n,
                      float *scratch);
    /* Joins a further block to those before it; blocks come in the order of their keys. With M = the larger of both m:
     * o = fma(o', exp(m' - M), o * exp(m - M)), l the same way. The result of attention is then o * (1 / l). */
    void (*attention_join)(float *total, const float *part, size_t dim);
} Kernels;

/* The best rung this CPU has, or a lower one on request; NULL: the CPU or the build lacks it. KERNELS_RUNG_COUNT: the best. */
const Kernels *kernels_get(KernelsRung highest);
/* The same by the word of --cpu: of the list, or "auto" or NULL, the best. */
ErrCode kernels_choose(const char *word, const Kernels **kernels, Err *err);

/* Does matmul use quantised activations for this type (all block types but NVFP4)? The others take x in any case. */
bool kernels_has_integer(QuantType type);

/* Keys and values of one head lie in blocks of KERNELS_KEY_BLOCK positions, the layout is that of attention (kv.h). Types: f32, f16,
 * and q8_0 (8 bits and an f16 scale per 32 elements; dim a multiple of 32). */
size_t kernels_kv_bytes(QuantType type, size_t dim); /* of a block of keys; values take the same */
/* Position t of a block; the same bytes on every rung. */
void kernels_store_key(QuantType type, void *block, size_t t, const float *key, size_t dim);
void kernels_store_value(QuantType type, void *block, size_t t, const float *value, size_t dim);

/* Scalar functions that other rooms need for single values; the same polynomials as the table's. */
float kernels_exp(float x); /* within 1.03 ulp (poly.h); 0 below -103.98, infinity from 88.73 on */
float kernels_sigmoid(float x);
float kernels_softplus(float x); /* log1p(exp(x)); x where x > 20 */

#endif
