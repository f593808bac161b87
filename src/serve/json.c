/* Writing JSON of text that a model made, and server-sent events. */
#include "serve/ask.h"
#include "answer/answer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define REPLACEMENT "\xEF\xBF\xBD"

/* How many bytes the character at s has; 0: none begins here. */
static size_t character(const char *s, size_t len) {
    for (size_t n = 1; n <= 4 && n <= len; n++)
        if (utf8_valid(s, n)) return n;
    return 0;
}

json_t *serve_json_text(const char *bytes, size_t len) {
    if (utf8_valid(bytes ? bytes : "", len)) return json_stringn_nocheck(bytes ? bytes : "", len);
    Buf whole = {0};
    for (size_t i = 0; i < len;) {
        size_t n = character(bytes + i, len - i);
        if (n) buf_put(&whole, bytes + i, n);
        else buf_puts(&whole, REPLACEMENT);
        i += n ? n : 1;
    }
    json_t *value = whole.failed ? NULL : json_stringn_nocheck(whole.ptr ? whole.ptr : "", whole.len);
    buf_free(&whole);
    return value;
}

json_t *serve_json_str(Str s) { return serve_json_text(s.ptr, s.len); }

void serve_put_event(Buf *out, const char *name, json_t *value) {
    if (name) buf_printf(out, "event: %s\n", name);
    buf_puts(out, "data: ");
    if (!text_json_put(value, out)) out->failed = true;
    buf_puts(out, "\n\n");
    json_decref(value);
}

json_t *serve_json_id(const ServeReply *reply, const char *prefix) {
    return json_sprintf("%s%016" PRIx64, prefix, reply->number);
}

void serve_token_bytes(const ServeModel *model, int32_t id, Buf *out) { answer_token_bytes(model->model, id, out); }
