/* serve/job: a request on its way through the queue and the worker. */
#ifndef SERVE_JOB_H
#define SERVE_JOB_H

#include "serve/events.h"
#include "text/text.h"

#include <stdatomic.h>

struct ServeSlot;

/* One answer: a prompt and what follows it. The worker's alone. */
typedef struct ServeSequence {
    struct ServeJob *job;
    const ServePrompt *prompt;
    int choice;
    struct ServeSlot *slot;   /* NULL: waits, or has ended */
    size_t fed;               /* tokens of the prompt that are through */
    int cached;               /* of them, those that were there before */
    int32_t next;             /* sampled, not yet fed; -1: none */
    int answered;             /* tokens sampled, without the one that says stop */
    /* from ids to text (voice.c) */
    TextStream stream;
    Buf held;                 /* text that might be the beginning of a stop string */
    Buf text;                 /* scratch */
    ServeLikely *rows;        /* [cap_rows][1 + n_top] */
    size_t n_rows, cap_rows;
    uint64_t last_ns;         /* when its last token came */
} ServeSequence;

typedef struct ServeJob {
    ServeAsk ask;
    const ServeModel *model;
    ServeEvents events;
    atomic_int holders;       /* the HTTP thread and the worker */
    atomic_bool gone;         /* nobody listens any more */
    uint64_t arrived_ns, stalled_ns; /* stalled: since when the client does not take what there is; 0: it does */
    /* the worker's */
    struct ServeJob *after;   /* in the queue, or among those that run */
    ServeSequence *sequences; /* [n] */
    size_t n, begun, ended;
    ServeUsage usage;
    _Atomic uint64_t first_ns; /* when the first token was there; 0: none yet */
    bool over;                /* its last event was put */
} ServeJob;

/* Takes the ask over, with its prompts filled. NULL: out of memory, the ask is still the caller's. Two holders. */
ServeJob *serve_job_new(ServeAsk *ask, const ServeModel *model);
void serve_job_release(ServeJob *job);
/* Everything has been told (refusal NULL), or it ends here. Only the first call tells. */
void serve_job_end(ServeJob *job, const ServeRefusal *refusal);

/* voice.c: what a client hears of a sequence. */
void serve_voice_prompt(ServeSequence *s);                 /* echo */
/* A sampled token. True: the answer ends with it, and SERVE_FINISH was told. */
bool serve_voice_token(ServeSequence *s, int32_t id, const float *logits, bool last);
void serve_voice_end(ServeSequence *s, ServeFinish finish, Str stop);
bool serve_voice_row(ServeSequence *s, int32_t id, const float *logits); /* logits NULL: nothing predicts this token */

/* likely.c: natural logarithm of softmax(logits)[id], and the n_top likeliest, best first, ties to the lowest id. */
void serve_likely(const float *logits, int vocab, int32_t id, int n_top, ServeLikely *row);

#endif
