/* Several drives: copies are checked, the faster drive gets more, and a drive that dies is replaced. */
#define _GNU_SOURCE
#include "support/support.h"

#include "disk/disk.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ = 64 * 1024, N_BLOCKS = 64, FILE_BYTES = N_BLOCKS * READ + 4321, AT_ONCE = 16 };

static char a[300], b[300], under_a[256], under_b[256];

static uint8_t pattern(uint64_t i) { return (uint8_t)((i + 1) * UINT64_C(0x9e3779b97f4a7c15) >> 40); }

static void write_pattern(const char *path, size_t bytes, size_t wrong_at) {
    char *content = mem_new(bytes, 1);
    assert_non_null(content);
    for (size_t i = 0; i < bytes; i++) content[i] = (char)pattern(i);
    if (wrong_at < bytes) content[wrong_at] ^= 1;
    Err err = {0};
    if (os_write_file(path, content, bytes, &err)) fail_msg("%s", err.text);
    mem_free(content);
}

static int make_files(void **state) {
    (void)state;
    snprintf(under_a, sizeof under_a, "%s/a/", temp_dir());
    snprintf(under_b, sizeof under_b, "%s/b/", temp_dir());
    mkdir(under_a, 0700);
    mkdir(under_b, 0700);
    snprintf(a, sizeof a, "%sfile", under_a);
    snprintf(b, sizeof b, "%sfile", under_b);
    write_pattern(a, FILE_BYTES, SIZE_MAX);
    write_pattern(b, FILE_BYTES, SIZE_MAX);
    return 0;
}

static Disk *two_copies(const DiskFaults *faults, DiskBackend backend) {
    Err err = {0};
    DiskConfig config = {.backend = backend, .retries = 1, .depth = AT_ONCE, .faults = *faults};
    Disk *d = disk_new(&config, &err);
    if (!d) return NULL;
    uint32_t id;
    if (disk_add_file(d, a, &id, &err) || disk_add_copy(d, id, b, &err)) fail_msg("%s", err.text);
    return d;
}

static DiskRead block(int number, char *memory, int slot) {
    return (DiskRead){.need = READ, .bytes = READ, .offset = (uint64_t)(number % N_BLOCKS) * READ, .dst = memory + slot * READ,
                      .tag = (uint64_t)slot};
}

/* Reads every block `times` times, a few at once, as a layer does, and checks each byte. Returns how many reads failed. */
static int read_all(Disk *d, int times) {
    Err err = {0};
    char *memory = os_pages_new((uint64_t)AT_ONCE * READ, &err);
    assert_non_null(memory);
    int failed = 0;
    for (int at = 0; at < times * N_BLOCKS; at += AT_ONCE) {
        DiskRead reads[AT_ONCE];
        memset(memory, 0xDB, (size_t)AT_ONCE * READ);
        for (int i = 0; i < AT_ONCE; i++) reads[i] = block(at + i, memory, i);
        if (disk_submit(d, reads, AT_ONCE, &err)) fail_msg("%s", err.text);
        for (int n = 0; n < AT_ONCE;) {
            DiskDone done[AT_ONCE];
            size_t got = disk_reap(d, done, AT_ONCE, true);
            assert_true(got > 0);
            for (size_t k = 0; k < got; k++) {
                const DiskRead *r = &reads[done[k].tag];
                failed += done[k].code != ERR_OK;
                for (uint32_t i = 0; !done[k].code && i < READ; i++)
                    if (((uint8_t *)r->dst)[i] != pattern(r->offset + i)) fail_msg("wrong byte at %u", (unsigned)(r->offset + i));
            }
            n += (int)got;
        }
    }
    assert_int_equal(disk_in_flight(d), 0);
    os_pages_free(memory, (uint64_t)AT_ONCE * READ);
    return failed;
}

static DiskFaults paces(uint64_t of_a, uint64_t of_b) {
    DiskFaults f = {.fail_file = -1};
    f.paces[0].under = under_a;
    f.paces[0].bytes_per_s = of_a;
    f.paces[1].under = under_b;
    f.paces[1].bytes_per_s = of_b;
    return f;
}

static void the_faster_drive_gets_most(void **state) {
    (void)state;
    enum { RATE_A = 64 << 20, RATE_B = 16 << 20 };
    DiskFaults f = paces(RATE_A, RATE_B);
    Disk *d = two_copies(&f, DISK_FAKE);
    assert_non_null(d);
    assert_int_equal(disk_drives(d), 2);
    assert_int_equal(read_all(d, 4), 0);
    DiskDriveInfo info[2];
    disk_drive_info(d, 0, &info[0]);
    disk_drive_info(d, 1, &info[1]);
    uint64_t all = (uint64_t)4 * N_BLOCKS * READ;
    assert_int_equal(info[0].bytes + info[1].bytes, all);
    assert_true(info[0].bytes_per_s > 2 * info[1].bytes_per_s); /* the estimates know who is faster */
    assert_true(info[0].bytes > all / 3 * 2);
    assert_true(info[1].bytes > 0); /* and the other helps */
    /* the time that both need at their paces, against an even split */
    double time_a = (double)info[0].bytes / RATE_A, time_b = (double)info[1].bytes / RATE_B, even = (double)all / 2 / RATE_B;
    double took = time_a > time_b ? time_a : time_b;
    assert_true(took < 0.75 * even);
    disk_free(d);
}

static void equal_drives_share(void **state) {
    (void)state;
    DiskFaults f = paces(64 << 20, 64 << 20);
    Disk *d = two_copies(&f, DISK_FAKE);
    assert_non_null(d);
    assert_int_equal(read_all(d, 4), 0);
    for (uint32_t i = 0; i < 2; i++) {
        DiskDriveInfo info;
        disk_drive_info(d, i, &info);
        assert_in_range(info.bytes, N_BLOCKS * READ, 3 * N_BLOCKS * READ);
    }
    disk_free(d);
}

enum { STUCK = AT_ONCE, OTHERS = 8 }; /* STUCK: the tag of a read that does not end before it may */

static void hold_the_stuck_one(void *user, const DiskRead *read, uint32_t ms) {
    (void)ms;
    while (read->tag == STUCK && !atomic_load((atomic_bool *)user)) os_sleep_ns(100000);
}

/* What one read takes on the slower drive, as far as the disk knows. */
static uint64_t read_ns(const Disk *d) {
    double slowest = 0;
    for (uint32_t i = 0; i < 2; i++) {
        DiskDriveInfo info;
        disk_drive_info(d, i, &info);
        double ns = READ * 1e9 / info.bytes_per_s;
        if (ns > slowest) slowest = ns;
    }
    return (uint64_t)slowest;
}

/* One read hangs. By what is queued its drive would get every second of the next ones, but it has been silent for longer than the other
 * needs for all of them. */
static void a_drive_that_stands_still_is_passed_by(void **state) {
    (void)state;
    Err err = {0};
    atomic_bool may_end = false;
    char *memory = os_pages_new((uint64_t)(OTHERS + 1) * READ, &err);
    DiskFaults f = paces(64 << 20, 64 << 20);
    f.stall_ppm = 1000000;
    f.pause = hold_the_stuck_one;
    f.user = &may_end;
    Disk *d = two_copies(&f, DISK_FAKE);
    assert_true(memory && d);
    assert_int_equal(read_all(d, 1), 0); /* both rates are known */
    DiskRead stuck = block(0, memory, OTHERS), others[OTHERS];
    stuck.tag = STUCK;
    DiskDriveInfo before[2], after[2];
    for (uint32_t i = 0; i < 2; i++) disk_drive_info(d, i, &before[i]);
    assert_int_equal(disk_submit(d, &stuck, 1, &err), ERR_OK);
    os_sleep_ns(4 * OTHERS * read_ns(d));
    for (int i = 0; i < OTHERS; i++) others[i] = block(i, memory, i);
    assert_int_equal(disk_submit(d, others, OTHERS, &err), ERR_OK);
    for (size_t landed = 0; landed < OTHERS;) {
        DiskDone done[OTHERS];
        landed += disk_reap(d, done, OTHERS, true);
    }
    for (uint32_t i = 0; i < 2; i++) disk_drive_info(d, i, &after[i]);
    uint64_t of_a = after[0].reads - before[0].reads, of_b = after[1].reads - before[1].reads;
    assert_int_equal(of_a + of_b, OTHERS);
    assert_true(of_a == 0 || of_b == 0);
    atomic_store(&may_end, true);
    DiskDone done;
    assert_int_equal(disk_reap(d, &done, 1, true), 1);
    assert_int_equal(done.tag, STUCK);
    disk_free(d);
    os_pages_free(memory, (uint64_t)(OTHERS + 1) * READ);
}

static void a_copy_that_dies_is_replaced(void **state) {
    (void)state;
    const char *const dead[] = {under_a, under_b};
    for (int i = 0; i < 2; i++) {
        DiskFaults f = paces(1 << 30, 1 << 30);
        f.fail_under = dead[i];
        Disk *d = two_copies(&f, DISK_FAKE);
        assert_non_null(d);
        assert_int_equal(read_all(d, 3), 0);
        DiskDriveInfo info;
        disk_drive_info(d, (uint32_t)i, &info);
        assert_in_range(info.reads, 1, AT_ONCE); /* once it is known to be dead it is left alone */
        assert_int_equal(info.bytes, 0);
        disk_free(d);
    }
    DiskFaults f = paces(1 << 30, 1 << 30);
    f.fail_under = temp_dir();
    Disk *d = two_copies(&f, DISK_FAKE); /* and when both are dead, every read fails and none hangs */
    assert_non_null(d);
    assert_int_equal(read_all(d, 1), N_BLOCKS);
    disk_free(d);
}

/* A copy that loses its end while it is in use: the reads that come short are answered by the other. */
static void a_file_cut_off_is_read_from_its_copy(void **state) {
    (void)state;
    static const DiskBackend backends[] = {DISK_THREADS, DISK_URING};
    for (int i = 0; i < 2; i++) {
        DiskFaults f = {.fail_file = -1};
        Disk *d = two_copies(&f, backends[i]);
        if (!d) {
            printf("SKIP: backend %d cannot be used here\n", (int)backends[i]);
            continue;
        }
        assert_int_equal(truncate(a, READ + 100), 0);
        assert_int_equal(read_all(d, 1), 0);
        disk_free(d);
        write_pattern(a, FILE_BYTES, SIZE_MAX);
    }
}

static void what_is_no_copy_is_refused(void **state) {
    (void)state;
    Err err = {0};
    Disk *d = disk_new(&(DiskConfig){.backend = DISK_THREADS}, &err);
    uint32_t id;
    assert_non_null(d);
    assert_int_equal(disk_add_file(d, a, &id, &err), ERR_OK);
    char path[300];
    snprintf(path, sizeof path, "%s/other", temp_dir());
    static const size_t wrong[] = {0, FILE_BYTES - 1, 4095, FILE_BYTES - 4096};
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        write_pattern(path, FILE_BYTES, wrong[i]);
        assert_int_equal(disk_add_copy(d, id, path, &err), ERR_FORMAT);
        assert_non_null(strstr(err.text, "other bytes"));
    }
    write_pattern(path, FILE_BYTES - 1, SIZE_MAX);
    assert_int_equal(disk_add_copy(d, id, path, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "bytes, not"));
    assert_int_equal(disk_add_copy(d, id, "/nonexistent/copy", &err), ERR_IO);
    assert_int_equal(disk_add_copy(d, id, a, &err), ERR_USAGE);
    assert_non_null(strstr(err.text, "same file"));
    unlink(path);
    assert_int_equal(link(a, path), 0);
    assert_int_equal(disk_add_copy(d, id, path, &err), ERR_USAGE);
    assert_int_equal(disk_add_copy(d, id, b, &err), ERR_OK); /* refusals leave the disk as it was */
    assert_int_equal(disk_drives(d), 1);
    assert_int_equal(read_all(d, 1), 0);
    disk_free(d);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_faster_drive_gets_most),
        cmocka_unit_test(equal_drives_share),
        cmocka_unit_test(a_drive_that_stands_still_is_passed_by),
        cmocka_unit_test(a_copy_that_dies_is_replaced),
        cmocka_unit_test(a_file_cut_off_is_read_from_its_copy),
        cmocka_unit_test_setup(what_is_no_copy_is_refused, make_files),
    };
    make_files(NULL);
    return RUN_TESTS(tests);
}
