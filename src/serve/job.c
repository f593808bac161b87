/* A job: made by an HTTP thread, worked on by the worker, freed by the last of the two. */
#include "serve/job.h"
#include "os/os.h"

ServeJob *serve_job_new(ServeAsk *ask, const ServeModel *model, ServePurse *purse) {
    ServeJob *job = MEM_NEW(ServeJob, 1);
    if (!job) return NULL;
    job->n = ask->n_prompts * (size_t)ask->choices;
    job->sequences = MEM_NEW(ServeSequence, job->n);
    if (!job->sequences || !serve_events_init(&job->events)) {
        mem_free(job->sequences);
        mem_free(job);
        return NULL;
    }
    job->ask = *ask;
    *ask = (ServeAsk){.logprobs = -1};
    job->model = model;
    job->purse = purse;
    job->arrived_ns = os_now_ns();
    atomic_init(&job->holders, 2);
    for (size_t i = 0; i < job->n; i++)
        job->sequences[i] = (ServeSequence){
            .job = job, .prompt = &job->ask.prompts[i / (size_t)job->ask.choices], .choice = (int)i, .next = -1};
    return job;
}

void serve_job_release(ServeJob *job) {
    if (!job || atomic_fetch_sub(&job->holders, 1) > 1) return;
    for (size_t i = 0; i < job->n; i++) {
        answer_free(job->sequences[i].answer);
        mem_free(job->sequences[i].rows);
        mem_free(job->sequences[i].sampled);
    }
    mem_free(job->sequences);
    serve_events_free(&job->events);
    serve_ask_free(&job->ask);
    serve_purse_give(job->purse, job->held);
    mem_free(job);
}

void serve_job_end(ServeJob *job, const ServeRefusal *refusal) {
    if (job->over) return;
    job->over = true;
    ServeEvent e = {.kind = refusal ? SERVE_FAILED : SERVE_DONE, .usage = job->usage, .refusal = refusal};
    serve_events_put(&job->events, &e);
}
