/* GGUF files that are wrong in one place each: every one must be refused with a sentence about that place. */
#define _POSIX_C_SOURCE 200809L
#include "support/gguf_writer.h"
#include "support/malformed.h"
#include "support/support.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static Buf valid(void) {
    static const char *const tokens[] = {"one", "two", "three"};
    static const uint8_t zeros[256];
    GgufWriter w;
    gguf_begin(&w);
    gguf_str(&w, "general.architecture", "toy");
    gguf_u32(&w, "general.alignment", 32);
    gguf_bool(&w, "toy.flag", true);
    gguf_array(&w, "toy.flags", 7, 3, "\1\0\1", 3);
    gguf_strings(&w, "toy.tokens", tokens, 3);
    gguf_array(&w, "toy.numbers", 5, 2, zeros, 8);
    gguf_u32(&w, "toy.last", 7);
    gguf_tensor(&w, "w.alpha", 0, 2, (uint64_t[]){8, 4}, zeros, 128);
    gguf_tensor(&w, "w.beta", 8, 2, (uint64_t[]){32, 2}, zeros, 68);
    gguf_tensor(&w, "w.gamma", 1, 1, (uint64_t[]){16}, zeros, 32);
    return gguf_end(&w);
}

/* One edit: `width` bytes of `value`, `delta` bytes behind the first place where `anchor` ends. Behind a key's name stand its
 * kind (+0) and value (+4), of an array the kind of the elements (+4), their number (+8) and they themselves (+16); before it
 * its length (-8). Behind a tensor's name stand n_dims (+0), the dimensions (+4, +12), and for two of them type (+20) and
 * offset (+24). Behind the magic stand the version (+0) and the numbers of tensors (+4) and keys (+12). */
typedef struct Edit {
    const char *label, *anchor;
    int delta, width;
    uint64_t value;
    const char *words;
} Edit;

static const Edit edits[] = {
    {"magic", "GGUF", -4, 1, 'X', "not a GGUF file: it begins with 'XGUF'"},
    {"magic of bytes", "GGUF", -4, 4, 0x1B0000FF, "not a GGUF file: it begins with"},
    {"magic of GGML", "GGUF", -4, 4, 0x67676D6C, "from before GGUF"},
    {"version 0", "GGUF", 0, 4, 0, "GGUF version 0 is not supported"},
    {"version 1", "GGUF", 0, 4, 1, "GGUF version 1 is not supported"},
    {"version 4", "GGUF", 0, 4, 4, "GGUF version 4 is not supported"},
    {"big-endian", "GGUF", 0, 4, 0x03000000, "big-endian"},
    {"2^64-1 tensors", "GGUF", 4, 8, UINT64_MAX, "18446744073709551615 tensors cannot be in"},
    {"2^40 tensors", "GGUF", 4, 8, UINT64_C(1) << 40, "tensors cannot be in"},
    {"100 tensors", "GGUF", 4, 8, 100, "tensors cannot be in"},
    {"one tensor more", "GGUF", 4, 8, 4, "at offset"},
    {"2^64-1 keys", "GGUF", 12, 8, UINT64_MAX, "metadata keys cannot be in"},
    {"2^33 keys", "GGUF", 12, 8, UINT64_C(1) << 33, "metadata keys cannot be in"},
    {"one key more", "GGUF", 12, 8, 8, "the name of a tensor is"},
    {"one key less", "GGUF", 12, 8, 6, "tensor 'toy.last'"},
    {"key name of 2^64-1 bytes", "toy.last", -16, 8, UINT64_MAX, "the name of a key is 18446744073709551615 bytes long"},
    {"key name of 65536 bytes", "toy.last", -16, 8, 65536, "more than the 65535 allowed"},
    {"key name past the end", "toy.last", -16, 8, 65535, "the file ends inside the name of a key"},
    {"key without a name", "toy.last", -16, 8, 0, "a key has an empty name"},
    {"key name of half a character", "toy.last", -8, 1, 0xC3, "the key name '?oy.last' is not clean UTF-8"},
    {"key name with a line end", "toy.last", -8, 1, '\n', "is not clean UTF-8"},
    {"key name with a NUL", "toy.last", -1, 1, 0, "is not clean UTF-8"},
    {"value kind 13", "toy.last", 0, 4, 13, "key 'toy.last' has the unknown value kind 13"},
    {"value kind 2^32-1", "toy.last", 0, 4, UINT32_MAX, "unknown value kind 4294967295"},
    {"array of arrays", "toy.numbers", 4, 4, 9, "key 'toy.numbers' is an array of arrays"},
    {"array of kind 99", "toy.numbers", 4, 4, 99, "unknown value kind 99"},
    {"2^62 numbers", "toy.numbers", 8, 8, UINT64_C(1) << 62, "array elements cannot be in"},
    {"a few numbers too many", "toy.numbers", 8, 8, 200, "array elements cannot be in"},
    {"2^61 strings", "toy.tokens", 8, 8, UINT64_C(1) << 61, "strings cannot be in"},
    {"a few strings too many", "toy.tokens", 8, 8, 20, "at offset"},
    {"string of 2^63 bytes", "toy.tokens", 16, 8, UINT64_C(1) << 63, "a string value is 9223372036854775808 bytes long"},
    {"string past the end", "toy.tokens", 16, 8, 5000, "the file ends inside a string value"},
    {"truth value 2", "toy.flag", 4, 1, 2, "a truth value of key 'toy.flag' is 2"},
    {"truth value in an array", "toy.flags", 18, 1, 0xFF, "a truth value of key 'toy.flags' is 255"},
    {"alignment 0", "general.alignment", 4, 4, 0, "general.alignment is 0"},
    {"alignment 24", "general.alignment", 4, 4, 24, "general.alignment is 24"},
    {"alignment 2^31", "general.alignment", 4, 4, UINT64_C(1) << 31, "must be a power of two, at most"},
    {"another alignment", "general.alignment", 4, 4, 1 << 20, "not a multiple of the alignment 1048576"},
    {"alignment as a float", "general.alignment", 0, 4, 6, "general.alignment"},
    {"tensor without a name", "w.alpha", -15, 8, 0, "a tensor has an empty name"},
    {"tensor name too long", "w.alpha", -15, 8, 70000, "the name of a tensor is 70000 bytes long"},
    {"tensor name past the end", "w.alpha", -15, 8, 60000, "the file ends inside the name of a tensor"},
    {"tensor name of no UTF-8", "w.alpha", -1, 1, 0xFF, "the tensor name 'w.alph?' is not clean UTF-8"},
    {"tensor name with an escape", "w.alpha", -1, 1, 0x1B, "the tensor name 'w.alph?' is not clean UTF-8"},
    {"5 dimensions", "w.alpha", 0, 4, 5, "tensor 'w.alpha' has 5 dimensions, more than 4"},
    {"2^32-1 dimensions", "w.alpha", 0, 4, UINT32_MAX, "has 4294967295 dimensions"},
    {"1 dimension instead of 2", "w.alpha", 0, 4, 1, "at offset"},
    {"dimension 0", "w.alpha", 4, 8, 0, "tensor 'w.alpha' has a dimension of 0"},
    {"outer dimension 0", "w.alpha", 12, 8, 0, "tensor 'w.alpha' has a dimension of 0"},
    {"dimension 2^63", "w.alpha", 4, 8, UINT64_C(1) << 63, "the dimensions of tensor 'w.alpha' overflow"},
    {"outer dimension 2^62", "w.alpha", 12, 8, UINT64_C(1) << 62, "the dimensions of tensor 'w.alpha' overflow"},
    {"dimension 2^58", "w.alpha", 4, 8, UINT64_C(1) << 58, "reaches past the end of the file"},
    {"row of 33 in blocks of 32", "w.beta", 4, 8, 33, "rows of tensor 'w.beta' have 33 elements, not a multiple of the 32 of a Q8_0"},
    {"row of 32 in blocks of 256", "w.beta", 20, 4, 12, "not a multiple of the 256 of a Q4_K block"},
    {"type Q8_1", "w.alpha", 20, 4, 9, "tensor 'w.alpha' has type Q8_1, which is not supported"},
    {"type 999", "w.alpha", 20, 4, 999, "tensor 'w.alpha' has the unknown type 999"},
    {"offset 1", "w.alpha", 24, 8, 1, "begins at 1 of the data, not a multiple of the alignment 32"},
    {"offset past the end", "w.alpha", 24, 8, 4096, "reaches past the end of the file"},
    {"offset 2^63", "w.alpha", 24, 8, UINT64_C(1) << 63, "reaches past the end of the file"},
    {"offset 2^64-32", "w.alpha", 24, 8, UINT64_MAX - 31, "the place of tensor 'w.alpha' overflows"},
    {"same place twice", "w.beta", 24, 8, 0, "tensor 'w.alpha' overlaps tensor 'w.beta'"},
    {"places overlap", "w.beta", 24, 8, 96, "tensor 'w.beta' overlaps tensor 'w.alpha'"},
    {"larger than its place", "w.alpha", 12, 8, 5, "tensor 'w.beta' overlaps tensor 'w.alpha'"},
};

static size_t behind(const Buf *b, const char *anchor) {
    size_t n = strlen(anchor);
    for (size_t i = 0; i + n <= b->len; i++)
        if (memcmp(b->ptr + i, anchor, n) == 0) return i + n;
    fail();
    return 0;
}

static void one_wrong_place(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(edits); i++) {
        const Edit *e = &edits[i];
        Buf b = valid();
        size_t at = behind(&b, e->anchor) + (size_t)(ptrdiff_t)e->delta;
        for (int k = 0; k < e->width; k++) b.ptr[at + (size_t)k] = (char)(e->value >> (8 * k) & 0xFF);
        const char *path = write_temp("edited.gguf", b.ptr, b.len);
        malformed_open(e->label, path, e->words);
        buf_free(&b);
    }
    Buf b = valid(); /* and without an edit it opens */
    Err err = {0};
    assert_true(malformed_or_sound("valid", format_open(write_temp("valid.gguf", b.ptr, b.len), &err), &err));
    buf_free(&b);
}

static void written(const char *label, GgufWriter *w, const char *words) {
    Buf b = gguf_end(w);
    malformed_open(label, write_temp("written.gguf", b.ptr, b.len), words);
    buf_free(&b);
}

static void doubles(void **state) {
    (void)state;
    static const uint8_t zeros[64];
    GgufWriter w;
    gguf_begin(&w);
    gguf_u32(&w, "a.key", 1);
    gguf_u32(&w, "a.key", 1);
    written("a key twice", &w, "the key 'a.key' is there twice");
    gguf_begin(&w);
    gguf_u32(&w, "general.alignment", 32);
    gguf_u32(&w, "general.alignment", 64);
    written("two alignments", &w, "the key 'general.alignment' is there twice");
    gguf_begin(&w);
    gguf_tensor(&w, "same", 0, 1, (uint64_t[]){8}, zeros, 32);
    gguf_tensor(&w, "same", 0, 1, (uint64_t[]){8}, zeros, 32);
    written("a tensor twice", &w, "a second tensor is named 'same'");
}

static void no_gguf_at_all(void **state) {
    (void)state;
    malformed_open("empty", write_temp("empty.gguf", "", 0), "the file ends inside the first four bytes");
    malformed_open("three bytes", write_temp("three.gguf", "GGU", 3), "the file ends inside the first four bytes");
    malformed_open("magic only", write_temp("magic.gguf", "GGUF", 4), "the file ends inside the version");
    malformed_open("text", write_temp("text.gguf", "<!DOCTYPE html>", 15), "not a GGUF file: it begins with '<!DO'");
    malformed_open("pointer", write_temp("lfs.gguf", "version https://git-lfs", 23), "not a GGUF file");
    malformed_open("absent", "/nonexistent/model.gguf", "cannot open");
    char path[256];
    snprintf(path, sizeof path, "%s/pipe.gguf", temp_dir());
    assert_int_equal(mkfifo(path, 0600), 0);
    malformed_open("a pipe", path, "is a special file");
    malformed_open("a device", "/dev/zero", "is a special file");
    snprintf(path, sizeof path, "%s/loop.gguf", temp_dir());
    assert_int_equal(symlink("loop.gguf", path), 0);
    malformed_open("a link to itself", path, "cannot open");
}

/* ---- split files ---- */

/* What each of the three parts says; a negative number leaves the key out. */
typedef struct Parts {
    int no[3], count[3], tensors[3];
    const char *names[3]; /* of the tensor; NULL: none */
} Parts;

static const Parts good_parts = {{0, 1, 2}, {3, 3, 3}, {2, 2, 2}, {NULL, "second", "third"}};

static const char *part_path(int i, const char *stem) {
    static char paths[8][256];
    static unsigned turn;
    char *path = paths[turn++ % COUNT_OF(paths)];
    snprintf(path, sizeof paths[0], "%s/%s-%05d-of-00003.gguf", temp_dir(), stem, i + 1);
    return path;
}

static void write_part(const Parts *p, int i, const char *stem) {
    static const uint8_t zeros[32];
    GgufWriter w;
    char name[64];
    gguf_begin(&w);
    if (i == 0) gguf_str(&w, "general.architecture", "toy");
    if (p->no[i] >= 0) gguf_u16(&w, "split.no", (uint16_t)p->no[i]);
    if (p->count[i] >= 0) gguf_u16(&w, "split.count", (uint16_t)p->count[i]);
    if (p->tensors[i] >= 0) gguf_i32(&w, "split.tensors.count", p->tensors[i]);
    if (p->names[i]) gguf_tensor(&w, p->names[i], 0, 1, (uint64_t[]){8}, zeros, 32);
    Buf b = gguf_end(&w);
    snprintf(name, sizeof name, "%s-%05d-of-00003.gguf", stem, i + 1);
    write_temp(name, b.ptr, b.len);
    buf_free(&b);
}

static void parts_refused(const char *label, const Parts *p, int named, int remove_part, const char *words) {
    for (int i = 0; i < 3; i++) write_part(p, i, "split");
    if (remove_part >= 0) unlink(part_path(remove_part, "split"));
    Err err = {0};
    malformed_refused(label, format_open(part_path(named, "split"), &err), &err, "-of-00003.gguf", words);
}

static void split_parts_must_fit(void **state) {
    (void)state;
    Err err = {0};
    for (int i = 0; i < 3; i++) write_part(&good_parts, i, "good");
    for (int i = 0; i < 3; i++) {
        FormatModel *m = format_open(part_path(i, "good"), &err);
        assert_non_null(m);
        assert_int_equal(m->n_files, 3);
        assert_true(malformed_or_sound("good parts", m, &err));
    }
    for (int named = 0; named < 3; named++)
        for (int gone = 0; gone < 3; gone++) parts_refused("a part is missing", &good_parts, named, gone, "cannot open");

    Parts p = good_parts;
    p.no[2] = 1;
    parts_refused("a part twice", &p, 0, -1, "the name says part 3 of 3, but split.no and split.count say part 2 of 3");
    p = good_parts, p.no[0] = 1;
    parts_refused("first part misnumbered", &p, 2, -1, "the name says part 1 of 3, but split.no and split.count say part 2");
    p = good_parts, p.no[1] = 3;
    parts_refused("number past the count", &p, 0, -1, "split.no 3 and split.count 3 do not fit together");
    p = good_parts, p.count[0] = 4;
    parts_refused("another count", &p, 0, -1, "say part 1 of 4");
    p = good_parts, p.count[0] = 0;
    parts_refused("count 0", &p, 0, -1, "split.no 0 and split.count 0 do not fit together");
    p = good_parts, p.tensors[1] = 5;
    parts_refused("another tensor count", &p, 1, -1, "split.tensors.count is 5, but 2 in the first part");
    p = good_parts, p.tensors[0] = p.tensors[1] = p.tensors[2] = 3;
    parts_refused("a tensor too few", &p, 0, -1, "split.tensors.count is 3, but the 3 parts hold 2 tensors");
    p = good_parts, p.tensors[0] = -1;
    parts_refused("a key missing", &p, 0, -1, "split.tensors.count is missing");
    p = good_parts, p.no[0] = -1;
    parts_refused("the number missing", &p, 0, -1, "split.no is missing");
    p = good_parts, p.count[0] = -1;
    parts_refused("the count missing", &p, 0, -1, "split.count is missing");
    p = good_parts, p.count[1] = p.no[1] = p.tensors[1] = -1;
    parts_refused("a part that is none", &p, 0, -1, "part 2 of 3 by its name, but it has no split keys");
    p = good_parts, p.count[0] = p.no[0] = p.tensors[0] = -1;
    parts_refused("a first part that is none", &p, 1, -1, "part 1 of 3 by its name, but it has no split keys");
    p = good_parts, p.names[2] = "second";
    parts_refused("a tensor in two parts", &p, 0, -1, "a second tensor is named 'second'");

    for (int i = 0; i < 3; i++) write_part(&good_parts, i, "split");
    char renamed[256];
    snprintf(renamed, sizeof renamed, "%s/renamed.gguf", temp_dir());
    assert_int_equal(rename(part_path(1, "split"), renamed), 0);
    malformed_open("renamed", renamed, "does not end in -00002-of-00003.gguf");
    assert_int_equal(mkfifo(part_path(1, "split"), 0600), 0);
    malformed_refused("a part that is a pipe", format_open(part_path(0, "split"), &err), &err, "00002-of", "is a special file");
    unlink(part_path(1, "split"));
    assert_int_equal(mkdir(part_path(1, "split"), 0700), 0);
    malformed_refused("a part that is a folder", format_open(part_path(0, "split"), &err), &err, "00002-of", "is a folder");
}

static void embedded_models_are_not_split(void **state) {
    (void)state;
    write_part(&good_parts, 0, "inside");
    Err err = {0};
    const char *path = part_path(0, "inside");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    malformed_refused("embedded and split", format_open_embedded(path, 0, (uint64_t)st.st_size, &err), &err, "inside",
                      "an embedded model cannot be split");
}

static void split_keys_of_another_kind(void **state) {
    (void)state;
    GgufWriter w;
    gguf_begin(&w);
    gguf_str(&w, "split.count", "three");
    written("a count in words", &w, "the key split.count is not a whole number");
    gguf_begin(&w);
    gguf_i32(&w, "split.count", -3);
    written("a negative count", &w, "the key split.count is not a whole number");
    gguf_begin(&w);
    gguf_array(&w, "split.count", 4, 0, "", 0);
    written("an empty array as count", &w, "the key split.count is not a whole number");
}

MALFORMED_LIMITS

int main(void) {
    const struct CMUnitTest malformed_gguf[] = {
        cmocka_unit_test(one_wrong_place),
        cmocka_unit_test(doubles),
        cmocka_unit_test(no_gguf_at_all),
        cmocka_unit_test(split_parts_must_fit),
        cmocka_unit_test(embedded_models_are_not_split),
        cmocka_unit_test(split_keys_of_another_kind),
    };
    malformed_limits();
    int before = open_descriptors(), code = RUN_TESTS(malformed_gguf);
    if (open_descriptors() != before) {
        print_error("[  FAILED  ] descriptors were left open\n");
        return 1;
    }
    return code;
}
