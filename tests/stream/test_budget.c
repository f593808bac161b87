/* --ram holds: a process that was given the smallest budget the plan names stays under it, and gives the same bytes. */
#define _GNU_SOURCE
#include "support/recording.h"
#include "support/support.h"

#include "os/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N = 60 };

/* What a child process reports. */
typedef struct Report {
    int code;
    char message[1024];
    uint64_t peak, ram, bytes_read;
    uint32_t slots;
    uint64_t hash;        /* of their bits */
    uint64_t allocations; /* during the second half of single-token feeds */
} Report;

static uint64_t hash_bits(uint64_t h, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &x[i], 4);
        h = (h ^ u) * UINT64_C(0x100000001B3);
    }
    return h;
}

static void child(const char *model, uint64_t ram, int slots, int chunk, Report *r) {
    sluice_options o;
    sluice_options_init(&o);
    o.model = model;
    o.ram_bytes = ram;
    o.cache_slots = slots;
    o.threads = 2;
    o.ctx = 128;
    o.chunk = chunk;
    sluice_error err = {0};
    sluice_model *m = sluice_open(&o, &err);
    sluice_session *s = m ? sluice_session_new(m, &err) : NULL;
    if (!s) {
        r->code = err.code;
        snprintf(r->message, sizeof r->message, "%s", err.message);
        sluice_close(m);
        return;
    }
    sluice_info info;
    sluice_get_info(m, &info);
    r->slots = info.plan.cache_slots;
    r->ram = info.plan.ram_bytes;
    int32_t ids[N];
    for (int i = 0; i < N; i++) ids[i] = (i * 37 + 11) % info.vocab;
    r->code = sluice_feed(s, ids, N / 2, &err);
    uint64_t before = 0;
    for (int i = N / 2; i < N && !r->code; i++) {
        if (i == N / 2 + 2) before = mem_allocation_count();
        r->code = sluice_feed(s, ids + i, 1, &err);
        if (!r->code) r->hash = hash_bits(r->hash, sluice_logits(s), (size_t)info.vocab);
    }
    r->allocations = mem_allocation_count() - before;
    if (r->code) snprintf(r->message, sizeof r->message, "%s", err.message);
    sluice_stats stats;
    sluice_get_stats(m, &stats);
    r->bytes_read = stats.bytes_read;
    r->peak = os_rss_peak();
    sluice_session_free(s);
    sluice_close(m);
}

/* The same of several sessions: prompts together, then token by token together. */
static void child_of_many(const char *model, uint64_t ram, int slots, int chunk, Report *r) {
    enum { MANY = 3 };
    sluice_options o;
    sluice_options_init(&o);
    o.model = model;
    o.ram_bytes = ram;
    o.cache_slots = slots;
    o.threads = 2;
    o.ctx = 128;
    o.chunk = chunk;
    o.sessions = MANY;
    sluice_error err = {0};
    sluice_model *m = sluice_open(&o, &err);
    r->code = err.code;
    if (m) {
        sluice_session *s[MANY];
        sluice_part parts[MANY];
        int32_t ids[N];
        for (int i = 0; i < MANY; i++) s[i] = sluice_session_new(m, &err);
        for (int i = 0; i < N; i++) ids[i] = (i * 37 + 11) % 300;
        for (int t = 0; t < N && !r->code; t += t ? 1 : N / 2) {
            for (int i = 0; i < MANY; i++) parts[i] = (sluice_part){s[i], ids + t, t ? 1 : N / 2};
            r->code = sluice_feed_together(m, parts, MANY, &err);
        }
        r->peak = os_rss_peak();
        for (int i = 0; i < MANY; i++) sluice_session_free(s[i]);
        sluice_close(m);
    }
    snprintf(r->message, sizeof r->message, "%s", err.message);
}

typedef void Child(const char *model, uint64_t ram, int slots, int chunk, Report *r);

/* A fresh process, so that its peak is its own. */
static Report in_child_that(Child *does, const char *model, uint64_t ram, int slots, int chunk) {
    int fds[2];
    Report r = {0};
    fflush(NULL);
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        does(model, ram, slots, chunk, &r);
        ssize_t n = write(fds[1], &r, sizeof r);
        _exit(n == (ssize_t)sizeof r ? 0 : 1);
    }
    close(fds[1]);
    assert_int_equal(read(fds[0], &r, sizeof r), sizeof r);
    close(fds[0]);
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return r;
}

static Report in_child(const char *model, uint64_t ram, int slots, int chunk) { return in_child_that(child, model, ram, slots, chunk); }

static uint64_t least_ram(const Report *refusal) {
    assert_int_equal(refusal->code, SLUICE_MEMORY);
    const char *at = strstr(refusal->message, "--ram ");
    assert_non_null(at);
    uint64_t ram = strtoull(at + 6, NULL, 10) << 20;
    /* what a sanitizer holds varies by megabytes from run to run */
    return under_sanitizer() ? ram + (UINT64_C(32) << 20) : ram;
}

static void the_smallest_budget_holds(void **state) {
    const char *model = *state;
    REQUIRE_PATH(model);
    Report all = in_child(model, UINT64_C(4) << 30, 0, 0);
    if (all.code) fail_msg("%s", all.message);
    const int slots[] = {2, strstr(model, "tales") ? 16 : 4}; /* the second: two per layer */
    for (size_t i = 0; i < 2; i++) {
        Report refused = in_child(model, 1 << 20, slots[i], 16);
        uint64_t ram = least_ram(&refused);
        Report r = in_child(model, ram, slots[i], 16);
        if (r.code) fail_msg("%s", r.message);
        assert_int_equal(r.slots, slots[i]);
        assert_true(r.bytes_read > all.bytes_read);
        assert_true(r.hash == all.hash);
        /* a sanitizer's own memory is not ours to plan */
        if (!under_sanitizer() && r.peak > ram)
            fail_msg("peak %llu over the budget of %llu", (unsigned long long)r.peak, (unsigned long long)ram);
    }
    /* and without a fixed number of slots: whatever budget is given is kept */
    Report refused = in_child(model, 1 << 20, 0, 0);
    uint64_t least = least_ram(&refused);
    for (int i = 0; i < 4; i++) {
        uint64_t ram = least + (uint64_t)i * (3 << 20);
        Report r = in_child(model, ram, 0, 0);
        if (r.code) fail_msg("%s", r.message);
        assert_true(r.hash == all.hash);
        if (!under_sanitizer() && r.peak > ram)
            fail_msg("peak %llu over the budget of %llu", (unsigned long long)r.peak, (unsigned long long)ram);
    }
}

/* State, keys and values of each, and what an interrupt would need of all. */
static void the_smallest_budget_of_many_sessions_holds(void **state) {
    const char *model = *state;
    REQUIRE_PATH(model);
    Report refused = in_child_that(child_of_many, model, 1 << 20, 4, 64), alone = in_child(model, 1 << 20, 4, 64);
    uint64_t ram = least_ram(&refused);
    assert_true(ram > least_ram(&alone));
    Report r = in_child_that(child_of_many, model, ram, 4, 64);
    if (r.code) fail_msg("%s", r.message);
    if (!under_sanitizer() && r.peak > ram)
        fail_msg("peak %llu over the budget of %llu", (unsigned long long)r.peak, (unsigned long long)ram);
}

/* A context that is too large is refused with one that is not. */
static void the_context_that_a_refusal_names_fits(void **state) {
    const char *model = *state;
    REQUIRE_PATH(model);
    if (under_sanitizer()) printf("SKIP: a sanitizer's memory is not ours to plan\n"), skip();
    sluice_options o = check_options(model);
    o.ctx = 1 << 22;
    o.ram_bytes = os_rss_peak() + (UINT64_C(24) << 20);
    sluice_error err = {0};
    assert_null(sluice_open(&o, &err));
    assert_int_equal(err.code, SLUICE_MEMORY);
    const char *at = strstr(err.message, "--ctx of ");
    assert_non_null(at);
    o.ctx = atoi(at + 9);
    sluice_model *m = open_or_fail(&o);
    sluice_info info;
    sluice_get_info(m, &info);
    assert_true(info.ctx == o.ctx && o.ctx > 100);
    sluice_close(m);
}

static void nothing_is_allocated_per_token(void **state) {
    const char *model = *state;
    REQUIRE_PATH(model);
    Report r = in_child(model, UINT64_C(4) << 30, 3, 0);
    if (r.code) fail_msg("%s", r.message);
    assert_int_equal(r.allocations, 0);
}

/* Tokenising takes memory too: a text for which the plan keeps none is refused, in a sentence. */
static void a_text_beyond_the_plan_is_refused(void **state) {
    const char *model = *state;
    REQUIRE_PATH(model);
    enum { BYTES = 1 << 20 };
    char *text = calloc(BYTES + 1, 1);
    for (int i = 0; i < BYTES; i++) text[i] = (char)(i % 6 == 5 ? ' ' : 'a' + i % 7);
    sluice_options o = check_options(model);
    o.cache_slots = 2;
    o.chunk = 16;
    o.ram_bytes = os_rss_peak() + (UINT64_C(64) << 20);
    o.text_bytes = sluice_text_memory(text, BYTES);
    sluice_model *m = open_or_fail(&o);
    int32_t *ids;
    size_t n;
    sluice_error err;
    if (sluice_tokenize(m, text, BYTES, 0, &ids, &n, &err)) fail_msg("%s", err.message);
    sluice_free(ids);
    sluice_close(m);
    o.text_bytes = 0;
    o.ram_bytes = os_rss_peak() + (UINT64_C(12) << 20); /* enough for the model, not for 12 bytes per byte of text */
    m = open_or_fail(&o);
    assert_int_equal(sluice_tokenize(m, text, BYTES, 0, &ids, &n, &err), SLUICE_MEMORY);
    assert_non_null(strstr(err.message, "tokenising"));
    sluice_close(m);
    free(text);
}

int main(void) {
    static char tales[256], golden[256];
    snprintf(tales, sizeof tales, "%s", source_path("data/tiny-tales.gguf"));
    snprintf(golden, sizeof golden, "%s", shared_path("data/golden/q35-a.f16.gguf"));
    const struct CMUnitTest budget[] = {
        {"tiny-tales: the smallest budget holds", the_smallest_budget_holds, NULL, NULL, tales},
        {"tiny-tales: the smallest budget of many sessions holds", the_smallest_budget_of_many_sessions_holds, NULL, NULL, tales},
        {"q35-a: the smallest budget holds", the_smallest_budget_holds, NULL, NULL, golden},
        {"a text beyond the plan is refused", a_text_beyond_the_plan_is_refused, NULL, NULL, tales},
        {"the context that a refusal names fits", the_context_that_a_refusal_names_fits, NULL, NULL, tales},
        {"nothing is allocated per token", nothing_is_allocated_per_token, NULL, NULL, tales},
    };
    return RUN_TESTS(budget);
}
