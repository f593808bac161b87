/* sluice trace: runs a text through the model and records what it wanted of its experts. */
#include "cli/commands.h"
#include "cli/io.h"
#include "cli/opened.h"

#include <string.h>

/* A text longer than the context is run in windows of the context's length, each from an empty state. The cache stays as it is. */
static ErrCode run_text(Opened *e, const int32_t *ids, size_t n, Timings *time, Err *err) {
    ErrCode code = ERR_OK;
    size_t ctx = (size_t)e->info.ctx;
    uint64_t start = os_now_ns();
    OsProgress bar;
    os_progress_start(&bar, "tracing:", "tokens", n);
    for (size_t at = 0; at < n && !code; at += ctx) {
        if (at > 0) sluice_session_reset(e->session);
        size_t window = n - at < ctx ? n - at : ctx;
        code = opened_feed(e, ids + at, window, err);
        if (!code) time->prefill_tokens += window;
        os_progress_step(&bar, at + window);
    }
    os_progress_end(&bar);
    time->prefill_ns = os_now_ns() - start;
    return code;
}

static ErrCode run_on(const Options *o, Opened *e, Timings *time, Err *err) {
    sluice_sampling sampling = opened_sampling(o, e);
    ErrCode code = ERR_OK;
    uint64_t start = os_now_ns();
    for (int i = 0; i < opt_int(o, OPT_PREDICT, 0) && !code; i++) {
        if (os_interrupted()) return err_set(err, ERR_INTERRUPTED, "interrupted");
        int32_t id = sluice_sample(e->session, &sampling);
        if (sluice_position(e->session) >= e->info.ctx) sluice_session_reset(e->session);
        code = opened_feed(e, &id, 1, err);
        if (!code) time->decode_tokens++;
    }
    time->decode_ns = os_now_ns() - start;
    return code;
}

static ErrCode work(const Options *o, Opened *e, const Buf *text, Err *err) {
    int32_t *ids = NULL;
    size_t n = 0;
    Timings time = {0};
    ErrCode code = opened_tokenize(e, text->ptr, text->len, 0, &ids, &n, err);
    if (!code && n == 0) code = err_set(err, ERR_USAGE, "the text is empty; give -p TEXT, -f FILE or a text on standard input");
    if (!code) code = opened_start_trace(o, e, opt_text(o, OPT_OUT, ""), err);
    if (!code) code = run_text(e, ids, n, &time, err);
    if (!code) code = run_on(o, e, &time, err);
    sluice_free(ids);
    bool ran = code == ERR_OK;
    code = opened_end_trace(e, code, err);
    if (ran && !code && opt_on(o, OPT_JSON))
        out_json(json_pack("{s:s,s:I,s:I,s:o,s:o}", "file", opt_text(o, OPT_OUT, ""), "tokens", (json_int_t)n, "decoded",
                           (json_int_t)time.decode_tokens, "timings", opened_timings_json(e, &time), "io", opened_io_json(e, &time)));
    if (ran && opt_on(o, OPT_STATS)) opened_print_stats(e, &time);
    return code;
}

ErrCode trace_command(const Options *o, Err *err) {
    if (!opt_given(o, OPT_OUT)) return err_set(err, ERR_USAGE, "-o is missing: the trace file to write");
    if (opt_given(o, OPT_TRACE)) return err_set(err, ERR_USAGE, "--trace is what other commands take; this one writes its trace to -o");
    if (opt_on(o, OPT_JSON) && strcmp(opt_text(o, OPT_OUT, ""), "-") == 0)
        return err_set(err, ERR_USAGE, "--json and -o - would both write to standard output");
    Buf text = {0};
    static Opened e; /* its address is the engine's user pointer */
    ErrCode code = input_text(o, &text, err);
    if (!code) code = opened_open(o, 0, sluice_text_memory(text.ptr, text.len), &e, err);
    e.no_prefill_bar = true;
    if (!code) code = work(o, &e, &text, err);
    opened_close(&e);
    buf_free(&text);
    return code;
}
