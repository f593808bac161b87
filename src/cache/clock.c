/* Second chance. One queue per group in the order of arrival; what was used since it was last looked at goes to the end once more. */
#include "cache/policy.h"

enum { USED = 1 };

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
    rerank(c, group);
    return CACHE_NONE;
}

static void put_back(Cache *c, int32_t slot) {
    cache_put_by_key(c, LIST_FIRST, slot);
    rerank(c, cache_group(c, slot));
}

const CacheOps cache_clock = {.n_lists = 1, .enter = enter, .use = use, .victim = victim, .put_back = put_back, .rerank = rerank};
