/* Turns and calls in turn, until the model answers without a call, somebody stops it, or the bound is reached. */
#include "chat/inside.h"

static json_t *turn_message(const ChatTurn *t) {
    json_t *m = chat_message("assistant", t->text.ptr, t->text.len);
    if (m && t->thoughts.len) (void)json_object_set_new(m, "reasoning_content", json_stringn_nocheck(t->thoughts.ptr, t->thoughts.len));
    if (m && json_array_size(t->calls)) (void)json_object_set(m, "tool_calls", t->calls);
    return m;
}

/* The calls of this turn have results now. True: the model should see them. */
static bool run_calls(Chat *c, json_t *messages, const ChatTurn *t, Err *err) {
    if (t->finish == ANSWER_TOOL_CALLS) return chat_calls(c, t->calls, messages, err);
    const char *why = t->interrupted ? "[not run: the user stopped here]" : "[not run: the answer was cut at its length]";
    (void)chat_calls_refuse(t->calls, 0, messages, why, err);
    return false;
}

static ErrCode one_round(Chat *c, json_t *messages, const ChatEars *ears, ChatRounds *r, Err *err) {
    ChatTurn before = r->last;
    r->last = (ChatTurn){0};
    ErrCode code = chat_turn(c, messages, ears, &r->last, err);
    bool calls = !code && json_array_size(r->last.calls) > 0;
    if (ears->ended) ears->ended(ears->user, !calls);
    if (!code && json_array_append_new(messages, turn_message(&r->last)) != 0)
        code = err_no_memory(err, r->last.text.len, "the answer");
    if (!code && c->states) (void)states_put(c->states, c->c->session, STATES_TURN);
    r->last.answer_tokens += before.answer_tokens;
    r->last.decode_ns += before.decode_ns;
    r->last.prefill_ns += before.prefill_ns;
    chat_turn_free(&before);
    return code;
}

ErrCode chat_rounds(Chat *c, json_t *messages, const ChatEars *ears, ChatRounds *r, Err *err) {
    for (int round = 0;; round++) {
        ErrCode code = one_round(c, messages, ears, r, err);
        size_t n = json_array_size(r->last.calls);
        if (code || !n) return code;
        r->n_calls += n;
        bool more = run_calls(c, messages, &r->last, err);
        if (err->code) return err->code;
        if (os_interrupted() && !os_terminated()) os_forget_interrupt();
        r->last.interrupted = r->last.interrupted || (!more && r->last.finish == ANSWER_TOOL_CALLS);
        r->unfinished = more && round + 1 >= c->c->rounds;
        if (!more || r->unfinished) return ERR_OK;
    }
}

void chat_rounds_free(ChatRounds *r) { chat_turn_free(&r->last); }
