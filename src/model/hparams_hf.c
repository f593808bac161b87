/* Numbers of a Hugging Face folder: config.json, flat or with the language model in text_config, and with rotary values wherever
 * the version of transformers that wrote it put them. */
#include "model/parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const json_t *model_hf_member(const json_t *object, const char *name) {
    const json_t *j = json_object_get(object, name);
    return j && !json_is_null(j) ? j : NULL;
}

/* Integers become reals: every number we read is exact in a double, and tokenizer_config.json likes to hold ones with 31 digits. */
static ErrCode parse(Str text, const char *file, json_t **out, Err *err) {
    json_error_t why;
    if (!text.ptr) return ERR_OK;
    *out = json_loadb(text.ptr, text.len, JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &why);
    if (!*out) return err_set(err, ERR_FORMAT, "%s, line %d: %s", file, why.line, why.text);
    if (!json_is_object(*out)) return err_set(err, ERR_FORMAT, "%s must hold a JSON object", file);
    return ERR_OK;
}

ErrCode model_hf_json_open(HfJson *hf, const FormatModel *format, Err *err) {
    TRY(parse(format->config_json, "config.json", &hf->config, err));
    TRY(parse(format->generation_config_json, "generation_config.json", &hf->generation, err));
    TRY(parse(format->tokenizer_config_json, "tokenizer_config.json", &hf->tokenizer, err));
    if (!hf->config) return err_set(err, ERR_FORMAT, "config.json is missing");
    hf->text = model_hf_member(hf->config, "text_config");
    if (hf->text && !json_is_object(hf->text)) return err_set(err, ERR_FORMAT, "config.json: text_config must be an object");
    if (!hf->text) hf->text = hf->config;
    return ERR_OK;
}

void model_hf_json_close(HfJson *hf) {
    json_decref(hf->config);
    json_decref(hf->generation);
    json_decref(hf->tokenizer);
    *hf = (HfJson){0};
}

/* ---- what is refused (quantised folders already were, by format/) -------------------------------------------------------- */

static ErrCode want_bool(const json_t *text, const char *name, bool want, Err *err) {
    const json_t *j = model_hf_member(text, name);
    if (!j) return ERR_OK;
    if (!json_is_boolean(j)) return err_set(err, ERR_FORMAT, "config.json: %s must be true or false", name);
    if (json_is_true(j) != want)
        return err_set(err, ERR_UNSUPPORTED, "config.json: %s is %s: not supported", name, want ? "false" : "true");
    return ERR_OK;
}

/* transformers makes layer i sparse when it is not in mlp_only_layers and (i + 1) % decoder_sparse_step == 0. */
static ErrCode refuse_dense_layers(const json_t *text, uint32_t n_layers, Err *err) {
    const json_t *step = model_hf_member(text, "decoder_sparse_step"), *only = model_hf_member(text, "mlp_only_layers");
    if (step && json_number_value(step) != 1.0)
        return err_set(err, ERR_UNSUPPORTED, "config.json: decoder_sparse_step is %g: layers without experts are not supported",
                       json_number_value(step));
    if (only && !json_is_array(only)) return err_set(err, ERR_FORMAT, "config.json: mlp_only_layers must be a list");
    size_t i;
    json_t *layer;
    json_array_foreach(only, i, layer) {
        double n = json_number_value(layer);
        if (json_is_number(layer) && n >= 0 && n < n_layers)
            return err_set(err, ERR_UNSUPPORTED, "config.json: mlp_only_layers names layer %.0f: layers without experts are not "
                           "supported", n);
    }
    return ERR_OK;
}

static ErrCode refuse(const HfJson *hf, uint32_t n_layers, Err *err) {
    const json_t *act = model_hf_member(hf->text, "hidden_act");
    const char *name = json_string_value(act);
    if (act && (!name || strcmp(name, "silu") != 0))
        return err_set(err, ERR_UNSUPPORTED, "config.json: hidden_act is '%.32s': only silu is supported", name ? name : "no string");
    TRY(want_bool(hf->text, "attention_bias", false, err));
    TRY(want_bool(hf->text, "use_sliding_window", false, err));
    return refuse_dense_layers(hf->text, n_layers, err);
}

/* ---- rotary positions --------------------------------------------------------------------------------------------------- */

typedef struct Rope {
    const json_t *at[3]; /* text config, its rope_parameters, its rope_scaling */
} Rope;

/* A rotary value, wherever it stands; standing in two places with two values is an error. */
static ErrCode rope_number(const Rope *r, const char *name, bool *found, double *value, Err *err) {
    *found = false;
    for (int i = 0; i < 3; i++) {
        const json_t *j = model_hf_member(r->at[i], name);
        if (!j) continue;
        if (!json_is_number(j)) return err_set(err, ERR_FORMAT, "config.json: %s must be a number", name);
        double v = json_number_value(j);
        if (*found && v != *value)
            return err_set(err, ERR_FORMAT, "config.json: %s stands there twice, as %.10g and as %.10g", name, *value, v);
        *found = true;
        *value = v;
    }
    return ERR_OK;
}

static ErrCode refuse_rope_scaling(const Rope *r, Err *err) {
    static const char *const names[] = {"rope_type", "type"};
    for (int i = 1; i < 3; i++)
        for (size_t k = 0; k < COUNT_OF(names); k++) {
            const json_t *j = model_hf_member(r->at[i], names[k]);
            const char *type = json_string_value(j);
            if (!j || (type && (strcmp(type, "default") == 0 || strcmp(type, "mrope") == 0))) continue;
            if (!type) return err_set(err, ERR_FORMAT, "config.json: %s of the rotary positions must be a string", names[k]);
            const json_t *attention = model_hf_member(r->at[i], "attention_factor");
            bool by_one = json_number_value(model_hf_member(r->at[i], "factor")) == 1.0 &&
                          (!attention || json_number_value(attention) == 1.0);
            if (by_one && (strcmp(type, "linear") == 0 || strcmp(type, "dynamic") == 0 || strcmp(type, "yarn") == 0)) continue;
            return err_set(err, ERR_UNSUPPORTED, "config.json: %s is '%.32s': scaled rotary positions are not supported yet", names[k],
                           type);
        }
    return ERR_OK;
}

static ErrCode rotary(const Hparams *h, ModelShape *s, Err *err) {
    Rope r = {{h->text, model_hf_member(h->text, "rope_parameters"), model_hf_member(h->text, "rope_scaling")}};
    bool found;
    double theta = 0, partial = h->arch->partial_rotary_default;
    for (int i = 1; i < 3; i++)
        if (r.at[i] && !json_is_object(r.at[i]))
            return err_set(err, ERR_FORMAT, "config.json: %s must be an object", i == 1 ? "rope_parameters" : "rope_scaling");
    TRY(refuse_rope_scaling(&r, err));
    TRY(rope_number(&r, "rope_theta", &found, &theta, err));
    if (!found) return err_set(err, ERR_FORMAT, "config.json: rope_theta is missing, also in rope_parameters");
    if (!(theta >= 1 && theta <= 1e15)) return err_set(err, ERR_FORMAT, "config.json: rope_theta is %g, but must be from 1 to 1e15", theta);
    TRY(rope_number(&r, "partial_rotary_factor", &found, &partial, err));
    if (!(partial > 0 && partial <= 1))
        return err_set(err, ERR_FORMAT, "config.json: partial_rotary_factor is %g, but must be above 0 and at most 1", partial);
    s->rope_theta = theta;
    s->rotary_dim = (uint32_t)((double)s->head_dim * partial); /* cut off, as transformers does */
    return ERR_OK;
}

/* ---- layers --------------------------------------------------------------------------------------------------------------- */

static ErrCode layer_types(const Hparams *h, Model *m, Err *err) {
    const uint32_t n = m->shape.n_layers;
    const json_t *types = model_hf_member(h->text, "layer_types");
    if (!types) {
        uint32_t interval;
        TRY(model_hparam_u32_or(h, KEY(INTERVAL), 4, &interval, err));
        for (uint32_t i = 0; i < n; i++)
            if ((i + 1) % interval != 0) m->layers[i].mixer = h->arch->other;
        return ERR_OK;
    }
    if (json_array_size(types) != n)
        return err_set(err, ERR_FORMAT, "config.json: layer_types must be a list of %u names, one per layer, but has %zu", n,
                       json_array_size(types));
    for (uint32_t i = 0; i < n; i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (type && strcmp(type, model_mixers[h->arch->other]->hf_type) == 0) m->layers[i].mixer = h->arch->other;
        else if (!type || strcmp(type, model_mixers[MODEL_MIXER_FULL]->hf_type) != 0)
            return err_set(err, ERR_UNSUPPORTED, "config.json: layer_types: layer %u is '%.40s', which %s does not have here", i,
                           type ? type : "no string", h->arch->name);
    }
    return ERR_OK;
}

static ErrCode attention(const Hparams *h, ModelShape *s, Err *err) {
    double eps;
    TRY(model_hparam_u32(h, KEY(HEADS), &s->n_heads, err));
    TRY(model_hparam_u32(h, KEY(KV_HEADS), &s->n_kv_heads, err));
    uint32_t dim = h->arch->head_dim_default ? h->arch->head_dim_default : s->hidden / s->n_heads;
    TRY(model_hparam_u32_or(h, KEY(HEAD_DIM), dim, &s->head_dim, err));
    TRY(model_hparam_real(h, KEY(EPS), 1e-15, 0.1, &eps, err));
    s->eps = (float)eps;
    s->attn_gate = h->arch->gated;
    TRY(want_bool(h->text, "attn_output_gate", h->arch->gated, err));
    return rotary(h, s, err);
}

static ErrCode experts(const Hparams *h, ModelShape *s, Err *err) {
    TRY(model_hparam_u32(h, KEY(EXPERTS), &s->n_experts, err));
    TRY(model_hparam_u32(h, KEY(TOP_K), &s->top_k, err));
    TRY(model_hparam_u32(h, KEY(EXPERT_INNER), &s->expert_inner, err));
    if (h->arch->shared) TRY(model_hparam_u32(h, KEY(SHARED_INNER), &s->shared_inner, err));
    const json_t *norm = model_hf_member(h->text, "norm_topk_prob");
    if (norm && !json_is_boolean(norm)) return err_set(err, ERR_FORMAT, "config.json: norm_topk_prob must be true or false");
    s->norm_topk = h->arch->always_norm_topk || (norm ? json_is_true(norm) : h->arch->norm_topk_default);
    return ERR_OK;
}

ErrCode model_hparams_hf(const Hparams *h, const HfJson *hf, Model *m, Err *err) {
    ModelShape *s = &m->shape;
    TRY(model_hparam_u32(h, KEY(LAYERS), &s->n_layers, err));
    if (s->n_layers > h->format->n_tensors)
        return err_set(err, ERR_FORMAT, "config.json: num_hidden_layers is %u, but the folder has only %u tensors", s->n_layers,
                       h->format->n_tensors);
    TRY(refuse(hf, s->n_layers, err));
    m->inner->n_blocks = s->n_layers;
    m->layers = MEM_NEW(ModelLayer, (size_t)s->n_layers + 1); /* one more: see model_bind_mtp */
    if (!m->layers) return err_no_memory(err, s->n_layers * sizeof(ModelLayer), "the table of layers");
    TRY(model_hparam_u32(h, KEY(HIDDEN), &s->hidden, err));
    TRY(model_hparam_u32(h, KEY(VOCAB), &s->vocab, err));
    TRY(model_hparam_u32(h, KEY(CONTEXT), &s->ctx_train, err));
    TRY(attention(h, s, err));
    TRY(layer_types(h, m, err));
    TRY(model_mixer_numbers(h, s, err));
    return experts(h, s, err);
}
