/* What /proc and /sys tell about a machine. */
#include "lab/lab.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double number_of(const char *text) {
    char *end;
    double v = strtod(text, &end);
    return end != text && isfinite(v) ? v : 0;
}

/* "always [madvise] never": the one in brackets. */
static void chosen_of(const char *root, const char *path, char *out, size_t size) {
    char text[128];
    out[0] = 0;
    if (!os_fact(root, path, text, sizeof text)) return;
    const char *open = strchr(text, '['), *close = open ? strchr(open, ']') : NULL;
    if (close) snprintf(out, size, "%.*s", (int)(close - open - 1), open + 1);
}

/* CPU time that the group of this process may use, in CPUs: version 2, then version 1. */
static double quota(const char *root) {
    char text[64];
    if (os_fact(root, "/sys/fs/cgroup/cpu.max", text, sizeof text)) {
        char *rest;
        double limit = strtod(text, &rest), period = strtod(rest, NULL);
        if (limit > 0 && period > 0) return limit / period;
    }
    uint64_t limit, period;
    if (os_fact_number(root, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "", &limit) &&
        os_fact_number(root, "/sys/fs/cgroup/cpu/cpu.cfs_period_us", "", &period) && limit < (UINT64_C(1) << 40) && period)
        return (double)limit / (double)period;
    return 0;
}

static uint64_t kib_of(const char *root, const char *key) {
    uint64_t kib = 0;
    return os_fact_number(root, "/proc/meminfo", key, &kib) ? kib * 1024 : 0;
}

/* The soft limit: "Max locked memory         65536                65536                bytes". */
static uint64_t memlock(const char *root) {
    uint64_t bytes = UINT64_MAX;
    (void)os_fact_number(root, "/proc/self/limits", "Max locked memory", &bytes);
    return bytes;
}

void lab_facts(const char *root, LabFacts *f) {
    static const char *const scaling = "/sys/devices/system/cpu/cpu0/cpufreq";
    char path[128], text[64];
    memset(f, 0, sizeof *f);
    lab_cpu_name(root, f->cpu, sizeof f->cpu);
    os_kernel(f->kernel);
    snprintf(path, sizeof path, "%s/scaling_governor", scaling);
    (void)os_fact(root, path, f->governor, sizeof f->governor);
    snprintf(path, sizeof path, "%s/scaling_driver", scaling);
    (void)os_fact(root, path, f->driver, sizeof f->driver);
    snprintf(path, sizeof path, "%s/energy_performance_preference", scaling);
    (void)os_fact(root, path, f->preference, sizeof f->preference);
    chosen_of(root, "/sys/kernel/mm/transparent_hugepage/enabled", f->huge_pages, sizeof f->huge_pages);
    os_memory_of(root, &f->memory);
    f->cpus = os_cpu_count();
    f->quota_cpus = quota(root);
    f->memlock_bytes = memlock(root);
    f->swap_total = kib_of(root, "SwapTotal:");
    uint64_t swap_free = kib_of(root, "SwapFree:");
    f->swap_used = f->swap_total > swap_free ? f->swap_total - swap_free : 0;
    if (os_fact(root, "/proc/loadavg", text, sizeof text)) f->load = number_of(text);
    f->pressure = os_fact(root, "/proc/pressure/memory", text, sizeof text);
    uint64_t disabled;
    f->uring_disabled = os_fact_number(root, "/proc/sys/kernel/io_uring_disabled", "", &disabled) ? (int)disabled : -1;
}
