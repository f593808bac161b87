/* What was computed before is not computed again: turns, system prompts, and restarts. */
#include "support/server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const PATH = "/v1/chat/completions";
static const char *const SYSTEM =
    "You tell stories about animals and children who play in the park, by the river, in the forest and at home. Every story is short, has "
    "a happy end, and uses simple words that a little girl or a little boy knows. You like dogs, cats, birds, bears and big red balls.";

static Http ask(const Server *s, const char *more) {
    char body[4096];
    snprintf(body, sizeof body,
             "{\"messages\": [{\"role\": \"system\", \"content\": \"%s\"}, %s], \"max_tokens\": 60, \"temperature\": 0, "
             "\"chat_template_kwargs\": {\"enable_thinking\": false}}", SYSTEM, more);
    Http h = http_post(s, PATH, body);
    if (h.status != 200) fail_msg("%d: %s", h.status, h.body);
    return h;
}

static json_int_t cached(const Http *h) { return int_at(h->json, "usage.prompt_tokens_details.cached_tokens"); }

static void a_second_conversation_begins_behind_the_system_prompt(void **state) {
    (void)state;
    Server *s = server_start("--ctx 512 --threads 2"), *fresh = server_start("--ctx 512 --threads 2");
    Http a = ask(s, "{\"role\": \"user\", \"content\": \"Tell me about a dog.\"}");
    Http b = ask(s, "{\"role\": \"user\", \"content\": \"A cat!\"}");
    assert_int_equal(cached(&a), 0);
    assert_true(cached(&b) > 60);
    Http alone = ask(fresh, "{\"role\": \"user\", \"content\": \"A cat!\"}");
    assert_int_equal(cached(&alone), 0);
    assert_string_equal(text_at(b.json, "choices.0.message.content"), text_at(alone.json, "choices.0.message.content"));
    http_free(&a);
    http_free(&b);
    http_free(&alone);
    assert_int_equal(server_stop(s, SIGTERM), 0);
    assert_int_equal(server_stop(fresh, SIGTERM), 0);
}

static void the_next_turn_reads_only_what_is_new(void **state) {
    (void)state;
    Server *s = server_start("--ctx 1024 --threads 2");
    const char *first = "{\"role\": \"user\", \"content\": \"Hello!\"}";
    Http a = ask(s, first);
    assert_string_equal(text_at(a.json, "choices.0.finish_reason"), "stop");
    json_t *said = json_at(a.json, "choices.0.message.content");
    char *text = json_dumps(said, JSON_ENCODE_ANY), more[2048];
    snprintf(more, sizeof more, "%s, {\"role\": \"assistant\", \"content\": %s}, {\"role\": \"user\", \"content\": \"And then?\"}", first,
             text);
    Http b = ask(s, more);
    /* all of the first turn: its prompt and its answer */
    assert_true(cached(&b) >= int_at(a.json, "usage.total_tokens") - 1);
    free(text);
    http_free(&a);
    http_free(&b);
    assert_int_equal(server_stop(s, SIGTERM), 0);
}

static void a_turn_that_was_ended_behind_its_only_call_is_known_too(void **state) {
    (void)state;
    Server *s = server_start("--ctx 1024 --threads 2");
    const char *head = "{\"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"look\", \"parameters\": {"
                       "\"type\": \"object\", \"properties\": {\"at\": {\"enum\": [\"sky\", \"sea\"]}}, \"required\": [\"at\"], "
                       "\"additionalProperties\": false}}}], "
                       "\"max_tokens\": 100, \"temperature\": 0, \"messages\": [{\"role\": \"user\", \"content\": \"Hello!\"}";
    char body[4096];
    snprintf(body, sizeof body, "%s], \"parallel_tool_calls\": false, \"tool_choice\": \"required\"}", head);
    Http a = http_post(s, PATH, body);
    assert_string_equal(text_at(a.json, "choices.0.finish_reason"), "tool_calls");
    assert_null(json_object_get(json_at(a.json, "choices.0.message"), "reasoning_content")); /* nobody asked it to think */
    char *turn = json_dumps(json_at(a.json, "choices.0.message"), 0);
    snprintf(body, sizeof body, "%s, %s, {\"role\": \"tool\", \"tool_call_id\": \"%s\", \"content\": \"blue\"}]}", head, turn,
             text_at(a.json, "choices.0.message.tool_calls.0.id"));
    Http b = http_post(s, PATH, body);
    assert_int_equal(b.status, 200);
    assert_true(cached(&b) >= int_at(a.json, "usage.total_tokens") - 1);
    free(turn);
    http_free(&a);
    http_free(&b);
    assert_int_equal(server_stop(s, SIGTERM), 0);
}

static void a_restart_keeps_the_states(void **state) {
    (void)state;
    const char *args = "--ctx 512 --threads 2 --state-dir $T/states", *more = "{\"role\": \"user\", \"content\": \"Tell me about a dog.\"}";
    Server *s = server_start(args);
    Http a = ask(s, more);
    assert_int_equal(server_stop(s, SIGTERM), 0);
    s = server_start(args);
    Http b = ask(s, more);
    assert_true(cached(&b) > 60);
    assert_string_equal(text_at(a.json, "choices.0.message.content"), text_at(b.json, "choices.0.message.content"));
    assert_int_equal(server_stop(s, SIGTERM), 0);
    http_free(&a);
    http_free(&b);
}

static void several_choices_read_their_prompt_once(void **state) {
    (void)state;
    Server *s = server_start("--ctx 256 --threads 2 --parallel 2");
    Http h = http_post(s, "/v1/completions",
                       "{\"prompt\": [641, 687, 264, 323, 434, 273, 258, 382], \"n\": 3, \"max_tokens\": 4, \"seed\": 1}");
    assert_int_equal(h.status, 200);
    assert_int_equal(int_at(h.json, "usage.prompt_tokens"), 8); /* a prompt counts once */
    assert_int_equal(int_at(h.json, "usage.completion_tokens"), 12);
    assert_int_equal(int_at(h.json, "usage.prompt_tokens_details.cached_tokens"), 0);
    http_free(&h);
    h = http_get(s, "/stats"); /* each choice has one; two of them found it read */
    assert_int_equal(int_at(h.json, "totals.prompt_tokens"), 24);
    assert_int_equal(int_at(h.json, "totals.cached_tokens"), 16);
    http_free(&h);
    assert_int_equal(server_stop(s, SIGTERM), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_conversation_begins_behind_the_system_prompt),
        cmocka_unit_test(the_next_turn_reads_only_what_is_new),
        cmocka_unit_test(a_turn_that_was_ended_behind_its_only_call_is_known_too),
        cmocka_unit_test(a_restart_keeps_the_states),
        cmocka_unit_test(several_choices_read_their_prompt_once),
    };
    return RUN_TESTS(tests);
}
