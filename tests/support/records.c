#include "support/support.h"

#include "support/records.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t random_below(Random *r, uint32_t n) {
    r->state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t x = r->state;
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((x ^ (x >> 31)) % n);
}

void random_experts(Random *r, int32_t *experts, int n, int n_experts) {
    int filled = 0;
    for (int e = 0; e < n_experts && filled < n; e++) /* each with the chance that leaves exactly n */
        if (random_below(r, (uint32_t)(n_experts - e)) < (uint32_t)(n - filled)) experts[filled++] = e;
}

/* The bytes of a part: a stream that begins elsewhere for each record and part. Neighbouring bytes differ, and none of the
 * streams looks like poison. */
static uint8_t record_byte(int record, int part, uint32_t i) {
    uint32_t x = ((uint32_t)record * 3 + (uint32_t)part + 1) * 2654435761u + i * 40503u;
    uint8_t byte = (uint8_t)(x >> 13);
    return byte == STORE_POISON ? 0 : byte;
}

static void put_part(Records *r, FILE **files, int record, int part, uint32_t file, uint32_t gap, uint32_t bytes) {
    for (uint32_t i = 0; i < gap; i++) fputc(0x55, files[file]);
    r->parts[record][part] = (DiskRange){.file = file, .bytes = bytes, .offset = (uint64_t)ftell(files[file])};
    for (uint32_t i = 0; i < bytes; i++) fputc(record_byte(record, part, i), files[file]);
    r->bytes[record] += bytes;
}

void records_write(Records *r, uint32_t part_bytes) {
    memset(r, 0, sizeof *r);
    static int turn;
    Random random = {77};
    FILE *files[RECORDS_FILES];
    for (int f = 0; f < RECORDS_FILES; f++) {
        snprintf(r->path[f], sizeof r->path[f], "%s/records-%d-%d", temp_dir(), turn, f);
        files[f] = fopen(r->path[f], "wb");
        assert_non_null(files[f]);
    }
    turn++;
    for (int record = 0; record < RECORDS_N; record++) { /* even records: in one piece, with or without small gaps */
        if (record % 2) continue;
        uint32_t file = random_below(&random, RECORDS_FILES);
        for (int k = 0; k < STORE_PARTS; k++)
            put_part(r, files, record, (k + record / 2) % STORE_PARTS, file, record % 4 ? random_below(&random, 900) : 0,
                     part_bytes / 2 + random_below(&random, part_bytes));
    }
    for (int part = 0; part < STORE_PARTS; part++) /* odd records: all gates, then all ups, then all downs, as in a GGUF */
        for (int record = 1; record < RECORDS_N; record += 2)
            put_part(r, files, record, part, (uint32_t)part % RECORDS_FILES, 0, part_bytes / 2 + random_below(&random, part_bytes));
    for (int f = 0; f < RECORDS_FILES; f++) assert_int_equal(fclose(files[f]), 0);
}

const DiskRange *records_part(const Records *r, int layer, int expert, int part) {
    return &r->parts[layer * RECORDS_EXPERTS + expert][part];
}

void records_check(const Records *r, int layer, const StoreLease *lease) {
    int record = layer * RECORDS_EXPERTS + lease->expert;
    for (int part = 0; part < (lease->whole ? STORE_PARTS : STORE_DOWN); part++) {
        const uint8_t *got = lease->part[part];
        for (uint32_t i = 0; i < r->parts[record][part].bytes; i++)
            if (got[i] != record_byte(record, part, i))
                fail_msg("layer %d expert %d part %d: byte %u is 0x%02x, not 0x%02x (slot %u)", layer, (int)lease->expert, part, i, got[i],
                         record_byte(record, part, i), lease->slot);
    }
}

Disk *records_disk(const Records *r, const DiskConfig *config) {
    Err err = {0};
    Disk *d = disk_new(config, &err);
    if (!d) fail_msg("%s", err.text);
    for (uint32_t f = 0; f < RECORDS_FILES; f++) {
        uint32_t id;
        if (disk_add_file(d, r->path[f], &id, &err)) fail_msg("%s", err.text);
        assert_int_equal(id, f);
    }
    return d;
}

StoreConfig records_config(const Records *r, Disk *disk, uint32_t n_slots) {
    StoreConfig config = {.n_layers = RECORDS_LAYERS, .n_experts = RECORDS_EXPERTS, .parts = &r->parts[0][0], .disk = disk, .poison = true};
    config.slab_bytes = n_slots * store_slot_bytes(config.parts, RECORDS_N, disk);
    config.hint_slots = n_slots;
    return config;
}

Store *records_store(const Records *r, Disk *disk, uint32_t n_slots) {
    StoreConfig config = records_config(r, disk, n_slots);
    Err err = {0};
    Store *s = store_new(&config, &err);
    if (!s) fail_msg("%s", err.text);
    assert_int_equal(store_slots(s), n_slots);
    return s;
}

/* ---- the driver ---------------------------------------------------------------------------------------------------- */

enum { HELD_MAX = 64 };

typedef struct Held {
    StoreLease lease;
    int layer;
} Held;

typedef struct Driver {
    const Records *records;
    Store *store;
    Random random;
    Held held[HELD_MAX];
    int n_held;
    bool may_fail;
} Driver;

static void check_failure(const Records *r, int layer, const Err *err) {
    char prefix[32];
    snprintf(prefix, sizeof prefix, "layer %d expert ", layer);
    if (err->code != ERR_IO || strncmp(err->text, prefix, strlen(prefix)) != 0 ||
        (!strstr(err->text, r->path[0]) && !strstr(err->text, r->path[1])))
        fail_msg("not a good sentence: %s", err->text);
}

/* Puts one of the leases; most are made whole before. */
static void put_one(Driver *d) {
    int i = (int)random_below(&d->random, (uint32_t)d->n_held);
    Held *h = &d->held[i];
    Err err = {0};
    if (random_below(&d->random, 4) > 0 && store_finish(d->store, &h->lease, &err) != ERR_OK) {
        assert_true(d->may_fail);
        assert_false(h->lease.whole);
        check_failure(d->records, h->layer, &err);
    }
    records_check(d->records, h->layer, &h->lease); /* nobody has written there meanwhile */
    store_put(d->store, &h->lease);
    *h = d->held[--d->n_held];
}

/* Experts of another layer, or of this one, that will perhaps be wanted. */
static void hint_some(Driver *d) {
    int32_t experts[RECORDS_EXPERTS];
    int n = (int)random_below(&d->random, RECORDS_EXPERTS);
    random_experts(&d->random, experts, n, RECORDS_EXPERTS);
    int started = store_hint(d->store, (int)random_below(&d->random, RECORDS_LAYERS), experts, n);
    assert_in_range(started, 0, n);
}

/* One want, taken to its end; false when a read failed and the rest was dropped. */
static bool drive_want(Driver *d, const int32_t *experts, int n, int layer, StoreOrder order) {
    Err err = {0};
    if (store_want(d->store, layer, experts, NULL, n, order, &err)) fail_msg("%s", err.text);
    bool seen[RECORDS_EXPERTS] = {false};
    for (int taken = 0; taken < n;) {
        Held *h = &d->held[d->n_held];
        ErrCode code = store_next(d->store, &h->lease, &err);
        if (code == ERR_STATE && d->n_held > 0) { /* leases hold every slot */
            put_one(d);
            continue;
        }
        if (code) {
            check_failure(d->records, layer, &err);
            Err again = {0};
            assert_int_equal(store_next(d->store, &h->lease, &again), code);
            assert_string_equal(again.text, err.text);
            store_drop(d->store);
            return false;
        }
        if (order == STORE_ASCENDING) assert_int_equal(h->lease.expert, experts[taken]);
        assert_in_range(h->lease.expert, 0, RECORDS_EXPERTS - 1);
        assert_false(seen[h->lease.expert]);
        seen[h->lease.expert] = true;
        h->layer = layer;
        records_check(d->records, layer, &h->lease);
        d->n_held++;
        taken++;
        if (random_below(&d->random, 12) == 0) hint_some(d);
        while (d->n_held == HELD_MAX || (d->n_held > 0 && random_below(&d->random, 3) > 0)) put_one(d);
        if (random_below(&d->random, 200) == 0) { /* an interrupt: the rest is not wanted any more */
            store_drop(d->store);
            return true;
        }
    }
    for (int i = 0; i < n; i++) assert_true(seen[experts[i]]);
    return true;
}

void records_drive(const Records *r, Store *s, Drive *drive) {
    Driver d = {.records = r, .store = s, .random = {drive->seed}, .may_fail = drive->may_fail};
    uint64_t start = os_now_ns();
    StoreStats before, after;
    store_stats(s, &before);
    uint64_t wanted = 0;
    drive->wants = drive->failed = 0;
    while (drive->wants < drive->n_wants && (drive->ns_max == 0 || os_now_ns() - start < drive->ns_max)) {
        int32_t experts[RECORDS_EXPERTS];
        int n = 1 + (int)random_below(&d.random, (uint32_t)drive->experts_max);
        random_experts(&d.random, experts, n, RECORDS_EXPERTS);
        wanted += (uint64_t)n;
        int layer = drive->wants++ % RECORDS_LAYERS;
        if (random_below(&d.random, 20) == 0) store_step(s, 1 + random_below(&d.random, 9));
        if (!drive_want(&d, experts, n, layer, random_below(&d.random, 2) ? STORE_ANY : STORE_ASCENDING)) drive->failed++;
    }
    while (d.n_held > 0) put_one(&d);
    if (!drive->may_fail) assert_int_equal(drive->failed, 0);
    store_stats(s, &after);
    assert_int_equal(after.wanted - before.wanted, wanted);
    assert_int_equal(after.hits + after.misses, after.wanted);
    assert_true(after.hints_used <= after.hinted && after.hint_bytes <= after.bytes_read);
}
