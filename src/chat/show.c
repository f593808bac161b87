/* What a person sees of an answer: thoughts dimmed, and of Markdown what a terminal can show: headings and **bold** bold, `code` and
 * fenced blocks in a colour. Without colours it is the text as it is. Letters are shown as they come; only what may be a mark waits. */
#include "chat/inside.h"

#include <stdio.h>
#include <string.h>

#define DIM "\033[2m"
#define BOLD "\033[1m"
#define CODE "\033[36m"
#define PLAIN "\033[0m"

static void out(const char *bytes, size_t len) { (void)fwrite(bytes, 1, len, stdout); }
static void style(const ChatShow *s, const char *code) {
    if (s->colour) out(code, strlen(code));
}

/* A whole line of the answer, with its marks. */
static void put_line(ChatShow *s, const char *line, size_t len, bool ends) {
    bool fence = len >= 3 && (memcmp(line, "```", 3) == 0 || memcmp(line, "~~~", 3) == 0);
    bool bold = false, code = false, heading = !s->code && len && *line == '#';
    if (fence) s->code = !s->code;
    if (fence) style(s, DIM);
    else if (s->code) style(s, CODE);
    else if (heading) style(s, BOLD);
    for (size_t i = 0; i < len; i++) {
        if (s->colour && !fence && !s->code && line[i] == '`') {
            code = !code;
            style(s, code ? CODE : PLAIN);
        } else if (s->colour && !fence && !s->code && !code && i + 1 < len && line[i] == '*' && line[i + 1] == '*') {
            bold = !bold;
            style(s, bold || heading ? BOLD : PLAIN);
            i++;
        } else {
            out(line + i, 1);
        }
    }
    if (fence || s->code || heading || bold || code) style(s, PLAIN);
    if (ends) out("\n", 1);
}

/* Lines are shown when they are whole where marks are shown, and at once where they are not. */
static void put_text(ChatShow *s, Str text) {
    if (!s->colour) {
        out(text.ptr, text.len);
        return;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] != '\n') {
            buf_putc(&s->word, text.ptr[i]);
            continue;
        }
        put_line(s, s->word.ptr ? s->word.ptr : "", s->word.len, true);
        buf_clear(&s->word);
    }
    /* a paragraph is a single long line: what is before its last space cannot begin a mark, unless one is open */
    size_t cut = s->word.len;
    while (cut > 0 && s->word.ptr[cut - 1] != ' ') cut--;
    bool marks = s->word.len && (memchr(s->word.ptr, '`', s->word.len) || memchr(s->word.ptr, '*', s->word.len) || *s->word.ptr == '#');
    if (cut == 0 || marks || s->code) return;
    put_line(s, s->word.ptr, cut, false);
    memmove(s->word.ptr, s->word.ptr + cut, s->word.len - cut);
    s->word.len -= cut;
}

static void end_thoughts(ChatShow *s) {
    if (!s->thinking) return;
    style(s, PLAIN);
    out("\n\n", 2);
    s->thinking = false;
}

void chat_show_event(ChatShow *s, TextEventKind kind, Str text) {
    if (kind != TEXT_REASONING && kind != TEXT_CONTENT) return; /* calls are shown when they are whole */
    s->shown = s->shown || kind == TEXT_CONTENT || !s->hide_thoughts;
    if (kind == TEXT_REASONING) {
        if (s->hide_thoughts) return;
        if (!s->thinking) style(s, DIM);
        s->thinking = true;
        out(text.ptr, text.len);
    } else {
        end_thoughts(s);
        put_text(s, text);
    }
    fflush(stdout);
}

void chat_show_end(ChatShow *s, bool last) {
    end_thoughts(s);
    if (s->word.len) put_line(s, s->word.ptr, s->word.len, false);
    style(s, PLAIN);
    if (last || s->shown) out("\n", 1);
    fflush(stdout);
    buf_free(&s->word);
    s->shown = s->code = false;
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
