/* Numbers of a GGUF file: keys "{arch}.…", of which many files in the world leave some out or write them per layer. */
#include "model/parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const FormatKey *arch_key(const Hparams *h, const char *suffix, char name[HPARAM_NAME]) {
    snprintf(name, HPARAM_NAME, "%s.%s", h->arch->name, suffix);
    return format_key(h->format, name);
}

static const FormatTensor *layer_tensor(const Hparams *h, uint32_t layer, const char *suffix) {
    char name[HPARAM_NAME];
    snprintf(name, sizeof name, "blk.%u.%s", layer, suffix);
    return format_tensor(h->format, name);
}

/* Keys that other models use and that would change the answer here. Absent or `harmless`: nothing to do. */
static const struct {
    const char *suffix;
    double harmless[2];
} foreign[] = {
    {"attention.sliding_window", {0, 0}}, {"attention.causal", {1, 1}}, {"attention.clamp_kqv", {0, 0}},
    {"attention.scale", {0, 0}}, {"attention.max_alibi_bias", {0, 0}}, {"attn_logit_softcapping", {0, 0}},
    {"final_logit_softcapping", {0, 0}}, {"logit_scale", {0, 1}}, {"embedding_scale", {0, 1}}, {"residual_scale", {0, 1}},
    {"expert_weights_scale", {0, 1}}, {"expert_group_count", {0, 1}}, {"expert_group_used_count", {0, 1}},
    {"expert_gating_func", {0, 1}}, {"leading_dense_block_count", {0, 0}}, {"interleave_moe_layer_step", {0, 1}},
    {"moe_every_n_layers", {0, 1}}, {"use_parallel_residual", {0, 0}}, {"rope.scaling.attn_factor", {0, 1}},
};

static ErrCode refuse_foreign(const Hparams *h, Err *err) {
    char name[HPARAM_NAME];
    for (size_t i = 0; i < COUNT_OF(foreign); i++) {
        const FormatKey *k = arch_key(h, foreign[i].suffix, name);
        double v = 0;
        if (!k) continue;
        if (k->is_array || !format_key_f64(k, 0, &v))
            return err_set(err, ERR_UNSUPPORTED, "%s is not supported in this form", name);
        if (v != foreign[i].harmless[0] && v != foreign[i].harmless[1])
            return err_set(err, ERR_UNSUPPORTED, "%s is %g: this is not supported, and the answer depends on it", name, v);
    }
    return ERR_OK;
}

/* Scaled rotary positions (YaRN and the like) change every answer, so only a scaling by 1 may pass. */
static ErrCode refuse_rope_scaling(const Hparams *h, Err *err) {
    char name[HPARAM_NAME], factor_name[HPARAM_NAME];
    Str type;
    double factor = 0;
    const FormatKey *f = arch_key(h, "rope.scaling.factor", factor_name);
    const FormatKey *legacy = f ? NULL : arch_key(h, "rope.scale_linear", factor_name);
    if (!f) f = legacy;
    bool one = f && !f->is_array && format_key_f64(f, 0, &factor) && factor == 1.0;
    const FormatKey *t = arch_key(h, "rope.scaling.type", name);
    if (!t) {
        if (!f || one) return ERR_OK;
        return err_set(err, ERR_UNSUPPORTED, "%s is %g: scaled rotary positions are not supported yet", factor_name, factor);
    }
    if (!format_key_str(t, 0, &type)) return err_set(err, ERR_FORMAT, "%s must be a string", name);
    if (str_eq_c(type, "none") || str_eq_c(type, "")) return ERR_OK;
    if (one && (str_eq_c(type, "linear") || str_eq_c(type, "yarn"))) return ERR_OK;
    return err_set(err, ERR_UNSUPPORTED, "%s is '%.*s': scaled rotary positions are not supported yet", name,
                   (int)(type.len < 32 ? type.len : 32), type.ptr);
}

/* A head count: one number, or one per block with 0 where the layer has no full attention. All others must agree, since every
 * full layer has the same shape. zero_at: the first block with 0, for the check against the layer types. */
static ErrCode head_count(const Hparams *h, const HparamKey *key, uint32_t n_layers, uint32_t *out, bool *zero, Err *err) {
    char name[HPARAM_NAME];
    const FormatKey *k = format_key(h->format, model_hparam_name(h, key, name));
    if (!k || !k->is_array) return model_hparam_u32(h, key, out, err);
    if (k->count < n_layers)
        return err_set(err, ERR_FORMAT, "%s has %llu entries for %u layers", name, (unsigned long long)k->count, n_layers);
    *out = 0;
    for (uint32_t i = 0; i < n_layers; i++) {
        uint64_t n;
        uint32_t checked;
        if (!format_key_u64(k, i, &n)) return err_set(err, ERR_FORMAT, "%s: entry %u is no count", name, i);
        if (zero) zero[i] = zero[i] || n == 0;
        if (n == 0) continue;
        TRY(model_hparam_check_u32(h, key, (double)n, &checked, err));
        if (*out && *out != checked)
            return err_set(err, ERR_UNSUPPORTED, "%s differs between layers (%u and %u): not supported", name, *out, checked);
        *out = checked;
    }
    return *out ? ERR_OK : err_set(err, ERR_FORMAT, "%s is 0 in every layer", name);
}

/* Which layers have the other mixer: the explicit list, else the interval, else the tensors that are there. */
static ErrCode layer_types(const Hparams *h, Model *m, Err *err) {
    char name[HPARAM_NAME];
    const ModelMixer other = h->arch->other;
    if (other == MODEL_MIXER_FULL) return ERR_OK;
    const FormatKey *list = arch_key(h, "attention.recurrent_layers", name);
    if (list) {
        if (!list->is_array || list->count < m->shape.n_layers)
            return err_set(err, ERR_FORMAT, "%s must have one entry for each of the %u layers", name, m->shape.n_layers);
        for (uint32_t i = 0; i < m->shape.n_layers; i++) {
            uint64_t v;
            if (!format_key_u64(list, i, &v) || v > 1) return err_set(err, ERR_FORMAT, "%s: entry %u is no truth value", name, i);
            if (v == 1) m->layers[i].mixer = other;
        }
        return ERR_OK;
    }
    uint32_t interval;
    TRY(model_hparam_u32_or(h, KEY(INTERVAL), 0, &interval, err));
    for (uint32_t i = 0; i < m->shape.n_layers; i++)
        if (interval ? (i + 1) % interval != 0 : layer_tensor(h, i, model_mixers[other]->gguf_sign) != NULL)
            m->layers[i].mixer = other;
    return ERR_OK;
}

static ErrCode blocks(const Hparams *h, Model *m, Err *err) {
    char name[HPARAM_NAME];
    TRY(model_hparam_u32(h, KEY(LAYERS), &m->inner->n_blocks, err));
    uint64_t drafts = 0;
    const FormatKey *k = arch_key(h, "nextn_predict_layers", name);
    if (k && (k->is_array || !format_key_u64(k, 0, &drafts))) return err_set(err, ERR_FORMAT, "%s must be a count", name);
    if (drafts >= m->inner->n_blocks)
        return err_set(err, ERR_FORMAT, "%s is %llu, but there are only %u blocks in all", name, (unsigned long long)drafts,
                       m->inner->n_blocks);
    m->shape.n_layers = m->inner->n_blocks - (uint32_t)drafts;
    if (m->shape.n_layers > h->format->n_tensors)
        return err_set(err, ERR_FORMAT, "%s.block_count is %u, but the file has only %u tensors", h->arch->name, m->inner->n_blocks,
                       h->format->n_tensors);
    m->layers = MEM_NEW(ModelLayer, (size_t)m->shape.n_layers + 1); /* one more: see model_bind_mtp */
    return m->layers ? ERR_OK : err_no_memory(err, m->shape.n_layers * sizeof(ModelLayer), "the table of layers");
}

static ErrCode attention(const Hparams *h, Model *m, Err *err) {
    ModelShape *s = &m->shape;
    char name[HPARAM_NAME];
    uint32_t value_dim;
    double theta, eps;
    bool *zero = MEM_NEW(bool, s->n_layers);
    if (!zero) return err_no_memory(err, s->n_layers, "the table of layers");
    ErrCode code = head_count(h, KEY(HEADS), s->n_layers, &s->n_heads, zero, err);
    if (code == ERR_OK) code = head_count(h, KEY(KV_HEADS), s->n_layers, &s->n_kv_heads, zero, err);
    if (code == ERR_OK) code = layer_types(h, m, err);
    for (uint32_t i = 0; code == ERR_OK && i < s->n_layers; i++)
        if (zero[i] && m->layers[i].mixer == MODEL_MIXER_FULL)
            code = err_set(err, ERR_FORMAT, "%s says that layer %u has no attention heads, but it is a full attention layer",
                           model_hparam_name(h, KEY(KV_HEADS), name), i);
    mem_free(zero);
    TRY(code);
    TRY(model_hparam_u32_or(h, KEY(HEAD_DIM), s->hidden / s->n_heads, &s->head_dim, err));
    TRY(model_hparam_u32_or(h, KEY(VALUE_DIM), s->head_dim, &value_dim, err));
    if (value_dim != s->head_dim)
        return err_set(err, ERR_UNSUPPORTED, "%s is %u and the key length %u: different sizes are not supported",
                       model_hparam_name(h, KEY(VALUE_DIM), name), value_dim, s->head_dim);
    if (h->arch->partial_rotary_default == 1.0)
        TRY(model_hparam_u32_or(h, KEY(ROTARY), s->head_dim, &s->rotary_dim, err));
    else /* nothing else in the file tells how many dimensions rotate */
        TRY(model_hparam_u32(h, KEY(ROTARY), &s->rotary_dim, err));
    TRY(model_hparam_real(h, KEY(THETA), 1, 1e15, &theta, err));
    TRY(model_hparam_real(h, KEY(EPS), 1e-15, 0.1, &eps, err));
    s->rope_theta = theta;
    s->eps = (float)eps;
    s->attn_gate = h->arch->gated;
    return ERR_OK;
}

/* The width of a matrix of layer 0, for keys that some files leave out. 0: no such tensor. */
static uint32_t inner_of(const Hparams *h, const char *suffix) {
    const FormatTensor *t = layer_tensor(h, 0, suffix);
    uint64_t n = t && t->n_dims >= 2 ? t->dims[t->n_dims - 1] : 0;
    return n <= 1 << 20 ? (uint32_t)n : 0;
}

static ErrCode experts(const Hparams *h, ModelShape *s, Err *err) {
    char name[HPARAM_NAME];
    TRY(model_hparam_u32(h, KEY(EXPERTS), &s->n_experts, err));
    TRY(model_hparam_u32(h, KEY(TOP_K), &s->top_k, err));
    TRY(model_hparam_u32_or(h, KEY(EXPERT_INNER), inner_of(h, "ffn_down_exps.weight"), &s->expert_inner, err));
    if (h->arch->shared)
        TRY(model_hparam_u32_or(h, KEY(SHARED_INNER), inner_of(h, "ffn_down_shexp.weight"), &s->shared_inner, err));
    if (!s->expert_inner || (h->arch->shared && !s->shared_inner))
        return err_set(err, ERR_FORMAT, "%s is missing",
                       model_hparam_name(h, s->expert_inner ? KEY(SHARED_INNER) : KEY(EXPERT_INNER), name));
    uint64_t norm = 1;
    const FormatKey *k = arch_key(h, "expert_weights_norm", name);
    if (k && (k->is_array || !format_key_u64(k, 0, &norm) || norm > 1))
        return err_set(err, ERR_FORMAT, "%s must be a truth value", name);
    s->norm_topk = norm == 1;
    return ERR_OK;
}

ErrCode model_hparams_gguf(const Hparams *h, Model *m, Err *err) {
    ModelShape *s = &m->shape;
    TRY(blocks(h, m, err));
    TRY(model_hparam_u32(h, KEY(HIDDEN), &s->hidden, err));
    TRY(model_hparam_u32(h, KEY(CONTEXT), &s->ctx_train, err));
    const FormatTensor *embedding = format_tensor(h->format, "token_embd.weight");
    if (!embedding) return err_set(err, ERR_FORMAT, "the tensor token_embd.weight (token embeddings) is missing");
    TRY(model_hparam_check_u32(h, KEY(VOCAB), (double)embedding->dims[0], &s->vocab, err));
    TRY(attention(h, m, err));
    TRY(model_mixer_numbers(h, s, err));
    TRY(experts(h, s, err));
    TRY(refuse_rope_scaling(h, err));
    return refuse_foreign(h, err);
}
