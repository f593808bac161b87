/* Private to the disk room: a ring of request numbers. It can hold the whole table, so it is never full. */
#ifndef DISK_RING_H
#define DISK_RING_H

#include <assert.h>

#include "disk/backend.h"

typedef struct Ring {
    uint32_t numbers[DISK_QUEUE];
    uint32_t first, count;
} Ring;

static inline void ring_put(Ring *r, uint32_t number) {
    assert(r->count < DISK_QUEUE);
    r->numbers[(r->first + r->count++) % DISK_QUEUE] = number;
}

static inline uint32_t ring_take(Ring *r) {
    assert(r->count > 0);
    uint32_t number = r->numbers[r->first];
    r->first = (r->first + 1) % DISK_QUEUE;
    r->count--;
    return number;
}

#endif
