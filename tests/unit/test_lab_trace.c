/* Traces: what was written is read back, a file that is not one is refused, and a disk that fills up is told. */
#define _GNU_SOURCE
#include "support/program.h"
#include "support/support.h"

#include "lab/lab.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { LAYERS = 3, K = 2 };

static LabTraceFacts facts(uint32_t experts) {
    LabTraceFacts f = {.layers = LAYERS, .experts = experts, .top_k = K, .slots = 7, .record_bytes = 4096};
    strcpy(f.model, "toy");
    return f;
}

/* Token t of layer l chooses (t + l) and (t + l + 1), modulo the number of experts. */
static void write_layer(LabTraceWriter *w, uint32_t experts, int layer, int position, int n) {
    int32_t wanted[64];
    uint8_t hit[64];
    int n_wanted = 0;
    const float weights[K] = {0.75f, 0.25f};
    for (int t = 0; t < n; t++) {
        int32_t picks[K];
        for (int i = 0; i < K; i++) picks[i] = (int32_t)((uint32_t)(position + t + layer + i) % experts);
        lab_trace_routing(w, layer, position + t, K, picks, weights);
    }
    for (uint32_t e = 0; e < experts; e++)
        for (int t = 0; t <= n; t++)
            if ((uint32_t)(position + t + layer) % experts == e) {
                hit[n_wanted] = e % 3 == 0;
                wanted[n_wanted++] = (int32_t)e;
                break;
            }
    lab_trace_fetch(w, layer, position, n, n_wanted, wanted, hit, 1234567);
}

static const char *write_trace(const char *name, uint32_t experts, int half_a_step) {
    const char *path = temp_path(name);
    Err err = {0};
    LabTraceFacts f = facts(experts);
    LabTraceWriter *w = lab_trace_new(path, &f, &err);
    assert_non_null(w);
    static const int lengths[] = {5, 1, 1, 3};
    int position = 0;
    for (size_t s = 0; s < COUNT_OF(lengths); s++) {
        for (int l = 0; l < LAYERS; l++) write_layer(w, experts, l, position, lengths[s]);
        position += lengths[s];
    }
    for (int l = 0; l < half_a_step; l++) write_layer(w, experts, l, position, 1);
    assert_false(access(path, F_OK) == 0); /* a file that exists is whole */
    uint64_t bytes, steps;
    if (lab_trace_finish(w, &bytes, &steps, &err)) fail_msg("%s", err.text);
    assert_int_equal(steps, COUNT_OF(lengths));
    return path;
}

static void check_trace(const char *path, uint32_t experts) {
    Err err = {0};
    LabTrace *t = lab_trace_read(path, &err);
    if (!t) fail_msg("%s", err.text);
    assert_string_equal(t->facts.model, "toy");
    assert_int_equal(t->facts.experts, experts);
    assert_int_equal(t->facts.slots, 7);
    assert_int_equal(t->facts.record_bytes, 4096);
    assert_int_equal(t->n_steps, 4);
    assert_int_equal(t->n_tokens, 10);
    assert_int_equal(t->steps[3].position, 7);
    assert_int_equal(t->steps[3].n_tokens, 3);
    const LabTraceWant *w = &t->wants[t->steps[3].first_want + 2]; /* layer 2, tokens at 7, 8, 9: experts 9..12 */
    assert_int_equal(w->layer, 2);
    assert_int_equal(w->wait_us, 1234);
    assert_true(w->hits_known);
    assert_int_equal(w->n_wanted, 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(t->wanted[w->wanted + i], 9 + i);
        assert_int_equal(t->uses[w->wanted + i], i == 0 || i == 3 ? 1 : 2);
        assert_int_equal(t->hits[w->wanted + i], (9 + i) % 3 == 0);
    }
    assert_int_equal(t->picks[w->picks + 2], 10);
    assert_int_equal(t->weights[w->picks + 1], quant_f32_to_f16(0.25f));
    lab_trace_free(t);
}

static void what_was_written_is_read_back(void **state) {
    (void)state;
    check_trace(write_trace("small.slt", 60, 0), 60);
    check_trace(write_trace("large.slt", 600, 0), 600); /* two bytes per pick */
}

static void a_step_that_was_cut_short_is_left_out(void **state) {
    (void)state;
    check_trace(write_trace("half.slt", 60, 1), 60);
}

static void whatever_is_cut_or_changed_is_refused_or_sound(void **state) {
    (void)state;
    size_t len;
    char *good = read_whole(write_trace("whole.slt", 60, 0), &len);
    const char *path = temp_path("bad.slt");
    char *bad = mem_new(len, 1);
    uint64_t random = 99;
    for (size_t i = 0; i < len + 3000; i++) {
        size_t n = i < len ? i : len;
        memcpy(bad, good, len);
        for (int k = 0; i >= len && k < 3; k++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            bad[(random >> 33) % len] = (char)(random >> 20);
        }
        FILE *f = fopen(path, "wb");
        assert_int_equal(fwrite(bad, 1, n, f), n);
        fclose(f);
        Err err = {0};
        LabTrace *t = lab_trace_read(path, &err);
        if (!t) {
            assert_true(err.text[0]);
            continue;
        }
        assert_true(i >= len);
        for (size_t w = 0; w < t->n_picks; w++) assert_true(t->picks[w] < t->facts.experts);
        lab_trace_free(t);
    }
    mem_free(bad);
    free(good);
}

static void a_disk_that_fills_up_is_told_and_leaves_no_file(void **state) {
    (void)state;
    struct rlimit before, small = {.rlim_cur = 400};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    const char *path = temp_path("full.slt");
    Err err = {0};
    LabTraceFacts f = facts(60);
    LabTraceWriter *w = lab_trace_new(path, &f, &err);
    assert_non_null(w);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (int position = 0; position < 100; position++)
        for (int l = 0; l < LAYERS; l++) write_layer(w, 60, l, position, 1);
    ErrCode code = lab_trace_finish(w, NULL, NULL, &err);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(code, ERR_IO);
    assert_non_null(strstr(err.text, "full.slt"));
    assert_non_null(strstr(err.text, "File too large"));
    assert_non_null(strstr(err.text, "make room"));
    assert_int_not_equal(access(path, F_OK), 0);
}

static void memory_that_runs_out_is_told(void **state) {
    (void)state;
    const char *path = write_trace("memory.slt", 60, 0);
    for (uint64_t n = 1;; n++) {
        Err err = {0};
        mem_fail_after(n);
        LabTrace *t = lab_trace_read(path, &err);
        mem_fail_after(0);
        lab_trace_free(t);
        if (t) break;
        assert_int_equal(err.code, ERR_MEMORY);
    }
    for (uint64_t n = 1; n < 40; n++) {
        Err err = {0};
        LabTraceFacts f = facts(60);
        mem_fail_after(n);
        LabTraceWriter *w = lab_trace_new(temp_path("memory2.slt"), &f, &err);
        if (w) {
            for (int l = 0; l < LAYERS; l++) write_layer(w, 60, l, 0, 1);
            lab_trace_finish(w, NULL, NULL, &err);
        }
        mem_fail_after(0);
        if (err.code) assert_true(err.text[0]);
    }
}

int main(void) {
    const struct CMUnitTest lab_trace[] = {
        cmocka_unit_test(what_was_written_is_read_back),
        cmocka_unit_test(a_step_that_was_cut_short_is_left_out),
        cmocka_unit_test(whatever_is_cut_or_changed_is_refused_or_sound),
        cmocka_unit_test(a_disk_that_fills_up_is_told_and_leaves_no_file),
        cmocka_unit_test(memory_that_runs_out_is_told),
    };
    return RUN_TESTS(lab_trace);
}
