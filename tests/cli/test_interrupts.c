/* Ctrl-C, in the middle of every command that takes its time: exit code 130, what there is so far, and nothing half-done left behind. */
#include "support/program.h"

#include <stdio.h>
#include <string.h>

static void expect_text(const char *where, const char *text) {
    if (!strstr(where, text)) fail_msg("'%s' is not in: %s", text, where);
}

/* Starts a command, waits until it has said something on standard error, as that the model is open, and presses Ctrl-C. */
static const Result *interrupt(const char *work) {
    char line[1024];
    snprintf(line, sizeof line, "rm -f $T/note; $S %s 2>$T/note & p=$!\n"
             "while [ ! -s $T/note ] && kill -0 $p; do sleep 0.05; done; sleep 0.3; kill -INT $p; wait $p; code=$?\n"
             "cat $T/note >&2; exit $code", work);
    return shell_expect(130, line);
}

static void control_c_ends_with_130_and_what_there_is(void **state) {
    (void)state;
    shell_expect(0, "yes 'Once upon a time' | head -n 6000 > $T/long || true"); /* 30,000 tokens */
    const Result *r = interrupt("run --raw -f $T/long --ctx 40000 --stats");
    expect_text(r->err, "interrupted");
    expect_text(r->err, "prefill "); /* the statistics so far */
    /* this seed finds no end of text within thousands of tokens */
    json_t *o = result_json(interrupt("run --raw -p Once --ctx 40000 --temp 5 --top-p 1 --top-k 0 --seed 4 --json"));
    assert_string_equal(json_string_value(json_object_get(o, "finish_reason")), "interrupted");
    json_decref(o);
    interrupt("logits -o $T/never -f $T/long --ctx 40000");
    shell_expect(0, "! ls $T | grep never");
}

static void an_interrupted_doctor_removes_its_scratch_file(void **state) {
    (void)state;
    shell_expect(0, "mkdir -p $T/probed");
    expect_text(interrupt("doctor --dir $T/probed")->err, "interrupted");
    assert_string_equal(shell_expect(0, "ls -A $T/probed")->out, "");
    shell_expect(1, "test -e $T/home/sluice/machine.json"); /* half a measurement is none */
}

static void an_interrupted_bench_has_no_result(void **state) {
    (void)state;
    const Result *r = interrupt("bench -p 30000 --ctx 31000 --json");
    expect_text(r->err, "interrupted");
    assert_string_equal(r->out, "");
}

static void an_interrupted_trace_is_whole(void **state) {
    (void)state;
    shell_expect(0, "yes 'Once upon a time' | head -n 6000 > $T/long || true");
    expect_text(interrupt("trace --chunk 1 -f $T/long -o $T/cut.slt")->err, "interrupted");
    expect_text(shell_expect(0, "$S simulate -f $T/cut.slt")->out, "tokens in");
}

static void an_interrupted_synth_says_that_it_goes_on(void **state) {
    (void)state;
    const Result *r = interrupt("synth --shape qwen3.5-35b-a3b --layers 1 -o $T/cut.gguf");
    expect_text(r->err, "goes on where it stopped");
    shell_expect(0, "test ! -e $T/cut.gguf && test -s $T/cut.gguf.part && rm $T/cut.gguf.part");
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(control_c_ends_with_130_and_what_there_is),
        cmocka_unit_test(an_interrupted_doctor_removes_its_scratch_file),
        cmocka_unit_test(an_interrupted_bench_has_no_result),
        cmocka_unit_test(an_interrupted_trace_is_whole),
        cmocka_unit_test(an_interrupted_synth_says_that_it_goes_on),
    };
    return RUN_TESTS(tests);
}
