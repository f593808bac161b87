/* serve/collect: the events of a request that does not stream, gathered into one answer. */
#ifndef SERVE_COLLECT_H
#define SERVE_COLLECT_H

#include "serve/ask.h"

bool serve_answer_init(ServeAnswer *answer, const ServeAsk *ask); /* false: out of memory */
void serve_answer_free(ServeAnswer *answer);
bool serve_answer_add(ServeAnswer *answer, const ServeEvent *event);

#endif
