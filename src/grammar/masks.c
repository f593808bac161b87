/* Which tokens may come: a walk over the trie of all tokens with the machine, and what can be remembered of it.
 *
 * Places that were met before have a number; for each the next place by class of byte, and the mask. So the walk is a row of table
 * look-ups, and a mask that is asked for again is a copy. A counter that is too far from its bounds to meet them within one token is
 * put in the middle, so that places which differ in nothing but such a counter are one. When the memory is full, all is forgotten. */
#include "grammar/program.h"

#include <string.h>

enum {
    MAX_PLACES = 16384, /* known ones; their numbers begin with 1 */
    N_BUCKETS = 32768,
    N_MASKS = 128,
    PLACE_WORDS = 1 + 3 * (GRAMMAR_MAX_ITEMS + GRAMMAR_MAX_LINKS) + 256, /* of the largest place */
    POOL_WORDS = (GRAMMAR_MAX_TOKEN + 200) * PLACE_WORDS,                /* the places along one token always fit */
    DEAD = 1
};

_Static_assert(sizeof(GrammarItem) == 12 && sizeof(GrammarLink) == 12, "three words each, without gaps: places are compared as bytes");

/* In the pool a place is its items, its links, its number, and a row: the rows of the places after each class of byte, 0 where that is not
 * known yet, DEAD where there is none. A row is given by the word at which it begins, so that a walk goes from row to row. */
typedef struct Known {
    uint32_t at, row;   /* words in the pool */
    uint32_t hash, bucket_next;
    uint16_t n_items, n_links;
    int32_t mask;       /* slot, -1: none */
} Known;

struct GrammarMasks {
    const Grammar *g;
    const GrammarVocab *v;
    GrammarMachine *machine;
    uint32_t *pool;     /* [POOL_WORDS] */
    Known *known;       /* [MAX_PLACES + 1] */
    uint32_t *buckets;  /* [N_BUCKETS] */
    uint32_t *masks;    /* [N_MASKS][n_words] */
    uint32_t *stop;     /* [n_words] */
    uint32_t owner[N_MASKS]; /* place, 0: none */
    uint32_t n_known, used, next_mask;
    GrammarPlace root, from, to;
    uint32_t path[GRAMMAR_MAX_TOKEN + 1]; /* [depth] row of the place after so many bytes */
    uint8_t bytes[GRAMMAR_MAX_TOKEN + 1]; /* [depth] the byte that led there */
};

static void forget(GrammarMasks *m) {
    memset(m->buckets, 0, N_BUCKETS * sizeof *m->buckets);
    memset(m->owner, 0, sizeof m->owner);
    m->n_known = m->next_mask = 0;
    m->used = 2; /* rows are not 0 or DEAD */
}

uint64_t grammar_masks_bytes(const GrammarVocab *v) {
    return sizeof(GrammarMasks) + grammar_machine_bytes() + (uint64_t)POOL_WORDS * 4 + (MAX_PLACES + 1) * sizeof(Known) +
           (uint64_t)N_BUCKETS * 4 + (uint64_t)(N_MASKS + 1) * v->n_words * 4;
}

GrammarMasks *grammar_masks_new(const Grammar *g, const GrammarVocab *v, const int32_t *stop, size_t n_stop, Err *err) {
    GrammarMasks *m = MEM_NEW(GrammarMasks, 1);
    if (m) {
        m->g = g;
        m->v = v;
        m->machine = grammar_machine_new(g);
        m->pool = MEM_NEW(uint32_t, POOL_WORDS);
        m->known = MEM_NEW(Known, MAX_PLACES + 1);
        m->buckets = MEM_NEW(uint32_t, N_BUCKETS);
        m->masks = MEM_NEW(uint32_t, (size_t)N_MASKS * v->n_words);
        m->stop = MEM_NEW(uint32_t, v->n_words);
    }
    if (!m || !m->machine || !m->pool || !m->known || !m->buckets || !m->masks || !m->stop) {
        grammar_masks_free(m);
        err_no_memory(err, grammar_masks_bytes(v), "the masks of a grammar");
        return NULL;
    }
    forget(m);
    for (size_t i = 0; i < n_stop; i++)
        if (stop[i] >= 0 && (uint32_t)stop[i] < v->n_tokens) m->stop[stop[i] / 32] |= UINT32_C(1) << stop[i] % 32;
    return m;
}

void grammar_masks_free(GrammarMasks *m) {
    if (!m) return;
    grammar_machine_free(m->machine);
    mem_free(m->pool);
    mem_free(m->known);
    mem_free(m->buckets);
    mem_free(m->masks);
    mem_free(m->stop);
    mem_free(m);
}

/* ---- places ---- */

static uint32_t hash_words(const uint32_t *words, uint32_t n, uint64_t seed) {
    for (uint32_t i = 0; i < n; i++) seed = splitmix(seed + words[i]);
    return (uint32_t)(seed >> 32);
}

/* The row of a place, 0: no room. */
static uint32_t row_of(GrammarMasks *m, const GrammarPlace *p) {
    const uint32_t *items = (const uint32_t *)(const void *)p->items, *links = (const uint32_t *)(const void *)p->links;
    uint32_t hash = hash_words(links, 3 * p->n_links, hash_words(items, 3 * p->n_items, p->n_items));
    for (uint32_t k = m->buckets[hash % N_BUCKETS]; k; k = m->known[k].bucket_next) {
        const Known *known = &m->known[k];
        if (known->hash == hash && known->n_items == p->n_items && known->n_links == p->n_links &&
            memcmp(m->pool + known->at, items, p->n_items * sizeof *p->items) == 0 &&
            memcmp(m->pool + known->at + (size_t)3 * p->n_items, links, p->n_links * sizeof *p->links) == 0)
            return known->row;
    }
    uint32_t before = 3 * (p->n_items + p->n_links) + 1;
    if (m->n_known == MAX_PLACES || m->used + before + m->g->n_classes > POOL_WORDS) return 0;
    uint32_t k = ++m->n_known, row = m->used + before;
    m->known[k] = (Known){m->used, row, hash, m->buckets[hash % N_BUCKETS], (uint16_t)p->n_items, (uint16_t)p->n_links, -1};
    m->buckets[hash % N_BUCKETS] = k;
    memcpy(m->pool + m->used, items, p->n_items * sizeof *p->items);
    memcpy(m->pool + m->used + (size_t)3 * p->n_items, links, p->n_links * sizeof *p->links);
    m->pool[row - 1] = k;
    memset(m->pool + row, 0, m->g->n_classes * sizeof *m->pool);
    m->used = row + m->g->n_classes;
    return row;
}

static void place_of(const GrammarMasks *m, uint32_t row, GrammarPlace *p) {
    const Known *known = &m->known[m->pool[row - 1]];
    p->n_items = known->n_items;
    p->n_links = known->n_links;
    memcpy(p->items, m->pool + known->at, p->n_items * sizeof *p->items);
    memcpy(p->links, m->pool + known->at + (size_t)3 * p->n_items, p->n_links * sizeof *p->links);
}

/* The row after one more byte, which is not known yet; 0: no room for it. */
static uint32_t new_row(GrammarMasks *m, uint32_t row, uint8_t byte) {
    place_of(m, row, &m->from);
    uint32_t to = grammar_machine_step(m->machine, &m->from, byte, &m->to) ? row_of(m, &m->to) : DEAD;
    m->pool[row + m->g->class_of[byte]] = to;
    return to;
}

/* All is forgotten but the path to the place at `depth`, which is walked again. */
static void begin_again(GrammarMasks *m, uint32_t depth) {
    forget(m);
    m->path[0] = row_of(m, &m->root);
    for (uint32_t d = 1; d <= depth; d++) {
        uint32_t known = m->pool[m->path[d - 1] + m->g->class_of[m->bytes[d]]];
        m->path[d] = known ? known : new_row(m, m->path[d - 1], m->bytes[d]);
    }
}

/* ---- masks ---- */

static void allow(const GrammarTrie *t, const GrammarTrieNode *n, uint32_t *mask) {
    for (uint32_t i = n[0].first; i < n[1].first; i++) mask[t->tokens[i] / 32] |= UINT32_C(1) << t->tokens[i] % 32;
}

/* Allows the tokens of the trie that can be read from the root. */
static void walk(GrammarMasks *m, const GrammarTrie *t, uint32_t *mask) {
    for (uint32_t i = 0; i < t->n_nodes;) {
        const GrammarTrieNode *n = &t->nodes[i];
        uint32_t to = m->pool[m->path[n->depth - 1U] + m->g->class_of[n->byte]];
        if (!to) to = new_row(m, m->path[n->depth - 1U], n->byte);
        if (!to) {
            begin_again(m, n->depth - 1U);
            to = new_row(m, m->path[n->depth - 1U], n->byte);
        }
        if (to == DEAD) {
            i = n->skip;
            continue;
        }
        m->path[n->depth] = to;
        m->bytes[n->depth] = n->byte;
        allow(t, n, mask);
        i++;
    }
}

/* A counter as far from the loop's bounds as any that is further from them than one token reaches. */
static uint32_t in_the_middle(const GrammarMasks *m, uint32_t node, uint32_t count) {
    const GrammarLoop *loop = grammar_program_loop_at(m->g, node);
    uint32_t reach = m->v->longest + 2;
    if (!loop) return count;
    if (count < loop->min) return loop->min - count > reach ? 0 : count;
    return loop->max != GRAMMAR_NEVER && loop->max - count > reach ? loop->min : count;
}

static void set_root(GrammarMasks *m, const GrammarPlace *at) {
    grammar_machine_copy(&m->root, at);
    for (uint32_t i = 0; i < at->n_items; i++) m->root.items[i].count = in_the_middle(m, at->items[i].node, at->items[i].count);
    for (uint32_t i = 0; i < at->n_links; i++) m->root.links[i].count = in_the_middle(m, at->links[i].node, at->links[i].count);
}

/* How many more characters the text at this item may have, GRAMMAR_NEVER: at least as many as any token. */
static uint32_t room_at(const GrammarMasks *m, const GrammarItem *item) {
    const GrammarLoop *loop = grammar_program_loop_at(m->g, item->node);
    if (!loop || loop->max == GRAMMAR_NEVER || loop->max - item->count >= m->v->longest) return GRAMMAR_NEVER;
    return loop->max - item->count + 1; /* the one that is before it is counted already */
}

/* Can no plain text of that kind begin at this node? */
static bool no_text_at(const GrammarMasks *m, uint32_t node, GrammarText text) {
    for (uint32_t e = m->g->nodes[node].first; e; e = m->g->edges[e].next) {
        uint8_t lo = m->g->edges[e].lo, hi = m->g->edges[e].hi;
        if (text == GRAMMAR_TEXT_RAW ? lo != '\n' || hi != '\n' : hi >= 0x20 && !(lo == hi && (lo == '"' || lo == '\\'))) return false;
    }
    return true;
}

/* The kind of text of which every token that is not too long goes on, and how many characters are not too long. */
static GrammarText text_at(const GrammarMasks *m, const GrammarPlace *at, uint32_t *room) {
    const GrammarItem *best = NULL;
    for (uint32_t i = 0; i < at->n_items; i++) {
        if (!m->g->nodes[at->items[i].node].text) continue;
        if (!best || room_at(m, &at->items[i]) > room_at(m, best)) best = &at->items[i];
    }
    if (!best) return GRAMMAR_TEXT_NONE;
    GrammarText text = (GrammarText)m->g->nodes[best->node].text;
    *room = room_at(m, best);
    for (uint32_t i = 0; i < at->n_items && *room != GRAMMAR_NEVER; i++)
        if (&at->items[i] != best && !no_text_at(m, at->items[i].node, text)) return GRAMMAR_TEXT_NONE; /* it may take the longer ones */
    return text;
}

static void plain_tokens(const GrammarMasks *m, GrammarText text, uint32_t room, uint32_t *mask) {
    const GrammarPlain *plain = &m->v->plain[text];
    memcpy(mask, plain->mask, m->v->n_words * sizeof *mask);
    for (uint32_t i = 0; i < plain->n && plain->by_length[i].n_chars > room; i++) {
        uint32_t id = plain->by_length[i].id;
        mask[id / 32] &= ~(UINT32_C(1) << id % 32);
    }
}

static void allow_stop(const GrammarMasks *m, uint32_t *mask) {
    for (uint32_t w = 0; w < m->v->n_words; w++) mask[w] |= m->stop[w];
}

static void make_mask(GrammarMasks *m, uint32_t *mask) {
    uint32_t room;
    GrammarText text = text_at(m, &m->root, &room);
    if (text) plain_tokens(m, text, room, mask);
    else memset(mask, 0, m->v->n_words * sizeof *mask);
    walk(m, text ? &m->v->rest[text] : &m->v->all, mask);
    if (grammar_machine_may_end(&m->root)) allow_stop(m, mask);
}

/* The slot that was filled longest ago. */
static uint32_t *take_slot(GrammarMasks *m, uint32_t owner) {
    uint32_t slot = m->next_mask++ % N_MASKS;
    if (m->owner[slot]) m->known[m->owner[slot]].mask = -1;
    m->owner[slot] = owner;
    m->known[owner].mask = (int32_t)slot;
    return m->masks + (size_t)slot * m->v->n_words;
}

static bool any(const GrammarMasks *m, const uint32_t *mask) {
    for (uint32_t w = 0; w < m->v->n_words; w++)
        if (mask[w]) return true;
    return false;
}

bool grammar_mask(GrammarMasks *m, const GrammarState *s, uint32_t *mask) {
    size_t bytes = m->v->n_words * sizeof *mask;
    set_root(m, &s->now);
    m->path[0] = row_of(m, &m->root);
    if (!m->path[0]) begin_again(m, 0);
    int32_t slot = m->known[m->pool[m->path[0] - 1]].mask;
    if (slot >= 0) {
        memcpy(mask, m->masks + (size_t)slot * m->v->n_words, bytes);
    } else {
        make_mask(m, mask);
        memcpy(take_slot(m, m->pool[m->path[0] - 1]), mask, bytes);
    }
    return any(m, mask);
}
