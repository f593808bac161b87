/* Whole models on a bad disk: every run ends with the right bits or with a sentence, never with other bits. */
#define _GNU_SOURCE
#include "support/make_model.h"
#include "support/recording.h"
#include "support/rig.h"
#include "support/support.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N = 12, SLOTS = 4 };

static const int32_t ids[N] = {72, 101, 108, 108, 111, 44, 32, 119, 111, 114, 108, 100};

/* Every second disk is also read ahead, and every policy has its turn: neither may make a fault harmless or harmful. */
static Rig model_on(const char *path, const DiskConfig *disk) {
    uint64_t seed = disk->faults.seed;
    RigConfig config = {.path = path, .disk = *disk, .slots = SLOTS, .policy = (CachePolicy)(seed % CACHE_POLICIES),
                        .lookahead = seed % 2 ? FORWARD_AHEAD_ON : FORWARD_AHEAD_OFF};
    return rig_open(&config);
}

/* Half the prompt in one step, the rest token by token; logits of the last token. */
static ErrCode run(Rig *r, float *logits, Err *err) {
    forward_state_clear(r->state);
    ErrCode code = step_alone(r->forward, r->state, ids, N / 2, NULL, err);
    for (uint32_t i = N / 2; i < N && !code; i++) code = step_alone(r->forward, r->state, ids + i, 1, NULL, err);
    if (!code) forward_logits(r->forward, 0, 1, logits);
    return code;
}

static const char *const archs[] = {"qwen35moe", "qwen3next", "qwen3moe"};

static const char *model_of(size_t arch) {
    MakeModel o = {.arch = archs[arch], .type = "Q8_0", .seed = 5};
    char name[64];
    snprintf(name, sizeof name, "%s.gguf", archs[arch]);
    return make_model(&o, name);
}

static void retried_faults_change_nothing(void **state) {
    (void)state;
    static float truth[MAKE_VOCAB], logits[MAKE_VOCAB];
    for (size_t a = 0; a < 3; a++) {
        const char *path = model_of(a);
        DiskConfig clean = clean_disk();
        Rig r = model_on(path, &clean);
        Err err = {0};
        assert_int_equal(run(&r, truth, &err), ERR_OK);
        rig_close(&r);
        for (uint64_t seed = 1; seed <= 4; seed++) {
            DiskConfig bad = bad_disk(seed);
            r = model_on(path, &bad);
            if (run(&r, logits, &err)) fail_msg("%s", err.text);
            assert_memory_equal(truth, logits, sizeof truth);
            rig_close(&r);
        }
    }
}

static void a_dead_expert_ends_the_run_by_name(void **state) {
    (void)state;
    static float logits[MAKE_VOCAB];
    const char *path = model_of(0);
    for (int which = 0; which < STORE_PARTS; which++) {
        DiskConfig clean = clean_disk();
        Rig r = model_on(path, &clean);
        DiskRange part = model_record(r.model, 1, 3)[which];
        Err err = {0};
        rig_close(&r);
        DiskConfig dead = {.backend = DISK_FAKE, .retries = 2};
        dead.faults = (DiskFaults){.fail_file = 0, .fail_offset = part.offset + part.bytes / 2};
        r = model_on(path, &dead);
        for (int round = 0; round < 3; round++) { /* the same end every time, whatever the cache holds by now */
            err = (Err){0};
            assert_int_equal(run(&r, logits, &err), ERR_IO);
            assert_non_null(strstr(err.text, "layer 1"));
            assert_non_null(strstr(err.text, "expert 3"));
            assert_non_null(strstr(err.text, path));
            assert_int_equal(step_alone(r.forward, r.state, ids, 1, NULL, &err), ERR_STATE); /* no way on from half a step */
        }
        rig_close(&r);
    }
}

static void many_faults_give_the_right_bits_or_an_error(void **state) {
    (void)state;
    static float truth[MAKE_VOCAB], logits[MAKE_VOCAB];
    const char *path = model_of(1);
    DiskConfig clean = clean_disk();
    Rig r = model_on(path, &clean);
    Err err = {0};
    assert_int_equal(run(&r, truth, &err), ERR_OK);
    rig_close(&r);
    DiskConfig bad = bad_disk(77);
    bad.retries = 0;
    bad.faults.error_ppm = 3000;
    bad.faults.short_ppm = 3000;
    bad.faults.delay_ms = 1;
    r = model_on(path, &bad);
    int right = 0, failed = 0;
    for (int round = 0; round < 40; round++) {
        err = (Err){0};
        ErrCode code = run(&r, logits, &err);
        if (code) {
            assert_int_equal(code, ERR_IO);
            failed++;
        } else {
            assert_memory_equal(truth, logits, sizeof truth);
            right++;
        }
    }
    assert_true(right > 0 && failed > 0);
    rig_close(&r);
}

/* ---- a drive that stands still ---- */

typedef struct Stall {
    _Atomic int left; /* reads that stall */
    uint32_t ms;
} Stall;

static void stall(void *user, const DiskRead *read, uint32_t ms) {
    (void)read;
    (void)ms;
    Stall *s = user;
    if (atomic_fetch_sub(&s->left, 1) > 0) usleep(s->ms * 1000);
}

static void a_stalled_read_is_waited_for(void **state) {
    (void)state;
    static float truth[MAKE_VOCAB], logits[MAKE_VOCAB];
    const char *path = model_of(0);
    DiskConfig disk = clean_disk();
    Rig r = model_on(path, &disk);
    Err err = {0};
    assert_int_equal(run(&r, truth, &err), ERR_OK);
    rig_close(&r);
    Stall stalled = {3, 400};
    disk = (DiskConfig){.backend = DISK_FAKE, .retries = 0};
    disk.faults = (DiskFaults){.delay_ppm = 1000000, .delay_ms = 1, .pause = stall, .user = &stalled, .fail_file = -1};
    r = model_on(path, &disk);
    if (run(&r, logits, &err)) fail_msg("%s", err.text);
    assert_memory_equal(truth, logits, sizeof truth);
    StoreStats stats;
    store_stats(r.store, &stats);
    assert_true(stats.wait_ns >= UINT64_C(300000000)); /* and it shows where the time went */
    rig_close(&r);
}

static bool stop_at_once(void *user, const char *stage, uint64_t done, uint64_t total) {
    (void)done;
    (void)total;
    return strcmp(stage, user) != 0;
}

static void an_interrupt_ends_a_load(void **state) {
    (void)state;
    MakeModel made = {.arch = "qwen3moe", .seed = 3};
    sluice_options o = check_options(make_model(&made, "interrupt.gguf"));
    o.progress = stop_at_once;
    o.user = (void *)(uintptr_t) "load";
    sluice_error err;
    assert_null(sluice_open(&o, &err));
    assert_int_equal(err.code, SLUICE_INTERRUPTED);
}

typedef struct Countdown {
    int left;       /* calls until the answer is no, once; negative: never */
    uint64_t last;  /* tokens told; they must not go back within a feed */
} Countdown;

static bool count_down(void *user, const char *stage, uint64_t done, uint64_t total) {
    Countdown *c = user;
    if (strcmp(stage, "prefill") != 0) return true;
    assert_true(done >= c->last && done <= total);
    c->last = done;
    return c->left < 0 || c->left-- > 0;
}

/* Wherever a prompt is interrupted, between chunks or between the layers of one, the session holds whole chunks and goes on from there
 * to the same bits. */
static void an_interrupted_prompt_goes_on(void **state) {
    (void)state;
    enum { TOKENS = 40, CHUNK = 16 };
    MakeModel made = {.arch = "qwen35moe", .seed = 5};
    const char *path = make_model(&made, "go-on.gguf");
    static float truth[MAKE_VOCAB];
    int32_t prompt[TOKENS];
    for (int i = 0; i < TOKENS; i++) prompt[i] = (i * 7 + 3) % MAKE_VOCAB;
    int interrupted_inside = 0;
    for (int stop = -1; stop < 14; stop++) {
        Countdown count = {stop, 0};
        sluice_options o = check_options(path);
        o.chunk = CHUNK;
        o.ctx = 64;
        o.progress = count_down;
        o.user = &count;
        sluice_model *m = open_or_fail(&o);
        sluice_session *s = sluice_session_new(m, NULL);
        sluice_error err;
        int code = sluice_feed(s, prompt, TOKENS, &err);
        if (code) {
            assert_int_equal(code, SLUICE_INTERRUPTED);
            int at = sluice_position(s);
            assert_int_equal(at % CHUNK, 0);
            interrupted_inside += at > 0 && count.last > (uint64_t)at;
            count = (Countdown){-1, 0};
            if (sluice_feed(s, prompt + at, (size_t)(TOKENS - at), &err)) fail_msg("%s", err.message);
        }
        if (stop < 0) memcpy(truth, sluice_logits(s), sizeof truth);
        assert_memory_equal(truth, sluice_logits(s), sizeof truth);
        sluice_session_free(s);
        sluice_close(m);
    }
    assert_true(interrupted_inside > 0);
}

int main(void) {
    const struct CMUnitTest faults[] = {
        cmocka_unit_test(retried_faults_change_nothing),
        cmocka_unit_test(a_dead_expert_ends_the_run_by_name),
        cmocka_unit_test(many_faults_give_the_right_bits_or_an_error),
        cmocka_unit_test(a_stalled_read_is_waited_for),
        cmocka_unit_test(an_interrupt_ends_a_load),
        cmocka_unit_test(an_interrupted_prompt_goes_on),
    };
    return RUN_TESTS(faults);
}
