/* Strings as Python sees them: a row of code points, with Python's idea of white space, case and what can be
 * printed. */
#include "text/jinja.h"

#include <string.h>
#include <utf8proc.h>

uint32_t jinja_code_point(Str s, size_t at, size_t *size) {
    utf8proc_int32_t cp;
    unsigned char c = (unsigned char)s.ptr[at];
    *size = 1;
    if (c < 0x80) return c;
    size_t left = s.len - at;
    utf8proc_ssize_t n =
        utf8proc_iterate((const utf8proc_uint8_t *)s.ptr + at, left < 4 ? (utf8proc_ssize_t)left : 4, &cp);
    if (n <= 0) return 0xFFFD;
    *size = (size_t)n;
    return (uint32_t)cp;
}

size_t jinja_put_utf8(uint32_t cp, char out[4]) {
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)cp, (utf8proc_uint8_t *)out);
}

bool jinja_is_space(uint32_t cp) {
    if (cp < 0x80) return (cp >= 0x09 && cp <= 0x0D) || (cp >= 0x1C && cp <= 0x20);
    return cp == 0x85 || cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 ||
           cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

bool jinja_is_printable(uint32_t cp) {
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_CC: case UTF8PROC_CATEGORY_CF: case UTF8PROC_CATEGORY_CS: case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN: case UTF8PROC_CATEGORY_ZL: case UTF8PROC_CATEGORY_ZP: return false;
    case UTF8PROC_CATEGORY_ZS: return cp == ' ';
    default: return true;
    }
}

bool jinja_is_letter(uint32_t cp) {
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT ||
           c == UTF8PROC_CATEGORY_LM || c == UTF8PROC_CATEGORY_LO;
}

bool jinja_is_word(uint32_t cp) {
    if (cp < 0x80) return (cp >= '0' && cp <= '9') || (cp >= 'A' && cp <= 'Z') || (cp >= 'a' && cp <= 'z') || cp == '_';
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return jinja_is_letter(cp) || c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}

int64_t jinja_count(Str s) {
    int64_t n = 0;
    for (size_t i = 0; i < s.len; i++) n += ((unsigned char)s.ptr[i] & 0xC0) != 0x80;
    return n;
}

size_t jinja_offset(Str s, int64_t index) {
    size_t at = 0;
    for (; at < s.len; at++)
        if (((unsigned char)s.ptr[at] & 0xC0) != 0x80 && index-- == 0) break;
    return at;
}

int jinja_clip(Str s, int max) {
    if (s.len <= (size_t)max) return (int)s.len;
    while (max > 0 && ((unsigned char)s.ptr[max] & 0xC0) == 0x80) max--;
    return max;
}

size_t jinja_find(Str s, Str what, size_t from) {
    if (what.len == 0) return from <= s.len ? from : SIZE_MAX;
    while (from <= s.len && what.len <= s.len - from) {
        const char *p = memchr(s.ptr + from, what.ptr[0], s.len - from - what.len + 1);
        if (!p) break;
        if (memcmp(p, what.ptr, what.len) == 0) return (size_t)(p - s.ptr);
        from = (size_t)(p - s.ptr) + 1;
    }
    return SIZE_MAX;
}

static bool strips(uint32_t cp, const Str *chars) {
    if (!chars) return jinja_is_space(cp);
    for (size_t i = 0, size; i < chars->len; i += size)
        if (jinja_code_point(*chars, i, &size) == cp) return true;
    return false;
}

Str jinja_strip(Str s, const Str *chars, bool left, bool right) {
    size_t size;
    while (left && s.len > 0 && strips(jinja_code_point(s, 0, &size), chars)) {
        s.ptr += size;
        s.len -= size;
    }
    while (right && s.len > 0) {
        size_t last = s.len - 1;
        while (last > 0 && ((unsigned char)s.ptr[last] & 0xC0) == 0x80) last--;
        if (!strips(jinja_code_point(s, last, &size), chars)) break;
        s.len = last;
    }
    return s;
}

static bool is_cased(uint32_t cp) {
    return utf8proc_toupper((utf8proc_int32_t)cp) != (utf8proc_int32_t)cp ||
           utf8proc_tolower((utf8proc_int32_t)cp) != (utf8proc_int32_t)cp;
}

/* A capital sigma at the end of a word becomes the final form. */
static bool is_final(Str s, size_t at, size_t size) {
    size_t n, before = at;
    while (before > 0 && ((unsigned char)s.ptr[--before] & 0xC0) == 0x80) {}
    if (at == 0 || !is_cased(jinja_code_point(s, before, &n))) return false;
    return at + size >= s.len || !is_cased(jinja_code_point(s, at + size, &n));
}

void jinja_put_case(Buf *b, Str s, JinjaCase how) {
    size_t size;
    char out[4];
    for (size_t i = 0; i < s.len; i += size) {
        uint32_t cp = jinja_code_point(s, i, &size);
        if (how == JINJA_UPPER && cp == 0xDF) {
            buf_puts(b, "SS");
        } else if (how == JINJA_LOWER && cp == 0x130) {
            buf_puts(b, "i\xCC\x87");
        } else if (how == JINJA_LOWER && cp == 0x3A3) {
            buf_puts(b, is_final(s, i, size) ? "\xCF\x82" : "\xCF\x83");
        } else {
            utf8proc_int32_t c = (utf8proc_int32_t)cp;
            buf_put(b, out,
                    jinja_put_utf8((uint32_t)(how == JINJA_UPPER ? utf8proc_toupper(c) : utf8proc_tolower(c)), out));
        }
    }
}

void jinja_put_escaped(Buf *b, Str s) {
    for (size_t i = 0; i < s.len; i++) {
        switch (s.ptr[i]) {
        case '&': buf_puts(b, "&amp;"); break;
        case '<': buf_puts(b, "&lt;"); break;
        case '>': buf_puts(b, "&gt;"); break;
        case '\'': buf_puts(b, "&#39;"); break;
        case '"': buf_puts(b, "&#34;"); break;
        default: buf_putc(b, s.ptr[i]);
        }
    }
}
