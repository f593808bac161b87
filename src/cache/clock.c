/* Second chance. One queue per group in the order of arrival; what was used since it was last looked at goes to the end once more. */
#include "cache/queue.h"

enum { USED = 1 };

static void use(Cache *c, int32_t slot, uint32_t uses) {
    if (cache_use_counts(c, cache_group(c, slot), uses, true)) c->slots[slot].mark = USED;
}

static int32_t victim(Cache *c, uint32_t group) {
    int32_t cold = cache_list(c, group, LIST_FIRST)->cold;
    CacheSlot *s = &c->slots[cold];
    if (s->pins == 0 && s->mark != USED) return cold;
    cache_remove(c, cold);
    if (s->mark == USED) {
        s->mark = 0;
        s->key = cache_now(c);
        cache_put_hot(c, LIST_FIRST, cold);
    }
    cache_queue_rerank(c, group);
    return CACHE_NONE;
}

const CacheOps cache_clock = CACHE_QUEUE_OPS(use, victim);
