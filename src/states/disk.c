/* States as files: written when there is nothing else to do, read when they are wanted, deleted when there are too many. */
#include "states/inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

static const uint64_t left_for_others = UINT64_C(256) << 20; /* of the file system */

static bool writes(const States *s) { return s->lock_held && !s->failed; }

/* ---- deleting ---- */

static void remove_file(const States *s, const char *name) {
    char *path = states_disk_path(s, name);
    if (path && s->lock_held) os_remove(path);
    mem_free(path);
}

static StatesNode *stands_on(const States *s, const StatesNode *base) {
    for (StatesNode *n = states_tree_next(s, NULL); n; n = states_tree_next(s, n))
        if (n->base == base && n->file[0]) return n;
    return NULL;
}

static void stop_saving(States *s) {
    if (!s->saving) return;
    sluice_saving_free(s->saving);
    if (s->saving_node->base) s->saving_node->base->standing--;
    s->saving_node->base = NULL;
    s->saving = NULL;
    s->saving_node = NULL;
}

void states_disk_drop(States *s, StatesNode *node) {
    if (s->saving_node && s->saving_node->base == node) stop_saving(s);
    for (StatesNode *n = stands_on(s, node); n; n = stands_on(s, node)) states_disk_drop(s, n); /* at most STATES_MOST_BASES deep */
    remove_file(s, node->file);
    s->disk_used -= node->file_bytes;
    s->stats.files_dropped++;
    if (node->base) node->base->standing--;
    node->base = NULL;
    node->bases = 0;
    node->file[0] = 0;
    node->unreadable = false;
    states_tree_settle(node);
}

void states_disk_forget(States *s, const StatesNode *node) {
    if (node == s->saving_node) stop_saving(s);
}

/* The file that is worth least of those that none stands on. */
static StatesNode *cheapest_file(const States *s) {
    StatesNode *best = NULL;
    double least = 0;
    for (StatesNode *n = states_tree_next(s, NULL); n; n = states_tree_next(s, n)) {
        if (!n->file[0] || n->standing) continue;
        double value = states_value_disk(s, n);
        if (!best || value < least) {
            best = n;
            least = value;
        }
    }
    return best;
}

bool states_disk_make_room(States *s, uint64_t bytes, double value) {
    while (s->disk_used + bytes > s->disk_limit) {
        if (s->n_others) {
            StatesOther oldest = s->others[0];
            memmove(s->others, s->others + 1, --s->n_others * sizeof *s->others);
            remove_file(s, oldest.name);
            s->disk_used -= oldest.bytes;
            continue;
        }
        StatesNode *node = cheapest_file(s);
        if (!node || bytes > s->disk_limit || states_value_disk(s, node) >= value) return false;
        states_disk_drop(s, node);
    }
    return true;
}

/* ---- writing ---- */

/* There is one continuation, and it will be written too. */
static bool went_on(const StatesNode *node) {
    for (const StatesNode *n = node->child; n && !n->next; n = n->child)
        if (n->kind != STATES_CHUNK) return true;
    return false;
}

/* What goes to disk: where conversations begin, and where they stand now. */
static bool worth_writing(const StatesNode *n) {
    if (!n->snap || n->file[0] || n->unwritable || n->kind == STATES_CHUNK) return false;
    return n->kind == STATES_SYSTEM || !went_on(n);
}

static StatesNode *next_to_write(const States *s) {
    StatesNode *best = NULL;
    double most = 0;
    for (StatesNode *n = states_tree_next(s, NULL); n; n = states_tree_next(s, n)) {
        if (!worth_writing(n)) continue;
        double value = states_value_memory(s, n);
        if (!best || value > most) {
            best = n;
            most = value;
        }
    }
    return best;
}

static StatesNode *base_file(const StatesNode *node) {
    for (StatesNode *n = node->parent; n; n = n->parent)
        if (n->file[0] && n->bases < STATES_MOST_BASES) return n;
    return NULL;
}

/* A name that nothing has: another process, or another --kv, may have kept the same tokens. */
static char *name_file(const States *s, const StatesNode *node, char name[STATES_NAME]) {
    size_t n;
    const int32_t *ids = sluice_snapshot_ids(node->snap, &n);
    char number[16] = "";
    for (int i = 1; i < 1000; i++) {
        snprintf(name, STATES_NAME, "%c-%016" PRIx64 "%.5s.state", node->kind == STATES_SYSTEM ? 's' : 't',
                 (uint64_t)XXH3_64bits(ids, n * sizeof *ids), number);
        char *path = states_disk_path(s, name);
        if (!path || !os_exists(path)) return path;
        mem_free(path);
        snprintf(number, sizeof number, "-%d", i);
    }
    return NULL;
}

/* The disk is full, or gone: said once. */
static void give_up(States *s, const char *why) {
    log_warn("%s; states are kept in memory only from now on", why);
    stop_saving(s);
    s->failed = true;
}

static bool room_for(States *s, StatesNode *node) {
    Err err = {0};
    uint64_t left = 0, bytes = sluice_saving_bytes(s->saving);
    if (os_disk_room(s->folder, &left, &err)) {
        give_up(s, err.text);
        return false;
    }
    if (left < bytes + left_for_others) {
        char a[32], text[400];
        snprintf(text, sizeof text, "%.300s: the file system has %s left", s->folder, format_size(left, a));
        give_up(s, text);
        return false;
    }
    node->file_bytes = bytes;
    if (states_disk_make_room(s, bytes, states_value_disk(s, node))) return true;
    node->unwritable = true;
    stop_saving(s);
    return false;
}

/* The node whose file has this name, among those before this one. */
static StatesNode *named(const StatesNode *node, const char *file) {
    StatesNode *n = node->parent;
    while (n && strcmp(n->file, file) != 0) n = n->parent;
    return n;
}

static bool begin(States *s, StatesNode *node) {
    sluice_error err = {0};
    StatesNode *base = base_file(node);
    char *path = name_file(s, node, s->saving_name), *base_path = base ? states_disk_path(s, base->file) : NULL;
    if (path && (base_path || !base)) s->saving = sluice_saving_new(s->model, node->snap, path, base_path, &err);
    else node->unwritable = true; /* for want of memory or names */
    mem_free(base_path);
    mem_free(path);
    if (s->saving) {
        s->saving_node = node;
        if (sluice_saving_base(s->saving)[0]) node->base = named(node, sluice_saving_base(s->saving));
        if (node->base) node->base->standing++;
        return room_for(s, node);
    }
    if (node->unwritable) return false;
    if (base && err.code == SLUICE_FORMAT) states_disk_drop(s, base); /* what it would have stood on is damaged */
    else give_up(s, err.message);
    return false;
}

static void finish(States *s) {
    StatesNode *node = s->saving_node;
    memcpy(node->file, s->saving_name, sizeof node->file);
    node->load_bytes = sluice_snapshot_full_bytes(node->snap);
    node->bases = node->base ? node->base->bases + 1 : 0;
    s->disk_used += node->file_bytes;
    s->stats.bytes_written += node->file_bytes;
    sluice_saving_free(s->saving);
    s->saving = NULL;
    s->saving_node = NULL;
}

bool states_idle(States *s, uint64_t bytes) {
    if (!writes(s)) return false;
    if (!s->saving) {
        StatesNode *node = next_to_write(s);
        if (!node) return false;
        return begin(s, node) || writes(s);
    }
    sluice_error err;
    bool done;
    if (sluice_saving_some(s->saving, bytes, &done, &err)) give_up(s, err.message);
    else if (done) finish(s);
    return writes(s) && (s->saving || next_to_write(s));
}

/* ---- reading ---- */

bool states_disk_load(States *s, StatesNode *node) {
    sluice_error err = {0};
    char *path = states_disk_path(s, node->file);
    if (path && states_make_room(s, node->load_bytes)) node->snap = sluice_snapshot_load(s->model, path, &err);
    mem_free(path);
    if (node->snap) {
        s->stats.loads++;
        s->stats.bytes_read += node->load_bytes;
        return true;
    }
    node->unreadable = true; /* for want of memory */
    if (err.code == SLUICE_OK || err.code == SLUICE_MEMORY) return false;
    if (err.code == SLUICE_FORMAT) {
        log_warn("%s; its tokens are computed again", err.message);
        s->stats.files_damaged++;
    } else {
        log_debug("%s", err.message); /* the process that writes may have deleted it */
    }
    states_disk_drop(s, node);
    return false;
}

void states_disk_touch(const States *s, const StatesNode *node) {
    if (!node->file[0] || !s->lock_held) return;
    char *path = states_disk_path(s, node->file);
    if (path) os_touch(path);
    mem_free(path);
}

void states_disk_close(States *s) {
    stop_saving(s);
    if (s->lock_held) os_output_close(&s->lock);
    mem_free(s->others);
    mem_free(s->folder);
}
