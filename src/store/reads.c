/* The half of the store that reads: waiting entries get slots and their reads go to the disk; what has landed makes entries ready.
 *
 * Records are read one after the other, of each gate and up before down: multiplication begins when the first two are there, and at the
 * end of a layer only one expert's last product is left to do. (All gates and ups of a layer before all downs leaves the last products of
 * every expert: slower, docs/experiments.md.) */
#include <assert.h>
#include <string.h>

#include "store/inside.h"
#include "store/layout.h"

static void note_failure(Store *s, int32_t at, const Err *cause) {
    Slot *slot = &s->slots.slots[at];
    slot->failed = true;
    if (slot->quiet) {
        s->stats.hints_failed++;
        return;
    }
    s->failed_record = slot_record(s, at);
    s->failure = *cause;
    err_prefix(&s->failure, "layer %d expert %d", s->failed_record / s->config.n_experts, s->failed_record % s->config.n_experts);
    Want *w = &s->want;
    if (slot->entry == SLOT_NONE || w->code) return; /* the first failure is the one to tell */
    w->err = s->failure;
    w->code = w->err.code;
}

void store_entry_ready(Want *w, int entry) {
    w->entries[entry].state = ENTRY_READY;
    if (w->order == STORE_ANY) w->ready[w->n_ready++] = entry;
}

void store_slot_advanced(Store *s, int32_t i) {
    Slot *slot = &s->slots.slots[i];
    bool last = slot->flying == 0;
    if (slot->entry != SLOT_NONE && s->want.entries[slot->entry].state == ENTRY_READING) {
        Entry *e = &s->want.entries[slot->entry];
        assert(e->slot == i);
        if (slot_has_first(slot)) {
            store_entry_ready(&s->want, slot->entry);
        } else if (last) {
            e->state = ENTRY_WAITING;
            if (slot->entry < s->want.next_start) s->want.next_start = slot->entry;
            if (!slot->quiet) {
                e->slot = slot->entry = SLOT_NONE;
                store_slots_release(&s->slots, i);
            }
        }
    }
    if (last) store_slots_release(&s->slots, i);
}

static void count_bytes(Store *s, int32_t at, int read) {
    const Slot *slot = &s->slots.slots[at];
    const DiskRange *parts = record_parts(s, slot_record(s, at));
    uint64_t bytes = 0;
    for (int p = 0; p < STORE_PARTS; p++)
        if (slot->brings[read] & 1u << p) bytes += parts[p].bytes;
    s->stats.bytes_read += bytes;
    if (slot->quiet) s->stats.hint_bytes += bytes;
}

static void read_landed(Store *s, const DiskDone *done) {
    int32_t at = (int32_t)(done->tag / STORE_PARTS);
    int read = (int)(done->tag % STORE_PARTS);
    Slot *slot = &s->slots.slots[at];
    assert(s->reads_in_flight > 0 && (slot->flying & 1u << read) && slot->holds > 0);
    s->reads_in_flight--;
    slot->flying &= (uint8_t) ~(1u << read);
    if (done->code) {
        note_failure(s, at, &done->err);
    } else {
        slot->landed |= (uint8_t)(1u << read);
        count_bytes(s, at, read);
    }
    store_slot_advanced(s, at);
}

void store_advance(Store *s) {
    if (s->reads_in_flight > 0) store_land(s, false);
}

void store_land(Store *s, bool wait) {
    size_t n = REAP;
    for (; n == REAP && s->reads_in_flight > 0; wait = false) {
        n = disk_reap(s->config.disk, s->done, REAP, wait);
        for (size_t i = 0; i < n; i++) read_landed(s, &s->done[i]);
    }
}

/* The disk can refuse only what the checks of store_new should have refused; still, that must end in a sentence. */
void store_submit(Store *s, const DiskRead *reads, size_t n) {
    Err err = {0};
    if (n == 0) return;
    s->reads_in_flight += (uint32_t)n;
    if (disk_submit(s->config.disk, reads, n, &err) == ERR_OK) return;
    s->reads_in_flight -= (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        int32_t at = (int32_t)(reads[i].tag / STORE_PARTS);
        Slot *slot = &s->slots.slots[at];
        slot->flying &= (uint8_t) ~(1u << reads[i].tag % STORE_PARTS);
        note_failure(s, at, &err);
        store_slot_advanced(s, at);
    }
}

void store_plan_reads(Store *s, int32_t at, DiskUrgency urgency, DiskRead *first, size_t *n_first, DiskRead *rest, size_t *n_rest) {
    Slot *slot = &s->slots.slots[at];
    Layout l;
    store_layout_record(&l, record_parts(s, slot_record(s, at)), s->config.disk);
    assert(l.bytes <= s->slot_bytes);
    memcpy(slot->part_at, l.part_at, sizeof slot->part_at);
    slot->all = (uint8_t)((1u << l.n_reads) - 1);
    slot->first = 0;
    slot->failed = false;
    slot->quiet = urgency == DISK_HINT;
    uint8_t lacking = slot->all & (uint8_t)~slot->landed;
    for (int i = 0; i < l.n_reads; i++) {
        slot->brings[i] = (uint8_t)l.reads[i].parts;
        bool early = (l.reads[i].parts & (1u << STORE_GATE | 1u << STORE_UP)) != 0;
        if (early) slot->first |= (uint8_t)(1u << i);
        if (!(lacking & 1u << i)) continue;
        *(early ? &first[(*n_first)++] : &rest[(*n_rest)++]) = (DiskRead){.file = l.reads[i].file,
                                                                          .offset = l.reads[i].offset,
                                                                          .bytes = (uint32_t)l.reads[i].bytes,
                                                                          .need = (uint32_t)l.reads[i].need,
                                                                          .dst = slot_memory(s, at) + l.reads[i].at,
                                                                          .tag = read_tag(at, i),
                                                                          .urgency = urgency};
    }
    slot->flying = lacking;
    store_slots_hold(&s->slots, at); /* while reads run */
}

/* A slot for a waiting entry; false: none is free. */
static bool give_slot(Store *s, int entry) {
    Entry *e = &s->want.entries[entry];
    if (e->slot == SLOT_NONE) {
        int32_t evicted;
        e->slot = store_slots_take(&s->slots, record_of(s, e->expert), e->uses, &evicted);
        if (e->slot == SLOT_NONE && store_hints_back(s, STORE_ALL_LAYERS))
            e->slot = store_slots_take(&s->slots, record_of(s, e->expert), e->uses, &evicted);
        if (e->slot == SLOT_NONE) return false;
        s->stats.evictions += evicted != CACHE_NONE;
        if (s->config.poison) memset(slot_memory(s, e->slot), STORE_POISON, s->slot_bytes);
    }
    s->slots.slots[e->slot].entry = entry;
    e->state = ENTRY_READING;
    return true;
}

/* Tells whoever wants to know that slots have taken memory, before more of them do. */
static void tell_filling(Store *s) {
    uint64_t some = s->slab_bytes / 256 < FILLING_BYTES ? s->slab_bytes / 256 : FILLING_BYTES;
    if (s->slots.n_fresh == 0 || s->slots.n_fresh * s->slot_bytes < some) return;
    s->slots.n_fresh = 0;
    if (s->config.filling) s->config.filling(s->config.user);
}

void store_start_reads(Store *s) {
    Want *w = &s->want;
    if (w->next_start >= w->n) return;
    size_t n = 0, n_down, records = 0, records_max = s->n_reads / STORE_PARTS;
    DiskRead down[STORE_PARTS];
    for (; w->next_start < w->n && !w->code; w->next_start++) {
        if (w->entries[w->next_start].state != ENTRY_WAITING) continue;
        tell_filling(s); /* may give slots up, but none that is held */
        if (records == records_max || disk_room(s->config.disk) < (records + 1) * STORE_PARTS || !give_slot(s, w->next_start)) break;
        records++;
        n_down = 0;
        store_plan_reads(s, w->entries[w->next_start].slot, DISK_DEMAND, s->reads, &n, down, &n_down);
        memcpy(s->reads + n, down, n_down * sizeof *down);
        n += n_down;
    }
    store_submit(s, s->reads, n);
}

void store_read_again(Store *s, int32_t slot) {
    while (disk_room(s->config.disk) < STORE_PARTS) store_land(s, true);
    DiskRead reads[STORE_PARTS], rest[STORE_PARTS];
    size_t n = 0, n_rest = 0;
    store_plan_reads(s, slot, DISK_DEMAND, reads, &n, rest, &n_rest);
    memcpy(reads + n, rest, n_rest * sizeof *rest);
    store_submit(s, reads, n + n_rest);
}
