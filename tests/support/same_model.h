/* Opening models in tests, and comparing two of them value by value. */
#ifndef TESTS_SAME_MODEL_H
#define TESTS_SAME_MODEL_H

#include "model/model.h"
#include "support/tiny_model.h"

typedef struct Opened {
    FormatModel *format;
    Model *model;
    uint8_t *pages;
} Opened;

/* Opens and loads; fails the test with the error's sentence. The pages are exactly dense_bytes long, with a guard behind. */
Opened model_open_or_fail(const char *path);
/* Opens, and loads unless opening failed; NULL model and *err where something is refused. */
Opened model_try(const char *path, Err *err);
void model_close(Opened *o);
/* Writes a tiny model as what it is, a folder or a GGUF file, below temp_dir(); returns the path (one of a few static buffers). */
const char *tiny_write(const TinyModel *m);
Opened tiny_open(const TinyModel *m);
/* Opening or loading must fail with a sentence that has these words; what: for the message of the test. */
void assert_refused(const TinyModel *m, const char *what, const char *words);
void assert_file_refused(const char *path, const char *what, const char *words);

/* All dense values and all expert bytes, decoded. Heads may be tiled in one and grouped in the other. tol: absolute. */
void assert_same_model(const Opened *a, const Opened *b, float tol);
/* The same for everything that no quantiser touches: norms, convolution, decay, router. */
void assert_same_vectors(const Opened *a, const Opened *b, float tol);

#endif
