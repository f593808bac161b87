/* A chat request to the variables of a template, the way transformers prepares them. */
#include "text/text.h"

#include <string.h>

/* reasoning_content is what templates read; clients also send it as thinking or reasoning. */
static bool fill_reasoning(json_t *message) {
    const json_t *own = json_object_get(message, "reasoning_content");
    if (!json_is_object(message) || (own && !json_is_null(own))) return true;
    json_t *other = json_object_get(message, "thinking");
    if (!other || json_is_null(other)) other = json_object_get(message, "reasoning");
    if (!other || json_is_null(other)) return true;
    return json_object_set(message, "reasoning_content", other) == 0;
}

/* Shallow copies: the request itself stays as it is. */
static json_t *prepared_messages(const json_t *messages) {
    json_t *out = json_array();
    for (size_t i = 0; out && i < json_array_size(messages); i++) {
        json_t *m = json_array_get(messages, i);
        json_t *copy = json_is_object(m) ? json_copy(m) : json_incref(m);
        if (!copy || !fill_reasoning(copy)) {
            json_decref(copy);
            json_decref(out);
            return NULL;
        }
        if (json_array_append_new(out, copy) != 0) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}

ErrCode text_chat_render(const Template *t, const json_t *request, Buf *out, Err *err) {
    const json_t *messages = json_object_get(request, "messages");
    json_t *tools = json_object_get(request, "tools"), *kwargs = json_object_get(request, "kwargs");
    if (!json_is_object(request))
        return err_set(err, ERR_USAGE, "a chat request must be a JSON object with \"messages\"");
    if (!json_is_array(messages)) return err_set(err, ERR_USAGE, "\"messages\" of a chat request must be an array");
    if (tools && !json_is_array(tools) && !json_is_null(tools))
        return err_set(err, ERR_USAGE, "\"tools\" of a chat request must be an array or null");
    if (kwargs && !json_is_object(kwargs) && !json_is_null(kwargs))
        return err_set(err, ERR_USAGE, "\"kwargs\" of a chat request must be an object");
    json_t *vars = json_object(), *prepared = prepared_messages(messages);
    bool ok = vars && prepared && json_object_set(vars, "messages", prepared) == 0;
    ok = ok && (tools ? json_object_set(vars, "tools", tools) : json_object_set_new(vars, "tools", json_null())) == 0;
    ok = ok && json_object_set_new(vars, "documents", json_null()) == 0;
    ok = ok && json_object_set_new(vars, "add_generation_prompt", json_false()) == 0;
    ok = ok && (!json_is_object(kwargs) || json_object_update(vars, kwargs) == 0);
    ErrCode code = ok ? text_template_render(t, vars, out, err) : err_no_memory(err, 0, "a chat request");
    json_decref(prepared);
    json_decref(vars);
    return code;
}

static ErrCode parse_call(json_t *call, Err *err) {
    json_t *function = json_object_get(call, "function"), *holder = json_is_object(function) ? function : call;
    json_t *arguments = json_object_get(holder, "arguments"), *parsed;
    if (!json_is_string(arguments)) return ERR_OK;
    Err why = {0};
    if (json_string_length(arguments) == 0) parsed = json_object();
    else parsed = text_json_load(json_string_value(arguments), json_string_length(arguments), &why);
    if (why.code == ERR_MEMORY || (!parsed && why.code == ERR_OK))
        return err_no_memory(err, 0, "the arguments of a tool call");
    if (!json_is_object(parsed)) {
        json_decref(parsed);
        return ERR_OK;
    }
    return json_object_set_new(holder, "arguments", parsed) == 0
               ? ERR_OK
               : err_no_memory(err, 0, "the arguments of a tool call");
}

ErrCode text_chat_parse_arguments(json_t *messages, Err *err) {
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *calls = json_object_get(json_array_get(messages, i), "tool_calls");
        for (size_t k = 0; k < json_array_size(calls); k++) {
            ErrCode code = parse_call(json_array_get(calls, k), err);
            if (code != ERR_OK) return code;
        }
    }
    return ERR_OK;
}
