/* sluice run: answers or completes one prompt, the text appearing as it is made. */
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
    TextIds prompt, answer;
    Buf text;             /* the whole answer, for --json */
    TextStream stream;    /* holds back half a character */
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

static void show(Run *r, const char *bytes, size_t len, bool end) {
    size_t before = r->text.len;
    text_stream_put(&r->stream, bytes, len, &r->text);
    if (end) text_stream_end(&r->stream, &r->text);
    if (opt_on(r->o, OPT_JSON)) return;
    out_write(r->text.ptr ? r->text.ptr + before : "", r->text.len - before);
    out_flush();
}

static ErrCode keep_id(Run *r, int32_t id, Err *err) {
    if (r->answer.n == r->answer.cap) {
        size_t cap = r->answer.cap ? 2 * r->answer.cap : 256;
        int32_t *more = mem_resize(r->answer.ids, cap, sizeof *more);
        if (!more) return err_no_memory(err, cap * sizeof *more, "the answer");
        r->answer.ids = more;
        r->answer.cap = cap;
    }
    r->answer.ids[r->answer.n++] = id;
    return ERR_OK;
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
    int limit = opt_int(r->o, OPT_PREDICT, -1);
    Buf piece = {0};
    ErrCode code = ERR_OK;
    uint64_t start = os_now_ns();
    r->finish_reason = "length";
    while (limit < 0 || (int64_t)r->answer.n < limit) {
        if (os_interrupted()) code = err_set(err, ERR_INTERRUPTED, "interrupted");
        if (code || out_gone()) break;
        int32_t id = sluice_sample(r->e.session, sampling);
        if (r->answer.n == 0) r->time.first_ns = os_now_ns() - r->start_ns;
        if (sluice_is_stop(r->e.model, id)) {
            r->finish_reason = "stop";
            break;
        }
        buf_clear(&piece);
        opened_token_text(&r->e, id, &piece);
        code = keep_id(r, id, err);
        show(r, piece.ptr ? piece.ptr : "", piece.len, false);
        bool last = limit >= 0 && (int64_t)r->answer.n >= limit;
        if (code || last || sluice_position(r->e.session) >= r->e.info.ctx) break;
        code = opened_feed(&r->e, &id, 1, err);
        if (!code) r->time.decode_tokens++;
    }
    r->time.decode_ns = os_now_ns() - start;
    if (code) r->finish_reason = code == ERR_INTERRUPTED ? "interrupted" : "error";
    buf_free(&piece);
    return code;
}

static void print_result(const Run *r) {
    if (!opt_on(r->o, OPT_JSON)) {
        if (os_stdout_is_terminal() && r->text.len && r->text.ptr[r->text.len - 1] != '\n') out_puts("\n");
        return;
    }
    out_json(json_pack("{s:o,s:I,s:I,s:s,s:I,s:o,s:o,s:o}", "text", json_text(r->text.ptr ? r->text.ptr : "", r->text.len),
                       "tokens_prompt", (json_int_t)r->prompt.n, "tokens_out", (json_int_t)r->answer.n, "finish_reason",
                       r->finish_reason, "seed", (json_int_t)r->e.seed, "timings", opened_timings_json(&r->e, &r->time), "io",
                       opened_io_json(&r->e, &r->time), "ids", json_ids(r->answer.ids, r->answer.n)));
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
    if (!code) {
        sluice_sampling sampling = opened_sampling(r.o, &r.e);
        r.finish_reason = "interrupted";
        code = prefill(&r, err);
        if (!code) code = decode(&r, &sampling, err);
        if (!code || code == ERR_INTERRUPTED) {
            show(&r, "", 0, true);
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
    text_ids_free(&r.answer);
    return code;
}
