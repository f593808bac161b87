/* Inside the room cache: the table that every policy works on, and what a policy is.
 *
 * Each group has its own lists of slots, cold end first. A policy keeps them in order and says, as rank[group], how cold the first
 * slot of a group is; the smallest rank is given away first. So an eviction looks at one number per group, whatever the policy, and
 * the floor of a group is a question of which ranks are looked at.
 */
#ifndef CACHE_POLICY_H
#define CACHE_POLICY_H

#include "cache/cache.h"

#define RANK_NONE UINT64_MAX /* the group has nothing to give away */

enum { LIST_NONE = -1, LIST_GUESS = 0, LIST_FIRST = 1 }; /* lists of a group: guesses, then the policy's own */

typedef struct CacheSlot {
    int32_t record;         /* CACHE_NONE: free, or given up */
    uint32_t pins;
    int32_t colder, hotter; /* neighbours in its list */
    int32_t list;           /* of its group; LIST_NONE: in none, because an eviction met it pinned */
    uint32_t mark;          /* the policy's own: a reference bit, a small count */
    uint64_t key;           /* the policy's own: grows from the cold end to the hot end */
} CacheSlot;

typedef struct CacheList {
    int32_t cold, hot; /* its ends; CACHE_NONE, CACHE_NONE: empty */
} CacheList;

struct Cache {
    CacheConfig config;
    const struct CacheOps *ops;
    CacheSlot *slots;      /* [n_slots] */
    int32_t *where;        /* [n_groups * per_group] slot of a record, or CACHE_NONE */
    uint32_t *held;        /* [n_groups] slots that hold a record of the group */
    uint64_t *rank;        /* [n_groups] of the coldest slot in the policy's lists, or RANK_NONE */
    CacheList *lists;      /* [n_groups][n_lists] */
    uint32_t n_lists;
    CacheList free, out;   /* slots without a record; slots given up */
    uint32_t in_use, limit;
    uint32_t floor;        /* in force: lowered with the limit */
    CacheLimit told;
    uint64_t step, tokens; /* passed so far */
    uint32_t sequence;     /* uses in this step */
    uint64_t want_records, want_uses; /* of the want that is being looked up */
    void *own;             /* the policy's own table */
};

/* What every policy owes, whatever its order: where one token touches more records than there are slots, nearly every slot must hold
 * something that the next token wants (tests/unit/test_cache.c counts the hits). First in, first out does not, so it is not here. */
typedef struct CacheOps {
    uint32_t n_lists;                                 /* per group, LIST_GUESS not counted */
    uint32_t half_life;                               /* of a score, in tokens, where there is one */
    uint32_t bias;                                    /* in doubt the asking group gives up its own: so much lower its rank counts */
    uint64_t (*own_bytes)(const CacheConfig *config); /* of the policy's own table, all zero at first; NULL: it has none */
    void (*start)(Cache *c);                          /* NULL: nothing to do */
    /* The slot, in no list, has got a record: it goes into a list. uses 0: a guess that was wrong, to be given away soon. */
    void (*enter)(Cache *c, int32_t slot, uint32_t uses);
    /* The record of a slot was wanted again. The slot may be in no list: it may stay there, put_back comes when its pins go. */
    void (*use)(Cache *c, int32_t slot, uint32_t uses);
    /* The slot to give away of a group whose rank is not RANK_NONE. CACHE_NONE: the first in line was not to be had, and will not be
     * first when the ranks are compared again. */
    int32_t (*victim)(Cache *c, uint32_t group);
    /* A slot that is in no list, because an eviction met it pinned, is pinned no more. */
    void (*put_back)(Cache *c, int32_t slot);
    /* The slot, already out of its list, loses its record. Not called for guesses. NULL: no matter. */
    void (*leave)(Cache *c, int32_t slot);
    /* The lists of the group have changed. */
    void (*rerank)(Cache *c, uint32_t group);
} CacheOps;

#define X(NAME, name) extern const CacheOps cache_##name;
CACHE_LIST(X)
#undef X

static inline uint32_t cache_group(const Cache *c, int32_t slot) { return (uint32_t)c->slots[slot].record / c->config.per_group; }
static inline CacheList *cache_list(Cache *c, uint32_t group, int32_t list) { return &c->lists[group * c->n_lists + (uint32_t)list]; }

void cache_link_hot(Cache *c, CacheList *l, int32_t slot);
void cache_link_cold(Cache *c, CacheList *l, int32_t slot);
void cache_unlink(Cache *c, CacheList *l, int32_t slot);
/* The same with a list of the slot's group, which the slot remembers. */
void cache_put_hot(Cache *c, int32_t list, int32_t slot);
void cache_put_cold(Cache *c, int32_t list, int32_t slot);
void cache_put_by_key(Cache *c, int32_t list, int32_t slot); /* in the order of the keys, looking from the cold end */
void cache_enter_cold(Cache *c, int32_t list, int32_t slot); /* at the cold end, with the key of what was the coldest */
void cache_remove(Cache *c, int32_t slot);                   /* from the list it is in, if any */

/* A number that grows with every use, the step in its upper half. */
static inline uint64_t cache_now(Cache *c) { return c->step << 32 | c->sequence++; }

/* Whether a use tells that the record will be wanted again soon. One token's want always does. Of the many tokens of a prompt, a few
 * may want a record that the others do not; and when a want passes more records through a group than it has slots, those that come
 * last would push out those before them, with nothing won: there only what is wanted clearly more than the mean counts. */
bool cache_use_counts(const Cache *c, uint32_t group, uint32_t uses, bool hit);

#endif
