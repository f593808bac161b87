/* The hit rate of recorded text: a trace of this model, replayed through the engine's cache in the size that is planned. */
#include "cli/io.h"
#include "cli/plan.h"

static ErrCode check(const Planner *p, const char *path, Err *err) {
    const LabTraceFacts *f = &p->trace->facts;
    if (f->layers != p->work.layers || f->experts != p->work.experts || f->top_k != p->work.experts_per_token)
        return err_set(err, ERR_USAGE, "%s: is a trace of %u layers with %u of %u experts per token, but this model has %u with %u of %u; "
                       "record one with `sluice trace`", path, f->layers, f->top_k, f->experts, p->work.layers,
                       p->work.experts_per_token, p->work.experts);
    LabReplay r;
    ErrCode code = lab_simulate(p->trace, p->policy, 1, 0, &r, err);
    if (code || r.decode_wanted) return code;
    return err_set(err, ERR_USAGE, "%s: holds no token in its second half that was run alone, as decoding runs them; record it with "
                   "-n N or --chunk 1", path);
}

ErrCode plan_trace(Planner *p, Err *err) {
    const char *path = opt_text(p->o, OPT_RECORDED, NULL), *policy = opt_text(p->o, OPT_POLICY, "auto");
    if (!path) return ERR_OK;
    if (!cache_policy_from_name(policy, &p->policy)) p->policy = cache_policy_default();
    p->trace = input_trace(path, err);
    return p->trace ? check(p, path, err) : err->code;
}

ErrCode plan_hit_rate(const Planner *p, const sluice_plan *plan, double *hit_rate, Err *err) {
    *hit_rate = -1; /* uniform */
    if (!p->trace || !plan->cache_slots || plan->cache_slots >= plan->experts_total) return ERR_OK;
    LabReplay r;
    ErrCode code = lab_simulate(p->trace, p->policy, plan->cache_slots, p->work.experts_per_token, &r, err);
    if (!code) *hit_rate = (double)r.decode_hits / (double)r.decode_wanted;
    return code;
}
