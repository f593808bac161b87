/* Where the routed experts lie on disk: stacked per matrix, gate and up stacked together, or one tensor per expert. Their bytes
 * are never read here. */
#include "model/parts.h"

#include <stdio.h>

static const char *const what[MODEL_MATS] = {"gate of the experts", "up projection of the experts", "down projection of the experts"};

typedef struct Matrix {
    ModelMat *mat;
    DiskRange *column; /* [n_experts] of this matrix, MODEL_MATS apart */
    int which;         /* MODEL_GATE ... */
} Matrix;

static ErrCode set_part(Binder *b, const Matrix *x, uint32_t expert, const FormatTensor *t, uint64_t at) {
    uint64_t bytes = (uint64_t)x->mat->rows * x->mat->row_bytes;
    if (bytes > UINT32_MAX)
        return err_set(b->err, ERR_UNSUPPORTED, "the tensor %s (%s) has more than 4 GiB per expert", t->name.ptr, what[x->which]);
    x->column[(size_t)expert * MODEL_MATS] = (DiskRange){.file = t->file, .bytes = (uint32_t)bytes, .offset = t->offset + at};
    return ERR_OK;
}

/* One tensor for all experts. first_row, all_rows: which of the rows that each expert has in it belong to this matrix. */
static ErrCode bind_stack(Binder *b, const Matrix *x, const FormatTensor *t, uint64_t first_row, uint64_t all_rows) {
    const uint32_t n = b->m->shape.n_experts;
    TRY(model_bind_expect(b, t, what[x->which], (uint64_t[]){n, all_rows, x->mat->cols}, 3));
    x->mat->type = t->type;
    x->mat->row_bytes = quant_row_bytes(t->type, x->mat->cols);
    for (uint32_t e = 0; e < n; e++) TRY(set_part(b, x, e, t, (e * all_rows + first_row) * x->mat->row_bytes));
    return ERR_OK;
}

static const char *expert_name(const Binder *b, int which, uint32_t expert, char *out, size_t size) {
    snprintf(out, size, "%s%u.%s%u.%s", b->names.layers, b->layer, b->names.experts, expert, b->names.expert_each[which]);
    return out;
}

static ErrCode bind_each(Binder *b, const Matrix *x) {
    const FormatTensor *first = NULL;
    char name[256];
    for (uint32_t e = 0; e < b->m->shape.n_experts; e++) {
        const FormatTensor *t = model_bind_find(b, expert_name(b, x->which, e, name, sizeof name));
        if (!t) return model_bind_missing(b, name, what[x->which]);
        TRY(model_bind_expect(b, t, what[x->which], (uint64_t[]){x->mat->rows, x->mat->cols}, 2));
        if (!first) {
            first = t;
            x->mat->type = t->type;
            x->mat->row_bytes = quant_row_bytes(t->type, x->mat->cols);
        }
        if (t->type != first->type)
            return err_set(b->err, ERR_UNSUPPORTED, "the tensors %s (%s) and %s (%s) have different types: experts of one layer must "
                           "share one", first->name.ptr, quant_traits(first->type)->name, t->name.ptr, quant_traits(t->type)->name);
        TRY(set_part(b, x, e, t, 0));
    }
    return ERR_OK;
}

ErrCode model_bind_experts(Binder *b, ModelLayer *l, DiskRange *records) {
    const ModelShape *s = &b->m->shape;
    const BindNames *n = &b->names;
    char name[256];
    for (int i = 0; i < MODEL_MATS; i++) {
        const bool down = i == MODEL_DOWN;
        l->expert[i] = (ModelMat){.rows = down ? s->hidden : s->expert_inner, .cols = down ? s->expert_inner : s->hidden};
        Matrix x = {.mat = &l->expert[i], .column = records + i, .which = i};
        snprintf(name, sizeof name, "%s%u.%s", n->layers, b->layer, n->expert_stack[i] ? n->expert_stack[i] : "");
        const FormatTensor *stack = n->expert_stack[i] ? model_bind_find(b, name) : NULL;
        if (stack) {
            TRY(bind_stack(b, &x, stack, 0, x.mat->rows));
            continue;
        }
        char both[256];
        snprintf(both, sizeof both, "%s%u.%s", n->layers, b->layer, n->expert_gate_up_stack);
        const FormatTensor *gate_up = down ? NULL : model_bind_find(b, both);
        if (gate_up)
            TRY(bind_stack(b, &x, gate_up, i == MODEL_GATE ? 0 : s->expert_inner, 2 * (uint64_t)s->expert_inner));
        else if (n->experts)
            TRY(bind_each(b, &x));
        else
            return model_bind_missing(b, name, what[i]);
    }
    return ERR_OK;
}
