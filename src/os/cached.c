/* How much of a file, or of a part of it, the page cache holds. mincore asks without reading. */
#define _GNU_SOURCE /* mincore */
#include "os/os.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGES_AT_A_TIME = 1024 };

/* To everybody else the kernel says that all of a file is in memory, so that nobody learns what others read. */
static bool kernel_tells(int fd) {
    struct stat st;
    if (fstat(fd, &st) != 0) return false;
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return st.st_uid == geteuid() || access(path, W_OK) == 0;
}

bool os_cached(const OsFile *f, uint64_t offset, uint64_t bytes, uint64_t *cached) {
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t from = align_down(offset, page), to = offset + bytes;
    if (to > f->size) to = f->size;
    *cached = 0;
    if (!kernel_tells(f->fd)) return false;
    if (from >= to) return true;
    size_t length = (size_t)(to - from);
    char *map = mmap(NULL, length, PROT_READ, MAP_SHARED, f->fd, (off_t)from);
    if (map == MAP_FAILED) return false;
    bool told = true;
    for (uint64_t at = 0; at < length && told; at += PAGES_AT_A_TIME * page) {
        unsigned char there[PAGES_AT_A_TIME];
        uint64_t part = length - at < PAGES_AT_A_TIME * page ? length - at : PAGES_AT_A_TIME * page;
        told = mincore(map + at, (size_t)part, there) == 0;
        for (uint64_t i = 0; told && i < (part + page - 1) / page; i++) *cached += (there[i] & 1) * page;
    }
    munmap(map, length);
    return told;
}

double os_cached_share(const OsFile *f) {
    enum { SAMPLES = 512 };
    const uint64_t sample = (uint64_t)sysconf(_SC_PAGESIZE) * 16, n = (f->size + sample - 1) / sample, step = n > SAMPLES ? n / SAMPLES : 1;
    uint64_t seen = 0, there = 0;
    for (uint64_t i = 0; i < n; i += step) {
        uint64_t cached;
        if (!os_cached(f, i * sample, sample, &cached)) return -1;
        there += cached;
        seen += i + 1 < n ? sample : align_up(f->size - i * sample, (uint64_t)sysconf(_SC_PAGESIZE));
    }
    return seen ? (double)there / (double)seen : -1;
}
