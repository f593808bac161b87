/* Looking ahead: while this layer's experts are read and multiplied, the next layer's own router is asked about the residual stream
 * as it is now, and what it names is hinted to the store. What the stream still lacks, this layer's routed experts and the next
 * mixer, changes little of it: most of the guesses are right (docs/experiments.md).
 *
 * A step of many tokens needs no guess: the next layer will want nearly every expert it has. They are hinted in ascending order, the
 * order in which they will be taken, so that the disk does not stand still during the next mixer.
 *
 * A guess decides only what is read early. The layer routes afresh when its time comes, so no bit of an answer depends on this
 * file, on the clock, or on what the store made of a hint. The last layer has nothing to look at: the next token's first layer
 * depends on a token that is not chosen yet. */
#include "forward/inside.h"

#include <stdio.h>
#include <string.h>

static const uint32_t no_layer = UINT32_MAX;

/* Picks per expert from which on nearly all are wanted: were they drawn evenly, 1 - e^-4 = 98 % of them. */
enum { SWEEP_PICKS = 4, SWEEP_EVERY = 4 };

static uint64_t bytes_read(const Forward *f) {
    StoreStats stats;
    store_stats(f->c.store, &stats);
    return stats.bytes_read;
}

void forward_ahead_new(Forward *f) {
    Ahead *a = &f->ahead;
    for (uint32_t e = 0; f->c.lookahead != FORWARD_AHEAD_OFF && e < f->s->n_experts; e++) a->all[e] = (int32_t)e;
    if (f->c.lookahead == FORWARD_AHEAD_AUTO) forward_pays_text(&a->pays[0], a->text, sizeof a->text);
    else snprintf(a->text, sizeof a->text, "%s", f->c.lookahead == FORWARD_AHEAD_ON ? "on" : "off");
}

/* Nothing is guessed where nothing is read: with every expert in memory looking ahead costs not one instruction per layer. */
void forward_ahead_begin(Forward *f) {
    Ahead *a = &f->ahead;
    a->layer = no_layer;
    a->sweep = f->c.lookahead != FORWARD_AHEAD_OFF && (uint64_t)f->n * f->c.top_k >= (uint64_t)SWEEP_PICKS * f->s->n_experts;
    a->now = forward_few(f) && a->reading && (f->c.lookahead == FORWARD_AHEAD_ON ||
                                              (f->c.lookahead == FORWARD_AHEAD_AUTO && forward_pays_next(&a->pays[f->n > 1])));
    a->bytes_before = bytes_read(f);
    a->spent_before = forward_spent(f);
}

/* whole: the step came to its end, so that its time counts. */
void forward_ahead_end(Forward *f, bool whole) {
    Ahead *a = &f->ahead;
    a->reading = bytes_read(f) != a->bytes_before;
    if (!whole || !forward_few(f) || !a->reading || f->c.lookahead != FORWARD_AHEAD_AUTO) return;
    ForwardPays *pays = &a->pays[f->n > 1];
    if (forward_pays_token(pays, (forward_spent(f) - a->spent_before) / f->n)) forward_pays_text(pays, a->text, sizeof a->text);
}

/* The k largest, largest first; a logit that is not a number is never larger. */
static uint32_t best(const float *logits, uint32_t n, int32_t *ids, uint32_t k) {
    uint32_t have = 0;
    for (uint32_t e = 0; e < n; e++) {
        if (!(have < k || logits[e] > logits[ids[have - 1]])) continue;
        uint32_t at = have < k ? have++ : k - 1;
        for (; at > 0 && logits[e] > logits[ids[at - 1]]; at--) ids[at] = ids[at - 1];
        ids[at] = (int32_t)e;
    }
    return have;
}

static uint32_t worth_reading(uint32_t guesses) { return (FORWARD_GUESSES_READ * guesses + FORWARD_GUESSES_OF - 1) / FORWARD_GUESSES_OF; }

/* What all tokens think likeliest comes first; each expert once. Returns how many. */
static uint32_t merge(Ahead *a, uint32_t tokens, uint32_t k) {
    uint32_t n = 0;
    for (uint32_t rank = 0; rank < worth_reading(a->n); rank++)
        for (uint32_t t = 0; t < tokens; t++) {
            int32_t expert = a->guess[t * k + rank];
            uint32_t i = 0;
            while (i < n && a->hint[i] != expert) i++;
            if (i == n) a->hint[n++] = expert;
        }
    return n;
}

void forward_ahead_guess(Forward *f, uint32_t layer_index) {
    Ahead *a = &f->ahead;
    if (!a->now || layer_index + 1 >= f->s->n_layers) return;
    const ModelLayer *next = &f->c.model->layers[layer_index + 1];
    uint32_t hidden = f->s->hidden, n_experts = f->s->n_experts, k = f->c.top_k;
    KernelsActs acts[FEW_TOKENS];
    for (uint32_t t = 0; t < f->n; t++) {
        float *x = a->x + (uint64_t)t * hidden;
        memcpy(x, f->x + (uint64_t)t * hidden, hidden * sizeof *x);
        if (f->s->shared_inner) f->c.kernels->axpy(x, f->experts.shared_out + (uint64_t)t * hidden, f->route.shared_w[t], hidden);
        f->c.kernels->rms_norm(x, x, next->norm_post, f->s->eps, hidden);
        acts[t] = (KernelsActs){.x = x};
    }
    forward_matmul(f, &next->router, acts, f->n, a->router, n_experts);
    for (uint32_t t = 0; t < f->n; t++) a->n = best(a->router + (uint64_t)t * n_experts, n_experts, a->guess + (uint64_t)t * k, k);
    a->layer = layer_index + 1;
    Section section = forward_enter(f, SECTION_STORE);
    store_hint(f->c.store, (int)a->layer, a->hint, (int)merge(a, f->n, k));
    forward_enter(f, section);
}

void forward_ahead_advance(Forward *f) {
    if (!f->ahead.now) return;
    Section section = forward_enter(f, SECTION_STORE);
    store_advance(f->c.store);
    forward_enter(f, section);
}

/* The store begins nothing before every expert of this layer has its slot and its reads; then the disk has time. So it is asked now and
 * then, and a last time, until its queue for hints is full. */
void forward_ahead_sweep(Forward *f, uint32_t layer_index, uint32_t done, uint32_t n_wanted) {
    Ahead *a = &f->ahead;
    if (!a->sweep || layer_index + 1 >= f->s->n_layers || (done % SWEEP_EVERY && done < n_wanted)) return;
    while (store_hint(f->c.store, (int)layer_index + 1, a->all, (int)f->s->n_experts) > 0) continue;
}

void forward_ahead_check(Forward *f, uint32_t layer_index) {
    Ahead *a = &f->ahead;
    if (a->layer != layer_index) return;
    uint32_t k = f->c.top_k;
    a->guesses.wanted += (uint64_t)f->n * k;
    for (uint32_t i = 0; i < f->n * k; i++)
        for (uint32_t g = 0; g < a->n; g++) a->guesses.right += f->route.top_ids[i] == a->guess[i / k * k + g];
    a->layer = no_layer;
}

void forward_guesses(const Forward *f, ForwardGuesses *guesses) { *guesses = f->ahead.guesses; }

const char *forward_lookahead(const Forward *f) { return f->ahead.text; }
