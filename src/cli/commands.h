/* cli/commands: the table of commands, and what main and the commands share. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli/options.h"
#include "sluice.h"

typedef struct Example {
    const char *what, *line;
} Example;

typedef struct CommandSpec {
    unsigned bit;
    const char *name;
    const char *summary; /* one line of `sluice --help` */
    const char *about;   /* a paragraph of `sluice CMD --help`; lines are wrapped when printed */
    Example examples[6];
    ErrCode (*run)(const Options *o, Err *err);
} CommandSpec;

extern const CommandSpec command_table[];
extern const size_t command_table_len;
const CommandSpec *command_by_name(const char *name); /* NULL: none */

#define X(NAME, name) ErrCode name##_command(const Options *o, Err *err);
COMMANDS(X)
#undef X

/* help.c and completion.c: what is generated from the two tables, appended to out. The help of a command lists what acts there. */
void help_overview(Buf *out);
void help_command(const CommandSpec *command, Buf *out);
void help_man(Buf *out);
bool help_completion(const char *shell, Buf *out); /* false: no such shell */

#endif
