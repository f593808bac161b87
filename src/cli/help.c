/* --help and the man page, made from the tables of commands and options. */
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

enum { WIDTH = 100, COLUMN = 24 };

static const char *const group_title[GROUP_COUNT] = {"Options:", "Model and machine:", "Sampling:", "Output:"};

/* Puts text wrapped to WIDTH; the cursor stands at column `at`, further lines begin at `indent`. */
static void put_wrapped(Buf *out, const char *text, int at, int indent) {
    while (*text) {
        size_t len = strcspn(text, " ");
        if (at > indent && at + (int)len + 1 > WIDTH) {
            buf_printf(out, "\n%*s", indent, "");
            at = indent;
        } else if (at > indent) {
            buf_putc(out, ' ');
            at++;
        }
        buf_put(out, text, len);
        at += (int)len;
        text += len;
        while (*text == ' ') text++;
    }
    buf_putc(out, '\n');
}

static void put_option(Buf *out, const OptionSpec *spec) {
    char left[96];
    char letter[6] = "    ";
    if (spec->letter) snprintf(letter, sizeof letter, "-%c, ", spec->letter);
    int n = snprintf(left, sizeof left, "  %s--%s%s%s", letter, spec->name, spec->arg ? " " : "", spec->arg ? spec->arg : "");
    buf_puts(out, left);
    if (n + 2 > COLUMN) {
        buf_printf(out, "\n%*s", COLUMN, "");
    } else {
        buf_printf(out, "%*s", COLUMN - n, "");
    }
    put_wrapped(out, spec->help, COLUMN, COLUMN);
}

void help_overview(Buf *out) {
    buf_puts(out, "sluice runs Mixture-of-Experts language models that are larger than memory: it keeps the dense\n"
                  "weights, and reads the experts that a token needs from disk.\n\nusage: sluice COMMAND [options]\n\n");
    for (size_t i = 0; i < command_table_len; i++)
        buf_printf(out, "  %-12s %s\n", command_table[i].name, command_table[i].summary);
    buf_puts(out, "\nTry:\n"
                  "  sluice run -p \"Tell me a story about a dragon.\"       the small model inside sluice answers\n"
                  "  sluice run -m model.gguf --ram 8G --stats -p \"Hello\"  your own model, in 8 GiB\n"
                  "\n"
                  "  sluice COMMAND --help               options and examples of a command\n"
                  "  sluice --completion bash|zsh|fish   a completion file for your shell\n"
                  "  sluice --version\n");
}

void help_command(const CommandSpec *command, Buf *out) {
    buf_printf(out, "sluice %s: %s\n\nusage: sluice %s [options]\n\n", command->name, command->summary, command->name);
    put_wrapped(out, command->about, 0, 0);
    for (int group = 0; group < GROUP_COUNT; group++) {
        bool titled = false;
        for (size_t i = 0; i < option_table_len; i++) {
            if ((int)option_table[i].group != group || !option_acts(&option_table[i], command->bit)) continue;
            if (!titled) buf_printf(out, "\n%s\n", group_title[group]);
            titled = true;
            put_option(out, &option_table[i]);
        }
    }
    buf_puts(out, "\nExamples:\n");
    for (const Example *e = command->examples; e->what; e++) buf_printf(out, "  # %s\n  %s\n", e->what, e->line);
    buf_puts(out, "\nModel, sampling and output options are also variables (--top-k: SLUICE_TOP_K) and keys of\n"
                  "~/.config/sluice/config.json ({\"ram\": \"8G\"}); a flag beats a variable, a variable beats the file.\n");
}

/* ---- man ----------------------------------------------------------------------------------------------------------- */

/* Text with troff's special characters made harmless. */
static void put_roff(Buf *out, const char *text) {
    if (*text == '.' || *text == '\'') buf_puts(out, "\\&");
    for (; *text; text++) {
        if (*text == '-') buf_puts(out, "\\-");
        else if (*text == '\\') buf_puts(out, "\\e");
        else buf_putc(out, *text);
    }
}

static void man_option(Buf *out, const OptionSpec *spec) {
    buf_puts(out, ".TP\n.B ");
    if (spec->letter) buf_printf(out, "\\-%c, ", spec->letter);
    buf_puts(out, "\\-\\-");
    put_roff(out, spec->name);
    if (spec->arg) buf_puts(out, " "), put_roff(out, spec->arg);
    buf_puts(out, "\n");
    put_roff(out, spec->help);
    buf_puts(out, ".\n");
    if (spec->everywhere) {
        char variable[32];
        option_variable(spec, variable);
        buf_printf(out, "Variable %s.\n", variable);
    }
}

void help_man(Buf *out) {
    buf_puts(out, ".\\\" Made by `make man` from the option table; do not edit.\n"
                  ".TH SLUICE 1 \"\" \"sluice " SLUICE_VERSION "\" \"User Commands\"\n"
                  ".SH NAME\nsluice \\- run Mixture\\-of\\-Experts language models larger than memory\n"
                  ".SH SYNOPSIS\n.B sluice\n.I COMMAND\n[options]\n.SH DESCRIPTION\n"
                  "Keeps the dense weights in memory and reads the experts that a token needs from disk, through a cache that fits the\n"
                  "memory it is given. The cache size never changes an answer. Results go to standard output, everything else to\n"
                  "standard error; \\- means standard input or output.\n.SH COMMANDS\n");
    for (size_t i = 0; i < command_table_len; i++) {
        const CommandSpec *c = &command_table[i];
        buf_printf(out, ".SS %s \\- %s\n", c->name, c->summary);
        put_roff(out, c->about);
        buf_putc(out, '\n');
        for (size_t k = 0; k < option_table_len; k++)
            if (option_table[k].group == GROUP_COMMAND && option_acts(&option_table[k], c->bit)) man_option(out, &option_table[k]);
        for (const Example *e = c->examples; e->what; e++) {
            buf_puts(out, ".PP\n");
            put_roff(out, e->what);
            buf_puts(out, ":\n.nf\n    ");
            put_roff(out, e->line);
            buf_puts(out, "\n.fi\n");
        }
    }
    static const char *const title[GROUP_COUNT] = {"", "MODEL AND MACHINE", "SAMPLING", "OUTPUT"};
    for (int group = GROUP_MODEL; group < GROUP_COUNT; group++) {
        buf_printf(out, ".SH %s\n", title[group]);
        for (size_t k = 0; k < option_table_len; k++)
            if ((int)option_table[k].group == group) man_option(out, &option_table[k]);
    }
    buf_puts(out, ".SH FILES\n.TP\n.I ~/.config/sluice/config.json\n"
                  "(XDG_CONFIG_HOME is honoured) The same options by their long names, e.g. {\"ram\": \"8G\", \"threads\": 4}. A flag\n"
                  "beats a variable, a variable beats the file.\n.SH ENVIRONMENT\nNO_COLOR is honoured.\n"
                  ".SH EXIT STATUS\n0 done, 1 failed (a sentence says why and what to do), 2 wrong usage, 130 interrupted.\n");
}
