/* synth and plan: models that are made, and models that are only described. */
#include "support/program.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void expect_text(const char *where, const char *text) {
    if (!strstr(where, text)) fail_msg("'%s' is not in: %s", text, where);
}

static void synth_writes_what_it_announces(void **state) {
    (void)state;
    const Result *r = shell_expect(0, "$S synth --shape tiny-qwen35moe --layers 2 --quant iq3_xxs -o $T/two.gguf --json");
    expect_text(r->err, "tiny-qwen35moe with 2 of 4 layers, experts IQ3_XXS, dense weights Q8_0");
    json_t *o = result_json(r);
    struct stat st;
    assert_int_equal(stat(temp_path("two.gguf"), &st), 0);
    assert_int_equal(json_integer_value(json_object_get(o, "bytes")), st.st_size);
    char line[64];
    snprintf(line, sizeof line, "%lld bytes", (long long)st.st_size);
    expect_text(r->err, line);
    json_decref(o);
    shell_expect(0, "$S logits -m $T/two.gguf --ids 1,2,3 -o $T/two.safetensors");
    expect_text(shell_expect(2, "$S synth --shape tiny-qwen35moe -o $T/two.gguf")->err, "is there already");
}

static void synth_refuses_what_it_does_not_know(void **state) {
    (void)state;
    const Result *r = shell_expect(2, "$S synth --shape qwen3.5-379b-a17b -o $T/no.gguf");
    expect_text(r->err, "did you mean qwen3.5-397b-a17b?");
    expect_text(r->err, "qwen3-coder-480b-a35b");
    expect_text(shell_expect(2, "$S synth --shape tiny-qwen3moe --quant q9 -o $T/no.gguf")->err, "Q4_K");
    expect_text(shell_expect(2, "$S synth --shape tiny-qwen3moe --layers 9 -o $T/no.gguf")->err, "has 4");
    expect_text(shell_expect(2, "$S synth --shape tiny-qwen3moe")->err, "-o FILE");
    expect_text(shell_expect(2, "$S synth -o $T/no.gguf")->err, "--shape");
}

static void synth_goes_on_after_the_disk_was_full(void **state) {
    (void)state;
    /* a limit on the length of files fails writes as a full disk does, in the middle of the second piece */
    const Result *r = shell_expect(1, "trap '' XFSZ; ulimit -f 10000; $S synth --shape tiny-qwen3moe -o $T/full.gguf");
    expect_text(r->err, "full.gguf.part: writing");
    shell_expect(1, "test -e $T/full.gguf");
    r = shell_expect(0, "$S synth --shape tiny-qwen3moe -o $T/full.gguf");
    expect_text(r->err, "going on after 8.00 MiB");
    shell_expect(0, "$S synth --quiet --shape tiny-qwen3moe -o $T/once.gguf && cmp $T/full.gguf $T/once.gguf");
    shell_expect(1, "test -e $T/full.gguf.part");
}

/* ---- plan ---- */

static double number(const json_t *o, const char *name) {
    const json_t *v = json_object_get(o, name);
    if (!json_is_number(v)) fail_msg("no number %s", name);
    return json_number_value(v);
}

#define MACHINE " --disk 7GB/s --dram 60GB/s --cores 16"

static void memory_for_states_is_taken_from_the_cache(void **state) {
    (void)state;
    json_t *none = result_json(shell_expect(0, "$S plan --shape qwen3.5-35b-a3b --ram 16G" MACHINE " --json"));
    json_t *some = result_json(shell_expect(0, "$S plan --shape qwen3.5-35b-a3b --ram 16G --state-ram 2G" MACHINE " --json"));
    assert_true(number(none, "snapshot_bytes") == 0);
    assert_true(number(some, "snapshot_bytes") == 2.0 * 1024 * 1024 * 1024);
    double less = (number(none, "cache_bytes") + number(none, "free_bytes")) - (number(some, "cache_bytes") + number(some, "free_bytes"));
    assert_true(less > 2e9 && less < 2.3e9);
    json_decref(none);
    json_decref(some);
    assert_non_null(strstr(shell_expect(0, "$S plan --shape qwen3.5-35b-a3b --ram 16G --state-ram 2G" MACHINE)->out, "snapshots"));
}

static void plan_needs_no_file_for_a_shape(void **state) {
    (void)state;
    json_t *o = result_json(shell_expect(0, "$S plan --shape qwen3.5-397b-a17b --ram 64G" MACHINE " --json"));
    static const char *const numbers[] = {"ram_bytes", "dense_bytes", "state_bytes", "kv_bytes", "buffers_bytes", "cache_bytes",
                                          "cache_slots", "experts_total", "resident_share", "bytes_per_token_cold", "predicted_hit_rate",
                                          "predicted_decode_tok_s", "predicted_prefill_tok_s", "bound_tok_s", "bound_serial_tok_s"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) assert_true(number(o, numbers[i]) > 0);
    assert_true(json_is_true(json_object_get(o, "fits")));
    assert_string_equal(json_string_value(json_object_get(o, "why")), "");
    assert_true(number(o, "experts_total") == 60 * 512);
    assert_true(number(o, "bytes_per_token_cold") == 600.0 * 7077888);
    assert_true(number(o, "ram_bytes") == 64.0 * 1024 * 1024 * 1024);
    assert_true(number(o, "bytes_written_per_hour") == 0);
    double all = number(o, "dense_bytes") + number(o, "state_bytes") + number(o, "kv_bytes") + number(o, "buffers_bytes") +
                 number(o, "cache_bytes") + number(o, "base_bytes") + number(o, "reserve_bytes") + number(o, "free_bytes");
    assert_true(all == number(o, "ram_bytes"));
    const json_t *rows = json_object_get(o, "by_ram"), *types = json_object_get(o, "by_type");
    assert_int_equal(json_array_size(rows), 11);
    assert_int_equal(json_array_size(types), 9);
    double before = 0;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        double now = number(json_array_get(rows, i), "predicted_decode_tok_s");
        assert_true(now >= before);
        before = now;
    }
    json_decref(o);
}

static void a_plan_that_says_no_is_an_answer(void **state) {
    (void)state;
    json_t *o = result_json(shell_expect(0, "$S plan --shape qwen3.5-35b-a3b --ram 2G" MACHINE " --json"));
    assert_true(json_is_false(json_object_get(o, "fits")));
    const char *why = json_string_value(json_object_get(o, "why")), *at = strstr(why, "--ram ");
    assert_non_null(at);
    assert_true(number(o, "predicted_decode_tok_s") == 0);
    char line[160];
    snprintf(line, sizeof line, "$S plan --shape qwen3.5-35b-a3b --ram %ldM" MACHINE " --json", strtol(at + 6, NULL, 10));
    json_decref(o);
    o = result_json(shell_expect(0, line)); /* what it named is enough */
    assert_true(json_is_true(json_object_get(o, "fits")));
    json_decref(o);
}

static void plan_for_a_file_makes_the_plan_that_running_makes(void **state) {
    (void)state;
    if (under_sanitizer()) printf("SKIP: a sanitizer's memory is not ours to plan\n"), skip();
    shell_expect(0, "$S synth --quiet --shape tiny-qwen35moe -o $T/plan.gguf");
    json_t *o = result_json(shell_expect(0, "$S plan -m $T/plan.gguf --ram 40M --threads 2" MACHINE " --json"));
    const Result *r = shell_expect(0, "$S logits -m $T/plan.gguf --ram 40M --threads 2 --ids 1,2,3 --stats -o $T/x.st");
    const char *said = strstr(r->err, "cache    ");
    assert_non_null(said);
    double have = strtod(said + 9, NULL), planned = number(o, "cache_slots");
    if (!(planned > have * 0.9 && planned < have * 1.1 + 2)) fail_msg("%g slots planned, %g there", planned, have);
    json_decref(o);
}

/* A trace replayed through the cache that is planned gives the hit rate that a run with that cache has. */
static void a_trace_tells_plan_the_hit_rate(void **state) {
    (void)state;
    if (under_sanitizer()) printf("SKIP: a sanitizer's memory is not ours to plan\n"), skip();
    shell_expect(0, "$S synth --quiet --shape tiny-qwen35moe --skew 1 -o $T/skew.gguf");
#define SKEWED " -m $T/skew.gguf --ram 20M --ctx 512 --threads 2 --json"
    shell_expect(0, "$S run" SKEWED " --lookahead off --quiet --ids 1,2,3 -n 300 --temp 1 --seed 3 --trace $T/skew.slt");
    json_t *run = result_json(shell_expect(0, "$S simulate -f $T/skew.slt --json | head -1"));
    json_t *o = result_json(shell_expect(0, "$S plan" SKEWED " --disk 1GB/s -f $T/skew.slt"));
    json_t *uniform = result_json(shell_expect(0, "$S plan" SKEWED " --disk 1GB/s"));
    double h = number(o, "predicted_hit_rate"), recorded = number(run, "recorded_hit_rate");
    if (fabs(h - recorded) > 0.1) fail_msg("%.3f is expected, the run had %.3f", h, recorded);
    assert_true(h > number(uniform, "predicted_hit_rate") + 0.05); /* such text reuses experts */
    assert_true(fabs(number(o, "bytes_per_token") - (1 - h) * number(o, "bytes_per_token_cold")) < 1);
    expect_text(json_string_value(json_object_get(o, "hit_rate_from")), "skew.slt");
    assert_string_equal(json_string_value(json_object_get(uniform, "hit_rate_from")), "uniform");
    json_decref(run);
    json_decref(o);
    json_decref(uniform);
    expect_text(shell_expect(0, "$S plan -m $T/skew.gguf --ram 40M -f $T/skew.slt" MACHINE)->out, "with the hit rate of");
    /* a trace of another model, one without decoded tokens, and what is no trace */
    expect_text(shell_expect(2, "$S plan --shape tiny-qwen3moe --experts 2 -f $T/skew.slt" MACHINE)->err, "this model has 4 with 2 of 32");
    shell_expect(0, "$S trace --quiet -o $T/prompt.slt -p 'Once upon a time there was a little fox'");
    expect_text(shell_expect(2, "$S plan -f $T/prompt.slt --disk 1GB/s")->err, "--chunk 1");
    expect_text(shell_expect(1, "$S plan -f README.md --disk 1GB/s")->err, "is no trace");
}

/* The first prompt after a start finds nothing in memory; later ones find the cache's share. */
static void prefill_is_predicted_for_an_empty_cache(void **state) {
    (void)state;
    json_t *o = result_json(shell_expect(0, "$S plan --shape qwen3.5-35b-a3b --ram 12G --disk 1GB/s --dram 60GB/s --cores 16 --json"));
    assert_string_equal(json_string_value(json_object_get(o, "prefill_cache")), "empty");
    assert_true(number(o, "predicted_prefill_warm_tok_s") > number(o, "predicted_prefill_tok_s"));
    json_decref(o);
    expect_text(shell_expect(0, "$S plan --shape qwen3.5-35b-a3b --ram 12G" MACHINE)->out, "no expert in memory yet");
}

static void plan_refuses_what_it_cannot_know(void **state) {
    (void)state;
    expect_text(shell_expect(2, "$S plan --shape tiny-qwen3moe --dram 60GB/s")->err, "--disk RATE");
    expect_text(shell_expect(2, "$S plan --shape tiny-qwen3moe --disk fast")->err, "7GB/s");
    expect_text(shell_expect(2, "$S plan --shape tiny-qwen3moe -m x" MACHINE)->err, "exclude each other");
    expect_text(shell_expect(2, "$S plan --quant q4_k" MACHINE)->err, "--shape");
    const Result *r = shell_expect(0, "$S plan --shape tiny-qwen3moe --ram 64M" MACHINE);
    expect_text(r->out, "0 bytes per hour");
    expect_text(r->out, "experts as");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(synth_writes_what_it_announces),
        cmocka_unit_test(synth_refuses_what_it_does_not_know),
        cmocka_unit_test(synth_goes_on_after_the_disk_was_full),
        cmocka_unit_test(plan_needs_no_file_for_a_shape),
        cmocka_unit_test(memory_for_states_is_taken_from_the_cache),
        cmocka_unit_test(a_plan_that_says_no_is_an_answer),
        cmocka_unit_test(plan_for_a_file_makes_the_plan_that_running_makes),
        cmocka_unit_test(a_trace_tells_plan_the_hit_rate),
        cmocka_unit_test(prefill_is_predicted_for_an_empty_cache),
        cmocka_unit_test(plan_refuses_what_it_cannot_know),
    };
    return RUN_TESTS(tests);
}
