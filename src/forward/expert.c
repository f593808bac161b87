/* One expert, routed or shared, over some tokens: down(silu(gate x) * up x), in two halves, because gate and up are in memory
 * before down is. Each half is spread over the pool by rows. */
#include "forward/inside.h"

/* Rows [first, first + rows) of gate and up, then silu(gate) * up and its blocks: a task's rows are whole blocks of 32. */
static void gate_up_task(void *arg, int task, int worker) {
    const ExpertJob *j = arg;
    Forward *f = j->f;
    const Kernels *k = f->c.kernels;
    uint32_t inner = j->inner->n, first = (uint32_t)task * j->rows_per_task;
    uint32_t rows = inner - first < j->rows_per_task ? inner - first : j->rows_per_task;
    const ModelMat *gate = j->mat[0], *up = j->mat[1];
    float *scratch = forward_scratch(f, worker), *x = j->inner->x + (uint64_t)j->row * inner;
    k->matmul(gate->type, j->data[0] + (uint64_t)first * gate->row_bytes, rows, gate->cols, j->acts, j->n, x + first, inner, scratch);
    k->matmul(up->type, j->data[1] + (uint64_t)first * up->row_bytes, rows, up->cols, j->acts, j->n, f->up + first, inner, scratch);
    for (uint32_t t = 0; t < j->n; t++) {
        float *y = x + (uint64_t)t * inner + first;
        k->silu_mul(y, y, f->up + (uint64_t)t * inner + first, rows);
        forward_part_ready(f, j->inner, j->row + t, first, rows);
    }
}

static bool all_finite(const float *x, uint32_t n) {
    float sum = 0; /* 0 * x is NaN exactly where x is not finite */
    for (uint32_t i = 0; i < n; i++) sum += 0.0f * x[i];
    return sum == 0.0f;
}

static void down_task(void *arg, int task, int worker) {
    const ExpertJob *j = arg;
    Forward *f = j->f;
    const ModelMat *down = j->mat[2];
    uint32_t hidden = f->s->hidden, first = (uint32_t)task * j->rows_per_task;
    uint32_t rows = hidden - first < j->rows_per_task ? hidden - first : j->rows_per_task;
    f->c.kernels->matmul(down->type, j->data[2] + (uint64_t)first * down->row_bytes, rows, down->cols, j->inner->acts + j->row, j->n,
                         j->out + first, hidden, forward_scratch(f, worker));
    for (uint32_t t = 0; t < j->n; t++) {
        const float *out = j->out + (uint64_t)t * hidden + first;
        if (!all_finite(out, rows)) atomic_store(&f->not_finite, 1);
        if (j->add_to) f->c.kernels->axpy(f->mix + (uint64_t)j->add_to[t].token * hidden + first, out, j->add_to[t].weight, rows);
    }
}

static uint32_t split_rows(const Forward *f, uint32_t rows) {
    uint32_t tasks = (uint32_t)os_pool_threads(f->c.pool) * 2;
    return (uint32_t)align_up((rows + tasks - 1) / tasks, KERNELS_ACT_BLOCK);
}

void forward_gate_up(ExpertJob *j) {
    uint32_t inner = j->inner->n;
    j->rows_per_task = split_rows(j->f, inner);
    os_pool_run(j->f->c.pool, (int)((inner + j->rows_per_task - 1) / j->rows_per_task), gate_up_task, j);
}

void forward_down(ExpertJob *j) {
    uint32_t hidden = j->f->s->hidden;
    j->rows_per_task = split_rows(j->f, hidden);
    os_pool_run(j->f->c.pool, (int)((hidden + j->rows_per_task - 1) / j->rows_per_task), down_task, j);
}
