/* Functions of a file: a command that reads the arguments as JSON, or has them put into its words. */
#include "tools/inside.h"

#include "text/text.h"

#include <string.h>

ErrCode tools_command_check(const json_t *command, const char *name, Err *err) {
    bool ok = json_is_string(command) ? json_string_length(command) > 0 : json_array_size(command) > 0;
    for (size_t i = 0; i < json_array_size(command); i++) {
        const char *word = json_string_value(json_array_get(command, i));
        ok = ok && word && (i > 0 || *word) && strlen(word) == json_string_length(json_array_get(command, i));
    }
    if (ok) return ERR_OK;
    return err_set(err, ERR_FORMAT, "the tool %.100s needs a \"command\": [\"program\", \"argument\", ...], or a string for the shell",
                   name);
}

/* An argument as a word: strings as they are, everything else as JSON. */
static bool put_value(const json_t *value, Buf *out) {
    if (!json_is_string(value)) return text_json_put(value, out);
    buf_put(out, json_string_value(value), json_string_length(value));
    return true;
}

/* Puts arguments where {name} stands for one that the function declares. False: that argument was not given, so the word is left out. */
static bool put_word(const json_t *properties, const json_t *arguments, const char *word, Buf *out) {
    while (*word) {
        const char *end = *word == '{' ? strchr(word, '}') : NULL;
        char name[128] = "";
        size_t n = end ? (size_t)(end - word) - 1 : 0;
        if (end && n < sizeof name) memcpy(name, word + 1, n);
        if (!*name || !json_object_get(properties, name)) {
            buf_putc(out, *word++);
            continue;
        }
        const json_t *value = json_object_get(arguments, name);
        if (!value || json_is_null(value)) return false;
        if (!put_value(value, out)) out->failed = true;
        word = end + 1;
    }
    return true;
}

typedef struct Words {
    Buf text;              /* words one after another, each with its zero */
    const char **argv;
} Words;

/* NULL: a sentence is in `out`. */
static const char **fill_words(const ToolsEntry *e, const json_t *arguments, Words *w, ToolsOutput *out) {
    const json_t *properties = json_object_get(json_object_get(json_object_get(e->declared, "function"), "parameters"), "properties");
    size_t n = json_array_size(e->command), kept = 0, at = 0;
    for (size_t i = 0; i < n; i++) {
        size_t before = w->text.len;
        if (!put_word(properties, arguments, json_string_value(json_array_get(e->command, i)), &w->text)) {
            w->text.len = before;
            continue;
        }
        if (memchr(w->text.ptr ? w->text.ptr + before : "", 0, w->text.len - before)) {
            tools_output_note(out, "an argument holds a zero byte, which no program can be given");
            return NULL;
        }
        buf_putc(&w->text, 0);
        kept++;
    }
    w->argv = mem_new(kept + 1, sizeof *w->argv);
    if (!w->argv || w->text.failed) {
        tools_output_note(out, "there is no memory for this call");
        return NULL;
    }
    for (size_t i = 0; i < kept; i++, at += strlen(w->text.ptr + at) + 1) w->argv[i] = w->text.ptr + at;
    return w->argv;
}

ToolsEnd tools_command_call(Tools *t, const ToolsEntry *e, const json_t *arguments, ToolsOutput *out) {
    const char *const shell[] = {"/bin/sh", "-c", json_string_value(e->command), NULL};
    Words words = {{0}, NULL};
    Buf input = {0};
    const char *const *argv = json_is_string(e->command) ? shell : fill_words(e, arguments, &words, out);
    ToolsEnd end = TOOLS_FAILED;
    if (argv && text_json_put(arguments, &input)) {
        buf_putc(&input, '\n');
        ToolsRun run = {.argv = argv, .folder = t->folder.path, .input = {input.ptr, input.len}, .limit_ns = e->limit_ns};
        end = tools_run(&run, out);
    } else if (argv) {
        tools_output_note(out, "the arguments cannot be written as JSON");
    }
    buf_free(&input);
    buf_free(&words.text);
    mem_free(words.argv);
    return end;
}
