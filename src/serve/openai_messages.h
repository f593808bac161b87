/* serve/openai_messages: conversations and tools as OpenAI's chat completions spell them, made ready for the chat template. */
#ifndef SERVE_OPENAI_MESSAGES_H
#define SERVE_OPENAI_MESSAGES_H

#include "serve/ask.h"

/* ask->chat, with the prompt of an answer asked for; made where it is not there yet. NULL: *no says so. */
json_t *serve_chat_of(ServeAsk *ask, ServeRefusal *no);
json_t *serve_chat_kwargs(ServeAsk *ask, ServeRefusal *no);
/* Rows of fields. */
ServeFieldReader serve_field_messages, serve_field_tools, serve_field_tool_choice, serve_field_parallel_tools, serve_field_template_kwargs,
    serve_field_effort, serve_field_response_format, serve_field_verbosity;
/* The arguments of a function that was called become an object; "" and null are none. */
bool serve_call_arguments(json_t *function, ServeRefusal *no);
bool serve_tool_name(const json_t *name); /* it is one that can be written */
/* What can be said only when all fields have been read: tools, the choice among them, and the messages go together. */
bool serve_chat_check(ServeAsk *ask, ServeRefusal *no);

#endif
