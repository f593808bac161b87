/* text: between text and tokens, and between a conversation and text. Pure functions over bytes.
 *
 * What this is    byte-level BPE (splits of Qwen3.5 and Qwen2/3, NFC, added tokens), a streaming detokeniser, and chat templates
 *                 run as the model ships them by a small Jinja interpreter.
 * Who owns what   a Tokenizer copies what it needs from its spec; a Template owns its parse tree; results go to the caller's Buf.
 * What may fail   a spec that is no tokenizer; a template with an unknown construct (named in the error, with its line);
 *                 raise_exception of a template (its own message); memory.
 * Threads         a finished Tokenizer or Template is read-only and may be shared.
 * Promise         ids equal those of HF tokenizers, renders those of transformers, byte for byte; time linear in the text.
 *                 Checked by tests/golden/test_tokens.c, tests/unit/test_tokenizer*.c and test_template.c.
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
uint32_t text_token_count(const Tokenizer *t); /* largest id + 1 */
bool text_token_id(const Tokenizer *t, const char *token, int32_t *id); /* an added or special token by its text */
bool text_token_is_special(const Tokenizer *t, int32_t id);

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

#endif
