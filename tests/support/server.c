/* The server under test, and a client that can also be rude. */
#define _GNU_SOURCE
#include "support/server.h"
#include "os/os.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void nap(void) {
    struct timespec t = {0, 5000000};
    nanosleep(&t, NULL);
}

char *server_log(const Server *s) { return read_whole(s->log, NULL); }

/* Waits for a line of the log that has this text. */
static void wait_for(Server *s, const char *text, int *port) {
    for (int i = 0; i < 12000; i++) {
        char *log = server_log(s), *at = strstr(log, text);
        if (at && port) {
            const char *end = strchr(at, '\n');
            const char *colon = end ? memrchr(at, ':', (size_t)(end - at)) : NULL;
            *port = colon ? (int)strtol(colon + 1, NULL, 10) : 0;
            if (!end) at = NULL;
        }
        free(log);
        if (at) return;
        int status;
        if (waitpid(s->pid, &status, WNOHANG) == s->pid) fail_msg("the server ended: %s", server_log(s));
        nap();
    }
    fail_msg("the server never said '%s'", text);
}

static Server *new_server(void) {
    static Server servers[8];
    static int turn;
    Server *s = &servers[turn++ % 8];
    char name[32];
    snprintf(name, sizeof name, "serve-%d.log", turn);
    snprintf(s->log, sizeof s->log, "%s", temp_path(name));
    write_whole(s->log, "");
    return s;
}

Server *server_start_early(const char *args) {
    Server *s = new_server();
    char line[8192];
    snprintf(line, sizeof line, "unset ${!SLUICE_*}; S='%s'; T='%s'; export XDG_CONFIG_HOME=$T XDG_STATE_HOME=$T/home\n"
             "exec $S serve --port 0 %s </dev/null >/dev/null 2>>'%s'", sluice_bin(), temp_dir(), args, s->log);
    s->pid = fork();
    if (s->pid == 0) {
        execl("/bin/bash", "bash", "-c", line, (char *)NULL);
        _exit(127);
    }
    assert_true(s->pid > 0);
    wait_for(s, "listening on http://", &s->port);
    return s;
}

void server_await(Server *s, const char *text) { wait_for(s, text, NULL); }

Server *server_start(const char *args) {
    Server *s = server_start_early(args);
    wait_for(s, " is ready", NULL);
    return s;
}

static void serve_here(const Server *s, ServeConfig config) {
    Err err = {0};
    int log = open(s->log, O_WRONLY | O_APPEND | O_CLOEXEC);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that is killed leaves no server */
    if (dup2(log, STDERR_FILENO) < 0) _exit(127);
    os_catch_interrupt();
    if (serve_run(&config, &err)) log_warn("%s", err.text);
    exit(err_exit_code(err.code));
}

Server *server_start_config_early(const ServeConfig *config) {
    Server *s = new_server();
    ServeConfig whole = *config;
    if (!whole.options.model) whole.options.model = source_path("data/tiny-tales.gguf");
    if (!whole.model_name) whole.model_name = "tiny-tales";
    if (!whole.host) whole.host = "127.0.0.1";
    if (!whole.parallel) whole.parallel = 1;
    if (!whole.queue) whole.queue = 64;
    s->pid = fork();
    if (s->pid == 0) serve_here(s, whole);
    assert_true(s->pid > 0);
    wait_for(s, "listening on http://", &s->port);
    return s;
}

Server *server_start_config(const ServeConfig *config) {
    Server *s = server_start_config_early(config);
    server_await(s, " is ready");
    return s;
}

static int server_wait(Server *s) {
    int status = 0;
    assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int server_stop(Server *s, int signal_number) {
    assert_int_equal(kill(s->pid, signal_number), 0);
    return server_wait(s);
}

/* ---- a client ---------------------------------------------------------------------------------------------------- */

static int connect_to(const Server *s, int receive_bytes) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_bytes) (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s->port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    assert_true(fd >= 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof a)) fail_msg("no connection to port %d", s->port);
    return fd;
}

int http_connect(const Server *s) { return connect_to(s, 0); }
int http_connect_narrow(const Server *s) { return connect_to(s, 4096); }

void http_send(int fd, const char *text) {
    for (size_t at = 0, len = strlen(text); at < len;) {
        ssize_t n = send(fd, text + at, len - at, MSG_NOSIGNAL);
        if (n <= 0) return; /* the server has closed: what it said is to be read */
        at += (size_t)n;
    }
}

char *http_read_all(int fd) {
    size_t len = 0, cap = 65536;
    char *text = malloc(cap);
    for (;;) {
        assert_non_null(text);
        ssize_t n = recv(fd, text + len, cap - len - 1, 0);
        if (n <= 0) break;
        len += (size_t)n;
        if (len + 1 == cap) text = realloc(text, cap *= 2);
    }
    text[len] = 0;
    return text;
}

static void join_chunks(char *body) {
    char *from = body, *to = body;
    for (;;) {
        char *end;
        size_t n = strtoul(from, &end, 16);
        if (end == from || n == 0) break;
        from = strstr(end, "\r\n") + 2;
        if (strlen(from) < n) n = strlen(from);
        memmove(to, from, n);
        to += n;
        from += n + 2;
    }
    *to = 0;
}

Http http_parse(char *reply) {
    Http h = {.head = reply};
    char *end = strstr(reply, "\r\n\r\n");
    if (!end || sscanf(reply, "HTTP/1.1 %d", &h.status) != 1) fail_msg("no answer: '%s'", reply);
    end[2] = 0;
    h.body = end + 4;
    if (strcasestr(h.head, "transfer-encoding: chunked")) join_chunks(h.body);
    h.len = strlen(h.body);
    h.json = json_loads(h.body, JSON_DECODE_ANY, NULL);
    return h;
}

Http http_ask(const Server *s, const char *method, const char *path, const char *headers, const char *body) {
    size_t size = (body ? strlen(body) : 0) + 4096;
    char *text = malloc(size);
    assert_non_null(text);
    int n = snprintf(text, size, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n%s", method, path, headers ? headers : "");
    if (body) n += snprintf(text + n, size - (size_t)n, "Content-Length: %zu\r\n", strlen(body));
    snprintf(text + n, size - (size_t)n, "\r\n%s", body ? body : "");
    int fd = http_connect(s);
    http_send(fd, text);
    free(text);
    char *reply = http_read_all(fd);
    close(fd);
    return http_parse(reply);
}

void http_free(Http *h) {
    free(h->head);
    json_decref(h->json);
    *h = (Http){0};
}

/* ---- JSON ---------------------------------------------------------------------------------------------------------- */

json_t *json_at(json_t *value, const char *path) {
    char word[64];
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, ".");
        snprintf(word, sizeof word, "%.*s", (int)n, p);
        value = json_is_array(value) ? json_array_get(value, strtoul(word, NULL, 10)) : json_object_get(value, word);
        if (!value) fail_msg("nothing at '%s' of %s", word, path);
        p += n + (p[n] == '.');
    }
    return value;
}

const char *text_at(json_t *value, const char *path) {
    json_t *at = json_at(value, path);
    if (!json_is_string(at)) fail_msg("%s is no string", path);
    return json_string_value(at);
}

json_int_t int_at(json_t *value, const char *path) {
    json_t *at = json_at(value, path);
    if (!json_is_integer(at)) fail_msg("%s is no integer", path);
    return json_integer_value(at);
}

long server_memory_kib(const Server *s, const char *name) {
    char path[64], text[256];
    long kib = -1;
    size_t n = strlen(name);
    snprintf(path, sizeof path, "/proc/%d/status", s->pid);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (kib < 0 && fgets(text, sizeof text, f))
        if (strncmp(text, name, n) == 0 && text[n] == ':') kib = strtol(text + n + 1, NULL, 10);
    (void)fclose(f);
    assert_true(kib >= 0);
    return kib;
}
