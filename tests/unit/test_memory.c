/* What the kernel says about memory: limits of made-up machines, locked pages, huge pages, mappings that are refused. */
#define _GNU_SOURCE
#include "support/support.h"

#include "os/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static const char *machine; /* the folder that stands for "/" */

/* Writes a file of the made-up machine, with the folders above it. */
static void put(const char *path, const char *text) {
    char full[512];
    snprintf(full, sizeof full, "%s%s", machine, path);
    for (char *slash = strchr(full + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(full, 0777);
        *slash = '/';
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* 16 GiB, of which 12 could be had, and a process of 100 MiB in this group. */
static void new_machine(const char *cgroup) {
    static char dir[256];
    static int n;
    snprintf(dir, sizeof dir, "%s/machine%d", temp_dir(), n++);
    machine = dir;
    put("/proc/meminfo", "MemTotal:       16777216 kB\nMemFree:         1000000 kB\nMemAvailable:   12582912 kB\n");
    put("/proc/self/status", "Name:\tx\nVmHWM:\t  204800 kB\nVmRSS:\t  102400 kB\n");
    put("/proc/self/cgroup", cgroup);
}

static OsMemory measure(void) {
    OsMemory m;
    os_memory_of(machine, &m);
    return m;
}

static void without_groups_the_machine_decides(void **state) {
    (void)state;
    new_machine("0::/\n");
    OsMemory m = measure();
    assert_true(m.total == 16 * GIB && m.available == 12 * GIB);
    assert_true(m.cgroup_limit == UINT64_MAX);
    assert_true(m.budget == 12 * GIB + 100 * MIB); /* our own pages are not lost to us */
}

static void the_tightest_of_nested_groups_decides(void **state) {
    (void)state;
    new_machine("0::/a/b\n");
    put("/sys/fs/cgroup/a/b/memory.max", "max\n");
    put("/sys/fs/cgroup/a/b/memory.current", "1073741824\n");
    put("/sys/fs/cgroup/a/memory.max", "8589934592\n"); /* 8 GiB, 6 used, 1 of them droppable page cache */
    put("/sys/fs/cgroup/a/memory.current", "6442450944\n");
    put("/sys/fs/cgroup/a/memory.stat", "anon 1\nactive_file 77\ninactive_file 1073741824\n");
    OsMemory m = measure();
    assert_true(m.cgroup_limit == 8 * GIB && m.cgroup_used == 5 * GIB);
    assert_true(m.budget == 3 * GIB + 100 * MIB);
    /* an inner limit that leaves less wins, and so does memory.high, above which a group is throttled */
    put("/sys/fs/cgroup/a/b/memory.max", "3221225472\n");
    m = measure();
    assert_true(m.cgroup_limit == 3 * GIB && m.budget == 2 * GIB + 100 * MIB);
    put("/sys/fs/cgroup/a/b/memory.high", "2147483648\n");
    m = measure();
    assert_true(m.cgroup_limit == 2 * GIB && m.budget == 1 * GIB + 100 * MIB);
    put("/sys/fs/cgroup/a/b/memory.high", "max\n");
    m = measure();
    assert_true(m.cgroup_limit == 3 * GIB);
}

static void groups_of_version_one_are_known_too(void **state) {
    (void)state;
    new_machine("12:cpu,cpuacct:/x\n5:memory:/jobs/7\n0::/\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"); /* none */
    put("/sys/fs/cgroup/memory/jobs/7/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/jobs/memory.limit_in_bytes", "4294967296\n");
    put("/sys/fs/cgroup/memory/jobs/memory.usage_in_bytes", "1073741824\n");
    put("/sys/fs/cgroup/memory/jobs/memory.stat", "inactive_file 5\ntotal_inactive_file 536870912\n");
    OsMemory m = measure();
    assert_true(m.cgroup_limit == 4 * GIB && m.cgroup_used == 512 * MIB);
    assert_true(m.budget == 3584 * MIB + 100 * MIB);
}

static void a_group_that_is_over_its_limit_leaves_what_is_ours(void **state) {
    (void)state;
    new_machine("0::/full\n");
    put("/sys/fs/cgroup/full/memory.max", "1073741824\n");
    put("/sys/fs/cgroup/full/memory.current", "1073745920\n");
    OsMemory m = measure();
    assert_true(m.budget == 100 * MIB);
}

static void a_container_sees_its_group_at_the_root(void **state) {
    (void)state;
    new_machine("0::/docker/0123\n"); /* the path is the host's; here it does not exist */
    put("/sys/fs/cgroup/memory.max", "2147483648\n");
    put("/sys/fs/cgroup/memory.current", "104857600\n");
    OsMemory m = measure();
    assert_true(m.cgroup_limit == 2 * GIB && m.budget == 2 * GIB);
}

/* ---- pressure ---- */

static void pressure_is_read_of_groups_and_machine(void **state) {
    (void)state;
    new_machine("0::/a/b\n");
    put("/proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n");
    put("/proc/self/status", "VmRSS:\t  102400 kB\nVmSwap:\t    2048 kB\n");
    put("/sys/fs/cgroup/a/memory.max", "max\n");
    put("/sys/fs/cgroup/a/b/memory.max", "8589934592\n");
    put("/sys/fs/cgroup/a/b/memory.current", "8589934592\n");
    put("/sys/fs/cgroup/a/b/memory.stat", "anon 5\nactive_file 1073741824\ninactive_file 2147483648\n");
    put("/sys/fs/cgroup/a/b/memory.events", "low 9\nhigh 20\nmax 3\noom 0\n");
    Err err = {0};
    OsPressure *p = os_pressure_new(machine, &err);
    assert_non_null(p);
    OsPressureReading r;
    os_pressure_read(p, &r);
    assert_true(r.room == 3 * GIB && r.of == 8 * GIB);
    assert_true(r.stalled_us == 1500 && r.swapped == 2 * MIB && r.limit_hits == 23);
    uint64_t allocations = mem_allocation_count();
    put("/sys/fs/cgroup/a/memory.max", "4294967296\n"); /* a limit that comes later is seen */
    put("/sys/fs/cgroup/a/b/memory.events", "low 9\nhigh 20\nmax 4\noom 0\n");
    put("/proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 1048576 kB\n");
    os_pressure_read(p, &r);
    assert_true(r.room == 1 * GIB && r.of == 16 * GIB && r.limit_hits == 24);
    assert_int_equal(mem_allocation_count(), allocations);
    os_pressure_free(p);

    put("/sys/fs/cgroup/a/b/memory.pressure", "some avg10=1.00 avg60=0.00 avg300=0.00 total=42\nfull avg10=0.00 total=7\n");
    p = os_pressure_new(machine, &err);
    os_pressure_read(p, &r);
    assert_int_equal(r.stalled_us, 42); /* the group's own, not the machine's */
    os_pressure_free(p);
}

static void pressure_of_version_one_counts_failures(void **state) {
    (void)state;
    new_machine("5:memory:/jobs\n");
    put("/sys/fs/cgroup/memory/jobs/memory.limit_in_bytes", "1073741824\n");
    put("/sys/fs/cgroup/memory/jobs/memory.usage_in_bytes", "1073741824\n");
    put("/sys/fs/cgroup/memory/jobs/memory.stat", "total_inactive_file 1048576\ntotal_active_file 1048576\n");
    put("/sys/fs/cgroup/memory/jobs/memory.failcnt", "17\n");
    OsPressure *p = os_pressure_new(machine, NULL);
    OsPressureReading r;
    os_pressure_read(p, &r);
    assert_true(r.room == 2 * MIB && r.of == GIB && r.limit_hits == 17 && r.stalled_us == 0);
    os_pressure_free(p);
    machine = "/nowhere";
    Err err = {0};
    assert_null(os_pressure_new(machine, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
}

static void pressure_of_this_machine_can_be_read(void **state) {
    (void)state;
    OsPressure *p = os_pressure_new("", NULL);
    assert_non_null(p);
    OsPressureReading r;
    uint64_t start = os_now_ns();
    for (int i = 0; i < 100; i++) os_pressure_read(p, &r);
    printf("one reading takes %.0f us\n", (double)(os_now_ns() - start) / 1e5);
    assert_true(r.room > 0 && r.room <= r.of && r.of != UINT64_MAX);
    os_pressure_free(p);
}

/* ---- pages ---- */

/* In a child without the right to lock beyond the limit: 0 when os_pages_lock behaved as it should. */
static int lock_in_child(void) {
    struct rlimit limit = {65536, 65536};
    Err err = {0};
    char *small = os_pages_new(16384, NULL), *large = os_pages_new(4 * MIB, NULL);
    if (setrlimit(RLIMIT_MEMLOCK, &limit) || (geteuid() == 0 && setuid(65534))) return 1;
    if (os_pages_lock(small, 16384, &err)) return 2;
    if (os_pages_lock(large, 4 * MIB, &err) != ERR_MEMORY) return 3;
    return strstr(err.text, "4.00 MiB") && strstr(err.text, "64.0 KiB") && strstr(err.text, "ulimit -l 4097") &&
                   strstr(err.text, "/etc/security/limits.conf")
               ? 0
               : 4;
}

static void locking_beyond_the_limit_is_refused_with_the_cure(void **state) {
    (void)state;
    if (under_sanitizer()) printf("SKIP: a sanitizer locks nothing\n"), skip();
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) _exit(lock_in_child());
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void huge_pages_are_counted(void **state) {
    (void)state;
    const uint64_t bytes = 64 * MIB;
    char *p = os_pages_new(bytes, NULL);
    assert_non_null(p);
    assert_true(os_huge_bytes(p, bytes) == 0); /* nothing is there yet */
    for (uint64_t i = 0; i < bytes; i += 4096) p[i] = 1;
    uint64_t huge = os_huge_bytes(p, bytes), all = os_huge_bytes(NULL, 0);
    assert_true(huge <= bytes && huge <= all && huge % (2 * MIB) == 0);
    os_pages_free(p, bytes);
    FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
    char mode[64] = "";
    if (!f || !fgets(mode, sizeof mode, f) || strstr(mode, "[never]")) {
        if (f) fclose(f);
        printf("SKIP: this kernel gives no huge pages\n");
        skip();
    }
    fclose(f);
    if (huge == 0) printf("SKIP: no huge page was free\n"), skip();
}

static void a_refused_mapping_is_a_sentence(void **state) {
    (void)state;
    Err err = {0};
    os_pages_fail_after(2);
    void *p = os_pages_new(4096, &err);
    assert_non_null(p);
    assert_null(os_pages_new(8192, &err));
    assert_int_equal(err.code, ERR_MEMORY);
    assert_non_null(strstr(err.text, "8.00 KiB"));
    os_pages_fail_after(0);
    os_pages_free(p, 4096);
    p = os_pages_new(8192, &err);
    assert_non_null(p);
    os_pages_free(p, 8192);
}

int main(void) {
    const struct CMUnitTest memory[] = {
        cmocka_unit_test(without_groups_the_machine_decides),
        cmocka_unit_test(the_tightest_of_nested_groups_decides),
        cmocka_unit_test(groups_of_version_one_are_known_too),
        cmocka_unit_test(a_group_that_is_over_its_limit_leaves_what_is_ours),
        cmocka_unit_test(a_container_sees_its_group_at_the_root),
        cmocka_unit_test(pressure_is_read_of_groups_and_machine),
        cmocka_unit_test(pressure_of_version_one_counts_failures),
        cmocka_unit_test(pressure_of_this_machine_can_be_read),
        cmocka_unit_test(locking_beyond_the_limit_is_refused_with_the_cure),
        cmocka_unit_test(huge_pages_are_counted),
        cmocka_unit_test(a_refused_mapping_is_a_sentence),
    };
    return RUN_TESTS(memory);
}
