/* Private to the store: the slots, which expert is in which, and which was used longest ago. Knows no disk. */
#ifndef STORE_SLOTS_H
#define STORE_SLOTS_H

#include "base/base.h"

enum { SLOT_NONE = -1 };

typedef enum SlotState {
    SLOT_EMPTY,
    SLOT_READING, /* reads write into it: pinned, and not to be found */
    SLOT_READY    /* holds the whole record of its expert */
} SlotState;

typedef struct Slot {
    SlotState state;
    int32_t record;     /* layer * n_experts + expert; SLOT_NONE when empty */
    uint32_t pins;      /* leases, reservations of hits, and reads; above 0 the slot is not in the list */
    uint32_t reads;     /* in flight */
    bool failed;        /* one of its reads failed */
    int32_t entry;      /* while READING: which expert of the want it is for */
    int32_t colder, hotter; /* neighbours in the list */
    uint64_t part_at[3];    /* where each part of the record begins, in the slot */
} Slot;

/* The list holds exactly the slots that nobody uses. Its cold end is taken first: empty slots, then the one whose use ended
 * longest ago. */
typedef struct Slots {
    Slot *slots;     /* [n] */
    int32_t *where;  /* [n_records] -> slot that is READY, or SLOT_NONE */
    uint32_t n;
    int32_t coldest, hottest;
} Slots;

ErrCode slots_init(Slots *s, uint32_t n, size_t n_records, Err *err);
void slots_free(Slots *s);

/* The READY slot of a record, pinned once more; SLOT_NONE: not here. */
int32_t slots_pin(Slots *s, int32_t record);
/* Takes the coldest slot out of the list for a record that is to be read; what was in it is forgotten (*evicted). SLOT_NONE when
 * every slot is in use. */
int32_t slots_take(Slots *s, int32_t record, bool *evicted);
/* The record has landed whole: it can be found from now on. The pin of slots_take stays. */
void slots_ready(Slots *s, int32_t i);
/* The record could not be read: the slot is empty, and the first to be taken. */
void slots_fail(Slots *s, int32_t i);
/* Gives back one pin; the last one makes the slot the hottest of those not in use. */
void slots_unpin(Slots *s, int32_t i);

#endif
