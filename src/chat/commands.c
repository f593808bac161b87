/* The lines that begin with "/": a table of names, what follows them, and what they do. */
#include "chat/inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* rest: what follows the name. True: the last question is to be answered. */
typedef bool Command(Chat *c, const char *rest);

static void say(const Err *err) { fprintf(stderr, "%s\n", err->text); }

/* ---- the conversation -------------------------------------------------------------------------------------------- */

static const char *role_of(const Chat *c, size_t i) {
    const char *role = json_string_value(json_object_get(json_array_get(c->messages, i), "role"));
    return role ? role : "";
}

/* Takes away what came behind the last question, calls and results among it; how many messages were left. */
static size_t back_to_question(Chat *c) {
    size_t n = json_array_size(c->messages);
    while (n > 0 && strcmp(role_of(c, n - 1), "user") != 0) {
        json_array_remove(c->messages, --n);
        c->changed = true;
    }
    return n;
}

static bool do_retry(Chat *c, const char *rest) {
    (void)rest;
    if (back_to_question(c) > 0) return true;
    fprintf(stderr, "there is no question yet\n");
    return false;
}

static bool do_undo(Chat *c, const char *rest) {
    (void)rest;
    size_t before = json_array_size(c->messages), n = back_to_question(c);
    if (n > 0) json_array_remove(c->messages, n - 1);
    c->changed = c->changed || before > 0;
    fprintf(stderr, before ? "the last question and its answer are gone\n" : "there is nothing to undo\n");
    return false;
}

static bool do_clear(Chat *c, const char *rest) {
    (void)rest;
    json_array_clear(c->messages);
    json_object_clear(c->always);
    answer_prompts_forget(c->prompts);
    c->name[0] = 0;
    c->changed = false;
    fprintf(stderr, "a new conversation\n");
    return false;
}

static bool do_system(Chat *c, const char *rest) {
    buf_clear(&c->system);
    buf_puts(&c->system, rest);
    c->changed = true;
    fprintf(stderr, *rest ? "the system text is set\n" : "no system text\n");
    return false;
}

enum { MOST_OF_A_FILE = 4 << 20 };

static bool do_file(Chat *c, const char *rest) {
    Buf text = {0};
    FILE *f = fopen(rest, "rb");
    size_t n = 0;
    char block[4096];
    if (!f) {
        fprintf(stderr, "%s cannot be read; /file PATH asks about a text file\n", *rest ? rest : "a file without a name");
        return false;
    }
    buf_printf(&text, "%s:\n\n", rest);
    while (text.len < MOST_OF_A_FILE && (n = fread(block, 1, sizeof block, f)) > 0) buf_put(&text, block, n);
    (void)fclose(f);
    bool ok = text.len < MOST_OF_A_FILE && !text.failed && utf8_valid(text.ptr, text.len) && !memchr(text.ptr, 0, text.len);
    if (ok) ok = json_array_append_new(c->messages, chat_message("user", text.ptr, text.len)) == 0;
    c->changed = c->changed || ok;
    if (ok) fprintf(stderr, "%zu bytes of %s are part of the conversation; ask about them\n", text.len, rest);
    else fprintf(stderr, "%s is no text of at most %d MiB\n", rest, MOST_OF_A_FILE >> 20);
    buf_free(&text);
    return false;
}

/* ---- sessions ---------------------------------------------------------------------------------------------------- */

static bool do_save(Chat *c, const char *rest) {
    Err err = {0};
    if (chat_save(c, *rest ? rest : c->name, &err)) say(&err);
    else fprintf(stderr, "saved as %s; sluice chat --resume %s goes on with it\n", c->name, c->name);
    return false;
}

static bool do_load(Chat *c, const char *rest) {
    Err err = {0};
    if (!*rest) fprintf(stderr, "/load NAME; /list shows the names\n");
    else if (chat_load(c, rest, &err)) say(&err);
    else fprintf(stderr, "%zu messages of %s\n", json_array_size(c->messages), rest);
    return false;
}

static bool do_list(Chat *c, const char *rest) {
    (void)rest;
    Err err = {0};
    StatesSession *list = NULL;
    size_t n = 0;
    if (!c->c->folder) fprintf(stderr, "there is no home folder, so nothing is kept\n");
    else if (states_session_list(c->c->folder, &list, &n, &err)) say(&err);
    else if (n == 0) fprintf(stderr, "nothing is saved yet\n");
    for (size_t i = 0; i < n; i++) fprintf(stderr, "  %s\n", list[i].name);
    mem_free(list);
    return false;
}

/* ---- settings ---------------------------------------------------------------------------------------------------- */

static bool do_think(Chat *c, const char *rest) {
    const char *source = sluice_chat_template(c->c->model);
    if (!source || !text_calls_thinks(str_c(source))) {
        fprintf(stderr, "this model's chat template knows no thoughts: it answers at once\n");
        return false;
    }
    bool on = strcmp(rest, "on") == 0, off = strcmp(rest, "off") == 0, hide = strcmp(rest, "hide") == 0;
    if (on || hide) c->think = CHAT_THINK_ON;
    if (off) c->think = CHAT_THINK_OFF;
    if (on || off || hide) c->hide_thoughts = hide;
    fprintf(stderr, on     ? "it thinks before it answers\n"
                    : off  ? "it answers at once\n"
                    : hide ? "it thinks, unseen\n"
                           : "/think on, off or hide\n");
    return false;
}

static bool do_set(Chat *c, const char *rest) {
    float top_k = (float)c->sampling.top_k; /* whole numbers up to 2^24 are exact */
    const struct { const char *name; float *value; double low, high; } settings[] = {
        {"temp", &c->sampling.temperature, 0, 1000},   {"top-k", &top_k, 0, 1 << 24},
        {"top-p", &c->sampling.top_p, 0, 1},           {"min-p", &c->sampling.min_p, 0, 1},
        {"presence", &c->sampling.presence, -100, 100}, {"frequency", &c->sampling.frequency, -100, 100},
        {"repeat", &c->sampling.repeat, 0.01, 100},
    };
    size_t n = strcspn(rest, " ");
    char *end = NULL;
    double value = strtod(rest + n, &end);
    for (size_t i = 0; i < COUNT_OF(settings); i++) {
        if (strlen(settings[i].name) != n || memcmp(settings[i].name, rest, n) != 0) continue;
        if (end == rest + n || *end || !(value >= settings[i].low && value <= settings[i].high)) break;
        *settings[i].value = (float)value;
        c->sampling.top_k = (int)top_k;
        fprintf(stderr, "%s is %g\n", settings[i].name, value);
        return false;
    }
    fprintf(stderr, "/set NAME VALUE:");
    for (size_t i = 0; i < COUNT_OF(settings); i++) fprintf(stderr, " %s %g", settings[i].name, (double)*settings[i].value);
    fprintf(stderr, "\n");
    return false;
}

static bool do_stats(Chat *c, const char *rest) {
    (void)rest;
    sluice_stats s;
    sluice_get_stats(c->c->model, &s);
    char read[32], held[32];
    double decode = s.decode_ns ? (double)s.decode_tokens / ((double)s.decode_ns * 1e-9) : 0;
    double prefill = s.prefill_ns ? (double)s.prefill_tokens / ((double)s.prefill_ns * 1e-9) : 0;
    fprintf(stderr, "read %llu tokens of prompts at %.1f/s, answered %llu at %.1f/s\n", (unsigned long long)s.prefill_tokens, prefill,
            (unsigned long long)s.decode_tokens, decode);
    fprintf(stderr, "experts: %.0f %% were in memory; %s read from disk; %s in memory now\n",
            s.experts_wanted ? 100.0 * (double)s.hits / (double)s.experts_wanted : 0.0, format_size(s.bytes_read, read),
            format_size(s.rss_bytes, held));
    return false;
}

static bool do_tools(Chat *c, const char *rest) {
    (void)rest;
    const Tools *t = c->c->tools;
    if (!t || !tools_count(t)) fprintf(stderr, "there are no tools; --tools FILE, --allow NAMES and --mcp COMMAND bring some\n");
    for (size_t i = 0; t && i < tools_count(t); i++) {
        const char *about = tools_about(t, i);
        bool always = c->c->yes || json_object_get(c->always, tools_name(t, i));
        fputs("  ", stderr);
        chat_show_plainly(stderr, str_c(tools_name(t, i)));
        fprintf(stderr, " (%s%s)  ", tools_origin(t, i), always ? ", runs without a question" : "");
        chat_show_plainly(stderr, str_make(about, strcspn(about, "\n")));
        fputs("\n", stderr);
    }
    return false;
}

static bool do_quit(Chat *c, const char *rest) {
    (void)rest;
    c->quit = true;
    return false;
}

static Command do_help;
static const struct { const char *name, *rest, *what; Command *run; } commands[] = {
    {"help", "", "this list", do_help},
    {"save", "[NAME]", "keep the conversation and the model's state", do_save},
    {"load", "NAME", "go on with one that was kept", do_load},
    {"list", "", "those that were kept, newest first", do_list},
    {"system", "[TEXT]", "another system text, or none", do_system},
    {"file", "PATH", "put a text file into the conversation", do_file},
    {"retry", "", "answer the last question again", do_retry},
    {"undo", "", "take the last question and its answer back", do_undo},
    {"clear", "", "begin a new conversation", do_clear},
    {"think", "on|off|hide", "thoughts before the answer: shown, none, unseen", do_think},
    {"set", "NAME VALUE", "sampling: temp, top-k, top-p, min-p, presence, frequency, repeat", do_set},
    {"tools", "", "what the model may call", do_tools},
    {"stats", "", "speed, hits and memory so far", do_stats},
    {"quit", "", "save and leave; so does the end of input (Ctrl-D)", do_quit},
};

static bool do_help(Chat *c, const char *rest) {
    (void)c, (void)rest;
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        fprintf(stderr, "  /%-7s %-12s %s\n", commands[i].name, commands[i].rest, commands[i].what);
    fprintf(stderr, "Alt-Enter begins a new line, so does \\ at the end of one; Tab completes commands and files.\n"
                    "Ctrl-C stops an answer or a call, not the conversation.\n");
    return false;
}

const char *chat_command_name(size_t i) { return i < COUNT_OF(commands) ? commands[i].name : NULL; }

bool chat_command_line(Chat *c, const char *line) {
    size_t n = strcspn(line + 1, " \n");
    const char *rest = line + 1 + n;
    while (*rest == ' ') rest++;
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        if (strlen(commands[i].name) == n && memcmp(commands[i].name, line + 1, n) == 0) return commands[i].run(c, rest);
    fprintf(stderr, "there is no /%.*s; /help lists what there is\n", (int)n, line + 1);
    return false;
}
