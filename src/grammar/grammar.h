/* grammar: which texts a model may write, and which tokens may come next.
 *
 * What this is    a JSON Schema, "any JSON object" or a form of tool calls becomes an automaton over bytes with a stack (recursion is
 *                 allowed); the automaton and a vocabulary become token masks. Knows tokens only as byte strings, and no model.
 * Who owns what   a Grammar keeps nothing of the schema it was built from; states and masks borrow their Grammar, masks their
 *                 GrammarVocab too, and must be freed before it.
 * What may fail   building: a schema that is none, a keyword that is not supported (named, with its JSON pointer, never ignored), a
 *                 schema that nothing satisfies or that is too large; memory. After that nothing: no allocation per token.
 * Threads         a finished Grammar or GrammarVocab is read-only and may be shared; a state and a GrammarMasks belong to one thread.
 * Promise         what is accepted up to an end is valid; from every state that was reached an end can be reached; a mask has exactly
 *                 the tokens that grammar_accept would take (and the stop tokens where the text may end), whatever was asked before.
 *                 docs/grammar.md says which spellings are left out. Checked by tests/unit/test_grammar*.c.
 */
#ifndef GRAMMAR_GRAMMAR_H
#define GRAMMAR_GRAMMAR_H

#include "base/base.h"

#include <jansson.h>

/* ---- what may be written ---- */

typedef struct Grammar Grammar;

Grammar *grammar_json_object(Err *err); /* any JSON object */
/* JSON that satisfies the schema. Members come in the order of `properties`; docs/grammar.md has the words that are understood. */
Grammar *grammar_json_schema(const json_t *schema, Err *err);

/* How a model writes calls of tools (text.h has the forms, and reads them). */
typedef enum GrammarCallForm {
    GRAMMAR_CALLS_XML, /* Qwen3.5, Qwen3-Coder: <tool_call> <function=NAME> <parameter=KEY> */
    GRAMMAR_CALLS_JSON /* Qwen3: <tool_call> {"name": ..., "arguments": {...}} */
} GrammarCallForm;
typedef struct GrammarTool {
    Str name;
    const json_t *parameters; /* a JSON Schema; NULL: any object (in the XML form: no parameters) */
} GrammarTool;
/* One call of one of the tools, or, if several, one or more. Of parameters only declared ones are written in the XML form. */
Grammar *grammar_tool_calls(GrammarCallForm form, const GrammarTool *tools, size_t n, bool several, Err *err);

uint64_t grammar_bytes(const Grammar *g); /* heap held */
void grammar_free(Grammar *g);

/* ---- how far a text has come ---- */

/* A fixed size, whatever the text and the grammar: nesting is bounded, and what would go deeper is not allowed. */
typedef struct GrammarState GrammarState;

GrammarState *grammar_state_new(const Grammar *g, Err *err); /* at the beginning */
void grammar_state_set(GrammarState *to, const GrammarState *from); /* both of the same grammar */
void grammar_state_free(GrammarState *s);
/* False where the bytes cannot follow; then the state is as before. */
bool grammar_accept(GrammarState *s, const char *bytes, size_t n);
bool grammar_may_end(const GrammarState *s);
/* How many bytes there must at least come until the text may end: 0 where it may. */
uint32_t grammar_shortest_end(const GrammarState *s);

/* ---- which tokens may come ---- */

typedef struct GrammarVocab GrammarVocab;

/* tokens: [n_tokens] the bytes each token stands for; an empty one is never allowed by what it spells: give that to tokens that are
 * control rather than text. What is kept is a copy. */
GrammarVocab *grammar_vocab_new(const Str *tokens, uint32_t n_tokens, Err *err);
void grammar_vocab_free(GrammarVocab *v);
uint64_t grammar_vocab_bytes(const GrammarVocab *v); /* heap held */
/* What grammar_vocab_new holds at most for so many tokens of so many bytes in all: for a plan that is made before. */
uint64_t grammar_vocab_bytes_at_most(uint32_t n_tokens, uint64_t token_bytes);

/* The masks of one grammar over one vocabulary, remembered within a fixed amount of memory. */
typedef struct GrammarMasks GrammarMasks;

/* stop: tokens that end the text, allowed exactly where it may end. */
GrammarMasks *grammar_masks_new(const Grammar *g, const GrammarVocab *v, const int32_t *stop, size_t n_stop, Err *err);
void grammar_masks_free(GrammarMasks *m);
uint64_t grammar_masks_bytes(const GrammarVocab *v); /* heap that one GrammarMasks takes, known beforehand */
/* mask: [(n_tokens + 31) / 32], bit i % 32 of word i / 32 is token i. False: no token may come, which no vocabulary with all single
 * bytes and a stop token ever sees. */
bool grammar_mask(GrammarMasks *m, const GrammarState *s, uint32_t *mask);

#endif
