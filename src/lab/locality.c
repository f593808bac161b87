/* What a trace lets foretell, without any cache: by the token before, by the layer before, by popularity, by recency. */
#include "lab/lab.h"

#include <stdlib.h>
#include <string.h>

typedef struct Work {
    const LabTrace *t;
    uint64_t *uses;      /* [layers][experts] */
    uint32_t *together;  /* [layers][experts][experts]: chosen in this layer, by tokens that chose that in the layer before */
    uint64_t *score;     /* [experts] */
    uint8_t *last;       /* [layers][experts] 1: the last token of the step before chose it */
    uint16_t *recent;    /* [layers][experts] experts of a layer, the last used first */
    uint32_t *n_recent;  /* [layers] */
} Work;

void lab_uses(const LabTrace *t, uint64_t *uses) {
    memset(uses, 0, (size_t)t->facts.layers * t->facts.experts * sizeof *uses);
    for (size_t i = 0; i < t->n_wants; i++)
        for (uint32_t j = 0; j < t->wants[i].n_wanted; j++)
            uses[(size_t)t->wants[i].layer * t->facts.experts + t->wanted[t->wants[i].wanted + j]] += t->uses[t->wants[i].wanted + j];
}

/* ---- the token before ---------------------------------------------------------------------------------------------- */

static void previous_token(const Work *k, LabLocality *out) {
    const LabTrace *t = k->t;
    uint32_t experts = t->facts.experts, top = t->facts.top_k;
    uint64_t found = 0, all = 0;
    uint32_t expected = UINT32_MAX; /* the position that continues the text */
    for (size_t s = 0; s < t->n_steps; s++) {
        const LabTraceStep *step = &t->steps[s];
        for (uint32_t i = 0; i < step->n_wants; i++) {
            const LabTraceWant *w = &t->wants[step->first_want + i];
            uint8_t *last = k->last + (size_t)w->layer * experts;
            for (uint32_t token = 0; token < step->n_tokens; token++) {
                const uint16_t *picks = t->picks + w->picks + (size_t)token * top;
                bool follows = token > 0 || step->position == expected;
                for (uint32_t p = 0; p < top && follows; p++) found += last[picks[p]];
                all += follows ? top : 0;
                memset(last, 0, experts);
                for (uint32_t p = 0; p < top; p++) last[picks[p]] = 1;
            }
        }
        expected = step->position + step->n_tokens;
    }
    out->previous_token = all ? (double)found / (double)all : 0;
}

/* ---- the layer before ---------------------------------------------------------------------------------------------- */

/* The top_k best scores are taken out one by one; returns how many of them were picked. */
static uint32_t best_found(const Work *k, const uint16_t *picks) {
    uint32_t experts = k->t->facts.experts, top = k->t->facts.top_k, found = 0;
    for (uint32_t n = 0; n < top; n++) {
        uint32_t best = 0;
        for (uint32_t e = 1; e < experts; e++)
            if (k->score[e] > k->score[best]) best = e;
        if (k->score[best] == 0) break;
        for (uint32_t p = 0; p < top; p++) found += picks[p] == best;
        k->score[best] = 0;
    }
    return found;
}

static void across_layers(const Work *k, LabLocality *out) {
    const LabTrace *t = k->t;
    size_t experts = t->facts.experts;
    uint32_t top = t->facts.top_k;
    uint64_t tokens = 0, found = 0, all = 0;
    for (size_t s = 0; s < t->n_steps; s++) {
        const LabTraceStep *step = &t->steps[s];
        bool late = 2 * tokens >= t->n_tokens;
        for (uint32_t i = 1; i < step->n_wants; i++) {
            const LabTraceWant *before = &t->wants[step->first_want + i - 1], *w = before + 1;
            uint32_t *together = k->together + (size_t)w->layer * experts * experts;
            for (uint32_t token = 0; token < step->n_tokens; token++) {
                const uint16_t *from = t->picks + before->picks + (size_t)token * top, *to = t->picks + w->picks + (size_t)token * top;
                if (late) memset(k->score, 0, experts * sizeof *k->score);
                for (uint32_t a = 0; a < top; a++) {
                    uint32_t *row = together + from[a] * experts;
                    for (uint32_t b = 0; b < top && !late; b++) row[to[b]]++;
                    for (size_t e = 0; e < experts && late; e++) k->score[e] += row[e];
                }
                if (late) found += best_found(k, to);
                all += late ? top : 0;
            }
        }
        tokens += step->n_tokens;
    }
    out->across_layers = all ? (double)found / (double)all : 0;
}

/* ---- popularity and recency ---------------------------------------------------------------------------------------- */

static int descending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x < y) - (x > y);
}

static void skew(const Work *k, LabLocality *out) {
    uint32_t experts = k->t->facts.experts, layers = 0;
    double sums[3] = {0};
    static const double shares[3] = {0.05, 0.10, 0.20};
    lab_uses(k->t, k->uses);
    for (uint32_t l = 0; l < k->t->facts.layers; l++) {
        uint64_t *uses = k->uses + (size_t)l * experts, all = 0;
        for (uint32_t e = 0; e < experts; e++) {
            all += uses[e];
            out->touched += uses[e] > 0;
        }
        if (all == 0) continue;
        layers++;
        qsort(uses, experts, sizeof *uses, descending);
        for (int i = 0; i < 3; i++) {
            double n = shares[i] * experts, some = 0; /* with few experts a share may be part of one */
            for (uint32_t e = 0; e < n; e++) some += (n - e < 1 ? n - e : 1) * (double)uses[e];
            sums[i] += some / (double)all;
        }
    }
    out->top5 = layers ? sums[0] / layers : 0;
    out->top10 = layers ? sums[1] / layers : 0;
    out->top20 = layers ? sums[2] / layers : 0;
}

/* The distance of a use is the place of the expert in its layer's list of recently used ones. */
static void reuse(const Work *k, LabLocality *out) {
    const LabTrace *t = k->t;
    uint64_t within[LAB_REUSE_BUCKETS] = {0}, first = 0, all = 0;
    for (size_t i = 0; i < t->n_wants; i++) {
        const LabTraceWant *w = &t->wants[i];
        uint16_t *recent = k->recent + (size_t)w->layer * t->facts.experts;
        uint32_t *n = &k->n_recent[w->layer];
        for (uint32_t j = 0; j < w->n_wanted; j++) {
            uint16_t expert = t->wanted[w->wanted + j];
            uint32_t at = 0;
            while (at < *n && recent[at] != expert) at++;
            all++;
            if (at == *n) first++, (*n)++;
            else
                for (uint32_t b = 0; b < LAB_REUSE_BUCKETS; b++) within[b] += at < 1u << b;
            memmove(recent + 1, recent, at * sizeof *recent);
            recent[0] = expert;
        }
    }
    for (int b = 0; b < LAB_REUSE_BUCKETS; b++) out->reuse[b] = (double)within[b] / (double)all;
    out->first_uses = (double)first / (double)all;
}

ErrCode lab_locality(const LabTrace *t, LabLocality *out, Err *err) {
    *out = (LabLocality){0};
    size_t layers = t->facts.layers, experts = t->facts.experts;
    uint64_t table;
    if (!mul_u64(layers * experts, experts * sizeof(uint32_t), &table) || table > (4ull << 30))
        return err_set(err, ERR_UNSUPPORTED, "%zu layers of %zu experts are too many to compare with one another", layers, experts);
    Work k = {.t = t, .uses = MEM_NEW(uint64_t, layers * experts), .together = MEM_NEW(uint32_t, layers * experts * experts),
              .score = MEM_NEW(uint64_t, experts), .last = MEM_NEW(uint8_t, layers * experts),
              .recent = MEM_NEW(uint16_t, layers * experts), .n_recent = MEM_NEW(uint32_t, layers)};
    ErrCode code = ERR_OK;
    if (k.uses && k.together && k.score && k.last && k.recent && k.n_recent) {
        previous_token(&k, out);
        across_layers(&k, out);
        skew(&k, out);
        reuse(&k, out);
        out->chance = (double)t->facts.top_k / (double)experts;
        size_t wants = t->n_wants / t->n_steps;
        out->working_set = (uint32_t)wants * t->facts.top_k;
    } else {
        code = err_no_memory(err, table, "comparing layers");
    }
    mem_free(k.uses);
    mem_free(k.together);
    mem_free(k.score);
    mem_free(k.last);
    mem_free(k.recent);
    mem_free(k.n_recent);
    return code;
}
