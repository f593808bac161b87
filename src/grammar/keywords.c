/* Which words of a schema are known, and where references lead. What changes which values are valid is understood or refused by name;
 * words that JSON Schema does not define change nothing, as it says itself. */
#include "grammar/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const refused[] = {"not", "if", "dependentRequired", "dependentSchemas", "dependencies", "unevaluatedItems",
    "unevaluatedProperties", "contains", "$dynamicRef", "$recursiveRef", "extends", "disallow", "divisibleBy"};

/* ---- where something stands ---- */

/* Appends the JSON pointer from `at` to `what`; false: it is not there. */
static bool point(const json_t *at, const json_t *what, Buf *out, int depth) {
    size_t len = out->len, i;
    const char *key;
    json_t *value;
    if (at == what) return true;
    if (depth > GRAMMAR_MAX_NESTING) return false;
    if (json_is_object(at)) {
        json_object_foreach((json_t *)(uintptr_t)at, key, value) {
            buf_putc(out, '/');
            for (const char *c = key; *c; c++) {
                if (*c == '~') buf_puts(out, "~0");
                else if (*c == '/') buf_puts(out, "~1");
                else buf_putc(out, *c);
            }
            if (point(value, what, out, depth + 1)) return true;
            out->len = len;
        }
    } else if (json_is_array(at)) {
        json_array_foreach(at, i, value) {
            buf_printf(out, "/%zu", i);
            if (point(value, what, out, depth + 1)) return true;
            out->len = len;
        }
    }
    return false;
}

uint32_t grammar_schema_refuse(GrammarSchema *b, const json_t *part, const char *keyword, const char *fmt, ...) {
    char text[512];
    va_list args;
    if (b->bad) return 0;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    Buf at = {0};
    buf_putc(&at, '#');
    point(b->root, part, &at, 0);
    if (at.ptr) at.ptr[at.len] = 0;
    err_set(b->err, ERR_UNSUPPORTED, "schema, at %s%s%s: %s", at.ptr ? at.ptr : "#", keyword ? "/" : "", keyword ? keyword : "", text);
    buf_free(&at);
    b->bad = true;
    return 0;
}

bool grammar_keywords_check(GrammarSchema *b, const json_t *part) {
    for (size_t i = 0; i < COUNT_OF(refused); i++)
        if (json_object_get(part, refused[i]))
            return grammar_schema_refuse(b, part, refused[i], "\"%s\" is not supported", refused[i]) != 0;
    if (json_is_true(json_object_get(part, "uniqueItems")))
        return grammar_schema_refuse(b, part, "uniqueItems", "\"uniqueItems\" is not supported: no automaton remembers all items") != 0;
    return true;
}

bool grammar_keywords_count(GrammarSchema *b, const json_t *part, const char *keyword, uint32_t *value) {
    const json_t *v = json_object_get(part, keyword);
    if (!v) return false;
    double number = json_is_number(v) ? json_number_value(v) : -1;
    if (!(number >= 0) || number != (double)(uint64_t)number) {
        grammar_schema_refuse(b, part, keyword, "\"%s\" must be a whole number that is not negative", keyword);
        return false;
    }
    *value = number < 1e9 ? (uint32_t)number : 1000000000;
    return true;
}

/* ---- references ---- */

/* One step of a pointer, ~0, ~1 and %XX undone, into out. */
static void unescape(const char *at, const char *end, Buf *out) {
    buf_clear(out);
    for (; at < end; at++) {
        char hex[3] = {0};
        if (*at == '%' && end - at > 2) memcpy(hex, at + 1, 2);
        char c = *at;
        if (hex[0]) {
            c = (char)strtoul(hex, NULL, 16);
            at += 2;
        }
        if (c == '~' && end - at > 1 && (at[1] == '0' || at[1] == '1')) c = *++at == '0' ? '~' : '/';
        buf_putc(out, c);
    }
    buf_putc(out, 0);
}

static const json_t *by_pointer(const json_t *at, const char *pointer) {
    Buf step = {0};
    while (at && *pointer == '/') {
        const char *end = pointer + 1 + strcspn(pointer + 1, "/");
        unescape(pointer + 1, end, &step);
        if (json_is_object(at)) at = json_object_get(at, step.ptr);
        else if (json_is_array(at)) at = json_array_get(at, (size_t)strtoull(step.ptr, NULL, 10));
        else at = NULL;
        pointer = end;
    }
    buf_free(&step);
    return at;
}

static const json_t *by_anchor(const json_t *at, const char *name, int depth) {
    const json_t *anchor = json_object_get(at, "$anchor"), *found = NULL;
    const char *key;
    size_t i;
    json_t *value;
    if (depth > GRAMMAR_MAX_NESTING) return NULL;
    if (json_is_string(anchor) && strcmp(json_string_value(anchor), name) == 0) return at;
    if (json_is_object(at)) {
        json_object_foreach((json_t *)(uintptr_t)at, key, value)
            if (!found) found = by_anchor(value, name, depth + 1);
    } else if (json_is_array(at)) {
        json_array_foreach(at, i, value)
            if (!found) found = by_anchor(value, name, depth + 1);
    }
    return found;
}

const json_t *grammar_keywords_follow(GrammarSchema *b, const json_t *part, const char *ref) {
    const json_t *to = NULL, *id = json_object_get(b->root, "$id");
    if (json_is_string(id)) { /* the document by its own name */
        size_t n = strcspn(json_string_value(id), "#");
        if (n > 0 && strncmp(ref, json_string_value(id), n) == 0) ref += n;
        if (!*ref) ref = "#";
    }
    if (ref[0] != '#')
        grammar_schema_refuse(b, part, "$ref", "\"%s\" is not in this document: only references that begin with # are followed", ref);
    else if (ref[1] == 0) to = b->root;
    else if (ref[1] == '/') to = by_pointer(b->root, ref + 1);
    else to = by_anchor(b->root, ref + 1, 0);
    if (!to) grammar_schema_refuse(b, part, "$ref", "\"%s\" leads to nothing", ref);
    return to;
}
