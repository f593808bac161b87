/* sluice ppl: perplexity of a text. */
#include "cli/commands.h"
#include "cli/io.h"
#include "cli/opened.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct Ppl {
    Opened e;
    int32_t *ids;
    size_t n_ids;
    int window;            /* tokens per window */
    int first;             /* the first position of a window whose prediction of the next token is scored */
    const int32_t *now;    /* ids of the window that runs: [window] */
    uint64_t scored;
    double sum, sum_squares; /* of negative log-likelihoods */
    Timings time;
} Ppl;

/* Negative natural logarithm of softmax(logits)[id], in double. */
static double surprise(const float *logits, int vocab, int32_t id) {
    double most = logits[0];
    for (int i = 1; i < vocab; i++)
        if (logits[i] > most) most = logits[i];
    double sum = exp((double)logits[0] - most);
    for (int i = 1; i < vocab; i++) sum += exp((double)logits[i] - most);
    return log(sum) + most - (double)logits[id];
}

static void on_logits(void *user, int position, const float *logits) {
    Ppl *p = user;
    if (position < p->first || position + 1 >= p->window) return;
    double nll = surprise(logits, p->e.info.vocab, p->now[position + 1]);
    p->sum += nll;
    p->sum_squares += nll * nll;
    p->scored++;
}

static double mean(const Ppl *p) { return p->sum / (double)p->scored; }

/* Standard error of exp(mean): the error of the mean, carried through the exponential. */
static double standard_error(const Ppl *p) {
    if (p->scored < 2) return 0;
    double variance = p->sum_squares / (double)p->scored - mean(p) * mean(p);
    return variance > 0 ? exp(mean(p)) * sqrt(variance / (double)(p->scored - 1)) : 0;
}

static ErrCode run_windows(Ppl *p, int windows, Err *err) {
    sluice_probe probe = {.user = p, .logits = on_logits};
    opened_set_probe(&p->e, &probe);
    OsProgress bar;
    os_progress_start(&bar, "perplexity:", "windows", (uint64_t)windows);
    ErrCode code = ERR_OK;
    uint64_t start = os_now_ns();
    for (int w = 0; w < windows && !code; w++) {
        p->now = p->ids + (size_t)w * (size_t)p->window;
        sluice_session_reset(p->e.session);
        /* the last token predicts nothing that is scored */
        code = opened_feed(&p->e, p->now, (size_t)p->window - 1, err);
        p->time.prefill_tokens += (uint64_t)p->window - 1;
        os_progress_step(&bar, (uint64_t)w + 1);
        if (!code) log_debug("window %d of %d: perplexity so far %.4f", w + 1, windows, exp(mean(p)));
    }
    os_progress_end(&bar);
    p->time.prefill_ns = os_now_ns() - start;
    return code;
}

static void print_result(const Options *o, const Ppl *p, int windows) {
    double nll = mean(p), perplexity = exp(nll), error = standard_error(p);
    if (opt_on(o, OPT_JSON)) {
        out_json(json_pack("{s:f,s:f,s:I,s:f,s:i,s:i,s:s}", "perplexity", perplexity, "nll", nll, "tokens", (json_int_t)p->scored,
                           "stderr", error, "windows", windows, "ctx", p->window, "score", opt_text(o, OPT_SCORE, "half")));
    } else {
        out_printf("perplexity %.4f +/- %.4f\n", perplexity, error);
        out_printf("nll        %.6f per token\n", nll);
        out_printf("scored     %llu tokens in %d windows of %d (%s)\n", (unsigned long long)p->scored, windows, p->window,
                   opt_text(o, OPT_SCORE, "half"));
    }
    sluice_stats stats;
    sluice_get_stats(p->e.model, &stats);
    Timings time = p->time;
    time.prefill_bytes = stats.bytes_read;
    if (opt_on(o, OPT_STATS)) {
        out_flush();
        opened_print_stats(&p->e, &time);
    }
}

static ErrCode work(const Options *o, Ppl *p, const Buf *text, Err *err) {
    ErrCode code = opened_tokenize(&p->e, text->ptr, text->len, SLUICE_NO_SPECIAL, &p->ids, &p->n_ids, err);
    if (code) return err_prefix(err, "%s", opt_text(o, OPT_FILE, "standard input"));
    size_t windows = p->n_ids / (size_t)p->window;
    if (windows == 0)
        return err_set(err, ERR_RANGE, "the text has %zu tokens, one window needs %d; give a longer text or a smaller -c", p->n_ids,
                       p->window);
    size_t most = (size_t)opt_int(o, OPT_CHUNKS, INT32_MAX);
    if (windows > most) windows = most;
    else if (opt_given(o, OPT_CHUNKS) && windows < most) log_note("the text has only %zu windows, not %zu", windows, most);
    code = run_windows(p, (int)windows, err);
    if (!code) print_result(o, p, (int)windows);
    else if (code == ERR_INTERRUPTED && p->scored)
        log_note("perplexity so far %.4f over %llu tokens", exp(mean(p)), (unsigned long long)p->scored);
    return code;
}

ErrCode ppl_command(const Options *o, Err *err) {
    static Ppl p; /* its address is the engine's user pointer */
    p.window = opt_int(o, OPT_WINDOW, 512);
    bool all = strcmp(opt_text(o, OPT_SCORE, "half"), "all") == 0;
    p.first = all ? 0 : p.window / 2;
    if (p.first + 1 >= p.window) return err_set(err, ERR_USAGE, "-c %d leaves nothing to score; --score half wants at least 3", p.window);
    Buf text = {0};
    ErrCode code = input_text(o, &text, err);
    if (!code) code = opened_open(o, p.window, sluice_text_memory(text.ptr, text.len), &p.e, err);
    p.e.no_prefill_bar = true;
    if (!code) code = work(o, &p, &text, err);
    code = opened_end_trace(&p.e, code, err);
    opened_close(&p.e);
    sluice_free(p.ids);
    buf_free(&text);
    return code;
}
