/* store: the expert store. A bounded number of slots in memory, filled from disk on demand.
 *
 * What this is    want / next / finish / put: the step says which experts of a layer it needs, takes each when gate and up have
 *                 landed, waits for down when it gets there, and gives it back. A record is three byte ranges, of which the first
 *                 two are wanted before the third; what is computed with them the store does not know. Which record leaves memory
 *                 is the cache's decision (cache.h), which drive is asked and when is the disk's (disk.h).
 * Who owns what   the store takes one slab of slab_bytes from the kernel and cuts it into slots once; its pages cost nothing until
 *                 they are used. Leases are borrowed until put. The disk is the caller's, but nobody else submits to it.
 * What may fail   a read: then store_next or store_finish says which expert, file and offset, and why. Every lease must still be put
 *                 and the want dropped; then the store is usable again (the failed expert is not in the cache).
 * Threads         one thread calls; reads run behind the disk door.
 * Promise         a lease's gate and up, and once it is whole its down, are the bytes of that expert's record; a leased slot is never
 *                 overwritten.
 *                 Checked by tests/unit/test_store*.c, and under faults for minutes by tests/stream/test_soak*.c.
 *
 * The life of a want
 *   store_want(ids)  ->  n times store_next(&lease)  ->  store_finish(&lease)  ->  store_put(&lease)
 * There is at most one want at a time. After an error or an interrupt the leases that are out are put and store_drop ends the want; until
 * then the error comes again. Leases may stay out from one want to the next; they count against the slots.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/base.h"
#include "cache/cache.h"
#include "disk/disk.h"

enum { STORE_GATE, STORE_UP, STORE_DOWN, STORE_PARTS };

typedef struct StoreConfig {
    int n_layers, n_experts;   /* layers that have routed experts, experts in each */
    const DiskRange *parts;    /* [n_layers][n_experts][STORE_PARTS] the records, borrowed for the store's life; alignment is the
                                * store's business */
    Disk *disk;                /* borrowed */
    uint64_t slab_bytes;       /* memory for slots; at least one slot */
    CachePolicy policy;        /* who leaves first */
    uint32_t floor;            /* slots that each layer keeps against the others: without it a cache smaller than what one token
                                * touches hits nothing, for each layer evicts the next one's. Lowered until twice as many slots are
                                * common to all, or the reads of one want would queue for the few slots of its layer */
    uint32_t hint_slots;       /* most experts that are read ahead and not yet wanted; never more than half of the slots */
    /* Called when some more slots hold memory, 16 MiB of them or a 256th of all: more are taken when it returns. It may call
     * store_limit. NULL: nobody wants to know. */
    void (*filling)(void *user);
    void *user;
    bool poison;               /* tests: fill a slot with STORE_POISON before it is read into, so that stale bytes are noticed */
} StoreConfig;

enum { STORE_POISON = 0xDB };

typedef struct Store Store;

/* Bytes that one slot needs for the largest record of the table, alignment and over-read included: a pure function. */
uint64_t store_slot_bytes(const DiskRange *parts, size_t n_records, const Disk *disk);
/* Bytes of the tables for so many slots, which come on top of the slab: a pure function. */
uint64_t store_bytes(const StoreConfig *config, uint32_t n_slots);
Store *store_new(const StoreConfig *config, Err *err);
void store_free(Store *s);
uint32_t store_slots(const Store *s); /* of the slab; store_limit may allow fewer */

/* ---- one layer ---- */

typedef struct StoreLease {
    int32_t expert;
    uint32_t slot;
    bool whole; /* down is there too; otherwise store_finish comes before part[STORE_DOWN] is looked at */
    const void *part[STORE_PARTS]; /* the record's bytes: gate, up, down; no alignment promised */
} StoreLease;

typedef enum StoreOrder {
    STORE_ANY,       /* whatever is ready first: hits, then the others as their gate and up land */
    STORE_ASCENDING  /* in the order of `experts` */
} StoreOrder;

/* Declares the experts of one layer that the step needs now: unique ids, ascending. uses: how many tokens of the step want each of
 * them (NULL: one). Hits are held before anything is evicted for misses; reads start at once for as many as there are free slots,
 * and go on as leases are put. n may exceed the number of slots. Must be followed by store_next until all n are taken (or by
 * store_drop). */
ErrCode store_want(Store *s, int layer, const int32_t *experts, const uint32_t *uses, int n, StoreOrder order, Err *err);
/* The next lease whose gate and up are there, waiting for the disk if need be. ERR_OK with *lease filled, or the error of a read of
 * this want. Called more than n times, or while leases hold every slot, it is ERR_STATE. */
ErrCode store_next(Store *s, StoreLease *lease, Err *err);
/* Waits until the lease is whole; at once if it is. The error of its reads otherwise: the lease must still be put. */
ErrCode store_finish(Store *s, StoreLease *lease, Err *err);
/* Gives the slot back, whole or not: what is still on its way to it lands first. */
void store_put(Store *s, const StoreLease *lease);
/* Gives up what is left of the current want (after an error or an interrupt), and hints that have not begun; waits for reads in flight. */
void store_drop(Store *s);
/* A step of the network is over: what the cache counts ages. */
void store_step(Store *s, uint32_t n_tokens);

/* ---- waiting without blocking ---- */

/* For a caller that has other work to do, in STORE_ANY order. Whether store_next, or store_finish of this lease, would return at once,
 * be it with the error of a read; and sleeping (counted as waiting) until a read has landed, which may make neither ready. store_wait
 * returns at once when no read is on its way: then a lease can be finished, and if there is none, the next one taken. */
bool store_next_ready(Store *s);
bool store_finish_ready(Store *s, const StoreLease *lease);
void store_wait(Store *s);
/* Takes in what has landed and lets reads that wait begin, without waiting: for a caller that computes while hints are read. */
void store_advance(Store *s);

/* ---- reading ahead ---- */

/* Reads ahead, when the disk has time, what is not there of the experts that `layer` will probably want, likeliest first. Best effort:
 * returns how many were begun, none while the current want still lacks slots. When the layer is wanted, an expert that is under way
 * is awaited like any other, and of the wrong ones what has not begun is taken back. A failure is told only to who wants the expert,
 * after it has been read once more. */
int store_hint(Store *s, int layer, const int32_t *experts, int n);

/* ---- limits ---- */

/* From now on at most n of the slots (at least 1) are used, and the memory of the others is given back as soon as nobody holds them;
 * a larger n takes slots back in use. Also in the middle of a want. */
void store_limit(Store *s, uint32_t n);
uint32_t store_slots_in_use(const Store *s); /* those that it allows */
uint32_t store_slots_filled(const Store *s); /* those that hold memory now */

/* ---- statistics ---- */

/* What each expert of the last want was found to be. What was read ahead for this very want counts as missed: it had to be read, only
 * early. */
enum { STORE_MISS = 0, STORE_HIT = 1, STORE_AHEAD = 2 /* missed, but read ahead and there in time */ };
const uint8_t *store_last_hits(const Store *s); /* [n of the last want], until the next */

typedef struct StoreStats {
    uint64_t wanted, hits, misses;  /* experts, once per want; hits + misses = wanted */
    uint64_t bytes_read;            /* of parts that landed, without alignment */
    uint64_t evictions;
    uint64_t hinted, hints_used, hints_failed; /* experts read ahead; of them those that were wanted; reads of them that failed */
    uint64_t hint_bytes, hint_bytes_used;      /* part of bytes_read; whole records of the used ones */
    uint64_t wait_ns;               /* time store_next and store_finish blocked */
} StoreStats;
void store_stats(const Store *s, StoreStats *stats);
void store_stats_reset(Store *s);

#endif
