/* How fast a model will run: a pure function of what it costs, what the machine can do and how much of it lies in memory.
 *
 * What we expect is what this engine was measured to do (docs/planning.md), not what it should. Of bringing weights from memory and
 * multiplying them the kernels hide only a part of the shorter behind the longer. Per layer
 *   the mixer and the router are computed, while reads run that were guessed in time;
 *   what is missing is read; the shared expert and the others are computed. These two overlap so little, the reads taking a while to
 *   come up to speed and the products of what lands last coming after it, that their sum is the honest estimate.
 * The bounds leave out what an ideal engine could hide. */
#include "engine/engine.h"
#include "forward/forward.h"

#include <math.h>

/* Seconds for `amount` at a rate; 0 of anything takes no time at any rate. */
static double seconds(double amount, double rate) { return amount <= 0 ? 0 : rate > 0 ? amount / rate : INFINITY; }

static double larger(double a, double b) { return a > b ? a : b; }

/* What two things take of which a share of the shorter shows behind the longer, memory and arithmetic in our kernels. */
static double partly_hidden(double a, double b, double shows) { return a > b ? a + shows * b : b + shows * a; }

/* The share that shows, fitted to two shapes on one machine: a quarter where nothing is read, three quarters where a drive that is
 * always busy writes into the same memory, and in between in proportion. */
static const double shows_alone = 0.25, shows_streamed = 0.75, streamed_from = 0.5; /* of the experts missing */

static double shows_at(double hits) {
    double busy = (1 - hits) / streamed_from;
    return shows_alone + (shows_streamed - shows_alone) * (busy < 1 ? busy : 1);
}

static double speed(double s) { return s > 0 && isfinite(s) ? 1 / s : 0; }

/* Under uniform routing a cache hits its share, also below one token's working set: there each layer's floor keeps what it has. */
static double uniform_hits(const sluice_plan *plan) {
    if (plan->experts_total == 0 || plan->cache_slots >= plan->experts_total) return 1;
    return (double)plan->cache_slots / plan->experts_total;
}

/* What one layer of one decoded token takes, in seconds. */
typedef struct Layer {
    double dense_memory, dense;   /* mixer and router: bringing them from memory; computing with them */
    double shared_memory, shared; /* the shared expert */
    double memory, expert;        /* one expert; bringing it takes as long as writing there what was read */
    double read, start;           /* one expert from disk at full rate; what the first read of a layer takes longer */
    double shows;                 /* of the shorter of memory and arithmetic */
} Layer;

static double section(const EngineMachine *m, double bytes, double weights, double rate) {
    return partly_hidden(seconds(bytes, m->dram_bytes_per_s), seconds(weights, rate), shows_streamed);
}

static Layer layer_of(const EngineWork *w, const EngineMachine *m, double position, double hits) {
    double layers = w->layers ? w->layers : 1, record = (double)w->record_bytes;
    double bytes = (double)(w->dense_bytes - w->shared_bytes) + 2 * (double)w->state_bytes + (double)w->kv_bytes_per_position * position;
    double weights = (double)(w->dense_weights - w->shared_weights), part = seconds(record / 3, m->disk_bytes_per_s);
    return (Layer){.dense_memory = seconds(bytes, m->dram_bytes_per_s) / layers,
                   .dense = seconds(weights, m->dense_weights_per_s) / layers,
                   .shared_memory = seconds((double)w->shared_bytes, m->dram_bytes_per_s) / layers,
                   .shared = seconds((double)w->shared_weights, m->dense_weights_per_s) / layers,
                   .memory = seconds(record, m->dram_bytes_per_s),
                   .expert = seconds((double)w->record_weights, m->expert_weights_per_s),
                   .read = seconds(record, m->disk_bytes_per_s),
                   .start = m->disk_read_s > part ? m->disk_read_s - part : 0,
                   .shows = shows_at(hits)};
}

/* How likely exactly `misses` of k experts are not there. */
static double chance(double hits, double k, double misses) {
    if (hits <= 0) return misses == k ? 1 : 0;
    if (hits >= 1) return misses == 0 ? 1 : 0;
    return exp(lgamma(k + 1) - lgamma(misses + 1) - lgamma(k - misses + 1) + (k - misses) * log(hits) + misses * log1p(-hits));
}

/* Of a layer's misses, how many looking ahead names in time, and how many it reads in vain beside them. */
#define GUESSES_READ ((double)FORWARD_GUESSES_READ / FORWARD_GUESSES_OF)
static const double named_ahead = GUESSES_READ * FORWARD_READ_RIGHT / FORWARD_READ_OF;
static const double read_in_vain = GUESSES_READ * (FORWARD_READ_OF - FORWARD_READ_RIGHT) / FORWARD_READ_OF;

/* A layer with so many misses as the engine runs it: with looking ahead where that pays. Then the disk has more to read. */
static double scheduled(const Layer *l, double k, double misses) {
    double dense = partly_hidden(l->dense_memory, l->dense, l->shows);
    double compute = dense + partly_hidden(l->shared_memory, l->shared, l->shows) + k * partly_hidden(l->memory, l->expert, l->shows) +
                     misses * l->memory;
    if (misses <= 0) return compute;
    double reads = misses * l->read, without = compute + l->start + reads;
    double hidden = named_ahead * reads < dense ? named_ahead * reads : dense;
    double with = larger((1 + read_in_vain) * reads, without - hidden);
    return with < without ? with : without;
}

/* The serial bound's definition: dense work, then the slower of miss reads and hit compute. */
static double serial(const Layer *l, double k, double misses) {
    return larger(l->dense_memory, l->dense) + larger(l->shared_memory, l->shared) +
           larger(misses > 0 ? misses * l->read : 0, (k - misses) * larger(l->memory, l->expert));
}

static void decode(const EngineWork *w, const EngineMachine *m, double hits, double position, EnginePrediction *out) {
    double layers = w->layers ? w->layers : 1, k = w->experts_per_token, record = (double)w->record_bytes;
    double all = layers * k * record, missed = (1 - hits) * all;
    out->hit_rate = hits;
    out->bytes_per_token_cold = all;
    out->bytes_per_token = missed;
    out->disk_s = seconds(missed, m->disk_bytes_per_s);
    double traffic = (double)w->dense_bytes + 2 * (double)w->state_bytes + (double)w->kv_bytes_per_position * position + all + missed;
    out->dram_s = seconds(traffic, m->dram_bytes_per_s);
    out->compute_s = seconds((double)w->dense_weights, m->dense_weights_per_s) +
                     seconds(layers * k * (double)w->record_weights, m->expert_weights_per_s);
    double bound = larger(out->disk_s, larger(out->dram_s, out->compute_s));
    out->bound_by = bound == out->disk_s ? "disk" : bound == out->dram_s ? "dram" : "compute";
    Layer l = layer_of(w, m, position, hits);
    double expected_s = 0, serial_s = 0;
    /* layers differ in their misses, and the slower of two things is slower in the mean than the slower of their means */
    for (uint32_t m_of_k = 0; m_of_k <= w->experts_per_token; m_of_k++) {
        double misses = m_of_k, share = chance(hits, k, misses);
        if (share <= 0) continue; /* so that a disk without a rate does not matter where nothing is read */
        expected_s += share * layers * scheduled(&l, k, misses);
        serial_s += share * layers * serial(&l, k, misses);
    }
    out->bound_tok_s = speed(bound);
    out->bound_serial_tok_s = speed(larger(serial_s, bound));
    out->decode_tok_s = speed(larger(expected_s, bound));
}

/* A chunk reads every expert that any of its tokens wants and that is not there once, in ascending order, and computes each as it comes.
 * share: of the experts, how many are there. */
static double prefill_tok_s(const EngineWork *w, const EngineMachine *m, double share, double tokens) {
    double layers = w->layers ? w->layers : 1, experts = w->experts, record = (double)w->record_bytes;
    double wanted = experts > 0 ? experts * (1 - pow(1 - w->experts_per_token / experts, tokens)) : 0;
    double missed = wanted * (1 - share);
    double rate = m->batched_weights_per_s;
    double dense = section(m, (double)(w->dense_bytes - w->head_bytes), tokens * (double)(w->dense_weights - w->head_weights), rate);
    dense += section(m, (double)w->head_bytes, (double)w->head_weights, m->dense_weights_per_s);
    double routed = section(m, (wanted + missed) * record, tokens * w->experts_per_token * (double)w->record_weights, rate);
    double read = seconds(missed * record, m->disk_bytes_per_s);
    return tokens * speed(dense + layers * (read + routed)); /* sums, as above */
}

void engine_predict(const EngineWork *work, const EngineMachine *machine, const sluice_plan *plan, uint32_t chunk, uint32_t position,
                    double hit_rate, EnginePrediction *out) {
    double uniform = uniform_hits(plan);
    double share = plan->experts_total ? (double)plan->cache_slots / plan->experts_total : 1;
    *out = (EnginePrediction){.hit_rate = 0};
    decode(work, machine, hit_rate < 0 ? uniform : hit_rate > 1 ? 1 : hit_rate, position, out);
    out->prefill_tok_s = prefill_tok_s(work, machine, 0, chunk ? chunk : 1);
    out->prefill_warm_tok_s = prefill_tok_s(work, machine, share > 1 ? 1 : share, chunk ? chunk : 1);
}
