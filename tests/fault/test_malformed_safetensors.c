/* Safetensors files, and model folders, that are wrong in one place each. */
#define _POSIX_C_SOURCE 200809L
#include "support/gguf_writer.h"
#include "support/malformed.h"
#include "support/support.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- one file ---- */

static void put_safetensors(Buf *b, const char *json, size_t json_len, size_t data) {
    put_u64(b, json_len);
    buf_put(b, json, json_len);
    for (size_t i = 0; i < data; i++) buf_putc(b, (char)i);
}

typedef struct Header {
    const char *label, *json;
    size_t data;
    const char *words;
} Header;

#define A "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"
#define B "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}"
#define ONE(dtype, shape, offsets) "{\"a\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static const Header headers[] = {
    {"nothing", "", 0, "the JSON text ends where an object should be"},
    {"spaces", "    ", 0, "the JSON text ends where an object should be"},
    {"no JSON", "hello", 0, "'h' where an object should be"},
    {"an array", "[]", 0, "'[' where an object should be"},
    {"no end", "{" A, 8, "the JSON text ends where ',' or '}' should be"},
    {"comma at the end", "{" A ",}", 8, "'}' where a key should be"},
    {"comma at the start", "{," A "}", 8, "',' where a key should be"},
    {"comma missing", "{" A " " B "}", 16, "'\"' where ',' or '}' should be"},
    {"text behind", "{" A "} x", 8, "'x' where the end of the text should be"},
    {"a key without quotes", "{a:1}", 0, "'a' where a key should be"},
    {"a key without a value", "{\"a\"}", 0, "'}' where ':' should be"},
    {"an open string", "{\"a", 0, "the JSON text ends where the end of a string should be"},
    {"a bad escape", "{\"\\x\":{}}", 0, "not an escape sequence"},
    {"a short escape", "{\"\\u12\":{}}", 0, "not an escape sequence"},
    {"half a pair", "{\"\\uD800\":{}}", 0, "half of a surrogate pair"},
    {"the other half", "{\"\\uDC00\\uD800\":{}}", 0, "half of a surrogate pair"},
    {"a line end in a name", "{\"a\nb\":{}}", 0, "a control character in a string"},
    {"no UTF-8", "{\"\xC3(\":{}}", 0, "a string that is not UTF-8"},
    {"overlong UTF-8", "{\"\xC0\x80\":{}}", 0, "a string that is not UTF-8"},
    {"a NUL in a name", "{\"a\\u0000\":{\"dtype\":\"F32\"}}", 0, "the tensor name 'a?' is too long or has control characters"},
    {"an empty name", "{\"\":{}}", 0, "a tensor has an empty name"},
    {"a tensor that is a number", "{\"a\":1}", 0, "'1' where an object should be"},
    {"a tensor that is null", "{\"a\":null}", 0, "'n' where an object should be"},
    {"no dtype", "{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "tensor 'a' has no dtype"},
    {"no shape", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, "tensor 'a' has no shape"},
    {"no offsets", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "tensor 'a' has no data_offsets"},
    {"dtype twice", "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 8, "the same entry twice"},
    {"shape twice", "{\"a\":{\"shape\":[2],\"shape\":[2]}}", 8, "the same entry twice"},
    {"unknown dtype", ONE("\"F31\"", "[2]", "[0,8]"), 8, "tensor 'a' has the dtype 'F31', which is not supported yet"},
    {"half a byte each", ONE("\"F4\"", "[2]", "[0,1]"), 1, "tensor 'a' has the dtype 'F4', which is not supported yet"},
    {"dtype in lower case", ONE("\"f32\"", "[2]", "[0,8]"), 8, "has the dtype 'f32'"},
    {"dtype 5", ONE("5", "[2]", "[0,8]"), 8, "'5' where a string should be"},
    {"shape 2", ONE("\"F32\"", "2", "[0,8]"), 8, "'2' where an array should be"},
    {"shape -2", ONE("\"F32\"", "[-2]", "[0,8]"), 8, "'-' where a whole number without sign should be"},
    {"shape 2.0", ONE("\"F32\"", "[2.0]", "[0,8]"), 8, "'.' where the end of a whole number should be"},
    {"shape 2e0", ONE("\"F32\"", "[2e0]", "[0,8]"), 8, "'e' where the end of a whole number should be"},
    {"shape 02", ONE("\"F32\"", "[02]", "[0,8]"), 8, "begins with 0"},
    {"shape in words", ONE("\"F32\"", "[\"2\"]", "[0,8]"), 8, "where a whole number without sign should be"},
    {"shape beyond 64 bits", ONE("\"F32\"", "[18446744073709551616]", "[0,8]"), 8, "a number larger than 64 bits"},
    {"shape of an open array", ONE("\"F32\"", "[2,]", "[0,8]"), 8, "']' where a value should be"},
    {"elements overflow", ONE("\"F32\"", "[4294967296,4294967296]", "[0,8]"), 8, "the dimensions of tensor 'a' overflow"},
    {"bytes overflow", ONE("\"F32\"", "[4611686018427387904]", "[0,8]"), 8, "the dimensions of tensor 'a' overflow"},
    {"empty but endless", ONE("\"U8\"", "[4294967296,0,4294967296]", "[0,0]"), 0, "the dimensions of tensor 'a' overflow"},
    {"7 dimensions", ONE("\"F32\"", "[1,1,1,1,1,1,2]", "[0,8]"), 8, "tensor 'a' has more than 6 dimensions"},
    {"one offset", ONE("\"F32\"", "[2]", "[0]"), 8, "where a whole number without sign should be"},
    {"three offsets", ONE("\"F32\"", "[2]", "[0,8,8]"), 8, "data_offsets has more than two numbers"},
    {"offsets in reverse", ONE("\"F32\"", "[2]", "[8,0]"), 8, "tensor 'a' ends at 0 before it begins at 8"},
    {"offsets too far apart", ONE("\"F32\"", "[2]", "[0,12]"), 12, "has 12 bytes by its data_offsets but 8 by its dtype and shape"},
    {"offsets too close", ONE("\"F32\"", "[3]", "[0,8]"), 8, "has 8 bytes by its data_offsets but 12 by its dtype and shape"},
    {"past the end", ONE("\"F32\"", "[2]", "[0,8]"), 7, "past the end of the file (7 bytes of data)"},
    {"far past the end", ONE("\"U8\"", "[8]", "[18446744073709551607,18446744073709551615]"), 8, "past the end of the file"},
    {"a gap before", ONE("\"F32\"", "[2]", "[4,12]"), 12, "4 bytes before tensor 'a' belong to no tensor"},
    {"a gap between", "{" A ",\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[9,10]}}", 10, "1 bytes before tensor 'b'"},
    {"bytes behind", "{" A "}", 9, "the last tensor ends here but 1 more bytes follow"},
    {"no tensor but bytes", "{}", 5, "the last tensor ends here but 5 more bytes follow"},
    {"overlap", "{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12, "tensor 'b' overlaps tensor 'a'"},
    {"same place", "{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "overlaps tensor"},
    {"a name twice", "{" A "," A "}", 8, "a second tensor is named 'a'"},
    {"a name twice, escaped", "{" A ",\"\\u0061\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}}", 16,
     "a second tensor is named 'a'"},
    {"metadata of numbers", "{\"__metadata__\":{\"x\":1}," A "}", 8, "'1' where a string should be"},
    {"metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}," A "}", 8, "__metadata__ is there twice"},
    {"bad extra value", "{\"a\":{\"x\":tru}}", 0, "'t' where a value should be"},
    {"bad extra number", "{\"a\":{\"x\":-}}", 0, "'}' where a value should be"},
    {"bad extra fraction", "{\"a\":{\"x\":1.}}", 0, "'}' where a digit should be"},
};

static void file_refused(const char *label, const Buf *b, const char *words) {
    Err err = {0};
    const char *path = write_temp("x.safetensors", b->ptr, b->len);
    malformed_refused(label, format_open_safetensors_file(path, &err), &err, "x.safetensors", words);
    if (!strstr(err.text, "at offset")) {
        print_error("%s: no offset in '%s'\n", label, err.text);
        fail();
    }
}

static void wrong_headers(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(headers); i++) {
        Buf b = {0};
        put_safetensors(&b, headers[i].json, strlen(headers[i].json), headers[i].data);
        file_refused(headers[i].label, &b, headers[i].words);
        buf_free(&b);
    }
    static const char good[] = " {\"__metadata__\": {\"format\": \"pt\"} , " B ",\n" A ",\"none\":{\"dtype\":\"F32\",\"shape\":[0],"
                               "\"data_offsets\":[8,8],\"extra\":[1,{\"x\":[true,null,-1.5e+3]}]}}   ";
    Buf b = {0};
    put_safetensors(&b, good, sizeof good - 1, 16);
    Err err = {0};
    assert_true(malformed_or_sound("good", format_open_safetensors_file(write_temp("x.safetensors", b.ptr, b.len), &err), &err));
    buf_free(&b);
}

static void wrong_lengths(void **state) {
    (void)state;
    Buf b = {0};
    file_refused("empty", &b, "this one has 0 bytes");
    buf_put(&b, "\x10\0\0", 3);
    file_refused("three bytes", &b, "this one has 3 bytes");
    static const uint64_t lengths[] = {UINT64_MAX, UINT64_C(1) << 63, 1 << 30, 100};
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        buf_clear(&b);
        put_u64(&b, lengths[i]);
        buf_puts(&b, "{" A "}");
        file_refused("header length", &b, "the file ends before");
    }
    buf_clear(&b); /* a sparse file may be as large as it likes */
    put_u64(&b, UINT64_C(300) << 20);
    const char *path = write_temp("x.safetensors", b.ptr, b.len);
    assert_int_equal(truncate(path, (off_t)1 << 34), 0);
    Err err = {0};
    malformed_refused("sparse", format_open_safetensors_file(path, &err), &err, "x.safetensors", "256 MiB is the most");
    buf_clear(&b);
    buf_puts(&b, "{\"a\":{\"x\":"); /* depth, behind a length of its own */
    for (int i = 0; i < 100000; i++) buf_putc(&b, '[');
    Buf deep = {0};
    put_safetensors(&deep, b.ptr, b.len, 0);
    file_refused("deep", &deep, "nested too deeply");
    buf_free(&deep);
    buf_free(&b);
}

/* ---- folders ---- */

static char folder[200];

/* A fresh, empty folder, with config.json if given. */
static void begin_folder(const char *config) {
    static int n;
    snprintf(folder, sizeof folder, "%s/folder%d", temp_dir(), n++);
    assert_int_equal(mkdir(folder, 0700), 0);
    if (config) {
        char name[64];
        snprintf(name, sizeof name, "folder%d/config.json", n - 1);
        write_temp(name, config, strlen(config));
    }
}

static const char *inside(const char *name) {
    static char paths[4][300];
    static unsigned turn;
    char *path = paths[turn++ % COUNT_OF(paths)];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void add_text(const char *name, const char *text, size_t len) {
    write_temp(inside(name) + strlen(temp_dir()) + 1, text, len);
}

static void add_shard(const char *name, const char *json, size_t data) {
    Buf b = {0};
    put_safetensors(&b, json, strlen(json), data);
    add_text(name, b.ptr, b.len);
    buf_free(&b);
}

static void folder_refused(const char *label, const char *file, const char *words) {
    Err err = {0};
    malformed_refused(label, format_open(folder, &err), &err, file, words);
}

static void wrong_configs(void **state) {
    (void)state;
    static const Header configs[] = {
        {"no config", NULL, 0, "it has no config.json"},
        {"empty config", "", 0, "the JSON text ends where an object should be"},
        {"config of an array", "[1]", 0, "'[' where an object should be"},
        {"config cut off", "{\"hidden_size\": 4", 0, "at offset 17: the JSON text ends"},
        {"no weights", "{}", 0, "there is neither model.safetensors nor model.safetensors.index.json"},
        {"GPTQ", "{\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4}}", 0, "quantised (quant_method gptq, bits 4)"},
        {"MLX", "{\"quantization\":{\"group_size\":64,\"bits\":4,\"layers.0\":{\"bits\":8}}}", 0, "quantised (group_size 64, bits 4)"},
        {"nested", "{\"text_config\":{\"quantization_config\":{\"quant_method\":\"awq\"}}}", 0, "quantised (quant_method awq)"},
        {"nameless", "{\"quantization_config\":{}}", 0, "quantised (of an unnamed kind)"},
    };
    for (size_t i = 0; i < COUNT_OF(configs); i++) {
        begin_folder(configs[i].json);
        folder_refused(configs[i].label, "/folder", configs[i].words);
    }
    begin_folder("{}");
    add_text("hf_quant_config.json", "{}", 2);
    folder_refused("modelopt", "config.json", "quantised (modelopt)");
    begin_folder(NULL);
    assert_int_equal(mkdir(inside("config.json"), 0700), 0);
    folder_refused("config is a folder", "config.json", "is a folder");
    begin_folder(NULL);
    assert_int_equal(mkfifo(inside("config.json"), 0600), 0);
    folder_refused("config is a pipe", "config.json", "is a special file");
    begin_folder("{\"quantization_config\":null}");
    add_shard("model.safetensors", "{" A "}", 8);
    Err err = {0};
    assert_true(malformed_or_sound("not quantised", format_open(folder, &err), &err));
}

static void wrong_single_files(void **state) {
    (void)state;
    begin_folder("{}");
    assert_int_equal(mkdir(inside("model.safetensors"), 0700), 0);
    folder_refused("a folder", "model.safetensors", "is a folder");
    begin_folder("{}");
    assert_int_equal(mkfifo(inside("model.safetensors"), 0600), 0);
    folder_refused("a pipe", "model.safetensors", "is a special file");
    begin_folder("{}");
    assert_int_equal(symlink("model.safetensors", inside("model.safetensors")), 0);
    folder_refused("a link to itself", "model.safetensors", "cannot open");
    begin_folder("{}");
    assert_int_equal(symlink("/nonexistent/blob", inside("model.safetensors")), 0);
    folder_refused("a link to nowhere", "model.safetensors", "cannot open");
    begin_folder("{}");
    add_shard("model.safetensors", "{" A "}", 8);
    assert_int_equal(symlink("/nonexistent/blob", inside("tokenizer.json")), 0);
    folder_refused("a tokenizer that was not fetched", "tokenizer.json", "cannot open");
    begin_folder("{}");
    add_shard("model.safetensors", "{" A "}", 8);
    add_text("chat_template.json", "{\"chat_template\": 5", 19);
    folder_refused("a broken template file", "chat_template.json", "the JSON text ends");
    malformed_open("one file of a folder", inside("model.safetensors"), "name the folder instead");
    malformed_open("the index of a folder", inside("model.safetensors.index.json"), "name the folder instead");
    add_text("chat_template.json", "{\"x\":1,\"chat_template\":\"{{ \\\"a\\\" }}\"}", 37);
    Err err = {0};
    FormatModel *m = format_open(folder, &err);
    assert_non_null(m);
    assert_string_equal(m->chat_template.ptr, "{{ \"a\" }}");
    format_close(m);
}

static void wrong_indexes(void **state) {
    (void)state;
    static const Header indexes[] = {
        {"no JSON", "weights", 0, "'w' where an object should be"},
        {"no weight_map", "{\"metadata\":{\"total_size\":8}}", 0, "the index has no weight_map"},
        {"weight_map of an array", "{\"weight_map\":[]}", 0, "'[' where an object should be"},
        {"weight_map twice", "{\"weight_map\":{\"a\":\"s1.safetensors\"},\"weight_map\":{}}", 0, "weight_map is there twice"},
        {"empty weight_map", "{\"weight_map\":{}}", 0, "the index names no tensor"},
        {"a number as file", "{\"weight_map\":{\"a\":1}}", 0, "'1' where a string should be"},
        {"parent folder", "{\"weight_map\":{\"a\":\"../s1.safetensors\"}}", 0, "'../s1.safetensors', which is not a plain file name"},
        {"absolute path", "{\"weight_map\":{\"a\":\"/etc/s1.safetensors\"}}", 0, "'/etc/s1.safetensors', which is not a plain file name"},
        {"folder below", "{\"weight_map\":{\"a\":\"x/s1.safetensors\"}}", 0, "which is not a plain file name"},
        {"backslash", "{\"weight_map\":{\"a\":\"..\\\\s1.safetensors\"}}", 0, "which is not a plain file name"},
        {"dots", "{\"weight_map\":{\"a\":\"..\"}}", 0, "'..', which is not a plain file name"},
        {"empty name", "{\"weight_map\":{\"a\":\"\"}}", 0, "'', which is not a plain file name"},
        {"a NUL", "{\"weight_map\":{\"a\":\"s1.safetensors\\u0000\"}}", 0, "'s1.safetensors?', which is not a plain file name"},
        {"pickle", "{\"weight_map\":{\"a\":\"pytorch_model.bin\"}}", 0, "'pytorch_model.bin', which is not a .safetensors file"},
        {"missing shard", "{\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":\"s9.safetensors\"}}", 0, "s9.safetensors: cannot open"},
        {"tensor elsewhere", "{\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":\"s1.safetensors\"}}", 0,
     "tensor 'b' is in s1.safetensors, but it is not there"},
        {"tensor nowhere", "{\"weight_map\":{\"c\":\"s1.safetensors\"}}", 0, "tensor 'c' is in s1.safetensors, but it is not there"},
        {"tensor in two shards", "{\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":\"s3.safetensors\"}}", 0, "a second tensor is named 'a'"},
        {"a shard that is a pipe", "{\"weight_map\":{\"a\":\"pipe.safetensors\"}}", 0, "is a special file"},
        {"text behind", "{\"weight_map\":{\"a\":\"s1.safetensors\"}}{", 0, "'{' where the end of the text should be"},
    };
    begin_folder("{}");
    add_shard("s1.safetensors", "{" A "}", 8);
    add_shard("s2.safetensors", "{\"b\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1);
    add_shard("s3.safetensors", "{" A "," B "}", 16);
    assert_int_equal(mkfifo(inside("pipe.safetensors"), 0600), 0);
    for (size_t i = 0; i < COUNT_OF(indexes); i++) {
        add_text("model.safetensors.index.json", indexes[i].json, strlen(indexes[i].json));
        folder_refused(indexes[i].label, "/folder", indexes[i].words);
    }
    static const char good[] = "{\"metadata\":{},\"weight_map\":{\"b\":\"s2.safetensors\",\"a\":\"s1.safetensors\"}}";
    add_text("model.safetensors.index.json", good, sizeof good - 1);
    Err err = {0};
    FormatModel *m = format_open(folder, &err);
    assert_non_null(m);
    assert_int_equal(m->n_files, 2);
    assert_true(malformed_or_sound("good index", m, &err));
}

MALFORMED_LIMITS

int main(void) {
    const struct CMUnitTest malformed_safetensors[] = {
        cmocka_unit_test(wrong_headers),      cmocka_unit_test(wrong_lengths), cmocka_unit_test(wrong_configs),
        cmocka_unit_test(wrong_single_files), cmocka_unit_test(wrong_indexes),
    };
    malformed_limits();
    int before = open_descriptors(), code = RUN_TESTS(malformed_safetensors);
    if (open_descriptors() != before) {
        print_error("[  FAILED  ] descriptors were left open\n");
        return 1;
    }
    return code;
}
