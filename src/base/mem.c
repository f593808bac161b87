/* The heap behind one door, so that a test can count allocations and make the n-th fail; and arenas on top of it. */
#include "base/base.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic uint64_t allocation_count, live_count;
static _Atomic uint64_t fail_from; /* 0: never; else the allocation number from which on all fail */

static bool may_allocate(void) {
    uint64_t n = atomic_fetch_add(&allocation_count, 1) + 1;
    uint64_t from = atomic_load(&fail_from);
    return from == 0 || n < from;
}

void mem_fail_after(uint64_t n) { atomic_store(&fail_from, n == 0 ? 0 : atomic_load(&allocation_count) + n); }

uint64_t mem_allocation_count(void) { return atomic_load(&allocation_count); }

uint64_t mem_live_count(void) { return atomic_load(&live_count); }

void *mem_new(size_t count, size_t size) {
    if (!may_allocate()) return NULL;
    void *p = calloc(count ? count : 1, size ? size : 1);
    if (p) atomic_fetch_add(&live_count, 1);
    return p;
}

void *mem_resize(void *ptr, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || !may_allocate()) return NULL;
    void *p = realloc(ptr, bytes ? bytes : 1);
    if (p && !ptr) atomic_fetch_add(&live_count, 1);
    return p;
}

char *mem_strndup(const char *s, size_t len) {
    if (len == SIZE_MAX) return NULL;
    char *copy = mem_new(len + 1, 1);
    if (copy && len) memcpy(copy, s, len);
    return copy;
}

char *mem_strdup(const char *s) { return mem_strndup(s, strlen(s)); }

void mem_free(void *ptr) {
    if (ptr) atomic_fetch_sub(&live_count, 1);
    free(ptr);
}

/* ---- arena ---- */

typedef struct ArenaBlock {
    struct ArenaBlock *next;
    size_t used, cap;
    _Alignas(16) char data[]; /* so align may be at most 16 */
} ArenaBlock;

enum { ARENA_BLOCK_BYTES = 64 * 1024 };

void *arena_alloc(Arena *a, size_t bytes, size_t align) {
    ArenaBlock *b = a->head;
    size_t at = b ? (b->used + align - 1) & ~(align - 1) : 0;
    if (!b || at > b->cap || bytes > b->cap - at) {
        size_t cap = bytes > ARENA_BLOCK_BYTES / 4 ? bytes : ARENA_BLOCK_BYTES - sizeof *b;
        if (cap > SIZE_MAX - sizeof *b - 64) return NULL;
        b = mem_new(1, sizeof *b + cap);
        if (!b) return NULL;
        b->cap = cap;
        a->total += sizeof *b + cap;
        if (a->head && bytes > ARENA_BLOCK_BYTES / 4) { /* a large object gets its own block; keep filling the current one */
            b->next = a->head->next;
            a->head->next = b;
        } else {
            b->next = a->head;
            a->head = b;
        }
        at = 0;
    }
    void *p = b->data + at;
    b->used = at + bytes;
    return p;
}

char *arena_strndup(Arena *a, const char *s, size_t len) {
    if (len == SIZE_MAX) return NULL;
    char *copy = arena_alloc(a, len + 1, 1);
    if (copy && len) memcpy(copy, s, len);
    return copy;
}

void arena_free(Arena *a) {
    for (ArenaBlock *b = a->head; b;) {
        ArenaBlock *next = b->next;
        mem_free(b);
        b = next;
    }
    a->head = NULL;
    a->total = 0;
}
