/* cli/prompt: a question to a chat model as token ids. */
#ifndef CLI_PROMPT_H
#define CLI_PROMPT_H

#include "cli/opened.h"
#include "text/text.h"

typedef enum PromptThink { THINK_DEFAULT, THINK_ON, THINK_OFF } PromptThink;

/* Renders [system,] user with the model's template and tokenises the result. What the user wrote stays what the user wrote: special
 * tokens in it become ordinary characters, and only those of the template itself are special. */
ErrCode prompt_chat(const Opened *e, const char *system, const char *text, size_t len, PromptThink think, TextIds *out, Err *err);

#endif
