/* /v1/completions, ids and text, and what a server says of itself. */
#include "support/server.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static Server *server;
static const char *const PATH = "/v1/completions";

static int start(void **state) {
    (void)state;
    server = server_start("--ctx 256 --threads 2");
    return 0;
}
static int stop(void **state) {
    (void)state;
    return server_stop(server, SIGTERM);
}

static void it_is_healthy_and_names_its_model(void **state) {
    (void)state;
    Http h = http_get(server, "/health");
    assert_int_equal(h.status, 200);
    assert_string_equal(text_at(h.json, "status"), "ok");
    http_free(&h);
    h = http_get(server, "/v1/models");
    assert_string_equal(text_at(h.json, "data.0.id"), "tiny-tales");
    http_free(&h);
    h = http_get(server, "/v1/models/tiny-tales");
    assert_string_equal(text_at(h.json, "object"), "model");
    http_free(&h);
    h = http_get(server, "/v1/models/another");
    assert_int_equal(h.status, 404);
    assert_string_equal(text_at(h.json, "error.code"), "model_not_found");
    http_free(&h);
}

static void text_and_ids_go_there_and_back(void **state) {
    (void)state;
    Http h = http_post(server, "/tokenize", "{\"content\": \"Once upon a time\"}");
    assert_int_equal(h.status, 200);
    char *ids = json_dumps(json_at(h.json, "tokens"), 0), body[256];
    snprintf(body, sizeof body, "{\"tokens\": %s}", ids);
    free(ids);
    http_free(&h);
    h = http_post(server, "/detokenize", body);
    assert_string_equal(text_at(h.json, "content"), "Once upon a time");
    assert_string_equal(text_at(h.json, "prompt"), "Once upon a time"); /* as vLLM calls it */
    http_free(&h);
    h = http_get(server, "/tokenizer_info");
    assert_string_equal(text_at(h.json, "eos_token"), "<|endoftext|>");
    assert_non_null(strstr(text_at(h.json, "chat_template"), "<|im_start|>"));
    http_free(&h);
    h = http_post(server, "/tokenize", "{\"prompt\": \"<|endoftext|>\", \"add_special_tokens\": false}");
    assert_int_equal(int_at(h.json, "count"), 1);
    http_free(&h);
}

static void an_answer_is_that_of_the_command_line(void **state) {
    (void)state;
    Http h = http_post(server, PATH, "{\"prompt\": \"Once upon a time\", \"max_tokens\": 12, \"temperature\": 0}");
    assert_int_equal(h.status, 200);
    const Result *r = shell_expect(0, "$S run --raw --temp 0 -n 12 -p 'Once upon a time'");
    assert_string_equal(text_at(h.json, "choices.0.text"), r->out);
    assert_string_equal(text_at(h.json, "choices.0.finish_reason"), "length");
    assert_int_equal(int_at(h.json, "usage.prompt_tokens"), 4);
    assert_int_equal(int_at(h.json, "usage.completion_tokens"), 12);
    http_free(&h);
}

static void a_prompt_may_be_ids_or_a_list_of_either(void **state) {
    (void)state;
    Http ids = http_post(server, "/tokenize", "{\"content\": \"Once upon a time\"}");
    char *list = json_dumps(json_at(ids.json, "tokens"), 0), body[512];
    Http one = http_post(server, PATH, "{\"prompt\": \"Once upon a time\", \"max_tokens\": 6, \"temperature\": 0}");
    const char *forms[] = {"{\"prompt\": %s, \"max_tokens\": 6, \"temperature\": 0}",
                           "{\"prompt\": [%s], \"max_tokens\": 6, \"temperature\": 0}",
                           "{\"prompt\": [%s, [479]], \"max_tokens\": 6, \"temperature\": 0}"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(body, sizeof body, forms[i], list);
        Http h = http_post(server, PATH, body);
        assert_int_equal(h.status, 200);
        assert_string_equal(text_at(h.json, "choices.0.text"), text_at(one.json, "choices.0.text"));
        assert_int_equal(json_array_size(json_at(h.json, "choices")), i == 2 ? 2 : 1);
        http_free(&h);
    }
    free(list);
    http_free(&ids);
    http_free(&one);
}

/* The texts of all chunks, joined. */
static void joined(const char *events, char *out, size_t size) {
    *out = 0;
    for (const char *at = events; (at = strstr(at, "data: {")) != NULL;) {
        json_t *chunk = json_loads(at + 6, JSON_DISABLE_EOF_CHECK, NULL);
        assert_non_null(chunk);
        if (json_array_size(json_at(chunk, "choices"))) strncat(out, text_at(chunk, "choices.0.text"), size - strlen(out) - 1);
        json_decref(chunk);
        at += 6;
    }
}

static void a_stream_brings_the_same_text_in_pieces(void **state) {
    (void)state;
    Http whole = http_post(server, PATH, "{\"prompt\": \"The dog\", \"max_tokens\": 20, \"temperature\": 0}");
    Http h = http_post(server, PATH,
                       "{\"prompt\": \"The dog\", \"max_tokens\": 20, \"temperature\": 0, \"stream\": true, "
                       "\"stream_options\": {\"include_usage\": true}}");
    char text[4096];
    assert_non_null(strstr(h.head, "text/event-stream"));
    joined(h.body, text, sizeof text);
    assert_string_equal(text, text_at(whole.json, "choices.0.text"));
    assert_non_null(strstr(h.body, "\"finish_reason\":\"length\""));
    assert_non_null(strstr(h.body, "\"completion_tokens\":20"));
    assert_non_null(strstr(h.body, "data: [DONE]\n\n"));
    http_free(&whole);
    http_free(&h);
}

static void a_stop_string_ends_the_answer_and_is_not_in_it(void **state) {
    (void)state;
    Http whole = http_post(server, PATH, "{\"prompt\": \"The dog\", \"max_tokens\": 30, \"temperature\": 0}");
    char text[1024], body[2048];
    snprintf(text, sizeof text, "%s", text_at(whole.json, "choices.0.text"));
    char stop[4] = {text[10], text[11], text[12], 0};
    json_t *word = json_string(stop);
    char *where = strstr(text, stop), *quoted = json_dumps(word, JSON_ENCODE_ANY);
    snprintf(body, sizeof body, "{\"prompt\": \"The dog\", \"max_tokens\": 30, \"temperature\": 0, \"stop\": [\"never there\", %s]}",
             quoted);
    Http h = http_post(server, PATH, body);
    *where = 0;
    assert_string_equal(text_at(h.json, "choices.0.text"), text);
    assert_string_equal(text_at(h.json, "choices.0.finish_reason"), "stop");
    free(quoted);
    json_decref(word);
    http_free(&whole);
    http_free(&h);
}

static void several_choices_of_one_seed_can_be_repeated(void **state) {
    (void)state;
    const char *body = "{\"prompt\": \"The\", \"max_tokens\": 8, \"temperature\": 1, \"seed\": 7, \"n\": 3}";
    Http a = http_post(server, PATH, body), b = http_post(server, PATH, body);
    assert_int_equal(json_array_size(json_at(a.json, "choices")), 3);
    assert_true(json_equal(json_at(a.json, "choices"), json_at(b.json, "choices")));
    assert_string_not_equal(text_at(a.json, "choices.0.text"), text_at(a.json, "choices.1.text"));
    http_free(&a);
    http_free(&b);
}

static void echoed_likelihoods_are_those_of_ppl(void **state) {
    (void)state;
    const char *text = "Once upon a time there was a little girl who liked to play with her dog in the park.";
    char body[512], line[512];
    snprintf(body, sizeof body, "{\"prompt\": \"%s\", \"max_tokens\": 0, \"echo\": true, \"logprobs\": 1}", text);
    Http h = http_post(server, PATH, body);
    assert_int_equal(h.status, 200);
    json_t *values = json_at(h.json, "choices.0.logprobs.token_logprobs");
    size_t n = json_array_size(values);
    assert_true(json_is_null(json_array_get(values, 0)));
    double sum = 0;
    for (size_t i = 1; i < n; i++) sum -= json_real_value(json_array_get(values, i));
    snprintf(line, sizeof line, "printf '%%s' '%s' | $S ppl -c %zu --score all --json", text, n);
    const Result *r = shell_expect(0, line);
    json_t *ppl = result_json(r);
    assert_true(fabs(sum / (double)(n - 1) - json_real_value(json_at(ppl, "nll"))) < 1e-10);
    assert_string_equal(text_at(h.json, "choices.0.text"), text);
    json_decref(ppl);
    http_free(&h);
}

static void each_list_of_likelihoods_is_as_long_as_the_tokens(void **state) {
    (void)state;
    Http h = http_post(server, PATH, "{\"prompt\": \"The dog\", \"max_tokens\": 3, \"temperature\": 0, \"echo\": true, \"logprobs\": 2}");
    json_t *l = json_at(h.json, "choices.0.logprobs");
    size_t n = json_array_size(json_at(l, "tokens"));
    assert_int_equal(n, int_at(h.json, "usage.total_tokens"));
    assert_int_equal(json_array_size(json_at(l, "token_logprobs")), n);
    assert_int_equal(json_array_size(json_at(l, "top_logprobs")), n);
    assert_int_equal(json_array_size(json_at(l, "text_offset")), n);
    /* greedy: the token that was taken is the likeliest */
    double taken = json_real_value(json_array_get(json_at(l, "token_logprobs"), n - 1)), most = -1e9;
    const char *key;
    json_t *value;
    json_object_foreach(json_array_get(json_at(l, "top_logprobs"), n - 1), key, value)
        if (json_real_value(value) > most) most = json_real_value(value);
    assert_true(taken == most);
    http_free(&h);
}

static void what_is_wrong_is_refused_by_its_name(void **state) {
    (void)state;
    static const struct {
        const char *body, *field;
        int status;
    } cases[] = {
        {"{\"prompt\": \"x\", \"frobnicate\": 1}", "frobnicate", 400},
        {"{\"prompt\": \"x\", \"temperature\": \"hot\"}", "temperature", 400},
        {"{\"prompt\": \"x\", \"top_p\": 2}", "top_p", 400},
        {"{\"prompt\": \"x\", \"n\": 0}", "n", 400},
        {"{\"prompt\": \"x\", \"logit_bias\": {\"5\": 1}}", "logit_bias", 400},
        {"{\"prompt\": \"x\", \"suffix\": \"y\"}", "suffix", 400},
        {"{\"prompt\": \"x\", \"stop\": [\"\"]}", "stop", 400},
        {"{\"prompt\": \"x\", \"best_of\": 3, \"n\": 2}", "best_of", 400},
        {"{\"prompt\": [1, 99999999]}", "prompt", 400},
        {"{\"prompt\": [1, \"a\"]}", "prompt", 400},
        {"{\"prompt\": [[1], \"a\"]}", "prompt", 400},
        {"{\"prompt\": []}", "prompt", 400},
        {"{\"prompt\": \"\"}", "prompt", 400},
        {"{\"max_tokens\": 3}", "prompt", 400},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Http h = http_post(server, PATH, cases[i].body);
        if (h.status != cases[i].status) fail_msg("%s: status %d", cases[i].body, h.status);
        assert_string_equal(text_at(h.json, "error.param"), cases[i].field);
        assert_string_equal(text_at(h.json, "error.type"), "invalid_request_error");
        assert_non_null(strstr(text_at(h.json, "error.message"), cases[i].field));
        http_free(&h);
    }
}

static void what_cannot_change_the_answer_is_taken(void **state) {
    (void)state;
    Http h = http_post(server, PATH, "{\"prompt\": \"x\", \"max_tokens\": 1, \"user\": \"me\", \"metadata\": {\"a\": \"b\"}, "
                                     "\"store\": true, \"logit_bias\": {}, \"suffix\": null, "
                                     "\"n\": 2, \"best_of\": 2, \"model\": \"any\"}");
    assert_int_equal(h.status, 200);
    http_free(&h);
}

static void a_prompt_longer_than_the_context_is_told_both_numbers(void **state) {
    (void)state;
    char body[4096] = "{\"prompt\": [1";
    for (int i = 0; i < 299; i++) strcat(body, ",1");
    strcat(body, "]}");
    Http h = http_post(server, PATH, body);
    assert_int_equal(h.status, 422);
    assert_string_equal(text_at(h.json, "error.code"), "context_length_exceeded");
    assert_non_null(strstr(text_at(h.json, "error.message"), "300"));
    assert_non_null(strstr(text_at(h.json, "error.message"), "256"));
    http_free(&h);
}

static void the_context_may_be_filled_to_the_last_position(void **state) {
    (void)state;
    char body[4096] = "{\"prompt\": [1";
    for (int i = 0; i < 255; i++) strcat(body, ",1");
    strcat(body, "], \"max_tokens\": 5, \"temperature\": 0}");
    Http h = http_post(server, PATH, body);
    assert_int_equal(h.status, 200);
    assert_string_equal(text_at(h.json, "choices.0.finish_reason"), "length");
    assert_int_equal(int_at(h.json, "usage.completion_tokens"), 1);
    http_free(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_healthy_and_names_its_model),
        cmocka_unit_test(text_and_ids_go_there_and_back),
        cmocka_unit_test(an_answer_is_that_of_the_command_line),
        cmocka_unit_test(a_prompt_may_be_ids_or_a_list_of_either),
        cmocka_unit_test(a_stream_brings_the_same_text_in_pieces),
        cmocka_unit_test(a_stop_string_ends_the_answer_and_is_not_in_it),
        cmocka_unit_test(several_choices_of_one_seed_can_be_repeated),
        cmocka_unit_test(echoed_likelihoods_are_those_of_ppl),
        cmocka_unit_test(each_list_of_likelihoods_is_as_long_as_the_tokens),
        cmocka_unit_test(what_is_wrong_is_refused_by_its_name),
        cmocka_unit_test(what_cannot_change_the_answer_is_taken),
        cmocka_unit_test(a_prompt_longer_than_the_context_is_told_both_numbers),
        cmocka_unit_test(the_context_may_be_filled_to_the_last_position),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
