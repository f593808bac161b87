/* What no flag has set comes from SLUICE_* variables, then from config.json. */
#include "cli/options.h"
#include "os/os.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *config_path(char *out, size_t size) {
    const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    int n;
    if (base && base[0] == '/') n = snprintf(out, size, "%s/sluice/config.json", base);
    else if (home && *home) n = snprintf(out, size, "%s/.config/sluice/config.json", home);
    else return NULL;
    return n > 0 && (size_t)n < size ? out : NULL;
}

static ErrCode apply_variables(Options *o, Err *err) {
    for (size_t i = 0; i < option_table_len; i++) {
        const OptionSpec *spec = &option_table[i];
        if (!spec->everywhere || !(spec->accepted & o->command) || opt_given(o, spec->id)) continue;
        char name[32];
        option_variable(spec, name);
        const char *text = getenv(name);
        if (text && *text && option_set(o, spec, text, SOURCE_VARIABLE, name, err)) return ERR_USAGE;
    }
    return ERR_OK;
}

/* A JSON value as the text that a flag would carry; NULL: an array, an object or null. */
static const char *value_text(Options *o, const json_t *value) {
    char number[40];
    if (json_is_string(value)) return arena_strndup(&o->texts, json_string_value(value), json_string_length(value));
    if (json_is_boolean(value)) return json_is_true(value) ? "on" : "off";
    if (json_is_integer(value)) snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value)) snprintf(number, sizeof number, "%.17g", json_real_value(value));
    else return NULL;
    return arena_strndup(&o->texts, number, strlen(number));
}

static const char *key_at(size_t i, void *user) {
    (void)user;
    if (i >= option_table_len) return NULL;
    return option_table[i].everywhere ? option_table[i].name : "";
}

/* The option that a key of the file names, whichever command runs. */
static const OptionSpec *key_spec(const char *key, unsigned command) {
    const OptionSpec *found = NULL;
    for (size_t i = 0; i < option_table_len; i++) {
        const OptionSpec *spec = &option_table[i];
        if (!spec->everywhere || !option_is_named(spec, key, strlen(key))) continue;
        if (!found || (spec->accepted & command)) found = spec;
    }
    return found;
}

static ErrCode apply_object(Options *o, const char *path, json_t *object, Err *err) {
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value) {
        const OptionSpec *spec = key_spec(key, o->command);
        if (!spec) {
            const char *near = nearest_name(key, strlen(key), key_at, NULL);
            return err_set(err, ERR_USAGE, "%s: unknown key \"%s\"%s%s%s", path, key, near ? "; did you mean \"" : "",
                           near ? near : "", near ? "\"?" : "; the keys are the long names of the model options");
        }
        if (!(spec->accepted & o->command) || opt_given(o, spec->id)) continue;
        char where[1200];
        snprintf(where, sizeof where, "%s: \"%s\"", path, key);
        const char *text = value_text(o, value);
        if (!text) return err_set(err, ERR_USAGE, "%s wants a string, a number or true/false", where);
        if (option_set(o, spec, text, SOURCE_FILE, where, err)) return ERR_USAGE;
    }
    return ERR_OK;
}

static ErrCode apply_file(Options *o, Err *err) {
    char path[1024];
    if (!config_path(path, sizeof path) || !os_exists(path)) return ERR_OK;
    Buf text = {0};
    ErrCode code = os_read_file(path, 1 << 20, &text, err);
    if (code) return code;
    json_error_t where;
    json_t *object = json_loadb(text.ptr ? text.ptr : "", text.len, JSON_REJECT_DUPLICATES, &where);
    buf_free(&text);
    if (!object) return err_set(err, ERR_USAGE, "%s: line %d: %s", path, where.line, where.text);
    if (json_is_object(object)) code = apply_object(o, path, object, err);
    else code = err_set(err, ERR_USAGE, "%s: wants an object such as {\"ram\": \"8G\"}", path);
    json_decref(object);
    return code;
}

ErrCode config_apply(Options *o, Err *err) {
    ErrCode code = apply_variables(o, err);
    return code ? code : apply_file(o, err);
}
