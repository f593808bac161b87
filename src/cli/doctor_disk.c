/* The disk by request size and by reads in flight, directly and through the page cache. */
#include "cli/doctor.h"

#include <stdio.h>
#include <string.h>

enum { BUFFER_BYTES = 64 << 20 };
#define POINT_S 0.03

const uint32_t doctor_sizes[DOCTOR_SIZES] = {64 << 10, 256 << 10, 512 << 10, 1 << 20, 2 << 20, 4 << 20, 8 << 20};
const int doctor_depths[DOCTOR_DEPTHS] = {1, 2, 4, 8, 16, 32};

static ErrCode sweep(const Doctor *d, DiskDirect direct, DoctorSweep *out, OsProgress *bar, Err *err) {
    DiskProbeConfig config = {.paths = d->paths, .n_paths = d->n_paths, .backend = d->backend, .direct = direct,
                              .depth = doctor_depths[DOCTOR_DEPTHS - 1], .memory_bytes = BUFFER_BYTES, .again = true};
    Err why = {0};
    DiskProbe *probe = disk_probe_new(&config, &why);
    out->tried = true;
    if (!probe) { /* a file system that refuses direct reads is a finding, not a failure */
        snprintf(out->refused, sizeof out->refused, "%.250s", why.text);
        return ERR_OK;
    }
    ErrCode code = ERR_OK;
    for (int s = 0; s < DOCTOR_SIZES && !code; s++)
        for (int q = 0; q < DOCTOR_DEPTHS && !code; q++) {
            os_progress_step(bar, bar->done + 1);
            if ((uint64_t)doctor_sizes[s] * (uint64_t)doctor_depths[q] > BUFFER_BYTES) continue;
            Err small = {0};
            DiskProbeRun run = {.read_bytes = doctor_sizes[s], .depth = doctor_depths[q], .seconds = POINT_S};
            code = disk_probe_run(probe, &run, &out->rate[s][q], &small);
            if (code == ERR_RANGE) code = ERR_OK; /* a file smaller than the request: this place of the table stays empty */
            else if (code) *err = small;
            if (os_interrupted()) code = err_set(err, ERR_INTERRUPTED, "interrupted while measuring the disk");
        }
    disk_probe_free(probe);
    return code;
}

ErrCode doctor_sweeps(Doctor *d, Err *err) {
    OsProgress bar;
    os_progress_start(&bar, "disk", "combinations", (uint64_t)2 * DOCTOR_SIZES * DOCTOR_DEPTHS);
    ErrCode code = sweep(d, DISK_DIRECT_ON, &d->direct, &bar, err);
    if (!code) code = sweep(d, DISK_DIRECT_OFF, &d->buffered, &bar, err);
    os_progress_end(&bar);
    return code;
}
