/* Opening a model as the options say, and feeding it where a person may be watching. */
#include "cli/opened.h"
#include "answer/answer.h"
#include "cli/source.h"
#include "cli/state.h"

#include <string.h>
#include <time.h>

ErrCode opened_error(const sluice_error *from, Err *err) {
    /* the public codes are those of base, in the same order */
    ErrCode code = from->code > ERR_OK && from->code <= (int)ERR_INTERRUPTED ? (ErrCode)from->code : ERR_STATE;
    return err_set(err, code, "%s", from->message);
}

static bool on_progress(void *user, const char *stage, uint64_t done, uint64_t total) {
    Opened *e = user;
    if (os_interrupted()) return false;
    bool prefill = strcmp(stage, "prefill") == 0;
    if (prefill ? e->no_prefill_bar : strcmp(stage, "load") != 0) return true;
    if (strcmp(stage, e->stage) != 0 || total != e->bar.total) {
        os_progress_end(&e->bar);
        strncpy(e->stage, stage, sizeof e->stage - 1);
        os_progress_start(&e->bar, prefill ? "reading the prompt:" : "loading:", prefill ? "tokens" : NULL, total);
    }
    os_progress_step(&e->bar, done);
    return true;
}

/* A seed that nobody chose: 32 bits are enough to be new, and short enough to type again. */
static uint64_t fresh_seed(void) {
    uint64_t x = (uint64_t)time(NULL) * 0x9e3779b97f4a7c15u ^ os_now_ns();
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    return (x ^ (x >> 27)) & 0xffffffffu;
}

ErrCode opened_options(const Options *o, int ctx_needed, sluice_options *options, Err *err) {
    sluice_options_init(options);
    options->ctx = ctx_needed;
    options_into(o, options);
    if (!options->model) {
        ErrCode code = embedded_locate(&options->embedded_offset, &options->embedded_bytes, err);
        if (code) return code;
        options->model = EMBEDDED_PATH;
    }
    static char state_dir[1024];
    options->state_dir = state_folder(state_dir, sizeof state_dir);
    return ERR_OK;
}

static ErrCode fill(const Options *o, int ctx_needed, Opened *e, sluice_options *options, Err *err) {
    ErrCode code = opened_options(o, ctx_needed, options, err);
    if (code) return code;
    e->seed = opt_given(o, OPT_SEED) ? (uint64_t)o->value[OPT_SEED].integer : fresh_seed();
    options->seed = e->seed;
    /* a conversation goes on from its own states */
    if (o->command == CMD_CHAT && !options->snapshot_bytes) options->snapshot_bytes = SLUICE_SNAPSHOTS_AUTO;
    options->progress = on_progress;
    options->user = e;
    return ERR_OK;
}

/* --experts is lossy and says so. */
static void warn_fewer_experts(const sluice_info *info) {
    int own = info->experts_per_token_own, asked = info->experts_per_token;
    if (asked != own)
        log_warn("--experts %d: lossy. The model uses %d experts per token; with %.0f %% of that, answers are not its own. "
                 "`sluice ppl` with and without it measures the cost on a text of yours",
                 asked, own, 100.0 * asked / own);
}

/* What the user did not choose, and what they chose at a price. */
static void say_what_was_chosen(const Options *o, const sluice_info *info) {
    char size[32], cache[32];
    if (strcmp(opt_text(o, OPT_KV, ""), "q8_0") == 0)
        log_warn("--kv q8_0: lossy. Keys and values have 8 bits; `sluice ppl` with and without it measures the cost on a text of yours");
    if (!opt_given(o, OPT_MODEL)) log_note("no -m: the small story model inside sluice answers");
    if (!opt_given(o, OPT_RAM)) log_note("memory: up to %s (measured; --ram sets it)", format_size(info->plan.ram_bytes, size));
    if (opt_given(o, OPT_EXPERTS)) warn_fewer_experts(info);
    if (info->ctx > info->ctx_train)
        log_warn("a context of %d: the model was made for %d positions; what comes after them may make little sense", info->ctx,
                 info->ctx_train);
    log_debug("%s: %u of %u experts fit into the cache of %s; %s, %d threads, reads by %s%s, chunk %d, context %d", info->arch,
              info->plan.cache_slots, info->plan.experts_total, format_size(info->plan.cache_bytes, cache), info->cpu, info->threads,
              info->io, info->direct ? " (direct)" : "", info->chunk, info->ctx);
}

sluice_sampling opened_sampling(const Options *o, const Opened *e) {
    sluice_sampling s;
    sluice_sampling_default(e->model, &s);
    options_into_sampling(o, &s);
    return s;
}

ErrCode opened_open(const Options *o, int ctx_needed, uint64_t text_bytes, Opened *e, Err *err) {
    memset(e, 0, sizeof *e);
    sluice_options options;
    ErrCode code = fill(o, ctx_needed, e, &options, err);
    if (code) return code;
    options.text_bytes = text_bytes;
    uint64_t start = os_now_ns();
    sluice_error failure = {0};
    e->model = sluice_open(&options, &failure);
    if (e->model) e->session = sluice_session_new(e->model, &failure);
    os_progress_end(&e->bar);
    if (!e->session) {
        code = opened_error(&failure, err);
        opened_close(e);
        return code;
    }
    e->load_ns = os_now_ns() - start;
    sluice_get_info(e->model, &e->info);
    say_what_was_chosen(o, &e->info);
    sluice_session_seed(e->session, e->seed);
    sluice_reset_stats(e->model);
    if (!opt_given(o, OPT_TRACE)) return ERR_OK;
    if (strcmp(opt_text(o, OPT_TRACE, ""), "-") == 0)
        code = err_set(err, ERR_USAGE, "--trace -: standard output holds the answer; name a file");
    else
        code = opened_start_trace(o, e, opt_text(o, OPT_TRACE, ""), err);
    if (code) opened_close(e);
    return code;
}

void opened_close(Opened *e) {
    opened_end_trace(e, ERR_STATE, NULL);
    sluice_session_free(e->session);
    sluice_close(e->model);
    e->session = NULL;
    e->model = NULL;
}

ErrCode opened_feed(Opened *e, const int32_t *ids, size_t n, Err *err) {
    sluice_error failure = {0};
    int code = sluice_feed(e->session, ids, n, &failure);
    os_progress_end(&e->bar);
    e->stage[0] = 0;
    return code ? opened_error(&failure, err) : ERR_OK;
}

ErrCode opened_tokenize(const Opened *e, const char *text, size_t len, unsigned flags, int32_t **ids, size_t *n, Err *err) {
    sluice_error failure = {0};
    if (sluice_tokenize(e->model, text ? text : "", len, flags, ids, n, &failure)) return opened_error(&failure, err);
    return ERR_OK;
}

void opened_token_text(const Opened *e, int32_t id, Buf *out) { answer_token_bytes(e->model, id, out); }
