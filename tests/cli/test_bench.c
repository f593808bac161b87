/* sluice bench on the model inside the program: every field is there, and the numbers agree with each other. */
#include "support/program.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double real(const json_t *o, const char *name) {
    const json_t *v = json_object_get(o, name);
    if (!json_is_number(v)) fail_msg("no number %s", name);
    if (!isfinite(json_number_value(v))) fail_msg("%s is not finite", name);
    return json_number_value(v);
}

static json_t *bench(const char *options) {
    char line[400];
    snprintf(line, sizeof line, "$S bench --json -p 24 -n 12 --reps 2 --threads 2 %s", options);
    return result_json(shell_expect(0, line));
}

/* The first repetition reads into an empty cache, the second finds it full. */
static void prefill_is_compared_with_its_own_repetition(const json_t *o) {
    const json_t *runs = json_object_get(o, "runs");
    double least = 0, most = 0, misses = 0;
    assert_int_equal(json_array_size(runs), 2);
    for (size_t r = 0; r < 2; r++) {
        const json_t *run = json_array_get(runs, r);
        double share = real(run, "prefill_tok_s") / real(run, "prefill_bound_tok_s");
        if (r == 0 || share < least) least = share;
        if (share > most) most = share;
        if (real(run, "prefill_misses") > misses) misses = real(run, "prefill_misses");
    }
    assert_true(fabs(real(o, "of_prefill_bound_min") / least - 1) < 1e-3 && fabs(real(o, "of_prefill_bound_max") / most - 1) < 1e-3);
    assert_true(real(o, "prefill_misses") == misses);
}

static void bench_has_its_fields_and_they_agree(void **state) {
    (void)state;
    json_t *o = bench("");
    static const char *const positive[] = {
        "prefill_tok_s", "prefill_tok_s_min", "prefill_tok_s_max", "decode_tok_s", "decode_tok_s_min", "decode_tok_s_max", "ttft_ms",
        "disk_gb_s_probe", "dram_gb_s_probe", "bound_tok_s", "bound_serial_tok_s", "bound_serial_probed_tok_s", "prefill_bound_tok_s",
        "rss_max_bytes", "threads", "dense_ms", "expert_ms", "dense_gweights_s_probe", "prefill_wanted", "seed",
        "predicted_decode_tok_s", "predicted_prefill_tok_s"};
    static const char *const any[] = {"bytes_read_per_token", "hit_rate", "disk_gb_s", "wait_ms", "store_ms", "store_disk_cpu_share",
                                      "hint_bytes_per_token", "hint_used_share", "prefill_misses"};
    for (size_t i = 0; i < sizeof positive / sizeof *positive; i++)
        if (real(o, positive[i]) <= 0) fail_msg("%s is not positive", positive[i]);
    for (size_t i = 0; i < sizeof any / sizeof *any; i++) assert_true(real(o, any[i]) >= 0);
    assert_true(real(o, "bound_tok_s") >= real(o, "bound_serial_tok_s") * (1 - 1e-9));
    assert_true(real(o, "decode_tok_s_min") <= real(o, "decode_tok_s") && real(o, "decode_tok_s") <= real(o, "decode_tok_s_max"));
    assert_true(real(o, "prefill_tok_s_min") <= real(o, "prefill_tok_s") && real(o, "prefill_tok_s") <= real(o, "prefill_tok_s_max"));
    assert_true(real(o, "hit_rate") <= 1);
    assert_true(real(o, "prefill_misses") <= real(o, "prefill_wanted")); /* no expert was read twice in a chunk */
    static const char *const texts[] = {"bound_by", "cpu", "io", "arch", "model"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) assert_true(json_is_string(json_object_get(o, texts[i])));
    assert_true(json_is_boolean(json_object_get(o, "direct")));
    const json_t *plan = json_object_get(o, "plan");
    assert_true(json_is_true(json_object_get(plan, "fits")));
    assert_true(real(plan, "ram_bytes") >= real(o, "rss_max_bytes"));
    assert_true(real(plan, "cache_slots") > 0 && real(plan, "experts_total") == 192);
    prefill_is_compared_with_its_own_repetition(o);
    json_decref(o);
}

/* With little memory experts come from disk, and the same ids ask for the same experts. How many slots fit depends on what the
   process itself weighs at that moment, by a tenth from run to run and by more under a sanitizer: the more they differ, the more the
   hits may. Nothing is guessed ahead, for which guess is read in time differs too. */
static void a_small_cache_reads_and_repeats(void **state) {
    (void)state;
    char options[100];
    long ram = least_ram("bench -p 24 -n 12 --threads 2 --chunk 16") + 1;
    snprintf(options, sizeof options, "--ram %ldM --chunk 16 --seed 7 --lookahead off", ram);
    json_t *a = bench(options), *b = bench(options);
    const json_t *plan_a = json_object_get(a, "plan"), *plan_b = json_object_get(b, "plan");
    assert_true(real(a, "hit_rate") > 0 && real(a, "hit_rate") < 1);
    assert_true(real(a, "bytes_read_per_token") > 0 && real(a, "disk_gb_s") > 0);
    assert_true(json_is_true(json_object_get(a, "dram_probe_in_cache"))); /* too little memory to probe it, and said */
    assert_true(real(plan_a, "ram_bytes") >= real(a, "rss_max_bytes"));
    assert_true(real(a, "bound_tok_s") >= real(a, "bound_serial_tok_s") * (1 - 1e-9));
    double more_slots = fabs(real(plan_a, "cache_slots") - real(plan_b, "cache_slots")) / real(plan_a, "experts_total");
    double more_hits = fabs(real(a, "hit_rate") - real(b, "hit_rate"));
    if (more_hits > 0.02 + 2 * more_slots) fail_msg("hit rates differ by %.3f, slots by %.3f of all experts", more_hits, more_slots);
    /* what is read is what was missed, in both runs: bytes per missed expert are the file's own */
    double missed_a = real(a, "bytes_read_per_token") / (1 - real(a, "hit_rate"));
    double missed_b = real(b, "bytes_read_per_token") / (1 - real(b, "hit_rate"));
    assert_true(fabs(missed_a / missed_b - 1) < 0.02);
    json_decref(a);
    json_decref(b);
}

static void buffered_reads_are_watched(void **state) {
    (void)state;
    /* a file of this test's own, for the kernel tells nothing about those of others */
    shell_expect(0, "cp data/tiny-tales.gguf $T/own.gguf && sync $T/own.gguf");
    json_t *o = bench("--direct off -m $T/own.gguf"), *direct = bench("-m $T/own.gguf");
    assert_true(json_is_false(json_object_get(o, "direct")));
    double share = real(o, "page_cache_share");
    assert_true(share >= 0 && share <= 1);
    if (json_is_true(json_object_get(direct, "direct"))) {
        assert_true(json_is_null(json_object_get(direct, "page_cache_share")));
        assert_true(share < 0.05); /* this file system has a cache that can be dropped */
    }
    json_decref(o);
    json_decref(direct);
}

static void bench_speaks_to_people_and_refuses_nonsense(void **state) {
    (void)state;
    const Result *r = shell_expect(0, "$S bench -p 8 -n 4 --reps 1 --threads 1");
    assert_non_null(strstr(r->out, "bounds of decode"));
    assert_non_null(strstr(r->out, "--seed 1 repeats them"));
    assert_non_null(strstr(shell_expect(2, "$S bench -n 0")->err, "at least 1 token"));
    assert_non_null(strstr(shell_expect(2, "$S bench -p 0")->err, "-p"));
    shell_expect(1, "$S bench -m /nonexistent");
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(bench_has_its_fields_and_they_agree),
        cmocka_unit_test(a_small_cache_reads_and_repeats),
        cmocka_unit_test(buffered_reads_are_watched),
        cmocka_unit_test(bench_speaks_to_people_and_refuses_nonsense),
    };
    return RUN_TESTS(tests);
}
