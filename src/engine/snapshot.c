/* Snapshots: what a session has been told so far, to go on from later. They live in what the plan keeps for them and leaves free.
 *
 * Keys and values grow with the tokens; all else has one size, tens to hundreds of megabytes. Whole blocks of keys and values never change
 * once they are full, so a snapshot that is taken on another shares its spans of blocks. Spans live as long as somebody needs them. */
#include "engine/snapshot.h"

#include <string.h>

uint64_t engine_snapshot_free(const sluice_model *m) {
    uint64_t kept = m->plan.snapshot_bytes, used = m->snapshot_bytes;
    return m->plan.free_bytes - (used > kept ? used - kept : 0);
}

uint64_t engine_snapshot_block_bytes(const sluice_model *m) { return forward_state_keys_bytes(m->forward); }

sluice_snapshot_room sluice_snapshots(const sluice_model *m) {
    return (sluice_snapshot_room){m->snapshot_bytes, m->plan.snapshot_bytes + m->plan.free_bytes};
}

/* ---- spans ---- */

static uint64_t span_bytes(const sluice_model *m, uint32_t blocks) {
    return blocks ? sizeof(SnapshotSpan) + blocks * engine_snapshot_block_bytes(m) : 0;
}

static SnapshotSpan *span_new(sluice_model *m, SnapshotSpan *before, uint32_t first, uint32_t end) {
    SnapshotSpan *s = MEM_NEW(SnapshotSpan, 1);
    uint8_t *data = s ? mem_new((end - first) * engine_snapshot_block_bytes(m), 1) : NULL;
    if (!data) {
        mem_free(s);
        return NULL;
    }
    *s = (SnapshotSpan){.before = before, .refs = 1, .first = first, .end = end, .data = data};
    if (before) before->refs++;
    m->snapshot_bytes += span_bytes(m, end - first);
    return s;
}

static void span_free(sluice_model *m, SnapshotSpan *s) {
    while (s && --s->refs == 0) {
        SnapshotSpan *before = s->before;
        m->snapshot_bytes -= span_bytes(m, s->end - s->first);
        mem_free(s->data);
        mem_free(s);
        s = before;
    }
}

uint8_t *engine_snapshot_block(const sluice_snapshot *snap, uint32_t block) {
    const SnapshotSpan *s = snap->last;
    while (s->first > block) s = s->before;
    return s->data + (block - s->first) * snap->block_bytes;
}

/* ---- taking and restoring ---- */

/* All but keys and values. */
static uint64_t fixed_bytes(const sluice_model *m, uint32_t position, uint64_t rest_bytes) {
    return sizeof(sluice_snapshot) + rest_bytes + position * sizeof(int32_t) + m->model->shape.vocab * sizeof(float);
}

uint64_t engine_snapshot_memory(const sluice_model *m, uint32_t position, uint64_t rest_bytes) {
    return fixed_bytes(m, position, rest_bytes) + span_bytes(m, engine_snapshot_blocks(position));
}

static ErrCode allocate(sluice_snapshot *snap, SnapshotSpan *before, uint32_t first, Err *err) {
    sluice_model *m = snap->model;
    const uint32_t vocab = m->model->shape.vocab, end = engine_snapshot_blocks(snap->position);
    m->snapshot_bytes += fixed_bytes(m, snap->position, snap->rest_bytes);
    snap->ids = MEM_NEW(int32_t, snap->position);
    snap->logits = MEM_NEW(float, vocab);
    snap->rest = mem_new(snap->rest_bytes, 1);
    if (first < end) {
        snap->last = span_new(m, first ? before : NULL, first, end);
    } else if (before) {
        snap->last = before;
        before->refs++;
    }
    if (snap->ids && snap->logits && snap->rest && (snap->last || !end)) return ERR_OK;
    return err_no_memory(err, fixed_bytes(m, snap->position, snap->rest_bytes) + span_bytes(m, end - first), "a snapshot");
}

sluice_snapshot *engine_snapshot_new(sluice_model *m, uint32_t position, uint64_t rest_bytes, SnapshotSpan *before, uint32_t first,
                                     Err *err) {
    sluice_snapshot_room room = sluice_snapshots(m);
    uint64_t bytes = fixed_bytes(m, position, rest_bytes) + span_bytes(m, engine_snapshot_blocks(position) - first);
    if (room.used + bytes > room.limit) {
        char a[32], b[32];
        err_set(err, ERR_MEMORY,
                "a snapshot of %s does not fit: the plan has %s for all of them; raise --ram, plan for them (options.snapshot_bytes), or "
                "lower the cache slots",
                format_size(bytes, a), format_size(room.limit, b));
        return NULL;
    }
    sluice_snapshot *snap = MEM_NEW(sluice_snapshot, 1);
    if (!snap) {
        err_no_memory(err, bytes, "a snapshot");
        return NULL;
    }
    *snap = (sluice_snapshot){.model = m, .position = position, .block_bytes = engine_snapshot_block_bytes(m), .rest_bytes = rest_bytes,
                              .bytes = bytes};
    if (allocate(snap, before, first, err) == ERR_OK) return snap;
    sluice_snapshot_free(snap);
    return NULL;
}

/* The last span of a snapshot that a session's can stand on, and how many whole blocks of it: its tokens must come first. */
static SnapshotSpan *shared_with(const sluice_session *s, const sluice_snapshot *base, uint32_t position, uint32_t *blocks) {
    *blocks = 0;
    if (!base || base->model != s->model || base->position > position) return NULL;
    if (memcmp(base->ids, s->ids, base->position * sizeof *base->ids) != 0) return NULL;
    *blocks = base->position / KERNELS_KEY_BLOCK;
    SnapshotSpan *last = base->last;
    while (last && last->first >= *blocks) last = last->before; /* what remains has the block before *blocks */
    return last;
}

uint64_t sluice_snapshot_need(const sluice_session *s, const sluice_snapshot *base) {
    uint32_t first, position = engine_position(s);
    (void)shared_with(s, base, position, &first);
    return fixed_bytes(s->model, position, forward_state_save_bytes(s->state)) +
           span_bytes(s->model, engine_snapshot_blocks(position) - first);
}

sluice_snapshot *sluice_snapshot_take_on(const sluice_session *s, const sluice_snapshot *base, sluice_error *error) {
    if (forward_state_broken(s->state)) {
        engine_refuse(error, ERR_STATE, "the session stopped in the middle of a step: there is nothing to go on from");
        return NULL;
    }
    engine_drafts_drop(s);
    Err err = {0};
    uint32_t first, position = forward_state_position(s->state);
    SnapshotSpan *before = shared_with(s, base, position, &first);
    sluice_snapshot *snap = engine_snapshot_new(s->model, position, forward_state_save_bytes(s->state), before, first, &err);
    if (!snap) {
        engine_fail(error, &err);
        return NULL;
    }
    snap->has_logits = s->has_logits;
    snap->random = s->sampler->random;
    memcpy(snap->ids, s->ids, position * sizeof *snap->ids);
    memcpy(snap->logits, s->logits, s->model->model->shape.vocab * sizeof *snap->logits);
    forward_state_save(s->state, snap->rest);
    uint32_t end = engine_snapshot_blocks(position);
    if (first < end) forward_state_save_keys(s->state, first, end, snap->last->data);
    return snap;
}

sluice_snapshot *sluice_snapshot_take(const sluice_session *s, sluice_error *error) { return sluice_snapshot_take_on(s, NULL, error); }

int sluice_snapshot_restore(sluice_session *s, const sluice_snapshot *snap, sluice_error *error) {
    if (snap->model != s->model) return engine_refuse(error, ERR_STATE, "the snapshot belongs to another model");
    engine_drafts_drop(s);
    if (!forward_state_restore(s->state, snap->rest, snap->rest_bytes, snap->position))
        return engine_refuse(error, ERR_STATE, "the snapshot of %u tokens does not suit this session", snap->position);
    for (uint32_t block = 0; block < engine_snapshot_blocks(snap->position); block++)
        forward_state_restore_keys(s->state, block, block + 1, engine_snapshot_block(snap, block));
    memcpy(s->ids, snap->ids, snap->position * sizeof *snap->ids);
    memcpy(s->logits, snap->logits, s->model->model->shape.vocab * sizeof *snap->logits);
    s->has_logits = snap->has_logits;
    s->sampler->random = snap->random;
    return SLUICE_OK;
}

void sluice_snapshot_free(sluice_snapshot *snap) {
    if (!snap) return;
    sluice_model *m = snap->model;
    m->snapshot_bytes -= fixed_bytes(m, snap->position, snap->rest_bytes);
    span_free(m, snap->last);
    mem_free(snap->ids);
    mem_free(snap->logits);
    mem_free(snap->rest);
    mem_free(snap);
}

const int32_t *sluice_snapshot_ids(const sluice_snapshot *snap, size_t *n) {
    *n = snap->position;
    return snap->ids;
}

uint64_t sluice_snapshot_bytes(const sluice_snapshot *snap) { return snap->bytes; }

uint64_t sluice_snapshot_full_bytes(const sluice_snapshot *snap) {
    return engine_snapshot_memory(snap->model, snap->position, snap->rest_bytes);
}
