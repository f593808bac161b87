/* How much memory there really is for us: the machine's, and that of the control groups that hold this process. */
#include "os/proc.h"

#include <stdio.h>
#include <string.h>

static uint64_t status_kib(const char *prefix, const char *key) {
    char path[600];
    uint64_t kib = 0;
    snprintf(path, sizeof path, "%s/proc/self/status", prefix);
    (void)os_proc_number(path, key, &kib);
    return kib * 1024;
}

uint64_t os_rss_now(void) { return status_kib("", "VmRSS:"); }

uint64_t os_rss_peak(void) { return status_kib("", "VmHWM:"); }

/* The limit of one group; v2 has a second one, memory.high, above which everything in the group is throttled. */
static bool group_limit(const char *dir, bool v2, uint64_t *limit) {
    char path[1700];
    uint64_t high;
    *limit = UINT64_MAX;
    snprintf(path, sizeof path, "%s/%s", dir, v2 ? "memory.max" : "memory.limit_in_bytes");
    (void)os_proc_number(path, "", limit);
    snprintf(path, sizeof path, "%s/memory.high", dir);
    if (v2 && os_proc_number(path, "", &high) && high < *limit) *limit = high;
    return *limit < (UINT64_C(1) << 60); /* v1 says "none" with a number near 2^63 */
}

/* Room below the limit of the group `dir` itself; page cache that the kernel can drop counts as room. */
static void group_room(void *user, const char *dir, bool v2) {
    OsMemory *m = user;
    char path[1700];
    uint64_t limit, used = 0, droppable = 0;
    if (!group_limit(dir, v2, &limit)) return;
    snprintf(path, sizeof path, "%s/%s", dir, v2 ? "memory.current" : "memory.usage_in_bytes");
    (void)os_proc_number(path, "", &used);
    snprintf(path, sizeof path, "%s/memory.stat", dir);
    (void)os_proc_number(path, v2 ? "inactive_file " : "total_inactive_file ", &droppable);
    used = used > droppable ? used - droppable : 0;
    if (used > limit) used = limit;
    if (m->cgroup_limit == UINT64_MAX || limit - used < m->cgroup_limit - m->cgroup_used) {
        m->cgroup_limit = limit;
        m->cgroup_used = used;
    }
}

void os_memory_of(const char *prefix, OsMemory *m) {
    memset(m, 0, sizeof *m);
    m->cgroup_limit = UINT64_MAX;
    char path[600];
    uint64_t kib = 0;
    snprintf(path, sizeof path, "%s/proc/meminfo", prefix);
    if (os_proc_number(path, "MemTotal:", &kib)) m->total = kib * 1024;
    if (os_proc_number(path, "MemAvailable:", &kib)) m->available = kib * 1024;
    os_proc_groups(prefix, "memory", group_room, m);
    uint64_t own = status_kib(prefix, "VmRSS:");
    m->budget = m->available + own;
    if (m->cgroup_limit != UINT64_MAX && m->cgroup_limit - m->cgroup_used + own < m->budget)
        m->budget = m->cgroup_limit - m->cgroup_used + own;
    if (m->budget > m->total && m->total) m->budget = m->total;
}

void os_memory(OsMemory *m) { os_memory_of("", m); }
