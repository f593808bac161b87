/* Connections and requests: what libmicrohttpd calls, the limits, and one line per request. */
#define _GNU_SOURCE /* POLLRDHUP */
#include "serve/http.h"
#include "serve/listen.h"
#include "os/os.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADER_BYTES = 32 << 10, IDLE_S = 75, MORE_CONNECTIONS = 64, STACK_BYTES = 512 << 10 };
enum { TOLD_CONNECTIONS = 16 /* that are told there are too many */, UNREAD_BYTES = 128 << 10 };
enum { BODY = 2 /* a buffer grows by doubling */ };
static const uint64_t REQUEST_NS = 60000000000;

/* ---- connections ------------------------------------------------------------------------------------------------- */

struct ServeWires {
    pthread_mutex_t lock;
    ServeWire *first;
    unsigned n, most;
};

unsigned serve_connections(const Serve *s) {
    pthread_mutex_lock(&s->wires->lock);
    unsigned n = s->wires->n;
    pthread_mutex_unlock(&s->wires->lock);
    return n;
}

uint64_t serve_request_ns(const Serve *s) { return s->config->limits.request_ns ? s->config->limits.request_ns : REQUEST_NS; }

static void wire_begin(struct ServeWires *all, ServeWire *w) {
    pthread_mutex_lock(&all->lock);
    w->over = ++all->n > all->most;
    w->after = all->first;
    if (w->after) w->after->before = w;
    all->first = w;
    pthread_mutex_unlock(&all->lock);
}

static void wire_end(struct ServeWires *all, ServeWire *w) {
    pthread_mutex_lock(&all->lock);
    all->n--;
    if (w->before) w->before->after = w->after;
    else all->first = w->after;
    if (w->after) w->after->before = w->before;
    pthread_mutex_unlock(&all->lock);
    mem_free(w);
}

static void on_connection(void *user, struct MHD_Connection *c, void **socket, enum MHD_ConnectionNotificationCode what) {
    Serve *s = user;
    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (*socket) wire_end(s->wires, *socket);
        return;
    }
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    ServeWire *w = MEM_NEW(ServeWire, 1);
    *socket = w;
    if (!w) return;
    w->fd = info ? info->connect_fd : -1;
    atomic_init(&w->until_ns, os_now_ns() + serve_request_ns(s));
    /* what waits in the kernel for a client that does not read is bounded too */
    if (w->fd >= 0) (void)setsockopt(w->fd, SOL_SOCKET, SO_SNDBUF, &(int){UNREAD_BYTES}, sizeof(int));
    wire_begin(s->wires, w);
}

void serve_wire_owes(ServeVisit *v, uint64_t ns) {
    if (v->wire) atomic_store(&v->wire->until_ns, ns ? os_now_ns() + ns : 0);
}

void serve_wire_until(ServeVisit *v, uint64_t ns) {
    serve_wire_owes(v, ns);
    /* while an answer is computed MHD's own clock, which wants the wire to be busy, stands still */
    MHD_set_connection_option(v->connection, MHD_CONNECTION_OPTION_TIMEOUT, ns ? (unsigned)IDLE_S : 0u);
}

bool serve_wire_gone(const ServeVisit *v) {
    struct pollfd p = {.fd = v->wire ? v->wire->fd : -1, .events = POLLRDHUP};
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

/* Shuts down what has been too slow. */
void serve_http_tidy(Serve *s) {
    uint64_t now = os_now_ns();
    pthread_mutex_lock(&s->wires->lock);
    for (ServeWire *w = s->wires->first; w; w = w->after) {
        uint64_t until = atomic_load(&w->until_ns);
        if (until && now > until) (void)shutdown(w->fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&s->wires->lock);
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

/* Spare ones hear that there are too many. */
unsigned serve_connections_most(const Serve *s) {
    unsigned most = s->config->limits.connections;
    return (most ? most : (unsigned)s->queue.most + MORE_CONNECTIONS) + TOLD_CONNECTIONS;
}

bool serve_hold(ServeVisit *v, uint64_t bytes, const char *what) {
    ServePurse *purse = &v->serve->purse;
    if (!serve_purse_take(purse, bytes)) return serve_purse_refuse(purse, bytes, what, &v->no);
    v->held += bytes;
    return true;
}

/* As long as a prompt that fills the context may be, with tools and JSON around it. */
uint64_t serve_body_most(const Serve *s) {
    uint64_t ctx = serve_phase(s) == SERVE_LOADING ? 0 : (uint64_t)s->model.info.ctx;
    uint64_t most = (UINT64_C(128) << 10) + 16 * ctx, room = s->purse.most / 16;
    if (most < UINT64_C(4) << 20) most = UINT64_C(4) << 20;
    return most < room ? most : room;
}

/* Most clients hear an answer only when they have sent everything: so much of a body that is too large is read to no end. */
enum { READ_ANYWAY = 16 };

static bool refuse_large(ServeVisit *v) {
    return serve_refuse(&v->no, 413, NULL, "the body is larger than %llu bytes, the most that is taken",
                        (unsigned long long)serve_body_most(v->serve));
}

/* What can be said before the body has come. */
static bool may_enter(ServeVisit *v, const char *version) {
    const char *length = MHD_lookup_connection_value(v->connection, MHD_HEADER_KIND, "Content-Length");
    if (!serve_guard_framing(v, version, &v->no) || !serve_guard_page(v, &v->no)) return false;
    ServeRefusal not_found = {0};
    v->route = serve_route(v->method, v->path, &not_found);
    memcpy(v->no.allow, not_found.allow, sizeof v->no.allow);
    if (!(v->route && v->route->open) && !serve_guard_key(v, &v->no)) return false;
    if (!v->route) {
        v->no = not_found;
        return false;
    }
    if (!v->route->open && v->wire && v->wire->over) {
        (void)serve_refuse(&v->no, 503, NULL, "%u connections are open already, the most that are served; try again later",
                           v->serve->wires->most);
        v->no.retry_after_s = 1;
        return false;
    }
    if (!v->route->open && serve_phase(v->serve) == SERVE_LOADING) {
        (void)serve_refuse(&v->no, 503, NULL, "the model is still being loaded; try again later");
        v->no.retry_after_s = 2;
        return false;
    }
    if (serve_phase(v->serve) >= SERVE_STOPPING) return serve_refuse(&v->no, 503, NULL, "the server is shutting down");
    uint64_t bytes = length ? strtoull(length, NULL, 10) : 0, most = serve_body_most(v->serve);
    bool asks = MHD_lookup_connection_value(v->connection, MHD_HEADER_KIND, "Expect") != NULL; /* and sends nothing until it may */
    v->too_large = bytes > most;
    return !v->too_large || (!asks && bytes <= READ_ANYWAY * most) || refuse_large(v);
}

/* Clients behind a proxy may name us before the path: http://host:port/path. */
static const char *path_of(const char *url) {
    const char *path = strncmp(url, "http://", 7) == 0 ? strchr(url + 7, '/') : url;
    return path ? path : "/";
}

static ServeVisit *visit_begin(Serve *s, struct MHD_Connection *c, const char *url, const char *method) {
    ServeVisit *v = MEM_NEW(ServeVisit, 1);
    if (!v) return NULL;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    v->serve = s;
    atomic_fetch_add(&s->visits, 1);
    v->connection = c;
    v->wire = info ? info->socket_context : NULL;
    v->began_ns = os_now_ns();
    snprintf(v->method, sizeof v->method, "%s", method);
    snprintf(v->path, sizeof v->path, "%s", path_of(url));
    serve_wire_until(v, serve_request_ns(s));
    return v;
}

/* A body that is too long, or for which there is no memory, is read to its end, so that the client hears why; one without an end is cut. */
static enum MHD_Result take_body(ServeVisit *v, const char *bytes, size_t *len) {
    uint64_t most = serve_body_most(v->serve);
    v->body_bytes += *len;
    if (v->body_bytes > most) v->too_large = true;
    if (v->too_large && v->body_bytes > READ_ANYWAY * most) return MHD_NO;
    if (!v->too_large && !v->no_room) v->no_room = !serve_hold(v, BODY * *len, "the body");
    if (!v->too_large && !v->no_room) buf_put(&v->body, bytes, *len);
    *len = 0;
    return MHD_YES;
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *c, const char *url, const char *method, const char *version,
                                  const char *bytes, size_t *len, void **state) {
    ServeVisit *v = *state;
    if (!v) {
        *state = v = visit_begin(user, c, url, method);
        if (!v) return MHD_NO;
        if (!may_enter(v, version)) serve_reply_refusal(v);
        return v->lost ? MHD_NO : MHD_YES;
    }
    if (v->answered) {
        *len = 0;
        return MHD_YES;
    }
    if (*len) return take_body(v, bytes, len);
    if (v->too_large) {
        (void)refuse_large(v);
        serve_reply_refusal(v);
    } else if (v->no_room) {
        serve_reply_refusal(v);
    } else if (v->route->handle) {
        v->route->handle(v);
    } else {
        serve_reply_job(v);
    }
    return v->lost ? MHD_NO : MHD_YES;
}

static void log_line(ServeVisit *v, enum MHD_RequestTerminationCode how) {
    double ms = (double)(os_now_ns() - v->began_ns) * 1e-6;
    const char *cut = how == MHD_REQUEST_TERMINATED_COMPLETED_OK ? "" : " cut";
    serve_clean(v->path); /* %0A in it must not begin a line of the client's own */
    if (!v->job) {
        log_note("%s %s %d %.1f ms%s", v->method, v->path, v->status, ms, cut);
        return;
    }
    uint64_t first = atomic_load(&v->job->first_ns);
    log_note("%s %s %d %.1f ms%s first %.1f ms", v->method, v->path, v->status, ms, cut,
             first > v->began_ns ? (double)(first - v->began_ns) * 1e-6 : 0);
}

static void on_completed(void *user, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode how) {
    (void)user, (void)c;
    ServeVisit *v = *state;
    if (!v) return;
    log_line(v, how);
    serve_board_status(&v->serve->board, v->status);
    if (how == MHD_REQUEST_TERMINATED_COMPLETED_OK) serve_wire_until(v, serve_request_ns(v->serve)); /* for the next one */
    atomic_fetch_sub(&v->serve->visits, 1);
    serve_reply_close(v);
    mem_free(v);
    *state = NULL;
}

/* ---- the daemon -------------------------------------------------------------------------------------------------- */

static ErrCode make_wires(Serve *s, Err *err) {
    s->wires = MEM_NEW(struct ServeWires, 1);
    if (s->wires) s->wires->most = serve_connections_most(s) - TOLD_CONNECTIONS;
    if (!s->wires || pthread_mutex_init(&s->wires->lock, NULL)) {
        mem_free(s->wires);
        s->wires = NULL;
        return err_no_memory(err, sizeof *s->wires, "the connections");
    }
    return ERR_OK;
}

ErrCode serve_http_open(Serve *s, struct MHD_Daemon **daemon, Err *err) {
    const ServeConfig *config = s->config;
    ServeListen l;
    ErrCode code = serve_listen(config->host, config->port, &l, err);
    if (code) return code;
    if (!l.loopback && s->n_keys == 0)
        code = err_set(err, ERR_USAGE, "--host %s can be reached by others: give --api-key-file FILE with a key on a line of its own",
                       config->host);
    if (!code) code = make_wires(s, err);
    unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ITC;
    if (!code)
        *daemon = MHD_start_daemon(flags | (l.ipv6 ? MHD_USE_IPv6 : 0u), 0, NULL, NULL, on_request, s, MHD_OPTION_LISTEN_SOCKET, l.fd,
                                   MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
                                   MHD_OPTION_CONNECTION_LIMIT, serve_connections_most(s),
                                   MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
                                   MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_BYTES,
                                   MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK_BYTES, MHD_OPTION_STRICT_FOR_CLIENT, 1,
                                   MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
    if (!code && !*daemon) code = err_set(err, ERR_STATE, "the HTTP library could not be started on %s port %d", config->host, l.port);
    if (code) close(l.fd);
    else log_note(strchr(config->host, ':') ? "listening on http://[%s]:%d" : "listening on http://%s:%d", config->host, l.port);
    return code;
}

void serve_http_close(Serve *s, struct MHD_Daemon *daemon) {
    if (daemon) MHD_stop_daemon(daemon);
    if (s->wires) pthread_mutex_destroy(&s->wires->lock);
    mem_free(s->wires);
}
