/* Calls of tools that must come: their spelling, token by token masks, and random calls read back by the parser of text/. */
#include "support/grammar_rig.h"
#include "support/support.h"

#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char tools_json[] =
    "[{\"name\": \"get_weather\", \"parameters\": {\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"}, "
    "\"days\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 14}, \"unit\": {\"enum\": [\"c\", \"f\"]}, "
    "\"hours\": {\"type\": \"array\", \"items\": {\"type\": \"integer\"}, \"maxItems\": 3}}, \"required\": [\"city\", \"unit\"]}}, "
    "{\"name\": \"note\", \"parameters\": {\"type\": \"object\", \"properties\": {\"text\": {\"type\": \"string\", \"minLength\": 3, "
    "\"maxLength\": 40}, \"id\": {\"type\": \"string\", \"pattern\": \"^[A-Z]{2}[0-9]+$\"}, \"loud\": {\"type\": \"boolean\"}}, "
    "\"required\": [\"text\"], \"additionalProperties\": false}}, {\"name\": \"now\"}]";

typedef struct Tools {
    json_t *json;
    GrammarTool list[3];
    size_t n;
} Tools;

static Tools tools_new(void) {
    Tools t = {.json = json_loads(tools_json, 0, NULL)};
    assert_non_null(t.json);
    for (; t.n < json_array_size(t.json); t.n++) {
        const json_t *tool = json_array_get(t.json, t.n);
        t.list[t.n] = (GrammarTool){str_c(json_string_value(json_object_get(tool, "name"))), json_object_get(tool, "parameters")};
    }
    return t;
}

static Grammar *build(GrammarCallForm form, bool several) {
    Err err = {0};
    Tools t = tools_new();
    Grammar *g = grammar_tool_calls(form, t.list, t.n, several, &err);
    if (!g) fail_msg("%s", err.text);
    json_decref(t.json);
    return g;
}

static void check(const Grammar *g, const char *text, bool right) {
    if (grammar_takes(g, text, strlen(text)) != right) fail_msg("%s: %s", right ? "not taken" : "taken", text);
}

#define CALL(name, arguments) "<tool_call>\n<function=" name ">\n" arguments "</function>\n</tool_call>"
#define ARG(key, value) "<parameter=" key ">\n" value "\n</parameter>\n"

static void calls_in_xml_are_written_as_templates_write_them(void **state) {
    (void)state;
    Grammar *g = build(GRAMMAR_CALLS_XML, false);
    check(g, CALL("get_weather", ARG("city", "Paris") ARG("unit", "c")), true);
    check(g, "\n\n" CALL("get_weather", ARG("city", "") ARG("days", "12") ARG("unit", "f") ARG("hours", "[1, 2]")), true);
    check(g, CALL("get_weather", ARG("city", "a\n<b> </parameter> \"c\"\n\xC3\xA9\n") ARG("unit", "c")), true);
    check(g, CALL("note", ARG("text", "abc\n\n") ARG("id", "AB12") ARG("loud", "true")), true);
    check(g, CALL("now", ""), true);
    check(g, CALL("get_weather", ARG("city", "Paris")), false);
    check(g, CALL("get_weather", ARG("unit", "c") ARG("city", "Paris")), false);
    check(g, CALL("get_weather", ARG("city", "Paris") ARG("unit", "k")), false);
    check(g, CALL("get_weather", ARG("city", "Paris") ARG("days", "15") ARG("unit", "c")), false);
    check(g, CALL("get_weather", ARG("city", "Paris") ARG("unit", "\"c\"")), false);
    check(g, CALL("note", ARG("text", "ab")), false);
    check(g, CALL("note", ARG("text", "0123456789012345678901234567890123456789")), true);
    check(g, CALL("note", ARG("text", "01234567890123456789012345678901234567890")), false);
    check(g, CALL("note", ARG("text", "abc") ARG("id", "A12")), false);
    check(g, CALL("note", ARG("text", "abc") ARG("more", "x")), false);
    check(g, CALL("other", ""), false);
    check(g, "text " CALL("now", ""), false);
    check(g, CALL("now", "") "\n" CALL("now", ""), false);
    grammar_free(g);
}

static void calls_in_json_are_written_as_templates_write_them(void **state) {
    (void)state;
    Grammar *g = build(GRAMMAR_CALLS_JSON, true);
    check(g, "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\", \"unit\": \"c\"}}\n</tool_call>", true);
    check(g, "<tool_call>\n{\"name\":\"now\",\"arguments\":{}}\n</tool_call>", true);
    check(g, "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"name\": \"note\", \"arguments\": "
             "{\"text\": \"abc\", \"loud\": false}}\n</tool_call>", true);
    check(g, "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>", false);
    check(g, "<tool_call>\n{\"name\": \"note\", \"arguments\": {\"text\": \"abc\", \"more\": 1}}\n</tool_call>", false);
    check(g, "<tool_call>\n{\"name\": \"other\", \"arguments\": {}}\n</tool_call>", false);
    check(g, "<tool_call>\n{\"name\": \"now\", \"arguments\": []}\n</tool_call>", false);
    check(g, "<tool_call>\n{\"name\": \"now\"}\n</tool_call>", false);
    check(g, "{\"name\": \"now\", \"arguments\": {}}", false);
    grammar_free(g);
}

static void masks_of_calls_are_what_trying_every_token_gives(void **state) {
    GrammarRig *rig = *state;
    Grammar *g = build(GRAMMAR_CALLS_XML, true);
    GrammarMasks *m = grammar_masks_new(g, rig->vocab, &rig->stop, 1, NULL);
    grammar_expect_masks_along(rig, g, m, CALL("get_weather", ARG("city", "a\n</par\n\"b\" c") ARG("days", "3") ARG("unit", "c")), 4);
    grammar_expect_masks_along(rig, g, m, CALL("note", ARG("text", "\n</parameter\n</p> the end of the text\n") ARG("id", "QQ7")), 4);
    grammar_masks_free(m);
    grammar_free(g);
}

/* The arguments of a call satisfy the tool's schema; members may come in any order in what the parser gives. */
static void expect_call(const Tools *t, Str name, Str arguments, const Buf *text) {
    for (size_t i = 0; i < t->n; i++) {
        if (!str_eq(name, t->list[i].name)) continue;
        Grammar *g = t->list[i].parameters ? grammar_json_schema(t->list[i].parameters, NULL) : grammar_json_object(NULL);
        json_t *json = json_loadb(arguments.ptr, arguments.len, JSON_ALLOW_NUL, NULL);
        char *compact = json_dumps(json, JSON_COMPACT);
        if (!compact || !grammar_takes(g, compact, strlen(compact)))
            fail_msg("%.*s: %.*s", (int)arguments.len, arguments.ptr, (int)text->len, text->ptr);
        free(compact);
        json_decref(json);
        grammar_free(g);
        return;
    }
    fail_msg("no such tool: %.*s", (int)name.len, name.ptr);
}

static void random_calls_are_read_back_and_satisfy_their_schemas(void **state) {
    GrammarRig *rig = *state;
    Tools t = tools_new();
    Buf text = {0};
    for (int form = 0; form < 2; form++) {
        Grammar *g = build(form ? GRAMMAR_CALLS_JSON : GRAMMAR_CALLS_XML, false);
        GrammarMasks *m = grammar_masks_new(g, rig->vocab, &rig->stop, 1, NULL);
        for (uint64_t seed = 0; seed < 30; seed++) {
            grammar_random_text(rig, g, m, seed, 60, &text);
            TextCallsSpec spec = {.form = form ? TEXT_FORM_QWEN_JSON : TEXT_FORM_QWEN_XML, .tools = t.json};
            TextCalls *calls = text_calls_new(&spec, NULL);
            TextEvents events = {0};
            text_calls_put(calls, text.ptr, text.len, &events);
            text_calls_end(calls, false, &events);
            if (events.n != 3 || events.items[0].kind != TEXT_CALL_NAME || events.items[1].kind != TEXT_CALL_ARGUMENTS)
                fail_msg("%zu events: %.*s", events.n, (int)text.len, text.ptr);
            expect_call(&t, text_events_text(&events, 0), text_events_text(&events, 1), &text);
            text_events_free(&events);
            text_calls_free(calls);
        }
        grammar_masks_free(m);
        grammar_free(g);
    }
    buf_free(&text);
    json_decref(t.json);
}

static void what_a_tool_asks_for_in_vain_is_refused_with_its_name(void **state) {
    (void)state;
    static const struct { const char *parameters, *said; } refused[] = {
        {"{\"type\": \"object\", \"properties\": {\"a\": {\"not\": {}}}}", "tool it: schema, at #/properties/a/not"},
        {"{\"anyOf\": [{\"required\": [\"a\"]}, {\"required\": [\"b\"]}]}", "tool it: schema, at #/anyOf"},
        {"{\"properties\": {\"a>b\": {}}}", "tool it: schema, at #/properties: \"a>b\""},
        {"{\"properties\": {\"a\": {\"enum\": [\"x\\n</parameter>\"]}}}", "tool it: schema, at #/properties/a/enum"},
        {"{\"properties\": {\"a\": {\"oneOf\": [{\"type\": \"integer\"}, {\"const\": 3}]}}}", "branches 0 and 1"},
    };
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        Err err = {0};
        json_t *json = json_loads(refused[i].parameters, 0, NULL);
        GrammarTool tool = {str_c("it"), json};
        assert_non_null(json);
        if (grammar_tool_calls(GRAMMAR_CALLS_XML, &tool, 1, false, &err) || !strstr(err.text, refused[i].said)) fail_msg("%s", err.text);
        json_decref(json);
    }
}

static int open_rig(void **state) {
    *state = grammar_rig_new();
    return 0;
}

static int close_rig(void **state) {
    grammar_rig_free(*state);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_in_xml_are_written_as_templates_write_them),
        cmocka_unit_test(calls_in_json_are_written_as_templates_write_them),
        cmocka_unit_test_setup_teardown(masks_of_calls_are_what_trying_every_token_gives, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(random_calls_are_read_back_and_satisfy_their_schemas, open_rig, close_rig),
        cmocka_unit_test(what_a_tool_asks_for_in_vain_is_refused_with_its_name),
    };
    return RUN_TESTS(tests);
}
