/* The sampler: greedy ties, each filter against its definition, one seed one sequence. */
#include "support/make_model.h"
#include "support/recording.h"
#include "support/support.h"

#include "engine/engine.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { V = 50, DRAWS = 20000 };

static float logits[V];

static void make_logits(void) {
    for (int i = 0; i < V; i++) logits[i] = 3.0f * sinf(1.7f * (float)i) + 0.01f * (float)i;
}

static EngineSampler *sampler(uint64_t seed) {
    EngineSampler *s = engine_sampler_new(V, seed, NULL);
    assert_non_null(s);
    return s;
}

static void draw_counts(const sluice_sampling *how, int counts[V]) {
    EngineSampler *s = sampler(7);
    memset(counts, 0, V * sizeof *counts);
    for (int i = 0; i < DRAWS; i++) counts[engine_sampler_draw(s, logits, NULL, 0, how, NULL)]++;
    engine_sampler_free(s);
}

/* Probabilities of the kept set by definition: sort, cut, renormalise. */
static void expected(const sluice_sampling *how, double p[V]) {
    int order[V];
    for (int i = 0; i < V; i++) order[i] = i;
    for (int i = 1; i < V; i++)
        for (int j = i; j > 0 && logits[order[j]] > logits[order[j - 1]]; j--) {
            int t = order[j];
            order[j] = order[j - 1];
            order[j - 1] = t;
        }
    int n = how->top_k > 0 ? how->top_k : V;
    double w[V], mass = 0, kept = 0;
    for (int i = 0; i < n; i++) mass += w[i] = exp(((double)logits[order[i]] - (double)logits[order[0]]) / (double)how->temperature);
    int keep = 0;
    while (keep < n) {
        if (keep && w[keep] < (double)how->min_p) break;
        kept += w[keep++];
        if (how->top_p > 0 && how->top_p < 1 && kept >= mass * (double)how->top_p) break;
    }
    memset(p, 0, V * sizeof *p);
    for (int i = 0; i < keep; i++) p[order[i]] = w[i] / kept;
}

static void filters_follow_their_definition(void **state) {
    (void)state;
    make_logits();
    const sluice_sampling how[] = {
        {.temperature = 1, .top_p = 1}, {.temperature = 0.6f, .top_k = 7, .top_p = 1}, {.temperature = 1.3f, .top_p = 0.8f},
        {.temperature = 1, .min_p = 0.2f, .top_p = 1}, {.temperature = 0.9f, .top_k = 20, .top_p = 0.9f, .min_p = 0.05f},
        {.temperature = 0.7f, .top_k = 1, .top_p = 1}, {.temperature = 1, .top_k = 1000, .top_p = 0.5f},
    };
    for (size_t h = 0; h < COUNT_OF(how); h++) {
        int counts[V];
        double p[V];
        sluice_sampling bounded = how[h];
        if (bounded.top_k > V) bounded.top_k = V;
        draw_counts(&how[h], counts);
        expected(&bounded, p);
        for (int i = 0; i < V; i++) {
            double share = counts[i] / (double)DRAWS, sigma = sqrt(p[i] * (1 - p[i]) / DRAWS);
            if (p[i] == 0) assert_int_equal(counts[i], 0);
            else assert_true(fabs(share - p[i]) < 5 * sigma + 1e-4);
        }
    }
}

static void greedy_takes_the_lowest_of_equals(void **state) {
    (void)state;
    make_logits();
    logits[11] = logits[30] = logits[45] = 99;
    sluice_sampling how = {.temperature = 0};
    EngineSampler *s = sampler(1);
    assert_int_equal(engine_sampler_draw(s, logits, NULL, 0, &how, NULL), 11);
    engine_sampler_free(s);
}

static void penalties_follow_their_definition(void **state) {
    (void)state;
    memset(logits, 0, sizeof logits);
    logits[3] = 2;
    logits[4] = 1.9f;
    logits[5] = -1;
    int32_t history[] = {9, 3, 3, 5};
    EngineSampler *s = sampler(1);
    sluice_sampling none = {.temperature = 0, .repeat = 1};
    assert_int_equal(engine_sampler_draw(s, logits, history, 4, &none, NULL), 3);
    sluice_sampling presence = {.temperature = 0, .presence = 0.2f, .repeat = 1};
    assert_int_equal(engine_sampler_draw(s, logits, history, 4, &presence, NULL), 4);
    sluice_sampling frequency = {.temperature = 0, .frequency = 0.04f, .repeat = 1};
    assert_int_equal(engine_sampler_draw(s, logits, history, 4, &frequency, NULL), 3); /* 2 - 2 * 0.04 = 1.92 */
    frequency.frequency = 0.06f;
    assert_int_equal(engine_sampler_draw(s, logits, history, 4, &frequency, NULL), 4); /* 1.88 */
    sluice_sampling repeat = {.temperature = 0, .repeat = 1.1f};
    assert_int_equal(engine_sampler_draw(s, logits, history, 4, &repeat, NULL), 4); /* 2 / 1.1 */
    sluice_sampling window = {.temperature = 0, .presence = 0.2f, .repeat = 1, .penalty_window = 1};
    assert_int_equal(engine_sampler_draw(s, logits, history, 4, &window, NULL), 3);
    /* negative logits are multiplied: token 5 must fall below token 6 at -1.05 */
    for (int i = 0; i < V; i++) logits[i] = -50;
    logits[5] = -1;
    logits[6] = -1.05f;
    assert_int_equal(engine_sampler_draw(s, logits, history, 4, &repeat, NULL), 6);
    engine_sampler_free(s);
}

static void one_seed_one_sequence(void **state) {
    (void)state;
    make_logits();
    sluice_sampling how = {.temperature = 1, .top_k = 40, .top_p = 0.95f};
    EngineSampler *a = sampler(42), *b = sampler(42), *c = sampler(43);
    int different = 0;
    for (int i = 0; i < 200; i++) {
        int32_t x = engine_sampler_draw(a, logits, NULL, 0, &how, NULL);
        assert_int_equal(x, engine_sampler_draw(b, logits, NULL, 0, &how, NULL));
        different += x != engine_sampler_draw(c, logits, NULL, 0, &how, NULL);
    }
    assert_true(different > 100);
    engine_sampler_free(a);
    engine_sampler_free(b);
    engine_sampler_free(c);
}

static void a_model_that_says_nothing_has_the_documented_defaults(void **state) {
    (void)state;
    MakeModel made = {.arch = "qwen3moe", .seed = 2};
    sluice_options o = check_options(make_model(&made, "defaults.gguf"));
    sluice_model *m = open_or_fail(&o);
    sluice_sampling s;
    sluice_sampling_default(m, &s);
    sluice_close(m);
    assert_true(s.temperature == 0.7f && s.top_k == 40 && s.top_p == 0.95f && s.min_p == 0);
    assert_true(s.presence == 0 && s.frequency == 0 && s.repeat == 1 && s.penalty_window == 0);
}

/* A mask is a definition: what it leaves out might as well have a logit of minus infinity. */
static void only_what_is_allowed_is_drawn(void **state) {
    (void)state;
    make_logits();
    const sluice_sampling how = {.temperature = 0.8f, .top_k = 5, .top_p = 0.9f, .repeat = 1.2f}, coldest = {.top_p = 1, .repeat = 1};
    const int32_t history[3] = {4, 9, 9};
    uint32_t all[2] = {UINT32_MAX, UINT32_MAX}, none[2] = {0, UINT32_MAX << (V - 32)}, some[2] = {1u << 3 | 1u << 30, 1u << (49 - 32)};
    EngineSampler *a = sampler(5), *b = sampler(5);
    int counts[V] = {0};
    for (int i = 0; i < 500; i++) {
        int32_t x = engine_sampler_draw(a, logits, history, 3, &how, all);
        assert_int_equal(x, engine_sampler_draw(b, logits, history, 3, &how, NULL));
        counts[engine_sampler_draw(a, logits, history, 3, &how, some)]++;
        (void)xoshiro_next(&b->random); /* one number per token that was drawn */
        assert_int_equal(engine_sampler_draw(a, logits, history, 3, &how, none), -1); /* and none without one */
    }
    assert_int_equal(counts[3] + counts[30] + counts[49], 500);
    int32_t best = logits[3] > logits[30] ? 3 : 30;
    if (logits[49] > logits[best]) best = 49;
    assert_int_equal(engine_sampler_draw(a, logits, NULL, 0, &coldest, some), best);
    assert_int_equal(engine_sampler_draw(a, logits, NULL, 0, &coldest, none), -1);
    engine_sampler_free(a);
    engine_sampler_free(b);
}

int main(void) {
    const struct CMUnitTest sampler_tests[] = {
        cmocka_unit_test(only_what_is_allowed_is_drawn),
        cmocka_unit_test(filters_follow_their_definition), cmocka_unit_test(greedy_takes_the_lowest_of_equals),
        cmocka_unit_test(penalties_follow_their_definition), cmocka_unit_test(one_seed_one_sequence),
        cmocka_unit_test(a_model_that_says_nothing_has_the_documented_defaults),
    };
    return RUN_TESTS(sampler_tests);
}
