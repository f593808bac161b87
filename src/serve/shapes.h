/* serve/shapes: the APIs there are, one file each. */
#ifndef SERVE_SHAPES_H
#define SERVE_SHAPES_H

#include "serve/ask.h"

extern const ServeShape SERVE_OPENAI_CHAT, SERVE_OPENAI_COMPLETIONS, SERVE_OPENAI_RESPONSES;
extern const ServeShape SERVE_ANTHROPIC, SERVE_ANTHROPIC_COUNT;

/* What OpenAI's endpoints share. */
json_t *serve_openai_error(const ServeRefusal *no);
json_t *serve_openai_usage(const ServeUsage *usage);
const char *serve_openai_finish(ServeFinish finish);
/* The error of /v1/messages. */
json_t *serve_anthropic_error(const ServeRefusal *no);

#endif
