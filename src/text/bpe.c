/* Byte-pair encoding of one word: again and again the neighbouring pair with the best rank becomes one token, the leftmost
 * first among equals. Words are short as a rule and are scanned; long ones use a heap, so that the time is n log n for any. */
#include "text/tokenizer_parts.h"

#include <string.h>

enum { SHORT_WORD = 32 };
#define NO_MERGE UINT32_MAX

/* ---- the table of merges ---- */

ErrCode text_bpe_new(TextBpe *b, uint32_t n_merges, Err *err) {
    memset(b, 0, sizeof *b);
    for (int i = 0; i < 256; i++) b->byte_ids[i] = -1;
    b->bits = 4;
    while (((uint64_t)1 << b->bits) * 2 < (uint64_t)n_merges * 3) b->bits++; /* at most 2/3 full */
    size_t cap = (size_t)1 << b->bits;
    b->slots = MEM_NEW(TextMerge, cap);
    if (!b->slots) return err_no_memory(err, (uint64_t)cap * sizeof *b->slots, "the merges");
    for (size_t i = 0; i < cap; i++) b->slots[i].rank = NO_MERGE;
    return ERR_OK;
}

static TextMerge *slot_of(const TextBpe *b, uint32_t left, uint32_t right) {
    uint64_t hash = ((uint64_t)left << 32 | right) * UINT64_C(0x9E3779B97F4A7C15);
    size_t mask = ((size_t)1 << b->bits) - 1;
    for (size_t i = (size_t)((hash ^ hash >> 32) * UINT64_C(0xD6E8FEB86659FD93) >> (64 - b->bits));; i = (i + 1) & mask) {
        TextMerge *m = &b->slots[i];
        if (m->rank == NO_MERGE || (m->left == left && m->right == right)) return m;
    }
}

bool text_bpe_put(TextBpe *b, TextMerge merge, uint32_t *other) {
    TextMerge *m = slot_of(b, merge.left, merge.right);
    if (m->rank != NO_MERGE) {
        *other = m->rank;
        return false;
    }
    *m = merge;
    return true;
}

void text_bpe_free(TextBpe *b) {
    mem_free(b->slots);
    memset(b, 0, sizeof *b);
}

uint64_t text_bpe_bytes(const TextBpe *b) { return b->slots ? sizeof(TextMerge) << b->bits : 0; }

bool text_ids_room(TextIds *ids, size_t more) {
    if (more <= ids->cap - ids->n) return true;
    if (more > SIZE_MAX / 8 - ids->n) return false;
    size_t cap = ids->cap ? ids->cap + ids->cap / 2 : 64;
    if (cap < ids->n + more) cap = ids->n + more;
    int32_t *grown = mem_resize(ids->ids, cap, sizeof *grown);
    if (!grown) return false;
    ids->ids = grown;
    ids->cap = cap;
    return true;
}

/* ---- short words: look for the best pair each time ---- */

/* ids[n] -> the number left. n <= SHORT_WORD. */
static size_t merge_short(const TextBpe *b, int32_t *ids, size_t n) {
    uint32_t rank[SHORT_WORD], merged[SHORT_WORD]; /* of the pair that begins here */
    rank[n - 1] = NO_MERGE;
    merged[n - 1] = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        const TextMerge *m = slot_of(b, (uint32_t)ids[i], (uint32_t)ids[i + 1]);
        rank[i] = m->rank;
        merged[i] = m->id;
    }
    for (;;) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best]) best = i;
        if (rank[best] == NO_MERGE) return n;
        ids[best] = (int32_t)merged[best];
        n--;
        for (size_t i = best + 1; i < n; i++) {
            ids[i] = ids[i + 1];
            rank[i] = rank[i + 1];
            merged[i] = merged[i + 1];
        }
        rank[n - 1] = NO_MERGE;
        for (size_t i = best ? best - 1 : 0; i <= best && i + 1 < n; i++) {
            const TextMerge *m = slot_of(b, (uint32_t)ids[i], (uint32_t)ids[i + 1]);
            rank[i] = m->rank;
            merged[i] = m->id;
        }
    }
}

/* ---- long words: a list of symbols and a heap of pairs ---- */

typedef struct TextBpeNode {
    uint32_t id;
    uint32_t rank, merged;   /* of the pair that begins here; NO_MERGE: none */
    uint32_t previous, next; /* positions; UINT32_MAX: none */
} TextBpeNode;

void text_bpe_scratch_free(TextBpeScratch *s) {
    mem_free(s->nodes);
    mem_free(s->heap);
    memset(s, 0, sizeof *s);
}

static bool heap_room(TextBpeScratch *s, size_t cap) {
    if (cap <= s->heap_cap) return true;
    if (cap < s->heap_cap + s->heap_cap / 2) cap = s->heap_cap + s->heap_cap / 2;
    uint64_t *heap = mem_resize(s->heap, cap, sizeof *heap);
    if (!heap) return false;
    s->heap = heap;
    s->heap_cap = cap;
    return true;
}

/* Four children to a node: fewer levels, and the four lie side by side. Smallest key on top. */
static void sift_down(uint64_t *heap, size_t n, size_t at) {
    uint64_t key = heap[at];
    for (size_t child; (child = at * 4 + 1) < n; at = child) {
        size_t last = child + 4 < n ? child + 4 : n;
        for (size_t i = child + 1; i < last; i++)
            if (heap[i] < heap[child]) child = i;
        if (key <= heap[child]) break;
        heap[at] = heap[child];
    }
    heap[at] = key;
}

static void heap_push(TextBpeScratch *s, uint64_t key) {
    size_t at = s->n_heap++;
    while (at > 0 && key < s->heap[(at - 1) / 4]) {
        s->heap[at] = s->heap[(at - 1) / 4];
        at = (at - 1) / 4;
    }
    s->heap[at] = key;
}

static uint64_t heap_pop(TextBpeScratch *s) {
    uint64_t top = s->heap[0];
    s->heap[0] = s->heap[--s->n_heap];
    if (s->n_heap) sift_down(s->heap, s->n_heap, 0);
    return top;
}

/* Looks up the pair that begins at a position. Its key, or 0 where there is none to merge. */
static bool pair_at(const TextBpe *b, TextBpeNode *nodes, uint32_t at, uint64_t *key) {
    TextBpeNode *node = &nodes[at];
    node->rank = NO_MERGE;
    if (node->next == UINT32_MAX) return false;
    const TextMerge *m = slot_of(b, node->id, nodes[node->next].id);
    node->rank = m->rank;
    node->merged = m->id;
    *key = (uint64_t)m->rank << 32 | at;
    return m->rank != NO_MERGE;
}

/* Merges the list in scratch->nodes, whose pairs are in the heap. A key is out of date when its pair changed since: then the
 * rank stored at its position is another one (a symbol only ever grows, so the same rank cannot come back). */
static bool merge_list(const TextBpe *b, TextBpeScratch *s) {
    TextBpeNode *nodes = s->nodes;
    while (s->n_heap) {
        if (!heap_room(s, s->n_heap + 2)) return false;
        uint64_t key = heap_pop(s);
        uint32_t at = (uint32_t)key;
        TextBpeNode *node = &nodes[at];
        if (node->rank != (uint32_t)(key >> 32)) continue;
        TextBpeNode *gone = &nodes[node->next];
        node->id = node->merged;
        node->next = gone->next;
        gone->rank = NO_MERGE;
        if (node->next != UINT32_MAX) nodes[node->next].previous = at;
        if (pair_at(b, nodes, at, &key)) heap_push(s, key);
        if (node->previous != UINT32_MAX && pair_at(b, nodes, node->previous, &key)) heap_push(s, key);
    }
    return true;
}

static ErrCode merge_long(const TextBpe *b, TextBpeScratch *s, TextIds *out, size_t n, Err *err) {
    int32_t *ids = out->ids + out->n;
    if (n >= UINT32_MAX) return err_set(err, ERR_RANGE, "a word of %zu bytes is longer than 4 GiB", n);
    if (n > s->cap) {
        mem_free(s->nodes);
        s->cap = 0;
        s->nodes = mem_resize(NULL, n, sizeof *s->nodes);
        if (!s->nodes) return err_no_memory(err, (uint64_t)n * sizeof *s->nodes, "a long word");
        s->cap = n;
    }
    if (!heap_room(s, n + 2)) return err_no_memory(err, (uint64_t)n * sizeof *s->heap, "a long word");
    s->n_heap = 0;
    for (uint32_t i = 0; i < n; i++)
        s->nodes[i] = (TextBpeNode){.id = (uint32_t)ids[i], .previous = i - 1, .next = i + 1 < n ? i + 1 : UINT32_MAX};
    for (uint32_t i = 0; i < n; i++)
        if (pair_at(b, s->nodes, i, &s->heap[s->n_heap])) s->n_heap++;
    for (size_t i = s->n_heap / 4 + 1; i-- > 0;)
        if (i < s->n_heap) sift_down(s->heap, s->n_heap, i);
    if (!merge_list(b, s)) return err_no_memory(err, (uint64_t)s->heap_cap * 2 * sizeof *s->heap, "a long word");
    size_t left = 0;
    for (uint32_t i = 0; i != UINT32_MAX; i = s->nodes[i].next) ids[left++] = (int32_t)s->nodes[i].id;
    out->n += left;
    return ERR_OK;
}

ErrCode text_bpe_word(const TextBpe *b, TextBpeScratch *scratch, const char *word, size_t len, TextIds *out, size_t *missing,
                      Err *err) {
    if (!len) return ERR_OK;
    if (!text_ids_room(out, len)) return err_no_memory(err, (uint64_t)len * sizeof *out->ids, "the ids of a text");
    int32_t *ids = out->ids + out->n;
    for (size_t i = 0; i < len; i++) {
        ids[i] = b->byte_ids[(unsigned char)word[i]];
        if (ids[i] < 0) {
            *missing = i;
            return ERR_RANGE;
        }
    }
    if (len > SHORT_WORD) return merge_long(b, scratch, out, len, err);
    out->n += merge_short(b, ids, len);
    return ERR_OK;
}
