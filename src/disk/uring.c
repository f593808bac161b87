/* The io_uring backend: reads go to the kernel in one call per submission and land without a thread of ours.
 *
 * At most `depth` requests are with the kernel; the others wait in `todo`. There is no thread behind the scenes: what waits moves
 * on, and short reads are continued, whenever the caller pushes or pulls.
 */
#define _GNU_SOURCE /* liburing.h needs it under -std=c11 */
#include "disk/ring.h"

#include <errno.h>
#include <liburing.h>
#include <string.h>

typedef struct Uring {
    struct io_uring ring;
    Ring todo;     /* not yet given to the ring */
    Ring prepared; /* in the ring's submission queue, not yet taken by the kernel */
    Ring done;
    uint32_t running; /* taken by the kernel, not yet complete */
    uint64_t busy_since, busy_ns;
    int broken; /* errno with which the kernel refuses submissions for good; 0: it does not */
} Uring;

static bool idle(const Uring *u) { return u->todo.count + u->prepared.count + u->running == 0; }

static ErrCode refuse(Err *err, int failure) {
    return err_set(err, ERR_UNSUPPORTED, "io_uring cannot be used here: %s; a container or kernel.io_uring_disabled may block it: use "
                   "--io threads, which needs nothing", strerror(failure));
}

static ErrCode uring_start(Disk *d, Err *err) {
    Uring *u = MEM_NEW(Uring, 1);
    if (!u) return err_no_memory(err, sizeof *u, "io_uring");
    int failure = -io_uring_queue_init((unsigned)d->config.depth, &u->ring, 0);
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
    d->backend_state = u;
    return ERR_OK;
}

/* The kernel refuses what is prepared, and not because it is busy: these requests have failed, and so have all that wait. */
static void give_up(Disk *d, Uring *u, int failure) {
    u->broken = failure;
    while (u->prepared.count + u->todo.count > 0) {
        uint32_t number = ring_take(u->prepared.count > 0 ? &u->prepared : &u->todo);
        Request *r = &d->requests[number];
        r->error = failure;
        r->tries++;
        ring_put(&u->done, number);
    }
}

/* Fills the submission queue and hands it to the kernel; wait: until at least one request is complete. */
static void submit(Disk *d, Uring *u, bool wait) {
    while (!u->broken && u->todo.count > 0 && u->prepared.count + u->running < (uint32_t)d->config.depth) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
        if (!sqe) break;
        uint32_t number = ring_take(&u->todo);
        Range range = request_range(&d->requests[number]);
        io_uring_prep_read(sqe, d->requests[number].file->os.fd, range.dst, range.bytes, range.offset);
        io_uring_sqe_set_data64(sqe, number);
        ring_put(&u->prepared, number);
    }
    if (u->prepared.count == 0 && !(wait && u->running > 0)) return;
    int taken = io_uring_submit_and_wait(&u->ring, wait ? 1 : 0);
    if (taken >= 0) {
        for (int i = 0; i < taken && u->prepared.count > 0; i++) {
            (void)ring_take(&u->prepared);
            u->running++;
        }
    } else if (taken == -EAGAIN || taken == -EBUSY) { /* the kernel is short of memory for more: first let something complete */
        struct io_uring_cqe *cqe;
        if (wait && u->running > 0) (void)io_uring_wait_cqe(&u->ring, &cqe);
    } else if (taken != -EINTR && u->prepared.count > 0) {
        give_up(d, u, -taken);
    }
}

/* Takes what the kernel has completed. */
static void land(Disk *d, Uring *u) {
    struct io_uring_cqe *cqe;
    while (u->running > 0 && io_uring_peek_cqe(&u->ring, &cqe) == 0) {
        uint32_t number = (uint32_t)io_uring_cqe_get_data64(cqe);
        int result = cqe->res;
        io_uring_cqe_seen(&u->ring, cqe);
        u->running--;
        Request *r = &d->requests[number];
        bool again = request_step(r, result, d->config.retries) == REQUEST_AGAIN;
        ring_put(again && !u->broken ? &u->todo : &u->done, number);
        if (again && u->broken) r->error = u->broken;
    }
}

static void uring_stop(Disk *d) {
    Uring *u = d->backend_state;
    if (!u) return;
    struct io_uring_cqe *cqe;
    while (u->running > 0) { /* the kernel may still write into the caller's memory */
        int failure = io_uring_wait_cqe(&u->ring, &cqe);
        if (failure == -EINTR) continue;
        if (failure) break;
        io_uring_cqe_seen(&u->ring, cqe);
        u->running--;
    }
    io_uring_queue_exit(&u->ring);
    mem_free(u);
    d->backend_state = NULL;
}

static void uring_push(Disk *d, const uint32_t *numbers, size_t n) {
    Uring *u = d->backend_state;
    if (n == 0) return;
    if (idle(u)) u->busy_since = os_now_ns();
    for (size_t i = 0; i < n; i++) ring_put(&u->todo, numbers[i]);
    if (u->broken) give_up(d, u, u->broken);
    submit(d, u, false);
}

static size_t uring_pull(Disk *d, uint32_t *numbers, size_t max, bool wait) {
    Uring *u = d->backend_state;
    if (!idle(u)) {
        land(d, u);
        submit(d, u, false);
        while (wait && u->done.count == 0 && !idle(u)) {
            submit(d, u, true);
            land(d, u);
        }
        if (idle(u)) u->busy_ns += os_now_ns() - u->busy_since;
    }
    size_t n = 0;
    while (n < max && u->done.count > 0) numbers[n++] = ring_take(&u->done);
    return n;
}

static uint64_t uring_busy_ns(const Disk *d) {
    const Uring *u = d->backend_state;
    return u->busy_ns + (idle(u) ? 0 : os_now_ns() - u->busy_since);
}

const Backend backend_uring = {"uring", 32, uring_start, uring_stop, uring_push, uring_pull, uring_busy_ns};
