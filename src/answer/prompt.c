/* From a conversation to the ids of its prompt.
 *
 * A turn that was generated here is rendered with marks in place of its text and its reasoning. Where they come out, between the
 * prompt that was fed at that time (its ids are compared) and the token that ended the turn, the ids that were sampled are put. The
 * first turn for which this does not hold, and all behind it, are rendered from what the client says. */
#include "answer/inside.h"

#include <stdio.h>
#include <string.h>

struct AnswerPrompts {
    const sluice_model *model;
    TextForm form;
    bool thinks;
    AnswerGuard guard;
    AnswerTurns *turns;
    struct { int32_t id; Buf text; } *stops; /* [n_stops] the tokens that end a turn */
    size_t n_stops;
};

/* A turn of the request that is known. */
typedef struct Known {
    size_t message;
    AnswerTurn like;
} Known;

/* One request on its way. */
typedef struct Making {
    AnswerPrompts *p;
    const json_t *request;
    json_t *guarded;
    AnswerMark typed, turn; /* inside special tokens that were typed; in place of turns */
    Known *known;           /* [n_known], in their order */
    size_t n_known;
} Making;

/* ---- beginning and end --------------------------------------------------------------------------------------------- */

static bool find_stops(AnswerPrompts *p) {
    sluice_info info;
    sluice_get_info(p->model, &info);
    for (int32_t id = 0; id < info.vocab; id++) p->n_stops += sluice_is_stop(p->model, id) && sluice_is_special(p->model, id);
    p->stops = mem_new(p->n_stops + 1, sizeof *p->stops);
    if (!p->stops) return false;
    size_t n = 0;
    for (int32_t id = 0; id < info.vocab; id++) {
        if (!sluice_is_stop(p->model, id) || !sluice_is_special(p->model, id)) continue;
        p->stops[n].id = id;
        answer_token_bytes(p->model, id, &p->stops[n].text);
        if (p->stops[n++].text.failed) return false;
    }
    return true;
}

AnswerPrompts *answer_prompts_new(const sluice_model *model, uint64_t turns_bytes, Err *err) {
    AnswerPrompts *p = MEM_NEW(AnswerPrompts, 1);
    if (!p) {
        err_no_memory(err, sizeof *p, "the prompts");
        return NULL;
    }
    const char *source = sluice_chat_template(model);
    p->model = model;
    p->form = source ? text_calls_form(str_c(source)) : TEXT_FORM_NONE;
    p->thinks = source && text_calls_thinks(str_c(source));
    if (answer_guard_open(&p->guard, model, err) == ERR_OK && (p->turns = answer_turns_new(turns_bytes, err))) {
        if (find_stops(p)) return p;
        err_no_memory(err, sizeof *p, "the prompts");
    }
    answer_prompts_free(p);
    return NULL;
}

void answer_prompts_free(AnswerPrompts *p) {
    if (!p) return;
    for (size_t i = 0; p->stops && i < p->n_stops; i++) buf_free(&p->stops[i].text);
    mem_free(p->stops);
    answer_guard_close(&p->guard);
    answer_turns_free(p->turns);
    mem_free(p);
}

void answer_prompts_remember(AnswerPrompts *p, const int32_t *prompt, size_t n, const Answer *a) {
    /* a turn that was ended behind its only call ends with whatever token the template has there */
    bool whole = a->stop_id >= 0 || a->finish == ANSWER_TOOL_CALLS;
    if (!whole || !a->calls || answer_failed(a)) return;
    answer_turns_put(p->turns, &(AnswerTurn){
        .key = answer_turns_key(&a->message),
        .reasoning = answer_turns_reasoning(str_make(a->reasoning.ptr ? a->reasoning.ptr : "", a->reasoning.len)),
        .prefix = answer_turns_prefix(prompt, n), .n_prefix = n, .thought = a->thought, .inside = a->inside, .stop_id = a->stop_id,
        .ids = a->ids.ids, .n = a->ids.n});
}

json_t *answer_prompts_keep(const AnswerPrompts *p) { return answer_turns_keep(p->turns); }
void answer_prompts_forget(AnswerPrompts *p) { answer_turns_forget(p->turns); }
void answer_prompts_recall(AnswerPrompts *p, const json_t *kept) {
    sluice_info info;
    sluice_get_info(p->model, &info);
    answer_turns_recall(p->turns, kept, info.vocab);
}

/* ---- what is rendered ---------------------------------------------------------------------------------------------- */

static ErrCode write_json(const json_t *request, Buf *out, Err *err) {
    if (text_json_put(request, out)) return ERR_OK;
    if (out->failed) return err_no_memory(err, out->len, "a chat request");
    return err_set(err, ERR_RANGE, "the messages hold an integer of more than 64 bits, which cannot be rendered; send it as a string");
}

/* Three noncharacters that the request does not contain. */
static ErrCode choose_marks(Making *m, Err *err) {
    Buf text = {0};
    char *marks[] = {m->typed.bytes, m->typed.zero, m->turn.bytes};
    size_t found = 0;
    ErrCode code = write_json(m->request, &text, err);
    for (int i = 0; !code && i < 32 && found < COUNT_OF(marks); i++) {
        char bytes[] = {(char)0xEF, (char)0xB7, (char)(0x90 + i), 0}; /* U+FDD0 and on */
        if (!strstr(text.ptr, bytes)) memcpy(marks[found++], bytes, sizeof bytes);
    }
    if (!code && found < COUNT_OF(marks))
        code = err_set(err, ERR_UNSUPPORTED, "the messages contain all of U+FDD0..U+FDEF, which no text should");
    buf_free(&text);
    return code;
}

/* The request with special tokens marked that stand in messages and tools. */
static ErrCode guard_request(Making *m, Err *err) {
    const AnswerGuard *g = &m->p->guard;
    const json_t *messages = json_object_get(m->request, "messages"), *tools = json_object_get(m->request, "tools");
    m->guarded = json_copy((json_t *)m->request);
    json_t *copies = json_array();
    bool ok = m->guarded && copies;
    for (size_t i = 0; ok && i < json_array_size(messages); i++) {
        const json_t *message = json_array_get(messages, i);
        const char *role = json_string_value(json_object_get(message, "role"));
        json_t *copy = answer_guard_copy(g, &m->typed, message, role && strcmp(role, "assistant") == 0, err);
        if (!copy) {
            json_decref(copies);
            return err->code;
        }
        ok = json_array_append_new(copies, copy) == 0;
    }
    if (!json_is_array(messages)) json_decref(copies); /* the template's own error says so */
    else if (ok) ok = json_object_set_new(m->guarded, "messages", copies) == 0;
    if (ok && tools) {
        json_t *copy = answer_guard_copy(g, &m->typed, tools, false, err);
        if (!copy) return err->code;
        ok = json_object_set_new(m->guarded, "tools", copy) == 0;
    }
    return ok ? ERR_OK : err_no_memory(err, 0, "a chat request");
}

static ErrCode find_known(Making *m, Err *err) {
    const json_t *messages = json_object_get(m->request, "messages");
    bool failed = false;
    m->known = MEM_NEW(Known, json_array_size(messages) + 1);
    for (size_t i = 0; m->known && i < json_array_size(messages); i++) {
        const json_t *message = json_array_get(messages, i);
        const char *role = json_string_value(json_object_get(message, "role"));
        if (!role || strcmp(role, "assistant") != 0) continue;
        Known *k = &m->known[m->n_known];
        k->message = i;
        uint64_t key = answer_turns_message_key(message, &failed);
        m->n_known += answer_turns_known(m->p->turns, key, answer_turns_message_reasoning(message), &k->like);
    }
    return m->known && !failed ? ERR_OK : err_no_memory(err, 0, "the turns of a conversation");
}

/* What stands for the text ('c') or the reasoning ('r') of the i-th known turn. */
static const char *turn_mark(const Making *m, size_t i, char kind, char out[32]) {
    snprintf(out, 32, "%s%c%zu%s", m->turn.bytes, kind, i, m->turn.bytes);
    return out;
}

/* Renders with marks in place of the first n known turns. */
static ErrCode render(const Making *m, size_t n, char **text, Err *err) {
    json_t *request = json_copy(m->guarded), *messages = json_copy(json_object_get(m->guarded, "messages"));
    bool ok = request && (messages || n == 0);
    for (size_t i = 0; ok && i < n; i++) {
        char mark[32];
        json_t *message = json_copy(json_array_get(messages, m->known[i].message));
        ok = message && json_object_set_new(message, "content", json_string(turn_mark(m, i, 'c', mark))) == 0;
        if (ok && m->known[i].like.thought)
            ok = json_object_set_new(message, "reasoning_content", json_string(turn_mark(m, i, 'r', mark))) == 0;
        if (!ok) json_decref(message);
        else ok = json_array_set_new(messages, m->known[i].message, message) == 0;
    }
    if (ok && messages) ok = json_object_set(request, "messages", messages) == 0;
    Buf line = {0};
    ErrCode code = ok ? write_json(request, &line, err) : err_no_memory(err, 0, "a chat request");
    json_decref(messages);
    json_decref(request);
    if (!code) {
        sluice_error failure = {0};
        *text = sluice_render(m->p->model, line.ptr, &failure);
        if (!*text) code = err_set(err, (ErrCode)failure.code, "%s", failure.message);
    }
    buf_free(&line);
    return code;
}

/* ---- from text to ids ---------------------------------------------------------------------------------------------- */

static const char *find(const char *from, const char *end, const char *word) {
    const char *at = strstr(from, word);
    return at && at + strlen(word) <= end ? at : NULL;
}

/* The first token behind `from` that ends a turn. */
static const char *find_stop(const AnswerPrompts *p, const char *from, const char *end, int32_t *id) {
    const char *first = NULL;
    for (size_t i = 0; i < p->n_stops; i++) {
        const char *at = find(from, end, p->stops[i].text.ptr);
        if (at && (!first || at < first)) {
            first = at;
            *id = p->stops[i].id;
        }
    }
    return first;
}

/* Where the model may have begun to write a turn whose reasoning stands at `reasoning`: there if the prompt had opened it, else at the
 * tag or the newlines before it. */
static size_t beginnings(const AnswerTurn *like, const char *begin, const char *content, const char *reasoning,
                         const char *out[2]) {
    if (!like->thought) return out[0] = content, 1;
    if (like->inside) return out[0] = reasoning, 1;
    const char *tag = reasoning;
    while (tag > begin && !str_starts(str_make(tag, (size_t)(reasoning - tag)), "<think>")) tag--;
    out[0] = out[1] = tag;
    while (out[1] > begin && *(out[1] - 1) == '\n') out[1]--;
    return 2;
}

/* Puts the i-th known turn, and what stands between *from and it. False: it does not stand where it was generated. */
static bool put_turn(const Making *m, size_t i, const char **from, const char *end, TextIds *ids, ErrCode *code, Err *err) {
    char mark[32];
    const AnswerTurn *like = &m->known[i].like;
    const char *content = find(*from, end, turn_mark(m, i, 'c', mark)), *reasoning = NULL, *begins[2];
    AnswerTurn want = *like;
    const char *stop = content ? find_stop(m->p, content, end, &want.stop_id) : NULL;
    if (like->thought && content) reasoning = find(*from, content, turn_mark(m, i, 'r', mark));
    if (!stop || (like->thought && !reasoning)) return false;
    size_t n = beginnings(like, *from, content, reasoning, begins), before = ids->n;
    for (size_t k = 0; k < n; k++) {
        if (find(*from, begins[k], m->turn.bytes)) return false;
        ids->n = before;
        *code = answer_guard_tokenize(&m->p->guard, &m->typed, str_make(*from, (size_t)(begins[k] - *from)), ids, err);
        if (*code) return false;
        bool failed = false;
        want.prefix = answer_turns_prefix(ids->ids, ids->n);
        want.n_prefix = ids->n;
        if (answer_turns_get(m->p->turns, &want, ids, &failed)) {
            *from = stop;
            return true;
        }
        if (failed) *code = err_no_memory(err, 0, "the prompt");
    }
    return false;
}

/* The ids of a prompt in which the first n known turns are marks. *put: how many of them could be put; fewer than n: not done. */
static ErrCode make_ids(const Making *m, size_t n, const char *text, size_t *put_turns, TextIds *ids, Err *err) {
    const char *from = text, *end = text + strlen(text);
    ErrCode code = ERR_OK;
    ids->n = 0;
    for (*put_turns = 0; *put_turns < n; ++*put_turns)
        if (!put_turn(m, *put_turns, &from, end, ids, &code, err)) return code;
    if (n && find(from, end, m->turn.bytes)) { /* a template that repeats itself */
        *put_turns = 0;
        return ERR_OK;
    }
    return answer_guard_tokenize(&m->p->guard, &m->typed, str_make(from, (size_t)(end - from)), ids, err);
}

ErrCode answer_prompt(AnswerPrompts *p, const json_t *request, AnswerPrompt *out, Err *err) {
    Making m = {.p = p, .request = request};
    Err own = {0};
    *out = (AnswerPrompt){.parts = {.form = p->form, .thinks = p->thinks, .tools = json_object_get(request, "tools")}};
    if (!json_is_array(out->parts.tools)) out->parts.tools = NULL;
    ErrCode code = choose_marks(&m, &own);
    if (!code) code = guard_request(&m, &own);
    if (!code) code = find_known(&m, &own);
    for (size_t n = m.n_known, put_turns = 0; !code; n = put_turns) {
        char *text = NULL;
        code = render(&m, n, &text, &own);
        if (code && code != ERR_MEMORY && n) { /* a template may want to see the text itself */
            code = ERR_OK;
            put_turns = 0;
            continue;
        }
        if (!code) code = make_ids(&m, n, text, &put_turns, &out->ids, &own);
        if (!code) out->parts.inside_think = p->thinks && text_calls_inside_think(str_c(text));
        if (!code) out->parts.behind_think = p->thinks && text_calls_behind_think(str_c(text));
        sluice_free(text);
        out->turns_replayed = n;
        if (code || put_turns == n) break;
    }
    if (code && err) *err = own;
    if (code) text_ids_free(&out->ids);
    json_decref(m.guarded);
    mem_free(m.known);
    return code;
}
