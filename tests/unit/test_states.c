/* The state cache in memory: the longest prefix is found, what comes of it has the same bits, and memory holds. */
#include "support/make_model.h"
#include "support/recording.h"
#include "support/support.h"

#include "states/states.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CTX = 600, LONGEST = 560 };

static int32_t text[LONGEST];

/* A model of a few kilobytes; recurrent and full layers. */
static sluice_model *open_model(uint64_t snapshot_bytes, int cache_slots) {
    static char path[300];
    MakeModel made = {.arch = "qwen35moe", .seed = 9, .layers = 2, .experts = 4, .top_k = 2};
    if (!path[0]) snprintf(path, sizeof path, "%s", make_model(&made, "states.gguf"));
    sluice_options o = check_options(path);
    o.ctx = CTX;
    o.sessions = 2;
    o.threads = 1;
    o.cache_slots = cache_slots;
    o.snapshot_bytes = snapshot_bytes;
    o.ram_bytes = UINT64_C(2) << 30;
    return open_or_fail(&o);
}

static void make_text(void) {
    uint32_t x = 4711;
    for (int i = 0; i < LONGEST; i++) {
        x = x * 1664525u + 1013904223u;
        text[i] = (int32_t)((x >> 8) % MAKE_VOCAB);
    }
}

static States *new_states(sluice_model *m, uint64_t ram_bytes) {
    Err err = {0};
    States *s = states_new(&(StatesConfig){.model = m, .ram_bytes = ram_bytes}, &err);
    if (!s) fail_msg("%s", err.text);
    return s;
}

static void feed(sluice_session *session, const int32_t *ids, size_t n) {
    sluice_error err;
    if (n && sluice_feed(session, ids, n, &err)) fail_msg("%s", err.message);
}

/* Feeds all of it from the beginning and keeps the state. */
static bool put(States *s, sluice_session *session, const int32_t *ids, size_t n, StatesKind kind) {
    sluice_session_reset(session);
    feed(session, ids, n);
    return states_put(s, session, kind);
}

static StatesStats stats_of(const States *s) {
    StatesStats stats;
    states_stats(s, &stats);
    return stats;
}

static void the_longest_prefix_is_found(void **state) {
    (void)state;
    sluice_model *m = open_model(0, 0);
    sluice_session *session = sluice_session_new(m, NULL);
    States *s = new_states(m, 0);
    int32_t other[40];
    memcpy(other, text, sizeof other);
    other[25] ^= 1;
    assert_int_equal(states_find(s, text, 40), 0);
    assert_true(put(s, session, text, 30, STATES_TURN)); /* the longer one first */
    assert_true(put(s, session, text, 10, STATES_SYSTEM));
    assert_true(put(s, session, other, 40, STATES_TURN));
    assert_true(put(s, session, text, 20, STATES_CHUNK));
    assert_true(put(s, session, text, 20, STATES_CHUNK)); /* twice is once */
    static const struct { size_t n, mine, others; } cases[] = {{5, 0, 0}, {10, 10, 10}, {11, 10, 10}, {20, 20, 20}, {29, 20, 20},
                                                               {30, 30, 20}, {39, 30, 20}, {40, 30, 40}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_int_equal(states_find(s, text, cases[i].n), cases[i].mine);
        assert_int_equal(states_find(s, other, cases[i].n), cases[i].others);
    }
    assert_int_equal(states_find(s, text + 1, 39), 0);
    assert_int_equal(stats_of(s).in_memory, 4);
    states_free(s);
    assert_int_equal(sluice_snapshots(m).used, 0);
    sluice_session_free(session);
    sluice_close(m);
}

static void what_is_restored_goes_on_with_the_same_bits(void **state) {
    (void)state;
    sluice_model *m = open_model(0, 0);
    sluice_session *session = sluice_session_new(m, NULL), *fresh = sluice_session_new(m, NULL);
    States *s = new_states(m, 0);
    static const size_t at[] = {3, 255, 256, 300, 512, 530};
    for (size_t i = 0; i < COUNT_OF(at); i++) assert_true(put(s, session, text, at[(i * 5 + 2) % COUNT_OF(at)], STATES_TURN));
    for (size_t i = 0; i < COUNT_OF(at); i++) {
        size_t n = i + 1 < COUNT_OF(at) ? at[i + 1] - 1 : LONGEST;
        size_t begun = states_restore(s, session, text, n);
        assert_int_equal(begun, at[i]);
        assert_int_equal(sluice_position(session), begun);
        feed(session, text + begun, n - begun);
        sluice_session_reset(fresh);
        feed(fresh, text, n);
        assert_memory_equal(sluice_logits(session), sluice_logits(fresh), MAKE_VOCAB * sizeof(float));
    }
    /* the whole prompt: nothing is left to be fed, and the logits are there */
    assert_int_equal(states_restore(s, session, text, 530), 530);
    sluice_session_reset(fresh);
    feed(fresh, text, 530);
    assert_memory_equal(sluice_logits(session), sluice_logits(fresh), MAKE_VOCAB * sizeof(float));
    assert_int_equal(states_restore(s, session, text + 1, 500), 0);
    assert_int_equal(sluice_position(session), 0);
    assert_int_equal(stats_of(s).hits, COUNT_OF(at) + 1);
    assert_int_equal(stats_of(s).misses, 1);
    states_free(s);
    sluice_session_free(session);
    sluice_session_free(fresh);
    sluice_close(m);
}

/* What the states of one conversation have in common is there once. */
static void a_conversation_shares_its_keys(void **state) {
    (void)state;
    sluice_model *m = open_model(0, 0);
    sluice_session *session = sluice_session_new(m, NULL);
    States *s = new_states(m, 0);
    assert_true(put(s, session, text, 300, STATES_TURN));
    uint64_t one = stats_of(s).memory_bytes, need = sluice_snapshot_need(session, NULL);
    assert_int_equal(one, need);
    feed(session, text + 300, 10);
    assert_true(states_put(s, session, STATES_TURN));
    assert_true(stats_of(s).memory_bytes < 2 * one);
    states_free(s);
    sluice_session_free(session);
    sluice_close(m);
}

static void the_end_of_a_system_prompt_stays_longest(void **state) {
    (void)state;
    sluice_model *m = open_model(0, 0);
    sluice_session *session = sluice_session_new(m, NULL);
    feed(session, text, 40);
    uint64_t one = sluice_snapshot_need(session, NULL);
    States *s = new_states(m, 5 * one);
    assert_true(put(s, session, text, 40, STATES_SYSTEM));
    int32_t ids[60];
    for (int i = 0; i < 60; i++) { /* many conversations of one turn, with the same system prompt and without any */
        memcpy(ids, text + (i % 2 ? 0 : 50), sizeof ids);
        ids[45] = i;
        assert_true(put(s, session, ids, 55, STATES_TURN));
        assert_int_equal(states_find(s, ids, 60), 55);
        assert_true(stats_of(s).memory_bytes <= 5 * one);
    }
    assert_int_equal(states_find(s, text, 45), 40);
    assert_true(stats_of(s).evicted >= 50);
    states_free(s);
    sluice_session_free(session);
    sluice_close(m);
}

static void what_was_gone_on_from_leaves_first(void **state) {
    (void)state;
    sluice_model *m = open_model(0, 0);
    sluice_session *session = sluice_session_new(m, NULL);
    feed(session, text, 90);
    States *s = new_states(m, 3 * sluice_snapshot_need(session, NULL));
    assert_true(put(s, session, text + 100, 30, STATES_TURN)); /* another conversation, that still stands there */
    sluice_session_reset(session);
    for (size_t n = 30; n <= 90; n += 30) {
        feed(session, text + n - 30, 30);
        assert_true(states_put(s, session, STATES_TURN));
    }
    assert_int_equal(states_find(s, text + 100, 30), 30);
    assert_int_equal(states_find(s, text, 90), 90);
    assert_int_equal(states_find(s, text, 89) < 60 || states_find(s, text, 59) < 30, 1);
    states_free(s);
    sluice_session_free(session);
    sluice_close(m);
}

static void one_that_does_not_fit_is_not_kept(void **state) {
    (void)state;
    sluice_model *m = open_model(0, 0);
    sluice_session *session = sluice_session_new(m, NULL);
    States *s = new_states(m, 10000);
    assert_false(put(s, session, text, 40, STATES_TURN));
    assert_false(put(s, session, text, 50, STATES_CHUNK));
    assert_int_equal(states_find(s, text, 60), 0);
    assert_int_equal(stats_of(s).refused, 2);
    assert_int_equal(stats_of(s).in_memory, 0);
    sluice_session_reset(session);
    assert_false(states_put(s, session, STATES_TURN)); /* there is nothing to keep */
    states_free(s);
    sluice_session_free(session);
    sluice_close(m);
}

/* ---- against a naive model ---- */

enum { NAIVE = 400, SHORT = 24 };

typedef struct Naive {
    int32_t ids[NAIVE][SHORT];
    size_t lengths[NAIVE], n;
} Naive;

static size_t naive_find(const Naive *naive, const int32_t *ids, size_t n) {
    size_t best = 0;
    for (size_t i = 0; i < naive->n; i++)
        if (naive->lengths[i] <= n && naive->lengths[i] > best && !memcmp(naive->ids[i], ids, naive->lengths[i] * sizeof *ids))
            best = naive->lengths[i];
    return best;
}

/* Few different tokens, so that much is a prefix of much. */
static size_t random_ids(Xoshiro *r, int32_t ids[SHORT]) {
    for (int i = 0; i < SHORT; i++) ids[i] = (int32_t)(xoshiro_next(r) % (i < 4 ? 2 : 3));
    return 1 + (size_t)(xoshiro_next(r) % SHORT);
}

/* limited: then some are gone, but what is found was put, and is right. */
static void play(uint64_t seed, bool limited) {
    static Naive naive;
    naive.n = 0;
    sluice_model *m = open_model(0, 0);
    sluice_session *session = sluice_session_new(m, NULL), *fresh = sluice_session_new(m, NULL);
    feed(fresh, text, SHORT);
    const uint64_t limit = 6 * sluice_snapshot_need(fresh, NULL);
    States *s = new_states(m, limited ? limit : 0);
    Xoshiro r;
    xoshiro_seed(&r, seed);
    for (int turn = 0; turn < (under_sanitizer() ? 100 : 300); turn++) {
        int32_t ids[SHORT];
        size_t n = random_ids(&r, ids), expected = naive_find(&naive, ids, n), found = states_find(s, ids, n);
        if (limited) assert_true(found <= expected && naive_find(&naive, ids, found) == found);
        else assert_int_equal(found, expected);
        assert_int_equal(states_restore(s, session, ids, n), found);
        feed(session, ids + found, n - found);
        if (turn % 4 == 0) {
            sluice_session_reset(fresh);
            feed(fresh, ids, n);
            assert_memory_equal(sluice_logits(session), sluice_logits(fresh), MAKE_VOCAB * sizeof(float));
        }
        if (states_put(s, session, (StatesKind)(xoshiro_next(&r) % 3)) && naive.n < NAIVE) {
            memcpy(naive.ids[naive.n], ids, sizeof ids);
            naive.lengths[naive.n++] = n;
        }
        if (limited) assert_true(stats_of(s).memory_bytes <= limit);
    }
    assert_true(!limited || stats_of(s).evicted > 20);
    states_free(s);
    assert_int_equal(sluice_snapshots(m).used, 0);
    sluice_session_free(session);
    sluice_session_free(fresh);
    sluice_close(m);
}

static void random_prompts_find_what_a_list_would(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        play(seed, false);
        play(seed, true);
    }
}

static void no_memory_keeps_nothing_and_breaks_nothing(void **state) {
    (void)state;
    sluice_model *m = open_model(0, 0);
    sluice_session *session = sluice_session_new(m, NULL);
    Err err = {0};
    mem_fail_after(1);
    assert_null(states_new(&(StatesConfig){.model = m}, &err));
    mem_fail_after(0);
    assert_int_equal(err.code, ERR_MEMORY);
    States *s = new_states(m, 0);
    feed(session, text, 30);
    for (uint64_t n = 1;; n++) {
        mem_fail_after(n);
        bool kept = states_put(s, session, STATES_TURN);
        mem_fail_after(0);
        if (kept) break;
        assert_int_equal(states_find(s, text, 30), 0);
        assert_int_equal(sluice_snapshots(m).used, 0);
    }
    assert_int_equal(states_restore(s, session, text, 30), 30);
    states_free(s);
    sluice_session_free(session);
    sluice_close(m);
}

int main(void) {
    const struct CMUnitTest states[] = {
        cmocka_unit_test(the_longest_prefix_is_found),
        cmocka_unit_test(what_is_restored_goes_on_with_the_same_bits),
        cmocka_unit_test(a_conversation_shares_its_keys),
        cmocka_unit_test(the_end_of_a_system_prompt_stays_longest),
        cmocka_unit_test(what_was_gone_on_from_leaves_first),
        cmocka_unit_test(one_that_does_not_fit_is_not_kept),
        cmocka_unit_test(random_prompts_find_what_a_list_would),
        cmocka_unit_test(no_memory_keeps_nothing_and_breaks_nothing),
    };
    make_text();
    return RUN_TESTS(states);
}
