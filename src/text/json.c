/* JSON with integers of any size.
 *
 * jansson holds 64 bits. A longer integer becomes a string value that no JSON text can spell: the byte 0xFF and the
 * digits. To get there the literal is first written as a string that begins with U+F8FF and a colon; a string of the
 * text that begins with U+F8FF itself gets a second one, so the two cannot be confused. Most texts have neither and
 * are parsed as they are. */
#include "text/text.h"

#include <string.h>

#define MARK "\xEF\xA3\xBF" /* U+F8FF, of the private use area */

enum { MAX_DIGITS_64 = 18 }; /* integers of so many digits always fit */

static bool is_one_of(char c, const char *set) { return c != 0 && strchr(set, c) != NULL; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* The end of the string that begins at i, behind its quote. */
static size_t string_end(const char *s, size_t len, size_t i) {
    for (i++; i < len && s[i] != '"'; i++) i += s[i] == '\\';
    return i < len ? i + 1 : len;
}

static bool begins_with_mark(const char *s, size_t len, size_t i) {
    if (i + 4 <= len && memcmp(s + i + 1, MARK, 3) == 0) return true;
    if (i + 7 > len || s[i + 1] != '\\' || s[i + 2] != 'u') return false;
    const char *code = "f8ff";
    for (size_t k = 0; k < 4; k++)
        if ((s[i + 3 + k] | 0x20) != code[k] && s[i + 3 + k] != code[k]) return false;
    return true;
}

/* Whether the number at i is an integer that jansson cannot hold; *end: behind it. */
static bool too_long(const char *s, size_t len, size_t i, size_t *end) {
    size_t first = i + (s[i] == '-'), last = first;
    while (last < len && is_digit(s[last])) last++;
    *end = last;
    bool integer = last == len || (s[last] != '.' && s[last] != 'e' && s[last] != 'E');
    if (!integer) {
        while (*end < len && (is_digit(s[*end]) || is_one_of(s[*end], "+-.eE"))) ++*end;
        return false;
    }
    if (last - first <= MAX_DIGITS_64 || s[first] == '0') return false;
    if (last - first > MAX_DIGITS_64 + 1) return true;
    uint64_t v = 0; /* 19 digits fit into 64 bits without sign */
    for (size_t k = first; k < last; k++) v = v * 10 + (uint64_t)(s[k] - '0');
    return v > (uint64_t)INT64_MAX + (s[i] == '-');
}

/* Copies the text with long integers and marked strings rewritten; *changed: there was something to do. */
static void rewrite(const char *s, size_t len, Buf *out, bool *changed) {
    size_t done = 0;
    *changed = false;
    for (size_t i = 0; i < len;) {
        size_t end = i + 1;
        if (s[i] == '"') {
            end = string_end(s, len, i);
            size_t next = end;
            while (next < len && is_one_of(s[next], " \t\r\n")) next++;
            bool key = next < len && s[next] == ':';
            if (!key && begins_with_mark(s, len, i)) {
                buf_put(out, s + done, i + 1 - done);
                buf_puts(out, MARK);
                done = i + 1;
                *changed = true;
            }
        } else if (s[i] == '-' || is_digit(s[i])) {
            if (too_long(s, len, i, &end)) {
                buf_put(out, s + done, i - done);
                buf_puts(out, "\"" MARK ":");
                buf_put(out, s + i, end - i);
                buf_putc(out, '"');
                done = end;
                *changed = true;
            }
        }
        i = end;
    }
    buf_put(out, s + done, len - done);
}

/* The value in place of a rewritten string, NULL when out of memory. */
static json_t *restored(const json_t *string) {
    const char *s = json_string_value(string);
    size_t len = json_string_length(string);
    if (s[3] != ':') return json_stringn_nocheck(s + 3, len - 3);
    Buf b = {0};
    buf_putc(&b, '\xFF');
    buf_put(&b, s + 4, len - 4);
    json_t *v = b.failed ? NULL : json_stringn_nocheck(b.ptr, b.len);
    buf_free(&b);
    return v;
}

static bool is_rewritten(const json_t *j) {
    return json_is_string(j) && json_string_length(j) > 3 && memcmp(json_string_value(j), MARK, 3) == 0;
}

/* Depth is bounded by jansson's own limit while parsing. */
static bool restore(json_t *j) {
    size_t i;
    json_t *item;
    if (json_is_array(j)) {
        json_array_foreach(j, i, item) {
            if (!(is_rewritten(item) ? json_array_set_new(j, i, restored(item)) == 0 : restore(item))) return false;
        }
    } else if (json_is_object(j)) {
        for (void *it = json_object_iter(j); it; it = json_object_iter_next(j, it)) {
            item = json_object_iter_value(it);
            if (!(is_rewritten(item) ? json_object_iter_set_new(j, it, restored(item)) == 0 : restore(item)))
                return false;
        }
    }
    return true;
}

/* How much of a text a parser error left unread; jansson counts in bytes. */
static json_t *parse(const char *text, size_t len, Err *err) {
    json_error_t why;
    json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &why);
    if (j) return j;
    bool no_memory = json_error_code(&why) == json_error_out_of_memory;
    for (char *c = why.text; *c; c++) /* it quotes the text, which may go on in the next line */
        if ((unsigned char)*c < ' ' || *c == 0x7F) *c = ' ';
    if (no_memory) err_no_memory(err, len, "a JSON text");
    else err_set(err, ERR_FORMAT, "not valid JSON: line %d, column %d: %s", why.line, why.column, why.text);
    return NULL;
}

json_t *text_json_load(const char *text, size_t len, Err *err) {
    Buf b = {0};
    bool changed;
    const char *nul = len ? memchr(text, 0, len) : NULL;
    if (nul) { /* jansson forgets one behind a number or a word */
        err_set(err, ERR_FORMAT, "not valid JSON: a NUL byte at offset %zu", (size_t)(nul - text));
        return NULL;
    }
    rewrite(text, len, &b, &changed);
    if (b.failed) {
        buf_free(&b);
        err_no_memory(err, len, "a JSON text");
        return NULL;
    }
    json_t *j = changed ? parse(b.ptr, b.len, err) : parse(text, len, err);
    buf_free(&b);
    if (!j || !changed) return j;
    bool ok;
    if (is_rewritten(j)) { /* the whole text is one string or number */
        json_t *whole = restored(j);
        ok = whole != NULL;
        json_decref(j);
        j = whole;
    } else {
        ok = restore(j);
    }
    if (ok) return j;
    json_decref(j);
    err_no_memory(err, len, "a JSON text");
    return NULL;
}

static int put_piece(const char *bytes, size_t len, void *user) {
    buf_put(user, bytes, len);
    return ((Buf *)user)->failed ? -1 : 0;
}

bool text_json_put(const json_t *value, Buf *out) {
    return value && json_dump_callback(value, put_piece, out, JSON_COMPACT | JSON_ENCODE_ANY) == 0 && !out->failed;
}
