/* Statements, and the small steps every part of the parser takes. */
#include "text/jinja.h"

#include <stdio.h>
#include <string.h>

/* ---- errors and steps ---- */

/* A message cut in the middle of a character would not be text any more. */
static void end_on_character(Err *err) {
    size_t len = strlen(err->text);
    if (len + 1 < sizeof err->text) return;
    for (int i = 0; i < 3 && !utf8_valid(err->text, len); i++) err->text[--len] = 0;
}

bool jinja_source_fail(Err *err, ErrCode code, unsigned line, const char *fmt, ...) {
    Err e = {0};
    va_list args;
    va_start(args, fmt);
    vsnprintf(e.text, sizeof e.text, fmt, args);
    va_end(args);
    end_on_character(&e);
    if (err && err->code != ERR_OK) return false; /* the first cause is the right one */
    for (char *c = e.text; line && *c; c++) /* what is quoted of the template may have several lines */
        if ((unsigned char)*c < ' ' || *c == 0x7F) *c = ' ';
    if (line) err_set(err, code, "line %u: %s", line, e.text);
    else err_set(err, code, "%s", e.text);
    if (err) end_on_character(err);
    return false;
}

bool jinja_no_memory(Err *err) {
    if (err && err->code != ERR_OK) return false;
    err_set(err, ERR_MEMORY, "out of memory while reading a chat template");
    return false;
}

bool jinja_push(Arena *arena, void *array_of_pointers, size_t n, void *item) {
    void **old;
    memcpy(&old, array_of_pointers, sizeof old);
    if ((n & (n - 1)) == 0) { /* full at every power of two */
        void **more = arena_alloc(arena, (n ? n * 2 : 1) * sizeof *more, 16);
        if (!more) return false;
        if (n) memcpy(more, old, n * sizeof *more);
        memcpy(array_of_pointers, &more, sizeof more);
        old = more;
    }
    old[n] = item;
    return true;
}

bool jinja_deeper(JinjaParser *p) {
    if (++p->nesting <= JINJA_MAX_NESTING) return true;
    return jinja_source_fail(p->err, ERR_UNSUPPORTED, p->tok->line, "nested deeper than %d levels", JINJA_MAX_NESTING);
}

bool jinja_is_op(const JinjaParser *p, const char *op) {
    return p->tok->kind == JINJA_T_OP && str_eq_c(p->tok->text, op);
}
bool jinja_is_name(const JinjaParser *p, const char *name) {
    return p->tok->kind == JINJA_T_NAME && str_eq_c(p->tok->text, name);
}

bool jinja_skip_op(JinjaParser *p, const char *op) {
    if (!jinja_is_op(p, op)) return false;
    p->tok++;
    return true;
}

bool jinja_skip_name(JinjaParser *p, const char *name) {
    if (!jinja_is_name(p, name)) return false;
    p->tok++;
    return true;
}

static const char *const kind_names[] = {[JINJA_T_EOF] = "the end of the template",
                                         [JINJA_T_DATA] = "text",
                                         [JINJA_T_VAR_BEGIN] = "\"{{\"",
                                         [JINJA_T_VAR_END] = "\"}}\"",
                                         [JINJA_T_BLOCK_BEGIN] = "\"{%\"",
                                         [JINJA_T_BLOCK_END] = "\"%}\"",
                                         [JINJA_T_NAME] = "a name",
                                         [JINJA_T_STRING] = "a string",
                                         [JINJA_T_NUMBER] = "a number",
                                         [JINJA_T_OP] = "an operator"};

const char *jinja_describe(const JinjaToken *t, char out[80]) {
    bool literal = t->kind == JINJA_T_NAME || t->kind == JINJA_T_OP || t->kind == JINJA_T_NUMBER;
    if (!literal || t->text.len > 60) return kind_names[t->kind];
    snprintf(out, 80, "\"%.*s\"", (int)t->text.len, t->text.ptr);
    return out;
}

static bool expected(JinjaParser *p, const char *what) {
    char got[80];
    return jinja_source_fail(p->err, ERR_FORMAT, p->tok->line, "expected %s, got %s", what,
                             jinja_describe(p->tok, got));
}

bool jinja_expect(JinjaParser *p, JinjaTokenKind kind) {
    if (p->tok->kind != kind) return expected(p, kind_names[kind]);
    p->tok++;
    return true;
}

bool jinja_expect_op(JinjaParser *p, const char *op) {
    char what[16];
    snprintf(what, sizeof what, "\"%s\"", op);
    return jinja_skip_op(p, op) || expected(p, what);
}

static bool expect_name(JinjaParser *p, const char *name) {
    char what[16];
    snprintf(what, sizeof what, "\"%s\"", name);
    return jinja_skip_name(p, name) || expected(p, what);
}

/* ---- statements ---- */

static bool block(JinjaParser *p, JinjaBlock *out, const char *const *ends, const char *inside);

static JinjaStmt *new_stmt(JinjaParser *p, JinjaStmtKind kind, unsigned line) {
    JinjaStmt *s = arena_alloc(&p->tmpl->arena, sizeof *s, 16);
    if (!s) return jinja_no_memory(p->err), (JinjaStmt *)NULL;
    s->kind = kind;
    s->line = line;
    return s;
}

/* The body up to one of `ends`; the tag that ended it is the current token afterwards. */
static bool body(JinjaParser *p, JinjaBlock *out, const char *const *ends, const char *inside) {
    jinja_skip_op(p, ":"); /* {% if x: %} is allowed */
    if (!jinja_expect(p, JINJA_T_BLOCK_END) || !jinja_deeper(p)) return false;
    bool ok = block(p, out, ends, inside);
    p->nesting--;
    return ok;
}

static bool whole_body(JinjaParser *p, JinjaBlock *out, const char *end, const char *inside) {
    const char *ends[] = {end, NULL};
    if (!body(p, out, ends, inside)) return false;
    p->tok++;
    return true;
}

static bool assignable(JinjaParser *p, const JinjaExpr *t) {
    if (!t) return false;
    if (t->kind == JINJA_X_TUPLE || t->kind == JINJA_X_LIST) {
        for (uint32_t i = 0; i < t->n_items; i++)
            if (!assignable(p, t->items[i])) return false;
        return true;
    }
    if (t->kind == JINJA_X_NAME && p->loops && str_eq_c(t->name, "loop"))
        return jinja_source_fail(p->err, ERR_FORMAT, t->line, "cannot assign to \"loop\" inside a for loop");
    if (t->kind == JINJA_X_NAME || (t->kind == JINJA_X_ATTR && t->a->kind == JINJA_X_NAME)) return true;
    return jinja_source_fail(p->err, ERR_FORMAT, t->line, "only names can be assigned to");
}

/* a | a, b | ns.a */
static JinjaExpr *assign_target(JinjaParser *p, bool attributes, const char *end_name) {
    JinjaExpr *first = NULL, *tuple = NULL;
    for (;;) {
        if (end_name && first && jinja_is_name(p, end_name)) break;
        JinjaExpr *e = jinja_parse_primary(p, attributes);
        if (!assignable(p, e)) return NULL;
        if (!first) first = e;
        if (!tuple && !jinja_is_op(p, ",")) return e;
        if (!tuple && !(tuple = jinja_new_expr(p, JINJA_X_TUPLE, e->line, NULL, NULL))) return NULL;
        if (!jinja_push(&p->tmpl->arena, &tuple->items, tuple->n_items, e))
            return jinja_no_memory(p->err), (JinjaExpr *)NULL;
        tuple->n_items++;
        if (!jinja_skip_op(p, ",") || jinja_is_op(p, "=") || p->tok->kind == JINJA_T_BLOCK_END) break;
    }
    return tuple;
}

static JinjaStmt *parse_if(JinjaParser *p, unsigned line) {
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    JinjaStmt *first = NULL, **link = &first;
    for (;;) {
        JinjaStmt *s = *link = new_stmt(p, JINJA_S_IF, line);
        if (!s || !(s->expr = jinja_parse_tuple(p, false, false, NULL)) || !body(p, &s->body, ends, "if")) return NULL;
        line = p->tok->line;
        if (jinja_skip_name(p, "elif")) {
            link = &s->elif;
            continue;
        }
        if (jinja_skip_name(p, "else")) return whole_body(p, &s->orelse, "endif", "if") ? first : NULL;
        p->tok++;
        return first;
    }
}

static JinjaStmt *parse_for(JinjaParser *p, unsigned line) {
    static const char *const ends[] = {"endfor", "else", NULL};
    JinjaStmt *s = new_stmt(p, JINJA_S_FOR, line);
    if (!s) return NULL;
    p->loops++;
    s->target = assign_target(p, false, "in");
    if (!s->target || !expect_name(p, "in") || !(s->expr = jinja_parse_tuple(p, false, false, "recursive")))
        return NULL;
    if (jinja_skip_name(p, "if") && !(s->test = jinja_parse_expr(p))) return NULL;
    s->recursive = jinja_skip_name(p, "recursive");
    if (!body(p, &s->body, ends, "for")) return NULL;
    bool has_else = jinja_is_name(p, "else");
    p->tok++;
    p->loops--; /* a break in the else part would leave the loop around this one */
    return !has_else || whole_body(p, &s->orelse, "endfor", "for") ? s : NULL;
}

static JinjaStmt *parse_set(JinjaParser *p, unsigned line) {
    JinjaStmt *s = new_stmt(p, JINJA_S_SET, line);
    if (!s || !(s->target = assign_target(p, true, NULL))) return NULL;
    if (jinja_skip_op(p, "=")) return (s->expr = jinja_parse_tuple(p, true, false, NULL)) ? s : NULL;
    s->kind = JINJA_S_SET_BLOCK;
    if (jinja_is_op(p, "|") && !(s->expr = jinja_parse_filters(p, NULL, false))) return NULL;
    return whole_body(p, &s->body, "endset", "set") ? s : NULL;
}

static bool signature(JinjaParser *p, JinjaMacroDef *m) {
    if (!jinja_expect_op(p, "(")) return false;
    bool defaults = false;
    Arena *arena = &p->tmpl->arena;
    while (!jinja_is_op(p, ")")) {
        if (m->n_params && !jinja_expect_op(p, ",")) return false;
        if (m->n_params >= 100)
            return jinja_source_fail(p->err, ERR_UNSUPPORTED, p->tok->line, "a macro with more than 100 parameters");
        JinjaExpr *e = NULL;
        Str *names = arena_alloc(arena, (m->n_params + 1) * sizeof *names, 16);
        if (!names) return jinja_no_memory(p->err);
        if (m->n_params) memcpy(names, m->params, m->n_params * sizeof *names);
        names[m->n_params] = p->tok->text;
        m->params = names;
        if (!jinja_expect(p, JINJA_T_NAME)) return false;
        if (jinja_skip_op(p, "=")) {
            if (!(e = jinja_parse_expr(p))) return false;
            defaults = true;
        } else if (defaults) {
            return jinja_source_fail(p->err, ERR_FORMAT, p->tok->line,
                                     "a parameter without default behind one with a default");
        }
        if (!jinja_push(arena, &m->defaults, m->n_params, e)) return jinja_no_memory(p->err);
        m->n_params++;
    }
    return jinja_expect_op(p, ")");
}

static JinjaMacroDef *new_macro(JinjaParser *p) {
    JinjaMacroDef *m = arena_alloc(&p->tmpl->arena, sizeof *m, 16);
    if (!m) jinja_no_memory(p->err);
    return m;
}

static JinjaStmt *parse_macro(JinjaParser *p, unsigned line) {
    JinjaStmt *s = new_stmt(p, JINJA_S_MACRO, line);
    if (!s || !(s->macro = new_macro(p))) return NULL;
    s->macro->name = p->tok->text;
    s->target = jinja_new_expr(p, JINJA_X_NAME, line, NULL, NULL);
    if (!s->target) return NULL;
    s->target->name = p->tok->text;
    if (!jinja_expect(p, JINJA_T_NAME) || !signature(p, s->macro)) return NULL;
    return whole_body(p, &s->macro->body, "endmacro", "macro") ? s : NULL;
}

static JinjaStmt *parse_call(JinjaParser *p, unsigned line) {
    JinjaStmt *s = new_stmt(p, JINJA_S_CALL_BLOCK, line);
    if (!s || !(s->macro = new_macro(p))) return NULL;
    s->macro->name = str_c("caller");
    if (jinja_is_op(p, "(") && !signature(p, s->macro)) return NULL;
    if (!(s->expr = jinja_parse_expr(p))) return NULL;
    if (s->expr->kind != JINJA_X_CALL)
        return jinja_source_fail(p->err, ERR_FORMAT, line, "{%% call %%} needs a call"), (JinjaStmt *)NULL;
    return whole_body(p, &s->macro->body, "endcall", "call") ? s : NULL;
}

static JinjaStmt *parse_filter(JinjaParser *p, unsigned line) {
    JinjaStmt *s = new_stmt(p, JINJA_S_FILTER_BLOCK, line);
    if (!s || !(s->expr = jinja_parse_filters(p, NULL, true))) return NULL;
    return whole_body(p, &s->body, "endfilter", "filter") ? s : NULL;
}

static JinjaStmt *parse_with(JinjaParser *p, unsigned line) {
    JinjaStmt *s = new_stmt(p, JINJA_S_WITH, line);
    Arena *arena = &p->tmpl->arena;
    while (s && p->tok->kind != JINJA_T_BLOCK_END) {
        if (s->n_with && !jinja_expect_op(p, ",")) return NULL;
        JinjaExpr *target = assign_target(p, false, NULL);
        if (!target || !jinja_expect_op(p, "=")) return NULL;
        JinjaExpr *v = jinja_parse_expr(p);
        if (!v) return NULL;
        if (!jinja_push(arena, &s->targets, s->n_with, target) || !jinja_push(arena, &s->values, s->n_with, v))
            return jinja_no_memory(p->err), (JinjaStmt *)NULL;
        s->n_with++;
    }
    return s && whole_body(p, &s->body, "endwith", "with") ? s : NULL;
}

static JinjaStmt *parse_scope(JinjaParser *p,
                              unsigned line) { /* {% generation %}: marks what the model wrote, prints it as it is */
    JinjaStmt *s = new_stmt(p, JINJA_S_SCOPE, line);
    return s && whole_body(p, &s->body, "endgeneration", "generation") ? s : NULL;
}

static JinjaStmt *parse_jump(JinjaParser *p, JinjaStmtKind kind, unsigned line, const char *name) {
    if (p->loops) return new_stmt(p, kind, line);
    jinja_source_fail(p->err, ERR_FORMAT, line, "{%% %s %%} outside of a for loop", name);
    return NULL;
}

static bool add(JinjaParser *p, JinjaBlock *out, JinjaStmt *s) {
    if (!s) return false;
    if (!jinja_push(&p->tmpl->arena, &out->stmts, out->n, s)) return jinja_no_memory(p->err);
    out->n++;
    return true;
}

/* {% print a, b %} */
static bool parse_print(JinjaParser *p, JinjaBlock *out, unsigned line) {
    for (bool more = false; p->tok->kind != JINJA_T_BLOCK_END; more = true) {
        if (more && !jinja_expect_op(p, ",")) return false;
        JinjaStmt *s = new_stmt(p, JINJA_S_PRINT, line);
        if (!s || !(s->expr = jinja_parse_expr(p)) || !add(p, out, s)) return false;
    }
    return true;
}

static bool statement(JinjaParser *p, JinjaBlock *out, const char *inside) {
    static const char *const unsupported[] = {"block",      "extends", "include", "import", "from",
                                              "autoescape", "trans",   "do",      "debug"};
    const JinjaToken *t = p->tok;
    if (!jinja_expect(p, JINJA_T_NAME)) return false;
    unsigned outer_loops = p->loops;
    if (str_eq_c(t->text, "macro") || str_eq_c(t->text, "call"))
        p->loops = 0; /* a body of its own: no break out of it */
    JinjaStmt *s = NULL;
    if (str_eq_c(t->text, "if")) s = parse_if(p, t->line);
    else if (str_eq_c(t->text, "for")) s = parse_for(p, t->line);
    else if (str_eq_c(t->text, "set")) s = parse_set(p, t->line);
    else if (str_eq_c(t->text, "macro")) s = parse_macro(p, t->line);
    else if (str_eq_c(t->text, "call")) s = parse_call(p, t->line);
    else if (str_eq_c(t->text, "filter")) s = parse_filter(p, t->line);
    else if (str_eq_c(t->text, "with")) s = parse_with(p, t->line);
    else if (str_eq_c(t->text, "generation")) s = parse_scope(p, t->line);
    else if (str_eq_c(t->text, "break")) s = parse_jump(p, JINJA_S_BREAK, t->line, "break");
    else if (str_eq_c(t->text, "continue")) s = parse_jump(p, JINJA_S_CONTINUE, t->line, "continue");
    else if (str_eq_c(t->text, "print")) return parse_print(p, out, t->line);
    else {
        for (size_t i = 0; i < COUNT_OF(unsupported); i++)
            if (str_eq_c(t->text, unsupported[i]))
                return jinja_source_fail(p->err, ERR_UNSUPPORTED, t->line, "the tag {%% %s %%} is not supported",
                                         unsupported[i]);
        char words[80];
        const char *name = jinja_describe(t, words); /* a long one is told as what it is */
        return inside ? jinja_source_fail(p->err, ERR_FORMAT, t->line, "unknown tag %s inside {%% %s %%}", name, inside)
                      : jinja_source_fail(p->err, ERR_FORMAT, t->line, "unknown tag %s", name);
    }
    p->loops = outer_loops;
    return add(p, out, s);
}

static bool block(JinjaParser *p, JinjaBlock *out, const char *const *ends, const char *inside) {
    for (;;) {
        const JinjaToken *t = p->tok;
        JinjaStmt *s;
        if (t->kind == JINJA_T_EOF) {
            if (!ends) return true;
            return jinja_source_fail(p->err, ERR_FORMAT, t->line, "the template ends inside {%% %s %%}", inside);
        }
        if (t->kind == JINJA_T_DATA) {
            p->tok++;
            s = new_stmt(p, JINJA_S_TEXT, t->line);
            if (s) s->text = t->text;
            if (!add(p, out, s)) return false;
        } else if (t->kind == JINJA_T_VAR_BEGIN) {
            p->tok++;
            s = new_stmt(p, JINJA_S_PRINT, t->line);
            if (!s || !(s->expr = jinja_parse_tuple(p, true, false, NULL)) || !jinja_expect(p, JINJA_T_VAR_END))
                return false;
            if (!add(p, out, s)) return false;
        } else {
            p->tok++; /* {% */
            for (size_t i = 0; ends && ends[i]; i++)
                if (jinja_is_name(p, ends[i])) return true;
            if (!statement(p, out, inside) || !jinja_expect(p, JINJA_T_BLOCK_END)) return false;
        }
    }
}

bool jinja_parse(Template *t, const JinjaToken *tokens, Err *err) {
    JinjaParser p = {.tmpl = t, .err = err, .tok = tokens};
    return block(&p, &t->body, NULL, NULL);
}
