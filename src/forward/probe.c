/* What a step shows of itself to a ForwardProbe. The time of whoever looks is not the step's. */
#include "forward/inside.h"

void forward_show_routing(Forward *f, const LayerAt *at, const ForwardProbe *probe) {
    if (!probe || !probe->routing) return;
    uint32_t k = f->c.top_k;
    Section section = forward_enter(f, SECTION_OUTSIDE);
    for (uint32_t i = 0; i < f->n_segments; i++) {
        const Segment *g = &f->segments[i];
        for (uint32_t t = 0; t < g->n; t++) {
            uint64_t first = (uint64_t)(g->first + t) * k;
            probe->routing(probe->user, i, at->number, g->position + t, k, f->route.top_ids + first, f->route.top_w + first);
        }
    }
    forward_enter(f, section);
}

void forward_show_hidden(Forward *f, const LayerAt *at, const ForwardProbe *probe) {
    if (!probe || !probe->hidden) return;
    Section section = forward_enter(f, SECTION_OUTSIDE);
    for (uint32_t i = 0; i < f->n_segments; i++) {
        const Segment *g = &f->segments[i];
        probe->hidden(probe->user, i, at->number, g->position, g->n, f->x + (uint64_t)g->first * f->s->hidden);
    }
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
    probe->fetch(probe->user, at->number, f->n, n_wanted, f->route.wanted, store_last_hits(f->c.store), forward_waited(f, probe) - waited);
    forward_enter(f, section);
}
