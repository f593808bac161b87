/* Snapshots: in memory, shared with one another, and as files. A restored one goes on with the bits of a session that was fed everything;
 * a file that is not exactly what was written is never used. */
#define _GNU_SOURCE
#include "support/make_model.h"
#include "support/recording.h"
#include "support/support.h"

#include "os/os.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TOKENS = 530, PATHS = 8 }; /* two whole blocks of 256 positions, and some more */

static int32_t ids[TOKENS];

static const char *tales(void) { return source_path("data/tiny-tales.gguf"); }

static sluice_options options(const char *model) {
    sluice_options o = check_options(model);
    o.precise = false;
    o.ctx = 600;
    o.sessions = 2;
    o.ram_bytes = UINT64_C(1) << 30;
    return o;
}

static int make_ids(void **state) {
    (void)state;
    uint32_t x = 777;
    for (int i = 0; i < TOKENS; i++) {
        x = x * 1664525u + 1013904223u;
        ids[i] = (int32_t)((x >> 8) % MAKE_VOCAB);
    }
    return 0;
}

static const char *path_of(const char *name) {
    static char paths[PATHS][400];
    static int next;
    char *path = paths[next++ % PATHS];
    snprintf(path, sizeof paths[0], "%s/%s", temp_dir(), name);
    return path;
}

static void feed(sluice_session *s, size_t from, size_t to) {
    sluice_error err = {0};
    if (sluice_feed(s, ids + from, to - from, &err)) fail_msg("%s", err.message);
}

static sluice_session *session(sluice_model *m) {
    sluice_error err = {0};
    sluice_session *s = sluice_session_new(m, &err);
    if (!s) fail_msg("%s", err.message);
    return s;
}

static sluice_snapshot *take(const sluice_session *s, const sluice_snapshot *base) {
    sluice_error err = {0};
    sluice_snapshot *snap = sluice_snapshot_take_on(s, base, &err);
    if (!snap) fail_msg("%s", err.message);
    return snap;
}

/* After `to` tokens the session has these logits; the array is the caller's. */
static float *logits_after(sluice_model *m, size_t to) {
    sluice_info info;
    sluice_get_info(m, &info);
    sluice_session *s = session(m);
    feed(s, 0, to);
    float *copy = malloc((size_t)info.vocab * sizeof *copy);
    memcpy(copy, sluice_logits(s), (size_t)info.vocab * sizeof *copy);
    sluice_session_free(s);
    return copy;
}

static void expect_logits(const sluice_session *s, const sluice_model *m, const float *truth) {
    sluice_info info;
    sluice_get_info(m, &info);
    assert_memory_equal(sluice_logits(s), truth, (size_t)info.vocab * sizeof *truth);
}

/* Restores into a session that has seen something else, and feeds what is left of the ids. */
static void expect_goes_on(sluice_model *m, const sluice_snapshot *snap, const float *truth) {
    sluice_session *s = session(m);
    sluice_error err = {0};
    size_t n;
    feed(s, 100, 130);
    if (sluice_snapshot_restore(s, snap, &err)) fail_msg("%s", err.message);
    const int32_t *fed = sluice_ids(s, &n);
    assert_memory_equal(fed, ids, n * sizeof *ids);
    (void)sluice_snapshot_ids(snap, &n);
    assert_int_equal(sluice_position(s), n);
    if (n < TOKENS) feed(s, n, TOKENS);
    expect_logits(s, m, truth);
    sluice_session_free(s);
}

/* ---- files ---- */

static void save_at(sluice_model *m, size_t position, const char *name) {
    sluice_session *s = session(m);
    sluice_error err = {0};
    feed(s, 0, position);
    sluice_snapshot *snap = take(s, NULL);
    if (sluice_snapshot_save(m, snap, path_of(name), &err)) fail_msg("%s", err.message);
    sluice_snapshot_free(snap);
    sluice_session_free(s);
}

static void a_file_goes_on_after_a_restart_with_the_same_bits(void **state) {
    static const size_t at[] = {255, 256, 257, TOKENS};
    sluice_options o = options(*state);
    char name[40];
    sluice_model *m = open_or_fail(&o);
    for (size_t i = 0; i < COUNT_OF(at); i++) {
        snprintf(name, sizeof name, "at-%zu", at[i]);
        save_at(m, at[i], name);
    }
    uint64_t hash = sluice_model_hash(m);
    float *truth = logits_after(m, TOKENS);
    sluice_close(m);
    /* nothing of this changes a bit, so a snapshot is good for all of it */
    o.ctx = 900;
    o.threads = 1;
    o.chunk = 50;
    o.cache_slots = 9;
    m = open_or_fail(&o);
    assert_true(sluice_model_hash(m) == hash);
    for (size_t i = 0; i < COUNT_OF(at); i++) {
        sluice_error err = {0};
        snprintf(name, sizeof name, "at-%zu", at[i]);
        sluice_snapshot *snap = sluice_snapshot_load(m, path_of(name), &err);
        if (!snap) fail_msg("%s", err.message);
        if (i + 2 >= COUNT_OF(at) || !under_sanitizer()) expect_goes_on(m, snap, truth);
        sluice_snapshot_free(snap);
    }
    assert_int_equal(sluice_snapshots(m).used, 0);
    free(truth);
    sluice_close(m);
}

/* The size follows the tokens, not the context. */
static void a_file_grows_with_the_tokens(void **state) {
    sluice_options o = options(*state);
    struct stat small, same, large;
    o.ctx = 4096;
    sluice_model *m = open_or_fail(&o);
    save_at(m, 10, "small");
    save_at(m, 513, "large");
    assert_int_equal(stat(path_of("small"), &small), 0);
    assert_int_equal(stat(path_of("large"), &large), 0);
    sluice_close(m);
    o.ctx = 256;
    m = open_or_fail(&o);
    save_at(m, 10, "same");
    assert_int_equal(stat(path_of("same"), &same), 0);
    assert_int_equal(small.st_size, same.st_size);
    sluice_snapshot_file file;
    sluice_error err = {0};
    assert_int_equal(sluice_snapshot_peek(m, path_of("small"), &file, &err), SLUICE_OK);
    assert_int_equal(file.n, 10);
    assert_memory_equal(file.ids, ids, 10 * sizeof *ids);
    assert_int_equal(file.bytes, small.st_size);
    sluice_free(file.ids);
    assert_null(sluice_snapshot_load(m, path_of("large"), &err)); /* 513 tokens do not go into a context of 256 */
    assert_int_equal(err.code, SLUICE_RANGE);
    assert_non_null(strstr(err.message, "--ctx"));
    assert_true(large.st_size > small.st_size + (small.st_size - same.st_size));
    sluice_close(m);
}

static Buf bytes_of(const char *path) {
    Buf b = {0};
    Err err = {0};
    if (os_read_file(path, UINT64_C(1) << 30, &b, &err)) fail_msg("%s", err.text);
    return b;
}

static void expect_refused(const sluice_model *m, const void *bytes, size_t n, const char *what) {
    Err failed = {0};
    sluice_error err = {0};
    const char *path = path_of("broken");
    if (os_write_file(path, bytes, n, &failed)) fail_msg("%s", failed.text);
    sluice_snapshot *snap = sluice_snapshot_load(m, path, &err);
    if (snap) fail_msg("a snapshot with %s was loaded", what);
    assert_true(err.code == SLUICE_FORMAT || err.code == SLUICE_UNSUPPORTED);
    assert_non_null(strstr(err.message, path));
}

static void a_damaged_file_is_refused(void **state) {
    sluice_options o = options(*state);
    char what[80];
    sluice_model *m = open_or_fail(&o);
    save_at(m, 300, "whole");
    Buf b = bytes_of(path_of("whole"));
    for (size_t i = 0; i < b.len; i += i < 1500 ? 7 : b.len / 60) { /* every part of it */
        b.ptr[i] ^= 0x10;
        snprintf(what, sizeof what, "byte %zu changed", i);
        bool padding = i >= b.len; /* there is none after 300 ids and an even vocabulary */
        if (!padding) expect_refused(m, b.ptr, b.len, what);
        b.ptr[i] ^= 0x10;
    }
    for (size_t n = 0; n < b.len; n += b.len / 20 + 1) {
        snprintf(what, sizeof what, "only %zu bytes", n);
        expect_refused(m, b.ptr, n, what);
    }
    assert_int_equal(sluice_snapshots(m).used, 0);
    sluice_error err = {0};
    sluice_snapshot *snap = sluice_snapshot_load(m, path_of("whole"), &err); /* the damage was the reason */
    assert_non_null(snap);
    sluice_snapshot_free(snap);
    buf_free(&b);
    sluice_close(m);
}

static void expect_foreign(const sluice_options *o, const char *name, const char *words) {
    sluice_error err = {0};
    sluice_model *m = open_or_fail(o);
    assert_null(sluice_snapshot_load(m, path_of(name), &err));
    if (!strstr(err.message, words)) fail_msg("not '%s': %s", words, err.message);
    sluice_snapshot_file file;
    assert_int_equal(sluice_snapshot_peek(m, path_of(name), &file, NULL), err.code);
    assert_null(file.ids);
    sluice_close(m);
}

static void a_foreign_file_is_refused(void **state) {
    (void)state;
    MakeModel made = {.arch = "qwen35moe", .seed = 3, .layers = 2}, tuned = made;
    tuned.seed = 4; /* the same headers, other weights */
    char model[300], other[300];
    snprintf(model, sizeof model, "%s", make_model(&made, "mine.gguf"));
    snprintf(other, sizeof other, "%s", make_model(&tuned, "tuned.gguf"));
    sluice_options o = options(model);
    sluice_model *m = open_or_fail(&o);
    save_at(m, 20, "mine");
    sluice_close(m);
    o.model = other;
    expect_foreign(&o, "mine", "another model");
    o.model = model;
    o.kv = "f16";
    expect_foreign(&o, "mine", "--kv");
    o.kv = NULL;
    o.experts = 2;
    expect_foreign(&o, "mine", "--experts");
    o.experts = 0;
    o.precise = true;
    expect_foreign(&o, "mine", "--precise");
    o.precise = false;
    Buf b = bytes_of(path_of("mine"));
    b.ptr[16] ^= 2; /* the version */
    Err err = {0};
    assert_int_equal(os_write_file(path_of("older"), b.ptr, b.len, &err), ERR_OK);
    expect_foreign(&o, "older", "version");
    buf_free(&b);
    expect_foreign(&o, "mine.gguf", "no snapshot");
}

/* ---- one on another ---- */

static void what_snapshots_share_takes_memory_once(void **state) {
    sluice_options o = options(*state);
    sluice_model *m = open_or_fail(&o);
    sluice_session *s = session(m);
    static const size_t at[] = {300, 511, 512, TOKENS};
    sluice_snapshot *snaps[COUNT_OF(at)], *alone[COUNT_OF(at)];
    float *truth = logits_after(m, TOKENS);
    uint64_t sum = 0;
    for (size_t i = 0; i < COUNT_OF(at); i++) {
        feed(s, i ? at[i - 1] : 0, at[i]);
        const sluice_snapshot *base = i ? snaps[i - 1] : NULL;
        uint64_t before = sluice_snapshots(m).used, need = sluice_snapshot_need(s, base);
        snaps[i] = take(s, base);
        assert_int_equal(sluice_snapshots(m).used - before, need);
        assert_int_equal(sluice_snapshot_bytes(snaps[i]), need);
        alone[i] = take(s, NULL);
        assert_true(i < 1 ? need == sluice_snapshot_bytes(alone[i]) : need < sluice_snapshot_bytes(alone[i]));
        sluice_snapshot_free(alone[i]);
        sum += need;
    }
    assert_int_equal(sluice_snapshots(m).used, sum);
    sluice_session_free(s);
    for (size_t i = 0; i + 1 < COUNT_OF(at); i++) { /* the oldest goes first: the others keep what they need */
        sluice_snapshot_free(snaps[i]);
        if (!under_sanitizer() || i + 2 == COUNT_OF(at)) expect_goes_on(m, snaps[i + 1], truth);
    }
    sluice_snapshot_free(snaps[COUNT_OF(at) - 1]);
    assert_int_equal(sluice_snapshots(m).used, 0);
    free(truth);
    sluice_close(m);
}

/* Another beginning is no base: nothing is shared, and nothing is wrong. */
static void only_the_same_beginning_is_shared(void **state) {
    sluice_options o = options(*state);
    sluice_model *m = open_or_fail(&o);
    sluice_session *a = session(m), *b = session(m);
    feed(a, 0, 300);
    feed(b, 1, 400);
    sluice_snapshot *base = take(a, NULL), *on = take(b, base), *alone = take(b, NULL), *back = take(a, alone);
    assert_int_equal(sluice_snapshot_bytes(on), sluice_snapshot_bytes(alone));
    assert_int_equal(sluice_snapshot_bytes(back), sluice_snapshot_bytes(base));
    sluice_snapshot_free(base);
    sluice_snapshot_free(on);
    sluice_snapshot_free(alone);
    sluice_snapshot_free(back);
    sluice_session_free(a);
    sluice_session_free(b);
    sluice_close(m);
}

static void save_on(sluice_model *m, const sluice_snapshot *snap, const char *name, const char *base) {
    sluice_error err = {0};
    sluice_saving *w = sluice_saving_new(m, snap, path_of(name), base ? path_of(base) : NULL, &err);
    if (!w) fail_msg("%s", err.message);
    for (bool done = false; !done;)
        if (sluice_saving_some(w, 10000, &done, &err)) fail_msg("%s", err.message);
    sluice_saving_free(w);
}

static void a_file_on_another_holds_what_is_new(void **state) {
    sluice_options o = options(*state);
    sluice_model *m = open_or_fail(&o);
    sluice_session *s = session(m);
    sluice_error err = {0};
    float *truth = logits_after(m, TOKENS);
    static const size_t at[] = {300, 520, TOKENS};
    static const char *const names[] = {"first", "second", "third"};
    sluice_snapshot *snaps[COUNT_OF(at)];
    for (size_t i = 0; i < COUNT_OF(at); i++) {
        feed(s, i ? at[i - 1] : 0, at[i]);
        snaps[i] = take(s, i ? snaps[i - 1] : NULL);
        save_on(m, snaps[i], names[i], i ? names[i - 1] : NULL);
    }
    save_on(m, snaps[2], "alone", NULL);
    struct stat small, large;
    assert_int_equal(stat(path_of("third"), &small), 0);
    assert_int_equal(stat(path_of("alone"), &large), 0);
    assert_true(small.st_size < large.st_size);
    sluice_snapshot_file file;
    assert_int_equal(sluice_snapshot_peek(m, path_of("third"), &file, &err), SLUICE_OK);
    assert_string_equal(file.base, "second");
    sluice_free(file.ids);
    sluice_snapshot *other = take(s, NULL);
    assert_null(sluice_saving_new(m, snaps[0], path_of("wrong"), path_of("second"), &err)); /* no continuation of it */
    for (size_t i = 0; i < COUNT_OF(at); i++) sluice_snapshot_free(snaps[i]);
    sluice_snapshot_free(other);
    sluice_session_free(s);
    sluice_close(m);

    m = open_or_fail(&o);
    sluice_snapshot *snap = sluice_snapshot_load(m, path_of("third"), &err);
    if (!snap) fail_msg("%s", err.message);
    assert_int_equal(sluice_snapshot_bytes(snap), file.memory);
    expect_goes_on(m, snap, truth);
    sluice_snapshot_free(snap);
    /* the one in the middle is another one now, damaged, or gone */
    Buf b = bytes_of(path_of("second"));
    save_at(m, 520, "second");
    snap = sluice_snapshot_load(m, path_of("third"), &err);
    assert_true(snap == NULL && strstr(err.message, "stands on"));
    b.ptr[b.len - 5] ^= 1;
    Err failed = {0};
    assert_int_equal(os_write_file(path_of("second"), b.ptr, b.len, &failed), ERR_OK);
    assert_null(sluice_snapshot_load(m, path_of("third"), &err));
    assert_non_null(strstr(err.message, "damaged"));
    assert_int_equal(unlink(path_of("second")), 0);
    assert_null(sluice_snapshot_load(m, path_of("third"), &err));
    assert_non_null(strstr(err.message, path_of("second")));
    assert_int_equal(sluice_snapshots(m).used, 0);
    buf_free(&b);
    free(truth);
    sluice_close(m);
}

/* ---- room ---- */

static void the_plan_keeps_room_for_snapshots(void **state) {
    if (under_sanitizer()) printf("SKIP: a sanitizer's memory is not ours to plan\n"), skip();
    sluice_options o = options(*state);
    sluice_error err = {0};
    sluice_model *m = open_or_fail(&o);
    sluice_session *s = session(m);
    feed(s, 0, 100);
    uint64_t one = sluice_snapshot_need(s, NULL);
    sluice_session_free(s);
    sluice_close(m);
    o.snapshot_bytes = 20 * one + one / 2;
    o.ram_bytes = 1;
    assert_null(sluice_open(&o, &err)); /* the smallest budget that will do: nothing is left over there */
    const char *least = strstr(err.message, "--ram ");
    assert_non_null(least);
    o.ram_bytes = strtoull(least + 6, NULL, 10) << 20;
    m = open_or_fail(&o);
    sluice_info info;
    sluice_get_info(m, &info);
    assert_int_equal(info.plan.snapshot_bytes, o.snapshot_bytes);
    assert_int_equal(sluice_snapshots(m).limit, info.plan.snapshot_bytes + info.plan.free_bytes);
    s = session(m);
    feed(s, 0, 100);
    sluice_snapshot *snaps[100];
    size_t n = 0;
    while (n < COUNT_OF(snaps) && (snaps[n] = sluice_snapshot_take(s, &err))) n++;
    assert_true(n >= 20 && n < COUNT_OF(snaps));
    assert_int_equal(err.code, SLUICE_MEMORY);
    assert_true(sluice_snapshots(m).used + one > sluice_snapshots(m).limit);
    while (n) sluice_snapshot_free(snaps[--n]);
    sluice_session_free(s);
    sluice_close(m);
}

static uint64_t planned(const sluice_options *o) {
    sluice_info info;
    sluice_model *m = open_or_fail(o);
    sluice_get_info(m, &info);
    sluice_close(m);
    return info.plan.snapshot_bytes;
}

/* Left to the engine it is what a few conversations take, less where memory is little, and nothing where it would be too much. */
static void the_plan_may_choose_the_room(void **state) {
    if (under_sanitizer()) printf("SKIP: a sanitizer's memory is not ours to plan\n"), skip();
    sluice_options o = options(*state);
    sluice_error err = {0};
    o.snapshot_bytes = SLUICE_SNAPSHOTS_AUTO;
    uint64_t plenty = planned(&o);
    assert_true(plenty > 0 && plenty < o.ram_bytes / 16);
    o.ctx = 300;
    assert_true(planned(&o) < plenty);
    o.ram_bytes = UINT64_C(1) << 30;
    o.ctx = 200000;
    assert_true(planned(&o) == o.ram_bytes / 16);
    o.snapshot_bytes = 0;
    o.ram_bytes = 1;
    assert_null(sluice_open(&o, &err));
    o.ram_bytes = strtoull(strstr(err.message, "--ram ") + 6, NULL, 10) << 20;
    o.snapshot_bytes = SLUICE_SNAPSHOTS_AUTO;
    assert_int_equal(planned(&o), 0);
}

/* ---- writing that ends early ---- */

static int files_in_folder(void) {
    char command[500];
    snprintf(command, sizeof command, "ls '%s' | grep -c tmp", temp_dir());
    FILE *f = popen(command, "r");
    int n = -1;
    assert_int_equal(fscanf(f, "%d", &n), 1);
    pclose(f);
    return n;
}

static void what_is_not_whole_leaves_nothing(void **state) {
    sluice_options o = options(*state);
    sluice_model *m = open_or_fail(&o);
    sluice_session *s = session(m);
    sluice_error err = {0};
    feed(s, 0, 300);
    sluice_snapshot *snap = take(s, NULL);
    sluice_saving *w = sluice_saving_new(m, snap, path_of("half"), NULL, &err);
    bool done;
    assert_int_equal(sluice_saving_some(w, 5000, &done, &err), SLUICE_OK);
    assert_false(done);
    assert_int_equal(files_in_folder(), 1);
    sluice_saving_free(w);
    assert_int_equal(files_in_folder(), 0);
    assert_false(os_exists(path_of("half")));
    assert_int_equal(sluice_snapshot_save(m, snap, path_of("no/such/folder"), &err), SLUICE_IO);
    fflush(NULL);
    pid_t pid = fork(); /* as on a full disk */
    if (pid == 0) {
        struct rlimit limit = {20000, 20000};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        _exit(sluice_snapshot_save(m, snap, path_of("full"), &err) == SLUICE_IO && strstr(err.message, "full") ? 0 : 1);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    assert_int_equal(files_in_folder(), 0);
    assert_false(os_exists(path_of("full")));
    sluice_snapshot_free(snap);
    sluice_session_free(s);
    sluice_close(m);
}

/* ---- with a draft layer ---- */

static void draft_layers_come_and_go(void **state) {
    (void)state;
    MakeModel made = {.arch = "qwen35moe", .seed = 6, .layers = 2, .draft = true};
    char model[300];
    snprintf(model, sizeof model, "%s", make_model(&made, "draft.gguf"));
    sluice_options o = options(model);
    static const char *const how[] = {"on", "off"};
    for (int i = 0; i < 2; i++) {
        o.mtp = how[i];
        sluice_model *m = open_or_fail(&o);
        sluice_session *s = session(m);
        feed(s, 0, 290);
        for (size_t t = 290; t < 300; t++) feed(s, t, t + 1);
        sluice_snapshot *snap = take(s, NULL);
        assert_int_equal(sluice_snapshot_save(m, snap, path_of(how[i]), NULL), SLUICE_OK);
        sluice_snapshot_free(snap);
        sluice_session_free(s);
        sluice_close(m);
    }
    for (int i = 0; i < 4; i++) {
        o.mtp = how[i % 2];
        sluice_model *m = open_or_fail(&o);
        float *truth = logits_after(m, TOKENS), *next = logits_after(m, 310);
        sluice_error err = {0};
        sluice_snapshot *snap = sluice_snapshot_load(m, path_of(how[i / 2]), &err);
        if (!snap) fail_msg("%s", err.message);
        expect_goes_on(m, snap, truth);
        sluice_session *s = session(m);
        assert_int_equal(sluice_snapshot_restore(s, snap, &err), SLUICE_OK);
        for (size_t t = 300; t < 310; t++) feed(s, t, t + 1); /* one at a time, with guesses */
        expect_logits(s, m, next);
        sluice_session_free(s);
        sluice_snapshot_free(snap);
        free(truth);
        free(next);
        sluice_close(m);
    }
}

int main(void) {
    char story[500];
    snprintf(story, sizeof story, "%s", tales());
    MakeModel full = {.arch = "qwen3moe", .seed = 5}, both = {.arch = "qwen35moe", .seed = 8}; /* without recurrent state, with it */
    char attention[500], mixed[500];
    snprintf(mixed, sizeof mixed, "%s", make_model(&both, "mixed.gguf"));
    snprintf(attention, sizeof attention, "%s", make_model(&full, "attention.gguf"));
const struct CMUnitTest snapshots[] = {
        cmocka_unit_test_prestate(a_file_goes_on_after_a_restart_with_the_same_bits, story),
        cmocka_unit_test_prestate(a_file_goes_on_after_a_restart_with_the_same_bits, attention),
        cmocka_unit_test_prestate(a_file_grows_with_the_tokens, mixed),
        cmocka_unit_test_prestate(a_damaged_file_is_refused, attention),
        cmocka_unit_test(a_foreign_file_is_refused),
        cmocka_unit_test_prestate(what_snapshots_share_takes_memory_once, mixed),
        cmocka_unit_test_prestate(only_the_same_beginning_is_shared, attention),
        cmocka_unit_test_prestate(a_file_on_another_holds_what_is_new, mixed),
        cmocka_unit_test_prestate(the_plan_keeps_room_for_snapshots, story),
        cmocka_unit_test_prestate(the_plan_may_choose_the_room, story),
        cmocka_unit_test_prestate(what_is_not_whole_leaves_nothing, attention),
        cmocka_unit_test(draft_layers_come_and_go),
    };
    make_ids(NULL);
    return RUN_TESTS(snapshots);
}
