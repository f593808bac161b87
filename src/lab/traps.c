/* The classic traps, one small check each: what is so, and what to do about it. */
#include "lab/lab.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Found {
    LabTrap *traps;
    int n;
} Found;

static LabTrap *add(Found *f, const char *name) {
    assert(f->n < LAB_MAX_TRAPS); /* each check adds at most one */
    LabTrap *t = &f->traps[f->n++];
    t->name = name;
    t->cure[0] = 0;
    return t;
}

#define TEXT(t, ...) snprintf((t)->text, sizeof(t)->text, __VA_ARGS__)
#define CURE(t, ...) snprintf((t)->cure, sizeof(t)->cure, __VA_ARGS__)

/* ---- the CPU ---- */

/* "powersave" means the lowest clock, but to the drivers that choose by themselves it only means "as you like". */
static void check_governor(const LabFacts *m, Found *f) {
    bool chooses = strcmp(m->driver, "intel_pstate") == 0 || strncmp(m->driver, "amd-pstate-epp", 14) == 0;
    bool slow = strcmp(m->governor, "powersave") == 0 || strcmp(m->governor, "conservative") == 0;
    bool saving = strcmp(m->preference, "power") == 0 || strcmp(m->preference, "balance_power") == 0;
    if (!(slow && (!chooses || saving))) return;
    LabTrap *t = add(f, "governor");
    TEXT(t, "the CPU saves power: governor %s%s%s", m->governor, saving ? ", preference " : "", saving ? m->preference : "");
    CURE(t, "cpupower frequency-set -g performance, or the power profile \"performance\" of the desktop");
}

static void check_load(const LabFacts *m, Found *f) {
    if (m->load < 0.5 || m->load < 0.25 * m->cpus) return;
    LabTrap *t = add(f, "load");
    TEXT(t, "other programs are busy: a load of %.1f on %d CPUs in the last minute", m->load, m->cpus);
    CURE(t, "end them, or give sluice fewer threads with --threads; what is measured now is less than the machine can do");
}

static void check_quota(const LabFacts *m, Found *f) {
    if (m->quota_cpus <= 0 || m->quota_cpus >= m->cpus) return;
    LabTrap *t = add(f, "quota");
    TEXT(t, "the control group allows %.2f CPUs of %d", m->quota_cpus, m->cpus);
    CURE(t, "raise the container's CPU limit, or use --threads %d", m->quota_cpus < 1 ? 1 : (int)m->quota_cpus);
}

/* ---- memory ---- */

static void check_swap(const LabFacts *m, Found *f) {
    if (m->swap_used < (UINT64_C(64) << 20)) return;
    char used[32];
    LabTrap *t = add(f, "swap");
    TEXT(t, "%s of swap are in use: somebody's memory does not fit", format_size(m->swap_used, used));
    CURE(t, "end what is not needed, choose a smaller --ram, or lock the dense weights with --mlock");
}

static void check_cgroup(const LabFacts *m, Found *f) {
    if (m->memory.cgroup_limit == UINT64_MAX || !m->memory.total || m->memory.cgroup_limit >= m->memory.total / 4 * 3) return;
    char limit[32], total[32];
    LabTrap *t = add(f, "cgroup");
    TEXT(t, "a control group limits memory to %s of %s", format_size(m->memory.cgroup_limit, limit), format_size(m->memory.total, total));
    CURE(t, "raise the limit of the container or of the service (docker --memory, MemoryMax=) for a larger expert cache");
}

static void check_huge_pages(const LabFacts *m, Found *f) {
    if (strcmp(m->huge_pages, "never") != 0) return;
    LabTrap *t = add(f, "huge-pages");
    TEXT(t, "transparent huge pages are off: the dense weights cost more page table walks");
    CURE(t, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled");
}

static void check_memlock(const LabFacts *m, const LabSite *site, Found *f) {
    uint64_t need = site && site->lock_bytes ? site->lock_bytes : UINT64_C(64) << 20;
    if (m->memlock_bytes >= need) return;
    char limit[32], wanted[32];
    LabTrap *t = add(f, "memlock");
    TEXT(t, "only %s may be locked in memory, less than the %s that --mlock or registered buffers would lock",
         format_size(m->memlock_bytes, limit), format_size(need, wanted));
    CURE(t, "ulimit -l unlimited, or \"memlock\" in /etc/security/limits.conf, or LimitMEMLOCK= of the service");
}

/* ---- the disk ---- */

static void check_file_system(const LabSite *site, Found *f) {
    const char *type = site->place.file_system;
    static const char *const network[] = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "virtiofs", "afs"};
    bool far = strncmp(type, "fuse", 4) == 0;
    for (size_t i = 0; i < COUNT_OF(network); i++)
        if (strcmp(type, network[i]) == 0) far = true;
    bool layered = strcmp(type, "overlay") == 0, memory = strcmp(type, "tmpfs") == 0 || strcmp(type, "ramfs") == 0;
    if (!far && !layered && !memory) return;
    LabTrap *t = add(f, "file-system");
    TEXT(t, "%s lies on %s, %s", site->path, type,
         far ? "a network or user-space file system" : layered ? "the layers of a container" : "which is memory itself");
    CURE(t, "%s", memory ? "put it on a drive: here it takes the memory that the cache should have"
                         : "copy the model to a local drive and mount that into the container where there is one");
}

static void check_full(const LabSite *site, Found *f) {
    uint64_t total = site->place.total_bytes, left = site->place.free_bytes;
    if (!total || left >= total / 20) return;
    char size[32];
    LabTrap *t = add(f, "full");
    TEXT(t, "the file system of %s is %.0f %% full, %s are left: new files come in pieces and drives slow down", site->path,
         100.0 - 100.0 * (double)left / (double)total, format_size(left, size));
    CURE(t, "free some space before copying a model there");
}

/* A fact of the disk itself, also where the device is a partition of it. */
static bool disk_fact(const LabSite *site, const char *name, char *out, size_t size) {
    char path[160];
    for (int up = 0; up < 2; up++) {
        snprintf(path, sizeof path, "/sys/dev/block/%u:%u/%s%s", site->place.major, site->place.minor, up ? "../" : "", name);
        if (os_fact(site->root, path, out, size)) return true;
    }
    return false;
}

static void check_rotational(const LabSite *site, Found *f) {
    char text[32], model[64];
    if (!disk_fact(site, "queue/rotational", text, sizeof text) || strcmp(text, "1") != 0) return;
    /* drives of virtual machines say so too, without being any; a real one has a model's name */
    static const char *const not_real[] = {"QEMU", "VBOX", "Virtual", "VMware", "PersistentDisk"};
    if (!disk_fact(site, "device/model", model, sizeof model)) return;
    for (size_t i = 0; i < COUNT_OF(not_real); i++)
        if (strstr(model, not_real[i])) return;
    LabTrap *t = add(f, "rotational");
    TEXT(t, "%s lies on a rotating disk (%s): some hundred reads per second at best", site->path, model);
    CURE(t, "copy the model to an SSD; an NVMe drive reads 10 to 50 times faster");
}

/* An NVMe drive's function on the bus stands one or two devices above the disk. */
static bool link_fact(const LabSite *site, const char *name, char *out, size_t size) {
    static const char *const at[] = {"device/device/", "device/"};
    char path[128];
    for (size_t i = 0; i < COUNT_OF(at); i++) {
        snprintf(path, sizeof path, "%s%s", at[i], name);
        if (disk_fact(site, path, out, size)) return true;
    }
    return false;
}

static void check_link(const LabSite *site, Found *f) {
    char width[32], max_width[32], speed[48], max_speed[48];
    if (!link_fact(site, "current_link_width", width, sizeof width) || !link_fact(site, "max_link_width", max_width, sizeof max_width) ||
        !link_fact(site, "current_link_speed", speed, sizeof speed) || !link_fact(site, "max_link_speed", max_speed, sizeof max_speed))
        return;
    bool narrow = strtod(width, NULL) < strtod(max_width, NULL), slow = strtod(speed, NULL) < strtod(max_speed, NULL);
    if (!narrow && !slow) return;
    LabTrap *t = add(f, "pcie");
    TEXT(t, "the drive of %s runs on %s PCIe lanes at %s; it could use %s at %s", site->path, width, speed, max_width, max_speed);
    CURE(t, "move it to a slot with all its lanes (mainboard manual), or look for a power-saving setting of the bus in the firmware");
}

int lab_traps(const LabFacts *facts, const LabSite *site, LabTrap traps[LAB_MAX_TRAPS]) {
    Found f = {traps, 0};
    check_governor(facts, &f);
    check_load(facts, &f);
    check_quota(facts, &f);
    check_swap(facts, &f);
    check_cgroup(facts, &f);
    check_huge_pages(facts, &f);
    check_memlock(facts, site, &f);
    if (site) {
        check_file_system(site, &f);
        check_full(site, &f);
        check_rotational(site, &f);
        check_link(site, &f);
    }
    return f.n;
}
