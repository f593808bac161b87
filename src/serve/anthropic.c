/* Anthropic's /v1/messages: reading. The system text, blocks and tools become the messages that chat templates read. */
#include "serve/anthropic.h"

#include "serve/openai_messages.h"

#include <string.h>

static bool out_of_memory(ServeRefusal *no) {
    return serve_refuse(no, 500, NULL, "out of memory while reading the messages");
}

static const char *type_of(const json_t *value) {
    const char *type = json_string_value(json_object_get(value, "type"));
    return type ? type : "";
}

/* ---- blocks ------------------------------------------------------------------------------------------------------ */

/* A text, or blocks of text, appended. */
static bool read_texts(ServeRefusal *no, const char *name, const json_t *value, Buf *text) {
    if (json_is_string(value)) {
        buf_put(text, json_string_value(value), json_string_length(value));
        return true;
    }
    if (value && !json_is_null(value) && !json_is_array(value))
        return serve_refuse(no, 400, name, "'%s' must be a string or a list of text blocks", name);
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *block = json_array_get(value, i), *words = json_object_get(block, "text");
        if (strcmp(type_of(block), "text") != 0 || !json_is_string(words)) {
            (void)serve_refuse(no, 400, "type",
                               "blocks of type '%.40s' are not supported here; this server reads text alone",
                               type_of(block));
            return serve_refuse_inside(no, "%s[%zu]", name, i);
        }
        buf_put(text, json_string_value(words), json_string_length(words));
    }
    return true;
}

/* What is being put together of one message: what its blocks say, until its end or a result of a tool. */
typedef struct Turn {
    json_t *messages; /* where it goes */
    bool assistant;
    Buf text, thoughts;
    json_t *calls;
    bool any; /* text was said, if only an empty one */
} Turn;

static bool put_text(json_t *message, const char *name, const Buf *b) {
    return json_object_set_new(message, name, json_stringn_nocheck(b->ptr ? b->ptr : "", b->len)) == 0;
}

/* The message so far joins the others. */
static bool flush(ServeRefusal *no, Turn *t) {
    if (!t->any && !t->thoughts.len && !t->calls) return true;
    json_t *message = json_pack("{s:s}", "role", t->assistant ? "assistant" : "user");
    bool ok = message && !t->text.failed && !t->thoughts.failed && put_text(message, "content", &t->text);
    ok = ok && (!t->thoughts.len || put_text(message, "reasoning_content", &t->thoughts));
    ok = ok && (!t->calls || json_object_set(message, "tool_calls", t->calls) == 0);
    ok = ok && json_array_append(t->messages, message) == 0;
    json_decref(message);
    json_decref(t->calls);
    t->calls = NULL;
    t->any = false;
    buf_clear(&t->text);
    buf_clear(&t->thoughts);
    return ok || out_of_memory(no);
}

static bool read_use(ServeRefusal *no, Turn *t, const json_t *block) {
    json_t *id = json_object_get(block, "id"), *name = json_object_get(block, "name"),
           *input = json_object_get(block, "input");
    if (!json_is_string(id) || !json_is_string(name) || !json_is_object(input))
        return serve_refuse(no, 400, "tool_use",
                            "a tool_use block must have an 'id', a 'name' and an 'input' that is an object");
    if (!t->calls) t->calls = json_array();
    json_t *call =
        json_pack("{s:O,s:s,s:{s:O,s:O}}", "id", id, "type", "function", "function", "name", name, "arguments", input);
    return (call && json_array_append_new(t->calls, call) == 0) || out_of_memory(no);
}

/* A result is a message of its own. That something went wrong, templates have no place for: the text says it. */
static bool read_result(ServeRefusal *no, Turn *t, const json_t *block) {
    json_t *id = json_object_get(block, "tool_use_id");
    Buf text = {0};
    if (!json_is_string(id))
        return serve_refuse(no, 400, "tool_use_id", "a tool_result block must have a 'tool_use_id'");
    if (json_is_true(json_object_get(block, "is_error"))) buf_puts(&text, "Error: ");
    json_t *message = json_pack("{s:s,s:O}", "role", "tool", "tool_call_id", id);
    bool ok = read_texts(no, "content", json_object_get(block, "content"), &text) && flush(no, t);
    if (ok && (!message || text.failed || !put_text(message, "content", &text) ||
               json_array_append(t->messages, message) != 0))
        ok = out_of_memory(no);
    json_decref(message);
    buf_free(&text);
    return ok;
}

static bool read_block(ServeRefusal *no, Turn *t, const json_t *block) {
    const char *type = type_of(block);
    if (strcmp(type, "text") == 0) {
        const json_t *words = json_object_get(block, "text");
        if (!json_is_string(words)) return serve_refuse(no, 400, "text", "a block of type 'text' must have a string 'text'");
        buf_put(&t->text, json_string_value(words), json_string_length(words));
        t->any = true;
        return true;
    }
    if (t->assistant && strcmp(type, "thinking") == 0) {
        const char *words = json_string_value(json_object_get(block, "thinking"));
        if (words) buf_puts(&t->thoughts, words);
        return words || serve_refuse(no, 400, "thinking", "a thinking block must have a text 'thinking'");
    }
    if (t->assistant && strcmp(type, "redacted_thinking") == 0) return true; /* nobody here can read it */
    if (t->assistant && strcmp(type, "tool_use") == 0) return read_use(no, t, block);
    if (!t->assistant && strcmp(type, "tool_result") == 0) return read_result(no, t, block);
    return serve_refuse(no, 400, "type", "a block of type '%.40s' is not supported in a message of the %s", type,
                        t->assistant ? "assistant" : "user");
}

/* ---- messages and the system text -------------------------------------------------------------------------------- */

static bool read_content(ServeRefusal *no, Turn *t, const json_t *content) {
    if (json_is_string(content)) {
        buf_put(&t->text, json_string_value(content), json_string_length(content));
        t->any = true;
    } else if (!json_is_array(content)) {
        return serve_refuse(no, 400, "content", "'content' must be a string or a list of blocks");
    }
    t->any = t->any || json_array_size(content) == 0; /* as an answer that was stopped at once comes back */
    for (size_t i = 0; i < json_array_size(content); i++)
        if (!read_block(no, t, json_array_get(content, i))) return serve_refuse_inside(no, "content[%zu]", i);
    return flush(no, t);
}

static bool read_message(ServeRefusal *no, json_t *messages, const json_t *message) {
    const char *role = json_string_value(json_object_get(message, "role"));
    if (!json_is_object(message)) return serve_refuse(no, 400, "", "a message must be an object with 'role' and 'content'");
    bool assistant = role && strcmp(role, "assistant") == 0;
    if (!assistant && (!role || strcmp(role, "user") != 0))
        return serve_refuse(no, 400, "role",
                            "'role' must be user or assistant; the system text has a field of its own");
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)message, name, value)
        if (strcmp(name, "role") != 0 && strcmp(name, "content") != 0)
            return serve_refuse(no, 400, name, "the field '%.60s' is not supported here", name);
    Turn t = {.messages = messages, .assistant = assistant};
    bool ok = read_content(no, &t, json_object_get(message, "content"));
    json_decref(t.calls);
    buf_free(&t.text);
    buf_free(&t.thoughts);
    return ok;
}

static bool read_messages(ServeReading *r, const char *name, json_t *value) {
    size_t n = json_array_size(value);
    json_t *messages = json_object_get(serve_chat_of(r->ask, r->no), "messages");
    if (n == 0) return serve_refuse(r->no, 400, name, "'%s' must be a list of messages that is not empty", name);
    for (size_t i = 0; i < n; i++)
        if (!read_message(r->no, messages, json_array_get(value, i)))
            return serve_refuse_inside(r->no, "%s[%zu]", name, i);
    const char *last = json_string_value(json_object_get(json_array_get(value, n - 1), "role"));
    if (last && strcmp(last, "assistant") == 0)
        return serve_refuse(r->no, 400, name,
                            "the last message is the assistant's; beginning its answer for it is not supported");
    return true;
}

static bool read_system(ServeReading *r, const char *name, json_t *value) {
    Buf text = {0};
    json_t *messages = json_object_get(serve_chat_of(r->ask, r->no), "messages"),
           *message = json_pack("{s:s}", "role", "system");
    bool ok = read_texts(r->no, name, value, &text);
    if (ok && text.len &&
        (!message || text.failed || !put_text(message, "content", &text) ||
         json_array_insert(messages, 0, message) != 0))
        ok = out_of_memory(r->no);
    json_decref(message);
    buf_free(&text);
    return ok;
}

/* ---- tools ------------------------------------------------------------------------------------------------------- */

static json_t *as_function(ServeRefusal *no, const json_t *tool) {
    json_t *name = json_object_get(tool, "name"), *schema = json_object_get(tool, "input_schema"),
           *told = json_object_get(tool, "description");
    const char *type = json_string_value(json_object_get(tool, "type"));
    if (type && strcmp(type, "custom") != 0) {
        (void)serve_refuse(no, 400, "type",
                           "tools of type '%.40s' run on a server of Anthropic's; they are not supported", type);
        return NULL;
    }
    if (!serve_tool_name(name) || !json_is_object(schema)) {
        (void)serve_refuse(no, 400, serve_tool_name(name) ? "input_schema" : "name",
                           "a tool must have a 'name', best of letters, digits, _ and - alone, and an 'input_schema'");
        return NULL;
    }
    json_t *function = json_pack("{s:O}", "name", name);
    if (function && json_is_string(told)) json_object_set(function, "description", told);
    if (function) json_object_set(function, "parameters", schema);
    return json_pack("{s:s,s:o}", "type", "function", "function", function);
}

static bool read_tools(ServeReading *r, const char *name, json_t *value) {
    if (!json_is_array(value)) return serve_refuse(r->no, 400, name, "'%s' must be a list", name);
    json_t *tools = json_array();
    for (size_t i = 0; tools && i < json_array_size(value); i++) {
        json_t *tool = as_function(r->no, json_array_get(value, i));
        if (!tool || json_array_append_new(tools, tool) != 0) {
            json_decref(tools);
            return r->no->status ? serve_refuse_inside(r->no, "%s[%zu]", name, i) : out_of_memory(r->no);
        }
    }
    bool ok =
        tools && (json_array_size(tools) == 0 || json_object_set(serve_chat_of(r->ask, r->no), "tools", tools) == 0);
    json_decref(tools);
    return ok || out_of_memory(r->no);
}

static bool read_alone(ServeReading *r, const char *name, json_t *value) { return serve_want_bool(r, name, value, &r->ask->one_tool); }

static bool read_tool_name(ServeReading *r, const char *name, json_t *value) {
    r->ask->tool_name = json_string_value(value);
    return r->ask->tool_name || serve_refuse(r->no, 400, name, "'%s' must be a string", name);
}

static bool read_tool_choice(ServeReading *r, const char *name, json_t *value) {
    static const ServeField fields[] = {
        {"type", serve_field_idle}, {"name", read_tool_name}, {"disable_parallel_tool_use", read_alone}};
    static const char *const types[] = {"auto", "none", "any", "tool"};
    static const ServeToolChoice choices[] = {SERVE_TOOLS_AUTO, SERVE_TOOLS_NONE, SERVE_TOOLS_REQUIRED, SERVE_TOOLS_NAMED};
    const char *type = type_of(value);
    size_t i = 0;
    while (i < COUNT_OF(types) && strcmp(type, types[i]) != 0) i++;
    if (i == COUNT_OF(types) || (choices[i] == SERVE_TOOLS_NAMED && !json_object_get(value, "name")))
        return serve_refuse(r->no, 400, name, "'%s' must be of type auto, any, none, or tool with a 'name'", name);
    r->ask->tool_choice = choices[i];
    return serve_read_fields(r, value, fields, COUNT_OF(fields)) || serve_refuse_inside(r->no, "%s", name);
}

/* ---- the rest ---------------------------------------------------------------------------------------------------- */

static bool read_budget(ServeReading *r, const char *name, json_t *value) {
    int64_t tokens = 0;
    bool ok = serve_want_int(r, name, value, 1, INT32_MAX, &tokens);
    r->ask->max_reasoning = (int)tokens;
    return ok;
}

static bool read_display(ServeReading *r, const char *name, json_t *value) {
    const char *word = json_string_value(value);
    return (word && strcmp(word, "summarized") == 0) || /* nothing shorter is there: all is shown */
           serve_refuse(r->no, 400, name, "'%s' may be \"summarized\" alone", name);
}

/* As in the API itself, no thinking unless it is asked for. */
static bool read_thinking(ServeReading *r, const char *name, json_t *value) {
    static const ServeField fields[] = {{"type", serve_field_idle}, {"budget_tokens", read_budget}, {"display", read_display}};
    const char *type = type_of(value);
    bool on = strcmp(type, "enabled") == 0 || strcmp(type, "adaptive") == 0;
    if (!on && strcmp(type, "disabled") != 0)
        return serve_refuse(r->no, 400, name, "'%s' must be of type enabled, adaptive or disabled", name);
    if (!serve_read_fields(r, value, fields, COUNT_OF(fields))) return serve_refuse_inside(r->no, "%s", name);
    return json_object_set_new(serve_chat_kwargs(r->ask, r->no), "enable_thinking", json_boolean(on)) == 0 ||
           out_of_memory(r->no);
}

static bool read_stops(ServeReading *r, const char *name, json_t *value) {
    return json_is_array(value) ? serve_field_stop(r, name, value) : serve_refuse(r->no, 400, name, "'%s' must be a list of strings", name);
}

static bool read_output_config(ServeReading *r, const char *name, json_t *value) {
    static const ServeField fields[] = {{"format", serve_field_response_format}, {"effort", serve_field_effort}};
    return serve_read_fields(r, value, fields, COUNT_OF(fields)) || serve_refuse_inside(r->no, "%s", name);
}

/* clang-format off */
static const ServeField fields[] = {
    {"model", serve_field_idle}, {"metadata", serve_field_idle}, {"service_tier", serve_field_idle}, {"inference_geo", serve_field_idle},
    {"cache_control", serve_field_idle}, {"speed", serve_field_idle}, {"diagnostics", serve_field_idle},
    {"user_profile_id", serve_field_idle}, {"workspace_id", serve_field_idle},
    {"system", read_system}, {"messages", read_messages},
    {"tools", read_tools}, {"tool_choice", read_tool_choice}, {"thinking", read_thinking}, {"output_config", read_output_config},
    {"chat_template_kwargs", serve_field_template_kwargs},
    {"max_tokens", serve_field_max_tokens}, {"stop_sequences", read_stops}, {"stream", serve_field_stream},
    {"temperature", serve_field_temperature}, {"top_p", serve_field_top_p}, {"top_k", serve_field_top_k}, {"min_p", serve_field_min_p},
    {"seed", serve_field_seed},
    {"container", serve_field_empty}, {"mcp_servers", serve_field_empty}, {"context_management", serve_field_empty},
};
/* clang-format on */

static bool read(const ServeModel *model, json_t *body, ServeAsk *ask, ServeRefusal *no) {
    ServeReading r = {.model = model, .ask = ask, .no = no};
    ask->format_name = "output_config.format";
    json_t *kwargs = serve_chat_kwargs(ask, no);
    if (!kwargs || json_object_set_new(kwargs, "enable_thinking", json_false()) != 0) return out_of_memory(no);
    return serve_read_fields(&r, body, fields, COUNT_OF(fields)) && serve_chat_check(ask, no);
}

static bool read_to_answer(const ServeModel *model, json_t *body, ServeAsk *ask, ServeRefusal *no) {
    if (!read(model, body, ask, no)) return false;
    return ask->max_tokens > 0 ||
           serve_refuse(no, 400, "max_tokens", "'max_tokens' is missing or 0; say how long the answer may be");
}

const ServeShape SERVE_ANTHROPIC = {.read = read_to_answer,
                                    .stream = serve_anthropic_stream,
                                    .whole = serve_anthropic_whole,
                                    .error = serve_anthropic_error,
                                    .alive = "event: ping\ndata: {\"type\": \"ping\"}\n\n",
                                    .own_bytes = sizeof(ServeAnthropicStream)};
const ServeShape SERVE_ANTHROPIC_COUNT = {.read = read, .error = serve_anthropic_error};
