/* Memory runs out, at every allocation in turn: each time a sentence, nothing lost, and the same answer once there is memory. */
#define _GNU_SOURCE
#include "support/make_model.h"
#include "support/recording.h"
#include "support/support.h"

#include "base/base.h"
#include "os/os.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N = 12 };

static const int32_t ids[N] = {72, 101, 108, 108, 111, 44, 32, 119, 111, 114, 108, 100};

static sluice_options tiny_options(void) {
    MakeModel made = {.arch = "qwen35moe", .seed = 3, .layers = 2, .experts = 4, .top_k = 2};
    static char path[256];
    if (!path[0]) snprintf(path, sizeof path, "%s", make_model(&made, "memory.gguf"));
    sluice_options o = check_options(path);
    o.ctx = 32;
    o.threads = 1;
    o.cache_slots = 4;
    return o;
}

/* Everything that a user of the library does. The token that is sampled at the end, or -1 and a sentence. */
static int32_t whole_life(const sluice_options *o, sluice_error *err) {
    int32_t token = -1, *text = NULL;
    size_t n;
    sluice_snapshot *snapshot = NULL;
    sluice_model *m = sluice_open(o, err);
    sluice_session *s = m ? sluice_session_new(m, err) : NULL;
    bool good = s && !sluice_tokenize(m, "hello world", 11, 0, &text, &n, err) && !sluice_feed(s, text, n, err);
    if (good) snapshot = sluice_snapshot_take(s, err);
    /* to a file, and from it */
    char path[300];
    snprintf(path, sizeof path, "%s/memory.snapshot", temp_dir());
    good = good && snapshot && !sluice_snapshot_save(m, snapshot, path, err);
    sluice_snapshot_free(snapshot);
    snapshot = good ? sluice_snapshot_load(m, path, err) : NULL;
    good = good && snapshot && !sluice_feed(s, ids, N, err) && !sluice_snapshot_restore(s, snapshot, err) &&
           !sluice_feed(s, ids, N, err);
    if (good) {
        sluice_sampling sampling;
        sluice_sampling_default(m, &sampling);
        token = sluice_sample(s, &sampling);
    }
    sluice_free(text);
    sluice_snapshot_free(snapshot);
    sluice_session_free(s);
    sluice_close(m);
    return token;
}

/* Fails from the n-th on, for n = 1, 2, ... until everything succeeds; returns how often it failed. */
static int fail_at_each(void (*fail_after)(uint64_t)) {
    sluice_options o = tiny_options();
    sluice_error err = {0};
    int32_t truth = whole_life(&o, &err);
    if (truth < 0) fail_msg("%s", err.message);
    uint64_t live = mem_live_count();
    for (int n = 1;; n++) {
        err = (sluice_error){0};
        fail_after((uint64_t)n);
        int32_t token = whole_life(&o, &err);
        fail_after(0);
        if (mem_live_count() != live)
            fail_msg("failure %d (%s) left %lld allocations behind", n, err.message, (long long)(mem_live_count() - live));
        if (token >= 0) {
            assert_int_equal(token, truth);
            return n - 1;
        }
        if (err.code != SLUICE_MEMORY || !err.message[0]) fail_msg("failure %d is no lack of memory: %d %s", n, err.code, err.message);
    }
}

static void every_failed_allocation_is_a_clean_error(void **state) {
    (void)state;
    int failures = fail_at_each(mem_fail_after);
    printf("%d allocations failed in turn\n", failures);
    assert_true(failures > 50);
}

static void every_refused_mapping_is_a_clean_error(void **state) {
    (void)state;
    int refused = fail_at_each(os_pages_fail_after);
    assert_true(refused >= 5); /* dense weights, slots, buffers, logits, a session */
}

/* ---- locked memory ---- */

/* Runs in a child that may lock 64 KiB: the token, or 200 and more for what went wrong. */
static int with_little_to_lock(const char *io, bool mlock, int32_t truth) {
    struct rlimit limit = {65536, 65536};
    if (setrlimit(RLIMIT_MEMLOCK, &limit) || (geteuid() == 0 && setuid(65534))) return 1;
    sluice_options o = tiny_options();
    o.io = io;
    o.mlock = mlock;
    sluice_error err = {0};
    int32_t token = whole_life(&o, &err);
    if (token >= 0) return mlock ? 2 : token == truth ? 0 : 3;
    if (mlock) return err.code == SLUICE_MEMORY && strstr(err.message, "--mlock") && strstr(err.message, "ulimit -l") ? 0 : 4;
    if (strcmp(io, "uring") == 0 && strstr(err.message, "io_uring")) return 0; /* refused here, and said so */
    return 5;
}

static void with_64_kib_to_lock_it_answers_or_says_why_not(void **state) {
    (void)state;
    sluice_options o = tiny_options();
    assert_int_equal(chmod(temp_dir(), 0777), 0); /* the child may be nobody */
    sluice_error err = {0};
    int32_t truth = whole_life(&o, &err);
    if (truth < 0) fail_msg("%s", err.message);
    const struct { const char *io; bool mlock; } cases[] = {{"threads", false}, {"uring", false}, {"threads", true}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        if (cases[i].mlock && under_sanitizer()) {
            printf("SKIP: a sanitizer locks nothing\n");
            continue;
        }
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) _exit(with_little_to_lock(cases[i].io, cases[i].mlock, truth));
        int status;
        waitpid(pid, &status, 0);
        if (!WIFEXITED(status) || WEXITSTATUS(status)) fail_msg("--io %s, mlock %d: %d", cases[i].io, cases[i].mlock, status);
    }
}

int main(void) {
    const struct CMUnitTest memory[] = {
        cmocka_unit_test(every_failed_allocation_is_a_clean_error),
        cmocka_unit_test(every_refused_mapping_is_a_clean_error),
        cmocka_unit_test(with_64_kib_to_lock_it_answers_or_says_why_not),
    };
    return RUN_TESTS(memory);
}
