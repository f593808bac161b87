/* One feed for several conversations: each expert is read once for all of them. */
#include "serve/inside.h"
#include "os/os.h"

void serve_step(ServeWorker *w, ServePart *parts, size_t n) {
    sluice_part feed[2 * SERVE_MOST_SLOTS];
    int before[2 * SERVE_MOST_SLOTS];
    sluice_error failure = {0};
    for (size_t i = 0; i < n; i++) {
        sluice_session *session = parts[i].sequence->slot->session;
        feed[i] = (sluice_part){session, parts[i].ids, parts[i].n};
        before[i] = sluice_position(session);
        parts[i].error = (sluice_error){0};
    }
    w->first = n ? parts[0].sequence : NULL;
    w->alone = n == 1 ? parts[0].sequence : NULL;
    int code = n ? sluice_feed_together(w->model, feed, n, &failure) : SLUICE_OK;
    w->alone = NULL;
    uint64_t now = os_now_ns();
    for (size_t i = 0; i < n; i++) {
        ServeSlot *slot = parts[i].sequence->slot;
        int through = sluice_position(slot->session) - before[i];
        slot->used_ns = now;
        if (code && !(through == (int)parts[i].n && sluice_logits(slot->session))) {
            parts[i].error = failure;
            if (failure.code != SLUICE_INTERRUPTED) sluice_session_reset(slot->session);
        }
    }
}
