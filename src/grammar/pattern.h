/* Regular languages of characters: patterns, formats, sets of names. Private.
 *
 *   regex.c   the text of a pattern (ECMA 262) becomes a tree        dfa.c   their automata: and, but not; into a program
 *   nfa.c     a tree becomes an automaton over code points           format.c  formats, as patterns
 *   ahead.c   patterns that look ahead where they begin
 */
#ifndef GRAMMAR_PATTERN_H
#define GRAMMAR_PATTERN_H

#include "grammar/program.h"

enum {
    GRAMMAR_LAST_CHAR = 0x10FFFF,
    GRAMMAR_MAX_REPEAT = 1000,      /* of a {n,m} */
    GRAMMAR_MAX_NFA = 40000,
    GRAMMAR_MAX_DFA = 8000,         /* states */
    GRAMMAR_MAX_DFA_CELLS = 4 << 20 /* states times classes */
};

/* Ranges of code points, ascending, apart from each other. */
typedef struct GrammarSet {
    uint32_t (*ranges)[2]; /* [n] first and last */
    uint32_t n, cap;
} GrammarSet;

typedef enum GrammarRegexKind {
    GRAMMAR_REGEX_EMPTY, GRAMMAR_REGEX_SET, GRAMMAR_REGEX_BEGIN, GRAMMAR_REGEX_END, GRAMMAR_REGEX_CAT, GRAMMAR_REGEX_ALT,
    GRAMMAR_REGEX_REPEAT
} GrammarRegexKind;

typedef struct GrammarRegex {
    GrammarRegexKind kind;
    GrammarSet *set;
    struct GrammarRegex *a, *b;
    uint32_t min, max; /* REPEAT; max GRAMMAR_NEVER: no bound */
} GrammarRegex;

/* All of it lies in the arena. NULL: err says what is wrong or not supported, without a place. */
GrammarRegex *grammar_regex_parse(Arena *arena, const char *pattern, size_t len, Err *err);
void grammar_regex_add_range(Arena *arena, GrammarSet *s, uint32_t first, uint32_t last); /* any order; s->cap 0 after failure */

/* State 0 is the first. */
typedef struct GrammarDfa {
    uint32_t n_states, n_classes;
    uint32_t *border;  /* [n_classes] the first code point of each class, ascending from 0 */
    int32_t *next;     /* [n_states][n_classes], -1: none */
    uint8_t *accept;   /* [n_states] */
} GrammarDfa;

void grammar_dfa_free(GrammarDfa *d);
GrammarDfa *grammar_dfa_copy(const GrammarDfa *d, Err *err);
/* Texts in which the pattern is found somewhere (^ and $ bind it to the ends). */
GrammarDfa *grammar_dfa_found(const char *pattern, size_t len, Err *err);
GrammarDfa *grammar_dfa_pattern(const char *pattern, size_t len, Err *err); /* the same, which may look ahead where it begins */
GrammarDfa *grammar_dfa_literals(const Str *texts, size_t n, Err *err); /* exactly these */
GrammarDfa *grammar_dfa_length(uint32_t min, uint32_t max, Err *err);   /* all texts of so many characters */
GrammarDfa *grammar_dfa_format(const char *name, bool *known, Err *err);
/* Texts of a that b has (but_not: that b does not have). Frees both; NULL where one of them is. */
GrammarDfa *grammar_dfa_and(GrammarDfa *a, GrammarDfa *b, bool but_not, Err *err);
bool grammar_dfa_takes(const GrammarDfa *d, Str text);
/* Nodes that read such a text as the inside of a JSON string, in its plainest spelling, and its closing quote, then go to `to`. */
uint32_t grammar_dfa_emit(const GrammarDfa *d, Grammar *g, uint32_t to);
/* Nodes that read such a text as it is, of min to max characters, and then go to `to`. */
uint32_t grammar_dfa_emit_raw(const GrammarDfa *d, Grammar *g, uint32_t min, uint32_t max, uint32_t to);

#endif
