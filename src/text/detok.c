/* Streaming detokenisation: tokens are bytes and may end inside a character; what leaves here is whole characters. */
#include "text/tokenizer_parts.h"

#include <string.h>

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

/* Writes what of bytes[0..len) is decided, and returns how many bytes at the end may still become a character (at most 3). */
static size_t put_whole(const char *bytes, size_t len, Buf *out) {
    size_t done = 0;
    while (done < len) {
        size_t whole = text_utf8_prefix(bytes + done, len - done);
        buf_put(out, bytes + done, whole);
        done += whole;
        if (done == len) break;
        int n = text_utf8_char(bytes + done, len - done);
        if (n == 0) return len - done;
        buf_puts(out, replacement);
        done += (size_t)-n;
    }
    return 0;
}

void text_stream_put(TextStream *s, const char *bytes, size_t len, Buf *out) {
    /* Bytes join the held ones one by one until these are decided; the rest goes through in one piece. */
    while (s->n_held && len) {
        s->held[s->n_held++] = *bytes++;
        len--;
        size_t n = s->n_held, left = put_whole(s->held, n, out);
        memmove(s->held, s->held + n - left, left);
        s->n_held = left;
    }
    size_t left = put_whole(bytes, len, out);
    if (left) memcpy(s->held + s->n_held, bytes + len - left, left);
    s->n_held += left;
}

void text_stream_end(TextStream *s, Buf *out) {
    if (s->n_held) buf_puts(out, replacement); /* held bytes are the beginning of one character: one maximal subpart */
    s->n_held = 0;
}
