/* sluice chat as somebody sees it who sits at a terminal: what is typed, pasted and completed, and how an answer looks. */
#define _XOPEN_SOURCE 700
#include "support/program.h"
#include "support/scripted_model.h"
#include "support/terminal.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const Script scripts[] = {
    {"table", "Before:\n\n| Name | N |\n|:--|--:|\n| **one** | 1 |\n"
              "| `\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC` | 22 |\n\nAfter."},
    {"marks", "# Head\nsome **bold** and `code` here # no head\n```c\nint a = 2 ** 3;\n```\n- item\n"},
    {"controls", "one\x1b[2Jtwo\x07"},
    {"thoughts", "<think>Hm, hm.</think>The answer."},
    {"first\nsecond", "Two lines."},
    {"\xC3\xBC", "Umlaut."},
    {"", "Just talk."},
};

#define CHAT "$S chat -m $T/scripted.gguf --ctx 4096 --temp 0 "

static int make_model(void **state) {
    (void)state;
    scripted_write(temp_path("scripted.gguf"), scripts, sizeof scripts / sizeof *scripts, true);
    return shell("mkdir -p $T/home")->code;
}

static void type(Terminal *t, const char *keys, const char *answer) {
    terminal_wait(t, "> ");
    terminal_type(t, keys);
    terminal_wait(t, answer);
}

static void quit(Terminal *t) {
    terminal_type(t, "/quit\n");
    assert_int_equal(terminal_end(t), 0);
}

static void letters_of_every_language_arrive(void **state) {
    (void)state;
    Terminal *t = terminal_start("export LC_ALL=C; " CHAT);
    type(t, "Gr\xC3\xBC\xC3\x9F\x65\n", "Umlaut.");
    quit(t);
}

static void what_is_pasted_is_one_question(void **state) {
    (void)state;
    Terminal *t = terminal_start(CHAT);
    type(t, "\x1b[200~first\rsecond\r\x1b[201~", "second");
    terminal_type(t, "\n");
    terminal_wait(t, "Two lines.");
    type(t, "first\x1b\rsecond\n", "Two lines."); /* Alt-Enter */
    type(t, "first\\\nsecond\n", "Two lines.");
    quit(t);
}

static void tab_completes_commands_and_files(void **state) {
    (void)state;
    shell_expect(0, "mkdir -p $T/files && echo some text > $T/files/a_long_name.txt");
    Terminal *t = terminal_start("S=$(realpath $S); cd $T/files; " CHAT);
    type(t, "/he\t\n", "/retry");
    type(t, "/s\t\t", "/save  /system  /set  /stats");
    terminal_type(t, "\x15/file a_lo\t\n"); /* Ctrl-U: a new line */
    terminal_wait(t, "bytes of a_long_name.txt");
    quit(t);
}

static void a_terminal_that_closes_saves_the_conversation(void **state) {
    (void)state;
    shell_expect(0, "rm -rf $T/home/sluice/sessions");
    Terminal *t = terminal_start("exec " CHAT);
    type(t, "Say it.\n", "Just talk.");
    terminal_wait(t, "> ");
    kill(t->pid, SIGHUP);
    kill(t->pid, SIGHUP);
    terminal_end(t);
    t = terminal_start(CHAT "--resume last");
    type(t, "/retry\n", "Just talk.");
    quit(t);
}

static void history_is_there_and_is_kept(void **state) {
    (void)state;
    Terminal *t = terminal_start(CHAT);
    type(t, "Show me marks.\n", "item");
    terminal_wait(t, "context");
    type(t, "\x1b[A\n", "item");
    terminal_wait(t, "context");
    quit(t);
    t = terminal_start(CHAT);
    type(t, "\x1b[A\x1b[A\n", "item"); /* above it: /quit */
    terminal_wait(t, "context");
    quit(t);
}

static void markdown_is_shown_and_controls_are_not(void **state) {
    (void)state;
    Terminal *t = terminal_start(CHAT);
    type(t, "Show me a table.\n", "Before:\r\n\r\nName    N\r\n");
    terminal_wait(t, "\xE2\x94\x80  \xE2\x94\x80\xE2\x94\x80\r\n"); /* a ruler */
    terminal_wait(t, "\033[1mone\033[0m     1\r\n");
    terminal_wait(t, "\xE2\x82\xAC\033[0m  22\r\n\r\nAfter.");
    type(t, "Show me marks.\n", "\033[1m# Head\033[0m\r\nsome \033[0m\033[1mbold\033[0m and \033[0m\033[36mcode\033[0m");
    terminal_wait(t, "here # no head");
    terminal_wait(t, "\033[36mint a = 2 ** 3;");
    type(t, "Show me controls.\n", "one\\x1b[2Jtwo\\x07");
    quit(t);
    t = terminal_start("export NO_COLOR=1; " CHAT);
    type(t, "Show me a table.\n", "| **one** | 1 |\r\n");
    type(t, "Show me controls.\n", "one\\x1b[2Jtwo\\x07");
    quit(t);
    const Result *r = shell_expect(0, "echo 'Show me controls.' | " CHAT);
    assert_string_equal(r->out, "one\x1b[2Jtwo\x07\n"); /* no terminal: as it is */
}

static void thoughts_are_dimmed_or_hidden(void **state) {
    (void)state;
    Terminal *t = terminal_start(CHAT);
    type(t, "Show me thoughts.\n", "\033[2mHm, hm.\033[0m\r\n\r\nThe answer.");
    type(t, "/think hide\n", "unseen");
    terminal_type(t, "Show me thoughts.\n");
    terminal_wait(t, "\033[?2004lThe answer.");
    quit(t);
}

static void settings_commands_answer(void **state) {
    (void)state;
    Terminal *t = terminal_start(CHAT);
    type(t, "/set temp 0.7\n", "temp is 0.7");
    type(t, "/system Be brief.\n", "the system text is set");
    type(t, "Hi\n", "context");
    type(t, "/save one\n", "saved as one");
    type(t, "/list\n", "one");
    type(t, "/clear\n", "a new conversation");
    type(t, "/undo\n", "there is nothing to undo");
    type(t, "/retry\n", "there is no question yet");
    type(t, "/load one\n", "2 messages of one");
    type(t, "/retry\n", "Just talk.");
    type(t, "/undo\n", "are gone");
    type(t, "/tools\n", "there are no tools");
    type(t, "/file /nowhere\n", "cannot be read");
    type(t, "abc\x03", "> "); /* the line alone is given up */
    quit(t);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_of_every_language_arrive),
        cmocka_unit_test(what_is_pasted_is_one_question),
        cmocka_unit_test(tab_completes_commands_and_files),
        cmocka_unit_test(a_terminal_that_closes_saves_the_conversation),
        cmocka_unit_test(history_is_there_and_is_kept),
        cmocka_unit_test(markdown_is_shown_and_controls_are_not),
        cmocka_unit_test(thoughts_are_dimmed_or_hidden),
        cmocka_unit_test(settings_commands_answer),
    };
    return cmocka_run_group_tests(tests, make_model, NULL);
}
