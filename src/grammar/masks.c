/* Which tokens may come: a walk over the trie of all tokens with the machine, and what can be remembered of it.
 *
 * Places that were met before have a number; for each the next place by class of byte, and the mask. So the walk is a row of table
 * look-ups, and a mask that is asked for again is a copy. A counter that is too far from its bounds to meet them within one token is
 * put in the middle, so that places which differ in nothing but such a counter are one. When the memory is full, all is forgotten. */
#include "grammar/program.h"

#include <string.h>

enum {
    MAX_PLACES = 16384, /* with a number; numbers begin with 1 */
    N_BUCKETS = 32768,
    N_MASKS = 64,
    PLACE_WORDS = 3 * (GRAMMAR_MAX_ITEMS + GRAMMAR_MAX_LINKS) + 256, /* of the largest place: items, links, next places */
    POOL_WORDS = (GRAMMAR_MAX_TOKEN + 200) * PLACE_WORDS,            /* the places along one token always fit */
    DEAD = MAX_PLACES + 1
};

_Static_assert(sizeof(GrammarItem) == 12 && sizeof(GrammarLink) == 12, "three words each, without gaps: places are compared as bytes");

typedef struct Known {
    uint32_t at;        /* first word in the pool: items, links, then the next places, 0: not known yet */
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
    uint32_t path[GRAMMAR_MAX_TOKEN + 1]; /* [depth] place after so many bytes */
    uint8_t bytes[GRAMMAR_MAX_TOKEN + 1]; /* [depth] the byte that led there */
};

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

/* ---- places with numbers ---- */

static void forget(GrammarMasks *m) {
    memset(m->buckets, 0, N_BUCKETS * sizeof *m->buckets);
    memset(m->owner, 0, sizeof m->owner);
    m->n_known = m->used = m->next_mask = 0;
}

static uint32_t hash_words(const uint32_t *words, uint32_t n, uint64_t seed) {
    for (uint32_t i = 0; i < n; i++) seed = splitmix(seed + words[i]);
    return (uint32_t)(seed >> 32);
}

/* The number of a place, 0: no room. */
static uint32_t number_of(GrammarMasks *m, const GrammarPlace *p) {
    const uint32_t *items = (const uint32_t *)(const void *)p->items, *links = (const uint32_t *)(const void *)p->links;
    uint32_t hash = hash_words(links, 3 * p->n_links, hash_words(items, 3 * p->n_items, p->n_items));
    for (uint32_t k = m->buckets[hash % N_BUCKETS]; k; k = m->known[k].bucket_next) {
        const Known *known = &m->known[k];
        if (known->hash == hash && known->n_items == p->n_items && known->n_links == p->n_links &&
            memcmp(m->pool + known->at, items, p->n_items * sizeof *p->items) == 0 &&
            memcmp(m->pool + known->at + 3 * p->n_items, links, p->n_links * sizeof *p->links) == 0)
            return k;
    }
    uint32_t words = 3 * (p->n_items + p->n_links) + m->g->n_classes;
    if (m->n_known == MAX_PLACES || m->used + words > POOL_WORDS) return 0;
    uint32_t k = ++m->n_known, *at = m->pool + m->used;
    m->known[k] = (Known){m->used, hash, m->buckets[hash % N_BUCKETS], (uint16_t)p->n_items, (uint16_t)p->n_links, -1};
    m->buckets[hash % N_BUCKETS] = k;
    memcpy(at, items, p->n_items * sizeof *p->items);
    memcpy(at + 3 * p->n_items, links, p->n_links * sizeof *p->links);
    memset(at + 3 * (p->n_items + p->n_links), 0, m->g->n_classes * sizeof *at);
    m->used += words;
    return k;
}

static void place_of(const GrammarMasks *m, uint32_t k, GrammarPlace *p) {
    const Known *known = &m->known[k];
    p->n_items = known->n_items;
    p->n_links = known->n_links;
    memcpy(p->items, m->pool + known->at, p->n_items * sizeof *p->items);
    memcpy(p->links, m->pool + known->at + 3 * p->n_items, p->n_links * sizeof *p->links);
}

/* The place after one more byte; 0: no room for it. */
static uint32_t next_place(GrammarMasks *m, uint32_t k, uint8_t byte) {
    const Known *known = &m->known[k];
    uint32_t *next = m->pool + known->at + 3 * (uint32_t)(known->n_items + known->n_links) + m->g->class_of[byte];
    if (*next) return *next;
    place_of(m, k, &m->from);
    uint32_t to = grammar_machine_step(m->machine, &m->from, byte, &m->to) ? number_of(m, &m->to) : DEAD;
    *next = to;
    return to;
}

/* All is forgotten but the path to the place at `depth`, which is walked again. */
static void begin_again(GrammarMasks *m, uint32_t depth) {
    forget(m);
    m->path[0] = number_of(m, &m->root);
    for (uint32_t d = 1; d <= depth; d++) m->path[d] = next_place(m, m->path[d - 1], m->bytes[d]);
}

/* ---- masks ---- */

static void allow(const GrammarTrie *t, const GrammarTrieNode *n, uint32_t *mask) {
    for (uint32_t i = n[0].first; i < n[1].first; i++) mask[t->tokens[i] / 32] |= UINT32_C(1) << t->tokens[i] % 32;
}

static void walk(GrammarMasks *m, const GrammarTrie *t, uint32_t *mask) {
    for (uint32_t i = 0; i < t->n_nodes;) {
        const GrammarTrieNode *n = &t->nodes[i];
        uint32_t to = next_place(m, m->path[n->depth - 1U], n->byte);
        if (!to) {
            begin_again(m, n->depth - 1U);
            to = next_place(m, m->path[n->depth - 1U], n->byte);
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

/* The kind of text that goes on for at least one token on some path, whatever the token. */
static GrammarText text_at(const GrammarMasks *m, const GrammarPlace *at) {
    for (uint32_t i = 0; i < at->n_items; i++) {
        const GrammarNode *n = &m->g->nodes[at->items[i].node];
        const GrammarLoop *loop = grammar_program_loop_at(m->g, at->items[i].node);
        if (n->text && (!loop || loop->max == GRAMMAR_NEVER || loop->max - at->items[i].count > m->v->longest))
            return (GrammarText)n->text;
    }
    return GRAMMAR_TEXT_NONE;
}

static void make_mask(GrammarMasks *m, uint32_t *mask) {
    GrammarText text = text_at(m, &m->root);
    if (text) memcpy(mask, m->v->plain[text], m->v->n_words * sizeof *mask);
    else memset(mask, 0, m->v->n_words * sizeof *mask);
    walk(m, text ? &m->v->rest[text] : &m->v->all, mask);
    if (grammar_machine_may_end(&m->root))
        for (uint32_t w = 0; w < m->v->n_words; w++) mask[w] |= m->stop[w];
}

/* The slot that was filled longest ago. */
static uint32_t *take_slot(GrammarMasks *m, uint32_t owner) {
    uint32_t slot = m->next_mask++ % N_MASKS;
    if (m->owner[slot]) m->known[m->owner[slot]].mask = -1;
    m->owner[slot] = owner;
    m->known[owner].mask = (int32_t)slot;
    return m->masks + (size_t)slot * m->v->n_words;
}

bool grammar_mask(GrammarMasks *m, const GrammarState *s, uint32_t *mask) {
    set_root(m, &s->now);
    m->path[0] = number_of(m, &m->root);
    if (!m->path[0]) begin_again(m, 0);
    int32_t slot = m->known[m->path[0]].mask;
    if (slot >= 0) {
        memcpy(mask, m->masks + (size_t)slot * m->v->n_words, m->v->n_words * sizeof *mask);
    } else {
        make_mask(m, mask);
        memcpy(take_slot(m, m->path[0]), mask, m->v->n_words * sizeof *mask);
    }
    for (uint32_t w = 0; w < m->v->n_words; w++)
        if (mask[w]) return true;
    return false;
}
