/* --ram is the whole process, the server's part included: whatever is asked of it, it stays below, and who does not fit is told so. */
#define _GNU_SOURCE
#include "support/server.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CROWD = 30, KEYS = 16 << 10 };

static Server *server;

static long peak_mib(void) { return (server_memory_kib(server, "VmHWM") + 1023) / 1024; }

static double metric(const char *name) {
    char want[128];
    Http h = http_get(server, "/metrics");
    snprintf(want, sizeof want, "\n%s ", name);
    const char *at = strstr(h.body, want);
    if (!at) fail_msg("no metric %s", name);
    double value = strtod(at + strlen(want), NULL);
    http_free(&h);
    return value;
}

/* ---- ways of asking for much ---------------------------------------------------------------------------------------- */

static char *filled(const char *before, char with, size_t n, const char *behind) {
    size_t a = strlen(before), b = strlen(behind);
    char *text = malloc(a + n + b + 1);
    assert_non_null(text);
    memcpy(text, before, a);
    memset(text + a, with, n);
    memcpy(text + a + n, behind, b + 1);
    return text;
}

static void *converse(void *user) {
    (void)user;
    static const char *const bodies[] = {
        "{\"prompt\": \"Once\", \"max_tokens\": 12, \"n\": 4, \"logprobs\": 5}",
        "{\"prompt\": [\"One\", \"Two\", \"Three\", \"Four\"], \"max_tokens\": 8, \"echo\": true, \"logprobs\": 5}"};
    for (int i = 0; i < 2; i++) {
        Http h = http_post(server, "/v1/completions", bodies[i % 2]);
        http_free(&h);
    }
    return NULL;
}

static int answered(Http h) {
    int status = h.status;
    if (status == 503 && !strstr(h.head, "\r\nRetry-After: ")) status = 0;
    http_free(&h);
    return status;
}

static void whatever_is_asked_the_budget_holds(void **state) {
    (void)state;
    if (under_sanitizer()) { /* whose own memory is several times as much */
        print_message("under a sanitizer memory is not ours: nothing is compared\n");
        skip();
    }
    const char *options = "serve --port 0 --ctx 512 --threads 2 --parallel 4 --queue 16 --state-ram 4M";
    long ram = least_ram(options) + 4;
    char args[256];
    snprintf(args, sizeof args, "--ctx 512 --threads 2 --parallel 4 --queue 16 --state-ram 4M --ram %ldM", ram);
    server = server_start(args);
    pthread_t others[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&others[i], NULL, converse, NULL), 0);
    char *keys = filled("X-Long: ", 'k', KEYS, "\r\n"), *large = filled("{\"prompt\": \"", 'a', 720000, "\", \"max_tokens\": 1}");
    int fd[CROWD];
    for (int i = 0; i < CROWD; i++) { /* bodies of which the end is missing */
        char head[256];
        fd[i] = http_connect(server);
        snprintf(head, sizeof head, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n", strlen(large));
        http_send(fd[i], head);
        http_send(fd[i], keys);
        http_send(fd[i], "\r\n");
        char last = large[700000];
        large[700000] = 0;
        http_send(fd[i], large);
        large[700000] = last;
    }
    int n400 = 0, n503 = 0;
    for (int i = 0; i < CROWD; i++) {
        char head[16] = "";
        http_send(fd[i], large + 700000);
        assert_true(read(fd[i], head, 15) == 15);
        n503 += strncmp(head, "HTTP/1.1 503", 12) == 0;
        n400 += strncmp(head, "HTTP/1.1 4", 10) == 0; /* far longer than the context */
        close(fd[i]);
    }
    assert_int_equal(n400 + n503, CROWD);
    assert_true(n400 > 0 && n503 > 0);
    for (int i = 0; i < 4; i++) pthread_join(others[i], NULL);
    free(keys);
    free(large);
    print_message("%ld of %ld MiB\n", peak_mib(), ram);
    if (peak_mib() > ram) fail_msg("%ld MiB were resident under --ram %ldM", peak_mib(), ram);
}

/* A body of which every third byte is a list: some hundred times as large in memory as on the wire. */
static void a_body_of_nothing_but_lists_is_refused_before_it_is_read(void **state) {
    (void)state;
    if (!server) skip();
    char *text = malloc(3 * 100000 + 64);
    assert_non_null(text);
    int n = sprintf(text, "{\"prompt\": \"x\", \"metadata\": {\"a\": [[]");
    for (int i = 0; i < 100000; i++) memcpy(text + n + 3 * i, ",[]", 3);
    strcpy(text + n + 300000, "]}}");
    Http h = http_post(server, "/v1/completions", text);
    assert_int_equal(h.status, 413);
    assert_non_null(strstr(text_at(h.json, "error.message"), "memory"));
    http_free(&h);
    free(text);
}

static void schemas_leave_for_others_and_all_are_answered(void **state) {
    (void)state;
    if (!server) skip();
    for (int i = 0; i < 12; i++) {
        char body[1024];
        snprintf(body, sizeof body, "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}], \"max_tokens\": 4, "
                 "\"chat_template_kwargs\": {\"enable_thinking\": false}, \"response_format\": {\"type\": \"json_schema\", "
                 "\"json_schema\": {\"name\": \"x\", \"schema\": {\"type\": \"object\", \"properties\": {\"p%d\": {\"type\": \"string\", "
                 "\"pattern\": \"^[a-z]{1,%d}@[a-z]{2,20}$\"}}, "
                 "\"required\": [\"p%d\"]}}}}", i, 40 + i, i);
        assert_int_equal(answered(http_post(server, "/v1/chat/completions", body)), 200);
    }
}

static void what_was_held_is_given_back(void **state) {
    (void)state;
    if (!server) skip();
    double held = 0, least = 1e18;
    for (int i = 0; i < 1000; i++) { /* what is kept for good stays: turns, the tokens' bytes, schemas */
        held = metric("sluice_request_memory_bytes");
        if (held < least) least = held;
        if (metric("sluice_connections") == 1) break;
        nanosleep(&(struct timespec){0, 5000000}, NULL);
    }
    Http h = http_post(server, "/v1/completions", "{\"prompt\": \"x\", \"max_tokens\": 1}");
    http_free(&h);
    for (int i = 0; i < 1000 && metric("sluice_request_memory_bytes") != held; i++) nanosleep(&(struct timespec){0, 5000000}, NULL);
    assert_true(metric("sluice_request_memory_bytes") == held);
    assert_int_equal(server_stop(server, SIGTERM), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_is_asked_the_budget_holds),
        cmocka_unit_test(a_body_of_nothing_but_lists_is_refused_before_it_is_read),
        cmocka_unit_test(schemas_leave_for_others_and_all_are_answered),
        cmocka_unit_test(what_was_held_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
