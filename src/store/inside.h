/* Inside the room store: the store itself, and what its files give one another: being asked (store.c), reading (reads.c), reading
 * ahead (hints.c). */
#ifndef STORE_INSIDE_H
#define STORE_INSIDE_H

#include "store/slots.h"
#include "store/store.h"

typedef enum EntryState {
    ENTRY_WAITING, /* its reads have not begun */
    ENTRY_READING, /* gate or up is on its way */
    ENTRY_READY,   /* can be leased */
    ENTRY_LEASED
} EntryState;

/* Until it is leased, an entry that has a slot holds it; then the lease does. */
typedef struct Entry {
    int32_t expert, slot;
    uint32_t uses;
    EntryState state;
} Entry;

typedef struct Want {
    int layer;
    StoreOrder order;
    int n, taken;
    int next_start; /* no entry before it is WAITING */
    Entry *entries; /* [n_experts], n in use */
    int *ready;     /* [n_experts], STORE_ANY: entries in the order in which they became ready */
    int n_ready;    /* in all; the first `taken` of them are gone */
    ErrCode code;   /* of the first read that failed; then nothing more is started */
    Err err;
} Want;

enum { REAP = 16, READS_MAX = 1024, HINT_RECORDS = 32, FILLING_BYTES = 16 << 20 };

struct Store {
    StoreConfig config;
    char *slab, *base; /* base: the first aligned byte of the slab */
    uint64_t slab_bytes, slot_bytes;
    Slots slots;
    Want want;
    uint8_t *hits;     /* [n_experts] of the current want */
    uint32_t reads_in_flight;
    StoreStats stats;
    int32_t failed_record; /* whose read failed last; SLOT_NONE: none yet */
    Err failure;
    DiskRead *reads;   /* [n_reads] what is submitted together */
    size_t n_reads;
    DiskDone done[REAP];
};

static inline char *slot_memory(const Store *s, int32_t slot) { return s->base + (uint64_t)slot * s->slot_bytes; }

/* parts of a record: [STORE_PARTS] */
static inline const DiskRange *record_parts(const Store *s, int32_t record) { return s->config.parts + (size_t)record * STORE_PARTS; }

static inline int32_t record_of(const Store *s, int32_t expert) { return s->want.layer * s->config.n_experts + expert; }
static inline uint64_t read_tag(int32_t slot, int read) { return (uint64_t)slot * STORE_PARTS + (uint64_t)read; }
static inline int32_t slot_record(const Store *s, int32_t slot) { return cache_record(s->slots.cache, slot); }

/* Names the slots to the disk, none of them registered yet, or no longer. */
static inline void store_register(Store *s) { disk_register(s->config.disk, s->base, s->slot_bytes, s->slots.n); }

/* Starts the reads of waiting entries for as many as there are free slots and room in the disk's queue. */
void store_start_reads(Store *s);
/* Reads once more what a held slot lacks of its record and no read is bringing. */
void store_read_again(Store *s, int32_t slot);
/* Takes in what the disk has finished; wait: at least one read, if any is in flight. */
void store_land(Store *s, bool wait);
/* The entry can be leased from now on. */
void store_entry_ready(Want *w, int entry);
/* Hands reads to the disk. */
void store_submit(Store *s, const DiskRead *reads, size_t n);
/* Adds the reads of what a slot still lacks of its record, and holds the slot for them. Those that bring gate or up go to `first`,
 * the others to `rest`. */
void store_plan_reads(Store *s, int32_t at, DiskUrgency urgency, DiskRead *first, size_t *n_first, DiskRead *rest, size_t *n_rest);
/* A read of this slot has come to an end, one way or another. */
void store_slot_advanced(Store *s, int32_t i);

/* hints.c: the slot of a wanted expert, in case it was read ahead. */
void store_hint_used(Store *s, int32_t at);
/* Takes back what has not begun of the hints of a layer, which then are hints no more; of every layer: STORE_ALL_LAYERS, and those that
 * have begun stay hints. True: a slot has come free. */
enum { STORE_ALL_LAYERS = -1 };
bool store_hints_back(Store *s, int layer);

#endif
