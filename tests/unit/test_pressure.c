/* Hours of memory pressure, played against the pure function that shrinks and grows the cache. */
#include "support/support.h"

#include "engine/engine.h"

#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

enum { SLOTS = 4000 };
static const uint64_t slot_bytes = 3 * MIB / 2; /* 6 GB of them */

static void start(EnginePressure *p, uint64_t fixed_bytes, uint32_t slots) {
    sluice_plan plan = {.dense_bytes = fixed_bytes, .slot_bytes = slot_bytes, .cache_slots = slots, .cache_bytes = slots * slot_bytes};
    engine_pressure_init(p, &plan, 2);
}

/* A machine with this engine and others on it. */
typedef struct World {
    EnginePressure p;
    OsPressureReading r;
    uint64_t others;       /* bytes that somebody else holds */
    uint64_t fixed;        /* of ours beside the cache */
    uint32_t used;         /* slots that are filled */
    double stalled;        /* share of the time */
    uint64_t now_ns;
    int down, up;          /* steps so far */
} World;

static World new_world(uint64_t of) {
    World w = {.r = {.of = of}, .fixed = GIB, .now_ns = UINT64_C(1000000000)};
    start(&w.p, GIB, SLOTS);
    return w;
}

/* Runs for so many seconds, four readings in each, the cache filling quickly. */
static void run(World *w, int seconds) {
    for (int i = 0; i < 4 * seconds; i++) {
        uint32_t before = w->p.now;
        uint64_t held = w->others + w->fixed + w->used * slot_bytes;
        w->r.room = w->r.of > held ? w->r.of - held : 0;
        w->r.resident = w->fixed + w->used * slot_bytes;
        w->r.stalled_us += (uint64_t)(250000 * w->stalled);
        w->now_ns += 250000000;
        uint32_t now = engine_pressure_step(&w->p, &w->r, w->used, w->now_ns);
        assert_true(now <= SLOTS && now >= SLOTS / 16);
        w->down += now < before;
        w->up += now > before;
        w->used = w->used + 50 < now ? w->used + 50 : now;
    }
}

static void plenty_of_memory_changes_nothing(void **state) {
    (void)state;
    World w = new_world(16 * GIB);
    run(&w, 3600);
    assert_true(w.down == 0 && w.up == 0 && w.used == SLOTS);
}

static void a_neighbour_takes_memory_and_gives_it_back(void **state) {
    (void)state;
    World w = new_world(16 * GIB);
    run(&w, 60);
    w.others = 10 * GIB; /* now 1.9 GiB too much */
    run(&w, 60);
    assert_true(w.down >= 1 && w.down <= 4 && w.up == 0);
    uint64_t held = w.others + w.fixed + w.used * slot_bytes;
    assert_true(held < 16 * GIB && 16 * GIB - held < GIB); /* enough, and not much more than enough */
    int down = w.down;
    run(&w, 3600);
    assert_true(w.down == down && w.up == 0); /* and then it rests */
    w.others = 0;
    run(&w, 20);
    assert_int_equal(w.up, 0); /* slowly */
    run(&w, 600);
    assert_int_equal(w.p.now, SLOTS);
    assert_int_equal(w.down, down);
}

static void a_limit_equal_to_the_budget_is_stable(void **state) {
    (void)state;
    for (uint64_t spare = 0; spare <= 512 * MIB; spare += 8 * MIB) {
        World w = new_world(GIB + SLOTS * slot_bytes + spare);
        for (int i = 0; i < 120; i++) {
            w.r.limit_hits += 1000; /* page cache of our own reads is dropped all the time */
            w.stalled = 0.3;        /* and that takes time */
            run(&w, 30);
        }
        assert_true(w.down <= 3 && w.up == 0);
        assert_true(w.p.now >= SLOTS / 8 * 6);
    }
}

static void stalls_that_a_smaller_cache_cures_are_cured(void **state) {
    (void)state;
    World w = new_world(16 * GIB);
    w.others = 16 * GIB - GIB - SLOTS * slot_bytes - 400 * MIB; /* little room, but not short */
    run(&w, 60);
    assert_int_equal(w.down, 0);
    w.stalled = 0.4;
    for (int i = 0; i < 600 && w.down < 2; i++) run(&w, 1);
    w.stalled = 0;
    assert_true(w.down >= 1);
    int down = w.down;
    run(&w, 20);
    assert_int_equal(w.down, down);
}

static void stalls_that_it_does_not_cure_end_the_steps(void **state) {
    (void)state;
    World w = new_world(16 * GIB);
    w.others = 16 * GIB - GIB - SLOTS * slot_bytes - 400 * MIB;
    w.stalled = 0.4; /* whatever we do */
    run(&w, 3600);
    assert_int_equal(w.down, 1);
}

static void growing_swap_shrinks_the_cache_once_for_each_piece(void **state) {
    (void)state;
    World w = new_world(16 * GIB);
    w.r.swapped = 5 * GIB; /* from before: no news */
    run(&w, 60);
    assert_int_equal(w.down, 0);
    w.r.swapped += 200 * MIB;
    run(&w, 20);
    assert_int_equal(w.down, 1);
    w.r.swapped += 200 * MIB;
    run(&w, 20);
    assert_int_equal(w.down, 2);
}

/* Somebody who takes what we leave whenever we grow: we learn to wait. */
static void a_relapse_makes_patient(void **state) {
    (void)state;
    World w = new_world(16 * GIB);
    for (int i = 0; i < 4 * 3600; i++) {
        bool greedy = w.p.now > SLOTS * 3 / 4;
        w.others = greedy ? 12 * GIB : 4 * GIB;
        run(&w, 1);
    }
    assert_true(w.up > 0);
    assert_true(w.down < 4 * 3600 / 400); /* at most about one in eight minutes once it has learnt */
}

static void time_that_passes_unread_is_no_calm_and_no_stall(void **state) {
    (void)state;
    World w = new_world(16 * GIB);
    run(&w, 10);
    w.others = 12 * GIB;
    run(&w, 10);
    uint32_t now = w.p.now;
    assert_true(now < SLOTS);
    w.now_ns += UINT64_C(3600) * 1000000000; /* nobody asked anything for an hour */
    run(&w, 1);
    assert_true(w.p.now <= now + SLOTS / 16 + 1);
}

/* ---- opening ---- */

static void what_there_is_room_for_is_what_the_cache_begins_with(void **state) {
    (void)state;
    EnginePressure p;
    start(&p, 0, SLOTS);
    const uint64_t all = SLOTS * slot_bytes;
    OsPressureReading r = {.room = 20 * GIB, .of = 24 * GIB};
    assert_int_equal(engine_pressure_begin(&p, &r, 2 * GIB), SLOTS);
    r.room = 2 * GIB + all; /* exactly enough */
    assert_int_equal(engine_pressure_begin(&p, &r, 2 * GIB), SLOTS);
    r.room -= GIB;
    uint32_t slots = engine_pressure_begin(&p, &r, 2 * GIB);
    assert_true(slots < SLOTS && 2 * GIB + slots * slot_bytes < r.room);
    assert_int_equal(engine_pressure_step(&p, &r, 0, UINT64_C(1000000000)), slots); /* and is not short at once */
    r.room = 2 * GIB + 2 * slot_bytes;
    assert_int_equal(engine_pressure_begin(&p, &r, 2 * GIB), 2);
    r.room--;
    assert_int_equal(engine_pressure_begin(&p, &r, 2 * GIB), 0);
    r.swap_left = GIB; /* slow, but no reason to refuse */
    assert_int_equal(engine_pressure_begin(&p, &r, 2 * GIB), 2);
    r.swap_left = 0;
    r.room = 20 * GIB; /* it was there again in time */
    assert_int_equal(engine_pressure_begin(&p, &r, 2 * GIB), SLOTS);
}

/* Several engines that were opened at the same moment, each planning for all that was left. They fill their caches piece by piece, in
 * turn, and look whenever they have taken one. What they hold together must never be more than there is. */
static void engines_that_plan_for_the_same_memory_share_it(void **state) {
    (void)state;
    enum { MOST = 3 };
    const uint64_t piece = 16 * MIB, of = 24 * GIB, fixed = 2 * GIB, owed = 100 * MIB; /* buffers that are touched late */
    for (int n = 2; n <= MOST; n++) {
        EnginePressure p[MOST];
        uint32_t used[MOST] = {0};
        OsPressureReading r = {.of = of, .room = of - GIB - (uint64_t)n * fixed};
        uint64_t now_ns = UINT64_C(1000000000), room_least = of;
        for (int i = 0; i < n; i++) {
            start(&p[i], fixed + owed, (uint32_t)((of - 2 * GIB - fixed) / slot_bytes));
            assert_true(engine_pressure_begin(&p[i], &r, 0) > 2); /* the fixed parts are there already */
        }
        for (int round = 0; round < 20000; round++) {
            for (int i = 0; i < n; i++) {
                uint64_t held = GIB + (uint64_t)n * (fixed + (round > 5000 ? owed : 0));
                for (int k = 0; k < n; k++) held += used[k] * slot_bytes;
                assert_true(held < of);
                r.room = of - held;
                r.resident = fixed + (round > 5000 ? owed : 0) + used[i] * slot_bytes;
                if (r.room < room_least) room_least = r.room;
                now_ns += 10000000; /* 1.6 GB/s */
                uint32_t to = engine_pressure_step(&p[i], &r, used[i], now_ns), more = (uint32_t)(piece / slot_bytes);
                used[i] = used[i] + more < to ? used[i] + more : to;
            }
        }
        assert_true(room_least > 64 * MIB);
        for (int i = 0; i < n; i++) assert_true(used[i] > SLOTS / 16);
    }
}

int main(void) {
    const struct CMUnitTest pressure[] = {
        cmocka_unit_test(plenty_of_memory_changes_nothing),
        cmocka_unit_test(a_neighbour_takes_memory_and_gives_it_back),
        cmocka_unit_test(a_limit_equal_to_the_budget_is_stable),
        cmocka_unit_test(stalls_that_a_smaller_cache_cures_are_cured),
        cmocka_unit_test(stalls_that_it_does_not_cure_end_the_steps),
        cmocka_unit_test(growing_swap_shrinks_the_cache_once_for_each_piece),
        cmocka_unit_test(a_relapse_makes_patient),
        cmocka_unit_test(time_that_passes_unread_is_no_calm_and_no_stall),
        cmocka_unit_test(what_there_is_room_for_is_what_the_cache_begins_with),
        cmocka_unit_test(engines_that_plan_for_the_same_memory_share_it),
    };
    return RUN_TESTS(pressure);
}
