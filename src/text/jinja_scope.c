/* Which variable a name means, settled once when the template is read.
 *
 * Loops, macros, calls, `with` and captured blocks are scopes; an `if` is none. A name that is assigned anywhere in
 * a scope is that scope's own variable everywhere in it. What it holds before the assignment follows Jinja exactly,
 * oddities included: where the name was read first, or is assigned inside an `if`, or is known further out, it
 * starts with the outer value, else undefined (even when the caller passed a variable of that name). */
#include "text/jinja.h"

#include <string.h>

typedef struct Resolver {
    Template *tmpl;
    Err *err;
} Resolver;

static bool link_block(Resolver *r, const JinjaBlock *b, JinjaScope *s);
static bool declare_block(Resolver *r, const JinjaBlock *b, JinjaScope *s, bool in_branch);

/* ---- scopes ---- */

static JinjaScope *new_scope(Resolver *r, JinjaScope *parent) {
    JinjaScope *s = arena_alloc(&r->tmpl->arena, sizeof *s, 16);
    if (!s) return jinja_no_memory(r->err), (JinjaScope *)NULL;
    s->parent = parent;
    return s;
}

static JinjaVar *find(const JinjaScope *s, Str name) {
    uint32_t i;
    return strmap_get(&s->by_name, name, &i) ? &s->vars[i] : NULL;
}

static bool known_outside(const JinjaScope *s, Str name) {
    for (s = s->parent; s; s = s->parent)
        if (find(s, name)) return true;
    return false;
}

static JinjaVar *add(Resolver *r, JinjaScope *s, Str name, JinjaInit init) {
    if (s->n == s->cap) {
        uint32_t cap = s->cap ? s->cap * 2 : 8;
        JinjaVar *more = arena_alloc(&r->tmpl->arena, cap * sizeof *more, 16);
        if (!more) return jinja_no_memory(r->err), (JinjaVar *)NULL;
        if (s->vars) memcpy(more, s->vars, s->n * sizeof *more);
        s->vars = more;
        s->cap = cap;
    }
    if (!strmap_put(&s->by_name, name, s->n, NULL)) return jinja_no_memory(r->err), (JinjaVar *)NULL;
    JinjaVar *v = &s->vars[s->n++];
    *v = (JinjaVar){.name = name, .init = init, .outer = {.up = -1}};
    if (init != JINJA_INIT_LOADED) v->slot = s->n_slots++;
    return v;
}

static bool load(Resolver *r, JinjaScope *s, Str name) {
    return find(s, name) || known_outside(s, name) || add(r, s, name, JINJA_INIT_LOADED);
}

static bool store(Resolver *r, JinjaScope *s, Str name, bool in_branch) {
    JinjaVar *v = find(s, name);
    if (!v) return add(r, s, name, in_branch || known_outside(s, name) ? JINJA_INIT_INHERIT : JINJA_INIT_UNSET) != NULL;
    if (v->init != JINJA_INIT_LOADED) return true;
    v->init = JINJA_INIT_INHERIT;
    v->slot = s->n_slots++;
    return true;
}

static bool param(Resolver *r, JinjaScope *s, Str name, uint32_t *slot) {
    JinjaVar *v = find(s, name);
    if (v && slot)
        return jinja_source_fail(r->err, ERR_FORMAT, 0, "two parameters are called '%.*s'", (int)name.len, name.ptr);
    if (!v && !(v = add(r, s, name, JINJA_INIT_PARAM))) return false;
    if (slot) *slot = v->slot;
    return true;
}

/* ---- walking expressions ---- */

typedef bool Visit(Resolver *r, JinjaExpr *name, JinjaScope *s);

static bool walk(Resolver *r, JinjaExpr *e, JinjaScope *s, Visit *visit) {
    if (!e) return true;
    if (e->kind == JINJA_X_NAME) return visit(r, e, s);
    if (!walk(r, e->a, s, visit) || !walk(r, e->b, s, visit) || !walk(r, e->c, s, visit) || !walk(r, e->d, s, visit))
        return false;
    for (uint32_t i = 0; i < e->n_items; i++)
        if (!walk(r, e->items[i], s, visit)) return false;
    const JinjaArgExprs *x = e->args;
    if (!x) return true;
    for (uint32_t i = 0; i < x->n_pos; i++)
        if (!walk(r, x->pos[i], s, visit)) return false;
    for (uint32_t i = 0; i < x->n_named; i++)
        if (!walk(r, x->named[i], s, visit)) return false;
    return walk(r, x->star, s, visit) && walk(r, x->star_star, s, visit);
}

static bool declare_load(Resolver *r, JinjaExpr *e, JinjaScope *s) { return load(r, s, e->name); }

static JinjaRef locate(const JinjaScope *s, Str name) {
    for (int up = 0; s; s = s->parent, up++) {
        const JinjaVar *v = find(s, name);
        if (v && v->init != JINJA_INIT_LOADED) return (JinjaRef){up, v->slot};
    }
    return (JinjaRef){-1, 0};
}

static bool link_name(Resolver *r, JinjaExpr *e, JinjaScope *s) {
    (void)r;
    e->ref = locate(s, e->name);
    return true;
}

static bool link(Resolver *r, JinjaExpr *e, JinjaScope *s) { return walk(r, e, s, link_name); }

typedef enum TargetUse { TARGET_STORE, TARGET_BRANCH, TARGET_PARAM } TargetUse;

static bool declare_target(Resolver *r, JinjaExpr *t, JinjaScope *s, TargetUse use) {
    if (t->kind == JINJA_X_ATTR) return load(r, s, t->a->name);
    if (t->kind == JINJA_X_NAME)
        return use == TARGET_PARAM ? param(r, s, t->name, NULL) : store(r, s, t->name, use == TARGET_BRANCH);
    for (uint32_t i = 0; i < t->n_items; i++)
        if (!declare_target(r, t->items[i], s, use)) return false;
    return true;
}

/* ---- what the statements of one scope read and assign, in the order of the source ---- */

static bool declare(Resolver *r, JinjaStmt *st, JinjaScope *s, bool in_branch) {
    TargetUse use = in_branch ? TARGET_BRANCH : TARGET_STORE;
    switch (st->kind) {
    case JINJA_S_PRINT: case JINJA_S_FOR: case JINJA_S_CALL_BLOCK: case JINJA_S_FILTER_BLOCK:
        return walk(r, st->expr, s, declare_load);
    case JINJA_S_SET: return walk(r, st->expr, s, declare_load) && declare_target(r, st->target, s, use);
    case JINJA_S_SET_BLOCK: case JINJA_S_MACRO: return declare_target(r, st->target, s, use);
    case JINJA_S_WITH:
        for (uint32_t i = 0; i < st->n_with; i++)
            if (!walk(r, st->values[i], s, declare_load)) return false;
        return true;
    case JINJA_S_IF:
        for (; st; st = st->elif)
            if (!walk(r, st->expr, s, declare_load) || !declare_block(r, &st->body, s, true) ||
                !declare_block(r, &st->orelse, s, true))
                return false;
        return true;
    default: return true;
    }
}

static bool declare_block(Resolver *r, const JinjaBlock *b, JinjaScope *s, bool in_branch) {
    for (size_t i = 0; i < b->n; i++)
        if (!declare(r, b->stmts[i], s, in_branch)) return false;
    return true;
}

/* Closes a scope whose parameters are declared: the rest of its variables, then where they inherit from, then its
 * body. */
static bool finish_scope(Resolver *r, JinjaScope *s, const JinjaBlock *b) {
    if (!declare_block(r, b, s, false)) return false;
    for (uint32_t i = 0; i < s->n; i++)
        if (s->vars[i].init == JINJA_INIT_INHERIT && s->parent) s->vars[i].outer = locate(s->parent, s->vars[i].name);
    return link_block(r, b, s);
}

static bool plain_scope(Resolver *r, JinjaStmt *st, JinjaScope *outer, JinjaExpr *filter) {
    JinjaScope *s = st->scope = new_scope(r, outer);
    bool ok = s && finish_scope(r, s, &st->body) && link(r, filter, s);
    if (s) strmap_free(&s->by_name);
    return ok;
}

static bool link_for(Resolver *r, JinjaStmt *st, JinjaScope *outer) {
    if (!link(r, st->expr, outer)) return false;
    /* The target's variables come first in both scopes, so that the same slots serve the loop and its filter. */
    JinjaScope *s = st->scope = new_scope(r, outer);
    bool ok = s && declare_target(r, st->target, s, TARGET_PARAM) && param(r, s, str_c("loop"), NULL);
    if (ok) st->loop_slot = find(s, str_c("loop"))->slot;
    ok = ok && finish_scope(r, s, &st->body) && link(r, st->target, s);
    if (s) strmap_free(&s->by_name);
    if (ok && st->test) {
        s = st->test_scope = new_scope(r, outer);
        ok = s && declare_target(r, st->target, s, TARGET_PARAM) && walk(r, st->test, s, declare_load) &&
             link(r, st->test, s);
        if (s) strmap_free(&s->by_name);
    }
    if (ok && st->orelse.n) {
        s = st->else_scope = new_scope(r, outer);
        ok = s && finish_scope(r, s, &st->orelse);
        if (s) strmap_free(&s->by_name);
    }
    return ok;
}

static bool link_with(Resolver *r, JinjaStmt *st, JinjaScope *outer) {
    JinjaScope *s = st->scope = new_scope(r, outer);
    bool ok = s != NULL;
    for (uint32_t i = 0; ok && i < st->n_with; i++)
        ok = link(r, st->values[i], outer) && declare_target(r, st->targets[i], s, TARGET_PARAM);
    ok = ok && finish_scope(r, s, &st->body);
    for (uint32_t i = 0; ok && i < st->n_with; i++) ok = link(r, st->targets[i], s);
    if (s) strmap_free(&s->by_name);
    return ok;
}

/* ---- macros ---- */

static bool mentions_block(const JinjaBlock *b, Str name);

static bool mentions_expr(const JinjaExpr *e, Str name) {
    if (!e) return false;
    if (e->kind == JINJA_X_NAME) return str_eq(e->name, name);
    if (mentions_expr(e->a, name) || mentions_expr(e->b, name) || mentions_expr(e->c, name) ||
        mentions_expr(e->d, name))
        return true;
    for (uint32_t i = 0; i < e->n_items; i++)
        if (mentions_expr(e->items[i], name)) return true;
    const JinjaArgExprs *x = e->args;
    for (uint32_t i = 0; x && i < x->n_pos; i++)
        if (mentions_expr(x->pos[i], name)) return true;
    for (uint32_t i = 0; x && i < x->n_named; i++)
        if (mentions_expr(x->named[i], name)) return true;
    return x && (mentions_expr(x->star, name) || mentions_expr(x->star_star, name));
}

static bool mentions_block(const JinjaBlock *b, Str name) {
    for (size_t i = 0; i < b->n; i++) {
        for (const JinjaStmt *st = b->stmts[i]; st; st = st->elif) {
            if (mentions_expr(st->expr, name) || mentions_expr(st->test, name) || mentions_block(&st->body, name) ||
                mentions_block(&st->orelse, name) || (st->macro && mentions_block(&st->macro->body, name)))
                return true;
            for (uint32_t k = 0; k < st->n_with; k++)
                if (mentions_expr(st->values[k], name)) return true;
        }
    }
    return false;
}

/* caller, kwargs and varargs exist only in a macro whose body asks for them. */
static bool special(Resolver *r, JinjaMacroDef *m, const char *name, uint32_t *slot_plus_1) {
    uint32_t slot = 0;
    if (find(m->scope, str_c(name)) || !mentions_block(&m->body, str_c(name))) return true;
    if (!param(r, m->scope, str_c(name), &slot)) return false;
    *slot_plus_1 = slot + 1;
    return true;
}

static bool link_macro(Resolver *r, JinjaMacroDef *m, JinjaScope *outer) {
    JinjaScope *s = m->scope = new_scope(r, outer);
    bool ok = s != NULL;
    uint32_t slot = 0;
    for (uint32_t i = 0; ok && i < m->n_params; i++) ok = param(r, s, m->params[i], &slot);
    ok = ok && special(r, m, "caller", &m->caller) && special(r, m, "kwargs", &m->kwargs) &&
         special(r, m, "varargs", &m->varargs);
    for (uint32_t i = 0; ok && i < m->n_params; i++) ok = walk(r, m->defaults[i], s, declare_load);
    ok = ok && finish_scope(r, s, &m->body);
    for (uint32_t i = 0; ok && i < m->n_params; i++) ok = link(r, m->defaults[i], s);
    if (s) strmap_free(&s->by_name);
    return ok;
}

static bool link_stmt(Resolver *r, JinjaStmt *st, JinjaScope *s) {
    switch (st->kind) {
    case JINJA_S_PRINT: return link(r, st->expr, s);
    case JINJA_S_IF:
        for (; st; st = st->elif)
            if (!link(r, st->expr, s) || !link_block(r, &st->body, s) || !link_block(r, &st->orelse, s)) return false;
        return true;
    case JINJA_S_FOR: return link_for(r, st, s);
    case JINJA_S_SET: return link(r, st->expr, s) && link(r, st->target, s);
    case JINJA_S_SET_BLOCK: return link(r, st->target, s) && plain_scope(r, st, s, st->expr);
    case JINJA_S_MACRO: return link(r, st->target, s) && link_macro(r, st->macro, s);
    case JINJA_S_CALL_BLOCK: return link(r, st->expr, s) && link_macro(r, st->macro, s);
    case JINJA_S_FILTER_BLOCK: return link(r, st->expr, s) && plain_scope(r, st, s, NULL);
    case JINJA_S_WITH: return link_with(r, st, s);
    case JINJA_S_SCOPE: return plain_scope(r, st, s, NULL);
    default: return true;
    }
}

static bool link_block(Resolver *r, const JinjaBlock *b, JinjaScope *s) {
    for (size_t i = 0; i < b->n; i++)
        if (!link_stmt(r, b->stmts[i], s)) return false;
    return true;
}

bool jinja_resolve(Template *t, Err *err) {
    Resolver r = {t, err};
    JinjaScope *s = t->scope = new_scope(&r, NULL);
    bool ok = s && finish_scope(&r, s, &t->body);
    if (s) strmap_free(&s->by_name);
    return ok;
}
