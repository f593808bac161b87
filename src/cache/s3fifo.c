/* S3-FIFO (Yang et al., SOSP 2023), one pair of queues per group. What comes for the first time waits in a small queue and leaves it
 * soon, unless it is wanted again there; then it moves to the main queue, where each use is one more round. A ghost remembers what left
 * the small queue: what comes back while it is remembered goes to the main queue at once.
 *
 * The ghost is no queue here but a number per record: how many had left before it.
 */
#include "cache/policy.h"

enum {
    LIST_SMALL = LIST_FIRST, LIST_MAIN,
    ROUNDS_MAX = 3,
    ROUNDS = 7,       /* mask: uses since it was last looked at */
    IN_MAIN = 8,      /* the queue of a slot that is in none, being pinned */
    SMALL_SHARE = 10  /* the small queue's share of a group: one tenth */
};

typedef struct S3 {
    uint64_t left;      /* records that have left a small queue so far */
    uint64_t *ghost;    /* [records] `left` after it had; 0: never */
    uint32_t *n_small;  /* [n_groups] */
} S3;

static uint64_t own_bytes(const CacheConfig *config) {
    return sizeof(S3) + (uint64_t)config->n_groups * config->per_group * sizeof(uint64_t) + config->n_groups * sizeof(uint32_t);
}

static void start(Cache *c) {
    S3 *s = c->own;
    s->ghost = (uint64_t *)(s + 1);
    s->n_small = (uint32_t *)(s->ghost + (size_t)c->config.n_groups * c->config.per_group);
}

/* The queue that a group gives from. */
static int32_t giving_list(Cache *c, uint32_t group) {
    const S3 *s = c->own;
    bool small = cache_list(c, group, LIST_SMALL)->cold != CACHE_NONE, main = cache_list(c, group, LIST_MAIN)->cold != CACHE_NONE;
    if (!small && !main) return LIST_NONE;
    if (!main) return LIST_SMALL;
    return small && s->n_small[group] * SMALL_SHARE >= c->held[group] ? LIST_SMALL : LIST_MAIN;
}

static void rerank(Cache *c, uint32_t group) {
    int32_t list = giving_list(c, group);
    c->rank[group] = list == LIST_NONE ? RANK_NONE : c->slots[cache_list(c, group, list)->cold].key >> 32;
}

static void put(Cache *c, int32_t slot, int32_t list, bool hot) {
    S3 *s = c->own;
    CacheSlot *slots = &c->slots[slot];
    if (list == LIST_SMALL) s->n_small[cache_group(c, slot)]++;
    if (list == LIST_MAIN) slots->mark |= IN_MAIN;
    if (!hot) {
        cache_enter_cold(c, list, slot);
        return;
    }
    slots->key = cache_now(c);
    cache_put_hot(c, list, slot);
}

static void enter(Cache *c, int32_t slot, uint32_t uses) {
    S3 *s = c->own;
    uint32_t group = cache_group(c, slot);
    uint64_t left = s->ghost[c->slots[slot].record];
    bool counts = cache_use_counts(c, group, uses, false);
    bool remembered = counts && left && s->left - left < c->limit;
    c->slots[slot].mark = 0;
    put(c, slot, remembered ? LIST_MAIN : LIST_SMALL, counts);
    rerank(c, group);
}

static void use(Cache *c, int32_t slot, uint32_t uses) {
    CacheSlot *s = &c->slots[slot];
    if (cache_use_counts(c, cache_group(c, slot), uses, true) && (s->mark & ROUNDS) < ROUNDS_MAX) s->mark++;
}

static int32_t victim(Cache *c, uint32_t group) {
    S3 *own = c->own;
    int32_t list = giving_list(c, group), slot = cache_list(c, group, list)->cold;
    CacheSlot *s = &c->slots[slot];
    if (s->mark & ROUNDS) {
        cache_remove(c, slot);
        if (list == LIST_SMALL) {
            own->n_small[group]--;
            s->mark = 0;
        } else {
            s->mark--;
        }
        put(c, slot, LIST_MAIN, true);
    } else if (s->pins) {
        cache_remove(c, slot);
    } else {
        return slot;
    }
    rerank(c, group);
    return CACHE_NONE;
}

static void put_back(Cache *c, int32_t slot) {
    cache_put_by_key(c, c->slots[slot].mark & IN_MAIN ? LIST_MAIN : LIST_SMALL, slot);
    rerank(c, cache_group(c, slot));
}

static void leave(Cache *c, int32_t slot) {
    S3 *s = c->own;
    if (c->slots[slot].mark & IN_MAIN) return;
    s->n_small[cache_group(c, slot)]--;
    s->ghost[c->slots[slot].record] = ++s->left;
}

const CacheOps cache_s3fifo = {.n_lists = 2, .own_bytes = own_bytes, .start = start, .enter = enter, .use = use, .victim = victim,
                               .put_back = put_back, .leave = leave, .rerank = rerank};
