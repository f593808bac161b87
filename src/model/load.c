/* Loading the dense weights: follows the list of dense.c in the order of the files, in pieces that are read ahead of the one that is taken
 * in.
 *
 * While reads run, the threads of the pool take in what has landed: every weight is looked at once and copied to its place, or decoded
 * where it is a vector. Copying is also what first touches the pages, and clearing them takes the kernel longer than copying takes us;
 * so a piece is cut where a huge page of the destination ends, or two threads would clear the same one. */
#include "model/parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    PIECE_MAX = 2 << 20, /* a huge page */
    PIECE_MIN = 4 << 10,
    PIECES = 16,         /* read or taken in at a time */
    GAP_MAX = 64 << 10,  /* between two tensors that are read together */
    BLOCK_MAX = 512      /* no block of any type has more bytes */
};

/* A run of the file that is read at once: some steps, the first from byte `begin` on, the last up to byte `end`. */
typedef struct Piece {
    uint32_t first, n;
    uint64_t begin, end;
    uint64_t offset; /* of the file, where its buffer begins */
    uint8_t *buffer;
    bool bad;        /* a weight in it is none */
} Piece;

typedef struct Loader {
    const Model *m;
    const ModelLoad *how;
    uint8_t *pages, *ring;
    uint64_t piece_bytes, buffer_bytes, ring_bytes;
    uint64_t done, total;   /* bytes of the files */
    uint32_t step;          /* what is read next: a step ... */
    uint64_t at;            /* ... and a byte of it */
    Piece pieces[PIECES];
    Piece *idle[PIECES];    /* [n_idle] */
    uint32_t n_idle;
    Piece *landed[PIECES];  /* what the pool takes in together */
    Err *err;
} Loader;

/* What a piece has of one step: bytes [a, b) of it. */
typedef struct Part {
    const LoadStep *step;
    uint64_t a, b;
} Part;

static uint64_t step_bytes(const LoadStep *s) { return quant_row_bytes(s->tensor->type, s->elems); }
static uint64_t block_bytes(const LoadStep *s) { return quant_traits(s->tensor->type)->block_bytes; }
static uint64_t file_offset(const LoadStep *s) { return s->tensor->offset + s->src; }
static const LoadStep *step_of(const Loader *l, uint32_t i) { return &l->m->inner->steps[i]; }

/* Elements of a step that so many bytes, whole blocks, hold. */
static uint64_t elems_of(const LoadStep *s, uint64_t bytes) {
    return bytes / block_bytes(s) * quant_traits(s->tensor->type)->block_elems;
}

static Part part_of(const Loader *l, const Piece *p, uint32_t i) {
    const LoadStep *s = step_of(l, p->first + i);
    return (Part){s, i == 0 ? p->begin : 0, i + 1 == p->n ? p->end : step_bytes(s)};
}

/* A piece may end within a block, which is checked as a whole by both: so a little more is read. */
static uint64_t blocks_begin(const Part *q) { return align_down(q->a, block_bytes(q->step)); }
static uint64_t blocks_end(const Part *q) {
    uint64_t bytes = block_bytes(q->step);
    return (q->b + bytes - 1) / bytes * bytes; /* steps are whole blocks */
}

static const uint8_t *in_buffer(const Piece *p, const LoadStep *s, uint64_t byte) {
    return p->buffer + (file_offset(s) + byte - p->offset);
}

/* ---- what has landed ------------------------------------------------------------------------------------------------ */

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

/* Why a decoded weight, or what becomes of it, cannot be used; NULL: it can. */
static const char *objection(LoadKind kind, float v) {
    if (!isfinite(v)) return "not finite";
    float w = converted(kind, v);
    bool decay = kind == LOAD_F32_NEG_EXP || kind == LOAD_F32_DECAY;
    return decay && !(w < 0 && isfinite(w)) ? "no decay (the factor it stands for must be negative and finite)" : NULL;
}

static bool take_rows(const Loader *l, const Piece *p, const Part *q) {
    const LoadStep *s = q->step;
    uint64_t from = blocks_begin(q), to = blocks_end(q);
    memcpy(l->pages + s->dst + q->a, in_buffer(p, s, q->a), (size_t)(q->b - q->a));
    return quant_finite(s->tensor->type, in_buffer(p, s, from), (size_t)elems_of(s, to - from));
}

static bool take_vector(const Loader *l, const Piece *p, const Part *q) {
    const LoadStep *s = q->step;
    size_t n = (size_t)elems_of(s, q->b - q->a);
    float *out = (float *)(void *)(l->pages + s->dst) + elems_of(s, q->a);
    quant_decode(s->tensor->type, in_buffer(p, s, q->a), out, n);
    for (size_t i = 0; i < n; i++) {
        if (objection(s->kind, out[i])) return false;
        out[i] = converted(s->kind, out[i]);
    }
    return true;
}

static void take_in(void *arg, int task, int worker) {
    (void)worker;
    const Loader *l = arg;
    Piece *p = l->landed[task];
    p->bad = false;
    for (uint32_t i = 0; i < p->n; i++) {
        Part q = part_of(l, p, i);
        if (!(q.step->kind == LOAD_ROWS ? take_rows(l, p, &q) : take_vector(l, p, &q))) p->bad = true;
    }
}

static ErrCode not_a_number(const Loader *l, const LoadStep *s, uint64_t elem, const char *why) {
    const FormatTensor *t = s->tensor;
    const QuantTraits *traits = quant_traits(t->type);
    uint64_t first = s->src / traits->block_bytes * traits->block_elems;
    return err_set(l->err, ERR_FORMAT, "%s: element %llu of the tensor %s (%s, its data begins at offset %llu) is %s: the file is damaged",
                   l->m->format->files[t->file].path, (unsigned long long)(first + elem), t->name.ptr, traits->name,
                   (unsigned long long)t->offset, why);
}

/* Decodes a bad piece block by block, to name the culprit. */
static ErrCode name_culprit(const Loader *l, const Piece *p) {
    float values[BLOCK_MAX]; /* no block has more elements either */
    for (uint32_t i = 0; i < p->n; i++) {
        Part q = part_of(l, p, i);
        const QuantTraits *t = quant_traits(q.step->tensor->type);
        for (uint64_t at = blocks_begin(&q); at < blocks_end(&q); at += t->block_bytes) {
            quant_decode(q.step->tensor->type, in_buffer(p, q.step, at), values, t->block_elems);
            for (uint64_t k = 0; k < t->block_elems; k++) {
                const char *why = objection(q.step->kind, values[k]);
                if (why) return not_a_number(l, q.step, elems_of(q.step, at) + k, why);
            }
            if (!quant_finite(q.step->tensor->type, in_buffer(p, q.step, at), t->block_elems))
                return not_a_number(l, q.step, elems_of(q.step, at), "not finite, or one of those that follow it");
        }
    }
    return err_set(l->err, ERR_STATE, "a piece of the dense weights was bad and is not any more");
}

/* ---- cutting and reading -------------------------------------------------------------------------------------------- */

/* How much of step s, from byte `at` on, may be in one piece: up to the end of a page of piece_bytes of the destination, or whole
 * blocks of a vector. */
static uint64_t most_of_step(const Loader *l, const LoadStep *s, uint64_t at) {
    uint64_t left = step_bytes(s) - at, most;
    if (s->kind == LOAD_ROWS) most = l->piece_bytes - ((uintptr_t)l->pages + s->dst + at) % l->piece_bytes;
    else most = align_down(l->piece_bytes / sizeof(float), block_bytes(s));
    return left < most ? left : most;
}

/* The next piece: as many steps as fit. */
static void cut(Loader *l, Piece *p) {
    const uint32_t n_steps = l->m->inner->n_steps;
    const LoadStep *first = step_of(l, l->step);
    uint64_t from = file_offset(first) + l->at, end = from;
    p->first = l->step;
    p->begin = l->at;
    for (p->n = 0; l->step < n_steps;) {
        const LoadStep *s = step_of(l, l->step);
        uint64_t begin = file_offset(s) + l->at, most = most_of_step(l, s, l->at);
        bool apart = s->tensor->file != first->tensor->file || begin < end || begin > end + GAP_MAX;
        if (p->n > 0 && (apart || begin + most > from + l->piece_bytes)) return;
        end = begin + most;
        p->n++;
        p->end = l->at + most;
        if (p->end < step_bytes(s)) {
            l->at = p->end;
            return;
        }
        l->step++;
        l->at = 0;
    }
}

/* The read that brings a piece. */
static DiskRead read_of(const Loader *l, Piece *p) {
    Part first = part_of(l, p, 0), last = part_of(l, p, p->n - 1);
    uint32_t file = first.step->tensor->file;
    uint64_t alignment = disk_alignment(l->how->disk, file);
    uint64_t to = file_offset(last.step) + blocks_end(&last);
    p->offset = align_down(file_offset(first.step) + blocks_begin(&first), alignment);
    return (DiskRead){.file = file, .offset = p->offset, .need = (uint32_t)(to - p->offset), .dst = p->buffer,
                      .bytes = (uint32_t)align_up(to - p->offset, alignment), .tag = (uint64_t)(p - l->pieces)};
}

static ErrCode submit(Loader *l) {
    DiskRead reads[PIECES];
    size_t n = 0;
    while (l->n_idle > 0 && l->step < l->m->inner->n_steps) {
        Piece *p = l->idle[--l->n_idle];
        cut(l, p);
        reads[n++] = read_of(l, p);
    }
    return n ? disk_submit(l->how->disk, reads, n, l->err) : ERR_OK;
}

static ErrCode finish(Loader *l, Piece *p) {
    if (p->bad) return name_culprit(l, p);
    for (uint32_t i = 0; i < p->n; i++) {
        Part q = part_of(l, p, i);
        l->done += q.b - q.a;
        format_drop_cache(l->m->format, q.step->tensor->file, file_offset(q.step) + q.a, q.b - q.a);
    }
    l->idle[l->n_idle++] = p;
    if (l->how->progress && !l->how->progress(l->how->user, l->done, l->total))
        return err_set(l->err, ERR_INTERRUPTED, "interrupted while loading the dense weights");
    return ERR_OK;
}

/* Waits for some of what is read and takes it in, little enough that the disk still has something to do meanwhile. */
static ErrCode land(Loader *l) {
    DiskDone done[PIECES / 2];
    int threads = l->how->pool ? os_pool_threads(l->how->pool) : 1;
    size_t n = disk_reap(l->how->disk, done, threads < PIECES / 4 ? 2 * (size_t)threads : PIECES / 2, true);
    for (size_t i = 0; i < n; i++) {
        l->landed[i] = &l->pieces[done[i].tag];
        if (!done[i].code) continue;
        *l->err = done[i].err;
        return err_prefix(l->err, "the dense weights from the tensor %s on", step_of(l, l->landed[i]->first)->tensor->name.ptr);
    }
    if (l->how->pool) os_pool_run(l->how->pool, (int)n, take_in, l);
    else for (size_t i = 0; i < n; i++) take_in(l, (int)i, 0);
    for (size_t i = 0; i < n; i++) TRY(finish(l, l->landed[i]));
    return ERR_OK;
}

static ErrCode follow_list(Loader *l) {
    do {
        TRY(submit(l));
        if (disk_in_flight(l->how->disk) > 0) TRY(land(l));
    } while (l->done < l->total);
    return ERR_OK;
}

static int in_file_order(const void *a, const void *b) {
    const LoadStep *x = a, *y = b;
    if (x->tensor->file != y->tensor->file) return x->tensor->file < y->tensor->file ? -1 : 1;
    uint64_t at_x = file_offset(x), at_y = file_offset(y);
    return at_x < at_y ? -1 : at_x > at_y;
}

/* Places for as many pieces as the memory allows. */
static ErrCode make_ring(Loader *l) {
    uint64_t most = l->how->buffer_bytes ? l->how->buffer_bytes : (uint64_t)PIECES * PIECE_MAX, alignment = 64;
    if (most > l->total) most = l->total;
    for (uint32_t i = 0; i < disk_files(l->how->disk); i++)
        if (disk_alignment(l->how->disk, i) > alignment) alignment = disk_alignment(l->how->disk, i);
    for (l->piece_bytes = PIECE_MAX; l->piece_bytes > PIECE_MIN && l->piece_bytes * PIECES > most;) l->piece_bytes /= 2;
    l->buffer_bytes = align_up(l->piece_bytes + UINT64_C(2) * BLOCK_MAX + alignment, alignment);
    l->ring_bytes = PIECES * l->buffer_bytes + alignment;
    l->ring = os_pages_new(l->ring_bytes, l->err);
    if (!l->ring) return l->err->code;
    uint8_t *base = l->ring + (alignment - (uintptr_t)l->ring % alignment) % alignment;
    for (uint32_t i = 0; i < PIECES; i++) {
        l->pieces[i].buffer = base + i * l->buffer_bytes;
        l->idle[l->n_idle++] = &l->pieces[i];
    }
    return ERR_OK;
}

/* What is read after a failure lands before its memory goes. */
static void drain(const Loader *l) {
    DiskDone done[PIECES];
    while (disk_in_flight(l->how->disk) > 0) (void)disk_reap(l->how->disk, done, PIECES, true);
}

ErrCode model_load_dense(Model *m, void *pages, const ModelLoad *how, Err *err) {
    struct ModelInner *in = m->inner;
    Loader l = {.m = m, .how = how, .pages = pages, .err = err};
    if (disk_files(how->disk) != m->format->n_files)
        return err_set(err, ERR_STATE, "the disk has %u files and the model %u", disk_files(how->disk), m->format->n_files);
    qsort(in->steps, in->n_steps, sizeof *in->steps, in_file_order);
    for (uint32_t i = 0; i < in->n_steps; i++) l.total += step_bytes(&in->steps[i]);
    ErrCode code = make_ring(&l);
    if (!code) code = follow_list(&l);
    drain(&l);
    os_pages_free(l.ring, l.ring_bytes);
    if (code) return code;
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
