/* The one thread that computes. Each round: those who went away are let go, free conversations are given to those who wait, one slice
 * of one prompt is read, and everyone who is answered gets one more token. */
#include "serve/inside.h"
#include "os/os.h"

#include <string.h>

enum { SLICE_LEAST = 16 };
static const uint64_t SLICE_LONG_NS = 2000000000, SLICE_SHORT_NS = 500000000, STALLED_NS = 60000000000;

static void refuse_stopping(ServeRefusal *no) {
    (void)serve_refuse(no, 503, NULL, "the server is shutting down");
}

/* ---- sequences --------------------------------------------------------------------------------------------------- */

static void leave_slot(ServeSequence *s) {
    ServeSlot *slot = s->slot;
    if (!slot) return;
    sluice_set_probe(slot->session, NULL);
    slot->sequence = NULL;
    slot->used_ns = os_now_ns();
    s->slot = NULL;
}

/* Its answer is complete. */
static void end_sequence(ServeSequence *s) {
    ServeJob *job = s->job;
    leave_slot(s);
    job->usage.answer += s->answered;
    job->usage.prompt += (int)s->prompt->n;
    job->usage.cached += s->cached;
    if (++job->ended == job->n) serve_job_end(job, NULL);
}

/* Nothing more is computed for this job. */
static void end_job(ServeWorker *w, ServeJob *job, const ServeRefusal *no) {
    for (int i = 0; i < w->n_slots; i++)
        if (w->slots[i].sequence && w->slots[i].sequence->job == job) leave_slot(w->slots[i].sequence);
    serve_job_end(job, no);
}

static void on_fetch(void *user, int layer, int position, int n, int n_wanted, const int32_t *experts, const uint8_t *hit,
                     uint64_t wait_ns) {
    (void)position, (void)n, (void)wait_ns;
    serve_board_fetch(&((Serve *)user)->board, layer, n_wanted, experts, hit);
}

static void on_prompt_logits(void *user, int position, const float *logits) {
    ServeSequence *s = ((Serve *)user)->worker.echoing;
    size_t next = (size_t)position + 1;
    if (next < s->prompt->n && !serve_voice_row(s, s->prompt->ids[next], logits)) serve_events_lose(&s->job->events);
}

/* Every likelihood of the prompt is wanted, so all of it has to be computed. */
static bool echoes_logprobs(const ServeJob *job) { return job->ask.echo && job->ask.logprobs >= 0; }

static void watch(Serve *serve, ServeSlot *slot, bool logits) {
    sluice_probe probe = {.user = serve, .fetch = on_fetch, .logits = logits ? on_prompt_logits : NULL};
    sluice_set_probe(slot->session, &probe);
}

static void begin_sequence(Serve *serve, ServeSequence *s, ServeSlot *slot, size_t common) {
    s->slot = slot;
    slot->sequence = s;
    s->fed = common;
    s->cached = (int)common;
    uint64_t seed = s->job->ask.seed + (uint64_t)s->choice;
    sluice_session_seed(slot->session, seed);
    watch(serve, slot, echoes_logprobs(s->job));
    if (echoes_logprobs(s->job)) {
        if (!serve_voice_row(s, s->prompt->ids[0], NULL)) serve_events_lose(&s->job->events);
    }
    ServeUsage usage = {.prompt = (int)s->prompt->n, .cached = s->cached};
    serve_events_put(&s->job->events, &(ServeEvent){.kind = SERVE_BEGIN, .choice = s->choice, .usage = usage});
}

/* ---- admission --------------------------------------------------------------------------------------------------- */

static size_t running(const ServeWorker *w, const ServeJob *job) {
    size_t n = 0;
    for (int i = 0; i < w->n_slots; i++) n += w->slots[i].sequence && w->slots[i].sequence->job == job;
    return n;
}

/* Whose turn it is: who has the fewest answers under way, and of those who came first. */
static ServeJob *next_job(const ServeWorker *w) {
    ServeJob *best = NULL;
    for (ServeJob *job = w->jobs; job; job = job->after)
        if (!job->over && job->begun < job->n && (!best || running(w, job) < running(w, best))) best = job;
    return best;
}

static void admit(Serve *s) {
    ServeWorker *w = &s->worker;
    for (ServeJob *job; (job = next_job(w));) {
        ServeSequence *sequence = &job->sequences[job->begun];
        size_t common;
        ServeSlot *slot = serve_slot_for(w, sequence->prompt, echoes_logprobs(job), &common);
        if (!slot) return;
        job->begun++;
        begin_sequence(s, sequence, slot, common);
    }
}

/* How long a job takes lately, for Retry-After. */
static void note_end(Serve *s, const ServeJob *job) {
    uint64_t ns = os_now_ns() - job->arrived_ns;
    pthread_mutex_lock(&s->board.lock);
    s->board.prompt += (uint64_t)job->usage.prompt;
    s->board.cached += (uint64_t)job->usage.cached;
    s->board.answer += (uint64_t)job->usage.answer;
    if (atomic_load(&job->gone) && job->ended < job->n) s->board.left++;
    else if (job->ended < job->n) s->board.failed++;
    pthread_mutex_unlock(&s->board.lock);
    uint64_t before = atomic_load(&s->job_ns);
    atomic_store(&s->job_ns, before ? (7 * before + ns) / 8 : ns);
}

/* The jobs of the queue join those that run; those that are over leave. */
static void collect(Serve *s, bool wait) {
    ServeWorker *w = &s->worker;
    ServeJob **end = &w->jobs;
    while (*end) {
        ServeJob *job = *end;
        if (!job->over) {
            end = &job->after;
            continue;
        }
        *end = job->after;
        note_end(s, job);
        atomic_fetch_sub(&s->running, 1);
        serve_queue_left(&s->queue);
        serve_job_release(job);
    }
    *end = serve_queue_take_all(&s->queue, wait && !w->jobs);
    for (ServeJob *job = *end; job; job = job->after) atomic_fetch_add(&s->running, 1);
}

/* A client that does not take what there is holds a conversation; not for ever. */
static bool stalled(ServeJob *job) {
    if (!serve_events_full(&job->events)) {
        job->stalled_ns = 0;
        return false;
    }
    if (!job->stalled_ns) job->stalled_ns = os_now_ns();
    return true;
}

static void let_go(Serve *s) {
    ServeRefusal no;
    for (ServeJob *job = s->worker.jobs; job; job = job->after) {
        if (job->over) continue;
        if (serve_phase(s) == SERVE_CUT) {
            refuse_stopping(&no);
            end_job(&s->worker, job, &no);
        } else if (atomic_load(&job->gone)) {
            (void)serve_refuse(&no, 499, NULL, "the client went away");
            end_job(&s->worker, job, &no);
        } else if (stalled(job) && os_now_ns() - job->stalled_ns > STALLED_NS) {
            (void)serve_refuse(&no, 408, NULL, "the client did not read the answer for a minute");
            end_job(&s->worker, job, &no);
        }
    }
}

/* ---- computing --------------------------------------------------------------------------------------------------- */

/* What a failed feed says to the client. One that was interrupted is dealt with at the next round. */
static void failed_part(ServeWorker *w, const ServePart *part) {
    if (part->error.code == SLUICE_INTERRUPTED) return;
    ServeRefusal no;
    (void)serve_refuse(&no, 500, NULL, "%s", part->error.message);
    log_warn("a request failed: %s", part->error.message);
    end_job(w, part->sequence->job, &no);
}

/* One more token of an answer; the logits behind what was fed are there. */
static void sample(Serve *serve, ServeSequence *s) {
    ServeJob *job = s->job;
    sluice_session *session = s->slot->session;
    const ServeAsk *ask = &job->ask;
    s->next = sluice_sample(session, &ask->sampling);
    uint64_t now = os_now_ns();
    if (s->last_ns) serve_board_gap(&serve->board, now - s->last_ns);
    s->last_ns = now;
    if (!atomic_load(&job->first_ns)) {
        atomic_store(&job->first_ns, now);
        serve_board_first(&serve->board, now - job->arrived_ns);
    }
    bool last = (ask->max_tokens >= 0 && s->answered + 1 >= ask->max_tokens) || sluice_position(session) >= job->model->info.ctx;
    if (serve_voice_token(s, s->next, sluice_logits(session), last)) end_sequence(s);
}

static void prompt_is_through(Serve *serve, ServeSequence *s) {
    watch(serve, s->slot, false);
    serve->worker.echoing = NULL;
    if (s->job->ask.echo) serve_voice_prompt(s);
    if (s->job->ask.max_tokens != 0) {
        sample(serve, s);
        return;
    }
    serve_voice_end(s, SERVE_LENGTH, str_make("", 0));
    end_sequence(s);
}

static bool reads_prompt(const ServeSequence *s) { return s && s->fed < s->prompt->n; }
static bool answers(const ServeSequence *s) { return s && s->fed == s->prompt->n && s->next >= 0 && !stalled(s->job); }

static bool anyone_answers(const ServeWorker *w) {
    for (int i = 0; i < w->n_slots; i++)
        if (answers(w->slots[i].sequence)) return true;
    return false;
}

/* Beside answers a slice takes as long as someone may be kept waiting between two tokens; alone it is a chunk. */
static void learn_slice(ServeWorker *w, size_t n, uint64_t ns, size_t chunk) {
    if (ns > SLICE_LONG_NS && n <= w->slice && w->slice > SLICE_LEAST) w->slice /= 2;
    else if (ns < SLICE_SHORT_NS && n >= w->slice && w->slice < chunk) w->slice *= 2;
    if (w->slice > chunk) w->slice = chunk;
}

static bool read_slice(Serve *s) {
    ServeWorker *w = &s->worker;
    ServeSequence *sequence = NULL;
    for (int i = 0; i < w->n_slots && !reads_prompt(sequence); i++) sequence = w->slots[(w->turn + i) % w->n_slots].sequence;
    if (!reads_prompt(sequence)) return false;
    w->turn = (int)(sequence->slot - w->slots) + 1;
    size_t chunk = (size_t)s->model.info.chunk, most = anyone_answers(w) ? w->slice : chunk, left = sequence->prompt->n - sequence->fed;
    ServePart part = {.sequence = sequence, .ids = sequence->prompt->ids + sequence->fed, .n = left < most ? left : most};
    w->echoing = sequence;
    uint64_t start = os_now_ns();
    serve_step(w, &part, 1);
    if (part.error.code) {
        sequence->fed = sequence->slot->n;
        failed_part(w, &part);
        return true;
    }
    learn_slice(w, part.n, os_now_ns() - start, chunk);
    sequence->fed += part.n;
    if (sequence->fed == sequence->prompt->n) prompt_is_through(s, sequence);
    return true;
}

/* One more token for everyone who is answered, in one step. */
static bool answer_all(Serve *serve, ServePart *parts) {
    ServeWorker *w = &serve->worker;
    size_t n = 0;
    for (int i = 0; i < w->n_slots; i++) {
        ServeSequence *s = w->slots[i].sequence;
        if (answers(s)) parts[n++] = (ServePart){.sequence = s, .ids = &s->next, .n = 1};
    }
    serve_step(w, parts, n);
    for (size_t i = 0; i < n; i++) {
        if (!parts[i].sequence->slot) continue; /* another choice of its job failed */
        if (parts[i].error.code) failed_part(w, &parts[i]);
        else sample(serve, parts[i].sequence);
    }
    return n > 0;
}

/* ---- the thread -------------------------------------------------------------------------------------------------- */

static bool on_progress(void *user, const char *stage, uint64_t done, uint64_t total) {
    (void)stage, (void)done, (void)total;
    Serve *s = user;
    const ServeSequence *alone = s->worker.feeding;
    if (alone && atomic_load(&alone->job->gone) && reads_prompt(alone)) return false;
    ServePhase phase = serve_phase(s);
    return phase != SERVE_CUT && !(phase == SERVE_STOPPING && !s->worker.model);
}

static ErrCode open_model(Serve *s, Err *err) {
    ServeWorker *w = &s->worker;
    sluice_options options = s->config->options;
    options.sessions = s->config->parallel;
    options.progress = on_progress;
    options.user = s;
    sluice_error failure = {0};
    w->model = sluice_open(&options, &failure);
    if (!w->model) return err_set(err, (ErrCode)failure.code, "%s", failure.message);
    s->model = (ServeModel){.model = w->model, .name = s->config->model_name, .created = s->model.created};
    sluice_get_info(w->model, &s->model.info);
    sluice_sampling_default(w->model, &s->model.sampling);
    if (s->config->sampling) s->config->sampling(s->config->user, &s->model.sampling);
    w->slice = (size_t)s->model.info.chunk;
    if (!serve_board_model(&s->board, &s->model.info)) return err_no_memory(err, 0, "the heat of the experts");
    return serve_slots_open(w, s->config->parallel, s->model.info.ctx, err);
}

/* What is told of the engine and the conversations, now and then. */
static void tell_board(Serve *s, bool now_or_never) {
    uint64_t now = os_now_ns();
    const ServeWorker *w = &s->worker;
    if (!now_or_never && !serve_board_due(&s->board, now)) return;
    ServeView views[SERVE_MOST_SLOTS];
    for (int i = 0; i < w->n_slots; i++) {
        const ServeSlot *slot = &w->slots[i];
        const ServeSequence *q = slot->sequence;
        views[i] = (ServeView){.state = !q ? "free" : reads_prompt(q) ? "reading" : "answering",
                               .position = (int)slot->n,
                               .left = q ? (int)(q->prompt->n - q->fed) : 0,
                               .answered = q ? q->answered : 0};
    }
    sluice_stats stats;
    sluice_get_stats(w->model, &stats);
    serve_board_sample(&s->board, now, &stats, views, w->n_slots);
}

static void work(Serve *s, ServePart *parts) {
    ServeWorker *w = &s->worker;
    while (true) {
        collect(s, false);
        if (!w->jobs) {
            tell_board(s, true);
            if (serve_phase(s) >= SERVE_STOPPING) return;
            collect(s, true);
        }
        let_go(s);
        admit(s);
        bool read = read_slice(s);
        bool busy = answer_all(s, parts) || read;
        tell_board(s, false);
        if (!busy && w->jobs) os_sleep_ns(5000000); /* all wait for clients that are slow to read */
    }
}

/* Whoever came too late. */
static void turn_away(Serve *s) {
    ServeRefusal no;
    refuse_stopping(&no);
    for (ServeJob *job = serve_queue_close(&s->queue), *after; job; job = after) {
        after = job->after;
        serve_job_end(job, &no);
        serve_job_release(job);
    }
}

static void *run(void *user) {
    Serve *s = user;
    ServePart *parts = MEM_NEW(ServePart, (size_t)s->config->parallel);
    ErrCode code = parts ? open_model(s, &s->failure) : err_no_memory(&s->failure, 0, "the worker");
    int loading = SERVE_LOADING;
    if (code) {
        atomic_store(&s->broken, true);
    } else {
        (void)atomic_compare_exchange_strong(&s->phase, &loading, SERVE_READY);
        work(s, parts);
    }
    turn_away(s);
    serve_slots_close(&s->worker);
    sluice_close(s->worker.model);
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
