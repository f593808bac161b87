/* Numbers between bounds, digit by digit: as long as all digits so far are those of a bound, the next one must not pass it.
 *
 * A path is "at" a bound while its digits are the bound's own; what follows depends on the position and on that alone, so a table of
 * nodes [position][at low][at high] is the automaton. Of multiples it also depends on what the digits so far leave over. */
#include "grammar/program.h"

#include <string.h>

enum { WHOLE = 18, FRACTION = 17 };

typedef struct Span {
    Grammar *g;
    const GrammarDecimal *lo, *hi; /* of the magnitude; NULL: none */
    bool integer;
    unsigned step;     /* integers: of which they are multiples */
    uint32_t *whole;   /* [WHOLE + 1][2][2][step] 0: not made yet */
    uint32_t fraction[FRACTION + 1][2][2];
} Span;

static int compare_size(const GrammarDecimal *a, const GrammarDecimal *b) {
    int whole = memcmp(a->whole, b->whole, WHOLE);
    return whole ? whole : memcmp(a->fraction, b->fraction, FRACTION);
}

static bool is_zero(const GrammarDecimal *d) {
    static const GrammarDecimal zero;
    return compare_size(d, &zero) == 0;
}

int grammar_digits_compare(const GrammarDecimal *a, const GrammarDecimal *b) {
    bool a_less = a->negative && !is_zero(a), b_less = b->negative && !is_zero(b);
    if (a_less != b_less) return a_less ? -1 : 1;
    return a_less ? compare_size(b, a) : compare_size(a, b);
}

static bool rest_is_zero(const GrammarDecimal *d, int at) {
    for (int i = at; i < FRACTION; i++)
        if (d->fraction[i]) return false;
    return true;
}

/* May the number end before digit `at` of the fraction? */
static bool may_end(const Span *s, int at, bool at_lo, bool at_hi) {
    if (at_lo && (!rest_is_zero(s->lo, at) || s->lo->exclusive)) return false;
    return !(at_hi && rest_is_zero(s->hi, at) && s->hi->exclusive);
}

/* Edges of `from` for the digits of one place; next: [at low][at high] where they go, given by the caller through `go`. */
typedef uint32_t Go(Span *s, int at, bool at_lo, bool at_hi, unsigned over);

static void digit_edges(Span *s, uint32_t from, int at, const uint8_t *lo, const uint8_t *hi, unsigned least, unsigned over, Go *go) {
    for (unsigned d = least; d <= 9; d++) {
        if ((lo && d < *lo) || (hi && d > *hi)) continue;
        uint32_t to = go(s, at + 1, lo && d == *lo, hi && d == *hi, (over * 10 + d) % s->step);
        grammar_program_edge(s->g, from, '0' + d, '0' + d, to);
    }
}

/* Before digit `at` of the fraction, which may also be its end. */
static uint32_t fraction_from(Span *s, int at, bool at_lo, bool at_hi, unsigned over);

static uint32_t fraction_digit(Span *s, int at, bool at_lo, bool at_hi) {
    uint32_t read = grammar_program_node(s->g, GRAMMAR_READ);
    digit_edges(s, read, at, at_lo ? &s->lo->fraction[at] : NULL, at_hi ? &s->hi->fraction[at] : NULL, 0, 0, fraction_from);
    return read;
}

static uint32_t fraction_from(Span *s, int at, bool at_lo, bool at_hi, unsigned over) {
    (void)over;
    uint32_t *known = &s->fraction[at][at_lo][at_hi], n = *known;
    if (n) return n;
    n = grammar_program_node(s->g, GRAMMAR_FORK);
    *known = n;
    if (may_end(s, at, at_lo, at_hi)) grammar_program_fork(s->g, n, grammar_program_return(s->g));
    if (at < FRACTION && !s->g->failed) grammar_program_fork(s->g, n, fraction_digit(s, at, at_lo, at_hi));
    return n;
}

/* Before digit `at` of the 18 of the whole part. */
static uint32_t whole_from(Span *s, int at, bool at_lo, bool at_hi, unsigned over) {
    uint32_t *known = &s->whole[((unsigned)at * 4 + 2 * at_lo + at_hi) * s->step + over];
    if (*known || s->g->failed) return *known;
    uint32_t n = grammar_program_node(s->g, at < WHOLE ? GRAMMAR_READ : GRAMMAR_FORK);
    *known = n;
    if (at < WHOLE) {
        digit_edges(s, n, at, at_lo ? &s->lo->whole[at] : NULL, at_hi ? &s->hi->whole[at] : NULL, 0, over, whole_from);
        return n;
    }
    if (over == 0 && may_end(s, 0, at_lo, at_hi)) grammar_program_fork(s->g, n, grammar_program_return(s->g));
    if (s->integer) return n;
    uint32_t point = grammar_program_node(s->g, GRAMMAR_READ);
    grammar_program_edge(s->g, point, '.', '.', fraction_digit(s, 0, at_lo, at_hi));
    grammar_program_fork(s->g, n, point);
    return n;
}

static int first_digit(const GrammarDecimal *d) {
    int at = 0;
    while (at < WHOLE - 1 && d->whole[at] == 0) at++;
    return at;
}

/* Numbers without sign: of every length between the bounds' own. */
static void emit_sizes(Grammar *g, uint32_t from, const GrammarDecimal *lo, const GrammarDecimal *hi, unsigned step) {
    Span s = {.g = g, .lo = lo, .hi = hi, .integer = step > 0, .step = step ? step : 1};
    s.whole = MEM_NEW(uint32_t, (size_t)(WHOLE + 1) * 4 * s.step);
    if (!s.whole) g->failed = true;
    int longest = hi ? first_digit(hi) : 0, shortest = lo ? first_digit(lo) : WHOLE - 1;
    for (int at = longest; at <= shortest && !g->failed; at++) {
        bool at_lo = lo && at == shortest, at_hi = hi && at == longest;
        uint32_t n = grammar_program_node(g, GRAMMAR_READ);
        digit_edges(&s, n, at, at_lo ? &lo->whole[at] : NULL, at_hi ? &hi->whole[at] : NULL, at < WHOLE - 1 ? 1 : 0, 0, whole_from);
        grammar_program_fork(g, from, n);
    }
    mem_free(s.whole);
}

uint32_t grammar_digits_between(Grammar *g, const GrammarDecimal *lo, const GrammarDecimal *hi, unsigned step) {
    uint32_t start = grammar_program_node(g, GRAMMAR_FORK), minus = grammar_program_node(g, GRAMMAR_READ);
    uint32_t below = grammar_program_node(g, GRAMMAR_FORK);
    bool lo_below = lo && lo->negative && !is_zero(lo), hi_below = hi && hi->negative && !is_zero(hi);
    if (!hi_below) emit_sizes(g, start, lo_below ? NULL : lo, hi, step);
    if (!lo || lo_below) {
        emit_sizes(g, below, hi_below || (hi && is_zero(hi) && hi->exclusive) ? hi : NULL, lo, step);
        grammar_program_edge(g, minus, '-', '-', below);
        grammar_program_fork(g, start, minus);
    }
    return start;
}
