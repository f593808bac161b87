/* A line of input: edited and remembered where somebody types (libedit), read as it comes from a pipe. */
#include "chat/line.h"
#include "os/os.h"

#include <histedit.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct ChatLine {
    EditLine *edit;     /* NULL: nobody types */
    History *history;
    Buf path;           /* of the history's file; empty: it is not kept */
    bool goes_on;       /* the next line belongs to the one before */
};

enum { REMEMBERED = 1000 };

static const char *prompt(EditLine *edit) {
    ChatLine *l = NULL;
    el_get(edit, EL_CLIENTDATA, &l);
    return l && l->goes_on ? ". " : "> ";
}

static void open_editor(ChatLine *l, const char *folder) {
    HistEvent event;
    l->edit = el_init("sluice", stdin, stderr, stderr); /* answers go to standard output, the prompt does not */
    l->history = history_init();
    if (!l->edit || !l->history) return;
    el_set(l->edit, EL_CLIENTDATA, l);
    el_set(l->edit, EL_PROMPT, prompt);
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

/* One line without its newline; false: the end. */
static bool read_one(ChatLine *l, Buf *out) {
    if (l->edit) {
        int n = 0;
        const char *line = el_gets(l->edit, &n);
        if (!line && os_interrupted() && !os_terminated()) { /* Ctrl-C gives the line up, not the conversation */
            os_forget_interrupt();
            fprintf(stderr, "\n");
            return true;
        }
        if (line && n > 0) buf_put(out, line, (size_t)n - (line[n - 1] == '\n'));
        return line && n > 0;
    }
    int c = EOF;
    bool any = false;
    while ((c = getchar()) != EOF && c != '\n') any = true, buf_putc(out, (char)c);
    return any || c == '\n';
}

bool chat_line_read(ChatLine *l, Buf *out) {
    bool any = false;
    buf_clear(out);
    l->goes_on = false;
    while (read_one(l, out)) {
        any = true;
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
