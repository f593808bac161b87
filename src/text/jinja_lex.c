/* Template text to tokens. Two languages meet here: text up to the next {{, {% or {#, and the words inside a tag.
 * White-space control (-, +, and the two habits of chat templates: a newline behind a block goes, blanks before a
 * block at the start of a line go) is settled here, so that the parser never sees it. */
#include "text/jinja.h"

#include <stdlib.h>
#include <string.h>

typedef struct Lexer {
    Arena *arena, *words;
    Err *err;
    const char *s; /* [len] the source with \n line ends */
    size_t len, pos;
    unsigned line; /* of pos */
    JinjaToken *tokens;
    size_t n, cap;
} Lexer;

static bool put(Lexer *l, JinjaTokenKind kind, unsigned line, Str text, const JinjaValue *value) {
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 256;
        JinjaToken *more = arena_alloc(l->words, cap * sizeof *more, 16);
        if (!more) return jinja_no_memory(l->err);
        if (l->n) memcpy(more, l->tokens, l->n * sizeof *more);
        l->tokens = more;
        l->cap = cap;
    }
    l->tokens[l->n++] = (JinjaToken){kind, line, text, value ? *value : jinja_none()};
    return true;
}

static void go_to(Lexer *l, size_t to) {
    for (; l->pos < to; l->pos++) l->line += l->s[l->pos] == '\n';
}

static bool at(const Lexer *l, size_t pos, const char *z) {
    size_t n = strlen(z);
    return pos <= l->len && n <= l->len - pos && memcmp(l->s + pos, z, n) == 0;
}

static size_t skip_space(const Lexer *l, size_t pos) {
    size_t size;
    while (pos < l->len && jinja_is_space(jinja_code_point(str_make(l->s, l->len), pos, &size))) pos += size;
    return pos;
}

/* Where a tag that ends with `close` at pos ends: behind "-%}" and all white space, "+%}", or "%}" and one newline.
 * 0: no end here. A variable's end knows no "+" and keeps its newline. */
static size_t tag_end(const Lexer *l, size_t pos, const char *close, bool block) {
    if (l->s[pos] == '-' && at(l, pos + 1, close)) return skip_space(l, pos + 3);
    if (block && l->s[pos] == '+' && at(l, pos + 1, close)) return pos + 3;
    if (!at(l, pos, close)) return 0;
    return pos + 2 + (block && at(l, pos + 2, "\n"));
}

/* The text before a tag, without what the tag's sign takes away. */
static Str before_tag(const Lexer *l, size_t from, size_t to, char sign, bool block) {
    Str text = str_make(l->s + from, to - from);
    if (sign == '-') return jinja_strip(text, NULL, false, true);
    if (sign == '+' || !block) return text;
    size_t line_start = to;
    while (line_start > from && l->s[line_start - 1] != '\n') line_start--;
    bool at_start = line_start > 0 ? l->s[line_start - 1] == '\n' : true;
    Str blank = str_make(l->s + line_start, to - line_start);
    if (at_start && jinja_strip(blank, NULL, true, true).len == 0) text.len = line_start - from;
    return text;
}

static bool put_text(Lexer *l, Str text) {
    return text.len == 0 || put(l, JINJA_T_DATA, l->line, text, NULL);
}

/* "{% raw %}" at the tag's opening: returns where its body begins, or 0. */
static size_t raw_begin(const Lexer *l, size_t pos) {
    pos += 2;
    if (pos < l->len && (l->s[pos] == '-' || l->s[pos] == '+')) pos++;
    pos = skip_space(l, pos);
    if (!at(l, pos, "raw")) return 0;
    pos = skip_space(l, pos + 3);
    if (at(l, pos, "-%}")) return skip_space(l, pos + 3);
    return at(l, pos, "%}") ? pos + 2 : 0;
}

static bool raw_body(Lexer *l) {
    unsigned line = l->line;
    size_t from = l->pos;
    for (size_t i = from; i + 1 < l->len; i++) {
        if (!at(l, i, "{%")) continue;
        size_t p = i + 2;
        char sign = 0;
        if (p < l->len && (l->s[p] == '-' || l->s[p] == '+')) sign = l->s[p++];
        p = skip_space(l, p);
        if (!at(l, p, "endraw")) continue;
        p = skip_space(l, p + 6);
        size_t end = p < l->len ? tag_end(l, p, "%}", true) : 0;
        if (!end) continue;
        if (!put_text(l, before_tag(l, from, i, sign, true))) return false;
        go_to(l, end);
        return true;
    }
    return jinja_source_fail(l->err, ERR_FORMAT, line, "{%% raw %%} is never closed by {%% endraw %%}");
}

static bool comment(Lexer *l) {
    unsigned line = l->line;
    for (size_t i = l->pos; i + 1 < l->len; i++) {
        if (!at(l, i, "#}")) continue;
        bool sign = i > l->pos && (l->s[i - 1] == '-' || l->s[i - 1] == '+');
        go_to(l, tag_end(l, sign ? i - 1 : i, "#}", true));
        return true;
    }
    return jinja_source_fail(l->err, ERR_FORMAT, line, "a comment {# is never closed by #}");
}

/* ---- inside a tag ---- */

static bool digit_of(char c, int base) {
    int v = c >= '0' && c <= '9'   ? c - '0'
            : c >= 'a' && c <= 'f' ? c - 'a' + 10
            : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                   : 99;
    return v < base;
}

/* Digits with single underscores between them; returns the end. */
static size_t digits(const Lexer *l, size_t pos, int base) {
    while (pos < l->len) {
        if (digit_of(l->s[pos], base)) pos++;
        else if (l->s[pos] == '_' && pos + 1 < l->len && digit_of(l->s[pos + 1], base)) pos += 2;
        else break;
    }
    return pos;
}

static bool is_digit_at(const Lexer *l, size_t pos) { return pos < l->len && digit_of(l->s[pos], 10); }

static size_t float_end(const Lexer *l, size_t pos) {
    if (pos > 0 && l->s[pos - 1] == '.') return 0; /* x.0.5: two subscripts */
    size_t p = digits(l, pos, 10), end = 0;
    if (p < l->len && l->s[p] == '.' && is_digit_at(l, p + 1)) end = p = digits(l, p + 1, 10);
    if (p < l->len && (l->s[p] == 'e' || l->s[p] == 'E')) {
        size_t e = p + 1;
        if (e < l->len && (l->s[e] == '+' || l->s[e] == '-')) e++;
        if (is_digit_at(l, e)) end = digits(l, e, 10);
    }
    return end;
}

static bool number(Lexer *l) {
    size_t from = l->pos, end = float_end(l, from);
    bool is_float = end != 0;
    int base = 10;
    if (!is_float && l->s[from] == '0' && from + 1 < l->len) {
        char x = (char)(l->s[from + 1] | 0x20);
        base = x == 'x' ? 16 : x == 'o' ? 8 : x == 'b' ? 2 : 10;
        size_t start = base == 10 ? from + 1 : from + 2;
        end = base == 10 ? from : digits(l, start, base);
        while (base == 10 && end < l->len && (l->s[end] == '0' || (l->s[end] == '_' && at(l, end + 1, "0")))) end++;
        if (end == start && base != 10) base = 10, end = from + 1;
    } else if (!is_float) {
        end = digits(l, from, 10);
    }
    char *copy = arena_alloc(l->arena, end - from + 1, 1);
    if (!copy) return jinja_no_memory(l->err);
    size_t n = 0;
    for (size_t i = base == 10 ? from : from + 2; i < end; i++)
        if (l->s[i] != '_') copy[n++] = l->s[i];
    JinjaValue v = {0};
    if (is_float) {
        v = jinja_float(strtod(copy, NULL));
    } else {
        int64_t i = 0;
        bool fits = true;
        for (size_t k = 0; k < n && fits; k++) {
            int d = copy[k] <= '9' ? copy[k] - '0' : (copy[k] | 0x20) - 'a' + 10;
            fits = !__builtin_mul_overflow(i, (int64_t)base, &i) && !__builtin_add_overflow(i, (int64_t)d, &i);
        }
        if (!fits && base != 10)
            return jinja_source_fail(l->err, ERR_UNSUPPORTED, l->line, "an integer beyond 64 bits in base %d", base);
        v = fits ? jinja_int(i) : (JinjaValue){.kind = JINJA_BIG, .s = str_make(copy, n)};
    }
    if (!put(l, JINJA_T_NUMBER, l->line, str_make(l->s + from, end - from), &v)) return false;
    go_to(l, end);
    return true;
}

static int hex_value(const char *s, size_t n) {
    int v = 0;
    for (size_t i = 0; i < n; i++) {
        if (!digit_of(s[i], 16)) return -1;
        v = v * 16 + (s[i] <= '9' ? s[i] - '0' : (s[i] | 0x20) - 'a' + 10);
        if (v > 0x10FFFF) return -1;
    }
    return v;
}

/* One escape sequence behind a backslash at s[i]; writes its text to out and returns how much of the source it used,
 * 0: broken. What Python does not know stays as it is, backslash included. */
static size_t escape(const char *s, size_t left, char *out, size_t *n) {
    static const char plain[] = "\\'\"abfnrtv", means[] = "\\'\"\a\b\f\n\r\t\v";
    const char *known = s[0] ? strchr(plain, s[0]) : NULL;
    int cp = -1;
    size_t used = 1;
    if (s[0] == '\n') return 1;
    if (known) {
        out[(*n)++] = means[known - plain];
        return 1;
    }
    if (s[0] >= '0' && s[0] <= '7') {
        cp = s[0] - '0';
        for (; used < 3 && used < left && s[used] >= '0' && s[used] <= '7'; used++) cp = cp * 8 + s[used] - '0';
    } else if (s[0] == 'x' || s[0] == 'u' || s[0] == 'U') {
        used = s[0] == 'x' ? 3 : s[0] == 'u' ? 5 : 9;
        cp = used <= left ? hex_value(s + 1, used - 1) : -1;
        if (cp < 0) return 0;
    } else if (s[0] == 'N') {
        return 0;
    } else {
        out[(*n)++] = '\\';
        if ((unsigned char)s[0] < 0x80) {
            out[(*n)++] = s[0];
            return 1;
        }
        /* Python spells the character out before it looks at the backslash: "\é" becomes the four characters \xe9. */
        size_t size;
        uint32_t c = jinja_code_point(str_make(s, left), 0, &size);
        Buf spelled = {0};
        buf_printf(&spelled, c < 0x100 ? "x%02x" : c < 0x10000 ? "u%04x" : "U%08x", c);
        if (spelled.failed) return buf_free(&spelled), (size_t)0;
        memcpy(out + *n, spelled.ptr, spelled.len);
        *n += spelled.len;
        buf_free(&spelled);
        return size;
    }
    if (cp >= 0xD800 && cp < 0xE000) return 0;
    *n += jinja_put_utf8((uint32_t)cp, out + *n);
    return used;
}

static bool string(Lexer *l) {
    char quote = l->s[l->pos];
    size_t from = l->pos + 1, end = from;
    while (end < l->len && l->s[end] != quote) end += l->s[end] == '\\' ? 2 : 1;
    if (end >= l->len) return jinja_source_fail(l->err, ERR_FORMAT, l->line, "a string is never closed by %c", quote);
    char *text =
        arena_alloc(l->arena, (end - from) * 5 + 16, 1); /* the longest escape is five times what it came from */
    if (!text) return jinja_no_memory(l->err);
    size_t n = 0;
    for (size_t i = from; i < end;) {
        if (l->s[i] != '\\') {
            text[n++] = l->s[i++];
            continue;
        }
        size_t used = escape(l->s + i + 1, end - i - 1, text, &n);
        if (!used)
            return jinja_source_fail(l->err, ERR_FORMAT, l->line, "a broken escape sequence \\%c in a string",
                                     l->s[i + 1]);
        i += 1 + used;
    }
    if (!put(l, JINJA_T_STRING, l->line, str_make(text, n), NULL)) return false;
    go_to(l, end + 1);
    return true;
}

static const char *const operators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};

static bool word(Lexer *l) {
    char c = l->s[l->pos];
    size_t size;
    uint32_t cp = jinja_code_point(str_make(l->s, l->len), l->pos, &size);
    if (c >= '0' && c <= '9') return number(l);
    if (c == '\'' || c == '"') return string(l);
    if (jinja_is_word(cp)) {
        size_t end = l->pos;
        while (end < l->len && jinja_is_word(jinja_code_point(str_make(l->s, l->len), end, &size))) end += size;
        if (!put(l, JINJA_T_NAME, l->line, str_make(l->s + l->pos, end - l->pos), NULL)) return false;
        l->pos = end;
        return true;
    }
    for (size_t i = 0; i < COUNT_OF(operators); i++) {
        if (!at(l, l->pos, operators[i])) continue;
        if (!put(l, JINJA_T_OP, l->line, str_c(operators[i]), NULL)) return false;
        l->pos += strlen(operators[i]);
        return true;
    }
    return jinja_source_fail(l->err, ERR_FORMAT, l->line, "unexpected character \"%.*s\" in a tag", (int)size,
                             l->s + l->pos);
}

/* The words of one tag. Its end counts only outside brackets: in {{ {'a': {}}}} the first two braces belong to the
 * dict. */
static bool tag(Lexer *l, bool block) {
    char expected[JINJA_MAX_NESTING];
    size_t open = 0;
    if (!put(l, block ? JINJA_T_BLOCK_BEGIN : JINJA_T_VAR_BEGIN, l->line, str_make("", 0), NULL)) return false;
    for (;;) {
        if (l->pos >= l->len) return true; /* the parser will miss what is missing */
        size_t end = open == 0 ? tag_end(l, l->pos, block ? "%}" : "}}", block) : 0;
        if (end) {
            if (!put(l, block ? JINJA_T_BLOCK_END : JINJA_T_VAR_END, l->line, str_make("", 0), NULL)) return false;
            go_to(l, end);
            return true;
        }
        size_t behind = skip_space(l, l->pos);
        if (behind > l->pos) {
            go_to(l, behind);
            continue;
        }
        if (!word(l)) return false;
        const JinjaToken *t = &l->tokens[l->n - 1];
        if (t->kind != JINJA_T_OP) continue;
        char c = t->text.ptr[0];
        if (c == '(' || c == '[' || c == '{') {
            if (open == sizeof expected)
                return jinja_source_fail(l->err, ERR_UNSUPPORTED, l->line, "brackets nested too deep");
            expected[open++] = c == '(' ? ')' : c == '[' ? ']' : '}';
        } else if (c == ')' || c == ']' || c == '}') {
            if (open == 0) return jinja_source_fail(l->err, ERR_FORMAT, l->line, "unexpected '%c'", c);
            if (expected[--open] != c)
                return jinja_source_fail(l->err, ERR_FORMAT, l->line, "unexpected '%c', expected '%c'", c,
                                         expected[open]);
        }
    }
}

static bool lex_all(Lexer *l) {
    while (l->pos < l->len) {
        size_t open = l->pos;
        while (open < l->len && !at(l, open, "{{") && !at(l, open, "{%") && !at(l, open, "{#")) open++;
        if (open == l->len) {
            bool ok = put_text(l, str_make(l->s + l->pos, l->len - l->pos));
            go_to(l, l->len);
            return ok && put(l, JINJA_T_EOF, l->line, str_make("", 0), NULL);
        }
        char what = l->s[open + 1];
        char sign = open + 2 < l->len && (l->s[open + 2] == '-' || l->s[open + 2] == '+') ? l->s[open + 2] : 0;
        if (!put_text(l, before_tag(l, l->pos, open, sign, what != '{'))) return false;
        size_t raw = what == '%' ? raw_begin(l, open) : 0;
        go_to(l, raw ? raw : open + 2 + (sign != 0));
        if (!(raw ? raw_body(l) : what == '#' ? comment(l) : tag(l, what == '%'))) return false;
    }
    return put(l, JINJA_T_EOF, l->line, str_make("", 0), NULL);
}

bool jinja_lex(Arena *arena, Arena *words, const char *source, size_t len, JinjaToken **tokens, Err *err) {
    char *s = arena_alloc(arena, len + 1, 1);
    if (!s) return jinja_no_memory(err);
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (source[i] != '\r') s[n++] = source[i];
        else if (i + 1 == len || source[i + 1] != '\n') s[n++] = '\n';
    }
    if (n > 0 && s[n - 1] == '\n') n--; /* as Jinja: one newline at the end of a template is the editor's */
    s[n] = 0;
    Lexer l = {.arena = arena, .words = words, .err = err, .s = s, .len = n, .line = 1};
    if (!lex_all(&l)) return false;
    *tokens = l.tokens;
    return true;
}
