/* Inside the room engine: a snapshot as a file. All numbers are little-endian.
 *
 *   head, ids [position], logits [vocab], rest [rest_bytes], keys and values of blocks [first_block ..]
 *
 * The blocks before first_block are in the file of the name `base`, which may stand on another one. */
#ifndef ENGINE_SNAPSHOT_FILE_H
#define ENGINE_SNAPSHOT_FILE_H

#include "engine/snapshot.h"

/* Changes with the format, with what the bytes of a state mean, and with the arithmetic: old files are then refused. */
enum { SNAPSHOT_VERSION = 1, SNAPSHOT_NAME = 64 };
#define SNAPSHOT_MAGIC "sluice snapshot\n" /* 16 bytes */

typedef struct SnapshotHead {
    char magic[16];
    uint32_t version, head_bytes;
    uint64_t model;           /* sluice_model_hash */
    uint32_t kv_type, top_k, precise; /* what else the bits depend on */
    uint32_t vocab, position, has_logits, first_block, zero;
    uint64_t rest_bytes, block_bytes;
    uint64_t random[4];
    char base[SNAPSHOT_NAME]; /* NUL-padded; all zero: none */
    uint64_t base_hash;       /* head_hash of that file */
    uint64_t ids_hash, rest_hash, keys_hash; /* XXH3 of the ids; of logits and rest; of the blocks */
    uint64_t head_hash;       /* of all of the above */
} SnapshotHead;

/* Where the parts begin, and the file ends. */
typedef struct SnapshotParts {
    uint64_t ids, logits, rest, keys, end;
} SnapshotParts;
SnapshotParts engine_snapshot_parts(const SnapshotHead *h);
/* The head of a file, which was checked against this model and the file's length. */
ErrCode engine_snapshot_head(const sluice_model *m, const OsFile *file, const char *path, SnapshotHead *head, Err *err);
/* Its token ids, checked: the caller's, freed with mem_free. */
ErrCode engine_snapshot_read_ids(const OsFile *file, const char *path, const SnapshotHead *head, int32_t **ids, Err *err);
uint64_t engine_snapshot_hash_head(const SnapshotHead *h);
/* The path of a file beside this one; the caller's, freed with mem_free. */
char *engine_snapshot_beside(const char *path, const char *name, Err *err);

#endif
