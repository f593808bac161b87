/* Tensor names of Hugging Face folders: the official ones, under the prefix that the folder uses. */
#include "model/parts.h"

/* Multimodal folders, text-only ones, and what some converters write. */
static const struct {
    const char *embedding, *norm, *layers, *head;
} prefixes[] = {
    {"model.language_model.embed_tokens.weight", "model.language_model.norm.weight", "model.language_model.layers.", "lm_head.weight"},
    {"model.embed_tokens.weight", "model.norm.weight", "model.layers.", "lm_head.weight"},
    {"language_model.model.embed_tokens.weight", "language_model.model.norm.weight", "language_model.model.layers.",
     "language_model.lm_head.weight"},
};

static size_t find_prefix(const FormatModel *format) {
    size_t i = 0;
    while (i < COUNT_OF(prefixes) && !format_tensor(format, prefixes[i].embedding)) i++;
    return i;
}

ErrCode model_bind_hf_names(Binder *b) {
    size_t p = find_prefix(b->format);
    if (p == COUNT_OF(prefixes)) return model_bind_missing(b, prefixes[1].embedding, "token embeddings, under any known prefix");
    b->names = (BindNames){
        .layers = prefixes[p].layers,
        .norm_in = "input_layernorm.weight",
        .norm_post = "post_attention_layernorm.weight",
        .router = "mlp.gate.weight",
        .shared_gate = "mlp.shared_expert.gate_proj.weight",
        .shared_up = "mlp.shared_expert.up_proj.weight",
        .shared_down = "mlp.shared_expert.down_proj.weight",
        .shared_router = "mlp.shared_expert_gate.weight",
        .expert_stack = {NULL, NULL, "mlp.experts.down_proj"},
        .expert_gate_up_stack = "mlp.experts.gate_up_proj",
        .experts = "mlp.experts.",
        .expert_each = {"gate_proj.weight", "up_proj.weight", "down_proj.weight"},
    };
    return ERR_OK;
}

static bool says_tied(const json_t *object) { return json_is_true(model_hf_member(object, "tie_word_embeddings")); }

ErrCode model_bind_hf_outside(Binder *b, const HfJson *hf) {
    Model *m = b->m;
    const ModelShape *s = &m->shape;
    size_t p = find_prefix(b->format);
    LoadKind norm = b->arch->zero_centred ? LOAD_F32_PLUS_ONE : LOAD_F32;
    TRY(model_bind_mat(b, &m->embedding, prefixes[p].embedding, "token embeddings", s->vocab, s->hidden));
    TRY(model_bind_vec(b, &m->norm_out, prefixes[p].norm, "final norm", s->hidden, 0, norm));
    /* A head that is there is used even where the config says tied: the two are then equal, or the config is wrong. */
    if (!format_tensor(b->format, prefixes[p].head) && (says_tied(hf->config) || says_tied(hf->text))) return ERR_OK;
    return model_bind_mat(b, &m->head, prefixes[p].head, "output head", s->vocab, s->hidden);
}

bool model_bind_hf_harmless(const Binder *b, Str name) {
    static const char *const other[] = {"model.visual.", "visual.", "vision_tower.", "model.vision_tower.", "mtp."};
    (void)b;
    for (size_t i = 0; i < COUNT_OF(other); i++)
        if (str_starts(name, other[i])) return true;
    return str_ends(name, "rotary_emb.inv_freq"); /* computed from rope_theta */
}
