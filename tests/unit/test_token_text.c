/* The bytes of a token through the public API: a buffer that is too small is told so, never filled in silence. */
#include "support/make_model.h"
#include "support/recording.h"
#include "support/support.h"

#include <string.h>

static void a_small_buffer_is_told_the_whole_length(void **state) {
    (void)state;
    MakeModel made = {.seed = 1, .layers = 2, .experts = 4, .top_k = 2};
    sluice_options o = check_options(make_model(&made, "token-text.gguf"));
    o.ctx = 16;
    sluice_model *m = open_or_fail(&o);
    const char *whole = "<|endoftext|>";
    char out[32] = "................";
    assert_int_equal(sluice_token_text(m, MAKE_ENDOFTEXT, out, sizeof out), strlen(whole));
    assert_memory_equal(out, whole, strlen(whole));
    char small[8] = "........";
    assert_int_equal(sluice_token_text(m, MAKE_ENDOFTEXT, small, 4), strlen(whole));
    assert_memory_equal(small, "<|en....", sizeof small);
    assert_int_equal(sluice_token_text(m, 1 << 20, out, sizeof out), 0);
    sluice_close(m);
}

int main(void) {
    const struct CMUnitTest token_text[] = {cmocka_unit_test(a_small_buffer_is_told_the_whole_length)};
    return RUN_TESTS(token_text);
}
