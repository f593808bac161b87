/* Bytes as a client sends them, to a whole server: connections are pairs of sockets, all else is as it is served (src/serve/).
 *
 * Input: a byte of flags (keys, pages), a byte that says in which pieces the rest is written, then what the client writes.
 * Property: the connection is closed when the client has said all; what comes back are answers, of which none says 500; the server is
 * still healthy; no visit, no job and no socket is left. */
#define _GNU_SOURCE
#include "fuzz/fuzz.h"

#include "fuzz/served.h"
#include "os/os.h"
#include "serve/http.h"
#include "support/recording.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONTEXT = 256, KEYS = 1, PAGES = 2, PIECES = 12, PATIENCE_MS = 30000, MOST_DESCRIPTORS = 256 };
enum { EVERY = 16 /* inputs, health is asked */, LEAKS_EVERY = 4096 };

/* libFuzzer looks for leaks behind an input that freed less than it took, which here may be another thread: so it is done here. */
__attribute__((weak)) int __lsan_do_recoverable_leak_check(void);

static ServeConfig config = {.model_name = "tiny", .host = "127.0.0.1", .parallel = 2, .queue = 8};
static char *the_key[] = {(char *)"sesame"};
static Serve serve;
static struct MHD_Daemon *web;
static int sockets; /* that are open when nobody is connected */

static void open_once(void) {
    Err err = {0};
    log_set_level(LOG_ERROR);
    config.options = check_options(served_model("http.gguf"));
    config.options.ctx = CONTEXT;
    config.options.threads = 1;
    serve.config = &config;
    serve.model.created = 1;
    serve_purse_open(&serve.purse, 0);
    assert_true(serve_board_init(&serve.board));
    assert_true(serve_queue_init(&serve.queue, config.queue + config.parallel));
    assert_int_equal(pthread_mutex_init(&serve.text, NULL), 0);
    if (serve_http_open(&serve, &web, &err) || !serve_worker_start(&serve, &err)) fail_msg("%s", err.text);
    while (serve_phase(&serve) != SERVE_READY && !atomic_load(&serve.broken)) os_sleep_ns(1000000);
    if (atomic_load(&serve.broken)) fail_msg("%s", serve.failure.text);
}

/* ---- a client ------------------------------------------------------------------------------------------------------ */

static int begin(void) {
    int fds[2];
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_int_equal(MHD_add_connection(web, fds[1], (const struct sockaddr *)&from, sizeof from), MHD_YES);
    return fds[0];
}

/* The first pieces are each waited for, a little, so that the server reads them one by one. */
static void say(int fd, Str text, unsigned most) {
    Xoshiro r;
    unsigned pieces = 0;
    xoshiro_seed(&r, most);
    for (size_t at = 0, n; at < text.len; at += n) {
        n = most && pieces++ < PIECES ? 1 + xoshiro_next(&r) % most : text.len;
        if (n > text.len - at) n = text.len - at;
        ssize_t sent = send(fd, text.ptr + at, n, MSG_NOSIGNAL);
        if (sent <= 0) return; /* it was shut down: a refusal */
        n = (size_t)sent;
        int unread = most != 0;
        for (int tries = 0; unread && tries < 4 && ioctl(fd, SIOCOUTQ, &unread) == 0; tries++) os_sleep_ns(20000);
    }
}

/* Until the server closes. */
static void hear(int fd, Buf *out) {
    char piece[16384];
    buf_clear(out);
    while (true) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, PATIENCE_MS) == 0) fail_msg("the server holds a connection whose client has said all");
        ssize_t n = read(fd, piece, sizeof piece);
        if (n <= 0) break;
        buf_put(out, piece, (size_t)n);
    }
    close(fd);
}

static void check_answers(const Buf *out) {
    if (out->len == 0) return;
    Str s = str_make(out->ptr, out->len);
    if (!str_starts(s, "HTTP/1.") || s.len < 13) fail_msg("no answer: %.*s", (int)(s.len < 200 ? s.len : 200), s.ptr);
    int status = (int)strtol(s.ptr + 9, NULL, 10);
    if (status < 100 || (status >= 500 && status != 501 && status != 503 && status != 505)) fail_msg("%.*s", (int)s.len, s.ptr);
}

static void check_fine(const char *ask) {
    Buf out = {0};
    int fd = begin();
    say(fd, str_c(ask), 0);
    hear(fd, &out);
    if (!out.len || !str_starts(str_make(out.ptr, out.len), "HTTP/1.1 200 ")) fail_msg("%s: %s", ask, out.ptr ? out.ptr : "nothing");
    buf_free(&out);
}
static void check_health(void) { check_fine("GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); }
static int open_sockets(void) {
    struct stat what;
    int n = 0;
    for (int fd = 0; fd < MOST_DESCRIPTORS; fd++) n += fstat(fd, &what) == 0 && S_ISSOCK(what.st_mode);
    return n;
}

/* Threads of connections need a moment to go. */
static void check_nothing_is_left(void) {
    uint64_t until = os_now_ns() + UINT64_C(1000000) * PATIENCE_MS;
    bool left = true;
    for (; left && os_now_ns() < until; os_sleep_ns(1000000))
        left = atomic_load(&serve.visits) || atomic_load(&serve.running) || serve_queue_inside(&serve.queue) ||
               open_sockets() > sockets;
    if (left)
        fail_msg("%d visits, %d jobs, %d sockets are left", atomic_load(&serve.visits), serve_queue_inside(&serve.queue),
                 open_sockets() - sockets);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    static unsigned turn;
    FuzzBytes in = {bytes, n};
    Buf out = {0};
    if (!web) {
        open_once();
        sockets = open_sockets();
    }
    unsigned flags = fuzz_byte(&in), most = fuzz_byte(&in);
    serve.keys = the_key;
    serve.n_keys = flags & KEYS ? 1 : 0;
    config.cors = flags & PAGES ? "http://page.example" : NULL;
    int fd = begin();
    say(fd, fuzz_rest(&in), most);
    shutdown(fd, SHUT_WR);
    hear(fd, &out);
    check_answers(&out);
    buf_free(&out);
    if (++turn % EVERY != 0) return 0;
    serve.n_keys = 0;
    check_health();
    check_nothing_is_left();
    if (turn % LEAKS_EVERY == 0 && __lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check()) fail_msg("memory is lost");
    return 0;
}
