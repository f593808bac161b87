/* From messages and texts to ids. */
#include "serve/inside.h"

enum { RENDERED = 10 /* times the bytes of the request */ };

/* What the engine says of a text, as a refusal: too much memory is too large a request. */
static bool refuse_text(const sluice_error *failure, const char *field, ServeRefusal *no) {
    return serve_refuse(no, failure->code == SLUICE_MEMORY ? 413 : 400, field, "%s", failure->message);
}

uint64_t serve_turns_bytes(Serve *s) {
    uint64_t wanted = 16 * sizeof(int32_t) * (uint64_t)s->model.info.ctx * (uint64_t)(s->config->parallel + 4), most = s->purse.most / 8;
    if (wanted > most) wanted = most;
    return serve_purse_take(&s->purse, wanted) ? wanted : 0;
}

bool serve_text_tokenize(Serve *s, const char *text, size_t len, unsigned flags, ServePrompt *out, ServeRefusal *no) {
    sluice_error failure = {0};
    pthread_mutex_lock(&s->text);
    int code = sluice_tokenize(s->model.model, text, len, flags, &out->ids, &out->n, &failure);
    pthread_mutex_unlock(&s->text);
    return code == SLUICE_OK || refuse_text(&failure, "", no);
}

/* A prompt may fill the context to the last position: the token behind it is never fed. */
static bool fits(const Serve *s, const ServePrompt *p, const char *field, ServeRefusal *no) {
    if (p->n <= (size_t)s->model.info.ctx) return true;
    return serve_refuse(no, 422, field, "the prompt has %zu tokens, the context holds %d; send less, or start with a larger --ctx", p->n,
                        s->model.info.ctx);
}

/* Where a conversation begins with several system messages, which not every template takes, they become one. False: it does not. */
static bool join_systems(json_t *messages) {
    Buf text = {0};
    size_t n = 0;
    for (const json_t *m; (m = json_array_get(messages, n)); n++) {
        const char *role = json_string_value(json_object_get(m, "role"));
        const json_t *words = json_object_get(m, "content");
        if (!role || !json_is_string(words) || !str_eq_c(str_c(role), "system")) break;
        if (n) buf_puts(&text, "\n\n");
        buf_put(&text, json_string_value(words), json_string_length(words));
    }
    bool ok = n > 1 && !text.failed &&
              json_object_set_new(json_array_get(messages, 0), "content", json_stringn_nocheck(text.ptr, text.len)) == 0;
    for (size_t i = 1; ok && i < n; i++) json_array_remove(messages, 1);
    buf_free(&text);
    return ok;
}

static bool render(Serve *s, ServeAsk *ask, ServeRefusal *no) {
    ask->prompts = MEM_NEW(ServePrompt, 1);
    if (!ask->prompts) return serve_refuse(no, 500, NULL, "out of memory while rendering the messages");
    ask->n_prompts = 1;
    AnswerPrompt made = {0};
    Err err = {0};
    uint64_t bytes = RENDERED * ask->body_bytes; /* what the template makes, and the texts on its way */
    pthread_mutex_lock(&s->text);
    bool room = serve_purse_take(&s->purse, bytes);
    ErrCode code = room ? answer_prompt(s->prompts, ask->chat, &made, &err) : ERR_OK;
    if (code == ERR_RANGE && join_systems(json_object_get(ask->chat, "messages")))
        code = answer_prompt(s->prompts, ask->chat, &made, &err);
    if (room) serve_purse_give(&s->purse, bytes);
    pthread_mutex_unlock(&s->text);
    if (!room) return serve_purse_refuse(&s->purse, bytes, "rendering the messages", no);
    if (code) return serve_refuse(no, code == ERR_MEMORY ? 413 : 400, ask->chat_name, "%s", err.text);
    ask->prompts[0] = (ServePrompt){made.ids.ids, made.ids.n};
    ask->parts = made.parts;
    if (made.ids.n == 0) return serve_refuse(no, 400, ask->chat_name, "the messages are rendered to nothing");
    if (!fits(s, &ask->prompts[0], ask->chat_name, no)) return false;
    pthread_mutex_lock(&s->text);
    bool ok = serve_rules_find(&s->rules, &s->purse, &s->model, ask, no);
    pthread_mutex_unlock(&s->text);
    return ok;
}

bool serve_text_prompts(Serve *s, ServeAsk *ask, ServeRefusal *no) {
    if (ask->chat) return render(s, ask, no);
    for (size_t i = 0; i < ask->n_prompts; i++) {
        if (ask->texts && !serve_text_tokenize(s, ask->texts[i].ptr, ask->texts[i].len, 0, &ask->prompts[i], no)) return false;
        if (!fits(s, &ask->prompts[i], "prompt", no)) return false;
        if (ask->prompts[i].n == 0) return serve_refuse(no, 400, "prompt", "'prompt' has no tokens; there is nothing to continue");
    }
    return true;
}
