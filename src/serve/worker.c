/* The one thread that computes. Each round: those who went away are let go, free conversations are given to those who wait, and one
 * step takes one more token of everyone who is answered together with a slice of the prompts that are being read. */
#include "serve/inside.h"
#include "os/os.h"

enum { SLICE_LEAST = 16, TEXT_PER_TOKEN = 120 /* some 6 bytes, and 20 of memory for each */ };
static const uint64_t SLICE_LONG_NS = 2000000000, SLICE_SHORT_NS = 500000000, WRITING_NS = 5000000000;

static bool reads_prompt(const ServeSequence *s) { return s && s->fed < s->prompt->n; }
static bool answers(const ServeSequence *s) { return s && s->fed == s->prompt->n && s->next >= 0 && !serve_events_full(&s->job->events); }

/* ---- a round ----------------------------------------------------------------------------------------------------- */

/* What a failed feed says to the client. One that was interrupted is dealt with at the next round. */
static void failed(Serve *serve, const ServePart *part) {
    if (part->error.code == SLUICE_INTERRUPTED) return;
    ServeRefusal no;
    (void)serve_refuse(&no, 500, NULL, "%s", part->error.message);
    log_warn("a request failed: %s", part->error.message);
    serve_jobs_end(serve, part->sequence->job, &no);
}

/* One more token of an answer; the logits behind what was fed are there. */
static void sample(Serve *serve, ServeSequence *s) {
    ServeJob *job = s->job;
    bool last = serve_voice_next(s, s->slot->session);
    uint64_t now = os_now_ns();
    if (s->last_ns) serve_board_gap(&serve->board, now - s->last_ns);
    s->last_ns = now;
    if (!atomic_load(&job->first_ns)) {
        atomic_store(&job->first_ns, now);
        serve_board_first(&serve->board, now - job->arrived_ns);
    }
    if (last) serve_sequence_end(serve, s);
}

/* The prompt is through: the first token of its answer, if there is to be one. */
static void first_token(Serve *serve, ServeSequence *s) {
    serve_slot_watch(s->slot, false);
    if (s->job->ask.echo) serve_voice_prompt(s);
    if (s->job->ask.max_tokens != 0) {
        sample(serve, s);
        return;
    }
    serve_voice_end(s);
    serve_sequence_end(serve, s);
}

/* Beside answers a slice takes as long as someone may be kept waiting between two tokens; alone it is a chunk. */
static void learn_slice(ServeWorker *w, size_t n, uint64_t ns, size_t chunk) {
    if (ns > SLICE_LONG_NS && n <= w->slice && w->slice > SLICE_LEAST) w->slice /= 2;
    else if (ns < SLICE_SHORT_NS && n >= w->slice && w->slice < chunk) w->slice *= 2;
    if (w->slice > chunk) w->slice = chunk;
}

/* One token of each that is answered. */
static size_t add_answers(const ServeWorker *w, ServePart *parts) {
    size_t n = 0;
    for (int i = 0; i < w->n_slots; i++) {
        ServeSequence *s = w->slots[i].sequence;
        if (!answers(s)) continue;
        parts[n] = (ServePart){.sequence = s, .ids = &s->next, .n = 1};
        n++;
    }
    return n;
}

/* Then of prompts, from the one whose turn it is, as much as a slice holds. Returns how many tokens. */
static size_t add_prompts(ServeWorker *w, ServePart *parts, size_t *n, size_t most) {
    size_t left = most;
    int first = w->turn;
    for (int i = 0; i < w->n_slots && left > 0; i++) {
        int at = (first + i) % w->n_slots;
        ServeSequence *s = w->slots[at].sequence;
        if (!reads_prompt(s)) continue;
        if (left == most) w->turn = (at + 1) % w->n_slots;
        size_t rest = s->prompt->n - s->fed, some = serve_keep_until(s, rest < left ? rest : left);
        parts[(*n)++] = (ServePart){.sequence = s, .ids = s->prompt->ids + s->fed, .n = some};
        left -= some;
    }
    return most - left;
}

static void take_part(Serve *serve, const ServePart *part, bool prompt) {
    ServeWorker *w = &serve->worker;
    ServeSequence *s = part->sequence;
    if (!s->slot) return; /* another choice of its job failed */
    if (prompt) s->fed = (size_t)sluice_position(s->slot->session);
    if (part->error.code) {
        failed(serve, part);
    } else if (!prompt) {
        sample(serve, s);
    } else {
        const ServeSlot *slot = s->slot;
        if (s->fed == s->prompt->n) first_token(serve, s); /* nobody waits for the copy; what was fed stays as it is */
        serve_keep_prompt(w, s, slot);
    }
}

static bool compute(Serve *s, ServePart *parts) {
    ServeWorker *w = &s->worker;
    for (int i = 0; i < w->n_slots; i++) { /* whose whole prompt was there before */
        ServeSequence *q = w->slots[i].sequence;
        if (q && q->fed == q->prompt->n && q->next < 0) first_token(s, q);
    }
    size_t chunk = (size_t)s->model.info.chunk, n_answers = add_answers(w, parts), n = n_answers;
    size_t tokens = add_prompts(w, parts, &n, n_answers ? w->slice : chunk);
    if (n == 0) return false;
    uint64_t start = os_now_ns();
    serve_step(w, parts, n);
    if (tokens && n_answers) learn_slice(w, tokens, os_now_ns() - start, chunk);
    for (size_t i = 0; i < n; i++) take_part(s, &parts[i], i >= n_answers);
    return true;
}

/* ---- what is told ------------------------------------------------------------------------------------------------- */

/* Of the engine and the conversations, now and then. */
static void tell_board(Serve *s, bool now_or_never) {
    uint64_t now = os_now_ns();
    const ServeWorker *w = &s->worker;
    if (!now_or_never && !serve_board_due(&s->board, now)) return;
    ServeView views[SERVE_MOST_SLOTS];
    for (int i = 0; i < w->n_slots; i++) {
        const ServeSlot *slot = &w->slots[i];
        const ServeSequence *q = slot->sequence;
        views[i] = (ServeView){.state = !q ? "free" : reads_prompt(q) ? "reading" : "answering",
                               .position = sluice_position(slot->session),
                               .left = q ? (int)(q->prompt->n - q->fed) : 0,
                               .answered = q ? q->answered : 0};
    }
    sluice_stats stats;
    sluice_get_stats(w->model, &stats);
    StatesStats kept = {0};
    if (w->states) states_stats(w->states, &kept);
    serve_board_sample(&s->board, now, &stats, views, w->n_slots, &kept);
}

/* ---- the thread --------------------------------------------------------------------------------------------------- */

static bool on_progress(void *user, const char *stage, uint64_t done, uint64_t total) {
    (void)stage, (void)done, (void)total;
    Serve *s = user;
    const ServeSequence *alone = s->worker.alone;
    if (alone && atomic_load(&alone->job->gone)) return false;
    ServePhase phase = serve_phase(s);
    return phase != SERVE_CUT && !(phase == SERVE_STOPPING && !s->worker.model);
}

/* Memory for states is worth having, but not worth refusing to start. */
static sluice_model *open_with_states(sluice_options *options, sluice_error *failure) {
    if (!options->snapshot_bytes) options->snapshot_bytes = SLUICE_SNAPSHOTS_AUTO;
    sluice_model *model = sluice_open(options, failure);
    sluice_info info;
    if (model) sluice_get_info(model, &info);
    if (model && !info.plan.snapshot_bytes)
        log_note("no memory is set aside for the states of earlier conversations; --state-ram or a larger --ram would");
    return model;
}

static ErrCode open_model(Serve *s, Err *err) {
    ServeWorker *w = &s->worker;
    sluice_options options = s->config->options;
    options.sessions = s->config->parallel;
    uint64_t text_bytes = TEXT_PER_TOKEN * (uint64_t)options.ctx; /* a prompt that fills the context can be tokenised */
    if (options.text_bytes < text_bytes) options.text_bytes = text_bytes;
    options.other_bytes = serve_purse_plan(&s->purse, serve_connections_most(s), s->config->parallel);
    options.progress = on_progress;
    options.user = s;
    sluice_error failure = {0};
    w->model = open_with_states(&options, &failure);
    if (!w->model) return err_set(err, (ErrCode)failure.code, "%s", failure.message);
    s->model = (ServeModel){.model = w->model, .name = s->config->model_name, .created = s->model.created};
    sluice_get_info(w->model, &s->model.info);
    sluice_sampling_default(w->model, &s->model.sampling);
    if (s->config->sampling) s->config->sampling(s->config->user, &s->model.sampling);
    w->slice = (size_t)s->model.info.chunk;
    s->prompts = answer_prompts_new(w->model, serve_turns_bytes(s), err);
    if (!s->prompts) return err->code;
    if (!serve_board_model(&s->board, &s->model.info)) return err_no_memory(err, 0, "the heat of the experts");
    ErrCode code = serve_slots_open(s, s->config->parallel, err);
    return code ? code : serve_keep_open(s, err);
}

/* Nobody waits: what was kept is written, a piece at a time, as long as nobody comes. */
static void rest(Serve *s) {
    tell_board(s, true);
    bool wrote = false;
    while (serve_keep_idle(&s->worker)) {
        wrote = true;
        if (serve_queue_inside(&s->queue) || serve_phase(s) >= SERVE_STOPPING) return;
        os_sleep_ns(2000000); /* never the drive's whole attention */
    }
    if (wrote) tell_board(s, true);
}

static void work(Serve *s, ServePart *parts) {
    ServeWorker *w = &s->worker;
    while (true) {
        serve_jobs_collect(s, false);
        if (!w->jobs) {
            rest(s);
            if (serve_phase(s) >= SERVE_STOPPING) break;
            serve_jobs_collect(s, true);
        }
        serve_jobs_let_go(s);
        serve_jobs_admit(s);
        bool busy = compute(s, parts);
        tell_board(s, false);
        if (!busy && w->jobs && !w->jobs->over) os_sleep_ns(2000000); /* all wait for clients that are slow to read */
    }
    uint64_t until = os_now_ns() + WRITING_NS; /* what was not written would be lost */
    while (os_now_ns() < until && serve_keep_idle(w)) {}
}

static void *run(void *user) {
    Serve *s = user;
    ServePart *parts = MEM_NEW(ServePart, 2 * (size_t)s->config->parallel);
    ErrCode code = parts ? open_model(s, &s->failure) : err_no_memory(&s->failure, 0, "the worker");
    int loading = SERVE_LOADING;
    if (code) {
        atomic_store(&s->broken, true);
    } else {
        (void)atomic_compare_exchange_strong(&s->phase, &loading, SERVE_READY);
        work(s, parts);
    }
    serve_jobs_turn_away(s);
    mem_free(parts);
    return NULL;
}

bool serve_worker_start(Serve *s, Err *err) {
    if (pthread_create(&s->worker.thread, NULL, run, s) == 0) return true;
    err_set(err, ERR_STATE, "no thread can be started for the model");
    return false;
}

void serve_worker_stop(Serve *s) {
    serve_queue_wake(&s->queue);
    pthread_join(s->worker.thread, NULL);
}

/* HTTP threads may still be writing answers with the model's words until the daemon has stopped. */
void serve_worker_close(Serve *s) {
    states_free(s->worker.states);
    serve_slots_close(&s->worker);
    answer_prompts_free(s->prompts);
    serve_rules_free(&s->rules);
    sluice_close(s->worker.model);
}
