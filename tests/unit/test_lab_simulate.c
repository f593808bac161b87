/* Replays and bounds on traces that are made by hand, against answers found in other ways. */
#include "support/program.h"
#include "support/support.h"

#include "lab/lab.h"

#include <math.h>
#include <string.h>

/* A trace of n tokens with one pick per layer, given as digits: picks[layer][token]. */
static LabTrace *make(int layers, int experts, const char *const *picks) {
    const char *path = temp_path("made.slt");
    LabTraceFacts facts = {.layers = (uint32_t)layers, .experts = (uint32_t)experts, .top_k = 1, .record_bytes = 100};
    Err err = {0};
    LabTraceWriter *w = lab_trace_new(path, &facts, &err);
    assert_non_null(w);
    const float weight = 1;
    for (int t = 0; picks[0][t]; t++)
        for (int l = 0; l < layers; l++) {
            int32_t expert = picks[l][t] - '0';
            uint8_t hit = 0;
            lab_trace_routing(w, l, t, 1, &expert, &weight);
            lab_trace_fetch(w, l, t, 1, 1, &expert, &hit, 0);
        }
    if (lab_trace_finish(w, NULL, NULL, &err)) fail_msg("%s", err.text);
    LabTrace *t = lab_trace_read(path, &err);
    if (!t) fail_msg("%s", err.text);
    return t;
}

/* The most hits by trying every choice: state is the set of records held. */
static int best(const int *wants, int n, unsigned held, int slots) {
    if (n == 0) return 0;
    int hit = held >> wants[0] & 1, most = -1;
    unsigned all = held | 1u << wants[0];
    for (unsigned keep = all;; keep = (keep - 1) & all) {
        if (__builtin_popcount(keep) <= slots) {
            int hits = best(wants + 1, n - 1, keep, slots);
            if (hits > most) most = hits;
        }
        if (keep == 0) break;
    }
    return hit + most;
}

static void belady_is_the_best_that_can_be(void **state) {
    (void)state;
    uint64_t random = 4;
    for (int round = 0; round < 20; round++) {
        char a[8] = "", b[8] = "";
        int wants[12], n = 0;
        for (int t = 0; t < 5; t++) {
            for (int l = 0; l < 2; l++) {
                random = random * 6364136223846793005u + 1442695040888963407u;
                int e = (int)(random >> 40) % 3;
                (l ? b : a)[t] = (char)('0' + e);
                wants[n++] = l * 3 + e;
            }
        }
        const char *picks[2] = {a, b};
        LabTrace *t = make(2, 3, picks);
        for (uint32_t slots = 1; slots <= 4; slots++) {
            LabReplay r;
            Err err;
            assert_int_equal(lab_belady(t, slots, &r, &err), ERR_OK);
            assert_int_equal(r.wanted, 10);
            assert_int_equal(r.hits, best(wants, n, 0, (int)slots));
            for (int p = 0; p < CACHE_POLICIES; p++) { /* and nobody beats it */
                LabReplay policy;
                assert_int_equal(lab_simulate(t, (CachePolicy)p, slots, 0, &policy, &err), ERR_OK);
                assert_true(policy.hits <= r.hits);
            }
        }
        lab_trace_free(t);
    }
}

static void a_replay_of_lru_is_worked_out_by_hand(void **state) {
    (void)state;
    const char *picks[1] = {"0120310"}; /* two slots: 0 1 | 2 for 0 | 0 for 1 | 3 for 2 | 1 for 0 | 0 for 3: no hit; three: 0 and 1 hit */
    LabTrace *t = make(1, 4, picks);
    LabReplay r;
    Err err;
    assert_int_equal(lab_simulate(t, CACHE_LRU, 2, 0, &r, &err), ERR_OK);
    assert_int_equal(r.hits, 0);
    assert_int_equal(lab_simulate(t, CACHE_LRU, 3, 0, &r, &err), ERR_OK);
    assert_int_equal(r.hits, 2); /* 0 at the fourth token; 1 was gone for 3; 0 at the last */
    assert_int_equal(lab_simulate(t, CACHE_LRU, 4, 0, &r, &err), ERR_OK);
    assert_int_equal(r.hits, 3);
    lab_trace_free(t);
}

static void what_is_foretold_is_counted(void **state) {
    (void)state;
    const char *picks[2] = {"0011001100110011", "2233223322332233"}; /* the second layer follows from the first */
    LabTrace *t = make(2, 4, picks);
    LabLocality l;
    Err err;
    assert_int_equal(lab_locality(t, &l, &err), ERR_OK);
    assert_true(fabs(l.previous_token - 8.0 / 15) < 1e-9);
    assert_true(fabs(l.across_layers - 1) < 1e-9);
    assert_true(fabs(l.chance - 0.25) < 1e-9);
    assert_int_equal(l.working_set, 2);
    assert_int_equal(l.touched, 4);
    assert_true(fabs(l.first_uses - 4.0 / 32) < 1e-9);
    assert_true(fabs(l.reuse[0] - 16.0 / 32) < 1e-9); /* the same again */
    assert_true(fabs(l.reuse[1] - 28.0 / 32) < 1e-9);
    assert_true(fabs(l.top20 - 0.8 * 0.5) < 1e-9);    /* of four experts 20 % is 0.8 of one, and that has half of the uses */
    LabReplay r;
    assert_int_equal(lab_pinned(t, 2, &r, &err), ERR_OK);
    assert_int_equal(r.hits, 16);
    assert_int_equal(r.late_hits, 8);
    lab_trace_free(t);
}

static ErrCode replay(int which, const LabTrace *t, Err *err) {
    LabReplay r;
    LabLocality l;
    switch (which) {
    case 0: return lab_simulate(t, CACHE_LRU, 2, 0, &r, err);
    case 1: return lab_belady(t, 2, &r, err);
    case 2: return lab_pinned(t, 2, &r, err);
    default: return lab_locality(t, &l, err);
    }
}

static void memory_that_runs_out_is_told(void **state) {
    (void)state;
    const char *picks[1] = {"0120310"};
    LabTrace *t = make(1, 4, picks);
    uint64_t live = mem_live_count();
    for (int which = 0; which < 4; which++) {
        uint64_t failed = 0;
        for (ErrCode code = ERR_MEMORY; code == ERR_MEMORY; failed += code == ERR_MEMORY) { /* each allocation, until none fails */
            Err err = {0};
            mem_fail_after(failed + 1);
            code = replay(which, t, &err);
            mem_fail_after(0);
            assert_int_equal(err.code, code);
            assert_int_equal(mem_live_count(), live);
            if (code != ERR_MEMORY) assert_int_equal(code, ERR_OK);
        }
        assert_true(failed > 0);
    }
    lab_trace_free(t);
}

int main(void) {
    const struct CMUnitTest lab_simulate[] = {
        cmocka_unit_test(belady_is_the_best_that_can_be),
        cmocka_unit_test(a_replay_of_lru_is_worked_out_by_hand),
        cmocka_unit_test(what_is_foretold_is_counted),
        cmocka_unit_test(memory_that_runs_out_is_told),
    };
    return RUN_TESTS(lab_simulate);
}
