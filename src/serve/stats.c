/* /metrics for Prometheus, and /stats for people and pages: what the board holds, written out. */
#include "serve/http.h"
#include "os/os.h"

#include <math.h>
#include <string.h>

/* ---- /metrics ---------------------------------------------------------------------------------------------------- */

static void put_metric(Buf *out, const char *name, const char *kind, const char *help, double value) {
    buf_printf(out, "# HELP sluice_%s %s\n# TYPE sluice_%s %s\nsluice_%s %.17g\n", name, help, name, kind, name, value);
}

static void put_histogram(Buf *out, const char *name, const char *help, const ServeHistogram *h) {
    uint64_t so_far = 0;
    buf_printf(out, "# HELP sluice_%s %s\n# TYPE sluice_%s histogram\n", name, help, name);
    for (int i = 0; i < SERVE_BUCKETS; i++) {
        so_far += h->below[i];
        buf_printf(out, "sluice_%s_bucket{le=\"%g\"} %llu\n", name, SERVE_BOUNDS[i], (unsigned long long)so_far);
    }
    unsigned long long n = h->n;
    buf_printf(out, "sluice_%s_bucket{le=\"+Inf\"} %llu\nsluice_%s_sum %.9g\nsluice_%s_count %llu\n", name, n, name, h->sum, name, n);
}

static void put_engine(Buf *out, const sluice_stats *s) {
    put_metric(out, "prefill_tokens_total", "counter", "Prompt tokens computed.", (double)s->prefill_tokens);
    put_metric(out, "decode_tokens_total", "counter", "Answer tokens computed.", (double)s->decode_tokens);
    put_metric(out, "experts_wanted_total", "counter", "Experts that layers asked for.", (double)s->experts_wanted);
    put_metric(out, "expert_hits_total", "counter", "Experts found in memory.", (double)s->hits);
    put_metric(out, "expert_misses_total", "counter", "Experts read from disk on demand.", (double)s->misses);
    put_metric(out, "expert_evictions_total", "counter", "Experts that left memory for another.", (double)s->evictions);
    put_metric(out, "read_bytes_total", "counter", "Bytes of experts read from disk.", (double)s->bytes_read);
    put_metric(out, "disk_wait_seconds_total", "counter", "Time the computation stood still for the disk.", (double)s->wait_ns * 1e-9);
    put_metric(out, "cache_slots", "gauge", "Experts that memory can hold now.", (double)s->cache_slots);
    put_metric(out, "resident_bytes", "gauge", "Resident memory of the process.", (double)s->rss_bytes);
}

void serve_metrics(ServeVisit *v) {
    Serve *s = v->serve;
    ServeBoard *b = &s->board;
    Buf out = {0};
    int running = atomic_load(&s->begun), inside = serve_queue_inside(&s->queue);
    put_metric(&out, "ready", "gauge", "1 when the model is loaded.", serve_phase(s) == SERVE_READY);
    put_metric(&out, "requests_inside", "gauge", "Requests that wait for the model or use it.", inside);
    put_metric(&out, "requests_running", "gauge", "Those of them that have a conversation; the others wait for one.", running);
    put_metric(&out, "connections", "gauge", "Connections that are open.", serve_connections(s));
    put_metric(&out, "request_memory_bytes", "gauge", "Memory set aside for requests that is in use.", (double)atomic_load(&s->purse.used));
    pthread_mutex_lock(&b->lock);
    put_metric(&out, "request_failures_total", "counter", "Requests that failed while they were computed.", (double)b->failed);
    put_metric(&out, "request_cancels_total", "counter", "Requests whose clients went away.", (double)b->left);
    put_metric(&out, "prompt_tokens_total", "counter", "Prompt tokens of answered requests.", (double)b->prompt);
    put_metric(&out, "cached_tokens_total", "counter", "Those of them that had been computed before.", (double)b->cached);
    put_metric(&out, "answer_tokens_total", "counter", "Tokens of answers.", (double)b->answer);
    buf_puts(&out, "# HELP sluice_responses_total Responses by HTTP status.\n# TYPE sluice_responses_total counter\n");
    for (int i = 0; i < SERVE_STATUSES && b->statuses[i].n; i++)
        buf_printf(&out, "sluice_responses_total{status=\"%d\"} %llu\n", b->statuses[i].status, (unsigned long long)b->statuses[i].n);
    put_histogram(&out, "first_token_seconds", "From the request to its first token.", &b->first);
    put_histogram(&out, "next_token_seconds", "Between two tokens of one answer.", &b->gap);
    put_metric(&out, "states_hits_total", "counter", "Prompts that went on from a state that was kept.", (double)b->kept.hits);
    put_metric(&out, "states_misses_total", "counter", "Prompts that found none.", (double)b->kept.misses);
    put_metric(&out, "states_tokens_saved_total", "counter", "Tokens that need not be computed for that.", (double)b->kept.tokens_saved);
    put_metric(&out, "states_bytes", "gauge", "Memory that states take.", (double)b->kept.memory_bytes);
    put_metric(&out, "states_disk_bytes", "gauge", "What they take on disk.", (double)b->kept.disk_bytes);
    put_metric(&out, "states_evictions_total", "counter", "States that left memory.", (double)b->kept.evicted);
    put_engine(&out, &b->samples[b->turn].stats);
    pthread_mutex_unlock(&b->lock);
    serve_reply_text(v, 200, "text/plain; version=0.0.4; charset=utf-8", &out);
}

/* ---- /stats ------------------------------------------------------------------------------------------------------ */

static double per(uint64_t n, uint64_t ns) { return ns ? (double)n / ((double)ns * 1e-9) : 0; }

/* Rates over the last two seconds. */
static json_t *rates_json(const ServeBoard *b) {
    const ServeSample *now = &b->samples[b->turn], *then = &b->samples[(b->turn + 1) % SERVE_SAMPLES];
    if (!then->ns) then = &b->samples[1]; /* the first that there was */
    uint64_t ns = now->ns > then->ns ? now->ns - then->ns : 0, wanted = now->stats.experts_wanted - then->stats.experts_wanted;
    bool old = os_now_ns() - now->ns > 2000000000u; /* the worker rests */
    if (old) ns = 0;
    double hit_rate = wanted && !old ? (double)(now->stats.hits - then->stats.hits) / (double)wanted : 0;
    return json_pack("{s:f,s:f,s:f,s:f}", "decode_tok_s", per(now->stats.decode_tokens - then->stats.decode_tokens, ns), "prefill_tok_s",
                     per(now->stats.prefill_tokens - then->stats.prefill_tokens, ns), "disk_gb_s",
                     per(now->stats.disk_bytes - then->stats.disk_bytes, ns) * 1e-9, "hit_rate", hit_rate);
}

static json_t *totals_json(const ServeBoard *b) {
    const sluice_stats *s = &b->samples[b->turn].stats;
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f}", "prompt_tokens", (json_int_t)b->prompt, "cached_tokens", (json_int_t)b->cached,
                     "answer_tokens", (json_int_t)b->answer, "bytes_read", (json_int_t)s->bytes_read, "hits", (json_int_t)s->hits, "misses",
                     (json_int_t)s->misses, "evictions", (json_int_t)s->evictions, "hit_rate",
                     s->experts_wanted ? (double)s->hits / (double)s->experts_wanted : 0.0);
}

static json_t *memory_json(const ServeBoard *b, const sluice_info *info) {
    const sluice_stats *s = &b->samples[b->turn].stats;
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "rss_bytes", (json_int_t)s->rss_bytes, "rss_peak_bytes", (json_int_t)s->rss_peak_bytes,
                     "ram_bytes", (json_int_t)info->plan.ram_bytes, "cache_bytes", (json_int_t)info->plan.cache_bytes, "cache_slots",
                     (json_int_t)s->cache_slots, "experts_total", (json_int_t)info->plan.experts_total);
}

static json_t *kept_json(const StatesStats *k) {
    return json_pack("{s:i,s:i,s:I,s:I,s:I,s:I,s:I}", "in_memory", (int)k->in_memory, "on_disk", (int)k->on_disk, "memory_bytes",
                     (json_int_t)k->memory_bytes, "disk_bytes", (json_int_t)k->disk_bytes, "hits", (json_int_t)k->hits, "misses",
                     (json_int_t)k->misses, "tokens_saved", (json_int_t)k->tokens_saved);
}

static json_t *views_json(const ServeBoard *b) {
    json_t *all = json_array();
    for (int i = 0; i < b->n_views; i++) {
        const ServeView *w = &b->views[i];
        json_array_append_new(all, json_pack("{s:s,s:i,s:i,s:i}", "state", w->state, "position", w->position, "prompt_left", w->left,
                                             "answered", w->answered));
    }
    return all;
}

/* One letter per expert: 0 (cold) to 9, in steps of about the square root of two. */
static json_t *heat_rows(const float *heat, int layers, int experts) {
    json_t *rows = json_array();
    Buf row = {0};
    for (int l = 0; heat && l < layers; l++) {
        buf_clear(&row);
        for (int e = 0; e < experts; e++) {
            double level = 2 * log2(1 + (double)heat[(size_t)l * (size_t)experts + (size_t)e]);
            buf_putc(&row, (char)('0' + (level > 9 ? 9 : (int)ceil(level - 0.2))));
        }
        json_array_append_new(rows, json_stringn(row.ptr ? row.ptr : "", row.len));
    }
    buf_free(&row);
    return rows;
}

static json_t *heat_json(const ServeBoard *b) {
    return json_pack("{s:i,s:i,s:o,s:o}", "layers", b->layers, "experts", b->experts, "used", heat_rows(b->used, b->layers, b->experts),
                     "read", heat_rows(b->read, b->layers, b->experts));
}

static json_t *stats_json(Serve *s) {
    static const char *const phases[] = {"loading", "ready", "stopping", "stopping"};
    ServeBoard *b = &s->board;
    bool loaded = serve_phase(s) != SERVE_LOADING;
    int running = atomic_load(&s->begun), inside = serve_queue_inside(&s->queue);
    json_t *all = json_pack("{s:s,s:s,s:i,s:i}", "phase", phases[serve_phase(s)], "model", s->config->model_name, "requests_running",
                            running, "requests_waiting", inside > running ? inside - running : 0);
    pthread_mutex_lock(&b->lock);
    json_object_set_new(all, "uptime_s", json_real((double)(os_now_ns() - b->since_ns) * 1e-9));
    json_object_set_new(all, "rates", rates_json(b));
    json_object_set_new(all, "totals", totals_json(b));
    if (loaded) json_object_set_new(all, "memory", memory_json(b, &s->model.info));
    json_object_set_new(all, "conversations", views_json(b));
    json_object_set_new(all, "states", kept_json(&b->kept));
    if (loaded) json_object_set_new(all, "heat", heat_json(b));
    pthread_mutex_unlock(&b->lock);
    const sluice_info *i = &s->model.info;
    if (loaded)
        json_object_update_new(all, json_pack("{s:s,s:i,s:s,s:s,s:i}", "arch", i->arch, "ctx", i->ctx, "cpu", i->cpu, "io", i->io,
                                              "threads", i->threads));
    return all;
}

/* A page that watches gets one event each half second, as long as it wants. */
static ssize_t read_stats(void *user, uint64_t at, char *out, size_t most) {
    ServeVisit *v = user;
    if (v->sent == v->out.len) {
        buf_clear(&v->out);
        v->sent = 0;
        for (int i = 0; i < 10 && at > 0 && !serve_wire_gone(v) && serve_phase(v->serve) < SERVE_STOPPING; i++) os_sleep_ns(50000000);
        if (serve_wire_gone(v) || serve_phase(v->serve) >= SERVE_STOPPING) return MHD_CONTENT_READER_END_OF_STREAM;
        serve_put_event(&v->out, NULL, stats_json(v->serve));
        if (v->out.failed) return MHD_CONTENT_READER_END_WITH_ERROR;
        serve_wire_until(v, 60000000000u);
    }
    size_t n = v->out.len - v->sent < most ? v->out.len - v->sent : most;
    memcpy(out, v->out.ptr + v->sent, n);
    v->sent += n;
    return (ssize_t)n;
}

void serve_stats(ServeVisit *v) {
    const char *accept = MHD_lookup_connection_value(v->connection, MHD_HEADER_KIND, "Accept");
    if (accept && strstr(accept, "text/event-stream")) serve_reply_events(v, read_stats);
    else serve_reply_json(v, 200, stats_json(v->serve));
}
