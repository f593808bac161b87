/* The router: softmax over all experts, the k most likely, ties to the lower id; then the picks sorted by expert, so that each
 * expert is read once per step and its tokens are multiplied together. */
#include "forward/inside.h"

#include <math.h>
#include <string.h>

static void pick_task(void *arg, int task, int worker) {
    (void)worker;
    Forward *f = arg;
    uint32_t n_experts = f->s->n_experts, k = f->c.top_k;
    float *p = f->route.logits + (uint64_t)task * n_experts;
    int32_t *ids = f->route.top_ids + (uint64_t)task * k;
    float *w = f->route.top_w + (uint64_t)task * k;
    /* insertion into a short sorted list; strict comparison keeps the lower id first among equals */
    for (uint32_t e = 0, have = 0; e < n_experts; e++) {
        if (!isfinite(p[e])) {
            atomic_store(&f->not_finite, 1);
            return;
        }
        if (have == k && !(p[e] > w[k - 1])) continue;
        uint32_t at = have < k ? have++ : k - 1;
        for (; at > 0 && p[e] > w[at - 1]; at--) {
            w[at] = w[at - 1];
            ids[at] = ids[at - 1];
        }
        w[at] = p[e];
        ids[at] = (int32_t)e;
    }
    float total = f->c.kernels->exp_sum(p, w[0], n_experts), chosen = 0;
    for (uint32_t i = 0; i < k; i++) {
        w[i] = p[ids[i]] / total;
        chosen += w[i];
    }
    if (f->s->norm_topk)
        for (uint32_t i = 0; i < k; i++) w[i] /= chosen;
}

/* A counting sort: by expert, and within an expert by token. */
static uint32_t sort_picks(Forward *f) {
    uint32_t n_experts = f->s->n_experts, n_picks = f->n * f->c.top_k, n_wanted = 0;
    Route *r = &f->route;
    uint32_t *at = r->pick_at;
    memset(at, 0, (n_experts + 1) * sizeof *at);
    for (uint32_t i = 0; i < n_picks; i++) at[r->top_ids[i] + 1]++;
    for (uint32_t e = 0; e < n_experts; e++) {
        if (at[e + 1]) {
            r->uses[n_wanted] = at[e + 1];
            r->wanted[n_wanted++] = (int32_t)e;
        }
        at[e + 1] += at[e];
    }
    for (uint32_t i = 0; i < n_picks; i++) {
        Pick *p = &r->picks[at[r->top_ids[i]]++];
        p->token = i / f->c.top_k;
        p->weight = r->top_w[i];
    }
    /* every start has moved to its end, which is the next one's start: move them back */
    memmove(at + 1, at, n_experts * sizeof *at);
    at[0] = 0;
    return n_wanted;
}

ErrCode forward_route(Forward *f, const LayerAt *at, uint32_t *n_wanted, Err *err) {
    const ModelLayer *layer = at->layer;
    Route *r = &f->route;
    atomic_store(&f->not_finite, 0);
    /* the gate of the shared expert reads the same input */
    const MatPart in[] = {{&layer->router, f->in_f32, r->logits, f->s->n_experts}, {&layer->shared_router, f->in_f32, r->shared_w, 1}};
    forward_matmuls(f, in, f->s->shared_inner ? 2 : 1, f->n);
    for (uint32_t t = 0; f->s->shared_inner && t < f->n; t++) r->shared_w[t] = kernels_sigmoid(r->shared_w[t]);
    os_pool_run(f->c.pool, (int)f->n, pick_task, f);
    if (atomic_load(&f->not_finite)) return forward_not_finite(f, at, "the router's output", err);
    *n_wanted = sort_picks(f);
    return ERR_OK;
}
