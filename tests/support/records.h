/* A made-up model for tests of the store: files whose bytes tell which layer, expert and part they belong to, and a driver that
 * wants experts at random and checks every byte of every lease. */
#ifndef TESTS_RECORDS_H
#define TESTS_RECORDS_H

#include "disk/disk.h"
#include "store/store.h"

enum { RECORDS_LAYERS = 5, RECORDS_EXPERTS = 24, RECORDS_N = RECORDS_LAYERS * RECORDS_EXPERTS, RECORDS_FILES = 2 };

/* Where the parts lie: scattered over both files, some records in one piece, all at odd offsets and of odd sizes. */
typedef struct Records {
    char path[RECORDS_FILES][256];
    DiskRange parts[RECORDS_N][STORE_PARTS];
    uint64_t bytes[RECORDS_N];
} Records;

/* Writes the files into the test's own folder. part_bytes: about how large a part is. */
void records_write(Records *r, uint32_t part_bytes);
const DiskRange *records_part(const Records *r, int layer, int expert, int part);
/* Fails the test unless these are the bytes of that expert: gate and up, and where the lease is whole, down. */
void records_check(const Records *r, int layer, const StoreLease *lease);
Disk *records_disk(const Records *r, const DiskConfig *config);
StoreConfig records_config(const Records *r, Disk *disk, uint32_t n_slots);
/* A poisoned store of n slots over that disk. */
Store *records_store(const Records *r, Disk *disk, uint32_t n_slots);

typedef struct Random {
    uint64_t state;
} Random;
uint32_t random_below(Random *r, uint32_t n);
/* n different ids below n_experts, ascending. */
void random_experts(Random *r, int32_t *experts, int n, int n_experts);

/* Wants of random layers, experts and orders, hints among them, with leases kept for a while and finished or not, all bytes checked when
 * taken and again before they are put. Stops after n_wants or, with ns_max above 0, after that time. Returns how many wants failed and
 * were dropped; each failure must be a sentence that names layer, expert and file. */
typedef struct Drive {
    int n_wants;
    uint64_t ns_max;
    int experts_max; /* per want */
    bool may_fail;
    uint64_t seed;
    int wants, failed; /* out */
} Drive;
void records_drive(const Records *r, Store *s, Drive *drive);

#endif
