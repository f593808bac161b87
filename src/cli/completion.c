/* Completion files for bash, zsh and fish, made from the tables of commands and options. */
#include "cli/commands.h"

#include <string.h>

static bool takes_path(const OptionSpec *spec) {
    return spec->kind == KIND_TEXT && (strcmp(spec->arg, "FILE") == 0 || strcmp(spec->arg, "PATH") == 0 || strcmp(spec->arg, "IDS") == 0);
}

static void put_words(Buf *out, const char *choices) {
    for (; *choices; choices++) buf_putc(out, *choices == '|' ? ' ' : *choices);
}

static void complete_bash(Buf *out) {
    buf_puts(out, "# bash completion for sluice; `sluice --completion bash > /etc/bash_completion.d/sluice`\n"
                  "_sluice() {\n    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words\n    COMPREPLY=()\n"
                  "    case $prev in\n");
    for (size_t i = 0; i < option_table_len; i++) {
        const OptionSpec *spec = &option_table[i];
        if (spec->kind != KIND_CHOICE && !takes_path(spec)) continue;
        if (spec->letter) buf_printf(out, "    -%c|", spec->letter);
        else buf_puts(out, "    ");
        buf_printf(out, "--%s) COMPREPLY=($(compgen ", spec->name);
        if (spec->kind == KIND_CHOICE) buf_puts(out, "-W '"), put_words(out, spec->arg), buf_puts(out, "' ");
        else buf_puts(out, "-f ");
        buf_puts(out, "-- \"$cur\")); return ;;\n");
    }
    buf_puts(out, "    esac\n    case ${COMP_WORDS[1]} in\n");
    for (size_t c = 0; c < command_table_len; c++) {
        buf_printf(out, "    %s) words='", command_table[c].name);
        for (size_t i = 0; i < option_table_len; i++)
            if (option_acts(&option_table[i], command_table[c].bit)) buf_printf(out, "--%s ", option_table[i].name);
        buf_puts(out, "' ;;\n");
    }
    buf_puts(out, "    *) words='");
    for (size_t c = 0; c < command_table_len; c++) buf_printf(out, "%s ", command_table[c].name);
    buf_puts(out, "--help --version --completion' ;;\n    esac\n    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\n"
                  "complete -o filenames -F _sluice sluice\n");
}

/* A word of help inside single quotes; brackets and colons mean something to zsh. */
static void put_quoted(Buf *out, const char *text, bool zsh) {
    for (; *text; text++) {
        if (*text == '\'') buf_puts(out, zsh ? "'\\''" : "\\'");
        else if (zsh && strchr("[]:\\", *text)) buf_printf(out, "\\%c", *text);
        else buf_putc(out, *text);
    }
}

static void complete_zsh(Buf *out) {
    buf_puts(out, "#compdef sluice\n# zsh completion for sluice; `sluice --completion zsh > ~/.zfunc/_sluice`\n_sluice() {\n"
                  "    if (( CURRENT == 2 )); then\n        local -a commands=(\n");
    for (size_t c = 0; c < command_table_len; c++) {
        buf_printf(out, "            '%s:", command_table[c].name);
        put_quoted(out, command_table[c].summary, true);
        buf_puts(out, "'\n");
    }
    buf_puts(out, "        )\n        _describe command commands\n        return\n    fi\n    case $words[2] in\n");
    for (size_t c = 0; c < command_table_len; c++) {
        buf_printf(out, "    %s) _arguments", command_table[c].name);
        for (size_t i = 0; i < option_table_len; i++) {
            const OptionSpec *spec = &option_table[i];
            if (!option_acts(spec, command_table[c].bit)) continue;
            buf_printf(out, " \\\n        '--%s[", spec->name);
            put_quoted(out, spec->help, true);
            buf_puts(out, "]");
            if (spec->arg) {
                buf_puts(out, spec->kind == KIND_CHOICE ? ":value:" : ":");
                if (spec->kind == KIND_CHOICE) buf_puts(out, "("), put_words(out, spec->arg), buf_puts(out, ")");
                else put_quoted(out, spec->arg, true), buf_puts(out, takes_path(spec) ? ":_files" : ":");
            }
            buf_putc(out, '\'');
        }
        buf_puts(out, " ;;\n");
    }
    buf_puts(out, "    esac\n}\ncompdef _sluice sluice\n");
}

static void complete_fish(Buf *out) {
    buf_puts(out, "# fish completion for sluice; `sluice --completion fish > ~/.config/fish/completions/sluice.fish`\n"
                  "complete -c sluice -f\n");
    for (size_t c = 0; c < command_table_len; c++) {
        const CommandSpec *command = &command_table[c];
        buf_printf(out, "complete -c sluice -n __fish_use_subcommand -a %s -d '", command->name);
        put_quoted(out, command->summary, false);
        buf_puts(out, "'\n");
        for (size_t i = 0; i < option_table_len; i++) {
            const OptionSpec *spec = &option_table[i];
            if (!option_acts(spec, command->bit)) continue;
            buf_printf(out, "complete -c sluice -n '__fish_seen_subcommand_from %s' -l %s", command->name, spec->name);
            if (spec->letter) buf_printf(out, " -s %c", spec->letter);
            if (takes_path(spec)) buf_puts(out, " -rF");
            else if (spec->kind == KIND_CHOICE) buf_puts(out, " -xa '"), put_words(out, spec->arg), buf_puts(out, "'");
            else if (spec->kind != KIND_FLAG) buf_puts(out, " -x");
            buf_puts(out, " -d '");
            put_quoted(out, spec->help, false);
            buf_puts(out, "'\n");
        }
    }
}

bool help_completion(const char *shell, Buf *out) {
    if (strcmp(shell, "bash") == 0) complete_bash(out);
    else if (strcmp(shell, "zsh") == 0) complete_zsh(out);
    else if (strcmp(shell, "fish") == 0) complete_fish(out);
    else return false;
    return true;
}
