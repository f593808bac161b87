/* The model's file changes under the running model: the answer stays the same, or there is none. */
#define _GNU_SOURCE
#include "support/make_model.h"
#include "support/pattern_file.h"
#include "support/program.h"
#include "support/recording.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N = 12 };

static const int32_t ids[N] = {72, 101, 108, 108, 111, 44, 32, 119, 111, 114, 108, 100};

/* A running model with two slots, so that nearly everything is read again, and what it says. */
typedef struct Running {
    const char *path;
    char *bytes; /* of the file as it was */
    size_t size;
    sluice_model *model;
    sluice_session *session;
    float truth[MAKE_VOCAB];
} Running;

static Running start(const char *name, const char *io) {
    MakeModel made = {.arch = "qwen35moe", .type = "F16", .seed = 9};
    Running r = {.path = make_model(&made, name)};
    r.bytes = read_whole(r.path, &r.size);
    sluice_options o = check_options(r.path);
    o.cache_slots = 2;
    o.ctx = 64;
    o.io = io;
    r.model = open_or_fail(&o);
    r.session = sluice_session_new(r.model, NULL);
    sluice_error err = {0};
    if (sluice_feed(r.session, ids, N, &err)) fail_msg("%s", err.message);
    memcpy(r.truth, sluice_logits(r.session), sizeof r.truth);
    return r;
}

static void same_answer(Running *r) {
    sluice_error err = {0};
    sluice_session_reset(r->session);
    if (sluice_feed(r->session, ids, N, &err)) fail_msg("%s", err.message);
    assert_memory_equal(sluice_logits(r->session), r->truth, sizeof r->truth);
}

static void stop(Running *r) {
    sluice_session_free(r->session);
    sluice_close(r->model);
    free(r->bytes);
}

static void put_bytes(const char *path, const char *mode, const char *bytes, size_t size) {
    FILE *f = fopen(path, mode);
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static void check_truncated(const char *io) {
    Running r = start("truncated.gguf", io);
    assert_int_equal(truncate(r.path, (off_t)(r.size / 2)), 0);
    sluice_session_reset(r.session);
    sluice_error err = {0};
    assert_int_equal(sluice_feed(r.session, ids, N, &err), SLUICE_IO);
    assert_non_null(strstr(err.message, "truncated.gguf"));
    assert_null(sluice_logits(r.session));
    assert_int_equal(sluice_feed(r.session, ids, 1, &err), SLUICE_STATE);
    put_bytes(r.path, "r+b", r.bytes, r.size);
    same_answer(&r);
    stop(&r);
}

static void check_unlinked(const char *io) {
    Running r = start("unlinked.gguf", io);
    assert_int_equal(unlink(r.path), 0);
    same_answer(&r);
    stop(&r);
}

static void in_every_way_of_reading(void (*check)(const char *io)) {
    check(NULL);
    check("threads");
    check("mmap");
    if (backend_works(DISK_URING)) check("uring");
}

static void a_truncated_file_is_an_error_and_healing_it_heals(void **state) {
    (void)state;
    in_every_way_of_reading(check_truncated);
}

static void an_unlinked_file_still_answers(void **state) {
    (void)state;
    in_every_way_of_reading(check_unlinked);
}

/* What a download or an editor does: another file takes the name. The open one still has the right bytes. */
static void a_replaced_file_is_not_read(void **state) {
    (void)state;
    Running r = start("replaced.gguf", NULL);
    char other[300];
    snprintf(other, sizeof other, "%s.new", r.path);
    char *garbage = malloc(r.size);
    for (size_t i = 0; i < r.size; i++) garbage[i] = (char)~r.bytes[i];
    put_bytes(other, "wb", garbage, r.size);
    assert_int_equal(rename(other, r.path), 0);
    same_answer(&r);
    put_bytes(other, "wb", garbage, 100); /* a shorter one changes nothing either */
    assert_int_equal(rename(other, r.path), 0);
    same_answer(&r);
    free(garbage);
    stop(&r);
}

static void a_file_that_grows_answers_as_before(void **state) {
    (void)state;
    Running r = start("growing.gguf", NULL);
    put_bytes(r.path, "ab", "and more at its end", 19);
    same_answer(&r);
    stop(&r);
}

int main(void) {
    const struct CMUnitTest changed[] = {
        cmocka_unit_test(a_truncated_file_is_an_error_and_healing_it_heals),
        cmocka_unit_test(an_unlinked_file_still_answers),
        cmocka_unit_test(a_replaced_file_is_not_read),
        cmocka_unit_test(a_file_that_grows_answers_as_before),
    };
    return RUN_TESTS(changed);
}
