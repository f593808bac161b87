/* Reading a trace. The file may come from anywhere: every number is checked before it is used. */
#include "lab/trace.h"

#include <string.h>

#define FILE_BYTES_MAX (4ull << 30)

typedef struct Reader {
    const char *path;
    const unsigned char *bytes;
    size_t len, at;
    LabTrace *t;
    size_t cap_steps, cap_wants, cap_picks, cap_wanted;
    uint16_t *count; /* [experts] uses in the want that is read, all zero between wants */
    uint64_t *token; /* [experts] the last token that chose it, counted over the file from 1 */
    uint64_t tokens;
    Err *err;
} Reader;

static ErrCode damaged(const Reader *r, const char *what) {
    return err_set(r->err, ERR_FORMAT, "%s: %s at offset %zu; the trace is damaged, record it again", r->path, what, r->at);
}

static bool left(const Reader *r, uint64_t n) { return r->len - r->at >= n; }

static uint64_t number(Reader *r, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)r->bytes[r->at + (size_t)i] << (8 * i);
    r->at += (size_t)bytes;
    return value;
}

/* Room for n elements after the first `used`; false: out of memory. */
static bool room(void **array, size_t *cap, size_t used, size_t n, size_t size) {
    if (used + n <= *cap) return true;
    size_t more = 2 * *cap > used + n ? 2 * *cap : used + n + 1024;
    void *p = mem_resize(*array, more, size);
    if (!p) return false;
    *array = p;
    *cap = more;
    return true;
}

static ErrCode read_header(Reader *r) {
    LabTraceFacts *f = &r->t->facts;
    if (!left(r, TRACE_HEADER_BYTES) || memcmp(r->bytes, TRACE_MAGIC, 8) != 0)
        return err_set(r->err, ERR_FORMAT, "%s: is no trace of sluice; `sluice trace` writes one", r->path);
    r->at = 8;
    uint64_t version = number(r, 4);
    if (version != TRACE_VERSION)
        return err_set(r->err, ERR_UNSUPPORTED, "%s: is a trace of version %llu, this is made for version %d; record it again", r->path,
                       (unsigned long long)version, TRACE_VERSION);
    f->layers = (uint32_t)number(r, 4);
    f->experts = (uint32_t)number(r, 4);
    f->top_k = (uint32_t)number(r, 4);
    f->slots = (uint32_t)number(r, 4);
    f->record_bytes = number(r, 8);
    memcpy(f->model, r->bytes + r->at, sizeof f->model);
    f->model[sizeof f->model - 1] = 0;
    if (!utf8_valid(f->model, strlen(f->model))) f->model[0] = 0;
    r->at += sizeof f->model;
    if (!f->layers || f->layers > TRACE_LAYERS_MAX || !f->experts || f->experts > TRACE_EXPERTS_MAX || !f->top_k || f->top_k > f->experts ||
        f->record_bytes > (1ull << 40))
        return damaged(r, "facts about the model that cannot be");
    r->count = MEM_NEW(uint16_t, f->experts);
    r->token = MEM_NEW(uint64_t, f->experts);
    return r->count && r->token ? ERR_OK : err_no_memory(r->err, (uint64_t)f->experts * 10, "a trace");
}

/* Picks of a want: each token's experts are in range and differ. */
static ErrCode read_picks(Reader *r, uint32_t n_tokens, LabTraceWant *w) {
    LabTrace *t = r->t;
    uint32_t k = t->facts.top_k, size = trace_pick_bytes(t->facts.experts);
    size_t n = (size_t)n_tokens * k;
    w->picks = t->n_picks;
    for (size_t i = 0; i < n; i++) {
        uint64_t e = number(r, (int)size);
        if (e >= t->facts.experts) return damaged(r, "an expert that the model does not have");
        t->picks[t->n_picks + i] = (uint16_t)e;
        if (r->count[e] < UINT16_MAX) r->count[e]++;
        if (i % k == 0) r->tokens++;
        if (r->token[e] == r->tokens) return damaged(r, "a token that chose an expert twice");
        r->token[e] = r->tokens;
    }
    for (size_t i = 0; i < n; i++) t->weights[t->n_picks + i] = (uint16_t)number(r, 2);
    t->n_picks += n;
    return ERR_OK;
}

/* The different experts and how often each was chosen, from the counts, which are cleared. */
static void gather_wanted(Reader *r, LabTraceWant *w) {
    LabTrace *t = r->t;
    size_t n = 0;
    for (uint32_t e = 0; e < t->facts.experts; e++) {
        if (!r->count[e]) continue;
        t->wanted[t->n_wanted + n] = (uint16_t)e;
        t->uses[t->n_wanted + n++] = r->count[e];
        r->count[e] = 0;
    }
    w->n_wanted = (uint32_t)n;
}

static ErrCode read_want(Reader *r, const LabTraceStep *step, uint32_t index) {
    LabTrace *t = r->t;
    if (!left(r, TRACE_WANT_BYTES)) return damaged(r, "the file ends");
    LabTraceWant w = {.layer = (uint32_t)number(r, 2)};
    w.hits_known = number(r, 1) & TRACE_HITS_KNOWN;
    uint64_t n_wanted = number(r, 4);
    w.wait_us = (uint32_t)number(r, 4);
    if (w.layer >= t->facts.layers) return damaged(r, "a layer that the model does not have");
    if (index > 0 && w.layer <= t->wants[t->n_wants - 1].layer) return damaged(r, "layers out of order");
    uint64_t n_picks = (uint64_t)step->n_tokens * t->facts.top_k;
    if (n_wanted > t->facts.experts || n_wanted > n_picks || n_wanted < t->facts.top_k) return damaged(r, "a wrong number of experts");
    if (!left(r, n_picks * (trace_pick_bytes(t->facts.experts) + 2) + (n_wanted + 7) / 8)) return damaged(r, "the file ends");
    size_t cap = r->cap_picks, cap_wanted = r->cap_wanted, cap_uses = cap_wanted; /* three arrays that grow alike */
    if (!room((void **)&t->picks, &cap, t->n_picks, n_picks, 2) || !room((void **)&t->weights, &r->cap_picks, t->n_picks, n_picks, 2) ||
        !room((void **)&t->wanted, &cap_wanted, t->n_wanted, n_wanted, 2) ||
        !room((void **)&t->uses, &cap_uses, t->n_wanted, n_wanted, 2) ||
        !room((void **)&t->hits, &r->cap_wanted, t->n_wanted, n_wanted, 1) ||
        !room((void **)&t->wants, &r->cap_wants, t->n_wants, 1, sizeof *t->wants))
        return err_no_memory(r->err, n_picks * 8, "a trace");
    ErrCode code = read_picks(r, step->n_tokens, &w);
    if (code) return code;
    uint32_t different = 0;
    for (uint32_t e = 0; e < t->facts.experts; e++) different += r->count[e] > 0;
    if (different != n_wanted) return damaged(r, "experts that do not add up");
    w.wanted = t->n_wanted;
    gather_wanted(r, &w);
    for (size_t i = 0; i < w.n_wanted; i++) t->hits[t->n_wanted + i] = r->bytes[r->at + i / 8] >> (i % 8) & 1;
    r->at += (n_wanted + 7) / 8;
    t->n_wanted += w.n_wanted;
    t->wants[t->n_wants++] = w;
    return ERR_OK;
}

static ErrCode read_step(Reader *r) {
    LabTrace *t = r->t;
    if (!left(r, TRACE_STEP_BYTES - 1)) return damaged(r, "the file ends");
    LabTraceStep step = {.first_want = t->n_wants};
    step.position = (uint32_t)number(r, 4);
    step.n_tokens = (uint32_t)number(r, 4);
    step.n_wants = (uint32_t)number(r, 4);
    if (step.n_tokens == 0 || step.n_wants == 0 || step.n_wants > t->facts.layers) return damaged(r, "a step that cannot be");
    if (!room((void **)&t->steps, &r->cap_steps, t->n_steps, 1, sizeof step)) return err_no_memory(r->err, sizeof step, "a trace");
    for (uint32_t i = 0; i < step.n_wants; i++) {
        ErrCode code = read_want(r, &step, i);
        if (code) return code;
    }
    t->steps[t->n_steps++] = step;
    t->n_tokens += step.n_tokens;
    return ERR_OK;
}

static ErrCode read_all(Reader *r) {
    ErrCode code = read_header(r);
    while (!code) {
        if (!left(r, 1)) return damaged(r, "the file ends without its end mark");
        uint64_t tag = number(r, 1);
        if (tag == 'S') {
            code = read_step(r);
        } else if (tag == 'E') {
            if (!left(r, 8) || number(r, 8) != r->t->n_steps || r->at != r->len) return damaged(r, "a wrong end");
            break;
        } else {
            return damaged(r, "an unknown mark");
        }
    }
    if (!code && r->t->n_steps == 0) return err_set(r->err, ERR_FORMAT, "%s: the trace holds no step; record it again", r->path);
    return code;
}

LabTrace *lab_trace_parse(const char *name, const void *bytes, size_t len, Err *err) {
    Reader r = {.path = name, .bytes = bytes, .len = len, .t = MEM_NEW(LabTrace, 1), .err = err};
    ErrCode code = r.t ? read_all(&r) : err_no_memory(err, sizeof *r.t, "a trace");
    mem_free(r.count);
    mem_free(r.token);
    if (!code) return r.t;
    lab_trace_free(r.t);
    return NULL;
}

LabTrace *lab_trace_read(const char *path, Err *err) {
    Buf file = {0};
    LabTrace *t = os_read_file(path, FILE_BYTES_MAX, &file, err) ? NULL : lab_trace_parse(path, file.ptr, file.len, err);
    buf_free(&file);
    return t;
}

void lab_trace_free(LabTrace *t) {
    if (!t) return;
    mem_free(t->steps);
    mem_free(t->wants);
    mem_free(t->picks);
    mem_free(t->weights);
    mem_free(t->wanted);
    mem_free(t->uses);
    mem_free(t->hits);
    mem_free(t);
}
