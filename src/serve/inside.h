/* serve/inside: the server, as its own files see it. */
#ifndef SERVE_INSIDE_H
#define SERVE_INSIDE_H

#include "serve/board.h"
#include "serve/job.h"
#include "serve/purse.h"
#include "serve/rule.h"
#include "serve/serve.h"
#include "states/states.h"

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
    struct Serve *serve;
    sluice_session *session;
    ServeSequence *sequence;  /* NULL: free */
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
    ServeSequence *first;     /* of those that are being fed */
    ServeSequence *alone;     /* the one that is being fed; NULL: none, or others are fed with it */
    States *states;           /* NULL: none are kept */
} ServeWorker;

typedef struct Serve {
    const ServeConfig *config;
    _Atomic int phase;        /* ServePhase */
    _Atomic bool broken;      /* the model could not be opened: *failure says why */
    Err failure;
    ServeModel model;         /* filled before the phase is SERVE_READY */
    ServePurse purse;
    ServeQueue queue;
    ServeWorker worker;
    ServeBoard board;
    pthread_mutex_t text;     /* one text is tokenised at a time, as the memory plan has it */
    AnswerPrompts *prompts;   /* asked under that lock, as are */
    ServeRules rules;
    _Atomic int running;      /* jobs that the worker has taken */
    _Atomic int begun;        /* those of them that have, or had, a conversation */
    _Atomic int visits;       /* requests that have begun and are not answered to the end */
    _Atomic uint64_t job_ns;  /* how long a job takes, lately */
    struct ServeWires *wires; /* connections (http.c) */
    char **keys;              /* [n_keys] */
    size_t n_keys;
} Serve;

static inline ServePhase serve_phase(const Serve *s) { return (ServePhase)atomic_load(&s->phase); }

unsigned serve_connections_most(const Serve *s); /* http.c */

bool serve_worker_start(Serve *s, Err *err);
void serve_worker_stop(Serve *s);  /* joins */
void serve_worker_close(Serve *s); /* when the HTTP threads have ended too: they write answers with the model's words */

/* ---- jobs.c ------------------------------------------------------------------------------------------------------ */

void serve_jobs_collect(Serve *s, bool wait); /* those of the queue join, those that are over leave */
void serve_jobs_let_go(Serve *s);             /* whose clients went away, and at the end all */
void serve_jobs_admit(Serve *s);              /* free conversations are given to those who wait */
void serve_jobs_end(Serve *s, ServeJob *job, const ServeRefusal *no); /* nothing more is computed for this one */
void serve_jobs_turn_away(Serve *s);          /* whoever came too late */
void serve_sequence_end(Serve *serve, ServeSequence *s); /* its answer is complete */

ErrCode serve_slots_open(Serve *s, int n, Err *err);
void serve_slots_close(ServeWorker *w);
/* The free slot that has, or can be given, most of this prompt; NULL: none is free. *common: tokens that need not be fed again. */
ServeSlot *serve_slot_for(ServeWorker *w, const ServePrompt *prompt, bool from_start, size_t *common);

void serve_slot_watch(ServeSlot *slot, bool logits); /* sets its probe; logits: of every token, for an echo */

/* ---- keep.c ------------------------------------------------------------------------------------------------------ */

ErrCode serve_keep_open(Serve *s, Err *err);
void serve_keep_marks(ServeSequence *s);                         /* where in its prompt a state is worth most */
size_t serve_keep_until(const ServeSequence *s, size_t n);       /* how many of the next n tokens to feed at once for that */
void serve_keep_prompt(ServeWorker *w, ServeSequence *s, const ServeSlot *slot); /* slot: that it has, or had */
void serve_keep_turn(ServeWorker *w, const ServeSequence *s);    /* its answer has ended */
bool serve_keep_idle(ServeWorker *w);                            /* some is written; true: there is more */

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

/* Memory for remembering turns that were generated: as many tokens as a few contexts, and no more than an eighth of the purse. */
uint64_t serve_turns_bytes(Serve *s);
/* Renders and tokenises what an ask has as messages or texts, and refuses what is longer than the context. */
bool serve_text_prompts(Serve *s, ServeAsk *ask, ServeRefusal *no);
bool serve_text_tokenize(Serve *s, const char *text, size_t len, unsigned flags, ServePrompt *out, ServeRefusal *no);

#endif
