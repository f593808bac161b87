/* Questions from a file, overnight: a line in, a line out. What the output answers already is not asked again, so a run that was ended
 * goes on where it was. */
#include "chat/inside.h"

#include <stdio.h>
#include <string.h>

typedef struct Batch {
    Chat chat;
    FILE *out;
    size_t done, failed; /* answers that were there already; questions that had none */
} Batch;

/* Whole lines of the output so far; half a line at its end is what was being written when the run ended, and is cut off. */
static ErrCode count_done(const char *path, size_t *done, Err *err) {
    long whole = 0;
    FILE *f = fopen(path, "rb");
    if (!f) return ERR_OK;
    int c;
    for (long at = 1; (c = getc(f)) != EOF; at++)
        if (c == '\n') ++*done, whole = at;
    bool ok = fclose(f) == 0 && os_cut_file(path, (uint64_t)whole);
    return ok ? ERR_OK : err_set(err, ERR_IO, "%s cannot be continued: its unfinished last line could not be cut off", path);
}

/* The messages of a line; NULL: err. *id borrowed from *object. */
static json_t *read_line(const char *line, size_t len, json_t **object, json_t **id, Err *err) {
    *object = *line == '{' ? text_json_load(line, len, err) : NULL;
    if (*line == '{' && !*object) return NULL;
    json_t *prompt = json_object_get(*object, "prompt"), *messages = json_object_get(*object, "messages");
    *id = json_object_get(*object, "id");
    if (json_is_array(messages)) return text_chat_parse_arguments(messages, err) ? NULL : json_incref(messages);
    if (*object && !json_is_string(prompt)) {
        err_set(err, ERR_FORMAT, "the line has neither a 'prompt' nor 'messages'");
        return NULL;
    }
    const char *text = *object ? json_string_value(prompt) : line;
    return json_pack("[o]", chat_message("user", text, *object ? json_string_length(prompt) : len));
}

static json_t *result_of(const ChatRounds *rounds) {
    const ChatTurn *t = &rounds->last;
    static const char *const words[] = {"length", "stop", "tool_calls", "stop", "length"};
    json_t *r = json_pack("{s:o,s:s,s:I,s:I}", "text", json_stringn(t->text.ptr ? t->text.ptr : "", t->text.len), "finish_reason",
                          words[t->finish], "tokens_prompt", (json_int_t)t->prompt_tokens, "tokens_out", (json_int_t)t->answer_tokens);
    if (r && t->thoughts.len) json_object_set_new(r, "reasoning_content", json_stringn(t->thoughts.ptr, t->thoughts.len));
    if (r && rounds->n_calls) json_object_set_new(r, "tool_calls_made", json_integer((json_int_t)rounds->n_calls));
    return r;
}

/* A question that cannot be answered has an answer that says why; only Ctrl-C and a full disk end the run. */
static ErrCode answer_line(Batch *b, size_t number, const char *line, size_t len, Err *err) {
    Err failure = {0};
    ChatRounds rounds = {0};
    const ChatTurn *turn = &rounds.last;
    json_t *object = NULL, *id = NULL, *messages = read_line(line, len, &object, &id, &failure);
    sluice_session_seed(b->chat.c->session, b->chat.c->seed); /* an answer does not depend on the questions before it */
    ErrCode code = messages ? chat_rounds(&b->chat, messages, &(ChatEars){0}, &rounds, &failure) : failure.code;
    if (turn->interrupted || code == ERR_INTERRUPTED)
        code = err_set(err, ERR_INTERRUPTED, "interrupted; the same command goes on where it was");
    if (code != ERR_INTERRUPTED) {
        json_t *result = code ? json_pack("{s:s}", "error", failure.text) : result_of(&rounds);
        if (code) b->failed++, log_warn("line %zu: %s", number, failure.text);
        if (result && id) json_object_set(result, "id", id);
        else if (result) json_object_set_new(result, "line", json_integer((json_int_t)number));
        Buf text = {0};
        code = chat_json(result, &text) ? ERR_OK : err_no_memory(err, 0, "an answer");
        if (!code && (fprintf(b->out, "%s\n", text.ptr) < 0 || fflush(b->out) != 0))
            code = err_set(err, ERR_IO, "the answer cannot be written; is the disk full?");
        buf_free(&text);
        json_decref(result);
    }
    chat_rounds_free(&rounds);
    json_decref(messages);
    json_decref(object);
    return code;
}

static ErrCode answer_lines(Batch *b, const Buf *in, Err *err) {
    ErrCode code = ERR_OK;
    size_t number = 0, questions = 0;
    for (size_t at = 0; !code && at < in->len;) {
        const char *line = in->ptr + at, *end = memchr(line, '\n', in->len - at);
        size_t len = end ? (size_t)(end - line) : in->len - at;
        at += len + 1;
        number++;
        while (len && (line[len - 1] == '\r' || line[len - 1] == ' ')) len--;
        if (len == 0 || ++questions <= b->done) continue;
        code = answer_line(b, number, line, len, err);
    }
    return code;
}

ErrCode chat_batch(const ChatConfig *config, const Buf *in, const char *out, Err *err) {
    Batch b = {.chat = {.c = config, .think = config->think, .sampling = config->sampling, .always = json_object()}, .out = stdout};
    ErrCode code = ERR_OK;
    if (out) code = count_done(out, &b.done, err);
    if (!code && out && !(b.out = fopen(out, "ab"))) code = err_set(err, ERR_IO, "%s cannot be written", out);
    if (!code && b.done) log_note("%zu answers are there already", b.done);
    b.chat.prompts = code ? NULL : answer_prompts_new(config->model, 0, err);
    if (!code && !b.chat.prompts) code = err->code;
    if (config->system) buf_puts(&b.chat.system, config->system);
    if (!code) code = answer_lines(&b, in, err);
    if (out && b.out && fclose(b.out) != 0 && !code) code = err_set(err, ERR_IO, "%s cannot be written; is the disk full?", out);
    if (!code && b.failed) code = err_set(err, ERR_RANGE, "%zu questions could not be answered; their lines say why", b.failed);
    answer_prompts_free(b.chat.prompts);
    json_decref(b.chat.always);
    buf_free(&b.chat.system);
    return code;
}
