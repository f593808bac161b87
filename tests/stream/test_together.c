/* Sessions fed together: each gets the bits that it gets alone, each expert is read once for all, and what happens to one of them
 * happens to no other that is not in the same step. */
#include "support/make_model.h"
#include "support/recording.h"
#include "support/rig.h"
#include "support/support.h"

#include "base/base.h"

#include <stdio.h>
#include <string.h>

enum { SESSIONS = 5, TOKENS = 60 };

static const char *model_of(const char *arch, bool draft) {
    char name[64];
    MakeModel o = {.arch = arch, .type = "Q8_0", .seed = 5, .experts = 12, .top_k = 5, .draft = draft};
    snprintf(name, sizeof name, "together-%s%s.gguf", arch, draft ? "-draft" : "");
    return make_model(&o, name);
}

static sluice_options options_of(const char *model) {
    sluice_options o = check_options(model);
    o.sessions = SESSIONS;
    o.precise = false;
    o.ctx = 128;
    return o;
}

static const int32_t *ids_of(int session) {
    static int32_t ids[SESSIONS][TOKENS];
    for (int t = 0; t < TOKENS; t++) ids[session][t] = (t * (37 + 2 * session) + 11 * session + t * t) % 256;
    return ids[session];
}

static void feed_together(sluice_model *m, const sluice_part *parts, size_t n) {
    sluice_error err;
    if (sluice_feed_together(m, parts, n, &err)) fail_msg("%s", err.message);
}

/* ---- the same bits ------------------------------------------------------------------------------------------------------ */

/* Everything that each session sees when it is alone. */
static void record_alone(const char *path, Recording *out[SESSIONS]) {
    sluice_options o = options_of(path);
    o.threads = 1;
    o.cpu = "scalar";
    sluice_model *m = open_or_fail(&o);
    for (int i = 0; i < SESSIONS; i++) {
        sluice_session *s = sluice_session_new(m, NULL);
        out[i] = record(m, s, ids_of(i), TOKENS, NULL);
        sluice_session_free(s);
    }
    sluice_close(m);
}

/* How many tokens a session is given in this round: it sits out, decodes, brings a few tokens, or a prompt. */
static int piece_of(int session, int round, int left) {
    static const int sizes[] = {1, 17, 0, 1, 5, 9, 1, 30, 2, 1, 0};
    int n = sizes[(3 * session + round * (session + 1)) % (int)COUNT_OF(sizes)];
    return n < left ? n : left;
}

static void expect_logits(const sluice_session *s, const Recording *truth) {
    size_t vocab = (size_t)truth->vocab, last = (size_t)sluice_position(s) - 1;
    assert_memory_equal(sluice_logits(s), truth->logits + last * vocab, vocab * sizeof(float));
}

/* Every third round each for itself: then draft tokens take part where nobody looks and the model has them. */
static void feed_round(sluice_model *m, int round, const sluice_part *parts, size_t n) {
    if (round % 3) feed_together(m, parts, n);
    for (size_t i = 0; round % 3 == 0 && i < n; i++) assert_int_equal(sluice_feed(parts[i].session, parts[i].ids, parts[i].n, NULL), 0);
}

/* Several sessions to their ends, in rounds of different parts. */
static void run_rounds(sluice_model *m, int n_sessions, bool watched, Recording *truth[SESSIONS]) {
    sluice_session *s[SESSIONS];
    Recording *r[SESSIONS];
    sluice_part parts[SESSIONS];
    for (int i = 0; i < n_sessions; i++) {
        s[i] = sluice_session_new(m, NULL);
        r[i] = recording_new(m, TOKENS);
        if (watched) recording_watch(r[i], s[i]);
    }
    for (int round = 0, unfinished = n_sessions; unfinished > 0; round++) {
        size_t n = 0;
        unfinished = 0;
        for (int i = 0; i < n_sessions; i++) {
            int at = sluice_position(s[i]), piece = piece_of(i, round, TOKENS - at);
            unfinished += at + piece < TOKENS;
            if (piece > 0) parts[n++] = (sluice_part){s[i], ids_of(i) + at, (size_t)piece};
        }
        if (n > 0) feed_round(m, round, parts, n);
        for (size_t k = 0; k < n; k++)
            for (int i = 0; i < n_sessions; i++)
                if (parts[k].session == s[i]) expect_logits(s[i], truth[i]);
    }
    for (int i = 0; i < n_sessions; i++) {
        assert_int_equal(sluice_position(s[i]), TOKENS);
        assert_true(!watched || recording_equal(r[i], truth[i]));
        recording_free(r[i]);
        sluice_session_free(s[i]);
    }
}

static void sessions_fed_together_answer_as_alone(void **state) {
    static const int sessions[] = {2, 3, 5}, slots[] = {2, 7, 0}, chunks[] = {1, 6, 20, 4096}, threads[] = {1, 2, 3};
    const char *path = model_of(*state, false);
    Recording *truth[SESSIONS];
    record_alone(path, truth);
    for (size_t i = 0; i < 8; i++) {
        if (under_sanitizer() && i % 4) continue;
        sluice_options o = options_of(path);
        o.cache_slots = slots[i % 3];
        o.chunk = chunks[(i + i / 3) % 4];
        o.threads = threads[(i + i / 4) % 3];
        o.cpu = i % 2 ? "auto" : "scalar";
        sluice_model *m = open_or_fail(&o);
        run_rounds(m, sessions[i / 2 % 3], i % 5 > 0, truth);
        sluice_close(m);
    }
    for (int i = 0; i < SESSIONS; i++) recording_free(truth[i]);
}

static void draft_tokens_and_shared_steps_change_no_bit(void **state) {
    (void)state;
    const char *path = model_of("qwen35moe", true);
    Recording *truth[SESSIONS];
    record_alone(path, truth);
    for (int way = 0; way < 4; way++) {
        sluice_options o = options_of(path);
        o.mtp = "on";
        o.chunk = way % 2 ? 20 : 0;
        sluice_model *m = open_or_fail(&o);
        run_rounds(m, 2 + way, false, truth);
        sluice_stats stats;
        sluice_get_stats(m, &stats);
        assert_true(stats.drafts > 0);
        sluice_close(m);
    }
    for (int i = 0; i < SESSIONS; i++) recording_free(truth[i]);
}

/* More sessions than there is room for parts of keys, and one of them so long that its keys come in rounds. */
static void contexts_of_all_lengths_side_by_side_answer_as_alone(void **state) {
    (void)state;
    enum { LONG = 8300 };
    static int32_t prompt[LONG];
    static float truth[SESSIONS][MAKE_VOCAB];
    for (int t = 0; t < LONG; t++) prompt[t] = (t * 7 + t / 50) % 256;
    sluice_options o = options_of(model_of("qwen3moe", false));
    o.ctx = LONG + 8;
    o.threads = 3;
    o.kv = "f16";
    o.ram_bytes = UINT64_C(1) << 30;
    sluice_model *m = open_or_fail(&o);
    sluice_session *s[SESSIONS];
    sluice_snapshot *snap[SESSIONS];
    sluice_part parts[SESSIONS];
    for (int i = 0; i < SESSIONS; i++) {
        s[i] = sluice_session_new(m, NULL);
        assert_int_equal(sluice_feed(s[i], prompt, i == 1 ? LONG : 250 + 3 * (size_t)i, NULL), SLUICE_OK);
        snap[i] = sluice_snapshot_take(s[i], NULL);
        assert_int_equal(sluice_feed(s[i], ids_of(i), 2, NULL), SLUICE_OK);
        memcpy(truth[i], sluice_logits(s[i]), sizeof truth[i]);
        assert_int_equal(sluice_snapshot_restore(s[i], snap[i], NULL), SLUICE_OK);
    }
    for (int t = 0; t < 2; t++) {
        for (int i = 0; i < SESSIONS; i++) parts[i] = (sluice_part){s[i], ids_of(i) + t, 1};
        feed_together(m, parts, SESSIONS);
    }
    for (int i = 0; i < SESSIONS; i++) {
        assert_memory_equal(sluice_logits(s[i]), truth[i], sizeof truth[i]);
        sluice_snapshot_free(snap[i]);
        sluice_session_free(s[i]);
    }
    sluice_close(m);
}

/* ---- what it is for ----------------------------------------------------------------------------------------------------- */

static uint64_t bytes_read(const sluice_model *m) {
    sluice_stats stats;
    sluice_get_stats(m, &stats);
    return stats.bytes_read;
}

static void each_expert_is_read_once_for_all(void **state) {
    (void)state;
    sluice_options o = options_of(model_of("qwen35moe", false));
    o.cache_slots = 2;
    o.lookahead = "off";
    uint64_t alone = 0;
    sluice_session *s[SESSIONS];
    sluice_part parts[SESSIONS];
    sluice_model *m = open_or_fail(&o);
    for (int i = 0; i < SESSIONS; i++) {
        s[i] = sluice_session_new(m, NULL);
        parts[i] = (sluice_part){s[i], ids_of(i), i % 2 ? 40 : 1};
        assert_int_equal(sluice_feed(s[i], parts[i].ids, parts[i].n, NULL), SLUICE_OK);
        sluice_session_reset(s[i]);
    }
    alone = bytes_read(m);
    sluice_reset_stats(m);
    feed_together(m, parts, SESSIONS);
    uint64_t together = bytes_read(m), all = 0;
    sluice_info info;
    sluice_get_info(m, &info);
    all = info.record_bytes * info.plan.experts_total;
    assert_true(together <= all + info.record_bytes && alone > 2 * together);
    sluice_stats stats;
    sluice_get_stats(m, &stats);
    assert_int_equal(stats.decode_tokens, 3);
    assert_int_equal(stats.prefill_tokens, 80);
    assert_true(stats.prefill_ns > stats.decode_ns && stats.decode_ns > 0);
    for (int i = 0; i < SESSIONS; i++) sluice_session_free(s[i]);
    sluice_close(m);
}

static void nothing_is_allocated_per_shared_token(void **state) {
    (void)state;
    sluice_options o = options_of(model_of("qwen35moe", false));
    o.cache_slots = 3;
    sluice_model *m = open_or_fail(&o);
    sluice_session *s[SESSIONS];
    sluice_part parts[SESSIONS];
    uint64_t before = 0;
    for (int i = 0; i < SESSIONS; i++) s[i] = sluice_session_new(m, NULL);
    for (int t = 0; t < 20; t++) {
        if (t == 2) before = mem_allocation_count();
        for (int i = 0; i < SESSIONS; i++) parts[i] = (sluice_part){s[i], ids_of(i) + t, 1};
        feed_together(m, parts, SESSIONS);
    }
    assert_int_equal(mem_allocation_count() - before, 0);
    for (int i = 0; i < SESSIONS; i++) sluice_session_free(s[i]);
    sluice_close(m);
}

/* ---- what goes wrong ---------------------------------------------------------------------------------------------------- */

static void expect_refusal(sluice_model *m, const sluice_part *parts, size_t n, int code, const char *word) {
    sluice_error err = {0};
    assert_int_equal(sluice_feed_together(m, parts, n, &err), code);
    if (!strstr(err.message, word)) fail_msg("\"%s\" does not say \"%s\"", err.message, word);
}

static void a_refused_feed_changes_no_session(void **state) {
    (void)state;
    sluice_options o = options_of(model_of("qwen35moe", false));
    sluice_model *m = open_or_fail(&o), *other = open_or_fail(&o);
    sluice_session *a = sluice_session_new(m, NULL), *b = sluice_session_new(m, NULL), *c = sluice_session_new(other, NULL);
    const int32_t *ids = ids_of(0), wrong[] = {1, MAKE_VOCAB};
    float logits[MAKE_VOCAB];
    assert_int_equal(sluice_feed(a, ids, 3, NULL), SLUICE_OK);
    memcpy(logits, sluice_logits(a), sizeof logits);
    expect_refusal(m, NULL, 0, SLUICE_RANGE, "no session");
    expect_refusal(m, (sluice_part[]){{a, ids, 1}, {b, ids, 1}, {a, ids, 1}}, 3, SLUICE_USAGE, "given twice");
    expect_refusal(m, (sluice_part[]){{a, ids, 1}, {c, ids, 1}}, 2, SLUICE_STATE, "another model");
    expect_refusal(m, (sluice_part[]){{a, ids, 1}, {b, ids, 0}}, 2, SLUICE_RANGE, "no tokens");
    expect_refusal(m, (sluice_part[]){{a, ids, 1}, {b, wrong, 2}}, 2, SLUICE_RANGE, "outside the vocabulary");
    expect_refusal(m, (sluice_part[]){{b, ids, 1}, {a, ids, 126}}, 2, SLUICE_RANGE, "do not fit");
    assert_int_equal(sluice_position(a), 3);
    assert_int_equal(sluice_position(b), 0);
    assert_memory_equal(sluice_logits(a), logits, sizeof logits);
    assert_int_equal(sluice_feed_together(m, (sluice_part[]){{b, ids, 1}, {a, ids, 1}}, 2, NULL), SLUICE_OK); /* nothing is left marked */
    sluice_session_free(a);
    sluice_session_free(b);
    sluice_session_free(c);
    sluice_close(m);
    sluice_close(other);
}

typedef struct Patience {
    int calls; /* until it ends; negative: never */
} Patience;

static bool lose_patience(void *user, const char *stage, uint64_t done, uint64_t total) {
    Patience *p = user;
    (void)done, (void)total;
    return strcmp(stage, "load") == 0 || p->calls < 0 || p->calls-- != 0;
}

/* Two that decode, two prompts. After an interrupt in any layer the first two are through or, before the first, nobody is; and all go on
 * to the same bits. */
static void an_interrupt_takes_back_prompts_and_lets_tokens_through(void **state) {
    enum { N = 4, LAYERS = 4 };
    static const size_t lengths[N] = {30, 1, 25, 1};
    const char *path = model_of(*state, false);
    Recording *truth[SESSIONS];
    Patience patience = {-1};
    record_alone(path, truth);
    sluice_options o = options_of(path);
    o.progress = lose_patience;
    o.user = &patience;
    sluice_model *m = open_or_fail(&o);
    sluice_session *s[N];
    for (int i = 0; i < N; i++) s[i] = sluice_session_new(m, NULL);
    for (int layer = 0; layer < LAYERS; layer++) {
        sluice_part parts[N];
        sluice_error err;
        for (int i = 0; i < N; i++) {
            sluice_session_reset(s[i]);
            assert_int_equal(sluice_feed(s[i], ids_of(i), 7, NULL), SLUICE_OK);
            parts[i] = (sluice_part){s[i], ids_of(i) + 7, lengths[i]};
        }
        patience.calls = layer;
        assert_int_equal(sluice_feed_together(m, parts, N, &err), SLUICE_INTERRUPTED);
        patience.calls = -1;
        for (int i = 0; i < N; i++) {
            bool through = layer > 0 && lengths[i] == 1;
            assert_int_equal(sluice_position(s[i]), through ? 8 : 7);
            if (through) expect_logits(s[i], truth[i]);
            else assert_null(sluice_logits(s[i]));
            parts[i] = (sluice_part){s[i], ids_of(i) + sluice_position(s[i]), lengths[i]};
        }
        feed_together(m, parts, N);
        for (int i = 0; i < N; i++) expect_logits(s[i], truth[i]);
    }
    for (int i = 0; i < N; i++) sluice_session_free(s[i]);
    for (int i = 0; i < SESSIONS; i++) recording_free(truth[i]);
    sluice_close(m);
}

/* A read that fails ends the step for all who were in it, and for nobody else. */
static void a_failed_read_breaks_the_sessions_of_its_step(void **state) {
    (void)state;
    const char *path = model_of("qwen35moe", false);
    Err err = {0};
    RigConfig config = {.path = path, .disk = clean_disk(), .slots = 4, .segments = 2};
    Rig r = rig_open(&config);
    DiskRange part = model_record(r.model, 3, 3)[STORE_UP];
    rig_close(&r);
    config.disk = (DiskConfig){.backend = DISK_FAKE, .retries = 2};
    config.disk.faults = (DiskFaults){.fail_file = 0, .fail_offset = part.offset + part.bytes / 2};
    r = rig_open(&config);
    ForwardState *b = forward_state_new(r.forward, &err), *c = forward_state_new(r.forward, &err);
    ForwardSegment segments[] = {{r.state, ids_of(0), 2}, {b, ids_of(1), 14}};
    assert_int_equal(forward_step(r.forward, segments, 2, NULL, NULL, &err), ERR_IO);
    assert_non_null(strstr(err.text, "expert 3"));
    assert_true(forward_state_broken(r.state) && forward_state_broken(b) && !forward_state_broken(c));
    segments[0].state = c;
    assert_int_equal(forward_step(r.forward, segments, 2, NULL, NULL, &err), ERR_STATE);
    assert_false(forward_state_broken(c)); /* refused before it was touched */
    forward_state_free(b);
    forward_state_free(c);
    rig_close(&r);
}

int main(void) {
    static char archs[3][16] = {"qwen35moe", "qwen3next", "qwen3moe"};
    const struct CMUnitTest together[] = {
        {"qwen35moe: sessions fed together answer as alone", sessions_fed_together_answer_as_alone, NULL, NULL, archs[0]},
        {"qwen3next: sessions fed together answer as alone", sessions_fed_together_answer_as_alone, NULL, NULL, archs[1]},
        {"qwen3moe: sessions fed together answer as alone", sessions_fed_together_answer_as_alone, NULL, NULL, archs[2]},
        cmocka_unit_test(draft_tokens_and_shared_steps_change_no_bit),
        cmocka_unit_test(contexts_of_all_lengths_side_by_side_answer_as_alone),
        cmocka_unit_test(each_expert_is_read_once_for_all),
        cmocka_unit_test(nothing_is_allocated_per_shared_token),
        cmocka_unit_test(a_refused_feed_changes_no_session),
        {"qwen35moe: an interrupt takes back prompts and lets tokens through",
         an_interrupt_takes_back_prompts_and_lets_tokens_through, NULL, NULL, archs[0]},
        {"qwen3moe: an interrupt takes back prompts and lets tokens through",
         an_interrupt_takes_back_prompts_and_lets_tokens_through, NULL, NULL, archs[2]},
        cmocka_unit_test(a_failed_read_breaks_the_sessions_of_its_step),
    };
    return RUN_TESTS(together);
}
