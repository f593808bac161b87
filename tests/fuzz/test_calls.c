/* An answer taken apart while it is made (src/text/calls*.c).
 *
 * Input: three bytes (the form; flags; how it is cut), then the answer.
 * Property: the events are the same whole, byte by byte and cut at random; each call is one of a declared tool, with an id only where
 * the form has ids, a JSON object as its arguments and an end; texts are whole pieces of the answer in its order, and where there is no
 * call, nothing is lost but newlines, the tags of reasoning and white space before them. */
#include "fuzz/fuzz.h"

#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>

enum { THINKS = 1, INSIDE = 2, NO_TOOLS = 4, CUT = 8 };

static json_t *tools;

/* The tools of the corpus that test_calls.c reads: its first line. */
static void read_tools(void) {
    static char line[65536];
    FILE *f = fopen(source_path("tests/data/calls.jsonl"), "r");
    Err err = {0};
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    fclose(f);
    json_t *first = text_json_load(line, strlen(line), &err);
    tools = json_incref(json_object_get(first, "tools"));
    assert_non_null(tools);
    json_decref(first);
}

static bool is_declared(Str name) {
    size_t i;
    json_t *tool;
    json_array_foreach(tools, i, tool)
        if (str_eq_c(name, json_string_value(json_object_get(json_object_get(tool, "function"), "name")))) return true;
    return false;
}

/* The answer in pieces: step 0: whole, else 1 to step bytes. As "KIND text" with neighbours joined. */
static void take_apart(const TextCallsSpec *spec, Str text, bool cut, unsigned step, Buf *out) {
    TextEvents list = {0};
    TextCalls *c = text_calls_new(spec, NULL);
    Xoshiro r;
    assert_non_null(c);
    xoshiro_seed(&r, step);
    for (size_t at = 0, n; at < text.len; at += n) {
        n = step ? 1 + xoshiro_next(&r) % step : text.len;
        if (n > text.len - at) n = text.len - at;
        char *piece = malloc(n); /* alone, so that a look behind it is seen */
        memcpy(piece, text.ptr + at, n);
        text_calls_put(c, piece, n, &list);
        free(piece);
    }
    text_calls_end(c, cut, &list);
    text_calls_free(c);
    assert_false(list.failed);
    TextEventKind last = TEXT_CALL_END;
    buf_clear(out);
    for (size_t i = 0; i < list.n; i++) {
        TextEventKind kind = list.items[i].kind;
        Str s = text_events_text(&list, i);
        if (kind != last || kind > TEXT_CONTENT) buf_putc(out, (char)(0x80 + kind)), buf_putc(out, 0);
        buf_put(out, s.ptr, s.len);
        last = kind;
    }
    text_events_free(&list);
}

typedef struct Walk {
    Str text;
    size_t at;              /* how far the answer was found again */
    size_t given;           /* bytes of text that left, without newlines */
    int calls;
    TextEventKind expected; /* of a call that has begun; TEXT_CONTENT: none has */
} Walk;

static void check_call(Walk *w, TextEventKind kind, Str s, TextForm form) {
    Err err = {0};
    if (kind == TEXT_CALL_ID) {
        assert_int_equal(w->expected, TEXT_CONTENT);
        assert_int_equal(form, TEXT_FORM_KIMI);
        w->expected = TEXT_CALL_NAME;
    } else if (kind == TEXT_CALL_NAME) {
        assert_true(w->expected == TEXT_CONTENT || w->expected == TEXT_CALL_NAME);
        if (!is_declared(s)) fail_msg("a call of '%.*s'", (int)s.len, s.ptr);
        w->expected = TEXT_CALL_ARGUMENTS;
    } else if (kind == TEXT_CALL_ARGUMENTS) {
        assert_int_equal(w->expected, TEXT_CALL_ARGUMENTS);
        json_t *object = text_json_load(s.ptr, s.len, &err);
        if (!json_is_object(object)) fail_msg("arguments %.*s: %s", (int)s.len, s.ptr, err.text);
        json_decref(object);
        w->expected = TEXT_CALL_END;
    } else {
        assert_int_equal(w->expected, TEXT_CALL_END);
        w->expected = TEXT_CONTENT;
        w->calls++;
    }
}

static void check_text(Walk *w, Str s) {
    assert_int_equal(w->expected, TEXT_CONTENT);
    for (size_t k = 0; k < s.len; k++, w->at++) {
        while (w->at < w->text.len && w->text.ptr[w->at] != s.ptr[k]) w->at++;
        if (w->at == w->text.len) fail_msg("an event says what the answer did not: %.*s", (int)s.len, s.ptr);
        w->given += s.ptr[k] != '\n';
    }
}

static void check_sound(const TextCallsSpec *spec, Str text) {
    TextEvents list = {0};
    TextCalls *c = text_calls_new(spec, NULL);
    Walk w = {.text = text, .expected = TEXT_CONTENT};
    text_calls_put(c, text.ptr, text.len, &list);
    text_calls_end(c, false, &list);
    for (size_t i = 0; i < list.n; i++) {
        TextEventKind kind = list.items[i].kind;
        if (kind <= TEXT_CONTENT) check_text(&w, text_events_text(&list, i));
        else check_call(&w, kind, text_events_text(&list, i), spec->form);
    }
    assert_int_equal(w.expected, TEXT_CONTENT);
    if (!spec->tools) assert_int_equal(w.calls, 0);
    size_t left = 0, before = 0;
    while (before < text.len && (text.ptr[before] == ' ' || (text.ptr[before] >= '\t' && text.ptr[before] <= '\r'))) before++;
    for (size_t at = 0; at < text.len; at++) left += text.ptr[at] != '\n';
    if (!w.calls && left - w.given > strlen("<think></think>") + before) fail_msg("%zu bytes are lost", left - w.given);
    text_events_free(&list);
    text_calls_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    FuzzBytes in = {bytes, n};
    if (!tools) read_tools();
    unsigned form = fuzz_byte(&in), flags = fuzz_byte(&in), step = fuzz_byte(&in);
    TextCallsSpec spec = {.form = (TextForm)(form % TEXT_FORMS), .thinks = flags & THINKS, .inside_think = flags & INSIDE,
                          .tools = flags & NO_TOOLS ? NULL : tools};
    Str text = fuzz_rest(&in);
    Buf whole = {0}, pieces = {0};
    take_apart(&spec, text, flags & CUT, 0, &whole);
    const unsigned steps[] = {1, 2 + step % 30};
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        take_apart(&spec, text, flags & CUT, steps[i], &pieces);
        bool same = pieces.len == whole.len && (whole.len == 0 || memcmp(pieces.ptr, whole.ptr, whole.len) == 0);
        if (!same) fail_msg("pieces of up to %u bytes give\n%s\ninstead of\n%s", steps[i], pieces.ptr, whole.ptr);
    }
    check_sound(&spec, text);
    buf_free(&whole);
    buf_free(&pieces);
    return 0;
}
