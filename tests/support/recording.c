#include "support/recording.h"

#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

sluice_options check_options(const char *model) {
    sluice_options o;
    sluice_options_init(&o);
    o.model = model;
    o.precise = true;
    o.threads = 2;
    o.ctx = 512;
    return o;
}

sluice_model *open_or_fail(const sluice_options *options) {
    sluice_error err = {0};
    sluice_model *m = sluice_open(options, &err);
    if (!m) fail_msg("%s: %s", options->model, err.message);
    return m;
}

static void on_logits(void *user, int position, const float *logits) {
    Recording *r = user;
    memcpy(r->logits + (size_t)position * (size_t)r->vocab, logits, (size_t)r->vocab * sizeof *logits);
}

static void on_hidden(void *user, int layer, int position, int n, const float *x) {
    Recording *r = user;
    memcpy(r->hidden + ((size_t)layer * (size_t)r->n + (size_t)position) * (size_t)r->width, x, (size_t)(n * r->width) * sizeof *x);
}

static void on_routing(void *user, int layer, int position, int k, const int32_t *experts, const float *weights) {
    Recording *r = user;
    size_t at = ((size_t)layer * (size_t)r->n + (size_t)position) * (size_t)k;
    memcpy(r->experts + at, experts, (size_t)k * sizeof *experts);
    memcpy(r->weights + at, weights, (size_t)k * sizeof *weights);
}

Recording *recording_new(const sluice_model *model, int n) {
    sluice_info info;
    sluice_get_info(model, &info);
    Recording *r = calloc(1, sizeof *r);
    *r = (Recording){.n = n, .layers = info.layers, .width = info.hidden, .vocab = info.vocab, .k = info.experts_per_token};
    size_t tokens = (size_t)n, layers = (size_t)r->layers, k = (size_t)r->k;
    r->logits = calloc(tokens * (size_t)r->vocab, sizeof(float));
    r->hidden = calloc(layers * tokens * (size_t)r->width, sizeof(float));
    r->experts = calloc(layers * tokens * k, sizeof(int32_t));
    r->weights = calloc(layers * tokens * k, sizeof(float));
    return r;
}

void recording_watch(Recording *r, sluice_session *session) {
    sluice_probe probe = {.user = r, .logits = on_logits, .hidden = on_hidden, .routing = on_routing};
    sluice_set_probe(session, &probe);
}

Recording *record(sluice_model *model, sluice_session *session, const int32_t *ids, int n, const int *pieces) {
    Recording *r = recording_new(model, n);
    recording_watch(r, session);
    sluice_error err = {0};
    for (int at = 0; at < n;) {
        int piece = pieces && *pieces ? *pieces++ : n - at;
        if (piece > n - at) piece = n - at;
        if (sluice_feed(session, ids + at, (size_t)piece, &err)) fail_msg("feed: %s", err.message);
        at += piece;
    }
    sluice_set_probe(session, NULL);
    return r;
}

void recording_free(Recording *r) {
    if (!r) return;
    free(r->logits);
    free(r->hidden);
    free(r->experts);
    free(r->weights);
    free(r);
}

bool recording_equal(const Recording *a, const Recording *b) {
    size_t n = (size_t)a->n, layers = (size_t)a->layers;
    if (a->n != b->n || a->layers != b->layers || a->width != b->width || a->vocab != b->vocab || a->k != b->k) return false;
    return memcmp(a->logits, b->logits, n * (size_t)a->vocab * sizeof(float)) == 0 &&
           memcmp(a->hidden, b->hidden, layers * n * (size_t)a->width * sizeof(float)) == 0 &&
           memcmp(a->experts, b->experts, layers * n * (size_t)a->k * sizeof(int32_t)) == 0 &&
           memcmp(a->weights, b->weights, layers * n * (size_t)a->k * sizeof(float)) == 0;
}

void greedy(sluice_session *session, int n, int32_t *ids) {
    sluice_sampling how = {.temperature = 0};
    sluice_error err = {0};
    for (int i = 0; i < n; i++) {
        ids[i] = sluice_sample(session, &how);
        if (i + 1 < n && sluice_feed(session, &ids[i], 1, &err)) fail_msg("feed: %s", err.message);
    }
}

Difference difference(const float *a, const float *b, int64_t n) {
    Difference d = {0, 0};
    for (int64_t i = 0; i < n; i++) {
        double x = fabs((double)a[i] - (double)b[i]);
        if (!(x <= d.max)) d.max = x; /* NaN sticks out */
        d.mean += x / (double)n;
    }
    return d;
}

double negative_log_likelihood(const Recording *r, const int32_t *ids, int from) {
    double total = 0;
    for (int i = from; i + 1 < r->n; i++) {
        const float *x = r->logits + (size_t)i * (size_t)r->vocab;
        double best = (double)x[0], sum = 0;
        for (int v = 1; v < r->vocab; v++) best = fmax(best, (double)x[v]);
        for (int v = 0; v < r->vocab; v++) sum += exp((double)x[v] - best);
        total += best + log(sum) - (double)x[ids[i + 1]];
    }
    return total;
}
