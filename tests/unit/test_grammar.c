/* The machine and JSON itself: what is taken, masks against trying every token, and random texts against a JSON parser. Schemas:
 * test_grammar_schema.c. */
#include "support/grammar_rig.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static GrammarRig *rig;
static Grammar *object;
static GrammarMasks *masks;

static int open_rig(void **state) {
    (void)state;
    rig = grammar_rig_new();
    object = grammar_json_object(NULL);
    masks = grammar_masks_new(object, rig->vocab, &rig->stop, 1, NULL);
    return masks ? 0 : -1;
}

static int close_rig(void **state) {
    (void)state;
    grammar_masks_free(masks);
    grammar_free(object);
    grammar_rig_free(rig);
    return 0;
}

static void json_objects_are_taken_in_the_spellings_that_models_use(void **state) {
    (void)state;
    static const char *const taken[] = {
        "{}",
        "{\"a\":1}",
        "{\"a\": 1, \"b\": [true, false, null, -0.5e-3, 123456789012345678], \"\": {}}",
        "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ]\n}",
        "{\n\t\"a\": \"tab\"\n}",
        "{\"\xC3\xA9\\n\\u00e9\\\"\\\\\\/\": \"\xF0\x9F\xA6\x8A \\uD83E\\uDD8A \\ud7ff \\uE000\"}",
    };
    for (size_t i = 0; i < COUNT_OF(taken); i++)
        if (!grammar_takes(object, taken[i], strlen(taken[i]))) fail_msg("not taken: %s", taken[i]);
}

static void what_is_no_json_object_is_not_taken(void **state) {
    (void)state;
    static const char *const refused[] = {
        "", "[]", "1", "null", "{", "}", "{}}", "{} ", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"a\":1 \"b\":2}", "{a:1}", "{'a':1}",
        "{\"a\":01}", "{\"a\":1.}", "{\"a\":.5}", "{\"a\":+1}", "{\"a\":1e}", "{\"a\":tru}", "{\"a\":[1,]}", "{\"a\":NaN}",
        "{\"a\":\"\\x\"}", "{\"a\":\"\n\"}", "{\"a\":\"\x01\"}", "{\"a\":\"\\uD800\"}", "{\"a\":\"\\uDC00\"}", "{\"a\":\"\\uD800\\u0041\"}",
        "{\"a\":\"\x80\"}", "{\"a\":\"\xC0\x80\"}", "{\"a\":\"\xED\xA0\x80\"}", "{\"a\":\"\xF4\x90\x80\x80\"}", "{\"a\":\"\xE2\x82\"}",
        "{\"a\":1234567890123456789}", "{\"a\":1e100}", "{\"a\":   1}", "{\"a\":1\r\n}",
    };
    for (size_t i = 0; i < COUNT_OF(refused); i++)
        if (grammar_takes(object, refused[i], strlen(refused[i]))) fail_msg("taken: %s", refused[i]);
}

static void bytes_that_cannot_follow_leave_the_state_as_it_was(void **state) {
    (void)state;
    GrammarState *s = grammar_state_new(object, NULL);
    assert_true(grammar_accept(s, "{\"a\": [1", 8));
    assert_false(grammar_accept(s, ", 2}", 4));
    assert_false(grammar_may_end(s));
    assert_int_equal(grammar_shortest_end(s), 2);
    assert_true(grammar_accept(s, ", 2]}", 5));
    assert_true(grammar_may_end(s));
    assert_int_equal(grammar_shortest_end(s), 0);
    assert_true(grammar_accept(s, "", 0));
    grammar_state_free(s);
}

static void nesting_is_refused_where_it_could_not_be_closed_any_more(void **state) {
    (void)state;
    GrammarState *s = grammar_state_new(object, NULL);
    assert_true(grammar_accept(s, "{\"a\":", 5));
    int depth = 0;
    while (depth < 1000 && grammar_accept(s, "[", 1)) depth++;
    assert_in_range(depth, 50, 64);
    assert_false(grammar_accept(s, "{", 1));
    assert_true(grammar_accept(s, "\"x\"", 3));
    grammar_expect_mask(rig, object, masks, s);
    for (; depth > 0; depth--) assert_true(grammar_accept(s, "]", 1));
    assert_true(grammar_accept(s, "}", 1) && grammar_may_end(s));
    grammar_state_free(s);
}

static void masks_are_what_trying_every_token_gives(void **state) {
    (void)state;
    static const char text[] = "{\"name\": \"the fox\\n\xC3\xA9 \\u00e9\", \"list\": [1, -2.5e3, true,\n  [],\n  {}], \"x\": null}";
    grammar_expect_masks_along(rig, object, masks, text, 1);
    grammar_expect_masks_along(rig, object, masks, text, 1); /* the second time from memory */
}

static void a_mask_does_not_depend_on_what_was_asked_before(void **state) {
    (void)state;
    size_t words = (rig->n + 31) / 32;
    uint32_t *first = calloc(words, 4), *again = calloc(words, 4);
    GrammarState *s = grammar_state_new(object, NULL);
    assert_true(grammar_accept(s, "{\"deep\": [[{\"a\": ", 17));
    grammar_mask(masks, s, first);
    Buf text = {0};
    for (uint64_t seed = 0; seed < 20; seed++) grammar_random_text(rig, object, masks, 1000 + seed, 60, &text); /* many other places */
    grammar_mask(masks, s, again);
    assert_memory_equal(first, again, words * 4);
    GrammarMasks *fresh = grammar_masks_new(object, rig->vocab, &rig->stop, 1, NULL);
    grammar_mask(fresh, s, again);
    assert_memory_equal(first, again, words * 4);
    grammar_masks_free(fresh);
    grammar_state_free(s);
    buf_free(&text);
    free(first);
    free(again);
}

static void random_texts_are_json(void **state) {
    (void)state;
    Buf text = {0};
    size_t longest = 0;
    for (uint64_t seed = 0; seed < 150; seed++) {
        json_error_t why;
        grammar_random_text(rig, object, masks, seed, 100, &text);
        json_t *json = json_loadb(text.ptr, text.len, JSON_ALLOW_NUL, &why);
        if (!json_is_object(json)) fail_msg("%s: %.*s", why.text, (int)text.len, text.ptr);
        json_decref(json);
        if (text.len > longest) longest = text.len;
    }
    assert_true(longest > 200);
    buf_free(&text);
}

static void nothing_is_allocated_for_a_token(void **state) {
    (void)state;
    GrammarState *s = grammar_state_new(object, NULL);
    uint32_t *mask = calloc((rig->n + 31) / 32, 4);
    uint64_t before = mem_allocation_count();
    static const char text[] = "{\"a\": [1, {\"b\": \"c\"}]}";
    for (size_t i = 0; i < strlen(text); i++) {
        grammar_mask(masks, s, mask);
        assert_true(grammar_accept(s, text + i, 1));
    }
    assert_int_equal(mem_allocation_count(), before);
    grammar_state_free(s);
    free(mask);
}

static void the_memory_of_a_vocabulary_and_its_masks_is_known_before(void **state) {
    (void)state;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < rig->n; i++) bytes += rig->tokens[i].len;
    assert_true(grammar_vocab_bytes(rig->vocab) <= grammar_vocab_bytes_at_most(rig->n, bytes));
    assert_true(grammar_vocab_bytes(rig->vocab) > bytes);
    assert_true(grammar_masks_bytes(rig->vocab) < 16 << 20);
}

static void memory_that_runs_out_is_an_error_and_nothing_leaks(void **state) {
    (void)state;
    uint64_t live = mem_live_count();
    Err err = {0};
    for (uint64_t n = 1; n < 8; n++) {
        mem_fail_after(n);
        Grammar *g = grammar_json_object(&err);
        mem_fail_after(0);
        if (!g) assert_int_equal(err.code, ERR_MEMORY);
        grammar_free(g);
        mem_fail_after(n);
        GrammarVocab *v = grammar_vocab_new(rig->tokens, rig->n, &err);
        mem_fail_after(0);
        if (!v) assert_int_equal(err.code, ERR_MEMORY);
        grammar_vocab_free(v);
        mem_fail_after(n);
        GrammarMasks *m = grammar_masks_new(object, rig->vocab, &rig->stop, 1, &err);
        GrammarState *s = grammar_state_new(object, &err);
        mem_fail_after(0);
        grammar_masks_free(m);
        grammar_state_free(s);
    }
    assert_int_equal(mem_live_count(), live);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_objects_are_taken_in_the_spellings_that_models_use),
        cmocka_unit_test(what_is_no_json_object_is_not_taken),
        cmocka_unit_test(bytes_that_cannot_follow_leave_the_state_as_it_was),
        cmocka_unit_test(nesting_is_refused_where_it_could_not_be_closed_any_more),
        cmocka_unit_test(masks_are_what_trying_every_token_gives),
        cmocka_unit_test(a_mask_does_not_depend_on_what_was_asked_before),
        cmocka_unit_test(random_texts_are_json),
        cmocka_unit_test(nothing_is_allocated_for_a_token),
        cmocka_unit_test(the_memory_of_a_vocabulary_and_its_masks_is_known_before),
        cmocka_unit_test(memory_that_runs_out_is_an_error_and_nothing_leaks),
    };
    if (open_rig(NULL)) return 1;
    int result = RUN_TESTS(tests);
    close_rig(NULL);
    return result;
}
