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

const FormatTensor *model_bind_layer_find(Binder *b, const char *suffix) {
    char name[NAME_BYTES];
    return suffix ? model_bind_find(b, layer_name(b, suffix, name)) : NULL;
}

ErrCode model_bind_layer_mat(Binder *b, ModelMat *to, const char *suffix, const char *what, uint64_t rows, uint64_t cols) {
    char name[NAME_BYTES];
    return model_bind_mat(b, to, layer_name(b, suffix, name), what, rows, cols);
}

ErrCode model_bind_layer_vec(Binder *b, const float **to, const char *suffix, const char *what, uint64_t n0, uint64_t n1, LoadKind kind) {
    char name[NAME_BYTES];
    return model_bind_vec(b, to, layer_name(b, suffix, name), what, n0, n1, kind);
}

LoadKind model_bind_norm_kind(const Binder *b) {
    return b->format->kind == FORMAT_SAFETENSORS && b->arch->zero_centred ? LOAD_F32_PLUS_ONE : LOAD_F32;
}

/* ---- fused matrices ----------------------------------------------------------------------------------------------------------- */

ErrCode model_bind_rows(RowCopy *c, uint64_t n, uint64_t at, uint64_t row) {
    uint64_t first = c->next;
    c->next += n;
    return model_dense_step(c->b->m, c->from, first * c->cols, n * c->cols, at + row * c->row_bytes, LOAD_ROWS, c->b->err);
}

RowCopy model_bind_row_copy(Binder *b, const FormatTensor *from, uint64_t cols) {
    return (RowCopy){.b = b, .from = from, .cols = cols, .row_bytes = quant_row_bytes(from->type, cols)};
}

/* ---- layers -------------------------------------------------------------------------------------------------------------------- */

ErrCode model_bind_layer(Binder *b, ModelLayer *l) {
    const ModelShape *s = &b->m->shape;
    const BindNames *n = &b->names;
    TRY(model_bind_layer_vec(b, &l->norm_in, n->norm_in, "norm before the mixer", s->hidden, 0, model_bind_norm_kind(b)));
    TRY(model_mixers[l->mixer]->bind(b, l));
    TRY(model_bind_layer_vec(b, &l->norm_post, n->norm_post, "norm before the experts", s->hidden, 0, model_bind_norm_kind(b)));
    TRY(model_bind_layer_mat(b, &l->router, n->router, "router", s->n_experts, s->hidden));
    if (!s->shared_inner) return ERR_OK;
    TRY(model_bind_layer_mat(b, &l->shared_gate, n->shared_gate, "gate of the shared expert", s->shared_inner, s->hidden));
    TRY(model_bind_layer_mat(b, &l->shared_up, n->shared_up, "up projection of the shared expert", s->shared_inner, s->hidden));
    TRY(model_bind_layer_mat(b, &l->shared_down, n->shared_down, "down projection of the shared expert", s->hidden, s->shared_inner));
    return model_bind_layer_mat(b, &l->shared_router, n->shared_router, "sigmoid gate of the shared expert", 1, s->hidden);
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
