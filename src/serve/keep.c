/* States that are kept of what was computed: where a client's conversations begin alike, where a turn ends, and on the way through a
 * long prompt. */
#include "serve/inside.h"

enum { EVERY = 1024, LEAST = 256, LEAST_SYSTEM = 32 /* tokens */, IDLE_BYTES = 4 << 20 };

ErrCode serve_keep_open(Serve *s, Err *err) {
    StatesConfig config = {.model = s->worker.model, .folder = s->config->state_folder};
    s->worker.states = states_new(&config, err);
    return s->worker.states ? ERR_OK : err->code;
}

/* Turns begin with the same special token, which the prompt begins with too, in all templates that have turns of that kind. The last
 * one is that of the answer; where the first message is the system's, or there are tools, the second one is that of the user. To keep a
 * state costs a step, which where experts come from disk may take as long as the whole prompt: not for a system prompt of a sentence. */
void serve_keep_marks(ServeSequence *s) {
    const ServePrompt *p = s->prompt;
    const ServeAsk *ask = &s->job->ask;
    if (!ask->chat || !sluice_is_special(s->job->model->model, p->ids[0])) return;
    const char *role = json_string_value(json_object_get(json_array_get(json_object_get(ask->chat, "messages"), 0), "role"));
    bool system = (role && (str_eq_c(str_c(role), "system") || str_eq_c(str_c(role), "developer"))) ||
                  json_array_size(json_object_get(ask->chat, "tools")) > 0;
    for (size_t i = 1; i < p->n; i++) {
        if (p->ids[i] != p->ids[0]) continue;
        if (!s->marks[0]) s->marks[0] = i;
        s->marks[1] = i;
    }
    if (!system || s->marks[0] < LEAST_SYSTEM) s->marks[0] = 0;
}

/* How many of the next n tokens may be fed until a state is to be kept. */
size_t serve_keep_until(const ServeSequence *s, size_t n) {
    for (int i = 0; i < 2; i++)
        if (s->marks[i] > s->fed && s->marks[i] - s->fed < n) n = s->marks[i] - s->fed;
    return n;
}

/* Likelihoods of an echoed prompt are computed from its start, whatever was kept; nor is it likely to be continued. */
static bool worth_it(const ServeWorker *w, const ServeSequence *s) {
    return w->states && !(s->job->ask.echo && s->job->ask.logprobs >= 0);
}

/* Some of the prompt is through. A text to complete has no turns that could be seen: its end is taken for one's. */
void serve_keep_prompt(ServeWorker *w, ServeSequence *s, const ServeSlot *slot) {
    if (!worth_it(w, s)) return;
    const ServeJob *job = s->job;
    bool whole = s->fed == s->prompt->n, shared = whole && job->ask.choices > 1; /* the other choices go on from here */
    bool system = s->fed == s->marks[0], turn = s->fed == s->marks[1] || (whole && !job->ask.chat && s->fed - s->kept >= LEAST);
    if (!shared && !system && !turn && s->fed - s->kept < EVERY) return;
    (void)states_put(w->states, slot->session, system ? STATES_SYSTEM : turn || shared ? STATES_TURN : STATES_CHUNK);
    s->kept = s->fed;
}

/* Its answer has ended; the next question comes after it. */
void serve_keep_turn(ServeWorker *w, const ServeSequence *s) {
    AnswerFinish how = answer_finish(s->answer);
    if (!s->job->ask.chat || (how != ANSWER_STOP && how != ANSWER_TOOL_CALLS)) return;
    answer_prompts_remember(s->slot->serve->prompts, s->prompt->ids, s->prompt->n, s->answer);
    if (worth_it(w, s) && sluice_logits(s->slot->session)) (void)states_put(w->states, s->slot->session, STATES_TURN);
}

bool serve_keep_idle(ServeWorker *w) { return w->states && states_idle(w->states, IDLE_BYTES); }
