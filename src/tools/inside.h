/* Inside the room tools. */
#ifndef TOOLS_INSIDE_H
#define TOOLS_INSIDE_H

#include "os/os.h"
#include "tools/tools.h"

typedef struct ToolsOutput ToolsOutput;
typedef struct ToolsServer ToolsServer;

/* One function. */
typedef struct ToolsEntry {
    const char *name;      /* borrowed from `declared` */
    json_t *declared;      /* {"type": "function", "function": {...}} */
    char *origin;
    /* one of these three */
    ToolsEnd (*built_in)(Tools *t, const json_t *arguments, ToolsOutput *out);
    json_t *command;       /* argv, or a string for the shell */
    ToolsServer *server;
    char *remote;          /* the server's own name for it */
    uint64_t limit_ns;
} ToolsEntry;

struct Tools {
    ToolsConfig config;
    OsFolder folder;
    ToolsEntry *entries;   /* [n] */
    size_t n, cap;
    ToolsServer **servers; /* [n_servers] */
    size_t n_servers;
};

/* Takes `declared` over; refuses what is no function, and a name that is there already. */
ErrCode tools_add(Tools *t, json_t *declared, const char *origin, ToolsEntry **entry, Err *err);
/* Makes place for one more; false: no memory. */
bool tools_grow(void **list, size_t n, size_t *cap, size_t size);

/* ---- output.c: what is kept of a result: its beginning and its end ---- */

struct ToolsOutput {
    size_t most;
    Buf head;              /* up to most / 2 bytes */
    char *tail;            /* [most - most / 2], a ring; NULL as long as it is not needed */
    uint64_t total;        /* bytes that came */
    Buf notes;             /* lines of our own behind it */
    bool failed;           /* memory */
};
void tools_output_put(ToolsOutput *o, const char *bytes, size_t len);
void tools_output_note(ToolsOutput *o, const char *fmt, ...) BASE_PRINTF(2, 3); /* [in brackets, on a line of its own] */
void tools_output_end(ToolsOutput *o, Buf *result); /* appends it as UTF-8 without zero bytes, and frees */

/* ---- run.c: a program, its input, and a limit ---- */

typedef struct ToolsRun {
    const char *const *argv;
    const char *folder;
    Str input;
    bool together;         /* standard error belongs to the result; otherwise it is told only where the program failed */
    uint64_t limit_ns;
} ToolsRun;
ToolsEnd tools_run(const ToolsRun *run, ToolsOutput *out);

/* ---- command.c: functions of a file ---- */

ToolsEnd tools_command_call(Tools *t, const ToolsEntry *e, const json_t *arguments, ToolsOutput *out);
ErrCode tools_command_check(const json_t *command, const char *name, Err *err);

/* ---- arguments.c ---- */

bool tools_arguments_check(const json_t *parameters, const json_t *arguments, Buf *why);

/* ---- servers.c ---- */

ErrCode tools_servers_add(Tools *t, const json_t *servers, const char *path, Err *err);

/* ---- built_in.c ---- */

ErrCode tools_built_in_add(Tools *t, Str name, Err *err);

#endif
