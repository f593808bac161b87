/* Least frequently used: counts that fade slowly, so that what an hour ago was popular does not stay for ever. */
#include "cache/scored.h"

const CacheOps cache_lfu = CACHE_SCORED_OPS(2048);
