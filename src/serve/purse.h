/* serve/purse: memory that requests take together, within what the plan has set aside for them. */
#ifndef SERVE_PURSE_H
#define SERVE_PURSE_H

#include "serve/ask.h"

#include <stdatomic.h>

typedef struct ServePurse {
    _Atomic uint64_t used;
    uint64_t most;
} ServePurse;

/* As much as a thirty-second of the budget (0: of what this machine has). */
void serve_purse_open(ServePurse *purse, uint64_t ram_bytes);
/* With it, what connections and conversations take however little is asked: for the memory plan. */
uint64_t serve_purse_plan(const ServePurse *purse, unsigned connections, int parallel);
bool serve_purse_take(ServePurse *purse, uint64_t bytes);
void serve_purse_give(ServePurse *purse, uint64_t bytes);
/* Says why there was none: false. */
bool serve_purse_refuse(const ServePurse *purse, uint64_t bytes, const char *what, ServeRefusal *no);

/* Upper bounds. */
uint64_t serve_purse_json(const char *text, size_t len);      /* of the values of a text, and of what is made of them */
uint64_t serve_purse_job(const ServeAsk *ask, int ctx);       /* of a job, and of its answer where that is gathered */

#endif
