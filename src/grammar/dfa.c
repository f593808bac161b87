/* Automata over code points: put together, tried, and written into a program as the inside of JSON strings.
 *
 * A character has one spelling here: itself; \" \\ \b \f \n \r \t where JSON wants an escape; the other controls are left out. So two
 * texts that are different are different in the document, too, which names of members rely on. */
#include "grammar/pattern.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void grammar_dfa_free(GrammarDfa *d) {
    if (!d) return;
    mem_free(d->border);
    mem_free(d->next);
    mem_free(d->accept);
    mem_free(d);
}

static GrammarDfa *make(uint32_t n_states, uint32_t n_classes, Err *err) {
    GrammarDfa *d = n_states <= GRAMMAR_MAX_DFA && (uint64_t)n_states * n_classes <= GRAMMAR_MAX_DFA_CELLS ? MEM_NEW(GrammarDfa, 1) : NULL;
    if (!d) {
        err_set(err, ERR_UNSUPPORTED, "it needs an automaton of too many states");
        return NULL;
    }
    d->n_states = n_states;
    d->n_classes = n_classes;
    d->border = MEM_NEW(uint32_t, n_classes);
    d->next = MEM_NEW(int32_t, (size_t)n_states * n_classes);
    d->accept = MEM_NEW(uint8_t, n_states);
    if (d->border && d->next && d->accept) {
        memset(d->next, -1, (size_t)n_states * n_classes * sizeof *d->next);
        return d;
    }
    grammar_dfa_free(d);
    err_no_memory(err, (uint64_t)n_states * n_classes * 4, "a pattern");
    return NULL;
}

GrammarDfa *grammar_dfa_copy(const GrammarDfa *d, Err *err) {
    GrammarDfa *copy = make(d->n_states, d->n_classes, err);
    if (!copy) return NULL;
    memcpy(copy->border, d->border, d->n_classes * sizeof *d->border);
    memcpy(copy->next, d->next, (size_t)d->n_states * d->n_classes * sizeof *d->next);
    memcpy(copy->accept, d->accept, d->n_states);
    return copy;
}

GrammarDfa *grammar_dfa_length(uint32_t min, uint32_t max, Err *err) {
    uint32_t last = max == GRAMMAR_NEVER ? min : max;
    GrammarDfa *d = make(last < GRAMMAR_NEVER - 1 ? last + 1 : last, 1, err);
    for (uint32_t i = 0; d && i <= last; i++) {
        d->next[i] = i < last ? (int32_t)i + 1 : max == GRAMMAR_NEVER ? (int32_t)i : -1;
        d->accept[i] = i >= min;
    }
    return d;
}

static uint32_t class_at(const GrammarDfa *d, uint32_t c) {
    uint32_t lo = 0, hi = d->n_classes;
    while (hi - lo > 1) {
        uint32_t mid = (lo + hi) / 2;
        if (d->border[mid] <= c) lo = mid;
        else hi = mid;
    }
    return lo;
}

/* The next code point of well-formed UTF-8. */
static uint32_t decode(const uint8_t **at) {
    const uint8_t *s = *at;
    int n = *s < 0x80 ? 0 : *s < 0xE0 ? 1 : *s < 0xF0 ? 2 : 3;
    uint32_t c = n == 0 ? *s : *s & (0x3FU >> n);
    for (int i = 1; i <= n; i++) c = c << 6 | (s[i] & 0x3FU);
    *at = s + n + 1;
    return c;
}

bool grammar_dfa_takes(const GrammarDfa *d, Str text) {
    int32_t state = 0;
    for (const uint8_t *at = (const uint8_t *)text.ptr, *end = at + text.len; at < end && state >= 0;)
        state = d->next[(size_t)state * d->n_classes + class_at(d, decode(&at))];
    return state >= 0 && d->accept[state];
}

/* ---- exactly these texts ---- */

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Every character of the texts is a class, what is between them is one. */
static uint32_t borders_of(const Str *texts, size_t n, uint32_t *border) {
    size_t count = 1;
    uint32_t unique = 0;
    border[0] = 0;
    for (size_t i = 0; i < n; i++)
        for (const uint8_t *at = (const uint8_t *)texts[i].ptr, *end = at + texts[i].len; at < end; count += 2) {
            border[count] = decode(&at);
            border[count + 1] = border[count] + 1;
        }
    qsort(border, count, sizeof *border, by_value);
    for (size_t i = 0; i < count; i++)
        if (border[i] <= GRAMMAR_LAST_CHAR && (i == 0 || border[i] != border[i - 1])) border[unique++] = border[i];
    return unique;
}

GrammarDfa *grammar_dfa_literals(const Str *texts, size_t n, Err *err) {
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) bytes += texts[i].len;
    uint32_t *border = MEM_NEW(uint32_t, 2 * bytes + 1);
    if (!border) return err_no_memory(err, 8 * bytes, "a set of names"), NULL;
    uint32_t n_classes = borders_of(texts, n, border);
    GrammarDfa *d = make(bytes < GRAMMAR_MAX_DFA ? (uint32_t)bytes + 1 : GRAMMAR_MAX_DFA + 1, n_classes, err);
    if (d) memcpy(d->border, border, n_classes * sizeof *border);
    mem_free(border);
    if (!d) return NULL;
    d->n_states = 1;
    for (size_t i = 0; i < n; i++) {
        uint32_t state = 0;
        for (const uint8_t *at = (const uint8_t *)texts[i].ptr, *end = at + texts[i].len; at < end;) {
            int32_t *next = &d->next[(size_t)state * n_classes + class_at(d, decode(&at))];
            if (*next < 0) *next = (int32_t)d->n_states++;
            state = (uint32_t)*next;
        }
        d->accept[state] = 1;
    }
    return d;
}

/* ---- both, or one but not the other ---- */

/* A state of the product is a pair; nothing (-1) of b is a state there, too, for what b does not have. */
typedef struct Pairs {
    const GrammarDfa *a, *b;
    int32_t *number; /* [a's states][b's states + 1], -1: not met */
    int32_t (*pair)[2];
    uint32_t n, max;
} Pairs;

static int32_t number_of(Pairs *p, int32_t x, int32_t y) {
    int32_t *number = &p->number[(size_t)x * (p->b->n_states + 1) + (size_t)(y + 1)];
    if (*number < 0 && p->n < p->max) {
        p->pair[p->n][0] = x;
        p->pair[p->n][1] = y;
        *number = (int32_t)p->n++;
    }
    return *number;
}

static uint32_t merge_borders(const GrammarDfa *a, const GrammarDfa *b, uint32_t *border) {
    uint32_t n = 0, i = 0, k = 0;
    while (i < a->n_classes || k < b->n_classes) {
        uint32_t x = i < a->n_classes ? a->border[i] : UINT32_MAX, y = k < b->n_classes ? b->border[k] : UINT32_MAX;
        border[n++] = x < y ? x : y;
        i += x <= y;
        k += y <= x;
    }
    return n;
}

/* Finds all pairs that can be met and, in rows, where they go. */
static void fill_pairs(Pairs *p, GrammarDfa *d, bool but_not) {
    number_of(p, 0, 0);
    for (uint32_t s = 0; s < p->n; s++) {
        int32_t x = p->pair[s][0], y = p->pair[s][1];
        bool in_b = y >= 0 && p->b->accept[y];
        d->accept[s] = p->a->accept[x] && in_b != but_not;
        for (uint32_t c = 0; c < d->n_classes; c++) {
            int32_t nx = p->a->next[(size_t)x * p->a->n_classes + class_at(p->a, d->border[c])];
            int32_t ny = y < 0 ? -1 : p->b->next[(size_t)y * p->b->n_classes + class_at(p->b, d->border[c])];
            d->next[(size_t)s * d->n_classes + c] = nx < 0 || (ny < 0 && !but_not) ? -1 : number_of(p, nx, ny);
        }
    }
    d->n_states = p->n;
}

GrammarDfa *grammar_dfa_and(GrammarDfa *a, GrammarDfa *b, bool but_not, Err *err) {
    Pairs p = {.a = a, .b = b};
    GrammarDfa *d = NULL;
    uint32_t *border = NULL;
    if (!a || !b) goto out;
    uint64_t all = (uint64_t)a->n_states * (b->n_states + 1);
    border = MEM_NEW(uint32_t, (size_t)a->n_classes + b->n_classes);
    p.number = MEM_NEW(int32_t, all);
    p.max = all < GRAMMAR_MAX_DFA ? (uint32_t)all : GRAMMAR_MAX_DFA;
    p.pair = mem_new(p.max, sizeof *p.pair);
    if (!border || !p.number || !p.pair) {
        err_no_memory(err, all * 4, "a pattern");
        goto out;
    }
    memset(p.number, -1, all * sizeof *p.number);
    uint32_t n_classes = merge_borders(a, b, border);
    assert(n_classes > 0); /* the first begins at the lowest byte */
    if (p.max > GRAMMAR_MAX_DFA_CELLS / n_classes) p.max = GRAMMAR_MAX_DFA_CELLS / n_classes;
    d = make(p.max, n_classes, err);
    if (!d) goto out;
    memcpy(d->border, border, n_classes * sizeof *border);
    fill_pairs(&p, d, but_not);
    if (p.n == p.max && p.max < all) { /* perhaps some were not numbered */
        err_set(err, ERR_UNSUPPORTED, "it needs an automaton of too many states");
        grammar_dfa_free(d);
        d = NULL;
    }
out:
    mem_free(border);
    mem_free(p.number);
    mem_free(p.pair);
    grammar_dfa_free(a);
    grammar_dfa_free(b);
    return d;
}

/* ---- into a program ---- */

typedef struct Emit {
    const GrammarDfa *d;
    Grammar *g;
    uint32_t *read;   /* [n_states] the node that reads on from each state */
    uint32_t *enter;  /* [n_states] the node to come to */
    uint32_t *escape; /* [n_states] the node behind its backslash, 0: none yet */
    bool raw;
} Emit;

static uint32_t to_read(Emit *e, unsigned lo, unsigned hi, uint32_t to) {
    uint32_t n = grammar_program_node(e->g, GRAMMAR_READ);
    grammar_program_edge(e->g, n, lo, hi, to);
    return n;
}

static size_t encode(uint32_t c, uint8_t out[4]) {
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; c >>= 6) out[i] = (uint8_t)(0x80 | (c & 0x3F));
    out[0] = (uint8_t)(n == 1 ? c : (0xF00U >> n & 0xFFU) | c);
    return n;
}

/* Edges of `from` for lo..hi, characters of one length whose spellings differ in the bytes from `at` on. */
static void emit_span(Emit *e, uint32_t from, const uint8_t *lo, const uint8_t *hi, size_t n, uint32_t to) {
    if (n == 1) {
        grammar_program_edge(e->g, from, lo[0], hi[0], to);
        return;
    }
    static const uint8_t least[3] = {0x80, 0x80, 0x80}, most[3] = {0xBF, 0xBF, 0xBF};
    unsigned first = lo[0], last = hi[0];
    bool low_whole = memcmp(lo + 1, least, n - 1) == 0, high_whole = memcmp(hi + 1, most, n - 1) == 0;
    if (first == last && !(low_whole && high_whole)) {
        uint32_t next = grammar_program_node(e->g, GRAMMAR_READ);
        emit_span(e, next, lo + 1, hi + 1, n - 1, to);
        grammar_program_edge(e->g, from, first, first, next);
        return;
    }
    if (!low_whole) {
        uint32_t next = grammar_program_node(e->g, GRAMMAR_READ);
        emit_span(e, next, lo + 1, most, n - 1, to);
        grammar_program_edge(e->g, from, first, first, next);
        first++;
    }
    if (!high_whole) {
        uint32_t next = grammar_program_node(e->g, GRAMMAR_READ);
        emit_span(e, next, least, hi + 1, n - 1, to);
        grammar_program_edge(e->g, from, last, last, next);
        last--;
    }
    if (first > last) return;
    uint32_t next = to;
    for (size_t i = 1; i < n; i++) next = to_read(e, 0x80, 0xBF, next);
    grammar_program_edge(e->g, from, first, last, next);
}

/* The part of lo..hi between two code points whose spellings are of the same length. */
static void emit_part(Emit *e, uint32_t from, uint32_t lo, uint32_t hi, uint32_t first, uint32_t last, uint32_t to) {
    uint8_t a[4], b[4];
    if (lo < first) lo = first;
    if (hi > last) hi = last;
    if (lo > hi) return;
    size_t n = encode(lo, a);
    encode(hi, b);
    emit_span(e, from, a, b, n, to);
}

static void emit_escapes(Emit *e, uint32_t state, uint32_t lo, uint32_t hi, uint32_t to) {
    static const char chars[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    for (size_t i = 0; chars[i]; i++) {
        uint32_t c = (uint8_t)chars[i];
        if (c < lo || c > hi) continue;
        if (!e->escape[state]) {
            e->escape[state] = grammar_program_node(e->g, GRAMMAR_READ);
            grammar_program_edge(e->g, e->read[state], '\\', '\\', e->escape[state]);
        }
        grammar_program_edge(e->g, e->escape[state], (uint8_t)letters[i], (uint8_t)letters[i], to);
    }
}

/* Does the state read all characters that a text of its kind has many of, and stay? */
static bool is_text(const Emit *e, uint32_t s) {
    const int32_t *row = e->d->next + (size_t)s * e->d->n_classes;
    for (uint32_t c = 0; c < e->d->n_classes; c++) {
        uint32_t lo = e->d->border[c], hi = c + 1 < e->d->n_classes ? e->d->border[c + 1] - 1 : GRAMMAR_LAST_CHAR;
        bool left_out = e->raw ? lo == '\n' && hi == lo : hi < 0x20 || (lo == hi && (lo == '"' || lo == '\\'));
        if (row[c] != (int32_t)s && !left_out) return false;
    }
    return true;
}

static void emit_state(Emit *e, uint32_t s) {
    const int32_t *row = e->d->next + (size_t)s * e->d->n_classes;
    for (uint32_t c = 0, end; c < e->d->n_classes; c = end) {
        for (end = c + 1; end < e->d->n_classes && row[end] == row[c]; end++) {}
        uint32_t lo = e->d->border[c], hi = end < e->d->n_classes ? e->d->border[end] - 1 : GRAMMAR_LAST_CHAR;
        if (row[c] < 0) continue;
        uint32_t from = e->read[s], to = e->enter[row[c]];
        if (!e->raw) emit_escapes(e, s, lo, hi, to);
        emit_part(e, from, lo, hi, e->raw ? 0 : 0x20, '"' - 1, to);
        emit_part(e, from, lo, hi, e->raw ? '"' : '"' + 1, '\\' - 1, to);
        emit_part(e, from, lo, hi, e->raw ? '\\' : '\\' + 1, 0x7F, to);
        if (lo <= 0x80 && hi == GRAMMAR_LAST_CHAR) {
            grammar_json_wide(e->g, from, to);
            continue;
        }
        emit_part(e, from, lo, hi, 0x80, 0x7FF, to);
        emit_part(e, from, lo, hi, 0x800, 0xD7FF, to);
        emit_part(e, from, lo, hi, 0xE000, 0xFFFF, to);
        emit_part(e, from, lo, hi, 0x10000, GRAMMAR_LAST_CHAR, to);
    }
    if (is_text(e, s) && !e->g->failed) e->g->nodes[e->read[s]].text = e->raw ? GRAMMAR_TEXT_RAW : GRAMMAR_TEXT_JSON;
}

static bool emit_begin(Emit *e) {
    e->read = MEM_NEW(uint32_t, e->d->n_states);
    e->enter = MEM_NEW(uint32_t, e->d->n_states);
    e->escape = MEM_NEW(uint32_t, e->d->n_states);
    if (!e->read || !e->enter || !e->escape) e->g->failed = true;
    for (uint32_t i = 0; i < e->d->n_states && !e->g->failed; i++) e->enter[i] = e->read[i] = grammar_program_node(e->g, GRAMMAR_READ);
    return !e->g->failed;
}

static uint32_t emit_end(Emit *e) {
    for (uint32_t i = 0; i < e->d->n_states && !e->g->failed; i++) emit_state(e, i);
    uint32_t first = e->g->failed ? 0 : e->enter[0];
    mem_free(e->read);
    mem_free(e->enter);
    mem_free(e->escape);
    return first;
}

uint32_t grammar_dfa_emit(const GrammarDfa *d, Grammar *g, uint32_t to) {
    Emit e = {.d = d, .g = g};
    if (emit_begin(&e))
        for (uint32_t i = 0; i < d->n_states; i++)
            if (d->accept[i]) grammar_program_edge(g, e.read[i], '"', '"', to);
    return emit_end(&e);
}

uint32_t grammar_dfa_emit_raw(const GrammarDfa *d, Grammar *g, uint32_t min, uint32_t max, uint32_t to) {
    Emit e = {.d = d, .g = g, .raw = true};
    uint32_t less;
    GrammarRounds r = grammar_program_inside(g, (GrammarLoop){.min = min, .max = max, .bytes = 1}, to);
    if (emit_begin(&e))
        for (uint32_t i = 0; i < d->n_states && !g->failed; i++) {
            e.enter[i] = grammar_program_turn(g, d->accept[i] ? to : 0, &less);
            if (!g->failed) g->nodes[less].b = e.read[i];
        }
    r.turn = emit_end(&e); /* the turn of the first state; the one that came with the loop is not used */
    return grammar_program_outside(g, &r);
}
