/* The parts a Tokenizer is made of. Private to the text room.
 *
 *   text --added--> raw pieces --nfc--> normal form --split--> words --bpe--> ids          (encoding)
 *   ids --token bytes--> bytes --stream--> whole characters                                 (decoding)
 */
#ifndef TEXT_TOKENIZER_PARTS_H
#define TEXT_TOKENIZER_PARTS_H

#include "text/text.h"

/* ---- UTF-8 (utf8.c) ---- */

/* Looks at the character that starts at p, len > 0. > 0: its length. 0: well formed so far but cut off by the end.
 * < 0: minus the length of the maximal subpart that one U+FFFD stands for. */
int text_utf8_char(const char *p, size_t len);
/* How many bytes from the start are well formed; len when all are. */
size_t text_utf8_prefix(const char *s, size_t len);
/* The code point of a well-formed character of n bytes. */
int32_t text_utf8_code(const char *p, int n);
size_t text_utf8_put(int32_t code, char out[4]); /* returns the bytes written */

/* ---- GPT-2's byte alphabet (alphabet.c): one printable character for every byte ---- */

/* The bytes that a token written in the alphabet stands for; out has room for token.len. False: a character outside it. */
bool text_alphabet_bytes(Str token, char *out, size_t *n);

/* ---- added tokens (added.c): a trie over their bytes ---- */

enum { TEXT_ADDED_BYTES_MAX = 1024 }; /* longer added tokens are refused, so that a search stays linear in the text */

typedef struct TextAddedNode {
    uint32_t child, sibling; /* 0: none */
    int32_t id;              /* -1: no token ends here */
    uint8_t byte;
} TextAddedNode;

typedef struct TextAdded {
    TextAddedNode *nodes; /* [n_nodes]; node 0 is the root */
    uint32_t n_nodes, cap;
    uint32_t first[256];  /* child of the root for each byte, 0: no token starts so */
    int n_first, only_first; /* how many bytes start a token; that byte when it is one */
} TextAdded;

ErrCode text_added_put(TextAdded *a, Str text, int32_t id, Err *err); /* a second token of the same text is an error */
/* The leftmost, then longest, added token in s[from..len): its id and place, or -1. */
int32_t text_added_find(const TextAdded *a, const char *s, size_t len, size_t from, size_t *at, size_t *n);
int32_t text_added_get(const TextAdded *a, Str text); /* the token of exactly this text, or -1 */
void text_added_free(TextAdded *a);

/* ---- Unicode normal form C (nfc.c) ---- */

/* s must be well-formed UTF-8. When it is already NFC *changed is false and out is left alone; else out gets the normal form. */
ErrCode text_nfc(const char *s, size_t len, Buf *out, bool *changed, Err *err);

/* ---- the split into words (split.c) ---- */

typedef struct TextSplitter {
    struct pcre2_real_code_8 *code; /* NULL: the whole text is one word */
    struct pcre2_real_general_context_8 *memory;
    bool jit;
} TextSplitter;

ErrCode text_splitter_new(TextSplitter *s, TextSplit split, const char *pattern, Err *err);
void text_splitter_free(TextSplitter *s);
uint64_t text_splitter_bytes(const TextSplitter *s);

/* One walk over one text at a time; reusable. */
typedef struct TextSplitRun {
    const TextSplitter *splitter;
    struct pcre2_real_match_data_8 *match;
    struct pcre2_real_match_context_8 *context;
    const char *text;
    size_t len, at;                 /* words before `at` are out */
    size_t search;                  /* where the next match is looked for */
    size_t match_start, match_end;  /* found but not yet out, when pending */
    bool pending;
} TextSplitRun;

ErrCode text_split_begin(TextSplitRun *run, const TextSplitter *s, size_t text_bytes_max, Err *err);
void text_split_text(TextSplitRun *run, const char *text, size_t len);
/* The next word, *n bytes at *start; *n == 0 at the end. */
ErrCode text_split_next(TextSplitRun *run, size_t *start, size_t *n, Err *err);
void text_split_end(TextSplitRun *run);

/* ---- byte-pair encoding of one word (bpe.c) ---- */

typedef struct TextMerge {
    uint32_t left, right; /* ids */
    uint32_t rank;        /* UINT32_MAX: an empty slot */
    uint32_t id;          /* of the two together */
} TextMerge;

typedef struct TextBpe {
    TextMerge *slots; /* [1 << bits], open addressing */
    unsigned bits;
    int32_t byte_ids[256]; /* -1: the vocabulary lacks this byte */
} TextBpe;

ErrCode text_bpe_new(TextBpe *b, uint32_t n_merges, Err *err);
/* False: this pair has a merge already, of rank *other. */
bool text_bpe_put(TextBpe *b, TextMerge merge, uint32_t *other);
void text_bpe_free(TextBpe *b);
uint64_t text_bpe_bytes(const TextBpe *b);

typedef struct TextBpeScratch {
    struct TextBpeNode *nodes; /* [cap] */
    uint64_t *heap;            /* [heap_cap] rank << 32 | position */
    size_t cap, n_heap, heap_cap;
} TextBpeScratch;

/* Appends the ids of one word. A byte without a token: ERR_RANGE, and *missing is its place in the word; err is not set then. */
ErrCode text_bpe_word(const TextBpe *b, TextBpeScratch *scratch, const char *word, size_t len, TextIds *out, size_t *missing,
                      Err *err);
void text_bpe_scratch_free(TextBpeScratch *s);

bool text_ids_room(TextIds *ids, size_t more);

/* ---- the long lists of a tokenizer.json (json_walk.c) ---- */

/* The text of a member's value, found without parsing what lies beside it. False: no such member. */
bool text_json_member(Str object, const char *key, Str *value);

/* A walk over model.vocab or model.merges; zero-initialise and set the text. Strings without escapes are borrowed from it. */
typedef struct TextJsonWalk {
    Str text;
    size_t at;
    Arena strings; /* those with escapes; arena_free when done */
    bool no_memory;
} TextJsonWalk;

ErrCode text_json_vocab_next(TextJsonWalk *w, Str *token, int64_t *id, bool *end, Err *err);
ErrCode text_json_merges_next(TextJsonWalk *w, Str parts[2], bool *end, Err *err);

/* ---- the whole ---- */

struct Tokenizer {
    uint32_t n_tokens;
    uint32_t *starts;  /* [n_tokens + 1] where each token's bytes begin */
    char *bytes;       /* what each token decodes to, one after the other */
    uint8_t *kinds;    /* [n_tokens] TextTokenKind */
    TextBpe bpe;
    TextAdded added;
    TextSplitter splitter;
    bool nfc;
};

#endif
