/* Copies of a file on other drives: each read goes to the one that will finish it first, and a read that fails on one copy is tried on
 * the others. A copy is believed only after samples of it were compared with the file. */
#define _POSIX_C_SOURCE 200809L
#include "disk/backend.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

enum { SAMPLES = 18, SAMPLE_BYTES = 4096, COPIES_MAX = 30 };

/* ---- adding -------------------------------------------------------------------------------------------------------- */

static ErrCode compare_samples(const char *path, const OsFile *a, const char *copy, const OsFile *b, Err *err) {
    char x[SAMPLE_BYTES], y[SAMPLE_BYTES];
    uint64_t n = a->size < SAMPLE_BYTES ? a->size : SAMPLE_BYTES;
    for (uint64_t i = 0; i < SAMPLES; i++) {
        uint64_t at = (a->size - n) / (SAMPLES - 1) * i;
        if (i == SAMPLES - 1) at = a->size - n;
        ErrCode code = os_pread(a, path, x, n, at, err);
        if (!code) code = os_pread(b, copy, y, n, at, err);
        if (code) return code;
        if (memcmp(x, y, (size_t)n) != 0)
            return err_set(err, ERR_FORMAT, "%s: is not a copy of %s: other bytes near offset %" PRIu64 "; copy the file again, or leave "
                           "it out of --mirror", copy, path, at);
    }
    return ERR_OK;
}

static ErrCode compare_files(const char *path, const char *copy, Err *err) {
    OsFile a = {.fd = -1}, b = {.fd = -1};
    struct stat st, copy_st;
    ErrCode code = os_open(&a, path, false, err);
    if (!code) code = os_open(&b, copy, false, err);
    if (!code && (fstat(a.fd, &st) != 0 || fstat(b.fd, &copy_st) != 0)) code = err_set(err, ERR_IO, "%s: cannot be examined", copy);
    if (!code && st.st_dev == copy_st.st_dev && st.st_ino == copy_st.st_ino)
        code = err_set(err, ERR_USAGE, "%s: is the same file as %s, not a copy of it", copy, path);
    if (!code && a.size != b.size)
        code = err_set(err, ERR_FORMAT, "%s: is not a copy of %s: it has %" PRIu64 " bytes, not %" PRIu64 "; copy the file again, or leave "
                       "it out of --mirror", copy, path, b.size, a.size);
    if (!code) code = compare_samples(path, &a, copy, &b, err);
    os_close(&a);
    os_close(&b);
    return code;
}

ErrCode disk_add_copy(Disk *d, uint32_t file, const char *path, Err *err) {
    assert(file < d->n_files);
    DiskFile *f = d->files[file];
    if (f->n_copies == COPIES_MAX) return err_set(err, ERR_RANGE, "%s: there are %d copies of it already", f->path, COPIES_MAX);
    ErrCode code = compare_files(f->path, path, err);
    if (code) return code;
    DiskFile **copies = mem_resize(f->copies, (size_t)f->n_copies + 1, sizeof *copies);
    if (!copies) return err_no_memory(err, sizeof *copies, "the table of copies");
    f->copies = copies;
    DiskFile *copy;
    code = disk_file_open(d, path, &copy, err);
    if (code) return code;
    copies[f->n_copies++] = copy;
    if (copy->alignment > f->alignment) f->alignment = copy->alignment;
    if (copy->drive == f->drive)
        log_note("%s: on the same drive as %s: read only if that fails", path, f->path);
    return ERR_OK;
}

/* ---- choosing ------------------------------------------------------------------------------------------------------ */

static DiskFile *copy_at(DiskFile *f, uint32_t i) { return i == 0 ? f : f->copies[i - 1]; }

/* The copy that will have read so many bytes first, out of those that are not in the mask; NULL: there is none. */
static DiskFile *pick(const Disk *d, DiskFile *f, uint32_t bytes, uint32_t tried, bool distrusted_too, uint64_t now) {
    DiskFile *best = NULL;
    double least = 0;
    for (uint32_t i = 0; i <= f->n_copies; i++) {
        DiskFile *c = copy_at(f, i);
        if (tried >> i & 1 || (c->distrusted && !distrusted_too)) continue;
        if (disk_drive_wants_a_trial(d, c->drive, now)) return c;
        double ns = disk_drive_finishes_in(d, c->drive, bytes, now);
        if (!best || ns < least) {
            best = c;
            least = ns;
        }
    }
    return best;
}

static void start_on(Disk *d, Request *r, DiskFile *f, DiskFile *chosen, uint64_t now) {
    uint32_t i = 0;
    while (copy_at(f, i) != chosen) i++;
    r->tried |= UINT32_C(1) << i;
    r->file = chosen;
    disk_drive_begins(d, r, now);
}

void disk_copies_start(Disk *d, Request *r, uint64_t now) {
    DiskFile *f = d->files[r->read.file], *chosen = f;
    if (f->n_copies > 0) {
        chosen = pick(d, f, r->read.bytes, 0, false, now);
        if (!chosen) chosen = pick(d, f, r->read.bytes, 0, true, now);
    }
    start_on(d, r, f, chosen, now);
}

bool disk_copies_try_another(Disk *d, Request *r, uint64_t now) {
    DiskFile *f = d->files[r->read.file], *failed = copy_at(f, 0);
    for (uint32_t i = 0; i <= f->n_copies; i++)
        if (copy_at(f, i) == r->file) failed = copy_at(f, i);
    DiskFile *other = pick(d, f, r->read.bytes, r->tried, false, now);
    if (!other) other = pick(d, f, r->read.bytes, r->tried, true, now);
    if (!other) return false;
    if (!failed->distrusted)
        log_warn("%s: a read at offset %" PRIu64 " failed: %s; from now on its other copies are read", failed->path, r->read.offset,
                 r->error ? strerror(r->error) : "it came short");
    failed->distrusted = true;
    r->got = 0;
    r->tries = r->error = 0;
    start_on(d, r, f, other, now);
    return true;
}
