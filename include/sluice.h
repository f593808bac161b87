/* sluice.h: run Mixture-of-Experts language models larger than memory. The whole public API of libsluice.
 *
 * A complete program
 * (cc hello.c -Iinclude build/libsluice.a $(pkg-config --libs jansson libpcre2-8 libutf8proc liburing libxxhash) -lm -pthread):
 *
 *     #include <sluice.h>
 *     #include <stdio.h>
 *
 *     int main(int argc, char **argv) {
 *         sluice_error err;
 *         sluice_options options;
 *         sluice_options_init(&options);
 *         options.model = argc > 1 ? argv[1] : NULL;     // GGUF file or model folder
 *         options.ram_bytes = 8ull << 30;                // the whole process; 0: what the machine really leaves
 *         sluice_model *model = sluice_open(&options, &err);
 *         if (!model) return fprintf(stderr, "%s\n", err.message), 1;
 *         sluice_session *session = sluice_session_new(model, &err);
 *         if (!session) return fprintf(stderr, "%s\n", err.message), 1;
 *         int32_t *ids;
 *         size_t n;
 *         if (sluice_tokenize(model, "Once upon a time", 16, 0, &ids, &n, &err)) return fprintf(stderr, "%s\n", err.message), 1;
 *         sluice_sampling sampling;
 *         sluice_sampling_default(model, &sampling);
 *         for (int i = 0; i < 100; i++) {
 *             if (sluice_feed(session, ids, n, &err)) return fprintf(stderr, "%s\n", err.message), 1;
 *             int32_t next = sluice_sample(session, &sampling);
 *             if (sluice_is_stop(model, next)) break;
 *             char piece[1024];
 *             size_t len = sluice_token_text(model, next, piece, sizeof piece);
 *             fwrite(piece, 1, len < sizeof piece ? len : sizeof piece, stdout);
 *             ids[0] = next, n = 1;
 *         }
 *         sluice_free(ids);
 *         sluice_session_free(session);
 *         sluice_close(model);
 *     }
 *
 * Rules that hold everywhere
 *   - A function that can fail returns 0 (or a pointer) on success and fills *err otherwise; err may be NULL.
 *   - One answer per list of tokens: the logits after given ids are the same bits whatever ram_bytes, threads, chunk, cpu, io and
 *     direct are, in one feed or token by token, alone or together with other sessions, fresh or restored. precise, experts and kv
 *     change the arithmetic itself.
 *   - A model may be shared by several sessions of one thread. Calls on one model must not overlap.
 *   - A feed that was refused has changed nothing. One that failed inside a step (a read, a number that is not finite) leaves its
 *     sessions refusing until they are reset or restored. After one that was interrupted the session holds the tokens that were
 *     through, sluice_position of them, and can be fed on. Without its last token there are no logits until a feed has succeeded.
 */
#ifndef SLUICE_H
#define SLUICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLUICE_VERSION "0.1.0"

typedef enum sluice_code {
    SLUICE_OK,
    SLUICE_USAGE,       /* an option that does not exist or does not go with another */
    SLUICE_IO,          /* a read or write failed */
    SLUICE_FORMAT,      /* a file is damaged or not what it claims */
    SLUICE_UNSUPPORTED, /* valid, but not supported yet */
    SLUICE_MEMORY,      /* out of memory, or a budget does not fit */
    SLUICE_RANGE,       /* a value is out of range: a token id, a full context, a number that is not finite */
    SLUICE_STATE,       /* not possible in this state */
    SLUICE_INTERRUPTED  /* progress said no */
} sluice_code;

typedef struct sluice_error {
    int code;           /* a sluice_code */
    char message[1024]; /* one sentence: the cause and, where there is one, the cure */
} sluice_error;

/* ---- models -------------------------------------------------------------------------------------------------------- */

typedef struct sluice_model sluice_model;

#define SLUICE_SNAPSHOTS_AUTO UINT64_MAX

/* All zero, which sluice_options_init makes of it, and a model are enough. */
typedef struct sluice_options {
    /* what to open */
    const char *model;        /* GGUF file, first shard of a split one, or folder with config.json and safetensors */
    const char *mirror;       /* copies of the model's files on other drives: a folder or a file, several apart by commas; NULL: none */
    const char *state_dir;    /* folder that remembers what was measured of disks and machine; NULL: nothing is kept */
    uint64_t embedded_offset; /* a GGUF inside the file `model`: where it begins and how long it is; 0, 0: not embedded */
    uint64_t embedded_bytes;

    /* memory */
    uint64_t ram_bytes;       /* budget of the whole process; 0: measured */
    int ctx;                  /* positions a session can hold; 0: min(4096, what the model was made for) */
    int sessions;             /* sessions that may be open at once; 0: one. Planned for, so that the budget holds */
    int cache_slots;          /* experts kept in memory; 0: as many as the budget allows */
    uint64_t text_bytes;      /* memory kept for tokenising one text, see sluice_text_memory; 0: enough for ordinary prompts */
    uint64_t snapshot_bytes;  /* memory kept for snapshots; 0: they have what the plan leaves over (free_bytes). SLUICE_SNAPSHOTS_AUTO: a
                               * sixteenth of the budget, at most four sessions' worth, and none where that would not fit */
    uint64_t other_bytes;     /* memory that the program will take beside the model: the plan leaves it alone */
    bool mlock;               /* lock the dense weights in memory */

    /* speed; none of these changes a bit. NULL is "auto" */
    int threads;              /* 0: what is fastest here, measured when the model is opened */
    int chunk;                /* tokens per prefill step; 0: default */
    const char *cpu;          /* "auto", "scalar", "avx2", "avx512", "neon" */
    const char *io;           /* "auto" (threads or uring, whichever was measured to be faster), "threads", "uring", "mmap" (to compare) */
    const char *direct;       /* "auto" (what was measured to be faster), "on", "off" */
    const char *policy;       /* which expert leaves memory first: "auto", "lru", "lfu", "hybrid", "clock", "s3fifo" */
    const char *lookahead;    /* read what the next layer will probably want: "auto" (as long as it pays), "on", "off" */
    const char *mtp;          /* draft tokens from the model's own MTP layer: "auto" (where all is in memory and it pays), "on", "off" */

    /* what changes the arithmetic */
    int experts;              /* experts per token; 0: the model's own (anything else is lossy) */
    const char *kv;           /* keys and values: "f32" (default), "f16", "q8_0" (lossy; heads in blocks of 32) */
    bool precise;             /* f32 activations everywhere; slower, for checks */

    /* sampling */
    uint64_t seed;            /* of each session's generator, until sluice_session_seed */

    /* being watched: called now and then, at least once per layer; stage is "load" (in bytes), "prefill" or "decode" (in tokens).
     * Returning false interrupts with SLUICE_INTERRUPTED. */
    bool (*progress)(void *user, const char *stage, uint64_t done, uint64_t total);
    void *user;
} sluice_options;

void sluice_options_init(sluice_options *options);
/* Reads the headers, makes the memory plan, then allocates and loads the dense weights. NULL: *err says why, and nothing is left.
 * The strings of *options may be freed when it has returned; progress and user are used until sluice_close. */
sluice_model *sluice_open(const sluice_options *options, sluice_error *err);
void sluice_close(sluice_model *model);

/* The memory plan, computed before anything is allocated. All sizes in bytes. */
typedef struct sluice_plan {
    uint64_t ram_bytes;     /* the budget */
    uint64_t base_bytes;    /* what the process holds before the plan: code, libraries, tables, tokenizer */
    uint64_t dense_bytes;   /* every weight that is not a routed expert */
    uint64_t state_bytes;   /* delta-rule and convolution state of one session */
    uint64_t kv_bytes;      /* keys and values of one session at ctx */
    uint64_t buffers_bytes; /* activations at the chosen chunk, thread scratch, logits */
    uint64_t snapshot_bytes; /* kept for snapshots */
    uint64_t cache_bytes;   /* expert slots */
    uint32_t cache_slots, experts_total;
    uint64_t slot_bytes;
    uint64_t reserve_bytes; /* left for tokenising a text, for stacks, the allocator and the C library */
    uint64_t free_bytes;    /* what is left of the budget when every expert has its slot */
} sluice_plan;

typedef struct sluice_info {
    const char *arch;       /* "qwen35moe" */
    int layers, hidden, vocab, experts, experts_per_token, ctx, ctx_train;
    int experts_per_token_own; /* the model's own number, whatever options.experts says */
    uint64_t record_bytes;  /* one expert on disk, mean */
    const char *cpu, *io;   /* what is in force */
    const char *policy;     /* "lru" */
    const char *lookahead;  /* "on", "off", "auto: on, it saves 7.1 %"; good until the next feed */
    const char *mtp;        /* the same of draft tokens */
    const char *io_why;     /* how io and direct were chosen: "measured: uring direct 5.10 GB/s, ...", "as asked for"; the model's */
    const char *threads_why; /* how their number was chosen: "measured: 8 41.0 GB/s, 7 39.8 GB/s, 16 38.1 GB/s"; the model's */
    bool direct;
    int threads, chunk;
    bool has_chat_template;
    const char *chat_template_error; /* why the template cannot be used, or NULL */
    sluice_plan plan;
} sluice_info;
void sluice_get_info(const sluice_model *model, sluice_info *info);

/* What a snapshot is bound to: a hash of the model's headers and metadata (tokenizer and template included), its table of tensors, the
 * sizes of its files and a sample of its weights. The same after a restart and wherever the files lie, whatever the options are. */
uint64_t sluice_model_hash(const sluice_model *model);

/* ---- text ---------------------------------------------------------------------------------------------------------- */

enum { SLUICE_NO_SPECIAL = 1 }; /* read special tokens in the text as ordinary characters */
/* *ids is allocated (at least one element) and freed with sluice_free. */
int sluice_tokenize(const sluice_model *model, const char *text, size_t len, unsigned flags, int32_t **ids, size_t *n, sluice_error *err);
/* Memory that tokenising this text may take at the most. sluice_tokenize refuses what the plan has no room for. */
uint64_t sluice_text_memory(const char *text, size_t len);
/* The bytes of one token (may be part of a UTF-8 character). Returns how many there are; at most size of them are written, so a
 * result above size asks for a larger buffer. */
size_t sluice_token_text(const sluice_model *model, int32_t id, char *out, size_t size);
bool sluice_is_stop(const sluice_model *model, int32_t id);
bool sluice_is_special(const sluice_model *model, int32_t id); /* read as this token unless SLUICE_NO_SPECIAL: <|im_end|>, <think> */
/* The source of the model's chat template, also of one that cannot be used; NULL: it has none. The model's. */
const char *sluice_chat_template(const sluice_model *model);
/* Renders {"messages":[...],"tools":[...],"kwargs":{...}} (JSON text) with the model's chat template; free with sluice_free. */
char *sluice_render(const sluice_model *model, const char *request_json, sluice_error *err);
void sluice_free(void *p);

/* ---- sessions ------------------------------------------------------------------------------------------------------ */

typedef struct sluice_session sluice_session;

sluice_session *sluice_session_new(sluice_model *model, sluice_error *err);
void sluice_session_free(sluice_session *session);
void sluice_session_reset(sluice_session *session);
int sluice_position(const sluice_session *session); /* tokens fed so far */
const int32_t *sluice_ids(const sluice_session *session, size_t *n); /* those tokens; the session's, until it is fed, reset or restored */

/* Runs the network over n >= 1 more tokens, at most ctx - sluice_position of them. progress and the probe are called from inside, by
 * this thread; they must not call back into this model. Afterwards sluice_logits holds the logits that predict the next token. */
int sluice_feed(sluice_session *session, const int32_t *ids, size_t n, sluice_error *err);
/* One feed for several sessions, each of which gets what it would get alone, bit for bit: their tokens go through the network
 * together, so that each expert is read once for all of them. The sessions differ. A part that was through when the feed failed or was
 * interrupted has its logits; sluice_position and sluice_logits tell. An interrupt ends long parts in the middle, while parts of a few
 * tokens that are in the same step come to their end. */
typedef struct sluice_part {
    sluice_session *session;
    const int32_t *ids; /* [n] */
    size_t n;
} sluice_part;
int sluice_feed_together(sluice_model *model, const sluice_part *parts, size_t n_parts, sluice_error *err);
/* [vocab], until the next feed; NULL before the first and after one that failed */
const float *sluice_logits(const sluice_session *session);

/* Where an expert was when a layer wanted it. */
enum {
    SLUICE_MISS,      /* on disk */
    SLUICE_HIT,       /* in memory */
    SLUICE_READ_AHEAD /* in memory, because it had been read ahead for this very layer */
};

/* Looks inside a feed, for checks: each pointer may be NULL. Arrays are valid during the call only. */
typedef struct sluice_probe {
    void *user;
    /* logits of every fed token, in order: [vocab] */
    void (*logits)(void *user, int position, const float *logits);
    /* residual stream after a layer, for the n tokens that begin at position: [n][hidden] */
    void (*hidden)(void *user, int layer, int position, int n, const float *hidden);
    /* chosen experts of one token, best first, and their weights: [k] */
    void (*routing)(void *user, int layer, int position, int k, const int32_t *experts, const float *weights);
    /* what a layer of one step wanted of the store, after it was computed: experts [n_wanted], ascending, for n tokens, which are the
     * session's from position on where it is fed alone, and otherwise those of all sessions in the step;
     * hit [n_wanted]: SLUICE_MISS, SLUICE_HIT or SLUICE_READ_AHEAD; wait_ns: how long the step stood still for them */
    void (*fetch)(void *user, int layer, int position, int n, int n_wanted, const int32_t *experts, const uint8_t *hit, uint64_t wait_ns);
    bool guesses; /* fetch may tell of tokens that were only guessed, too. Otherwise a session with a probe drafts none */
} sluice_probe;
void sluice_set_probe(sluice_session *session, const sluice_probe *probe); /* copied; NULL: none */

/* ---- snapshots ----------------------------------------------------------------------------------------------------- */

/* The state after the tokens fed so far, to continue from later, in this or another session of the same model: the same bits as if the
 * tokens were fed again. Also the logits and the session's random generator. Snapshots live in what the plan keeps for them and leaves of
 * the budget (snapshot_bytes + free_bytes) and are refused beyond it, and of a session that refuses itself. */
typedef struct sluice_snapshot sluice_snapshot;
sluice_snapshot *sluice_snapshot_take(const sluice_session *session, sluice_error *err);
/* The same, sharing keys and values with another snapshot of which the session's tokens are a continuation: only what is new takes
 * memory. Either may be freed first. NULL: shares with none. */
sluice_snapshot *sluice_snapshot_take_on(const sluice_session *session, const sluice_snapshot *base, sluice_error *err);
int sluice_snapshot_restore(sluice_session *session, const sluice_snapshot *snapshot, sluice_error *err);
void sluice_snapshot_free(sluice_snapshot *snapshot);

const int32_t *sluice_snapshot_ids(const sluice_snapshot *snapshot, size_t *n); /* the tokens it was taken after; the snapshot's */
/* What it holds: its own, without what it shares with the snapshot it was taken on. */
uint64_t sluice_snapshot_bytes(const sluice_snapshot *snapshot);
uint64_t sluice_snapshot_full_bytes(const sluice_snapshot *snapshot); /* with it: what it takes when it is loaded from a file */
/* What a snapshot of this session would take now; base as above. */
uint64_t sluice_snapshot_need(const sluice_session *session, const sluice_snapshot *base);
/* What all snapshots of this model take now, and may take. */
typedef struct sluice_snapshot_room {
    uint64_t used, limit;
} sluice_snapshot_room;
sluice_snapshot_room sluice_snapshots(const sluice_model *model);

/* As a file, good for this model, kv, experts and precise, whatever the other options are. It is written under a name of its own, synced
 * and renamed: a file that exists is whole. What is damaged or cut off (SLUICE_FORMAT), foreign (SLUICE_STATE), of another version
 * (SLUICE_UNSUPPORTED) or too long for the context (SLUICE_RANGE) is refused in a sentence. */
int sluice_snapshot_save(const sluice_model *model, const sluice_snapshot *snapshot, const char *path, sluice_error *err);
sluice_snapshot *sluice_snapshot_load(const sluice_model *model, const char *path, sluice_error *err);

/* The same a piece at a time, between other work; the snapshot must live until then. base: NULL, or a file in the same folder of a
 * snapshot of which this one's tokens are a continuation: its keys and values are not written again, and neither file is good without
 * that one. sluice_saving_some writes about so many bytes more, and syncs with the last ones. Freed before it is done, nothing is left. */
typedef struct sluice_saving sluice_saving;
sluice_saving *sluice_saving_new(const sluice_model *model, const sluice_snapshot *snapshot, const char *path, const char *base,
                                 sluice_error *err);
int sluice_saving_some(sluice_saving *writing, uint64_t bytes, bool *done, sluice_error *err);
uint64_t sluice_saving_bytes(const sluice_saving *writing); /* of the whole file */
/* The name of the file that it stands on: the base, or what that stands on, or "" where nothing of it is of use. */
const char *sluice_saving_base(const sluice_saving *writing);
void sluice_saving_free(sluice_saving *writing);

/* What such a file says of itself; it is read to the end of its token ids, no further. */
typedef struct sluice_snapshot_file {
    uint64_t bytes;   /* of the file */
    uint64_t memory;  /* that the loaded snapshot takes */
    char base[64];    /* the name of the file it stands on; "": none */
    size_t n;
    int32_t *ids;     /* [n], freed with sluice_free */
} sluice_snapshot_file;
int sluice_snapshot_peek(const sluice_model *model, const char *path, sluice_snapshot_file *out, sluice_error *err);

/* ---- sampling ------------------------------------------------------------------------------------------------------ */

/* Order: penalties (over the last penalty_window tokens of the session) -> temperature -> top-k -> top-p -> min-p -> draw.
 * The generator is xoshiro256++ seeded by splitmix64; one 53-bit uniform number per sampled token. temperature 0 is greedy,
 * ties to the lowest id, and draws no number. */
typedef struct sluice_sampling {
    float temperature; /* 0: greedy */
    int top_k;         /* 0: off */
    float top_p;       /* 1: off */
    float min_p;       /* 0: off; relative to the most likely token */
    float presence, frequency; /* 0: off; subtracted from the logit once, or per occurrence */
    float repeat;      /* 1: off; positive logits are divided by it, negative ones multiplied */
    int penalty_window; /* 0: the whole session */
} sluice_sampling;
void sluice_sampling_default(const sluice_model *model, sluice_sampling *sampling); /* the model's own generation config */
void sluice_session_seed(sluice_session *session, uint64_t seed);
int32_t sluice_sample(sluice_session *session, const sluice_sampling *sampling); /* -1: there are no logits */
/* The same among the tokens whose bit is set in allowed [(vocab + 31) / 32], token i at bit i % 32 of word i / 32; NULL: all. What is not
 * allowed is left out before anything else. -1 also where nothing is allowed, and then no number is drawn. */
int32_t sluice_sample_allowed(sluice_session *session, const sluice_sampling *sampling, const uint32_t *allowed);

/* ---- statistics ---------------------------------------------------------------------------------------------------- */

typedef struct sluice_stats {
    uint64_t prefill_tokens, decode_tokens; /* a feed, or a part of one, of more than one token is prefill */
    uint64_t prefill_ns, decode_ns;         /* steps that both share are shared out by tokens */
    uint64_t experts_wanted, hits, misses, evictions;
    uint64_t bytes_read;        /* expert records, without alignment */
    uint64_t wait_ns;           /* time the step waited for the disk */
    uint64_t dense_ns;          /* time in dense weights: mixers, routers, shared experts, head */
    uint64_t expert_ns;         /* time in routed experts that were there */
    uint64_t store_ns;          /* time in the bookkeeping of store and disk, waiting not counted */
    uint64_t disk_bytes;        /* what the disk delivered for demands, alignment included */
    uint64_t disk_busy_ns;      /* time with a demanded read in flight */
    uint64_t disk_cpu_ns;       /* CPU time of the threads that read; 0 where the kernel reads for us */
    uint64_t hinted, hints_used;      /* experts read ahead, and those of them that were wanted */
    uint64_t hint_bytes, hint_bytes_used;
    uint32_t cache_slots;       /* that may be used now: those of the plan, or fewer while memory is short */
    uint32_t cache_steps;       /* how often the cache shrank or grew because of memory */
    uint64_t ahead_wanted;      /* experts that layers wanted to which had been looked ahead */
    uint64_t ahead_right;       /* those of them that had been guessed, in memory or not */
    uint64_t drafts, drafts_right; /* draft tokens that were tried, and those that came true */
    uint64_t rss_bytes, rss_peak_bytes;
} sluice_stats;
void sluice_get_stats(const sluice_model *model, sluice_stats *stats);
void sluice_reset_stats(sluice_model *model);

/* The drives that experts are read from, since the model was opened. Writes at most max and returns how many there are. */
typedef struct sluice_drive {
    const char *name;       /* "nvme0n1"; the model's */
    int files;              /* of the model that lie on it, copies included */
    uint64_t reads, bytes;
    double bytes_per_s;     /* lately, while it had something to do; 0: not known */
} sluice_drive;
int sluice_drives(const sluice_model *model, sluice_drive *out, int max);

/* How the process lies in memory. Walks page tables: for reports, not for every token. */
typedef struct sluice_memory {
    uint64_t rss_bytes, rss_peak_bytes;
    uint64_t huge_bytes;       /* of the process in huge pages */
    uint64_t dense_huge_bytes; /* of them dense weights */
} sluice_memory;
void sluice_get_memory(const sluice_model *model, sluice_memory *memory);

#ifdef __cplusplus
}
#endif

#endif
