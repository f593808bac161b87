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

/* The unnormalised probability of a candidate relative to the best one. */
static double weight(Candidate c, float best, float temperature) { return exp(((double)c.logit - (double)best) / (double)temperature); }

int32_t engine_sampler_draw(EngineSampler *s, const float *logits, const int32_t *history, size_t n, const sluice_sampling *how,
                            const uint32_t *allowed) {
    Candidate *heap = s->heap;
    uint32_t vocab = s->vocab;
    for (uint32_t i = 0; i < vocab; i++) heap[i] = (Candidate){logits[i], (int32_t)i};
    penalise(s, history, n, how);
    if (allowed) vocab = keep_allowed(heap, vocab, allowed);
    if (vocab == 0) return -1;
    if (!(how->temperature > 0)) return greedy(heap, vocab);

    for (uint32_t i = vocab / 2; i-- > 0;) sift_down(heap, vocab, i);
    float best = heap[0].logit;
    uint32_t most = how->top_k > 0 && (uint32_t)how->top_k < vocab ? (uint32_t)how->top_k : vocab;

    /* the mass that top-p refers to: of the k best, or of the whole vocabulary */
    uint32_t taken = 0;
    double mass = 0;
    if (most < vocab) {
        for (; taken < most; taken++) {
            pop_to_end(heap, vocab - taken);
            mass += weight(heap[vocab - 1 - taken], best, how->temperature);
        }
    } else {
        for (uint32_t i = 0; i < vocab; i++) mass += weight(heap[i], best, how->temperature);
    }
    /* walk down from the best; top-p keeps the smallest set that reaches its mass, min-p what is likely enough */
    bool cut_p = how->top_p > 0 && how->top_p < 1;
    bool whole = !cut_p && !(how->min_p > 0) && most == vocab; /* nothing is cut: no order is needed */
    double kept = 0, target = cut_p ? mass * (double)how->top_p : INFINITY;
    uint32_t n_kept = 0;
    while (!whole && n_kept < most) {
        if (n_kept == taken) {
            pop_to_end(heap, vocab - taken);
            taken++;
        }
        double w = weight(heap[vocab - 1 - n_kept], best, how->temperature);
        if (n_kept && how->min_p > 0 && w < (double)how->min_p) break;
        kept += w;
        n_kept++;
        if (kept >= target) break;
    }
    if (whole) {
        kept = mass;
        n_kept = vocab;
    }
    double at = xoshiro_unit(&s->random) * kept;
    for (uint32_t i = 0; i < n_kept; i++) {
        Candidate c = whole ? heap[i] : heap[vocab - 1 - i];
        at -= weight(c, best, how->temperature);
        if (at < 0) return c.id;
    }
    return heap[whole ? 0 : vocab - 1].id; /* rounding left nothing: the best one */
}
