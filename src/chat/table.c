/* A Markdown table in a terminal: its columns stand below each other, whatever lengths the model has written. */
#include "chat/inside.h"

#include <string.h>
#include <utf8proc.h>

enum { MOST_COLUMNS = 24, GAP = 2 };

typedef struct Row {
    Str cells[MOST_COLUMNS]; /* [n] */
    int n;
} Row;

static Str trimmed(const char *from, const char *to) {
    while (from < to && (*from == ' ' || *from == '\t')) from++;
    while (to > from && (to[-1] == ' ' || to[-1] == '\t')) to--;
    return str_make(from, (size_t)(to - from));
}

/* "| a | b |" -> a, b. A bar behind a backslash belongs to its cell. False: too many. */
static bool read_row(Str line, Row *row) {
    const char *end = line.ptr + line.len, *from = line.ptr + 1;
    row->n = 0;
    for (const char *at = from; at <= end; at++) {
        if (at < end && (*at != '|' || at[-1] == '\\')) continue;
        Str cell = trimmed(from, at);
        if (at == end && !cell.len) break; /* behind the last bar */
        if (row->n == MOST_COLUMNS) return false;
        row->cells[row->n++] = cell;
        from = at + 1;
    }
    return true;
}

/* |---|:--:| */
static bool is_ruler(const Row *row) {
    for (int i = 0; i < row->n; i++) {
        if (!row->cells[i].len) return false;
        for (size_t k = 0; k < row->cells[i].len; k++)
            if (row->cells[i].ptr[k] != '-' && row->cells[i].ptr[k] != ':') return false;
    }
    return row->n > 0;
}

/* How wide it is on the terminal; marks of bold text and code are not shown. */
static int width_of(Str cell) {
    int width = 0;
    for (size_t i = 0; i < cell.len;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)cell.ptr + i, (utf8proc_ssize_t)(cell.len - i), &c);
        if (n <= 0) n = 1, c = ' ';
        bool mark = c == '`' || (c == '*' && i + 1 < cell.len && cell.ptr[i + 1] == '*');
        if (mark && c == '*') n = 2;
        if (!mark) width += utf8proc_charwidth(c);
        i += (size_t)n;
    }
    return width;
}

static Str next_line(Str *rows) {
    const char *end = memchr(rows->ptr, '\n', rows->len);
    Str line = trimmed(rows->ptr, end ? end : rows->ptr + rows->len);
    size_t n = end ? (size_t)(end - rows->ptr) + 1 : rows->len;
    *rows = str_make(rows->ptr + n, rows->len - n);
    return line;
}

/* False: it is no table, or wider than the terminal. */
static bool measure(Str rows, int columns, int *widths, int *n) {
    Row row;
    bool ruler = false;
    *n = 0;
    while (rows.len) {
        if (!read_row(next_line(&rows), &row)) return false;
        bool here = is_ruler(&row);
        ruler = ruler || here;
        for (int i = 0; i < row.n && !here; i++) {
            int width = width_of(row.cells[i]);
            if (width > widths[i]) widths[i] = width;
        }
        if (row.n > *n) *n = row.n;
    }
    int all = 0;
    for (int i = 0; i < *n; i++) all += widths[i] + GAP;
    return ruler && (columns <= 0 || all - GAP <= columns);
}

static void repeat(const char *what, int n) {
    while (n-- > 0) fputs(what, stdout);
}

bool chat_table_put(Str rows, int columns, void (*put)(void *user, Str cell), void *user) {
    int widths[MOST_COLUMNS] = {0}, n = 0;
    if (!measure(rows, columns, widths, &n)) return false;
    while (rows.len) {
        Row row;
        (void)read_row(next_line(&rows), &row);
        bool ruler = is_ruler(&row);
        for (int i = 0; i < n; i++) {
            Str cell = i < row.n ? row.cells[i] : str_c("");
            if (ruler) repeat("\xE2\x94\x80", widths[i]); /* a line */
            else put(user, cell);
            if (i + 1 < n) repeat(" ", GAP + (ruler ? 0 : widths[i] - width_of(cell)));
        }
        fputs("\n", stdout);
    }
    return true;
}
