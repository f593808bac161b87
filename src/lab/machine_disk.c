/* The disk as the prediction wants to know it, and a file to measure it with. */
#define _POSIX_C_SOURCE 200809L
#include "lab/lab.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

ErrCode lab_disk(DiskProbe *probe, uint32_t request_bytes, double seconds, LabDisk *out, Err *err) {
    DiskRate many, one;
    DiskProbeRun run = {.read_bytes = request_bytes, .seconds = 0.8 * seconds}, alone = run;
    alone.seconds = 0.2 * seconds;
    alone.depth = 1;
    Err why = {0};
    memset(out, 0, sizeof *out);
    ErrCode code = disk_probe_run(probe, &run, &many, &why);
    if (!code) code = disk_probe_run(probe, &alone, &one, &why);
    if (code == ERR_RANGE) return ERR_OK;
    if (code) {
        if (err) *err = why;
        return code;
    }
    *out = (LabDisk){.bytes_per_s = many.bytes_per_s, .read_s = one.read_s, .cached = many.cached || one.cached};
    return ERR_OK;
}

ErrCode lab_scratch_file(const char *path, uint64_t bytes, Err *err) {
    enum { PIECE = 1 << 20 };
    uint64_t *piece = mem_new(PIECE, 1), s = 0x9e3779b97f4a7c15u;
    if (!piece) return err_no_memory(err, PIECE, "the scratch file");
    FILE *f = fopen(path, "wb");
    bool good = f != NULL;
    for (uint64_t at = 0; good && at < bytes; at += PIECE) {
        for (size_t i = 0; i < PIECE / 8; i++) { /* random: a drive or a file system that compresses must not be flattered */
            s ^= s << 13;
            s ^= s >> 7;
            piece[i] = s ^= s << 17;
        }
        good = fwrite(piece, PIECE, 1, f) == 1;
    }
    good = good && fflush(f) == 0 && fsync(fileno(f)) == 0;
    if (f && fclose(f) != 0) good = false;
    mem_free(piece);
    if (good) return ERR_OK;
    (void)remove(path);
    return err_set(err, ERR_IO, "%s: cannot write %llu bytes to measure the disk with; name another folder or a model with -m", path,
                   (unsigned long long)bytes);
}
