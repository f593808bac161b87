/* What a model wants done: each call is shown, somebody is asked, it runs, and its result goes back to the model. */
#include "chat/inside.h"

#include <stdlib.h>
#include <string.h>

enum { ALL_SHOWN = 4000, HEAD_SHOWN = 2500, TAIL_SHOWN = 1000, RESULT_LINES = 8, RESULT_BYTES = 1000 };

typedef enum Verdict { RUN, RUN_NOT, STOP } Verdict;

static bool is_watched(const Chat *c) { return c->line && chat_line_is_typed(c->line); }

/* Without anybody there, the calls are still told, as any note. */
static bool is_heard(const Chat *c) { return is_watched(c) || log_level() >= LOG_NOTE; }

static void style(const Chat *c, const char *code) {
    if (c->colour) fputs(code, stderr);
}

/* ---- showing ----------------------------------------------------------------------------------------------------- */

/* A value on lines of its own, indented where it has several. */
static void put_value(Str text) {
    if (!memchr(text.ptr, '\n', text.len)) {
        chat_show_plainly(stderr, text);
        return;
    }
    while (text.len) {
        const char *end = memchr(text.ptr, '\n', text.len);
        size_t n = end ? (size_t)(end - text.ptr) : text.len;
        fputs("\n    | ", stderr);
        chat_show_plainly(stderr, str_make(text.ptr, n));
        n += end != NULL;
        text = str_make(text.ptr + n, text.len - n);
    }
}

/* Back to the beginning of a character. */
static size_t at_character(Str text, size_t at) {
    while (at > 0 && ((unsigned char)text.ptr[at] & 0xC0) == 0x80) at--;
    return at;
}

/* True: something long was left out. */
static bool put_argument(const char *name, const json_t *value, bool all) {
    Buf own = {0};
    Str text = str_make(json_string_value(value), json_string_length(value));
    if (!json_is_string(value)) {
        if (text_json_put(value, &own)) text = str_make(own.ptr, own.len);
        else text = str_c("(a number that cannot be shown)");
    }
    fputs("  ", stderr);
    chat_show_plainly(stderr, str_c(name));
    fputs(": ", stderr);
    bool cut = !all && text.len > ALL_SHOWN;
    if (cut) {
        size_t head = at_character(text, HEAD_SHOWN), tail = at_character(text, text.len - TAIL_SHOWN);
        put_value(str_make(text.ptr, head));
        fprintf(stderr, "\n    ... %zu bytes are not shown ...\n", tail - head);
        put_value(str_make(text.ptr + tail, text.len - tail));
    } else {
        put_value(text);
    }
    fputs("\n", stderr);
    buf_free(&own);
    return cut;
}

static bool put_call(const Chat *c, const char *name, const json_t *arguments, bool all) {
    bool cut = false;
    style(c, "\033[1m");
    fputs("call ", stderr);
    chat_show_plainly(stderr, str_c(name));
    style(c, "\033[0m");
    fputs("\n", stderr);
    json_t *each = (json_t *)arguments;
    for (void *it = json_object_iter(each); it; it = json_object_iter_next(each, it))
        cut = put_argument(json_object_iter_key(it), json_object_iter_value(it), all) || cut;
    return cut;
}

/* The first lines of a result, dimmed: the model has all of it. */
static void put_result(const Chat *c, Str text) {
    size_t bytes = text.len;
    style(c, "\033[2m");
    for (int lines = 0; text.len && lines < RESULT_LINES && bytes - text.len < RESULT_BYTES; lines++) {
        const char *end = memchr(text.ptr, '\n', text.len);
        size_t n = end ? (size_t)(end - text.ptr) : text.len, some = n < RESULT_BYTES ? n : at_character(text, RESULT_BYTES);
        fputs("  > ", stderr);
        chat_show_plainly(stderr, str_make(text.ptr, some));
        fputs(some < n ? " ...\n" : "\n", stderr);
        n += end != NULL;
        text = str_make(text.ptr + n, text.len - n);
    }
    if (text.len) fprintf(stderr, "  > ... and %zu bytes more\n", text.len);
    style(c, "\033[0m");
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

static Verdict ask(Chat *c, const char *name, const json_t *arguments, bool cut) {
    Buf answer = {0};
    Verdict verdict = STOP;
    const char *question = cut ? "run it? y(es), n(o), a(lways this tool), s(how all): " : "run it? y(es), n(o), a(lways this tool): ";
    while (chat_line_ask(c->line, question, &answer)) {
        const char *word = answer.len ? answer.ptr : "";
        bool yes = strcmp(word, "y") == 0 || strcmp(word, "yes") == 0, no = strcmp(word, "n") == 0 || strcmp(word, "no") == 0;
        bool always = strcmp(word, "a") == 0 || strcmp(word, "always") == 0;
        if (always) (void)json_object_set_new(c->always, name, json_true());
        if (yes || no || always) {
            verdict = no ? RUN_NOT : RUN;
            break;
        }
        if (cut && *word == 's') (void)put_call(c, name, arguments, true);
    }
    buf_free(&answer);
    return verdict;
}

/* why: for the model, where it is not run. */
static Verdict decide(Chat *c, const char *name, const json_t *arguments, Buf *why) {
    bool cut = is_heard(c) && put_call(c, name, arguments, false);
    if (!tools_check(c->c->tools, name, arguments, why)) return RUN_NOT; /* nobody is asked about what cannot be */
    if (c->c->yes || json_object_get(c->always, name)) return RUN;
    if (!is_watched(c)) {
        buf_puts(why, "calls are refused here: nobody can be asked, and the user did not allow them beforehand");
        if (is_heard(c)) fprintf(stderr, "  refused: there is nobody to ask; --yes allows calls\n");
        return RUN_NOT;
    }
    Verdict verdict = ask(c, name, arguments, cut);
    if (verdict == RUN_NOT) buf_puts(why, "the user did not allow this call");
    return verdict;
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

static ErrCode put_message(const json_t *call, Str text, json_t *messages, Err *err) {
    const json_t *function = json_object_get(call, "function");
    json_t *m = json_pack("{s:s,s:O,s:O,s:s%}", "role", "tool", "tool_call_id", json_object_get(call, "id"), "name",
                          json_object_get(function, "name"), "content", text.ptr, text.len);
    return m && json_array_append_new(messages, m) == 0 ? ERR_OK : err_no_memory(err, text.len, "the result of a call");
}

ErrCode chat_calls_refuse(const json_t *calls, size_t from, json_t *messages, const char *why, Err *err) {
    ErrCode code = ERR_OK;
    for (size_t i = from; !code && i < json_array_size(calls); i++)
        code = put_message(json_array_get(calls, i), str_c(why), messages, err);
    return code;
}

static const char NOT_RUN[] = "[not run: the user stopped here]";

/* One call. False: stop. */
static bool call_one(Chat *c, const json_t *call, json_t *messages, Err *err) {
    const json_t *function = json_object_get(call, "function"), *arguments = json_object_get(function, "arguments");
    const char *name = json_string_value(json_object_get(function, "name"));
    Buf why = {0}, result = {0};
    ToolsEnd end = TOOLS_DONE;
    Verdict verdict = decide(c, name, arguments, &why);
    if (verdict == RUN) end = tools_call(c->c->tools, name, arguments, &result);
    else buf_printf(&result, verdict == STOP ? NOT_RUN : "[not run: %s]", why.ptr ? why.ptr : "");
    if (verdict != STOP && is_heard(c)) put_result(c, str_make(result.ptr ? result.ptr : "", result.len));
    if (result.failed) (void)err_no_memory(err, result.len, "the result of a call");
    else (void)put_message(call, str_make(result.ptr ? result.ptr : "", result.len), messages, err);
    buf_free(&why);
    buf_free(&result);
    return verdict != STOP && end != TOOLS_STOPPED && !err->code;
}

bool chat_calls(Chat *c, const json_t *calls, json_t *messages, Err *err) {
    for (size_t i = 0; i < json_array_size(calls); i++) {
        if (call_one(c, json_array_get(calls, i), messages, err)) continue;
        if (!err->code) (void)chat_calls_refuse(calls, i + 1, messages, NOT_RUN, err);
        return false;
    }
    return true;
}
