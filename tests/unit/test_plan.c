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
    return p->base_bytes + p->dense_bytes + p->state_bytes + p->kv_bytes + p->buffers_bytes + p->reserve_bytes + p->cache_bytes;
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

int main(void) {
    const struct CMUnitTest plan[] = {
        cmocka_unit_test(more_memory_means_more_slots),
        cmocka_unit_test(a_refusal_names_what_would_do),
        cmocka_unit_test(what_was_resident_before_counts),
        cmocka_unit_test(wanted_slots_are_met_or_refused),
    };
    return RUN_TESTS(plan);
}
