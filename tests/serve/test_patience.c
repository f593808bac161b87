/* Clients that are slow, too many or early, and streams that have nothing to say: what is waited for, what is cut, what is told. Times are
 * those of the configuration, shortened; nothing here is measured. */
#define _GNU_SOURCE /* nanosleep */
#include "support/server.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const uint64_t MS = 1000000;
static const char *const ENDLESS = "{\"prompt\": \"Once\", \"max_tokens\": 100000, \"seed\": 1, \"n\": 128, \"stream\": true}";
static const char *const SHORT = "{\"prompt\": \"x\", \"max_tokens\": 2}";

static void expect_status(Http h, int status) {
    if (h.status != status) fail_msg("status %d, not %d: %s", h.status, status, h.body);
    http_free(&h);
}

static void post(int fd, const char *path, const char *body) {
    char head[512];
    snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n", path, strlen(body));
    http_send(fd, head);
    http_send(fd, body);
}

/* Reads until this text has come so often; returns all that came, freed by the caller. */
static char *read_until(int fd, const char *text, int times) {
    size_t len = 0, cap = 1 << 20;
    char *all = malloc(cap);
    for (int found = 0; found < times;) {
        assert_non_null(all);
        if (len + 1 == cap) all = realloc(all, cap *= 2);
        ssize_t n = read(fd, all + len, cap - len - 1);
        if (n <= 0) fail_msg("the stream ended before '%s' had come %d times", text, times);
        len += (size_t)n;
        all[len] = 0;
        found = 0;
        for (const char *at = all; (at = strstr(at, text)) != NULL; at++) found++;
    }
    return all;
}

/* ---- before the model is there -------------------------------------------------------------------------------------- */

/* The last thing before the model counts as loaded: it waits for a byte of the test. */
static void wait_at(void *user, sluice_sampling *sampling) {
    char byte;
    (void)sampling;
    if (read(((const int *)user)[0], &byte, 1) != 1) abort();
}

static void while_the_model_is_loaded_each_path_says_come_again(void **state) {
    (void)state;
    static const struct {
        const char *method, *path;
    } asked[] = {{"GET", "/v1/models"}, {"GET", "/v1/models/x"}, {"POST", "/v1/chat/completions"}, {"POST", "/v1/completions"},
                 {"POST", "/v1/responses"}, {"POST", "/v1/messages"}, {"POST", "/v1/messages/count_tokens"}, {"GET", "/metrics"},
                 {"GET", "/stats"}, {"POST", "/tokenize"}, {"POST", "/detokenize"}, {"HEAD", "/v1/models"}};
    int gate[2];
    assert_int_equal(pipe(gate), 0);
    Server *s = server_start_config_early(&(ServeConfig){.options = {.ctx = 256, .threads = 1}, .sampling = wait_at, .user = gate});
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        Http h = http_ask(s, asked[i].method, asked[i].path, NULL, *asked[i].method == 'P' ? "{}" : NULL);
        if (h.status != 503) fail_msg("%s: %d", asked[i].path, h.status);
        if (!strstr(h.head, "\r\nRetry-After: ")) fail_msg("%s: %s", asked[i].path, h.head);
        bool anthropic = strncmp(asked[i].path, "/v1/messages", 12) == 0;
        if (h.json) assert_string_equal(text_at(h.json, "error.type"), anthropic ? "overloaded_error" : "service_unavailable_error");
        http_free(&h);
    }
    Http h = http_get(s, "/health");
    assert_int_equal(h.status, 503);
    assert_string_equal(text_at(h.json, "status"), "loading");
    http_free(&h);
    expect_status(http_get(s, "/"), 200); /* the page says it in its own words */
    expect_status(http_get(s, "/nothing"), 404);
    assert_int_equal(write(gate[1], "", 1), 1);
    server_await(s, " is ready");
    expect_status(http_get(s, "/health"), 200);
    expect_status(http_post(s, "/v1/completions", SHORT), 200);
    close(gate[0]);
    close(gate[1]);
    assert_int_equal(server_stop(s, SIGTERM), 0);
}

/* ---- streams that have nothing to say ------------------------------------------------------------------------------- */

static const struct {
    const char *path, *format, *alive, *call;
} ways[] = {
    {"/v1/completions", "{\"prompt\": \"%s\", \"max_tokens\": 1, \"stream\": true}", "\n: still working\n\n", NULL},
    {"/v1/chat/completions", "{\"messages\": [{\"role\": \"user\", \"content\": \"%s\"}], \"max_tokens\": 1, \"stream\": true}",
     "\n: still working\n\n",
     "{\"messages\": [{\"role\": \"user\", \"content\": \"Say it!\"}], \"stream\": true, \"max_tokens\": 3000, \"temperature\": 1, "
     "\"seed\": 3, \"chat_template_kwargs\": {\"enable_thinking\": false}, \"tool_choice\": \"required\", \"tools\": [{\"type\": "
     "\"function\", \"function\": {\"name\": \"say\", \"parameters\": {\"type\": \"object\", \"properties\": {\"text\": {\"type\": "
     "\"string\", \"minLength\": 3000}}, \"required\": [\"text\"]}}}]}"},
    {"/v1/responses", "{\"input\": \"%s\", \"max_output_tokens\": 1, \"stream\": true}", "\n: still working\n\n", NULL},
    {"/v1/messages", "{\"messages\": [{\"role\": \"user\", \"content\": \"%s\"}], \"max_tokens\": 1, \"stream\": true}",
     "event: ping\ndata: {\"type\": \"ping\"}",
     "{\"messages\": [{\"role\": \"user\", \"content\": \"Say it!\"}], \"stream\": true, \"max_tokens\": 3000, \"tool_choice\": {\"type\": "
     "\"any\"}, \"tools\": [{\"name\": \"say\", \"input_schema\": {\"type\": \"object\", \"properties\": {\"text\": {\"type\": "
     "\"string\", \"minLength\": 3000}}, \"required\": [\"text\"]}}]}"},
};

static char *long_text(size_t words) {
    char *text = malloc(6 * words + 1);
    assert_non_null(text);
    for (size_t i = 0; i < words; i++) memcpy(text + 6 * i, "apple ", 6);
    text[6 * words] = 0;
    return text;
}

static void a_stream_that_waits_or_reads_a_long_prompt_shows_that_it_lives(void **state) {
    (void)state;
    Server *s = server_start_config(&(ServeConfig){.options = {.ctx = 8192, .threads = 1}, .limits = {.alive_ns = 2 * MS}});
    char *text = long_text(1500);
    char *body = malloc(strlen(text) + 512);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        int busy = http_connect(s), fd = http_connect(s);
        post(busy, "/v1/completions", ENDLESS); /* the only conversation is taken */
        free(read_until(busy, "data: ", 1));
        sprintf(body, ways[i].format, text);
        post(fd, ways[i].path, body);
        free(read_until(fd, ways[i].alive, 2)); /* it waits */
        close(busy);
        close(fd);
        fd = http_connect(s);
        text[3] = (char)('a' + i); /* a prompt that nobody has read */
        sprintf(body, ways[i].format, text);
        post(fd, ways[i].path, body);
        free(read_until(fd, ways[i].alive, 2)); /* it is read */
        close(fd);
    }
    free(text);
    free(body);
    assert_int_equal(server_stop(s, SIGTERM), 0);
}

static void a_stream_whose_call_is_withheld_shows_that_it_lives(void **state) {
    (void)state;
    Server *s = server_start_config(&(ServeConfig){.options = {.ctx = 4096, .threads = 1}, .limits = {.alive_ns = 2 * MS}});
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        if (!ways[i].call) continue;
        int fd = http_connect(s);
        post(fd, ways[i].path, ways[i].call);
        char *all = read_until(fd, ways[i].alive, 20);
        assert_null(strstr(all, "<tool_call>"));
        assert_null(strstr(all, "<function"));
        close(fd);
        free(all);
    }
    assert_int_equal(server_stop(s, SIGTERM), 0);
}

/* ---- clients that are slow ------------------------------------------------------------------------------------------ */

static void a_client_that_sends_too_slowly_is_cut_and_others_are_not(void **state) {
    (void)state;
    static const char *const beginnings[] = {
        "", "POST /v1/compl", "GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{\"prompt\"",
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"p"};
    enum { N = sizeof beginnings / sizeof *beginnings };
    Server *s = server_start_config(&(ServeConfig){.options = {.ctx = 256, .threads = 1}, .limits = {.request_ns = 400 * MS}});
    int slow[N];
    for (int i = 0; i < N; i++) {
        slow[i] = http_connect(s);
        http_send(slow[i], beginnings[i]);
    }
    expect_status(http_post(s, "/v1/completions", SHORT), 200);
    for (int i = 0; i < N; i++) { /* a byte now and then does not help */
        struct pollfd p = {.fd = slow[i], .events = POLLIN};
        while (poll(&p, 1, 20) == 0) http_send(slow[i], "a");
        char *rest = http_read_all(slow[i]);
        if (strstr(rest, " 200 ")) fail_msg("answered: %s", rest);
        free(rest);
        close(slow[i]);
    }
    expect_status(http_post(s, "/v1/completions", SHORT), 200);
    assert_int_equal(server_stop(s, SIGTERM), 0);
}

/* The number behind a name at the beginning of a line of /metrics. */
static double metric(const Server *s, const char *name) {
    char line[128];
    Http h = http_get(s, "/metrics");
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(h.body, line);
    if (!at) fail_msg("no metric %s", name);
    double value = strtod(at + strlen(line), NULL);
    http_free(&h);
    return value;
}

static void a_client_that_does_not_read_is_cut_and_others_are_answered_meanwhile(void **state) {
    (void)state;
    Server *s = server_start_config(
        &(ServeConfig){.options = {.ctx = 4096, .threads = 1}, .parallel = 2, .limits = {.request_ns = 1500 * MS}});
    int fd = http_connect_narrow(s);
    post(fd, "/v1/completions", "{\"prompt\": \"Once\", \"max_tokens\": 4000, \"n\": 8, \"logprobs\": 20, \"stream\": true}");
    char byte;
    assert_int_equal(read(fd, &byte, 1), 1);
    expect_status(http_post(s, "/v1/completions", SHORT), 200);
    server_await(s, "POST /v1/completions 200"); /* ours */
    for (int i = 0; i < 4000 && metric(s, "sluice_requests_running") > 0; i++) nanosleep(&(struct timespec){0, 5000000}, NULL);
    assert_true(metric(s, "sluice_requests_running") == 0);
    assert_true(metric(s, "sluice_request_cancels_total") == 1);
    server_await(s, " cut");
    /* its conversation has rested: of what could have been made, a small part was */
    assert_true(metric(s, "sluice_decode_tokens_total") < 8000);
    close(fd);
    assert_int_equal(server_stop(s, SIGTERM), 0);
}

/* ---- clients that are many, and what they send ---------------------------------------------------------------------- */

static void one_connection_too_many_is_told_so_and_the_others_go_on(void **state) {
    (void)state;
    enum { MOST = 6 };
    Server *s = server_start_config(&(ServeConfig){.options = {.ctx = 256, .threads = 1}, .limits = {.connections = MOST}});
    int fd[MOST];
    for (int i = 0; i < MOST; i++) {
        fd[i] = http_connect(s);
        http_send(fd[i], "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
        free(read_until(fd[i], "\"ok\"", 1)); /* it is in */
    }
    Http h = http_post(s, "/v1/completions", SHORT);
    assert_int_equal(h.status, 503);
    assert_non_null(strstr(h.head, "\r\nRetry-After: "));
    assert_non_null(strstr(h.head, "\r\nConnection: close"));
    assert_non_null(strstr(text_at(h.json, "error.message"), "6 connections"));
    http_free(&h);
    expect_status(http_get(s, "/health"), 200); /* it lives, whoever asks */
    post(fd[0], "/v1/completions", SHORT);
    free(read_until(fd[0], "\"usage\"", 1));
    for (int i = 0; i < MOST; i++) close(fd[i]);
    for (int i = 0; i < 400; i++) {
        h = http_post(s, "/v1/completions", SHORT);
        if (h.status == 200) break;
        http_free(&h);
        nanosleep(&(struct timespec){0, 5000000}, NULL);
    }
    expect_status(h, 200);
    assert_int_equal(server_stop(s, SIGTERM), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(while_the_model_is_loaded_each_path_says_come_again),
        cmocka_unit_test(a_stream_that_waits_or_reads_a_long_prompt_shows_that_it_lives),
        cmocka_unit_test(a_stream_whose_call_is_withheld_shows_that_it_lives),
        cmocka_unit_test(a_client_that_sends_too_slowly_is_cut_and_others_are_not),
        cmocka_unit_test(a_client_that_does_not_read_is_cut_and_others_are_answered_meanwhile),
        cmocka_unit_test(one_connection_too_many_is_told_so_and_the_others_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
