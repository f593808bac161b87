/* Values as Python has them: truth, equality, order, length, walking over them; lists and dicts that keep their
 * order. */
#include "text/jinja.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ---- errors and limits ---- */

bool jinja_fail(JinjaRun *r, ErrCode code, const char *fmt, ...) {
    char text[sizeof r->err->text];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    r->failed = true;
    return jinja_source_fail(r->err, code, r->line, "%s", text);
}

bool jinja_type_error(JinjaRun *r, const char *fmt, ...) {
    char text[sizeof r->err->text];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return jinja_fail(r, ERR_STATE, "%s", text);
}

bool jinja_charge(JinjaRun *r, uint64_t steps) {
    r->steps += steps;
    if (r->steps <= JINJA_MAX_STEPS) return true;
    return jinja_fail(r, ERR_RANGE, "the template ran for more than %d steps; it may never end", JINJA_MAX_STEPS);
}

bool jinja_charge_find(JinjaRun *r, Str in, Str what) { return jinja_charge(r, in.len / 16 * (1 + what.len / 64)); }

bool jinja_enter(JinjaRun *r) {
    if (r->depth >= JINJA_MAX_DEPTH)
        return jinja_fail(r, ERR_RANGE, "the template nests calls or values deeper than %d levels", JINJA_MAX_DEPTH);
    r->depth++;
    if (jinja_charge(r, 1)) return true;
    r->depth--;
    return false;
}

static bool too_much(JinjaRun *r) {
    return jinja_fail(r, ERR_MEMORY, "the template needs more than %llu MiB for one prompt",
                      (unsigned long long)(r->max_memory >> 20));
}

void *jinja_alloc(JinjaRun *r, size_t count, size_t size) {
    uint64_t bytes;
    if (!mul_u64(count, size, &bytes) || bytes > r->max_memory || r->arena.total > r->max_memory - bytes)
        return too_much(r), (void *)NULL;
    void *p = arena_alloc(&r->arena, bytes ? (size_t)bytes : 1, 16);
    if (!p) jinja_fail(r, ERR_MEMORY, "out of memory while rendering a chat template");
    return p;
}

bool jinja_emit(JinjaRun *r, Str text) {
    if (text.len > r->max_memory || r->out->len > r->max_memory - text.len) return too_much(r);
    buf_put(r->out, text.ptr, text.len);
    return !r->out->failed || jinja_fail(r, ERR_MEMORY, "out of memory while rendering a chat template");
}

/* ---- making values ---- */

JinjaValue jinja_undefined(Str name) {
    return (JinjaValue){.kind = JINJA_UNDEFINED, .flag = JINJA_WHY_NAME, .s = name};
}

bool jinja_undefined_because(JinjaRun *r, JinjaValue *out, const char *fmt, ...) {
    char text[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (!jinja_copy_str(r, text, strlen(text), out)) return false;
    out->kind = JINJA_UNDEFINED;
    out->flag = JINJA_WHY_SENTENCE;
    return true;
}

static const char *const type_names[JINJA_N_KINDS] = {
    "missing",     "Undefined", "NoneType",  "bool",  "int",      "int",
    "float",       "str",       "list",      "tuple", "dict",     "range",
    "dict_view",   "generator", "Namespace", "Macro", "function", "builtin_function_or_method",
    "LoopContext", "Cycler",    "Joiner"};

const char *jinja_type(const JinjaValue *v) { return type_names[v->kind]; }

bool jinja_fail_undefined(JinjaRun *r, const JinjaValue *u) {
    int n = jinja_clip(u->s, 200);
    if (u->flag == JINJA_WHY_SENTENCE) return jinja_type_error(r, "%.*s", n, u->s.ptr);
    if (u->flag == JINJA_WHY_NAME) return jinja_type_error(r, "'%.*s' is undefined", n, u->s.ptr);
    JinjaValue owner = {.kind = (uint8_t)(u->flag - JINJA_WHY_ATTR)};
    if (owner.kind == JINJA_NONE) return jinja_type_error(r, "'None' has no attribute '%.*s'", n, u->s.ptr);
    return jinja_type_error(r, "'%s object' has no attribute '%.*s'", jinja_type(&owner), n, u->s.ptr);
}

bool jinja_copy_str(JinjaRun *r, const char *bytes, size_t len, JinjaValue *out) {
    char *copy = jinja_alloc(r, len, 1);
    if (!copy) return false;
    if (len) memcpy(copy, bytes, len);
    *out = jinja_str(str_make(copy, len));
    return true;
}

bool jinja_take_buf(JinjaRun *r, Buf *b, JinjaValue *out) {
    bool ok = b->failed ? jinja_fail(r, ERR_MEMORY, "out of memory while rendering a chat template")
                        : jinja_copy_str(r, b->ptr, b->len, out);
    buf_free(b);
    return ok;
}

bool jinja_new_list(JinjaRun *r, JinjaKind kind, size_t cap, JinjaValue *out) {
    *out = (JinjaValue){.kind = (uint8_t)kind, .list = jinja_alloc(r, 1, sizeof(JinjaList))};
    if (!out->list || cap == 0) return out->list != NULL;
    out->list->items = jinja_alloc(r, cap, sizeof(JinjaValue));
    out->list->cap = cap;
    return out->list->items != NULL;
}

bool jinja_append(JinjaRun *r, JinjaList *l, const JinjaValue *v) {
    JinjaValue item = *v;
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 4;
        JinjaValue *more = jinja_alloc(r, cap, sizeof *more);
        if (!more) return false;
        if (l->n) memcpy(more, l->items, l->n * sizeof *more);
        l->items = more;
        l->cap = cap;
    }
    l->items[l->n++] = item;
    return true;
}

bool jinja_from_json(JinjaRun *r, const json_t *j, JinjaValue *out) {
    if (!jinja_enter(r)) return false;
    bool ok = true;
    switch (json_typeof(j)) {
    case JSON_OBJECT: {
        const char *key;
        size_t key_len;
        json_t *item;
        ok = jinja_new_dict(r, JINJA_DICT, out);
        if (!ok) break;
        for (void *it = json_object_iter((json_t *)j); ok && it; it = json_object_iter_next((json_t *)j, it)) {
            JinjaValue v, k;
            key = json_object_iter_key(it);
            key_len = json_object_iter_key_len(it);
            item = json_object_iter_value(it);
            k = jinja_str(str_make(key, key_len));
            ok = jinja_from_json(r, item, &v) && jinja_dict_set(r, out->dict, &k, &v);
        }
        break;
    }
    case JSON_ARRAY:
        ok = jinja_new_list(r, JINJA_LIST, json_array_size(j), out);
        for (size_t i = 0; ok && i < json_array_size(j); i++)
            ok = jinja_from_json(r, json_array_get(j, i), &out->list->items[i]);
        if (ok) out->list->n = json_array_size(j);
        break;
    case JSON_STRING: {
        Str s = str_make(json_string_value(j), json_string_length(j));
        *out = jinja_str(s);
        if (s.len > 1 && s.ptr[0] == '\xFF')
            *out = (JinjaValue){.kind = JINJA_BIG, .s = str_make(s.ptr + 1, s.len - 1)};
        break;
    }
    case JSON_INTEGER: *out = jinja_int(json_integer_value(j)); break;
    case JSON_REAL: *out = jinja_float(json_real_value(j)); break;
    case JSON_TRUE: case JSON_FALSE: *out = jinja_bool(json_is_true(j)); break;
    default: *out = jinja_none();
    }
    jinja_leave(r);
    return ok;
}

/* ---- dicts ---- */

static bool hash(JinjaRun *r, const JinjaValue *v, uint64_t *h) {
    *h = v->kind;
    switch (v->kind) {
    case JINJA_STR: case JINJA_BIG: *h = XXH3_64bits(v->s.ptr, v->s.len); return true;
    case JINJA_BOOL: *h = v->b; return true;
    case JINJA_INT: *h = (uint64_t)v->i; return true;
    case JINJA_FLOAT: /* 1.0 and 1 are the same key */
        if (v->f >= -9e18 && v->f <= 9e18 && v->f == floor(v->f)) *h = (uint64_t)(int64_t)v->f;
        else memcpy(h, &v->f, sizeof *h);
        return true;
    case JINJA_TUPLE:
        if (!jinja_enter(r)) return false;
        for (size_t i = 0; i < v->list->n; i++) {
            uint64_t one;
            if (!hash(r, &v->list->items[i], &one)) return false;
            *h = *h * 0x9E3779B97F4A7C15u + one;
        }
        jinja_leave(r);
        return true;
    case JINJA_LIST:
    case JINJA_DICT:
    case JINJA_VIEW:
        return jinja_type_error(r, "unhashable type: '%s'", jinja_type(v));
    default: return true;
    }
}

bool jinja_new_dict(JinjaRun *r, JinjaKind kind, JinjaValue *out) {
    *out = (JinjaValue){.kind = (uint8_t)kind, .dict = jinja_alloc(r, 1, sizeof(JinjaDict))};
    return out->dict != NULL;
}

static bool same_key(JinjaRun *r, const JinjaEntry *e, uint64_t h, const JinjaValue *key) {
    bool equal;
    if (e->hash != h) return false;
    if (e->key.kind == JINJA_STR && key->kind == JINJA_STR) return str_eq(e->key.s, key->s);
    return jinja_equal(r, &e->key, key, &equal) && equal;
}

/* The entry of a key, and where in the index it is or would be. */
static JinjaEntry *entry(JinjaRun *r, const JinjaDict *d, uint64_t h, const JinjaValue *key, uint32_t *place) {
    if (!d->index) {
        for (uint32_t i = 0; i < d->n; i++)
            if (same_key(r, &d->entries[i], h, key)) return &d->entries[i];
        return NULL;
    }
    uint32_t mask = d->index_cap - 1, at = (uint32_t)((h * 0x9E3779B97F4A7C15u) >> 32) & mask;
    for (; d->index[at]; at = (at + 1) & mask)
        if (same_key(r, &d->entries[d->index[at] - 1], h, key)) return &d->entries[d->index[at] - 1];
    *place = at;
    return NULL;
}

static bool grow(JinjaRun *r, JinjaDict *d) {
    uint32_t cap = d->cap ? d->cap * 2 : 4;
    JinjaEntry *more = jinja_alloc(r, cap, sizeof *more);
    if (!more) return false;
    if (d->n) memcpy(more, d->entries, d->n * sizeof *more);
    d->entries = more;
    d->cap = cap;
    if (cap <= 8) return true;
    d->index_cap = cap * 2;
    d->index = jinja_alloc(r, d->index_cap, sizeof *d->index);
    if (!d->index) return false;
    for (uint32_t i = 0; i < d->n; i++) {
        uint32_t at = (uint32_t)((d->entries[i].hash * 0x9E3779B97F4A7C15u) >> 32) & (d->index_cap - 1);
        while (d->index[at]) at = (at + 1) & (d->index_cap - 1);
        d->index[at] = i + 1;
    }
    return true;
}

bool jinja_dict_set(JinjaRun *r, JinjaDict *d, const JinjaValue *key, const JinjaValue *v) {
    uint64_t h;
    uint32_t place = 0;
    if (!hash(r, key, &h)) return false;
    JinjaEntry *e = entry(r, d, h, key, &place);
    if (r->failed) return false;
    if (e) {
        e->value = *v;
        return true;
    }
    if (d->n == d->cap) {
        if (!grow(r, d)) return false;
        entry(r, d, h, key, &place);
    }
    d->entries[d->n++] = (JinjaEntry){*key, *v, h};
    if (d->index) d->index[place] = d->n;
    return true;
}

bool jinja_dict_get(JinjaRun *r, const JinjaDict *d, const JinjaValue *key, const JinjaValue **v) {
    uint64_t h;
    uint32_t place;
    if (!hash(r, key, &h)) return false;
    JinjaEntry *e = entry(r, d, h, key, &place);
    *v = e ? &e->value : NULL;
    return !r->failed;
}

const JinjaValue *jinja_dict_find(JinjaRun *r, const JinjaDict *d, Str key) {
    JinjaValue k = jinja_str(key);
    const JinjaValue *v = NULL;
    return jinja_dict_get(r, d, &k, &v) ? v : NULL;
}

/* ---- truth, equality, order ---- */

bool jinja_truth(const JinjaValue *v) {
    switch (v->kind) {
    case JINJA_MISSING: case JINJA_UNDEFINED: case JINJA_NONE: return false;
    case JINJA_BOOL: return v->b;
    case JINJA_INT: return v->i != 0;
    case JINJA_FLOAT: return v->f != 0;
    case JINJA_STR: return v->s.len > 0;
    case JINJA_LIST: case JINJA_TUPLE: case JINJA_VIEW: return v->list->n > 0;
    case JINJA_DICT: return v->dict->n > 0;
    case JINJA_RANGE: return v->range->n > 0;
    default: return true;
    }
}

bool jinja_is_number(const JinjaValue *v) {
    return v->kind == JINJA_BOOL || v->kind == JINJA_INT || v->kind == JINJA_FLOAT;
}

static bool is_numeric(const JinjaValue *v) { return jinja_is_number(v) || v->kind == JINJA_BIG; }

static int64_t as_int(const JinjaValue *v) { return v->kind == JINJA_BOOL ? v->b : v->i; }

static int compare_big(Str a, Str b) { /* canonical digits: the longer one is further from zero */
    bool na = a.ptr[0] == '-', nb = b.ptr[0] == '-';
    if (na != nb) return na ? -1 : 1;
    int c = a.len != b.len ? (a.len < b.len ? -1 : 1) : memcmp(a.ptr, b.ptr, a.len);
    return na ? -c : c;
}

static double big_as_double(const JinjaValue *v) {
    double d = 0; /* good enough to order it against a float; it never meets equality with one that matters */
    bool minus = v->s.ptr[0] == '-';
    for (size_t i = minus; i < v->s.len; i++) d = d * 10 + (v->s.ptr[i] - '0');
    return minus ? -d : d;
}

/* -1, 0, 1; 2 where a NaN is involved. */
static int compare_numbers(const JinjaValue *a, const JinjaValue *b) {
    if (a->kind == JINJA_BIG && b->kind == JINJA_BIG) return compare_big(a->s, b->s);
    if (a->kind != JINJA_FLOAT && b->kind != JINJA_FLOAT) {
        if (a->kind == JINJA_BIG) return a->s.ptr[0] == '-' ? -1 : 1;
        if (b->kind == JINJA_BIG) return b->s.ptr[0] == '-' ? 1 : -1;
        return (as_int(a) > as_int(b)) - (as_int(a) < as_int(b));
    }
    /* long double holds every 64-bit integer exactly where it has 64 bits of mantissa, and every double everywhere */
    long double x = a->kind == JINJA_FLOAT ? a->f : a->kind == JINJA_BIG ? big_as_double(a) : (long double)as_int(a);
    long double y = b->kind == JINJA_FLOAT ? b->f : b->kind == JINJA_BIG ? big_as_double(b) : (long double)as_int(b);
    return x != x || y != y ? 2 : (x > y) - (x < y);
}

static bool equal_lists(JinjaRun *r, const JinjaList *a, const JinjaList *b, bool *equal) {
    *equal = a->n == b->n;
    for (size_t i = 0; *equal && i < a->n; i++)
        if (!jinja_equal(r, &a->items[i], &b->items[i], equal)) return false;
    return true;
}

static bool equal_dicts(JinjaRun *r, const JinjaDict *a, const JinjaDict *b, bool *equal) {
    *equal = a->n == b->n;
    for (uint32_t i = 0; *equal && i < a->n; i++) {
        const JinjaValue *other;
        if (!jinja_dict_get(r, b, &a->entries[i].key, &other)) return false;
        *equal = other != NULL;
        if (other && !jinja_equal(r, &a->entries[i].value, other, equal)) return false;
    }
    return true;
}

bool jinja_equal(JinjaRun *r, const JinjaValue *a, const JinjaValue *b, bool *equal) {
    *equal = false;
    if (is_numeric(a) && is_numeric(b)) {
        *equal = compare_numbers(a, b) == 0;
        return true;
    }
    if (a->kind != b->kind) return true;
    if (!jinja_enter(r)) return false;
    bool ok = true;
    switch (a->kind) {
    case JINJA_UNDEFINED: case JINJA_NONE: *equal = true; break;
    case JINJA_STR:
        *equal = str_eq(a->s, b->s);
        ok = a->s.len != b->s.len || jinja_charge(r, a->s.len / 16);
        break;
    case JINJA_LIST: case JINJA_TUPLE: ok = equal_lists(r, a->list, b->list, equal); break;
    case JINJA_DICT: ok = equal_dicts(r, a->dict, b->dict, equal); break;
    case JINJA_RANGE:
        *equal = a->range->n == b->range->n &&
                 (a->range->n == 0 ||
                  (a->range->start == b->range->start && (a->range->n == 1 || a->range->step == b->range->step)));
        break;
    default: *equal = a->list == b->list; /* the same object */
    }
    jinja_leave(r);
    return ok;
}

static bool holds(JinjaOp op, int c) {
    return op == JINJA_LT ? c < 0 : op == JINJA_LE ? c <= 0 : op == JINJA_GT ? c > 0 : c >= 0;
}

static const char *op_text(JinjaOp op) {
    return op == JINJA_LT ? "<" : op == JINJA_LE ? "<=" : op == JINJA_GT ? ">" : ">=";
}

bool jinja_order(JinjaRun *r, JinjaOp op, const JinjaValue *a, const JinjaValue *b, bool *result) {
    if (is_numeric(a) && is_numeric(b)) {
        int c = compare_numbers(a, b);
        *result = c != 2 && holds(op, c);
        return true;
    }
    if (a->kind == JINJA_STR && b->kind == JINJA_STR) { /* UTF-8 sorts as its code points do */
        size_t n = a->s.len < b->s.len ? a->s.len : b->s.len;
        int c = n ? memcmp(a->s.ptr, b->s.ptr, n) : 0;
        *result = holds(op, c ? c : (a->s.len > b->s.len) - (a->s.len < b->s.len));
        return true;
    }
    if (a->kind == JINJA_UNDEFINED) return jinja_fail_undefined(r, a);
    if (b->kind == JINJA_UNDEFINED) return jinja_fail_undefined(r, b);
    if (a->kind != b->kind || (a->kind != JINJA_LIST && a->kind != JINJA_TUPLE))
        return jinja_type_error(r, "'%s' not supported between instances of '%s' and '%s'", op_text(op), jinja_type(a),
                                jinja_type(b));
    if (!jinja_enter(r)) return false;
    size_t i = 0;
    bool equal = true;
    for (; i < a->list->n && i < b->list->n; i++) {
        if (!jinja_equal(r, &a->list->items[i], &b->list->items[i], &equal)) return false;
        if (!equal) break;
    }
    bool ok = true;
    if (equal) *result = holds(op, (a->list->n > b->list->n) - (a->list->n < b->list->n));
    else ok = jinja_order(r, op, &a->list->items[i], &b->list->items[i], result);
    jinja_leave(r);
    return ok;
}

/* ---- length and iteration ---- */

bool jinja_length(JinjaRun *r, const JinjaValue *v, int64_t *n) {
    switch (v->kind) {
    case JINJA_UNDEFINED: *n = 0; return true;
    case JINJA_STR: *n = jinja_count(v->s); return jinja_charge(r, v->s.len / 16);
    case JINJA_LIST: case JINJA_TUPLE: case JINJA_VIEW: *n = (int64_t)v->list->n; return true;
    case JINJA_DICT: *n = v->dict->n; return true;
    case JINJA_RANGE: *n = v->range->n; return true;
    case JINJA_LOOP: *n = v->loop->length; return true;
    default: return jinja_type_error(r, "object of type '%s' has no len()", jinja_type(v));
    }
}

bool jinja_iterable(const JinjaValue *v) {
    switch (v->kind) {
    case JINJA_UNDEFINED:
    case JINJA_STR:
    case JINJA_LIST:
    case JINJA_TUPLE:
    case JINJA_DICT:
    case JINJA_RANGE:
    case JINJA_VIEW:
    case JINJA_ITER: case JINJA_LOOP: return true;
    default: return false;
    }
}

bool jinja_iterate(JinjaRun *r, const JinjaValue *v, JinjaIter *it) {
    *it = (JinjaIter){.over = *v};
    if (v->kind == JINJA_LOOP) return jinja_type_error(r, "walking over the loop variable itself is not supported");
    if (!jinja_iterable(v)) return jinja_type_error(r, "'%s' object is not iterable", jinja_type(v));
    if (v->kind != JINJA_ITER) return jinja_length(r, v, &it->left);
    it->left = (int64_t)(v->list->n - v->list->at);
    return true;
}

bool jinja_next(JinjaIter *it, JinjaValue *out) {
    const JinjaValue *v = &it->over;
    size_t size;
    if (it->left <= 0) return false;
    it->left--;
    switch (v->kind) {
    case JINJA_STR:
        jinja_code_point(v->s, it->at, &size);
        *out = jinja_str(str_make(v->s.ptr + it->at, size));
        it->at += size;
        return true;
    case JINJA_DICT:
        if (it->at >= v->dict->n) return false;
        *out = v->dict->entries[it->at++].key;
        return true;
    case JINJA_RANGE: *out = jinja_int(v->range->start + (int64_t)it->at++ * v->range->step); return true;
    case JINJA_ITER:
        if (v->list->at >= v->list->n) return false;
        *out = v->list->items[v->list->at++];
        return true;
    default:
        if (it->at >= v->list->n) return false;
        *out = v->list->items[it->at++];
        return true;
    }
}

bool jinja_to_list(JinjaRun *r, const JinjaValue *v, JinjaKind kind, JinjaValue *out) {
    JinjaIter it;
    JinjaValue item, in = *v;
    if (!jinja_iterate(r, &in, &it) || !jinja_charge(r, (uint64_t)it.left) ||
        !jinja_new_list(r, kind, (size_t)it.left, out))
        return false;
    while (jinja_next(&it, &item))
        if (!jinja_append(r, out->list, &item)) return false;
    return true;
}
