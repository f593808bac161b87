/* Plans and predictions for every shape, on machines from 2 GiB to 1 TiB that nobody here owns. */
#include "support/support.h"

#include "engine/engine.h"
#include "forge/forge.h"

#include <string.h>

#define GIB (UINT64_C(1) << 30)

static EngineSketch *sketch_of(const ForgeShape *shape, Forge **forge, int *fd, int ctx) {
    static char path[FORGE_PATH];
    Err err = {0};
    ForgeOptions o = {.shape = *shape, .experts = QUANT_Q4_K, .dense = QUANT_Q8_0};
    *forge = forge_new(&o, &err);
    assert_non_null(*forge);
    assert_int_equal(forge_hollow(*forge, path, fd, &err), ERR_OK);
    sluice_options options;
    sluice_options_init(&options);
    options.model = path;
    options.ctx = ctx;
    EngineSketch *s = engine_sketch_new(&options, 16, 50 << 20, &err);
    if (!s) fail_msg("%s: %s", shape->name, err.text);
    return s;
}

static void drop(EngineSketch *s, Forge *forge, int fd) {
    engine_sketch_free(s);
    forge_hollow_close(fd);
    forge_free(forge);
}

static void every_shape_gets_faster_with_memory_and_fits_from_some_size_on(void **state) {
    (void)state;
    const EngineMachine m = {.disk_bytes_per_s = 7e9, .disk_read_s = 0.0004, .dram_bytes_per_s = 60e9, .dense_weights_per_s = 2e11,
                             .expert_weights_per_s = 2e11, .batched_weights_per_s = 8e11, .threads = 16};
    for (size_t i = 0; forge_shape_at(i); i++) {
        const ForgeShape *shape = forge_shape_at(i);
        Forge *forge;
        int fd;
        EngineSketch *s = sketch_of(shape, &forge, &fd, 0);
        EngineWork work;
        engine_sketch_work(s, &work);
        bool fitted = false;
        double before = 0, before_prefill = 0;
        for (uint64_t ram = 2 * GIB; ram <= 1024 * GIB; ram *= 2) {
            sluice_plan plan;
            uint32_t chunk;
            Err err = {0};
            EnginePrediction p;
            if (engine_sketch_plan(s, ram, &plan, &chunk, &err)) {
                assert_false(fitted);
                assert_non_null(strstr(err.text, "--ram"));
                continue;
            }
            fitted = true;
            assert_true(plan.cache_bytes + plan.dense_bytes <= ram);
            engine_predict(&work, &m, &plan, 512, 2048, -1, &p);
            assert_true(p.decode_tok_s > 0 && p.decode_tok_s >= before * 0.999999);
            assert_true(p.prefill_tok_s >= before_prefill * 0.999999);
            assert_true(p.bound_tok_s >= p.bound_serial_tok_s * 0.999999 && p.bound_tok_s >= p.decode_tok_s * 0.999999);
            before = p.decode_tok_s;
            before_prefill = p.prefill_tok_s;
        }
        assert_true(fitted);
        drop(s, forge, fd);
    }
}

static void a_sketch_knows_what_a_token_costs(void **state) {
    (void)state;
    Forge *forge;
    int fd;
    EngineSketch *s = sketch_of(forge_shape("qwen3.5-397b-a17b"), &forge, &fd, 4096);
    EngineWork w;
    engine_sketch_work(s, &w);
    assert_int_equal(w.layers, 60);
    assert_int_equal(w.experts_per_token, 10);
    assert_int_equal(w.record_bytes, 7077888);
    assert_int_equal(w.record_weights, 12582912);
    assert_true(w.dense_weights > 8778000000 && w.dense_weights < 8786000000); /* 8.782 G, the small vectors aside */
    assert_true(w.head_weights == UINT64_C(248320) * 4096);
    assert_true(w.kv_bytes_per_position == 2 * 30720); /* 30,720 in 16 bits */
    assert_true(w.state_bytes == UINT64_C(45) * (64 * 128 * 128 + 3 * (2 * 16 + 64) * 128) * 4); /* no padding, nothing of a draft layer */
    sluice_plan plan;
    assert_int_equal(engine_sketch_plan(s, 64 * GIB, &plan, NULL, NULL), ERR_OK);
    uint32_t q4 = plan.cache_slots;
    assert_true(engine_sketch_retype(s, QUANT_Q2_K));
    assert_int_equal(engine_sketch_plan(s, 64 * GIB, &plan, NULL, NULL), ERR_OK);
    assert_true(plan.cache_slots > q4 * 1.6 && plan.cache_slots < q4 * 1.8); /* 144 bytes a block against 84 */
    engine_sketch_work(s, &w);
    assert_int_equal(w.record_bytes, 12582912 / 256 * 84);
    drop(s, forge, fd);
}

static void a_longer_context_takes_its_memory_from_the_cache(void **state) {
    (void)state;
    uint32_t before = UINT32_MAX;
    for (int ctx = 4096; ctx <= 262144; ctx *= 4) {
        Forge *forge;
        int fd;
        EngineSketch *s = sketch_of(forge_shape("qwen3.5-35b-a3b"), &forge, &fd, ctx);
        sluice_plan plan;
        assert_int_equal(engine_sketch_plan(s, 16 * GIB, &plan, NULL, NULL), ERR_OK);
        assert_true(plan.kv_bytes == (uint64_t)ctx * 40960);
        assert_true(plan.cache_slots < before);
        before = plan.cache_slots;
        drop(s, forge, fd);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_gets_faster_with_memory_and_fits_from_some_size_on),
        cmocka_unit_test(a_sketch_knows_what_a_token_costs),
        cmocka_unit_test(a_longer_context_takes_its_memory_from_the_cache),
    };
    return RUN_TESTS(tests);
}
