/* The thread backend: a pool of threads that each carry one read to its end, with pread or as the fake and mmap do it.
 *
 * One lock around the queue of all: reads take far longer than it is held. The queue can hold every request of the table, so a push
 * never waits.
 */
#define _POSIX_C_SOURCE 200809L
#include "disk/queue.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { STACK_BYTES = 256 * 1024 };

typedef struct Threads {
    pthread_mutex_t lock;
    pthread_cond_t filled; /* there is something to do, or stop */
    pthread_cond_t landed;
    Queue queue;
    bool stop;
    uint64_t cpu_ns; /* of all threads, up to their last reads */
    int n_threads;
    pthread_t threads[DISK_DEPTH_MAX]; /* [n_threads] */
} Threads;

int64_t disk_read_plain(const Disk *d, const Request *r) {
    (void)d;
    Range range = disk_request_range(r);
    ssize_t got = pread(r->file->os.fd, range.dst, range.bytes, (off_t)range.offset);
    return got < 0 ? -errno : got;
}

static void *worker_main(void *arg) {
    Disk *d = arg;
    Threads *t = d->backend_state;
    uint64_t counted = 0;
    pthread_mutex_lock(&t->lock);
    for (;;) {
        uint32_t number = 0;
        while (!t->stop && !disk_queue_take(&t->queue, d, &number)) pthread_cond_wait(&t->filled, &t->lock);
        if (t->stop) break;
        pthread_mutex_unlock(&t->lock);

        Request *r = &d->requests[number];
        while (disk_request_step(r, d->backend->read_once(d, r), d->config.retries) == REQUEST_AGAIN) {}
        uint64_t cpu = os_thread_cpu_ns();

        pthread_mutex_lock(&t->lock);
        t->cpu_ns += cpu - counted;
        counted = cpu;
        disk_queue_land(&t->queue, d, number);
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
    disk_queue_start(&t->queue);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->filled, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&t->landed, &monotonic);
    pthread_condattr_destroy(&monotonic);
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
    disk_queue_put(&t->queue, d, numbers, n);
    if (n == 1) pthread_cond_signal(&t->filled);
    else pthread_cond_broadcast(&t->filled);
    pthread_mutex_unlock(&t->lock);
}

static size_t threads_pull(Disk *d, uint32_t *numbers, size_t max, uint64_t wait_ns) {
    Threads *t = d->backend_state;
    pthread_mutex_lock(&t->lock);
    if (wait_ns > 0 && t->queue.done.count == 0) {
        uint64_t until_ns = os_now_ns() + wait_ns;
        struct timespec until = {(time_t)(until_ns / 1000000000u), (long)(until_ns % 1000000000u)};
        int failure = 0;
        while (!failure && t->queue.done.count == 0 && t->queue.unfinished > 0)
            failure = pthread_cond_timedwait(&t->landed, &t->lock, &until);
    }
    size_t n = disk_queue_pull(&t->queue, d, numbers, max);
    pthread_mutex_unlock(&t->lock);
    return n;
}

static size_t threads_cancel(Disk *d, uint32_t *numbers, size_t n) {
    Threads *t = d->backend_state;
    pthread_mutex_lock(&t->lock);
    n = disk_queue_cancel(&t->queue, d, numbers, n);
    pthread_mutex_unlock(&t->lock);
    return n;
}

static void threads_promote(Disk *d, const uint32_t *numbers, size_t n) {
    Threads *t = d->backend_state;
    pthread_mutex_lock(&t->lock);
    disk_queue_promote(&t->queue, d, numbers, n);
    pthread_cond_broadcast(&t->filled); /* threads that sleep because a hint may not start yet may take a demand */
    pthread_mutex_unlock(&t->lock);
}

static const DiskFile *threads_oldest(const Disk *d) {
    Threads *t = d->backend_state;
    pthread_mutex_lock(&t->lock);
    const DiskFile *f = disk_queue_oldest(&t->queue, d);
    pthread_mutex_unlock(&t->lock);
    return f;
}

static void threads_count(const Disk *d, DiskInfo *info) {
    Threads *t = d->backend_state;
    pthread_mutex_lock(&t->lock);
    disk_queue_count(&t->queue, info);
    info->cpu_ns = t->cpu_ns;
    pthread_mutex_unlock(&t->lock);
}

#define POOL                                                                                                   \
    .default_depth = 8, .stop = threads_stop, .push = threads_push, .pull = threads_pull, .cancel = threads_cancel, \
    .promote = threads_promote, .oldest = threads_oldest, .count = threads_count
const Backend disk_backend_threads = {.name = "threads", .is_choosable = true, .notes_landings = true, .read_once = disk_read_plain,
                                 .start = threads_start, POOL};
const Backend disk_backend_fake = {.name = "fake", .notes_landings = true, .read_once = disk_read_fake, .start = threads_start, POOL};
const Backend disk_backend_mmap = {.name = "mmap", .buffered_only = true, .read_once = disk_read_mmap, .start = disk_mmap_start,
                              .opened = disk_mmap_opened, .closed = disk_mmap_closed, POOL};
