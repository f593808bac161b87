/* serve/job: a request on its way through the queue and the worker. */
#ifndef SERVE_JOB_H
#define SERVE_JOB_H

#include "answer/answer.h"
#include "serve/events.h"
#include "serve/purse.h"

#include <stdatomic.h>

struct ServeSlot;

/* One answer: a prompt and what follows it. The worker's alone. */
typedef struct ServeSequence {
    struct ServeJob *job;
    const ServePrompt *prompt;
    int choice;
    struct ServeSlot *slot;   /* NULL: waits, or has ended */
    size_t fed;               /* tokens of the prompt that are through */
    size_t kept;              /* of them, those behind which a state was kept */
    size_t marks[2];          /* where other prompts may part from this one: behind the system's part, before the answer; 0: nowhere */
    int cached;               /* tokens that were there before */
    int32_t next;             /* sampled, not yet fed; -1: none */
    Answer *answer;
    int answered, reasoning;  /* tokens sampled, without the one that says stop; of them reasoning */
    int calls;                /* of tools, that have ended */
    char call_id[64];         /* that the model gave to the one that begins; "": none */
    int32_t *sampled;         /* [n_sampled] for --trace-requests, when it has ended */
    size_t n_sampled;
    ServeLikely *rows;        /* of an echoed prompt: [cap_rows][1 + n_top] */
    size_t n_rows, cap_rows;
    uint64_t last_ns;         /* when its last token came */
} ServeSequence;

typedef struct ServeJob {
    ServeAsk ask;
    const ServeModel *model;
    ServePurse *purse;
    uint64_t held;            /* of the purse, until the job is freed */
    ServeEvents events;
    atomic_int holders;       /* the HTTP thread and the worker */
    atomic_bool gone;         /* nobody listens any more */
    uint64_t arrived_ns;
    /* the worker's */
    struct ServeJob *after;   /* in the queue, or among those that run */
    ServeSequence *sequences; /* [n] */
    size_t n, begun, ended;
    ServeUsage usage;         /* a prompt counts once, however many choices it has */
    int prompts_read, prompts_cached; /* tokens of all choices */
    _Atomic uint64_t first_ns; /* when the first token was there; 0: none yet */
    bool over;                /* its last event was put */
} ServeJob;

/* Takes the ask over, with its prompts filled. NULL: out of memory, the ask is still the caller's. Two holders. */
ServeJob *serve_job_new(ServeAsk *ask, const ServeModel *model, ServePurse *purse);
void serve_job_release(ServeJob *job);
/* Everything has been told (refusal NULL), or it ends here. Only the first call tells. */
void serve_job_end(ServeJob *job, const ServeRefusal *refusal);

/* voice.c: what a client hears of a sequence. */
bool serve_voice_begin(ServeSequence *s, Err *err);
bool serve_voice_row(ServeSequence *s, int32_t id, const float *logits); /* of an echoed prompt; NULL: nothing predicts this token */
void serve_voice_prompt(ServeSequence *s);                 /* the echo */
/* Samples a token, and tells what is to be told. True: the answer ends with it, and SERVE_FINISH was told. */
bool serve_voice_next(ServeSequence *s, sluice_session *session);
void serve_voice_end(ServeSequence *s);                    /* SERVE_FINISH of an answer that was not to have a token */

#endif
