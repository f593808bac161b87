/* A thread pool for many short jobs: the workers spin for a moment after a job, because the next one mostly comes at once,
 * and then sleep. Tasks are claimed from one counter, so an uneven load levels itself. */
#define _GNU_SOURCE
#include "os/os.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SPIN_ROUNDS = 2000, MAX_THREADS = 1024, STACK_BYTES = 512 * 1024 };

typedef struct Worker {
    OsPool *pool;
    pthread_t thread;
    int index;
} Worker;

struct OsPool {
    int n_threads;
    Worker *workers; /* [n_threads]; entry 0 is the caller and has no thread */
    OsTask *fn;
    void *arg;
    int n_tasks;
    _Atomic int next_task;
    _Atomic int busy;          /* workers that have not finished the current job */
    _Atomic unsigned job;      /* grows by one per job */
    _Atomic bool stop;
    _Atomic int sleepers;
    pthread_mutex_t lock;
    pthread_cond_t wake;
};

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void run_tasks(OsPool *p, int worker) {
    for (;;) {
        int task = atomic_fetch_add_explicit(&p->next_task, 1, memory_order_relaxed);
        if (task >= p->n_tasks) return;
        p->fn(p->arg, task, worker);
    }
}

static void wait_for_job(OsPool *p, unsigned seen) {
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        if (atomic_load_explicit(&p->job, memory_order_acquire) != seen || atomic_load(&p->stop)) return;
        relax();
    }
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (atomic_load(&p->job) == seen && !atomic_load(&p->stop)) pthread_cond_wait(&p->wake, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
}

static void *worker_main(void *arg) {
    Worker *w = arg;
    OsPool *p = w->pool;
    unsigned seen = 0;
    for (;;) {
        wait_for_job(p, seen);
        if (atomic_load(&p->stop)) return NULL;
        seen = atomic_load_explicit(&p->job, memory_order_acquire);
        run_tasks(p, w->index);
        atomic_fetch_sub_explicit(&p->busy, 1, memory_order_release);
    }
}

int os_cpu_count(void) {
    cpu_set_t set;
    int n = 0;
    if (sched_getaffinity(0, sizeof set, &set) == 0) n = CPU_COUNT(&set);
    if (n < 1) n = 1;
    /* a container may own less time than it sees CPUs */
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    char line[64];
    if (f && fgets(line, sizeof line, f)) { /* "150000 100000": quota and period in microseconds, or "max 100000" */
        char *rest;
        long long quota = strtoll(line, &rest, 10), period = strtoll(rest, NULL, 10);
        if (quota > 0 && period > 0 && (quota - 1) / period + 1 < n) n = (int)((quota - 1) / period + 1);
    }
    if (f) fclose(f);
    return n;
}

OsPool *os_pool_new(int n_threads, Err *err) {
    if (n_threads <= 0) n_threads = os_cpu_count();
    if (n_threads > MAX_THREADS) n_threads = MAX_THREADS;
    OsPool *p = MEM_NEW(OsPool, 1);
    Worker *workers = MEM_NEW(Worker, (size_t)n_threads);
    if (!p || !workers) {
        mem_free(p);
        mem_free(workers);
        err_no_memory(err, sizeof *p, "the thread pool");
        return NULL;
    }
    p->workers = workers;
    p->n_threads = 1;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    /* signals go to the main thread: Ctrl-C must not wake a worker out of its arithmetic */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    for (int i = 1; i < n_threads; i++) {
        workers[i].pool = p;
        workers[i].index = i;
        int failed = pthread_create(&workers[i].thread, &attr, worker_main, &workers[i]);
        if (failed) {
            err_set(err, ERR_MEMORY, "cannot start thread %d of %d: %s; lower --threads", i + 1, n_threads, strerror(failed));
            pthread_attr_destroy(&attr);
            pthread_sigmask(SIG_SETMASK, &before, NULL);
            os_pool_free(p);
            return NULL;
        }
        p->n_threads++;
    }
    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return p;
}

void os_pool_free(OsPool *p) {
    if (!p) return;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stop, true);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (int i = 1; i < p->n_threads; i++) pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    mem_free(p->workers);
    mem_free(p);
}

int os_pool_threads(const OsPool *p) { return p->n_threads; }

void os_pool_run(OsPool *p, int n_tasks, OsTask *fn, void *arg) {
    if (n_tasks <= 0) return;
    if (p->n_threads == 1 || n_tasks == 1) {
        for (int i = 0; i < n_tasks; i++) fn(arg, i, 0);
        return;
    }
    p->fn = fn;
    p->arg = arg;
    p->n_tasks = n_tasks;
    atomic_store_explicit(&p->next_task, 0, memory_order_relaxed);
    atomic_store_explicit(&p->busy, p->n_threads - 1, memory_order_relaxed);
    atomic_fetch_add(&p->job, 1); /* publishes all of the above */
    if (atomic_load(&p->sleepers)) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
    }
    run_tasks(p, 0);
    for (int i = 0; atomic_load_explicit(&p->busy, memory_order_acquire) > 0; i++) {
        if (i < SPIN_ROUNDS) relax();
        else sched_yield(); /* a worker lost its CPU to another process: let it have ours */
    }
}
