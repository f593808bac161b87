/* Calls of tools, as models were taught to write them.
 *
 * In the XML form an argument is bare text between two lines: a string is the text itself, anything but what ends it; all else is JSON.
 * Where a schema allows both, what is written decides what it is, as for whoever reads the call. */
#include "grammar/schema.h"

#include <string.h>

#define ARGUMENT_END "\n</parameter>"

static void emit_text(GrammarSchema *b, const GrammarAll *all, uint32_t from) {
    uint32_t min, max;
    bool any;
    Err why = {0};
    GrammarDfa *dfa = grammar_scalar_texts(b, all, &min, &max, &any);
    if (b->bad || min > max) {
        grammar_dfa_free(dfa);
        return;
    }
    if (dfa && (min > 0 || max != GRAMMAR_NEVER)) {
        dfa = grammar_scalar_with_length(b, all, dfa, min, max);
        min = 0;
        max = GRAMMAR_NEVER;
    }
    if (any) dfa = grammar_dfa_length(0, GRAMMAR_NEVER, &why);
    dfa = grammar_dfa_and(dfa, grammar_dfa_pattern(ARGUMENT_END, strlen(ARGUMENT_END), &why), true, &why);
    if (dfa) grammar_program_fork(b->g, from, grammar_dfa_emit_raw(dfa, b->g, min, max, grammar_program_return(b->g)));
    else if (!b->bad) grammar_schema_refuse(b, all->n ? all->parts[0] : b->root, NULL, "%s", why.text);
    grammar_dfa_free(dfa);
}

/* Also behind a U+0000. */
static bool ends_argument(const json_t *value) {
    Str s = json_is_string(value) ? str_make(json_string_value(value), json_string_length(value)) : str_c("");
    for (; s.len > 0; s.ptr++, s.len--)
        if (str_starts(s, ARGUMENT_END)) return true;
    return false;
}

static void check_constants(GrammarSchema *b, const GrammarAll *all) {
    for (uint32_t p = 0; p < all->n; p++) {
        const json_t *list = json_object_get(all->parts[p], "enum"), *only = json_object_get(all->parts[p], "const"), *each;
        size_t i;
        if (ends_argument(only))
            grammar_schema_refuse(b, all->parts[p], "const", "holds the end of an argument and cannot be written in this form of calls");
        json_array_foreach(list, i, each)
            if (ends_argument(each))
                grammar_schema_refuse(b, all->parts[p], "enum", "holds the end of an argument and cannot be written in this form of calls");
    }
}

void grammar_calls_value(GrammarSchema *b, const GrammarAll *all, unsigned types, uint32_t from) {
    if (grammar_constants_given(all)) {
        check_constants(b, all);
        grammar_constants_emit(b, all, types, from);
        return;
    }
    if (types & GRAMMAR_TYPE_STRING) emit_text(b, all, from);
    b->raw = false; /* what is inside of it is JSON */
    grammar_scalar_emit(b, all, types & ~(unsigned)GRAMMAR_TYPE_STRING, from);
    if (types & GRAMMAR_TYPE_ARRAY) grammar_program_fork(b->g, from, grammar_array_rule(b, all));
    if (types & GRAMMAR_TYPE_OBJECT) grammar_program_fork(b->g, from, grammar_object_rule(b, all));
    b->raw = true;
}

/* ---- one call ---- */

static uint32_t literal(Grammar *g, const char *text, uint32_t to) { return grammar_program_bytes(g, text, strlen(text), to); }

static uint32_t xml_call(GrammarSchema *b, Str name, const GrammarAll *all, uint32_t to) {
    uint32_t arguments = grammar_object_arguments(b, all, literal(b->g, "</function>\n</tool_call>", to));
    uint32_t named = grammar_program_bytes(b->g, name.ptr, name.len, literal(b->g, ">\n", arguments));
    return literal(b->g, "<tool_call>\n<function=", named);
}

static uint32_t json_call(GrammarSchema *b, Str name, const GrammarAll *all, uint32_t to) {
    Grammar *g = b->g;
    uint32_t close = grammar_json_space(g, literal(g, "}\n</tool_call>", to));
    uint32_t value = grammar_program_call(g, grammar_schema_rule(b, all), close);
    uint32_t arguments = literal(g, "\"arguments\"", grammar_json_colon(g, value));
    uint32_t named = grammar_constants_quoted(g, name, literal(g, ",", grammar_json_space(g, arguments)));
    return literal(g, "<tool_call>\n{", grammar_json_space(g, literal(g, "\"name\"", grammar_json_colon(g, named))));
}

static bool add_tool(GrammarSchema *b, GrammarCallForm form, Str name, const json_t *object, uint32_t from, uint32_t to) {
    GrammarAll *all = grammar_schema_empty(b);
    if (!all || !grammar_schema_add(b, all, object) || (b->root && !grammar_schema_add(b, all, b->root))) return false;
    for (uint32_t p = 0; p < all->n && form == GRAMMAR_CALLS_XML; p++)
        for (int i = 0; i < 2; i++)
            if (json_object_get(all->parts[p], i ? "oneOf" : "anyOf"))
                return grammar_schema_refuse(b, all->parts[p], i ? "oneOf" : "anyOf",
                                             "a choice between sets of parameters is not supported in this form of calls") != 0;
    grammar_program_fork(b->g, from, form == GRAMMAR_CALLS_XML ? xml_call(b, name, all, to) : json_call(b, name, all, to));
    return !b->bad;
}

/* From `start`: perhaps line feeds, a call, and if several are allowed a line feed and another one, or the end. */
static bool add_tools(GrammarSchema *b, Grammar *g, GrammarCallForm form, const GrammarTool *tools, size_t n, bool several, Err *err) {
    uint32_t first = grammar_program_node(g, GRAMMAR_FORK), after = grammar_program_node(g, GRAMMAR_FORK);
    json_t *object = json_pack("{s:s}", "type", "object");
    bool ok = object != NULL;
    if (!object) err_no_memory(err, 64, "a grammar");
    for (size_t i = 0; ok && i < n; i++) {
        grammar_schema_begin(&b[i], g, tools[i].parameters, err);
        ok = add_tool(&b[i], form, tools[i].name, object, first, after);
        if (b[i].bad) err_prefix(err, "tool %.*s", (int)tools[i].name.len, tools[i].name.ptr);
    }
    json_decref(object);
    grammar_program_fork(g, after, grammar_program_return(g));
    if (several) grammar_program_fork(g, after, literal(g, "\n", first));
    uint32_t one = grammar_program_node(g, GRAMMAR_FORK), start = grammar_program_node(g, GRAMMAR_FORK);
    grammar_program_fork(g, one, first);
    grammar_program_fork(g, one, literal(g, "\n", first));
    grammar_program_fork(g, start, first);
    grammar_program_fork(g, start, literal(g, "\n", one));
    return ok && grammar_program_finish(g, start, err) == ERR_OK;
}

Grammar *grammar_tool_calls(GrammarCallForm form, const GrammarTool *tools, size_t n, bool several, Err *err) {
    Grammar *g = MEM_NEW(Grammar, 1);
    GrammarSchema *b = MEM_NEW(GrammarSchema, n);
    bool ok = false;
    if (!g || !b) err_no_memory(err, sizeof *g + n * sizeof *b, "a grammar");
    else ok = add_tools(b, g, form, tools, n, several, err);
    for (size_t i = 0; b && i < n; i++) {
        if (ok && grammar_schema_check(&b[i])) {
            err_prefix(err, "tool %.*s", (int)tools[i].name.len, tools[i].name.ptr);
            ok = false;
        }
        grammar_schema_end(&b[i]);
    }
    mem_free(b);
    if (ok) return g;
    grammar_free(g);
    return NULL;
}
