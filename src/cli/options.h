/* cli/options: one table of options, from which everything about them is made.
 *
 * An option is a row of option_list.h: its name, what it takes, where it is accepted, what it does, and which field of the engine's
 * options it fills. Parsing, --help, the man page, shell completion, the SLUICE_* variables and the keys of config.json are all generated
 * from it, so they cannot disagree. A flag beats a variable, a variable beats the file. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "base/base.h"

#include <sluice.h>

typedef enum OptionId {
#define OPTION(ID, ...) OPT_##ID,
#include "cli/option_list.h"
#undef OPTION
    OPT_COUNT
} OptionId;

/* One line per command: its function is name_command (commands.h), its row stands in the command table. */
#define COMMANDS(X)           \
    X(RUN, run)               \
    X(CHAT, chat)             \
    X(SERVE, serve)           \
    X(INSPECT, inspect)       \
    X(TOKENIZE, tokenize)     \
    X(DETOKENIZE, detokenize) \
    X(RENDER, render)         \
    X(LOGITS, logits)         \
    X(PPL, ppl)               \
    X(PLAN, plan)             \
    X(DOCTOR, doctor)         \
    X(BENCH, bench)           \
    X(TRACE, trace)           \
    X(SIMULATE, simulate)     \
    X(PLOT, plot)             \
    X(SYNTH, synth)

enum {
#define X(NAME, name) COMMAND_##NAME,
    COMMANDS(X)
#undef X
    N_COMMANDS
};
/* One bit per command, to say in a word which of them take an option. */
enum {
#define X(NAME, name) CMD_##NAME = 1 << COMMAND_##NAME,
    COMMANDS(X)
#undef X
    CMD_ALL = (1 << N_COMMANDS) - 1,
    CMD_ENGINE = CMD_RUN | CMD_CHAT | CMD_LOGITS | CMD_PPL | CMD_BENCH | CMD_TRACE, /* those that run the network */
    CMD_PLANNED = CMD_ENGINE | CMD_SERVE | CMD_PLAN | CMD_DOCTOR,        /* those that make a memory plan */
};

typedef enum OptionKind { KIND_FLAG, KIND_TEXT, KIND_CHOICE, KIND_SIZE, KIND_RATE, KIND_INT, KIND_REAL } OptionKind;
typedef enum OptionInto { INTO_NOTHING, INTO_OPTIONS, INTO_SAMPLING } OptionInto;
typedef enum OptionGroup { GROUP_COMMAND, GROUP_MODEL, GROUP_SAMPLING, GROUP_OUTPUT, GROUP_COUNT } OptionGroup;

typedef struct OptionSpec {
    OptionId id;
    char letter;         /* 'm' for -m; 0: none */
    const char *name;    /* "ram" for --ram, SLUICE_RAM and the key "ram" */
    OptionKind kind;
    OptionGroup group;
    unsigned accepted;   /* commands that take it */
    unsigned acts;       /* commands where it changes something; elsewhere a note says that it does not */
    bool everywhere;     /* also a variable and a key of config.json */
    const char *arg;     /* "SIZE"; for a choice "on|off"; NULL for flags */
    double min, max;     /* of KIND_INT and KIND_REAL, both included */
    const char *help;    /* one sentence, no final stop */
    OptionInto into;     /* the struct that the value fills, and the field in it: */
    uint16_t at, bytes;
} OptionSpec;

typedef enum OptionSource { SOURCE_NONE, SOURCE_FILE, SOURCE_VARIABLE, SOURCE_FLAG } OptionSource;

typedef struct OptionValue {
    OptionSource source;
    const char *text;  /* as written */
    int64_t integer;   /* KIND_INT; KIND_FLAG: 0 or 1 */
    uint64_t bytes;    /* KIND_SIZE */
    double real;       /* KIND_REAL; KIND_RATE: bytes per second */
    bool automatic;    /* KIND_INT, "auto": as if nobody had said anything */
} OptionValue;

typedef struct Options {
    unsigned command;               /* its bit */
    OptionValue value[OPT_COUNT];
    Arena texts;                    /* strings of variables and of the file */
} Options;

extern const OptionSpec option_table[];
extern const size_t option_table_len;

/* All spellings: "--opt value", "--opt=value", "-o value", "-ovalue"; "--" ends the options. Then the variables and the file fill
 * what no flag has set. ERR_USAGE names what is wrong and what was meant. */
ErrCode options_parse(Options *o, unsigned command, int argc, char **argv, Err *err);
void options_free(Options *o);

static inline bool option_acts(const OptionSpec *spec, unsigned command) { return (spec->accepted & spec->acts & command) != 0; }
static inline bool opt_given(const Options *o, OptionId id) { return o->value[id].source != SOURCE_NONE; }
static inline bool opt_on(const Options *o, OptionId id) { return opt_given(o, id) && o->value[id].integer; }
static inline const char *opt_text(const Options *o, OptionId id, const char *otherwise) {
    return opt_given(o, id) ? o->value[id].text : otherwise;
}
static inline int opt_int(const Options *o, OptionId id, int otherwise) {
    return opt_given(o, id) && !o->value[id].automatic ? (int)o->value[id].integer : otherwise;
}

/* The options that act in this command, as those of the engine; the others stay as they are. Strings are borrowed. */
void options_into(const Options *o, sluice_options *options);
void options_into_sampling(const Options *o, sluice_sampling *sampling);
/* One note per flag that was given but changes nothing in this command: nothing is inert in silence. */
void options_note_idle(const Options *o);

/* ---- the parts of options_parse, for config.c ---- */
bool option_is_named(const OptionSpec *spec, const char *name, size_t len); /* '_' counts as '-' */
const OptionSpec *option_by_name(const char *name, size_t len, unsigned command); /* NULL: none */
const OptionSpec *option_by_letter(char letter, unsigned command);
/* Reads `text` as a value of the option; `where` names the place for the error: "--ram", "SLUICE_RAM", a path and a key. */
ErrCode option_set(Options *o, const OptionSpec *spec, const char *text, OptionSource source, const char *where, Err *err);
/* Variables, then the file. */
ErrCode config_apply(Options *o, Err *err);
const char *config_path(char *out, size_t size); /* NULL: no home folder */
void option_variable(const OptionSpec *spec, char out[32]); /* "SLUICE_TOP_K" */

/* The name nearest to what was typed, or NULL when nothing is near. */
typedef const char *NameAt(size_t i, void *user); /* NULL ends the list */
const char *nearest_name(const char *typed, size_t len, NameAt *at, void *user);

#endif
