#define _XOPEN_SOURCE 700
#define _DEFAULT_SOURCE
#include "support/terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_SECONDS = 60 };

static void run_in(const char *name, const char *script) {
    setsid();
    int fd = open(name, O_RDWR);
    ioctl(fd, TIOCSCTTY, 0);
    for (int i = 0; i < 3; i++) dup2(fd, i);
    if (fd > 2) close(fd);
    setenv("TERM", "xterm", 1);
    execlp("bash", "bash", script, (char *)NULL);
    _exit(127);
}

Terminal *terminal_start(const char *line) {
    static char text[8192];
    Terminal *t = calloc(1, sizeof *t);
    const char *script = temp_path("terminal.sh");
    write_whole(temp_path("leaks"), "leak:wcsdup\n"); /* libedit never frees the names of functions that it was given */
    snprintf(text, sizeof text, "unset ${!SLUICE_*} NO_COLOR\nS='%s'\nT='%s'\nexport XDG_CONFIG_HOME=$T XDG_STATE_HOME=$T/home\n"
             "export LSAN_OPTIONS=suppressions=$T/leaks:print_suppressions=0\n%s\n",
             sluice_bin(), temp_dir(), line);
    write_whole(script, text);
    t->fd = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(t->fd >= 0 && grantpt(t->fd) == 0 && unlockpt(t->fd) == 0);
    struct winsize size = {.ws_row = 40, .ws_col = 200};
    ioctl(t->fd, TIOCSWINSZ, &size);
    char name[128];
    snprintf(name, sizeof name, "%s", ptsname(t->fd));
    t->pid = fork();
    if (t->pid == 0) run_in(name, script);
    assert_true(t->pid > 0);
    t->seen = calloc(1, 1);
    return t;
}

void terminal_type(Terminal *t, const char *keys) {
    assert_int_equal(write(t->fd, keys, strlen(keys)), strlen(keys));
}

/* False: the program is gone. */
static bool look(Terminal *t) {
    struct pollfd p = {t->fd, POLLIN, 0};
    if (poll(&p, 1, 100) <= 0) return true;
    t->seen = realloc(t->seen, t->len + 4097);
    ssize_t n = read(t->fd, t->seen + t->len, 4096);
    if (n > 0) t->len += (size_t)n;
    t->seen[t->len] = 0;
    return n > 0;
}

void terminal_wait(Terminal *t, const char *text) {
    time_t end = time(NULL) + PATIENCE_SECONDS;
    for (;;) {
        const char *found = strstr(t->seen + t->at, text);
        if (found) {
            t->at = (size_t)(found - t->seen) + strlen(text);
            return;
        }
        if (!look(t) || time(NULL) > end) fail_msg("'%s' does not come after %zu bytes of:\n%s", text, t->at, t->seen);
    }
}

bool terminal_shows(const Terminal *t, const char *text) { return strstr(t->seen, text) != NULL; }

int terminal_end(Terminal *t) {
    int status = 0;
    time_t end = time(NULL) + PATIENCE_SECONDS;
    while (look(t) && time(NULL) <= end) {}
    if (time(NULL) > end) fail_msg("it does not end:\n%s", t->seen);
    assert_int_equal(waitpid(t->pid, &status, 0), t->pid);
    close(t->fd);
    free(t->seen);
    free(t);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
