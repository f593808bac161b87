/* A string map: open addressing with linear probing, XXH3 hashes, at most 2/3 full. */
#include "base/base.h"

#include <string.h>
#include <xxhash.h>

typedef struct StrMapEntry {
    Str key; /* ptr == NULL: empty */
    uint32_t hash, value;
} StrMapEntry;

static StrMapEntry *find(const StrMap *m, Str key, uint32_t hash) {
    uint32_t mask = m->cap - 1;
    for (uint32_t i = hash & mask;; i = (i + 1) & mask) {
        StrMapEntry *e = &m->entries[i];
        if (!e->key.ptr || (e->hash == hash && str_eq(e->key, key))) return e;
    }
}

static uint32_t hash_of(Str key) { return (uint32_t)XXH3_64bits(key.ptr, key.len); }

bool strmap_reserve(StrMap *m, uint32_t n) {
    uint64_t want = 16;
    while (want * 2 < (uint64_t)n * 3) want *= 2;
    if (want <= m->cap) return true;
    if (want > UINT32_MAX / 2) return false;
    StrMap grown = {MEM_NEW(StrMapEntry, want), (uint32_t)want, m->used};
    if (!grown.entries) return false;
    for (uint32_t i = 0; i < m->cap; i++) {
        StrMapEntry *e = &m->entries[i];
        if (e->key.ptr) *find(&grown, e->key, e->hash) = *e;
    }
    mem_free(m->entries);
    *m = grown;
    return true;
}

bool strmap_put(StrMap *m, Str key, uint32_t value, bool *existed) {
    if (existed) *existed = false;
    if (!strmap_reserve(m, m->used + 1)) return false;
    uint32_t hash = hash_of(key);
    StrMapEntry *e = find(m, key, hash);
    if (e->key.ptr) {
        if (existed) *existed = true;
        return false;
    }
    e->key = key.ptr ? key : str_make("", 0);
    e->hash = hash;
    e->value = value;
    m->used++;
    return true;
}

bool strmap_get(const StrMap *m, Str key, uint32_t *value) {
    if (!m->cap) return false;
    StrMapEntry *e = find(m, key, hash_of(key));
    if (!e->key.ptr) return false;
    *value = e->value;
    return true;
}

void strmap_free(StrMap *m) {
    mem_free(m->entries);
    memset(m, 0, sizeof *m);
}
