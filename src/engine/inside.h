/* Inside the room engine. */
#ifndef ENGINE_INSIDE_H
#define ENGINE_INSIDE_H

#include "disk/disk.h"
#include "engine/engine.h"
#include "format/format.h"
#include "forward/forward.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "os/os.h"
#include "store/store.h"
#include "text/text.h"

enum { ENGINE_MIN_SLOTS = 2 };  /* of the expert cache */
enum { ENGINE_LOGIT_ROWS = 8 }; /* tokens whose logits are computed together when a probe wants all of them */

struct sluice_model {
    sluice_options options; /* strings in it are the caller's and not used after opening */
    FormatModel *format;
    Model *model;
    const Kernels *kernels;
    OsPool *pool;
    Disk *disk;
    char io_why[256];       /* how its way of reading was chosen */
    Store *store;
    Forward *forward;
    StorePart *parts;       /* [n_layers][n_experts][3] */
    uint64_t slot_bytes;    /* the largest record with its alignment */
    /* of a draft, which has no pool: what the process that is planned for will have */
    int draft_threads;
    uint64_t draft_base, draft_peak;
    void *dense;            /* dense weights */
    float *logits;          /* [ENGINE_LOGIT_ROWS][vocab] */
    uint64_t logits_bytes;
    uint32_t ctx, chunk, top_k;
    CachePolicy policy;
    ForwardLookahead lookahead;
    int open_sessions, max_sessions;
    uint64_t snapshot_bytes; /* of all snapshots alive */
    uint64_t text_bytes;     /* the plan's room for tokenising */
    OsPressure *pressure_reader; /* NULL: nothing can be read here */
    EnginePressure pressure;
    sluice_plan plan;
    sluice_stats stats;     /* the parts that the engine counts itself */
    DiskInfo disk_before;   /* what the disk had counted at the last reset */
};

struct sluice_session {
    sluice_model *model;
    ForwardState *state;
    int32_t *ids;           /* [ctx] what was fed */
    float *logits;          /* [vocab] after the last fed token */
    bool has_logits;
    EngineSampler *sampler;
    sluice_probe probe;
};

/* Options as values. */
ErrCode engine_choose_kernels(sluice_model *m, const char *name, Err *err);
ErrCode engine_choose_kv(const char *name, QuantType *type, Err *err);
ErrCode engine_choose_policy(const char *name, CachePolicy *policy, Err *err);
ErrCode engine_choose_lookahead(const char *name, ForwardLookahead *how, Err *err);
ErrCode engine_check_io(const sluice_options *o, DiskChoose *wish, Err *err); /* --io and --direct alone */
ErrCode engine_open_disk(sluice_model *m, Err *err); /* once the model is known: the way of reading may be measured */
ErrCode engine_add_mirrors(sluice_model *m, Err *err); /* once the files are added */
ErrCode engine_check_numbers(const sluice_model *m, Err *err);

/* Memory pressure, watched while a model is open; engine_watch_memory is cheap and called between layers. */
void engine_watch_start(sluice_model *m);
void engine_watch_memory(sluice_model *m);
void engine_watch_stop(sluice_model *m);

/* open.c: the steps of opening that a draft takes too. */
ErrCode engine_read_headers(sluice_model *m, ForwardConfig *forward, bool draft, Err *err);
ErrCode engine_describe_records(sluice_model *m, Err *err);
ErrCode engine_make_plan(sluice_model *m, ForwardConfig *forward, Err *err);

int engine_fail(sluice_error *out, const Err *err); /* copies, returns the code */

#endif
