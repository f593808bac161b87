/* Using fewer slots than there are, and giving their memory back. */
#include "store/inside.h"

#include "os/os.h"

/* Its record is forgotten and nothing reads into it; the next one to be read into it gets new pages. */
static void given_up(void *user, int32_t slot) {
    Store *s = user;
    slots_unhint(&s->slots, slot);
    os_pages_drop(slot_memory(s, slot), s->slot_bytes);
}

void store_limit(Store *s, uint32_t n) {
    if (n > s->slots.n) n = s->slots.n;
    if (n < 1) n = 1;
    DiskInfo info;
    disk_info(s->config.disk, &info);
    if (info.registered) disk_register(s->config.disk, NULL, 0); /* or the kernel would keep the pages, and read into those it kept */
    os_pages_may_grow(s->slab, s->slab_bytes, n == s->slots.n);
    CacheLimit told = {.user = s, .given_up = given_up};
    cache_limit(s->slots.cache, n, &told);
}

uint32_t store_slots_filled(const Store *s) {
    DiskInfo info;
    disk_info(s->config.disk, &info);
    if (info.registered) return s->slots.n; /* registering has made all of them resident */
    uint32_t filled = 0;
    for (uint32_t i = 0; i < s->slots.n; i++) filled += cache_record(s->slots.cache, (int32_t)i) != SLOT_NONE;
    return filled;
}
