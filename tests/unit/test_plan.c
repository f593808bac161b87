/* The memory plan for machines that we do not own. */
#include "support/support.h"

#include "engine/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GIB (UINT64_C(1) << 30)
#define MIB (UINT64_C(1) << 20)

/* The 397B shape at about 4.5 bits: 60 layers of 512 experts. */
static EnginePlanInput big(uint64_t ram) {
    EnginePlanInput in = {.ram_bytes = ram,
                          .base_bytes = 60 * MIB,
                          .peak_bytes = 90 * MIB,
                          .dense_bytes = 5 * GIB,
                          .state_bytes = 180 * MIB,
                          .kv_bytes = 240 * MIB,
                          .buffers_bytes = 150 * MIB,
                          .slot_bytes = 7077888 + 12288,
                          .experts_total = 60 * 512,
                          .slots_min = 2,
                          .threads = 8};
    return in;
}

static uint64_t total(const sluice_plan *p) {
    return p->base_bytes + p->dense_bytes + p->state_bytes + p->kv_bytes + p->buffers_bytes + p->snapshot_bytes + p->reserve_bytes +
           p->cache_bytes;
}

static void more_memory_means_more_slots(void **state) {
    (void)state;
    uint32_t before = 0;
    for (uint64_t ram = 8 * GIB; ram <= 1024 * GIB; ram *= 2) {
        EnginePlanInput in = big(ram);
        sluice_plan plan;
        assert_int_equal(engine_plan(&in, &plan, NULL), ERR_OK);
        assert_true(total(&plan) <= ram);
        assert_true(total(&plan) + plan.free_bytes == ram);
        assert_true(plan.cache_slots > before || plan.cache_slots == plan.experts_total);
        assert_int_equal(plan.cache_bytes, plan.cache_slots * plan.slot_bytes);
        before = plan.cache_slots;
    }
    assert_int_equal(before, 60 * 512); /* never more slots than experts */
}

static void a_refusal_names_what_would_do(void **state) {
    (void)state;
    EnginePlanInput in = big(4 * GIB);
    sluice_plan plan;
    Err err = {0};
    assert_int_equal(engine_plan(&in, &plan, &err), ERR_MEMORY);
    const char *at = strstr(err.text, "--ram ");
    assert_non_null(at);
    uint64_t least = strtoull(at + 6, NULL, 10) * MIB;
    in.ram_bytes = least;
    assert_int_equal(engine_plan(&in, &plan, &err), ERR_OK);
    in.ram_bytes = least - 2 * MIB;
    assert_int_equal(engine_plan(&in, &plan, &err), ERR_MEMORY);
}

static void snapshots_are_planned_for(void **state) {
    (void)state;
    EnginePlanInput in = big(16 * GIB);
    sluice_plan without, with;
    assert_int_equal(engine_plan(&in, &without, NULL), ERR_OK);
    in.snapshot_bytes = 2 * GIB;
    assert_int_equal(engine_plan(&in, &with, NULL), ERR_OK);
    assert_int_equal(with.snapshot_bytes, 2 * GIB);
    assert_true(total(&with) + with.free_bytes == in.ram_bytes);
    assert_true(with.cache_slots < without.cache_slots);
    Err err = {0};
    in.ram_bytes = 7 * GIB; /* without them it would do */
    assert_int_equal(engine_plan(&in, &with, &err), ERR_MEMORY);
    assert_non_null(strstr(err.text, "snapshots 2.00 GiB"));
    in.ram_bytes = strtoull(strstr(err.text, "--ram ") + 6, NULL, 10) * MIB;
    assert_int_equal(engine_plan(&in, &with, NULL), ERR_OK);
    in.snapshot_bytes = 0;
    in.ram_bytes = 7 * GIB;
    assert_int_equal(engine_plan(&in, &with, NULL), ERR_OK);
}

static void what_was_resident_before_counts(void **state) {
    (void)state;
    EnginePlanInput in = big(16 * GIB);
    in.peak_bytes = 17 * GIB; /* reading the headers alone took more */
    sluice_plan plan;
    assert_int_equal(engine_plan(&in, &plan, NULL), ERR_MEMORY);
}

static void wanted_slots_are_met_or_refused(void **state) {
    (void)state;
    EnginePlanInput in = big(16 * GIB);
    in.slots_wanted = 120;
    sluice_plan plan;
    assert_int_equal(engine_plan(&in, &plan, NULL), ERR_OK);
    assert_int_equal(plan.cache_slots, 120);
    in.slots_wanted = 5000;
    assert_int_equal(engine_plan(&in, &plan, NULL), ERR_MEMORY);
}

/* ---- real shapes on machines from 2 GiB to 1 TiB ---- */

/* Experts in Q4_K, everything else in Q8_0, keys and values in f32; from the configurations of the models. */
typedef struct Shape {
    const char *name;
    uint64_t dense, record, state; /* bytes */
    uint32_t layers, experts, kv_values;
} Shape;

static const Shape shapes[] = {
    {"35B-A3B", UINT64_C(2970000000), 3145728 * 9 / 16, 60 * MIB + 30 * 24576 * 4, 40, 256, 10240},
    {"122B-A10B", UINT64_C(6400000000), 9437184 * 9 / 16, 144 * MIB + 36 * 36864 * 4, 48, 256, 12288},
    {"397B-A17B", UINT64_C(11200000000), 12582912 / 16 * 9, 180 * MIB + 45 * 36864 * 4, 60, 512, 15360},
};

static EnginePlanInput input_of(const Shape *s, uint64_t ram, uint32_t ctx) {
    uint64_t position = s->kv_values * sizeof(float) + sizeof(int32_t);
    EnginePlanInput in = {.ram_bytes = ram,
                          .base_bytes = 80 * MIB,
                          .peak_bytes = 120 * MIB,
                          .dense_bytes = s->dense,
                          .state_bytes = s->state,
                          .kv_bytes = (position - sizeof(int32_t)) * ctx,
                          .buffers_bytes = 150 * MIB + sizeof(int32_t) * ctx,
                          .text_bytes = 4 * MIB,
                          .ctx = ctx,
                          .position_bytes = position,
                          .slot_bytes = s->record + 12288,
                          .experts_total = s->layers * s->experts,
                          .slots_min = 2,
                          .threads = 16};
    return in;
}

/* A refusal is useful: what it names does, and little less does not. Returns the context that it names, 0: none. */
static uint32_t check_refusal(const Shape *s, const EnginePlanInput *refused, const char *text) {
    EnginePlanInput in = *refused;
    sluice_plan plan;
    const char *at = strstr(text, "--ram ");
    assert_non_null(at);
    uint64_t megabytes = strtoull(at + 6, NULL, 10);
    in.ram_bytes = megabytes * MIB;
    assert_int_equal(engine_plan(&in, &plan, NULL), ERR_OK);
    in.ram_bytes = (megabytes - 2) * MIB;
    assert_int_equal(engine_plan(&in, &plan, NULL), ERR_MEMORY);
    at = strstr(text, "--ctx of ");
    in = input_of(s, refused->ram_bytes, 1);
    if (!at) { /* then none would do, or only with nothing to spare */
        in.ram_bytes -= MIB;
        assert_int_equal(engine_plan(&in, &plan, NULL), ERR_MEMORY);
        return 0;
    }
    uint32_t ctx = (uint32_t)strtoul(at + 9, NULL, 10);
    assert_true(ctx > 0 && ctx < refused->ctx);
    in = input_of(s, refused->ram_bytes, ctx);
    assert_int_equal(engine_plan(&in, &plan, NULL), ERR_OK);
    in = input_of(s, refused->ram_bytes, ctx + (uint32_t)(MIB / in.position_bytes) + 2);
    assert_int_equal(engine_plan(&in, &plan, NULL), ERR_MEMORY);
    return ctx;
}

static void real_shapes_fit_or_are_told_what_would(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        const Shape *s = &shapes[i];
        int fitting = 0, shorter = 0;
        uint32_t before[2] = {0, 0};
        for (uint64_t machine = 2 * GIB; machine <= 1024 * GIB; machine *= 2) {
            uint64_t budget = engine_default_budget(machine - 600 * MIB);
            for (int k = 0; k < 2; k++) {
                EnginePlanInput in = input_of(s, budget, k ? 262144 : 4096);
                sluice_plan plan;
                Err err = {0};
                if (engine_plan(&in, &plan, &err)) {
                    shorter += check_refusal(s, &in, err.text) > 0;
                    continue;
                }
                assert_true(total(&plan) + plan.free_bytes == budget);
                assert_true(plan.cache_slots > before[k] || plan.cache_slots == plan.experts_total);
                before[k] = plan.cache_slots;
                fitting++;
            }
        }
        assert_true(fitting >= 12);
        assert_true(shorter >= 1); /* 256 Ki positions are more than a machine of its class holds */
        assert_int_equal(before[0], s->layers * s->experts); /* in a terabyte everything is resident */
    }
}

static void the_default_budget_leaves_room_for_others(void **state) {
    (void)state;
    uint64_t before = 0;
    for (uint64_t left = 64 * MIB; left <= 2048 * GIB; left += left / 3) {
        uint64_t budget = engine_default_budget(left);
        assert_true(budget >= before && budget >= left / 2 && budget < left);
        if (left >= GIB) assert_true(left - budget >= 256 * MIB && left - budget <= 8 * GIB);
        before = budget;
    }
}

int main(void) {
    const struct CMUnitTest plan[] = {
        cmocka_unit_test(more_memory_means_more_slots),
        cmocka_unit_test(a_refusal_names_what_would_do),
        cmocka_unit_test(snapshots_are_planned_for),
        cmocka_unit_test(what_was_resident_before_counts),
        cmocka_unit_test(wanted_slots_are_met_or_refused),
        cmocka_unit_test(real_shapes_fit_or_are_told_what_would),
        cmocka_unit_test(the_default_budget_leaves_room_for_others),
    };
    return RUN_TESTS(plan);
}
