/* tools: what a model may call, and how a call becomes a result.
 *
 * What this is    functions of a file (a schema and a command), four built-in ones (shell, read_file, write_file, list_dir), and those of
 *                 MCP servers, which are spoken with over pipes. Whether a call may run is the caller's question: nothing here asks.
 * Who owns what   a Tools owns its functions and the servers that it has started; they end with it.
 * What may fail   a file that declares nonsense, a server that does not start. A call never fails: whatever goes wrong is a sentence in
 *                 its result, for the model to read.
 * Threads         one.
 * Promise         a call ends within its time, with all that it has started; its result is UTF-8 of a bounded size; files are reached
 *                 below the folder only, whatever links and ".." say. Checked by tests/unit/test_tools.c, test_tools_mcp.c.
 */
#ifndef TOOLS_TOOLS_H
#define TOOLS_TOOLS_H

#include "base/base.h"

#include <jansson.h>

typedef struct Tools Tools;

typedef struct ToolsConfig {
    const char *folder;    /* where commands run, and below which files are read and written; NULL: here */
    uint64_t limit_ns;     /* of one call; 0: 30 seconds */
    size_t most_bytes;     /* of one result, some words about what was cut beside it; 0: 16 KiB */
    bool verbose;          /* what MCP servers write to standard error is shown */
} ToolsConfig;

Tools *tools_new(const ToolsConfig *config, Err *err);
void tools_free(Tools *t);

#define TOOLS_BUILT_IN "shell|read_file|write_file|list_dir|"
/* Turns built-in functions on: names apart by commas, or "all". */
ErrCode tools_allow(Tools *t, const char *names, Err *err);
/* A JSON file: an array of functions, each with its "command", or {"tools": [...], "mcpServers": {...}}. docs/chat.md tells the form. */
ErrCode tools_load(Tools *t, const char *path, Err *err);
/* Starts an MCP server: a line for the shell. */
ErrCode tools_connect(Tools *t, const char *command, Err *err);

/* What chat templates read: [{"type": "function", "function": {...}}]; empty: there are none. */
json_t *tools_declared(const Tools *t);
size_t tools_count(const Tools *t);
const char *tools_name(const Tools *t, size_t i);
const char *tools_about(const Tools *t, size_t i); /* its description, "" if it has none */
const char *tools_origin(const Tools *t, size_t i); /* "built in", the file, or the server */

typedef enum ToolsEnd {
    TOOLS_DONE,
    TOOLS_FAILED,  /* the result says why */
    TOOLS_STOPPED, /* by Ctrl-C; the result says so */
} ToolsEnd;
/* Whether there is such a function and these are its arguments; otherwise a sentence for the model. */
bool tools_check(const Tools *t, const char *name, const json_t *arguments, Buf *why);
/* Calls it, and waits. What was checked is checked again. */
ToolsEnd tools_call(Tools *t, const char *name, const json_t *arguments, Buf *result);

#endif
