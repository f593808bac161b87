/* Anthropic's /v1/messages: writing. An answer is a list of blocks: thinking, text, uses of tools; a stream opens and
 * closes each. */
#include "serve/anthropic.h"

static const char *stop_reason(ServeFinish finish) {
    switch (finish) {
    case SERVE_LENGTH:
        return "max_tokens";
    case SERVE_STOP_STRING:
        return "stop_sequence";
    case SERVE_TOOL_CALLS:
        return "tool_use";
    default:
        return "end_turn";
    }
}

/* What was known already is counted apart from the rest of the prompt. */
static json_t *usage_json(const ServeUsage *u) {
    return json_pack("{s:i,s:i,s:i,s:i}", "input_tokens", u->prompt - u->cached, "cache_creation_input_tokens", 0,
                     "cache_read_input_tokens", u->cached, "output_tokens", u->answer);
}

static json_t *message_json(const ServeReply *reply, json_t *content, const char *reason, json_t *stop,
                            const ServeUsage *usage) {
    return json_pack("{s:o,s:s,s:s,s:s,s:o,s:s?,s:o,s:o}", "id", serve_json_id(reply, "msg_"), "type", "message", "role",
                     "assistant", "model", reply->model->name, "content", content, "stop_reason", reason,
                     "stop_sequence", stop, "usage", usage_json(usage));
}

/* ---- whole ------------------------------------------------------------------------------------------------------- */

static json_t *text_of(const Buf *b) {
    return serve_json_text(b->ptr, b->len);
}

static json_t *use_of(const ServeCall *call) {
    json_t *input = call->arguments.len ? json_loadb(call->arguments.ptr, call->arguments.len, 0, NULL) : NULL;
    return json_pack("{s:s,s:o,s:o,s:o}", "type", "tool_use", "id", text_of(&call->id), "name", text_of(&call->name),
                     "input", input ? input : json_object());
}

json_t *serve_anthropic_whole(ServeReply *reply, const ServeAnswer *a) {
    const ServeChoice *c = &a->choices[0];
    json_t *content = json_array();
    if (c->reasoning.len)
        json_array_append_new(content, json_pack("{s:s,s:o,s:s}", "type", "thinking", "thinking",
                                                 text_of(&c->reasoning), "signature", ""));
    if (c->text.len) json_array_append_new(content, json_pack("{s:s,s:o}", "type", "text", "text", text_of(&c->text)));
    for (size_t i = 0; i < c->n_calls; i++) json_array_append_new(content, use_of(&c->calls[i]));
    json_t *stop = c->finish == SERVE_STOP_STRING ? text_of(&c->stop) : json_null();
    return message_json(reply, content, stop_reason(c->finish), stop, &a->usage);
}

/* ---- a stream ---------------------------------------------------------------------------------------------------- */

static void block_delta(const ServeAnthropicStream *s, Buf *out, const char *type, const char *field, json_t *text) {
    serve_put_event(out, "content_block_delta",
                    json_pack("{s:s,s:i,s:{s:s,s:o}}", "type", "content_block_delta", "index", s->index, "delta",
                              "type", type, field, text));
}

static void close_block(ServeAnthropicStream *s, Buf *out) {
    if (s->open == SERVE_BEGIN) return;
    if (s->open == SERVE_REASONING) block_delta(s, out, "signature_delta", "signature", json_string(""));
    serve_put_event(out, "content_block_stop", json_pack("{s:s,s:i}", "type", "content_block_stop", "index", s->index));
    s->open = SERVE_BEGIN;
    s->index++;
}

static void open_block(ServeAnthropicStream *s, ServeEventKind kind, Buf *out, json_t *block) {
    close_block(s, out);
    serve_put_event(
        out, "content_block_start",
        json_pack("{s:s,s:i,s:o}", "type", "content_block_start", "index", s->index, "content_block", block));
    s->open = kind;
}

static void put_text(ServeAnthropicStream *s, const ServeEvent *e, Buf *out) {
    bool thinks = e->kind == SERVE_REASONING;
    if (e->text.len == 0) return;
    if (s->open != e->kind)
        open_block(s, e->kind, out,
                   thinks ? json_pack("{s:s,s:s,s:s}", "type", "thinking", "thinking", "", "signature", "")
                          : json_pack("{s:s,s:s}", "type", "text", "text", ""));
    block_delta(s, out, thinks ? "thinking_delta" : "text_delta", thinks ? "thinking" : "text",
                serve_json_str(e->text));
}

static void put_finish(ServeAnthropicStream *s, const ServeEvent *e, Buf *out) {
    json_t *stop = e->finish == SERVE_STOP_STRING ? serve_json_str(e->stop) : json_null();
    close_block(s, out);
    serve_put_event(out, "message_delta",
                    json_pack("{s:s,s:{s:s,s:o},s:o}", "type", "message_delta", "delta", "stop_reason",
                              stop_reason(e->finish), "stop_sequence", stop, "usage", usage_json(&e->usage)));
}

void serve_anthropic_stream(ServeReply *reply, const ServeEvent *e, Buf *out) {
    ServeAnthropicStream *s = reply->own;
    switch (e->kind) {
    case SERVE_BEGIN:
        s->open = SERVE_BEGIN;
        serve_put_event(out, "message_start",
                        json_pack("{s:s,s:o}", "type", "message_start", "message",
                                  message_json(reply, json_array(), NULL, json_null(), &e->usage)));
        break;
    case SERVE_TEXT:
    case SERVE_REASONING:
        put_text(s, e, out);
        break;
    case SERVE_TOOL_BEGIN:
        open_block(s, e->kind, out,
                   json_pack("{s:s,s:o,s:o,s:{}}", "type", "tool_use", "id", serve_json_str(e->tool_id), "name",
                             serve_json_str(e->tool_name), "input"));
        break;
    case SERVE_TOOL_ARGS:
        block_delta(s, out, "input_json_delta", "partial_json", serve_json_str(e->text));
        break;
    case SERVE_TOOL_END:
        close_block(s, out);
        break;
    case SERVE_FINISH:
        put_finish(s, e, out);
        break;
    case SERVE_DONE:
        serve_put_event(out, "message_stop", json_pack("{s:s}", "type", "message_stop"));
        break;
    case SERVE_FAILED:
        serve_put_event(out, "error", serve_anthropic_error(e->refusal));
        break;
    }
}
