/* What a person sees of an answer: thoughts dimmed, and of Markdown what a terminal can show: headings and **bold** bold, `code` and
 * fenced blocks in a colour, tables with their columns below each other. Without colours it is the text as it is. Letters are shown as they
 * come; only what may be a mark waits. */
#include "chat/inside.h"

#include <stdio.h>
#include <string.h>

#define DIM "\033[2m"
#define BOLD "\033[1m"
#define CODE "\033[36m"
#define PLAIN "\033[0m"

enum { WAIT_NS = 1000000000 };

static void style(const ChatShow *s, const char *code) {
    if (s->colour) fputs(code, stdout);
}

/* A byte of the answer. On a terminal, a control would move what people read; elsewhere it is theirs. */
static void out(const ChatShow *s, char byte) {
    unsigned char b = (unsigned char)byte;
    if (s->terminal && ((b < 0x20 && b != '\n' && b != '\t') || b == 0x7F)) printf("\\x%02x", b);
    else (void)fputc(byte, stdout);
}

static bool is_fence(Str line) { return str_starts(line, "```") || str_starts(line, "~~~"); }

/* Words with their marks. base: the style around them. */
static void put_words(const ChatShow *s, Str text, const char *base) {
    bool bold = false, code = false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '`') {
            code = !code;
            style(s, PLAIN);
            style(s, code ? CODE : bold ? BOLD : base);
        } else if (!code && i + 1 < text.len && text.ptr[i] == '*' && text.ptr[i + 1] == '*') {
            bold = !bold;
            style(s, PLAIN);
            style(s, bold ? BOLD : base);
            i++;
        } else {
            out(s, text.ptr[i]);
        }
    }
    if (bold || code || *base) style(s, PLAIN);
}

/* A line of the answer, or the beginning of one. */
static void put_line(ChatShow *s, Str line, bool ends) {
    bool fence = !s->begun && is_fence(line), heading = !s->begun && str_starts(line, "#");
    if (fence) s->code = !s->code;
    if (fence || s->code) {
        style(s, fence ? DIM : CODE);
        for (size_t i = 0; i < line.len; i++) out(s, line.ptr[i]);
        style(s, PLAIN);
    } else {
        style(s, heading ? BOLD : "");
        put_words(s, line, heading ? BOLD : "");
    }
    if (ends) fputs("\n", stdout);
}

static void put_cell(void *user, Str cell) { put_words(user, cell, ""); }

/* What was held as a table, if anything was. */
static void put_table(ChatShow *s) {
    Str rows = str_make(s->table.ptr ? s->table.ptr : "", s->table.len);
    if (!rows.len) return;
    if (!chat_table_put(rows, os_terminal_columns(), put_cell, s))
        for (const char *end; rows.len && (end = memchr(rows.ptr, '\n', rows.len));) {
            size_t n = (size_t)(end - rows.ptr);
            put_line(s, str_make(rows.ptr, n), true);
            rows = str_make(rows.ptr + n + 1, rows.len - n - 1);
        }
    buf_clear(&s->table);
}

/* The line that is held is whole. */
static void end_line(ChatShow *s) {
    Str line = str_make(s->word.ptr ? s->word.ptr : "", s->word.len);
    if (!s->code && !s->begun && str_starts(line, "|")) {
        buf_put(&s->table, line.ptr, line.len);
        buf_putc(&s->table, '\n');
    } else {
        put_table(s);
        put_line(s, line, true);
    }
    buf_clear(&s->word);
    s->begun = false;
}

/* Lines are shown when they are whole where marks are shown, and at once where they are not. */
static void put_text(ChatShow *s, Str text) {
    for (size_t i = 0; i < text.len; i++) {
        if (!s->colour) out(s, text.ptr[i]);
        else if (text.ptr[i] == '\n') end_line(s);
        else buf_putc(&s->word, text.ptr[i]);
    }
    /* a paragraph is a single long line: what is before its last space cannot begin a mark, unless one is open */
    Str line = str_make(s->word.ptr ? s->word.ptr : "", s->word.len);
    size_t cut = line.len;
    while (cut > 0 && line.ptr[cut - 1] != ' ') cut--;
    bool marks = line.len && (memchr(line.ptr, '`', line.len) || memchr(line.ptr, '*', line.len));
    bool whole = line.len && !s->begun && (*line.ptr == '#' || *line.ptr == '|' || *line.ptr == '~');
    if (cut == 0 || marks || whole || s->code) return;
    put_table(s);
    put_line(s, str_make(line.ptr, cut), false);
    memmove(s->word.ptr, s->word.ptr + cut, s->word.len - cut);
    s->word.len -= cut;
    s->begun = true;
}

static void end_thoughts(ChatShow *s) {
    if (!s->thinking) return;
    style(s, PLAIN);
    fputs("\n\n", stdout);
    s->thinking = false;
}

/* A call is shown when it is whole; a word behind the cursor says that one is being written, and goes when something else comes. */
void chat_show_waiting(ChatShow *s, size_t tokens) {
    uint64_t now = os_now_ns();
    if (!s->colour || (s->told_ns && now - s->told_ns < WAIT_NS)) return;
    if (!s->told_ns) {
        s->told_ns = now;
        return;
    }
    printf("\0337" DIM " [%zu tokens so far]" PLAIN "\0338", tokens);
    fflush(stdout);
    s->waiting = true;
}

static void end_waiting(ChatShow *s) {
    s->told_ns = os_now_ns();
    if (s->waiting) fputs("\033[K", stdout);
    s->waiting = false;
}

void chat_show_event(ChatShow *s, TextEventKind kind, Str text) {
    end_waiting(s);
    if (kind != TEXT_REASONING && kind != TEXT_CONTENT) return; /* calls are shown when they are whole */
    s->shown = s->shown || kind == TEXT_CONTENT || !s->hide_thoughts;
    if (kind == TEXT_REASONING) {
        if (s->hide_thoughts) return;
        if (!s->thinking) style(s, DIM);
        s->thinking = true;
        for (size_t i = 0; i < text.len; i++) out(s, text.ptr[i]);
    } else {
        end_thoughts(s);
        put_text(s, text);
    }
    fflush(stdout);
}

void chat_show_end(ChatShow *s, bool last) {
    end_waiting(s);
    end_thoughts(s);
    if (s->word.len && *s->word.ptr == '|' && !s->begun && !s->code) end_line(s);
    bool table = s->table.len > 0;
    put_table(s);
    if (s->word.len) put_line(s, str_make(s->word.ptr, s->word.len), false);
    style(s, PLAIN);
    if ((last || s->shown) && !(table && !s->word.len)) fputs("\n", stdout);
    fflush(stdout);
    buf_free(&s->word);
    buf_free(&s->table);
    s->shown = s->code = s->begun = false;
}

/* Controls of C0 and C1, and what Unicode has to turn the direction of text, to hide letters and to end lines. */
static bool is_dangerous(uint32_t c) {
    return (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7F && c < 0xA0) || c == 0xAD || (c >= 0x200B && c <= 0x200F) ||
           (c >= 0x2028 && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF || (c >= 0xE0000 && c <= 0xE0FFF);
}

/* text is UTF-8. */
void chat_show_plainly(FILE *to, Str text) {
    for (size_t i = 0, n; i < text.len; i += n) {
        unsigned char b = (unsigned char)text.ptr[i];
        n = b < 0x80 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
        if (n > text.len - i) n = text.len - i;
        uint32_t c = n == 1 ? b : b & (0x7Fu >> n);
        for (size_t k = 1; k < n; k++) c = c << 6 | ((unsigned char)text.ptr[i + k] & 0x3F);
        if (is_dangerous(c)) fprintf(to, c < 0x100 ? "\\x%02x" : "\\u{%x}", c);
        else (void)fwrite(text.ptr + i, 1, n, to);
    }
}
