/* OpenAI's /v1/responses: writing. An answer is a list of items: reasoning, a message, calls of functions; a stream
 * numbers its events, opens and closes each item, and repeats the whole at its end. */
#include "serve/openai_responses.h"

#include <math.h>
#include <string.h>

static json_t *text_of(const Buf *b) {
    return serve_json_text(b->ptr, b->len);
}

/* "PREFIX_HEX" of an item, by its place. */
static json_t *item_id(const ServeReply *reply, const char *prefix, size_t index) {
    return json_sprintf("%s_%016llx%02zx", prefix, (unsigned long long)reply->number, index);
}

/* ---- items ------------------------------------------------------------------------------------------------------- */

static json_t *text_part(json_t *text) {
    return json_pack("{s:s,s:o,s:[],s:[]}", "type", "output_text", "text", text, "annotations", "logprobs");
}
static json_t *thought_part(json_t *text) {
    return json_pack("{s:s,s:o}", "type", "reasoning_text", "text", text);
}

static json_t *message_item(const ServeReply *reply, size_t index, const char *status, json_t *parts) {
    return json_pack("{s:o,s:s,s:s,s:s,s:o}", "id", item_id(reply, "msg", index), "type", "message", "status", status,
                     "role", "assistant", "content", parts);
}

static json_t *reasoning_item(const ServeReply *reply, size_t index, const char *status, json_t *parts) {
    return json_pack("{s:o,s:s,s:s,s:[],s:o}", "id", item_id(reply, "rs", index), "type", "reasoning", "status", status,
                     "summary", "content", parts);
}

static json_t *call_item(const ServeReply *reply, size_t index, const char *status, json_t *call_id, json_t *name,
                         json_t *arguments) {
    return json_pack("{s:o,s:s,s:s,s:o,s:o,s:o}", "id", item_id(reply, "fc", index), "type", "function_call", "status",
                     status, "call_id", call_id, "name", name, "arguments", arguments);
}

/* ---- the response ------------------------------------------------------------------------------------------------ */

static json_t *usage_json(const ServeUsage *u) {
    return json_pack("{s:i,s:{s:i},s:i,s:{s:i},s:i}", "input_tokens", u->prompt, "input_tokens_details",
                     "cached_tokens", u->cached, "output_tokens", u->answer, "output_tokens_details",
                     "reasoning_tokens", u->reasoning, "total_tokens", u->prompt + u->answer);
}

/* A field of the request repeated, or what it means where it is absent. */
static void repeat(json_t *response, const ServeReply *reply, const char *name, json_t *otherwise) {
    json_t *given = json_object_get(reply->ask->body, name);
    if (given && !json_is_null(given))
        json_object_set(response, name, given);
    else
        json_object_set(response, name, otherwise);
    json_decref(otherwise);
}

/* 0.9 as 0.9, not as the double nearest to the float. */
static json_t *near(float value) { return json_real(round((double)value * 1e6) / 1e6); }

/* usage NULL: not known yet. Takes over output. */
static json_t *response_json(const ServeReply *reply, const char *status, json_t *output, const ServeUsage *usage) {
    bool cut = strcmp(status, "incomplete") == 0;
    json_t *r =
        json_pack("{s:o,s:s,s:I,s:s,s:n,s:o,s:s,s:o,s:n,s:b,s:s}", "id", serve_json_id(reply, "resp_"), "object",
                  "response", "created_at", (json_int_t)reply->created, "status", status, "error", "incomplete_details",
                  cut ? json_pack("{s:s}", "reason", "max_output_tokens") : json_null(), "model", reply->model->name,
                  "output", output, "previous_response_id", "store", 0, "truncation", "disabled");
    if (!r) return NULL;
    repeat(r, reply, "instructions", json_null());
    repeat(r, reply, "max_output_tokens", json_null());
    repeat(r, reply, "metadata", json_object());
    repeat(r, reply, "parallel_tool_calls", json_true());
    repeat(r, reply, "reasoning", json_pack("{s:n,s:n}", "effort", "summary"));
    repeat(r, reply, "temperature", near(reply->ask->sampling.temperature));
    repeat(r, reply, "text", json_pack("{s:{s:s}}", "format", "type", "text"));
    repeat(r, reply, "tool_choice", json_string("auto"));
    repeat(r, reply, "tools", json_array());
    repeat(r, reply, "top_p", near(reply->ask->sampling.top_p));
    repeat(r, reply, "user", json_null());
    json_object_set_new(r, "usage", usage ? usage_json(usage) : json_null());
    return r;
}

json_t *serve_responses_whole(ServeReply *reply, const ServeAnswer *a) {
    const ServeChoice *c = &a->choices[0];
    json_t *output = json_array();
    const char *status = c->finish == SERVE_LENGTH ? "incomplete" : "completed";
    bool thoughts_alone = c->reasoning.len && !c->text.len && !c->n_calls;
    if (c->reasoning.len)
        json_array_append_new(output, reasoning_item(reply, 0, thoughts_alone ? status : "completed",
                                                     json_pack("[o]", thought_part(text_of(&c->reasoning)))));
    if (c->text.len || (!c->reasoning.len && c->n_calls == 0)) /* an empty answer is a message too */
        json_array_append_new(output, message_item(reply, json_array_size(output), status,
                                                   json_pack("[o]", text_part(text_of(&c->text)))));
    for (size_t i = 0; i < c->n_calls; i++)
        json_array_append_new(output, call_item(reply, json_array_size(output), "completed", text_of(&c->calls[i].id),
                                                text_of(&c->calls[i].name), text_of(&c->calls[i].arguments)));
    return response_json(reply, status, output, &a->usage);
}

/* ---- a stream ---------------------------------------------------------------------------------------------------- */

/* Sends an event; its type and number are put in front. */
static void tell(ServeResponsesStream *s, Buf *out, const char *type, json_t *value) {
    json_t *event = json_pack("{s:s,s:i}", "type", type, "sequence_number", s->sequence++);
    if (event && value) json_object_update(event, value);
    serve_put_event(out, type, value ? event : NULL);
    json_decref(value);
}

static size_t index_of(const ServeResponsesStream *s) {
    return json_array_size(s->done);
}

/* The open item as it is now, status "in_progress" or another. */
static json_t *open_item(const ServeReply *reply, const ServeResponsesStream *s, const char *status) {
    bool begun = strcmp(status, "in_progress") == 0;
    switch (s->open) {
    case SERVE_REASONING:
        return reasoning_item(reply, index_of(s), status,
                              begun ? json_array() : json_pack("[o]", thought_part(text_of(&s->text))));
    case SERVE_TOOL_BEGIN:
        return call_item(reply, index_of(s), status, text_of(&s->call_id), text_of(&s->name), text_of(&s->text));
    default:
        return message_item(reply, index_of(s), status,
                            begun ? json_array() : json_pack("[o]", text_part(text_of(&s->text))));
    }
}

static const char *id_prefix(ServeEventKind kind) {
    return kind == SERVE_REASONING ? "rs" : kind == SERVE_TOOL_BEGIN ? "fc" : "msg";
}

/* Where the open item stands, with one more field. Takes over value. */
static json_t *place(const ServeReply *reply, const ServeResponsesStream *s, const char *field, json_t *value) {
    json_t *at = json_pack("{s:o,s:i,s:o}", "item_id", item_id(reply, id_prefix(s->open), index_of(s)), "output_index",
                           (int)index_of(s), field, value);
    if (at && s->open != SERVE_TOOL_BEGIN) json_object_set_new(at, "content_index", json_integer(0));
    return at;
}

static void begin_item(const ServeReply *reply, ServeResponsesStream *s, ServeEventKind kind, Buf *out) {
    s->open = kind;
    buf_clear(&s->text);
    tell(s, out, "response.output_item.added",
         json_pack("{s:i,s:o}", "output_index", (int)index_of(s), "item", open_item(reply, s, "in_progress")));
    if (kind == SERVE_TOOL_BEGIN) return;
    json_t *nothing = json_string("");
    tell(s, out, "response.content_part.added",
         place(reply, s, "part", kind == SERVE_TEXT ? text_part(nothing) : thought_part(nothing)));
}

static void end_item(const ServeReply *reply, ServeResponsesStream *s, const char *status, Buf *out) {
    ServeEventKind kind = s->open;
    if (kind == SERVE_BEGIN) return;
    json_t *text = text_of(&s->text);
    if (kind == SERVE_TOOL_BEGIN) {
        json_t *done = place(reply, s, "arguments", text);
        if (done) json_object_set_new(done, "name", text_of(&s->name));
        tell(s, out, "response.function_call_arguments.done", done);
    } else {
        json_t *done = place(reply, s, "text", text);
        if (done && kind == SERVE_TEXT) json_object_set_new(done, "logprobs", json_array());
        tell(s, out, kind == SERVE_TEXT ? "response.output_text.done" : "response.reasoning_text.done", done);
        json_t *part = kind == SERVE_TEXT ? text_part(text_of(&s->text)) : thought_part(text_of(&s->text));
        tell(s, out, "response.content_part.done", place(reply, s, "part", part));
    }
    json_t *item = open_item(reply, s, status);
    tell(s, out, "response.output_item.done", json_pack("{s:i,s:O}", "output_index", (int)index_of(s), "item", item));
    json_array_append_new(s->done, item);
    s->open = SERVE_BEGIN;
}

static void add_text(const ServeReply *reply, ServeResponsesStream *s, const ServeEvent *e, Buf *out) {
    if (e->text.len == 0) return;
    if (e->kind != SERVE_TOOL_ARGS && s->open != e->kind) {
        end_item(reply, s, "completed", out);
        begin_item(reply, s, e->kind, out);
    }
    buf_put(&s->text, e->text.ptr, e->text.len);
    json_t *delta = place(reply, s, "delta", serve_json_str(e->text));
    if (delta && e->kind == SERVE_TEXT) json_object_set_new(delta, "logprobs", json_array());
    tell(s, out,
         e->kind == SERVE_TEXT        ? "response.output_text.delta"
         : e->kind == SERVE_REASONING ? "response.reasoning_text.delta"
                                      : "response.function_call_arguments.delta",
         delta);
}

static void begin_call(const ServeReply *reply, ServeResponsesStream *s, const ServeEvent *e, Buf *out) {
    end_item(reply, s, "completed", out);
    buf_clear(&s->call_id);
    buf_clear(&s->name);
    buf_put(&s->call_id, e->tool_id.ptr, e->tool_id.len);
    buf_put(&s->name, e->tool_name.ptr, e->tool_name.len);
    begin_item(reply, s, SERVE_TOOL_BEGIN, out);
}

static void begin_response(const ServeReply *reply, ServeResponsesStream *s, Buf *out) {
    s->open = SERVE_BEGIN;
    s->done = json_array();
    tell(s, out, "response.created",
         json_pack("{s:o}", "response", response_json(reply, "in_progress", json_array(), NULL)));
    tell(s, out, "response.in_progress",
         json_pack("{s:o}", "response", response_json(reply, "in_progress", json_array(), NULL)));
}

static void finish(const ServeReply *reply, ServeResponsesStream *s, const ServeEvent *e, Buf *out) {
    s->finish = e->finish;
    if (s->open == SERVE_BEGIN && json_array_size(s->done) == 0)
        begin_item(reply, s, SERVE_TEXT, out); /* an empty answer is a message too */
    end_item(reply, s, e->finish == SERVE_LENGTH ? "incomplete" : "completed", out);
}

static void end_response(const ServeReply *reply, ServeResponsesStream *s, const ServeEvent *e, Buf *out) {
    const char *status = s->finish == SERVE_LENGTH ? "incomplete" : "completed";
    const char *type = s->finish == SERVE_LENGTH ? "response.incomplete" : "response.completed";
    tell(s, out, type, json_pack("{s:o}", "response", response_json(reply, status, json_incref(s->done), &e->usage)));
}

static void fail(const ServeReply *reply, ServeResponsesStream *s, const ServeEvent *e, Buf *out) {
    json_t *r = response_json(reply, "failed", s->done ? json_incref(s->done) : json_array(), NULL);
    const char *code = e->refusal->code ? e->refusal->code : "server_error";
    if (r) json_object_set_new(r, "error", json_pack("{s:s,s:s}", "code", code, "message", e->refusal->text));
    tell(s, out, "response.failed", json_pack("{s:o}", "response", r));
}

void serve_responses_stream(ServeReply *reply, const ServeEvent *e, Buf *out) {
    ServeResponsesStream *s = reply->own;
    switch (e->kind) {
    case SERVE_BEGIN:
        begin_response(reply, s, out);
        break;
    case SERVE_TEXT:
    case SERVE_REASONING:
    case SERVE_TOOL_ARGS:
        add_text(reply, s, e, out);
        break;
    case SERVE_TOOL_BEGIN:
        begin_call(reply, s, e, out);
        break;
    case SERVE_TOOL_END:
        end_item(reply, s, "completed", out);
        break;
    case SERVE_FINISH:
        finish(reply, s, e, out);
        break;
    case SERVE_DONE:
        end_response(reply, s, e, out);
        break;
    case SERVE_FAILED:
        fail(reply, s, e, out);
        break;
    }
}

void serve_responses_close(void *own) {
    ServeResponsesStream *s = own;
    json_decref(s->done);
    buf_free(&s->text);
    buf_free(&s->call_id);
    buf_free(&s->name);
}
