/* Other programs, and a folder that names cannot leave. */
#define _XOPEN_SOURCE 700
#include "os/os.h"
#include "support/support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- children ---- */

static void keep(void *user, bool is_err, const char *bytes, size_t len) { buf_put((Buf *)user + is_err, bytes, len); }

/* Runs a line of sh to its end; heard[0] its output, heard[1] its errors. */
static int talk(OsChildSpec spec, const char *line, Str input, Buf heard[2]) {
    const char *const argv[] = {"sh", "-c", line, NULL};
    OsChild c;
    Err err = {0};
    spec.argv = argv;
    if (os_child_start(&c, &spec, &err)) fail_msg("%s", err.text);
    while (os_child_move(&c, &input, 10000000, keep, heard))
        if (!input.len) os_child_end_input(&c);
    while (!os_child_ended(&c)) os_sleep_ns(1000000);
    int status = c.status;
    os_child_end(&c);
    assert_int_equal(c.pid, 0);
    for (int i = 0; i < 2; i++) buf_putc(&heard[i], 0);
    return status;
}

static void free_both(Buf heard[2]) {
    buf_free(&heard[0]);
    buf_free(&heard[1]);
}

static void a_child_reads_speaks_and_ends(void **state) {
    (void)state;
    Buf heard[2] = {{0}, {0}};
    const char *const env[] = {"COLOUR=red", NULL};
    OsChildSpec spec = {.folder = temp_dir(), .env = env, .err = OS_CHILD_ERR_APART};
    int status = talk(spec, "read word; echo $word $COLOUR; pwd -P; echo oops >&2; exit 3", str_c("hello\n"), heard);
    char expected[2048], real[1024];
    assert_non_null(realpath(temp_dir(), real));
    snprintf(expected, sizeof expected, "hello red\n%s\n", real);
    assert_int_equal(status, 3);
    assert_string_equal(heard[0].ptr, expected);
    assert_string_equal(heard[1].ptr, "oops\n");
    free_both(heard);
}

static void more_than_a_pipe_holds_goes_both_ways(void **state) {
    (void)state;
    Buf heard[2] = {{0}, {0}};
    size_t n = 3 << 20;
    char *much = malloc(n);
    for (size_t i = 0; i < n; i++) much[i] = (char)('a' + i % 26);
    assert_int_equal(talk((OsChildSpec){.err = OS_CHILD_ERR_WITH_OUT}, "cat", str_make(much, n), heard), 0);
    assert_int_equal(heard[0].len, n + 1);
    assert_memory_equal(heard[0].ptr, much, n);
    free(much);
    free_both(heard);
}

static void a_child_that_does_not_listen_harms_nobody(void **state) {
    (void)state;
    Buf heard[2] = {{0}, {0}};
    char *much = calloc(1, 1 << 20);
    OsChildSpec spec = {.err = OS_CHILD_ERR_DROPPED};
    assert_int_equal(talk(spec, "exec 0<&-; echo bye; echo lost >&2", str_make(much, 1 << 20), heard), 0);
    assert_string_equal(heard[0].ptr, "bye\n");
    free(much);
    free_both(heard);
}

static void a_child_has_no_file_of_ours_and_no_terminal(void **state) {
    (void)state;
    Buf heard[2] = {{0}, {0}};
    int fd = open("/dev/null", O_RDONLY); /* without O_CLOEXEC */
    char line[128];
    snprintf(line, sizeof line, "test -e /proc/self/fd/%d && echo inherited; (: < /dev/tty) 2>/dev/null && echo terminal; true", fd);
    assert_int_equal(talk((OsChildSpec){0}, line, str_c(""), heard), 0);
    assert_string_equal(heard[0].ptr, "");
    close(fd);
    free_both(heard);
}

static void what_cannot_be_started_is_an_error(void **state) {
    (void)state;
    const char *const argv[] = {"no-such-program-anywhere", NULL};
    OsChild c;
    Err err = {0};
    assert_int_equal(os_child_start(&c, &(OsChildSpec){.argv = argv}, &err), ERR_IO);
    assert_non_null(strstr(err.text, "no-such-program-anywhere cannot be started"));
    os_child_end(&c);
}

static void the_end_of_a_child_is_that_of_its_children(void **state) {
    (void)state;
    const char *const argv[] = {"sh", "-c", "sleep 1000 & echo $!; wait", NULL};
    OsChild c;
    Err err = {0};
    Buf heard[2] = {{0}, {0}};
    Str none = {"", 0};
    assert_int_equal(os_child_start(&c, &(OsChildSpec){.argv = argv}, &err), ERR_OK);
    while (!heard[0].len || heard[0].ptr[heard[0].len - 1] != '\n') assert_true(os_child_move(&c, &none, 100000000, keep, heard));
    int grandchild = (int)strtol(heard[0].ptr, NULL, 10);
    assert_int_equal(kill(grandchild, 0), 0);
    assert_false(os_child_ended(&c));
    os_child_end(&c);
    char path[64], what[256] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", grandchild);
    for (int i = 0; i < 1000 && os_fact("", path, what, sizeof what) && !strstr(what, ") Z"); i++) os_sleep_ns(5000000);
    assert_true(kill(grandchild, 0) != 0 || strstr(what, ") Z"));
    free_both(heard);
}

/* ---- a folder ---- */

static OsFolder folder;

static int make_folder(void **state) {
    (void)state;
    Err err = {0};
    char path[2048], line[8192];
    snprintf(path, sizeof path, "%s/in", temp_dir());
    snprintf(line, sizeof line,
             "cd '%s' && mkdir -p in/deep && echo secret > secret && echo text > in/file && "
             "ln -s file in/link && ln -s ../secret in/out && "
             "ln -s .. in/up && ln -s /etc in/etc && ln -s deep in/deeper && mkfifo in/pipe && "
             "echo two > in/deep/two", temp_dir());
    return system(line) || os_folder_open(&folder, path, &err); // NOLINT(cert-env33-c): a shell is what is wanted
}

static int drop_folder(void **state) {
    (void)state;
    os_folder_close(&folder);
    return 0;
}

static ErrCode read_it(const char *name, Buf *out, Err *err) {
    buf_clear(out);
    *err = (Err){0};
    return os_folder_read(&folder, name, 1000, out, err);
}

static void a_folder_is_not_left(void **state) {
    (void)state;
    static const char *const outside[] = {"../secret", "out", "up/secret", "etc/passwd", "/etc/passwd", "deep/../../secret",
                                          "deeper/../../secret", "/proc/self/environ", "..", "up"};
    Buf text = {0};
    Err err;
    bool made;
    for (size_t i = 0; i < COUNT_OF(outside); i++) {
        if (read_it(outside[i], &text, &err) == ERR_OK) fail_msg("%s was read", outside[i]);
        assert_non_null(strstr(err.text, "leads out of"));
        err = (Err){0};
        if (os_folder_write(&folder, outside[i], "x", 1, &made, &err) == ERR_OK) fail_msg("%s was written", outside[i]);
    }
    assert_int_equal(os_folder_write(&folder, "up/new/file", "x", 1, &made, &err), ERR_RANGE);
    char path[2048];
    snprintf(path, sizeof path, "%s/new", temp_dir());
    assert_int_not_equal(access(path, F_OK), 0);
    snprintf(path, sizeof path, "%s/secret", temp_dir());
    buf_clear(&text);
    assert_int_equal(os_read_file(path, 100, &text, &err), ERR_OK);
    assert_memory_equal(text.ptr, "secret\n", 7);
    buf_free(&text);
}

static void what_lies_in_a_folder_is_read_by_any_name(void **state) {
    (void)state;
    char absolute[2048];
    snprintf(absolute, sizeof absolute, "%s/deep/../file", folder.path);
    const char *const names[] = {"file", "./file", "link", "deep/../file", "deeper/../file", absolute};
    Buf text = {0};
    Err err;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (read_it(names[i], &text, &err)) fail_msg("%s: %s", names[i], err.text);
        assert_memory_equal(text.ptr, "text\n", 5);
    }
    assert_int_equal(read_it("deep", &text, &err), ERR_IO);
    assert_non_null(strstr(err.text, "a folder"));
    assert_int_equal(read_it("pipe", &text, &err), ERR_IO); /* and does not wait for a writer */
    buf_clear(&text);
    err = (Err){0};
    assert_int_equal(os_folder_read(&folder, "file", 4, &text, &err), ERR_RANGE);
    buf_free(&text);
}

static bool count_entry(void *user, const OsEntry *entry) {
    *(int *)user += strcmp(entry->name, "two") == 0 ? 1 : 100;
    return true;
}

static void folders_that_are_missing_are_made(void **state) {
    (void)state;
    Buf text = {0};
    Err err = {0};
    bool made = false;
    assert_int_equal(os_folder_write(&folder, "a/b/c.txt", "long text", 9, &made, &err), ERR_OK);
    assert_true(made);
    assert_int_equal(os_folder_write(&folder, "a/b/c.txt", "short", 5, &made, &err), ERR_OK);
    assert_false(made);
    assert_int_equal(read_it("a/b/c.txt", &text, &err), ERR_OK);
    assert_int_equal(text.len, 5);
    assert_int_equal(os_folder_write(&folder, "file/below", "x", 1, &made, &err), ERR_IO);
    int n = 0;
    err = (Err){0};
    assert_int_equal(os_folder_list(&folder, "deeper", count_entry, &n, &err), ERR_OK);
    assert_int_equal(n, 1);
    assert_int_equal(os_folder_list(&folder, "up", count_entry, &n, &err), ERR_RANGE);
    buf_free(&text);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_reads_speaks_and_ends),
        cmocka_unit_test(more_than_a_pipe_holds_goes_both_ways),
        cmocka_unit_test(a_child_that_does_not_listen_harms_nobody),
        cmocka_unit_test(a_child_has_no_file_of_ours_and_no_terminal),
        cmocka_unit_test(what_cannot_be_started_is_an_error),
        cmocka_unit_test(the_end_of_a_child_is_that_of_its_children),
        cmocka_unit_test(a_folder_is_not_left),
        cmocka_unit_test(what_lies_in_a_folder_is_read_by_any_name),
        cmocka_unit_test(folders_that_are_missing_are_made),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
