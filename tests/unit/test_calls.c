/* An answer taken apart: a corpus of good and bad ones (tests/data/calls.jsonl), each cut everywhere, and damaged at random. */
#include "support/support.h"

#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ITEMS = 256 };

static json_t *common, *tools; /* the corpus's first line: tools, an answer of theirs and its events */
static json_t *items[MAX_ITEMS];
static int n_items;

static const char *string(const json_t *item, const char *key) { return json_string_value(json_object_get(item, key)); }

static TextForm form_of(const char *name) {
    static const char *const names[TEXT_FORMS] = {"none", "qwen_xml", "qwen_json", "glm", "minimax", "kimi", "deepseek", "deepseek_v3"};
    for (int i = 0; i < TEXT_FORMS; i++)
        if (strcmp(name, names[i]) == 0) return (TextForm)i;
    fail_msg("no form %s", name);
    return TEXT_FORM_NONE;
}

static int load_corpus(void **state) {
    (void)state;
    FILE *f = fopen(source_path("tests/data/calls.jsonl"), "r");
    static char line[65536];
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        Err err = {0};
        json_t *j = text_json_load(line, strlen(line), &err);
        if (!j) fail_msg("calls.jsonl: %s", err.text);
        if (!common) {
            common = j;
            tools = json_object_get(j, "tools");
        } else {
            assert_in_range(n_items, 0, MAX_ITEMS - 1);
            items[n_items++] = j;
        }
    }
    fclose(f);
    return n_items > 100 ? 0 : -1;
}

static int free_corpus(void **state) {
    (void)state;
    json_decref(common);
    for (int i = 0; i < n_items; i++) json_decref(items[i]);
    return 0;
}

static TextCalls *parser(const json_t *item) {
    const char *no_tools = string(item, "tools");
    TextCallsSpec spec = {.form = form_of(string(item, "form")), .thinks = !json_is_false(json_object_get(item, "thinks")),
                          .inside_think = json_is_true(json_object_get(item, "inside")), .tools = no_tools ? NULL : tools};
    TextCalls *c = text_calls_new(&spec, NULL);
    assert_non_null(c);
    return c;
}

static json_t *text_of(const TextEvents *list, size_t i) {
    Str s = text_events_text(list, i);
    return json_stringn_nocheck(s.ptr, s.len);
}

/* The events as the corpus writes them: neighbours of a kind as one. */
static json_t *told(const TextEvents *list) {
    json_t *out = json_array(), *call = NULL, *id = NULL;
    static const char *const kinds[] = {"reasoning", "content"};
    assert_false(list->failed);
    for (size_t i = 0; i < list->n; i++) {
        TextEventKind kind = list->items[i].kind;
        Str s = text_events_text(list, i);
        if (kind == TEXT_CALL_ID) {
            id = text_of(list, i);
        } else if (kind == TEXT_CALL_NAME) {
            assert_null(call);
            call = json_pack("[s,o]", "call", text_of(list, i));
        } else if (kind == TEXT_CALL_ARGUMENTS) {
            json_array_append_new(call, text_of(list, i));
        } else if (kind == TEXT_CALL_END) {
            if (id) json_array_append_new(call, id);
            json_array_append_new(out, call);
            call = id = NULL;
        } else {
            json_t *last = json_array_get(out, json_array_size(out) - 1);
            const char *before = json_string_value(json_array_get(last, 0));
            Buf whole = {0};
            if (before && strcmp(before, kinds[kind]) == 0) {
                const json_t *text = json_array_get(last, 1);
                buf_put(&whole, json_string_value(text), json_string_length(text));
                json_array_remove(out, json_array_size(out) - 1);
            }
            buf_put(&whole, s.ptr, s.len);
            json_array_append_new(out, json_pack("[s,o]", kinds[kind], json_stringn_nocheck(whole.ptr, whole.len)));
            buf_free(&whole);
        }
    }
    assert_null(call);
    return out;
}

/* The events of a text given in pieces that end at the cuts; 0: none. step > 0: pieces of so many bytes. */
static json_t *events_of(const json_t *item, Str text, size_t first, size_t second, size_t step) {
    TextCalls *c = parser(item);
    TextEvents list = {0};
    size_t at = 0;
    while (at < text.len) {
        size_t end = step ? at + step : at < first ? first : at < second ? second : text.len;
        if (end > text.len) end = text.len;
        text_calls_put(c, text.ptr + at, end - at, &list);
        at = end;
    }
    text_calls_end(c, json_is_true(json_object_get(item, "cut")), &list);
    json_t *events = told(&list);
    text_events_free(&list);
    text_calls_free(c);
    return events;
}

static void check_same(const json_t *expected, json_t *events, const char *what, size_t cut) {
    if (!json_equal(expected, events)) {
        char *a = json_dumps(expected, JSON_ENCODE_ANY), *b = json_dumps(events, JSON_ENCODE_ANY);
        fail_msg("%s (cut at %zu):\n%s\ninstead of\n%s", what, cut, b, a);
    }
    json_decref(events);
}

static Str text_of_item(const json_t *item) { return str_make(string(item, "text"), json_string_length(json_object_get(item, "text"))); }

/* ---- the corpus ---- */

static void every_answer_has_its_events(void **state) {
    (void)state;
    for (int i = 0; i < n_items; i++)
        check_same(json_object_get(items[i], "events"), events_of(items[i], text_of_item(items[i]), 0, 0, 0), string(items[i], "what"), 0);
}

static void a_cut_at_any_place_changes_nothing(void **state) {
    (void)state;
    for (int i = 0; i < n_items; i++) {
        Str text = text_of_item(items[i]);
        const json_t *expected = json_object_get(items[i], "events");
        const char *what = string(items[i], "what");
        for (size_t step = 1; step <= 5; step++) check_same(expected, events_of(items[i], text, 0, 0, step), what, step);
        for (size_t cut = 1; cut < text.len; cut++) check_same(expected, events_of(items[i], text, cut, cut + 7, 0), what, cut);
    }
}

/* What is neither a newline nor part of a tag has left when the next byte is there. */
static void text_leaves_as_soon_as_it_can_be_no_tag(void **state) {
    (void)state;
    json_t *item = json_pack("{s:s}", "form", "qwen_xml");
    TextCalls *c = parser(item);
    TextEvents list = {0};
    const char *text = "a <tool_cold> b\n\nc </think> <functional> < ";
    for (size_t i = 0; text[i]; i++) text_calls_put(c, text + i, 1, &list);
    json_t *expected = json_pack("[[s,s]]", "content", text);
    check_same(expected, told(&list), "before the end", 0);
    json_decref(expected);
    text_events_free(&list);
    text_calls_free(c);
    json_decref(item);
}

static void a_call_leaves_when_its_end_is_there(void **state) {
    (void)state;
    json_t *item = json_pack("{s:s}", "form", "qwen_json");
    TextCalls *c = parser(item);
    TextEvents list = {0};
    const char *text = "<tool_call>\n{\"name\": \"now\"}\n</tool_call>";
    text_calls_put(c, text, strlen(text) - 1, &list);
    assert_int_equal(list.n, 0);
    text_calls_put(c, text + strlen(text) - 1, 1, &list);
    assert_int_equal(list.n, 3);
    text_events_free(&list);
    text_calls_free(c);
    json_decref(item);
}

/* ---- random damage ---- */

/* One of: a piece taken out, doubled, put in from another answer, a byte changed. */
static void damage(Xoshiro *r, Buf *text, Buf *scratch) {
    size_t len = text->len, at = len ? xoshiro_next(r) % (len + 1) : 0, n = xoshiro_next(r) % 16;
    if (n > len - at) n = len - at;
    Str other = text_of_item(items[xoshiro_next(r) % (uint64_t)n_items]);
    size_t from = other.len ? xoshiro_next(r) % other.len : 0, take = other.len ? xoshiro_next(r) % (other.len - from + 1) : 0;
    buf_clear(scratch);
    buf_put(scratch, text->ptr, at);
    switch (xoshiro_next(r) % 4) {
    case 0: break;
    case 1: buf_put(scratch, text->ptr + at, n), n = 0; break;
    case 2: buf_put(scratch, other.ptr + from, take), n = 0; break;
    default: buf_putc(scratch, (char)xoshiro_next(r)); break;
    }
    buf_put(scratch, text->ptr + at + n, len - at - n);
    Buf swap = *text;
    *text = *scratch;
    *scratch = swap;
}

/* Text that leaves stood in the answer, in this order; arguments are JSON objects. */
static void check_sound(const json_t *events, Str text) {
    size_t at = 0, i;
    json_t *e;
    bool calls = false;
    json_array_foreach(events, i, e) {
        const json_t *body = json_array_get(e, 1);
        if (strcmp(json_string_value(json_array_get(e, 0)), "call") == 0) {
            const json_t *arguments = json_array_get(e, 2);
            Err err = {0};
            json_t *object = text_json_load(json_string_value(arguments), json_string_length(arguments), &err);
            if (!json_is_object(object)) fail_msg("arguments %s: %s", json_string_value(arguments), err.text);
            json_decref(object);
            calls = true;
            continue;
        }
        const char *s = json_string_value(body);
        for (size_t k = 0; k < json_string_length(body); k++, at++) {
            while (at < text.len && text.ptr[at] != s[k]) at++;
            if (at == text.len) fail_msg("an event says what the answer did not: %s", s);
        }
    }
    if (calls) return;
    size_t left = 0, given = 0, before = 0; /* nothing but newlines, the tags of reasoning and white space before them is left out */
    while (before < text.len && (text.ptr[before] == ' ' || (text.ptr[before] >= '\t' && text.ptr[before] <= '\r'))) before++;
    for (at = 0; at < text.len; at++) left += text.ptr[at] != '\n';
    json_array_foreach(events, i, e) {
        const json_t *body = json_array_get(e, 1);
        for (size_t k = 0; k < json_string_length(body); k++) given += json_string_value(body)[k] != '\n';
    }
    assert_in_range(left - given, 0, strlen("<think></think>") + before);
}

static void damaged_answers_are_cut_anywhere_and_stay_the_same(void **state) {
    (void)state;
    Xoshiro r;
    xoshiro_seed(&r, 20261122);
    Buf text = {0}, scratch = {0};
    for (int turn = 0; turn < (under_sanitizer() ? 4000 : 40000); turn++) {
        const json_t *item = items[turn % n_items];
        Str original = text_of_item(item);
        buf_clear(&text);
        buf_put(&text, original.ptr, original.len);
        for (uint64_t k = xoshiro_next(&r) % 4 + 1; k > 0; k--) damage(&r, &text, &scratch);
        Str s = str_make(text.ptr, text.len);
        json_t *whole = events_of(item, s, 0, 0, 0);
        size_t first = s.len ? xoshiro_next(&r) % s.len : 0, second = s.len ? first + xoshiro_next(&r) % s.len : 0;
        check_same(whole, events_of(item, s, first, second, 0), text.ptr ? text.ptr : "", first);
        check_same(whole, events_of(item, s, 0, 0, 1 + xoshiro_next(&r) % 6), text.ptr ? text.ptr : "", 0);
        check_sound(whole, s);
        json_decref(whole);
    }
    buf_free(&text);
    buf_free(&scratch);
}

/* ---- templates ---- */

static void the_form_is_what_the_template_writes(void **state) {
    (void)state;
    static const struct { const char *source; TextForm form; } cases[] = {
        {"{{ messages[0].content }}", TEXT_FORM_NONE},
        {"{{ '<tool_call>' }}", TEXT_FORM_NONE},
        {"{{- '<tool_call>\\n<function=' + tool_call.name + '>\\n' }}", TEXT_FORM_QWEN_XML},
        {"{{- \"<tool_call>\\n{\\\"name\\\": <function-name>, \\\"arguments\\\": <args>}\\n</tool_call>\" }}", TEXT_FORM_QWEN_JSON},
        {"{{- '<tool_call>\\n{\"name\": \"' }}{{- '\", \"arguments\": ' }}", TEXT_FORM_QWEN_JSON},
        {"<tool_call>{{ n }}<arg_key>{{ k }}</arg_key>", TEXT_FORM_GLM},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) assert_int_equal(text_calls_form(str_c(cases[i].source)), cases[i].form);
    assert_true(text_calls_thinks(str_c("{{ '<think>\\n</think>' }}")));
    assert_false(text_calls_thinks(str_c("{{ 'think' }}")));
}

static void a_prompt_may_end_inside_reasoning_or_behind_it(void **state) {
    (void)state;
    assert_true(text_calls_inside_think(str_c("<|im_start|>assistant\n<think>\n")));
    assert_true(text_calls_inside_think(str_c("<|assistant|><think>")));
    assert_false(text_calls_inside_think(str_c("<|im_start|>assistant\n<think>\n\n</think>\n\n")));
    assert_false(text_calls_inside_think(str_c("what is <think>?<|im_end|>\n<|im_start|>assistant\n")));
    assert_false(text_calls_inside_think(str_c("")));
    assert_true(text_calls_behind_think(str_c("<|im_start|>assistant\n<think>\n\n</think>\n\n")));
    assert_false(text_calls_behind_think(str_c("<|im_start|>assistant\n<think>\n")));
    assert_false(text_calls_behind_think(str_c("what is </think>?<|im_end|>\n<|im_start|>assistant\n")));
}

static Str template_file(const char *model) {
    static char name[128], source[1 << 16];
    snprintf(name, sizeof name, "data/templates/%s.jinja", model);
    FILE *f = fopen(shared_path(name), "rb");
    assert_non_null(f);
    Str s = str_make(source, fread(source, 1, sizeof source, f));
    fclose(f);
    return s;
}

static void templates_of_real_models_say_their_form(void **state) {
    (void)state;
    static const struct { const char *file; TextForm form; bool thinks; } cases[] = {
        {"Qwen3.5", TEXT_FORM_QWEN_XML, true}, {"Qwen3.8", TEXT_FORM_QWEN_XML, true}, {"Qwen3", TEXT_FORM_QWEN_JSON, true},
        {"Qwen3-Coder", TEXT_FORM_QWEN_XML, false}, {"more/GLM-4.6", TEXT_FORM_GLM, true}, {"more/GLM-4.7-Flash", TEXT_FORM_GLM, true},
        {"more/MiniMax-M2", TEXT_FORM_MINIMAX, true}, {"more/Kimi-K2-Thinking", TEXT_FORM_KIMI, true},
        {"more/Kimi-K2-Instruct", TEXT_FORM_KIMI, false}, {"more/deepseek-ai-DeepSeek-V3.1", TEXT_FORM_DEEPSEEK, true},
        {"more/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", TEXT_FORM_QWEN_XML, true}, {"more/openai-gpt-oss-120b", TEXT_FORM_NONE, false},
    };
    REQUIRE_PATH(shared_path("data/templates/Qwen3.jinja"));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Str s = template_file(cases[i].file);
        if (text_calls_form(s) != cases[i].form || text_calls_thinks(s) != cases[i].thinks) fail_msg("%s", cases[i].file);
    }
}

/* A conversation rendered by the template, up to where the model begins to write or to the end. */
static Str rendered(const Template *t, json_t *messages, bool prompt, Buf *out) {
    json_t *request = json_pack("{s:O,s:O,s:{s:b,s:b}}", "messages", messages, "tools", tools, "kwargs", "add_generation_prompt", prompt,
                                "enable_thinking", 1);
    Err err = {0};
    if (text_chat_render(t, request, out, &err)) fail_msg("%s", err.text);
    json_decref(request);
    return str_make(out->ptr, out->len);
}

static void check_reads_back(const char *source, size_t len, const char *file, const char *stop) {
    Err err = {0};
    Buf before = {0}, whole = {0};
    Template *t = text_template_new(source, len, &err);
    if (!t) fail_msg("%s: %s", file, err.text);
    json_t *messages = json_pack("[{s:s,s:s}]", "role", "user", "content", "And?");
    Str prompt = rendered(t, messages, true, &before);
    json_array_append(messages, json_object_get(common, "answer"));
    Str all = rendered(t, messages, false, &whole);
    if (all.len < prompt.len || memcmp(all.ptr, prompt.ptr, prompt.len) != 0)
        fail_msg("%s: what is rendered does not begin with the prompt", file);
    Str text = str_make(all.ptr + prompt.len, all.len - prompt.len);
    if (*stop) text.len = (size_t)(strstr(text.ptr, stop) - text.ptr);
    TextCallsSpec spec = {.form = text_calls_form(str_make(source, len)), .thinks = text_calls_thinks(str_make(source, len)),
                          .inside_think = text_calls_inside_think(prompt), .tools = tools};
    TextCalls *c = text_calls_new(&spec, NULL);
    TextEvents list = {0};
    text_calls_put(c, text.ptr, text.len, &list);
    text_calls_end(c, false, &list);
    json_t *expected = json_deep_copy(json_object_get(common, "events"));
    if (!spec.thinks) json_array_remove(expected, 0);
    json_t *events_told = told(&list);
    for (size_t i = 0; i < json_array_size(events_told); i++) json_array_remove(json_array_get(events_told, i), 3); /* Kimi's ids */
    check_same(expected, events_told, file, 0);
    json_decref(expected);
    text_events_free(&list);
    text_calls_free(c);
    json_decref(messages);
    text_template_free(t);
    buf_free(&before);
    buf_free(&whole);
}

static void what_a_template_writes_is_read_back(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"Qwen3.5", "<|im_end|>"}, {"Qwen3.8", "<|im_end|>"}, {"Qwen3", "<|im_end|>"},
        {"more/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "<|im_end|>"}, {"more/GLM-4.6", ""}, {"more/GLM-4.7-Flash", ""},
        {"more/MiniMax-M2", "[e~["}, {"more/Kimi-K2-Instruct", "<|im_end|>"}, {"more/Kimi-K2-Thinking", "<|im_end|>"},
    };
    REQUIRE_PATH(shared_path("data/templates/Qwen3.jinja"));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        Str source = template_file(cases[i][0]);
        check_reads_back(source.ptr, source.len, cases[i][0], cases[i][1]);
    }
}

int main(void) {
    const struct CMUnitTest calls[] = {
        cmocka_unit_test(every_answer_has_its_events),
        cmocka_unit_test(a_cut_at_any_place_changes_nothing),
        cmocka_unit_test(text_leaves_as_soon_as_it_can_be_no_tag),
        cmocka_unit_test(a_call_leaves_when_its_end_is_there),
        cmocka_unit_test(damaged_answers_are_cut_anywhere_and_stay_the_same),
        cmocka_unit_test(the_form_is_what_the_template_writes),
        cmocka_unit_test(a_prompt_may_end_inside_reasoning_or_behind_it),
        cmocka_unit_test(templates_of_real_models_say_their_form),
        cmocka_unit_test(what_a_template_writes_is_read_back),
    };
    return cmocka_run_group_tests(calls, load_corpus, free_corpus);
}
