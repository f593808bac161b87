/* cli/opened: a model opened from the options of a command, its session, the progress bars, and the statistics at the end. */
#ifndef CLI_OPENED_H
#define CLI_OPENED_H

#include "cli/options.h"
#include "os/os.h"

#include <jansson.h>
#include <sluice.h>

typedef struct Opened {
    sluice_model *model;
    sluice_session *session;
    sluice_info info;
    uint64_t load_ns, seed;
    /* progress */
    OsProgress bar;
    char stage[16];
    bool no_prefill_bar; /* the command draws its own */
    struct LabTraceWriter *trace; /* --trace, or the trace command; NULL: nothing is recorded */
    sluice_probe probe;           /* the command's own */
} Opened;

/* ctx_needed: what the command itself asks for where no --ctx is given; 0: the engine's default. text_bytes: memory that handling
 * its text will take (sluice_text_memory), for the plan. The address of *e must not change while the model is open. */
ErrCode opened_open(const Options *o, int ctx_needed, uint64_t text_bytes, Opened *e, Err *err);
void opened_close(Opened *e);
/* What the options say to the engine, and where the model lies; neither seed nor progress. Strings are borrowed. */
ErrCode opened_options(const Options *o, int ctx_needed, sluice_options *options, Err *err);
/* What the sampling options say, and where they say nothing the model itself. */
sluice_sampling opened_sampling(const Options *o, const Opened *e);
ErrCode opened_error(const sluice_error *from, Err *err); /* the engine's error as ours */

/* What the command wants to see of each feed (NULL: nothing), beside what the trace records. Instead of sluice_set_probe. */
void opened_set_probe(Opened *e, const sluice_probe *probe);
/* Records the routing into a file; opened_open does it where --trace is given. */
ErrCode opened_start_trace(const Options *o, Opened *e, const char *path, Err *err);
/* Ends the trace, if there is one, after the answer was given: to be called before opened_close. code is how the command went so far;
 * an error of the trace becomes the command's where it has none of its own, and is logged otherwise. */
ErrCode opened_end_trace(Opened *e, ErrCode code, Err *err);

/* Feeds, with a progress bar; ERR_INTERRUPTED after Ctrl-C. */
ErrCode opened_feed(Opened *e, const int32_t *ids, size_t n, Err *err);
ErrCode opened_tokenize(const Opened *e, const char *text, size_t len, unsigned flags, int32_t **ids, size_t *n, Err *err);
void opened_token_text(const Opened *e, int32_t id, Buf *out);

/* How a run went, by the clock of the command. */
typedef struct Timings {
    uint64_t prefill_tokens, decode_tokens, prefill_ns, decode_ns, first_ns;
    uint64_t prefill_bytes; /* read from disk during prefill */
} Timings;
json_t *opened_timings_json(const Opened *e, const Timings *t);
json_t *opened_io_json(const Opened *e, const Timings *t);
void opened_print_stats(const Opened *e, const Timings *t);
static inline double per_second(uint64_t n, uint64_t ns) { return ns ? (double)n / ((double)ns * 1e-9) : 0; }

#endif
