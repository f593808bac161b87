/* Running the program under test. */
#include "support/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

char *read_whole(const char *path, size_t *len) {
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("cannot open %s", path);
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    char *text = malloc((size_t)size + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)size, f), size);
    text[size] = 0;
    fclose(f);
    if (len) *len = (size_t)size;
    return text;
}

void write_whole(const char *path, const char *text) {
    FILE *f = fopen(path, "wb");
    if (!f) fail_msg("cannot create %s", path);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

const char *temp_path(const char *name) {
    static char path[8][1024];
    static int turn;
    char *p = path[turn++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", temp_dir(), name);
    return p;
}

const Result *shell(const char *line) {
    static Result last;
    static char script[16384];
    const char *path = temp_path("line.sh"), *out = temp_path("stdout"), *err = temp_path("stderr");
    int n = snprintf(script, sizeof script, "set -o pipefail\nunset ${!SLUICE_*}\nS='%s'\nT='%s'\n"
                     "export XDG_CONFIG_HOME=$T XDG_STATE_HOME=$T/home\n%s\n", sluice_bin(), temp_dir(), line);
    assert_true(n > 0 && (size_t)n < sizeof script);
    write_whole(path, script);
    char command[4096];
    snprintf(command, sizeof command, "bash '%s' >'%s' 2>'%s' </dev/null", path, out, err);
    int status = system(command); // NOLINT(cert-env33-c): a shell is what is wanted
    free(last.out);
    free(last.err);
    last.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    last.out = read_whole(out, &last.out_len);
    last.err = read_whole(err, NULL);
    return &last;
}

const Result *shell_expect(int code, const char *line) {
    const Result *r = shell(line);
    if (r->code != code) fail_msg("exit code %d, not %d, of: %s\n%s", r->code, code, line, r->err);
    return r;
}

json_t *result_json(const Result *r) {
    json_error_t error;
    json_t *value = json_loads(r->out, JSON_DECODE_ANY, &error);
    if (!value) fail_msg("no JSON (%s): %s", error.text, r->out);
    return value;
}

long least_ram(const char *work) {
    char line[512];
    snprintf(line, sizeof line, "$S %s --ram 1M", work);
    const char *named = strstr(shell_expect(1, line)->err, "at least --ram ");
    assert_non_null(named);
    return strtol(named + strlen("at least --ram "), NULL, 10) + 1;
}
