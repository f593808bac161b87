/* A soak of whole models: hours of decoding over bad disks with a tiny cache, every logit compared with a run that has everything
 * in memory.
 *
 * `make test` gives it 800 tokens; `make soak`, or build/tests/stream/test_soak_model TOKENS SEED, as many as you like. What a
 * round does depends on the seed alone. */
#define _GNU_SOURCE
#include "support/make_model.h"
#include "support/rig.h"
#include "support/records.h"
#include "support/support.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ARCHS = 3, TEXTS = 4, LENGTH = 96, CHUNK = 16, EXPERTS = 32, TOP_K = 8, LAYERS = 4, SESSIONS = 3 };

/* 6 hours at 3 tokens/s, 40 layers of 8 experts. */
static const double six_hours = 6.0 * 3600 * 3 * 40 * 8;

static uint64_t tokens_wanted = 800, seed = 1;

static const char *paths[ARCHS];
static int32_t texts[TEXTS][LENGTH];
static uint32_t n_texts = TEXTS;
static uint64_t truth[ARCHS][TEXTS][LENGTH]; /* hashes of the logits after each token */

typedef struct Totals {
    uint64_t rounds, tokens, wanted, hits, misses, bytes, hinted, hints_used, retries;
    uint64_t limits, failures, restores, shared, dead, stalls;
    uint64_t compared;
} Totals;
static Totals totals;

/* One text in one session, with the state to go back to after a failure. */
typedef struct Telling {
    ForwardState *state;
    int text;
    uint32_t position, saved_at;
    uint64_t rest_bytes; /* of saved, in front of keys and values */
    uint8_t *saved;
} Telling;

static uint64_t hash_logits(Forward *f, uint32_t row) {
    static float logits[MAKE_VOCAB];
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    forward_logits(f, row, 1, logits);
    for (int i = 0; i < MAKE_VOCAB; i++) {
        uint32_t u;
        memcpy(&u, &logits[i], 4);
        h = (h ^ u) * UINT64_C(0x100000001B3);
    }
    return h;
}

static void find_the_truth(void) {
    static const char *const archs[ARCHS] = {"qwen35moe", "qwen3next", "qwen3moe"};
    Random r = {99};
    for (int t = 0; t < TEXTS; t++)
        for (int i = 0; i < LENGTH; i++) texts[t][i] = (int32_t)random_below(&r, 256);
    for (int a = 0; a < ARCHS; a++) {
        MakeModel o = {.arch = archs[a], .type = "Q8_0", .seed = 31, .layers = LAYERS, .experts = EXPERTS, .top_k = TOP_K};
        char name[64];
        snprintf(name, sizeof name, "soak-%s.gguf", archs[a]);
        paths[a] = strdup(make_model(&o, name));
        RigConfig config = {.path = paths[a], .disk = clean_disk(), .slots = LAYERS * EXPERTS, .ctx = LENGTH, .chunk = CHUNK,
                            .threads = 1};
        Rig rig = rig_open(&config);
        Err err = {0};
        for (uint32_t t = 0; t < n_texts; t++) {
            forward_state_clear(rig.state);
            for (int i = 0; i < LENGTH; i++) {
                if (step_alone(rig.forward, rig.state, &texts[t][i], 1, NULL, &err)) fail_msg("%s", err.text);
                truth[a][t][i] = hash_logits(rig.forward, 0);
            }
        }
        rig_close(&rig);
    }
}

/* ---- a bad disk ---- */

static _Atomic uint64_t pauses, stalls;

static void pause_now_and_then(void *user, const DiskRead *read, uint32_t ms) {
    (void)user;
    (void)read;
    uint64_t n = pauses++;
    if (n % 500 == 499) {
        stalls++;
        usleep(30000);
    } else if (n % 8 == 0) {
        usleep(ms * 200);
    }
}

/* A third of the rounds on a good disk of some backend, the others on the fake; in a few of those one place is dead. */
static DiskConfig random_disk(Random *r, uint64_t file_bytes) {
    static const DiskBackend good[] = {DISK_THREADS, DISK_URING, DISK_MMAP};
    DiskConfig c = {.backend = DISK_FAKE, .depth = 1 + (int)random_below(r, 16), .retries = (int)random_below(r, 10)};
    c.direct = random_below(r, 2) ? DISK_DIRECT_AUTO : DISK_DIRECT_OFF;
    c.faults = (DiskFaults){.fail_file = -1, .seed = random_below(r, UINT32_MAX), .pause = pause_now_and_then};
    if (random_below(r, 3) == 0) c.backend = good[random_below(r, 3)];
    if (c.backend == DISK_MMAP) c.direct = DISK_DIRECT_OFF;
    c.faults.error_ppm = random_below(r, 4) * random_below(r, 10000);
    c.faults.short_ppm = random_below(r, 4) * random_below(r, 20000);
    c.faults.delay_ppm = random_below(r, 3) * random_below(r, 50000);
    c.faults.delay_ms = 1;
    if (c.retries < 2) c.faults.error_ppm /= 20, c.faults.short_ppm /= 20; /* or no step would come through */
    if (random_below(r, 8) == 0) c.faults.fail_file = 0, c.faults.fail_offset = random_below(r, (uint32_t)file_bytes);
    return c;
}

/* ---- telling ---- */

typedef struct Guess {
    Random *r;
    Store *store;
} Guess;

/* Hints after each layer: some that will be wanted, many that will not. */
static void hint(void *user, uint32_t segment, uint32_t layer, uint32_t position, uint32_t n, const float *x) {
    (void)segment, (void)position, (void)n, (void)x;
    Guess *g = user;
    int32_t experts[6];
    if (random_below(g->r, 2)) return;
    random_experts(g->r, experts, 6, EXPERTS);
    (void)store_hint(g->store, (int)(layer + 1) % LAYERS, experts, 6);
}

static uint32_t blocks_of(uint32_t positions) { return (positions + KERNELS_KEY_BLOCK - 1) / KERNELS_KEY_BLOCK; }

static void save(Telling *t) {
    t->saved_at = t->position;
    t->rest_bytes = forward_state_save_bytes(t->state);
    forward_state_save(t->state, t->saved);
    forward_state_save_keys(t->state, 0, blocks_of(t->saved_at), t->saved + t->rest_bytes);
}

static void restore(Telling *t) {
    assert_true(forward_state_restore(t->state, t->saved, t->rest_bytes, t->saved_at));
    forward_state_restore_keys(t->state, 0, blocks_of(t->saved_at), t->saved + t->rest_bytes);
    t->position = t->saved_at;
}

static void begin(Telling *t, Random *r) {
    forward_state_clear(t->state);
    t->text = (int)random_below(r, n_texts);
    t->position = 0;
    save(t);
}

/* A step under way: of whom, short segments first. */
typedef struct Together {
    Telling *who[SESSIONS];
    ForwardSegment segments[SESSIONS];
    uint32_t n, tokens;
} Together;

static void add(Together *g, Telling *t, Random *r) {
    if (t->position == LENGTH) begin(t, r);
    uint32_t n = random_below(r, 3) ? 1 : 1 + random_below(r, CHUNK), at = g->n++;
    if (n > LENGTH - t->position) n = LENGTH - t->position;
    if (n > CHUNK - g->tokens) n = CHUNK - g->tokens;
    if (n <= FORWARD_SHORT)
        for (; at > 0; at--) g->who[at] = g->who[at - 1], g->segments[at] = g->segments[at - 1];
    g->who[at] = t;
    g->segments[at] = (ForwardSegment){t->state, texts[t->text] + t->position, n};
    g->tokens += n;
}

static void compare(Rig *rig, int arch, const Telling *t, uint32_t row, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = t->position - n + i;
        if (hash_logits(rig->forward, row + i) != truth[arch][t->text][at])
            fail_msg("seed %" PRIu64 ", round %" PRIu64 ": other logits after token %u of text %d", seed, totals.rounds, at, t->text);
        totals.compared++;
    }
}

/* One step of 1 to CHUNK tokens of some of the tellings; false: it failed, as it may, and they are back at their snapshots. */
static bool advance(Rig *rig, int arch, Telling *tellings, Random *r) {
    Together g = {0};
    uint32_t some = 1 + random_below(r, (1 << SESSIONS) - 1);
    for (int i = 0; i < SESSIONS; i++)
        if (some & 1u << i && g.tokens < CHUNK) add(&g, &tellings[i], r);
    Guess guess = {r, rig->store};
    ForwardProbe probe = {.user = &guess, .hidden = hint};
    Err err = {0};
    if (forward_step(rig->forward, g.segments, g.n, NULL, &probe, &err)) {
        if (err.code != ERR_IO || !strstr(err.text, "expert")) fail_msg("no read error: %s", err.text);
        totals.failures++;
        for (uint32_t i = 0; i < g.n; i++) {
            if (step_alone(rig->forward, g.who[i]->state, texts[0], 1, NULL, &err) != ERR_STATE) fail_msg("went on from half a step");
            restore(g.who[i]);
            totals.restores++;
        }
        return false;
    }
    totals.tokens += g.tokens;
    totals.shared += g.n > 1;
    for (uint32_t i = 0, row = 0; i < g.n; row += g.segments[i++].n) {
        g.who[i]->position += g.segments[i].n;
        compare(rig, arch, g.who[i], row, g.segments[i].n);
        if (random_below(r, 6) == 0) save(g.who[i]);
    }
    return true;
}

static void count(const Rig *rig) {
    StoreStats s;
    DiskInfo d;
    store_stats(rig->store, &s);
    disk_info(rig->disk, &d);
    totals.wanted += s.wanted, totals.hits += s.hits, totals.misses += s.misses, totals.bytes += s.bytes_read;
    totals.hinted += s.hinted, totals.hints_used += s.hints_used, totals.retries += d.retries;
}

static void soak_round(Random *r, uint64_t tokens) {
    int arch = (int)random_below(r, ARCHS);
    OsFile file;
    if (os_open(&file, paths[arch], false, NULL)) fail_msg("cannot open %s", paths[arch]);
    uint32_t slots = 2 + random_below(r, 60);
    RigConfig config = {.path = paths[arch], .disk = random_disk(r, file.size), .slots = slots, .ctx = LENGTH, .chunk = CHUNK,
                        .threads = random_below(r, 8) ? 1 : 3, .policy = (CachePolicy)random_below(r, CACHE_POLICIES),
                        .lookahead = (ForwardLookahead)random_below(r, 3), .segments = SESSIONS};
    os_close(&file);
    Disk *probe = disk_new(&config.disk, NULL);
    if (!probe) config.disk.backend = DISK_THREADS; /* io_uring may be refused here */
    disk_free(probe);
    Rig rig = rig_open(&config);
    Telling tellings[SESSIONS] = {{.state = rig.state}};
    for (int i = 0; i < SESSIONS; i++) {
        if (i > 0) tellings[i].state = forward_state_new(rig.forward, NULL);
        tellings[i].saved = calloc(1, rig.state_bytes);
        begin(&tellings[i], r);
    }
    uint64_t end = totals.tokens + tokens, allocations = mem_allocation_count();
    int failed_in_a_row = 0;
    while (totals.tokens < end && failed_in_a_row < 6) {
        if (random_below(r, 10) == 0) {
            store_limit(rig.store, 1 + random_below(r, slots + 4));
            totals.limits++;
        }
        failed_in_a_row = advance(&rig, arch, tellings, r) ? 0 : failed_in_a_row + 1;
    }
    totals.dead += failed_in_a_row >= 6; /* that place of the drive does not come back: the next round has another drive */
    assert_int_equal(mem_allocation_count(), allocations);
    count(&rig);
    for (int i = 1; i < SESSIONS; i++) forward_state_free(tellings[i].state);
    for (int i = 0; i < SESSIONS; i++) free(tellings[i].saved);
    rig_close(&rig);
    totals.rounds++;
}

static void print_totals(uint64_t rss_before, uint64_t rss_after, uint64_t live, double seconds) {
    const Totals *t = &totals;
    char a[32], b[32], c[32];
    printf("\nsoak of whole models, seed %" PRIu64 "\n", seed);
    printf("  rounds       %12" PRIu64 "   in %.0f s\n", t->rounds, seconds);
    printf("  tokens       %12" PRIu64 "   %" PRIu64 " logit vectors compared, 0 wrong\n", t->tokens, t->compared);
    printf("  shared steps %12" PRIu64 "\n", t->shared);
    printf("  experts      %12" PRIu64 "   wanted; %.1f %% of 6 hours of the 35B shape at 3 tokens/s\n", t->wanted,
           100 * (double)t->wanted / six_hours);
    printf("  record reads %12" PRIu64 "   demands and hints, %s; %.1f %% of those 6 hours if each want were a read\n",
           t->misses + t->hinted, format_size(t->bytes, a), 100 * (double)(t->misses + t->hinted) / six_hours);
    printf("  hints        %12" PRIu64 "   %" PRIu64 " were wanted\n", t->hinted, t->hints_used);
    printf("  faults       %12" PRIu64 "   attempts repeated, %" PRIu64 " stalls\n", t->retries, (uint64_t)stalls);
    printf("  failures     %12" PRIu64 "   steps ended with an error, %" PRIu64 " restored, %" PRIu64 " drives given up\n", t->failures,
           t->restores, t->dead);
    printf("  limits       %12" PRIu64 "   of the cache changed\n", t->limits);
    printf("  memory       %12s   resident after the first rounds, %s at the end, %s; %" PRIu64 " allocations left behind\n",
           format_size(rss_before, a), format_size(rss_after, b),
           rss_after > rss_before ? format_size(rss_after - rss_before, c) : "no growth", live);
}

static void soak(void **state) {
    (void)state;
    find_the_truth();
    Random r = {seed};
    uint64_t live = mem_live_count(), start = os_now_ns(), rss = 0;
    while (totals.tokens < tokens_wanted || totals.rounds < 10) {
        uint64_t left = tokens_wanted > totals.tokens ? tokens_wanted - totals.tokens : 1;
        uint64_t tokens = 20 + random_below(&r, tokens_wanted < 10000 ? 200 : 2000);
        soak_round(&r, tokens < left ? tokens : left);
        if (mem_live_count() != live) fail_msg("round %" PRIu64 " left allocations behind", totals.rounds);
        if (totals.rounds == 10) rss = os_rss_now();
    }
    uint64_t now = os_rss_now();
    print_totals(rss, now, mem_live_count() - live, (double)(os_now_ns() - start) * 1e-9);
    assert_true(totals.hinted > 0 && totals.retries > 0 && totals.limits > 0 && totals.misses > 0);
    if (tokens_wanted > 10000) assert_true(totals.failures > 0 && totals.dead > 0);
    if (!under_sanitizer()) assert_true(now < rss + (UINT64_C(8) << 20)); /* the allocator's slack, nothing that grows */
    for (int a = 0; a < ARCHS; a++) free((void *)(uintptr_t)paths[a]);
}

int main(int argc, char **argv) {
    if (under_sanitizer()) n_texts = 1; /* most of a short run is the truth about the texts */
    if (argc > 1) tokens_wanted = strtoull(argv[1], NULL, 10);
    if (argc > 2) seed = strtoull(argv[2], NULL, 10);
    const struct CMUnitTest tests[] = {cmocka_unit_test(soak)};
    return RUN_TESTS(tests);
}
