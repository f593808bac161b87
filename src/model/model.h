/* model: what the network is. Shapes, tensor names, bound weights, tokenizer and template of one opened file or folder.
 *
 * What this is    turns a FormatModel into one canonical description, whatever the layout: GGUF or Hugging Face, fused or split
 *                 tensors, grouped or tiled heads, zero-centred or plain norms, -exp(A_log) or A_log. One row per
 *                 architecture (arch.c): qwen35moe, qwen3next, qwen3moe. docs/models.md has the whole mapping.
 * Who owns what   the Model owns its tables, the tokenizer and the template; dense weights lie in one block of pages that
 *                 model_load_dense fills. Expert bytes are never loaded here, only described.
 * What may fail   a missing, misshaped or non-finite tensor, an unknown architecture, a config value out of range, a feature that is
 *                 not supported (named). A tensor of the trunk that nobody asked for is an error too: ignoring it would change
 *                 the answer in silence.
 * Threads         opening and loading: one thread. Read-only afterwards.
 * Promise         after model_load_dense every weight the step needs is present, has the shape the step expects and is finite.
 *                 Checked by tests/unit/test_model.c and tests/golden/test_model_files.c.
 */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "base/base.h"
#include "disk/disk.h"
#include "format/format.h"
#include "os/os.h"
#include "quant/quant.h"
#include "text/text.h"

typedef enum ModelArch { MODEL_QWEN35MOE, MODEL_QWEN3NEXT, MODEL_QWEN3MOE } ModelArch;

/* What mixes the tokens of a sequence in a layer. Each has a file here and one in forward/. */
#define MODEL_MIXERS(X)                                              \
    X(FULL, full)     /* causal softmax attention over all keys */   \
    X(LINEAR, linear) /* gated delta net */

typedef enum ModelMixer {
#define X(NAME, name) MODEL_MIXER_##NAME,
    MODEL_MIXERS(X)
#undef X
    MODEL_MIXER_COUNT
} ModelMixer;

typedef struct ModelShape {
    ModelArch arch;
    uint32_t n_layers;        /* of the trunk; draft (MTP) layers are not counted */
    uint32_t hidden, vocab;
    uint32_t n_heads, n_kv_heads, head_dim; /* full attention */
    uint32_t rotary_dim;      /* even, <= head_dim */
    double rope_theta;
    float eps;                /* of every RMS norm */
    bool attn_gate;           /* q_proj also yields a sigmoid gate per query element */
    /* gated delta net; all 0 where the architecture has no linear layers */
    uint32_t lin_k_heads, lin_v_heads, lin_k_dim, lin_v_dim, conv_width;
    bool heads_tiled;         /* v-head h reads k-head h % lin_k_heads (GGUF qwen35moe), else h / (lin_v_heads / lin_k_heads) */
    /* experts */
    uint32_t n_experts, top_k, expert_inner, shared_inner; /* shared_inner 0: no shared expert */
    bool norm_topk;           /* the chosen probabilities are divided by their sum */
    uint32_t ctx_train;       /* positions the model was made for */
} ModelShape;

/* A weight matrix as it lies in memory: row r begins at data + r * row_bytes. */
typedef struct ModelMat {
    QuantType type;
    uint32_t rows, cols;  /* out, in */
    uint64_t row_bytes;
    const uint8_t *data;  /* NULL until loaded, or the matrix does not exist */
} ModelMat;

/* The matrices of an expert, in this order wherever there are three. */
enum { MODEL_GATE, MODEL_UP, MODEL_DOWN, MODEL_MATS };

/* f32 vectors are NULL where the layer has none. K = lin_k_heads * lin_k_dim, V = lin_v_heads * lin_v_dim. */
typedef struct ModelLayer {
    ModelMixer mixer;
    const float *norm_in, *norm_post;    /* [hidden], the factor itself (1 + w already added) */
    /* linear */
    ModelMat lin_qkv;                    /* [2K + V, hidden]: rows q, then k, then v, heads one after the other */
    ModelMat lin_z;                      /* [V, hidden] */
    ModelMat lin_b, lin_a;               /* [lin_v_heads, hidden]: beta and decay inputs */
    const float *conv;                   /* [2K + V][conv_width], oldest tap first */
    const float *ssm_a;                  /* [lin_v_heads] = -exp(A_log) < 0 */
    const float *dt_bias;                /* [lin_v_heads] */
    const float *lin_norm;               /* [lin_v_dim], plain */
    ModelMat lin_out;                    /* [hidden, V] */
    /* full attention */
    ModelMat q;                          /* [n_heads * head_dim * (attn_gate ? 2 : 1), hidden]; per head: query rows, then gate rows */
    ModelMat k, v;                       /* [n_kv_heads * head_dim, hidden] */
    ModelMat o;                          /* [hidden, n_heads * head_dim] */
    const float *q_norm, *k_norm;        /* [head_dim] */
    /* experts */
    ModelMat router;                     /* [n_experts, hidden] */
    ModelMat shared_gate, shared_up;     /* [shared_inner, hidden] */
    ModelMat shared_down;                /* [hidden, shared_inner] */
    ModelMat shared_router;              /* [1, hidden] */
    ModelMat expert[MODEL_MATS];         /* gate, up [expert_inner, hidden], down [hidden, expert_inner]; data is NULL: see records */
} ModelLayer;

/* The matrices of a layer that every token reads, its mixer's and router's, and from MODEL_SHARED_MATS on those of the shared expert.
 * What the layer does not have has no rows; the mixer has the first. */
enum { MODEL_MIXER_MATS = 6, MODEL_SHARED_MATS, MODEL_DENSE_MATS = MODEL_SHARED_MATS + 4 };
void model_layer_mats(const ModelLayer *l, const ModelMat *out[MODEL_DENSE_MATS]);

/* The draft (MTP) layer: from the trunk's last hidden state h_t (after the final norm) and token t + 1 it guesses token t + 2:
 *   x = fc [norm(embedding of token t + 1); norm(h_t)];  a full layer with keys and values of its own;  logits = head(norm_out(x)) */
typedef struct ModelMtp {
    bool bound;                   /* see model_bind_mtp; its layer is layers[n_layers], its experts follow the trunk's records */
    ModelMat fc;                  /* [hidden, 2 hidden], embedding half first */
    const float *norm_embedding, *norm_hidden, *norm_out; /* [hidden] */
} ModelMtp;

/* What a model may say of sampling, one row per setting, real or whole: the field, here and in sluice_sampling; its name for users; its
 * key in GGUF (NULL: there is none) and in generation_config.json; the least and the most it may be; and what holds where the model says
 * nothing, for which the field has NAN or -1. */
#define MODEL_SAMPLING(REAL, INT)                                                                \
    REAL(temperature, "temp", "general.sampling.temp", "temperature", 0, 100, 0.7f)              \
    INT(top_k, "top-k", "general.sampling.top_k", "top_k", -1, 1 << 24, 40)                      \
    REAL(top_p, "top-p", "general.sampling.top_p", "top_p", 0, 1, 0.95f)                         \
    REAL(min_p, "min-p", "general.sampling.min_p", "min_p", 0, 1, 0)                             \
    REAL(presence, "presence", NULL, "presence_penalty", -100, 100, 0)                           \
    REAL(repeat, "repeat", "general.sampling.penalty_repeat", "repetition_penalty", 0, 100, 1)

typedef struct ModelSampling {
#define REAL(field, ...) float field;
#define INT(field, ...) int field;
    MODEL_SAMPLING(REAL, INT)
#undef REAL
#undef INT
    bool do_sample; /* false only where the model says so */
} ModelSampling;

enum { MODEL_MAX_STOP = 16 };

typedef struct Model {
    const FormatModel *format;   /* borrowed */
    ModelShape shape;
    ModelLayer *layers;          /* [n_layers], and one more for the draft layer */
    ModelMat embedding;          /* [vocab, hidden] */
    ModelMat head;               /* [vocab, hidden]; the embedding itself when tied */
    const float *norm_out;       /* [hidden] */
    DiskRange *records;          /* [model_expert_layers][n_experts][MODEL_MATS] where experts lie; file: index into FormatModel.files */
    ModelMtp mtp;
    uint64_t dense_bytes;        /* pages that model_load_dense will need */
    Tokenizer *tokenizer;        /* NULL: the file has none */
    Template *chat;              /* NULL: base model, or a template that cannot be parsed (see chat_error) */
    char *chat_source;           /* its text, or NULL */
    char *chat_error;            /* why the template is unusable, or NULL */
    int32_t stop_ids[MODEL_MAX_STOP]; /* end-of-generation tokens */
    int n_stop_ids;
    int32_t bos_id;              /* -1: none */
    ModelSampling sampling;
    struct ModelInner *inner;
} Model;

const char *model_arch_name(ModelArch arch); /* "qwen35moe" */

/* What users are told of mixers: a word, what its tensors are called together, whether a tensor of a layer is one of them, its shape in
 * a line, its own numbers with their names (NULL: past the last), and how many layers of the trunk have it. */
const char *model_mixer_name(ModelMixer mixer);
const char *model_mixer_group(ModelMixer mixer);
bool model_mixer_owns(ModelMixer mixer, Str tensor);
void model_mixer_describe(ModelMixer mixer, const ModelShape *s, Buf *out);
const char *model_mixer_number(ModelMixer mixer, const ModelShape *s, size_t i, uint32_t *value);
uint32_t model_mixer_layers(const Model *m, ModelMixer mixer);

/* Reads headers only: shapes, names, tokenizer, template. format is borrowed and must outlive the model; but of its metadata (GGUF
 * keys with their strings, JSON texts) nothing is used after model_new: format_drop_metadata may follow. */
Model *model_new(const FormatModel *format, Err *err);
void model_free(Model *m);
/* Does the file hold a draft (MTP) layer? It is left out unless it is asked for. */
bool model_has_mtp(const Model *m);
/* Adds it to the model, dense weights and records: before model_load_dense, and before the format's metadata are dropped. */
ErrCode model_bind_mtp(Model *m, Err *err);

typedef bool ModelProgress(void *user, uint64_t done_bytes, uint64_t total_bytes);
typedef struct ModelLoad {
    Disk *disk;              /* has the files of the format, under the same numbers, and nothing to do */
    OsPool *pool;            /* NULL: the calling thread alone */
    uint64_t buffer_bytes;   /* that may be used meanwhile, about; 0: 32 MiB */
    ModelProgress *progress; /* NULL: none; returning false interrupts */
    void *user;
} ModelLoad;
/* Fills `pages` (at least dense_bytes, zeroed, page-aligned, owned by the caller) with the dense weights and binds them. */
ErrCode model_load_dense(Model *m, void *pages, const ModelLoad *how, Err *err);

/* Layers with routed experts: the trunk's, and the draft layer where it is bound. */
static inline uint32_t model_expert_layers(const Model *m) { return m->shape.n_layers + m->mtp.bound; }
static inline const DiskRange *model_record(const Model *m, uint32_t layer, uint32_t expert) {
    return m->records + ((uint64_t)layer * m->shape.n_experts + expert) * MODEL_MATS;
}
uint64_t model_experts_bytes(const Model *m); /* of all experts of the trunk, on disk */
uint64_t model_record_bytes(const Model *m);  /* of one of them, mean; 0: there is none */
/* For plans: from now on as if all experts of the trunk had this number format, each of their matrices in a file of its own, of which
 * there is none. False, and nothing is changed: their rows cannot be of that type. */
bool model_retype_experts(Model *m, QuantType type);
/* The k-head that feeds v-head h. */
static inline uint32_t model_k_head(const ModelShape *s, uint32_t h) {
    return s->heads_tiled ? h % s->lin_k_heads : h / (s->lin_v_heads / s->lin_k_heads);
}

#endif
