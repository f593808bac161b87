/* /v1/messages and /v1/responses: the same conversation in other words has the same answer. */
#include "base/base.h"
#include "support/server.h"

#include <signal.h>
#include <string.h>

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

#define CALLS  "\"name\": \"look\", \"description\": \"d\""
#define SCHEMA "{\"type\": \"object\", \"properties\": {\"at\": {\"type\": \"string\"}}}"

/* One conversation with a tool in three APIs. */
static const char *const CHAT =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"Be kind.\"}, {\"role\": \"user\", \"content\": \"Hi\"},"
    "{\"role\": \"assistant\", \"content\": \"I look.\", \"tool_calls\": [{\"id\": \"c1\", \"type\": \"function\", "
    "\"function\": "
    "{\"name\": \"look\", \"arguments\": \"{\\\"at\\\": \\\"sky\\\"}\"}}]}, {\"role\": \"tool\", \"tool_call_id\": "
    "\"c1\", \"content\": \"blue\"},"
    "{\"role\": \"user\", \"content\": \"So?\"}], \"tools\": [{\"type\": \"function\", \"function\": {" CALLS
    ", \"parameters\": " SCHEMA "}}],"
    "\"chat_template_kwargs\": {\"enable_thinking\": false}, \"max_tokens\": 6, \"temperature\": 0}";
static const char *const MESSAGES =
    "{\"system\": [{\"type\": \"text\", \"text\": \"Be kind.\", \"cache_control\": {\"type\": \"ephemeral\"}}],"
    "\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", \"content\": [{\"type\": "
    "\"text\", \"text\": \"I look.\"},"
    "{\"type\": \"tool_use\", \"id\": \"c1\", \"name\": \"look\", \"input\": {\"at\": \"sky\"}}]}, {\"role\": "
    "\"user\", \"content\": "
    "[{\"type\": \"tool_result\", \"tool_use_id\": \"c1\", \"content\": [{\"type\": \"text\", \"text\": \"blue\"}]}, "
    "{\"type\": \"text\", \"text\": \"So?\"}]}],"
    "\"tools\": [{" CALLS ", \"input_schema\": " SCHEMA "}], \"max_tokens\": 6, \"temperature\": 0 %s}";
static const char *const RESPONSES = "{\"instructions\": \"Be kind.\", \"input\": [{\"role\": \"user\", \"content\": "
                                     "[{\"type\": \"input_text\", \"text\": \"Hi\"}]},"
                                     "{\"type\": \"message\", \"role\": \"assistant\", \"content\": [{\"type\": "
                                     "\"output_text\", \"text\": \"I look.\", \"annotations\": []}]},"
                                     "{\"type\": \"function_call\", \"call_id\": \"c1\", \"name\": \"look\", "
                                     "\"arguments\": \"{\\\"at\\\": \\\"sky\\\"}\"},"
                                     "{\"type\": \"function_call_output\", \"call_id\": \"c1\", \"output\": \"blue\"}, "
                                     "{\"role\": \"user\", \"content\": \"So?\"}],"
                                     "\"tools\": [{\"type\": \"function\", " CALLS ", \"parameters\": " SCHEMA
                                     "}], \"chat_template_kwargs\": {\"enable_thinking\": false},"
                                     "\"max_output_tokens\": 6, \"temperature\": 0 %s}";

static Http ask(const char *path, const char *form, const char *more) {
    char body[4096];
    snprintf(body, sizeof body, form, more);
    Http h = http_post(server, path, body);
    if (h.status != 200) print_error("%s\n", h.body);
    assert_int_equal(h.status, 200);
    return h;
}

static void three_apis_have_one_answer(void **state) {
    (void)state;
    Http chat = http_post(server, "/v1/chat/completions", CHAT), messages = ask("/v1/messages", MESSAGES, ""),
         responses = ask("/v1/responses", RESPONSES, "");
    const char *text = text_at(chat.json, "choices.0.message.content");
    assert_true(strlen(text) > 0);
    assert_string_equal(text_at(messages.json, "content.0.text"), text);
    assert_string_equal(text_at(responses.json, "output.0.content.0.text"), text);
    json_int_t prompt = int_at(chat.json, "usage.prompt_tokens");
    assert_int_equal(int_at(responses.json, "usage.input_tokens"), prompt);
    /* Anthropic counts what was known already apart */
    assert_int_equal(
        int_at(messages.json, "usage.input_tokens") + int_at(messages.json, "usage.cache_read_input_tokens"), prompt);
    assert_string_equal(text_at(messages.json, "stop_reason"), "max_tokens");
    assert_string_equal(text_at(responses.json, "status"), "incomplete");
    http_free(&chat);
    http_free(&messages);
    http_free(&responses);
}

static void tokens_can_be_counted_before(void **state) {
    (void)state;
    Http chat = http_post(server, "/v1/chat/completions", CHAT), count = ask("/v1/messages/count_tokens", MESSAGES, "");
    assert_int_equal(int_at(count.json, "input_tokens"), int_at(chat.json, "usage.prompt_tokens"));
    http_free(&chat);
    http_free(&count);
}

/* The names of a stream's events, each once where it comes several times in a row. */
static void expect_events(const char *body, const char *const *names) {
    char last[64] = "";
    size_t i = 0;
    for (const char *at = strstr(body, "event: "); at;
         at = strstr(at + 7, "\nevent: ") ? strstr(at + 7, "\nevent: ") + 1 : NULL) {
        char name[64];
        assert_int_equal(sscanf(at, "event: %63s", name), 1);
        if (strcmp(name, last) == 0 || strcmp(name, "ping") == 0) continue;
        strcpy(last, name);
        assert_non_null(names[i]);
        assert_string_equal(name, names[i++]);
    }
    assert_null(names[i]);
}

static void streams_tell_their_events_in_order(void **state) {
    (void)state;
    static const char *const messages[] = {"message_start",
                                           "content_block_start",
                                           "content_block_delta",
                                           "content_block_stop",
                                           "message_delta",
                                           "message_stop",
                                           NULL};
    static const char *const responses[] = {"response.created",           "response.in_progress",
                                            "response.output_item.added", "response.content_part.added",
                                            "response.output_text.delta", "response.output_text.done",
                                            "response.content_part.done", "response.output_item.done",
                                            "response.incomplete",        NULL};
    Http h = ask("/v1/messages", MESSAGES, ", \"stream\": true");
    expect_events(h.body, messages);
    http_free(&h);
    h = ask("/v1/responses", RESPONSES, ", \"stream\": true");
    expect_events(h.body, responses);
    http_free(&h);
}

static void thinking_ends_where_its_budget_does(void **state) {
    (void)state;
    const char *body = "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"max_tokens\": 30, \"temperature\": 0, "
                       "\"thinking\": {\"type\": \"enabled\", \"budget_tokens\": %d}}";
    char text[512], whole[128];
    for (int budget = 2000; budget > 0; budget -= 1997) { /* enough, then three tokens */
        snprintf(text, sizeof text, body, budget);
        Http h = http_post(server, "/v1/messages", text);
        const char *thoughts = text_at(h.json, "content.0.thinking");
        if (budget == 2000) snprintf(whole, sizeof whole, "%s", thoughts);
        else assert_string_equal(thoughts, "I should answer");
        assert_memory_equal(whole, thoughts, strlen(thoughts));
        assert_string_equal(text_at(h.json, "content.1.type"), "text");
        http_free(&h);
    }
    assert_true(strlen(whole) > strlen("I should answer"));
}

static void what_is_wrong_is_named(void **state) {
    (void)state;
    static const struct {
        const char *path, *body, *named;
    } wrong[] = {
        {"/v1/messages", "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}", "max_tokens"},
        {"/v1/messages",
         "{\"max_tokens\": 2, \"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image\"}]}]}",
         "messages[0].content[0].type"},
        {"/v1/messages", "{\"max_tokens\": 2, \"messages\": [{\"role\": \"system\", \"content\": \"x\"}]}",
         "messages[0].role"},
        {"/v1/messages",
         "{\"max_tokens\": 2, \"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"mcp_servers\": [1]}",
         "mcp_servers"},
        {"/v1/responses", "{}", "input"},
        {"/v1/responses", "{\"input\": \"Hi\", \"previous_response_id\": \"r\"}", "previous_response_id"},
        {"/v1/responses", "{\"input\": [{\"type\": \"computer_call\"}]}", "input[0].type"},
        {"/v1/responses", "{\"input\": \"Hi\", \"tools\": [{\"type\": \"web_search\"}]}", "tools[0].type"},
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        Http h = http_post(server, wrong[i].path, wrong[i].body);
        assert_int_equal(h.status, 400);
        bool anthropic = strcmp(wrong[i].path, "/v1/messages") == 0;
        if (anthropic) assert_string_equal(text_at(h.json, "type"), "error");
        assert_non_null(strstr(text_at(h.json, anthropic ? "error.message" : "error.param"), wrong[i].named));
        http_free(&h);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(three_apis_have_one_answer),
        cmocka_unit_test(tokens_can_be_counted_before),
        cmocka_unit_test(streams_tell_their_events_in_order),
        cmocka_unit_test(thinking_ends_where_its_budget_does),
        cmocka_unit_test(what_is_wrong_is_named),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
