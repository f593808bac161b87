/* Snapshots to files, a piece at a time: a drive that writes hundreds of megabytes at once reads experts slowly meanwhile. Each piece is
 * hashed as it is written, and the head, which has the hashes, comes last. */
#include "engine/snapshot_file.h"

#include <string.h>
#include <xxhash.h>

struct sluice_saving {
    const sluice_snapshot *snap;
    char *path, *part;   /* where it will be, and where it is until then */
    OsOutput file;
    SnapshotHead head;
    SnapshotParts at;
    uint64_t done;       /* up to here the file is written, but for the head */
    XXH3_state_t *hash;  /* of the part under way */
};

/* ---- on another file ---- */

/* Blocks that the base brings, or none where it is no beginning of this snapshot. */
static ErrCode stand_on(const sluice_model *m, const sluice_snapshot *snap, const char *base, SnapshotHead *h, Err *err) {
    OsFile file;
    SnapshotHead b = {0};
    int32_t *ids = NULL;
    const char *slash = strrchr(base, '/'), *name = slash ? slash + 1 : base;
    ErrCode code = os_open(&file, base, false, err);
    if (!code) code = engine_snapshot_head(m, &file, base, &b, err);
    if (!code) code = engine_snapshot_read_ids(&file, base, &b, &ids, err);
    os_close(&file);
    if (!code && (b.position > snap->position || memcmp(ids, snap->ids, b.position * sizeof *ids) != 0))
        code = err_set(err, ERR_STATE, "%s: the snapshot is no continuation of this one", base);
    if (!code && strlen(name) >= sizeof h->base)
        code = err_set(err, ERR_USAGE, "%s: the name is too long for a snapshot to stand on", base);
    mem_free(ids);
    if (code || b.position < KERNELS_KEY_BLOCK) return code;
    h->first_block = b.position / KERNELS_KEY_BLOCK;
    if (b.first_block == h->first_block) { /* it has no block of its own that counts: what it stands on has them all */
        memcpy(h->base, b.base, sizeof h->base);
        h->base_hash = b.base_hash;
        return ERR_OK;
    }
    memcpy(h->base, name, strlen(name));
    h->base_hash = b.head_hash;
    return ERR_OK;
}

/* ---- the head ---- */

static ErrCode fill_head(const sluice_model *m, const sluice_snapshot *snap, const char *base, SnapshotHead *h, Err *err) {
    memcpy(h->magic, SNAPSHOT_MAGIC, sizeof h->magic);
    h->version = SNAPSHOT_VERSION;
    h->head_bytes = sizeof *h;
    h->model = m->hash;
    h->kv_type = (uint32_t)m->kv_type;
    h->top_k = m->top_k;
    h->precise = m->precise;
    h->vocab = m->model->shape.vocab;
    h->position = snap->position;
    h->has_logits = snap->has_logits;
    h->rest_bytes = snap->rest_bytes;
    h->block_bytes = snap->block_bytes;
    memcpy(h->random, snap->random.s, sizeof h->random);
    h->ids_hash = XXH3_64bits(snap->ids, snap->position * sizeof *snap->ids);
    return base ? stand_on(m, snap, base, h, err) : ERR_OK;
}

/* ---- writing ---- */

static ErrCode begin(sluice_saving *w, const sluice_model *m, const char *path, const char *base, Err *err) {
    ErrCode code = fill_head(m, w->snap, base, &w->head, err);
    if (code) return code;
    w->at = engine_snapshot_parts(&w->head);
    w->done = w->at.ids;
    w->hash = XXH3_createState();
    if (!w->hash) return err_no_memory(err, 576, "a hash");
    XXH3_64bits_reset(w->hash);
    w->path = mem_strdup(path);
    if (!w->path) return err_no_memory(err, strlen(path) + 1, "a path");
    if (!os_replaceable(path)) return err_set(err, ERR_IO, "%s: is no regular file: a snapshot cannot take its place", path);
    return os_create_beside(path, &w->part, &w->file.fd, err);
}

sluice_saving *sluice_saving_new(const sluice_model *m, const sluice_snapshot *snap, const char *path, const char *base,
                                 sluice_error *error) {
    Err err = {0};
    sluice_saving *w = MEM_NEW(sluice_saving, 1);
    if (!w) {
        err_no_memory(&err, sizeof *w, "a snapshot");
    } else {
        w->snap = snap;
        w->file.fd = -1;
        if (snap->model != m) err_set(&err, ERR_STATE, "the snapshot belongs to another model");
        else if (begin(w, m, path, base, &err) == ERR_OK) return w;
    }
    sluice_saving_free(w);
    engine_fail(error, &err);
    return NULL;
}

/* What stands at this offset of the file, and how much of it: ids, logits, rest, or one block. Zeros fill up to 8 bytes: *counts is
 * false, they are not hashed. */
static const void *piece_at(const sluice_saving *w, uint64_t at, uint64_t *bytes, bool *counts) {
    static const char zeros[8];
    const SnapshotHead *h = &w->head;
    const struct { uint64_t from, to, bytes; const void *data; } parts[] = {
        {w->at.ids, w->at.logits, h->position * sizeof(int32_t), w->snap->ids},
        {w->at.logits, w->at.rest, h->vocab * sizeof(float), w->snap->logits},
        {w->at.rest, w->at.keys, h->rest_bytes, w->snap->rest},
    };
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        if (at >= parts[i].to) continue;
        uint64_t into = at - parts[i].from;
        *counts = into < parts[i].bytes;
        *bytes = *counts ? parts[i].bytes - into : parts[i].to - at;
        return *counts ? (const char *)parts[i].data + into : zeros;
    }
    uint64_t block = (at - w->at.keys) / h->block_bytes, into = (at - w->at.keys) % h->block_bytes;
    *bytes = h->block_bytes - into;
    *counts = true;
    return engine_snapshot_block(w->snap, h->first_block + (uint32_t)block) + into;
}

static uint64_t end_of_hash(const sluice_saving *w) {
    uint64_t hash = XXH3_64bits_digest(w->hash);
    XXH3_64bits_reset(w->hash);
    return hash;
}

/* n bytes of one part, which is where its hash ends if they are its last ones. */
static ErrCode write_piece(sluice_saving *w, uint64_t most, Err *err) {
    uint64_t n;
    bool counts;
    const void *piece = piece_at(w, w->done, &n, &counts);
    if (n > most) n = most;
    ErrCode code = os_output_write(&w->file, w->part, piece, n, w->done, err);
    if (code) return code;
    if (counts && w->done >= w->at.logits) XXH3_64bits_update(w->hash, piece, n);
    w->done += n;
    if (w->done == w->at.keys) w->head.rest_hash = end_of_hash(w);
    return ERR_OK;
}

static ErrCode finish(sluice_saving *w, Err *err) {
    w->head.keys_hash = end_of_hash(w);
    w->head.head_hash = engine_snapshot_hash_head(&w->head);
    ErrCode code = os_output_write(&w->file, w->part, &w->head, sizeof w->head, 0, err);
    if (!code) code = os_output_finish(&w->file, w->part, w->at.end, w->path, err);
    if (code) return code;
    mem_free(w->part); /* it has its name now */
    w->part = NULL;
    return ERR_OK;
}

int sluice_saving_some(sluice_saving *w, uint64_t bytes, bool *done, sluice_error *error) {
    Err err = {0};
    ErrCode code = ERR_OK;
    uint64_t until = w->at.end - w->done < bytes ? w->at.end : w->done + bytes;
    while (w->done < until && !code) code = write_piece(w, until - w->done, &err);
    *done = !code && w->done == w->at.end;
    if (*done) code = finish(w, &err);
    return code ? engine_fail(error, &err) : SLUICE_OK;
}

const char *sluice_saving_base(const sluice_saving *w) { return w->head.base; }

uint64_t sluice_saving_bytes(const sluice_saving *w) { return w->at.end; }

void sluice_saving_free(sluice_saving *w) {
    if (!w) return;
    os_output_close(&w->file);
    XXH3_freeState(w->hash);
    if (w->part) os_remove(w->part);
    mem_free(w->part);
    mem_free(w->path);
    mem_free(w);
}

int sluice_snapshot_save(const sluice_model *m, const sluice_snapshot *snap, const char *path, sluice_error *error) {
    sluice_saving *w = sluice_saving_new(m, snap, path, NULL, error);
    if (!w) return error ? error->code : SLUICE_IO;
    bool done = false;
    int code = SLUICE_OK;
    while (!done && !code) code = sluice_saving_some(w, UINT64_MAX, &done, error);
    sluice_saving_free(w);
    return code;
}

uint64_t sluice_model_hash(const sluice_model *m) { return m->hash; }
