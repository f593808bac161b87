/* Inside the room cache: what LRU and CLOCK have in common, one queue per group (LIST_FIRST). */
#ifndef CACHE_QUEUE_H
#define CACHE_QUEUE_H

#include "cache/policy.h"

/* As members of a CacheOps. */
void cache_queue_rerank(Cache *c, uint32_t group);
void cache_queue_enter(Cache *c, int32_t slot, uint32_t uses);
void cache_queue_put_back(Cache *c, int32_t slot);

#define CACHE_QUEUE_OPS(use_, victim_) \
    {.n_lists = 1, .enter = cache_queue_enter, .use = (use_), .victim = (victim_), .put_back = cache_queue_put_back, \
     .rerank = cache_queue_rerank}

#endif
