/* Measuring the machine. Minima over many short runs: whatever else runs here can only make a run longer. */
#include "peaks.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { TRIES = 40, PIECE = 64 * 1024, SMALLEST = 256 << 20 };

/* ---- loops without vectors ------------------------------------------------------------------------------------------ */

static uint64_t read_scalar(const uint8_t *p, size_t bytes) {
    const uint64_t *x = (const uint64_t *)(const void *)p;
    uint64_t s[4] = {0};
    for (size_t i = 0; i < bytes / 8; i += 4)
        for (size_t k = 0; k < 4; k++) s[k] += x[i + k];
    return s[0] ^ s[1] ^ s[2] ^ s[3];
}

/* The compiler must take the values for new in every round. */
static uint64_t int8_scalar(size_t rounds, float *sink) {
    volatile int8_t from = 3;
    int32_t sum[8] = {0}, a = from;
    for (size_t r = 0; r < rounds; r++)
        for (int k = 0; k < 8; k++) sum[k] += a * (int8_t)(sum[k] + k);
    *sink = (float)(sum[0] ^ sum[1] ^ sum[2] ^ sum[3] ^ sum[4] ^ sum[5] ^ sum[6] ^ sum[7]);
    return 8 * rounds;
}

static uint64_t f32_scalar(size_t rounds, float *sink) {
    volatile float from = 0.5f;
    float sum[8] = {0}, a = from;
    for (size_t r = 0; r < rounds; r++)
        for (int k = 0; k < 8; k++) sum[k] = sum[k] * a + 1.0f;
    *sink = sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
    return 8 * rounds;
}

const PeakLoops peak_loops_scalar = {read_scalar, int8_scalar, f32_scalar};

const PeakLoops *peak_loops(KernelsRung rung) {
#ifdef KERNELS_X86
    if (rung == KERNELS_AVX2 || rung == KERNELS_AVX512) return &peak_loops_avx2;
#endif
    (void)rung;
    return &peak_loops_scalar;
}

/* ---- memory --------------------------------------------------------------------------------------------------------- */

/* Of one level; 0: of the largest there is. */
static size_t cache_bytes(int level) {
    uint64_t largest = 0;
    for (int i = 0; i < 8; i++) {
        char path[96], text[32];
        uint64_t bytes, at = 0;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", i);
        if (!os_fact("", path, text, sizeof text) || !parse_size(text, &bytes)) continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/level", i);
        if (level && (!os_fact_number("", path, "", &at) || at != (uint64_t)level)) continue;
        largest = bytes > largest ? bytes : largest;
    }
    return largest ? (size_t)largest : level ? (size_t)512 << 10 : (size_t)32 << 20;
}

/* Pages that were never written are all one page of zeros, which no memory is read for. */
static void touch_task(void *arg, int task, int worker) {
    (void)worker;
    const Stream *s = arg;
    memset(s->bytes + (size_t)task * PIECE, task % 251, PIECE);
}

ErrCode stream_open(Stream *s, Err *err) {
    uint64_t size = 4 * cache_bytes(0);
    if (size < SMALLEST) size = SMALLEST;
    s->size = (size_t)align_up(size, STREAM_ROUND);
    s->bytes = os_pages_new(s->size, err);
    s->pool = s->bytes ? os_pool_new(0, err) : NULL;
    if (!s->pool) {
        stream_close(s);
        return err->code;
    }
    os_pool_run(s->pool, (int)(s->size / PIECE), touch_task, s);
    return ERR_OK;
}

void stream_close(Stream *s) {
    os_pool_free(s->pool);
    os_pages_free(s->bytes, s->size);
}

typedef struct ReadJob {
    const uint8_t *bytes;
    const PeakLoops *loops;
    _Atomic uint64_t sink;
} ReadJob;

static void read_task(void *arg, int task, int worker) {
    (void)worker;
    ReadJob *j = arg;
    atomic_fetch_add_explicit(&j->sink, j->loops->read(j->bytes + (size_t)task * PIECE, PIECE), memory_order_relaxed);
}

double stream_read_ns(const Stream *s, size_t from, size_t size, const PeakLoops *loops) {
    ReadJob job = {.bytes = s->bytes + from, .loops = loops};
    uint64_t start = os_now_ns();
    os_pool_run(s->pool, (int)(size / PIECE), read_task, &job);
    return (double)(os_now_ns() - start);
}

/* ---- all of it ------------------------------------------------------------------------------------------------------ */

static double rate_of(uint64_t (*loop)(size_t, float *), volatile float *sink) {
    double best = 0;
    for (int i = 0; i < TRIES; i++) {
        float out;
        uint64_t start = os_now_ns(), n = loop(20000, &out);
        double rate = (double)n / (double)(os_now_ns() - start);
        *sink = out;
        best = rate > best ? rate : best;
    }
    return best;
}

static double cache_rate(const Stream *s, const PeakLoops *loops) {
    volatile uint64_t sink;
    size_t bytes = cache_bytes(2) / 2 & ~(size_t)255;
    double best = 0;
    for (int i = 0; i < TRIES; i++) {
        uint64_t start = os_now_ns();
        for (int r = 0; r < 20; r++) sink = loops->read(s->bytes, bytes);
        double rate = 20 * (double)bytes / (double)(os_now_ns() - start);
        best = rate > best ? rate : best;
    }
    (void)sink;
    return best;
}

Peaks peaks_measure(const Stream *s, const PeakLoops *loops) {
    volatile float sink;
    volatile uint64_t read;
    Peaks p = {0};
    for (size_t from = 0; from + STREAM_ROUND <= s->size; from += STREAM_ROUND) {
        double rate = STREAM_ROUND / stream_read_ns(s, from, STREAM_ROUND, loops);
        p.memory = rate > p.memory ? rate : p.memory;
    }
    for (size_t from = 0; from + STREAM_ROUND <= s->size; from += STREAM_ROUND) {
        uint64_t start = os_now_ns();
        read = loops->read(s->bytes + from, STREAM_ROUND);
        double rate = STREAM_ROUND / (double)(os_now_ns() - start);
        p.memory_one = rate > p.memory_one ? rate : p.memory_one;
    }
    (void)read;
    p.cache = cache_rate(s, loops);
    p.int8 = rate_of(loops->int8, &sink);
    p.f32 = rate_of(loops->f32, &sink);
    return p;
}
