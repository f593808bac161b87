/* A soak: stores of a few slots over bad disks, each drawn at random, with any policy and reading ahead, every byte of every lease checked.
 *
 * `make test` gives it a few seconds. `build/tests/stream/test_soak SECONDS SEED` runs longer or repeats a run: the parameters of
 * each round depend on the seed alone. */
#include "support/support.h"

#include "support/records.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t seconds = 4, seed = 1;

/* Most faults pass within the retries; in some rounds many do not. */
static DiskConfig random_disk(Random *r) {
    DiskConfig config = {.backend = DISK_FAKE, .depth = 1 + (int)random_below(r, 12), .retries = (int)random_below(r, 8)};
    config.direct = random_below(r, 2) ? DISK_DIRECT_AUTO : DISK_DIRECT_OFF;
    config.faults = (DiskFaults){.error_ppm = random_below(r, 3) * random_below(r, 40000),
                                 .short_ppm = random_below(r, 3) * random_below(r, 100000),
                                 .delay_ppm = random_below(r, 3) * random_below(r, 50000),
                                 .delay_ms = 1 + random_below(r, 3),
                                 .fail_file = random_below(r, 3) ? -1 : (int64_t)random_below(r, RECORDS_FILES),
                                 .fail_offset = random_below(r, 200000),
                                 .seed = random_below(r, UINT32_MAX)};
    return config;
}

static void soak(void **state) {
    (void)state;
    static Records records;
    records_write(&records, 1500);
    Random r = {seed};
    uint64_t end = os_now_ns() + seconds * UINT64_C(1000000000), rounds = 0, wants = 0, failed = 0, retries = 0, hinted = 0, used = 0;
    for (; os_now_ns() < end; rounds++) {
        DiskConfig config = random_disk(&r);
        uint32_t slots = 1 + random_below(&r, 20);
        Drive drive = {.n_wants = 100, .experts_max = 1 + (int)random_below(&r, RECORDS_EXPERTS), .may_fail = true};
        drive.seed = random_below(&r, UINT32_MAX);
        Disk *d = records_disk(&records, &config);
        StoreConfig cache = records_config(&records, d, slots);
        cache.policy = (CachePolicy)random_below(&r, CACHE_POLICIES);
        cache.floor = random_below(&r, 4);
        Store *s = store_new(&cache, NULL);
        assert_non_null(s);
        uint64_t allocations = mem_allocation_count();
        records_drive(&records, s, &drive);
        assert_int_equal(mem_allocation_count(), allocations);
        store_drop(s); /* leases that were put before they were whole still have reads on their way */
        assert_int_equal(disk_in_flight(d), 0);
        DiskInfo info;
        disk_info(d, &info);
        StoreStats stats;
        store_stats(s, &stats);
        hinted += stats.hinted, used += stats.hints_used;
        wants += (uint64_t)drive.wants, failed += (uint64_t)drive.failed, retries += info.retries;
        store_free(s);
        disk_free(d);
    }
    printf("soak: seed %" PRIu64 ", %" PRIu64 " rounds, %" PRIu64 " wants, %" PRIu64 " of them failed as they should, %" PRIu64
           " attempts repeated, %" PRIu64 " experts read ahead, %" PRIu64 " of them wanted, no wrong byte\n", seed, rounds, wants, failed,
           retries, hinted, used);
    assert_true(used > 0 && rounds > 0 && failed > 0 && retries > 0 && failed < wants);
}

int main(int argc, char **argv) {
    if (argc > 1) seconds = strtoull(argv[1], NULL, 10);
    if (argc > 2) seed = strtoull(argv[2], NULL, 10);
    const struct CMUnitTest tests[] = {cmocka_unit_test(soak)};
    return RUN_TESTS(tests);
}
