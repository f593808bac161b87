/* Chat templates: every recorded render of the reference byte for byte, each construct by itself, hostile templates, failing memory.
 * The expected texts of the small cases are those of jinja2 3.1.6 in the sandbox transformers uses. */
#include "support/support.h"

#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- help ---- */

static char *read_file(const char *path, size_t *len) {
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("cannot open %s", path);
    Buf b = {0};
    char chunk[65536];
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;) buf_put(&b, chunk, n);
    fclose(f);
    assert_false(b.failed);
    if (!b.ptr) buf_putc(&b, 0), b.len = 0;
    *len = b.len;
    return b.ptr;
}

static json_t *load(const char *text) {
    Err err = {0};
    json_t *j = text_json_load(text, strlen(text), &err);
    if (!j) fail_msg("%s in %s", err.text, text);
    return j;
}

/* Renders and returns the text, or "!" and the error. */
static const char *render(const char *source, const char *vars) {
    static Buf out;
    Err err = {0};
    buf_clear(&out);
    json_t *v = load(vars);
    Template *t = text_template_new(source, strlen(source), &err);
    if (!t || text_template_render(t, v, &out, &err) != ERR_OK) {
        buf_clear(&out);
        assert_int_not_equal(err.code, ERR_OK);
        buf_printf(&out, "!%s", err.text);
    }
    buf_puts(&out, "");
    text_template_free(t);
    json_decref(v);
    return out.ptr;
}

static ErrCode code_of(const char *source, const char *vars) {
    Err err = {0};
    Buf out = {0};
    json_t *v = load(vars);
    Template *t = text_template_new(source, strlen(source), &err);
    if (t) text_template_render(t, v, &out, &err);
    text_template_free(t);
    json_decref(v);
    buf_free(&out);
    return err.code;
}

/* ---- the reference's own renders ---- */

/* One recorded conversation; `error`: it must fail, with this message when `exact`. */
static void check_render(const char *where, const char *source, size_t source_len, json_t *request, bool chat, const json_t *expected,
                         const json_t *error, bool exact) {
    Err err = {0};
    Buf out = {0};
    Template *t = text_template_new(source, source_len, &err);
    if (!t) fail_msg("%s: %s", where, err.text);
    ErrCode code = chat ? text_chat_render(t, request, &out, &err) : text_template_render(t, request, &out, &err);
    if (error) {
        if (code == ERR_OK) fail_msg("%s: rendered, but the reference says: %s", where, json_string_value(error));
        if (exact) assert_string_equal(err.text, json_string_value(error));
        assert_int_equal(out.len, 0);
    } else {
        if (code != ERR_OK) fail_msg("%s: %s", where, err.text);
        if (out.len != json_string_length(expected) || memcmp(out.ptr, json_string_value(expected), out.len) != 0)
            fail_msg("%s: rendered\n%s\ninstead of\n%s", where, out.ptr, json_string_value(expected));
    }
    text_template_free(t);
    buf_free(&out);
}

typedef void LineCheck(int n, json_t *line);

static int each_line(const char *path, LineCheck *check) {
    size_t len;
    char *text = read_file(path, &len);
    int n = 0;
    for (char *line = text, *end; line < text + len; line = end + 1) {
        end = memchr(line, '\n', (size_t)(text + len - line));
        if (!end) end = text + len;
        Err err = {0};
        json_t *j = text_json_load(line, (size_t)(end - line), &err);
        if (!j) fail_msg("%s, line %d: %s", path, n + 1, err.text);
        check(++n, j);
        json_decref(j);
    }
    free(text);
    return n;
}

static void check_golden(int n, json_t *line) {
    char where[200], path[200];
    size_t len;
    const char *name = json_string_value(json_object_get(line, "template"));
    snprintf(where, sizeof where, "renders.jsonl, line %d (%s)", n, name);
    snprintf(path, sizeof path, "data/templates/%s.jinja", name);
    char *source = read_file(shared_path(path), &len);
    check_render(where, source, len, line, true, json_object_get(line, "expected"), json_object_get(line, "error"),
                 json_is_true(json_object_get(line, "raised_by_template")));
    free(source);
}

static void golden_renders_are_equal(void **state) {
    (void)state;
    REQUIRE_PATH(shared_path("data/golden/templates/renders.jsonl"));
    assert_int_equal(each_line(shared_path("data/golden/templates/renders.jsonl"), check_golden), 120);
}

static void check_more(int n, json_t *line) {
    char where[200], path[200];
    size_t len;
    const char *name = json_string_value(json_object_get(line, "template"));
    snprintf(where, sizeof where, "vectors.jsonl, line %d (%s, %s)", n, name, json_string_value(json_object_get(line, "case")));
    snprintf(path, sizeof path, "data/templates/more/%s", name);
    char *source = read_file(shared_path(path), &len);
    json_t *vars = json_object();
    const char *keys[] = {"messages", "tools", "add_generation_prompt", "bos_token", "eos_token"};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        json_t *v = json_object_get(line, keys[i]);
        if (i == 1 && json_is_true(json_object_get(line, "tools_undefined"))) continue;
        json_object_set_new(vars, keys[i], v ? json_incref(v) : json_null());
    }
    json_object_set_new(vars, "documents", json_null());
    json_object_set(vars, "strftime_now", json_object_get(line, "now"));
    json_object_update(vars, json_object_get(line, "variables"));
    check_render(where, source, len, vars, false, json_object_get(line, "text"), json_object_get(line, "error"), false);
    json_decref(vars);
    free(source);
}

static void renders_of_further_families_are_equal(void **state) {
    (void)state;
    REQUIRE_PATH(shared_path("data/templates/more/vectors.jsonl"));
    assert_int_equal(each_line(shared_path("data/templates/more/vectors.jsonl"), check_more), 108);
}

static void a_block_prints(void **state) {
    (void)state;
    assert_string_equal(render("{{ a }}{% if b %}x{% endif %}", "{\"a\": 1, \"b\": true}"), "1x");
    assert_int_equal(code_of("{{ raise_exception('no') }}", "{}"), ERR_RANGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_renders_are_equal),
        cmocka_unit_test(renders_of_further_families_are_equal),
        cmocka_unit_test(a_block_prints),
    };
    return RUN_TESTS(tests);
}
