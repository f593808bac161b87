/* What a value looks like as text: str() as {{ }} prints it, repr() as it stands inside a list, JSON as json.dumps
 * writes it. */
#include "text/jinja.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The shortest decimal that reads back as the same number, in the form Python chooses: 0.1, 100.0, 1e-07, 1e+22. */
static void put_float(Buf *b, double f) {
    char text[64];
    if (f != f || isinf(f)) {
        buf_puts(b, f != f ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    for (int precision = 14; precision < 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, f);
        if (strtod(text, NULL) == f) break;
    }
    char digits[32] = {0}, *e = strchr(text, 'e');
    int exponent = (int)strtol(e + 1, NULL, 10), n = 0;
    for (char *p = text; p < e; p++)
        if (*p >= '0' && *p <= '9') digits[n++] = *p;
    while (n > 1 && digits[n - 1] == '0') n--;
    if (text[0] == '-') buf_putc(b, '-');
    if (exponent < -4 || exponent >= 16) {
        buf_putc(b, digits[0]);
        if (n > 1) buf_putc(b, '.');
        buf_put(b, digits + 1, (size_t)n - 1);
        buf_printf(b, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    for (int i = exponent < 0 ? exponent : 0; i < n || i <= exponent + 1;
         i++) { /* i: index into digits; before 0 and behind n zeros */
        if (i == exponent + 1) buf_putc(b, '.');
        buf_putc(b, i >= 0 && i < n ? digits[i] : '0');
    }
}

/* Something that stands on one line of output in place of its contents. */
static bool put_atom(Buf *b, const JinjaValue *v) {
    switch (v->kind) {
    case JINJA_NONE: buf_puts(b, "None"); return true;
    case JINJA_BOOL: buf_puts(b, v->b ? "True" : "False"); return true;
    case JINJA_INT: buf_printf(b, "%lld", (long long)v->i); return true;
    case JINJA_BIG: buf_put(b, v->s.ptr, v->s.len); return true;
    case JINJA_FLOAT: put_float(b, v->f); return true;
    default: return false;
    }
}

static void put_quoted(Buf *b, Str s) {
    bool has_single = memchr(s.ptr, '\'', s.len) != NULL, has_double = memchr(s.ptr, '"', s.len) != NULL;
    char quote = has_single && !has_double ? '"' : '\'';
    size_t size;
    buf_putc(b, quote);
    for (size_t i = 0; i < s.len; i += size) {
        uint32_t c = jinja_code_point(s, i, &size);
        if (c == (uint32_t)quote || c == '\\') buf_printf(b, "\\%c", (int)c);
        else if (c == '\n') buf_puts(b, "\\n");
        else if (c == '\r') buf_puts(b, "\\r");
        else if (c == '\t') buf_puts(b, "\\t");
        else if (jinja_is_printable(c)) buf_put(b, s.ptr + i, size);
        else buf_printf(b, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
    }
    buf_putc(b, quote);
}

static bool put_items(JinjaRun *r, Buf *b, const JinjaList *l, char open, char close) {
    buf_putc(b, open);
    for (size_t i = 0; i < l->n; i++) {
        if (i) buf_puts(b, ", ");
        if (!jinja_put_repr(r, b, &l->items[i])) return false;
    }
    if (open == '(' && l->n == 1) buf_putc(b, ',');
    buf_putc(b, close);
    return true;
}

static bool put_dict(JinjaRun *r, Buf *b, const JinjaDict *d) {
    buf_putc(b, '{');
    for (uint32_t i = 0; i < d->n; i++) {
        if (i) buf_puts(b, ", ");
        if (!jinja_put_repr(r, b, &d->entries[i].key)) return false;
        buf_puts(b, ": ");
        if (!jinja_put_repr(r, b, &d->entries[i].value)) return false;
    }
    buf_putc(b, '}');
    return true;
}

/* A value written many times over inside itself would fill the memory before it ends. */
static bool within(JinjaRun *r, const Buf *b) {
    if (b->failed) return jinja_fail(r, ERR_MEMORY, "out of memory while rendering a chat template");
    return b->len <= r->max_memory || jinja_fail(r, ERR_MEMORY, "a value prints as more than %llu MiB",
                                                 (unsigned long long)(r->max_memory >> 20));
}

bool jinja_put_repr(JinjaRun *r, Buf *b, const JinjaValue *v) {
    if (put_atom(b, v)) return within(r, b);
    if (!jinja_enter(r)) return false;
    bool ok = true;
    switch (v->kind) {
    case JINJA_UNDEFINED: buf_puts(b, "Undefined"); break;
    case JINJA_STR:
        if (v->flag) buf_puts(b, "Markup(");
        put_quoted(b, v->s);
        if (v->flag) buf_putc(b, ')');
        break;
    case JINJA_LIST: ok = put_items(r, b, v->list, '[', ']'); break;
    case JINJA_TUPLE: ok = put_items(r, b, v->list, '(', ')'); break;
    case JINJA_DICT: ok = put_dict(r, b, v->dict); break;
    case JINJA_NAMESPACE:
        buf_puts(b, "<Namespace ");
        ok = put_dict(r, b, v->dict);
        buf_putc(b, '>');
        break;
    case JINJA_MACRO:
        buf_printf(b, "<Macro '%.*s'>", jinja_clip(v->macro->def->name, 1000), v->macro->def->name.ptr);
        break;
    case JINJA_RANGE: {
        int64_t stop = v->range->start + v->range->n * v->range->step;
        buf_printf(b, "range(%lld, %lld", (long long)v->range->start, (long long)stop);
        if (v->range->step != 1) buf_printf(b, ", %lld", (long long)v->range->step);
        buf_putc(b, ')');
        break;
    }
    default:
        ok = jinja_type_error(r, "printing a %s is not supported: in Python it would show an address", jinja_type(v));
    }
    jinja_leave(r);
    return ok && within(r, b);
}

bool jinja_put_str(JinjaRun *r, Buf *b, const JinjaValue *v) {
    if (v->kind == JINJA_UNDEFINED) return true;
    if (v->kind != JINJA_STR) return jinja_put_repr(r, b, v);
    buf_put(b, v->s.ptr, v->s.len);
    return within(r, b);
}

bool jinja_to_str(JinjaRun *r, const JinjaValue *v, Str *out) {
    if (v->kind == JINJA_STR) {
        *out = v->s;
        return true;
    }
    Buf b = {0};
    JinjaValue text;
    if (!jinja_put_str(r, &b, v)) return buf_free(&b), false;
    if (!jinja_take_buf(r, &b, &text)) return false;
    *out = text.s;
    return true;
}

/* ---- JSON ---- */

static void put_json_string(Buf *b, Str s, bool ascii) {
    size_t size;
    buf_putc(b, '"');
    for (size_t i = 0; i < s.len; i += size) {
        uint32_t c = jinja_code_point(s, i, &size);
        const char *shorts = "\"\"\\\\\bb\ff\nn\rr\tt"; /* pairs: character, letter behind the backslash */
        const char *known = NULL;
        for (const char *p = shorts; c < 0x80 && *p && !known; p += 2)
            if ((uint32_t)*p == c) known = p + 1;
        if (known) buf_printf(b, "\\%c", *known);
        else if (c < 0x20) buf_printf(b, "\\u%04x", c);
        else if (!ascii || c < 0x7F || c == 0x7F) buf_put(b, s.ptr + i, size);
        else if (c < 0x10000) buf_printf(b, "\\u%04x", c);
        else buf_printf(b, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10), 0xDC00 + ((c - 0x10000) & 0x3FF));
    }
    buf_putc(b, '"');
}

static bool put_json_atom(Buf *b, const JinjaValue *v, bool ascii) {
    switch (v->kind) {
    case JINJA_NONE: buf_puts(b, "null"); return true;
    case JINJA_BOOL: buf_puts(b, v->b ? "true" : "false"); return true;
    case JINJA_STR: put_json_string(b, v->s, ascii); return true;
    case JINJA_FLOAT:
        if (v->f != v->f) buf_puts(b, "NaN");
        else if (isinf(v->f)) buf_puts(b, v->f < 0 ? "-Infinity" : "Infinity");
        else put_float(b, v->f);
        return true;
    default: return put_atom(b, v);
    }
}

static void put_line(Buf *b, const JinjaJson *how, unsigned depth) {
    if (!how->pretty) return;
    buf_putc(b, '\n');
    for (unsigned i = 0; i < depth; i++) buf_put(b, how->indent.ptr, how->indent.len);
}

static bool put_json_key(JinjaRun *r, Buf *b, const JinjaValue *key, bool ascii) {
    if (key->kind == JINJA_STR) {
        put_json_string(b, key->s, ascii);
        return true;
    }
    if (!jinja_is_number(key) && key->kind != JINJA_NONE && key->kind != JINJA_BIG)
        return jinja_type_error(r, "keys must be str, int, float, bool or None, not %s", jinja_type(key));
    buf_putc(b, '"');
    put_json_atom(b, key, ascii);
    buf_putc(b, '"');
    return true;
}

/* The entries of a dict in the order of their keys. Few keys: an insertion sort is enough, and a step is charged for
 * each move. */
static bool sorted(JinjaRun *r, const JinjaDict *d, const JinjaEntry **out) {
    JinjaEntry *e = jinja_alloc(r, d->n, sizeof *e);
    if (!e) return false;
    for (uint32_t i = 0; i < d->n; i++) {
        uint32_t at = i;
        for (; at > 0; at--) {
            bool less;
            if (!jinja_charge(r, 1) || !jinja_order(r, JINJA_LT, &d->entries[i].key, &e[at - 1].key, &less))
                return false;
            if (!less) break;
            e[at] = e[at - 1];
        }
        e[at] = d->entries[i];
    }
    *out = e;
    return true;
}

static bool put_json_dict(JinjaRun *r, Buf *b, const JinjaDict *d, const JinjaJson *how, unsigned depth) {
    const JinjaEntry *e = d->entries;
    if (how->sort_keys && !sorted(r, d, &e)) return false;
    buf_putc(b, '{');
    for (uint32_t i = 0; i < d->n; i++) {
        if (i) buf_put(b, how->item_separator.ptr, how->item_separator.len);
        put_line(b, how, depth + 1);
        if (!put_json_key(r, b, &e[i].key, how->ascii)) return false;
        buf_put(b, how->key_separator.ptr, how->key_separator.len);
        if (!jinja_put_json(r, b, &e[i].value, how, depth + 1)) return false;
    }
    if (d->n) put_line(b, how, depth);
    buf_putc(b, '}');
    return true;
}

bool jinja_put_json(JinjaRun *r, Buf *b, const JinjaValue *v, const JinjaJson *how, unsigned depth) {
    if (put_json_atom(b, v, how->ascii)) return within(r, b);
    if (!jinja_enter(r)) return false;
    bool ok = true;
    if (v->kind == JINJA_DICT) {
        ok = put_json_dict(r, b, v->dict, how, depth);
    } else if (v->kind == JINJA_LIST || v->kind == JINJA_TUPLE) {
        buf_putc(b, '[');
        for (size_t i = 0; ok && i < v->list->n; i++) {
            if (i) buf_put(b, how->item_separator.ptr, how->item_separator.len);
            put_line(b, how, depth + 1);
            ok = jinja_put_json(r, b, &v->list->items[i], how, depth + 1);
        }
        if (v->list->n) put_line(b, how, depth);
        buf_putc(b, ']');
    } else {
        ok = jinja_type_error(r, "Object of type %s is not JSON serializable", jinja_type(v));
    }
    jinja_leave(r);
    return ok && within(r, b);
}
