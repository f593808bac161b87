/* Private to the store: how much of its record each slot has, and who holds it. Which record a slot belongs to, and which slot is given
 * away for another, is the cache's business. Knows no disk. */
#ifndef STORE_SLOTS_H
#define STORE_SLOTS_H

#include "cache/cache.h"
#include "store/store.h"

enum { SLOT_NONE = CACHE_NONE };

/* A record arrives by at most STORE_PARTS reads; the masks have one bit for each of them. */
typedef struct Slot {
    uint64_t part_at[STORE_PARTS]; /* where each part of the record begins, in the slot */
    int32_t entry;      /* the entry of the current want that it is for; SLOT_NONE: none */
    uint32_t holds;     /* leases, entries of the want, and one while reads run; above 0 the cache keeps its hands off */
    uint8_t all, first; /* reads of the record; those among them that bring gate or up */
    uint8_t landed, flying;
    uint8_t brings[STORE_PARTS]; /* parts that each read brings */
    bool failed;        /* a read failed since the last were started */
    bool quiet;         /* its reads began for nobody: when one fails, what lacks is read again for whoever wants it */
    bool resident;      /* it has held a record since its memory was last given back */
    int32_t hint_at;    /* its place among the hints that nobody has wanted yet; SLOT_NONE: it is none */
} Slot;

/* A slot that nobody holds is free or has its whole record. */
typedef struct Slots {
    Slot *slots; /* [n] */
    Cache *cache;
    uint32_t n;
    uint32_t n_resident, n_fresh; /* slots that hold memory; of them those that came since somebody looked */
    int32_t *hints; /* [n_hints of hints_max] slots whose records were read ahead and that nobody has wanted yet */
    uint32_t n_hints, hints_max;
} Slots;

static inline bool slot_whole(const Slot *s) { return s->landed == s->all; }
static inline bool slot_has_first(const Slot *s) { return (s->landed & s->first) == s->first; }

ErrCode store_slots_init(Slots *s, const CacheConfig *config, uint32_t hints_max, Err *err);
void store_slots_free(Slots *s);
uint64_t store_slots_bytes(const CacheConfig *config, uint32_t hints_max); /* of the tables */

/* A slot for a record that has none, held once; *evicted is what was in it. SLOT_NONE when there is none to be had. uses: tokens that
 * want it; 0: a guess. */
int32_t store_slots_take(Slots *s, int32_t record, uint32_t uses, int32_t *evicted);
void store_slots_given_back(Slots *s, int32_t i); /* its memory is gone */
void store_slots_hold(Slots *s, int32_t i);
/* Gives back one hold. The last one leaves the slot to the cache, or, where the record did not arrive whole, frees it. */
void store_slots_release(Slots *s, int32_t i);

/* Counts a slot among the hints, or no longer. A slot that loses its record is a hint no more. */
void store_slots_hint(Slots *s, int32_t i);
void store_slots_unhint(Slots *s, int32_t i);

#endif
