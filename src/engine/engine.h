/* engine: implements sluice.h. Opens a model under a memory plan, runs sessions, samples, keeps statistics.
 *
 * What this is    the glue between rooms, and the only place where memory is budgeted.
 * Who owns what   a sluice_model owns everything below it; sessions borrow it.
 * What may fail   see sluice.h.
 * Threads         calls on one model must not overlap.
 * Promise         the plan is computed before the large allocations and kept. Checked by tests/unit/test_plan.c and tests/stream/.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "base/base.h"
#include "model/model.h"
#include "os/os.h"
#include "sluice.h"

/* What the memory plan depends on; all sizes in bytes. */
typedef struct EnginePlanInput {
    uint64_t ram_bytes;     /* the budget */
    uint64_t base_bytes;    /* resident before anything of the plan is allocated */
    uint64_t peak_bytes;    /* most that was ever resident until now */
    uint64_t dense_bytes, state_bytes, kv_bytes, buffers_bytes;
    uint64_t text_bytes;    /* for tokenising */
    uint64_t other_bytes;   /* for the program that uses the engine */
    uint64_t snapshot_bytes; /* for snapshots */
    uint32_t ctx;           /* positions that were asked for; 0: nobody can choose fewer */
    uint32_t ctx_step;      /* memory is taken for whole steps of so many positions */
    uint64_t position_bytes; /* what each of them takes of kv_bytes and buffers_bytes */
    uint64_t slot_bytes;
    uint32_t experts_total;
    uint32_t slots_wanted;  /* 0: as many as fit */
    uint32_t slots_min;     /* fewer make no sense */
    int threads;
} EnginePlanInput;

/* A pure function: the plan, or a refusal with the smallest budget that would do and, where one would, the largest context. */
ErrCode engine_plan(const EnginePlanInput *in, sluice_plan *plan, Err *err);
/* The budget of somebody who names none, of what the machine and its control groups leave (OsMemory.budget). */
uint64_t engine_default_budget(uint64_t left_bytes);

/* ---- memory pressure ---- */

/* How many slots the expert cache uses while memory is short: what is remembered between two readings. */
typedef struct EnginePressure {
    uint64_t slot_bytes;
    uint32_t planned, now, least;    /* slots: of the plan, to be used now, never fewer */
    uint32_t slots_min;              /* without which nothing can be computed */
    double stalled, stalled_before;  /* share of the time, smoothed; when the cache last shrank because of it */
    bool stalls_are_not_ours;        /* shrinking did not help against them */
    uint64_t fixed_bytes;            /* of the plan, all but the cache: what of it is not resident yet will be */
    uint64_t swapped;                /* bytes in swap that are no news */
    uint64_t read_ns, shrunk_ns, grown_ns; /* last reading, last step down, last step up */
    uint64_t calm_since_ns;          /* since then there has been room for a step up */
    uint64_t patience_ns;            /* how long that must last; doubles when a step up came too soon */
    OsPressureReading last;
} EnginePressure;
/* Of this plan: what is in it beside the cache, and the cache. */
void engine_pressure_init(EnginePressure *p, const sluice_plan *plan, uint32_t slots_min);
/* While a model is being opened: how many of the planned slots there is room for beside `fixed_bytes` that are still to be taken and
 * must be there. 0: not even for those and slots_min. */
uint32_t engine_pressure_begin(EnginePressure *p, const OsPressureReading *reading, uint64_t fixed_bytes);
/* A pure function of what it remembers and one more reading, a few per second, or more: the slots to use from now on. used: how many of
 * them hold memory already. */
uint32_t engine_pressure_step(EnginePressure *p, const OsPressureReading *reading, uint32_t used, uint64_t now_ns);

/* ---- the prediction ---- */

/* What a machine can do: measured by lab/, or described by the user. Rates are of all threads together. */
typedef struct EngineMachine {
    double disk_bytes_per_s;      /* reads of the store's own size and depth, at offsets never read before */
    double disk_read_s;           /* one such read alone, from submission to arrival */
    double dram_bytes_per_s;      /* reading memory that no cache holds */
    double dense_weights_per_s;   /* weights multiplied with one token's activations by our kernels, operands in cache */
    double expert_weights_per_s;  /* the same with the number format of the experts */
    double batched_weights_per_s; /* weights times tokens per second with the experts' format and many tokens */
    int threads;
} EngineMachine;

/* What a model costs, from its headers alone. */
typedef struct EngineWork {
    uint32_t layers, experts, experts_per_token, hidden;
    uint64_t record_bytes;        /* one expert on disk, mean */
    uint64_t record_weights;
    uint64_t dense_bytes;         /* read per decoded token: all dense weights but the embedding table */
    uint64_t dense_weights;
    uint64_t shared_bytes, shared_weights; /* of these the shared experts, which are computed under the reads */
    uint64_t head_bytes, head_weights;     /* of these the output head, which a prompt needs once */
    uint64_t state_bytes;         /* recurrent state, read and written once per token */
    uint64_t kv_bytes_per_position;
} EngineWork;

typedef struct EnginePrediction {
    double hit_rate;              /* what was assumed */
    double bytes_per_token_cold, bytes_per_token;
    double disk_s, dram_s, compute_s; /* each term of one decoded token alone */
    double bound_tok_s;           /* everything overlapped: 1 / max(disk, dram, compute) */
    double bound_serial_tok_s;    /* per layer: dense compute, then the slower of miss reads and hit compute. The engine hides the
                                     shared expert under the reads, so it may come a little above */
    double decode_tok_s;          /* what we expect */
    double prefill_tok_s;         /* of a prompt of one chunk that finds no expert in memory: the first after a start */
    double prefill_warm_tok_s;    /* the same when the cache holds its share of them */
    const char *bound_by;         /* "disk", "dram", "compute" */
} EnginePrediction;

/* A pure function. hit_rate < 0: derive it from the cache's share of all experts (uniform routing, the worst case). position: how many
 * tokens lie before the one that is decoded. A rate of 0 that is needed makes the speeds 0. What is expected never gets slower when
 * memory or any rate grows. docs/planning.md has the formulas. */
void engine_predict(const EngineWork *work, const EngineMachine *machine, const sluice_plan *plan, uint32_t chunk, uint32_t position,
                    double hit_rate, EnginePrediction *out);

/* ---- a model that is only planned for ---- */

/* What a decoded token costs with this model. experts_per_token 0: the model's own number; kv_type: of keys and values. */
void engine_work(const Model *model, uint32_t experts_per_token, QuantType kv_type, EngineWork *out);

/* A model of which only the headers were read: enough to plan for any amount of memory, and to predict. */
typedef struct EngineSketch EngineSketch;
/* options as for sluice_open; threads: of the machine that is planned for; base_elsewhere: bytes that the process there will hold before
 * the plan beyond what this one holds. */
EngineSketch *engine_sketch_new(const sluice_options *options, int threads, uint64_t base_elsewhere, Err *err);
void engine_sketch_free(EngineSketch *sketch);
const Model *engine_sketch_model(const EngineSketch *sketch);
uint32_t engine_sketch_ctx(const EngineSketch *sketch);
void engine_sketch_work(const EngineSketch *sketch, EngineWork *out);
/* The plan that sluice_open would make with this budget (0: measured), or its refusal. chunk may be NULL. */
ErrCode engine_sketch_plan(EngineSketch *sketch, uint64_t ram_bytes, sluice_plan *plan, uint32_t *chunk, Err *err);
/* From now on as if all experts had this number format. False: their rows cannot be of that type. */
bool engine_sketch_retype(EngineSketch *sketch, QuantType type);

/* ---- the sampler ---- */

typedef struct EngineSampler {
    Xoshiro random;
    uint32_t vocab;
    struct Candidate *heap; /* [vocab] */
    uint32_t *counts;       /* [vocab] occurrences in the penalty window, all zero between calls */
} EngineSampler;
EngineSampler *engine_sampler_new(uint32_t vocab, uint64_t seed, Err *err);
void engine_sampler_free(EngineSampler *s);
uint64_t engine_sampler_bytes(uint32_t vocab);
/* logits [vocab], all finite, are not changed; history [n] are the tokens so far; allowed [(vocab + 31) / 32], or NULL: all. -1: none of
 * them is allowed. */
int32_t engine_sampler_draw(EngineSampler *s, const float *logits, const int32_t *history, size_t n, const sluice_sampling *how,
                            const uint32_t *allowed);

#endif
