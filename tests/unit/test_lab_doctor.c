/* The traps that doctor warns of, each on a machine made of files. */
#include "support/program.h"

#include "lab/lab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GIB (UINT64_C(1) << 30)

static char root[300];

/* A machine below $T/NAME with these files; "path text" pairs, NULL ends. */
static void machine(const char *name, const char *const *files) {
    snprintf(root, sizeof root, "%s/%s", temp_dir(), name);
    for (int i = 0; files[i]; i += 2) {
        char line[800];
        snprintf(line, sizeof line, "mkdir -p \"$(dirname %s%s)\" && printf '%%s\\n' '%s' > %s%s", root, files[i],
                 files[i + 1], root, files[i]);
        shell_expect(0, line);
    }
}

/* The trap of this name; NULL: none. With site NULL the disk is not looked at. */
static const LabTrap *trap(const char *name, const LabSite *site) {
    static LabTrap traps[LAB_MAX_TRAPS];
    LabFacts facts;
    lab_facts(root, &facts);
    int n = lab_traps(&facts, site, traps);
    for (int i = 0; i < n; i++)
        if (strcmp(traps[i].name, name) == 0) {
            assert_true(traps[i].text[0] && traps[i].cure[0]);
            return &traps[i];
        }
    return NULL;
}

static LabSite site_on(const char *file_system) {
    LabSite s = {.root = root, .path = "/models", .place = {.major = 259, .minor = 1, .total_bytes = 100 * GIB, .free_bytes = 50 * GIB}};
    snprintf(s.place.file_system, sizeof s.place.file_system, "%s", file_system);
    return s;
}

static void a_healthy_machine_has_no_trap(void **state) {
    (void)state;
    static const char *const files[] = {
        "/proc/meminfo", "MemTotal:       65536000 kB\nMemAvailable:   60000000 kB\nSwapTotal:      8000000 kB\nSwapFree:       8000000 kB",
        "/proc/loadavg", "0.10 0.20 0.30 1/100 1000", "/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never",
        "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave",
        "/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver", "intel_pstate",
        "/sys/devices/system/cpu/cpu0/cpufreq/energy_performance_preference", "balance_performance",
        "/proc/self/limits", "Max locked memory         unlimited            unlimited            bytes",
        "/sys/dev/block/259:1/queue/rotational", "0", "/sys/dev/block/259:1/device/device/current_link_width", "4",
        "/sys/dev/block/259:1/device/device/max_link_width", "4", "/sys/dev/block/259:1/device/device/current_link_speed", "16.0 GT/s PCIe",
        "/sys/dev/block/259:1/device/device/max_link_speed", "16.0 GT/s PCIe", NULL};
    machine("healthy", files);
    LabSite site = site_on("ext4");
    LabFacts facts;
    LabTrap traps[LAB_MAX_TRAPS];
    lab_facts(root, &facts);
    assert_int_equal(facts.memory.total, UINT64_C(65536000) * 1024);
    assert_string_equal(facts.huge_pages, "madvise");
    assert_true(facts.memlock_bytes == UINT64_MAX);
    int n = lab_traps(&facts, &site, traps);
    if (n) fail_msg("%s: %s", traps[0].name, traps[0].text);
}

static void an_empty_machine_has_no_trap_either(void **state) {
    (void)state;
    static const char *const files[] = {"/empty", "", NULL};
    machine("empty", files);
    LabSite site = site_on("");
    LabFacts facts;
    LabTrap traps[LAB_MAX_TRAPS];
    lab_facts(root, &facts);
    assert_string_equal(facts.cpu, "unknown");
    assert_int_equal(facts.uring_disabled, -1);
    assert_int_equal(lab_traps(&facts, &site, traps), 0);
}

static void a_saving_cpu_is_noticed(void **state) {
    (void)state;
    static const char *const plain[] = {"/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave",
                                        "/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver", "acpi-cpufreq", NULL};
    machine("governor", plain);
    assert_non_null(trap("governor", NULL));
    static const char *const choosing[] = {"/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave",
                                           "/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver", "amd-pstate-epp",
                                           "/sys/devices/system/cpu/cpu0/cpufreq/energy_performance_preference", "power", NULL};
    machine("preference", choosing);
    assert_non_null(strstr(trap("governor", NULL)->text, "power"));
}

static void swap_load_and_limits_are_noticed(void **state) {
    (void)state;
    static const char *const files[] = {
        "/proc/meminfo", "MemTotal:       65536000 kB\nMemAvailable:   60000000 kB\nSwapTotal:      8000000 kB\nSwapFree:       1000000 kB",
        "/proc/loadavg", "900.00 3.00 2.00 1/100 1000", "/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]",
        "/proc/self/limits", "Max locked memory         65536                65536                bytes",
        "/proc/self/cgroup", "0::/box", "/sys/fs/cgroup/box/memory.max", "8589934592", "/sys/fs/cgroup/box/memory.current", "1000000",
        "/sys/fs/cgroup/cpu.max", "50000 100000", "/proc/sys/kernel/io_uring_disabled", "2", NULL};
    machine("limits", files);
    assert_non_null(strstr(trap("swap", NULL)->text, "6.6"));
    assert_non_null(trap("load", NULL));
    assert_non_null(trap("huge-pages", NULL));
    assert_non_null(strstr(trap("memlock", NULL)->text, "64.0 KiB"));
    assert_non_null(strstr(trap("cgroup", NULL)->text, "8.00 GiB"));
    assert_non_null(strstr(trap("quota", NULL)->cure, "--threads 1"));
    LabFacts facts;
    lab_facts(root, &facts);
    assert_int_equal(facts.uring_disabled, 2);
}

static void a_distant_or_layered_file_system_is_noticed(void **state) {
    (void)state;
    static const char *const files[] = {"/empty", "", NULL};
    machine("places", files);
    static const char *const bad[] = {"nfs4", "nfs", "cifs", "9p", "fuse.sshfs", "fuseblk", "overlay", "tmpfs"};
    static const char *const good[] = {"ext4", "xfs", "btrfs", "f2fs"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        LabSite s = site_on(bad[i]);
        const LabTrap *t = trap("file-system", &s);
        if (!t) fail_msg("%s was not noticed", bad[i]);
        assert_non_null(strstr(t->text, bad[i]));
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        LabSite s = site_on(good[i]);
        assert_null(trap("file-system", &s));
    }
    LabSite full = site_on("ext4");
    full.place.free_bytes = 4 * GIB;
    assert_non_null(strstr(trap("full", &full)->text, "96 %"));
    full.place.free_bytes = 6 * GIB;
    assert_null(trap("full", &full));
}

/* The device is a partition: what its disk says stands one folder above it. */
static void a_narrow_link_is_noticed(void **state) {
    (void)state;
    static const char *const files[] = {
        "/sys/devices/nvme0n1/nvme0n1p1/partition", "1", "/sys/devices/nvme0n1/device/device/current_link_width", "2",
        "/sys/devices/nvme0n1/device/device/max_link_width", "4", "/sys/devices/nvme0n1/device/device/current_link_speed", "8.0 GT/s PCIe",
        "/sys/devices/nvme0n1/device/device/max_link_speed", "16.0 GT/s PCIe", "/sys/devices/nvme0n1/queue/rotational", "0", NULL};
    machine("link", files);
    char line[800];
    snprintf(line, sizeof line, "mkdir -p %s/sys/dev/block && ln -s ../../devices/nvme0n1/nvme0n1p1 %s/sys/dev/block/259:1", root, root);
    shell_expect(0, line);
    LabSite s = site_on("ext4");
    const LabTrap *t = trap("pcie", &s);
    assert_non_null(t);
    assert_non_null(strstr(t->text, "on 2 PCIe lanes at 8.0 GT/s PCIe; it could use 4"));
    assert_null(trap("rotational", &s));
}

static void a_rotating_disk_is_noticed_but_not_a_virtual_one(void **state) {
    (void)state;
    static const char *const real[] = {"/sys/dev/block/259:1/queue/rotational", "1",
                                       "/sys/dev/block/259:1/device/model", "ST8000DM004", NULL};
    machine("rotating", real);
    LabSite s = site_on("ext4");
    assert_non_null(strstr(trap("rotational", &s)->text, "ST8000DM004"));
    static const char *const emulated[] = {"/sys/dev/block/259:1/queue/rotational", "1",
                                           "/sys/dev/block/259:1/device/model", "QEMU HARDDISK", NULL};
    machine("emulated", emulated);
    assert_null(trap("rotational", &s));
    static const char *const nameless[] = {"/sys/dev/block/259:1/queue/rotational", "1", NULL};
    machine("nameless", nameless);
    assert_null(trap("rotational", &s));
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_healthy_machine_has_no_trap), cmocka_unit_test(an_empty_machine_has_no_trap_either),
        cmocka_unit_test(a_saving_cpu_is_noticed), cmocka_unit_test(swap_load_and_limits_are_noticed),
        cmocka_unit_test(a_distant_or_layered_file_system_is_noticed), cmocka_unit_test(a_narrow_link_is_noticed),
        cmocka_unit_test(a_rotating_disk_is_noticed_but_not_a_virtual_one),
    };
    return RUN_TESTS(tests);
}
