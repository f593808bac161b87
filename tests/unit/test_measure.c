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

typedef struct Measure {
    DiskProbeConfig probe; /* its memory: 16 MiB where nothing is said */
    DiskProbeRun run;
} Measure;

/* A probe for one run. */
static ErrCode measure(const char *path, Measure how, DiskRate *rate, Err *err) {
    memset(rate, 0, sizeof *rate);
    how.probe.paths = &path;
    how.probe.n_paths = 1;
    if (!how.probe.memory_bytes) how.probe.memory_bytes = 16 * MEGABYTE;
    DiskProbe *probe = disk_probe_new(&how.probe, err);
    if (!probe) return err->code;
    ErrCode code = disk_probe_run(probe, &how.run, rate, err);
    disk_probe_free(probe);
    return code;
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
    const char *path = write_file("once", 16 * MEGABYTE + 12345);
    if (!can_be_cold(path)) skip();
    Measure how = {.probe = {.backend = DISK_FAKE, .faults = {.fail_file = -1}}, .run = {.bytes = MEGABYTE}};
    static const uint32_t sizes[] = {256 * 1024, 64 * 1024, 1 << 20, 4096, 100 * 1000};
    uint64_t cells = 0;
    DiskRate rate;
    Err err = {0};
    for (int i = 0, refused = 0; refused < 5; i++) {
        how.run.read_bytes = sizes[i % 5];
        how.run.depth = 1 + i % 7;
        ErrCode code = measure(path, how, &rate, &err);
        refused = code ? refused + 1 : 0; /* all sizes in turn: the smaller ones find what is left */
        assert_int_equal(rate.bytes, rate.reads * rate.read_bytes);
        assert_in_range(rate.read_bytes, how.run.read_bytes, how.run.read_bytes + 65536);
        cells += rate.reads * ((rate.read_bytes + 65535) / 65536);
        if (code) assert_int_equal(code, ERR_STATE);
        else assert_true(rate.bytes_per_s > 0 && rate.read_s > 0);
        assert_true(rate.bytes <= MEGABYTE + rate.read_bytes);
        assert_false(rate.cached);
    }
    assert_non_null(strstr(err.text, path));
    assert_in_range(cells, 64, 16 * 16); /* at 64 KiB a cell there are 256; what landed after a run was not counted */
    assert_int_equal(measure(path, how, &rate, &err), ERR_STATE);
    assert_int_equal(rate.reads, 0);
    assert_true(rate.used_up);
    assert_non_null(strstr(err.text, "read before"));
    how.probe.again = true; /* unless that was asked for; then it is said */
    if (measure(path, how, &rate, &err)) fail_msg("%s", err.text);
    assert_true(rate.cached && rate.bytes_per_s > 0);
}

/* 32 places of 64 KiB, of which a read of 4096 bytes takes one. */
static void a_probe_says_when_a_file_is_too_small(void **state) {
    (void)state;
    const char *path = write_file("small", 2 * MEGABYTE);
    if (!can_be_cold(path)) skip();
    Err err = {0};
    DiskProbeConfig config = {.paths = &path, .n_paths = 1, .memory_bytes = 4 * MEGABYTE, .again = true};
    DiskProbe *p = disk_probe_new(&config, &err);
    assert_non_null(p);
    DiskRate r;
    assert_int_equal(disk_probe_run(p, &(DiskProbeRun){.read_bytes = 4096, .depth = 4}, &r, &err), ERR_OK);
    assert_int_equal(r.depth, 4);
    assert_int_equal(r.reads, 16); /* four times the depth where no time is given */
    assert_false(r.cached);
    assert_int_equal(disk_probe_run(p, &(DiskProbeRun){.read_bytes = 256 << 10, .depth = 2}, &r, &err), ERR_OK);
    assert_true(r.cached);
    /* memory for two reads only: the depth that was possible is told */
    assert_int_equal(disk_probe_run(p, &(DiskProbeRun){.read_bytes = 2 * MEGABYTE, .depth = 8}, &r, &err), ERR_OK);
    assert_int_equal(r.depth, 2);
    assert_int_equal(disk_probe_run(p, &(DiskProbeRun){.read_bytes = 4 * MEGABYTE, .depth = 1}, &r, &err), ERR_RANGE);
    assert_non_null(strstr(err.text, "too small"));
    assert_int_equal(disk_probe_run(p, &(DiskProbeRun){.read_bytes = 8 * MEGABYTE, .depth = 1}, &r, &err), ERR_RANGE);
    assert_non_null(strstr(err.text, "memory"));
    disk_probe_free(p);
}

/* Shards take turns, and one that is used up or too small leaves the others to be read. */
static void files_take_turns(void **state) {
    (void)state;
    char a[256], b[256], c[256];
    snprintf(a, sizeof a, "%s", write_file("shard.a", MEGABYTE));
    snprintf(b, sizeof b, "%s", write_file("shard.b", 3 * MEGABYTE));
    snprintf(c, sizeof c, "%s", write_file("shard.c", 1000));
    if (!can_be_cold(a)) skip();
    const char *paths[] = {a, b, c};
    Err err = {0};
    DiskProbeConfig config = {.paths = paths, .n_paths = 3, .backend = DISK_FAKE, .memory_bytes = MEGABYTE,
                              .faults = {.fail_file = -1}};
    DiskProbe *p = disk_probe_new(&config, &err);
    assert_non_null(p);
    DiskRate r;
    DiskInfo info;
    assert_int_equal(disk_probe_run(p, &(DiskProbeRun){.read_bytes = 128 << 10, .depth = 4, .seconds = 10}, &r, &err), ERR_OK);
    assert_true(r.used_up);
    disk_probe_info(p, &info);
    assert_int_equal(info.bytes, 4 * MEGABYTE); /* all of both */
    disk_probe_free(p);
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
    DiskRate rate;
    Measure how = {.probe = {.direct = DISK_DIRECT_OFF}, .run = {.read_bytes = 128 * 1024, .depth = 4, .seconds = 10}};
    if (measure(path, how, &rate, &err)) fail_msg("%s", err.text);
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
    Measure how = {.probe = {.direct = DISK_DIRECT_OFF}, .run = {.read_bytes = 128 * 1024, .seconds = 0.1}};
    DiskRate rate;
    assert_int_equal(measure(path, how, &rate, &err), ERR_STATE);
    assert_non_null(strstr(err.text, "page cache"));
    assert_int_equal(rate.reads, 0);
    assert_true(rate.warm_reads > 0);
    how.probe.again = true; /* in a file system that lives in memory there is nothing else to measure */
    if (measure(path, how, &rate, &err)) fail_msg("%s", err.text);
    assert_true(rate.cached && rate.bytes_per_s > 0);
    munmap((void *)(uintptr_t)map, 2 * MEGABYTE);
    os_close(&f);
}

/* Seconds are a limit even for a drive that takes its time, and a read's own time is told. */
static void time_ends_a_measurement(void **state) {
    (void)state;
    const char *path = write_file("slow", 64 * MEGABYTE);
    if (!can_be_cold(path)) skip();
    Measure how = {.probe = {.backend = DISK_FAKE, .faults = {.delay_ppm = 1000000, .delay_ms = 4, .fail_file = -1}},
                   .run = {.read_bytes = 64 * 1024, .depth = 8, .seconds = 0.2}};
    DiskRate rate;
    Err err = {0};
    uint64_t start = os_now_ns();
    if (measure(path, how, &rate, &err)) fail_msg("%s", err.text);
    assert_true(os_now_ns() - start < UINT64_C(5000000000));
    assert_true(rate.read_s >= 0.002); /* the clock may start a little after the drive did */
    assert_in_range(rate.reads, 8, 500); /* 8 at a time, 4 ms each, 200 ms */
    assert_int_equal(rate.depth, 8);
}

static void failed_reads_and_nonsense_are_errors(void **state) {
    (void)state;
    const char *path = write_file("bad", 4 * MEGABYTE);
    Measure how = {.probe = {.backend = DISK_FAKE, .faults = {.error_ppm = 1000000, .fail_file = -1}},
                   .run = {.read_bytes = 64 * 1024, .bytes = MEGABYTE}};
    DiskRate rate;
    Err err = {0};
    if (can_be_cold(path)) {
        assert_int_equal(measure(path, how, &rate, &err), ERR_IO);
        assert_non_null(strstr(err.text, path));
    }
    how.probe.depth = 100000;
    assert_int_equal(measure(path, how, &rate, &err), ERR_RANGE);
    how.probe.depth = 0;
    assert_int_equal(measure("/nonexistent/model", how, &rate, &err), ERR_IO);
    how.probe.faults.error_ppm = 0;
    assert_int_equal(measure(write_file("tiny", 1000), how, &rate, &err), ERR_RANGE);
    assert_non_null(strstr(err.text, "larger file"));
}

static void running_out_of_memory_is_an_error(void **state) {
    (void)state;
    const char *path = write_file("memory", MEGABYTE);
    int failed = 0;
    for (uint64_t n = 1; n < 40; n++) {
        Err err = {0};
        DiskRate rate;
        mem_fail_after(n);
        Measure how = {.probe = {.direct = DISK_DIRECT_OFF, .again = true}, .run = {.read_bytes = 65536}};
        ErrCode code = measure(path, how, &rate, &err);
        mem_fail_after(0);
        assert_true(code == ERR_OK || code == ERR_MEMORY);
        failed += code == ERR_MEMORY;
    }
    assert_in_range(failed, 5, 30);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_place_is_read_twice),
        cmocka_unit_test(a_probe_says_when_a_file_is_too_small),
        cmocka_unit_test(files_take_turns),
        cmocka_unit_test(what_the_page_cache_holds_is_left_out),
        cmocka_unit_test(a_file_that_is_all_in_memory_is_refused),
        cmocka_unit_test(time_ends_a_measurement),
        cmocka_unit_test(failed_reads_and_nonsense_are_errors),
        cmocka_unit_test(running_out_of_memory_is_an_error),
    };
    return RUN_TESTS(tests);
}
