/* A JSON Schema becomes rules. Private.
 *
 *   schema.c   which schemas hold at once, choices between them, rules by name       object.c  members
 *   keywords.c what is known, refused or ignored; references                         array.c   items
 *   scalar.c   types, strings, numbers                                               names.c   which names members may have
 *   constants.c  the values of enum and const                                        calls.c   calls of tools
 *
 * Everything that must hold of one value at once (a schema, what it refers to, the parts of allOf, a branch of anyOf) is one "all": a list
 * of schemas of the document. The same list is the same rule, which is how recursion ends. */
#ifndef GRAMMAR_SCHEMA_H
#define GRAMMAR_SCHEMA_H

#include "grammar/pattern.h"

enum { GRAMMAR_MAX_ALL = 64, GRAMMAR_MAX_RULES = 20000, GRAMMAR_MAX_NESTING = 200, GRAMMAR_MAX_SKIPPED = 400 };

/* Which choices of a part are made. */
enum { GRAMMAR_ANY_CHOSEN = 1, GRAMMAR_ONE_CHOSEN = 2 };

typedef struct GrammarAll {
    uint32_t n;
    bool never; /* the schema false is among them */
    const json_t *parts[GRAMMAR_MAX_ALL];
    uint8_t chosen[GRAMMAR_MAX_ALL];
} GrammarAll;

typedef enum GrammarType {
    GRAMMAR_TYPE_NULL = 1, GRAMMAR_TYPE_BOOL = 2, GRAMMAR_TYPE_INTEGER = 4, GRAMMAR_TYPE_FRACTION = 8 /* numbers that are no integers */,
    GRAMMAR_TYPE_STRING = 16, GRAMMAR_TYPE_ARRAY = 32, GRAMMAR_TYPE_OBJECT = 64, GRAMMAR_TYPE_ALL = 127
} GrammarType;

typedef struct GrammarOverlap {
    const json_t *part; /* whose oneOf it is */
    uint32_t a, b, rule; /* branches, and the rule of both at once, which must have no text */
} GrammarOverlap;

typedef struct GrammarSchema {
    Grammar *g;
    const json_t *root;
    Arena arena;
    StrMap rules;
    uint32_t n_rules, never; /* never: a node with no way on */
    GrammarOverlap *overlaps; /* [n_overlaps] */
    uint32_t n_overlaps, cap_overlaps;
    int nesting;
    bool raw; /* values are the bare text of an argument, strings without quotes: see calls.c */
    Err *err;
    bool bad; /* err is set */
} GrammarSchema;

/* Sets the error "#/pointer: keyword: ..." once; returns 0. */
uint32_t grammar_schema_refuse(GrammarSchema *b, const json_t *part, const char *keyword, const char *fmt, ...) BASE_PRINTF(4, 5);
bool grammar_schema_add(GrammarSchema *b, GrammarAll *all, const json_t *part); /* with all that it implies */
uint32_t grammar_schema_rule(GrammarSchema *b, const GrammarAll *all);
GrammarAll *grammar_schema_empty(GrammarSchema *b); /* in the arena; NULL: bad */

void grammar_schema_begin(GrammarSchema *b, Grammar *g, const json_t *root, Err *err);
ErrCode grammar_schema_check(GrammarSchema *b); /* when the program is finished: no branches of a oneOf overlap */
void grammar_schema_end(GrammarSchema *b);

bool grammar_keywords_check(GrammarSchema *b, const json_t *part);
const json_t *grammar_keywords_follow(GrammarSchema *b, const json_t *part, const char *ref);
/* A whole number >= 0; false: the keyword is absent. */
bool grammar_keywords_count(GrammarSchema *b, const json_t *part, const char *keyword, uint32_t *value);

/* What a value of these types is: forks of `from`. */
void grammar_scalar_emit(GrammarSchema *b, const GrammarAll *all, unsigned types, uint32_t from);
unsigned grammar_scalar_types(GrammarSchema *b, const GrammarAll *all);
bool grammar_constants_given(const GrammarAll *all); /* is there an enum or a const? */
void grammar_constants_emit(GrammarSchema *b, const GrammarAll *all, unsigned types, uint32_t from);
uint32_t grammar_constants_quoted(Grammar *g, Str text, uint32_t to); /* nodes for a string with its quotes */
/* The strings that satisfy all; *any: every string does (then NULL). */
GrammarDfa *grammar_scalar_strings(GrammarSchema *b, const GrammarAll *all, bool *any); /* without regard to enum and const */
/* The same, with the lengths apart; NULL with *any: lengths are the only constraint. */
GrammarDfa *grammar_scalar_texts(GrammarSchema *b, const GrammarAll *all, uint32_t *min, uint32_t *max, bool *any);
/* With lengths it is a larger automaton, which knows how many characters are left. Frees dfa, which may be NULL: any text. */
GrammarDfa *grammar_scalar_with_length(GrammarSchema *b, const GrammarAll *all, GrammarDfa *dfa, uint32_t min, uint32_t max);
GrammarDfa *grammar_constants_strings(GrammarSchema *b, const GrammarAll *all, bool *any);

/* 0: done; 1: larger than all numbers that can be written; 2: too many digits behind the point. */
int grammar_scalar_decimal(const json_t *v, GrammarDecimal *d);
typedef struct GrammarBounds {
    GrammarDecimal lo, hi;
    bool has_lo, has_hi, none; /* none: nothing is between them */
} GrammarBounds;
GrammarBounds grammar_scalar_bounds(GrammarSchema *b, const GrammarAll *all);

uint32_t grammar_array_rule(GrammarSchema *b, const GrammarAll *all);
uint32_t grammar_object_rule(GrammarSchema *b, const GrammarAll *all);
/* The declared members as arguments of a call, each <parameter=NAME>, a line with its bare value, </parameter>; then `then`. */
uint32_t grammar_object_arguments(GrammarSchema *b, const GrammarAll *all, uint32_t then);
void grammar_calls_value(GrammarSchema *b, const GrammarAll *all, unsigned types, uint32_t from); /* forks of `from` */
/* Other names than these and where their values lead: a node that reads such a name behind its opening quote. */
uint32_t grammar_names_others(GrammarSchema *b, const GrammarAll *all, const Str *declared, size_t n, uint32_t after);
/* What must hold of the member of that name. */
bool grammar_names_member(GrammarSchema *b, const GrammarAll *all, const char *name, GrammarAll *value);

#endif
