/* Recency and frequency together: counts that fade within a passage of text. */
#include "cache/scored.h"

const CacheOps cache_hybrid = CACHE_SCORED_OPS(64);
