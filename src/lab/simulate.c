/* Replaying a trace through the engine's own cache, want by want as the store does it: what is there is pinned first, then each
 * other record takes a slot. Where there are fewer slots than wanted records, those that were begun first are done first. */
#include "lab/lab.h"

typedef struct Pinned {
    int32_t *slots; /* [experts] in the order in which they are given back */
    uint8_t *hit;   /* [experts] of each wanted one: it was there */
    uint32_t n, back;
} Pinned;

static void replay_want(Cache *c, const LabTrace *t, const LabTraceWant *w, Pinned *pinned, uint32_t *hits) {
    int32_t first = (int32_t)(w->layer * t->facts.experts);
    const uint16_t *wanted = t->wanted + w->wanted, *uses = t->uses + w->wanted;
    uint64_t all = 0;
    for (uint32_t i = 0; i < w->n_wanted; i++) all += uses[i];
    cache_want(c, w->n_wanted, all);
    pinned->n = pinned->back = 0;
    for (uint32_t i = 0; i < w->n_wanted; i++) {
        int32_t slot = cache_find(c, first + wanted[i]);
        pinned->hit[i] = slot != CACHE_NONE;
        if (slot == CACHE_NONE) continue;
        cache_pin(c, slot);
        cache_use(c, slot, uses[i]);
        pinned->slots[pinned->n++] = slot;
    }
    *hits = pinned->n;
    for (uint32_t i = 0; i < w->n_wanted; i++) {
        int32_t record = first + wanted[i], evicted;
        if (pinned->hit[i]) continue;
        int32_t slot = cache_take(c, record, uses[i], &evicted);
        while (slot == CACHE_NONE && pinned->back < pinned->n) {
            cache_unpin(c, pinned->slots[pinned->back++]);
            slot = cache_take(c, record, uses[i], &evicted);
        }
        if (slot != CACHE_NONE) pinned->slots[pinned->n++] = slot;
    }
    while (pinned->back < pinned->n) cache_unpin(c, pinned->slots[pinned->back++]);
}

ErrCode lab_simulate(const LabTrace *t, CachePolicy policy, uint32_t n_slots, uint32_t floor, LabReplay *out, Err *err) {
    *out = (LabReplay){0};
    CacheConfig config = {.policy = policy, .n_slots = n_slots, .n_groups = t->facts.layers, .per_group = t->facts.experts,
                          .floor = floor, .common = 2 * floor}; /* as the store asks for */
    Cache *c = cache_new(&config, err);
    if (!c) return err ? err->code : ERR_MEMORY;
    Pinned pinned = {.slots = MEM_NEW(int32_t, t->facts.experts), .hit = MEM_NEW(uint8_t, t->facts.experts)};
    bool memory = pinned.slots && pinned.hit;
    uint64_t tokens = 0;
    for (size_t s = 0; s < t->n_steps && memory; s++) {
        const LabTraceStep *step = &t->steps[s];
        bool late = 2 * tokens >= t->n_tokens;
        for (uint32_t i = 0; i < step->n_wants; i++) {
            const LabTraceWant *w = &t->wants[step->first_want + i];
            uint32_t hits;
            replay_want(c, t, w, &pinned, &hits);
            out->wanted += w->n_wanted;
            out->hits += hits;
            if (!late) continue;
            out->late_wanted += w->n_wanted;
            out->late_hits += hits;
            if (step->n_tokens > 1) continue;
            out->decode_wanted += w->n_wanted;
            out->decode_hits += hits;
        }
        cache_step(c, step->n_tokens);
        tokens += step->n_tokens;
    }
    mem_free(pinned.slots);
    mem_free(pinned.hit);
    cache_free(c);
    return memory ? ERR_OK : err_no_memory(err, t->facts.experts * sizeof(int32_t), "a simulation");
}
