/* MCP servers: which programs they are, and their tools among the others. */
#include "tools/mcp.h"

#include <stdio.h>
#include <string.h>

static bool is_taken(const Tools *t, const char *name) {
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->entries[i].name, name) == 0) return true;
    return false;
}

/* A name that another tool has is put behind that of the server. */
static ErrCode add_tool(Tools *t, ToolsServer *server, const json_t *tool, Err *err) {
    const char *remote = json_string_value(json_object_get(tool, "name")), *about = json_string_value(json_object_get(tool, "description"));
    json_t *schema = json_object_get(tool, "inputSchema");
    char origin[160];
    Buf name = {0};
    if (!remote || !*remote) return err_set(err, ERR_FORMAT, "the MCP server %.100s lists a tool without a name", tools_mcp_name(server));
    buf_printf(&name, is_taken(t, remote) ? "%s_%s" : "%.0s%s", tools_mcp_name(server), remote);
    snprintf(origin, sizeof origin, "MCP server %.100s", tools_mcp_name(server));
    json_t *declared = name.failed ? NULL : json_pack("{s:s,s:{s:s,s:s}}", "type", "function", "function", "name", name.ptr, "description",
                                                      about ? about : "");
    buf_free(&name);
    if (!declared) return err_no_memory(err, 0, "a tool");
    if (json_is_object(schema)) (void)json_object_set(json_object_get(declared, "function"), "parameters", schema);
    ToolsEntry *entry = NULL;
    ErrCode code = tools_add(t, declared, origin, &entry, err);
    if (code) return code;
    entry->server = server;
    entry->remote = mem_strdup(remote);
    return entry->remote ? ERR_OK : err_no_memory(err, strlen(remote), "a tool");
}

static ErrCode add_server(Tools *t, const char *name, const char *const *argv, const char *const *env, Err *err) {
    ToolsServer **more = mem_resize(t->servers, t->n_servers + 1, sizeof(ToolsServer *));
    if (!more) return err_no_memory(err, 0, "an MCP server");
    t->servers = more;
    ToolsServer *server = tools_mcp_start(name, argv, env, t->config.verbose, err);
    if (!server) return err->code;
    t->servers[t->n_servers++] = server;
    json_t *list = tools_mcp_list(server, err);
    ErrCode code = list ? ERR_OK : err->code;
    for (size_t i = 0; !code && i < json_array_size(list); i++) code = add_tool(t, server, json_array_get(list, i), err);
    if (!code && !json_array_size(list)) log_warn("the MCP server %s has no tools", name);
    json_decref(list);
    return code;
}

/* "uvx mcp-server-git" -> "mcp-server-git": the first word that tells servers apart would need knowledge of every launcher, so it is the
 * last one that is no option and no path. */
static void name_of(const char *command, char *name, size_t size) {
    snprintf(name, size, "mcp");
    for (const char *at = command; *at;) {
        at += strspn(at, " \t");
        size_t n = strcspn(at, " \t");
        if (n && *at != '-' && !memchr(at, '/', n) && n < size) snprintf(name, size, "%.*s", (int)n, at);
        at += n;
    }
}

ErrCode tools_connect(Tools *t, const char *command, Err *err) {
    const char *const argv[] = {"/bin/sh", "-c", command, NULL};
    char name[64];
    name_of(command, name, sizeof name);
    return add_server(t, name, argv, NULL, err);
}

/* ---- servers of a file, as other clients have them ---------------------------------------------------------------- */

static ErrCode check_server(const char *name, const json_t *server, Err *err) {
    static const char *const known[] = {"command", "args", "env", "type", NULL};
    const char *type = json_string_value(json_object_get(server, "type"));
    const json_t *args = json_object_get(server, "args"), *env = json_object_get(server, "env");
    if (json_object_get(server, "url") || (type && strcmp(type, "stdio") != 0))
        return err_set(err, ERR_UNSUPPORTED, "the MCP server %.100s is reached over a network; only programs are supported", name);
    bool ok = json_is_string(json_object_get(server, "command")) && (!args || json_is_array(args)) && (!env || json_is_object(env));
    for (size_t i = 0; i < json_array_size(args); i++) ok = ok && json_is_string(json_array_get(args, i));
    json_t *all = (json_t *)env;
    for (void *it = json_object_iter(all); it; it = json_object_iter_next(all, it)) ok = ok && json_is_string(json_object_iter_value(it));
    if (!ok)
        return err_set(err, ERR_FORMAT, "the MCP server %.100s wants {\"command\": TEXT, \"args\": [TEXT, ...], \"env\": {NAME: TEXT}}",
                       name);
    all = (json_t *)server;
    for (void *it = json_object_iter(all); it; it = json_object_iter_next(all, it)) {
        size_t i = 0;
        while (known[i] && strcmp(known[i], json_object_iter_key(it)) != 0) i++;
        if (!known[i]) log_warn("the MCP server %s: \"%s\" changes nothing here", name, json_object_iter_key(it));
    }
    return ERR_OK;
}

static ErrCode add_described(Tools *t, const char *name, const json_t *server, Err *err) {
    json_t *args = json_object_get(server, "args"), *env = json_object_get(server, "env");
    size_t n_args = json_array_size(args), n_env = json_object_size(env), i = 0;
    const char **argv = MEM_NEW(const char *, n_args + 2), **variables = MEM_NEW(const char *, n_env + 1);
    Buf *lines = MEM_NEW(Buf, n_env + 1);
    bool ok = argv && variables && lines;
    if (ok) argv[0] = json_string_value(json_object_get(server, "command"));
    for (size_t k = 0; ok && k < n_args; k++) argv[k + 1] = json_string_value(json_array_get(args, k));
    for (void *it = json_object_iter(env); ok && it; it = json_object_iter_next(env, it), i++) {
        buf_printf(&lines[i], "%s=%s", json_object_iter_key(it), json_string_value(json_object_iter_value(it)));
        variables[i] = lines[i].ptr;
        ok = !lines[i].failed;
    }
    ErrCode code = ok ? add_server(t, name, argv, variables, err) : err_no_memory(err, 0, "an MCP server");
    for (size_t k = 0; lines && k < n_env; k++) buf_free(&lines[k]);
    mem_free(lines);
    mem_free(argv);
    mem_free(variables);
    return code;
}

ErrCode tools_servers_add(Tools *t, const json_t *servers, const char *path, Err *err) {
    if (!json_is_object(servers)) return err_set(err, ERR_FORMAT, "%.300s: \"mcpServers\" is no object", path);
    ErrCode code = ERR_OK;
    json_t *all = (json_t *)servers;
    for (void *it = json_object_iter(all); it && !code; it = json_object_iter_next(all, it)) {
        code = check_server(json_object_iter_key(it), json_object_iter_value(it), err);
        if (!code) code = add_described(t, json_object_iter_key(it), json_object_iter_value(it), err);
    }
    return code;
}
