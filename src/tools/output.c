/* What is kept of a result: its beginning and its end, and a sentence about what was cut between them. */
#include "tools/inside.h"

#include "text/text.h"

#include <stdio.h>

static size_t tail_size(const ToolsOutput *o) { return o->most - o->most / 2; }

void tools_output_put(ToolsOutput *o, const char *bytes, size_t len) {
    size_t half = o->most / 2, free = half > o->head.len ? half - o->head.len : 0, first = len < free ? len : free;
    buf_put(&o->head, bytes, first);
    o->total += len;
    bytes += first;
    len -= first;
    if (len && !o->tail) o->tail = mem_new(tail_size(o) + 1, 1);
    o->failed = o->failed || (len && !o->tail);
    if (!len || o->failed) return;
    size_t size = tail_size(o);
    if (len > size) bytes += len - size, len = size;
    size_t at = (size_t)((o->total - len - half) % size), fits = size - at < len ? size - at : len;
    memcpy(o->tail + at, bytes, fits);
    memcpy(o->tail, bytes + fits, len - fits);
}

void tools_output_note(ToolsOutput *o, const char *fmt, ...) {
    char line[1200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    buf_printf(&o->notes, "%s[%s]", o->notes.len ? "\n" : "", line);
}

/* Whole characters; what is none becomes U+FFFD, and so does the zero byte, at which templates would end. */
static void put_text(Buf *out, const char *bytes, size_t len) {
    TextStream stream = {0};
    Buf text = {0};
    text_stream_put(&stream, bytes, len, &text);
    text_stream_end(&stream, &text);
    for (size_t at = 0; at < text.len;) {
        const char *zero = memchr(text.ptr + at, 0, text.len - at);
        size_t n = zero ? (size_t)(zero - text.ptr) - at : text.len - at;
        buf_put(out, text.ptr + at, n);
        if (zero) buf_puts(out, "\xEF\xBF\xBD");
        at += n + (zero != NULL);
    }
    out->failed = out->failed || text.failed;
    buf_free(&text);
}

static bool is_inside(char byte) { return ((unsigned char)byte & 0xC0) == 0x80; }

/* Cuts do not leave half a character: a beginning without its end goes, an end without its beginning too. */
static size_t whole(const char *bytes, size_t len) {
    size_t n = len;
    while (n > 0 && len - n < 4 && is_inside(bytes[n - 1])) n--;
    if (n == 0 || !((unsigned char)bytes[n - 1] & 0x80)) return len;
    unsigned char lead = (unsigned char)bytes[n - 1];
    size_t want = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    return len - (n - 1) < want ? n - 1 : len;
}

static void put_cut(ToolsOutput *o, Buf *result) {
    size_t size = tail_size(o), half = o->head.len, n = o->total - half < size ? (size_t)(o->total - half) : size;
    char *end = mem_new(n + 1, 1);
    if (!end) {
        o->failed = true;
        return;
    }
    size_t at = (size_t)((o->total - n - half) % size), fits = size - at < n ? size - at : n;
    memcpy(end, o->tail + at, fits);
    memcpy(end + fits, o->tail, n - fits);
    uint64_t missing = o->total - half - n;
    if (!missing) {
        buf_put(&o->head, end, n);
        put_text(result, o->head.ptr, o->head.len);
    } else {
        size_t front = whole(o->head.ptr, half), skip = 0;
        while (skip < n && skip < 3 && is_inside(end[skip])) skip++;
        put_text(result, o->head.ptr, front);
        buf_printf(result, "\n[... %llu bytes were cut out here: a result has at most %zu ...]\n",
                   (unsigned long long)(missing + skip + half - front), o->most);
        put_text(result, end + skip, n - skip);
    }
    mem_free(end);
}

void tools_output_end(ToolsOutput *o, Buf *result) {
    if (o->tail) put_cut(o, result);
    else if (o->head.len) put_text(result, o->head.ptr, o->head.len);
    if (o->notes.len) {
        if (result->len && result->ptr[result->len - 1] != '\n') buf_putc(result, '\n');
        put_text(result, o->notes.ptr, o->notes.len);
    }
    result->failed = result->failed || o->failed || o->head.failed || o->notes.failed;
    buf_free(&o->head);
    buf_free(&o->notes);
    mem_free(o->tail);
    o->tail = NULL;
}
