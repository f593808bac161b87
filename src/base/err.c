/* Errors: a code and one sentence. */
#include "base/base.h"

#include <stdio.h>
#include <string.h>

ErrCode (err_set)(Err *err, ErrCode code, const char *fmt, ...) {
    if (err) {
        va_list args;
        va_start(args, fmt);
        err->code = code;
        vsnprintf(err->text, sizeof err->text, fmt, args);
        va_end(args);
        utf8_clean(err->text);
    }
    return code;
}

ErrCode err_prefix(Err *err, const char *fmt, ...) {
    if (!err) return ERR_STATE;
    char context[sizeof err->text];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(context, sizeof context, fmt, args);
    va_end(args);
    if (n < 0) return err->code;
    size_t len = strlen(context);
    if (len + 3 > sizeof context) return err->code; /* no room left: the cause matters more than the context */
    size_t rest = strlen(err->text);
    if (rest > sizeof err->text - len - 3) rest = sizeof err->text - len - 3;
    memmove(err->text + len + 2, err->text, rest);
    memcpy(err->text, context, len);
    memcpy(err->text + len, ": ", 2);
    err->text[len + 2 + rest] = 0;
    utf8_clean(err->text);
    return err->code;
}

ErrCode err_no_memory(Err *err, uint64_t bytes, const char *what) {
    char size[32];
    return err_set(err, ERR_MEMORY, "out of memory: %s needs %s; close other programs or lower --ram and --ctx", what,
                   format_size(bytes, size));
}

int err_exit_code(ErrCode code) {
    switch (code) {
#define X(name, exit_code) \
    case name: return exit_code;
        ERR_LIST(X)
#undef X
    }
    return 1;
}
