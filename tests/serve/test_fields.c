/* What clients send beside the plain: nested fields, other spellings, turns that come back. Each is understood, or named by the way
 * to it. */
#include "base/base.h"
#include "support/server.h"

#include <signal.h>
#include <string.h>

#define CHAT "/v1/chat/completions"
#define RESPONSES "/v1/responses"
#define MESSAGES "/v1/messages"
#define HI "\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"max_tokens\": 2, \"temperature\": 0"
#define CALLED(arguments)                                                                                       \
    "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", \"tool_calls\": "          \
    "[{\"id\": \"c\", \"type\": \"function\", \"function\": {\"name\": \"look\", \"arguments\": " arguments "}}]}, " \
    "{\"role\": \"tool\", \"tool_call_id\": \"c\", \"content\": \"x\"}], \"max_tokens\": 2}"

static Server *server;

static int start(void **state) {
    (void)state;
    server = server_start("--ctx 512 --threads 2");
    return 0;
}
static int stop(void **state) {
    (void)state;
    return server_stop(server, SIGTERM);
}

static void expect_status(const char *path, const char *body, int status) {
    Http h = http_post(server, path, body);
    if (h.status != status) fail_msg("%s: %d, not %d: %s", body, h.status, status, h.body);
    http_free(&h);
}

static void what_is_wrong_is_named_with_the_way_to_it(void **state) {
    (void)state;
    static const struct {
        const char *path, *body, *named;
    } wrong[] = {
        {CHAT, "{" HI ", \"stream_options\": {\"foo\": 1}}", "stream_options.foo"},
        {CHAT, "{" HI ", \"modalities\": \"text\"}", "modalities"},
        {CHAT, "{" HI ", \"web_search_options\": {}}", "web_search_options"},
        {CHAT, "{" HI ", \"verbosity\": \"low\"}", "verbosity"},
        {CHAT, "{" HI ", \"max_tokens_\": 1}", "max_tokens_"},
        {CHAT, "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"max_completion_tokens\": 0}", "max_completion_tokens"},
        {CHAT, "{\"messages\": [5]}", "messages[0]"},
        {CHAT, "{" HI ", \"response_format\": {\"type\": \"json_schema\", \"json_schema\": {\"name\": 5, \"schema\": {}}}}",
         "response_format.json_schema.name"},
        {CHAT, "{" HI ", \"response_format\": {\"type\": \"json_schema\", \"json_schema\": {\"schema\": {}, \"strict\": \"y\"}}}",
         "response_format.json_schema.strict"},
        {CHAT, "{" HI ", \"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"\"}}]}", "tools[0].function.name"},
        {CHAT, "{" HI ", \"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"a>b\"}}]}", "tools[0].function.name"},
        {CHAT, CALLED("\"Paris\""), "messages[1].tool_calls[0].function.arguments"},
        {CHAT, CALLED("\"[]\""), "messages[1].tool_calls[0].function.arguments"},
        {MESSAGES, "{" HI ", \"stop_sequences\": \"x\"}", "stop_sequences: "},
        {MESSAGES, "{" HI ", \"thinking\": {\"type\": \"enabled\", \"budget_tokens\": \"x\"}}", "thinking.budget_tokens: "},
        {MESSAGES, "{" HI ", \"tool_choice\": {\"type\": \"auto\", \"disable_parallel_tool_use\": 1}}",
         "tool_choice.disable_parallel_tool_use: "},
        {MESSAGES, "{\"max_tokens\": 2, \"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": 5}]}]}",
         "messages[0].content[0].text: "},
        {RESPONSES, "{\"input\": null}", "input"},
        {RESPONSES, "{\"input\": [5]}", "input[0]"},
        {RESPONSES, "{\"input\": [{\"type\": \"function_call_output\", \"call_id\": \"c\", \"output\": 5}]}", "input[0].output"},
        {RESPONSES, "{\"input\": [{\"type\": \"function_call\", \"call_id\": \"c\", \"name\": \"f\", \"arguments\": \"x\"}]}",
         "input[0].arguments"},
        {RESPONSES, "{\"input\": \"Hi\", \"include\": [\"message.output_text.logprobs\"]}", "include"},
        {RESPONSES, "{\"input\": \"Hi\", \"tools\": [{\"type\": \"function\"}]}", "tools[0].name"},
        {RESPONSES, "{\"input\": \"Hi\", \"text\": {\"verbosity\": \"high\"}}", "text.verbosity"},
        {RESPONSES, "{\"input\": \"Hi\", \"text\": {\"format\": {\"type\": \"json_schema\", \"schema\": {\"not\": {}}}}}", "text.format"},
        {RESPONSES, "{\"input\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"system\", \"content\": \"No\"}]}", "input"},
        {MESSAGES, "{" HI ", \"output_config\": {\"format\": {\"type\": \"json_schema\", \"schema\": {\"not\": {}}}}}",
         "output_config.format: "},
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        Http h = http_post(server, wrong[i].path, wrong[i].body);
        if (h.status != 400) fail_msg("%s: %d", wrong[i].body, h.status);
        if (strcmp(wrong[i].path, MESSAGES) == 0) { /* there the name begins the sentence */
            assert_memory_equal(text_at(h.json, "error.message"), wrong[i].named, strlen(wrong[i].named));
        } else {
            assert_string_equal(text_at(h.json, "error.param"), wrong[i].named);
        }
        http_free(&h);
    }
}

static void what_clients_are_used_to_is_taken(void **state) {
    (void)state;
    static const char *const bodies[][2] = {
        {CHAT, "{" HI ", \"verbosity\": \"medium\", \"stream_options\": {\"include_usage\": true}}"},
        {CHAT, CALLED("\"\"")},
        {CHAT, CALLED("null")},
        {CHAT, CALLED("\" {\\\"at\\\": \\\"sky\\\"} \"")},
        {MESSAGES, "{" HI ", \"cache_control\": {\"type\": \"ephemeral\"}, "
                   "\"thinking\": {\"type\": \"enabled\", \"budget_tokens\": 2000}}"},
        {MESSAGES, "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", \"content\": []}, "
                   "{\"role\": \"user\", \"content\": \"Well?\"}], \"max_tokens\": 2}"},
        {RESPONSES, "{\"input\": \"Hi\", \"max_output_tokens\": 2, \"include\": [\"reasoning.encrypted_content\"]}"},
        {RESPONSES, "{\"input\": \"Hi\", \"max_output_tokens\": 2, \"text\": {\"verbosity\": \"medium\"}}"},
    };
    for (size_t i = 0; i < COUNT_OF(bodies); i++) expect_status(bodies[i][0], bodies[i][1], 200);
}

static void the_newer_name_of_a_limit_goes_first(void **state) {
    (void)state;
    static const char *const bodies[] = {"{" HI ", \"max_completion_tokens\": 4}",
                                         "{\"max_completion_tokens\": 4, " HI "}"};
    for (size_t i = 0; i < COUNT_OF(bodies); i++) {
        Http h = http_post(server, CHAT, bodies[i]);
        assert_int_equal(int_at(h.json, "usage.completion_tokens"), 4);
        http_free(&h);
    }
}

static void a_schema_beside_json_object_is_kept(void **state) {
    (void)state;
    Http h = http_post(server, CHAT,
                       "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"max_tokens\": 60, \"temperature\": 0, "
                       "\"response_format\": {\"type\": \"json_object\", \"schema\": {\"type\": \"object\", \"properties\": {\"n\": "
                       "{\"type\": \"integer\", \"maximum\": 9}}, \"required\": [\"n\"], \"additionalProperties\": false}}}");
    assert_int_equal(h.status, 200);
    json_t *value = json_loads(text_at(h.json, "choices.0.message.content"), 0, NULL);
    assert_true(json_is_integer(json_object_get(value, "n")));
    assert_int_equal(json_object_size(value), 1);
    json_decref(value);
    http_free(&h);
}

/* What an answer ends with is no part of its text. */
static void likelihoods_are_those_of_the_text(void **state) {
    (void)state;
    Http h = http_post(server, CHAT, "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"temperature\": 0, \"logprobs\": true}");
    assert_string_equal(text_at(h.json, "choices.0.finish_reason"), "stop");
    json_t *rows = json_at(h.json, "choices.0.logprobs.content"), *row;
    char text[512] = "";
    size_t i;
    json_array_foreach(rows, i, row) strcat(text, text_at(row, "token"));
    assert_string_equal(text, text_at(h.json, "choices.0.message.content"));
    assert_int_equal(json_array_size(rows), int_at(h.json, "usage.completion_tokens"));
    http_free(&h);
}

/* This model's template takes one, as those of Qwen3.5 do. */
static void several_system_messages_are_one_where_the_template_wants_one(void **state) {
    (void)state;
    Http one = http_post(server, RESPONSES, "{\"instructions\": \"Be kind.\\n\\nBe brief.\", \"input\": \"Hi\", \"max_output_tokens\": 2}");
    Http two = http_post(server, RESPONSES,
                         "{\"instructions\": \"Be kind.\", \"input\": [{\"role\": \"developer\", \"content\": \"Be brief.\"}, "
                         "{\"role\": \"user\", \"content\": \"Hi\"}], \"max_output_tokens\": 2}");
    assert_int_equal(two.status, 200);
    assert_int_equal(int_at(two.json, "usage.input_tokens"), int_at(one.json, "usage.input_tokens"));
    http_free(&one);
    http_free(&two);
    expect_status(CHAT,
                  "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"system\", \"content\": \"No.\"}], "
                  "\"max_tokens\": 2}",
                  400);
}

static void cut_reasoning_is_the_same_whole_and_streamed(void **state) {
    (void)state;
    const char *rest = "\"input\": \"Hi\", \"reasoning\": {\"effort\": \"low\"}, \"max_output_tokens\": 3, \"temperature\": 0}";
    char body[256];
    snprintf(body, sizeof body, "{%s", rest);
    Http one = http_post(server, RESPONSES, body);
    snprintf(body, sizeof body, "{\"stream\": true, %s", rest);
    Http all = http_post(server, RESPONSES, body);
    const char *last = strstr(all.body, "event: response.incomplete\ndata: ");
    assert_non_null(last);
    json_t *event = json_loads(strchr(last, '{'), JSON_DISABLE_EOF_CHECK, NULL);
    assert_int_equal(json_array_size(json_at(event, "response.output")), 1);
    assert_int_equal(json_array_size(json_at(one.json, "output")), 1);
    assert_string_equal(text_at(one.json, "output.0.type"), "reasoning");
    assert_string_equal(text_at(one.json, "output.0.status"), "incomplete");
    assert_string_equal(text_at(event, "response.output.0.status"), "incomplete");
    assert_true(json_equal(json_at(one.json, "output.0.content"), json_at(event, "response.output.0.content")));
    json_decref(event);
    http_free(&one);
    http_free(&all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_wrong_is_named_with_the_way_to_it),
        cmocka_unit_test(what_clients_are_used_to_is_taken),
        cmocka_unit_test(the_newer_name_of_a_limit_goes_first),
        cmocka_unit_test(a_schema_beside_json_object_is_kept),
        cmocka_unit_test(likelihoods_are_those_of_the_text),
        cmocka_unit_test(several_system_messages_are_one_where_the_template_wants_one),
        cmocka_unit_test(cut_reasoning_is_the_same_whole_and_streamed),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
