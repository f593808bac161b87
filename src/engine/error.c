/* Errors on their way out: what a room below said becomes the caller's sluice_error. */
#include "engine/inside.h"

#include <stdarg.h>
#include <stdio.h>

#define SAME_CODE(a, b) _Static_assert((int)a == (int)b, "sluice_code follows ErrCode")
SAME_CODE(SLUICE_USAGE, ERR_USAGE);
SAME_CODE(SLUICE_MEMORY, ERR_MEMORY);
SAME_CODE(SLUICE_STATE, ERR_STATE);
SAME_CODE(SLUICE_INTERRUPTED, ERR_INTERRUPTED);

int engine_fail(sluice_error *out, const Err *err) {
    if (out) {
        out->code = (int)err->code;
        snprintf(out->message, sizeof out->message, "%s", err->text);
    }
    return (int)err->code;
}

int engine_refuse(sluice_error *out, ErrCode code, const char *fmt, ...) {
    if (out) {
        va_list args;
        out->code = (int)code;
        va_start(args, fmt);
        vsnprintf(out->message, sizeof out->message, fmt, args);
        va_end(args);
    }
    return (int)code;
}
