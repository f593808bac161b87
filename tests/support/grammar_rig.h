/* Driving grammars in tests: the embedded model's tokens, texts accepted whole, masks by brute force, and random texts. */
#ifndef TESTS_GRAMMAR_RIG_H
#define TESTS_GRAMMAR_RIG_H

#include "grammar/grammar.h"

typedef struct GrammarRig {
    Buf bytes;
    Str *tokens; /* [n] what each token spells; empty for special ones */
    uint32_t n;
    int32_t stop;
    GrammarVocab *vocab;
} GrammarRig;

GrammarRig *grammar_rig_new(void); /* of data/tiny-tales.gguf */
void grammar_rig_free(GrammarRig *r);

/* Is this text one of the grammar's, whole? */
bool grammar_takes(const Grammar *g, const char *text, size_t len);

/* The mask by trying each token: fails the test where the masks of m say otherwise. */
void grammar_expect_mask(const GrammarRig *r, const Grammar *g, GrammarMasks *m, const GrammarState *s);
/* Walks through text byte by byte (it must be taken) and compares the masks after every step-th byte. */
void grammar_expect_masks_along(const GrammarRig *r, const Grammar *g, GrammarMasks *m, const char *text, size_t step);

/* A text of random allowed tokens. After `patience` tokens only those that come nearer to an end are taken. */
void grammar_random_text(const GrammarRig *r, const Grammar *g, GrammarMasks *m, uint64_t seed, int patience, Buf *out);

#endif
