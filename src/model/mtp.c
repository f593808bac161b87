/* The draft (MTP) layer of a file: behind the trunk in GGUF (blk.N.*, with blk.N.nextn.*), under mtp.* in folders. It can only make
 * a model faster, never change what it says, so it is bound on request. */
#include "model/parts.h"

#include <stdio.h>

enum { PREFIX_BYTES = 32, NAME_BYTES = 128 };

typedef struct MtpNames {
    const char *prefix, *layers;
    uint32_t layer; /* the number of its layer behind `layers` */
    const char *fc, *norm_embedding, *norm_hidden, *norm_out;
    const char *own[2]; /* tensors that would replace the trunk's embedding or head */
} MtpNames;

static MtpNames names_of(const Model *m, char prefix[PREFIX_BYTES]) {
    if (m->format->kind == FORMAT_GGUF) {
        snprintf(prefix, PREFIX_BYTES, "blk.%u.nextn.", m->shape.n_layers);
        return (MtpNames){prefix, "blk.", m->shape.n_layers, "eh_proj.weight", "enorm.weight", "hnorm.weight",
                          "shared_head_norm.weight", {"embed_tokens.weight", "shared_head_head.weight"}};
    }
    snprintf(prefix, PREFIX_BYTES, "mtp.");
    return (MtpNames){prefix, "mtp.layers.", 0, "fc.weight", "pre_fc_norm_embedding.weight", "pre_fc_norm_hidden.weight",
                      "norm.weight", {"embed_tokens.weight", "lm_head.weight"}};
}

static const char *full_name(const MtpNames *n, const char *suffix, char out[NAME_BYTES]) {
    snprintf(out, NAME_BYTES, "%s%s", n->prefix, suffix);
    return out;
}

bool model_has_mtp(const Model *m) {
    char prefix[PREFIX_BYTES], name[NAME_BYTES];
    MtpNames n = names_of(m, prefix);
    return format_tensor(m->format, full_name(&n, n.fc, name)) != NULL;
}

static ErrCode bind_vectors(Binder *b, const MtpNames *n) {
    ModelMtp *mtp = &b->m->mtp;
    const uint32_t hidden = b->m->shape.hidden;
    char name[NAME_BYTES];
    TRY(model_bind_vec(b, &mtp->norm_embedding, full_name(n, n->norm_embedding, name), "draft layer's norm of the embedding", hidden, 0,
                 model_bind_norm_kind(b)));
    TRY(model_bind_vec(b, &mtp->norm_hidden, full_name(n, n->norm_hidden, name), "draft layer's norm of the hidden state", hidden, 0,
                 model_bind_norm_kind(b)));
    TRY(model_bind_vec(b, &mtp->norm_out, full_name(n, n->norm_out, name), "draft layer's final norm", hidden, 0, model_bind_norm_kind(b)));
    return model_bind_mat(b, &mtp->fc, full_name(n, n->fc, name), "draft layer's input projection", hidden, 2 * (uint64_t)hidden);
}

static ErrCode bind_mtp(Binder *b, const MtpNames *n) {
    Model *m = b->m;
    const ModelShape *s = &m->shape;
    char name[NAME_BYTES];
    for (int i = 0; i < 2; i++)
        if (format_tensor(m->format, full_name(n, n->own[i], name)))
            return err_set(b->err, ERR_UNSUPPORTED, "the draft layer has an embedding or a head of its own (%s), which is not supported",
                           name);
    const size_t own = (size_t)s->n_experts * MODEL_MATS, trunk = s->n_layers * own;
    DiskRange *records = mem_resize(m->records, trunk + own, sizeof *records);
    if (!records) return err_no_memory(b->err, (trunk + own) * sizeof *records, "the table of experts");
    m->records = records;
    b->names.layers = n->layers;
    b->layer = n->layer;
    TRY(bind_vectors(b, n));
    TRY(model_bind_layer(b, &m->layers[s->n_layers]));
    return model_bind_experts(b, &m->layers[s->n_layers], records + trunk);
}

ErrCode model_bind_mtp(Model *m, Err *err) {
    char prefix[PREFIX_BYTES];
    MtpNames n = names_of(m, prefix);
    Binder b = {.m = m, .format = m->format, .arch = m->inner->arch, .err = err};
    if (!model_has_mtp(m)) return err_set(err, ERR_UNSUPPORTED, "%s: the file has no draft (MTP) layer", m->format->path);
    b.claimed = MEM_NEW(bool, m->format->n_tensors); /* nobody looks at these claims: leftovers were looked for with the trunk */
    if (!b.claimed) return err_no_memory(err, m->format->n_tensors, "the table of tensors");
    if (m->format->kind == FORMAT_GGUF) model_bind_gguf_names(&b);
    ErrCode code = m->format->kind == FORMAT_GGUF ? ERR_OK : model_bind_hf_names(&b);
    if (!code) code = bind_mtp(&b, &n);
    mem_free(b.claimed);
    if (code) return err_prefix(err, "%s", m->format->path);
    m->mtp.bound = true;
    return ERR_OK;
}
