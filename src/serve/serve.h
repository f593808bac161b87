/* serve: the HTTP server, in the words of OpenAI's and Anthropic's APIs.
 *
 * What this is    one process that listens, authenticates, validates and queues on HTTP threads (libmicrohttpd), and computes on one
 *                 worker thread. ask.h is the language between the two: a new API is a translation to it and back, nothing more.
 * Who owns what   serve_run owns everything and leaves nothing; the strings of its config are borrowed until it returns.
 * What may fail   the address, the key file, the model: before anything is answered. Afterwards a request may fail, the server lives on.
 * Threads         HTTP threads only read the model's text side; the worker alone feeds, samples and takes snapshots.
 * Promise         a request's answer is the same bits alone or beside others; what is not supported is refused by name; who goes away
 *                 stops the work. Checked by tests/serve/.
 */
#ifndef SERVE_SERVE_H
#define SERVE_SERVE_H

#include "base/base.h"

#include <sluice.h>

/* How patient the server is. 0: as users have it; tests are in a hurry. */
typedef struct ServeLimits {
    uint64_t request_ns;       /* by then a request must be complete, and what was offered of an answer taken (a minute) */
    uint64_t alive_ns;         /* so long a stream may say nothing (5 s) */
    unsigned connections;      /* beyond as many a request is answered 503 (those that may wait or run, and 64) */
} ServeLimits;

typedef struct ServeConfig {
    sluice_options options;    /* of the model; sessions, text_bytes, progress and user are the server's */
    const char *model_name;    /* what clients are told the model is called */
    const char *host;          /* address or name; anything but loopback needs keys */
    int port;                  /* 0: any that is free, told in the first line of the log */
    const char *key_file;      /* one key per line; NULL: no keys */
    int parallel;              /* conversations whose states are kept, and that decode together */
    int queue;                 /* requests that may wait */
    const char *state_folder;  /* where states are kept over restarts; NULL: in memory alone */
    const char *trace_dir;     /* a file is written here for each request that is computed; NULL: nowhere */
    const char *cors;          /* the origin whose pages may call us, "*": all; NULL: none */
    ServeLimits limits;
    void (*sampling)(void *user, sluice_sampling *sampling); /* what the user said over the model's own settings; may be NULL */
    void *user;
} ServeConfig;

/* Serves until a signal says stop (os_interrupted). ERR_OK after SIGTERM, ERR_INTERRUPTED after Ctrl-C. */
ErrCode serve_run(const ServeConfig *config, Err *err);

#endif
