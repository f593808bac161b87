/* sluice chat: lines in, answers out; what is kept goes on; questions of a file are answered once each. */
#define _POSIX_C_SOURCE 200809L
#include "support/program.h"

#include <stdlib.h>
#include <string.h>

/* A state folder of its own for each test. */
#define STATE "D=$(mktemp -d) && export XDG_STATE_HOME=$D && "
#define CHAT  "$S chat --quiet --ctx 256 --temp 0 -n 6 "

static void an_answer_is_that_of_run(void **state) {
    (void)state;
    const Result *r = shell_expect(0, "$S run --quiet --temp 0 -n 6 -p Hi");
    char answer[256];
    snprintf(answer, sizeof answer, "%s\n", r->out);
    r = shell_expect(0, STATE "echo Hi | " CHAT);
    assert_string_equal(r->out, answer);
}

static void a_conversation_that_was_kept_goes_on_with_the_same_bits(void **state) {
    (void)state;
    const Result *r = shell_expect(0, STATE "printf 'Hi\\nTell me a story.\\n' | " CHAT);
    char *whole = strdup(r->out);
    r = shell_expect(0, STATE "printf 'Hi\\n/save one\\n' | " CHAT "&& echo 'Tell me a story.' | " CHAT "--resume one");
    assert_string_equal(r->out, whole);
    r = shell_expect(0, STATE "printf 'Hi\\n/save one\\n' | " CHAT "> /dev/null && printf '/undo\\nHi\\n' | " CHAT
                              "--resume last");
    assert_true(strncmp(whole, r->out, strlen(r->out)) == 0);
    free(whole);
}

static void commands_change_the_conversation(void **state) {
    (void)state;
    const Result *r = shell_expect(0, STATE "printf 'Hi\\n/retry\\n/clear\\nHi\\n' | " CHAT);
    size_t third = strlen(r->out) / 3;
    assert_int_equal(strlen(r->out), 3 * third);
    assert_memory_equal(r->out, r->out + third, third);
    assert_memory_equal(r->out, r->out + 2 * third, third);
    r = shell_expect(0, STATE "printf '/nothing\\n/set temp hot\\n/load none\\n/help\\n' | " CHAT "2>&1");
    assert_non_null(strstr(r->out, "there is no /nothing"));
    assert_non_null(strstr(r->out, "/set NAME VALUE"));
    assert_non_null(strstr(r->out, "none"));
    assert_non_null(strstr(r->out, "/retry"));
}

static void a_line_may_go_on_in_the_next(void **state) {
    (void)state;
    const Result *r = shell_expect(0, STATE "printf 'Hi\\\\\\nthere\\n' | " CHAT);
    char *one = strdup(r->out);
    r = shell_expect(0, "$S run --quiet --ctx 256 --temp 0 -n 6 -p \"$(printf 'Hi\\nthere')\" && echo");
    assert_string_equal(r->out, one);
    free(one);
}

static void questions_of_a_file_are_answered_once_each(void **state) {
    (void)state;
    shell_expect(0, STATE "printf 'Hi\\n\\n{\"id\": 7, \"prompt\": \"Hello\"}\\n"
                          "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}\\n' "
                          "> $D/q && " CHAT "-f $D/q -o $D/a && head -c -9 $D/a > $D/b && " CHAT "-f $D/q -o $D/b && cmp $D/a $D/b && "
                          "test $(wc -l < $D/a) = 3 && grep -q '\"id\":7' $D/a && " CHAT "-f $D/q > $D/c && cmp $D/a $D/c");
    shell_expect(1, STATE "printf '{bad\\nHi\\n' > $D/q && " CHAT "-f $D/q -o $D/a");
    shell_expect(2, STATE "echo Hi | " CHAT "-o $D/a");
}

/* Killed in the middle, whatever it was doing: the same command ends with the same file. */
static void a_batch_that_was_killed_goes_on(void **state) {
    (void)state;
    shell_expect(0, STATE "for i in $(seq 8); do echo \"Tell me story number $i.\"; done > $D/q\n"
                          CHAT "-f $D/q -o $D/whole || exit 1\n"
                          CHAT "-f $D/q -o $D/part & p=$!\n"
                          "until [ \"$(cat $D/part 2>/dev/null | wc -l)\" -ge 2 ]; do sleep 0.01; done; kill -9 $p; wait $p\n"
                          "test $(wc -l < $D/part) -lt 8 || echo 'it was too fast to be killed' >&2\n"
                          CHAT "-f $D/q -o $D/part && cmp $D/whole $D/part");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_that_of_run),
        cmocka_unit_test(a_conversation_that_was_kept_goes_on_with_the_same_bits),
        cmocka_unit_test(commands_change_the_conversation),
        cmocka_unit_test(a_line_may_go_on_in_the_next),
        cmocka_unit_test(a_batch_that_was_killed_goes_on),
        cmocka_unit_test(questions_of_a_file_are_answered_once_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
