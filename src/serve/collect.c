/* The events of a request that does not stream, gathered into one answer. */
#include "serve/collect.h"

#include <string.h>

bool serve_answer_init(ServeAnswer *a, const ServeAsk *ask) {
    *a = (ServeAnswer){.n_choices = ask->n_prompts * (size_t)ask->choices, .n_top = ask->logprobs > 0 ? ask->logprobs : 0};
    a->choices = MEM_NEW(ServeChoice, a->n_choices);
    return a->choices != NULL;
}

void serve_answer_free(ServeAnswer *a) {
    for (size_t i = 0; a->choices && i < a->n_choices; i++) {
        ServeChoice *c = &a->choices[i];
        buf_free(&c->text);
        buf_free(&c->reasoning);
        buf_free(&c->stop);
        for (size_t t = 0; t < c->n_calls; t++) {
            buf_free(&c->calls[t].id);
            buf_free(&c->calls[t].name);
            buf_free(&c->calls[t].arguments);
        }
        mem_free(c->calls);
        mem_free(c->rows);
    }
    mem_free(a->choices);
    *a = (ServeAnswer){0};
}

static void put(Buf *b, Str s) { buf_put(b, s.ptr, s.len); }

static bool add_rows(ServeChoice *c, const ServeEvent *e) {
    size_t stride = 1 + (size_t)e->n_top;
    if (c->n_rows + e->n_rows > c->cap_rows) {
        size_t cap = 2 * (c->n_rows + e->n_rows);
        ServeLikely *more = mem_resize(c->rows, cap * stride, sizeof *more);
        if (!more) return false;
        c->rows = more;
        c->cap_rows = cap;
    }
    if (e->n_rows) memcpy(c->rows + c->n_rows * stride, e->rows, e->n_rows * stride * sizeof *e->rows);
    c->n_rows += e->n_rows;
    return true;
}

static bool add_call(ServeChoice *c, const ServeEvent *e) {
    ServeCall *more = mem_resize(c->calls, c->n_calls + 1, sizeof *more);
    if (!more) return false;
    c->calls = more;
    ServeCall *call = &c->calls[c->n_calls++];
    *call = (ServeCall){{0}, {0}, {0}};
    put(&call->id, e->tool_id);
    put(&call->name, e->tool_name);
    return !call->id.failed && !call->name.failed;
}

bool serve_answer_add(ServeAnswer *a, const ServeEvent *e) {
    if (e->kind == SERVE_DONE) {
        a->usage = e->usage;
        return true;
    }
    if (e->choice < 0 || (size_t)e->choice >= a->n_choices) return true;
    ServeChoice *c = &a->choices[e->choice];
    bool ok = add_rows(c, e);
    switch (e->kind) {
    case SERVE_BEGIN: c->usage = e->usage; break;
    case SERVE_TEXT: put(&c->text, e->text); break;
    case SERVE_REASONING: put(&c->reasoning, e->text); break;
    case SERVE_TOOL_BEGIN: ok = ok && add_call(c, e); break;
    case SERVE_TOOL_ARGS:
        if (e->tool >= 0 && (size_t)e->tool < c->n_calls) put(&c->calls[e->tool].arguments, e->text);
        break;
    case SERVE_FINISH:
        c->finish = e->finish;
        c->usage = e->usage;
        put(&c->stop, e->stop);
        break;
    case SERVE_TOOL_END:
    case SERVE_DONE:
    case SERVE_FAILED: break;
    }
    return ok && !c->text.failed && !c->reasoning.failed;
}
