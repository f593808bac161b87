/* The bytes of a file as a function of their place. A tensor is cut into runs of about 16 KiB, and each run is seeded by the file's
 * seed, the tensor and its own number. */
#include "forge/inside.h"

#include <string.h>

enum { MAX_RUN_BYTES = 16 << 10 };

/* ---- vectors: f32, element by element ---- */

/* Around 0 with spread 1: the sum of four uniform numbers, near enough to normal. */
static float normal(uint64_t bits) {
    int64_t sum = 0;
    for (int i = 0; i < 4; i++) sum += (int64_t)(bits >> 16 * i & 0xFFFF);
    return (float)(sum - 131070) * 0x1.bb67aep-16f; /* the spread of the sum is 2 * 65536 / sqrt(12) */
}

static float uniform(uint64_t bits, float low, float high) { return low + (high - low) * ((float)(bits >> 40) * 0x1p-24f); }

static float element(const Forge *f, const ForgeTensor *t, uint64_t i, uint64_t bits) {
    switch (t->kind) {
    case FORGE_NORM: return 1 + 0.05f * normal(bits);
    case FORGE_DECAY: {
        float u = uniform(bits, 0, 1);
        return -(1 + 6 * u * u);
    }
    case FORGE_DECAY_BIAS: return uniform(bits, -4, 0);
    case FORGE_CONV:
    case FORGE_VECTOR: return (float)t->rms * normal(bits);
    case FORGE_ROUTER: return forge_skew_router(f, t, i / t->dims[0], i % t->dims[0], normal(bits));
    case FORGE_MATRIX:
    case FORGE_TOKENS:
    case FORGE_HEAD: break;
    }
    return 0;
}

static bool is_vector(const ForgeTensor *t) { return t->kind >= FORGE_ROUTER; }

/* ---- runs ---- */

/* Run number `run` of a tensor, `bytes` long (the last one may be short); dst has slack behind it. */
static void make_run(const Forge *f, const ForgeTensor *t, uint64_t run, uint64_t bytes, uint8_t *dst) {
    Xoshiro random;
    xoshiro_seed(&random, forge_hash(f->o.seed, (uint64_t)(t - f->tensors), run));
    if (is_vector(t)) {
        uint64_t first = run * (t->run_bytes / sizeof(float));
        for (uint64_t i = 0; i < bytes / sizeof(float); i++) {
            float v = element(f, t, first + i, xoshiro_next(&random));
            memcpy(dst + i * sizeof v, &v, sizeof v);
        }
        return;
    }
    uint64_t size = quant_traits(t->recipe.type)->block_bytes, n = bytes / size;
    forge_blocks(&t->recipe, &random, dst, n);
    if (f->skew.region && t->kind != FORGE_MATRIX) forge_skew_rows(f, t, run * (t->run_bytes / size), n, dst);
}

/* Bytes [from, to) of a tensor. */
static void fill_tensor(const Forge *f, const ForgeTensor *t, uint64_t from, uint64_t to, uint8_t *dst) {
    uint8_t room[MAX_RUN_BYTES + FORGE_BLOCKS_SLACK];
    while (from < to) {
        uint64_t run = from / t->run_bytes, begin = run * t->run_bytes;
        uint64_t end = begin + t->run_bytes < t->bytes ? begin + t->run_bytes : t->bytes;
        uint64_t stop = end < to ? end : to;
        make_run(f, t, run, end - begin, room);
        memcpy(dst, room + (from - begin), stop - from);
        dst += stop - from;
        from = stop;
    }
}

/* The tensor that holds this byte or is the next one behind it; n_tensors: none. */
static uint32_t tensor_at(const Forge *f, uint64_t offset) {
    uint32_t low = 0, high = f->n_tensors;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (f->tensors[mid].offset + f->tensors[mid].bytes <= offset) low = mid + 1;
        else high = mid;
    }
    return low;
}

void forge_fill(const Forge *f, uint64_t offset, uint64_t bytes, void *dst) {
    uint8_t *out = dst;
    uint64_t end = offset + bytes;
    memset(out, 0, bytes); /* gaps between tensors */
    if (offset < f->header.len) {
        uint64_t n = f->header.len - offset < bytes ? f->header.len - offset : bytes;
        memcpy(out, f->header.ptr + offset, n);
    }
    for (uint32_t i = tensor_at(f, offset); i < f->n_tensors && f->tensors[i].offset < end; i++) {
        const ForgeTensor *t = &f->tensors[i];
        uint64_t from = offset > t->offset ? offset - t->offset : 0;
        uint64_t to = end - t->offset < t->bytes ? end - t->offset : t->bytes;
        fill_tensor(f, t, from, to, out + (t->offset + from - offset));
    }
}

/* ---- the object ---- */

Forge *forge_new(const ForgeOptions *options, Err *err) {
    Forge *f = MEM_NEW(Forge, 1);
    if (!f) {
        err_no_memory(err, sizeof *f, "a model to be made");
        return NULL;
    }
    f->o = *options;
    if (options->layers) f->o.shape.layers = options->layers;
    if (options->vocab) f->o.shape.vocab = options->vocab;
    ErrCode code = forge_skew_new(f, err);
    if (!code) code = forge_layout(f, err);
    if (!code) return f;
    forge_free(f);
    return NULL;
}

void forge_free(Forge *f) {
    if (!f) return;
    forge_skew_free(f);
    buf_free(&f->header);
    mem_free(f->tensors);
    mem_free(f);
}

uint64_t forge_bytes(const Forge *f) { return f->bytes; }
uint32_t forge_tensors(const Forge *f) { return f->n_tensors; }
