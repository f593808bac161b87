/* From sampled ids to what a client hears: whole characters, nothing of a stop string, the likelihoods. */
#include "serve/job.h"

#include <math.h>
#include <string.h>

static Str rest(const Buf *b) { return str_make(b->ptr ? b->ptr : "", b->len); }

static void tell(ServeSequence *s, ServeEvent e) {
    int top = s->job->ask.logprobs;
    e.choice = s->choice;
    e.rows = s->rows;
    e.n_rows = s->n_rows;
    e.n_top = top > 0 ? top : 0;
    serve_events_put(&s->job->events, &e);
    s->n_rows = 0;
}

bool serve_voice_row(ServeSequence *s, int32_t id, const float *logits) {
    int top = s->job->ask.logprobs;
    if (top < 0) return true;
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
        serve_likely(logits, s->job->model->info.vocab, id, top, row);
        return true;
    }
    row[0] = (ServeLikely){NAN, id};
    for (int i = 1; i <= top; i++) row[i] = (ServeLikely){0, -1};
    return true;
}

void serve_voice_prompt(ServeSequence *s) {
    TextStream stream = {{0}, 0};
    Buf piece = {0};
    buf_clear(&s->text);
    for (size_t i = 0; i < s->prompt->n; i++) {
        buf_clear(&piece);
        serve_token_bytes(s->job->model, s->prompt->ids[i], &piece);
        text_stream_put(&stream, piece.ptr ? piece.ptr : "", piece.len, &s->text);
    }
    text_stream_end(&stream, &s->text);
    buf_free(&piece);
    tell(s, (ServeEvent){.kind = SERVE_TEXT, .text = rest(&s->text)});
}

/* Where the first stop string begins in the held text; its length if there is none. */
static size_t find_stop(const ServeSequence *s, Str *which) {
    const ServeAsk *ask = &s->job->ask;
    for (size_t at = 0; at < s->held.len; at++)
        for (size_t i = 0; i < ask->n_stops; i++) {
            Str stop = ask->stops[i];
            if (stop.len <= s->held.len - at && memcmp(s->held.ptr + at, stop.ptr, stop.len) == 0) {
                *which = stop;
                return at;
            }
        }
    return s->held.len;
}

/* From where on the held text might become a stop string. */
static size_t safe_length(const ServeSequence *s) {
    const ServeAsk *ask = &s->job->ask;
    for (size_t at = 0; at < s->held.len; at++)
        for (size_t i = 0; i < ask->n_stops; i++) {
            size_t n = s->held.len - at;
            if (n < ask->stops[i].len && memcmp(s->held.ptr + at, ask->stops[i].ptr, n) == 0) return at;
        }
    return s->held.len;
}

static void say(ServeSequence *s, size_t n) {
    if (n == 0) return;
    tell(s, (ServeEvent){.kind = SERVE_TEXT, .text = str_make(s->held.ptr, n)});
    memmove(s->held.ptr, s->held.ptr + n, s->held.len - n);
    s->held.len -= n;
}

void serve_voice_end(ServeSequence *s, ServeFinish finish, Str stop) {
    ServeUsage usage = {.prompt = (int)s->prompt->n, .cached = s->cached, .answer = s->answered};
    if (finish != SERVE_STOP_STRING) {
        text_stream_end(&s->stream, &s->held);
        say(s, s->held.len);
    }
    tell(s, (ServeEvent){.kind = SERVE_FINISH, .finish = finish, .stop = stop, .usage = usage});
}

bool serve_voice_token(ServeSequence *s, int32_t id, const float *logits, bool last) {
    if (!serve_voice_row(s, id, logits)) serve_events_lose(&s->job->events);
    if (sluice_is_stop(s->job->model->model, id)) {
        serve_voice_end(s, SERVE_STOP, str_make("", 0));
        return true;
    }
    s->answered++;
    buf_clear(&s->text);
    serve_token_bytes(s->job->model, id, &s->text);
    text_stream_put(&s->stream, s->text.ptr ? s->text.ptr : "", s->text.len, &s->held);
    Str stop = {"", 0};
    size_t at = find_stop(s, &stop);
    if (stop.len) {
        say(s, at);
        serve_voice_end(s, SERVE_STOP_STRING, stop);
        return true;
    }
    say(s, safe_length(s));
    if (last) serve_voice_end(s, SERVE_LENGTH, str_make("", 0));
    return last;
}
