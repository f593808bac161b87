/* What each kernel costs: lines of `check-kernels --bench [WORD]`. */
#ifndef TOOLS_BENCH_KERNELS_H
#define TOOLS_BENCH_KERNELS_H

#include "peaks.h"

/* One line: the name of the thing, and what one call of it touches and computes. */
typedef struct Work {
    const char *name;
    double bytes, madds;
    bool quantised; /* the multiply-adds are of bytes */
} Work;

typedef struct Bench {
    const Kernels *k;
    const char *word; /* only lines that contain it; NULL: all */
    Peaks peaks;
    const PeakLoops *loops;
    Stream stream;
} Bench;

/* Is this line asked for? */
bool bench_wants(const Bench *b, const char *name);
/* Runs a function many times and prints a line. Data in the caches, one thread. */
void bench_line(const Bench *b, const Work *work, void (*run)(void *), void *arg);
/* Prints one; peak_ns: what the peaks of this machine would allow. */
void bench_print(const Bench *b, const Work *work, double ns, double peak_ns, const char *bound);

ErrCode bench_vectors(const Bench *b, Err *err);
ErrCode bench_matmul(const Bench *b, Err *err);

#endif
