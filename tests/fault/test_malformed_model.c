/* Files that are well-formed GGUF but no model: a tensor missing, misshaped, of another type or not finite, a number missing or
 * wrong. Each must be refused with a sentence that names the tensor or key. Every tensor and every key is tried in turn. */
#include "support/load_dense.h"
#include "support/make_model.h"
#include "support/malformed.h"
#include "support/recording.h"
#include "support/support.h"

#include "model/model.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const archs[] = {"qwen35moe", "qwen3next", "qwen3moe"};

/* Opens, binds and loads a file; the model is freed again. */
static ErrCode load(const char *path, Err *err) {
    FormatModel *f = format_open(path, err);
    if (!f) return err->code;
    Model *m = model_new(f, err);
    void *pages = m ? os_pages_new(m->dense_bytes, err) : NULL;
    ErrCode code = m && pages ? load_dense(m, pages, err) : err->code;
    if (pages) os_pages_free(pages, m->dense_bytes);
    model_free(m);
    format_close(f);
    return code;
}

static MakeModel small(const char *arch) {
    return (MakeModel){.arch = arch, .type = "BF16", .seed = 5, .layers = 2, .experts = 4, .top_k = 2};
}

static void must_load(const char *label, const MakeModel *o) {
    Err err = {0};
    if (load(make_model(o, "model.gguf"), &err)) {
        print_error("%s, %s: %s\n", o->arch ? o->arch : "qwen35moe", label, err.text);
        fail();
    }
}

static void must_refuse(const char *label, const MakeModel *o, const char *words) {
    Err err = {0};
    ErrCode code = load(make_model(o, "model.gguf"), &err);
    if (!code || code == ERR_MEMORY || !strstr(err.text, words) || !strstr(err.text, "model.gguf")) {
        print_error("%s, %s: wanted '%s', got: %s\n", o->arch, label, words, code ? err.text : "a loaded model");
        fail();
    }
}

static void whole_models_load(void **state) {
    (void)state;
    static const char *const types[] = {"F32", "F16", "BF16", "Q8_0"};
    for (size_t a = 0; a < COUNT_OF(archs); a++)
        for (size_t t = 0; t < COUNT_OF(types); t++) {
            MakeModel o = {.arch = archs[a], .type = types[t], .seed = 1};
            must_load(types[t], &o);
            o.tied = true;
            must_load("tied", &o);
        }
    must_load("draft layer", &(MakeModel){.draft = true});
    Err err = {0};
    FormatModel *f = format_open(make_model(&(MakeModel){.seed = 3}, "model.gguf"), &err);
    Model *m = f ? model_new(f, &err) : NULL;
    if (!m) print_error("%s\n", err.text);
    assert_non_null(m);
    assert_int_equal(m->shape.vocab, MAKE_VOCAB);
    assert_non_null(m->chat);
    TextIds ids = {0};
    assert_int_equal(text_encode(m->tokenizer, "the \xC3\xA9<|im_end|>", 16, 0, &ids, &err), ERR_OK);
    assert_int_equal(ids.ids[0], 257); /* t h e */
    assert_int_equal(ids.ids[ids.n - 1], MAKE_IM_END);
    Buf back = {0};
    for (size_t i = 0; i < ids.n; i++) assert_true(text_decode(m->tokenizer, ids.ids[i], false, &back));
    assert_string_equal(back.ptr, "the \xC3\xA9<|im_end|>");
    buf_free(&back);
    text_ids_free(&ids);
    model_free(m);
    format_close(f);
}

/* Calls change(o, t) for every tensor of the valid model, and demands that the result is refused by the tensor's name. */
typedef bool Change(MakeModel *o, const FormatTensor *t);

static void every_tensor(const char *label, Change *change) {
    for (size_t a = 0; a < COUNT_OF(archs); a++) {
        MakeModel valid = small(archs[a]);
        Err err = {0};
        FormatModel *f = format_open(make_model(&valid, "valid.gguf"), &err);
        assert_non_null(f);
        uint32_t tried = 0;
        for (uint32_t i = 0; i < f->n_tensors; i++) {
            MakeModel o = valid;
            if (!change(&o, &f->tensors[i])) continue;
            /* fused or split, both are allowed: then one of the split ones is missing */
            must_refuse(label, &o, strcmp(f->tensors[i].name.ptr, "blk.0.ssm_ba.weight") ? f->tensors[i].name.ptr : "blk.0.ssm_b");
            tried++;
        }
        assert_true(tried > 5);
        format_close(f);
    }
}

static bool leave_out(MakeModel *o, const FormatTensor *t) {
    o->skip = t->name.ptr;
    return strcmp(t->name.ptr, "output.weight") != 0; /* a model without it is tied */
}

static bool one_row_more(MakeModel *o, const FormatTensor *t) {
    o->reshape = t->name.ptr;
    o->n_dims = t->n_dims;
    for (int i = 0; i < t->n_dims; i++) o->ne[i] = t->dims[t->n_dims - 1 - i] + (i == t->n_dims - 1);
    return strcmp(t->name.ptr, "token_embd.weight") != 0; /* its rows are the vocabulary, so another tensor is named: below */
}

static bool longer_rows(MakeModel *o, const FormatTensor *t) {
    o->reshape = t->name.ptr;
    o->n_dims = t->n_dims;
    for (int i = 0; i < t->n_dims; i++) o->ne[i] = t->dims[t->n_dims - 1 - i] + (i == 0 ? 32 : 0);
    return true;
}

static bool transposed(MakeModel *o, const FormatTensor *t) {
    o->reshape = t->name.ptr;
    o->n_dims = 2;
    o->ne[0] = t->dims[0];
    o->ne[1] = t->dims[1];
    return t->n_dims == 2 && t->dims[0] != t->dims[1] && t->dims[0] != 1 && strcmp(t->name.ptr, "token_embd.weight") != 0;
}

static bool of_integers(MakeModel *o, const FormatTensor *t) {
    o->retype = t->name.ptr;
    o->retype_to = 26; /* I32 */
    return true;
}

static bool with_a_nan(MakeModel *o, const FormatTensor *t) {
    o->poison = t->name.ptr;
    o->poison_at = format_tensor_count(t) - 1;
    return !strstr(t->name.ptr, "_exps"); /* the experts stay on disk */
}

static bool with_a_nan_in_a_block(MakeModel *o, const FormatTensor *t) {
    o->type = "Q8_0";
    o->poison = t->name.ptr;
    o->poison_at = 0;
    return !strstr(t->name.ptr, "_exps");
}

static bool under_another_name(MakeModel *o, const FormatTensor *t) {
    o->rename = t->name.ptr;
    o->rename_to = "stranger.weight";
    return strcmp(t->name.ptr, "output.weight") != 0;
}

static void missing_tensors_are_named(void **state) {
    (void)state;
    every_tensor("missing", leave_out);
    every_tensor("renamed", under_another_name);
}

static void misshaped_tensors_are_named(void **state) {
    (void)state;
    every_tensor("one row more", one_row_more);
    every_tensor("longer rows", longer_rows);
    every_tensor("transposed", transposed);
    for (size_t a = 0; a < COUNT_OF(archs); a++) {
        MakeModel o = small(archs[a]);
        o.reshape = "token_embd.weight", o.n_dims = 2, o.ne[0] = MAKE_HIDDEN, o.ne[1] = MAKE_VOCAB + 1;
        must_refuse("a larger vocabulary", &o, "output.weight");
        o.ne[1] = MAKE_VOCAB - 1;
        must_refuse("a smaller vocabulary", &o, "output.weight");
    }
}

static void types_that_are_no_weights_are_named(void **state) {
    (void)state;
    every_tensor("integers", of_integers);
}

static void weights_that_are_not_finite_are_named(void **state) {
    (void)state;
    every_tensor("NaN", with_a_nan);
    every_tensor("NaN in a block", with_a_nan_in_a_block);
}

/* Numbers that are finite and too large: the file loads and its sums overflow, if not with this element then with another. */
static void overflows(const char *tensor, const char *words) {
    MakeModel o = small("qwen35moe");
    o.poison = tensor;
    o.poison_with = FLT_MAX;
    int32_t ids[] = {1, 2, 3};
    for (o.poison_at = 0; o.poison_at < MAKE_HIDDEN; o.poison_at++) {
        sluice_options options = check_options(make_model(&o, "model.gguf"));
        sluice_model *m = open_or_fail(&options);
        sluice_session *s = sluice_session_new(m, NULL);
        sluice_error err;
        bool over = sluice_feed(s, ids, COUNT_OF(ids), &err) != 0;
        if (over) {
            assert_int_equal(err.code, SLUICE_RANGE);
            if (!strstr(err.message, words) || !strstr(err.message, "not a finite number")) fail_msg("wanted '%s': %s", words, err.message);
            assert_null(sluice_logits(s));
            assert_int_equal(sluice_feed(s, ids, 1, &err), SLUICE_STATE); /* nothing goes on from there */
            assert_null(sluice_snapshot_take(s, &err));
            assert_int_equal(err.code, SLUICE_STATE);
            sluice_session_reset(s);
            assert_int_equal(sluice_feed(s, ids, COUNT_OF(ids), &err), SLUICE_RANGE);
        }
        sluice_session_free(s);
        sluice_close(m);
        if (over) return;
    }
    fail_msg("%s: no element is large enough", tensor);
}

static void sums_that_overflow_end_the_session(void **state) {
    (void)state;
    overflows("output_norm.weight", "a logit");
    overflows("blk.1.ffn_gate_inp.weight", "layer 1: ");
}

static void strangers_are_named(void **state) {
    (void)state;
    static const char *const names[] = {"stranger.weight", "blk.0.attn_q.bias", "blk.1.attn_sinks.weight", "blk.0.ffn_exp_probs_b.bias",
                                        "blk.9.attn_norm.weight", "output.bias"};
    for (size_t a = 0; a < COUNT_OF(archs); a++)
        for (size_t i = 0; i < COUNT_OF(names); i++) {
            MakeModel o = small(archs[a]);
            o.extra = names[i];
            must_refuse("a tensor nobody asked for", &o, names[i]);
        }
}

/* Without these the rest of the file still says enough. */
static bool may_be_absent(const char *arch, const char *key) {
    static const char *const names[] = {
        "general.name", ".full_attention_interval", ".expert_feed_forward_length", ".expert_shared_feed_forward_length",
        ".attention.key_length", ".attention.value_length", "tokenizer.ggml.eos_token_id", "tokenizer.ggml.padding_token_id",
        "tokenizer.chat_template",
    };
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (str_ends(str_c(key), names[i])) return true;
    return strcmp(arch, "qwen3moe") == 0 && str_ends(str_c(key), ".rope.dimension_count");
}

static void every_key(const char *label, void change(MakeModel *o, const char *key), bool wanted(const char *arch, const FormatKey *k)) {
    for (size_t a = 0; a < COUNT_OF(archs); a++) {
        MakeModel valid = small(archs[a]);
        Err err = {0};
        FormatModel *f = format_open(make_model(&valid, "valid.gguf"), &err);
        assert_non_null(f);
        for (uint32_t i = 0; i < f->n_keys; i++) {
            MakeModel o = valid;
            const char *key = f->keys[i].name.ptr;
            if (!wanted(archs[a], &f->keys[i])) continue;
            change(&o, key);
            must_refuse(label, &o, key);
        }
        format_close(f);
    }
}

static bool needed(const char *arch, const FormatKey *k) { return !may_be_absent(arch, k->name.ptr); }
static void without(MakeModel *o, const char *key) { o->skip = key; }

/* Numbers of the architecture; the interval may be any. */
static bool a_number(const char *arch, const FormatKey *k) {
    return str_starts(k->name, arch) && !k->is_array && k->kind != FORMAT_STRING;
}
static void zero(MakeModel *o, const char *key) { o->set = key; }
static void huge(MakeModel *o, const char *key) { o->set = key, o->set_number = UINT32_MAX; }
static void in_words(MakeModel *o, const char *key) { o->set = key, o->set_text = "four"; }
static bool a_whole_number(const char *arch, const FormatKey *k) { return a_number(arch, k) && k->kind == FORMAT_U32; }
static void a_half(MakeModel *o, const char *key) { o->set = key, o->set_real = 0.5f; }
static void not_a_number(MakeModel *o, const char *key) { o->set = key, o->set_real = (float)strtod("nan", NULL); }
static bool not_theta(const char *arch, const FormatKey *k) { return a_number(arch, k) && !str_ends(k->name, "rope.freq_base"); }

static void missing_keys_are_named(void **state) {
    (void)state;
    every_key("missing", without, needed);
}

static void wrong_numbers_are_named(void **state) {
    (void)state;
    every_key("zero", zero, a_number);
    every_key("2^32-1", huge, not_theta);
    every_key("in words", in_words, a_number);
    every_key("a half", a_half, a_whole_number);
    every_key("not a number", not_a_number, a_number);
}

static void numbers_that_do_not_fit_are_named(void **state) {
    (void)state;
    static const struct {
        const char *arch, *key, *text;
        float real;
        uint32_t number;
        const char *words;
    } all[] = {
        {"qwen35moe", "general.architecture", "llama", 0, 0, "general.architecture is 'llama'"},
        {"qwen35moe", "qwen35moe.block_count", NULL, 0, 3, "blk.2."},
        {"qwen35moe", "qwen35moe.block_count", NULL, 0, 1, "blk.1."},
        {"qwen35moe", "qwen35moe.embedding_length", NULL, 0, 96, "token_embd.weight"},
        {"qwen35moe", "qwen35moe.expert_count", NULL, 0, 5, "ffn_gate_inp.weight"},
        {"qwen35moe", "qwen35moe.expert_used_count", NULL, 0, 5, "expert_used_count is 5, more than the 4"},
        {"qwen35moe", "qwen35moe.attention.head_count", NULL, 0, 3, "attention.head_count is 3, which is no multiple"},
        {"qwen35moe", "qwen35moe.attention.head_count", NULL, 0, 6, "blk.1.attn_q.weight"},
        {"qwen35moe", "qwen35moe.attention.head_count_kv", NULL, 0, 1, "blk.1.attn_k.weight"},
        {"qwen35moe", "qwen35moe.attention.value_length", NULL, 0, 32, "attention.value_length is 32"},
        {"qwen35moe", "qwen35moe.rope.dimension_count", NULL, 0, 7, "rope.dimension_count"},
        {"qwen35moe", "qwen35moe.rope.dimension_count", NULL, 0, 18, "rope.dimension_count"},
        {"qwen35moe", "qwen35moe.ssm.group_count", NULL, 0, 3, "no multiple"},
        {"qwen35moe", "qwen35moe.ssm.inner_size", NULL, 0, 66, "ssm.inner_size is 66"},
        {"qwen35moe", "qwen35moe.ssm.conv_kernel", NULL, 0, 3, "ssm_conv1d.weight"},
        {"qwen35moe", "qwen35moe.full_attention_interval", NULL, 0, 3, "blk.1."},
        {"qwen35moe", "qwen35moe.rope.scaling.type", "yarn", 0, 0, "rope.scaling.type is 'yarn'"},
        {"qwen35moe", "qwen35moe.attention.sliding_window", NULL, 0, 128, "attention.sliding_window is 128"},
        {"qwen35moe", "qwen35moe.expert_weights_scale", NULL, 2.5f, 0, "expert_weights_scale is 2.5"},
        {"qwen35moe", "tokenizer.ggml.model", "llama", 0, 0, "tokenizer.ggml.model is 'llama'"},
        {"qwen35moe", "tokenizer.ggml.pre", "gpt-2", 0, 0, "tokenizer.ggml.pre is 'gpt-2'"},
        {"qwen35moe", "tokenizer.ggml.eos_token_id", NULL, 0, 300, "tokenizer.ggml.eos_token_id"},
        {"qwen3next", "qwen3next.ssm.time_step_rank", NULL, 0, 2, "blk.0."},
        {"qwen3moe", "qwen3moe.attention.key_length", NULL, 0, 32, "attention."},
        {"qwen3moe", "qwen3moe.expert_feed_forward_length", NULL, 0, 64, "_exps.weight"},
    };
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        MakeModel o = small(all[i].arch);
        o.set = all[i].key, o.set_text = all[i].text, o.set_real = all[i].real, o.set_number = all[i].number;
        must_refuse(all[i].key, &o, all[i].words);
    }
}

static void loading_may_run_out_of_memory(void **state) {
    (void)state;
    MakeModel o = small("qwen35moe");
    const char *path = make_model(&o, "model.gguf");
    Err err = {0};
    uint64_t before = mem_allocation_count();
    assert_int_equal(load(path, &err), ERR_OK);
    uint64_t all = mem_allocation_count() - before;
    assert_true(all > 20);
    for (uint64_t n = 1; n <= all; n += 1 + n / 64) { /* the tokenizer makes many that are alike */
        mem_fail_after(n);
        ErrCode code = load(path, &err);
        mem_fail_after(0);
        assert_int_equal(code, ERR_MEMORY);
    }
}

MALFORMED_LIMITS

int main(void) {
    const struct CMUnitTest malformed_model[] = {
        cmocka_unit_test(whole_models_load),
        cmocka_unit_test(missing_tensors_are_named),
        cmocka_unit_test(misshaped_tensors_are_named),
        cmocka_unit_test(types_that_are_no_weights_are_named),
        cmocka_unit_test(weights_that_are_not_finite_are_named),
        cmocka_unit_test(sums_that_overflow_end_the_session),
        cmocka_unit_test(strangers_are_named),
        cmocka_unit_test(missing_keys_are_named),
        cmocka_unit_test(wrong_numbers_are_named),
        cmocka_unit_test(numbers_that_do_not_fit_are_named),
        cmocka_unit_test(loading_may_run_out_of_memory),
    };
    malformed_limits();
    return RUN_TESTS(malformed_model);
}
