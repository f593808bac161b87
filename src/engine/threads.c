/* How many threads: what they are when somebody says so, otherwise what is fastest here. Measured with the model's own largest dense
 * matrix, one token, at places of it that were not read lately: what decoding mostly does. More threads than physical cores may
 * help or hurt, one fewer is better where something else needs a CPU. A few milliseconds; no bit of an answer depends on it. */
#include "engine/inside.h"

#include <stdio.h>
#include <string.h>

enum { ROUNDS = 7, TASKS_PER_THREAD = 8, LOOKS = 6, PAUSE_NS = 10000000 };
static const uint64_t slice_per_thread = 2 << 20, least_worth_measuring = 4 << 20;
static const double clearly = 1.1; /* so much faster than one thread per core must another number be: neighbours come and go */

typedef struct ThreadTest {
    const Kernels *kernels;
    OsPool *pool;
    const ModelMat *w;
    KernelsActGroup *groups;
    KernelsActs acts;         /* one token */
    float *x, *y, *scratch;   /* [cols], [rows], [threads][cols] */
    uint64_t slice_rows, at;  /* rows of a run, and where the next one begins */
    uint32_t rows_per_task;
} ThreadTest;

static void test_task(void *arg, int task, int worker) {
    const ThreadTest *t = arg;
    uint64_t first = (uint64_t)task * t->rows_per_task, rows = t->slice_rows - first;
    if (rows > t->rows_per_task) rows = t->rows_per_task;
    first += t->at;
    t->kernels->matmul(t->w->type, t->w->data + first * t->w->row_bytes, rows, t->w->cols, &t->acts, 1, t->y + first, t->w->rows,
                       t->scratch + (uint64_t)worker * t->w->cols);
}

/* Nanoseconds of the next slice. */
static uint64_t run_slice(ThreadTest *t) {
    uint32_t tasks = (uint32_t)os_pool_threads(t->pool) * TASKS_PER_THREAD;
    t->rows_per_task = (uint32_t)((t->slice_rows + tasks - 1) / tasks);
    if (t->at + t->slice_rows > t->w->rows) t->at = 0;
    uint64_t start = os_now_ns();
    os_pool_run(t->pool, (int)((t->slice_rows + t->rows_per_task - 1) / t->rows_per_task), test_task, t);
    uint64_t took = os_now_ns() - start;
    t->at += t->slice_rows;
    return took;
}

/* Some rounds for each way, of which best keeps the fastest so far; the ways take turns, so that a machine that gets slower does not
 * decide. */
static void measure(ThreadTest *t, const int *threads, const int *const *places, int n, uint64_t *best) {
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < n; i++) {
            os_pool_limit(t->pool, threads[i]);
            os_pool_pin(t->pool, places[i], threads[i]);
            (void)run_slice(t); /* who slept is awake then */
            uint64_t took = run_slice(t);
            if (took < best[i]) best[i] = took;
        }
}

/* The index of the fastest. Another than the first must have been faster after several looks, with longer and longer pauses between: what
 * all cores once reached they can reach, and a neighbour's burst of work may last as long as one look, but hardly meets each. */
static int choose(ThreadTest *t, const int *threads, int n, uint64_t *best) {
    const int *nowhere[OS_THREAD_CHOICES] = {NULL};
    int chosen = 0;
    for (int i = 0; i < n; i++) best[i] = UINT64_MAX;
    for (int look = 0; look < LOOKS; look++) {
        os_sleep_ns((uint64_t)look * PAUSE_NS);
        measure(t, threads, nowhere, n, best);
        chosen = 0;
        for (int i = 1; i < n; i++)
            if ((double)best[i] * (chosen ? 1 : clearly) < (double)best[chosen]) chosen = i;
        if (chosen == 0) break;
    }
    return chosen;
}

static bool test_new(ThreadTest *t, const sluice_model *m) {
    uint64_t threads = (uint64_t)os_pool_threads(m->pool);
    *t = (ThreadTest){.kernels = m->kernels, .pool = m->pool, .w = &m->model->head};
    const ModelMat *w = t->w;
    t->x = MEM_NEW(float, w->cols);
    t->y = MEM_NEW(float, w->rows);
    t->scratch = MEM_NEW(float, threads * w->cols);
    t->groups = MEM_NEW(KernelsActGroup, kernels_act_groups(w->cols) + 1); /* and room to align them */
    if (!t->x || !t->y || !t->scratch || !t->groups) return false;
    for (uint32_t i = 0; i < w->cols; i++) t->x[i] = (float)(i % 17) - 8;
    KernelsActGroup *groups = (KernelsActGroup *)align_up((uintptr_t)t->groups, 64);
    t->kernels->quantize(t->x, groups, 0, w->cols);
    t->acts = (KernelsActs){t->x, m->options.precise ? NULL : groups};
    t->slice_rows = (threads * slice_per_thread + w->row_bytes - 1) / w->row_bytes;
    if (t->slice_rows > w->rows) t->slice_rows = w->rows;
    return true;
}

static void test_free(ThreadTest *t) {
    mem_free(t->x);
    mem_free(t->y);
    mem_free(t->scratch);
    mem_free(t->groups);
}

static void say(sluice_model *m, const ThreadTest *t, const int *threads, const uint64_t *best, int n, bool bound) {
    char *text = m->threads_why;
    size_t size = sizeof m->threads_why, used = (size_t)snprintf(text, size, "measured%s:", bound ? ", bound to CPUs" : "");
    for (int i = 0; i < n && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s %d %.1f GB/s", i ? "," : "", threads[i],
                                 (double)(t->slice_rows * t->w->row_bytes) / (double)best[i]);
}

/* Where the number is settled, binding is tried, and kept unless it was slower. */
static bool choose_places(ThreadTest *t, const OsTopology *topology, int threads) {
    int cpus[OS_MOST_CPUS];
    uint64_t best[2] = {UINT64_MAX, UINT64_MAX};
    bool bound = os_topology_places(topology, threads, cpus);
    if (bound) {
        measure(t, (const int[]){threads, threads}, (const int *const[]){NULL, cpus}, 2, best);
        bound = best[1] <= best[0];
    }
    os_pool_pin(t->pool, bound ? cpus : NULL, threads);
    return bound;
}

void engine_choose_threads(sluice_model *m) {
    if (m->options.threads) {
        snprintf(m->threads_why, sizeof m->threads_why, "as asked for");
        return;
    }
    OsTopology topology;
    int choices[OS_THREAD_CHOICES], chosen = 0;
    os_topology(&topology);
    int n = os_topology_choices(&topology, choices);
    uint64_t best[OS_THREAD_CHOICES];
    ThreadTest test = {0};
    bool worth = n > 1 && m->model->head.rows * m->model->head.row_bytes >= least_worth_measuring;
    if (worth && test_new(&test, m)) {
        chosen = choose(&test, choices, n, best);
        os_pool_limit(m->pool, choices[chosen]);
        bool bound = choose_places(&test, &topology, choices[chosen]);
        say(m, &test, choices, best, n, bound);
    } else {
        snprintf(m->threads_why, sizeof m->threads_why, "one per physical core");
    }
    os_pool_limit(m->pool, choices[chosen]);
    test_free(&test);
    log_debug("%d threads: %s", os_pool_threads(m->pool), m->threads_why);
}
