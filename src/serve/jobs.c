/* The worker's jobs: who comes in, whose turn it is, who leaves. */
#include "serve/inside.h"
#include "os/os.h"

#include <string.h>

/* ---- ends -------------------------------------------------------------------------------------------------------- */

static void leave_slot(ServeSequence *s) {
    ServeSlot *slot = s->slot;
    if (!slot) return;
    sluice_set_probe(slot->session, NULL);
    slot->sequence = NULL;
    slot->used_ns = os_now_ns();
    s->slot = NULL;
}

/* What is written down of a job that is over: also how long one takes lately, for Retry-After. */
static void note_end(Serve *s, const ServeJob *job) {
    uint64_t ns = os_now_ns() - job->arrived_ns;
    pthread_mutex_lock(&s->board.lock);
    s->board.prompt += (uint64_t)job->prompts_read;
    s->board.cached += (uint64_t)job->prompts_cached;
    s->board.answer += (uint64_t)job->usage.answer;
    if (job->ended < job->n && atomic_load(&job->gone)) s->board.left++;
    else if (job->ended < job->n) s->board.failed++;
    pthread_mutex_unlock(&s->board.lock);
    uint64_t before = atomic_load(&s->job_ns);
    atomic_store(&s->job_ns, before ? (7 * before + ns) / 8 : ns);
}

/* All is written down, and its place in the queue free, before the client hears the end: it may ask again at once. */
static void end_job(Serve *s, ServeJob *job, const ServeRefusal *no) {
    if (job->over) return;
    note_end(s, job);
    atomic_fetch_sub(&s->running, 1);
    if (job->begun) atomic_fetch_sub(&s->begun, 1);
    serve_queue_left(&s->queue);
    serve_job_end(job, no);
}


static void keep_sampled(ServeSequence *s) {
    const int32_t *ids = answer_ids(s->answer, &s->n_sampled);
    s->sampled = MEM_NEW(int32_t, s->n_sampled + 1);
    if (!s->sampled) s->n_sampled = 0;
    else if (s->n_sampled) memcpy(s->sampled, ids, s->n_sampled * sizeof *ids);
}

void serve_sequence_end(Serve *serve, ServeSequence *s) {
    ServeJob *job = s->job;
    serve_keep_turn(&serve->worker, s);
    leave_slot(s);
    job->usage.answer += s->answered;
    job->usage.reasoning += s->reasoning;
    job->prompts_read += (int)s->prompt->n;
    job->prompts_cached += s->cached;
    if (s->choice % job->ask.choices == 0) {
        job->usage.prompt += (int)s->prompt->n;
        job->usage.cached += s->cached;
    }
    if (serve->config->trace_dir) keep_sampled(s);
    answer_free(s->answer);
    s->answer = NULL;
    if (++job->ended == job->n) end_job(serve, job, NULL);
}

void serve_jobs_end(Serve *s, ServeJob *job, const ServeRefusal *no) {
    const ServeWorker *w = &s->worker;
    for (int i = 0; i < w->n_slots; i++)
        if (w->slots[i].sequence && w->slots[i].sequence->job == job) leave_slot(w->slots[i].sequence);
    end_job(s, job, no);
}

/* ---- whose turn it is ---------------------------------------------------------------------------------------------- */

static size_t running(const ServeWorker *w, const ServeJob *job) {
    size_t n = 0;
    for (int i = 0; i < w->n_slots; i++) n += w->slots[i].sequence && w->slots[i].sequence->job == job;
    return n;
}

/* Where states are kept, the choices of one prompt wait until the first of them has read it. */
static bool may_begin(const ServeWorker *w, const ServeJob *job) {
    const ServePrompt *prompt = job->sequences[job->begun].prompt;
    for (int i = 0; i < w->n_slots && w->states; i++) {
        const ServeSequence *s = w->slots[i].sequence;
        if (s && s->prompt == prompt && s->fed < prompt->n) return false;
    }
    return true;
}

/* Who has the fewest answers under way, and of those who came first. */
static ServeJob *next_job(const ServeWorker *w) {
    ServeJob *best = NULL;
    for (ServeJob *job = w->jobs; job; job = job->after)
        if (!job->over && job->begun < job->n && may_begin(w, job) && (!best || running(w, job) < running(w, best))) best = job;
    return best;
}

/* What a step fetched for all of its sequences is told once. */
static void on_fetch(void *user, int layer, int position, int n, int n_wanted, const int32_t *experts, const uint8_t *hit,
                     uint64_t wait_ns) {
    (void)position, (void)n, (void)wait_ns;
    const ServeSlot *slot = user;
    if (slot->sequence == slot->serve->worker.first) serve_board_fetch(&slot->serve->board, layer, n_wanted, experts, hit);
}

static void on_prompt_logits(void *user, int position, const float *logits) {
    ServeSequence *s = ((ServeSlot *)user)->sequence;
    size_t next = (size_t)position + 1;
    if (next < s->prompt->n && !serve_voice_row(s, s->prompt->ids[next], logits)) serve_events_lose(&s->job->events);
}

void serve_slot_watch(ServeSlot *slot, bool logits) {
    sluice_probe probe = {.user = slot, .fetch = on_fetch, .guesses = true, .logits = logits ? on_prompt_logits : NULL};
    sluice_set_probe(slot->session, &probe);
}

/* Every likelihood of the prompt is wanted, so all of it has to be computed. */
static bool echoes_logprobs(const ServeJob *job) { return job->ask.echo && job->ask.logprobs >= 0; }

static void begin(Serve *serve, ServeSequence *s, ServeSlot *slot, size_t common) {
    Err err = {0};
    s->slot = slot;
    slot->sequence = s;
    s->fed = s->kept = common;
    s->cached = (int)common;
    serve_keep_marks(s);
    sluice_session_seed(slot->session, s->job->ask.seed + (uint64_t)s->choice);
    serve_slot_watch(slot, echoes_logprobs(s->job));
    if (echoes_logprobs(s->job) && !serve_voice_row(s, s->prompt->ids[0], NULL)) serve_events_lose(&s->job->events);
    ServeUsage usage = {.prompt = (int)s->prompt->n, .cached = s->cached};
    serve_events_put(&s->job->events, &(ServeEvent){.kind = SERVE_BEGIN, .choice = s->choice, .usage = usage});
    if (serve_voice_begin(s, &err)) return;
    ServeRefusal no;
    (void)serve_refuse(&no, 500, NULL, "%s", err.text);
    serve_jobs_end(serve, s->job, &no);
}

void serve_jobs_admit(Serve *s) {
    ServeWorker *w = &s->worker;
    for (ServeJob *job; (job = next_job(w));) {
        ServeSequence *sequence = &job->sequences[job->begun];
        size_t common;
        ServeSlot *slot = serve_slot_for(w, sequence->prompt, echoes_logprobs(job), &common);
        if (!slot) return;
        if (job->begun++ == 0) atomic_fetch_add(&s->begun, 1);
        begin(s, sequence, slot, common);
    }
}

/* ---- coming and going ------------------------------------------------------------------------------------------------ */

void serve_jobs_collect(Serve *s, bool wait) {
    ServeJob **end = &s->worker.jobs;
    while (*end) {
        ServeJob *job = *end;
        if (!job->over) {
            end = &job->after;
            continue;
        }
        *end = job->after;
        serve_job_release(job);
    }
    *end = serve_queue_take_all(&s->queue, wait && !s->worker.jobs);
    for (ServeJob *job = *end; job; job = job->after) atomic_fetch_add(&s->running, 1);
}

/* A client that does not take what there is holds a conversation, until its wire is cut (http.c). */
void serve_jobs_let_go(Serve *s) {
    ServeRefusal no;
    for (ServeJob *job = s->worker.jobs; job; job = job->after) {
        if (job->over) continue;
        if (serve_phase(s) == SERVE_CUT) {
            (void)serve_refuse(&no, 503, NULL, "the server is shutting down");
        } else if (atomic_load(&job->gone)) {
            (void)serve_refuse(&no, 499, NULL, "the client went away");
        } else {
            continue;
        }
        serve_jobs_end(s, job, &no);
    }
}

void serve_jobs_turn_away(Serve *s) {
    ServeRefusal no;
    (void)serve_refuse(&no, 503, NULL, "the server is shutting down");
    for (ServeJob *job = serve_queue_close(&s->queue), *after; job; job = after) {
        after = job->after;
        serve_job_end(job, &no);
        serve_job_release(job);
    }
}
