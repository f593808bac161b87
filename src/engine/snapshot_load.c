/* Snapshots from files. Nothing is used that was not checked: the head against the model and its own hash, each part against the head. */
#include "engine/snapshot_file.h"

#include <string.h>
#include <xxhash.h>

_Static_assert(sizeof(SnapshotHead) == 16 + 8 + 8 + 32 + 16 + 32 + SNAPSHOT_NAME + 40, "the head has no padding");

uint64_t engine_snapshot_hash_head(const SnapshotHead *h) { return XXH3_64bits(h, offsetof(SnapshotHead, head_hash)); }

SnapshotParts engine_snapshot_parts(const SnapshotHead *h) {
    SnapshotParts p = {.ids = sizeof *h};
    p.logits = p.ids + align_up((uint64_t)h->position * sizeof(int32_t), 8);
    p.rest = p.logits + align_up((uint64_t)h->vocab * sizeof(float), 8);
    p.keys = p.rest + align_up(h->rest_bytes, 8);
    p.end = p.keys + (engine_snapshot_blocks(h->position) - (uint64_t)h->first_block) * h->block_bytes;
    return p;
}

static ErrCode foreign(const sluice_model *m, const char *path, const SnapshotHead *h, Err *err) {
    if (h->model != m->hash) return err_set(err, ERR_STATE, "%s: a snapshot of another model; it is of no use to this one", path);
    if (h->kv_type != (uint32_t)m->kv_type || h->top_k != m->top_k || h->precise != m->precise)
        return err_set(err, ERR_STATE, "%s: a snapshot with other arithmetic; open the model with the --kv, --experts and --precise "
                       "that it was made with", path);
    if (h->vocab != m->model->shape.vocab || h->block_bytes != engine_snapshot_block_bytes(m) ||
        h->first_block > engine_snapshot_blocks(h->position) || h->rest_bytes > UINT64_C(1) << 40 || h->zero)
        return err_set(err, ERR_FORMAT, "%s: a damaged snapshot: its head makes no sense for this model", path);
    if (h->position > m->ctx)
        return err_set(err, ERR_RANGE, "%s: a snapshot of %u tokens, and the context holds %u; raise --ctx", path, h->position, m->ctx);
    return ERR_OK;
}

ErrCode engine_snapshot_head(const sluice_model *m, const OsFile *file, const char *path, SnapshotHead *h, Err *err) {
    if (file->size < sizeof *h) return err_set(err, ERR_FORMAT, "%s: too short for a snapshot", path);
    ErrCode code = os_pread(file, path, h, sizeof *h, 0, err);
    if (code) return code;
    if (memcmp(h->magic, SNAPSHOT_MAGIC, sizeof h->magic) != 0) return err_set(err, ERR_FORMAT, "%s: is no snapshot of sluice", path);
    if (h->version != SNAPSHOT_VERSION || h->head_bytes != sizeof *h)
        return err_set(err, ERR_UNSUPPORTED, "%s: a snapshot of version %u, and this program reads version %d", path, h->version,
                       SNAPSHOT_VERSION);
    if (h->head_hash != engine_snapshot_hash_head(h) || h->base[SNAPSHOT_NAME - 1])
        return err_set(err, ERR_FORMAT, "%s: a damaged snapshot: its head is not what was written", path);
    code = foreign(m, path, h, err);
    if (code) return code;
    uint64_t end = engine_snapshot_parts(h).end;
    if (file->size != end)
        return err_set(err, ERR_FORMAT, "%s: a damaged snapshot: %llu bytes long instead of %llu", path, (unsigned long long)file->size,
                       (unsigned long long)end);
    return ERR_OK;
}

static ErrCode damaged(const char *path, const char *what, Err *err) {
    return err_set(err, ERR_FORMAT, "%s: a damaged snapshot: its %s are not what was written", path, what);
}

static ErrCode read_ids(const OsFile *file, const char *path, const SnapshotHead *h, int32_t *ids, Err *err) {
    ErrCode code = os_pread(file, path, ids, h->position * sizeof *ids, engine_snapshot_parts(h).ids, err);
    if (!code && XXH3_64bits(ids, h->position * sizeof *ids) != h->ids_hash) code = damaged(path, "token ids", err);
    for (uint32_t i = 0; i < h->position && !code; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= h->vocab) code = damaged(path, "token ids", err);
    return code;
}

ErrCode engine_snapshot_read_ids(const OsFile *file, const char *path, const SnapshotHead *h, int32_t **ids, Err *err) {
    *ids = MEM_NEW(int32_t, h->position + 1);
    if (!*ids) return err_no_memory(err, h->position * sizeof **ids, "token ids");
    ErrCode code = read_ids(file, path, h, *ids, err);
    if (code) {
        mem_free(*ids);
        *ids = NULL;
    }
    return code;
}

char *engine_snapshot_beside(const char *path, const char *name, Err *err) {
    Buf b = {0};
    const char *slash = strrchr(path, '/');
    buf_put(&b, path, slash ? (size_t)(slash + 1 - path) : 0);
    buf_puts(&b, name);
    if (!b.failed) return b.ptr;
    buf_free(&b);
    err_no_memory(err, strlen(path) + strlen(name), "a path");
    return NULL;
}

/* ---- loading ---- */

static ErrCode read_rest(const OsFile *file, const char *path, const SnapshotHead *h, sluice_snapshot *snap, Err *err) {
    SnapshotParts p = engine_snapshot_parts(h);
    XXH3_state_t *hash = XXH3_createState();
    if (!hash) return err_no_memory(err, 576, "a hash");
    ErrCode code = os_pread(file, path, snap->logits, h->vocab * sizeof *snap->logits, p.logits, err);
    if (!code) code = os_pread(file, path, snap->rest, h->rest_bytes, p.rest, err);
    XXH3_64bits_reset(hash);
    XXH3_64bits_update(hash, snap->logits, h->vocab * sizeof *snap->logits);
    XXH3_64bits_update(hash, snap->rest, h->rest_bytes);
    if (!code && XXH3_64bits_digest(hash) != h->rest_hash) code = damaged(path, "states", err);
    XXH3_freeState(hash);
    return code;
}

/* Blocks [h->first_block, ..) of this file, of which those before `end` go into the snapshot; all of them are checked. */
static ErrCode read_keys(const OsFile *file, const char *path, const SnapshotHead *h, sluice_snapshot *snap, uint32_t end, Err *err) {
    const uint64_t at = engine_snapshot_parts(h).keys, bytes = h->block_bytes;
    uint32_t last = engine_snapshot_blocks(h->position);
    XXH3_state_t *hash = XXH3_createState();
    uint8_t *spare = last > end ? mem_new(bytes, 1) : NULL; /* blocks that another file continues are read to be checked */
    ErrCode code = !hash || (last > end && !spare) ? err_no_memory(err, bytes, "a snapshot") : ERR_OK;
    if (!code) XXH3_64bits_reset(hash);
    for (uint32_t block = h->first_block; block < last && !code; block++) {
        uint8_t *to = block < end ? engine_snapshot_block(snap, block) : spare;
        code = os_pread(file, path, to, bytes, at + (block - h->first_block) * bytes, err);
        if (!code) XXH3_64bits_update(hash, to, bytes);
    }
    if (!code && XXH3_64bits_digest(hash) != h->keys_hash) code = damaged(path, "keys and values", err);
    mem_free(spare);
    XXH3_freeState(hash);
    return code;
}

/* Keys and values before block `end` from the files that this one stands on, each checked to be a beginning of it. */
static ErrCode read_base(const char *path, const SnapshotHead *above, sluice_snapshot *snap, Err *err) {
    SnapshotHead h = *above;
    ErrCode code = ERR_OK;
    while (h.first_block && !code) {
        uint32_t end = h.first_block;
        if (!h.base[0] || strchr(h.base, '/')) return damaged(path, "references", err);
        char *name = engine_snapshot_beside(path, h.base, err);
        if (!name) return ERR_MEMORY;
        OsFile file;
        int32_t *ids = NULL;
        uint64_t expected = h.base_hash;
        uint32_t position = h.position;
        code = os_open(&file, name, false, err);
        if (!code) code = engine_snapshot_head(snap->model, &file, name, &h, err);
        if (!code && (h.head_hash != expected || h.position > position || h.first_block >= end || end > h.position / KERNELS_KEY_BLOCK))
            code = err_set(err, ERR_FORMAT, "%s: not the snapshot that %s stands on", name, path);
        if (!code) code = engine_snapshot_read_ids(&file, name, &h, &ids, err);
        if (!code && memcmp(ids, snap->ids, h.position * sizeof *ids) != 0)
            code = err_set(err, ERR_FORMAT, "%s: not the snapshot that %s stands on", name, path);
        if (!code) code = read_keys(&file, name, &h, snap, end, err);
        mem_free(ids);
        mem_free(name);
        os_close(&file);
    }
    return code;
}

static ErrCode load(sluice_model *m, const OsFile *file, const char *path, sluice_snapshot **out, Err *err) {
    SnapshotHead h;
    ErrCode code = engine_snapshot_head(m, file, path, &h, err);
    if (code) return code;
    sluice_snapshot *snap = engine_snapshot_new(m, h.position, h.rest_bytes, NULL, 0, err);
    if (!snap) return err_prefix(err, "%s", path);
    snap->has_logits = h.has_logits;
    memcpy(snap->random.s, h.random, sizeof h.random);
    code = read_ids(file, path, &h, snap->ids, err);
    if (!code) code = read_rest(file, path, &h, snap, err);
    if (!code) code = read_keys(file, path, &h, snap, engine_snapshot_blocks(h.position), err);
    if (!code) code = read_base(path, &h, snap, err);
    if (!code) *out = snap;
    else sluice_snapshot_free(snap);
    return code;
}

sluice_snapshot *sluice_snapshot_load(const sluice_model *m, const char *path, sluice_error *error) {
    Err err = {0};
    OsFile file;
    sluice_snapshot *snap = NULL;
    sluice_model *own = (sluice_model *)(uintptr_t)m; /* the snapshot's memory is counted there */
    ErrCode code = os_open(&file, path, false, &err);
    if (!code) code = load(own, &file, path, &snap, &err);
    if (!code) os_drop_cache(&file, 0, file.size); /* its bytes are in memory already */
    os_close(&file);
    if (code) engine_fail(error, &err);
    return snap;
}

int sluice_snapshot_peek(const sluice_model *m, const char *path, sluice_snapshot_file *out, sluice_error *error) {
    Err err = {0};
    OsFile file;
    SnapshotHead h;
    memset(out, 0, sizeof *out);
    ErrCode code = os_open(&file, path, false, &err);
    if (!code) code = engine_snapshot_head(m, &file, path, &h, &err);
    if (!code) code = engine_snapshot_read_ids(&file, path, &h, &out->ids, &err);
    os_close(&file);
    if (code) return engine_fail(error, &err);
    out->bytes = engine_snapshot_parts(&h).end;
    out->memory = engine_snapshot_memory(m, h.position, h.rest_bytes);
    memcpy(out->base, h.base, sizeof out->base);
    out->n = h.position;
    return SLUICE_OK;
}
