/* Null, booleans, strings, numbers, and the values of enum and const. */
#include "grammar/schema.h"

#include <math.h>
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

static unsigned type_of(const json_t *v) {
    switch (json_typeof(v)) {
    case JSON_NULL: return GRAMMAR_TYPE_NULL;
    case JSON_TRUE:
    case JSON_FALSE: return GRAMMAR_TYPE_BOOL;
    case JSON_INTEGER: return GRAMMAR_TYPE_INTEGER;
    case JSON_REAL: return json_real_value(v) == floor(json_real_value(v)) ? GRAMMAR_TYPE_INTEGER : GRAMMAR_TYPE_FRACTION;
    case JSON_STRING: return GRAMMAR_TYPE_STRING;
    case JSON_ARRAY: return GRAMMAR_TYPE_ARRAY;
    default: return GRAMMAR_TYPE_OBJECT;
    }
}

/* ---- strings ---- */

/* The string constraints of one part: pattern and format into *dfa, lengths into the bounds. */
static void narrow(GrammarSchema *b, const json_t *part, GrammarDfa **dfa, uint32_t *min, uint32_t *max) {
    const char *pattern = json_string_value(json_object_get(part, "pattern")), *format = json_string_value(json_object_get(part, "format"));
    uint32_t count;
    Err why = {0};
    if (grammar_keywords_count(b, part, "minLength", &count) && count > *min) *min = count;
    if (grammar_keywords_count(b, part, "maxLength", &count) && count < *max) *max = count;
    for (int i = 0; i < 2 && !b->bad; i++) {
        const char *text = i == 0 ? pattern : format, *word = i == 0 ? "pattern" : "format";
        bool known = true;
        if (!text && json_object_get(part, word)) grammar_schema_refuse(b, part, word, "must be a string");
        if (!text) continue;
        GrammarDfa *d = i == 0 ? grammar_dfa_pattern(text, strlen(text), &why) : grammar_dfa_format(text, &known, &why);
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

/* NULL with *any: lengths are the only constraint. */
static GrammarDfa *strings(GrammarSchema *b, const GrammarAll *all, uint32_t *min, uint32_t *max, bool *any) {
    GrammarDfa *dfa = NULL;
    *min = 0;
    *max = GRAMMAR_NEVER;
    for (uint32_t p = 0; p < all->n && !b->bad; p++) narrow(b, all->parts[p], &dfa, min, max);
    *any = !dfa && !b->bad;
    return dfa;
}

/* With lengths it is a larger automaton, which knows how many characters are left. */
static GrammarDfa *with_length(GrammarSchema *b, const GrammarAll *all, GrammarDfa *dfa, uint32_t min, uint32_t max) {
    Err why = {0};
    GrammarDfa *length = grammar_dfa_length(min, max, &why);
    if (!length) grammar_dfa_free(dfa);
    dfa = dfa && length ? grammar_dfa_and(dfa, length, false, &why) : length;
    if (!dfa) grammar_schema_refuse(b, all->parts[all->n - 1], NULL, "pattern or format with minLength or maxLength: %s", why.text);
    return dfa;
}

GrammarDfa *grammar_scalar_strings(GrammarSchema *b, const GrammarAll *all, bool *any) {
    uint32_t min, max;
    GrammarDfa *dfa = strings(b, all, &min, &max, any);
    bool bounded = min > 0 || max != GRAMMAR_NEVER;
    if (b->bad || !bounded) return dfa;
    *any = false;
    return with_length(b, all, dfa, min, max);
}

static uint32_t string_rule(GrammarSchema *b, const GrammarAll *all) {
    uint32_t min, max;
    bool any;
    GrammarDfa *dfa = strings(b, all, &min, &max, &any);
    if (b->bad) return b->never;
    if (min > max) return grammar_dfa_free(dfa), b->never;
    if (any) return grammar_json_text_of(b->g, min, max);
    if (min > 0 || max != GRAMMAR_NEVER) dfa = with_length(b, all, dfa, min, max);
    if (!dfa) return b->never;
    uint32_t open = grammar_program_node(b->g, GRAMMAR_READ);
    grammar_program_edge(b->g, open, '"', '"', grammar_dfa_emit(dfa, b->g, grammar_program_return(b->g)));
    grammar_dfa_free(dfa);
    return open;
}

/* ---- numbers ---- */

/* The shortest decimal that is this number. */
static void shortest(double v, char out[40]) {
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(out, 40, "%.*e", digits - 1, v);
        if (strtod(out, NULL) == v) return;
    }
}

/* 0: done; 1: larger than all numbers that can be written; 2: too many digits behind the point. */
static int decimal_of(const json_t *v, GrammarDecimal *d) {
    char text[40], digits[40];
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

typedef struct Bounds {
    GrammarDecimal lo, hi;
    bool has_lo, has_hi, none; /* none: nothing is between them */
} Bounds;

static void tighten(GrammarSchema *b, const json_t *part, const char *word, bool lower, bool exclusive, Bounds *bounds) {
    const json_t *v = json_object_get(part, word);
    GrammarDecimal d;
    if (!v || json_is_boolean(v)) return; /* true beside minimum: see bounds_of */
    if (!json_is_number(v)) {
        grammar_schema_refuse(b, part, word, "must be a number");
        return;
    }
    int how = decimal_of(v, &d);
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

static Bounds bounds_of(GrammarSchema *b, const GrammarAll *all) {
    Bounds bounds = {0};
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

static uint32_t number_rule(GrammarSchema *b, const GrammarAll *all, bool integer) {
    Bounds bounds = bounds_of(b, all);
    for (uint32_t p = 0; p < all->n; p++) {
        const json_t *step = json_object_get(all->parts[p], "multipleOf");
        if (step && json_is_number(step) && json_number_value(step) == 1) integer = true;
        else if (step) grammar_schema_refuse(b, all->parts[p], "multipleOf", "\"multipleOf\" is not supported, except 1");
    }
    if (b->bad || bounds.none) return b->never;
    if (!integer && !bounds.has_lo && !bounds.has_hi) return grammar_json_number(b->g);
    return grammar_digits_between(b->g, bounds.has_lo ? &bounds.lo : NULL, bounds.has_hi ? &bounds.hi : NULL, integer);
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

/* ---- enum and const ---- */

bool grammar_scalar_is_constant(const GrammarAll *all) {
    for (uint32_t p = 0; p < all->n; p++)
        if (json_object_get(all->parts[p], "enum") || json_object_get(all->parts[p], "const")) return true;
    return false;
}

static bool equal(const json_t *a, const json_t *v) {
    if (json_is_number(a) && json_is_number(v) && !(json_is_integer(a) && json_is_integer(v)))
        return json_number_value(a) == json_number_value(v);
    return json_equal(a, v);
}

static bool listed(const json_t *part, const json_t *value) {
    const json_t *list = json_object_get(part, "enum"), *only = json_object_get(part, "const"), *each;
    size_t i;
    bool found = !list;
    json_array_foreach(list, i, each) found = found || equal(each, value);
    return found && (!only || equal(only, value));
}

/* Do the other words of the schemas allow it? What is said of members and items beside an enum is not looked at, but refused. */
static bool satisfies(GrammarSchema *b, const GrammarAll *all, const json_t *value, const Bounds *bounds, const GrammarDfa *dfa) {
    static const char *const inner[] = {"properties", "required", "additionalProperties", "patternProperties", "propertyNames",
                                        "minProperties", "maxProperties", "items", "prefixItems", "additionalItems", "minItems",
                                        "maxItems"};
    GrammarDecimal d;
    for (uint32_t p = 0; p < all->n; p++) {
        if (!listed(all->parts[p], value)) return false;
        for (size_t i = 0; (json_is_object(value) || json_is_array(value)) && i < COUNT_OF(inner); i++)
            if (json_object_get(all->parts[p], inner[i]))
                return grammar_schema_refuse(b, all->parts[p], inner[i], "beside an enum or const of objects or arrays not supported");
        if (json_is_number(value) && json_object_get(all->parts[p], "multipleOf"))
            return grammar_schema_refuse(b, all->parts[p], "multipleOf", "\"multipleOf\" is not supported");
    }
    if (json_is_string(value)) return !dfa || grammar_dfa_takes(dfa, str_make(json_string_value(value), json_string_length(value)));
    if (!json_is_number(value)) return true;
    if (bounds->none || ((bounds->has_lo || bounds->has_hi) && decimal_of(value, &d))) return false;
    int lo = bounds->has_lo ? grammar_digits_compare(&d, &bounds->lo) : 1;
    int hi = bounds->has_hi ? grammar_digits_compare(&d, &bounds->hi) : -1;
    return (lo > 0 || (lo == 0 && !bounds->lo.exclusive)) && (hi < 0 || (hi == 0 && !bounds->hi.exclusive));
}

static void quote(Str text, Buf *out) {
    static const char chars[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    buf_putc(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        const char *c = text.ptr[i] ? strchr(chars, text.ptr[i]) : NULL;
        if (c) buf_printf(out, "\\%c", letters[c - chars]);
        else if ((uint8_t)text.ptr[i] < 0x20) buf_printf(out, "\\u%04x", (unsigned)text.ptr[i]);
        else buf_putc(out, text.ptr[i]);
    }
    buf_putc(out, '"');
}

uint32_t grammar_scalar_quoted(Grammar *g, Str text, uint32_t to) {
    Buf quoted = {0};
    quote(text, &quoted);
    if (quoted.failed) g->failed = true;
    uint32_t n = g->failed ? 0 : grammar_program_bytes(g, quoted.ptr, quoted.len, to);
    buf_free(&quoted);
    return n;
}

static void spell(const json_t *v, Buf *out) {
    const char *key;
    json_t *each;
    size_t i;
    char number[40];
    switch (json_typeof(v)) {
    case JSON_NULL: buf_puts(out, "null"); break;
    case JSON_TRUE: buf_puts(out, "true"); break;
    case JSON_FALSE: buf_puts(out, "false"); break;
    case JSON_INTEGER: buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(v)); break;
    case JSON_REAL:
        for (int digits = 1; digits <= 17; digits++) {
            snprintf(number, sizeof number, "%.*g", digits, json_real_value(v));
            if (strtod(number, NULL) == json_real_value(v)) break;
        }
        buf_puts(out, number);
        break;
    case JSON_STRING: quote(str_make(json_string_value(v), json_string_length(v)), out); break;
    case JSON_ARRAY:
        buf_putc(out, '[');
        json_array_foreach(v, i, each) {
            if (i) buf_puts(out, ", ");
            spell(each, out);
        }
        buf_putc(out, ']');
        break;
    case JSON_OBJECT:
        buf_putc(out, '{');
        i = 0;
        json_object_foreach((json_t *)(uintptr_t)v, key, each) {
            if (i++) buf_puts(out, ", ");
            quote(str_c(key), out);
            buf_puts(out, ": ");
            spell(each, out);
        }
        buf_putc(out, '}');
        break;
    }
}

static int by_text(const void *a, const void *b) {
    const Str *x = a, *y = b;
    int order = memcmp(x->ptr, y->ptr, x->len < y->len ? x->len : y->len);
    return order ? order : x->len < y->len ? -1 : x->len > y->len;
}

/* Nodes that read one of texts[0..n), ascending and different, which are the same up to `at`. */
static uint32_t one_of(Grammar *g, const Str *texts, size_t n, size_t at) {
    if (n == 0 || g->failed) return 0;
    size_t same = at;
    while (same < texts[0].len && same < texts[n - 1].len && texts[0].ptr[same] == texts[n - 1].ptr[same]) same++;
    uint32_t end = grammar_program_return(g);
    if (n == 1) return grammar_program_bytes(g, texts[0].ptr + at, texts[0].len - at, end);
    uint32_t fork = grammar_program_node(g, GRAMMAR_FORK);
    size_t i = 0;
    if (texts[0].len == same) {
        grammar_program_fork(g, fork, end);
        i = 1;
    }
    while (i < n) {
        size_t k = i + 1;
        while (k < n && texts[k].ptr[same] == texts[i].ptr[same]) k++;
        uint32_t next = one_of(g, texts + i, k - i, same + 1);
        grammar_program_fork(g, fork, grammar_program_bytes(g, texts[i].ptr + same, 1, next));
        i = k;
    }
    return grammar_program_bytes(g, texts[0].ptr + at, same - at, fork);
}

static void emit_texts(GrammarSchema *b, Buf *all, const size_t *ends, size_t n, uint32_t from) {
    Str *texts = MEM_NEW(Str, n);
    size_t unique = 0, at = 0;
    if (!texts || all->failed) b->g->failed = true;
    for (size_t i = 0; i < n && !b->g->failed; at = ends[i++]) texts[i] = str_make(all->ptr + at, ends[i] - at);
    if (!b->g->failed) {
        qsort(texts, n, sizeof *texts, by_text);
        for (size_t i = 0; i < n; i++)
            if (unique == 0 || !str_eq(texts[i], texts[unique - 1])) texts[unique++] = texts[i];
        if (unique) grammar_program_fork(b->g, from, one_of(b->g, texts, unique, 0));
    }
    mem_free(texts);
}

void grammar_scalar_emit_constants(GrammarSchema *b, const GrammarAll *all, unsigned types, uint32_t from) {
    const json_t *list = NULL, *only = NULL, *each;
    for (uint32_t p = 0; p < all->n; p++) {
        if (!list) list = json_object_get(all->parts[p], "enum");
        if (!only) only = json_object_get(all->parts[p], "const");
        const json_t *here = json_object_get(all->parts[p], "enum");
        if (here && !json_is_array(here)) {
            grammar_schema_refuse(b, all->parts[p], "enum", "must be a list of values");
            return;
        }
    }
    bool any = false;
    Bounds bounds = bounds_of(b, all);
    GrammarDfa *dfa = grammar_scalar_strings(b, all, &any);
    size_t n = only ? 1 : json_array_size(list), n_texts = 0, *ends = MEM_NEW(size_t, n);
    Buf texts = {0};
    for (size_t i = 0; ends && i < n && !b->bad; i++) {
        each = only ? only : json_array_get(list, i);
        if (!(types & type_of(each)) || !satisfies(b, all, each, &bounds, dfa)) continue;
        spell(each, &texts);
        ends[n_texts++] = texts.len;
    }
    if (!ends) b->g->failed = true;
    else emit_texts(b, &texts, ends, n_texts, from);
    grammar_dfa_free(dfa);
    buf_free(&texts);
    mem_free(ends);
}
