/* `--io auto` and `--direct auto`: which way of reading is the fastest here? Measured, not believed.
 *
 * Each backend that may be chosen is a candidate twice. Each reads for a moment, in turns and in both orders, so that a drive that is
 * busy with something else treats all alike; the median of the turns counts. What is within the noise of the fastest is as good, and then
 * the earlier in the list below is taken: direct reads leave the memory of the page cache to others, io_uring costs less of the CPU.
 */
#define _POSIX_C_SOURCE 200809L
#include "disk/backend.h"
#include "disk/remember.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WAYS_MOST = 2 * DISK_BACKENDS, ROUNDS = 4, DEPTH_MOST = 16, READ_BYTES_LEAST = 64 * 1024, READ_BYTES_MOST = 2 << 20 };
static const uint64_t worth_measuring = UINT64_C(64) << 20, memory_default = UINT64_C(16) << 20, time_ns = UINT64_C(900000000);
static const double noise = 0.05;

typedef struct Way {
    DiskBackend backend;
    bool direct;
    char name[32]; /* "uring direct": in the file of the state folder, too */
} Way;

typedef struct Choosing {
    const DiskChoose *how;
    Way ways[WAYS_MOST]; /* [n_ways] in order of preference */
    int n_ways;
    bool possible[WAYS_MOST];
    double rates[WAYS_MOST]; /* bytes per second; 0: not measured */
    Err causes[WAYS_MOST];   /* why one dropped out while it was measured */
    uint32_t read_bytes;
    int depth;
} Choosing;

static void list_ways(Choosing *c) {
    for (int direct = 1; direct >= 0; direct--)
        for (int b = DISK_BACKENDS - 1; b >= 0; b--) {
            const Backend *backend = disk_backend_of((DiskBackend)b);
            if (!backend->is_choosable || (direct && backend->buffered_only)) continue;
            Way *way = &c->ways[c->n_ways++];
            *way = (Way){.backend = (DiskBackend)b, .direct = direct};
            snprintf(way->name, sizeof way->name, "%s %s", backend->name, direct ? "direct" : "buffered");
        }
}

/* ---- candidates ---------------------------------------------------------------------------------------------------- */

/* The kernel may refuse a backend, and may have begun to since the last time. */
static bool can_start(DiskBackend backend) {
    Err err = {0};
    Disk *d = disk_new(&(DiskConfig){.backend = backend, .depth = 1}, &err);
    bool started = d != NULL;
    if (!started) log_note("%s", err.text);
    disk_free(d);
    return started;
}

static void find_candidates(Choosing *c) {
    const DiskChoose *how = c->how;
    bool usable[DISK_BACKENDS] = {false}, direct = how->direct != DISK_DIRECT_OFF;
    for (int i = 0; i < DISK_BACKENDS; i++) {
        DiskBackend b = (DiskBackend)i;
        usable[i] = how->any_backend ? disk_backend_of(b)->is_choosable && can_start(b) : b == how->backend;
    }
    if (direct) { /* a file may have moved to where nothing is */
        OsFile f = {.fd = -1};
        uint32_t alignment;
        char cause[DIRECT_CAUSE_BYTES];
        direct = disk_direct_open(how->path, &f, &alignment, cause);
        os_close(&f); /* the disk that will read the file says the cause */
    }
    for (int i = 0; i < c->n_ways; i++) {
        bool mode = c->ways[i].direct ? direct : how->direct != DISK_DIRECT_ON;
        c->possible[i] = usable[c->ways[i].backend] && mode;
    }
}

static int count_possible(const Choosing *c) {
    int n = 0;
    for (int i = 0; i < c->n_ways; i++) n += c->possible[i];
    return n;
}

/* ---- measuring ----------------------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void give_up(Choosing *c, int i, const Err *err) {
    c->possible[i] = false;
    c->rates[i] = 0;
    c->causes[i] = *err;
}

/* One sentence per way that dropped out; where all did, the first cause will do. */
static void say_who_dropped_out(const Choosing *c, DiskChoice *out) {
    bool all = count_possible(c) == 0;
    for (int i = 0; i < c->n_ways; i++) {
        if (!c->causes[i].code) continue;
        log_note("%s: cannot be compared: %s", all ? "reads" : c->ways[i].name, c->causes[i].text);
        if (!all) continue;
        snprintf(out->why, sizeof out->why, "not measured: %.*s", (int)sizeof out->why - 20, c->causes[i].text);
        break;
    }
}

static void measure_rounds(Choosing *c, DiskProbe *probes[WAYS_MOST], uint64_t most_bytes) {
    double turns[WAYS_MOST][ROUNDS];
    int n_turns[WAYS_MOST] = {0};
    uint64_t start = os_now_ns();
    DiskProbeRun run = {.read_bytes = c->read_bytes, .seconds = (double)time_ns * 1e-9 / (ROUNDS * count_possible(c)), .bytes = most_bytes};
    for (int round = 0; round < ROUNDS && os_now_ns() - start < time_ns; round++) {
        for (int k = 0; k < c->n_ways; k++) {
            int i = round % 2 ? c->n_ways - 1 - k : k;
            if (!c->possible[i]) continue;
            DiskRate rate;
            Err err = {0};
            ErrCode code = disk_probe_run(probes[i], &run, &rate, &err);
            if (!code) turns[i][n_turns[i]++] = rate.bytes_per_s;
            else if (code != ERR_STATE || n_turns[i] == 0) give_up(c, i, &err); /* ERR_STATE: the file is used up */
        }
    }
    for (int i = 0; i < c->n_ways; i++) {
        if (!c->possible[i] || n_turns[i] == 0) continue;
        qsort(turns[i], (size_t)n_turns[i], sizeof turns[i][0], by_size);
        c->rates[i] = (turns[i][n_turns[i] / 2] + turns[i][(n_turns[i] - 1) / 2]) / 2;
    }
}

/* All candidates are opened before any is measured, and read into the same memory. */
static void measure(Choosing *c) {
    DiskProbe *probes[WAYS_MOST] = {NULL};
    uint64_t memory_bytes = (uint64_t)c->depth * align_up(c->read_bytes, UINT64_C(64) << 10);
    Err err = {0};
    char *memory = os_pages_new(memory_bytes, &err);
    if (memory) memset(memory, 1, (size_t)memory_bytes);
    for (int i = 0; i < c->n_ways; i++) {
        if (c->possible[i] && !memory) give_up(c, i, &err);
        if (!c->possible[i]) continue;
        DiskProbeConfig config = {.paths = &c->how->path, .n_paths = 1, .backend = c->ways[i].backend, .depth = c->depth, .memory = memory,
                                  .memory_bytes = memory_bytes, .direct = c->ways[i].direct ? DISK_DIRECT_ON : DISK_DIRECT_OFF};
        probes[i] = disk_probe_new(&config, &err);
        if (!probes[i]) give_up(c, i, &err);
    }
    uint64_t file_bytes = 0, share = (uint64_t)2 * ROUNDS * (uint64_t)c->n_ways; /* a small file must last for all turns */
    OsFile f;
    if (count_possible(c) > 0 && os_open(&f, c->how->path, false, NULL) == ERR_OK) {
        file_bytes = f.size;
        os_close(&f);
    }
    if (count_possible(c) > 0) measure_rounds(c, probes, file_bytes / share > c->read_bytes ? file_bytes / share : c->read_bytes);
    for (int i = 0; i < c->n_ways; i++) disk_probe_free(probes[i]);
    os_pages_free(memory, memory_bytes);
}

/* ---- the choice ---------------------------------------------------------------------------------------------------- */

static int best_of(const Choosing *c) {
    double most = 0;
    for (int i = 0; i < c->n_ways; i++)
        if (c->possible[i] && c->rates[i] > most) most = c->rates[i];
    for (int i = 0; i < c->n_ways; i++)
        if (c->possible[i] && c->rates[i] > 0 && c->rates[i] >= (1 - noise) * most) return i;
    return -1;
}

static void list_rates(const Choosing *c, char *out, size_t size) {
    size_t at = 0;
    for (int i = 0; i < c->n_ways; i++) {
        if (!c->possible[i] || c->rates[i] <= 0 || at >= size) continue;
        int n = snprintf(out + at, size - at, "%s%s %.2f GB/s", at ? ", " : "", c->ways[i].name, c->rates[i] * 1e-9);
        at += n > 0 ? (size_t)n : 0;
    }
}

static bool all_known(const Choosing *c) {
    for (int i = 0; i < c->n_ways; i++)
        if (c->possible[i] && c->rates[i] <= 0) return false;
    return true;
}

/* Rates of the same ways, measured some days ago: *when; or now: 0. */
static void find_rates(Choosing *c, int64_t *when, bool *kept) {
    char key[REMEMBER_KEY_BYTES];
    const char *names[WAYS_MOST], *state_dir = c->how->state_dir;
    for (int i = 0; i < c->n_ways; i++) names[i] = c->ways[i].name;
    if (!disk_remember_key(c->how->path, c->read_bytes, key)) state_dir = NULL;
    bool known = state_dir && disk_remember_get(state_dir, key, names, (size_t)c->n_ways, c->rates, when);
    if (known && all_known(c)) return;
    *when = 0;
    memset(c->rates, 0, sizeof c->rates);
    measure(c);
    *kept = best_of(c) >= 0 && disk_remember_put(state_dir, key, names, (size_t)c->n_ways, c->rates);
}

static void not_measured(const DiskChoose *how, DiskChoice *out, const char *why) {
    snprintf(out->why, sizeof out->why, "%s", why);
    log_debug("reads: %s%s", how->any_backend ? "by threads, " : "", why);
}

/* The depth at which all candidates are compared, and the size of the reads; false: there is no memory for it. */
static bool choose_sizes(Choosing *c) {
    uint64_t memory = c->how->memory_bytes ? c->how->memory_bytes : memory_default, bytes = READ_BYTES_LEAST;
    if (memory > memory_default) memory = memory_default;
    while (bytes < c->how->read_bytes && bytes < READ_BYTES_MOST) bytes *= 2;
    while (bytes > READ_BYTES_LEAST && memory / bytes < 4) bytes /= 2;
    c->read_bytes = (uint32_t)bytes;
    c->depth = memory / bytes < DEPTH_MOST ? (int)(memory / bytes) : DEPTH_MOST;
    return c->depth > 0;
}

void disk_choose(const DiskChoose *how, DiskChoice *out) {
    *out = (DiskChoice){.backend = how->any_backend ? DISK_THREADS : how->backend, .direct = how->direct};
    char text[160], day[32] = "", size[32];
    if (!how->any_backend && (backend_is_buffered(how->backend) || how->direct != DISK_DIRECT_AUTO)) {
        not_measured(how, out, "as asked for");
        return;
    }
    if (how->bytes < worth_measuring) {
        snprintf(text, sizeof text, "not measured: all experts together are %s", format_size(how->bytes, size));
        not_measured(how, out, text);
        return;
    }
    Choosing c = {.how = how};
    if (!choose_sizes(&c)) {
        not_measured(how, out, "not measured: the memory is too small");
        return;
    }
    list_ways(&c);
    find_candidates(&c);
    int64_t when = 0;
    bool kept = false;
    find_rates(&c, &when, &kept);
    int best = best_of(&c);
    say_who_dropped_out(&c, out);
    if (best < 0) return; /* threads, which need nothing */
    out->backend = c.ways[best].backend;
    if (!c.ways[best].direct) out->direct = DISK_DIRECT_OFF;
    out->bytes_per_s = c.rates[best];
    out->fresh = when == 0;
    list_rates(&c, text, sizeof text);
    time_t time_measured = (time_t)when;
    struct tm tm;
    if (when && gmtime_r(&time_measured, &tm)) (void)strftime(day, sizeof day, " on %Y-%m-%d", &tm);
    snprintf(out->why, sizeof out->why, "measured%s: %s", day, text);
    if (when) log_debug("reads: %s, %s", c.ways[best].name, out->why);
    else log_note("reads: %s; %s%s", c.ways[best].name, out->why, kept ? "; remembered for 30 days" : "");
}
