/* One queue per group, oldest first, ranked by the step of the oldest.
 *
 * Between groups, age counts in whole steps. Layers come round in turn, so by the clock the oldest is always that of the layer that
 * comes next: the record that will be wanted first. With equal steps, the eviction begins with the layer that asks.
 */
#include "cache/queue.h"

void cache_queue_rerank(Cache *c, uint32_t group) {
    int32_t cold = cache_list(c, group, LIST_FIRST)->cold;
    c->rank[group] = cold == CACHE_NONE ? RANK_NONE : c->slots[cold].key >> 32;
}

void cache_queue_enter(Cache *c, int32_t slot, uint32_t uses) {
    uint32_t group = cache_group(c, slot);
    if (cache_use_counts(c, group, uses, false)) {
        c->slots[slot].key = cache_now(c);
        cache_put_hot(c, LIST_FIRST, slot);
    } else {
        cache_enter_cold(c, LIST_FIRST, slot);
    }
    cache_queue_rerank(c, group);
}

void cache_queue_put_back(Cache *c, int32_t slot) {
    cache_put_by_key(c, LIST_FIRST, slot);
    cache_queue_rerank(c, cache_group(c, slot));
}
