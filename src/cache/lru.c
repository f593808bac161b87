/* Least recently used. One queue per group in the order of use. */
#include "cache/queue.h"

static void use(Cache *c, int32_t slot, uint32_t uses) {
    uint32_t group = cache_group(c, slot);
    if (!cache_use_counts(c, group, uses, true)) return;
    cache_remove(c, slot);
    c->slots[slot].key = cache_now(c);
    cache_put_hot(c, LIST_FIRST, slot);
    cache_queue_rerank(c, group);
}

static int32_t victim(Cache *c, uint32_t group) {
    int32_t cold = cache_list(c, group, LIST_FIRST)->cold;
    if (c->slots[cold].pins == 0) return cold;
    cache_remove(c, cold);
    cache_queue_rerank(c, group);
    return CACHE_NONE;
}

const CacheOps cache_lru = CACHE_QUEUE_OPS(use, victim);
