/* What a run says about itself: the fetch probe tells what each layer wanted and found, and the clocks add up to the run. */
#include "support/make_model.h"
#include "support/recording.h"
#include "support/support.h"

#include <string.h>

enum { LAYERS = 4, EXPERTS = 10, TOP_K = 3, PREFILL = 9, DECODE = 14, STEPS = 1 + DECODE };

/* Everything that the probes of one run told. */
typedef struct Account {
    int fetches;
    uint64_t wanted, hits, wait_ns;
    int layer, position; /* of the fetch that must come next */
    int n;
    bool picked[EXPERTS]; /* by the router, in the layer that is being computed */
    int n_picked;
} Account;

static void on_routing(void *user, int layer, int position, int k, const int32_t *experts, const float *weights) {
    Account *a = user;
    (void)weights;
    assert_int_equal(layer, a->layer);
    assert_in_range(position, a->position, a->position + a->n - 1);
    assert_int_equal(k, TOP_K);
    for (int i = 0; i < k; i++) {
        a->n_picked += !a->picked[experts[i]];
        a->picked[experts[i]] = true;
    }
}

static void on_fetch(void *user, int layer, int position, int n, int n_wanted, const int32_t *experts, const uint8_t *hit,
                     uint64_t wait_ns) {
    Account *a = user;
    assert_int_equal(layer, a->layer);
    assert_int_equal(position, a->position);
    assert_int_equal(n, a->n);
    assert_int_equal(n_wanted, a->n_picked);
    for (int i = 0; i < n_wanted; i++) {
        assert_true(a->picked[experts[i]]);
        assert_true(i == 0 || experts[i] > experts[i - 1]);
        assert_true(hit[i] <= SLUICE_READ_AHEAD);
        a->hits += hit[i] == SLUICE_HIT;
    }
    a->wanted += (uint64_t)n_wanted;
    a->wait_ns += wait_ns;
    a->fetches++;
    memset(a->picked, 0, sizeof a->picked);
    a->n_picked = 0;
    a->layer = (layer + 1) % LAYERS;
}

static void feed(sluice_session *s, Account *a, const int32_t *ids, int n) {
    a->n = n;
    a->position = sluice_position(s);
    sluice_error err;
    if (sluice_feed(s, ids, (size_t)n, &err)) fail_msg("%s", err.message);
    assert_int_equal(a->layer, 0);
}

static void the_fetch_probe_tells_what_the_store_counted(void **state) {
    const int *slots = *state;
    MakeModel made = {.seed = 21, .layers = LAYERS, .experts = EXPERTS, .top_k = TOP_K};
    sluice_options o = check_options(make_model(&made, "accounts.gguf"));
    o.cache_slots = *slots;
    sluice_model *m = open_or_fail(&o);
    sluice_session *s = sluice_session_new(m, NULL);
    Account a = {0};
    sluice_probe probe = {.user = &a, .routing = on_routing, .fetch = on_fetch};
    sluice_set_probe(s, &probe);
    int32_t ids[PREFILL + DECODE];
    for (int i = 0; i < PREFILL + DECODE; i++) ids[i] = (i * 31 + 7) % MAKE_VOCAB;
    feed(s, &a, ids, PREFILL);
    for (int i = 0; i < DECODE; i++) feed(s, &a, ids + PREFILL + i, 1);
    sluice_stats stats;
    sluice_get_stats(m, &stats);
    assert_int_equal(a.fetches, STEPS * LAYERS);
    assert_int_equal(a.wanted, stats.experts_wanted);
    assert_int_equal(a.hits, stats.hits);
    assert_int_equal(a.wait_ns, stats.wait_ns);
    assert_true(stats.misses > 0 && (*slots == 5 || stats.hits > 0));

    uint64_t whole = stats.prefill_ns + stats.decode_ns;
    uint64_t parts = stats.dense_ns + stats.expert_ns + stats.store_ns + stats.wait_ns;
    assert_true(stats.dense_ns > 0 && stats.expert_ns > 0 && stats.store_ns > 0);
    assert_in_range(parts, whole / 4, whole); /* the rest is in the probes, whose checks take long here */

    sluice_reset_stats(m);
    sluice_get_stats(m, &stats);
    assert_int_equal(stats.dense_ns + stats.expert_ns + stats.store_ns + stats.wait_ns, 0);
    sluice_session_free(s);
    sluice_close(m);
}

int main(void) {
    static int few = 5, some = 17, all = 0;
    const struct CMUnitTest accounts[] = {
        {"5 slots: the probe tells what was counted", the_fetch_probe_tells_what_the_store_counted, NULL, NULL, &few},
        {"17 slots: the probe tells what was counted", the_fetch_probe_tells_what_the_store_counted, NULL, NULL, &some},
        {"all slots: the probe tells what was counted", the_fetch_probe_tells_what_the_store_counted, NULL, NULL, &all},
    };
    return RUN_TESTS(accounts);
}
