/* Runs statements; and the door: a Template is made, rendered, freed. */
#include "text/jinja.h"

#include <string.h>

/* ---- scopes ---- */

/* Also for the next turn of a loop. */
static bool restart_scope(JinjaRun *r, const JinjaScope *s, JinjaFrame *f) {
    for (uint32_t i = 0; i < s->n; i++) {
        const JinjaVar *v = &s->vars[i];
        JinjaValue *slot = &f->slots[v->slot];
        if (v->init == JINJA_INIT_UNSET) {
            *slot = (JinjaValue){.kind = JINJA_MISSING};
        } else if (v->init == JINJA_INIT_INHERIT && v->outer.up >= 0) {
            *slot = *jinja_slot(f->parent, v->outer);
        } else if (v->init == JINJA_INIT_INHERIT && !jinja_global(r, v->name, slot)) {
            return false;
        }
    }
    return true;
}

JinjaFrame *jinja_enter_scope(JinjaRun *r, const JinjaScope *s, JinjaFrame *parent) {
    JinjaFrame *f = jinja_alloc(r, 1, sizeof *f);
    if (!f) return NULL;
    f->parent = parent;
    f->slots = jinja_alloc(r, s->n_slots, sizeof *f->slots);
    return f->slots && restart_scope(r, s, f) ? f : NULL;
}

/* ---- assignment ---- */

static bool assign(JinjaRun *r, const JinjaExpr *target, const JinjaValue *v, JinjaFrame *f);

static bool unpack(JinjaRun *r, const JinjaExpr *target, const JinjaValue *v, JinjaFrame *f) {
    JinjaIter it;
    JinjaValue item;
    if (!jinja_iterate(r, v, &it)) return false;
    if (it.left != target->n_items)
        return jinja_type_error(r, it.left < target->n_items ? "not enough values to unpack (expected %u, got %lld)"
                                                             : "too many values to unpack (expected %u, got %lld)",
                                target->n_items, (long long)it.left);
    for (uint32_t i = 0; i < target->n_items; i++)
        if (!jinja_next(&it, &item) || !assign(r, target->items[i], &item, f)) return false;
    return true;
}

static bool assign(JinjaRun *r, const JinjaExpr *target, const JinjaValue *v, JinjaFrame *f) {
    r->line = target->line;
    if (target->kind == JINJA_X_NAME) {
        *jinja_slot(f, target->ref) = *v;
        return true;
    }
    if (target->kind != JINJA_X_ATTR) return unpack(r, target, v, f);
    JinjaValue ns, key = jinja_str(target->name);
    if (!jinja_eval(r, target->a, f, &ns)) return false;
    if (ns.kind != JINJA_NAMESPACE) return jinja_type_error(r, "cannot assign attribute on non-namespace object");
    return jinja_dict_set(r, ns.dict, &key, v);
}

/* ---- statements ---- */

typedef enum JinjaFlow { JINJA_FLOW_ERROR, JINJA_FLOW_NEXT, JINJA_FLOW_BREAK, JINJA_FLOW_CONTINUE } JinjaFlow;
static JinjaFlow run_block(JinjaRun *r, const JinjaBlock *b, JinjaFrame *f);

bool jinja_capture(JinjaRun *r, const JinjaBlock *b, JinjaFrame *f, JinjaValue *out) {
    Buf text = {0}, *outer = r->out;
    r->out = &text;
    bool ok = run_block(r, b, f) != JINJA_FLOW_ERROR;
    r->out = outer;
    if (ok) return jinja_take_buf(r, &text, out);
    buf_free(&text);
    return false;
}

static bool print(JinjaRun *r, const JinjaExpr *e, JinjaFrame *f) {
    JinjaValue v;
    Str text;
    return jinja_eval(r, e, f, &v) && jinja_to_str(r, &v, &text) && jinja_emit(r, text);
}

/* {% for x in items if test %}: the items that pass, so that loop.length and loop.last know only these. */
static bool passing(JinjaRun *r, const JinjaStmt *st, JinjaFrame *f, const JinjaValue *items, JinjaValue *out) {
    JinjaIter it;
    JinjaValue item, keep;
    if (!jinja_iterate(r, items, &it) || !jinja_new_list(r, JINJA_ITER, 0, out)) return false;
    JinjaFrame *test = jinja_enter_scope(r, st->test_scope, f);
    if (!test) return false;
    while (jinja_next(&it, &item)) {
        if (!assign(r, st->target, &item, test) || !jinja_eval(r, st->test, test, &keep)) return false;
        if (jinja_truth(&keep) && !jinja_append(r, out->list, &item)) return false;
        if (!restart_scope(r, st->test_scope, test)) return false;
    }
    return true;
}

static JinjaFlow run_loop(JinjaRun *r, const JinjaStmt *st, JinjaFrame *f, const JinjaValue *items, int64_t depth0) {
    JinjaValue filtered, item;
    JinjaFrame *body = jinja_enter_scope(r, st->scope, f);
    JinjaLoop *loop = body ? jinja_alloc(r, 1, sizeof *loop) : NULL;
    if (!loop) return JINJA_FLOW_ERROR;
    if (st->test && !passing(r, st, f, items, &filtered)) return JINJA_FLOW_ERROR;
    *loop = (JinjaLoop){.index0 = -1, .depth0 = depth0, .stmt = st, .frame = f};
    if (!jinja_iterate(r, st->test ? &filtered : items, &loop->iter)) return JINJA_FLOW_ERROR;
    loop->length = loop->iter.left;
    bool any = false;
    while (jinja_next(&loop->iter, &item)) {
        if (any && !restart_scope(r, st->scope, body)) return JINJA_FLOW_ERROR;
        any = true;
        loop->index0++;
        loop->previous = loop->current;
        loop->current = item;
        if (!jinja_charge(r, 1) || !assign(r, st->target, &item, body)) return JINJA_FLOW_ERROR;
        body->slots[st->loop_slot] = (JinjaValue){.kind = JINJA_LOOP, .loop = loop};
        JinjaFlow flow = run_block(r, &st->body, body);
        if (flow == JINJA_FLOW_ERROR) return flow;
        if (flow == JINJA_FLOW_BREAK) break;
    }
    if (any || st->orelse.n == 0) return JINJA_FLOW_NEXT;
    JinjaFrame *otherwise = jinja_enter_scope(r, st->else_scope, f);
    return otherwise ? run_block(r, &st->orelse, otherwise) : JINJA_FLOW_ERROR;
}

bool jinja_loop_again(JinjaRun *r, JinjaLoop *loop, const JinjaValue *items, JinjaValue *out) {
    if (!loop->stmt->recursive)
        return jinja_type_error(r, "The loop must have the 'recursive' marker to be called recursively.");
    Buf text = {0}, *outer = r->out;
    JinjaValue over = *items;
    if (!jinja_enter(r)) return false;
    r->out = &text;
    bool ok = run_loop(r, loop->stmt, loop->frame, &over, loop->depth0 + 1) != JINJA_FLOW_ERROR;
    r->out = outer;
    jinja_leave(r);
    if (ok) return jinja_take_buf(r, &text, out);
    buf_free(&text);
    return false;
}

static JinjaFlow run_for(JinjaRun *r, const JinjaStmt *st, JinjaFrame *f) {
    JinjaValue items;
    if (!jinja_eval(r, st->expr, f, &items)) return JINJA_FLOW_ERROR;
    r->line = st->line;
    return run_loop(r, st, f, &items, 0);
}

static JinjaFlow run_if(JinjaRun *r, const JinjaStmt *st, JinjaFrame *f) {
    for (; st; st = st->elif) {
        JinjaValue v;
        if (!jinja_eval(r, st->expr, f, &v)) return JINJA_FLOW_ERROR;
        if (jinja_truth(&v)) return run_block(r, &st->body, f);
        if (!st->elif) return run_block(r, &st->orelse, f);
    }
    return JINJA_FLOW_NEXT;
}

static bool capture_scoped(JinjaRun *r, const JinjaStmt *st, JinjaFrame *f, JinjaValue *out, JinjaFrame **inner) {
    *inner = jinja_enter_scope(r, st->scope, f);
    return *inner && jinja_capture(r, &st->body, *inner, out);
}

/* A chain of filters whose innermost input is the captured text. */
static bool filter_text(JinjaRun *r, const JinjaExpr *e, JinjaFrame *f, JinjaValue *text) {
    if (!e) return true;
    return filter_text(r, e->a, f, text) && jinja_apply(r, e, text, f, text);
}

static bool set_block(JinjaRun *r, const JinjaStmt *st, JinjaFrame *f) {
    JinjaValue text;
    JinjaFrame *inner;
    return capture_scoped(r, st, f, &text, &inner) && filter_text(r, st->expr, inner, &text) &&
           assign(r, st->target, &text, f);
}

static bool filter_block(JinjaRun *r, const JinjaStmt *st, JinjaFrame *f) {
    JinjaValue text;
    JinjaFrame *inner;
    Str s;
    return capture_scoped(r, st, f, &text, &inner) && filter_text(r, st->expr, f, &text) &&
           jinja_to_str(r, &text, &s) && jinja_emit(r, s);
}

static bool new_macro(JinjaRun *r, const JinjaMacroDef *def, JinjaFrame *f, JinjaValue *out) {
    JinjaMacro *m = jinja_alloc(r, 1, sizeof *m);
    if (!m) return false;
    *m = (JinjaMacro){def, f};
    *out = (JinjaValue){.kind = JINJA_MACRO, .macro = m};
    return true;
}

/* {% call(x) macro(a) %} body {% endcall %}: the body becomes a macro that the called one finds as `caller`. */
static bool call_block(JinjaRun *r, const JinjaStmt *st, JinjaFrame *f) {
    JinjaValue callee, caller, result;
    JinjaArgs given, args;
    Str text;
    if (!new_macro(r, st->macro, f, &caller)) return false;
    if (!jinja_eval(r, st->expr->a, f, &callee) || !jinja_eval_args(r, st->expr->args, f, &given)) return false;
    args = given;
    args.named = jinja_alloc(r, given.n_named + 1, sizeof *args.named);
    args.names = jinja_alloc(r, given.n_named + 1, sizeof *args.names);
    if (!args.named || !args.names) return false;
    for (uint32_t i = 0; i < given.n_named; i++) {
        args.named[i] = given.named[i];
        args.names[i] = given.names[i];
    }
    args.names[args.n_named] = str_c("caller");
    args.named[args.n_named++] = caller;
    r->line = st->line;
    return jinja_call(r, &callee, &args, &result) && jinja_to_str(r, &result, &text) && jinja_emit(r, text);
}

static JinjaFlow with(JinjaRun *r, const JinjaStmt *st, JinjaFrame *f) {
    JinjaFrame *inner = jinja_enter_scope(r, st->scope, f);
    if (!inner) return JINJA_FLOW_ERROR;
    for (uint32_t i = 0; i < st->n_with; i++) {
        JinjaValue v;
        if (!jinja_eval(r, st->values[i], f, &v) || !assign(r, st->targets[i], &v, inner))
            return JINJA_FLOW_ERROR;
    }
    return run_block(r, &st->body, inner);
}

static JinjaFlow flow(bool ok) { return ok ? JINJA_FLOW_NEXT : JINJA_FLOW_ERROR; }

static JinjaFlow statement(JinjaRun *r, const JinjaStmt *st, JinjaFrame *f) {
    JinjaValue v;
    r->line = st->line;
    switch (st->kind) {
    case JINJA_S_TEXT: return flow(jinja_emit(r, st->text));
    case JINJA_S_PRINT: return flow(print(r, st->expr, f));
    case JINJA_S_IF: return run_if(r, st, f);
    case JINJA_S_FOR: return run_for(r, st, f);
    case JINJA_S_SET: return flow(jinja_eval(r, st->expr, f, &v) && assign(r, st->target, &v, f));
    case JINJA_S_SET_BLOCK: return flow(set_block(r, st, f));
    case JINJA_S_MACRO: return flow(new_macro(r, st->macro, f, &v) && assign(r, st->target, &v, f));
    case JINJA_S_CALL_BLOCK: return flow(call_block(r, st, f));
    case JINJA_S_FILTER_BLOCK: return flow(filter_block(r, st, f));
    case JINJA_S_WITH: return with(r, st, f);
    case JINJA_S_SCOPE: {
        JinjaFrame *inner = jinja_enter_scope(r, st->scope, f);
        return inner ? run_block(r, &st->body, inner) : JINJA_FLOW_ERROR;
    }
    case JINJA_S_BREAK: return JINJA_FLOW_BREAK;
    case JINJA_S_CONTINUE: return JINJA_FLOW_CONTINUE;
    }
    return JINJA_FLOW_ERROR;
}

static JinjaFlow run_block(JinjaRun *r, const JinjaBlock *b, JinjaFrame *f) {
    if (!jinja_enter(r)) return JINJA_FLOW_ERROR;
    JinjaFlow result = JINJA_FLOW_NEXT;
    for (size_t i = 0; i < b->n && result == JINJA_FLOW_NEXT; i++) result = statement(r, b->stmts[i], f);
    jinja_leave(r);
    return result;
}

/* ---- the door ---- */

Template *text_template_new(const char *source, size_t len, Err *err) {
    JinjaToken *tokens;
    Err own = {0};
    Arena words = {0}; /* tokens are needed only until the tree stands */
    Template *t = NULL;
    if (len > JINJA_MAX_SOURCE)
        jinja_source_fail(&own, ERR_RANGE, 0, "a chat template of more than %d MiB", JINJA_MAX_SOURCE >> 20);
    else if (!utf8_valid(source, len)) jinja_source_fail(&own, ERR_FORMAT, 0, "the template is not valid UTF-8");
    else if (!(t = mem_new(1, sizeof *t))) jinja_no_memory(&own);
    if (t && !(jinja_lex(&t->arena, &words, source, len, &tokens, &own) && jinja_parse(t, tokens, &own) &&
               jinja_resolve(t, &own))) {
        text_template_free(t);
        t = NULL;
    }
    arena_free(&words);
    if (!t && err) *err = own;
    return t;
}

void text_template_free(Template *t) {
    if (!t) return;
    arena_free(&t->arena);
    mem_free(t);
}

static uint64_t json_bytes(const json_t *j, unsigned depth) {
    uint64_t n = 64;
    if (depth > JINJA_MAX_DEPTH) return n; /* refused a moment later, with a sentence */
    if (json_is_string(j)) return n + json_string_length(j);
    for (size_t i = 0; i < json_array_size(j); i++) n += json_bytes(json_array_get(j, i), depth + 1);
    for (void *it = json_object_iter((json_t *)j); it; it = json_object_iter_next((json_t *)j, it))
        n += 64 + json_object_iter_key_len(it) + json_bytes(json_object_iter_value(it), depth + 1);
    return n;
}

ErrCode text_template_render(const Template *t, const json_t *vars, Buf *out, Err *err) {
    Err own = {0};
    Buf text = {0};
    JinjaRun r = {.err = &own, .out = &text};
    JinjaValue given;
    if (!json_is_object(vars)) return err_set(err, ERR_USAGE, "the variables of a template must be a JSON object");
    r.max_memory = JINJA_BASE_MEMORY + JINJA_MEMORY_FACTOR * json_bytes(vars, 0);
    bool ok = jinja_from_json(&r, vars, &given);
    if (ok) {
        r.vars = given.dict;
        r.clock = jinja_dict_find(&r, r.vars, str_c("strftime_now"));
        JinjaFrame *root = jinja_enter_scope(&r, t->scope, NULL);
        ok = root && run_block(&r, &t->body, root) != JINJA_FLOW_ERROR;
    }
    if (ok) {
        buf_put(out, text.ptr, text.len);
        ok = !out->failed || jinja_fail(&r, ERR_MEMORY, "out of memory while rendering a chat template");
    }
    buf_free(&text);
    arena_free(&r.arena);
    if (ok) return ERR_OK;
    if (err) *err = own;
    return own.code;
}
