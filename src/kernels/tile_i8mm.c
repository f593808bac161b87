/* NEON rung, CPUs with matrix multiplication of bytes (i8mm): what tile_neon.c computes, the same integers in the same order of sums,
 * hence the same bits. One instruction multiplies eight elements of two rows with eight of two tokens, so rows and tokens go in pairs
 * and a vector holds the results of a pair of each: row 0 with token 0 and 1, row 1 with token 0 and 1. */
#include "kernels/neon.h"

enum {
    TOKENS = KERNELS_NEON_TILE,
    ROWS = 32,     /* lanes of a tile 32 KiB, its activations 12 KiB */
    PIECES = 32,   /* runs of eight elements in a group */
    ROW_PAIRS = 2, /* at a time, with two pairs of tokens: as many multiplications as loads */
    TOKEN_PAIRS = 2,
    ROWS_AT_A_TIME = 2 * ROW_PAIRS,
};

/* The current group of two tokens; small vectors hold token 0, 1, 0, 1. */
typedef struct TokenPair {
    int8x16_t q[PIECES];
    float32x4_t scale[GROUP_BLOCKS];
    int16x4_t sums[GROUP_RUNS];
} TokenPair;

/* The current group of two rows; small vectors hold row 0, 0, 1, 1. */
typedef struct RowPair {
    int8x16_t w[PIECES];
    int32x4_t sub[GROUP_RUNS];
    int16x4_t min_sub[GROUP_RUNS];
    float32x4_t scale[GROUP_BLOCKS], min[GROUP_BLOCKS];
} RowPair;

/* The 8 block lanes of two rows and two tokens. */
typedef struct PairLanes {
    float32x4_t block[GROUP_BLOCKS];
} PairLanes;

/* 256 bytes of each of two, in pieces of eight beside each other. */
ALWAYS_INLINE void interleave(const int8_t *a, const int8_t *b, int8x16_t *out) {
    for (size_t i = 0; i < PIECES; i += 2) {
        int64x2_t x = vreinterpretq_s64_s8(vld1q_s8(a + 8 * i)), y = vreinterpretq_s64_s8(vld1q_s8(b + 8 * i));
        out[i] = vreinterpretq_s8_s64(vzip1q_s64(x, y));
        out[i + 1] = vreinterpretq_s8_s64(vzip2q_s64(x, y));
    }
}

static void load_tokens(TokenPair *pair, const KernelsActGroup *a, const KernelsActGroup *b) {
    interleave(a->q, b->q, pair->q);
    for (size_t i = 0; i < GROUP_BLOCKS; i++) pair->scale[i] = vzip1q_f32(vdupq_n_f32(a->scale[i]), vdupq_n_f32(b->scale[i]));
    for (size_t s = 0; s < GROUP_RUNS; s++) pair->sums[s] = vzip1_s16(vdup_n_s16(a->sums[s]), vdup_n_s16(b->sums[s]));
}

static void load_rows(RowPair *pair, const Group *a, const Group *b, bool has_min) {
    interleave(a->w, b->w, pair->w);
    for (size_t i = 0; i < GROUP_BLOCKS; i++) pair->scale[i] = vcombine_f32(vdup_n_f32(a->scale[i]), vdup_n_f32(b->scale[i]));
    for (size_t s = 0; s < GROUP_RUNS; s++) pair->sub[s] = vcombine_s32(vdup_n_s32(a->sub[s]), vdup_n_s32(b->sub[s]));
    if (!has_min) return;
    for (size_t i = 0; i < GROUP_BLOCKS; i++) pair->min[i] = vcombine_f32(vdup_n_f32(a->min[i]), vdup_n_f32(b->min[i]));
    for (size_t s = 0; s < GROUP_RUNS; s++)
        pair->min_sub[s] = vext_s16(vdup_n_s16(a->min_sub[s]), vdup_n_s16(b->min_sub[s]), 2);
}

/* Block b of the current group: n_pairs pairs of tokens against ROW_PAIRS pairs of rows. lanes[r]: those of row pair r. The float
 * part is that of group.h. */
ALWAYS_INLINE void add_block(bool has_sub, bool has_min, const RowPair *rows, const TokenPair *tokens, size_t n_pairs, size_t b,
                             PairLanes *const lanes[ROW_PAIRS]) {
    int32x4_t sum[ROW_PAIRS][TOKEN_PAIRS];
    UNROLL for (size_t run = 2 * b; run < 2 * b + 2; run++) {
        UNROLL for (size_t r = 0; r < ROW_PAIRS; r++) UNROLL for (size_t t = 0; t < n_pairs; t++) {
            bool fresh = has_sub || run == 2 * b;
            int32x4_t s = fresh ? vdupq_n_s32(0) : sum[r][t];
            s = vmmlaq_s32(s, rows[r].w[2 * run], tokens[t].q[2 * run]);
            s = vmmlaq_s32(s, rows[r].w[2 * run + 1], tokens[t].q[2 * run + 1]);
            if (!has_sub) sum[r][t] = s;
            else sum[r][t] = run == 2 * b ? vmulq_s32(s, rows[r].sub[run]) : vmlaq_s32(sum[r][t], s, rows[r].sub[run]);
        }
    }
    UNROLL for (size_t r = 0; r < ROW_PAIRS; r++) UNROLL for (size_t t = 0; t < n_pairs; t++) {
        const TokenPair *x = &tokens[t];
        float32x4_t lane = lanes[r][t].block[b];
        lane = vfmaq_f32(lane, vmulq_f32(rows[r].scale[b], x->scale[b]), vcvtq_f32_s32(sum[r][t]));
        if (has_min) {
            int32x4_t min_sum = vmull_s16(rows[r].min_sub[2 * b], x->sums[2 * b]);
            min_sum = vmlal_s16(min_sum, rows[r].min_sub[2 * b + 1], x->sums[2 * b + 1]);
            lane = vfmaq_f32(lane, vmulq_f32(rows[r].min[b], x->scale[b]), vcvtq_f32_s32(min_sum));
        }
        lanes[r][t].block[b] = lane;
    }
}

/* One group of ROW_PAIRS pairs of rows for all tokens. */
ALWAYS_INLINE void add_rows(bool has_sub, bool has_min, const RowPair *rows, const TokenPair *tokens, size_t n_pairs,
                            PairLanes (*lanes)[TOKENS / 2]) {
    for (size_t t = 0; t < n_pairs; t += TOKEN_PAIRS) {
        PairLanes *at[ROW_PAIRS];
        for (size_t r = 0; r < ROW_PAIRS; r++) at[r] = lanes[r] + t;
        if (t + 1 < n_pairs) {
            for (size_t b = 0; b < GROUP_BLOCKS; b++) add_block(has_sub, has_min, rows, tokens + t, 2, b, at);
        } else {
            for (size_t b = 0; b < GROUP_BLOCKS; b++) add_block(has_sub, has_min, rows, tokens + t, 1, b, at);
        }
    }
}

/* 8 -> 4 -> 2 -> 1, of two rows and two tokens at once. */
static float32x4_t fold(PairLanes a) {
    for (size_t half = GROUP_BLOCKS / 2; half > 0; half /= 2)
        for (size_t b = 0; b < half; b++) a.block[b] = vaddq_f32(a.block[b], a.block[b + half]);
    return a.block[0];
}

static size_t at_most(size_t i, size_t last) { return i < last ? i : last; }

/* The last row and the last token stand in for those that a pair or a block of pairs lacks. */
void kernels_i8mm_integer_tile(QuantType type, const uint8_t *w, size_t n_rows, size_t n, const KernelsActs *acts, size_t n_tokens,
                               float *y, size_t y_stride) {
    TokenPair tokens[TOKENS / 2];
    RowPair rows[ROW_PAIRS];
    PairLanes lanes[ROWS / 2][TOKENS / 2];
    bool has_sub = group_form(type).sub != GROUP_SUB_NONE, has_min = group_form(type).has_min;
    size_t row_bytes = (size_t)quant_row_bytes(type, n), bytes = kernels_group_bytes(type), n_pairs = (n_tokens + 1) / 2;
    for (size_t top = 0; top < n_rows; top += ROWS) {
        size_t count = at_most(n_rows - top, ROWS);
        memset(lanes, 0, sizeof lanes);
        for (size_t at = 0; at * GROUP_ELEMS < n; at++) {
            size_t n_blocks = at_most((n - at * GROUP_ELEMS) / 32, GROUP_BLOCKS);
            for (size_t t = 0; t < n_pairs; t++)
                load_tokens(&tokens[t], &acts[2 * t].groups[at], &acts[at_most(2 * t + 1, n_tokens - 1)].groups[at]);
            for (size_t first = 0; first < count; first += ROWS_AT_A_TIME) {
                for (size_t r = 0; r < ROW_PAIRS; r++) {
                    Group g[2];
                    for (size_t i = 0; i < 2; i++) {
                        const uint8_t *row = w + (top + at_most(first + 2 * r + i, count - 1)) * row_bytes;
                        kernels_neon_unpack(type, row + at * bytes, n_blocks, &g[i]);
                    }
                    load_rows(&rows[r], &g[0], &g[1], has_min);
                }
                if (has_sub && has_min) add_rows(true, true, rows, tokens, n_pairs, lanes + first / 2);
                else if (has_sub) add_rows(true, false, rows, tokens, n_pairs, lanes + first / 2);
                else if (has_min) add_rows(false, true, rows, tokens, n_pairs, lanes + first / 2);
                else add_rows(false, false, rows, tokens, n_pairs, lanes + first / 2);
            }
        }
        for (size_t r = 0; r < count; r++)
            for (size_t t = 0; t < n_tokens; t++) {
                float four[4];
                vst1q_f32(four, fold(lanes[r / 2][t / 2]));
                y[t * y_stride + top + r] = four[r % 2 * 2 + t % 2];
            }
    }
}
