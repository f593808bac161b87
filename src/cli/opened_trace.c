/* Recording a trace while a command runs, beside whatever the command itself looks at. */
#include "cli/opened.h"
#include "cli/source.h"
#include "lab/lab.h"

#include <string.h>

static void on_logits(void *user, int position, const float *logits) {
    const Opened *e = user;
    if (e->probe.logits) e->probe.logits(e->probe.user, position, logits);
}

static void on_hidden(void *user, int layer, int position, int n, const float *hidden) {
    const Opened *e = user;
    if (e->probe.hidden) e->probe.hidden(e->probe.user, layer, position, n, hidden);
}

static void on_routing(void *user, int layer, int position, int k, const int32_t *experts, const float *weights) {
    const Opened *e = user;
    lab_trace_routing(e->trace, layer, position, k, experts, weights);
    if (e->probe.routing) e->probe.routing(e->probe.user, layer, position, k, experts, weights);
}

static void on_fetch(void *user, int layer, int position, int n, int n_wanted, const int32_t *experts, const uint8_t *hit,
                     uint64_t wait_ns) {
    const Opened *e = user;
    lab_trace_fetch(e->trace, layer, position, n, n_wanted, experts, hit, wait_ns);
    if (e->probe.fetch) e->probe.fetch(e->probe.user, layer, position, n, n_wanted, experts, hit, wait_ns);
}

void opened_set_probe(Opened *e, const sluice_probe *probe) {
    e->probe = probe ? *probe : (sluice_probe){0};
    if (!e->trace) {
        sluice_set_probe(e->session, probe);
        return;
    }
    sluice_probe both = {.user = e, .routing = on_routing, .fetch = on_fetch};
    /* these two cost something, so they are asked for only where somebody looks */
    if (e->probe.logits) both.logits = on_logits;
    if (e->probe.hidden) both.hidden = on_hidden;
    sluice_set_probe(e->session, &both);
}

ErrCode opened_start_trace(const Options *o, Opened *e, const char *path, Err *err) {
    LabTraceFacts facts = {.layers = (uint32_t)e->info.layers, .experts = (uint32_t)e->info.experts,
                           .top_k = (uint32_t)e->info.experts_per_token, .slots = e->info.plan.cache_slots,
                           .record_bytes = e->info.record_bytes};
    const char *name = source_name(o), *slash = strrchr(name, '/');
    strncpy(facts.model, slash && slash[1] ? slash + 1 : name, sizeof facts.model - 1);
    e->trace = lab_trace_new(path, &facts, err);
    if (!e->trace) return err ? err->code : ERR_IO;
    opened_set_probe(e, &e->probe);
    return ERR_OK;
}

ErrCode opened_end_trace(Opened *e, ErrCode code, Err *err) {
    if (!e->trace) return code;
    sluice_set_probe(e->session, NULL);
    Err failure = {0};
    uint64_t bytes, steps;
    char size[32];
    ErrCode ended = lab_trace_finish(e->trace, &bytes, &steps, &failure);
    e->trace = NULL;
    if (!ended) {
        log_note("trace: %llu steps, %s", (unsigned long long)steps, format_size(bytes, size));
        return code;
    }
    if (!code && err) {
        *err = failure;
        return ended;
    }
    log_error("%s", failure.text);
    return code;
}
