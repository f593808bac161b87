/* The architectures this room knows, one row each, and how a file says which one it is. */
#include "model/parts.h"

#include <string.h>

static const ArchRow rows[] = {
    {.arch = MODEL_QWEN35MOE, .name = "qwen35moe",
     .hf_types = {"qwen3_5_moe", "qwen3_5_moe_text"},
     .hf_classes = {"Qwen3_5MoeForConditionalGeneration", "Qwen3_5MoeForCausalLM"},
     .other = MODEL_MIXER_LINEAR, .gated = true, .shared = true, .zero_centred = true, .gguf_tiled = true,
     .always_norm_topk = true, .norm_topk_default = true, .partial_rotary_default = 0.25, .head_dim_default = 256,
     .gguf_norm_post = "post_attention_norm.weight"},
    {.arch = MODEL_QWEN3NEXT, .name = "qwen3next",
     .hf_types = {"qwen3_next"}, .hf_classes = {"Qwen3NextForCausalLM"},
     .other = MODEL_MIXER_LINEAR, .gated = true, .shared = true, .zero_centred = true, .interleaved = true,
     .norm_topk_default = true, .partial_rotary_default = 0.25, .head_dim_default = 256,
     .gguf_norm_post = "post_attention_norm.weight"},
    {.arch = MODEL_QWEN3MOE, .name = "qwen3moe",
     .hf_types = {"qwen3_moe"}, .hf_classes = {"Qwen3MoeForCausalLM"},
     .norm_topk_default = false, .partial_rotary_default = 1.0, .head_dim_default = 0,
     .gguf_norm_post = "ffn_norm.weight"},
};

const ArchRow *model_arch_of(ModelArch arch) {
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (rows[i].arch == arch) return &rows[i];
    return NULL;
}

const char *model_arch_name(ModelArch arch) {
    const ArchRow *row = model_arch_of(arch);
    return row ? row->name : "unknown";
}

static bool among(const char *const list[3], const char *s) {
    for (int i = 0; i < 3 && list[i]; i++)
        if (strcmp(list[i], s) == 0) return true;
    return false;
}

static void list_known(Buf *out, bool gguf) {
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (i) buf_puts(out, i + 1 < COUNT_OF(rows) ? ", " : " and ");
        buf_puts(out, gguf ? rows[i].name : rows[i].hf_types[0]);
    }
}

static void unknown(const char *key, const char *value, size_t len, bool gguf, Err *err) {
    Buf known = {0};
    list_known(&known, gguf);
    err_set(err, ERR_UNSUPPORTED, "%s is '%.*s', an architecture that is not supported; supported are %s", key,
            (int)(len < 64 ? len : 64), value, known.ptr && !known.failed ? known.ptr : "those of the documentation");
    buf_free(&known);
}

static const ArchRow *find_gguf(const FormatModel *format, Err *err) {
    Str name;
    const FormatKey *key = format_key(format, "general.architecture");
    if (!key || !format_key_str(key, 0, &name)) {
        err_set(err, ERR_FORMAT, "the key general.architecture is missing: not a model file");
        return NULL;
    }
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (str_eq_c(name, rows[i].name)) return &rows[i];
    unknown("general.architecture", name.ptr, name.len, true, err);
    return NULL;
}

const ArchRow *model_arch_find(const FormatModel *format, const json_t *config, const json_t *text, Err *err) {
    if (format->kind == FORMAT_GGUF) return find_gguf(format, err);
    /* The text part decides: a wrapper of a known kind around another language model is another model. */
    const char *key = "config.json: model_type";
    const char *type = json_string_value(model_hf_member(text, "model_type"));
    if (!type) type = json_string_value(model_hf_member(config, "model_type"));
    if (!type) {
        key = "config.json: architectures";
        type = json_string_value(json_array_get(model_hf_member(config, "architectures"), 0));
    }
    if (!type) {
        err_set(err, ERR_FORMAT, "config.json: neither model_type nor architectures says what model this is");
        return NULL;
    }
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (among(rows[i].hf_types, type) || among(rows[i].hf_classes, type)) return &rows[i];
    unknown(key, type, strlen(type), false, err);
    return NULL;
}
