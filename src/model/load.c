/* Loading the dense weights: follows the plan in the order of the files, so that disks see long reads, and looks at every weight
 * once on the way. Matrices go straight to their place; vectors pass through one small buffer. */
#include "model/parts.h"

#include <math.h>
#include <stdlib.h>

enum { PIECE_BYTES = 4 << 20, BUFFER_ELEMS = 8192 /* a multiple of every block */ };

typedef struct Loader {
    const Model *m;
    uint8_t *pages;
    ModelProgress *progress;
    void *user;
    uint64_t done, total; /* bytes of the files */
    uint8_t *raw;         /* [BUFFER_ELEMS] of any type, at most 4 bytes each */
    float *values;        /* [BUFFER_ELEMS] */
    Err *err;
} Loader;

static uint64_t step_bytes(const LoadStep *s) { return quant_row_bytes(s->tensor->type, s->elems); }

static ErrCode not_a_number(Loader *l, const LoadStep *s, uint64_t elem, const char *why) {
    const FormatTensor *t = s->tensor;
    const QuantTraits *traits = quant_traits(t->type);
    uint64_t first = s->src / traits->block_bytes * traits->block_elems;
    return err_set(l->err, ERR_FORMAT, "%s: element %llu of the tensor %s (%s, its data begins at offset %llu) is %s: the file is damaged",
                   l->m->format->files[t->file].path, (unsigned long long)(first + elem), t->name.ptr, traits->name,
                   (unsigned long long)t->offset, why);
}

/* The first element that is not finite among n decoded ones, or n. */
static size_t first_bad(const float *v, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(v[i])) return i;
    return n;
}

/* n elements at src, the step's element `elem` first. Decodes only to name the culprit. */
static ErrCode check_finite(Loader *l, const LoadStep *s, uint64_t elem, const uint8_t *src, uint64_t n) {
    const QuantType type = s->tensor->type;
    if (quant_finite(type, src, (size_t)n)) return ERR_OK;
    for (uint64_t i = 0; i < n; i += BUFFER_ELEMS) {
        size_t some = n - i < BUFFER_ELEMS ? (size_t)(n - i) : BUFFER_ELEMS;
        quant_decode(type, src + quant_row_bytes(type, i), l->values, some);
        size_t bad = first_bad(l->values, some);
        if (bad < some) return not_a_number(l, s, elem + i + bad, "not finite");
    }
    return not_a_number(l, s, elem, "not finite, or one of those that follow it");
}

static ErrCode advance(Loader *l, uint64_t bytes) {
    l->done += bytes;
    if (l->progress && !l->progress(l->user, l->done, l->total))
        return err_set(l->err, ERR_INTERRUPTED, "interrupted while loading the dense weights");
    return ERR_OK;
}

/* Elements of a type that make one piece: whole blocks, and whole buffers. */
static uint64_t piece_elems(QuantType type) {
    const QuantTraits *t = quant_traits(type);
    return align_down((uint64_t)PIECE_BYTES / t->block_bytes * t->block_elems, BUFFER_ELEMS);
}

static ErrCode load_rows(Loader *l, const LoadStep *s) {
    const QuantType type = s->tensor->type;
    const uint64_t piece = piece_elems(type);
    for (uint64_t i = 0; i < s->elems; i += piece) {
        uint64_t n = s->elems - i < piece ? s->elems - i : piece, at = quant_row_bytes(type, i), bytes = quant_row_bytes(type, n);
        TRY(format_read(l->m->format, s->tensor, s->src + at, bytes, l->pages + s->dst + at, l->err));
        TRY(check_finite(l, s, i, l->pages + s->dst + at, n));
        TRY(advance(l, bytes));
    }
    return ERR_OK;
}

static float converted(LoadKind kind, float v) {
    switch (kind) {
    case LOAD_F32_PLUS_ONE: return 1.0f + v;
    case LOAD_F32_NEG_EXP: return (float)-exp((double)v);
    case LOAD_ROWS:
    case LOAD_F32:
    case LOAD_F32_DECAY: break;
    }
    return v;
}

static ErrCode load_vector(Loader *l, const LoadStep *s) {
    const QuantType type = s->tensor->type;
    float *out = (float *)(void *)(l->pages + s->dst);
    for (uint64_t i = 0; i < s->elems; i += BUFFER_ELEMS) {
        size_t n = s->elems - i < BUFFER_ELEMS ? (size_t)(s->elems - i) : BUFFER_ELEMS;
        uint64_t bytes = quant_row_bytes(type, n);
        TRY(format_read(l->m->format, s->tensor, s->src + quant_row_bytes(type, i), bytes, l->raw, l->err));
        quant_decode(type, l->raw, l->values, n);
        size_t bad = first_bad(l->values, n);
        if (bad < n) return not_a_number(l, s, i + bad, "not finite");
        for (size_t k = 0; k < n; k++) {
            float v = out[i + k] = converted(s->kind, l->values[k]);
            if ((s->kind == LOAD_F32_NEG_EXP || s->kind == LOAD_F32_DECAY) && !(v < 0 && isfinite(v)))
                return not_a_number(l, s, i + k, "no decay (the factor it stands for must be negative and finite)");
        }
        TRY(advance(l, bytes));
    }
    return ERR_OK;
}

static int in_file_order(const void *a, const void *b) {
    const LoadStep *x = a, *y = b;
    if (x->tensor->file != y->tensor->file) return x->tensor->file < y->tensor->file ? -1 : 1;
    uint64_t at_x = x->tensor->offset + x->src, at_y = y->tensor->offset + y->src;
    return at_x < at_y ? -1 : at_x > at_y;
}

static ErrCode follow_plan(Loader *l) {
    const struct ModelInner *in = l->m->inner;
    for (uint32_t i = 0; i < in->n_steps; i++) {
        const LoadStep *s = &in->steps[i];
        TRY(s->kind == LOAD_ROWS ? load_rows(l, s) : load_vector(l, s));
        if (i + 1 == in->n_steps || in->steps[i + 1].tensor != s->tensor) format_drop_cache(l->m->format, s->tensor);
    }
    return ERR_OK;
}

ErrCode model_load_dense(Model *m, void *pages, ModelProgress *progress, void *user, Err *err) {
    struct ModelInner *in = m->inner;
    Loader l = {.m = m, .pages = pages, .progress = progress, .user = user, .err = err};
    qsort(in->steps, in->n_steps, sizeof *in->steps, in_file_order);
    for (uint32_t i = 0; i < in->n_steps; i++) l.total += step_bytes(&in->steps[i]);
    l.raw = mem_new(BUFFER_ELEMS, sizeof(float));
    l.values = MEM_NEW(float, BUFFER_ELEMS);
    ErrCode code = l.raw && l.values ? follow_plan(&l) : err_no_memory(err, UINT64_C(8) * BUFFER_ELEMS, "the load buffer");
    mem_free(l.raw);
    mem_free(l.values);
    if (code != ERR_OK) return code;
    for (uint32_t i = 0; i < in->n_homes; i++) {
        const LoadHome *h = &in->homes[i];
        if (h->mat)
            h->mat->data = l.pages + h->at;
        else
            *h->vec = (const float *)(const void *)(l.pages + h->at);
    }
    if (in->tied) m->head.data = m->embedding.data;
    return ERR_OK;
}
