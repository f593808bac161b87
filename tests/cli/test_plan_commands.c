/* synth and plan: models that are made, and models that are only described. */
#include "support/program.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void expect_text(const char *where, const char *text) {
    if (!strstr(where, text)) fail_msg("'%s' is not in: %s", text, where);
}

static void synth_writes_what_it_announces(void **state) {
    (void)state;
    const Result *r = shell_expect(0, "$S synth --shape tiny-qwen35moe --layers 2 --quant iq3_xxs -o $T/two.gguf --json");
    expect_text(r->err, "tiny-qwen35moe with 2 of 4 layers, experts IQ3_XXS, dense weights Q8_0");
    json_t *o = result_json(r);
    struct stat st;
    assert_int_equal(stat(temp_path("two.gguf"), &st), 0);
    assert_int_equal(json_integer_value(json_object_get(o, "bytes")), st.st_size);
    char line[64];
    snprintf(line, sizeof line, "%lld bytes", (long long)st.st_size);
    expect_text(r->err, line);
    json_decref(o);
    shell_expect(0, "$S logits -m $T/two.gguf --ids 1,2,3 -o $T/two.safetensors");
    expect_text(shell_expect(2, "$S synth --shape tiny-qwen35moe -o $T/two.gguf")->err, "is there already");
}

static void synth_refuses_what_it_does_not_know(void **state) {
    (void)state;
    const Result *r = shell_expect(2, "$S synth --shape qwen3.5-379b-a17b -o $T/no.gguf");
    expect_text(r->err, "did you mean qwen3.5-397b-a17b?");
    expect_text(r->err, "qwen3-coder-480b-a35b");
    expect_text(shell_expect(2, "$S synth --shape tiny-qwen3moe --quant q9 -o $T/no.gguf")->err, "Q4_K");
    expect_text(shell_expect(2, "$S synth --shape tiny-qwen3moe --layers 9 -o $T/no.gguf")->err, "has 4");
    expect_text(shell_expect(2, "$S synth --shape tiny-qwen3moe")->err, "-o FILE");
    expect_text(shell_expect(2, "$S synth -o $T/no.gguf")->err, "--shape");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(synth_writes_what_it_announces),
        cmocka_unit_test(synth_refuses_what_it_does_not_know),
    };
    return RUN_TESTS(tests);
}
