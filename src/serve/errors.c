/* Errors in the words of each API. */
#include "serve/shapes.h"

static const char *openai_type(int status) {
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    case 503: return "service_unavailable_error";
    default: return status >= 500 ? "server_error" : "invalid_request_error";
    }
}

static const char *openai_code(int status) {
    switch (status) {
    case 401: return "invalid_api_key";
    case 404: return "not_found";
    case 405: return "method_not_allowed";
    case 413: return "request_too_large";
    case 422: return "context_length_exceeded";
    case 429: return "rate_limit_exceeded";
    case 503: return "service_unavailable";
    default: return NULL;
    }
}

json_t *serve_openai_error(const ServeRefusal *no) {
    const char *code = no->code ? no->code : openai_code(no->status);
    return json_pack("{s:{s:s,s:s,s:s?,s:s?}}", "error", "message", no->text, "type", openai_type(no->status), "param",
                     no->field[0] ? no->field : NULL, "code", code);
}

static const char *anthropic_type(int status) {
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "request_too_large";
    case 429: return "rate_limit_error";
    case 503: return "overloaded_error";
    default: return status >= 500 ? "api_error" : "invalid_request_error";
    }
}

json_t *serve_anthropic_error(const ServeRefusal *no) {
    json_t *text = json_sprintf("%s%s%s", no->field, no->field[0] ? ": " : "", no->text); /* there is no other place for the field */
    return json_pack("{s:s,s:{s:s,s:o}}", "type", "error", "error", "type", anthropic_type(no->status), "message", text);
}
