/* A caller with other work to do: the store tells what would not wait, and is right about it. */
#include "support/support.h"

#include "support/records.h"

static Records records;

static uint64_t waited(const Store *s) {
    StoreStats stats;
    store_stats(s, &stats);
    return stats.wait_ns;
}

static void want(Store *s, const int32_t *experts, int n) {
    Err err = {0};
    if (store_want(s, 0, experts, NULL, n, STORE_ANY, &err)) fail_msg("%s", err.text);
}

/* Leases are taken and finished only when the store says that they are ready; that never waits, and it comes to an end. */
static void drain(Store *s, int n) {
    StoreLease open[RECORDS_EXPERTS];
    Err err = {0};
    for (int taken = 0, n_open = 0; taken < n || n_open > 0;) {
        uint64_t before = waited(s);
        int i = 0;
        while (i < n_open && !store_finish_ready(s, &open[i])) i++;
        if (i < n_open) {
            if (store_finish(s, &open[i], &err)) fail_msg("%s", err.text);
            records_check(&records, 0, &open[i]);
            store_put(s, &open[i]);
            open[i] = open[--n_open];
        } else if (taken < n && store_next_ready(s)) {
            if (store_next(s, &open[n_open], &err)) fail_msg("%s", err.text);
            taken++, n_open++;
        } else {
            store_wait(s);
            continue;
        }
        assert_int_equal(waited(s), before);
    }
}

static void what_is_ready_does_not_wait(void **state) {
    (void)state;
    DiskConfig slow = {.backend = DISK_FAKE, .depth = 6, .faults = {.delay_ppm = 700000, .delay_ms = 3, .fail_file = -1, .seed = 5}};
    for (uint32_t slots = 1; slots <= 9; slots += 2) {
        Disk *d = records_disk(&records, &slow);
        Store *s = records_store(&records, d, slots);
        Random r = {slots};
        for (int i = 0; i < 12; i++) {
            int32_t experts[RECORDS_EXPERTS];
            int n = 1 + (int)random_below(&r, 8);
            random_experts(&r, experts, n, RECORDS_EXPERTS);
            want(s, experts, n);
            drain(s, n);
        }
        assert_true(waited(s) > 0);
        store_wait(s); /* nothing is on its way: at once */
        store_free(s);
        disk_free(d);
    }
}

static void a_hit_is_ready_and_a_read_is_not(void **state) {
    (void)state;
    DiskConfig slow = {.backend = DISK_FAKE, .faults = {.delay_ppm = 1000000, .delay_ms = 80, .fail_file = -1, .seed = 5}};
    Disk *d = records_disk(&records, &slow);
    Store *s = records_store(&records, d, 4);
    const int32_t warm[] = {7}, both[] = {3, 7};
    want(s, warm, 1);
    drain(s, 1);
    want(s, both, 2);
    assert_true(store_next_ready(s));
    StoreLease hit;
    assert_int_equal(store_next(s, &hit, NULL), ERR_OK);
    assert_int_equal(hit.expert, 7);
    assert_true(store_finish_ready(s, &hit));
    assert_false(store_next_ready(s)); /* 80 ms away */
    store_put(s, &hit);
    drain(s, 1);
    store_free(s);
    disk_free(d);
}

/* An error is ready too: who waited for the lease instead would wait for ever. */
static void a_read_that_fails_is_ready(void **state) {
    (void)state;
    const DiskRange *part = records_part(&records, 0, 3, 0);
    DiskConfig dead = {.backend = DISK_FAKE, .faults = {.fail_file = part->file, .fail_offset = part->offset + 1}};
    Disk *d = records_disk(&records, &dead);
    Store *s = records_store(&records, d, 4);
    const int32_t experts[] = {3};
    want(s, experts, 1);
    while (!store_next_ready(s)) store_wait(s);
    Err err = {0};
    StoreLease lease;
    assert_int_equal(store_next(s, &lease, &err), ERR_IO);
    assert_true(store_next_ready(s)); /* and it stays one */
    store_drop(s);
    store_free(s);
    disk_free(d);
}

int main(void) {
    records_write(&records, 3000);
    const struct CMUnitTest ready[] = {
        cmocka_unit_test(what_is_ready_does_not_wait),
        cmocka_unit_test(a_hit_is_ready_and_a_read_is_not),
        cmocka_unit_test(a_read_that_fails_is_ready),
    };
    return RUN_TESTS(ready);
}
