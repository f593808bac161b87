/* What would change the answer, or is broken, is refused with a sentence that names the culprit: a key, a tensor, an element. */
#include "support/make_model.h"
#include "support/same_model.h"
#include "support/support.h"
#include "support/tiny_model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const archs[] = {"qwen35moe", "qwen3next", "qwen3moe"};

/* One value of config.json changed; value NULL: removed. The sentence must name the key. */
static void broken_configs_name_the_key(void **state) {
    (void)state;
    static const struct {
        const char *arch, *key, *value, *words; /* words NULL: the key */
    } rows[] = {
        {"qwen35moe", "num_hidden_layers", "0", NULL}, {"qwen35moe", "num_hidden_layers", "100000", NULL},
        {"qwen35moe", "num_hidden_layers", "4000", NULL}, {"qwen35moe", "num_hidden_layers", "5", "model.layers.4."},
        {"qwen35moe", "num_hidden_layers", "3", "model.layers.3."}, {"qwen35moe", "num_hidden_layers", "2.5", NULL},
        {"qwen35moe", "num_hidden_layers", "\"4\"", NULL}, {"qwen35moe", "hidden_size", NULL, NULL},
        {"qwen35moe", "hidden_size", "-8", NULL}, {"qwen35moe", "hidden_size", "1e300", NULL},
        {"qwen35moe", "hidden_size", "16", "[20, 16]"},
        {"qwen35moe", "vocab_size", "21", "model.embed_tokens.weight"}, {"qwen35moe", "max_position_embeddings", "0", NULL},
        {"qwen35moe", "num_attention_heads", "5", NULL}, {"qwen35moe", "num_attention_heads", "0", NULL},
        {"qwen35moe", "num_attention_heads", "8", "q_proj"}, {"qwen35moe", "num_key_value_heads", "3", NULL},
        {"qwen35moe", "num_key_value_heads", "1", "k_proj"}, {"qwen35moe", "head_dim", "7", "q_proj"},
        {"qwen35moe", "head_dim", "2", "partial_rotary_factor"}, {"qwen35moe", "head_dim", "16385", NULL},
        {"qwen35moe", "partial_rotary_factor", "0.5", NULL}, {"qwen35moe", "partial_rotary_factor", "1.5", NULL},
        {"qwen35moe", "partial_rotary_factor", "0", NULL}, {"qwen35moe", "partial_rotary_factor", "\"x\"", NULL},
        {"qwen35moe", "rope_theta", NULL, NULL}, {"qwen35moe", "rope_theta", "0", NULL}, {"qwen35moe", "rope_theta", "-1e6", NULL},
        {"qwen35moe", "rope_parameters", "{\"rope_theta\": 5000000.0}", "rope_theta stands there twice"},
        {"qwen35moe", "rope_parameters", "{\"rope_type\": \"yarn\", \"factor\": 4.0}", "'yarn'"},
        {"qwen35moe", "rope_scaling", "{\"type\": \"linear\", \"factor\": 2.0}", "'linear'"},
        {"qwen35moe", "rope_scaling", "{\"rope_type\": \"longrope\", \"factor\": 1.0}", "'longrope'"},
        {"qwen35moe", "rope_scaling", "7", NULL}, {"qwen35moe", "rms_norm_eps", NULL, NULL}, {"qwen35moe", "rms_norm_eps", "0", NULL},
        {"qwen35moe", "attention_bias", "true", NULL}, {"qwen35moe", "attention_bias", "1", NULL},
        {"qwen3moe", "use_sliding_window", "true", NULL}, {"qwen35moe", "attn_output_gate", "false", NULL},
        {"qwen35moe", "hidden_act", "\"gelu\"", "hidden_act is 'gelu'"}, {"qwen3moe", "hidden_act", "3", NULL},
        {"qwen3moe", "decoder_sparse_step", "2", NULL}, {"qwen3moe", "decoder_sparse_step", "0", NULL},
        {"qwen3moe", "mlp_only_layers", "[1]", NULL}, {"qwen3moe", "mlp_only_layers", "1", NULL},
        {"qwen35moe", "num_experts", "0", NULL}, {"qwen35moe", "num_experts", "4", "mlp.gate.weight"},
        {"qwen35moe", "num_experts_per_tok", "4", NULL}, {"qwen35moe", "num_experts_per_tok", "0", NULL},
        {"qwen35moe", "moe_intermediate_size", "8", "experts"}, {"qwen35moe", "moe_intermediate_size", NULL, NULL},
        {"qwen35moe", "shared_expert_intermediate_size", "0", NULL}, {"qwen35moe", "linear_num_key_heads", "3", NULL},
        {"qwen35moe", "linear_num_value_heads", "0", NULL}, {"qwen35moe", "linear_num_value_heads", "6", "in_proj_qkv"},
        {"qwen35moe", "linear_key_head_dim", "4", "in_proj_qkv"}, {"qwen35moe", "linear_value_head_dim", NULL, NULL},
        {"qwen35moe", "linear_conv_kernel_dim", "3", "conv1d"}, {"qwen35moe", "linear_conv_kernel_dim", "65", NULL},
        {"qwen35moe", "full_attention_interval", "0", NULL}, {"qwen35moe", "full_attention_interval", "4", "model.layers.1.linear_attn"},
        {"qwen35moe", "full_attention_interval", NULL, "model.layers.1.linear_attn"}, /* then it is 4 */
        {"qwen35moe", "layer_types", "[\"full_attention\"]", NULL},
        {"qwen35moe", "layer_types",
         "[\"linear_attention\",\"sliding_attention\",\"linear_attention\",\"full_attention\"]", "'sliding_attention'"},
        {"qwen3moe", "layer_types",
         "[\"full_attention\",\"linear_attention\",\"full_attention\",\"full_attention\"]", "'linear_attention'"},
        {"qwen3moe", "norm_topk_prob", "\"yes\"", NULL}, {"qwen35moe", "model_type", "\"llama\"", "qwen3_5_moe, qwen3_next and qwen3_moe"},
        {"qwen35moe", "model_type", NULL, "model_type"}, {"qwen35moe", "text_config", "3", NULL},
        {"qwen35moe", "quantization_config", "{\"quant_method\": \"fp8\"}", "fp8"}, {"qwen35moe", "eos_token_id", "20", NULL},
        {"qwen35moe", "eos_token_id", "[3, \"x\"]", NULL}, {"qwen35moe", "bos_token_id", "1.5", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TinyModel *t = tiny_new(rows[i].arch);
        if (rows[i].value)
            json_object_set_new(t->meta, rows[i].key, json_loads(rows[i].value, JSON_DECODE_ANY, NULL));
        else
            json_object_del(t->meta, rows[i].key);
        assert_refused(t, rows[i].key, rows[i].words ? rows[i].words : rows[i].key);
        tiny_free(t);
    }
}

static void broken_keys_are_named(void **state) {
    (void)state;
    static const struct {
        const char *arch, *key, *value, *words;
    } rows[] = {
        {"qwen35moe", "@block_count", "0", NULL}, {"qwen35moe", "@block_count", NULL, NULL}, {"qwen35moe", "@block_count", "4000", NULL},
        {"qwen35moe", "@block_count", "3", "blk.3."}, {"qwen35moe", "@block_count", "[4]", NULL},
        {"qwen35moe", "@block_count", "\"4\"", NULL},
        {"qwen35moe", "@nextn_predict_layers", "4", NULL}, {"qwen35moe", "@nextn_predict_layers", "\"1\"", NULL},
        {"qwen35moe", "@context_length", NULL, NULL}, {"qwen35moe", "@embedding_length", "9", "token_embd.weight"},
        {"qwen35moe", "@attention.head_count", "0", NULL}, {"qwen35moe", "@attention.head_count", "3", NULL},
        {"qwen35moe", "@attention.head_count_kv", "3", NULL}, {"qwen35moe", "@attention.head_count_kv", "[0, 2, 0, 4]", "differs"},
        {"qwen35moe", "@attention.head_count_kv", "[0, 2]", NULL}, {"qwen35moe", "@attention.head_count_kv", "[0, 0, 0, 0]", NULL},
        {"qwen35moe", "@attention.head_count_kv", "[0, 2, 0, 0]", "layer 3"},
        {"qwen35moe", "@attention.head_count_kv", "[\"a\", \"b\", \"c\", \"d\"]", NULL},
        {"qwen35moe", "@attention.key_length", "5", "value_length"}, {"qwen35moe", "@attention.value_length", "5", NULL},
        {"qwen35moe", "@attention.layer_norm_rms_epsilon", NULL, NULL}, {"qwen35moe", "@rope.freq_base", NULL, NULL},
        {"qwen35moe", "@rope.freq_base", "0.0", NULL}, {"qwen35moe", "@rope.dimension_count", NULL, NULL},
        {"qwen35moe", "@rope.dimension_count", "3", NULL}, {"qwen35moe", "@rope.dimension_count", "8", NULL},
        {"qwen3moe", "@rope.dimension_count", "5", NULL}, {"qwen35moe", "@rope.scaling.type", "\"yarn\"", NULL},
        {"qwen35moe", "@rope.scaling.factor", "4.0", NULL}, {"qwen35moe", "@rope.scaling.type", "\"longrope\"", "longrope"},
        {"qwen35moe", "@attention.recurrent_layers", "[true, false]", NULL},
        {"qwen35moe", "@attention.recurrent_layers", "[false, false, true, false]", "blk.0.attn_q"},
        {"qwen35moe", "@full_attention_interval", "3", "blk.1.attn_qkv"},
        {"qwen35moe", "@expert_count", NULL, NULL}, {"qwen35moe", "@expert_used_count", "4", NULL},
        {"qwen35moe", "@expert_weights_norm", "2", NULL}, {"qwen35moe", "@expert_weights_scale", "2.5", NULL},
        {"qwen35moe", "@expert_gating_func", "2", NULL}, {"qwen35moe", "@attention.sliding_window", "512", NULL},
        {"qwen35moe", "@ssm.inner_size", "21", NULL}, {"qwen35moe", "@ssm.group_count", "3", NULL},
        {"qwen35moe", "@ssm.state_size", NULL, NULL},
        {"qwen35moe", "@ssm.time_step_rank", "2", "blk.0."}, {"qwen35moe", "@ssm.conv_kernel", "3", "ssm_conv1d"},
        {"qwen35moe", "general.architecture", "\"llama\"", "qwen35moe, qwen3next and qwen3moe"},
        {"qwen35moe", "general.architecture", "7", "general.architecture"},
        {"qwen35moe", "tokenizer.ggml.model", "\"llama\"", NULL}, {"qwen35moe", "tokenizer.ggml.pre", "\"llama-bpe\"", "llama-bpe"},
        {"qwen35moe", "tokenizer.ggml.pre", NULL, "tokenizer.ggml.pre"}, {"qwen35moe", "tokenizer.ggml.merges", NULL, NULL},
        {"qwen35moe", "tokenizer.ggml.merges", "[\"ab\"]", NULL}, {"qwen35moe", "tokenizer.ggml.merges", "[\" b\"]", NULL},
        {"qwen35moe", "tokenizer.ggml.merges", "[\"a \"]", NULL}, {"qwen35moe", "tokenizer.ggml.token_type", "[1, 1]", NULL},
        {"qwen35moe", "tokenizer.ggml.token_type", NULL, NULL}, {"qwen35moe", "tokenizer.ggml.token_type", "[1, 1, 1, 3, 9]", NULL},
        {"qwen35moe", "tokenizer.ggml.eos_token_id", "20", NULL}, {"qwen35moe", "tokenizer.ggml.eos_token_id", "\"x\"", NULL},
        {"qwen35moe", "tokenizer.chat_template", "5", NULL}, {"qwen35moe", "general.sampling.temp", "-1.0", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TinyModel *t = tiny_new(rows[i].arch), *g = tiny_to_gguf(t);
        char key[96];
        bool own = rows[i].key[0] == '@';
        snprintf(key, sizeof key, "%s%s%s", own ? rows[i].arch : "", own ? "." : "", rows[i].key + own);
        if (rows[i].value)
            json_object_set_new(g->meta, key, json_loads(rows[i].value, JSON_DECODE_ANY, NULL));
        else
            json_object_del(g->meta, key);
        assert_refused(g, key, rows[i].words ? rows[i].words : rows[i].key + own);
        tiny_free(t);
        tiny_free(g);
    }
}

static void too_many_tokens_are_refused(void **state) {
    (void)state;
    TinyModel *t = tiny_new("qwen35moe"), *g = tiny_to_gguf(t);
    json_t *tokens = json_object_get(g->meta, "tokenizer.ggml.tokens");
    for (int i = 0; i < 20; i++) json_array_append_new(tokens, json_sprintf("t%d", i));
    assert_refused(g, "25 tokens", "tokenizer.ggml.tokens");
    tiny_free(t);
    tiny_free(g);
}

static void lost_and_found_tensors_are_named(void **state) {
    (void)state;
    static const char *const kinds[] = {"gguf", "folder"};
    for (size_t k = 0; k < COUNT_OF(kinds); k++)
        for (size_t a = 0; a < COUNT_OF(archs); a++) {
            TinyModel *whole = tiny_new(archs[a]), *file = k == 0 ? tiny_to_gguf(whole) : NULL;
            size_t n = file ? file->n : whole->n;
            for (size_t i = 0; i < n; i++) { /* every tensor is needed, except an output head in GGUF */
                TinyModel *t = tiny_new(archs[a]), *m = k == 0 ? tiny_to_gguf(t) : t;
                char name[96];
                snprintf(name, sizeof name, "%s", m->tensors[i].name);
                tiny_remove(m, name);
                char *form = strstr(name, k == 0 ? "gate_up" : "experts."); /* the sentence names another form of it */
                if (form) *form = 0;
                if (strcmp(name, "output.weight") != 0) assert_refused(m, name, name);
                if (m != t) tiny_free(m);
                tiny_free(t);
            }
            tiny_free(whole);
            tiny_free(file);
        }
    TinyModel *t = tiny_new("qwen3next"), *g = tiny_to_gguf(t);
    tiny_add(g, "blk.1.attn_q.bias", 1, 4, 0, 0);
    assert_refused(g, "a bias", "blk.1.attn_q.bias");
    tiny_rename(g, "blk.1.attn_q.bias", "blk.4.attn_q.weight"); /* behind the trunk, but no draft layer was announced */
    assert_refused(g, "a layer too many", "blk.4.attn_q.weight");
    tiny_rename(g, "blk.4.attn_q.weight", "rope_freqs.weight");
    assert_refused(g, "rope factors", "rope_freqs.weight");
    tiny_add(t, "model.layers.0.mlp.gate.e_score_correction_bias", 1, 3, 0, 0);
    assert_refused(t, "a router bias", "e_score_correction_bias");
    tiny_free(t);
    tiny_free(g);
    t = tiny_new("qwen3next");
    tiny_interleave(t);
    tiny_add(t, "model.layers.0.linear_attn.in_proj_qkv.weight", 2, 4, 8, 0);
    assert_refused(t, "both forms", "in_proj_qkv.weight");
    tiny_free(t);
    t = tiny_new("qwen35moe"); /* must not be taken for the interleaved form: the heads of this architecture are not grouped so */
    tiny_interleave(t);
    assert_refused(t, "interleaved 3.5", "in_proj_qkv.weight");
    tiny_free(t);
}

static void wrong_shapes_show_both(void **state) {
    (void)state;
    TinyModel *t = tiny_new("qwen35moe");
    TinyTensor *q = tiny_get(t, "model.layers.1.self_attn.q_proj.weight");
    q->dims[0] = 8; /* transposed: as many elements */
    q->dims[1] = 48;
    assert_refused(t, "transposed", "has the shape [8, 48], but the model's numbers ask for [48, 8]");
    tiny_free(t);
    t = tiny_new("qwen35moe");
    TinyTensor *conv = tiny_get(t, "model.layers.0.linear_attn.conv1d.weight");
    conv->dims[1] = conv->dims[2];
    conv->dims[2] = 1;
    assert_refused(t, "MLX", "MLX");
    tiny_free(t);
    t = tiny_new("qwen3moe");
    tiny_split_experts(t);
    tiny_get(t, "model.layers.2.mlp.experts.1.down_proj.weight")->dims[0] = 7;
    tiny_get(t, "model.layers.2.mlp.experts.1.down_proj.weight")->dims[1] = 8;
    assert_refused(t, "an expert", "model.layers.2.mlp.experts.1.down_proj.weight");
    tiny_free(t);
}

static void broken_weights_are_named(void **state) {
    (void)state;
    TinyModel *t = tiny_new("qwen35moe");
    tiny_get(t, "model.layers.1.self_attn.o_proj.weight")->data[17] = NAN;
    assert_refused(t, "a NaN in a matrix", "element 17 of the tensor model.layers.1.self_attn.o_proj.weight");
    tiny_free(t);
    t = tiny_new("qwen35moe");
    tiny_get(t, "model.norm.weight")->data[3] = INFINITY;
    assert_refused(t, "an infinity in a norm", "element 3 of the tensor model.norm.weight");
    tiny_free(t);
    t = tiny_new("qwen3next");
    tiny_interleave(t);
    tiny_get(t, "model.layers.2.linear_attn.in_proj_qkvz.weight")->data[100] = -INFINITY;
    assert_refused(t, "an infinity in fused rows", "element 100 of the tensor model.layers.2.linear_attn.in_proj_qkvz.weight");
    tiny_free(t);
    t = tiny_new("qwen35moe");
    tiny_get(t, "model.layers.0.linear_attn.A_log")->data[1] = 500;
    assert_refused(t, "A_log too large", "element 1 of the tensor model.layers.0.linear_attn.A_log");
    TinyModel *g = tiny_to_gguf(t);
    tiny_get(g, "blk.0.ssm_a")->data[1] = -1;
    tiny_get(g, "blk.0.ssm_a")->data[2] = 0.5f; /* a converter that forgot -exp() */
    assert_refused(g, "a growing state", "blk.0.ssm_a");
    tiny_free(g);
    tiny_free(t);
}

/* Types that are no weights, rows that no block fits, and scales that are not finite. */
static void broken_types_are_named(void **state) {
    (void)state;
    MakeModel o = {.retype = "blk.0.attn_gate.weight", .retype_to = 26};
    assert_file_refused(make_model(&o, "integers.gguf"), "I32 weights", "blk.0.attn_gate.weight");
    o = (MakeModel){.type = "Q8_0", .poison = "blk.1.attn_output.weight", .poison_at = 70};
    assert_file_refused(make_model(&o, "poison.gguf"), "a NaN scale", "blk.1.attn_output.weight");
    o = (MakeModel){.type = "BF16", .poison = "token_embd.weight", .poison_at = 77};
    assert_file_refused(make_model(&o, "poison-bf16.gguf"), "a NaN in BF16", "element 77 of the tensor token_embd.weight");
    TinyModel *t = tiny_new("qwen3moe");
    tiny_split_experts(t);
    tiny_get(t, "model.layers.1.mlp.experts.2.up_proj.weight")->bf16 = true;
    assert_refused(t, "one expert in another type", "model.layers.1.mlp.experts.2.up_proj.weight (BF16) have different types");
    tiny_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_configs_name_the_key),
        cmocka_unit_test(broken_keys_are_named),
        cmocka_unit_test(too_many_tokens_are_refused),
        cmocka_unit_test(lost_and_found_tensors_are_named),
        cmocka_unit_test(wrong_shapes_show_both),
        cmocka_unit_test(broken_weights_are_named),
        cmocka_unit_test(broken_types_are_named),
    };
    return RUN_TESTS(tests);
}
