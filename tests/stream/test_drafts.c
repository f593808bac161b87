/* Draft tokens: the draft layer's numbers are the reference's, and whatever it guesses, every token's logits keep their bits. */
#include "forge/forge.h"
#include "support/make_model.h"
#include "support/recording.h"
#include "support/rig.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 48, PROMPT = 9, LAYERS = 4, EXPERTS = 8 };

static const char *model_path(void) {
    return make_model(&(MakeModel){.arch = "qwen35moe", .type = "Q8_0", .draft = true, .seed = 3}, "drafts.gguf");
}

static void the_draft_layer_meets_the_reference(void **state) {
    (void)state;
    static const char *const models[] = {"data/golden/q35-real-dims.bf16-00001-of-00003.gguf", "data/golden/q35-real-dims"};
    const char *golden = shared_path("data/golden/q35-real-dims.golden.safetensors");
    REQUIRE_PATH(golden);
    Golden *g = golden_open(golden);
    for (size_t i = 0; i < 2; i++) {
        RigConfig config = {.path = shared_path(models[i]), .disk = clean_disk(), .slots = 5 * 16, .mtp = true, .precise = true};
        REQUIRE_PATH(config.path);
        Rig r = rig_open(&config);
        const GoldenTensor *a = golden_get(g, "A.ids");
        uint32_t n = (uint32_t)a->count, vocab = r.model->shape.vocab;
        const int32_t *ids = a->data;
        const float *want = golden_f32(g, "A.mtp_logits", (int64_t)(n - 1) * vocab);
        float *logits = calloc(vocab, sizeof *logits);
        Err err = {0};
        for (uint32_t t = 0; t + 1 < n; t++) {
            if (step_alone(r.forward, r.state, ids + t, 1, NULL, &err)) fail_msg("%s", err.text);
            forward_mtp_keep(r.forward, r.state, 0, 1);
            if (forward_mtp_guess(r.forward, r.state, ids + t + 1, logits, &err)) fail_msg("%s", err.text);
            Difference d = difference(logits, want + (uint64_t)t * vocab, vocab);
            if (!(d.max <= 1e-3)) fail_msg("%s: draft logits of token %u differ by %g", models[i], t, d.max);
        }
        free(logits);
        rig_close(&r);
    }
    golden_close(g);
}

/* ---- what is fed: some guesses that come true and some that do not ------------------------------------------------------ */

/* ids[PROMPT..]: every third token is one that nobody guessed, the others are what the draft layer says. */
static void choose_ids(int32_t *ids) {
    RigConfig config = {.path = model_path(), .disk = clean_disk(), .slots = (LAYERS + 1) * EXPERTS, .ctx = 128, .mtp = true};
    Rig r = rig_open(&config);
    static float logits[MAKE_VOCAB];
    Err err = {0};
    for (int t = 0; t < PROMPT; t++) ids[t] = (t * 37 + 11) % MAKE_VOCAB;
    for (int t = 0; t < TOKENS; t++) {
        if (step_alone(r.forward, r.state, ids + t, 1, NULL, &err)) fail_msg("%s", err.text);
        if (t > 0) { /* what follows ids[t], from the state before it */
            int best = 0;
            for (int i = 1; i < MAKE_VOCAB; i++) best = logits[i] > logits[best] ? i : best;
            if (t + 1 >= PROMPT && t + 1 < TOKENS) ids[t + 1] = t % 3 ? best : (best + 1) % MAKE_VOCAB;
        }
        forward_mtp_keep(r.forward, r.state, 0, 1);
        if (t + 1 < TOKENS && forward_mtp_guess(r.forward, r.state, ids + t + 1, logits, &err)) fail_msg("%s", err.text);
    }
    rig_close(&r);
}

typedef struct Fed {
    float logits[TOKENS][MAKE_VOCAB];
    sluice_stats stats;
} Fed;

static sluice_options options_with(const char *mtp) {
    sluice_options o = check_options(model_path());
    o.mtp = mtp;
    o.precise = false;
    o.ctx = 128;
    o.sessions = 2;
    return o;
}

static void feed_one(sluice_session *s, int32_t id, float *logits) {
    sluice_error e;
    if (sluice_feed(s, &id, 1, &e)) fail_msg("%s", e.message);
    memcpy(logits, sluice_logits(s), MAKE_VOCAB * sizeof *logits);
}

/* pieces: every seventh token comes with its successor in one feed; turn: a snapshot is taken and restored in between. */
static void feed_all(const sluice_options *o, const int32_t *ids, bool pieces, bool turn, Fed *out) {
    sluice_model *m = open_or_fail(o);
    sluice_session *s = sluice_session_new(m, NULL);
    sluice_error e;
    memset(out, 0, sizeof *out);
    if (sluice_feed(s, ids, PROMPT, &e)) fail_msg("%s", e.message);
    for (int t = PROMPT; t < TOKENS; t++) {
        if (pieces && t % 7 == 0 && t + 1 < TOKENS) {
            if (sluice_feed(s, ids + t, 2, &e)) fail_msg("%s", e.message);
            t++;
            memcpy(out->logits[t], sluice_logits(s), sizeof out->logits[t]);
        } else {
            feed_one(s, ids[t], out->logits[t]);
        }
        assert_int_equal(sluice_position(s), t + 1);
        if (turn && t % 5 == 0) {
            sluice_snapshot *snap = sluice_snapshot_take(s, &e);
            if (!snap) fail_msg("%s", e.message);
            float other[MAKE_VOCAB];
            feed_one(s, 7, other);
            assert_int_equal(sluice_snapshot_restore(s, snap, &e), SLUICE_OK);
            assert_memory_equal(sluice_logits(s), out->logits[t], sizeof out->logits[t]);
            sluice_snapshot_free(snap);
        }
    }
    sluice_get_stats(m, &out->stats);
    sluice_session_free(s);
    sluice_close(m);
}

static void expect_same(const Fed *a, const Fed *b, bool pieces) {
    for (int t = PROMPT; t < TOKENS; t++) {
        if (pieces && t % 7 == 0 && t + 1 < TOKENS) continue; /* its own logits were not asked for */
        if (memcmp(a->logits[t], b->logits[t], sizeof a->logits[t]) != 0) fail_msg("other bits after token %d", t);
    }
}

static void drafts_change_no_bit(void **state) {
    (void)state;
    static Fed without, with;
    int32_t ids[TOKENS];
    choose_ids(ids);
    sluice_options o = options_with("off");
    feed_all(&o, ids, false, false, &without);
    assert_int_equal(without.stats.drafts, 0);
    for (int way = 0; way < 16; way++) {
        if (under_sanitizer() && (way & 4)) continue; /* what guesses write is the same on scalar, which takes long */
        if (under_thread_sanitizer() && (way & 8)) continue; /* one thread has nobody to race with */
        bool pieces = way & 1, turn = way & 2;
        o = options_with("on");
        o.cpu = way & 4 ? "scalar" : "auto";
        o.threads = way & 8 ? 1 : 3;
        o.chunk = way & 8 ? 5 : 0;
        feed_all(&o, ids, pieces, turn, &with);
        expect_same(&without, &with, pieces);
        assert_true(with.stats.drafts > 10);
        assert_true(with.stats.drafts_right > 4);
        assert_true(with.stats.drafts_right < with.stats.drafts);
    }
}

static void drafts_change_no_bit_with_two_slots(void **state) {
    (void)state;
    static Fed without, with;
    int32_t ids[TOKENS];
    choose_ids(ids);
    sluice_options o = options_with("off");
    feed_all(&o, ids, false, false, &without);
    o = options_with("on");
    o.cache_slots = 2;
    feed_all(&o, ids, false, true, &with);
    expect_same(&without, &with, false);
    assert_true(with.stats.drafts_right > 4);
}

static void sessions_take_turns(void **state) {
    (void)state;
    static Fed without;
    int32_t ids[TOKENS];
    choose_ids(ids);
    sluice_options o = options_with("off");
    feed_all(&o, ids, false, false, &without);
    o = options_with("on");
    sluice_model *m = open_or_fail(&o);
    sluice_session *s[2] = {sluice_session_new(m, NULL), sluice_session_new(m, NULL)};
    float logits[MAKE_VOCAB];
    for (int i = 0; i < 2; i++) assert_int_equal(sluice_feed(s[i], ids, PROMPT, NULL), SLUICE_OK);
    for (int t = PROMPT; t < TOKENS; t++)
        for (int i = 0; i < 2; i++) {
            feed_one(s[i], ids[t], logits);
            assert_memory_equal(logits, without.logits[t], sizeof logits);
        }
    sluice_session_reset(s[0]);
    assert_int_equal(sluice_position(s[0]), 0);
    assert_int_equal(sluice_feed(s[0], ids, PROMPT, NULL), SLUICE_OK);
    feed_one(s[0], ids[PROMPT], logits);
    assert_memory_equal(logits, without.logits[PROMPT], sizeof logits);
    for (int i = 0; i < 2; i++) sluice_session_free(s[i]);
    sluice_close(m);
}

/* At one of these ends the last token was guessed and is there already, at another it is fed alone: then there is no room for a guess. */
static void the_context_can_be_filled_to_its_end(void **state) {
    (void)state;
    int32_t ids[TOKENS];
    choose_ids(ids);
    for (int ctx = TOKENS - 2; ctx <= TOKENS; ctx++) {
        sluice_options o = options_with("on");
        o.ctx = ctx;
        sluice_model *m = open_or_fail(&o);
        sluice_session *s = sluice_session_new(m, NULL);
        sluice_error e;
        float logits[MAKE_VOCAB];
        assert_int_equal(sluice_feed(s, ids, PROMPT, &e), SLUICE_OK);
        for (int t = PROMPT; t < ctx; t++) feed_one(s, ids[t], logits);
        assert_int_equal(sluice_position(s), ctx);
        assert_int_not_equal(sluice_feed(s, ids, 1, &e), SLUICE_OK);
        assert_non_null(strstr(e.message, "the context holds"));
        sluice_session_free(s);
        sluice_close(m);
    }
}

static void auto_leaves_them_out_where_experts_are_streamed(void **state) {
    (void)state;
    sluice_info info;
    sluice_options o = options_with("auto");
    o.ram_bytes = 0;
    sluice_model *m = open_or_fail(&o);
    sluice_get_info(m, &info);
    assert_non_null(strstr(info.mtp, "auto: being measured"));
    sluice_close(m);
    o.cache_slots = 3;
    m = open_or_fail(&o);
    sluice_get_info(m, &info);
    assert_non_null(strstr(info.mtp, "experts are read from disk"));
    sluice_close(m);
}

static void a_model_without_the_layer_says_so(void **state) {
    (void)state;
    sluice_options o = check_options(make_model(&(MakeModel){.seed = 4}, "no-draft.gguf"));
    sluice_error e;
    o.mtp = "on";
    assert_null(sluice_open(&o, &e));
    assert_non_null(strstr(e.message, "no draft (MTP) layer"));
    o.mtp = "perhaps";
    assert_null(sluice_open(&o, &e));
    assert_non_null(strstr(e.message, "choose auto, on or off"));
}

/* Every step runs two tokens here: uneven routing makes some guesses come true by chance. */
static void seen(void *user, int layer, int position, int n, int n_wanted, const int32_t *experts, const uint8_t *hit, uint64_t wait_ns) {
    (void)layer, (void)position, (void)n, (void)n_wanted, (void)experts, (void)hit, (void)wait_ns;
    ++*(int *)user;
}

/* Who watches what is read sees certain tokens only, unless guesses will do; then they are still made. */
static void expect_guesses_only_where_they_may_be_seen(sluice_model *m, sluice_session *s) {
    for (int guesses = 0; guesses < 2; guesses++) {
        sluice_stats before, after;
        int calls = 0;
        sluice_get_stats(m, &before);
        sluice_set_probe(s, &(sluice_probe){.user = &calls, .fetch = seen, .guesses = guesses});
        for (int32_t id = 7; id < 17; id++) assert_int_equal(sluice_feed(s, &id, 1, NULL), SLUICE_OK);
        sluice_set_probe(s, NULL);
        sluice_get_stats(m, &after);
        assert_true(calls > 0);
        assert_true(guesses ? after.drafts > before.drafts : after.drafts == before.drafts);
    }
}

static void a_synthetic_model_can_have_the_layer(void **state) {
    (void)state;
    Err err = {0};
    char path[512];
    ForgeOptions o = {.shape = *forge_shape("tiny-qwen35moe"), .experts = QUANT_Q4_K, .dense = QUANT_Q8_0, .skew = 1, .mtp = true};
    Forge *f = forge_new(&o, &err);
    snprintf(path, sizeof path, "%s/with-draft.gguf", temp_dir());
    if (!f || forge_write(f, path, NULL, NULL, &err)) fail_msg("%s", err.text);
    forge_free(f);
    enum { VOCAB = 512, N = 40 };
    static float logits[2][N][VOCAB];
    for (int with = 0; with < 2; with++) {
        sluice_options options = check_options(path);
        options.mtp = with ? "on" : "off";
        options.precise = false;
        sluice_model *m = open_or_fail(&options);
        sluice_session *s = sluice_session_new(m, NULL);
        sluice_stats stats;
        for (int t = 0; t < N; t++) {
            int32_t id = t * 101 % VOCAB;
            assert_int_equal(sluice_feed(s, &id, 1, NULL), SLUICE_OK);
            memcpy(logits[with][t], sluice_logits(s), sizeof logits[with][t]);
        }
        sluice_get_stats(m, &stats);
        assert_true(with ? stats.drafts >= N / 2 - 1 : stats.drafts == 0);
        if (with) expect_guesses_only_where_they_may_be_seen(m, s);
        sluice_session_free(s);
        sluice_close(m);
    }
    assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_draft_layer_meets_the_reference),
        cmocka_unit_test(drafts_change_no_bit),
        cmocka_unit_test(drafts_change_no_bit_with_two_slots),
        cmocka_unit_test(sessions_take_turns),
        cmocka_unit_test(the_context_can_be_filled_to_its_end),
        cmocka_unit_test(auto_leaves_them_out_where_experts_are_streamed),
        cmocka_unit_test(a_synthetic_model_can_have_the_layer),
        cmocka_unit_test(a_model_without_the_layer_says_so),
    };
    return run_group("drafts", tests, COUNT_OF(tests));
}
