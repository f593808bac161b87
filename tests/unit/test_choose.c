/* `--io auto` and `--direct auto`: what was measured decides, what is remembered is used, and damage costs a second measurement. */
#define _GNU_SOURCE
#include "support/support.h"

#include "disk/disk.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MEGABYTE = 1 << 20 };
static const char *const ways[] = {"uring direct", "threads direct", "uring buffered", "threads buffered"};

/* A new file of 64 MiB that takes no space; a new one each time, for no place is measured twice. */
static const char *sparse_file(void) {
    static char path[256];
    static int number;
    snprintf(path, sizeof path, "%s/model%d", temp_dir(), number++);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 64 * MEGABYTE), 0);
    close(fd);
    return path;
}

static const char *new_folder(void) {
    static char path[256];
    static int number;
    snprintf(path, sizeof path, "%s/state%d/sluice", temp_dir(), number++);
    return path;
}

static DiskChoose wish(const char *state_dir) {
    return (DiskChoose){.path = sparse_file(), .bytes = UINT64_C(1) << 30, .read_bytes = 100000, .any_backend = true,
                        .memory_bytes = 4 * MEGABYTE, .state_dir = state_dir};
}

static DiskChoice choose(const char *state_dir) {
    DiskChoose how = wish(state_dir);
    DiskChoice c;
    disk_choose(&how, &c);
    return c;
}

/* What goes to standard error while a choice is made. */
static DiskChoice choose_listening(const char *state_dir, char said[4096]) {
    char path[256];
    snprintf(path, sizeof path, "%s/said", temp_dir());
    fflush(stderr);
    int before = dup(2), fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(before >= 0 && fd >= 0 && dup2(fd, 2) == 2);
    DiskChoice c = choose(state_dir);
    fflush(stderr);
    dup2(before, 2);
    close(before);
    ssize_t n = pread(fd, said, 4095, 0);
    said[n > 0 ? n : 0] = 0;
    close(fd);
    return c;
}

static json_t *load(const char *state_dir) {
    char path[300];
    snprintf(path, sizeof path, "%s/disks.json", state_dir);
    return json_load_file(path, 0, NULL);
}

static void store(const char *state_dir, const json_t *root) {
    char path[300];
    snprintf(path, sizeof path, "%s/disks.json", state_dir);
    assert_int_equal(json_dump_file(root, path, 0), 0);
}

static json_t *only_entry(json_t *root) {
    json_t *disks = json_object_get(root, "disks");
    assert_int_equal(json_object_size(disks), 1);
    return json_object_iter_value(json_object_iter(disks));
}

/* ---- without measuring ---- */

static void what_is_asked_for_is_not_measured(void **state) {
    (void)state;
    DiskChoose how = wish(NULL);
    how.any_backend = false;
    how.backend = DISK_URING; /* even if it is blocked: opening will say so, nothing else takes its place */
    how.direct = DISK_DIRECT_OFF;
    DiskChoice c;
    disk_choose(&how, &c);
    assert_int_equal(c.backend, DISK_URING);
    assert_int_equal(c.direct, DISK_DIRECT_OFF);
    assert_string_equal(c.why, "as asked for");
    assert_true(c.bytes_per_s == 0 && !c.fresh);
}

static void little_is_not_measured(void **state) {
    (void)state;
    const char *folder = new_folder();
    DiskChoose how = wish(folder);
    how.bytes = 63 * MEGABYTE;
    DiskChoice c;
    disk_choose(&how, &c);
    assert_int_equal(c.backend, DISK_THREADS);
    assert_int_equal(c.direct, DISK_DIRECT_AUTO);
    assert_non_null(strstr(c.why, "63.0 MiB"));
    assert_false(os_exists(folder));
}

static void words_are_wishes(void **state) {
    (void)state;
    DiskChoose how = {.path = "kept"};
    Err err = {0};
    assert_int_equal(disk_words(NULL, NULL, &how, &err), ERR_OK);
    assert_true(how.any_backend && how.backend == DISK_THREADS && how.direct == DISK_DIRECT_AUTO);
    assert_string_equal(how.path, "kept");
    assert_int_equal(disk_words("mmap", "off", &how, &err), ERR_OK);
    assert_true(!how.any_backend && how.backend == DISK_MMAP && how.direct == DISK_DIRECT_OFF);
    char choices[] = DISK_CHOICES; /* what --io offers is taken */
    for (char *word = strtok(choices, "|"); word; word = strtok(NULL, "|")) {
        assert_int_equal(disk_words(word, "auto", &how, &err), ERR_OK);
        Disk *d = how.any_backend ? NULL : disk_new(&(DiskConfig){.backend = how.backend}, &err);
        if (!d) continue; /* auto, or refused by the kernel */
        DiskInfo info;
        disk_info(d, &info);
        assert_string_equal(info.backend, word);
        disk_free(d);
    }
    assert_int_equal(disk_words("fake", NULL, &how, &err), ERR_USAGE); /* for tests alone */
    assert_string_equal(err.text, "--io fake: choose auto, threads, uring or mmap");
    assert_int_equal(disk_words(NULL, "perhaps", &how, &err), ERR_USAGE);
    assert_string_equal(err.text, "--direct perhaps: choose auto, on or off");
}

/* ---- measuring and remembering ---- */

static void a_measurement_is_remembered(void **state) {
    (void)state;
    const char *folder = new_folder();
    char said[4096];
    DiskChoice first = choose_listening(folder, said);
    assert_true(first.fresh);
    assert_true(first.bytes_per_s > 0);
    assert_non_null(strstr(first.why, "measured: "));
    assert_non_null(strstr(said, first.why));
    assert_true(first.backend == DISK_URING || first.backend == DISK_THREADS);
    json_t *root = load(folder);
    assert_non_null(root);
    json_t *entry = only_entry(root);
    assert_true(json_integer_value(json_object_get(entry, "measured")) > 1600000000);
    assert_true(json_object_size(json_object_get(entry, "rates")) >= 2);
    json_decref(root);

    DiskChoice again = choose_listening(folder, said);
    assert_false(again.fresh);
    assert_int_equal(again.backend, first.backend);
    assert_int_equal(again.direct, first.direct);
    assert_non_null(strstr(again.why, "measured on 2"));
    assert_string_equal(said, ""); /* known things are not told again */

    DiskChoose how = wish(folder);
    how.read_bytes = 5 * MEGABYTE; /* another size of reads is another question */
    disk_choose(&how, &again);
    assert_true(again.fresh);
    root = load(folder);
    assert_int_equal(json_object_size(json_object_get(root, "disks")), 2);
    json_decref(root);
}

static void the_fastest_wins_and_what_is_as_fast_goes_by_preference(void **state) {
    (void)state;
    const char *folder = new_folder();
    (void)choose(folder);
    json_t *root = load(folder), *rates = json_object_get(only_entry(root), "rates");
    for (int i = 0; i < 4; i++) {
        if (!json_object_get(rates, ways[i])) continue;
        for (int j = 0; j < 4; j++)
            if (json_object_get(rates, ways[j])) json_object_set_new(rates, ways[j], json_integer(i == j ? 3000000000 : 2800000000));
        store(folder, root);
        DiskChoice c = choose(folder);
        assert_false(c.fresh);
        assert_int_equal(c.backend, strncmp(ways[i], "uring", 5) == 0 ? DISK_URING : DISK_THREADS);
        assert_int_equal(c.direct, strstr(ways[i], "direct") ? DISK_DIRECT_AUTO : DISK_DIRECT_OFF);
        assert_true(c.bytes_per_s == 3e9);
        /* 4 % less is no difference */
        for (int j = 0; j < 4; j++)
            if (json_object_get(rates, ways[j])) json_object_set_new(rates, ways[j], json_integer(i == j ? 3000000000 : 2880000000));
        store(folder, root);
        c = choose(folder);
        int preferred = 0;
        while (!json_object_get(rates, ways[preferred])) preferred++;
        assert_int_equal(c.backend, strncmp(ways[preferred], "uring", 5) == 0 ? DISK_URING : DISK_THREADS);
        assert_int_equal(c.direct, strstr(ways[preferred], "direct") ? DISK_DIRECT_AUTO : DISK_DIRECT_OFF);
    }
    /* what the user has fixed stays fixed, whatever is faster */
    DiskChoose how = wish(folder);
    how.any_backend = false;
    how.backend = DISK_THREADS;
    DiskChoice c;
    disk_choose(&how, &c);
    assert_int_equal(c.backend, DISK_THREADS);
    assert_false(c.fresh);
    json_decref(root);
}

static void what_is_old_or_incomplete_is_measured_again(void **state) {
    (void)state;
    const char *folder = new_folder();
    (void)choose(folder);
    int64_t now = (int64_t)time(NULL), month = 31 * 24 * 3600;
    const int64_t times[] = {now - month, now + 3600};
    for (int i = 0; i < 2; i++) {
        json_t *root = load(folder);
        json_object_set_new(only_entry(root), "measured", json_integer(times[i]));
        store(folder, root);
        json_decref(root);
        assert_true(choose(folder).fresh);
        assert_false(choose(folder).fresh);
    }
    json_t *root = load(folder), *rates = json_object_get(only_entry(root), "rates");
    json_object_del(rates, "threads buffered");
    store(folder, root);
    json_decref(root);
    assert_true(choose(folder).fresh);
}

static void a_damaged_file_is_said_once_and_replaced(void **state) {
    (void)state;
    const char *folder = new_folder();
    Err err = {0};
    assert_int_equal(os_make_folder(folder, &err), ERR_OK);
    static const char *const damages[] = {"", "{", "[1,2]", "{\"version\":1,\"disks\":7}", "\xff\xfe", "{\"version\":2,\"disks\":{}}"};
    int times = 0;
    for (size_t i = 0; i < COUNT_OF(damages); i++) {
        char path[300], said[4096];
        snprintf(path, sizeof path, "%s/disks.json", folder);
        assert_int_equal(os_write_file(path, damages[i], strlen(damages[i]), &err), ERR_OK);
        assert_true(choose_listening(folder, said).fresh);
        times += strstr(said, "damaged") != NULL;
        json_t *root = load(folder);
        assert_non_null(root);
        json_t *rates = json_object_get(only_entry(root), "rates");
        json_object_set_new(rates, "threads buffered", json_integer(-5));
        store(folder, root);
        json_decref(root);
        if (i == 0) assert_true(choose(folder).fresh); /* a rate that cannot be */
        else assert_true(choose(NULL).fresh);
    }
    assert_int_equal(times, 1);
}

static void without_a_place_to_remember_it_is_measured_all_the_same(void **state) {
    (void)state;
    char blocked[300];
    snprintf(blocked, sizeof blocked, "%s/sluice", sparse_file()); /* below a file, no folder can be made */
    DiskChoice c = choose(blocked);
    assert_true(c.fresh);
    c = choose(blocked);
    assert_true(c.fresh);
    assert_true(choose(NULL).fresh);
}

/* A file that cannot be measured must still be read somehow. */
static void a_file_too_small_to_measure_gets_threads(void **state) {
    (void)state;
    char path[256];
    snprintf(path, sizeof path, "%s/small", temp_dir());
    Err err = {0};
    assert_int_equal(os_write_file(path, "1234", 4, &err), ERR_OK);
    DiskChoose how = wish(NULL);
    how.path = path;
    DiskChoice c;
    disk_choose(&how, &c);
    assert_int_equal(c.backend, DISK_THREADS);
    assert_int_equal(c.direct, DISK_DIRECT_AUTO);
    assert_non_null(strstr(c.why, "not measured"));
    assert_non_null(strstr(c.why, path));
    assert_false(c.fresh);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_wishes),
        cmocka_unit_test(what_is_asked_for_is_not_measured),
        cmocka_unit_test(little_is_not_measured),
        cmocka_unit_test(a_measurement_is_remembered),
        cmocka_unit_test(the_fastest_wins_and_what_is_as_fast_goes_by_preference),
        cmocka_unit_test(what_is_old_or_incomplete_is_measured_again),
        cmocka_unit_test(a_damaged_file_is_said_once_and_replaced),
        cmocka_unit_test(without_a_place_to_remember_it_is_measured_all_the_same),
        cmocka_unit_test(a_file_too_small_to_measure_gets_threads),
    };
    return RUN_TESTS(tests);
}
