/* Many clients at once: every API, streams and whole answers, tools, schemas, prompts that begin alike, clients that leave before or in the
 * middle of their answer, and a queue too short for all of them. Whoever stays gets, byte for byte, what the same request gets alone; in
 * the end the server is as it was. SOAK_REQUESTS=1000 SOAK_SEED=1 for longer (make soak-serve). */
#define _GNU_SOURCE
#include "base/base.h"
#include "support/server.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 32, PIECE = 16 << 10 };

/* ---- what is asked -------------------------------------------------------------------------------------------------- */

#define STORY "Once upon a time there was a little fox who lived in the forest with his mother"
#define ASKS "\"messages\": [{\"role\": \"system\", \"content\": \"You tell short stories to children. Be kind and use easy words.\"}, " \
             "{\"role\": \"user\", \"content\": "
#define SCHEMA "{\"type\": \"object\", \"properties\": {\"kind\": {\"enum\": [\"cat\", \"dog\"]}, \"age\": {\"type\": \"integer\", " \
               "\"minimum\": 0, \"maximum\": 30}, \"good\": {\"type\": \"boolean\"}}, \"required\": [\"kind\", \"age\", \"good\"], " \
               "\"additionalProperties\": false}"
#define TOOL "\"name\": \"wait\", \"description\": \"waits\", "
#define NEEDS "{\"type\": \"object\", \"properties\": {\"minutes\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 60}}, " \
              "\"required\": [\"minutes\"]}"
#define QUIET "\"chat_template_kwargs\": {\"enable_thinking\": false}"

/* Bodies without their closing brace, behind which "stream" may come. */
static const struct {
    const char *path, *body;
} asked[] = {
    {"/v1/completions", "{\"prompt\": \"" STORY "\", \"max_tokens\": 12, \"temperature\": 0"},
    {"/v1/completions", "{\"prompt\": \"" STORY ". One day\", \"max_tokens\": 20, \"seed\": 5, \"temperature\": 1"},
    {"/v1/completions", "{\"prompt\": \"" STORY ". One day he saw a bird and\", \"max_tokens\": 8, \"seed\": 6, \"logprobs\": 3"},
    {"/v1/completions", "{\"prompt\": [641, 687, 264, 323, 434, 273], \"max_tokens\": 9, \"temperature\": 0, \"n\": 2"},
    {"/v1/completions", "{\"prompt\": [\"The dog\", \"The cat\"], \"max_tokens\": 6, \"seed\": 8, \"temperature\": 0.8"},
    {"/v1/completions", "{\"prompt\": \"Lily went to the park\", \"max_tokens\": 30, \"seed\": 9, \"stop\": [\".\", \"and\"]"},
    {"/v1/completions", "{\"prompt\": \"" STORY "\", \"max_tokens\": 0, \"echo\": true, \"logprobs\": 1"},
    {"/v1/chat/completions", "{" ASKS "\"A fox.\"}], \"max_tokens\": 16, \"temperature\": 0"},
    {"/v1/chat/completions", "{" ASKS "\"A fox and a hen.\"}], \"max_tokens\": 16, \"seed\": 2, \"n\": 2"},
    {"/v1/chat/completions", "{" ASKS "\"A cat.\"}], \"max_tokens\": 10, \"seed\": 3, \"logprobs\": true, \"top_logprobs\": 2"},
    {"/v1/chat/completions", "{" ASKS "\"A cat.\"}, {\"role\": \"assistant\", \"content\": \"There was a cat.\"}, {\"role\": \"user\", "
                             "\"content\": \"More!\"}], \"max_tokens\": 12, \"seed\": 4"},
    {"/v1/chat/completions", "{" ASKS "\"An animal as JSON.\"}], \"seed\": 1, \"max_tokens\": 80, " QUIET ", \"response_format\": {"
                             "\"type\": \"json_schema\", \"json_schema\": {\"name\": \"animal\", \"schema\": " SCHEMA "}}"},
    {"/v1/chat/completions", "{" ASKS "\"Anything as JSON.\"}], \"seed\": 2, \"max_tokens\": 20, " QUIET ", \"response_format\": {"
                             "\"type\": \"json_object\"}"},
    {"/v1/chat/completions", "{" ASKS "\"Wait!\"}], \"seed\": 7, \"max_tokens\": 60, " QUIET ", \"tool_choice\": \"required\", "
                             "\"parallel_tool_calls\": false, \"tools\": [{\"type\": \"function\", \"function\": {" TOOL
                             "\"parameters\": " NEEDS "}}]"},
    {"/v1/chat/completions", "{" ASKS "\"Wait or tell.\"}], \"seed\": 7, \"max_tokens\": 12, \"tools\": [{\"type\": \"function\", "
                             "\"function\": {" TOOL "\"parameters\": " NEEDS "}}]"},
    {"/v1/responses", "{\"instructions\": \"You tell short stories.\", \"input\": \"A fox.\", \"max_output_tokens\": 14, "
                      "\"temperature\": 0"},
    {"/v1/messages", "{\"system\": \"You tell short stories.\", \"messages\": [{\"role\": \"user\", \"content\": \"A hen.\"}], "
                     "\"max_tokens\": 14, \"temperature\": 0"},
    {"/v1/messages", "{\"system\": \"You tell short stories.\", \"messages\": [{\"role\": \"user\", \"content\": \"Wait!\"}], "
                     "\"max_tokens\": 60, \"temperature\": 0, \"tool_choice\": {\"type\": \"any\"}, \"tools\": [{" TOOL
                     "\"input_schema\": " NEEDS "}]"},
};
enum { KINDS = 2 * (int)(sizeof asked / sizeof *asked) }; /* each as a stream and whole */

static void put_request(int kind, Buf *out) {
    Buf body = {0};
    buf_printf(&body, "%s%s}", asked[kind / 2].body, kind % 2 ? ", \"stream\": true" : "");
    buf_printf(out, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n", asked[kind / 2].path, body.len);
    buf_put(out, body.ptr, body.len);
    buf_free(&body);
}

/* ---- a connection ---------------------------------------------------------------------------------------------------- */

typedef struct Wire {
    int fd;
    Buf in;          /* what came */
    size_t at;       /* how much of it was used */
} Wire;

static void hang_up(Wire *w) {
    if (w->fd >= 0) close(w->fd);
    w->fd = -1;
    w->in.len = w->at = 0;
}

static bool dial(Wire *w, int port) {
    if (w->fd >= 0) return true;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    w->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (w->fd >= 0 && connect(w->fd, (struct sockaddr *)&a, sizeof a) == 0) return true;
    hang_up(w);
    return false;
}

static bool more(Wire *w) {
    char piece[PIECE];
    ssize_t n = recv(w->fd, piece, sizeof piece, 0);
    if (n <= 0) return false;
    buf_put(&w->in, piece, (size_t)n);
    return true;
}

/* A line without its end; NULL: the connection ended. Good until the next call. */
static const char *line(Wire *w, char *out, size_t size) {
    for (;;) {
        const char *from = w->in.ptr ? w->in.ptr + w->at : "";
        const char *end = w->in.len > w->at ? memmem(from, w->in.len - w->at, "\r\n", 2) : NULL;
        if (end) {
            snprintf(out, size, "%.*s", (int)(end - from), from);
            w->at += (size_t)(end - from) + 2;
            return out;
        }
        if (!more(w)) return NULL;
    }
}

static bool take(Wire *w, size_t n, Buf *out) {
    while (w->in.len - w->at < n)
        if (!more(w)) return false;
    buf_put(out, w->in.ptr + w->at, n);
    w->at += n;
    return true;
}

typedef struct Reply {
    int status, retry_after;
    Buf body;
} Reply;

/* leave: so many bytes of the body are enough, then we are gone. False: the connection ended, or we left. */
static bool listen_to(Wire *w, Reply *r, size_t leave) {
    char text[512];
    size_t length = 0;
    bool chunked = false, closes = false;
    if (!line(w, text, sizeof text) || sscanf(text, "HTTP/1.1 %d", &r->status) != 1) return false;
    while (line(w, text, sizeof text) && *text) {
        (void)sscanf(text, "Content-Length: %zu", &length);
        (void)sscanf(text, "Retry-After: %d", &r->retry_after);
        chunked = chunked || strcasecmp(text, "Transfer-Encoding: chunked") == 0;
        closes = closes || strcasecmp(text, "Connection: close") == 0;
    }
    while (chunked) {
        if (r->body.len >= leave || !line(w, text, sizeof text)) return false;
        size_t n = strtoul(text, NULL, 16);
        if (!take(w, n, &r->body) || !line(w, text, sizeof text)) return false;
        if (n == 0) break;
    }
    if (!chunked && !take(w, length, &r->body)) return false;
    if (closes) hang_up(w);
    if (w->fd >= 0 && w->at == w->in.len) w->in.len = w->at = 0;
    return true;
}

/* ---- what is told --------------------------------------------------------------------------------------------------- */

static void sort_choices(Buf *text);

/* Blanks out what differs from one answer to the next: ids, times, and how much of the prompt was there before; drops signs of life. */
static void scrub(Buf *text) {
    static const char *const keys[] = {"\"id\":\"", "\"item_id\":\"", "\"call_id\":\"", "\"created\":", "\"created_at\":",
                                       "\"completed_at\":", "\"cached_tokens\":", "\"cache_read_input_tokens\":", "\"input_tokens\":"};
    static const char *const alive[] = {": still working\n\n", "event: ping\ndata: {\"type\": \"ping\"}\n\n"};
    Buf out = {0};
    buf_putc(text, 0);
    for (const char *p = text->ptr; *p;) {
        size_t n = 0, skip = 0;
        for (size_t i = 0; i < COUNT_OF(alive) && !skip; i++)
            if (strncmp(p, alive[i], strlen(alive[i])) == 0) skip = strlen(alive[i]);
        for (size_t i = 0; i < COUNT_OF(keys) && !skip; i++)
            if (strncmp(p, keys[i], strlen(keys[i])) == 0) {
                n = strlen(keys[i]);
                skip = n + strcspn(p + n, keys[i][n - 1] == '"' ? "\"" : ",}");
            }
        if (skip) buf_put(&out, p, n);
        else buf_putc(&out, *p), skip = 1;
        p += skip;
    }
    buf_free(text);
    *text = out;
    sort_choices(text);
}

static bool is_of(const char *event, size_t len, const char *choice) { return memmem(event, len, choice, strlen(choice)) != NULL; }

/* The choices of one stream take turns as they come; each for itself is always the same. Those of the first come first here. */
static void sort_choices(Buf *text) {
    static const char *const first = "\"choices\":[{\"index\":0,", *const second = "\"choices\":[{\"index\":1,";
    Buf out = {0};
    for (int pass = 0; pass < 3; pass++)
        for (size_t at = 0; at < text->len;) {
            const char *event = text->ptr + at, *end = memmem(event, text->len - at, "\n\n", 2);
            size_t len = end ? (size_t)(end - event) + 2 : text->len - at;
            int which = is_of(event, len, first) ? 0 : is_of(event, len, second) ? 1 : 2;
            if (which == pass) buf_put(&out, event, len);
            at += len;
        }
    buf_putc(&out, 0);
    out.len--;
    buf_free(text);
    *text = out;
}

/* ---- the clients ----------------------------------------------------------------------------------------------------- */

static Buf alone[KINDS];
static int stride = 1; /* of the kinds that are asked: under a sanitizer an answer takes tens of times as long */

typedef struct Crowd {
    int port, requests;
    double patience;  /* of Retry-After that is waited */
    uint64_t seed;
    atomic_int next, answered, left, refused, wrong;
    pthread_mutex_t lock;
    char why[2048];   /* the first that was wrong */
} Crowd;

static void blame(Crowd *c, int kind, const char *what, const Buf *got) {
    pthread_mutex_lock(&c->lock);
    if (atomic_fetch_add(&c->wrong, 1) == 0) {
        Buf copy = {0};
        buf_put(&copy, got->ptr ? got->ptr : "", got->ptr ? got->len : 0);
        buf_putc(&copy, 0);
        snprintf(c->why, sizeof c->why, "request %d (%s): %s: %.700s\nalone: %.700s", kind, asked[kind / 2].path, what, copy.ptr,
                 alone[kind].ptr);
        buf_free(&copy);
    }
    pthread_mutex_unlock(&c->lock);
}

static void nap(double seconds) {
    struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
}

static void send_some(Wire *w, const Buf *request, size_t n) {
    for (size_t at = 0; at < n;) {
        ssize_t some = send(w->fd, request->ptr + at, n - at, MSG_NOSIGNAL);
        if (some <= 0) return;
        at += (size_t)some;
    }
}

/* One request until it is answered, or abandoned. mood: 0 in the middle of what is asked, 1 at once behind it, 2 in the middle of the
 * answer; otherwise the answer is awaited. */
static void ask(Crowd *c, Wire *w, int kind, unsigned mood, size_t leave) {
    Buf request = {0};
    put_request(kind, &request);
    for (int tries = 0; tries < 10000; tries++) {
        Reply r = {0};
        bool fresh = w->fd < 0;
        if (!dial(w, c->port)) {
            nap(0.05);
            continue;
        }
        send_some(w, &request, mood == 0 ? request.len / 2 : request.len);
        if (mood == 1) nap((double)(leave % 20) * 1e-3);
        bool whole = mood > 1 && listen_to(w, &r, mood == 2 ? leave : SIZE_MAX);
        if (!whole) hang_up(w);
        bool again = !whole && mood > 2 && !fresh && r.status == 0; /* a connection that was kept had been closed meanwhile */
        if (whole && r.status == 429) {
            atomic_fetch_add(&c->refused, 1);
            if (r.retry_after < 1) blame(c, kind, "429 without Retry-After", &r.body);
            nap(c->patience * r.retry_after);
            again = true;
        } else if (whole && r.status == 200) {
            scrub(&r.body);
            if (r.body.len != alone[kind].len || memcmp(r.body.ptr, alone[kind].ptr, r.body.len) != 0) blame(c, kind, "differs", &r.body);
            atomic_fetch_add(&c->answered, 1);
        } else if (whole || (mood > 2 && !again)) {
            blame(c, kind, "no answer", &r.body);
        } else if (!again) {
            atomic_fetch_add(&c->left, 1);
        }
        buf_free(&r.body);
        if (!again) break;
    }
    buf_free(&request);
}

static void *client(void *user) {
    Crowd *c = user;
    Wire w = {.fd = -1};
    for (int i; (i = atomic_fetch_add(&c->next, 1)) < c->requests;) {
        uint64_t dice = splitmix(c->seed + (uint64_t)i * SPLITMIX_STEP);
        int kind = stride * (int)(dice % (unsigned)((KINDS + stride - 1) / stride));
        ask(c, &w, kind, (unsigned)(dice >> 32) % 12, (size_t)(dice >> 40) % 3000);
    }
    hang_up(&w);
    buf_free(&w.in);
    return NULL;
}

/* ---- the test ---------------------------------------------------------------------------------------------------------- */

static int descriptors(const Server *s) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", s->pid);
    DIR *d = opendir(path);
    int n = 0;
    while (d && readdir(d)) n++;
    if (d) closedir(d);
    return n;
}

/* The number behind a name at the beginning of a line of /metrics. */
static double metric(const Server *s, const char *name) {
    char want[128];
    Http h = http_get(s, "/metrics");
    snprintf(want, sizeof want, "\n%s ", name);
    const char *at = strstr(h.body, want);
    if (!at) fail_msg("no metric %s", name);
    double value = strtod(at + strlen(want), NULL);
    http_free(&h);
    return value;
}

/* Until nothing runs or waits and only we are connected. */
static void settle(const Server *s) {
    for (int i = 0; i < 2000; i++) {
        bool calm = metric(s, "sluice_requests_inside") == 0 && metric(s, "sluice_requests_running") == 0;
        if (calm && metric(s, "sluice_connections") == 1) return;
        nap(0.01);
    }
    fail_msg("%g inside, %g running, %g connections are left", metric(s, "sluice_requests_inside"), metric(s, "sluice_requests_running"),
             metric(s, "sluice_connections"));
}

static void learn_alone(void) {
    Server *s = server_start("--ctx 512 --threads 2");
    for (int kind = 0; kind < KINDS; kind += stride) {
        Wire w = {.fd = -1};
        Reply r = {0};
        Buf request = {0};
        put_request(kind, &request);
        assert_true(dial(&w, s->port));
        send_some(&w, &request, request.len);
        bool whole = listen_to(&w, &r, SIZE_MAX);
        if (!whole || r.status != 200) fail_msg("%s alone: %d %.*s", asked[kind / 2].path, r.status, (int)r.body.len, r.body.ptr);
        scrub(&r.body);
        alone[kind] = r.body;
        hang_up(&w);
        buf_free(&w.in);
        buf_free(&request);
    }
    assert_int_equal(server_stop(s, SIGTERM), 0);
}

static void let_in(Crowd *c) {
    pthread_t threads[CONNECTIONS];
    for (int i = 0; i < CONNECTIONS; i++) assert_int_equal(pthread_create(&threads[i], NULL, client, c), 0);
    for (int i = 0; i < CONNECTIONS; i++) pthread_join(threads[i], NULL);
}

static uint64_t number(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

static void whoever_stays_is_answered_as_alone_and_nothing_is_left_behind(void **state) {
    (void)state;
    bool soak = getenv("SOAK_REQUESTS") != NULL, slow = under_sanitizer() && !soak;
    if (slow) stride = 5;
    Crowd c = {.requests = (int)number("SOAK_REQUESTS", slow ? 16 : 48), .seed = number("SOAK_SEED", 1), .patience = soak ? 1 : 0.02};
    assert_int_equal(pthread_mutex_init(&c.lock, NULL), 0);
    learn_alone();
    Server *s = server_start("--ctx 512 --threads 2 --parallel 4 --queue 4 --state-ram 2M");
    c.port = s->port;
    Crowd before = {.requests = soak ? 200 : slow ? 4 : 16, .seed = c.seed + 1, .patience = 0.02, .port = s->port};
    assert_int_equal(pthread_mutex_init(&before.lock, NULL), 0);
    let_in(&before); /* what is kept for good is there */
    settle(s);
    int files = descriptors(s);
    long kib = server_memory_kib(s, "VmRSS");
    let_in(&c);
    settle(s);
    if (c.wrong) fail_msg("%d answers were wrong; the first: %s", c.wrong, c.why);
    assert_int_equal(before.wrong, 0);
    assert_int_equal(c.answered + c.left, c.requests);
    if (!under_sanitizer()) assert_true(c.refused > 0);
    for (int i = 0; i < 2000 && descriptors(s) > files; i++) nap(0.01); /* our own last connection is closed a moment later */
    assert_in_range(descriptors(s), 1, files);
    long more_kib = server_memory_kib(s, "VmRSS") - kib;
    if (soak)
        print_message("%d requests: %d answered, %d abandoned, %d times 429; %+ld KiB resident of %ld\n", c.requests, c.answered, c.left,
                      c.refused, more_kib, kib);
    if (!under_sanitizer() && more_kib >= (soak ? 4 : 16) * 1024) fail_msg("%ld KiB more are resident than before (%ld)", more_kib, kib);
    Http h = http_get(s, "/health");
    assert_int_equal(h.status, 200);
    http_free(&h);
    assert_int_equal(server_stop(s, SIGTERM), 0); /* under LeakSanitizer, that nothing has leaked */
    for (int i = 0; i < KINDS; i++) buf_free(&alone[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(whoever_stays_is_answered_as_alone_and_nothing_is_left_behind)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
