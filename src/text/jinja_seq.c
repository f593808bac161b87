/* Filters on sequences. What Jinja gives as a generator is one here too: it can be walked once and has no length. */
#include "text/jinja.h"

#include <string.h>

static bool given(const JinjaValue *v) { return v->kind != JINJA_MISSING && v->kind != JINJA_NONE; }
static bool flag(const JinjaValue *v) { return v->kind != JINJA_MISSING && jinja_truth(v); }

/* ---- simple walks ---- */

static bool f_list(JinjaCall *c, JinjaValue *out) { return jinja_to_list(c->run, c->self, JINJA_LIST, out); }

static bool f_items(JinjaCall *c, JinjaValue *out) {
    JinjaRun *r = c->run;
    if (c->self->kind == JINJA_UNDEFINED) return jinja_new_list(r, JINJA_ITER, 0, out);
    if (c->self->kind != JINJA_DICT) return jinja_type_error(r, "Can only get item pairs from a mapping.");
    JinjaArgs none = {0};
    if (!jinja_invoke(r, jinja_find_func(jinja_dict_methods, str_c("items")), c->self, &none, out)) return false;
    out->kind = JINJA_ITER;
    return true;
}

static bool f_first(JinjaCall *c, JinjaValue *out) {
    JinjaIter it;
    if (!jinja_iterate(c->run, c->self, &it)) return false;
    return jinja_next(&it, out) || jinja_undefined_because(c->run, out, "No first item, sequence was empty.");
}

static bool reversible(JinjaCall *c) {
    JinjaKind k = (JinjaKind)c->self->kind;
    return k != JINJA_ITER || jinja_type_error(c->run, "'generator' object is not reversible");
}

static bool f_last(JinjaCall *c, JinjaValue *out) {
    JinjaValue all;
    if (!reversible(c) || !jinja_to_list(c->run, c->self, JINJA_LIST, &all)) return false;
    if (all.list->n == 0) return jinja_undefined_because(c->run, out, "No last item, sequence was empty.");
    *out = all.list->items[all.list->n - 1];
    return true;
}

static bool f_reverse(JinjaCall *c, JinjaValue *out) {
    JinjaValue all;
    if (c->self->kind == JINJA_STR) {
        JinjaValue bounds[3] = {jinja_none(), jinja_none(), jinja_int(-1)};
        return jinja_slice(c->run, c->self, bounds, out);
    }
    if (!jinja_to_list(c->run, c->self, c->self->kind == JINJA_ITER ? JINJA_LIST : JINJA_ITER, &all)) return false;
    for (size_t i = 0, n = all.list->n; i < n / 2; i++) {
        JinjaValue swap = all.list->items[i];
        all.list->items[i] = all.list->items[n - 1 - i];
        all.list->items[n - 1 - i] = swap;
    }
    *out = all;
    return true;
}

static bool f_join(JinjaCall *c, JinjaValue *out) {
    JinjaRun *r = c->run;
    JinjaIter it;
    JinjaValue item;
    Buf b = {0};
    Str separator = {0};
    if (c->arg[0].kind != JINJA_MISSING && !jinja_to_str(r, &c->arg[0], &separator)) return false;
    if (!jinja_iterate(r, c->self, &it)) return false;
    bool ok = true;
    for (bool more = false; ok && jinja_next(&it, &item); more = true) {
        if (more) buf_put(&b, separator.ptr, separator.len);
        ok = jinja_charge(r, 1) && (!given(&c->arg[1]) || jinja_path(r, &item, &c->arg[1], &item)) &&
             jinja_put_str(r, &b, &item);
    }
    if (ok) return jinja_take_buf(r, &b, out);
    buf_free(&b);
    return false;
}

static bool f_sum(JinjaCall *c, JinjaValue *out) {
    JinjaRun *r = c->run;
    JinjaIter it;
    JinjaValue item, total = c->arg[1].kind == JINJA_MISSING ? jinja_int(0) : c->arg[1];
    if (total.kind == JINJA_STR) return jinja_type_error(r, "sum() can't sum strings [use ''.join(seq) instead]");
    if (!jinja_iterate(r, c->self, &it)) return false;
    while (jinja_next(&it, &item)) {
        if (!jinja_charge(r, 1) || (given(&c->arg[0]) && !jinja_path(r, &item, &c->arg[0], &item))) return false;
        if (!jinja_binary(r, JINJA_ADD, &total, &item, &total)) return false;
    }
    *out = total;
    return true;
}

static bool f_batch(JinjaCall *c, JinjaValue *out) {
    JinjaRun *r = c->run;
    JinjaIter it;
    JinjaValue item, row = {0};
    int64_t n;
    if (!jinja_want_int(r, &c->arg[0], "the size of a batch", &n)) return false;
    if (n < 1) return jinja_fail(r, ERR_UNSUPPORTED, "batches of %lld items are not supported", (long long)n);
    if (!jinja_iterate(r, c->self, &it) || !jinja_new_list(r, JINJA_ITER, 0, out)) return false;
    while (jinja_next(&it, &item)) {
        if (!row.kind || (int64_t)row.list->n == n)
            if (!jinja_new_list(r, JINJA_LIST, 0, &row) || !jinja_append(r, out->list, &row)) return false;
        if (!jinja_charge(r, 1) || !jinja_append(r, row.list, &item)) return false;
    }
    while (row.kind && given(&c->arg[1]) && (int64_t)row.list->n < n)
        if (!jinja_charge(r, 1) || !jinja_append(r, row.list, &c->arg[1])) return false;
    return true;
}

/* ---- order ---- */

/* What an item is compared by: one of its attributes perhaps, and without regard to case unless that is asked for. */
static bool key_of(JinjaRun *r, const JinjaValue *item, const JinjaValue *attribute, bool case_sensitive,
                   JinjaValue *key) {
    *key = *item;
    if (given(attribute) && !jinja_path(r, item, attribute, key)) return false;
    if (case_sensitive || key->kind != JINJA_STR) return true;
    Buf b = {0};
    jinja_put_case(&b, key->s, JINJA_LOWER);
    return jinja_charge(r, key->s.len / 16) && jinja_take_buf(r, &b, key);
}

/* sort(attribute="a,b") orders by several keys: the key becomes a list. */
static bool keys_of(JinjaRun *r, const JinjaValue *item, const JinjaValue *attribute, bool case_sensitive,
                    JinjaValue *key) {
    JinjaValue one;
    if (!jinja_new_list(r, JINJA_LIST, 1, key)) return false;
    Str rest = given(attribute) && attribute->kind == JINJA_STR ? attribute->s : str_make("", 0);
    for (;;) {
        size_t comma = jinja_find(rest, str_c(","), 0);
        JinjaValue part = jinja_str(str_make(rest.ptr, comma == SIZE_MAX ? rest.len : comma));
        const JinjaValue *by = given(attribute) && attribute->kind == JINJA_STR ? &part : attribute;
        if (!key_of(r, item, by, case_sensitive, &one) || !jinja_append(r, key->list, &one)) return false;
        if (comma == SIZE_MAX) return true;
        rest = str_make(rest.ptr + comma + 1, rest.len - comma - 1);
    }
}

typedef struct Keyed { JinjaValue key, item; } Keyed;

/* Merge sort: stable, in both directions. */
static bool sort(JinjaRun *r, Keyed *a, Keyed *scratch, size_t n, bool reverse) {
    if (n < 2) return true;
    size_t half = n / 2;
    if (!sort(r, a, scratch, half, reverse) || !sort(r, a + half, scratch, n - half, reverse)) return false;
    memcpy(scratch, a, n * sizeof *a);
    for (size_t i = 0, left = 0, right = half; i < n; i++) {
        bool take_right = left == half;
        if (left < half && right < n) {
            const JinjaValue *x = &scratch[reverse ? left : right].key, *y = &scratch[reverse ? right : left].key;
            if (!jinja_charge(r, 1) || !jinja_order(r, JINJA_LT, x, y, &take_right)) return false;
        }
        a[i] = scratch[take_right ? right++ : left++];
    }
    return true;
}

static bool sorted(JinjaRun *r, const JinjaValue *items, const JinjaValue *keys, bool reverse, JinjaValue *out) {
    size_t n = items->list->n;
    Keyed *a = jinja_alloc(r, n, sizeof *a), *scratch = jinja_alloc(r, n, sizeof *a);
    if (!a || !scratch || !jinja_new_list(r, JINJA_LIST, n, out)) return false;
    for (size_t i = 0; i < n; i++) a[i] = (Keyed){keys->list->items[i], items->list->items[i]};
    if (!sort(r, a, scratch, n, reverse)) return false;
    for (size_t i = 0; i < n; i++)
        if (!jinja_append(r, out->list, &a[i].item)) return false;
    return true;
}

static bool f_sort(JinjaCall *c, JinjaValue *out) {
    JinjaRun *r = c->run;
    JinjaValue items, keys, key;
    if (!jinja_to_list(r, c->self, JINJA_LIST, &items) || !jinja_new_list(r, JINJA_LIST, items.list->n, &keys))
        return false;
    for (size_t i = 0; i < items.list->n; i++)
        if (!keys_of(r, &items.list->items[i], &c->arg[2], flag(&c->arg[1]), &key) || !jinja_append(r, keys.list, &key))
            return false;
    return sorted(r, &items, &keys, flag(&c->arg[0]), out);
}

static bool f_dictsort(JinjaCall *c, JinjaValue *out) {
    JinjaRun *r = c->run;
    JinjaValue items, keys, key;
    JinjaArgs none = {0};
    Str by = str_c("key");
    if (c->self->kind == JINJA_UNDEFINED) return jinja_fail_undefined(r, c->self);
    if (c->self->kind != JINJA_DICT)
        return jinja_type_error(r, "'%s' object has no attribute 'items'", jinja_type(c->self));
    if (c->arg[1].kind != JINJA_MISSING && !jinja_want_str(r, &c->arg[1], "\"by\" of dictsort", &by)) return false;
    if (!str_eq_c(by, "key") && !str_eq_c(by, "value"))
        return jinja_type_error(r, "You can only sort by either \"key\" or \"value\"");
    if (!jinja_invoke(r, jinja_find_func(jinja_dict_methods, str_c("items")), c->self, &none, &items)) return false;
    if (!jinja_new_list(r, JINJA_LIST, items.list->n, &keys)) return false;
    for (size_t i = 0; i < items.list->n; i++) {
        const JinjaValue *pair = items.list->items[i].list->items, absent = {0};
        if (!key_of(r, &pair[str_eq_c(by, "value")], &absent, flag(&c->arg[0]), &key) ||
            !jinja_append(r, keys.list, &key))
            return false;
    }
    return sorted(r, &items, &keys, flag(&c->arg[2]), out);
}

static bool extreme(JinjaCall *c, JinjaOp op, JinjaValue *out) {
    JinjaRun *r = c->run;
    JinjaIter it;
    JinjaValue item, key, best_key = {0};
    bool better;
    if (!jinja_iterate(r, c->self, &it)) return false;
    while (jinja_next(&it, &item)) {
        if (!jinja_charge(r, 1) || !key_of(r, &item, &c->arg[1], flag(&c->arg[0]), &key)) return false;
        better = best_key.kind == JINJA_MISSING;
        if (!better && !jinja_order(r, op, &key, &best_key, &better)) return false;
        if (!better) continue;
        best_key = key;
        *out = item;
    }
    return best_key.kind != JINJA_MISSING || jinja_undefined_because(r, out, "No aggregated item, sequence was empty.");
}

static bool f_min(JinjaCall *c, JinjaValue *out) { return extreme(c, JINJA_LT, out); }
static bool f_max(JinjaCall *c, JinjaValue *out) { return extreme(c, JINJA_GT, out); }

static bool f_unique(JinjaCall *c, JinjaValue *out) {
    JinjaRun *r = c->run;
    JinjaIter it;
    JinjaValue item, key, seen;
    const JinjaValue *before;
    if (!jinja_iterate(r, c->self, &it) || !jinja_new_dict(r, JINJA_DICT, &seen) ||
        !jinja_new_list(r, JINJA_ITER, 0, out))
        return false;
    while (jinja_next(&it, &item)) {
        if (!jinja_charge(r, 1) || !key_of(r, &item, &c->arg[1], flag(&c->arg[0]), &key) ||
            !jinja_dict_get(r, seen.dict, &key, &before))
            return false;
        if (before) continue;
        if (!jinja_dict_set(r, seen.dict, &key, &item) || !jinja_append(r, out->list, &item)) return false;
    }
    return true;
}

/* ---- map, select, reject ---- */

static const JinjaValue *named(const JinjaArgs *a, const char *name) {
    for (uint32_t i = 0; i < a->n_named; i++)
        if (str_eq_c(a->names[i], name)) return &a->named[i];
    return NULL;
}

static bool f_map(JinjaCall *c, JinjaValue *out) {
    JinjaRun *r = c->run;
    const JinjaValue *attribute = c->raw->n_pos == 0 ? named(c->raw, "attribute") : NULL,
                     *otherwise = named(c->raw, "default");
    const JinjaFunc *filter = NULL;
    JinjaArgs rest = *c->raw;
    JinjaIter it;
    JinjaValue item;
    Str name;
    if (!jinja_truth(c->self)) return jinja_new_list(r, JINJA_ITER, 0, out);
    if (!attribute) {
        if (c->raw->n_pos == 0) return jinja_type_error(r, "map requires a filter argument");
        if (!jinja_want_str(r, &c->raw->pos[0], "the filter of map", &name)) return false;
        filter = jinja_find_filter(name);
        if (!filter) return jinja_fail(r, ERR_UNSUPPORTED, "no filter named '%.*s'", jinja_clip(name, 60), name.ptr);
        rest.pos++;
        rest.n_pos--;
    }
    if (!jinja_iterate(r, c->self, &it) || !jinja_new_list(r, JINJA_ITER, (size_t)it.left, out)) return false;
    while (jinja_next(&it, &item)) {
        if (!jinja_enter(r)) return false;
        JinjaValue in = item;
        bool ok = attribute ? jinja_path(r, &in, attribute, &item) : jinja_invoke(r, filter, &in, &rest, &item);
        jinja_leave(r);
        if (!ok) return false;
        if (attribute && item.kind == JINJA_UNDEFINED && otherwise && otherwise->kind != JINJA_NONE) item = *otherwise;
        if (!jinja_append(r, out->list, &item)) return false;
    }
    return true;
}

static bool choose(JinjaCall *c, bool by_attribute, bool wanted, JinjaValue *out) {
    JinjaRun *r = c->run;
    JinjaArgs rest = *c->raw;
    const JinjaValue *attribute = NULL;
    const JinjaFunc *test = NULL;
    JinjaIter it;
    JinjaValue item, value;
    Str name;
    if (!jinja_new_list(r, JINJA_ITER, 0, out)) return false;
    if (!jinja_truth(c->self)) return true;
    if (by_attribute) {
        if (rest.n_pos == 0) return jinja_type_error(r, "Missing parameter for attribute name");
        attribute = rest.pos++;
        rest.n_pos--;
    }
    if (rest.n_pos) {
        if (!jinja_want_str(r, &rest.pos[0], "the name of a test", &name)) return false;
        test = jinja_find_test(name);
        if (!test) return jinja_fail(r, ERR_UNSUPPORTED, "no test named '%.*s'", jinja_clip(name, 60), name.ptr);
        rest.pos++;
        rest.n_pos--;
    }
    if (!jinja_iterate(r, c->self, &it)) return false;
    while (jinja_next(&it, &item)) {
        JinjaValue answer;
        value = item;
        if (!jinja_charge(r, 1) || (attribute && !jinja_path(r, &item, attribute, &value))) return false;
        answer = value;
        if (test && !jinja_invoke(r, test, &value, &rest, &answer)) return false;
        if (jinja_truth(&answer) == wanted && !jinja_append(r, out->list, &item)) return false;
    }
    return true;
}

static bool f_select(JinjaCall *c, JinjaValue *out) { return choose(c, false, true, out); }
static bool f_reject(JinjaCall *c, JinjaValue *out) { return choose(c, false, false, out); }
static bool f_selectattr(JinjaCall *c, JinjaValue *out) { return choose(c, true, true, out); }
static bool f_rejectattr(JinjaCall *c, JinjaValue *out) { return choose(c, true, false, out); }

const JinjaFunc jinja_seq_filters[] = {
    {"list", "", f_list},
    {"items", "", f_items},
    {"first", "", f_first},
    {"last", "", f_last},
    {"reverse", "", f_reverse},
    {"join", "d? attribute?", f_join},
    {"sum", "attribute? start?", f_sum},
    {"batch", "linecount fill_with?", f_batch},
    {"sort", "reverse? case_sensitive? attribute?", f_sort},
    {"dictsort", "case_sensitive? by? reverse?", f_dictsort},
    {"min", "case_sensitive? attribute?", f_min},
    {"max", "case_sensitive? attribute?", f_max},
    {"unique", "case_sensitive? attribute?", f_unique},
    {"map", "*", f_map},
    {"select", "*", f_select},
    {"reject", "*", f_reject},
    {"selectattr", "*", f_selectattr},
    {"rejectattr", "*", f_rejectattr},
    {"groupby", "", NULL},
    {"slice", "", NULL},
    {"random", "", NULL},
    {NULL, NULL, NULL},
};
