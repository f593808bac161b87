/* Methods of lists, tuples, dicts, of the loop variable and of cycler(). In the tables: a method without function but with
 * parameters changes its value, which the sandbox of transformers refuses; one without both is Python's but not ours.
 * The exceptions are append, extend, insert and pop of lists: Kimi's templates use them, and what they change lives only
 * as long as the render. */
#include "text/jinja.h"

#include <string.h>

/* ---- lists ---- */

static bool m_append(JinjaCall *c, JinjaValue *out) {
    *out = jinja_none();
    return jinja_append(c->run, c->self->list, &c->arg[0]);
}

static bool m_extend(JinjaCall *c, JinjaValue *out) {
    JinjaValue more;
    *out = jinja_none();
    if (!jinja_to_list(c->run, &c->arg[0], JINJA_LIST, &more)) return false;
    for (size_t i = 0; i < more.list->n; i++)
        if (!jinja_append(c->run, c->self->list, &more.list->items[i])) return false;
    return true;
}

static bool m_insert(JinjaCall *c, JinjaValue *out) {
    JinjaList *l = c->self->list;
    int64_t at, n = (int64_t)l->n;
    *out = jinja_none();
    if (!jinja_want_int(c->run, &c->arg[0], "the place of insert", &at) || !jinja_append(c->run, l, &c->arg[1]))
        return false;
    at = at < 0 ? (at + n < 0 ? 0 : at + n) : at > n ? n : at;
    memmove(l->items + at + 1, l->items + at, (size_t)(n - at) * sizeof *l->items);
    l->items[at] = c->arg[1];
    return jinja_charge(c->run, (uint64_t)n / 16);
}

static bool m_pop(JinjaCall *c, JinjaValue *out) {
    JinjaList *l = c->self->list;
    int64_t at = -1, n = (int64_t)l->n;
    if (c->arg[0].kind != JINJA_MISSING && !jinja_want_int(c->run, &c->arg[0], "the place of pop", &at)) return false;
    if (n == 0) return jinja_type_error(c->run, "pop from empty list");
    if (at < 0) at += n;
    if (at < 0 || at >= n) return jinja_type_error(c->run, "pop index out of range");
    *out = l->items[at];
    memmove(l->items + at, l->items + at + 1, (size_t)(n - at - 1) * sizeof *l->items);
    l->n--;
    return jinja_charge(c->run, (uint64_t)n / 16);
}

static bool l_search(JinjaCall *c, bool count, JinjaValue *out) {
    int64_t n = 0;
    for (size_t i = 0; i < c->self->list->n; i++) {
        bool equal;
        if (!jinja_charge(c->run, 1) || !jinja_equal(c->run, &c->self->list->items[i], &c->arg[0], &equal))
            return false;
        if (equal && !count) return *out = jinja_int((int64_t)i), true;
        n += equal;
    }
    *out = jinja_int(n);
    return count || jinja_type_error(c->run, "the value is not in list");
}

static bool l_index(JinjaCall *c, JinjaValue *out) { return l_search(c, false, out); }
static bool l_count(JinjaCall *c, JinjaValue *out) { return l_search(c, true, out); }
static bool l_copy(JinjaCall *c, JinjaValue *out) { return jinja_to_list(c->run, c->self, JINJA_LIST, out); }

const JinjaFunc jinja_list_methods[] = {
    {"append", "object", m_append},
    {"extend", "iterable", m_extend},
    {"insert", "index object", m_insert},
    {"pop", "index?", m_pop},
    {"index", "value", l_index},
    {"count", "value", l_count},
    {"copy", "", l_copy},
    {"clear", "", NULL},
    {"remove", "value", NULL},
    {"reverse", "", NULL},
    {"sort", "", NULL},
    {NULL, NULL, NULL},
};

const JinjaFunc jinja_tuple_methods[] = {{"index", "value", l_index}, {"count", "value", l_count}, {NULL, NULL, NULL}};

/* ---- dicts ---- */

typedef enum View { VIEW_ITEMS, VIEW_KEYS, VIEW_VALUES } View;

static bool view(JinjaCall *c, View what, JinjaValue *out) {
    const JinjaDict *d = c->self->dict;
    if (!jinja_new_list(c->run, JINJA_VIEW, d->n, out)) return false;
    for (uint32_t i = 0; i < d->n; i++) {
        JinjaValue v = what == VIEW_KEYS ? d->entries[i].key : d->entries[i].value;
        if (what == VIEW_ITEMS) {
            if (!jinja_new_list(c->run, JINJA_TUPLE, 2, &v)) return false;
            v.list->items[0] = d->entries[i].key;
            v.list->items[1] = d->entries[i].value;
            v.list->n = 2;
        }
        if (!jinja_charge(c->run, 1) || !jinja_append(c->run, out->list, &v)) return false;
    }
    return true;
}

static bool m_items(JinjaCall *c, JinjaValue *out) { return view(c, VIEW_ITEMS, out); }
static bool m_keys(JinjaCall *c, JinjaValue *out) { return view(c, VIEW_KEYS, out); }
static bool m_values(JinjaCall *c, JinjaValue *out) { return view(c, VIEW_VALUES, out); }

static bool m_get(JinjaCall *c, JinjaValue *out) {
    const JinjaValue *v;
    if (!jinja_dict_get(c->run, c->self->dict, &c->arg[0], &v)) return false;
    *out = v ? *v : c->arg[1].kind == JINJA_MISSING ? jinja_none() : c->arg[1];
    return true;
}

static bool m_copy(JinjaCall *c, JinjaValue *out) {
    const JinjaDict *d = c->self->dict;
    if (!jinja_new_dict(c->run, JINJA_DICT, out)) return false;
    for (uint32_t i = 0; i < d->n; i++)
        if (!jinja_dict_set(c->run, out->dict, &d->entries[i].key, &d->entries[i].value)) return false;
    return true;
}

const JinjaFunc jinja_dict_methods[] = {
    {"items", "", m_items}, {"keys", "", m_keys},        {"values", "", m_values},  {"get", "key default?", m_get},
    {"copy", "", m_copy},   {"fromkeys", NULL, NULL},    {"clear", "", NULL},       {"pop", "key", NULL},
    {"popitem", "", NULL},  {"setdefault", "key", NULL}, {"update", "other", NULL}, {NULL, NULL, NULL},
};

/* ---- the loop variable, and cycler() ---- */

static bool m_cycle(JinjaCall *c, JinjaValue *out) {
    if (c->raw->n_pos == 0) return jinja_type_error(c->run, "no items for cycling given");
    *out = c->raw->pos[c->self->loop->index0 % c->raw->n_pos];
    return true;
}

static bool m_changed(JinjaCall *c, JinjaValue *out) {
    JinjaValue now;
    JinjaLoop *loop = c->self->loop;
    bool same = false;
    if (!jinja_new_list(c->run, JINJA_TUPLE, c->raw->n_pos, &now)) return false;
    for (uint32_t i = 0; i < c->raw->n_pos; i++)
        if (!jinja_append(c->run, now.list, &c->raw->pos[i])) return false;
    if (loop->changed.kind != JINJA_MISSING && !jinja_equal(c->run, &loop->changed, &now, &same)) return false;
    loop->changed = now;
    *out = jinja_bool(!same);
    return true;
}

const JinjaFunc jinja_loop_methods[] = {{"cycle", "*", m_cycle}, {"changed", "*", m_changed}, {NULL, NULL, NULL}};

static bool m_next(JinjaCall *c, JinjaValue *out) {
    JinjaCycler *cycler = c->self->cycler;
    *out = cycler->values->items[cycler->at];
    cycler->at = (cycler->at + 1) % cycler->values->n;
    return true;
}

static bool m_reset(JinjaCall *c, JinjaValue *out) {
    c->self->cycler->at = 0;
    *out = jinja_none();
    return true;
}

const JinjaFunc jinja_cycler_methods[] = {{"next", "", m_next}, {"reset", "", m_reset}, {NULL, NULL, NULL}};
