/* sluice run: answers or completes one prompt, the text appearing as it is made. */
#include "answer/answer.h"
#include "cli/commands.h"
#include "cli/io.h"
#include "cli/opened.h"
#include "cli/prompt.h"
#include "text/text.h"

#include <stdio.h>
#include <string.h>

typedef struct Run {
    const Options *o;
    Opened e;
    TextIds prompt;
    Answer *answer;
    Buf text;             /* the whole answer, for --json */
    Timings time;
    uint64_t start_ns;    /* when the prompt was first fed */
    const char *finish_reason;
} Run;

/* ---- the prompt ---------------------------------------------------------------------------------------------------- */

static ErrCode check_usage(const Options *o, Err *err) {
    bool ids = opt_given(o, OPT_IDS), raw = opt_on(o, OPT_RAW) || ids;
    if (ids && (opt_given(o, OPT_PROMPT) || opt_given(o, OPT_FILE)))
        return err_set(err, ERR_USAGE, "--ids stands instead of -p and -f");
    if (raw && (opt_given(o, OPT_SYSTEM) || opt_given(o, OPT_THINK)))
        return err_set(err, ERR_USAGE, "--system and --think need the chat template; %s does without it", ids ? "--ids" : "--raw");
    return ERR_OK;
}

/* Whether the text is continued as it is. A model whose template cannot be used is not taken for one without. */
static ErrCode choose_raw(Run *r, bool *raw, Err *err) {
    *raw = opt_on(r->o, OPT_RAW);
    if (*raw || r->e.info.has_chat_template) return ERR_OK;
    if (r->e.info.chat_template_error)
        return err_set(err, ERR_UNSUPPORTED, "the model's chat template cannot be used: %s; --raw continues the text without it",
                       r->e.info.chat_template_error);
    if (opt_given(r->o, OPT_SYSTEM) || opt_given(r->o, OPT_THINK))
        return err_set(err, ERR_UNSUPPORTED, "the model has no chat template, so --system and --think have nowhere to go");
    log_debug("the model has no chat template: the text is continued as it is (--raw)");
    *raw = true;
    return ERR_OK;
}

static ErrCode read_prompt(const Options *o, Buf *text, Err *err) {
    ErrCode code = input_text(o, text, err);
    /* the newline that ends a file or an echo is not part of the prompt */
    if (!code && !opt_given(o, OPT_PROMPT) && text->len && text->ptr[text->len - 1] == '\n') text->ptr[--text->len] = 0;
    return code;
}

static ErrCode make_prompt(Run *r, const Buf *text, Err *err) {
    if (opt_given(r->o, OPT_IDS)) {
        ErrCode code = input_ids(opt_text(r->o, OPT_IDS, ""), &r->prompt.ids, &r->prompt.n, err);
        return code || r->prompt.n ? code : err_set(err, ERR_USAGE, "--ids is empty");
    }
    bool raw;
    ErrCode code = choose_raw(r, &raw, err);
    if (code) return code;
    const char *bytes = text->ptr ? text->ptr : "";
    if (!raw) {
        const char *think = opt_text(r->o, OPT_THINK, NULL);
        PromptThink mode = !think ? THINK_DEFAULT : strcmp(think, "on") == 0 ? THINK_ON : THINK_OFF;
        code = prompt_chat(&r->e, opt_text(r->o, OPT_SYSTEM, NULL), bytes, text->len, mode, &r->prompt, err);
    } else {
        code = opened_tokenize(&r->e, bytes, text->len, 0, &r->prompt.ids, &r->prompt.n, err);
        if (code) return err_prefix(err, "the prompt");
    }
    if (!code && r->prompt.n == 0) return err_set(err, ERR_USAGE, "the prompt is empty; there is nothing to continue");
    return code;
}

/* ---- the answer ---------------------------------------------------------------------------------------------------- */

/* What has come of the answer since the last time. Its reasoning is not taken apart: all of it is text. */
static void show(Run *r) {
    const TextEvents *events = answer_events(r->answer);
    for (size_t i = 0; i < events->n; i++) {
        Str text = text_events_text(events, i);
        buf_put(&r->text, text.ptr, text.len);
        if (!opt_on(r->o, OPT_JSON)) out_write(text.ptr, text.len);
    }
    if (!opt_on(r->o, OPT_JSON)) out_flush();
    answer_told(r->answer);
}

static ErrCode begin_answer(Run *r, Err *err) {
    AnswerSpec spec = {.model = r->e.model, .max_tokens = opt_int(r->o, OPT_PREDICT, -1), .likely = -1};
    r->answer = answer_new(&spec, err);
    return r->answer ? ERR_OK : err->code;
}

static ErrCode prefill(Run *r, Err *err) {
    if (r->prompt.n > (size_t)r->e.info.ctx)
        return err_set(err, ERR_RANGE, "the prompt has %zu tokens, the context holds %d; raise --ctx (the model was made for %d)",
                       r->prompt.n, r->e.info.ctx, r->e.info.ctx_train);
    r->start_ns = os_now_ns();
    ErrCode code = opened_feed(&r->e, r->prompt.ids, r->prompt.n, err);
    sluice_stats stats;
    sluice_get_stats(r->e.model, &stats);
    r->time.prefill_ns = os_now_ns() - r->start_ns;
    r->time.prefill_bytes = stats.bytes_read;
    r->time.prefill_tokens = code ? (uint64_t)sluice_position(r->e.session) : r->prompt.n;
    return code;
}

static ErrCode decode(Run *r, const sluice_sampling *sampling, Err *err) {
    ErrCode code = ERR_OK;
    uint64_t start = os_now_ns();
    if (opt_int(r->o, OPT_PREDICT, -1) == 0) answer_end(r->answer, ANSWER_LENGTH);
    while (!answer_finish(r->answer)) {
        if (os_interrupted()) code = err_set(err, ERR_INTERRUPTED, "interrupted");
        if (code || out_gone()) break;
        int32_t id = answer_next(r->answer, r->e.session, sampling);
        if (!r->time.first_ns) r->time.first_ns = os_now_ns() - r->start_ns;
        show(r);
        if (answer_failed(r->answer)) code = err_no_memory(err, r->text.len, "the answer");
        if (code || answer_finish(r->answer)) break;
        code = opened_feed(&r->e, &id, 1, err);
        if (!code) r->time.decode_tokens++;
    }
    r->time.decode_ns = os_now_ns() - start;
    r->finish_reason = code == ERR_INTERRUPTED ? "interrupted" : code ? "error" :
                       answer_finish(r->answer) == ANSWER_STOP ? "stop" : "length";
    return code;
}

static void print_result(const Run *r) {
    size_t n;
    const int32_t *ids = answer_ids(r->answer, &n);
    if (!opt_on(r->o, OPT_JSON)) {
        if (os_stdout_is_terminal() && r->text.len && r->text.ptr[r->text.len - 1] != '\n') out_puts("\n");
        return;
    }
    out_json(json_pack("{s:o,s:I,s:I,s:s,s:I,s:o,s:o,s:o}", "text", json_text(r->text.ptr ? r->text.ptr : "", r->text.len),
                       "tokens_prompt", (json_int_t)r->prompt.n, "tokens_out", (json_int_t)n, "finish_reason",
                       r->finish_reason, "seed", (json_int_t)r->e.seed, "timings", opened_timings_json(&r->e, &r->time), "io",
                       opened_io_json(&r->e, &r->time), "ids", json_ids(ids, n)));
}

static void print_stats(const Run *r, const sluice_sampling *s) {
    opened_print_stats(&r->e, &r->time);
    if (s->temperature > 0) {
        fprintf(stderr, "  sampling temp %g, top-k %d, top-p %g, min-p %g; --seed %llu repeats this answer\n", (double)s->temperature,
                s->top_k, (double)s->top_p, (double)s->min_p, (unsigned long long)r->e.seed);
    } else {
        fprintf(stderr, "  sampling greedy\n");
    }
}

ErrCode run_command(const Options *o, Err *err) {
    Buf text = {0};
    ErrCode code = check_usage(o, err);
    if (!code && !opt_given(o, OPT_IDS)) code = read_prompt(o, &text, err);
    if (!code && !opt_given(o, OPT_IDS) && text.len == 0)
        code = err_set(err, ERR_USAGE, "the prompt is empty; give -p TEXT, -f FILE or a text on standard input");
    static Run r; /* its address is the engine's user pointer */
    r.o = o;
    /* beside tokenising, ten times the text: a chat template holds it as JSON, as values and as the rendered prompt */
    uint64_t text_bytes = sluice_text_memory(text.ptr, text.len) + (opt_on(o, OPT_RAW) ? 0 : 10 * (uint64_t)text.len);
    if (!code) code = opened_open(o, 0, text_bytes, &r.e, err);
    if (!code) code = make_prompt(&r, &text, err);
    if (!code) code = begin_answer(&r, err);
    if (!code) {
        sluice_sampling sampling = opened_sampling(r.o, &r.e);
        r.finish_reason = "interrupted";
        code = prefill(&r, err);
        if (!code) code = decode(&r, &sampling, err);
        if (!code || code == ERR_INTERRUPTED) {
            answer_end(r.answer, ANSWER_LENGTH);
            show(&r);
            if (r.text.failed) code = err_no_memory(err, r.text.len, "the answer");
            print_result(&r);
            out_flush();
            if (opt_on(o, OPT_STATS)) print_stats(&r, &sampling);
        }
    }
    code = opened_end_trace(&r.e, code, err);
    opened_close(&r.e);
    buf_free(&text);
    buf_free(&r.text);
    text_ids_free(&r.prompt);
    answer_free(r.answer);
    return code;
}
