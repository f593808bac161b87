/* A question to a chat model: the conversation that a command line describes. */
#include "cli/prompt.h"
#include "answer/answer.h"
#include "cli/io.h"

#include <string.h>

static json_t *message(const char *role, const char *text, size_t len) {
    return json_pack("{s:s,s:s%}", "role", role, "content", text, len);
}

/* The request in the form of `sluice render`. NULL: out of memory, or no UTF-8. */
static json_t *make_request(const char *system, const char *text, size_t len, PromptThink think) {
    json_t *messages = json_array(), *kwargs = json_pack("{s:b}", "add_generation_prompt", 1);
    bool ok = messages && kwargs;
    if (ok && system) ok = json_array_append_new(messages, message("system", system, strlen(system))) == 0;
    if (ok) ok = json_array_append_new(messages, message("user", text, len)) == 0;
    if (ok && think != THINK_DEFAULT) ok = json_object_set_new(kwargs, "enable_thinking", json_boolean(think == THINK_ON)) == 0;
    if (ok) return json_pack("{s:o,s:n,s:o}", "messages", messages, "tools", "kwargs", kwargs);
    json_decref(messages);
    json_decref(kwargs);
    return NULL;
}

/* The tokenizer says where a text is not UTF-8. */
static ErrCode check_text(const Opened *e, const char *text, size_t len, const char *what, Err *err) {
    int32_t *ids = NULL;
    size_t n;
    ErrCode code = utf8_valid(text, len) ? ERR_OK : opened_tokenize(e, text, len, 0, &ids, &n, err);
    sluice_free(ids);
    return code ? err_prefix(err, "%s", what) : ERR_OK;
}

ErrCode prompt_chat(const Opened *e, const char *system, const char *text, size_t len, PromptThink think, TextIds *out, Err *err) {
    if (memchr(text, 0, len)) return err_set(err, ERR_FORMAT, "the prompt contains a zero byte; is it a text?");
    if (check_text(e, text, len, "the prompt", err) || (system && check_text(e, system, strlen(system), "--system", err))) return err->code;
    AnswerPrompts *prompts = answer_prompts_new(e->model, 0, err);
    if (!prompts) return err->code;
    AnswerPrompt prompt = {0};
    json_t *request = make_request(system && *system ? system : NULL, text, len, think);
    ErrCode code = request ? answer_prompt(prompts, request, &prompt, err) : err_no_memory(err, len, "the chat request");
    *out = prompt.ids;
    json_decref(request);
    answer_prompts_free(prompts);
    return code;
}
