/* What a model may call: limits, arguments, files of functions. */
#include "os/os.h"
#include "support/program.h"
#include "tools/tools.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Tools in a fresh folder of this name. */
static Tools *tools_in(const char *name, ToolsConfig config, const char *allow) {
    static char path[2048];
    Err err = {0};
    snprintf(path, sizeof path, "%s/%s", temp_dir(), name);
    assert_int_equal(os_make_folder(path, &err), ERR_OK);
    config.folder = path;
    Tools *t = tools_new(&config, &err);
    if (!t || (allow && tools_allow(t, allow, &err))) fail_msg("%s", err.text);
    return t;
}

/* A call with arguments as JSON; the result until the next one. */
static const char *call(Tools *t, ToolsEnd expected, const char *name, const char *arguments) {
    static Buf result;
    json_t *value = json_loads(arguments, JSON_ALLOW_NUL, NULL);
    assert_non_null(value);
    buf_clear(&result);
    ToolsEnd end = tools_call(t, name, value, &result);
    buf_putc(&result, 0);
    assert_false(result.failed);
    assert_true(utf8_valid(result.ptr, result.len - 1));
    if (end != expected) fail_msg("%s %s ended with %d, not %d:\n%s", name, arguments, (int)end, (int)expected, result.ptr);
    json_decref(value);
    return result.ptr;
}

static void expect(const char *where, const char *text) {
    if (!strstr(where, text)) fail_msg("'%s' is not in: %s", text, where);
}

/* ---- the shell ---- */

static void a_shell_tells_output_errors_and_status(void **state) {
    (void)state;
    Tools *t = tools_in("shell", (ToolsConfig){0}, "shell");
    assert_string_equal(call(t, TOOLS_DONE, "shell", "{\"command\": \"echo one; echo two >&2\"}"), "one\ntwo\n");
    assert_string_equal(call(t, TOOLS_FAILED, "shell", "{\"command\": \"echo no; exit 7\"}"), "no\n[exit status 7]");
    assert_string_equal(call(t, TOOLS_DONE, "shell", "{\"command\": \"true\"}"), "[it succeeded and said nothing]");
    assert_string_equal(call(t, TOOLS_DONE, "shell", "{\"command\": \"cat\"}"), "[it succeeded and said nothing]"); /* no input */
    expect(call(t, TOOLS_DONE, "shell", "{\"command\": \"pwd\"}"), "/shell\n");
    expect(call(t, TOOLS_FAILED, "shell", "{\"command\": \"true\\u0000; reboot\"}"), "zero byte");
    tools_free(t);
}

static void a_call_that_takes_too_long_is_killed_with_all_it_started(void **state) {
    (void)state;
    Tools *t = tools_in("slow", (ToolsConfig){.limit_ns = 200000000}, "shell");
    uint64_t start = os_now_ns();
    expect(call(t, TOOLS_FAILED, "shell", "{\"command\": \"echo begun; (sleep 3; echo late > late) & sleep 1000\"}"),
           "begun\n[stopped: it took longer than 0.2 seconds]");
    assert_true(os_now_ns() - start < UINT64_C(60000000000)); /* not 1000 s */
    expect(call(t, TOOLS_FAILED, "shell", "{\"command\": \"trap '' TERM INT HUP; while :; do sleep 1; done\"}"), "took longer");
    assert_int_equal(shell("sleep 0; test -e $T/slow/late")->code, 1);
    tools_free(t);
}

static void what_runs_on_in_the_background_is_not_waited_for(void **state) {
    (void)state;
    Tools *t = tools_in("background", (ToolsConfig){.limit_ns = UINT64_C(100000000000)}, "shell");
    assert_string_equal(call(t, TOOLS_DONE, "shell", "{\"command\": \"sleep 1000 & echo done\"}"), "done\n");
    tools_free(t);
}

static void the_middle_of_a_long_output_is_cut(void **state) {
    (void)state;
    Tools *t = tools_in("long", (ToolsConfig){.most_bytes = 1000}, "shell");
    const char *r = call(t, TOOLS_DONE, "shell", "{\"command\": \"seq 1 200000\"}");
    assert_int_equal(strncmp(r, "1\n2\n3\n", 6), 0);
    expect(r, "bytes were cut out here: a result has at most 1000 ...]\n");
    assert_true(strlen(r) < 1200);
    assert_string_equal(r + strlen(r) - 14, "199999\n200000\n");
    /* 1,288,895 bytes in all */
    expect(r, "[... 1287895 bytes");
    expect(call(t, TOOLS_DONE, "shell", "{\"command\": \"head -c 1001 /dev/zero | tr '\\\\0' x\"}"), "[... 1 bytes were cut");
    assert_int_equal(strlen(call(t, TOOLS_DONE, "shell", "{\"command\": \"head -c 1000 /dev/zero | tr '\\\\0' x\"}")), 1000);
    /* letters of three bytes: none is cut in two */
    r = call(t, TOOLS_DONE, "shell", "{\"command\": \"for i in $(seq 1 500); do printf '\xE2\x82\xAC'; done\"}");
    assert_null(strstr(r, "\xEF\xBF\xBD"));
    tools_free(t);
}

static void bytes_that_are_no_text_are_replaced(void **state) {
    (void)state;
    Tools *t = tools_in("bytes", (ToolsConfig){0}, "shell");
    assert_string_equal(call(t, TOOLS_DONE, "shell", "{\"command\": \"printf 'a\\\\000b\\\\377c'\"}"), "a\xEF\xBF\xBD" "b\xEF\xBF\xBD" "c");
    tools_free(t);
}

/* ---- files ---- */

static void files_are_written_read_and_listed(void **state) {
    (void)state;
    Tools *t = tools_in("files", (ToolsConfig){0}, "read_file,write_file,list_dir");
    expect(call(t, TOOLS_DONE, "write_file", "{\"path\": \"a/b.txt\", \"content\": \"one\\ntwo\\nthree\"}"), "a new file");
    expect(call(t, TOOLS_DONE, "write_file", "{\"path\": \"a/b.txt\", \"content\": \"one\\ntwo\\nthree\\n\"}"), "in place of");
    assert_string_equal(call(t, TOOLS_DONE, "read_file", "{\"path\": \"a/b.txt\"}"), "one\ntwo\nthree\n");
    assert_string_equal(call(t, TOOLS_DONE, "read_file", "{\"path\": \"a/b.txt\", \"from_line\": 2, \"to_line\": 2}"), "two\n");
    assert_string_equal(call(t, TOOLS_DONE, "read_file", "{\"path\": \"a/b.txt\", \"from_line\": 3}"), "three\n");
    expect(call(t, TOOLS_DONE, "read_file", "{\"path\": \"a/b.txt\", \"from_line\": 9}"), "no such lines");
    assert_string_equal(call(t, TOOLS_DONE, "list_dir", "{}"), "a/\n");
    assert_string_equal(call(t, TOOLS_DONE, "list_dir", "{\"path\": \"a\"}"), "b.txt (14 bytes)\n");
    tools_free(t);
}

static void files_elsewhere_are_refused(void **state) {
    (void)state;
    Tools *t = tools_in("jail", (ToolsConfig){0}, "all");
    assert_int_equal(shell("cd $T && echo secret > secret && ln -sf ../secret jail/link && ln -sfn .. jail/up")->code, 0);
    static const char *const calls[][2] = {
        {"read_file", "{\"path\": \"../secret\"}"},   {"read_file", "{\"path\": \"link\"}"},
        {"read_file", "{\"path\": \"up/secret\"}"},   {"read_file", "{\"path\": \"/etc/passwd\"}"},
        {"write_file", "{\"path\": \"link\", \"content\": \"x\"}"}, {"write_file", "{\"path\": \"up/new\", \"content\": \"x\"}"},
        {"list_dir", "{\"path\": \"..\"}"},           {"list_dir", "{\"path\": \"/\"}"},
    };
    for (size_t i = 0; i < COUNT_OF(calls); i++) {
        const char *r = call(t, TOOLS_FAILED, calls[i][0], calls[i][1]);
        if (!strstr(r, "leads out of")) fail_msg("%s: %s", calls[i][1], r);
        assert_null(strstr(r, "secret\n"));
    }
    assert_int_equal(shell("test $(cat $T/secret) = secret && test ! -e $T/new")->code, 0);
    expect(call(t, TOOLS_FAILED, "read_file", "{\"path\": \"a\\u0000b\"}"), "zero byte");
    tools_free(t);
}

/* ---- arguments ---- */

static void arguments_that_do_not_fit_are_told_to_the_model(void **state) {
    (void)state;
    Tools *t = tools_in("arguments", (ToolsConfig){0}, "all");
    assert_string_equal(call(t, TOOLS_FAILED, "shell", "{}"), "['command' is missing]");
    assert_string_equal(call(t, TOOLS_FAILED, "shell", "{\"command\": 3}"), "['command' must be of type \"string\"]");
    assert_string_equal(call(t, TOOLS_FAILED, "read_file", "{\"path\": \"a\", \"from_line\": 1.5}"),
                        "['from_line' must be of type \"integer\"]");
    assert_string_equal(call(t, TOOLS_FAILED, "shell", "[\"ls\"]"), "[the arguments must be a JSON object]");
    assert_string_equal(call(t, TOOLS_FAILED, "other", "{}"), "[there is no tool other]");
    tools_free(t);
}

/* ---- functions of a file ---- */

#define FUNCTION(name, parameters, more) \
    "{\"type\": \"function\", \"function\": {\"name\": \"" name "\", \"parameters\": " parameters "}, " more "}"
#define ONE_WORD "{\"type\": \"object\", \"properties\": {\"word\": {\"type\": \"string\", \"enum\": [\"a b\", \"$(reboot)\", \"-n\"]}, " \
                 "\"n\": {\"type\": [\"integer\", \"null\"]}}, \"additionalProperties\": false}"

static Tools *load(const char *text, const char *error) {
    Err err = {0};
    Tools *t = tools_in("loaded", (ToolsConfig){0}, NULL);
    write_whole(temp_path("tools.json"), text);
    ErrCode code = tools_load(t, temp_path("tools.json"), &err);
    if (!error && code) fail_msg("%s", err.text);
    if (error && !strstr(err.text, error)) fail_msg("'%s' is not in: %s", error, err.text);
    return t;
}

static void a_function_of_a_file_is_its_command(void **state) {
    (void)state;
    Tools *t = load("[" FUNCTION("echo", ONE_WORD, "\"command\": [\"printf\", \"<%s>\", \"{word}\", \"n={n}\", \"{else}\"]") ","
                    FUNCTION("input", ONE_WORD, "\"command\": \"cat; exit 0\"") ","
                    FUNCTION("fails", ONE_WORD, "\"command\": [\"sh\", \"-c\", \"echo partly; echo why >&2; exit 2\"]") ","
                    FUNCTION("slow", ONE_WORD, "\"command\": \"sleep 1000\", \"seconds\": 0.1") "]", NULL);
    assert_string_equal(call(t, TOOLS_DONE, "echo", "{\"word\": \"a b\", \"n\": 3}"), "<a b><n=3><{else}>");
    /* what is not given is left out */
    assert_string_equal(call(t, TOOLS_DONE, "echo", "{\"word\": \"$(reboot)\"}"), "<$(reboot)><{else}>");
    assert_string_equal(call(t, TOOLS_DONE, "echo", "{\"n\": null}"), "<{else}>");
    assert_string_equal(call(t, TOOLS_DONE, "input", "{\"word\": \"a b\"}"), "{\"word\":\"a b\"}\n");
    assert_string_equal(call(t, TOOLS_FAILED, "fails", "{}"), "partly\nwhy\n[exit status 2]");
    expect(call(t, TOOLS_FAILED, "slow", "{}"), "longer than 0.1 seconds");
    assert_string_equal(call(t, TOOLS_FAILED, "echo", "{\"word\": \"c\"}"), "['word' must be one of [\"a b\",\"$(reboot)\",\"-n\"]]");
    assert_string_equal(call(t, TOOLS_FAILED, "echo", "{\"wrod\": \"a b\"}"), "[there is no argument 'wrod']");
    json_t *declared = tools_declared(t);
    assert_int_equal(json_array_size(declared), 4);
    assert_null(json_object_get(json_array_get(declared, 0), "command")); /* the model need not know */
    json_decref(declared);
    tools_free(t);
}

static void a_file_that_declares_nonsense_is_refused(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"{", "tools.json"},
        {"3", "holds no array of tools"},
        {"[{\"type\": \"function\"}]", "a tool is {"},
        {"[" FUNCTION("x", "{}", "\"cmd\": 1") "]", "\"cmd\" is not known here"},
        {"[" FUNCTION("x", "{}", "\"command\": []") "]", "needs a \"command\""},
        {"[" FUNCTION("x", "{}", "\"command\": [\"a\", 3]") "]", "needs a \"command\""},
        {"[" FUNCTION("x", "{}", "\"command\": \"\"") "]", "needs a \"command\""},
        {"[" FUNCTION("x", "{}", "\"command\": \"a\", \"seconds\": -1") "]", "\"seconds\""},
        {"[" FUNCTION("x", "3", "\"command\": \"a\"") "]", "no JSON schema"},
        {"[" FUNCTION("x", "{}", "\"command\": \"a\"") "," FUNCTION("x", "{}", "\"command\": \"b\"") "]", "declared twice"},
        {"{\"tools\": 3}", "no array"},
        {"{\"functions\": []}", "not known here"},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) tools_free(load(bad[i][0], bad[i][1]));
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shell_tells_output_errors_and_status),
        cmocka_unit_test(a_call_that_takes_too_long_is_killed_with_all_it_started),
        cmocka_unit_test(what_runs_on_in_the_background_is_not_waited_for),
        cmocka_unit_test(the_middle_of_a_long_output_is_cut),
        cmocka_unit_test(bytes_that_are_no_text_are_replaced),
        cmocka_unit_test(files_are_written_read_and_listed),
        cmocka_unit_test(files_elsewhere_are_refused),
        cmocka_unit_test(arguments_that_do_not_fit_are_told_to_the_model),
        cmocka_unit_test(a_function_of_a_file_is_its_command),
        cmocka_unit_test(a_file_that_declares_nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
