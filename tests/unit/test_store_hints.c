/* Reading ahead: what was hinted is there when it is wanted, what was wrong is taken back, and nobody hears of either but the clock. */
#define _GNU_SOURCE
#include "support/gate.h"
#include "support/records.h"
#include "support/support.h"

#include <string.h>
#include <time.h>

static Records records;

static Store *hinting_store(Disk *d, uint32_t n_slots, uint32_t hint_slots) {
    StoreConfig config = records_config(&records, d, n_slots);
    config.hint_slots = hint_slots;
    Err err = {0};
    Store *s = store_new(&config, &err);
    if (!s) fail_msg("%s", err.text);
    return s;
}

/* The same over a disk whose reads stop at the gate, one hint at a time. */
static Store *gated_store(Gate *gate, int depth, uint32_t n_slots, uint32_t hint_slots, Disk **d) {
    gate_init(gate);
    DiskConfig config = gate_disk(gate, depth, 1);
    *d = records_disk(&records, &config);
    return hinting_store(*d, n_slots, hint_slots);
}

static void close_both(Store *s, Disk *d) {
    store_free(s);
    disk_free(d);
}

static StoreStats stats_of(const Store *s) {
    StoreStats stats;
    store_stats(s, &stats);
    return stats;
}

/* All of what is wanted already, bytes checked. */
static void take_wanted(Store *s, int layer, int n) {
    Err err = {0};
    for (int i = 0; i < n; i++) {
        StoreLease lease;
        if (store_next(s, &lease, &err) || store_finish(s, &lease, &err)) fail_msg("%s", err.text);
        records_check(&records, layer, &lease);
        store_put(s, &lease);
    }
}

static void take(Store *s, int layer, const int32_t *experts, int n) {
    Err err = {0};
    if (store_want(s, layer, experts, NULL, n, STORE_ANY, &err)) fail_msg("%s", err.text);
    take_wanted(s, layer, n);
}

/* Layer 1's expert 5 is wanted already, and cannot be read. */
static void expect_failure(Store *s) {
    Err err = {0};
    StoreLease lease;
    ErrCode code = store_next(s, &lease, &err);
    if (!code) {
        code = store_finish(s, &lease, &err);
        store_put(s, &lease);
    }
    assert_int_equal(code, ERR_IO);
    assert_int_equal(strncmp(err.text, "layer 1 expert 5: ", 18), 0);
}

static uint64_t bytes_of(int layer, int32_t expert) { return records.bytes[layer * RECORDS_EXPERTS + expert]; }

/* Until so many bytes have been read ahead. */
static void await_hints(Store *s, uint64_t bytes) {
    for (int i = 0; i < 2000 && stats_of(s).hint_bytes < bytes; i++) {
        assert_int_equal(store_want(s, RECORDS_LAYERS - 1, NULL, NULL, 0, STORE_ANY, NULL), ERR_OK); /* takes in what has landed */
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    assert_int_equal(stats_of(s).hint_bytes, bytes);
}

static void a_hint_that_has_landed_is_there_but_had_to_be_read(void **state) {
    (void)state;
    Disk *d = records_disk(&records, &(DiskConfig){.retries = -1});
    Store *s = hinting_store(d, 16, 4);
    const int32_t first[] = {1, 2}, guess[] = {9, 5, 3}, real[] = {3, 5, 7};
    take(s, 0, first, 2);
    assert_int_equal(store_hint(s, 1, guess, 3), 3);
    assert_int_equal(store_hint(s, 1, guess, 3), 0); /* under way already */
    await_hints(s, bytes_of(1, 9) + bytes_of(1, 5) + bytes_of(1, 3));
    store_stats_reset(s);
    take(s, 1, real, 3);
    StoreStats stats = stats_of(s);
    assert_int_equal(stats.hits, 0);
    assert_int_equal(stats.misses, 3);
    const uint8_t *hits = store_last_hits(s);
    assert_int_equal(hits[0], STORE_AHEAD);
    assert_int_equal(hits[1], STORE_AHEAD);
    assert_int_equal(hits[2], STORE_MISS);
    assert_int_equal(stats.hints_used, 2);
    assert_int_equal(stats.hint_bytes_used, bytes_of(1, 5) + bytes_of(1, 3));
    assert_int_equal(stats.bytes_read, bytes_of(1, 7));
    assert_int_equal(store_hint(s, 1, real, 3), 0); /* here already */
    close_both(s, d);
}

static void a_hint_under_way_is_awaited_and_not_read_twice(void **state) {
    (void)state;
    Gate gate;
    Disk *d;
    Store *s = gated_store(&gate, 2, 16, 4, &d);
    const int32_t experts[] = {3, 5};
    assert_int_equal(store_hint(s, 1, experts, 2), 2); /* three reads each: one begins, the others wait */
    gate_wait_started(&gate, 1);
    assert_int_equal(gate_started(&gate), 1);
    Err err = {0};
    assert_int_equal(store_want(s, 1, experts, NULL, 2, STORE_ANY, &err), ERR_OK);
    gate_wait_started(&gate, 2); /* demands now: as many as the disk can do */
    gate_allow(&gate, 1000);
    take_wanted(s, 1, 2);
    StoreStats stats = stats_of(s);
    assert_int_equal(stats.misses, 2);
    assert_int_equal(stats.hints_used, 2);
    assert_int_equal(stats.bytes_read, bytes_of(1, 3) + bytes_of(1, 5));
    assert_int_equal(gate_started(&gate), 6);
    close_both(s, d);
}

static void wrong_hints_are_taken_back(void **state) {
    (void)state;
    Gate gate;
    Disk *d;
    Store *s = gated_store(&gate, 4, 16, 4, &d);
    const int32_t guess[] = {4, 8, 12}, real[] = {6}, other[] = {3}; /* 4, 8 and 12 come by one read each */
    assert_int_equal(store_hint(s, 0, guess, 3), 3);
    assert_int_equal(store_hint(s, 2, other, 1), 1);
    gate_wait_started(&gate, 1); /* expert 4 */
    Err err = {0};
    assert_int_equal(store_want(s, 0, real, NULL, 1, STORE_ANY, &err), ERR_OK);
    gate_allow(&gate, 1000);
    take_wanted(s, 0, 1);
    await_hints(s, bytes_of(0, 4) + bytes_of(2, 3)); /* 8 and 12 were never read; the other layer's is none of this */
    DiskInfo info;
    disk_info(d, &info);
    assert_int_equal(info.cancelled, 2);
    store_stats_reset(s);
    take(s, 0, guess, 3); /* 4 stayed, as if it had been wanted long ago */
    assert_int_equal(stats_of(s).hits, 1);
    assert_int_equal(stats_of(s).hints_used, 0);
    take(s, 2, other, 1);
    assert_int_equal(stats_of(s).hints_used, 1);
    close_both(s, d);
}

static void hints_that_are_not_wanted_are_counted(void **state) {
    (void)state;
    int32_t all[RECORDS_EXPERTS], none[1] = {0};
    for (int e = 0; e < RECORDS_EXPERTS; e++) all[e] = e;
    Disk *d = records_disk(&records, &(DiskConfig){.retries = -1});
    Store *s = hinting_store(d, 32, 5);
    assert_int_equal(store_hint(s, 1, all, RECORDS_EXPERTS), 5);
    assert_int_equal(store_hint(s, 2, all, RECORDS_EXPERTS), 0);
    take(s, 1, all, 2); /* two were right, three were wrong: room again */
    assert_int_equal(store_hint(s, 2, all, RECORDS_EXPERTS), 5);
    store_free(s);
    s = hinting_store(d, 6, 5);
    assert_int_equal(store_hint(s, 1, all, RECORDS_EXPERTS), 3); /* half of the slots */
    take(s, 1, all, RECORDS_EXPERTS);
    assert_int_equal(store_hint(s, -1, all, 3) + store_hint(s, RECORDS_LAYERS, all, 3), 0);
    store_free(s);
    s = hinting_store(d, 6, 0);
    assert_int_equal(store_hint(s, 1, all, 3), 0);
    take(s, 0, none, 1);
    close_both(s, d);
}

static void a_hint_takes_no_slot_that_the_want_needs(void **state) {
    (void)state;
    Disk *d = records_disk(&records, &(DiskConfig){.retries = -1});
    Store *s = hinting_store(d, 4, 2);
    const int32_t experts[] = {0, 2, 3, 5, 8, 9}, guess[] = {1, 7};
    Err err = {0};
    StoreLease lease[6];
    assert_int_equal(store_want(s, 0, experts, NULL, 6, STORE_ASCENDING, &err), ERR_OK);
    assert_int_equal(store_hint(s, 1, guess, 2), 0); /* two of the six have no slot yet */
    for (int i = 0; i < 6; i++) {
        if (store_next(s, &lease[i], &err) || store_finish(s, &lease[i], &err)) fail_msg("%s", err.text);
        if (i < 2) store_put(s, &lease[i]);
    }
    assert_int_equal(store_hint(s, 1, guess, 2), 0); /* leases hold all four */
    store_put(s, &lease[2]);
    assert_int_equal(store_hint(s, 1, guess, 2), 1);
    for (int i = 3; i < 6; i++) {
        records_check(&records, 0, &lease[i]);
        store_put(s, &lease[i]);
    }
    take(s, 0, experts, 6); /* as if there were no hint */
    take(s, 1, guess, 2);
    close_both(s, d);
}

/* Hints that cannot get on hold every slot but one, or half of them: they give way. */
static void hints_that_wait_give_way(void **state) {
    (void)state;
    Gate gate;
    Disk *d;
    Store *s = gated_store(&gate, 8, 4, 2, &d);
    const int32_t guess[] = {4, 8}, experts[] = {0, 4, 8, 12};
    assert_int_equal(store_hint(s, 2, guess, 2), 2);
    gate_wait_started(&gate, 1);
    Err err = {0};
    assert_int_equal(store_want(s, 0, experts, NULL, 4, STORE_ANY, &err), ERR_OK);
    gate_wait_started(&gate, 4); /* the hint that had begun, and three of the four */
    gate_allow(&gate, 1000);
    for (int i = 0; i < 4; i++) {
        StoreLease lease;
        if (store_next(s, &lease, &err)) fail_msg("%s", err.text);
        records_check(&records, 0, &lease);
        store_put(s, &lease);
    }
    close_both(s, d);
}

static void a_failed_hint_is_told_only_to_who_wants_it(void **state) {
    (void)state;
    for (int part = 0; part < STORE_PARTS; part++) {
        const DiskRange *bad = records_part(&records, 1, 5, part);
        DiskConfig config = {.backend = DISK_FAKE, .direct = DISK_DIRECT_OFF, .retries = 0,
                             .faults = {.fail_file = bad->file, .fail_offset = bad->offset + 1}};
        Disk *d = records_disk(&records, &config);
        Store *s = hinting_store(d, 16, 4);
        const int32_t guess[] = {5, 7}, fine[] = {7}, five[] = {5};
        assert_int_equal(store_hint(s, 1, guess, 2), 2);
        for (int i = 0; i < 2000 && stats_of(s).hints_failed == 0; i++) {
            assert_int_equal(store_want(s, 0, NULL, NULL, 0, STORE_ANY, NULL), ERR_OK);
            nanosleep(&(struct timespec){0, 1000000}, NULL);
        }
        assert_int_equal(stats_of(s).hints_failed, 1);
        take(s, 1, fine, 1);
        Err err = {0};
        assert_int_equal(store_want(s, 1, five, NULL, 1, STORE_ANY, &err), ERR_OK);
        expect_failure(s);
        store_drop(s);
        take(s, 1, fine, 1);
        close_both(s, d);
    }
}

/* The hint fails when it has been wanted already: it is read once more, and then it is an error; the bad place is in each part in turn. */
static void a_promoted_hint_that_fails_is_read_again(void **state) {
    (void)state;
    for (int part = 0; part < STORE_PARTS; part++) {
        const DiskRange *bad = records_part(&records, 1, 5, part);
        Gate gate;
        gate_init(&gate);
        DiskConfig config = gate_disk(&gate, 3, 1);
        config.direct = DISK_DIRECT_OFF;
        config.faults.fail_file = bad->file;
        config.faults.fail_offset = bad->offset + 1;
        Disk *d = records_disk(&records, &config);
        Store *s = hinting_store(d, 16, 4);
        const int32_t five[] = {5};
        assert_int_equal(store_hint(s, 1, five, 1), 1);
        gate_wait_started(&gate, 1);
        Err err = {0};
        assert_int_equal(store_want(s, 1, five, NULL, 1, STORE_ANY, &err), ERR_OK);
        gate_allow(&gate, 1000);
        expect_failure(s);
        assert_int_equal(stats_of(s).hints_failed, 1);
        store_drop(s);
        close_both(s, d);
    }
}

/* By now the other thread has taken the hints back, and waits for the one that had begun. */
static void *open_later(void *gate) {
    nanosleep(&(struct timespec){0, 150000000}, NULL);
    gate_allow(gate, 1000);
    return NULL;
}

static void dropping_a_want_takes_hints_back(void **state) {
    (void)state;
    Gate gate;
    Disk *d;
    Store *s = gated_store(&gate, 2, 16, 8, &d);
    const int32_t guess[] = {3, 5, 4, 8};
    assert_int_equal(store_hint(s, 1, guess, 4), 4);
    gate_wait_started(&gate, 1);
    pthread_t opener;
    assert_int_equal(pthread_create(&opener, NULL, open_later, &gate), 0);
    store_drop(s);
    pthread_join(opener, NULL);
    assert_int_equal(disk_in_flight(d), 0);
    assert_int_equal(gate_started(&gate), 1);
    const int32_t sorted[] = {3, 4, 5, 8};
    take(s, 1, sorted, 4);
    assert_int_equal(stats_of(s).hits, 0);
    close_both(s, d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hint_that_has_landed_is_there_but_had_to_be_read),
        cmocka_unit_test(a_hint_under_way_is_awaited_and_not_read_twice),
        cmocka_unit_test(wrong_hints_are_taken_back),
        cmocka_unit_test(hints_that_are_not_wanted_are_counted),
        cmocka_unit_test(a_hint_takes_no_slot_that_the_want_needs),
        cmocka_unit_test(hints_that_wait_give_way),
        cmocka_unit_test(a_failed_hint_is_told_only_to_who_wants_it),
        cmocka_unit_test(a_promoted_hint_that_fails_is_read_again),
        cmocka_unit_test(dropping_a_want_takes_hints_back),
    };
    records_write(&records, 900);
    return RUN_TESTS(tests);
}
