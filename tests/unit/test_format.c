/* The format room: small files written here, then every model of the reference data, against independent readers. */
#include "support/gguf_writer.h"
#include "support/safetensors_writer.h"
#include "support/support.h"

#include "format/format.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static FormatModel *opened(const char *path) {
    Err err = {0};
    FormatModel *m = format_open(path, &err);
    if (!m) print_error("%s\n", err.text);
    assert_non_null(m);
    return m;
}

static void refused(FormatModel *m, const Err *err, ErrCode code, const char *words) {
    assert_null(m);
    if (err->code != code || !strstr(err->text, words)) print_error("wanted '%s', got: %s\n", words, err->text);
    assert_int_equal(err->code, code);
    assert_non_null(strstr(err->text, words));
}

static const FormatTensor *tensor(const FormatModel *m, const char *name) {
    const FormatTensor *t = format_tensor(m, name);
    if (!t) print_error("%s: no tensor '%s'\n", m->path, name);
    assert_non_null(t);
    return t;
}

static void has_shape(const FormatTensor *t, int n_dims, const uint64_t *dims) {
    assert_int_equal(t->n_dims, n_dims);
    for (int i = 0; i < FORMAT_MAX_DIMS; i++) assert_int_equal(t->dims[i], i < n_dims ? dims[i] : 1);
}
#define HAS_SHAPE(t, ...) has_shape(t, (int)COUNT_OF(((uint64_t[]){__VA_ARGS__})), (uint64_t[]){__VA_ARGS__})

/* All elements as f32; the caller frees. */
static float *values(const FormatModel *m, const char *name, uint64_t *count) {
    const FormatTensor *t = tensor(m, name);
    uint64_t n = format_tensor_count(t);
    Err err = {0};
    void *raw = malloc(t->bytes);
    float *out = malloc(n * sizeof *out);
    assert_int_equal(format_read(m, t, 0, t->bytes, raw, &err), ERR_OK);
    quant_decode(t->type, raw, out, n);
    free(raw);
    if (count) *count = n;
    return out;
}

/* ---- GGUF written here ---- */

static Buf small_gguf(uint32_t version) {
    static const char *const tokens[] = {"a", "", "\xC3\xA9"};
    static const float f[] = {1.5f, -2, 3, 4, 5, 6};
    GgufWriter w;
    gguf_begin(&w);
    w.version = version;
    gguf_str(&w, "general.architecture", "toy");
    gguf_u32(&w, "toy.count", 42);
    gguf_i32(&w, "toy.minus", -7);
    gguf_f32(&w, "toy.eps", 0.5f);
    gguf_bool(&w, "toy.flag", true);
    gguf_strings(&w, "toy.tokens", tokens, 3);
    gguf_array(&w, "toy.sections", 5, 3, "\x0B\0\0\0\xFF\xFF\xFF\xFF\x0A\0\0\0", 12);
    gguf_array(&w, "toy.none", 4, 0, "", 0);
    gguf_array(&w, "toy.f64", 12, 1, "\0\0\0\0\0\0\xF0\x3F", 8);
    gguf_array(&w, "toy.i64", 11, 1, "\0\0\0\0\0\0\0\x80", 8);
    gguf_array(&w, "toy.u64", 10, 1, "\1\0\0\0\0\0\0\x80", 8);
    gguf_tensor(&w, "two.by.three", 0, 2, (uint64_t[]){3, 2}, f, sizeof f);
    gguf_tensor(&w, "vector", 0, 1, (uint64_t[]){6}, f, sizeof f);
    gguf_tensor(&w, "blocks", 8, 3, (uint64_t[]){32, 2, 1}, (uint8_t[68]){0}, 68);
    return gguf_end(&w);
}

static void check_small(const FormatModel *m) {
    uint64_t u = 0;
    double d = 0;
    Str s;
    assert_int_equal(m->kind, FORMAT_GGUF);
    assert_int_equal(m->n_keys, 11);
    assert_true(format_key_str(format_key(m, "general.architecture"), 0, &s) && str_eq_c(s, "toy"));
    assert_true(format_key_u64(format_key(m, "toy.count"), 0, &u) && u == 42);
    assert_false(format_key_u64(format_key(m, "toy.count"), 1, &u));
    assert_false(format_key_u64(format_key(m, "toy.minus"), 0, &u));
    assert_true(format_key_f64(format_key(m, "toy.minus"), 0, &d) && d == -7);
    assert_true(format_key_f64(format_key(m, "toy.eps"), 0, &d) && d == 0.5);
    assert_false(format_key_u64(format_key(m, "toy.eps"), 0, &u));
    assert_true(format_key_u64(format_key(m, "toy.flag"), 0, &u) && u == 1);
    const FormatKey *tokens = format_key(m, "toy.tokens");
    assert_true(tokens->is_array && tokens->kind == FORMAT_STRING && tokens->count == 3);
    assert_true(format_key_str(tokens, 2, &s) && str_eq_c(s, "\xC3\xA9"));
    assert_true(format_key_str(tokens, 1, &s) && s.len == 0);
    assert_false(format_key_str(tokens, 3, &s));
    assert_false(format_key_u64(tokens, 0, &u));
    assert_true(format_key_f64(format_key(m, "toy.sections"), 1, &d) && d == -1);
    assert_true(format_key_u64(format_key(m, "toy.sections"), 2, &u) && u == 10);
    assert_int_equal(format_key(m, "toy.none")->count, 0);
    assert_true(format_key_u64(format_key(m, "toy.f64"), 0, &u) && u == 1);
    assert_true(format_key_f64(format_key(m, "toy.i64"), 0, &d) && d == -0x1p63);
    assert_true(format_key_u64(format_key(m, "toy.u64"), 0, &u) && u == UINT64_C(0x8000000000000001));
    assert_false(format_key_f64(format_key(m, "toy.u64"), 0, &d)); /* not exact in a double */
    assert_null(format_key(m, "toy"));
    assert_null(format_tensor(m, "two"));
    assert_int_equal(m->n_tensors, 3);
    HAS_SHAPE(tensor(m, "two.by.three"), 2, 3);
    HAS_SHAPE(tensor(m, "blocks"), 1, 2, 32);
    assert_int_equal(tensor(m, "blocks")->bytes, 68);
    assert_int_equal(tensor(m, "blocks")->type, QUANT_Q8_0);
    float *v = values(m, "two.by.three", NULL);
    assert_true(v[0] == 1.5f && v[1] == -2 && v[5] == 6);
    free(v);
}

static void small_gguf_reads_back(void **state) {
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        Buf b = small_gguf(version);
        FormatModel *m = opened(write_temp("small.gguf", b.ptr, b.len));
        check_small(m);
        float one;
        Err err = {0};
        assert_int_equal(format_read(m, tensor(m, "vector"), 20, 4, &one, &err), ERR_OK);
        assert_true(one == 6);
        assert_int_equal(format_read(m, tensor(m, "vector"), 20, 5, &one, &err), ERR_RANGE);
        assert_int_equal(format_read(m, tensor(m, "vector"), UINT64_MAX, 5, &one, &err), ERR_RANGE);
        const FormatTensor *dropped = tensor(m, "vector");
        format_drop_cache(m, dropped->file, dropped->offset, dropped->bytes);
        format_drop_metadata(m);
        assert_null(format_key(m, "toy.count"));
        assert_int_equal(format_read(m, tensor(m, "vector"), 0, 4, &one, &err), ERR_OK);
        assert_true(one == 1.5f);
        format_close(m);
        buf_free(&b);
    }
}

static void embedded_gguf_reads_back(void **state) {
    (void)state;
    Buf b = small_gguf(3), whole = {0};
    buf_puts(&whole, "an odd number of bytes of something else");
    uint64_t offset = whole.len;
    buf_put(&whole, b.ptr, b.len);
    buf_puts(&whole, "and more behind");
    const char *path = write_temp("embedded.bin", whole.ptr, whole.len);
    Err err = {0};
    FormatModel *m = format_open_embedded(path, offset, b.len, &err);
    assert_non_null(m);
    check_small(m);
    assert_int_equal(m->files[0].base, offset);
    assert_int_equal(m->files[0].size, offset + b.len);
    format_close(m);
    refused(format_open_embedded(path, offset, whole.len, &err), &err, ERR_FORMAT, "embedded model should lie at");
    refused(format_open_embedded(path, UINT64_MAX, 2, &err), &err, ERR_FORMAT, "embedded model should lie at");
    refused(format_open_embedded(path, offset, b.len - 40, &err), &err, ERR_FORMAT, "reaches past the end");
    refused(format_open_embedded(path, 0, whole.len, &err), &err, ERR_FORMAT, "not a GGUF file");
    buf_free(&b);
    buf_free(&whole);
}

static void long_header_is_fast_and_small(void **state) {
    (void)state;
    enum { TOKENS = 250000 };
    GgufWriter w;
    gguf_begin(&w);
    gguf_array(&w, "tokenizer.ggml.tokens", 8, TOKENS, "", 0);
    char text[32];
    for (int i = 0; i < TOKENS; i++) {
        int n = snprintf(text, sizeof text, "token-%06d", i);
        put_gguf_str(&w.keys, text, (size_t)n);
    }
    Buf b = gguf_end(&w);
    const char *path = write_temp("long.gguf", b.ptr, b.len);
    uint64_t start = os_now_ns(), allocations = mem_allocation_count();
    FormatModel *m = opened(path);
    uint64_t ms = (os_now_ns() - start) / 1000000;
    allocations = mem_allocation_count() - allocations;
    Str s;
    assert_true(format_key_str(format_key(m, "tokenizer.ggml.tokens"), TOKENS - 1, &s) && str_eq_c(s, "token-249999"));
    assert_true(allocations < 300); /* an arena, not one allocation per string */
    assert_true(ms < 2000);         /* about 15 ms; generous for a busy machine under a sanitizer */
    format_close(m);
    buf_free(&b);
}

/* ---- safetensors written here ---- */

static void written_safetensors_read_back(void **state) {
    (void)state;
    static const float f[] = {1, 2, 3, 4, 5, 6};
    static const int32_t ids[] = {7, -8, 9};
    static const uint16_t h[] = {0x3C00};
    static const double d[] = {0.1};
    const FormatOut out[] = {{"half \"quoted\" \xC3\xA9", QUANT_F16, 0, {0}, h}, {"logits", QUANT_F32, 2, {2, 3}, f},
                             {"input_ids", QUANT_I32, 1, {3}, ids},             {"d", QUANT_F64, 1, {1}, d},
                             {"empty", QUANT_F32, 2, {0, 5}, NULL}};
    const char *path = write_temp("out.safetensors", "", 0);
    Err err = {0};
    assert_int_equal(write_safetensors(path, out, COUNT_OF(out), &err), ERR_OK);

    Golden *g = golden_open(path); /* an independent reader */
    assert_memory_equal(golden_f32(g, "logits", 6), f, sizeof f);
    assert_memory_equal(golden_i32(g, "input_ids", 3), ids, sizeof ids);
    golden_close(g);

    FormatModel *m = format_open_safetensors_file(path, &err);
    assert_non_null(m);
    assert_int_equal(m->n_tensors, 5);
    HAS_SHAPE(tensor(m, "logits"), 2, 3);
    HAS_SHAPE(tensor(m, "empty"), 0, 5);
    assert_int_equal(tensor(m, "half \"quoted\" \xC3\xA9")->n_dims, 0);
    for (uint32_t i = 0; i < m->n_tensors; i++)
        assert_int_equal(m->tensors[i].offset % quant_traits(m->tensors[i].type)->block_bytes, 0);
    int32_t back[3];
    assert_int_equal(format_read(m, tensor(m, "input_ids"), 0, 12, back, &err), ERR_OK);
    assert_memory_equal(back, ids, sizeof ids);
    format_close(m);

    const FormatOut twice[] = {{"x", QUANT_F32, 1, {6}, f}, {"x", QUANT_F32, 1, {6}, f}};
    assert_int_equal(write_safetensors(path, twice, 2, &err), ERR_USAGE);
    const FormatOut blocks[] = {{"x", QUANT_Q8_0, 1, {32}, f}};
    assert_int_equal(write_safetensors(path, blocks, 1, &err), ERR_USAGE);
}

/* ---- the reference data ---- */

/* Every tensor of a folder against the support library's own safetensors reader: name, type, shape, bytes. */
static uint32_t equals_file(const FormatModel *m, const char *path) {
    Golden *g = golden_open(path);
    for (int i = 0; i < g->n; i++) {
        const GoldenTensor *want = &g->tensors[i];
        const FormatTensor *t = tensor(m, want->name);
        assert_string_equal(t->type_name, want->dtype);
        assert_int_equal(t->n_dims, want->n_dims);
        for (int k = 0; k < want->n_dims; k++) assert_int_equal(t->dims[k], want->dims[k]);
        assert_int_equal(format_tensor_count(t), want->count);
        void *raw = malloc(t->bytes ? t->bytes : 1);
        Err err = {0};
        assert_int_equal(format_read(m, t, 0, t->bytes, raw, &err), ERR_OK);
        assert_memory_equal(raw, want->data, t->bytes);
        free(raw);
    }
    uint32_t n = (uint32_t)g->n;
    golden_close(g);
    return n;
}

static void folders_equal_their_files(void **state) {
    (void)state;
    static const struct {
        const char *folder, *files[2];
    } all[] = {
        {"data/golden/q35-a", {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}},
        {"data/golden/q35-real-dims", {"model.safetensors"}},
        {"data/golden/next-a", {"model.safetensors"}},
        {"data/golden/moe-a", {"model.safetensors"}},
        {"data/models/nano-shakespeare", {"model.safetensors"}},
        {"data/models/tiny-tales", {"model.safetensors"}},
        {"data/models/tiny-tales-256", {"model.safetensors"}},
    };
    REQUIRE_PATH(shared_path("data/golden"));
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        FormatModel *m = opened(shared_path(all[i].folder));
        assert_int_equal(m->kind, FORMAT_SAFETENSORS);
        assert_non_null(strstr(m->config_json.ptr, "hidden_size"));
        assert_int_equal(strlen(m->config_json.ptr), m->config_json.len);
        assert_non_null(m->tokenizer_json.ptr);
        uint32_t n = 0;
        for (int k = 0; k < 2 && all[i].files[k]; k++) {
            char path[1024];
            snprintf(path, sizeof path, "%s/%s", shared_path(all[i].folder), all[i].files[k]);
            n += equals_file(m, path);
        }
        assert_int_equal(m->n_tensors, n);
        format_close(m);
    }
    FormatModel *m = opened(shared_path("data/golden/q35-a"));
    HAS_SHAPE(tensor(m, "model.visual.patch_embed.proj.weight"), 8, 3, 2, 4, 4);
    assert_non_null(strstr(m->chat_template.ptr, "{%"));
    assert_non_null(strstr(m->generation_config_json.ptr, "{"));
    assert_non_null(strstr(m->tokenizer_config_json.ptr, "{"));
    format_close(m);
    m = opened(shared_path("data/models/nano-shakespeare"));
    assert_null(m->chat_template.ptr);
    assert_null(m->generation_config_json.ptr);
    format_close(m);
}

static void quantised_folders_are_refused_by_name(void **state) {
    (void)state;
    static const char *const all[][2] = {
        {"data/golden/q35-a.fp8", "quant_method fp8, fmt e4m3"},
        {"data/golden/q35-a.gptq-int4", "quant_method gptq, bits 4, group_size 128"},
        {"data/golden/q35-a.mlx-4bit", "group_size 64, bits 4, mode affine"},
        {"data/golden/q35-a.mlx-2bit", "mode affine"},
        {"data/golden/q35-a.flash-4bit", "model_weights.json"},
    };
    REQUIRE_PATH(shared_path("data/golden"));
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        Err err = {0};
        refused(format_open(shared_path(all[i][0]), &err), &err, ERR_UNSUPPORTED, all[i][1]);
        assert_non_null(strstr(err.text, "not supported yet"));
    }
    /* The tensors themselves can be described, FP8 and U32 included. */
    static const char *const files[] = {"q35-a.fp8", "q35-a.gptq-int4", "q35-a.mlx-4bit", "q35-a.mlx-2bit"};
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s/model.safetensors", shared_path("data/golden"), files[i]);
        Err err = {0};
        FormatModel *m = format_open_safetensors_file(path, &err);
        if (!m) print_error("%s\n", err.text);
        assert_non_null(m);
        assert_int_equal(equals_file(m, path), m->n_tensors);
        format_close(m);
    }
}

static void golden_ggufs_have_the_known_tables(void **state) {
    (void)state;
    static const struct {
        const char *file, *arch;
        uint32_t n_files, n_tensors;
        const char *name;
        QuantType type;
        int n_dims;
        uint64_t dims[3];
    } all[] = {
        {"q35-a.f16.gguf", "qwen35moe", 1, 38, "blk.0.ffn_gate_exps.weight", QUANT_F16, 3, {8, 256, 256}},
        {"q35-real-dims.bf16-00001-of-00003.gguf", "qwen35moe", 3, 96, "blk.0.ssm_conv1d.weight", QUANT_F32, 2, {1536, 4}},
        {"next-a.f32.gguf", "qwen3next", 1, 73, "blk.0.ssm_ba.weight", QUANT_F32, 2, {8, 128}},
        {"moe-a.f32.gguf", "qwen3moe", 1, 39, "blk.2.ffn_down_exps.weight", QUANT_F32, 3, {8, 128, 32}},
        {"q35-a.qa.gguf", "qwen35moe", 1, 38, "blk.0.ffn_gate_inp.weight", QUANT_F32, 2, {8, 256}},
        {"q35-a.qb.gguf", "qwen35moe", 1, 38, "blk.0.ffn_gate_inp.weight", QUANT_BF16, 2, {8, 256}},
    };
    REQUIRE_PATH(shared_path("data/golden"));
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", shared_path("data/golden"), all[i].file);
        FormatModel *m = opened(path);
        Str arch;
        assert_true(format_key_str(format_key(m, "general.architecture"), 0, &arch) && str_eq_c(arch, all[i].arch));
        if (m->n_files != all[i].n_files || m->n_tensors != all[i].n_tensors)
            print_error("%s: %u files, %u tensors\n", all[i].file, m->n_files, m->n_tensors);
        assert_int_equal(m->n_files, all[i].n_files);
        assert_int_equal(m->n_tensors, all[i].n_tensors);
        const FormatTensor *t = tensor(m, all[i].name);
        assert_int_equal(t->type, all[i].type);
        has_shape(t, all[i].n_dims, all[i].dims);
        uint64_t tokens = format_key(m, "tokenizer.ggml.tokens")->count;
        assert_int_equal(tokens, 512);
        for (uint32_t k = 0; k < m->n_tensors; k++)
            assert_true(m->tensors[k].offset + m->tensors[k].bytes <= m->files[m->tensors[k].file].size);
        format_close(m);
    }
}

/* Value for value, after a change the converter makes: plus is added, and the HF tensor may be a part of a larger one. */
static void same_values(const FormatModel *g, const char *gguf, const FormatModel *h, const char *hf, uint64_t skip, float plus) {
    uint64_t n, n_hf;
    float *a = values(g, gguf, &n), *b = values(h, hf, &n_hf);
    assert_true(skip + n <= n_hf);
    for (uint64_t i = 0; i < n; i++)
        if (a[i] != b[skip + i] + plus) {
            print_error("%s: element %llu: %g, HF %g\n", gguf, (unsigned long long)i, (double)a[i], (double)b[skip + i]);
            fail();
        }
    free(a);
    free(b);
}

static void gguf_and_folder_hold_the_same_values(void **state) {
    (void)state;
    REQUIRE_PATH(shared_path("data/golden"));
    FormatModel *g = opened(shared_path("data/golden/moe-a.f32.gguf")), *h = opened(shared_path("data/golden/moe-a"));
    static const char *const plain[][2] = {
        {"attn_q", "self_attn.q_proj"},           {"attn_k", "self_attn.k_proj"},           {"attn_v", "self_attn.v_proj"},
        {"attn_output", "self_attn.o_proj"},      {"attn_q_norm", "self_attn.q_norm"},      {"attn_k_norm", "self_attn.k_norm"},
        {"attn_norm", "input_layernorm"},         {"ffn_norm", "post_attention_layernorm"}, {"ffn_gate_inp", "mlp.gate"},
    };
    same_values(g, "token_embd.weight", h, "model.embed_tokens.weight", 0, 0);
    same_values(g, "output.weight", h, "lm_head.weight", 0, 0);
    same_values(g, "output_norm.weight", h, "model.norm.weight", 0, 0);
    char a[128], b[128];
    for (int l = 0; l < 3; l++)
        for (size_t i = 0; i < COUNT_OF(plain); i++) {
            snprintf(a, sizeof a, "blk.%d.%s.weight", l, plain[i][0]);
            snprintf(b, sizeof b, "model.layers.%d.%s.weight", l, plain[i][1]);
            same_values(g, a, h, b, 0, 0);
        }
    /* one expert of a stacked tensor */
    const FormatTensor *t = tensor(g, "blk.1.ffn_up_exps.weight");
    uint64_t each = t->bytes / t->dims[0], n;
    float *expert = malloc(each), *want = values(h, "model.layers.1.mlp.experts.5.up_proj.weight", &n);
    Err err = {0};
    assert_int_equal(format_read(g, t, 5 * each, each, expert, &err), ERR_OK);
    assert_int_equal(n * sizeof(float), each);
    assert_memory_equal(expert, want, each);
    free(expert);
    free(want);
    format_close(g);
    format_close(h);

    g = opened(shared_path("data/golden/q35-a.f16.gguf")), h = opened(shared_path("data/golden/q35-a"));
    same_values(g, "output.weight", h, "lm_head.weight", 0, 0);
    same_values(g, "output_norm.weight", h, "model.language_model.norm.weight", 0, 1);
    same_values(g, "blk.1.attn_q.weight", h, "model.language_model.layers.1.self_attn.q_proj.weight", 0, 0);
    same_values(g, "blk.1.ffn_down_exps.weight", h, "model.language_model.layers.1.mlp.experts.down_proj", 0, 0);
    format_close(g);
    format_close(h);

    g = opened(shared_path("data/golden/q35-real-dims.bf16-00001-of-00003.gguf")), h = opened(shared_path("data/golden/q35-real-dims"));
    same_values(g, "token_embd.weight", h, "model.embed_tokens.weight", 0, 0);
    same_values(g, "output.weight", h, "lm_head.weight", 0, 0);
    same_values(g, "blk.3.attn_norm.weight", h, "model.layers.3.input_layernorm.weight", 0, 1);
    same_values(g, "blk.4.nextn.eh_proj.weight", h, "mtp.fc.weight", 0, 0);
    format_close(g);
    format_close(h);
}

static void any_part_opens_the_whole_split_model(void **state) {
    (void)state;
    REQUIRE_PATH(shared_path("data/golden"));
    for (int part = 1; part <= 3; part++) {
        char rel[128];
        snprintf(rel, sizeof rel, "data/golden/q35-real-dims.bf16-%05d-of-00003.gguf", part);
        FormatModel *m = opened(shared_path(rel));
        assert_int_equal(m->n_files, 3);
        assert_int_equal(m->n_tensors, 96);
        assert_true(str_ends(str_c(m->path), rel));
        assert_true(str_ends(str_c(m->files[0].path), "-00001-of-00003.gguf"));
        assert_non_null(format_key(m, "tokenizer.ggml.tokens"));
        for (uint32_t i = 0; i < m->n_tensors; i++) assert_true(m->tensors[i].file > 0); /* the first part has none */
        format_close(m);
    }
}

int main(void) {
    const struct CMUnitTest format[] = {
        cmocka_unit_test(small_gguf_reads_back),
        cmocka_unit_test(embedded_gguf_reads_back),
        cmocka_unit_test(long_header_is_fast_and_small),
        cmocka_unit_test(written_safetensors_read_back),
        cmocka_unit_test(folders_equal_their_files),
        cmocka_unit_test(quantised_folders_are_refused_by_name),
        cmocka_unit_test(golden_ggufs_have_the_known_tables),
        cmocka_unit_test(gguf_and_folder_hold_the_same_values),
        cmocka_unit_test(any_part_opens_the_whole_split_model),
    };
    return RUN_TESTS(format);
}
