/* Reading options: the command line, one value, and "did you mean"; and handing them to the engine. */
#include "cli/options.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- finding ------------------------------------------------------------------------------------------------------- */

bool option_is_named(const OptionSpec *spec, const char *name, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (spec->name[i] != (name[i] == '_' ? '-' : name[i])) return false;
    return spec->name[len] == 0;
}

const OptionSpec *option_by_name(const char *name, size_t len, unsigned command) {
    for (size_t i = 0; i < option_table_len; i++) {
        const OptionSpec *spec = &option_table[i];
        if ((spec->accepted & command) && option_is_named(spec, name, len)) return spec;
    }
    return NULL;
}

const OptionSpec *option_by_letter(char letter, unsigned command) {
    for (size_t i = 0; i < option_table_len; i++) {
        const OptionSpec *spec = &option_table[i];
        if (spec->letter == letter && (spec->accepted & command)) return spec;
    }
    return NULL;
}

void option_variable(const OptionSpec *spec, char out[32]) {
    size_t n = (size_t)snprintf(out, 32, "SLUICE_%s", spec->name);
    for (size_t i = 0; i < n && i < 31; i++)
        out[i] = (char)(out[i] == '-' ? '_' : out[i] >= 'a' && out[i] <= 'z' ? out[i] - 'a' + 'A' : out[i]);
}

/* ---- nearest name -------------------------------------------------------------------------------------------------- */

enum { NAME_MAX_LEN = 24 };

/* Edits (insert, delete, change, swap of neighbours) between two short words. */
static int edit_distance(const char *a, size_t n, const char *b, size_t m) {
    int d[NAME_MAX_LEN + 1][NAME_MAX_LEN + 1];
    for (size_t i = 0; i <= n; i++) d[i][0] = (int)i;
    for (size_t j = 0; j <= m; j++) d[0][j] = (int)j;
    for (size_t i = 1; i <= n; i++)
        for (size_t j = 1; j <= m; j++) {
            int best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best) best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best) best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    return d[n][m];
}

const char *nearest_name(const char *typed, size_t len, NameAt *at, void *user) {
    if (len == 0 || len > NAME_MAX_LEN) return NULL;
    const char *best = NULL;
    int best_distance = len <= 3 ? 2 : 3; /* must be below it */
    for (size_t i = 0;; i++) {
        const char *name = at(i, user);
        if (!name) return best;
        size_t m = strlen(name);
        if (m > NAME_MAX_LEN) continue;
        int distance = edit_distance(typed, len, name, m);
        /* a beginning counts as near: --temperature for --temp, --verb for --verbose */
        size_t both = len < m ? len : m;
        if (both >= 3 && memcmp(name, typed, both) == 0 && distance > 1) distance = 1;
        if (distance < best_distance) best = name, best_distance = distance;
    }
}

static const char *option_name_at(size_t i, void *user) {
    unsigned command = *(const unsigned *)user;
    if (i >= option_table_len) return NULL;
    return option_table[i].accepted & command ? option_table[i].name : "";
}

/* ---- one value ----------------------------------------------------------------------------------------------------- */

/* `text` is one of the words of "a|b|c". */
static bool is_choice(const char *choices, const char *text) {
    size_t len = strlen(text);
    for (const char *at = choices; *at;) {
        size_t n = strcspn(at, "|");
        if (n == len && memcmp(at, text, n) == 0) return true;
        at += n + (at[n] == '|');
    }
    return false;
}

/* on/off in the spellings that people use in variables; -1: none of them. */
static int read_switch(const char *text) {
    static const char *const on[] = {"on", "1", "true", "yes"}, *const off[] = {"off", "0", "false", "no", ""};
    for (size_t i = 0; i < COUNT_OF(on); i++)
        if (strcmp(text, on[i]) == 0) return 1;
    for (size_t i = 0; i < COUNT_OF(off); i++)
        if (strcmp(text, off[i]) == 0) return 0;
    return -1;
}

static ErrCode set_number(OptionValue *v, const OptionSpec *spec, const char *text, const char *where, Err *err) {
    char *end = NULL;
    errno = 0;
    if (spec->kind == KIND_INT) {
        v->integer = strtoll(text, &end, 10);
        v->real = (double)v->integer;
    } else {
        v->real = strtod(text, &end);
    }
    bool number = end && end != text && *end == 0 && isfinite(v->real) && text[0] != ' ';
    if (!number && errno != ERANGE)
        return err_set(err, ERR_USAGE, "%s wants a %snumber, not '%s'", where, spec->kind == KIND_INT ? "whole " : "", text);
    if (errno == ERANGE || v->real < spec->min || v->real > spec->max) {
        if (spec->max >= 2147483647.0)
            return err_set(err, ERR_USAGE, "%s %s is out of range: at least %.10g", where, text, spec->min);
        return err_set(err, ERR_USAGE, "%s %s is out of range: %.10g to %.10g", where, text, spec->min, spec->max);
    }
    return ERR_OK;
}

ErrCode option_set(Options *o, const OptionSpec *spec, const char *text, OptionSource source, const char *where, Err *err) {
    OptionValue v = {.source = source, .text = text};
    switch (spec->kind) {
    case KIND_TEXT: break;
    case KIND_CHOICE:
        if (!is_choice(spec->arg, text)) {
            char words[128];
            return err_set(err, ERR_USAGE, "%s wants %s, not '%s'", where, words_of(spec->arg, words, sizeof words), text);
        }
        break;
    case KIND_SIZE:
        if (!parse_size(text, &v.bytes) || v.bytes == 0)
            return err_set(err, ERR_USAGE, "%s wants a size such as 512M, 8G or 1.5T, not '%s'", where, text);
        break;
    case KIND_RATE:
        if (!parse_rate(text, &v.real)) return err_set(err, ERR_USAGE, "%s wants a rate such as 7GB/s or 500MB/s, not '%s'", where, text);
        break;
    case KIND_INT:
    case KIND_REAL:
        v.automatic = strstr(spec->arg, "|auto") && strcmp(text, "auto") == 0;
        if (!v.automatic && set_number(&v, spec, text, where, err)) return ERR_USAGE;
        break;
    case KIND_FLAG: {
        int on = read_switch(text);
        if (on < 0) return err_set(err, ERR_USAGE, "%s wants on or off, not '%s'", where, text);
        v.integer = on;
        break;
    }
    }
    o->value[spec->id] = v;
    return ERR_OK;
}

/* ---- the command line ---------------------------------------------------------------------------------------------- */

static ErrCode unknown_option(const char *arg, size_t len, unsigned command, Err *err) {
    const char *near = len > 2 ? nearest_name(arg + 2, len - 2, option_name_at, &command) : NULL;
    if (near) return err_set(err, ERR_USAGE, "unknown option '%.*s'; did you mean --%s?", (int)len, arg, near);
    return err_set(err, ERR_USAGE, "unknown option '%.*s'; --help lists the options of this command", (int)len, arg);
}

/* Splits argv[i] into the option and, where it is glued on, its value (NULL: not there). */
static ErrCode split(const char *arg, unsigned command, const OptionSpec **spec, const char **glued, Err *err) {
    *glued = NULL;
    if (arg[1] == '-') {
        size_t len = strcspn(arg, "=");
        *spec = option_by_name(arg + 2, len - 2, command);
        if (!*spec) return unknown_option(arg, len, command, err);
        if (arg[len] == '=') *glued = arg + len + 1;
        return ERR_OK;
    }
    *spec = option_by_letter(arg[1], command);
    if (!*spec) return unknown_option(arg, strlen(arg), command, err);
    if (arg[2]) {
        if ((*spec)->kind == KIND_FLAG) return unknown_option(arg, strlen(arg), command, err);
        *glued = arg + 2;
    }
    return ERR_OK;
}

static ErrCode parse_flags(Options *o, int argc, char **argv, Err *err) {
    bool options_over = false;
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i];
        if (!options_over && strcmp(arg, "--") == 0) {
            options_over = true;
            continue;
        }
        if (options_over || arg[0] != '-' || arg[1] == 0) {
            const char *hint = option_by_letter('p', o->command) ? "; a text goes after -p, a model after -m"
                                                                 : "; a model goes after -m";
            return err_set(err, ERR_USAGE, "unexpected argument '%s'%s", arg, hint);
        }
        const OptionSpec *spec;
        const char *value;
        if (split(arg, o->command, &spec, &value, err)) return ERR_USAGE;
        char where[40];
        if (arg[1] == '-') snprintf(where, sizeof where, "--%s", spec->name);
        else snprintf(where, sizeof where, "-%c", spec->letter);
        if (!value && spec->kind == KIND_FLAG) value = "on";
        if (!value) {
            if (i + 1 >= argc) return err_set(err, ERR_USAGE, "%s wants a value: %s %s", where, where, spec->arg);
            value = argv[++i];
        }
        if (option_set(o, spec, value, SOURCE_FLAG, where, err)) return ERR_USAGE;
    }
    return ERR_OK;
}

ErrCode options_parse(Options *o, unsigned command, int argc, char **argv, Err *err) {
    memset(o, 0, sizeof *o);
    o->command = command;
    if (parse_flags(o, argc, argv, err)) return ERR_USAGE;
    if (opt_on(o, OPT_HELP)) return ERR_OK;
    ErrCode code = config_apply(o, err);
    if (code) return code;
    OptionValue *quiet = &o->value[OPT_QUIET], *verbose = &o->value[OPT_VERBOSE];
    if (quiet->integer && verbose->integer) {
        if (quiet->source == verbose->source) return err_set(err, ERR_USAGE, "--quiet and --verbose exclude each other");
        if (quiet->source > verbose->source) verbose->integer = 0;
        else quiet->integer = 0;
    }
    return ERR_OK;
}

void options_note_idle(const Options *o) {
    for (size_t i = 0; i < option_table_len; i++) {
        const OptionSpec *spec = &option_table[i];
        if ((spec->accepted & o->command) && !(spec->acts & o->command) && o->value[spec->id].source == SOURCE_FLAG)
            log_note("note: --%s changes nothing in this command", spec->name);
    }
}

/* ---- to the engine ------------------------------------------------------------------------------------------------- */

static void put(char *into, const OptionSpec *spec, const void *value, size_t bytes) {
    assert(bytes == spec->bytes); /* the row names a field of the option's kind */
    memcpy(into + spec->at, value, bytes);
}

static void put_value(char *into, const OptionSpec *spec, const OptionValue *v) {
    int integer = (int)v->integer;
    bool on = v->integer != 0;
    float real = (float)v->real;
    switch (spec->kind) {
    case KIND_TEXT:
    case KIND_CHOICE: put(into, spec, &v->text, sizeof v->text); break;
    case KIND_SIZE: put(into, spec, &v->bytes, sizeof v->bytes); break;
    case KIND_RATE: put(into, spec, &v->real, sizeof v->real); break;
    case KIND_REAL: put(into, spec, &real, sizeof real); break;
    case KIND_FLAG: put(into, spec, &on, sizeof on); break;
    case KIND_INT:
        if (!v->automatic) put(into, spec, &integer, sizeof integer);
        break;
    }
}

static void fill(const Options *o, OptionInto which, void *into) {
    for (size_t i = 0; i < option_table_len; i++) {
        const OptionSpec *spec = &option_table[i];
        if (spec->into == which && option_acts(spec, o->command) && opt_given(o, spec->id)) put_value(into, spec, &o->value[spec->id]);
    }
}

void options_into(const Options *o, sluice_options *options) { fill(o, INTO_OPTIONS, options); }

void options_into_sampling(const Options *o, sluice_sampling *sampling) { fill(o, INTO_SAMPLING, sampling); }

void options_free(Options *o) { arena_free(&o->texts); }
