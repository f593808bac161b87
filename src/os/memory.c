/* Pages outside the heap, and how much memory there really is for us. */
#define _GNU_SOURCE
#include "os/os.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 * 1024 * 1024, WORTH_HUGE_PAGES = 8 * HUGE_PAGE };

void *os_pages_new(uint64_t bytes, Err *err) {
    char size[32];
    void *p = bytes > SIZE_MAX / 2 ? MAP_FAILED
                                   : mmap(NULL, bytes ? (size_t)bytes : 1, PROT_READ | PROT_WRITE,
                                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
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

/* The first unsigned number after `key` in a small text file of /proc or /sys; false when absent or "max". */
static bool number_in(const char *path, const char *key, uint64_t *value) {
    FILE *f = fopen(path, "re");
    if (!f) return false;
    char line[512];
    bool found = false;
    size_t n = strlen(key);
    while (!found && fgets(line, sizeof line, f)) {
        if (strncmp(line, key, n) != 0) continue;
        char *end;
        errno = 0;
        unsigned long long v = strtoull(line + n, &end, 10);
        found = end != line + n && !errno;
        *value = v;
        if (!found) break;
    }
    fclose(f);
    return found;
}

static uint64_t status_kib(const char *key) {
    uint64_t kib = 0;
    (void)number_in("/proc/self/status", key, &kib);
    return kib * 1024;
}

uint64_t os_rss_now(void) { return status_kib("VmRSS:"); }

uint64_t os_rss_peak(void) { return status_kib("VmHWM:"); }

/* Room below the limit of the group `dir` itself; page cache that the kernel can drop counts as room. */
static void group_room(const char *dir, bool v2, OsMemory *m) {
    char path[1200];
    uint64_t limit, used = 0, droppable = 0;
    snprintf(path, sizeof path, "%s/%s", dir, v2 ? "memory.max" : "memory.limit_in_bytes");
    if (!number_in(path, "", &limit) || limit >= (UINT64_C(1) << 60)) return;
    snprintf(path, sizeof path, "%s/%s", dir, v2 ? "memory.current" : "memory.usage_in_bytes");
    (void)number_in(path, "", &used);
    snprintf(path, sizeof path, "%s/memory.stat", dir);
    (void)number_in(path, v2 ? "inactive_file " : "total_inactive_file ", &droppable);
    used = used > droppable ? used - droppable : 0;
    uint64_t room = limit > used ? limit - used : 0;
    uint64_t best = m->cgroup_limit == UINT64_MAX ? UINT64_MAX : m->cgroup_limit - m->cgroup_used;
    if (room < best) {
        m->cgroup_limit = limit;
        m->cgroup_used = used < limit ? used : limit;
    }
}

/* Walks from this process's group up to the root: any ancestor may be the tightest. */
static void walk_groups(const char *root, char *group, bool v2, OsMemory *m) {
    char dir[1100];
    for (;;) {
        snprintf(dir, sizeof dir, "%s%s", root, group);
        group_room(dir, v2, m);
        char *slash = strrchr(group, '/');
        if (!slash) break;
        *slash = 0;
        if (slash == group) {
            snprintf(dir, sizeof dir, "%s", root);
            group_room(dir, v2, m);
            break;
        }
    }
}

static void cgroup_limits(OsMemory *m) {
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (!f) return;
    char line[1024];
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) continue;
        *group++ = 0;
        controllers++;
        if (!*controllers) walk_groups("/sys/fs/cgroup", group, true, m);
        else if (strstr(controllers, "memory")) walk_groups("/sys/fs/cgroup/memory", group, false, m);
    }
    fclose(f);
}

void os_memory(OsMemory *m) {
    memset(m, 0, sizeof *m);
    m->cgroup_limit = UINT64_MAX;
    uint64_t kib = 0;
    if (number_in("/proc/meminfo", "MemTotal:", &kib)) m->total = kib * 1024;
    if (number_in("/proc/meminfo", "MemAvailable:", &kib)) m->available = kib * 1024;
    cgroup_limits(m);
    uint64_t own = os_rss_now();
    m->budget = m->available + own;
    if (m->cgroup_limit != UINT64_MAX && m->cgroup_limit - m->cgroup_used + own < m->budget)
        m->budget = m->cgroup_limit - m->cgroup_used + own;
}
