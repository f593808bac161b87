/* What the files of this room share. Private: included only inside src/forge/.
 *
 * layout.c lists the tensors and writes the header, blocks.c makes random blocks of a given size, content.c fills a tensor, write.c
 * brings it to disk. */
#ifndef FORGE_INSIDE_H
#define FORGE_INSIDE_H

#include "forge/forge.h"

#define TRY(call)                                \
    do {                                         \
        ErrCode try_code = (call);               \
        if (try_code != ERR_OK) return try_code; \
    } while (0)

/* The seed of one run of bytes: runs are seeded anew, so that any place of a file can be made alone. */
static inline uint64_t forge_hash(uint64_t a, uint64_t b, uint64_t c) {
    return splitmix(splitmix(splitmix(a + SPLITMIX_STEP) ^ b) + SPLITMIX_STEP * (c + 1));
}

/* ---- blocks.c ---- */

/* How random blocks of a type get a given root mean square: what is written where their scales are. */
typedef struct ForgeRecipe {
    QuantType type;
    float rms;             /* plain numbers: uniform with this root mean square */
    uint16_t first, second; /* f16 bits of the scales; each block adds a random sign to both */
    uint8_t code, share;   /* scales of 8 bits: this code in share of 256 blocks, else the next one */
} ForgeRecipe;

ErrCode forge_recipe(ForgeRecipe *r, QuantType type, double rms, Err *err);
/* n whole blocks of random bytes; room: dst may be written up to 7 bytes beyond them. */
void forge_blocks(const ForgeRecipe *r, Xoshiro *random, uint8_t *dst, uint64_t n);
enum { FORGE_BLOCKS_SLACK = 8 };

/* ---- layout.c ---- */

typedef enum ForgeKind {
    FORGE_MATRIX,    /* random blocks */
    FORGE_TOKENS,    /* random blocks with the constant and the topic in front: embeddings */
    FORGE_HEAD,      /* the same with the topic alone */
    FORGE_ROUTER,    /* f32; popularity and topics */
    FORGE_NORM,      /* f32 around 1 */
    FORGE_DECAY,     /* f32 below 0: -exp(A_log) */
    FORGE_DECAY_BIAS,
    FORGE_CONV,
    FORGE_VECTOR     /* f32 of the given gain */
} ForgeKind;

typedef struct ForgeTensor {
    char name[48];
    ForgeKind kind;
    ForgeRecipe recipe;
    double rms;
    uint32_t layer, n_dims;
    uint64_t dims[3];        /* innermost first, as in the file */
    uint64_t offset, bytes;  /* offset: absolute */
    uint64_t run_bytes;      /* blocks of one seeding, in bytes */
} ForgeTensor;

/* What makes routing uneven (skew.c); all NULL without --skew. */
typedef struct ForgeSkew {
    uint64_t region;            /* elements of the constant, and of the topic behind it, in front of each embedding row */
    uint64_t region_bytes;
    uint8_t *constant;          /* [region_bytes] */
    uint8_t *topics;            /* [FORGE_TOPICS][region_bytes] */
    uint8_t *head_topics;       /* the same values in the size that the output head needs */
    float *constant_values;     /* [region] decoded, divided by the sum of their squares */
    float *popularity;          /* [layers][experts] added to the router's logits */
    double topic_rms, token_rms; /* of the router's weights in the topic's and in the token's own columns */
} ForgeSkew;

struct Forge {
    ForgeOptions o;
    Buf header;
    ForgeTensor *tensors;
    uint32_t n_tensors, cap_tensors;
    uint64_t bytes;
    ForgeSkew skew;
};

ErrCode forge_layout(Forge *f, Err *err);

/* ---- skew.c ---- */
ErrCode forge_skew_new(Forge *f, Err *err);
void forge_skew_free(Forge *f);
double forge_token_rms(const Forge *f);  /* of the token's own part of an embedding, relative to the whole row */
/* Overwrites the blocks of rows that belong to the constant or to a topic. first: number of the first block within the tensor */
void forge_skew_rows(const Forge *f, const ForgeTensor *t, uint64_t first, uint64_t n, uint8_t *blocks);
float forge_skew_router(const Forge *f, const ForgeTensor *t, uint64_t expert, uint64_t column, float normal);

#endif
