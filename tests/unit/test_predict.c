/* The prediction, for machines that we do not own. */
#include "support/support.h"

#include "engine/engine.h"

#include <math.h>
#include <string.h>

/* Qwen3.5 397B with experts and dense weights at 4.5 bits, as the arithmetic of its shape gives it. */
static EngineWork big(void) {
    return (EngineWork){.layers = 60, .experts = 512, .experts_per_token = 10, .hidden = 4096, .record_bytes = 7077888,
                        .record_weights = 12582912, .dense_bytes = 4940000000, .dense_weights = 8782000000,
                        .shared_bytes = 424673280, .shared_weights = 754974720, .head_bytes = 572129280,
                        .head_weights = 1017118720, .state_bytes = 189000000, .kv_bytes_per_position = 30720};
}

static EngineMachine desktop(void) {
    return (EngineMachine){.disk_bytes_per_s = 7e9, .disk_read_s = 0.0005, .dram_bytes_per_s = 60e9, .dense_weights_per_s = 5e11,
                           .expert_weights_per_s = 5e11, .batched_weights_per_s = 5e11, .threads = 16};
}

static sluice_plan slots(double share) {
    return (sluice_plan){.experts_total = 60 * 512, .cache_slots = (uint32_t)(share * 60 * 512)};
}

static EnginePrediction predict(const EngineWork *w, const EngineMachine *m, const sluice_plan *p, double hits) {
    EnginePrediction out;
    engine_predict(w, m, p, 512, 0, hits, &out);
    return out;
}

static void near(double have, double want, double within) {
    if (!(fabs(have - want) <= within * fabs(want))) fail_msg("%g is not within %g of %g", have, within, want);
}

/* The table that the same formulas give on paper. */
static void the_large_model_on_a_desktop(void **state) {
    (void)state;
    EngineWork w = big();
    EngineMachine m = desktop();
    sluice_plan p = slots(0.11);
    EnginePrediction a = predict(&w, &m, &p, 0.54);
    near(a.bytes_per_token_cold, 4.25e9, 0.01);
    near(1 / a.disk_s, 3.6, 0.02);
    near(1 / a.dram_s, 5.2, 0.02);
    assert_string_equal(a.bound_by, "disk");
    near(a.bound_tok_s, 3.6, 0.02);
    EnginePrediction b = predict(&w, &m, &p, 0.87);
    near(b.bound_tok_s, 5.9, 0.02);
    assert_string_equal(b.bound_by, "dram");
}

static void the_uniform_hit_rate_is_the_share_of_the_cache(void **state) {
    (void)state;
    EngineWork w = big();
    EngineMachine m = desktop();
    sluice_plan half = slots(0.5), all = slots(1), too_few = {.experts_total = 60 * 512, .cache_slots = 599};
    near(predict(&w, &m, &half, -1).hit_rate, 0.5, 1e-9);
    near(predict(&w, &m, &all, -1).hit_rate, 1, 1e-9);
    near(predict(&w, &m, &too_few, -1).hit_rate, 599.0 / (60 * 512), 1e-9); /* less than one token's: each layer keeps a few */
    assert_true(predict(&w, &m, &all, -1).bytes_per_token == 0);
}

/* Disk-bound, nothing resident, a disk without latency: the serial bound is dense compute plus reads, layer after layer. */
static void the_serial_bound_adds_dense_compute_and_reads(void **state) {
    (void)state;
    EngineWork w = big();
    EngineMachine m = desktop();
    m.disk_read_s = 0;
    sluice_plan none = slots(0);
    EnginePrediction p = predict(&w, &m, &none, 0);
    double dense = (4940000000.0 + 2 * 189000000.0) / 60e9, read = 60 * 10 * 7077888.0 / 7e9;
    near(1 / p.bound_serial_tok_s, dense + read, 1e-6);
    near(1 / p.bound_tok_s, read, 1e-6);
    /* as the engine does it: sums, and looking ahead hides reads under the dense work but for the shared expert */
    /* memory is the longer of the two everywhere here */
    double mixers = dense - 424673280.0 / 60e9 + 0.75 * (8782000000.0 - 754974720.0) / 5e11;
    double shared = 424673280.0 / 60e9 + 0.75 * 754974720.0 / 5e11;
    double experts = 600 * (2 * 7077888.0 / 60e9 + 0.75 * 12582912.0 / 5e11); /* read, and written where they landed; multiplied */
    double ahead = read * (1 + 5.0 / 56), expected = shared + experts + read; /* the mixers hide as much of the reads as they take */
    assert_true(mixers < read * 15 / 28);
    near(1 / p.decode_tok_s, expected > ahead ? expected : ahead, 1e-6);
}

static void bounds_are_in_order_and_nothing_gets_slower_on_a_better_machine(void **state) {
    (void)state;
    static const double factors[] = {1, 1.1, 2, 4, 16, 1000};
    EngineWork w = big();
    for (int rate = 0; rate < 7; rate++)
        for (int hits = 0; hits <= 10; hits++) {
            EnginePrediction before = {0};
            for (size_t i = 0; i < sizeof factors / sizeof *factors; i++) {
                EngineMachine m = desktop();
                double f = factors[i], *const rates[] = {&m.disk_bytes_per_s, &m.dram_bytes_per_s, &m.dense_weights_per_s,
                                                        &m.expert_weights_per_s, &m.batched_weights_per_s};
                if (rate < 5) *rates[rate] *= f;
                else if (rate == 5) m.disk_read_s /= f;
                else
                    for (int r = 2; r < 5; r++) *rates[r] *= f; /* cores */
                sluice_plan p = slots(hits / 10.0);
                EnginePrediction now = predict(&w, &m, &p, -1);
                assert_true(now.bound_tok_s >= now.bound_serial_tok_s * 0.999999);
                assert_true(now.bound_tok_s >= now.decode_tok_s * 0.999999);
                assert_true(now.decode_tok_s > 0 && now.prefill_tok_s > 0);
                assert_true(now.decode_tok_s >= before.decode_tok_s * 0.999999);
                assert_true(now.bound_serial_tok_s >= before.bound_serial_tok_s * 0.999999);
                assert_true(now.bound_tok_s >= before.bound_tok_s * 0.999999);
                assert_true(now.prefill_tok_s >= before.prefill_tok_s * 0.999999);
                assert_true(now.prefill_warm_tok_s >= before.prefill_warm_tok_s * 0.999999);
                assert_true(now.prefill_warm_tok_s >= now.prefill_tok_s * 0.999999);
                before = now;
            }
        }
}

static void more_memory_is_never_slower(void **state) {
    (void)state;
    EngineWork w = big();
    for (int disk = 0; disk < 3; disk++) {
        EngineMachine m = desktop();
        m.disk_bytes_per_s *= disk == 0 ? 0.1 : disk == 1 ? 1 : 100;
        EnginePrediction before = {0};
        for (int share = 0; share <= 100; share++) {
            sluice_plan p = slots(share / 100.0);
            EnginePrediction now = predict(&w, &m, &p, -1);
            assert_true(now.decode_tok_s >= before.decode_tok_s * 0.999999);
            /* a cold prompt finds nothing, however much would fit */
            if (share > 0) assert_true(fabs(now.prefill_tok_s / before.prefill_tok_s - 1) < 1e-9);
            assert_true(now.prefill_warm_tok_s >= before.prefill_warm_tok_s * 0.999999);
            before = now;
        }
    }
}

static void small_chunks_read_the_same_experts_for_fewer_tokens(void **state) {
    (void)state;
    EngineWork w = big();
    EngineMachine m = desktop();
    sluice_plan none = slots(0);
    EnginePrediction p;
    double before = 0;
    for (uint32_t chunk = 1; chunk <= 4096; chunk *= 2) {
        engine_predict(&w, &m, &none, chunk, 0, -1, &p);
        assert_true(p.prefill_tok_s >= before);
        before = p.prefill_tok_s;
    }
    engine_predict(&w, &m, &none, 512, 0, -1, &p);
    /* the dense work, the sweep of all experts, and theirs, which costs arithmetic more than writing and reading them in memory */
    double routed = 512 * 600 * 12582912.0 / 5e11 + 0.75 * 2 * 217e9 / 60e9;
    near(p.prefill_tok_s, 512 / (512 * 7.765e9 / 5e11 + 217e9 / 7e9 + routed), 0.05);
}

static void a_rate_that_is_not_known_gives_no_speed(void **state) {
    (void)state;
    EngineWork w = big();
    EngineMachine m = desktop();
    m.disk_bytes_per_s = 0;
    sluice_plan half = slots(0.5), all = slots(1);
    assert_true(predict(&w, &m, &half, -1).decode_tok_s == 0);
    assert_true(predict(&w, &m, &all, -1).decode_tok_s > 0); /* a disk that nobody needs */
}

/* Half of two experts are there: a quarter of the layers misses none, a half one, a quarter both. */
static void layers_differ_in_their_misses(void **state) {
    (void)state;
    EngineWork w = {.layers = 4, .experts = 8, .experts_per_token = 2, .hidden = 64, .record_bytes = 1000, .record_weights = 1000};
    EngineMachine m = {.disk_bytes_per_s = 1e3, .dram_bytes_per_s = 1e9, .dense_weights_per_s = 1e9, .expert_weights_per_s = 1e3,
                       .batched_weights_per_s = 1e3, .threads = 1};
    sluice_plan p = {.experts_total = 32, .cache_slots = 16};
    EnginePrediction out = predict(&w, &m, &p, 0.5);
    /* reading one takes a second, computing one too. Expected: 2, 1 + 2, and 2 + 2, of each layer */
    near(1 / out.decode_tok_s, 4 * (0.25 * 2 + 0.5 * 3 + 0.25 * 4), 1e-6);
    near(1 / out.bound_serial_tok_s, 8, 1e-6); /* 4 * (0.25 * 2 + 0.5 * 1 + 0.25 * 2) = 6, but computing all takes 8 */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_large_model_on_a_desktop),
        cmocka_unit_test(the_uniform_hit_rate_is_the_share_of_the_cache),
        cmocka_unit_test(the_serial_bound_adds_dense_compute_and_reads),
        cmocka_unit_test(bounds_are_in_order_and_nothing_gets_slower_on_a_better_machine),
        cmocka_unit_test(more_memory_is_never_slower),
        cmocka_unit_test(layers_differ_in_their_misses),
        cmocka_unit_test(small_chunks_read_the_same_experts_for_fewer_tokens),
        cmocka_unit_test(a_rate_that_is_not_known_gives_no_speed),
    };
    return RUN_TESTS(tests);
}
