/* Private to the store: the slots, which expert is in which, how much of it is there, and which was used longest ago. Knows no
 * disk. */
#ifndef STORE_SLOTS_H
#define STORE_SLOTS_H

#include "store/store.h"

enum { SLOT_NONE = -1 };

/* A record arrives by at most STORE_PARTS reads; the masks have one bit for each of them. */
typedef struct Slot {
    int32_t record;     /* layer * n_experts + expert; SLOT_NONE when empty */
    int32_t entry;      /* the entry of the current want that it is for; SLOT_NONE: none */
    uint32_t holds;     /* leases, entries of the want, and one while reads run; above 0 nobody else gets the slot */
    uint8_t all, first; /* reads of the record; those among them that bring gate or up */
    uint8_t landed, flying;
    uint8_t brings[STORE_PARTS]; /* parts that each read brings */
    bool failed;        /* a read failed since the last were started */
    int32_t colder, hotter;        /* neighbours in the list */
    uint64_t part_at[STORE_PARTS]; /* where each part of the record begins, in the slot */
} Slot;

/* The list holds exactly the slots that nobody holds. Its cold end is taken first: empty slots, then the one whose use ended
 * longest ago. A slot that nobody holds is empty or has its whole record. */
typedef struct Slots {
    Slot *slots;     /* [n] */
    int32_t *where;  /* [n_records] -> the slot that has the record or is waiting for it, or SLOT_NONE */
    uint32_t n;
    int32_t coldest, hottest;
} Slots;

static inline bool slot_whole(const Slot *s) { return s->landed == s->all; }
static inline bool slot_has_first(const Slot *s) { return (s->landed & s->first) == s->first; }

ErrCode slots_init(Slots *s, uint32_t n, size_t n_records, Err *err);
void slots_free(Slots *s);

/* The slot of a record; SLOT_NONE: it has none. */
static inline int32_t slots_find(const Slots *s, int32_t record) { return s->where[record]; }
/* Takes the coldest slot that nobody holds for a record that has none, and holds it once; what was in it is forgotten (*evicted).
 * SLOT_NONE when every slot is held. */
int32_t slots_take(Slots *s, int32_t record, bool *evicted);
void slots_hold(Slots *s, int32_t i);
/* Gives back one hold. The last one makes the slot the hottest of the free ones; or, where the record did not arrive whole, empty and
 * the first to be taken. */
void slots_release(Slots *s, int32_t i);

#endif
