/* Types, strings and numbers. */
#include "grammar/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- types ---- */

static unsigned type_named(GrammarSchema *b, const json_t *part, const json_t *name) {
    static const struct { const char *name; unsigned types; } types[] = {
        {"null", GRAMMAR_TYPE_NULL}, {"boolean", GRAMMAR_TYPE_BOOL}, {"integer", GRAMMAR_TYPE_INTEGER},
        {"number", GRAMMAR_TYPE_INTEGER | GRAMMAR_TYPE_FRACTION}, {"string", GRAMMAR_TYPE_STRING}, {"array", GRAMMAR_TYPE_ARRAY},
        {"object", GRAMMAR_TYPE_OBJECT}};
    for (size_t i = 0; json_is_string(name) && i < COUNT_OF(types); i++)
        if (strcmp(json_string_value(name), types[i].name) == 0) return types[i].types;
    return grammar_schema_refuse(b, part, "type", "must be null, boolean, integer, number, string, array, object, or a list of these");
}

unsigned grammar_scalar_types(GrammarSchema *b, const GrammarAll *all) {
    unsigned types = GRAMMAR_TYPE_ALL;
    for (uint32_t p = 0; p < all->n; p++) {
        const json_t *type = json_object_get(all->parts[p], "type"), *each;
        unsigned here = 0;
        size_t i;
        if (!type) continue;
        if (json_is_array(type)) json_array_foreach(type, i, each) here |= type_named(b, all->parts[p], each);
        else here = type_named(b, all->parts[p], type);
        if (json_is_true(json_object_get(all->parts[p], "nullable"))) here |= GRAMMAR_TYPE_NULL;
        types &= here;
    }
    return types;
}

/* ---- strings ---- */

/* The string constraints of one part: pattern and format into *dfa, lengths into the bounds. */
static void narrow(GrammarSchema *b, const json_t *part, GrammarDfa **dfa, uint32_t *min, uint32_t *max) {
    uint32_t count;
    Err why = {0};
    if (grammar_keywords_count(b, part, "minLength", &count) && count > *min) *min = count;
    if (grammar_keywords_count(b, part, "maxLength", &count) && count < *max) *max = count;
    for (int i = 0; i < 2 && !b->bad; i++) {
        const char *word = i == 0 ? "pattern" : "format";
        const json_t *value = json_object_get(part, word);
        const char *text = json_string_value(value);
        bool known = true;
        if (!text && value) grammar_schema_refuse(b, part, word, "must be a string");
        if (!text) continue;
        GrammarDfa *d = i == 0 ? grammar_dfa_pattern(text, json_string_length(value), &why) : grammar_dfa_format(text, &known, &why);
        if (!known) {
            grammar_schema_refuse(b, part, word, "\"%s\" is not supported; choose date, time, date-time, duration, uuid, email, hostname, "
                                  "ipv4, ipv6 or uri, or write a pattern", text);
            return;
        }
        if (d && *dfa) d = grammar_dfa_and(*dfa, d, false, &why);
        else if (!d) grammar_dfa_free(*dfa);
        *dfa = d;
        if (!d) grammar_schema_refuse(b, part, word, "%s", why.text);
    }
}

GrammarDfa *grammar_scalar_texts(GrammarSchema *b, const GrammarAll *all, uint32_t *min, uint32_t *max, bool *any) {
    GrammarDfa *dfa = NULL;
    *min = 0;
    *max = GRAMMAR_NEVER;
    for (uint32_t p = 0; p < all->n && !b->bad; p++) narrow(b, all->parts[p], &dfa, min, max);
    *any = !dfa && !b->bad;
    return dfa;
}

GrammarDfa *grammar_scalar_with_length(GrammarSchema *b, const GrammarAll *all, GrammarDfa *dfa, uint32_t min, uint32_t max) {
    Err why = {0};
    GrammarDfa *length = grammar_dfa_length(min, max, &why);
    if (!length) grammar_dfa_free(dfa);
    dfa = dfa && length ? grammar_dfa_and(dfa, length, false, &why) : length;
    if (!dfa) grammar_schema_refuse(b, all->parts[all->n - 1], NULL, "pattern or format with minLength or maxLength: %s", why.text);
    return dfa;
}

GrammarDfa *grammar_scalar_strings(GrammarSchema *b, const GrammarAll *all, bool *any) {
    uint32_t min, max;
    GrammarDfa *dfa = grammar_scalar_texts(b, all, &min, &max, any);
    bool bounded = min > 0 || max != GRAMMAR_NEVER;
    if (b->bad || !bounded) return dfa;
    *any = false;
    return grammar_scalar_with_length(b, all, dfa, min, max);
}

static uint32_t string_rule(GrammarSchema *b, const GrammarAll *all) {
    uint32_t min, max;
    bool any;
    GrammarDfa *dfa = grammar_scalar_texts(b, all, &min, &max, &any);
    if (b->bad) return b->never;
    if (min > max) return grammar_dfa_free(dfa), b->never;
    if (any) return grammar_json_text_of(b->g, min, max);
    if (min > 0 || max != GRAMMAR_NEVER) dfa = grammar_scalar_with_length(b, all, dfa, min, max);
    if (!dfa) return b->never;
    uint32_t open = grammar_program_node(b->g, GRAMMAR_READ);
    grammar_program_edge(b->g, open, '"', '"', grammar_dfa_emit(dfa, b->g, grammar_program_return(b->g)));
    grammar_dfa_free(dfa);
    return open;
}

/* ---- numbers ---- */

enum { MOST_STEP = 1000 };

/* The shortest decimal that is this number. */
static void shortest(double v, char out[40]) {
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(out, 40, "%.*e", digits - 1, v);
        if (strtod(out, NULL) == v) return;
    }
}

int grammar_scalar_decimal(const json_t *v, GrammarDecimal *d) {
    char text[40], digits[40] = {0};
    size_t n = 0;
    memset(d, 0, sizeof *d);
    if (json_is_integer(v)) snprintf(text, sizeof text, "%.17Le", (long double)json_integer_value(v));
    else shortest(json_real_value(v), text);
    const char *at = text + (text[0] == '-');
    d->negative = text[0] == '-';
    for (; *at && *at != 'e'; at++)
        if (*at != '.' && n < sizeof digits) digits[n++] = *at;
    long exponent = strtol(at + 1, NULL, 10);
    while (n > 1 && digits[n - 1] == '0') n--;
    if (n == 1 && digits[0] == '0') return 0;
    if (exponent >= (long)sizeof d->whole) return 1;
    for (size_t i = 0; i < n; i++) {
        long place = exponent - (long)i; /* of ten, of this digit */
        if (place < -(long)sizeof d->fraction) return 2;
        if (place >= 0) d->whole[(long)sizeof d->whole - 1 - place] = (uint8_t)(digits[i] - '0');
        else d->fraction[-place - 1] = (uint8_t)(digits[i] - '0');
    }
    return 0;
}

static void tighten(GrammarSchema *b, const json_t *part, const char *word, bool lower, bool exclusive, GrammarBounds *bounds) {
    const json_t *v = json_object_get(part, word);
    GrammarDecimal d;
    if (!v || json_is_boolean(v)) return; /* true beside minimum: see grammar_scalar_bounds */
    if (!json_is_number(v)) {
        grammar_schema_refuse(b, part, word, "must be a number");
        return;
    }
    int how = grammar_scalar_decimal(v, &d);
    if (how == 2) grammar_schema_refuse(b, part, word, "has more than %d digits behind the point", (int)sizeof d.fraction);
    if (how == 1 && d.negative != lower) bounds->none = true;
    if (how) return;
    d.exclusive = exclusive;
    GrammarDecimal *old = lower ? &bounds->lo : &bounds->hi;
    bool *has = lower ? &bounds->has_lo : &bounds->has_hi;
    int order = *has ? grammar_digits_compare(&d, old) * (lower ? 1 : -1) : 1;
    if (order > 0 || (order == 0 && exclusive)) *old = d;
    *has = true;
}

GrammarBounds grammar_scalar_bounds(GrammarSchema *b, const GrammarAll *all) {
    GrammarBounds bounds = {0};
    for (uint32_t p = 0; p < all->n && !b->bad; p++) {
        const json_t *part = all->parts[p];
        tighten(b, part, "minimum", true, json_is_true(json_object_get(part, "exclusiveMinimum")), &bounds);
        tighten(b, part, "exclusiveMinimum", true, true, &bounds);
        tighten(b, part, "maximum", false, json_is_true(json_object_get(part, "exclusiveMaximum")), &bounds);
        tighten(b, part, "exclusiveMaximum", false, true, &bounds);
    }
    if (bounds.has_lo && bounds.has_hi) {
        int order = grammar_digits_compare(&bounds.lo, &bounds.hi);
        if (order > 0 || (order == 0 && (bounds.lo.exclusive || bounds.hi.exclusive))) bounds.none = true;
    }
    return bounds;
}

static unsigned common(unsigned a, unsigned b) {
    while (b) {
        unsigned rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The integer that every number must be a multiple of; 0: none. */
static unsigned number_step(GrammarSchema *b, const GrammarAll *all) {
    unsigned all_of_them = 0;
    for (uint32_t p = 0; p < all->n && !b->bad; p++) {
        const json_t *word = json_object_get(all->parts[p], "multipleOf");
        double v = json_number_value(word);
        if (!word) continue;
        unsigned step = json_is_number(word) && v >= 1 && v <= MOST_STEP ? (unsigned)v : 0;
        if (step) all_of_them = all_of_them ? all_of_them / common(all_of_them, step) * step : step;
        if (!step || (double)step != v || all_of_them > MOST_STEP)
            grammar_schema_refuse(b, all->parts[p], "multipleOf", "\"multipleOf\" is supported for whole numbers up to %d", MOST_STEP);
    }
    return all_of_them;
}

static uint32_t number_rule(GrammarSchema *b, const GrammarAll *all, bool integer) {
    GrammarBounds bounds = grammar_scalar_bounds(b, all);
    unsigned step = number_step(b, all);
    if (b->bad || bounds.none) return b->never;
    if (!integer && !step && !bounds.has_lo && !bounds.has_hi) return grammar_json_number(b->g);
    if (integer && !step) step = 1;
    return grammar_digits_between(b->g, bounds.has_lo ? &bounds.lo : NULL, bounds.has_hi ? &bounds.hi : NULL, step);
}

void grammar_scalar_emit(GrammarSchema *b, const GrammarAll *all, unsigned types, uint32_t from) {
    Grammar *g = b->g;
    uint32_t end = grammar_program_return(g);
    if (types & GRAMMAR_TYPE_STRING) grammar_program_fork(g, from, string_rule(b, all));
    if (types & (GRAMMAR_TYPE_INTEGER | GRAMMAR_TYPE_FRACTION))
        grammar_program_fork(g, from, number_rule(b, all, !(types & GRAMMAR_TYPE_FRACTION)));
    if (types & GRAMMAR_TYPE_BOOL) {
        grammar_program_fork(g, from, grammar_program_bytes(g, "true", 4, end));
        grammar_program_fork(g, from, grammar_program_bytes(g, "false", 5, end));
    }
    if (types & GRAMMAR_TYPE_NULL) grammar_program_fork(g, from, grammar_program_bytes(g, "null", 4, end));
}
