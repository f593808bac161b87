/* The parts of an answer. Private to the room. */
#ifndef ANSWER_INSIDE_H
#define ANSWER_INSIDE_H

#include "answer/answer.h"

typedef struct AnswerAllowed AnswerAllowed;

struct Answer {
    AnswerSpec spec;
    Str *stops;            /* [spec.n_stops], owned copies */
    int ctx, vocab;
    TextStream stream;     /* holds back half a character */
    TextCalls *calls;      /* holds back what may be a tag; NULL: all is content */
    AnswerAllowed *allowed; /* NULL: every token may come */
    Buf held;              /* holds back what may be a stop string: content, behind all events */
    Buf piece, whole;      /* a token's bytes; the whole characters among them */
    TextEvents parsed, events;
    AnswerLikely *rows;    /* [n_rows][1 + spec.likely] */
    size_t n_rows, cap_rows;
    TextIds ids;
    size_t n_reasoning;
    bool called;           /* there was a call */
    bool thought;          /* there was a block of reasoning, if an empty one */
    bool inside;           /* the prompt had opened it */
    Buf name;              /* of the call whose arguments come next */
    Buf message, reasoning; /* what a client will send back: content, then calls; and perhaps this */
    int32_t stop_id;       /* that ended the turn, or -1 */
    int32_t close_id;      /* that ends reasoning, where it is bounded, or -1 */
    AnswerFinish finish;
    Str stop;
    bool failed;
};

/* ---- allowed.c: which tokens may come ---- */

int32_t answer_token_of(const sluice_model *model, const char *text); /* the only token of a text, or -1 */
AnswerAllowed *answer_allowed_new(const AnswerSpec *spec, int vocab, Err *err);
void answer_allowed_free(AnswerAllowed *w);
const uint32_t *answer_allowed_mask(AnswerAllowed *w);
/* thinking: the answer is inside reasoning now; behind: content that came with the token that closed it. False: not allowed. */
bool answer_allowed_take(AnswerAllowed *w, int32_t id, Str bytes, bool thinking, Str behind);

/* ---- turns.c: what was generated ---- */

typedef struct AnswerTurns AnswerTurns;

AnswerTurns *answer_turns_new(uint64_t bytes, Err *err);
void answer_turns_free(AnswerTurns *t);

/* What a turn is known by: its text and calls, however a client spells them. */
void answer_turns_content(Buf *message, Str text);
void answer_turns_call(Buf *message, Str name, const json_t *arguments);
uint64_t answer_turns_key(const Buf *message);
uint64_t answer_turns_message_key(const json_t *message, bool *failed);
uint64_t answer_turns_reasoning(Str text); /* 0: none */
uint64_t answer_turns_message_reasoning(const json_t *message);
/* The prompt that a turn answered. */
uint64_t answer_turns_prefix(const int32_t *ids, size_t n);

typedef struct AnswerTurn {
    uint64_t key, reasoning, prefix;
    size_t n_prefix;
    bool thought, inside;  /* it had reasoning; the prompt had opened it */
    int32_t stop_id;       /* -1: it was ended behind its only call, so any may follow */
    int32_t *ids;          /* [n] */
    size_t n;
    uint64_t used;
} AnswerTurn;
/* Whether a turn with this key is known, and this reasoning unless it is 0; *like: the latest, without its ids. */
bool answer_turns_known(AnswerTurns *t, uint64_t key, uint64_t reasoning, AnswerTurn *like);
/* Appends the ids of the turn with this key, prefix, n_prefix and stop_id. False: there is none, or (*failed) no memory. */
bool answer_turns_get(AnswerTurns *t, const AnswerTurn *want, TextIds *out, bool *failed);
size_t answer_turns_count(const AnswerTurns *t);
const AnswerTurn *answer_turns_at(const AnswerTurns *t, size_t i); /* by the thread that puts them; until the next is put */
void answer_turns_put(AnswerTurns *t, const AnswerTurn *turn); /* copies its ids */

void answer_turns_forget(AnswerTurns *t);

/* ---- keep.c: turns that outlive the process ---- */

json_t *answer_turns_keep(const AnswerTurns *turns);
void answer_turns_recall(AnswerTurns *turns, const json_t *kept, int vocab);

/* ---- guard.c: special tokens that somebody typed ---- */

typedef struct AnswerGuard {
    const sluice_model *model;
    Buf texts;             /* of the special tokens, one behind the other */
    Str *specials;         /* [n] */
    size_t n;
    bool first[256];       /* how one of them begins */
} AnswerGuard;
ErrCode answer_guard_open(AnswerGuard *g, const sluice_model *model, Err *err);
void answer_guard_close(AnswerGuard *g);

/* Noncharacters of Unicode, as UTF-8, that a request does not contain. */
typedef struct AnswerMark {
    char bytes[4];
    char zero[4]; /* in place of a zero byte */
    bool used;
} AnswerMark;
enum { ANSWER_MARK_LEN = 3 };
/* A copy of the value in which each special token has a mark behind its first character. assistant: its think tags stay. */
json_t *answer_guard_copy(const AnswerGuard *g, AnswerMark *mark, const json_t *value, bool assistant, Err *err);
/* Tokenises a piece of what was rendered: what carries a mark is ordinary text, without the mark. */
ErrCode answer_guard_tokenize(const AnswerGuard *g, const AnswerMark *mark, Str text, TextIds *out, Err *err);

/* ---- answer.c ---- */

bool answer_ids_put(TextIds *list, const int32_t *ids, size_t n); /* false: out of memory */

#endif
