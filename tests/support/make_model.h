/* Makes tiny models of the three architectures, with random weights, as GGUF: whole models for tests that have nothing but this
 * repository, and models with one thing wrong. Equal options give equal bytes. */
#ifndef TESTS_MAKE_MODEL_H
#define TESTS_MAKE_MODEL_H

#include <stdbool.h>
#include <stdint.h>

typedef struct MakeModel {
    const char *arch;   /* "qwen35moe" (also NULL), "qwen3next", "qwen3moe" */
    const char *type;   /* of the matrices: "F32" (also NULL), "F16", "BF16", "Q8_0"; vectors, router and convolution are F32 */
    uint64_t seed;
    uint32_t layers;    /* 0: 4. Every second one has full attention, the others are linear where the architecture has that */
    uint32_t experts;   /* 0: 8 */
    uint32_t top_k;     /* 0: 3 */
    bool tied;          /* no output.weight */
    bool draft;         /* one draft (MTP) layer behind the trunk; qwen35moe only */

    /* What is wrong with it; NULL: nothing. Names are those of tensors or, for skip, also of keys. */
    const char *skip;   /* leave it out */
    const char *rename; /* this tensor is called rename_to */
    const char *rename_to;
    const char *reshape;      /* this tensor has the dimensions ne[0..n_dims) instead, innermost first */
    uint64_t ne[4];
    int n_dims;
    const char *poison;       /* element poison_at of this tensor is poison_with, 0: NaN */
    uint64_t poison_at;
    float poison_with;
    const char *retype;       /* this tensor is of ggml type retype_to, all zero bytes */
    uint32_t retype_to;
    const char *extra;        /* a vector of this name that no architecture knows */
    const char *set;          /* this key, old or new, has the value set_text if not NULL, else set_real if not 0, else set_number */
    const char *set_text;
    float set_real;
    uint32_t set_number;
} MakeModel;

enum { MAKE_VOCAB = 300, MAKE_HIDDEN = 64 };

/* Writes temp_dir()/file_name and returns its path (a static buffer, one of a few used in turn). */
const char *make_model(const MakeModel *o, const char *file_name);

/* Ids of the tokenizer that all these models carry: 0..255 are the bytes in GPT-2's order, then a few merges, then these. */
enum { MAKE_ENDOFTEXT = 270, MAKE_IM_START, MAKE_IM_END, MAKE_THINK, MAKE_END_THINK };

#endif
