/* A store that is told to use fewer slots: the memory goes back, and every byte stays right. */
#include "support/records.h"
#include "support/support.h"

#include "os/os.h"

#include <stdio.h>

static DiskConfig threads(void) {
    DiskConfig c = {.backend = DISK_THREADS, .retries = -1};
    return c;
}

static void limits_come_and_go_and_no_byte_is_wrong(void **state) {
    (void)state;
    static Records records;
    records_write(&records, 1500);
    DiskConfig config = threads();
    const DiskBackend backends[] = {DISK_THREADS, DISK_FAKE};
    for (size_t b = 0; b < 2; b++) {
        config.backend = backends[b];
        config.faults = (DiskFaults){.short_ppm = 50000, .delay_ppm = 100000, .delay_ms = 1, .fail_file = -1, .seed = 5};
        Disk *d = records_disk(&records, &config);
        Store *s = records_store(&records, d, 40);
        Random r = {11};
        uint64_t allocations = mem_allocation_count();
        for (int round = 0; round < 60; round++) {
            uint32_t limit = random_below(&r, 60); /* 0 and more than there are do no harm */
            store_limit(s, limit);
            Drive drive = {.n_wants = 15, .experts_max = 1 + (int)random_below(&r, RECORDS_EXPERTS), .seed = random_below(&r, 1000000)};
            records_drive(&records, s, &drive);
            assert_int_equal(drive.failed, 0);
            assert_true(store_slots_filled(s) <= (limit < 1 ? 1 : limit > 40 ? 40 : limit));
        }
        assert_int_equal(mem_allocation_count(), allocations);
        store_free(s);
        disk_free(d);
    }
}

static void wanted(const Records *records, Store *s, uint64_t seed) {
    Drive drive = {.n_wants = 60, .experts_max = RECORDS_EXPERTS, .seed = seed};
    records_drive(records, s, &drive);
}

static void memory_is_given_back(void **state) {
    (void)state;
    if (under_sanitizer()) printf("SKIP: a sanitizer holds memory of its own\n"), skip();
    static Records records;
    records_write(&records, 70000);
    DiskConfig config = threads();
    Disk *d = records_disk(&records, &config);
    Store *s = records_store(&records, d, 100);
    wanted(&records, s, 1);
    assert_int_equal(store_slots_filled(s), 100);
    uint64_t full = os_rss_now();
    store_limit(s, 10);
    assert_int_equal(store_slots_filled(s), 10);
    uint64_t limited = os_rss_now();
    assert_true(limited + 90 * UINT64_C(200000) * 3 / 4 < full);
    wanted(&records, s, 2);
    assert_true(os_rss_now() < limited + (UINT64_C(2) << 20));
    store_limit(s, 100);
    wanted(&records, s, 3);
    assert_int_equal(store_slots_filled(s), 100);
    store_free(s);
    disk_free(d);
}

typedef struct Watched {
    Store *store;
    Random random;
    uint32_t calls, limit;
} Watched;

/* As an engine does it whose memory gets short while the cache fills, and comes back. */
static void limit_as_it_fills(void *user) {
    Watched *w = user;
    w->calls++;
    if (random_below(&w->random, 3) == 0) store_limit(w->store, w->limit = 4 + random_below(&w->random, 57));
}

static void a_cache_that_fills_asks_and_may_be_limited(void **state) {
    (void)state;
    static Records records;
    records_write(&records, 1500);
    DiskConfig config = {.backend = DISK_FAKE, .retries = -1,
                         .faults = {.short_ppm = 50000, .delay_ppm = 100000, .delay_ms = 1, .fail_file = -1, .seed = 3}};
    Disk *d = records_disk(&records, &config);
    Watched w = {.random = {5}, .limit = 60};
    StoreConfig how = records_config(&records, d, 60);
    how.filling = limit_as_it_fills;
    how.user = &w;
    Err err = {0};
    Store *s = w.store = store_new(&how, &err);
    if (!s) fail_msg("%s", err.text);
    for (uint64_t round = 0; round < 40; round++) {
        wanted(&records, s, round);
        assert_true(store_slots_filled(s) <= w.limit);
        store_limit(s, w.limit = 60);
    }
    assert_true(w.calls > 40);
    store_free(s);
    disk_free(d);
}

static uint64_t registered(const Disk *d) {
    DiskInfo info;
    disk_info(d, &info);
    return info.registered_bytes;
}

/* io_uring registers slots; the kernel would go on writing to pages that are not ours any more. */
static void registered_memory_is_given_back_too(void **state) {
    (void)state;
    static Records records;
    records_write(&records, 9000);
    DiskConfig config = {.backend = DISK_URING, .retries = -1};
    Err err = {0};
    Disk *d = disk_new(&config, &err);
    if (!d) printf("SKIP: %s\n", err.text), skip();
    disk_free(d);
    d = records_disk(&records, &config);
    Store *s = records_store(&records, d, 60);
    assert_int_equal(registered(d), 0); /* opening touches nothing */
    for (uint32_t limit = 60; limit > 2; limit = limit * 2 / 3) {
        store_limit(s, limit);
        wanted(&records, s, limit);
        uint64_t fewer = registered(d);
        store_limit(s, 60);
        wanted(&records, s, limit + 100);
        assert_int_equal(store_slots_filled(s), 60);
        assert_true(fewer == 0 ? registered(d) == 0 : registered(d) > fewer || limit == 60); /* 0: it may not lock any */
    }
    store_free(s);
    disk_free(d);
}

int main(void) {
    const struct CMUnitTest limit[] = {
        cmocka_unit_test(limits_come_and_go_and_no_byte_is_wrong),
        cmocka_unit_test(memory_is_given_back),
        cmocka_unit_test(a_cache_that_fills_asks_and_may_be_limited),
        cmocka_unit_test(registered_memory_is_given_back_too),
    };
    return RUN_TESTS(limit);
}
