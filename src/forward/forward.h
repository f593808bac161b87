/* forward: one step of the network, over 1..chunk tokens.
 *
 * What this is    embedding, then for every layer norm -> mixer (gated delta net or attention) -> norm -> experts, then the head.
 *                 Experts come from the store (want, next, put); everything else is in memory. The schedule of compute against
 *                 reads lives here.
 * Who owns what   a Forward owns the activation buffers, allocated once for `chunk` tokens. A ForwardState owns one session's
 *                 keys, values, delta-rule and convolution state. Model, store, pool and kernels are borrowed.
 * What may fail   a read (file, offset, cause), an expert whose output is not a finite number. The state is then half advanced and
 *                 refuses further steps until it is cleared or restored. An interrupt takes the step back.
 * Threads         one thread calls; rows, heads and tokens are spread over the pool.
 * Promise         what a token computes depends on the tokens before it and on nothing else: not on how they were cut into
 *                 chunks, on other sequences in the step, on threads, on the instruction set, or on which experts were in memory.
 *                 No allocation per step.
 *                 Checked by tests/golden/ and tests/stream/test_one_answer.c.
 */
#ifndef FORWARD_FORWARD_H
#define FORWARD_FORWARD_H

#include "kernels/kernels.h"
#include "model/model.h"
#include "os/os.h"
#include "store/store.h"

/* Of a layer's guesses the likeliest five of eight are read: of those six in seven are right, of all eight three in four, and the drive has
 * no time for more (docs/experiments.md). The step reads by it, and the prediction of its speed reckons with it. */
enum { FORWARD_GUESSES_READ = 5, FORWARD_GUESSES_OF = 8, FORWARD_READ_RIGHT = 6, FORWARD_READ_OF = 7 };

/* Whether the next layer's experts are guessed and read early: never, always, or for as long as it pays. */
typedef enum ForwardLookahead { FORWARD_AHEAD_OFF, FORWARD_AHEAD_ON, FORWARD_AHEAD_AUTO } ForwardLookahead;

typedef struct ForwardConfig {
    const Model *model;
    const Kernels *kernels;
    OsPool *pool;
    Store *store;
    uint32_t ctx;       /* positions of a state */
    uint32_t chunk;     /* most tokens of a step */
    uint32_t segments;  /* most sequences of a step; 0: one */
    uint32_t top_k;     /* experts per token; the model's own unless the user asked otherwise */
    bool precise;       /* f32 activations into every matrix */
    QuantType kv_type;  /* QUANT_F32, QUANT_F16 or QUANT_Q8_0 (head_dim a multiple of 32) */
    ForwardLookahead lookahead;
    bool mtp;           /* the model's draft layer is bound and will be used */
} ForwardConfig;

/* Bytes that the parts below will take: a pure function of the shape and the configuration (store and pool may be NULL). */
typedef struct ForwardSizes {
    uint64_t buffers; /* of a Forward */
    uint64_t state;   /* of a ForwardState: delta rule and convolution */
    uint64_t kv;      /* of a ForwardState: keys and values, of whole blocks of KERNELS_KEY_BLOCK positions */
    uint64_t position; /* of these, for one position */
} ForwardSizes;
ForwardSizes forward_sizes(const ForwardConfig *config, int n_threads);
/* What of a session's memory one decoded token touches, padding left out: recurrent state, which it reads and writes; keys and values,
 * of which it reads so much for every position before it. */
typedef struct ForwardToken {
    uint64_t state, position;
} ForwardToken;
ForwardToken forward_token_bytes(const Model *model, QuantType kv_type);

/* Looks inside a step. Every pointer may be NULL; arrays are valid during the call. */
typedef struct ForwardProbe {
    void *user;
    /* [n][hidden] after the layer, of the tokens of a segment, which begin at position */
    void (*hidden)(void *user, uint32_t segment, uint32_t layer, uint32_t position, uint32_t n, const float *x);
    /* of one token */
    void (*routing)(void *user, uint32_t segment, uint32_t layer, uint32_t position, uint32_t k, const int32_t *experts,
                    const float *weights);
    /* what a layer wanted of the store, after it was computed: n_wanted experts, ascending, for the n tokens of all segments; hit
     * [n_wanted]: the STORE_ values of store_last_hits; wait_ns: how long the step stood still for them */
    void (*fetch)(void *user, uint32_t layer, uint32_t n, uint32_t n_wanted, const int32_t *experts, const uint8_t *hit,
                  uint64_t wait_ns);
} ForwardProbe;

/* Asked before every layer, and free to change what the store may hold. False interrupts: the long segments are taken back, so that
 * their states are what they were before, and the short ones, which are soon over, go on to their end. Before the first layer all are
 * taken back. */
typedef struct ForwardWatch {
    void *user;
    bool (*keep_going)(void *user);
} ForwardWatch;

typedef struct Forward Forward;
typedef struct ForwardState ForwardState;

Forward *forward_new(const ForwardConfig *config, Err *err);
void forward_free(Forward *f);

ForwardState *forward_state_new(const Forward *f, Err *err);
void forward_state_free(ForwardState *s);
void forward_state_clear(ForwardState *s);
uint32_t forward_state_position(const ForwardState *s);
/* No answer can come of it any more: steps are refused until it is cleared or restored. A step that fails half way does the same. */
void forward_state_break(ForwardState *s);
bool forward_state_broken(const ForwardState *s);
/* A state as bytes, for snapshots, in two parts. Keys and values of the trunk by blocks of KERNELS_KEY_BLOCK positions, keys_bytes each:
 * what a whole block holds depends on its tokens and those before alone, and never changes. */
uint64_t forward_state_keys_bytes(const Forward *f);
void forward_state_save_keys(const ForwardState *s, uint32_t from, uint32_t to, void *bytes); /* blocks [from, to) */
void forward_state_restore_keys(ForwardState *s, uint32_t from, uint32_t to, const void *bytes);
/* All else that the tokens so far have left behind. Restored by a state with another draft layer, or none, the trunk's part counts. False,
 * and nothing is changed: these bytes are of no state like this, or it has no room for so many positions. */
uint64_t forward_state_save_bytes(const ForwardState *s);
void forward_state_save(const ForwardState *s, void *bytes);
bool forward_state_restore(ForwardState *s, const void *bytes, uint64_t n_bytes, uint32_t position);

/* Some tokens that follow what a state has seen: the part of one sequence in a step. */
typedef struct ForwardSegment {
    ForwardState *state;
    const int32_t *ids; /* [n] */
    uint32_t n;
} ForwardSegment;
/* A segment of more tokens is long: an interrupt takes it back. A step has only so many of them, for the state before it is kept. */
enum { FORWARD_SHORT = 8, FORWARD_LONG_SEGMENTS = 4 };

/* Runs 1..chunk tokens through the network together, so that every weight and every expert is read once for all of them. The states
 * differ; long segments come last. Tokens are rows of the step in the order of the segments (forward_logits, forward_mtp_keep). After an
 * error every state of the step is broken; after an interrupt forward_state_position tells which segments are through. watch, probe:
 * NULL where nobody asks. */
ErrCode forward_step(Forward *f, const ForwardSegment *segments, uint32_t n_segments, const ForwardWatch *watch, const ForwardProbe *probe,
                     Err *err);
/* Does the state take steps, and are these tokens of the vocabulary? */
ErrCode forward_check(const Forward *f, const ForwardState *s, const int32_t *ids, uint32_t n, Err *err);

/* ---- draft tokens: a step may try a token that is not certain yet ---- */

/* The next step, of more than `tokens` tokens of this state, also keeps what the state will be after so many of them; needs
 * ForwardConfig.mtp. */
void forward_state_mark(ForwardState *s, uint32_t tokens);
/* Takes back the tokens of the last step that came after the mark. */
void forward_state_back(ForwardState *s);

/* The draft layer guesses what follows the next token. Pairs (a hidden state, the token after it) that it has not seen are open: of
 * a step of few tokens the states are kept by forward_mtp_keep right after it (tokens [first, first + n) of the step, in order), of a
 * prompt's chunk, alone in its step, they are learnt at once (ids: [n] of that chunk; what was open before is dropped unless it was
 * guessed from), which destroys the step's own hidden states: take its logits first. */
enum { FORWARD_MTP_OPEN = 4 };
void forward_mtp_keep(Forward *f, ForwardState *s, uint32_t first, uint32_t n);
ErrCode forward_mtp_learn(Forward *f, ForwardState *s, const int32_t *ids, uint32_t n, Err *err);
uint32_t forward_mtp_open(const ForwardState *s);
/* Closes all open pairs: next_ids [open], the token after each of those states. logits: [vocab] of what may follow the last of
 * next_ids, or NULL. */
ErrCode forward_mtp_guess(Forward *f, ForwardState *s, const int32_t *next_ids, float *logits, Err *err);
/* Drops all open pairs but the newest `most`. */
void forward_mtp_forget(Forward *f, ForwardState *s, uint32_t most);

/* Logits of tokens [first, first + n) of the last step: out [n][vocab]. */
void forward_logits(Forward *f, uint32_t first, uint32_t n, float *out);

/* Where the time of steps and logits went since the last reset; probes are not counted. */
typedef struct ForwardTimes {
    uint64_t dense_ns;  /* mixers, norms, routers, shared experts, head */
    uint64_t expert_ns; /* routed experts */
    uint64_t store_ns;  /* in the store's door: its bookkeeping, and waiting for the disk (StoreStats.wait_ns of it) */
} ForwardTimes;
void forward_times(const Forward *f, ForwardTimes *times);
void forward_times_reset(Forward *f);

/* ---- looking ahead ---- */

/* How good the guesses were since the last reset, counted over layers that were guessed. */
typedef struct ForwardGuesses {
    uint64_t wanted; /* experts that the router then wanted */
    uint64_t right;  /* those of them that had been guessed, in memory or not */
} ForwardGuesses;
void forward_guesses(const Forward *f, ForwardGuesses *guesses);
/* What is in force: "off", "on", "auto: on, it saves 7.1 %". Good until the next step. */
const char *forward_lookahead(const Forward *f);

/* The bookkeeping of `auto`: tokens with and without, their times compared. Pure: a test brings its own times. Zeroed, it begins with
 * a trial. */
typedef enum ForwardVerdict { FORWARD_PAYS_UNKNOWN, FORWARD_PAYS_YES, FORWARD_PAYS_NO } ForwardVerdict;
enum { FORWARD_PAYS_WINDOW = 8, FORWARD_PAYS_SAMPLES = 48 };
typedef struct ForwardPays {
    ForwardVerdict verdict;   /* of the last trial */
    bool certain;             /* it was beyond the noise */
    double gain;              /* share of a token's time that was saved in it; negative: cost */
    uint32_t rest, rest_next; /* tokens until the next trial, 0: it is under way; how long the last rest was */
    uint32_t tokens;          /* of the trial under way */
    uint32_t n[2];
    uint64_t ns[2][FORWARD_PAYS_SAMPLES]; /* without, with: ascending */
} ForwardPays;
bool forward_pays_next(const ForwardPays *p);         /* should the next token do it? */
bool forward_pays_token(ForwardPays *p, uint64_t ns); /* a token that had to read took so long; true: a trial has ended */
void forward_pays_text(const ForwardPays *p, char *text, size_t size);

#endif
