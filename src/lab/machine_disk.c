/* How fast the disk delivers reads of a size with some number of them in flight, through the same door as the engine's reads. */
#define _POSIX_C_SOURCE 200809L
#include "lab/lab.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_DEPTH = 64, MAX_REQUEST = 16 << 20 };

typedef struct Span {
    uint64_t begin, bytes;
    uint64_t cursor; /* requests made so far */
} Span;

struct LabDisk {
    Disk *disk;
    Span *spans;         /* [n_files] */
    uint32_t n_files, turn;
    uint32_t request;    /* the size that the cursors count */
    int depth;
    uint8_t *buffer;
    uint64_t buffer_bytes, seed;
};

LabDisk *lab_disk_new(const LabDiskConfig *config, Err *err) {
    LabDisk *d = MEM_NEW(LabDisk, 1);
    Span *spans = d ? MEM_NEW(Span, config->n_paths) : NULL;
    if (!spans) {
        mem_free(d);
        err_no_memory(err, config->n_paths * sizeof *spans, "the probe of the disk");
        return NULL;
    }
    d->spans = spans;
    d->seed = config->seed;
    d->buffer_bytes = config->buffer_bytes;
    DiskConfig disk = {.backend = config->backend, .direct = config->direct, .depth = config->depth, .retries = -1};
    d->disk = disk_new(&disk, err);
    d->buffer = d->disk ? os_pages_new(d->buffer_bytes, err) : NULL;
    if (!d->buffer) {
        lab_disk_free(d);
        return NULL;
    }
    memset(d->buffer, 1, d->buffer_bytes); /* pages are made now, not under the clock */
    for (uint32_t i = 0; i < config->n_paths; i++) {
        uint32_t id;
        if (disk_add_file(d->disk, config->paths[i], &id, err)) {
            lab_disk_free(d);
            return NULL;
        }
        uint64_t begin = config->begins ? align_up(config->begins[i], 4096) : 0, size = disk_file_bytes(d->disk, id);
        d->spans[i] = (Span){.begin = begin, .bytes = size > begin ? size - begin : 0};
        d->n_files++;
    }
    DiskInfo info;
    disk_info(d->disk, &info);
    d->depth = info.depth;
    return d;
}

void lab_disk_free(LabDisk *d) {
    if (!d) return;
    disk_free(d->disk);
    os_pages_free(d->buffer, d->buffer_bytes);
    mem_free(d->spans);
    mem_free(d);
}

void lab_disk_info(const LabDisk *d, DiskInfo *info) { disk_info(d->disk, info); }

static uint64_t common_divisor(uint64_t a, uint64_t b) {
    while (b) {
        uint64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

/* The n-th request of a file: a walk over all its places in steps of about 0.618 of their number, so that neighbours in time are far
 * apart and no place comes twice before every place came once. */
static uint64_t place_of(const LabDisk *d, const Span *s, uint64_t n_places) {
    uint64_t step = (uint64_t)((double)n_places * 0.6180339887) | 1;
    while (common_divisor(step, n_places) != 1) step += 2;
    return s->begin + (s->cursor % n_places * step + d->seed) % n_places * d->request;
}

/* One more read into part `at` of the buffer; false: no file is large enough. */
static bool submit_one(LabDisk *d, uint64_t at, uint64_t *sent_ns, bool *repeated, Err *err) {
    for (uint32_t tries = 0; tries < d->n_files; tries++) {
        uint32_t file = d->turn++ % d->n_files;
        Span *s = &d->spans[file];
        uint64_t n_places = s->bytes / d->request;
        if (!n_places) continue;
        if (s->cursor >= n_places) *repeated = true;
        DiskRead r = {.file = file, .need = d->request, .offset = place_of(d, s, n_places), .bytes = d->request,
                      .dst = d->buffer + at * d->request, .tag = at};
        s->cursor++;
        sent_ns[at] = os_now_ns();
        return disk_submit(d->disk, &r, 1, err) == ERR_OK;
    }
    err_set(err, ERR_RANGE, "%s: too small to measure reads of %u bytes", d->n_files ? disk_file_path(d->disk, 0) : "no file", d->request);
    return false;
}

typedef struct Tally {
    uint64_t first_ns, last_ns, bytes, later_bytes, reads, latency_ns;
} Tally;

/* The clock runs from the first arrival: what was sent together at the start arrives in its own time. */
static void tally(Tally *t, uint64_t now, uint64_t sent, uint32_t bytes) {
    if (!t->first_ns) t->first_ns = now;
    else t->later_bytes += bytes;
    t->last_ns = now;
    t->bytes += bytes;
    t->reads++;
    t->latency_ns += now - sent;
}

static ErrCode take(LabDisk *d, Tally *t, const uint64_t *sent_ns, uint64_t *free_part, bool *any, Err *err) {
    DiskDone done;
    *any = disk_reap(d->disk, &done, 1, true) > 0;
    if (!*any) return err_set(err, ERR_STATE, "the disk lost a read");
    if (done.code) {
        if (err) *err = done.err;
        return done.code;
    }
    tally(t, os_now_ns(), sent_ns[done.tag], d->request);
    *free_part = done.tag;
    return ERR_OK;
}

static int depth_for(const LabDisk *d, int asked) {
    int depth = asked > 0 ? asked : d->depth;
    uint64_t fits = d->buffer_bytes / d->request;
    if (depth > MAX_DEPTH) depth = MAX_DEPTH;
    if ((uint64_t)depth > fits) depth = (int)fits;
    return depth < 1 ? 1 : depth;
}

ErrCode lab_disk_rate(LabDisk *d, uint32_t request_bytes, int depth, double seconds, LabDiskRate *out, Err *err) {
    memset(out, 0, sizeof *out);
    uint32_t request = (uint32_t)align_up(request_bytes ? request_bytes : 4096, 4096);
    if (request > MAX_REQUEST || request > d->buffer_bytes)
        return err_set(err, ERR_RANGE, "reads of %u bytes are more than the probe's memory", request);
    if (request != d->request)
        for (uint32_t i = 0; i < d->n_files; i++) d->spans[i].cursor = 0;
    d->request = request;
    uint64_t sent_ns[MAX_DEPTH];
    Tally t = {0};
    out->depth = depth_for(d, depth);
    uint64_t start = os_now_ns(), until = start + (uint64_t)(seconds * 1e9);
    ErrCode code = ERR_OK;
    for (int i = 0; i < out->depth && !code; i++)
        if (!submit_one(d, (uint64_t)i, sent_ns, &out->repeated, err)) code = err ? err->code : ERR_IO;
    uint64_t least = 4 * (uint64_t)out->depth;
    uint64_t last = until > start ? start + 2 * (until - start) : UINT64_MAX; /* a slow disk must not take all day */
    for (uint64_t now = start; !code && (now < until || (t.reads < least && (now < last || t.reads < 2))); now = os_now_ns()) {
        uint64_t part = 0;
        bool any;
        code = take(d, &t, sent_ns, &part, &any, err);
        if (!code && !submit_one(d, part, sent_ns, &out->repeated, err)) code = err ? err->code : ERR_IO;
    }
    Tally counted = t;
    DiskDone rest[8];
    while (disk_in_flight(d->disk) > 0)
        if (disk_reap(d->disk, rest, COUNT_OF(rest), true) == 0) break;
    if (code) return code;
    out->bytes = counted.bytes;
    out->read_s = (double)counted.latency_ns * 1e-9 / (double)counted.reads;
    if (counted.reads <= (uint64_t)out->depth || counted.last_ns <= counted.first_ns) /* too few to see a steady state */
        out->bytes_per_s = (double)counted.bytes / ((double)(counted.last_ns - start) * 1e-9);
    else
        out->bytes_per_s = (double)counted.later_bytes / ((double)(counted.last_ns - counted.first_ns) * 1e-9);
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
