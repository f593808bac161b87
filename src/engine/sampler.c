/* Sampling: what is allowed, penalties, temperature, top-k, top-p, min-p, one draw.
 *
 * Candidates leave a heap in descending order, ties to the lower id, until the filters say stop: no full sort of a 250,000-token
 * vocabulary. Probabilities are summed in that same order, so a seed gives the same text everywhere. */
#include "engine/inside.h"

#include <math.h>

typedef struct Candidate {
    float logit;
    int32_t id;
} Candidate;

uint64_t engine_sampler_bytes(uint32_t vocab) { return (uint64_t)vocab * (sizeof(Candidate) + sizeof(uint32_t)); }

EngineSampler *engine_sampler_new(uint32_t vocab, uint64_t seed, Err *err) {
    EngineSampler *s = MEM_NEW(EngineSampler, 1);
    if (s) {
        s->vocab = vocab;
        s->heap = MEM_NEW(Candidate, vocab);
        s->counts = MEM_NEW(uint32_t, vocab);
        xoshiro_seed(&s->random, seed);
    }
    if (!s || !s->heap || !s->counts) {
        engine_sampler_free(s);
        err_no_memory(err, engine_sampler_bytes(vocab), "the sampler");
        return NULL;
    }
    return s;
}

void engine_sampler_free(EngineSampler *s) {
    if (!s) return;
    mem_free(s->heap);
    mem_free(s->counts);
    mem_free(s);
}

static bool before(Candidate a, Candidate b) { return a.logit > b.logit || (a.logit == b.logit && a.id < b.id); }

static void sift_down(Candidate *heap, uint32_t n, uint32_t i) {
    Candidate c = heap[i];
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= n) break;
        if (child + 1 < n && before(heap[child + 1], heap[child])) child++;
        if (!before(heap[child], c)) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = c;
}

/* Moves the best of heap[0..n) to heap[n - 1]. */
static void pop_to_end(Candidate *heap, uint32_t n) {
    Candidate best = heap[0];
    heap[0] = heap[n - 1];
    sift_down(heap, n - 1, 0);
    heap[n - 1] = best;
}

static void penalise(EngineSampler *s, const int32_t *history, size_t n, const sluice_sampling *how) {
    if (how->presence == 0 && how->frequency == 0 && (how->repeat == 1 || how->repeat <= 0)) return;
    if (how->penalty_window > 0 && n > (size_t)how->penalty_window) {
        history += n - (size_t)how->penalty_window;
        n = (size_t)how->penalty_window;
    }
    for (size_t i = 0; i < n; i++) s->counts[history[i]]++;
    for (size_t i = 0; i < n; i++) {
        uint32_t count = s->counts[history[i]];
        if (!count) continue; /* already done */
        s->counts[history[i]] = 0;
        float *logit = &s->heap[history[i]].logit;
        if (how->repeat > 0 && how->repeat != 1) *logit = *logit > 0 ? *logit / how->repeat : *logit * how->repeat;
        *logit -= how->presence + how->frequency * (float)count;
    }
}

static int32_t greedy(const Candidate *heap, uint32_t n) {
    Candidate best = heap[0];
    for (uint32_t i = 1; i < n; i++)
        if (before(heap[i], best)) best = heap[i];
    return best.id;
}

/* Leaves only those candidates that are allowed, in ascending order of ids; returns how many. */
static uint32_t keep_allowed(Candidate *heap, uint32_t vocab, const uint32_t *allowed) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < vocab; i++)
        if (allowed[i / 32] >> i % 32 & 1) heap[n++] = heap[i];
    return n;
}

/* ---- drawing ------------------------------------------------------------------------------------------------------- */

/* Candidates that come out of the heap in descending order, as far as they are asked for. */
typedef struct Ranking {
    Candidate *heap; /* [n]; those that have come out stand at its end, the best one last */
    uint32_t n, out;
    float best, temperature;
} Ranking;

/* Number i in descending order. */
static Candidate ranked(Ranking *r, uint32_t i) {
    for (; r->out <= i; r->out++) pop_to_end(r->heap, r->n - r->out);
    return r->heap[r->n - 1 - i];
}

/* The unnormalised probability of a candidate relative to the best one. */
static double weight(const Ranking *r, Candidate c) { return exp(((double)c.logit - (double)r->best) / (double)r->temperature); }

static bool cuts_top_k(const sluice_sampling *how, uint32_t n) { return how->top_k > 0 && (uint32_t)how->top_k < n; }
static bool cuts_top_p(const sluice_sampling *how) { return how->top_p > 0 && how->top_p < 1; }
/* No filter leaves a token out: then no order is needed. */
static bool keeps_all(const sluice_sampling *how, uint32_t n) { return !cuts_top_k(how, n) && !cuts_top_p(how) && !(how->min_p > 0); }

static int32_t draw_of_all(const Ranking *r, Xoshiro *random) {
    double mass = 0;
    for (uint32_t i = 0; i < r->n; i++) mass += weight(r, r->heap[i]);
    double at = xoshiro_unit(random) * mass;
    for (uint32_t i = 0; i < r->n; i++) {
        at -= weight(r, r->heap[i]);
        if (at < 0) return r->heap[i].id;
    }
    return r->heap[0].id; /* rounding left nothing: the best one */
}

/* What top-p refers to: the mass of the k best, or of all. */
static double mass_of(Ranking *r, uint32_t k) {
    double mass = 0;
    for (uint32_t i = 0; i < k; i++) mass += weight(r, k < r->n ? ranked(r, i) : r->heap[i]);
    return mass;
}

/* From the best one down: top-p keeps the smallest set that reaches its share of the mass, min-p what is likely enough. */
static int32_t draw_of_best(Ranking *r, const sluice_sampling *how, Xoshiro *random) {
    uint32_t most = cuts_top_k(how, r->n) ? (uint32_t)how->top_k : r->n, n = 0;
    double mass = mass_of(r, most), enough = cuts_top_p(how) ? mass * (double)how->top_p : INFINITY, kept = 0;
    while (n < most && kept < enough) {
        double w = weight(r, ranked(r, n));
        if (n && how->min_p > 0 && w < (double)how->min_p) break;
        kept += w;
        n++;
    }
    double at = xoshiro_unit(random) * kept;
    for (uint32_t i = 0; i < n; i++) {
        at -= weight(r, ranked(r, i));
        if (at < 0) return ranked(r, i).id;
    }
    return ranked(r, 0).id; /* rounding left nothing: the best one */
}

int32_t engine_sampler_draw(EngineSampler *s, const float *logits, const int32_t *history, size_t n, const sluice_sampling *how,
                            const uint32_t *allowed) {
    Ranking r = {.heap = s->heap, .n = s->vocab, .temperature = how->temperature};
    for (uint32_t i = 0; i < r.n; i++) r.heap[i] = (Candidate){logits[i], (int32_t)i};
    penalise(s, history, n, how);
    if (allowed) r.n = keep_allowed(r.heap, r.n, allowed);
    if (r.n == 0) return -1;
    if (!(how->temperature > 0)) return greedy(r.heap, r.n);
    for (uint32_t i = r.n / 2; i-- > 0;) sift_down(r.heap, r.n, i);
    r.best = r.heap[0].logit;
    return keeps_all(how, r.n) ? draw_of_all(&r, &s->random) : draw_of_best(&r, how, &s->random);
}
