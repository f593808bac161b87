/* forge: making model files. Random weights in the exact shape of a real model, to rehearse a machine before a download.
 *
 * What this is    a table of real shapes, the list of tensors that a file of such a shape holds, and every byte of it as a pure
 *                 function of (shape, options, seed, offset). So a file that was interrupted continues where it stopped, and a header
 *                 alone is enough to plan for a model that is not there. docs/planning.md tells what the random weights are like.
 * Who owns what   a Forge owns its tables; paths and options are the caller's.
 * What may fail   a shape that a number format cannot hold; a disk that is full, or has too little room (with both numbers, before
 *                 a byte is written); a part file of other options; an interrupt (the part file stays, to be continued).
 * Threads         one thread calls; forge_write spreads the work over its own pool.
 * Promise         a file is as long as forge_bytes said, opens, computes finite numbers, and has the same bytes however often its
 *                 making was interrupted; two experts never have the same bytes; a file under its final name is whole. Checked by
 *                 tests/unit/test_forge.c.
 */
#ifndef FORGE_FORGE_H
#define FORGE_FORGE_H

#include "base/base.h"
#include "quant/quant.h"

enum { FORGE_HEAD_DIM_LINEAR = 128, FORGE_INTERVAL = 4, FORGE_TOPICS = 64, FORGE_PATH = 64 };

typedef struct ForgeShape {
    const char *name, *arch;             /* "qwen3.5-397b-a17b", "qwen35moe" */
    uint32_t layers, hidden, vocab;
    uint32_t heads, kv_heads, head_dim;
    uint32_t lin_k_heads, lin_v_heads;   /* of 128 values each; 0: every layer has full attention */
    uint32_t experts, top_k, expert_inner;
    uint32_t shared_inner;               /* 0: no shared expert */
    uint32_t ffn;                        /* feed_forward_length, which nothing uses; 0: not in the file */
    uint32_t context;
    double rope_theta;
} ForgeShape;

const ForgeShape *forge_shape(const char *name);  /* NULL: unknown */
const ForgeShape *forge_shape_at(size_t i);       /* NULL: past the end */

typedef struct ForgeOptions {
    ForgeShape shape;      /* a row of the table, or one's own */
    QuantType experts, dense;
    uint32_t layers, vocab; /* 0: those of the shape */
    double skew;           /* 0: uniform routing; else Zipf's exponent of the experts' popularity, and topics */
    bool mtp;              /* with a draft (MTP) layer behind the trunk; qwen35moe only */
    uint64_t seed;
} ForgeOptions;

typedef struct Forge Forge;

Forge *forge_new(const ForgeOptions *options, Err *err);
void forge_free(Forge *f);
uint64_t forge_bytes(const Forge *f);        /* of the whole file */
uint32_t forge_tensors(const Forge *f);

/* Bytes [offset, offset + bytes) of the file. */
void forge_fill(const Forge *f, uint64_t offset, uint64_t bytes, void *dst);

/* Writes to PATH.part, continuing what is there, and renames it when it is whole. Returning false from progress interrupts. */
typedef bool ForgeProgress(void *user, uint64_t done, uint64_t total);
ErrCode forge_write(const Forge *f, const char *path, ForgeProgress *progress, void *user, Err *err);

/* The headers as a file of the full length whose weights are a hole: enough for everything that reads headers only. path: under
 * which name this process can open it; *fd: close it with forge_hollow_close when done. */
ErrCode forge_hollow(const Forge *f, char path[FORGE_PATH], int *fd, Err *err);
void forge_hollow_close(int fd);

#endif
