/* JSON of the world: requests, tools, schemas (src/text/json.c, on jansson), and the headers of model files (src/format/json.c).
 *
 * Input: a text.
 * Property: the two readers and jansson alone agree on what JSON is, but for what they are documented to differ in; what was read and is
 * written again is read again as the same; a refusal is a sentence. */
#include "fuzz/fuzz.h"

#include "format/json.h"
#include "text/text.h"

enum { DEEPEST = 128 /* format/json.c */, DIGITS = 18 /* that 64 bits surely hold */ };

/* How many brackets are open at once, and whether a number is one that not every reader holds. */
static void look(Str text, int *deepest, bool *odd_number) {
    int depth = 0;
    size_t digits = 0;
    bool in_string = false;
    *deepest = 0;
    *odd_number = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (in_string && c == '\\') i++;
        else if (c == '"') in_string = !in_string;
        if (in_string) continue;
        if (c == '[' || c == '{') depth++;
        if (c == ']' || c == '}') depth--;
        if (depth > *deepest) *deepest = depth;
        digits = c >= '0' && c <= '9' ? digits + 1 : 0;
        if (digits > DIGITS || c == 'e' || c == 'E') *odd_number = true;
    }
}

static bool pulled(Str text, Err *err) {
    FormatJson j = {.text = text.ptr, .len = text.len, .path = "input", .err = err};
    return !format_json_skip(&j) && !format_json_end(&j);
}

static void check_round(json_t *value) {
    Buf once = {0}, twice = {0};
    Err err = {0};
    if (text_json_put(value, &once)) { /* not where an integer is longer than 64 bits */
        json_t *read = text_json_load(once.ptr, once.len, &err);
        if (!read) fail_msg("%.*s: %s", (int)once.len, once.ptr, err.text);
        assert_true(json_equal(value, read));
        assert_true(text_json_put(read, &twice));
        assert_int_equal(once.len, twice.len);
        assert_memory_equal(once.ptr, twice.ptr, once.len);
        json_decref(read);
    }
    buf_free(&once);
    buf_free(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    FuzzBytes in = {bytes, n};
    Str text = fuzz_rest(&in);
    Err err = {0}, format_err = {0};
    int deepest;
    bool odd_number;
    json_error_t why;
    look(text, &deepest, &odd_number);
    json_t *ours = text_json_load(text.ptr, text.len, &err);
    bool nul = memchr(text.ptr, 0, text.len); /* jansson forgets one behind a number or a word */
    json_t *strict = nul ? NULL : json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &why);
    json_t *any = nul ? NULL : json_loadb(text.ptr, text.len, JSON_ALLOW_NUL | JSON_DECODE_ANY, &why);
    bool format = pulled(text, &format_err);
    if (!ours) fuzz_sentence(err.text);
    if (!format) fuzz_sentence(format_err.text);
    if (strict && !ours) fail_msg("JSON is refused: %s", err.text);
    if (!strict && ours && !odd_number) fail_msg("no JSON, and it is read");
    if (any && !format && deepest <= DEEPEST) fail_msg("JSON is refused: %s", format_err.text);
    bool nul_in_key = !any && !nul && json_error_code(&why) == json_error_null_byte_in_key; /* JSON, but not for jansson */
    if (!any && format && !odd_number && !nul_in_key) fail_msg("no JSON, and it is read over");
    if (strict && !odd_number) assert_true(json_equal(strict, ours));
    if (ours) check_round(ours);
    json_decref(ours);
    json_decref(strict);
    json_decref(any);
    return 0;
}
