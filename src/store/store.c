/* The expert store: want, next, finish, put.
 *
 * A want is a list of entries, one per expert. A hit is held at once; a miss waits until a slot is free, then its reads run
 * (reads.c), and when gate and up have landed it is ready. store_next hands out ready entries in the order that was asked for;
 * store_put frees slots, and whatever still waits begins to be read. All memory is taken at the start.
 */
#include "store/store.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "store/inside.h"
#include "store/layout.h"

/* ---- new and free -------------------------------------------------------------------------------------------------- */

/* A record outside its file should be known before the first token, not in the middle of an answer. */
static ErrCode check_record(const StoreConfig *c, size_t record, Err *err) {
    const DiskRange *parts = c->parts + record * STORE_PARTS;
    int layer = (int)(record / (size_t)c->n_experts), expert = (int)(record % (size_t)c->n_experts);
    for (int i = 0; i < STORE_PARTS; i++) {
        const DiskRange *p = &parts[i];
        if (p->file >= disk_files(c->disk))
            return err_set(err, ERR_RANGE, "layer %d expert %d: part %d is in file %u, which is not open", layer, expert, i, p->file);
        uint64_t size = disk_file_bytes(c->disk, p->file);
        if (p->bytes == 0 || p->offset > size || p->bytes > size - p->offset)
            return err_set(err, ERR_FORMAT, "layer %d expert %d: part %d should be %u bytes at offset %" PRIu64 " of %s, but the file has %"
                           PRIu64 " bytes; it may be cut off: fetch it again", layer, expert, i, p->bytes, p->offset,
                           disk_file_path(c->disk, p->file), size);
    }
    Layout l;
    store_layout_record(&l, parts, c->disk);
    for (int i = 0; i < l.n_reads; i++)
        if (l.reads[i].bytes > UINT32_MAX)
            return err_set(err, ERR_UNSUPPORTED, "layer %d expert %d: one part is %" PRIu64 " bytes; a read has less than 4 GiB", layer,
                           expert, l.reads[i].bytes);
    return ERR_OK;
}

static CacheConfig cache_config(const StoreConfig *c, uint32_t n_slots) {
    return (CacheConfig){.policy = c->policy, .n_slots = n_slots, .n_groups = (uint32_t)c->n_layers, .per_group = (uint32_t)c->n_experts,
                         .floor = c->floor, .common = 2 * c->floor};
}

static size_t reads_together(const StoreConfig *c) {
    size_t all = (size_t)c->n_experts * STORE_PARTS;
    return all < READS_MAX ? all : READS_MAX;
}

uint64_t store_bytes(const StoreConfig *c, uint32_t n_slots) {
    CacheConfig cache = cache_config(c, n_slots);
    return sizeof(Store) + (uint64_t)c->n_experts * (sizeof(Entry) + sizeof(int) + 1) + reads_together(c) * sizeof(DiskRead) +
           store_slots_bytes(&cache, c->hint_slots);
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
    uint64_t alignment = store_layout_alignment(c->parts, n_records, c->disk);
    s->slab_bytes = n * s->slot_bytes + alignment;
    s->slab = os_pages_new(s->slab_bytes, err);
    if (!s->slab) return ERR_MEMORY;
    s->base = s->slab + (alignment - (uintptr_t)s->slab % alignment) % alignment;
    CacheConfig cache = cache_config(c, (uint32_t)n);
    ErrCode code = store_slots_init(&s->slots, &cache, c->hint_slots, err);
    if (!code) store_register(s);
    return code;
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
    s->hits = MEM_NEW(uint8_t, (size_t)config->n_experts);
    s->n_reads = reads_together(config);
    s->reads = MEM_NEW(DiskRead, s->n_reads);
    s->failed_record = SLOT_NONE;
    if (!s->want.entries || !s->want.ready || !s->hits || !s->reads)
        return err_no_memory(err, (uint64_t)config->n_experts * (sizeof(Entry) + sizeof(int) + 1) + s->n_reads * sizeof(DiskRead),
                             "the expert store");
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
    store_slots_free(&s->slots);
    if (s->slab) disk_register(s->config.disk, NULL, 0, 0);
    os_pages_free(s->slab, s->slab_bytes);
    mem_free(s->want.entries);
    mem_free(s->want.ready);
    mem_free(s->hits);
    mem_free(s->reads);
    mem_free(s);
}

uint32_t store_slots(const Store *s) { return s->slots.n; }

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

/* Slots whose reads outlive their want must not be taken for slots of the next one. */
static void end_want(Store *s) {
    Want *w = &s->want;
    for (int i = 0; i < w->n; i++) {
        Entry *e = &w->entries[i];
        if (e->slot == SLOT_NONE) continue;
        s->slots.slots[e->slot].entry = SLOT_NONE;
        if (e->state != ENTRY_LEASED) store_slots_release(&s->slots, e->slot);
    }
    w->n = w->taken = w->next_start = w->n_ready = 0;
    w->code = ERR_OK;
}

static void wait_for_disk(Store *s) {
    uint64_t start = os_now_ns();
    store_land(s, true);
    s->stats.wait_ns += os_now_ns() - start;
}

/* Finds an entry's slot and holds it, whatever is there of its record. */
static void find_entry(Store *s, int i) {
    Entry *e = &s->want.entries[i];
    int32_t record = record_of(s, e->expert);
    e->slot = cache_find(s->slots.cache, record);
    s->hits[i] = STORE_MISS;
    if (e->slot == SLOT_NONE) return;
    Slot *slot = &s->slots.slots[e->slot];
    store_slots_hold(&s->slots, e->slot);
    cache_use(s->slots.cache, e->slot, e->uses);
    bool hinted = slot->hint_at != SLOT_NONE;
    store_hint_used(s, e->slot);
    slot->entry = i;
    if (slot->failed) slot->quiet = true; /* what failed before it was wanted is read again */
    s->hits[i] = !slot_whole(slot) ? STORE_MISS : hinted ? STORE_AHEAD : STORE_HIT;
    if (slot_whole(slot) || (slot->flying && slot_has_first(slot))) store_entry_ready(&s->want, i);
    else if (slot->flying) e->state = ENTRY_READING;
}

ErrCode store_want(Store *s, int layer, const int32_t *experts, const uint32_t *uses, int n, StoreOrder order, Err *err) {
    ErrCode code = check_want(s, layer, experts, n, err);
    if (code) return code;
    Want *w = &s->want;
    end_want(s);
    store_land(s, false);
    w->layer = layer;
    w->order = order;
    w->n = n;
    int hits = 0;
    uint64_t all_uses = 0;
    for (int i = 0; i < n; i++) {
        w->entries[i] = (Entry){experts[i], SLOT_NONE, uses ? uses[i] : 1, ENTRY_WAITING};
        all_uses += w->entries[i].uses;
    }
    cache_want(s->slots.cache, (uint32_t)n, all_uses);
    for (int i = 0; i < n; i++) {
        find_entry(s, i);
        hits += s->hits[i] == STORE_HIT;
    }
    if (n > 0) store_hints_back(s, layer); /* those that are left were wrong */
    s->stats.wanted += (uint64_t)n;
    s->stats.hits += (uint64_t)hits;
    s->stats.misses += (uint64_t)(n - hits);
    store_start_reads(s);
    return ERR_OK;
}

const uint8_t *store_last_hits(const Store *s) { return s->hits; }

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
        if (e->state != ENTRY_READY || s->slots.slots[e->slot].holds > 1) continue;
        store_slots_release(&s->slots, e->slot);
        e->state = ENTRY_WAITING;
        e->slot = SLOT_NONE;
        if (s->hits[i] == STORE_HIT) s->stats.hits--, s->stats.misses++;
        s->hits[i] = STORE_MISS;
        return true;
    }
    return false;
}

ErrCode store_next(Store *s, StoreLease *lease, Err *err) {
    Want *w = &s->want;
    if (w->taken >= w->n) return err_set(err, ERR_STATE, "all wanted experts of layer %d were already taken", w->layer);
    Entry *e = NULL;
    store_land(s, false);
    for (;;) {
        store_start_reads(s);
        if (w->code) {
            if (err) *err = w->err;
            return w->code;
        }
        if ((e = pick(w)) != NULL) break;
        if (s->reads_in_flight > 0) wait_for_disk(s);
        else if (!give_up_a_hit(s))
            return err_set(err, ERR_STATE, "expert %d of layer %d has no slot: leases hold all %u, or all but those that other "
                           "layers keep; give some back first",
                           (int)w->entries[w->next_start].expert, w->layer, cache_slots_in_use(s->slots.cache));
    }
    e->state = ENTRY_LEASED;
    w->taken++;
    const Slot *slot = &s->slots.slots[e->slot];
    assert(slot_has_first(slot) && slot_record(s, e->slot) == record_of(s, e->expert) && slot->holds > 0);
    lease->expert = e->expert;
    lease->slot = (uint32_t)e->slot;
    lease->whole = slot_whole(slot);
    for (int p = 0; p < STORE_PARTS; p++) lease->part[p] = slot_memory(s, e->slot) + slot->part_at[p];
    return ERR_OK;
}

static Slot *leased_slot(Store *s, const StoreLease *lease) {
    Slot *slot = &s->slots.slots[lease->slot];
    assert(lease->slot < s->slots.n && slot_record(s, (int32_t)lease->slot) % s->config.n_experts == lease->expert && slot->holds > 0);
    return slot;
}

ErrCode store_finish(Store *s, StoreLease *lease, Err *err) {
    const Slot *slot = leased_slot(s, lease);
    for (;;) {
        while (!slot_whole(slot) && slot->flying) {
            wait_for_disk(s);
            store_start_reads(s); /* there may be room in the disk's queue again */
        }
        lease->whole = slot_whole(slot);
        if (lease->whole) return ERR_OK;
        if (!slot->quiet && s->failed_record == slot_record(s, (int32_t)lease->slot)) break;
        /* it failed before it was wanted, or another has failed since, and only one failure is remembered */
        store_read_again(s, (int32_t)lease->slot);
    }
    if (err) *err = s->failure;
    return s->failure.code;
}

bool store_next_ready(Store *s) {
    store_land(s, false);
    store_start_reads(s);
    return s->want.code || pick(&s->want);
}

bool store_finish_ready(Store *s, const StoreLease *lease) {
    const Slot *slot = leased_slot(s, lease);
    return slot_whole(slot) || !slot->flying;
}

void store_wait(Store *s) {
    if (s->reads_in_flight > 0) wait_for_disk(s);
}

void store_put(Store *s, const StoreLease *lease) {
    Slot *slot = leased_slot(s, lease);
    /* when only reads hold it, their failure is nobody's any more */
    if (slot->holds == 1u + (slot->flying != 0)) slot->entry = SLOT_NONE;
    store_slots_release(&s->slots, (int32_t)lease->slot);
    store_start_reads(s);
}

void store_drop(Store *s) {
    store_hints_back(s, STORE_ALL_LAYERS);
    while (s->reads_in_flight > 0) store_land(s, true);
    end_want(s);
}

void store_step(Store *s, uint32_t n_tokens) { cache_step(s->slots.cache, n_tokens); }

void store_stats(const Store *s, StoreStats *stats) { *stats = s->stats; }

void store_stats_reset(Store *s) { memset(&s->stats, 0, sizeof s->stats); }
