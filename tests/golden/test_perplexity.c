/* Perplexity of trained models, as llama.cpp and the training code computed it. */
#include "support/recording.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Mean over `windows` windows of `window` ids; half: llama.cpp's scoring of the second half, else every position but the first. */
static double perplexity(const char *model, const int32_t *ids, int window, int windows, bool half) {
    sluice_options o = check_options(model);
    sluice_model *m = open_or_fail(&o);
    sluice_session *s = sluice_session_new(m, NULL);
    double nll = 0;
    long scored = 0;
    for (int w = 0; w < windows; w++) {
        sluice_session_reset(s);
        Recording *r = record(m, s, ids + (size_t)w * (size_t)window, window, NULL);
        int from = half ? window / 2 : 0;
        nll += negative_log_likelihood(r, ids + (size_t)w * (size_t)window, from);
        scored += window - 1 - from;
        recording_free(r);
    }
    sluice_session_free(s);
    sluice_close(m);
    return exp(nll / (double)scored);
}

static int32_t *tokens_of(const char *model, const char *path, size_t at_least) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    size_t size = (size_t)ftell(f), n;
    rewind(f);
    char *text = malloc(size);
    assert_int_equal(fread(text, 1, size, f), size);
    fclose(f);
    sluice_options o = check_options(model);
    sluice_model *m = open_or_fail(&o);
    int32_t *ids;
    sluice_error err;
    if (sluice_tokenize(m, text, size, SLUICE_NO_SPECIAL, &ids, &n, &err)) fail_msg("%s", err.message);
    assert_true(n >= at_least);
    sluice_close(m);
    free(text);
    return ids;
}

static void expect_near(double got, double want, double tolerance) {
    if (!(fabs(got - want) <= tolerance)) fail_msg("perplexity %.5f, reference %.5f", got, want);
}

/* 16,384 tokens of a larger model take minutes under a sanitizer, and the plain build runs the same code. */
static bool skip_when_slow(const char *name) {
    if (under_sanitizer()) printf("SKIP: %s under a sanitizer; the plain run has it\n", name);
    return under_sanitizer();
}

static void nano_shakespeare(void **state) {
    (void)state;
    const char *folder = shared_path("data/models/nano-shakespeare"), *gguf = shared_path("data/models/nano-shakespeare/model.f32.gguf");
    const char *text = shared_path("data/text/tinyshakespeare.val.txt");
    REQUIRE_PATH(gguf);
    REQUIRE_PATH(text);
    int32_t *ids = tokens_of(gguf, text, 300 * 128);
    /* the references are known to three decimals (ours: 5.8240, 6.2939, 6.3935) */
    expect_near(perplexity(gguf, ids, 32, 300, true), 5.8246, 1e-3);
    expect_near(perplexity(gguf, ids, 64, 300, true), 6.2939, 1e-3);
    expect_near(perplexity(gguf, ids, 128, 300, true), 6.3935, 1e-3);
    expect_near(perplexity(folder, ids, 64, 300, true), 6.2939, 1e-3);
    sluice_free(ids);
}

/* The embedded model on the windows of its golden file: needs no data beside the clone. */
static void tiny_tales_q8_0(void **state) {
    (void)state;
    if (skip_when_slow("tiny_tales_q8_0")) skip();
    const char *golden = source_path("tests/data/tiny-tales/golden.safetensors"), *model = source_path("data/tiny-tales.gguf");
    REQUIRE_PATH(golden);
    REQUIRE_PATH(model);
    Golden *g = golden_open(golden);
    expect_near(perplexity(model, golden_i32(g, "windows", 64 * 256), 256, 64, false), 5.15323, 2e-4);
    golden_close(g);
}

static void tiny_tales_bf16(void **state) {
    (void)state;
    if (skip_when_slow("tiny_tales_bf16")) skip();
    const char *model = shared_path("data/models/tiny-tales"), *text = shared_path("data/models/tiny-tales/tiny-tales.val.txt");
    REQUIRE_PATH(model);
    REQUIRE_PATH(text);
    int32_t *ids = tokens_of(model, text, 64 * 256);
    expect_near(perplexity(model, ids, 256, 64, false), 5.1544, 1e-4);
    sluice_free(ids);
}

static void tiny_tales_256_bf16(void **state) {
    (void)state;
    if (skip_when_slow("tiny_tales_256_bf16")) skip();
    const char *model = shared_path("data/models/tiny-tales-256"), *text = shared_path("data/models/tiny-tales/tiny-tales.val.txt");
    REQUIRE_PATH(model);
    REQUIRE_PATH(text);
    int32_t *ids = tokens_of(model, text, 64 * 256);
    expect_near(perplexity(model, ids, 256, 64, false), 5.757, 1e-3);
    sluice_free(ids);
}

/* Logits, hidden states and choices of the story model, and that HF folder and golden file agree. */
static void tiny_tales_golden(void **state) {
    (void)state;
    const char *model = shared_path("data/models/tiny-tales"), *golden = shared_path("data/models/tiny-tales/golden.safetensors");
    REQUIRE_PATH(model);
    REQUIRE_PATH(golden);
    Golden *g = golden_open(golden);
    sluice_options o = check_options(model);
    sluice_model *m = open_or_fail(&o);
    sluice_session *s = sluice_session_new(m, NULL);
    Recording *r = record(m, s, golden_i32(g, "logits.ids", 48), 48, NULL);
    assert_true(difference(r->logits, golden_f32(g, "logits", 48 * r->vocab), 48 * r->vocab).max <= 1e-3);
    /* the file also holds the embedding before layer 0; its last entry is after the final norm */
    const float *hidden = golden_f32(g, "logits.hidden", (int64_t)(r->layers + 1) * 48 * r->width);
    int64_t per_layer = 48 * (int64_t)r->width;
    assert_true(difference(r->hidden, hidden + per_layer, (r->layers - 1) * per_layer).max <= 1e-3);
    const int32_t *experts = golden_i32(g, "logits.experts", (int64_t)r->layers * 48 * r->k);
    for (int i = 0; i < r->layers * 48; i++)
        for (int a = 0; a < r->k; a++) {
            bool found = false;
            for (int b = 0; b < r->k; b++) found |= r->experts[i * r->k + a] == experts[i * r->k + b];
            assert_true(found);
        }
    recording_free(r);
    for (int p = 0; p < 4; p++) {
        char name[32];
        snprintf(name, sizeof name, "prompt.%d", p);
        const GoldenTensor *prompt = golden_get(g, name);
        snprintf(name, sizeof name, "greedy.%d", p);
        const GoldenTensor *want = golden_get(g, name);
        sluice_session_reset(s);
        sluice_error err;
        assert_int_equal(sluice_feed(s, prompt->data, (size_t)prompt->count, &err), 0);
        int32_t got[128];
        assert_true(want->count <= 128);
        greedy(s, (int)want->count, got);
        assert_memory_equal(got, want->data, (size_t)want->count * sizeof *got);
    }
    sluice_session_free(s);
    sluice_close(m);
    golden_close(g);
}

int main(void) {
    const struct CMUnitTest perplexity_tests[] = {
        cmocka_unit_test(nano_shakespeare), cmocka_unit_test(tiny_tales_q8_0),   cmocka_unit_test(tiny_tales_bf16),
        cmocka_unit_test(tiny_tales_256_bf16), cmocka_unit_test(tiny_tales_golden),
    };
    return RUN_TESTS(perplexity_tests);
}
