/* A thread pool for many short jobs. A job is one word: its number, and how many of its tasks nobody has taken. A task is taken by
 * counting that word down, so an uneven load levels itself and there is no lock.
 *
 * A run ends when its tasks are done, not when every worker has come by: a worker that another process keeps from its CPU holds up
 * nothing unless it has a task in its hands. Who waits spins for a moment, because the next job mostly comes at once, and then sleeps,
 * because whoever keeps us waiting may be waiting for this very CPU. */
#define _GNU_SOURCE
#include "os/os.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_THREADS = 1024, STACK_BYTES = 512 * 1024, LINE = 64 };
/* How long who waits spins (docs/threads.md): much longer takes a neighbour's CPU away, much shorter makes every gap a system call. */
enum { RELAX_ROUNDS = 32, SPIN_NS = 60000 };
enum { WAKE_AT_ONCE = 2 }; /* who is woken wakes as many again: nobody makes 63 calls of the kernel before the work begins */

typedef struct Worker {
    OsPool *pool;
    pthread_t thread;
    int index;
} Worker;

/* What different threads write at the same time lies on different cache lines. */
struct OsPool {
    int n_threads;   /* that there are */
    Worker *workers; /* [n_threads]; entry 0 is the caller and has no thread */
    _Atomic uint32_t active; /* the first so many of them work, the others sleep on it */
    cpu_set_t any;   /* where threads may run that are not pinned */
    _Atomic bool stop;
    /* of the job under way: written by the owner before `open`, read only by who holds one of its tasks */
    OsTask *fn;
    void *arg;
    uint32_t n_tasks;
    char apart_1[LINE];
    _Atomic uint64_t open;         /* number of the job << 32 | tasks that nobody has taken */
    char apart_2[LINE];
    _Atomic uint32_t unfinished;   /* tasks that are not done */
    _Atomic uint32_t owner_sleeps; /* the owner sleeps on it while it is 1 */
    char apart_3[LINE];
    _Atomic uint32_t sleepers;     /* workers that sleep, or are about to */
    _Atomic uint32_t bell;         /* what they sleep on; changes when there is work */
};

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void futex_wait(_Atomic uint32_t *word, uint32_t expected) {
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int n) { (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0); }

static uint32_t tasks_left(OsPool *p) { return (uint32_t)atomic_load_explicit(&p->open, memory_order_relaxed); }

/* Takes a task of the job under way, whichever that is by now; false: there is none left. Nothing else of the job may be looked at
 * before, for the owner may be writing the next one. */
static bool take(OsPool *p, uint32_t *left) {
    uint64_t open = atomic_load_explicit(&p->open, memory_order_relaxed);
    do {
        if ((uint32_t)open == 0) return false;
    } while (!atomic_compare_exchange_weak_explicit(&p->open, &open, open - 1, memory_order_acquire, memory_order_relaxed));
    *left = (uint32_t)open;
    return true;
}

static void run_tasks(OsPool *p, int worker) {
    uint32_t left;
    while (take(p, &left)) {
        p->fn(p->arg, (int)(p->n_tasks - left), worker);
        if (atomic_fetch_sub(&p->unfinished, 1) == 1 && worker && atomic_load(&p->owner_sleeps)) {
            atomic_store(&p->owner_sleeps, 0);
            futex_wake(&p->owner_sleeps, 1);
        }
    }
}

/* Sleeper and waker each write first and then look at what the other wrote, so one of them sees the other. */
static void wake_some(OsPool *p) {
    if (atomic_load(&p->sleepers) == 0) return;
    atomic_fetch_add(&p->bell, 1);
    futex_wake(&p->bell, WAKE_AT_ONCE);
}

static bool resting(const Worker *w) { return (uint32_t)w->index >= atomic_load(&w->pool->active); }

static bool something_to_do(OsPool *p) { return (uint32_t)atomic_load(&p->open) || atomic_load(&p->stop); }

static void wait_for_job(const Worker *w) {
    OsPool *p = w->pool;
    uint64_t start = os_now_ns();
    do {
        for (int i = 0; i < RELAX_ROUNDS; i++) {
            if (tasks_left(p)) return;
            relax();
        }
    } while (os_now_ns() - start < SPIN_NS);
    atomic_fetch_add(&p->sleepers, 1);
    for (;;) {
        uint32_t bell = atomic_load(&p->bell);
        if (something_to_do(p) || resting(w)) break;
        futex_wait(&p->bell, bell);
    }
    atomic_fetch_sub(&p->sleepers, 1);
    if (tasks_left(p) > 1) wake_some(p);
}

static void rest(const Worker *w) {
    for (;;) {
        uint32_t active = atomic_load(&w->pool->active);
        if ((uint32_t)w->index < active || atomic_load(&w->pool->stop)) return;
        futex_wait(&w->pool->active, active);
    }
}

static void *worker_main(void *arg) {
    Worker *w = arg;
    while (!atomic_load(&w->pool->stop)) {
        rest(w);
        wait_for_job(w);
        if (!resting(w)) run_tasks(w->pool, w->index);
    }
    return NULL;
}

static void wait_for_end(OsPool *p) {
    uint64_t start = os_now_ns();
    do {
        for (int i = 0; i < RELAX_ROUNDS; i++) {
            if (!atomic_load_explicit(&p->unfinished, memory_order_acquire)) return;
            relax();
        }
    } while (os_now_ns() - start < SPIN_NS);
    for (;;) {
        atomic_store(&p->owner_sleeps, 1);
        if (!atomic_load(&p->unfinished)) break;
        futex_wait(&p->owner_sleeps, 1);
    }
    atomic_store(&p->owner_sleeps, 0);
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
    atomic_store(&p->active, (uint32_t)n_threads);
    if (sched_getaffinity(0, sizeof p->any, &p->any) != 0) memset(&p->any, 0xFF, sizeof p->any);
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
    atomic_store(&p->stop, true);
    atomic_fetch_add(&p->bell, 1);
    futex_wake(&p->bell, MAX_THREADS);
    atomic_fetch_add(&p->active, 1); /* who is about to sleep on it sees that it has changed */
    futex_wake(&p->active, MAX_THREADS);
    for (int i = 1; i < p->n_threads; i++) pthread_join(p->workers[i].thread, NULL);
    mem_free(p->workers);
    mem_free(p);
}

int os_pool_threads(const OsPool *p) { return (int)atomic_load_explicit(&p->active, memory_order_relaxed); }

void os_pool_limit(OsPool *p, int n_threads) {
    if (n_threads < 1 || n_threads > p->n_threads) n_threads = p->n_threads;
    atomic_store(&p->active, (uint32_t)n_threads);
    futex_wake(&p->active, MAX_THREADS);
    atomic_fetch_add(&p->bell, 1);
    futex_wake(&p->bell, MAX_THREADS);
}

void os_pool_pin(OsPool *p, const int *cpus, int n) {
    for (int i = 1; i < p->n_threads; i++) {
        cpu_set_t set = p->any;
        if (cpus && i < n && cpus[i] < CPU_SETSIZE) {
            CPU_ZERO(&set);
            CPU_SET((size_t)cpus[i], &set);
        }
        (void)pthread_setaffinity_np(p->workers[i].thread, sizeof set, &set); /* a CPU that has gone offline: it stays where it is */
    }
}

void os_pool_run(OsPool *p, int n_tasks, OsTask *fn, void *arg) {
    if (n_tasks <= 0) return;
    if (os_pool_threads(p) == 1 || n_tasks == 1) {
        for (int i = 0; i < n_tasks; i++) fn(arg, i, 0);
        return;
    }
    p->fn = fn;
    p->arg = arg;
    p->n_tasks = (uint32_t)n_tasks;
    atomic_store_explicit(&p->unfinished, (uint32_t)n_tasks, memory_order_relaxed);
    uint64_t open = atomic_load_explicit(&p->open, memory_order_relaxed);
    atomic_store(&p->open, ((open >> 32) + 1) << 32 | (uint32_t)n_tasks); /* publishes all of the above */
    wake_some(p);
    run_tasks(p, 0);
    if (atomic_load_explicit(&p->unfinished, memory_order_acquire)) wait_for_end(p);
}
