/* An answer being made. A token's bytes become whole characters, those become reasoning, content and calls, and content is searched
 * for stop strings: each step holds back what it cannot decide yet. */
#include "answer/inside.h"

#include <string.h>

/* ---- beginning and end --------------------------------------------------------------------------------------------- */

static bool copy_stops(Answer *a) {
    a->stops = MEM_NEW(Str, a->spec.n_stops ? a->spec.n_stops : 1);
    for (size_t i = 0; a->stops && i < a->spec.n_stops; i++) {
        char *copy = mem_strndup(a->spec.stops[i].ptr, a->spec.stops[i].len);
        if (!copy) return false;
        a->stops[i] = str_make(copy, a->spec.stops[i].len);
    }
    return a->stops != NULL;
}

Answer *answer_new(const AnswerSpec *spec, Err *err) {
    Answer *a = MEM_NEW(Answer, 1);
    if (!a) {
        err_no_memory(err, sizeof *a, "an answer");
        return NULL;
    }
    sluice_info info;
    sluice_get_info(spec->model, &info);
    a->spec = *spec;
    a->ctx = info.ctx;
    a->vocab = info.vocab;
    a->stop_id = -1;
    a->close_id = spec->max_reasoning > 0 ? answer_token_of(spec->model, "</think>") : -1;
    a->inside = spec->parts && spec->parts->thinks && spec->parts->inside_think;
    bool ok = copy_stops(a) || (err_no_memory(err, sizeof *a, "stop strings"), false);
    if (ok && spec->parts) ok = (a->calls = text_calls_new(spec->parts, err)) != NULL;
    if (ok && spec->grammar) ok = (a->allowed = answer_allowed_new(spec, info.vocab, err)) != NULL;
    if (ok) return a;
    answer_free(a);
    return NULL;
}

void answer_free(Answer *a) {
    if (!a) return;
    for (size_t i = 0; a->stops && i < a->spec.n_stops; i++) mem_free((char *)a->stops[i].ptr);
    mem_free(a->stops);
    text_calls_free(a->calls);
    answer_allowed_free(a->allowed);
    buf_free(&a->held);
    buf_free(&a->piece);
    buf_free(&a->whole);
    buf_free(&a->message);
    buf_free(&a->reasoning);
    buf_free(&a->name);
    text_events_free(&a->parsed);
    text_events_free(&a->events);
    mem_free(a->rows);
    text_ids_free(&a->ids);
    mem_free(a);
}

AnswerFinish answer_finish(const Answer *a) { return a->finish; }
Str answer_stop(const Answer *a) { return a->stop; }
bool answer_failed(const Answer *a) {
    bool bytes = a->reasoning.failed || a->held.failed || a->piece.failed || a->whole.failed || a->message.failed || a->name.failed;
    return bytes || a->failed || a->parsed.failed || a->events.failed;
}
const TextEvents *answer_events(const Answer *a) { return &a->events; }
const AnswerLikely *answer_rows(const Answer *a, size_t *n) {
    *n = a->n_rows;
    return a->rows;
}
void answer_told(Answer *a) {
    text_events_clear(&a->events);
    a->n_rows = 0;
}
const int32_t *answer_ids(const Answer *a, size_t *n) {
    *n = a->ids.n;
    return a->ids.ids;
}
size_t answer_reasoning_tokens(const Answer *a) { return a->n_reasoning; }

/* ---- small things -------------------------------------------------------------------------------------------------- */

void answer_token_bytes(const sluice_model *model, int32_t id, Buf *out) {
    char piece[512];
    size_t n = sluice_token_text(model, id, piece, sizeof piece);
    if (n <= sizeof piece) {
        buf_put(out, piece, n);
        return;
    }
    char *large = mem_new(n, 1);
    if (large) buf_put(out, large, sluice_token_text(model, id, large, n));
    else out->failed = true;
    mem_free(large);
}

bool answer_ids_put(TextIds *list, const int32_t *ids, size_t n) {
    if (list->n + n > list->cap) {
        size_t cap = 2 * (list->n + n) + 64;
        int32_t *more = mem_resize(list->ids, cap, sizeof *more);
        if (!more) return false;
        list->ids = more;
        list->cap = cap;
    }
    if (n) memcpy(list->ids + list->n, ids, n * sizeof *ids);
    list->n += n;
    return true;
}

static Str text_of(const Buf *b) { return str_make(b->ptr ? b->ptr : "", b->len); }

/* ---- stop strings -------------------------------------------------------------------------------------------------- */

/* Where the stop string stands that ends first, as if the text had come byte by byte; of those that end together the longest, of equal
 * ones the first that was given. *whole false: there is none, and what may become the beginning of one stands here. */
static size_t find_stop(const Answer *a, Str *stop, bool *whole) {
    size_t maybe = a->held.len, end = SIZE_MAX, found = 0;
    for (size_t at = 0; at < a->held.len && at < end; at++)
        for (size_t i = 0; i < a->spec.n_stops; i++) {
            size_t left = a->held.len - at, n = a->stops[i].len;
            if (n == 0 || memcmp(a->held.ptr + at, a->stops[i].ptr, n < left ? n : left) != 0) continue;
            if (n > left) {
                if (at < maybe) maybe = at;
            } else if (at + n < end) {
                end = at + n;
                found = at;
                *stop = a->stops[i];
            }
        }
    *whole = end != SIZE_MAX;
    return *whole ? found : maybe;
}

/* An event leaves; what a client will send back is noted. */
static void tell(Answer *a, TextEventKind kind, Str text) {
    text_events_put(&a->events, kind, text);
    if (!a->calls) return;
    if (kind == TEXT_REASONING) {
        buf_put(&a->reasoning, text.ptr, text.len);
    } else if (kind == TEXT_CONTENT) {
        answer_turns_content(&a->message, text);
    } else if (kind == TEXT_CALL_NAME) {
        a->called = true;
        buf_clear(&a->name);
        buf_put(&a->name, text.ptr, text.len);
    } else if (kind == TEXT_CALL_ARGUMENTS) {
        Err err = {0};
        json_t *arguments = text_json_load(text.ptr, text.len, &err);
        if (arguments) answer_turns_call(&a->message, text_of(&a->name), arguments);
        else a->failed = true;
        json_decref(arguments);
    }
}

static void say(Answer *a, size_t n) {
    tell(a, TEXT_CONTENT, str_make(a->held.ptr, n));
    if (n) memmove(a->held.ptr, a->held.ptr + n, a->held.len - n);
    a->held.len -= n;
}

/* Content, of which what may be the beginning of a stop string stays here. False: there was one, and nothing more is said. */
static bool put_content(Answer *a, Str text) {
    if (a->spec.n_stops == 0) {
        tell(a, TEXT_CONTENT, text);
        return true;
    }
    bool whole;
    Str stop = {"", 0};
    buf_put(&a->held, text.ptr, text.len);
    say(a, find_stop(a, &stop, &whole));
    if (!whole) return true;
    buf_clear(&a->held);
    a->stop = stop;
    a->finish = ANSWER_STOP_STRING;
    return false;
}

/* ---- reasoning and calls ------------------------------------------------------------------------------------------- */

/* What the parser has decided goes on. Content that is held back stands before everything else that is said. */
static void pass_parsed(Answer *a) {
    for (size_t i = 0; i < a->parsed.n && !a->finish; i++) {
        TextEventKind kind = a->parsed.items[i].kind;
        Str text = text_events_text(&a->parsed, i);
        if (kind == TEXT_CONTENT) {
            put_content(a, text);
            continue;
        }
        say(a, a->held.len);
        tell(a, kind, text);
    }
    a->failed = a->failed || a->parsed.failed;
    text_events_clear(&a->parsed);
}

static void pass_text(Answer *a, Str text) {
    if (!a->calls) {
        put_content(a, text);
        return;
    }
    text_calls_put(a->calls, text.ptr, text.len, &a->parsed);
    pass_parsed(a);
}

void answer_end(Answer *a, AnswerFinish finish) {
    if (a->finish) return;
    buf_clear(&a->whole);
    text_stream_end(&a->stream, &a->whole);
    pass_text(a, text_of(&a->whole));
    if (a->calls && !a->finish) {
        text_calls_end(a->calls, finish == ANSWER_LENGTH, &a->parsed);
        pass_parsed(a);
    }
    if (a->finish) return; /* a stop string in what was held back */
    say(a, a->held.len);
    a->finish = finish == ANSWER_STOP && a->called ? ANSWER_TOOL_CALLS : finish;
}

/* ---- tokens -------------------------------------------------------------------------------------------------------- */

static void put_row(Answer *a, int32_t id, const float *logits) {
    if (a->spec.likely < 0 || !logits) return;
    size_t stride = 1 + (size_t)a->spec.likely;
    if (a->n_rows == a->cap_rows) {
        size_t cap = 2 * a->cap_rows + 16;
        AnswerLikely *more = mem_resize(a->rows, cap * stride, sizeof *more);
        if (!more) {
            a->failed = true;
            return;
        }
        a->rows = more;
        a->cap_rows = cap;
    }
    answer_likely(logits, a->vocab, id, a->spec.likely, a->rows + a->n_rows++ * stride);
}

static bool is_stop(const Answer *a, int32_t id) {
    for (size_t i = 0; i < a->spec.n_stop_ids; i++)
        if (a->spec.stop_ids[i] == id) return true;
    return sluice_is_stop(a->spec.model, id);
}

void answer_take(Answer *a, int32_t id, const float *logits) {
    if (a->finish) return;
    put_row(a, id, logits);
    if (is_stop(a, id)) {
        a->stop_id = id;
        answer_end(a, ANSWER_STOP);
        return;
    }
    if (!answer_ids_put(&a->ids, &id, 1)) a->failed = true;
    if (a->calls && text_calls_thinking(a->calls)) {
        a->thought = true;
        a->n_reasoning++;
    }
    buf_clear(&a->piece);
    buf_clear(&a->whole);
    answer_token_bytes(a->spec.model, id, &a->piece);
    text_stream_put(&a->stream, text_of(&a->piece).ptr, a->piece.len, &a->whole);
    size_t said = a->message.len;
    pass_text(a, text_of(&a->whole));
    if (a->allowed) {
        bool thinking = a->calls && text_calls_thinking(a->calls);
        bool more = a->message.len > said;
        Str behind = str_make(more ? a->message.ptr + said : "", more ? a->message.len - said : 0);
        if (!answer_allowed_take(a->allowed, id, text_of(&a->piece), thinking, behind)) a->failed = true;
    }
    if (a->spec.max_tokens >= 0 && a->ids.n >= (size_t)a->spec.max_tokens) answer_end(a, ANSWER_LENGTH);
}

/* Reasoning has had as many tokens as it may have. */
static bool closes_reasoning(const Answer *a) {
    return a->close_id >= 0 && a->calls && text_calls_thinking(a->calls) && a->n_reasoning >= (size_t)a->spec.max_reasoning;
}

int32_t answer_next(Answer *a, sluice_session *session, const sluice_sampling *sampling) {
    int32_t id = closes_reasoning(a) ? a->close_id
                                     : sluice_sample_allowed(session, sampling, a->allowed ? answer_allowed_mask(a->allowed) : NULL);
    if (id < 0) { /* no token is allowed: the grammar and the vocabulary do not fit */
        a->failed = true;
        answer_end(a, ANSWER_LENGTH);
        return id;
    }
    answer_take(a, id, sluice_logits(session));
    if (sluice_position(session) >= a->ctx) answer_end(a, ANSWER_LENGTH);
    return id;
}
