/* Asks and refusals: made, filled and let go. */
#include "serve/rule.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void serve_clean(char *text) {
    utf8_clean(text);
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7F) *c = ' ';
}

bool serve_refuse(ServeRefusal *no, int status, const char *field, const char *fmt, ...) {
    *no = (ServeRefusal){.status = status};
    snprintf(no->field, sizeof no->field, "%s", field ? field : "");
    va_list args;
    va_start(args, fmt);
    vsnprintf(no->text, sizeof no->text, fmt, args);
    va_end(args);
    serve_clean(no->field);
    serve_clean(no->text);
    return false;
}

bool serve_refuse_inside(ServeRefusal *no, const char *fmt, ...) {
    char way[64];
    Buf field = {0};
    va_list args;
    va_start(args, fmt);
    vsnprintf(way, sizeof way, fmt, args);
    va_end(args);
    buf_printf(&field, "%s%s%s", way, no->field[0] && no->field[0] != '[' ? "." : "", no->field);
    size_t n = field.len < sizeof no->field ? field.len : sizeof no->field - 1;
    if (!field.failed && n) memcpy(no->field, field.ptr, n);
    if (!field.failed) no->field[n] = 0;
    buf_free(&field);
    serve_clean(no->field);
    return false;
}

void serve_ask_init(ServeAsk *ask, const ServeModel *model, json_t *body) {
    *ask = (ServeAsk){.body = json_incref(body), .choices = 1, .max_tokens = -1, .sampling = model->sampling, .logprobs = -1,
                      .chat_name = "messages", .format_name = "response_format"};
}

void serve_ask_free(ServeAsk *ask) {
    for (size_t i = 0; ask->prompts && i < ask->n_prompts; i++) mem_free(ask->prompts[i].ids);
    mem_free(ask->prompts);
    mem_free(ask->texts);
    serve_rule_release(ask->rule);
    json_decref(ask->chat);
    json_decref(ask->body);
    *ask = (ServeAsk){.logprobs = -1};
}
