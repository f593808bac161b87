/* serve/inside: the server, as its own files see it. */
#ifndef SERVE_INSIDE_H
#define SERVE_INSIDE_H

#include "serve/board.h"
#include "serve/job.h"
#include "serve/serve.h"

#include <pthread.h>

typedef enum ServePhase { SERVE_LOADING, SERVE_READY, SERVE_STOPPING /* nothing new */, SERVE_CUT /* and what runs ends */ } ServePhase;

/* ---- queue.c: jobs that wait for the worker ---------------------------------------------------------------------- */

typedef struct ServeQueue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    ServeJob *first, *last;
    int inside, most;         /* jobs that wait or are worked on */
    bool woken, closed;
} ServeQueue;

bool serve_queue_init(ServeQueue *q, int most);
void serve_queue_free(ServeQueue *q);
bool serve_queue_put(ServeQueue *q, ServeJob *job); /* false: full */
ServeJob *serve_queue_take_all(ServeQueue *q, bool wait); /* the oldest first, linked by `after`; wait: until there is one or a wake */
void serve_queue_left(ServeQueue *q); /* a job that was taken is over */
void serve_queue_wake(ServeQueue *q);
int serve_queue_inside(ServeQueue *q);
ServeJob *serve_queue_close(ServeQueue *q); /* nothing is taken any more; what was left */

/* ---- slots.c: conversations whose states are kept ---------------------------------------------------------------- */

typedef struct ServeSlot {
    sluice_session *session;
    ServeSequence *sequence;  /* NULL: free */
    int32_t *ids;             /* [n] that were fed */
    size_t n;
    uint64_t used_ns;
} ServeSlot;

/* ---- worker.c ---------------------------------------------------------------------------------------------------- */

typedef struct ServeWorker {
    pthread_t thread;
    sluice_model *model;
    ServeSlot *slots;         /* [n_slots] */
    int n_slots;
    ServeJob *jobs;           /* that were taken from the queue and have not ended, oldest first */
    size_t slice;             /* tokens of a prompt between two decode steps */
    int turn;                 /* which slot's prompt is read next */
    ServeSequence *feeding;   /* the one whose prompt is being fed alone; NULL: none, or others are fed with it */
    ServeSequence *echoing;   /* the one whose prompt's likelihoods are looked at */
} ServeWorker;

typedef struct Serve {
    const ServeConfig *config;
    _Atomic int phase;        /* ServePhase */
    _Atomic bool broken;      /* the model could not be opened: *failure says why */
    Err failure;
    ServeModel model;         /* filled before the phase is SERVE_READY */
    ServeQueue queue;
    ServeWorker worker;
    ServeBoard board;
    pthread_mutex_t text;     /* one text is tokenised at a time, as the memory plan has it */
    _Atomic int running;      /* jobs that the worker has taken */
    _Atomic uint64_t job_ns;  /* how long a job takes, lately */
    struct ServeWires *wires; /* connections (http.c) */
    char **keys;              /* [n_keys] */
    size_t n_keys;
} Serve;

static inline ServePhase serve_phase(const Serve *s) { return (ServePhase)atomic_load(&s->phase); }

bool serve_worker_start(Serve *s, Err *err);
void serve_worker_stop(Serve *s); /* joins; the model is closed by the thread that opened it */

ErrCode serve_slots_open(ServeWorker *w, int n, int ctx, Err *err);
void serve_slots_close(ServeWorker *w);
/* The free slot that has most of this prompt already; NULL: none is free. *common: tokens that need not be fed again. */
ServeSlot *serve_slot_for(ServeWorker *w, const ServePrompt *prompt, bool from_start, size_t *common);
void serve_slot_note(ServeSlot *slot, const int32_t *ids, size_t n); /* what was fed */
void serve_slot_clear(ServeSlot *slot);

/* ---- step.c ------------------------------------------------------------------------------------------------------ */

/* Tokens to feed to one session. */
typedef struct ServePart {
    ServeSequence *sequence;
    const int32_t *ids;
    size_t n;
    sluice_error error;       /* code SLUICE_OK: they are through */
} ServePart;
void serve_step(ServeWorker *w, ServePart *parts, size_t n);

/* ---- text.c ------------------------------------------------------------------------------------------------------ */

/* Renders and tokenises what an ask has as messages or texts, and refuses what is longer than the context. */
bool serve_text_prompts(Serve *s, ServeAsk *ask, ServeRefusal *no);
bool serve_text_tokenize(Serve *s, const char *text, size_t len, unsigned flags, ServePrompt *out, ServeRefusal *no);

#endif
