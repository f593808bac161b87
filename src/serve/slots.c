/* Sessions that are kept between requests, and which of them a prompt continues. A recurrent state cannot be cut back, so only a
 * session all of whose tokens begin the prompt is of use. */
#include "serve/inside.h"
#include "os/os.h"

#include <string.h>

ErrCode serve_slots_open(ServeWorker *w, int n, int ctx, Err *err) {
    w->slots = MEM_NEW(ServeSlot, (size_t)n);
    if (!w->slots) return err_no_memory(err, (uint64_t)n * sizeof *w->slots, "the conversations");
    w->n_slots = n;
    for (int i = 0; i < n; i++) {
        sluice_error failure = {0};
        w->slots[i].ids = MEM_NEW(int32_t, (size_t)ctx);
        if (!w->slots[i].ids) return err_no_memory(err, (uint64_t)ctx * 4, "the conversations");
        w->slots[i].session = sluice_session_new(w->model, &failure);
        if (!w->slots[i].session) return err_set(err, (ErrCode)failure.code, "%s", failure.message);
    }
    return ERR_OK;
}

void serve_slots_close(ServeWorker *w) {
    for (int i = 0; i < w->n_slots; i++) {
        sluice_session_free(w->slots[i].session);
        mem_free(w->slots[i].ids);
    }
    mem_free(w->slots);
    w->slots = NULL;
    w->n_slots = 0;
}

void serve_slot_clear(ServeSlot *slot) {
    sluice_session_reset(slot->session);
    slot->n = 0;
}

void serve_slot_note(ServeSlot *slot, const int32_t *ids, size_t n) {
    memcpy(slot->ids + slot->n, ids, n * sizeof *ids);
    slot->n += n;
    slot->used_ns = os_now_ns();
}

/* All that was fed begins the prompt, and something is left to feed. */
static bool continues(const ServeSlot *slot, const ServePrompt *p) {
    return slot->n < p->n && memcmp(slot->ids, p->ids, slot->n * sizeof *p->ids) == 0;
}

ServeSlot *serve_slot_for(ServeWorker *w, const ServePrompt *prompt, bool from_start, size_t *common) {
    ServeSlot *best = NULL, *oldest = NULL;
    for (int i = 0; i < w->n_slots; i++) {
        ServeSlot *slot = &w->slots[i];
        if (slot->sequence) continue;
        if (!oldest || slot->used_ns < oldest->used_ns) oldest = slot;
        if (!from_start && slot->n > 0 && continues(slot, prompt) && (!best || slot->n > best->n)) best = slot;
    }
    *common = best ? best->n : 0;
    if (!best && oldest) serve_slot_clear(oldest);
    return best ? best : oldest;
}
