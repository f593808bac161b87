/* Least recently used, as an intrusive list of the slots that are not in use. Everything is O(1). */
#include "store/slots.h"

#include <assert.h>

static void unlink_slot(Slots *s, int32_t i) {
    Slot *slot = &s->slots[i];
    if (slot->colder != SLOT_NONE) s->slots[slot->colder].hotter = slot->hotter;
    else s->coldest = slot->hotter;
    if (slot->hotter != SLOT_NONE) s->slots[slot->hotter].colder = slot->colder;
    else s->hottest = slot->colder;
    slot->colder = slot->hotter = SLOT_NONE;
}

static void link_hottest(Slots *s, int32_t i) {
    s->slots[i].colder = s->hottest;
    s->slots[i].hotter = SLOT_NONE;
    if (s->hottest != SLOT_NONE) s->slots[s->hottest].hotter = i;
    else s->coldest = i;
    s->hottest = i;
}

static void link_coldest(Slots *s, int32_t i) {
    s->slots[i].hotter = s->coldest;
    s->slots[i].colder = SLOT_NONE;
    if (s->coldest != SLOT_NONE) s->slots[s->coldest].colder = i;
    else s->hottest = i;
    s->coldest = i;
}

ErrCode slots_init(Slots *s, uint32_t n, size_t n_records, Err *err) {
    s->slots = MEM_NEW(Slot, n);
    s->where = MEM_NEW(int32_t, n_records);
    s->n = n;
    s->coldest = s->hottest = SLOT_NONE;
    if (!s->slots || !s->where) return err_no_memory(err, n * sizeof(Slot) + n_records * sizeof(int32_t), "the table of expert slots");
    for (size_t i = 0; i < n_records; i++) s->where[i] = SLOT_NONE;
    for (uint32_t i = 0; i < n; i++) {
        s->slots[i].record = SLOT_NONE;
        link_hottest(s, (int32_t)i); /* so slots are first used in order, and memory is touched from the start of the slab */
    }
    return ERR_OK;
}

void slots_free(Slots *s) {
    mem_free(s->slots);
    mem_free(s->where);
}

int32_t slots_take(Slots *s, int32_t record, bool *evicted) {
    int32_t i = s->coldest;
    if (i == SLOT_NONE) return i;
    Slot *slot = &s->slots[i];
    assert(slot->holds == 0 && slot->flying == 0 && s->where[record] == SLOT_NONE);
    *evicted = slot->record != SLOT_NONE;
    if (*evicted) s->where[slot->record] = SLOT_NONE;
    unlink_slot(s, i);
    *slot = (Slot){.record = record, .entry = SLOT_NONE, .holds = 1, .all = 1, .colder = SLOT_NONE, .hotter = SLOT_NONE};
    s->where[record] = i;
    return i;
}

void slots_hold(Slots *s, int32_t i) {
    Slot *slot = &s->slots[i];
    assert(slot->record != SLOT_NONE);
    if (slot->holds++ == 0) unlink_slot(s, i);
}

void slots_release(Slots *s, int32_t i) {
    Slot *slot = &s->slots[i];
    assert(slot->holds > 0);
    if (--slot->holds > 0) return;
    assert(slot->flying == 0);
    if (slot_whole(slot)) {
        link_hottest(s, i);
        return;
    }
    s->where[slot->record] = SLOT_NONE;
    slot->record = SLOT_NONE;
    link_coldest(s, i);
}
