/* Matrices over the pool, and rows brought into the form that the kernels take. */
#include "forward/inside.h"

typedef struct MatmulJob {
    Forward *f;
    const ModelMat *w;
    const KernelsActs *acts; /* [n] */
    uint32_t n, rows_per_task;
    float *y;                /* [n][y_stride] */
    uint64_t y_stride;
} MatmulJob;

static void matmul_task(void *arg, int task, int worker) {
    const MatmulJob *j = arg;
    uint32_t first = (uint32_t)task * j->rows_per_task;
    uint32_t rows = j->w->rows - first < j->rows_per_task ? j->w->rows - first : j->rows_per_task;
    j->f->c.kernels->matmul(j->w->type, j->w->data + (uint64_t)first * j->w->row_bytes, rows, j->w->cols, j->acts, j->n, j->y + first,
                            j->y_stride, forward_scratch(j->f, worker));
}

void forward_matmul(Forward *f, const ModelMat *w, const KernelsActs *acts, uint32_t n, float *y, uint64_t y_stride) {
    /* a few tasks per thread level out uneven cores; fewer than 16 rows are not worth handing over */
    uint32_t tasks = (uint32_t)os_pool_threads(f->c.pool) * 4;
    uint32_t rows = (w->rows + tasks - 1) / tasks;
    if (rows < 16) rows = 16;
    forward_ahead_advance(f);
    MatmulJob job = {f, w, acts, n, rows, y, y_stride};
    os_pool_run(f->c.pool, (int)((w->rows + rows - 1) / rows), matmul_task, &job);
}

void forward_part_ready(const Forward *f, Rows *rows, uint32_t t, uint32_t first, uint32_t n) {
    if (!rows->groups) return;
    f->c.kernels->quantize(rows->x + (uint64_t)t * rows->n + first, rows->groups + (uint64_t)t * rows->n_groups, first, n);
}

void forward_row_ready(const Forward *f, Rows *rows, uint32_t t) { forward_part_ready(f, rows, t, 0, rows->n); }

typedef struct NormJob {
    Forward *f;
    const float *weight;
} NormJob;

static void norm_task(void *arg, int task, int worker) {
    (void)worker;
    const NormJob *j = arg;
    Forward *f = j->f;
    uint64_t at = (uint64_t)task * f->s->hidden;
    f->c.kernels->rms_norm(f->in.x + at, f->x + at, j->weight, f->s->eps, f->s->hidden);
    forward_row_ready(f, &f->in, (uint32_t)task);
}

void forward_norm_in(Forward *f, const float *weight) {
    NormJob job = {f, weight};
    os_pool_run(f->c.pool, (int)f->n, norm_task, &job);
}
