/* The numbers of a repetition, each a small function, and their spread. */
#include "cli/bench.h"

static double per(double amount, double of) { return of > 0 ? amount / of : 0; }
static double ms_per_token(uint64_t ns, const LabRun *r) { return per((double)ns * 1e-6, (double)r->tokens); }

Spread bench_spread(const Bench *b, BenchValue *value) {
    double values[1000];
    Spread s = {0};
    for (int r = 0; r < b->reps; r++) {
        values[r] = value(b, r);
        if (r == 0 || values[r] < s.min) s.min = values[r];
        if (r == 0 || values[r] > s.max) s.max = values[r];
    }
    s.median = lab_median(values, b->reps);
    return s;
}

double bench_prefill_tok_s(const Bench *b, int r) { return per_second(b->rep[r].prefill.tokens, b->rep[r].prefill.ns); }
double bench_decode_tok_s(const Bench *b, int r) { return per_second(b->rep[r].decode.tokens, b->rep[r].decode.ns); }
double bench_ttft_ms(const Bench *b, int r) { return (double)b->rep[r].prefill.ns * 1e-6; }

double bench_hit_rate(const Bench *b, int r) {
    const sluice_stats *s = &b->rep[r].decode.stats;
    return per((double)s->hits, (double)s->experts_wanted);
}

double bench_bytes_per_token(const Bench *b, int r) {
    return per((double)b->rep[r].decode.stats.bytes_read, (double)b->rep[r].decode.tokens);
}

double bench_disk_gb_s(const Bench *b, int r) {
    const sluice_stats *s = &b->rep[r].decode.stats;
    return per((double)s->disk_bytes, (double)s->disk_busy_ns);
}

double bench_dense_ms(const Bench *b, int r) { return ms_per_token(b->rep[r].decode.stats.dense_ns, &b->rep[r].decode); }
double bench_expert_ms(const Bench *b, int r) { return ms_per_token(b->rep[r].decode.stats.expert_ns, &b->rep[r].decode); }
double bench_wait_ms(const Bench *b, int r) { return ms_per_token(b->rep[r].decode.stats.wait_ns, &b->rep[r].decode); }
double bench_store_ms(const Bench *b, int r) { return ms_per_token(b->rep[r].decode.stats.store_ns, &b->rep[r].decode); }
double bench_disk_cpu_ms(const Bench *b, int r) { return ms_per_token(b->rep[r].decode.stats.disk_cpu_ns, &b->rep[r].decode); }

/* CPU time of the rooms store and disk over the time of the step. */
double bench_store_share(const Bench *b, int r) {
    const LabRun *d = &b->rep[r].decode;
    return per((double)(d->stats.store_ns + d->stats.disk_cpu_ns), (double)d->ns);
}

double bench_bound(const Bench *b, int r) { return b->bounds[r].bound_tok_s; }
double bench_bound_serial(const Bench *b, int r) { return b->bounds[r].bound_serial_tok_s; }
double bench_bound_serial_probed(const Bench *b, int r) { return b->bounds[r].bound_serial_probed_tok_s; }
double bench_disk_bound(const Bench *b, int r) { return per(1, b->bounds[r].disk_s); }
double bench_dram_bound(const Bench *b, int r) { return per(1, b->bounds[r].dram_s); }
double bench_compute_bound(const Bench *b, int r) { return per(1, b->bounds[r].compute_s); }
double bench_of_serial(const Bench *b, int r) { return per(bench_decode_tok_s(b, r), bench_bound_serial(b, r)); }
double bench_of_bound(const Bench *b, int r) { return per(bench_decode_tok_s(b, r), bench_bound(b, r)); }
double bench_prefill_bound(const Bench *b, int r) { return lab_prefill_bound(&b->work, &b->machine, &b->rep[r].prefill); }
double bench_of_prefill_bound(const Bench *b, int r) { return per(bench_prefill_tok_s(b, r), bench_prefill_bound(b, r)); }

double bench_hint_used(const Bench *b, int r) {
    const sluice_stats *s = &b->rep[r].decode.stats;
    return per((double)s->hints_used, (double)s->hinted);
}

double bench_hint_bytes(const Bench *b, int r) {
    return per((double)b->rep[r].decode.stats.hint_bytes, (double)b->rep[r].decode.tokens);
}
