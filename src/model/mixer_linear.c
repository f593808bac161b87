/* The gated delta net (Qwen3-Next, Qwen3.5) in files: its numbers, its tensors under all their names, and how they lie there fused or
 * interleaved. What it computes stands in forward/linear.c. */
#include "model/parts.h"

enum { K_HEADS, V_HEADS, K_DIM, V_DIM }; /* among the numbers */

/* ---- numbers ---- */

static ErrCode finish(const Hparams *h, ModelShape *s, Err *err) {
    char name[HPARAM_NAME];
    if (h->text) return ERR_OK;
    uint32_t inner = s->lin_v_dim; /* GGUF files tell it of all heads together */
    if (inner % s->lin_v_heads)
        return err_set(err, ERR_FORMAT, "%s is %u, which is no multiple of the %u value heads (ssm.time_step_rank)",
                       model_hparam_name(h, &model_mixer_linear.numbers[V_DIM].key, name), inner, s->lin_v_heads);
    s->lin_v_dim = inner / s->lin_v_heads;
    s->heads_tiled = h->arch->gguf_tiled;
    return ERR_OK;
}

static ErrCode check(const Hparams *h, const ModelShape *s, Err *err) {
    const MixerNumber *n = model_mixer_linear.numbers;
    if (!s->lin_k_heads) return ERR_OK;
    TRY(model_hparam_multiple(h, &n[V_HEADS].key, s->lin_v_heads, &n[K_HEADS].key, s->lin_k_heads, err));
    uint64_t rows = (uint64_t)s->lin_k_heads * s->lin_k_dim * 2 + (uint64_t)s->lin_v_heads * s->lin_v_dim * 2;
    return model_hparam_product(h, &n[V_HEADS].key, &n[V_DIM].key, rows, err);
}

/* ---- tensors ---- */

typedef struct Names {
    const char *qkv, *z, *qkvz, *b, *a, *ba, *conv, *ssm_a, *dt_bias, *norm, *out;
    bool a_is_log; /* ssm_a holds log(-A) */
} Names;

static const Names gguf = {
    .qkv = "attn_qkv.weight", .z = "attn_gate.weight", .qkvz = "ssm_in.weight", /* older qwen3next files */
    .b = "ssm_beta.weight", .a = "ssm_alpha.weight", .ba = "ssm_ba.weight", .conv = "ssm_conv1d.weight", .ssm_a = "ssm_a",
    .dt_bias = "ssm_dt.bias", .norm = "ssm_norm.weight", .out = "ssm_out.weight"};

static const Names hf = {
    .qkv = "linear_attn.in_proj_qkv.weight", .z = "linear_attn.in_proj_z.weight", .qkvz = "linear_attn.in_proj_qkvz.weight",
    .b = "linear_attn.in_proj_b.weight", .a = "linear_attn.in_proj_a.weight", .ba = "linear_attn.in_proj_ba.weight",
    .conv = "linear_attn.conv1d.weight", .ssm_a = "linear_attn.A_log", .a_is_log = true, .dt_bias = "linear_attn.dt_bias",
    .norm = "linear_attn.norm.weight", .out = "linear_attn.out_proj.weight"};

static const Names *names_of(const Binder *b) { return b->format->kind == FORMAT_GGUF ? &gguf : &hf; }

/* MLX turns the convolution round; its folders also hold the norms with 1 added, so reading on would be wrong in silence. */
static ErrCode refuse_mlx(Binder *b, const Names *n) {
    const FormatTensor *t = b->format->kind == FORMAT_GGUF ? NULL : model_bind_layer_find(b, n->conv);
    if (t && t->n_dims == 3 && t->dims[2] == 1 && t->dims[1] != 1)
        return err_set(b->err, ERR_UNSUPPORTED, "the tensor %s is laid out as in MLX folders; this folder layout is not supported "
                       "yet: use the original folder or a GGUF file of the model", t->name.ptr);
    return ERR_OK;
}

/* Qwen3-Next: per k-head its q rows, its k rows, then v and z rows of the r v-heads that belong to it. */
static ErrCode bind_qkvz(Binder *b, ModelLayer *l, const FormatTensor *t) {
    const ModelShape *s = &b->m->shape;
    const uint64_t groups = s->lin_k_heads, dk = s->lin_k_dim, dv = (uint64_t)s->lin_v_heads / groups * s->lin_v_dim;
    const uint64_t all_k = groups * dk, all_v = groups * dv;
    uint64_t qkv, z;
    TRY(model_bind_expect(b, t, "input projection of the delta net", (uint64_t[]){2 * all_k + 2 * all_v, s->hidden}, 2));
    TRY(model_dense_mat(b->m, &l->lin_qkv, t->type, 2 * all_k + all_v, s->hidden, &qkv, b->err));
    TRY(model_dense_mat(b->m, &l->lin_z, t->type, all_v, s->hidden, &z, b->err));
    RowCopy c = model_bind_row_copy(b, t, s->hidden);
    for (uint64_t g = 0; g < groups; g++) {
        TRY(model_bind_rows(&c, dk, qkv, g * dk));
        TRY(model_bind_rows(&c, dk, qkv, all_k + g * dk));
        TRY(model_bind_rows(&c, dv, qkv, 2 * all_k + g * dv));
        TRY(model_bind_rows(&c, dv, z, g * dv));
    }
    return ERR_OK;
}

/* Qwen3-Next: per k-head the b rows of its r v-heads, then their a rows. */
static ErrCode bind_ba(Binder *b, ModelLayer *l, const FormatTensor *t) {
    const ModelShape *s = &b->m->shape;
    const uint64_t r = s->lin_v_heads / s->lin_k_heads;
    uint64_t beta, decay;
    TRY(model_bind_expect(b, t, "beta and decay projection of the delta net", (uint64_t[]){2 * (uint64_t)s->lin_v_heads, s->hidden}, 2));
    TRY(model_dense_mat(b->m, &l->lin_b, t->type, s->lin_v_heads, s->hidden, &beta, b->err));
    TRY(model_dense_mat(b->m, &l->lin_a, t->type, s->lin_v_heads, s->hidden, &decay, b->err));
    RowCopy c = model_bind_row_copy(b, t, s->hidden);
    for (uint64_t g = 0; g < s->lin_k_heads; g++) {
        TRY(model_bind_rows(&c, r, beta, g * r));
        TRY(model_bind_rows(&c, r, decay, g * r));
    }
    return ERR_OK;
}

static ErrCode bind(Binder *b, ModelLayer *l) {
    const ModelShape *s = &b->m->shape;
    const Names *n = names_of(b);
    const uint64_t heads = s->lin_v_heads, all_k = (uint64_t)s->lin_k_heads * s->lin_k_dim, all_v = heads * s->lin_v_dim;
    TRY(refuse_mlx(b, n));
    const FormatTensor *qkvz = b->arch->interleaved ? model_bind_layer_find(b, n->qkvz) : NULL;
    const FormatTensor *ba = b->arch->interleaved ? model_bind_layer_find(b, n->ba) : NULL;
    if (qkvz) {
        TRY(bind_qkvz(b, l, qkvz));
    } else {
        TRY(model_bind_layer_mat(b, &l->lin_qkv, n->qkv, "query, key and value projection of the delta net", 2 * all_k + all_v, s->hidden));
        TRY(model_bind_layer_mat(b, &l->lin_z, n->z, "output gate of the delta net", all_v, s->hidden));
    }
    if (ba) {
        TRY(bind_ba(b, l, ba));
    } else {
        TRY(model_bind_layer_mat(b, &l->lin_b, n->b, "beta projection of the delta net", heads, s->hidden));
        TRY(model_bind_layer_mat(b, &l->lin_a, n->a, "decay projection of the delta net", heads, s->hidden));
    }
    TRY(model_bind_layer_vec(b, &l->conv, n->conv, "convolution of the delta net", 2 * all_k + all_v, s->conv_width, LOAD_F32));
    TRY(model_bind_layer_vec(b, &l->ssm_a, n->ssm_a, "decay of the delta net", heads, 0, n->a_is_log ? LOAD_F32_NEG_EXP : LOAD_F32_DECAY));
    TRY(model_bind_layer_vec(b, &l->dt_bias, n->dt_bias, "decay bias of the delta net", heads, 0, LOAD_F32));
    TRY(model_bind_layer_vec(b, &l->lin_norm, n->norm, "gated norm of the delta net", s->lin_v_dim, 0, LOAD_F32));
    return model_bind_layer_mat(b, &l->lin_out, n->out, "output projection of the delta net", s->hidden, all_v);
}

/* ---- for others ---- */

static void mats(const ModelLayer *l, const ModelMat *out[MODEL_MIXER_MATS]) {
    out[0] = &l->lin_qkv;
    out[1] = &l->lin_z;
    out[2] = &l->lin_b;
    out[3] = &l->lin_a;
    out[4] = &l->lin_out;
}

static void describe(const ModelShape *s, Buf *out) {
    buf_printf(out, "gated delta net: %u key heads of %u, %u value heads of %u (%s), convolution %u", s->lin_k_heads, s->lin_k_dim,
               s->lin_v_heads, s->lin_v_dim, s->heads_tiled ? "tiled" : "grouped", s->conv_width);
}

#define AT(member) offsetof(ModelShape, member)
const MixerRow model_mixer_linear = {
    .name = "linear",
    .group = "linear attention",
    .words = {".ssm_", ".attn_qkv.", ".attn_gate.", "linear_attn"},
    .hf_type = "linear_attention",
    .gguf_sign = "ssm_conv1d.weight",
    .numbers = {[K_HEADS] = {{"ssm.group_count", "linear_num_key_heads", 1 << 14}, "linear_k_heads", AT(lin_k_heads)},
                [V_HEADS] = {{"ssm.time_step_rank", "linear_num_value_heads", 1 << 14}, "linear_v_heads", AT(lin_v_heads)},
                [K_DIM] = {{"ssm.state_size", "linear_key_head_dim", 1 << 14}, "linear_k_dim", AT(lin_k_dim)},
                [V_DIM] = {{"ssm.inner_size", "linear_value_head_dim", 1 << 24}, "linear_v_dim", AT(lin_v_dim)},
                {{"ssm.conv_kernel", "linear_conv_kernel_dim", 64}, "conv_width", AT(conv_width)}},
    .finish = finish,
    .check = check,
    .bind = bind,
    .mats = mats,
    .describe = describe,
};
