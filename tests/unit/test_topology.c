/* Made-up machines: which CPUs they have, how many threads are worth trying, and where they belong. */
#define _GNU_SOURCE
#include "support/support.h"

#include "os/os.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char *machine; /* the folder that stands for "/" */
static OsTopology t;

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

static void put_cpu(int id, const char *name, const char *text) {
    char path[128];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/%s", id, name);
    put(path, text);
}

static void new_machine(const char *online, const char *cgroup) {
    static char dir[256];
    static int n;
    snprintf(dir, sizeof dir, "%s/machine%d", temp_dir(), n++);
    machine = dir;
    put("/sys/devices/system/cpu/online", online);
    put("/proc/self/cgroup", cgroup);
}

static void choices_are(int n, const int *want) {
    int got[OS_THREAD_CHOICES];
    assert_int_equal(os_topology_choices(&t, got), n);
    for (int i = 0; i < n; i++) assert_int_equal(got[i], want[i]);
}

static const OsCpu *cpu_of(int id) {
    for (int i = 0; i < t.n; i++)
        if (t.cpu[i].id == id) return &t.cpu[i];
    return NULL;
}

/* Two sockets of 32 cores with two hardware threads each, numbered as servers do: 0-31 and 32-63, then their siblings. */
static void a_server_gets_a_thread_per_core_evenly_over_its_nodes(void **state) {
    (void)state;
    new_machine("0-127\n", "0::/\n");
    for (int i = 0; i < 128; i++) {
        char siblings[32];
        snprintf(siblings, sizeof siblings, "%d,%d\n", i % 64, i % 64 + 64);
        put_cpu(i, "topology/thread_siblings_list", siblings);
    }
    put("/sys/devices/system/node/online", "0-1\n");
    put("/sys/devices/system/node/node0/cpulist", "0-31,64-95\n");
    put("/sys/devices/system/node/node1/cpulist", "32-63,96-127\n");
    os_topology_of(machine, "0-127", &t);
    assert_int_equal(t.n, 128);
    assert_int_equal(os_topology_cpus(&t), 128);
    assert_true(cpu_of(70)->core == 6 && cpu_of(70)->rank == 1 && cpu_of(70)->node == 0 && cpu_of(40)->node == 1);
    choices_are(3, (const int[]){64, 63, 128});
    int cpus[128], on_node[2] = {0}, second = 0;
    assert_true(os_topology_places(&t, 32, cpus));
    for (int i = 0; i < 32; i++) {
        on_node[cpu_of(cpus[i])->node]++;
        second += cpu_of(cpus[i])->rank > 0;
    }
    assert_true(on_node[0] == 16 && on_node[1] == 16 && second == 0);
    assert_true(os_topology_places(&t, 128, cpus)); /* memory is not equally far from everywhere */
    bool seen[128] = {false};
    for (int i = 0; i < 128; i++) seen[cpus[i]] = true;
    for (int i = 0; i < 128; i++) assert_true(seen[i]);
    assert_true(cpu_of(cpus[63])->rank == 0 && cpu_of(cpus[64])->rank == 1);
}

/* Eight fast cores with two hardware threads each, numbered in pairs, and eight slow ones with one. */
static void a_hybrid_fills_fast_cores_then_slow_ones_then_siblings(void **state) {
    (void)state;
    new_machine("0-23\n", "0::/\n");
    for (int i = 0; i < 24; i++) {
        char siblings[32];
        if (i < 16) snprintf(siblings, sizeof siblings, "%d-%d\n", i / 2 * 2, i / 2 * 2 + 1);
        else snprintf(siblings, sizeof siblings, "%d\n", i);
        put_cpu(i, "topology/thread_siblings_list", siblings);
        put_cpu(i, "cpufreq/cpuinfo_max_freq", i < 2 ? "5300000\n" : i < 16 ? "5100000\n" : "3900000\n");
    }
    os_topology_of(machine, "0-23", &t);
    assert_true(!cpu_of(2)->slow && cpu_of(16)->slow);
    choices_are(4, (const int[]){16, 15, 8, 24});
    int cpus[24];
    assert_true(os_topology_places(&t, 17, cpus));
    for (int i = 0; i < 8; i++) assert_int_equal(cpus[i], 2 * i);
    for (int i = 8; i < 16; i++) assert_int_equal(cpus[i], 8 + i);
    assert_int_equal(cpus[16], 1);
    assert_false(os_topology_places(&t, 24, cpus)); /* all of them: the kernel cannot do worse */
}

static void a_small_virtual_machine_is_left_to_the_kernel(void **state) {
    (void)state;
    new_machine("0-1\n", "0::/\n");
    for (int i = 0; i < 2; i++) put_cpu(i, "topology/thread_siblings_list", i ? "1\n" : "0\n");
    os_topology_of(machine, "0-1", &t);
    choices_are(2, (const int[]){2, 1});
    int cpus[2];
    assert_false(os_topology_places(&t, 2, cpus));
}

static void a_machine_that_tells_nothing_has_cores_all_the_same(void **state) {
    (void)state;
    new_machine("0-3\n", "");
    os_topology_of(machine, "0-3", &t);
    choices_are(2, (const int[]){4, 3});
}

/* Three CPUs of a machine of eight: numbers follow the mask, and nobody is bound in a machine that is divided. */
static void a_cpuset_is_neither_exceeded_nor_bound(void **state) {
    (void)state;
    new_machine("0-7\n", "0::/\n");
    for (int i = 0; i < 8; i++) put_cpu(i, "topology/thread_siblings_list", i < 4 ? "0-3\n" : "4-7\n");
    os_topology_of(machine, "1,5-6", &t);
    assert_int_equal(os_topology_cpus(&t), 3);
    assert_true(cpu_of(1)->rank == 0 && cpu_of(6)->rank == 1); /* among those that we may use */
    choices_are(3, (const int[]){2, 1, 3});
    int cpus[8];
    assert_false(os_topology_places(&t, 2, cpus));
}

static void a_quota_limits_threads_in_both_versions(void **state) {
    (void)state;
    new_machine("0-7\n", "3:cpu,cpuacct:/jobs/7\n2:cpuset:/\n5:memory:/\n");
    put("/sys/fs/cgroup/cpu/jobs/7/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu/jobs/7/cpu.cfs_period_us", "100000\n");
    put("/sys/fs/cgroup/cpu/jobs/cpu.cfs_quota_us", "250000\n"); /* an ancestor's counts too */
    put("/sys/fs/cgroup/cpu/jobs/cpu.cfs_period_us", "100000\n");
    os_topology_of(machine, "0-7", &t);
    assert_int_equal(t.quota, 3);
    choices_are(1, (const int[]){3});
    int cpus[8];
    assert_false(os_topology_places(&t, 2, cpus));
    new_machine("0-7\n", "4:cpuset:/x\n0::/a/b\n");
    put("/sys/fs/cgroup/a/cpu.max", "max 100000\n");
    put("/sys/fs/cgroup/a/b/cpu.max", "150000 100000\n");
    os_topology_of(machine, "0-7", &t);
    assert_int_equal(os_topology_cpus(&t), 2);
    new_machine("0-7\n", "4:cpuset:/x\n0::/\n");
    put("/sys/fs/cgroup/cpuset/x/cpu.cfs_quota_us", "100000\n"); /* not the hierarchy of cpu */
    os_topology_of(machine, "0-7", &t);
    assert_int_equal(os_topology_cpus(&t), 8);
}

/* The machine that runs this test, whatever it is. */
static void this_machine_can_run_threads(void **state) {
    (void)state;
    int choices[OS_THREAD_CHOICES], cpus[OS_MOST_CPUS];
    os_topology(&t);
    int n = os_topology_choices(&t, choices);
    assert_true(n >= 1 && os_cpu_count() == os_topology_cpus(&t));
    for (int i = 0; i < n; i++) assert_true(choices[i] >= 1 && choices[i] <= os_cpu_count());
    (void)os_topology_places(&t, choices[0], cpus);
}

int main(void) {
    const struct CMUnitTest topology[] = {
        cmocka_unit_test(a_server_gets_a_thread_per_core_evenly_over_its_nodes),
        cmocka_unit_test(a_hybrid_fills_fast_cores_then_slow_ones_then_siblings),
        cmocka_unit_test(a_small_virtual_machine_is_left_to_the_kernel),
        cmocka_unit_test(a_machine_that_tells_nothing_has_cores_all_the_same),
        cmocka_unit_test(a_cpuset_is_neither_exceeded_nor_bound),
        cmocka_unit_test(a_quota_limits_threads_in_both_versions),
        cmocka_unit_test(this_machine_can_run_threads),
    };
    return RUN_TESTS(topology);
}
