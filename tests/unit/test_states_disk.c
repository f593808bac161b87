/* The state cache on disk: a restart keeps it, damage is noticed, a full disk is survived; and the sessions of a chat. */
#define _GNU_SOURCE
#include "support/make_model.h"
#include "support/recording.h"
#include "support/support.h"

#include "states/states.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CTX = 700, LONGEST = 640 };

static int32_t text[LONGEST];

static void make_text(void) {
    uint32_t x = 815;
    for (int i = 0; i < LONGEST; i++) {
        x = x * 1664525u + 1013904223u;
        text[i] = (int32_t)((x >> 8) % MAKE_VOCAB);
    }
}

/* Everything that a test has open; `folder` is new for each test. */
typedef struct Rig {
    char folder[300];
    sluice_model *m;
    sluice_session *session;
    States *s;
    const char *kv;
    uint64_t disk_bytes;
    uint64_t seed;
} Rig;

static void open_rig(Rig *r) {
    static char paths[2][300];
    MakeModel made = {.arch = "qwen35moe", .seed = r->seed ? r->seed : 9, .layers = 2, .experts = 4, .top_k = 2};
    char *path = paths[r->seed != 0];
    if (!path[0]) snprintf(path, sizeof paths[0], "%s", make_model(&made, r->seed ? "other.gguf" : "mine.gguf"));
    sluice_options o = check_options(path);
    o.ctx = CTX;
    o.sessions = 2;
    o.threads = 1;
    o.kv = r->kv;
    o.ram_bytes = UINT64_C(2) << 30;
    r->m = open_or_fail(&o);
    r->session = sluice_session_new(r->m, NULL);
    Err err = {0};
    r->s = states_new(&(StatesConfig){.model = r->m, .folder = r->folder, .disk_bytes = r->disk_bytes}, &err);
    if (!r->s) fail_msg("%s", err.text);
}

static void close_rig(Rig *r) {
    states_free(r->s);
    assert_int_equal(sluice_snapshots(r->m).used, 0);
    sluice_session_free(r->session);
    sluice_close(r->m);
}

static Rig new_rig(void) {
    static int n;
    Rig r = {.seed = 0};
    snprintf(r.folder, sizeof r.folder, "%s/state-%d", temp_dir(), n++);
    open_rig(&r);
    return r;
}

static void restart(Rig *r) {
    close_rig(r);
    open_rig(r);
}

static void feed(sluice_session *session, const int32_t *ids, size_t n) {
    sluice_error err;
    if (n && sluice_feed(session, ids, n, &err)) fail_msg("%s", err.message);
}

static void put(Rig *r, const int32_t *ids, size_t n, StatesKind kind) {
    size_t begun = states_restore(r->s, r->session, ids, n);
    feed(r->session, ids + begun, n - begun);
    assert_true(states_put(r->s, r->session, kind));
}

static void idle(Rig *r) {
    while (states_idle(r->s, 50000)) {}
}

static StatesStats stats_of(const Rig *r) {
    StatesStats stats;
    states_stats(r->s, &stats);
    return stats;
}

static void expect_right(Rig *r, const int32_t *ids, size_t n, size_t begun) {
    assert_int_equal(states_restore(r->s, r->session, ids, n), begun);
    feed(r->session, ids + begun, n - begun);
    sluice_session *fresh = sluice_session_new(r->m, NULL);
    feed(fresh, ids, n);
    assert_memory_equal(sluice_logits(r->session), sluice_logits(fresh), MAKE_VOCAB * sizeof(float));
    sluice_session_free(fresh);
}

/* ---- files of the folder ---- */

typedef struct Files {
    char names[200][300];
    size_t n;
    uint64_t bytes;
    const char *folder;
} Files;

static bool on_file(void *user, const OsEntry *e) {
    Files *f = user;
    if (e->folder || strcmp(e->name, "lock") == 0) return true;
    assert_true(f->n < 200);
    snprintf(f->names[f->n++], sizeof f->names[0], "%s/%s", f->folder, e->name);
    f->bytes += e->bytes;
    return true;
}

static char *model_folder(const Rig *r) {
    static char folder[400];
    snprintf(folder, sizeof folder, "%s/states/%016llx", r->folder, (unsigned long long)sluice_model_hash(r->m));
    return folder;
}

static const Files *files_of(const Rig *r) {
    static Files f;
    Err err = {0};
    memset(&f, 0, sizeof f);
    f.folder = model_folder(r);
    if (os_list(f.folder, on_file, &f, &err)) fail_msg("%s", err.text);
    return &f;
}

static void change_byte(const char *path, long at) { /* negative: from the end */
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, at < 0 ? SEEK_END : SEEK_SET), 0);
    int c = fgetc(f);
    assert_int_equal(fseek(f, -1, SEEK_CUR), 0);
    fputc(c ^ 0x40, f);
    fclose(f);
}

/* ---- a restart ---- */

static void a_restart_keeps_what_was_written(void **state) {
    (void)state;
    Rig r = new_rig();
    put(&r, text, 300, STATES_SYSTEM);
    put(&r, text, 400, STATES_TURN);
    put(&r, text, 500, STATES_CHUNK);
    idle(&r);
    assert_int_equal(stats_of(&r).on_disk, 2); /* chunks are not worth the wear */
    restart(&r);
    assert_int_equal(stats_of(&r).in_memory, 0);
    assert_int_equal(states_find(r.s, text, 350), 300);
    expect_right(&r, text, 600, 400);
    assert_int_equal(stats_of(&r).loads, 1);
    expect_right(&r, text, 390, 300);
    expect_right(&r, text, 400, 400); /* with its logits */
    assert_int_equal(stats_of(&r).loads, 2); /* it is in memory now */
    idle(&r);
    assert_int_equal(stats_of(&r).bytes_written, 0); /* and not written again */
    restart(&r);
    expect_right(&r, text, 640, 400);
    close_rig(&r);
}

/* Turn after turn only what is new is written, and what was superseded before its turn came is not written at all. */
static void a_turn_writes_what_is_new(void **state) {
    (void)state;
    Rig r = new_rig();
    put(&r, text, 520, STATES_TURN);
    idle(&r);
    uint64_t first = stats_of(&r).bytes_written, blocks = 2 * ((first - 520 * 4) / 5); /* keys and values are most of it here */
    put(&r, text, 540, STATES_TURN);
    idle(&r);
    uint64_t second = stats_of(&r).bytes_written - first;
    assert_true(second < first && first - second > blocks / 2);
    put(&r, text, 550, STATES_TURN);
    put(&r, text, 560, STATES_TURN);
    idle(&r);
    assert_int_equal(stats_of(&r).on_disk, 3);
    for (size_t n = 561; n < 600; n++) { /* a file stands on few others, and the first of a new row is whole again */
        put(&r, text, n, STATES_TURN);
        idle(&r);
    }
    restart(&r);
    assert_int_equal(states_find(r.s, text, 640), 599);
    expect_right(&r, text, 640, 599);
    close_rig(&r);
}

static void idle_writes_a_little_at_a_time(void **state) {
    (void)state;
    Rig r = new_rig();
    put(&r, text, 600, STATES_TURN);
    uint64_t before = 0;
    int calls = 0;
    while (states_idle(r.s, 20000)) {
        const Files *f = files_of(&r);
        assert_true(f->bytes <= before + 20000 + 300); /* and the head, once */
        before = f->bytes;
        calls++;
    }
    assert_true(calls > 5);
    assert_true(files_of(&r)->bytes == stats_of(&r).disk_bytes);
    /* what is not whole when the process ends is not there */
    put(&r, text + 10, 600, STATES_TURN);
    for (int i = 0; i < 3; i++) assert_true(states_idle(r.s, 20000));
    restart(&r);
    assert_int_equal(files_of(&r)->n, 1);
    assert_int_equal(states_find(r.s, text + 10, 620), 0);
    close_rig(&r);
}

/* ---- what can go wrong ---- */

static void damage_is_noticed_and_computed_again(void **state) {
    (void)state;
    Rig r = new_rig();
    put(&r, text, 100, STATES_SYSTEM);
    put(&r, text, 300, STATES_TURN);
    idle(&r);
    const Files *f = files_of(&r);
    assert_int_equal(f->n, 2);
    char system[300], turn[300];
    for (int i = 0; i < 2; i++) snprintf(strrchr(f->names[i], '/')[1] == 's' ? system : turn, sizeof system, "%s", f->names[i]);
    change_byte(turn, -100); /* in keys and values: nobody sees it before it is wanted */
    restart(&r);
    assert_int_equal(states_find(r.s, text, 400), 300);
    expect_right(&r, text, 400, 100);
    assert_int_equal(stats_of(&r).files_damaged, 1);
    assert_false(os_exists(turn));
    change_byte(system, 30); /* in the head: seen at once */
    restart(&r);
    assert_int_equal(states_find(r.s, text, 400), 0);
    assert_false(os_exists(system));
    expect_right(&r, text, 400, 0);
    put(&r, text, 300, STATES_TURN);
    idle(&r);
    f = files_of(&r);
    assert_int_equal(truncate(f->names[0], 5000), 0);
    restart(&r);
    assert_int_equal(files_of(&r)->n, 0);
    close_rig(&r);
}

static void files_that_vanish_are_computed_again(void **state) {
    (void)state;
    Rig r = new_rig();
    put(&r, text, 300, STATES_SYSTEM);
    put(&r, text, 600, STATES_TURN);
    idle(&r);
    restart(&r);
    const Files *f = files_of(&r);
    for (size_t i = 0; i < f->n; i++) /* the one that the other stands on */
        if (strrchr(f->names[i], '/')[1] == 's') assert_int_equal(unlink(f->names[i]), 0);
    expect_right(&r, text, 640, 0);
    assert_int_equal(stats_of(&r).on_disk, 0);
    close_rig(&r);
}

static void the_disk_limit_holds(void **state) {
    (void)state;
    Rig r = new_rig();
    put(&r, text, 300, STATES_TURN);
    idle(&r);
    uint64_t one = stats_of(&r).disk_bytes;
    r.disk_bytes = 4 * one + one / 2;
    restart(&r);
    int32_t ids[300];
    for (int i = 0; i < 12; i++) {
        memcpy(ids, text, sizeof ids);
        ids[0] = i;
        put(&r, ids, 300, STATES_TURN);
        idle(&r);
        assert_true(files_of(&r)->bytes <= r.disk_bytes);
        assert_int_equal(files_of(&r)->bytes, stats_of(&r).disk_bytes);
    }
    assert_int_equal(stats_of(&r).on_disk, 4);
    r.disk_bytes = 2 * one;
    restart(&r); /* with a lower one */
    assert_true(files_of(&r)->bytes <= r.disk_bytes && stats_of(&r).on_disk == 2);
    assert_int_equal(states_find(r.s, ids, 300), 300); /* the newest */
    close_rig(&r);
}

/* What others stand on is worth least by itself, and yet must not go before them. */
static void a_conversation_loses_its_newest_turn_first(void **state) {
    (void)state;
    Rig r = new_rig();
    put(&r, text, 300, STATES_TURN);
    idle(&r);
    put(&r, text, 600, STATES_TURN);
    idle(&r);
    assert_int_equal(stats_of(&r).on_disk, 2);
    r.disk_bytes = stats_of(&r).disk_bytes + 1000;
    restart(&r);
    put(&r, text + 5, 300, STATES_TURN); /* another conversation, for which there is no room */
    idle(&r);
    restart(&r);
    assert_int_equal(states_find(r.s, text + 5, 400), 300);
    expect_right(&r, text, 640, 300);
    close_rig(&r);
}

static void a_full_disk_leaves_the_memory(void **state) {
    (void)state;
    Rig r = new_rig();
    put(&r, text, 300, STATES_SYSTEM);
    put(&r, text, 400, STATES_TURN);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) { /* nothing is fed here: a child has no threads */
        struct rlimit limit = {30000, 30000};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        idle(&r);
        bool good = !stats_of(&r).writes && stats_of(&r).on_disk == 0 && states_restore(r.s, r.session, text, 450) == 400 &&
                    files_of(&r)->n == 0;
        _exit(good ? 0 : 1);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    close_rig(&r);
}

static void another_process_only_reads(void **state) {
    (void)state;
    Rig a = new_rig(), b = a;
    put(&a, text, 300, STATES_TURN);
    idle(&a);
    open_rig(&b);
    assert_true(stats_of(&a).writes);
    assert_false(stats_of(&b).writes);
    expect_right(&b, text, 400, 300);
    put(&b, text, 400, STATES_TURN);
    assert_false(states_idle(b.s, 1 << 20));
    assert_int_equal(files_of(&b)->n, 1);
    put(&a, text, 200, STATES_SYSTEM);
    for (int i = 0; i < 2; i++) (void)states_idle(a.s, 5000); /* in the middle of a file */
    restart(&b);                                              /* does not take it for rubbish */
    idle(&a);
    assert_int_equal(files_of(&a)->n, 2);
    close_rig(&a);
    restart(&b);
    assert_true(stats_of(&b).writes);
    expect_right(&b, text, 300, 300);
    close_rig(&b);
}

static void what_is_for_other_settings_stays_until_there_is_no_room(void **state) {
    (void)state;
    Rig r = new_rig();
    put(&r, text, 300, STATES_TURN);
    idle(&r);
    uint64_t one = stats_of(&r).disk_bytes;
    r.kv = "f16";
    restart(&r);
    assert_int_equal(states_find(r.s, text, 400), 0);
    assert_int_equal(stats_of(&r).disk_bytes, one);
    put(&r, text, 300, STATES_TURN); /* the same tokens: another name */
    idle(&r);
    assert_int_equal(files_of(&r)->n, 2);
    r.kv = NULL;
    restart(&r);
    assert_int_equal(states_find(r.s, text, 400), 300);
    r.kv = "f16";
    r.disk_bytes = one + one / 2;
    restart(&r);
    assert_int_equal(files_of(&r)->n, 1);
    assert_int_equal(states_find(r.s, text, 400), 300);
    char rubbish[500];
    snprintf(rubbish, sizeof rubbish, "%s/t-0.state.17-0.tmp", model_folder(&r));
    Err err = {0};
    assert_int_equal(os_write_file(rubbish, "x", 1, &err), ERR_OK);
    restart(&r);
    assert_false(os_exists(rubbish)); /* of a process that was killed */
    close_rig(&r);
}

/* Memory that runs out anywhere costs states, never bits, and nothing is lost. */
static void no_memory_on_the_way_to_disk_breaks_nothing(void **state) {
    (void)state;
    Rig r = new_rig();
    put(&r, text, 300, STATES_SYSTEM);
    put(&r, text, 320, STATES_TURN);
    idle(&r);
    close_rig(&r);
    open_rig(&r);
    states_free(r.s);
    uint64_t live = mem_live_count();
    LogLevel level = log_level();
    log_set_level(LOG_ERROR);
    for (uint64_t n = 1;; n++) {
        Err err = {0};
        mem_fail_after(n);
        r.s = states_new(&(StatesConfig){.model = r.m, .folder = r.folder}, &err);
        size_t begun = r.s ? states_restore(r.s, r.session, text, 330) : 0;
        bool kept = r.s && begun && states_put(r.s, r.session, STATES_TURN);
        for (int i = 0; i < 5 && r.s; i++) (void)states_idle(r.s, 1 << 20);
        mem_fail_after(0);
        assert_true(r.s || err.code == ERR_MEMORY);
        assert_true(begun == 0 || begun == 300 || begun == 320);
        states_free(r.s);
        assert_int_equal(mem_live_count(), live);
        assert_int_equal(sluice_snapshots(r.m).used, 0);
        if (begun == 320 && kept) break;
    }
    log_set_level(level);
    r.s = NULL;
    close_rig(&r);
    open_rig(&r);
    assert_int_equal(files_of(&r)->n, 2);
    expect_right(&r, text, 330, 320);
    close_rig(&r);
}

/* ---- against a naive model ---- */

static void random_conversations_survive_restarts(void **state) {
    (void)state;
    enum { KEPT = 300 };
    static int32_t ids[LONGEST];
    static struct { int32_t first; size_t n; } kept[KEPT];
    Rig r = new_rig();
    Xoshiro x;
    xoshiro_seed(&x, 31);
    size_t n_kept = 0;
    put(&r, text, 600, STATES_TURN);
    idle(&r);
    r.disk_bytes = 6 * stats_of(&r).disk_bytes;
    restart(&r);
    memcpy(ids, text, sizeof ids);
    for (int turn = 0; turn < (under_sanitizer() ? 40 : 120); turn++) {
        ids[0] = (int32_t)(xoshiro_next(&x) % 4); /* four conversations, told in pieces */
        size_t n = 100 + (size_t)(xoshiro_next(&x) % 500), found = states_find(r.s, ids, n);
        bool known = found == 0 || (found == 600 && ids[0] == text[0]);
        for (size_t i = 0; i < n_kept; i++) known = known || (kept[i].first == ids[0] && kept[i].n == found);
        assert_true(known);
        if (turn % 5 == 0) expect_right(&r, ids, n, found);
        put(&r, ids, n, (StatesKind)(1 + xoshiro_next(&x) % 2));
        kept[n_kept].first = ids[0];
        kept[n_kept++].n = n;
        if (turn % 2) idle(&r);
        else (void)states_idle(r.s, 10000);
        assert_true(stats_of(&r).disk_bytes <= r.disk_bytes);
        if (turn % 7 == 6) {
            restart(&r);
            if (turn % 2) assert_true(states_find(r.s, ids, n) <= n);
        }
    }
    assert_true(stats_of(&r).files_damaged == 0);
    close_rig(&r);
}

/* ---- sessions ---- */

static void a_session_goes_on_where_it_was(void **state) {
    (void)state;
    Rig r = new_rig();
    Err err = {0}, why = {0};
    Buf json = {0};
    size_t tokens;
    feed(r.session, text, 300);
    static const char *const said = "{\"messages\":[{\"role\":\"user\",\"content\":\"h\xc3\xa9\"}],\"temp\":0.5}";
    for (int i = 0; i < 2; i++) { /* the second takes the place of the first */
        if (i) feed(r.session, text + 300, 20);
        if (states_session_save(r.folder, "fox", said, r.m, r.session, &err)) fail_msg("%s", err.text);
    }
    assert_int_equal(states_session_save(r.folder, "owl", "[1]", r.m, NULL, &err), ERR_OK);
    restart(&r);
    StatesSession *list;
    size_t n;
    assert_int_equal(states_session_list(r.folder, &list, &n, &err), ERR_OK);
    assert_int_equal(n, 2);
    assert_string_equal(list[0].name, "owl");
    assert_string_equal(list[1].name, "fox");
    mem_free(list);
    if (states_session_load(r.folder, "fox", &json, r.m, r.session, &tokens, &why, &err)) fail_msg("%s", err.text);
    assert_string_equal(json.ptr, said);
    assert_int_equal(tokens, 320);
    sluice_session *fresh = sluice_session_new(r.m, NULL);
    feed(fresh, text, 350);
    feed(r.session, text + 320, 30);
    assert_memory_equal(sluice_logits(r.session), sluice_logits(fresh), MAKE_VOCAB * sizeof(float));
    sluice_session_free(fresh);
    assert_int_equal(states_session_load(r.folder, "owl", &json, r.m, r.session, &tokens, &why, &err), ERR_OK);
    assert_string_equal(json.ptr, "[1]");
    assert_int_equal(tokens, 0);
    assert_non_null(strstr(why.text, "without its state"));
    assert_int_equal(sluice_position(r.session), 0);
    buf_free(&json);
    close_rig(&r);
}

/* Its text is as good as ever with another model. */
static void a_session_outlives_its_model(void **state) {
    (void)state;
    Rig r = new_rig();
    Err err = {0}, why = {0};
    Buf json = {0};
    size_t tokens = 1;
    feed(r.session, text, 30);
    assert_int_equal(states_session_save(r.folder, "fox", "{\"a\":1}", r.m, r.session, &err), ERR_OK);
    r.seed = 77;
    restart(&r);
    assert_int_equal(states_session_load(r.folder, "fox", &json, r.m, r.session, &tokens, &why, &err), ERR_OK);
    assert_string_equal(json.ptr, "{\"a\":1}");
    assert_int_equal(tokens, 0);
    assert_non_null(strstr(why.text, "another model"));
    assert_int_equal(states_session_delete(r.folder, "fox", &err), ERR_OK);
    assert_int_equal(states_session_delete(r.folder, "fox", &err), ERR_USAGE);
    assert_int_equal(states_session_load(r.folder, "fox", &json, r.m, NULL, &tokens, &why, &err), ERR_IO);
    Files f = {.folder = r.folder};
    char sessions[400];
    snprintf(sessions, sizeof sessions, "%s/sessions", r.folder);
    assert_int_equal(os_list(sessions, on_file, &f, &err), ERR_OK);
    assert_int_equal(f.n, 0);
    buf_free(&json);
    close_rig(&r);
}

static void names_of_sessions_stay_in_the_folder(void **state) {
    (void)state;
    Rig r = new_rig();
    Err err = {0};
    static const char *const bad[] = {"", "../x", "a/b", ".hidden", "a b", "x~y", "\xc3\xa9",
                                      "12345678901234567890123456789012345678901234567890123456789012345"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_int_equal(states_session_save(r.folder, bad[i], "{}", r.m, NULL, &err), ERR_USAGE);
    assert_int_equal(states_session_save(r.folder, "ok-1.2_3", "{}", r.m, NULL, &err), ERR_OK);
    assert_int_equal(states_session_save(r.folder, "ok", "{", r.m, NULL, &err), ERR_FORMAT);
    close_rig(&r);
}

int main(void) {
    const struct CMUnitTest states_disk[] = {
        cmocka_unit_test(a_restart_keeps_what_was_written),
        cmocka_unit_test(a_turn_writes_what_is_new),
        cmocka_unit_test(idle_writes_a_little_at_a_time),
        cmocka_unit_test(damage_is_noticed_and_computed_again),
        cmocka_unit_test(files_that_vanish_are_computed_again),
        cmocka_unit_test(the_disk_limit_holds),
        cmocka_unit_test(a_conversation_loses_its_newest_turn_first),
        cmocka_unit_test(a_full_disk_leaves_the_memory),
        cmocka_unit_test(another_process_only_reads),
        cmocka_unit_test(what_is_for_other_settings_stays_until_there_is_no_room),
        cmocka_unit_test(no_memory_on_the_way_to_disk_breaks_nothing),
        cmocka_unit_test(random_conversations_survive_restarts),
        cmocka_unit_test(a_session_goes_on_where_it_was),
        cmocka_unit_test(a_session_outlives_its_model),
        cmocka_unit_test(names_of_sessions_stay_in_the_folder),
    };
    make_text();
    return RUN_TESTS(states_disk);
}
