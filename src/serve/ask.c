/* Asks and refusals: made, filled and let go. */
#include "serve/rule.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool serve_refuse(ServeRefusal *no, int status, const char *field, const char *fmt, ...) {
    *no = (ServeRefusal){.status = status};
    snprintf(no->field, sizeof no->field, "%s", field ? field : "");
    va_list args;
    va_start(args, fmt);
    vsnprintf(no->text, sizeof no->text, fmt, args);
    va_end(args);
    return false;
}

void serve_ask_init(ServeAsk *ask, const ServeModel *model, json_t *body) {
    *ask = (ServeAsk){.body = json_incref(body), .choices = 1, .max_tokens = -1, .sampling = model->sampling, .logprobs = -1};
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
