/* Snapshots: what a session has been told so far, to go on from later. They live in what the plan leaves free. */
#include "engine/inside.h"

#include <string.h>

struct sluice_snapshot {
    sluice_model *model;
    uint32_t position;
    bool has_logits;
    uint64_t bytes;       /* of all of this */
    Xoshiro random;
    int32_t *ids;         /* [position] */
    float *logits;        /* [vocab] */
    void *state;          /* what forward_state_save wrote */
};

sluice_snapshot *sluice_snapshot_take(const sluice_session *s, sluice_error *error) {
    sluice_model *m = s->model;
    if (forward_state_broken(s->state)) {
        engine_refuse(error, ERR_STATE, "the session stopped in the middle of a step: there is nothing to go on from");
        return NULL;
    }
    engine_drafts_drop(s);
    uint32_t position = forward_state_position(s->state), vocab = m->model->shape.vocab;
    uint64_t state = forward_state_save_bytes(s->state);
    uint64_t bytes = sizeof(sluice_snapshot) + state + position * sizeof(int32_t) + vocab * sizeof(float);
    if (m->snapshot_bytes + bytes > m->plan.free_bytes) {
        char a[32], b[32];
        engine_refuse(error, ERR_MEMORY,
                      "a snapshot of %s does not fit: the plan leaves %s for all of them; raise --ram or lower the cache slots",
                      format_size(bytes, a), format_size(m->plan.free_bytes, b));
        return NULL;
    }
    sluice_snapshot *snap = MEM_NEW(sluice_snapshot, 1);
    if (snap) {
        *snap = (sluice_snapshot){.model = m,
                                  .position = position,
                                  .has_logits = s->has_logits,
                                  .bytes = bytes,
                                  .random = s->sampler->random,
                                  .ids = MEM_NEW(int32_t, position),
                                  .logits = MEM_NEW(float, vocab),
                                  .state = mem_new(state, 1)};
        m->snapshot_bytes += bytes;
    }
    if (!snap || !snap->ids || !snap->logits || !snap->state) {
        Err err = {0};
        sluice_snapshot_free(snap);
        err_no_memory(&err, bytes, "a snapshot");
        engine_fail(error, &err);
        return NULL;
    }
    memcpy(snap->ids, s->ids, position * sizeof *snap->ids);
    memcpy(snap->logits, s->logits, vocab * sizeof *snap->logits);
    forward_state_save(s->state, snap->state);
    return snap;
}

int sluice_snapshot_restore(sluice_session *s, const sluice_snapshot *snap, sluice_error *error) {
    if (snap->model != s->model) return engine_refuse(error, ERR_STATE, "the snapshot belongs to another model");
    engine_drafts_reset(s);
    forward_state_restore(s->state, snap->state, snap->position);
    memcpy(s->ids, snap->ids, snap->position * sizeof *snap->ids);
    memcpy(s->logits, snap->logits, s->model->model->shape.vocab * sizeof *snap->logits);
    s->has_logits = snap->has_logits;
    s->sampler->random = snap->random;
    return SLUICE_OK;
}

void sluice_snapshot_free(sluice_snapshot *snap) {
    if (!snap) return;
    snap->model->snapshot_bytes -= snap->bytes;
    mem_free(snap->ids);
    mem_free(snap->logits);
    mem_free(snap->state);
    mem_free(snap);
}
