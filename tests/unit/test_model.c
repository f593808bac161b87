/* The model room on small models made here: every layout gives one description, and what stands around the network is read. */
#include "support/load_dense.h"
#include "support/make_model.h"
#include "support/same_model.h"
#include "support/support.h"
#include "support/tiny_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void write_text(const char *folder, const char *name, const char *text) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static const char *const archs[] = {"qwen35moe", "qwen3next", "qwen3moe"};

/* ---- what is read is what was written ---- */

static void matrix_is(const ModelMat *mat, const TinyTensor *t) {
    assert_int_equal((uint64_t)mat->rows * mat->cols, t->count);
    assert_memory_equal(mat->data, t->data, t->count * sizeof(float));
}

static void vector_is(const float *v, const TinyTensor *t, float add) {
    for (uint64_t i = 0; i < t->count; i++) assert_true(v[i] == t->data[i] + add);
}

static void a_folder_is_read_as_it_stands(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(archs); i++) {
        TinyModel *t = tiny_new(archs[i]);
        Opened o = tiny_open(t);
        const Model *m = o.model;
        const float add = strcmp(archs[i], "qwen3moe") == 0 ? 0.0f : 1.0f;
        assert_string_equal(model_arch_name(m->shape.arch), archs[i]);
        assert_false(m->shape.heads_tiled);
        matrix_is(&m->embedding, tiny_get(t, "model.embed_tokens.weight"));
        matrix_is(&m->head, tiny_get(t, "lm_head.weight"));
        vector_is(m->norm_out, tiny_get(t, "model.norm.weight"), add);
        vector_is(m->layers[1].norm_in, tiny_get(t, "model.layers.1.input_layernorm.weight"), add);
        vector_is(m->layers[1].norm_post, tiny_get(t, "model.layers.1.post_attention_layernorm.weight"), add);
        vector_is(m->layers[1].q_norm, tiny_get(t, "model.layers.1.self_attn.q_norm.weight"), add);
        vector_is(m->layers[1].k_norm, tiny_get(t, "model.layers.1.self_attn.k_norm.weight"), add);
        matrix_is(&m->layers[1].q, tiny_get(t, "model.layers.1.self_attn.q_proj.weight"));
        matrix_is(&m->layers[1].v, tiny_get(t, "model.layers.1.self_attn.v_proj.weight"));
        matrix_is(&m->layers[3].router, tiny_get(t, "model.layers.3.mlp.gate.weight"));
        if (add > 0) {
            const TinyTensor *log_a = tiny_get(t, "model.layers.2.linear_attn.A_log");
            for (int l = 0; l < 4; l++) assert_int_equal(m->layers[l].mixer, l % 2 ? MODEL_MIXER_FULL : MODEL_MIXER_LINEAR);
            matrix_is(&m->layers[0].lin_qkv, tiny_get(t, "model.layers.0.linear_attn.in_proj_qkv.weight"));
            matrix_is(&m->layers[2].lin_a, tiny_get(t, "model.layers.2.linear_attn.in_proj_a.weight"));
            vector_is(m->layers[2].lin_norm, tiny_get(t, "model.layers.2.linear_attn.norm.weight"), 0);
            vector_is(m->layers[2].conv, tiny_get(t, "model.layers.2.linear_attn.conv1d.weight"), 0);
            for (uint64_t h = 0; h < log_a->count; h++)
                assert_true(m->layers[2].ssm_a[h] == (float)-exp((double)log_a->data[h]));
            assert_int_equal(m->shape.rotary_dim, 4); /* 6 * 0.7, cut off */
        }
        model_close(&o);
        tiny_free(t);
    }
}

static void a_mixer_tells_what_it_is(void **state) {
    (void)state;
    TinyModel *t = tiny_new("qwen3next");
    Opened o = tiny_open(t);
    const Model *m = o.model;
    const ModelShape *s = &m->shape;
    const uint32_t numbers[] = {s->lin_k_heads, s->lin_v_heads, s->lin_k_dim, s->lin_v_dim, s->conv_width};
    const ModelMat *mats[MODEL_DENSE_MATS];
    Buf line = {0};
    uint32_t value;
    assert_int_equal(model_mixer_layers(m, MODEL_MIXER_LINEAR) + model_mixer_layers(m, MODEL_MIXER_FULL), s->n_layers);
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        assert_non_null(model_mixer_number(MODEL_MIXER_LINEAR, s, i, &value));
        assert_true(value == numbers[i] && value > 0);
    }
    assert_null(model_mixer_number(MODEL_MIXER_LINEAR, s, COUNT_OF(numbers), &value));
    assert_null(model_mixer_number(MODEL_MIXER_FULL, s, 0, &value));
    assert_true(model_mixer_owns(MODEL_MIXER_LINEAR, str_make("blk.0.ssm_out.weight", 20)));
    assert_false(model_mixer_owns(MODEL_MIXER_FULL, str_make("blk.0.ssm_out.weight", 20)));
    for (int l = 0; l < 2; l++) { /* what it multiplies comes first, then the router */
        model_layer_mats(&m->layers[l], mats);
        assert_ptr_equal(mats[0], l ? &m->layers[l].q : &m->layers[l].lin_qkv);
        assert_ptr_equal(mats[MODEL_MIXER_MATS], &m->layers[l].router);
        assert_int_equal(mats[MODEL_MIXER_MATS - 1]->rows, 0);
    }
    model_mixer_describe(MODEL_MIXER_LINEAR, s, &line);
    assert_non_null(strstr(line.ptr, "gated delta net"));
    buf_free(&line);
    model_close(&o);
    tiny_free(t);
}

/* Each row changes a model to another layout of the same weights. */
static void unchanged(TinyModel *m) { (void)m; }

static void nested(TinyModel *m) {
    json_t *outer = json_pack("{s:s, s:o, s:b}", "model_type", "qwen3_5_moe", "text_config", m->meta, "tie_word_embeddings", 0);
    m->meta = outer;
    tiny_prefix(m, "model.language_model.");
    tiny_add(m, "model.visual.patch_embed.proj.weight", 3, 2, 3, 4);
    tiny_add(m, "mtp.fc.weight", 2, 8, 16, 0);
    tiny_add(m, "model.language_model.rotary_emb.inv_freq", 1, 2, 0, 0);
}

static void rope_in_parameters(TinyModel *m) {
    json_object_set_new(m->meta, "rope_parameters",
                        json_pack("{s:s, s:f, s:f, s:[i, i, i]}", "rope_type", "default", "rope_theta", 10000.0,
                                  "partial_rotary_factor", 0.7, "mrope_section", 1, 1, 0));
    json_object_del(m->meta, "rope_theta");
    json_object_del(m->meta, "partial_rotary_factor");
}

static void layer_type_list(TinyModel *m) {
    json_object_del(m->meta, "full_attention_interval");
    json_object_set_new(m->meta, "layer_types", json_pack("[s, s, s, s]", "linear_attention", "full_attention", "linear_attention",
                                                          "full_attention"));
}

static void only_class_named(TinyModel *m) {
    json_object_del(m->meta, "model_type");
    json_object_set_new(m->meta, "architectures", json_pack("[s]", "Qwen3_5MoeForCausalLM"));
}

static void language_model_prefix(TinyModel *m) {
    tiny_prefix(m, "language_model.model.");
    tiny_rename(m, "lm_head.weight", "language_model.lm_head.weight");
    tiny_add(m, "vision_tower.x.weight", 1, 3, 0, 0);
}

static void folders_of_one_model_are_equal(void **state) {
    (void)state;
    static const struct {
        const char *arch;
        void (*change)(TinyModel *);
    } rows[] = {
        {"qwen3next", tiny_interleave}, {"qwen3next", tiny_split_experts}, {"qwen3moe", tiny_split_experts},
        {"qwen35moe", tiny_split_experts}, {"qwen35moe", nested}, {"qwen35moe", rope_in_parameters}, {"qwen35moe", layer_type_list},
        {"qwen35moe", only_class_named}, {"qwen35moe", language_model_prefix},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TinyModel *t = tiny_new(rows[i].arch);
        Opened plain = tiny_open(t);
        rows[i].change(t);
        Opened other = tiny_open(t);
        assert_same_model(&plain, &other, 0);
        model_close(&plain);
        model_close(&other);
        tiny_free(t);
    }
}

static void set_key(TinyModel *m, const char *suffix, json_t *value) {
    char name[96];
    snprintf(name, sizeof name, "%s.%s", m->arch, suffix);
    if (value)
        json_object_set_new(m->meta, name, value);
    else
        json_object_del(m->meta, name);
}

static void split_gate_up(TinyModel *m) {
    for (int i = 0; i < 4; i++) {
        char name[96];
        snprintf(name, sizeof name, "blk.%d.ffn_gate_up_exps.weight", i);
        TinyTensor both = *tiny_get(m, name);
        uint64_t half = both.dims[1] / 2 * both.dims[2];
        snprintf(name, sizeof name, "blk.%d.ffn_gate_exps.weight", i);
        TinyTensor *gate = tiny_add(m, name, 3, both.dims[0], both.dims[1] / 2, both.dims[2]);
        for (uint64_t e = 0; e < both.dims[0]; e++) memcpy(gate->data + e * half, both.data + 2 * e * half, half * 4);
        snprintf(name, sizeof name, "blk.%d.ffn_up_exps.weight", i);
        TinyTensor *up = tiny_add(m, name, 3, both.dims[0], both.dims[1] / 2, both.dims[2]);
        for (uint64_t e = 0; e < both.dims[0]; e++) memcpy(up->data + e * half, both.data + (2 * e + 1) * half, half * 4);
        snprintf(name, sizeof name, "blk.%d.ffn_gate_up_exps.weight", i);
        tiny_remove(m, name);
    }
}

static void fused_attention(TinyModel *m) {
    TinyTensor q = *tiny_get(m, "blk.1.attn_q.weight"), k = *tiny_get(m, "blk.1.attn_k.weight"), v = *tiny_get(m, "blk.1.attn_v.weight");
    TinyTensor *t = tiny_add(m, "blk.1.attn_qkv.weight", 2, q.dims[0] + k.dims[0] + v.dims[0], q.dims[1], 0);
    memcpy(t->data, q.data, q.count * 4);
    memcpy(t->data + q.count, k.data, k.count * 4);
    memcpy(t->data + q.count + k.count, v.data, v.count * 4);
    tiny_remove(m, "blk.1.attn_q.weight");
    tiny_remove(m, "blk.1.attn_k.weight");
    tiny_remove(m, "blk.1.attn_v.weight");
}

static void shared_gate_as_vector(TinyModel *m) {
    TinyTensor *one = tiny_get(m, "blk.0.ffn_gate_inp_shexp.weight"), *two = tiny_get(m, "blk.1.ffn_gate_inp_shexp.weight");
    one->n_dims = 1;
    one->dims[0] = one->dims[1];
    one->dims[1] = 1;
    two->dims[0] = two->dims[1]; /* [H, 1], the other way round */
    two->dims[1] = 1;
}

static void per_layer_heads(TinyModel *m) {
    set_key(m, "full_attention_interval", NULL);
    set_key(m, "attention.head_count_kv", json_pack("[i, i, i, i]", 0, 2, 0, 2));
    set_key(m, "attention.head_count", json_pack("[i, i, i, i]", 0, 4, 0, 4));
    set_key(m, "rope.dimension_sections", json_pack("[i, i, i]", 1, 1, 0));
}

static void recurrent_list(TinyModel *m) {
    set_key(m, "full_attention_interval", json_integer(3)); /* the list decides */
    set_key(m, "attention.recurrent_layers", json_pack("[b, b, b, b]", 1, 0, 1, 0));
}

static void without_optional_keys(TinyModel *m) {
    static const char *const optional[] = {"full_attention_interval", "expert_feed_forward_length", "expert_shared_feed_forward_length"};
    for (size_t i = 0; i < COUNT_OF(optional); i++) set_key(m, optional[i], NULL);
}

static void draft_layer(TinyModel *m) {
    set_key(m, "block_count", json_integer(5));
    set_key(m, "nextn_predict_layers", json_integer(1));
    set_key(m, "attention.recurrent_layers", json_pack("[b, b, b, b, b]", 1, 0, 1, 0, 0));
    tiny_add(m, "blk.4.attn_q.weight", 2, 3, 3, 0);
    tiny_add(m, "blk.4.nextn.eh_proj.weight", 2, 3, 3, 0);
    tiny_add(m, "v.blk.0.attn_q.weight", 2, 3, 3, 0);
}

static void scaled_by_one(TinyModel *m) {
    set_key(m, "rope.scaling.type", json_string("yarn"));
    set_key(m, "rope.scaling.factor", json_real(1));
    set_key(m, "expert_weights_norm", json_true());
    set_key(m, "attention.causal", json_true());
}

static void gguf_files_equal_the_folder(void **state) {
    (void)state;
    static const struct {
        const char *arch;
        void (*before)(TinyModel *); /* on the folder */
        void (*change)(TinyModel *); /* on the GGUF model */
    } rows[] = {
        {"qwen35moe", unchanged, unchanged}, {"qwen3next", unchanged, unchanged}, {"qwen3moe", unchanged, unchanged},
        {"qwen3next", tiny_interleave, unchanged}, {"qwen35moe", unchanged, split_gate_up},
        {"qwen3moe", unchanged, split_gate_up}, {"qwen35moe", unchanged, fused_attention}, {"qwen3moe", unchanged, fused_attention},
        {"qwen35moe", unchanged, shared_gate_as_vector}, {"qwen35moe", unchanged, per_layer_heads},
        {"qwen35moe", unchanged, recurrent_list}, {"qwen3next", unchanged, without_optional_keys},
        {"qwen35moe", unchanged, draft_layer}, {"qwen35moe", unchanged, scaled_by_one},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TinyModel *t = tiny_new(rows[i].arch);
        Opened folder = tiny_open(t);
        rows[i].before(t);
        TinyModel *g = tiny_to_gguf(t);
        rows[i].change(g);
        Opened file = tiny_open(g);
        assert_int_equal(file.model->shape.heads_tiled, strcmp(rows[i].arch, "qwen35moe") == 0);
        assert_same_model(&folder, &file, 1e-6f);
        model_close(&folder);
        model_close(&file);
        tiny_free(t);
        tiny_free(g);
    }
}

static void matrices_keep_the_type_of_the_file(void **state) {
    (void)state;
    static const char *const types[] = {"F32", "F16", "BF16", "Q8_0"};
    for (size_t i = 0; i < COUNT_OF(archs) * COUNT_OF(types); i++) {
        const MakeModel what = {.arch = archs[i / COUNT_OF(types)], .type = types[i % COUNT_OF(types)]};
        Opened o = model_open_or_fail(make_model(&what, "typed.gguf"));
        QuantType type;
        assert_true(quant_from_name(what.type, &type));
        assert_int_equal(o.model->embedding.type, type);
        assert_int_equal(o.model->layers[1].q.type, type);
        for (int p = 0; p < 3; p++) {
            const ModelMat *mat = &o.model->layers[0].expert[p];
            assert_int_equal(mat->type, type);
            assert_int_equal(mat->row_bytes, quant_row_bytes(type, mat->cols));
        }
        model_close(&o);
    }
}

static void a_tied_head_is_the_embedding(void **state) {
    (void)state;
    TinyModel *t = tiny_new("qwen35moe");
    TinyModel *g = tiny_to_gguf(t);
    Opened untied = tiny_open(g);
    tiny_remove(g, "output.weight");
    Opened file = tiny_open(g);
    assert_ptr_equal(file.model->head.data, file.model->embedding.data);
    assert_int_equal(file.model->head.rows, file.model->shape.vocab);
    assert_true(file.model->dense_bytes < untied.model->dense_bytes);
    tiny_remove(t, "lm_head.weight");
    Err err = {0};
    Opened none = model_try(tiny_write(t), &err);
    assert_null(none.model);
    assert_non_null(strstr(err.text, "lm_head.weight"));
    json_object_set_new(t->meta, "tie_word_embeddings", json_true());
    Opened folder = tiny_open(t);
    assert_same_model(&folder, &file, 1e-6f);
    model_close(&untied);
    model_close(&file);
    model_close(&folder);
    tiny_free(t);
    tiny_free(g);
}

/* ---- the words around the network ---- */

static void stop_tokens_are_the_union(void **state) {
    (void)state;
    TinyModel *t = tiny_new("qwen35moe"), *g = tiny_to_gguf(t);
    json_object_set_new(g->meta, "tokenizer.ggml.eot_token_id", json_integer(4));
    json_object_set_new(g->meta, "tokenizer.ggml.eom_token_id", json_integer(4294967295)); /* none */
    json_object_set_new(g->meta, "tokenizer.ggml.eos_token_ids", json_pack("[i, i]", 3, 2));
    json_object_set_new(g->meta, "tokenizer.ggml.bos_token_id", json_integer(1));
    json_object_set_new(g->meta, "general.sampling.temp", json_real(0.5));
    json_object_set_new(g->meta, "general.sampling.top_k", json_integer(7));
    Opened o = tiny_open(g);
    const int32_t want[] = {3, 2, 4};
    assert_int_equal(o.model->n_stop_ids, 3);
    assert_memory_equal(o.model->stop_ids, want, sizeof want);
    assert_int_equal(o.model->bos_id, 1);
    assert_true(o.model->sampling.temperature == 0.5f);
    assert_int_equal(o.model->sampling.top_k, 7);
    assert_true(isnan(o.model->sampling.top_p) && o.model->sampling.do_sample);
    model_close(&o);

    t->generation = json_pack("{s:[i, i], s:i, s:f, s:b, s:i}", "eos_token_id", 5, 3, "bos_token_id", 2, "top_p", 0.25, "do_sample", 0,
                              "top_k", 0);
    o = tiny_open(t); /* config.json says 3 */
    const int32_t want_folder[] = {5, 3};
    assert_int_equal(o.model->n_stop_ids, 2);
    assert_memory_equal(o.model->stop_ids, want_folder, sizeof want_folder);
    assert_int_equal(o.model->bos_id, 2);
    assert_true(o.model->sampling.top_p == 0.25f && isnan(o.model->sampling.temperature) && !o.model->sampling.do_sample);
    assert_null(o.model->tokenizer);
    assert_null(o.model->chat);
    assert_null(o.model->chat_error);
    model_close(&o);
    json_object_set_new(t->generation, "top_p", json_real(1.5));
    assert_refused(t, "top_p", "top_p");
    tiny_free(t);
    tiny_free(g);
}

/* Special and added tokens are found in text as what they are; "ab" is merged; a letter and its accent become one. */
static void a_gguf_tokenizer_knows_its_tokens(void **state) {
    (void)state;
    TinyModel *t = tiny_new("qwen35moe"), *g = tiny_to_gguf(t);
    json_object_set_new(g->meta, "tokenizer.ggml.tokens",
                        json_pack("[s, s, s, s, s, s, s]", "a", "b", "ab", "<|im_end|>", "<think>", "\u00c3", "\u00a9"));
    json_object_set_new(g->meta, "tokenizer.ggml.token_type", json_pack("[i, i, i, i, i, i, i]", 1, 1, 1, 3, 4, 1, 1));
    Opened o = tiny_open(g);
    static const char text[] = "ab<think>ba<|im_end|>e\xCC\x81"; /* e and a combining acute are the bytes C3 A9 together */
    const int32_t want[] = {2, 4, 1, 0, 3, 5, 6};
    TextIds ids = {0};
    Err err = {0};
    assert_int_equal(text_encode(o.model->tokenizer, text, sizeof text - 1, 0, &ids, &err), ERR_OK);
    assert_int_equal(ids.n, COUNT_OF(want));
    assert_memory_equal(ids.ids, want, sizeof want);
    assert_true(text_token_is_special(o.model->tokenizer, 3));
    assert_false(text_token_is_special(o.model->tokenizer, 4));
    text_ids_free(&ids);
    model_close(&o);
    tiny_free(t);
    tiny_free(g);
}

/* The mark in b + U+0301 belongs to the letter in Qwen3.5 and begins a piece of its own in Qwen2. */
static void the_split_is_that_of_the_file(void **state) {
    (void)state;
    static const int32_t want[2][3] = {{4, 3}, {1, 2, 3}}; /* joined; apart */
    for (int i = 0; i < 2; i++) {
        TinyModel *t = tiny_new(archs[i]), *g = tiny_to_gguf(t);
        json_object_set_new(g->meta, "tokenizer.ggml.tokens",
                            json_pack("[s, s, s, s, s]", "<|im_end|>", "b", "\u00cc", "\u0123", "b\u00cc"));
        json_object_set_new(g->meta, "tokenizer.ggml.token_type", json_pack("[i, i, i, i, i]", 3, 1, 1, 1, 1));
        json_object_set_new(g->meta, "tokenizer.ggml.merges", json_pack("[s]", "b \u00cc"));
        Opened o = tiny_open(g);
        TextIds ids = {0};
        Err err = {0};
        assert_int_equal(text_encode(o.model->tokenizer, "b\xCC\x81", 3, 0, &ids, &err), ERR_OK);
        assert_int_equal(ids.n, 2 + i);
        assert_memory_equal(ids.ids, want[i], ids.n * sizeof *ids.ids);
        text_ids_free(&ids);
        model_close(&o);
        tiny_free(t);
        tiny_free(g);
    }
}

static void norm_topk_prob_follows_the_reference(void **state) {
    (void)state;
    static const bool when_absent[] = {true, true, false}, when_false[] = {true, false, false};
    for (size_t i = 0; i < COUNT_OF(archs); i++) {
        TinyModel *t = tiny_new(archs[i]), *g = tiny_to_gguf(t);
        json_object_del(t->meta, "norm_topk_prob");
        Opened o = tiny_open(t);
        assert_int_equal(o.model->shape.norm_topk, when_absent[i]);
        model_close(&o);
        json_object_set_new(t->meta, "norm_topk_prob", json_false());
        o = tiny_open(t);
        assert_int_equal(o.model->shape.norm_topk, when_false[i]);
        model_close(&o);
        set_key(g, "expert_weights_norm", json_false());
        o = tiny_open(g);
        assert_false(o.model->shape.norm_topk);
        model_close(&o);
        tiny_free(t);
        tiny_free(g);
    }
}

static void an_unusable_template_is_kept_as_a_reason(void **state) {
    (void)state;
    TinyModel *t = tiny_new("qwen35moe"), *g = tiny_to_gguf(t);
    json_object_set_new(g->meta, "tokenizer.chat_template", json_string("{% no_such_statement %}"));
    Opened o = tiny_open(g);
    assert_null(o.model->chat);
    assert_non_null(o.model->chat_error);
    assert_non_null(strstr(o.model->chat_error, "no_such_statement"));
    model_close(&o);
    json_object_set_new(g->meta, "tokenizer.chat_template", json_string("{{ messages[0].content }}"));
    o = tiny_open(g);
    assert_non_null(o.model->chat);
    assert_null(o.model->chat_error);
    model_close(&o);
    tiny_free(t);
    tiny_free(g);
}

/* A folder's tokenizer_config.json may hold several templates, and names tokens by their text. */
static void a_folder_brings_its_words(void **state) {
    (void)state;
    TinyModel *t = tiny_new("qwen35moe");
    const char *folder = tiny_write(t);
    write_text(folder, "tokenizer.json",
               "{\"added_tokens\": [{\"id\": 2, \"content\": \"<|x|>\", \"special\": true}],"
               "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1}, \"merges\": []},"
               "\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}}");
    write_text(folder, "tokenizer_config.json",
               "{\"eos_token\": {\"content\": \"<|x|>\"}, \"bos_token\": \"<|x|>\","
               "\"model_max_length\": 1000000000000000019884624838656, \"chat_template\":"
               "[{\"name\": \"tools\", \"template\": \"{% no\"}, {\"name\": \"default\", \"template\": \"hello\"}]}");
    Opened o = model_open_or_fail(folder);
    const int32_t want[] = {3, 2};
    assert_int_equal(o.model->n_stop_ids, 2);
    assert_memory_equal(o.model->stop_ids, want, sizeof want);
    assert_int_equal(o.model->bos_id, 2);
    assert_non_null(o.model->chat);
    model_close(&o);
    write_text(folder, "tokenizer_config.json", "{\"eos_token\": ");
    Err err = {0};
    o = model_try(folder, &err);
    assert_null(o.model);
    assert_non_null(strstr(err.text, "tokenizer_config.json, line 1"));
    tiny_free(t);
}

/* ---- loading ---- */

static const DiskConfig buffered = {.backend = DISK_THREADS, .direct = DISK_DIRECT_OFF, .retries = -1};

static bool count_and_stop(void *user, uint64_t done, uint64_t total) {
    uint64_t *calls = user;
    assert_true(done <= total && done > 0);
    return ++*calls < 3;
}

static void loading_can_be_interrupted(void **state) {
    (void)state;
    TinyModel *t = tiny_new("qwen3next");
    Opened o = tiny_open(t);
    Err err = {0};
    uint64_t calls = 0;
    ModelLoad how = {.buffer_bytes = 1, .progress = count_and_stop, .user = &calls};
    assert_int_equal(load_dense_from(o.model, o.pages, &buffered, &how, &err), ERR_INTERRUPTED);
    assert_int_equal(calls, 3);
    model_close(&o);
    tiny_free(t);
}

/* The last byte of the last matrix or vector is the last of dense_bytes. */
static void dense_bytes_is_exact(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(archs); i++) {
        TinyModel *t = tiny_new(archs[i]);
        Opened o = tiny_open(t);
        const ModelShape *s = &o.model->shape;
        const ModelLayer *last = &o.model->layers[s->n_layers - 1];
        const ModelMat *end = s->shared_inner ? &last->shared_router : &last->router;
        assert_ptr_equal(end->data + end->rows * end->row_bytes, o.pages + o.model->dense_bytes);
        model_close(&o);
        tiny_free(t);
    }
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    TinyModel *t = tiny_new("qwen3next"), *g = tiny_to_gguf(t);
    tiny_interleave(t);
    tiny_split_experts(t);
    const char *paths[] = {tiny_write(t), tiny_write(g)};
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        Err err = {0};
        FormatModel *f = format_open(paths[i], &err);
        assert_non_null(f);
        Model *m = NULL;
        uint64_t n = 0;
        while (!m && n < 100000) {
            err = (Err){0};
            mem_fail_after(++n);
            m = model_new(f, &err);
            mem_fail_after(0);
            if (!m) assert_int_equal(err.code, ERR_MEMORY);
        }
        assert_non_null(m);
        assert_true(n > 5);
        uint8_t *pages = aligned_alloc(64, align_up(m->dense_bytes, 64));
        os_pages_fail_after(1);
        assert_int_equal(load_dense_from(m, pages, &buffered, &(ModelLoad){0}, &err), ERR_MEMORY);
        os_pages_fail_after(0);
        assert_int_equal(load_dense(m, pages, &err), ERR_OK);
        free(pages);
        model_free(m);
        format_close(f);
    }
    tiny_free(t);
    tiny_free(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_is_read_as_it_stands),
        cmocka_unit_test(a_mixer_tells_what_it_is),
        cmocka_unit_test(folders_of_one_model_are_equal),
        cmocka_unit_test(gguf_files_equal_the_folder),
        cmocka_unit_test(matrices_keep_the_type_of_the_file),
        cmocka_unit_test(a_tied_head_is_the_embedding),
        cmocka_unit_test(stop_tokens_are_the_union),
        cmocka_unit_test(a_gguf_tokenizer_knows_its_tokens),
        cmocka_unit_test(the_split_is_that_of_the_file),
        cmocka_unit_test(norm_topk_prob_follows_the_reference),
        cmocka_unit_test(an_unusable_template_is_kept_as_a_reason),
        cmocka_unit_test(a_folder_brings_its_words),
        cmocka_unit_test(loading_can_be_interrupted),
        cmocka_unit_test(dense_bytes_is_exact),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return RUN_TESTS(tests);
}
