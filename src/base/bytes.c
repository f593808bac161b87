/* Borrowed strings, growable bytes, UTF-8 well-formedness. */
#include "base/base.h"

#include <stdio.h>
#include <string.h>

Str str_c(const char *z) { return str_make(z, strlen(z)); }

bool str_eq(Str a, Str b) { return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0); }

bool str_eq_c(Str a, const char *z) { return str_eq(a, str_c(z)); }

bool str_starts(Str s, const char *prefix) {
    size_t n = strlen(prefix);
    return s.len >= n && memcmp(s.ptr, prefix, n) == 0;
}

bool str_ends(Str s, const char *suffix) {
    size_t n = strlen(suffix);
    return s.len >= n && memcmp(s.ptr + s.len - n, suffix, n) == 0;
}

bool utf8_valid(const char *s, size_t len) {
    const unsigned char *p = (const unsigned char *)s, *end = p + len;
    while (p < end) {
        unsigned c = *p++;
        if (c < 0x80) continue;
        int more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;
        if (c < 0xC2 || c > 0xF4 || end - p < more) return false;
        unsigned low = 0x80, high = 0xBF; /* the second byte's range excludes overlong forms, surrogates, > U+10FFFF */
        if (c == 0xE0) low = 0xA0;
        if (c == 0xED) high = 0x9F;
        if (c == 0xF0) low = 0x90;
        if (c == 0xF4) high = 0x8F;
        if (*p < low || *p > high) return false;
        for (int i = 1; i < more; i++)
            if (p[i] < 0x80 || p[i] > 0xBF) return false;
        p += more;
    }
    return true;
}

void utf8_clean(char *z) {
    size_t len = strlen(z);
    for (size_t at = 0; at < len;) {
        size_t n = 1;
        while (n < 4 && n < len - at && !utf8_valid(z + at, n)) n++;
        if (!utf8_valid(z + at, n)) z[at] = '?', n = 1;
        at += n;
    }
}

static bool buf_room(Buf *b, size_t more) {
    if (b->failed) return false;
    if (more > SIZE_MAX - b->len - 1) {
        b->failed = true;
        return false;
    }
    size_t need = b->len + more + 1;
    if (need > b->cap) {
        size_t cap = b->cap < 64 ? 64 : b->cap;
        while (cap < need) cap = cap > SIZE_MAX / 2 ? need : cap * 2;
        char *ptr = mem_resize(b->ptr, cap, 1);
        if (!ptr) {
            b->failed = true;
            return false;
        }
        b->ptr = ptr;
        b->cap = cap;
    }
    return true;
}

void buf_put(Buf *b, const void *bytes, size_t len) {
    if (!buf_room(b, len)) return;
    if (len) memcpy(b->ptr + b->len, bytes, len);
    b->len += len;
    b->ptr[b->len] = 0;
}

void buf_puts(Buf *b, const char *z) { buf_put(b, z, strlen(z)); }

void buf_putc(Buf *b, char c) { buf_put(b, &c, 1); }

void buf_printf(Buf *b, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0 || !buf_room(b, (size_t)n)) return;
    va_start(args, fmt);
    vsnprintf(b->ptr + b->len, (size_t)n + 1, fmt, args);
    va_end(args);
    b->len += (size_t)n;
}

void buf_clear(Buf *b) {
    b->len = 0;
    if (b->ptr) b->ptr[0] = 0;
}

void buf_free(Buf *b) {
    mem_free(b->ptr);
    memset(b, 0, sizeof *b);
}
