/* Inside the room cache: policies that keep a score per record, which fades with the tokens that pass. What differs is how fast. */
#ifndef CACHE_SCORED_H
#define CACHE_SCORED_H

#include "cache/policy.h"

uint64_t cache_scored_bytes(const CacheConfig *config);
void cache_scored_start(Cache *c);
void cache_scored_enter(Cache *c, int32_t slot, uint32_t uses);
void cache_scored_use(Cache *c, int32_t slot, uint32_t uses);
int32_t cache_scored_victim(Cache *c, uint32_t group);
void cache_scored_put_back(Cache *c, int32_t slot);
void cache_scored_leave(Cache *c, int32_t slot);
void cache_scored_rerank(Cache *c, uint32_t group);

enum { CACHE_SCORE_OCTAVE = 1024 }; /* steps of a score in which its weight doubles */

/* A score loses half its weight in so many tokens. Scores of different groups that are within half an octave count as equal: they are
 * estimates, and small differences would only make the groups push one another about. */
#define CACHE_SCORED_OPS(tokens)                                                                                            \
    {                                                                                                                       \
        .half_life = (tokens), .bias = CACHE_SCORE_OCTAVE / 2, .own_bytes = cache_scored_bytes, .start = cache_scored_start,\
        .enter = cache_scored_enter, .use = cache_scored_use, .victim = cache_scored_victim, .put_back = cache_scored_put_back,\
        .leave = cache_scored_leave, .rerank = cache_scored_rerank                                                          \
    }

#endif
