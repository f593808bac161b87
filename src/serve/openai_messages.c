/* Messages, tools and what goes with them: checked field by field, and brought into the form that chat templates read:
 * content as one text, arguments of calls as objects. */
#include "serve/openai_messages.h"

#include "text/text.h"

#include <string.h>

static bool out_of_memory(ServeRefusal *no) {
    return serve_refuse(no, 500, NULL, "out of memory while reading the messages");
}

json_t *serve_chat_of(ServeAsk *ask, ServeRefusal *no) {
    if (!ask->chat)
        ask->chat = json_pack("{s:[],s:n,s:{s:b}}", "messages", "tools", "kwargs", "add_generation_prompt", 1);
    if (!ask->chat) out_of_memory(no);
    return ask->chat;
}

json_t *serve_chat_kwargs(ServeAsk *ask, ServeRefusal *no) {
    return json_object_get(serve_chat_of(ask, no), "kwargs");
}

/* ---- content ----------------------------------------------------------------------------------------------------- */

static bool read_part(ServeRefusal *no, json_t *part, Buf *text) {
    const char *type = json_string_value(json_object_get(part, "type"));
    const json_t *words = json_object_get(part, "text");
    if (!type) return serve_refuse(no, 400, "type", "a part of a message must be an object with a 'type'");
    if (strcmp(type, "refusal") == 0)
        words = json_object_get(part, "refusal");
    else if (strcmp(type, "text") != 0)
        return serve_refuse(no, 400, "type", "parts of type '%.60s' are not supported; this server reads text alone",
                            type);
    if (!json_is_string(words)) return serve_refuse(no, 400, "text", "a part of type '%s' must have a 'text'", type);
    buf_put(text, json_string_value(words), json_string_length(words));
    return true;
}

/* A text, or parts that are one text together. */
static bool read_content(ServeReading *r, const char *name, json_t *value) {
    json_t *message = r->own;
    if (json_is_string(value)) return json_object_set(message, name, value) == 0 || out_of_memory(r->no);
    if (!json_is_array(value)) return serve_refuse(r->no, 400, name, "'%s' must be a string or a list of parts", name);
    Buf text = {0};
    size_t i;
    json_t *part;
    json_array_foreach(value, i, part) if (!read_part(r->no, part, &text)) {
        buf_free(&text);
        return serve_refuse_inside(r->no, "content[%zu]", i);
    }
    bool ok = !text.failed &&
              json_object_set_new(message, name, json_stringn_nocheck(text.ptr ? text.ptr : "", text.len)) == 0;
    buf_free(&text);
    return ok || out_of_memory(r->no);
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

static bool read_role(ServeReading *r, const char *name, json_t *value) {
    static const char *const roles[] = {"system", "developer", "user", "assistant", "tool"};
    Str role;
    if (!serve_want_text(r, name, value, &role)) return false;
    for (size_t i = 0; i < COUNT_OF(roles); i++)
        if (str_eq_c(role, roles[i])) /* developer is what newer clients call the system */
            return json_object_set_new(r->own, name, json_string(i == 1 ? roles[0] : roles[i])) == 0 ||
                   out_of_memory(r->no);
    return serve_refuse(r->no, 400, name, "'%.40s' is no role; there are system, developer, user, assistant and tool",
                        role.ptr);
}

static bool read_word(ServeReading *r, const char *name, json_t *value) {
    Str text;
    return serve_want_text(r, name, value, &text) &&
           (json_object_set(r->own, name, value) == 0 || out_of_memory(r->no));
}

bool serve_call_arguments(json_t *function, ServeRefusal *no) {
    static const char name[] = "arguments";
    const json_t *given = json_object_get(function, name);
    if (!given || json_is_object(given)) return true;
    json_t *read = NULL;
    Str text = json_is_string(given) ? str_make(json_string_value(given), json_string_length(given)) : str_c("");
    if (json_is_null(given) || (json_is_string(given) && text.len == 0)) read = json_object(); /* none, as some clients say it */
    else if (json_is_string(given)) read = text_json_load(text.ptr, text.len, NULL);
    if (json_is_object(read)) return json_object_set_new(function, name, read) == 0 || out_of_memory(no);
    json_decref(read);
    return serve_refuse(no, 400, name, "'%s' of a call must be a string that holds one JSON object", name);
}

static bool check_call(ServeRefusal *no, json_t *call) {
    json_t *function = json_object_get(call, "function");
    const json_t *type = json_object_get(call, "type");
    if (!json_is_object(function)) return serve_refuse(no, 400, "function", "a tool call must have a 'function'");
    if (json_is_string(type) && strcmp(json_string_value(type), "function") != 0)
        return serve_refuse(no, 400, "type", "tool calls of type '%.40s' are not supported", json_string_value(type));
    if (!json_is_string(json_object_get(function, "name")))
        return serve_refuse(no, 400, "function.name", "a tool call must have a name");
    return serve_call_arguments(function, no) || serve_refuse_inside(no, "function");
}

static bool read_calls(ServeReading *r, const char *name, json_t *value) {
    if (!json_is_array(value)) return serve_refuse(r->no, 400, name, "'%s' must be a list", name);
    if (json_array_size(value) == 0) return true; /* templates ask whether there is a list */
    size_t i;
    json_t *call, *calls = json_deep_copy(value);
    if (json_object_set_new(r->own, name, calls) != 0) return out_of_memory(r->no);
    json_array_foreach(calls, i, call) if (!check_call(r->no, call)) return serve_refuse_inside(r->no, "%s[%zu]", name,
                                                                                                i);
    return true;
}

static bool read_message(ServeReading *r, json_t *message) {
    static const ServeField fields[] = {
        {"role", read_role},
        {"content", read_content},
        {"name", read_word},
        {"tool_call_id", read_word},
        {"tool_calls", read_calls},
        {"reasoning_content", read_word},
        {"reasoning", read_word},
        {"thinking", read_word},
        {"refusal", serve_field_empty},
        {"audio", serve_field_empty},
        {"function_call", serve_field_empty},
        {"annotations", serve_field_idle},
        {"cache_control", serve_field_idle},
    };
    json_t *out = r->own;
    if (!json_is_object(message)) return serve_refuse(r->no, 400, "", "a message must be an object with a 'role'");
    if (!serve_read_fields(r, message, fields, COUNT_OF(fields))) return false;
    const char *role = json_string_value(json_object_get(out, "role"));
    if (!role) return serve_refuse(r->no, 400, "role", "a message must have a 'role'");
    if (json_object_get(out, "content")) return true;
    if (strcmp(role, "assistant") != 0)
        return serve_refuse(r->no, 400, "content", "a message of role '%s' must have 'content'", role);
    return json_object_set_new(out, "content", json_string("")) == 0 || out_of_memory(r->no);
}

bool serve_field_messages(ServeReading *r, const char *name, json_t *value) {
    if (!json_is_array(value) || json_array_size(value) == 0)
        return serve_refuse(r->no, 400, name, "'%s' must be a list of messages that is not empty", name);
    json_t *messages = json_object_get(serve_chat_of(r->ask, r->no), "messages");
    size_t i;
    json_t *message;
    json_array_foreach(value, i, message) {
        ServeReading inside = *r;
        inside.own = json_object();
        if (!inside.own || json_array_append_new(messages, inside.own) != 0) return out_of_memory(r->no);
        if (!read_message(&inside, message)) return serve_refuse_inside(r->no, "%s[%zu]", name, i);
    }
    return true;
}

/* ---- tools ------------------------------------------------------------------------------------------------------- */

/* Models write names inside tags and quotes, and have to end them: what could be read as such an end is no name. */
bool serve_tool_name(const json_t *name) {
    size_t len = json_string_length(name);
    const unsigned char *s = (const unsigned char *)json_string_value(name);
    if (!s || len == 0 || len > 128) return false;
    for (size_t i = 0; i < len; i++)
        if (s[i] <= ' ' || s[i] == 127 || strchr("<>\"'\\", s[i])) return false;
    return true;
}

static bool check_tool(ServeRefusal *no, const json_t *tool) {
    const char *type = json_string_value(json_object_get(tool, "type"));
    const json_t *function = json_object_get(tool, "function"), *parameters = json_object_get(function, "parameters");
    if (!type || strcmp(type, "function") != 0)
        return serve_refuse(no, 400, "type", "tools of type '%.40s' are not supported, only functions",
                            type ? type : "");
    if (!serve_tool_name(json_object_get(function, "name")))
        return serve_refuse(no, 400, "function.name", "a function must have a name, best of letters, digits, _ and - alone");
    if (parameters && !json_is_object(parameters) && !json_is_null(parameters))
        return serve_refuse(no, 400, "function.parameters", "the parameters of a function must be a JSON schema");
    return true;
}

bool serve_field_tools(ServeReading *r, const char *name, json_t *value) {
    if (!json_is_array(value)) return serve_refuse(r->no, 400, name, "'%s' must be a list", name);
    size_t i;
    json_t *tool;
    json_array_foreach(value, i, tool) if (!check_tool(r->no, tool)) return serve_refuse_inside(r->no, "%s[%zu]", name,
                                                                                                i);
    if (json_array_size(value) == 0) return true;
    return json_object_set(serve_chat_of(r->ask, r->no), "tools", value) == 0 || out_of_memory(r->no);
}

bool serve_field_tool_choice(ServeReading *r, const char *name, json_t *value) {
    static const struct {
        const char *word;
        ServeToolChoice choice;
    } words[] = {{"auto", SERVE_TOOLS_AUTO}, {"none", SERVE_TOOLS_NONE}, {"required", SERVE_TOOLS_REQUIRED}};
    const char *word = json_string_value(value), *type = json_string_value(json_object_get(value, "type"));
    for (size_t i = 0; word && i < COUNT_OF(words); i++)
        if (strcmp(word, words[i].word) == 0) {
            r->ask->tool_choice = words[i].choice;
            return true;
        }
    r->ask->tool_name = json_string_value(json_object_get(json_object_get(value, "function"), "name"));
    if (word || !type || strcmp(type, "function") != 0 || !r->ask->tool_name)
        return serve_refuse(
            r->no, 400, name,
            "'%s' must be \"auto\", \"none\", \"required\" or {\"type\": \"function\", \"function\": {\"name\": ...}}",
            name);
    r->ask->tool_choice = SERVE_TOOLS_NAMED;
    return true;
}

bool serve_field_parallel_tools(ServeReading *r, const char *name, json_t *value) {
    bool parallel = true;
    bool ok = serve_want_bool(r, name, value, &parallel);
    r->ask->one_tool = !parallel;
    return ok;
}

static bool is_declared(const json_t *tools, const char *name) {
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const char *one =
            json_string_value(json_object_get(json_object_get(json_array_get(tools, i), "function"), "name"));
        if (one && strcmp(one, name) == 0) return true;
    }
    return false;
}

bool serve_chat_check(ServeAsk *ask, ServeRefusal *no) {
    const json_t *tools = json_object_get(ask->chat, "tools");
    bool any = json_array_size(tools) > 0,
         forced = ask->tool_choice == SERVE_TOOLS_REQUIRED || ask->tool_choice == SERVE_TOOLS_NAMED;
    if (json_array_size(json_object_get(ask->chat, "messages")) == 0)
        return serve_refuse(no, 400, ask->chat_name, "'%s' is missing", ask->chat_name);
    if (forced && !any)
        return serve_refuse(no, 400, "tool_choice", "'tool_choice' asks for a call, but no tools are given");
    if (ask->tool_choice == SERVE_TOOLS_NAMED && !is_declared(tools, ask->tool_name))
        return serve_refuse(no, 400, "tool_choice", "'tool_choice' names '%.80s', which is not among the tools",
                            ask->tool_name);
    if (forced && ask->format != SERVE_FORMAT_TEXT)
        return serve_refuse(no, 400, ask->format_name,
                            "'%s' and a 'tool_choice' that asks for a call exclude each other", ask->format_name);
    /* what must not be called is not shown */
    if (ask->tool_choice == SERVE_TOOLS_NONE && any && json_object_set_new(ask->chat, "tools", json_null()))
        return out_of_memory(no);
    return true;
}

/* ---- how the template is called ---------------------------------------------------------------------------------- */

bool serve_field_template_kwargs(ServeReading *r, const char *name, json_t *value) {
    if (!json_is_object(value)) return serve_refuse(r->no, 400, name, "'%s' must be an object", name);
    return json_object_update(serve_chat_kwargs(r->ask, r->no), value) == 0 || out_of_memory(r->no);
}

/* How long answers are to be: no template has a place for it, so only the middle can be had. */
bool serve_field_verbosity(ServeReading *r, const char *name, json_t *value) {
    const char *word = json_string_value(value);
    return (word && strcmp(word, "medium") == 0) || serve_refuse(r->no, 400, name, "'%s' may be \"medium\" alone", name);
}

/* Templates know thinking as on or off; those that know efforts read the word. What chat_template_kwargs says stays. */
bool serve_field_effort(ServeReading *r, const char *name, json_t *value) {
    static const char *const efforts[] = {"none", "minimal", "low", "medium", "high", "xhigh", "max"};
    const char *effort = json_string_value(value);
    size_t i = 0;
    while (effort && i < COUNT_OF(efforts) && strcmp(effort, efforts[i]) != 0) i++;
    if (!effort || i == COUNT_OF(efforts))
        return serve_refuse(r->no, 400, name, "'%s' must be none, minimal, low, medium, high, xhigh or max", name);
    json_t *kwargs = serve_chat_kwargs(r->ask, r->no);
    json_t *given = json_pack("{s:b,s:s}", "enable_thinking", i >= 2, "reasoning_effort", effort);
    bool ok = given && json_object_update_missing(kwargs, given) == 0;
    json_decref(given);
    return ok || out_of_memory(r->no);
}

static bool keep_schema(ServeReading *r, const char *name, json_t *value) {
    r->ask->schema = value;
    r->ask->format = SERVE_FORMAT_SCHEMA;
    return json_is_object(value) || json_is_boolean(value) || serve_refuse(r->no, 400, name, "'%s' must be a JSON schema", name);
}

static bool read_words(ServeReading *r, const char *name, json_t *value) {
    Str text;
    return serve_want_text(r, name, value, &text);
}

/* What is written keeps to the schema, strict or not. */
static bool read_strict(ServeReading *r, const char *name, json_t *value) {
    bool strict;
    return serve_want_bool(r, name, value, &strict);
}

/* The Responses API has the schema beside the type, chat completions one level deeper. */
static bool read_schema(ServeReading *r, const char *name, json_t *value) {
    static const ServeField fields[] = {{"type", serve_field_idle}, {"json_schema", serve_field_idle}, {"schema", keep_schema},
                                        {"name", read_words},       {"description", read_words},       {"strict", read_strict}};
    json_t *inner = json_object_get(value, "json_schema");
    if (!serve_read_fields(r, value, fields, COUNT_OF(fields))) return serve_refuse_inside(r->no, "%s", name);
    if (inner && !serve_read_fields(r, inner, fields, COUNT_OF(fields))) return serve_refuse_inside(r->no, "%s.json_schema", name);
    return r->ask->schema || serve_refuse(r->no, 400, name, "'%s' of type json_schema must have a 'schema'", name);
}

bool serve_field_response_format(ServeReading *r, const char *name, json_t *value) {
    const char *type = json_string_value(json_object_get(value, "type"));
    if (!type) return serve_refuse(r->no, 400, name, "'%s' must be an object with a 'type'", name);
    if (strcmp(type, "text") == 0) return true;
    const json_t *schema = json_object_get(value, "schema");
    if (strcmp(type, "json_object") == 0 && (!schema || json_is_null(schema))) { /* with one it is a schema, as llama.cpp has it */
        r->ask->format = SERVE_FORMAT_JSON;
        return true;
    }
    if (strcmp(type, "json_schema") != 0 && strcmp(type, "json_object") != 0)
        return serve_refuse(r->no, 400, name, "'%s' is of type '%.40s'; there are text, json_object and json_schema",
                            name, type);
    return read_schema(r, name, value);
}
