/* What a pattern asks of a text before it reads it: ^(?=A)(?!B)REST, as checks of passwords and e-mail addresses have it. Where the
 * pattern is bound to the beginning, that is three languages of the usual kind: REST, and what begins with A, but not what begins with
 * B. Looking ahead from anywhere else is refused by the parser. */
#include "grammar/pattern.h"

#include <string.h>

/* Behind the group, or the class, that begins at `at`; NULL: it has no end. */
static const char *behind(const char *at, const char *end) {
    int depth = 0;
    bool in_class = false;
    for (; at < end; at++) {
        if (*at == '\\') at++;
        else if (in_class) in_class = *at != ']';
        else if (*at == '[') in_class = true;
        else if (*at == '(') depth++;
        else if (*at == ')' && --depth <= 0) return depth == 0 ? at + 1 : NULL;
    }
    return NULL;
}

static bool looks_ahead(const char *at, const char *end) {
    return end - at >= 3 && at[0] == '(' && at[1] == '?' && (at[2] == '=' || at[2] == '!');
}

/* Alternatives outside of all groups: then ^ binds the first alone. */
static bool has_alternatives(const char *at, const char *end) {
    bool in_class = false;
    for (; at && at < end; at++) {
        if (*at == '\\') at++;
        else if (in_class) in_class = *at != ']';
        else if (*at == '[') in_class = true;
        else if (*at == '|') return true;
        else if (*at == '(') {
            at = behind(at, end);
            if (!at) return false;
            at--;
        }
    }
    return false;
}

/* Texts that begin with what the pattern says. */
static GrammarDfa *beginning_with(const char *pattern, size_t len, Err *err) {
    Buf text = {0};
    buf_puts(&text, "^(?:");
    buf_put(&text, pattern, len);
    buf_puts(&text, ")");
    GrammarDfa *d = text.failed ? NULL : grammar_dfa_found(text.ptr, text.len, err);
    if (text.failed) err_no_memory(err, len, "a pattern");
    buf_free(&text);
    return d;
}

GrammarDfa *grammar_dfa_pattern(const char *pattern, size_t len, Err *err) {
    const char *end = pattern + len, *rest = pattern + 1, *next;
    if (len == 0 || *pattern != '^' || !looks_ahead(rest, end) || has_alternatives(pattern, end))
        return grammar_dfa_found(pattern, len, err);
    while (looks_ahead(rest, end) && (next = behind(rest, end))) rest = next;
    GrammarDfa *d = beginning_with(rest, (size_t)(end - rest), err);
    for (const char *at = pattern + 1; d && at < rest; at = next) {
        next = behind(at, end);
        d = grammar_dfa_and(d, beginning_with(at + 3, (size_t)(next - 1 - (at + 3)), err), at[2] == '!', err);
    }
    return d;
}
