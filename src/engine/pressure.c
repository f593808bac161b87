/* When the expert cache shrinks because memory is short, and when it grows back: a pure function, so that hours of pressure can be
 * played in a test. docs/memory.md tells it in words. */
#include "engine/engine.h"

#define MIB (UINT64_C(1) << 20)
#define SECOND UINT64_C(1000000000)

static const double worth_a_step = 0.10;           /* of the time stalled */
static const uint64_t settle_ns = SECOND;          /* what a step has freed shows after this */
static const uint64_t calm_ns = 30 * SECOND;       /* so long nothing may be short before the cache grows */
static const uint64_t longest_calm_ns = 480 * SECOND;

void engine_pressure_init(EnginePressure *p, const sluice_plan *plan, uint32_t slots_min) {
    uint32_t slots = plan->cache_slots, least = slots / 16;
    if (least < slots_min) least = slots_min;
    uint64_t fixed = plan->base_bytes + plan->dense_bytes + plan->state_bytes + plan->kv_bytes + plan->buffers_bytes +
                     plan->snapshot_bytes;
    *p = (EnginePressure){.fixed_bytes = fixed, .slot_bytes = plan->slot_bytes, .planned = slots, .now = slots,
                          .least = least < slots ? least : slots, .slots_min = slots_min < slots ? slots_min : slots,
                          .patience_ns = calm_ns};
}

/* Below this is short: a 128th of what there is, so 64 MiB of 8 GiB. */
static uint64_t low_mark(uint64_t of) {
    uint64_t low = of / 128;
    return low < 256 * MIB ? low : 256 * MIB;
}

uint32_t engine_pressure_begin(EnginePressure *p, const OsPressureReading *r, uint64_t fixed_bytes) {
    uint64_t least = fixed_bytes + p->slots_min * p->slot_bytes, all = fixed_bytes + p->planned * p->slot_bytes, low = low_mark(r->of);
    if (r->room < least && r->room + r->swap_left < least) return 0;
    p->now = p->planned;
    if (r->room >= all) return p->now;
    /* so many that it is not short at once */
    uint64_t slots = r->room > fixed_bytes + low ? (r->room - fixed_bytes - low) / p->slot_bytes : 0;
    return p->now = slots > p->slots_min ? (uint32_t)slots : p->slots_min;
}

static uint32_t share_of(uint32_t slots, uint32_t part) { return slots / part ? slots / part : 1; }

/* The share of the time since the last reading in which something waited for memory, smoothed over about a second. */
static void follow_stalls(EnginePressure *p, const OsPressureReading *r, uint64_t took_ns) {
    uint64_t stalled_ns = (r->stalled_us - p->last.stalled_us) * 1000;
    double share = r->stalled_us > p->last.stalled_us && took_ns ? (double)stalled_ns / (double)took_ns : 0;
    double weight = took_ns < SECOND ? (double)took_ns / (double)SECOND : 1;
    p->stalled += weight * ((share < 1 ? share : 1) - p->stalled);
    if (p->stalled < 0.01) p->stalls_are_not_ours = false;
}

/* By how many slots the cache must shrink; 0: nothing is short. */
static uint32_t shortage(EnginePressure *p, const OsPressureReading *r) {
    uint64_t low = low_mark(r->of), mark = r->limit_hits > p->last.limit_hits ? 2 * low : low;
    if (r->room < mark) { /* so far that it is not short again at once */
        uint64_t slots = (3 * low - r->room) / p->slot_bytes + 1;
        uint32_t some = share_of(p->planned, 16);
        return slots > p->planned ? p->planned : slots > some ? (uint32_t)slots : some;
    }
    if (r->swapped > p->swapped + p->planned * p->slot_bytes / 64) {
        p->swapped = r->swapped;
        return share_of(p->planned, 8);
    }
    if (p->stalled >= worth_a_step && r->room < 8 * low && !p->stalls_are_not_ours) return share_of(p->planned, 8);
    return 0;
}

/* Page cache that we fill ourselves makes others wait too, and a smaller cache does not help them: a step because of stalls that
 * changed nothing is the last one until they are over. */
static void judge_last_step(EnginePressure *p) {
    if (p->stalled_before > 0 && p->stalled > p->stalled_before / 2) p->stalls_are_not_ours = true;
    p->stalled_before = 0;
}

/* What of our own is planned, beside the cache, and not touched yet: nobody else sees that it will be taken. */
static uint64_t owed(const EnginePressure *p, const OsPressureReading *r, uint32_t used) {
    uint64_t cache = used * p->slot_bytes, fixed = r->resident > cache ? r->resident - cache : 0;
    return p->fixed_bytes > fixed ? p->fixed_bytes - fixed : 0;
}

/* Fills no more slots before it is short: what others have planned and not touched yet shows as little as what we have. */
static void stop_filling(EnginePressure *p, const OsPressureReading *r, uint32_t used, uint64_t now_ns) {
    uint32_t to = used > p->least ? used : p->least;
    if (to >= p->now || r->room >= 3 * low_mark(r->of) + owed(p, r, used)) return;
    p->now = to;
    p->calm_since_ns = now_ns;
}

static void shrink(EnginePressure *p, uint32_t by, uint32_t used, uint64_t now_ns) {
    uint32_t from = used < p->now ? used : p->now; /* slots that were never filled hold no memory */
    uint32_t to = from > by + p->least ? from - by : p->least;
    p->calm_since_ns = p->shrunk_ns = now_ns;
    if (p->grown_ns && now_ns - p->grown_ns < 2 * p->patience_ns) { /* it had grown too soon */
        p->patience_ns *= 2;
        if (p->patience_ns > longest_calm_ns) p->patience_ns = longest_calm_ns;
    }
    p->grown_ns = 0;
    if (to >= p->now) return;
    p->now = to;
    p->stalled_before = p->stalled >= worth_a_step ? p->stalled : 0;
}

/* A step up needs room for itself, for slots that may still be filled, and for not being short at once; all of that for a while. */
static void grow(EnginePressure *p, const OsPressureReading *r, uint32_t used, uint64_t now_ns) {
    uint32_t by = share_of(p->planned, 16);
    if (by > p->planned - p->now) by = p->planned - p->now;
    uint64_t unfilled = used < p->now ? (p->now - used) * p->slot_bytes : 0;
    uint64_t needed = 4 * low_mark(r->of) + owed(p, r, used) + unfilled + by * p->slot_bytes;
    if (p->stalled >= 0.01 || r->room < needed) p->calm_since_ns = now_ns;
    if (by == 0 || now_ns - p->calm_since_ns < p->patience_ns) return;
    p->now += by;
    p->grown_ns = now_ns;
    p->calm_since_ns = now_ns - p->patience_ns * 2 / 3; /* the next step comes sooner */
}

uint32_t engine_pressure_step(EnginePressure *p, const OsPressureReading *r, uint32_t used, uint64_t now_ns) {
    if (p->read_ns == 0) {
        p->swapped = r->swapped;
        p->calm_since_ns = now_ns;
    } else {
        follow_stalls(p, r, now_ns - p->read_ns);
        if (now_ns - p->shrunk_ns >= settle_ns) {
            judge_last_step(p);
            uint32_t by = shortage(p, r);
            if (by) shrink(p, by, used, now_ns);
            else grow(p, r, used, now_ns);
        }
        stop_filling(p, r, used, now_ns);
    }
    p->read_ns = now_ns;
    p->last = *r;
    return p->now;
}
