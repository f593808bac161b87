/* Experts, routed or shared, over some tokens each: down(silu(gate x) * up x), in two halves, because gate and up are in memory
 * before down is. Each half of several experts is one run of the pool. Rows are divided among its tasks, never a sum, so their number
 * changes no bit. */
#include "forward/inside.h"

enum { TASKS_PER_THREAD = 8 };

typedef struct HalfJob {
    Forward *f;
    const ExpertJob *jobs; /* [n_jobs] */
    uint32_t n_jobs, rows_per_task, tasks_per_job;
} HalfJob;

/* Rows [first, first + rows) of gate and up, then silu(gate) * up and its blocks: a task's rows are whole blocks of 32. */
static void gate_up_task(void *arg, int task, int worker) {
    const HalfJob *h = arg;
    const ExpertJob *j = &h->jobs[(uint32_t)task / h->tasks_per_job];
    Forward *f = h->f;
    const Kernels *k = f->c.kernels;
    uint32_t inner = j->inner->n, first = (uint32_t)task % h->tasks_per_job * h->rows_per_task;
    uint32_t rows = inner - first < h->rows_per_task ? inner - first : h->rows_per_task;
    const ModelMat *gate = j->mat[MODEL_GATE], *up = j->mat[MODEL_UP];
    uint64_t at = (uint64_t)j->first_row * inner + first;
    float *x = j->inner->x + at, *u = f->experts.up + at; /* [n tokens][inner], of which this task has `rows` columns */
    float *scratch = forward_scratch(f, worker);
    k->matmul(gate->type, j->data[MODEL_GATE] + (uint64_t)first * gate->row_bytes, rows, gate->cols, j->acts, j->n, x, inner, scratch);
    k->matmul(up->type, j->data[MODEL_UP] + (uint64_t)first * up->row_bytes, rows, up->cols, j->acts, j->n, u, inner, scratch);
    for (uint32_t t = 0; t < j->n; t++) {
        float *y = x + (uint64_t)t * inner;
        k->silu_mul(y, y, u + (uint64_t)t * inner, rows);
        forward_part_ready(f, j->inner, j->first_row + t, first, rows);
    }
}

bool forward_finite(const float *x, uint32_t n) {
    float sum = 0; /* 0 * x is NaN exactly where x is not finite */
    for (uint32_t i = 0; i < n; i++) sum += 0.0f * x[i];
    return sum == 0.0f;
}

/* Rows [first, first + rows) of down of one expert. */
static void down_rows(Forward *f, const ExpertJob *j, uint32_t first, uint32_t rows, float *scratch) {
    const ModelMat *down = j->mat[MODEL_DOWN];
    uint32_t hidden = f->s->hidden;
    float *out = j->rows_out + (uint64_t)j->first_row * hidden + first; /* [n tokens][hidden], of which this task has `rows` columns */
    const uint8_t *data = j->data[MODEL_DOWN] + (uint64_t)first * down->row_bytes;
    f->c.kernels->matmul(down->type, data, rows, down->cols, j->inner->acts + j->first_row, j->n, out, hidden, scratch);
    for (uint32_t t = 0; t < j->n; t++, out += hidden) {
        if (!forward_finite(out, rows)) atomic_store(&f->not_finite, 1);
        if (j->add_to) f->c.kernels->axpy(f->mix + (uint64_t)j->add_to[t].token * hidden + first, out, j->add_to[t].weight, rows);
    }
}

/* Experts that add to the stream may share tokens: then a task has some rows of all of them, in ascending order. */
static void down_task(void *arg, int task, int worker) {
    const HalfJob *h = arg;
    uint32_t hidden = h->f->s->hidden, first = (uint32_t)task % h->tasks_per_job * h->rows_per_task;
    uint32_t rows = hidden - first < h->rows_per_task ? hidden - first : h->rows_per_task;
    bool ordered = h->jobs[0].add_to != NULL;
    uint32_t i = ordered ? 0 : (uint32_t)task / h->tasks_per_job, end = ordered ? h->n_jobs : i + 1;
    for (; i < end; i++) down_rows(h->f, &h->jobs[i], first, rows, forward_scratch(h->f, worker));
}

/* A few tasks per thread, of whole blocks of 32 rows; pieces: among how many experts they are divided. */
static void split(HalfJob *h, uint32_t rows, uint32_t pieces) {
    uint32_t tasks = ((uint32_t)os_pool_threads(h->f->c.pool) * TASKS_PER_THREAD + pieces - 1) / pieces;
    h->rows_per_task = (uint32_t)align_up((rows + tasks - 1) / tasks, KERNELS_ACT_BLOCK);
    h->tasks_per_job = (rows + h->rows_per_task - 1) / h->rows_per_task;
}

void forward_gate_up(Forward *f, const ExpertJob *jobs, uint32_t n_jobs) {
    HalfJob h = {.f = f, .jobs = jobs, .n_jobs = n_jobs};
    split(&h, jobs[0].inner->n, n_jobs);
    os_pool_run(f->c.pool, (int)(n_jobs * h.tasks_per_job), gate_up_task, &h);
}

void forward_down(Forward *f, const ExpertJob *jobs, uint32_t n_jobs) {
    HalfJob h = {.f = f, .jobs = jobs, .n_jobs = n_jobs};
    uint32_t pieces = jobs[0].add_to ? 1 : n_jobs;
    split(&h, f->s->hidden, pieces);
    os_pool_run(f->c.pool, (int)(pieces * h.tasks_per_job), down_task, &h);
}
