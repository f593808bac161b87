/* synth and plan: models that are made, and models that are only described. */
#include "support/program.h"
#include "support/support.h"

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
        cmocka_unit_test(a_plan_that_says_no_is_an_answer),
        cmocka_unit_test(plan_for_a_file_makes_the_plan_that_running_makes),
        cmocka_unit_test(plan_refuses_what_it_cannot_know),
    };
    return RUN_TESTS(tests);
}
