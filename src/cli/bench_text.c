/* What bench measured, for a person. */
#include "cli/bench.h"
#include "cli/io.h"

static void line(const Bench *b, const char *what, BenchValue *value, const char *unit) {
    Spread s = bench_spread(b, value);
    out_printf("  %-10s %9.2f %s (%.2f to %.2f)\n", what, s.median, unit, s.min, s.max);
}

static double median(const Bench *b, BenchValue *value) { return bench_spread(b, value).median; }

static void print_speed(const Bench *b) {
    line(b, "prefill", bench_prefill_tok_s, "tokens/s");
    line(b, "decode", bench_decode_tok_s, "tokens/s");
    out_printf("\nbounds of decode, tokens/s\n");
    out_printf("  overlapped %9.2f, decode is %.0f %% of it; %s binds (disk %.2f, memory %.2f, arithmetic %.2f; 0: no bound)\n",
               median(b, bench_bound), 100 * median(b, bench_of_bound), b->bounds[b->reps / 2].bound_by, median(b, bench_disk_bound),
               median(b, bench_dram_bound), median(b, bench_compute_bound));
    out_printf("  serial     %9.2f, decode is %.0f %% of it (%.2f with the probes' rates of memory and arithmetic)\n",
               median(b, bench_bound_serial), 100 * median(b, bench_of_serial), median(b, bench_bound_serial_probed));
    out_printf("  prefill    %9.2f\n", median(b, bench_prefill_bound));
    out_printf("  predicted  %9.2f with the hit rate that was measured, %.2f without knowing it (%.1f %%)\n", b->predicted.decode_tok_s,
               b->blind.decode_tok_s, 100 * b->blind.hit_rate);
    out_printf("             prefill %.2f into an empty cache, as in the first repetition; %.2f when it is full, as in the others\n",
               b->predicted.prefill_tok_s, b->predicted.prefill_warm_tok_s);
}

static void print_token(const Bench *b) {
    char a[32];
    out_printf("\na decoded token\n");
    out_printf("  %.2f ms dense, %.2f ms experts, %.2f ms waiting for the disk, %.3f ms store, %.3f ms CPU of the disk's threads\n",
               median(b, bench_dense_ms), median(b, bench_expert_ms), median(b, bench_wait_ms), median(b, bench_store_ms),
               median(b, bench_disk_cpu_ms));
    out_printf("  %s from disk, %.1f %% of the experts from the cache; reads arrive at %.2f GB/s\n",
               format_size((uint64_t)median(b, bench_bytes_per_token), a), 100 * median(b, bench_hit_rate), median(b, bench_disk_gb_s));
    if (median(b, bench_hint_bytes) > 0)
        out_printf("  %s read ahead, %.0f %% of it wanted\n", format_size((uint64_t)median(b, bench_hint_bytes), a),
                   100 * median(b, bench_hint_used));
}

static void print_machine(const Bench *b) {
    const EngineMachine *m = &b->machine;
    const sluice_info *info = &b->e.info;
    char a[32], c[32];
    out_printf("\nthe machine, probed between the repetitions\n");
    out_printf("  disk %.2f GB/s in reads of %s (one alone %.2f ms), memory %.1f GB/s%s\n", m->disk_bytes_per_s * 1e-9,
               format_size(b->request_bytes, a), m->disk_read_s * 1e3, m->dram_bytes_per_s * 1e-9,
               lab_probe_in_cache(b->probe) ? " (too little memory to be sure that no cache answered)" : "");
    out_printf("  arithmetic %.2f (dense), %.2f (experts), %.2f (64 tokens) G weights/s; %s, %d threads, reads by %s%s\n",
               m->dense_weights_per_s * 1e-9, m->expert_weights_per_s * 1e-9, m->batched_weights_per_s * 1e-9, info->cpu, info->threads,
               info->io, info->direct ? ", direct" : " through the page cache");
    sluice_stats now;
    sluice_get_stats(b->e.model, &now);
    out_printf("  memory used %s of %s allowed; %u of %u experts fit into the cache\n", format_size(now.rss_peak_bytes, a),
               format_size(info->plan.ram_bytes, c), info->plan.cache_slots, info->plan.experts_total);
}

static void print_doubts(const Bench *b) {
    double cached = -1;
    bool disturbed = false, probe_cached = false;
    for (int r = 0; r < b->reps; r++) {
        if (b->rep[r].cached > cached) cached = b->rep[r].cached;
        disturbed = disturbed || b->bounds[r].disturbed;
        probe_cached = probe_cached || b->rep[r].probe_cached;
    }
    if (cached > 0.01)
        log_warn("%.0f %% of the model were in the page cache before a repetition, although it was told to drop them: the disk was not "
                 "alone in answering", 100 * cached);
    if (probe_cached)
        log_note("the model is too small for the probe of the disk, or stays in the page cache: places were read again, and a cache may "
                 "have answered");
    if (disturbed) log_note("the run was faster than the probes allow, so something disturbed them; the bound is taken from the run");
}

void bench_print(const Bench *b) {
    out_printf("%d prompt tokens, %d decoded after %d to warm up, %d repetitions; random ids, --seed %llu repeats them\n\n", b->prefill,
               b->decode, b->warm, b->reps, (unsigned long long)b->e.seed);
    print_speed(b);
    print_token(b);
    print_machine(b);
    print_doubts(b);
}
