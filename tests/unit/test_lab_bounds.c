/* The bounds of a run, computed by hand. */
#include "support/support.h"

#include "lab/lab.h"

#include <math.h>
#include <string.h>

static const EngineWork work = {.layers = 10, .experts = 64, .experts_per_token = 8, .hidden = 2048, .record_bytes = 1000000,
                                .record_weights = 2000000, .dense_bytes = 100000000, .dense_weights = 200000000};
static const EngineMachine machine = {.disk_bytes_per_s = 1e9, .dram_bytes_per_s = 1e10, .dense_weights_per_s = 1e10,
                                      .expert_weights_per_s = 1e10, .batched_weights_per_s = 4e10, .threads = 2};

static void near(double got, double wanted) {
    if (fabs(got - wanted) > 1e-9 * fabs(wanted)) fail_msg("%.12g is not %.12g", got, wanted);
}

/* 4 tokens; in half of the layers all 8 experts are missing, in the other half none. */
static LabRun uneven(void) {
    LabRun run = {.tokens = 4, .ns = 1000000000};
    run.misses[8] = 20;
    run.misses[0] = 20;
    run.stats.experts_wanted = 320;
    run.stats.hits = run.stats.misses = 160;
    run.stats.bytes_read = 160 * 1000000;
    run.stats.dense_ns = 4 * 30000000u;  /* 30 ms per token */
    run.stats.expert_ns = 320 * 500000u; /* 0.5 ms per expert */
    return run;
}

static void overlapped_is_the_largest_of_three(void **state) {
    (void)state;
    LabRun run = uneven();
    LabBounds b;
    lab_bounds(&work, &machine, &run, 0, &b);
    near(b.disk_s, 0.04);                       /* 40 MB per token */
    near(b.dram_s, (1e8 + 80e6 + 40e6) / 1e10); /* dense, experts, and what the disk writes */
    near(b.compute_s, 0.02 + 0.016);
    near(b.bound_tok_s, 25);
    assert_string_equal(b.bound_by, "disk");
    assert_false(b.disturbed);
    EngineMachine fast = machine;
    fast.disk_bytes_per_s = 1e12;
    lab_bounds(&work, &fast, &run, 0, &b);
    assert_string_equal(b.bound_by, "compute");
    fast.dram_bytes_per_s = 1e9;
    lab_bounds(&work, &fast, &run, 0, &b);
    assert_string_equal(b.bound_by, "dram");
}

static void serial_counts_layer_by_layer(void **state) {
    (void)state;
    LabRun run = uneven();
    LabBounds b;
    lab_bounds(&work, &machine, &run, 0, &b);
    /* per token: 30 ms dense, 5 layers that read 8 records at 1 ms, 5 layers that multiply 8 experts at 0.5 ms; had the misses been
     * spread evenly it would be 10 layers of max(4 ms, 2 ms) */
    near(b.bound_serial_tok_s, 1 / (0.03 + 5 * 0.008 + 5 * 0.004));
    near(b.bound_serial_probed_tok_s, 1 / (0.02 + 5 * 0.008 + 5 * 8 * 0.0002));
    memset(run.misses, 0, sizeof run.misses);
    run.misses[4] = 40;
    lab_bounds(&work, &machine, &run, 0, &b);
    near(b.bound_serial_tok_s, 1 / (0.03 + 10 * 0.004));
}

static void a_run_beats_probes_that_were_disturbed(void **state) {
    (void)state;
    LabRun run = uneven();
    run.stats.dense_ns = 4 * 1000000u;
    run.stats.expert_ns = 320 * 1000u;
    memset(run.misses, 0, sizeof run.misses);
    run.misses[0] = 40;
    run.stats.bytes_read = 0;
    LabBounds b;
    lab_bounds(&work, &machine, &run, 0, &b);
    assert_true(b.disturbed);
    near(b.bound_tok_s, b.bound_serial_tok_s);
}

static void a_machine_without_a_rate_has_no_such_bound(void **state) {
    (void)state;
    LabRun run = uneven(), none = {0};
    EngineMachine blank = {0};
    LabBounds b;
    lab_bounds(&work, &blank, &run, 0, &b);
    assert_true(b.disk_s == 0 && b.dram_s == 0 && b.compute_s == 0 && b.bound_tok_s == 0);
    lab_bounds(&work, &machine, &none, 0, &b);
    assert_true(b.bound_tok_s == 0 && b.bound_serial_tok_s == 0);
}

static void a_prompt_is_bound_by_reads_or_by_arithmetic(void **state) {
    (void)state;
    LabRun run = {.tokens = 512};
    run.stats.bytes_read = UINT64_C(640) * 1000000;
    near(lab_prefill_bound(&work, &machine, &run), 512 / (512 * (2e8 + 1.6e8) / 4e10));
    EngineMachine slow = machine;
    slow.disk_bytes_per_s = 1e8;
    near(lab_prefill_bound(&work, &slow, &run), 512 / 6.4);
}

static void the_median_is_the_middle(void **state) {
    (void)state;
    static const double odd[] = {9, 1, 5}, even[] = {4, 1, 3, 2};
    near(lab_median(odd, 3), 5);
    near(lab_median(even, 4), 2.5);
    near(lab_median(odd, 1), 9);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(overlapped_is_the_largest_of_three),   cmocka_unit_test(serial_counts_layer_by_layer),
        cmocka_unit_test(a_run_beats_probes_that_were_disturbed), cmocka_unit_test(a_machine_without_a_rate_has_no_such_bound),
        cmocka_unit_test(a_prompt_is_bound_by_reads_or_by_arithmetic), cmocka_unit_test(the_median_is_the_middle),
    };
    return RUN_TESTS(tests);
}
