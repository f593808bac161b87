/* The disk room: every read of a file whose bytes are known, through every mode, with and without faults. */
#define _GNU_SOURCE
#include "support/pattern_file.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_BYTES = PATTERN_FILE_BYTES };

#define X(NAME, name) DISK_##NAME,
static const DiskBackend real_backends[] = {DISK_FOR_USERS(X)};
#undef X
#define X(NAME, name) #name,
static const char *const backend_names[] = {DISK_LIST(X)};
#undef X

/* ---- plain reads ---- */

static void check_odd_places(Disk *d) {
    static const struct { uint64_t offset; uint32_t need; } places[] = {
        {0, 1}, {0, 4096}, {1, 1}, {511, 2}, {513, 7000}, {4095, 4098}, {FILE_BYTES - 1, 1}, {FILE_BYTES - 5000, 5000}, {0, FILE_BYTES},
    };
    char *buffer = new_buffer();
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        DiskRead r = widened(d, places[i].offset, places[i].need, buffer, i);
        DiskDone done = read_one(d, &r);
        if (done.code) fail_msg("%s", done.err.text);
        check_bytes(buffer, r.offset, r.need);
    }
    free(buffer);
}

static void check_mode(const char *path, DiskBackend backend, DiskDirect direct) {
    Err err = {0};
    Disk *d = disk_new(&(DiskConfig){.backend = backend, .direct = direct, .retries = -1}, &err);
    if (backend == DISK_MMAP && direct == DISK_DIRECT_ON) { /* it cannot, so it must not pretend */
        assert_null(d);
        assert_int_equal(err.code, ERR_USAGE);
        return;
    }
    assert_non_null(d);
    uint32_t id;
    ErrCode code = disk_add_file(d, path, &id, &err);
    DiskInfo info;
    disk_info(d, &info);
    assert_string_equal(info.backend, backend_names[backend]);
    if (direct == DISK_DIRECT_ON && code) { /* a file system without direct I/O: then it must say so */
        assert_int_equal(code, ERR_UNSUPPORTED);
        assert_non_null(strstr(err.text, path));
        printf("SKIP: direct reads: %s\n", err.text);
    } else {
        assert_int_equal(code, ERR_OK);
        assert_int_equal(info.direct, disk_alignment(d, 0) > 1);
        if (direct == DISK_DIRECT_OFF || backend == DISK_MMAP) assert_false(info.direct);
        if (direct == DISK_DIRECT_ON) assert_true(info.direct);
        check_odd_places(d);
        disk_info(d, &info);
        assert_int_equal(info.reads, 9);
        assert_true(info.bytes > FILE_BYTES);
        assert_int_equal(info.retries, 0);
        assert_true(info.busy_ns > 0);
    }
    disk_free(d);
}

static void any_range_is_read_in_every_mode(void **state) {
    (void)state;
    const char *path = write_pattern(temp_dir(), "odd", FILE_BYTES);
    for (size_t b = 0; b < COUNT_OF(real_backends); b++)
        for (DiskDirect direct = DISK_DIRECT_AUTO; direct <= DISK_DIRECT_OFF && backend_works(real_backends[b]); direct++)
            check_mode(path, real_backends[b], direct);
}

static void files_in_memory_are_not_called_direct(void **state) {
    (void)state;
    if (access("/dev/shm", W_OK) != 0) {
        printf("SKIP: /dev/shm is missing\n");
        skip();
    }
    char folder[] = "/dev/shm/sluice-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    const char *path = write_pattern(folder, "f", FILE_BYTES);
    Err err = {0};
    uint32_t id;
    Disk *d = disk_new(&(DiskConfig){.direct = DISK_DIRECT_ON}, &err);
    ErrCode refused = disk_add_file(d, path, &id, &err);
    disk_free(d);
    log_set_level(LOG_ERROR);
    d = open_disk(&(DiskConfig){.direct = DISK_DIRECT_AUTO}, path);
    log_set_level(LOG_NOTE);
    DiskInfo info;
    disk_info(d, &info);
    check_odd_places(d);
    disk_free(d);
    unlink(path);
    rmdir(folder);
    assert_int_equal(refused, ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, folder));
    assert_non_null(strstr(err.text, "cannot be read directly"));
    assert_false(info.direct);
}

static void a_fallback_is_said_once(void **state) {
    (void)state;
    char said[256], path[256];
    snprintf(said, sizeof said, "%s/said", temp_dir());
    snprintf(path, sizeof path, "%s", write_pattern(temp_dir(), "empty", 0)); /* an empty file cannot be probed */
    Err err = {0};
    uint32_t id;
    Disk *d = disk_new(&(DiskConfig){.direct = DISK_DIRECT_AUTO}, &err);
    fflush(stderr);
    int saved = dup(2);
    assert_non_null(freopen(said, "w", stderr));
    for (int i = 0; i < 3; i++) assert_int_equal(disk_add_file(d, path, &id, &err), ERR_OK);
    fflush(stderr);
    dup2(saved, 2);
    close(saved);
    disk_free(d);
    Buf text = {0};
    assert_int_equal(os_read_file(said, 4096, &text, &err), ERR_OK);
    const char *first = strstr(text.ptr, "page cache");
    assert_non_null(first);
    assert_null(strstr(first + 1, "page cache"));
    assert_non_null(strstr(text.ptr, path));
    buf_free(&text);
}

static void mistakes_are_refused(void **state) {
    (void)state;
    const char *path = write_pattern(temp_dir(), "mistakes", FILE_BYTES);
    Disk *d = open_disk(&(DiskConfig){0}, path);
    uint32_t a = disk_alignment(d, 0), id;
    char *buffer = new_buffer();
    Err err = {0};
    DiskRead good = {.need = 100, .bytes = 64 * 1024, .dst = buffer};
    DiskRead bad[8];
    for (size_t i = 0; i < COUNT_OF(bad); i++) bad[i] = good;
    bad[0].file = 1;
    bad[1].need = 0;
    bad[2].need = bad[2].bytes + 1;
    bad[3].dst = NULL;
    bad[4].offset = align_up(FILE_BYTES, 64 * 1024) - 64 * 1024, bad[4].need = 64 * 1024; /* needs what is past the end */
    bad[5].offset = UINT64_MAX - 64 * 1024 + 1;
    bad[6].offset = a > 1 ? 1 : UINT64_MAX;
    bad[7].dst = buffer + 1, bad[7].bytes = a > 1 ? bad[7].bytes : 0;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        DiskRead both[] = {good, bad[i]};
        assert_int_equal(disk_submit(d, both, 2, &err), ERR_RANGE);
        if (i > 0) assert_non_null(strstr(err.text, path));
        assert_int_equal(disk_in_flight(d), 0); /* all or nothing */
    }
    assert_int_equal(disk_add_file(d, "/nonexistent/model.gguf", &id, &err), ERR_IO);
    assert_non_null(strstr(err.text, "/nonexistent/model.gguf"));
    assert_non_null(strstr(err.text, "No such file"));
    assert_int_equal(disk_add_file(d, temp_dir(), &id, &err), ERR_IO);
    disk_free(d);
    assert_null(disk_new(&(DiskConfig){.depth = 100000}, &err));
    assert_null(disk_new(&(DiskConfig){.backend = (DiskBackend)99}, &err));
    free(buffer);
}

/* ---- many reads ---- */

typedef struct Many {
    Disk *d;
    char *memory;
    uint32_t slot_bytes;
    size_t n, failed;
    bool out_of_order;
    uint8_t seen[4096];
} Many;

static void take(Many *m, bool wait) {
    DiskDone done[7];
    size_t got = disk_reap(m->d, done, COUNT_OF(done), wait);
    static uint64_t last;
    for (size_t i = 0; i < got; i++) {
        assert_true(done[i].tag < m->n);
        assert_false(m->seen[done[i].tag]);
        m->seen[done[i].tag] = 1;
        if (done[i].tag < last) m->out_of_order = true;
        last = done[i].tag;
        uint64_t offset = done[i].tag * 131;
        char *at = m->memory + done[i].tag * m->slot_bytes;
        if (done[i].code == ERR_OK) check_bytes(at + (offset - align_down(offset, disk_alignment(m->d, 0))), offset, 700);
        else m->failed++;
    }
}

/* n reads of 700 bytes at odd offsets, more than there is room for at once. */
static void read_many(Many *m, Disk *d, size_t n) {
    *m = (Many){.d = d, .n = n, .slot_bytes = (uint32_t)align_up(700 + 2 * disk_alignment(d, 0), disk_alignment(d, 0))};
    void *p = NULL;
    assert_int_equal(posix_memalign(&p, 64 * 1024, n * m->slot_bytes), 0);
    m->memory = p;
    for (size_t i = 0; i < n; i++) {
        while (disk_room(d) == 0) take(m, true);
        DiskRead r = widened(d, i * 131, 700, m->memory + i * m->slot_bytes, i);
        Err err = {0};
        if (disk_submit(d, &r, 1, &err)) fail_msg("%s", err.text);
    }
    while (disk_in_flight(d)) take(m, true);
    for (size_t i = 0; i < n; i++) assert_true(m->seen[i]);
    assert_int_equal(disk_reap(d, NULL, 0, true), 0);
    DiskDone done;
    assert_int_equal(disk_reap(d, &done, 1, true), 0); /* nothing in flight: waiting would be for ever */
    free(m->memory);
}

static void check_queue(const char *path, DiskBackend backend, int depth) {
    Disk *d = open_disk(&(DiskConfig){.backend = backend, .depth = depth}, path);
    DiskInfo info;
    disk_info(d, &info);
    assert_int_equal(info.depth, depth);
    Many m;
    uint64_t before = mem_allocation_count();
    read_many(&m, d, 2200);
    assert_int_equal(mem_allocation_count(), before);
    assert_int_equal(m.failed, 0);
    size_t room = disk_room(d);
    DiskRead r = {.dst = &m};
    Err err = {0};
    assert_int_equal(disk_submit(d, &r, room + 1, &err), ERR_STATE);
    disk_free(d);
}

static void the_queue_holds_more_than_the_depth(void **state) {
    (void)state;
    const char *path = write_pattern(temp_dir(), "many", FILE_BYTES);
    for (size_t b = 0; b < COUNT_OF(real_backends); b++)
        for (int depth = 1; depth <= 8 && backend_works(real_backends[b]); depth += 7) check_queue(path, real_backends[b], depth);
}

/* Sixteen reads that take 30 ms each: 60 ms with eight at a time, 480 ms where they silently run one after the other. */
static void reads_run_at_the_same_time(void **state) {
    (void)state;
    const char *path = write_pattern(temp_dir(), "parallel", FILE_BYTES);
    char *buffer = new_buffer();
    DiskConfig config = {.backend = DISK_FAKE, .depth = 8, .faults = {.delay_ppm = 1000000, .delay_ms = 30, .fail_file = -1}};
    Disk *d = open_disk(&config, path);
    DiskRead reads[16];
    for (size_t i = 0; i < COUNT_OF(reads); i++) reads[i] = widened(d, i * 1000, 100, buffer + i * 32 * 1024, i);
    uint64_t start = os_now_ns();
    Err err = {0};
    DiskDone done;
    assert_int_equal(disk_submit(d, reads, COUNT_OF(reads), &err), ERR_OK);
    for (size_t i = 0; i < COUNT_OF(reads); i++) {
        assert_int_equal(disk_reap(d, &done, 1, true), 1);
        assert_int_equal(done.code, ERR_OK);
    }
    uint64_t ms = (os_now_ns() - start) / 1000000;
    assert_in_range(ms, 59, 300);
    DiskInfo info;
    disk_info(d, &info);
    assert_in_range(info.busy_ns / 1000000, 55, ms);
    disk_free(d);
    free(buffer);
}

static void freeing_a_disk_that_reads_is_safe(void **state) {
    (void)state;
    const char *path = write_pattern(temp_dir(), "busy", FILE_BYTES);
    char *buffer = new_buffer();
    for (DiskBackend backend = 0; backend < DISK_BACKENDS; backend++) {
        if (!backend_works(backend)) continue;
        Disk *d = open_disk(&(DiskConfig){.backend = backend, .depth = 2, .faults = {.delay_ppm = 1000000, .delay_ms = 5}}, path);
        Err err = {0};
        for (uint64_t i = 0; i < 20; i++) {
            DiskRead r = widened(d, i * 1000, 100, buffer + i * 8192 * 4, i);
            assert_int_equal(disk_submit(d, &r, 1, &err), ERR_OK);
        }
        disk_free(d);
    }
    free(buffer); /* nobody writes here any more: the sanitizers watch */
}

/* ---- faults ---- */

static void faults_that_pass_are_not_seen(void **state) {
    (void)state;
    const char *path = write_pattern(temp_dir(), "faults", FILE_BYTES);
    for (int pass = 0; pass < 2; pass++) {
        DiskConfig config = {.backend = DISK_FAKE, .retries = 20, .direct = pass ? DISK_DIRECT_OFF : DISK_DIRECT_AUTO,
                             .faults = {.error_ppm = 150000, .short_ppm = 300000, .delay_ppm = 50000, .delay_ms = 1, .fail_file = -1,
                                        .seed = 7}};
        Disk *d = open_disk(&config, path);
        Many m;
        read_many(&m, d, 1500);
        DiskInfo info;
        disk_info(d, &info);
        assert_string_equal(info.backend, "fake");
        assert_int_equal(m.failed, 0);
        assert_true(m.out_of_order);
        assert_in_range(info.retries, 400, 1500);
        uint64_t retries = info.retries;
        disk_free(d);
        d = open_disk(&config, path); /* the same seed fails the same way, whatever the threads do */
        read_many(&m, d, 1500);
        disk_info(d, &info);
        assert_int_equal(info.retries, retries);
        disk_free(d);
    }
}

static void an_error_that_stays_is_reported(void **state) {
    (void)state;
    const char *path = write_pattern(temp_dir(), "stays", FILE_BYTES);
    char *buffer = new_buffer();
    DiskConfig config = {.backend = DISK_FAKE, .retries = 2, .faults = {.fail_file = 0, .fail_offset = 100000}};
    Disk *d = open_disk(&config, path);
    DiskRead r = widened(d, 99000, 2000, buffer, 42);
    DiskDone done = read_one(d, &r);
    assert_int_equal(done.code, ERR_IO);
    char offset[32];
    snprintf(offset, sizeof offset, "offset %llu ", (unsigned long long)r.offset);
    assert_non_null(strstr(done.err.text, path));
    assert_non_null(strstr(done.err.text, offset));
    assert_non_null(strstr(done.err.text, strerror(5 /* EIO */)));
    assert_non_null(strstr(done.err.text, "3 times"));
    DiskInfo info;
    disk_info(d, &info);
    assert_int_equal(info.retries, 2);
    r = widened(d, 120000, 2000, buffer, 43); /* elsewhere the disk still works */
    assert_int_equal(read_one(d, &r).code, ERR_OK);
    check_bytes(buffer, r.offset, r.need);
    disk_free(d);
    config = (DiskConfig){.backend = DISK_FAKE, .retries = 0, .faults = {.error_ppm = 200000, .fail_file = -1}};
    d = open_disk(&config, path);
    Many m;
    read_many(&m, d, 1000);
    assert_in_range(m.failed, 120, 280);
    disk_free(d);
    free(buffer);
}

static void check_shrinking(const char *path, DiskBackend backend, DiskDirect direct, char *buffer) {
    write_pattern(temp_dir(), "shrinks", FILE_BYTES);
    Disk *d = open_disk(&(DiskConfig){.backend = backend, .direct = direct, .retries = 1}, path);
    assert_int_equal(truncate(path, 123456), 0);
    DiskRead inside = widened(d, 100000, 20000, buffer, 1), across = widened(d, 120000, 20000, buffer, 2),
             beyond = widened(d, 200000, 10, buffer, 3);
    assert_int_equal(read_one(d, &inside).code, ERR_OK);
    check_bytes(buffer, inside.offset, inside.need);
    DiskDone done = read_one(d, &across);
    assert_int_equal(done.code, ERR_IO);
    assert_non_null(strstr(done.err.text, "123456"));
    assert_non_null(strstr(done.err.text, path));
    assert_int_equal(read_one(d, &beyond).code, ERR_IO);
    DiskInfo info;
    disk_info(d, &info);
    assert_int_equal(info.retries, 3); /* across: continued, then tried again; beyond: tried again */
    disk_free(d);
}

static void a_file_that_shrinks_is_called_by_name(void **state) {
    (void)state;
    const char *path = write_pattern(temp_dir(), "shrinks", FILE_BYTES);
    char *buffer = new_buffer();
    for (size_t b = 0; b < COUNT_OF(real_backends); b++)
        for (DiskDirect direct = DISK_DIRECT_AUTO; direct <= DISK_DIRECT_OFF && backend_works(real_backends[b]); direct += 2)
            check_shrinking(path, real_backends[b], direct, buffer);
    free(buffer);
}

/* Its name may go away or come to mean another file: what was opened is what is read. */
static void a_file_that_is_unlinked_stays_readable(void **state) {
    (void)state;
    const char *path = write_pattern(temp_dir(), "unlinked", FILE_BYTES);
    Disk *d = open_disk(&(DiskConfig){0}, path);
    assert_int_equal(unlink(path), 0);
    check_odd_places(d);
    disk_free(d);
}

static void running_out_of_memory_is_an_error(void **state) {
    (void)state;
    const char *path = write_pattern(temp_dir(), "memory", 5000);
    for (size_t b = 0; b < COUNT_OF(real_backends); b++) {
        if (!backend_works(real_backends[b])) continue;
        int failed = 0;
        for (uint64_t n = 1; n < 20; n++) {
            Err err = {0};
            uint32_t id = 99;
            mem_fail_after(n);
            Disk *d = disk_new(&(DiskConfig){.backend = real_backends[b]}, &err);
            ErrCode code = d ? disk_add_file(d, path, &id, &err) : err.code;
            mem_fail_after(0);
            if (code) {
                failed++;
                assert_int_equal(code, ERR_MEMORY);
                if (d) assert_int_equal(disk_add_file(d, path, &id, &err), ERR_OK); /* still usable */
            }
            if (d) assert_int_equal(id, 0);
            disk_free(d);
        }
        assert_in_range(failed, 5, 12);
    }
    disk_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_range_is_read_in_every_mode),
        cmocka_unit_test(files_in_memory_are_not_called_direct),
        cmocka_unit_test(a_fallback_is_said_once),
        cmocka_unit_test(mistakes_are_refused),
        cmocka_unit_test(the_queue_holds_more_than_the_depth),
        cmocka_unit_test(reads_run_at_the_same_time),
        cmocka_unit_test(freeing_a_disk_that_reads_is_safe),
        cmocka_unit_test(faults_that_pass_are_not_seen),
        cmocka_unit_test(an_error_that_stays_is_reported),
        cmocka_unit_test(a_file_that_shrinks_is_called_by_name),
        cmocka_unit_test(a_file_that_is_unlinked_stays_readable),
        cmocka_unit_test(running_out_of_memory_is_an_error),
    };
    return RUN_TESTS(tests);
}
