/* The two long lists of a tokenizer.json, model.vocab and model.merges, read in place. Half a million little JSON objects would
 * cost a hundred megabytes and most of a second, to be thrown away at once; everything else in the file goes through jansson. */
#include "text/tokenizer_parts.h"

#include <string.h>

static bool blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

static size_t skip_blanks(Str s, size_t at) {
    while (at < s.len && blank(s.ptr[at])) at++;
    return at;
}

/* Past the string that starts at s[at] == '"'; s.len when it does not end. */
static size_t skip_string(Str s, size_t at) {
    for (at++; at < s.len; at++) {
        if (s.ptr[at] == '"') return at + 1;
        if (s.ptr[at] == '\\') at++;
    }
    return s.len;
}

/* Past the value that starts at `at`, taking brackets as they come: whether they match is for the parser to say. */
static size_t skip_value(Str s, size_t at) {
    size_t depth = 0;
    while (at < s.len) {
        char c = s.ptr[at];
        if (c == '"') {
            at = skip_string(s, at);
            if (!depth) return at;
            continue;
        }
        if (!depth && (c == ',' || c == '}' || c == ']' || blank(c))) return at;
        if (c == '{' || c == '[') depth++;
        if (c == '}' || c == ']') depth--;
        at++;
        if (!depth && (c == '}' || c == ']')) return at;
    }
    return at;
}

bool text_json_member(Str object, const char *key, Str *value) {
    size_t at = skip_blanks(object, 0), n_key = strlen(key);
    if (at == object.len || object.ptr[at] != '{') return false;
    for (at = skip_blanks(object, at + 1); at < object.len && object.ptr[at] == '"'; at = skip_blanks(object, at + 1)) {
        size_t name = at + 1;
        at = skip_string(object, at);
        bool wanted = at - name == n_key + 1 && memcmp(object.ptr + name, key, n_key) == 0;
        at = skip_blanks(object, at);
        if (at == object.len || object.ptr[at] != ':') return false;
        size_t start = skip_blanks(object, at + 1);
        at = skip_value(object, start);
        *value = str_make(object.ptr + start, at - start);
        if (wanted) return value->len > 0;
        at = skip_blanks(object, at);
        if (at == object.len || object.ptr[at] != ',') return false;
    }
    return false;
}

/* ---- strings ---- */

static int hex4(const char *p, const char *end) {
    int code = 0;
    if (end - p < 4) return -1;
    for (int i = 0; i < 4; i++) {
        int c = p[i], low = c | 32;
        if (c >= '0' && c <= '9') code = code << 4 | (c - '0');
        else if (low >= 'a' && low <= 'f') code = code << 4 | (low - 'a' + 10);
        else return -1;
    }
    return code;
}

/* One escape at p (behind the backslash); writes its UTF-8 and moves both pointers. False: no such escape. */
static bool unescape(const char **p, const char *end, char **out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *known = **p ? strchr(from, **p) : NULL;
    if (known) {
        *(*out)++ = to[known - from];
        ++*p;
        return true;
    }
    int code = **p == 'u' ? hex4(*p + 1, end) : -1;
    *p += 5;
    if (code >= 0xD800 && code < 0xDC00) { /* the first of a pair */
        int low = end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u' ? hex4(*p + 2, end) : -1;
        if (low < 0xDC00 || low > 0xDFFF) return false;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        *p += 6;
    }
    if (code <= 0 || (code >= 0xD800 && code < 0xE000)) return false;
    *out += text_utf8_put(code, *out);
    return true;
}

static bool read_string(TextJsonWalk *w, Str *out) {
    if (w->at == w->text.len || w->text.ptr[w->at] != '"') return false;
    const char *start = w->text.ptr + w->at + 1, *end = start, *stop = w->text.ptr + w->text.len;
    bool escaped = false;
    for (; end < stop && *end != '"'; end++) {
        if ((unsigned char)*end < 0x20) return false;
        if (*end == '\\') {
            escaped = true;
            if (++end == stop) return false;
        }
    }
    if (end == stop) return false;
    *out = str_make(start, (size_t)(end - start));
    if (escaped) {
        char *copy = arena_alloc(&w->strings, out->len, 1), *to = copy; /* an escape is never shorter than its character */
        w->no_memory = !copy;
        if (!copy) return false;
        for (const char *p = start; p < end;) {
            if (*p != '\\') *to++ = *p++;
            else if (p++, !unescape(&p, end, &to)) return false;
        }
        *out = str_make(copy, (size_t)(to - copy));
    }
    w->at = (size_t)(end + 1 - w->text.ptr);
    return true;
}

/* ---- the lists ---- */

static bool take(TextJsonWalk *w, char c) {
    w->at = skip_blanks(w->text, w->at);
    if (w->at == w->text.len || w->text.ptr[w->at] != c) return false;
    w->at = skip_blanks(w->text, w->at + 1);
    return true;
}

/* Moves to the next item between the brackets. *end: there is none. */
static bool next_item(TextJsonWalk *w, char open, char close, bool *end) {
    bool first = w->at == 0;
    *end = false;
    if (first && !take(w, open)) return false;
    if (take(w, close)) {
        *end = true;
        return w->at == w->text.len;
    }
    return first || take(w, ',');
}

static bool read_id(TextJsonWalk *w, int64_t *id) {
    const char *p = w->text.ptr + w->at, *end = w->text.ptr + w->text.len, *start = p;
    bool negative = p < end && *p == '-';
    *id = 0;
    for (p += negative; p < end && *p >= '0' && *p <= '9'; p++)
        if (*id < INT64_C(1) << 40) *id = *id * 10 + (*p - '0'); /* far beyond any id is far enough */
    if (negative) *id = -*id;
    w->at += (size_t)(p - start);
    return p > start + negative && (p == end || (*p != '.' && (*p | 32) != 'e'));
}

static ErrCode broken(const TextJsonWalk *w, const char *what, const char *wanted, Err *err) {
    if (w->no_memory) return err_no_memory(err, w->text.len, "the strings of a tokenizer");
    return err_set(err, ERR_FORMAT, "%s is damaged at its byte %zu: %s", what, w->at, wanted);
}

ErrCode text_json_vocab_next(TextJsonWalk *w, Str *token, int64_t *id, bool *end, Err *err) {
    if (!next_item(w, '{', '}', end)) return broken(w, "model.vocab", "expected a comma or a bracket", err);
    if (*end) return ERR_OK;
    if (!read_string(w, token)) return broken(w, "model.vocab", "expected a token as a string", err);
    if (!take(w, ':')) return broken(w, "model.vocab", "expected a colon", err);
    if (read_id(w, id)) return ERR_OK;
    return err_set(err, ERR_FORMAT, "token \"%.*s\" has no id", token->len > 60 ? 60 : (int)token->len, token->ptr);
}

/* "left right", or since 2024 ["left", "right"]. */
static bool read_merge(TextJsonWalk *w, Str parts[2]) {
    if (take(w, '[')) return read_string(w, &parts[0]) && take(w, ',') && read_string(w, &parts[1]) && take(w, ']');
    Str s;
    if (!read_string(w, &s)) return false;
    const char *space = memchr(s.ptr, ' ', s.len);
    if (!space) return false;
    size_t left = (size_t)(space - s.ptr);
    parts[0] = str_make(s.ptr, left);
    parts[1] = str_make(space + 1, s.len - left - 1);
    return !memchr(parts[1].ptr, ' ', parts[1].len);
}

ErrCode text_json_merges_next(TextJsonWalk *w, Str parts[2], bool *end, Err *err) {
    if (!next_item(w, '[', ']', end)) return broken(w, "model.merges", "expected a comma or a bracket", err);
    if (*end || read_merge(w, parts)) return ERR_OK;
    return broken(w, "model.merges", "expected \"left right\" or [\"left\", \"right\"]", err);
}
