/* Members of an object: those of `properties` in their order, the optional ones may be left out; then others, if there may be any.
 *
 * Behind the opening bracket or a comma a path may begin with any member that may come next: it goes on past members that it leaves
 * out, up to the next required one. */
#include "grammar/schema.h"

#include <string.h>

typedef struct Members {
    Str *names;      /* [n] */
    bool *required;  /* [n] */
    uint32_t *rules; /* [n] */
    uint32_t n, cap;
    StrMap index;
} Members;

static bool add_member(GrammarSchema *b, Members *m, const char *name, bool required) {
    uint32_t at;
    if (strmap_get(&m->index, str_c(name), &at)) {
        if (required) m->required[at] = true;
        return true;
    }
    if (m->n == m->cap || !strmap_put(&m->index, str_c(name), m->n, NULL)) {
        b->g->failed = true;
        return false;
    }
    m->names[m->n] = str_c(name);
    m->required[m->n++] = required;
    return true;
}

static bool collect(GrammarSchema *b, const GrammarAll *all, Members *m) {
    const char *name;
    json_t *schema;
    size_t i;
    for (uint32_t p = 0; p < all->n; p++) {
        const json_t *own = json_object_get(all->parts[p], "properties"), *required = json_object_get(all->parts[p], "required");
        if (own && !json_is_object(own)) return grammar_schema_refuse(b, all->parts[p], "properties", "must be an object") != 0;
        if (required && !json_is_array(required)) /* draft 3 had true and false here */
            return grammar_schema_refuse(b, all->parts[p], "required", "must be a list of names") != 0;
        m->cap += (uint32_t)(json_object_size(own) + json_array_size(required));
    }
    m->names = MEM_NEW(Str, m->cap);
    m->required = MEM_NEW(bool, m->cap);
    m->rules = MEM_NEW(uint32_t, m->cap);
    if (!m->names || !m->required || !m->rules) return !(b->g->failed = true);
    for (uint32_t p = 0; p < all->n; p++)
        json_object_foreach(json_object_get(all->parts[p], "properties"), name, schema)
            if (!add_member(b, m, name, false)) return false;
    for (uint32_t p = 0; p < all->n; p++) {
        json_array_foreach(json_object_get(all->parts[p], "required"), i, schema) {
            if (!json_is_string(schema)) return grammar_schema_refuse(b, all->parts[p], "required", "must be a list of names") != 0;
            if (!add_member(b, m, json_string_value(schema), true)) return false;
        }
    }
    return true;
}

static bool make_rules(GrammarSchema *b, const GrammarAll *all, Members *m) {
    uint32_t skipped = 0;
    for (uint32_t i = 0; i < m->n; i++) {
        GrammarAll *value = grammar_schema_empty(b);
        if (!value || !grammar_names_member(b, all, m->names[i].ptr, value)) return false;
        m->rules[i] = value->never ? b->never : grammar_schema_rule(b, value);
        skipped = m->required[i] ? 0 : skipped + 1;
        if (skipped > GRAMMAR_MAX_SKIPPED)
            return grammar_schema_refuse(b, all->parts[0], "properties", "more than %d optional ones in a row", GRAMMAR_MAX_SKIPPED) != 0;
    }
    return !b->bad;
}

static bool others_allowed(const GrammarAll *all) {
    bool allowed = true, patterns = false;
    for (uint32_t p = 0; p < all->n; p++) {
        if (json_is_false(json_object_get(all->parts[p], "additionalProperties"))) allowed = false;
        if (json_object_size(json_object_get(all->parts[p], "patternProperties")) > 0) patterns = true;
    }
    return allowed || patterns;
}

/* minProperties and maxProperties, where they follow from the members or say no more than "not empty"; *not_empty. */
static bool check_counts(GrammarSchema *b, const GrammarAll *all, const Members *m, bool others, bool *not_empty) {
    uint32_t n_required = 0, count;
    for (uint32_t i = 0; i < m->n; i++) n_required += m->required[i];
    for (uint32_t p = 0; p < all->n; p++) {
        if (grammar_keywords_count(b, all->parts[p], "minProperties", &count)) {
            *not_empty = *not_empty || count > 0;
            if (count > 1 && count > n_required)
                return grammar_schema_refuse(b, all->parts[p], "minProperties", "\"minProperties\" above 1 and above the required ones is "
                                             "not supported") != 0;
        }
        if (grammar_keywords_count(b, all->parts[p], "maxProperties", &count) && (others || count < m->n))
            return grammar_schema_refuse(b, all->parts[p], "maxProperties", "\"maxProperties\" below the number of possible ones is not "
                                         "supported") != 0;
    }
    return !b->bad;
}

/* Behind a member: a comma and `next`, or the end. */
static uint32_t after_member(Grammar *g, uint32_t next, bool may_end) {
    uint32_t fork = grammar_program_node(g, GRAMMAR_FORK), comma = grammar_program_node(g, GRAMMAR_READ);
    grammar_program_edge(g, comma, ',', ',', grammar_json_space(g, next));
    grammar_program_fork(g, fork, comma);
    if (may_end) grammar_program_fork(g, fork, grammar_json_space(g, grammar_program_bytes(g, "}", 1, grammar_program_return(g))));
    return fork;
}

/* Other members, as many as one likes: a node before the first. */
static uint32_t emit_others(GrammarSchema *b, const GrammarAll *all, const Members *m) {
    Grammar *g = b->g;
    if (!others_allowed(all)) return b->never;
    uint32_t open = grammar_program_node(g, GRAMMAR_READ), after = after_member(g, open, true);
    grammar_program_edge(g, open, '"', '"', grammar_names_others(b, all, m->names, m->n, after));
    return open;
}

static uint32_t emit(GrammarSchema *b, const GrammarAll *all, const Members *m, bool not_empty) {
    Grammar *g = b->g;
    uint32_t next = emit_others(b, all, m); /* where a member may begin, from i on */
    bool may_end = true;
    for (uint32_t i = m->n; i-- > 0 && !b->bad;) {
        uint32_t begin = grammar_program_node(g, GRAMMAR_FORK);
        uint32_t call = grammar_program_call(g, m->rules[i], after_member(g, next, may_end));
        grammar_program_fork(g, begin, grammar_constants_quoted(g, m->names[i], grammar_json_colon(g, call)));
        if (!m->required[i]) grammar_program_fork(g, begin, next);
        may_end = may_end && !m->required[i];
        next = begin;
    }
    uint32_t inside = grammar_program_node(g, GRAMMAR_FORK);
    if (may_end && !not_empty) grammar_program_fork(g, inside, grammar_program_bytes(g, "}", 1, grammar_program_return(g)));
    grammar_program_fork(g, inside, next);
    return grammar_program_bytes(g, "{", 1, grammar_json_space(g, inside));
}

static bool says_nothing(const GrammarAll *all) {
    static const char *const words[] = {"properties", "required", "additionalProperties", "patternProperties", "propertyNames",
                                        "minProperties", "maxProperties"};
    for (uint32_t p = 0; p < all->n; p++)
        for (size_t i = 0; i < COUNT_OF(words); i++)
            if (json_object_get(all->parts[p], words[i])) return false;
    return true;
}

static void free_members(Members *m) {
    mem_free(m->names);
    mem_free(m->required);
    mem_free(m->rules);
    strmap_free(&m->index);
}

uint32_t grammar_object_rule(GrammarSchema *b, const GrammarAll *all) {
    Members m = {0};
    uint32_t rule = b->never;
    bool not_empty = false;
    if (says_nothing(all)) return grammar_json_any_object(b->g);
    if (collect(b, all, &m) && make_rules(b, all, &m) && check_counts(b, all, &m, others_allowed(all), &not_empty))
        rule = emit(b, all, &m, not_empty);
    free_members(&m);
    return rule;
}

/* <parameter=NAME> and a line feed, then `then`. */
static uint32_t open_argument(GrammarSchema *b, const GrammarAll *all, Str name, uint32_t then) {
    Buf text = {0};
    if (name.len == 0 || memchr(name.ptr, '>', name.len) || memchr(name.ptr, '\n', name.len))
        return grammar_schema_refuse(b, all->parts[0], "properties", "\"%s\" cannot be written as the name of a parameter", name.ptr);
    buf_puts(&text, "<parameter=");
    buf_put(&text, name.ptr, name.len);
    buf_puts(&text, ">\n");
    if (text.failed) b->g->failed = true;
    uint32_t n = b->g->failed ? 0 : grammar_program_bytes(b->g, text.ptr, text.len, then);
    buf_free(&text);
    return n;
}

uint32_t grammar_object_arguments(GrammarSchema *b, const GrammarAll *all, uint32_t then) {
    static const char close[] = "\n</parameter>\n";
    Grammar *g = b->g;
    Members m = {0};
    bool not_empty = false;
    b->raw = true;
    bool ok = collect(b, all, &m) && make_rules(b, all, &m) && check_counts(b, all, &m, others_allowed(all), &not_empty);
    b->raw = false;
    if (ok && not_empty && m.n > 0 && !memchr(m.required, 1, m.n))
        ok = grammar_schema_refuse(b, all->parts[0], "minProperties", "\"minProperties\" is not supported in this form of calls") != 0;
    for (uint32_t i = m.n; ok && i-- > 0 && !b->bad;) {
        uint32_t begin = grammar_program_node(g, GRAMMAR_FORK);
        uint32_t call = grammar_program_call(g, m.rules[i], grammar_program_bytes(g, close, strlen(close), then));
        grammar_program_fork(g, begin, open_argument(b, all, m.names[i], call));
        if (!m.required[i]) grammar_program_fork(g, begin, then);
        then = begin;
    }
    free_members(&m);
    return then;
}
