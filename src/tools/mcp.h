/* tools/mcp: a server that is spoken with over pipes. Private to the room. */
#ifndef TOOLS_MCP_H
#define TOOLS_MCP_H

#include "tools/inside.h"

/* Starts it here, and greets it. verbose: its standard error is ours; otherwise it is dropped. */
ToolsServer *tools_mcp_start(const char *name, const char *const *argv, const char *const *env, bool verbose, Err *err);
void tools_mcp_stop(ToolsServer *s); /* closes its input, and ends it if it has not ended within two seconds */
const char *tools_mcp_name(const ToolsServer *s);
/* [{"name", "description", "inputSchema"}], of all pages */
json_t *tools_mcp_list(ToolsServer *s, Err *err);
ToolsEnd tools_mcp_call(ToolsServer *s, const char *name, const json_t *arguments, uint64_t limit_ns, ToolsOutput *out);

#endif
