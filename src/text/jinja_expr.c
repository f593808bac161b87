/* Expressions, weakest operator first: a if b else c, or, and, not, comparisons, + -, ~, * / // %, **, signs, then
 * what follows a value (.name [key] (args)) and last filters and tests. The order is Jinja's own, where ~ binds
 * tighter than + and ** groups to the left. */
#include "text/jinja.h"

#include <string.h>

static void *keep(JinjaParser *p, size_t bytes) {
    void *m = arena_alloc(&p->tmpl->arena, bytes, 16);
    if (!m) jinja_no_memory(p->err);
    return m;
}

/* Goes on to the next word; returns the line of this one. */
static unsigned pass(JinjaParser *p) {
    unsigned line = p->tok->line;
    p->tok++;
    return line;
}

/* A tree is as deep as its longest chain of operators; whoever walks it later relies on the limit. */
static JinjaExpr *deeper_than(JinjaParser *p, JinjaExpr *e, const JinjaExpr *child) {
    if (!e || !child || e->depth > child->depth) return e;
    e->depth = child->depth + 1;
    if (e->depth <= JINJA_MAX_NESTING) return e;
    jinja_source_fail(p->err, ERR_UNSUPPORTED, e->line, "an expression nested deeper than %d levels",
                      JINJA_MAX_NESTING);
    return NULL;
}

JinjaExpr *jinja_new_expr(JinjaParser *p, JinjaExprKind kind, unsigned line, JinjaExpr *a, JinjaExpr *b) {
    JinjaExpr *e = keep(p, sizeof *e);
    if (!e) return NULL;
    e->kind = kind;
    e->line = line;
    e->a = a;
    e->b = b;
    return deeper_than(p, deeper_than(p, e, a), b);
}

static bool add_item(JinjaParser *p, JinjaExpr *e, JinjaExpr *item) {
    if (!e || !item || !deeper_than(p, e, item)) return false;
    if (!jinja_push(&p->tmpl->arena, &e->items, e->n_items, item)) return jinja_no_memory(p->err);
    e->n_items++;
    return true;
}

static JinjaExpr *parse_or(JinjaParser *p); /* an expression without "a if b else c" */

/* ---- values ---- */

static JinjaExpr *constant(JinjaParser *p, unsigned line, JinjaValue v) {
    JinjaExpr *e = jinja_new_expr(p, JINJA_X_CONST, line, NULL, NULL);
    if (e) e->value = v;
    return e;
}

static JinjaExpr *strings(JinjaParser *p) {
    unsigned line = p->tok->line;
    Str all = p->tok->text;
    p->tok++;
    for (; p->tok->kind == JINJA_T_STRING; p->tok++) { /* "a" "b" is "ab" */
        char *joined = keep(p, all.len + p->tok->text.len + 1);
        if (!joined) return NULL;
        if (all.len) memcpy(joined, all.ptr, all.len);
        if (p->tok->text.len) memcpy(joined + all.len, p->tok->text.ptr, p->tok->text.len);
        all = str_make(joined, all.len + p->tok->text.len);
    }
    return constant(p, line, jinja_str(all));
}

static JinjaExpr *name(JinjaParser *p, bool target) {
    const JinjaToken *t = p->tok++;
    Str n = t->text;
    if (str_eq_c(n, "true") || str_eq_c(n, "True")) return constant(p, t->line, jinja_bool(true));
    if (str_eq_c(n, "false") || str_eq_c(n, "False")) return constant(p, t->line, jinja_bool(false));
    if (str_eq_c(n, "none") || str_eq_c(n, "None")) return constant(p, t->line, jinja_none());
    JinjaExpr *e = jinja_new_expr(p, JINJA_X_NAME, t->line, NULL, NULL);
    if (e) e->name = n;
    if (!e || !target || !jinja_skip_op(p, ".")) return e;
    Str attr = p->tok->text; /* {% set ns.attr = ... %} */
    if (!jinja_expect(p, JINJA_T_NAME)) return NULL;
    e = jinja_new_expr(p, JINJA_X_ATTR, t->line, e, NULL);
    if (e) e->name = attr;
    return e;
}

static JinjaExpr *list(JinjaParser *p) {
    JinjaExpr *e = jinja_new_expr(p, JINJA_X_LIST, pass(p), NULL, NULL);
    while (e && !jinja_is_op(p, "]")) {
        if (e->n_items && !jinja_expect_op(p, ",")) return NULL;
        if (jinja_is_op(p, "]")) break;
        if (!add_item(p, e, jinja_parse_expr(p))) return NULL;
    }
    return e && jinja_expect_op(p, "]") ? e : NULL;
}

static JinjaExpr *dict(JinjaParser *p) {
    JinjaExpr *e = jinja_new_expr(p, JINJA_X_DICT, pass(p), NULL, NULL);
    while (e && !jinja_is_op(p, "}")) {
        if (e->n_items && !jinja_expect_op(p, ",")) return NULL;
        if (jinja_is_op(p, "}")) break;
        if (!add_item(p, e, jinja_parse_expr(p)) || !jinja_expect_op(p, ":") || !add_item(p, e, jinja_parse_expr(p)))
            return NULL;
    }
    return e && jinja_expect_op(p, "}") ? e : NULL;
}

JinjaExpr *jinja_parse_primary(JinjaParser *p, bool target) {
    const JinjaToken *t = p->tok;
    char text[80];
    if (t->kind == JINJA_T_NAME) return name(p, target);
    if (t->kind == JINJA_T_STRING) return strings(p);
    if (t->kind == JINJA_T_NUMBER) {
        p->tok++;
        return constant(p, t->line, t->value);
    }
    if (jinja_skip_op(p, "(")) {
        JinjaExpr *e = jinja_parse_tuple(p, true, true, NULL);
        return e && jinja_expect_op(p, ")") ? e : NULL;
    }
    if (jinja_is_op(p, "[")) return list(p);
    if (jinja_is_op(p, "{")) return dict(p);
    jinja_source_fail(p->err, ERR_FORMAT, t->line, "expected a value, got %s", jinja_describe(t, text));
    return NULL;
}

/* One expression, or a tuple where there are commas. */
JinjaExpr *jinja_parse_tuple(JinjaParser *p, bool conditional, bool in_parens, const char *end_name) {
    unsigned line = p->tok->line;
    JinjaExpr *tuple = NULL, *first = NULL;
    char text[80];
    for (;;) {
        JinjaTokenKind k = p->tok->kind;
        if (k == JINJA_T_VAR_END || k == JINJA_T_BLOCK_END || jinja_is_op(p, ")") ||
            (end_name && jinja_is_name(p, end_name)))
            break;
        JinjaExpr *e = conditional ? jinja_parse_expr(p) : parse_or(p);
        if (!e) return NULL;
        if (!first) first = e;
        if (!tuple && !jinja_is_op(p, ",")) return e;
        if (!tuple && !(tuple = jinja_new_expr(p, JINJA_X_TUPLE, line, NULL, NULL))) return NULL;
        if (!add_item(p, tuple, e)) return NULL;
        if (!jinja_skip_op(p, ",")) break;
    }
    if (tuple) return tuple;
    if (in_parens) return jinja_new_expr(p, JINJA_X_TUPLE, line, NULL, NULL);
    jinja_source_fail(p->err, ERR_FORMAT, p->tok->line, "expected an expression, got %s", jinja_describe(p->tok, text));
    return NULL;
}

/* ---- what follows a value ---- */

static JinjaArgExprs *no_args(JinjaParser *p) { return keep(p, sizeof(JinjaArgExprs)); }

static bool one_arg(JinjaParser *p, JinjaArgExprs *x, JinjaExpr *owner) {
    Arena *arena = &p->tmpl->arena;
    unsigned line = p->tok->line;
    bool star = jinja_skip_op(p, "*"), star_star = !star && jinja_skip_op(p, "**");
    bool named = !star && !star_star && p->tok->kind == JINJA_T_NAME && p->tok[1].kind == JINJA_T_OP &&
                 str_eq_c(p->tok[1].text, "=");
    if (x->star_star || (x->star && (star || !(named || star_star))) || (x->n_named && !named && !star && !star_star))
        return jinja_source_fail(p->err, ERR_FORMAT, line, "invalid syntax for the arguments of a call");
    Str key = p->tok->text;
    if (named) p->tok += 2;
    JinjaExpr *e = jinja_parse_expr(p);
    if (!e || !deeper_than(p, owner, e)) return false;
    if (star) {
        x->star = e;
    } else if (star_star) {
        x->star_star = e;
    } else if (named) {
        Str *names = arena_alloc(arena, (x->n_named + 1) * sizeof *names, 16);
        if (!names || !jinja_push(arena, &x->named, x->n_named, e)) return jinja_no_memory(p->err);
        if (x->n_named) memcpy(names, x->names, x->n_named * sizeof *names);
        names[x->n_named++] = key;
        x->names = names;
    } else if (!jinja_push(arena, &x->pos, x->n_pos, e)) {
        return jinja_no_memory(p->err);
    } else {
        x->n_pos++;
    }
    return true;
}

static bool arguments(JinjaParser *p, JinjaExpr *owner) {
    bool more = false;
    p->tok++;
    if (!(owner->args = no_args(p))) return false;
    while (!jinja_is_op(p, ")")) {
        if (more && !jinja_expect_op(p, ",")) return false;
        if (more && jinja_is_op(p, ")")) break;
        if (owner->args->n_named + owner->args->n_pos >= 200)
            return jinja_source_fail(p->err, ERR_UNSUPPORTED, p->tok->line, "a call with more than 200 arguments");
        if (!one_arg(p, owner->args, owner)) return false;
        more = true;
    }
    return jinja_expect_op(p, ")");
}

static bool subscript_part(JinjaParser *p, JinjaExpr **out) {
    if (jinja_is_op(p, ":") || jinja_is_op(p, "]")) return true;
    return (*out = jinja_parse_expr(p)) != NULL;
}

static JinjaExpr *subscript(JinjaParser *p, JinjaExpr *e) {
    unsigned line = pass(p);
    JinjaExpr *part[3] = {0};
    bool slice = false;
    if (!subscript_part(p, &part[0])) return NULL;
    for (int i = 1; i < 3 && jinja_skip_op(p, ":"); i++) {
        slice = true;
        if (!subscript_part(p, &part[i])) return NULL;
    }
    if (jinja_is_op(p, ",")) {
        jinja_source_fail(p->err, ERR_UNSUPPORTED, line, "a subscript with a comma is not supported");
        return NULL;
    }
    if (!slice && !part[0]) {
        jinja_source_fail(p->err, ERR_FORMAT, line, "an empty subscript");
        return NULL;
    }
    if (!jinja_expect_op(p, "]")) return NULL;
    e = jinja_new_expr(p, slice ? JINJA_X_SLICE : JINJA_X_ITEM, line, e, part[0]);
    if (!e) return NULL;
    e->c = part[1];
    e->d = part[2];
    return deeper_than(p, deeper_than(p, e, e->c), e->d);
}

static JinjaExpr *attribute(JinjaParser *p, JinjaExpr *e) {
    unsigned line = pass(p);
    const JinjaToken *t = p->tok++;
    if (t->kind == JINJA_T_NUMBER && t->value.kind == JINJA_INT) {
        JinjaExpr *index = constant(p, line, t->value);
        return index ? jinja_new_expr(p, JINJA_X_ITEM, line, e, index) : NULL;
    }
    if (t->kind != JINJA_T_NAME) {
        jinja_source_fail(p->err, ERR_FORMAT, line, "expected a name or number behind \".\"");
        return NULL;
    }
    e = jinja_new_expr(p, JINJA_X_ATTR, line, e, NULL);
    if (e) e->name = t->text;
    return e;
}

static JinjaExpr *call(JinjaParser *p, JinjaExpr *e) {
    e = jinja_new_expr(p, JINJA_X_CALL, p->tok->line, e, NULL);
    return e && arguments(p, e) ? e : NULL;
}

static JinjaExpr *postfix(JinjaParser *p, JinjaExpr *e) {
    while (e) {
        if (jinja_is_op(p, ".")) e = attribute(p, e);
        else if (jinja_is_op(p, "[")) e = subscript(p, e);
        else if (jinja_is_op(p, "(")) e = call(p, e);
        else break;
    }
    return e;
}

/* The function of a filter or test must be known when the template is read: a typo should not wait for the branch
 * that uses it. */
static bool find_function(JinjaParser *p, JinjaExpr *e, const char *what, const JinjaFunc *(*find)(Str)) {
    Str n = p->tok->text;
    unsigned line = p->tok->line;
    if (!jinja_expect(p, JINJA_T_NAME)) return false;
    e->name = n;
    e->func = find(n);
    if (!e->func)
        return jinja_source_fail(p->err, ERR_UNSUPPORTED, line, "no %s named '%.*s'", what, (int)n.len, n.ptr);
    if (!e->func->fn)
        return jinja_source_fail(p->err, ERR_UNSUPPORTED, line, "the %s '%.*s' is not supported", what, (int)n.len,
                                 n.ptr);
    return true;
}

static JinjaExpr *filter(JinjaParser *p, JinjaExpr *e) {
    JinjaExpr *x = jinja_new_expr(p, JINJA_X_FILTER, p->tok->line, e, NULL);
    if (!x || !find_function(p, x, "filter", jinja_find_filter)) return NULL;
    if (jinja_is_op(p, "(")) return arguments(p, x) ? x : NULL;
    x->args = no_args(p);
    return x->args ? x : NULL;
}

static JinjaExpr *test(JinjaParser *p, JinjaExpr *e) {
    JinjaExpr *x = jinja_new_expr(p, JINJA_X_TEST, p->tok->line, e, NULL);
    p->tok++;
    bool negated = jinja_skip_name(p, "not");
    if (!x || !find_function(p, x, "test", jinja_find_test)) return NULL;
    JinjaTokenKind k = p->tok->kind;
    bool argument =
        k == JINJA_T_STRING || k == JINJA_T_NUMBER || jinja_is_op(p, "[") || jinja_is_op(p, "{") ||
        (k == JINJA_T_NAME && !jinja_is_name(p, "else") && !jinja_is_name(p, "or") && !jinja_is_name(p, "and"));
    if (jinja_is_op(p, "(")) {
        if (!arguments(p, x)) return NULL;
    } else if (!(x->args = no_args(p))) {
        return NULL;
    } else if (argument) { /* x is divisibleby 3 */
        if (jinja_is_name(p, "is")) {
            jinja_source_fail(p->err, ERR_FORMAT, p->tok->line, "tests cannot be chained with \"is\"");
            return NULL;
        }
        JinjaExpr *arg = jinja_parse_primary(p, false);
        arg = arg ? postfix(p, arg) : NULL;
        if (!arg || !deeper_than(p, x, arg)) return NULL;
        if (!jinja_push(&p->tmpl->arena, &x->args->pos, x->args->n_pos++, arg))
            return jinja_no_memory(p->err), (JinjaExpr *)NULL;
    }
    return negated ? jinja_new_expr(p, JINJA_X_NOT, x->line, x, NULL) : x;
}

JinjaExpr *jinja_parse_filters(JinjaParser *p, JinjaExpr *e, bool named) {
    if (named) {
        e = filter(p, e);
        if (!e) return NULL;
    }
    for (;;) {
        if (jinja_skip_op(p, "|")) e = filter(p, e);
        else if (e && jinja_is_name(p, "is")) e = test(p, e);
        else if (e && jinja_is_op(p, "(")) e = call(p, e);
        else return e;
        if (!e) return NULL;
    }
}

/* ---- operators ---- */

static JinjaExpr *unary(JinjaParser *p, bool with_filters) {
    unsigned line = p->tok->line;
    JinjaExpr *e;
    if (!jinja_deeper(p)) return NULL;
    bool minus = jinja_skip_op(p, "-"), plus = !minus && jinja_skip_op(p, "+");
    if (minus || plus) {
        e = unary(p, false);
        e = e ? jinja_new_expr(p, minus ? JINJA_X_NEG : JINJA_X_POS, line, e, NULL) : NULL;
    } else {
        e = jinja_parse_primary(p, false);
    }
    e = e ? postfix(p, e) : NULL;
    if (e && with_filters) e = jinja_parse_filters(p, e, false);
    p->nesting--;
    return e;
}

static JinjaExpr *binary(JinjaParser *p, JinjaOp op, unsigned line, JinjaExpr *a, JinjaExpr *b) {
    JinjaExpr *e = a && b ? jinja_new_expr(p, JINJA_X_BINARY, line, a, b) : NULL;
    if (e) e->op = op;
    return e;
}

static JinjaExpr *power(JinjaParser *p) {
    JinjaExpr *e = unary(p, true);
    while (e && jinja_is_op(p, "**")) {
        unsigned line = pass(p);
        e = binary(p, JINJA_POW, line, e, unary(p, true));
    }
    return e;
}

static JinjaExpr *product(JinjaParser *p) {
    static const struct { const char *text; JinjaOp op; } ops[] = {
        {"*", JINJA_MUL}, {"/", JINJA_DIV}, {"//", JINJA_FLOORDIV}, {"%", JINJA_MOD}};
    JinjaExpr *e = power(p);
    for (size_t i = 0; e && i < COUNT_OF(ops); i++) {
        if (!jinja_is_op(p, ops[i].text)) continue;
        unsigned line = pass(p);
        e = binary(p, ops[i].op, line, e, power(p));
        i = SIZE_MAX; /* look for any of them again */
    }
    return e;
}

static JinjaExpr *concat(JinjaParser *p) {
    JinjaExpr *e = product(p);
    if (!e || !jinja_is_op(p, "~")) return e;
    JinjaExpr *all = jinja_new_expr(p, JINJA_X_CONCAT, e->line, NULL, NULL);
    if (!add_item(p, all, e)) return NULL;
    while (jinja_skip_op(p, "~"))
        if (!add_item(p, all, product(p))) return NULL;
    return all;
}

static JinjaExpr *sum(JinjaParser *p) {
    JinjaExpr *e = concat(p);
    while (e && (jinja_is_op(p, "+") || jinja_is_op(p, "-"))) {
        bool plus = jinja_is_op(p, "+");
        unsigned line = pass(p);
        if (!plus) {
            e = binary(p, JINJA_SUB, line, e, concat(p));
            continue;
        }
        JinjaExpr *all = jinja_new_expr(p, JINJA_X_SUM, line, NULL, NULL);
        if (!add_item(p, all, e)) return NULL;
        do {
            if (!add_item(p, all, concat(p))) return NULL;
        } while (jinja_skip_op(p, "+"));
        e = all;
    }
    return e;
}

static bool comparison(JinjaParser *p, JinjaOp *op) {
    static const struct { const char *text; JinjaOp op;
    } ops[] = {{"==", JINJA_EQ}, {"!=", JINJA_NE}, {"<", JINJA_LT},
               {"<=", JINJA_LE}, {">", JINJA_GT},  {">=", JINJA_GE}};
    for (size_t i = 0; i < COUNT_OF(ops); i++) {
        *op = ops[i].op;
        if (jinja_skip_op(p, ops[i].text)) return true;
    }
    *op = JINJA_IN;
    if (jinja_skip_name(p, "in")) return true;
    *op = JINJA_NOT_IN;
    if (!jinja_is_name(p, "not") || p->tok[1].kind != JINJA_T_NAME || !str_eq_c(p->tok[1].text, "in")) return false;
    p->tok += 2;
    return true;
}

static JinjaExpr *compare(JinjaParser *p) {
    unsigned line = p->tok->line;
    JinjaExpr *e = sum(p), *chain = NULL;
    JinjaOp op;
    while (e && comparison(p, &op)) {
        if (!chain && !(chain = jinja_new_expr(p, JINJA_X_COMPARE, line, e, NULL))) return NULL;
        JinjaOp *ops = keep(p, (chain->n_items + 1) * sizeof *ops);
        if (!ops) return NULL;
        if (chain->n_items) memcpy(ops, chain->ops, chain->n_items * sizeof *ops);
        ops[chain->n_items] = op;
        chain->ops = ops;
        if (chain->n_items >= JINJA_MAX_NESTING || !add_item(p, chain, sum(p))) {
            jinja_source_fail(p->err, ERR_UNSUPPORTED, line, "a chain of more than %d comparisons", JINJA_MAX_NESTING);
            return NULL;
        }
    }
    return chain ? chain : e;
}

static JinjaExpr *negation(JinjaParser *p) {
    unsigned line = p->tok->line;
    if (!jinja_skip_name(p, "not")) return compare(p);
    if (!jinja_deeper(p)) return NULL;
    JinjaExpr *e = negation(p);
    p->nesting--;
    return e ? jinja_new_expr(p, JINJA_X_NOT, line, e, NULL) : NULL;
}

static JinjaExpr *conjunction(JinjaParser *p) {
    JinjaExpr *e = negation(p);
    while (e && jinja_is_name(p, "and")) {
        unsigned line = pass(p);
        JinjaExpr *right = negation(p);
        e = right ? jinja_new_expr(p, JINJA_X_AND, line, e, right) : NULL;
    }
    return e;
}

static JinjaExpr *parse_or(JinjaParser *p) {
    JinjaExpr *e = conjunction(p);
    while (e && jinja_is_name(p, "or")) {
        unsigned line = pass(p);
        JinjaExpr *right = conjunction(p);
        e = right ? jinja_new_expr(p, JINJA_X_OR, line, e, right) : NULL;
    }
    return e;
}

JinjaExpr *jinja_parse_expr(JinjaParser *p) {
    if (!jinja_deeper(p)) return NULL;
    JinjaExpr *e = parse_or(p);
    while (e && jinja_is_name(p, "if")) {
        unsigned line = pass(p);
        JinjaExpr *condition = parse_or(p), *otherwise = NULL;
        if (!condition || (jinja_skip_name(p, "else") && !(otherwise = jinja_parse_expr(p)))) return NULL;
        e = jinja_new_expr(p, JINJA_X_IF, line, e, condition);
        if (e) e->c = otherwise;
        e = deeper_than(p, e, otherwise);
    }
    p->nesting--;
    return e;
}
