/* Tensor names of GGUF files, and which of their tensors belong to other parts than the trunk. */
#include "model/parts.h"

#include <string.h>

void model_bind_gguf_names(Binder *b) {
    b->names = (BindNames){
        .layers = "blk.",
        .norm_in = "attn_norm.weight",
        .norm_post = b->arch->gguf_norm_post,
        .router = "ffn_gate_inp.weight",
        .shared_gate = "ffn_gate_shexp.weight",
        .shared_up = "ffn_up_shexp.weight",
        .shared_down = "ffn_down_shexp.weight",
        .shared_router = "ffn_gate_inp_shexp.weight",
        .expert_stack = {"ffn_gate_exps.weight", "ffn_up_exps.weight", "ffn_down_exps.weight"},
        .expert_gate_up_stack = "ffn_gate_up_exps.weight",
    };
}

ErrCode model_bind_gguf_outside(Binder *b) {
    Model *m = b->m;
    const ModelShape *s = &m->shape;
    TRY(model_bind_mat(b, &m->embedding, "token_embd.weight", "token embeddings", s->vocab, s->hidden));
    TRY(model_bind_vec(b, &m->norm_out, "output_norm.weight", "final norm", s->hidden, 0, LOAD_F32));
    if (!format_tensor(b->format, "output.weight")) return ERR_OK; /* tied: see model_load_dense */
    return model_bind_mat(b, &m->head, "output.weight", "output head", s->vocab, s->hidden);
}

/* Draft (MTP) layers stand behind the trunk or carry "nextn" in their names; files for pictures carry their encoder along. */
bool model_bind_gguf_harmless(const Binder *b, Str name) {
    if (str_starts(name, "v.") || str_starts(name, "mm.") || str_starts(name, "mtp.")) return true;
    if (!str_starts(name, "blk.")) return false;
    uint64_t layer = 0;
    size_t i = 4;
    for (; i < name.len && name.ptr[i] >= '0' && name.ptr[i] <= '9' && layer < UINT32_MAX; i++)
        layer = layer * 10 + (uint64_t)(name.ptr[i] - '0');
    if (i == 4 || i >= name.len || name.ptr[i] != '.') return false;
    if (layer >= b->m->shape.n_layers && layer < b->m->inner->n_blocks) return true;
    return str_starts(str_make(name.ptr + i + 1, name.len - i - 1), "nextn.");
}
