/* Calls: arguments bound to parameters, macros, and the global functions of the language. */
#define _POSIX_C_SOURCE 200809L /* localtime_r */
#include "text/jinja.h"

#include <string.h>

const JinjaFunc *jinja_find_func(const JinjaFunc *table, Str name) {
    for (; table->name; table++)
        if (str_eq_c(name, table->name)) return table;
    return NULL;
}

bool jinja_want_int(JinjaRun *r, const JinjaValue *v, const char *what, int64_t *out) {
    *out = 0;
    if (v->kind == JINJA_UNDEFINED) return jinja_fail_undefined(r, v);
    if (v->kind != JINJA_INT && v->kind != JINJA_BOOL)
        return jinja_type_error(r, "%s must be an integer, not '%s'", what, jinja_type(v));
    *out = v->kind == JINJA_INT ? v->i : v->b;
    return true;
}

bool jinja_want_str(JinjaRun *r, const JinjaValue *v, const char *what, Str *out) {
    *out = str_make("", 0);
    if (v->kind == JINJA_UNDEFINED) return jinja_fail_undefined(r, v);
    if (v->kind != JINJA_STR) return jinja_type_error(r, "%s must be a string, not '%s'", what, jinja_type(v));
    *out = v->s;
    return true;
}

/* ---- functions written in C ---- */

static bool bind(JinjaCall *c, const JinjaFunc *fn) {
    const JinjaArgs *a = c->raw;
    JinjaRun *r = c->run;
    uint32_t n = 0, named_used = 0;
    for (const char *p = fn->params; *p; n++) {
        size_t len = strcspn(p, " ?");
        bool optional = p[len] == '?';
        Str name = str_make(p, len);
        c->arg[n] = (JinjaValue){.kind = JINJA_MISSING};
        if (n < a->n_pos) c->arg[n] = a->pos[n];
        for (uint32_t i = 0; i < a->n_named; i++) {
            if (!str_eq(a->names[i], name)) continue;
            if (n < a->n_pos)
                return jinja_type_error(r, "%s() got multiple values for argument '%.*s'", fn->name, (int)len, p);
            c->arg[n] = a->named[i];
            named_used++;
        }
        if (c->arg[n].kind == JINJA_MISSING && !optional)
            return jinja_type_error(r, "%s() misses its argument '%.*s'", fn->name, (int)len, p);
        p += len + optional;
        p += *p == ' ';
    }
    if (a->n_pos > n)
        return jinja_type_error(r, "%s() takes at most %u argument(s), %u were given", fn->name, n, a->n_pos);
    if (named_used < a->n_named) return jinja_type_error(r, "%s() got an unexpected keyword argument", fn->name);
    return true;
}

bool jinja_invoke(JinjaRun *r, const JinjaFunc *fn, const JinjaValue *self, const JinjaArgs *args, JinjaValue *out) {
    JinjaCall c = {.run = r, .self = self, .raw = args};
    if (!fn->fn) return jinja_fail(r, ERR_UNSUPPORTED, "'%s' is not supported", fn->name);
    if (fn->params[0] != '*' && !bind(&c, fn)) return false;
    return fn->fn(&c, out);
}

/* ---- macros ---- */

static const JinjaValue *named(const JinjaArgs *a, Str name) {
    for (uint32_t i = 0; i < a->n_named; i++)
        if (str_eq(a->names[i], name)) return &a->named[i];
    return NULL;
}

static bool is_param(const JinjaMacroDef *m, Str name) {
    for (uint32_t i = 0; i < m->n_params; i++)
        if (str_eq(m->params[i], name)) return true;
    return false;
}

/* What is left over goes to varargs and kwargs where the body uses them, and is an error elsewhere. */
static bool bind_rest(JinjaRun *r, const JinjaMacroDef *m, const JinjaArgs *a, JinjaFrame *f) {
    JinjaValue rest;
    if (m->varargs) {
        if (!jinja_new_list(r, JINJA_TUPLE, 0, &rest)) return false;
        for (uint32_t i = m->n_params; i < a->n_pos; i++)
            if (!jinja_append(r, rest.list, &a->pos[i])) return false;
        f->slots[m->varargs - 1] = rest;
    } else if (a->n_pos > m->n_params) {
        return jinja_type_error(r, "macro '%.*s' takes not more than %u argument(s)", jinja_clip(m->name, 60),
                                m->name.ptr, m->n_params);
    }
    if (m->kwargs && !jinja_new_dict(r, JINJA_DICT, &rest)) return false;
    for (uint32_t i = 0; i < a->n_named; i++) {
        JinjaValue key = jinja_str(a->names[i]);
        bool is_caller = str_eq_c(a->names[i], "caller");
        if (is_param(m, a->names[i])) {
            for (uint32_t k = 0; k < m->n_params && k < a->n_pos; k++)
                if (str_eq(m->params[k], a->names[i]) && !m->kwargs)
                    return jinja_type_error(r, "macro '%.*s' got two values for '%.*s'", jinja_clip(m->name, 60),
                                            m->name.ptr, jinja_clip(a->names[i], 60), a->names[i].ptr);
            continue;
        }
        if (is_caller && m->caller) continue;
        if (!m->kwargs)
            return jinja_type_error(r, "macro '%.*s' takes no keyword argument '%.*s'", jinja_clip(m->name, 60),
                                    m->name.ptr, jinja_clip(a->names[i], 60), a->names[i].ptr);
        if (!jinja_dict_set(r, rest.dict, &key, &a->named[i])) return false;
    }
    if (m->kwargs) f->slots[m->kwargs - 1] = rest;
    return true;
}

static bool call_macro(JinjaRun *r, const JinjaMacro *macro, const JinjaArgs *a, JinjaValue *out) {
    const JinjaMacroDef *m = macro->def;
    JinjaFrame *f = jinja_enter_scope(r, m->scope, macro->frame);
    if (!f || !bind_rest(r, m, a, f)) return false;
    if (m->caller) {
        const JinjaValue *caller = named(a, str_c("caller"));
        f->slots[m->caller - 1] =
            caller ? *caller
                   : (JinjaValue){.kind = JINJA_UNDEFINED, .flag = JINJA_WHY_SENTENCE, .s = str_c("No caller defined")};
    }
    for (uint32_t i = 0; i < m->n_params; i++) {
        const JinjaValue *given = i < a->n_pos ? &a->pos[i] : named(a, m->params[i]);
        f->slots[i] = given ? *given : (JinjaValue){.kind = JINJA_MISSING};
    }
    for (uint32_t i = 0; i < m->n_params; i++) { /* a default may use the parameters before it */
        if (f->slots[i].kind != JINJA_MISSING) continue;
        if (m->defaults[i]) {
            if (!jinja_eval(r, m->defaults[i], f, &f->slots[i])) return false;
        } else if (!jinja_undefined_because(r, &f->slots[i], "parameter '%.*s' was not provided",
                                            jinja_clip(m->params[i], 100), m->params[i].ptr)) {
            return false;
        }
    }
    return jinja_capture(r, &m->body, f, out);
}

bool jinja_call(JinjaRun *r, const JinjaValue *callee, const JinjaArgs *args, JinjaValue *out) {
    JinjaMethod method;
    switch (callee->kind) {
    case JINJA_UNDEFINED: return jinja_fail_undefined(r, callee);
    case JINJA_FUNC: return jinja_invoke(r, callee->func, NULL, args, out);
    case JINJA_METHOD:
        method = *callee->method;
        return jinja_invoke(r, method.func, &method.self, args, out);
    case JINJA_MACRO: return call_macro(r, callee->macro, args, out);
    case JINJA_LOOP:
        if (args->n_pos != 1 || args->n_named) return jinja_type_error(r, "loop() takes exactly one argument");
        return jinja_loop_again(r, callee->loop, &args->pos[0], out);
    case JINJA_JOINER:
        *out = callee->joiner->used ? callee->joiner->separator : jinja_text("");
        callee->joiner->used = true;
        return true;
    default: return jinja_type_error(r, "'%s' object is not callable", jinja_type(callee));
    }
}

/* ---- global functions ---- */

static bool fn_range(JinjaCall *c, JinjaValue *out) {
    JinjaRun *r = c->run;
    int64_t a = 0, b, step = 1, span;
    if (!jinja_want_int(r, &c->arg[0], "an argument of range()", &b)) return false;
    if (c->arg[1].kind != JINJA_MISSING) {
        a = b;
        if (!jinja_want_int(r, &c->arg[1], "an argument of range()", &b)) return false;
    }
    if (c->arg[2].kind != JINJA_MISSING && !jinja_want_int(r, &c->arg[2], "an argument of range()", &step))
        return false;
    if (step == 0) return jinja_type_error(r, "range() arg 3 must not be zero");
    if (step == INT64_MIN || __builtin_sub_overflow(b, a, &span))
        return jinja_fail(r, ERR_RANGE, "a range() beyond 64 bits");
    int64_t n = step > 0 ? (span > 0 ? (span - 1) / step + 1 : 0) : (span < 0 ? (-(span + 1)) / -step + 1 : 0);
    if (n > JINJA_MAX_RANGE)
        return jinja_fail(r, ERR_RANGE, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).",
                          JINJA_MAX_RANGE);
    JinjaRange *range = jinja_alloc(r, 1, sizeof *range);
    if (!range) return false;
    *range = (JinjaRange){a, step, n};
    *out = (JinjaValue){.kind = JINJA_RANGE, .range = range};
    return true;
}

/* dict(mapping or pairs, key=value, ...), and namespace() the same way */
static bool make_dict(JinjaCall *c, JinjaKind kind, JinjaValue *out) {
    JinjaRun *r = c->run;
    const JinjaArgs *a = c->raw;
    if (a->n_pos > 1) return jinja_type_error(r, "dict expected at most 1 argument, got %u", a->n_pos);
    if (a->n_pos && a->pos[0].kind == JINJA_UNDEFINED) return jinja_fail_undefined(r, &a->pos[0]);
    if (!jinja_new_dict(r, kind, out)) return false;
    if (a->n_pos && (a->pos[0].kind == JINJA_DICT)) {
        const JinjaDict *d = a->pos[0].dict;
        for (uint32_t i = 0; i < d->n; i++)
            if (!jinja_dict_set(r, out->dict, &d->entries[i].key, &d->entries[i].value)) return false;
    } else if (a->n_pos) {
        JinjaIter it, pair;
        JinjaValue item, key, v;
        if (!jinja_iterate(r, &a->pos[0], &it)) return false;
        while (jinja_next(&it, &item)) {
            if (!jinja_iterate(r, &item, &pair)) return false;
            if (pair.left != 2)
                return jinja_type_error(r, "dictionary update sequence element has length %lld; 2 is required",
                                        (long long)pair.left);
            if (!jinja_next(&pair, &key) || !jinja_next(&pair, &v) || !jinja_dict_set(r, out->dict, &key, &v))
                return false;
        }
    }
    for (uint32_t i = 0; i < a->n_named; i++) {
        JinjaValue key = jinja_str(a->names[i]);
        if (!jinja_dict_set(r, out->dict, &key, &a->named[i])) return false;
    }
    return true;
}

static bool fn_dict(JinjaCall *c, JinjaValue *out) { return make_dict(c, JINJA_DICT, out); }
static bool fn_namespace(JinjaCall *c, JinjaValue *out) { return make_dict(c, JINJA_NAMESPACE, out); }

static bool fn_cycler(JinjaCall *c, JinjaValue *out) {
    JinjaRun *r = c->run;
    JinjaValue values;
    if (c->raw->n_pos == 0) return jinja_type_error(r, "at least one item has to be provided");
    JinjaCycler *cycler = jinja_alloc(r, 1, sizeof *cycler);
    if (!cycler || !jinja_new_list(r, JINJA_LIST, c->raw->n_pos, &values)) return false;
    for (uint32_t i = 0; i < c->raw->n_pos; i++)
        if (!jinja_append(r, values.list, &c->raw->pos[i])) return false;
    cycler->values = values.list;
    *out = (JinjaValue){.kind = JINJA_CYCLER, .cycler = cycler};
    return true;
}

static bool fn_joiner(JinjaCall *c, JinjaValue *out) {
    JinjaJoiner *joiner = jinja_alloc(c->run, 1, sizeof *joiner);
    if (!joiner) return false;
    joiner->separator = c->arg[0].kind == JINJA_MISSING ? jinja_text(", ") : c->arg[0];
    *out = (JinjaValue){.kind = JINJA_JOINER, .joiner = joiner};
    return true;
}

/* The template's own refusal: exactly its message, without a line. */
static bool fn_raise_exception(JinjaCall *c, JinjaValue *out) {
    Str message;
    (void)out;
    if (!jinja_to_str(c->run, &c->arg[0], &message)) return false;
    c->run->failed = true;
    return jinja_source_fail(c->run->err, ERR_RANGE, 0, "%.*s", jinja_clip(message, (int)sizeof c->run->err->text - 1),
                             message.ptr);
}

/* "2026-01-15T12:34:56" */
static bool parse_clock(Str s, struct tm *out) {
    static const char shape[] = "dddd-dd-ddTdd:dd:dd";
    int field[6] = {0}, n = 0;
    if (s.len != sizeof shape - 1) return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (shape[i] == 'd' ? c < '0' || c > '9' : c != shape[i]) return false;
        if (shape[i] == 'd') field[n] = field[n] * 10 + (c - '0');
        else n++;
    }
    *out = (struct tm){.tm_year = field[0] - 1900, .tm_mon = field[1] - 1, .tm_mday = field[2], .tm_hour = field[3],
                       .tm_min = field[4], .tm_sec = field[5], .tm_isdst = -1};
    mktime(out); /* fills in the day of the week and of the year */
    return true;
}

static bool fn_strftime_now(JinjaCall *c, JinjaValue *out) {
    JinjaRun *r = c->run;
    struct tm now = {0};
    Str format, fixed;
    if (!jinja_want_str(r, &c->arg[0], "the format of strftime_now", &format)) return false;
    if (r->clock) {
        if (!jinja_want_str(r, r->clock, "the variable strftime_now", &fixed)) return false;
        if (!parse_clock(fixed, &now))
            return jinja_type_error(r, "the variable strftime_now must read like 2026-01-15T12:34:56");
    } else {
        time_t seconds = time(NULL);
        localtime_r(&seconds, &now);
    }
    char pattern[256], text[1024];
    if (format.len >= sizeof pattern || memchr(format.ptr, 0, format.len))
        return jinja_type_error(r, "the format of strftime_now is too long");
    memcpy(pattern, format.ptr, format.len);
    pattern[format.len] = 0;
    size_t n = strftime(text, sizeof text, pattern, &now);
    return jinja_copy_str(r, text, n, out);
}

const JinjaFunc jinja_globals[] = {
    {"range", "start stop? step?", fn_range},
    {"dict", "*", fn_dict},
    {"namespace", "*", fn_namespace},
    {"cycler", "*", fn_cycler},
    {"joiner", "sep?", fn_joiner},
    {"raise_exception", "message", fn_raise_exception},
    {"strftime_now", "format", fn_strftime_now},
    {"lipsum", "", NULL},
    {NULL, NULL, NULL},
};
