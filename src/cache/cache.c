/* The table of slots: what every policy has in common. Who holds what, pins, the floor, guesses, the limit. */
#include "cache/policy.h"

#include <assert.h>
#include <string.h>

static const struct {
    const char *name;
    const CacheOps *ops;
} policies[CACHE_POLICIES] = {
#define X(NAME, name) {#name, &cache_##name},
    CACHE_LIST(X)
#undef X
};

const char *cache_policy_name(CachePolicy policy) { return policies[policy].name; }

bool cache_policy_from_name(const char *name, CachePolicy *policy) {
    for (int i = 0; i < CACHE_POLICIES; i++) {
        if (strcmp(policies[i].name, name) != 0) continue;
        *policy = (CachePolicy)i;
        return true;
    }
    return false;
}

CachePolicy cache_policy_default(void) { return CACHE_HYBRID; }

/* ---- new and free -------------------------------------------------------------------------------------------------- */

static uint32_t lists_per_group(const CacheOps *ops) { return ops->n_lists + LIST_FIRST; }

uint64_t cache_bytes(const CacheConfig *config) {
    const CacheOps *ops = policies[config->policy].ops;
    uint64_t records = (uint64_t)config->n_groups * config->per_group;
    uint64_t per_group = sizeof(uint32_t) + sizeof(uint64_t) + lists_per_group(ops) * sizeof(CacheList);
    uint64_t own = ops->own_bytes ? ops->own_bytes(config) : 0;
    return sizeof(Cache) + config->n_slots * sizeof(CacheSlot) + records * sizeof(int32_t) + config->n_groups * per_group + own;
}

static uint32_t floor_within(const CacheConfig *config, uint32_t slots) {
    uint32_t share = slots > config->common ? (slots - config->common) / config->n_groups : 0;
    return config->floor < share ? config->floor : share;
}

static bool allocate(Cache *c) {
    const CacheConfig *config = &c->config;
    size_t records = (size_t)config->n_groups * config->per_group;
    c->n_lists = lists_per_group(c->ops);
    c->slots = MEM_NEW(CacheSlot, config->n_slots);
    c->where = MEM_NEW(int32_t, records);
    c->held = MEM_NEW(uint32_t, config->n_groups);
    c->rank = MEM_NEW(uint64_t, config->n_groups);
    c->lists = MEM_NEW(CacheList, (size_t)config->n_groups * c->n_lists);
    if (!c->slots || !c->where || !c->held || !c->rank || !c->lists) return false;
    if (!c->ops->own_bytes) return true;
    c->own = mem_new(c->ops->own_bytes(config), 1);
    return c->own != NULL;
}

Cache *cache_new(const CacheConfig *config, Err *err) {
    if ((unsigned)config->policy >= CACHE_POLICIES || !config->n_slots || !config->n_groups || !config->per_group ||
        config->n_slots > INT32_MAX || config->per_group > INT32_MAX / config->n_groups) {
        err_set(err, ERR_RANGE, "a cache of %u slots for %u groups of %u records cannot be", config->n_slots, config->n_groups,
                config->per_group);
        return NULL;
    }
    Cache *c = MEM_NEW(Cache, 1);
    if (c) {
        c->config = *config;
        c->ops = policies[config->policy].ops;
    }
    if (!c || !allocate(c)) {
        err_no_memory(err, cache_bytes(config), "the table of expert slots");
        cache_free(c);
        return NULL;
    }
    for (size_t i = 0; i < (size_t)config->n_groups * config->per_group; i++) c->where[i] = CACHE_NONE;
    for (size_t i = 0; i < (size_t)config->n_groups * c->n_lists; i++) c->lists[i] = (CacheList){CACHE_NONE, CACHE_NONE};
    for (uint32_t g = 0; g < config->n_groups; g++) c->rank[g] = RANK_NONE;
    c->free = c->out = (CacheList){CACHE_NONE, CACHE_NONE};
    for (uint32_t i = 0; i < config->n_slots; i++) {
        c->slots[i].record = CACHE_NONE;
        c->slots[i].list = LIST_NONE;
        cache_link_hot(c, &c->free, (int32_t)i); /* so they are taken in order, and memory is touched from its start */
    }
    c->in_use = c->limit = config->n_slots;
    c->floor = floor_within(config, config->n_slots);
    if (c->ops->start) c->ops->start(c);
    return c;
}

void cache_free(Cache *c) {
    if (!c) return;
    mem_free(c->slots);
    mem_free(c->where);
    mem_free(c->held);
    mem_free(c->rank);
    mem_free(c->lists);
    mem_free(c->own);
    mem_free(c);
}

/* ---- who is where -------------------------------------------------------------------------------------------------- */

int32_t cache_find(const Cache *c, int32_t record) { return c->where[record]; }

int32_t cache_record(const Cache *c, int32_t slot) { return c->slots[slot].record; }

uint32_t cache_slots_in_use(const Cache *c) { return c->in_use; }

bool cache_use_counts(const Cache *c, uint32_t group, uint32_t uses, bool hit) {
    if (uses == 0) return false;
    if (c->want_uses <= c->want_records) return true; /* one token's want, or nobody said */
    uint64_t all = uses * c->want_records; /* compared with want_uses this is `uses` compared with the mean */
    uint64_t room = c->held[group] > c->floor ? c->held[group] : c->floor;
    if (!hit && c->want_records > room) return all >= 2 * c->want_uses;
    return 2 * all >= c->want_uses;
}

/* Takes the record out of a slot, which is then in no list at all. */
static void forget(Cache *c, int32_t slot) {
    CacheSlot *s = &c->slots[slot];
    uint32_t group = cache_group(c, slot);
    bool guess = s->list == LIST_GUESS;
    cache_remove(c, slot);
    if (c->ops->leave && !guess) c->ops->leave(c, slot);
    c->where[s->record] = CACHE_NONE;
    c->held[group]--;
    s->record = CACHE_NONE;
    s->pins = 0;
    c->ops->rerank(c, group);
}

/* ---- eviction ------------------------------------------------------------------------------------------------------ */

static void look_at(const Cache *c, uint32_t group, uint64_t *least, int64_t *best) {
    if (c->held[group] <= c->floor || c->rank[group] >= *least) return;
    *least = c->rank[group];
    *best = group;
}

/* The group that gives a slot away: the lowest rank of those that hold more than their floor. With equal ranks it is the group whose
 * turn was last, for it will be wanted last: the asking one itself, then those before it, and the one that comes next at the end.
 * own: the group that asks; n_groups: nobody does. -1: none. */
static int64_t giving_group(const Cache *c, uint32_t own) {
    uint64_t least = RANK_NONE;
    int64_t best = -1;
    /* its own floor does not bind the asking group; but below it, it takes from the others while they have too much */
    if (own < c->config.n_groups && c->held[own] >= c->floor && c->rank[own] != RANK_NONE) {
        least = c->rank[own] > c->ops->bias ? c->rank[own] - c->ops->bias : 0;
        best = own;
    }
    for (uint32_t g = own; g-- > 0;) look_at(c, g, &least, &best);
    for (uint32_t g = c->config.n_groups; g-- > own + 1;) look_at(c, g, &least, &best);
    if (best < 0 && own < c->config.n_groups && c->rank[own] != RANK_NONE) best = own;
    return best;
}

/* A guess that has not come true when its own group asks: all that are wanted of the group were named before. */
static int32_t wrong_guess(Cache *c, uint32_t group) {
    int32_t slot = cache_list(c, group, LIST_GUESS)->cold;
    while (slot != CACHE_NONE && c->slots[slot].pins) slot = c->slots[slot].hotter;
    return slot;
}

/* Anybody's guess: when nothing else is left. */
static int32_t any_guess(Cache *c, uint32_t own) {
    for (uint32_t i = 0; i < c->config.n_groups; i++) {
        uint32_t g = (own + i) % c->config.n_groups;
        int32_t slot = g == own || c->held[g] > c->floor ? wrong_guess(c, g) : CACHE_NONE;
        if (slot != CACHE_NONE) return slot;
    }
    return CACHE_NONE;
}

static int32_t victim_for(Cache *c, uint32_t own, bool guess) {
    int32_t slot = own < c->config.n_groups && !guess ? wrong_guess(c, own) : CACHE_NONE;
    while (slot == CACHE_NONE) {
        int64_t group = giving_group(c, own);
        if (group < 0) return guess ? CACHE_NONE : any_guess(c, own);
        slot = c->ops->victim(c, (uint32_t)group);
    }
    return slot;
}

int32_t cache_take(Cache *c, int32_t record, uint32_t uses, int32_t *evicted) {
    assert(c->where[record] == CACHE_NONE);
    uint32_t group = (uint32_t)record / c->config.per_group;
    int32_t slot = c->free.cold;
    *evicted = CACHE_NONE;
    if (slot != CACHE_NONE) {
        cache_unlink(c, &c->free, slot);
    } else {
        slot = victim_for(c, group, uses == 0);
        if (slot == CACHE_NONE) return slot;
        *evicted = c->slots[slot].record;
        forget(c, slot);
    }
    c->slots[slot].record = record;
    c->slots[slot].pins = 1;
    c->slots[slot].mark = 0;
    c->where[record] = slot;
    c->held[group]++;
    if (uses) c->ops->enter(c, slot, uses);
    else cache_put_hot(c, LIST_GUESS, slot);
    return slot;
}

/* ---- use and pins -------------------------------------------------------------------------------------------------- */

void cache_want(Cache *c, uint32_t n_records, uint64_t n_uses) {
    c->want_records = n_records;
    c->want_uses = n_uses;
}

void cache_use(Cache *c, int32_t slot, uint32_t uses) {
    if (uses == 0) return;
    if (c->slots[slot].list == LIST_GUESS) {
        cache_remove(c, slot);
        c->ops->enter(c, slot, uses);
    } else {
        c->ops->use(c, slot, uses);
    }
}

void cache_pin(Cache *c, int32_t slot) {
    assert(c->slots[slot].record != CACHE_NONE);
    c->slots[slot].pins++;
}

static void obey_limit(Cache *c);

void cache_unpin(Cache *c, int32_t slot) {
    CacheSlot *s = &c->slots[slot];
    assert(s->record != CACHE_NONE && s->pins > 0);
    if (--s->pins > 0) return;
    if (s->list == LIST_NONE) c->ops->put_back(c, slot);
    if (c->in_use > c->limit) obey_limit(c);
}

void cache_drop(Cache *c, int32_t slot) {
    assert(c->slots[slot].record != CACHE_NONE);
    forget(c, slot);
    cache_link_cold(c, &c->free, slot);
    if (c->in_use > c->limit) obey_limit(c);
}

void cache_step(Cache *c, uint32_t n_tokens) {
    c->step++;
    c->tokens += n_tokens;
    c->sequence = 0;
    for (uint32_t g = 0; g < c->config.n_groups; g++) {
        CacheList *guesses = cache_list(c, g, LIST_GUESS);
        for (int32_t slot = guesses->cold, next; slot != CACHE_NONE; slot = next) {
            next = c->slots[slot].hotter;
            if (c->slots[slot].pins) continue; /* still being read */
            cache_remove(c, slot);
            c->ops->enter(c, slot, 0);
        }
    }
}

/* ---- the limit ----------------------------------------------------------------------------------------------------- */

static void give_up(Cache *c, int32_t slot) {
    cache_link_hot(c, &c->out, slot);
    c->in_use--;
    if (c->told.given_up) c->told.given_up(c->told.user, slot);
}

/* Gives slots up, free ones first, until no more than the limit are in use or all that could go are pinned. */
static void obey_limit(Cache *c) {
    while (c->in_use > c->limit) {
        int32_t slot = c->free.hot;
        if (slot != CACHE_NONE) {
            cache_unlink(c, &c->free, slot);
        } else {
            slot = victim_for(c, c->config.n_groups, false);
            if (slot == CACHE_NONE) return;
            forget(c, slot);
        }
        give_up(c, slot);
    }
}

void cache_limit(Cache *c, uint32_t n, const CacheLimit *told) {
    c->limit = n < 1 ? 1 : n > c->config.n_slots ? c->config.n_slots : n;
    c->told = told ? *told : (CacheLimit){0};
    c->floor = floor_within(&c->config, c->limit);
    while (c->in_use < c->limit) {
        int32_t slot = c->out.hot;
        cache_unlink(c, &c->out, slot);
        cache_link_hot(c, &c->free, slot);
        c->in_use++;
        if (c->told.back_in_use) c->told.back_in_use(c->told.user, slot);
    }
    obey_limit(c);
}
