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

/* Draft tokens: never, wherever there is a draft layer, or while all experts are in memory and it pays. */
typedef enum EngineMtp { ENGINE_MTP_OFF, ENGINE_MTP_ON, ENGINE_MTP_AUTO } EngineMtp;
typedef struct EngineDrafts EngineDrafts;

/* What of the feed under way is a session's. */
typedef struct EngineFeed {
    const int32_t *ids;     /* [n] the caller's */
    uint32_t n, done;       /* tokens; those that are through */
    uint32_t before;        /* tokens that were fed earlier */
    bool chosen;            /* while the parts of a feed are looked through */
} EngineFeed;

struct sluice_model {
    sluice_options options; /* the caller's, strings too; after opening only what a session asks for, all else is zero */
    FormatModel *format;
    Model *model;
    const Kernels *kernels;
    OsPool *pool;
    Disk *disk;
    char io_why[256];       /* how its way of reading was chosen */
    char threads_why[160];  /* how the number of threads was chosen */
    Store *store;
    Forward *forward;
    uint64_t slot_bytes;    /* the largest record with its alignment */
    /* of a sketch, which has no pool: what the process that is planned for will have */
    int sketch_threads;
    uint64_t sketch_base, sketch_peak;
    void *dense;            /* dense weights */
    float *logits;          /* [ENGINE_LOGIT_ROWS][vocab] */
    uint64_t logits_bytes;
    uint32_t ctx, chunk, top_k;
    CachePolicy policy;
    EngineMtp mtp;
    const char *mtp_why;    /* why it is off, or NULL */
    ForwardPays mtp_pays;
    char mtp_text[64];
    int open_sessions, max_sessions;
    ForwardSegment *segments;   /* [max_sessions] of the step under way */
    sluice_session **stepping;  /* [max_sessions] whose they are */
    uint64_t hash;           /* sluice_model_hash; and what else a state depends on: */
    QuantType kv_type;
    bool precise;
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
    EngineFeed feed;
    EngineSampler *sampler;
    sluice_probe probe;
    EngineDrafts *drafts;   /* NULL: no draft layer is in use */
};

/* choose.c: options as values. All that are words, before anything is read, so that a wrong one is told at once. */
ErrCode engine_choose(sluice_model *m, ForwardConfig *forward, Err *err);
ErrCode engine_check_kv(QuantType type, const ModelShape *s, Err *err); /* do the model's heads suit it? */
ErrCode engine_check_io(const sluice_options *o, DiskChoose *wish, Err *err); /* --io and --direct alone */
ErrCode engine_open_disk(sluice_model *m, Err *err); /* once the model is known: the way of reading may be measured; with all its files */
ErrCode engine_add_mirrors(sluice_model *m, Err *err); /* once the files are added */
ErrCode engine_check_numbers(const sluice_model *m, Err *err);

/* drafts.c: draft tokens. First the choice, then, once the budget is known, the model's layer. */
ErrCode engine_choose_mtp(sluice_model *m, const char *name, Err *err);
ErrCode engine_bind_mtp(sluice_model *m, uint64_t budget, Err *err);
uint64_t engine_drafts_bytes(const sluice_model *m); /* per session */
EngineDrafts *engine_drafts_new(const sluice_model *m, Err *err);
void engine_drafts_free(EngineDrafts *d);
bool engine_drafts_waiting(const sluice_session *s); /* the state is one token ahead of what was fed */
void engine_drafts_drop(const sluice_session *s);    /* takes that token back */
void engine_drafts_reset(const sluice_session *s);   /* the state was replaced: nothing is ahead of anything */
bool engine_drafts_take(sluice_session *s, int32_t id); /* true: it was this one, and its logits are the session's; else it is taken back */
bool engine_drafts_wanted(sluice_session *s);
void engine_drafts_time(sluice_session *s, uint64_t ns); /* a token took so long */
/* Feeds one token with a guess beside it. */
ErrCode engine_drafts_step(sluice_session *s, int32_t id, const ForwardWatch *watch, const ForwardProbe *probe, Err *err);
/* Around every other step that the session has for itself. */
ErrCode engine_drafts_before_chunk(sluice_session *s, int32_t first_id, Err *err);
ErrCode engine_drafts_after_chunk(sluice_session *s, const int32_t *ids, uint32_t n, Err *err);
/* After one that it shared, of which rows [row, row + n) are its own. */
void engine_drafts_after_shared(sluice_session *s, uint32_t row, uint32_t n);

/* What of the plan's free_bytes no snapshot has taken. */
uint64_t engine_snapshot_free(const sluice_model *m);

void engine_choose_threads(sluice_model *m); /* once the dense weights are there */

/* Memory pressure, watched from the plan on; engine_watch_memory is cheap and called between layers, engine_watch_filling by the store
 * when the cache has taken some more. */
void engine_watch_start(sluice_model *m);
/* Before the store is there: refuses where what is still to be taken, so much of it dense weights, has no room any more. */
ErrCode engine_watch_opening(sluice_model *m, uint64_t dense_left, Err *err);
void engine_watch_opened(sluice_model *m); /* the store is there: it begins with what the last reading left for it */
void engine_watch_filling(void *user); /* the model */
void engine_watch_memory(sluice_model *m);
void engine_watch_stop(sluice_model *m);

/* The steps of opening that a sketch takes too. head.c: options and headers, all that a plan needs. budget.c: the plan, which may shorten
 * forward->chunk. */
ErrCode engine_read_headers(sluice_model *m, ForwardConfig *forward, bool sketch, Err *err);
ErrCode engine_make_plan(sluice_model *m, ForwardConfig *forward, Err *err);
uint64_t engine_budget(const sluice_model *m);       /* ram_bytes, or what the machine leaves */
uint64_t engine_logits_bytes(const sluice_model *m); /* of sluice_model.logits */
StoreConfig engine_store_config(const sluice_model *m, const ForwardConfig *forward);

uint32_t engine_position(const sluice_session *s); /* tokens fed, which is what the caller knows of */

int engine_fail(sluice_error *out, const Err *err); /* copies, returns the code */
int engine_refuse(sluice_error *out, ErrCode code, const char *fmt, ...) BASE_PRINTF(3, 4); /* the same of a new error */

#endif
