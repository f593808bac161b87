/* The list of the dense weights: what lies where in the pages, and from which bytes of which tensor it is filled. Made while the
 * tensors are bound, before a single weight is read, so that dense_bytes is exact. */
#include "model/parts.h"

enum { ALIGN_BYTES = 64 }; /* a cache line, and the widest vector */

/* Makes room for one more entry. */
static bool grow(void **list, uint32_t n, uint32_t *cap, size_t size) {
    if (n < *cap) return true;
    uint32_t more = *cap ? *cap * 2 : 64;
    void *p = mem_resize(*list, more, size);
    if (!p) return false;
    *list = p;
    *cap = more;
    return true;
}

static ErrCode home(Model *m, LoadHome where, uint64_t bytes, uint64_t *at, Err *err) {
    struct ModelInner *in = m->inner;
    void *list = in->homes;
    if (!grow(&list, in->n_homes, &in->cap_homes, sizeof *in->homes)) return err_no_memory(err, sizeof where, "the load plan");
    in->homes = list;
    where.at = *at = align_up(m->dense_bytes, ALIGN_BYTES);
    in->homes[in->n_homes++] = where;
    m->dense_bytes = *at + bytes;
    return ERR_OK;
}

ErrCode model_dense_mat(Model *m, ModelMat *mat, QuantType type, uint64_t rows, uint64_t cols, uint64_t *at, Err *err) {
    *mat = (ModelMat){.type = type, .rows = (uint32_t)rows, .cols = (uint32_t)cols, .row_bytes = quant_row_bytes(type, cols)};
    return home(m, (LoadHome){.mat = mat}, rows * mat->row_bytes, at, err);
}

ErrCode model_dense_vec(Model *m, const float **vec, uint64_t n, uint64_t *at, Err *err) {
    return home(m, (LoadHome){.vec = vec}, n * sizeof(float), at, err);
}

ErrCode model_dense_step(Model *m, const FormatTensor *t, uint64_t first, uint64_t elems, uint64_t dst, LoadKind kind, Err *err) {
    struct ModelInner *in = m->inner;
    void *list = in->steps;
    if (!grow(&list, in->n_steps, &in->cap_steps, sizeof *in->steps))
        return err_no_memory(err, sizeof *in->steps, "the load plan");
    in->steps = list;
    in->steps[in->n_steps++] =
        (LoadStep){.tensor = t, .src = quant_row_bytes(t->type, first), .elems = elems, .dst = dst, .kind = kind};
    return ERR_OK;
}
