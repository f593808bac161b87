/* What an answer must be (src/grammar/): schemas and patterns come with a request.
 *
 * Input: a byte for the kind, then a schema (kinds 0, 2 and 3: as JSON, as the parameters of a tool in both forms) or a pattern (1), and
 * after a line "----" bytes that choose a text.
 * Property: a grammar or a sentence; from wherever a text has come an end can be reached, in as many bytes as were told; the whole text
 * is accepted, also in pieces, and is what it should be (as jansson, PCRE2 and the parser of calls see it). */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "fuzz/fuzz.h"

#include "grammar/grammar.h"
#include "text/text.h"

#include <pcre2.h>

enum { SCHEMA, PATTERN, XML_CALL, JSON_CALL, KINDS };
enum { MOST_CHOSEN = 200, MOST_LEFT = 3000, MOST_MATCHING = 100000 };

/* ---- a text of the grammar ---- */

/* The first byte that may follow, from the wanted one on; -1: none. */
static int next_byte(GrammarState *s, unsigned wanted) {
    for (unsigned i = 0; i < 256; i++) {
        char c = (char)(wanted + i);
        if (grammar_accept(s, &c, 1)) return (unsigned char)c;
    }
    return -1;
}

/* One that comes nearer to the end. */
static int nearer_byte(GrammarState *s, GrammarState *try) {
    uint32_t left = grammar_shortest_end(s);
    for (unsigned i = 0; i < 256; i++) {
        char c = (char)(i + 32);
        grammar_state_set(try, s);
        if (!grammar_accept(try, &c, 1) || grammar_shortest_end(try) >= left) continue;
        grammar_state_set(s, try);
        return (unsigned char)c;
    }
    return -1;
}

static bool choose_text(const Grammar *g, FuzzBytes *in, Buf *out) {
    GrammarState *s = grammar_state_new(g, NULL), *try = grammar_state_new(g, NULL);
    assert_non_null(s);
    assert_non_null(try);
    for (int i = 0; i < MOST_CHOSEN && in->len; i++) {
        unsigned wanted = fuzz_byte(in);
        int c = wanted ? next_byte(s, wanted) : nearer_byte(s, try);
        if (c < 0 && !grammar_may_end(s)) fail_msg("a dead end behind %.*s", (int)out->len, out->ptr);
        if (c < 0) break;
        buf_putc(out, (char)c);
    }
    uint32_t left = grammar_shortest_end(s);
    if (left <= MOST_LEFT)
        while (!grammar_may_end(s)) {
            int c = nearer_byte(s, try);
            if (c < 0) fail_msg("no end can be reached behind %.*s", (int)out->len, out->ptr);
            buf_putc(out, (char)c);
        }
    if (left <= MOST_LEFT) assert_int_equal(grammar_shortest_end(s), 0);
    grammar_state_free(s);
    grammar_state_free(try);
    return left <= MOST_LEFT;
}

/* ---- what it should be ---- */

/* PCRE2 takes what ECMA 262 calls \d, \w, \s and . where it takes more than that; a pattern that it cannot read says nothing. */
static void check_pattern(Str pattern, Str value) {
    int why;
    size_t at;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    pcre2_set_compile_extra_options(context, PCRE2_EXTRA_ALT_BSUX);
    uint32_t options = PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_ALLOW_EMPTY_CLASS | PCRE2_NO_AUTO_CAPTURE;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)pattern.ptr, pattern.len, options, &why, &at, context);
    pcre2_compile_context_free(context);
    if (!code) return;
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, NULL);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    pcre2_set_match_limit(limits, MOST_MATCHING);
    int found = pcre2_match(code, (PCRE2_SPTR)value.ptr, value.len, 0, 0, data, limits);
    if (found == PCRE2_ERROR_NOMATCH)
        fail_msg("'%.*s' is not of the pattern %.*s", (int)value.len, value.ptr, (int)pattern.len, pattern.ptr);
    pcre2_match_context_free(limits);
    pcre2_match_data_free(data);
    pcre2_code_free(code);
}

static void check_json(Str text, const Str *pattern) {
    json_error_t why;
    json_t *value = json_loadb(text.ptr ? text.ptr : "", text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (!value) fail_msg("%.*s: %s", (int)text.len, text.ptr, why.text);
    bool plain = pattern && !strstr(pattern->ptr, "\\s") && !strstr(pattern->ptr, "[^");
    if (pattern && json_is_string(value) && plain)
        check_pattern(*pattern, str_make(json_string_value(value), json_string_length(value)));
    json_decref(value);
}

/* The parser of answers must see one call of the tool, and nothing else. */
static void check_call(unsigned kind, Str text, json_t *parameters) {
    json_t *tools = json_pack("[{s:s,s:O}]", "name", "tool", "parameters", parameters);
    TextCallsSpec spec = {.form = kind == XML_CALL ? TEXT_FORM_QWEN_XML : TEXT_FORM_QWEN_JSON, .tools = tools};
    TextCalls *c = text_calls_new(&spec, NULL);
    TextEvents list = {0};
    text_calls_put(c, text.ptr, text.len, &list);
    text_calls_end(c, false, &list);
    bool good = list.n == 3 && list.items[0].kind == TEXT_CALL_NAME && list.items[1].kind == TEXT_CALL_ARGUMENTS;
    if (!good) fail_msg("not read as one call: %.*s", (int)text.len, text.ptr);
    check_json(text_events_text(&list, 1), NULL);
    text_events_free(&list);
    text_calls_free(c);
    json_decref(tools);
}

/* The whole text, and in two pieces. */
static void check_taken(const Grammar *g, Str text, size_t cut) {
    for (int pieces = 1; pieces <= 2; pieces++) {
        GrammarState *s = grammar_state_new(g, NULL);
        size_t first = pieces == 1 ? text.len : cut;
        if (text.len) assert_true(grammar_accept(s, text.ptr, first) && grammar_accept(s, text.ptr + first, text.len - first));
        assert_true(grammar_may_end(s));
        grammar_state_free(s);
    }
}

/* ---- kinds ---- */

static json_t *read_schema(unsigned kind, Str source) {
    json_error_t why;
    return kind == PATTERN ? json_pack("{s:s,s:o}", "type", "string", "pattern", json_stringn(source.ptr, source.len))
                           : json_loadb(source.ptr, source.len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &why);
}

static Grammar *build(unsigned kind, const json_t *schema, Err *err) {
    GrammarTool tool = {str_c("tool"), schema};
    GrammarCallForm form = kind == XML_CALL ? GRAMMAR_CALLS_XML : GRAMMAR_CALLS_JSON;
    Grammar *g = kind <= PATTERN ? grammar_json_schema(schema, err) : grammar_tool_calls(form, &tool, 1, false, err);
    if (!g) fuzz_sentence(err->text);
    return g;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    FuzzBytes in = {bytes, n};
    unsigned kind = fuzz_byte(&in) % KINDS;
    Str part = fuzz_part(&in);
    char *source = mem_strndup(part.ptr, part.len);
    Str pattern = str_make(source, part.len);
    Err err = {0};
    Buf text = {0};
    json_t *schema = read_schema(kind, pattern);
    Grammar *g = schema ? build(kind, schema, &err) : NULL;
    if (g && choose_text(g, &in, &text)) {
        Str whole = str_make(text.ptr ? text.ptr : "", text.len);
        check_taken(g, whole, whole.len / 2);
        if (kind <= PATTERN) check_json(whole, kind == PATTERN ? &pattern : NULL);
        else check_call(kind, whole, schema);
    }
    json_decref(schema);
    grammar_free(g);
    buf_free(&text);
    mem_free(source);
    return 0;
}
