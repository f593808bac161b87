/* Which names members may have beside the declared ones, and what must hold of their values: additionalProperties, patternProperties,
 * propertyNames. Names fall into kinds by the patterns they match; each kind has its automaton and its rule. */
#include "grammar/schema.h"

#include <string.h>

enum { MAX_PATTERNS = 5 };

/* Is there a schema for this name in the part (then it is added)? */
static bool add_matching(GrammarSchema *b, const json_t *part, const char *name, GrammarAll *value, bool *found) {
    const json_t *own = json_object_get(json_object_get(part, "properties"), name);
    const json_t *patterns = json_object_get(part, "patternProperties");
    const char *pattern;
    json_t *schema;
    *found = own != NULL;
    if (own && !grammar_schema_add(b, value, own)) return false;
    json_object_foreach((json_t *)(uintptr_t)patterns, pattern, schema) {
        Err why = {0};
        GrammarDfa *d = grammar_dfa_pattern(pattern, strlen(pattern), &why);
        if (!d) return grammar_schema_refuse(b, part, "patternProperties", "\"%s\": %s", pattern, why.text) != 0;
        bool takes = grammar_dfa_takes(d, str_c(name));
        grammar_dfa_free(d);
        *found = *found || takes;
        if (takes && !grammar_schema_add(b, value, schema)) return false;
    }
    return true;
}

bool grammar_names_member(GrammarSchema *b, const GrammarAll *all, const char *name, GrammarAll *value) {
    for (uint32_t p = 0; p < all->n; p++) {
        const json_t *rest = json_object_get(all->parts[p], "additionalProperties");
        const json_t *names = json_object_get(all->parts[p], "propertyNames");
        bool found;
        if (!add_matching(b, all->parts[p], name, value, &found)) return false;
        if (!found && rest && !grammar_schema_add(b, value, rest)) return false;
        if (!names) continue;
        GrammarAll *of_name = grammar_schema_empty(b);
        bool any;
        if (!of_name || !grammar_schema_add(b, of_name, names)) return false;
        GrammarDfa *d = of_name->never ? NULL : grammar_constants_strings(b, of_name, &any);
        if (of_name->never || (d && !grammar_dfa_takes(d, str_c(name)))) value->never = true;
        grammar_dfa_free(d);
    }
    return !b->bad;
}

/* ---- all other names ---- */

typedef struct Kinds {
    const char *pattern[MAX_PATTERNS];
    const json_t *schema[MAX_PATTERNS], *part[MAX_PATTERNS];
    uint32_t n;
} Kinds;

static bool collect(GrammarSchema *b, const GrammarAll *all, Kinds *k) {
    const char *pattern;
    json_t *schema;
    for (uint32_t p = 0; p < all->n; p++)
        json_object_foreach(json_object_get(all->parts[p], "patternProperties"), pattern, schema) {
            if (k->n == MAX_PATTERNS)
                return grammar_schema_refuse(b, all->parts[p], "patternProperties", "more than %d for one object", MAX_PATTERNS) != 0;
            k->pattern[k->n] = pattern;
            k->schema[k->n] = schema;
            k->part[k->n++] = all->parts[p];
        }
    return true;
}

/* What holds of the values whose names match exactly the patterns in `which`. */
static bool values_of(GrammarSchema *b, const GrammarAll *all, const Kinds *k, unsigned which, GrammarAll *value) {
    for (uint32_t p = 0; p < all->n; p++) {
        const json_t *rest = json_object_get(all->parts[p], "additionalProperties");
        bool found = false;
        for (uint32_t i = 0; i < k->n; i++) {
            if (!(which >> i & 1) || k->part[i] != all->parts[p]) continue;
            found = true;
            if (!grammar_schema_add(b, value, k->schema[i])) return false;
        }
        if (!found && rest && !grammar_schema_add(b, value, rest)) return false;
    }
    return true;
}

/* The names themselves: what propertyNames allows, without the declared ones. */
static GrammarDfa *allowed_names(GrammarSchema *b, const GrammarAll *all, const Str *declared, size_t n) {
    Err why = {0};
    GrammarDfa *d = grammar_dfa_length(0, GRAMMAR_NEVER, &why);
    if (n) d = grammar_dfa_and(d, grammar_dfa_literals(declared, n, &why), true, &why);
    for (uint32_t p = 0; p < all->n && d; p++) {
        const json_t *names = json_object_get(all->parts[p], "propertyNames");
        GrammarAll *of_name = names ? grammar_schema_empty(b) : NULL;
        bool any = false;
        if (!names) continue;
        if (!of_name || !grammar_schema_add(b, of_name, names)) break;
        GrammarDfa *right = of_name->never ? grammar_dfa_literals(NULL, 0, &why) : grammar_constants_strings(b, of_name, &any);
        if (!any && !b->bad) d = grammar_dfa_and(d, right, false, &why);
    }
    if (!d) grammar_schema_refuse(b, all->parts[0], NULL, "the names of its members: %s", why.text);
    return d;
}

static void emit_kind(GrammarSchema *b, const GrammarAll *all, const Kinds *k, unsigned which, const GrammarDfa *names, uint32_t from,
                      uint32_t after) {
    Err why = {0};
    GrammarAll *value = grammar_schema_empty(b);
    if (!value || !values_of(b, all, k, which, value) || value->never) return;
    GrammarDfa *d = grammar_dfa_copy(names, &why);
    for (uint32_t i = 0; i < k->n && d; i++)
        d = grammar_dfa_and(d, grammar_dfa_pattern(k->pattern[i], strlen(k->pattern[i]), &why), !(which >> i & 1), &why);
    if (!d) {
        grammar_schema_refuse(b, all->parts[0], "patternProperties", "%s", why.text);
        return;
    }
    uint32_t call = grammar_program_call(b->g, grammar_schema_rule(b, value), after);
    grammar_program_fork(b->g, from, grammar_dfa_emit(d, b->g, grammar_json_colon(b->g, call)));
    grammar_dfa_free(d);
}

uint32_t grammar_names_others(GrammarSchema *b, const GrammarAll *all, const Str *declared, size_t n, uint32_t after) {
    Kinds k = {0};
    if (!collect(b, all, &k)) return b->never;
    GrammarDfa *names = allowed_names(b, all, declared, n);
    if (!names || b->bad) return grammar_dfa_free(names), b->never;
    uint32_t from = grammar_program_node(b->g, GRAMMAR_FORK);
    for (unsigned which = 0; which < 1U << k.n && !b->bad; which++) emit_kind(b, all, &k, which, names, from, after);
    grammar_dfa_free(names);
    return from;
}
