/* serve/openai_responses: what the two halves of OpenAI's responses share: openai_responses.c reads, openai_responses_out.c writes. */
#ifndef SERVE_OPENAI_RESPONSES_H
#define SERVE_OPENAI_RESPONSES_H

#include "serve/shapes.h"

/* Of a stream: the item that is open, and those that are done, for the last event repeats them all. */
typedef struct ServeResponsesStream {
    json_t *done;        /* [items]; NULL: none yet */
    ServeEventKind open; /* SERVE_TEXT, SERVE_REASONING, SERVE_TOOL_BEGIN; SERVE_BEGIN: none */
    Buf text;            /* of the open item: its text, or the arguments */
    Buf call_id, name;
    ServeFinish finish;
    int sequence;        /* number of the next event */
} ServeResponsesStream;

void serve_responses_stream(ServeReply *reply, const ServeEvent *event, Buf *out);
json_t *serve_responses_whole(ServeReply *reply, const ServeAnswer *answer);
void serve_responses_close(void *own);

#endif
