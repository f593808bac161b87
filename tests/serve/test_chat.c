/* /v1/chat/completions: messages in, an answer out, in one piece and as a stream. */
#include "base/base.h"
#include "support/server.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static Server *server;
static const char *const PATH = "/v1/chat/completions";

static int start(void **state) {
    (void)state;
    server = server_start("--ctx 512 --threads 2");
    return 0;
}
static int stop(void **state) {
    (void)state;
    return server_stop(server, SIGTERM);
}

/* The pieces of a streamed answer put together: field "content" of all deltas. Freed by the caller. */
static char *streamed(const char *body, const char *field, char *finish) {
    Buf text = {0};
    for (const char *line = strstr(body, "data: "); line;
         line = strstr(line + 6, "\ndata: ") ? strstr(line + 6, "\ndata: ") + 1 : NULL) {
        json_t *chunk = json_loads(line + 6, JSON_DISABLE_EOF_CHECK, NULL);
        if (!chunk) break; /* [DONE] */
        json_t *choice = json_array_get(json_object_get(chunk, "choices"), 0);
        const char *piece = json_string_value(json_object_get(json_object_get(choice, "delta"), field));
        const char *end = json_string_value(json_object_get(choice, "finish_reason"));
        if (piece) buf_puts(&text, piece);
        if (end) strcpy(finish, end);
        json_decref(chunk);
    }
    buf_putc(&text, 0);
    return text.ptr;
}

static void an_answer_is_that_of_the_command_line(void **state) {
    (void)state;
    Http h =
        http_post(server, PATH,
                  "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"max_tokens\": 6, \"temperature\": 0}");
    assert_int_equal(h.status, 200);
    const Result *r = shell_expect(0, "$S run --temp 0 -n 6 -p Hi");
    assert_string_equal(text_at(h.json, "choices.0.message.content"), r->out);
    assert_string_equal(text_at(h.json, "choices.0.message.role"), "assistant");
    assert_string_equal(text_at(h.json, "choices.0.finish_reason"), "length");
    assert_int_equal(int_at(h.json, "usage.completion_tokens"), 6);
    http_free(&h);
}

static void a_stream_is_the_same_answer(void **state) {
    (void)state;
    Http one = http_post(server, PATH,
                         "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"max_completion_tokens\": 6, "
                         "\"temperature\": 0}");
    Http h = http_post(
        server, PATH,
        "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"max_completion_tokens\": 6, \"temperature\": 0,"
        "\"stream\": true, \"stream_options\": {\"include_usage\": true}}");
    char finish[32] = "", *text = streamed(h.body, "content", finish);
    assert_string_equal(text, text_at(one.json, "choices.0.message.content"));
    assert_string_equal(finish, "length");
    assert_non_null(strstr(h.body, "\"usage\":{\"prompt_tokens\":"));
    assert_string_equal(h.body + h.len - strlen("data: [DONE]\n\n"), "data: [DONE]\n\n");
    free(text);
    http_free(&h);
    http_free(&one);
}

static void parts_are_one_text_and_a_developer_is_the_system(void **state) {
    (void)state;
    Http one = http_post(server, PATH,
                         "{\"messages\": [{\"role\": \"system\", \"content\": \"Be kind.\"}, {\"role\": \"user\", "
                         "\"content\": \"Hi there\"}],"
                         "\"max_tokens\": 8, \"temperature\": 0}");
    Http h = http_post(
        server, PATH,
        "{\"messages\": [{\"role\": \"developer\", \"content\": \"Be kind.\"}, {\"role\": \"user\", \"content\": "
        "[{\"type\": \"text\", \"text\": \"Hi\"}, {\"type\": \"text\", \"text\": \" there\"}]}],"
        "\"max_tokens\": 8, \"temperature\": 0}");
    assert_int_equal(h.status, 200);
    assert_string_equal(text_at(h.json, "choices.0.message.content"), text_at(one.json, "choices.0.message.content"));
    assert_int_equal(int_at(h.json, "usage.prompt_tokens"), int_at(one.json, "usage.prompt_tokens"));
    http_free(&h);
    http_free(&one);
}

static void a_conversation_with_calls_is_understood(void **state) {
    (void)state;
    const char *call = "{\"id\": \"call_1\", \"type\": \"function\", \"function\": {\"name\": \"look\", \"arguments\": "
                       "\"{\\\"at\\\": \\\"sky\\\"}\"}}";
    char body[2048];
    snprintf(body, sizeof body,
             "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", \"content\": null, "
             "\"refusal\": null, \"tool_calls\": [%s]},"
             "{\"role\": \"tool\", \"tool_call_id\": \"call_1\", \"content\": \"blue\"}], \"tools\": [{\"type\": "
             "\"function\", \"function\": "
             "{\"name\": \"look\", \"parameters\": {\"type\": \"object\", \"properties\": {\"at\": {\"type\": "
             "\"string\"}}}}}],"
             "\"max_tokens\": 4, \"temperature\": 0}",
             call);
    Http h = http_post(server, PATH, body);
    assert_int_equal(h.status, 200);
    http_free(&h);
}

static void likelihoods_stand_beside_their_tokens(void **state) {
    (void)state;
    Http h =
        http_post(server, PATH,
                  "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"max_tokens\": 3, \"temperature\": 0,"
                  "\"logprobs\": true, \"top_logprobs\": 2}");
    assert_int_equal(json_array_size(json_at(h.json, "choices.0.logprobs.content")), 3);
    /* greedy: the token is the likeliest of its alternatives */
    assert_string_equal(text_at(h.json, "choices.0.logprobs.content.0.token"),
                        text_at(h.json, "choices.0.logprobs.content.0.top_logprobs.0.token"));
    assert_int_equal(json_array_size(json_at(h.json, "choices.0.logprobs.content.0.top_logprobs")), 2);
    http_free(&h);
}

static void what_is_wrong_is_named(void **state) {
    (void)state;
    static const struct {
        const char *body, *param;
    } wrong[] = {
        {"{}", "messages"},
        {"{\"messages\": []}", "messages"},
        {"{\"messages\": [{\"role\": \"user\"}]}", "messages[0].content"},
        {"{\"messages\": [{\"role\": \"king\", \"content\": \"\"}]}", "messages[0].role"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image_url\"}]}]}",
         "messages[0].content[0].type"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\", \"mood\": 1}]}", "messages[0].mood"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"tools\": [{\"type\": \"web\"}]}",
         "tools[0].type"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"tool_choice\": \"required\"}", "tool_choice"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"logit_bias\": {\"1\": 2}}", "logit_bias"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"top_logprobs\": 2}", "top_logprobs"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"response_format\": {\"type\": \"xml\"}}",
         "response_format"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}], \"reasoning_effort\": \"huge\"}",
         "reasoning_effort"},
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        Http h = http_post(server, PATH, wrong[i].body);
        assert_int_equal(h.status, 400);
        assert_string_equal(text_at(h.json, "error.param"), wrong[i].param);
        assert_string_equal(text_at(h.json, "error.type"), "invalid_request_error");
        http_free(&h);
    }
}

static void what_cannot_change_the_answer_is_taken(void **state) {
    (void)state;
    Http h = http_post(
        server, PATH,
        "{\"model\": \"any\", \"messages\": [{\"role\": \"user\", \"content\": \"Hi\", \"name\": \"Ann\"}], \"user\": "
        "\"u\","
        "\"metadata\": {\"a\": \"b\"}, \"store\": false, \"max_tokens\": 2, \"n\": 1, \"stop\": null, \"logit_bias\": "
        "{},"
        "\"modalities\": [\"text\"], \"parallel_tool_calls\": true, \"response_format\": {\"type\": \"text\"}}");
    assert_int_equal(h.status, 200);
    http_free(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_that_of_the_command_line),
        cmocka_unit_test(a_stream_is_the_same_answer),
        cmocka_unit_test(parts_are_one_text_and_a_developer_is_the_system),
        cmocka_unit_test(a_conversation_with_calls_is_understood),
        cmocka_unit_test(likelihoods_stand_beside_their_tokens),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(what_cannot_change_the_answer_is_taken),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
