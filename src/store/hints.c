/* Reading ahead: experts that a layer will probably want are read while the disk has nothing better to do.
 *
 * A hint takes its slot from the cache as a guess, so that it costs what is least likely to be missed, and only when every expert of the
 * current want has its slot already. It is a hint until its layer is wanted. Then it was right, and is there or at least under way;
 * or it was wrong, and what has not begun to be read is taken back. A hint that fails says nothing: nobody has asked yet.
 */
#include <assert.h>
#include <string.h>

#include "store/inside.h"

/* Half of the slots at the most: the next want needs some too. */
static bool room_for_a_hint(const Store *s) {
    const Want *w = &s->want;
    return s->slots.n_hints < s->slots.hints_max && s->slots.n_hints < cache_slots_in_use(s->slots.cache) / 2 && w->next_start >= w->n &&
           !w->code;
}

int store_hint(Store *s, int layer, const int32_t *experts, int n) {
    if (layer < 0 || layer >= s->config.n_layers) return 0;
    DiskRead down[STORE_PARTS];
    size_t n_reads = 0, n_down, room = disk_hint_room(s->config.disk);
    int started = 0;
    store_start_reads(s); /* demands come first */
    for (int i = 0; i < n && started < HINT_RECORDS && room_for_a_hint(s); i++) {
        size_t reads = (size_t)(started + 1) * STORE_PARTS;
        if (reads > room || reads > s->n_reads) break;
        int32_t record = layer * s->config.n_experts + experts[i], evicted;
        if (experts[i] < 0 || experts[i] >= s->config.n_experts || cache_find(s->slots.cache, record) != CACHE_NONE) continue;
        int32_t slot = store_slots_take(&s->slots, record, 0, &evicted);
        if (slot == SLOT_NONE) break;
        s->stats.evictions += evicted != CACHE_NONE;
        if (s->config.poison) memset(slot_memory(s, slot), STORE_POISON, s->slot_bytes);
        n_down = 0;
        store_plan_reads(s, slot, DISK_HINT, s->reads, &n_reads, down, &n_down);
        memcpy(s->reads + n_reads, down, n_down * sizeof *down);
        n_reads += n_down;
        store_slots_release(&s->slots, slot); /* its reads hold it */
        store_slots_hint(&s->slots, slot);
        started++;
    }
    store_submit(s, s->reads, n_reads);
    s->stats.hinted += (uint64_t)started;
    return started;
}

void store_hint_used(Store *s, int32_t at) {
    Slot *slot = &s->slots.slots[at];
    if (slot->hint_at == SLOT_NONE) return;
    store_slots_unhint(&s->slots, at);
    const DiskRange *parts = record_parts(s, slot_record(s, at));
    s->stats.hints_used++;
    for (int p = 0; p < STORE_PARTS; p++) s->stats.hint_bytes_used += parts[p].bytes;
    for (int i = 0; i < STORE_PARTS; i++)
        if (slot->flying & 1u << i) disk_promote(s->config.disk, read_tag(at, i));
}

/* True: the slot is free. */
static bool take_back(Store *s, int32_t at) {
    Slot *slot = &s->slots.slots[at];
    uint8_t before = slot->flying;
    for (int i = 0; i < STORE_PARTS; i++)
        if (slot->flying & 1u << i && disk_cancel(s->config.disk, read_tag(at, i)) > 0) {
            slot->flying &= (uint8_t) ~(1u << i);
            s->reads_in_flight--;
        }
    if (slot->flying == before) return false;
    store_slots_unhint(&s->slots, at);
    if (slot->flying) return false; /* the rest lands first; then it is not whole, and free */
    store_slot_advanced(s, at);
    return true;
}

bool store_hints_back(Store *s, int layer) {
    bool freed = false;
    for (uint32_t i = s->slots.n_hints; i-- > 0;) {
        if (i >= s->slots.n_hints) continue; /* a slot that came free may have been given up, with others */
        int32_t at = s->slots.hints[i];
        assert(s->slots.slots[at].entry == SLOT_NONE);
        if (layer != STORE_ALL_LAYERS && slot_record(s, at) / s->config.n_experts != layer) continue;
        freed = take_back(s, at) || freed;
        if (layer != STORE_ALL_LAYERS) store_slots_unhint(&s->slots, at);
    }
    return freed;
}
