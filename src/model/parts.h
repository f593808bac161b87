/* What the files of this room share. Private: included only inside src/model/.
 *
 * The way of a model through the room: arch.c names the architecture, hparams*.c read its numbers, bind*.c find every tensor and
 * write down in dense.c where it goes; what a layer's mixer has of its own is in mixer_*.c. vocab.c and generation.c read the words
 * around it, load.c follows that list. */
#ifndef MODEL_PARTS_H
#define MODEL_PARTS_H

#include "model/model.h"

#include <jansson.h>

#define TRY(call)                             \
    do {                                      \
        ErrCode try_code = (call);            \
        if (try_code != ERR_OK) return try_code; \
    } while (0)

/* ---- arch.c: one row per architecture ------------------------------------------------------------------------------- */

typedef struct ArchRow {
    ModelArch arch;
    const char *name;             /* general.architecture of a GGUF file */
    const char *hf_types[3];      /* model_type in config.json, wrapper and text part */
    const char *hf_classes[3];    /* architectures[0], where model_type is missing */
    ModelMixer other;             /* of the layers without full attention; MODEL_MIXER_FULL: there are none */
    bool gated;                   /* full attention has a sigmoid gate beside each query */
    bool shared;                  /* a shared expert beside the routed ones */
    bool zero_centred;            /* HF folders store w of a norm factor 1 + w; GGUF files store the factor itself */
    bool gguf_tiled;              /* GGUF files hold the V heads tiled: v-head h belongs to k-head h % lin_k_heads */
    bool interleaved;             /* q, k, v, z (and b, a) may come as one matrix, interleaved per k-head */
    bool always_norm_topk;        /* norm_topk_prob of config.json is not asked */
    bool norm_topk_default;       /* where config.json does not say */
    double partial_rotary_default;/* the same for partial_rotary_factor */
    uint32_t head_dim_default;    /* the same for head_dim; 0: hidden_size / num_attention_heads */
    const char *gguf_norm_post;   /* name of the norm between mixer and experts */
} ArchRow;

const ArchRow *model_arch_of(ModelArch arch);
/* The architecture of an opened file or folder; an unknown one is an error that lists the known ones. config: NULL for GGUF. */
const ArchRow *model_arch_find(const FormatModel *format, const json_t *config, const json_t *text, Err *err);

/* ---- the JSON files of a folder ------------------------------------------------------------------------------------- */

typedef struct HfJson {
    json_t *config, *generation, *tokenizer; /* owned; NULL where the file is absent. All numbers are reals */
    const json_t *text;                      /* borrowed: config's text_config, or config itself */
} HfJson;

ErrCode model_hf_json_open(HfJson *hf, const FormatModel *format, Err *err);
void model_hf_json_close(HfJson *hf);
/* A member that is there and not null, else NULL. object may be NULL. */
const json_t *model_hf_member(const json_t *object, const char *name);

/* ---- hparams.c: the numbers that both layouts have ------------------------------------------------------------------- */

typedef struct HparamKey {
    const char *gguf; /* after the architecture's name and a dot */
    const char *hf;
    double max;       /* of a count; the least is 1 */
} HparamKey;

enum {
    KEY_LAYERS, KEY_HIDDEN, KEY_VOCAB, KEY_CONTEXT, KEY_HEADS, KEY_KV_HEADS, KEY_HEAD_DIM, KEY_VALUE_DIM, KEY_ROTARY, KEY_THETA, KEY_EPS,
    KEY_INTERVAL,
    KEY_EXPERTS, KEY_TOP_K, KEY_EXPERT_INNER, KEY_SHARED_INNER
};
extern const HparamKey model_keys[]; /* those that every architecture has; mixers bring their own */
#define KEY(name) (&model_keys[KEY_##name])

typedef struct Hparams {
    const FormatModel *format;
    const ArchRow *arch;
    const json_t *text; /* NULL: GGUF */
} Hparams;

enum { HPARAM_NAME = 128 };
/* The key as the file spells it, for messages. Returns out. */
const char *model_hparam_name(const Hparams *h, const HparamKey *key, char out[HPARAM_NAME]);
/* ERR_OK with *found false where the key is absent; an error where it is no number. */
ErrCode model_hparam_number(const Hparams *h, const HparamKey *key, bool *found, double *value, Err *err);
/* A count within the key's range. Required, or with a fallback (taken as it is) where absent. */
ErrCode model_hparam_u32(const Hparams *h, const HparamKey *key, uint32_t *out, Err *err);
ErrCode model_hparam_u32_or(const Hparams *h, const HparamKey *key, uint32_t fallback, uint32_t *out, Err *err);
/* Is value a whole number in the key's range? */
ErrCode model_hparam_check_u32(const Hparams *h, const HparamKey *key, double value, uint32_t *out, Err *err);
/* theta and eps: required, finite, in [low, high]. */
ErrCode model_hparam_real(const Hparams *h, const HparamKey *key, double low, double high, double *out, Err *err);
/* n of key must be a multiple of `of` of another; and a product that rows are counted by must not be too large. */
ErrCode model_hparam_multiple(const Hparams *h, const HparamKey *big, uint32_t n, const HparamKey *small, uint32_t of, Err *err);
ErrCode model_hparam_product(const Hparams *h, const HparamKey *key, const HparamKey *times, uint64_t n, Err *err);
/* What must hold between the numbers. */
ErrCode model_hparams_check(const Hparams *h, const ModelShape *s, Err *err);

/* hparams_gguf.c, hparams_hf.c: fill m->shape and allocate m->layers with their mixers set. */
ErrCode model_hparams_gguf(const Hparams *h, Model *m, Err *err);
ErrCode model_hparams_hf(const Hparams *h, const HfJson *hf, Model *m, Err *err);

/* ---- dense.c: where every dense tensor goes --------------------------------------------------------------------------- */

typedef enum LoadKind {
    LOAD_ROWS,          /* bytes as they are */
    LOAD_F32,           /* decoded */
    LOAD_F32_PLUS_ONE,  /* decoded, 1 added: a zero-centred norm */
    LOAD_F32_NEG_EXP,   /* decoded, -exp of it: A_log */
    LOAD_F32_DECAY      /* decoded: A itself, which must be negative */
} LoadKind;

/* One contiguous run of a tensor that goes to one contiguous place. */
typedef struct LoadStep {
    const FormatTensor *tensor;
    uint64_t src;   /* first byte, relative to the tensor */
    uint64_t elems; /* a multiple of the type's block */
    uint64_t dst;   /* first byte in the pages */
    LoadKind kind;
} LoadStep;

/* A pointer of the model that is set once the pages are there: a matrix or a vector. */
typedef struct LoadHome {
    ModelMat *mat;
    const float **vec;
    uint64_t at; /* byte in the pages */
} LoadHome;

struct ModelInner {
    const ArchRow *arch;
    uint32_t n_blocks;  /* GGUF: trunk and draft layers */
    bool tied;          /* the head is the embedding */
    LoadStep *steps;
    uint32_t n_steps, cap_steps;
    LoadHome *homes;
    uint32_t n_homes, cap_homes;
};

/* Reserves room for a matrix or a vector in the pages. */
ErrCode model_dense_mat(Model *m, ModelMat *mat, QuantType type, uint64_t rows, uint64_t cols, uint64_t *at, Err *err);
ErrCode model_dense_vec(Model *m, const float **vec, uint64_t n, uint64_t *at, Err *err);
/* Fills it: elems elements of t from element `first` on go to byte dst of the pages. */
ErrCode model_dense_step(Model *m, const FormatTensor *t, uint64_t first, uint64_t elems, uint64_t dst, LoadKind kind, Err *err);

/* ---- bind.c: which tensor is what ------------------------------------------------------------------------------------- */

/* The names of one layout. Those of a layer stand without their prefix; NULL: the layout has no such tensor. */
typedef struct BindNames {
    const char *layers; /* before the layer's number: "blk." */
    const char *norm_in, *norm_post;
    const char *router, *shared_gate, *shared_up, *shared_down, *shared_router;
    const char *expert_stack[MODEL_MATS]; /* [experts, rows, cols] */
    const char *expert_gate_up_stack; /* [experts, gate rows then up rows, cols] */
    const char *experts;              /* before an expert's number: "mlp.experts."; and after it: */
    const char *expert_each[MODEL_MATS];
} BindNames;

typedef struct Binder {
    Model *m;
    const FormatModel *format;
    const ArchRow *arch;
    BindNames names;
    bool *claimed;      /* [format->n_tensors] */
    uint32_t layer;     /* the number in the names of the one being bound */
    Err *err;
} Binder;

/* Binds everything: dense tensors into the list, experts into m->records; fails on what is missing, misshaped or left over. */
ErrCode model_bind_model(Model *m, const HfJson *hf, Err *err);

/* bind_gguf.c, bind_hf.c: names, the tensors outside the layers, and which left-over tensors are harmless. */
void model_bind_gguf_names(Binder *b);
ErrCode model_bind_gguf_outside(Binder *b);
bool model_bind_gguf_harmless(const Binder *b, Str name);
ErrCode model_bind_hf_names(Binder *b);
ErrCode model_bind_hf_outside(Binder *b, const HfJson *hf);
bool model_bind_hf_harmless(const Binder *b, Str name);

const FormatTensor *model_bind_find(Binder *b, const char *name); /* marks it as claimed; NULL: absent, or name NULL */
ErrCode model_bind_missing(Binder *b, const char *name, const char *what);
/* Compares shapes, dimensions of 1 aside, and demands a type that can be decoded. */
ErrCode model_bind_expect(Binder *b, const FormatTensor *t, const char *what, const uint64_t *dims, int n_dims);
ErrCode model_bind_mat(Binder *b, ModelMat *mat, const char *name, const char *what, uint64_t rows, uint64_t cols);
ErrCode model_bind_vec(Binder *b, const float **vec, const char *name, const char *what, uint64_t n0, uint64_t n1, LoadKind kind);

/* The same under the names of a layer. */
const FormatTensor *model_bind_layer_find(Binder *b, const char *suffix);
ErrCode model_bind_layer_mat(Binder *b, ModelMat *to, const char *suffix, const char *what, uint64_t rows, uint64_t cols);
ErrCode model_bind_layer_vec(Binder *b, const float **to, const char *suffix, const char *what, uint64_t n0, uint64_t n1, LoadKind kind);

/* Part of the rows of a fused tensor on their way to rows of a matrix of our own. */
typedef struct RowCopy {
    Binder *b;
    const FormatTensor *from;
    uint64_t cols, row_bytes;
    uint64_t next; /* row of `from` that comes next */
} RowCopy;
RowCopy model_bind_row_copy(Binder *b, const FormatTensor *from, uint64_t cols);
/* The next n rows go to row `row` of the matrix that begins at byte `at` of the pages. */
ErrCode model_bind_rows(RowCopy *c, uint64_t n, uint64_t at, uint64_t row);

/* One layer's tensors but its routed experts, under the names of b->layer. */
ErrCode model_bind_layer(Binder *b, ModelLayer *l);
/* How a norm's factor is stored in this file. */
LoadKind model_bind_norm_kind(const Binder *b);

/* bind_experts.c: and the experts. records: [n_experts][MODEL_MATS] */
ErrCode model_bind_experts(Binder *b, ModelLayer *l, DiskRange *records);

/* ---- mixers: a file and a row each -------------------------------------------------------------------------------------- */

/* A count that only this mixer needs: where it is read from and where it is kept. */
typedef struct MixerNumber {
    HparamKey key;
    const char *name; /* for users */
    size_t at;        /* a uint32_t of ModelShape */
} MixerNumber;

enum { MIXER_NUMBERS = 8, MIXER_WORDS = 5 };

/* NULL where there is nothing to do. */
typedef struct MixerRow {
    const char *name, *group;              /* for users: "linear", and of its tensors: "linear attention" */
    const char *words[MIXER_WORDS];        /* a layer's tensor with one of these in its name belongs to it */
    const char *hf_type;                   /* in layer_types of config.json */
    const char *gguf_sign;                 /* the tensor of a layer that tells it from full attention */
    MixerNumber numbers[MIXER_NUMBERS];    /* required in files of an architecture that has it; those without a name end them */
    ErrCode (*finish)(const Hparams *h, ModelShape *s, Err *err); /* they are read: what follows from them */
    ErrCode (*check)(const Hparams *h, const ModelShape *s, Err *err); /* of any architecture: what must hold between them */
    ErrCode (*bind)(Binder *b, ModelLayer *l);
    void (*mats)(const ModelLayer *l, const ModelMat *out[MODEL_MIXER_MATS]);
    void (*describe)(const ModelShape *s, Buf *out);
} MixerRow;

#define X(NAME, name) extern const MixerRow model_mixer_##name;
MODEL_MIXERS(X)
#undef X
extern const MixerRow *const model_mixers[MODEL_MIXER_COUNT]; /* mixers.c */
/* Reads the numbers of the architecture's other mixer. */
ErrCode model_mixer_numbers(const Hparams *h, ModelShape *s, Err *err);

/* ---- the words around the network -------------------------------------------------------------------------------------- */

ErrCode model_vocab_open(Model *m, const HfJson *hf, Err *err);      /* vocab.c: tokenizer, template, bos */
ErrCode model_generation_open(Model *m, const HfJson *hf, Err *err); /* generation.c: stop ids, sampling */

#endif
