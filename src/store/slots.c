#include "store/slots.h"

#include <assert.h>

ErrCode slots_init(Slots *s, const CacheConfig *config, Err *err) {
    s->n = config->n_slots;
    s->slots = MEM_NEW(Slot, s->n);
    if (!s->slots) return err_no_memory(err, s->n * sizeof(Slot), "the table of expert slots");
    s->cache = cache_new(config, err);
    return s->cache ? ERR_OK : err->code;
}

void slots_free(Slots *s) {
    mem_free(s->slots);
    cache_free(s->cache);
}

uint64_t slots_bytes(const CacheConfig *config) { return config->n_slots * sizeof(Slot) + cache_bytes(config); }

int32_t slots_take(Slots *s, int32_t record, uint32_t uses, int32_t *evicted) {
    int32_t i = cache_take(s->cache, record, uses, evicted);
    if (i == SLOT_NONE) return i;
    assert(s->slots[i].holds == 0 && s->slots[i].flying == 0);
    s->slots[i] = (Slot){.entry = SLOT_NONE, .holds = 1, .all = 1};
    return i;
}

void slots_hold(Slots *s, int32_t i) {
    if (s->slots[i].holds++ == 0) cache_pin(s->cache, i);
}

void slots_release(Slots *s, int32_t i) {
    Slot *slot = &s->slots[i];
    assert(slot->holds > 0);
    if (--slot->holds > 0) return;
    assert(slot->flying == 0);
    if (slot_whole(slot)) cache_unpin(s->cache, i);
    else cache_drop(s->cache, i);
}
