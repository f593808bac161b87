/* Operators, attributes and subscripts, with Python's rules and, where it refuses, its sentences. */
#include "text/jinja.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const op_text[] = {
    "+", "-", "*", "/", "//", "%", "** or pow()", "==", "!=", "<", "<=", ">", ">=", "in", "not in"};

static bool unsupported(JinjaRun *r, JinjaOp op, const JinjaValue *a, const JinjaValue *b) {
    if (a->kind == JINJA_UNDEFINED) return jinja_fail_undefined(r, a);
    if (b->kind == JINJA_UNDEFINED) return jinja_fail_undefined(r, b);
    if (a->kind == JINJA_BIG || b->kind == JINJA_BIG)
        return jinja_fail(r, ERR_UNSUPPORTED, "arithmetic on integers beyond 64 bits is not supported");
    if (op == JINJA_ADD && (a->kind == JINJA_STR || a->kind == JINJA_LIST || a->kind == JINJA_TUPLE))
        return jinja_type_error(r, "can only concatenate %s (not \"%s\") to %s", jinja_type(a), jinja_type(b),
                                jinja_type(a));
    return jinja_type_error(r, "unsupported operand type(s) for %s: '%s' and '%s'", op_text[op], jinja_type(a),
                            jinja_type(b));
}

/* ---- numbers ---- */

static bool power(JinjaRun *r, int64_t base, int64_t exponent, JinjaValue *out) {
    int64_t result = 1;
    bool fits = true;
    if (exponent < 0) {
        if (base == 0) return jinja_type_error(r, "0.0 cannot be raised to a negative power");
        *out = jinja_float(pow((double)base, (double)exponent));
        return true;
    }
    for (; exponent > 0 && fits; exponent >>= 1) {
        if (exponent & 1) fits = !__builtin_mul_overflow(result, base, &result);
        if (exponent > 1) fits = fits && !__builtin_mul_overflow(base, base, &base);
    }
    *out = jinja_int(result);
    return fits || jinja_fail(r, ERR_UNSUPPORTED, "arithmetic on integers beyond 64 bits is not supported");
}

static bool integers(JinjaRun *r, JinjaOp op, int64_t a, int64_t b, JinjaValue *out) {
    int64_t v = 0;
    bool fits = true;
    if ((op == JINJA_DIV || op == JINJA_FLOORDIV || op == JINJA_MOD) && b == 0)
        return jinja_type_error(r, op == JINJA_DIV ? "division by zero" : "integer division or modulo by zero");
    switch (op) {
    case JINJA_ADD: fits = !__builtin_add_overflow(a, b, &v); break;
    case JINJA_SUB: fits = !__builtin_sub_overflow(a, b, &v); break;
    case JINJA_MUL: fits = !__builtin_mul_overflow(a, b, &v); break;
    case JINJA_DIV: *out = jinja_float((double)((long double)a / (long double)b)); return true;
    case JINJA_POW: return power(r, a, b, out);
    default:
        if (b == -1) { /* the one quotient that can overflow, and no remainder */
            fits = op == JINJA_MOD || a != INT64_MIN;
            v = op == JINJA_MOD || !fits ? 0 : -a;
        } else if (op == JINJA_FLOORDIV) {
            v = a / b - (a % b != 0 && (a < 0) != (b < 0));
        } else {
            v = a % b;
            if (v != 0 && (v < 0) != (b < 0)) v += b;
        }
    }
    *out = jinja_int(v);
    return fits || jinja_fail(r, ERR_UNSUPPORTED, "arithmetic on integers beyond 64 bits is not supported");
}

static bool floats(JinjaRun *r, JinjaOp op, double a, double b, JinjaValue *out) {
    double v;
    if ((op == JINJA_DIV || op == JINJA_FLOORDIV || op == JINJA_MOD) && b == 0)
        return jinja_type_error(r, op == JINJA_MOD ? "float modulo by zero" : "float division by zero");
    switch (op) {
    case JINJA_ADD: v = a + b; break;
    case JINJA_SUB: v = a - b; break;
    case JINJA_MUL: v = a * b; break;
    case JINJA_DIV: v = a / b; break;
    case JINJA_POW:
        if (a < 0 && b != floor(b)) return jinja_fail(r, ERR_UNSUPPORTED, "complex numbers are not supported");
        if (a == 0 && b < 0) return jinja_type_error(r, "0.0 cannot be raised to a negative power");
        v = pow(a, b);
        if (isinf(v) && !isinf(a) && !isinf(b)) return jinja_type_error(r, "numerical result out of range");
        break;
    default: { /* the quotient is rounded down, the remainder takes the divisor's sign */
        double mod = fmod(a, b);
        double quotient = (a - mod) / b;
        if (mod != 0 && (b < 0) != (mod < 0)) {
            mod += b;
            quotient -= 1;
        } else if (mod == 0) {
            mod = copysign(0, b);
        }
        double whole = quotient != 0 ? floor(quotient) : copysign(0, a / b);
        if (quotient != 0 && quotient - whole > 0.5) whole += 1;
        v = op == JINJA_MOD ? mod : whole;
    }
    }
    *out = jinja_float(v);
    return true;
}

/* ---- sequences ---- */

static bool repeat(JinjaRun *r, const JinjaValue *a, const JinjaValue *times, JinjaValue *out) {
    uint64_t n = times->kind == JINJA_BOOL ? times->b : times->i < 0 ? 0 : (uint64_t)times->i;
    uint64_t size = a->kind == JINJA_STR ? a->s.len : a->list->n, total;
    if (!mul_u64(size, n, &total) || total > r->max_memory)
        return jinja_fail(r, ERR_MEMORY, "a repetition of more than %llu MiB",
                          (unsigned long long)(r->max_memory >> 20));
    if (size == 0) n = 0;
    if (a->kind == JINJA_STR) {
        char *s = jinja_alloc(r, (size_t)total, 1);
        if (!s) return false;
        for (uint64_t i = 0; i < n; i++) memcpy(s + i * size, a->s.ptr, (size_t)size);
        *out = jinja_str(str_make(s, (size_t)total));
        out->flag = a->flag;
        return true;
    }
    JinjaList *from = a->list;
    if (!jinja_new_list(r, (JinjaKind)a->kind, (size_t)total, out)) return false;
    for (uint64_t i = 0; i < n; i++)
        memcpy(out->list->items + i * size, from->items, (size_t)size * sizeof(JinjaValue));
    out->list->n = (size_t)total;
    return true;
}

static bool add_lists(JinjaRun *r, const JinjaValue *a, const JinjaValue *b, JinjaValue *out) {
    JinjaList *x = a->list, *y = b->list;
    if (!jinja_new_list(r, (JinjaKind)a->kind, x->n + y->n, out)) return false;
    if (x->n) memcpy(out->list->items, x->items, x->n * sizeof(JinjaValue));
    if (y->n) memcpy(out->list->items + x->n, y->items, y->n * sizeof(JinjaValue));
    out->list->n = x->n + y->n;
    return true;
}

/* What went through `safe` stays safe: the other side of a sum is escaped, as the Markup type does. */
static bool add_strings(JinjaRun *r, const JinjaValue *a, const JinjaValue *b, JinjaValue *out) {
    Buf buf = {0};
    bool safe = a->flag || b->flag;
    if (safe && !a->flag) jinja_put_escaped(&buf, a->s);
    else buf_put(&buf, a->s.ptr, a->s.len);
    if (safe && !b->flag) jinja_put_escaped(&buf, b->s);
    else buf_put(&buf, b->s.ptr, b->s.len);
    if (!jinja_take_buf(r, &buf, out)) return false;
    out->flag = safe;
    return true;
}

bool jinja_binary(JinjaRun *r, JinjaOp op, const JinjaValue *a, const JinjaValue *b, JinjaValue *out) {
    bool ints = a->kind != JINJA_FLOAT && b->kind != JINJA_FLOAT;
    if (jinja_is_number(a) && jinja_is_number(b)) {
        int64_t x = a->kind == JINJA_BOOL ? a->b : a->i, y = b->kind == JINJA_BOOL ? b->b : b->i;
        if (ints) return integers(r, op, x, y, out);
        return floats(r, op, a->kind == JINJA_FLOAT ? a->f : (double)x, b->kind == JINJA_FLOAT ? b->f : (double)y, out);
    }
    bool a_seq = a->kind == JINJA_STR || a->kind == JINJA_LIST || a->kind == JINJA_TUPLE;
    bool b_seq = b->kind == JINJA_STR || b->kind == JINJA_LIST || b->kind == JINJA_TUPLE;
    if (op == JINJA_ADD && a->kind == JINJA_STR && b->kind == JINJA_STR) return add_strings(r, a, b, out);
    if (op == JINJA_ADD && a_seq && a->kind == b->kind) return add_lists(r, a, b, out);
    if (op == JINJA_MUL && a_seq && (b->kind == JINJA_INT || b->kind == JINJA_BOOL)) return repeat(r, a, b, out);
    if (op == JINJA_MUL && b_seq && (a->kind == JINJA_INT || a->kind == JINJA_BOOL)) return repeat(r, b, a, out);
    if (op == JINJA_MOD && a->kind == JINJA_STR) {
        if (b->kind == JINJA_TUPLE) return jinja_format(r, a->s, b->list->items, b->list->n, true, out);
        bool subscripts = b->kind == JINJA_LIST || b->kind == JINJA_DICT || b->kind == JINJA_RANGE ||
                          b->kind == JINJA_UNDEFINED;
        return jinja_format(r, a->s, b, 1, !subscripts, out); /* what has items may go unused */
    }
    return unsupported(r, op, a, b);
}

bool jinja_negate(JinjaRun *r, const JinjaValue *v, JinjaValue *out) {
    JinjaValue zero = jinja_int(0);
    if (v->kind == JINJA_FLOAT) {
        *out = jinja_float(-v->f);
        return true;
    }
    if (v->kind == JINJA_UNDEFINED) return jinja_fail_undefined(r, v);
    if (v->kind == JINJA_BIG) {
        Str s = v->s;
        if (s.ptr[0] == '-') {
            *out = (JinjaValue){.kind = JINJA_BIG, .s = str_make(s.ptr + 1, s.len - 1)};
            return true;
        }
        char *copy = jinja_alloc(r, s.len + 1, 1);
        if (!copy) return false;
        copy[0] = '-';
        memcpy(copy + 1, s.ptr, s.len);
        if (s.len == 19 && memcmp(s.ptr, "9223372036854775808", 19) == 0) { /* the one whose negative fits */
            *out = jinja_int(INT64_MIN);
            return true;
        }
        *out = (JinjaValue){.kind = JINJA_BIG, .s = str_make(copy, s.len + 1)};
        return true;
    }
    if (!jinja_is_number(v)) return jinja_type_error(r, "bad operand type for unary -: '%s'", jinja_type(v));
    return jinja_binary(r, JINJA_SUB, &zero, v, out);
}

/* ---- comparisons ---- */

static bool contains(JinjaRun *r, const JinjaValue *what, const JinjaValue *in, bool *found) {
    const JinjaValue *v;
    JinjaIter it;
    JinjaValue item;
    *found = false;
    if (in->kind == JINJA_DICT) {
        if (!jinja_dict_get(r, in->dict, what, &v)) return false;
        *found = v != NULL;
        return true;
    }
    if (in->kind == JINJA_STR) {
        if (what->kind != JINJA_STR)
            return jinja_type_error(r, "'in <string>' requires string as left operand, not %s", jinja_type(what));
        *found = jinja_find(in->s, what->s, 0) != SIZE_MAX;
        return jinja_charge_find(r, in->s, what->s);
    }
    if (!jinja_iterable(in)) return jinja_type_error(r, "argument of type '%s' is not iterable", jinja_type(in));
    if (!jinja_iterate(r, in, &it)) return false;
    while (!*found && jinja_next(&it, &item))
        if (!jinja_charge(r, 1) || !jinja_equal(r, what, &item, found)) return false;
    return true;
}

bool jinja_compare(JinjaRun *r, JinjaOp op, const JinjaValue *a, const JinjaValue *b, bool *result) {
    bool ok;
    switch (op) {
    case JINJA_EQ: return jinja_equal(r, a, b, result);
    case JINJA_NE: ok = jinja_equal(r, a, b, result); break;
    case JINJA_IN: return contains(r, a, b, result);
    case JINJA_NOT_IN: ok = contains(r, a, b, result); break;
    default: return jinja_order(r, op, a, b, result);
    }
    *result = !*result;
    return ok;
}

/* ---- attributes and subscripts ---- */

static const JinjaFunc *methods_of(const JinjaValue *v) {
    switch (v->kind) {
    case JINJA_STR: return jinja_str_methods;
    case JINJA_LIST: return jinja_list_methods;
    case JINJA_TUPLE: return jinja_tuple_methods;
    case JINJA_DICT: return jinja_dict_methods;
    case JINJA_LOOP: return jinja_loop_methods;
    case JINJA_CYCLER: return jinja_cycler_methods;
    default: return NULL;
    }
}

static void no_attribute(const JinjaValue *v, Str name, JinjaValue *out) {
    *out = (JinjaValue){.kind = JINJA_UNDEFINED, .flag = (uint8_t)(JINJA_WHY_ATTR + v->kind), .s = name};
}

static bool loop_attribute(const JinjaLoop *l, Str name, JinjaValue *out) {
    if (str_eq_c(name, "index")) *out = jinja_int(l->index0 + 1);
    else if (str_eq_c(name, "index0")) *out = jinja_int(l->index0);
    else if (str_eq_c(name, "revindex")) *out = jinja_int(l->length - l->index0);
    else if (str_eq_c(name, "revindex0")) *out = jinja_int(l->length - l->index0 - 1);
    else if (str_eq_c(name, "first")) *out = jinja_bool(l->index0 == 0);
    else if (str_eq_c(name, "last")) *out = jinja_bool(l->index0 == l->length - 1);
    else if (str_eq_c(name, "length")) *out = jinja_int(l->length);
    else if (str_eq_c(name, "depth")) *out = jinja_int(l->depth0 + 1);
    else if (str_eq_c(name, "depth0")) *out = jinja_int(l->depth0);
    else if (str_eq_c(name, "previtem")) *out = l->previous;
    else if (str_eq_c(name, "nextitem")) {
        JinjaIter ahead = l->iter;
        JinjaList walked;
        if (ahead.over.kind == JINJA_ITER) { /* look without walking */
            walked = *ahead.over.list;
            ahead.over.list = &walked;
        }
        if (!jinja_next(&ahead, out)) *out = (JinjaValue){.kind = JINJA_MISSING};
    } else {
        return false;
    }
    if (out->kind == JINJA_MISSING)
        *out = (JinjaValue){.kind = JINJA_UNDEFINED,
                            .flag = JINJA_WHY_SENTENCE,
                            .s = str_c(name.ptr[0] == 'p' ? "there is no previous item" : "there is no next item")};
    return true;
}

/* An attribute in Python's sense, before any item is looked up. False with *found unset: there is none. */
static bool own_attribute(JinjaRun *r, const JinjaValue *v, Str name, JinjaValue *out, bool *found) {
    *found = true;
    if (v->kind == JINJA_UNDEFINED) return jinja_fail_undefined(r, v);
    if (v->kind == JINJA_NAMESPACE) {
        const JinjaValue *item = jinja_dict_find(r, v->dict, name);
        if (item) {
            *out = *item;
            return true;
        }
    }
    if (v->kind == JINJA_LOOP && loop_attribute(v->loop, name, out)) return true;
    if (v->kind == JINJA_CYCLER && str_eq_c(name, "current")) {
        *out = v->cycler->values->items[v->cycler->at];
        return true;
    }
    if (v->kind == JINJA_MACRO && str_eq_c(name, "name")) {
        *out = jinja_str(v->macro->def->name);
        return true;
    }
    const JinjaFunc *table = methods_of(v), *fn = table ? jinja_find_func(table, name) : NULL;
    if (str_starts(name, "__") && str_ends(name, "__"))
        return jinja_undefined_because(r, out, "access to attribute '%.*s' of '%s' object is unsafe.",
                                       jinja_clip(name, 60), name.ptr, jinja_type(v));
    if (fn && !fn->fn && fn->params)
        return jinja_undefined_because(r, out, "access to attribute '%s' of '%s' object is unsafe.", fn->name,
                                       jinja_type(v));
    if (fn && !fn->fn)
        return jinja_fail(r, ERR_UNSUPPORTED, "the method %s.%s is not supported", jinja_type(v), fn->name);
    *found = fn != NULL;
    if (!fn) return true;
    JinjaMethod *m = jinja_alloc(r, 1, sizeof *m);
    if (!m) return false;
    *m = (JinjaMethod){*v, fn};
    *out = (JinjaValue){.kind = JINJA_METHOD, .method = m};
    return true;
}

bool jinja_attribute(JinjaRun *r, const JinjaValue *v, Str name, JinjaValue *out) {
    bool found;
    JinjaValue self = *v;
    if (!own_attribute(r, &self, name, out, &found)) return false;
    if (found) return true;
    const JinjaValue *item = self.kind == JINJA_DICT ? jinja_dict_find(r, self.dict, name) : NULL;
    if (item) *out = *item;
    else no_attribute(&self, name, out);
    return !r->failed;
}

static bool index_item(JinjaRun *r, const JinjaValue *v, int64_t i, JinjaValue *out) {
    int64_t n;
    if (!jinja_length(r, v, &n)) return false;
    int64_t at = i < 0 ? i + n : i;
    if (at < 0 || at >= n)
        return jinja_undefined_because(r, out, "%s object has no element %lld", jinja_type(v), (long long)i);
    if (v->kind == JINJA_RANGE) {
        *out = jinja_int(v->range->start + at * v->range->step);
    } else if (v->kind == JINJA_STR) {
        size_t from = jinja_offset(v->s, at), size;
        jinja_code_point(v->s, from, &size);
        uint8_t flag = v->flag;
        *out = jinja_str(str_make(v->s.ptr + from, size));
        out->flag = flag;
    } else {
        *out = v->list->items[at];
    }
    return true;
}

bool jinja_item(JinjaRun *r, const JinjaValue *v, const JinjaValue *key, JinjaValue *out) {
    JinjaValue self = *v;
    bool found;
    if (self.kind == JINJA_UNDEFINED) return jinja_fail_undefined(r, &self);
    if (self.kind == JINJA_DICT && key->kind != JINJA_LIST && key->kind != JINJA_DICT) {
        const JinjaValue *item;
        if (!jinja_dict_get(r, self.dict, key, &item)) return false;
        if (item) {
            *out = *item;
            return true;
        }
    }
    bool indexed =
        self.kind == JINJA_LIST || self.kind == JINJA_TUPLE || self.kind == JINJA_STR || self.kind == JINJA_RANGE;
    if (indexed && key->kind == JINJA_INT) return index_item(r, &self, key->i, out);
    if (indexed && key->kind == JINJA_BOOL) return index_item(r, &self, key->b, out);
    if (key->kind != JINJA_STR) {
        Buf b = {0};
        if (!jinja_put_repr(r, &b, key) || b.failed)
            return buf_free(&b), r->failed ? false : jinja_fail(r, ERR_MEMORY, "out of memory");
        bool ok = jinja_undefined_because(r, out, "%s object has no element %.*s", jinja_type(&self),
                                          jinja_clip(str_make(b.ptr, b.len), 100), b.ptr);
        buf_free(&b);
        return ok;
    }
    JinjaValue name = *key; /* x["upper"] finds what x.upper would, only later */
    if (!own_attribute(r, &self, name.s, out, &found)) return false;
    if (!found) no_attribute(&self, name.s, out);
    return true;
}

/* Bounds of a slice as Python clips them. */
static bool clip(JinjaRun *r, const JinjaValue *bound, int64_t n, int64_t step, bool is_start, int64_t *out) {
    int64_t low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n, v;
    if (bound->kind == JINJA_NONE) {
        *out = (step < 0) == is_start ? high : low;
        return true;
    }
    if (bound->kind == JINJA_BIG) v = bound->s.ptr[0] == '-' ? INT64_MIN : INT64_MAX;
    else if (bound->kind == JINJA_INT || bound->kind == JINJA_BOOL) v = bound->kind == JINJA_BOOL ? bound->b : bound->i;
    else return jinja_type_error(r, "slice indices must be integers or None or have an __index__ method");
    if (v < 0) v = v < -n ? low : v + n;
    *out = v < low ? low : v > high ? high : v;
    return true;
}

static bool slice_string(JinjaRun *r, const JinjaValue *v, int64_t start, int64_t step, int64_t count,
                         JinjaValue *out) {
    Str s = v->s;
    uint8_t flag = v->flag;
    if (step == 1) { /* a piece of the same bytes */
        size_t from = jinja_offset(s, start);
        Str rest = str_make(s.ptr + from, s.len - from);
        *out = jinja_str(str_make(rest.ptr, jinja_offset(rest, count)));
        out->flag = flag;
        return true;
    }
    JinjaValue chars;
    JinjaValue plain = jinja_str(s);
    Buf b = {0};
    if (!jinja_to_list(r, &plain, JINJA_LIST, &chars)) return false;
    for (int64_t i = 0; i < count; i++)
        buf_put(&b, chars.list->items[start + i * step].s.ptr, chars.list->items[start + i * step].s.len);
    if (!jinja_take_buf(r, &b, out)) return false;
    out->flag = flag;
    return true;
}

bool jinja_slice(JinjaRun *r, const JinjaValue *v, const JinjaValue bounds[3], JinjaValue *out) {
    JinjaValue self = *v;
    int64_t n = 0, start = 0, stop = 0, step = 1;
    if (self.kind == JINJA_UNDEFINED) return jinja_fail_undefined(r, &self);
    if (self.kind == JINJA_DICT) return jinja_type_error(r, "unhashable type: 'slice'");
    if (self.kind != JINJA_STR && self.kind != JINJA_LIST && self.kind != JINJA_TUPLE && self.kind != JINJA_RANGE)
        return jinja_type_error(r, "'%s' object is not subscriptable", jinja_type(&self));
    if (bounds[2].kind != JINJA_NONE && !jinja_want_int(r, &bounds[2], "a slice's step", &step)) return false;
    if (step == 0) return jinja_type_error(r, "slice step cannot be zero");
    if (step < -INT32_MAX || step > INT32_MAX)
        step = step < 0 ? -INT32_MAX : INT32_MAX; /* longer than any sequence here */
    if (!jinja_length(r, &self, &n) || !clip(r, &bounds[0], n, step, true, &start) ||
        !clip(r, &bounds[1], n, step, false, &stop))
        return false;
    int64_t width = step > 0 ? stop - start : start - stop, stride = step > 0 ? step : -step;
    int64_t count = width > 0 ? (width - 1) / stride + 1 : 0;
    if (!jinja_charge(r, (uint64_t)count)) return false;
    if (self.kind == JINJA_STR) return slice_string(r, &self, start, step, count, out);
    if (self.kind == JINJA_RANGE) {
        JinjaRange *range = jinja_alloc(r, 1, sizeof *range);
        if (!range) return false;
        *range = (JinjaRange){self.range->start + start * self.range->step, self.range->step * step, count};
        *out = (JinjaValue){.kind = JINJA_RANGE, .range = range};
        return true;
    }
    if (!jinja_new_list(r, (JinjaKind)self.kind, (size_t)count, out)) return false;
    for (int64_t i = 0; i < count; i++) out->list->items[i] = self.list->items[start + i * step];
    out->list->n = (size_t)count;
    return true;
}

/* "a.b.0" as filters take it in `attribute`: each part an item, digits an index. */
bool jinja_path(JinjaRun *r, const JinjaValue *v, const JinjaValue *path, JinjaValue *out) {
    if (path->kind != JINJA_STR) return jinja_item(r, v, path, out);
    Str rest = path->s;
    JinjaValue here = *v;
    for (;;) {
        size_t dot = jinja_find(rest, str_c("."), 0);
        Str part = str_make(rest.ptr, dot == SIZE_MAX ? rest.len : dot);
        bool digits = part.len > 0 && part.len < 18;
        int64_t index = 0;
        for (size_t i = 0; i < part.len && digits; i++) {
            digits = part.ptr[i] >= '0' && part.ptr[i] <= '9';
            index = index * 10 + (part.ptr[i] - '0');
        }
        JinjaValue key = digits ? jinja_int(index) : jinja_str(part);
        if (!jinja_item(r, &here, &key, &here)) return false;
        if (dot == SIZE_MAX) break;
        rest = str_make(rest.ptr + dot + 1, rest.len - dot - 1);
    }
    *out = here;
    return true;
}

/* "%s and %d" % (a, b): the conversions a prompt can need. */
bool jinja_format(JinjaRun *r, Str format, const JinjaValue *args, size_t n, bool all, JinjaValue *out) {
    Buf b = {0};
    size_t used = 0;
    bool ok = true;
    for (size_t i = 0; ok && i < format.len; i++) {
        if (format.ptr[i] != '%') {
            buf_putc(&b, format.ptr[i]);
            continue;
        }
        int precision = -1;
        if (++i < format.len && format.ptr[i] == '.') {
            precision = 0;
            while (++i < format.len && format.ptr[i] >= '0' && format.ptr[i] <= '9' && precision < 100)
                precision = precision * 10 + format.ptr[i] - '0';
        }
        char c = i < format.len ? format.ptr[i] : 0;
        if (c == '%') {
            buf_putc(&b, '%');
            continue;
        }
        const JinjaValue *v = used < n ? &args[used++] : NULL;
        if (!v) ok = jinja_type_error(r, "not enough arguments for format string");
        else if (c == 's' && precision < 0) ok = jinja_put_str(r, &b, v);
        else if (c == 'r' && precision < 0) ok = jinja_put_repr(r, &b, v);
        else if (c == 'f' && jinja_is_number(v) && precision <= 100)
            buf_printf(&b, "%.*f", precision < 0 ? 6 : precision,
                       v->kind == JINJA_FLOAT ? v->f
                       : v->kind == JINJA_INT ? (double)v->i
                                              : v->b);
        else if ((c == 'd' || c == 'i') && precision < 0 && v->kind == JINJA_FLOAT) buf_printf(&b, "%.0f", trunc(v->f));
        else if ((c == 'd' || c == 'i') && precision < 0 && v->kind == JINJA_BIG) buf_put(&b, v->s.ptr, v->s.len);
        else if ((c == 'd' || c == 'i') && precision < 0 && jinja_is_number(v))
            buf_printf(&b, "%lld", v->kind == JINJA_BOOL ? (long long)v->b : (long long)v->i);
        else if (c == 'd' || c == 'i' || c == 'f')
            ok = jinja_type_error(r, "%%%c format: a number is required, not %s", c, jinja_type(v));
        else
            ok = jinja_fail(r, ERR_UNSUPPORTED, "the format %%%c is not supported (only %%s %%r %%d %%f)", c ? c : '?');
    }
    if (ok && all && used < n) ok = jinja_type_error(r, "not all arguments converted during string formatting");
    if (!ok) return buf_free(&b), false;
    return jinja_take_buf(r, &b, out);
}
