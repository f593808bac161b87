/* serve/http: one request on its connection. */
#ifndef SERVE_HTTP_H
#define SERVE_HTTP_H

#include "serve/collect.h"
#include "serve/inside.h"
#include "serve/shapes.h"

#include <microhttpd.h>

struct ServeRoute;

/* A connection. The janitor shuts it down when its time is over, so that no client can hold a thread for ever. */
typedef struct ServeWire {
    struct ServeWire *before, *after;
    int fd;
    bool over;                /* one too many: what it asks is answered 503 */
    _Atomic uint64_t until_ns; /* by then the request must be complete, or the answer taken; 0: no limit now */
} ServeWire;

typedef struct ServeVisit {
    Serve *serve;
    struct MHD_Connection *connection;
    ServeWire *wire;
    const struct ServeRoute *route;
    char method[12], path[200]; /* for the log, and what stands behind a path that ends in "*" */
    Buf body;
    size_t body_bytes;        /* that came, kept or not */
    uint64_t held;            /* of the purse, until the visit ends or its job has taken it over */
    bool too_large, no_room;
    ServeRefusal no;
    int status;
    uint64_t began_ns;
    bool answered;            /* MHD has a response, or */
    bool lost;                /* there is none for lack of memory: the connection is closed, or MHD would ask for ever */
    const char *policy;       /* Content-Security-Policy of the answer; NULL: nothing may be loaded by it */
    /* what is computed for it */
    ServeJob *job;
    ServeReply reply;
    Buf trace;                /* for --trace-requests */
    Buf out;                  /* bytes of events that are not sent yet */
    size_t sent;
    bool over;                /* no event will come any more */
    uint64_t spoke_ns;        /* when the stream last said something */
} ServeVisit;

/* ---- routes.c ---------------------------------------------------------------------------------------------------- */
typedef void ServeHandler(ServeVisit *v);
typedef struct ServeRoute {
    const char *method, *path;     /* a final "*" stands for anything */
    ServeHandler *handle;          /* answers by itself; or */
    const ServeShape *shape;       /* what is computed */
    bool open;                     /* needs no key, and answers while the model loads */
} ServeRoute;
/* NULL: *no says why (404 or 405). */
const ServeRoute *serve_route(const char *method, const char *path, ServeRefusal *no);
/* The error of this path's API. */
json_t *serve_route_error(const char *path, const ServeRoute *route, const ServeRefusal *no);

/* ---- guard.c ----------------------------------------------------------------------------------------------------- */
ErrCode serve_guard_open(Serve *s, Err *err);    /* reads the keys; refuses an open address without */
void serve_guard_close(Serve *s);
bool serve_guard_framing(const ServeVisit *v, const char *version, ServeRefusal *no); /* what could be read in two ways */
bool serve_guard_page(const ServeVisit *v, ServeRefusal *no);    /* Host and Origin: which pages may call us */
bool serve_guard_key(const ServeVisit *v, ServeRefusal *no);
void serve_guard_headers(const ServeVisit *v, struct MHD_Response *response);

/* ---- reply.c ----------------------------------------------------------------------------------------------------- */
void serve_reply_json(ServeVisit *v, int status, json_t *value); /* frees it */
void serve_reply_text(ServeVisit *v, int status, const char *type, Buf *text); /* empties it */
void serve_reply_refusal(ServeVisit *v);                         /* v->no */
void serve_reply_job(ServeVisit *v);                             /* what the shape reads of the body is computed and told */
ServeHandler serve_count;                                        /* how many tokens the shape's request has */
/* A stream of server-sent events, made by this reader as MHD wants it. */
void serve_reply_events(ServeVisit *v, ssize_t (*read)(void *visit, uint64_t at, char *out, size_t most));
void serve_reply_close(ServeVisit *v);

/* ---- plain.c: what is answered without computing ----------------------------------------------------------------- */
ServeHandler serve_health, serve_models, serve_model, serve_tokenize, serve_detokenize, serve_tokenizer_info, serve_preflight;
json_t *serve_body_json(ServeVisit *v);                          /* NULL: v->no */

/* ---- trace.c ----------------------------------------------------------------------------------------------------- */
void serve_trace_begin(ServeVisit *v);
void serve_trace_event(ServeVisit *v, const ServeEvent *e);
void serve_trace_end(ServeVisit *v);

/* ---- stats.c ---- */
ServeHandler serve_metrics, serve_stats;
/* ---- page.c: the web page -------------------------------------------------------------------------------------- */
ServeHandler serve_page;

/* ---- http.c ------------------------------------------------------------------------------------------------------ */
ErrCode serve_http_open(Serve *s, struct MHD_Daemon **daemon, Err *err);
void serve_http_close(Serve *s, struct MHD_Daemon *daemon);
void serve_http_tidy(Serve *s);                                  /* the janitor's round */
uint64_t serve_request_ns(const Serve *s);
void serve_wire_owes(ServeVisit *v, uint64_t ns_from_now);       /* 0: nothing */
void serve_wire_until(ServeVisit *v, uint64_t ns_from_now);      /* the same, and MHD's own clock runs or stands still */
bool serve_wire_gone(const ServeVisit *v);                       /* the client has closed its side */
uint64_t serve_body_most(const Serve *s);
bool serve_hold(ServeVisit *v, uint64_t bytes, const char *what); /* memory for it; false: v->no */
unsigned serve_connections(const Serve *s);                      /* that are open */

#endif
