/* make check-kernels: every rung of the kernels ladder against the scalar one, bit for bit.
 * build/check-kernels --digest: a number for each kernel, made of scalar's results; the same on every machine.
 * build/check-kernels --bench [WORD]: what each kernel costs on each rung (only lines that contain WORD), beside what this machine
 * can do at best, measured in the same run. docs/kernels.md says how to read it. */
#include "bench_kernels.h"
#include "support/rungs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int compare(void) {
    int bad = 0, rungs = 0;
    for (KernelsRung rung = KERNELS_AVX2; rung < KERNELS_RUNG_COUNT; rung++) {
        const Kernels *k = kernels_get(rung);
        if (!k) continue;
        rungs++;
        for (size_t i = 0; i < rung_check_count; i++) {
            char where[160];
            bool same = rung_checks[i].same(kernels_get(KERNELS_SCALAR), k, where);
            printf("%-8s %-24s %s%s\n", k->name, rung_checks[i].name, same ? "same bits" : "DIFFERS at ", same ? "" : where);
            fflush(stdout); /* a function that is missing is told before its absence ends the program */
            bad += !same;
        }
    }
    if (!rungs) printf("SKIP: this CPU or build has no rung but scalar, so there is nothing to compare\n");
    return bad ? 1 : rungs ? 0 : 77;
}

/* What another machine must print too. */
static int digests(void) {
    for (size_t i = 0; i < rung_check_count; i++)
        printf("%016" PRIx64 " %s\n", rung_digest(&rung_checks[i], kernels_get(KERNELS_SCALAR)), rung_checks[i].name);
    return 0;
}

static ErrCode bench_rung(Bench *b, Err *err) {
    b->loops = peak_loops(b->k->rung);
    b->peaks = peaks_measure(&b->stream, b->loops);
    const Peaks *p = &b->peaks;
    printf("%-7s peaks: memory %.1f GB/s with %d threads, %.1f with one; cache %.1f GB/s; int8 %.1f, f32 %.1f Gmadd/s\n", b->k->name,
           p->memory, os_pool_threads(b->stream.pool), p->memory_one, p->cache, p->int8, p->f32);
    ErrCode code = bench_vectors(b, err);
    return code == ERR_OK ? bench_matmul(b, err) : code;
}

static int bench(const char *word) {
    Bench b = {.word = word};
    Err err;
    ErrCode code = stream_open(&b.stream, &err);
    for (KernelsRung rung = KERNELS_SCALAR; code == ERR_OK && rung < KERNELS_RUNG_COUNT; rung++) {
        b.k = kernels_get(rung);
        if (b.k) code = bench_rung(&b, &err);
    }
    if (code != ERR_OK) fprintf(stderr, "check-kernels: %s\n", err.text);
    stream_close(&b.stream);
    return code == ERR_OK ? 0 : 1;
}

int main(int argc, char **argv) {
    if (argc == 1) return compare();
    if (argc == 2 && strcmp(argv[1], "--digest") == 0) return digests();
    if (argc <= 3 && strcmp(argv[1], "--bench") == 0) return bench(argc == 3 ? argv[2] : NULL);
    fprintf(stderr, "usage: check-kernels [--digest | --bench [WORD]]\n");
    return 2;
}
