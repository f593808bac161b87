/* serve/openai_messages: conversations and tools as OpenAI's chat completions spell them, made ready for the chat template. */
#ifndef SERVE_OPENAI_MESSAGES_H
#define SERVE_OPENAI_MESSAGES_H

#include "serve/ask.h"

/* ask->chat, with the prompt of an answer asked for; made where it is not there yet. NULL: *no says so. */
json_t *serve_chat_of(ServeAsk *ask, ServeRefusal *no);
json_t *serve_chat_kwargs(ServeAsk *ask, ServeRefusal *no);
/* Rows of fields. */
ServeFieldReader serve_field_messages, serve_field_tools, serve_field_tool_choice, serve_field_parallel_tools, serve_field_template_kwargs,
    serve_field_effort, serve_field_response_format;
/* What can be said only when all fields have been read: tools, the choice among them, and the messages go together. */
bool serve_chat_check(ServeAsk *ask, ServeRefusal *no);
/* Puts the way to a nested field before its name: "messages[3]" + "content". Returns false. */
bool serve_refuse_inside(ServeRefusal *no, const char *fmt, ...) BASE_PRINTF(2, 3);

#endif
