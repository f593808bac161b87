/* May this file be read past the page cache, and with which alignment?
 *
 * What a file system says is only a hint: some accept O_DIRECT and refuse the reads, some name no alignment, one was seen to
 * refuse 4 KiB and take 16. So a block in the file and its last one are read both ways and compared before anything relies
 * on it.
 */
#define _GNU_SOURCE /* statx */
#include "disk/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { ALIGNMENT_MAX = 64 * 1024, PROBE_BYTES = 4 * ALIGNMENT_MAX };

typedef struct Probe {
    OsFile direct, buffered;
    char *memory; /* [PROBE_BYTES]: after alignment, a place for the direct read and one for the buffered read */
} Probe;

/* File systems that live in memory may accept O_DIRECT, but there is no device behind them. */
static const char *memory_file_system(int fd) {
    enum { TMPFS = 0x01021994 };
    const unsigned long ramfs = 0x858458f6ul;
    struct statfs fs;
    if (fstatfs(fd, &fs) != 0) return NULL;
    unsigned long type = (unsigned long)fs.f_type & 0xfffffffful;
    return type == TMPFS ? "tmpfs" : type == ramfs ? "ramfs" : NULL;
}

/* Does the kernel say something that can be used? */
static bool kernel_says(const OsFile *f, uint32_t *alignment) {
    uint32_t n;
    if (!os_direct_alignment(f, &n) || n > ALIGNMENT_MAX || (n & (n - 1)) != 0) return false;
    *alignment = n;
    return true;
}

/* Reads one block both ways. 0: the same bytes; else errno, or -1 where the bytes differ. */
static int compare_block(const Probe *p, uint32_t alignment, uint64_t offset) {
    /* aligned to `alignment` and to nothing more, so that the probe is not kinder than real reads will be */
    char *base = p->memory + (ALIGNMENT_MAX - (uintptr_t)p->memory % ALIGNMENT_MAX) % ALIGNMENT_MAX;
    char *direct = base + alignment, *buffered = base + 2 * (size_t)ALIGNMENT_MAX;
    uint64_t left = p->direct.size - offset;
    size_t expected = left < alignment ? (size_t)left : alignment;
    ssize_t got;
    do got = pread(p->direct.fd, direct, alignment, (off_t)offset);
    while (got < 0 && errno == EINTR);
    if (got < 0) return errno;
    if ((size_t)got != expected) return -1;
    do got = pread(p->buffered.fd, buffered, expected, (off_t)offset);
    while (got < 0 && errno == EINTR);
    if (got < 0) return errno;
    return (size_t)got == expected && memcmp(direct, buffered, expected) == 0 ? 0 : -1;
}

static int compare_blocks(const Probe *p, uint32_t alignment) {
    int result = compare_block(p, alignment, p->direct.size > alignment ? alignment : 0);
    return result ? result : compare_block(p, alignment, align_down(p->direct.size - 1, alignment));
}

static bool find_alignment(const Probe *p, uint32_t *alignment, char cause[DIRECT_CAUSE_BYTES]) {
    uint32_t candidates[] = {0, 512, 4096, 16384};
    size_t first = kernel_says(&p->direct, &candidates[0]) ? 0 : 1;
    if (first == 0 && candidates[0] == 0) {
        snprintf(cause, DIRECT_CAUSE_BYTES, "the file system offers no direct I/O for it");
        return false;
    }
    for (size_t i = first; i < COUNT_OF(candidates); i++) {
        int result = compare_blocks(p, candidates[i]);
        if (result == 0) {
            *alignment = candidates[i];
            return true;
        }
        if (result < 0) {
            snprintf(cause, DIRECT_CAUSE_BYTES, "a direct read returned other bytes than a buffered one");
            return false;
        }
        snprintf(cause, DIRECT_CAUSE_BYTES, "a direct read was refused: %s", strerror(result));
    }
    return false;
}

bool disk_direct_open(const char *path, OsFile *f, uint32_t *alignment, char cause[DIRECT_CAUSE_BYTES]) {
    Probe p = {{-1, 0}, {-1, 0}, NULL};
    Err err = {0};
    bool ok = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT); /* first by hand: errno is what the sentence needs */
    const char *in_memory = fd >= 0 ? memory_file_system(fd) : NULL;
    if (fd < 0) {
        snprintf(cause, DIRECT_CAUSE_BYTES, "opening it for direct reads was refused: %s", strerror(errno));
    } else if (in_memory) {
        snprintf(cause, DIRECT_CAUSE_BYTES, "it is in %s, which has no direct I/O", in_memory);
    } else if (os_open(&p.direct, path, true, &err) || os_open(&p.buffered, path, false, &err)) {
        snprintf(cause, DIRECT_CAUSE_BYTES, "%.*s", DIRECT_CAUSE_BYTES - 1, err.text);
    } else if (p.direct.size == 0) {
        snprintf(cause, DIRECT_CAUSE_BYTES, "it is empty");
    } else if (!(p.memory = os_pages_new(PROBE_BYTES, &err))) {
        snprintf(cause, DIRECT_CAUSE_BYTES, "%.*s", DIRECT_CAUSE_BYTES - 1, err.text);
    } else {
        ok = find_alignment(&p, alignment, cause);
    }
    if (fd >= 0) close(fd);
    os_pages_free(p.memory, PROBE_BYTES);
    os_close(&p.buffered);
    if (ok) *f = p.direct;
    else os_close(&p.direct);
    return ok;
}
