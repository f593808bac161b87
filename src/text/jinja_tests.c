/* Tests: x is name, x is name(argument). */
#include "text/jinja.h"

#include <string.h>

static bool answer(JinjaValue *out, bool b) {
    *out = jinja_bool(b);
    return true;
}

static bool is_defined(JinjaCall *c, JinjaValue *out) { return answer(out, c->self->kind != JINJA_UNDEFINED); }
static bool is_undefined(JinjaCall *c, JinjaValue *out) { return answer(out, c->self->kind == JINJA_UNDEFINED); }
static bool is_none(JinjaCall *c, JinjaValue *out) { return answer(out, c->self->kind == JINJA_NONE); }
static bool is_boolean(JinjaCall *c, JinjaValue *out) { return answer(out, c->self->kind == JINJA_BOOL); }
static bool is_true(JinjaCall *c, JinjaValue *out) { return answer(out, c->self->kind == JINJA_BOOL && c->self->b); }
static bool is_false(JinjaCall *c, JinjaValue *out) { return answer(out, c->self->kind == JINJA_BOOL && !c->self->b); }
static bool is_integer(JinjaCall *c, JinjaValue *out) {
    return answer(out, c->self->kind == JINJA_INT || c->self->kind == JINJA_BIG);
}
static bool is_float(JinjaCall *c, JinjaValue *out) { return answer(out, c->self->kind == JINJA_FLOAT); }
static bool is_number(JinjaCall *c, JinjaValue *out) {
    return answer(out, jinja_is_number(c->self) || c->self->kind == JINJA_BIG);
}
static bool is_string(JinjaCall *c, JinjaValue *out) { return answer(out, c->self->kind == JINJA_STR); }
static bool is_mapping(JinjaCall *c, JinjaValue *out) { return answer(out, c->self->kind == JINJA_DICT); }
static bool is_iterable(JinjaCall *c, JinjaValue *out) { return answer(out, jinja_iterable(c->self)); }
static bool is_escaped(JinjaCall *c, JinjaValue *out) {
    return answer(out, c->self->kind == JINJA_STR && c->self->flag);
}

/* Python asks for a length and subscripts: undefined values have both, views have no subscripts. */
static bool is_sequence(JinjaCall *c, JinjaValue *out) {
    JinjaKind k = (JinjaKind)c->self->kind;
    return answer(out, k == JINJA_STR || k == JINJA_LIST || k == JINJA_TUPLE || k == JINJA_DICT || k == JINJA_RANGE ||
                           k == JINJA_UNDEFINED);
}

static bool is_callable(JinjaCall *c, JinjaValue *out) {
    JinjaKind k = (JinjaKind)c->self->kind;
    return answer(out, k == JINJA_FUNC || k == JINJA_METHOD || k == JINJA_MACRO || k == JINJA_LOOP ||
                           k == JINJA_JOINER || k == JINJA_UNDEFINED);
}

static bool remainder_is(JinjaCall *c, int64_t divisor, int64_t wanted, JinjaValue *out) {
    JinjaValue n = jinja_int(divisor), rest;
    if (c->self->kind == JINJA_STR)
        return jinja_type_error(c->run, "not all arguments converted during string formatting");
    if (!jinja_binary(c->run, JINJA_MOD, c->self, &n, &rest)) return false;
    return answer(out, rest.kind == JINJA_INT ? rest.i == wanted : rest.f == (double)wanted);
}

static bool is_odd(JinjaCall *c, JinjaValue *out) { return remainder_is(c, 2, 1, out); }
static bool is_even(JinjaCall *c, JinjaValue *out) { return remainder_is(c, 2, 0, out); }
static bool is_divisibleby(JinjaCall *c, JinjaValue *out) {
    int64_t n;
    return jinja_want_int(c->run, &c->arg[0], "the divisor", &n) && remainder_is(c, n, 0, out);
}

/* str.islower(): at least one letter with case, and none of the other one. */
static bool all_in_case(JinjaCall *c, JinjaCase how, JinjaValue *out) {
    Str s;
    Buf same = {0}, other = {0};
    if (!jinja_to_str(c->run, c->self, &s)) return false;
    jinja_put_case(&same, s, how);
    jinja_put_case(&other, s, how == JINJA_LOWER ? JINJA_UPPER : JINJA_LOWER);
    bool failed = same.failed || other.failed;
    if (!failed) answer(out, str_eq(str_make(same.ptr, same.len), s) && !str_eq(str_make(other.ptr, other.len), s));
    buf_free(&same);
    buf_free(&other);
    return !failed || jinja_fail(c->run, ERR_MEMORY, "out of memory while rendering a chat template");
}

static bool is_lower(JinjaCall *c, JinjaValue *out) { return all_in_case(c, JINJA_LOWER, out); }
static bool is_upper(JinjaCall *c, JinjaValue *out) { return all_in_case(c, JINJA_UPPER, out); }

static bool compared(JinjaCall *c, JinjaOp op, JinjaValue *out) {
    bool holds;
    return jinja_compare(c->run, op, c->self, &c->arg[0], &holds) && answer(out, holds);
}

static bool is_eq(JinjaCall *c, JinjaValue *out) { return compared(c, JINJA_EQ, out); }
static bool is_ne(JinjaCall *c, JinjaValue *out) { return compared(c, JINJA_NE, out); }
static bool is_lt(JinjaCall *c, JinjaValue *out) { return compared(c, JINJA_LT, out); }
static bool is_le(JinjaCall *c, JinjaValue *out) { return compared(c, JINJA_LE, out); }
static bool is_gt(JinjaCall *c, JinjaValue *out) { return compared(c, JINJA_GT, out); }
static bool is_ge(JinjaCall *c, JinjaValue *out) { return compared(c, JINJA_GE, out); }
static bool is_in(JinjaCall *c, JinjaValue *out) { return compared(c, JINJA_IN, out); }

/* The same object. For the small values a template can ask this of, that is the same value of the same type. */
static bool is_sameas(JinjaCall *c, JinjaValue *out) {
    const JinjaValue *a = c->self, *b = &c->arg[0];
    if (a->kind != b->kind) return answer(out, false);
    if (a->kind <= JINJA_INT) return compared(c, JINJA_EQ, out);
    if (a->kind == JINJA_STR) return answer(out, a->s.ptr == b->s.ptr && a->s.len == b->s.len);
    return answer(out, a->kind > JINJA_STR && a->list == b->list);
}

static bool is_filter(JinjaCall *c, JinjaValue *out) {
    const JinjaFunc *f = c->self->kind == JINJA_STR ? jinja_find_filter(c->self->s) : NULL;
    return answer(out, f && f->fn);
}

static bool is_test(JinjaCall *c, JinjaValue *out) {
    const JinjaFunc *f = c->self->kind == JINJA_STR ? jinja_find_test(c->self->s) : NULL;
    return answer(out, f && f->fn);
}

const JinjaFunc *jinja_find_test(Str name) { return jinja_find_func(jinja_tests, name); }

const JinjaFunc jinja_tests[] = {
    {"defined", "", is_defined}, {"undefined", "", is_undefined}, {"none", "", is_none}, {"boolean", "", is_boolean},
    {"true", "", is_true}, {"false", "", is_false}, {"integer", "", is_integer}, {"float", "", is_float},
    {"number", "", is_number}, {"string", "", is_string}, {"mapping", "", is_mapping}, {"iterable", "", is_iterable},
    {"sequence", "", is_sequence}, {"callable", "", is_callable}, {"escaped", "", is_escaped}, {"odd", "", is_odd},
    {"even", "", is_even}, {"divisibleby", "num", is_divisibleby}, {"lower", "", is_lower}, {"upper", "", is_upper},
    {"sameas", "other", is_sameas}, {"filter", "", is_filter}, {"test", "", is_test}, {"in", "seq", is_in},
    {"eq", "other", is_eq}, {"equalto", "other", is_eq}, {"==", "other", is_eq}, {"ne", "other", is_ne},
    {"!=", "other", is_ne}, {"lt", "other", is_lt}, {"lessthan", "other", is_lt}, {"<", "other", is_lt},
    {"le", "other", is_le}, {"<=", "other", is_le}, {"gt", "other", is_gt}, {"greaterthan", "other", is_gt},
    {">", "other", is_gt}, {"ge", "other", is_ge}, {">=", "other", is_ge},
    {NULL, NULL, NULL},
};
