/* Takes an answer apart while it is made: reasoning, content, and blocks of calls. What may become a tag is held back. */
#include "text/calls.h"

#include <string.h>

static const char think_open[] = "<think>", think_close[] = "</think>";

typedef enum Place { START, THINKING, SPEAKING, CALLED /* white space behind a call */ } Place;

struct TextCalls {
    bool thinks;
    json_t *tools;
    Buf held;       /* what has not left */
    size_t at, from; /* of it: what has left; how far it was looked through */
    Place place;
    bool strip;     /* newlines at the beginning are left out */
    bool in_block;  /* the block begins at block_at */
    bool waiting;   /* calls inside reasoning: they count if nothing else follows */
    size_t block_at, waiting_at; /* of them the first */
    TextCallsBlock block;
};

/* ---- events -------------------------------------------------------------------------------------------------------- */

void text_events_put(TextEvents *list, TextEventKind kind, Str text) {
    if (text.len == 0 && (kind == TEXT_REASONING || kind == TEXT_CONTENT)) return;
    if (list->n == list->cap) {
        size_t cap = 2 * list->cap + 8;
        TextEvent *more = mem_resize(list->items, cap, sizeof *more);
        if (!more) {
            list->failed = true;
            return;
        }
        list->items = more;
        list->cap = cap;
    }
    list->items[list->n++] = (TextEvent){kind, list->bytes.len, text.len};
    buf_put(&list->bytes, text.ptr, text.len);
    if (list->bytes.failed) {
        list->failed = true;
        list->n--;
    }
}

Str text_events_text(const TextEvents *list, size_t i) {
    const TextEvent *e = &list->items[i];
    return str_make(list->bytes.ptr ? list->bytes.ptr + e->at : "", e->len);
}

void text_events_clear(TextEvents *list) {
    buf_clear(&list->bytes);
    list->n = 0;
}

void text_events_free(TextEvents *list) {
    mem_free(list->items);
    buf_free(&list->bytes);
    *list = (TextEvents){0};
}

/* ---- the parser ---------------------------------------------------------------------------------------------------- */

TextCalls *text_calls_new(const TextCallsSpec *spec, Err *err) {
    TextCalls *c = MEM_NEW(TextCalls, 1);
    if (!c) {
        err_no_memory(err, sizeof *c, "an answer");
        return NULL;
    }
    c->thinks = spec->thinks;
    c->place = !spec->thinks ? SPEAKING : spec->inside_think ? THINKING : START;
    c->strip = c->place == THINKING;
    c->tools = json_incref((json_t *)spec->tools);
    c->block.form = json_array_size(spec->tools) ? text_calls_forms_get(spec->form) : NULL;
    c->block.tools = c->tools;
    return c;
}

void text_calls_free(TextCalls *c) {
    if (!c) return;
    json_decref(c->tools);
    text_calls_block_free(&c->block);
    buf_free(&c->held);
    mem_free(c);
}

bool text_calls_thinking(const TextCalls *c) { return c->place == THINKING; }

static Str held(const TextCalls *c) { return str_make(c->held.ptr ? c->held.ptr : "", c->held.len); }

/* What is before `end` leaves, but for newlines at its end: they may turn out to belong to the template. */
static void leave(TextCalls *c, size_t end, bool keep_newlines, TextEvents *out) {
    while (!keep_newlines && end > c->at && c->held.ptr[end - 1] == '\n') end--;
    if (end == c->at) return;
    text_events_put(out, c->place == THINKING ? TEXT_REASONING : TEXT_CONTENT, str_make(c->held.ptr + c->at, end - c->at));
    c->at = end;
}

/* The newlines before a tag stay out. */
static void leave_before_tag(TextCalls *c, size_t tag, TextEvents *out) {
    leave(c, tag, false, out);
    c->at = tag;
}

static void begin_block(TextCalls *c, size_t at, bool bare) {
    c->in_block = true;
    c->block_at = at;
    text_calls_block_begin(&c->block, bare);
}

static void put_calls(TextCalls *c, TextEvents *out) {
    for (size_t i = 0; i < c->block.n_calls; i++) {
        const TextCallsCall *call = &c->block.calls[i];
        if (call->id.len) text_events_put(out, TEXT_CALL_ID, str_make(call->id.ptr, call->id.len));
        text_events_put(out, TEXT_CALL_NAME, str_c(call->name));
        text_events_put(out, TEXT_CALL_ARGUMENTS, str_make(call->arguments.ptr, call->arguments.len));
        text_events_put(out, TEXT_CALL_END, str_make("", 0));
    }
    text_calls_block_drop(&c->block);
    c->place = CALLED;
    c->strip = c->waiting = false;
}

/* ---- steps: true when something changed and there may be more to do ------------------------------------------------- */

/* The first bytes: white space and <think>, or something else. */
static bool step_start(TextCalls *c, bool ended) {
    size_t at = text_calls_forms_skip_space(held(c), c->at);
    TextCallsMatch m = text_calls_forms_match(held(c), at, think_open);
    if (m == TEXT_MATCH_MAYBE && !ended) return false;
    c->place = SPEAKING;
    if (m != TEXT_MATCH_YES) return true;
    c->place = THINKING;
    c->strip = true;
    c->at = c->from = at + strlen(think_open);
    return true;
}

/* A tag at `at` that ends what is being said. */
static bool step_tag(TextCalls *c, size_t at, TextEvents *out, TextCallsMatch *m) {
    const TextCallsForm *f = c->block.form;
    if (c->place == THINKING) {
        *m = text_calls_forms_match(held(c), at, think_close);
        if (*m == TEXT_MATCH_YES) {
            leave_before_tag(c, at, out);
            c->place = SPEAKING;
            c->strip = true;
            c->at = c->from = at + strlen(think_close);
            return true;
        }
    }
    if (!f) return false;
    TextCallsMatch open = text_calls_forms_match(held(c), at, f->open);
    TextCallsMatch bare = c->place != THINKING && *f->call_open ? text_calls_forms_match(held(c), at, f->call_open) : TEXT_MATCH_NO;
    if (open == TEXT_MATCH_MAYBE || bare == TEXT_MATCH_MAYBE) *m = TEXT_MATCH_MAYBE;
    if (open != TEXT_MATCH_YES && bare != TEXT_MATCH_YES) return false;
    begin_block(c, at, open != TEXT_MATCH_YES);
    return true;
}

/* Text until the next tag. */
static bool step_text(TextCalls *c, bool ended, TextEvents *out) {
    if (c->from < c->at) c->from = c->at;
    while (c->strip && c->at < c->held.len && c->held.ptr[c->at] == '\n') c->at++;
    if (c->at == c->held.len) return false;
    c->strip = false;
    if (c->from < c->at) c->from = c->at;
    while (c->from < c->held.len) {
        const char *tag = memchr(c->held.ptr + c->from, '<', c->held.len - c->from);
        if (!tag) break;
        TextCallsMatch m = TEXT_MATCH_NO;
        c->from = (size_t)(tag - c->held.ptr);
        if (step_tag(c, c->from, out, &m)) return true;
        if (m == TEXT_MATCH_MAYBE && !ended) {
            leave(c, c->from, false, out);
            return false;
        }
        c->from++;
    }
    c->from = c->held.len;
    bool newlines = c->place == SPEAKING && (ended || !c->block.form);
    leave(c, c->held.len, newlines, out);
    if (ended && c->place == THINKING) c->at = c->held.len;
    return false;
}

/* White space behind a call is left out if another call follows, or nothing. */
static bool step_called(TextCalls *c, bool ended) {
    size_t at = text_calls_forms_skip_space(held(c), c->at);
    if (at == c->held.len) {
        if (ended) c->at = at;
        return false;
    }
    const TextCallsForm *f = c->block.form;
    TextCallsMatch open = text_calls_forms_match(held(c), at, f->open);
    TextCallsMatch bare = *f->call_open ? text_calls_forms_match(held(c), at, f->call_open) : TEXT_MATCH_NO;
    if (open == TEXT_MATCH_YES || bare == TEXT_MATCH_YES) {
        begin_block(c, at, open != TEXT_MATCH_YES);
        return true;
    }
    if (!ended && (open == TEXT_MATCH_MAYBE || bare == TEXT_MATCH_MAYBE)) return false;
    c->place = SPEAKING;
    c->from = c->at;
    return true;
}

/* Behind a call inside reasoning: it was reasoning after all, unless only calls follow. */
static bool step_waiting(TextCalls *c, bool ended, bool stopped, TextEvents *out) {
    size_t at = text_calls_forms_skip_space(held(c), c->from);
    TextCallsMatch m = text_calls_forms_match(held(c), at, c->block.form->open);
    if (m == TEXT_MATCH_MAYBE && !ended) return false;
    if (m == TEXT_MATCH_YES) {
        begin_block(c, at, false);
        return true;
    }
    if (at == c->held.len && stopped) {
        leave_before_tag(c, c->waiting_at, out);
        put_calls(c, out);
        c->at = at;
        return false;
    }
    c->waiting = false;
    text_calls_block_drop(&c->block);
    return true;
}

static bool step_block(TextCalls *c, bool ended, bool stopped, TextEvents *out) {
    Str s = str_make(c->held.ptr + c->block_at, c->held.len - c->block_at);
    TextCallsVerdict v = text_calls_block_read(&c->block, s, ended, stopped);
    bool said = c->place != CALLED && !c->waiting; /* there may be text before the block */
    out->failed = out->failed || c->block.failed;
    if (v == TEXT_BLOCK_MORE) {
        if (said) leave(c, c->block_at, false, out);
        return false;
    }
    c->in_block = false;
    if (v == TEXT_BLOCK_BAD) { /* its first byte is text, and so is the rest unless another tag stands in it */
        text_calls_block_drop(&c->block);
        c->waiting = false;
        c->from = c->block_at + 1;
        if (c->place == CALLED) c->place = SPEAKING;
        return true;
    }
    c->from = c->block_at + c->block.at;
    if (c->place == THINKING) {
        if (!c->waiting) c->waiting_at = c->block_at;
        c->waiting = true;
        return true;
    }
    if (said) leave(c, c->block_at, false, out);
    put_calls(c, out);
    c->at = c->from;
    return true;
}

static void run(TextCalls *c, bool ended, bool stopped, TextEvents *out) {
    for (bool again = true; again;) {
        if (c->in_block) again = step_block(c, ended, stopped, out);
        else if (c->waiting) again = step_waiting(c, ended, stopped, out);
        else if (c->place == START) again = step_start(c, ended);
        else if (c->place == CALLED) again = step_called(c, ended);
        else again = step_text(c, ended, out);
    }
    out->failed = out->failed || c->held.failed;
    if (!c->at) return;
    memmove(c->held.ptr, c->held.ptr + c->at, c->held.len - c->at);
    c->held.len -= c->at;
    c->from = c->from > c->at ? c->from - c->at : 0;
    c->block_at -= c->in_block ? c->at : 0;
    c->waiting_at -= c->waiting ? c->at : 0;
    c->at = 0;
}

void text_calls_put(TextCalls *c, const char *bytes, size_t len, TextEvents *out) {
    buf_put(&c->held, bytes, len);
    run(c, false, false, out);
}

void text_calls_end(TextCalls *c, bool cut, TextEvents *out) { run(c, true, !cut, out); }
