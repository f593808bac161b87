/* cache: which records stay in memory. It decides; it holds no bytes and reads nothing.
 *
 * What this is    a table of slots and the policy that chooses which of them is given away. Keys are record numbers,
 *                 group * per_group + member: a group is a layer, a member an expert. The store drives it with real reads, the
 *                 simulator with a recorded trace; so what `simulate` prints is what the engine would do.
 * Who owns what   a Cache owns its tables, all of them allocated by cache_new.
 * What may fail   memory, in cache_new. Nothing afterwards.
 * Threads         one thread at a time.
 * Promise         a pinned slot is never given away; a slot is given to a record of another group only while its own group keeps
 *                 more than its floor. The same calls give the same decisions. No allocation after cache_new. A use costs the same
 *                 whatever the number of slots; an eviction looks at one number per group.
 *                 Checked by tests/unit/test_cache.c.
 *
 * A want of one layer: cache_want, then cache_find of each record; those that are there are pinned and used, all of them, before a slot
 * is taken for any of the others. Whoever has done with a record unpins it. After the last layer: cache_step.
 */
#ifndef CACHE_CACHE_H
#define CACHE_CACHE_H

#include "base/base.h"

enum { CACHE_NONE = -1 };

/* One line per policy: its name. A policy is a line here and its file, which says cache_name as a CacheOps (policy.h). */
#define CACHE_LIST(X)                                                          \
    X(LRU, lru)       /* least recently used */                                \
    X(LFU, lfu)       /* least frequently used, counts decay with the steps */ \
    X(HYBRID, hybrid) /* recency and frequency together */                     \
    X(CLOCK, clock)   /* second chance */                                      \
    X(S3FIFO, s3fifo) /* small, main and ghost queue */

typedef enum CachePolicy {
#define X(NAME, name) CACHE_##NAME,
    CACHE_LIST(X)
#undef X
    CACHE_POLICIES
} CachePolicy;
#define CACHE_CHOICES CACHE_LIST(WORD_OF) /* "lru|lfu|...|" */
const char *cache_policy_name(CachePolicy policy); /* "lru" */
bool cache_policy_from_name(const char *name, CachePolicy *policy);
CachePolicy cache_policy_default(void); /* the one that wins on recorded traces: docs/experiments.md */

typedef struct CacheConfig {
    CachePolicy policy;
    uint32_t n_slots;
    uint32_t n_groups, per_group;
    uint32_t floor;    /* slots that a group keeps against the others once it has them; lowered to (n_slots - common) / n_groups */
    uint32_t common;   /* slots that no floor may claim: a want must be able to hold more than its group keeps, or its reads would queue
                        * for a few slots */
} CacheConfig;

typedef struct Cache Cache;
uint64_t cache_bytes(const CacheConfig *config); /* of the tables: a pure function */
Cache *cache_new(const CacheConfig *config, Err *err);
void cache_free(Cache *c);

/* The slot that belongs to a record; CACHE_NONE: none does. Changes nothing. */
int32_t cache_find(const Cache *c, int32_t record);
/* The record a slot belongs to; CACHE_NONE: it is free. */
int32_t cache_record(const Cache *c, int32_t slot);
/* The lookups that follow are those of one want: n different records, wanted n_uses times by the tokens of the step together. It tells
 * the many records of a prompt from the few of one token, so that a prompt does not flush what decoding needs. */
void cache_want(Cache *c, uint32_t n_records, uint64_t n_uses);
/* A slot for a record that has none, pinned once. What was in it is forgotten; *evicted is that record or CACHE_NONE. Free slots are
 * taken first, in order. The result is CACHE_NONE when every slot that may be given away is pinned. uses: tokens of the step that
 * want the record; 0: a guess, nobody has wanted it yet. Guesses stay until their group is wanted: then those that were not used
 * are the first to be given away. A guess takes no slot from another guess. */
int32_t cache_take(Cache *c, int32_t record, uint32_t uses, int32_t *evicted);
/* The record in this slot was wanted by `uses` tokens of the step. */
void cache_use(Cache *c, int32_t slot, uint32_t uses);
void cache_pin(Cache *c, int32_t slot);
void cache_unpin(Cache *c, int32_t slot);
/* The record is not there after all (its read failed or was cancelled); pins go too. The slot is free, and the next to be taken. */
void cache_drop(Cache *c, int32_t slot);
/* A step of the network is over: counts age. */
void cache_step(Cache *c, uint32_t n_tokens);

/* From now on at most n slots (>= 1) are used. Slots beyond that are given up as soon as they are not pinned, in cache_limit or in a
 * later cache_unpin or cache_drop; which ones is the cache's choice, free ones first. The floor is lowered to (n - common) / n_groups.
 * given_up is called for each slot that is out of use (its record is forgotten already), back_in_use for each that comes back. told is
 * copied; NULL: nobody is told. */
typedef struct CacheLimit {
    void *user;
    void (*given_up)(void *user, int32_t slot);
    void (*back_in_use)(void *user, int32_t slot);
} CacheLimit;
void cache_limit(Cache *c, uint32_t n, const CacheLimit *told);
uint32_t cache_slots_in_use(const Cache *c); /* those not given up: not more than the limit, but for pins */

#endif
