/* Answers of the small story model: what answer/ makes of them is what the model sampled. */
#include "answer/answer.h"
#include "support/recording.h"
#include "support/support.h"

#include <string.h>

static sluice_model *model;
static const char *path;

static int open_model(void **state) {
    (void)state;
    path = source_path("data/tiny-tales.gguf");
    sluice_options o = check_options(path);
    o.ctx = 512;
    model = open_or_fail(&o);
    return 0;
}

static int close_model(void **state) {
    (void)state;
    sluice_close(model);
    return 0;
}

static sluice_session *session_at(const char *request) {
    sluice_error err;
    sluice_session *s = sluice_session_new(model, &err);
    if (!s) fail_msg("%s", err.message);
    char *text = sluice_render(model, request, &err);
    if (!text) fail_msg("%s", err.message);
    int32_t *ids;
    size_t n;
    if (sluice_tokenize(model, text, strlen(text), 0, &ids, &n, &err) || sluice_feed(s, ids, n, &err)) fail_msg("%s", err.message);
    sluice_free(ids);
    sluice_free(text);
    return s;
}

static const char hello[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"Hello!\"}],"
                            " \"kwargs\": {\"add_generation_prompt\": true, \"enable_thinking\": true}}";

static void an_answer_is_what_the_model_samples(void **state) {
    (void)state;
    sluice_sampling sampling = {.temperature = 0.8f, .top_k = 40, .top_p = 0.9f, .repeat = 1};
    for (uint64_t seed = 1; seed <= 3; seed++) {
        sluice_session *s = session_at(hello);
        sluice_snapshot *at = sluice_snapshot_take(s, NULL);
        assert_non_null(at);
        sluice_session_seed(s, seed);
        Answer *a = answer_new(&(AnswerSpec){.model = model, .max_tokens = 60, .likely = 1}, NULL);
        assert_non_null(a);
        while (!answer_finish(a)) {
            int32_t id = answer_next(a, s, &sampling);
            if (!answer_finish(a)) assert_int_equal(sluice_feed(s, &id, 1, NULL), 0);
        }
        size_t n, n_rows;
        const int32_t *ids = answer_ids(a, &n);
        const AnswerLikely *rows = answer_rows(a, &n_rows);
        assert_int_equal(n_rows, n + (answer_finish(a) == ANSWER_STOP));
        assert_int_equal(sluice_snapshot_restore(s, at, NULL), 0);
        sluice_session_seed(s, seed);
        Buf text = {0};
        for (size_t i = 0; i < n_rows; i++) {
            int32_t id = sluice_sample(s, &sampling);
            char piece[64];
            assert_int_equal(id, i < n ? ids[i] : rows[2 * i].id);
            assert_true(rows[2 * i].logprob <= rows[2 * i + 1].logprob && rows[2 * i + 1].logprob <= 0);
            if (i < n) buf_put(&text, piece, sluice_token_text(model, id, piece, sizeof piece));
            if (i + 1 < n_rows) assert_int_equal(sluice_feed(s, &id, 1, NULL), 0);
        }
        Buf said = {0};
        const TextEvents *events = answer_events(a);
        for (size_t i = 0; i < events->n; i++) buf_put(&said, text_events_text(events, i).ptr, text_events_text(events, i).len);
        assert_string_equal(said.ptr, text.ptr);
        buf_free(&said);
        buf_free(&text);
        answer_free(a);
        sluice_snapshot_free(at);
        sluice_session_free(s);
    }
}

static void reasoning_of_the_story_model_is_told_apart(void **state) {
    (void)state;
    const char *source = sluice_chat_template(model);
    TextCallsSpec parts = {.form = text_calls_form(str_c(source)), .thinks = text_calls_thinks(str_c(source)), .inside_think = true};
    assert_int_equal(parts.form, TEXT_FORM_QWEN_XML);
    assert_true(parts.thinks);
    sluice_session *s = session_at(hello);
    Answer *a = answer_new(&(AnswerSpec){.model = model, .max_tokens = 60, .likely = -1, .parts = &parts}, NULL);
    assert_non_null(a);
    while (!answer_finish(a)) {
        int32_t id = answer_next(a, s, &(sluice_sampling){0});
        if (!answer_finish(a)) assert_int_equal(sluice_feed(s, &id, 1, NULL), 0);
    }
    Buf said[2] = {{0}};
    const TextEvents *events = answer_events(a);
    for (size_t i = 0; i < events->n; i++) {
        assert_in_range(events->items[i].kind, TEXT_REASONING, TEXT_CONTENT);
        buf_put(&said[events->items[i].kind == TEXT_CONTENT], text_events_text(events, i).ptr, text_events_text(events, i).len);
    }
    assert_string_equal(said[0].ptr, "I should answer with a few kind words.");
    assert_string_equal(said[1].ptr, "Hello! Would you like to hear a story?");
    assert_int_equal(answer_finish(a), ANSWER_STOP);
    size_t n;
    answer_ids(a, &n);
    assert_true(answer_reasoning_tokens(a) > 5 && answer_reasoning_tokens(a) < n - 5);
    buf_free(&said[0]);
    buf_free(&said[1]);
    answer_free(a);
    sluice_session_free(s);
}

static const char schema[] = "{\"type\": \"object\", \"properties\": {\"mood\": {\"enum\": [\"happy\", \"sad\"]},"
                             " \"ok\": {\"type\": \"boolean\"},"
                             " \"tags\": {\"type\": \"array\", \"items\": {\"enum\": [1, 22, \"\\u00e9\"]}, \"maxItems\": 3}},"
                             " \"required\": [\"mood\", \"ok\", \"tags\"], \"additionalProperties\": false}";

/* Answers a prompt under the schema; checks that the content is what it asks for, and returns the reasoning. */
static const char *answer_json(const TextCallsSpec *parts, const sluice_sampling *sampling, uint64_t seed) {
    static Buf said[2];
    Err err = {0};
    json_t *wanted = json_loads(schema, 0, NULL);
    Grammar *grammar = grammar_json_schema(wanted, &err);
    if (!grammar) fail_msg("%s", err.text);
    GrammarVocab *vocab = answer_vocab_new(model, &err);
    GrammarMasks *masks = vocab ? answer_masks_new(model, grammar, vocab, &err) : NULL;
    if (!masks) fail_msg("%s", err.text);
    sluice_session *s = session_at(hello);
    sluice_session_seed(s, seed);
    AnswerSpec spec = {.model = model, .max_tokens = 200, .likely = -1, .parts = parts, .grammar = grammar, .masks = masks};
    Answer *a = answer_new(&spec, &err);
    if (!a) fail_msg("%s", err.text);
    while (!answer_finish(a)) {
        int32_t id = answer_next(a, s, sampling);
        if (!answer_finish(a)) assert_int_equal(sluice_feed(s, &id, 1, NULL), 0);
    }
    assert_false(answer_failed(a));
    buf_clear(&said[0]);
    buf_clear(&said[1]);
    buf_puts(&said[0], "");
    const TextEvents *events = answer_events(a);
    for (size_t i = 0; i < events->n; i++)
        buf_put(&said[events->items[i].kind == TEXT_CONTENT], text_events_text(events, i).ptr, text_events_text(events, i).len);
    assert_int_equal(answer_finish(a), ANSWER_STOP);
    json_t *got = text_json_load(said[1].ptr, said[1].len, &err);
    if (!got) fail_msg("%s: %s", err.text, said[1].ptr);
    assert_int_equal(json_object_size(got), 3);
    assert_true(json_is_boolean(json_object_get(got, "ok")));
    assert_true(json_array_size(json_object_get(got, "tags")) <= 3);
    json_decref(got);
    answer_free(a);
    sluice_session_free(s);
    grammar_masks_free(masks);
    grammar_vocab_free(vocab);
    grammar_free(grammar);
    json_decref(wanted);
    return said[0].ptr;
}

static void under_a_grammar_even_noise_is_what_was_asked_for(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) answer_json(NULL, &(sluice_sampling){.temperature = 50, .repeat = 1}, seed);
}

static void reasoning_is_free_of_the_grammar(void **state) {
    (void)state;
    TextCallsSpec parts = {.form = TEXT_FORM_QWEN_XML, .thinks = true, .inside_think = true};
    assert_string_equal(answer_json(&parts, &(sluice_sampling){0}, 1), "I should answer with a few kind words.");
    parts.inside_think = false; /* as if the prompt had not opened it: the model may, or begin with JSON */
    answer_json(&parts, &(sluice_sampling){0}, 1);
    parts.behind_think = true; /* as if it had closed it: even noise does not open it again */
    for (uint64_t seed = 1; seed <= 4; seed++)
        assert_string_equal(answer_json(&parts, &(sluice_sampling){.temperature = 50, .repeat = 1}, seed), "");
}

/* A conversation of three turns, told back without reasoning: each prompt begins with all that the session was fed and sampled. */
static void a_conversation_goes_on_where_its_session_is(void **state) {
    (void)state;
    AnswerPrompts *prompts = answer_prompts_new(model, 1 << 20, NULL);
    assert_non_null(prompts);
    json_t *request = json_pack("{s:[],s:{s:b,s:b}}", "messages", "kwargs", "add_generation_prompt", 1, "enable_thinking", 1);
    json_t *messages = json_object_get(request, "messages");
    static const char *const says[] = {"Hello!", "Tell me a story about a cat.", "Thank you!"};
    sluice_session *s = sluice_session_new(model, NULL);
    assert_non_null(s);
    for (int turn = 0; turn < 3; turn++) {
        AnswerPrompt prompt;
        json_array_append_new(messages, json_pack("{s:s,s:s}", "role", "user", "content", says[turn]));
        assert_int_equal(answer_prompt(prompts, request, &prompt, NULL), ERR_OK);
        assert_int_equal(prompt.turns_replayed, turn);
        size_t n_fed;
        const int32_t *fed = sluice_ids(s, &n_fed);
        assert_true(n_fed < prompt.ids.n);
        if (n_fed) assert_memory_equal(fed, prompt.ids.ids, n_fed * sizeof *fed);
        assert_int_equal(sluice_feed(s, prompt.ids.ids + n_fed, prompt.ids.n - n_fed, NULL), 0);
        Answer *a = answer_new(&(AnswerSpec){.model = model, .max_tokens = 300, .likely = -1, .parts = &prompt.parts}, NULL);
        while (!answer_finish(a)) {
            int32_t id = answer_next(a, s, &(sluice_sampling){.temperature = 0.5f, .top_k = 40, .repeat = 1});
            if (!answer_finish(a)) assert_int_equal(sluice_feed(s, &id, 1, NULL), 0);
        }
        assert_int_equal(answer_finish(a), ANSWER_STOP);
        answer_prompts_remember(prompts, prompt.ids.ids, prompt.ids.n, a);
        Buf said = {0};
        const TextEvents *events = answer_events(a);
        for (size_t i = 0; i < events->n; i++)
            if (events->items[i].kind == TEXT_CONTENT) buf_put(&said, text_events_text(events, i).ptr, text_events_text(events, i).len);
        json_array_append_new(messages, json_pack("{s:s,s:s}", "role", "assistant", "content", said.ptr));
        buf_free(&said);
        answer_free(a);
        text_ids_free(&prompt.ids);
    }
    sluice_session_free(s);
    json_decref(request);
    answer_prompts_free(prompts);
}

static void an_answer_ends_where_the_context_is_full(void **state) {
    (void)state;
    sluice_options o = check_options(path);
    o.ctx = 8;
    sluice_model *small = open_or_fail(&o);
    sluice_session *s = sluice_session_new(small, NULL);
    const int32_t once[] = {100, 101, 102, 103, 104};
    assert_int_equal(sluice_feed(s, once, 5, NULL), 0);
    Answer *a = answer_new(&(AnswerSpec){.model = small, .max_tokens = -1, .likely = -1}, NULL);
    assert_non_null(a);
    while (!answer_finish(a)) {
        int32_t id = answer_next(a, s, &(sluice_sampling){0});
        if (!answer_finish(a)) assert_int_equal(sluice_feed(s, &id, 1, NULL), 0);
    }
    size_t n;
    answer_ids(a, &n);
    assert_int_equal(n, 4); /* the last one is not fed */
    assert_int_equal(answer_finish(a), ANSWER_LENGTH);
    answer_free(a);
    sluice_session_free(s);
    sluice_close(small);
}

int main(void) {
    const struct CMUnitTest answer_model[] = {
        cmocka_unit_test(an_answer_is_what_the_model_samples),
        cmocka_unit_test(reasoning_of_the_story_model_is_told_apart),
        cmocka_unit_test(under_a_grammar_even_noise_is_what_was_asked_for),
        cmocka_unit_test(reasoning_is_free_of_the_grammar),
        cmocka_unit_test(a_conversation_goes_on_where_its_session_is),
        cmocka_unit_test(an_answer_ends_where_the_context_is_full),
    };
    return cmocka_run_group_tests(answer_model, open_model, close_model);
}
