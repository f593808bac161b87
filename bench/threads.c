/* What the thread pool costs, and what a busy neighbour does to it.
 *
 *     build/bench-threads [--threads N] [--seconds S]
 *
 * Prints ns per empty run, then what a row of jobs like those of a decoded token takes: on a quiet machine, with one thread, and
 * with other processes that compute without end, one on the last CPU or one on every CPU. The pieces alternate, so that a machine
 * whose speed drifts does not decide. The work is pure arithmetic: what it measures is the pool and the kernel's scheduler. */
#define _GNU_SOURCE
#include "os/os.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* A token of 40 layers with 12 runs of 8 tasks each, 40 us per task. */
enum { LAYERS = 40, RUNS = 12, TASKS = 8, TASK_US = 40, SERIAL_US = 4, MAX_PIECES = 400, MAX_CPUS = 1024 };

static uint64_t rounds_per_us;

static void compute(uint64_t rounds) {
    uint64_t x = rounds;
    for (uint64_t i = 0; i < rounds; i++) x = x * 6364136223846793005u + 1442695040888963407u;
    __asm__ volatile("" : : "r"(x));
}

static void calibrate(void) {
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 200; i++) {
        uint64_t start = os_now_ns();
        compute(20000);
        uint64_t took = os_now_ns() - start;
        if (took < best) best = took;
    }
    rounds_per_us = 20000 * UINT64_C(1000) / best;
}

static void empty_task(void *arg, int task, int worker) { (void)arg, (void)task, (void)worker; }

static void work_task(void *arg, int task, int worker) {
    (void)arg, (void)task, (void)worker;
    compute(TASK_US * rounds_per_us);
}

static double empty_ns(OsPool *pool, int tasks) {
    double best = 1e30;
    for (int rep = 0; rep < 60; rep++) {
        uint64_t start = os_now_ns();
        for (int i = 0; i < 200; i++) os_pool_run(pool, tasks, empty_task, NULL);
        double took = (double)(os_now_ns() - start) / 200;
        if (took < best) best = took;
    }
    return best;
}

static double token_ms(OsPool *pool) {
    uint64_t start = os_now_ns();
    for (int i = 0; i < LAYERS * RUNS; i++) {
        compute(SERIAL_US * rounds_per_us);
        os_pool_run(pool, TASKS, work_task, NULL);
    }
    return (double)(os_now_ns() - start) * 1e-6;
}

static pid_t neighbour(int cpu) {
    pid_t pid = fork();
    if (pid != 0) return pid;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    (void)sched_setaffinity(0, sizeof set, &set);
    for (;;) compute(1 << 30);
}

static void end(pid_t pid) {
    if (pid <= 0) return;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n) {
    qsort(v, (size_t)n, sizeof *v, ascending);
    return v[n / 2];
}

/* The mean and the median time of a token over pieces of half a second. */
typedef struct Series {
    double ms[MAX_PIECES], sum;
    int n;
} Series;

static void measure(OsPool *pool, Series *s, double seconds) {
    uint64_t end = os_now_ns() + (uint64_t)(seconds * 1e9);
    do {
        double ms = token_ms(pool);
        s->sum += ms;
        if (s->n < MAX_PIECES) s->ms[s->n++] = ms;
    } while (os_now_ns() < end);
}

static void print(const char *what, Series *s, double quiet) {
    double mean = s->sum / s->n, middle = median(s->ms, s->n);
    printf("%-34s %8.1f ms per token (median %.1f, best %.1f, worst %.1f)", what, mean, middle, s->ms[0], s->ms[s->n - 1]);
    if (quiet > 0) printf("   %.2f of the quiet speed", quiet / mean);
    printf("\n");
}

int main(int argc, char **argv) {
    int threads = 0, cpus = os_cpu_count();
    double seconds = 6;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--threads") == 0) threads = (int)strtol(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--seconds") == 0) seconds = strtod(argv[i + 1], NULL);
    }
    calibrate();
    Err err = {0};
    OsPool *pool = os_pool_new(threads, &err), *one = os_pool_new(1, &err);
    if (!pool || !one) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    printf("%d threads on %d CPUs\n", os_pool_threads(pool), cpus);
    static const int tasks[] = {2, 8, 32};
    for (size_t i = 0; i < COUNT_OF(tasks); i++) printf("an empty run of %2d tasks %17.0f ns\n", tasks[i], empty_ns(pool, tasks[i]));
    static Series quiet, loaded, alone, crowd;
    double piece = 0.5;
    for (double done = 0; done < seconds; done += 4 * piece) {
        measure(pool, &quiet, piece);
        pid_t pid = neighbour(cpus - 1);
        measure(pool, &loaded, piece);
        end(pid);
        measure(one, &alone, piece / 2);
        pid_t all[MAX_CPUS];
        for (int i = 0; i < cpus && i < MAX_CPUS; i++) all[i] = neighbour(i);
        measure(pool, &crowd, piece);
        for (int i = 0; i < cpus && i < MAX_CPUS; i++) end(all[i]);
    }
    print("quiet", &quiet, 0);
    print("one thread", &alone, quiet.sum / quiet.n);
    print("a neighbour on one CPU", &loaded, quiet.sum / quiet.n);
    print("a neighbour on every CPU", &crowd, quiet.sum / quiet.n);
    os_pool_free(one);
    os_pool_free(pool);
    return 0;
}
