/* Whole models on a bad disk: every run ends with the right bits or with a sentence, never with other bits. */
#define _GNU_SOURCE
#include "support/make_model.h"
#include "support/recording.h"
#include "support/support.h"

#include "forward/forward.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N = 12, SLOTS = 4 };

static const int32_t ids[N] = {72, 101, 108, 108, 111, 44, 32, 119, 111, 114, 108, 100};

/* A model on a disk of the test's choosing: what the engine builds, by hand. */
typedef struct Rig {
    FormatModel *format;
    Model *model;
    OsPool *pool;
    Disk *disk;
    StorePart *parts;
    Store *store;
    void *dense;
    Forward *forward;
    ForwardState *state;
} Rig;

static Rig rig_open(const char *path, const DiskConfig *disk) {
    Rig r = {0};
    Err err = {0};
    r.format = format_open(path, &err);
    r.model = r.format ? model_new(r.format, &err) : NULL;
    if (!r.model) fail_msg("%s", err.text);
    const ModelShape *s = &r.model->shape;
    size_t records = (size_t)s->n_layers * s->n_experts;
    uint32_t file;
    r.pool = os_pool_new(2, NULL);
    r.disk = disk_new(disk, &err);
    if (!r.disk || disk_add_file(r.disk, path, &file, &err)) fail_msg("%s", err.text);
    r.parts = calloc(records * STORE_PARTS, sizeof *r.parts);
    for (size_t i = 0; i < records * STORE_PARTS; i++)
        r.parts[i] = (StorePart){file, r.model->records[i].bytes, r.model->records[i].offset};
    uint64_t slot = store_slot_bytes(r.parts, records, r.disk);
    StoreConfig config = {.n_layers = (int)s->n_layers, .n_experts = (int)s->n_experts, .parts = r.parts, .disk = r.disk,
                          .slab_bytes = SLOTS * slot, .poison = true};
    r.store = store_new(&config, &err);
    r.dense = os_pages_new(r.model->dense_bytes, &err);
    if (!r.store || !r.dense || model_load_dense(r.model, r.dense, NULL, NULL, &err)) fail_msg("%s", err.text);
    ForwardConfig forward = {.model = r.model, .kernels = kernels_get(KERNELS_RUNG_COUNT), .pool = r.pool, .store = r.store, .ctx = 64,
                             .chunk = 16, .top_k = s->top_k, .kv_type = QUANT_F32};
    r.forward = forward_new(&forward, &err);
    r.state = r.forward ? forward_state_new(r.forward, &err) : NULL;
    if (!r.state) fail_msg("%s", err.text);
    return r;
}

static void rig_close(Rig *r) {
    forward_state_free(r->state);
    forward_free(r->forward);
    os_pages_free(r->dense, r->model->dense_bytes);
    store_free(r->store);
    disk_free(r->disk);
    os_pool_free(r->pool);
    free(r->parts);
    model_free(r->model);
    format_close(r->format);
}

/* Half the prompt in one step, the rest token by token; logits of the last token. */
static ErrCode run(Rig *r, float *logits, Err *err) {
    forward_state_clear(r->state);
    ErrCode code = forward_step(r->forward, r->state, ids, N / 2, NULL, err);
    for (uint32_t i = N / 2; i < N && !code; i++) code = forward_step(r->forward, r->state, ids + i, 1, NULL, err);
    if (!code) forward_logits(r->forward, 0, 1, logits);
    return code;
}

static DiskConfig clean_disk(void) {
    DiskConfig c = {.backend = DISK_THREADS, .retries = -1};
    return c;
}

static DiskConfig bad_disk(uint64_t seed) {
    DiskConfig c = {.backend = DISK_FAKE, .retries = 10};
    c.faults = (DiskFaults){.error_ppm = 100000, .short_ppm = 200000, .delay_ppm = 300000, .delay_ms = 2, .fail_file = -1, .seed = seed};
    return c;
}

static const char *const archs[] = {"qwen35moe", "qwen3next", "qwen3moe"};

static const char *model_of(size_t arch) {
    MakeModel o = {.arch = archs[arch], .type = "Q8_0", .seed = 5};
    char name[64];
    snprintf(name, sizeof name, "%s.gguf", archs[arch]);
    return make_model(&o, name);
}

static void retried_faults_change_nothing(void **state) {
    (void)state;
    static float truth[MAKE_VOCAB], logits[MAKE_VOCAB];
    for (size_t a = 0; a < 3; a++) {
        const char *path = model_of(a);
        DiskConfig clean = clean_disk();
        Rig r = rig_open(path, &clean);
        Err err = {0};
        assert_int_equal(run(&r, truth, &err), ERR_OK);
        rig_close(&r);
        for (uint64_t seed = 1; seed <= 4; seed++) {
            DiskConfig bad = bad_disk(seed);
            r = rig_open(path, &bad);
            if (run(&r, logits, &err)) fail_msg("%s", err.text);
            assert_memory_equal(truth, logits, sizeof truth);
            rig_close(&r);
        }
    }
}

static void a_dead_expert_ends_the_run_by_name(void **state) {
    (void)state;
    static float logits[MAKE_VOCAB];
    const char *path = model_of(0);
    DiskConfig clean = clean_disk();
    Rig r = rig_open(path, &clean);
    StorePart part = r.parts[((size_t)1 * r.model->shape.n_experts + 3) * STORE_PARTS + 1]; /* layer 1, expert 3, up */
    Err err = {0};
    rig_close(&r);
    DiskConfig dead = {.backend = DISK_FAKE, .retries = 2};
    dead.faults = (DiskFaults){.fail_file = 0, .fail_offset = part.offset + part.bytes / 2};
    r = rig_open(path, &dead);
    for (int round = 0; round < 3; round++) { /* the same end every time, whatever the cache holds by now */
        err = (Err){0};
        assert_int_equal(run(&r, logits, &err), ERR_IO);
        assert_non_null(strstr(err.text, "layer 1"));
        assert_non_null(strstr(err.text, "expert 3"));
        assert_non_null(strstr(err.text, path));
        assert_int_equal(forward_step(r.forward, r.state, ids, 1, NULL, &err), ERR_STATE); /* no way on from half a step */
    }
    rig_close(&r);
}

static void many_faults_give_the_right_bits_or_an_error(void **state) {
    (void)state;
    static float truth[MAKE_VOCAB], logits[MAKE_VOCAB];
    const char *path = model_of(1);
    DiskConfig clean = clean_disk();
    Rig r = rig_open(path, &clean);
    Err err = {0};
    assert_int_equal(run(&r, truth, &err), ERR_OK);
    rig_close(&r);
    DiskConfig bad = bad_disk(77);
    bad.retries = 0;
    bad.faults.error_ppm = 3000;
    bad.faults.short_ppm = 3000;
    bad.faults.delay_ms = 1;
    r = rig_open(path, &bad);
    int right = 0, failed = 0;
    for (int round = 0; round < 40; round++) {
        err = (Err){0};
        ErrCode code = run(&r, logits, &err);
        if (code) {
            assert_int_equal(code, ERR_IO);
            failed++;
        } else {
            assert_memory_equal(truth, logits, sizeof truth);
            right++;
        }
    }
    assert_true(right > 0 && failed > 0);
    rig_close(&r);
}

/* ---- through the public API: the file changes under the running model ---- */

static char *read_all(const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    char *bytes = malloc(*size);
    assert_int_equal(fread(bytes, 1, *size, f), *size);
    fclose(f);
    return bytes;
}

static void a_truncated_file_is_an_error_and_healing_it_heals(void **state) {
    (void)state;
    MakeModel made = {.arch = "qwen35moe", .type = "F16", .seed = 9};
    const char *path = make_model(&made, "truncated.gguf");
    size_t size;
    char *bytes = read_all(path, &size);
    sluice_options o = check_options(path);
    o.cache_slots = 2;
    o.ctx = 64;
    sluice_model *m = open_or_fail(&o);
    sluice_session *s = sluice_session_new(m, NULL);
    sluice_error err;
    static float truth[MAKE_VOCAB];
    assert_int_equal(sluice_feed(s, ids, N, &err), 0);
    memcpy(truth, sluice_logits(s), sizeof truth);

    assert_int_equal(truncate(path, (off_t)(size / 2)), 0);
    sluice_session_reset(s);
    assert_int_equal(sluice_feed(s, ids, N, &err), SLUICE_IO);
    assert_non_null(strstr(err.message, "truncated.gguf"));
    assert_null(sluice_logits(s));
    assert_int_equal(sluice_feed(s, ids, 1, &err), SLUICE_STATE);

    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    fclose(f);
    sluice_session_reset(s);
    if (sluice_feed(s, ids, N, &err)) fail_msg("%s", err.message);
    assert_memory_equal(sluice_logits(s), truth, sizeof truth);

    unlink(path); /* an open file stays readable */
    sluice_session_reset(s);
    assert_int_equal(sluice_feed(s, ids, N, &err), 0);
    assert_memory_equal(sluice_logits(s), truth, sizeof truth);
    free(bytes);
    sluice_session_free(s);
    sluice_close(m);
}

/* ---- memory that runs out while opening ---- */

static void every_failed_allocation_is_a_clean_error(void **state) {
    (void)state;
    MakeModel made = {.arch = "qwen35moe", .seed = 3, .layers = 2, .experts = 4, .top_k = 2};
    const char *path = make_model(&made, "memory.gguf");
    sluice_options o = check_options(path);
    o.ctx = 32;
    o.threads = 1;
    int failures = 0;
    for (uint64_t n = 1;; n++) {
        sluice_error err = {0};
        mem_fail_after(n);
        sluice_model *m = sluice_open(&o, &err);
        sluice_session *s = m ? sluice_session_new(m, &err) : NULL;
        mem_fail_after(0);
        bool done = s != NULL;
        if (!done) {
            failures++;
            assert_true(err.message[0] != 0);
        } else {
            assert_int_equal(sluice_feed(s, ids, N, &err), 0);
        }
        sluice_session_free(s);
        sluice_close(m);
        if (done) break;
    }
    assert_true(failures > 10);
}

static bool stop_at_once(void *user, const char *stage, uint64_t done, uint64_t total) {
    (void)done;
    (void)total;
    return strcmp(stage, user) != 0;
}

static void an_interrupt_ends_a_load_and_a_prefill(void **state) {
    (void)state;
    MakeModel made = {.arch = "qwen3moe", .seed = 3};
    const char *path = make_model(&made, "interrupt.gguf");
    sluice_options o = check_options(path);
    o.progress = stop_at_once;
    o.user = (void *)(uintptr_t) "load";
    sluice_error err;
    assert_null(sluice_open(&o, &err));
    assert_int_equal(err.code, SLUICE_INTERRUPTED);
    o.user = (void *)(uintptr_t) "prefill";
    sluice_model *m = open_or_fail(&o);
    sluice_session *s = sluice_session_new(m, NULL);
    assert_int_equal(sluice_feed(s, ids, N, &err), SLUICE_INTERRUPTED);
    assert_int_equal(sluice_feed(s, ids, 1, &err), SLUICE_STATE);
    sluice_session_reset(s);
    assert_int_equal(sluice_feed(s, ids, 1, &err), 0);
    sluice_session_free(s);
    sluice_close(m);
}

int main(void) {
    const struct CMUnitTest faults[] = {
        cmocka_unit_test(retried_faults_change_nothing),
        cmocka_unit_test(a_dead_expert_ends_the_run_by_name),
        cmocka_unit_test(many_faults_give_the_right_bits_or_an_error),
        cmocka_unit_test(a_truncated_file_is_an_error_and_healing_it_heals),
        cmocka_unit_test(every_failed_allocation_is_a_clean_error),
        cmocka_unit_test(an_interrupt_ends_a_load_and_a_prefill),
    };
    return RUN_TESTS(faults);
}
