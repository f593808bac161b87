/* One feed for several conversations. */
#include "serve/inside.h"

void serve_step(ServeWorker *w, ServePart *parts, size_t n) {
    for (size_t i = 0; i < n; i++) {
        ServePart *p = &parts[i];
        ServeSlot *slot = p->sequence->slot;
        w->feeding = p->sequence;
        p->error = (sluice_error){0};
        size_t before = slot->n;
        if (sluice_feed(slot->session, p->ids, p->n, &p->error) == SLUICE_OK) {
            serve_slot_note(slot, p->ids, p->n);
        } else if (p->error.code == SLUICE_INTERRUPTED) {
            serve_slot_note(slot, p->ids, (size_t)sluice_position(slot->session) - before); /* those that were through */
        } else {
            serve_slot_clear(slot);
        }
    }
    w->feeding = NULL;
}
