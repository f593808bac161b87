/* The parts of an answer. Private to the room. */
#ifndef ANSWER_INSIDE_H
#define ANSWER_INSIDE_H

#include "answer/answer.h"

struct Answer {
    AnswerSpec spec;
    Str *stops;            /* [spec.n_stops], owned copies */
    int ctx, vocab;
    TextStream stream;     /* holds back half a character */
    TextCalls *calls;      /* holds back what may be a tag; NULL: all is content */
    Buf held;              /* holds back what may be a stop string: content, behind all events */
    Buf piece, whole;      /* a token's bytes; the whole characters among them */
    TextEvents parsed, events;
    AnswerLikely *rows;    /* [n_rows][1 + spec.likely] */
    size_t n_rows, cap_rows;
    TextIds ids;
    size_t n_reasoning;
    bool called;           /* there was a call */
    AnswerFinish finish;
    Str stop;
    bool failed;
};

/* The bytes of a token, appended. */
void answer_token_bytes(const sluice_model *model, int32_t id, Buf *out);
bool answer_ids_put(TextIds *list, const int32_t *ids, size_t n); /* false: out of memory */

#endif
