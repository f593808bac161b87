#define _GNU_SOURCE
#include "support/support.h"

#include "os/os.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void files_are_read_whole_or_refused(void **state) {
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/file", temp_dir());
    Err err = {0};
    assert_int_equal(os_write_file(path, "0123456789", 10, &err), ERR_OK);
    OsFile f;
    assert_int_equal(os_open(&f, path, false, &err), ERR_OK);
    assert_int_equal(f.size, 10);
    char got[8] = {0};
    assert_int_equal(os_pread(&f, path, got, 4, 3, &err), ERR_OK);
    assert_memory_equal(got, "3456", 4);
    assert_int_equal(os_pread(&f, path, got, 4, 8, &err), ERR_IO);
    assert_non_null(strstr(err.text, "ends at offset 10"));
    os_close(&f);
    assert_int_equal(os_open(&f, temp_dir(), false, &err), ERR_IO);
    assert_int_equal(os_open(&f, "/nonexistent/x", false, &err), ERR_IO);
    assert_non_null(strstr(err.text, "/nonexistent/x"));
}

/* The temporary name of a file being written must not be somebody's file or link already. */
static void writing_touches_nothing_else(void **state) {
    (void)state;
    char path[128], tmp[192], victim[128];
    Err err = {0};
    snprintf(path, sizeof path, "%s/out", temp_dir());
    snprintf(victim, sizeof victim, "%s/victim", temp_dir());
    assert_int_equal(os_write_file(victim, "keep", 4, &err), ERR_OK);
    snprintf(tmp, sizeof tmp, "%s.%ld-0.tmp", path, (long)getpid());
    assert_int_equal(symlink(victim, tmp), 0);
    assert_int_equal(os_write_file(path, "new", 3, &err), ERR_OK);
    Buf got = {0};
    assert_int_equal(os_read_file(victim, 100, &got, &err), ERR_OK);
    assert_string_equal(got.ptr, "keep");
    assert_int_equal(os_read_file(path, 100, &got, &err), ERR_OK);
    assert_string_equal(got.ptr, "new");
    buf_free(&got);
}

/* A FIFO that nobody writes to is refused, not waited for. */
static void a_fifo_does_not_hang(void **state) {
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/fifo", temp_dir());
    assert_int_equal(mkfifo(path, 0600), 0);
    OsFile f;
    Err err = {0};
    assert_int_equal(os_open(&f, path, false, &err), ERR_IO);
    assert_non_null(strstr(err.text, "not a regular file"));
}

typedef struct Count {
    _Atomic int seen[1000];
    int threads;
} Count;

static void count_task(void *arg, int task, int worker) {
    Count *c = arg;
    assert_true(worker >= 0 && worker < c->threads);
    atomic_fetch_add(&c->seen[task], 1);
}

static void pool_runs_each_task_once(void **state) {
    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        OsPool *p = os_pool_new(threads, NULL);
        assert_non_null(p);
        static Count c;
        memset(&c, 0, sizeof c);
        c.threads = threads;
        for (int round = 0; round < 300; round++) os_pool_run(p, 1 + round % 97, count_task, &c);
        int total = 0;
        for (int i = 0; i < 1000; i++) total += c.seen[i];
        int want = 0;
        for (int round = 0; round < 300; round++) want += 1 + round % 97;
        assert_int_equal(total, want);
        assert_int_equal(c.seen[0], 300);
        os_pool_free(p);
    }
}

/* Runs with pauses between them, so that workers fall asleep, and with a task that the owner must sleep for. */
static void slow_task(void *arg, int task, int worker) {
    (void)worker;
    if (task % 3 == 0) usleep(400);
    atomic_fetch_add((_Atomic int *)arg, task);
}

/* It said "No such file or directory" where the kernel had said something else. */
static void a_folder_that_cannot_be_made_tells_the_cause(void **state) {
    (void)state;
    Err err = {0};
    char path[300];
    snprintf(path, sizeof path, "%s/a/b/c", temp_dir());
    assert_int_equal(os_make_folder(path, &err), ERR_OK);
    assert_int_equal(os_make_folder(path, &err), ERR_OK);
    if (!os_is_dir("/sys")) skip();
    assert_int_equal(os_make_folder("/sys/sluice/state", &err), ERR_IO);
    assert_non_null(strstr(err.text, "/sys/sluice: "));
    assert_null(strstr(err.text, "No such file"));
}

static void who_sleeps_in_the_pool_is_woken(void **state) {
    (void)state;
    OsPool *p = os_pool_new(4, NULL);
    assert_non_null(p);
    for (int round = 0; round < 60; round++) {
        _Atomic int sum = 0;
        os_pool_run(p, 7, slow_task, (void *)&sum);
        assert_int_equal(sum, 21);
        if (round % 2) usleep(300);
    }
    usleep(2000);
    os_pool_free(p); /* while all of them sleep */
}

static void max_worker_task(void *arg, int task, int worker) {
    (void)task;
    _Atomic int *most = arg;
    int before = atomic_load(most);
    while (worker > before && !atomic_compare_exchange_weak(most, &before, worker)) continue;
    usleep(50);
}

static void a_pool_can_be_made_smaller_and_bound(void **state) {
    (void)state;
    OsPool *p = os_pool_new(4, NULL);
    assert_non_null(p);
    for (int round = 0; round < 12; round++) {
        int limit = 1 + round % 4;
        os_pool_limit(p, limit);
        os_pool_pin(p, round % 2 ? (const int[]){0, 0, 0, 0} : NULL, 4);
        assert_int_equal(os_pool_threads(p), limit);
        _Atomic int most = 0;
        os_pool_run(p, 40, max_worker_task, (void *)&most);
        assert_true(limit == 1 ? most == 0 : most < 4); /* who was about to begin may do one more */
    }
    os_pool_limit(p, 0);
    assert_int_equal(os_pool_threads(p), 4);
    os_pool_limit(p, 2);
    os_pool_free(p); /* while two rest */
}

static void memory_is_known(void **state) {
    (void)state;
    OsMemory m;
    os_memory(&m);
    assert_true(m.total > (1 << 20) && m.available <= m.total && m.budget > 0);
    assert_true(os_rss_now() > 0 && os_rss_peak() >= os_rss_now() / 2);
    Err err = {0};
    char *p = os_pages_new(3 << 20, &err);
    assert_non_null(p);
    assert_int_equal(p[12345], 0);
    os_pages_free(p, 3 << 20);
    assert_null(os_pages_new(UINT64_MAX / 4, &err));
    assert_int_equal(err.code, ERR_MEMORY);
}

static bool add_entry(void *user, const OsEntry *e) {
    char *seen = user;
    snprintf(seen + strlen(seen), 200 - strlen(seen), "%s:%d:%d ", e->name, e->folder, e->folder ? 0 : (int)e->bytes);
    return true;
}

static bool first_entry(void *user, const OsEntry *e) {
    (void)e;
    ++*(int *)user;
    return false;
}

static void a_folder_tells_what_it_holds(void **state) {
    (void)state;
    char folder[128], path[160], seen[200] = "";
    Err err = {0};
    snprintf(folder, sizeof folder, "%s/listed/inner", temp_dir());
    assert_int_equal(os_make_folder(folder, &err), ERR_OK);
    snprintf(folder, sizeof folder, "%s/listed", temp_dir());
    snprintf(path, sizeof path, "%s/file", folder);
    assert_int_equal(os_write_file(path, "12345", 5, &err), ERR_OK);
    assert_int_equal(os_list(folder, add_entry, seen, &err), ERR_OK);
    assert_true(strcmp(seen, "file:0:5 inner:1:0 ") == 0 || strcmp(seen, "inner:1:0 file:0:5 ") == 0);
    int called = 0;
    assert_int_equal(os_list(folder, first_entry, &called, &err), ERR_OK);
    assert_int_equal(called, 1);
    os_remove(path);
    os_remove(path); /* it is not there: no mistake */
    assert_false(os_exists(path));
    assert_int_equal(os_list(path, add_entry, seen, &err), ERR_IO);
    assert_non_null(strstr(err.text, path));
}

int main(void) {
    const struct CMUnitTest os[] = {
        cmocka_unit_test(files_are_read_whole_or_refused),
        cmocka_unit_test(writing_touches_nothing_else),
        cmocka_unit_test(a_fifo_does_not_hang),
        cmocka_unit_test(pool_runs_each_task_once),
        cmocka_unit_test(a_folder_that_cannot_be_made_tells_the_cause),
        cmocka_unit_test(a_folder_tells_what_it_holds),
        cmocka_unit_test(who_sleeps_in_the_pool_is_woken),
        cmocka_unit_test(a_pool_can_be_made_smaller_and_bound),
        cmocka_unit_test(memory_is_known),
    };
    return RUN_TESTS(os);
}
