/* HTTP itself: where a request begins and ends, and what is answered to one that leaves room for doubt. */
#include "support/server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HOST "Host: localhost\r\n"
#define LAST "Connection: close\r\n"
#define DOGS "{\"content\": \"dogs\"}" /* 19 bytes */
#define CHUNKS "13\r\n" DOGS "\r\n0\r\n\r\n"
/* What a request that was read too short would leave on the connection. */
#define HIDDEN "GET /hidden HTTP/1.1\r\n" HOST LAST "\r\n"

static Server *server;

static int start(void **state) {
    (void)state;
    server = server_start("--ctx 256 --threads 1 --cors https://app.example");
    return 0;
}
static int stop(void **state) {
    (void)state;
    return server_stop(server, SIGTERM);
}

/* All that the server says to these bytes, behind which nothing comes. Freed by the caller. */
static char *say(const char *bytes, size_t len) {
    int fd = http_connect(server);
    char *text = malloc(len + 1);
    assert_non_null(text);
    memcpy(text, bytes, len);
    text[len] = 0;
    http_send(fd, text);
    free(text);
    shutdown(fd, SHUT_WR);
    char *reply = http_read_all(fd);
    close(fd);
    return reply;
}

static int status_of(const char *reply) {
    int status = 0;
    if (sscanf(reply, "HTTP/1.1 %d", &status) != 1) return 0;
    return status;
}

static int count(const char *text, const char *word) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++) n++;
    return n;
}

static bool log_has(const char *text) {
    char *log = server_log(server);
    bool has = strstr(log, text) != NULL;
    free(log);
    return has;
}

static void a_length_that_leaves_doubt_is_refused_and_nothing_behind_it_is_read(void **state) {
    (void)state;
    static const char *const heads[] = {
        "Content-Length: 19\r\nContent-Length: 19\r\n",
        "Content-Length: 19\r\nContent-Length: 0\r\n",
        "Content-Length: 19, 19\r\n",
        "Content-Length: +19\r\n",
        "Content-Length: -19\r\n",
        "Content-Length: 0x13\r\n",
        "Content-Length: 1 9\r\n",
        "Content-Length: 19a\r\n",
        "Content-Length:\r\n",
        "Content-Length: 99999999999999999999999999\r\n",
        "Content-Length : 19\r\n",
        "Content-Length\t: 19\r\n",
        "Content-Length: 19\r\n X: y\r\n",
        "Content-Length:\r\n 19\r\n",
        "Content-Length: 19\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 19\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \013chunked\r\n",
        "Transfer-Encoding : chunked\r\nContent-Length: 19\r\n",
        "Transfer-Encoding:\r\n chunked\r\nContent-Length: 19\r\n",
        "Transfer-Encoding\r\n : chunked\r\nContent-Length: 19\r\n",
        "X\x01Y: z\r\nContent-Length: 19\r\n",
    };
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        char text[1024];
        int n = snprintf(text, sizeof text, "POST /tokenize HTTP/1.1\r\n" HOST "%s\r\n" DOGS HIDDEN, heads[i]);
        char *reply = say(text, (size_t)n);
        int status = status_of(reply);
        if (status != 400 && status != 413) fail_msg("%s: %s", heads[i], reply);
        free(reply);
    }
    assert_false(log_has("/hidden"));
}

static void a_chunk_that_is_none_ends_the_connection(void **state) {
    (void)state;
    static const char *const bodies[] = {
        "zz\r\n" DOGS "\r\n0\r\n\r\n", "-13\r\n" DOGS "\r\n0\r\n\r\n", "0x13\r\n" DOGS "\r\n0\r\n\r\n", "4\r\n" DOGS "\r\n0\r\n\r\n",
        "ffffffffffffffff13\r\n" DOGS "\r\n0\r\n\r\n", "\r\n" DOGS "\r\n0\r\n\r\n", " 13\r\n" DOGS "\r\n0\r\n\r\n",
        "13\r\n" DOGS "0\r\n\r\n"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        char text[1024];
        int n = snprintf(text, sizeof text, "POST /tokenize HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n%s" HIDDEN, bodies[i]);
        char *reply = say(text, (size_t)n);
        int status = status_of(reply);
        if (status && status != 400 && status != 413) fail_msg("%s: %s", bodies[i], reply);
        free(reply);
    }
    assert_false(log_has("/hidden"));
    const char *old = "POST /tokenize HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n" CHUNKS;
    char *reply = say(old, strlen(old)); /* which HTTP/1.0 does not have */
    assert_int_equal(status_of(reply), 400);
    free(reply);
}

static void a_body_belongs_to_its_request_whatever_the_path_makes_of_it(void **state) {
    (void)state;
    static const char *const lines[] = {"GET /health", "POST /health", "POST /nothing", "PUT /v1/models", "OPTIONS /tokenize"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char text[1024];
        int n = snprintf(text, sizeof text, "%s HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n" HIDDEN "GET /health HTTP/1.1\r\n" HOST LAST
                         "\r\n", lines[i], strlen(HIDDEN));
        free(say(text, (size_t)n));
    }
    assert_false(log_has("/hidden"));
}

static void requests_sent_ahead_are_answered_in_their_order(void **state) {
    (void)state;
    const char *text = "POST /tokenize HTTP/1.1\r\n" HOST "Content-Length: 19\r\n\r\n" DOGS "GET /v1/models HTTP/1.1\r\n" HOST "\r\n"
                       "POST /tokenize HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n" CHUNKS
                       "GET /health HTTP/1.1\r\n" HOST LAST "\r\n";
    char *reply = say(text, strlen(text));
    assert_int_equal(count(reply, "HTTP/1.1 200"), 4);
    const char *first = strstr(reply, "\"tokens\""), *second = strstr(reply, "\"list\"");
    assert_non_null(first);
    assert_true(second > first);
    assert_true(strstr(second, "\"tokens\"") && strstr(second, "\"status\"") > strstr(second, "\"tokens\""));
    free(reply);
}

static void a_head_has_the_length_and_nothing_else(void **state) {
    (void)state;
    Http h = http_ask(server, "HEAD", "/v1/models", NULL, NULL), get = http_get(server, "/v1/models");
    assert_int_equal(h.status, 200);
    char length[64];
    snprintf(length, sizeof length, "\r\nContent-Length: %zu\r\n", get.len);
    assert_non_null(strstr(h.head, length));
    assert_int_equal(h.len, 0);
    http_free(&h);
    http_free(&get);
    h = http_ask(server, "HEAD", "/v1/completions", NULL, NULL);
    assert_int_equal(h.status, 405);
    http_free(&h);
}

static void an_old_client_is_answered_and_its_connection_closed(void **state) {
    (void)state;
    const char *body = "{\"prompt\": \"Once\", \"max_tokens\": 2, \"stream\": true}";
    char text[512];
    int n = snprintf(text, sizeof text, "POST /v1/completions HTTP/1.0\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    assert_in_range(n, 1, sizeof text - 1);
    int fd = http_connect(server);
    http_send(fd, text); /* and listens: a client that has closed its side has gone */
    char *reply = http_read_all(fd);
    close(fd);
    assert_non_null(strstr(reply, " 200 "));
    assert_non_null(strstr(reply, "\n\ndata: [DONE]\n\n"));
    assert_null(strstr(reply, "chunked"));
    free(reply);
}

static void a_host_that_is_missing_twice_there_or_not_ours_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *head;
        int status;
    } cases[] = {{"", 400}, {"Host: localhost\r\nHost: localhost\r\n", 400}, {"Host:\r\n", 403}, {"Host: localhost.evil.example\r\n", 403},
                 {"Host: 127.0.0.1.evil.example\r\n", 403}, {"Host: localhost@evil.example\r\n", 403}, {"Host: LOCALHOST:1\r\n", 200}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        int n = snprintf(text, sizeof text, "GET /v1/models HTTP/1.1\r\n%s" LAST "\r\n", cases[i].head);
        char *reply = say(text, (size_t)n);
        if (status_of(reply) != cases[i].status) fail_msg("%s: %s", cases[i].head, reply);
        free(reply);
    }
    char *text = malloc(6000);
    assert_non_null(text);
    memset(text, 'a', 6000);
    int n = sprintf(text, "GET /v1/models HTTP/1.1\r\nHost: ");
    text[n] = 'a';
    memcpy(text + 5000, "\r\n\r\n", 5);
    char *reply = say(text, strlen(text));
    assert_int_equal(status_of(reply), 403);
    free(reply);
    free(text);
}

static void heads_and_bodies_beyond_their_limits_are_told_so(void **state) {
    (void)state;
    size_t size = 8 << 20;
    char *text = malloc(size);
    assert_non_null(text);
    static const struct {
        const char *before;
        size_t len;
        int status;
    } cases[] = {{"GET /health HTTP/1.1\r\n" HOST "X-Long: ", 80000, 431},
                 {"GET /", 80000, 414},
                 {"POST /tokenize HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n600000\r\n", 0x600000, 413},
                 {"POST /tokenize HTTP/1.1\r\n" HOST "Content-Length: 999999999\r\n\r\n", 100, 413}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memset(text, 'a', size);
        memcpy(text, cases[i].before, strlen(cases[i].before));
        size_t end = strlen(cases[i].before) + cases[i].len;
        strcpy(text + end, cases[i].status == 414 ? " HTTP/1.1\r\n" HOST "\r\n" : i == 2 ? "\r\n0\r\n\r\n" : "\r\n\r\n");
        char *reply = say(text, strlen(text));
        if (status_of(reply) != cases[i].status) fail_msg("case %zu: '%.200s'", i, reply);
        free(reply);
    }
    free(text);
}

static void a_method_that_a_path_does_not_take_is_told_which_it_takes(void **state) {
    (void)state;
    static const struct {
        const char *method, *path, *allow;
    } cases[] = {{"GET", "/v1/completions", "POST, OPTIONS"}, {"PUT", "/v1/models", "GET, HEAD, OPTIONS"},
                 {"DELETE", "/v1/messages", "POST, OPTIONS"}, {"TRACE", "/", "GET, HEAD, OPTIONS"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Http h = http_ask(server, cases[i].method, cases[i].path, NULL, NULL);
        char line[64];
        snprintf(line, sizeof line, "\r\nAllow: %s\r\n", cases[i].allow);
        assert_int_equal(h.status, 405);
        if (!strstr(h.head, line)) fail_msg("%s %s: %s", cases[i].method, cases[i].path, h.head);
        if (strcmp(cases[i].path, "/v1/messages") != 0) assert_true(json_is_null(json_at(h.json, "error.param")));
        else assert_string_equal(text_at(h.json, "error.type"), "invalid_request_error");
        http_free(&h);
    }
}

static void a_preflight_is_answered_without_a_key_and_names_what_may_be_sent(void **state) {
    (void)state;
    const char *asks = "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization, content-type\r\n";
    char headers[512];
    snprintf(headers, sizeof headers, "Origin: https://app.example\r\n%s", asks);
    Http h = http_ask(server, "OPTIONS", "/v1/chat/completions", headers, NULL);
    assert_int_equal(h.status, 204);
    assert_non_null(strstr(h.head, "\r\nAccess-Control-Allow-Origin: https://app.example\r\n"));
    assert_non_null(strstr(h.head, "\r\nAccess-Control-Allow-Methods: GET, POST, OPTIONS\r\n"));
    assert_non_null(strstr(h.head, "authorization, content-type"));
    assert_non_null(strstr(h.head, "\r\nAllow: POST, OPTIONS\r\n"));
    http_free(&h);
    snprintf(headers, sizeof headers, "Origin: https://evil.example\r\n%s", asks);
    h = http_ask(server, "OPTIONS", "/v1/chat/completions", headers, NULL);
    assert_int_equal(h.status, 403);
    assert_null(strstr(h.head, "Access-Control-Allow"));
    http_free(&h);
    h = http_ask(server, "OPTIONS", "/nothing", NULL, NULL);
    assert_int_equal(h.status, 404);
    http_free(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_length_that_leaves_doubt_is_refused_and_nothing_behind_it_is_read),
        cmocka_unit_test(a_chunk_that_is_none_ends_the_connection),
        cmocka_unit_test(a_body_belongs_to_its_request_whatever_the_path_makes_of_it),
        cmocka_unit_test(requests_sent_ahead_are_answered_in_their_order),
        cmocka_unit_test(a_head_has_the_length_and_nothing_else),
        cmocka_unit_test(an_old_client_is_answered_and_its_connection_closed),
        cmocka_unit_test(a_host_that_is_missing_twice_there_or_not_ours_is_refused),
        cmocka_unit_test(heads_and_bodies_beyond_their_limits_are_told_so),
        cmocka_unit_test(a_method_that_a_path_does_not_take_is_told_which_it_takes),
        cmocka_unit_test(a_preflight_is_answered_without_a_key_and_names_what_may_be_sent),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
