/* The experts of one layer: the schedule of multiplying against reading. Read from the end: forward_experts. The wanted ones are asked
 * of the store at once; while they are read the shared expert is computed, then each routed expert as it comes, for all tokens of the
 * step that chose it.
 *
 * Sums have an order: a token's experts are added in ascending expert id, whatever arrives first. A step of many tokens takes
 * the experts in that order and adds directly; few tokens take them as they land, keep each output apart and add at the end.
 * Both give  mix = (((w_a out_a) + w_b out_b) + ...) + w_shared shared,  fused, so both give the same bits. */
#include "forward/inside.h"

#include <stdio.h>
#include <string.h>

enum { TOKENS_PER_THREAD = 8 }; /* of some experts together, that keep a pool busy */

/* The routed experts of a layer while they come in. Those that were taken from the store and not yet given back are open: jobs[i] is what
 * is multiplied with the lease open[i]. */
typedef struct Landing {
    Forward *f;
    const LayerAt *at;
    uint32_t n_wanted, n_taken; /* experts; those that are or were open */
    uint32_t n_open;
} Landing;

/* ---- opening and closing ------------------------------------------------------------------------------------------- */

static uint32_t tokens_of(const Forward *f, int32_t expert) { return f->route.pick_at[expert + 1] - f->route.pick_at[expert]; }

/* Rows that the open experts of many tokens fill in the buffers between: one after the other. */
static uint32_t rows_in_use(const Landing *l) {
    const ExpertJob *last = l->n_open > 0 ? &l->f->experts.jobs[l->n_open - 1] : NULL;
    return last ? last->first_row + last->n : 0;
}

/* Opens the next expert that the store gives out, waiting for its gate and up if need be. */
static ErrCode take_next(Landing *l, Err *err) {
    Forward *f = l->f;
    StoreLease *lease = &f->experts.open[l->n_open];
    ErrCode code = store_next(f->c.store, lease, err);
    if (code) return code;
    uint32_t n = tokens_of(f, lease->expert), first_pick = f->route.pick_at[lease->expert];
    uint32_t row = forward_few(f) ? first_pick : rows_in_use(l); /* few: where its outputs wait for their turn */
    const Pick *picks = f->route.picks + first_pick;
    ExpertJob *job = &f->experts.jobs[l->n_open];
    *job = (ExpertJob){.expert = lease->expert, .acts = f->experts.gathered + row, .n = n, .first_row = row, .inner = &f->experts.inner,
                       .rows_out = f->experts.out, .add_to = forward_few(f) ? NULL : picks};
    for (uint32_t i = 0; i < n; i++) f->experts.gathered[row + i] = f->in.acts[picks[i].token];
    for (int i = 0; i < MODEL_MATS; i++) {
        job->mat[i] = &l->at->layer->expert[i];
        job->data[i] = lease->part[i];
    }
    l->n_open++;
    l->n_taken++;
    return ERR_OK;
}

/* The first n of the open ones are done with. */
static void give_back(Landing *l, uint32_t n) {
    Forward *f = l->f;
    for (uint32_t i = 0; i < n; i++) store_put(f->c.store, &f->experts.open[i]);
    l->n_open -= n;
    memmove(f->experts.open, f->experts.open + n, l->n_open * sizeof *f->experts.open);
    memmove(f->experts.jobs, f->experts.jobs + n, l->n_open * sizeof *f->experts.jobs);
}

/* ---- multiplying; before and after it the time is the store's ------------------------------------------------------ */

/* Gate and up of the open ones from `first` on. */
static void multiply_gate_up(Landing *l, uint32_t first) {
    forward_enter(l->f, SECTION_EXPERT);
    forward_gate_up(l->f, l->f->experts.jobs + first, l->n_open - first);
    forward_enter(l->f, SECTION_STORE);
}

/* Downwards, so that of several the first is named. */
static ErrCode check_finite(const Landing *l, uint32_t n, Err *err) {
    Forward *f = l->f;
    if (!atomic_load(&f->not_finite)) return ERR_OK;
    char what[48] = "the output of an expert";
    for (uint32_t i = n; i-- > 0;) {
        const ExpertJob *job = &f->experts.jobs[i];
        if (!forward_finite(job->rows_out + (uint64_t)job->first_row * f->s->hidden, job->n * f->s->hidden))
            snprintf(what, sizeof what, "the output of expert %d", job->expert);
    }
    return forward_not_finite(f, l->at, what, err);
}

/* Down of the first n of the open ones, which closes them. */
static ErrCode multiply_down(Landing *l, uint32_t n, Err *err) {
    forward_enter(l->f, SECTION_EXPERT);
    forward_down(l->f, l->f->experts.jobs, n);
    ErrCode code = check_finite(l, n, err);
    forward_enter(l->f, SECTION_STORE);
    if (!code) give_back(l, n);
    return code;
}

/* ---- many tokens --------------------------------------------------------------------------------------------------- */

/* The next experts in ascending order: one is waited for, more are taken if they are there and there is too little to do for the
 * pool. A share of the slots only, for reads go on in the others. */
static ErrCode take_batch(Landing *l, Err *err) {
    const Forward *f = l->f;
    uint32_t most = store_slots_in_use(f->c.store) / 4, enough = (uint32_t)os_pool_threads(f->c.pool) * TOKENS_PER_THREAD;
    if (most > EXPERT_BATCH) most = EXPERT_BATCH;
    do {
        ErrCode code = take_next(l, err);
        if (code) return code;
    } while (l->n_open < most && rows_in_use(l) < enough && l->n_taken < l->n_wanted &&
             rows_in_use(l) + tokens_of(f, f->route.wanted[l->n_taken]) <= f->c.chunk && store_next_ready(f->c.store));
    return ERR_OK;
}

/* In ascending id, each added as it comes. Reads run far ahead, for the store starts as many as there are slots. */
static ErrCode run_in_order(Landing *l, Err *err) {
    Forward *f = l->f;
    while (l->n_taken < l->n_wanted) {
        uint32_t done = l->n_taken;
        ErrCode code = take_batch(l, err);
        if (code) return code;
        multiply_gate_up(l, 0);
        for (uint32_t i = 0; i < l->n_open && !code; i++)
            if (!f->experts.open[i].whole) code = store_finish(f->c.store, &f->experts.open[i], err);
        if (!code) code = multiply_down(l, l->n_open, err);
        if (code) return code;
        while (done < l->n_taken) forward_ahead_sweep(f, l->at->number, ++done, l->n_wanted);
    }
    return ERR_OK;
}

/* ---- few tokens ---------------------------------------------------------------------------------------------------- */

/* Gate and up of all experts that are ready; they stay open until their down is there. */
static ErrCode begin_ready(Landing *l, Err *err) {
    uint32_t before = l->n_open;
    while (l->n_taken < l->n_wanted && store_next_ready(l->f->c.store)) {
        ErrCode code = take_next(l, err);
        if (code) return code;
    }
    if (l->n_open > before) multiply_gate_up(l, before);
    return ERR_OK;
}

static void swap_open(Forward *f, uint32_t a, uint32_t b) {
    StoreLease lease = f->experts.open[a];
    ExpertJob job = f->experts.jobs[a];
    f->experts.open[a] = f->experts.open[b];
    f->experts.jobs[a] = f->experts.jobs[b];
    f->experts.open[b] = lease;
    f->experts.jobs[b] = job;
}

/* Down of all open experts that are whole, which gives their slots back. */
static ErrCode end_whole(Landing *l, Err *err) {
    Forward *f = l->f;
    uint32_t n = 0;
    for (uint32_t i = 0; i < l->n_open; i++) {
        if (!store_finish_ready(f->c.store, &f->experts.open[i])) continue;
        ErrCode code = store_finish(f->c.store, &f->experts.open[i], err);
        if (code) return code;
        swap_open(f, i, n++); /* they come first */
    }
    return n > 0 ? multiply_down(l, n, err) : ERR_OK;
}

/* Whatever can be computed is, and only when nothing can does the step wait. While the down of one expert is on its way, gate and up
 * of others are multiplied. Downs come first, because they give slots back. */
static ErrCode run_as_they_land(Landing *l, Err *err) {
    ErrCode code = ERR_OK;
    while (!code && (l->n_taken < l->n_wanted || l->n_open > 0)) {
        uint32_t open = l->n_open, taken = l->n_taken;
        code = end_whole(l, err);
        if (code || l->n_open != open) continue;
        code = begin_ready(l, err);
        if (!code && l->n_taken == taken) store_wait(l->f->c.store);
    }
    return code;
}

/* ---- the layer ----------------------------------------------------------------------------------------------------- */

/* The shared expert, left in shared_out: it is added after the routed ones. Its gate was computed with the router. */
static ErrCode run_shared(Forward *f, const LayerAt *at, Err *err) {
    const ModelMat *mats[MODEL_MATS] = {&at->layer->shared_gate, &at->layer->shared_up, &at->layer->shared_down};
    ExpertJob job = {.acts = f->in.acts, .n = f->n, .inner = &f->experts.shared_inner, .rows_out = f->experts.shared_out};
    for (int i = 0; i < MODEL_MATS; i++) {
        job.mat[i] = mats[i];
        job.data[i] = mats[i]->data;
    }
    forward_gate_up(f, &job, 1);
    forward_down(f, &job, 1);
    return atomic_load(&f->not_finite) ? forward_not_finite(f, at, "the output of the shared expert", err) : ERR_OK;
}

/* What is not in mix yet: the experts of few tokens, in ascending id, and after them the shared one. */
static void add_up(Forward *f) {
    const Route *r = &f->route;
    const Experts *e = &f->experts;
    uint64_t hidden = f->s->hidden;
    for (uint32_t i = 0; forward_few(f) && i < f->n * f->c.top_k; i++)
        f->c.kernels->axpy(f->mix + r->picks[i].token * hidden, e->out + i * hidden, r->picks[i].weight, hidden);
    for (uint32_t t = 0; f->s->shared_inner && t < f->n; t++)
        f->c.kernels->axpy(f->mix + t * hidden, e->shared_out + t * hidden, r->shared_w[t], hidden);
}

/* What can run under the reads of a layer is its shared expert, the guess at the next layer, and its own hits. Nothing of the next
 * layer can: its norm divides by a root over the whole residual stream, so it must see the last of these sums first. */
ErrCode forward_experts(Forward *f, const LayerAt *at, uint32_t n_wanted, Err *err) {
    Landing l = {.f = f, .at = at, .n_wanted = n_wanted};
    const Route *r = &f->route;
    bool few = forward_few(f);
    StoreOrder order = few ? STORE_ANY : STORE_ASCENDING;
    forward_enter(f, SECTION_STORE);
    ErrCode code = store_want(f->c.store, (int)at->number, r->wanted, r->uses, (int)n_wanted, order, err);
    if (code) return code;
    forward_enter(f, SECTION_DENSE);
    memset(f->mix, 0, (uint64_t)f->n * f->s->hidden * sizeof *f->mix);
    if (f->s->shared_inner) code = run_shared(f, at, err);
    if (!code) forward_ahead_guess(f, at->number);
    forward_enter(f, SECTION_STORE);
    if (!code) code = few ? run_as_they_land(&l, err) : run_in_order(&l, err);
    if (code) {
        give_back(&l, l.n_open);
        store_drop(f->c.store);
        return code;
    }
    forward_enter(f, SECTION_EXPERT);
    add_up(f);
    forward_enter(f, SECTION_DENSE);
    return ERR_OK;
}
