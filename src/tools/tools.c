/* The functions that a model may call, and one call. */
#include "tools/mcp.h"

#include "text/text.h"

#include <string.h>

enum { SECOND = 1000000000, LIMIT_SECONDS = 30, MOST_BYTES = 16 << 10, LEAST_BYTES = 64 };

Tools *tools_new(const ToolsConfig *config, Err *err) {
    Tools *t = MEM_NEW(Tools, 1);
    if (!t) {
        err_no_memory(err, sizeof *t, "the tools");
        return NULL;
    }
    t->config = *config;
    t->config.folder = NULL; /* borrowed for this call only */
    if (!t->config.limit_ns) t->config.limit_ns = (uint64_t)LIMIT_SECONDS * SECOND;
    if (!t->config.most_bytes) t->config.most_bytes = MOST_BYTES;
    if (t->config.most_bytes < LEAST_BYTES) t->config.most_bytes = LEAST_BYTES;
    if (!os_folder_open(&t->folder, config->folder ? config->folder : ".", err)) return t;
    tools_free(t);
    return NULL;
}

void tools_free(Tools *t) {
    if (!t) return;
    for (size_t i = 0; i < t->n; i++) {
        json_decref(t->entries[i].declared);
        json_decref(t->entries[i].command);
        mem_free(t->entries[i].origin);
        mem_free(t->entries[i].remote);
    }
    mem_free(t->entries);
    for (size_t i = 0; i < t->n_servers; i++) tools_mcp_stop(t->servers[i]);
    mem_free(t->servers);
    os_folder_close(&t->folder);
    mem_free(t);
}

/* ---- declaring --------------------------------------------------------------------------------------------------- */

bool tools_grow(void **list, size_t n, size_t *cap, size_t size) {
    if (n < *cap) return true;
    void *more = mem_resize(*list, 2 * *cap + 8, size);
    if (!more) return false;
    *list = more;
    *cap = 2 * *cap + 8;
    return true;
}

static const ToolsEntry *find(const Tools *t, const char *name) {
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->entries[i].name, name) == 0) return &t->entries[i];
    return NULL;
}

static ErrCode check_declared(const Tools *t, const json_t *declared, const char *origin, Err *err) {
    const json_t *function = json_object_get(declared, "function"), *parameters = json_object_get(function, "parameters");
    const char *type = json_string_value(json_object_get(declared, "type")), *name = json_string_value(json_object_get(function, "name"));
    if (!type || strcmp(type, "function") != 0 || !name || !*name)
        return err_set(err, ERR_FORMAT, "%.300s: a tool is {\"type\": \"function\", \"function\": {\"name\": ..., \"description\": ..., "
                       "\"parameters\": {...}}, \"command\": [...]}", origin);
    if (parameters && !json_is_object(parameters))
        return err_set(err, ERR_FORMAT, "%.300s: the \"parameters\" of %.100s are no JSON schema", origin, name);
    const ToolsEntry *other = find(t, name);
    if (!other) return ERR_OK;
    return err_set(err, ERR_USAGE, "the tool %.100s is declared twice: %.300s, and %.300s", name, other->origin, origin);
}

ErrCode tools_add(Tools *t, json_t *declared, const char *origin, ToolsEntry **entry, Err *err) {
    ErrCode code = check_declared(t, declared, origin, err);
    char *copy = code ? NULL : mem_strdup(origin);
    if (!code && (!copy || !tools_grow((void **)&t->entries, t->n, &t->cap, sizeof *t->entries)))
        code = err_no_memory(err, sizeof *t->entries, "a tool");
    if (code) {
        mem_free(copy);
        json_decref(declared);
        return code;
    }
    const char *name = json_string_value(json_object_get(json_object_get(declared, "function"), "name"));
    *entry = &t->entries[t->n++];
    **entry = (ToolsEntry){.name = name, .declared = declared, .origin = copy, .limit_ns = t->config.limit_ns};
    return ERR_OK;
}

ErrCode tools_allow(Tools *t, const char *names, Err *err) {
    const char *list = strcmp(names, "all") == 0 ? TOOLS_BUILT_IN : names;
    while (*list) {
        size_t n = strcspn(list, ",| ");
        ErrCode code = n ? tools_built_in_add(t, str_make(list, n), err) : ERR_OK;
        if (code) return code;
        list += n;
        if (*list) list++;
    }
    return ERR_OK;
}

json_t *tools_declared(const Tools *t) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < t->n; i++) (void)json_array_append(list, t->entries[i].declared);
    return list;
}

size_t tools_count(const Tools *t) { return t->n; }
const char *tools_name(const Tools *t, size_t i) { return t->entries[i].name; }
const char *tools_origin(const Tools *t, size_t i) { return t->entries[i].origin; }
const char *tools_about(const Tools *t, size_t i) {
    const char *about = json_string_value(json_object_get(json_object_get(t->entries[i].declared, "function"), "description"));
    return about ? about : "";
}

/* ---- calling ----------------------------------------------------------------------------------------------------- */

bool tools_check(const Tools *t, const char *name, const json_t *arguments, Buf *why) {
    const ToolsEntry *e = find(t, name);
    if (e) return tools_arguments_check(json_object_get(json_object_get(e->declared, "function"), "parameters"), arguments, why);
    buf_printf(why, "there is no tool %.100s", name);
    return false;
}

ToolsEnd tools_call(Tools *t, const char *name, const json_t *arguments, Buf *result) {
    Buf why = {0};
    ToolsOutput out = {.most = t->config.most_bytes};
    const ToolsEntry *e = find(t, name);
    ToolsEnd end = TOOLS_FAILED;
    if (!tools_check(t, name, arguments, &why)) tools_output_note(&out, "%s", why.ptr ? why.ptr : "these arguments do not fit");
    else if (e->built_in) end = e->built_in(t, arguments, &out);
    else if (e->server) end = tools_mcp_call(e->server, e->remote, arguments, e->limit_ns, &out);
    else end = tools_command_call(t, e, arguments, &out);
    buf_free(&why);
    tools_output_end(&out, result);
    return end;
}
