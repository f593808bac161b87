/* Added tokens: strings that are cut out of the raw text before anything else happens to it. A trie over their bytes gives the
 * longest one at a place; a table of first bytes (for chat models just '<') finds the places. */
#include "text/tokenizer_parts.h"

#include <string.h>

static uint32_t child_of(const TextAdded *a, uint32_t node, unsigned char byte) {
    if (node == 0) return a->first[byte];
    uint32_t c = a->nodes[node].child;
    while (c && a->nodes[c].byte != byte) c = a->nodes[c].sibling;
    return c;
}

/* Adds an empty node; 0 when memory runs out. */
static uint32_t node_new(TextAdded *a, uint32_t parent, unsigned char byte) {
    if (a->n_nodes == a->cap) {
        uint32_t cap = a->cap ? a->cap * 2 : 64;
        TextAddedNode *nodes = cap > a->cap ? mem_resize(a->nodes, cap, sizeof *nodes) : NULL;
        if (!nodes) return 0;
        a->nodes = nodes;
        a->cap = cap;
        if (!a->n_nodes) a->nodes[a->n_nodes++] = (TextAddedNode){.id = -1};
    }
    uint32_t node = a->n_nodes++;
    a->nodes[node] = (TextAddedNode){.id = -1, .byte = byte};
    if (parent == 0) {
        a->first[byte] = node;
        a->n_first++;
        a->only_first = byte;
    } else {
        a->nodes[node].sibling = a->nodes[parent].child;
        a->nodes[parent].child = node;
    }
    return node;
}

ErrCode text_added_put(TextAdded *a, Str text, int32_t id, Err *err) {
    if (text.len == 0) return err_set(err, ERR_FORMAT, "added token %d is empty", id);
    if (text.len > TEXT_ADDED_BYTES_MAX)
        return err_set(err, ERR_UNSUPPORTED, "added token %d has %zu bytes; at most %d are supported", id, text.len,
                       TEXT_ADDED_BYTES_MAX);
    uint32_t node = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint32_t next = child_of(a, node, (unsigned char)text.ptr[i]);
        if (!next) next = node_new(a, node, (unsigned char)text.ptr[i]);
        if (!next) return err_no_memory(err, (uint64_t)a->cap * 2 * sizeof(TextAddedNode), "the added tokens");
        node = next;
    }
    if (a->nodes[node].id >= 0)
        return err_set(err, ERR_FORMAT, "added tokens %d and %d have the same text \"%.*s\"", a->nodes[node].id, id,
                       text.len > 80 ? 80 : (int)text.len, text.ptr);
    a->nodes[node].id = id;
    return ERR_OK;
}

/* The next place at or after `from` where the first byte of some token stands; len when there is none. */
static size_t next_start(const TextAdded *a, const char *s, size_t len, size_t from) {
    if (a->n_first == 1) {
        const char *hit = memchr(s + from, a->only_first, len - from);
        return hit ? (size_t)(hit - s) : len;
    }
    while (from < len && !a->first[(unsigned char)s[from]]) from++;
    return from;
}

int32_t text_added_find(const TextAdded *a, const char *s, size_t len, size_t from, size_t *at, size_t *n) {
    if (!a->n_first) return -1;
    while (from < len && (from = next_start(a, s, len, from)) < len) {
        int32_t best = -1;
        uint32_t node = 0;
        for (size_t i = from; i < len && (node = child_of(a, node, (unsigned char)s[i])) != 0; i++) {
            if (a->nodes[node].id < 0) continue;
            best = a->nodes[node].id;
            *n = i + 1 - from;
        }
        if (best >= 0) {
            *at = from;
            return best;
        }
        from++;
    }
    return -1;
}

int32_t text_added_get(const TextAdded *a, Str text) {
    uint32_t node = 0;
    for (size_t i = 0; i < text.len; i++)
        if (!(node = child_of(a, node, (unsigned char)text.ptr[i]))) return -1;
    return node ? a->nodes[node].id : -1;
}

void text_added_free(TextAdded *a) {
    mem_free(a->nodes);
    memset(a, 0, sizeof *a);
}
