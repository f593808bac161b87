/* Options as a user meets them: help, usage errors, and where a value comes from. */
#include "support/program.h"

#include "cache/cache.h"
#include "disk/disk.h"
#include "kernels/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const later[] = {"compare", "eval", "trial", "convert", "quantize", "pack", "verify"};

static void expect_text(const char *where, const char *text) {
    if (!strstr(where, text)) fail_msg("'%s' is not in: %s", text, where);
}

/* Wrong usage: code 2, nothing on standard output, a sentence on standard error that contains `sentence`. */
static void expect_usage(const char *line, const char *sentence) {
    const Result *r = shell_expect(2, line);
    assert_string_equal(r->out, "");
    expect_text(r->err, sentence);
}

/* The commands are those that the overview names: two spaces, the name, two or more, what it does. */
#define COMMANDS "$($S --help | sed -n 's/^  \\([a-z]*\\)  .*/\\1/p')"

static void help_of_everything(void **state) {
    (void)state;
    const Result *r = shell_expect(0, "$S --help");
    int lines = 0, commands = 0;
    for (const char *c = r->out; *c; c++) lines += *c == '\n';
    assert_in_range(lines, 10, 32); /* one screen */
    char names[1024];
    snprintf(names, sizeof names, "%s", shell_expect(0, "echo " COMMANDS)->out);
    for (const char *name = strtok(names, " \n"); name; name = strtok(NULL, " \n"), commands++) {
        char line[64];
        snprintf(line, sizeof line, "$S %s --help", name);
        r = shell_expect(0, line);
        expect_text(r->out, "Examples:\n");
        if (strcmp(name, "synth") != 0) expect_text(r->out, "--model PATH"); /* that one needs none */
        assert_string_equal(r->err, "");
        snprintf(line, sizeof line, "sluice %s", name);
        expect_text(r->out, line);
    }
    assert_true(commands >= 14);
}

/* Each `sluice` in an example is asked for its help with the options of the example: those that it does not take it refuses. Whatever
 * else an example calls (jq, curl) is not found and does nothing. */
static void the_options_of_every_example_are_taken(void **state) {
    (void)state;
    shell_expect(0, "for c in " COMMANDS "; do $S $c --help | sed -n '/^Examples:/,/^$/ s/^  \\([^#]\\)/\\1/p'; done > $T/examples");
    const Result *r = shell_expect(0, "grep -c sluice $T/examples");
    assert_true(atoi(r->out) >= 40);
    r = shell("program=$(realpath $S); cd $T; touch texts.jsonl ids.jsonl requests.jsonl; PATH=/nonexistent\n"
              "command_not_found_handle() { :; }\n"
              "sluice() { why=$($program \"$@\" --help 2>&1 > /dev/null) || echo \"sluice $*: $why\" >&3; }\n"
              ". ./examples 3> refused > /dev/null; echo \"$(< refused)\"");
    assert_string_equal(r->err, "");
    assert_string_equal(r->out, "\n");
}

/* sluice.h says in words what an option takes: no word of a list may be missing there. */
static void the_public_header_names_every_word(void **state) {
    (void)state;
    char *header = read_whole(source_path("include/sluice.h"), NULL);
    char words[] = CACHE_CHOICES "|" DISK_CHOICES "|" KERNELS_CHOICES;
    for (const char *word = strtok(words, "|"); word; word = strtok(NULL, "|")) {
        char quoted[32];
        snprintf(quoted, sizeof quoted, "\"%s\"", word);
        if (!strstr(header, quoted)) fail_msg("include/sluice.h does not name %s", quoted);
    }
    free(header);
}

static void a_command_of_later_is_no_success_and_in_no_help(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof later / sizeof *later; i++) {
        char line[64];
        snprintf(line, sizeof line, "$S %s -m x", later[i]);
        expect_usage(line, "not in this version yet");
        snprintf(line, sizeof line, "\n  %s ", later[i]);
        assert_null(strstr(shell("$S --help")->out, line));
    }
}

static void no_command_teaches(void **state) {
    (void)state;
    expect_usage("$S", "usage: sluice COMMAND");
    expect_usage("$S rum", "did you mean 'run'?");
    expect_usage("$S --json run", "options stand after the command");
    expect_text(shell_expect(0, "$S --version")->out, "sluice ");
}

static void usage_errors_name_what_is_wrong(void **state) {
    (void)state;
    expect_usage("$S tokenize --tpo-k 3 -p x", "unknown option '--tpo-k'; did you mean --top-k?");
    expect_usage("$S tokenize --temperature 3 -p x", "did you mean --temp?");
    expect_usage("$S tokenize --zzzzz", "unknown option '--zzzzz'");
    expect_usage("$S tokenize -z", "unknown option '-z'");
    expect_usage("$S tokenize -p", "-p wants a value");
    expect_usage("$S tokenize hello", "unexpected argument 'hello'");
    expect_usage("$S tokenize -p x -- -y", "unexpected argument '-y'");
    expect_usage("$S run --ram 3X", "--ram wants a size");
    expect_usage("$S run --ram 0", "--ram wants a size");
    expect_usage("$S run --threads 0", "--threads 0 is out of range");
    expect_usage("$S run --threads many", "--threads wants a whole number");
    expect_usage("$S run --seed 1.5", "--seed wants a whole number");
    expect_usage("$S run --seed 99999999999999999999", "out of range");
    expect_usage("$S run --top-p 1.01", "--top-p 1.01 is out of range: 0 to 1");
    expect_usage("$S run --temp nan", "--temp wants a number");
    expect_usage("$S run --cpu sse", "--cpu wants scalar, avx2, avx512, neon or auto, not 'sse'");
    expect_usage("$S run --stats=perhaps", "--stats wants on or off");
    expect_usage("$S run --quiet --verbose -p x", "exclude each other");
    expect_usage("$S run -p x -f y", "-p and -f exclude each other");
    expect_usage("$S run --raw --system y -p x", "need the chat template");
    expect_usage("$S logits --ids 1,2", "-o is missing");
    expect_usage("$S ppl -c 2 -f x", "leaves nothing to score");
    expect_usage("$S tokenize --lines -p x", "--lines reads standard input");
    expect_usage("$S tokenize -m a --tokenizer b -p x", "exclude each other");
    expect_usage("$S tokenize -c 1.5 -p x", "-c wants a whole number");
}

static void every_spelling_of_a_value_works(void **state) {
    (void)state;
    static const char *const lines[] = {
        "$S tokenize -p Hi --json", "$S tokenize --json -pHi", "$S tokenize --prompt=Hi --json", "$S tokenize --prompt Hi --json=on",
        "$S tokenize --json -p Hi --", "printf Hi | $S tokenize --json", "printf Hi | $S tokenize --json -f -",
        "$S tokenize -p Ho -p Hi --json",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        assert_string_equal(shell_expect(0, lines[i])->out, "{\"ids\":[1105]}\n");
    assert_string_equal(shell_expect(0, "$S tokenize --json=off -p Hi")->out, "1105\n");
}

static void an_option_without_effect_says_so(void **state) {
    (void)state;
    const Result *r = shell_expect(0, "$S tokenize --temp 0.5 -p Hi");
    assert_string_equal(r->out, "1105\n");
    expect_text(r->err, "--temp changes nothing in this command");
    assert_string_equal(shell_expect(0, "$S tokenize --temp 0.5 --quiet -p Hi")->err, "");
    assert_string_equal(shell_expect(0, "SLUICE_TEMP=0.5 $S tokenize -p Hi")->err, "");
}

/* --json decides visibly who won. */
static void flag_beats_variable_beats_file(void **state) {
    (void)state;
    const char *json = "{\"ids\":[1105]}\n", *plain = "1105\n";
    mkdir(temp_path("sluice"), 0777);
    write_whole(temp_path("sluice/config.json"), "{\"json\": true, \"top_k\": 20, \"temp\": 0.5, \"ram\": \"8G\", \"cpu\": \"auto\"}");
    assert_string_equal(shell_expect(0, "$S tokenize -p Hi")->out, json);
    assert_string_equal(shell_expect(0, "SLUICE_JSON=0 $S tokenize -p Hi")->out, plain);
    assert_string_equal(shell_expect(0, "SLUICE_JSON=0 $S tokenize -p Hi --json")->out, json);
    assert_string_equal(shell_expect(0, "SLUICE_JSON=1 $S tokenize -p Hi --json=off")->out, plain);
    /* the model too: a variable that names none makes it fail, a flag saves it */
    shell_expect(1, "SLUICE_MODEL=/nonexistent $S tokenize -p Hi");
    shell_expect(0, "SLUICE_MODEL=/nonexistent $S tokenize -p Hi -m data/tiny-tales.gguf");
    remove(temp_path("sluice/config.json"));
    assert_string_equal(shell_expect(0, "$S tokenize -p Hi")->out, plain);
}

static void mistakes_in_variables_and_files_are_named(void **state) {
    (void)state;
    expect_usage("SLUICE_RAM=lots $S tokenize -p Hi", "SLUICE_RAM wants a size");
    expect_usage("SLUICE_TOP_K=-1 $S tokenize -p Hi", "SLUICE_TOP_K -1 is out of range");
    static const struct {
        const char *file, *sentence;
    } cases[] = {
        {"{\"ramm\": \"8G\"}", "unknown key \"ramm\"; did you mean \"ram\"?"},
        {"{\"qqqqqqqq\": 1}", "unknown key \"qqqqqqqq\""},
        {"{\"prompt\": \"x\"}", "unknown key \"prompt\""},
        {"{\"threads\": 0}", "config.json: \"threads\" 0 is out of range"},
        {"{\"threads\": [1]}", "wants a string, a number or true/false"},
        {"{\"threads\": 1", "config.json: line 1"},
        {"[1]", "wants an object"},
        {"{\"ram\": \"1G\", \"ram\": \"2G\"}", "duplicate"},
    };
    mkdir(temp_path("sluice"), 0777);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_whole(temp_path("sluice/config.json"), cases[i].file);
        expect_usage("$S tokenize -p Hi", cases[i].sentence);
        shell_expect(0, "$S tokenize --help"); /* help never depends on it */
    }
    remove(temp_path("sluice/config.json"));
}

static void the_man_page_is_the_one_the_table_makes(void **state) {
    (void)state;
    char *kept = read_whole(source_path("docs/sluice.1"), NULL);
    const Result *r = shell_expect(0, "$S --man");
    if (strcmp(kept, r->out) != 0) fail_msg("docs/sluice.1 is old: run `make man`");
    free(kept);
}

static void completion_knows_every_option(void **state) {
    (void)state;
    shell_expect(0, "$S --completion bash > $T/c.bash && bash -n $T/c.bash");
    const Result *r = shell_expect(0, "source $T/c.bash; COMP_WORDS=(sluice run --te); COMP_CWORD=2; _sluice; echo \"${COMPREPLY[@]}\"");
    assert_string_equal(r->out, "--temp\n");
    r = shell_expect(0, "source $T/c.bash; COMP_WORDS=(sluice det); COMP_CWORD=1; _sluice; echo \"${COMPREPLY[@]}\"");
    assert_string_equal(r->out, "detokenize\n");
    r = shell_expect(0, "source $T/c.bash; COMP_WORDS=(sluice run --direct o); COMP_CWORD=3; _sluice; echo \"${COMPREPLY[@]}\"");
    assert_string_equal(r->out, "on off\n");
    expect_text(shell_expect(0, "$S --completion zsh")->out, "#compdef sluice");
    expect_text(shell_expect(0, "$S --completion=fish")->out, "-l temp");
    expect_usage("$S --completion tcsh", "wants bash, zsh or fish");
}

static void standard_output_that_goes_away_is_quiet_and_one_that_fails_is_not(void **state) {
    (void)state;
    const Result *r = shell("$S inspect --tensors | head -c 1");
    assert_int_equal(r->code, 0);
    assert_string_equal(r->err, "");
    r = shell("(sleep 0.2; for i in $(seq 2000); do echo '\"Hi\"'; done) | $S tokenize --lines | true");
    assert_string_equal(r->err, "");
    r = shell_expect(1, "$S inspect > /dev/full");
    expect_text(r->err, "standard output: writing failed");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_of_everything),
        cmocka_unit_test(the_options_of_every_example_are_taken),
        cmocka_unit_test(the_public_header_names_every_word),
        cmocka_unit_test(a_command_of_later_is_no_success_and_in_no_help),
        cmocka_unit_test(no_command_teaches),
        cmocka_unit_test(usage_errors_name_what_is_wrong),
        cmocka_unit_test(every_spelling_of_a_value_works),
        cmocka_unit_test(an_option_without_effect_says_so),
        cmocka_unit_test(flag_beats_variable_beats_file),
        cmocka_unit_test(mistakes_in_variables_and_files_are_named),
        cmocka_unit_test(the_man_page_is_the_one_the_table_makes),
        cmocka_unit_test(completion_knows_every_option),
        cmocka_unit_test(standard_output_that_goes_away_is_quiet_and_one_that_fails_is_not),
    };
    return RUN_TESTS(tests);
}
