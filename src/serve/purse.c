/* Memory that requests take together: bodies, their JSON, answers that are gathered, grammars. The plan has set it aside, and whoever does
 * not get any is asked to come again, or to ask for less. What is counted is an upper bound that is known before the memory is taken. */
#include "serve/purse.h"
#include "os/os.h"

enum { CONNECTION_BYTES = 64 << 10 /* its buffer, and what is touched of its stack */, RUNNING_BYTES = 512 << 10 /* events, twice */ };
static const uint64_t LEAST = UINT64_C(16) << 20 /* a grammar and its masks fit */, MOST = UINT64_C(256) << 20;

void serve_purse_open(ServePurse *p, uint64_t ram_bytes) {
    OsMemory memory;
    if (!ram_bytes) {
        os_memory(&memory);
        ram_bytes = memory.budget;
    }
    uint64_t most = ram_bytes / 32;
    *p = (ServePurse){.most = most < LEAST ? LEAST : most > MOST ? MOST : most};
}

uint64_t serve_purse_plan(const ServePurse *p, unsigned connections, int parallel) {
    return p->most + (uint64_t)connections * CONNECTION_BYTES + (uint64_t)parallel * RUNNING_BYTES;
}

bool serve_purse_take(ServePurse *p, uint64_t bytes) {
    uint64_t used = atomic_load(&p->used);
    do {
        if (bytes > p->most - used) return false;
    } while (!atomic_compare_exchange_weak(&p->used, &used, used + bytes));
    return true;
}

void serve_purse_give(ServePurse *p, uint64_t bytes) { atomic_fetch_sub(&p->used, bytes); }

bool serve_purse_refuse(const ServePurse *p, uint64_t bytes, const char *what, ServeRefusal *no) {
    char need[32], all[32];
    format_size(p->most, all);
    if (bytes > p->most / 2)
        return serve_refuse(no, 413, NULL, "%s may take %s of memory, and %s are set aside for all requests; ask for less, or start the "
                                           "server with a larger --ram", what, format_size(bytes, need), all);
    (void)serve_refuse(no, 503, NULL, "the %s that are set aside for requests are in use; try again later", all);
    no->retry_after_s = 1;
    return false;
}

/* ---- what is counted ----------------------------------------------------------------------------------------------- */

/* Jansson's values with the allocator's rounding: some 100 bytes for a value in its place, some 300 for a list or object. Shapes make the
 * request's parts anew for the template: as much again. A character is in a value, and in what grows while it is read or in the copy. */
uint64_t serve_purse_json(const char *text, size_t len) {
    uint64_t values = 1, lists = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"') {
            for (i++; i < len && text[i] != '"'; i++) i += text[i] == '\\';
        } else if (text[i] == '[' || text[i] == '{') {
            lists++;
        } else if (text[i] == ',' || text[i] == ':') {
            values++;
        }
    }
    return 3 * (uint64_t)len + 2 * (112 * values + 288 * lists);
}

/* What is held of a job until it is over. An answer in one piece is gathered and then written as JSON; a stream has nothing to gather. */
uint64_t serve_purse_job(const ServeAsk *ask, int ctx) {
    uint64_t bytes = 8192 + ask->n_prompts * (uint64_t)ask->choices * 1024, per_token = 16;
    if (ask->logprobs >= 0) per_token += (1 + (uint64_t)ask->logprobs) * 800; /* an object with its text, bytes and number */
    for (size_t i = 0; i < ask->n_prompts; i++) {
        uint64_t prompt = ask->prompts[i].n, room = (uint64_t)ctx - prompt;
        uint64_t tokens = ask->max_tokens >= 0 && (uint64_t)ask->max_tokens < room ? (uint64_t)ask->max_tokens : room;
        if (ask->echo) tokens += prompt;
        bytes += 2 * sizeof(int32_t) * prompt;
        if (!ask->stream) bytes += tokens * per_token * (uint64_t)ask->choices;
        else if (ask->echo) bytes += prompt * per_token * (uint64_t)ask->choices; /* it is told in one piece */
    }
    return bytes;
}
