/* The web page: there, whole, and under a policy that lets nothing in from elsewhere. */
#include "support/server.h"

#include <signal.h>
#include <string.h>

static Server *server;

static int start(void **state) {
    (void)state;
    server = server_start("--ctx 64 --threads 1");
    return 0;
}
static int stop(void **state) {
    (void)state;
    return server_stop(server, SIGTERM);
}

/* What the page asks for next: each src= and href= of its own, and each import of a script. */
static void every_file_that_is_named_is_there(void **state) {
    (void)state;
    static const char *const paths[] = {
        "/", "/page/page.css", "/page/main.js", "/page/api.js", "/page/talks.js", "/page/markdown.js", "/page/live.js"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        Http h = http_get(server, paths[i]);
        assert_int_equal(h.status, 200);
        assert_true(h.len > 500);
        assert_non_null(strstr(h.head, "script-src 'self'"));
        assert_null(strstr(h.head, "unsafe"));
        for (const char *at = strstr(h.body, " from \"./"); at; at = strstr(at + 9, " from \"./")) {
            char path[64];
            snprintf(path, sizeof path, "/page/%.*s", (int)strcspn(at + 9, "\""), at + 9);
            Http next = http_get(server, path);
            assert_int_equal(next.status, 200);
            http_free(&next);
        }
        http_free(&h);
    }
}

static void no_text_becomes_markup(void **state) {
    (void)state;
    static const char *const scripts[] = {"/page/main.js", "/page/markdown.js", "/page/live.js"};
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        Http h = http_get(server, scripts[i]);
        assert_null(strstr(h.body, "innerHTML"));
        assert_null(strstr(h.body, "insertAdjacentHTML"));
        assert_null(strstr(h.body, "eval("));
        http_free(&h);
    }
    Http h = http_get(server, "/");
    assert_null(strstr(h.body, "onclick"));
    assert_null(strstr(h.body, "style="));
    assert_null(strstr(h.body, "http")); /* nothing from elsewhere */
    http_free(&h);
}

static void nothing_else_is_served(void **state) {
    (void)state;
    static const char *const paths[] = {"/page/", "/page/../etc/passwd", "/page/%2e%2e/main.js", "/index.html",
                                        "/page/main.js/x"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        Http h = http_get(server, paths[i]);
        assert_int_equal(h.status, 404);
        http_free(&h);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_file_that_is_named_is_there),
        cmocka_unit_test(no_text_becomes_markup),
        cmocka_unit_test(nothing_else_is_served),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
