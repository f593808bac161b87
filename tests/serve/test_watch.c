/* What the server says of itself: /metrics, /stats, and one line per request. */
#define _GNU_SOURCE
#include "support/server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static Server *server;

static int start(void **state) {
    (void)state;
    server = server_start("--ctx 256 --threads 2 --parallel 2");
    return 0;
}
static int stop(void **state) {
    (void)state;
    return server_stop(server, SIGTERM);
}

/* The number behind a name at the beginning of a line. */
static double metric(const char *text, const char *name) {
    char line[128];
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(text, line);
    if (!at) fail_msg("no metric %s", name);
    return strtod(at + strlen(line), NULL);
}

static void metrics_count_what_was_answered(void **state) {
    (void)state;
    Http before = http_get(server, "/metrics");
    assert_int_equal(before.status, 200);
    Http h = http_post(server, "/v1/completions", "{\"prompt\": \"Once upon a time\", \"max_tokens\": 6, \"temperature\": 0}");
    http_free(&h);
    h = http_post(server, "/v1/completions", "{\"promt\": 1}");
    http_free(&h);
    Http after = {0};
    for (int i = 0; i < 200; i++) { /* the worker writes down a request after it was answered */
        http_free(&after);
        after = http_get(server, "/metrics");
        if (metric(after.body, "sluice_answer_tokens_total") > metric(before.body, "sluice_answer_tokens_total")) break;
        usleep(5000);
    }
    static const struct {
        const char *name;
        double more;
    } counters[] = {{"sluice_answer_tokens_total", 6},
                    {"sluice_prompt_tokens_total", 4},
                    {"sluice_first_token_seconds_count", 1},
                    {"sluice_next_token_seconds_count", 5},
                    {"sluice_first_token_seconds_bucket{le=\"+Inf\"}", 1}};
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++) {
        double more = metric(after.body, counters[i].name) - metric(before.body, counters[i].name);
        if (more != counters[i].more) fail_msg("%s grew by %g, not %g", counters[i].name, more, counters[i].more);
    }
    assert_true(metric(after.body, "sluice_responses_total{status=\"400\"}") >= 1);
    assert_true(metric(after.body, "sluice_experts_wanted_total") > 0);
    http_free(&before);
    http_free(&after);
}

/* What is read of the exposition format: every sample belongs to the family that HELP and TYPE have just named, each once. */
typedef struct Family {
    char name[64], type[16];
    double last, sum, count; /* of a histogram: its last bucket, and what it says of all */
    bool all;                /* +Inf has come */
} Family;

static void expect_family_complete(const Family *f) {
    if (strcmp(f->type, "histogram") != 0) return;
    if (!f->all) fail_msg("%s has no +Inf", f->name);
    if (f->last != f->count) fail_msg("%s: %g in +Inf, %g counted", f->name, f->last, f->count);
    if (f->count == 0 && f->sum != 0) fail_msg("%s: a sum of nothing", f->name);
}

static void expect_sample(Family *f, const char *line) {
    char name[96], labels[96] = "", *end;
    size_t n = strcspn(line, "{ "), base = strlen(f->name);
    snprintf(name, sizeof name, "%.*s", (int)n, line);
    if (line[n] == '{') {
        const char *close = strchr(line, '}');
        assert_non_null(close);
        snprintf(labels, sizeof labels, "%.*s", (int)(close - line - (long)n) - 1, line + n + 1);
        char *value = strstr(labels, "=\"");
        if (!value || labels[strlen(labels) - 1] != '"' || strpbrk(value + 2, "\\\n")) fail_msg("labels: %s", line);
        n = (size_t)(close - line) + 1;
    }
    double value = strtod(line + n + 1, &end);
    if (line[n] != ' ' || *end) fail_msg("no number: %s", line);
    if (strncmp(name, f->name, base) != 0) fail_msg("%s stands below %s", line, f->name);
    if (strcmp(f->type, "histogram") != 0) {
        assert_string_equal(name, f->name);
    } else if (strcmp(name + base, "_bucket") == 0) {
        if (value < f->last || f->all) fail_msg("buckets do not add up: %s", line);
        f->last = value;
        f->all = strcmp(labels, "le=\"+Inf\"") == 0;
    } else if (strcmp(name + base, "_sum") == 0) {
        f->sum = value;
    } else {
        assert_string_equal(name + base, "_count");
        f->count = value;
    }
}

static void metrics_are_what_prometheus_reads(void **state) {
    (void)state;
    Http h = http_get(server, "/metrics");
    assert_non_null(strstr(h.head, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert_true(h.len > 0 && h.body[h.len - 1] == '\n');
    char seen_names[8192] = "\n", key[80];
    Family f = {.type = ""};
    for (char *line = strtok(h.body, "\n"); line; line = strtok(NULL, "\n")) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            expect_family_complete(&f);
            f = (Family){.type = ""};
            assert_int_equal(sscanf(line, "# HELP %63s", f.name), 1);
            snprintf(key, sizeof key, "\n%s\n", f.name);
            if (strstr(seen_names, key)) fail_msg("%s comes twice", f.name);
            strcat(seen_names, key + 1);
        } else if (*line == '#') {
            char name[64];
            assert_int_equal(sscanf(line, "# TYPE %63s %15s", name, f.type), 2);
            assert_string_equal(name, f.name);
            bool counter = strcmp(f.type, "counter") == 0, total = strlen(name) > 6 && strcmp(name + strlen(name) - 6, "_total") == 0;
            if (counter != total) fail_msg("%s is a %s", name, f.type);
        } else {
            expect_sample(&f, line);
        }
    }
    expect_family_complete(&f);
    static const char *const names[] = {"requests_inside", "requests_running", "first_token_seconds", "next_token_seconds",
                                        "read_bytes_total", "expert_hits_total", "expert_evictions_total", "request_failures_total",
                                        "responses_total", "states_hits_total", "states_evictions_total", "connections"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(key, sizeof key, "\nsluice_%s\n", names[i]);
        if (!strstr(seen_names, key)) fail_msg("no %s", names[i]);
    }
    http_free(&h);
}

static void stats_are_one_object_with_the_heat_of_every_expert(void **state) {
    (void)state;
    Http h = http_get(server, "/stats");
    assert_int_equal(h.status, 200);
    assert_string_equal(text_at(h.json, "phase"), "ready");
    assert_int_equal(json_array_size(json_at(h.json, "conversations")), 2);
    assert_string_equal(text_at(h.json, "conversations.0.state"), "free");
    json_t *rows = json_at(h.json, "heat.used");
    assert_int_equal(json_array_size(rows), int_at(h.json, "heat.layers"));
    for (size_t i = 0; i < json_array_size(rows); i++)
        assert_int_equal(json_string_length(json_array_get(rows, i)), int_at(h.json, "heat.experts"));
    assert_true(int_at(h.json, "memory.rss_bytes") > 0);
    http_free(&h);
}

static void who_asks_for_events_gets_them_one_after_the_other(void **state) {
    (void)state;
    int fd = http_connect(server);
    http_send(fd, "GET /stats HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n");
    char text[65536];
    size_t len = 0;
    int events = 0;
    while (events < 2 && len + 1 < sizeof text) {
        ssize_t n = read(fd, text + len, sizeof text - len - 1);
        assert_true(n > 0);
        len += (size_t)n;
        text[len] = 0;
        events = 0;
        for (const char *at = text; (at = strstr(at, "data: {\"phase\":\"ready\"")) != NULL; at++) events++;
    }
    close(fd);
}

static void each_request_has_a_line_in_the_log(void **state) {
    (void)state;
    Http h = http_get(server, "/v1/nothing-here");
    http_free(&h);
    char *log = NULL;
    for (int i = 0; i < 200; i++) { /* it is written when the connection has been closed */
        free(log);
        log = server_log(server);
        if (strstr(log, "nothing-here")) break;
        usleep(5000);
    }
    assert_non_null(strstr(log, "GET /v1/nothing-here 404 "));
    free(log);
}

static void a_traced_request_leaves_a_file_with_its_prompt_and_events(void **state) {
    (void)state;
    Server *s = server_start("--ctx 256 --threads 1 --trace-requests $T/traces");
    Http h = http_post(s, "/v1/completions", "{\"prompt\": \"Once upon a time\", \"max_tokens\": 3, \"temperature\": 0}");
    http_free(&h);
    assert_int_equal(server_stop(s, SIGTERM), 0);
    const Result *r = shell_expect(0, "cat $T/traces/*.jsonl");
    assert_non_null(strstr(r->out, "\"line\":\"request\",\"path\":\"/v1/completions\""));
    assert_non_null(strstr(r->out, "\"text\":\"Once upon a time\""));
    assert_non_null(strstr(r->out, "\"kind\":\"done\""));
    assert_non_null(strstr(r->out, "\"line\":\"sampled\""));
    shell_expect(0, "test \"$(stat -c %a $T/traces $T/traces/*.jsonl | tr '\\n' ' ')\" = '700 600 '"); /* what users wrote is theirs */
}

static void where_no_trace_can_be_written_the_answer_comes_all_the_same(void **state) {
    (void)state;
    Server *s = server_start("--ctx 256 --threads 1 --trace-requests $T/gone");
    shell_expect(0, "rm -rf $T/gone && touch $T/gone"); /* like a disk that is full: nothing can be put there any more */
    for (int i = 0; i < 2; i++) {
        Http h = http_post(s, "/v1/completions", "{\"prompt\": \"Once\", \"max_tokens\": 2}");
        assert_int_equal(h.status, 200);
        http_free(&h);
    }
    server_await(s, "warning: --trace-requests: ");
    assert_int_equal(server_stop(s, SIGTERM), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_count_what_was_answered),
        cmocka_unit_test(metrics_are_what_prometheus_reads),
        cmocka_unit_test(stats_are_one_object_with_the_heat_of_every_expert),
        cmocka_unit_test(who_asks_for_events_gets_them_one_after_the_other),
        cmocka_unit_test(each_request_has_a_line_in_the_log),
        cmocka_unit_test(a_traced_request_leaves_a_file_with_its_prompt_and_events),
        cmocka_unit_test(where_no_trace_can_be_written_the_answer_comes_all_the_same),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
