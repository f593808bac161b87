/* engine: implements sluice.h. Opens a model under a memory plan, runs sessions, samples, keeps statistics.
 *
 * What this is    the glue between rooms, and the only place where memory is budgeted.
 * Who owns what   a sluice_model owns everything below it; sessions borrow it.
 * What may fail   see sluice.h.
 * Threads         calls on one model must not overlap.
 * Promise         the plan is computed before the large allocations and kept. Checked by tests/unit/test_plan.c and tests/stream/.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "base/base.h"
#include "sluice.h"

/* What the memory plan depends on; all sizes in bytes. */
typedef struct EnginePlanInput {
    uint64_t ram_bytes;     /* the budget */
    uint64_t base_bytes;    /* resident before anything of the plan is allocated */
    uint64_t peak_bytes;    /* most that was ever resident until now */
    uint64_t dense_bytes, state_bytes, kv_bytes, buffers_bytes;
    uint64_t slot_bytes;
    uint32_t experts_total;
    uint32_t slots_wanted;  /* 0: as many as fit */
    uint32_t slots_min;     /* fewer make no sense */
    int threads;
} EnginePlanInput;

/* A pure function: the plan, or a refusal with the smallest budget that would do. */
ErrCode engine_plan(const EnginePlanInput *in, sluice_plan *plan, Err *err);

#endif
