/* Is memory short? A few small files, opened once and read again and again. */
#define _GNU_SOURCE
#include "os/proc.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_GROUPS = 8, TEXT_BYTES = 8192 }; /* deeper groups than that are not watched; the innermost come first */

/* One control group with a limit at this time or later; -1: there is no such file. */
typedef struct Group {
    bool v2;
    int limit, high, usage, stat, events;
} Group;

struct OsPressure {
    int meminfo, status, stall;
    bool stall_of_group;
    int n_groups;
    Group groups[MAX_GROUPS];
    char text[TEXT_BYTES];
};

static int open_in(const char *dir, const char *name) {
    char path[1800];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return open(path, O_RDONLY | O_CLOEXEC);
}

static void close_if_open(int fd) {
    if (fd >= 0) close(fd);
}

static void watch_group(void *user, const char *dir, bool v2) {
    OsPressure *p = user;
    if (v2 && !p->stall_of_group) {
        int fd = open_in(dir, "memory.pressure");
        if (fd >= 0) {
            close_if_open(p->stall);
            p->stall = fd;
            p->stall_of_group = true;
        }
    }
    int limit = open_in(dir, v2 ? "memory.max" : "memory.limit_in_bytes");
    if (limit < 0 || p->n_groups == MAX_GROUPS) {
        close_if_open(limit);
        return;
    }
    p->groups[p->n_groups++] = (Group){.v2 = v2,
                                       .limit = limit,
                                       .high = v2 ? open_in(dir, "memory.high") : -1,
                                       .usage = open_in(dir, v2 ? "memory.current" : "memory.usage_in_bytes"),
                                       .stat = open_in(dir, "memory.stat"),
                                       .events = open_in(dir, v2 ? "memory.events" : "memory.failcnt")};
}

OsPressure *os_pressure_new(const char *prefix, Err *err) {
    OsPressure *p = MEM_NEW(OsPressure, 1);
    if (!p) {
        err_no_memory(err, sizeof *p, "watching memory");
        return NULL;
    }
    char proc[600];
    snprintf(proc, sizeof proc, "%s/proc", prefix);
    p->meminfo = open_in(proc, "meminfo");
    p->status = open_in(proc, "self/status");
    p->stall = open_in(proc, "pressure/memory");
    os_proc_groups(prefix, "memory", watch_group, p);
    if (p->meminfo < 0 && p->n_groups == 0) {
        err_set(err, ERR_UNSUPPORTED, "%s/meminfo cannot be read: whether memory gets short is not watched", proc);
        os_pressure_free(p);
        return NULL;
    }
    return p;
}

void os_pressure_free(OsPressure *p) {
    if (!p) return;
    close_if_open(p->meminfo);
    close_if_open(p->status);
    close_if_open(p->stall);
    for (int i = 0; i < p->n_groups; i++) {
        const Group *g = &p->groups[i];
        const int fds[] = {g->limit, g->high, g->usage, g->stat, g->events};
        for (size_t k = 0; k < COUNT_OF(fds); k++) close_if_open(fds[k]);
    }
    mem_free(p);
}

/* The whole file into p->text; "" when it cannot be read. */
static const char *text_of(OsPressure *p, int fd) {
    ssize_t n = fd < 0 ? 0 : pread(fd, p->text, TEXT_BYTES - 1, 0);
    p->text[n > 0 ? n : 0] = 0;
    return p->text;
}

static uint64_t number_of(OsPressure *p, int fd, const char *key, uint64_t otherwise) {
    uint64_t value;
    return os_proc_number_in_text(text_of(p, fd), key, &value) ? value : otherwise;
}

static void narrow(OsPressureReading *r, uint64_t room, uint64_t of) {
    if (room >= r->room) return;
    r->room = room;
    r->of = of;
}

static void read_group(OsPressure *p, const Group *g, OsPressureReading *r) {
    uint64_t limit = number_of(p, g->limit, "", UINT64_MAX), high = number_of(p, g->high, "", UINT64_MAX);
    if (high < limit) limit = high;
    if (limit >= UINT64_C(1) << 60) return;
    uint64_t used = number_of(p, g->usage, "", 0), inactive = 0, active = 0;
    const char *stat = text_of(p, g->stat);
    (void)os_proc_number_in_text(stat, g->v2 ? "inactive_file " : "total_inactive_file ", &inactive);
    (void)os_proc_number_in_text(stat, g->v2 ? "active_file " : "total_active_file ", &active);
    uint64_t kept = used > inactive + active ? used - inactive - active : 0;
    narrow(r, limit > kept ? limit - kept : 0, limit);
    r->limit_hits += g->v2 ? number_of(p, g->events, "max ", 0) : number_of(p, g->events, "", 0);
    if (g->v2) r->limit_hits += number_of(p, g->events, "high ", 0);
}

void os_pressure_read(OsPressure *p, OsPressureReading *r) {
    *r = (OsPressureReading){.room = UINT64_MAX, .of = UINT64_MAX};
    uint64_t total = 0, available;
    const char *text = text_of(p, p->meminfo);
    (void)os_proc_number_in_text(text, "MemTotal:", &total);
    if (os_proc_number_in_text(text, "SwapFree:", &r->swap_left)) r->swap_left *= 1024;
    if (os_proc_number_in_text(text, "MemAvailable:", &available)) narrow(r, available * 1024, total * 1024);
    for (int i = 0; i < p->n_groups; i++) read_group(p, &p->groups[i], r);
    const char *status = text_of(p, p->status);
    if (os_proc_number_in_text(status, "VmRSS:", &r->resident)) r->resident *= 1024;
    if (os_proc_number_in_text(status, "VmSwap:", &r->swapped)) r->swapped *= 1024;
    const char *some = strstr(text_of(p, p->stall), "total="); /* the first line is "some", the second "full" */
    if (some) (void)os_proc_number_in_text(some, "total=", &r->stalled_us);
}
