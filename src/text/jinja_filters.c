/* Filters on one value: text, numbers, JSON. */
#include "text/jinja.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool given(const JinjaValue *v) { return v->kind != JINJA_MISSING && v->kind != JINJA_NONE; }
static bool flag(const JinjaValue *v, bool otherwise) { return v->kind == JINJA_MISSING ? otherwise : jinja_truth(v); }

/* A filter on text takes anything and reads its str(); what went through `safe` stays so. */
static bool self_text(JinjaCall *c, Str *s, uint8_t *safe) {
    *safe = c->self->kind == JINJA_STR ? c->self->flag : 0;
    return jinja_to_str(c->run, c->self, s) && jinja_charge(c->run, s->len / 16);
}

static bool finish(JinjaCall *c, Buf *b, uint8_t safe, JinjaValue *out) {
    if (!jinja_take_buf(c->run, b, out)) return false;
    out->flag = safe;
    return true;
}

/* ---- text ---- */

static bool f_trim(JinjaCall *c, JinjaValue *out) {
    Str s, chars;
    uint8_t safe;
    if (!self_text(c, &s, &safe)) return false;
    if (given(&c->arg[0]) && !jinja_want_str(c->run, &c->arg[0], "the characters of trim", &chars)) return false;
    *out = jinja_str(jinja_strip(s, given(&c->arg[0]) ? &chars : NULL, true, true));
    out->flag = safe;
    return true;
}

static bool cased(JinjaCall *c, JinjaCase how, JinjaValue *out) {
    Str s;
    uint8_t safe;
    Buf b = {0};
    if (!self_text(c, &s, &safe)) return false;
    jinja_put_case(&b, s, how);
    return finish(c, &b, safe, out);
}

static bool f_lower(JinjaCall *c, JinjaValue *out) { return cased(c, JINJA_LOWER, out); }
static bool f_upper(JinjaCall *c, JinjaValue *out) { return cased(c, JINJA_UPPER, out); }

static void put_capital(Buf *b, Str s) {
    size_t size = 0;
    if (s.len == 0) return;
    jinja_code_point(s, 0, &size);
    jinja_put_case(b, str_make(s.ptr, size), JINJA_UPPER);
    jinja_put_case(b, str_make(s.ptr + size, s.len - size), JINJA_LOWER);
}

static bool f_capitalize(JinjaCall *c, JinjaValue *out) {
    Str s;
    uint8_t safe;
    Buf b = {0};
    if (!self_text(c, &s, &safe)) return false;
    put_capital(&b, s);
    return finish(c, &b, safe, out);
}

/* Words begin behind white space and any of - ( { [ < */
static bool f_title(JinjaCall *c, JinjaValue *out) {
    Str s;
    uint8_t safe;
    Buf b = {0};
    size_t size, word = 0;
    if (!self_text(c, &s, &safe)) return false;
    for (size_t i = 0; i < s.len; i += size) {
        uint32_t cp = jinja_code_point(s, i, &size);
        if (!jinja_is_space(cp) && !(cp && cp < 0x80 && strchr("-({[<", (int)cp))) continue;
        put_capital(&b, str_make(s.ptr + word, i - word));
        buf_put(&b, s.ptr + i, size);
        word = i + size;
    }
    put_capital(&b, str_make(s.ptr + word, s.len - word));
    return finish(c, &b, 0, out);
}

static bool f_replace(JinjaCall *c, JinjaValue *out) {
    JinjaRun *r = c->run;
    JinjaValue method[3];
    uint32_t n = c->arg[2].kind == JINJA_MISSING || c->arg[2].kind == JINJA_NONE ? 2 : 3;
    Str s, old, new;
    if (!jinja_to_str(r, c->self, &s) || !jinja_to_str(r, &c->arg[0], &old) || !jinja_to_str(r, &c->arg[1], &new))
        return false;
    JinjaValue self = jinja_str(s);
    method[0] = jinja_str(old);
    method[1] = jinja_str(new);
    method[2] = c->arg[2];
    JinjaArgs args = {.pos = method, .n_pos = n};
    return jinja_invoke(r, jinja_find_func(jinja_str_methods, str_c("replace")), &self, &args, out);
}

static bool f_string(JinjaCall *c, JinjaValue *out) {
    Str s;
    uint8_t safe;
    if (!self_text(c, &s, &safe)) return false;
    *out = jinja_str(s);
    out->flag = safe;
    return true;
}

static bool f_safe(JinjaCall *c, JinjaValue *out) {
    if (!f_string(c, out)) return false;
    out->flag = 1;
    return true;
}

static bool escape(JinjaCall *c, bool again, JinjaValue *out) {
    Str s;
    uint8_t safe;
    Buf b = {0};
    if (!self_text(c, &s, &safe)) return false;
    if (safe && !again) buf_put(&b, s.ptr, s.len);
    else jinja_put_escaped(&b, s);
    return finish(c, &b, 1, out);
}

static bool f_escape(JinjaCall *c, JinjaValue *out) { return escape(c, false, out); }
static bool f_forceescape(JinjaCall *c, JinjaValue *out) { return escape(c, true, out); }

/* Ends of lines as str.splitlines() knows them; returns the length of the break at i, 0 where there is none. */
static size_t line_break(Str s, size_t i) {
    size_t size;
    uint32_t cp = jinja_code_point(s, i, &size);
    if (cp == '\r') return i + 1 < s.len && s.ptr[i + 1] == '\n' ? 2 : 1;
    bool is_break =
        (cp >= 0x0A && cp <= 0x0C) || (cp >= 0x1C && cp <= 0x1E) || cp == 0x85 || cp == 0x2028 || cp == 0x2029;
    return is_break ? size : 0;
}

static bool f_indent(JinjaCall *c, JinjaValue *out) {
    JinjaRun *r = c->run;
    int64_t width = 4;
    Str s, by = {0};
    Buf b = {0}, spaces = {0};
    if (!jinja_want_str(r, c->self, "the value to indent", &s)) return false;
    if (c->arg[0].kind == JINJA_STR) by = c->arg[0].s;
    else if (c->arg[0].kind != JINJA_MISSING && !jinja_want_int(r, &c->arg[0], "the width of indent", &width))
        return false;
    if (width > 100000) return jinja_fail(r, ERR_RANGE, "an indentation of %lld blanks", (long long)width);
    bool first = flag(&c->arg[1], false), blank = flag(&c->arg[2], false);
    if (c->arg[0].kind != JINJA_STR) {
        for (int64_t i = 0; i < width; i++) buf_putc(&spaces, ' ');
        by = str_make(spaces.ptr, spaces.len);
    }
    for (size_t i = 0, line = 0;; i++) {
        size_t brk = i < s.len ? line_break(s, i) : 0;
        if (i < s.len && !brk) continue;
        bool is_first = line == 0 && b.len == 0;
        if (!is_first || first) { /* the first line only when asked for; empty lines too */
            bool empty = i == line && !blank && !is_first;
            if (!empty) buf_put(&b, by.ptr, by.len);
        }
        buf_put(&b, s.ptr + line, i - line);
        if (i >= s.len) break;
        buf_putc(&b, '\n');
        i += brk - 1;
        line = i + 1;
        if (b.len > r->max_memory) break;
    }
    buf_free(&spaces);
    return finish(c, &b, c->self->flag, out);
}

static bool f_center(JinjaCall *c, JinjaValue *out) {
    Str s;
    uint8_t safe;
    int64_t width = 80;
    Buf b = {0};
    if (!self_text(c, &s, &safe)) return false;
    if (c->arg[0].kind != JINJA_MISSING && !jinja_want_int(c->run, &c->arg[0], "the width of center", &width))
        return false;
    int64_t room = width - jinja_count(s);
    if (room < 0) room = 0;
    if (room > 1000000) return jinja_fail(c->run, ERR_RANGE, "a width of %lld", (long long)width);
    int64_t left = room / 2 + (room & width & 1); /* Python's choice for an odd number of blanks */
    for (int64_t i = 0; i < left; i++) buf_putc(&b, ' ');
    buf_put(&b, s.ptr, s.len);
    for (int64_t i = left; i < room; i++) buf_putc(&b, ' ');
    return finish(c, &b, safe, out);
}

static bool f_truncate(JinjaCall *c, JinjaValue *out) {
    JinjaRun *r = c->run;
    int64_t length = 255, leeway = 5;
    Str s, end = str_c("...");
    int64_t n;
    if (!jinja_length(r, c->self, &n)) return false;
    if (c->arg[0].kind != JINJA_MISSING && !jinja_want_int(r, &c->arg[0], "the length of truncate", &length))
        return false;
    if (c->arg[2].kind != JINJA_MISSING && !jinja_want_str(r, &c->arg[2], "the end of truncate", &end)) return false;
    if (given(&c->arg[3]) && !jinja_want_int(r, &c->arg[3], "the leeway of truncate", &leeway)) return false;
    int64_t end_length = jinja_count(end);
    if (length < end_length)
        return jinja_type_error(r, "expected length >= %lld, got %lld", (long long)end_length, (long long)length);
    if (leeway < 0) return jinja_type_error(r, "expected leeway >= 0, got %lld", (long long)leeway);
    if (n - leeway <= length) {
        *out = *c->self;
        return true;
    }
    if (!jinja_want_str(r, c->self, "the value to truncate", &s)) return false;
    Buf b = {0};
    size_t cut = jinja_offset(s, length - end_length), space = cut;
    while (space > 0 && s.ptr[space - 1] != ' ') space--;
    if (!flag(&c->arg[1], false) && space > 0) cut = space - 1;
    buf_put(&b, s.ptr, cut);
    buf_put(&b, end.ptr, end.len);
    return finish(c, &b, 0, out);
}

static bool f_wordcount(JinjaCall *c, JinjaValue *out) {
    Str s;
    uint8_t safe;
    int64_t n = 0;
    size_t size;
    bool inside = false;
    if (!self_text(c, &s, &safe)) return false;
    for (size_t i = 0; i < s.len; i += size) {
        bool word = jinja_is_word(jinja_code_point(s, i, &size));
        n += word && !inside;
        inside = word;
    }
    *out = jinja_int(n);
    return true;
}

static bool f_format(JinjaCall *c, JinjaValue *out) {
    Str s;
    uint8_t safe;
    if (c->raw->n_named) return jinja_fail(c->run, ERR_UNSUPPORTED, "format with named arguments is not supported");
    return self_text(c, &s, &safe) && jinja_format(c->run, s, c->raw->pos, c->raw->n_pos, true, out);
}

/* ---- numbers ---- */

static bool f_abs(JinjaCall *c, JinjaValue *out) {
    const JinjaValue *v = c->self;
    bool minus = v->kind == JINJA_FLOAT ? signbit(v->f)
                 : v->kind == JINJA_INT ? v->i < 0
                                        : v->kind == JINJA_BIG && v->s.ptr[0] == '-';
    if (!jinja_is_number(v) && v->kind != JINJA_BIG)
        return jinja_type_error(c->run, "bad operand type for abs(): '%s'", jinja_type(v));
    if (minus) return jinja_negate(c->run, v, out);
    *out = v->kind == JINJA_BOOL ? jinja_int(v->b) : *v;
    return true;
}

static bool f_round(JinjaCall *c, JinjaValue *out) {
    JinjaRun *r = c->run;
    const JinjaValue *v = c->self;
    int64_t precision = 0;
    Str method = str_c("common");
    char text[512];
    if (c->arg[0].kind != JINJA_MISSING && !jinja_want_int(r, &c->arg[0], "the precision of round", &precision))
        return false;
    if (c->arg[1].kind != JINJA_MISSING && !jinja_want_str(r, &c->arg[1], "the method of round", &method)) return false;
    if (v->kind == JINJA_UNDEFINED) return jinja_fail_undefined(r, v);
    if (!jinja_is_number(v)) return jinja_type_error(r, "type %s doesn't define __round__ method", jinja_type(v));
    if (precision < -20 || precision > 100)
        return jinja_fail(r, ERR_UNSUPPORTED, "round to %lld places is not supported", (long long)precision);
    double f = v->kind == JINJA_FLOAT ? v->f : v->kind == JINJA_INT ? (double)v->i : v->b;
    double scale = pow(10, (double)precision);
    if (str_eq_c(method, "ceil")) {
        *out = jinja_float(ceil(f * scale) / scale);
    } else if (str_eq_c(method, "floor")) {
        *out = jinja_float(floor(f * scale) / scale);
    } else if (!str_eq_c(method, "common")) {
        return jinja_type_error(r, "method must be common, ceil or floor");
    } else if (v->kind != JINJA_FLOAT && precision >= 0) {
        *out = jinja_int(v->kind == JINJA_INT ? v->i : v->b);
    } else if (v->kind != JINJA_FLOAT) {
        return jinja_fail(r, ERR_UNSUPPORTED, "rounding an integer to tens is not supported");
    } else if (precision < 0 || !isfinite(f)) {
        *out = jinja_float(isfinite(f) ? nearbyint(f * scale) / scale : f);
    } else { /* the decimal digits of the exact value, ties to even: printf rounds as Python does */
        snprintf(text, sizeof text, "%.*f", (int)precision, f);
        *out = jinja_float(strtod(text, NULL));
    }
    return true;
}

/* The digits of an integer as int() reads them: blanks around, a sign, single underscores inside. */
static bool parse_int(JinjaRun *r, Str s, int64_t base, JinjaValue *out, bool *ok) {
    Buf digits = {0};
    int64_t v = 0;
    bool fits = true;
    *ok = false;
    s = jinja_strip(s, NULL, true, true);
    bool minus = s.len > 0 && s.ptr[0] == '-';
    size_t i = s.len > 0 && (s.ptr[0] == '-' || s.ptr[0] == '+');
    if (i + 1 < s.len && s.ptr[i] == '0') {
        char x = (char)(s.ptr[i + 1] | 0x20);
        int64_t prefix = x == 'x' ? 16 : x == 'o' ? 8 : x == 'b' ? 2 : 0;
        if (prefix && (base == prefix || base == 0)) {
            base = prefix;
            i += 2;
            i += i < s.len && s.ptr[i] == '_';
        }
    }
    if (base == 0) base = 10;
    size_t first = i;
    for (; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '_' && i > first && s.ptr[i - 1] != '_' && i + 1 < s.len) continue;
        int d = c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'z' ? (c | 0x20) - 'a' + 10 : 99;
        if (d >= base) return buf_free(&digits), true;
        if (digits.len || c != '0') buf_putc(&digits, c);
        fits = fits && !__builtin_mul_overflow(v, base, &v) &&
               !__builtin_sub_overflow(v, (int64_t)d, &v); /* downwards: INT64_MIN fits */
    }
    fits = fits && (minus || v != INT64_MIN);
    *ok = s.len > first;
    if (!*ok || fits) {
        *out = jinja_int(minus ? v : -v);
        return buf_free(&digits), true;
    }
    if (base != 10)
        return buf_free(&digits),
               jinja_fail(r, ERR_UNSUPPORTED, "an integer beyond 64 bits in base %lld", (long long)base);
    Buf all = {0};
    if (minus) buf_putc(&all, '-');
    buf_put(&all, digits.ptr, digits.len);
    buf_free(&digits);
    if (!jinja_take_buf(r, &all, out)) return false;
    out->kind = JINJA_BIG;
    return true;
}

/* As float() reads it. */
static bool parse_float(Str s, double *f) {
    char text[512];
    size_t n = 0;
    s = jinja_strip(s, NULL, true, true);
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool digits_around = i > 0 && i + 1 < s.len && s.ptr[i - 1] >= '0' && s.ptr[i - 1] <= '9' &&
                             s.ptr[i + 1] >= '0' && s.ptr[i + 1] <= '9';
        if (c == '_' && digits_around) continue;
        if (n + 1 == sizeof text || !c || !strchr("0123456789+-.eEiInNfFaAtTyY", c)) return false;
        text[n++] = c;
    }
    text[n] = 0;
    if (strchr(text, 'n') || strchr(text, 'N') || strchr(text, 'i') || strchr(text, 'I')) {
        const char *word = text + (text[0] == '-' || text[0] == '+');
        char low[16] = {0};
        for (size_t i = 0; i < sizeof low - 1 && word[i]; i++) low[i] = (char)(word[i] | 0x20);
        if (strlen(word) > 8 || (strcmp(low, "nan") != 0 && strcmp(low, "inf") != 0 && strcmp(low, "infinity") != 0))
            return false;
    }
    char *end;
    *f = strtod(text, &end);
    return n > 0 && *end == 0;
}

static bool float_to_int(JinjaRun *r, double f, JinjaValue *out) {
    Buf b = {0};
    if (f > -9.2e18 && f < 9.2e18) {
        *out = jinja_int((int64_t)f);
        return true;
    }
    buf_printf(&b, "%.0f", f); /* exact */
    if (!jinja_take_buf(r, &b, out)) return false;
    out->kind = JINJA_BIG;
    return true;
}

static bool f_int(JinjaCall *c, JinjaValue *out) {
    JinjaRun *r = c->run;
    const JinjaValue *v = c->self;
    int64_t base = 10;
    bool ok = false;
    double f;
    JinjaValue otherwise = c->arg[0].kind == JINJA_MISSING ? jinja_int(0) : c->arg[0];
    if (v->kind == JINJA_UNDEFINED) return jinja_fail_undefined(r, v);
    if (c->arg[1].kind != JINJA_MISSING && !jinja_want_int(r, &c->arg[1], "the base of int", &base)) return false;
    if (base != 0 && (base < 2 || base > 36)) base = 99;
    *out = otherwise;
    if (v->kind == JINJA_INT || v->kind == JINJA_BIG) *out = *v;
    else if (v->kind == JINJA_BOOL) *out = jinja_int(v->b);
    else if (v->kind == JINJA_FLOAT && isfinite(v->f)) return float_to_int(r, v->f, out);
    else if (v->kind == JINJA_FLOAT && isinf(v->f))
        return *out = otherwise, jinja_type_error(r, "cannot convert float infinity to integer");
    else if (v->kind == JINJA_STR) {
        if (base != 99 && !parse_int(r, v->s, base, out, &ok)) return false;
        if (ok) return true;
        if (parse_float(v->s, &f) && isfinite(f)) return float_to_int(r, f, out);
        *out = otherwise;
    }
    return true;
}

static bool f_float(JinjaCall *c, JinjaValue *out) {
    const JinjaValue *v = c->self;
    double f;
    if (v->kind == JINJA_UNDEFINED) return jinja_fail_undefined(c->run, v);
    *out = c->arg[0].kind == JINJA_MISSING ? jinja_float(0) : c->arg[0];
    if (v->kind == JINJA_FLOAT) *out = *v;
    else if (v->kind == JINJA_INT) *out = jinja_float((double)v->i);
    else if (v->kind == JINJA_BOOL) *out = jinja_float(v->b);
    else if ((v->kind == JINJA_STR || v->kind == JINJA_BIG) && parse_float(v->s, &f)) *out = jinja_float(f);
    return true;
}

/* ---- everything else ---- */

static bool f_default(JinjaCall *c, JinjaValue *out) {
    bool missing = c->self->kind == JINJA_UNDEFINED || (flag(&c->arg[1], false) && !jinja_truth(c->self));
    if (!missing) *out = *c->self;
    else *out = c->arg[0].kind == JINJA_MISSING ? jinja_text("") : c->arg[0];
    return true;
}

static bool f_length(JinjaCall *c, JinjaValue *out) {
    int64_t n;
    if (!jinja_length(c->run, c->self, &n)) return false;
    *out = jinja_int(n);
    return true;
}

static bool f_attr(JinjaCall *c, JinjaValue *out) {
    Str name;
    if (!jinja_want_str(c->run, &c->arg[0], "the name of attr", &name)) return false;
    if (c->self->kind != JINJA_DICT || jinja_find_func(jinja_dict_methods, name))
        return jinja_attribute(c->run, c->self, name, out);
    *out = (JinjaValue){
        .kind = JINJA_UNDEFINED, .flag = JINJA_WHY_ATTR + JINJA_DICT, .s = name}; /* attributes only, no keys */
    return true;
}

/* As transformers defines it: json.dumps without escaping for ASCII or HTML. */
static bool f_tojson(JinjaCall *c, JinjaValue *out) {
    JinjaRun *r = c->run;
    const JinjaValue *indent = &c->arg[1], *separators = &c->arg[2];
    JinjaJson how = {
        .ascii = flag(&c->arg[0], false), .sort_keys = flag(&c->arg[3], false), .key_separator = str_c(": ")};
    Buf spaces = {0}, b = {0};
    bool ok = true;
    how.pretty = given(indent);
    how.item_separator = str_c(how.pretty ? "," : ", ");
    if (indent->kind == JINJA_STR) {
        how.indent = indent->s;
    } else if (how.pretty) {
        int64_t width = 0;
        if (!jinja_want_int(r, indent, "the indent of tojson", &width)) return false;
        if (width > 1000) return jinja_fail(r, ERR_RANGE, "an indentation of %lld blanks", (long long)width);
        for (int64_t i = 0; i < width; i++) buf_putc(&spaces, ' ');
        how.indent = str_make(spaces.ptr, spaces.len);
    }
    if (given(separators)) {
        bool pair = (separators->kind == JINJA_TUPLE || separators->kind == JINJA_LIST) && separators->list->n == 2;
        if (!pair) ok = jinja_type_error(r, "the separators of tojson must be two strings");
        ok = ok && jinja_want_str(r, &separators->list->items[0], "a separator", &how.item_separator) &&
             jinja_want_str(r, &separators->list->items[1], "a separator", &how.key_separator);
    }
    ok = ok && jinja_put_json(r, &b, c->self, &how, 0);
    buf_free(&spaces);
    if (ok) return jinja_take_buf(r, &b, out);
    buf_free(&b);
    return false;
}

const JinjaFunc *jinja_find_filter(Str name) {
    const JinjaFunc *f = jinja_find_func(jinja_filters, name);
    return f ? f : jinja_find_func(jinja_seq_filters, name);
}

const JinjaFunc jinja_filters[] = {
    {"trim", "chars?", f_trim},
    {"lower", "", f_lower},
    {"upper", "", f_upper},
    {"capitalize", "", f_capitalize},
    {"title", "", f_title},
    {"replace", "old new count?", f_replace},
    {"string", "", f_string},
    {"safe", "", f_safe},
    {"escape", "", f_escape},
    {"e", "", f_escape},
    {"forceescape", "", f_forceescape},
    {"indent", "width? first? blank?", f_indent},
    {"center", "width?", f_center},
    {"truncate", "length? killwords? end? leeway?", f_truncate},
    {"wordcount", "", f_wordcount},
    {"format", "*", f_format},
    {"abs", "", f_abs},
    {"round", "precision? method?", f_round},
    {"int", "default? base?", f_int},
    {"float", "default?", f_float},
    {"default", "default_value? boolean?", f_default},
    {"d", "default_value? boolean?", f_default},
    {"length", "", f_length},
    {"count", "", f_length},
    {"attr", "name", f_attr},
    {"tojson", "ensure_ascii? indent? separators? sort_keys?", f_tojson},
    {"filesizeformat", "", NULL},
    {"pprint", "", NULL},
    {"striptags", "", NULL},
    {"urlencode", "", NULL},
    {"urlize", "", NULL},
    {"wordwrap", "", NULL},
    {"xmlattr", "", NULL},
    {NULL, NULL, NULL},
};
