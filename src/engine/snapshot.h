/* Inside the room engine: what a snapshot is made of. */
#ifndef ENGINE_SNAPSHOT_H
#define ENGINE_SNAPSHOT_H

#include "engine/inside.h"

/* Keys and values of whole blocks of positions, shared by all snapshots that were taken on one another. */
typedef struct SnapshotSpan {
    struct SnapshotSpan *before; /* has the blocks before `first`, and perhaps more, which do not count; NULL: first is 0 */
    uint32_t refs;               /* snapshots whose last span it is, and spans that come after it */
    uint32_t first, end;         /* blocks */
    uint8_t *data;               /* [end - first][engine_snapshot_block_bytes] */
} SnapshotSpan;

struct sluice_snapshot {
    sluice_model *model;
    uint32_t position;
    bool has_logits;
    uint64_t block_bytes; /* keys and values of a block */
    uint64_t rest_bytes, bytes; /* bytes: of all that is its own */
    Xoshiro random;
    int32_t *ids;         /* [position] */
    float *logits;        /* [vocab] */
    void *rest;           /* [rest_bytes] what forward_state_save wrote */
    SnapshotSpan *last;   /* NULL: nothing was fed */
};

/* An empty one with all its memory, of which `first` blocks are those of `before`; refused beyond the budget. */
sluice_snapshot *engine_snapshot_new(sluice_model *m, uint32_t position, uint64_t rest_bytes, SnapshotSpan *before, uint32_t first,
                                     Err *err);
uint64_t engine_snapshot_memory(const sluice_model *m, uint32_t position, uint64_t rest_bytes); /* of one that shares nothing */
static inline uint32_t engine_snapshot_blocks(uint32_t position) { return (position + KERNELS_KEY_BLOCK - 1) / KERNELS_KEY_BLOCK; }
/* Keys and values of this block. */
uint8_t *engine_snapshot_block(const sluice_snapshot *snap, uint32_t block);
uint64_t engine_snapshot_block_bytes(const sluice_model *m);

#endif
