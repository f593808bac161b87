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
    EditLine *edit;       /* NULL: nobody types */
    History *history;
    Buf path;             /* of the history's file; empty: it is not kept */
    ChatLineName *name;   /* of the commands */
    bool goes_on;         /* the next line belongs to the one before */
    const char *question; /* in place of the prompt */
};

enum { REMEMBERED = 1000, WAIT_MS = 200, PASTE_MOST = 4 << 20 };

static ChatLine *line_of(EditLine *edit) {
    ChatLine *l = NULL;
    el_get(edit, EL_CLIENTDATA, &l);
    return l;
}

static const char *prompt(EditLine *edit) {
    const ChatLine *l = line_of(edit);
    return !l ? "" : l->question ? l->question : l->goes_on ? ". " : "> ";
}

/* ---- letters ----------------------------------------------------------------------------------------------------- */

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

static void put_letter(Buf *out, wchar_t letter) {
    char bytes[16]; /* more than any letter has */
    mbstate_t state = {0};
    size_t n = wcrtomb(bytes, letter, &state);
    if (n != (size_t)-1) buf_put(out, bytes, n);
}

/* ---- keys of our own --------------------------------------------------------------------------------------------- */

static unsigned char insert(EditLine *edit, const char *text) { return el_insertstr(edit, text) == 0 ? CC_REFRESH : CC_ERROR; }

static unsigned char on_newline(EditLine *edit, int key) {
    (void)key;
    return insert(edit, "\n");
}

/* What is pasted is one text, whatever ends of lines it has: the terminal says where it begins and ends. */
static unsigned char on_paste(EditLine *edit, int key) {
    static const char end[] = "\033[201~";
    (void)key;
    Buf text = {0};
    wchar_t letter;
    size_t n = sizeof end - 1;
    bool ended = false;
    while (!ended && text.len < PASTE_MOST && next_letter(edit, &letter) == 1) {
        put_letter(&text, letter == L'\r' ? L'\n' : letter);
        ended = text.len >= n && memcmp(text.ptr + text.len - n, end, n) == 0;
    }
    if (ended) text.len -= n;
    while (text.len && text.ptr[text.len - 1] == '\n') text.len--; /* it is sent by whoever reads it first */
    buf_putc(&text, 0);
    unsigned char result = text.failed ? CC_ERROR : insert(edit, text.ptr);
    buf_free(&text);
    return result;
}

/* The commands that begin with what stands before the cursor: what they have in common is added, or they are listed. */
static unsigned char complete_command(EditLine *edit, const ChatLine *l, const char *word, size_t len) {
    const char *first = NULL;
    size_t same = 0, n = 0;
    for (size_t i = 0; l->name(i); i++) {
        const char *name = l->name(i);
        if (strncmp(name, word, len) != 0) continue;
        if (n++ == 0) first = name, same = strlen(name);
        for (size_t k = 0; k < same; k++)
            if (name[k] != first[k]) same = k;
    }
    if (!n) return CC_ERROR;
    Buf rest = {0};
    buf_put(&rest, first + len, same - len);
    if (n == 1) buf_putc(&rest, ' ');
    buf_putc(&rest, 0);
    unsigned char result = rest.failed ? CC_ERROR : rest.len > 1 ? insert(edit, rest.ptr) : CC_REDISPLAY;
    buf_free(&rest);
    if (result != CC_REDISPLAY) return result;
    fputs("\n", stderr);
    for (size_t i = 0; l->name(i); i++)
        if (strncmp(l->name(i), word, len) == 0) fprintf(stderr, "/%s  ", l->name(i));
    fputs("\n", stderr);
    return result;
}

static unsigned char on_tab(EditLine *edit, int key) {
    const LineInfo *line = el_line(edit);
    const ChatLine *l = line_of(edit);
    size_t n = (size_t)(line->cursor - line->buffer);
    if (!l || n == 0 || *line->buffer != '/') return CC_ERROR;
    if (memchr(line->buffer, ' ', n)) return _el_fn_complete(edit, key); /* a file */
    return complete_command(edit, l, line->buffer + 1, n - 1);
}

static void bind_keys(EditLine *edit) {
    el_set(edit, EL_ADDFN, "sluice-newline", "begin a new line", on_newline);
    el_set(edit, EL_ADDFN, "sluice-paste", "take what is pasted", on_paste);
    el_set(edit, EL_ADDFN, "sluice-complete", "complete a command or a file", on_tab);
    el_set(edit, EL_BIND, "\\e\r", "sluice-newline", NULL); /* Alt-Enter */
    el_set(edit, EL_BIND, "\\e\n", "sluice-newline", NULL);
    el_set(edit, EL_BIND, "\\e[200~", "sluice-paste", NULL);
    el_set(edit, EL_BIND, "\t", "sluice-complete", NULL);
}

/* ---- beginning and end ------------------------------------------------------------------------------------------- */

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
    bind_keys(l->edit);
    el_source(l->edit, NULL);
    history(l->history, &event, H_SETSIZE, REMEMBERED);
    history(l->history, &event, H_SETUNIQUE, 1);
    if (!folder) return;
    buf_printf(&l->path, "%s/chat_history", folder);
    if (!l->path.failed) history(l->history, &event, H_LOAD, l->path.ptr);
}

ChatLine *chat_line_new(const char *folder, ChatLineName *name, Err *err) {
    ChatLine *l = MEM_NEW(ChatLine, 1);
    if (!l) {
        err_no_memory(err, sizeof *l, "the line editor");
        return NULL;
    }
    l->name = name;
    if (isatty(STDIN_FILENO) == 1 && isatty(STDERR_FILENO) == 1) open_editor(l, folder);
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

/* ---- reading ----------------------------------------------------------------------------------------------------- */

typedef enum Read { READ_LINE, READ_GIVEN_UP /* by Ctrl-C */, READ_END } Read;

/* The terminal is asked to mark what is pasted as long as somebody reads it. */
static Read edit_one(ChatLine *l, Buf *out) {
    int n = 0;
    fputs("\033[?2004h", stderr);
    el_resize(l->edit);
    const char *line = el_gets(l->edit, &n);
    fputs("\033[?2004l", stderr);
    if (!line && os_interrupted() && !os_terminated()) {
        os_forget_interrupt();
        fprintf(stderr, "\n");
        return READ_GIVEN_UP;
    }
    if (!line || n <= 0) return READ_END;
    buf_put(out, line, (size_t)n - (line[n - 1] == '\n'));
    return READ_LINE;
}

/* One line without its newline. */
static Read read_one(ChatLine *l, Buf *out) {
    if (l->edit) return edit_one(l, out);
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
