/* The store without a model: records whose bytes tell who they are, wanted in any way, from a disk that may be bad. */
#define _GNU_SOURCE
#include "support/support.h"

#include "support/records.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static Records records;

static const DiskConfig plain = {.retries = -1};

static uint64_t part_bytes(int layer, int expert) { return records.bytes[layer * RECORDS_EXPERTS + expert]; }

static void want(Store *s, int layer, const int32_t *experts, int n, StoreOrder order) {
    Err err = {0};
    if (store_want(s, layer, experts, NULL, n, order, &err)) fail_msg("%s", err.text);
}

static StoreLease next(Store *s, int layer) {
    Err err = {0};
    StoreLease lease;
    if (store_next(s, &lease, &err) || store_finish(s, &lease, &err)) fail_msg("%s", err.text);
    records_check(&records, layer, &lease);
    return lease;
}

static void take_and_put(Store *s, int layer, const int32_t *experts, int n) {
    want(s, layer, experts, n, STORE_ASCENDING);
    for (int i = 0; i < n; i++) {
        StoreLease lease = next(s, layer);
        assert_int_equal(lease.expert, experts[i]);
        store_put(s, &lease);
    }
}

/* ---- hits, misses, order ---- */

static void the_second_time_is_a_hit(void **state) {
    (void)state;
    Disk *d = records_disk(&records, &plain);
    Store *s = records_store(&records, d, 8);
    const int32_t first[] = {1, 2, 5}, second[] = {2, 3, 5};
    take_and_put(s, 0, first, 3);
    take_and_put(s, 0, second, 3);
    take_and_put(s, 1, first, 3); /* the same ids in another layer are other experts */
    StoreStats stats;
    store_stats(s, &stats);
    assert_int_equal(stats.wanted, 9);
    assert_int_equal(stats.hits, 2);
    assert_int_equal(stats.misses, 7);
    assert_int_equal(stats.evictions, 0);
    uint64_t bytes = part_bytes(0, 1) + part_bytes(0, 2) + part_bytes(0, 5) + part_bytes(0, 3) + part_bytes(1, 1) + part_bytes(1, 2) +
                     part_bytes(1, 5);
    assert_int_equal(stats.bytes_read, bytes);
    store_stats_reset(s);
    store_stats(s, &stats);
    assert_int_equal(stats.wanted + stats.hits + stats.misses + stats.bytes_read + stats.evictions + stats.wait_ns, 0);
    want(s, 0, NULL, 0, STORE_ANY); /* nothing wanted is allowed */
    store_free(s);
    disk_free(d);
}

/* Ten slots, five layers, two experts per layer and step: with a floor what a step leaves is there for the next; with less than one
 * slot per layer nothing can be. */
static void a_floor_makes_hits_below_the_working_set(void **state) {
    (void)state;
    const int32_t experts[] = {1, 6, 7};
    uint64_t hits[3];
    for (uint32_t floor = 0; floor < 3; floor++) {
        Disk *d = records_disk(&records, &plain);
        StoreConfig config = records_config(&records, d, 10);
        config.floor = floor;
        Err err = {0};
        Store *s = store_new(&config, &err);
        assert_non_null(s);
        for (int step = 0; step < 8; step++) {
            for (int layer = 0; layer < RECORDS_LAYERS; layer++) take_and_put(s, layer, experts, 3);
            store_step(s, 1);
        }
        StoreStats stats;
        store_stats(s, &stats);
        hits[floor] = stats.hits;
        store_free(s);
        disk_free(d);
    }
    assert_true(hits[2] >= 7 * RECORDS_LAYERS);
    assert_true(hits[1] > 0);
}

/* Ten slots, five layers with a floor of two: if the floors took all of them, the reads of a want would queue for two slots. */
static void a_floor_leaves_room_for_a_want(void **state) {
    (void)state;
    const int32_t warm[] = {0, 4}, whole[] = {8, 12, 16, 20}; /* each is one read */
    Disk *d = records_disk(&records, &plain);
    StoreConfig config = records_config(&records, d, 10);
    config.floor = 2;
    Err err = {0};
    Store *s = store_new(&config, &err);
    assert_non_null(s);
    for (int layer = 0; layer < RECORDS_LAYERS; layer++) take_and_put(s, layer, warm, 2);
    want(s, 0, whole, 4, STORE_ANY);
    assert_int_equal(disk_in_flight(d), 4);
    store_drop(s);
    store_free(s);
    disk_free(d);
}

static void hits_are_safe_from_their_own_want(void **state) {
    (void)state;
    Disk *d = records_disk(&records, &plain);
    Store *s = records_store(&records, d, 4);
    const int32_t warm[] = {10, 11, 12, 13}, mixed[] = {1, 2, 10, 11};
    take_and_put(s, 0, warm, 4); /* 10 and 11 are the coldest, and would be the first to go */
    store_stats_reset(s);
    want(s, 0, mixed, 4, STORE_ANY);
    StoreLease leases[4];
    for (int i = 0; i < 4; i++) leases[i] = next(s, 0);
    assert_int_equal(leases[0].expert, 10); /* what is here comes first */
    assert_int_equal(leases[1].expert, 11);
    StoreStats stats;
    store_stats(s, &stats);
    assert_int_equal(stats.hits, 2);
    assert_int_equal(stats.evictions, 2);
    for (int i = 0; i < 4; i++) records_check(&records, 0, &leases[i]);
    for (int i = 0; i < 4; i++) store_put(s, &leases[i]);
    store_free(s);
    disk_free(d);
}

static void more_experts_than_slots(void **state) {
    (void)state;
    int32_t all[RECORDS_EXPERTS];
    for (int e = 0; e < RECORDS_EXPERTS; e++) all[e] = e;
    Disk *d = records_disk(&records, &plain);
    for (uint32_t slots = 1; slots <= 3; slots++) {
        Store *s = records_store(&records, d, slots);
        const int32_t late[] = {21, 22, 23};
        take_and_put(s, 0, late, (int)slots);
        StoreStats before, after;
        uint64_t bytes = 0;
        for (int e = 0; e < RECORDS_EXPERTS; e++) bytes += part_bytes(0, e);
        store_stats(s, &before);
        /* ascending: 0 is a miss, and hits at the far end hold every slot; they must give way */
        take_and_put(s, 0, all, RECORDS_EXPERTS);
        for (int e = 0; e < RECORDS_EXPERTS; e++) bytes -= store_last_hits(s)[e] ? part_bytes(0, e) : 0;
        store_stats(s, &after);
        assert_int_equal(after.bytes_read - before.bytes_read, bytes); /* what was not there is read once, and only once */
        want(s, 0, all, RECORDS_EXPERTS, STORE_ANY);
        bool seen[RECORDS_EXPERTS] = {false};
        for (int i = 0; i < RECORDS_EXPERTS; i++) {
            StoreLease lease = next(s, 0);
            assert_false(seen[lease.expert]);
            seen[lease.expert] = true;
            store_put(s, &lease);
        }
        StoreStats stats;
        store_stats(s, &stats);
        assert_int_equal(stats.wanted, slots + 2 * RECORDS_EXPERTS);
        assert_int_equal(stats.hits + stats.misses, stats.wanted);
        store_free(s);
    }
    disk_free(d);
}

static void leases_that_hold_every_slot_are_an_error(void **state) {
    (void)state;
    Disk *d = records_disk(&records, &plain);
    Store *s = records_store(&records, d, 2);
    const int32_t experts[] = {1, 2, 3};
    for (int order = STORE_ANY; order <= STORE_ASCENDING; order++) {
        want(s, 2, experts, 3, (StoreOrder)order);
        StoreLease a = next(s, 2), b = next(s, 2), c;
        Err err = {0};
        assert_int_equal(store_next(s, &c, &err), ERR_STATE);
        assert_non_null(strstr(err.text, "all 2"));
        records_check(&records, 2, &a);
        store_put(s, &a); /* and on it goes */
        c = next(s, 2);
        assert_int_equal(store_next(s, &a, &err), ERR_STATE);
        store_put(s, &b);
        store_put(s, &c);
    }
    store_free(s);
    disk_free(d);
}

static void a_lease_may_outlive_its_want(void **state) {
    (void)state;
    Disk *d = records_disk(&records, &plain);
    Store *s = records_store(&records, d, 3);
    const int32_t one[] = {7}, others[] = {1, 2, 3, 4, 7, 9};
    want(s, 0, one, 1, STORE_ANY);
    StoreLease kept = next(s, 0);
    take_and_put(s, 1, others, 6);
    take_and_put(s, 0, others, 6); /* takes expert 7 of layer 0 a second time */
    records_check(&records, 0, &kept);
    store_put(s, &kept);
    store_free(s);
    disk_free(d);
}

/* Ascending, expert 1 is a miss; of the hits behind it only 5 can give way, for somebody still holds a lease of 7. */
static void a_hit_that_is_leased_does_not_give_way(void **state) {
    (void)state;
    Disk *d = records_disk(&records, &plain);
    Store *s = records_store(&records, d, 2);
    const int32_t five[] = {5}, seven[] = {7}, all[] = {1, 5, 7};
    take_and_put(s, 0, five, 1);
    want(s, 0, seven, 1, STORE_ANY);
    StoreLease kept = next(s, 0);
    store_stats_reset(s);
    take_and_put(s, 0, all, 3);
    StoreStats stats;
    store_stats(s, &stats);
    assert_int_equal(stats.hits, 1);
    assert_int_equal(stats.misses, 2);
    records_check(&records, 0, &kept);
    store_put(s, &kept);
    store_free(s);
    disk_free(d);
}

static void the_last_hits_are_told_one_by_one(void **state) {
    (void)state;
    Disk *d = records_disk(&records, &plain);
    Store *s = records_store(&records, d, 3);
    const int32_t warm[] = {2, 6, 9}, mixed[] = {1, 2, 5, 9};
    take_and_put(s, 1, warm, 3);
    take_and_put(s, 1, mixed, 4);
    const uint8_t *hits = store_last_hits(s);
    assert_true(!hits[0] && hits[1] && !hits[2]);
    StoreStats stats;
    store_stats(s, &stats);
    assert_int_equal(stats.hits, 1 + hits[3]);
    store_free(s);
    disk_free(d);
}

/* ---- random drives ---- */

static void check_drive(DiskBackend backend, DiskDirect direct, uint32_t slots) {
    Disk *d = records_disk(&records, &(DiskConfig){.backend = backend, .direct = direct, .retries = -1});
    Store *s = records_store(&records, d, slots);
    uint64_t before = mem_allocation_count();
    Drive drive = {.n_wants = 40, .experts_max = RECORDS_EXPERTS, .seed = slots};
    records_drive(&records, s, &drive);
    assert_int_equal(mem_allocation_count(), before);
    store_free(s);
    disk_free(d);
}

static void any_sequence_gives_the_right_bytes(void **state) {
    (void)state;
    static const uint32_t slots[] = {1, 2, 3, 5, 8, 24, 60, RECORDS_N};
    Err err = {0};
    Disk *uring = disk_new(&(DiskConfig){.backend = DISK_URING}, &err);
    if (!uring) printf("SKIP: %s\n", err.text);
    for (size_t i = 0; i < COUNT_OF(slots); i++)
        for (int direct = DISK_DIRECT_AUTO; direct <= DISK_DIRECT_OFF; direct += 2) {
            check_drive(DISK_THREADS, (DiskDirect)direct, slots[i]);
            if (uring) check_drive(DISK_URING, (DiskDirect)direct, slots[i]);
        }
    disk_free(uring);
}

static void a_bad_disk_changes_no_byte(void **state) {
    (void)state;
    static const uint32_t slots[] = {1, 2, 4, 11, 60};
    int failed = 0;
    for (size_t i = 0; i < COUNT_OF(slots); i++)
        for (int retries = 0; retries <= 12; retries += 12) { /* without retries many reads fail for good; with twelve, none */
            DiskConfig config = {.backend = DISK_FAKE, .retries = retries,
                                 .faults = {.error_ppm = 15000, .short_ppm = 100000, .delay_ppm = 30000, .delay_ms = 1, .fail_file = -1,
                                            .seed = i}};
            Disk *d = records_disk(&records, &config);
            Store *s = records_store(&records, d, slots[i]);
            Drive drive = {.n_wants = 120, .experts_max = 10, .seed = 1000 + i, .may_fail = retries == 0};
            records_drive(&records, s, &drive);
            failed += drive.failed;
            store_free(s);
            disk_free(d);
        }
    assert_true(failed > 50);
}

/* ---- failures ---- */

static void an_expert_that_cannot_be_read_is_an_error(void **state) {
    (void)state;
    const DiskRange *up = records_part(&records, 3, 9, 1);
    DiskConfig config = {.backend = DISK_FAKE, .retries = 1, .direct = DISK_DIRECT_OFF,
                         .faults = {.fail_file = up->file, .fail_offset = up->offset + up->bytes / 2}};
    Disk *d = records_disk(&records, &config);
    Store *s = records_store(&records, d, 6);
    const int32_t experts[] = {8, 9, 10, 11}, others[] = {8, 10, 11};
    for (int order = STORE_ANY; order <= STORE_ASCENDING; order++)
        for (int round = 0; round < 2; round++) { /* the second time it is tried again, and fails again */
            want(s, 3, experts, 4, (StoreOrder)order);
            StoreLease lease[4];
            Err err = {0};
            int taken = 0;
            while (store_next(s, &lease[taken], &err) == ERR_OK) records_check(&records, 3, &lease[taken++]);
            assert_true(taken < 4);
            assert_int_equal(err.code, ERR_IO);
            assert_int_equal(strncmp(err.text, "layer 3 expert 9: ", 18), 0);
            assert_non_null(strstr(err.text, records.path[up->file]));
            assert_non_null(strstr(err.text, "2 times"));
            store_drop(s);
            for (int i = 0; i < taken; i++) {
                assert_int_not_equal(lease[i].expert, 9);
                records_check(&records, 3, &lease[i]); /* leases stay good */
                store_put(s, &lease[i]);
            }
            take_and_put(s, 3, others, 3); /* usable at once */
        }
    store_free(s);
    disk_free(d);
}

static void an_interrupt_leaves_nothing_behind(void **state) {
    (void)state;
    DiskConfig config = {.backend = DISK_FAKE, .faults = {.delay_ppm = 500000, .delay_ms = 3, .fail_file = -1}};
    Disk *d = records_disk(&records, &config);
    Store *s = records_store(&records, d, 8);
    const int32_t experts[] = {0, 3, 4, 7, 9};
    Err err = {0};
    for (int taken = 0; taken < 5; taken++) {
        want(s, 4, experts, 5, STORE_ANY);
        StoreLease lease[5];
        for (int i = 0; i < taken; i++) lease[i] = next(s, 4);
        assert_int_equal(store_want(s, 0, experts, NULL, 5, STORE_ANY, &err), ERR_STATE); /* one want at a time */
        store_drop(s);
        assert_int_equal(disk_in_flight(d), 0);
        for (int i = 0; i < taken; i++) store_put(s, &lease[i]);
    }
    store_stats_reset(s);
    take_and_put(s, 4, experts, 5);
    StoreStats stats;
    store_stats(s, &stats);
    assert_int_equal(stats.hits, 5); /* what had landed was kept */
    want(s, 2, experts, 5, STORE_ANY);
    store_free(s); /* while reads run */
    disk_free(d);
}

static void mistakes_are_refused(void **state) {
    (void)state;
    Disk *d = records_disk(&records, &plain);
    Store *s = records_store(&records, d, 4);
    Err err = {0};
    StoreLease lease;
    const int32_t twice[] = {3, 3}, falling[] = {4, 3}, negative[] = {-1}, large[] = {RECORDS_EXPERTS};
    assert_int_equal(store_want(s, 0, twice, NULL, 2, STORE_ANY, &err), ERR_RANGE);
    assert_int_equal(store_want(s, 0, falling, NULL, 2, STORE_ANY, &err), ERR_RANGE);
    assert_int_equal(store_want(s, 0, negative, NULL, 1, STORE_ANY, &err), ERR_RANGE);
    assert_int_equal(store_want(s, 0, large, NULL, 1, STORE_ANY, &err), ERR_RANGE);
    assert_int_equal(store_want(s, RECORDS_LAYERS, twice, NULL, 1, STORE_ANY, &err), ERR_RANGE);
    assert_int_equal(store_want(s, -1, twice, NULL, 1, STORE_ANY, &err), ERR_RANGE);
    assert_int_equal(store_next(s, &lease, &err), ERR_STATE);
    store_drop(s);
    take_and_put(s, 0, twice, 1);
    store_free(s);
    store_free(NULL);

    StoreConfig config = {.n_layers = RECORDS_LAYERS, .n_experts = RECORDS_EXPERTS, .parts = &records.parts[0][0], .disk = d};
    uint64_t slot = store_slot_bytes(config.parts, RECORDS_N, d);
    config.slab_bytes = slot - 1;
    assert_null(store_new(&config, &err));
    assert_int_equal(err.code, ERR_MEMORY);
    assert_non_null(strstr(err.text, "--ram"));
    config.slab_bytes = slot * RECORDS_N * 10; /* more than there are experts */
    s = store_new(&config, &err);
    assert_non_null(s);
    assert_int_equal(store_slots(s), RECORDS_N);
    store_free(s);
    disk_free(d);
}

static void records_outside_their_file_are_refused(void **state) {
    (void)state;
    Disk *d = records_disk(&records, &plain);
    static DiskRange parts[RECORDS_N][STORE_PARTS];
    const DiskRange bad[] = {
        {.file = 2, .bytes = 10, .offset = 0},
        {.file = 0, .bytes = 0, .offset = 0},
        {.file = 0, .bytes = 10, .offset = disk_file_bytes(d, 0) - 9},
        {.file = 1, .bytes = 10, .offset = UINT64_MAX - 5},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        memcpy(parts, records.parts, sizeof parts);
        parts[2 * RECORDS_EXPERTS + 17][2] = bad[i];
        StoreConfig config = {.n_layers = RECORDS_LAYERS,
                              .n_experts = RECORDS_EXPERTS,
                              .parts = &parts[0][0],
                              .disk = d,
                              .slab_bytes = 1 << 24};
        Err err = {0};
        assert_null(store_new(&config, &err));
        assert_non_null(strstr(err.text, "layer 2 expert 17: part 2"));
    }
    disk_free(d);
}

static void a_file_cut_off_while_running_is_an_error(void **state) {
    (void)state;
    static Records own;
    records_write(&own, 500);
    Disk *d = records_disk(&own, &(DiskConfig){.retries = 1});
    Store *s = records_store(&own, d, 4);
    assert_int_equal(truncate(own.path[0], 1000), 0);
    assert_int_equal(truncate(own.path[1], 1000), 0);
    Err err = {0};
    StoreLease lease;
    const int32_t expert = 20;
    want(s, 4, &expert, 1, STORE_ANY);
    assert_int_equal(store_next(s, &lease, &err), ERR_IO);
    assert_non_null(strstr(err.text, "layer 4 expert 20: "));
    assert_non_null(strstr(err.text, "shrank"));
    store_drop(s);
    store_free(s);
    disk_free(d);
}

static void running_out_of_memory_is_an_error(void **state) {
    (void)state;
    Disk *d = records_disk(&records, &plain);
    StoreConfig config = {.n_layers = RECORDS_LAYERS,
                          .n_experts = RECORDS_EXPERTS,
                          .parts = &records.parts[0][0],
                          .disk = d,
                          .slab_bytes = 1 << 20};
    int failed = 0;
    for (uint64_t n = 1; n < 20; n++) {
        Err err = {0};
        mem_fail_after(n);
        Store *s = store_new(&config, &err);
        mem_fail_after(0);
        if (!s) failed++, assert_int_equal(err.code, ERR_MEMORY);
        store_free(s);
    }
    assert_in_range(failed, 8, 18);
    disk_free(d);
}

/* ---- layout ---- */

static void slots_hold_records_of_any_shape(void **state) {
    (void)state;
    Disk *d = records_disk(&records, &(DiskConfig){.direct = DISK_DIRECT_OFF});
    const DiskRange close[STORE_PARTS] = {{0, 100, 0}, {0, 100, 200}, {0, 100, 100}};           /* touching, in another order */
    const DiskRange apart[STORE_PARTS] = {{0, 100, 0}, {1, 100, 0}, {0, 100, 50000}};           /* three reads */
    const DiskRange large[STORE_PARTS] = {{0, 1 << 20, 0}, {0, 1 << 20, 1 << 20}, {0, 1, 2 << 20}};
    assert_int_equal(store_slot_bytes(close, 1, d), 320);
    assert_int_equal(store_slot_bytes(apart, 1, d), 384);
    assert_int_equal(store_slot_bytes(large, 1, d), (2 << 20) + 64);
    disk_free(d);
    d = records_disk(&records, &plain);
    uint32_t a = disk_alignment(d, 0);
    const DiskRange odd[STORE_PARTS] = {{0, 2, a - 1}, {0, 2, 20 * a - 1}, {1, 2, a - 1}}; /* each touches two blocks */
    if (a > 1) assert_int_equal(store_slot_bytes(odd, 1, d), 2 * 3 * a);
    disk_free(d);
}

/* A read takes in the blocks that a record touches, and between two of its parts at most a page; never its neighbours. */
static void a_record_is_read_with_its_blocks_and_nothing_more(void **state) {
    (void)state;
    for (int direct = 0; direct < 2; direct++) {
        Disk *d = records_disk(&records, &(DiskConfig){.direct = direct ? DISK_DIRECT_AUTO : DISK_DIRECT_OFF, .retries = -1});
        Store *s = records_store(&records, d, 1);
        for (int32_t i = 0; i < RECORDS_N; i++) {
            int layer = i / RECORDS_EXPERTS;
            int32_t expert = i % RECORDS_EXPERTS;
            DiskInfo before, after;
            disk_info(d, &before);
            Err err = {0};
            StoreLease lease;
            if (store_want(s, layer, &expert, NULL, 1, STORE_ANY, &err) || store_next(s, &lease, &err) || store_finish(s, &lease, &err))
                fail_msg("%s", err.text);
            store_put(s, &lease);
            disk_info(d, &after);
            uint64_t blocks = 0;
            for (int p = 0; p < STORE_PARTS; p++) blocks += 2 * (disk_alignment(d, records_part(&records, layer, expert, p)->file) - 1);
            assert_in_range(after.bytes - before.bytes, records.bytes[i], records.bytes[i] + blocks + (STORE_PARTS - 1) * 4096);
        }
        store_free(s);
        disk_free(d);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_second_time_is_a_hit),
        cmocka_unit_test(a_floor_makes_hits_below_the_working_set),
        cmocka_unit_test(a_floor_leaves_room_for_a_want),
        cmocka_unit_test(hits_are_safe_from_their_own_want),
        cmocka_unit_test(more_experts_than_slots),
        cmocka_unit_test(leases_that_hold_every_slot_are_an_error),
        cmocka_unit_test(a_lease_may_outlive_its_want),
        cmocka_unit_test(a_hit_that_is_leased_does_not_give_way),
        cmocka_unit_test(the_last_hits_are_told_one_by_one),
        cmocka_unit_test(any_sequence_gives_the_right_bytes),
        cmocka_unit_test(a_bad_disk_changes_no_byte),
        cmocka_unit_test(an_expert_that_cannot_be_read_is_an_error),
        cmocka_unit_test(an_interrupt_leaves_nothing_behind),
        cmocka_unit_test(mistakes_are_refused),
        cmocka_unit_test(records_outside_their_file_are_refused),
        cmocka_unit_test(a_file_cut_off_while_running_is_an_error),
        cmocka_unit_test(running_out_of_memory_is_an_error),
        cmocka_unit_test(slots_hold_records_of_any_shape),
        cmocka_unit_test(a_record_is_read_with_its_blocks_and_nothing_more),
    };
    records_write(&records, 900);
    return RUN_TESTS(tests);
}
