/* serve/events: the bounded queue between the worker and the HTTP thread of one request. */
#ifndef SERVE_EVENTS_H
#define SERVE_EVENTS_H

#include "serve/ask.h"

#include <pthread.h>

typedef struct ServeEvents {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    Buf waiting;      /* records, under the lock */
    Buf taken;        /* those that the reader goes through */
    size_t at;        /* how far it has come */
    bool lost;        /* memory ran out: an event is missing */
    bool closed;      /* SERVE_DONE or SERVE_FAILED was put */
} ServeEvents;

bool serve_events_init(ServeEvents *q);
void serve_events_free(ServeEvents *q);
/* The worker never waits: it asks before whether the reader keeps up, and lets a conversation rest where not. */
void serve_events_put(ServeEvents *q, const ServeEvent *event);
bool serve_events_full(ServeEvents *q);
/* The next event, waiting at most so long; false: there is none yet. The event is good until the next call. */
bool serve_events_take(ServeEvents *q, uint64_t wait_ns, ServeEvent *event);
bool serve_events_lost(ServeEvents *q);
void serve_events_lose(ServeEvents *q); /* memory ran out where an event was made */

#endif
