/* Which queries meet which keys, and when: causal softmax over fixed blocks of keys, joined in their order (kernels.h), then the
 * sigmoid gate where the architecture has it. The heads of a group share each load of a key. Two ways, the same bits:
 *
 *   tiles   many tokens: a task takes some tokens' heads of one group through all blocks, from first to last;
 *   split   few tokens: a task takes some blocks for all tokens' heads of one group and leaves each block's part behind; then each
 *           head joins its parts. Blocks come in rounds, so that the parts stay few in any context.
 *
 * Sequences share no keys. Those of a few tokens are split together, as many as there is room for parts; the others are tiled one by
 * one. */
#include "forward/attention.h"

#include <assert.h>
#include <string.h>

/* How the work is cut into tasks; no bit depends on it. */
enum {
    TILE_QUERIES = 64, /* that share each load of a block in prefill: their sums fill half of a second cache of 512 KiB */
    SPLIT_TOKENS = 4,  /* sequences of so few tokens spread blocks over threads, not tokens */
    ROUND_BLOCKS = 32, /* whose parts are kept at a time then */
};

typedef struct AttendJob {
    Forward *f;
    Attention *a;
    const LayerAt *at;
    uint32_t group;               /* query heads of a KV head */
    const Segment *segments;      /* [n_segments] tiles: one; split: some that are neighbours */
    uint32_t n_segments;
    uint32_t first, n;            /* their rows */
    uint32_t tokens_per_task;     /* tiles */
    uint32_t first_block, n_blocks, blocks_per_task; /* split: this round's */
} AttendJob;

static uint32_t group_of(const ModelShape *s) { return s->n_heads / s->n_kv_heads; }
static uint64_t part_floats(const ModelShape *s) { return align_up((uint64_t)s->head_dim + 2, 16); }

/* Most tokens of a tile. */
static uint32_t tile_tokens(const ForwardConfig *c) {
    uint32_t group = group_of(&c->model->shape), tokens = group < TILE_QUERIES ? TILE_QUERIES / group : 1;
    return tokens < c->chunk ? tokens : c->chunk;
}

static uint32_t split_tokens(const ForwardConfig *c) { return c->chunk < SPLIT_TOKENS ? c->chunk : SPLIT_TOKENS; }

static uint32_t round_blocks(const ForwardConfig *c) {
    uint32_t blocks = (uint32_t)forward_blocks(c);
    return blocks < ROUND_BLOCKS ? blocks : ROUND_BLOCKS;
}

/* Of a task: scores, and in tiles two parts of each query. Also the list of its queries. */
static uint64_t most_queries(const ForwardConfig *c) {
    uint32_t tile = tile_tokens(c), split = split_tokens(c);
    return (uint64_t)group_of(&c->model->shape) * (tile > split ? tile : split);
}

uint64_t forward_attend_scratch_floats(const ForwardConfig *c) {
    const ModelShape *s = &c->model->shape;
    if (!s->n_kv_heads) return 0;
    uint64_t query = align_up(sizeof(KernelsQuery), sizeof(float)) / sizeof(float);
    return most_queries(c) * (query + KERNELS_KEY_BLOCK + 2 * part_floats(s));
}

uint64_t forward_attend_parts_floats(const ForwardConfig *c) {
    const ModelShape *s = &c->model->shape;
    return s->n_kv_heads ? (uint64_t)split_tokens(c) * s->n_heads * (round_blocks(c) + 1) * part_floats(s) : 0;
}

typedef struct Scratch {
    KernelsQuery *queries; /* [most_queries] */
    float *scores;         /* [most_queries][KERNELS_KEY_BLOCK] */
    float *parts, *totals; /* [most_queries][part_floats] */
} Scratch;

static Scratch scratch_of(const AttendJob *j, int worker) {
    uint64_t n = most_queries(&j->f->c);
    Scratch s = {.queries = (KernelsQuery *)(void *)forward_scratch(j->f, worker)};
    s.scores = (float *)(void *)(s.queries + n);
    s.parts = s.scores + n * KERNELS_KEY_BLOCK;
    s.totals = s.parts + n * part_floats(j->f->s);
    return s;
}

static const float *query_of(const AttendJob *j, uint32_t row, uint32_t head) {
    const ModelShape *s = j->f->s;
    return j->a->q + ((uint64_t)row * s->n_heads + head) * s->head_dim * (s->attn_gate ? 2u : 1u);
}

static uint32_t position_of(const Segment *g, uint32_t row) { return g->position + (row - g->first); }

/* How many keys of a block the token of this row sees: all up to its own. */
static uint32_t keys_of(const Segment *g, uint32_t row, uint32_t block) {
    uint64_t keys = (uint64_t)position_of(g, row) + 1, first = (uint64_t)block * KERNELS_KEY_BLOCK;
    if (keys <= first) return 0;
    return keys - first < KERNELS_KEY_BLOCK ? (uint32_t)(keys - first) : KERNELS_KEY_BLOCK;
}

static uint32_t blocks_of(const Segment *g, uint32_t row) { return position_of(g, row) / KERNELS_KEY_BLOCK + 1; }

static void run_block(const AttendJob *j, const Segment *g, uint32_t kv_head, uint32_t block, const Scratch *scratch, uint32_t n_queries) {
    Forward *f = j->f;
    uint64_t at = forward_kv_block(&f->c, kv_head, block);
    f->c.kernels->attention(f->c.kv_type, forward_keys(g->state, j->at) + at, forward_values(g->state, j->at) + at, f->s->head_dim,
                            scratch->queries, n_queries, scratch->scores);
}

/* All blocks are joined: the head's output, and its part of the row that the output matrix reads. */
static void finish(const AttendJob *j, uint32_t row, uint32_t head, const float *total) {
    Forward *f = j->f;
    uint32_t dim = f->s->head_dim;
    float *o = j->a->o.x + (uint64_t)row * j->a->o.n + (uint64_t)head * dim;
    f->c.kernels->scale(o, total, 1.0f / total[dim + 1], dim);
    if (f->s->attn_gate) f->c.kernels->sigmoid_mul(o, query_of(j, row, head) + dim, dim);
    if (dim % KERNELS_ACT_BLOCK == 0) forward_part_ready(f, &j->a->o, row, head * dim, dim);
}

/* ---- tiles ---- */

/* One block for those of the tile's rows that see it; parts join totals, of which the first block's are taken as they are. */
static void tile_block(const AttendJob *j, uint32_t kv_head, uint32_t block, uint32_t first, uint32_t last, const Scratch *scratch) {
    const ModelShape *s = j->f->s;
    uint64_t stride = part_floats(s);
    uint32_t n = 0, skipped = 0;
    for (uint32_t t = first; t < last; t++) {
        uint32_t keys = keys_of(j->segments, t, block);
        for (uint32_t h = 0; h < j->group && keys; h++, n++) {
            float *part = (block ? scratch->parts : scratch->totals) + n * stride;
            scratch->queries[n] = (KernelsQuery){query_of(j, t, kv_head * j->group + h), part, keys};
        }
        if (!keys) skipped += j->group; /* these come first: their context is shorter */
    }
    run_block(j, j->segments, kv_head, block, scratch, n);
    for (uint32_t i = 0; block && i < n; i++)
        j->f->c.kernels->attention_join(scratch->totals + (skipped + i) * stride, scratch->queries[i].part, s->head_dim);
}

/* The last tokens have the most to do, so they come first. */
static void tile_task(void *arg, int task, int worker) {
    const AttendJob *j = arg;
    Scratch scratch = scratch_of(j, worker);
    uint32_t kv_head = (uint32_t)task % j->f->s->n_kv_heads, tile = (uint32_t)task / j->f->s->n_kv_heads;
    uint32_t last = j->n - tile * j->tokens_per_task, first = last > j->tokens_per_task ? last - j->tokens_per_task : 0;
    first += j->first;
    last += j->first;
    for (uint32_t block = 0; block < blocks_of(j->segments, last - 1); block++) tile_block(j, kv_head, block, first, last, &scratch);
    for (uint32_t t = first; t < last; t++)
        for (uint32_t h = 0; h < j->group; h++)
            finish(j, t, kv_head * j->group + h, scratch.totals + ((uint64_t)(t - first) * j->group + h) * part_floats(j->f->s));
}

/* ---- split ---- */

/* Where the part of a block of this round is kept; place 0 holds what was joined before. */
static float *part_at(const AttendJob *j, uint32_t row, uint32_t head, uint32_t place) {
    const ModelShape *s = j->f->s;
    uint64_t places = round_blocks(&j->f->c) + 1, token = row - j->first;
    return j->a->parts + ((token * s->n_heads + head) * places + place) * part_floats(s);
}

static uint32_t ranges_of(const AttendJob *j) { return (j->n_blocks + j->blocks_per_task - 1) / j->blocks_per_task; }

static void split_task(void *arg, int task, int worker) {
    const AttendJob *j = arg;
    Scratch scratch = scratch_of(j, worker);
    uint32_t kv_head = (uint32_t)task % j->f->s->n_kv_heads, range = (uint32_t)task / j->f->s->n_kv_heads % ranges_of(j);
    const Segment *g = &j->segments[(uint32_t)task / j->f->s->n_kv_heads / ranges_of(j)];
    uint32_t first = range * j->blocks_per_task;
    for (uint32_t b = first; b < first + j->blocks_per_task && b < j->n_blocks; b++) {
        uint32_t n = 0;
        for (uint32_t t = g->first; t < g->first + g->n; t++) {
            uint32_t keys = keys_of(g, t, j->first_block + b);
            for (uint32_t h = kv_head * j->group; h < (kv_head + 1) * j->group && keys; h++)
                scratch.queries[n++] = (KernelsQuery){query_of(j, t, h), part_at(j, t, h, b + 1), keys};
        }
        if (n > 0) run_block(j, g, kv_head, j->first_block + b, &scratch, n);
    }
}

static void join_task(void *arg, int task, int worker) {
    (void)worker;
    const AttendJob *j = arg;
    const ModelShape *s = j->f->s;
    uint32_t row = j->first + (uint32_t)task / s->n_heads, head = (uint32_t)task % s->n_heads;
    const Segment *g = j->segments;
    while (row >= g->first + g->n) g++;
    uint32_t blocks = blocks_of(g, row);
    if (blocks <= j->first_block) return; /* it was finished in an earlier round */
    float *total = part_at(j, row, head, 0);
    for (uint32_t b = 0; b < j->n_blocks && j->first_block + b < blocks; b++) {
        const float *part = part_at(j, row, head, b + 1);
        if (j->first_block + b == 0) memcpy(total, part, part_floats(s) * sizeof *part);
        else j->f->c.kernels->attention_join(total, part, s->head_dim);
    }
    if (j->first_block + j->n_blocks >= blocks) finish(j, row, head, total);
}

static uint32_t most_blocks(const AttendJob *j) {
    uint32_t most = 0;
    for (uint32_t i = 0; i < j->n_segments; i++) {
        uint32_t blocks = blocks_of(&j->segments[i], j->segments[i].first + j->segments[i].n - 1);
        most = blocks > most ? blocks : most;
    }
    return most;
}

static void run_split(AttendJob *j) {
    Forward *f = j->f;
    uint32_t blocks = most_blocks(j), threads = (uint32_t)os_pool_threads(f->c.pool), lists = j->n_segments * f->s->n_kv_heads;
    for (j->first_block = 0; j->first_block < blocks; j->first_block += j->n_blocks) {
        uint32_t left = blocks - j->first_block;
        j->n_blocks = left < round_blocks(&f->c) ? left : round_blocks(&f->c);
        j->blocks_per_task = j->n_blocks * lists / (4 * threads) + 1; /* a few tasks per thread level out uneven cores */
        os_pool_run(f->c.pool, (int)(ranges_of(j) * lists), split_task, j);
        os_pool_run(f->c.pool, (int)(j->n * f->s->n_heads), join_task, j);
    }
}

static void run_tiles(AttendJob *j) {
    Forward *f = j->f;
    uint32_t threads = (uint32_t)os_pool_threads(f->c.pool), most = tile_tokens(&f->c);
    uint32_t even = j->n * f->s->n_kv_heads / (4 * threads) + 1;
    j->tokens_per_task = even < most ? even : most;
    assert(j->tokens_per_task > 0);
    uint32_t tiles = (j->n + j->tokens_per_task - 1) / j->tokens_per_task;
    os_pool_run(f->c.pool, (int)(tiles * f->s->n_kv_heads), tile_task, j);
}

static void ready_task(void *arg, int task, int worker) {
    (void)worker;
    Forward *f = arg;
    forward_row_ready(f, &forward_attention_of(f)->o, (uint32_t)task);
}

void forward_attend(Forward *f, const LayerAt *at) {
    AttendJob job = {.f = f, .a = forward_attention_of(f), .at = at, .group = group_of(f->s)};
    for (uint32_t i = 0; i < f->n_segments; i += job.n_segments) {
        job.segments = &f->segments[i];
        job.first = job.segments->first;
        job.n = job.segments->n;
        for (job.n_segments = 1; i + job.n_segments < f->n_segments; job.n_segments++) {
            uint32_t more = f->segments[i + job.n_segments].n;
            if (job.n + more > split_tokens(&f->c)) break;
            job.n += more;
        }
        if (job.n <= split_tokens(&f->c)) run_split(&job);
        else run_tiles(&job);
    }
    if (f->s->head_dim % KERNELS_ACT_BLOCK) os_pool_run(f->c.pool, (int)f->n, ready_task, f); /* heads share blocks */
}
