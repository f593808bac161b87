/* The table of slots: who holds each, and what of its record has landed. A slot that nobody holds belongs to the cache again. */
#include "store/slots.h"

#include <assert.h>

ErrCode store_slots_init(Slots *s, const CacheConfig *config, uint32_t hints_max, Err *err) {
    s->n = config->n_slots;
    s->hints_max = hints_max;
    s->slots = MEM_NEW(Slot, s->n);
    s->hints = MEM_NEW(int32_t, hints_max ? hints_max : 1);
    if (!s->slots || !s->hints) return err_no_memory(err, store_slots_bytes(config, hints_max), "the table of expert slots");
    for (uint32_t i = 0; i < s->n; i++) s->slots[i].hint_at = SLOT_NONE;
    s->cache = cache_new(config, err);
    return s->cache ? ERR_OK : err->code;
}

void store_slots_free(Slots *s) {
    mem_free(s->slots);
    mem_free(s->hints);
    cache_free(s->cache);
}

uint64_t store_slots_bytes(const CacheConfig *config, uint32_t hints_max) {
    return config->n_slots * sizeof(Slot) + hints_max * sizeof(int32_t) + cache_bytes(config);
}

int32_t store_slots_take(Slots *s, int32_t record, uint32_t uses, int32_t *evicted) {
    int32_t i = cache_take(s->cache, record, uses, evicted);
    if (i == SLOT_NONE) return i;
    assert(s->slots[i].holds == 0 && s->slots[i].flying == 0);
    store_slots_unhint(s, i); /* what was in it */
    if (!s->slots[i].resident) s->n_resident++, s->n_fresh++;
    s->slots[i] = (Slot){.entry = SLOT_NONE, .holds = 1, .all = 1, .resident = true, .hint_at = SLOT_NONE};
    return i;
}

void store_slots_given_back(Slots *s, int32_t i) {
    store_slots_unhint(s, i);
    s->n_resident -= s->slots[i].resident;
    s->slots[i].resident = false;
}

void store_slots_hold(Slots *s, int32_t i) {
    if (s->slots[i].holds++ == 0) cache_pin(s->cache, i);
}

void store_slots_release(Slots *s, int32_t i) {
    Slot *slot = &s->slots[i];
    assert(slot->holds > 0);
    if (--slot->holds > 0) return;
    assert(slot->flying == 0);
    if (slot_whole(slot)) {
        cache_unpin(s->cache, i);
        return;
    }
    store_slots_unhint(s, i);
    cache_drop(s->cache, i);
}

void store_slots_hint(Slots *s, int32_t i) {
    assert(s->n_hints < s->hints_max && s->slots[i].hint_at == SLOT_NONE);
    s->slots[i].hint_at = (int32_t)s->n_hints;
    s->hints[s->n_hints++] = i;
}

void store_slots_unhint(Slots *s, int32_t i) {
    int32_t at = s->slots[i].hint_at;
    if (at == SLOT_NONE) return;
    int32_t last = s->hints[--s->n_hints];
    s->hints[at] = last;
    s->slots[last].hint_at = at;
    s->slots[i].hint_at = SLOT_NONE;
}
