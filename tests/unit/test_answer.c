/* Answers being made, from ids that the tests choose: the tokenizer of the made models has a token for each byte. */
#include "answer/answer.h"
#include "support/make_model.h"
#include "support/recording.h"
#include "support/support.h"

#include <math.h>
#include <string.h>

static sluice_model *model;
static int32_t id_of_byte[256];
static json_t *tools;

static int open_model(void **state) {
    (void)state;
    MakeModel made = {.seed = 1, .layers = 2, .experts = 4, .top_k = 2};
    sluice_options o = check_options(make_model(&made, "answer.gguf"));
    o.ctx = 16;
    model = open_or_fail(&o);
    for (int32_t id = 0; id < 256; id++) {
        char byte;
        assert_int_equal(sluice_token_text(model, id, &byte, 1), 1);
        id_of_byte[(unsigned char)byte] = id;
    }
    tools = json_pack("[{s:s,s:{s:{s:{s:s}}}}]", "name", "add", "parameters", "properties", "n", "type", "integer");
    return tools ? 0 : -1;
}

static int close_model(void **state) {
    (void)state;
    json_decref(tools);
    sluice_close(model);
    return 0;
}

static Answer *begin(const AnswerSpec *spec) {
    Err err = {0};
    AnswerSpec s = *spec;
    s.model = model;
    Answer *a = answer_new(&s, &err);
    if (!a) fail_msg("%s", err.text);
    return a;
}

static void take_bytes(Answer *a, const char *text) {
    for (; *text; text++) answer_take(a, id_of_byte[(unsigned char)*text], NULL);
}

/* The events since the last time, one letter for each kind and its text: "r:...|c:...|". */
static const char *told(Answer *a) {
    static Buf out;
    const TextEvents *e = answer_events(a);
    TextEventKind last = TEXT_CALL_END;
    buf_clear(&out);
    buf_puts(&out, "");
    for (size_t i = 0; i < e->n; i++) {
        TextEventKind kind = e->items[i].kind;
        Str s = text_events_text(e, i);
        if (i && (kind != last || kind > TEXT_CONTENT)) buf_putc(&out, '|');
        if (!i || kind != last || kind > TEXT_CONTENT) buf_printf(&out, "%c:", "rcinae"[kind]);
        buf_put(&out, s.ptr, s.len);
        last = kind;
    }
    answer_told(a);
    assert_false(answer_failed(a));
    return out.ptr;
}

static const TextCallsSpec *xml(bool inside) {
    static TextCallsSpec spec;
    spec = (TextCallsSpec){.form = TEXT_FORM_QWEN_XML, .thinks = true, .inside_think = inside, .tools = tools};
    return &spec;
}

#define PLAIN (&(AnswerSpec){.max_tokens = -1, .likely = -1})

/* ---- characters ---- */

static void a_character_leaves_when_all_its_bytes_are_there(void **state) {
    (void)state;
    Answer *a = begin(PLAIN);
    take_bytes(a, "a\xF0\x9F\xA6");
    assert_string_equal(told(a), "c:a");
    take_bytes(a, "\x8A!");
    assert_string_equal(told(a), "c:\xF0\x9F\xA6\x8A!");
    answer_free(a);
}

static void half_a_character_at_the_end_is_replaced(void **state) {
    (void)state;
    Answer *a = begin(PLAIN);
    take_bytes(a, "a\xF0\x9F");
    answer_take(a, MAKE_IM_END, NULL);
    assert_string_equal(told(a), "c:a\xEF\xBF\xBD");
    assert_int_equal(answer_finish(a), ANSWER_STOP);
    answer_take(a, id_of_byte['b'], NULL);
    assert_string_equal(told(a), "");
    answer_free(a);
}

/* ---- stop strings ---- */

static Answer *with_stops(const TextCallsSpec *parts, const char *one, const char *two) {
    Str stops[] = {str_c(one), str_c(two ? two : "")};
    return begin(&(AnswerSpec){.max_tokens = -1, .likely = -1, .parts = parts, .stops = stops, .n_stops = two ? 2 : 1});
}

static void nothing_of_a_stop_string_is_shown(void **state) {
    (void)state;
    Answer *a = with_stops(NULL, "STOP", "\n\n");
    take_bytes(a, "go STO");
    assert_string_equal(told(a), "c:go ");
    take_bytes(a, "ST");
    assert_string_equal(told(a), "c:STO");
    take_bytes(a, "OP and on");
    assert_string_equal(told(a), "");
    assert_int_equal(answer_finish(a), ANSWER_STOP_STRING);
    assert_true(str_eq_c(answer_stop(a), "STOP"));
    size_t n;
    answer_ids(a, &n);
    assert_int_equal(n, strlen("go STOSTOP"));
    answer_free(a);
}

static void what_only_began_like_a_stop_string_is_shown_at_the_end(void **state) {
    (void)state;
    Answer *a = with_stops(NULL, "STOP", NULL);
    take_bytes(a, "go STO");
    answer_take(a, MAKE_IM_END, NULL);
    assert_string_equal(told(a), "c:go STO");
    assert_int_equal(answer_finish(a), ANSWER_STOP);
    answer_free(a);
}

static void the_stop_string_that_stands_first_counts(void **state) {
    (void)state;
    Answer *a = with_stops(NULL, "bcd", "abcx");
    take_bytes(a, "zabc");
    assert_string_equal(told(a), "c:z");
    take_bytes(a, "d");
    assert_string_equal(told(a), "c:a");
    assert_true(str_eq_c(answer_stop(a), "bcd"));
    answer_free(a);
}

static void stop_strings_are_looked_for_in_content_alone(void **state) {
    (void)state;
    Answer *a = with_stops(xml(true), "end", NULL);
    take_bytes(a, "the end?\n</think>\n\nen<tool_call>\n<function=add>\n<parameter=n>\nend\n</parameter>\n</function>\n</tool_call>\nend");
    assert_string_equal(told(a), "r:the end?|c:en|n:add|a:{\"n\": \"end\"}|e:|c:\n");
    assert_int_equal(answer_finish(a), ANSWER_STOP_STRING);
    answer_free(a);
}

static void newlines_that_were_held_back_may_be_the_stop_string(void **state) {
    (void)state;
    Answer *a = with_stops(xml(false), "\n\n", NULL);
    take_bytes(a, "one\n\n");
    answer_take(a, MAKE_IM_END, NULL);
    assert_string_equal(told(a), "c:one");
    assert_int_equal(answer_finish(a), ANSWER_STOP_STRING);
    answer_free(a);
}

/* ---- parts and ends ---- */

static const char call[] = "<tool_call>\n<function=add>\n<parameter=n>\n7\n</parameter>\n</function>\n</tool_call>";

static void reasoning_content_and_calls_are_told_apart(void **state) {
    (void)state;
    Answer *a = begin(&(AnswerSpec){.max_tokens = -1, .likely = -1, .parts = xml(true)});
    take_bytes(a, "hm\n");
    answer_take(a, MAKE_END_THINK, NULL);
    take_bytes(a, "\n\nWell.\n\n");
    take_bytes(a, call);
    answer_take(a, MAKE_IM_END, NULL);
    assert_string_equal(told(a), "r:hm|c:Well.|n:add|a:{\"n\": 7}|e:");
    assert_int_equal(answer_finish(a), ANSWER_TOOL_CALLS);
    assert_int_equal(answer_reasoning_tokens(a), strlen("hm\n") + 1);
    answer_free(a);
}

static void without_parts_all_is_content(void **state) {
    (void)state;
    Answer *a = begin(PLAIN);
    take_bytes(a, "hm</think>");
    take_bytes(a, call);
    answer_take(a, MAKE_IM_END, NULL);
    const char *all = told(a);
    assert_memory_equal(all, "c:hm</think><tool_call>", 23);
    assert_string_equal(all + 12, call);
    assert_int_equal(answer_finish(a), ANSWER_STOP);
    answer_free(a);
}

static void a_limit_cuts_and_says_so(void **state) {
    (void)state;
    Answer *a = begin(&(AnswerSpec){.max_tokens = 20, .likely = -1, .parts = xml(false)});
    take_bytes(a, call);
    assert_int_equal(answer_finish(a), ANSWER_LENGTH);
    assert_string_equal(told(a), "c:<tool_call>\n<functio");
    answer_free(a);
}

static void the_caller_may_have_stop_ids_of_its_own(void **state) {
    (void)state;
    int32_t stop = id_of_byte['!'];
    Answer *a = begin(&(AnswerSpec){.max_tokens = -1, .likely = -1, .stop_ids = &stop, .n_stop_ids = 1});
    take_bytes(a, "a!b");
    assert_string_equal(told(a), "c:a");
    assert_int_equal(answer_finish(a), ANSWER_STOP);
    answer_free(a);
}

/* ---- likelihoods ---- */

static void likelihoods_are_those_of_the_logits(void **state) {
    (void)state;
    float logits[MAKE_VOCAB];
    double sum = 0;
    for (int i = 0; i < MAKE_VOCAB; i++) logits[i] = (float)((i * 37) % 100) * 0.1f - 5;
    for (int i = 0; i < MAKE_VOCAB; i++) sum += exp((double)logits[i]);
    Answer *a = begin(&(AnswerSpec){.max_tokens = -1, .likely = 4});
    answer_take(a, 5, logits);
    answer_take(a, MAKE_IM_END, logits);
    size_t n;
    const AnswerLikely *rows = answer_rows(a, &n);
    assert_int_equal(n, 2);
    assert_int_equal(rows[0].id, 5);
    assert_int_equal(rows[5].id, MAKE_IM_END);
    assert_true(fabs(rows[0].logprob - ((double)logits[5] - log(sum))) < 1e-12);
    int best[4] = {27, 127, 227, 54}; /* 37 * 27 = 999: the largest logit, three times; then 98 */
    for (int i = 0; i < 4; i++) {
        assert_int_equal(rows[1 + i].id, best[i]);
        assert_true(fabs(rows[1 + i].logprob - ((double)logits[best[i]] - log(sum))) < 1e-12);
    }
    answer_told(a);
    answer_rows(a, &n);
    assert_int_equal(n, 0);
    answer_free(a);
    AnswerLikely row[4];
    answer_likely(logits, 2, 1, 3, row);
    assert_int_equal(row[3].id, -1);
}

/* ---- any split ---- */

static const char *all_of(const AnswerSpec *spec, const int32_t *ids, size_t n, Buf *out) {
    Answer *a = begin(spec);
    buf_clear(out);
    for (size_t i = 0; i < n; i++) answer_take(a, ids[i], NULL);
    answer_end(a, ANSWER_STOP);
    buf_puts(out, told(a));
    buf_printf(out, " %d", (int)answer_finish(a));
    answer_free(a);
    return out->ptr;
}

/* Texts of words that begin like tags and stop strings, as single bytes and as the tokenizer cuts them. */
static void the_cut_into_tokens_does_not_matter(void **state) {
    (void)state;
    static const char *const words[] = {"a", "\n", "<tool_call>\n", "</think>", "<thi", "STO", "STOP", "\xC3\xA9", "the ", "in", "\n\n",
                                        "<function=add>\n", "<parameter=n>\n1\n</parameter>\n", "</function>\n</tool_call>", "<"};
    Str stops[] = {str_c("STOP"), str_c("a\na")};
    Buf text = {0}, one = {0}, two = {0};
    Xoshiro r;
    xoshiro_seed(&r, 7);
    for (int turn = 0; turn < 3000; turn++) {
        AnswerSpec spec = {.max_tokens = -1, .likely = -1, .parts = turn % 3 ? xml(turn % 3 == 1) : NULL, .stops = stops, .n_stops = 2};
        buf_clear(&text);
        for (uint64_t k = xoshiro_next(&r) % 12 + 1; k > 0; k--) buf_puts(&text, words[xoshiro_next(&r) % COUNT_OF(words)]);
        int32_t bytes[512], *ids;
        size_t n;
        for (size_t i = 0; i < text.len; i++) bytes[i] = id_of_byte[(unsigned char)text.ptr[i]];
        assert_int_equal(sluice_tokenize(model, text.ptr, text.len, turn & 1 ? SLUICE_NO_SPECIAL : 0, &ids, &n, NULL), 0);
        assert_string_equal(all_of(&spec, bytes, text.len, &one), all_of(&spec, ids, n, &two));
        sluice_free(ids);
    }
    buf_free(&text);
    buf_free(&one);
    buf_free(&two);
}

static void no_memory_is_told_and_never_silent(void **state) {
    (void)state;
    Str stops[] = {str_c("STOP")};
    AnswerSpec spec = {.model = model, .max_tokens = -1, .likely = -1, .parts = xml(true), .stops = stops, .n_stops = 1};
    bool whole = false;
    for (uint64_t n = 1; !whole; n++) {
        mem_fail_after(n);
        Answer *a = answer_new(&spec, NULL);
        for (const char *c = "hm</think>ok "; a && *c; c++) answer_take(a, id_of_byte[(unsigned char)*c], NULL);
        for (const char *c = call; a && *c; c++) answer_take(a, id_of_byte[(unsigned char)*c], NULL);
        if (a) answer_end(a, ANSWER_STOP);
        mem_fail_after(0);
        whole = a && !answer_failed(a);
        if (whole) assert_string_equal(told(a), "r:hm|c:ok |n:add|a:{\"n\": 7}|e:");
        answer_free(a);
        assert_true(n < 10000);
    }
}

int main(void) {
    const struct CMUnitTest answer[] = {
        cmocka_unit_test(a_character_leaves_when_all_its_bytes_are_there),
        cmocka_unit_test(half_a_character_at_the_end_is_replaced),
        cmocka_unit_test(nothing_of_a_stop_string_is_shown),
        cmocka_unit_test(what_only_began_like_a_stop_string_is_shown_at_the_end),
        cmocka_unit_test(the_stop_string_that_stands_first_counts),
        cmocka_unit_test(stop_strings_are_looked_for_in_content_alone),
        cmocka_unit_test(newlines_that_were_held_back_may_be_the_stop_string),
        cmocka_unit_test(reasoning_content_and_calls_are_told_apart),
        cmocka_unit_test(without_parts_all_is_content),
        cmocka_unit_test(a_limit_cuts_and_says_so),
        cmocka_unit_test(the_caller_may_have_stop_ids_of_its_own),
        cmocka_unit_test(likelihoods_are_those_of_the_logits),
        cmocka_unit_test(the_cut_into_tokens_does_not_matter),
        cmocka_unit_test(no_memory_is_told_and_never_silent),
    };
    return cmocka_run_group_tests(answer, open_model, close_model);
}
