/* Opening the folder of a model: DIR/states/HASH, with one file per state and one lock. Heads and token ids are read now, the rest when a
 * state is wanted. Names: kind (s or t), a hash of the ids, perhaps a number; ".state". */
#include "states/inside.h"

#include <float.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t usual_disk_limit = UINT64_C(16) << 30;

typedef struct Found {
    char name[64];
    int64_t modified;
    sluice_snapshot_file file;
    StatesNode *node;
} Found;

typedef struct Scan {
    States *s;
    Found *found; /* [n], room for cap */
    size_t n, cap, cap_others;
    bool no_memory;
} Scan;

char *states_disk_path(const States *s, const char *name) {
    Buf b = {0};
    buf_printf(&b, "%s/%s", s->folder, name);
    if (!b.failed) return b.ptr;
    buf_free(&b);
    return NULL;
}

/* ---- what is there ---- */

static void *grown(void *array, size_t n, size_t *cap, size_t size) {
    if (n < *cap) return array;
    void *larger = mem_resize(array, *cap ? 2 * *cap : 64, size);
    if (larger) *cap = *cap ? 2 * *cap : 64;
    return larger;
}

static void put_other(Scan *scan, const OsEntry *entry) {
    States *s = scan->s;
    StatesOther *others = grown(s->others, s->n_others, &scan->cap_others, sizeof *others);
    if (!others) {
        scan->no_memory = true;
        return;
    }
    s->others = others;
    StatesOther *o = &others[s->n_others++];
    *o = (StatesOther){.bytes = entry->bytes, .modified = entry->modified};
    memcpy(o->name, entry->name, strlen(entry->name));
    s->disk_used += entry->bytes;
}

static void put_file(Scan *scan, const OsEntry *entry, const char *path) {
    States *s = scan->s;
    sluice_error err;
    Found *found = grown(scan->found, scan->n, &scan->cap, sizeof *found);
    if (!found) {
        scan->no_memory = true;
        return;
    }
    scan->found = found;
    Found *f = &found[scan->n];
    *f = (Found){.modified = entry->modified};
    memcpy(f->name, entry->name, strlen(entry->name));
    int code = sluice_snapshot_peek(s->model, path, &f->file, &err);
    if (code == SLUICE_OK) {
        scan->n++;
    } else if (code == SLUICE_FORMAT) {
        log_warn("%s; %s", err.message, s->lock_held ? "it is removed" : "it is not used");
        if (s->lock_held) os_remove(path);
        s->stats.files_damaged++;
    } else {
        put_other(scan, entry);
    }
}

static bool on_entry(void *user, const OsEntry *entry) {
    Scan *scan = user;
    Str name = str_c(entry->name);
    bool state = str_ends(name, ".state"), rest = str_ends(name, ".tmp"); /* of a process that was killed */
    if (entry->folder || name.len >= sizeof scan->found->name || (!state && !rest)) return true;
    char *path = states_disk_path(scan->s, entry->name);
    if (!path) scan->no_memory = true;
    else if (state) put_file(scan, entry, path);
    else if (scan->s->lock_held) os_remove(path);
    mem_free(path);
    return !scan->no_memory;
}

/* ---- the tree of it ---- */

static int by_tokens(const void *a, const void *b) {
    size_t x = ((const Found *)a)->file.n, y = ((const Found *)b)->file.n;
    return (x > y) - (x < y);
}

static int by_time(const void *a, const void *b) {
    int64_t x = ((const Found *)a)->modified, y = ((const Found *)b)->modified;
    return (x > y) - (x < y);
}

static int others_by_time(const void *a, const void *b) {
    int64_t x = ((const StatesOther *)a)->modified, y = ((const StatesOther *)b)->modified;
    return (x > y) - (x < y);
}

static StatesNode *named(const States *s, const char *name) {
    for (StatesNode *n = states_tree_next(s, NULL); n; n = states_tree_next(s, n))
        if (strcmp(n->file, name) == 0) return n;
    return NULL;
}

/* A file that stands on one that is gone is of no use; nor is a second one of the same tokens. */
static void put_node(States *s, Found *f) {
    StatesNode *base = f->file.base[0] ? named(s, f->file.base) : NULL, *node = NULL;
    bool good = (base || !f->file.base[0]) && f->file.n > 0 && strlen(f->name) < STATES_NAME;
    if (good) node = states_tree_insert(s, f->file.ids, f->file.n);
    if (!node || node->file[0]) {
        char *path = states_disk_path(s, f->name);
        if (path && s->lock_held) os_remove(path);
        mem_free(path);
        s->stats.files_dropped++;
        return;
    }
    memcpy(node->file, f->name, strlen(f->name) + 1);
    node->kind = f->name[0] == 's' ? STATES_SYSTEM : STATES_TURN;
    node->file_bytes = f->file.bytes;
    node->load_bytes = f->file.memory;
    node->base = base;
    if (base) {
        base->standing++;
        node->bases = base->bases + 1;
    }
    s->disk_used += f->file.bytes;
    f->node = node;
}

static ErrCode scan_folder(States *s, Err *err) {
    Scan scan = {.s = s};
    ErrCode code = os_list(s->folder, on_entry, &scan, err);
    if (!code && scan.no_memory) code = err_no_memory(err, scan.n * sizeof(Found), "the state cache");
    if (scan.n) qsort(scan.found, scan.n, sizeof *scan.found, by_tokens); /* so that what others stand on comes first */
    for (size_t i = 0; i < scan.n && !code; i++) put_node(s, &scan.found[i]);
    if (scan.n) qsort(scan.found, scan.n, sizeof *scan.found, by_time);
    for (size_t i = 0; i < scan.n; i++) {
        if (scan.found[i].node) scan.found[i].node->used = ++s->clock;
        sluice_free(scan.found[i].file.ids);
    }
    if (s->n_others) qsort(s->others, s->n_others, sizeof *s->others, others_by_time);
    mem_free(scan.found);
    return code;
}

/* ---- the folder ---- */

static void take_lock(States *s) {
    Err err = {0};
    char *path = states_disk_path(s, "lock");
    if (path && os_output_open(&s->lock, path, &err) == ERR_OK) s->lock_held = true;
    else if (err.code == ERR_STATE) log_note("%s: another process writes states there; this one only reads them", s->folder);
    else log_warn("%s; states are read from %s and not written", err.text, s->folder);
    mem_free(path);
}

ErrCode states_disk_open(States *s, const StatesConfig *config, Err *err) {
    Buf b = {0};
    buf_printf(&b, "%s/states/%016" PRIx64, config->folder, sluice_model_hash(s->model));
    if (b.failed) return err_no_memory(err, strlen(config->folder), "a path");
    s->folder = b.ptr;
    s->disk_limit = config->disk_bytes ? config->disk_bytes : usual_disk_limit;
    ErrCode code = os_make_folder(s->folder, err);
    if (code) return code;
    take_lock(s);
    code = scan_folder(s, err);
    if (!code && s->lock_held) (void)states_disk_make_room(s, 0, DBL_MAX); /* the limit may have been higher before */
    return code;
}
