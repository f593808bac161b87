/* Chat templates: every recorded render of the reference byte for byte, each construct by itself, hostile templates,
 * failing memory. The expected texts of the small cases are those of jinja2 3.1.6 in the sandbox transformers uses. */
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
static void check_render(const char *where, const char *source, size_t source_len, json_t *request, bool chat,
                         const json_t *expected, const json_t *error, bool exact) {
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
    snprintf(where, sizeof where, "vectors.jsonl, line %d (%s, %s)", n, name,
             json_string_value(json_object_get(line, "case")));
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

static void templates_inside_models_are_read(void **state) {
    (void)state;
    const char *models[] = {"moe-a", "next-a", "q35-a", "q35-real-dims"};
    REQUIRE_PATH(shared_path("data/golden/moe-a/chat_template.jinja"));
    for (size_t i = 0; i < COUNT_OF(models); i++) {
        char path[200];
        size_t len;
        Err err = {0};
        snprintf(path, sizeof path, "data/golden/%s/chat_template.jinja", models[i]);
        char *source = read_file(shared_path(path), &len);
        Template *t = text_template_new(source, len, &err);
        if (!t) fail_msg("%s: %s", path, err.text);
        text_template_free(t);
        free(source);
    }
}

static void tiny_tales_speaks(void **state) {
    (void)state;
    const char *path = shared_path("data/models/tiny-tales/tokenizer_config.json");
    REQUIRE_PATH(path);
    size_t len;
    char *text = read_file(path, &len);
    json_t *config = load(text);
    const char *source = json_string_value(json_object_get(config, "chat_template"));
    assert_non_null(source);
    assert_string_equal(
        render(source,
               "{\"messages\": [{\"role\": \"user\", \"content\": \" Hi \"}], \"add_generation_prompt\": true}"),
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n");
    assert_string_equal(render(source, "{\"messages\": [{\"role\": \"bard\", \"content\": \"x\"}]}"),
                        "!tiny-tales knows the roles system (first), user, assistant and tool, not bard");
    json_decref(config);
    free(text);
}

/* ---- the language, construct by construct: tests/data/template_cases.py holds the cases ---- */

static json_t *case_vars;

static void check_case(int n, json_t *line) {
    if (n == 1) {
        case_vars = json_incref(json_object_get(line, "vars"));
        json_object_set_new(case_vars, "strftime_now", json_string("2026-01-15T12:34:56"));
        return;
    }
    const json_t *source = json_object_get(line, "source"), *expected = json_object_get(line, "expected");
    Err err = {0};
    Buf out = {0};
    Template *t = text_template_new(json_string_value(source), json_string_length(source), &err);
    if (t) text_template_render(t, case_vars, &out, &err);
    bool ok = err.code == ERR_OK;
    if (ok && !expected)
        fail_msg("line %d: %s rendered as \"%s\", Jinja refuses it", n, json_string_value(source), out.ptr);
    if (!ok && expected) fail_msg("line %d: %s: %s", n, json_string_value(source), err.text);
    if (ok && (out.len != json_string_length(expected) ||
               (out.len && memcmp(out.ptr, json_string_value(expected), out.len) != 0)))
        fail_msg("line %d: %s rendered as \"%s\" instead of \"%s\"", n, json_string_value(source), out.ptr,
                 json_string_value(expected));
    text_template_free(t);
    buf_free(&out);
}

static void constructs_render_as_in_jinja(void **state) {
    (void)state;
    int n = each_line(source_path("tests/data/template_cases.jsonl"), check_case);
    assert_true(n > 1000);
    json_decref(case_vars);
}

/* ---- errors ---- */

static void errors_name_the_construct_and_its_line(void **state) {
    (void)state;
    static const struct { const char *source, *error;
    } cases[] = {
        {"a\nb {{ x|frobnicate }}", "!line 2: no filter named 'frobnicate'"},
        {"{{ x|urlize }}", "!line 1: the filter 'urlize' is not supported"},
        {"\n\n{{ x is odious }}", "!line 3: no test named 'odious'"},
        {"{% if 0 %}{{ x|frobnicate }}{% endif %}",
         "!line 1: no filter named 'frobnicate'"}, /* even where it would not run */
        {"{# #}\n{% include 'x' %}", "!line 2: the tag {% include %} is not supported"},
        {"{% do l.append(1) %}", "!line 1: the tag {% do %} is not supported"},
        {"{% frob %}", "!line 1: unknown tag \"frob\""},
        {"{% if a %}\n{% endfor %}", "!line 2: unknown tag \"endfor\" inside {% if %}"},
        {"{% if a %}\n", "!line 1: the template ends inside {% if %}"},
        {"{{ a", "!line 1: expected \"}}\", got the end of the template"},
        {"{{ }}", "!line 1: expected an expression, got \"}}\""},
        {"{{ (1 }}", "!line 1: unexpected '}', expected ')'"},
        {"{{ a ! }}", "!line 1: unexpected character \"!\" in a tag"},
        {"{{ 'a }}", "!line 1: a string is never closed by '"},
        {"{# a", "!line 1: a comment {# is never closed by #}"},
        {"{% raw %}", "!line 1: {% raw %} is never closed by {% endraw %}"},
        {"{{ '\\ud800' }}", "!line 1: a broken escape sequence \\u in a string"},
        {"{% break %}", "!line 1: {% break %} outside of a for loop"},
        {"\n{{ nothing.at }}", "!line 2: 'nothing' is undefined"},
        {"{{ d.a.b.c }}", "!line 1: 'int object' has no attribute 'b'"},
        {"{{ d.q.x }}", "!line 1: 'dict object' has no attribute 'q'"},
        {"{{ l[7].x }}", "!line 1: list object has no element 7"},
        {"{{ 'a' + 1 }}", "!line 1: can only concatenate str (not \"int\") to str"},
        {"{{ 1 + 'a' }}", "!line 1: unsupported operand type(s) for +: 'int' and 'str'"},
        {"{{ 1 < 'a' }}", "!line 1: '<' not supported between instances of 'int' and 'str'"},
        {"{{ 'a'.encode() }}", "!line 1: the method str.encode is not supported"},
        {"{{ d.update(d) }}", "!line 1: access to attribute 'update' of 'dict' object is unsafe."},
        {"{{ lipsum() }}", "!line 1: 'lipsum' is not supported"},
        {"{{ 9223372036854775807 + 1 }}", "!line 1: arithmetic on integers beyond 64 bits is not supported"},
        {"{{ l|map('upper') }}", "!line 1: printing a generator is not supported: in Python it would show an address"},
        {"{{ raise_exception('my own ' ~ 'words') }}", "!my own words"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_string_equal(render(cases[i].source, "{\"d\": {\"a\": 1}, \"l\": [\"x\"], \"x\": \"y\"}"),
                            cases[i].error);
    assert_int_equal(code_of("{{ raise_exception('no') }}", "{}"), ERR_RANGE);
    assert_int_equal(code_of("{{ x|frobnicate }}", "{}"), ERR_UNSUPPORTED);
    assert_int_equal(code_of("{{ x.y }}", "{}"), ERR_STATE);
    assert_int_equal(code_of("{{ x", "{}"), ERR_FORMAT);
    Err err = {0};
    assert_null(text_template_new("\xFF", 1, &err));
    assert_string_equal(err.text, "the template is not valid UTF-8");
    /* a long message is cut, but never inside a character */
    const char *text = render("{{ raise_exception('x' + '\\u00e9' * 2000) }}", "{}");
    assert_true(strlen(text) > 1000 && utf8_valid(text, strlen(text)));
}

/* ---- hostile templates ---- */

/* before, `times` times `repeated`, behind */
static char *repeat(const char *before, const char *repeated, size_t times, const char *behind) {
    Buf b = {0};
    buf_puts(&b, before);
    for (size_t i = 0; i < times; i++) buf_puts(&b, repeated);
    buf_puts(&b, behind);
    assert_false(b.failed);
    return b.ptr;
}

static void deep_sources_are_refused(void **state) {
    (void)state;
    static const struct { const char *before, *repeated, *behind;
    } cases[] = {{"{{ ", "(", "1"},
                 {"{{ ", "[", "]"},
                 {"{{ ", "not ", "1 }}"},
                 {"{{ ", "- ", "1 }}"},
                 {"{{ a", ".b", " }}"},
                 {"{{ a", "|abs", " }}"},
                 {"{{ a", "()", " }}"},
                 {"{{ a", "[0]", " }}"},
                 {"{{ 1", "-1", " }}"},
                 {"{{ 1", " and 1", " }}"},
                 {"{{ 1", " or 1", " }}"},
                 {"{{ 1", " < 1", " }}"},
                 {"{{ ", "1 if 1 else ", "1 }}"},
                 {"", "{% if 1 %}", ""},
                 {"", "{% for i in [1] %}", ""},
                 {"", "{% macro m() %}", ""},
                 {"", "{% set x %}", ""},
                 {"", "{{", ""},
                 {"", "{%", ""},
                 {"", "{#", ""},
                 {"{% raw %}", "{%", ""}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char *source = repeat(cases[i].before, cases[i].repeated, 20000, cases[i].behind);
        const char *text = render(source, "{\"a\": 1}");
        if (text[0] != '!') fail_msg("%s%s%s... was accepted", cases[i].before, cases[i].repeated, cases[i].repeated);
        mem_free(source);
    }
    char *long_sum = repeat("{{ 1", " + 1", 20000, " }}"),
         *elifs = repeat("{% if 0 %}", "{% elif 0 %}", 20000, "{% endif %}x");
    assert_string_equal(render(long_sum, "{}"), "20001"); /* long is not deep */
    assert_string_equal(render(elifs, "{}"), "x");
    mem_free(long_sum);
    mem_free(elifs);
}

static void renders_that_never_end_are_ended(void **state) {
    (void)state;
    static const struct { const char *source, *error;
    } cases[] = {
        {"{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}", "steps"},
        {"{% set s = 'x' * 1000000 %}{% for a in range(100000) %}{% if s|length %}{% endif %}{% endfor %}", "steps"},
        {"{% for a in range(100000) %}{% for b in range(100000) %}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor "
         "%}{% endfor %}",
         "MiB"},
        {"{% set n = namespace(s='ab') %}{% for a in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}", "MiB"},
        {"{% set n = namespace(s='ab') %}{% for a in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}", "MiB"},
        {"{% set n = namespace(s=[1]) %}{% for a in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}", "MiB"},
        {"{% set n = namespace(s='aa') %}{% for a in range(99) %}{% set n.s = n.s.replace('a', 'aaa') %}{% endfor %}",
         "MiB"},
        {"{{ 'x' * 999999999999999 }}", "MiB"},
        {"{{ [1] * 999999999999999 }}", "MiB"},
        {"{{ range(999999999999) }}", "Range too big"},
        {"{{ range(-9223372036854775807, 9223372036854775807) }}", "64 bits"},
        {"{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}", "levels"},
        {"{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}{{ m() }}", "levels"},
        {"{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "levels"},
        {"{% set l = [] %}{% set _ = l.append(l) %}{{ l }}", "levels"},
        {"{% set l = [] %}{% set _ = l.append(l) %}{{ l|tojson }}", "levels"},
        {"{% set l = [] %}{% set _ = l.append(l) %}{% set k = [] %}{% set _ = k.append(k) %}{{ l == k }}", "levels"},
        {"{% set n = namespace(t=()) %}{% for i in range(9999) %}{% set n.t = (n.t,) %}{% endfor %}{{ {n.t: 1} }}",
         "levels"},
        {"{{ 'a'|center(999999999) }}", "width"},
        {"{{ 'a\\nb'|indent(999999999) }}", "indentation"},
        {"{{ 99 ** 99 }}", "64 bits"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const char *text = render(cases[i].source, "{}");
        if (text[0] != '!' || !strstr(text, cases[i].error)) fail_msg("%s: %.200s", cases[i].source, text);
    }
    assert_string_equal(
        render(
            "{{ [3, 1, 2][::9223372036854775807] }}{{ 'ab'[-9223372036854775808:] }}{{ 'ab'[:99999999999999999999] }}",
            "{}"),
        "[3]abab");
}

static void failed_allocations_are_errors(void **state) {
    (void)state;
    const char *source =
        "{% set ns = namespace(n=0, l=[]) %}{% macro m(x, y=2) %}{{ x ~ y }}{{ caller() if caller }}{% endmacro %}"
        "{% for k, v in d|items if v %}{% set ns.n = ns.n + v %}{{ loop.index }}{{ m(k, y=v) }}{% endfor %}"
        "{% set z %}{{ [1, (2, 3), {'a': 1.5}] | tojson(indent=2) }}{% endset %}{{ z|upper|trim|replace('A', 'b') }}"
        "{% call m(1) %}{{ 'x,y'.split(',')|join('-') }}{% endcall %}{{ d|dictsort }}{{ ['b', "
        "'a']|sort|map('upper')|list }}"
        "{{ 'a' + d|string + '\\n' }}{{ 'abc'[::-1] }}{{ '%s' % 1 }}{{ -12345678901234567890 }}{% set _ = "
        "ns.l.append(1) %}"
        "{% filter lower %}Q{% endfilter %}{% with q = 1 %}{{ q }}{% endwith %}{{ d.nope }}{{ 'x'|d('e')|indent(1, "
        "true) }}";
    json_t *vars = load("{\"d\": {\"a\": 1, \"b\": 2, \"c\": 3, \"e\": 4, \"f\": 5, \"g\": 6, \"h\": 7, \"i\": 8, "
                        "\"j\": 9, \"k\": 10}}");
    for (uint64_t n = 1;; n++) {
        Err err = {0};
        Buf out = {0};
        mem_fail_after(n);
        Template *t = text_template_new(source, strlen(source), &err);
        ErrCode code = t ? text_template_render(t, vars, &out, &err) : err.code;
        mem_fail_after(0);
        text_template_free(t);
        buf_free(&out);
        if (code == ERR_OK) {
            assert_true(n > 20);
            break;
        }
        assert_int_equal(code, ERR_MEMORY);
        assert_true(strlen(err.text) > 0);
    }
    json_decref(vars);
    const char *json = "[123456789012345678901234567890]";
    for (uint64_t n = 1; n < 10; n++) {
        Err err = {0};
        mem_fail_after(n);
        json_t *j = text_json_load(json, strlen(json), &err);
        mem_fail_after(0);
        if (!j) assert_int_equal(err.code, ERR_MEMORY);
        json_decref(j);
    }
}

/* ---- JSON ---- */

static void json_keeps_what_python_keeps(void **state) {
    (void)state;
    static const struct { const char *vars, *printed;
    } cases[] = {
        {"3", "3"},
        {"3.0", "3.0"},
        {"-0", "0"},
        {"-0.0", "-0.0"},
        {"1e5", "100000.0"},
        {"1e-7", "1e-07"},
        {"1E+22", "1e+22"},
        {"9223372036854775807", "9223372036854775807"},
        {"9223372036854775808", "9223372036854775808"},
        {"-9223372036854775808", "-9223372036854775808"},
        {"-9223372036854775809", "-9223372036854775809"},
        {"123456789012345678901234567890", "123456789012345678901234567890"},
        {"[1, -99999999999999999999, 2]", "[1, -99999999999999999999, 2]"},
        {"{\"z\": 99999999999999999999, \"a\": 1}", "{\"z\": 99999999999999999999, \"a\": 1}"},
        {"12345678901234567890.5", "1.2345678901234567e+19"},
        {"12345678901234567890e2", "1.2345678901234568e+21"},
        {"\"99999999999999999999\"", "\"99999999999999999999\""},
        {"\"a\\\"99999999999999999999\"", "\"a\\\"99999999999999999999\""},
        {"\"\\u0000x\"", "\"\\u0000x\""},
        {"\"\\ud83d\\ude00\"", "\"\xF0\x9F\x98\x80\""},
        {"[\"\\\\\", 99999999999999999999]", "[\"\\\\\", 99999999999999999999]"},
        /* a string cannot pass for an integer, however it is written, and survives beside one */
        {"[\"\xEF\xA3\xBF:12\", 99999999999999999999]", "[\"\xEF\xA3\xBF:12\", 99999999999999999999]"},
        {"[\"\\uf8ff:12\", 99999999999999999999]", "[\"\xEF\xA3\xBF:12\", 99999999999999999999]"},
        {"[\"\\uF8fF\xEF\xA3\xBF:12\"]", "[\"\xEF\xA3\xBF\xEF\xA3\xBF:12\"]"},
        {"\"\xEF\xA3\xBF:12\"", "\"\xEF\xA3\xBF:12\""},
        {"{\"\xEF\xA3\xBF:1\": 99999999999999999999}", "{\"\xEF\xA3\xBF:1\": 99999999999999999999}"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Buf vars = {0};
        buf_printf(&vars, "{\"v\": %s}", cases[i].vars);
        assert_string_equal(render("{{ v|tojson }}", vars.ptr), cases[i].printed);
        buf_free(&vars);
    }
    assert_string_equal(
        render("{{ v }}{{ v is integer }}{{ v is string }}{{ v == 99999999999999999999 }}{{ -v }}{{ v > 5 }}{{ [v] }}",
               "{\"v\": 99999999999999999999}"),
        "99999999999999999999TrueFalseTrue-99999999999999999999True[99999999999999999999]");
    Err err = {0};
    json_t *whole = text_json_load("99999999999999999999", 20, &err);
    assert_non_null(whole);
    assert_string_equal(json_string_value(whole), "\xFF" "99999999999999999999");
    json_decref(whole);
}

static void json_refuses_what_is_none(void **state) {
    (void)state;
    const char *bad[] = {"",
                         "{",
                         "[1,]",
                         "{\"a\": 1, \"a\": 2}",
                         "NaN",
                         "Infinity",
                         "-Infinity",
                         "1e999",
                         "01",
                         "'a'",
                         "\"\\ud800\"",
                         "\"\\ude00\"",
                         "\"\xFF\"",
                         "\"\xED\xA0\x80\"",
                         "[1] 2",
                         "\"a\nb\"",
                         "-",
                         "[-99999999999999999999x]",
                         "99999999999999999999 1",
                         "{\"\\u0000\": 1}"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        Err err = {0};
        json_t *j = text_json_load(bad[i], strlen(bad[i]), &err);
        if (j) fail_msg("%s was accepted", bad[i]);
        assert_int_equal(err.code, ERR_FORMAT);
        assert_memory_equal(err.text, "not valid JSON: ", 16);
    }
    char *deep = repeat("", "[", 100000, "");
    Err err = {0};
    assert_null(text_json_load(deep, 100000, &err));
    mem_free(deep);
}

/* ---- requests ---- */

static const char *chat(const char *source, const char *request) {
    static Buf out;
    Err err = {0};
    buf_clear(&out);
    json_t *r = load(request), *before = json_deep_copy(r);
    Template *t = text_template_new(source, strlen(source), &err);
    assert_non_null(t);
    if (text_chat_render(t, r, &out, &err) != ERR_OK) buf_printf(&out, "!%s", err.text);
    buf_puts(&out, "");
    assert_true(json_equal(r, before)); /* the request is the caller's */
    text_template_free(t);
    json_decref(r);
    json_decref(before);
    return out.ptr;
}

static void requests_are_prepared_as_transformers_does(void **state) {
    (void)state;
    const char *reasoning = "{% for m in messages %}[{{ m.reasoning_content }}]{% endfor %}";
    assert_string_equal(
        chat(reasoning,
             "{\"messages\": [{\"thinking\": \"a\"}, {\"reasoning\": \"b\"}, {\"reasoning\": \"b\", \"thinking\": "
             "\"a\"},"
             "{\"reasoning_content\": null, \"reasoning\": \"b\"}, {\"reasoning_content\": \"\", \"reasoning\": \"b\"},"
             "{\"thinking\": null, \"reasoning\": \"b\"}, {}, {\"reasoning_content\": null}]}"),
        "[a][b][a][b][][b][][None]");
    const char *defaults = "{{ tools }} {{ documents }} {{ add_generation_prompt }} {{ x is defined }}";
    assert_string_equal(chat(defaults, "{\"messages\": []}"), "None None False False");
    assert_string_equal(chat(defaults, "{\"messages\": [], \"tools\": null, \"kwargs\": null}"),
                        "None None False False");
    assert_string_equal(
        chat(defaults, "{\"messages\": [], \"tools\": [1], \"kwargs\": {\"add_generation_prompt\": true, \"x\": 1}}"),
        "[1] None True True");
    assert_string_equal(chat("", "[]"), "!a chat request must be a JSON object with \"messages\"");
    assert_string_equal(chat("", "{}"), "!\"messages\" of a chat request must be an array");
    assert_string_equal(chat("", "{\"messages\": [], \"tools\": {}}"),
                        "!\"tools\" of a chat request must be an array or null");
    assert_string_equal(chat("", "{\"messages\": [], \"kwargs\": []}"),
                        "!\"kwargs\" of a chat request must be an object");
}

static void string_arguments_become_objects_on_request(void **state) {
    (void)state;
    const char *source = "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ (c.function or "
                         "c).arguments|tojson }};{% endfor %}{% endfor %}";
    const char *request =
        "{\"messages\": [{\"role\": \"user\"}, {\"tool_calls\": null}, {\"tool_calls\": ["
        "{\"function\": {\"name\": \"f\", \"arguments\": \"{\\\"b\\\": 99999999999999999999, \\\"a\\\": 1.0}\"}},"
        "{\"name\": \"g\", \"arguments\": \"\"}, {\"function\": {\"arguments\": \"{broken\"}},"
        "{\"function\": {\"arguments\": \"[1]\"}}, {\"function\": {\"arguments\": {\"k\": 1}}}, {\"function\": {}}, "
        "5]}]}";
    json_t *r = load(request);
    Err err = {0};
    Buf out = {0};
    assert_int_equal(text_chat_parse_arguments(json_object_get(r, "messages"), &err), ERR_OK);
    json_array_remove(json_object_get(json_array_get(json_object_get(r, "messages"), 2), "tool_calls"), 6);
    json_array_remove(json_object_get(json_array_get(json_object_get(r, "messages"), 2), "tool_calls"), 5);
    Template *t = text_template_new(source, strlen(source), &err);
    assert_int_equal(text_chat_render(t, r, &out, &err), ERR_OK);
    assert_string_equal(out.ptr, "{\"b\": 99999999999999999999, \"a\": 1.0};{};\"{broken\";\"[1]\";{\"k\": 1};");
    text_template_free(t);
    json_decref(r);
    buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_renders_are_equal),
        cmocka_unit_test(renders_of_further_families_are_equal),
        cmocka_unit_test(templates_inside_models_are_read),
        cmocka_unit_test(tiny_tales_speaks),
        cmocka_unit_test(constructs_render_as_in_jinja),
        cmocka_unit_test(errors_name_the_construct_and_its_line),
        cmocka_unit_test(deep_sources_are_refused),
        cmocka_unit_test(renders_that_never_end_are_ended),
        cmocka_unit_test(failed_allocations_are_errors),
        cmocka_unit_test(json_keeps_what_python_keeps),
        cmocka_unit_test(json_refuses_what_is_none),
        cmocka_unit_test(requests_are_prepared_as_transformers_does),
        cmocka_unit_test(string_arguments_become_objects_on_request),
    };
    return RUN_TESTS(tests);
}
