/* One answer per prompt: the bits of logits, hidden states and routing after a list of tokens do not depend on the number of cache
 * slots, threads, the prefill chunk, the instruction set, how files are read, the cache policy or looking ahead, nor on a restored
 * snapshot. */
#define _GNU_SOURCE
#include "support/make_model.h"
#include "support/recording.h"
#include "support/support.h"

#include "cache/cache.h"
#include "os/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_TOKENS = 70, MOST_TOKENS = 300 };

static sluice_options options_for(const char *model, bool precise) {
    sluice_options o = check_options(model);
    o.precise = precise;
    return o;
}

static void make_ids(int32_t *ids, int n, int vocab) {
    uint32_t x = 12345;
    for (int i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        ids[i] = (int32_t)((x >> 8) % (uint32_t)vocab);
    }
}

static Recording *run(const sluice_options *o, int n_tokens) {
    sluice_model *m = open_or_fail(o);
    sluice_info info;
    sluice_get_info(m, &info);
    int32_t ids[MOST_TOKENS];
    make_ids(ids, n_tokens, info.vocab);
    sluice_session *s = sluice_session_new(m, NULL);
    assert_non_null(s);
    Recording *r = record(m, s, ids, n_tokens, NULL);
    sluice_session_free(s);
    sluice_close(m);
    return r;
}

static const char *or_auto(const char *name) { return name ? name : "auto"; }

static void expect_same(const Recording *truth, const sluice_options *o) {
    Recording *r = run(o, truth->n);
    if (!recording_equal(truth, r))
        fail_msg("%s: other bits with %d slots, %d threads, chunk %d, cpu %s, io %s, direct %s, policy %s, look-ahead %s, precise %d",
                 o->model, o->cache_slots, o->threads, o->chunk, or_auto(o->cpu), or_auto(o->io), or_auto(o->direct), or_auto(o->policy),
                 or_auto(o->lookahead), o->precise);
    recording_free(r);
}

/* Under ThreadSanitizer only what several threads compute, with the rung that is used: one thread has nobody to race with. */
static bool says_nothing_new(int n_threads, const char *cpu) {
    return under_thread_sanitizer() && (n_threads == 1 || strcmp(cpu, "scalar") == 0);
}

static const int slots[] = {2, 3, 9, 0}, threads[] = {1, 2, 3}, chunks[] = {1, 7, 64, 4096};
static const char *const cpus[] = {"scalar", "auto"};
static const char *const ahead[] = {"on", "off", "auto"};

/* io_uring where this kernel allows it; said aloud where it does not. */
static const char *second_backend(const char *model) {
    static const char *name;
    if (name) return name;
    sluice_options o = check_options(model);
    o.io = "uring";
    sluice_error err = {0};
    sluice_model *m = sluice_open(&o, &err);
    if (!m) printf("SKIP: the io_uring half of one-answer: %s\n", err.message);
    name = m ? "uring" : "threads";
    sluice_close(m);
    return name;
}

static void every_setting_gives_the_same_bits(void **state) {
    const char *model = *state;
    REQUIRE_PATH(model);
    for (int precise = 0; precise < 2; precise++) {
        sluice_options o = options_for(model, precise);
        o.threads = 1;
        o.cpu = "scalar";
        Recording *truth = run(&o, 24);
        for (size_t s = 0; s < sizeof slots / sizeof *slots; s++)
            for (size_t t = 0; t < 3; t++)
                for (size_t c = 0; c < 4; c++) {
                    if (under_sanitizer() && (s + t + c) % 4) continue; /* every fourth is enough to see bad memory */
                    o.cache_slots = slots[s];
                    o.threads = threads[t];
                    o.chunk = chunks[c];
                    o.cpu = cpus[(s + t + c) % 3 > 0];
                    if (says_nothing_new(o.threads, o.cpu)) continue;
                    o.direct = (s + t + c) % 2 ? "off" : "auto";
                    o.io = (s + t + c) % 3 == 2 ? "mmap" : (s + t) % 2 ? second_backend(model) : "threads";
                    /* at chunk 1, where single tokens are guessed, each number of slots meets each setting */
                    o.policy = cache_policy_name((CachePolicy)((3 * s + t + c + 2 * (size_t)precise) % CACHE_POLICIES));
                    o.lookahead = ahead[(s + 2 * t + c + (size_t)precise) % 3];
                    expect_same(truth, &o);
                }
        recording_free(truth);
    }
}

/* The trained model is larger: a diagonal through the same settings. */
static void the_story_model_too(void **state) {
    (void)state;
    const char *model = source_path("data/tiny-tales.gguf");
    REQUIRE_PATH(model);
    for (int precise = 0; precise < 2; precise++) {
        sluice_options o = options_for(model, precise);
        Recording *truth = run(&o, under_thread_sanitizer() ? 9 : N_TOKENS);
        for (int i = 0; i < 8; i++) {
            if (under_sanitizer() && i % 2 == precise) continue;
            o.cache_slots = slots[i % 4];
            o.threads = threads[(i + i / 4) % 3];
            o.chunk = chunks[(i + 2) % 4];
            o.cpu = cpus[i & 1];
            if (says_nothing_new(o.threads, o.cpu)) continue;
            o.policy = cache_policy_name((CachePolicy)(i % CACHE_POLICIES));
            o.lookahead = ahead[i % 3];
            expect_same(truth, &o);
        }
        recording_free(truth);
    }
}

/* Each number format of keys and values is its own arithmetic, and one answer in it; over several blocks of keys. */
static void every_kv_type_has_one_answer(void **state) {
    (void)state;
    const char *model = source_path("data/tiny-tales.gguf");
    static const char *const types[] = {"f32", "f16", "q8_0"};
    static const int cuts[] = {3, 64, 4096};
    REQUIRE_PATH(model);
    Recording *truths[3];
    for (int type = 0; type < 3; type++) {
        sluice_options o = options_for(model, false);
        o.kv = types[type];
        o.ctx = MOST_TOKENS;
        o.cpu = "auto";
        o.threads = 1;
        Recording *truth = truths[type] = run(&o, MOST_TOKENS);
        for (int i = 0; i < 3; i++) {
            if (under_sanitizer() && i != type) continue; /* each cut once, and none on scalar, which takes minutes */
            o.threads = threads[(i + type) % 3];
            o.chunk = cuts[i];
            o.cpu = cpus[i != type % 2 + 1]; /* one of three on scalar */
            expect_same(truth, &o);
        }
    }
    for (int type = 0; type < 3; type++) {
        assert_true(recording_equal(truths[type], truths[(type + 1) % 3]) == false);
        Difference d = difference(truths[type]->logits, truths[0]->logits, (int64_t)truths[0]->n * truths[0]->vocab);
        assert_true(d.mean < 0.2);
    }
    for (int type = 0; type < 3; type++) recording_free(truths[type]);
}

/* Attention takes blocks of keys in rounds when few tokens are fed to a long context, and goes through all at once when many are. */
static void a_long_context_has_one_answer(void **state) {
    enum { LONG = 8300, LAST = 8 };
    static int32_t ids[LONG + LAST];
    int n_long = under_thread_sanitizer() ? 600 : LONG; /* some blocks, if not some rounds */
    make_ids(ids, LONG + LAST, MAKE_VOCAB);
    float *truth = NULL;
    /* bad memory shows in one run of minutes, bad order between threads in two short ones */
    int first = under_sanitizer() && !under_thread_sanitizer(), end = under_sanitizer() ? 2 : 3;
    for (int i = first; i < end; i++) {
        sluice_options o = options_for(*state, false);
        o.ctx = LONG + LAST;
        o.kv = "f16";
        o.threads = i + 1;
        o.ram_bytes = UINT64_C(1) << 30;
        sluice_model *m = open_or_fail(&o);
        sluice_session *s = sluice_session_new(m, NULL);
        sluice_error err;
        if (sluice_feed(s, ids, (size_t)n_long, &err)) fail_msg("%s", err.message);
        for (int t = 0; t < LAST; t += i ? i : LAST) {
            int n = i ? i : LAST; /* eight tokens at once, one at a time, two at a time */
            assert_int_equal(sluice_feed(s, ids + n_long + t, (size_t)n, &err), 0);
        }
        if (truth) assert_memory_equal(truth, sluice_logits(s), MAKE_VOCAB * sizeof *truth);
        else truth = memcpy(malloc(MAKE_VOCAB * sizeof *truth), sluice_logits(s), MAKE_VOCAB * sizeof *truth);
        sluice_session_free(s);
        sluice_close(m);
    }
    free(truth);
}

static void a_snapshot_continues_with_the_same_bits(void **state) {
    const char *model = *state;
    REQUIRE_PATH(model);
    sluice_options o = options_for(model, false);
    o.ctx = 100;
    o.sessions = 2;
    o.ram_bytes = UINT64_C(1) << 30;
    sluice_model *m = open_or_fail(&o);
    sluice_info info;
    sluice_get_info(m, &info);
    int32_t ids[40];
    make_ids(ids, 40, info.vocab);
    sluice_session *a = sluice_session_new(m, NULL), *b = sluice_session_new(m, NULL);
    assert_non_null(a);
    assert_non_null(b);
    sluice_error err;
    assert_null(sluice_session_new(m, &err)); /* the plan has room for two */
    assert_int_equal(err.code, SLUICE_STATE);
    size_t vocab = (size_t)info.vocab;
    float *truth = malloc(vocab * sizeof *truth);
    assert_int_equal(sluice_feed(a, ids, 40, &err), 0);
    memcpy(truth, sluice_logits(a), vocab * sizeof *truth);
    for (int at = 1, step = 1; at < 40; at += step++) {
        sluice_session_reset(a);
        assert_int_equal(sluice_feed(a, ids, (size_t)at, &err), 0);
        sluice_snapshot *snap = sluice_snapshot_take(a, &err);
        if (!snap) fail_msg("%s", err.message);
        assert_int_equal(sluice_feed(a, ids + at, 1, &err), 0); /* the original goes on; the copy must not notice */
        sluice_session_reset(b);
        assert_int_equal(sluice_feed(b, ids + 3, 9, &err), 0); /* something else was there before */
        assert_int_equal(sluice_snapshot_restore(b, snap, &err), 0);
        assert_int_equal(sluice_position(b), at);
        assert_int_equal(sluice_feed(b, ids + at, (size_t)(40 - at), &err), 0);
        assert_memory_equal(sluice_logits(b), truth, vocab * sizeof *truth);
        sluice_snapshot_free(snap);
    }
    free(truth);
    sluice_session_free(a);
    sluice_session_free(b);
    sluice_close(m);
}

/* What is drawn after a snapshot is drawn again after going back to it. */
static void a_snapshot_holds_the_generator(void **state) {
    enum { DRAWS = 12 };
    sluice_options o = options_for(*state, false);
    o.ram_bytes = UINT64_C(1) << 30;
    sluice_model *m = open_or_fail(&o);
    sluice_session *s = sluice_session_new(m, NULL);
    sluice_sampling how = {.temperature = 2, .top_p = 1, .repeat = 1};
    int32_t ids[4] = {1, 2, 3, 4}, first[DRAWS], again[DRAWS];
    int different = 0;
    assert_int_equal(sluice_feed(s, ids, COUNT_OF(ids), NULL), 0);
    (void)sluice_sample(s, &how);
    sluice_snapshot *snap = sluice_snapshot_take(s, NULL);
    assert_non_null(snap);
    for (int i = 0; i < DRAWS; i++) different += (first[i] = sluice_sample(s, &how)) != first[0];
    assert_true(different > 0);
    assert_int_equal(sluice_snapshot_restore(s, snap, NULL), 0);
    for (int i = 0; i < DRAWS; i++) again[i] = sluice_sample(s, &how);
    assert_memory_equal(first, again, sizeof first);
    sluice_snapshot_free(snap);
    sluice_session_free(s);
    sluice_close(m);
}

/* A copy of the model on another drive, here in memory if that can be: reads go to both, one of them directly and one not. */
static void a_mirror_gives_the_same_bits(void **state) {
    const char *model = *state;
    char folder[64] = "/dev/shm/sluice-test-XXXXXX", copy[400];
    bool elsewhere = mkdtemp(folder) != NULL;
    if (!elsewhere) printf("SKIP: the half of mirrors with a second drive: /dev/shm cannot be used\n");
    const char *name = strrchr(model, '/') + 1;
    if (elsewhere) snprintf(copy, sizeof copy, "%s/%s", folder, name);
    else snprintf(copy, sizeof copy, "%s/copy.gguf", temp_dir());
    Err err = {0};
    Buf bytes = {0};
    if (os_read_file(model, UINT64_C(1) << 30, &bytes, &err) || os_write_file(copy, bytes.ptr, bytes.len, &err)) fail_msg("%s", err.text);
    buf_free(&bytes);
    sluice_options o = options_for(model, false);
    Recording *truth = run(&o, 24);
    o.mirror = elsewhere ? folder : copy;
    for (int i = 0; i < 4; i++) {
        o.cache_slots = slots[i];
        o.chunk = chunks[i];
        o.io = i % 2 ? second_backend(model) : "threads";
        expect_same(truth, &o);
    }
    recording_free(truth);
    sluice_model *m = open_or_fail(&o);
    sluice_drive drives[4];
    assert_int_equal(sluice_drives(m, drives, 4), elsewhere ? 2 : 1);
    sluice_session *s = sluice_session_new(m, NULL);
    int32_t ids[24];
    make_ids(ids, 24, MAKE_VOCAB);
    assert_int_equal(sluice_feed(s, ids, 24, NULL), 0);
    assert_int_equal(sluice_drives(m, drives, 4), elsewhere ? 2 : 1);
    for (int i = 0; elsewhere && i < 2; i++) assert_true(drives[i].bytes > 0);
    sluice_session_free(s);
    sluice_close(m);
    unlink(copy);
    if (elsewhere) rmdir(folder);
    /* what is not there is refused */
    sluice_error refusal = {0};
    o.mirror = "/nonexistent/mirror";
    assert_null(sluice_open(&o, &refusal));
    assert_non_null(strstr(refusal.message, "--mirror"));
    o.mirror = temp_dir();
    assert_null(sluice_open(&o, &refusal)); /* that is where the model itself lies */
    assert_non_null(strstr(refusal.message, "same file"));
}

static void context_ends_with_a_sentence(void **state) {
    (void)state;
    const char *model = source_path("data/tiny-tales.gguf");
    REQUIRE_PATH(model);
    sluice_options o = options_for(model, false);
    o.ctx = 20;
    sluice_model *m = open_or_fail(&o);
    sluice_session *s = sluice_session_new(m, NULL);
    int32_t ids[21] = {0};
    sluice_error err;
    assert_int_equal(sluice_feed(s, ids, 21, &err), SLUICE_RANGE);
    assert_non_null(strstr(err.message, "21"));
    assert_int_equal(sluice_feed(s, ids, 20, &err), 0);
    assert_int_equal(sluice_feed(s, ids, 1, &err), SLUICE_RANGE);
    assert_int_equal(sluice_position(s), 20); /* a refusal leaves the session as it was */
    assert_non_null(sluice_logits(s));
    ids[0] = 1 << 20;
    sluice_session_reset(s);
    assert_int_equal(sluice_feed(s, ids, 1, &err), SLUICE_RANGE);
    sluice_session_free(s);
    sluice_close(m);
}

int main(void) {
    /* golden models where they are; models of our own making everywhere */
    static char real_dims[256], quantised[256];
    snprintf(real_dims, sizeof real_dims, "%s", shared_path("data/golden/q35-real-dims"));
    snprintf(quantised, sizeof quantised, "%s", shared_path("data/golden/q35-a.qa.gguf"));
    static char made[3][256];
    static const char *const archs[] = {"qwen35moe", "qwen3next", "qwen3moe"}, *const types[] = {"Q8_0", "F16", "F32"};
    for (int i = 0; i < 3; i++) {
        MakeModel o = {.arch = archs[i], .type = types[i], .seed = 11, .experts = 12, .top_k = 5};
        char name[64];
        snprintf(name, sizeof name, "one-answer-%s.gguf", archs[i]);
        snprintf(made[i], sizeof made[i], "%s", make_model(&o, name));
    }
    const struct CMUnitTest one_answer[] = {
        cmocka_unit_test(the_story_model_too),
        cmocka_unit_test(every_kv_type_has_one_answer),
        {"qwen3moe, a long context", a_long_context_has_one_answer, NULL, NULL, made[2]},
        cmocka_unit_test(context_ends_with_a_sentence),
        {"qwen35moe in Q8_0", every_setting_gives_the_same_bits, NULL, NULL, made[0]},
        {"qwen3next in F16", every_setting_gives_the_same_bits, NULL, NULL, made[1]},
        {"qwen3moe in F32", every_setting_gives_the_same_bits, NULL, NULL, made[2]},
        {"qwen35moe mirrored", a_mirror_gives_the_same_bits, NULL, NULL, made[0]},
        {"q35-real-dims in BF16", every_setting_gives_the_same_bits, NULL, NULL, real_dims},
        {"q35-a in many types", every_setting_gives_the_same_bits, NULL, NULL, quantised},
        {"qwen35moe snapshots", a_snapshot_continues_with_the_same_bits, NULL, NULL, made[0]},
        {"qwen3moe snapshots", a_snapshot_continues_with_the_same_bits, NULL, NULL, made[2]},
        {"qwen35moe generator", a_snapshot_holds_the_generator, NULL, NULL, made[0]},
        {"q35-real-dims snapshots", a_snapshot_continues_with_the_same_bits, NULL, NULL, real_dims},
    };
    return RUN_TESTS(one_answer);
}
