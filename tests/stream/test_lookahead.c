/* Looking ahead: what it guesses, when it keeps quiet, and that a guess is never more than a guess. */
#include "support/make_model.h"
#include "support/recording.h"
#include "support/rig.h"
#include "support/support.h"

#include <stdlib.h>
#include <string.h>

enum { LAYERS = 4, EXPERTS = 16, TOP_K = 3, N = 16 };

static const int32_t ids[N] = {72, 101, 108, 108, 111, 44, 32, 119, 111, 114, 108, 100, 33, 32, 65, 66};

static const char *model_path(void) {
    MakeModel o = {.type = "Q8_0", .seed = 8, .layers = LAYERS, .experts = EXPERTS, .top_k = TOP_K};
    return make_model(&o, "lookahead.gguf");
}

/* Which experts a run wanted. */
typedef struct Wanted {
    bool by[LAYERS][EXPERTS];
} Wanted;

static void on_routing(void *user, uint32_t segment, uint32_t layer, uint32_t position, uint32_t k, const int32_t *experts,
                       const float *weights) {
    Wanted *w = user;
    (void)segment;
    (void)position;
    (void)weights;
    for (uint32_t i = 0; i < k; i++) w->by[layer][experts[i]] = true;
}

/* Token by token from a fresh state; logits of the last. */
static void run(Rig *r, uint32_t n, Wanted *wanted, float *logits) {
    ForwardProbe probe = {.user = wanted, .routing = wanted ? on_routing : NULL};
    Err err = {0};
    forward_state_clear(r->state);
    for (uint32_t i = 0; i < n; i++)
        if (step_alone(r->forward, r->state, ids + i, 1, &probe, &err)) fail_msg("%s", err.text);
    forward_logits(r->forward, 0, 1, logits);
}

static Rig open_rig(uint32_t slots, ForwardLookahead lookahead) {
    RigConfig config = {.path = model_path(), .disk = clean_disk(), .slots = slots, .lookahead = lookahead};
    return rig_open(&config);
}

static void guesses_are_mostly_right_and_change_nothing(void **state) {
    (void)state;
    static float truth[MAKE_VOCAB], logits[MAKE_VOCAB];
    Rig r = open_rig(8, FORWARD_AHEAD_OFF);
    run(&r, N, NULL, truth);
    ForwardGuesses guesses;
    StoreStats stats;
    forward_guesses(r.forward, &guesses);
    store_stats(r.store, &stats);
    assert_int_equal(guesses.wanted + stats.hinted, 0);
    assert_string_equal(forward_lookahead(r.forward), "off");
    rig_close(&r);
    for (uint32_t slots = 2; slots <= 32; slots += 6) {
        r = open_rig(slots, FORWARD_AHEAD_ON);
        run(&r, N, NULL, logits);
        assert_memory_equal(truth, logits, sizeof truth);
        forward_guesses(r.forward, &guesses);
        store_stats(r.store, &stats);
        /* the first token does not know yet that there is something to read, and nothing comes after the last layer */
        assert_int_equal(guesses.wanted, (N - 1) * (LAYERS - 1) * TOP_K);
        assert_true(guesses.right > guesses.wanted / 2); /* by chance it would be 3 of 16 */
        if (slots >= 8) assert_true(stats.hinted > 0 && stats.hints_used > 0);
        assert_string_equal(forward_lookahead(r.forward), "on");
        rig_close(&r);
    }
}

/* With every expert in memory there is nothing to read ahead, and nothing is computed for it. */
static void where_nothing_is_read_nothing_is_guessed(void **state) {
    (void)state;
    static float logits[MAKE_VOCAB];
    Rig r = open_rig(LAYERS * EXPERTS, FORWARD_AHEAD_ON);
    run(&r, N, NULL, logits); /* everything wanted is read */
    ForwardGuesses before, after;
    StoreStats stats;
    forward_guesses(r.forward, &before);
    store_stats_reset(r.store);
    run(&r, N, NULL, logits);
    forward_guesses(r.forward, &after);
    store_stats(r.store, &stats);
    assert_int_equal(stats.misses + stats.hinted, 0);
    assert_true(after.wanted <= before.wanted + (LAYERS - 1) * TOP_K); /* one token, until it is known */
    rig_close(&r);
}

/* Many tokens want nearly every expert of the next layer: these are read ahead without a guess, and few in vain. */
static void a_prefill_reads_the_next_layer_ahead(void **state) {
    (void)state;
    enum { PREFILL = 32 };
    static float truth[MAKE_VOCAB], logits[MAKE_VOCAB];
    int32_t prompt[PREFILL];
    for (int i = 0; i < PREFILL; i++) prompt[i] = (i * 29 + 5) % 256;
    StoreStats stats[2];
    for (int ahead = 0; ahead < 2; ahead++) {
        RigConfig config = {.path = model_path(), .disk = clean_disk(), .slots = LAYERS * EXPERTS * 3 / 4, .chunk = PREFILL,
                            .lookahead = ahead ? FORWARD_AHEAD_ON : FORWARD_AHEAD_OFF};
        Rig r = rig_open(&config);
        Err err = {0};
        if (step_alone(r.forward, r.state, prompt, PREFILL, NULL, &err)) fail_msg("%s", err.text);
        forward_logits(r.forward, PREFILL - 1, 1, ahead ? logits : truth);
        store_stats(r.store, &stats[ahead]);
        rig_close(&r);
    }
    assert_memory_equal(truth, logits, sizeof truth);
    assert_int_equal(stats[0].hinted, 0);
    assert_true(stats[1].hinted >= EXPERTS);
    assert_true(stats[1].hints_used > stats[1].hinted * 3 / 4);
    assert_true(stats[1].bytes_read <= stats[0].bytes_read * 5 / 4);
}

/* A guess that cannot be read and that nobody wants is nobody's error. */
static void a_guess_that_cannot_be_read_is_no_error(void **state) {
    (void)state;
    enum { FEW = 4 };
    static float truth[MAKE_VOCAB], logits[MAKE_VOCAB];
    Wanted wanted = {0};
    Rig r = open_rig(LAYERS * EXPERTS / 2, FORWARD_AHEAD_OFF);
    run(&r, FEW, &wanted, truth);
    DiskRange dead[LAYERS * EXPERTS];
    int n = 0;
    for (int l = 0; l < LAYERS; l++)
        for (int e = 0; e < EXPERTS; e++)
            if (!wanted.by[l][e]) dead[n++] = *model_record(r.model, (uint32_t)l, (uint32_t)e);
    rig_close(&r);
    assert_true(n > 0);
    uint64_t failed = 0;
    for (int i = 0; i < n; i++) {
        RigConfig config = {.path = model_path(), .slots = LAYERS * EXPERTS / 2, .lookahead = FORWARD_AHEAD_ON};
        config.disk = (DiskConfig){.backend = DISK_FAKE, .direct = DISK_DIRECT_OFF, /* a direct read takes in its neighbours */
                                     .faults = {.fail_file = 0, .fail_offset = dead[i].offset + 1}};
        r = rig_open(&config);
        run(&r, FEW, NULL, logits);
        assert_memory_equal(truth, logits, sizeof truth);
        StoreStats stats;
        store_stats(r.store, &stats);
        failed += stats.hints_failed;
        rig_close(&r);
    }
    assert_true(failed > 0); /* it has happened */
}

static void unknown_names_are_refused_with_the_choices(void **state) {
    (void)state;
    sluice_options o = check_options(model_path());
    sluice_error err;
    o.policy = "no such policy";
    assert_null(sluice_open(&o, &err));
    assert_int_equal(err.code, SLUICE_USAGE);
    assert_non_null(strstr(err.message, "s3fifo"));
    o.policy = "clock";
    o.lookahead = "maybe";
    assert_null(sluice_open(&o, &err));
    assert_int_equal(err.code, SLUICE_USAGE);
    assert_non_null(strstr(err.message, "auto, on or off"));
    o.lookahead = "off";
    sluice_model *m = open_or_fail(&o);
    sluice_info info;
    sluice_get_info(m, &info);
    assert_string_equal(info.policy, "clock");
    assert_string_equal(info.lookahead, "off");
    sluice_close(m);
}

int main(void) {
    const struct CMUnitTest lookahead[] = {
        cmocka_unit_test(guesses_are_mostly_right_and_change_nothing),
        cmocka_unit_test(where_nothing_is_read_nothing_is_guessed),
        cmocka_unit_test(a_prefill_reads_the_next_layer_ahead),
        cmocka_unit_test(a_guess_that_cannot_be_read_is_no_error),
        cmocka_unit_test(unknown_names_are_refused_with_the_choices),
    };
    return RUN_TESTS(lookahead);
}
