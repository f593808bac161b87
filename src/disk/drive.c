/* Drives: which one a file lies on, how fast each was lately, and which would finish a read first.
 *
 * A rate is bytes over the time in which the drive had something to do, recent times counting most. One that is old may be wrong: a drive
 * that has nothing to do and was not measured for a while gets the next read as a trial.
 */
#define _GNU_SOURCE /* major and minor */
#include "disk/backend.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static const uint64_t window_ns = 20000000, memory_ns = 200000000, expires_ns = 1000000000;

/* ---- which drive --------------------------------------------------------------------------------------------------- */

/* A partition is no drive: its device is that of the disk above it. Where the kernel does not tell, a device is a drive. */
static uint64_t whole_disk(dev_t device, char name[32]) {
    char link[64], target[512], path[600];
    unsigned parent_major = 0, parent_minor = 0;
    snprintf(name, 32, "%u:%u", major(device), minor(device));
    snprintf(link, sizeof link, "/sys/dev/block/%u:%u", major(device), minor(device));
    ssize_t n = readlink(link, target, sizeof target - 1);
    if (n <= 0) return device;
    target[n] = 0;
    snprintf(path, sizeof path, "%s/partition", link);
    if (os_exists(path)) {
        snprintf(path, sizeof path, "%s/../dev", link);
        char *slash = strrchr(target, '/');
        if (slash) *slash = 0;
        FILE *f = fopen(path, "re");
        bool known = f && fscanf(f, "%u:%u", &parent_major, &parent_minor) == 2; // NOLINT(cert-err34-c): the kernel's own lines
        if (known) device = makedev(parent_major, parent_minor);
        if (f) fclose(f);
    }
    const char *last = strrchr(target, '/');
    snprintf(name, 32, "%.31s", last ? last + 1 : target);
    return device;
}

void disk_drive_of(Disk *d, DiskFile *f) {
    char name[32] = "?";
    uint64_t device = 0;
    struct stat st;
    int pace = d->config.backend == DISK_FAKE ? disk_pace_of(&d->config.faults, f->path) : -1;
    if (pace >= 0) {
        device = UINT64_MAX - (uint64_t)pace;
        snprintf(name, sizeof name, "fake%d", pace);
    } else if (fstat(f->os.fd, &st) == 0) {
        device = whole_disk(st.st_dev, name);
    }
    uint32_t i = 0;
    while (i < d->n_drives && d->drives[i].device != device) i++;
    if (i == DISK_DRIVES_MAX) i--; /* more drives than that share the last one's estimate */
    else if (i == d->n_drives) {
        d->n_drives++;
        d->drives[i] = (Drive){.device = device};
        memcpy(d->drives[i].name, name, sizeof name);
    }
    f->drive = i;
    d->drives[i].files++;
}

/* ---- how fast ------------------------------------------------------------------------------------------------------ */

static double rate_of(const Drive *v) { return v->recent_ns > 0 ? v->recent_bytes / v->recent_ns : 0; } /* bytes per ns */

void disk_drive_begins(Disk *d, const Request *r, uint64_t now) {
    Drive *v = &d->drives[r->file->drive];
    if (v->queued_reads == 0) v->since_ns = v->until_ns = now;
    v->queued_reads++;
    v->queued_bytes += r->read.bytes;
}

void disk_drive_forgets(Disk *d, const Request *r) {
    Drive *v = &d->drives[r->file->drive];
    assert(v->queued_reads > 0 && v->queued_bytes >= r->read.bytes);
    v->queued_reads--;
    v->queued_bytes -= r->read.bytes;
}

/* A window whose end was noticed late only says that the drive is at least so fast. */
static void close_window(Drive *v, bool exact) {
    double ns = (double)(v->until_ns - v->since_ns), bytes = (double)v->window_bytes;
    v->busy_ns += v->until_ns - v->since_ns;
    if (ns > 0 && bytes > 0 && (exact || bytes / ns > rate_of(v))) {
        double keep = (double)memory_ns / ((double)memory_ns + ns);
        v->recent_bytes = v->recent_bytes * keep + bytes;
        v->recent_ns = v->recent_ns * keep + ns;
        v->measured_ns = v->until_ns;
    }
    v->since_ns = v->until_ns;
    v->window_bytes = 0;
}

void disk_drive_ends(Disk *d, const Request *r, bool exact) {
    Drive *v = &d->drives[r->file->drive];
    disk_drive_forgets(d, r);
    if (r->landed_ns > v->until_ns) v->until_ns = r->landed_ns;
    v->reads++;
    v->bytes += r->got;
    v->window_bytes += r->got;
    if (v->queued_reads == 0 || v->until_ns - v->since_ns > window_ns) close_window(v, exact);
}

/* ---- which first --------------------------------------------------------------------------------------------------- */

bool disk_drive_wants_a_trial(const Disk *d, uint32_t drive, uint64_t now) {
    const Drive *v = &d->drives[drive];
    return v->queued_reads == 0 && (v->recent_ns <= 0 || now > v->measured_ns + expires_ns);
}

double disk_drive_finishes_in(const Disk *d, uint32_t drive, uint32_t bytes, uint64_t now) {
    const Drive *v = &d->drives[drive];
    double rate = rate_of(v);
    for (uint32_t i = 0; rate <= 0 && i < d->n_drives; i++) rate = rate_of(&d->drives[i]); /* unknown: as another */
    if (rate <= 0) rate = 1;
    double ns = (double)(v->queued_bytes + bytes) / rate;
    /* a drive that has brought nothing for longer than all of its work should take stands still */
    double silent = v->queued_reads && now > v->until_ns ? (double)(now - v->until_ns) : 0;
    return silent > ns ? ns + silent : ns;
}

uint32_t disk_drives(const Disk *d) { return d->n_drives; }

void disk_drive_info(const Disk *d, uint32_t drive, DiskDriveInfo *info) {
    assert(drive < d->n_drives);
    const Drive *v = &d->drives[drive];
    *info = (DiskDriveInfo){.name = v->name, .files = v->files, .reads = v->reads, .bytes = v->bytes, .busy_ns = v->busy_ns,
                            .bytes_per_s = rate_of(v) * 1e9};
}
