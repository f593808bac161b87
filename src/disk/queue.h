/* Private to the disk room: which read starts next. Both real backends keep their requests in one of these.
 *
 * A request is waiting, running or landed, and in at most one list at a time. Demands start in the order in which they came. A hint
 * starts only while no demand waits and fewer than `hint_depth` reads run in all: it fills a drive that has time, and a drive
 * that is busy with demands never hears of it.
 */
#ifndef DISK_QUEUE_H
#define DISK_QUEUE_H

#include "disk/backend.h"

/* A list through Request.next and .prev, so that a request can leave from anywhere. */
typedef struct List {
    uint32_t first, last; /* NO_REQUEST: empty */
    uint32_t count;
} List;
void disk_list_put(List *l, Request *requests, uint32_t number);
void disk_list_remove(List *l, Request *requests, uint32_t number);
uint32_t disk_list_take(List *l, Request *requests);

/* Time during which something was so. */
typedef struct Stopwatch {
    uint64_t since, ns;
    bool on;
} Stopwatch;

typedef struct Queue {
    List demands, hints; /* waiting */
    List done;           /* landed, not yet pulled */
    uint32_t running, running_max;
    uint32_t unfinished, unfinished_demands; /* waiting or running */
    Stopwatch busy, demand_busy;
    uint64_t latency_ns;                /* of demands, a running mean */
    uint64_t latencies[DISK_LATENCIES]; /* as in DiskInfo */
} Queue;

void disk_queue_start(Queue *q);
/* Puts in what was submitted. */
void disk_queue_put(Queue *q, Disk *d, const uint32_t *numbers, size_t n);
/* The next read that may start; false: none may. */
bool disk_queue_take(Queue *q, Disk *d, uint32_t *number);
/* A running request ended without its bytes and waits again. */
void disk_queue_again(Queue *q, Disk *d, uint32_t number);
/* A running request is done or has failed. */
void disk_queue_land(Queue *q, Disk *d, uint32_t number);
size_t disk_queue_pull(Queue *q, Disk *d, uint32_t *numbers, size_t max);
/* Takes out those of these hints that wait: they move to the front of `numbers`. Returns how many. */
size_t disk_queue_cancel(Queue *q, Disk *d, uint32_t *numbers, size_t n);
/* Makes demands of those of these hints that have not landed. */
void disk_queue_promote(Queue *q, Disk *d, const uint32_t *numbers, size_t n);
/* The file of the demand, or else the hint, that was given to the drive first and has not landed; NULL: there is none. */
const DiskFile *disk_queue_oldest(const Queue *q, const Disk *d);
void disk_queue_count(const Queue *q, DiskInfo *info);

#endif
