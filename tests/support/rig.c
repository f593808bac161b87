/* Building by hand what the engine builds. */
#include "support/rig.h"
#include "support/load_dense.h"
#include "support/support.h"

Rig rig_open(const RigConfig *c) {
    Rig r = {0};
    Err err = {0};
    r.format = format_open(c->path, &err);
    r.model = r.format ? model_new(r.format, &err) : NULL;
    if (!r.model || (c->mtp && model_bind_mtp(r.model, &err))) fail_msg("%s", err.text);
    const ModelShape *s = &r.model->shape;
    size_t records = (size_t)model_expert_layers(r.model) * s->n_experts;
    r.pool = os_pool_new(c->threads ? c->threads : 2, NULL);
    r.disk = disk_new(&c->disk, &err);
    if (!r.disk) fail_msg("%s", err.text);
    for (uint32_t i = 0, id; i < r.format->n_files; i++) {
        if (disk_add_file(r.disk, r.format->files[i].path, &id, &err)) fail_msg("%s", err.text);
        assert_int_equal(id, i); /* the number that the model's records have */
    }
    uint64_t slot = store_slot_bytes(r.model->records, records, r.disk);
    StoreConfig config = {.n_layers = (int)model_expert_layers(r.model), .n_experts = (int)s->n_experts, .parts = r.model->records,
                          .disk = r.disk, .slab_bytes = c->slots * slot, .poison = true, .policy = c->policy,
                          .hint_slots = c->lookahead == FORWARD_AHEAD_OFF ? 0 : s->n_experts};
    r.store = store_new(&config, &err);
    r.dense = os_pages_new(r.model->dense_bytes, &err);
    if (!r.store || !r.dense || load_dense(r.model, r.dense, &err)) fail_msg("%s", err.text);
    ForwardConfig forward = {.model = r.model, .kernels = kernels_get(KERNELS_RUNG_COUNT), .pool = r.pool, .store = r.store,
                             .ctx = c->ctx ? c->ctx : 64, .chunk = c->chunk ? c->chunk : 16, .top_k = s->top_k, .kv_type = QUANT_F32,
                             .lookahead = c->lookahead, .mtp = c->mtp, .precise = c->precise, .segments = c->segments};
    r.forward = forward_new(&forward, &err);
    r.state = r.forward ? forward_state_new(r.forward, &err) : NULL;
    if (!r.state) fail_msg("%s", err.text);
    ForwardSizes sizes = forward_sizes(&forward, 1);
    r.state_bytes = sizes.state + sizes.kv;
    return r;
}

void rig_close(Rig *r) {
    forward_state_free(r->state);
    forward_free(r->forward);
    os_pages_free(r->dense, r->model->dense_bytes);
    store_free(r->store);
    disk_free(r->disk);
    os_pool_free(r->pool);
    model_free(r->model);
    format_close(r->format);
}

ErrCode step_alone(Forward *f, ForwardState *s, const int32_t *ids, uint32_t n, const ForwardProbe *probe, Err *err) {
    return forward_step(f, &(ForwardSegment){s, ids, n}, 1, NULL, probe, err);
}

DiskConfig clean_disk(void) {
    DiskConfig c = {.backend = DISK_THREADS, .retries = -1};
    return c;
}

DiskConfig bad_disk(uint64_t seed) {
    DiskConfig c = {.backend = DISK_FAKE, .retries = 10};
    c.faults = (DiskFaults){.error_ppm = 100000, .short_ppm = 200000, .delay_ppm = 300000, .delay_ms = 2, .fail_file = -1, .seed = seed};
    return c;
}
