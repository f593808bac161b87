/* A drive that answers when the test says so: every read of the fake disk stops at the gate until it is let through; what started, and
 * in which order, is written down. */
#ifndef TESTS_GATE_H
#define TESTS_GATE_H

#include "disk/disk.h"

#include <pthread.h>

enum { GATE_STARTED = 1024 };

typedef struct Gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t started[GATE_STARTED]; /* [n_started] tags, the latest of them when there are more */
    int n_started, n_passed, n_allowed;
} Gate;

void gate_init(Gate *g);
/* A fake disk of that depth whose reads all stop at this gate. */
DiskConfig gate_disk(Gate *g, int depth, int hint_depth);
void gate_allow(Gate *g, int n);
void gate_wait_started(Gate *g, int n);
/* After a while that would be long enough for one more to start. */
int gate_started(Gate *g);
bool gate_saw(Gate *g, uint64_t tag);

#endif
