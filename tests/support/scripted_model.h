/* A model file that says what a test wants it to say, through the whole program: tokenizer, template, network, sampler. Its template
 * puts a token behind the prompt that depends on what was said last; the network maps that token to one whose text is the whole answer, and
 * that to the end of the turn. Its calls are written as Qwen3's: <tool_call> {"name": ..., "arguments": {...}} </tool_call>. */
#ifndef TESTS_SCRIPTED_MODEL_H
#define TESTS_SCRIPTED_MODEL_H

#include <stdbool.h>
#include <stddef.h>

typedef struct Script {
    const char *when; /* what stands in the last message; "" in the last row: anything else */
    const char *says;
} Script;

enum { MOST_SCRIPTS = 24 };
/* tools: the template knows them. It always knows <think>. */
void scripted_write(const char *path, const Script *scripts, size_t n, bool tools);

#endif
