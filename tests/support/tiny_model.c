#include "support/tiny_model.h"
#include "support/gguf_writer.h"
#include "support/safetensors_writer.h"
#include "support/support.h"

#include "format/format.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    LAYERS = 4, HIDDEN = 8, VOCAB = 20, HEADS = 4, KV = 2, DIM = 6, ROTARY = 4, LIN_K = 2, LIN_V = 4, DK = 3, DV = 5, CONV = 4,
    EXPERTS = 3, TOP_K = 2, INNER = 7, SHARED = 9, R = LIN_V / LIN_K
};

/* ---- tensors ---- */

TinyTensor *tiny_add(TinyModel *m, const char *name, int n_dims, uint64_t d0, uint64_t d1, uint64_t d2) {
    if (m->n == m->cap) m->tensors = realloc(m->tensors, (m->cap = m->cap * 2 + 64) * sizeof *m->tensors);
    TinyTensor *t = &m->tensors[m->n++];
    *t = (TinyTensor){.n_dims = n_dims, .dims = {d0, n_dims > 1 ? d1 : 1, n_dims > 2 ? d2 : 1, 1}};
    snprintf(t->name, sizeof t->name, "%s", name);
    t->count = t->dims[0] * t->dims[1] * t->dims[2];
    t->data = calloc(t->count, sizeof(float));
    return t;
}

TinyTensor *tiny_get(TinyModel *m, const char *name) {
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->tensors[i].name, name) == 0) return &m->tensors[i];
    fail_msg("the tiny model has no tensor %s", name);
    return NULL;
}

void tiny_remove(TinyModel *m, const char *name) {
    TinyTensor *t = tiny_get(m, name);
    free(t->data);
    memmove(t, t + 1, (size_t)(m->tensors + m->n - (t + 1)) * sizeof *t);
    m->n--;
}

void tiny_rename(TinyModel *m, const char *from, const char *to) {
    TinyTensor *t = tiny_get(m, from);
    snprintf(t->name, sizeof t->name, "%s", to);
}

void tiny_free(TinyModel *m) {
    if (!m) return;
    for (size_t i = 0; i < m->n; i++) free(m->tensors[i].data);
    free(m->tensors);
    json_decref(m->meta);
    json_decref(m->generation);
    free(m);
}

/* Numbers in (-1, 1) that differ everywhere and are the same on every run. */
static void fill(TinyTensor *t) {
    static uint32_t state = 12345;
    for (uint64_t i = 0; i < t->count; i++) {
        state = state * 1664525u + 1013904223u;
        t->data[i] = (float)((int32_t)state >> 8) / 8388608.0f;
    }
}

/* ---- a Hugging Face folder ---- */

static void add(TinyModel *m, int layer, const char *suffix, int n_dims, uint64_t d0, uint64_t d1, uint64_t d2) {
    char name[96];
    snprintf(name, sizeof name, "model.layers.%d.%s", layer, suffix);
    fill(tiny_add(m, name, n_dims, d0, d1, d2));
}

static bool layer_is_linear(const TinyModel *m, int layer) { return strcmp(m->arch, "qwen3moe") != 0 && layer % 2 == 0; }

static void add_layer(TinyModel *m, int i) {
    bool moe = strcmp(m->arch, "qwen3moe") == 0;
    add(m, i, "input_layernorm.weight", 1, HIDDEN, 0, 0);
    if (layer_is_linear(m, i)) {
        add(m, i, "linear_attn.in_proj_qkv.weight", 2, 2 * LIN_K * DK + LIN_V * DV, HIDDEN, 0);
        add(m, i, "linear_attn.in_proj_z.weight", 2, LIN_V * DV, HIDDEN, 0);
        add(m, i, "linear_attn.in_proj_b.weight", 2, LIN_V, HIDDEN, 0);
        add(m, i, "linear_attn.in_proj_a.weight", 2, LIN_V, HIDDEN, 0);
        add(m, i, "linear_attn.conv1d.weight", 3, 2 * LIN_K * DK + LIN_V * DV, 1, CONV);
        add(m, i, "linear_attn.A_log", 1, LIN_V, 0, 0);
        add(m, i, "linear_attn.dt_bias", 1, LIN_V, 0, 0);
        add(m, i, "linear_attn.norm.weight", 1, DV, 0, 0);
        add(m, i, "linear_attn.out_proj.weight", 2, HIDDEN, LIN_V * DV, 0);
    } else {
        add(m, i, "self_attn.q_proj.weight", 2, HEADS * DIM * (moe ? 1 : 2), HIDDEN, 0);
        add(m, i, "self_attn.k_proj.weight", 2, KV * DIM, HIDDEN, 0);
        add(m, i, "self_attn.v_proj.weight", 2, KV * DIM, HIDDEN, 0);
        add(m, i, "self_attn.o_proj.weight", 2, HIDDEN, HEADS * DIM, 0);
        add(m, i, "self_attn.q_norm.weight", 1, DIM, 0, 0);
        add(m, i, "self_attn.k_norm.weight", 1, DIM, 0, 0);
    }
    add(m, i, "post_attention_layernorm.weight", 1, HIDDEN, 0, 0);
    add(m, i, "mlp.gate.weight", 2, EXPERTS, HIDDEN, 0);
    add(m, i, "mlp.experts.gate_up_proj", 3, EXPERTS, 2 * INNER, HIDDEN);
    add(m, i, "mlp.experts.down_proj", 3, EXPERTS, HIDDEN, INNER);
    if (moe) return;
    add(m, i, "mlp.shared_expert.gate_proj.weight", 2, SHARED, HIDDEN, 0);
    add(m, i, "mlp.shared_expert.up_proj.weight", 2, SHARED, HIDDEN, 0);
    add(m, i, "mlp.shared_expert.down_proj.weight", 2, HIDDEN, SHARED, 0);
    add(m, i, "mlp.shared_expert_gate.weight", 2, 1, HIDDEN, 0);
}

static json_t *make_config(const char *arch) {
    bool moe = strcmp(arch, "qwen3moe") == 0, next = strcmp(arch, "qwen3next") == 0;
    json_t *c = json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:f, s:f, s:f, s:b, s:b, s:i}",
                          "model_type", moe ? "qwen3_moe" : next ? "qwen3_next" : "qwen3_5_moe_text",
                          "hidden_size", HIDDEN, "num_hidden_layers", LAYERS, "vocab_size", VOCAB, "max_position_embeddings", 100,
                          "num_attention_heads", HEADS, "num_key_value_heads", KV, "head_dim", DIM, "num_experts", EXPERTS,
                          "num_experts_per_tok", TOP_K, "moe_intermediate_size", INNER, "hidden_act", "silu", "rms_norm_eps", 1e-6,
                          "rope_theta", 10000.0, "partial_rotary_factor", moe ? 1.0 : 0.7, "attention_bias", 0, "norm_topk_prob", 1,
                          "eos_token_id", 3);
    if (!moe)
        json_object_update_new(c, json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "linear_num_key_heads", LIN_K,
                                            "linear_num_value_heads", LIN_V, "linear_key_head_dim", DK, "linear_value_head_dim", DV,
                                            "linear_conv_kernel_dim", CONV, "shared_expert_intermediate_size", SHARED,
                                            "full_attention_interval", 2));
    return c;
}

TinyModel *tiny_new(const char *arch) {
    TinyModel *m = calloc(1, sizeof *m);
    snprintf(m->arch, sizeof m->arch, "%s", arch);
    m->meta = make_config(arch);
    fill(tiny_add(m, "model.embed_tokens.weight", 2, VOCAB, HIDDEN, 0));
    fill(tiny_add(m, "lm_head.weight", 2, VOCAB, HIDDEN, 0));
    fill(tiny_add(m, "model.norm.weight", 1, HIDDEN, 0, 0));
    for (int i = 0; i < LAYERS; i++) add_layer(m, i);
    return m;
}

static TinyTensor *at(TinyModel *m, int layer, const char *suffix) {
    char name[96];
    snprintf(name, sizeof name, "model.layers.%d.%s", layer, suffix);
    return tiny_get(m, name);
}

static void copy_row(TinyTensor *to, uint64_t row, const TinyTensor *from, uint64_t from_row) {
    uint64_t cols = from->dims[from->n_dims - 1];
    memcpy(to->data + row * cols, from->data + from_row * cols, cols * sizeof(float));
}

static void interleave_layer(TinyModel *m, int i) {
    char name[96];
    const int group = 2 * DK + 2 * R * DV;
    snprintf(name, sizeof name, "model.layers.%d.linear_attn.in_proj_qkvz.weight", i);
    TinyTensor *qkvz = tiny_add(m, name, 2, (uint64_t)(LIN_K * group), HIDDEN, 0);
    const TinyTensor *qkv = at(m, i, "linear_attn.in_proj_qkv.weight"), *z = at(m, i, "linear_attn.in_proj_z.weight");
    for (int row = 0; row < LIN_K * group; row++) {
        int g = row / group, in = row % group;
        const TinyTensor *from = in >= 2 * DK + R * DV ? z : qkv;
        int j = in < DK ? g * DK + in : in < 2 * DK ? LIN_K * DK + g * DK + in - DK
              : in < 2 * DK + R * DV ? 2 * LIN_K * DK + g * R * DV + in - 2 * DK : g * R * DV + in - 2 * DK - R * DV;
        copy_row(qkvz, (uint64_t)row, from, (uint64_t)j);
    }
    snprintf(name, sizeof name, "model.layers.%d.linear_attn.in_proj_ba.weight", i);
    TinyTensor *ba = tiny_add(m, name, 2, 2 * LIN_V, HIDDEN, 0);
    const TinyTensor *b = at(m, i, "linear_attn.in_proj_b.weight"), *a = at(m, i, "linear_attn.in_proj_a.weight");
    for (int h = 0; h < LIN_V; h++) {
        copy_row(ba, (uint64_t)(h / R * 2 * R + h % R), b, (uint64_t)h);
        copy_row(ba, (uint64_t)(h / R * 2 * R + R + h % R), a, (uint64_t)h);
    }
    static const char *const gone[] = {"qkv", "z", "b", "a"};
    for (size_t k = 0; k < COUNT_OF(gone); k++) {
        snprintf(name, sizeof name, "model.layers.%d.linear_attn.in_proj_%s.weight", i, gone[k]);
        tiny_remove(m, name);
    }
}

void tiny_interleave(TinyModel *hf) {
    for (int i = 0; i < LAYERS; i++)
        if (layer_is_linear(hf, i)) interleave_layer(hf, i);
}

void tiny_split_experts(TinyModel *hf) {
    char name[96];
    for (int i = 0; i < LAYERS; i++) {
        for (int e = 0; e < EXPERTS; e++) {
            snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%d.gate_proj.weight", i, e);
            TinyTensor *gate = tiny_add(hf, name, 2, INNER, HIDDEN, 0);
            memcpy(gate->data, at(hf, i, "mlp.experts.gate_up_proj")->data + e * 2 * INNER * HIDDEN, INNER * HIDDEN * sizeof(float));
            snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%d.up_proj.weight", i, e);
            TinyTensor *up = tiny_add(hf, name, 2, INNER, HIDDEN, 0);
            memcpy(up->data, at(hf, i, "mlp.experts.gate_up_proj")->data + (e * 2 + 1) * INNER * HIDDEN, INNER * HIDDEN * sizeof(float));
            snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%d.down_proj.weight", i, e);
            TinyTensor *down = tiny_add(hf, name, 2, HIDDEN, INNER, 0);
            memcpy(down->data, at(hf, i, "mlp.experts.down_proj")->data + e * INNER * HIDDEN, INNER * HIDDEN * sizeof(float));
        }
        snprintf(name, sizeof name, "model.layers.%d.mlp.experts.gate_up_proj", i);
        tiny_remove(hf, name);
        snprintf(name, sizeof name, "model.layers.%d.mlp.experts.down_proj", i);
        tiny_remove(hf, name);
    }
}

void tiny_prefix(TinyModel *hf, const char *prefix) {
    for (size_t i = 0; i < hf->n; i++) {
        char name[96];
        if (strncmp(hf->tensors[i].name, "model.", 6) != 0) continue;
        snprintf(name, sizeof name, "%s%s", prefix, hf->tensors[i].name + 6);
        snprintf(hf->tensors[i].name, sizeof name, "%s", name);
    }
}

/* ---- conversion to GGUF ---- */

static json_t *make_keys(const char *arch) {
    bool moe = strcmp(arch, "qwen3moe") == 0, next = strcmp(arch, "qwen3next") == 0;
    char keys[2048];
    snprintf(keys, sizeof keys,
             "{\"general.architecture\": \"%s\", \"@.block_count\": %d, \"@.context_length\": 100, \"@.embedding_length\": %d,"
             "\"@.attention.head_count\": %d, \"@.attention.head_count_kv\": %d, \"@.attention.key_length\": %d,"
             "\"@.attention.value_length\": %d, \"@.attention.layer_norm_rms_epsilon\": 1e-6, \"@.rope.freq_base\": 10000.0,"
             "\"@.expert_count\": %d, \"@.expert_used_count\": %d, \"@.expert_feed_forward_length\": %d,"
             "\"tokenizer.ggml.model\": \"gpt2\", \"tokenizer.ggml.pre\": \"%s\","
             "\"tokenizer.ggml.tokens\": [\"a\", \"b\", \"ab\", \"<|im_end|>\", \"<think>\"],"
             "\"tokenizer.ggml.token_type\": [1, 1, 1, 3, 4], \"tokenizer.ggml.merges\": [\"a b\"],"
             "\"tokenizer.ggml.eos_token_id\": 3",
             arch, LAYERS, HIDDEN, HEADS, KV, DIM, DIM, EXPERTS, TOP_K, INNER, moe || next ? "qwen2" : "qwen35");
    if (!moe)
        snprintf(keys + strlen(keys), sizeof keys - strlen(keys),
                 ", \"@.rope.dimension_count\": %d, \"@.ssm.conv_kernel\": %d, \"@.ssm.state_size\": %d, \"@.ssm.group_count\": %d,"
                 "\"@.ssm.time_step_rank\": %d, \"@.ssm.inner_size\": %d, \"@.full_attention_interval\": 2,"
                 "\"@.expert_shared_feed_forward_length\": %d",
                 ROTARY, CONV, DK, LIN_K, LIN_V, LIN_V * DV, SHARED);
    strcat(keys, "}");
    json_t *short_keys = json_loads(keys, 0, NULL), *out = json_object(), *value;
    const char *key;
    json_object_foreach(short_keys, key, value) {
        char name[96];
        snprintf(name, sizeof name, "%s%s", key[0] == '@' ? arch : "", key + (key[0] == '@'));
        json_object_set(out, name, value);
    }
    json_decref(short_keys);
    return out;
}

/* Where head h stands after conversion: GGUF's qwen35moe has head g * r + j at j * Hk + g. */
static uint64_t converted_head(const TinyModel *m, uint64_t h) {
    return strcmp(m->arch, "qwen35moe") == 0 ? h % R * LIN_K + h / R : h;
}

/* Copies rows, with those from `first` on seen as heads of `per_head` rows each (0: none are heads). */
static void convert_rows(const TinyModel *m, TinyTensor *to, const TinyTensor *from, uint64_t first, uint64_t per_head) {
    uint64_t cols = from->dims[from->n_dims - 1], rows = from->count / cols;
    for (uint64_t r = 0; r < rows; r++) {
        uint64_t h = per_head && r >= first ? (r - first) / per_head : 0;
        uint64_t target = per_head && r >= first ? first + converted_head(m, h) * per_head + (r - first) % per_head : r;
        memcpy(to->data + target * cols, from->data + r * cols, cols * sizeof(float));
    }
}

static void convert(TinyModel *out, const TinyTensor *from, int layer, const char *suffix) {
    static const struct {
        const char *hf, *gguf;
        char how; /* 'c'opy, '+' add one (not qwen3moe), 'h'eads of rows from first on, 'o'ut_proj's columns, 'A' -exp */
        uint64_t first, per_head;
    } rows[] = {
        {"input_layernorm.weight", "attn_norm.weight", '+', 0, 0},
        {"linear_attn.in_proj_qkv.weight", "attn_qkv.weight", 'h', 2 * LIN_K * DK, DV},
        {"linear_attn.in_proj_z.weight", "attn_gate.weight", 'h', 0, DV},
        {"linear_attn.in_proj_qkvz.weight", "ssm_in.weight", 'c', 0, 0},
        {"linear_attn.in_proj_b.weight", "ssm_beta.weight", 'h', 0, 1},
        {"linear_attn.in_proj_a.weight", "ssm_alpha.weight", 'h', 0, 1},
        {"linear_attn.in_proj_ba.weight", "ssm_ba.weight", 'c', 0, 0},
        {"linear_attn.conv1d.weight", "ssm_conv1d.weight", 'h', 2 * LIN_K * DK, DV},
        {"linear_attn.A_log", "ssm_a", 'A', 0, 0},
        {"linear_attn.dt_bias", "ssm_dt.bias", 'd', 0, 0},
        {"linear_attn.norm.weight", "ssm_norm.weight", 'c', 0, 0},
        {"linear_attn.out_proj.weight", "ssm_out.weight", 'o', 0, 0},
        {"self_attn.q_proj.weight", "attn_q.weight", 'c', 0, 0},
        {"self_attn.k_proj.weight", "attn_k.weight", 'c', 0, 0},
        {"self_attn.v_proj.weight", "attn_v.weight", 'c', 0, 0},
        {"self_attn.o_proj.weight", "attn_output.weight", 'c', 0, 0},
        {"self_attn.q_norm.weight", "attn_q_norm.weight", '+', 0, 0},
        {"self_attn.k_norm.weight", "attn_k_norm.weight", '+', 0, 0},
        {"post_attention_layernorm.weight", "post_attention_norm.weight", '+', 0, 0},
        {"mlp.gate.weight", "ffn_gate_inp.weight", 'c', 0, 0},
        {"mlp.experts.gate_up_proj", "ffn_gate_up_exps.weight", 'c', 0, 0},
        {"mlp.experts.down_proj", "ffn_down_exps.weight", 'c', 0, 0},
        {"mlp.shared_expert.gate_proj.weight", "ffn_gate_shexp.weight", 'c', 0, 0},
        {"mlp.shared_expert.up_proj.weight", "ffn_up_shexp.weight", 'c', 0, 0},
        {"mlp.shared_expert.down_proj.weight", "ffn_down_shexp.weight", 'c', 0, 0},
        {"mlp.shared_expert_gate.weight", "ffn_gate_inp_shexp.weight", 'c', 0, 0},
    };
    size_t i = 0;
    while (i < COUNT_OF(rows) && strcmp(rows[i].hf, suffix) != 0) i++;
    assert_true(i < COUNT_OF(rows));
    bool moe = strcmp(out->arch, "qwen3moe") == 0;
    char name[96];
    snprintf(name, sizeof name, "blk.%d.%s", layer, moe && strstr(suffix, "post_att") ? "ffn_norm.weight" : rows[i].gguf);
    TinyTensor *t = tiny_add(out, name, from->n_dims, from->dims[0], from->dims[1], from->dims[2]);
    if (strstr(suffix, "conv1d")) { /* squeezed */
        t->n_dims = 2;
        t->dims[1] = t->dims[2];
        t->dims[2] = 1;
    }
    convert_rows(out, t, from, rows[i].first, rows[i].how == 'h' ? rows[i].per_head : 0);
    for (uint64_t k = 0; k < t->count; k++) {
        if (rows[i].how == '+' && !moe) t->data[k] = from->data[k] + 1.0f;
        if (rows[i].how == 'A') t->data[converted_head(out, k)] = -expf(from->data[k]);
        if (rows[i].how == 'd') t->data[converted_head(out, k)] = from->data[k];
        if (rows[i].how == 'o') {
            uint64_t col = k % (LIN_V * DV), head = col / DV;
            t->data[k - col + converted_head(out, head) * DV + col % DV] = from->data[k];
        }
    }
}

TinyModel *tiny_to_gguf(const TinyModel *hf) {
    TinyModel *m = calloc(1, sizeof *m);
    memcpy(m->arch, hf->arch, sizeof m->arch);
    m->meta = make_keys(hf->arch);
    for (size_t i = 0; i < hf->n; i++) {
        const TinyTensor *t = &hf->tensors[i];
        int layer, used = 0;
        if (sscanf(t->name, "model.layers.%d.%n", &layer, &used) == 1 && used) {
            convert(m, t, layer, t->name + used);
            continue;
        }
        bool norm = strcmp(t->name, "model.norm.weight") == 0;
        const char *name = norm ? "output_norm.weight" : t->name[0] == 'l' ? "output.weight" : "token_embd.weight";
        TinyTensor *to = tiny_add(m, name, t->n_dims, t->dims[0], t->dims[1], t->dims[2]);
        for (uint64_t k = 0; k < t->count; k++) to->data[k] = t->data[k] + (norm && strcmp(m->arch, "qwen3moe") != 0 ? 1.0f : 0.0f);
    }
    return m;
}

/* ---- writing ---- */

static void write_text(const char *folder, const char *name, const json_t *value) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(json_dump_file(value, path, JSON_INDENT(1)), 0);
}

void tiny_write_folder(const TinyModel *hf, const char *folder) {
    char path[512];
    mkdir(folder, 0777);
    write_text(folder, "config.json", hf->meta);
    if (hf->generation) write_text(folder, "generation_config.json", hf->generation);
    FormatOut *out = calloc(hf->n, sizeof *out);
    uint16_t **halves = calloc(hf->n, sizeof *halves);
    for (size_t i = 0; i < hf->n; i++) {
        const TinyTensor *t = &hf->tensors[i];
        out[i] = (FormatOut){.name = t->name, .type = QUANT_F32, .n_dims = t->n_dims, .data = t->data};
        memcpy(out[i].dims, t->dims, sizeof t->dims);
        if (!t->bf16) continue;
        halves[i] = calloc(t->count, sizeof **halves);
        for (uint64_t k = 0; k < t->count; k++) halves[i][k] = quant_f32_to_bf16(t->data[k]);
        out[i].type = QUANT_BF16;
        out[i].data = halves[i];
    }
    Err err = {0};
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    if (write_safetensors(path, out, hf->n, &err) != ERR_OK) fail_msg("%s", err.text);
    for (size_t i = 0; i < hf->n; i++) free(halves[i]);
    free(halves);
    free(out);
}

static void put_array(GgufWriter *w, const char *key, const json_t *v) {
    const json_t *first = json_array_get(v, 0);
    const size_t n = json_array_size(v);
    static uint8_t truths[1024];
    static uint32_t numbers[1024];
    static const char *words[1024];
    assert_in_range(n, 1, 1024);
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(v, i);
        truths[i] = json_is_true(one);
        numbers[i] = (uint32_t)json_integer_value(one);
        words[i] = json_string_value(one);
    }
    if (json_is_string(first))
        gguf_strings(w, key, words, n);
    else if (json_is_boolean(first))
        gguf_array(w, key, FORMAT_BOOL, n, truths, n);
    else
        gguf_array(w, key, FORMAT_U32, n, numbers, n * sizeof numbers[0]);
}

void tiny_write_gguf(const TinyModel *gguf, const char *path) {
    GgufWriter w;
    gguf_begin(&w);
    const char *key;
    json_t *v;
    json_object_foreach(gguf->meta, key, v) {
        if (json_is_array(v))
            put_array(&w, key, v);
        else if (json_is_string(v))
            gguf_str(&w, key, json_string_value(v));
        else if (json_is_boolean(v))
            gguf_bool(&w, key, json_is_true(v));
        else if (json_is_real(v))
            gguf_f32(&w, key, (float)json_real_value(v));
        else
            gguf_u32(&w, key, (uint32_t)json_integer_value(v));
    }
    for (size_t i = 0; i < gguf->n; i++) {
        const TinyTensor *t = &gguf->tensors[i];
        uint64_t ne[4];
        for (int d = 0; d < t->n_dims; d++) ne[d] = t->dims[t->n_dims - 1 - d];
        gguf_tensor(&w, t->name, 0, t->n_dims, ne, t->data, t->count * sizeof(float));
    }
    Buf bytes = gguf_end(&w);
    assert_false(bytes.failed);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes.ptr, 1, bytes.len, f), bytes.len);
    assert_int_equal(fclose(f), 0);
    buf_free(&bytes);
}
