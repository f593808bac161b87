/* Binds the tensors of a file to the canonical description, the same way for every layout: only the names differ. What a layout
 * stores fused or interleaved is taken apart here, by planning which rows are copied where. */
#include "model/parts.h"

#include <stdio.h>
#include <string.h>

enum { NAME_BYTES = 256, SHAPE_BYTES = 128 };

/* ---- finding and checking one tensor -------------------------------------------------------------------------------------- */

const FormatTensor *model_bind_find(Binder *b, const char *name) {
    const FormatTensor *t = name ? format_tensor(b->format, name) : NULL;
    if (t) b->claimed[t - b->format->tensors] = true;
    return t;
}

ErrCode model_bind_missing(Binder *b, const char *name, const char *what) {
    return err_set(b->err, ERR_FORMAT, "the tensor %s (%s) is missing", name, what);
}

static const char *shape_text(const uint64_t *dims, int n, char out[SHAPE_BYTES]) {
    int at = snprintf(out, SHAPE_BYTES, "[");
    for (int i = 0; i < n; i++) at += snprintf(out + at, (size_t)(SHAPE_BYTES - at), "%s%llu", i ? ", " : "", (unsigned long long)dims[i]);
    snprintf(out + at, (size_t)(SHAPE_BYTES - at), "]");
    return out;
}

/* Copies the dimensions that are not 1; returns how many. */
static int squeeze(const uint64_t *dims, int n, uint64_t out[FORMAT_MAX_DIMS]) {
    int kept = 0;
    for (int i = 0; i < n && i < FORMAT_MAX_DIMS; i++)
        if (dims[i] != 1) out[kept++] = dims[i];
    return kept;
}

ErrCode model_bind_expect(Binder *b, const FormatTensor *t, const char *what, const uint64_t *dims, int n_dims) {
    uint64_t have[FORMAT_MAX_DIMS], want[FORMAT_MAX_DIMS], rows = 1;
    char a[SHAPE_BYTES], c[SHAPE_BYTES];
    int n_have = squeeze(t->dims, t->n_dims, have), n_want = squeeze(dims, n_dims, want);
    if (n_have != n_want || memcmp(have, want, (size_t)n_want * sizeof want[0]) != 0)
        return err_set(b->err, ERR_FORMAT, "the tensor %s (%s) has the shape %s, but the model's numbers ask for %s", t->name.ptr, what,
                       shape_text(t->dims, t->n_dims, a), shape_text(dims, n_dims, c));
    const QuantTraits *traits = quant_traits(t->type);
    if (!traits->decode)
        return err_set(b->err, ERR_UNSUPPORTED, "the tensor %s (%s) has the type %s, which is not supported for weights", t->name.ptr,
                       what, traits->name);
    for (int i = 0; i + 1 < n_want; i++) rows *= want[i];
    uint64_t row_bytes = quant_row_bytes(t->type, n_want ? want[n_want - 1] : 1);
    if (row_bytes == 0 || row_bytes * rows != t->bytes)
        return err_set(b->err, ERR_FORMAT, "the tensor %s (%s) of shape %s cannot be of type %s, whose blocks have %u elements",
                       t->name.ptr, what, shape_text(t->dims, t->n_dims, a), traits->name, traits->block_elems);
    return ERR_OK;
}

ErrCode model_bind_mat(Binder *b, ModelMat *mat, const char *name, const char *what, uint64_t rows, uint64_t cols) {
    const FormatTensor *t = model_bind_find(b, name);
    uint64_t at;
    if (!t) return model_bind_missing(b, name, what);
    TRY(model_bind_expect(b, t, what, (uint64_t[]){rows, cols}, 2));
    TRY(model_dense_mat(b->m, mat, t->type, rows, cols, &at, b->err));
    return model_dense_step(b->m, t, 0, rows * cols, at, LOAD_ROWS, b->err);
}

/* n1 0: a vector of n0. */
ErrCode model_bind_vec(Binder *b, const float **vec, const char *name, const char *what, uint64_t n0, uint64_t n1, LoadKind kind) {
    const FormatTensor *t = model_bind_find(b, name);
    uint64_t at, n = n1 ? n0 * n1 : n0;
    if (!t) return model_bind_missing(b, name, what);
    TRY(model_bind_expect(b, t, what, (uint64_t[]){n0, n1}, n1 ? 2 : 1));
    TRY(model_dense_vec(b->m, vec, n, &at, b->err));
    return model_dense_step(b->m, t, 0, n, at, kind, b->err);
}

/* ---- the same within a layer ------------------------------------------------------------------------------------------------ */

static const char *layer_name(const Binder *b, const char *suffix, char out[NAME_BYTES]) {
    snprintf(out, NAME_BYTES, "%s%u.%s", b->names.layers, b->layer, suffix);
    return out;
}

static const FormatTensor *find(Binder *b, const char *suffix) {
    char name[NAME_BYTES];
    return suffix ? model_bind_find(b, layer_name(b, suffix, name)) : NULL;
}

static ErrCode mat(Binder *b, ModelMat *to, const char *suffix, const char *what, uint64_t rows, uint64_t cols) {
    char name[NAME_BYTES];
    return model_bind_mat(b, to, layer_name(b, suffix, name), what, rows, cols);
}

static ErrCode vec(Binder *b, const float **to, const char *suffix, const char *what, uint64_t n0, uint64_t n1, LoadKind kind) {
    char name[NAME_BYTES];
    return model_bind_vec(b, to, layer_name(b, suffix, name), what, n0, n1, kind);
}

LoadKind model_bind_norm_kind(const Binder *b) {
    return b->format->kind == FORMAT_SAFETENSORS && b->arch->zero_centred ? LOAD_F32_PLUS_ONE : LOAD_F32;
}

/* ---- fused matrices ----------------------------------------------------------------------------------------------------------- */

/* Part of the rows of a fused tensor on their way to rows of a matrix of our own. */
typedef struct RowCopy {
    Binder *b;
    const FormatTensor *from;
    uint64_t cols, row_bytes;
    uint64_t next; /* row of `from` that comes next */
} RowCopy;

/* The next n rows go to row `row` of the matrix that begins at byte `at` of the pages. */
static ErrCode take_rows(RowCopy *c, uint64_t n, uint64_t at, uint64_t row) {
    uint64_t first = c->next;
    c->next += n;
    return model_dense_step(c->b->m, c->from, first * c->cols, n * c->cols, at + row * c->row_bytes, LOAD_ROWS, c->b->err);
}

static RowCopy row_copy(Binder *b, const FormatTensor *from, uint64_t cols) {
    return (RowCopy){.b = b, .from = from, .cols = cols, .row_bytes = quant_row_bytes(from->type, cols)};
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
    RowCopy c = row_copy(b, t, s->hidden);
    for (uint64_t g = 0; g < groups; g++) {
        TRY(take_rows(&c, dk, qkv, g * dk));
        TRY(take_rows(&c, dk, qkv, all_k + g * dk));
        TRY(take_rows(&c, dv, qkv, 2 * all_k + g * dv));
        TRY(take_rows(&c, dv, z, g * dv));
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
    RowCopy c = row_copy(b, t, s->hidden);
    for (uint64_t g = 0; g < s->lin_k_heads; g++) {
        TRY(take_rows(&c, r, beta, g * r));
        TRY(take_rows(&c, r, decay, g * r));
    }
    return ERR_OK;
}

/* Some GGUF files hold q, k and v of a full layer as one matrix, one below the other. */
static ErrCode bind_qkv(Binder *b, ModelLayer *l, const FormatTensor *t, uint64_t q_rows, uint64_t kv_rows) {
    const ModelShape *s = &b->m->shape;
    uint64_t q, k, v;
    TRY(model_bind_expect(b, t, "query, key and value projection", (uint64_t[]){q_rows + 2 * kv_rows, s->hidden}, 2));
    TRY(model_dense_mat(b->m, &l->q, t->type, q_rows, s->hidden, &q, b->err));
    TRY(model_dense_mat(b->m, &l->k, t->type, kv_rows, s->hidden, &k, b->err));
    TRY(model_dense_mat(b->m, &l->v, t->type, kv_rows, s->hidden, &v, b->err));
    RowCopy c = row_copy(b, t, s->hidden);
    TRY(take_rows(&c, q_rows, q, 0));
    TRY(take_rows(&c, kv_rows, k, 0));
    return take_rows(&c, kv_rows, v, 0);
}

/* ---- layers -------------------------------------------------------------------------------------------------------------------- */

static ErrCode bind_linear(Binder *b, ModelLayer *l) {
    const ModelShape *s = &b->m->shape;
    const BindNames *n = &b->names;
    const uint64_t heads = s->lin_v_heads, all_k = (uint64_t)s->lin_k_heads * s->lin_k_dim, all_v = heads * s->lin_v_dim;
    const FormatTensor *qkvz = b->arch->interleaved ? find(b, n->lin_qkvz) : NULL;
    const FormatTensor *ba = b->arch->interleaved ? find(b, n->lin_ba) : NULL;
    if (qkvz) {
        TRY(bind_qkvz(b, l, qkvz));
    } else {
        TRY(mat(b, &l->lin_qkv, n->lin_qkv, "query, key and value projection of the delta net", 2 * all_k + all_v, s->hidden));
        TRY(mat(b, &l->lin_z, n->lin_z, "output gate of the delta net", all_v, s->hidden));
    }
    if (ba) {
        TRY(bind_ba(b, l, ba));
    } else {
        TRY(mat(b, &l->lin_b, n->lin_b, "beta projection of the delta net", heads, s->hidden));
        TRY(mat(b, &l->lin_a, n->lin_a, "decay projection of the delta net", heads, s->hidden));
    }
    TRY(vec(b, &l->conv, n->conv, "convolution of the delta net", 2 * all_k + all_v, s->conv_width, LOAD_F32));
    TRY(vec(b, &l->ssm_a, n->ssm_a, "decay of the delta net", heads, 0, n->a_is_log ? LOAD_F32_NEG_EXP : LOAD_F32_DECAY));
    TRY(vec(b, &l->dt_bias, n->dt_bias, "decay bias of the delta net", heads, 0, LOAD_F32));
    TRY(vec(b, &l->lin_norm, n->lin_norm, "gated norm of the delta net", s->lin_v_dim, 0, LOAD_F32));
    return mat(b, &l->lin_out, n->lin_out, "output projection of the delta net", s->hidden, all_v);
}

static ErrCode bind_full(Binder *b, ModelLayer *l) {
    const ModelShape *s = &b->m->shape;
    const BindNames *n = &b->names;
    const uint64_t heads_dim = (uint64_t)s->n_heads * s->head_dim, kv_dim = (uint64_t)s->n_kv_heads * s->head_dim;
    const uint64_t q_rows = heads_dim * (s->attn_gate ? 2 : 1);
    const FormatTensor *fused = find(b, n->qkv);
    if (fused) {
        TRY(bind_qkv(b, l, fused, q_rows, kv_dim));
    } else {
        TRY(mat(b, &l->q, n->q, s->attn_gate ? "query and gate projection" : "query projection", q_rows, s->hidden));
        TRY(mat(b, &l->k, n->k, "key projection", kv_dim, s->hidden));
        TRY(mat(b, &l->v, n->v, "value projection", kv_dim, s->hidden));
    }
    TRY(mat(b, &l->o, n->o, "output projection of attention", s->hidden, heads_dim));
    TRY(vec(b, &l->q_norm, n->q_norm, "query norm", s->head_dim, 0, model_bind_norm_kind(b)));
    return vec(b, &l->k_norm, n->k_norm, "key norm", s->head_dim, 0, model_bind_norm_kind(b));
}

ErrCode model_bind_layer(Binder *b, ModelLayer *l) {
    const ModelShape *s = &b->m->shape;
    const BindNames *n = &b->names;
    TRY(vec(b, &l->norm_in, n->norm_in, "norm before the mixer", s->hidden, 0, model_bind_norm_kind(b)));
    TRY(l->mixer == MODEL_MIXER_LINEAR ? bind_linear(b, l) : bind_full(b, l));
    TRY(vec(b, &l->norm_post, n->norm_post, "norm before the experts", s->hidden, 0, model_bind_norm_kind(b)));
    TRY(mat(b, &l->router, n->router, "router", s->n_experts, s->hidden));
    if (!s->shared_inner) return ERR_OK;
    TRY(mat(b, &l->shared_gate, n->shared_gate, "gate of the shared expert", s->shared_inner, s->hidden));
    TRY(mat(b, &l->shared_up, n->shared_up, "up projection of the shared expert", s->shared_inner, s->hidden));
    TRY(mat(b, &l->shared_down, n->shared_down, "down projection of the shared expert", s->hidden, s->shared_inner));
    return mat(b, &l->shared_router, n->shared_router, "sigmoid gate of the shared expert", 1, s->hidden);
}

/* ---- the whole model -------------------------------------------------------------------------------------------------------------- */

/* A tensor that nobody asked for belongs to a network other than the one described here. */
static ErrCode refuse_left_over(Binder *b) {
    const FormatTensor *first = NULL;
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->format->n_tensors; i++) {
        const FormatTensor *t = &b->format->tensors[i];
        bool gguf = b->format->kind == FORMAT_GGUF;
        if (b->claimed[i] || (gguf ? model_bind_gguf_harmless(b, t->name) : model_bind_hf_harmless(b, t->name))) continue;
        if (!first) first = t;
        n++;
    }
    if (!first) return ERR_OK;
    char others[64] = "";
    if (n > 1) snprintf(others, sizeof others, " (and %u more)", n - 1);
    return err_set(b->err, ERR_UNSUPPORTED, "the tensor %s%s has no place in %s as it is known here; leaving it out would change the "
                   "answer", first->name.ptr, others, b->arch->name);
}

static ErrCode bind_all(Binder *b, const HfJson *hf) {
    Model *m = b->m;
    const uint32_t n = m->shape.n_layers;
    if (b->format->kind == FORMAT_GGUF) {
        model_bind_gguf_names(b);
        TRY(model_bind_gguf_outside(b));
    } else {
        TRY(model_bind_hf_names(b));
        TRY(model_bind_hf_outside(b, hf));
    }
    for (b->layer = 0; b->layer < n; b->layer++) TRY(model_bind_layer(b, &m->layers[b->layer]));
    /* Only now: every layer's router exists in the file, so this table cannot be larger than a small multiple of the file. */
    const size_t per_layer = (size_t)m->shape.n_experts * MODEL_MATS;
    m->records = mem_new(n, per_layer * sizeof *m->records);
    if (!m->records) return err_no_memory(b->err, n * per_layer * sizeof *m->records, "the table of experts");
    for (b->layer = 0; b->layer < n; b->layer++)
        TRY(model_bind_experts(b, &m->layers[b->layer], m->records + b->layer * per_layer));
    return refuse_left_over(b);
}

ErrCode model_bind_model(Model *m, const HfJson *hf, Err *err) {
    Binder b = {.m = m, .format = m->format, .arch = m->inner->arch, .err = err};
    b.claimed = MEM_NEW(bool, m->format->n_tensors);
    if (!b.claimed) return err_no_memory(err, m->format->n_tensors, "the table of tensors");
    ErrCode code = bind_all(&b, hf);
    mem_free(b.claimed);
    return code;
}
