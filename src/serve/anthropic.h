/* serve/anthropic: what the two halves of Anthropic's messages share: anthropic.c reads, anthropic_out.c writes. */
#ifndef SERVE_ANTHROPIC_H
#define SERVE_ANTHROPIC_H

#include "serve/shapes.h"

/* Of a stream: the block that is open, and how many there were before it. */
typedef struct ServeAnthropicStream {
    ServeEventKind open; /* SERVE_TEXT, SERVE_REASONING, SERVE_TOOL_BEGIN; SERVE_BEGIN: none */
    int index;
} ServeAnthropicStream;

void serve_anthropic_stream(ServeReply *reply, const ServeEvent *event, Buf *out);
json_t *serve_anthropic_whole(ServeReply *reply, const ServeAnswer *answer);

#endif
