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

ErrCode run_command(const Options *o, Err *err);
ErrCode inspect_command(const Options *o, Err *err);
ErrCode tokenize_command(const Options *o, Err *err);
ErrCode detokenize_command(const Options *o, Err *err);
ErrCode render_command(const Options *o, Err *err);
ErrCode logits_command(const Options *o, Err *err);
ErrCode ppl_command(const Options *o, Err *err);
ErrCode plan_command(const Options *o, Err *err);
ErrCode doctor_command(const Options *o, Err *err);
ErrCode bench_command(const Options *o, Err *err);
ErrCode trace_command(const Options *o, Err *err);
ErrCode simulate_command(const Options *o, Err *err);
ErrCode plot_command(const Options *o, Err *err);
ErrCode synth_command(const Options *o, Err *err);

/* help.c and completion.c: what is generated from the two tables, appended to out */
bool help_lists(const OptionSpec *spec, unsigned command); /* the help of a command lists what does something there */
void help_overview(Buf *out);
void help_command(const CommandSpec *command, Buf *out);
void help_man(Buf *out);
bool help_completion(const char *shell, Buf *out); /* false: no such shell */

#endif
