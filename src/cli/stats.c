/* How it went: the statistics of --stats and of --json. */
#include "cli/opened.h"

#include <stdio.h>

static double ms(uint64_t ns) { return (double)ns * 1e-6; }

json_t *opened_timings_json(const Opened *e, const Timings *t) {
    return json_pack("{s:f,s:f,s:f,s:f,s:f,s:f}", "load_ms", ms(e->load_ns), "prefill_ms", ms(t->prefill_ns), "decode_ms",
                     ms(t->decode_ns), "prefill_tok_s", per_second(t->prefill_tokens, t->prefill_ns), "decode_tok_s",
                     per_second(t->decode_tokens, t->decode_ns), "ttft_ms", ms(t->first_ns));
}

enum { DRIVES_SHOWN = 16 };

static json_t *drives_json(const Opened *e) {
    sluice_drive drives[DRIVES_SHOWN];
    json_t *list = json_array();
    int n = sluice_drives(e->model, drives, DRIVES_SHOWN);
    for (int i = 0; i < n && i < DRIVES_SHOWN; i++)
        json_array_append_new(list, json_pack("{s:s,s:i,s:I,s:I,s:f}", "name", drives[i].name, "files", drives[i].files, "reads",
                                              (json_int_t)drives[i].reads, "bytes", (json_int_t)drives[i].bytes, "bytes_per_s",
                                              drives[i].bytes_per_s));
    return list;
}

static void print_drives(const Opened *e) {
    sluice_drive drives[DRIVES_SHOWN];
    char a[32];
    int n = sluice_drives(e->model, drives, DRIVES_SHOWN);
    for (int i = 0; i < n && i < DRIVES_SHOWN; i++)
        fprintf(stderr, "  drive    %s: %d files, %s in %llu reads, %.2f GB/s while busy\n", drives[i].name, drives[i].files,
                format_size(drives[i].bytes, a), (unsigned long long)drives[i].reads, drives[i].bytes_per_s * 1e-9);
}

json_t *opened_io_json(const Opened *e, const Timings *t) {
    sluice_stats s;
    sluice_info info;
    sluice_get_stats(e->model, &s);
    sluice_get_info(e->model, &info); /* what is in force now */
    uint64_t tokens = t->prefill_tokens + t->decode_tokens;
    json_t *o = json_pack("{s:I,s:f,s:I,s:I,s:f,s:f,s:I,s:I}", "bytes_read", (json_int_t)s.bytes_read, "bytes_read_per_token",
                          tokens ? (double)s.bytes_read / (double)tokens : 0.0, "hits", (json_int_t)s.hits, "misses",
                          (json_int_t)s.misses, "hit_rate", s.experts_wanted ? (double)s.hits / (double)s.experts_wanted : 0.0,
                          "wait_ms", ms(s.wait_ns), "evictions", (json_int_t)s.evictions, "rss_max_bytes", (json_int_t)s.rss_peak_bytes);
    json_t *more = json_pack("{s:s,s:b,s:s,s:f,s:f,s:f,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I}", "backend", info.io, "direct", info.direct, "why",
                             info.io_why, "dense_ms", ms(s.dense_ns), "expert_ms", ms(s.expert_ns),
                             "store_ms", ms(s.store_ns), "policy", info.policy, "lookahead", info.lookahead, "hinted",
                             (json_int_t)s.hinted, "hints_used", (json_int_t)s.hints_used, "hint_bytes", (json_int_t)s.hint_bytes,
                             "hint_bytes_used", (json_int_t)s.hint_bytes_used, "ahead_wanted", (json_int_t)s.ahead_wanted,
                             "ahead_right", (json_int_t)s.ahead_right);
    json_object_update(o, more);
    json_object_set_new(o, "mtp", json_pack("{s:s,s:I,s:I}", "state", info.mtp, "drafts", (json_int_t)s.drafts, "drafts_right",
                                            (json_int_t)s.drafts_right));
    json_object_set_new(o, "drives", drives_json(e));
    json_decref(more);
    return o;
}

static void print_plan(const Opened *e) {
    const sluice_plan *p = &e->info.plan;
    char a[32], b[32], c[32], d[32];
    fprintf(stderr, "  plan     %s for the process: dense weights %s, expert cache %s,", format_size(p->ram_bytes, a),
            format_size(p->dense_bytes, b), format_size(p->cache_bytes, c));
    fprintf(stderr, " context %s, buffers %s", format_size(p->state_bytes + p->kv_bytes, a), format_size(p->buffers_bytes, b));
    fprintf(stderr, "\n           %s program and tables, %s kept free\n", format_size(p->base_bytes, c), format_size(p->reserve_bytes, d));
    fprintf(stderr, "  cache    %u of %u experts fit (%.1f %%), %s each\n", p->cache_slots, p->experts_total,
            p->experts_total ? 100.0 * p->cache_slots / p->experts_total : 0.0, format_size(p->slot_bytes, a));
    fprintf(stderr, "  machine  %s, %d threads, reads by %s%s, chunk %d, context %d\n", e->info.cpu, e->info.threads, e->info.io,
            e->info.direct ? " (direct)" : " (page cache)", e->info.chunk, e->info.ctx);
    fprintf(stderr, "  threads  %s\n", e->info.threads_why);
    fprintf(stderr, "  reads    %s\n", e->info.io_why);
}

static double percent(uint64_t part, uint64_t whole) { return whole ? 100.0 * (double)part / (double)whole : 0; }

static void print_time(const sluice_stats *s, uint64_t total_ns) {
    fprintf(stderr, "  time     dense weights %.0f %%, experts %.0f %%, bookkeeping %.1f %%, waiting for the disk %.0f %%\n",
            percent(s->dense_ns, total_ns), percent(s->expert_ns, total_ns), percent(s->store_ns, total_ns), percent(s->wait_ns, total_ns));
}

static void print_ahead(const Opened *e, const sluice_stats *s) {
    sluice_info info;
    sluice_get_info(e->model, &info);
    char a[32], b[32];
    fprintf(stderr, "  policy   %s; looking ahead: %s\n", info.policy, info.lookahead);
    if (s->drafts)
        fprintf(stderr, "  drafts   %s; %llu of %llu tokens guessed rightly (%.0f %%)\n", info.mtp, (unsigned long long)s->drafts_right,
                (unsigned long long)s->drafts, percent(s->drafts_right, s->drafts));
    if (s->ahead_wanted == 0) return;
    uint64_t in_vain = s->hint_bytes > s->hint_bytes_used ? s->hint_bytes - s->hint_bytes_used : 0;
    fprintf(stderr, "           %.0f %% of %llu experts guessed; %llu read ahead (%s), %llu of them used, %s in vain\n",
            percent(s->ahead_right, s->ahead_wanted), (unsigned long long)s->ahead_wanted, (unsigned long long)s->hinted,
            format_size(s->hint_bytes, a), (unsigned long long)s->hints_used, format_size(in_vain, b));
}

void opened_print_stats(const Opened *e, const Timings *t) {
    sluice_stats s;
    sluice_get_stats(e->model, &s);
    char a[32], b[32];
    fprintf(stderr, "\nstatistics\n");
    print_plan(e);
    fprintf(stderr, "  load     %.2f s\n", (double)e->load_ns * 1e-9);
    fprintf(stderr, "  prefill  %llu tokens in %.2f s, %.1f tokens/s", (unsigned long long)t->prefill_tokens,
            (double)t->prefill_ns * 1e-9, per_second(t->prefill_tokens, t->prefill_ns));
    if (t->prefill_tokens)
        fprintf(stderr, ", %s per token from disk", format_size(t->prefill_bytes / t->prefill_tokens, a));
    if (t->decode_tokens) {
        fprintf(stderr, "\n  decode   %llu tokens in %.2f s, %.1f tokens/s", (unsigned long long)t->decode_tokens,
                (double)t->decode_ns * 1e-9, per_second(t->decode_tokens, t->decode_ns));
        fprintf(stderr, ", %s per token from disk", format_size((s.bytes_read - t->prefill_bytes) / t->decode_tokens, a));
    }
    uint64_t total_ns = t->prefill_ns + t->decode_ns;
    fprintf(stderr, "\n  experts  %llu wanted, %llu from the cache (%.1f %%), %llu from disk, %llu evicted\n",
            (unsigned long long)s.experts_wanted, (unsigned long long)s.hits, percent(s.hits, s.experts_wanted),
            (unsigned long long)s.misses, (unsigned long long)s.evictions);
    fprintf(stderr, "  disk     %s read; waited %.2f s for it, %.0f %% of the time\n", format_size(s.bytes_read, a),
            (double)s.wait_ns * 1e-9, percent(s.wait_ns, total_ns));
    print_time(&s, total_ns);
    print_ahead(e, &s);
    print_drives(e);
    fprintf(stderr, "  memory   %s at the most, %s allowed\n", format_size(s.rss_peak_bytes, a),
            format_size(e->info.plan.ram_bytes, b));
    if (s.cache_steps)
        fprintf(stderr, "           was short: %u of %u expert slots are used now, after %u steps\n", s.cache_slots,
                e->info.plan.cache_slots, s.cache_steps);
    sluice_memory memory;
    sluice_get_memory(e->model, &memory);
    fprintf(stderr, "           in huge pages: %s of %s dense weights", format_size(memory.dense_huge_bytes, a),
            format_size(e->info.plan.dense_bytes, b));
    fprintf(stderr, ", %s of %s in all\n", format_size(memory.huge_bytes, a), format_size(memory.rss_bytes, b));
}
