/* Least recently used. One list per group in the order of use.
 *
 * Between groups, age counts in whole steps. Layers come round in turn, so by the clock the oldest use is always that of the layer
 * that comes next: the record that will be wanted first. With equal steps, the eviction begins with the layer that asks.
 */
#include "cache/policy.h"

static void rerank(Cache *c, uint32_t group) {
    int32_t cold = cache_list(c, group, LIST_FIRST)->cold;
    c->rank[group] = cold == CACHE_NONE ? RANK_NONE : c->slots[cold].key >> 32;
}

static void enter(Cache *c, int32_t slot, uint32_t uses) {
    uint32_t group = cache_group(c, slot);
    if (cache_use_counts(c, group, uses, false)) {
        c->slots[slot].key = cache_now(c);
        cache_put_hot(c, LIST_FIRST, slot);
    } else {
        cache_enter_cold(c, LIST_FIRST, slot);
    }
    rerank(c, group);
}

static void use(Cache *c, int32_t slot, uint32_t uses) {
    uint32_t group = cache_group(c, slot);
    if (!cache_use_counts(c, group, uses, true)) return;
    cache_remove(c, slot);
    c->slots[slot].key = cache_now(c);
    cache_put_hot(c, LIST_FIRST, slot);
    rerank(c, group);
}

static int32_t victim(Cache *c, uint32_t group) {
    int32_t cold = cache_list(c, group, LIST_FIRST)->cold;
    if (c->slots[cold].pins == 0) return cold;
    cache_remove(c, cold);
    rerank(c, group);
    return CACHE_NONE;
}

static void put_back(Cache *c, int32_t slot) {
    cache_put_by_key(c, LIST_FIRST, slot);
    rerank(c, cache_group(c, slot));
}

const CacheOps cache_lru = {.n_lists = 1, .enter = enter, .use = use, .victim = victim, .put_back = put_back, .rerank = rerank};
