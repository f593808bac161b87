/* The plan as text and as JSON. */
#include "cli/io.h"
#include "cli/plan.h"

#include <stdio.h>
#include <string.h>

static const char *size_of(uint64_t bytes, char out[32]) { return format_size(bytes, out); }

static double percent(const sluice_plan *p) { return p->experts_total ? 100.0 * p->cache_slots / p->experts_total : 0; }

static void print_term(const char *what, uint64_t bytes, const char *note) {
    char a[32];
    out_printf("  %-22s %10s   %s\n", what, size_of(bytes, a), note);
}

static void print_memory(const Planner *p) {
    const PlanRow *r = &p->own;
    const sluice_plan *m = &r->plan;
    char a[32], note[128];
    out_printf("%s, %s of memory for the process\n\n", p->name, size_of(r->ram_bytes, a));
    if (!r->fits) out_printf("It does not fit: %s.\n\n", r->why);
    out_printf("memory\n");
    print_term("dense weights", m->dense_bytes, "all that is no routed expert, the embedding included");
    snprintf(note, sizeof note, "keys and values of %u positions (--ctx)", engine_sketch_ctx(p->sketch));
    print_term("keys and values", m->kv_bytes, note);
    print_term("recurrent state", m->state_bytes, "");
    snprintf(note, sizeof note, "activations of %u tokens (--chunk), logits, %d threads", r->chunk, p->threads);
    print_term("buffers", m->buffers_bytes, note);
    if (m->snapshot_bytes) print_term("snapshots", m->snapshot_bytes, "states of earlier conversations (--state-ram)");
    print_term("the process itself", m->base_bytes, p->forge ? "code, tables, a usual tokenizer (estimated)" : "code, tables, tokenizer");
    print_term("kept free", m->reserve_bytes, "stacks, the allocator, tokenising");
    if (!r->fits) return;
    snprintf(note, sizeof note, "%u of %u experts (%.1f %%), %s each", m->cache_slots, m->experts_total, percent(m),
             size_of(m->slot_bytes, a));
    print_term("expert cache", m->cache_bytes, note);
    if (m->free_bytes > m->slot_bytes) print_term("left over", m->free_bytes, "every expert has its place");
}

static void print_machine(const Planner *p) {
    const EngineMachine *m = &p->machine;
    out_printf("\nmachine\n");
    out_printf("  disk       %6.2f GB/s, %.2f ms for one read (%s)\n", m->disk_bytes_per_s * 1e-9, m->disk_read_s * 1e3, p->disk_from);
    out_printf("  memory     %6.1f GB/s (%s)\n", m->dram_bytes_per_s * 1e-9, p->dram_from);
    out_printf("  arithmetic %6.1f billion dense weights/s, %.1f of experts, %.1f with many tokens, %d threads (%s)\n",
               m->dense_weights_per_s * 1e-9, m->expert_weights_per_s * 1e-9, m->batched_weights_per_s * 1e-9, m->threads, p->compute_from);
}

static void print_speed(const Planner *p) {
    const EnginePrediction *s = &p->own.speed;
    if (!p->own.fits) return;
    if (p->trace)
        out_printf("\nspeed, with the hit rate of %s: its %llu tokens replayed through this cache (%s)\n", opt_text(p->o, OPT_RECORDED, ""),
                   (unsigned long long)p->trace->n_tokens, cache_policy_name(p->policy));
    else
        out_puts("\nspeed, when every expert is used equally often (the worst case: real text reuses experts; -f TRACE tells how often)\n");
    out_printf("  decode     %.2f tokens/s expected, at position %u; %.0f %% of the experts from memory, %.2f GB per token from disk\n",
               s->decode_tok_s, p->position, 100 * s->hit_rate, s->bytes_per_token * 1e-9);
    out_printf("             a token needs %.0f ms of disk, %.0f ms of memory, %.0f ms of arithmetic: %s binds\n", s->disk_s * 1e3,
               s->dram_s * 1e3, s->compute_s * 1e3, s->bound_by);
    out_printf("             no engine could exceed %.2f tokens/s, or %.2f where nothing is hidden across layers\n", s->bound_tok_s,
               s->bound_serial_tok_s);
    out_printf("  prefill    %.1f tokens/s expected of %u tokens (--chunk) with no expert in memory yet, %.1f with a full cache\n",
               s->prefill_tok_s, p->own.chunk, s->prefill_warm_tok_s);
    out_printf("  wear       reading does not wear an SSD; sluice writes 0 bytes per hour while it answers\n");
}

static void print_row(const char *what, const PlanRow *r, const char *mark) {
    if (!r->fits) out_printf("  %-10s  does not fit%s\n", what, mark);
    else
        out_printf("  %-10s %9.1f %% %10.2f %10.1f %10.2f  %s%s\n", what, percent(&r->plan), r->speed.decode_tok_s, r->speed.prefill_tok_s,
                   r->speed.bound_tok_s, r->speed.bound_by, mark);
}

void plan_print(const Planner *p) {
    char a[32], b[48];
    print_memory(p);
    print_machine(p);
    print_speed(p);
    out_printf("\nmemory        in cache     decode    prefill      bound  binds     (tokens/s, everything else the same)\n");
    for (int i = 0; i < p->n_ram; i++)
        print_row(size_of(p->by_ram[i].ram_bytes, a), &p->by_ram[i], p->by_ram[i].ram_bytes == p->own.ram_bytes ? "   <" : "");
    out_printf("\nexperts as    in cache     decode    prefill      bound  binds     (with arithmetic as fast as that of this type)\n");
    for (int i = 0; i < p->n_types; i++) {
        snprintf(b, sizeof b, "   %s of experts", size_of(p->type_bytes[i], a));
        print_row(quant_traits(p->types[i])->name, &p->by_type[i], b);
    }
}

/* ---- JSON ---- */

static json_t *row_json(const PlanRow *r) {
    return json_pack("{s:I,s:b,s:i,s:f,s:f,s:f,s:f,s:f,s:s}", "ram_bytes", (json_int_t)r->ram_bytes, "fits", r->fits, "cache_slots",
                     (int)r->plan.cache_slots, "resident_share", percent(&r->plan) / 100, "predicted_hit_rate", r->speed.hit_rate,
                     "predicted_decode_tok_s", r->speed.decode_tok_s, "predicted_prefill_tok_s", r->speed.prefill_tok_s, "bound_tok_s",
                     r->speed.bound_tok_s, "bound_by", r->speed.bound_by);
}

static json_t *machine_json(const Planner *p) {
    const EngineMachine *m = &p->machine;
    return json_pack("{s:f,s:f,s:f,s:f,s:f,s:f,s:i,s:s,s:s,s:s}", "disk_bytes_per_s", m->disk_bytes_per_s, "disk_read_s", m->disk_read_s,
                     "dram_bytes_per_s", m->dram_bytes_per_s, "dense_weights_per_s", m->dense_weights_per_s, "expert_weights_per_s",
                     m->expert_weights_per_s, "batched_weights_per_s", m->batched_weights_per_s, "threads", m->threads, "disk_from",
                     p->disk_from, "dram_from", p->dram_from, "compute_from", p->compute_from);
}

static json_t *own_json(const Planner *p) {
    const PlanRow *r = &p->own;
    const sluice_plan *m = &r->plan;
    const EnginePrediction *s = &r->speed;
    json_t *o = json_pack("{s:b,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f}", "fits", r->fits, "why", r->why, "ram_bytes",
                          (json_int_t)r->ram_bytes, "dense_bytes", (json_int_t)m->dense_bytes, "state_bytes", (json_int_t)m->state_bytes,
                          "kv_bytes", (json_int_t)m->kv_bytes, "buffers_bytes", (json_int_t)m->buffers_bytes, "cache_bytes",
                          (json_int_t)m->cache_bytes, "cache_slots", (json_int_t)m->cache_slots, "experts_total",
                          (json_int_t)m->experts_total, "slot_bytes", (json_int_t)m->slot_bytes, "resident_share", percent(m) / 100);
    const char *trace = opt_text(p->o, OPT_RECORDED, "uniform");
    json_t *more = json_pack("{s:o,s:f,s:f,s:f,s:o,s:f,s:f,s:s,s:f,s:s,s:f,s:f,s:f,s:f,s:f}", "model", json_text(p->name, strlen(p->name)),
                             "bytes_per_token_cold", s->bytes_per_token_cold, "bytes_per_token", s->bytes_per_token,
                             "predicted_hit_rate", s->hit_rate, "hit_rate_from", json_text(trace, strlen(trace)),
                             "predicted_decode_tok_s", s->decode_tok_s, "predicted_prefill_tok_s", s->prefill_tok_s, "prefill_cache",
                             "empty", "predicted_prefill_warm_tok_s", s->prefill_warm_tok_s, "bound_by", s->bound_by, "bound_tok_s",
                             s->bound_tok_s, "bound_serial_tok_s", s->bound_serial_tok_s, "disk_s", s->disk_s, "dram_s", s->dram_s,
                             "compute_s", s->compute_s);
    json_t *rest = json_pack("{s:I,s:I,s:I,s:I,s:i,s:i,s:i,s:i}", "snapshot_bytes",
                             (json_int_t)m->snapshot_bytes, "base_bytes", (json_int_t)m->base_bytes, "reserve_bytes",
                             (json_int_t)m->reserve_bytes, "free_bytes", (json_int_t)m->free_bytes, "threads", p->threads, "ctx",
                             (int)engine_sketch_ctx(p->sketch), "chunk", (int)r->chunk, "bytes_written_per_hour", 0);
    if (json_object_update(o, more) != 0 || json_object_update(o, rest) != 0) {
        json_decref(o);
        o = NULL;
    }
    json_decref(more);
    json_decref(rest);
    return o;
}

json_t *plan_json(const Planner *p) {
    json_t *o = own_json(p), *ram = json_array(), *types = json_array();
    bool good = o && ram && types && json_object_set_new(o, "machine", machine_json(p)) == 0;
    for (int i = 0; good && i < p->n_ram; i++) good = json_array_append_new(ram, row_json(&p->by_ram[i])) == 0;
    for (int i = 0; good && i < p->n_types; i++) {
        json_t *row = row_json(&p->by_type[i]);
        good = row && json_object_set_new(row, "type", json_string(quant_traits(p->types[i])->name)) == 0 &&
               json_object_set_new(row, "experts_bytes", json_integer((json_int_t)p->type_bytes[i])) == 0;
        good = json_array_append_new(types, row) == 0 && good;
    }
    good = good && json_object_set(o, "by_ram", ram) == 0 && json_object_set(o, "by_type", types) == 0;
    json_decref(ram);
    json_decref(types);
    if (good) return o;
    json_decref(o);
    return NULL;
}
