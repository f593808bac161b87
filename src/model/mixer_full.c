/* Full attention in files: its tensors under all their names. Every architecture has layers of it, so its numbers are read in
 * hparams_*.c. What it computes stands in forward/attention.c. */
#include "model/parts.h"

typedef struct Names {
    const char *q, *k, *v, *qkv, *o, *q_norm, *k_norm; /* qkv NULL: never fused */
} Names;

static const Names gguf = {"attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_qkv.weight", "attn_output.weight",
                           "attn_q_norm.weight", "attn_k_norm.weight"};
static const Names hf = {"self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight", NULL,
                         "self_attn.o_proj.weight", "self_attn.q_norm.weight", "self_attn.k_norm.weight"};

/* Some GGUF files hold q, k and v of a full layer as one matrix, one below the other. */
static ErrCode bind_qkv(Binder *b, ModelLayer *l, const FormatTensor *t, uint64_t q_rows, uint64_t kv_rows) {
    const ModelShape *s = &b->m->shape;
    uint64_t q, k, v;
    TRY(model_bind_expect(b, t, "query, key and value projection", (uint64_t[]){q_rows + 2 * kv_rows, s->hidden}, 2));
    TRY(model_dense_mat(b->m, &l->q, t->type, q_rows, s->hidden, &q, b->err));
    TRY(model_dense_mat(b->m, &l->k, t->type, kv_rows, s->hidden, &k, b->err));
    TRY(model_dense_mat(b->m, &l->v, t->type, kv_rows, s->hidden, &v, b->err));
    RowCopy c = model_bind_row_copy(b, t, s->hidden);
    TRY(model_bind_rows(&c, q_rows, q, 0));
    TRY(model_bind_rows(&c, kv_rows, k, 0));
    return model_bind_rows(&c, kv_rows, v, 0);
}

static ErrCode bind(Binder *b, ModelLayer *l) {
    const ModelShape *s = &b->m->shape;
    const Names *n = b->format->kind == FORMAT_GGUF ? &gguf : &hf;
    const uint64_t heads_dim = (uint64_t)s->n_heads * s->head_dim, kv_dim = (uint64_t)s->n_kv_heads * s->head_dim;
    const uint64_t q_rows = heads_dim * (s->attn_gate ? 2 : 1);
    const FormatTensor *fused = model_bind_layer_find(b, n->qkv);
    if (fused) {
        TRY(bind_qkv(b, l, fused, q_rows, kv_dim));
    } else {
        TRY(model_bind_layer_mat(b, &l->q, n->q, s->attn_gate ? "query and gate projection" : "query projection", q_rows, s->hidden));
        TRY(model_bind_layer_mat(b, &l->k, n->k, "key projection", kv_dim, s->hidden));
        TRY(model_bind_layer_mat(b, &l->v, n->v, "value projection", kv_dim, s->hidden));
    }
    TRY(model_bind_layer_mat(b, &l->o, n->o, "output projection of attention", s->hidden, heads_dim));
    TRY(model_bind_layer_vec(b, &l->q_norm, n->q_norm, "query norm", s->head_dim, 0, model_bind_norm_kind(b)));
    return model_bind_layer_vec(b, &l->k_norm, n->k_norm, "key norm", s->head_dim, 0, model_bind_norm_kind(b));
}

static void mats(const ModelLayer *l, const ModelMat *out[MODEL_MIXER_MATS]) {
    out[0] = &l->q;
    out[1] = &l->k;
    out[2] = &l->v;
    out[3] = &l->o;
}

static void describe(const ModelShape *s, Buf *out) {
    buf_printf(out, "%u heads, %u key/value heads of %u, rotary on %u dimensions, theta %.0f%s", s->n_heads, s->n_kv_heads, s->head_dim,
               s->rotary_dim, s->rope_theta, s->attn_gate ? ", output gate" : "");
}

const MixerRow model_mixer_full = {
    .name = "attention",
    .group = "full attention",
    .words = {".attn_", "self_attn"},
    .hf_type = "full_attention",
    .bind = bind,
    .mats = mats,
    .describe = describe,
};
