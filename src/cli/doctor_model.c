/* What binds a model on this machine, and what would change it: predictions with twice of one thing. */
#include "cli/doctor.h"

#include <stdio.h>

static void predict(const EngineWork *work, const EngineMachine *m, const sluice_plan *plan, uint32_t chunk, uint32_t ctx,
                    EnginePrediction *out) {
    engine_predict(work, m, plan, chunk, ctx / 2, -1, out);
}

ErrCode doctor_predict(Doctor *d, Err *err) {
    const Options *o = d->o;
    sluice_options options;
    sluice_options_init(&options);
    options_into(o, &options);
    EngineSketch *sketch = engine_sketch_new(&options, d->profile.machine.threads, 0, err);
    if (!sketch) return err->code;
    uint64_t ram = opt_given(o, OPT_RAM) ? o->value[OPT_RAM].bytes : engine_default_budget(d->facts.memory.budget);
    Err why = {0};
    uint32_t chunk = 0, ctx = engine_sketch_ctx(sketch);
    EngineWork work;
    engine_sketch_work(sketch, &work);
    d->predicted = true;
    if (engine_sketch_plan(sketch, ram, &d->plan, &chunk, &why)) snprintf(d->refused, sizeof d->refused, "%s", why.text);
    const EngineMachine *now = &d->profile.machine;
    predict(&work, now, &d->plan, chunk, ctx, &d->speed);
    EngineMachine m = *now;
    m.disk_bytes_per_s *= 2;
    m.disk_read_s /= 2;
    predict(&work, &m, &d->plan, chunk, ctx, &d->faster_disk);
    m = *now;
    m.dram_bytes_per_s *= 2;
    predict(&work, &m, &d->plan, chunk, ctx, &d->faster_memory);
    m = *now;
    m.dense_weights_per_s *= 2;
    m.expert_weights_per_s *= 2;
    m.batched_weights_per_s *= 2;
    predict(&work, &m, &d->plan, chunk, ctx, &d->more_cores);
    sluice_plan twice;
    if (engine_sketch_plan(sketch, 2 * ram, &twice, &chunk, NULL) == ERR_OK) predict(&work, now, &twice, chunk, ctx, &d->more_memory);
    engine_sketch_free(sketch);
    return ERR_OK;
}
