/* The pull reader over JSON text: see json.h. */
#include "format/json.h"

#include <stdio.h>
#include <string.h>

enum { MAX_DEPTH = 128 };

ErrCode format_json_bad(FormatJson *j, const char *what) { return format_bad(j->err, j->path, j->base + j->at, "%s", what); }

static ErrCode expected(FormatJson *j, const char *what) {
    char text[128];
    if (j->at >= j->len) {
        snprintf(text, sizeof text, "the JSON text ends where %s should be", what);
    } else {
        unsigned char c = (unsigned char)j->text[j->at];
        if (c > 0x20 && c < 0x7F) snprintf(text, sizeof text, "JSON error: '%c' where %s should be", c, what);
        else snprintf(text, sizeof text, "JSON error: byte 0x%02X where %s should be", c, what);
    }
    return format_json_bad(j, text);
}

static void skip_space(FormatJson *j) {
    for (; j->at < j->len; j->at++) {
        char c = j->text[j->at];
        if (c != ' ' && c != '\t' && c != '\r' && c != '\n') return;
    }
}

char format_json_peek(FormatJson *j) {
    skip_space(j);
    return j->at < j->len ? j->text[j->at] : 0;
}

static bool take(FormatJson *j, char c) {
    if (format_json_peek(j) != c || j->at >= j->len) return false;
    j->at++;
    return true;
}

/* ---- objects and arrays ---- */

ErrCode format_json_object(FormatJson *j) {
    if (!take(j, '{')) return expected(j, "an object");
    j->first = true;
    return ERR_OK;
}

ErrCode format_json_array(FormatJson *j) {
    if (!take(j, '[')) return expected(j, "an array");
    j->first = true;
    return ERR_OK;
}

static ErrCode next_or_close(FormatJson *j, char close, bool *more) {
    *more = false;
    bool first = j->first;
    j->first = false; /* also for the level outside, when this one closes */
    if (take(j, close)) return ERR_OK;
    if (!first && !take(j, ',')) return expected(j, close == '}' ? "',' or '}'" : "',' or ']'");
    *more = true;
    return ERR_OK;
}

ErrCode format_json_key(FormatJson *j, bool *more, Buf *key) {
    ErrCode code = next_or_close(j, '}', more);
    if (code || !*more) return code;
    if (format_json_peek(j) != '"') return expected(j, "a key");
    j->key_at = j->base + j->at;
    code = format_json_string(j, key);
    if (!code && !take(j, ':')) code = expected(j, "':'");
    return code;
}

ErrCode format_json_item(FormatJson *j, bool *more) {
    ErrCode code = next_or_close(j, ']', more);
    if (!code && *more && format_json_peek(j) == ']') code = expected(j, "a value");
    return code;
}

/* ---- strings ---- */

static bool hex4(const FormatJson *j, size_t at, uint32_t *v) {
    if (at + 4 > j->len) return false;
    *v = 0;
    for (size_t i = 0; i < 4; i++) {
        char c = j->text[at + i];
        uint32_t digit;
        if (c >= '0' && c <= '9') digit = (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f') digit = (uint32_t)(c - 'a') + 10;
        else if (c >= 'A' && c <= 'F') digit = (uint32_t)(c - 'A') + 10;
        else return false;
        *v = *v << 4 | digit;
    }
    return true;
}

static void put_utf8(Buf *out, uint32_t c) {
    char b[4];
    size_t n = 0;
    if (c < 0x80) {
        b[n++] = (char)c;
    } else if (c < 0x800) {
        b[n++] = (char)(0xC0 | c >> 6);
        b[n++] = (char)(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        b[n++] = (char)(0xE0 | c >> 12);
        b[n++] = (char)(0x80 | (c >> 6 & 0x3F));
        b[n++] = (char)(0x80 | (c & 0x3F));
    } else {
        b[n++] = (char)(0xF0 | c >> 18);
        b[n++] = (char)(0x80 | (c >> 12 & 0x3F));
        b[n++] = (char)(0x80 | (c >> 6 & 0x3F));
        b[n++] = (char)(0x80 | (c & 0x3F));
    }
    buf_put(out, b, n);
}

/* At the backslash; leaves j->at behind the escape. */
static ErrCode escape(FormatJson *j, Buf *out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = j->at + 1 < j->len ? j->text[j->at + 1] : 0;
    const char *simple = c ? strchr(from, c) : NULL;
    uint32_t unit, low;
    if (simple) {
        buf_putc(out, to[simple - from]);
        j->at += 2;
        return ERR_OK;
    }
    if (c != 'u' || !hex4(j, j->at + 2, &unit)) return format_json_bad(j, "JSON error: not an escape sequence");
    size_t end = j->at + 6;
    if (unit >= 0xD800 && unit < 0xDC00 && end + 6 <= j->len && j->text[end] == '\\' && j->text[end + 1] == 'u' &&
        hex4(j, end + 2, &low) && low >= 0xDC00 && low < 0xE000) {
        unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
        end += 6;
    }
    if (unit >= 0xD800 && unit < 0xE000) return format_json_bad(j, "JSON error: half of a surrogate pair");
    put_utf8(out, unit);
    j->at = end;
    return ERR_OK;
}

ErrCode format_json_string(FormatJson *j, Buf *out) {
    buf_clear(out);
    if (!take(j, '"')) return expected(j, "a string");
    for (;;) {
        size_t run = j->at;
        while (j->at < j->len && j->text[j->at] != '"' && j->text[j->at] != '\\' && (unsigned char)j->text[j->at] >= 0x20) j->at++;
        if (!utf8_valid(j->text + run, j->at - run)) {
            j->at = run;
            return format_json_bad(j, "JSON error: a string that is not UTF-8");
        }
        buf_put(out, j->text + run, j->at - run);
        if (j->at >= j->len) return expected(j, "the end of a string");
        if (j->text[j->at] == '"') break;
        if (j->text[j->at] != '\\') return format_json_bad(j, "JSON error: a control character in a string");
        ErrCode code = escape(j, out);
        if (code) return code;
    }
    j->at++;
    return out->failed ? err_no_memory(j->err, out->len, "a JSON string") : ERR_OK;
}

/* ---- numbers and the rest ---- */

static bool digit(const FormatJson *j) { return j->at < j->len && j->text[j->at] >= '0' && j->text[j->at] <= '9'; }

ErrCode format_json_u64(FormatJson *j, uint64_t *v) {
    skip_space(j);
    if (!digit(j)) return expected(j, "a whole number without sign");
    size_t start = j->at;
    *v = 0;
    for (; digit(j); j->at++) {
        if (j->at > start && j->text[start] == '0') return expected(j, "the end of a number that begins with 0");
        if (!mul_u64(*v, 10, v) || !add_u64(*v, (uint64_t)(j->text[j->at] - '0'), v))
            return format_json_bad(j, "a number larger than 64 bits");
    }
    char next = j->at < j->len ? j->text[j->at] : 0;
    if (next == '.' || next == 'e' || next == 'E') return expected(j, "the end of a whole number");
    return ERR_OK;
}

static bool digits(FormatJson *j) {
    if (!digit(j)) return false;
    while (digit(j)) j->at++;
    return true;
}

static ErrCode skip_number(FormatJson *j) {
    if (j->text[j->at] == '-') j->at++;
    bool zero = j->at < j->len && j->text[j->at] == '0';
    if (zero) j->at++;
    else if (!digits(j)) return expected(j, "a value");
    if (j->at < j->len && j->text[j->at] == '.') {
        j->at++;
        if (!digits(j)) return expected(j, "a digit");
    }
    if (j->at < j->len && (j->text[j->at] == 'e' || j->text[j->at] == 'E')) {
        j->at++;
        if (j->at < j->len && (j->text[j->at] == '+' || j->text[j->at] == '-')) j->at++;
        if (!digits(j)) return expected(j, "a digit");
    }
    return ERR_OK;
}

static bool take_word(FormatJson *j, const char *word) {
    size_t n = strlen(word);
    if (n > j->len - j->at || memcmp(j->text + j->at, word, n) != 0) return false;
    j->at += n;
    return true;
}

static ErrCode skip_value(FormatJson *j, int depth, Buf *scratch) {
    ErrCode code = ERR_OK;
    bool more = true;
    char c = format_json_peek(j);
    if (depth > MAX_DEPTH) return format_json_bad(j, "JSON error: nested too deeply");
    if (c == '"') return format_json_string(j, scratch);
    if (c == '{') {
        code = format_json_object(j);
        while (!code && more) {
            code = format_json_key(j, &more, scratch);
            if (!code && more) code = skip_value(j, depth + 1, scratch);
        }
        return code;
    }
    if (c == '[') {
        code = format_json_array(j);
        while (!code && more) {
            code = format_json_item(j, &more);
            if (!code && more) code = skip_value(j, depth + 1, scratch);
        }
        return code;
    }
    if (take_word(j, "true") || take_word(j, "false") || take_word(j, "null")) return ERR_OK;
    if (j->at < j->len) return skip_number(j);
    return expected(j, "a value");
}

ErrCode format_json_skip(FormatJson *j) {
    Buf scratch = {0};
    ErrCode code = skip_value(j, 0, &scratch);
    buf_free(&scratch);
    return code;
}

ErrCode format_json_end(FormatJson *j) {
    skip_space(j);
    return j->at == j->len ? ERR_OK : expected(j, "the end of the text");
}
