/* Every file layout of every architecture against the reference implementation's numbers, with f32 activations. */
#include "support/recording.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Case {
    const char *model, *golden;
} Case;

static const Case cases[] = {
    {"q35-a", "q35-a"},
    {"q35-a.f16.gguf", "q35-a"},
    {"q35-a.qa.gguf", "q35-a.qa"},
    {"q35-a.qb.gguf", "q35-a.qb"},
    {"q35-real-dims", "q35-real-dims"},
    {"q35-real-dims.bf16-00001-of-00003.gguf", "q35-real-dims"},
    {"next-a", "next-a"},
    {"next-a.f32.gguf", "next-a"},
    {"moe-a", "moe-a"},
    {"moe-a.f32.gguf", "moe-a"},
};

static const char *golden_path(const char *rel, const char *suffix) {
    char path[256];
    snprintf(path, sizeof path, "data/golden/%s%s", rel, suffix);
    return shared_path(path);
}

static int compare_ids(const void *a, const void *b) { return *(const int32_t *)a - *(const int32_t *)b; }

/* Chosen experts are equal as sets, and each one's weight. */
static void check_routing(const Recording *r, const Golden *g, const char *prompt) {
    char name[64];
    snprintf(name, sizeof name, "%s.router.ids", prompt);
    size_t count = (size_t)r->layers * (size_t)r->n * (size_t)r->k, k = (size_t)r->k;
    const int32_t *ids = golden_i32(g, name, (int64_t)count);
    snprintf(name, sizeof name, "%s.router.weights", prompt);
    const float *weights = golden_f32(g, name, (int64_t)count);
    int32_t *ours = malloc(k * sizeof *ours), *theirs = malloc(k * sizeof *theirs);
    for (size_t at = 0; at < count; at += k) {
        for (size_t i = 0; i < k; i++)
            for (size_t j = 0; j < k; j++)
                if (r->experts[at + i] == ids[at + j]) assert_true(fabsf(r->weights[at + i] - weights[at + j]) <= 1e-4f);
        memcpy(ours, r->experts + at, k * sizeof *ours);
        memcpy(theirs, ids + at, k * sizeof *theirs);
        qsort(ours, k, sizeof *ours, compare_ids);
        qsort(theirs, k, sizeof *theirs, compare_ids);
        assert_memory_equal(ours, theirs, k * sizeof *ours);
        for (size_t i = 1; i < k; i++) assert_true(r->weights[at + i - 1] >= r->weights[at + i]); /* best first */
    }
    free(ours);
    free(theirs);
}

static void check_prompt_a(sluice_model *m, sluice_session *s, const Golden *g) {
    const GoldenTensor *a = golden_get(g, "A.ids");
    int n = (int)a->count;
    const int32_t *ids = a->data;
    static const int odd[] = {5, 17, 15, 0};
    static int ones[64];
    for (int i = 0; i < n; i++) ones[i] = 1;

    Recording *whole = record(m, s, ids, n, NULL);
    const GoldenTensor *greedy_ids = golden_get(g, "A.greedy");
    int32_t continued[128];
    greedy(s, (int)greedy_ids->count, continued);
    assert_memory_equal(continued, greedy_ids->data, (size_t)greedy_ids->count * sizeof(int32_t));

    Difference logits = difference(whole->logits, golden_f32(g, "A.logits", (int64_t)n * whole->vocab), (int64_t)n * whole->vocab);
    Difference hidden = difference(whole->hidden, golden_f32(g, "A.hidden", 0), (int64_t)whole->layers * n * whole->width);
    if (!(logits.max <= 1e-3)) fail_msg("logits differ by %g", logits.max);
    if (!(hidden.max <= 1e-3)) fail_msg("hidden states differ by %g", hidden.max);
    check_routing(whole, g, "A");

    sluice_session_reset(s);
    Recording *stepped = record(m, s, ids, n, ones);
    assert_true(recording_equal(whole, stepped));
    sluice_session_reset(s);
    Recording *pieces = record(m, s, ids, n, odd);
    assert_true(recording_equal(whole, pieces));
    recording_free(whole);
    recording_free(stepped);
    recording_free(pieces);
}

static void check_prompt_b(sluice_model *m, sluice_session *s, const Golden *g) {
    const GoldenTensor *b = golden_get(g, "B.ids");
    if (!b) return; /* the quantised files know prompt A only */
    int n = (int)b->count;
    sluice_session_reset(s);
    Recording *r = record(m, s, b->data, n, NULL);
    Difference last = difference(r->logits + (size_t)(n - 8) * (size_t)r->vocab,
                                 golden_f32(g, "B.logits_last8", 8 * r->vocab), 8 * r->vocab);
    if (!(last.max <= 1e-3)) fail_msg("the last logits of B differ by %g", last.max);
    double loglik;
    memcpy(&loglik, golden_get(g, "B.loglik")->data, sizeof loglik);
    double ours = -negative_log_likelihood(r, b->data, 0);
    if (!(fabs(ours - loglik) <= 0.02)) fail_msg("log-likelihood %f, reference %f", ours, loglik);
    const GoldenTensor *want = golden_get(g, "B.greedy");
    int32_t continued[128];
    greedy(s, (int)want->count, continued);
    assert_memory_equal(continued, want->data, (size_t)want->count * sizeof(int32_t));
    recording_free(r);
}

static void golden_numbers_are_met(void **state) {
    const Case *c = *state;
    const char *model = golden_path(c->model, ""), *golden = golden_path(c->golden, ".golden.safetensors");
    REQUIRE_PATH(model);
    REQUIRE_PATH(golden);
    Golden *g = golden_open(golden);
    sluice_options options = check_options(model);
    sluice_model *m = open_or_fail(&options);
    sluice_session *s = sluice_session_new(m, NULL);
    assert_non_null(s);
    check_prompt_a(m, s, g);
    check_prompt_b(m, s, g);
    sluice_session_free(s);
    sluice_close(m);
    golden_close(g);
}

int main(void) {
    enum { N = sizeof cases / sizeof cases[0] };
    struct CMUnitTest tests[N];
    for (size_t i = 0; i < N; i++) {
        tests[i] = (struct CMUnitTest)cmocka_unit_test_prestate(golden_numbers_are_met, (void *)(uintptr_t)&cases[i]);
        tests[i].name = cases[i].model;
    }
    return run_group("golden", tests, N);
}
