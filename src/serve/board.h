/* serve/board: what the server says of itself, kept by the worker and read by whoever asks. */
#ifndef SERVE_BOARD_H
#define SERVE_BOARD_H

#include "base/base.h"

#include "states/states.h"

#include <pthread.h>
#include <sluice.h>

enum { SERVE_BUCKETS = 14, SERVE_SAMPLES = 9, SERVE_STATUSES = 24, SERVE_MOST_SLOTS = 64 };

/* Times in seconds, counted below growing bounds. */
typedef struct ServeHistogram {
    uint64_t below[SERVE_BUCKETS]; /* not added up */
    uint64_t n;
    double sum;
} ServeHistogram;
extern const double SERVE_BOUNDS[SERVE_BUCKETS];

/* What a conversation is at. */
typedef struct ServeView {
    const char *state; /* "free", "reading", "answering" */
    int position, left; /* tokens it holds; of the prompt, still to be read */
    int answered;
} ServeView;

typedef struct ServeSample {
    uint64_t ns;
    sluice_stats stats;
} ServeSample;

typedef struct ServeBoard {
    pthread_mutex_t lock;
    uint64_t since_ns;
    ServeHistogram first, gap;       /* to the first token; between two tokens of an answer */
    uint64_t prompt, cached, answer; /* tokens */
    uint64_t failed, left;           /* jobs that failed, and whose clients went away */
    struct {
        int status;
        uint64_t n;
    } statuses[SERVE_STATUSES];
    ServeSample samples[SERVE_SAMPLES]; /* the newest is at `turn`: a few seconds, for rates */
    int turn;
    ServeView views[SERVE_MOST_SLOTS];
    int n_views;
    StatesStats kept;
    int layers, experts;
    float *used, *read;              /* [layers][experts] how often lately, and how often from disk; both fade */
} ServeBoard;

bool serve_board_init(ServeBoard *b);
void serve_board_free(ServeBoard *b);
bool serve_board_model(ServeBoard *b, const sluice_info *info); /* false: out of memory */
void serve_board_status(ServeBoard *b, int status);
void serve_board_first(ServeBoard *b, uint64_t ns);
void serve_board_gap(ServeBoard *b, uint64_t ns);
/* Whether the numbers of the engine are old enough to be asked for again; then it is told them. */
bool serve_board_due(const ServeBoard *b, uint64_t now_ns);
void serve_board_sample(ServeBoard *b, uint64_t now_ns, const sluice_stats *stats, const ServeView *views, int n_views,
                        const StatesStats *kept);
void serve_board_fetch(ServeBoard *b, int layer, int n, const int32_t *experts, const uint8_t *hit);
void serve_board_fade(ServeBoard *b);

#endif
