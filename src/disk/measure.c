/* How fast a file can be read, honestly: every place once, and nothing that a cache can answer. */
#include "disk/measure.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    READ_BYTES_DEFAULT = 1 << 20,
    READ_BYTES_MAX = 64 << 20,
    ALIGNMENT_MOST = 64 * 1024, /* of direct reads */
    DEPTH_DEFAULT = 32,         /* about the reads of one layer; a backend may take more */
    DEPTH_MAX = 256,
    WARM_MOST = 256,            /* places in a row that stay in the page cache: then the rest will not be better */
};
static const uint64_t memory_most = UINT64_C(1) << 30;

static uint32_t read_bytes_of(const DiskMeasure *how) {
    return (uint32_t)align_up(how->read_bytes ? how->read_bytes : READ_BYTES_DEFAULT, 4096);
}

uint64_t disk_measure_memory(const DiskMeasure *how) {
    return (uint64_t)(how->depth > 0 ? how->depth : DEPTH_DEFAULT) * align_up(read_bytes_of(how), ALIGNMENT_MOST);
}

/* ---- opening ------------------------------------------------------------------------------------------------------- */

static ErrCode check(const DiskMeasure *how, Err *err) {
    if (how->seconds <= 0 && how->bytes == 0) return err_set(err, ERR_RANGE, "measuring %s: no limit was given", how->path);
    if (how->read_bytes > READ_BYTES_MAX || how->depth < 0 || how->depth > DEPTH_MAX || disk_measure_memory(how) > memory_most)
        return err_set(err, ERR_RANGE, "measuring %s: %d reads of %u bytes at a time are too many", how->path, how->depth, how->read_bytes);
    return ERR_OK;
}

/* AUTO is decided here, without a note: whoever measures says what was measured. */
static ErrCode open_disk(Measuring *m, const DiskMeasure *how, Err *err) {
    DiskConfig config = {.backend = how->backend, .depth = how->depth, .retries = -1, .faults = how->faults};
    config.direct = how->direct == DISK_DIRECT_OFF ? DISK_DIRECT_OFF : DISK_DIRECT_ON;
    uint32_t id;
    m->disk = disk_new(&config, err);
    if (!m->disk) return err->code;
    ErrCode code = disk_add_file(m->disk, how->path, &id, err);
    if (code == ERR_UNSUPPORTED && how->direct == DISK_DIRECT_AUTO) {
        disk_free(m->disk);
        config.direct = DISK_DIRECT_OFF;
        memset(err, 0, sizeof *err);
        m->disk = disk_new(&config, err);
        if (!m->disk) return err->code;
        code = disk_add_file(m->disk, how->path, &id, err);
    }
    if (code) return code;
    DiskInfo info;
    disk_info(m->disk, &info);
    m->direct = info.direct;
    m->depth = how->depth == 0 && info.depth > DEPTH_DEFAULT ? DEPTH_DEFAULT : info.depth; /* the memory is for no more */
    m->read_bytes = (uint32_t)align_up(read_bytes_of(how), disk_alignment(m->disk, 0));
    return ERR_OK;
}

ErrCode measuring_open(Measuring *m, const DiskMeasure *how, char *memory, Err *err) {
    *m = (Measuring){.path = how->path, .file = {.fd = -1}, .memory = memory};
    Err unused;
    if (!err) err = &unused;
    memset(err, 0, sizeof *err);
    ErrCode code = check(how, err);
    if (!code) code = open_disk(m, how, err);
    if (!code) code = os_open(&m->file, how->path, false, err);
    if (code) return code;
    uint64_t cached;
    if (!m->direct && !os_cached(&m->file, 0, 1, &cached))
        return err_set(err, ERR_UNSUPPORTED, "%s: reads through the page cache cannot be measured: the kernel tells only the owner of "
                       "a file what of it is in memory", how->path);
    m->places = places_of(&m->file, err);
    if (!m->places) return err->code;
    m->done = MEM_NEW(DiskDone, (size_t)m->depth);
    if (!m->done) return err_no_memory(err, (size_t)m->depth * sizeof *m->done, "measuring");
    if (memory) return ERR_OK;
    uint64_t bytes = (uint64_t)m->depth * m->read_bytes;
    m->memory = os_pages_new(bytes, err);
    if (!m->memory) return err->code;
    m->own_memory = true;
    memset(m->memory, 1, (size_t)bytes); /* pages are there before the clock runs */
    return ERR_OK;
}

void measuring_close(Measuring *m) {
    disk_free(m->disk); /* first: waits for what is in flight */
    if (m->own_memory) os_pages_free(m->memory, (uint64_t)m->depth * m->read_bytes);
    os_close(&m->file);
    mem_free(m->done);
    mem_free(m->dropped);
    memset(m, 0, sizeof *m);
    m->file.fd = -1;
}

/* ---- places -------------------------------------------------------------------------------------------------------- */

/* A place that no cache of this system can answer. False: the file has none left. */
static bool draw_cold(Measuring *m, uint64_t *offset) {
    for (int warm = 0; warm < WARM_MOST; warm++) {
        if (!places_draw(m->places, m->read_bytes, offset)) break;
        if (m->direct) return true;
        uint64_t cached;
        os_drop_cache(&m->file, *offset, m->read_bytes);
        if (os_cached(&m->file, *offset, m->read_bytes, &cached) && cached == 0) return true;
        m->warm_reads++;
    }
    m->used_up = true;
    return false;
}

/* What was read through the page cache has pushed out what others had there; at least it does not stay. */
static void remember_to_drop(Measuring *m, uint64_t offset) {
    if (m->direct) return;
    if (m->n_dropped == m->cap_dropped) {
        size_t cap = m->cap_dropped ? 2 * m->cap_dropped : 256;
        uint64_t *grown = mem_resize(m->dropped, cap, sizeof *grown);
        if (!grown) return;
        m->dropped = grown;
        m->cap_dropped = cap;
    }
    m->dropped[m->n_dropped++] = offset;
}

static void drop(Measuring *m) {
    for (size_t i = 0; i < m->n_dropped; i++) os_drop_cache(&m->file, m->dropped[i], m->read_bytes);
    m->n_dropped = 0;
}

static ErrCode read_into(Measuring *m, uint64_t offset, uint64_t buffer, Err *err) {
    remember_to_drop(m, offset);
    DiskRead read = {.need = m->read_bytes, .bytes = m->read_bytes, .offset = offset, .dst = m->memory + buffer * m->read_bytes,
                     .tag = buffer};
    return disk_submit(m->disk, &read, 1, err);
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

typedef struct Slice {
    uint64_t start_ns, ns, bytes;  /* limits; 0: none */
    uint64_t submitted, landed_ns; /* bytes, and when the last of them arrived */
    ErrCode code;
} Slice;

static bool ends(const Measuring *m, const Slice *s) {
    return s->code || m->used_up || (s->bytes && s->submitted >= s->bytes) || (s->ns && os_now_ns() - s->start_ns >= s->ns);
}

static void start_read(Measuring *m, Slice *s, uint64_t buffer, Err *err) {
    uint64_t offset;
    if (ends(m, s) || !draw_cold(m, &offset)) return;
    s->code = read_into(m, offset, buffer, err);
    if (!s->code) s->submitted += m->read_bytes;
}

ErrCode measuring_slice(Measuring *m, uint64_t ns, uint64_t bytes, DiskRate *rate, Err *err) {
    Slice s = {.start_ns = os_now_ns(), .ns = ns, .bytes = bytes};
    s.landed_ns = s.start_ns;
    for (int i = 0; i < m->depth; i++) start_read(m, &s, (uint64_t)i, err);
    while (disk_in_flight(m->disk) > 0) {
        size_t n = disk_reap(m->disk, m->done, (size_t)m->depth, true);
        s.landed_ns = os_now_ns();
        for (size_t i = 0; i < n; i++) {
            if (m->done[i].code && !s.code) {
                s.code = m->done[i].code;
                if (err) *err = m->done[i].err;
            }
            start_read(m, &s, m->done[i].tag, err);
        }
    }
    drop(m);
    if (s.code) return s.code;
    rate->bytes += s.submitted;
    rate->reads += s.submitted / m->read_bytes;
    rate->ns += s.landed_ns - s.start_ns;
    return ERR_OK;
}

static int by_size(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

ErrCode measuring_alone(Measuring *m, uint64_t ns, int n, double *read_s, Err *err) {
    uint64_t took[MEASURE_ALONE] = {0}, start = os_now_ns();
    size_t count = 0;
    while (count < (size_t)n && count < MEASURE_ALONE && (count < 3 || os_now_ns() - start < ns)) {
        uint64_t offset;
        if (!draw_cold(m, &offset)) break;
        uint64_t before = os_now_ns();
        ErrCode code = read_into(m, offset, 0, err);
        if (code) return code;
        (void)disk_reap(m->disk, m->done, 1, true);
        took[count++] = os_now_ns() - before;
        if (m->done[0].code) {
            if (err) *err = m->done[0].err;
            return m->done[0].code;
        }
    }
    drop(m);
    qsort(took, count, sizeof *took, by_size);
    size_t half = count / 2;
    *read_s = count ? (double)took[half] * 1e-9 : 0;
    return ERR_OK;
}

/* ---- the whole ----------------------------------------------------------------------------------------------------- */

/* Nothing could be read: the reason, and what to do. */
static ErrCode nothing_left(const Measuring *m, Err *err) {
    if (m->warm_reads)
        return err_set(err, ERR_STATE, "%s: cannot be measured: %" PRIu64 " places of it stayed in the page cache; another program holds "
                       "them, or they are still being written: run sync and try again, or use direct reads", m->path, m->warm_reads);
    return err_set(err, ERR_STATE, "%s: cannot be measured: no place of %u bytes is left in it that was not read before; take a larger "
                   "file", m->path, m->read_bytes);
}

ErrCode disk_measure(const DiskMeasure *how, DiskRate *out, Err *err) {
    memset(out, 0, sizeof *out);
    Measuring m;
    ErrCode code = measuring_open(&m, how, NULL, err);
    /* a fifth of the time for single reads, which say how long a step waits for one miss */
    uint64_t ns = how->seconds > 0 ? (uint64_t)(how->seconds * 1e9) : 0;
    if (!code) code = measuring_slice(&m, ns - ns / 5, how->bytes, out, err);
    if (!code && out->reads == 0) code = nothing_left(&m, err);
    if (!code) code = measuring_alone(&m, ns ? ns / 5 : UINT64_MAX, ns ? MEASURE_ALONE : 9, &out->read_s, err);
    if (!code) out->bytes_per_s = (double)out->bytes / ((double)out->ns * 1e-9);
    out->read_bytes = m.read_bytes;
    out->depth = m.depth;
    out->direct = m.direct;
    out->warm_reads = m.warm_reads;
    out->used_up = m.used_up;
    measuring_close(&m);
    return code;
}
