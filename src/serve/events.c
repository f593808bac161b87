/* Events as records in two buffers: one that the worker fills, one that the reader empties; they change places when the reader has
 * come to the end. So the worker holds the lock for a copy, and after the first tokens nothing is allocated. */
#define _GNU_SOURCE /* pthread_condattr_setclock */
#include "serve/events.h"

#include <string.h>
#include <time.h>

enum { FULL_BYTES = 64 << 10 };

/* Before the rows, the bytes of its texts and the refusal, if there is one, each padded to 8. */
typedef struct Record {
    uint64_t bytes; /* of all of it */
    ServeEvent event; /* its pointers are filled when it is read */
} Record;

bool serve_events_init(ServeEvents *q) {
    *q = (ServeEvents){0};
    if (pthread_mutex_init(&q->lock, NULL)) return false;
    pthread_condattr_t monotonic;
    bool ok = pthread_condattr_init(&monotonic) == 0;
    if (ok) {
        ok = pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0 && pthread_cond_init(&q->filled, &monotonic) == 0;
        pthread_condattr_destroy(&monotonic);
    }
    if (!ok) pthread_mutex_destroy(&q->lock);
    return ok;
}

void serve_events_free(ServeEvents *q) {
    pthread_cond_destroy(&q->filled);
    pthread_mutex_destroy(&q->lock);
    buf_free(&q->waiting);
    buf_free(&q->taken);
}

static void put_padded(Buf *b, const void *bytes, size_t len) {
    static const char zeros[8] = {0};
    if (len) buf_put(b, bytes, len);
    buf_put(b, zeros, (size_t)(align_up(len, 8) - len));
}

static size_t row_bytes(const ServeEvent *e) { return e->n_rows * (size_t)(1 + e->n_top) * sizeof(ServeLikely); }

void serve_events_put(ServeEvents *q, const ServeEvent *event) {
    const Str *texts[] = {&event->text, &event->tool_id, &event->tool_name, &event->stop};
    Record r = {.bytes = sizeof r + row_bytes(event), .event = *event};
    const size_t refusal = event->refusal ? sizeof *event->refusal : 0;
    r.bytes += align_up(refusal, 8);
    for (size_t i = 0; i < COUNT_OF(texts); i++) r.bytes += align_up(texts[i]->len, 8);
    pthread_mutex_lock(&q->lock);
    size_t before = q->waiting.len;
    put_padded(&q->waiting, &r, sizeof r);
    put_padded(&q->waiting, event->rows, row_bytes(event));
    for (size_t i = 0; i < COUNT_OF(texts); i++) put_padded(&q->waiting, texts[i]->ptr, texts[i]->len);
    put_padded(&q->waiting, event->refusal, refusal);
    if (q->waiting.failed) {
        q->lost = true;
        q->waiting.failed = false;
        q->waiting.len = before;
    }
    if (event->kind == SERVE_DONE || event->kind == SERVE_FAILED) q->closed = true;
    pthread_cond_signal(&q->filled);
    pthread_mutex_unlock(&q->lock);
}

bool serve_events_full(ServeEvents *q) {
    pthread_mutex_lock(&q->lock);
    bool full = q->waiting.len >= FULL_BYTES;
    pthread_mutex_unlock(&q->lock);
    return full;
}

bool serve_events_lost(ServeEvents *q) {
    pthread_mutex_lock(&q->lock);
    bool lost = q->lost;
    pthread_mutex_unlock(&q->lock);
    return lost;
}

static void read_record(ServeEvents *q, ServeEvent *event) {
    const char *p = q->taken.ptr + q->at;
    const Record *r = (const Record *)(const void *)p;
    *event = r->event;
    q->at += r->bytes;
    p += sizeof *r;
    event->rows = (const ServeLikely *)(const void *)p;
    p += row_bytes(event);
    Str *texts[] = {&event->text, &event->tool_id, &event->tool_name, &event->stop};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        texts[i]->ptr = p;
        p += align_up(texts[i]->len, 8);
    }
    event->refusal = event->kind == SERVE_FAILED ? (const ServeRefusal *)(const void *)p : NULL;
}

bool serve_events_take(ServeEvents *q, uint64_t wait_ns, ServeEvent *event) {
    if (q->at == q->taken.len) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        uint64_t at = (uint64_t)until.tv_nsec + wait_ns;
        until.tv_sec += (time_t)(at / 1000000000u);
        until.tv_nsec = (long)(at % 1000000000u);
        pthread_mutex_lock(&q->lock);
        while (q->waiting.len == 0 && !q->lost && pthread_cond_timedwait(&q->filled, &q->lock, &until) == 0) {}
        Buf empty = q->taken;
        q->taken = q->waiting;
        q->waiting = empty;
        buf_clear(&q->waiting);
        q->at = 0;
        pthread_mutex_unlock(&q->lock);
    }
    if (q->at == q->taken.len) return false;
    read_record(q, event);
    return true;
}

void serve_events_lose(ServeEvents *q) {
    pthread_mutex_lock(&q->lock);
    q->lost = true;
    pthread_cond_signal(&q->filled);
    pthread_mutex_unlock(&q->lock);
}
