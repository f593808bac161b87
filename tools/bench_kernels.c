/* Timing, the lines, and the kernels that are not matrices. */
#include "bench_kernels.h"

#include "support/rungs.h"

#include <stdio.h>
#include <string.h>

enum { RUNS = 60, RUN_NS = 150 * 1000 };

bool bench_wants(const Bench *b, const char *name) { return !b->word || strstr(name, b->word); }

void bench_print(const Bench *b, const Work *work, double ns, double peak_ns, const char *bound) {
    printf("%-7s %-30s %12.0f ns %8.2f GB/s %8.2f Gmadd/s  %3.0f %% of %s\n", b->k->name, work->name, ns, work->bytes / ns,
           work->madds / ns, 100 * peak_ns / ns, bound);
}

/* The least time of one call: other work on the machine can only make it longer, and short runs find the gaps. */
static double least_ns(void (*run)(void *), void *arg) {
    double best = 1e30;
    for (int i = 0; i < RUNS; i++) {
        uint64_t start = os_now_ns(), now = start, calls = 0;
        do {
            run(arg);
            calls++;
        } while ((now = os_now_ns()) - start < RUN_NS);
        double each = (double)(now - start) / (double)calls;
        best = each < best ? each : best;
    }
    return best;
}

void bench_line(const Bench *b, const Work *work, void (*run)(void *), void *arg) {
    if (!bench_wants(b, work->name)) return;
    double reading = work->bytes / b->peaks.cache, computing = work->madds / (work->quantised ? b->peaks.int8 : b->peaks.f32);
    bool reads = reading > computing;
    bench_print(b, work, least_ns(run, arg), reads ? reading : computing,
                reads ? "cache" : work->quantised ? "int8 peak" : "f32 peak");
}

/* ---- along vectors, and mixing over tokens -------------------------------------------------------------------------- */

enum { N = 2048, HEAD = 128, KV_DIM = 256, QUERIES = 32 };

/* Everything these may touch, filled once. */
typedef struct Data {
    const Kernels *k;
    KernelsActGroup groups[N / KERNELS_ACT_GROUP];
    float x[QUERIES][N], y[1], scratch[N], state[HEAD * HEAD], decay, beta;
    QuantType kv_type;
    size_t n_queries;
    float keys[KERNELS_KEY_BLOCK * KV_DIM], values[KERNELS_KEY_BLOCK * KV_DIM]; /* of any type */
    float parts[QUERIES][KV_DIM + 2], scores[QUERIES * KERNELS_KEY_BLOCK];
} Data;

static void run_dot(void *arg) {
    Data *d = arg;
    d->y[0] = d->k->dot(d->x[0], d->x[1], N);
}

static void run_axpy(void *arg) {
    Data *d = arg;
    d->k->axpy(d->scratch, d->x[0], 0.5f, N);
}

static void run_rms_norm(void *arg) {
    Data *d = arg;
    d->k->rms_norm(d->scratch, d->x[0], d->x[1], 1e-6f, N);
}

static void run_l2_norm(void *arg) {
    Data *d = arg;
    d->k->l2_norm(d->scratch, d->x[0], 1e-6f, 0.5f, N);
}

static void run_silu_mul(void *arg) {
    Data *d = arg;
    d->k->silu_mul(d->scratch, d->x[0], d->x[1], N);
}

static void run_exp_sum(void *arg) {
    Data *d = arg;
    memcpy(d->scratch, d->x[0], sizeof d->x[0]);
    d->y[0] = d->k->exp_sum(d->scratch, 1.0f, N);
}

static void run_max(void *arg) {
    Data *d = arg;
    d->y[0] = d->k->max(d->x[0], N);
}

static void run_rope(void *arg) {
    Data *d = arg;
    d->k->rope(d->scratch, d->x[0], d->x[1], N);
}

static void run_quantize(void *arg) {
    Data *d = arg;
    d->k->quantize(d->x[0], d->groups, 0, N);
}

static void run_conv_silu(void *arg) { /* in blocks, as the engine does */
    Data *d = arg;
    for (size_t c = 0; c < N; c += 256) d->k->conv_silu(d->scratch + c, d->x[0] + c, d->x[1] + 3 * c, d->x[4] + 4 * c, 256, 4);
}

static void run_delta_rule(void *arg) {
    Data *d = arg;
    KernelsDelta delta = {.q = d->x[0], .k = d->x[1], .v = d->x[2], .o = d->scratch, .decay = &d->decay, .beta = &d->beta,
                          .n_tokens = 1, .dk = HEAD, .n_columns = KERNELS_DELTA_COLUMNS};
    for (size_t c = 0; c < HEAD; c += KERNELS_DELTA_COLUMNS) d->k->delta_rule(d->state + c * HEAD, &delta);
}

static void run_attention(void *arg) {
    Data *d = arg;
    KernelsQuery queries[QUERIES];
    for (size_t i = 0; i < d->n_queries; i++) queries[i] = (KernelsQuery){d->x[i], d->parts[i], KERNELS_KEY_BLOCK};
    d->k->attention(d->kv_type, d->keys, d->values, KV_DIM, queries, d->n_queries, d->scores);
}

/* A block of keys and values of one KV head: one token's heads, and those of a few tokens. */
static void attention_lines(const Bench *b, Data *d) {
    static const QuantType types[] = {QUANT_F32, QUANT_F16, QUANT_Q8_0};
    for (size_t i = 0; i < 2 * COUNT_OF(types); i++) {
        d->kv_type = types[i / 2];
        d->n_queries = i % 2 ? QUERIES : 8;
        for (size_t t = 0; t < KERNELS_KEY_BLOCK; t++) {
            kernels_store_key(d->kv_type, d->keys, t, d->x[t % QUERIES], KV_DIM);
            kernels_store_value(d->kv_type, d->values, t, d->x[t % QUERIES], KV_DIM);
        }
        char name[64];
        snprintf(name, sizeof name, "attention %s, 256 keys x%zu", quant_traits(d->kv_type)->name, d->n_queries);
        Work work = {name, 2.0 * (double)kernels_kv_bytes(d->kv_type, KV_DIM), 2.0 * KV_DIM * KERNELS_KEY_BLOCK * (double)d->n_queries,
                     false};
        bench_line(b, &work, run_attention, d);
    }
}

ErrCode bench_vectors(const Bench *b, Err *err) {
    /* of a polynomial, the fused steps count; a division counts as one */
    static const struct {
        Work work;
        void (*run)(void *);
    } lines[] = {
        {{"dot 2048", 8.0 * N, N, false}, run_dot},
        {{"axpy 2048", 12.0 * N, N, false}, run_axpy},
        {{"rms_norm 2048", 12.0 * N, 2.0 * N, false}, run_rms_norm},
        {{"l2_norm 2048", 8.0 * N, 2.0 * N, false}, run_l2_norm},
        {{"silu_mul 2048", 12.0 * N, 14.0 * N, false}, run_silu_mul},
        {{"exp_sum 2048", 8.0 * N, 11.0 * N, false}, run_exp_sum},
        {{"max 2048", 4.0 * N, N, false}, run_max},
        {{"rope 2048", 12.0 * N, 2.0 * N, false}, run_rope},
        {{"quantize 2048", 6.25 * N, N, false}, run_quantize},
        {{"conv_silu 2048, width 4", 40.0 * N, 18.0 * N, false}, run_conv_silu},
        {{"delta_rule 128 x 128", 8.0 * HEAD * HEAD, 4.0 * HEAD * HEAD, false}, run_delta_rule},
    };
    Data *d = os_pages_new(sizeof *d, err);
    if (!d) return err->code;
    d->k = b->k;
    d->decay = 0.9f, d->beta = 0.001f;
    for (size_t i = 0; i < N; i++) d->scratch[i] = rung_random();
    for (size_t i = 0; i < (size_t)QUERIES * N; i++) d->x[i / N][i % N] = rung_random();
    for (size_t i = 0; i < COUNT_OF(lines); i++) bench_line(b, &lines[i].work, lines[i].run, d);
    attention_lines(b, d);
    os_pages_free(d, sizeof *d);
    return ERR_OK;
}
