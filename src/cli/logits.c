/* sluice logits: the numbers behind an answer, written to a safetensors file as they are computed. */
#include "cli/commands.h"
#include "cli/io.h"
#include "cli/opened.h"
#include "cli/tensor_file.h"

#include <stdio.h>

enum { NOT_WRITTEN = -1 };

typedef struct Logits {
    Opened e;
    int32_t *ids;
    size_t n_ids;                    /* T */
    uint64_t first_row;              /* rows of logits before it are not written */
    int n_greedy, top_k;
    TensorFile file;
    int logits, greedy, hidden, topk_ids, topk_weights; /* index of the tensor in the file */
    Timings time;
} Logits;

/* ---- what the engine shows ----------------------------------------------------------------------------------------- */

static void on_logits(void *user, int position, const float *logits) {
    Logits *l = user;
    uint64_t row_bytes = (uint64_t)l->e.info.vocab * sizeof *logits;
    if ((uint64_t)position >= l->first_row)
        tensor_file_put(&l->file, l->logits, ((uint64_t)position - l->first_row) * row_bytes, logits, row_bytes);
}

static void on_hidden(void *user, int layer, int position, int n, const float *hidden) {
    Logits *l = user;
    uint64_t row_bytes = (uint64_t)l->e.info.hidden * sizeof *hidden;
    tensor_file_put(&l->file, l->hidden, ((uint64_t)layer * l->n_ids + (uint64_t)position) * row_bytes, hidden,
                    (uint64_t)n * row_bytes);
}

static void on_routing(void *user, int layer, int position, int k, const int32_t *experts, const float *weights) {
    Logits *l = user;
    uint64_t bytes = (uint64_t)k * sizeof *experts;
    uint64_t at = ((uint64_t)layer * l->n_ids + (uint64_t)position) * (uint64_t)l->top_k * sizeof *experts;
    tensor_file_put(&l->file, l->topk_ids, at, experts, bytes);
    tensor_file_put(&l->file, l->topk_weights, at, weights, bytes);
}

/* ---- steps --------------------------------------------------------------------------------------------------------- */

static ErrCode create_file(const Options *o, Logits *l, Err *err) {
    uint64_t layers = (uint64_t)l->e.info.layers, t = l->n_ids, last = (uint64_t)opt_int(o, OPT_LAST, (int)t);
    if (last > t) return err_set(err, ERR_RANGE, "--last %llu: there are only %llu rows", (unsigned long long)last, (unsigned long long)t);
    l->first_row = t - last;
    FormatOut out[TENSOR_FILE_MAX];
    int n = 0;
    l->logits = n;
    out[n++] = (FormatOut){"logits", QUANT_F32, 2, {last, (uint64_t)l->e.info.vocab}, NULL};
    l->greedy = l->hidden = l->topk_ids = l->topk_weights = NOT_WRITTEN;
    if (l->n_greedy) {
        l->greedy = n;
        out[n++] = (FormatOut){"greedy", QUANT_I32, 1, {(uint64_t)l->n_greedy}, NULL};
    }
    if (opt_on(o, OPT_HIDDEN)) {
        l->hidden = n;
        out[n++] = (FormatOut){"hidden", QUANT_F32, 3, {layers, t, (uint64_t)l->e.info.hidden}, NULL};
    }
    if (opt_on(o, OPT_ROUTING)) {
        l->topk_ids = n;
        out[n++] = (FormatOut){"topk_ids", QUANT_I32, 3, {layers, t, (uint64_t)l->top_k}, NULL};
        l->topk_weights = n;
        out[n++] = (FormatOut){"topk_weights", QUANT_F32, 3, {layers, t, (uint64_t)l->top_k}, NULL};
    }
    return tensor_file_create(&l->file, opt_text(o, OPT_OUT, "-"), out, n, err);
}

static ErrCode feed_prompt(Logits *l, Err *err) {
    sluice_probe probe = {.user = l, .logits = on_logits};
    if (l->hidden != NOT_WRITTEN) probe.hidden = on_hidden;
    if (l->topk_ids != NOT_WRITTEN) probe.routing = on_routing;
    opened_set_probe(&l->e, &probe);
    uint64_t start = os_now_ns();
    ErrCode code = opened_feed(&l->e, l->ids, l->n_ids, err);
    opened_set_probe(&l->e, NULL);
    sluice_stats stats;
    sluice_get_stats(l->e.model, &stats);
    l->time.prefill_ns = l->time.first_ns = os_now_ns() - start;
    l->time.prefill_tokens = l->n_ids;
    l->time.prefill_bytes = stats.bytes_read;
    return code;
}

/* The most likely tokens one after the other, ties to the lowest id; an end of text does not end it. */
static ErrCode continue_greedily(Logits *l, Err *err) {
    uint64_t start = os_now_ns();
    ErrCode code = ERR_OK;
    for (int i = 0; i < l->n_greedy && !code; i++) {
        const float *logits = sluice_logits(l->e.session);
        int32_t best = 0;
        for (int32_t id = 1; id < l->e.info.vocab; id++)
            if (logits[id] > logits[best]) best = id;
        tensor_file_put(&l->file, l->greedy, (uint64_t)i * sizeof best, &best, sizeof best);
        if (i + 1 == l->n_greedy) break;
        code = os_interrupted() ? err_set(err, ERR_INTERRUPTED, "interrupted") : opened_feed(&l->e, &best, 1, err);
        if (!code) l->time.decode_tokens++;
    }
    l->time.decode_ns = os_now_ns() - start;
    return code;
}

static void print_summary(const Options *o, const Logits *l) {
    const char *path = opt_text(o, OPT_OUT, "-");
    if (opt_on(o, OPT_JSON) && l->file.path && path[0] != '-') {
        out_json(json_pack("{s:s,s:I,s:i,s:i,s:o,s:o}", "file", path, "tokens", (json_int_t)l->n_ids, "vocab", l->e.info.vocab,
                           "layers", l->e.info.layers, "timings", opened_timings_json(&l->e, &l->time), "io",
                           opened_io_json(&l->e, &l->time)));
    } else {
        log_note("%zu tokens, %.1f tokens/s; written to %s", l->n_ids, per_second(l->time.prefill_tokens, l->time.prefill_ns),
                 path[0] == '-' && !path[1] ? "standard output" : path);
    }
    if (opt_on(o, OPT_STATS)) opened_print_stats(&l->e, &l->time);
}

static ErrCode work(const Options *o, Logits *l, const Buf *text, Err *err) {
    if (!l->ids) {
        unsigned flags = opt_on(o, OPT_NO_SPECIAL) ? SLUICE_NO_SPECIAL : 0;
        ErrCode code = opened_tokenize(&l->e, text->ptr, text->len, flags, &l->ids, &l->n_ids, err);
        if (code) return code;
    }
    uint64_t need = l->n_ids + (l->n_greedy ? (uint64_t)l->n_greedy - 1 : 0);
    if (l->n_ids == 0) return err_set(err, ERR_USAGE, "there are no tokens to run; give --ids, -p or -f");
    if (need > (uint64_t)l->e.info.ctx)
        return err_set(err, ERR_RANGE, "%llu tokens are to be run, the context holds %d; raise --ctx", (unsigned long long)need,
                       l->e.info.ctx);
    l->top_k = l->e.info.experts_per_token;
    ErrCode code = create_file(o, l, err);
    if (code) return code;
    code = feed_prompt(l, err);
    if (!code) code = continue_greedily(l, err);
    ErrCode written = tensor_file_finish(&l->file, !code, code ? NULL : err);
    if (!code) code = written;
    if (!code) print_summary(o, l);
    return code;
}

ErrCode logits_command(const Options *o, Err *err) {
    if (!opt_given(o, OPT_OUT)) return err_set(err, ERR_USAGE, "-o is missing: the safetensors file to write");
    if (opt_given(o, OPT_IDS) && (opt_given(o, OPT_PROMPT) || opt_given(o, OPT_FILE)))
        return err_set(err, ERR_USAGE, "--ids stands instead of -p and -f");
    static Logits l; /* its address is the engine's user pointer */
    l.n_greedy = opt_int(o, OPT_GREEDY, 0);
    int ctx = 0;
    if (opt_given(o, OPT_IDS)) {
        ErrCode code = input_ids(opt_text(o, OPT_IDS, ""), &l.ids, &l.n_ids, err);
        if (code) return code;
        if (l.n_ids + (size_t)l.n_greedy > 16777216) return err_set(err, ERR_RANGE, "more than 16777216 tokens are to be run");
        ctx = (int)l.n_ids + l.n_greedy;
        if (!l.ids) return err_set(err, ERR_USAGE, "--ids is empty");
    }
    Buf text = {0};
    ErrCode code = opt_given(o, OPT_IDS) ? ERR_OK : input_text(o, &text, err);
    if (!code) code = opened_open(o, ctx, sluice_text_memory(text.ptr, text.len), &l.e, err);
    if (!code) code = work(o, &l, &text, err);
    code = opened_end_trace(&l.e, code, err);
    opened_close(&l.e);
    buf_free(&text);
    mem_free(l.ids);
    return code;
}
