/* Methods of strings. A method without function in the table is Python's but not ours. */
#include "text/jinja.h"

#include <string.h>

static bool given(const JinjaValue *v) { return v->kind != JINJA_MISSING && v->kind != JINJA_NONE; }

static bool answer(JinjaValue *out, bool b) {
    *out = jinja_bool(b);
    return true;
}

/* ---- strings ---- */

static bool give(JinjaCall *c, Str s, JinjaValue *out) {
    uint8_t safe = c->self->flag;
    *out = jinja_str(s);
    out->flag = safe;
    return true;
}

static bool strip(JinjaCall *c, bool left, bool right, JinjaValue *out) {
    Str chars;
    bool some = given(&c->arg[0]);
    if (some && !jinja_want_str(c->run, &c->arg[0], "the argument of strip", &chars)) return false;
    return jinja_charge(c->run, c->self->s.len / 16) &&
           give(c, jinja_strip(c->self->s, some ? &chars : NULL, left, right), out);
}

static bool m_strip(JinjaCall *c, JinjaValue *out) { return strip(c, true, true, out); }
static bool m_lstrip(JinjaCall *c, JinjaValue *out) { return strip(c, true, false, out); }
static bool m_rstrip(JinjaCall *c, JinjaValue *out) { return strip(c, false, true, out); }

static bool as_filter(JinjaCall *c, const char *name, JinjaValue *out) {
    return jinja_invoke(c->run, jinja_find_filter(str_c(name)), c->self, c->raw, out);
}

static bool m_upper(JinjaCall *c, JinjaValue *out) { return as_filter(c, "upper", out); }
static bool m_lower(JinjaCall *c, JinjaValue *out) { return as_filter(c, "lower", out); }
static bool m_capitalize(JinjaCall *c, JinjaValue *out) { return as_filter(c, "capitalize", out); }
static bool m_center(JinjaCall *c, JinjaValue *out) { return as_filter(c, "center", out); }

/* str.title(): every letter behind a character without case begins a word. */
static bool m_title(JinjaCall *c, JinjaValue *out) {
    Str s = c->self->s;
    Buf b = {0};
    size_t size;
    bool inside = false;
    if (!jinja_charge(c->run, s.len / 16)) return false;
    for (size_t i = 0; i < s.len; i += size) {
        bool letter = jinja_is_letter(jinja_code_point(s, i, &size));
        jinja_put_case(&b, str_make(s.ptr + i, size), letter && !inside ? JINJA_UPPER : JINJA_LOWER);
        inside = letter;
    }
    return jinja_take_buf(c->run, &b, out);
}

/* startswith("a") or startswith(("a", "b")) */
static bool edge(JinjaCall *c, bool start, JinjaValue *out) {
    Str s = c->self->s, part;
    const JinjaValue *v = &c->arg[0];
    size_t n = v->kind == JINJA_TUPLE ? v->list->n : 1;
    bool found = false;
    if (c->arg[1].kind != JINJA_MISSING)
        return jinja_fail(c->run, ERR_UNSUPPORTED, "startswith and endswith with positions are not supported");
    for (size_t i = 0; i < n && !found; i++) {
        if (!jinja_want_str(c->run, v->kind == JINJA_TUPLE ? &v->list->items[i] : v,
                            "the argument of startswith or endswith", &part))
            return false;
        found = part.len <= s.len &&
                (part.len == 0 || memcmp(start ? s.ptr : s.ptr + s.len - part.len, part.ptr, part.len) == 0);
    }
    return answer(out, found);
}

static bool m_startswith(JinjaCall *c, JinjaValue *out) { return edge(c, true, out); }
static bool m_endswith(JinjaCall *c, JinjaValue *out) { return edge(c, false, out); }

static bool remove_edge(JinjaCall *c, bool start, JinjaValue *out) {
    JinjaValue found;
    Str s = c->self->s, part;
    if (!jinja_want_str(c->run, &c->arg[0], "the argument of removeprefix or removesuffix", &part)) return false;
    c->arg[1].kind = JINJA_MISSING;
    if (!edge(c, start, &found)) return false;
    size_t cut = found.b ? part.len : 0;
    return give(c, str_make(start ? s.ptr + cut : s.ptr, s.len - cut), out);
}

static bool m_removeprefix(JinjaCall *c, JinjaValue *out) { return remove_edge(c, true, out); }
static bool m_removesuffix(JinjaCall *c, JinjaValue *out) { return remove_edge(c, false, out); }

static bool add_piece(JinjaCall *c, Str s, JinjaValue *list) {
    JinjaValue v = jinja_str(s);
    v.flag = c->self->flag;
    return jinja_charge(c->run, 1) && jinja_append(c->run, list->list, &v);
}

/* split() without separator: at runs of white space, none at the ends. */
static bool split_space(JinjaCall *c, int64_t max, JinjaValue *out) {
    Str s = c->self->s;
    size_t size;
    for (;;) {
        s = jinja_strip(s, NULL, true, false);
        if (s.len == 0) return true;
        size_t end = 0;
        while (end < s.len && !jinja_is_space(jinja_code_point(s, end, &size))) end += size;
        if (max-- == 0) return add_piece(c, s, out);
        if (!add_piece(c, str_make(s.ptr, end), out)) return false;
        s = str_make(s.ptr + end, s.len - end);
    }
}

static bool reverse_list(JinjaValue *l) {
    for (size_t i = 0, n = l->list->n; i < n / 2; i++) {
        JinjaValue swap = l->list->items[i];
        l->list->items[i] = l->list->items[n - 1 - i];
        l->list->items[n - 1 - i] = swap;
    }
    return true;
}

static bool rsplit(JinjaCall *c, Str separator, int64_t max, JinjaValue *out) {
    Str s = c->self->s;
    while (max-- != 0) {
        size_t at = SIZE_MAX;
        for (size_t i = s.len >= separator.len ? s.len - separator.len + 1 : 0; i-- > 0;)
            if (memcmp(s.ptr + i, separator.ptr, separator.len) == 0) {
                at = i;
                break;
            }
        if (at == SIZE_MAX) break;
        if (!add_piece(c, str_make(s.ptr + at + separator.len, s.len - at - separator.len), out)) return false;
        s.len = at;
    }
    return add_piece(c, s, out) && reverse_list(out);
}

static bool split(JinjaCall *c, bool from_right, JinjaValue *out) {
    JinjaRun *r = c->run;
    Str s = c->self->s, separator;
    int64_t max = -1;
    if (c->arg[1].kind != JINJA_MISSING && !jinja_want_int(r, &c->arg[1], "maxsplit", &max)) return false;
    if (max < 0) max = -1;
    if (!jinja_charge(r, s.len / 16) || !jinja_new_list(r, JINJA_LIST, 0, out)) return false;
    if (!given(&c->arg[0])) {
        if (from_right && max >= 0) return jinja_fail(r, ERR_UNSUPPORTED, "rsplit(None, n) is not supported");
        return split_space(c, max, out);
    }
    if (!jinja_want_str(r, &c->arg[0], "a separator", &separator)) return false;
    if (separator.len == 0) return jinja_type_error(r, "empty separator");
    if (!jinja_charge_find(r, s, separator)) return false;
    if (from_right && max >= 0) return rsplit(c, separator, max, out);
    for (;;) {
        size_t at = max-- == 0 ? SIZE_MAX : jinja_find(s, separator, 0);
        if (at == SIZE_MAX) return add_piece(c, s, out);
        if (!add_piece(c, str_make(s.ptr, at), out)) return false;
        s = str_make(s.ptr + at + separator.len, s.len - at - separator.len);
    }
}

static bool m_split(JinjaCall *c, JinjaValue *out) { return split(c, false, out); }
static bool m_rsplit(JinjaCall *c, JinjaValue *out) { return split(c, true, out); }

static bool partition(JinjaCall *c, bool from_right, JinjaValue *out) {
    Str s = c->self->s, separator;
    if (!jinja_want_str(c->run, &c->arg[0], "a separator", &separator)) return false;
    if (separator.len == 0) return jinja_type_error(c->run, "empty separator");
    if (!jinja_charge_find(c->run, s, separator)) return false;
    size_t at = jinja_find(s, separator, 0);
    for (size_t next = at; from_right && next != SIZE_MAX; next = jinja_find(s, separator, next + 1)) at = next;
    if (!jinja_new_list(c->run, JINJA_TUPLE, 3, out)) return false;
    Str none = str_make(s.ptr, 0);
    if (at == SIZE_MAX)
        return add_piece(c, from_right ? none : s, out) && add_piece(c, none, out) &&
               add_piece(c, from_right ? s : none, out);
    Str rest = str_make(s.ptr + at + separator.len, s.len - at - separator.len);
    return add_piece(c, str_make(s.ptr, at), out) && add_piece(c, separator, out) && add_piece(c, rest, out);
}

static bool m_partition(JinjaCall *c, JinjaValue *out) { return partition(c, false, out); }
static bool m_rpartition(JinjaCall *c, JinjaValue *out) { return partition(c, true, out); }

static bool m_splitlines(JinjaCall *c, JinjaValue *out) {
    Str s = c->self->s;
    size_t size, line = 0;
    bool keep = c->arg[0].kind != JINJA_MISSING && jinja_truth(&c->arg[0]);
    if (!jinja_new_list(c->run, JINJA_LIST, 0, out)) return false;
    for (size_t i = 0; i < s.len; i += size) {
        uint32_t cp = jinja_code_point(s, i, &size);
        bool is_break =
            (cp >= 0x0A && cp <= 0x0D) || (cp >= 0x1C && cp <= 0x1E) || cp == 0x85 || cp == 0x2028 || cp == 0x2029;
        if (!is_break) continue;
        if (cp == '\r' && i + 1 < s.len && s.ptr[i + 1] == '\n') size = 2;
        if (!add_piece(c, str_make(s.ptr + line, (keep ? i + size : i) - line), out)) return false;
        line = i + size;
    }
    return line == s.len || add_piece(c, str_make(s.ptr + line, s.len - line), out);
}

static bool m_replace(JinjaCall *c, JinjaValue *out) {
    JinjaRun *r = c->run;
    Str s = c->self->s, old, new;
    int64_t count = -1;
    Buf b = {0};
    if (!jinja_want_str(r, &c->arg[0], "the text to replace", &old) ||
        !jinja_want_str(r, &c->arg[1], "the replacement", &new))
        return false;
    if (given(&c->arg[2]) && !jinja_want_int(r, &c->arg[2], "the count of replace", &count)) return false;
    if (!jinja_charge_find(r, s, old)) return false;
    size_t at = 0;
    while (count != 0) {
        size_t found = jinja_find(s, old, at), size = old.len;
        if (found == SIZE_MAX) break;
        buf_put(&b, s.ptr + at, found - at);
        buf_put(&b, new.ptr, new.len);
        at = found;
        if (old.len == 0) { /* between all characters, and at both ends */
            if (at == s.len) break;
            jinja_code_point(s, at, &size);
            buf_put(&b, s.ptr + at, size);
        }
        at += size;
        if (count > 0) count--;
        if (b.len > r->max_memory) break;
    }
    if (b.len <= r->max_memory) buf_put(&b, s.ptr + at, s.len - at);
    return (jinja_charge(r, b.len / 16) || (buf_free(&b), false)) && jinja_take_buf(r, &b, out);
}

static bool find(JinjaCall *c, bool from_right, bool must, bool count, JinjaValue *out) {
    Str s = c->self->s, what;
    if (!jinja_want_str(c->run, &c->arg[0], "the text to find", &what)) return false;
    if (c->arg[1].kind != JINJA_MISSING)
        return jinja_fail(c->run, ERR_UNSUPPORTED, "find, index and count with positions are not supported");
    if (!jinja_charge_find(c->run, s, what)) return false;
    int64_t n = 0;
    size_t at = SIZE_MAX;
    for (size_t next = jinja_find(s, what, 0); next != SIZE_MAX;
         next = jinja_find(s, what, next + (count && what.len ? what.len : 1))) {
        n++;
        at = next;
        if (!from_right && !count) break;
    }
    if (count) *out = jinja_int(what.len ? n : jinja_count(s) + 1);
    else if (at == SIZE_MAX && must) return jinja_type_error(c->run, "substring not found");
    else *out = jinja_int(at == SIZE_MAX ? -1 : jinja_count(str_make(s.ptr, at)));
    return true;
}

static bool m_find(JinjaCall *c, JinjaValue *out) { return find(c, false, false, false, out); }
static bool m_rfind(JinjaCall *c, JinjaValue *out) { return find(c, true, false, false, out); }
static bool m_index(JinjaCall *c, JinjaValue *out) { return find(c, false, true, false, out); }
static bool m_rindex(JinjaCall *c, JinjaValue *out) { return find(c, true, true, false, out); }
static bool m_count(JinjaCall *c, JinjaValue *out) { return find(c, false, false, true, out); }

static bool m_join(JinjaCall *c, JinjaValue *out) {
    JinjaRun *r = c->run;
    JinjaIter it;
    JinjaValue item;
    Buf b = {0};
    int64_t n = 0;
    if (!jinja_iterate(r, &c->arg[0], &it)) return false;
    while (jinja_next(&it, &item)) {
        if (item.kind != JINJA_STR || !jinja_charge(r, 1)) {
            buf_free(&b);
            return !r->failed && jinja_type_error(r, "sequence item %lld: expected str instance, %s found",
                                                  (long long)n, jinja_type(&item));
        }
        if (n++) buf_put(&b, c->self->s.ptr, c->self->s.len);
        buf_put(&b, item.s.ptr, item.s.len);
    }
    return jinja_take_buf(r, &b, out);
}

/* "{} {0} {name}".format(...), without conversions and format specifications. */
static bool m_format(JinjaCall *c, JinjaValue *out) {
    JinjaRun *r = c->run;
    Str s = c->self->s;
    Buf b = {0};
    uint32_t next = 0;
    bool ok = true;
    for (size_t i = 0; ok && i < s.len; i++) {
        char ch = s.ptr[i];
        if ((ch == '{' || ch == '}') && i + 1 < s.len && s.ptr[i + 1] == ch) {
            buf_putc(&b, ch);
            i++;
        } else if (ch == '}') {
            ok = jinja_type_error(r, "Single '}' encountered in format string");
        } else if (ch != '{') {
            buf_putc(&b, ch);
        } else {
            size_t end = jinja_find(s, str_c("}"), i);
            if (end == SIZE_MAX) {
                ok = jinja_type_error(r, "expected '}' before end of string");
                break;
            }
            Str field = str_make(s.ptr + i + 1, end - i - 1);
            const JinjaValue *v = NULL;
            uint32_t position = 0;
            bool digits = field.len < 6, plain = true;
            for (size_t k = 0; k < field.len; k++) {
                bool digit = field.ptr[k] >= '0' && field.ptr[k] <= '9';
                plain =
                    plain && field.ptr[k] != ':' && field.ptr[k] != '!' && field.ptr[k] != '.' && field.ptr[k] != '[';
                digits = digits && digit;
                if (digits) position = position * 10 + (uint32_t)(field.ptr[k] - '0');
            }
            if (field.len == 0) position = next++;
            if (digits && position < c->raw->n_pos) v = &c->raw->pos[position];
            for (uint32_t k = 0; !digits && k < c->raw->n_named; k++)
                if (str_eq(c->raw->names[k], field)) v = &c->raw->named[k];
            if (!plain)
                ok = jinja_fail(r, ERR_UNSUPPORTED, "the format field {%.*s} is not supported", jinja_clip(field, 60),
                                field.ptr);
            else if (!v)
                ok = jinja_type_error(r, "no argument for the format field {%.*s}", jinja_clip(field, 60), field.ptr);
            else ok = jinja_put_str(r, &b, v);
            i = end;
        }
    }
    if (ok) return jinja_take_buf(r, &b, out);
    buf_free(&b);
    return false;
}

static bool pad(JinjaCall *c, bool left, char with, JinjaValue *out) {
    JinjaRun *r = c->run;
    Str s = c->self->s, fill = str_make(&with, 1);
    int64_t width;
    Buf b = {0};
    if (!jinja_want_int(r, &c->arg[0], "the width", &width)) return false;
    if (c->arg[1].kind != JINJA_MISSING && !jinja_want_str(r, &c->arg[1], "the fill character", &fill)) return false;
    if (jinja_count(fill) != 1) return jinja_type_error(r, "The fill character must be exactly one character long");
    int64_t room = width - jinja_count(s);
    if (room > 1000000) return jinja_fail(r, ERR_RANGE, "a width of %lld", (long long)width);
    size_t sign = with == '0' && s.len > 0 && (s.ptr[0] == '-' || s.ptr[0] == '+');
    if (sign) buf_putc(&b, s.ptr[0]);
    for (int64_t i = 0; left && i < room; i++) buf_put(&b, fill.ptr, fill.len);
    buf_put(&b, s.ptr + sign, s.len - sign);
    for (int64_t i = 0; !left && i < room; i++) buf_put(&b, fill.ptr, fill.len);
    return jinja_take_buf(r, &b, out);
}

static bool m_ljust(JinjaCall *c, JinjaValue *out) { return pad(c, false, ' ', out); }
static bool m_rjust(JinjaCall *c, JinjaValue *out) { return pad(c, true, ' ', out); }
static bool m_zfill(JinjaCall *c, JinjaValue *out) {
    c->arg[1].kind = JINJA_MISSING;
    return pad(c, true, '0', out);
}

static bool is_ascii_digit(uint32_t cp) { return cp >= '0' && cp <= '9'; }
static bool is_alnum(uint32_t cp) { return cp != '_' && jinja_is_word(cp); }

static bool all(JinjaCall *c, bool (*is)(uint32_t), JinjaValue *out) {
    Str s = c->self->s;
    size_t size;
    for (size_t i = 0; i < s.len; i += size)
        if (!is(jinja_code_point(s, i, &size))) return answer(out, false);
    return answer(out, s.len > 0);
}

static bool m_isdigit(JinjaCall *c, JinjaValue *out) { return all(c, is_ascii_digit, out); }
static bool m_isalpha(JinjaCall *c, JinjaValue *out) { return all(c, jinja_is_letter, out); }
static bool m_isalnum(JinjaCall *c, JinjaValue *out) { return all(c, is_alnum, out); }
static bool m_isspace(JinjaCall *c, JinjaValue *out) { return all(c, jinja_is_space, out); }

static bool by_test(JinjaCall *c, const char *test, JinjaValue *out) {
    return jinja_invoke(c->run, jinja_find_test(str_c(test)), c->self, c->raw, out);
}

static bool m_islower(JinjaCall *c, JinjaValue *out) { return by_test(c, "lower", out); }
static bool m_isupper(JinjaCall *c, JinjaValue *out) { return by_test(c, "upper", out); }

const JinjaFunc jinja_str_methods[] = {
    {"strip", "chars?", m_strip},
    {"lstrip", "chars?", m_lstrip},
    {"rstrip", "chars?", m_rstrip},
    {"split", "sep? maxsplit?", m_split},
    {"rsplit", "sep? maxsplit?", m_rsplit},
    {"splitlines", "keepends?", m_splitlines},
    {"partition", "sep", m_partition},
    {"rpartition", "sep", m_rpartition},
    {"startswith", "prefix start?", m_startswith},
    {"endswith", "suffix start?", m_endswith},
    {"removeprefix", "prefix", m_removeprefix},
    {"removesuffix", "suffix", m_removesuffix},
    {"replace", "old new count?", m_replace},
    {"upper", "", m_upper},
    {"lower", "", m_lower},
    {"title", "", m_title},
    {"capitalize", "", m_capitalize},
    {"find", "sub start?", m_find},
    {"rfind", "sub start?", m_rfind},
    {"index", "sub start?", m_index},
    {"rindex", "sub start?", m_rindex},
    {"count", "sub start?", m_count},
    {"join", "iterable", m_join},
    {"format", "*", m_format},
    {"ljust", "width fillchar?", m_ljust},
    {"rjust", "width fillchar?", m_rjust},
    {"zfill", "width", m_zfill},
    {"center", "width", m_center},
    {"isdigit", "", m_isdigit},
    {"isnumeric", "", m_isdigit},
    {"isdecimal", "", m_isdigit},
    {"isalpha", "", m_isalpha},
    {"isalnum", "", m_isalnum},
    {"isspace", "", m_isspace},
    {"islower", "", m_islower},
    {"isupper", "", m_isupper},
    {"casefold", NULL, NULL},
    {"encode", NULL, NULL},
    {"expandtabs", NULL, NULL},
    {"format_map", NULL, NULL},
    {"isascii", NULL, NULL},
    {"isidentifier", NULL, NULL},
    {"isprintable", NULL, NULL},
    {"istitle", NULL, NULL},
    {"maketrans", NULL, NULL},
    {"swapcase", NULL, NULL},
    {"translate", NULL, NULL},
    {NULL, NULL, NULL},
};
