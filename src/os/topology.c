/* Which CPUs there are and how they hang together: from /sys, the affinity mask and the control groups to a plain description, and
 * from that, by pure functions, to numbers of threads and places for them. */
#define _GNU_SOURCE
#include "os/proc.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The next number of a list such as "0-3,8,10-11"; -1: its end. at: where to read on; range_end: -1 at first. */
static int next_in_list(const char **at, int *next, int *range_end) {
    if (*next <= *range_end) return (*next)++;
    char *end;
    *at += strspn(*at, ", \n");
    long first = strtol(*at, &end, 10), last = first;
    if (end == *at || first < 0 || first >= OS_MOST_CPUS) return -1;
    if (*end == '-') last = strtol(end + 1, &end, 10);
    *at = end;
    *next = (int)first + 1;
    *range_end = last < OS_MOST_CPUS ? (int)last : OS_MOST_CPUS - 1;
    return (int)first;
}

#define FOR_LIST(id, list) \
    for (int id, next_##id = 0, end_##id = -1; ((id) = next_in_list(&(list), &next_##id, &end_##id)) >= 0;)

static OsCpu *find_cpu(OsTopology *t, int id) {
    for (int i = 0; i < t->n; i++)
        if (t->cpu[i].id == id) return &t->cpu[i];
    return NULL;
}

static bool cpu_fact(const char *prefix, int id, const char *name, char *out, size_t size) {
    char path[128];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/%s", id, name);
    return os_fact(prefix, path, out, size);
}

/* A core is named after the first of its hardware threads. Their ranks are counted among those that we may use. */
static void read_core(const char *prefix, OsTopology *t, OsCpu *cpu) {
    char text[512];
    const char *list = text;
    cpu->core = cpu->id;
    if (!cpu_fact(prefix, cpu->id, "topology/thread_siblings_list", text, sizeof text)) return;
    bool first = true;
    FOR_LIST(sibling, list) {
        if (first) cpu->core = sibling;
        first = false;
        const OsCpu *other = find_cpu(t, sibling);
        cpu->rank += other && other->usable && sibling < cpu->id;
    }
}

static uint64_t speed_of(const char *prefix, int id) {
    static const char *const facts[] = {"cpu_capacity", "cpufreq/cpuinfo_max_freq"};
    char text[64];
    for (size_t i = 0; i < COUNT_OF(facts); i++)
        if (cpu_fact(prefix, id, facts[i], text, sizeof text)) return strtoull(text, NULL, 10);
    return 0;
}

/* Cores of one kind differ by a few percent in their highest clock; another kind by a fifth and more. */
static void find_slow(const char *prefix, OsTopology *t) {
    uint64_t fastest = 0;
    for (int i = 0; i < t->n; i++) {
        uint64_t speed = speed_of(prefix, t->cpu[i].id);
        if (speed > fastest) fastest = speed;
    }
    for (int i = 0; i < t->n; i++) {
        uint64_t speed = speed_of(prefix, t->cpu[i].id);
        t->cpu[i].slow = speed > 0 && speed * 100 < fastest * 85;
    }
}

static void read_nodes(const char *prefix, OsTopology *t) {
    char nodes[512], cpus[2048], path[128];
    if (!os_fact(prefix, "/sys/devices/system/node/online", nodes, sizeof nodes)) return;
    const char *list = nodes;
    FOR_LIST(node, list) {
        snprintf(path, sizeof path, "/sys/devices/system/node/node%d/cpulist", node);
        if (!os_fact(prefix, path, cpus, sizeof cpus)) continue;
        const char *of_node = cpus;
        FOR_LIST(id, of_node) {
            OsCpu *cpu = find_cpu(t, id);
            if (cpu) cpu->node = node;
        }
    }
}

/* A group may own less time than it sees CPUs. */
static void group_quota(void *user, const char *dir, bool v2) {
    OsTopology *t = user;
    char path[1700], text[64];
    uint64_t quota = 0, period = 0;
    if (v2) { /* "150000 100000", in microseconds, or "max 100000" */
        if (!os_fact(dir, "/cpu.max", text, sizeof text)) return;
        char *rest;
        quota = strtoull(text, &rest, 10);
        period = strtoull(rest, NULL, 10);
    } else { /* -1: none */
        snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", dir);
        if (!os_proc_number(path, "", &quota)) return;
        snprintf(path, sizeof path, "%s/cpu.cfs_period_us", dir);
        (void)os_proc_number(path, "", &period);
    }
    if (quota == 0 || period == 0) return;
    uint64_t cpus = (quota - 1) / period + 1;
    if (cpus < OS_MOST_CPUS && (t->quota == 0 || (int)cpus < t->quota)) t->quota = (int)cpus;
}

static void set_usable(OsTopology *t, const char *allowed) {
    if (allowed) {
        FOR_LIST(id, allowed) {
            OsCpu *cpu = find_cpu(t, id);
            if (cpu) cpu->usable = true;
        }
        return;
    }
    cpu_set_t set;
    bool known = sched_getaffinity(0, sizeof set, &set) == 0;
    for (int i = 0; i < t->n; i++) t->cpu[i].usable = !known || (t->cpu[i].id < CPU_SETSIZE && CPU_ISSET((size_t)t->cpu[i].id, &set));
}

void os_topology_of(const char *prefix, const char *allowed, OsTopology *t) {
    char online[2048];
    memset(t, 0, sizeof *t);
    if (!os_fact(prefix, "/sys/devices/system/cpu/online", online, sizeof online)) {
        long n = sysconf(_SC_NPROCESSORS_ONLN);
        snprintf(online, sizeof online, "0-%ld", n > 1 ? n - 1 : 0);
    }
    const char *list = online;
    FOR_LIST(id, list) {
        if (t->n < OS_MOST_CPUS) t->cpu[t->n++].id = id;
    }
    set_usable(t, allowed);
    for (int i = 0; i < t->n; i++) {
        t->n_usable += t->cpu[i].usable;
        read_core(prefix, t, &t->cpu[i]);
    }
    find_slow(prefix, t);
    read_nodes(prefix, t);
    os_proc_groups(prefix, "cpu", group_quota, t);
}

void os_topology(OsTopology *t) { os_topology_of("", NULL, t); }

/* ---- what follows from it ------------------------------------------------------------------------------------------- */

int os_topology_cpus(const OsTopology *t) {
    int n = t->n_usable > 0 ? t->n_usable : 1;
    return t->quota > 0 && t->quota < n ? t->quota : n;
}

static int count(const OsTopology *t, bool fast_only) {
    int n = 0;
    for (int i = 0; i < t->n; i++) n += t->cpu[i].usable && t->cpu[i].rank == 0 && !(fast_only && t->cpu[i].slow);
    return n;
}

int os_topology_choices(const OsTopology *t, int *out) {
    int cores = count(t, false), most = os_topology_cpus(t), n = 0;
    const int wish[OS_THREAD_CHOICES] = {cores, cores - 1, count(t, true), most};
    for (int i = 0; i < OS_THREAD_CHOICES; i++) {
        int threads = wish[i] < most ? wish[i] : most;
        bool known = threads < 1;
        for (int j = 0; j < n; j++) known = known || out[j] == threads;
        if (!known) out[n++] = threads;
    }
    if (n == 0) out[n++] = 1;
    return n;
}

/* Where the next thread goes: a hardware thread of its own core before a second one, a fast core before a slow one, and of
 * those the node that has the fewest so far. */
static int next_place(const OsTopology *t, const bool *taken, const int *on_node) {
    int best = -1;
    for (int i = 0; i < t->n; i++) {
        const OsCpu *c = &t->cpu[i], *b = best < 0 ? NULL : &t->cpu[best];
        if (!c->usable || taken[i]) continue;
        if (!b || c->rank < b->rank || (c->rank == b->rank && c->slow < b->slow) ||
            (c->rank == b->rank && c->slow == b->slow && on_node[c->node] < on_node[b->node]))
            best = i;
    }
    return best;
}

bool os_topology_places(const OsTopology *t, int n_threads, int *cpus) {
    bool taken[OS_MOST_CPUS] = {false}, many_nodes = false;
    int on_node[OS_MOST_CPUS] = {0};
    for (int i = 1; i < t->n; i++) many_nodes = many_nodes || t->cpu[i].node != t->cpu[0].node;
    /* somebody has divided the machine: the CPUs that are left to us may be another's next minute */
    if (t->n_usable < t->n || t->quota > 0 || n_threads < 2 || n_threads > t->n_usable) return false;
    /* every CPU gets a thread, and all memory is equally far: there is nothing that the kernel could do worse */
    if (n_threads == t->n_usable && !many_nodes) return false;
    for (int k = 0; k < n_threads; k++) {
        int i = next_place(t, taken, on_node);
        taken[i] = true;
        on_node[t->cpu[i].node]++;
        cpus[k] = t->cpu[i].id;
    }
    return true;
}

int os_cpu_count(void) {
    OsTopology t;
    os_topology(&t);
    return os_topology_cpus(&t);
}
