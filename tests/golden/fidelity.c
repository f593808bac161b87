#define _GNU_SOURCE
/* Prints docs/fidelity.md: how far our numbers are from the reference's, and what each lossy option costs. `make fidelity`. */
#include "support/recording.h"
#include "support/support.h"

#include "kernels/kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- golden logits ---- */

static void golden_row(const char *model, const char *golden) {
    char rel[128];
    snprintf(rel, sizeof rel, "data/golden/%s", model);
    const char *path = shared_path(rel);
    snprintf(rel, sizeof rel, "data/golden/%s.golden.safetensors", golden);
    const char *golden_path = shared_path(rel);
    if (!path_exists_or_say_skip(path) || !path_exists_or_say_skip(golden_path)) return;
    Golden *g = golden_open(golden_path);
    sluice_options options = check_options(path);
    sluice_model *m = open_or_fail(&options);
    sluice_session *s = sluice_session_new(m, NULL);
    const GoldenTensor *ids = golden_get(g, "A.ids");
    Recording *r = record(m, s, ids->data, (int)ids->count, NULL);
    Difference logits = difference(r->logits, golden_f32(g, "A.logits", 0), (int64_t)r->n * r->vocab);
    Difference hidden = difference(r->hidden, golden_f32(g, "A.hidden", 0), (int64_t)r->layers * r->n * r->width);
    const GoldenTensor *want = golden_get(g, "A.greedy");
    int32_t got[128];
    greedy(s, (int)want->count, got);
    int same = 0;
    while (same < (int)want->count && got[same] == ((const int32_t *)want->data)[same]) same++;
    printf("| `%s` | %.1e | %.1e | %.1e | %.1e | %d of %d |\n", model, logits.max, logits.mean, hidden.max, hidden.mean,
           same, (int)want->count);
    recording_free(r);
    sluice_session_free(s);
    sluice_close(m);
    golden_close(g);
}

/* ---- perplexity and KL over windows ---- */

typedef struct Text {
    int32_t *ids;
    int n, window, windows;
    bool half; /* score the second half only */
} Text;

static Text load_text(const char *model, const char *path, int window, int windows, bool half) {
    Text t = {.window = window, .windows = windows, .half = half};
    FILE *f = fopen(path, "rb");
    if (!f) return t;
    fseek(f, 0, SEEK_END);
    size_t size = (size_t)ftell(f);
    rewind(f);
    char *text = malloc(size);
    if (fread(text, 1, size, f) != size) size = 0;
    fclose(f);
    sluice_options o = check_options(model);
    sluice_model *m = open_or_fail(&o);
    size_t n;
    sluice_error err;
    if (sluice_tokenize(m, text, size, SLUICE_NO_SPECIAL, &t.ids, &n, &err)) fail_msg("%s", err.message);
    t.n = (int)n;
    if (t.windows > t.n / window) t.windows = t.n / window;
    sluice_close(m);
    free(text);
    return t;
}

typedef struct Quality {
    double nll, kl_mean, kl_max, top1;
    long scored;
} Quality;

static void log_softmax(const float *x, int n, double *out) {
    double best = (double)x[0], sum = 0;
    for (int i = 1; i < n; i++) best = fmax(best, (double)x[i]);
    for (int i = 0; i < n; i++) sum += exp((double)x[i] - best);
    double shift = best + log(sum);
    for (int i = 0; i < n; i++) out[i] = (double)x[i] - shift;
}

static int argmax(const float *x, int n) {
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

/* b against a over the same windows: perplexity of b, KL(a || b), how often both prefer the same token. */
static Quality compare(const sluice_options *a, const sluice_options *b, const Text *t) {
    sluice_model *ma = open_or_fail(a), *mb = open_or_fail(b);
    sluice_session *sa = sluice_session_new(ma, NULL), *sb = sluice_session_new(mb, NULL);
    sluice_info info;
    sluice_get_info(ma, &info);
    size_t vocab = (size_t)info.vocab;
    double *pa = malloc(vocab * sizeof *pa), *pb = malloc(vocab * sizeof *pb);
    Quality q = {0};
    for (int w = 0; w < t->windows; w++) {
        const int32_t *ids = t->ids + (size_t)w * (size_t)t->window;
        sluice_session_reset(sa);
        sluice_session_reset(sb);
        Recording *ra = record(ma, sa, ids, t->window, NULL), *rb = record(mb, sb, ids, t->window, NULL);
        for (int i = t->half ? t->window / 2 : 0; i + 1 < t->window; i++) {
            const float *xa = ra->logits + (size_t)i * vocab, *xb = rb->logits + (size_t)i * vocab;
            log_softmax(xa, info.vocab, pa);
            log_softmax(xb, info.vocab, pb);
            double kl = 0;
            for (size_t v = 0; v < vocab; v++) kl += exp(pa[v]) * (pa[v] - pb[v]);
            q.nll -= pb[ids[i + 1]];
            q.kl_mean += kl;
            q.kl_max = fmax(q.kl_max, kl);
            q.top1 += argmax(xa, info.vocab) == argmax(xb, info.vocab);
            q.scored++;
        }
        recording_free(ra);
        recording_free(rb);
    }
    q.nll /= (double)q.scored;
    q.kl_mean /= (double)q.scored;
    q.top1 /= (double)q.scored;
    free(pa);
    free(pb);
    sluice_session_free(sa);
    sluice_session_free(sb);
    sluice_close(ma);
    sluice_close(mb);
    return q;
}

static void quality_row(const char *name, const sluice_options *a, const sluice_options *b, const Text *t, double base_nll) {
    Quality q = compare(a, b, t);
    printf("| %s | %.4f | %+.3f %% | %.2e | %.2e | %.2f %% |\n", name, exp(q.nll), 100 * (exp(q.nll - base_nll) - 1), q.kl_mean, q.kl_max,
           100 * q.top1);
    fflush(stdout);
}

static void quality_table(const char *title, const char *model, const char *text_path, int window, int windows, bool half, int k) {
    if (!path_exists_or_say_skip(model) || !path_exists_or_say_skip(text_path)) return;
    Text t = load_text(model, text_path, window, windows, half);
    printf("\n### %s\n\n%d windows of %d ids, %s scored.\n\n", title, t.windows, window, half ? "second half" : "all but the first");
    printf("| arithmetic | perplexity | against `--precise` | KL mean | KL max | same first choice |\n|---|---|---|---|---|---|\n");
    sluice_options precise = check_options(model), other = precise;
    double base = compare(&precise, &precise, &t).nll;
    quality_row("`--precise`", &precise, &precise, &t, base);
    other.precise = false;
    quality_row("default", &precise, &other, &t, base);
    other.kv = "f16";
    quality_row("`--kv f16`", &precise, &other, &t, base);
    other.kv = "q8_0";
    sluice_error err;
    sluice_model *suits = sluice_open(&other, &err);
    sluice_close(suits);
    if (suits) quality_row("`--kv q8_0`", &precise, &other, &t, base);
    else printf("| `--kv q8_0` | refused: %s |||||\n", err.message);
    other.kv = NULL;
    for (int e = k - 1; e >= 1; e--) {
        char name[32];
        snprintf(name, sizeof name, "`--experts %d` of %d", e, k);
        other.experts = e;
        quality_row(name, &precise, &other, &t, base);
    }
    sluice_free(t.ids);
}

/* When, and on what. */
static void print_head(void) {
    char date[32], cpu[128] = "unknown CPU", line[256];
    time_t now = time(NULL);
    struct tm utc;
    strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&now, &utc));
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':')) snprintf(cpu, sizeof cpu, "%.100s", strchr(line, ':') + 2);
    if (f) fclose(f);
    cpu[strcspn(cpu, "\n")] = 0;
    const char *rung = kernels_get(KERNELS_RUNG_COUNT)->name;
    printf("# Fidelity\n\nPrinted by `make fidelity` on %s (%s, kernels %s).\n\n", date, cpu, rung);
}

int main(void) {
    print_head();
    printf("## Against the reference implementation, `--precise`\n\n");
    printf("Prompt A of each golden file (37 tokens): every logit, the residual stream after every layer, the greedy continuation.\n\n");
    printf("| file | logits max | mean | hidden max | mean | greedy ids equal |\n|---|---|---|---|---|---|\n");
    static const char *const cases[][2] = {
        {"q35-a", "q35-a"}, {"q35-a.f16.gguf", "q35-a"}, {"q35-a.qa.gguf", "q35-a.qa"}, {"q35-a.qb.gguf", "q35-a.qb"},
        {"q35-real-dims", "q35-real-dims"}, {"q35-real-dims.bf16-00001-of-00003.gguf", "q35-real-dims"},
        {"next-a", "next-a"}, {"next-a.f32.gguf", "next-a"}, {"moe-a", "moe-a"}, {"moe-a.f32.gguf", "moe-a"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) golden_row(cases[i][0], cases[i][1]);
    printf("\n## Default arithmetic, and what lossy options cost\n\nPerplexity of the trained models; KL is KL(precise "
           "|| row), in nats per token.\n");
    const char *tales = shared_path("data/models/tiny-tales/tiny-tales.val.txt");
    quality_table("tiny-tales, Q8_0 (the embedded model)", source_path("data/tiny-tales.gguf"), tales, 256, 64, false, 4);
    quality_table("tiny-tales, BF16 folder", shared_path("data/models/tiny-tales"), tales, 256, 64, false, 4);
    quality_table("nano-shakespeare, F32", shared_path("data/models/nano-shakespeare/model.f32.gguf"),
                  shared_path("data/text/tinyshakespeare.val.txt"), 128, 300, true, 2);
    printf("\n## Reading\n\n"
           "- The default differs from `--precise` only where weights are block-quantised: it then rounds activations to\n"
           "  8 bits per block of 32. BF16, F16 and F32 weights are multiplied in f32 either way. The largest KL are single\n"
           "  tokens whose routing flips.\n"
           "- `--kv f16` and `--kv q8_0` cost less than 8-bit activations do: beside those the cost of q8_0 cannot be told from noise,\n"
           "  alone (BF16) its mean KL is ten times that of f16.\n"
           "- `--experts` below the model's own number is lossy. Judge it by KL: the perplexity of this text happens to fall\n"
           "  with 3 of 4 experts, while one first choice in twenty changes.\n");
    return 0;
}
