/* cli/inspect: what a model file holds, gathered from headers alone. */
#ifndef CLI_INSPECT_H
#define CLI_INSPECT_H

#include "cli/options.h"
#include "model/model.h"

typedef enum TensorGroupId {
    TENSORS_EMBEDDING, TENSORS_HEAD, TENSORS_NORM, TENSORS_MIXERS, /* one group each */
    TENSORS_ROUTER = TENSORS_MIXERS + MODEL_MIXER_COUNT, TENSORS_SHARED, TENSORS_EXPERTS,
    TENSORS_DRAFT, TENSORS_VISION, TENSORS_OTHER, TENSORS_GROUPS
} TensorGroupId;

typedef struct TensorGroup {
    uint32_t n;
    uint64_t elements, bytes;
    uint64_t bytes_of_type[QUANT_TYPE_COUNT];
} TensorGroup;

TensorGroupId tensor_group(Str name);
const char *tensor_group_name(TensorGroupId id);

/* The record of one routed expert: gate, up, down. Layers may differ in type, so in size. */
typedef struct RecordLayout {
    uint64_t bytes_min, bytes_max, bytes_total;
    uint64_t bytes_per_token;      /* read for one token when nothing is cached */
    bool contiguous;               /* the three parts of every expert follow each other */
    QuantType type[3];             /* of the first layer */
    uint32_t part_bytes[3];
} RecordLayout;

typedef struct Inspection {
    const char *path;              /* as the user knows it */
    FormatModel *format;
    Model *model;                  /* NULL: cannot be run, see why_not */
    Err why_not;
    uint64_t bytes;                /* of all files */
    TensorGroup groups[TENSORS_GROUPS];
    RecordLayout record;           /* zero without a model */
    char name[128];                /* general.name; may be empty */
    char arch[64];
    /* tokenizer and template */
    uint64_t merges;               /* 0: unknown */
    char split[128];
    Buf chat;                      /* the template's source; empty: none */
} Inspection;

void inspect_text(const Inspection *i, bool tensors);
void inspect_json(const Inspection *i, bool tensors);

#endif
