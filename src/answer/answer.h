/* answer: from sampled ids to what a client sees, and from a conversation to the ids of its prompt.
 *
 * What this is    an answer being made: tokens that a grammar allows, whole characters, stop strings, reasoning and calls taken apart,
 *                 how likely each token was, why it ended. And prompts of conversations: special tokens that somebody typed stay text,
 *                 and turns that were generated here are the very ids that were sampled.
 * Who owns what   an Answer copies its stop strings, owns its events and borrows stop ids, grammar and masks; a model's AnswerPrompts
 *                 borrows the model and owns what it remembers of turns, within the bytes it was given.
 * What may fail   a template that refuses, a text that is no UTF-8; memory. An answer that lost something to memory says so and goes on.
 * Threads         an Answer belongs to one thread; an AnswerPrompts may be asked by one thread while another remembers a turn.
 * Promise         the events of an answer are the same however its text was cut into tokens, and nothing of a stop string is among them.
 *                 A conversation that continues one of ours has, as far as it is ours, the ids that were fed and sampled.
 *                 Checked by tests/unit/test_answer.c, test_answer_prompt.c and tests/stream/test_answer_model.c.
 */
#ifndef ANSWER_ANSWER_H
#define ANSWER_ANSWER_H

#include "base/base.h"
#include "grammar/grammar.h"
#include "text/text.h"

#include <sluice.h>

/* ---- an answer ----------------------------------------------------------------------------------------------------- */

typedef enum AnswerFinish {
    ANSWER_RUNNING,
    ANSWER_STOP,        /* the model ended its turn */
    ANSWER_TOOL_CALLS,  /* so it did, and it called tools */
    ANSWER_STOP_STRING,
    ANSWER_LENGTH       /* max_tokens, or the context is full */
} AnswerFinish;

typedef struct AnswerSpec {
    const sluice_model *model;
    const TextCallsSpec *parts; /* how reasoning and calls are written; NULL: all is content */
    const Str *stops;           /* [n_stops]; looked for in content, neither in reasoning nor in calls */
    size_t n_stops;
    const int32_t *stop_ids;    /* [n_stop_ids] beside those of the model */
    size_t n_stop_ids;
    int max_tokens;             /* -1: as many as the context holds */
    int max_reasoning;          /* tokens of reasoning behind which it is closed; 0: no bound but max_tokens */
    const Grammar *grammar;     /* what the answer must be, behind its reasoning if it has any; NULL: anything */
    GrammarMasks *masks;        /* of this grammar, used by this thread while the answer runs */
    int likely;                 /* -1: how likely a token was is not asked; otherwise so many alternatives beside it */
} AnswerSpec;

typedef struct Answer Answer;

Answer *answer_new(const AnswerSpec *spec, Err *err);
void answer_free(Answer *a);

/* Samples the next token of a session that has logits, and takes it. Returns it; answer_finish says whether it was the last. */
int32_t answer_next(Answer *a, sluice_session *session, const sluice_sampling *sampling);
/* Takes an id that was sampled elsewhere; with a grammar, one that it allows. logits: those it was sampled from, or NULL where nothing is
 * asked of them. */
void answer_take(Answer *a, int32_t id, const float *logits);
/* Ends an answer that is still running: what is held back leaves. */
void answer_end(Answer *a, AnswerFinish finish);

AnswerFinish answer_finish(const Answer *a);
Str answer_stop(const Answer *a);      /* the stop string of ANSWER_STOP_STRING */
bool answer_failed(const Answer *a);   /* something is missing: memory ran out, or an id was taken that the grammar forbids */

/* A token and the natural logarithm of its probability, before temperature, penalties and cuts. */
typedef struct AnswerLikely {
    double logprob;
    int32_t id;                        /* -1: no more alternatives */
} AnswerLikely;
/* row: [1 + n_top], the token itself, then the likeliest ones, best first; equal ones by their id. */
void answer_likely(const float *logits, int vocab, int32_t id, int n_top, AnswerLikely *row);

/* What came since the last answer_told: events, and a row for each token, that which ended the answer included. */
const TextEvents *answer_events(const Answer *a);
const AnswerLikely *answer_rows(const Answer *a, size_t *n); /* [n][1 + likely] */
void answer_told(Answer *a);

/* The bytes of one token, however many, appended. */
void answer_token_bytes(const sluice_model *model, int32_t id, Buf *out);
const int32_t *answer_ids(const Answer *a, size_t *n); /* all ids so far, without the token that ended the turn */
size_t answer_reasoning_tokens(const Answer *a);

/* What grammars need of a model: the bytes of its tokens (special ones only if they stand in calls), made once; and the masks of one
 * grammar, with the tokens that end a turn. */
GrammarVocab *answer_vocab_new(const sluice_model *model, Err *err);
GrammarMasks *answer_masks_new(const sluice_model *model, const Grammar *grammar, const GrammarVocab *vocab, Err *err);

/* ---- the prompt of a conversation ---------------------------------------------------------------------------------- */

/* Makes prompts of one model, and remembers the turns that it generated. */
typedef struct AnswerPrompts AnswerPrompts;

/* turns_bytes: for the turns that are remembered; the one that was asked for longest ago is forgotten first. */
AnswerPrompts *answer_prompts_new(const sluice_model *model, uint64_t turns_bytes, Err *err);
void answer_prompts_free(AnswerPrompts *p);

typedef struct AnswerPrompt {
    TextIds ids;           /* freed with text_ids_free */
    TextCallsSpec parts;   /* for the answer; its tools are those of the request */
    size_t turns_replayed; /* turns of the assistant that are the ids which were sampled */
} AnswerPrompt;

/* Renders a request ({"messages": [...], "tools": [...] | null, "kwargs": {...}}; arguments of calls are objects) and tokenises it.
 *   - Special tokens are those of the template alone: what stands in messages and tools is read as ordinary text, except <think> and
 *     </think> in turns of the assistant.
 *   - A turn of the assistant that was remembered, by its text and calls as a client sends them back (arguments in any order and
 *     spelling, its own reasoning or none), after a prompt that is still the same, becomes the ids that were sampled, reasoning
 *     included. The ids are put where the template's own tokens stand on both sides: behind the very prompt that was fed, and before
 *     the special token that ended the turn. Where the template leaves reasoning out that there was, the turn is rendered like any
 *     other. */
ErrCode answer_prompt(AnswerPrompts *p, const json_t *request, AnswerPrompt *out, Err *err);
/* Remembers a turn that the model has ended by itself, or that was ended behind its only call, and the prompt that it answered.
 * What does not fit is forgotten at once. */
void answer_prompts_remember(AnswerPrompts *p, const int32_t *prompt, size_t n, const Answer *a);
/* The turns that are remembered, as JSON, for a conversation that goes on in another process; NULL: no memory. Recalled, they count as
 * generated here; what is no such turn is left out. */
json_t *answer_prompts_keep(const AnswerPrompts *p);
void answer_prompts_recall(AnswerPrompts *p, const json_t *kept);
void answer_prompts_forget(AnswerPrompts *p);

#endif
