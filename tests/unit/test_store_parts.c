/* Gate and up before down: a lease is handed out before its record is whole, finished later or never. */
#include "support/gate.h"
#include "support/records.h"
#include "support/support.h"

#include <string.h>

static Records records;

static uint64_t part_bytes(int layer, int expert) { return records.bytes[layer * RECORDS_EXPERTS + expert]; }

static void want(Store *s, int layer, const int32_t *experts, int n, StoreOrder order) {
    Err err = {0};
    if (store_want(s, layer, experts, NULL, n, order, &err)) fail_msg("%s", err.text);
}

static StoreLease next_unfinished(Store *s, int layer) {
    Err err = {0};
    StoreLease lease;
    if (store_next(s, &lease, &err)) fail_msg("%s", err.text);
    records_check(&records, layer, &lease);
    return lease;
}

static void take_one(Store *s, int layer, int expert) {
    Err err = {0};
    StoreLease lease = next_unfinished(s, layer);
    assert_int_equal(lease.expert, expert);
    if (store_finish(s, &lease, &err)) fail_msg("%s", err.text);
    records_check(&records, layer, &lease);
    store_put(s, &lease);
}

static bool was_there(Store *s) { return store_last_hits(s)[0] == STORE_HIT; }

static StoreStats stats_of(const Store *s) {
    StoreStats stats;
    store_stats(s, &stats);
    return stats;
}

/* One read after the other, in the order of submission: of each record gate, up and down, each of which waits to be let through. */
enum { GATE_AND_UP = 2, DOWN = 1 };
static Disk *gated_disk(Gate *gate) {
    gate_init(gate);
    DiskConfig config = gate_disk(gate, 1, 0);
    return records_disk(&records, &config);
}

static void gate_and_up_land_first_and_then_down_record_by_record(void **state) {
    (void)state;
    Gate gate;
    Disk *d = gated_disk(&gate);
    Store *s = records_store(&records, d, 4);
    const int32_t scattered[] = {1, 3, 5}, merged = 4;
    want(s, 0, scattered, 3, STORE_ANY);
    StoreLease lease[3];
    for (int i = 0; i < 3; i++) {
        gate_allow(&gate, i ? DOWN + GATE_AND_UP : GATE_AND_UP);
        lease[i] = next_unfinished(s, 0);
        assert_int_equal(lease[i].expert, scattered[i]);
        assert_false(lease[i].whole);
        if (i > 0) assert_true(store_finish_ready(s, &lease[i - 1])); /* its down was asked for before the gate of this one */
    }
    gate_allow(&gate, DOWN);
    for (int i = 0; i < 3; i++) {
        Err err = {0};
        assert_int_equal(store_finish(s, &lease[i], &err), ERR_OK);
        assert_true(lease[i].whole);
        records_check(&records, 0, &lease[i]);
        assert_int_equal(store_finish(s, &lease[i], &err), ERR_OK); /* at once */
        store_put(s, &lease[i]);
    }
    gate_allow(&gate, 1);
    want(s, 0, &merged, 1, STORE_ANY); /* its parts touch, and come by one read */
    lease[0] = next_unfinished(s, 0);
    assert_true(lease[0].whole);
    store_put(s, &lease[0]);
    store_free(s);
    disk_free(d);
}

static void a_lease_put_before_it_is_whole_keeps_its_slot_until_then(void **state) {
    (void)state;
    Gate gate;
    Disk *d = gated_disk(&gate);
    const int32_t experts[] = {1, 3, 5};
    for (uint32_t slots = 1; slots <= 2; slots++) {
        Store *s = records_store(&records, d, slots);
        for (int i = 0; i < 6; i++) {
            gate_allow(&gate, i ? DOWN + GATE_AND_UP : GATE_AND_UP);
            want(s, 0, &experts[i % 3], 1, STORE_ANY);
            StoreLease lease = next_unfinished(s, 0);
            assert_false(lease.whole);
            store_put(s, &lease);
        }
        want(s, 0, &experts[2], 1, STORE_ANY); /* on its way still: no hit, and no second read */
        assert_false(was_there(s));
        gate_allow(&gate, DOWN);
        take_one(s, 0, experts[2]);
        want(s, 0, &experts[2], 1, STORE_ANY);
        assert_true(was_there(s));
        take_one(s, 0, experts[2]);
        assert_int_equal(stats_of(s).hits, 1);
        assert_int_equal(stats_of(s).bytes_read, 2 * (part_bytes(0, 1) + part_bytes(0, 3) + part_bytes(0, 5)));
        store_free(s);
    }
    disk_free(d);
}

static void a_down_that_cannot_be_read_is_told_by_finish(void **state) {
    (void)state;
    const DiskRange *down = records_part(&records, 0, 5, STORE_DOWN);
    Gate gate;
    gate_init(&gate);
    DiskConfig config = gate_disk(&gate, 1, 0);
    config.faults.fail_file = down->file;
    config.faults.fail_offset = down->offset + down->bytes / 2;
    config.direct = DISK_DIRECT_OFF;
    Disk *d = records_disk(&records, &config);
    Store *s = records_store(&records, d, 3);
    const int32_t experts[] = {1, 3, 5}, five = 5, others[] = {1, 3};
    want(s, 0, experts, 3, STORE_ANY);
    StoreLease lease[3], again;
    gate_allow(&gate, 3 * GATE_AND_UP + 2 * DOWN);
    for (int i = 0; i < 3; i++) lease[i] = next_unfinished(s, 0);
    gate_allow(&gate, 100);
    for (int i = 0; i < 3; i++) {
        Err err = {0};
        assert_int_equal(store_finish(s, &lease[i], &err), i == 2 ? ERR_IO : ERR_OK);
        if (i == 2) assert_int_equal(strncmp(err.text, "layer 0 expert 5: ", 18), 0);
        records_check(&records, 0, &lease[i]);
    }
    store_drop(s);
    Err err = {0};
    want(s, 0, &five, 1, STORE_ANY); /* while the broken lease is out */
    assert_int_equal(store_next(s, &again, &err), ERR_IO);
    store_drop(s);
    for (int i = 0; i < 3; i++) store_put(s, &lease[i]);
    store_stats_reset(s);
    want(s, 0, others, 2, STORE_ASCENDING);
    for (int i = 0; i < 2; i++) take_one(s, 0, others[i]);
    assert_int_equal(stats_of(s).hits, 2);
    want(s, 0, &five, 1, STORE_ANY);
    assert_false(was_there(s));
    store_drop(s);
    store_free(s);
    disk_free(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gate_and_up_land_first_and_then_down_record_by_record),
        cmocka_unit_test(a_lease_put_before_it_is_whole_keeps_its_slot_until_then),
        cmocka_unit_test(a_down_that_cannot_be_read_is_told_by_finish),
    };
    records_write(&records, 900);
    return RUN_TESTS(tests);
}
