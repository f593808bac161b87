/* sluice chat with tools: a model that calls them, somebody who is asked, and what really happens. The model is scripted
 * (support/scripted_model.h), everything else is the program as it is. */
#include "support/program.h"
#include "support/scripted_model.h"
#include "support/terminal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL(name, arguments) "<tool_call>\n{\"name\":\"" name "\",\"arguments\":" arguments "}\n</tool_call>"

/* What the last message holds, and what is said then. Results are what the commands below write. */
static const Script scripts[] = {
    {"look", "I shall look." CALL("shell", "{\"command\": \"echo seen-$((40+2))\"}")},
    {"seen-42", "The shell said seen-42."},
    {"two things", CALL("write_file", "{\"path\": \"made/one.txt\", \"content\": \"first\\nline\"}") "\n"
                   CALL("shell", "{\"command\": \"cat made/one.txt; echo; echo both-done\"}")},
    {"both-done", "Both are done."},
    {"nobody can be asked", "Nobody is there."},
    {"did not allow", "So I shall not."},
    {"slowly", CALL("shell", "{\"command\": \"echo begun > begun; sleep 60.0417\"}") "\n"
               CALL("shell", "{\"command\": \"echo never > never\"}")},
    {"for ever", CALL("shell", "{\"command\": \"echo for ever\"}")},
    {"the weather", CALL("weather", "{\"city\": \"Ulm; rm -rf /\", \"days\": 2}")},
    {"sunny", "It is sunny."},
    {"wrongly", CALL("weather", "{\"days\": \"two\"}")},
    {"is missing", "I forgot the city."},
    {"half a call", "See <tool_call>\n{\"name\": \"shell\", \"arguments\": {\"com"},
    {"think", "<think>Hm, thoughts.</think>An answer after thoughts."},
    {"escape", CALL("shell", "{\"command\": \"true\\u001b[2K\\u202e ok\"}")},
    {"", "Just talk."},
};

#define MODEL "$T/scripted.gguf"
#define CHAT_PLAIN "$S chat -m " MODEL " --ctx 4096 --temp 0 "
#define CHAT       CHAT_PLAIN "--workdir $T/work "

static int make_model(void **state) {
    (void)state;
    scripted_write(temp_path("scripted.gguf"), scripts, sizeof scripts / sizeof *scripts, true);
    scripted_write(temp_path("plain.gguf"), scripts, sizeof scripts / sizeof *scripts, false);
    write_whole(temp_path("tools.json"),
                "[{\"type\": \"function\", \"function\": {\"name\": \"weather\",\n"
                "  \"description\": \"The weather of a city\",\n"
                "  \"parameters\": {\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"},\n"
                "  \"days\": {\"type\": \"integer\"}},\n"
                "  \"required\": [\"city\"]}},\n"
                "  \"command\": [\"sh\", \"-c\",\n"
                "  \"cat > input; echo \\\"$1|$2\\\" > words; echo sunny in $1\", \"sh\", \"{city}\", \"{days}\"]}]\n");
    return shell("mkdir -p $T/work $T/home")->code;
}

static void expect(const char *where, const char *text) {
    if (!strstr(where, text)) fail_msg("'%s' is not in: %s", text, where);
}

/* ---- nobody there ------------------------------------------------------------------------------------------------ */

static void calls_run_where_an_option_says_so_and_are_refused_otherwise(void **state) {
    (void)state;
    const Result *r = shell_expect(0, "echo 'Please look.' | " CHAT "--allow shell --yes");
    assert_string_equal(r->out, "I shall look.\nThe shell said seen-42.\n");
    expect(r->err, "call shell");
    expect(r->err, "echo seen-$((40+2))");
    r = shell_expect(0, "echo 'Please look.' | " CHAT "--allow shell");
    assert_string_equal(r->out, "I shall look.\nNobody is there.\n");
    expect(r->err, "--yes allows calls");
}

static void several_calls_of_a_turn_run_in_their_order(void **state) {
    (void)state;
    const Result *r = shell_expect(0, "echo 'Do two things.' | " CHAT "--allow all --yes && cat $T/work/made/one.txt");
    assert_string_equal(r->out, "Both are done.\nfirst\nline");
}

static void a_function_of_a_file_gets_its_arguments_as_words_and_as_json(void **state) {
    (void)state;
    const Result *r = shell_expect(0, "echo 'How is the weather?' | " CHAT "--tools $T/tools.json --yes && "
                                      "cat $T/work/words $T/work/input");
    assert_string_equal(r->out, "It is sunny.\nUlm; rm -rf /|2\n{\"city\":\"Ulm; rm -rf /\",\"days\":2}\n");
    r = shell_expect(0, "echo 'Ask wrongly.' | " CHAT "--tools $T/tools.json --yes");
    assert_string_equal(r->out, "I forgot the city.\n");
}

/* A server in the shell: it answers each request by its id, whatever else stands in it. */
static void tools_of_a_server_are_called(void **state) {
    (void)state;
    write_whole(temp_path("server.sh"),
                "answer() { printf '{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":%s}\\n' \"$id\" \"$1\"; }\n"
                "while read -r line; do\n"
                "  id=$(printf %s \"$line\" | sed -n 's/.*\"id\":\\([0-9]*\\).*/\\1/p')\n"
                "  case $line in\n"
                "  *tools/list*) answer '{\"tools\":[{\"name\":\"weather\",\"inputSchema\":{\"type\":\"object\"}}]}' ;;\n"
                "  *tools/call*Ulm*) answer '{\"content\":[{\"type\":\"text\",\"text\":\"sunny by server\"}]}' ;;\n"
                "  *initialize\\\"*) answer '{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{}}' ;;\n"
                "  esac\n"
                "done\n");
    const Result *r = shell_expect(0, "echo 'How is the weather?' | " CHAT "--mcp \"bash $T/server.sh\" --yes");
    assert_string_equal(r->out, "It is sunny.\n");
    expect(r->err, "> sunny by server");
    expect(shell_expect(1, "echo Hi | " CHAT "--mcp true")->err, "speaks no MCP");
}

/* How many tokens of prompts were computed for one question. */
static long tokens_read(const char *question) {
    char line[512];
    snprintf(line, sizeof line, "printf '%s\\n/stats\\n' | " CHAT "--allow shell --yes 2>&1 | grep -o '^read [0-9]*'", question);
    return strtol(shell_expect(0, line)->out + strlen("read "), NULL, 10);
}

/* The call is known by the ids that were sampled: rendered anew it would be other ids, one for each of its 90 bytes. */
static void what_was_computed_before_a_call_is_not_computed_again(void **state) {
    (void)state;
    long without = tokens_read("Please talk."), with = tokens_read("Please look.");
    assert_true(without > 200);
    assert_in_range(with - without, 1, 80); /* the result and what stands around it */
}

static void rounds_have_a_bound(void **state) {
    (void)state;
    const Result *r = shell_expect(0, "printf 'Call for ever.\\n' | " CHAT "--allow shell --yes --rounds 3");
    expect(r->err, "3 rounds of calls and no answer yet");
    const char *at = r->err;
    for (int i = 0; i < 3; i++) assert_non_null(at = strstr(at, "call shell")), at++;
    assert_null(strstr(at, "call shell"));
}

static void half_a_call_is_text_and_an_answer_without_tools_is_as_before(void **state) {
    (void)state;
    const Result *r = shell_expect(0, "echo 'Say half a call.' | " CHAT "--allow shell --yes");
    assert_string_equal(r->out, "See <tool_call>\n{\"name\": \"shell\", \"arguments\": {\"com\n");
    r = shell_expect(0, "echo 'Please look.' | " CHAT_PLAIN);
    expect(r->out, "<tool_call>"); /* undeclared: text */
}

static void a_template_without_tools_says_so(void **state) {
    (void)state;
    expect(shell_expect(1, "echo Hi | $S chat -m $T/plain.gguf --allow shell")->err, "no place for tools");
    expect(shell_expect(2, "echo Hi | " CHAT_PLAIN "--yes")->err, "there are no tools");
    expect(shell_expect(2, "echo Hi | " CHAT "--allow shel")->err, "there is no built-in tool \"shel\"");
}

static void questions_of_a_file_may_call_tools(void **state) {
    (void)state;
    const Result *r = shell_expect(0, "echo 'Please look.' > $T/q && " CHAT "-f $T/q --allow shell --yes");
    expect(r->out, "\"text\":\"The shell said seen-42.\"");
    expect(r->out, "\"tool_calls_made\":1");
}

static void results_are_kept_in_the_session(void **state) {
    (void)state;
    shell_expect(0, "printf 'Please look.\\n/save tooled\\n' | " CHAT "--allow shell --yes");
    const Result *r = shell_expect(0, "cat $T/home/sluice/sessions/tooled.json");
    expect(r->out, "\"role\":\"tool\"");
    expect(r->out, "seen-42\\n");
    expect(r->out, "\"tool_calls\":[");
    /* what was computed is there, turns with the ids that were sampled: only the question is read */
    r = shell_expect(0, "printf 'more\\n/stats\\n' | " CHAT "--allow shell --yes --resume tooled 2>&1 | grep -o '^read [0-9]*'");
    assert_in_range(strtol(r->out + strlen("read "), NULL, 10), 1, 60);
    r = shell_expect(0, "printf '/undo\\nmore\\n' | " CHAT "--allow shell --yes --resume tooled");
    assert_string_equal(r->out, "Just talk.\n");
}

/* ---- somebody there ---------------------------------------------------------------------------------------------- */

static void each_call_is_confirmed(void **state) {
    (void)state;
    Terminal *t = terminal_start(CHAT "--allow shell");
    terminal_wait(t, "> ");
    terminal_type(t, "Please look.\n");
    terminal_wait(t, "call shell");
    terminal_wait(t, "command: echo seen-$((40+2))");
    terminal_wait(t, "run it? ");
    terminal_type(t, "n\n");
    terminal_wait(t, "So I shall not.");
    terminal_wait(t, "> ");
    terminal_type(t, "Please look.\n");
    terminal_wait(t, "run it? ");
    terminal_type(t, "y\n");
    terminal_wait(t, "> seen-42");
    terminal_wait(t, "The shell said seen-42.");
    terminal_type(t, "Please look.\n");
    terminal_wait(t, "run it? ");
    terminal_type(t, "a\n");
    terminal_wait(t, "The shell said seen-42.");
    terminal_type(t, "Please look.\n");
    terminal_wait(t, "call shell");
    terminal_wait(t, "The shell said seen-42."); /* unasked */
    terminal_type(t, "/tools\n");
    terminal_wait(t, "runs without a question");
    terminal_type(t, "/clear\n");
    terminal_wait(t, "a new conversation");
    terminal_type(t, "Please look.\n");
    terminal_wait(t, "run it? ");
    terminal_type(t, "n\n");
    terminal_wait(t, "So I shall not.");
    terminal_type(t, "/quit\n");
    assert_int_equal(terminal_end(t), 0);
}

static void what_was_typed_before_the_question_does_not_answer_it(void **state) {
    (void)state;
    Terminal *t = terminal_start(CHAT "--allow shell");
    terminal_wait(t, "> ");
    terminal_type(t, "Please look.\ny\n");
    terminal_wait(t, "run it? ");
    terminal_type(t, "n\n");
    terminal_wait(t, "So I shall not.");
    terminal_type(t, "/quit\n");
    assert_int_equal(terminal_end(t), 0);
}

static void control_c_ends_a_call_and_not_the_conversation(void **state) {
    (void)state;
    Terminal *t = terminal_start("rm -f $T/work/begun; " CHAT "--allow shell --yes");
    terminal_wait(t, "> ");
    terminal_type(t, "Do it slowly.\n");
    terminal_wait(t, "sleep 60");
    shell_expect(0, "until [ -s $T/work/begun ]; do sleep 0.02; done");
    terminal_type(t, "\x03");
    terminal_wait(t, "the user stopped this call");
    terminal_wait(t, "stopped]");
    terminal_wait(t, "> ");
    terminal_type(t, "And now?\n");
    terminal_wait(t, "Just talk.");
    terminal_type(t, "/quit\n");
    assert_int_equal(terminal_end(t), 0);
    shell_expect(0, "! test -e $T/work/never && ! pgrep -f '^sleep 60.0417$'");
}

static void control_c_at_the_question_runs_nothing(void **state) {
    (void)state;
    Terminal *t = terminal_start("rm -rf $T/work/made; " CHAT "--allow all");
    terminal_wait(t, "> ");
    terminal_type(t, "Do two things.\n");
    terminal_wait(t, "    | first");
    terminal_wait(t, "    | line");
    terminal_wait(t, "run it? ");
    terminal_type(t, "\x03");
    terminal_wait(t, "> ");
    terminal_type(t, "And now?\n");
    terminal_wait(t, "Just talk.");
    terminal_type(t, "/quit\n");
    assert_int_equal(terminal_end(t), 0);
    shell_expect(0, "! test -e $T/work/made");
}

static void what_would_move_the_cursor_is_shown_as_it_is(void **state) {
    (void)state;
    Terminal *t = terminal_start(CHAT "--allow shell");
    terminal_wait(t, "> ");
    terminal_type(t, "Please escape.\n");
    terminal_wait(t, "command: true\\x1b[2K\\u{202e} ok");
    terminal_wait(t, "run it? ");
    terminal_type(t, "n\n");
    terminal_wait(t, "So I shall not.");
    terminal_type(t, "/quit\n");
    assert_int_equal(terminal_end(t), 0);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_run_where_an_option_says_so_and_are_refused_otherwise),
        cmocka_unit_test(several_calls_of_a_turn_run_in_their_order),
        cmocka_unit_test(a_function_of_a_file_gets_its_arguments_as_words_and_as_json),
        cmocka_unit_test(tools_of_a_server_are_called),
        cmocka_unit_test(what_was_computed_before_a_call_is_not_computed_again),
        cmocka_unit_test(rounds_have_a_bound),
        cmocka_unit_test(half_a_call_is_text_and_an_answer_without_tools_is_as_before),
        cmocka_unit_test(a_template_without_tools_says_so),
        cmocka_unit_test(questions_of_a_file_may_call_tools),
        cmocka_unit_test(results_are_kept_in_the_session),
        cmocka_unit_test(each_call_is_confirmed),
        cmocka_unit_test(what_was_typed_before_the_question_does_not_answer_it),
        cmocka_unit_test(control_c_ends_a_call_and_not_the_conversation),
        cmocka_unit_test(control_c_at_the_question_runs_nothing),
        cmocka_unit_test(what_would_move_the_cursor_is_shown_as_it_is),
    };
    return cmocka_run_group_tests(tests, make_model, NULL);
}
