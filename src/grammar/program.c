/* Nodes are made, and what is known of them when all are there: see program.h. */
#include "grammar/program.h"

#include <string.h>

static bool grow(Grammar *g, void **items, uint32_t n, uint32_t *cap, size_t size) {
    if (g->failed) return false;
    if (n < *cap) return true;
    uint32_t more = *cap ? *cap * 2 : 256;
    if (more > 4 * GRAMMAR_MAX_NODES) g->too_large = g->failed = true;
    void *grown = g->failed ? NULL : mem_resize(*items, more, size);
    if (!grown) {
        g->failed = true;
        return false;
    }
    *items = grown;
    *cap = more;
    return true;
}

uint32_t grammar_program_node(Grammar *g, GrammarKind kind) {
    if (g->n_nodes >= GRAMMAR_MAX_NODES) g->too_large = g->failed = true;
    void *nodes = g->nodes;
    if (!grow(g, &nodes, g->n_nodes, &g->cap_nodes, sizeof *g->nodes)) return 0;
    g->nodes = nodes;
    if (g->n_nodes == 0) g->nodes[g->n_nodes++] = (GrammarNode){.kind = GRAMMAR_READ};
    g->nodes[g->n_nodes] = (GrammarNode){.kind = (uint8_t)kind, .loop = g->loop};
    return g->n_nodes++;
}

void grammar_program_edge(Grammar *g, uint32_t from, unsigned lo, unsigned hi, uint32_t to) {
    void *edges = g->edges;
    if (!grow(g, &edges, g->n_edges, &g->cap_edges, sizeof *g->edges)) return;
    g->edges = edges;
    if (g->n_edges == 0) g->n_edges = 1;
    g->edges[g->n_edges] = (GrammarEdge){.to = to, .lo = (uint8_t)lo, .hi = (uint8_t)hi};
    GrammarNode *n = &g->nodes[from];
    if (n->last) g->edges[n->last].next = g->n_edges;
    else n->first = g->n_edges;
    n->last = g->n_edges++;
}

void grammar_program_fork(Grammar *g, uint32_t from, uint32_t to) { grammar_program_edge(g, from, 0, 255, to); }

uint32_t grammar_program_call(Grammar *g, uint32_t rule, uint32_t then) {
    uint32_t n = grammar_program_node(g, GRAMMAR_CALL);
    if (!n) return 0;
    g->nodes[n].a = rule;
    g->nodes[n].b = then;
    return n;
}

uint32_t grammar_program_return(Grammar *g) {
    if (!g->end) g->end = grammar_program_node(g, GRAMMAR_RETURN);
    return g->end;
}

static uint32_t new_loop(Grammar *g, GrammarLoop loop) {
    void *loops = g->loops;
    if (!grow(g, &loops, g->n_loops, &g->cap_loops, sizeof *g->loops)) return 0;
    g->loops = loops;
    if (g->n_loops == 0) g->n_loops = 1;
    g->loops[g->n_loops] = loop;
    return g->n_loops++;
}

uint32_t grammar_program_turn(Grammar *g, uint32_t then, uint32_t *less) {
    uint32_t turn = grammar_program_node(g, GRAMMAR_FORK), least = then ? grammar_program_node(g, GRAMMAR_LEAST) : 0;
    *less = grammar_program_node(g, GRAMMAR_LESS);
    if (!g->failed && then) g->nodes[least].b = then;
    if (then) grammar_program_fork(g, turn, least);
    grammar_program_fork(g, turn, *less);
    return turn;
}

GrammarRounds grammar_program_inside(Grammar *g, GrammarLoop loop, uint32_t then) {
    GrammarRounds r = {.outer = g->loop, .loop = new_loop(g, loop)};
    g->loop = r.loop;
    r.turn = grammar_program_turn(g, then, &r.less);
    return r;
}

uint32_t grammar_program_outside(Grammar *g, const GrammarRounds *r) {
    g->loop = r->outer;
    uint32_t enter = grammar_program_node(g, GRAMMAR_FORK);
    if (!g->failed) g->nodes[enter].a = r->loop;
    grammar_program_fork(g, enter, r->turn);
    return enter;
}

uint32_t grammar_program_bytes(Grammar *g, const char *bytes, size_t n, uint32_t to) {
    for (size_t i = n; i-- > 0;) {
        uint32_t node = grammar_program_node(g, GRAMMAR_READ);
        if (!node) return 0;
        grammar_program_edge(g, node, (uint8_t)bytes[i], (uint8_t)bytes[i], to);
        to = node;
    }
    return to;
}

/* ---- what is known of all nodes ---- */

static uint32_t sum(uint32_t a, uint32_t b) {
    if (a == GRAMMAR_NEVER || b == GRAMMAR_NEVER) return GRAMMAR_NEVER;
    return a + b < a || a + b == GRAMMAR_NEVER ? GRAMMAR_NEVER - 1 : a + b;
}

/* The bytes of the rounds that a loop still owes. */
static uint32_t rounds(const Grammar *g, const GrammarLoop *l, uint32_t count) {
    if (count >= l->min) return 0;
    uint64_t round = l->rule ? sum(l->bytes, g->nodes[l->rule].dist) : l->bytes, all = round * (l->min - count);
    return round == GRAMMAR_NEVER || all >= GRAMMAR_NEVER ? GRAMMAR_NEVER : (uint32_t)all;
}

/* From what is known of the nodes that follow; true where it became less. */
static bool nearer(Grammar *g, GrammarNode *n) {
    uint32_t dist = GRAMMAR_NEVER, need = GRAMMAR_DEPTH + 1;
    const GrammarNode *a = &g->nodes[n->a], *b = &g->nodes[n->b];
    switch ((GrammarKind)n->kind) {
    case GRAMMAR_READ:
    case GRAMMAR_FORK:
        for (uint32_t e = n->first; e; e = g->edges[e].next) {
            const GrammarNode *to = &g->nodes[g->edges[e].to];
            uint32_t via = sum(to->dist, n->kind == GRAMMAR_READ ? 1 : 0);
            if (via < dist) dist = via;
            if (to->need < need) need = to->need;
        }
        if (n->kind == GRAMMAR_FORK && n->a) {
            const GrammarLoop *l = &g->loops[n->a];
            dist = sum(dist, rounds(g, l, 0));
            if (l->min > 0 && l->rule && g->nodes[l->rule].need + 1U > need) need = g->nodes[l->rule].need + 1U;
        }
        break;
    case GRAMMAR_CALL:
        dist = sum(a->dist, b->dist);
        need = a->need + (b->kind == GRAMMAR_RETURN ? 0U : 1U);
        if (b->need > need) need = b->need;
        break;
    case GRAMMAR_RETURN: dist = need = 0; break;
    case GRAMMAR_LESS:
    case GRAMMAR_LEAST: dist = b->dist, need = b->need; break;
    }
    if (need > GRAMMAR_DEPTH + 1) need = GRAMMAR_DEPTH + 1;
    if (dist >= n->dist && need >= n->need) return false;
    n->dist = dist < n->dist ? dist : n->dist;
    n->need = (uint16_t)(need < n->need ? need : n->need);
    return true;
}

static void measure(Grammar *g) {
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        g->nodes[i].dist = GRAMMAR_NEVER;
        g->nodes[i].need = GRAMMAR_DEPTH + 1;
    }
    g->nodes[0].dist = g->nodes[0].need = 0;
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t i = g->n_nodes; i-- > 1;)
            if (nearer(g, &g->nodes[i])) changed = true;
    }
}

static void find_classes(Grammar *g) {
    bool border[257] = {[0] = true};
    for (uint32_t i = 1; i < g->n_nodes; i++)
        for (uint32_t e = g->nodes[i].kind == GRAMMAR_READ ? g->nodes[i].first : 0; e; e = g->edges[e].next)
            border[g->edges[e].lo] = border[g->edges[e].hi + 1] = true;
    g->n_classes = 0;
    for (unsigned b = 0; b < 256; b++) {
        if (border[b]) g->class_byte[g->n_classes++] = (uint8_t)b;
        g->class_of[b] = (uint8_t)(g->n_classes - 1);
    }
}

static uint32_t from_here(const Grammar *g, uint32_t node, uint32_t count) {
    const GrammarLoop *loop = grammar_program_loop_at(g, node);
    return sum(g->nodes[node].dist, loop ? rounds(g, loop, count) : 0);
}

uint32_t grammar_program_shortest(const Grammar *g, const GrammarPlace *p) {
    uint32_t least = GRAMMAR_NEVER;
    for (uint32_t i = 0; i < p->n_items; i++) {
        uint32_t bytes = from_here(g, p->items[i].node, p->items[i].count);
        for (uint32_t s = p->items[i].stack; s; s = p->links[s - 1].below)
            bytes = sum(bytes, from_here(g, p->links[s - 1].node, p->links[s - 1].count));
        if (bytes < least) least = bytes;
    }
    return least;
}

ErrCode grammar_program_finish(Grammar *g, uint32_t start, Err *err) {
    if (g->too_large)
        return err_set(err, ERR_UNSUPPORTED, "the grammar is too large: more than %d states; ask for less in one schema",
                       GRAMMAR_MAX_NODES);
    if (g->failed) return err_no_memory(err, (uint64_t)g->cap_nodes * 2 * sizeof *g->nodes, "a grammar");
    g->start = start;
    measure(g);
    find_classes(g);
    if (g->nodes[start].dist == GRAMMAR_NEVER)
        return err_set(err, ERR_RANGE, "nothing satisfies this schema: no text could be written");
    if (g->nodes[start].need > GRAMMAR_DEPTH)
        return err_set(err, ERR_UNSUPPORTED, "what satisfies this schema is nested more than %d levels deep", GRAMMAR_DEPTH);
    return ERR_OK;
}

uint64_t grammar_bytes(const Grammar *g) {
    return sizeof *g + (uint64_t)g->cap_nodes * sizeof *g->nodes + (uint64_t)g->cap_edges * sizeof *g->edges +
           (uint64_t)g->cap_loops * sizeof *g->loops;
}

void grammar_free(Grammar *g) {
    if (!g) return;
    mem_free(g->nodes);
    mem_free(g->edges);
    mem_free(g->loops);
    mem_free(g);
}
