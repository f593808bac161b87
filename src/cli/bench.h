/* cli/bench: what the files of `sluice bench` share. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include "cli/opened.h"
#include "cli/source.h"
#include "lab/lab.h"

typedef struct Bench {
    const Options *o;
    Opened e;
    /* from the headers, before the model is opened */
    LabFormats formats;
    EngineWork work;
    uint32_t request_bytes;
    char **paths;      /* [n_paths] of the files */
    uint32_t n_paths;
    LabProbe *probe;
    DiskProbe *disk;
    uint64_t disk_buffer; /* memory of its reads */
    int prefill, decode, warm, reps;
    LabRep *rep;       /* [reps] */
    EngineMachine after;
    /* what is reported: medians of the probes, bounds of each repetition */
    EngineMachine machine;
    LabBounds *bounds; /* [reps] */
    EnginePrediction predicted, blind; /* with the measured hit rate, and as plan predicts it beforehand */
} Bench;

/* The median, least and most of a number of every repetition. */
typedef struct Spread {
    double median, min, max;
} Spread;
typedef double BenchValue(const Bench *b, int rep);
Spread bench_spread(const Bench *b, BenchValue *value);

BenchValue bench_prefill_tok_s, bench_decode_tok_s, bench_ttft_ms, bench_hit_rate, bench_bytes_per_token, bench_disk_gb_s, bench_dense_ms,
    bench_expert_ms, bench_wait_ms, bench_store_ms, bench_disk_cpu_ms, bench_store_share, bench_bound, bench_bound_serial,
    bench_bound_serial_probed, bench_disk_bound, bench_dram_bound, bench_compute_bound, bench_of_serial, bench_of_bound,
    bench_prefill_bound, bench_of_prefill_bound, bench_hint_used, bench_hint_bytes;

json_t *bench_json(const Bench *b);
void bench_print(const Bench *b);

#endif
