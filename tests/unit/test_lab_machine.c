/* Measuring a machine: rates are positive and of the right size, the disk is read where it was not read before, the profile survives. */
#include "support/program.h"

#include "lab/lab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static LabProfile measured(const char *dir) {
    LabProfile p;
    Err err = {0};
    LabMeasure how = {.scratch_dir = dir, .threads = 2, .dram_bytes = 8 << 20, .backend = DISK_THREADS};
    if (lab_measure(&how, &p, &err) != ERR_OK) fail_msg("%s", err.text);
    return p;
}

static void a_profile_survives_the_round_trip(void **state) {
    (void)state;
    char dir[300];
    snprintf(dir, sizeof dir, "%s/state/sluice", temp_dir());
    LabProfile p = measured(temp_dir()), q;
    assert_true(p.machine.dram_bytes_per_s > 1e8 && p.machine.dram_bytes_per_s < 1e13);
    assert_true(p.machine.dense_weights_per_s > 1e6 && p.machine.expert_weights_per_s > 1e6 && p.machine.batched_weights_per_s > 1e6);
    assert_true(p.machine.disk_bytes_per_s > 1e6 && p.machine.disk_read_s > 0);
    assert_int_equal(p.machine.threads, 2);
    assert_string_equal(p.expert_types, "Q4_K");
    Err err = {0};
    bool found = true;
    assert_int_equal(lab_profile_load(dir, &q, &found, &err), ERR_OK);
    assert_false(found);
    assert_int_equal(lab_profile_save(dir, &p, &err), ERR_OK);
    assert_int_equal(lab_profile_load(dir, &q, &found, &err), ERR_OK);
    assert_true(found);
    assert_memory_equal(&p.machine, &q.machine, sizeof p.machine);
    assert_string_equal(p.cpu, q.cpu);
    assert_string_equal(p.date, q.date);
    assert_string_equal(p.disk_path, temp_dir());
    assert_string_equal(p.file_system, q.file_system);
    assert_int_equal(p.request_bytes, q.request_bytes);
    assert_true(lab_profile_fits(&q, p.rung, 2));
    assert_false(lab_profile_fits(&q, p.rung, 3));
    assert_false(lab_profile_fits(&q, "another", 2));
}

static void a_broken_profile_is_measured_again(void **state) {
    (void)state;
    char path[300];
    snprintf(path, sizeof path, "%s/machine.json", temp_dir());
    static const char *const texts[] = {"", "{", "[]", "{\"version\":99}", "{\"version\":1,\"rates\":{\"dram_bytes_per_s\":\"x\"}}",
                                        "{\"version\":1,\"rates\":{\"dram_bytes_per_s\":-1,\"dense_weights_per_s\":1}}"};
    log_set_level(LOG_ERROR);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        LabProfile p;
        Err err = {0};
        bool found = true;
        write_whole(path, texts[i]);
        assert_int_equal(lab_profile_load(temp_dir(), &p, &found, &err), ERR_OK);
        assert_false(found);
    }
    log_set_level(LOG_NOTE);
}

static void the_scratch_file_is_removed(void **state) {
    (void)state;
    char dir[300], line[400];
    snprintf(dir, sizeof dir, "%s/scratch", temp_dir());
    assert_int_equal(mkdir(dir, 0700), 0);
    (void)measured(dir);
    snprintf(line, sizeof line, "ls -A %s", dir);
    assert_string_equal(shell_expect(0, line)->out, "");
}

/* A model of a few kilobytes: there is no disk to speak of, and that is no error. */
static void a_file_without_a_place_has_no_rate(void **state) {
    (void)state;
    char path[300];
    snprintf(path, sizeof path, "%s/small", temp_dir());
    Err err = {0};
    assert_int_equal(lab_scratch_file(path, 1 << 20, &err), ERR_OK);
    const char *paths[1] = {path};
    DiskProbeConfig config = {.paths = paths, .n_paths = 1, .backend = DISK_THREADS, .memory_bytes = 4 << 20, .again = true};
    DiskProbe *probe = disk_probe_new(&config, &err);
    assert_non_null(probe);
    LabDisk disk;
    assert_int_equal(lab_disk(probe, 2 << 20, 0.01, &disk, &err), ERR_OK);
    assert_true(disk.bytes_per_s <= 0 && disk.read_s <= 0);
    assert_int_equal(lab_disk(probe, 64 << 10, 0.5, &disk, &err), ERR_OK);
    assert_true(disk.bytes_per_s > 0 && disk.read_s > 0 && disk.cached); /* 16 places, read again and again */
    disk_probe_free(probe);
}

static void the_page_cache_is_asked_without_reading(void **state) {
    (void)state;
    char path[300];
    snprintf(path, sizeof path, "%s/cached", temp_dir());
    Err err = {0};
    assert_int_equal(lab_scratch_file(path, 4 << 20, &err), ERR_OK);
    OsFile f;
    assert_int_equal(os_open(&f, path, false, &err), ERR_OK);
    assert_true(os_cached_share(&f) > 0.99);
    OsPlace place;
    assert_int_equal(os_place(path, &place, &err), ERR_OK);
    assert_true(place.total_bytes > 0 && place.file_system[0]);
    if (strcmp(place.file_system, "tmpfs") == 0 || strcmp(place.file_system, "ramfs") == 0) skip();
    os_drop_cache(&f, 0, f.size);
    assert_true(os_cached_share(&f) < 0.01);
    assert_true(os_cached_share(&f) < 0.01); /* the first question has read nothing */
    os_close(&f);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_profile_survives_the_round_trip), cmocka_unit_test(a_broken_profile_is_measured_again),
        cmocka_unit_test(the_scratch_file_is_removed), cmocka_unit_test(a_file_without_a_place_has_no_rate),
        cmocka_unit_test(the_page_cache_is_asked_without_reading),
    };
    return RUN_TESTS(tests);
}
