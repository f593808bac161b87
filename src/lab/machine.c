/* Rates of memory and arithmetic, measured with the kernels that the engine uses and all threads at once. */
#include "lab/lab.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { PASSES = 5, TRIES = 3, TRY_NS = 12 * 1000 * 1000, ROW = 2048, BATCH = 64, MIN_ROWS = 16 };

struct LabProbe {
    LabProbeConfig c;
    OsPool *pool;
    int threads;
    float *stream;           /* [stream_bytes / 4] */
    uint64_t stream_bytes, matrix_bytes;
    uint8_t *matrices;       /* [threads][matrix_bytes] */
    uint64_t y_floats;       /* of one thread */
    float *y, *scratch;      /* [threads][y_floats], [threads][ROW] */
    float *x;                /* [BATCH][ROW] */
    KernelsActGroup *groups; /* [BATCH][stride of ROW] */
    KernelsActs acts[BATCH];
    void *pages;             /* everything but stream */
    uint64_t pages_bytes;
};

/* ---- which formats ---- */

static void count(LabMix *mix, int *n, QuantType type, uint64_t weights) {
    if (!weights) return;
    for (int i = 0; i < *n; i++)
        if (mix[i].type == type) {
            mix[i].weights += weights;
            return;
        }
    mix[(*n)++] = (LabMix){type, weights};
}

void lab_formats(const Model *model, LabFormats *out) {
    memset(out, 0, sizeof *out);
    if (!model) {
        count(out->dense, &out->n_dense, QUANT_Q8_0, 1);
        count(out->expert, &out->n_expert, QUANT_Q4_K, 1);
        return;
    }
    for (uint32_t l = 0; l < model->shape.n_layers; l++) {
        const ModelLayer *y = &model->layers[l];
        const ModelMat *dense[MODEL_DENSE_MATS];
        model_layer_mats(y, dense);
        for (int i = 0; i < MODEL_DENSE_MATS; i++)
            count(out->dense, &out->n_dense, dense[i]->type, (uint64_t)dense[i]->rows * dense[i]->cols);
        for (int i = 0; i < MODEL_MATS; i++)
            count(out->expert, &out->n_expert, y->expert[i].type,
                  (uint64_t)model->shape.top_k * y->expert[i].rows * y->expert[i].cols);
    }
    count(out->dense, &out->n_dense, model->head.type, (uint64_t)model->head.rows * model->head.cols);
}

/* ---- the surroundings ---- */

uint64_t lab_cache_bytes(int level) {
    uint64_t last = 0;
    for (int i = 0; i < 8; i++) {
        char path[96], text[32];
        uint64_t bytes, at;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", i);
        if (!os_fact("", path, text, sizeof text) || !parse_size(text, &bytes)) continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/level", i);
        if (level && os_fact_number("", path, "", &at) && at == (uint64_t)level) return bytes;
        if (bytes > last) last = bytes;
    }
    if (level) return UINT64_C(512) << 10;
    return last ? last : UINT64_C(32) << 20;
}

void lab_cpu_name(const char *root, char *out, size_t size) {
    char text[4096];
    snprintf(out, size, "unknown");
    if (!os_fact(root, "/proc/cpuinfo", text, sizeof text)) return;
    const char *name = strstr(text, "model name");
    if (!name) return;
    name += strcspn(name, ":\n");
    if (*name == ':') snprintf(out, size, "%.*s", (int)strcspn(name + 2, "\n"), name + 2);
}

static uint64_t stream_size(uint64_t asked) {
    if (asked) return align_up(asked, 4096);
    OsMemory memory;
    os_memory(&memory);
    uint64_t bytes = 4 * lab_cache_bytes(0);
    if (bytes < (UINT64_C(256) << 20)) bytes = UINT64_C(256) << 20;
    if (bytes > (UINT64_C(1) << 30)) bytes = UINT64_C(1) << 30;
    if (bytes > memory.budget / 4) bytes = memory.budget / 4;
    return align_up(bytes, 4096);
}

/* ---- making a probe ---- */

static uint64_t next_random(uint64_t *s) {
    *s ^= *s << 13;
    *s ^= *s >> 7;
    return *s ^= *s << 17;
}

/* Pages that were never written are all one page of zeros, which no memory is read for. */
static void touch_task(void *arg, int task, int worker) {
    (void)worker;
    const LabProbe *p = arg;
    uint64_t n = p->stream_bytes / sizeof(float) / (uint64_t)p->threads, first = n * (uint64_t)task;
    for (uint64_t i = 0; i < n; i++) p->stream[first + i] = 0.5f;
}

static void carve(LabProbe *p) {
    uint64_t n = (uint64_t)p->threads, at = 0;
    uint64_t sizes[] = {n * p->matrix_bytes, n * p->y_floats * 4, n * ROW * 4, (uint64_t)BATCH * ROW * 4,
                        (uint64_t)BATCH * kernels_act_stride(ROW) * sizeof(KernelsActGroup)};
    void *parts[COUNT_OF(sizes)];
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        parts[i] = (uint8_t *)p->pages + at;
        at += align_up(sizes[i], 64);
    }
    p->matrices = parts[0];
    p->y = parts[1];
    p->scratch = parts[2];
    p->x = parts[3];
    p->groups = parts[4];
}

static void make_acts(LabProbe *p) {
    uint64_t s = 0x9e3779b97f4a7c15u;
    for (int i = 0; i < BATCH * ROW; i++) p->x[i] = (float)(next_random(&s) >> 40) * 0x1p-23f - 1.0f;
    for (int t = 0; t < BATCH; t++) {
        float *x = p->x + (size_t)t * ROW;
        KernelsActGroup *groups = p->groups + (size_t)t * kernels_act_stride(ROW);
        p->c.kernels->quantize(x, groups, 0, ROW);
        p->acts[t] = (KernelsActs){x, p->c.precise ? NULL : groups};
    }
}

LabProbe *lab_probe_new(const LabProbeConfig *config, Err *err) {
    LabProbe *p = MEM_NEW(LabProbe, 1);
    if (!p) {
        err_no_memory(err, sizeof *p, "the probes");
        return NULL;
    }
    p->c = *config;
    p->pool = os_pool_new(config->threads, err);
    if (p->pool) {
        p->threads = os_pool_threads(p->pool);
        p->matrix_bytes = align_up(lab_cache_bytes(2) / 2, 64);
        if (p->matrix_bytes < (uint64_t)MIN_ROWS * ROW * 4) p->matrix_bytes = (uint64_t)MIN_ROWS * ROW * 4;
        p->y_floats = p->matrix_bytes / (ROW / 8) * BATCH; /* no format has fewer than one bit per weight */
        p->stream_bytes = align_up(stream_size(config->dram_bytes), 4096 * (uint64_t)p->threads);
        uint64_t n = (uint64_t)p->threads;
        uint64_t row_bytes = (uint64_t)ROW * 4 + kernels_act_stride(ROW) * sizeof(KernelsActGroup);
        p->pages_bytes = n * (p->matrix_bytes + p->y_floats * 4 + (uint64_t)ROW * 4 + 192) + BATCH * row_bytes + 512;
        p->pages = os_pages_new(p->pages_bytes, err);
        p->stream = p->pages ? os_pages_new(p->stream_bytes, err) : NULL;
    }
    if (!p->stream) {
        lab_probe_free(p);
        return NULL;
    }
    carve(p);
    make_acts(p);
    os_pool_run(p->pool, p->threads, touch_task, p);
    return p;
}

void lab_probe_free(LabProbe *p) {
    if (!p) return;
    os_pool_free(p->pool);
    os_pages_free(p->pages, p->pages_bytes);
    os_pages_free(p->stream, p->stream_bytes);
    mem_free(p);
}

int lab_probe_threads(const LabProbe *p) { return p->threads; }
uint64_t lab_probe_bytes(const LabProbe *p) { return p->stream_bytes; }
bool lab_probe_in_cache(const LabProbe *p) { return p->stream_bytes < 2 * lab_cache_bytes(0); }

/* ---- memory ---- */

/* The dot product that the engine itself computes, a row of it at a time against a row that stays in the first cache: no kernel reads
   memory faster than this one, and a loop of another kind was seen to read it slower than the kernels do. */
static void stream_task(void *arg, int task, int worker) {
    LabProbe *p = arg;
    uint64_t n = p->stream_bytes / sizeof(float) / (uint64_t)p->threads;
    const float *row = p->stream + n * (uint64_t)task;
    float sum = 0;
    for (uint64_t i = 0; i + ROW <= n; i += ROW) sum += p->c.kernels->dot(row + i, p->x, ROW);
    p->y[(uint64_t)worker * p->y_floats] = sum;
}

double lab_probe_dram(LabProbe *p) {
    double best = 0;
    for (int i = 0; i < PASSES; i++) {
        uint64_t start = os_now_ns();
        os_pool_run(p->pool, p->threads, stream_task, p);
        double s = (double)(os_now_ns() - start) * 1e-9;
        if (s > 0 && (double)p->stream_bytes / s > best) best = (double)p->stream_bytes / s;
    }
    return best;
}

/* ---- arithmetic ---- */

typedef struct MatmulProbe {
    LabProbe *p;
    QuantType type;
    size_t rows;
    int tokens;
    uint64_t until_ns;
    _Atomic uint64_t calls;
} MatmulProbe;

/* Random blocks with sane scales: a kernel must not meet denormal numbers that no model has. */
static void fill_matrix(uint8_t *w, QuantType type, uint64_t bytes) {
    const QuantTraits *t = quant_traits(type);
    uint64_t s = 0x2545f4914f6cdd1du;
    memset(w, 0x3c, bytes); /* 0.0115 as f32 and bf16, 1.06 as f16, an ordinary scale elsewhere */
    if (!t->n_scales) return;
    for (uint64_t i = 0; i + 8 <= bytes; i += 8) {
        uint64_t r = next_random(&s);
        memcpy(w + i, &r, 8);
    }
    uint16_t scale = quant_f32_to_f16(0.01f);
    for (uint64_t b = 0; b + t->block_bytes <= bytes; b += t->block_bytes)
        for (uint32_t k = 0; k < t->n_scales; k++) memcpy(w + b + t->scale_offset + k * sizeof scale, &scale, sizeof scale);
}

static void matmul_task(void *arg, int task, int worker) {
    MatmulProbe *m = arg;
    LabProbe *p = m->p;
    (void)task;
    uint8_t *w = p->matrices + (uint64_t)worker * p->matrix_bytes;
    uint64_t calls = 0;
    do {
        p->c.kernels->matmul(m->type, w, m->rows, ROW, p->acts, (size_t)m->tokens, p->y + (uint64_t)worker * p->y_floats, m->rows,
                             p->scratch + (uint64_t)worker * ROW);
        calls++;
    } while (os_now_ns() < m->until_ns);
    atomic_fetch_add(&m->calls, calls);
}

static double matmul_rate(LabProbe *p, QuantType type, int tokens) {
    uint64_t row_bytes = quant_row_bytes(type, ROW), rows = row_bytes ? p->matrix_bytes / row_bytes : 0;
    if (!rows) return 0;
    if (rows * BATCH > p->y_floats) rows = p->y_floats / BATCH;
    for (int i = 0; i < p->threads; i++) fill_matrix(p->matrices + (uint64_t)i * p->matrix_bytes, type, rows * row_bytes);
    double best = 0;
    for (int i = 0; i < TRIES; i++) {
        MatmulProbe m = {.p = p, .type = type, .rows = rows, .tokens = tokens};
        uint64_t start = os_now_ns();
        m.until_ns = start + TRY_NS;
        os_pool_run(p->pool, p->threads, matmul_task, &m);
        double s = (double)(os_now_ns() - start) * 1e-9;
        double rate = (double)atomic_load(&m.calls) * (double)rows * ROW * tokens / s;
        if (rate > best) best = rate;
    }
    return best;
}

/* Of several formats: all weights by the time that all take. Formats with less than a hundredth of the weights decide nothing. */
static double mix_rate(LabProbe *p, const LabMix *mix, int n, int tokens) {
    uint64_t all = 0, counted = 0;
    double s = 0;
    for (int i = 0; i < n; i++) all += mix[i].weights;
    for (int i = 0; i < n; i++) {
        if (mix[i].weights < all / 100) continue;
        double rate = matmul_rate(p, mix[i].type, tokens);
        if (rate <= 0) continue;
        counted += mix[i].weights;
        s += (double)mix[i].weights / rate;
    }
    return s > 0 ? (double)counted / s : 0;
}

double lab_probe_dense(LabProbe *p) { return mix_rate(p, p->c.formats.dense, p->c.formats.n_dense, 1); }
double lab_probe_expert(LabProbe *p) { return mix_rate(p, p->c.formats.expert, p->c.formats.n_expert, 1); }

/* A prompt's tokens pass through dense weights, as through experts, many at a time, and formats differ by up to a factor of two. */
double lab_probe_batched(LabProbe *p) {
    const LabFormats *f = &p->c.formats;
    LabMix all[QUANT_TYPE_COUNT];
    int n = f->n_dense;
    memcpy(all, f->dense, (size_t)n * sizeof *all);
    for (int i = 0; i < f->n_expert; i++) count(all, &n, f->expert[i].type, f->expert[i].weights);
    return mix_rate(p, all, n, BATCH);
}
