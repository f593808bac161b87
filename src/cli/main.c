/* sluice: the command line. Chooses the command, reads its options, and turns the outcome into an exit code:
 * 0 done, 1 failed, 2 wrong usage, 130 interrupted. */
#include "cli/commands.h"
#include "cli/io.h"
#include "os/os.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* Commands that the project has promised but not built. They are in no help; calling one says so and fails. */
static const char *const not_yet[] = {"compare", "eval", "trial", "convert", "quantize", "pack", "verify"};

static int fail(const Err *err) {
    if (err->code == ERR_INTERRUPTED) log_note("%s", err->text);
    else log_error("%s", err->text);
    return err_exit_code(err->code);
}

static int finish(ErrCode code, Err *err) {
    Err out_err = {0};
    ErrCode out_code = out_finish(&out_err);
    if (code && !out_gone()) return fail(err);
    if (out_code) return fail(&out_err);
    return 0; /* done, or the reader went away: nothing to say */
}

static const char *command_at(size_t i, void *user) {
    (void)user;
    return i < command_table_len ? command_table[i].name : NULL;
}

static int unknown_command(const char *name) {
    for (size_t i = 0; i < COUNT_OF(not_yet); i++)
        if (strcmp(not_yet[i], name) == 0) {
            log_error("'%s' is not in this version yet; sluice --help lists what is", name);
            return 2;
        }
    const char *near = nearest_name(name, strlen(name), command_at, NULL);
    if (name[0] == '-') log_error("unknown option '%s'; options stand after the command, see sluice --help", name);
    else if (near) log_error("unknown command '%s'; did you mean '%s'?", name, near);
    else log_error("unknown command '%s'; sluice --help lists the commands", name);
    return 2;
}

static int print(Buf *text) {
    Err err = {0};
    ErrCode code = text->failed ? err_no_memory(&err, text->len, "the text") : ERR_OK;
    if (!code) out_write(text->ptr, text->len);
    buf_free(text);
    return finish(code, &err);
}

/* `sluice --help` and its like; -1: argv[1] is none of them. */
static int without_command(int argc, char **argv) {
    Buf text = {0};
    const char *first = argv[1];
    if (strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0 || strcmp(first, "help") == 0) {
        const CommandSpec *command = argc > 2 ? command_by_name(argv[2]) : NULL;
        if (argc > 2 && !command) return unknown_command(argv[2]);
        if (command) help_command(command, &text);
        else help_overview(&text);
        return print(&text);
    }
    if (strcmp(first, "--version") == 0 || strcmp(first, "version") == 0) {
        buf_puts(&text, "sluice " SLUICE_VERSION "\n");
        return print(&text);
    }
    if (strcmp(first, "--man") == 0) {
        help_man(&text);
        return print(&text);
    }
    bool glued = strncmp(first, "--completion=", 13) == 0;
    if (glued || strcmp(first, "--completion") == 0) {
        const char *shell = glued ? first + 13 : argc > 2 ? argv[2] : "";
        if (help_completion(shell, &text)) return print(&text);
        log_error("--completion wants bash, zsh or fish, not '%s'", shell);
        return 2;
    }
    return -1;
}

static int run(const CommandSpec *command, int argc, char **argv) {
    static Options options;
    Err err = {0};
    ErrCode code = options_parse(&options, command->bit, argc, argv, &err);
    if (!code && opt_on(&options, OPT_HELP)) {
        Buf text = {0};
        help_command(command, &text);
        options_free(&options);
        return print(&text);
    }
    if (!code) {
        log_set_level(opt_on(&options, OPT_QUIET) ? LOG_ERROR : opt_on(&options, OPT_VERBOSE) ? LOG_DEBUG : LOG_NOTE);
        options_note_idle(&options);
        code = command->run(&options, &err);
    }
    int status = finish(code, &err);
    options_free(&options);
    return status;
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN); /* a reader that goes away is an error of write, seen in io.c */
    signal(SIGXFSZ, SIG_IGN); /* so is a file that may not grow further: then the command says so */
    os_catch_interrupt();
    if (argc < 2) {
        Buf text = {0};
        help_overview(&text);
        fputs(text.ptr ? text.ptr : "", stderr);
        buf_free(&text);
        return 2;
    }
    int status = without_command(argc, argv);
    if (status >= 0) return status;
    const CommandSpec *command = command_by_name(argv[1]);
    return command ? run(command, argc - 2, argv + 2) : unknown_command(argv[1]);
}
