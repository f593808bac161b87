/* Items of an array: the first ones by their place, then as many of one kind as there may be. */
#include "grammar/schema.h"

typedef struct Items {
    uint32_t min, max, n_first;
} Items;

/* The list of schemas for the first items, and the one for the others; either may be absent. */
static const json_t *first_of(const json_t *part) {
    const json_t *prefix = json_object_get(part, "prefixItems"), *items = json_object_get(part, "items");
    return json_is_array(prefix) ? prefix : json_is_array(items) ? items : NULL; /* drafts before 2020 had the list in items */
}

static const json_t *rest_of(const json_t *part) {
    const json_t *items = json_object_get(part, "items");
    return json_is_array(items) ? json_object_get(part, "additionalItems") : items;
}

static uint32_t rule_of_item(GrammarSchema *b, const GrammarAll *all, uint32_t at, bool first) {
    GrammarAll *value = grammar_schema_empty(b);
    if (!value) return b->never;
    for (uint32_t p = 0; p < all->n; p++) {
        const json_t *list = first_of(all->parts[p]);
        const json_t *schema = first && at < json_array_size(list) ? json_array_get(list, at) : rest_of(all->parts[p]);
        if (schema && !grammar_schema_add(b, value, schema)) return b->never;
    }
    return value->never ? b->never : grammar_schema_rule(b, value);
}

static bool read_counts(GrammarSchema *b, const GrammarAll *all, Items *it) {
    *it = (Items){.max = GRAMMAR_NEVER};
    for (uint32_t p = 0; p < all->n; p++) {
        uint32_t count, n_first = (uint32_t)json_array_size(first_of(all->parts[p]));
        if (grammar_keywords_count(b, all->parts[p], "minItems", &count) && count > it->min) it->min = count;
        if (grammar_keywords_count(b, all->parts[p], "maxItems", &count) && count < it->max) it->max = count;
        if (n_first > it->n_first) it->n_first = n_first;
    }
    if (it->n_first > it->max) it->n_first = it->max;
    return !b->bad;
}

static uint32_t closing(Grammar *g) { return grammar_json_space(g, grammar_program_bytes(g, "]", 1, grammar_program_return(g))); }

static uint32_t comma(Grammar *g, uint32_t next) { return grammar_program_bytes(g, ",", 1, grammar_json_space(g, next)); }

/* Behind an item: between min and max more of that rule, then the end. */
static uint32_t more_items(Grammar *g, uint32_t rule, uint32_t min, uint32_t max) {
    if (max == 0) return closing(g);
    GrammarRounds r = grammar_program_inside(g, (GrammarLoop){.min = min, .max = max, .bytes = 1, .rule = rule}, closing(g));
    uint32_t body = comma(g, grammar_program_call(g, rule, r.turn));
    if (!g->failed) g->nodes[r.less].b = body;
    return grammar_program_outside(g, &r);
}

static uint32_t less_by(uint32_t n, uint32_t by) { return n == GRAMMAR_NEVER ? n : n > by ? n - by : 0; }

uint32_t grammar_array_rule(GrammarSchema *b, const GrammarAll *all) {
    Grammar *g = b->g;
    Items it;
    bool says_nothing = true;
    for (uint32_t p = 0; p < all->n; p++) says_nothing = says_nothing && !rest_of(all->parts[p]) && !first_of(all->parts[p]);
    if (!read_counts(b, all, &it) || it.min > it.max) return b->never;
    if (says_nothing && it.min == 0 && it.max == GRAMMAR_NEVER) return grammar_json_any_array(g);

    uint32_t rest = it.max > it.n_first ? rule_of_item(b, all, it.n_first, false) : b->never;
    uint32_t n_made = it.n_first ? it.n_first : 1; /* items in place when the rest begins */
    uint32_t after = it.max == 0 ? 0 : more_items(g, rest, less_by(it.min, n_made), less_by(it.max, n_made));
    uint32_t item = it.max == 0 ? b->never : grammar_program_call(g, it.n_first ? rule_of_item(b, all, it.n_first - 1, true) : rest, after);
    for (uint32_t i = it.n_first; i-- > 1 && !b->bad;) {
        uint32_t fork = grammar_program_node(g, GRAMMAR_FORK);
        grammar_program_fork(g, fork, comma(g, item));
        if (i >= it.min) grammar_program_fork(g, fork, closing(g));
        item = grammar_program_call(g, rule_of_item(b, all, i - 1, true), fork);
    }
    uint32_t inside = grammar_program_node(g, GRAMMAR_FORK);
    if (it.min == 0) grammar_program_fork(g, inside, grammar_program_bytes(g, "]", 1, grammar_program_return(g)));
    grammar_program_fork(g, inside, item);
    return grammar_program_bytes(g, "[", 1, grammar_json_space(g, inside));
}
