/* A line of input: edited and remembered where somebody types (libedit), read as it comes from a pipe. */
#define _POSIX_C_SOURCE 200809L
#include "chat/line.h"
#include "os/os.h"

#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

struct ChatLine {
    EditLine *edit;     /* NULL: nobody types */
    History *history;
    Buf path;           /* of the history's file; empty: it is not kept */
    bool goes_on;       /* the next line belongs to the one before */
    const char *question; /* in place of the prompt */
};

enum { REMEMBERED = 1000, WAIT_MS = 200 };

static const char *prompt(EditLine *edit) {
    ChatLine *l = NULL;
    el_get(edit, EL_CLIENTDATA, &l);
    return !l ? "" : l->question ? l->question : l->goes_on ? ". " : "> ";
}

/* libedit drops every letter that the locale does not know, and in "C" that is all but ASCII. */
static void choose_letters(void) {
    if (!setlocale(LC_CTYPE, "") || strcmp(nl_langinfo(CODESET), "UTF-8") != 0) (void)setlocale(LC_CTYPE, "C.UTF-8");
}

/* One letter, in UTF-8 one to four bytes. The wait is short, for Ctrl-C may come between a look and a wait, or to another thread. */
static int next_letter(EditLine *edit, wchar_t *letter) {
    (void)edit;
    mbstate_t state = {0};
    for (char byte;;) {
        struct pollfd keyboard = {STDIN_FILENO, POLLIN, 0};
        if (os_interrupted()) {
            errno = EINTR;
            return -1;
        }
        if (poll(&keyboard, 1, WAIT_MS) <= 0) continue;
        if (read(STDIN_FILENO, &byte, 1) != 1) return 0;
        size_t n = mbrtowc(letter, &byte, 1, &state);
        if (n <= 1) return 1;
        if (n == (size_t)-1) memset(&state, 0, sizeof state); /* no letter: it is left out */
    }
}

static void open_editor(ChatLine *l, const char *folder) {
    HistEvent event;
    choose_letters();
    l->edit = el_init("sluice", stdin, stderr, stderr); /* answers go to standard output, the prompt does not */
    l->history = history_init();
    if (!l->edit || !l->history) return;
    el_set(l->edit, EL_CLIENTDATA, l);
    el_set(l->edit, EL_PROMPT, prompt);
    el_set(l->edit, EL_GETCFN, next_letter);
    el_set(l->edit, EL_EDITOR, "emacs");
    el_set(l->edit, EL_HIST, history, l->history);
    el_source(l->edit, NULL);
    history(l->history, &event, H_SETSIZE, REMEMBERED);
    history(l->history, &event, H_SETUNIQUE, 1);
    if (!folder) return;
    buf_printf(&l->path, "%s/chat_history", folder);
    if (!l->path.failed) history(l->history, &event, H_LOAD, l->path.ptr);
}

ChatLine *chat_line_new(const char *folder, Err *err) {
    ChatLine *l = MEM_NEW(ChatLine, 1);
    if (!l) err_no_memory(err, sizeof *l, "the line editor");
    else if (isatty(STDIN_FILENO) == 1 && isatty(STDERR_FILENO) == 1) open_editor(l, folder);
    return l;
}

void chat_line_free(ChatLine *l) {
    HistEvent event;
    if (!l) return;
    if (l->history && l->path.len) history(l->history, &event, H_SAVE, l->path.ptr);
    if (l->edit) el_end(l->edit);
    if (l->history) history_end(l->history);
    buf_free(&l->path);
    mem_free(l);
}

bool chat_line_is_typed(const ChatLine *l) { return l->edit != NULL; }

typedef enum Read { READ_LINE, READ_GIVEN_UP /* by Ctrl-C */, READ_END } Read;

/* One line without its newline. */
static Read read_one(ChatLine *l, Buf *out) {
    if (l->edit) {
        int n = 0;
        el_resize(l->edit);
        const char *line = el_gets(l->edit, &n);
        if (!line && os_interrupted() && !os_terminated()) {
            os_forget_interrupt();
            fprintf(stderr, "\n");
            return READ_GIVEN_UP;
        }
        if (line && n > 0) buf_put(out, line, (size_t)n - (line[n - 1] == '\n'));
        return line && n > 0 ? READ_LINE : READ_END;
    }
    int c = EOF;
    bool any = false;
    while ((c = getchar()) != EOF && c != '\n') any = true, buf_putc(out, (char)c);
    return any || c == '\n' ? READ_LINE : READ_END;
}

bool chat_line_ask(ChatLine *l, const char *question, Buf *out) {
    buf_clear(out);
    if (!l->edit) return false;
    (void)tcflush(STDIN_FILENO, TCIFLUSH);
    l->question = question;
    Read read = read_one(l, out);
    l->question = NULL;
    buf_putc(out, 0);
    out->len -= !out->failed;
    return read == READ_LINE && !out->failed;
}

bool chat_line_read(ChatLine *l, Buf *out) {
    bool any = false;
    buf_clear(out);
    l->goes_on = false;
    for (Read read; (read = read_one(l, out)) != READ_END;) {
        any = true;
        if (read == READ_GIVEN_UP) buf_clear(out); /* the line, not the conversation */
        if (out->len == 0 || out->ptr[out->len - 1] != '\\') break;
        out->ptr[out->len - 1] = '\n';
        l->goes_on = true;
    }
    HistEvent event;
    if (any && l->edit && out->len) {
        buf_putc(out, 0);
        history(l->history, &event, H_ENTER, out->ptr);
        out->len--;
    }
    return any && !out->failed;
}
