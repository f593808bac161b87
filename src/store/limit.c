/* Using fewer slots than there are, and giving their memory back. */
#include "store/inside.h"

#include "os/os.h"

/* Its record is forgotten and nothing reads into it; the next one to be read into it gets new pages. */
static void given_up(void *user, int32_t slot) {
    Store *s = user;
    store_slots_given_back(&s->slots, slot);
    disk_unregister(s->config.disk, slot_memory(s, slot)); /* or the kernel would go on reading into the pages that it kept */
    os_pages_drop(slot_memory(s, slot), s->slot_bytes);
}

void store_limit(Store *s, uint32_t n) {
    if (n > s->slots.n) n = s->slots.n;
    if (n < 1) n = 1;
    /* What is registered keeps a huge page whole of which a neighbour's part is given back: all registrations end, and what stays is
     * registered again when it is read into. */
    if (n < cache_slots_in_use(s->slots.cache)) store_register(s);
    os_pages_may_grow(s->slab, s->slab_bytes, n == s->slots.n);
    CacheLimit told = {.user = s, .given_up = given_up};
    cache_limit(s->slots.cache, n, &told);
}

uint32_t store_slots_in_use(const Store *s) { return cache_slots_in_use(s->slots.cache); }

uint32_t store_slots_filled(const Store *s) { return s->slots.n_resident; }
