/* Answers: a JSON value at once, or what is computed, as one body or as a stream. */
#include "serve/http.h"
#include "text/text.h"
#include "os/os.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const uint64_t LOOK_NS = 100000000, ALIVE_NS = 5000000000;
enum { BLOCK = 16 << 10 };

/* ---- at once ----------------------------------------------------------------------------------------------------- */

static void send_response(ServeVisit *v, int status, struct MHD_Response *response, const char *type) {
    v->status = status;
    v->answered = true;
    v->lost = !response;
    if (!response) return;
    MHD_add_response_header(response, "Content-Type", type);
    serve_guard_headers(v, response);
    char seconds[16];
    snprintf(seconds, sizeof seconds, "%d", v->no.retry_after_s);
    if (v->no.retry_after_s) MHD_add_response_header(response, "Retry-After", seconds);
    if (status == 405) MHD_add_response_header(response, "Allow", v->no.allow);
    if (v->wire && v->wire->over) MHD_add_response_header(response, "Connection", "close");
    if (status == 401) MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    v->lost = MHD_queue_response(v->connection, (unsigned)status, response) == MHD_NO;
    MHD_destroy_response(response);
}

void serve_reply_text(ServeVisit *v, int status, const char *type, Buf *text) {
    serve_wire_until(v, serve_request_ns(v->serve));
    struct MHD_Response *response = NULL;
    if (!text->failed) response = MHD_create_response_from_buffer(text->len, text->ptr ? text->ptr : (char *)"", MHD_RESPMEM_MUST_COPY);
    send_response(v, status, response, type);
    buf_free(text);
}

void serve_reply_json(ServeVisit *v, int status, json_t *value) {
    Buf text = {0};
    if (!text_json_put(value, &text)) text.failed = true;
    buf_putc(&text, '\n');
    json_decref(value);
    serve_reply_text(v, status, "application/json", &text);
}

void serve_reply_refusal(ServeVisit *v) { serve_reply_json(v, v->no.status, serve_route_error(v->path, v->route, &v->no)); }

/* ---- what is computed -------------------------------------------------------------------------------------------- */

static void refuse_lost(ServeVisit *v) { (void)serve_refuse(&v->no, 500, NULL, "out of memory while the answer was written"); }

/* The next event, however long it takes; false: the client has gone, or an event was lost (v->no). */
static bool next_event(ServeVisit *v, ServeEvent *e) {
    while (!serve_events_take(&v->job->events, LOOK_NS, e)) {
        if (serve_events_lost(&v->job->events)) {
            refuse_lost(v);
            return false;
        }
        if (!serve_wire_gone(v)) continue;
        (void)serve_refuse(&v->no, 499, NULL, "the client went away");
        return false;
    }
    return true;
}

static void reply_whole(ServeVisit *v) {
    ServeAnswer answer;
    ServeEvent e = {.kind = SERVE_BEGIN};
    v->no.status = 0;
    if (!serve_answer_init(&answer, &v->job->ask)) refuse_lost(v);
    while (!v->no.status && next_event(v, &e)) {
        serve_trace_event(v, &e);
        if (e.kind == SERVE_FAILED) v->no = *e.refusal;
        else if (!serve_answer_add(&answer, &e)) refuse_lost(v);
        if (e.kind == SERVE_DONE) break;
    }
    if (v->no.status) serve_reply_refusal(v);
    else serve_reply_json(v, 200, v->route->shape->whole(&v->reply, &answer));
    serve_answer_free(&answer);
}

/* More of the stream into v->out: what there is, or a sign of life; v->over when it was the last. */
static void more_of_stream(ServeVisit *v) {
    const ServeShape *shape = v->route->shape;
    const uint64_t alive_ns = v->serve->config->limits.alive_ns ? v->serve->config->limits.alive_ns : ALIVE_NS;
    const uint64_t look_ns = alive_ns < LOOK_NS ? alive_ns : LOOK_NS;
    ServeEvent e;
    buf_clear(&v->out);
    v->sent = 0;
    while (v->out.len == 0 && !v->over) {
        bool any = serve_events_take(&v->job->events, look_ns, &e);
        for (; any; any = !v->over && v->out.len < BLOCK && serve_events_take(&v->job->events, 0, &e)) {
            serve_trace_event(v, &e);
            shape->stream(&v->reply, &e, &v->out);
            v->over = e.kind == SERVE_DONE || e.kind == SERVE_FAILED;
        }
        if (serve_events_lost(&v->job->events) || v->out.failed || serve_wire_gone(v)) v->over = true;
        if (v->out.len == 0 && !v->over && os_now_ns() - v->spoke_ns >= alive_ns) buf_puts(&v->out, shape->alive);
    }
    v->spoke_ns = os_now_ns();
}

/* A client owes us nothing while it waits. What it is given it must take in time, or the janitor cuts its wire; its conversation rests
 * meanwhile, as soon as its queue is full. */
static ssize_t read_stream(void *user, uint64_t at, char *out, size_t most) {
    (void)at;
    ServeVisit *v = user;
    if (v->sent == v->out.len && !v->over) {
        serve_wire_owes(v, 0);
        more_of_stream(v);
    }
    serve_wire_owes(v, serve_request_ns(v->serve));
    if (v->out.failed) return MHD_CONTENT_READER_END_WITH_ERROR;
    if (v->sent == v->out.len) return MHD_CONTENT_READER_END_OF_STREAM;
    size_t n = v->out.len - v->sent < most ? v->out.len - v->sent : most;
    memcpy(out, v->out.ptr + v->sent, n);
    v->sent += n;
    return (ssize_t)n;
}

void serve_reply_events(ServeVisit *v, ssize_t (*read)(void *visit, uint64_t at, char *out, size_t most)) {
    v->spoke_ns = os_now_ns();
    struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, read, v, NULL);
    if (response) {
        MHD_add_response_header(response, "Cache-Control", "no-store");
        MHD_add_response_header(response, "X-Accel-Buffering", "no");
    }
    send_response(v, 200, response, "text/event-stream; charset=utf-8");
}

/* ---- from body to job -------------------------------------------------------------------------------------------- */

static uint64_t fresh_number(void) {
    static _Atomic uint64_t turn;
    uint64_t seed = (uint64_t)time(NULL) ^ os_now_ns() << 20;
    return splitmix(seed + SPLITMIX_STEP * (atomic_fetch_add(&turn, 1) + 1));
}

static bool refuse_full(ServeVisit *v) {
    Serve *s = v->serve;
    if (serve_phase(s) >= SERVE_STOPPING) return serve_refuse(&v->no, 503, NULL, "the server is shutting down");
    uint64_t wait_s = atomic_load(&s->job_ns) / 1000000000u;
    (void)serve_refuse(&v->no, 429, NULL, "%d requests are waiting already, which is all the queue holds; try again later",
                       s->config->queue);
    v->no.retry_after_s = wait_s < 1 ? 1 : wait_s > 60 ? 60 : (int)wait_s;
    return false;
}

static bool begin_job(ServeVisit *v, ServeAsk *ask) {
    Serve *s = v->serve;
    v->reply = (ServeReply){.model = &s->model, .number = fresh_number(), .created = (int64_t)time(NULL)};
    if (!serve_hold(v, serve_purse_job(ask, s->model.info.ctx), "the answer")) return false;
    if (!ask->seeded) ask->seed = v->reply.number & 0xffffffffu;
    if (v->route->shape->own_bytes) v->reply.own = mem_new(1, v->route->shape->own_bytes);
    ServeJob *job = !v->route->shape->own_bytes || v->reply.own ? serve_job_new(ask, &s->model, &s->purse) : NULL;
    if (!job) return serve_refuse(&v->no, 500, NULL, "out of memory while the request was begun");
    v->job = job;
    job->held = v->held;
    v->held = 0;
    v->reply.ask = &job->ask;
    serve_trace_begin(v); /* before the worker may end it */
    if (serve_queue_put(&s->queue, job)) return true;
    serve_job_release(job); /* the worker has never seen it */
    return refuse_full(v);
}

static bool read_ask(ServeVisit *v, ServeAsk *ask) {
    json_t *body = serve_body_json(v);
    if (!body) return false;
    serve_ask_init(ask, &v->serve->model, body);
    ask->body_bytes = v->body_bytes;
    bool ok = v->route->shape->read(&v->serve->model, body, ask, &v->no) && serve_text_prompts(v->serve, ask, &v->no);
    json_decref(body);
    return ok;
}

void serve_reply_job(ServeVisit *v) {
    ServeAsk ask = {.logprobs = -1};
    serve_wire_until(v, 0);
    bool room = serve_queue_inside(&v->serve->queue) < v->serve->queue.most || refuse_full(v); /* before anything is done for it */
    bool ok = room && read_ask(v, &ask) && begin_job(v, &ask);
    serve_ask_free(&ask);
    if (!ok) serve_reply_refusal(v);
    else if (v->job->ask.stream) serve_reply_events(v, read_stream);
    else reply_whole(v);
}

/* What a conversation costs before it is asked: rendered and tokenised as it would be. */
void serve_count(ServeVisit *v) {
    ServeAsk ask = {.logprobs = -1};
    if (read_ask(v, &ask)) serve_reply_json(v, 200, json_pack("{s:I}", "input_tokens", (json_int_t)ask.prompts[0].n));
    else serve_reply_refusal(v);
    serve_ask_free(&ask);
}

void serve_reply_close(ServeVisit *v) {
    serve_trace_end(v);
    if (v->job) {
        atomic_store(&v->job->gone, true);
        serve_job_release(v->job);
    }
    serve_purse_give(&v->serve->purse, v->held);
    if (v->reply.own && v->route->shape->close) v->route->shape->close(v->reply.own);
    mem_free(v->reply.own);
    buf_free(&v->out);
    buf_free(&v->body);
}
