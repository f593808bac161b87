/* The memory plan: a pure function, so that machines we do not own can be planned for in a test. */
#include "engine/engine.h"

#include <string.h>

/* Stacks of our threads and the disk's, page tables of the heap, code that is touched later, the allocator's slack. */
static uint64_t reserve_for(const EnginePlanInput *in) {
    uint64_t reserve = (UINT64_C(3) << 20) + (uint64_t)in->threads * (128 << 10);
    return reserve + in->dense_bytes / 256 + in->text_bytes;
}

ErrCode engine_plan(const EnginePlanInput *in, sluice_plan *plan, Err *err) {
    memset(plan, 0, sizeof *plan);
    plan->ram_bytes = in->ram_bytes;
    plan->base_bytes = in->base_bytes;
    plan->dense_bytes = in->dense_bytes;
    plan->state_bytes = in->state_bytes;
    plan->kv_bytes = in->kv_bytes;
    plan->buffers_bytes = in->buffers_bytes;
    plan->slot_bytes = in->slot_bytes;
    plan->experts_total = in->experts_total;
    plan->reserve_bytes = reserve_for(in);
    uint64_t fixed = plan->base_bytes + plan->dense_bytes + plan->state_bytes + plan->kv_bytes + plan->buffers_bytes + plan->reserve_bytes;
    uint64_t min_slots = in->slots_wanted ? in->slots_wanted : in->slots_min;
    uint64_t least = fixed + min_slots * in->slot_bytes;
    if (least < in->peak_bytes) least = in->peak_bytes;
    if (least > in->ram_bytes) {
        char a[32], b[32], c[32], d[32], e[32], f[32], g[32];
        /* a megabyte to spare: what a process holds when it starts varies a little from run to run */
        uint64_t megabytes = (least >> 20) + 2;
        return err_set(err, ERR_MEMORY,
                       "%s of memory are not enough: this model needs at least --ram %lluM (dense weights %s, keys and values "
                       "at this --ctx %s, recurrent state %s, buffers at this --chunk %s, %llu expert slots %s, tokenising %s, "
                       "the process itself the rest)",
                       format_size(in->ram_bytes, a), (unsigned long long)megabytes, format_size(in->dense_bytes, b),
                       format_size(in->kv_bytes, c), format_size(in->state_bytes, d), format_size(in->buffers_bytes, e),
                       (unsigned long long)min_slots, format_size(min_slots * in->slot_bytes, f), format_size(in->text_bytes, g));
    }
    uint64_t slots = in->slot_bytes ? (in->ram_bytes - fixed) / in->slot_bytes : 0;
    if (in->slots_wanted) slots = in->slots_wanted;
    if (slots > in->experts_total) slots = in->experts_total;
    plan->cache_slots = (uint32_t)slots;
    plan->cache_bytes = slots * in->slot_bytes;
    plan->free_bytes = in->ram_bytes - fixed - plan->cache_bytes;
    return ERR_OK;
}
