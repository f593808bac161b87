/* Files that are cut at every byte, files with random bytes overwritten, and memory that runs out at every allocation: always an
 * error sentence or a sound table, never a crash, a leak or an allocation far beyond the file. All of it is deterministic. */
#define _POSIX_C_SOURCE 200809L
#include "support/gguf_writer.h"
#include "support/malformed.h"
#include "support/safetensors_writer.h"
#include "support/support.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROUNDS = 4000 };

/* ---- the files ---- */

static const uint8_t zeros[256];

/* part -1: a file of its own; else part 0, 1 of a split model of two. */
static Buf small_gguf(int part) {
    static const char *const tokens[] = {"a", "bc", "def"};
    GgufWriter w;
    gguf_begin(&w);
    gguf_str(&w, "general.architecture", "toy");
    gguf_u32(&w, "general.alignment", 64);
    gguf_bool(&w, "b", true);
    gguf_strings(&w, "t", tokens, 3);
    gguf_array(&w, "n", 5, 2, zeros, 8);
    if (part >= 0) {
        gguf_u16(&w, "split.no", (uint16_t)part);
        gguf_u16(&w, "split.count", 2);
        gguf_i32(&w, "split.tensors.count", 6);
    }
    w.alignment = 64;
    gguf_tensor(&w, part > 0 ? "x2" : "x1", 0, 2, (uint64_t[]){4, 4}, zeros, 64);
    gguf_tensor(&w, part > 0 ? "y2" : "y1", 8, 1, (uint64_t[]){32}, zeros, 34);
    gguf_tensor(&w, part > 0 ? "z2" : "z1", 0, 1, (uint64_t[]){16}, zeros, 64);
    return gguf_end(&w);
}

static Buf small_safetensors(const char *suffix) {
    Buf json = {0}, b = {0};
    buf_printf(&json,
               "{\"__metadata__\":{\"format\":\"pt\"},\"x%s\":{\"dtype\":\"BF16\",\"shape\":[4,2],\"data_offsets\":[8,24]},"
               "\"y%s\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]},\"\\u007a%s\":{\"dtype\":\"F32\",\"shape\":[],"
               "\"data_offsets\":[24,28]}}",
               suffix, suffix, suffix);
    put_u64(&b, json.len);
    buf_put(&b, json.ptr, json.len);
    buf_put(&b, zeros, 28);
    buf_free(&json);
    return b;
}

typedef FormatModel *Opener(const char *path, Err *err);

/* ---- cut ---- */

static void cut_everywhere(const char *name, const Buf *b, Opener *open) {
    const char *path = write_temp(name, b->ptr, b->len);
    Err err = {0};
    assert_true(malformed_or_sound("whole", open(path, &err), &err));
    for (size_t n = b->len; n-- > 0;) {
        assert_int_equal(truncate(path, (off_t)n), 0);
        memset(&err, 0, sizeof err);
        char label[64];
        snprintf(label, sizeof label, "cut to %zu of %zu bytes", n, b->len);
        if (malformed_or_sound(label, open(path, &err), &err)) {
            print_error("%s: opened\n", label);
            fail();
        }
    }
}

static void truncation_is_always_seen(void **state) {
    (void)state;
    Buf b = small_gguf(-1);
    cut_everywhere("cut.gguf", &b, format_open);
    buf_free(&b);
    b = small_safetensors("");
    cut_everywhere("cut.safetensors", &b, format_open_safetensors_file);
    buf_free(&b);
}

/* ---- overwrite ---- */

static uint64_t rng_state;

static uint64_t rng(void) { /* xorshift64* */
    rng_state ^= rng_state >> 12;
    rng_state ^= rng_state << 25;
    rng_state ^= rng_state >> 27;
    return rng_state * UINT64_C(0x2545F4914F6CDD1D);
}

/* Mostly values that sit at an edge; up to eight bytes, since counts and lengths are that wide. */
static void overwrite(char *bytes, size_t len) {
    static const uint64_t edges[] = {0, 1, 2, 7, 8, 31, 32, 33, 255, 256, 4096, 65535, 65536, 1 << 20, INT32_MAX, UINT32_MAX,
                                     UINT64_C(1) << 32, UINT64_C(1) << 40, UINT64_C(1) << 61, INT64_MAX, UINT64_C(1) << 63,
                                     UINT64_MAX - 31, UINT64_MAX};
    static const char json[] = "{}[]\",:0123456789.-eE\\utfn \x80\xC3";
    static const size_t widths[] = {1, 1, 2, 4, 8};
    size_t width = widths[rng() % COUNT_OF(widths)], at = (size_t)(rng() % len);
    uint64_t kind = rng() % 4, value = edges[rng() % COUNT_OF(edges)];
    if (kind == 0) value = rng();
    if (kind == 1) value = (unsigned char)json[rng() % (sizeof json - 1)], width = 1;
    if (kind == 2) value = (unsigned char)bytes[at] ^ 1u << rng() % 8, width = 1;
    for (size_t k = 0; k < width && at + k < len; k++) bytes[at + k] = (char)(value >> (8 * k) & 0xFF);
}

static void overwritten(const char *name, const Buf *b, size_t header, Opener *open, uint64_t seed) {
    int sound = 0;
    rng_state = seed;
    for (int round = 0; round < ROUNDS; round++) {
        char copy[2048], label[64];
        assert_true(b->len <= sizeof copy);
        memcpy(copy, b->ptr, b->len);
        for (uint64_t n = 1 + rng() % 3; n-- > 0;) overwrite(copy, header);
        size_t len = rng() % 16 ? b->len : (size_t)(rng() % b->len);
        Err err = {0};
        snprintf(label, sizeof label, "%s, round %d", name, round);
        sound += malformed_or_sound(label, open(write_temp(name, copy, len), &err), &err);
    }
    assert_in_range(sound, 1, ROUNDS - 1); /* some edits do no harm; were it all or none, the test would test nothing */
}

static void random_damage_is_harmless(void **state) {
    (void)state;
    Buf b = small_gguf(-1);
    overwritten("damaged.gguf", &b, b.len - 192, format_open, 1);
    buf_free(&b);
    b = small_safetensors("");
    overwritten("damaged.safetensors", &b, b.len - 28, format_open_safetensors_file, 2);
    buf_free(&b);
}

/* ---- out of memory ---- */

/* Fails every allocation from the n-th on, for every n until the file opens. */
static void out_of_memory_at_every_step(const char *path, Opener *open) {
    int descriptors = open_descriptors();
    FormatModel *m = NULL;
    uint64_t n = 0;
    while (!m) {
        Err err = {0};
        mem_fail_after(++n);
        m = open(path, &err);
        mem_fail_after(0);
        if (!m && err.code != ERR_MEMORY) {
            print_error("allocation %llu: error %d: %s\n", (unsigned long long)n, (int)err.code, err.text);
            fail();
        }
        if (!m) assert_int_equal(open_descriptors(), descriptors);
        assert_true(n < 1000);
    }
    assert_true(n > 5);
    format_close(m);
}

static void memory_may_run_out_anywhere(void **state) {
    (void)state;
    Buf b = small_gguf(-1);
    out_of_memory_at_every_step(write_temp("memory.gguf", b.ptr, b.len), format_open);
    buf_free(&b);
    for (int part = 0; part < 2; part++) {
        b = small_gguf(part);
        write_temp(part ? "memory-00002-of-00002.gguf" : "memory-00001-of-00002.gguf", b.ptr, b.len);
        buf_free(&b);
    }
    char path[256];
    snprintf(path, sizeof path, "%s/memory-00002-of-00002.gguf", temp_dir());
    out_of_memory_at_every_step(path, format_open);

    snprintf(path, sizeof path, "%s/folder", temp_dir());
    assert_int_equal(mkdir(path, 0700), 0);
    for (int shard = 1; shard <= 2; shard++) {
        b = small_safetensors(shard == 1 ? "1" : "2");
        write_temp(shard == 1 ? "folder/s1.safetensors" : "folder/s2.safetensors", b.ptr, b.len);
        buf_free(&b);
    }
    static const char index[] = "{\"weight_map\":{\"x1\":\"s1.safetensors\",\"x2\":\"s2.safetensors\"}}";
    static const char template[] = "{\"chat_template\":\"hello\"}";
    write_temp("folder/model.safetensors.index.json", index, sizeof index - 1);
    write_temp("folder/config.json", "{\"a\":[1]}", 9);
    write_temp("folder/tokenizer.json", "{}", 2);
    write_temp("folder/chat_template.json", template, sizeof template - 1);
    out_of_memory_at_every_step(path, format_open);
}

static void writing_may_run_out_of_memory(void **state) {
    (void)state;
    static const float f[] = {1, 2};
    const FormatOut out[] = {{"x", QUANT_F32, 1, {2}, f}, {"y", QUANT_F32, 1, {2}, f}};
    char path[256];
    snprintf(path, sizeof path, "%s/written.safetensors", temp_dir());
    ErrCode code = ERR_MEMORY;
    uint64_t n = 0;
    while (code) {
        Err err = {0};
        assert_int_not_equal(access(path, F_OK), 0); /* no file is better than half a file */
        mem_fail_after(++n);
        code = write_safetensors(path, out, COUNT_OF(out), &err);
        mem_fail_after(0);
        assert_int_equal(code, code ? ERR_MEMORY : ERR_OK);
    }
    assert_true(n > 3);
}

MALFORMED_LIMITS

int main(void) {
    const struct CMUnitTest malformed_fuzz[] = {
        cmocka_unit_test(truncation_is_always_seen),
        cmocka_unit_test(random_damage_is_harmless),
        cmocka_unit_test(memory_may_run_out_anywhere),
        cmocka_unit_test(writing_may_run_out_of_memory),
    };
    malformed_limits();
    return RUN_TESTS(malformed_fuzz);
}
