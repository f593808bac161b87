/* Runs a model through the public API and keeps everything that the golden files know about. */
#ifndef TESTS_RECORDING_H
#define TESTS_RECORDING_H

#include "sluice.h"

typedef struct Recording {
    int n, layers, width, vocab, k; /* tokens fed, layers, hidden size, vocabulary, experts per token */
    float *logits;    /* [n][vocab] */
    float *hidden;    /* [layers][n][width] */
    int32_t *experts; /* [layers][n][k] */
    float *weights;   /* [layers][n][k] */
} Recording;

/* Opens with the given options; ends the test with the message when that fails. */
sluice_model *open_or_fail(const sluice_options *options);
/* Options for checks: the named model, --precise, two threads unless changed afterwards. */
sluice_options check_options(const char *model);

/* Feeds ids in pieces of `pieces` (ended by 0; NULL: all at once) into the session and records it all. */
Recording *record(sluice_model *model, sluice_session *session, const int32_t *ids, int n, const int *pieces);
/* By hand: room for n tokens, filled by whatever is fed to this session from now on. */
Recording *recording_new(const sluice_model *model, int n);
void recording_watch(Recording *r, sluice_session *session);
void recording_free(Recording *r);
bool recording_equal(const Recording *a, const Recording *b); /* every bit of logits, hidden, routing */

/* Greedy continuation of n tokens after what was fed; end-of-text tokens do not stop it. */
void greedy(sluice_session *session, int n, int32_t *ids);

typedef struct Difference {
    double max, mean;
} Difference;
Difference difference(const float *a, const float *b, int64_t n);

/* Sum of -log p(ids[i + 1]) for i in [from, n - 1) of a recording, in double. */
double negative_log_likelihood(const Recording *r, const int32_t *ids, int from);

#endif
