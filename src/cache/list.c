/* Lists of slots, linked through the slots themselves. */
#include "cache/policy.h"

void cache_link_hot(Cache *c, CacheList *l, int32_t slot) {
    CacheSlot *s = &c->slots[slot];
    s->colder = l->hot;
    s->hotter = CACHE_NONE;
    if (l->hot != CACHE_NONE) c->slots[l->hot].hotter = slot;
    else l->cold = slot;
    l->hot = slot;
}

void cache_link_cold(Cache *c, CacheList *l, int32_t slot) {
    CacheSlot *s = &c->slots[slot];
    s->hotter = l->cold;
    s->colder = CACHE_NONE;
    if (l->cold != CACHE_NONE) c->slots[l->cold].colder = slot;
    else l->hot = slot;
    l->cold = slot;
}

void cache_unlink(Cache *c, CacheList *l, int32_t slot) {
    CacheSlot *s = &c->slots[slot];
    if (s->colder != CACHE_NONE) c->slots[s->colder].hotter = s->hotter;
    else l->cold = s->hotter;
    if (s->hotter != CACHE_NONE) c->slots[s->hotter].colder = s->colder;
    else l->hot = s->colder;
    s->colder = s->hotter = CACHE_NONE;
}

void cache_put_hot(Cache *c, int32_t list, int32_t slot) {
    cache_link_hot(c, cache_list(c, cache_group(c, slot), list), slot);
    c->slots[slot].list = list;
}

void cache_put_cold(Cache *c, int32_t list, int32_t slot) {
    cache_link_cold(c, cache_list(c, cache_group(c, slot), list), slot);
    c->slots[slot].list = list;
}

void cache_enter_cold(Cache *c, int32_t list, int32_t slot) {
    int32_t cold = cache_list(c, cache_group(c, slot), list)->cold;
    c->slots[slot].key = cold == CACHE_NONE ? c->step << 32 : c->slots[cold].key;
    cache_put_cold(c, list, slot);
}

void cache_put_by_key(Cache *c, int32_t list, int32_t slot) {
    CacheList *l = cache_list(c, cache_group(c, slot), list);
    int32_t next = l->cold;
    while (next != CACHE_NONE && c->slots[next].key < c->slots[slot].key) next = c->slots[next].hotter;
    if (next == CACHE_NONE) {
        cache_put_hot(c, list, slot);
    } else if (c->slots[next].colder == CACHE_NONE) {
        cache_put_cold(c, list, slot);
    } else {
        CacheSlot *s = &c->slots[slot];
        s->colder = c->slots[next].colder;
        s->hotter = next;
        s->list = list;
        c->slots[s->colder].hotter = slot;
        c->slots[next].colder = slot;
    }
}

void cache_remove(Cache *c, int32_t slot) {
    CacheSlot *s = &c->slots[slot];
    if (s->list == LIST_NONE) return;
    cache_unlink(c, cache_list(c, cache_group(c, slot), s->list), slot);
    s->list = LIST_NONE;
}
