/* Lines to stderr. Each line is written with one call, so that lines of several threads do not mix. */
#include "base/base.h"

#include <stdatomic.h>
#include <stdio.h>

static _Atomic int level_now = LOG_NOTE;

void log_set_level(LogLevel level) { atomic_store(&level_now, (int)level); }

LogLevel log_level(void) { return (LogLevel)atomic_load(&level_now); }

static void line(LogLevel level, const char *mark, const char *fmt, va_list args) {
    if ((int)level > atomic_load(&level_now)) return;
    char text[2048];
    vsnprintf(text, sizeof text, fmt, args);
    fprintf(stderr, "sluice: %s%s\n", mark, text);
}

#define LOG_FUNCTION(name, level, mark)   \
    void name(const char *fmt, ...) {     \
        va_list args;                     \
        va_start(args, fmt);              \
        line(level, mark, fmt, args);     \
        va_end(args);                     \
    }

LOG_FUNCTION(log_error, LOG_ERROR, "error: ")
LOG_FUNCTION(log_warn, LOG_WARN, "warning: ")
LOG_FUNCTION(log_note, LOG_NOTE, "")
LOG_FUNCTION(log_debug, LOG_DEBUG, "debug: ")
