/* The text of a pattern becomes a tree. The language is ECMA 262's with its u flag, as JSON Schema asks for; what no automaton can do
 * (looking around, references back, word borders) is refused by name; ahead.c takes off what a pattern looks ahead for at its beginning. */
#include "grammar/pattern.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

typedef struct Parser {
    Arena *arena;
    const char *at, *end;
    int depth;
    Err *err;
} Parser;

enum { MAX_DEPTH = 100, MAX_RUNS = 8192 /* twice as many as Unicode 15 has */ };

static GrammarRegex *alternatives(Parser *p);

static GrammarRegex *bad(Parser *p, const char *what) {
    err_set(p->err, ERR_UNSUPPORTED, "%s", what);
    return NULL;
}

static GrammarRegex *node(Parser *p, GrammarRegexKind kind, GrammarRegex *a, GrammarRegex *b) {
    GrammarRegex *r = arena_alloc(p->arena, sizeof *r, 8);
    if (!r) {
        err_no_memory(p->err, sizeof *r, "a pattern");
        return NULL;
    }
    *r = (GrammarRegex){.kind = kind, .a = a, .b = b};
    return r;
}

/* ---- sets ---- */

/* Ranges are looked through from the end, where those of a class that was written in order are added. */
void grammar_regex_add_range(Arena *arena, GrammarSet *s, uint32_t first, uint32_t last) {
    uint32_t end = s->n, at;
    while (end > 0 && s->ranges[end - 1][0] > last + 1) end--;
    for (at = end; at > 0 && s->ranges[at - 1][1] + 1 >= first; at--) {
        if (s->ranges[at - 1][0] < first) first = s->ranges[at - 1][0];
        if (s->ranges[at - 1][1] > last) last = s->ranges[at - 1][1];
    }
    if (at == end && s->n == s->cap) { /* nothing that it joins */
        uint32_t cap = 2 * s->cap + 4;
        uint32_t (*more)[2] = arena_alloc(arena, cap * sizeof *more, 8);
        if (!more) {
            s->n = s->cap = 0;
            return;
        }
        if (s->n) memcpy(more, s->ranges, s->n * sizeof *more);
        s->ranges = more;
        s->cap = cap;
    }
    if (s->n > end) memmove(s->ranges + at + 1, s->ranges + end, (s->n - end) * sizeof *s->ranges);
    s->n += 1 + at - end;
    s->ranges[at][0] = first;
    s->ranges[at][1] = last;
}

static void add_all(Parser *p, GrammarSet *to, const GrammarSet *from, bool inverted) {
    uint32_t next = 0;
    for (uint32_t i = 0; i < from->n; i++) {
        if (!inverted) grammar_regex_add_range(p->arena, to, from->ranges[i][0], from->ranges[i][1]);
        else if (from->ranges[i][0] > next) grammar_regex_add_range(p->arena, to, next, from->ranges[i][0] - 1);
        next = from->ranges[i][1] + 1;
    }
    if (inverted && next <= GRAMMAR_LAST_CHAR) grammar_regex_add_range(p->arena, to, next, GRAMMAR_LAST_CHAR);
}

static const uint32_t digit_ranges[][2] = {{'0', '9'}};
static const uint32_t word_ranges[][2] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const uint32_t space_ranges[][2] = {{9, 13}, {' ', ' '}, {0xA0, 0xA0}, {0x1680, 0x1680}, {0x2000, 0x200A}, {0x2028, 0x2029},
                                           {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};

/* \d \w \s and their opposites; false: another letter. */
static bool add_class(Parser *p, GrammarSet *to, char letter) {
    const uint32_t (*ranges)[2];
    size_t n;
    char lower = (char)(letter | 0x20);
    if (lower == 'd') ranges = digit_ranges, n = COUNT_OF(digit_ranges);
    else if (lower == 'w') ranges = word_ranges, n = COUNT_OF(word_ranges);
    else if (lower == 's') ranges = space_ranges, n = COUNT_OF(space_ranges);
    else return false;
    GrammarSet s = {0};
    for (size_t i = 0; i < n; i++) grammar_regex_add_range(p->arena, &s, ranges[i][0], ranges[i][1]);
    add_all(p, to, &s, lower != letter);
    return true;
}

/* Where the category of code points changes: found once, for asking each of them takes 20 ms, and a schema may ask a thousand times. */
static struct {
    uint32_t first[MAX_RUNS + 1]; /* [n + 1] */
    utf8proc_category_t category[MAX_RUNS];
    uint32_t n;
} runs;
static pthread_once_t runs_once = PTHREAD_ONCE_INIT;

static void find_runs(void) {
    for (uint32_t c = 0; c <= GRAMMAR_LAST_CHAR && runs.n < MAX_RUNS; c++) {
        utf8proc_category_t here = utf8proc_category((utf8proc_int32_t)c);
        if (runs.n > 0 && runs.category[runs.n - 1] == here) continue;
        runs.first[runs.n] = c;
        runs.category[runs.n++] = here;
    }
    runs.first[runs.n] = GRAMMAR_LAST_CHAR + 1;
}

/* \p{Lu}: a general category of one or two letters. */
static bool add_category(Parser *p, GrammarSet *to, bool inverted) {
    char name[3] = {0};
    size_t n = 0;
    if (p->at == p->end || *p->at++ != '{') return bad(p, "\\p without braces") != NULL;
    while (p->at < p->end && *p->at != '}' && n < 2) name[n++] = *p->at++;
    if (n == 0 || p->at == p->end || *p->at++ != '}') {
        bad(p, "\\p with anything but a general category of one or two letters, such as \\p{L} or \\p{Lu}, is not supported");
        return false;
    }
    GrammarSet s = {0};
    pthread_once(&runs_once, find_runs);
    for (uint32_t i = 0; i < runs.n; i++) {
        const char *category = utf8proc_category_string((utf8proc_int32_t)runs.first[i]);
        if (strncmp(category, name, n) == 0) grammar_regex_add_range(p->arena, &s, runs.first[i], runs.first[i + 1] - 1);
    }
    if (s.n == 0) return bad(p, "\\p names a category that is not known") != NULL;
    add_all(p, to, &s, inverted);
    return true;
}

/* ---- characters ---- */

static uint32_t next_char(Parser *p) {
    utf8proc_int32_t c = -1;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)p->at, p->end - p->at, &c);
    p->at += n > 0 ? n : 1;
    return c < 0 ? 0xFFFD : (uint32_t)c;
}

static bool hex(Parser *p, int digits, uint32_t *c) {
    char text[8] = {0}, *end;
    if (p->end - p->at < digits) return false;
    memcpy(text, p->at, (size_t)digits);
    *c = (uint32_t)strtoul(text, &end, 16);
    if (end != text + digits || text[0] == '+' || text[0] == '-' || text[0] == ' ') return false;
    p->at += digits;
    return true;
}

static bool unicode_escape(Parser *p, uint32_t *c) {
    uint32_t low;
    if (p->at < p->end && *p->at == '{') {
        const char *close = memchr(p->at, '}', (size_t)(p->end - p->at));
        p->at++;
        if (!close || close - p->at < 1 || close - p->at > 6 || !hex(p, (int)(close - p->at), c) || *c > GRAMMAR_LAST_CHAR) return false;
        p->at++;
        return true;
    }
    if (!hex(p, 4, c)) return false;
    if (*c >= 0xD800 && *c < 0xDC00 && p->end - p->at >= 6 && p->at[0] == '\\' && p->at[1] == 'u') {
        p->at += 2;
        if (!hex(p, 4, &low) || low < 0xDC00 || low > 0xDFFF) return false;
        *c = 0x10000 + ((*c - 0xD800) << 10) + (low - 0xDC00);
    }
    return true;
}

/* Behind a backslash: one character into *c, or a whole set into s. False: an error is set. */
static bool escaped(Parser *p, bool in_brackets, GrammarSet *s, bool *is_set, uint32_t *c) {
    static const char from[] = "tnrvf0", to[] = "\t\n\r\v\f";
    *is_set = false;
    if (p->at == p->end) return bad(p, "a backslash at the end") != NULL;
    char letter = *p->at;
    if (add_class(p, s, letter)) {
        p->at++;
        return *is_set = true;
    }
    *c = next_char(p);
    if (letter == 'p' || letter == 'P') return *is_set = add_category(p, s, letter == 'P');
    const char *simple = letter ? strchr(from, letter) : NULL;
    if (simple) {
        *c = (uint8_t)to[simple - from];
        return true;
    }
    if (letter == 'b' && in_brackets) {
        *c = '\b';
        return true;
    }
    if (letter == 'b' || letter == 'B') return bad(p, "word borders (\\b) are not supported") != NULL;
    if (letter == 'k' || (letter >= '1' && letter <= '9')) return bad(p, "references back to a group are not supported") != NULL;
    if (letter == 'x') return hex(p, 2, c) || bad(p, "\\x without two hexadecimal digits");
    if (letter == 'u') return unicode_escape(p, c) || bad(p, "\\u without four hexadecimal digits");
    if (letter == 'c' && p->at < p->end) {
        *c = (uint8_t)*p->at++ & 31;
        return true;
    }
    if ((letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z')) return bad(p, "an escape with an unknown letter") != NULL;
    return true;
}

static GrammarRegex *of_set(Parser *p, GrammarSet *s) {
    GrammarRegex *r = node(p, GRAMMAR_REGEX_SET, NULL, NULL);
    if (!r) return NULL;
    r->set = arena_alloc(p->arena, sizeof *r->set, 8);
    if (!r->set) return NULL;
    *r->set = *s;
    return r;
}

static GrammarRegex *brackets(Parser *p) {
    GrammarSet s = {0}, whole = {0};
    bool inverted = p->at < p->end && *p->at == '^', is_set, second_is_set;
    if (inverted) p->at++;
    while (p->at < p->end && *p->at != ']') {
        uint32_t first = next_char(p), last;
        is_set = second_is_set = false;
        if (first == '\\' && !escaped(p, true, &s, &is_set, &first)) return NULL;
        bool range = !is_set && p->end - p->at >= 2 && p->at[0] == '-' && p->at[1] != ']';
        if (!range) {
            if (!is_set) grammar_regex_add_range(p->arena, &s, first, first);
            continue;
        }
        p->at++;
        last = next_char(p);
        if (last == '\\' && !escaped(p, true, &s, &second_is_set, &last)) return NULL;
        if (second_is_set || last < first) return bad(p, "a range in [] that is none");
        grammar_regex_add_range(p->arena, &s, first, last);
    }
    if (p->at == p->end) return bad(p, "[ without ]");
    p->at++;
    if (inverted) add_all(p, &whole, &s, true);
    return of_set(p, inverted ? &whole : &s);
}

static GrammarRegex *group(Parser *p) {
    if (p->end - p->at >= 2 && p->at[0] == '?') {
        bool named = p->at[1] == '<' && p->end - p->at >= 3 && p->at[2] != '=' && p->at[2] != '!';
        const char *close = named ? memchr(p->at, '>', (size_t)(p->end - p->at)) : NULL;
        if (p->at[1] == ':') p->at += 2;
        else if (close) p->at = close + 1;
        else if (strchr("=!<", p->at[1]))
            return bad(p, "looking ahead ((?=...), (?!...)) is supported behind the first ^ alone, looking behind is not");
        else return bad(p, "flags of a group ((?i)) are not supported");
    }
    if (++p->depth > MAX_DEPTH) return bad(p, "groups nested too deeply");
    GrammarRegex *r = alternatives(p);
    p->depth--;
    if (!r) return NULL;
    if (p->at == p->end || *p->at != ')') return bad(p, "( without )");
    p->at++;
    return r;
}

static GrammarRegex *atom(Parser *p) {
    GrammarSet s = {0};
    bool is_set = false;
    uint32_t c = next_char(p);
    if (c == '^') return node(p, GRAMMAR_REGEX_BEGIN, NULL, NULL);
    if (c == '$') return node(p, GRAMMAR_REGEX_END, NULL, NULL);
    if (c == '(') return group(p);
    if (c == '[') return brackets(p);
    if (c == '*' || c == '+' || c == '?') return bad(p, "a repetition of nothing");
    if (c == '.') {
        GrammarSet ends = {0};
        grammar_regex_add_range(p->arena, &ends, '\n', '\n');
        grammar_regex_add_range(p->arena, &ends, '\r', '\r');
        grammar_regex_add_range(p->arena, &ends, 0x2028, 0x2029);
        add_all(p, &s, &ends, true);
        return of_set(p, &s);
    }
    if (c == '\\' && !escaped(p, false, &s, &is_set, &c)) return NULL;
    if (!is_set) grammar_regex_add_range(p->arena, &s, c, c);
    return of_set(p, &s);
}

/* {n}, {n,} or {n,m}; false: these are plain characters. */
static bool bounds(Parser *p, uint32_t *min, uint32_t *max) {
    const char *c = p->at + 1;
    uint32_t n[2] = {0, GRAMMAR_NEVER};
    for (int i = 0; i < 2; i++) {
        if (c < p->end && *c >= '0' && *c <= '9') n[i] = 0;
        else if (i == 0) return false;
        for (; c < p->end && *c >= '0' && *c <= '9'; c++)
            if (n[i] <= GRAMMAR_MAX_REPEAT) n[i] = n[i] * 10 + (uint32_t)(*c - '0');
        if (i == 0 && c < p->end && *c == '}') n[1] = n[0], i = 1;
        else if (i == 0 && (c >= p->end || *c++ != ',')) return false;
    }
    if (c >= p->end || *c != '}') return false;
    p->at = c + 1;
    *min = n[0];
    *max = n[1];
    return true;
}

static GrammarRegex *term(Parser *p) {
    GrammarRegex *r = atom(p);
    while (r && p->at < p->end) {
        uint32_t min = 0, max = GRAMMAR_NEVER;
        if (*p->at == '{') {
            if (!bounds(p, &min, &max)) break;
        } else if (*p->at == '*' || *p->at == '+' || *p->at == '?') {
            if (*p->at == '+') min = 1;
            if (*p->at == '?') max = 1;
            p->at++;
        } else {
            break;
        }
        if (p->at < p->end && *p->at == '?') p->at++; /* lazy: the same texts */
        if (min > max) return bad(p, "a repetition {n,m} with n > m");
        if (min > GRAMMAR_MAX_REPEAT || (max != GRAMMAR_NEVER && max > GRAMMAR_MAX_REPEAT))
            return bad(p, "a repetition of more than 1000 times");
        r = node(p, GRAMMAR_REGEX_REPEAT, r, NULL);
        if (r) r->min = min, r->max = max;
    }
    return r;
}

static GrammarRegex *alternatives(Parser *p) {
    GrammarRegex *all = NULL;
    for (;;) {
        GrammarRegex *row = node(p, GRAMMAR_REGEX_EMPTY, NULL, NULL);
        while (row && p->at < p->end && *p->at != '|' && *p->at != ')') {
            GrammarRegex *next = term(p);
            row = next ? node(p, GRAMMAR_REGEX_CAT, row, next) : NULL;
        }
        if (!row) return NULL;
        all = all ? node(p, GRAMMAR_REGEX_ALT, all, row) : row;
        if (!all || p->at == p->end || *p->at != '|') return all;
        p->at++;
    }
}

GrammarRegex *grammar_regex_parse(Arena *arena, const char *pattern, size_t len, Err *err) {
    Parser p = {.arena = arena, .at = pattern, .end = pattern + len, .err = err};
    if (len > 10000) return bad(&p, "a pattern of more than 10000 bytes");
    GrammarRegex *r = alternatives(&p);
    if (r && p.at != p.end) return bad(&p, ") without (");
    return r;
}
