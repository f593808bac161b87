/* Pages outside the heap: taken, locked, and how many of them are huge. */
#define _GNU_SOURCE
#include "os/os.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum { HUGE_PAGE = 2 * 1024 * 1024, WORTH_HUGE_PAGES = 8 * HUGE_PAGE };

static _Atomic uint64_t requests, fail_from; /* of os_pages_new; fail_from 0: never */

void os_pages_fail_after(uint64_t n) { atomic_store(&fail_from, n == 0 ? 0 : atomic_load(&requests) + n); }

static void *map_anonymous(uint64_t bytes) {
    uint64_t n = atomic_fetch_add(&requests, 1) + 1, from = atomic_load(&fail_from);
    errno = ENOMEM;
    if (bytes > SIZE_MAX / 2 || (from && n >= from)) return MAP_FAILED;
    return mmap(NULL, bytes ? (size_t)bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

void *os_pages_new(uint64_t bytes, Err *err) {
    char size[32];
    void *p = map_anonymous(bytes);
    if (p == MAP_FAILED) {
        err_set(err, ERR_MEMORY, "the kernel refused %s of memory: %s; lower --ram and --ctx", format_size(bytes, size),
                strerror(errno));
        return NULL;
    }
    if (bytes >= WORTH_HUGE_PAGES) (void)madvise(p, (size_t)bytes, MADV_HUGEPAGE);
    return p;
}

void os_pages_free(void *pages, uint64_t bytes) {
    if (pages) munmap(pages, bytes ? (size_t)bytes : 1);
}

void os_pages_drop(void *from, uint64_t bytes) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)from, end = (begin + (uintptr_t)bytes) & ~(page - 1);
    begin = (begin + page - 1) & ~(page - 1);
    if (begin >= end) return;
    /* a huge page of which only a part goes is kept whole by the kernel until memory is really short; to call that part cold splits it */
    (void)madvise((void *)begin, end - begin, MADV_COLD);
    (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}

void os_pages_may_grow(void *pages, uint64_t bytes, bool may) {
    if (bytes >= WORTH_HUGE_PAGES) (void)madvise(pages, (size_t)bytes, may ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

ErrCode os_pages_lock(void *pages, uint64_t bytes, Err *err) {
    if (bytes == 0 || mlock(pages, (size_t)bytes) == 0) return ERR_OK;
    int cause = errno;
    char size[32], most[32];
    struct rlimit limit;
    if ((cause == ENOMEM || cause == EPERM) && getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur < bytes)
        return err_set(err, ERR_MEMORY,
                       "%s of memory cannot be locked: this user may lock %s; raise it (`ulimit -l %" PRIu64
                       "`, or a line `* hard memlock unlimited` in /etc/security/limits.conf and a new login), or leave out --mlock",
                       format_size(bytes, size), format_size(limit.rlim_cur, most), bytes / 1024 + 1);
    return err_set(err, ERR_MEMORY, "%s of memory cannot be locked: %s; leave out --mlock", format_size(bytes, size), strerror(cause));
}

/* Huge pages in all mappings of one open smaps file that overlap [from, to). Neighbours may have grown into one mapping, so that
 * its huge pages count at the most for what of it is ours. */
static uint64_t huge_in(FILE *smaps, uintptr_t from, uintptr_t to) {
    char line[512];
    uint64_t ours = 0, sum = 0;
    while (fgets(line, sizeof line, smaps)) {
        uintptr_t a, b;
        uint64_t kib;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &a, &b) == 2) { // NOLINT(cert-err34-c): the kernel's own lines
            if (a < from) a = from;
            if (b > to) b = to;
            ours = a < b ? b - a : 0;
        } else if (ours && sscanf(line, "AnonHugePages: %" SCNu64, &kib) == 1) { // NOLINT(cert-err34-c): the kernel's own lines
            sum += kib * 1024 < ours ? kib * 1024 : ours;
        }
    }
    return sum;
}

uint64_t os_huge_bytes(const void *pages, uint64_t bytes) {
    FILE *smaps = fopen(pages ? "/proc/self/smaps" : "/proc/self/smaps_rollup", "re");
    if (!smaps) return 0;
    uintptr_t from = (uintptr_t)pages;
    uint64_t huge = pages ? huge_in(smaps, from, from + bytes) : huge_in(smaps, 0, UINTPTR_MAX);
    fclose(smaps);
    return huge;
}
