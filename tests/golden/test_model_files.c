/* The model room on the reference models: the numbers of their config.json, the same weights from a folder and from a GGUF file,
 * the same tokens, and the stop tokens and defaults that their authors wrote down. */
#include "support/same_model.h"
#include "support/support.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* A folder and the GGUF file of the same weights. tol 0: of the same values; with the quantised ones only vectors are compared. */
static const struct {
    const char *folder, *gguf;
    bool quantised;
} pairs[] = {
    {"data/golden/q35-a", "data/golden/q35-a.f16.gguf", false},
    {"data/golden/q35-a", "data/golden/q35-a.qa.gguf", true},
    {"data/golden/q35-a", "data/golden/q35-a.qb.gguf", true},
    {"data/golden/q35-real-dims", "data/golden/q35-real-dims.bf16-00001-of-00003.gguf", false},
    {"data/golden/next-a", "data/golden/next-a.f32.gguf", false},
    {"data/golden/moe-a", "data/golden/moe-a.f32.gguf", false},
    {"data/models/nano-shakespeare", "data/models/nano-shakespeare/model.f32.gguf", false},
    {"data/models/tiny-tales", "data/models/tiny-tales/tiny-tales.q8_0.gguf", true},
};

static const char *const folders[] = {"data/golden/q35-a", "data/golden/q35-real-dims", "data/golden/next-a", "data/golden/moe-a",
                                      "data/models/nano-shakespeare", "data/models/tiny-tales", "data/models/tiny-tales-256"};

static json_t *config_of(const char *folder) {
    char path[512];
    snprintf(path, sizeof path, "%s/config.json", shared_path(folder));
    json_t *c = json_load_file(path, 0, NULL);
    assert_non_null(c);
    json_t *text = json_object_get(c, "text_config");
    if (!text) return c;
    json_incref(text);
    json_decref(c);
    return text;
}

static uint32_t number(const json_t *c, const char *name) { return (uint32_t)json_integer_value(json_object_get(c, name)); }

static void shapes_are_those_of_the_config(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(folders); i++) {
        REQUIRE_PATH(shared_path(folders[i]));
        Opened o = model_open_or_fail(shared_path(folders[i]));
        json_t *c = config_of(folders[i]);
        const ModelShape *s = &o.model->shape;
        assert_int_equal(s->n_layers, number(c, "num_hidden_layers"));
        assert_int_equal(s->hidden, number(c, "hidden_size"));
        assert_int_equal(s->vocab, number(c, "vocab_size"));
        assert_int_equal(s->n_heads, number(c, "num_attention_heads"));
        assert_int_equal(s->n_kv_heads, number(c, "num_key_value_heads"));
        assert_int_equal(s->head_dim, number(c, "head_dim"));
        assert_int_equal(s->lin_k_heads, number(c, "linear_num_key_heads"));
        assert_int_equal(s->lin_v_heads, number(c, "linear_num_value_heads"));
        assert_int_equal(s->lin_k_dim, number(c, "linear_key_head_dim"));
        assert_int_equal(s->lin_v_dim, number(c, "linear_value_head_dim"));
        assert_int_equal(s->conv_width, number(c, "linear_conv_kernel_dim"));
        assert_int_equal(s->n_experts, number(c, "num_experts"));
        assert_int_equal(s->top_k, number(c, "num_experts_per_tok"));
        assert_int_equal(s->expert_inner, number(c, "moe_intermediate_size"));
        assert_int_equal(s->shared_inner, number(c, "shared_expert_intermediate_size"));
        assert_int_equal(s->ctx_train, number(c, "max_position_embeddings"));
        assert_true(s->norm_topk);
        uint32_t interval = number(c, "full_attention_interval");
        for (uint32_t l = 0; l < s->n_layers; l++)
            assert_int_equal(o.model->layers[l].mixer == MODEL_MIXER_LINEAR, interval && (l + 1) % interval != 0);
        json_decref(c);
        model_close(&o);
    }
}

static void folder_and_gguf_hold_one_model(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        REQUIRE_PATH(shared_path(pairs[i].folder));
        REQUIRE_PATH(shared_path(pairs[i].gguf));
        Opened a = model_open_or_fail(shared_path(pairs[i].folder)), b = model_open_or_fail(shared_path(pairs[i].gguf));
        /* exp() of A_log in double here and in float there: a unit in the last place of numbers up to about 16 */
        if (pairs[i].quantised)
            assert_same_vectors(&a, &b, 2e-6f);
        else
            assert_same_model(&a, &b, 2e-6f);
        model_close(&a);
        model_close(&b);
    }
}

/* A quantised matrix is near the one it was made of: rows in the wrong order would not be. */
static void quantised_matrices_are_near(void **state) {
    (void)state;
    const char *folder = shared_path("data/models/tiny-tales"), *gguf = shared_path("data/models/tiny-tales/tiny-tales.q8_0.gguf");
    REQUIRE_PATH(gguf);
    Opened a = model_open_or_fail(folder), b = model_open_or_fail(gguf);
    assert_same_model(&a, &b, 0.02f);
    model_close(&a);
    model_close(&b);
}

static void tokens_and_templates_agree(void **state) {
    (void)state;
    static const char text[] = "Once upon a time, there was a little girl.";
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        REQUIRE_PATH(shared_path(pairs[i].gguf));
        Opened a = model_open_or_fail(shared_path(pairs[i].folder)), b = model_open_or_fail(shared_path(pairs[i].gguf));
        TextIds p = {0}, q = {0};
        Err err = {0};
        assert_non_null(a.model->tokenizer);
        assert_non_null(b.model->tokenizer);
        assert_int_equal(text_encode(a.model->tokenizer, text, strlen(text), 0, &p, &err), ERR_OK);
        assert_int_equal(text_encode(b.model->tokenizer, text, strlen(text), 0, &q, &err), ERR_OK);
        assert_int_equal(p.n, q.n);
        assert_memory_equal(p.ids, q.ids, p.n * sizeof *p.ids);
        if (a.model->chat_error) fail_msg("%s: %s", pairs[i].folder, a.model->chat_error);
        if (b.model->chat_error) fail_msg("%s: %s", pairs[i].gguf, b.model->chat_error);
        bool nano = strstr(pairs[i].gguf, "nano") != NULL; /* a base model */
        assert_int_equal(a.model->chat != NULL, !nano);
        assert_int_equal(b.model->chat != NULL, !nano);
        text_ids_free(&p);
        text_ids_free(&q);
        model_close(&a);
        model_close(&b);
    }
}

static void both_ends_of_turn_stop(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        if (strstr(pairs[i].gguf, "nano")) continue;
        REQUIRE_PATH(shared_path(pairs[i].gguf));
        const char *const files[] = {pairs[i].folder, pairs[i].gguf};
        for (int f = 0; f < 2; f++) {
            Opened o = model_open_or_fail(shared_path(files[f]));
            int32_t want[2];
            assert_true(text_token_id(o.model->tokenizer, "<|im_end|>", &want[0]));
            assert_true(text_token_id(o.model->tokenizer, "<|endoftext|>", &want[1]));
            assert_int_equal(o.model->n_stop_ids, 2);
            assert_memory_equal(o.model->stop_ids, want, sizeof want);
            model_close(&o);
        }
    }
    REQUIRE_PATH(shared_path("data/models/tiny-tales"));
    const char *const tales[] = {"data/models/tiny-tales", "data/models/tiny-tales/tiny-tales.q8_0.gguf"};
    for (int f = 0; f < 2; f++) {
        Opened o = model_open_or_fail(shared_path(tales[f]));
        assert_true(o.model->sampling.temperature == 0.7f && o.model->sampling.top_p == 0.9f && o.model->sampling.top_k == 40);
        assert_true(isnan(o.model->sampling.min_p) && o.model->sampling.do_sample);
        model_close(&o);
    }
}

static void any_shard_opens_the_whole(void **state) {
    (void)state;
    const char *first = shared_path("data/golden/q35-real-dims.bf16-00001-of-00003.gguf");
    const char *last = shared_path("data/golden/q35-real-dims.bf16-00003-of-00003.gguf");
    REQUIRE_PATH(first);
    REQUIRE_PATH(last);
    Opened a = model_open_or_fail(first), b = model_open_or_fail(last);
    assert_int_equal(a.model->shape.n_layers, 4); /* the fifth block is the draft layer */
    assert_same_model(&a, &b, 0);
    model_close(&a);
    model_close(&b);
}

static void other_folder_layouts_are_refused(void **state) {
    (void)state;
    static const char *const others[] = {"fp8", "gptq-int4", "mlx-4bit", "mlx-2bit", "flash-4bit"};
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        char path[256];
        Err err = {0};
        snprintf(path, sizeof path, "%s.%s", shared_path("data/golden/q35-a"), others[i]);
        REQUIRE_PATH(path);
        Opened o = model_try(path, &err);
        assert_null(o.model);
        assert_int_equal(err.code, ERR_UNSUPPORTED);
        assert_non_null(strstr(err.text, path));
        assert_non_null(strstr(err.text, "not supported yet"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_are_those_of_the_config), cmocka_unit_test(folder_and_gguf_hold_one_model),
        cmocka_unit_test(quantised_matrices_are_near),    cmocka_unit_test(tokens_and_templates_agree),
        cmocka_unit_test(both_ends_of_turn_stop),         cmocka_unit_test(any_shard_opens_the_whole),
        cmocka_unit_test(other_folder_layouts_are_refused),
    };
    return RUN_TESTS(tests);
}
