/* Measuring a disk: no place twice, nothing from the page cache, and an error where that cannot be had. */
#define _GNU_SOURCE
#include "support/support.h"

#include "disk/disk.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { MEGABYTE = 1 << 20 };

static const char *write_file(const char *name, size_t bytes) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", temp_dir(), name);
    char *content = mem_new(bytes, 1);
    assert_non_null(content);
    memset(content, 'x', bytes);
    Err err = {0};
    if (os_write_file(path, content, bytes, &err)) fail_msg("%s", err.text);
    mem_free(content);
    return path;
}

/* In a file system that lives in memory, or where the kernel does not tell, nothing can be cold. */
static bool can_be_cold(const char *path) {
    OsFile f;
    Err err = {0};
    uint64_t cached = 0;
    if (os_open(&f, path, false, &err)) fail_msg("%s", err.text);
    os_drop_cache(&f, 0, f.size);
    bool told = os_cached(&f, 0, f.size, &cached);
    os_close(&f);
    if (!told || cached) printf("SKIP: %s: the page cache keeps it, or the kernel does not tell\n", path);
    return told && cached == 0;
}

static void no_place_is_read_twice(void **state) {
    (void)state;
    DiskMeasure how = {.path = write_file("once", 16 * MEGABYTE + 12345), .backend = DISK_FAKE, .faults = {.fail_file = -1}};
    if (!can_be_cold(how.path)) skip();
    static const uint32_t sizes[] = {256 * 1024, 64 * 1024, 1 << 20, 4096, 100 * 1000};
    uint64_t cells = 0;
    Err err = {0};
    for (int i = 0, refused = 0; refused < 5; i++) {
        DiskRate rate;
        how.read_bytes = sizes[i % 5];
        how.bytes = MEGABYTE;
        how.depth = 1 + i % 7;
        ErrCode code = disk_measure(&how, &rate, &err);
        refused = code ? refused + 1 : 0; /* all sizes in turn: the smaller ones find what is left */
        assert_int_equal(rate.bytes, rate.reads * rate.read_bytes);
        assert_in_range(rate.read_bytes, how.read_bytes, how.read_bytes + 65536);
        cells += rate.reads * ((rate.read_bytes + 65535) / 65536);
        if (code) assert_int_equal(code, ERR_STATE);
        else assert_true(rate.bytes_per_s > 0);
        assert_true(rate.bytes <= MEGABYTE + rate.read_bytes);
    }
    assert_non_null(strstr(err.text, how.path));
    assert_in_range(cells, 64, 16 * 16); /* at 64 KiB a cell there are 256, and single reads took some of them */
    DiskRate rate;
    assert_int_equal(disk_measure(&how, &rate, &err), ERR_STATE);
    assert_int_equal(rate.reads, 0);
    assert_non_null(strstr(err.text, "read before"));
}

/* Pages that a program has mapped do not leave the page cache: such places must not be counted. */
static void what_the_page_cache_holds_is_left_out(void **state) {
    (void)state;
    const char *path = write_file("warm", 8 * MEGABYTE);
    if (!can_be_cold(path)) skip();
    OsFile f;
    Err err = {0};
    assert_int_equal(os_open(&f, path, false, &err), ERR_OK);
    volatile char *map = mmap(NULL, 4 * MEGABYTE, PROT_READ, MAP_SHARED, f.fd, 0);
    assert_true(map != MAP_FAILED);
    for (size_t i = 0; i < 4 * MEGABYTE; i += 4096) (void)map[i];
    DiskMeasure how = {.path = path, .direct = DISK_DIRECT_OFF, .read_bytes = 128 * 1024, .depth = 4, .bytes = 64 * MEGABYTE};
    DiskRate rate;
    if (disk_measure(&how, &rate, &err)) fail_msg("%s", err.text);
    assert_false(rate.direct);
    assert_true(rate.used_up);
    assert_int_equal(rate.warm_reads, 32);
    assert_in_range(rate.bytes, MEGABYTE, 4 * MEGABYTE);
    uint64_t cached;
    assert_true(os_cached(&f, 0, f.size, &cached));
    assert_int_equal(cached, 4 * MEGABYTE); /* what was read for measuring does not stay */
    munmap((void *)(uintptr_t)map, 4 * MEGABYTE);
    os_close(&f);
}

static void a_file_that_is_all_in_memory_is_refused(void **state) {
    (void)state;
    const char *path = write_file("hot", 2 * MEGABYTE);
    if (!can_be_cold(path)) skip();
    OsFile f;
    Err err = {0};
    assert_int_equal(os_open(&f, path, false, &err), ERR_OK);
    volatile char *map = mmap(NULL, 2 * MEGABYTE, PROT_READ, MAP_SHARED, f.fd, 0);
    assert_true(map != MAP_FAILED);
    for (size_t i = 0; i < 2 * MEGABYTE; i += 4096) (void)map[i];
    DiskMeasure how = {.path = path, .direct = DISK_DIRECT_OFF, .read_bytes = 128 * 1024, .seconds = 1};
    DiskRate rate;
    assert_int_equal(disk_measure(&how, &rate, &err), ERR_STATE);
    assert_non_null(strstr(err.text, "page cache"));
    assert_int_equal(rate.reads, 0);
    assert_true(rate.warm_reads > 0);
    munmap((void *)(uintptr_t)map, 2 * MEGABYTE);
    os_close(&f);
}

/* Seconds are a limit even for a drive that takes its time, and one read alone is told apart from many. */
static void time_ends_a_measurement(void **state) {
    (void)state;
    DiskMeasure how = {.path = write_file("slow", 64 * MEGABYTE), .backend = DISK_FAKE, .read_bytes = 64 * 1024, .depth = 8, .seconds = 0.2,
                       .faults = {.delay_ppm = 1000000, .delay_ms = 4, .fail_file = -1}};
    if (!can_be_cold(how.path)) skip();
    DiskRate rate;
    Err err = {0};
    uint64_t start = os_now_ns();
    if (disk_measure(&how, &rate, &err)) fail_msg("%s", err.text);
    assert_true(os_now_ns() - start < UINT64_C(5000000000));
    assert_true(rate.read_s >= 0.002); /* the clock may start a little after the drive did */
    assert_in_range(rate.reads, 8, 400); /* 8 at a time, 4 ms each, 160 ms */
    assert_int_equal(rate.depth, 8);
}

static void failed_reads_and_nonsense_are_errors(void **state) {
    (void)state;
    DiskMeasure how = {.path = write_file("bad", 4 * MEGABYTE), .backend = DISK_FAKE, .bytes = MEGABYTE, .read_bytes = 64 * 1024,
                       .faults = {.error_ppm = 1000000, .fail_file = -1}};
    DiskRate rate;
    Err err = {0};
    if (can_be_cold(how.path)) {
        assert_int_equal(disk_measure(&how, &rate, &err), ERR_IO);
        assert_non_null(strstr(err.text, how.path));
    }
    how.bytes = 0; /* no limit at all */
    assert_int_equal(disk_measure(&how, &rate, &err), ERR_RANGE);
    how.bytes = MEGABYTE;
    how.depth = 100000;
    assert_int_equal(disk_measure(&how, &rate, &err), ERR_RANGE);
    how.depth = 0;
    how.path = "/nonexistent/model";
    assert_int_equal(disk_measure(&how, &rate, &err), ERR_IO);
    how.path = write_file("tiny", 1000);
    how.faults.error_ppm = 0;
    assert_int_equal(disk_measure(&how, &rate, &err), ERR_STATE);
    assert_non_null(strstr(err.text, "larger file"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_place_is_read_twice),
        cmocka_unit_test(what_the_page_cache_holds_is_left_out),
        cmocka_unit_test(a_file_that_is_all_in_memory_is_refused),
        cmocka_unit_test(time_ends_a_measurement),
        cmocka_unit_test(failed_reads_and_nonsense_are_errors),
    };
    return RUN_TESTS(tests);
}
