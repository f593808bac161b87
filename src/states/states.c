/* The door: keeping, finding, restoring; and who leaves memory. */
#include "states/inside.h"

#include <string.h>

States *states_new(const StatesConfig *config, Err *err) {
    States *s = MEM_NEW(States, 1);
    if (!s) {
        err_no_memory(err, sizeof *s, "the state cache");
        return NULL;
    }
    s->model = config->model;
    s->ram_limit = config->ram_bytes ? config->ram_bytes : UINT64_MAX;
    if (config->folder && states_disk_open(s, config, err)) {
        states_free(s);
        return NULL;
    }
    return s;
}

void states_free(States *s) {
    if (!s) return;
    states_disk_close(s);
    StatesNode *node = s->root.child;
    while (node) { /* leaves first, without moving anybody's tokens */
        if (node->child) {
            node = node->child;
            continue;
        }
        StatesNode *parent = node->parent;
        parent->child = node->next;
        sluice_snapshot_free(node->snap);
        mem_free(node->ids);
        mem_free(node);
        node = parent->child ? parent->child : parent;
        if (node == &s->root) break;
    }
    mem_free(s);
}

/* ---- memory ---- */

static uint64_t limit_of(const States *s) {
    uint64_t limit = sluice_snapshots(s->model).limit;
    return limit < s->ram_limit ? limit : s->ram_limit;
}

static void evict(States *s, StatesNode *node) {
    states_disk_forget(s, node);
    sluice_snapshot_free(node->snap);
    node->snap = NULL;
    s->stats.evicted++;
    states_tree_settle(node);
}

/* The one in memory that is worth least; one that is being written only where there is no other. */
static StatesNode *cheapest(const States *s) {
    StatesNode *best = NULL;
    double least = 0;
    for (StatesNode *n = states_tree_next(s, NULL); n; n = states_tree_next(s, n)) {
        if (!n->snap || n == s->saving_node) continue;
        double value = states_value_memory(s, n);
        if (!best || value < least) {
            best = n;
            least = value;
        }
    }
    return best ? best : s->saving_node;
}

bool states_make_room(States *s, uint64_t bytes) {
    if (bytes > limit_of(s)) return false;
    while (sluice_snapshots(s->model).used + bytes > limit_of(s)) {
        StatesNode *node = cheapest(s);
        if (!node) return false;
        evict(s, node);
    }
    return true;
}

/* ---- keeping ---- */

static const sluice_snapshot *base_of(const StatesNode *node) {
    for (node = node->parent; node; node = node->parent)
        if (node->snap) return node->snap;
    return NULL;
}

static void tell_small(States *s, uint64_t bytes) {
    char a[32], b[32];
    if (s->told_small) return;
    s->told_small = true;
    log_note("a state of %s is not kept, for all of them together may take %s; --state-ram gives them more", format_size(bytes, a),
             format_size(limit_of(s), b));
}

/* Every eviction may take what the new one would have stood on, and then it needs more. A state in the middle of a prompt takes nothing
 * from what is worth more; where a conversation stands now is always kept, for nothing is likelier to be wanted. */
static bool take(States *s, const sluice_session *session, StatesNode *node) {
    uint64_t need = sluice_snapshot_need(session, base_of(node));
    double tokens = (double)(node->n - node->parent->n);
    while (sluice_snapshots(s->model).used + need > limit_of(s)) {
        StatesNode *least = cheapest(s);
        if (need > limit_of(s)) tell_small(s, need);
        if (!least || need > limit_of(s)) return false;
        if (node->kind == STATES_CHUNK && states_value_memory(s, least) >= tokens / (double)need) return false;
        evict(s, least);
        need = sluice_snapshot_need(session, base_of(node));
    }
    sluice_error err;
    node->snap = sluice_snapshot_take_on(session, base_of(node), &err);
    if (!node->snap) log_debug("a state is not kept: %s", err.message);
    return node->snap != NULL;
}

/* A conversation also wants the system prompt that it began with: the next one does. */
static void use(const States *s, StatesNode *node) {
    node->used = s->clock;
    for (StatesNode *n = node->parent; n; n = n->parent)
        if (n->kind == STATES_SYSTEM) n->used = s->clock;
}

bool states_put(States *s, const sluice_session *session, StatesKind kind) {
    size_t n;
    const int32_t *ids = sluice_ids(session, &n);
    if (n == 0 || !sluice_logits(session)) return false;
    s->clock++;
    StatesNode *node = states_tree_insert(s, ids, n);
    if (!node) return false;
    if (kind > node->kind) node->kind = kind;
    node->unwritable = false;
    use(s, node);
    if (node->snap || take(s, session, node)) return true;
    s->stats.refused++;
    bool kept = node->file[0] != 0;
    states_tree_settle(node);
    return kept;
}

/* ---- finding ---- */

/* The longest prefix worth going on from: in memory, or on disk where that saves enough beyond it. */
static StatesNode *best_for(const States *s, const int32_t *ids, size_t n) {
    StatesNode *longest = states_tree_longest(s, ids, n), *here = longest;
    while (here != &s->root && !here->snap) here = here->parent;
    for (StatesNode *node = longest; node != here; node = node->parent)
        if (node->file[0] && !node->unreadable && node->n >= here->n + STATES_WORTH_LOAD) return node;
    return here;
}

size_t states_find(const States *s, const int32_t *ids, size_t n) { return best_for(s, ids, n)->n; }

size_t states_restore(States *s, sluice_session *session, const int32_t *ids, size_t n) {
    s->clock++;
    for (;;) {
        StatesNode *node = best_for(s, ids, n);
        if (node == &s->root) break;
        if (!node->snap && !states_disk_load(s, node)) continue; /* the next best */
        sluice_error err;
        if (sluice_snapshot_restore(session, node->snap, &err)) {
            log_warn("a state cannot be used: %s", err.message);
            evict(s, node);
            continue;
        }
        use(s, node);
        states_disk_touch(s, node);
        s->stats.hits++;
        s->stats.tokens_saved += node->n;
        return node->n;
    }
    s->stats.misses++;
    sluice_session_reset(session);
    return 0;
}

void states_stats(const States *s, StatesStats *stats) {
    *stats = s->stats;
    stats->memory_bytes = sluice_snapshots(s->model).used;
    stats->writes = s->lock_held && !s->failed;
    stats->disk_bytes = s->disk_used;
    for (StatesNode *n = states_tree_next(s, NULL); n; n = states_tree_next(s, n)) {
        stats->in_memory += n->snap != NULL;
        stats->on_disk += n->file[0] != 0;
    }
}
