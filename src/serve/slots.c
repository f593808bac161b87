/* Sessions that are kept between requests, and which of them a prompt continues. A recurrent state cannot be cut back, so only a
 * session all of whose tokens begin the prompt is of use; what others hold is found again among the states that were kept. */
#include "serve/inside.h"
#include "os/os.h"

#include <string.h>

ErrCode serve_slots_open(Serve *s, int n, Err *err) {
    ServeWorker *w = &s->worker;
    w->slots = MEM_NEW(ServeSlot, (size_t)n);
    if (!w->slots) return err_no_memory(err, (uint64_t)n * sizeof *w->slots, "the conversations");
    w->n_slots = n;
    for (int i = 0; i < n; i++) {
        sluice_error failure = {0};
        w->slots[i].serve = s;
        w->slots[i].session = sluice_session_new(w->model, &failure);
        if (!w->slots[i].session) return err_set(err, (ErrCode)failure.code, "%s", failure.message);
    }
    return ERR_OK;
}

void serve_slots_close(ServeWorker *w) {
    for (int i = 0; i < w->n_slots; i++) sluice_session_free(w->slots[i].session);
    mem_free(w->slots);
    w->slots = NULL;
    w->n_slots = 0;
}

/* How much of the prompt the session holds: all that was fed to it, or nothing. */
static size_t holds(const ServeSlot *slot, const ServePrompt *p) {
    size_t n;
    const int32_t *ids = sluice_ids(slot->session, &n);
    bool all = n < p->n || (n == p->n && sluice_logits(slot->session));
    return all && memcmp(ids, p->ids, n * sizeof *ids) == 0 ? n : 0;
}

ServeSlot *serve_slot_for(ServeWorker *w, const ServePrompt *prompt, bool from_start, size_t *common) {
    ServeSlot *best = NULL, *oldest = NULL;
    *common = 0;
    for (int i = 0; i < w->n_slots; i++) {
        ServeSlot *slot = &w->slots[i];
        if (slot->sequence) continue;
        if (!oldest || slot->used_ns < oldest->used_ns) oldest = slot;
        size_t n = from_start ? 0 : holds(slot, prompt);
        if (n > *common) {
            best = slot;
            *common = n;
        }
    }
    if (!oldest) return NULL;
    if (!from_start && w->states && states_find(w->states, prompt->ids, prompt->n) > *common) {
        *common = states_restore(w->states, oldest->session, prompt->ids, prompt->n);
        return oldest;
    }
    if (!best) sluice_session_reset(oldest->session);
    return best ? best : oldest;
}
