/* Answers that must be what the request says: JSON, JSON of a schema, calls of tools. */
#include "support/server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static Server *server;
static const char *const PATH = "/v1/chat/completions";

static int start(void **state) {
    (void)state;
    server = server_start("--ctx 1024 --threads 2 --parallel 2");
    return 0;
}
static int stop(void **state) {
    (void)state;
    return server_stop(server, SIGTERM);
}

/* The content of an answer that must be JSON. */
static json_t *content_of(const char *rest, int seed) {
    char body[2048];
    snprintf(body, sizeof body, "{\"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}], \"temperature\": 1.5, \"seed\": %d, "
             "\"chat_template_kwargs\": {\"enable_thinking\": false}, %s}", seed, rest);
    Http h = http_post(server, PATH, body);
    if (h.status != 200) fail_msg("%d: %s", h.status, h.body);
    assert_string_equal(text_at(h.json, "choices.0.finish_reason"), "stop");
    json_t *value = json_loads(text_at(h.json, "choices.0.message.content"), JSON_DECODE_ANY, NULL);
    if (!value) fail_msg("no JSON: %s", text_at(h.json, "choices.0.message.content"));
    http_free(&h);
    return value;
}

static void an_answer_has_the_schema_that_was_asked_for(void **state) {
    (void)state;
    const char *rest = "\"response_format\": {\"type\": \"json_schema\", \"json_schema\": {\"name\": \"pet\", "
                       "\"schema\": {\"type\": \"object\", \"properties\": {\"kind\": {\"enum\": [\"cat\", \"dog\"]}, "
                       "\"age\": {\"type\": \"integer\", \"minimum\": 0, "
                       "\"maximum\": 30}, \"good\": {\"type\": \"boolean\"}}, \"required\": [\"kind\", \"age\", \"good\"], "
                       "\"additionalProperties\": false}}}";
    for (int seed = 1; seed <= 6; seed++) { /* the prompt has closed the reasoning: none opens it again */
        json_t *v = content_of(rest, seed);
        const char *kind = text_at(v, "kind");
        assert_true(strcmp(kind, "cat") == 0 || strcmp(kind, "dog") == 0);
        assert_in_range(int_at(v, "age"), 0, 30);
        assert_true(json_is_boolean(json_at(v, "good")));
        assert_int_equal(json_object_size(v), 3);
        json_decref(v);
    }
}

static const char *const TOOLS =
    "\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"wait\", \"parameters\": {\"type\": \"object\", \"properties\": "
    "{\"minutes\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 60}}, \"required\": [\"minutes\"]}}}, "
    "{\"type\": \"function\", \"function\": {\"name\": \"stop\", \"parameters\": {\"type\": \"object\", \"properties\": {}}}}]";

static void a_call_comes_where_one_must_come(void **state) {
    (void)state;
    char body[2048];
    snprintf(body, sizeof body, "{\"messages\": [{\"role\": \"user\", \"content\": \"Wait!\"}], \"temperature\": 0, "
             "\"chat_template_kwargs\": {\"enable_thinking\": false}, %s, "
             "\"tool_choice\": {\"type\": \"function\", \"function\": {\"name\": \"wait\"}}}", TOOLS);
    Http h = http_post(server, PATH, body);
    if (h.status != 200) fail_msg("%d: %s", h.status, h.body);
    assert_string_equal(text_at(h.json, "choices.0.finish_reason"), "tool_calls");
    assert_string_equal(text_at(h.json, "choices.0.message.tool_calls.0.function.name"), "wait");
    json_t *arguments = json_loads(text_at(h.json, "choices.0.message.tool_calls.0.function.arguments"), 0, NULL);
    assert_in_range(int_at(arguments, "minutes"), 1, 60);
    assert_int_equal(json_array_size(json_at(h.json, "choices.0.message.tool_calls")), 1);
    json_decref(arguments);
    http_free(&h);
}

static void a_stream_brings_a_call_in_pieces(void **state) {
    (void)state;
    char body[2048];
    snprintf(body, sizeof body, "{\"messages\": [{\"role\": \"user\", \"content\": \"Wait!\"}], \"temperature\": 0, \"stream\": true, "
             "\"chat_template_kwargs\": {\"enable_thinking\": false}, \"parallel_tool_calls\": false, %s, \"tool_choice\": \"required\"}",
             TOOLS);
    Http h = http_post(server, PATH, body);
    assert_int_equal(h.status, 200);
    assert_non_null(strstr(h.body, "\"tool_calls\":[{\"index\":0,\"id\":\"call_"));
    assert_non_null(strstr(h.body, "\"finish_reason\":\"tool_calls\""));
    assert_null(strstr(h.body, "<tool_call>"));
    assert_null(strstr(h.body, "\"index\":1,\"id\""));
    http_free(&h);
}

static void what_cannot_be_demanded_is_refused(void **state) {
    (void)state;
    static const char *const bodies[] = {
        "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}], \"response_format\": {\"type\": \"json_schema\", \"json_schema\": "
        "{\"name\": \"x\", \"schema\": {\"type\": \"object\", \"not\": {}}}}}",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}], \"response_format\": {\"type\": \"json_schema\", \"json_schema\": "
        "{\"name\": \"x\", \"schema\": {\"type\": \"nothing\"}}}}",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}], \"response_format\": {\"type\": \"xml\"}}",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        Http h = http_post(server, PATH, bodies[i]);
        if (h.status != 400) fail_msg("%s: %d", bodies[i], h.status);
        assert_string_equal(text_at(h.json, "error.param"), "response_format");
        http_free(&h);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_has_the_schema_that_was_asked_for),
        cmocka_unit_test(a_call_comes_where_one_must_come),
        cmocka_unit_test(a_stream_brings_a_call_in_pieces),
        cmocka_unit_test(what_cannot_be_demanded_is_refused),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
