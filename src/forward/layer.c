/* One layer, of the trunk or the draft layer:
 *   x = x + mixer(norm(x));  x = x + experts(norm(x))
 * for all tokens of the step together. */
#include "forward/inside.h"

ErrCode forward_not_finite(const Forward *f, const LayerAt *at, const char *what, Err *err) {
    err_set(err, ERR_RANGE, "%s is not a finite number; the model file is damaged or its numbers overflow", what);
    return at->number < f->s->n_layers ? err_prefix(err, "layer %u", at->number) : err_prefix(err, "the draft layer");
}

static void add_mix_task(void *arg, int task, int worker) {
    (void)worker;
    Forward *f = arg;
    uint64_t row = (uint64_t)task * f->s->hidden;
    f->c.kernels->add(f->x + row, f->mix + row, f->s->hidden);
}

/* x += mix */
static void add_mix(Forward *f) { os_pool_run(f->c.pool, (int)f->n, add_mix_task, f); }

ErrCode forward_layer(Forward *f, const LayerAt *at, const ForwardProbe *probe, Err *err) {
    forward_norm_in(f, at->layer->norm_in);
    forward_mixer_of(at->layer)->run(f, at);
    add_mix(f);

    forward_norm_in(f, at->layer->norm_post);
    uint32_t n_wanted;
    ErrCode code = forward_route(f, at, &n_wanted, err);
    if (code) return code;
    forward_ahead_check(f, at->number);
    forward_show_routing(f, at, probe);
    uint64_t waited = forward_waited(f, probe);
    code = forward_experts(f, at, n_wanted, err);
    if (code) return code;
    forward_show_fetch(f, at, probe, n_wanted, waited);
    add_mix(f);
    forward_show_hidden(f, at, probe);
    return ERR_OK;
}
