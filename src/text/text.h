/* text: between text and tokens, and between a conversation and text. Pure functions over bytes.
 *
 * What this is    byte-level BPE (splits of Qwen3.5 and Qwen2/3, NFC, added tokens), a streaming detokeniser, chat templates
 *                 run as the model ships them by a small Jinja interpreter, and what an answer is made of: reasoning, text, calls.
 * Who owns what   a Tokenizer copies what it needs from its spec; a Template owns its parse tree; results go to the caller's Buf or
 *                 TextEvents; a TextCalls keeps a reference to its tools.
 * What may fail   a spec that is no tokenizer; a template with an unknown construct (named in the error, with its line);
 *                 raise_exception of a template (its own message); memory. No answer of a model fails: what is no call is text.
 * Threads         a finished Tokenizer or Template is read-only and may be shared.
 * Promise         ids equal those of HF tokenizers, renders those of transformers, byte for byte; time linear in the text. An answer
 *                 has the same events however it was cut into pieces, and the arguments of its calls are valid JSON.
 *                 Checked by tests/golden/test_tokens.c, tests/unit/test_tokenizer*.c, test_template.c and test_calls.c.
 */
#ifndef TEXT_TEXT_H
#define TEXT_TEXT_H

#include "base/base.h"

#include <jansson.h>

/* ---- tokenizer ---- */

typedef struct Tokenizer Tokenizer;

typedef enum TextSplit {
    TEXT_SPLIT_NONE,    /* no regex: the whole text is one piece */
    TEXT_SPLIT_QWEN2,   /* Qwen2, Qwen3, Qwen3-Next */
    TEXT_SPLIT_QWEN35   /* Qwen3.5 and later: \p{M} joins letters */
} TextSplit;

typedef enum TextTokenKind { TEXT_TOKEN_NORMAL, TEXT_TOKEN_ADDED /* added, not special: <think> */, TEXT_TOKEN_SPECIAL,
    TEXT_TOKEN_UNUSED } TextTokenKind;

typedef struct TextSpec {
    uint32_t n_tokens;
    const Str *tokens;          /* [n_tokens]; NORMAL: in GPT-2's byte alphabet; ADDED and SPECIAL: plain text */
    const uint8_t *kinds;       /* [n_tokens] TextTokenKind */
    uint32_t n_merges;
    const Str (*merges)[2];     /* [n_merges] left and right part, best rank first */
    TextSplit split;
    const char *split_pattern;  /* a regex instead of the named split (tokenizer.json's own), or NULL */
    bool nfc;
} TextSpec;

Tokenizer *text_tokenizer_new(const TextSpec *spec, Err *err);
/* From the text of a tokenizer.json, with tokenizer_config.json's added_tokens_decoder if given ({NULL,0}: none).
 * A vocabulary-only file without merges (character level) works too. */
Tokenizer *text_tokenizer_from_json(Str tokenizer_json, Str tokenizer_config_json, Err *err);
void text_tokenizer_free(Tokenizer *t);
uint64_t text_tokenizer_bytes(const Tokenizer *t); /* heap held */

typedef struct TextIds {
    int32_t *ids;
    size_t n, cap;
} TextIds;
void text_ids_free(TextIds *ids);

enum { TEXT_NO_SPECIAL = 1 }; /* read added and special tokens as ordinary text */
/* Appends the ids of text to out. Bytes that are not UTF-8 are an error that names the offset. */
ErrCode text_encode(const Tokenizer *t, const char *text, size_t len, unsigned flags, TextIds *out, Err *err);
/* Appends the bytes of one token; special tokens as their text unless skip_special. False: no token has this id. */
bool text_decode(const Tokenizer *t, int32_t id, bool skip_special, Buf *out);
Str text_token_bytes(const Tokenizer *t, int32_t id); /* the same without a copy; empty: no token has this id */
uint32_t text_token_count(const Tokenizer *t); /* largest id + 1 */
bool text_token_id(const Tokenizer *t, const char *token, int32_t *id); /* an added or special token by its text */
bool text_token_is_special(const Tokenizer *t, int32_t id);
bool text_token_is_added(const Tokenizer *t, int32_t id); /* special, or read from text like those: <think> */

/* Holds back an incomplete UTF-8 character until its bytes are there. Zero-initialise. */
typedef struct TextStream {
    char held[8];
    size_t n_held;
} TextStream;
/* Appends what of (held + bytes) is whole characters; a byte that can start no character becomes U+FFFD. */
void text_stream_put(TextStream *s, const char *bytes, size_t len, Buf *out);
void text_stream_end(TextStream *s, Buf *out); /* what is still held is broken: U+FFFD */

/* ---- templates ---- */

typedef struct Template Template;

Template *text_template_new(const char *source, size_t len, Err *err);
void text_template_free(Template *t);
/* Renders with the given variables (a JSON object: messages, tools, add_generation_prompt, bos_token, ...). A template's own
 * raise_exception gives ERR_RANGE with exactly its message. A string variable strftime_now ("2026-01-15T12:34:56") fixes the clock. */
ErrCode text_template_render(const Template *t, const json_t *vars, Buf *out, Err *err);

/* A chat request -> the variables of a template, the way transformers prepares them: reasoning_content filled from thinking or
 * reasoning, kwargs laid over, add_generation_prompt false unless they say otherwise. Tool-call arguments stay as they are: a
 * template that wants an object refuses a string. request: {"messages": [...], "tools": [...] | null, "kwargs": {...}}. Integers
 * beyond 64 bits survive (see text_json_load). */
ErrCode text_chat_render(const Template *t, const json_t *request, Buf *out, Err *err);
/* For requests of the OpenAI kind, before text_chat_render: tool_calls[].function.arguments given as a JSON string become the object
 * the string spells, in place; "" becomes {}. A string that spells no object is left for the template to judge. */
ErrCode text_chat_parse_arguments(json_t *messages, Err *err);
/* Parses JSON keeping key order, 3 apart from 3.0, and U+0000 in values. An integer beyond 64 bits becomes a string value that no JSON
 * text can spell (the byte 0xFF, then its digits); templates see it as the integer. Refused: keys that occur twice, NaN, infinite
 * numbers, lone surrogates. */
json_t *text_json_load(const char *text, size_t len, Err *err);
/* Appends any value as compact JSON. False: NULL, out of memory, or an integer that text_json_load keeps and JSON cannot spell. */
bool text_json_put(const json_t *value, Buf *out);

/* ---- what an answer is made of ---- */

/* How a model was taught to write the calls of tools. */
typedef enum TextForm {
    TEXT_FORM_NONE,
    TEXT_FORM_QWEN_XML,    /* Qwen3.5, Qwen3-Coder, Nemotron-3: <tool_call> <function=NAME> <parameter=KEY> */
    TEXT_FORM_QWEN_JSON,   /* Qwen3: <tool_call> {"name": ..., "arguments": {...}} */
    TEXT_FORM_GLM,         /* GLM-4.5 and later: <tool_call>NAME <arg_key>KEY</arg_key> <arg_value> */
    TEXT_FORM_MINIMAX,     /* MiniMax-M2: <minimax:tool_call> <invoke name="NAME"> <parameter name="KEY"> */
    TEXT_FORM_KIMI,        /* Kimi-K2: functions.NAME:INDEX and a JSON object */
    TEXT_FORM_DEEPSEEK,    /* DeepSeek-V3.1: NAME, a separator, a JSON object */
    TEXT_FORM_DEEPSEEK_V3, /* DeepSeek-V3 and R1: the object is fenced as a block of code */
    TEXT_FORMS
} TextForm;
TextForm text_calls_form(Str template);        /* found from what the template itself writes */
bool text_calls_is_tag(TextForm form, Str token); /* the token stands in what is written around calls */
bool text_calls_thinks(Str chat_template);     /* its answers may have a <think> block */
bool text_calls_inside_think(Str prompt);      /* the rendered prompt ends inside one, so the answer begins there */
bool text_calls_behind_think(Str prompt);      /* it ends behind one: whoever asked wants no reasoning */

/* The text of an event lies in the list's bytes. Pieces of reasoning or content follow each other; a call is its name (before it
 * the id, in forms whose ids the model chooses), its arguments as one JSON object, and its end. */
typedef enum TextEventKind { TEXT_REASONING, TEXT_CONTENT, TEXT_CALL_ID, TEXT_CALL_NAME, TEXT_CALL_ARGUMENTS, TEXT_CALL_END } TextEventKind;
typedef struct TextEvent {
    TextEventKind kind;
    size_t at, len;
} TextEvent;
typedef struct TextEvents {
    TextEvent *items; /* [n] */
    size_t n, cap;
    Buf bytes;
    bool failed;      /* memory ran out: the list is not whole */
} TextEvents;
void text_events_put(TextEvents *list, TextEventKind kind, Str text); /* an empty text of reasoning or content is no event */
Str text_events_text(const TextEvents *list, size_t i);
void text_events_clear(TextEvents *list); /* keeps the memory */
void text_events_free(TextEvents *list);

/* Takes an answer apart while it is made. Reasoning and content leave as soon as they cannot be the beginning of a tag; a call leaves
 * whole, when its end is there, so a client never sees half a one.
 *   - Only tools that were declared are called: what calls another one, is not well formed or was cut off is content, byte for byte.
 *   - Mended, because it can be read in one way only: a tag of the end that is missing (of the last value or behind it) where the model
 *     stopped by itself or began the next call; a missing first tag before a declared name; "functions." before a name, another
 *     spelling of - and _, of capitals; bare newlines inside JSON strings, closing brackets that are missing; calls with which
 *     reasoning ends that was never closed.
 *   - A value that is not JSON itself becomes what its schema says: true and false (in any capitals), null, integers, numbers, objects
 *     and arrays where they are allowed and the text spells one; of several allowed types a string comes last. Whatever does not fit
 *     stays a string, as do parameters that the schema does not know (as vLLM and SGLang have it). "null" for a plain string is a string.
 *   - Newlines around reasoning, before the first call and between calls belong to the template and are left out. */
typedef struct TextCalls TextCalls;
typedef struct TextCallsSpec {
    TextForm form;
    bool thinks;         /* take reasoning apart: a <think> at the beginning opens it */
    bool inside_think;   /* the prompt has opened it */
    bool behind_think;   /* the prompt has opened and closed it; what a grammar allows depends on it */
    const json_t *tools; /* [{"type": "function", "function": {"name", "parameters"}}], or the functions themselves; NULL: no calls */
} TextCallsSpec;
TextCalls *text_calls_new(const TextCallsSpec *spec, Err *err);
void text_calls_free(TextCalls *c);
bool text_calls_thinking(const TextCalls *c); /* inside reasoning, as far as can be said */
void text_calls_put(TextCalls *c, const char *bytes, size_t len, TextEvents *out);
/* cut: the answer ended because a limit was reached, not because the model had finished. */
void text_calls_end(TextCalls *c, bool cut, TextEvents *out);

#endif
