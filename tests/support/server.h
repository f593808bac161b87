/* The server under test, and a client that can also be rude. */
#ifndef TESTS_SERVER_H
#define TESTS_SERVER_H

#include "support/program.h"
#include "serve/serve.h"

typedef struct Server {
    int pid, port;
    char log[1024]; /* path of its standard error */
} Server;

/* Starts `sluice serve --port 0 ARGS` (through bash) and waits until the model is loaded. */
Server *server_start(const char *args);
Server *server_start_early(const char *args); /* waits only until it listens */
/* The same for a server in a process of its own that was given this configuration and no command line: what no option sets. An empty model
 * is the story model, port is 0. */
Server *server_start_config(const ServeConfig *config);
Server *server_start_config_early(const ServeConfig *config);
int server_stop(Server *s, int signal_number); /* its exit code */
void server_await(Server *s, const char *text); /* until a line of its log says it */
char *server_log(const Server *s);             /* freed by the caller */

typedef struct Http {
    int status;
    char *head, *body; /* NUL-terminated; a chunked body is joined */
    size_t len;
    json_t *json;      /* of the body, or NULL */
} Http;
/* One request on a connection of its own. headers: "Name: value\r\n" lines, or NULL. */
Http http_ask(const Server *s, const char *method, const char *path, const char *headers, const char *body);
static inline Http http_post(const Server *s, const char *path, const char *body) { return http_ask(s, "POST", path, NULL, body); }
static inline Http http_get(const Server *s, const char *path) { return http_ask(s, "GET", path, NULL, NULL); }
void http_free(Http *h);

/* By hand: a connection, bytes, and what comes back until the server closes it (or max bytes came). */
int http_connect(const Server *s);
int http_connect_narrow(const Server *s); /* whose kernel holds little of what is not read */
void http_send(int fd, const char *text);
char *http_read_all(int fd);
Http http_parse(char *reply); /* takes the reply over */

/* "choices.0.text" of a JSON value; fails the test when it is not there. */
json_t *json_at(json_t *value, const char *path);
const char *text_at(json_t *value, const char *path);
json_int_t int_at(json_t *value, const char *path);

/* A line of its /proc status, "VmRSS" or "VmHWM". */
long server_memory_kib(const Server *s, const char *name);

#endif
