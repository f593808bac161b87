/* The fake: real reads on the thread backend, spoiled as a DiskFaults says.
 *
 * Whether an attempt is spoiled depends only on the seed, the number of the read and the number of the attempt, not on which
 * thread gets there first: the same submissions fail the same way.
 */
#define _POSIX_C_SOURCE 200809L
#include "disk/backend.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

/* A well-mixed number for three counters. */
static uint64_t draw(const Disk *d, const Request *r, uint64_t purpose) {
    uint64_t of_read = splitmix(d->config.faults.seed + r->sequence + SPLITMIX_STEP);
    return splitmix(of_read + ((uint64_t)r->again << 8 | purpose) + SPLITMIX_STEP);
}

static bool happens(uint64_t drawn, uint32_t ppm) { return drawn % 1000000 < ppm; }

/* What a device leaves behind when it fails: anything. So nobody may use it. */
static int64_t fail_with_rubbish(const Range *range) {
    memset(range->dst, 0xEE, range->bytes);
    return -EIO;
}

static void take_time(const DiskFaults *f, const Request *r, uint32_t ms) {
    struct timespec rest = {ms / 1000, (long)(ms % 1000) * 1000000};
    if (f->pause) f->pause(f->user, &r->read, ms);
    else
        while (nanosleep(&rest, &rest) != 0 && errno == EINTR) {}
}

static bool poisoned(const DiskFaults *f, const DiskRead *r) {
    uint64_t end = f->fail_offset + (f->fail_bytes ? f->fail_bytes : 1);
    return f->fail_file == (int64_t)r->file && f->fail_offset < r->offset + r->bytes && end > r->offset;
}

int disk_pace_of(const DiskFaults *f, const char *path) {
    for (int i = 0; i < DISK_PACES; i++)
        if (f->paces[i].under && strncmp(path, f->paces[i].under, strlen(f->paces[i].under)) == 0) return i;
    return -1;
}

/* A drive does one thing after the other: each read begins when the one before has ended. Tests of one process share the clocks. */
static void keep_pace(const DiskFaults *f, const Request *r, uint32_t bytes) {
    static _Atomic uint64_t free_at[DISK_PACES];
    int i = disk_pace_of(f, r->file->path);
    if (i < 0) return;
    uint64_t took = (uint64_t)((double)bytes * 1e9 / (double)f->paces[i].bytes_per_s), now = os_now_ns(), before = free_at[i], end;
    do end = (before > now ? before : now) + took;
    while (!atomic_compare_exchange_weak(&free_at[i], &before, end));
    struct timespec rest = {(time_t)((end - now) / 1000000000), (long)((end - now) % 1000000000)};
    while (nanosleep(&rest, &rest) != 0 && errno == EINTR) {}
}

int64_t disk_read_fake(const Disk *d, const Request *r) {
    enum { ERROR, SHORT, DELAY, LENGTH, LONG, LATE, STALL };
    const DiskFaults *f = &d->config.faults;
    Range range = disk_request_range(r);
    if (happens(draw(d, r, STALL), f->stall_ppm)) take_time(f, r, f->stall_ms);
    if (happens(draw(d, r, DELAY), f->delay_ppm)) take_time(f, r, f->delay_ms);
    keep_pace(f, r, range.bytes);
    if (f->fail_under && strncmp(r->file->path, f->fail_under, strlen(f->fail_under)) == 0) return fail_with_rubbish(&range);
    if (poisoned(f, &r->read) || happens(draw(d, r, ERROR), f->error_ppm)) return fail_with_rubbish(&range);
    if (happens(draw(d, r, LONG), f->long_ppm)) {
        (void)fail_with_rubbish(&range);
        return (int64_t)range.bytes + 4096;
    }
    int64_t got = disk_read_plain(d, r);
    if (got > 0 && happens(draw(d, r, SHORT), f->short_ppm)) {
        int64_t kept = (int64_t)(draw(d, r, LENGTH) % (uint64_t)got);
        memset(range.dst + kept, 0xEE, (size_t)(got - kept));
        got = kept;
    }
    if (happens(draw(d, r, LATE), f->late_ppm)) take_time(f, r, f->late_ms);
    return got;
}
