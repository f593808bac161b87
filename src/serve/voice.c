/* What a client hears of a sequence: the events of its answer, in the words of ask.h, and how likely its tokens were. */
#include "serve/inside.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static void tell(ServeSequence *s, ServeEvent e, const ServeLikely *rows, size_t n_rows) {
    int top = s->job->ask.logprobs;
    e.choice = s->choice;
    e.rows = rows;
    e.n_rows = n_rows;
    e.n_top = top > 0 ? top : 0;
    serve_events_put(&s->job->events, &e);
}

/* ---- the prompt, where it is echoed -------------------------------------------------------------------------------- */

bool serve_voice_row(ServeSequence *s, int32_t id, const float *logits) {
    int top = s->job->ask.logprobs;
    size_t stride = 1 + (size_t)top;
    if (s->n_rows == s->cap_rows) {
        size_t cap = s->cap_rows ? 2 * s->cap_rows : 16;
        ServeLikely *more = mem_resize(s->rows, cap * stride, sizeof *more);
        if (!more) return false;
        s->rows = more;
        s->cap_rows = cap;
    }
    ServeLikely *row = s->rows + s->n_rows++ * stride;
    if (logits) {
        answer_likely(logits, s->job->model->info.vocab, id, top, row);
        return true;
    }
    row[0] = (ServeLikely){NAN, id};
    for (int i = 1; i <= top; i++) row[i] = (ServeLikely){0, -1};
    return true;
}

void serve_voice_prompt(ServeSequence *s) {
    TextStream stream = {{0}, 0};
    Buf piece = {0}, text = {0};
    for (size_t i = 0; i < s->prompt->n; i++) {
        buf_clear(&piece);
        serve_token_bytes(s->job->model, s->prompt->ids[i], &piece);
        text_stream_put(&stream, piece.ptr ? piece.ptr : "", piece.len, &text);
    }
    text_stream_end(&stream, &text);
    if (text.failed || piece.failed) serve_events_lose(&s->job->events);
    tell(s, (ServeEvent){.kind = SERVE_TEXT, .text = str_make(text.ptr ? text.ptr : "", text.len)}, s->rows, s->n_rows);
    s->n_rows = 0;
    buf_free(&piece);
    buf_free(&text);
}

/* ---- the answer ---------------------------------------------------------------------------------------------------- */

bool serve_voice_begin(ServeSequence *s, Err *err) {
    const ServeAsk *ask = &s->job->ask;
    AnswerSpec spec = {.model = s->job->model->model,
                       .parts = ask->chat ? &ask->parts : NULL,
                       .stops = ask->stops,
                       .n_stops = ask->n_stops,
                       .max_tokens = ask->max_tokens,
                       .max_reasoning = ask->max_reasoning,
                       .likely = ask->logprobs};
    if (ask->rule) {
        spec.grammar = ask->rule->grammar;
        spec.masks = serve_rule_masks(ask->rule, s->job->model, s->slot->serve->rules.vocab, err);
        if (!spec.masks) return false;
    }
    s->answer = answer_new(&spec, err);
    return s->answer != NULL;
}

static const char *call_id(ServeSequence *s, char out[40]) {
    uint64_t mix = splitmix(s->job->ask.seed + SPLITMIX_STEP * (s->job->arrived_ns + (uint64_t)s->choice * 4096 + (uint64_t)s->calls));
    snprintf(out, 40, "call_%016" PRIx64 "%08" PRIx32, mix, (uint32_t)splitmix(mix));
    return out;
}

/* One event of the answer. False: it is the end of the only call that was asked for. */
static bool tell_part(ServeSequence *s, TextEventKind kind, Str text, const ServeLikely *rows, size_t n_rows) {
    static const ServeEventKind kinds[] = {[TEXT_REASONING] = SERVE_REASONING, [TEXT_CONTENT] = SERVE_TEXT,
                                           [TEXT_CALL_NAME] = SERVE_TOOL_BEGIN, [TEXT_CALL_ARGUMENTS] = SERVE_TOOL_ARGS,
                                           [TEXT_CALL_END] = SERVE_TOOL_END};
    char id[40];
    if (kind == TEXT_CALL_ID) {
        snprintf(s->call_id, sizeof s->call_id, "%.*s", (int)text.len, text.ptr);
        return true;
    }
    ServeEvent e = {.kind = kinds[kind], .tool = s->calls, .text = text};
    if (kind == TEXT_CALL_NAME) {
        e.tool_id = str_c(s->call_id[0] ? s->call_id : call_id(s, id));
        e.tool_name = text;
        e.text = str_make("", 0);
    }
    tell(s, e, rows, n_rows);
    if (kind != TEXT_CALL_END) return true;
    s->call_id[0] = 0;
    s->calls++;
    return !s->job->ask.one_tool;
}

static void tell_finish(ServeSequence *s, const ServeLikely *rows, size_t n_rows) {
    static const ServeFinish kinds[] = {[ANSWER_RUNNING] = SERVE_LENGTH, [ANSWER_STOP] = SERVE_STOP,
                                        [ANSWER_TOOL_CALLS] = SERVE_TOOL_CALLS, [ANSWER_STOP_STRING] = SERVE_STOP_STRING,
                                        [ANSWER_LENGTH] = SERVE_LENGTH};
    ServeUsage usage = {
        .prompt = (int)s->prompt->n, .cached = s->cached, .answer = s->answered, .reasoning = (int)answer_reasoning_tokens(s->answer)};
    s->reasoning = usage.reasoning;
    ServeFinish finish = kinds[answer_finish(s->answer)];
    tell(s, (ServeEvent){.kind = SERVE_FINISH, .finish = finish, .stop = answer_stop(s->answer), .usage = usage}, rows, n_rows);
}

bool serve_voice_next(ServeSequence *s, sluice_session *session) {
    Answer *a = s->answer;
    size_t n_rows, n_ids;
    s->next = answer_next(a, session, &s->job->ask.sampling);
    (void)answer_ids(a, &n_ids);
    s->answered = (int)n_ids;
    const TextEvents *events = answer_events(a);
    const ServeLikely *rows = answer_rows(a, &n_rows);
    if (n_rows && s->next >= 0 && sluice_is_stop(s->job->model->model, s->next)) n_rows--; /* the end of a turn is no part of its text */
    if (events->n == 0 && answer_finish(a) == ANSWER_RUNNING) return false;
    bool more = true;
    for (size_t i = 0; i < events->n && more; i++) {
        more = tell_part(s, events->items[i].kind, text_events_text(events, i), rows, n_rows);
        n_rows = 0;
    }
    if (!more && answer_finish(a) == ANSWER_RUNNING) answer_end(a, ANSWER_TOOL_CALLS);
    if (answer_failed(a)) serve_events_lose(&s->job->events);
    if (answer_finish(a) != ANSWER_RUNNING) tell_finish(s, rows, n_rows);
    answer_told(a);
    return answer_finish(a) != ANSWER_RUNNING;
}

void serve_voice_end(ServeSequence *s) { tell_finish(s, NULL, 0); }
