#define _GNU_SOURCE
#include "support/gate.h"

#include <time.h>

static void gate_pause(void *user, const DiskRead *read, uint32_t ms) {
    Gate *g = user;
    (void)ms;
    pthread_mutex_lock(&g->lock);
    g->started[g->n_started++ % GATE_STARTED] = read->tag;
    pthread_cond_broadcast(&g->changed);
    while (g->n_passed == g->n_allowed) pthread_cond_wait(&g->changed, &g->lock);
    g->n_passed++;
    pthread_mutex_unlock(&g->lock);
}

void gate_init(Gate *g) { *g = (Gate){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER}; }

DiskConfig gate_disk(Gate *g, int depth, int hint_depth) {
    return (DiskConfig){.backend = DISK_FAKE,
                        .depth = depth,
                        .hint_depth = hint_depth,
                        .faults = {.delay_ppm = 1000000, .fail_file = -1, .pause = gate_pause, .user = g}};
}

void gate_allow(Gate *g, int n) {
    pthread_mutex_lock(&g->lock);
    g->n_allowed += n;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

void gate_wait_started(Gate *g, int n) {
    pthread_mutex_lock(&g->lock);
    while (g->n_started < n) pthread_cond_wait(&g->changed, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

int gate_started(Gate *g) {
    nanosleep(&(struct timespec){0, 30000000}, NULL);
    pthread_mutex_lock(&g->lock);
    int n = g->n_started;
    pthread_mutex_unlock(&g->lock);
    return n;
}

bool gate_saw(Gate *g, uint64_t tag) {
    pthread_mutex_lock(&g->lock);
    bool seen = false;
    for (int i = 0; i < g->n_started && i < GATE_STARTED; i++) seen = seen || g->started[i] == tag;
    pthread_mutex_unlock(&g->lock);
    return seen;
}
