/* Requests that are wrong, rude, early or too many. */
#define _GNU_SOURCE /* nanosleep */
#include "support/server.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static Server *server;
static const char *const LONG =
    "{\"prompt\": \"Once\", \"max_tokens\": 100000, \"temperature\": 1, \"seed\": 1, \"n\": 128, \"stream\": true}";

static int start(void **state) {
    (void)state;
    write_whole(temp_path("keys.txt"), "# of the tests\nfirst-key\n  second-key  \n\n");
    server = server_start("--ctx 4096 --threads 2 --queue 2 --parallel 2");
    return 0;
}
static int stop(void **state) {
    (void)state;
    return server_stop(server, SIGTERM);
}

static void nap(int ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

static void expect_status(Http h, int status) {
    if (h.status != status) fail_msg("status %d, not %d: %s", h.status, status, h.body);
    http_free(&h);
}

/* Sends bytes as they are and reads the answer. */
static Http raw(const char *text) {
    int fd = http_connect(server);
    http_send(fd, text);
    char *reply = http_read_all(fd);
    close(fd);
    return http_parse(reply);
}

/* A stream that has begun; the caller closes it. */
static int begin_stream(const Server *s) {
    char text[1024], byte;
    snprintf(text, sizeof text, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s", strlen(LONG), LONG);
    int fd = http_connect(s);
    http_send(fd, text);
    assert_int_equal(read(fd, &byte, 1), 1);
    return fd;
}

static void paths_and_methods_that_are_not_there_are_told(void **state) {
    (void)state;
    Http h = http_get(server, "/v1/nothing");
    assert_int_equal(h.status, 404);
    assert_non_null(strstr(text_at(h.json, "error.message"), "/v1/nothing"));
    http_free(&h);
    h = http_get(server, "/v1/completions");
    assert_int_equal(h.status, 405);
    assert_non_null(strstr(h.head, "Allow: POST"));
    http_free(&h);
    expect_status(http_ask(server, "DELETE", "/v1/models", NULL, NULL), 405);
    expect_status(http_get(server, "/../../etc/passwd"), 404);
    expect_status(http_get(server, "/v1/models/%2e%2e%2fsecret"), 404);
    expect_status(http_get(server, "http://localhost/health"), 200); /* as clients behind a proxy ask */
    expect_status(http_get(server, "http://localhost/nothing"), 404);
    h = http_get(server, "/v1/messages/nothing");
    assert_string_equal(text_at(h.json, "type"), "error");
    http_free(&h);
}

static void a_body_that_is_no_json_object_is_refused(void **state) {
    (void)state;
    static const char *const bodies[] = {
        "", "{", "[]", "7", "\"prompt\"", "{\"prompt\": \"a\", \"prompt\": \"b\"}", "{\"prompt\": \"\\ud800\"}",
        "{\"prompt\": \"x\"} trailing", "{\"prompt\": NaN}", "\xff\xfe", "null"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        Http h = http_post(server, "/v1/completions", bodies[i]);
        if (h.status != 400) fail_msg("%s: %d", bodies[i], h.status);
        assert_string_equal(text_at(h.json, "error.type"), "invalid_request_error");
        http_free(&h);
    }
    char deep[20001];
    memset(deep, '[', 20000);
    deep[20000] = 0;
    expect_status(http_post(server, "/v1/completions", deep), 400);
}

static void bodies_that_could_be_read_in_two_ways_are_refused(void **state) {
    (void)state;
    static const char *const heads[] = {
        "Content-Length: 2\r\nContent-Length: 20\r\n",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: -2\r\n",
        "Content-Length: 0x2\r\n",
        "Content-Length: 2,2\r\n",
    };
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        char text[512];
        snprintf(text, sizeof text, "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s\r\n{}\r\n\r\n", heads[i]);
        Http h = raw(text);
        if (h.status < 400 || h.status > 501) fail_msg("%s: %d", heads[i], h.status);
        http_free(&h);
    }
}

static void what_is_no_http_does_no_harm(void **state) {
    (void)state;
    static const char *const texts[] = {"\r\n\r\n\r\n", "GET\r\n\r\n", "\x16\x03\x01 not tls", "GET / HTTP/9.9\r\n\r\n",
                                        "GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "POST /tokenize HTTP/1.1\r\n: x\r\n\r\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int fd = http_connect(server);
        http_send(fd, texts[i]);
        struct pollfd p = {.fd = fd, .events = POLLIN};
        (void)poll(&p, 1, 50);
        close(fd);
    }
    expect_status(http_get(server, "/health"), 200);
}

static void a_chunked_body_is_read(void **state) {
    (void)state;
    Http h = raw("POST /tokenize HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "6\r\n{\"cont\r\nd\r\nent\": \"dogs\"}\r\n0\r\n\r\n");
    assert_int_equal(h.status, 200);
    http_free(&h);
}

static void a_body_that_is_too_large_is_refused_before_it_is_sent(void **state) {
    (void)state;
    Http h = raw("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n\r\n");
    assert_int_equal(h.status, 413);
    assert_string_equal(text_at(h.json, "error.code"), "request_too_large");
    http_free(&h);
}

static void a_body_that_is_too_large_may_be_sent_to_its_end(void **state) {
    (void)state;
    enum { SIZE = 5 << 20 };
    char *body = malloc(SIZE + 1); /* most clients look for an answer only then */
    assert_non_null(body);
    memset(body, ' ', SIZE);
    body[SIZE] = 0;
    expect_status(http_post(server, "/v1/completions", body), 413);
    free(body);
}

static void bodies_are_read_as_they_are_meant(void **state) {
    (void)state;
    const char *marked = "\xEF\xBB\xBF{\"prompt\": \"x\", \"max_tokens\": 1}"; /* a byte order mark */
    expect_status(http_post(server, "/v1/completions", marked), 200);
    expect_status(http_ask(server, "POST", "/v1/completions", "Content-Encoding: identity\r\n", marked + 3), 200);
    Http h = http_ask(server, "POST", "/v1/completions", "Content-Encoding: gzip\r\n", "\x1f\x8b");
    assert_int_equal(h.status, 415);
    assert_non_null(strstr(text_at(h.json, "error.message"), "Content-Encoding"));
    http_free(&h);
}

static void a_header_without_end_is_cut(void **state) {
    (void)state;
    size_t size = 300000;
    char *text = malloc(size);
    int n = snprintf(text, size, "GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: ");
    memset(text + n, 'a', size - (size_t)n);
    text[size - 1] = 0;
    int fd = http_connect(server);
    http_send(fd, text);
    char *reply = http_read_all(fd);
    assert_true(*reply == 0 || strncmp(reply, "HTTP/1.1 4", 10) == 0);
    close(fd);
    free(reply);
    free(text);
}

static void a_slow_client_holds_up_nobody(void **state) {
    (void)state;
    int slow[8];
    for (int i = 0; i < 8; i++) {
        slow[i] = http_connect(server);
        http_send(slow[i], "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{\"prompt\"");
    }
    expect_status(http_post(server, "/v1/completions", "{\"prompt\": \"x\", \"max_tokens\": 2}"), 200);
    for (int i = 0; i < 8; i++) close(slow[i]);
}

static void pages_of_other_origins_and_names_may_not_call(void **state) {
    (void)state;
    const char *path = "/v1/models";
    expect_status(http_ask(server, "GET", path, "Origin: https://evil.example\r\n", NULL), 403);
    expect_status(http_ask(server, "GET", path, "Origin: null\r\n", NULL), 403);
    expect_status(http_ask(server, "GET", path, "Origin: http://127.0.0.1\r\n", NULL), 200);
    expect_status(raw("GET /v1/models HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"), 403);
    expect_status(raw("GET /v1/models HTTP/1.1\r\nHost: localhost:8080\r\nConnection: close\r\n\r\n"), 200);
    expect_status(raw("GET /v1/models HTTP/1.1\r\nHost: [::1]:8080\r\nConnection: close\r\n\r\n"), 200);
    Http h = http_ask(server, "OPTIONS", path, "Origin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n", NULL);
    assert_null(strstr(h.head, "Access-Control-Allow"));
    http_free(&h);
}

static void a_named_origin_may_call(void **state) {
    (void)state;
    Server *s = server_start("--threads 1 --cors https://app.example");
    const char *path = "/v1/models", *origin = "Origin: https://app.example\r\n";
    Http h = http_ask(s, "GET", path, origin, NULL);
    assert_int_equal(h.status, 200);
    assert_non_null(strstr(h.head, "Access-Control-Allow-Origin: https://app.example\r\n"));
    http_free(&h);
    h = http_ask(s, "OPTIONS", path, origin, NULL);
    assert_int_equal(h.status, 204);
    assert_non_null(strstr(h.head, "Access-Control-Allow-Headers: authorization"));
    http_free(&h);
    h = http_ask(s, "OPTIONS", path, "Origin: https://app.example\r\nAccess-Control-Request-Headers: x-stainless-os\r\n", NULL);
    assert_non_null(strstr(h.head, "Access-Control-Allow-Headers: x-stainless-os\r\n"));
    http_free(&h);
    expect_status(http_ask(s, "GET", path, "Origin: https://evil.example\r\n", NULL), 403);
    assert_int_equal(server_stop(s, SIGTERM), 0);
}

static void a_key_is_asked_for_where_keys_are_named(void **state) {
    (void)state;
    char args[1200];
    snprintf(args, sizeof args, "--threads 1 --api-key-file '%s'", temp_path("keys.txt"));
    Server *s = server_start(args);
    const char *path = "/v1/models";
    Http h = http_get(s, path);
    assert_int_equal(h.status, 401);
    assert_non_null(strstr(h.head, "WWW-Authenticate: Bearer"));
    assert_string_equal(text_at(h.json, "error.code"), "invalid_api_key");
    http_free(&h);
    expect_status(http_ask(s, "GET", path, "Authorization: Bearer first-key\r\n", NULL), 200);
    expect_status(http_ask(s, "GET", path, "Authorization: bearer second-key\r\n", NULL), 200);
    expect_status(http_ask(s, "GET", path, "x-api-key: second-key\r\n", NULL), 200);
    expect_status(http_ask(s, "GET", path, "x-api-key: first-ke\r\n", NULL), 401);
    expect_status(http_ask(s, "GET", path, "x-api-key: first-key2\r\n", NULL), 401);
    expect_status(http_ask(s, "GET", path, "x-api-key: \r\n", NULL), 401);
    expect_status(http_ask(s, "GET", "/nothing", NULL, NULL), 401);
    expect_status(http_get(s, "/health"), 200);
    assert_int_equal(server_stop(s, SIGTERM), 0);
}

static void an_open_address_needs_a_key(void **state) {
    (void)state;
    const Result *r = shell_expect(2, "$S serve --host 0.0.0.0 --port 0");
    assert_non_null(strstr(r->err, "--api-key-file"));
    shell_expect(2, "echo '# nothing' >$T/empty; $S serve --port 0 --api-key-file $T/empty");
    shell_expect(1, "$S serve --port 0 --api-key-file $T/not-there");
    shell_expect(1, "$S serve --port 0 -m $T/not-there.gguf");
    shell_expect(1, "$S serve --port 0 --trace-requests $T/empty/traces");
}

/* The value of one line of the log that the last request left. */
static bool log_has(const char *text) {
    char *log = server_log(server);
    bool has = strstr(log, text) != NULL;
    free(log);
    return has;
}

static void who_goes_away_stops_the_work(void **state) {
    (void)state;
    int one = begin_stream(server), two = begin_stream(server); /* both conversations are taken, for a long time */
    close(one);
    close(two);
    expect_status(http_post(server, "/v1/completions", "{\"prompt\": \"x\", \"max_tokens\": 2}"), 200);
    assert_true(log_has("POST /v1/completions 200"));
}

static void a_full_queue_says_when_to_come_again(void **state) {
    (void)state;
    int fd[4];
    for (int i = 0; i < 4; i++) fd[i] = begin_stream(server); /* two are answered, two wait; a stream begins when it is queued */
    Http h = http_post(server, "/v1/completions", "{\"prompt\": \"x\"}");
    assert_int_equal(h.status, 429);
    assert_non_null(strstr(h.head, "Retry-After: "));
    assert_string_equal(text_at(h.json, "error.type"), "rate_limit_error");
    http_free(&h);
    for (int i = 0; i < 4; i++) close(fd[i]);
    for (int i = 0; i < 200; i++) { /* and the queue is free again */
        h = http_post(server, "/v1/completions", "{\"prompt\": \"x\", \"max_tokens\": 1}");
        if (h.status == 200) break;
        http_free(&h);
        nap(5);
    }
    expect_status(h, 200);
}

static void requests_beside_each_other_are_answered_as_alone(void **state) {
    (void)state;
    enum { N = 4 };
    static const char *const prompts[N] = {"Once upon a time", "The dog", "Lily went to the park and", "One day a big bear"};
    char text[N][4096];
    int fd[N];
    Http alone[N];
    for (int i = 0; i < N; i++) {
        char body[512];
        const char *form = "{\"prompt\": \"%s\", \"max_tokens\": 24, \"temperature\": 1, \"seed\": %d, \"logprobs\": 2}";
        snprintf(body, sizeof body, form, prompts[i], i + 3);
        alone[i] = http_post(server, "/v1/completions", body);
        snprintf(text[i], sizeof text[i],
                 "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                 strlen(body), body);
        assert_int_equal(alone[i].status, 200);
    }
    for (int i = 0; i < N; i++) {
        fd[i] = http_connect(server);
        http_send(fd[i], text[i]);
    }
    for (int i = 0; i < N; i++) {
        Http h = http_parse(http_read_all(fd[i]));
        close(fd[i]);
        if (h.status != 200) fail_msg("%d: %s", h.status, h.body);
        assert_true(json_equal(json_at(h.json, "choices"), json_at(alone[i].json, "choices")));
        http_free(&h);
        http_free(&alone[i]);
    }
}

static void what_a_conversation_holds_is_not_read_again(void **state) {
    (void)state;
    const char *more = "{\"prompt\": [641, 687, 264, 323, 434, 273, 258, 382], \"max_tokens\": 5, \"temperature\": 0}";
    Http h = http_post(server, "/v1/completions", "{\"prompt\": [641, 687, 264, 323, 434, 273], \"max_tokens\": 1, \"temperature\": 0}");
    assert_int_equal(int_at(h.json, "usage.prompt_tokens_details.cached_tokens"), 0);
    http_free(&h);
    h = http_post(server, "/v1/completions", more);
    assert_int_equal(int_at(h.json, "usage.prompt_tokens_details.cached_tokens"), 6);
    Http fresh = http_post(server, "/v1/completions", more);
    assert_string_equal(text_at(h.json, "choices.0.text"), text_at(fresh.json, "choices.0.text"));
    http_free(&h);
    http_free(&fresh);
}

static void signals_end_it_cleanly(void **state) {
    (void)state;
    Server *s = server_start("--threads 1");
    assert_int_equal(server_stop(s, SIGINT), 130);
    s = server_start("--threads 1 --ctx 4096");
    int fd = begin_stream(s);
    assert_int_equal(server_stop(s, SIGTERM), 0);
    char *rest = http_read_all(fd);
    assert_non_null(strstr(rest, "shutting down"));
    free(rest);
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_and_methods_that_are_not_there_are_told),
        cmocka_unit_test(a_body_that_is_no_json_object_is_refused),
        cmocka_unit_test(bodies_that_could_be_read_in_two_ways_are_refused),
        cmocka_unit_test(what_is_no_http_does_no_harm),
        cmocka_unit_test(a_chunked_body_is_read),
        cmocka_unit_test(a_body_that_is_too_large_is_refused_before_it_is_sent),
        cmocka_unit_test(a_body_that_is_too_large_may_be_sent_to_its_end),
        cmocka_unit_test(bodies_are_read_as_they_are_meant),
        cmocka_unit_test(a_header_without_end_is_cut),
        cmocka_unit_test(a_slow_client_holds_up_nobody),
        cmocka_unit_test(pages_of_other_origins_and_names_may_not_call),
        cmocka_unit_test(a_named_origin_may_call),
        cmocka_unit_test(a_key_is_asked_for_where_keys_are_named),
        cmocka_unit_test(an_open_address_needs_a_key),
        cmocka_unit_test(who_goes_away_stops_the_work),
        cmocka_unit_test(a_full_queue_says_when_to_come_again),
        cmocka_unit_test(requests_beside_each_other_are_answered_as_alone),
        cmocka_unit_test(what_a_conversation_holds_is_not_read_again),
        cmocka_unit_test(signals_end_it_cleanly),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
