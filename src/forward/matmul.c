/* Matrices over the pool, and rows brought into the form that the kernels take. Every run of matrices is also the moment at which
 * finished reads are taken in (forward_ahead_advance): dense work has no other that comes often enough. */
#include "forward/inside.h"

#include <assert.h>

enum { MOST_PARTS = 8, TASKS_PER_THREAD = 8, LEAST_ROWS = 16 };

typedef struct MatmulJob {
    Forward *f;
    const MatPart *parts;                /* [n_parts] */
    uint32_t n_parts, n;                 /* matrices; tokens */
    uint32_t rows_per_task[MOST_PARTS];
    uint32_t first_task[MOST_PARTS + 1]; /* of each matrix, and how many there are */
} MatmulJob;

static void matmul_task(void *arg, int task, int worker) {
    const MatmulJob *j = arg;
    uint32_t i = 0;
    while (j->first_task[i + 1] <= (uint32_t)task) i++;
    const MatPart *p = &j->parts[i];
    uint32_t first = ((uint32_t)task - j->first_task[i]) * j->rows_per_task[i], rows = p->w->rows - first;
    if (rows > j->rows_per_task[i]) rows = j->rows_per_task[i];
    j->f->c.kernels->matmul(p->w->type, p->w->data + (uint64_t)first * p->w->row_bytes, rows, p->w->cols, p->acts, j->n, p->y + first,
                            p->y_stride, forward_scratch(j->f, worker));
}

/* A few tasks per thread level out uneven cores; fewer than 16 rows are not worth handing over. All tasks read about the same number
 * of bytes, whichever matrix they belong to. */
void forward_matmuls(Forward *f, const MatPart *parts, uint32_t n_parts, uint32_t n) {
    MatmulJob job = {.f = f, .parts = parts, .n_parts = n_parts, .n = n};
    uint64_t bytes = 0, tasks = (uint64_t)os_pool_threads(f->c.pool) * TASKS_PER_THREAD;
    assert(n_parts <= MOST_PARTS);
    for (uint32_t i = 0; i < n_parts; i++) bytes += parts[i].w->rows * parts[i].w->row_bytes;
    for (uint32_t i = 0; i < n_parts; i++) {
        const ModelMat *w = parts[i].w;
        uint64_t rows = (bytes + tasks * w->row_bytes - 1) / (tasks * w->row_bytes);
        job.rows_per_task[i] = rows < LEAST_ROWS ? LEAST_ROWS : (uint32_t)rows;
        job.first_task[i + 1] = job.first_task[i] + (w->rows + job.rows_per_task[i] - 1) / job.rows_per_task[i];
    }
    forward_ahead_advance(f);
    os_pool_run(f->c.pool, (int)job.first_task[n_parts], matmul_task, &job);
}

void forward_matmul(Forward *f, const ModelMat *w, const KernelsActs *acts, uint32_t n, float *y, uint64_t y_stride) {
    forward_matmuls(f, &(MatPart){w, acts, y, y_stride}, 1, n);
}

void forward_part_ready(const Forward *f, Rows *rows, uint32_t t, uint32_t first, uint32_t n) {
    if (!rows->groups) return;
    f->c.kernels->quantize(rows->x + (uint64_t)t * rows->n + first, rows->groups + (uint64_t)t * rows->stride, first, n);
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
