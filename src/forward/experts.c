/* The experts of one layer. The wanted ones are asked of the store at once; while they are read the shared expert is computed,
 * then each routed expert as it comes, for all tokens of the step that chose it.
 *
 * Sums have an order: a token's experts are added in ascending expert id, whatever arrives first. A step of several tokens takes
 * the experts in that order and adds directly; a single token takes them as they land, keeps each output apart and adds at the end.
 * Both give  mix = (((w_a out_a) + w_b out_b) + ...) + w_shared shared,  fused, so both give the same bits. */
#include "forward/inside.h"

#include <stdio.h>
#include <string.h>

/* One expert, routed or shared, over some tokens of the step. */
typedef struct ExpertJob {
    Forward *f;
    const ModelMat *mat[3];     /* gate, up [inner, hidden], down [hidden, inner] */
    const uint8_t *data[3];
    const KernelsActs *acts;    /* [n] inputs */
    uint32_t n, rows_per_task;
    Rows *inner;                /* [n][inner] */
    float *out;                 /* [n][hidden] */
    const Pick *add_to;         /* [n] add weight * out to mix of these tokens; NULL: leave it in out */
} ExpertJob;

/* Rows [first, first + rows) of gate and up, then silu(gate) * up and its blocks: a task's rows are whole blocks of 32. */
static void gate_up_task(void *arg, int task, int worker) {
    const ExpertJob *j = arg;
    Forward *f = j->f;
    const Kernels *k = f->c.kernels;
    uint32_t inner = j->inner->n, first = (uint32_t)task * j->rows_per_task;
    uint32_t rows = inner - first < j->rows_per_task ? inner - first : j->rows_per_task;
    const ModelMat *gate = j->mat[0], *up = j->mat[1];
    float *scratch = forward_scratch(f, worker);
    k->matmul(gate->type, j->data[0] + (uint64_t)first * gate->row_bytes, rows, gate->cols, j->acts, j->n, j->inner->x + first, inner,
              scratch);
    k->matmul(up->type, j->data[1] + (uint64_t)first * up->row_bytes, rows, up->cols, j->acts, j->n, f->up + first, inner, scratch);
    for (uint32_t t = 0; t < j->n; t++) {
        float *x = j->inner->x + (uint64_t)t * inner + first;
        k->silu_mul(x, x, f->up + (uint64_t)t * inner + first, rows);
        if (j->inner->q) {
            uint64_t at = (uint64_t)t * j->inner->padded + first;
            k->quantize(x, j->inner->q + at, j->inner->scale + at / KERNELS_ACT_BLOCK, rows);
        }
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
    f->c.kernels->matmul(down->type, j->data[2] + (uint64_t)first * down->row_bytes, rows, down->cols, j->inner->acts, j->n,
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

static void run_gate_up(ExpertJob *j) {
    uint32_t inner = j->inner->n;
    j->rows_per_task = split_rows(j->f, inner);
    os_pool_run(j->f->c.pool, (int)((inner + j->rows_per_task - 1) / j->rows_per_task), gate_up_task, j);
}

static void run_down(ExpertJob *j) {
    uint32_t hidden = j->f->s->hidden;
    j->rows_per_task = split_rows(j->f, hidden);
    os_pool_run(j->f->c.pool, (int)((hidden + j->rows_per_task - 1) / j->rows_per_task), down_task, j);
}

/* The shared expert, left in out and shared_w: it is added after the routed ones. */
static void run_shared(Forward *f, const ModelLayer *layer, float *out) {
    ExpertJob job = {.f = f, .acts = f->in.acts, .n = f->n, .inner = &f->shared_inner, .out = out};
    const ModelMat *mats[3] = {&layer->shared_gate, &layer->shared_up, &layer->shared_down};
    for (int i = 0; i < 3; i++) {
        job.mat[i] = mats[i];
        job.data[i] = mats[i]->data;
    }
    run_gate_up(&job);
    run_down(&job);
    forward_matmul(f, &layer->shared_router, f->in_f32, f->n, f->shared_w, 1);
    for (uint32_t t = 0; t < f->n; t++) f->shared_w[t] = kernels_sigmoid(f->shared_w[t]);
}

/* Multiplication begins with gate and up, while down may still be on its way. */
static ErrCode run_routed(Forward *f, const ModelLayer *layer, StoreLease *lease, float *out, bool add, Err *err) {
    uint32_t first = f->pick_at[lease->expert], n = f->pick_at[lease->expert + 1] - first;
    for (uint32_t i = 0; i < n; i++) f->gathered[i] = f->in.acts[f->picks[first + i].token];
    ExpertJob job = {.f = f, .acts = f->gathered, .n = n, .inner = &f->inner, .out = out, .add_to = add ? f->picks + first : NULL};
    for (int i = 0; i < 3; i++) {
        job.mat[i] = &layer->expert[i];
        job.data[i] = lease->part[i];
    }
    run_gate_up(&job);
    if (!lease->whole) {
        forward_enter(f, SECTION_STORE);
        ErrCode code = store_finish(f->c.store, lease, err);
        forward_enter(f, SECTION_EXPERT);
        if (code) return code;
    }
    run_down(&job);
    return ERR_OK;
}

/* Where a single token's output of this expert waits for its turn: its rank among the wanted. */
static uint32_t rank_of(const Forward *f, uint32_t n_wanted, int32_t expert) {
    uint32_t i = 0;
    while (i + 1 < n_wanted && f->wanted[i] != expert) i++;
    return i;
}

static ErrCode not_finite(Err *err, const char *who) {
    return err_set(err, ERR_RANGE, "the output of %s is not a finite number; the model file is damaged or its numbers overflow", who);
}

ErrCode forward_experts(Forward *f, const ModelLayer *layer, uint32_t layer_index, uint32_t n_wanted, Err *err) {
    uint32_t hidden = f->s->hidden;
    bool single = f->n == 1;
    forward_enter(f, SECTION_STORE);
    ErrCode code = store_want(f->c.store, (int)layer_index, f->wanted, NULL, (int)n_wanted, single ? STORE_ANY : STORE_ASCENDING, err);
    if (code) return code;
    forward_enter(f, SECTION_DENSE);
    memset(f->mix, 0, (uint64_t)f->n * hidden * sizeof *f->mix);
    if (f->s->shared_inner) run_shared(f, layer, f->shared_out);
    if (atomic_load(&f->not_finite)) {
        store_drop(f->c.store);
        return not_finite(err, "the shared expert");
    }
    for (uint32_t i = 0; i < n_wanted; i++) {
        StoreLease lease;
        forward_enter(f, SECTION_STORE);
        code = store_next(f->c.store, &lease, err);
        if (code) {
            store_drop(f->c.store);
            return code;
        }
        float *out = single ? f->out + (uint64_t)rank_of(f, n_wanted, lease.expert) * hidden : f->out;
        forward_enter(f, SECTION_EXPERT);
        code = run_routed(f, layer, &lease, out, !single, err);
        forward_enter(f, SECTION_STORE);
        store_put(f->c.store, &lease);
        if (code) {
            store_drop(f->c.store);
            return code;
        }
        if (atomic_load(&f->not_finite)) {
            char who[32];
            snprintf(who, sizeof who, "expert %d", lease.expert);
            store_drop(f->c.store);
            return not_finite(err, who);
        }
    }
    forward_enter(f, SECTION_EXPERT);
    if (single)
        for (uint32_t i = 0; i < n_wanted; i++)
            f->c.kernels->axpy(f->mix, f->out + (uint64_t)i * hidden, f->picks[f->pick_at[f->wanted[i]]].weight, hidden);
    if (f->s->shared_inner)
        for (uint32_t t = 0; t < f->n; t++)
            f->c.kernels->axpy(f->mix + (uint64_t)t * hidden, f->shared_out + (uint64_t)t * hidden, f->shared_w[t], hidden);
    forward_enter(f, SECTION_DENSE);
    return ERR_OK;
}
