/* The program under test in a terminal of its own, as somebody sits there who reads and types. */
#ifndef TESTS_TERMINAL_H
#define TESTS_TERMINAL_H

#include "support/program.h"

typedef struct Terminal {
    int pid, fd;
    char *seen;     /* all that was shown since terminal_start, NUL-terminated */
    size_t len, at; /* at: behind what terminal_wait found last */
} Terminal;

/* Runs a line of bash in it, with $S and $T as `shell` has them. TERM is set to a terminal with colours. */
Terminal *terminal_start(const char *line);
void terminal_type(Terminal *t, const char *keys);
/* Waits until this text is shown behind what was found last; fails the test when it does not come, with all that did. */
void terminal_wait(Terminal *t, const char *text);
bool terminal_shows(const Terminal *t, const char *text); /* anywhere so far */
int terminal_end(Terminal *t); /* waits for its end; the exit code. Frees it */

#endif
