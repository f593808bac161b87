/* The functions that need no file: a shell, and files below one folder. */
#include "tools/inside.h"

#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_OF_A_FILE = 64 << 20, MOST_ENTRIES = 100000 };

/* A zero byte would end the name before the person who was asked thinks it does. */
static const char *path_of(const json_t *arguments, const char *otherwise, ToolsOutput *out) {
    const json_t *path = json_object_get(arguments, "path");
    const char *name = path ? json_string_value(path) : otherwise;
    if (name && *name && strlen(name) == (path ? json_string_length(path) : strlen(name))) return name;
    tools_output_note(out, "'path' is empty or holds a zero byte");
    return NULL;
}

static ToolsEnd failed(ToolsOutput *out, const Err *err) {
    tools_output_note(out, "%s", err->text);
    return TOOLS_FAILED;
}

static ToolsEnd run_shell(Tools *t, const json_t *arguments, ToolsOutput *out) {
    const json_t *command = json_object_get(arguments, "command");
    const char *const argv[] = {"/bin/sh", "-c", json_string_value(command), NULL};
    if (strlen(argv[2]) != json_string_length(command)) {
        tools_output_note(out, "'command' holds a zero byte");
        return TOOLS_FAILED;
    }
    ToolsRun run = {.argv = argv, .folder = t->folder.path, .together = true, .limit_ns = t->config.limit_ns};
    return tools_run(&run, out);
}

/* A line number, wherever it lies. */
static int64_t line_of(const json_t *value, int64_t otherwise) {
    double number = json_number_value(value);
    return !value ? otherwise : number < 1 ? 1 : number > 1e15 ? (int64_t)1e15 : (int64_t)number;
}

/* Lines from..to of a text, counted from 1. */
static Str lines_of(Str text, int64_t from, int64_t to) {
    const char *begin = text.ptr, *end = text.ptr + text.len;
    for (int64_t i = 1; i < from && begin < end; i++) {
        const char *next = memchr(begin, '\n', (size_t)(end - begin));
        begin = next ? next + 1 : end;
    }
    const char *stop = begin;
    for (int64_t i = from; i <= to && stop < end; i++) {
        const char *next = memchr(stop, '\n', (size_t)(end - stop));
        stop = next ? next + 1 : end;
    }
    return str_make(begin, (size_t)(stop - begin));
}

static ToolsEnd read_file(Tools *t, const json_t *arguments, ToolsOutput *out) {
    Err err = {0};
    Buf text = {0};
    const json_t *from = json_object_get(arguments, "from_line"), *to = json_object_get(arguments, "to_line");
    const char *name = path_of(arguments, NULL, out);
    if (!name) return TOOLS_FAILED;
    ErrCode code = os_folder_read(&t->folder, name, MOST_OF_A_FILE, &text, &err);
    if (!code && memchr(text.ptr ? text.ptr : "", 0, text.len))
        code = err_set(&err, ERR_FORMAT, "%.300s is no text (it holds zero bytes)", name);
    if (!code) {
        Str part = str_make(text.ptr ? text.ptr : "", text.len);
        if (from || to) part = lines_of(part, line_of(from, 1), line_of(to, INT64_MAX));
        tools_output_put(out, part.ptr, part.len);
        if (!part.len) tools_output_note(out, text.len ? "there are no such lines" : "the file is empty");
    }
    buf_free(&text);
    return code ? failed(out, &err) : TOOLS_DONE;
}

static ToolsEnd write_file(Tools *t, const json_t *arguments, ToolsOutput *out) {
    Err err = {0};
    const json_t *content = json_object_get(arguments, "content");
    bool made = false;
    const char *name = path_of(arguments, NULL, out);
    if (!name) return TOOLS_FAILED;
    size_t len = json_string_length(content);
    if (os_folder_write(&t->folder, name, json_string_value(content), len, &made, &err)) return failed(out, &err);
    tools_output_note(out, "%zu bytes are written to %.400s, %s", len, name, made ? "a new file" : "in place of what was there");
    return TOOLS_DONE;
}

typedef struct Listing {
    char **lines;          /* [n] */
    size_t n, cap, left_out;
    bool failed;
} Listing;

static bool list_one(void *user, const OsEntry *entry) {
    Listing *l = user;
    Buf line = {0};
    if (l->n == MOST_ENTRIES) return l->left_out++, true;
    if (entry->folder) buf_printf(&line, "%s/", entry->name);
    else buf_printf(&line, "%s (%llu bytes)", entry->name, (unsigned long long)entry->bytes);
    bool place = tools_grow((void **)&l->lines, l->n, &l->cap, sizeof *l->lines);
    l->failed = l->failed || !place || line.failed;
    if (place && !line.failed) l->lines[l->n++] = line.ptr;
    else buf_free(&line);
    return !l->failed;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static ToolsEnd list_dir(Tools *t, const json_t *arguments, ToolsOutput *out) {
    Err err = {0};
    Listing l = {0};
    const char *name = path_of(arguments, ".", out);
    if (!name) return TOOLS_FAILED;
    ErrCode code = os_folder_list(&t->folder, name, list_one, &l, &err);
    if (!code && l.failed) code = err_no_memory(&err, 0, "a list of files");
    if (!code && l.n) qsort(l.lines, l.n, sizeof *l.lines, by_name);
    for (size_t i = 0; i < l.n; i++) {
        if (!code) tools_output_put(out, l.lines[i], strlen(l.lines[i]));
        if (!code) tools_output_put(out, "\n", 1);
        mem_free(l.lines[i]);
    }
    if (!code && !l.n) tools_output_note(out, "the folder is empty");
    if (!code && l.left_out) tools_output_note(out, "and %zu more", l.left_out);
    mem_free(l.lines);
    return code ? failed(out, &err) : TOOLS_DONE;
}

/* ---- what models are told ---------------------------------------------------------------------------------------- */

#define PATH_OF(what) "\"path\": {\"type\": \"string\", \"description\": \"" what ", relative to the working folder\"}"

static const struct {
    const char *name, *about, *parameters;
    ToolsEnd (*call)(Tools *t, const json_t *arguments, ToolsOutput *out);
} built_in[] = {
    {"shell",
     "Run a command with /bin/sh in the working folder. The result is what it writes to standard output and standard error. It has no "
     "terminal and no input, and everything that it starts ends with it.",
     "{\"type\": \"object\", \"properties\": {\"command\": {\"type\": \"string\"}}, \"required\": [\"command\"]}", run_shell},
    {"read_file", "Read a text file, whole or some of its lines.",
     "{\"type\": \"object\", \"properties\": {" PATH_OF("the file") ", \"from_line\": {\"type\": \"integer\", \"description\": "
     "\"the first line, counted from 1\"}, \"to_line\": {\"type\": \"integer\", \"description\": \"the last line\"}}, "
     "\"required\": [\"path\"]}", read_file},
    {"write_file", "Write a text file, in place of one that is there. Folders that are missing are made.",
     "{\"type\": \"object\", \"properties\": {" PATH_OF("the file") ", \"content\": {\"type\": \"string\", \"description\": "
     "\"the whole text\"}}, \"required\": [\"path\", \"content\"]}", write_file},
    {"list_dir", "List the files and folders of a folder; names of folders end with a slash.",
     "{\"type\": \"object\", \"properties\": {" PATH_OF("the folder, by default the working folder itself") "}}", list_dir},
};

ErrCode tools_built_in_add(Tools *t, Str name, Err *err) {
    char words[200];
    for (size_t i = 0; i < COUNT_OF(built_in); i++) {
        if (!str_eq_c(name, built_in[i].name)) continue;
        ToolsEntry *entry = NULL;
        json_t *parameters = text_json_load(built_in[i].parameters, strlen(built_in[i].parameters), err);
        if (!parameters) return err->code;
        json_t *declared = json_pack("{s:s,s:{s:s,s:s,s:o}}", "type", "function", "function", "name", built_in[i].name, "description",
                                     built_in[i].about, "parameters", parameters);
        ErrCode code = declared ? tools_add(t, declared, "built in", &entry, err) : err_no_memory(err, 0, "a tool");
        if (entry) entry->built_in = built_in[i].call;
        return code;
    }
    return err_set(err, ERR_USAGE, "there is no built-in tool \"%.*s\"; choose %s, or all", (int)(name.len < 80 ? name.len : 80), name.ptr,
                   words_of(TOOLS_BUILT_IN, words, sizeof words));
}
