/* tokenize, detokenize, render and inspect, on the model inside the program: nothing but a clone is needed. */
#include "support/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void expect_out(const char *line, const char *out) { assert_string_equal(shell_expect(0, line)->out, out); }

static void expect_text(const char *where, const char *text) {
    if (!strstr(where, text)) fail_msg("'%s' is not in: %s", text, where);
}

static const char once[] = "479 490 258 420\n"; /* Once upon a time */

static void text_to_ids(void **state) {
    (void)state;
    expect_out("$S tokenize -p 'Once upon a time'", once);
    expect_out("printf 'Once upon a time' | $S tokenize", once);
    expect_out("printf 'Once upon a time' > $T/text; $S tokenize -f $T/text", once);
    expect_out("$S tokenize -m data/tiny-tales.gguf -p 'Once upon a time'", once);
    expect_out("$S tokenize --json -p 'Hi <|im_end|>'", "{\"ids\":[1105,220,3065]}\n");
    expect_out("$S tokenize --no-special -p '<|im_end|>'", "27 91 297 62 355 91 29\n");
    expect_out("$S tokenize -p ''", "\n");
}

static void lines_of_texts(void **state) {
    (void)state;
    expect_out("printf '\"Once upon a time\"\\n\"\"\\n\"<|im_end|>\"\\n' | $S tokenize --lines", "[479,490,258,420]\n[]\n[3065]\n");
    expect_out("printf '\"<|im_end|>\"' | $S tokenize --lines --no-special", "[27,91,297,62,355,91,29]\n");
    expect_out("printf '[479,490,258,420]\\n[]\\n' | $S detokenize --lines", "\"Once upon a time\"\n\"\"\n");
    /* half a character becomes U+FFFD in JSON, which can hold no half */
    expect_out("printf '\"\\\\u00e9 \\\\u0000\"' | $S tokenize --lines | $S detokenize --lines", "\"\xc3\xa9 \\u0000\"\n");
}

static void a_bad_line_has_its_error_and_the_others_their_answer(void **state) {
    (void)state;
    const Result *r = shell_expect(1, "printf '\"Hi\"\\n17\\n\"Hi\\n\\n\"Hi\"\\n' | $S tokenize --lines");
    int lines = 0, errors = 0;
    for (char *at = strtok(r->out, "\n"); at; at = strtok(NULL, "\n"), lines++) {
        if (strcmp(at, "[1105]") == 0) continue;
        json_t *o = json_loads(at, 0, NULL);
        assert_non_null(json_string_value(json_object_get(o, "error")));
        json_decref(o);
        errors++;
    }
    assert_int_equal(lines, 5);
    assert_int_equal(errors, 3);
    expect_text(r->err, "3 of 5 lines had an error");
    shell_expect(1, "echo '[1,99999]' | $S detokenize --lines");
    shell_expect(1, "echo '[1,\"a\"]' | $S detokenize --lines");
}

static void ids_to_text(void **state) {
    (void)state;
    expect_out("$S detokenize --ids 479,490,258,420", "Once upon a time");
    expect_out("$S detokenize --ids '479 490'", "Once upon");
    expect_out("$S tokenize -p 'Hello, you!' | $S detokenize", "Hello, you!");
    expect_out("$S detokenize --ids 3064,1105,3065", "<|im_start|>Hi<|im_end|>");
    expect_out("$S detokenize --no-special --ids 3064,1105,3065", "Hi");
    expect_out("$S detokenize --json --ids 1105", "{\"text\":\"Hi\"}\n");
    expect_text(shell_expect(1, "$S detokenize --ids 3072")->err, "3072 is no token");
    expect_text(shell_expect(2, "$S detokenize --ids 1,x")->err, "'x' is no token id");
}

static void not_text_and_not_there(void **state) {
    (void)state;
    expect_text(shell_expect(1, "printf 'ab\\xff' | $S tokenize")->err, "not valid UTF-8 at byte 2");
    expect_text(shell_expect(1, "$S tokenize -f /nonexistent")->err, "/nonexistent: cannot open");
    expect_text(shell_expect(1, "$S tokenize -f /")->err, "is a folder");
    expect_text(shell_expect(1, "$S tokenize -m /nonexistent -p x")->err, "/nonexistent: cannot open");
    expect_text(shell_expect(1, "echo '{}' > $T/t.json; $S tokenize --tokenizer $T/t.json -p x")->err, "t.json: ");
}

static void a_tokenizer_file_alone(void **state) {
    (void)state;
    REQUIRE_PATH(shared_path("data/models/tiny-tales/tokenizer.json"));
    char line[1024];
    snprintf(line, sizeof line, "$S tokenize --tokenizer %s -p 'Once upon a time<|im_end|>'",
             shared_path("data/models/tiny-tales/tokenizer.json"));
    expect_out(line, "479 490 258 420 3065\n");
    snprintf(line, sizeof line, "SLUICE_MODEL=/nonexistent $S detokenize --tokenizer %s --ids 1105",
             shared_path("data/models/tiny-tales/tokenizer.json"));
    expect_out(line, "Hi"); /* a tokenizer given by flag goes before a model of a variable */
}

static void requests_to_prompts(void **state) {
    (void)state;
    expect_out("echo '{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"kwargs\":{\"add_generation_prompt\":true}}' | $S render",
               "{\"text\":\"<|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n\"}\n");
    expect_out("echo '{% for m in messages %}{{ m.role }}: {{ m.content }};{% endfor %}' > $T/t.jinja;"
               "echo '{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}' | $S render --template $T/t.jinja",
               "{\"text\":\"user: Hi;\"}\n");
    /* a template that refuses a request is an answer: the command did what it was asked */
    const Result *r = shell_expect(0, "echo '{\"messages\":[{\"role\":\"judge\",\"content\":\"Hi\"}]}' | $S render");
    expect_text(r->out, "{\"error\":\"tiny-tales knows the roles system (first), user, assistant and tool, not judge\"}\n");
    expect_text(shell_expect(0, "echo 17 | $S render")->out, "{\"error\":");
    expect_text(shell_expect(1, "echo '{% frobnicate %}' > $T/t.jinja; $S render --template $T/t.jinja")->err, "frobnicate");
}

static void what_the_embedded_model_holds(void **state) {
    (void)state;
    json_t *o = result_json(shell_expect(0, "$S inspect --json --tensors"));
    assert_string_equal(json_string_value(json_object_get(o, "architecture")), "qwen35moe");
    json_t *shape = json_object_get(o, "shape"), *experts = json_object_get(o, "experts");
    assert_int_equal(json_integer_value(json_object_get(shape, "layers")), 8);
    assert_int_equal(json_integer_value(json_object_get(shape, "vocab")), 3072);
    assert_int_equal(json_integer_value(json_object_get(experts, "count")), 24);
    assert_int_equal(json_integer_value(json_object_get(experts, "per_token")), 4);
    assert_int_equal(json_integer_value(json_object_get(experts, "record_bytes")), 3 * 13056);
    assert_int_equal(json_integer_value(json_object_get(experts, "bytes_per_token_cold")), 8 * 4 * 3 * 13056);
    assert_int_equal(json_array_size(json_object_get(o, "tensors")), json_integer_value(json_object_get(o, "tensor_count")));
    /* the groups hold every tensor and every byte */
    json_int_t tensors = 0, bytes = 0, listed = 0;
    size_t i;
    json_t *g;
    json_array_foreach(json_object_get(o, "groups"), i, g) {
        tensors += json_integer_value(json_object_get(g, "tensors"));
        bytes += json_integer_value(json_object_get(g, "bytes"));
        assert_string_not_equal(json_string_value(json_object_get(g, "group")), "other");
    }
    json_array_foreach(json_object_get(o, "tensors"), i, g) listed += json_integer_value(json_object_get(g, "bytes"));
    assert_int_equal(tensors, json_integer_value(json_object_get(o, "tensor_count")));
    assert_int_equal(bytes, listed);
    assert_true(json_is_true(json_object_get(json_object_get(o, "template"), "usable")));
    json_decref(o);
    const Result *r = shell_expect(0, "$S inspect");
    expect_text(r->out, "8 layers (6 linear, 2 full attention)");
    expect_text(r->out, "3065 <|im_end|>, 3063 <|endoftext|>");
}

static void the_embedded_model_is_the_file_and_survives_strip(void **state) {
    (void)state;
    /* the same record sizes, shapes and groups; only paths and offsets differ */
    expect_out("diff <($S inspect | tail -n +2) <($S inspect -m data/tiny-tales.gguf | tail -n +2)", "");
    expect_out("cp $S $T/stripped && strip $T/stripped && diff <($T/stripped inspect) <($S inspect)", "");
    expect_out("cp $S $T/copy; $T/copy tokenize -p 'Once upon a time'; rm $T/copy $T/stripped", once);
}

static void a_file_that_is_no_model(void **state) {
    (void)state;
    expect_text(shell_expect(1, "echo hello > $T/x.gguf; $S inspect -m $T/x.gguf")->err, "x.gguf");
    expect_text(shell_expect(1, "head -c 5000000 data/tiny-tales.gguf > $T/x.gguf; $S inspect -m $T/x.gguf")->err, "x.gguf");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_to_ids),
        cmocka_unit_test(lines_of_texts),
        cmocka_unit_test(a_bad_line_has_its_error_and_the_others_their_answer),
        cmocka_unit_test(ids_to_text),
        cmocka_unit_test(not_text_and_not_there),
        cmocka_unit_test(a_tokenizer_file_alone),
        cmocka_unit_test(requests_to_prompts),
        cmocka_unit_test(what_the_embedded_model_holds),
        cmocka_unit_test(the_embedded_model_is_the_file_and_survives_strip),
        cmocka_unit_test(a_file_that_is_no_model),
    };
    return RUN_TESTS(tests);
}
