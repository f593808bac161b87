/* The io_uring backend: reads go to the kernel in one call per submission and land without a thread of ours.
 *
 * At most `depth` requests are with the kernel, so many that all reads of a layer go there in the one call that submits them; how many
 * of them run is the drive's business. The others wait in the queue. There is no thread behind the scenes: what waits moves
 * on, hints too, and short reads are continued, whenever the caller pushes or pulls.
 */
#define _GNU_SOURCE /* liburing.h needs it under -std=c11 */
#include "disk/fixed.h"
#include "disk/queue.h"

#include <errno.h>
#include <liburing.h>
#include <string.h>

typedef struct Uring {
    struct io_uring ring;
    Fixed fixed;
    Queue queue;
    List prepared; /* in the ring's submission queue, not yet taken by the kernel */
    uint32_t with_kernel; /* taken by the kernel, not yet complete */
    int broken; /* errno with which the kernel refuses submissions for good; 0: it does not */
} Uring;

static ErrCode refuse(Err *err, int failure) {
    return err_set(err, ERR_UNSUPPORTED, "io_uring cannot be used here: %s; a container or kernel.io_uring_disabled may block it: use "
                   "--io threads, which needs nothing", strerror(failure));
}

static ErrCode uring_start(Disk *d, Err *err) {
    Uring *u = MEM_NEW(Uring, 1);
    if (!u) return err_no_memory(err, sizeof *u, "io_uring");
    int failure = -io_uring_queue_init(DISK_DEPTH_MAX, &u->ring, 0);
    if (failure) {
        mem_free(u);
        return refuse(err, failure);
    }
    struct io_uring_probe *probe = io_uring_get_probe_ring(&u->ring);
    bool can_read = probe && io_uring_opcode_supported(probe, IORING_OP_READ);
    if (probe) io_uring_free_probe(probe);
    if (!can_read) {
        io_uring_queue_exit(&u->ring);
        mem_free(u);
        return refuse(err, EOPNOTSUPP);
    }
    disk_fixed_start(&u->fixed, &u->ring);
    disk_queue_start(&u->queue);
    u->prepared = (List){NO_REQUEST, NO_REQUEST, 0};
    d->backend_state = u;
    return ERR_OK;
}

static void fail(Disk *d, Uring *u, uint32_t number) {
    Request *r = &d->requests[number];
    r->error = u->broken;
    r->tries++;
    disk_queue_land(&u->queue, d, number);
}

/* The kernel refuses what is prepared, and not because it is busy: these requests have failed, and so have all that wait. */
static void fail_all(Disk *d, Uring *u) {
    uint32_t number;
    while (u->prepared.count > 0) fail(d, u, disk_list_take(&u->prepared, d->requests));
    while (disk_queue_take(&u->queue, d, &number)) fail(d, u, number);
}

/* Moves what may start into the submission queue. */
static void prepare(Disk *d, Uring *u) {
    uint32_t number;
    while (u->queue.running < (uint32_t)d->config.depth && io_uring_sq_space_left(&u->ring) > 0 && disk_queue_take(&u->queue, d, &number)) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
        Range range = disk_request_range(&d->requests[number]);
        disk_fixed_prepare(&u->fixed, &u->ring, sqe, d->requests[number].file, &range);
        io_uring_sqe_set_data64(sqe, number);
        disk_list_put(&u->prepared, d->requests, number);
    }
}

/* Fills the submission queue and hands it to the kernel. */
static void submit(Disk *d, Uring *u) {
    if (!u->broken) prepare(d, u);
    else fail_all(d, u);
    if (u->prepared.count == 0) return;
    int taken = io_uring_submit(&u->ring);
    for (int i = 0; i < taken && u->prepared.count > 0; i++) {
        (void)disk_list_take(&u->prepared, d->requests);
        u->with_kernel++;
    }
    if (taken >= 0 || taken == -EINTR || taken == -EAGAIN || taken == -EBUSY) return; /* short of memory: something must complete first */
    u->broken = -taken;
    fail_all(d, u);
}

/* Until the kernel has completed something, or has had so long. */
static void wait_for_kernel(Uring *u, uint64_t wait_ns) {
    struct io_uring_cqe *cqe;
    struct __kernel_timespec limit = {.tv_sec = (int64_t)(wait_ns / 1000000000u), .tv_nsec = (long long)(wait_ns % 1000000000u)};
    if (u->with_kernel == 0) return;
    if (u->ring.features & IORING_FEAT_EXT_ARG) (void)io_uring_wait_cqe_timeout(&u->ring, &cqe, &limit);
    else (void)io_uring_wait_cqe(&u->ring, &cqe); /* before Linux 5.11 a limit costs a request of its own */
}

/* Takes what the kernel has completed. */
static void land(Disk *d, Uring *u) {
    struct io_uring_cqe *cqe;
    while (u->with_kernel > 0 && io_uring_peek_cqe(&u->ring, &cqe) == 0) {
        uint32_t number = (uint32_t)io_uring_cqe_get_data64(cqe);
        int result = cqe->res;
        io_uring_cqe_seen(&u->ring, cqe);
        u->with_kernel--;
        if (disk_request_step(&d->requests[number], result, d->config.retries) != REQUEST_AGAIN) disk_queue_land(&u->queue, d, number);
        else if (u->broken) fail(d, u, number);
        else disk_queue_again(&u->queue, d, number);
    }
}

static void uring_stop(Disk *d) {
    Uring *u = d->backend_state;
    if (!u) return;
    struct io_uring_cqe *cqe;
    while (u->with_kernel > 0) { /* the kernel may still write into the caller's memory */
        int failure = io_uring_wait_cqe(&u->ring, &cqe);
        if (failure == -EINTR) continue;
        if (failure) break;
        io_uring_cqe_seen(&u->ring, cqe);
        u->with_kernel--;
    }
    disk_fixed_memory(&u->fixed, &u->ring, NULL, 0, 0); /* now: leaving the ring would give it back some time later */
    io_uring_queue_exit(&u->ring);
    mem_free(u);
    d->backend_state = NULL;
}

static void uring_push(Disk *d, const uint32_t *numbers, size_t n) {
    Uring *u = d->backend_state;
    disk_queue_put(&u->queue, d, numbers, n);
    submit(d, u);
}

static size_t uring_pull(Disk *d, uint32_t *numbers, size_t max, uint64_t wait_ns) {
    Uring *u = d->backend_state;
    uint64_t start = wait_ns > 0 ? os_now_ns() : 0, waited = 0;
    if (u->queue.unfinished > 0) {
        land(d, u);
        submit(d, u);
    }
    while (waited < wait_ns && u->queue.done.count == 0 && u->queue.unfinished > 0) {
        wait_for_kernel(u, wait_ns - waited);
        land(d, u);
        submit(d, u);
        waited = os_now_ns() - start;
    }
    return disk_queue_pull(&u->queue, d, numbers, max);
}

static size_t uring_cancel(Disk *d, uint32_t *numbers, size_t n) {
    Uring *u = d->backend_state;
    return disk_queue_cancel(&u->queue, d, numbers, n);
}

static void uring_promote(Disk *d, const uint32_t *numbers, size_t n) {
    Uring *u = d->backend_state;
    disk_queue_promote(&u->queue, d, numbers, n);
    submit(d, u);
}

static const DiskFile *uring_oldest(const Disk *d) {
    const Uring *u = d->backend_state;
    return disk_queue_oldest(&u->queue, d);
}

static void uring_count(const Disk *d, DiskInfo *info) {
    const Uring *u = d->backend_state;
    disk_queue_count(&u->queue, info);
    info->registered_bytes = u->fixed.n_registered * u->fixed.piece_bytes;
}

static ErrCode uring_opened(Disk *d, DiskFile *file, Err *err) {
    (void)err;
    Uring *u = d->backend_state;
    disk_fixed_add_file(&u->fixed, &u->ring, file);
    return ERR_OK;
}

static void uring_memory(Disk *d, void *memory, uint64_t piece_bytes, uint32_t n) {
    Uring *u = d->backend_state;
    disk_fixed_memory(&u->fixed, &u->ring, memory, piece_bytes, n);
}

static void uring_forget(Disk *d, const void *piece) {
    Uring *u = d->backend_state;
    disk_fixed_forget(&u->fixed, &u->ring, piece);
}

const Backend disk_backend_uring = {.name = "uring", .default_depth = 128, .is_choosable = true,
                               .start = uring_start, .stop = uring_stop, .push = uring_push, .pull = uring_pull,
                               .cancel = uring_cancel, .promote = uring_promote, .oldest = uring_oldest,
                               .count = uring_count, .opened = uring_opened, .memory = uring_memory,
                               .forget = uring_forget};
