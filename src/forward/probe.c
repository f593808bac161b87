/* What a step shows of itself to a ForwardProbe. The time of whoever looks is not the step's. */
#include "forward/inside.h"

void forward_show_routing(Forward *f, const LayerAt *at, const ForwardProbe *probe) {
    if (!probe || !probe->routing) return;
    uint32_t k = f->c.top_k;
    Section section = forward_enter(f, SECTION_OUTSIDE);
    for (uint32_t t = 0; t < f->n; t++)
        probe->routing(probe->user, at->number, at->position + t, k, f->top_ids + (uint64_t)t * k, f->top_w + (uint64_t)t * k);
    forward_enter(f, section);
}

void forward_show_hidden(Forward *f, const LayerAt *at, const ForwardProbe *probe) {
    if (!probe || !probe->hidden) return;
    Section section = forward_enter(f, SECTION_OUTSIDE);
    probe->hidden(probe->user, at->number, at->position, f->n, f->x);
    forward_enter(f, section);
}

uint64_t forward_waited(const Forward *f, const ForwardProbe *probe) {
    StoreStats stats;
    if (!probe || !probe->fetch) return 0;
    store_stats(f->c.store, &stats);
    return stats.wait_ns;
}

void forward_show_fetch(Forward *f, const LayerAt *at, const ForwardProbe *probe, uint32_t n_wanted, uint64_t waited) {
    if (!probe || !probe->fetch) return;
    Section section = forward_enter(f, SECTION_OUTSIDE);
    probe->fetch(probe->user, at->number, at->position, f->n, n_wanted, f->wanted, store_last_hits(f->c.store),
                 forward_waited(f, probe) - waited);
    forward_enter(f, section);
}
