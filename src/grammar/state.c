/* What a caller holds: a place in a text. */
#include "grammar/program.h"

GrammarState *grammar_state_new(const Grammar *g, Err *err) {
    GrammarState *s = MEM_NEW(GrammarState, 1);
    if (s) s->machine = grammar_machine_new(g);
    if (!s || !s->machine) {
        grammar_state_free(s);
        err_no_memory(err, sizeof *s + grammar_machine_bytes(), "the state of a grammar");
        return NULL;
    }
    s->g = g;
    grammar_machine_begin(s->machine, &s->now);
    return s;
}

void grammar_state_set(GrammarState *to, const GrammarState *from) { grammar_machine_copy(&to->now, &from->now); }

void grammar_state_free(GrammarState *s) {
    if (s) grammar_machine_free(s->machine);
    mem_free(s);
}

bool grammar_accept(GrammarState *s, const char *bytes, size_t n) {
    const GrammarPlace *at = &s->now;
    for (size_t i = 0; i < n; i++) {
        if (!grammar_machine_step(s->machine, at, (uint8_t)bytes[i], &s->next[i & 1])) return false;
        at = &s->next[i & 1];
    }
    if (n > 0) grammar_machine_copy(&s->now, at);
    return true;
}

bool grammar_may_end(const GrammarState *s) { return grammar_machine_may_end(&s->now); }

uint32_t grammar_shortest_end(const GrammarState *s) { return grammar_program_shortest(s->g, &s->now); }
