/* The table of paths. */
#include "serve/http.h"

#include <stdio.h>
#include <string.h>

/* clang-format off */
static const ServeRoute routes[] = {
    {.method = "GET",  .path = "/", .handle = serve_page, .open = true},
    {.method = "GET",  .path = "/page/*", .handle = serve_page, .open = true},
    {.method = "GET",  .path = "/health", .handle = serve_health, .open = true},
    {.method = "GET",  .path = "/v1/models", .handle = serve_models},
    {.method = "GET",  .path = "/v1/models/*", .handle = serve_model},
    {.method = "POST", .path = "/v1/chat/completions", .shape = &SERVE_OPENAI_CHAT},
    {.method = "POST", .path = "/v1/completions", .shape = &SERVE_OPENAI_COMPLETIONS},
    {.method = "POST", .path = "/v1/responses", .shape = &SERVE_OPENAI_RESPONSES},
    {.method = "POST", .path = "/v1/messages", .shape = &SERVE_ANTHROPIC},
    {.method = "POST", .path = "/v1/messages/count_tokens", .handle = serve_count, .shape = &SERVE_ANTHROPIC_COUNT},
    {.method = "GET",  .path = "/metrics", .handle = serve_metrics},
    {.method = "GET",  .path = "/stats", .handle = serve_stats},
    {.method = "POST", .path = "/tokenize", .handle = serve_tokenize},
    {.method = "POST", .path = "/detokenize", .handle = serve_detokenize},
    {.method = "GET",  .path = "/tokenizer_info", .handle = serve_tokenizer_info},
};
/* clang-format on */

static bool is_path(const char *pattern, const char *path) {
    size_t len = strlen(pattern);
    if (pattern[len - 1] != '*') return strcmp(pattern, path) == 0;
    return strncmp(pattern, path, len - 1) == 0 && path[len - 1] != 0;
}

/* A path has one method. */
const ServeRoute *serve_route(const char *method, const char *path, ServeRefusal *no) {
    static const ServeRoute preflight = {.method = "OPTIONS", .handle = serve_preflight, .open = true};
    char allowed[sizeof no->allow] = "";
    for (size_t i = 0; i < COUNT_OF(routes); i++) {
        if (!is_path(routes[i].path, path)) continue;
        /* HEAD is GET whose body MHD leaves out */
        if (strcmp(routes[i].method, strcmp(method, "HEAD") == 0 ? "GET" : method) == 0) return &routes[i];
        snprintf(allowed, sizeof allowed, "%s, OPTIONS", strcmp(routes[i].method, "GET") == 0 ? "GET, HEAD" : routes[i].method);
    }
    bool asks = allowed[0] && strcmp(method, "OPTIONS") == 0;
    if (!allowed[0]) (void)serve_refuse(no, 404, NULL, "there is nothing at %.120s", path);
    else if (!asks) (void)serve_refuse(no, 405, NULL, "%.20s is not for this path, which takes %s", method, allowed);
    snprintf(no->allow, sizeof no->allow, "%s", allowed);
    return asks ? &preflight : NULL;
}

json_t *serve_route_error(const char *path, const ServeRoute *route, const ServeRefusal *no) {
    if (route && route->shape) return route->shape->error(no);
    return strncmp(path, "/v1/messages", 12) == 0 ? serve_anthropic_error(no) : serve_openai_error(no);
}
