/* A file of functions: an array, or an object with "tools" (and MCP servers). What it says and nobody would do is refused. */
#include "tools/inside.h"

#include "text/text.h"

#include <string.h>

enum { MOST_OF_A_FILE = 4 << 20, MOST_SECONDS = 86400 };

/* Only these members, the last of them NULL. */
static ErrCode check_members(const json_t *object, const char *const *known, const char *where, Err *err) {
    json_t *all = (json_t *)object;
    for (void *it = json_object_iter(all); it; it = json_object_iter_next(all, it)) {
        const char *name = json_object_iter_key(it);
        size_t i = 0;
        while (known[i] && strcmp(known[i], name) != 0) i++;
        if (!known[i]) return err_set(err, ERR_FORMAT, "%.300s: \"%.100s\" is not known here", where, name);
    }
    return ERR_OK;
}

/* {"type", "function", "command", "seconds"} */
static ErrCode add_function(Tools *t, const json_t *item, const char *path, Err *err) {
    static const char *const known[] = {"type", "function", "command", "seconds", NULL};
    const json_t *seconds = json_object_get(item, "seconds");
    ToolsEntry *entry = NULL;
    ErrCode code = check_members(item, known, path, err);
    if (!code && seconds && !(json_number_value(seconds) > 0 && json_number_value(seconds) <= MOST_SECONDS))
        code = err_set(err, ERR_FORMAT, "%.300s: \"seconds\" is the time a call may take, up to %d", path, MOST_SECONDS);
    if (code) return code;
    json_t *declared = json_object(), *command = json_object_get(item, "command");
    if (!declared) return err_no_memory(err, 0, "a tool");
    (void)json_object_set(declared, "type", json_object_get(item, "type"));
    (void)json_object_set(declared, "function", json_object_get(item, "function"));
    code = tools_add(t, declared, path, &entry, err);
    if (code) return code;
    entry->command = json_incref(command);
    if (seconds) entry->limit_ns = (uint64_t)(json_number_value(seconds) * 1e9);
    return tools_command_check(command, entry->name, err);
}

static ErrCode add_all(Tools *t, const json_t *file, const char *path, Err *err) {
    static const char *const known[] = {"tools", "mcpServers", NULL};
    const json_t *list = json_is_array(file) ? file : json_object_get(file, "tools"), *servers = json_object_get(file, "mcpServers");
    if (!json_is_array(file) && !json_is_object(file)) return err_set(err, ERR_FORMAT, "%.300s holds no array of tools", path);
    ErrCode code = json_is_object(file) ? check_members(file, known, path, err) : ERR_OK;
    if (!code && list && !json_is_array(list)) code = err_set(err, ERR_FORMAT, "%.300s: \"tools\" is no array", path);
    for (size_t i = 0; !code && i < json_array_size(list); i++) code = add_function(t, json_array_get(list, i), path, err);
    if (!code && servers) code = tools_servers_add(t, servers, path, err);
    return code;
}

ErrCode tools_load(Tools *t, const char *path, Err *err) {
    Buf text = {0};
    ErrCode code = os_read_file(path, MOST_OF_A_FILE, &text, err);
    json_t *file = code ? NULL : text_json_load(text.ptr ? text.ptr : "", text.len, err);
    if (!code && !file) code = err_prefix(err, "%.300s", path);
    if (!code) code = add_all(t, file, path, err);
    json_decref(file);
    buf_free(&text);
    return code;
}
