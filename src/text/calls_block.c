/* One block of calls, read as far as it is there. Each state reads one piece and remembers how far it looked, so the time is linear
 * however small the pieces are. What a block may lack, and still be read in one way only, text.h says. */
#include "text/calls.h"

#include <string.h>

enum { MAX_NAME = 256, MAX_DEPTH = 64 };

void text_calls_block_begin(TextCallsBlock *b, bool bare) {
    b->state = TEXT_BLOCK_CALL;
    b->bare = bare;
    b->first = b->n_calls;
    b->at = bare ? 0 : strlen(b->form->open);
    b->tool = NULL;
}

void text_calls_block_drop(TextCallsBlock *b) { b->n_calls = 0; }

void text_calls_block_free(TextCallsBlock *b) {
    for (size_t i = 0; i < b->cap; i++) {
        buf_free(&b->calls[i].id);
        buf_free(&b->calls[i].arguments);
    }
    mem_free(b->calls);
}

/* The call behind the complete ones. */
static TextCallsCall *current(TextCallsBlock *b) { return &b->calls[b->n_calls]; }

static bool begin_call(TextCallsBlock *b) {
    if (b->n_calls == b->cap) {
        size_t cap = 2 * b->cap + 4;
        TextCallsCall *more = mem_resize(b->calls, cap, sizeof *more);
        if (!more) return false;
        memset(more + b->cap, 0, (cap - b->cap) * sizeof *more);
        b->calls = more;
        b->cap = cap;
    }
    buf_clear(&current(b)->id);
    buf_clear(&current(b)->arguments);
    return true;
}

/* Where a piece's end is looked for: `word` at or behind b->from. */
static TextCallsMatch find(TextCallsBlock *b, Str s, const char *word) {
    for (; b->from < s.len; b->from++) {
        TextCallsMatch m = text_calls_forms_match(s, b->from, word);
        if (m != TEXT_MATCH_NO) return m;
    }
    return TEXT_MATCH_MAYBE;
}

static TextCallsVerdict go(TextCallsBlock *b, TextCallsState state, size_t at) {
    b->state = state;
    b->at = b->from = at;
    return TEXT_BLOCK_AGAIN;
}

/* A piece that is still open: more may come, or it never will. */
static TextCallsVerdict wait(bool ended) { return ended ? TEXT_BLOCK_BAD : TEXT_BLOCK_MORE; }

/* ---- calls and their names ----------------------------------------------------------------------------------------- */

/* Between calls: the next one, or the end of the block. */
static TextCallsVerdict read_call(TextCallsBlock *b, Str s, bool ended) {
    const TextCallsForm *f = b->form;
    size_t at = text_calls_forms_skip_space(s, b->at);
    if (at == s.len && !ended) return TEXT_BLOCK_MORE;
    TextCallsMatch close = text_calls_forms_match(s, at, f->close), next = text_calls_forms_match(s, at, f->call_open);
    bool some = b->n_calls > b->first;
    if (some && close == TEXT_MATCH_YES) {
        b->at = at + strlen(f->close);
        return TEXT_BLOCK_GOOD;
    }
    TextCallsMatch again = text_calls_forms_match(s, at, f->open);
    if ((close == TEXT_MATCH_MAYBE || next == TEXT_MATCH_MAYBE || again == TEXT_MATCH_MAYBE) && !ended) return TEXT_BLOCK_MORE;
    if (some && (at == s.len || b->bare || again == TEXT_MATCH_YES)) return TEXT_BLOCK_GOOD; /* only the block's own end is missing */
    if (some && close == TEXT_MATCH_MAYBE) { /* or was cut off */
        b->at = s.len;
        return TEXT_BLOCK_GOOD;
    }
    if (at == s.len || next != TEXT_MATCH_YES || close == TEXT_MATCH_YES) return TEXT_BLOCK_BAD;
    if (!begin_call(b)) {
        b->failed = true;
        return TEXT_BLOCK_BAD;
    }
    b->depth = 0;
    b->in_string = b->escaped = false;
    return go(b, f->name_in_json ? TEXT_BLOCK_JSON : TEXT_BLOCK_NAME, at + strlen(f->call_open));
}

static TextCallsVerdict named(TextCallsBlock *b, Str name, size_t end) {
    if (b->form->name_is_id) {
        size_t digits = name.len;
        buf_put(&current(b)->id, name.ptr, name.len);
        while (digits && name.ptr[digits - 1] >= '0' && name.ptr[digits - 1] <= '9') digits--;
        if (digits && name.ptr[digits - 1] == ':') name.len = digits - 1;
    }
    b->tool = text_calls_value_tool(b->tools, name);
    if (!b->tool) return TEXT_BLOCK_BAD;
    if (!*b->form->key_open) return go(b, TEXT_BLOCK_JSON, end);
    buf_putc(&current(b)->arguments, '{');
    return go(b, TEXT_BLOCK_KEY, end);
}

static TextCallsVerdict read_name(TextCallsBlock *b, Str s, bool ended) {
    const TextCallsForm *f = b->form;
    if (f->name_at_space) { /* GLM: NAME, then a newline or a tag */
        size_t at = text_calls_forms_skip_space(s, b->at), end = at;
        while (end < s.len && !text_calls_forms_is_space(s.ptr[end]) && s.ptr[end] != '<') end++;
        if (end - at > MAX_NAME) return TEXT_BLOCK_BAD;
        if (end == s.len) return wait(ended);
        return named(b, str_make(s.ptr + at, end - at), end);
    }
    TextCallsMatch m = find(b, s, f->name_end);
    if (b->from - b->at > MAX_NAME) return TEXT_BLOCK_BAD;
    if (m != TEXT_MATCH_YES) return wait(ended);
    return named(b, str_make(s.ptr + b->at, b->from - b->at), b->from + strlen(f->name_end));
}

/* ---- parameters ---------------------------------------------------------------------------------------------------- */

/* The call is complete where its arguments are one object; jansson refuses what occurs twice. */
static TextCallsVerdict end_call(TextCallsBlock *b, size_t at, bool all_required) {
    Buf *arguments = &current(b)->arguments;
    if (arguments->failed) b->failed = true;
    if (b->failed || !text_calls_value_is_object(str_make(arguments->ptr, arguments->len), all_required ? b->tool : NULL, &b->failed))
        return TEXT_BLOCK_BAD;
    current(b)->name = text_calls_value_tool_name(b->tool);
    b->n_calls++;
    return go(b, TEXT_BLOCK_CALL, at);
}

/* Behind the name or a value: another parameter, or the end of the call, which may be missing. */
static TextCallsVerdict read_key(TextCallsBlock *b, Str s, bool ended, bool stopped) {
    const TextCallsForm *f = b->form;
    size_t at = text_calls_forms_skip_space(s, b->at);
    bool end = at == s.len && ended && stopped; /* the model took it for finished */
    TextCallsMatch key = text_calls_forms_match(s, at, f->key_open), close = text_calls_forms_match(s, at, f->close);
    TextCallsMatch again = text_calls_forms_match(s, at, f->open);
    TextCallsMatch call = *f->call_close ? text_calls_forms_match(s, at, f->call_close) : TEXT_MATCH_NO;
    if (key == TEXT_MATCH_YES) return go(b, TEXT_BLOCK_KEY_NAME, at + strlen(f->key_open));
    if (!end && call != TEXT_MATCH_YES && close != TEXT_MATCH_YES && again != TEXT_MATCH_YES)
        return key || call || close || again ? wait(ended) : TEXT_BLOCK_BAD;
    buf_putc(&current(b)->arguments, '}');
    return end_call(b, call == TEXT_MATCH_YES ? at + strlen(f->call_close) : b->at, end || again == TEXT_MATCH_YES);
}

static TextCallsVerdict read_key_name(TextCallsBlock *b, Str s, bool ended) {
    const TextCallsForm *f = b->form;
    TextCallsMatch end = find(b, s, f->key_end);
    if (b->from - b->at > MAX_NAME) return TEXT_BLOCK_BAD;
    if (end != TEXT_MATCH_YES) return wait(ended);
    size_t at = b->from + strlen(f->key_end);
    if (*f->value_open) {
        at = text_calls_forms_skip_space(s, at);
        TextCallsMatch m = text_calls_forms_match(s, at, f->value_open);
        if (m != TEXT_MATCH_YES) return m == TEXT_MATCH_NO ? TEXT_BLOCK_BAD : wait(ended);
        at += strlen(f->value_open);
    }
    b->key = b->at;
    b->key_len = b->from - b->at;
    return go(b, TEXT_BLOCK_VALUE, at);
}

static TextCallsVerdict end_value(TextCallsBlock *b, Str s, size_t end, size_t next) {
    Str key = str_make(s.ptr + b->key, b->key_len), value = str_make(s.ptr + b->at, end - b->at);
    Buf *out = &current(b)->arguments;
    if (b->form->lines && value.len && value.ptr[0] == '\n') value = str_make(value.ptr + 1, value.len - 1);
    if (b->form->lines && value.len && value.ptr[value.len - 1] == '\n') value.len--;
    if (out->len > 1) buf_puts(out, ", ");
    text_calls_value_string(key, out);
    buf_puts(out, ": ");
    text_calls_value_put(b->tool, key, value, out);
    return go(b, TEXT_BLOCK_KEY, next);
}

/* Whether one of the tags that may follow a value stands at `at`, or may come to stand there. */
static TextCallsMatch follows_value(const TextCallsForm *f, Str s, size_t at, bool ended) {
    const char *words[] = {f->key_open, f->call_close, f->close, f->open};
    TextCallsMatch best = TEXT_MATCH_NO;
    if (at == s.len) return ended ? TEXT_MATCH_YES : TEXT_MATCH_MAYBE;
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        const char *word = words[i];
        TextCallsMatch m = *word ? text_calls_forms_match(s, at, word) : TEXT_MATCH_NO;
        if (m == TEXT_MATCH_MAYBE && ended) m = TEXT_MATCH_NO;
        if (m > best) best = m;
    }
    return best;
}

/* Whether the call ends here without the value's own end tag: the tags of the end, and then the next block or nothing. */
static TextCallsMatch ends_without_tag(const TextCallsForm *f, Str s, size_t at, bool ended) {
    const char *words[] = {f->call_close, f->close, f->open};
    for (int i = 0; i < 3; i++) {
        if (!*words[i]) continue;
        at = text_calls_forms_skip_space(s, at);
        if (at == s.len) return i == 2 && ended ? TEXT_MATCH_YES : ended ? TEXT_MATCH_NO : TEXT_MATCH_MAYBE;
        TextCallsMatch m = text_calls_forms_match(s, at, words[i]);
        if (m != TEXT_MATCH_YES) return ended ? TEXT_MATCH_NO : m;
        at += strlen(words[i]);
    }
    return TEXT_MATCH_YES;
}

/* A value ends at its tag, if what follows is right: a text about tags may contain one. */
static TextCallsVerdict read_value(TextCallsBlock *b, Str s, bool ended) {
    const TextCallsForm *f = b->form;
    for (; b->from < s.len; b->from++) {
        const char *tag = memchr(s.ptr + b->from, '<', s.len - b->from);
        if (!tag) break;
        b->from = (size_t)(tag - s.ptr);
        TextCallsMatch m = text_calls_forms_match(s, b->from, f->value_end);
        if (m == TEXT_MATCH_YES) {
            size_t behind = b->from + strlen(f->value_end);
            m = follows_value(f, s, text_calls_forms_skip_space(s, behind), ended);
            if (m == TEXT_MATCH_YES) return end_value(b, s, b->from, behind);
        } else if (m == TEXT_MATCH_NO) {
            m = ends_without_tag(f, s, b->from, ended);
            if (m == TEXT_MATCH_YES) return end_value(b, s, b->from, b->from);
        }
        if (m == TEXT_MATCH_MAYBE && !ended) return TEXT_BLOCK_MORE;
    }
    b->from = s.len;
    return wait(ended);
}

/* ---- JSON ---------------------------------------------------------------------------------------------------------- */

/* Puts the object's text, with the brackets that it lacks. */
static void put_json(TextCallsBlock *b, Str json, bool mend, Buf *out) {
    if (mend) text_calls_value_mend(json, out);
    else buf_put(out, json.ptr, json.len);
    for (int i = 0; i < b->depth; i++) buf_putc(out, b->square >> i & 1 ? ']' : '}');
}

/* {"name": NAME, "arguments": OBJECT}: an object may also be spelled in a string, or be missing. */
static bool take_named_json(TextCallsBlock *b, Str json) {
    size_t others;
    Buf *out = &current(b)->arguments;
    Str name = text_calls_value_member(json, "name", &others), arguments = text_calls_value_member(json, "arguments", &others);
    if (!arguments.ptr) arguments = text_calls_value_member(json, "parameters", &others);
    if (others > 1 || !name.ptr) return false; /* something is said that no call says */
    b->tool = text_calls_value_tool(b->tools, name);
    if (!b->tool) return false;
    if (!arguments.ptr) {
        buf_puts(out, "{}");
    } else if (arguments.ptr[0] == '"') {
        json_t *text = json_loadb(arguments.ptr, arguments.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        buf_put(out, json_string_value(text), json_string_length(text));
        json_decref(text);
    } else {
        buf_put(out, arguments.ptr, arguments.len);
    }
    return true;
}

static TextCallsVerdict end_json(TextCallsBlock *b, Str json, size_t end) {
    Buf whole = {0};
    put_json(b, json, false, &whole);
    if (!whole.failed && !text_calls_value_is_object(str_make(whole.ptr, whole.len), NULL, &b->failed)) {
        buf_clear(&whole);
        put_json(b, json, true, &whole);
    }
    b->failed = b->failed || whole.failed;
    Str text = str_make(whole.ptr, whole.len);
    bool good = !b->failed && text_calls_value_is_object(text, NULL, &b->failed);
    if (good && b->form->name_in_json) good = take_named_json(b, text);
    else if (good) buf_put(&current(b)->arguments, text.ptr, text.len);
    buf_free(&whole);
    return good ? go(b, TEXT_BLOCK_JSON_END, end) : TEXT_BLOCK_BAD;
}

/* One byte of JSON outside strings. False: it cannot stand there. */
static bool take_bracket(TextCallsBlock *b, char c) {
    if (c == '{' || c == '[') {
        if (b->depth == MAX_DEPTH) return false;
        b->square = b->square << 1 | (c == '[');
        b->depth++;
    } else if (c == '}' || c == ']') {
        if ((b->square & 1) != (c == ']')) return false;
        b->square >>= 1;
        b->depth--;
    }
    return true;
}

/* At a tag inside brackets: those that are missing are put there, if what follows is the end of the call. */
static TextCallsVerdict end_json_early(TextCallsBlock *b, Str s, bool ended) {
    const TextCallsForm *f = b->form;
    TextCallsMatch m = text_calls_forms_match(s, b->from, *f->call_close ? f->call_close : f->close);
    if (m == TEXT_MATCH_YES) return end_json(b, str_make(s.ptr + b->at, b->from - b->at), b->from);
    return m == TEXT_MATCH_MAYBE ? wait(ended) : TEXT_BLOCK_BAD;
}

static TextCallsVerdict read_json(TextCallsBlock *b, Str s, bool ended) {
    if (b->from == b->at) {
        b->at = b->from = text_calls_forms_skip_space(s, b->at);
        if (b->at == s.len) return wait(ended);
        if (s.ptr[b->at] != '{') return TEXT_BLOCK_BAD;
        b->square = 0;
    }
    for (; b->from < s.len; b->from++) {
        char c = s.ptr[b->from];
        if (b->in_string) {
            if (b->escaped) b->escaped = false;
            else if (c == '\\') b->escaped = true;
            else if (c == '"') b->in_string = false;
        } else if (c == '"') {
            b->in_string = true;
        } else if (c == '<' || c == '`') {
            return end_json_early(b, s, ended);
        } else {
            if (!take_bracket(b, c)) return TEXT_BLOCK_BAD;
            if (b->depth == 0) return end_json(b, str_make(s.ptr + b->at, b->from + 1 - b->at), b->from + 1);
        }
    }
    return wait(ended);
}

/* Behind the object: the end of the call, which may be missing. */
static TextCallsVerdict read_json_end(TextCallsBlock *b, Str s, bool ended) {
    const TextCallsForm *f = b->form;
    size_t at = text_calls_forms_skip_space(s, b->at);
    if (*f->call_close && at < s.len) {
        TextCallsMatch m = text_calls_forms_match(s, at, f->call_close);
        if (m == TEXT_MATCH_YES) return end_call(b, at + strlen(f->call_close), false);
        if (m == TEXT_MATCH_MAYBE && !ended) return TEXT_BLOCK_MORE;
    } else if (*f->call_close && !ended) {
        return TEXT_BLOCK_MORE;
    }
    return end_call(b, b->at, false); /* white space behind it is not the call's */
}

/* -------------------------------------------------------------------------------------------------------------------- */

TextCallsVerdict text_calls_block_read(TextCallsBlock *b, Str s, bool ended, bool stopped) {
    for (;;) {
        TextCallsVerdict v = TEXT_BLOCK_BAD;
        switch (b->state) {
        case TEXT_BLOCK_CALL: v = read_call(b, s, ended); break;
        case TEXT_BLOCK_NAME: v = read_name(b, s, ended); break;
        case TEXT_BLOCK_KEY: v = read_key(b, s, ended, stopped); break;
        case TEXT_BLOCK_KEY_NAME: v = read_key_name(b, s, ended); break;
        case TEXT_BLOCK_VALUE: v = read_value(b, s, ended); break;
        case TEXT_BLOCK_JSON: v = read_json(b, s, ended); break;
        case TEXT_BLOCK_JSON_END: v = read_json_end(b, s, ended); break;
        }
        if (v != TEXT_BLOCK_AGAIN) return v;
    }
}
