/* `--io auto` and `--direct auto`: which way of reading is the fastest here? Measured, not believed.
 *
 * Up to four ways are candidates. Each reads for a moment, in turns and in both orders, so that a drive that is busy with something
 * else treats all alike; the median of the turns counts. What is within the noise of the fastest is as good, and then the earlier
 * in the table below is taken: direct reads leave the memory of the page cache to others, io_uring costs less of the CPU.
 */
#define _POSIX_C_SOURCE 200809L
#include "disk/backend.h"
#include "disk/remember.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N_WAYS = 4, ROUNDS = 4, DEPTH_MOST = 16, READ_BYTES_LEAST = 64 * 1024, READ_BYTES_MOST = 2 << 20 };
static const uint64_t worth_measuring = UINT64_C(64) << 20, memory_default = UINT64_C(16) << 20, time_ns = UINT64_C(900000000);
static const double noise = 0.05;

typedef struct Way {
    DiskBackend backend;
    bool direct;
    const char *name;
} Way;

/* In order of preference. The names are those of the file in the state folder, too. */
static const Way ways[N_WAYS] = {
    {DISK_URING, true, "uring direct"},
    {DISK_THREADS, true, "threads direct"},
    {DISK_URING, false, "uring buffered"},
    {DISK_THREADS, false, "threads buffered"},
};

typedef struct Choosing {
    const DiskChoose *how;
    bool possible[N_WAYS];
    double rates[N_WAYS]; /* bytes per second; 0: not measured */
    Err causes[N_WAYS];   /* why one dropped out while it was measured */
    uint32_t read_bytes;
    int depth;
} Choosing;

/* ---- candidates ---------------------------------------------------------------------------------------------------- */

/* The kernel may have refused io_uring since the last time, and a file may have moved to where nothing is direct. */
static void find_candidates(Choosing *c) {
    const DiskChoose *how = c->how;
    bool uring = how->any_backend || how->backend == DISK_URING, direct = how->direct != DISK_DIRECT_OFF;
    if (how->any_backend) {
        Err err = {0};
        Disk *d = disk_new(&(DiskConfig){.backend = DISK_URING, .depth = 1}, &err);
        if (!d) log_note("%s", err.text);
        uring = d != NULL;
        disk_free(d);
    }
    if (direct) {
        OsFile f = {.fd = -1};
        uint32_t alignment;
        char cause[DIRECT_CAUSE_BYTES];
        direct = direct_open(how->path, &f, &alignment, cause);
        os_close(&f); /* the disk that will read the file says the cause */
    }
    for (int i = 0; i < N_WAYS; i++) {
        bool backend = how->any_backend || ways[i].backend == how->backend;
        bool mode = ways[i].direct ? how->direct != DISK_DIRECT_OFF : how->direct != DISK_DIRECT_ON;
        c->possible[i] = backend && mode && (uring || ways[i].backend != DISK_URING) && (direct || !ways[i].direct);
    }
}

static int count_possible(const Choosing *c) {
    int n = 0;
    for (int i = 0; i < N_WAYS; i++) n += c->possible[i];
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
    for (int i = 0; i < N_WAYS; i++) {
        if (!c->causes[i].code) continue;
        log_note("%s: cannot be compared: %s", all ? "reads" : ways[i].name, c->causes[i].text);
        if (!all) continue;
        snprintf(out->why, sizeof out->why, "not measured: %.*s", (int)sizeof out->why - 20, c->causes[i].text);
        break;
    }
}

static void measure_rounds(Choosing *c, DiskProbe *probes[N_WAYS], uint64_t most_bytes) {
    double turns[N_WAYS][ROUNDS];
    int n_turns[N_WAYS] = {0};
    uint64_t start = os_now_ns();
    DiskProbeRun run = {.read_bytes = c->read_bytes, .seconds = (double)time_ns * 1e-9 / (ROUNDS * count_possible(c)), .bytes = most_bytes};
    for (int round = 0; round < ROUNDS && os_now_ns() - start < time_ns; round++) {
        for (int k = 0; k < N_WAYS; k++) {
            int i = round % 2 ? N_WAYS - 1 - k : k;
            if (!c->possible[i]) continue;
            DiskRate rate;
            Err err = {0};
            ErrCode code = disk_probe_run(probes[i], &run, &rate, &err);
            if (!code) turns[i][n_turns[i]++] = rate.bytes_per_s;
            else if (code != ERR_STATE || n_turns[i] == 0) give_up(c, i, &err); /* ERR_STATE: the file is used up */
        }
    }
    for (int i = 0; i < N_WAYS; i++) {
        if (!c->possible[i] || n_turns[i] == 0) continue;
        qsort(turns[i], (size_t)n_turns[i], sizeof turns[i][0], by_size);
        c->rates[i] = (turns[i][n_turns[i] / 2] + turns[i][(n_turns[i] - 1) / 2]) / 2;
    }
}

/* All candidates are opened before any is measured, and read into the same memory. */
static void measure(Choosing *c) {
    DiskProbe *probes[N_WAYS] = {NULL};
    uint64_t memory_bytes = (uint64_t)c->depth * align_up(c->read_bytes, UINT64_C(64) << 10);
    Err err = {0};
    char *memory = os_pages_new(memory_bytes, &err);
    if (memory) memset(memory, 1, (size_t)memory_bytes);
    for (int i = 0; i < N_WAYS; i++) {
        if (c->possible[i] && !memory) give_up(c, i, &err);
        if (!c->possible[i]) continue;
        DiskProbeConfig config = {.paths = &c->how->path, .n_paths = 1, .backend = ways[i].backend, .depth = c->depth, .memory = memory,
                                  .memory_bytes = memory_bytes, .direct = ways[i].direct ? DISK_DIRECT_ON : DISK_DIRECT_OFF};
        probes[i] = disk_probe_new(&config, &err);
        if (!probes[i]) give_up(c, i, &err);
    }
    uint64_t file_bytes = 0, share = (uint64_t)2 * ROUNDS * N_WAYS; /* a small file must last for all turns */
    OsFile f;
    if (count_possible(c) > 0 && os_open(&f, c->how->path, false, NULL) == ERR_OK) {
        file_bytes = f.size;
        os_close(&f);
    }
    if (count_possible(c) > 0) measure_rounds(c, probes, file_bytes / share > c->read_bytes ? file_bytes / share : c->read_bytes);
    for (int i = 0; i < N_WAYS; i++) disk_probe_free(probes[i]);
    os_pages_free(memory, memory_bytes);
}

/* ---- the choice ---------------------------------------------------------------------------------------------------- */

static int best_of(const Choosing *c) {
    double most = 0;
    for (int i = 0; i < N_WAYS; i++)
        if (c->possible[i] && c->rates[i] > most) most = c->rates[i];
    for (int i = 0; i < N_WAYS; i++)
        if (c->possible[i] && c->rates[i] > 0 && c->rates[i] >= (1 - noise) * most) return i;
    return -1;
}

static void list_rates(const Choosing *c, char *out, size_t size) {
    size_t at = 0;
    for (int i = 0; i < N_WAYS; i++) {
        if (!c->possible[i] || c->rates[i] <= 0 || at >= size) continue;
        int n = snprintf(out + at, size - at, "%s%s %.2f GB/s", at ? ", " : "", ways[i].name, c->rates[i] * 1e-9);
        at += n > 0 ? (size_t)n : 0;
    }
}

static bool all_known(const Choosing *c) {
    for (int i = 0; i < N_WAYS; i++)
        if (c->possible[i] && c->rates[i] <= 0) return false;
    return true;
}

/* Rates of the same ways, measured some days ago: *when; or now: 0. */
static void find_rates(Choosing *c, int64_t *when, bool *kept) {
    char key[REMEMBER_KEY_BYTES];
    const char *names[N_WAYS], *state_dir = c->how->state_dir;
    for (int i = 0; i < N_WAYS; i++) names[i] = ways[i].name;
    if (!remember_key(c->how->path, c->read_bytes, key)) state_dir = NULL;
    bool known = state_dir && remember_get(state_dir, key, names, N_WAYS, c->rates, when);
    if (known && all_known(c)) return;
    *when = 0;
    memset(c->rates, 0, sizeof c->rates);
    measure(c);
    *kept = best_of(c) >= 0 && remember_put(state_dir, key, names, N_WAYS, c->rates);
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
    bool mapped = !how->any_backend && how->backend == DISK_MMAP; /* always through the page cache */
    if (mapped || (!how->any_backend && how->direct != DISK_DIRECT_AUTO)) {
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
    find_candidates(&c);
    int64_t when = 0;
    bool kept = false;
    find_rates(&c, &when, &kept);
    int best = best_of(&c);
    say_who_dropped_out(&c, out);
    if (best < 0) return; /* threads, which need nothing */
    out->backend = ways[best].backend;
    if (!ways[best].direct) out->direct = DISK_DIRECT_OFF;
    out->bytes_per_s = c.rates[best];
    out->fresh = when == 0;
    list_rates(&c, text, sizeof text);
    time_t time_measured = (time_t)when;
    struct tm tm;
    if (when && gmtime_r(&time_measured, &tm)) (void)strftime(day, sizeof day, " on %Y-%m-%d", &tm);
    snprintf(out->why, sizeof out->why, "measured%s: %s", day, text);
    if (when) log_debug("reads: %s, %s", ways[best].name, out->why);
    else log_note("reads: %s; %s%s", ways[best].name, out->why, kept ? "; remembered for 30 days" : "");
}
