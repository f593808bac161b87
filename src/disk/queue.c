/* Which read starts next, and for how long there was something to read. Pure but for the clock; the thread backend calls it
 * under its lock. */
#include "disk/queue.h"

#include <assert.h>
#include <string.h>

/* ---- lists --------------------------------------------------------------------------------------------------------- */

void disk_list_put(List *l, Request *requests, uint32_t number) {
    Request *r = &requests[number];
    r->prev = l->last;
    r->next = NO_REQUEST;
    if (l->count == 0) l->first = number;
    else requests[l->last].next = number;
    l->last = number;
    l->count++;
}

void disk_list_remove(List *l, Request *requests, uint32_t number) {
    assert(l->count > 0);
    Request *r = &requests[number];
    if (l->first == number) l->first = r->next;
    else requests[r->prev].next = r->next;
    if (l->last == number) l->last = r->prev;
    else requests[r->next].prev = r->prev;
    l->count--;
}

uint32_t disk_list_take(List *l, Request *requests) {
    uint32_t number = l->first;
    disk_list_remove(l, requests, number);
    return number;
}

/* ---- clocks -------------------------------------------------------------------------------------------------------- */

static void watch(Stopwatch *w, bool on, uint64_t now) {
    if (w->on == on) return;
    if (on) w->since = now;
    else w->ns += now - w->since;
    w->on = on;
}

static uint64_t watched_ns(const Stopwatch *w) { return w->ns + (w->on ? os_now_ns() - w->since : 0); }

static void watch_all(Queue *q) {
    if (q->busy.on == (q->unfinished > 0) && q->demand_busy.on == (q->unfinished_demands > 0)) return;
    uint64_t now = os_now_ns(); /* one for both: demands are never busy for longer than all */
    watch(&q->busy, q->unfinished > 0, now);
    watch(&q->demand_busy, q->unfinished_demands > 0, now);
}

/* ---- the life of a request ----------------------------------------------------------------------------------------- */

static bool is_demand(const Request *r) { return r->read.urgency == DISK_DEMAND; }

static List *waiting_list(Queue *q, const Request *r) { return is_demand(r) ? &q->demands : &q->hints; }

static void wait_in_line(Queue *q, Disk *d, uint32_t number) {
    Request *r = &d->requests[number];
    r->place = REQUEST_WAITING;
    disk_list_put(waiting_list(q, r), d->requests, number);
}

void disk_queue_start(Queue *q) {
    *q = (Queue){.demands = {NO_REQUEST, NO_REQUEST, 0}, .hints = {NO_REQUEST, NO_REQUEST, 0}, .done = {NO_REQUEST, NO_REQUEST, 0}};
}

void disk_queue_put(Queue *q, Disk *d, const uint32_t *numbers, size_t n) {
    for (size_t i = 0; i < n; i++) {
        wait_in_line(q, d, numbers[i]);
        q->unfinished_demands += is_demand(&d->requests[numbers[i]]);
    }
    q->unfinished += (uint32_t)n;
    watch_all(q);
}

bool disk_queue_take(Queue *q, Disk *d, uint32_t *number) {
    if (q->demands.count > 0) *number = disk_list_take(&q->demands, d->requests);
    else if (q->hints.count > 0 && q->running < (uint32_t)d->config.hint_depth) *number = disk_list_take(&q->hints, d->requests);
    else return false;
    d->requests[*number].place = REQUEST_RUNNING;
    d->requests[*number].started_ns = os_now_ns();
    q->running++;
    if (q->running > q->running_max) q->running_max = q->running;
    return true;
}

void disk_queue_again(Queue *q, Disk *d, uint32_t number) {
    assert(q->running > 0);
    q->running--;
    wait_in_line(q, d, number);
}

/* A mean that forgets: the last sixteen or so count. */
static void note_latency(Queue *q, uint64_t ns) {
    q->latency_ns = q->latency_ns == 0 ? ns : (15 * q->latency_ns + ns) / 16;
    int bucket = 0;
    for (uint64_t us = ns / 1000; us > 0 && bucket < DISK_LATENCIES - 1; us /= 2) bucket++;
    q->latencies[bucket]++;
}

void disk_queue_land(Queue *q, Disk *d, uint32_t number) {
    Request *r = &d->requests[number];
    assert(q->running > 0 && q->unfinished > 0);
    q->running--;
    q->unfinished--;
    q->unfinished_demands -= is_demand(r);
    r->place = REQUEST_LANDED;
    r->landed_ns = os_now_ns();
    if (is_demand(r)) note_latency(q, r->landed_ns - r->started_ns);
    disk_list_put(&q->done, d->requests, number);
    watch_all(q);
}

size_t disk_queue_pull(Queue *q, Disk *d, uint32_t *numbers, size_t max) {
    size_t n = 0;
    while (n < max && q->done.count > 0) numbers[n++] = disk_list_take(&q->done, d->requests);
    return n;
}

size_t disk_queue_cancel(Queue *q, Disk *d, uint32_t *numbers, size_t n) {
    size_t cancelled = 0;
    for (size_t i = 0; i < n; i++) {
        if (d->requests[numbers[i]].place != REQUEST_WAITING) continue;
        disk_list_remove(&q->hints, d->requests, numbers[i]);
        numbers[cancelled++] = numbers[i];
    }
    q->unfinished -= (uint32_t)cancelled;
    watch_all(q);
    return cancelled;
}

void disk_queue_promote(Queue *q, Disk *d, const uint32_t *numbers, size_t n) {
    for (size_t i = 0; i < n; i++) {
        Request *r = &d->requests[numbers[i]];
        if (r->place == REQUEST_LANDED) continue;
        if (r->place == REQUEST_WAITING) disk_list_remove(&q->hints, d->requests, numbers[i]);
        r->read.urgency = DISK_DEMAND;
        q->unfinished_demands++;
        if (r->place == REQUEST_WAITING) wait_in_line(q, d, numbers[i]);
    }
    watch_all(q);
}

const DiskFile *disk_queue_oldest(const Queue *q, const Disk *d) {
    const Request *oldest = NULL;
    for (uint32_t i = 0; i < DISK_QUEUE && q->unfinished > 0; i++) {
        const Request *r = &d->requests[i];
        if (r->place != REQUEST_RUNNING) continue;
        bool older = !oldest || (is_demand(r) == is_demand(oldest) ? r->started_ns < oldest->started_ns : is_demand(r));
        if (older) oldest = r;
    }
    return oldest ? oldest->file : NULL;
}

void disk_queue_count(const Queue *q, DiskInfo *info) {
    info->in_flight_max = q->running_max;
    info->latency_ns = q->latency_ns;
    memcpy(info->latencies, q->latencies, sizeof info->latencies);
    info->busy_ns = watched_ns(&q->busy);
    info->demand_busy_ns = watched_ns(&q->demand_busy);
}
