/* Inside the room forward: the buffers of a step and the pieces that work on them. */
#ifndef FORWARD_INSIDE_H
#define FORWARD_INSIDE_H

#include "forward/forward.h"

#include <stdatomic.h>

enum {
    EXPERT_BATCH = 16, /* most experts that many tokens multiply at a time */
    FEW_TOKENS = 8,    /* so many, of a text or of several that share the step, take their experts as they land, and are worth a guess */
};

/* The rows of a matrix input, one per token: f32 and, unless arithmetic is precise, its 8-bit groups. */
typedef struct Rows {
    float *x;                /* [chunk][n] */
    KernelsActGroup *groups; /* [chunk][stride], zeros beyond n from the start; NULL when precise */
    KernelsActs *acts;       /* [chunk]: what the kernels take */
    uint32_t n, stride;
} Rows;

/* One token's use of one expert. */
typedef struct Pick {
    uint32_t token;
    float weight;
} Pick;

/* What looking ahead keeps: the guess for one layer to come. */
typedef struct Ahead {
    float *x;            /* [few][hidden] the stream as far as it is known, normed */
    float *router;       /* [few][n_experts] logits */
    int32_t *guess;      /* [few][k] of each token, most likely first */
    int32_t *hint;       /* [few * k] of all tokens, each once, most likely first */
    int32_t *all;        /* [n_experts] every expert, ascending */
    uint32_t n, layer;   /* n guesses of each token for this layer */
    bool now;            /* this step guesses */
    bool sweep;          /* this step has so many tokens that it needs no guess */
    bool reading;        /* the last step read something */
    uint64_t bytes_before, spent_before;
    ForwardGuesses guesses;
    ForwardPays pays[2]; /* of steps of one token, and of several */
    char text[64];
} Ahead;

/* One expert, routed or shared, over some tokens of the step. */
typedef struct ExpertJob {
    int32_t expert;
    const ModelMat *mat[MODEL_MATS]; /* gate, up [inner, hidden], down [hidden, inner] */
    const uint8_t *data[MODEL_MATS];
    const KernelsActs *acts;    /* [n] inputs */
    uint32_t n, first_row;      /* tokens; the first of their rows in inner and rows_out */
    Rows *inner;                /* [.. first_row + n][inner] what is between the halves */
    float *rows_out;            /* [.. first_row + n][hidden] */
    const Pick *add_to;         /* [n] add weight * row to mix of these tokens; NULL: leave it in rows_out */
} ExpertJob;

/* A layer, and what of a state is its own. */
typedef struct LayerAt {
    const ModelLayer *layer;
    uint32_t number;       /* in the model; the draft layer is the last */
    uint64_t recurrent_at; /* where what it remembers begins in a state: floats of `recurrent` */
    uint64_t lists_at;     /* and bytes of `lists` */
} LayerAt;

/* A sequence's part of the step under way: rows [first, first + n). */
typedef struct Segment {
    ForwardState *state;
    uint32_t first, n;
    uint32_t position; /* of its first token, as the layers under way count */
    uint32_t mark;     /* the state's mark, if it is within this step; 0: none. See forward_state_mark */
    float *kept;       /* a long one's recurrent state before the step, for an interrupt; NULL: a short one */
} Segment;

/* What the calling thread is doing; the time goes to one of these. */
typedef enum Section { SECTION_OUTSIDE, SECTION_DENSE, SECTION_EXPERT, SECTION_STORE, SECTIONS } Section;

/* What the router said of a layer's tokens. */
typedef struct Route {
    float *logits;       /* [chunk][n_experts], then probabilities */
    int32_t *top_ids;    /* [chunk][k] best first */
    float *top_w;        /* [chunk][k] */
    Pick *picks;         /* [chunk * k] sorted by expert, then by token */
    uint32_t *pick_at;   /* [n_experts + 1] where each expert's picks begin */
    int32_t *wanted;     /* [n_experts] experts that this step needs of this layer, ascending */
    uint32_t *uses;      /* [n_experts] how many tokens want each of them */
    float *shared_w;     /* [chunk] sigmoid of the shared expert's gate */
} Route;

/* What experts are multiplied in; few = min(chunk, FEW_TOKENS), rows = max(chunk, few * k). */
typedef struct Experts {
    StoreLease *open;    /* [max(few * k, EXPERT_BATCH)] those that were taken from the store and not yet given back */
    ExpertJob *jobs;     /* [max(few * k, EXPERT_BATCH)] what is multiplied with them */
    KernelsActs *gathered; /* [rows] inputs of some experts' tokens */
    float *up;           /* [rows][larger of the inner sizes] */
    Rows inner;          /* [rows][expert_inner] silu(gate) * up */
    float *out;          /* [rows][hidden] outputs of some experts; with few tokens, of each pick, sorted as they are */
    Rows shared_inner;   /* [chunk][shared_inner] the same of the shared expert */
    float *shared_out;   /* [chunk][hidden] output of the shared expert, added last */
} Experts;

struct Forward {
    ForwardConfig c;
    const ModelShape *s;
    void *pages;
    uint64_t pages_bytes;
    LayerAt *layers;     /* [n_layers], and one more for the draft layer */
    /* the step under way */
    uint32_t n;          /* its tokens */
    uint32_t n_segments;
    Segment *segments;   /* [ForwardConfig.segments] */
    float *kept;         /* [long segments of a step][recurrent]: see Segment */
    float *x;            /* [chunk][hidden] the residual stream */
    Rows in;             /* [chunk][hidden] normed input of the mixer, of the experts, of the head */
    KernelsActs *in_f32; /* [chunk] the same rows without blocks, for matrices that always see f32: router and gates */
    float *mix;          /* [chunk][hidden] what the mixer, then what the experts add to x */
    Rows mtp_in;         /* [chunk][2 hidden] input of the draft layer; nothing without one */
    float *scratch;      /* [threads][scratch_floats] */
    uint64_t scratch_floats;
    _Atomic int not_finite; /* set by a task that saw NaN or infinity */
    /* its parts */
    void *mixers[MODEL_MIXER_COUNT]; /* the buffers of each, which only its own file knows */
    Route route;
    Experts experts;
    Ahead ahead;
    /* its time */
    Section section;
    uint64_t section_since;
    uint64_t section_ns[SECTIONS];
};

struct ForwardState {
    const Forward *f;
    uint32_t position;
    bool broken;       /* a step ended half way, or in numbers that are not finite */
    void *pages;
    uint64_t pages_bytes, recurrent_bytes;
    float *recurrent;  /* [layers] what their mixers change with every token; see ForwardMixer */
    uint8_t *lists;    /* [layers, the draft layer last][lists][blocks of KERNELS_KEY_BLOCK positions] what they keep of each position */
    /* with a draft layer only */
    float *marked;     /* shaped as recurrent: what it was at the mark */
    uint32_t mark, marked_position;    /* tokens of the next step; position of the last mark */
    float *mtp_rows;   /* [FORWARD_MTP_OPEN][hidden] hidden states of the open pairs */
    uint32_t mtp_open, mtp_count; /* open pairs; pairs that the draft layer has seen */
};

/* Is this a step of few tokens? Its experts come in any order; those of others in ascending order, as they are read ahead. */
static inline bool forward_few(const Forward *f) { return f->n <= FEW_TOKENS && !f->ahead.sweep; }

static inline float *forward_scratch(Forward *f, int worker) { return f->scratch + (uint64_t)worker * f->scratch_floats; }

/* Blocks of positions that the context takes. */
static inline uint64_t forward_blocks(const ForwardConfig *c) {
    return ((uint64_t)c->ctx + KERNELS_KEY_BLOCK - 1) / KERNELS_KEY_BLOCK;
}

/* ---- mixers: a file and a row each ---------------------------------------------------------------------------------- */

/* buffers.c. Hands out pieces of one block; with base 0 it only counts, so that the plan and the allocation cannot disagree. */
typedef struct Cutter {
    uintptr_t base;
    uint64_t used;
} Cutter;
void *forward_take(Cutter *c, uint64_t count, uint64_t size); /* NULL while it counts */
float *forward_take_floats(Cutter *c, uint64_t count);
void forward_take_rows(Cutter *c, Rows *r, const ForwardConfig *config, uint64_t count, uint32_t n);

/* What a layer keeps of every position, for ever: so many lists of blocks of KERNELS_KEY_BLOCK positions. */
typedef struct ForwardLists {
    uint64_t n, block_bytes;
} ForwardLists;

/* All of it are pure functions of the configuration but begin and run. NULL where there is nothing to do. */
typedef struct ForwardMixer {
    uint64_t (*recurrent)(const ForwardConfig *c); /* floats that every token changes, of one layer in a state; zeros at the start */
    ForwardLists (*lists)(const ForwardConfig *c); /* of one layer in a state */
    ForwardToken (*token)(const Model *m, QuantType kv_type); /* what a token touches of one layer's state */
    uint64_t (*scratch)(const ForwardConfig *c);   /* floats that a thread needs */
    /* Lays out its buffers and returns them. own: to keep; passing: while it runs, for all mixers share that memory. */
    void *(*lay_out)(const ForwardConfig *c, Cutter *own, Cutter *passing);
    void (*begin)(Forward *f);                     /* a step: before its first layer */
    /* From f->in to f->mix. Matrices are multiplied for all rows, the rest goes segment by segment. Where a segment has a mark, what is
     * recurrent after so many tokens is left in the state's `marked` too. */
    void (*run)(Forward *f, const LayerAt *at);
} ForwardMixer;

#define X(NAME, name) extern const ForwardMixer forward_mixer_##name;
MODEL_MIXERS(X)
#undef X
extern const ForwardMixer *const forward_mixers[MODEL_MIXER_COUNT]; /* mixers.c */
static inline const ForwardMixer *forward_mixer_of(const ModelLayer *layer) { return forward_mixers[layer->mixer]; }
/* Lists [list][block] of a layer: where a block stands, in bytes from the layer's first. */
static inline uint64_t forward_list_block(const ForwardConfig *c, ForwardLists l, uint64_t list, uint64_t block) {
    return (list * forward_blocks(c) + block) * l.block_bytes;
}
void forward_mixers_begin(Forward *f);
/* buffers.c: of a layer, and of all layers together. */
ForwardLists forward_lists_of(const ForwardConfig *c, uint32_t layer);
uint64_t forward_recurrent_floats(const ForwardConfig *c);

/* clock.c. From here on the time belongs to another section: one reading of the clock, a handful per expert. Returns the section
 * before. */
Section forward_enter(Forward *f, Section section);
uint64_t forward_spent(Forward *f); /* time in all sections but outside, until now */

/* probe.c: what is told of a layer to who asked for it; probe may be NULL. */
void forward_show_routing(Forward *f, const LayerAt *at, const ForwardProbe *probe);
void forward_show_hidden(Forward *f, const LayerAt *at, const ForwardProbe *probe);
/* Around the experts: waited is what the first has returned. */
uint64_t forward_waited(const Forward *f, const ForwardProbe *probe);
void forward_show_fetch(Forward *f, const LayerAt *at, const ForwardProbe *probe, uint32_t n_wanted, uint64_t waited);

/* layer.c: one layer over the tokens of the step, from x to x. */
ErrCode forward_layer(Forward *f, const LayerAt *at, const ForwardProbe *probe, Err *err);
/* The error of numbers that overflow: what ("the output of expert 7") is not finite, and in which layer. */
ErrCode forward_not_finite(const Forward *f, const LayerAt *at, const char *what, Err *err);

/* step.c: what the draft layer needs too. The embedding of a token; and out [n][vocab] = head(norm(x)) of tokens [first, first + n). */
void forward_embed(const Forward *f, int32_t id, float *x);
void forward_head(Forward *f, const float *norm, uint32_t first, uint32_t n, float *out);

/* y[t][r] = row r of w . acts[t], for n tokens. Matrices that read the same input, or inputs that are there at the same time, are one
 * run of the pool, and their rows are spread over it. */
typedef struct MatPart {
    const ModelMat *w;
    const KernelsActs *acts; /* [n] */
    float *y;                /* [n][y_stride] */
    uint64_t y_stride;
} MatPart;
void forward_matmuls(Forward *f, const MatPart *parts, uint32_t n_parts, uint32_t n);
void forward_matmul(Forward *f, const ModelMat *w, const KernelsActs *acts, uint32_t n, float *y, uint64_t y_stride);
/* Brings one row, or n elements of it from `first` on, into the form of the kernels after its x was written. first and n: multiples
 * of a block of 32, but where the row ends. */
void forward_row_ready(const Forward *f, Rows *rows, uint32_t token);
void forward_part_ready(const Forward *f, Rows *rows, uint32_t token, uint32_t first, uint32_t n);
/* in.x[t] = norm(x[t]) * weight for every token, ready for the kernels. */
void forward_norm_in(Forward *f, const float *weight);

/* Fills f->route from f->in; *n_wanted is the number of experts that this step needs. */
ErrCode forward_route(Forward *f, const LayerAt *at, uint32_t *n_wanted, Err *err);
/* The halves of several experts of one shape at a time. With add_to (all or none) they add to mix in the order of jobs, which must be
 * ascending ids; without, each leaves its own rows of rows_out, and any order will do. */
void forward_gate_up(Forward *f, const ExpertJob *jobs, uint32_t n_jobs); /* acts to inner */
void forward_down(Forward *f, const ExpertJob *jobs, uint32_t n_jobs);    /* inner to rows_out */
bool forward_finite(const float *x, uint32_t n);

/* Reads f->in, writes f->mix. */
ErrCode forward_experts(Forward *f, const LayerAt *at, uint32_t n_wanted, Err *err);

/* Looking ahead: when the buffers are there; at the ends of a step; when a layer's experts are on their way; when the next has routed. */
void forward_ahead_new(Forward *f);
void forward_ahead_begin(Forward *f);
void forward_ahead_end(Forward *f, bool whole);
void forward_ahead_guess(Forward *f, uint32_t layer_index);
/* Called now and then during dense work: lets guessed reads go on. */
void forward_ahead_advance(Forward *f);
/* Of n_wanted experts of this layer so many are done. */
void forward_ahead_sweep(Forward *f, uint32_t layer_index, uint32_t done, uint32_t n_wanted);
void forward_ahead_check(Forward *f, uint32_t layer_index);

#endif
