/* Matrices: one token with weights from memory and from the cache, and batches of tokens. */
#include "bench_kernels.h"

#include "support/rungs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 2048, ROWS = 128, TOKENS = 64, TASK_ROWS = 256, ROUNDS = 128 };

typedef struct Matrices {
    const Bench *b;
    QuantType type;
    size_t tokens, row_bytes;
    uint8_t w[ROWS * N * 4];
    KernelsActGroup groups[TOKENS][(N / KERNELS_ACT_GROUP) | 1]; /* kernels_act_stride */
    float x[TOKENS][N], y[TOKENS * ROWS], scratch[N];
    KernelsActs acts[TOKENS];
} Matrices;

static void run_matmul(void *arg) {
    Matrices *m = arg;
    m->b->k->matmul(m->type, m->w, ROWS, N, m->acts, m->tokens, m->y, ROWS, m->scratch);
}

static void set_acts(Matrices *m, bool quantised) {
    for (size_t t = 0; t < TOKENS; t++) m->acts[t] = (KernelsActs){m->x[t], quantised ? m->groups[t] : NULL};
}

static void cached_lines(Matrices *m, bool quantised) {
    static const size_t tokens[] = {1, 4, 16, 64, 2, 3}; /* two and three: drafts, integers only */
    set_acts(m, quantised);
    for (size_t i = 0; i < (quantised ? 6 : 4); i++) {
        char name[64];
        m->tokens = tokens[i];
        snprintf(name, sizeof name, "matmul %s%s x%zu", quant_traits(m->type)->name, quantised ? "" : " f32", m->tokens);
        Work work = {name, (double)(ROWS * m->row_bytes), (double)ROWS * N * (double)m->tokens, quantised};
        bench_line(m->b, &work, run_matmul, m);
    }
}

/* ---- weights from memory -------------------------------------------------------------------------------------------- */

typedef struct Round {
    Matrices *m;
    const uint8_t *w;
} Round;

static void memory_task(void *arg, int task, int worker) {
    const Round *r = arg;
    Matrices *m = r->m;
    float y[TASK_ROWS], scratch[N];
    (void)worker;
    m->b->k->matmul(m->type, r->w + (size_t)task * TASK_ROWS * m->row_bytes, TASK_ROWS, N, m->acts, 1, y, TASK_ROWS, scratch);
    m->y[task % ROWS] = y[0];
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Rounds of the kernel and rounds that only read, in turn, half the memory apart so that neither finds what the other left in a
 * cache. Tasks are as large as the engine's. */
static void memory_lines(Matrices *m) {
    char name[64];
    snprintf(name, sizeof name, "matmul %s memory", quant_traits(m->type)->name);
    if (m->b->k->rung == KERNELS_SCALAR || !bench_wants(m->b, name)) return;
    const Stream *s = &m->b->stream;
    bool quantised = kernels_has_integer(m->type);
    size_t part = TASK_ROWS * m->row_bytes, tasks = STREAM_ROUND / part, rounds = s->size / STREAM_ROUND, half = rounds / 2;
    for (size_t at = 0; at + ROWS * m->row_bytes <= s->size; at += ROWS * m->row_bytes)
        memcpy(s->bytes + at, m->w, ROWS * m->row_bytes);
    double ns[ROUNDS], read[ROUNDS];
    set_acts(m, quantised);
    for (size_t i = 0; i < ROUNDS; i++) {
        Round round = {m, s->bytes + i % rounds * STREAM_ROUND};
        uint64_t start = os_now_ns();
        os_pool_run(s->pool, (int)tasks, memory_task, &round);
        ns[i] = (double)(os_now_ns() - start);
        read[i] = stream_read_ns(s, (i + half) % rounds * STREAM_ROUND, STREAM_ROUND, m->b->loops);
    }
    qsort(ns, ROUNDS, sizeof *ns, by_value);
    qsort(read, ROUNDS, sizeof *read, by_value);
    Work work = {name, (double)(tasks * part), (double)tasks * TASK_ROWS * N, quantised};
    double share = work.bytes / STREAM_ROUND;
    bench_print(m->b, &work, ns[0], share * read[0], "memory, best rounds");
    bench_print(m->b, &work, ns[ROUNDS / 2], share * read[ROUNDS / 2], "memory, medians");
}

ErrCode bench_matmul(const Bench *b, Err *err) {
    Matrices *m = os_pages_new(sizeof *m, err);
    if (!m) return err->code;
    m->b = b;
    for (size_t t = 0; t < TOKENS; t++) {
        for (size_t i = 0; i < N; i++) m->x[t][i] = rung_random();
        b->k->quantize(m->x[t], m->groups[t], 0, N);
    }
    for (unsigned t = 0; t < QUANT_TYPE_COUNT; t++) {
        m->type = (QuantType)t;
        if (!quant_traits(m->type)->decode) continue;
        m->row_bytes = (size_t)quant_row_bytes(m->type, N);
        rung_random_weights(m->type, m->w, (size_t)ROWS * N, true);
        memory_lines(m);
        if (kernels_has_integer(m->type)) cached_lines(m, true);
        cached_lines(m, false);
    }
    os_pages_free(m, sizeof *m);
    return ERR_OK;
}
