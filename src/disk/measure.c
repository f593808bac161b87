/* How fast files can be read, honestly: every place once, and nothing that a cache can answer. */
#include "disk/backend.h"
#include "disk/places.h"

#include <inttypes.h>
#include <string.h>

enum {
    READ_BYTES_MAX = 64 << 20,
    DEPTH_MAX = 64,
    WARM_MOST = 256, /* places in a row that stay in the page cache: then the rest will not be better */
};

typedef struct Place {
    uint32_t file;
    uint64_t offset;
} Place;

struct DiskProbe {
    DiskProbeConfig config;
    Disk *disk;
    OsFile *files;    /* [n_paths] for the questions about the page cache */
    Places **places;  /* [n_paths] */
    uint32_t n_files; /* of them that are open */
    uint32_t turn, alignment;
    char *memory;     /* [config.memory_bytes] */
    DiskInfo info;
    uint64_t warm_in_a_row;
    Place *dropped;   /* [n_dropped] buffered reads, to take them out of the page cache again */
    size_t n_dropped, cap_dropped;
};

/* ---- opening ------------------------------------------------------------------------------------------------------- */

static ErrCode open_disk(DiskProbe *p, DiskDirect direct, Err *err) {
    const DiskProbeConfig *c = &p->config;
    DiskConfig config = {.backend = c->backend, .direct = direct, .depth = c->depth, .retries = -1, .faults = c->faults};
    p->disk = disk_new(&config, err);
    if (!p->disk) return err->code;
    p->alignment = 4096;
    for (uint32_t i = 0; i < c->n_paths; i++) {
        uint32_t id;
        ErrCode code = disk_add_file(p->disk, c->paths[i], &id, err);
        if (code) return code;
        if (disk_alignment(p->disk, id) > p->alignment) p->alignment = disk_alignment(p->disk, id);
    }
    disk_info(p->disk, &p->info);
    return ERR_OK;
}

/* AUTO is decided here, without a note: whoever measures says what was measured. */
static ErrCode open_either_way(DiskProbe *p, Err *err) {
    bool can_choose = p->config.direct == DISK_DIRECT_AUTO && !backend_is_buffered(p->config.backend);
    ErrCode code = open_disk(p, can_choose ? DISK_DIRECT_ON : p->config.direct, err);
    if (code != ERR_UNSUPPORTED || !can_choose) return code;
    disk_free(p->disk);
    memset(err, 0, sizeof *err);
    return open_disk(p, DISK_DIRECT_OFF, err);
}

static ErrCode open_files(DiskProbe *p, Err *err) {
    const DiskProbeConfig *c = &p->config;
    p->files = MEM_NEW(OsFile, c->n_paths);
    p->places = MEM_NEW(Places *, c->n_paths);
    if (!p->files || !p->places) return err_no_memory(err, c->n_paths * (sizeof *p->files + sizeof *p->places), "measuring a disk");
    for (uint32_t i = 0; i < c->n_paths; i++) {
        ErrCode code = os_open(&p->files[i], c->paths[i], false, err);
        if (code) return code;
        p->n_files++;
        uint64_t cached;
        if (!p->info.direct && !c->again && !os_cached(&p->files[i], 0, 1, &cached))
            return err_set(err, ERR_UNSUPPORTED, "%s: reads through the page cache cannot be measured: the kernel tells only the owner of "
                           "a file what of it is in memory", c->paths[i]);
        p->places[i] = disk_places_of(&p->files[i], err);
        if (!p->places[i]) return err->code;
    }
    return ERR_OK;
}

DiskProbe *disk_probe_new(const DiskProbeConfig *config, Err *err) {
    Err unused;
    if (!err) err = &unused;
    memset(err, 0, sizeof *err);
    DiskProbe *p = MEM_NEW(DiskProbe, 1);
    if (!p) {
        err_no_memory(err, sizeof *p, "measuring a disk");
        return NULL;
    }
    p->config = *config;
    p->memory = config->memory;
    ErrCode code = open_either_way(p, err);
    if (!code) code = open_files(p, err);
    if (!code && !p->memory) {
        p->memory = os_pages_new(config->memory_bytes, err);
        if (p->memory) memset(p->memory, 1, (size_t)config->memory_bytes); /* pages are made now, not under the clock */
        else code = err->code;
    }
    if (!code) return p;
    disk_probe_free(p);
    return NULL;
}

void disk_probe_free(DiskProbe *p) {
    if (!p) return;
    disk_free(p->disk); /* first: waits for what is in flight */
    if (!p->config.memory) os_pages_free(p->memory, p->config.memory_bytes);
    for (uint32_t i = 0; i < p->n_files; i++) os_close(&p->files[i]);
    mem_free(p->files);
    mem_free(p->places);
    mem_free(p->dropped);
    mem_free(p);
}

void disk_probe_info(const DiskProbe *p, DiskInfo *info) { disk_info(p->disk, info); }

/* ---- places -------------------------------------------------------------------------------------------------------- */

/* The files take turns; false: none has a place left. */
static bool draw(DiskProbe *p, uint32_t bytes, Place *place) {
    for (uint32_t tries = 0; tries < p->n_files; tries++) {
        place->file = p->turn++ % p->n_files;
        if (disk_places_draw(p->places[place->file], bytes, &place->offset)) return true;
    }
    return false;
}

static bool is_cold(const DiskProbe *p, const Place *place, uint32_t bytes) {
    if (p->info.direct) return true;
    const OsFile *f = &p->files[place->file];
    uint64_t cached;
    os_drop_cache(f, place->offset, bytes);
    return os_cached(f, place->offset, bytes, &cached) && cached == 0;
}

/* A place that no cache of this system can answer; or, with `again`, any where there is none. */
static bool draw_cold(DiskProbe *p, DiskRate *rate, Place *place) {
    for (;;) {
        if (!draw(p, rate->read_bytes, place)) {
            for (uint32_t i = 0; p->config.again && i < p->n_files; i++) disk_places_forget(p->places[i]);
            if (!p->config.again || !draw(p, rate->read_bytes, place)) break;
            rate->cached = true;
        }
        if (is_cold(p, place, rate->read_bytes)) {
            p->warm_in_a_row = 0;
            return true;
        }
        rate->warm_reads++;
        if (++p->warm_in_a_row < WARM_MOST) continue;
        if (!p->config.again) break;
        rate->cached = true;
        return true;
    }
    rate->used_up = true;
    return false;
}

/* What was read through the page cache has pushed out what others had there; at least it does not stay. */
static void remember_to_drop(DiskProbe *p, const Place *place) {
    if (p->info.direct) return;
    if (p->n_dropped == p->cap_dropped) {
        size_t cap = p->cap_dropped ? 2 * p->cap_dropped : 256;
        Place *grown = mem_resize(p->dropped, cap, sizeof *grown);
        if (!grown) return;
        p->dropped = grown;
        p->cap_dropped = cap;
    }
    p->dropped[p->n_dropped++] = *place;
}

static void drop(DiskProbe *p, uint32_t bytes) {
    for (size_t i = 0; i < p->n_dropped; i++) os_drop_cache(&p->files[p->dropped[i].file], p->dropped[i].offset, bytes);
    p->n_dropped = 0;
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

/* One run, while it runs. */
typedef struct Tally {
    uint64_t sent_ns[DEPTH_MAX]; /* [depth] */
    uint64_t sent_bytes, most_bytes;
    uint64_t start_ns, first_ns, last_ns; /* first_ns: 0 until something has arrived */
    uint64_t later_bytes, latency_ns;     /* bytes that came after the first arrival */
} Tally;

static ErrCode start_read(DiskProbe *p, Tally *t, uint64_t buffer, DiskRate *rate, Err *err) {
    Place place;
    if ((t->most_bytes && t->sent_bytes >= t->most_bytes) || rate->used_up || !draw_cold(p, rate, &place)) return ERR_OK;
    remember_to_drop(p, &place);
    DiskRead read = {.file = place.file, .offset = place.offset, .need = rate->read_bytes, .bytes = rate->read_bytes,
                     .dst = p->memory + buffer * rate->read_bytes, .tag = buffer};
    t->sent_bytes += rate->read_bytes;
    t->sent_ns[buffer] = os_now_ns();
    return disk_submit(p->disk, &read, 1, err);
}

/* The clock runs from the first arrival: what was sent together at the start arrives in its own time. */
static void count_arrival(Tally *t, const DiskDone *done, DiskRate *rate) {
    uint64_t now = os_now_ns();
    if (!t->first_ns) t->first_ns = now;
    else t->later_bytes += rate->read_bytes;
    t->last_ns = now;
    t->latency_ns += now - t->sent_ns[done->tag];
    rate->bytes += rate->read_bytes;
    rate->reads++;
}

/* A slow disk must not take all day, and a fast one must tell something. */
static bool goes_on(const Tally *t, const DiskRate *rate, uint64_t ns) {
    uint64_t took = os_now_ns() - t->start_ns;
    return took < ns || (rate->reads < 4 * (uint64_t)rate->depth && (ns == 0 || took < 2 * ns || rate->reads < 2));
}

static ErrCode read_all(DiskProbe *p, Tally *t, uint64_t ns, DiskRate *rate, Err *err) {
    ErrCode code = ERR_OK;
    for (int i = 0; i < rate->depth && !code; i++) code = start_read(p, t, (uint64_t)i, rate, err);
    while (!code && disk_in_flight(p->disk) > 0 && goes_on(t, rate, ns)) {
        DiskDone done;
        if (disk_reap(p->disk, &done, 1, true) == 0) return err_set(err, ERR_STATE, "the disk lost a read");
        if (done.code) {
            if (err) *err = done.err;
            return done.code;
        }
        count_arrival(t, &done, rate);
        code = start_read(p, t, done.tag, rate, err);
    }
    return code;
}

/* Nothing could be read: the reason, and what to do. */
static ErrCode nothing_left(const DiskProbe *p, const DiskRate *rate, Err *err) {
    if (rate->warm_reads)
        return err_set(err, ERR_STATE, "%s: cannot be measured: %" PRIu64 " places of it stayed in the page cache; another program holds "
                       "them, or they are still being written: run sync and try again, or use direct reads", p->config.paths[0],
                       rate->warm_reads);
    return err_set(err, ERR_STATE, "%s: cannot be measured: no place of %u bytes is left in it that was not read before; take a larger "
                   "file", p->config.paths[0], rate->read_bytes);
}

static ErrCode check(const DiskProbe *p, const DiskProbeRun *run, DiskRate *out, Err *err) {
    bool fits = false;
    out->read_bytes = (uint32_t)align_up(run->read_bytes ? run->read_bytes : 1, p->alignment);
    if (run->read_bytes > READ_BYTES_MAX || out->read_bytes > p->config.memory_bytes)
        return err_set(err, ERR_RANGE, "reads of %u bytes are more than the probe's memory", run->read_bytes);
    for (uint32_t i = 0; i < p->n_files; i++) fits = fits || disk_places_hold(p->places[i], out->read_bytes);
    if (!fits)
        return err_set(err, ERR_RANGE, "%s: too small to measure reads of %u bytes; take a larger file",
                       p->n_files ? p->config.paths[0] : "no file", out->read_bytes);
    uint64_t room = p->config.memory_bytes / out->read_bytes, asked = (uint64_t)(run->depth > 0 ? run->depth : p->info.depth);
    if (asked > DEPTH_MAX) asked = DEPTH_MAX;
    out->depth = (int)(asked < room ? asked : room);
    return ERR_OK;
}

ErrCode disk_probe_run(DiskProbe *p, const DiskProbeRun *run, DiskRate *out, Err *err) {
    memset(out, 0, sizeof *out);
    ErrCode code = check(p, run, out, err);
    if (code) return code;
    Tally t = {.most_bytes = run->bytes, .start_ns = os_now_ns()};
    code = read_all(p, &t, run->seconds > 0 ? (uint64_t)(run->seconds * 1e9) : 0, out, err);
    DiskDone rest;
    while (disk_in_flight(p->disk) > 0 && disk_reap(p->disk, &rest, 1, true) > 0) continue; /* the depth falls: not counted */
    drop(p, out->read_bytes);
    if (code) return code;
    if (out->reads == 0) return nothing_left(p, out, err);
    out->read_s = (double)t.latency_ns * 1e-9 / (double)out->reads;
    if (out->reads <= (uint64_t)out->depth || t.last_ns <= t.first_ns) /* too few to see a steady state */
        out->bytes_per_s = (double)out->bytes / ((double)(t.last_ns - t.start_ns) * 1e-9);
    else
        out->bytes_per_s = (double)t.later_bytes / ((double)(t.last_ns - t.first_ns) * 1e-9);
    return ERR_OK;
}
