/* The memory plan: a pure function, so that machines we do not own can be planned for in a test. */
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

/* Stacks of our threads and the disk's, page tables of the heap, code that is touched later, the allocator's slack. */
static uint64_t reserve_for(const EnginePlanInput *in) {
    uint64_t reserve = (UINT64_C(3) << 20) + (uint64_t)in->threads * (128 << 10);
    return reserve + in->dense_bytes / 256 + in->text_bytes + in->other_bytes;
}

/* What a process holds when it starts varies a little from run to run: so much more is asked for than was counted. */
static const uint64_t to_spare = UINT64_C(1) << 20;

/* The largest context that this budget would hold, 0 when the context is not what is too much. */
static uint32_t largest_ctx(const EnginePlanInput *in, uint64_t least) {
    if (in->position_bytes == 0 || in->peak_bytes > in->ram_bytes) return 0;
    uint64_t too_many = (least + to_spare - in->ram_bytes) / in->position_bytes + 1;
    uint32_t ctx = too_many < in->ctx ? in->ctx - (uint32_t)too_many : 0;
    return in->ctx_step ? ctx - ctx % in->ctx_step : ctx;
}

static ErrCode refuse(const EnginePlanInput *in, uint64_t least, uint64_t slots, Err *err) {
    char a[32], b[32], c[32], d[32], e[32], f[32], g[32], h[32], i[32], ctx[64] = "", snapshots[64] = "", other[64] = "";
    uint64_t megabytes = ((least + to_spare) >> 20) + 1;
    if (largest_ctx(in, least)) snprintf(ctx, sizeof ctx, ", or at this --ram a --ctx of %u or less", largest_ctx(in, least));
    if (in->snapshot_bytes) snprintf(snapshots, sizeof snapshots, "snapshots %s, ", format_size(in->snapshot_bytes, h));
    if (in->other_bytes) snprintf(other, sizeof other, "requests and connections %s, ", format_size(in->other_bytes, i));
    return err_set(err, ERR_MEMORY,
                   "%s of memory are not enough: this model needs at least --ram %lluM%s (dense weights %s, keys and values "
                   "at this --ctx %s, recurrent state %s, buffers at this --chunk %s, %llu expert slots %s, tokenising %s, %s%s"
                   "the process itself the rest)",
                   format_size(in->ram_bytes, a), (unsigned long long)megabytes, ctx, format_size(in->dense_bytes, b),
                   format_size(in->kv_bytes, c), format_size(in->state_bytes, d), format_size(in->buffers_bytes, e),
                   (unsigned long long)slots, format_size(slots * in->slot_bytes, f), format_size(in->text_bytes, g), snapshots, other);
}

/* A sixteenth stays for everybody else and for the page cache: at least 256 MiB, or half of a machine that hardly has them, and at
 * most 8 GiB, for what others need does not grow with the machine. */
uint64_t engine_default_budget(uint64_t left) {
    uint64_t reserve = left / 16;
    if (reserve < (UINT64_C(256) << 20)) reserve = UINT64_C(256) << 20;
    if (reserve > (UINT64_C(8) << 30)) reserve = UINT64_C(8) << 30;
    return left > 2 * reserve ? left - reserve : left / 2;
}

ErrCode engine_plan(const EnginePlanInput *in, sluice_plan *plan, Err *err) {
    memset(plan, 0, sizeof *plan);
    plan->ram_bytes = in->ram_bytes;
    plan->base_bytes = in->base_bytes;
    plan->dense_bytes = in->dense_bytes;
    plan->state_bytes = in->state_bytes;
    plan->kv_bytes = in->kv_bytes;
    plan->buffers_bytes = in->buffers_bytes;
    plan->snapshot_bytes = in->snapshot_bytes;
    plan->slot_bytes = in->slot_bytes;
    plan->experts_total = in->experts_total;
    plan->reserve_bytes = reserve_for(in);
    uint64_t fixed = plan->base_bytes + plan->dense_bytes + plan->state_bytes + plan->kv_bytes + plan->buffers_bytes +
                     plan->snapshot_bytes + plan->reserve_bytes;
    uint64_t min_slots = in->slots_wanted ? in->slots_wanted : in->slots_min;
    uint64_t least = fixed + min_slots * in->slot_bytes;
    if (least < in->peak_bytes) least = in->peak_bytes;
    if (least > in->ram_bytes) return refuse(in, least, min_slots, err);
    uint64_t slots = in->slot_bytes ? (in->ram_bytes - fixed) / in->slot_bytes : 0;
    if (in->slots_wanted) slots = in->slots_wanted;
    if (slots > in->experts_total) slots = in->experts_total;
    plan->cache_slots = (uint32_t)slots;
    plan->cache_bytes = slots * in->slot_bytes;
    plan->free_bytes = in->ram_bytes - fixed - plan->cache_bytes;
    return ERR_OK;
}
