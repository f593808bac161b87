/* lab: measuring. What a machine can do, how fast a model runs on it, and what stands in the way.
 *
 * What this is    probes of memory, arithmetic and disk as the engine uses them (machine*.c), the profile of a machine that is kept in
 *                 the state folder, the checks of `doctor` (doctor*.c) and the measurement of `bench` (bench*.c); traces of what a run
 *                 wanted of its experts (trace*.c), their replay through the cache (simulate*.c), and pictures (plot*.c).
 * Who owns what   a probe owns its memory and threads from _new to _free, so that a memory plan made in between counts them.
 *                 Strings that are passed in are borrowed for the call.
 * What may fail   memory and threads for the probes, reads of the file that is measured, the state folder. A fact that the kernel does
 *                 not tell is absent in the result, never guessed.
 * Threads         one thread calls; probes spread their work over a pool of their own.
 * Promise         a rate is of bytes that were really read or weights that were really multiplied: no offset is read twice before
 *                 all were read once, and what a cache could have answered is said. A replay asks the engine's own cache. Checked by
 *                 tests/unit/test_lab_machine.c, test_lab_doctor.c, test_lab_trace.c, test_lab_simulate.c and tests/cli/.
 */
#ifndef LAB_LAB_H
#define LAB_LAB_H

#include "cache/cache.h"
#include "disk/disk.h"
#include "engine/engine.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "os/os.h"
#include "quant/quant.h"

/* ---- the machine: memory and arithmetic (machine.c) --------------------------------------------------------------------- */

typedef struct LabMix {
    QuantType type;
    uint64_t weights;
} LabMix;

/* The number formats of a model, by how many weights each has in one decoded token. */
typedef struct LabFormats {
    LabMix dense[QUANT_TYPE_COUNT], expert[QUANT_TYPE_COUNT];
    int n_dense, n_expert;
} LabFormats;
void lab_formats(const Model *model, LabFormats *out); /* NULL: Q8_0 dense weights and Q4_K experts */

typedef struct LabProbeConfig {
    const Kernels *kernels;
    LabFormats formats;
    bool precise;        /* f32 activations, as --precise */
    int threads;         /* 0: one per usable CPU */
    uint64_t dram_bytes; /* memory that the probe of memory streams through; 0: four times the last cache, within reason */
} LabProbeConfig;

typedef struct LabProbe LabProbe;
LabProbe *lab_probe_new(const LabProbeConfig *config, Err *err);
void lab_probe_free(LabProbe *p);
int lab_probe_threads(const LabProbe *p);
uint64_t lab_probe_bytes(const LabProbe *p);      /* what the probe of memory streams through */
bool lab_probe_in_cache(const LabProbe *p);       /* that is too little: the last cache may have answered */
double lab_probe_dram(LabProbe *p);               /* bytes per second, the best of a few passes */
/* Weights per second, operands in cache: one token with the dense formats, one token and 64 tokens with the experts' formats. */
double lab_probe_dense(LabProbe *p);
double lab_probe_expert(LabProbe *p);
double lab_probe_batched(LabProbe *p);

uint64_t lab_cache_bytes(int level); /* of one core's cache of this level, 0: the last level; a guess where the kernel is silent */
void lab_cpu_name(const char *root, char *out, size_t size);

/* ---- the machine: disk (machine_disk.c) --------------------------------------------------------------------------------- */

/* Rate and time of reads of this size, by a probe that reads as the engine does, in about `seconds`. Both 0: the files are too small,
 * there is no disk to speak of. *cached: places were read again, or were in the page cache, so that a cache may have answered. */
typedef struct LabDisk {
    double bytes_per_s, read_s;
    bool cached;
} LabDisk;
ErrCode lab_disk(DiskProbe *probe, uint32_t request_bytes, double seconds, LabDisk *out, Err *err);
/* A file of random bytes to measure where there is no model; the caller removes it. */
ErrCode lab_scratch_file(const char *path, uint64_t bytes, Err *err);

/* ---- the machine: all of it, and its profile (machine_profile.c) ---------------------------------------------------------- */

typedef struct LabProfile {
    EngineMachine machine;
    char date[32], kernel[128], cpu[128], rung[16], dense_types[64], expert_types[64];
    char disk_path[512], file_system[32], io[16];
    bool direct;
    uint32_t request_bytes;
    int depth;
    uint64_t dram_probe_bytes;
} LabProfile;

typedef struct LabMeasure {
    const Model *model;      /* its formats and its files; NULL: the usual formats, and */
    const char *file;        /* ... this file, or where it is NULL */
    const char *scratch_dir; /* ... a scratch file made in this folder and removed again; NULL: the disk is not measured (rates 0) */
    const char *cpu;         /* as --cpu; NULL: auto */
    bool precise;
    int threads;
    uint64_t dram_bytes;     /* as in LabProbeConfig */
    DiskBackend backend;
    DiskDirect direct;
    bool (*progress)(void *user, const char *what, uint64_t done, uint64_t total); /* NULL, or false to interrupt */
    void *user;
} LabMeasure;
enum { LAB_SCRATCH_BYTES = 256 << 20 };

/* A few seconds of measuring. */
ErrCode lab_measure(const LabMeasure *how, LabProfile *out, Err *err);
/* The size of the reads that the store will mostly make of this model, and the mean size of a record; NULL: of a common one. */
uint32_t lab_request_bytes(const Model *model);
/* machine.json in the state folder (which is made if it is not there). *found false: there is none. */
ErrCode lab_profile_save(const char *state_dir, const LabProfile *profile, Err *err);
ErrCode lab_profile_load(const char *state_dir, LabProfile *profile, bool *found, Err *err);
/* Was it measured on this CPU, with this kernel ladder and this number of threads? */
bool lab_profile_fits(const LabProfile *profile, const char *rung, int threads);

/* ---- what stands in the way (facts.c, traps.c) --------------------------------------------------------------------------- */

/* What the kernel tells. root is "" or, for tests, a folder with a tree of /proc and /sys. Empty text, 0: not told. */
typedef struct LabFacts {
    char cpu[128], kernel[128], governor[32], preference[32], driver[32]; /* of frequency scaling */
    char huge_pages[32];      /* "always", "madvise", "never" */
    OsMemory memory;
    int cpus;                 /* usable by this process */
    double quota_cpus;        /* of the control group; 0: none */
    uint64_t memlock_bytes;   /* UINT64_MAX: no limit */
    uint64_t swap_total, swap_used;
    double load;              /* of the last minute */
    bool pressure;            /* /proc/pressure/memory can be read */
    int uring_disabled;       /* /proc/sys/kernel/io_uring_disabled; -1: no such switch */
} LabFacts;
void lab_facts(const char *root, LabFacts *facts);

/* Where a model lies. */
typedef struct LabSite {
    const char *root, *path; /* path: for the sentences */
    OsPlace place;
    uint64_t lock_bytes;     /* that --mlock would lock; 0: unknown */
} LabSite;

/* One thing that slows sluice down on this machine: what is so, and what to do about it. */
typedef struct LabTrap {
    const char *name; /* "governor", "pcie", "full", "swap", "file-system", "memlock", "rotational", "cgroup", "huge-pages", "load", ... */
    char text[256], cure[256];
} LabTrap;
enum { LAB_MAX_TRAPS = 16 };
/* Returns how many; site NULL: nothing about a disk. */
int lab_traps(const LabFacts *facts, const LabSite *site, LabTrap traps[LAB_MAX_TRAPS]);

/* ---- traces: what a run wanted of its experts (trace.c, trace_read.c) ---------------------------------------------------------- */

typedef struct LabTraceFacts {
    char model[64];
    uint32_t layers, experts, top_k;
    uint32_t slots;        /* of the cache that the run had */
    uint64_t record_bytes; /* of one expert, mean */
} LabTraceFacts;

/* Writes a trace while a model runs; path "-" is standard output. An error, such as a full disk, ends the recording and not the run;
 * lab_trace_finish tells it. */
typedef struct LabTraceWriter LabTraceWriter;
LabTraceWriter *lab_trace_new(const char *path, const LabTraceFacts *facts, Err *err);
/* As members of a sluice_probe with the writer as its user. Every routing of a layer comes before the fetch of that layer. */
void lab_trace_routing(void *writer, int layer, int position, int k, const int32_t *experts, const float *weights);
void lab_trace_fetch(void *writer, int layer, int position, int n, int n_wanted, const int32_t *experts, const uint8_t *hit,
                     uint64_t wait_ns);
/* Ends the file, which appears under its name only now and only when it is whole; frees the writer. A step that was cut short is left
 * out. *bytes, *steps: what was written; each may be NULL. */
ErrCode lab_trace_finish(LabTraceWriter *w, uint64_t *bytes, uint64_t *steps, Err *err);

/* What one layer of one step wanted. */
typedef struct LabTraceWant {
    uint32_t layer, n_wanted;
    bool hits_known;
    uint32_t wait_us;
    size_t picks;  /* where its [n_tokens][top_k] picks and weights begin */
    size_t wanted; /* where its [n_wanted] experts, uses and hits begin */
} LabTraceWant;

typedef struct LabTraceStep {
    uint32_t position, n_tokens;
    size_t first_want;
    uint32_t n_wants;
} LabTraceStep;

typedef struct LabTrace {
    LabTraceFacts facts;
    LabTraceStep *steps;
    LabTraceWant *wants;
    uint16_t *picks, *weights;       /* experts, best first; weights as f16 */
    uint16_t *wanted, *uses;         /* different experts of a want, ascending; by how many of its tokens each was chosen */
    uint8_t *hits;                   /* 1: it was in memory */
    size_t n_steps, n_wants, n_picks, n_wanted;
    uint64_t n_tokens;
} LabTrace;
/* Checks a whole trace; name is for the sentences. */
LabTrace *lab_trace_parse(const char *name, const void *bytes, size_t len, Err *err);
LabTrace *lab_trace_read(const char *path, Err *err);
void lab_trace_free(LabTrace *t);

/* ---- bench (bench.c, bounds.c) --------------------------------------------------------------------------------------------- */

enum { LAB_MAX_MISSES = 256 };

/* How some tokens went: counts and clocks of one repetition. */
typedef struct LabRun {
    uint64_t tokens, ns;
    sluice_stats stats;
    /* [m]: how often a layer of a token missed exactly m experts; those that missed more stand in the last */
    uint64_t misses[LAB_MAX_MISSES];
} LabRun;

typedef struct LabBounds {
    double disk_s, dram_s, compute_s; /* of one token, each alone */
    double bound_tok_s;           /* everything overlapped: 1 / max(disk, dram, compute) */
    double bound_serial_tok_s;    /* nothing hidden across layers: per layer dense work, then the slower of miss reads and hit compute; the
                                     work by the run's own clocks */
    double bound_serial_probed_tok_s; /* the same with the probes' rates of memory and arithmetic */
    const char *bound_by;         /* "disk", "dram", "compute" */
    bool disturbed;               /* the run was faster than the probes allow: they were disturbed, and the bound is the run's own */
} LabBounds;
/* Pure. The run is of decoded tokens, one at a time, at about this position. */
void lab_bounds(const EngineWork *work, const EngineMachine *machine, const LabRun *run, uint32_t position, LabBounds *out);
/* The same for a prompt: the slower of what was read and what was multiplied. */
double lab_prefill_bound(const EngineWork *work, const EngineMachine *machine, const LabRun *run);

typedef struct LabBenchConfig {
    sluice_model *model;
    sluice_session *session;
    LabProbe *probe;
    DiskProbe *disk;
    uint32_t request_bytes;
    int prefill, decode, warm; /* tokens; warm ones are decoded before the clock starts */
    int reps;
    uint64_t seed;             /* of the token ids */
    const char *const *paths;  /* [n_paths] the model's files: where reads are buffered their page cache is dropped and looked at */
    uint32_t n_paths;
    void (*set_probe)(void *user, const sluice_probe *probe); /* in place of sluice_set_probe; NULL: that */
    bool (*progress)(void *user, const char *what, int rep, int done, int total); /* false: interrupt */
    void *user;
} LabBenchConfig;

typedef struct LabRep {
    EngineMachine machine;     /* probed just before this repetition */
    LabRun prefill, decode;
    double cached;             /* share of the files in the page cache before the repetition; < 0: not looked at, or not told */
    bool probe_cached;         /* a cache may have answered the probe of the disk */
} LabRep;

/* reps: [config->reps] results; after: the probes once more at the end. */
ErrCode lab_bench(const LabBenchConfig *config, LabRep *reps, EngineMachine *after, Err *err);
double lab_median(const double *values, int n); /* of at most 1024 */

/* ---- replaying a trace (simulate.c, belady.c, locality.c) --------------------------------------------------------------------------- */

typedef struct LabReplay {
    uint64_t wanted, hits;           /* different experts of each want; those of them that were there */
    uint64_t late_wanted, late_hits; /* the same of the second half of the tokens alone, when the cache is warm */
    uint64_t decode_wanted, decode_hits; /* of these the steps of one token, as decoding takes them */
} LabReplay;
static inline double lab_hit_rate(const LabReplay *r) { return r->wanted ? (double)r->hits / (double)r->wanted : 0; }

/* What the engine's cache would have done with n_slots. Each want pins all its records, as the store does. */
ErrCode lab_simulate(const LabTrace *t, CachePolicy policy, uint32_t n_slots, uint32_t floor, LabReplay *out, Err *err);
/* Belady's bound: the most hits that any cache can have which holds at most n_slots records between two wants and has, after a want, only
 * records that it had before or that were wanted. It knows the future: what is wanted again latest leaves first. No floor, no
 * look-ahead. No policy, whatever its floor, can do better; reading ahead can. */
ErrCode lab_belady(const LabTrace *t, uint32_t n_slots, LabReplay *out, Err *err);
/* The most used records of the whole trace stay for ever, the others never do. late_*: the same with the records that were most used in
 * the first half of the tokens, measured on the second: what such a list is worth for a text that it has not seen. */
ErrCode lab_pinned(const LabTrace *t, uint32_t n_slots, LabReplay *out, Err *err);

/* What can be foretold of a trace without a cache. Shares are of all picks that could have been foretold. */
enum { LAB_REUSE_BUCKETS = 20 };
typedef struct LabLocality {
    double previous_token;   /* picks that the token before made in the same layer */
    double across_layers;    /* of the second half: found by what was chosen together with the previous layer's picks in the first */
    double chance;           /* what a guess of top_k experts finds: top_k / experts */
    double top5, top10, top20; /* share of the uses that go to so many percent of the experts of a layer; mean over layers */
    /* How many other experts of the layer were wanted since an expert was wanted last: share of uses with less than 2^i of them. A cache of
     * 2^i slots for each layer, least recently used first, hits just these. */
    double reuse[LAB_REUSE_BUCKETS];
    double first_uses;       /* never wanted before */
    uint32_t working_set;    /* records that one token wants, in all layers; mean */
    uint32_t touched;        /* records that the trace wants at all */
} LabLocality;
ErrCode lab_locality(const LabTrace *t, LabLocality *out, Err *err);
/* Uses of every expert: [layers][experts]. */
void lab_uses(const LabTrace *t, uint64_t *uses);

/* ---- pictures (plot.c) ---------------------------------------------------------------------------------------------------------- */

typedef struct LabSeries {
    const char *name;
    const double *x, *y; /* [n] */
    int n;
    bool dashed;         /* a bound rather than something that can be had */
} LabSeries;

typedef struct LabChart {
    const char *title, *x_label, *y_label;
    const LabSeries *series;
    int n_series;
    bool percent;        /* y is a share of 0 to 1, shown in percent from 0 to 100 */
    bool x_doubles;      /* each step on the x axis is a doubling */
} LabChart;

enum { LAB_SERIES_MAX = 8 };
/* Draws into a file whose name ends in .svg or .png; it appears when it is whole. */
ErrCode lab_plot_lines(const char *path, const LabChart *chart, Err *err);

typedef struct LabHeat {
    const char *title, *x_label, *y_label, *scale_label;
    const double *values; /* [rows][columns], 0 or more */
    uint32_t rows, columns;
} LabHeat;
ErrCode lab_plot_heat(const char *path, const LabHeat *heat, Err *err);

#endif
