/* The experts of one layer: the schedule of multiplying against reading. The wanted ones are asked of the store at once; while they
 * are read the shared expert is computed, then each routed expert as it comes, for all tokens of the step that chose it.
 *
 * Sums have an order: a token's experts are added in ascending expert id, whatever arrives first. A step of several tokens takes
 * the experts in that order and adds directly; a single token takes them as they land, keeps each output apart and adds at the end.
 * Both give  mix = (((w_a out_a) + w_b out_b) + ...) + w_shared shared,  fused, so both give the same bits. */
#include "forward/inside.h"

#include <stdio.h>
#include <string.h>

enum { TOKENS_PER_THREAD = 8 }; /* of some experts together, that keep a pool busy */

/* The shared expert, left in shared_out: it is added after the routed ones. Its gate was computed with the router. */
static void run_shared(Forward *f, const ModelLayer *layer) {
    ExpertJob job = {.acts = f->in.acts, .n = f->n, .inner = &f->shared_inner, .out = f->shared_out};
    const ModelMat *mats[3] = {&layer->shared_gate, &layer->shared_up, &layer->shared_down};
    for (int i = 0; i < 3; i++) {
        job.mat[i] = mats[i];
        job.data[i] = mats[i]->data;
    }
    forward_gate_up(f, &job, 1);
    forward_down(f, &job, 1);
}

/* ---- the routed experts of a layer --------------------------------------------------------------------------------- */

static ErrCode check_finite(Forward *f, const LayerAt *at, const ExpertJob *jobs, uint32_t n_jobs, Err *err) {
    if (!atomic_load(&f->not_finite)) return ERR_OK;
    char what[48] = "the output of an expert";
    for (uint32_t i = n_jobs; i-- > 0;)
        if (!forward_finite(jobs[i].out + (uint64_t)jobs[i].row * f->s->hidden, jobs[i].n * f->s->hidden))
            snprintf(what, sizeof what, "the output of expert %d", jobs[i].expert);
    return forward_not_finite(f, at, what, err);
}

static uint32_t tokens_of(const Forward *f, int32_t expert) { return f->pick_at[expert + 1] - f->pick_at[expert]; }

/* An expert whose gate and up are multiplied or can be. row: where its tokens' rows begin in the buffers between. */
static ExpertJob routed_job(Forward *f, const ModelLayer *layer, const StoreLease *lease, uint32_t row) {
    uint32_t first = f->pick_at[lease->expert], n = tokens_of(f, lease->expert);
    ExpertJob job = {.expert = lease->expert, .acts = f->gathered + row, .n = n, .inner = &f->inner, .row = row, .out = f->out};
    for (uint32_t i = 0; i < n; i++) f->gathered[row + i] = f->in.acts[f->picks[first + i].token];
    for (int i = 0; i < 3; i++) {
        job.mat[i] = &layer->expert[i];
        job.data[i] = lease->part[i];
    }
    return job;
}

static void put_all(Forward *f, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) store_put(f->c.store, &f->open[i]);
}

/* The next experts in ascending order: one is waited for, more are taken if they are there and there is too little to do for the
 * pool. A share of the slots only, for reads go on in the others. */
static ErrCode take_batch(Forward *f, const LayerAt *at, uint32_t done, uint32_t n_wanted, uint32_t *n, Err *err) {
    uint32_t most = store_slots(f->c.store) / 4, enough = (uint32_t)os_pool_threads(f->c.pool) * TOKENS_PER_THREAD, row = 0;
    if (most > EXPERT_BATCH) most = EXPERT_BATCH;
    *n = 0;
    do {
        ErrCode code = store_next(f->c.store, &f->open[*n], err);
        if (code) return code;
        f->jobs[*n] = routed_job(f, at->layer, &f->open[*n], row);
        f->jobs[*n].add_to = f->picks + f->pick_at[f->open[*n].expert];
        row += f->jobs[*n].n;
        ++*n;
    } while (*n < most && row < enough && done + *n < n_wanted && row + tokens_of(f, f->wanted[done + *n]) <= f->c.chunk &&
             store_next_ready(f->c.store));
    return ERR_OK;
}

/* Several tokens: in ascending id, each added as it comes. Reads run far ahead, for the store starts as many as there are slots. */
static ErrCode run_in_order(Forward *f, const LayerAt *at, uint32_t n_wanted, Err *err) {
    for (uint32_t done = 0, n; done < n_wanted;) {
        forward_enter(f, SECTION_STORE);
        ErrCode code = take_batch(f, at, done, n_wanted, &n, err);
        if (!code) {
            forward_enter(f, SECTION_EXPERT);
            forward_gate_up(f, f->jobs, n);
            forward_enter(f, SECTION_STORE);
        }
        for (uint32_t i = 0; !code && i < n; i++)
            if (!f->open[i].whole) code = store_finish(f->c.store, &f->open[i], err);
        if (!code) {
            forward_enter(f, SECTION_EXPERT);
            forward_down(f, f->jobs, n);
            code = check_finite(f, at, f->jobs, n, err);
            forward_enter(f, SECTION_STORE);
        }
        put_all(f, n);
        if (code) return code;
        for (uint32_t i = 0; i < n; i++) forward_ahead_sweep(f, at->number, ++done, n_wanted);
    }
    return ERR_OK;
}

/* Where a single token's output of this expert waits for its turn: its rank among the wanted. */
static uint32_t rank_of(const Forward *f, uint32_t n_wanted, int32_t expert) {
    uint32_t i = 0;
    while (i + 1 < n_wanted && f->wanted[i] != expert) i++;
    return i;
}

/* Gate and up of all experts that are ready; they stay open until their down is there. */
static ErrCode begin_experts(Forward *f, const LayerAt *at, uint32_t n_wanted, uint32_t *taken, uint32_t *n_open, Err *err) {
    ErrCode code = ERR_OK;
    uint32_t n = 0;
    while (!code && *taken < n_wanted && store_next_ready(f->c.store)) {
        StoreLease *lease = &f->open[*n_open];
        code = store_next(f->c.store, lease, err);
        if (code) break;
        f->jobs[n++] = routed_job(f, at->layer, lease, rank_of(f, n_wanted, lease->expert));
        ++*n_open;
        ++*taken;
    }
    if (code || n == 0) return code;
    forward_enter(f, SECTION_EXPERT);
    forward_gate_up(f, f->jobs, n);
    forward_enter(f, SECTION_STORE);
    return ERR_OK;
}

/* Down of all open experts that are whole, which gives their slots back. */
static ErrCode end_experts(Forward *f, const LayerAt *at, uint32_t n_wanted, uint32_t *n_open, Err *err) {
    ErrCode code = ERR_OK;
    uint32_t n = 0, kept = 0;
    for (uint32_t i = 0; i < *n_open && !code; i++) {
        if (!store_finish_ready(f->c.store, &f->open[i])) continue;
        code = store_finish(f->c.store, &f->open[i], err);
        StoreLease lease = f->open[i]; /* the whole ones come first */
        f->open[i] = f->open[n];
        f->open[n] = lease;
        f->jobs[n++] = routed_job(f, at->layer, &lease, rank_of(f, n_wanted, lease.expert));
    }
    if (code || n == 0) return code;
    forward_enter(f, SECTION_EXPERT);
    forward_down(f, f->jobs, n);
    code = check_finite(f, at, f->jobs, n, err);
    forward_enter(f, SECTION_STORE);
    put_all(f, n);
    for (uint32_t i = n; i < *n_open; i++) f->open[kept++] = f->open[i];
    *n_open = kept;
    return code;
}

/* One token: whatever can be computed is, and only when nothing can does the step wait. While the down of one expert is on its way,
 * gate and up of others are multiplied. Downs come first, because they give slots back. */
static ErrCode run_as_they_land(Forward *f, const LayerAt *at, uint32_t n_wanted, Err *err) {
    ErrCode code = ERR_OK;
    uint32_t taken = 0, n_open = 0;
    forward_enter(f, SECTION_STORE);
    while (!code && (taken < n_wanted || n_open > 0)) {
        uint32_t before = n_open + taken;
        code = end_experts(f, at, n_wanted, &n_open, err);
        if (code || n_open + taken != before) continue;
        code = begin_experts(f, at, n_wanted, &taken, &n_open, err);
        if (!code && n_open + taken == before) store_wait(f->c.store);
    }
    put_all(f, n_open);
    return code;
}

/* What can run under the reads of a layer is its shared expert, the guess at the next layer, and its own hits. Nothing of the next
 * layer can: its norm divides by a root over the whole residual stream, so it must see the last of these sums first. */
ErrCode forward_experts(Forward *f, const LayerAt *at, uint32_t n_wanted, Err *err) {
    uint32_t hidden = f->s->hidden;
    bool single = f->n == 1;
    forward_enter(f, SECTION_STORE);
    ErrCode code = store_want(f->c.store, (int)at->number, f->wanted, f->uses, (int)n_wanted, single ? STORE_ANY : STORE_ASCENDING, err);
    if (code) return code;
    forward_enter(f, SECTION_DENSE);
    memset(f->mix, 0, (uint64_t)f->n * hidden * sizeof *f->mix);
    if (f->s->shared_inner) run_shared(f, at->layer);
    if (atomic_load(&f->not_finite)) code = forward_not_finite(f, at, "the output of the shared expert", err);
    if (!code) forward_ahead_guess(f, at->number);
    if (!code) code = single ? run_as_they_land(f, at, n_wanted, err) : run_in_order(f, at, n_wanted, err);
    if (code) {
        forward_enter(f, SECTION_STORE);
        store_drop(f->c.store);
        return code;
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
