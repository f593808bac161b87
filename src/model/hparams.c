/* The numbers of a model, one row per key: how a GGUF file and a config.json spell it and how large it may be. Reading, range
 * checks and the relations between numbers are the same for both layouts. */
#include "model/parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const HparamKey model_keys[] = {
    [KEY_LAYERS] = {"block_count", "num_hidden_layers", 4096},
    [KEY_HIDDEN] = {"embedding_length", "hidden_size", 1 << 20},
    [KEY_VOCAB] = {"vocab_size", "vocab_size", 1 << 24},
    [KEY_CONTEXT] = {"context_length", "max_position_embeddings", 1u << 30},
    [KEY_HEADS] = {"attention.head_count", "num_attention_heads", 1 << 14},
    [KEY_KV_HEADS] = {"attention.head_count_kv", "num_key_value_heads", 1 << 14},
    [KEY_HEAD_DIM] = {"attention.key_length", "head_dim", 1 << 14},
    [KEY_VALUE_DIM] = {"attention.value_length", "head_dim", 1 << 14},
    [KEY_ROTARY] = {"rope.dimension_count", "partial_rotary_factor", 1 << 14},
    [KEY_THETA] = {"rope.freq_base", "rope_theta", 0},
    [KEY_EPS] = {"attention.layer_norm_rms_epsilon", "rms_norm_eps", 0},
    [KEY_INTERVAL] = {"full_attention_interval", "full_attention_interval", 4096},
    [KEY_EXPERTS] = {"expert_count", "num_experts", 1 << 16},
    [KEY_TOP_K] = {"expert_used_count", "num_experts_per_tok", 1 << 16},
    [KEY_EXPERT_INNER] = {"expert_feed_forward_length", "moe_intermediate_size", 1 << 20},
    [KEY_SHARED_INNER] = {"expert_shared_feed_forward_length", "shared_expert_intermediate_size", 1 << 20},
};

const char *model_hparam_name(const Hparams *h, const HparamKey *key, char out[HPARAM_NAME]) {
    if (h->text)
        snprintf(out, HPARAM_NAME, "config.json: %s", key->hf);
    else
        snprintf(out, HPARAM_NAME, "%s.%s", h->arch->name, key->gguf);
    return out;
}

ErrCode model_hparam_number(const Hparams *h, const HparamKey *key, bool *found, double *value, Err *err) {
    char name[HPARAM_NAME];
    *found = false;
    if (h->text) {
        const json_t *j = model_hf_member(h->text, key->hf);
        if (!j) return ERR_OK;
        if (!json_is_number(j)) return err_set(err, ERR_FORMAT, "%s must be a number", model_hparam_name(h, key, name));
        *value = json_number_value(j);
    } else {
        const FormatKey *k = format_key(h->format, model_hparam_name(h, key, name));
        if (!k) return ERR_OK;
        uint64_t whole;
        if (k->is_array) return err_set(err, ERR_FORMAT, "%s is an array where one number belongs", name);
        if (format_key_u64(k, 0, &whole))
            *value = (double)whole;
        else if (!format_key_f64(k, 0, value))
            return err_set(err, ERR_FORMAT, "%s must be a number", name);
    }
    *found = true;
    return ERR_OK;
}

ErrCode model_hparam_check_u32(const Hparams *h, const HparamKey *key, double value, uint32_t *out, Err *err) {
    char name[HPARAM_NAME];
    if (!(value >= 1 && value <= key->max) || value != floor(value))
        return err_set(err, ERR_FORMAT, "%s is %.15g, but must be a whole number from 1 to %.0f", model_hparam_name(h, key, name), value,
                       key->max);
    *out = (uint32_t)value;
    return ERR_OK;
}

ErrCode model_hparam_u32_or(const Hparams *h, const HparamKey *key, uint32_t fallback, uint32_t *out, Err *err) {
    bool found;
    double value = 0;
    TRY(model_hparam_number(h, key, &found, &value, err));
    if (!found) {
        *out = fallback;
        return ERR_OK;
    }
    return model_hparam_check_u32(h, key, value, out, err);
}

static ErrCode missing(const Hparams *h, const HparamKey *key, Err *err) {
    char name[HPARAM_NAME];
    return err_set(err, ERR_FORMAT, "%s is missing", model_hparam_name(h, key, name));
}

ErrCode model_hparam_u32(const Hparams *h, const HparamKey *key, uint32_t *out, Err *err) {
    TRY(model_hparam_u32_or(h, key, 0, out, err));
    return *out ? ERR_OK : missing(h, key, err);
}

ErrCode model_hparam_real(const Hparams *h, const HparamKey *key, double low, double high, double *out, Err *err) {
    char name[HPARAM_NAME];
    bool found;
    TRY(model_hparam_number(h, key, &found, out, err));
    if (!found) return missing(h, key, err);
    if (!(*out >= low && *out <= high))
        return err_set(err, ERR_FORMAT, "%s is %g, but must be from %g to %g", model_hparam_name(h, key, name), *out, low, high);
    return ERR_OK;
}

ErrCode model_hparam_multiple(const Hparams *h, const HparamKey *big, uint32_t n, const HparamKey *small, uint32_t of, Err *err) {
    char a[HPARAM_NAME], b[HPARAM_NAME];
    if (n % of == 0) return ERR_OK;
    return err_set(err, ERR_FORMAT, "%s is %u, which is no multiple of %s, %u", model_hparam_name(h, big, a), n,
                   model_hparam_name(h, small, b), of);
}

ErrCode model_hparam_product(const Hparams *h, const HparamKey *key, const HparamKey *times, uint64_t n, Err *err) {
    char a[HPARAM_NAME], b[HPARAM_NAME];
    if (n <= UINT32_MAX / 2) return ERR_OK;
    return err_set(err, ERR_FORMAT, "%s times %s is too large", model_hparam_name(h, key, a), model_hparam_name(h, times, b));
}

ErrCode model_hparams_check(const Hparams *h, const ModelShape *s, Err *err) {
    char a[HPARAM_NAME], b[HPARAM_NAME];
    TRY(model_hparam_multiple(h, KEY(HEADS), s->n_heads, KEY(KV_HEADS), s->n_kv_heads, err));
    if (s->rotary_dim < 2 || s->rotary_dim % 2 || s->rotary_dim > s->head_dim)
        return err_set(err, ERR_FORMAT, "%s makes %u rotary dimensions, but they must be even, at least 2 and at most %s, %u",
                       model_hparam_name(h, KEY(ROTARY), a), s->rotary_dim, model_hparam_name(h, KEY(HEAD_DIM), b), s->head_dim);
    if (s->top_k > s->n_experts)
        return err_set(err, ERR_FORMAT, "%s is %u, more than the %u of %s", model_hparam_name(h, KEY(TOP_K), a), s->top_k, s->n_experts,
                       model_hparam_name(h, KEY(EXPERTS), b));
    TRY(model_hparam_product(h, KEY(HEADS), KEY(HEAD_DIM), (uint64_t)s->n_heads * s->head_dim * 2, err));
    for (int i = 0; i < MODEL_MIXER_COUNT; i++)
        if (model_mixers[i]->check) TRY(model_mixers[i]->check(h, s, err));
    return ERR_OK;
}
