/* Chat templates (src/text/jinja*.c): they come with a model file, messages with a request.
 *
 * Input: the template; after a line "----" the JSON of its variables, or of a request where that has "messages" and no "vars".
 * Property: a text or a sentence, the same each time. */
#include "fuzz/fuzz.h"

#include "text/text.h"

#include <stdio.h>

static json_t *usual; /* the variables of the corpus that test_template.c reads: its first line */

static void read_usual(void) {
    static char line[65536];
    FILE *f = fopen(source_path("tests/data/template_cases.jsonl"), "r");
    Err err = {0};
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    fclose(f);
    json_t *first = text_json_load(line, strlen(line), &err);
    usual = json_incref(json_object_get(first, "vars"));
    assert_non_null(usual);
    json_decref(first);
}

static ErrCode render(const Template *t, const json_t *vars, bool chat, Buf *out, Err *err) {
    return chat ? text_chat_render(t, vars, out, err) : text_template_render(t, vars, out, err);
}

/* raise_exception says what the template likes: of that alone nothing is demanded. */
static void check_refusal(ErrCode code, const Err *err) {
    assert_int_equal(code, err->code);
    assert_true(utf8_valid(err->text, strlen(err->text)));
    if (code != ERR_RANGE) fuzz_sentence(err->text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    FuzzBytes in = {bytes, n};
    if (!usual) read_usual();
    Str source = fuzz_part(&in), more = fuzz_rest(&in);
    Err err = {0}, again = {0};
    json_t *vars = more.len ? text_json_load(more.ptr, more.len, &err) : json_incref(usual);
    if (!vars) fuzz_sentence(err.text);
    Template *t = vars ? text_template_new(source.ptr, source.len, &err) : NULL;
    if (vars && !t) fuzz_sentence(err.text);
    if (t) {
        Buf a = {0}, b = {0};
        bool chat = json_object_get(vars, "messages") && more.len;
        ErrCode code = render(t, vars, chat, &a, &err);
        assert_int_equal(render(t, vars, chat, &b, &again), code);
        if (code) check_refusal(code, &err);
        assert_int_equal(a.len, b.len);
        if (a.len) assert_memory_equal(a.ptr, b.ptr, a.len);
        assert_string_equal(err.text, again.text);
        buf_free(&a);
        buf_free(&b);
    }
    text_template_free(t);
    json_decref(vars);
    return 0;
}
