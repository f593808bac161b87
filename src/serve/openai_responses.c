/* OpenAI's /v1/responses: reading. The instructions and the items of the input become the messages that chat templates
 * read. Nothing is stored, so a conversation is sent whole each time. */
#include "serve/openai_responses.h"

#include "serve/openai_messages.h"
#include "text/text.h"

#include <string.h>

static bool out_of_memory(ServeRefusal *no) {
    return serve_refuse(no, 500, NULL, "out of memory while reading the input");
}

static const char *word_of(const json_t *value, const char *name) {
    const char *word = json_string_value(json_object_get(value, name));
    return word ? word : "";
}

static bool append(ServeRefusal *no, json_t *messages, json_t *message) {
    return (message && json_array_append_new(messages, message) == 0) || out_of_memory(no);
}

/* ---- items ------------------------------------------------------------------------------------------------------- */

/* A string, or parts that are one text together. NULL: *no says why. */
static json_t *text_of(ServeRefusal *no, const char *name, const json_t *content) {
    static const char *const types[] = {"input_text", "output_text", "text", "reasoning_text", "summary_text"};
    Buf text = {0};
    if (json_is_string(content)) return json_copy((json_t *)content);
    if (!json_is_array(content)) {
        (void)serve_refuse(no, 400, name, "'%s' must be a string or a list of parts", name);
        return NULL;
    }
    for (size_t i = 0; i < json_array_size(content); i++) {
        const json_t *part = json_array_get(content, i), *words = json_object_get(part, "text");
        size_t t = 0;
        while (t < COUNT_OF(types) && strcmp(types[t], word_of(part, "type")) != 0) t++;
        if (t == COUNT_OF(types) || !json_is_string(words)) {
            (void)serve_refuse(no, 400, "type", "parts of type '%.40s' are not supported; this server reads text alone",
                               word_of(part, "type"));
            (void)serve_refuse_inside(no, "%s[%zu]", name, i);
            buf_free(&text);
            return NULL;
        }
        buf_put(&text, json_string_value(words), json_string_length(words));
    }
    json_t *value = text.failed ? NULL : json_stringn_nocheck(text.ptr ? text.ptr : "", text.len);
    if (!value) out_of_memory(no);
    buf_free(&text);
    return value;
}

/* The assistant's message that is being gathered: reasoning, words and calls are items of their own here, and one
 * message there. */
static json_t *own_words(json_t *messages) {
    size_t n = json_array_size(messages);
    json_t *last = n ? json_array_get(messages, n - 1) : NULL;
    if (last && strcmp(word_of(last, "role"), "assistant") == 0) return last;
    json_t *message = json_pack("{s:s,s:s}", "role", "assistant", "content", "");
    return message && json_array_append_new(messages, message) == 0 ? message : NULL;
}

static bool read_message(ServeRefusal *no, json_t *messages, const json_t *item) {
    const char *role = word_of(item, "role");
    bool assistant = strcmp(role, "assistant") == 0,
         system = strcmp(role, "system") == 0 || strcmp(role, "developer") == 0;
    if (!assistant && !system && strcmp(role, "user") != 0)
        return serve_refuse(no, 400, "role", "'%.40s' is no role; there are user, assistant, system and developer",
                            role);
    json_t *text = text_of(no, "content", json_object_get(item, "content"));
    if (!text) return false;
    json_t *last = assistant ? own_words(messages) : NULL;
    if (assistant && last && strcmp(word_of(last, "content"), "") == 0 && !json_object_get(last, "tool_calls"))
        return json_object_set_new(last, "content", text) == 0 || out_of_memory(no);
    return append(no, messages, json_pack("{s:s,s:o}", "role", system ? "system" : role, "content", text));
}

static bool read_call(ServeRefusal *no, json_t *messages, const json_t *item) {
    json_t *id = json_object_get(item, "call_id"), *name = json_object_get(item, "name"),
           *arguments = json_object_get(item, "arguments");
    if (!json_is_string(id) || !json_is_string(name) || !json_is_string(arguments))
        return serve_refuse(no, 400, "call_id",
                            "a function_call must have 'call_id', 'name' and 'arguments', all strings");
    json_t *message = own_words(messages), *calls = json_object_get(message, "tool_calls");
    if (!calls && message) {
        calls = json_array();
        if (json_object_set_new(message, "tool_calls", calls) != 0) calls = NULL;
    }
    json_t *function = json_pack("{s:O,s:O}", "name", name, "arguments", arguments);
    if (function && !serve_call_arguments(function, no)) {
        json_decref(function);
        return false;
    }
    json_t *call = json_pack("{s:O,s:s,s:o}", "id", id, "type", "function", "function", function);
    if (calls) return append(no, calls, call);
    json_decref(call);
    return out_of_memory(no);
}

static bool read_output(ServeRefusal *no, json_t *messages, const json_t *item) {
    json_t *id = json_object_get(item, "call_id");
    if (!json_is_string(id)) return serve_refuse(no, 400, "call_id", "a function_call_output must have a 'call_id'");
    json_t *text = text_of(no, "output", json_object_get(item, "output"));
    return text &&
           append(no, messages, json_pack("{s:s,s:O,s:o}", "role", "tool", "tool_call_id", id, "content", text));
}

static bool read_reasoning(ServeRefusal *no, json_t *messages, const json_t *item) {
    const json_t *content = json_object_get(item, "content");
    if (json_array_size(content) == 0) return true; /* a summary is not what was thought */
    json_t *text = text_of(no, "content", content), *message = text ? own_words(messages) : NULL;
    if (!text) return false;
    return (message && json_object_set_new(message, "reasoning_content", text) == 0) || out_of_memory(no);
}

static bool read_item(ServeRefusal *no, json_t *messages, const json_t *item) {
    const char *type = word_of(item, "type");
    if (!json_is_object(item)) return serve_refuse(no, 400, "", "an item must be an object");
    if (!*type || strcmp(type, "message") == 0) return read_message(no, messages, item);
    if (strcmp(type, "function_call") == 0) return read_call(no, messages, item);
    if (strcmp(type, "function_call_output") == 0) return read_output(no, messages, item);
    if (strcmp(type, "reasoning") == 0) return read_reasoning(no, messages, item);
    return serve_refuse(no, 400, "type", "items of type '%.40s' are not supported", type);
}

static bool read_input(ServeReading *r, const char *name, json_t *value) {
    json_t *messages = json_object_get(serve_chat_of(r->ask, r->no), "messages");
    if (json_is_string(value)) return append(r->no, messages, json_pack("{s:s,s:O}", "role", "user", "content", value));
    if (!json_is_array(value) || json_array_size(value) == 0)
        return serve_refuse(r->no, 400, name, "'%s' must be a string or a list of items that is not empty", name);
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!read_item(r->no, messages, json_array_get(value, i)))
            return serve_refuse_inside(r->no, "%s[%zu]", name, i);
    return true;
}

static bool read_instructions(ServeReading *r, const char *name, json_t *value) {
    Str text;
    if (!serve_want_text(r, name, value, &text)) return false;
    json_t *messages = json_object_get(serve_chat_of(r->ask, r->no), "messages");
    json_t *message = json_pack("{s:s,s:O}", "role", "system", "content", value);
    return (message && json_array_insert_new(messages, 0, message) == 0) || out_of_memory(r->no);
}

/* ---- tools: a level flatter than in chat completions ------------------------------------------------------------- */

static bool read_tools(ServeReading *r, const char *name, json_t *value) {
    if (!json_is_array(value)) return serve_refuse(r->no, 400, name, "'%s' must be a list", name);
    json_t *tools = json_array();
    for (size_t i = 0; tools && i < json_array_size(value); i++) {
        json_t *tool = json_array_get(value, i), *function = json_copy(tool);
        if (function) json_object_del(function, "type");
        json_array_append_new(tools, json_pack("{s:s,s:o}", "type", word_of(tool, "type"), "function", function));
    }
    bool ok = tools && serve_field_tools(r, name, tools);
    json_decref(tools);
    char *inside = strstr(r->no->field, ".function."); /* as the client has it */
    if (!ok && inside) memmove(inside, inside + strlen(".function"), strlen(inside + strlen(".function")) + 1);
    return ok;
}

static bool read_tool_choice(ServeReading *r, const char *name, json_t *value) {
    if (strcmp(word_of(value, "type"), "function") != 0) return serve_field_tool_choice(r, name, value);
    r->ask->tool_name = json_string_value(json_object_get(value, "name"));
    r->ask->tool_choice = SERVE_TOOLS_NAMED;
    return r->ask->tool_name || serve_refuse(r->no, 400, name, "'%s' of type function must have a 'name'", name);
}

/* ---- the rest ---------------------------------------------------------------------------------------------------- */

static bool read_text(ServeReading *r, const char *name, json_t *value) {
    static const ServeField fields[] = {{"format", serve_field_response_format}, {"verbosity", serve_field_verbosity}};
    return serve_read_fields(r, value, fields, COUNT_OF(fields)) || serve_refuse_inside(r->no, "%s", name);
}

static bool read_reasoning_wish(ServeReading *r, const char *name, json_t *value) {
    static const ServeField fields[] = {
        {"effort", serve_field_effort}, {"summary", serve_field_idle}, {"generate_summary", serve_field_idle}};
    return serve_read_fields(r, value, fields, COUNT_OF(fields)) || serve_refuse_inside(r->no, "%s", name);
}

static bool read_truncation(ServeReading *r, const char *name, json_t *value) {
    const char *word = json_string_value(value);
    return (word && strcmp(word, "disabled") == 0) ||
           serve_refuse(r->no, 400, name, "'%s' may be \"disabled\" alone", name);
}

static bool read_top_logprobs(ServeReading *r, const char *name, json_t *value) {
    int64_t v = 0;
    return serve_want_int(r, name, value, 0, 0, &v) ||
           serve_refuse(r->no, 400, name, "'%s' is not supported here, only in chat completions", name);
}

/* What else may be in an answer. Of what this server has, only likelihoods, and not here. */
static bool read_include(ServeReading *r, const char *name, json_t *value) {
    if (!json_is_array(value)) return serve_refuse(r->no, 400, name, "'%s' must be a list", name);
    for (size_t i = 0; i < json_array_size(value); i++) {
        const char *word = json_string_value(json_array_get(value, i));
        if (!word || strcmp(word, "message.output_text.logprobs") == 0)
            return serve_refuse(r->no, 400, name, "'%s' of '%.40s' is not supported", name, word ? word : "");
    }
    return true;
}

/* clang-format off */
static const ServeField fields[] = {
    {"model", serve_field_idle}, {"user", serve_field_idle}, {"metadata", serve_field_idle}, {"store", serve_field_idle},
    {"service_tier", serve_field_idle}, {"prompt_cache_key", serve_field_idle}, {"prompt_cache_retention", serve_field_idle},
    {"prompt_cache_options", serve_field_idle}, {"safety_identifier", serve_field_idle}, {"include", read_include},
    {"instructions", read_instructions}, {"input", read_input},
    {"tools", read_tools}, {"tool_choice", read_tool_choice}, {"parallel_tool_calls", serve_field_parallel_tools},
    {"text", read_text}, {"reasoning", read_reasoning_wish}, {"chat_template_kwargs", serve_field_template_kwargs},
    {"max_output_tokens", serve_field_max_tokens}, {"seed", serve_field_seed},
    {"stream", serve_field_stream}, {"stream_options", serve_field_stream_options},
    {"temperature", serve_field_temperature}, {"top_p", serve_field_top_p}, {"top_k", serve_field_top_k}, {"min_p", serve_field_min_p},
    {"truncation", read_truncation}, {"top_logprobs", read_top_logprobs},
    {"background", serve_field_empty}, {"previous_response_id", serve_field_empty}, {"conversation", serve_field_empty},
    {"prompt", serve_field_empty}, {"max_tool_calls", serve_field_empty},
};
/* clang-format on */

static bool read(const ServeModel *model, json_t *body, ServeAsk *ask, ServeRefusal *no) {
    ServeReading r = {.model = model, .ask = ask, .no = no};
    ask->chat_name = "input";
    ask->format_name = "text.format";
    if (!serve_read_fields(&r, body, fields, COUNT_OF(fields))) return false;
    const json_t *input = json_object_get(body, "input");
    if (!input || json_is_null(input)) return serve_refuse(no, 400, "input", "'input' is missing");
    if (ask->max_tokens == 0)
        return serve_refuse(no, 400, "max_output_tokens", "'max_output_tokens' is 0, which asks for nothing");
    return serve_chat_check(ask, no);
}

const ServeShape SERVE_OPENAI_RESPONSES = {.read = read,
                                           .stream = serve_responses_stream,
                                           .whole = serve_responses_whole,
                                           .error = serve_openai_error,
                                           .alive = ": still working\n\n",
                                           .own_bytes = sizeof(ServeResponsesStream),
                                           .close = serve_responses_close};
