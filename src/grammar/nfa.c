/* A tree becomes an automaton over code points: first one that may be in many states (Thompson), then one that is in one. ^ is an edge
 * that can be taken only before the first character, $ one after which no character can come. */
#include "grammar/pattern.h"

#include <stdlib.h>
#include <string.h>

typedef enum NfaKind { NFA_FORK, NFA_SET, NFA_BEGIN, NFA_END, NFA_ACCEPT } NfaKind;

typedef struct NfaNode {
    NfaKind kind;
    const GrammarSet *set;
    uint32_t to, also; /* also: FORK only; GRAMMAR_NEVER: none */
} NfaNode;

typedef struct Nfa {
    NfaNode *nodes; /* [n] */
    uint32_t n, start;
    bool failed;
} Nfa;

static uint32_t add(Nfa *a, NfaKind kind, uint32_t to, uint32_t also) {
    if (a->n == GRAMMAR_MAX_NFA) a->failed = true;
    if (a->failed) return 0;
    a->nodes[a->n] = (NfaNode){.kind = kind, .to = to, .also = also};
    return a->n++;
}

/* Nodes for r that go on to `to`; returns the first. */
static uint32_t thompson(Nfa *a, const GrammarRegex *r, uint32_t to) {
    uint32_t n;
    if (a->failed) return 0;
    switch (r->kind) {
    case GRAMMAR_REGEX_EMPTY: return to;
    case GRAMMAR_REGEX_BEGIN: return add(a, NFA_BEGIN, to, GRAMMAR_NEVER);
    case GRAMMAR_REGEX_END: return add(a, NFA_END, to, GRAMMAR_NEVER);
    case GRAMMAR_REGEX_CAT: return thompson(a, r->a, thompson(a, r->b, to));
    case GRAMMAR_REGEX_ALT:
        n = thompson(a, r->a, to);
        return add(a, NFA_FORK, n, thompson(a, r->b, to));
    case GRAMMAR_REGEX_SET:
        n = add(a, NFA_SET, to, GRAMMAR_NEVER);
        if (!a->failed) a->nodes[n].set = r->set;
        return n;
    case GRAMMAR_REGEX_REPEAT:
        if (r->max == GRAMMAR_NEVER) {
            uint32_t turn = add(a, NFA_FORK, to, GRAMMAR_NEVER), body = thompson(a, r->a, turn);
            if (!a->failed) a->nodes[turn].also = body;
            to = turn;
        } else {
            uint32_t end = to;
            for (uint32_t i = r->min; i < r->max && !a->failed; i++) to = add(a, NFA_FORK, thompson(a, r->a, to), end);
        }
        for (uint32_t i = 0; i < r->min && !a->failed; i++) to = thompson(a, r->a, to);
        return to;
    }
    return to;
}

/* ---- into states ---- */

enum { MAX_VISITS = 100 << 20 }; /* of nodes, while one pattern is read: seconds */

typedef struct Subsets {
    const Nfa *nfa;
    GrammarDfa *dfa;
    uint32_t **sets;   /* [n_states] nodes, ascending, with their number first */
    uint32_t cap, n_reached, stamp, visits;
    uint32_t *reached; /* [n] */
    uint32_t *in;      /* [n] stamp of those reached */
    uint32_t *members; /* [n + 1] */
    StrMap numbers;
    Arena arena;
} Subsets;

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void nothing_reached(Subsets *s) {
    s->n_reached = 0;
    s->stamp++;
}

static void reach(Subsets *s, uint32_t node) {
    if (node == GRAMMAR_NEVER || s->in[node] == s->stamp) return;
    s->in[node] = s->stamp;
    s->reached[s->n_reached++] = node;
}

/* What can be reached from there without a character; at the end: over $, too. */
static void close_over(Subsets *s, bool at_begin, bool at_end) {
    for (uint32_t i = 0; i < s->n_reached; i++, s->visits++) {
        const NfaNode *node = &s->nfa->nodes[s->reached[i]];
        if (node->kind == NFA_FORK || (node->kind == NFA_BEGIN && at_begin) || (node->kind == NFA_END && at_end)) {
            reach(s, node->to);
            reach(s, node->also);
        }
    }
}

static bool make_room(Subsets *s) {
    if (s->dfa->n_states < s->cap) return true;
    uint32_t cap = s->cap ? s->cap * 2 : 64;
    void *sets = mem_resize(s->sets, cap, sizeof *s->sets);
    if (sets) s->sets = sets;
    void *next = mem_resize(s->dfa->next, (size_t)cap * s->dfa->n_classes, sizeof *s->dfa->next);
    if (next) s->dfa->next = next;
    void *accept = mem_resize(s->dfa->accept, cap, 1);
    if (accept) s->dfa->accept = accept;
    if (!sets || !next || !accept) return false;
    s->cap = cap;
    return true;
}

static int32_t too_many(Err *err) {
    err_set(err, ERR_UNSUPPORTED, "it needs an automaton of too many states");
    return -1;
}

/* The number of the state that what is reached makes; -1 with an error. */
static int32_t state_of(Subsets *s, bool at_begin, Err *err) {
    uint32_t n = 0, number;
    close_over(s, at_begin, false);
    for (uint32_t i = 0; i < s->n_reached; i++) {
        NfaKind kind = s->nfa->nodes[s->reached[i]].kind;
        if (kind == NFA_SET || kind == NFA_END || kind == NFA_ACCEPT) s->members[1 + n++] = s->reached[i];
    }
    qsort(s->members + 1, n, sizeof *s->members, by_value);
    s->members[0] = n;
    Str key = str_make((const char *)s->members, (n + 1) * sizeof *s->members);
    if (strmap_get(&s->numbers, key, &number)) return (int32_t)number;
    number = s->dfa->n_states;
    if (number >= GRAMMAR_MAX_DFA || (uint64_t)number * s->dfa->n_classes >= GRAMMAR_MAX_DFA_CELLS) return too_many(err);
    uint32_t *copy = arena_alloc(&s->arena, key.len, 8);
    if (copy) memcpy(copy, s->members, key.len);
    if (!copy || !make_room(s) || !strmap_put(&s->numbers, str_make((const char *)copy, key.len), number, NULL)) {
        err_no_memory(err, (uint64_t)s->cap * s->dfa->n_classes * 8, "a pattern");
        return -1;
    }
    close_over(s, at_begin, true); /* what may follow the end of the text decides whether it may end here */
    s->sets[number] = copy;
    s->dfa->accept[number] = 0;
    for (uint32_t i = 0; i < s->n_reached; i++)
        if (s->nfa->nodes[s->reached[i]].kind == NFA_ACCEPT) s->dfa->accept[number] = 1;
    s->dfa->n_states++;
    return (int32_t)number;
}

static bool holds(const GrammarSet *set, uint32_t c) {
    uint32_t low = 0, high = set->n; /* the ranges before low end before c, those from high on begin behind it */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (c > set->ranges[middle][1]) low = middle + 1;
        else if (c < set->ranges[middle][0]) high = middle;
        else return true;
    }
    return false;
}

static bool fill_row(Subsets *s, uint32_t state, Err *err) {
    for (uint32_t c = 0; c < s->dfa->n_classes; c++) {
        nothing_reached(s);
        s->visits += s->sets[state][0];
        if (s->visits > MAX_VISITS) return too_many(err) > 0;
        for (uint32_t i = 1; i <= s->sets[state][0]; i++) {
            const NfaNode *n = &s->nfa->nodes[s->sets[state][i]];
            if (n->kind == NFA_SET && holds(n->set, s->dfa->border[c])) reach(s, n->to);
        }
        int32_t to = s->n_reached ? state_of(s, false, err) : -1;
        if (s->n_reached && to < 0) return false;
        s->dfa->next[(size_t)state * s->dfa->n_classes + c] = to;
    }
    return true;
}

/* The code points at which some set begins or has ended. */
static bool find_borders(const Nfa *a, GrammarDfa *d) {
    size_t n = 1;
    for (uint32_t i = 0; i < a->n; i++)
        if (a->nodes[i].kind == NFA_SET) n += 2 * (size_t)a->nodes[i].set->n;
    d->border = MEM_NEW(uint32_t, n);
    if (!d->border) return false;
    n = 1; /* the first class begins at 0 */
    for (uint32_t i = 0; i < a->n; i++)
        for (uint32_t k = 0; a->nodes[i].kind == NFA_SET && k < a->nodes[i].set->n; k++) {
            d->border[n++] = a->nodes[i].set->ranges[k][0];
            d->border[n++] = a->nodes[i].set->ranges[k][1] + 1;
        }
    qsort(d->border, n, sizeof *d->border, by_value);
    for (size_t i = 0; i < n; i++)
        if (d->border[i] <= GRAMMAR_LAST_CHAR && (i == 0 || d->border[i] != d->border[i - 1])) d->border[d->n_classes++] = d->border[i];
    return true;
}

static GrammarDfa *determine(const Nfa *a, Err *err) {
    Subsets s = {.nfa = a, .dfa = MEM_NEW(GrammarDfa, 1)};
    s.reached = MEM_NEW(uint32_t, a->n);
    s.in = MEM_NEW(uint32_t, a->n);
    s.members = MEM_NEW(uint32_t, (size_t)a->n + 1);
    bool ok = s.dfa && s.reached && s.in && s.members && find_borders(a, s.dfa);
    if (!ok) err_no_memory(err, (uint64_t)a->n * 9, "a pattern");
    if (ok) {
        nothing_reached(&s);
        reach(&s, a->start);
        ok = state_of(&s, true, err) == 0;
        for (uint32_t i = 0; ok && i < s.dfa->n_states; i++) ok = fill_row(&s, i, err);
    }
    mem_free(s.reached);
    mem_free(s.in);
    mem_free(s.members);
    mem_free(s.sets);
    strmap_free(&s.numbers);
    arena_free(&s.arena);
    if (ok) return s.dfa;
    grammar_dfa_free(s.dfa);
    return NULL;
}

static GrammarDfa *of_tree(const GrammarRegex *r, bool anywhere, Err *err) {
    Nfa a = {.nodes = MEM_NEW(NfaNode, GRAMMAR_MAX_NFA)};
    uint32_t all_range[1][2] = {{0, GRAMMAR_LAST_CHAR}};
    GrammarSet all = {all_range, 1, 1};
    GrammarRegex any = {.kind = GRAMMAR_REGEX_SET, .set = &all}, rest = {.kind = GRAMMAR_REGEX_REPEAT, .a = &any, .max = GRAMMAR_NEVER};
    if (!a.nodes) return err_no_memory(err, GRAMMAR_MAX_NFA * sizeof *a.nodes, "a pattern"), NULL;
    uint32_t end = add(&a, NFA_ACCEPT, GRAMMAR_NEVER, GRAMMAR_NEVER);
    if (anywhere) end = thompson(&a, &rest, end);
    a.start = thompson(&a, r, end);
    if (anywhere) a.start = thompson(&a, &rest, a.start);
    GrammarDfa *d = NULL;
    if (a.failed) err_set(err, ERR_UNSUPPORTED, "it needs an automaton of too many states");
    else d = determine(&a, err);
    mem_free(a.nodes);
    return d;
}

GrammarDfa *grammar_dfa_found(const char *pattern, size_t len, Err *err) {
    Arena arena = {0};
    GrammarRegex *r = grammar_regex_parse(&arena, pattern, len, err);
    GrammarDfa *d = r ? of_tree(r, true, err) : NULL;
    arena_free(&arena);
    return d;
}
