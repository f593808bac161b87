/* What bench measured, as one JSON object. Numbers are medians of the repetitions where nothing else is said. */
#include "cli/bench.h"
#include "cli/io.h"

#include <stdio.h>
#include <string.h>

static void put(json_t *o, const char *name, json_t *value) { (void)json_object_set_new(o, name, value); }
static void put_real(json_t *o, const char *name, double value) { put(o, name, json_real(value)); }
static void put_int(json_t *o, const char *name, uint64_t value) { put(o, name, json_integer((json_int_t)value)); }

/* name, and with_extremes name_min and name_max beside it */
static void put_spread(json_t *o, const char *name, const Bench *b, BenchValue *value, bool with_extremes) {
    Spread s = bench_spread(b, value);
    char longer[64];
    put_real(o, name, s.median);
    if (!with_extremes) return;
    snprintf(longer, sizeof longer, "%s_min", name);
    put_real(o, longer, s.min);
    snprintf(longer, sizeof longer, "%s_max", name);
    put_real(o, longer, s.max);
}

static json_t *plan_json(const sluice_plan *p) {
    json_t *o = json_object();
    put(o, "fits", json_true());
    put_int(o, "ram_bytes", p->ram_bytes);
    put_int(o, "base_bytes", p->base_bytes);
    put_int(o, "dense_bytes", p->dense_bytes);
    put_int(o, "state_bytes", p->state_bytes);
    put_int(o, "kv_bytes", p->kv_bytes);
    put_int(o, "buffers_bytes", p->buffers_bytes);
    put_int(o, "snapshot_bytes", p->snapshot_bytes);
    put_int(o, "cache_bytes", p->cache_bytes);
    put_int(o, "cache_slots", p->cache_slots);
    put_int(o, "slot_bytes", p->slot_bytes);
    put_int(o, "experts_total", p->experts_total);
    put_real(o, "resident_share", p->experts_total ? (double)p->cache_slots / p->experts_total : 0);
    put_int(o, "reserve_bytes", p->reserve_bytes);
    put_int(o, "free_bytes", p->free_bytes);
    return o;
}

static void put_speed(json_t *o, const Bench *b) {
    put_spread(o, "prefill_tok_s", b, bench_prefill_tok_s, true);
    put_spread(o, "decode_tok_s", b, bench_decode_tok_s, true);
    put_spread(o, "ttft_ms", b, bench_ttft_ms, false);
    put_spread(o, "bound_tok_s", b, bench_bound, false);
    put_spread(o, "bound_serial_tok_s", b, bench_bound_serial, false);
    put_spread(o, "bound_serial_probed_tok_s", b, bench_bound_serial_probed, false);
    put_spread(o, "bound_disk_tok_s", b, bench_disk_bound, false);
    put_spread(o, "bound_dram_tok_s", b, bench_dram_bound, false);
    put_spread(o, "bound_compute_tok_s", b, bench_compute_bound, false);
    put(o, "bound_by", json_string(b->bounds[b->reps / 2].bound_by));
    bool disturbed = false;
    for (int r = 0; r < b->reps; r++) disturbed = disturbed || b->bounds[r].disturbed;
    put(o, "probes_disturbed", json_boolean(disturbed));
    put_spread(o, "of_bound_serial", b, bench_of_serial, true);
    put_spread(o, "of_bound", b, bench_of_bound, true);
    put_spread(o, "prefill_bound_tok_s", b, bench_prefill_bound, false);
    put_spread(o, "of_prefill_bound", b, bench_of_prefill_bound, true);
    put_real(o, "predicted_decode_tok_s", b->predicted.decode_tok_s);
    put_real(o, "predicted_prefill_tok_s", b->predicted.prefill_tok_s);
    put_real(o, "predicted_prefill_warm_tok_s", b->predicted.prefill_warm_tok_s);
    put_real(o, "predicted_hit_rate_uniform", b->blind.hit_rate);
    put_real(o, "predicted_decode_tok_s_uniform", b->blind.decode_tok_s);
}

static void put_time(json_t *o, const Bench *b) {
    put_spread(o, "dense_ms", b, bench_dense_ms, true);
    put_spread(o, "expert_ms", b, bench_expert_ms, true);
    put_spread(o, "wait_ms", b, bench_wait_ms, true);
    put_spread(o, "store_ms", b, bench_store_ms, false);
    put_spread(o, "disk_cpu_ms", b, bench_disk_cpu_ms, false);
    put_spread(o, "store_disk_cpu_share", b, bench_store_share, false);
}

static void put_reads(json_t *o, const Bench *b) {
    double cached = -1;
    uint64_t wanted = 0, misses = 0, bytes = 0;
    for (int r = 0; r < b->reps; r++) {
        const sluice_stats *s = &b->rep[r].prefill.stats;
        if (b->rep[r].cached > cached) cached = b->rep[r].cached;
        if (s->misses >= misses) {
            wanted = s->experts_wanted;
            misses = s->misses;
            bytes = s->bytes_read;
        }
    }
    put_spread(o, "bytes_read_per_token", b, bench_bytes_per_token, true);
    put_spread(o, "hit_rate", b, bench_hit_rate, true);
    put_spread(o, "disk_gb_s", b, bench_disk_gb_s, true);
    put_real(o, "disk_gb_s_probe", b->machine.disk_bytes_per_s * 1e-9);
    put_real(o, "disk_read_ms_probe", b->machine.disk_read_s * 1e3);
    bool probe_cached = false;
    for (int r = 0; r < b->reps; r++) probe_cached = probe_cached || b->rep[r].probe_cached;
    put(o, "disk_probe_cached", json_boolean(probe_cached));
    put_int(o, "request_bytes", b->request_bytes);
    put(o, "page_cache_share", cached < 0 ? json_null() : json_real(cached));
    put_int(o, "prefill_wanted", wanted);
    put_int(o, "prefill_misses", misses);
    put_int(o, "prefill_bytes_read", bytes);
    put_spread(o, "hint_bytes_per_token", b, bench_hint_bytes, false);
    put_spread(o, "hint_used_share", b, bench_hint_used, false);
}

static void put_probes(json_t *o, const Bench *b) {
    const EngineMachine *m = &b->machine;
    put_real(o, "dram_gb_s_probe", m->dram_bytes_per_s * 1e-9);
    put(o, "dram_probe_in_cache", json_boolean(lab_probe_in_cache(b->probe)));
    put_real(o, "dense_gweights_s_probe", m->dense_weights_per_s * 1e-9);
    put_real(o, "expert_gweights_s_probe", m->expert_weights_per_s * 1e-9);
    put_real(o, "batched_gweights_s_probe", m->batched_weights_per_s * 1e-9);
}

static json_t *reps_json(const Bench *b) {
    json_t *list = json_array();
    for (int r = 0; r < b->reps; r++) {
        json_t *o = json_pack("{s:f,s:f,s:f,s:f,s:f,s:f,s:f}", "prefill_tok_s", bench_prefill_tok_s(b, r), "decode_tok_s",
                              bench_decode_tok_s(b, r), "hit_rate", bench_hit_rate(b, r), "bytes_read_per_token",
                              bench_bytes_per_token(b, r), "disk_gb_s", bench_disk_gb_s(b, r), "disk_gb_s_probe",
                              b->rep[r].machine.disk_bytes_per_s * 1e-9, "dram_gb_s_probe", b->rep[r].machine.dram_bytes_per_s * 1e-9);
        if (!o) continue;
        put_real(o, "prefill_bound_tok_s", bench_prefill_bound(b, r));
        put_int(o, "prefill_misses", b->rep[r].prefill.stats.misses);
        put_int(o, "prefill_bytes_read", b->rep[r].prefill.stats.bytes_read);
        (void)json_array_append_new(list, o);
    }
    return list;
}

json_t *bench_json(const Bench *b) {
    const sluice_info *info = &b->e.info;
    json_t *o = json_object();
    if (!o) return NULL;
    sluice_stats now;
    sluice_get_stats(b->e.model, &now);
    const char *name = source_name(b->o);
    put(o, "model", json_text(name, strlen(name)));
    put(o, "arch", json_string(info->arch));
    put_int(o, "prefill", (uint64_t)b->prefill);
    put_int(o, "decode", (uint64_t)b->decode);
    put_int(o, "reps", (uint64_t)b->reps);
    put_int(o, "warmup_tokens", (uint64_t)b->warm);
    put_int(o, "seed", b->e.seed);
    put(o, "ids", json_string("random"));
    put_speed(o, b);
    put_time(o, b);
    put_reads(o, b);
    put_probes(o, b);
    put_int(o, "rss_max_bytes", now.rss_peak_bytes);
    put(o, "plan", plan_json(&info->plan));
    put_int(o, "threads", (uint64_t)info->threads);
    put(o, "cpu", json_string(info->cpu));
    put(o, "io", json_string(info->io));
    put(o, "direct", json_boolean(info->direct));
    put_int(o, "chunk", (uint64_t)info->chunk);
    put_int(o, "ctx", (uint64_t)info->ctx);
    put_real(o, "load_ms", (double)b->e.load_ns * 1e-6);
    put(o, "runs", reps_json(b));
    return o;
}
