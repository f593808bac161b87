/* The parts of taking an answer apart. Private to the text room.
 *
 *   bytes --calls.c--> reasoning, content, and blocks of calls --calls_block.c--> names and values --calls_value.c--> JSON
 */
#ifndef TEXT_CALLS_H
#define TEXT_CALLS_H

#include "text/text.h"

/* ---- forms (calls_forms.c) ---- */

/* A block is `open`, calls, `close`. A call is `call_open`, the name, `name_end`; then, where key_open is given, parameters of the
 * shape `key_open` KEY `key_end` `value_open` VALUE `value_end`, else one JSON object; then `call_close`. White space may stand
 * between any two of them. "" is left out. */
typedef struct TextCallsForm {
    const char *open, *call_open, *name_end, *key_open, *key_end, *value_open, *value_end, *call_close, *close;
    bool name_in_json; /* the object is {"name": ..., "arguments": ...} */
    bool name_is_id;   /* the name is written as functions.NAME:INDEX, which is the call's id */
    bool name_at_space; /* the name ends at white space or a tag */
    bool lines;        /* a value has a line of its own: one newline on either side is not part of it */
} TextCallsForm;
const TextCallsForm *text_calls_forms_get(TextForm form); /* NULL for TEXT_FORM_NONE */

/* ---- what stands at a place ---- */

typedef enum TextCallsMatch { TEXT_MATCH_NO, TEXT_MATCH_MAYBE /* the text ends inside it */, TEXT_MATCH_YES } TextCallsMatch;
TextCallsMatch text_calls_forms_match(Str s, size_t at, const char *word);
bool text_calls_forms_is_space(char c);
size_t text_calls_forms_skip_space(Str s, size_t at);

/* ---- one block (calls_block.c) ---- */

typedef struct TextCallsCall {
    const char *name; /* as it was declared; the tool's */
    Buf id, arguments;
} TextCallsCall;

typedef enum TextCallsState {
    TEXT_BLOCK_CALL, TEXT_BLOCK_NAME, TEXT_BLOCK_KEY, TEXT_BLOCK_KEY_NAME, TEXT_BLOCK_VALUE, TEXT_BLOCK_JSON, TEXT_BLOCK_JSON_END
} TextCallsState;

/* AGAIN: the state has changed */
typedef enum TextCallsVerdict { TEXT_BLOCK_MORE, TEXT_BLOCK_BAD, TEXT_BLOCK_GOOD, TEXT_BLOCK_AGAIN } TextCallsVerdict;

/* Positions count from the block's first byte, so the text may move while it grows. */
typedef struct TextCallsBlock {
    const TextCallsForm *form;
    const json_t *tools, *tool; /* all; the one being called */
    TextCallsState state;
    bool bare;                  /* began without `open` */
    size_t at, from;            /* where the state's piece begins; how far it was looked through */
    size_t key, key_len;
    int depth;                  /* of brackets in JSON, and which of them are square, lowest bit innermost */
    uint64_t square;
    bool in_string, escaped;
    bool failed;                /* memory */
    TextCallsCall *calls;       /* [n_calls] complete ones, and the one being read behind them */
    size_t n_calls, first, cap; /* the first that is this block's; those before it stood in blocks before */
} TextCallsBlock;
void text_calls_block_begin(TextCallsBlock *b, bool bare); /* calls of blocks before are kept */
/* Looks at the block that s begins with. ended: nothing follows s; stopped: because the model had finished. GOOD: b->at is behind it. */
TextCallsVerdict text_calls_block_read(TextCallsBlock *b, Str s, bool ended, bool stopped);
void text_calls_block_drop(TextCallsBlock *b); /* forgets all calls */
void text_calls_block_free(TextCallsBlock *b);

/* ---- names and values (calls_value.c) ---- */

/* The declared function that a name means, or NULL. */
const json_t *text_calls_value_tool(const json_t *tools, Str name);
const char *text_calls_value_tool_name(const json_t *tool);
/* The value as JSON text, by the schema of this parameter. */
void text_calls_value_put(const json_t *tool, Str key, Str value, Buf *out);
void text_calls_value_string(Str text, Buf *out); /* as a JSON string */
/* Whether the text is one JSON object; with `tool`: with all that it requires. *failed becomes true when memory runs out. */
bool text_calls_value_is_object(Str text, const json_t *tool, bool *failed);
/* Copies JSON with control characters inside strings escaped. */
void text_calls_value_mend(Str json, Buf *out);
/* The text of a member of an object, {NULL, 0} if there is none; *others: how many other members it has. */
Str text_calls_value_member(Str object, const char *key, size_t *others);

#endif
