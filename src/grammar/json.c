/* What JSON is made of: see program.h.
 *
 * Everything here ends: white space is at most one space, or a line feed and an indentation; a number has at most 18 digits before the
 * point, 17 behind it, and two in the exponent, so that every reader can hold it. */
#include "grammar/program.h"

enum { MAX_SPACES = 64, MAX_TABS = 16, MAX_DIGITS = 18, MAX_FRACTION = 17, MAX_EXPONENT = 2 };

static uint32_t read_to(Grammar *g, unsigned lo, unsigned hi, uint32_t to) {
    uint32_t n = grammar_program_node(g, GRAMMAR_READ);
    grammar_program_edge(g, n, lo, hi, to);
    return n;
}

/* Either way. */
static uint32_t either(Grammar *g, uint32_t a, uint32_t b) {
    uint32_t n = grammar_program_node(g, GRAMMAR_FORK);
    grammar_program_fork(g, n, a);
    grammar_program_fork(g, n, b);
    return n;
}

/* ---- white space ---- */

/* Up to max of one byte, then the end of the rule. */
static uint32_t run_of(Grammar *g, char byte, uint32_t max) {
    GrammarRounds r = grammar_program_inside(g, (GrammarLoop){.max = max, .bytes = 1}, grammar_program_return(g));
    uint32_t read = read_to(g, (uint8_t)byte, (uint8_t)byte, r.turn);
    if (!g->failed) g->nodes[r.less].b = read;
    return grammar_program_outside(g, &r);
}

static uint32_t space_rule(Grammar *g) {
    if (g->space) return g->space;
    uint32_t end = grammar_program_return(g), spaces = run_of(g, ' ', MAX_SPACES), tabs = run_of(g, '\t', MAX_TABS);
    uint32_t some = read_to(g, ' ', ' ', end);
    grammar_program_edge(g, some, '\n', '\n', spaces);
    grammar_program_edge(g, some, '\n', '\n', tabs);
    g->space = either(g, end, some);
    return g->space;
}

uint32_t grammar_json_space(Grammar *g, uint32_t to) {
    uint32_t rule = space_rule(g);
    return grammar_program_call(g, rule, to);
}

uint32_t grammar_json_colon(Grammar *g, uint32_t to) { return read_to(g, ':', ':', either(g, to, read_to(g, ' ', ' ', to))); }

/* ---- strings ---- */

void grammar_json_wide(Grammar *g, uint32_t from, uint32_t to) {
    uint32_t one = read_to(g, 0x80, 0xBF, to), two = read_to(g, 0x80, 0xBF, one);
    grammar_program_edge(g, from, 0xC2, 0xDF, one);
    grammar_program_edge(g, from, 0xE0, 0xE0, read_to(g, 0xA0, 0xBF, one));
    grammar_program_edge(g, from, 0xE1, 0xEC, two);
    grammar_program_edge(g, from, 0xED, 0xED, read_to(g, 0x80, 0x9F, one)); /* no surrogates */
    grammar_program_edge(g, from, 0xEE, 0xEF, two);
    grammar_program_edge(g, from, 0xF0, 0xF0, read_to(g, 0x90, 0xBF, two));
    grammar_program_edge(g, from, 0xF1, 0xF3, read_to(g, 0x80, 0xBF, two));
    grammar_program_edge(g, from, 0xF4, 0xF4, read_to(g, 0x80, 0x8F, two));
}

static void hex_edges(Grammar *g, uint32_t from, uint32_t to) {
    grammar_program_edge(g, from, '0', '9', to);
    grammar_program_edge(g, from, 'A', 'F', to);
    grammar_program_edge(g, from, 'a', 'f', to);
}

static uint32_t hex_digits(Grammar *g, int n, uint32_t to) {
    for (; n > 0; n--) {
        uint32_t node = grammar_program_node(g, GRAMMAR_READ);
        hex_edges(g, node, to);
        to = node;
    }
    return to;
}

/* Behind the backslash: a letter, u and four digits, or a whole pair of surrogates. */
static uint32_t escape(Grammar *g, uint32_t to) {
    uint32_t esc = grammar_program_node(g, GRAMMAR_READ), u = grammar_program_node(g, GRAMMAR_READ);
    for (const char *c = "\"\\/bfnrt"; *c; c++) grammar_program_edge(g, esc, (uint8_t)*c, (uint8_t)*c, to);
    grammar_program_edge(g, esc, 'u', 'u', u);

    uint32_t two = hex_digits(g, 2, to), three = hex_digits(g, 3, to), low = grammar_program_node(g, GRAMMAR_READ);
    grammar_program_edge(g, low, 'C', 'F', two);
    grammar_program_edge(g, low, 'c', 'f', two);
    uint32_t d = grammar_program_bytes(g, "\\u", 2, either(g, read_to(g, 'D', 'D', low), read_to(g, 'd', 'd', low)));
    uint32_t high = hex_digits(g, 2, d), after_d = grammar_program_node(g, GRAMMAR_READ);
    grammar_program_edge(g, after_d, '0', '7', two);
    grammar_program_edge(g, after_d, '8', '9', high);
    grammar_program_edge(g, after_d, 'A', 'B', high);
    grammar_program_edge(g, after_d, 'a', 'b', high);

    grammar_program_edge(g, u, '0', '9', three);
    grammar_program_edge(g, u, 'A', 'C', three);
    grammar_program_edge(g, u, 'a', 'c', three);
    grammar_program_edge(g, u, 'E', 'F', three);
    grammar_program_edge(g, u, 'e', 'f', three);
    grammar_program_edge(g, u, 'D', 'D', after_d);
    grammar_program_edge(g, u, 'd', 'd', after_d);
    return esc;
}

/* Edges of `from` that read one character of a string and go to `to`. */
static void character(Grammar *g, uint32_t from, uint32_t to) {
    grammar_program_edge(g, from, 0x20, '"' - 1, to);
    grammar_program_edge(g, from, '"' + 1, '\\' - 1, to);
    grammar_program_edge(g, from, '\\' + 1, 0x7F, to);
    grammar_program_edge(g, from, '\\', '\\', escape(g, to));
    grammar_json_wide(g, from, to);
}

uint32_t grammar_json_text(Grammar *g) {
    if (g->text) return g->text;
    uint32_t inside = grammar_program_node(g, GRAMMAR_READ);
    character(g, inside, inside);
    grammar_program_edge(g, inside, '"', '"', grammar_program_return(g));
    if (!g->failed) g->nodes[inside].text = GRAMMAR_TEXT_JSON;
    g->text = read_to(g, '"', '"', inside);
    return g->text;
}

uint32_t grammar_json_text_of(Grammar *g, uint32_t min, uint32_t max) {
    if (min == 0 && max == GRAMMAR_NEVER) return grammar_json_text(g);
    uint32_t close = read_to(g, '"', '"', grammar_program_return(g));
    GrammarRounds r = grammar_program_inside(g, (GrammarLoop){.min = min, .max = max, .bytes = 1}, close);
    uint32_t inside = grammar_program_node(g, GRAMMAR_READ);
    character(g, inside, r.turn);
    if (!g->failed) {
        g->nodes[inside].text = GRAMMAR_TEXT_JSON;
        g->nodes[r.less].b = inside;
    }
    return read_to(g, '"', '"', grammar_program_outside(g, &r));
}

/* ---- numbers ---- */

/* Between min and max digits, then `to`. */
static uint32_t digits(Grammar *g, int min, int max, uint32_t to) {
    uint32_t next = to;
    for (int i = max; i > 0; i--) {
        uint32_t n = read_to(g, '0', '9', next);
        next = i <= min ? n : either(g, to, n);
    }
    return next;
}

uint32_t grammar_json_number(Grammar *g) {
    if (g->number) return g->number;
    uint32_t end = grammar_program_return(g), exponent = grammar_program_node(g, GRAMMAR_READ);
    uint32_t power = digits(g, 1, MAX_EXPONENT, end), sign = read_to(g, '+', '+', power);
    grammar_program_edge(g, sign, '-', '-', power);
    uint32_t signed_power = either(g, power, sign);
    grammar_program_edge(g, exponent, 'e', 'e', signed_power);
    grammar_program_edge(g, exponent, 'E', 'E', signed_power);
    uint32_t behind = either(g, end, exponent);
    uint32_t point = read_to(g, '.', '.', digits(g, 1, MAX_FRACTION, behind));
    uint32_t whole = either(g, behind, point), start = read_to(g, '0', '0', whole);
    grammar_program_edge(g, start, '1', '9', digits(g, 0, MAX_DIGITS - 1, whole));
    g->number = either(g, start, read_to(g, '-', '-', start));
    return g->number;
}

/* ---- arrays, objects, anything ---- */

/* Behind a member or an item: a comma and the next one, or the closing bracket. */
static uint32_t next_or(Grammar *g, char close, uint32_t next) {
    uint32_t end = read_to(g, (uint8_t)close, (uint8_t)close, grammar_program_return(g));
    return either(g, read_to(g, ',', ',', grammar_json_space(g, next)), grammar_json_space(g, end));
}

/* The opening bracket, then either the closing one or the first. */
static uint32_t open_with(Grammar *g, char open, char close, uint32_t first) {
    uint32_t end = read_to(g, (uint8_t)close, (uint8_t)close, grammar_program_return(g));
    return read_to(g, (uint8_t)open, (uint8_t)open, grammar_json_space(g, either(g, end, first)));
}

uint32_t grammar_json_any_array(Grammar *g) {
    if (g->array) return g->array;
    uint32_t value = grammar_json_value(g);
    if (g->array) return g->array; /* made by the value */
    uint32_t item = grammar_program_call(g, value, 0), after = next_or(g, ']', item);
    if (!g->failed) g->nodes[item].b = after;
    g->array = open_with(g, '[', ']', item);
    return g->array;
}

uint32_t grammar_json_any_object(Grammar *g) {
    if (g->object) return g->object;
    uint32_t value = grammar_json_value(g);
    if (g->object) return g->object;
    uint32_t call = grammar_program_call(g, value, 0), text = grammar_json_text(g);
    uint32_t member = grammar_program_call(g, text, grammar_json_colon(g, call)), after = next_or(g, '}', member);
    if (!g->failed) g->nodes[call].b = after;
    g->object = open_with(g, '{', '}', member);
    return g->object;
}

uint32_t grammar_json_value(Grammar *g) {
    if (g->value || g->failed) return g->value; /* failed: a rule that was not made must not be asked for again */
    uint32_t value = grammar_program_node(g, GRAMMAR_FORK), end = grammar_program_return(g);
    g->value = value;
    grammar_program_fork(g, value, grammar_json_text(g));
    grammar_program_fork(g, value, grammar_json_number(g));
    grammar_program_fork(g, value, grammar_program_bytes(g, "true", 4, end));
    grammar_program_fork(g, value, grammar_program_bytes(g, "false", 5, end));
    grammar_program_fork(g, value, grammar_program_bytes(g, "null", 4, end));
    grammar_program_fork(g, value, grammar_json_any_object(g));
    grammar_program_fork(g, value, grammar_json_any_array(g));
    return value;
}

Grammar *grammar_json_object(Err *err) {
    Grammar *g = MEM_NEW(Grammar, 1);
    if (!g) {
        err_no_memory(err, sizeof *g, "a grammar");
        return NULL;
    }
    uint32_t start = grammar_json_any_object(g);
    if (grammar_program_finish(g, start, err)) {
        grammar_free(g);
        return NULL;
    }
    return g;
}
