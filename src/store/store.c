/* The expert store: want, next, put.
 *
 * A want is a list of entries, one per expert. A hit is pinned at once; a miss waits until a slot is free, then its reads run,
 * then it is ready. store_next hands out ready entries in the order that was asked for; store_put frees slots, and whatever
 * still waits begins to be read. All memory is taken at the start.
 */
#include "store/store.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "store/layout.h"
#include "store/slots.h"

typedef enum EntryState {
    ENTRY_WAITING, /* a miss without a slot */
    ENTRY_READING,
    ENTRY_READY,   /* its slot is pinned for it */
    ENTRY_LEASED
} EntryState;

typedef struct Entry {
    int32_t expert, slot;
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
    uint8_t *hit;   /* [n_experts], n in use: 1 where the expert was there */
    ErrCode code;   /* of the first read that failed; then nothing more is started */
    Err err;
} Want;

enum { SUBMIT_RECORDS = 16, REAP = 16 };

struct Store {
    StoreConfig config;
    char *slab, *base; /* base: the first aligned byte of the slab */
    uint64_t slab_bytes, slot_bytes;
    Slots slots;
    Want want;
    uint32_t reads_in_flight;
    StoreStats stats;
    DiskRead reads[SUBMIT_RECORDS * STORE_PARTS];
    DiskDone done[REAP];
};

static char *slot_memory(const Store *s, int32_t slot) { return s->base + (uint64_t)slot * s->slot_bytes; }

/* parts of a record: [STORE_PARTS] */
static const StorePart *record_parts(const Store *s, int32_t record) { return s->config.parts + (size_t)record * STORE_PARTS; }

static int32_t record_of(const Store *s, int32_t expert) { return s->want.layer * s->config.n_experts + expert; }

/* ---- new and free -------------------------------------------------------------------------------------------------- */

/* A record outside its file should be known before the first token, not in the middle of an answer. */
static ErrCode check_record(const StoreConfig *c, size_t record, Err *err) {
    const StorePart *parts = c->parts + record * STORE_PARTS;
    int layer = (int)(record / (size_t)c->n_experts), expert = (int)(record % (size_t)c->n_experts);
    for (int i = 0; i < STORE_PARTS; i++) {
        const StorePart *p = &parts[i];
        if (p->file >= disk_files(c->disk))
            return err_set(err, ERR_RANGE, "layer %d expert %d: part %d is in file %u, which is not open", layer, expert, i, p->file);
        uint64_t size = disk_file_bytes(c->disk, p->file);
        if (p->bytes == 0 || p->offset > size || p->bytes > size - p->offset)
            return err_set(err, ERR_FORMAT, "layer %d expert %d: part %d should be %u bytes at offset %" PRIu64 " of %s, but the file has %"
                           PRIu64 " bytes; it may be cut off: fetch it again", layer, expert, i, p->bytes, p->offset,
                           disk_file_path(c->disk, p->file), size);
    }
    Layout l;
    layout_record(&l, parts, c->disk);
    for (int i = 0; i < l.n_reads; i++)
        if (l.reads[i].bytes > UINT32_MAX)
            return err_set(err, ERR_UNSUPPORTED, "layer %d expert %d: one part is %" PRIu64 " bytes; a read has less than 4 GiB", layer,
                           expert, l.reads[i].bytes);
    return ERR_OK;
}

static ErrCode make_slab(Store *s, size_t n_records, Err *err) {
    const StoreConfig *c = &s->config;
    s->slot_bytes = store_slot_bytes(c->parts, n_records, c->disk);
    uint64_t n = c->slab_bytes / s->slot_bytes;
    if (n == 0) {
        char one[32], all[32];
        return err_set(err, ERR_MEMORY, "one expert needs %s of memory, but only %s are left for experts; raise --ram",
                       format_size(s->slot_bytes, one), format_size(c->slab_bytes, all));
    }
    if (n > n_records) n = n_records;
    if (n > INT32_MAX) n = INT32_MAX;
    /* the kernel aligns to pages only; where more is needed, a little more address space is taken, of which nothing is touched */
    uint64_t alignment = layout_alignment(c->parts, n_records, c->disk);
    s->slab_bytes = n * s->slot_bytes + alignment;
    s->slab = os_pages_new(s->slab_bytes, err);
    if (!s->slab) return ERR_MEMORY;
    s->base = s->slab + (alignment - (uintptr_t)s->slab % alignment) % alignment;
    return slots_init(&s->slots, (uint32_t)n, n_records, err);
}

static ErrCode set_up(Store *s, const StoreConfig *config, Err *err) {
    s->config = *config;
    if (config->n_layers <= 0 || config->n_experts <= 0 || config->n_experts > INT32_MAX / config->n_layers)
        return err_set(err, ERR_RANGE, "%d layers of %d experts cannot be stored", config->n_layers, config->n_experts);
    size_t n_records = (size_t)config->n_layers * (size_t)config->n_experts;
    for (size_t i = 0; i < n_records; i++) {
        ErrCode code = check_record(config, i, err);
        if (code) return code;
    }
    s->want.entries = MEM_NEW(Entry, (size_t)config->n_experts);
    s->want.ready = MEM_NEW(int, (size_t)config->n_experts);
    s->want.hit = MEM_NEW(uint8_t, (size_t)config->n_experts);
    if (!s->want.entries || !s->want.ready || !s->want.hit)
        return err_no_memory(err, (uint64_t)config->n_experts * (sizeof(Entry) + sizeof(int) + 1), "the expert store");
    return make_slab(s, n_records, err);
}

Store *store_new(const StoreConfig *config, Err *err) {
    Store *s = MEM_NEW(Store, 1);
    if (!s) {
        err_no_memory(err, sizeof *s, "the expert store");
        return NULL;
    }
    if (set_up(s, config, err) == ERR_OK) return s;
    store_free(s);
    return NULL;
}

void store_free(Store *s) {
    if (!s) return;
    store_drop(s); /* reads in flight would write into memory that is gone */
    slots_free(&s->slots);
    os_pages_free(s->slab, s->slab_bytes);
    mem_free(s->want.entries);
    mem_free(s->want.ready);
    mem_free(s->want.hit);
    mem_free(s);
}

uint32_t store_slots(const Store *s) { return s->slots.n; }

/* ---- reading ------------------------------------------------------------------------------------------------------- */

static void poison(const Store *s, int32_t slot) {
    if (s->config.poison) memset(slot_memory(s, slot), STORE_POISON, s->slot_bytes);
}

static void want_failed(Store *s, int32_t expert, const Err *cause) {
    Want *w = &s->want;
    if (w->code) return; /* the first failure is the one to tell */
    w->err = *cause;
    w->code = cause->code;
    err_prefix(&w->err, "layer %d expert %d", w->layer, expert);
}

static void entry_ready(Want *w, int entry) {
    w->entries[entry].state = ENTRY_READY;
    if (w->order == STORE_ANY) w->ready[w->n_ready++] = entry;
}

/* All reads of a slot have come to an end. */
static void slot_landed(Store *s, int32_t i) {
    Slot *slot = &s->slots.slots[i];
    Entry *e = &s->want.entries[slot->entry];
    assert(e->state == ENTRY_READING && e->slot == i);
    if (slot->failed) {
        poison(s, i);
        slots_fail(&s->slots, i);
        e->state = ENTRY_WAITING;
        e->slot = SLOT_NONE;
        return;
    }
    slots_ready(&s->slots, i);
    entry_ready(&s->want, slot->entry);
    const StorePart *parts = record_parts(s, slot->record);
    for (int p = 0; p < STORE_PARTS; p++) s->stats.bytes_read += parts[p].bytes;
}

static void land(Store *s, bool wait) {
    if (s->reads_in_flight == 0) return;
    size_t n = disk_reap(s->config.disk, s->done, REAP, wait);
    for (size_t i = 0; i < n; i++) {
        int32_t at = (int32_t)s->done[i].tag;
        Slot *slot = &s->slots.slots[at];
        assert(s->reads_in_flight > 0 && slot->state == SLOT_READING && slot->reads > 0);
        s->reads_in_flight--;
        slot->reads--;
        if (s->done[i].code) {
            slot->failed = true;
            want_failed(s, s->want.entries[slot->entry].expert, &s->done[i].err);
        }
        if (slot->reads == 0) slot_landed(s, at);
    }
}

/* Hands the first n of s->reads to the disk. It can refuse only what check_record should have refused; still, that must end in
 * a sentence. */
static void submit(Store *s, size_t n) {
    Err err = {0};
    if (disk_submit(s->config.disk, s->reads, n, &err) == ERR_OK) {
        s->reads_in_flight += (uint32_t)n;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        int32_t at = (int32_t)s->reads[i].tag;
        Slot *slot = &s->slots.slots[at];
        if (slot->state != SLOT_READING) continue; /* an earlier read of the same record has seen to it */
        want_failed(s, s->want.entries[slot->entry].expert, &err);
        slot->reads = 0;
        slot->failed = true;
        slot_landed(s, at);
    }
}

/* Adds the reads of a record that goes into a slot; returns how many. */
static size_t plan_reads(Store *s, int32_t at, DiskRead *reads) {
    Slot *slot = &s->slots.slots[at];
    Layout l;
    layout_record(&l, record_parts(s, slot->record), s->config.disk);
    assert(l.bytes <= s->slot_bytes);
    memcpy(slot->part_at, l.part_at, sizeof slot->part_at);
    slot->reads = (uint32_t)l.n_reads;
    for (int i = 0; i < l.n_reads; i++)
        reads[i] = (DiskRead){.file = l.reads[i].file,
                              .offset = l.reads[i].offset,
                              .bytes = (uint32_t)l.reads[i].bytes,
                              .need = (uint32_t)l.reads[i].need,
                              .dst = slot_memory(s, at) + l.reads[i].at,
                              .tag = (uint64_t)at};
    return (size_t)l.n_reads;
}

/* Starts the reads of waiting experts, in ascending order, for as many as there are free slots and room in the disk's queue. */
static void start_reads(Store *s) {
    Want *w = &s->want;
    size_t n = 0;
    for (; w->next_start < w->n && !w->code; w->next_start++) {
        Entry *e = &w->entries[w->next_start];
        if (e->state != ENTRY_WAITING) continue;
        if (n + STORE_PARTS > COUNT_OF(s->reads)) {
            submit(s, n);
            n = 0;
        }
        if (disk_room(s->config.disk) < n + STORE_PARTS) break;
        bool evicted = false;
        e->slot = slots_take(&s->slots, record_of(s, e->expert), &evicted);
        if (e->slot == SLOT_NONE) break;
        s->stats.evictions += evicted;
        e->state = ENTRY_READING;
        s->slots.slots[e->slot].entry = w->next_start;
        poison(s, e->slot);
        n += plan_reads(s, e->slot, s->reads + n);
    }
    if (n > 0) submit(s, n);
}

/* ---- want, next, put ----------------------------------------------------------------------------------------------- */

static ErrCode check_want(const Store *s, int layer, const int32_t *experts, int n, Err *err) {
    const Want *w = &s->want;
    if (w->taken < w->n)
        return err_set(err, ERR_STATE, "experts of layer %d are wanted while %d of layer %d were not taken", layer,
                       w->n - w->taken, w->layer);
    if (layer < 0 || layer >= s->config.n_layers)
        return err_set(err, ERR_RANGE, "experts of layer %d are wanted, but there are %d layers", layer, s->config.n_layers);
    for (int i = 0; i < n; i++) {
        if (experts[i] < 0 || experts[i] >= s->config.n_experts)
            return err_set(err, ERR_RANGE, "expert %d of layer %d is wanted, but there are %d", (int)experts[i], layer,
                           s->config.n_experts);
        if (i > 0 && experts[i] <= experts[i - 1])
            return err_set(err, ERR_RANGE, "the wanted experts of layer %d are not in ascending order: %d after %d", layer, (int)experts[i],
                           (int)experts[i - 1]);
    }
    return ERR_OK;
}

ErrCode store_want(Store *s, int layer, const int32_t *experts, int n, StoreOrder order, Err *err) {
    ErrCode code = check_want(s, layer, experts, n, err);
    if (code) return code;
    Want *w = &s->want;
    w->layer = layer;
    w->order = order;
    w->n = n;
    w->taken = w->next_start = w->n_ready = 0;
    w->code = ERR_OK;
    int hits = 0;
    for (int i = 0; i < n; i++) {
        w->entries[i] = (Entry){experts[i], slots_pin(&s->slots, record_of(s, experts[i])), ENTRY_WAITING};
        w->hit[i] = w->entries[i].slot != SLOT_NONE;
        if (!w->hit[i]) continue;
        entry_ready(w, i);
        hits++;
    }
    s->stats.wanted += (uint64_t)n;
    s->stats.hits += (uint64_t)hits;
    s->stats.misses += (uint64_t)(n - hits);
    start_reads(s);
    return ERR_OK;
}

/* The entry to hand out now; NULL: none is ready. */
static Entry *pick(Want *w) {
    if (w->order == STORE_ASCENDING) {
        Entry *e = &w->entries[w->taken];
        return e->state == ENTRY_READY ? e : NULL;
    }
    return w->taken < w->n_ready ? &w->entries[w->ready[w->taken]] : NULL;
}

/* In ascending order the next expert may be a miss while hits further on hold every slot. Then the last of them gives way and
 * becomes a miss. False: leases hold every slot. */
static bool give_up_a_hit(Store *s) {
    Want *w = &s->want;
    if (w->order != STORE_ASCENDING) return false;
    for (int i = w->n - 1; i > w->taken; i--) {
        Entry *e = &w->entries[i];
        if (e->state != ENTRY_READY || s->slots.slots[e->slot].pins > 1) continue;
        slots_unpin(&s->slots, e->slot);
        e->state = ENTRY_WAITING;
        e->slot = SLOT_NONE;
        w->hit[i] = 0;
        s->stats.hits--;
        s->stats.misses++;
        return true;
    }
    return false;
}

static void wait_for_disk(Store *s) {
    uint64_t start = os_now_ns();
    land(s, true);
    s->stats.wait_ns += os_now_ns() - start;
}

ErrCode store_next(Store *s, StoreLease *lease, Err *err) {
    Want *w = &s->want;
    if (w->taken >= w->n) return err_set(err, ERR_STATE, "all wanted experts of layer %d were already taken", w->layer);
    Entry *e = NULL;
    land(s, false);
    for (;;) {
        start_reads(s);
        if (w->code) {
            if (err) *err = w->err;
            return w->code;
        }
        if ((e = pick(w)) != NULL) break;
        if (s->reads_in_flight > 0) wait_for_disk(s);
        else if (!give_up_a_hit(s))
            return err_set(err, ERR_STATE, "expert %d of layer %d has no slot: leases hold all %u; give some back first",
                           (int)w->entries[w->next_start].expert, w->layer, s->slots.n);
    }
    e->state = ENTRY_LEASED;
    w->taken++;
    const Slot *slot = &s->slots.slots[e->slot];
    assert(slot->state == SLOT_READY && slot->record == record_of(s, e->expert) && slot->pins > 0);
    lease->expert = e->expert;
    lease->slot = (uint32_t)e->slot;
    for (int p = 0; p < STORE_PARTS; p++) lease->part[p] = slot_memory(s, e->slot) + slot->part_at[p];
    return ERR_OK;
}

void store_put(Store *s, const StoreLease *lease) {
    assert(lease->slot < s->slots.n && s->slots.slots[lease->slot].record % s->config.n_experts == lease->expert);
    slots_unpin(&s->slots, (int32_t)lease->slot);
    start_reads(s);
}

void store_drop(Store *s) {
    Want *w = &s->want;
    while (s->reads_in_flight > 0) land(s, true);
    for (int i = 0; i < w->n; i++)
        if (w->entries[i].state == ENTRY_READY) slots_unpin(&s->slots, w->entries[i].slot);
    w->n = w->taken = w->next_start = w->n_ready = 0;
    w->code = ERR_OK;
}

const uint8_t *store_last_hits(const Store *s) { return s->want.hit; }

void store_stats(const Store *s, StoreStats *stats) { *stats = s->stats; }

void store_stats_reset(Store *s) { memset(&s->stats, 0, sizeof s->stats); }
