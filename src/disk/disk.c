/* The door of the disk room: files, the check of every read, and the sentence of every failure. */
#define _POSIX_C_SOURCE 200809L
#include "disk/backend.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

/* ---- a disk -------------------------------------------------------------------------------------------------------- */

static ErrCode configure(Disk *d, const DiskConfig *config, Err *err) {
    d->config = *config;
    d->backend = disk_backend_of(config->backend);
    if (!d->backend) return err_set(err, ERR_RANGE, "there is no disk backend %d", (int)config->backend);
    d->patience_ns = (config->patience_ms ? config->patience_ms : DISK_PATIENCE_MS_DEFAULT) * UINT64_C(1000000);
    if (d->backend->buffered_only) {
        if (config->direct == DISK_DIRECT_ON)
            return err_set(err, ERR_USAGE, "%s reads through the page cache, never directly: leave out --direct on, or use --io threads",
                           d->backend->name);
        d->config.direct = DISK_DIRECT_OFF;
    }
    if (d->config.depth == 0) d->config.depth = d->backend->default_depth;
    if (d->config.retries < 0) d->config.retries = DISK_RETRIES_DEFAULT;
    if (d->config.depth < 0 || d->config.depth > DISK_DEPTH_MAX)
        return err_set(err, ERR_RANGE, "%d reads at a time: the disk takes 1 to %d", config->depth, DISK_DEPTH_MAX);
    if (d->config.hint_depth <= 0) { /* half the depth: a demand that comes finds a thread that does not read a hint */
        int half = d->config.depth > 1 ? d->config.depth / 2 : 1;
        d->config.hint_depth = half < DISK_HINT_DEPTH_DEFAULT ? half : DISK_HINT_DEPTH_DEFAULT;
    }
    return ERR_OK;
}

Disk *disk_new(const DiskConfig *config, Err *err) {
    Disk *d = MEM_NEW(Disk, 1);
    if (!d) {
        err_no_memory(err, sizeof *d, "the disk");
        return NULL;
    }
    if (configure(d, config, err)) {
        mem_free(d);
        return NULL;
    }
    d->requests = MEM_NEW(Request, DISK_QUEUE);
    d->free_numbers = MEM_NEW(uint32_t, DISK_QUEUE);
    if (!d->requests || !d->free_numbers) {
        err_no_memory(err, DISK_QUEUE * (sizeof(Request) + sizeof(uint32_t)), "the disk's queue");
    } else {
        while (d->n_free < DISK_QUEUE) {
            d->free_numbers[d->n_free] = DISK_QUEUE - 1 - d->n_free;
            d->n_free++;
        }
        if (d->backend->start(d, err) == ERR_OK) return d;
    }
    disk_free(d);
    return NULL;
}

static void close_file(const Disk *d, DiskFile *f) {
    for (uint32_t i = 0; i < f->n_copies; i++) close_file(d, f->copies[i]);
    mem_free(f->copies);
    if (d->backend->closed) d->backend->closed(f);
    os_close(&f->os);
    mem_free(f->path);
    mem_free(f);
}

void disk_free(Disk *d) {
    if (!d) return;
    d->backend->stop(d);
    for (uint32_t i = 0; i < d->n_files; i++) close_file(d, d->files[i]);
    mem_free(d->files);
    mem_free(d->free_numbers);
    mem_free(d->requests);
    mem_free(d);
}

/* ---- files --------------------------------------------------------------------------------------------------------- */

static ErrCode open_buffered(const char *path, DiskFile *f, Err *err) {
    ErrCode code = os_open(&f->os, path, false, err);
    if (code) return code;
    /* records lie all over the file: reading ahead would fetch the neighbours of each */
    (void)posix_fadvise(f->os.fd, 0, 0, POSIX_FADV_RANDOM);
    f->alignment = 1;
    f->direct = false;
    return ERR_OK;
}

static ErrCode open_file(Disk *d, const char *path, DiskFile *f, Err *err) {
    if (d->config.direct == DISK_DIRECT_OFF) return open_buffered(path, f, err);
    char cause[DIRECT_CAUSE_BYTES];
    f->direct = disk_direct_open(path, &f->os, &f->alignment, cause);
    if (f->direct) return ERR_OK;
    ErrCode code = open_buffered(path, f, err); /* a missing file should be called missing, not unfit for direct reads */
    if (code) return code;
    if (d->config.direct == DISK_DIRECT_ON) {
        os_close(&f->os);
        return err_set(err, ERR_UNSUPPORTED, "%s: cannot be read directly: %s; use --direct auto, or move it to another file system",
                       path, cause);
    }
    if (!d->said_buffered) log_note("%s: read through the page cache, not directly: %s", path, cause);
    d->said_buffered = true;
    return ERR_OK;
}

ErrCode disk_file_open(Disk *d, const char *path, DiskFile **file, Err *err) {
    DiskFile *f = MEM_NEW(DiskFile, 1);
    if (!f) return err_no_memory(err, sizeof *f, "the table of files");
    f->os.fd = -1;
    f->path = mem_strdup(path);
    ErrCode code = f->path ? open_file(d, path, f, err) : err_no_memory(err, strlen(path) + 1, "a file name");
    if (!code && d->backend->opened) code = d->backend->opened(d, f, err);
    if (code) {
        close_file(d, f);
        return code;
    }
    disk_drive_of(d, f);
    *file = f;
    return ERR_OK;
}

ErrCode disk_add_file(Disk *d, const char *path, uint32_t *id, Err *err) {
    DiskFile **files = mem_resize(d->files, (size_t)d->n_files + 1, sizeof *files);
    if (!files) return err_no_memory(err, sizeof *files, "the table of files");
    d->files = files;
    ErrCode code = disk_file_open(d, path, &files[d->n_files], err);
    if (!code) *id = d->n_files++;
    return code;
}

void disk_register(Disk *d, void *memory, uint64_t piece_bytes, uint32_t n) {
    if (d->backend->memory) d->backend->memory(d, memory, piece_bytes, memory ? n : 0);
}

void disk_unregister(Disk *d, const void *piece) {
    if (d->backend->forget) d->backend->forget(d, piece);
}

uint32_t disk_alignment(const Disk *d, uint32_t file) {
    assert(file < d->n_files);
    return d->files[file]->alignment;
}

const char *disk_file_path(const Disk *d, uint32_t file) {
    assert(file < d->n_files);
    return d->files[file]->path;
}

uint64_t disk_file_bytes(const Disk *d, uint32_t file) {
    assert(file < d->n_files);
    return d->files[file]->os.size;
}

uint32_t disk_files(const Disk *d) { return d->n_files; }

/* ---- submit -------------------------------------------------------------------------------------------------------- */

static ErrCode check_read(const Disk *d, const DiskRead *r, Err *err) {
    if (r->file >= d->n_files) return err_set(err, ERR_RANGE, "a read of file %u, but only %u are open", r->file, d->n_files);
    const DiskFile *f = d->files[r->file];
    const char *mistake = NULL;
    if (!r->dst || r->bytes == 0 || r->need == 0 || r->need > r->bytes) mistake = "asks for nothing, or needs more than it asks for";
    else if (r->offset % f->alignment || r->bytes % f->alignment || (uintptr_t)r->dst % f->alignment) mistake = "is not aligned";
    else if (r->offset > f->os.size || r->need > f->os.size - r->offset) mistake = "reaches past the end of the file";
    if (!mistake) return ERR_OK;
    return err_set(err, ERR_RANGE, "%s: a read of %u bytes (%u needed) at offset %" PRIu64 " %s (alignment %u, file size %" PRIu64 ")",
                   f->path, r->bytes, r->need, r->offset, mistake, f->alignment, f->os.size);
}

ErrCode disk_submit(Disk *d, const DiskRead *reads, size_t n, Err *err) {
    if (n > d->n_free) return err_set(err, ERR_STATE, "%zu reads at once, but the disk's queue has room for %u", n, d->n_free);
    size_t hints = 0;
    for (size_t i = 0; i < n; i++) {
        ErrCode code = check_read(d, &reads[i], err);
        if (code) return code;
        hints += reads[i].urgency == DISK_HINT;
    }
    if (hints > disk_hint_room(d))
        return err_set(err, ERR_STATE, "%zu hints at once, but the disk's queue has room for %zu", hints, disk_hint_room(d));
    uint64_t now = os_now_ns();
    const uint32_t *numbers = d->free_numbers + d->n_free - n; /* [n], the top of the free stack */
    for (size_t i = 0; i < n; i++) {
        Request *r = &d->requests[numbers[i]];
        *r = (Request){.read = reads[i], .sequence = d->n_submitted++};
        disk_copies_start(d, r, now);
    }
    d->n_free -= (uint32_t)n;
    for (size_t i = 0; hints > 0 && i < n; i++)
        if (reads[i].urgency == DISK_HINT) disk_hints_add(d, numbers[i]);
    d->backend->push(d, numbers, n);
    return ERR_OK;
}

size_t disk_in_flight(const Disk *d) { return DISK_QUEUE - d->n_free; }

size_t disk_room(const Disk *d) { return d->n_free; }

/* ---- reap ---------------------------------------------------------------------------------------------------------- */

/* The sentence of a read that has failed. A file that shrank is by far the likeliest reason of a short one. */
static ErrCode failure(const Request *r, Err *err) {
    const DiskFile *f = r->file;
    if (r->error)
        return err_set(err, ERR_IO, "%s: reading %u bytes at offset %" PRIu64 " failed %d times: %s; the drive or the file system may "
                       "be damaged", f->path, r->read.need, r->read.offset, r->tries, strerror(r->error));
    struct stat st;
    if (fstat(f->os.fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size < f->os.size)
        return err_set(err, ERR_IO, "%s: reading %u bytes at offset %" PRIu64 " came short (%u bytes): the file shrank from %" PRIu64
                       " to %" PRIu64 " bytes while in use; restore it", f->path, r->read.need, r->read.offset, r->got, f->os.size,
                       (uint64_t)st.st_size);
    return err_set(err, ERR_IO, "%s: reading %u bytes at offset %" PRIu64 " came short %d times: only %u bytes arrived", f->path,
                   r->read.need, r->read.offset, r->tries, r->got);
}

/* Takes what the backend has finished. A read that failed on one copy of a file starts again on another and is not finished. */
static size_t pull(Disk *d, uint32_t *numbers, size_t max, bool wait) {
    enum { WAITED_NS = 20000 };
    for (;;) {
        uint64_t before = os_now_ns();
        size_t n = d->backend->pull(d, numbers, max, 0), kept = 0;
        if (n == 0 && wait) n = disk_pull_patiently(d, numbers, max);
        /* where the backend does not note it, the time is known only if we stood waiting for it */
        uint64_t now = os_now_ns();
        bool exact = d->backend->notes_landings || now - before > WAITED_NS;
        for (size_t i = 0; i < n; i++) {
            Request *r = &d->requests[numbers[i]];
            uint32_t number = numbers[i];
            disk_drive_ends(d, r, exact);
            if (r->got < r->read.need && disk_copies_try_another(d, r, now)) d->backend->push(d, &number, 1);
            else numbers[kept++] = number;
        }
        if (kept > 0 || n == 0 || !wait) return kept;
    }
}

size_t disk_reap(Disk *d, DiskDone *done, size_t max, bool wait) {
    if (d->n_free == DISK_QUEUE || max == 0) return 0;
    uint32_t *numbers = d->free_numbers + d->n_free; /* numbers come back to where they left: the free stack just grows */
    if (max > DISK_QUEUE - d->n_free) max = DISK_QUEUE - d->n_free;
    size_t n = pull(d, numbers, max, wait);
    d->n_free += (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        Request *r = &d->requests[numbers[i]];
        r->place = REQUEST_FREE;
        done[i].tag = r->read.tag;
        done[i].err.text[0] = 0;
        done[i].code = done[i].err.code = ERR_OK;
        if (r->got < r->read.need) done[i].code = failure(r, &done[i].err);
        d->reads++;
        d->bytes += r->got;
        if (r->read.urgency == DISK_HINT) {
            disk_hints_remove(d, numbers[i]);
            d->hint_reads++;
            d->hint_bytes += r->got;
        }
        d->retries += (uint64_t)r->again;
    }
    return n;
}

void disk_info(const Disk *d, DiskInfo *info) {
    *info = (DiskInfo){.backend = d->backend->name,
                       .direct = d->n_files > 0,
                       .depth = d->config.depth,
                       .reads = d->reads,
                       .bytes = d->bytes,
                       .hint_reads = d->hint_reads,
                       .hint_bytes = d->hint_bytes,
                       .cancelled = d->cancelled,
                       .stalls = d->stalls,
                       .retries = d->retries};
    d->backend->count(d, info);
    for (uint32_t i = 0; i < d->n_files; i++) {
        info->direct = info->direct && d->files[i]->direct;
        for (uint32_t k = 0; k < d->files[i]->n_copies; k++) info->direct = info->direct && d->files[i]->copies[k]->direct;
    }
}
