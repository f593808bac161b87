/* Drives that stall, answer late, claim too much or have a bad stretch: the right bytes or an error, and nothing in silence. */
#define _GNU_SOURCE
#include "support/pattern_file.h"
#include "support/support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { N = 60, PLACE = 16 * 1024, NEED = 3000 };

typedef struct Outcome {
    int right, failed;
    bool out_of_order;
    ErrCode code[N];
    char sentence[sizeof(((Err *)0)->text)];
} Outcome;

/* N reads at once; whatever is handed out as good has the right bytes. */
static Outcome read_all(Disk *d, char *buffer) {
    Outcome o = {0};
    DiskRead reads[N];
    for (uint64_t i = 0; i < N; i++) reads[i] = widened(d, i * 4999, NEED, buffer + i * PLACE, i);
    Err err = {0};
    if (disk_submit(d, reads, N, &err)) fail_msg("%s", err.text);
    uint64_t last = 0;
    for (size_t n = 0; n < N;) {
        DiskDone done[8];
        size_t got = disk_reap(d, done, COUNT_OF(done), true);
        assert_true(got > 0);
        n += got;
        for (size_t i = 0; i < got; i++) {
            uint64_t tag = done[i].tag;
            o.out_of_order = o.out_of_order || tag < last;
            last = tag;
            o.code[tag] = done[i].code;
            o.right += done[i].code == ERR_OK;
            o.failed += done[i].code != ERR_OK;
            if (done[i].code) memcpy(o.sentence, done[i].err.text, sizeof o.sentence);
            else check_bytes(reads[tag].dst, reads[tag].offset, reads[tag].need);
        }
    }
    assert_int_equal(disk_in_flight(d), 0);
    return o;
}

static Outcome read_with(const DiskConfig *config, DiskInfo *info) {
    char *buffer = new_buffer();
    Disk *d = open_disk(config, write_pattern(temp_dir(), "faults", PATTERN_FILE_BYTES));
    Outcome o = read_all(d, buffer);
    disk_info(d, info);
    disk_free(d);
    free(buffer);
    return o;
}

/* ---- a drive that does not answer ---- */

static char said[256];

static void until_it_is_said(void *user, const DiskRead *read, uint32_t ms) {
    int *stalled = user;
    (void)read;
    assert_int_equal(ms, 30000);
    ++*stalled;
    for (Buf text = {0};;) { /* instead of half a minute, until the warning is written */
        Err err = {0};
        if (os_read_file(said, 4096, &text, &err) == ERR_OK && text.len > 0 && text.ptr[text.len - 1] == '\n') {
            buf_free(&text);
            return;
        }
        buf_clear(&text);
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
}

static void a_stall_is_said_once_and_waited_for(void **state) {
    (void)state;
    int stalled = 0;
    DiskConfig config = {.backend = DISK_FAKE, .depth = 1, .patience_ms = 20};
    config.faults = (DiskFaults){.stall_ppm = 1000000, .stall_ms = 30000, .fail_file = -1, .pause = until_it_is_said, .user = &stalled};
    const char *path = write_pattern(temp_dir(), "stalls", PATTERN_FILE_BYTES);
    char *buffer = new_buffer();
    Disk *d = open_disk(&config, path);
    snprintf(said, sizeof said, "%s/said", temp_dir());
    fflush(stderr);
    int saved = dup(2);
    assert_non_null(freopen(said, "w", stderr));
    setvbuf(stderr, NULL, _IONBF, 0);
    DiskRead r = widened(d, 5000, NEED, buffer, 1);
    DiskDone done = read_one(d, &r);
    fflush(stderr);
    dup2(saved, 2);
    close(saved);
    assert_int_equal(done.code, ERR_OK);
    check_bytes(buffer, r.offset, r.need);
    assert_int_equal(stalled, 1);
    Buf text = {0};
    Err err = {0};
    assert_int_equal(os_read_file(said, 4096, &text, &err), ERR_OK);
    const char *first = strstr(text.ptr, "has not answered for 0.");
    assert_non_null(first);
    assert_null(strstr(first + 1, "has not answered"));
    assert_non_null(strstr(text.ptr, path));
    DiskInfo info;
    disk_info(d, &info);
    assert_int_equal(info.stalls, 1);
    assert_int_equal(info.retries, 0); /* waited for, not asked again */
    buf_free(&text);
    disk_free(d);
    free(buffer);
}

/* Waiting in pieces loses nothing, on any backend. */
static void an_impatient_reader_gets_the_same_bytes(void **state) {
    (void)state;
    for (int b = 0; b < DISK_BACKENDS; b++) {
        if (!backend_works((DiskBackend)b)) continue;
        DiskConfig config = {.backend = (DiskBackend)b, .depth = 2, .patience_ms = 1, .retries = -1};
        if (b == DISK_FAKE) config.faults = (DiskFaults){.delay_ppm = 100000, .delay_ms = 20, .fail_file = -1};
        DiskInfo info;
        log_set_level(LOG_ERROR);
        Outcome o = read_with(&config, &info);
        log_set_level(LOG_NOTE);
        assert_int_equal(o.right, N);
        if (b == DISK_FAKE) assert_true(info.stalls > 0);
    }
}

/* ---- answers that are late, wrong or missing ---- */

static void late_answers_come_in_any_order(void **state) {
    (void)state;
    DiskConfig config = {.backend = DISK_FAKE, .faults = {.late_ppm = 300000, .late_ms = 5, .fail_file = -1, .seed = 3}};
    DiskInfo info;
    Outcome o = read_with(&config, &info);
    assert_int_equal(o.right, N);
    assert_true(o.out_of_order);
    assert_int_equal(info.retries, 0);
}

static void an_answer_that_claims_too_much_is_not_believed(void **state) {
    (void)state;
    DiskConfig config = {.backend = DISK_FAKE, .retries = 0, .faults = {.long_ppm = 300000, .fail_file = -1, .seed = 5}};
    DiskInfo info;
    Outcome o = read_with(&config, &info);
    assert_in_range(o.failed, 8, 30);
    assert_int_equal(o.right + o.failed, N);
    assert_non_null(strstr(o.sentence, strerror(EIO)));
    config.retries = 20;
    o = read_with(&config, &info);
    assert_int_equal(o.right, N);
    assert_true(info.retries > 8);
}

static void a_bad_stretch_spoils_only_what_touches_it(void **state) {
    (void)state;
    enum { FROM = 100000, BYTES = 30000 };
    DiskConfig config = {.backend = DISK_FAKE, .retries = 1, .direct = DISK_DIRECT_OFF,
                         .faults = {.fail_file = 0, .fail_offset = FROM, .fail_bytes = BYTES}};
    DiskInfo info;
    Outcome o = read_with(&config, &info);
    for (int i = 0; i < N; i++) {
        bool touches = i * 4999 < FROM + BYTES && i * 4999 + NEED > FROM;
        assert_int_equal(o.code[i], touches ? ERR_IO : ERR_OK);
    }
    assert_int_equal(o.failed, 7); /* 20 to 26 */
}

/* ---- what is counted ---- */

static void the_disk_says_how_it_is_doing(void **state) {
    (void)state;
    DiskConfig config = {.backend = DISK_FAKE, .depth = 4, .faults = {.delay_ppm = 1000000, .delay_ms = 5, .fail_file = -1}};
    DiskInfo info;
    Outcome o = read_with(&config, &info);
    assert_int_equal(o.right, N);
    assert_int_equal(info.in_flight_max, 4);
    assert_true(info.latency_ns >= 5000000);
    uint64_t all = 0, slow = 0;
    for (int i = 0; i < DISK_LATENCIES; i++) {
        all += info.latencies[i];
        if (i >= 13) slow += info.latencies[i]; /* 4096 us and more */
    }
    assert_int_equal(all, N);
    assert_int_equal(slow, N);
    assert_true(info.demand_busy_ns >= UINT64_C(5000000) * (N / 4) && info.demand_busy_ns <= info.busy_ns);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stall_is_said_once_and_waited_for),
        cmocka_unit_test(an_impatient_reader_gets_the_same_bytes),
        cmocka_unit_test(late_answers_come_in_any_order),
        cmocka_unit_test(an_answer_that_claims_too_much_is_not_believed),
        cmocka_unit_test(a_bad_stretch_spoils_only_what_touches_it),
        cmocka_unit_test(the_disk_says_how_it_is_doing),
    };
    return RUN_TESTS(tests);
}
