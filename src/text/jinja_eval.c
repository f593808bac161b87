/* Evaluates expressions. */
#include "text/jinja.h"

#include <string.h>

JinjaValue *jinja_slot(JinjaFrame *f, JinjaRef ref) {
    for (int up = ref.up; up > 0; up--) f = f->parent;
    return &f->slots[ref.slot];
}

/* A name that is no variable of the template: the caller's, else one of the language's own functions. */
bool jinja_global(JinjaRun *r, Str name, JinjaValue *out) {
    const JinjaValue *v = jinja_dict_find(r, r->vars, name);
    const JinjaFunc *fn = jinja_find_func(jinja_globals, name);
    if (v && v != r->clock) *out = *v;
    else if (fn) *out = (JinjaValue){.kind = JINJA_FUNC, .func = fn};
    else *out = (JinjaValue){.kind = JINJA_MISSING};
    return !r->failed;
}

static bool variable(JinjaRun *r, const JinjaExpr *e, JinjaFrame *f, JinjaValue *out) {
    if (e->ref.up >= 0) *out = *jinja_slot(f, e->ref);
    else if (!jinja_global(r, e->name, out)) return false;
    if (out->kind == JINJA_MISSING) *out = jinja_undefined(e->name);
    return true;
}

static bool list(JinjaRun *r, const JinjaExpr *e, JinjaFrame *f, JinjaValue *out) {
    JinjaValue l;
    if (!jinja_new_list(r, e->kind == JINJA_X_LIST ? JINJA_LIST : JINJA_TUPLE, e->n_items, &l)) return false;
    for (uint32_t i = 0; i < e->n_items; i++)
        if (!jinja_eval(r, e->items[i], f, &l.list->items[i])) return false;
    l.list->n = e->n_items;
    *out = l;
    return true;
}

static bool dict(JinjaRun *r, const JinjaExpr *e, JinjaFrame *f, JinjaValue *out) {
    JinjaValue d, key, v;
    if (!jinja_new_dict(r, JINJA_DICT, &d)) return false;
    for (uint32_t i = 0; i + 1 < e->n_items; i += 2) {
        if (!jinja_eval(r, e->items[i], f, &key) || !jinja_eval(r, e->items[i + 1], f, &v)) return false;
        if (!jinja_dict_set(r, d.dict, &key, &v)) return false;
    }
    *out = d;
    return true;
}

/* a + b + c + ...: as long as all are plain strings they are collected and copied once at the end. */
static bool sum(JinjaRun *r, const JinjaExpr *e, JinjaFrame *f, JinjaValue *out) {
    JinjaValue total, next;
    Buf text = {0};
    bool ok = jinja_eval(r, e->items[0], f, &total);
    bool collecting = false;
    for (uint32_t i = 1; ok && i < e->n_items; i++) {
        if (!(ok = jinja_eval(r, e->items[i], f, &next))) break;
        r->line = e->line;
        bool plain = next.kind == JINJA_STR && !next.flag && (collecting || (total.kind == JINJA_STR && !total.flag));
        if (plain) {
            if (!collecting) buf_put(&text, total.s.ptr, total.s.len);
            collecting = true;
            if (text.len + next.s.len > r->max_memory) ok = jinja_fail(r, ERR_MEMORY, "a string of more than %llu MiB",
                                                                      (unsigned long long)(r->max_memory >> 20));
            else buf_put(&text, next.s.ptr, next.s.len);
            continue;
        }
        if (collecting) {
            ok = jinja_take_buf(r, &text, &total);
            text = (Buf){0};
            collecting = false;
        }
        ok = ok && jinja_binary(r, JINJA_ADD, &total, &next, &total);
    }
    if (ok && collecting) return jinja_take_buf(r, &text, out);
    buf_free(&text);
    if (ok) *out = total;
    return ok;
}

static bool concat(JinjaRun *r, const JinjaExpr *e, JinjaFrame *f, JinjaValue *out) {
    Buf text = {0};
    JinjaValue v;
    for (uint32_t i = 0; i < e->n_items; i++) {
        if (!jinja_eval(r, e->items[i], f, &v) || !jinja_put_str(r, &text, &v)) {
            buf_free(&text);
            return false;
        }
    }
    return jinja_take_buf(r, &text, out);
}

static bool compare(JinjaRun *r, const JinjaExpr *e, JinjaFrame *f, JinjaValue *out) {
    JinjaValue left, right;
    bool holds = true;
    if (!jinja_eval(r, e->a, f, &left)) return false;
    for (uint32_t i = 0; holds && i < e->n_items; i++) { /* a < b < c stops at the first that fails */
        if (!jinja_eval(r, e->items[i], f, &right)) return false;
        r->line = e->line;
        if (!jinja_compare(r, e->ops[i], &left, &right, &holds)) return false;
        left = right;
    }
    *out = jinja_bool(holds);
    return true;
}

static bool conditional(JinjaRun *r, const JinjaExpr *e, JinjaFrame *f, JinjaValue *out) {
    JinjaValue c;
    if (!jinja_eval(r, e->b, f, &c)) return false;
    if (jinja_truth(&c)) return jinja_eval(r, e->a, f, out);
    if (e->c) return jinja_eval(r, e->c, f, out);
    return jinja_undefined_because(
        r, out, "the inline if-expression on line %u evaluated to false and no else section was defined.", e->line);
}

static bool slice(JinjaRun *r, const JinjaExpr *e, JinjaFrame *f, JinjaValue *out) {
    JinjaValue v, bounds[3];
    const JinjaExpr *part[3] = {e->b, e->c, e->d};
    if (!jinja_eval(r, e->a, f, &v)) return false;
    for (int i = 0; i < 3; i++) {
        bounds[i] = jinja_none();
        if (part[i] && !jinja_eval(r, part[i], f, &bounds[i])) return false;
    }
    r->line = e->line;
    return jinja_slice(r, &v, bounds, out);
}

/* ---- calls ---- */

static bool spread_dict(JinjaRun *r, const JinjaValue *more, JinjaArgs *out) {
    if (more->kind != JINJA_DICT)
        return jinja_type_error(r, "argument after ** must be a mapping, not %s", jinja_type(more));
    const JinjaDict *d = more->dict;
    for (uint32_t i = 0; i < d->n; i++) {
        if (d->entries[i].key.kind != JINJA_STR) return jinja_type_error(r, "keywords must be strings");
        for (uint32_t k = 0; k < out->n_named; k++)
            if (str_eq(out->names[k], d->entries[i].key.s))
                return jinja_type_error(r, "got multiple values for keyword argument '%.*s'",
                                        jinja_clip(out->names[k], 60), out->names[k].ptr);
        out->names[out->n_named] = d->entries[i].key.s;
        out->named[out->n_named++] = d->entries[i].value;
    }
    return true;
}

bool jinja_eval_args(JinjaRun *r, const JinjaArgExprs *x, JinjaFrame *f, JinjaArgs *out) {
    JinjaValue star = {0}, more = {0}, item;
    JinjaIter it = {0};
    *out = (JinjaArgs){0};
    if (x->n_pos + x->n_named == 0 && !x->star && !x->star_star) return true;
    if (x->star && (!jinja_eval(r, x->star, f, &star) || !jinja_iterate(r, &star, &it))) return false;
    if (x->star_star && !jinja_eval(r, x->star_star, f, &more)) return false;
    size_t n_more = more.kind == JINJA_DICT ? more.dict->n : 0;
    if (!jinja_charge(r, (uint64_t)it.left + n_more)) return false;
    out->pos = jinja_alloc(r, x->n_pos + (size_t)it.left, sizeof(JinjaValue));
    out->named = jinja_alloc(r, x->n_named + n_more, sizeof(JinjaValue));
    out->names = jinja_alloc(r, x->n_named + n_more, sizeof(Str));
    if (!out->pos || !out->named || !out->names) return false;
    for (; out->n_pos < x->n_pos; out->n_pos++)
        if (!jinja_eval(r, x->pos[out->n_pos], f, &out->pos[out->n_pos])) return false;
    while (x->star && jinja_next(&it, &item)) out->pos[out->n_pos++] = item;
    for (; out->n_named < x->n_named; out->n_named++) {
        out->names[out->n_named] = x->names[out->n_named];
        if (!jinja_eval(r, x->named[out->n_named], f, &out->named[out->n_named])) return false;
    }
    return !x->star_star || spread_dict(r, &more, out);
}

static bool call(JinjaRun *r, const JinjaExpr *e, JinjaFrame *f, JinjaValue *out) {
    JinjaValue callee;
    JinjaArgs args;
    if (!jinja_eval(r, e->a, f, &callee) || !jinja_eval_args(r, e->args, f, &args)) return false;
    r->line = e->line;
    return jinja_call(r, &callee, &args, out);
}

bool jinja_apply(JinjaRun *r, const JinjaExpr *e, const JinjaValue *in, JinjaFrame *f, JinjaValue *out) {
    JinjaArgs args;
    JinjaValue self = *in;
    if (!jinja_eval_args(r, e->args, f, &args)) return false;
    r->line = e->line;
    return jinja_invoke(r, e->func, &self, &args, out);
}

static bool filter(JinjaRun *r, const JinjaExpr *e, JinjaFrame *f, JinjaValue *out) {
    JinjaValue in;
    return jinja_eval(r, e->a, f, &in) && jinja_apply(r, e, &in, f, out);
}

/* ---- one node ---- */

static bool logic(JinjaRun *r, const JinjaExpr *e, JinjaFrame *f, JinjaValue *out) {
    if (!jinja_eval(r, e->a, f, out)) return false;
    if (e->kind == JINJA_X_NOT) {
        *out = jinja_bool(!jinja_truth(out));
        return true;
    }
    if (jinja_truth(out) == (e->kind == JINJA_X_OR)) return true;
    return jinja_eval(r, e->b, f, out);
}

static bool operation(JinjaRun *r, const JinjaExpr *e, JinjaFrame *f, JinjaValue *out) {
    JinjaValue a, b;
    if (!jinja_eval(r, e->a, f, &a)) return false;
    if (e->b && !jinja_eval(r, e->b, f, &b)) return false;
    r->line = e->line;
    switch (e->kind) {
    case JINJA_X_BINARY: return jinja_binary(r, e->op, &a, &b, out);
    case JINJA_X_NEG: return jinja_negate(r, &a, out);
    case JINJA_X_ITEM: return jinja_item(r, &a, &b, out);
    case JINJA_X_ATTR: return jinja_attribute(r, &a, e->name, out);
    default: /* + of a number is the number */
        if (a.kind == JINJA_UNDEFINED) return jinja_fail_undefined(r, &a);
        if (!jinja_is_number(&a) && a.kind != JINJA_BIG)
            return jinja_type_error(r, "bad operand type for unary +: '%s'", jinja_type(&a));
        *out = a.kind == JINJA_BOOL ? jinja_int(a.b) : a;
        return true;
    }
}

static bool node(JinjaRun *r, const JinjaExpr *e, JinjaFrame *f, JinjaValue *out) {
    r->line = e->line;
    switch (e->kind) {
    case JINJA_X_CONST: *out = e->value; return true;
    case JINJA_X_NAME: return variable(r, e, f, out);
    case JINJA_X_LIST: case JINJA_X_TUPLE: return list(r, e, f, out);
    case JINJA_X_DICT: return dict(r, e, f, out);
    case JINJA_X_SUM: return sum(r, e, f, out);
    case JINJA_X_CONCAT: return concat(r, e, f, out);
    case JINJA_X_NOT: case JINJA_X_AND: case JINJA_X_OR: return logic(r, e, f, out);
    case JINJA_X_COMPARE: return compare(r, e, f, out);
    case JINJA_X_IF: return conditional(r, e, f, out);
    case JINJA_X_SLICE: return slice(r, e, f, out);
    case JINJA_X_CALL: return call(r, e, f, out);
    case JINJA_X_FILTER: case JINJA_X_TEST: return filter(r, e, f, out);
    default: return operation(r, e, f, out);
    }
}

bool jinja_eval(JinjaRun *r, const JinjaExpr *e, JinjaFrame *f, JinjaValue *out) {
    if (!jinja_enter(r)) return false;
    bool ok = node(r, e, f, out);
    jinja_leave(r);
    return ok;
}
