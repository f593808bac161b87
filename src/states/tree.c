/* The tree of prefixes. A node's children begin with different continuations, but for those that diverge later; none of them is a prefix
 * of another, or it would be its parent. So on the way down at most one child is a prefix of what is looked for. */
#include "states/inside.h"

#include <string.h>

/* Is this child of a node with `at` tokens a prefix of the ids? */
static bool begins(const StatesNode *child, size_t at, const int32_t *ids, size_t n) {
    return child->n <= n && memcmp(child->ids, ids + at, (child->n - at) * sizeof *ids) == 0;
}

StatesNode *states_tree_longest(const States *s, const int32_t *ids, size_t n) {
    const StatesNode *at = &s->root, *child = at->child;
    while (child) {
        if (begins(child, at->n, ids, n)) {
            at = child;
            child = at->child;
        } else {
            child = child->next;
        }
    }
    return (StatesNode *)(uintptr_t)at;
}

static void link_child(StatesNode *parent, StatesNode *node) {
    node->parent = parent;
    node->next = parent->child;
    parent->child = node;
}

static void unlink_child(StatesNode *node) {
    StatesNode **at = &node->parent->child;
    while (*at != node) at = &(*at)->next;
    *at = node->next;
}

/* Children of the parent that continue the new node become its own. */
static void adopt(StatesNode *node, const int32_t *ids) {
    StatesNode *parent = node->parent, *next;
    size_t more = node->n - parent->n;
    for (StatesNode *c = parent->child; c; c = next) {
        next = c->next;
        if (c == node || c->n <= node->n || memcmp(c->ids, ids + parent->n, more * sizeof *ids) != 0) continue;
        unlink_child(c);
        memmove(c->ids, c->ids + more, (c->n - node->n) * sizeof *c->ids); /* the array stays as long as it was */
        link_child(node, c);
    }
}

StatesNode *states_tree_insert(States *s, const int32_t *ids, size_t n) {
    StatesNode *parent = states_tree_longest(s, ids, n);
    if (parent->n == n) return parent;
    StatesNode *node = MEM_NEW(StatesNode, 1);
    int32_t *own = MEM_NEW(int32_t, n - parent->n);
    if (!node || !own) {
        mem_free(node);
        mem_free(own);
        return NULL;
    }
    memcpy(own, ids + parent->n, (n - parent->n) * sizeof *own);
    *node = (StatesNode){.n = n, .ids = own};
    link_child(parent, node);
    adopt(node, ids);
    return node;
}

void states_tree_remove(StatesNode *node) {
    StatesNode *parent = node->parent;
    size_t more = node->n - parent->n;
    /* first all the memory, so that it can be left as it was */
    for (StatesNode *c = node->child; c; c = c->next) {
        int32_t *longer = mem_resize(c->ids, c->n - parent->n, sizeof *longer);
        if (!longer) return;
        c->ids = longer;
    }
    while (node->child) {
        StatesNode *c = node->child;
        node->child = c->next;
        memmove(c->ids + more, c->ids, (c->n - node->n) * sizeof *c->ids);
        memcpy(c->ids, node->ids, more * sizeof *c->ids);
        link_child(parent, c);
    }
    unlink_child(node);
    mem_free(node->ids);
    mem_free(node);
}

void states_tree_ids(const StatesNode *node, int32_t *ids) {
    for (const StatesNode *at = node; at->parent; at = at->parent)
        memcpy(ids + at->parent->n, at->ids, (at->n - at->parent->n) * sizeof *ids);
}

StatesNode *states_tree_next(const States *s, StatesNode *node) {
    if (!node) return s->root.child;
    if (node->child) return node->child;
    while (node != &s->root && !node->next) node = node->parent;
    return node == &s->root ? NULL : node->next;
}

void states_tree_settle(StatesNode *node) {
    if (!node->snap && !node->file[0]) states_tree_remove(node);
}
