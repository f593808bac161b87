/* What this machine can do at best, measured: the bounds that kernels are held against. One loop per rung, nothing but loads or
 * arithmetic in it. */
#ifndef TOOLS_PEAKS_H
#define TOOLS_PEAKS_H

#include "kernels/kernels.h"
#include "os/os.h"

/* The loops of one rung. */
typedef struct PeakLoops {
    /* reads whole runs of 256 bytes; returns something that depends on all of them */
    uint64_t (*read)(const uint8_t *p, size_t bytes);
    /* multiply-adds of bytes, or of floats, that wait for nothing; returns how many, *sink what came out */
    uint64_t (*int8)(size_t rounds, float *sink);
    uint64_t (*f32)(size_t rounds, float *sink);
} PeakLoops;

extern const PeakLoops peak_loops_scalar;
#ifdef KERNELS_X86
extern const PeakLoops peak_loops_avx2;
#endif
/* Those of a rung, or of the highest one below it that has any. */
const PeakLoops *peak_loops(KernelsRung rung);

/* Rates per nanosecond, so GB/s and 10^9 multiply-adds per second. */
typedef struct Peaks {
    double memory, memory_one; /* all threads, one thread */
    double cache;              /* one thread; half of the second-level cache */
    double int8, f32;          /* one thread */
} Peaks;

/* Memory that no cache can hold, read from front to back in rounds: short ones, so that some fall between what else runs here. */
enum { STREAM_ROUND = 8 << 20 };
typedef struct Stream {
    uint8_t *bytes;
    size_t size; /* a multiple of 64 KiB */
    OsPool *pool;
} Stream;

ErrCode stream_open(Stream *s, Err *err);
void stream_close(Stream *s);
/* Reads `size` bytes (a multiple of 64 KiB) from `from` on with all threads; ns. */
double stream_read_ns(const Stream *s, size_t from, size_t size, const PeakLoops *loops);

Peaks peaks_measure(const Stream *s, const PeakLoops *loops);

#endif
