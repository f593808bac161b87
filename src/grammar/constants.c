/* The values of enum and const. */
#include "grammar/schema.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

bool grammar_constants_given(const GrammarAll *all) {
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
static bool satisfies(GrammarSchema *b, const GrammarAll *all, const json_t *value, const GrammarBounds *bounds, const GrammarDfa *dfa) {
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
    if (bounds->none || ((bounds->has_lo || bounds->has_hi) && grammar_scalar_decimal(value, &d))) return false;
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

uint32_t grammar_constants_quoted(Grammar *g, Str text, uint32_t to) {
    Buf quoted = {0};
    quote(text, &quoted);
    if (quoted.failed) g->failed = true;
    uint32_t n = g->failed ? 0 : grammar_program_bytes(g, quoted.ptr, quoted.len, to);
    buf_free(&quoted);
    return n;
}

static void spell(const json_t *v, Buf *out) {
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
    default: break; /* lists and objects: see inside */
    }
}

/* Nodes for a value with the usual white space, then `to`. */
static uint32_t inside(Grammar *g, const json_t *v, uint32_t to) {
    const char *key;
    json_t *each;
    size_t i = 0, n = json_is_object(v) ? json_object_size(v) : json_array_size(v);
    Buf text = {0};
    uint32_t at = to, first = grammar_program_node(g, GRAMMAR_FORK), before = first;
    if (!json_is_object(v) && !json_is_array(v)) {
        spell(v, &text);
        g->failed = g->failed || text.failed;
        if (!g->failed) at = grammar_program_bytes(g, text.ptr, text.len, to);
        buf_free(&text);
        return at;
    }
    uint32_t close = grammar_json_space(g, grammar_program_bytes(g, json_is_object(v) ? "}" : "]", 1, to));
    if (json_is_object(v)) {
        json_object_foreach((json_t *)(uintptr_t)v, key, each) {
            uint32_t after = grammar_program_node(g, GRAMMAR_FORK);
            grammar_program_fork(g, before, grammar_constants_quoted(g, str_c(key), grammar_json_colon(g, inside(g, each, after))));
            before = ++i < n ? grammar_program_node(g, GRAMMAR_FORK) : after;
            if (i < n) grammar_program_fork(g, after, grammar_program_bytes(g, ",", 1, grammar_json_space(g, before)));
        }
    } else {
        json_array_foreach(v, i, each) {
            uint32_t after = grammar_program_node(g, GRAMMAR_FORK);
            grammar_program_fork(g, before, inside(g, each, after));
            before = i + 1 < n ? grammar_program_node(g, GRAMMAR_FORK) : after;
            if (i + 1 < n) grammar_program_fork(g, after, grammar_program_bytes(g, ",", 1, grammar_json_space(g, before)));
        }
    }
    grammar_program_fork(g, before, close);
    return grammar_program_bytes(g, json_is_object(v) ? "{" : "[", 1, n ? grammar_json_space(g, first) : first);
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

void grammar_constants_emit(GrammarSchema *b, const GrammarAll *all, unsigned types, uint32_t from) {
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
    GrammarBounds bounds = grammar_scalar_bounds(b, all);
    GrammarDfa *dfa = grammar_scalar_strings(b, all, &any);
    size_t n = only ? 1 : json_array_size(list), n_texts = 0, *ends = MEM_NEW(size_t, n);
    Buf texts = {0};
    for (size_t i = 0; ends && i < n && !b->bad; i++) {
        each = only ? only : json_array_get(list, i);
        if (!(types & type_of(each)) || !satisfies(b, all, each, &bounds, dfa)) continue;
        if (json_is_object(each) || json_is_array(each)) {
            grammar_program_fork(b->g, from, inside(b->g, each, grammar_program_return(b->g)));
            continue;
        }
        if (b->raw && json_is_string(each)) buf_put(&texts, json_string_value(each), json_string_length(each));
        else spell(each, &texts);
        ends[n_texts++] = texts.len;
    }
    if (!ends) b->g->failed = true;
    else emit_texts(b, &texts, ends, n_texts, from);
    grammar_dfa_free(dfa);
    buf_free(&texts);
    mem_free(ends);
}

GrammarDfa *grammar_constants_strings(GrammarSchema *b, const GrammarAll *all, bool *any) {
    GrammarDfa *dfa = grammar_scalar_strings(b, all, any);
    if (b->bad || !grammar_constants_given(all)) return dfa;
    json_t *list = json_array(), *each;
    size_t n = 0, i;
    for (uint32_t p = 0; p < all->n; p++) { /* every list has them all, so any will do */
        const json_t *here = json_object_get(all->parts[p], "enum"), *only = json_object_get(all->parts[p], "const");
        if (only) json_array_append(list, (json_t *)(uintptr_t)only);
        for (i = 0; i < json_array_size(here); i++) json_array_append(list, json_array_get(here, i));
    }
    Str *texts = MEM_NEW(Str, json_array_size(list));
    Err why = {0};
    json_array_foreach(list, i, each) {
        bool right = json_is_string(each);
        for (uint32_t p = 0; right && p < all->n; p++) right = listed(all->parts[p], each);
        if (texts && right) texts[n++] = str_make(json_string_value(each), json_string_length(each));
    }
    GrammarDfa *named = texts ? grammar_dfa_literals(texts, n, &why) : NULL;
    dfa = *any ? named : grammar_dfa_and(dfa, named, false, &why);
    *any = false;
    mem_free(texts);
    json_decref(list);
    if (!dfa) grammar_schema_refuse(b, all->parts[0], NULL, "the names of its members: %s", texts ? why.text : "out of memory");
    return dfa;
}
