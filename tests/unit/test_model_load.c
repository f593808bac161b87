/* Loading the dense weights: the same bytes however the file is cut into pieces and whoever takes them in; failures end in a sentence.
 *
 * build/tests/unit/test_model_load FILE measures instead: a model's dense weights loaded three times into the same memory, so that the
 * first time also has to touch it, between readings of what the disk can do. */
#include "support/load_dense.h"
#include "support/make_model.h"
#include "support/support.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

typedef struct Loaded {
    FormatModel *format;
    Model *model;
    uint8_t *pages;
    ErrCode code;
    Err err;
} Loaded;

static Loaded load(const char *path, const DiskConfig *disk, const ModelLoad *how) {
    Loaded l = {0};
    l.format = format_open(path, &l.err);
    l.model = l.format ? model_new(l.format, &l.err) : NULL;
    l.pages = l.model ? os_pages_new(l.model->dense_bytes, &l.err) : NULL;
    if (!l.pages) fail_msg("%s", l.err.text);
    l.code = load_dense_from(l.model, l.pages, disk, how, &l.err);
    return l;
}

static void unload(Loaded *l) {
    os_pages_free(l->pages, l->model->dense_bytes);
    model_free(l->model);
    format_close(l->format);
}

static const DiskConfig buffered = {.backend = DISK_THREADS, .direct = DISK_DIRECT_OFF, .retries = -1};

typedef struct Seen {
    uint64_t calls, done, total, stop_after;
} Seen;

static bool watch(void *user, uint64_t done, uint64_t total) {
    Seen *s = user;
    assert_true(done > s->done && done <= total);
    s->done = done;
    s->total = total;
    return ++s->calls != s->stop_after;
}

static const char *model_of(const char *type, const char *arch) {
    MakeModel made = {.arch = arch, .type = type, .seed = 7, .layers = 4, .experts = 4, .top_k = 2};
    return make_model(&made, "load.gguf");
}

static void any_cut_gives_the_same_bytes(void **state) {
    (void)state;
    static const char *const types[] = {"F32", "F16", "BF16", "Q8_0"};
    OsPool *pool = os_pool_new(3, NULL);
    for (size_t t = 0; t < COUNT_OF(types); t++) {
        const char *path = model_of(types[t], t % 2 ? "qwen3next" : "qwen35moe");
        Loaded truth = load(path, &buffered, &(ModelLoad){0});
        if (truth.code) fail_msg("%s: %s", types[t], truth.err.text);
        for (int way = 0; way < 8; way++) {
            Seen seen = {0};
            ModelLoad how = {.pool = way & 1 ? pool : NULL, .buffer_bytes = way & 2 ? 1 : 1 << 20, .progress = watch, .user = &seen};
            DiskConfig disk = {.backend = way & 4 ? DISK_FAKE : DISK_THREADS, .retries = 20,
                               .faults = {.error_ppm = 50000, .short_ppm = 200000, .delay_ppm = 200000, .delay_ms = 1, .fail_file = -1,
                                          .seed = (uint64_t)way}};
            Loaded l = load(path, &disk, &how);
            if (l.code) fail_msg("%s, way %d: %s", types[t], way, l.err.text);
            assert_memory_equal(l.pages, truth.pages, truth.model->dense_bytes);
            assert_int_equal(seen.done, seen.total);
            assert_true(seen.calls > (way & 2 ? 10 : 0));
            unload(&l);
        }
        unload(&truth);
    }
    os_pool_free(pool);
}

/* Sets the byte at a place of the file to a value; returns what it was. */
static int poke(const char *path, uint64_t offset, int value) {
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, (long)offset, SEEK_SET), 0);
    int before = fgetc(f);
    assert_int_equal(fseek(f, (long)offset, SEEK_SET), 0);
    assert_int_equal(fputc(value, f), value);
    assert_int_equal(fclose(f), 0);
    return before;
}

/* The scale of every block of a matrix in turn becomes an infinity: also those that lie across the seam of two pieces. */
static void a_bad_block_is_found_wherever_it_lies(void **state) {
    (void)state;
    const char *path = model_of("Q8_0", "qwen35moe");
    Err err = {0};
    FormatModel *f = format_open(path, &err);
    const FormatTensor *t = f ? format_tensor(f, "blk.0.attn_qkv.weight") : NULL;
    assert_non_null(t);
    uint64_t n = t->bytes / 34, step = n / 60 + 1;
    for (uint64_t b = 0; b < n; b += step) {
        int before = poke(path, t->offset + b * 34 + 1, 0x7C);
        Loaded l = load(path, &buffered, &(ModelLoad){.buffer_bytes = 1});
        char name[96];
        snprintf(name, sizeof name, "element %llu of the tensor blk.0.attn_qkv.weight", (unsigned long long)(b * 32));
        assert_int_equal(l.code, ERR_FORMAT);
        if (!strstr(l.err.text, name)) fail_msg("block %llu: %s", (unsigned long long)b, l.err.text);
        unload(&l);
        poke(path, t->offset + b * 34 + 1, before);
    }
    format_close(f);
}

static void a_place_that_cannot_be_read_is_named(void **state) {
    (void)state;
    const char *path = model_of("Q8_0", "qwen35moe");
    Err err = {0};
    FormatModel *f = format_open(path, &err);
    const FormatTensor *t = f ? format_tensor(f, "blk.1.attn_norm.weight") : NULL;
    assert_non_null(t);
    DiskConfig bad = {.backend = DISK_FAKE, .retries = 1, .faults = {.fail_file = 0, .fail_offset = t->offset}};
    Loaded l = load(path, &bad, &(ModelLoad){.buffer_bytes = 1});
    assert_int_equal(l.code, ERR_IO);
    assert_non_null(strstr(l.err.text, "the dense weights from the tensor "));
    assert_non_null(strstr(l.err.text, path));
    unload(&l);
    format_close(f);
}

static void an_interrupt_waits_for_what_is_on_its_way(void **state) {
    (void)state;
    const char *path = model_of("F32", "qwen35moe");
    DiskConfig slow = {.backend = DISK_FAKE, .faults = {.delay_ppm = 500000, .delay_ms = 3, .fail_file = -1, .seed = 2}};
    for (uint64_t after = 1; after < 12; after++) {
        Seen seen = {.stop_after = after};
        Loaded l = load(path, &slow, &(ModelLoad){.buffer_bytes = 1, .progress = watch, .user = &seen});
        assert_int_equal(l.code, ERR_INTERRUPTED);
        assert_int_equal(seen.calls, after);
        unload(&l);
    }
}

static void no_memory_for_the_pieces_is_an_error(void **state) {
    (void)state;
    const char *path = model_of("F32", "qwen35moe");
    Loaded l = load(path, &buffered, &(ModelLoad){0});
    os_pages_fail_after(1);
    l.code = load_dense_from(l.model, l.pages, &buffered, &(ModelLoad){0}, &l.err);
    os_pages_fail_after(0);
    assert_int_equal(l.code, ERR_MEMORY);
    unload(&l);
}

static int measure(const char *path) {
    OsPool *pool = os_pool_new(0, NULL);
    Loaded l = load(path, &buffered, &(ModelLoad){.progress = watch, .user = &(Seen){.stop_after = 1}}); /* opened, and no more */
    os_pages_free(l.pages, l.model->dense_bytes);
    l.pages = os_pages_new(l.model->dense_bytes, &l.err);
    DiskProbeConfig config = {.paths = &path, .n_paths = 1, .backend = DISK_THREADS, .depth = 16, .memory_bytes = 33 << 20};
    DiskProbe *probe = disk_probe_new(&config, &l.err);
    if (!l.pages || !probe) fail_msg("%s", l.err.text);
    for (int i = 0; i < 3; i++) {
        DiskRate rate;
        DiskProbeRun run = {.read_bytes = 2 << 20, .depth = 16, .seconds = 2};
        if (disk_probe_run(probe, &run, &rate, &l.err)) fail_msg("%s", l.err.text);
        printf("disk, 16 reads of 2 MiB at a time: %.2f GB/s\n", rate.bytes_per_s / 1e9);
        uint64_t start = os_now_ns();
        DiskConfig disk = {.backend = DISK_THREADS, .retries = -1};
        if (load_dense_from(l.model, l.pages, &disk, &(ModelLoad){.pool = pool}, &l.err)) fail_msg("%s", l.err.text);
        double s = (double)(os_now_ns() - start) / 1e9;
        printf("dense weights%s: %.2f s, %.2f GB/s\n", i ? ", memory there" : "", s, (double)l.model->dense_bytes / s / 1e9);
    }
    disk_probe_free(probe);
    unload(&l);
    os_pool_free(pool);
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 1) return measure(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_cut_gives_the_same_bytes),
        cmocka_unit_test(a_bad_block_is_found_wherever_it_lies),
        cmocka_unit_test(a_place_that_cannot_be_read_is_named),
        cmocka_unit_test(an_interrupt_waits_for_what_is_on_its_way),
        cmocka_unit_test(no_memory_for_the_pieces_is_an_error),
    };
    return RUN_TESTS(tests);
}
