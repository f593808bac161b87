/* make check-kernels: every rung of the kernels ladder against the scalar one, bit for bit.
 * build/check-kernels --digest: a number for each kernel, made of scalar's results; the same on every machine.
 * build/check-kernels --bench [WORD]: what each kernel costs on each rung (only lines that contain WORD). One thread, data in the
 * caches: the speed of the arithmetic, which memory can only lower. */
#include "os/os.h"
#include "support/rungs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 2048, ROWS = 128, TOKENS = 32, HEAD = 128, KV_DIM = 256 };

static int compare(void) {
    int bad = 0, rungs = 0;
    for (KernelsRung rung = KERNELS_AVX2; rung < KERNELS_RUNG_COUNT; rung++) {
        const Kernels *k = kernels_get(rung);
        if (!k) continue;
        rungs++;
        for (size_t i = 0; i < rung_check_count; i++) {
            char where[160];
            bool same = rung_checks[i].same(kernels_get(KERNELS_SCALAR), k, where);
            printf("%-8s %-24s %s%s\n", k->name, rung_checks[i].name, same ? "same bits" : "DIFFERS at ", same ? "" : where);
            bad += !same;
        }
    }
    if (!rungs) printf("SKIP: this CPU or build has no rung but scalar, so there is nothing to compare\n");
    return bad ? 1 : rungs ? 0 : 77;
}

/* What another machine must print too. */
static int digests(void) {
    for (size_t i = 0; i < rung_check_count; i++)
        printf("%016" PRIx64 " %s\n", rung_digest(&rung_checks[i], kernels_get(KERNELS_SCALAR)), rung_checks[i].name);
    return 0;
}

/* Everything a benchmark may touch, filled once. */
typedef struct Bench {
    const Kernels *k;
    QuantType type;
    size_t tokens;
    uint8_t w[ROWS * N * 4];
    float x[TOKENS][N], y[TOKENS * ROWS], scratch[2 * N];
    KernelsActGroup groups[TOKENS][N / KERNELS_ACT_GROUP];
    KernelsActs acts[TOKENS];
    float state[HEAD * HEAD], decay, beta;
    float keys[KERNELS_KEY_BLOCK * KV_DIM], values[KERNELS_KEY_BLOCK * KV_DIM]; /* of any type */
    float parts[TOKENS][KV_DIM + 2], scores[TOKENS * KERNELS_KEY_BLOCK];
} Bench;

static void run_dot(Bench *b) { b->y[0] = b->k->dot(b->x[0], b->x[1], N); }
static void run_rms_norm(Bench *b) { b->k->rms_norm(b->scratch, b->x[0], b->x[1], 1e-6f, N); }
static void run_silu_mul(Bench *b) { b->k->silu_mul(b->scratch, b->x[0], b->x[1], N); }
static void run_exp_sum(Bench *b) {
    memcpy(b->scratch, b->x[0], sizeof b->x[0]);
    b->y[0] = b->k->exp_sum(b->scratch, 1.0f, N);
}
static void run_quantize(Bench *b) { b->k->quantize(b->x[0], b->groups[0], 0, N); }
static void run_conv_silu(Bench *b) { /* in blocks, as the engine does */
    for (size_t c = 0; c < N; c += 256) b->k->conv_silu(b->scratch + c, b->x[0] + c, b->x[1] + 3 * c, b->x[4] + 4 * c, 256, 4);
}
static void run_delta_rule(Bench *b) {
    KernelsDelta d = {.q = b->x[0], .k = b->x[1], .v = b->x[2], .o = b->scratch, .decay = &b->decay, .beta = &b->beta, .n_tokens = 1,
                      .dk = HEAD, .n_columns = KERNELS_DELTA_COLUMNS};
    for (size_t c = 0; c < HEAD; c += KERNELS_DELTA_COLUMNS) b->k->delta_rule(b->state + c * HEAD, &d);
}
static void run_attention(Bench *b) {
    KernelsQuery queries[TOKENS];
    for (size_t i = 0; i < b->tokens; i++) queries[i] = (KernelsQuery){b->x[i], b->parts[i], KERNELS_KEY_BLOCK};
    b->k->attention(b->type, b->keys, b->values, KV_DIM, queries, b->tokens, b->scores);
}
static void run_matmul(Bench *b) { b->k->matmul(b->type, b->w, ROWS, N, b->acts, b->tokens, b->y, ROWS, b->scratch); }

/* The least time of one call in ns, over runs of 2 ms each. */
static double time_of(void (*run)(Bench *), Bench *b) {
    double best = 1e30;
    for (int i = 0; i < 8; i++) {
        uint64_t start = os_now_ns(), now = start, calls = 0;
        do {
            run(b);
            calls++;
        } while ((now = os_now_ns()) - start < 2000000);
        double each = (double)(now - start) / (double)calls;
        best = each < best ? each : best;
    }
    return best;
}

static void report(Bench *b, const char *name, const char *word, void (*run)(Bench *), double bytes, double flops) {
    if (word && !strstr(name, word)) return;
    double ns = time_of(run, b);
    printf("%-8s %-28s %12.0f ns %9.2f GB/s %9.2f GFLOP/s\n", b->k->name, name, ns, bytes / ns, flops / ns);
}

static void bench_matmul(Bench *b, const char *word) {
    for (unsigned t = 0; t < QUANT_TYPE_COUNT; t++) {
        const QuantTraits *traits = quant_traits((QuantType)t);
        if (!traits->decode) continue;
        b->type = (QuantType)t;
        rung_random_weights(b->type, b->w, (size_t)ROWS * N, true);
        for (int i = 0; i < 4; i++) {
            bool quantised = i >= 2;
            b->tokens = i % 2 ? TOKENS : 1;
            if (quantised && !kernels_has_integer(b->type)) continue;
            for (size_t j = 0; j < TOKENS; j++) b->acts[j] = (KernelsActs){b->x[j], quantised ? b->groups[j] : NULL};
            char name[64];
            snprintf(name, sizeof name, "matmul %s %s x%zu", traits->name, quantised ? "q" : "f32", b->tokens);
            report(b, name, word, run_matmul, (double)(ROWS * quant_row_bytes(b->type, N)), 2.0 * ROWS * N * (double)b->tokens);
        }
    }
}

/* A block of keys and values of one KV head: one token's heads, and those of a few tokens. */
static void bench_attention(Bench *b, const char *word) {
    static const QuantType types[] = {QUANT_F32, QUANT_F16, QUANT_Q8_0};
    for (size_t i = 0; i < 2 * COUNT_OF(types); i++) {
        b->type = types[i / 2];
        b->tokens = i % 2 ? TOKENS : 8;
        for (size_t t = 0; t < KERNELS_KEY_BLOCK; t++) {
            kernels_store_key(b->type, b->keys, t, b->x[t % TOKENS], KV_DIM);
            kernels_store_value(b->type, b->values, t, b->x[t % TOKENS], KV_DIM);
        }
        char name[64];
        snprintf(name, sizeof name, "attention %s, 256 keys x%zu", quant_traits(b->type)->name, b->tokens);
        report(b, name, word, run_attention, 2.0 * (double)kernels_kv_bytes(b->type, KV_DIM),
               4.0 * KV_DIM * KERNELS_KEY_BLOCK * (double)b->tokens);
    }
}

static void bench_rung(Bench *b, const char *word) {
    report(b, "dot 2048", word, run_dot, 8.0 * N, 2.0 * N);
    report(b, "rms_norm 2048", word, run_rms_norm, 12.0 * N, 4.0 * N);
    report(b, "silu_mul 2048", word, run_silu_mul, 12.0 * N, N);
    report(b, "exp_sum 2048", word, run_exp_sum, 8.0 * N, N);
    report(b, "quantize 2048", word, run_quantize, 6.25 * N, N);
    report(b, "conv_silu 2048, width 4", word, run_conv_silu, 40.0 * N, 8.0 * N);
    report(b, "delta_rule 128 x 128", word, run_delta_rule, 8.0 * HEAD * HEAD, 7.0 * HEAD * HEAD);
    bench_attention(b, word);
    bench_matmul(b, word);
}

static int bench(const char *word) {
    static Bench all, *b = &all;
    for (size_t t = 0; t < TOKENS; t++) {
        for (size_t i = 0; i < N; i++) b->x[t][i] = rung_random();
        kernels_get(KERNELS_SCALAR)->quantize(b->x[t], b->groups[t], 0, N);
    }
    b->decay = 0.9f, b->beta = 0.001f;
    for (KernelsRung rung = KERNELS_SCALAR; rung < KERNELS_RUNG_COUNT; rung++)
        if ((b->k = kernels_get(rung)) != NULL) bench_rung(b, word);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 1) return compare();
    if (argc == 2 && strcmp(argv[1], "--digest") == 0) return digests();
    if (argc <= 3 && strcmp(argv[1], "--bench") == 0) return bench(argc == 3 ? argv[2] : NULL);
    fprintf(stderr, "usage: check-kernels [--digest | --bench [WORD]]\n");
    return 2;
}
