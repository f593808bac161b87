/* The conversation: lines in, answers out, kept in a session. */
#define _POSIX_C_SOURCE 200809L
#include "chat/inside.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { TURNS_BYTES = 4 << 20 }; /* of ids that were sampled, to be fed again as they are */

/* ---- sessions ---------------------------------------------------------------------------------------------------- */

/* "2026-11-22-0930", as long as nobody gives a better one. */
static void fresh_name(char *name, size_t size) {
    time_t now = time(NULL);
    struct tm parts;
    if (!localtime_r(&now, &parts) || !strftime(name, size, "%Y-%m-%d-%H%M%S", &parts)) snprintf(name, size, "conversation");
}

ErrCode chat_save(Chat *c, const char *name, Err *err) {
    char fresh[65];
    if (!c->c->folder) return err_set(err, ERR_STATE, "there is no home folder, so nothing can be kept");
    if (!*name) fresh_name(fresh, sizeof fresh), name = fresh;
    json_t *all = json_pack("{s:O,s:o,s:s%,s:i}", "messages", c->messages, "turns", answer_prompts_keep(c->prompts), "system",
                            c->system.ptr ? c->system.ptr : "", c->system.len, "think", (int)c->think);
    Buf text = {0};
    bool ok = chat_json(all, &text);
    json_decref(all);
    const sluice_session *state = sluice_logits(c->c->session) ? c->c->session : NULL;
    ErrCode code = ok ? states_session_save(c->c->folder, name, text.ptr, c->c->model, state, err)
                      : err_no_memory(err, 0, "the conversation");
    buf_free(&text);
    if (code) return code;
    if (name != c->name) snprintf(c->name, sizeof c->name, "%s", name);
    c->changed = false;
    return ERR_OK;
}

/* The newest, where "last" is asked for. */
static ErrCode find_name(const Chat *c, const char *name, char *out, size_t size, Err *err) {
    snprintf(out, size, "%s", name);
    if (strcmp(name, "last") != 0) return ERR_OK;
    StatesSession *list = NULL;
    size_t n = 0;
    ErrCode code = states_session_list(c->c->folder, &list, &n, err);
    if (!code && n == 0) code = err_set(err, ERR_STATE, "there is no conversation to go on with; none was kept in %s", c->c->folder);
    if (!code) snprintf(out, size, "%s", list[0].name);
    mem_free(list);
    return code;
}

ErrCode chat_load(Chat *c, const char *name, Err *err) {
    char found[65];
    Buf text = {0};
    Err why = {0};
    size_t known = 0;
    if (!c->c->folder) return err_set(err, ERR_STATE, "there is no home folder, so nothing was kept");
    ErrCode code = find_name(c, name, found, sizeof found, err);
    if (!code) code = states_session_load(c->c->folder, found, &text, c->c->model, c->c->session, &known, &why, err);
    json_t *all = code ? NULL : text_json_load(text.ptr ? text.ptr : "", text.len, err);
    json_t *messages = json_object_get(all, "messages"), *system = json_object_get(all, "system");
    if (!code && (!json_is_array(messages) || !json_is_string(system)))
        code = err_set(err, ERR_FORMAT, "the conversation %s cannot be read: it holds no messages", found);
    if (!code) {
        json_decref(c->messages);
        c->messages = json_incref(messages);
        json_object_clear(c->always);
        answer_prompts_forget(c->prompts);
        answer_prompts_recall(c->prompts, json_object_get(all, "turns"));
        buf_clear(&c->system);
        buf_put(&c->system, json_string_value(system), json_string_length(system));
        c->think = (ChatThink)json_integer_value(json_object_get(all, "think"));
        snprintf(c->name, sizeof c->name, "%s", found);
        c->changed = false;
        if (why.code) log_note("the state of %s is computed again: %s", found, why.text);
    }
    json_decref(all);
    buf_free(&text);
    return code;
}

/* ---- a question -------------------------------------------------------------------------------------------------- */

static double rate(size_t n, uint64_t ns) { return ns ? (double)n / ((double)ns * 1e-9) : 0; }

/* One dim line under the answer, for people. */
static void put_status(const Chat *c, const ChatTurn *t, const sluice_stats *before) {
    if (!chat_line_is_typed(c->line)) return;
    sluice_stats now;
    sluice_info info;
    sluice_get_stats(c->c->model, &now);
    sluice_get_info(c->c->model, &info);
    uint64_t wanted = now.experts_wanted - before->experts_wanted, busy = now.disk_busy_ns - before->disk_busy_ns;
    fprintf(stderr, "%s[%.1f tokens/s, %.0f %% of experts in memory, disk %.2f GB/s, context %d of %d%s%s]%s\n", c->colour ? "\033[2m" : "",
            rate(t->answer_tokens, t->decode_ns), wanted ? 100.0 * (double)(now.hits - before->hits) / (double)wanted : 0.0,
            busy ? (double)(now.disk_bytes - before->disk_bytes) / (double)busy : 0.0, sluice_position(c->c->session), info.ctx,
            t->interrupted ? ", stopped" : "", t->finish == ANSWER_LENGTH && !t->interrupted ? ", cut at its length" : "",
            c->colour ? "\033[0m" : "");
}

static void told(void *user, TextEventKind kind, Str text) { chat_show_event(user, kind, text); }
static void waiting(void *user, size_t tokens) { chat_show_waiting(user, tokens); }
static void ended(void *user, bool last) { chat_show_end(user, last); }

/* Answers the conversation as it stands. An error leaves it as it was before the question. */
static ErrCode answer(Chat *c) {
    Err err = {0};
    ChatRounds rounds = {0};
    sluice_stats before;
    size_t n = json_array_size(c->messages);
    sluice_get_stats(c->c->model, &before);
    ChatShow show = {.colour = c->colour, .terminal = c->c->terminal, .hide_thoughts = c->hide_thoughts};
    ChatEars ears = {.told = told, .waiting = waiting, .ended = ended, .user = &show};
    ErrCode code = chat_rounds(c, c->messages, &ears, &rounds, &err);
    if (code) {
        fprintf(stderr, "sluice: %s\n", err.text);
        if (rounds.n_calls) fprintf(stderr, "the question is taken back; what its calls did (%zu) is done\n", rounds.n_calls);
        while (json_array_size(c->messages) >= n) json_array_remove(c->messages, json_array_size(c->messages) - 1);
    } else {
        if (rounds.unfinished)
            fprintf(stderr, "%d rounds of calls and no answer yet: say \"go on\", or start with a larger --rounds\n", c->c->rounds);
        put_status(c, &rounds.last, &before);
    }
    os_forget_interrupt(); /* it ended the answer, and nothing else */
    c->changed = c->changed || !code;
    chat_rounds_free(&rounds);
    return code;
}

/* A question that follows another without an answer between, as after /file, belongs to it. */
static bool ask(Chat *c, const Buf *line) {
    size_t n = json_array_size(c->messages);
    json_t *last = n ? json_array_get(c->messages, n - 1) : NULL;
    const char *role = json_string_value(json_object_get(last, "role"));
    if (!role || strcmp(role, "user") != 0) return json_array_append_new(c->messages, chat_message("user", line->ptr, line->len)) == 0;
    const json_t *content = json_object_get(last, "content");
    json_t *both = json_sprintf("%s\n\n%.*s", json_string_value(content), (int)line->len, line->ptr);
    return both && json_object_set_new(last, "content", both) == 0;
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

static ErrCode begin(Chat *c, Err *err) {
    const ChatConfig *k = c->c;
    c->messages = json_array();
    c->always = json_object();
    c->prompts = answer_prompts_new(k->model, TURNS_BYTES, err);
    if (c->prompts) c->line = chat_line_new(k->folder, chat_command_name, err);
    if (!c->line) return err->code;
    if (!c->messages || !c->always) return err_no_memory(err, 0, "the conversation");
    sluice_info info;
    sluice_get_info(k->model, &info);
    if (info.plan.snapshot_bytes + info.plan.free_bytes > 0) {
        StatesConfig states = {.model = k->model};
        c->states = states_new(&states, err);
        if (!c->states) return err->code;
    }
    if (k->system) buf_puts(&c->system, k->system);
    return k->resume ? chat_load(c, k->resume, err) : ERR_OK;
}

static void end(Chat *c) {
    Err err = {0};
    if (c->changed && json_array_size(c->messages) && c->c->folder && chat_line_is_typed(c->line)) {
        if (chat_save(c, c->name, &err)) fprintf(stderr, "sluice: %s\n", err.text);
        else fprintf(stderr, "kept as %s; sluice chat --resume %s goes on with it\n", c->name, c->name);
    }
    states_free(c->states);
    answer_prompts_free(c->prompts);
    chat_line_free(c->line);
    json_decref(c->messages);
    json_decref(c->always);
    buf_free(&c->system);
}

ErrCode chat_run(const ChatConfig *config, Err *err) {
    Chat c = {.c = config, .think = config->think, .sampling = config->sampling};
    c.colour = config->colour;
    ErrCode code = begin(&c, err);
    Buf line = {0};
    if (!code && chat_line_is_typed(c.line)) fprintf(stderr, "Ask something, or /help.\n");
    bool failed = false;
    while (!code && !c.quit && chat_line_read(c.line, &line)) {
        os_forget_interrupt();
        while (line.len && *line.ptr == '/' && line.ptr[line.len - 1] == ' ') line.len--; /* completion leaves one behind a file */
        buf_putc(&line, 0);
        line.len--;
        if (line.failed) code = err_no_memory(err, line.len, "a line");
        else if (line.len == 0) continue;
        else if (*line.ptr == '/') {
            if (chat_command_line(&c, line.ptr)) failed = answer(&c) != ERR_OK;
        } else if (!utf8_valid(line.ptr, line.len)) {
            fprintf(stderr, "this line is no UTF-8\n");
        } else if (!ask(&c, &line)) {
            code = err_no_memory(err, line.len, "the question");
        } else {
            failed = answer(&c) != ERR_OK;
        }
        if (os_terminated()) code = err_set(err, ERR_INTERRUPTED, "interrupted");
    }
    buf_free(&line);
    /* where nobody watches, an answer that failed is a failure of the command */
    if (!code && failed && !chat_line_is_typed(c.line)) code = err_set(err, ERR_STATE, "the last question was not answered");
    end(&c);
    return code;
}
