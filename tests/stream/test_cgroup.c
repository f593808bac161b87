/* A real control group: a limit equal to the budget is stable, and a neighbour who takes memory gets some of ours. */
#define _GNU_SOURCE
#include "support/program.h"
#include "support/recording.h"

#include "os/os.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define BUDGET (240 * MIB)
enum { REFUSED = 40 }; /* a child's exit code */

static char model[512], group[256];

typedef struct Shared {
    _Atomic bool stop;  /* the hog's and the model's end */
    _Atomic uint64_t tokens, hash, steps, slots, planned, taken;
} Shared;

static bool put_number(const char *file, uint64_t number) {
    char path[300];
    snprintf(path, sizeof path, "%s/%s", group, file);
    FILE *f = fopen(path, "w");
    bool good = f && fprintf(f, "%llu", (unsigned long long)number) > 0;
    if (f && fclose(f) != 0) good = false;
    return good;
}

/* A group with this limit; false: not permitted here. */
static bool make_group(uint64_t limit) {
    snprintf(group, sizeof group, "/sys/fs/cgroup/memory/sluice-test-%ld", (long)getpid());
    if (mkdir(group, 0755) == 0 && put_number("memory.limit_in_bytes", limit)) return true;
    rmdir(group);
    printf("SKIP: no memory control group (version 1) can be made here\n");
    return false;
}

static uint64_t hash_of(uint64_t h, const float *x, int n) {
    for (int i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &x[i], 4);
        h = (h ^ u) * UINT64_C(0x100000001B3);
    }
    return h;
}

/* A neighbour in the same process: takes so many bytes at the first sign of loading; or all but 12 MiB of what there is. */
enum { NEARLY_ALL = 1 };
static bool grab(void *user, const char *stage, uint64_t done, uint64_t total) {
    (void)done, (void)total;
    uint64_t *bytes = user;
    if (strcmp(stage, "load") != 0 || *bytes == 0) return true;
    OsPressure *p = *bytes == NEARLY_ALL ? os_pressure_new("", NULL) : NULL;
    if (p) {
        OsPressureReading r;
        os_pressure_read(p, &r);
        os_pressure_free(p);
        *bytes = r.room - 12 * MIB;
    }
    char *pages = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) return false;
    memset(pages, 1, *bytes);
    *bytes = 0;
    return true;
}

/* Decodes for so many seconds in windows of 40 tokens, all alike; the hash must be the same in each. */
static int decode(Shared *shared, int seconds, const char *io, uint64_t taken) {
    sluice_options o = check_options(model);
    o.ram_bytes = BUDGET;
    o.ctx = 64;
    o.io = io;
    o.direct = "off"; /* so that page cache of our own fills the group */
    o.progress = grab;
    o.user = &taken;
    sluice_error err = {0};
    sluice_model *m = sluice_open(&o, &err);
    if (!m && strstr(err.message, "io_uring")) { /* refused here */
        o.io = "threads";
        m = sluice_open(&o, &err);
    }
    sluice_session *s = m ? sluice_session_new(m, &err) : NULL;
    if (!s && err.code == SLUICE_MEMORY && strstr(err.message, "something else may have taken it")) return REFUSED;
    if (!s) return fprintf(stderr, "%s\n", err.message), 1;
    sluice_info info;
    sluice_stats stats;
    sluice_get_info(m, &info);
    shared->planned = info.plan.cache_slots;
    for (uint64_t end = 0; end == 0 || os_now_ns() < end;) {
        uint64_t h = 1;
        sluice_session_reset(s);
        for (int i = 0; i < 40; i++) {
            int32_t id = (i * 37 + 11) % info.vocab;
            if (sluice_feed(s, &id, 1, &err)) return fprintf(stderr, "%s\n", err.message), 2;
            h = hash_of(h, sluice_logits(s), info.vocab);
            shared->tokens++;
        }
        if (shared->hash && shared->hash != h) return 3;
        shared->hash = h;
        if (end == 0) end = os_now_ns() + (uint64_t)seconds * 1000000000; /* after the first window, however slow the disk is */
        sluice_get_stats(m, &stats);
        shared->steps = stats.cache_steps;
        shared->slots = stats.cache_slots;
    }
    sluice_session_free(s);
    sluice_close(m);
    return 0;
}

static pid_t start_beside(Shared *shared, int seconds, const char *io, bool in_group, uint64_t taken) {
    fflush(NULL);
    pid_t pid = fork();
    if (pid != 0) return pid;
    if (in_group && !put_number("cgroup.procs", (uint64_t)getpid())) _exit(9);
    _exit(decode(shared, seconds, io, taken));
}

static pid_t start_decoding(Shared *shared, int seconds, const char *io, bool in_group) {
    return start_beside(shared, seconds, io, in_group, 0);
}

/* Once the model runs, takes a mebibyte whenever the group has more than 2 left, up to `most`. */
static pid_t start_hog(Shared *shared, uint64_t most) {
    fflush(NULL);
    pid_t pid = fork();
    if (pid != 0) return pid;
    if (!put_number("cgroup.procs", (uint64_t)getpid())) _exit(9);
    OsPressure *p = os_pressure_new("", NULL);
    while (!shared->hash && !shared->stop) usleep(20000);
    while (!shared->stop) {
        OsPressureReading r;
        os_pressure_read(p, &r);
        if (r.room > 2 * MIB && shared->taken < most) {
            char *page = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (page == MAP_FAILED) _exit(8);
            memset(page, 1, MIB);
            shared->taken += MIB;
        } else {
            usleep(20000);
        }
    }
    _exit(0);
}

static int result_of(pid_t pid) {
    int status;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

static Shared *new_shared(void) {
    Shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(s != MAP_FAILED);
    return s;
}

static uint64_t truth(void) {
    static uint64_t hash;
    if (hash) return hash;
    Shared *s = new_shared();
    assert_int_equal(result_of(start_decoding(s, 1, "threads", false)), 0);
    return hash = s->hash;
}

static void a_limit_equal_to_the_budget_is_stable(void **state) {
    (void)state;
    uint64_t expected = truth();
    if (!make_group(BUDGET)) skip();
    Shared *s = new_shared();
    int code = result_of(start_decoding(s, 2, "threads", true));
    rmdir(group);
    printf("%llu tokens, %llu steps, %llu of %llu slots at the end\n", (unsigned long long)s->tokens, (unsigned long long)s->steps,
           (unsigned long long)s->slots, (unsigned long long)s->planned);
    assert_int_equal(code, 0);
    assert_true(s->hash == expected);
    assert_true(s->steps <= 3 && s->slots >= s->planned * 3 / 4);
}

static void a_neighbour_gets_memory_and_the_answer_stays(void **state) {
    (void)state;
    uint64_t expected = truth();
    if (!make_group(BUDGET + 40 * MIB)) skip();
    Shared *s = new_shared();
    pid_t model_pid = start_decoding(s, 4, "uring", true), hog = start_hog(s, 150 * MIB);
    int code = result_of(model_pid);
    s->stop = true;
    int hog_code = result_of(hog);
    rmdir(group);
    printf("%llu tokens, %llu steps, %llu of %llu slots at the end; the neighbour has %llu MiB\n", (unsigned long long)s->tokens,
           (unsigned long long)s->steps, (unsigned long long)s->slots, (unsigned long long)s->planned,
           (unsigned long long)(s->taken / MIB));
    assert_int_equal(code, 0);
    assert_int_equal(hog_code, 0);
    assert_true(s->hash == expected);
    assert_true(s->steps >= 1 && s->slots < s->planned);
}

/* What is taken while the model is being opened is missing from the cache, and where it was too much nothing is opened. */
static void memory_that_goes_while_a_model_is_opened_is_noticed(void **state) {
    (void)state;
    uint64_t expected = truth();
    if (!make_group(BUDGET)) skip();
    Shared *s = new_shared();
    int code = result_of(start_beside(s, 1, "uring", true, 100 * MIB));
    printf("100 MiB less: %llu steps, %llu of %llu slots\n", (unsigned long long)s->steps, (unsigned long long)s->slots,
           (unsigned long long)s->planned);
    assert_int_equal(code, 0);
    assert_true(s->hash == expected && s->steps >= 1);
    assert_in_range(s->slots * 100 / s->planned, 20, 70);
    code = result_of(start_beside(s, 1, "uring", true, NEARLY_ALL));
    rmdir(group);
    assert_int_equal(code, REFUSED);
}

/* Two that were opened at the same moment, each planning for everything: both answer, and nobody is ended. */
static void two_that_are_opened_at_once_share_what_there_is(void **state) {
    (void)state;
    uint64_t expected = truth();
    if (!make_group(BUDGET + 16 * MIB)) skip();
    Shared *a = new_shared(), *b = new_shared();
    pid_t first = start_decoding(a, 3, "uring", true), second = start_decoding(b, 3, "uring", true);
    int code_a = result_of(first), code_b = result_of(second);
    rmdir(group);
    printf("%llu and %llu of %llu slots at the end, after %llu and %llu steps\n", (unsigned long long)a->slots,
           (unsigned long long)b->slots, (unsigned long long)a->planned, (unsigned long long)a->steps, (unsigned long long)b->steps);
    assert_int_equal(code_a, 0);
    assert_int_equal(code_b, 0);
    assert_true(a->hash == expected && b->hash == expected);
    assert_true(a->slots < a->planned || b->slots < b->planned);
}

/* In the group: how much of what was given back, in pieces that are no huge pages, its usage shows; in percent, or above 200. */
static int give_back(void) {
    const uint64_t bytes = 96 * MIB, piece = 1781760;
    OsPressureReading before, after;
    if (!put_number("cgroup.procs", (uint64_t)getpid())) return 201;
    char *pages = os_pages_new(bytes, NULL);
    OsPressure *p = os_pressure_new("", NULL);
    if (!pages || !p) return 202;
    memset(pages, 7, bytes);
    os_pressure_read(p, &before);
    uint64_t given = 0;
    for (uint64_t at = 0; at + piece <= bytes; at += 4 * piece, given += piece) os_pages_drop(pages + at, piece);
    os_pressure_read(p, &after);
    for (uint64_t at = piece; at + 3 * piece <= bytes; at += 4 * piece)
        for (uint64_t i = 0; i < 3 * piece; i++)
            if (pages[at + i] != 7) return 203;
    return after.room > before.room ? (int)((after.room - before.room) * 100 / given) : 0;
}

/* The kernel keeps a huge page whole of which only a part was given back: then nothing would be gained. */
static void parts_of_huge_pages_are_given_back(void **state) {
    (void)state;
    if (!make_group(BUDGET)) skip();
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) _exit(give_back());
    int percent = result_of(pid);
    rmdir(group);
    printf("%d %% of what was given back is free\n", percent);
    assert_in_range(percent, 85, 115);
}

static int make(void **state) {
    (void)state;
    snprintf(model, sizeof model, "%s/group.gguf", temp_dir());
    shell_expect(0, "$S synth --shape qwen3.5-35b-a3b --layers 1 --vocab 512 --quant q2_k --quiet -o $T/group.gguf");
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_of_huge_pages_are_given_back),
        cmocka_unit_test(a_limit_equal_to_the_budget_is_stable),
        cmocka_unit_test(a_neighbour_gets_memory_and_the_answer_stays),
        cmocka_unit_test(memory_that_goes_while_a_model_is_opened_is_noticed),
        cmocka_unit_test(two_that_are_opened_at_once_share_what_there_is),
    };
    if (under_sanitizer()) return printf("SKIP: a sanitizer's memory is not ours to plan\n"), 77;
    return cmocka_run_group_tests_name("control groups", tests, make, NULL);
}
