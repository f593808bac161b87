/* Hints of the disk room: they fill a drive that has time, never delay a demand, and can be taken back or made demands. */
#define _GNU_SOURCE
#include "support/gate.h"
#include "support/pattern_file.h"
#include "support/support.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct Rig {
    Gate gate;
    Disk *d;
    char *buffer;
} Rig;

enum { PLACE = 16 * 1024 };

static void rig_open(Rig *r, int depth, int hint_depth) {
    *r = (Rig){.buffer = new_buffer()};
    gate_init(&r->gate);
    DiskConfig config = gate_disk(&r->gate, depth, hint_depth);
    r->d = open_disk(&config, write_pattern(temp_dir(), "hints", PATTERN_FILE_BYTES));
    memset(r->buffer, 0xA5, PATTERN_BUFFER_BYTES);
}

static void rig_close(Rig *r) {
    gate_allow(&r->gate, 1000);
    disk_free(r->d);
    free(r->buffer);
}

static DiskRead a_read(const Rig *r, uint64_t tag, DiskUrgency urgency) {
    DiskRead read = widened(r->d, tag * 4096, 4096, r->buffer + tag * PLACE, tag);
    read.urgency = urgency;
    return read;
}

/* Submits reads with the tags first..first+n-1 in one go. */
static void start(const Rig *r, uint64_t first, int n, DiskUrgency urgency) {
    DiskRead reads[32];
    Err err = {0};
    for (int i = 0; i < n; i++) reads[i] = a_read(r, first + (uint64_t)i, urgency);
    if (disk_submit(r->d, reads, (size_t)n, &err)) fail_msg("%s", err.text);
}

static uint64_t reap_one(const Rig *r) {
    DiskDone done;
    assert_int_equal(disk_reap(r->d, &done, 1, true), 1);
    if (done.code) fail_msg("%s", done.err.text);
    check_bytes(r->buffer + done.tag * PLACE, done.tag * 4096, 4096);
    return done.tag;
}

/* ---- tests ---- */

static void demands_go_first(void **state) {
    (void)state;
    Rig r;
    rig_open(&r, 1, 0);
    DiskRead reads[] = {a_read(&r, 0, DISK_HINT), a_read(&r, 1, DISK_HINT), a_read(&r, 2, DISK_DEMAND), a_read(&r, 3, DISK_DEMAND)};
    Err err = {0};
    assert_int_equal(disk_submit(r.d, reads, 4, &err), ERR_OK);
    gate_wait_started(&r.gate, 1);
    start(&r, 4, 1, DISK_DEMAND);
    gate_allow(&r.gate, 3);
    gate_wait_started(&r.gate, 4);
    start(&r, 5, 1, DISK_DEMAND); /* a hint runs; the other one lets this pass too */
    gate_allow(&r.gate, 3);
    static const uint64_t order[] = {2, 3, 4, 0, 5, 1};
    for (size_t i = 0; i < COUNT_OF(order); i++) assert_int_equal(reap_one(&r), order[i]);
    DiskInfo info;
    disk_info(r.d, &info);
    assert_int_equal(info.reads, 6);
    assert_int_equal(info.hint_reads, 2);
    assert_true(info.hint_bytes >= 2 * 4096 && info.hint_bytes < info.bytes);
    assert_true(info.demand_busy_ns > 0 && info.demand_busy_ns < info.busy_ns);
    rig_close(&r);
}

static void hints_fill_a_drive_that_has_time(void **state) {
    (void)state;
    Rig r;
    rig_open(&r, 8, 4);
    start(&r, 0, 3, DISK_DEMAND);
    start(&r, 10, 6, DISK_HINT); /* three demands run: room for one hint */
    gate_wait_started(&r.gate, 4);
    assert_int_equal(gate_started(&r.gate), 4);
    start(&r, 20, 4, DISK_DEMAND); /* no hint is in their way */
    gate_wait_started(&r.gate, 8);
    for (uint64_t tag = 20; tag < 24; tag++) assert_true(gate_saw(&r.gate, tag));
    gate_allow(&r.gate, 4);
    for (int i = 0; i < 4; i++) reap_one(&r);
    assert_int_equal(gate_started(&r.gate), 8); /* four reads still run */
    gate_allow(&r.gate, 4);
    for (int i = 0; i < 4; i++) reap_one(&r);
    gate_wait_started(&r.gate, 12); /* hints alone: four at a time */
    assert_int_equal(gate_started(&r.gate), 12);
    gate_allow(&r.gate, 10);
    for (int i = 0; i < 5; i++) reap_one(&r);
    assert_int_equal(disk_in_flight(r.d), 0);
    rig_close(&r);
}

static void a_hint_that_waits_can_be_taken_back(void **state) {
    (void)state;
    Rig r;
    rig_open(&r, 4, 1);
    start(&r, 0, 1, DISK_HINT);
    gate_wait_started(&r.gate, 1);
    start(&r, 1, 5, DISK_HINT);
    DiskRead same_tag = a_read(&r, 3, DISK_HINT);
    same_tag.dst = r.buffer + 9 * PLACE;
    Err err = {0};
    assert_int_equal(disk_submit(r.d, &same_tag, 1, &err), ERR_OK);
    assert_int_equal(disk_cancel(r.d, 0), 0); /* it is being read */
    assert_int_equal(disk_cancel(r.d, 77), 0);
    assert_int_equal(disk_cancel(r.d, 3), 2);
    assert_int_equal(disk_cancel(r.d, 3), 0);
    assert_int_equal(disk_cancel(r.d, 5), 1);
    assert_int_equal(disk_in_flight(r.d), 4);
    gate_allow(&r.gate, 100);
    static const uint64_t left[] = {0, 1, 2, 4};
    for (size_t i = 0; i < COUNT_OF(left); i++) assert_int_equal(reap_one(&r), left[i]);
    assert_int_equal(disk_in_flight(r.d), 0);
    for (size_t i = 0; i < PLACE; i++) /* nothing was written for them */
        assert_true((uint8_t)r.buffer[3 * PLACE + i] == 0xA5 && (uint8_t)r.buffer[9 * PLACE + i] == 0xA5);
    DiskInfo info;
    disk_info(r.d, &info);
    assert_int_equal(info.cancelled, 3);
    assert_int_equal(info.reads, 4);
    start(&r, 6, 1, DISK_DEMAND); /* demands cannot be taken back */
    assert_int_equal(disk_cancel(r.d, 6), 0);
    assert_int_equal(reap_one(&r), 6);
    rig_close(&r);
}

static void a_hint_that_is_wanted_becomes_a_demand(void **state) {
    (void)state;
    Rig r;
    rig_open(&r, 4, 1);
    start(&r, 0, 1, DISK_HINT);
    gate_wait_started(&r.gate, 1);
    start(&r, 1, 3, DISK_HINT);
    assert_int_equal(gate_started(&r.gate), 1);
    disk_promote(r.d, 2);
    gate_wait_started(&r.gate, 2);
    assert_true(gate_saw(&r.gate, 2));
    disk_promote(r.d, 0); /* runs already: from now on it counts as a demand */
    assert_int_equal(disk_cancel(r.d, 0) + disk_cancel(r.d, 2), 0);
    gate_allow(&r.gate, 100);
    for (int i = 0; i < 4; i++) reap_one(&r);
    DiskInfo info;
    disk_info(r.d, &info);
    assert_int_equal(info.reads, 4);
    assert_int_equal(info.hint_reads, 2);
    rig_close(&r);
}

static void hints_leave_room_for_demands(void **state) {
    (void)state;
    Rig r;
    rig_open(&r, 2, 1);
    size_t room = disk_room(r.d), hints = disk_hint_room(r.d);
    assert_true(hints > 0 && hints <= room / 4);
    DiskRead h = a_read(&r, 1, DISK_HINT), demand = a_read(&r, 0, DISK_DEMAND);
    char *places = aligned_alloc(PLACE, room * PLACE); /* two reads at a time write to two of them */
    Err err = {0};
    for (size_t i = 0; i < hints; i++) assert_int_equal(disk_submit(r.d, &h, 1, &err), ERR_OK);
    assert_int_equal(disk_hint_room(r.d), 0);
    assert_int_equal(disk_room(r.d), room - hints);
    assert_int_equal(disk_submit(r.d, &h, 1, &err), ERR_STATE);
    assert_non_null(strstr(err.text, "hint"));
    for (size_t i = 0; i < room - hints; i++) {
        demand.dst = places + i * PLACE;
        assert_int_equal(disk_submit(r.d, &demand, 1, &err), ERR_OK);
    }
    assert_int_equal(disk_room(r.d), 0);
    gate_wait_started(&r.gate, 2);
    size_t cancelled = disk_cancel(r.d, 1);
    assert_in_range(cancelled, hints - 1, hints); /* the first one had started */
    assert_int_equal(disk_room(r.d), cancelled);
    assert_in_range(disk_hint_room(r.d), hints - 1, hints);
    rig_close(&r); /* with hundreds of reads that never started */
    free(places);
}

/* io_uring moves on only when it is called, so what waits is known without a gate. */
static void io_uring_keeps_the_same_order(void **state) {
    (void)state;
    if (!backend_works(DISK_URING)) skip();
    Rig r = {.buffer = new_buffer()};
    r.d = open_disk(&(DiskConfig){.backend = DISK_URING, .depth = 1}, write_pattern(temp_dir(), "uring", PATTERN_FILE_BYTES));
    uint64_t allocations = mem_allocation_count();
    DiskRead reads[] = {a_read(&r, 0, DISK_HINT), a_read(&r, 1, DISK_HINT), a_read(&r, 2, DISK_HINT), a_read(&r, 3, DISK_DEMAND)};
    Err err = {0};
    assert_int_equal(disk_submit(r.d, reads, 4, &err), ERR_OK);
    assert_int_equal(disk_cancel(r.d, 1), 1);
    disk_promote(r.d, 2);
    static const uint64_t order[] = {3, 2, 0};
    for (size_t i = 0; i < COUNT_OF(order); i++) assert_int_equal(reap_one(&r), order[i]);
    assert_int_equal(disk_in_flight(r.d), 0);
    DiskInfo info;
    disk_info(r.d, &info);
    assert_int_equal(info.hint_reads, 1);
    assert_int_equal(info.cancelled, 1);
    assert_true(info.demand_busy_ns > 0 && info.demand_busy_ns < info.busy_ns);
    assert_int_equal(mem_allocation_count(), allocations);
    disk_free(r.d);
    free(r.buffer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(demands_go_first),
        cmocka_unit_test(hints_fill_a_drive_that_has_time),
        cmocka_unit_test(a_hint_that_waits_can_be_taken_back),
        cmocka_unit_test(a_hint_that_is_wanted_becomes_a_demand),
        cmocka_unit_test(hints_leave_room_for_demands),
        cmocka_unit_test(io_uring_keeps_the_same_order),
    };
    return RUN_TESTS(tests);
}
