/* The thread backend: a pool of threads that each carry one read to its end with pread.
 *
 * Two rings of request numbers under one lock: what is to do, and what has landed. Reads take far longer than the lock is
 * held, so one lock for all is enough. The rings can hold every request of the table: a push never waits.
 */
#define _POSIX_C_SOURCE 200809L
#include "disk/ring.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { STACK_BYTES = 256 * 1024 };

typedef struct Threads {
    pthread_mutex_t lock;
    pthread_cond_t filled; /* there is something to do, or stop */
    pthread_cond_t landed;
    Ring todo, done;
    uint32_t unfinished; /* pushed, and not yet in `done` */
    uint64_t busy_since, busy_ns;
    bool stop;
    int n_threads;
    pthread_t threads[DISK_DEPTH_MAX]; /* [n_threads] */
} Threads;

int64_t read_plain(const Disk *d, const Request *r) {
    (void)d;
    Range range = request_range(r);
    ssize_t got = pread(r->file->os.fd, range.dst, range.bytes, (off_t)range.offset);
    return got < 0 ? -errno : got;
}

static void *worker_main(void *arg) {
    Disk *d = arg;
    Threads *t = d->backend_state;
    pthread_mutex_lock(&t->lock);
    for (;;) {
        while (t->todo.count == 0 && !t->stop) pthread_cond_wait(&t->filled, &t->lock);
        if (t->stop) break;
        uint32_t number = ring_take(&t->todo);
        pthread_mutex_unlock(&t->lock);

        Request *r = &d->requests[number];
        while (request_step(r, d->read_once(d, r), d->config.retries) == REQUEST_AGAIN) {}

        pthread_mutex_lock(&t->lock);
        ring_put(&t->done, number);
        if (--t->unfinished == 0) t->busy_ns += os_now_ns() - t->busy_since;
        pthread_cond_signal(&t->landed);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

static void threads_stop(Disk *d) {
    Threads *t = d->backend_state;
    if (!t) return;
    pthread_mutex_lock(&t->lock);
    t->stop = true;
    pthread_cond_broadcast(&t->filled);
    pthread_mutex_unlock(&t->lock);
    for (int i = 0; i < t->n_threads; i++) pthread_join(t->threads[i], NULL);
    pthread_cond_destroy(&t->landed);
    pthread_cond_destroy(&t->filled);
    pthread_mutex_destroy(&t->lock);
    mem_free(t);
    d->backend_state = NULL;
}

/* Ctrl-C belongs to the main thread: a signal must not land on a thread that only reads. */
static int start_threads(Disk *d, Threads *t) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_t attributes;
    int failure = pthread_attr_init(&attributes);
    if (failure) return failure;
    failure = pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (!failure && t->n_threads < d->config.depth) {
        failure = pthread_create(&t->threads[t->n_threads], &attributes, worker_main, d);
        if (!failure) t->n_threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return failure;
}

static ErrCode threads_start(Disk *d, Err *err) {
    Threads *t = MEM_NEW(Threads, 1);
    if (!t) return err_no_memory(err, sizeof *t, "the disk's threads");
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->filled, NULL);
    pthread_cond_init(&t->landed, NULL);
    d->backend_state = t;
    int failure = start_threads(d, t);
    if (!failure) return ERR_OK;
    err_set(err, ERR_MEMORY, "cannot start %d threads for reading: %s; raise the limit of processes (ulimit -u)", d->config.depth,
            strerror(failure));
    threads_stop(d);
    return ERR_MEMORY;
}

static void threads_push(Disk *d, const uint32_t *numbers, size_t n) {
    Threads *t = d->backend_state;
    if (n == 0) return;
    pthread_mutex_lock(&t->lock);
    if (t->unfinished == 0) t->busy_since = os_now_ns();
    t->unfinished += (uint32_t)n;
    for (size_t i = 0; i < n; i++) ring_put(&t->todo, numbers[i]);
    if (n == 1) pthread_cond_signal(&t->filled);
    else pthread_cond_broadcast(&t->filled);
    pthread_mutex_unlock(&t->lock);
}

static size_t threads_pull(Disk *d, uint32_t *numbers, size_t max, bool wait) {
    Threads *t = d->backend_state;
    size_t n = 0;
    pthread_mutex_lock(&t->lock);
    while (wait && t->done.count == 0 && t->unfinished > 0) pthread_cond_wait(&t->landed, &t->lock);
    while (n < max && t->done.count > 0) numbers[n++] = ring_take(&t->done);
    pthread_mutex_unlock(&t->lock);
    return n;
}

static uint64_t threads_busy_ns(const Disk *d) {
    Threads *t = d->backend_state;
    pthread_mutex_lock(&t->lock);
    uint64_t ns = t->busy_ns + (t->unfinished > 0 ? os_now_ns() - t->busy_since : 0);
    pthread_mutex_unlock(&t->lock);
    return ns;
}

const Backend backend_threads = {"threads", 8, threads_start, threads_stop, threads_push, threads_pull, threads_busy_ns};
