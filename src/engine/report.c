/* What a model says about itself: what is in force, and how it went. */
#include "engine/inside.h"

#include <string.h>

/* What is in force of draft tokens; good until the next feed. */
static const char *mtp_text(const sluice_model *m) {
    if (m->mtp_why) return m->mtp_why;
    if (m->mtp != ENGINE_MTP_AUTO) return m->mtp == ENGINE_MTP_ON ? "on" : "off";
    if (m->pressure.now < m->plan.experts_total) return "auto: off, for experts are read from disk";
    return m->mtp_text;
}

void sluice_get_info(const sluice_model *m, sluice_info *info) {
    const ModelShape *s = &m->model->shape;
    DiskInfo disk;
    disk_info(m->disk, &disk);
    *info = (sluice_info){
        .arch = model_arch_name(s->arch), .layers = (int)s->n_layers, .hidden = (int)s->hidden, .vocab = (int)s->vocab,
        .experts = (int)s->n_experts, .experts_per_token = (int)m->top_k, .experts_per_token_own = (int)s->top_k,
        .record_bytes = model_record_bytes(m->model), .ctx = (int)m->ctx, .ctx_train = (int)s->ctx_train,
        .cpu = m->kernels->name, .io = disk.backend, .io_why = m->io_why, .direct = disk.direct,
        .threads = os_pool_threads(m->pool), .threads_why = m->threads_why,
        .chunk = (int)m->chunk, .has_chat_template = m->model->chat != NULL, .chat_template_error = m->model->chat_error,
        .plan = m->plan, .policy = cache_policy_name(m->policy), .lookahead = forward_lookahead(m->forward), .mtp = mtp_text(m),
    };
}

void sluice_get_stats(const sluice_model *m, sluice_stats *stats) {
    StoreStats store;
    ForwardTimes times;
    ForwardGuesses guesses;
    store_stats(m->store, &store);
    forward_guesses(m->forward, &guesses);
    forward_times(m->forward, &times);
    *stats = m->stats;
    stats->experts_wanted = store.wanted;
    stats->hits = store.hits;
    stats->misses = store.misses;
    stats->evictions = store.evictions;
    stats->bytes_read = store.bytes_read;
    stats->hinted = store.hinted;
    stats->hints_used = store.hints_used;
    stats->hint_bytes = store.hint_bytes;
    stats->hint_bytes_used = store.hint_bytes_used;
    stats->wait_ns = store.wait_ns;
    stats->dense_ns = times.dense_ns;
    stats->expert_ns = times.expert_ns;
    stats->store_ns = times.store_ns > store.wait_ns ? times.store_ns - store.wait_ns : 0;
    DiskInfo disk;
    const DiskInfo *before = &m->disk_before;
    disk_info(m->disk, &disk);
    stats->disk_bytes = disk.bytes - disk.hint_bytes - (before->bytes - before->hint_bytes);
    stats->disk_busy_ns = disk.demand_busy_ns - before->demand_busy_ns;
    stats->disk_cpu_ns = disk.cpu_ns - before->cpu_ns;
    stats->cache_slots = m->pressure.now;
    stats->ahead_wanted = guesses.wanted;
    stats->ahead_right = guesses.right;
    stats->rss_bytes = os_rss_now();
    stats->rss_peak_bytes = os_rss_peak();
}

void sluice_get_memory(const sluice_model *m, sluice_memory *memory) {
    *memory = (sluice_memory){.rss_bytes = os_rss_now(), .rss_peak_bytes = os_rss_peak(), .huge_bytes = os_huge_bytes(NULL, 0),
                              .dense_huge_bytes = os_huge_bytes(m->dense, m->plan.dense_bytes)};
}

void sluice_reset_stats(sluice_model *m) {
    memset(&m->stats, 0, sizeof m->stats);
    store_stats_reset(m->store);
    forward_times_reset(m->forward);
    disk_info(m->disk, &m->disk_before);
}
