/* Numbers that many threads write down, under one lock that is held for a few additions. */
#include "serve/board.h"
#include "os/os.h"

#include <string.h>

const double SERVE_BOUNDS[SERVE_BUCKETS] = {0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120};
static const uint64_t SAMPLE_NS = 250000000;

bool serve_board_init(ServeBoard *b) {
    *b = (ServeBoard){.since_ns = os_now_ns()};
    return pthread_mutex_init(&b->lock, NULL) == 0;
}

void serve_board_free(ServeBoard *b) {
    mem_free(b->used);
    mem_free(b->read);
    pthread_mutex_destroy(&b->lock);
}

bool serve_board_model(ServeBoard *b, const sluice_info *info) {
    size_t n = (size_t)info->layers * (size_t)info->experts;
    float *used = MEM_NEW(float, n), *read = MEM_NEW(float, n);
    pthread_mutex_lock(&b->lock);
    b->used = used;
    b->read = read;
    b->layers = info->layers;
    b->experts = info->experts;
    pthread_mutex_unlock(&b->lock);
    return used && read;
}

void serve_board_status(ServeBoard *b, int status) {
    pthread_mutex_lock(&b->lock);
    int i = 0;
    while (i < SERVE_STATUSES - 1 && b->statuses[i].status && b->statuses[i].status != status) i++;
    b->statuses[i].status = status;
    b->statuses[i].n++;
    pthread_mutex_unlock(&b->lock);
}

static void count(ServeHistogram *h, uint64_t ns) {
    double s = (double)ns * 1e-9;
    h->n++;
    h->sum += s;
    for (int i = 0; i < SERVE_BUCKETS; i++)
        if (s <= SERVE_BOUNDS[i]) {
            h->below[i]++;
            return;
        }
}

void serve_board_first(ServeBoard *b, uint64_t ns) {
    pthread_mutex_lock(&b->lock);
    count(&b->first, ns);
    pthread_mutex_unlock(&b->lock);
}

void serve_board_gap(ServeBoard *b, uint64_t ns) {
    pthread_mutex_lock(&b->lock);
    count(&b->gap, ns);
    pthread_mutex_unlock(&b->lock);
}

/* The worker alone writes samples, so it may look without the lock. */
bool serve_board_due(const ServeBoard *b, uint64_t now_ns) { return now_ns - b->samples[b->turn].ns >= SAMPLE_NS; }

void serve_board_sample(ServeBoard *b, uint64_t now_ns, const sluice_stats *stats, const ServeView *views, int n_views,
                        const StatesStats *kept) {
    pthread_mutex_lock(&b->lock);
    b->turn = (b->turn + 1) % SERVE_SAMPLES;
    b->samples[b->turn] = (ServeSample){now_ns, *stats};
    b->kept = *kept;
    b->n_views = n_views < SERVE_MOST_SLOTS ? n_views : SERVE_MOST_SLOTS;
    memcpy(b->views, views, (size_t)b->n_views * sizeof *views);
    pthread_mutex_unlock(&b->lock);
}

void serve_board_fetch(ServeBoard *b, int layer, int n, const int32_t *experts, const uint8_t *hit) {
    if (layer >= b->layers) return; /* a draft layer */
    pthread_mutex_lock(&b->lock);
    size_t row = (size_t)layer * (size_t)b->experts;
    for (int i = 0; i < n; i++) {
        b->used[row + (size_t)experts[i]] += 1;
        if (hit[i] != SLUICE_HIT) b->read[row + (size_t)experts[i]] += 1;
    }
    pthread_mutex_unlock(&b->lock);
}

void serve_board_fade(ServeBoard *b) {
    pthread_mutex_lock(&b->lock);
    size_t n = b->used && b->read ? (size_t)b->layers * (size_t)b->experts : 0;
    for (size_t i = 0; i < n; i++) {
        b->used[i] *= 0.8F;
        b->read[i] *= 0.8F;
    }
    pthread_mutex_unlock(&b->lock);
}
