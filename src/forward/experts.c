/* The experts of one layer: the schedule of multiplying against reading. The wanted ones are asked of the store at once; while they
 * are read the shared expert is computed, then each routed expert as it comes, for all tokens of the step that chose it.
 *
 * Sums have an order: a token's experts are added in ascending expert id, whatever arrives first. A step of several tokens takes
 * the experts in that order and adds directly; a single token takes them as they land, keeps each output apart and adds at the end.
 * Both give  mix = (((w_a out_a) + w_b out_b) + ...) + w_shared shared,  fused, so both give the same bits. */
#include "forward/inside.h"

#include <stdio.h>
#include <string.h>

/* The shared expert, left in out and shared_w: it is added after the routed ones. */
static void run_shared(Forward *f, const ModelLayer *layer, float *out) {
    ExpertJob job = {.f = f, .acts = f->in.acts, .n = f->n, .inner = &f->shared_inner, .out = out};
    const ModelMat *mats[3] = {&layer->shared_gate, &layer->shared_up, &layer->shared_down};
    for (int i = 0; i < 3; i++) {
        job.mat[i] = mats[i];
        job.data[i] = mats[i]->data;
    }
    forward_gate_up(&job);
    forward_down(&job);
    forward_matmul(f, &layer->shared_router, f->in_f32, f->n, f->shared_w, 1);
    for (uint32_t t = 0; t < f->n; t++) f->shared_w[t] = kernels_sigmoid(f->shared_w[t]);
}

static ErrCode not_finite(Err *err, const char *who) {
    return err_set(err, ERR_RANGE, "the output of %s is not a finite number; the model file is damaged or its numbers overflow", who);
}

/* ---- the routed experts of a layer --------------------------------------------------------------------------------- */

static ErrCode check_finite(Forward *f, int32_t expert, Err *err) {
    if (!atomic_load(&f->not_finite)) return ERR_OK;
    char who[32];
    snprintf(who, sizeof who, "expert %d", expert);
    return not_finite(err, who);
}

/* An expert whose gate and up are multiplied or can be. */
static ExpertJob routed_job(Forward *f, const ModelLayer *layer, const StoreLease *lease, uint32_t row, float *out) {
    uint32_t first = f->pick_at[lease->expert], n = f->pick_at[lease->expert + 1] - first;
    ExpertJob job = {.f = f, .acts = f->gathered, .n = n, .inner = &f->inner, .row = row, .out = out};
    for (uint32_t i = 0; i < n; i++) f->gathered[i] = f->in.acts[f->picks[first + i].token];
    for (int i = 0; i < 3; i++) {
        job.mat[i] = &layer->expert[i];
        job.data[i] = lease->part[i];
    }
    return job;
}

/* Several tokens: in ascending id, each added as it comes. Reads run far ahead, for the store starts as many as there are slots. */
static ErrCode run_in_order(Forward *f, const ModelLayer *layer, uint32_t layer_index, uint32_t n_wanted, Err *err) {
    Store *store = f->c.store;
    for (uint32_t i = 0; i < n_wanted; i++) {
        StoreLease lease;
        forward_enter(f, SECTION_STORE);
        ErrCode code = store_next(store, &lease, err);
        if (code) return code;
        forward_enter(f, SECTION_EXPERT);
        ExpertJob job = routed_job(f, layer, &lease, 0, f->out);
        job.add_to = f->picks + f->pick_at[lease.expert];
        forward_gate_up(&job);
        if (!lease.whole) {
            forward_enter(f, SECTION_STORE);
            code = store_finish(store, &lease, err);
            forward_enter(f, SECTION_EXPERT);
        }
        if (!code) forward_down(&job);
        if (!code) code = check_finite(f, lease.expert, err);
        forward_enter(f, SECTION_STORE);
        store_put(store, &lease);
        if (code) return code;
        forward_ahead_sweep(f, layer_index, i + 1, n_wanted);
    }
    return ERR_OK;
}

/* Where a single token's output of this expert waits for its turn: its rank among the wanted. */
static uint32_t rank_of(const Forward *f, uint32_t n_wanted, int32_t expert) {
    uint32_t i = 0;
    while (i + 1 < n_wanted && f->wanted[i] != expert) i++;
    return i;
}

/* Gate and up of the next ready expert; it stays open until its down is there. */
static ErrCode begin_expert(Forward *f, const ModelLayer *layer, uint32_t n_wanted, StoreLease *lease, Err *err) {
    ErrCode code = store_next(f->c.store, lease, err);
    if (code) return code;
    forward_enter(f, SECTION_EXPERT);
    ExpertJob job = routed_job(f, layer, lease, rank_of(f, n_wanted, lease->expert), NULL);
    forward_gate_up(&job);
    forward_enter(f, SECTION_STORE);
    return ERR_OK;
}

/* Down of an expert that is whole, or the error of its read; the lease is given back in any case. */
static ErrCode end_expert(Forward *f, const ModelLayer *layer, uint32_t n_wanted, StoreLease *lease, Err *err) {
    ErrCode code = store_finish(f->c.store, lease, err);
    if (!code) {
        uint32_t rank = rank_of(f, n_wanted, lease->expert);
        forward_enter(f, SECTION_EXPERT);
        ExpertJob job = routed_job(f, layer, lease, rank, f->out + (uint64_t)rank * f->s->hidden);
        forward_down(&job);
        code = check_finite(f, lease->expert, err);
        forward_enter(f, SECTION_STORE);
    }
    store_put(f->c.store, lease);
    return code;
}

/* The open lease whose down can be multiplied; n_open: none. */
static uint32_t whole_one(Forward *f, uint32_t n_open) {
    uint32_t i = 0;
    while (i < n_open && !store_finish_ready(f->c.store, &f->open[i])) i++;
    return i;
}

/* One token: whatever can be computed is, and only when nothing can does the step wait. While the down of one expert is on its way,
 * gate and up of the next are multiplied. A down comes first, because it gives a slot back. */
static ErrCode run_as_they_land(Forward *f, const ModelLayer *layer, uint32_t n_wanted, Err *err) {
    ErrCode code = ERR_OK;
    uint32_t taken = 0, n_open = 0;
    forward_enter(f, SECTION_STORE);
    while (!code && (taken < n_wanted || n_open > 0)) {
        uint32_t i = whole_one(f, n_open);
        if (i < n_open) {
            code = end_expert(f, layer, n_wanted, &f->open[i], err);
            f->open[i] = f->open[--n_open];
        } else if (taken < n_wanted && store_next_ready(f->c.store)) {
            code = begin_expert(f, layer, n_wanted, &f->open[n_open], err);
            if (!code) taken++, n_open++;
        } else {
            store_wait(f->c.store);
        }
    }
    for (uint32_t i = 0; i < n_open; i++) store_put(f->c.store, &f->open[i]);
    return code;
}

/* What can run under the reads of a layer is its shared expert, the guess at the next layer, and its own hits. Nothing of the next
 * layer can: its norm divides by a root over the whole residual stream, so it must see the last of these sums first. */
ErrCode forward_experts(Forward *f, const ModelLayer *layer, uint32_t layer_index, uint32_t n_wanted, Err *err) {
    uint32_t hidden = f->s->hidden;
    bool single = f->n == 1;
    forward_enter(f, SECTION_STORE);
    ErrCode code = store_want(f->c.store, (int)layer_index, f->wanted, f->uses, (int)n_wanted, single ? STORE_ANY : STORE_ASCENDING, err);
    if (code) return code;
    forward_enter(f, SECTION_DENSE);
    memset(f->mix, 0, (uint64_t)f->n * hidden * sizeof *f->mix);
    if (f->s->shared_inner) run_shared(f, layer, f->shared_out);
    if (atomic_load(&f->not_finite)) code = not_finite(err, "the shared expert");
    if (!code) forward_ahead_guess(f, layer_index);
    if (!code) code = single ? run_as_they_land(f, layer, n_wanted, err) : run_in_order(f, layer, layer_index, n_wanted, err);
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
