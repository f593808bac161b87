/* Models with a few bytes changed at random: opening and loading either works or ends with a sentence; nothing crashes, and no
 * table grows beyond what the file can justify (run under make asan). */
#include "support/same_model.h"
#include "support/support.h"
#include "support/tiny_model.h"

#include <stdio.h>
#include <string.h>

static uint32_t state_of_chance = 2463534242u;

static uint32_t chance(uint32_t below) {
    state_of_chance ^= state_of_chance << 13;
    state_of_chance ^= state_of_chance >> 17;
    state_of_chance ^= state_of_chance << 5;
    return state_of_chance % below;
}

static Buf bytes_of(const char *path) {
    Buf b = {0};
    Err err = {0};
    if (os_read_file(path, 1 << 20, &b, &err) != ERR_OK) fail_msg("%s", err.text);
    return b;
}

static void store_bytes(const char *path, const char *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* Opens path `rounds` times with up to 4 of the first `head` bytes of `file` changed. Both outcomes must occur. */
static void spoil(const char *path, const char *file, size_t head, const char *alphabet, int rounds) {
    Buf whole = bytes_of(file);
    int opened = 0, refused = 0;
    if (head > whole.len) head = whole.len;
    for (int i = 0; i < rounds; i++) {
        char *copy = mem_strndup(whole.ptr, whole.len);
        for (uint32_t n = 1 + chance(4); n > 0; n--)
            copy[chance((uint32_t)head)] = alphabet ? alphabet[chance((uint32_t)strlen(alphabet))] : (char)chance(256);
        store_bytes(file, copy, whole.len);
        mem_free(copy);
        Err err = {0};
        Opened o = model_try(path, &err);
        if (o.model) {
            opened++;
        } else {
            refused++;
            assert_int_not_equal(err.code, ERR_OK);
            assert_true(strlen(err.text) > 10);
        }
        model_close(&o);
    }
    assert_true(opened > 0 && refused > 0);
    store_bytes(file, whole.ptr, whole.len);
    buf_free(&whole);
}

static void spoilt_gguf_files_end_with_a_sentence(void **state) {
    (void)state;
    static const char *const archs[] = {"qwen35moe", "qwen3next", "qwen3moe"};
    for (size_t i = 0; i < COUNT_OF(archs); i++) {
        TinyModel *t = tiny_new(archs[i]), *g = tiny_to_gguf(t);
        const char *path = tiny_write(g);
        spoil(path, path, 6000, NULL, 400);
        tiny_free(t);
        tiny_free(g);
    }
}

static void spoilt_configs_end_with_a_sentence(void **state) {
    (void)state;
    TinyModel *t = tiny_new("qwen35moe");
    t->generation = json_pack("{s:[i, i], s:f, s:b}", "eos_token_id", 5, 3, "top_p", 0.25, "do_sample", 0);
    const char *folder = tiny_write(t);
    static const char *const files[] = {"config.json", "generation_config.json"};
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        char file[512];
        snprintf(file, sizeof file, "%s/%s", folder, files[i]);
        spoil(folder, file, 4096, "0123456789-.e{}[],:\"ntx ", 400);
    }
    tiny_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spoilt_gguf_files_end_with_a_sentence),
        cmocka_unit_test(spoilt_configs_end_with_a_sentence),
    };
    return RUN_TESTS(tests);
}
