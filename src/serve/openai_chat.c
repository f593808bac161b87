/* OpenAI's /v1/chat/completions. */
#include "serve/openai_messages.h"
#include "serve/shapes.h"

#include <math.h>

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* logprobs says whether, top_logprobs how many: kept until both are known. */
typedef struct Wish {
    bool logprobs;
    int64_t top;
} Wish;

static bool read_logprobs(ServeReading *r, const char *name, json_t *value) {
    return serve_want_bool(r, name, value, &((Wish *)r->own)->logprobs);
}
static bool read_top_logprobs(ServeReading *r, const char *name, json_t *value) {
    return serve_want_int(r, name, value, 0, SERVE_MOST_LOGPROBS, &((Wish *)r->own)->top);
}

static bool read_modalities(ServeReading *r, const char *name, json_t *value) {
    if (!json_is_array(value)) return serve_refuse(r->no, 400, name, "'%s' must be a list", name);
    for (size_t i = 0; i < json_array_size(value); i++) {
        const char *word = json_string_value(json_array_get(value, i));
        if (!word || !str_eq_c(str_c(word), "text")) return serve_refuse(r->no, 400, name, "'%s' may be [\"text\"] alone", name);
    }
    return true;
}

/* Asks for a search even when it is empty. */
static bool read_search(ServeReading *r, const char *name, json_t *value) {
    (void)value;
    return serve_refuse(r->no, 400, name, "'%s' is not supported", name);
}

/* clang-format off */
static const ServeField fields[] = {
    {"model", serve_field_idle}, {"user", serve_field_idle}, {"metadata", serve_field_idle}, {"store", serve_field_idle},
    {"service_tier", serve_field_idle}, {"prompt_cache_key", serve_field_idle}, {"prompt_cache_retention", serve_field_idle},
    {"prompt_cache_options", serve_field_idle}, {"safety_identifier", serve_field_idle}, {"prediction", serve_field_idle},
    {"messages", serve_field_messages},
    {"tools", serve_field_tools}, {"tool_choice", serve_field_tool_choice}, {"parallel_tool_calls", serve_field_parallel_tools},
    {"response_format", serve_field_response_format},
    {"reasoning_effort", serve_field_effort}, {"chat_template_kwargs", serve_field_template_kwargs},
    {"max_tokens", serve_field_max_tokens}, {"max_completion_tokens", serve_field_max_tokens},
    {"n", serve_field_n}, {"seed", serve_field_seed}, {"stop", serve_field_stop},
    {"stream", serve_field_stream}, {"stream_options", serve_field_stream_options},
    {"temperature", serve_field_temperature}, {"top_p", serve_field_top_p}, {"top_k", serve_field_top_k}, {"min_p", serve_field_min_p},
    {"presence_penalty", serve_field_presence}, {"frequency_penalty", serve_field_frequency},
    {"repetition_penalty", serve_field_repeat}, {"repeat_penalty", serve_field_repeat},
    {"logprobs", read_logprobs}, {"top_logprobs", read_top_logprobs},
    {"modalities", read_modalities},
    {"logit_bias", serve_field_empty}, {"functions", serve_field_empty}, {"function_call", serve_field_empty},
    {"audio", serve_field_empty}, {"web_search_options", read_search}, {"verbosity", serve_field_verbosity},
};
/* clang-format on */

static bool read(const ServeModel *model, json_t *body, ServeAsk *ask, ServeRefusal *no) {
    Wish wish = {.top = -1};
    ServeReading r = {.model = model, .ask = ask, .no = no, .own = &wish};
    if (!serve_read_fields(&r, body, fields, COUNT_OF(fields))) return false;
    json_t *newer = json_object_get(body, "max_completion_tokens"); /* goes before max_tokens, wherever it stands */
    if (newer && !json_is_null(newer) && !serve_field_max_tokens(&r, "max_completion_tokens", newer)) return false;
    if (wish.top > 0 && !wish.logprobs)
        return serve_refuse(no, 400, "top_logprobs", "'top_logprobs' needs 'logprobs': true");
    if (wish.logprobs) ask->logprobs = wish.top > 0 ? (int)wish.top : 0;
    if (ask->max_tokens == 0)
        return serve_refuse(no, 400, ask->max_tokens_name, "'%s' is 0, which asks for nothing", ask->max_tokens_name);
    return serve_chat_check(ask, no);
}

/* ---- writing: likelihoods ---------------------------------------------------------------------------------------- */

static json_t *token_json(const ServeModel *model, const ServeLikely *likely) {
    Buf bytes = {0};
    serve_token_bytes(model, likely->id, &bytes);
    json_t *list = json_array();
    for (size_t i = 0; i < bytes.len; i++) json_array_append_new(list, json_integer((unsigned char)bytes.ptr[i]));
    json_t *token = json_pack("{s:o,s:f,s:o}", "token", serve_json_text(bytes.ptr, bytes.len), "logprob",
                              isnan(likely->logprob) ? 0.0 : likely->logprob, "bytes", list);
    buf_free(&bytes);
    return token;
}

/* null where nobody asked. rows: [n][1 + n_top] */
static json_t *likelihoods(const ServeReply *reply, const ServeLikely *rows, size_t n, int n_top) {
    if (reply->ask->logprobs < 0) return json_null();
    json_t *content = json_array();
    for (size_t i = 0; i < n; i++) {
        const ServeLikely *row = rows + i * (size_t)(1 + n_top);
        json_t *token = token_json(reply->model, row), *top = json_array();
        for (int k = 1; k <= n_top && row[k].id >= 0; k++) json_array_append_new(top, token_json(reply->model, &row[k]));
        json_object_set_new(token, "top_logprobs", top);
        json_array_append_new(content, token);
    }
    return json_pack("{s:o,s:n}", "content", content, "refusal");
}

/* ---- writing: a stream -------------------------------------------------------------------------------------------- */

static json_t *frame(const ServeReply *reply, const char *object, json_t *choices) {
    return json_pack("{s:o,s:s,s:I,s:s,s:o}", "id", serve_json_id(reply, "chatcmpl-"), "object", object, "created",
                     (json_int_t)reply->created, "model", reply->model->name, "choices", choices);
}

/* What an event adds to the message; NULL: nothing. */
static json_t *delta_of(const ServeEvent *e) {
    switch (e->kind) {
    case SERVE_BEGIN: return json_pack("{s:s,s:s}", "role", "assistant", "content", "");
    case SERVE_TEXT: return json_pack("{s:o}", "content", serve_json_str(e->text));
    case SERVE_REASONING: return json_pack("{s:o}", "reasoning_content", serve_json_str(e->text));
    case SERVE_TOOL_BEGIN:
        return json_pack("{s:[{s:i,s:o,s:s,s:{s:o,s:s}}]}", "tool_calls", "index", e->tool, "id", serve_json_str(e->tool_id), "type",
                         "function", "function", "name", serve_json_str(e->tool_name), "arguments", "");
    case SERVE_TOOL_ARGS:
        return json_pack("{s:[{s:i,s:{s:o}}]}", "tool_calls", "index", e->tool, "function", "arguments", serve_json_str(e->text));
    case SERVE_FINISH: return json_object();
    default: return NULL;
    }
}

static void stream(ServeReply *reply, const ServeEvent *e, Buf *out) {
    bool usage = reply->ask->stream_usage;
    if (e->kind == SERVE_FAILED) {
        serve_put_event(out, NULL, serve_openai_error(e->refusal));
        return;
    }
    json_t *delta = delta_of(e), *chunk = NULL;
    if (delta) {
        json_t *rows = e->n_rows ? likelihoods(reply, e->rows, e->n_rows, e->n_top) : json_null();
        const char *finish = e->kind == SERVE_FINISH ? serve_openai_finish(e->finish) : NULL;
        json_t *choice = json_pack("{s:i,s:o,s:o,s:s?}", "index", e->choice, "delta", delta, "logprobs", rows, "finish_reason", finish);
        chunk = frame(reply, "chat.completion.chunk", json_pack("[o]", choice));
        if (usage && chunk) json_object_set_new(chunk, "usage", json_null());
    } else if (e->kind == SERVE_DONE && usage) {
        chunk = frame(reply, "chat.completion.chunk", json_array());
        if (chunk) json_object_set_new(chunk, "usage", serve_openai_usage(&e->usage));
    }
    if (delta || chunk) serve_put_event(out, NULL, chunk);
    if (e->kind == SERVE_DONE) buf_puts(out, "data: [DONE]\n\n");
}

/* ---- writing: the whole ------------------------------------------------------------------------------------------- */

static json_t *text_of(const Buf *b) { return serve_json_text(b->ptr, b->len); }

static json_t *message_of(const ServeChoice *c) {
    json_t *calls = json_array();
    for (size_t i = 0; i < c->n_calls; i++)
        json_array_append_new(calls, json_pack("{s:o,s:s,s:{s:o,s:o}}", "id", text_of(&c->calls[i].id), "type", "function", "function",
                                               "name", text_of(&c->calls[i].name), "arguments", text_of(&c->calls[i].arguments)));
    /* beside calls no text is null, as clients expect it */
    json_t *content = c->text.len == 0 && c->n_calls ? json_null() : text_of(&c->text);
    json_t *message = json_pack("{s:s,s:o,s:n}", "role", "assistant", "content", content, "refusal");
    if (message && c->reasoning.len) json_object_set_new(message, "reasoning_content", text_of(&c->reasoning));
    if (message && c->n_calls) json_object_set(message, "tool_calls", calls);
    json_decref(calls);
    return message;
}

static json_t *whole(ServeReply *reply, const ServeAnswer *a) {
    json_t *choices = json_array();
    for (size_t i = 0; i < a->n_choices; i++) {
        const ServeChoice *c = &a->choices[i];
        json_array_append_new(choices, json_pack("{s:i,s:o,s:o,s:s}", "index", (int)i, "message", message_of(c), "logprobs",
                                                 likelihoods(reply, c->rows, c->n_rows, a->n_top), "finish_reason",
                                                 serve_openai_finish(c->finish)));
    }
    json_t *answer = frame(reply, "chat.completion", choices);
    if (answer) json_object_set_new(answer, "usage", serve_openai_usage(&a->usage));
    return answer;
}

const ServeShape SERVE_OPENAI_CHAT = {
    .read = read, .stream = stream, .whole = whole, .error = serve_openai_error, .alive = ": still working\n\n"};
