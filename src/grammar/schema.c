/* Which schemas hold at once, the choices between them, and one rule for each such list. */
#include "grammar/schema.h"

#include <stdlib.h>
#include <string.h>

GrammarAll *grammar_schema_empty(GrammarSchema *b) {
    GrammarAll *all = arena_alloc(&b->arena, sizeof *all, 8);
    if (all) return all;
    if (!b->bad) err_no_memory(b->err, sizeof *all, "a schema");
    b->bad = true;
    return NULL;
}

bool grammar_schema_add(GrammarSchema *b, GrammarAll *all, const json_t *part) {
    size_t i;
    json_t *each;
    if (b->bad) return false;
    if (json_is_true(part)) return true;
    if (json_is_false(part)) return all->never = true;
    if (!json_is_object(part)) return grammar_schema_refuse(b, part, NULL, "a schema must be an object, true or false") != 0;
    for (i = 0; i < all->n; i++)
        if (all->parts[i] == part) return true;
    if (all->n == GRAMMAR_MAX_ALL)
        return grammar_schema_refuse(b, part, NULL, "more than %d schemas must hold of one value at once", GRAMMAR_MAX_ALL) != 0;
    if (!grammar_keywords_check(b, part)) return false;
    all->chosen[all->n] = 0;
    all->parts[all->n++] = part;

    const json_t *ref = json_object_get(part, "$ref"), *parts = json_object_get(part, "allOf");
    if (ref) {
        if (!json_is_string(ref)) return grammar_schema_refuse(b, part, "$ref", "a reference must be a string") != 0;
        const json_t *to = grammar_keywords_follow(b, part, json_string_value(ref));
        if (!to || !grammar_schema_add(b, all, to)) return false;
    }
    if (parts && !json_is_array(parts)) return grammar_schema_refuse(b, part, "allOf", "must be a list of schemas") != 0;
    json_array_foreach(parts, i, each)
        if (!grammar_schema_add(b, all, each)) return false;
    return true;
}

/* ---- choices ---- */

static void add_overlap(GrammarSchema *b, const json_t *part, uint32_t i, uint32_t k, uint32_t rule) {
    if (b->n_overlaps == b->cap_overlaps) {
        uint32_t cap = b->cap_overlaps ? b->cap_overlaps * 2 : 64;
        void *grown = mem_resize(b->overlaps, cap, sizeof *b->overlaps);
        if (!grown) {
            if (!b->bad) err_no_memory(b->err, cap * sizeof *b->overlaps, "a schema");
            b->bad = true;
            return;
        }
        b->overlaps = grown;
        b->cap_overlaps = cap;
    }
    b->overlaps[b->n_overlaps++] = (GrammarOverlap){part, i, k, rule};
}

/* Rules of every two branches at once: when all is built, it is looked up that they have no text. */
static void watch_overlaps(GrammarSchema *b, const GrammarAll *all, const json_t *part, const json_t *branches) {
    for (size_t i = 0; i < json_array_size(branches); i++) {
        for (size_t k = 0; k < i && !b->bad; k++) {
            GrammarAll *both = grammar_schema_empty(b);
            if (!both) return;
            *both = *all;
            if (grammar_schema_add(b, both, json_array_get(branches, i)) && grammar_schema_add(b, both, json_array_get(branches, k)))
                add_overlap(b, part, (uint32_t)k, (uint32_t)i, grammar_schema_rule(b, both));
        }
    }
}

/* The first choice that is not made yet becomes forks of `from`; false: all are made. */
static bool emit_choice(GrammarSchema *b, const GrammarAll *all, uint32_t from) {
    static const char *const words[] = {"anyOf", "oneOf"};
    static const uint8_t marks[] = {GRAMMAR_ANY_CHOSEN, GRAMMAR_ONE_CHOSEN};
    for (uint32_t p = 0; p < all->n; p++) {
        for (int w = 0; w < 2; w++) {
            const json_t *branches = json_object_get(all->parts[p], words[w]), *branch;
            if (!branches || (all->chosen[p] & marks[w])) continue;
            if (!json_is_array(branches) || json_array_size(branches) == 0)
                return grammar_schema_refuse(b, all->parts[p], words[w], "must be a list of schemas") == 0;
            GrammarAll *base = grammar_schema_empty(b);
            if (!base) return true;
            *base = *all;
            base->chosen[p] |= marks[w];
            size_t i;
            json_array_foreach(branches, i, branch) {
                GrammarAll *one = grammar_schema_empty(b);
                if (!one) return true;
                *one = *base;
                if (!grammar_schema_add(b, one, branch)) return true;
                grammar_program_fork(b->g, from, grammar_schema_rule(b, one));
            }
            if (w == 1) watch_overlaps(b, base, all->parts[p], branches);
            return true;
        }
    }
    return false;
}

/* ---- rules ---- */

static bool anything(const GrammarAll *all) {
    static const char *const notes[] = {"title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly",
                                        "$schema", "$id", "id", "$comment", "$defs", "definitions", "$anchor"};
    const char *key;
    json_t *value;
    for (uint32_t p = 0; p < all->n; p++)
        json_object_foreach((json_t *)(uintptr_t)all->parts[p], key, value) {
            size_t i = 0;
            while (i < COUNT_OF(notes) && strcmp(key, notes[i]) != 0) i++;
            if (i == COUNT_OF(notes)) return false;
        }
    return !all->never;
}

static void emit_body(GrammarSchema *b, const GrammarAll *all, uint32_t from) {
    if (all->never || emit_choice(b, all, from)) return;
    if (anything(all) && !b->raw) {
        grammar_program_fork(b->g, from, grammar_json_value(b->g));
        return;
    }
    unsigned types = grammar_scalar_types(b, all);
    if (b->bad) return;
    if (b->raw) {
        grammar_calls_value(b, all, types, from);
        return;
    }
    if (grammar_constants_given(all)) {
        grammar_constants_emit(b, all, types, from);
        return;
    }
    grammar_scalar_emit(b, all, types, from);
    if (types & GRAMMAR_TYPE_ARRAY) grammar_program_fork(b->g, from, grammar_array_rule(b, all));
    if (types & GRAMMAR_TYPE_OBJECT) grammar_program_fork(b->g, from, grammar_object_rule(b, all));
}

uint32_t grammar_schema_rule(GrammarSchema *b, const GrammarAll *all) {
    uint32_t words[3 * GRAMMAR_MAX_ALL + 1], n = 0, rule;
    if (b->bad || b->g->failed) return b->never;
    words[n++] = (all->never ? 1U : 0U) | (b->raw ? 2U : 0U);
    for (uint32_t i = 0; i < all->n && !all->never; i++) {
        uint64_t address = (uint64_t)(uintptr_t)all->parts[i];
        words[n++] = (uint32_t)address;
        words[n++] = (uint32_t)(address >> 32);
        words[n++] = all->chosen[i];
    }
    Str key = str_make((const char *)words, n * sizeof *words);
    if (strmap_get(&b->rules, key, &rule)) return rule;
    char *kept = arena_strndup(&b->arena, key.ptr, key.len);
    rule = grammar_program_node(b->g, GRAMMAR_FORK);
    if (!kept || !strmap_put(&b->rules, str_make(kept, key.len), rule, NULL)) {
        b->g->failed = true;
        return b->never;
    }
    const json_t *at = all->n ? all->parts[all->n - 1] : b->root;
    if (++b->n_rules > GRAMMAR_MAX_RULES) return grammar_schema_refuse(b, at, NULL, "its combinations are too many"), b->never;
    if (++b->nesting > GRAMMAR_MAX_NESTING) return grammar_schema_refuse(b, at, NULL, "nested too deeply"), b->never;
    uint32_t outer = b->g->loop;
    b->g->loop = 0;
    emit_body(b, all, rule);
    b->g->loop = outer;
    b->nesting--;
    return rule;
}

void grammar_schema_begin(GrammarSchema *b, Grammar *g, const json_t *root, Err *err) {
    *b = (GrammarSchema){.g = g, .root = root, .err = err};
    b->never = grammar_program_node(g, GRAMMAR_READ);
}

ErrCode grammar_schema_check(GrammarSchema *b) {
    for (uint32_t i = 0; i < b->n_overlaps && !b->bad; i++) {
        const GrammarOverlap *o = &b->overlaps[i];
        if (b->g->nodes[o->rule].dist != GRAMMAR_NEVER)
            grammar_schema_refuse(b, o->part, "oneOf",
                                  "a value could satisfy branches %u and %u at once; tell them apart, for instance by a required property "
                                  "with another const in each, or write anyOf", o->a, o->b);
    }
    return b->bad ? ERR_UNSUPPORTED : ERR_OK;
}

void grammar_schema_end(GrammarSchema *b) {
    arena_free(&b->arena);
    strmap_free(&b->rules);
    mem_free(b->overlaps);
}

Grammar *grammar_json_schema(const json_t *schema, Err *err) {
    GrammarSchema b;
    Grammar *g = MEM_NEW(Grammar, 1);
    if (!g) return err_no_memory(err, sizeof *g, "a grammar"), NULL;
    grammar_schema_begin(&b, g, schema, err);
    GrammarAll *all = grammar_schema_empty(&b);
    uint32_t start = all && grammar_schema_add(&b, all, schema) ? grammar_schema_rule(&b, all) : 0;
    bool ok = !b.bad && grammar_program_finish(g, start, err) == ERR_OK && grammar_schema_check(&b) == ERR_OK;
    grammar_schema_end(&b);
    if (ok) return g;
    grammar_free(g);
    return NULL;
}
