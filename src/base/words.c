/* Choices: the words that an option takes. */
#include "base/base.h"

#include <stdio.h>
#include <string.h>

const char *words_of(const char *choices, char *out, size_t size) {
    size_t used = 0;
    for (const char *at = choices; *at && used < size;) {
        size_t n = strcspn(at, "|");
        const char *rest = at + n + (at[n] == '|'), *behind = strchr(rest, '|');
        const char *glue = !*rest ? "" : behind && behind[1] ? ", " : " or ";
        used += (size_t)snprintf(out + used, size - used, "%.*s%s", (int)n, at, glue);
        at = rest;
    }
    return out;
}

ErrCode word_value(const char *flag, const Word *words, size_t n, const char *given, int *value, Err *err) {
    char choices[128] = "", sentence[160];
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        if (!given || strcmp(given, words[i].word) == 0) {
            *value = words[i].value;
            return ERR_OK;
        }
        if (used < sizeof choices) used += (size_t)snprintf(choices + used, sizeof choices - used, "%s|", words[i].word);
    }
    return err_set(err, ERR_USAGE, "%s %s: choose %s", flag, given, words_of(choices, sentence, sizeof sentence));
}
