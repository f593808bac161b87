/* Until the template interpreter is in the tree: every call says so. */
#include "text/text.h"

#define PENDING __attribute__((weak))

PENDING Template *text_template_new(const char *source, size_t len, Err *err) {
    (void)source;
    (void)len;
    err_set(err, ERR_UNSUPPORTED, "chat templates are not in this build");
    return NULL;
}
PENDING void text_template_free(Template *t) { (void)t; }
PENDING ErrCode text_chat_render(const Template *t, const json_t *request, Buf *out, Err *err) {
    (void)t;
    (void)request;
    (void)out;
    return err_set(err, ERR_UNSUPPORTED, "chat templates are not in this build");
}
PENDING json_t *text_json_load(const char *text, size_t len, Err *err) {
    (void)text;
    (void)len;
    err_set(err, ERR_UNSUPPORTED, "chat templates are not in this build");
    return NULL;
}
