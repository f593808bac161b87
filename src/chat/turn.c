/* One turn: the messages become ids, what the session does not know of them is fed, and the answer is sampled. */
#include "chat/inside.h"

#include <stdio.h>
#include <string.h>

json_t *chat_message(const char *role, const char *text, size_t len) {
    return json_pack("{s:s,s:s%}", "role", role, "content", text ? text : "", len);
}

bool chat_json(const json_t *value, Buf *out) {
    bool ok = text_json_put(value, out);
    buf_putc(out, 0);
    return ok && !out->failed;
}

void chat_turn_free(ChatTurn *turn) {
    buf_free(&turn->text);
    buf_free(&turn->thoughts);
    json_decref(turn->calls);
    *turn = (ChatTurn){0};
}

/* {"messages": [system, ...], "kwargs": {...}} */
static json_t *make_request(const Chat *c, json_t *messages) {
    json_t *all = json_array(), *kwargs = json_pack("{s:b}", "add_generation_prompt", 1);
    bool ok = all && kwargs;
    if (ok && c->system.len) ok = json_array_append_new(all, chat_message("system", c->system.ptr, c->system.len)) == 0;
    ok = ok && json_array_extend(all, messages) == 0;
    if (ok && c->think != CHAT_THINK_DEFAULT)
        ok = json_object_set_new(kwargs, "enable_thinking", json_boolean(c->think == CHAT_THINK_ON)) == 0;
    json_t *tools = c->c->tools && tools_count(c->c->tools) ? tools_declared(c->c->tools) : json_null();
    if (ok) return json_pack("{s:o,s:o,s:o}", "messages", all, "tools", tools, "kwargs", kwargs);
    json_decref(tools);
    json_decref(all);
    json_decref(kwargs);
    return NULL;
}

/* Brings the session to as much of the prompt as is known: what it holds itself, or a state that was kept. */
static size_t find_known(Chat *c, const TextIds *ids) {
    size_t n;
    const int32_t *fed = sluice_ids(c->c->session, &n);
    bool begins = n > 0 && n < ids->n && sluice_logits(c->c->session) && memcmp(fed, ids->ids, n * sizeof *fed) == 0;
    size_t kept = c->states ? states_find(c->states, ids->ids, ids->n) : 0;
    if (begins && n >= kept) return n;
    if (c->states) return states_restore(c->states, c->c->session, ids->ids, ids->n);
    sluice_session_reset(c->c->session);
    return 0;
}

static ErrCode read_prompt(Chat *c, const TextIds *ids, ChatTurn *turn, Err *err) {
    sluice_info info;
    sluice_get_info(c->c->model, &info);
    if (ids->n >= (size_t)info.ctx)
        return err_set(err, ERR_RANGE,
                       "the conversation has %zu tokens, the context holds %d: /undo or /clear, or start with a larger --ctx", ids->n,
                       info.ctx);
    uint64_t start = os_now_ns();
    turn->prompt_tokens = ids->n;
    turn->known_tokens = find_known(c, ids);
    ErrCode code = ERR_OK;
    if (turn->known_tokens < ids->n) code = c->c->feed(c->c->user, ids->ids + turn->known_tokens, ids->n - turn->known_tokens, err);
    turn->prefill_ns = os_now_ns() - start;
    /* templates leave earlier thoughts out, so the next question may have to begin before this answer */
    if (!code && c->states) (void)states_put(c->states, c->c->session, STATES_TURN);
    return code;
}

/* A call arrives as its id (in some forms), its name, and its arguments. */
static void take_call(ChatTurn *turn, TextEventKind kind, Str text) {
    if (kind == TEXT_CALL_END) return;
    if (!turn->calls) turn->calls = json_array();
    size_t n = json_array_size(turn->calls);
    json_t *last = n ? json_array_get(turn->calls, n - 1) : NULL;
    if (!last || json_object_get(json_object_get(last, "function"), "arguments")) { /* the one before is whole */
        char id[32];
        snprintf(id, sizeof id, "call_%zu", n + 1);
        last = json_pack("{s:s,s:s,s:{}}", "id", id, "type", "function", "function");
        (void)json_array_append_new(turn->calls, last);
    }
    Err err = {0};
    json_t *function = json_object_get(last, "function");
    if (kind == TEXT_CALL_ID) (void)json_object_set_new(last, "id", json_stringn(text.ptr, text.len));
    if (kind == TEXT_CALL_NAME) (void)json_object_set_new(function, "name", json_stringn(text.ptr, text.len));
    if (kind == TEXT_CALL_ARGUMENTS) (void)json_object_set_new(function, "arguments", text_json_load(text.ptr, text.len, &err));
}

static void tell(const Answer *a, const ChatEars *ears, ChatTurn *turn) {
    const TextEvents *events = answer_events(a);
    for (size_t i = 0; i < events->n; i++) {
        Str text = text_events_text(events, i);
        TextEventKind kind = events->items[i].kind;
        if (kind == TEXT_REASONING) buf_put(&turn->thoughts, text.ptr, text.len);
        else if (kind == TEXT_CONTENT) buf_put(&turn->text, text.ptr, text.len);
        else take_call(turn, kind, text);
        if (ears->told) ears->told(ears->user, kind, text);
    }
    size_t n;
    (void)answer_ids(a, &n);
    if (!events->n && ears->waiting && !answer_finish(a)) ears->waiting(ears->user, n);
}

static ErrCode answer_it(Chat *c, Answer *a, const ChatEars *ears, ChatTurn *turn, Err *err) {
    ErrCode code = ERR_OK;
    uint64_t start = os_now_ns();
    while (!code && !answer_finish(a)) {
        if (os_interrupted()) code = err_set(err, ERR_INTERRUPTED, "interrupted");
        if (code) break;
        int32_t id = answer_next(a, c->c->session, &c->sampling);
        tell(a, ears, turn);
        answer_told(a);
        if (answer_failed(a)) code = err_no_memory(err, turn->text.len, "the answer");
        if (!code && !answer_finish(a)) code = c->c->feed(c->c->user, &id, 1, err);
    }
    answer_end(a, ANSWER_LENGTH); /* of one that was stopped, what was held back is told */
    tell(a, ears, turn);
    answer_told(a);
    turn->decode_ns = os_now_ns() - start;
    turn->finish = answer_finish(a);
    return code;
}

ErrCode chat_turn(Chat *c, json_t *messages, const ChatEars *ears, ChatTurn *turn, Err *err) {
    AnswerPrompt prompt = {0};
    Answer *a = NULL;
    json_t *request = make_request(c, messages);
    ErrCode code = request ? answer_prompt(c->prompts, request, &prompt, err) : err_no_memory(err, 0, "the conversation");
    if (!code) {
        AnswerSpec spec = {.model = c->c->model, .parts = &prompt.parts, .max_tokens = c->c->max_tokens, .likely = -1};
        a = answer_new(&spec, err);
        code = a ? read_prompt(c, &prompt.ids, turn, err) : err->code;
    }
    if (!code) {
        code = answer_it(c, a, ears, turn, err);
        (void)answer_ids(a, &turn->answer_tokens);
        if (turn->finish == ANSWER_STOP || turn->finish == ANSWER_TOOL_CALLS)
            answer_prompts_remember(c->prompts, prompt.ids.ids, prompt.ids.n, a);
    }
    if (code == ERR_INTERRUPTED && !os_terminated()) {
        turn->interrupted = true;
        code = ERR_OK;
    }
    answer_free(a);
    text_ids_free(&prompt.ids);
    json_decref(request);
    return code;
}
