/* One byte, all paths at once: see program.h. A step reads the byte on every path and then follows forks, calls and returns until each
 * path stands before its next byte. Paths that could not be finished within the depth are not followed, so there are no dead ends. */
#include "grammar/program.h"

#include <string.h>

enum { MAX_VISITED = 1536, TABLE = 4096, MAX_WORK_LINKS = GRAMMAR_MAX_LINKS + MAX_VISITED };

typedef struct Seen {
    uint32_t stamp;
    GrammarItem item;
} Seen;

struct GrammarMachine {
    const Grammar *g;
    GrammarItem todo[MAX_VISITED + 256];
    GrammarLink links[MAX_WORK_LINKS];
    uint16_t renumbered[MAX_WORK_LINKS]; /* link + 1 in the place that is written, 0: not yet */
    uint32_t n_todo, n_links, n_seen, stamp;
    Seen seen[TABLE]; /* open addressing; entries of another stamp are empty */
};

GrammarMachine *grammar_machine_new(const Grammar *g) {
    GrammarMachine *m = MEM_NEW(GrammarMachine, 1);
    if (m) m->g = g;
    return m;
}

void grammar_machine_free(GrammarMachine *m) { mem_free(m); }

uint64_t grammar_machine_bytes(void) { return sizeof(GrammarMachine); }

/* False: was there already, or there are too many. */
static bool first_visit(GrammarMachine *m, GrammarItem item) {
    uint64_t key = splitmix((uint64_t)item.node << 32 ^ (uint64_t)item.count << 12 ^ item.stack);
    for (uint32_t i = (uint32_t)key % TABLE;; i = (i + 1) % TABLE) {
        Seen *s = &m->seen[i];
        if (s->stamp != m->stamp) {
            if (m->n_seen == MAX_VISITED) return false;
            m->n_seen++;
            *s = (Seen){m->stamp, item};
            return true;
        }
        if (s->item.node == item.node && s->item.count == item.count && s->item.stack == item.stack) return false;
    }
}

static void later(GrammarMachine *m, uint32_t node, uint32_t count, uint32_t stack) {
    if (m->n_todo < COUNT_OF(m->todo)) m->todo[m->n_todo++] = (GrammarItem){node, count, stack};
}

/* The stack with one more call open, the same one for the same call: only so do paths that meet become one. 0: no room. */
static uint32_t push(GrammarMachine *m, GrammarItem top, uint32_t then) {
    for (uint32_t i = m->n_links; i-- > 0;) {
        const GrammarLink *l = &m->links[i];
        if (l->node == then && l->count == top.count && l->below == top.stack) return i + 1;
    }
    if (m->n_links == MAX_WORK_LINKS) return 0;
    uint16_t below = top.stack ? m->links[top.stack - 1].depth : 0;
    m->links[m->n_links] = (GrammarLink){then, top.count, (uint16_t)top.stack, (uint16_t)(below + 1)};
    return ++m->n_links;
}

static void follow_call(GrammarMachine *m, const GrammarNode *n, GrammarItem item) {
    uint32_t stack = item.stack;
    if (m->g->nodes[n->b].kind != GRAMMAR_RETURN) { /* otherwise the rule's end is the end of this one, too */
        stack = push(m, item, n->b);
        if (!stack) return;
    }
    later(m, n->a, 0, stack);
}

static void follow_fork(GrammarMachine *m, const GrammarNode *n, GrammarItem item) {
    uint32_t from = m->n_todo;
    for (uint32_t e = n->first; e; e = m->g->edges[e].next) later(m, m->g->edges[e].to, item.count, item.stack);
    for (uint32_t i = from, j = m->n_todo; i + 1 < j; i++) { /* the last one is taken first */
        GrammarItem swap = m->todo[i];
        m->todo[i] = m->todo[--j];
        m->todo[j] = swap;
    }
}

static void stop_here(GrammarPlace *out, GrammarItem item) {
    if (out->n_items < GRAMMAR_MAX_ITEMS) out->items[out->n_items++] = item;
}

static void follow(GrammarMachine *m, GrammarItem item, GrammarPlace *out) {
    const GrammarNode *n = &m->g->nodes[item.node];
    uint32_t depth = item.stack ? m->links[item.stack - 1].depth : 0;
    if (n->dist == GRAMMAR_NEVER || depth + n->need > GRAMMAR_DEPTH || !first_visit(m, item)) return;
    switch ((GrammarKind)n->kind) {
    case GRAMMAR_READ: stop_here(out, item); break;
    case GRAMMAR_FORK: follow_fork(m, n, item); break;
    case GRAMMAR_CALL: follow_call(m, n, item); break;
    case GRAMMAR_RETURN:
        if (item.stack) {
            const GrammarLink *l = &m->links[item.stack - 1];
            later(m, l->node, l->count, l->below);
        } else {
            stop_here(out, (GrammarItem){0, 0, 0});
        }
        break;
    case GRAMMAR_LESS: {
        const GrammarLoop *loop = grammar_program_loop_at(m->g, item.node);
        bool bounded = loop->max != GRAMMAR_NEVER;
        if (!bounded || item.count < loop->max) later(m, n->b, bounded || item.count < loop->min ? item.count + 1 : item.count, item.stack);
        break;
    }
    case GRAMMAR_LEAST:
        if (item.count >= grammar_program_loop_at(m->g, item.node)->min) later(m, n->b, 0, item.stack);
        break;
    }
}

static void follow_all(GrammarMachine *m, GrammarPlace *out) {
    while (m->n_todo > 0) follow(m, m->todo[--m->n_todo], out);
}

/* The links that the items reach, numbered in the order in which they reach them. An item whose links find no room is dropped. */
static void compact(GrammarMachine *m, GrammarPlace *out) {
    uint32_t n_items = 0;
    memset(m->renumbered, 0, m->n_links * sizeof *m->renumbered);
    for (uint32_t i = 0; i < out->n_items; i++) {
        GrammarItem item = out->items[i];
        uint32_t new_links = 0;
        for (uint32_t s = item.stack; s && !m->renumbered[s - 1]; s = m->links[s - 1].below) new_links++;
        if (out->n_links + new_links > GRAMMAR_MAX_LINKS) continue;
        for (uint32_t s = item.stack; s && !m->renumbered[s - 1]; s = m->links[s - 1].below) {
            out->links[out->n_links] = m->links[s - 1];
            m->renumbered[s - 1] = (uint16_t)++out->n_links;
        }
        for (uint32_t k = out->n_links - new_links; k < out->n_links; k++)
            if (out->links[k].below) out->links[k].below = m->renumbered[out->links[k].below - 1];
        if (item.stack) item.stack = m->renumbered[item.stack - 1];
        out->items[n_items++] = item;
    }
    out->n_items = n_items;
}

static void clear(GrammarMachine *m, GrammarPlace *out) {
    out->n_items = out->n_links = 0;
    m->n_todo = m->n_links = m->n_seen = 0;
    if (++m->stamp == 0) { /* once in 2^32 steps: what was seen then must not look new */
        memset(m->seen, 0, sizeof m->seen);
        m->stamp = 1;
    }
}

void grammar_machine_begin(GrammarMachine *m, GrammarPlace *out) {
    clear(m, out);
    later(m, m->g->start, 0, 0);
    follow_all(m, out);
    compact(m, out);
}

bool grammar_machine_step(GrammarMachine *m, const GrammarPlace *in, uint8_t byte, GrammarPlace *out) {
    clear(m, out);
    memcpy(m->links, in->links, in->n_links * sizeof *m->links);
    m->n_links = in->n_links;
    for (uint32_t i = 0; i < in->n_items; i++) {
        const GrammarItem *item = &in->items[i];
        for (uint32_t e = m->g->nodes[item->node].first; e; e = m->g->edges[e].next) {
            const GrammarEdge *edge = &m->g->edges[e];
            if (byte < edge->lo || byte > edge->hi) continue;
            later(m, edge->to, item->count, item->stack);
            follow_all(m, out);
        }
    }
    compact(m, out);
    return out->n_items > 0;
}

void grammar_machine_copy(GrammarPlace *to, const GrammarPlace *from) {
    to->n_items = from->n_items;
    to->n_links = from->n_links;
    memcpy(to->items, from->items, from->n_items * sizeof *to->items);
    memcpy(to->links, from->links, from->n_links * sizeof *to->links);
}

bool grammar_machine_may_end(const GrammarPlace *p) {
    for (uint32_t i = 0; i < p->n_items; i++)
        if (p->items[i].node == 0) return true;
    return false;
}
