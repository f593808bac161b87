/* Plans for models that are not opened: the steps of opening up to the plan, without a disk, threads or anything large. */
#include "engine/inside.h"

struct EngineSketch {
    sluice_model m;
    ForwardConfig forward;
};

EngineSketch *engine_sketch_new(const sluice_options *options, int threads, uint64_t base_elsewhere, Err *err) {
    Err own = {0};
    EngineSketch *sketch = MEM_NEW(EngineSketch, 1);
    if (!sketch) {
        err_no_memory(err, sizeof *sketch, "a model");
        return NULL;
    }
    sketch->m.options = *options;
    sketch->m.sketch_threads = threads > 0 ? threads : 1;
    if (engine_read_headers(&sketch->m, &sketch->forward, true, &own) == ERR_OK) {
        /* now, before whoever plans takes memory for other things */
        sketch->m.sketch_base = os_rss_now() + base_elsewhere;
        sketch->m.sketch_peak = os_rss_peak() + base_elsewhere;
        return sketch;
    }
    if (err) *err = own;
    engine_sketch_free(sketch);
    return NULL;
}

void engine_sketch_free(EngineSketch *sketch) {
    if (!sketch) return;
    model_free(sketch->m.model);
    if (sketch->m.format) format_close(sketch->m.format);
    mem_free(sketch);
}

const Model *engine_sketch_model(const EngineSketch *sketch) { return sketch->m.model; }
uint32_t engine_sketch_ctx(const EngineSketch *sketch) { return sketch->m.ctx; }

ErrCode engine_sketch_plan(EngineSketch *sketch, uint64_t ram_bytes, sluice_plan *plan, uint32_t *chunk, Err *err) {
    Err own = {0};
    ForwardConfig forward = sketch->forward;
    sketch->m.options.ram_bytes = ram_bytes;
    ErrCode code = engine_make_plan(&sketch->m, &forward, &own);
    *plan = sketch->m.plan;
    if (chunk) *chunk = forward.chunk;
    if (code && err) *err = own;
    return code;
}

bool engine_sketch_retype(EngineSketch *sketch, QuantType type) {
    Model *m = sketch->m.model;
    if (!model_retype_experts(m, type)) return false;
    sketch->m.slot_bytes = store_slot_bytes(m->records, (size_t)m->shape.n_layers * m->shape.n_experts, NULL);
    return true;
}

/* ---- what a token costs ---- */

static void add_mat(const ModelMat *mat, uint64_t *bytes, uint64_t *weights) {
    *bytes += mat->rows * mat->row_bytes;
    *weights += (uint64_t)mat->rows * mat->cols;
}

void engine_work(const Model *model, uint32_t experts_per_token, QuantType kv_type, EngineWork *out) {
    const ModelShape *s = &model->shape;
    const ForwardToken token = forward_token_bytes(model, kv_type);
    *out = (EngineWork){.layers = s->n_layers, .experts = s->n_experts, .hidden = s->hidden,
                        .experts_per_token = experts_per_token ? experts_per_token : s->top_k,
                        .state_bytes = token.state, .kv_bytes_per_position = token.position, .record_bytes = model_record_bytes(model),
                        .record_weights = MODEL_MATS * (uint64_t)s->hidden * s->expert_inner};
    for (uint32_t l = 0; l < s->n_layers; l++) {
        const ModelMat *mats[MODEL_DENSE_MATS];
        model_layer_mats(&model->layers[l], mats);
        for (int i = 0; i < MODEL_DENSE_MATS; i++) add_mat(mats[i], &out->dense_bytes, &out->dense_weights);
        for (int i = MODEL_SHARED_MATS; i < MODEL_DENSE_MATS; i++) add_mat(mats[i], &out->shared_bytes, &out->shared_weights);
    }
    add_mat(&model->head, &out->head_bytes, &out->head_weights);
    out->dense_bytes += out->head_bytes;
    out->dense_weights += out->head_weights;
}

void engine_sketch_work(const EngineSketch *sketch, EngineWork *out) {
    engine_work(sketch->m.model, sketch->m.top_k, sketch->forward.kv_type, out);
}
