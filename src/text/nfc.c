/* Unicode normal form C. Most text is in it already, so a scan looks for the characters that could matter; only the short runs
 * around them go through utf8proc. Marks are put in order by a merge sort of our own: the library's is quadratic, and a text
 * of nothing but marks must not stop the program. */
#include "text/tokenizer_parts.h"

#include <string.h>
#include <utf8proc.h>

/* Ranges in which every character has combining class 0, is its own NFC, and never joins a character before it. Normalisation
 * can then begin anew at each of them. Leaving a character out costs time only; test_tokenizer_nfc checks every one of these. */
static const int32_t simple_ranges[][2] = {
    {0x0000, 0x02FF}, /* Latin */
    {0x0388, 0x0482}, {0x048A, 0x0556}, {0x0561, 0x0587}, /* Greek, Cyrillic, Armenian */
    {0x05D0, 0x05EA}, {0x0620, 0x064A}, {0x0671, 0x06D3}, /* Hebrew, Arabic */
    {0x0E01, 0x0E30}, {0x10A0, 0x10FF}, {0x13A0, 0x167F}, /* Thai, Georgian, Cherokee, Canadian syllabics */
    {0x1E00, 0x1F70}, {0x2002, 0x20CF}, {0x212C, 0x2328}, {0x232B, 0x2ADB}, /* Latin, punctuation, arrows, symbols */
    {0x2E80, 0x3029}, {0x3030, 0x3098}, {0x309B, 0xA48C}, {0xAC00, 0xD7A3}, /* kana, CJK, Hangul syllables */
    {0xE000, 0xF8FF}, {0xFF00, 0xFFEF}, {0x1F000, 0x1FAFF}, {0x20000, 0x2F7FF}, /* private, full width, emoji, CJK */
};

/* Nothing can happen to it: NFC leaves it as it is whatever comes before it. */
static bool is_simple(int32_t code) {
    if (code <= simple_ranges[0][1]) return true;
    size_t low = 1, high = COUNT_OF(simple_ranges);
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (code > simple_ranges[middle][1]) low = middle + 1;
        else high = middle;
    }
    return low < COUNT_OF(simple_ranges) && code >= simple_ranges[low][0];
}

/* A run being normalised: code points, and room to sort them. */
typedef struct Run {
    int32_t *codes, *spare; /* [cap] each */
    size_t n, cap;
} Run;

static bool run_room(Run *r, size_t more) {
    if (r->n + more <= r->cap) return true;
    size_t cap = r->cap ? r->cap * 2 : 64;
    while (cap < r->n + more) cap *= 2;
    int32_t *codes = mem_resize(r->codes, cap, sizeof *codes);
    if (codes) r->codes = codes;
    int32_t *spare = codes ? mem_resize(r->spare, cap, sizeof *spare) : NULL;
    if (!spare) return false;
    r->spare = spare;
    r->cap = cap;
    return true;
}

static int class_of(int32_t code) { return utf8proc_get_property(code)->combining_class; }

/* Sorts marks[0..n) by combining class, keeping the order of equals. */
static void sort_marks(int32_t *marks, int32_t *spare, size_t n) {
    if (n < 2) return;
    if (n <= 16) {
        for (size_t i = 1; i < n; i++) {
            int32_t mark = marks[i];
            size_t j = i;
            for (; j > 0 && class_of(marks[j - 1]) > class_of(mark); j--) marks[j] = marks[j - 1];
            marks[j] = mark;
        }
        return;
    }
    size_t half = n / 2, a = 0, b = half, o = 0;
    sort_marks(marks, spare, half);
    sort_marks(marks + half, spare + half, n - half);
    while (a < half && b < n) spare[o++] = class_of(marks[b]) < class_of(marks[a]) ? marks[b++] : marks[a++];
    while (a < half) spare[o++] = marks[a++];
    while (b < n) spare[o++] = marks[b++];
    memcpy(marks, spare, n * sizeof *marks);
}

static void order_marks(Run *r) {
    for (size_t i = 0; i < r->n;) {
        size_t start = i;
        while (i < r->n && class_of(r->codes[i]) != 0) i++;
        sort_marks(r->codes + start, r->spare + start, i - start);
        if (i < r->n) i++;
    }
}

/* Appends the normal form of s[0..len), len > 0, which begins and ends where normalisation may. */
static bool put_normalised(Run *r, const char *s, size_t len, Buf *out) {
    size_t i = 0;
    r->n = 0;
    do {
        int n = text_utf8_char(s + i, len - i);
        int32_t code = text_utf8_code(s + i, n);
        i += (size_t)n;
        if (!run_room(r, 8)) return false; /* no canonical decomposition is longer than 4 */
        utf8proc_ssize_t put = utf8proc_decompose_char(code, r->codes + r->n, (utf8proc_ssize_t)(r->cap - r->n),
                                                       UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, NULL);
        if (put > 0) r->n += (size_t)put;
    } while (i < len);
    order_marks(r);
    utf8proc_ssize_t composed = utf8proc_normalize_utf32(r->codes, (utf8proc_ssize_t)r->n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    for (utf8proc_ssize_t k = 0; k < composed; k++) {
        char utf8[4];
        buf_put(out, utf8, text_utf8_put(r->codes[k], utf8));
    }
    return !out->failed;
}

/* From `from` on: the next run that needs work, [*start, *end). It begins with the last simple character before the first
 * difficult one, because the two may join. False: there is none. */
static bool next_run(const char *s, size_t len, size_t from, size_t *start, size_t *end) {
    size_t last = from, i = from;
    bool difficult = false;
    while (i < len) {
        uint64_t eight;
        if (!difficult && len - i >= 8) { /* eight ASCII bytes at once */
            memcpy(&eight, s + i, 8);
            if (!(eight & UINT64_C(0x8080808080808080))) {
                i += 8;
                last = i - 1;
                continue;
            }
        }
        int n = text_utf8_char(s + i, len - i);
        bool simple = is_simple(text_utf8_code(s + i, n));
        if (simple && difficult) break;
        if (simple) last = i;
        else if (!difficult) {
            difficult = true;
            *start = last;
        }
        i += (size_t)n;
    }
    *end = i;
    return difficult;
}

ErrCode text_nfc(const char *s, size_t len, Buf *out, bool *changed, Err *err) {
    size_t done = 0, start, end;
    *changed = false;
    if (!next_run(s, len, 0, &start, &end)) return ERR_OK;
    Run run = {0};
    size_t begin = out->len;
    bool ok = true;
    do {
        buf_put(out, s + done, start - done);
        ok = put_normalised(&run, s + start, end - start, out);
        done = end;
    } while (ok && next_run(s, len, done, &start, &end));
    buf_put(out, s + done, len - done);
    mem_free(run.codes);
    mem_free(run.spare);
    if (!ok || out->failed) return err_no_memory(err, (uint64_t)len * 2, "the normal form of a text");
    *changed = out->len - begin != len || memcmp(out->ptr + begin, s, len) != 0;
    if (!*changed) out->len = begin;
    return ERR_OK;
}
