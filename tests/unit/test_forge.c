/* Made models: the bytes, the file, and what they compute. */
#define _GNU_SOURCE
#include "support/program.h"

#include "forge/forge.h"
#include "model/model.h"

#include <math.h>
#include <sluice.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static ForgeOptions tiny(const char *name) {
    return (ForgeOptions){.shape = *forge_shape(name), .experts = QUANT_Q4_K, .dense = QUANT_Q8_0};
}

static Forge *made(const ForgeOptions *o) {
    Err err = {0};
    Forge *f = forge_new(o, &err);
    if (!f) fail_msg("%s", err.text);
    return f;
}

/* A made model of which only the headers are read. */
typedef struct Hollow {
    Forge *forge;
    char path[FORGE_PATH];
    int fd;
    FormatModel *format;
    Model *model;
} Hollow;

static void open_hollow(Hollow *h, const ForgeOptions *o) {
    Err err = {0};
    h->forge = made(o);
    assert_int_equal(forge_hollow(h->forge, h->path, &h->fd, &err), ERR_OK);
    h->format = format_open(h->path, &err);
    h->model = h->format ? model_new(h->format, &err) : NULL;
    if (!h->model) fail_msg("%s: %s", o->shape.name, err.text);
}

static void close_hollow(Hollow *h) {
    model_free(h->model);
    format_close(h->format);
    forge_hollow_close(h->fd);
    forge_free(h->forge);
}

/* The whole file. */
static void write_made(const ForgeOptions *o, const char *path) {
    Err err = {0};
    Forge *f = made(o);
    remove(path);
    if (forge_write(f, path, NULL, NULL, &err)) fail_msg("%s", err.text);
    forge_free(f);
}

/* ---- shapes and bytes ---- */

static double weights_of(const char *name) {
    Hollow h;
    ForgeOptions o = tiny(name);
    open_hollow(&h, &o);
    assert_true(h.format->files[0].size == forge_bytes(h.forge));
    double n = 0;
    for (uint32_t i = 0; i < h.format->n_tensors; i++) n += (double)format_tensor_count(&h.format->tensors[i]);
    close_hollow(&h);
    return n;
}

static void every_shape_is_read_from_its_header_alone(void **state) {
    (void)state;
    for (size_t i = 0; forge_shape_at(i); i++) assert_true(weights_of(forge_shape_at(i)->name) > 1e6);
    assert_null(forge_shape("qwen3.5-397b"));
}

static void shapes_have_as_many_weights_as_their_names_say(void **state) {
    (void)state;
    static const struct {
        const char *name;
        double billions;
    } known[] = {{"qwen3.5-397b-a17b", 396.35}, {"qwen3.5-122b-a10b", 122.11}, {"qwen3.5-35b-a3b", 34.66}, {"qwen3-next-80b-a3b", 79.67},
                 {"qwen3-coder-480b-a35b", 480.2}, {"qwen3-235b-a22b", 235.1}, {"qwen3-30b-a3b", 30.53}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        double have = weights_of(known[i].name) * 1e-9;
        if (fabs(have - known[i].billions) > 0.001 * known[i].billions) fail_msg("%s: %.3f billion weights", known[i].name, have);
    }
}

static void any_part_of_the_file_can_be_made_alone(void **state) {
    (void)state;
    ForgeOptions o = tiny("tiny-qwen3next");
    o.skew = 1;
    o.layers = 1;
    Forge *f = made(&o);
    size_t n = (size_t)forge_bytes(f);
    uint8_t *whole = malloc(n), *parts = malloc(n);
    assert_true(whole && parts);
    forge_fill(f, 0, n, whole);
    for (size_t at = 0, step = 1; at < n; at += step, step = step * 7 % 99991 + 1)
        forge_fill(f, at, n - at < step ? n - at : step, parts + at);
    assert_memory_equal(whole, parts, n);
    free(whole);
    free(parts);
    forge_free(f);
}

/* The first expert's gate of each type: finite, mean 0, and of unit gain. */
static void every_number_format_can_be_made(void **state) {
    (void)state;
    int n_types = 0;
    for (int type = 0; type < QUANT_TYPE_COUNT; type++) {
        const QuantTraits *t = quant_traits((QuantType)type);
        if (!t->decode || t->ggml_id < 0) continue;
        Hollow h;
        ForgeOptions o = tiny("tiny-qwen35moe");
        o.experts = (QuantType)type;
        open_hollow(&h, &o);
        const FormatTensor *gate = format_tensor(h.format, "blk.3.ffn_gate_exps.weight");
        assert_int_equal(gate->type, type);
        enum { N = 256 * 256 };
        uint8_t *bytes = malloc(N * 4);
        float *values = malloc(N * sizeof *values);
        forge_fill(h.forge, gate->offset, quant_row_bytes((QuantType)type, N), bytes);
        assert_true(quant_finite((QuantType)type, bytes, N));
        quant_decode((QuantType)type, bytes, values, N);
        double sum = 0, squares = 0;
        for (int i = 0; i < N; i++) {
            sum += (double)values[i];
            squares += (double)values[i] * (double)values[i];
        }
        double rms = sqrt(squares / N) * 16; /* rows of 256 */
        if (fabs(rms - 1) > 0.1) fail_msg("%s: a gain of %g", t->name, rms);
        if (fabs(sum / N) * 16 > 0.03) fail_msg("%s: a mean of %g of the gain", t->name, sum / N * 16);
        free(bytes);
        free(values);
        close_hollow(&h);
        n_types++;
    }
    assert_true(n_types >= 20);
}

static int by_bytes(const void *a, const void *b) { return memcmp(a, b, 32); }

static void no_two_experts_are_alike(void **state) {
    (void)state;
    Hollow h;
    ForgeOptions o = tiny("tiny-qwen3moe");
    open_hollow(&h, &o);
    enum { N = 4 * 32 * 3 };
    static uint8_t heads[N][32];
    for (int i = 0; i < N; i++) forge_fill(h.forge, h.model->records[i].offset, 32, heads[i]);
    qsort(heads, N, 32, by_bytes);
    for (int i = 1; i < N; i++) assert_true(memcmp(heads[i - 1], heads[i], 32) != 0);
    close_hollow(&h);
}

static void what_a_format_cannot_hold_is_refused_by_name(void **state) {
    (void)state;
    Err err = {0};
    ForgeOptions o = tiny("tiny-qwen3moe");
    o.shape.expert_inner = 128;
    assert_null(forge_new(&o, &err));
    assert_non_null(strstr(err.text, "ffn_down_exps.weight"));
    assert_non_null(strstr(err.text, "Q4_K"));
    o = tiny("tiny-qwen3moe");
    o.dense = QUANT_Q4_K;
    o.skew = 1;
    assert_null(forge_new(&o, &err));
    assert_non_null(strstr(err.text, "--skew"));
}

/* ---- the file ---- */

static uint64_t stop_at;
static bool stop_there(void *user, uint64_t done, uint64_t total) {
    (void)user, (void)total;
    return done < stop_at;
}

static void a_file_that_was_interrupted_is_continued_to_the_same_bytes(void **state) {
    (void)state;
    Err err = {0};
    ForgeOptions o = tiny("tiny-qwen35moe");
    Forge *f = made(&o);
    const char *once = temp_path("once.gguf"), *twice = temp_path("twice.gguf"), *part = temp_path("twice.gguf.part");
    assert_int_equal(forge_write(f, once, NULL, NULL, &err), ERR_OK);
    stop_at = 1 << 20;
    assert_int_equal(forge_write(f, twice, stop_there, NULL, &err), ERR_INTERRUPTED);
    assert_non_null(strstr(err.text, "goes on"));
    assert_int_equal(access(twice, F_OK), -1);
    struct stat st;
    assert_int_equal(stat(part, &st), 0);
    assert_true(st.st_size > 0 && (uint64_t)st.st_size < forge_bytes(f));
    /* it was killed in the middle of a piece, and the end of what it wrote never reached the disk */
    assert_int_equal(truncate(part, st.st_size - 4321), 0);
    assert_int_equal(truncate(part, st.st_size + 12345), 0);
    assert_int_equal(forge_write(f, twice, NULL, NULL, &err), ERR_OK);
    assert_int_equal(access(part, F_OK), -1);
    size_t n, m;
    char *a = read_whole(once, &n), *b = read_whole(twice, &m);
    assert_true(n == forge_bytes(f));
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    free(a);
    free(b);
    forge_free(f);
}

static void the_beginning_of_another_file_is_not_continued(void **state) {
    (void)state;
    Err err = {0};
    ForgeOptions o = tiny("tiny-qwen35moe");
    Forge *f = made(&o);
    o.seed = 1;
    Forge *other = made(&o);
    const char *path = temp_path("other.gguf");
    stop_at = 1 << 20;
    assert_int_equal(forge_write(f, path, stop_there, NULL, &err), ERR_INTERRUPTED);
    assert_int_equal(forge_write(other, path, NULL, NULL, &err), ERR_STATE);
    assert_non_null(strstr(err.text, "other.gguf.part"));
    assert_int_equal(forge_write(f, path, NULL, NULL, &err), ERR_OK);
    forge_free(f);
    forge_free(other);
}

static void a_file_system_with_too_little_room_is_refused_before_writing(void **state) {
    (void)state;
    Err err = {0};
    ForgeOptions o = tiny("qwen3-coder-480b-a35b");
    o.experts = QUANT_F32; /* 1.9 TB */
    Forge *f = made(&o);
    const char *path = temp_path("huge.gguf");
    assert_int_equal(forge_write(f, path, NULL, NULL, &err), ERR_IO);
    assert_non_null(strstr(err.text, "free"));
    assert_non_null(strstr(err.text, "TiB"));
    assert_int_equal(access(temp_path("huge.gguf.part"), F_OK), -1);
    forge_free(f);
}

/* ---- what it computes ---- */

enum { TOKENS = 256, EXPERTS = 32, PICKS = 4 };

typedef struct Routes {
    int32_t picks[4][TOKENS][PICKS];
} Routes;

static void note_route(void *user, int layer, int position, int k, const int32_t *experts, const float *weights) {
    Routes *r = user;
    (void)weights;
    memcpy(r->picks[layer][position], experts, (size_t)k * sizeof *experts);
}

/* Runs these ids and demands finite logits. */
static void feed(const char *path, const int32_t *ids, size_t n, const sluice_probe *probe) {
    sluice_error error;
    sluice_options options;
    sluice_options_init(&options);
    options.model = path;
    options.threads = 2;
    sluice_model *model = sluice_open(&options, &error);
    if (!model) fail_msg("%s", error.message);
    sluice_session *session = sluice_session_new(model, &error);
    assert_non_null(session);
    sluice_set_probe(session, probe);
    if (sluice_feed(session, ids, n, &error)) fail_msg("%s", error.message);
    const float *logits = sluice_logits(session);
    for (int i = 0; i < 512; i++) assert_true(isfinite(logits[i]));
    sluice_session_free(session);
    sluice_close(model);
}

/* Ids of two topics, one after the other. */
static void run(const char *path, Routes *routes) {
    int32_t ids[TOKENS];
    uint32_t random = 1;
    for (int i = 0; i < TOKENS; i++) {
        random = random * 1664525 + 1013904223;
        ids[i] = (i < TOKENS / 2 ? 40 : 400) + (int32_t)((random >> 24) % 8); /* 512 tokens: 8 a topic */
    }
    feed(path, ids, TOKENS, &(sluice_probe){.user = routes, .routing = note_route});
}

static double largest_rms;
static void note_hidden(void *user, int layer, int position, int n, const float *hidden) {
    (void)user, (void)layer, (void)position;
    double squares = 0;
    for (int i = 0; i < n * 256; i++) squares += (double)hidden[i] * (double)hidden[i];
    double rms = sqrt(squares / (n * 256));
    if (!(rms <= largest_rms)) largest_rms = rms;
}

static void activations_stay_near_one_through_sixty_layers(void **state) {
    (void)state;
    ForgeOptions o = tiny("tiny-qwen35moe");
    o.shape.layers = 60;
    o.shape.experts = 4;
    o.experts = QUANT_MXFP4;
    const char *path = temp_path("deep.gguf");
    write_made(&o, path);
    int32_t ids[32];
    for (int i = 0; i < 32; i++) ids[i] = i * 13 % 512;
    largest_rms = 0;
    feed(path, ids, 32, &(sluice_probe){.hidden = note_hidden});
    if (!(largest_rms > 0.5 && largest_rms < 2)) fail_msg("root mean square of the residual: %g", largest_rms);
}

/* How many picks fall on the busiest eighth of the experts. */
static double busiest_share(const Routes *r) {
    double share = 0;
    for (int l = 0; l < 4; l++) {
        int count[EXPERTS] = {0}, best = 0;
        for (int t = 0; t < TOKENS; t++)
            for (int i = 0; i < PICKS; i++) count[r->picks[l][t][i]]++;
        for (int n = 0; n < EXPERTS / 8; n++) {
            int at = 0;
            for (int e = 1; e < EXPERTS; e++)
                if (count[e] > count[at]) at = e;
            best += count[at];
            count[at] = 0;
        }
        share += (double)best / (TOKENS * PICKS) / 4;
    }
    return share;
}

/* How many of a token's picks token t + distance has too. */
static double shared_picks(const Routes *r, int from, int to, int distance) {
    int n = 0;
    for (int l = 0; l < 4; l++)
        for (int t = from; t < to; t++)
            for (int i = 0; i < PICKS; i++)
                for (int j = 0; j < PICKS; j++) n += r->picks[l][t][i] == r->picks[l][t + distance][j];
    return (double)n / (4.0 * (to - from) * PICKS);
}

static void a_skew_makes_tokens_share_experts(void **state) {
    (void)state;
    static Routes even, uneven;
    static const char *const names[] = {"tiny-qwen35moe", "tiny-qwen3next", "tiny-qwen3moe"};
    for (size_t i = 0; i < 3; i++) {
        ForgeOptions o = tiny(names[i]);
        for (int skewed = 0; skewed < 2; skewed++) {
            o.skew = skewed;
            const char *path = temp_path("computes.gguf");
            write_made(&o, path);
            run(path, skewed ? &uneven : &even);
        }
        print_message("%s: busiest eighth %.2f, with skew %.2f; shared with the next token %.2f, with skew %.2f; with another topic %.2f\n",
                      names[i], busiest_share(&even), busiest_share(&uneven), shared_picks(&even, 0, 127, 1),
                      shared_picks(&uneven, 0, 127, 1), shared_picks(&uneven, 0, 128, 128));
        assert_true(busiest_share(&even) < 0.4);
        assert_true(busiest_share(&uneven) > busiest_share(&even) + 0.1);
        assert_true(shared_picks(&uneven, 0, 127, 1) > shared_picks(&even, 0, 127, 1) + 0.1);
        assert_true(shared_picks(&uneven, 0, 127, 1) > shared_picks(&uneven, 0, 128, 128) + 0.05); /* topics, not popularity alone */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_is_read_from_its_header_alone),
        cmocka_unit_test(shapes_have_as_many_weights_as_their_names_say),
        cmocka_unit_test(any_part_of_the_file_can_be_made_alone),
        cmocka_unit_test(every_number_format_can_be_made),
        cmocka_unit_test(no_two_experts_are_alike),
        cmocka_unit_test(what_a_format_cannot_hold_is_refused_by_name),
        cmocka_unit_test(a_file_that_was_interrupted_is_continued_to_the_same_bytes),
        cmocka_unit_test(the_beginning_of_another_file_is_not_continued),
        cmocka_unit_test(a_file_system_with_too_little_room_is_refused_before_writing),
        cmocka_unit_test(activations_stay_near_one_through_sixty_layers),
        cmocka_unit_test(a_skew_makes_tokens_share_experts),
    };
    return RUN_TESTS(tests);
}
