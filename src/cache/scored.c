/* A score per record: the number of tokens that wanted it, each counting half as much after every half-life.
 *
 * The score is kept as its logarithm, plus the time in half-lives: then time alone changes nothing, and only a use does. It belongs to
 * the record and not to the slot, so a record that comes back is known. In each group a heap holds the slots by score. A use only
 * changes the score; the heap learns of it when the slot comes to its top and is not the coldest after all. So a use costs a few
 * additions, and each use makes an eviction sift at most once.
 */
#include "cache/scored.h"

#include <math.h>

enum {
    OCTAVE = CACHE_SCORE_OCTAVE,
    GAINS = 12 * OCTAVE,  /* what is further apart than this adds nothing */
    START = 64 * OCTAVE,  /* the score of one use at the very beginning; 0: never used */
    PASSING_BELOW = 2 * OCTAVE, /* a record that only passes through stands so much lower */
    STEP_BITS = 24        /* of a key, below the score: with equal scores the older use goes first */
};

#define NOT_IN_HEAP 0x7fffffffu
#define PASSING 0x80000000u /* beside the place in the heap, in the slot's mark */

typedef struct Scored {
    int32_t gain[GAINS];  /* [difference of two scores] what their sum has above the larger one */
    uint64_t *score;      /* [records] */
    int32_t *heap;        /* [n_groups][per_group] slots, the coldest first */
    uint32_t *n;          /* [n_groups] */
} Scored;

static uint64_t records_of(const CacheConfig *config) { return (uint64_t)config->n_groups * config->per_group; }

uint64_t cache_scored_bytes(const CacheConfig *config) {
    return sizeof(Scored) + records_of(config) * (sizeof(uint64_t) + sizeof(int32_t)) + config->n_groups * sizeof(uint32_t);
}

void cache_scored_start(Cache *c) {
    Scored *s = c->own;
    s->score = (uint64_t *)(s + 1);
    s->heap = (int32_t *)(s->score + records_of(&c->config));
    s->n = (uint32_t *)(s->heap + records_of(&c->config));
    for (int d = 0; d < GAINS; d++) s->gain[d] = (int32_t)lround(OCTAVE * log2(1 + exp2(-(double)d / OCTAVE)));
}

/* ---- scores -------------------------------------------------------------------------------------------------------- */

/* The logarithm of a number of uses, straight between powers of two. */
static uint64_t log_uses(uint32_t uses) {
    uint32_t octave = 0;
    while (uses >> (octave + 1)) octave++;
    return (uint64_t)octave * OCTAVE + ((((uint64_t)uses << 32 >> octave) - (1ull << 32)) * OCTAVE >> 32);
}

static void add_uses(Cache *c, int32_t record, uint32_t uses) {
    Scored *s = c->own;
    uint64_t now = START + c->tokens * OCTAVE / c->ops->half_life + log_uses(uses), old = s->score[record];
    uint64_t high = now > old ? now : old, apart = high - (now > old ? old : now);
    s->score[record] = high + (apart < GAINS ? (uint64_t)s->gain[apart] : 0);
}

static uint64_t key_of(const Cache *c, int32_t slot) {
    const Scored *s = c->own;
    uint64_t score = s->score[c->slots[slot].record];
    if (c->slots[slot].mark & PASSING) score = score > PASSING_BELOW ? score - PASSING_BELOW : 0;
    return score << STEP_BITS | (c->step & ((1u << STEP_BITS) - 1));
}

/* ---- the heap of a group ------------------------------------------------------------------------------------------- */

static void place(Cache *c, int32_t *heap, uint32_t at, int32_t slot) {
    heap[at] = slot;
    c->slots[slot].mark = (c->slots[slot].mark & PASSING) | at;
}

static void sift_up(Cache *c, int32_t *heap, uint32_t at) {
    int32_t slot = heap[at];
    for (; at > 0 && c->slots[heap[(at - 1) / 2]].key > c->slots[slot].key; at = (at - 1) / 2) place(c, heap, at, heap[(at - 1) / 2]);
    place(c, heap, at, slot);
}

static void sift_down(Cache *c, int32_t *heap, uint32_t n, uint32_t at) {
    int32_t slot = heap[at];
    for (uint32_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && c->slots[heap[child + 1]].key < c->slots[heap[child]].key) child++;
        if (c->slots[heap[child]].key >= c->slots[slot].key) break;
        place(c, heap, at, heap[child]);
    }
    place(c, heap, at, slot);
}

static int32_t *heap_of(const Cache *c, uint32_t group) {
    const Scored *s = c->own;
    return s->heap + (size_t)group * c->config.per_group;
}

static void heap_push(Cache *c, int32_t slot) {
    Scored *s = c->own;
    uint32_t group = cache_group(c, slot);
    c->slots[slot].key = key_of(c, slot);
    heap_of(c, group)[s->n[group]++] = slot;
    sift_up(c, heap_of(c, group), s->n[group] - 1);
}

static void heap_remove(Cache *c, int32_t slot) {
    Scored *s = c->own;
    uint32_t group = cache_group(c, slot), at = c->slots[slot].mark & ~PASSING;
    int32_t *heap = heap_of(c, group);
    int32_t last = heap[--s->n[group]];
    c->slots[slot].mark |= NOT_IN_HEAP;
    if (last == slot) return;
    place(c, heap, at, last);
    sift_up(c, heap, at);
    sift_down(c, heap, s->n[group], c->slots[last].mark & ~PASSING);
}

static bool in_heap(const Cache *c, int32_t slot) { return (c->slots[slot].mark & ~PASSING) != NOT_IN_HEAP; }

void cache_scored_rerank(Cache *c, uint32_t group) {
    const Scored *s = c->own;
    c->rank[group] = s->n[group] ? c->slots[heap_of(c, group)[0]].key >> STEP_BITS : RANK_NONE;
}

/* ---- the policy ---------------------------------------------------------------------------------------------------- */

void cache_scored_enter(Cache *c, int32_t slot, uint32_t uses) {
    uint32_t group = cache_group(c, slot);
    if (uses) add_uses(c, c->slots[slot].record, uses);
    c->slots[slot].mark = NOT_IN_HEAP | (cache_use_counts(c, group, uses, false) ? 0 : PASSING);
    heap_push(c, slot);
    cache_scored_rerank(c, group);
}

void cache_scored_use(Cache *c, int32_t slot, uint32_t uses) {
    add_uses(c, c->slots[slot].record, uses);
    if (cache_use_counts(c, cache_group(c, slot), uses, true)) c->slots[slot].mark &= ~PASSING;
}

int32_t cache_scored_victim(Cache *c, uint32_t group) {
    Scored *s = c->own;
    int32_t *heap = heap_of(c, group);
    int32_t slot = heap[0];
    uint64_t key = key_of(c, slot);
    if (c->slots[slot].pins) {
        heap_remove(c, slot);
    } else if (key >> STEP_BITS > c->slots[slot].key >> STEP_BITS) {
        c->slots[slot].key = key; /* it was used since it was put there */
        sift_down(c, heap, s->n[group], 0);
    } else {
        return slot;
    }
    cache_scored_rerank(c, group);
    return CACHE_NONE;
}

void cache_scored_put_back(Cache *c, int32_t slot) {
    if (in_heap(c, slot)) return;
    heap_push(c, slot);
    cache_scored_rerank(c, cache_group(c, slot));
}

void cache_scored_leave(Cache *c, int32_t slot) {
    if (in_heap(c, slot)) heap_remove(c, slot);
}
