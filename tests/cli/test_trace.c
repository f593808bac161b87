/* trace, --trace and what may go wrong with the file, as a user meets it. */
#include "support/program.h"
#include "support/support.h"

#include <stdio.h>
#include <string.h>

static void a_trace_is_recorded_beside_any_answer(void **state) {
    (void)state;
    const Result *r = shell_expect(0, "$S run -p Hello -n 4 --temp 0 --quiet");
    char answer[256];
    snprintf(answer, sizeof answer, "%s", r->out);
    r = shell_expect(0, "$S run -p Hello -n 4 --temp 0 --quiet --trace $T/run.slt && test -s $T/run.slt");
    assert_string_equal(r->out, answer);
    shell_expect(0, "$S logits -p 'Once upon' --routing --quiet -o $T/a.st && "
                    "$S logits -p 'Once upon' --routing --quiet -o $T/b.st --trace $T/logits.slt");
    shell_expect(0, "cmp $T/a.st $T/b.st && test -s $T/logits.slt");
    shell_expect(0, "$S trace -p 'Once upon a time' -n 5 --quiet -o $T/trace.slt && test -s $T/trace.slt");
}

static void a_full_disk_costs_the_trace_and_not_the_answer(void **state) {
    (void)state;
    const Result *r = shell_expect(1, "$S run -p Hello -n 4 --temp 0 --trace /dev/full");
    assert_true(r->out_len > 0);
    assert_non_null(strstr(r->err, "/dev/full: writing the trace failed"));
    assert_non_null(strstr(r->err, "No space left on device"));
    r = shell_expect(1, "ulimit -f 8; $S run --raw -p 'Once upon a time' -n 60 --temp 0 --trace $T/big.slt");
    assert_true(r->out_len > 0);
    assert_non_null(strstr(r->err, "big.slt: writing the trace failed"));
    shell_expect(1, "test -e $T/big.slt");
}

/* "-" is standard input and output, also of traces and pictures. A link is written through: as root, renaming onto /dev/stdout took it
 * away from the whole machine. */
static void standard_streams_and_links_stay_what_they_are(void **state) {
    (void)state;
    shell_expect(0, "export SLUICE_QUIET=1; R=\"trace -p Once -n 5 --temp 0 --seed 1 --lookahead off\"; $S $R -o $T/file.slt\n"
                    "for f in - $T/out $T/link; do ln -sfn /proc/self/fd/1 $T/out; touch $T/real; ln -sfn $T/real $T/link\n"
                    "  $S $R -o $f > $T/std.slt || exit 1; test -s $T/std.slt || cp $T/real $T/std.slt\n"
                    "  test -L $T/out && test -L $T/link || exit 8\n"
                    "  test $(stat -c %s $T/std.slt) = $(stat -c %s $T/file.slt) || exit 9; done");
    shell_expect(0, "$S logits -p Once --quiet -o $T/plain.st && $S logits -p Once --quiet -o $T/out > $T/std.st && test -L $T/out && "
                    "cmp $T/plain.st $T/std.st");
    shell_expect(0, "$S simulate -f $T/file.slt > $T/a && $S simulate -f - < $T/file.slt | sed s,^-:,$T/file.slt:, | cmp - $T/a");
    if (under_sanitizer()) return; /* the font library keeps what it allocates */
    shell_expect(0, "$S plot -f - --quiet -o - < $T/file.slt | grep -q '</svg>'");
}

/* The continuation obeys the sampling options, as that of run does. */
static void a_continuation_is_sampled_as_it_was_asked_for(void **state) {
    (void)state;
    const Result *r = shell_expect(0, "for i in 1 2; do $S trace -p Once -n 12 --temp 0 --lookahead off --ram 64M -o $T/greedy$i.slt; "
                                      "$S simulate -f $T/greedy$i.slt | tail -4; done");
    assert_null(strstr(r->err, "changes nothing"));
    size_t half = r->out_len / 2;
    assert_memory_equal(r->out, r->out + half, half);
}

static void a_trace_needs_a_place(void **state) {
    (void)state;
    assert_non_null(strstr(shell_expect(2, "$S trace -p Hello")->err, "-o is missing"));
    assert_non_null(strstr(shell_expect(2, "$S run -p Hello --trace -")->err, "standard output holds the answer"));
    assert_non_null(strstr(shell_expect(1, "$S run -p Hello --trace $T/none/x.slt")->err, "none/x.slt"));
}

/* The simulator asks the same cache in the same way, so it must find what the engine found. */
static void a_replay_hits_what_the_run_hit(void **state) {
    (void)state;
    if (under_sanitizer()) printf("SKIP: a sanitizer's memory is not ours to plan\n"), skip();
    static const char work[] = "trace --chunk 1 --lookahead off --threads 2 --quiet -n 60 -o $T/fox.slt -p 'Once upon a time there was "
                               "a fox who lived in a small house near the river. Every day the fox sang.'";
    char line[512];
    snprintf(line, sizeof line, "$S %s --ram %ldM", work, least_ram(work));
    shell_expect(0, line);
    const Result *r = shell_expect(0, "$S simulate -f $T/fox.slt --json > $T/fox.jsonl; head -1 $T/fox.jsonl");
    json_t *trace = result_json(r);
    int slots = (int)json_integer_value(json_object_get(trace, "slots"));
    double recorded = json_number_value(json_object_get(trace, "recorded_hit_rate"));
    json_decref(trace);
    assert_true(recorded > 0.1 && recorded < 0.9);
    snprintf(line, sizeof line, "grep '\"policy\": *\"hybrid\"' $T/fox.jsonl | grep '\"slots\": *%d,'", slots);
    json_t *replay = result_json(shell_expect(0, line));
    double simulated = json_number_value(json_object_get(replay, "hit_rate"));
    json_decref(replay);
    /* which read lands first may decide between two records that are equally cold, so a few in a thousand may differ */
    if (simulated < recorded - 0.01 || simulated > recorded + 0.01) fail_msg("simulated %.6f, recorded %.6f", simulated, recorded);
}

static void simulate_says_what_is_wrong(void **state) {
    (void)state;
    assert_non_null(strstr(shell_expect(2, "$S simulate")->err, "-f is missing"));
    shell_expect(0, "$S trace -p Once -n 4 --quiet -o $T/disk.slt");
    assert_non_null(strstr(shell_expect(0, "$S simulate -f $T/disk.slt")->out, "--disk RATE, or doctor run once"));
    assert_non_null(strstr(shell_expect(0, "$S simulate -f $T/disk.slt --disk 2GB/s")->out, "the disk: 2.00 GB/s (--disk)"));
    assert_non_null(strstr(shell_expect(1, "$S simulate -f data/tiny-tales.gguf")->err, "is no trace"));
    assert_non_null(strstr(shell_expect(2, "$S simulate -f x --disk 7")->err, "wants a rate"));
}

static void pictures_are_drawn_of_traces_and_replays(void **state) {
    (void)state;
    if (under_sanitizer()) printf("SKIP: the font library keeps what it allocates\n"), skip();
    shell_expect(0, "$S trace -p 'Once upon a time' -n 20 --quiet -o $T/p.slt && $S simulate -f $T/p.slt --json > $T/p.jsonl");
    shell_expect(0, "for k in heat reuse; do $S plot -f $T/p.slt --kind $k --quiet -o $T/$k.svg; "
                    "grep -q '</svg>' $T/$k.svg || exit 9; done");
    shell_expect(0, "$S plot -f $T/p.jsonl --quiet -o $T/hits.png && head -c 4 $T/hits.png | grep -q PNG");
    shell_expect(0, "printf '%s\\n' '{\"decode_tok_s\":3,\"bound_tok_s\":4,\"plan\":{\"ram_bytes\":4294967296}}' "
                    "'{\"decode_tok_s\":5,\"bound_tok_s\":6,\"plan\":{\"ram_bytes\":8589934592}}' | $S plot -f - --quiet -o $T/bench.svg");
    assert_non_null(strstr(shell_expect(2, "$S plot -f $T/p.slt -o $T/p.jpg")->err, ".svg or .png"));
    assert_non_null(strstr(shell_expect(2, "$S plot -f $T/p.slt --kind bench -o $T/p.svg")->err, "heat or reuse"));
    assert_non_null(strstr(shell_expect(1, "$S plot -f README.md -o $T/p.svg")->err, "line 1"));
    assert_non_null(strstr(shell_expect(1, "echo '{}' | $S plot -f - -o $T/p.svg")->err, "nothing that can be drawn"));
    assert_non_null(strstr(shell_expect(1, "$S plot -f $T/p.slt -o $T/none/p.svg")->err, "none/p.svg"));
}

int main(void) {
    const struct CMUnitTest trace[] = {
        cmocka_unit_test(a_trace_is_recorded_beside_any_answer),
        cmocka_unit_test(a_full_disk_costs_the_trace_and_not_the_answer),
        cmocka_unit_test(standard_streams_and_links_stay_what_they_are),
        cmocka_unit_test(a_continuation_is_sampled_as_it_was_asked_for),
        cmocka_unit_test(a_trace_needs_a_place),
        cmocka_unit_test(a_replay_hits_what_the_run_hit),
        cmocka_unit_test(simulate_says_what_is_wrong),
        cmocka_unit_test(pictures_are_drawn_of_traces_and_replays),
    };
    return RUN_TESTS(trace);
}
