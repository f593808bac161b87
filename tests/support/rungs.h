/* Compares two rungs of the kernels ladder bit for bit: shared by tests/unit/test_kernels_rungs.c and tools/check_kernels.c. */
#ifndef TESTS_RUNGS_H
#define TESTS_RUNGS_H

#include "kernels/kernels.h"

/* Runs one kernel of both rungs over lengths, alignments and values (ordinary, of all magnitudes, with infinities and NaN).
 * False: the results differ; `where` then says for which input. */
typedef struct RungCheck {
    const char *name;
    bool (*same)(const Kernels *truth, const Kernels *rung, char where[160]);
} RungCheck;

extern const RungCheck rung_checks[];
extern const size_t rung_check_count;

/* A number made of all results that this check compares: the same on every machine, if one answer is kept. */
uint64_t rung_digest(const RungCheck *check, const Kernels *k);

/* ---- random inputs, the same on every run ---- */
float rung_random(void); /* uniform in [-1, 1) */
/* n weights of this type at w. Moderate: scales of sensible size; else any bytes at all, which are blocks too. */
void rung_random_weights(QuantType type, uint8_t *w, size_t n, bool moderate);

#endif
