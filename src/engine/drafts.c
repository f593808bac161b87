/* Draft tokens. When one token is fed, the draft layer guesses the one after it, and the step runs both: dense weights are read
 * once for two tokens. If the caller then feeds the guessed token, its logits are there already; if not, the state goes back to where
 * it was before the guess. The caller sees nothing of it: whatever it feeds, it gets that token's own logits, bit for bit, for a step
 * of two tokens computes each as a step of one would. So it holds for any way of sampling.
 *
 * A step that several sessions share goes without, and its prompts teach the draft layer nothing: guesses after it are worse, until it
 * has seen some tokens again.
 *
 * It costs where experts are read from disk, for two tokens want nearly twice as many of them. --mtp auto takes part only where every
 * expert is in memory, and goes on only as long as it measures a gain. */
#include "engine/inside.h"

#include <string.h>

enum { GROUP_TOKENS = 4 }; /* a guess that came true takes no time: times are compared in groups of tokens */

struct EngineDrafts {
    bool waiting;        /* the state is one token ahead of what was fed: */
    int32_t id;          /* this one */
    float *logits;       /* [vocab] after it */
    bool with;           /* this group of tokens is with guesses */
    uint32_t group_tokens;
    uint64_t group_ns;
};

ErrCode engine_choose_mtp(sluice_model *m, const char *name, Err *err) {
    static const Word words[] = {{"auto", ENGINE_MTP_AUTO}, {"on", ENGINE_MTP_ON}, {"off", ENGINE_MTP_OFF}};
    int how = ENGINE_MTP_AUTO;
    if (word_value("--mtp", words, COUNT_OF(words), name, &how, err)) return ERR_USAGE;
    m->mtp = (EngineMtp)how;
    if (how == ENGINE_MTP_ON && !model_has_mtp(m->model))
        return err_set(err, ERR_UNSUPPORTED, "--mtp on: %s has no draft (MTP) layer; --mtp auto uses one where there is one",
                       m->format->path);
    if (!model_has_mtp(m->model)) m->mtp = ENGINE_MTP_OFF;
    return ERR_OK;
}

/* With auto: would everything fit beside everything else? A rough sum; the plan that follows is exact. */
static bool all_would_fit(const sluice_model *m, uint64_t budget) {
    const Model *model = m->model;
    uint64_t experts = model_experts_bytes(model);
    uint64_t one_layer = experts / (model->shape.n_layers ? model->shape.n_layers : 1), dense = model->dense_bytes;
    uint64_t mtp = one_layer + dense / (model->shape.n_layers ? model->shape.n_layers : 1);
    return experts + mtp + dense + (experts + dense) / 16 + (UINT64_C(256) << 20) <= budget;
}

ErrCode engine_bind_mtp(sluice_model *m, uint64_t budget, Err *err) {
    if (m->mtp == ENGINE_MTP_OFF) return ERR_OK;
    if (m->mtp == ENGINE_MTP_AUTO && !all_would_fit(m, budget)) {
        m->mtp = ENGINE_MTP_OFF;
        m->mtp_why = "auto: off, for experts are read from disk";
        return ERR_OK;
    }
    forward_pays_text(&m->mtp_pays, m->mtp_text, sizeof m->mtp_text);
    return model_bind_mtp(m->model, err);
}

uint64_t engine_drafts_bytes(const sluice_model *m) {
    return m->mtp == ENGINE_MTP_OFF ? 0 : sizeof(EngineDrafts) + (uint64_t)m->model->shape.vocab * sizeof(float);
}

EngineDrafts *engine_drafts_new(const sluice_model *m, Err *err) {
    EngineDrafts *d = MEM_NEW(EngineDrafts, 1);
    if (d) d->logits = MEM_NEW(float, m->model->shape.vocab);
    if (d && d->logits) return d;
    mem_free(d);
    err_no_memory(err, engine_drafts_bytes(m), "a session");
    return NULL;
}

void engine_drafts_free(EngineDrafts *d) {
    if (!d) return;
    mem_free(d->logits);
    mem_free(d);
}

bool engine_drafts_waiting(const sluice_session *s) { return s->drafts && s->drafts->waiting; }

void engine_drafts_drop(const sluice_session *s) {
    if (!engine_drafts_waiting(s)) return;
    forward_state_back(s->state);
    s->drafts->waiting = false;
}

void engine_drafts_reset(const sluice_session *s) {
    if (s->drafts) s->drafts->waiting = false;
}

bool engine_drafts_take(sluice_session *s, int32_t id) {
    EngineDrafts *d = s->drafts;
    if (!engine_drafts_waiting(s)) return false;
    if (id != d->id) {
        engine_drafts_drop(s);
        return false;
    }
    d->waiting = false;
    memcpy(s->logits, d->logits, s->model->model->shape.vocab * sizeof *s->logits);
    s->model->stats.drafts_right++;
    return true;
}

/* Is the next token to be fed with a guess? Decided for a group of tokens. */
static bool next_is_with(sluice_session *s) {
    sluice_model *m = s->model;
    EngineDrafts *d = s->drafts;
    if (m->mtp == ENGINE_MTP_ON) return true;
    if (d->group_tokens == 0) d->with = m->pressure.now == m->plan.experts_total && forward_pays_next(&m->mtp_pays);
    return d->with;
}

bool engine_drafts_wanted(sluice_session *s) {
    const sluice_probe *p = &s->probe;
    if (!s->drafts || p->logits || p->hidden || p->routing || (p->fetch && !p->guesses)) return false; /* it sees what is certain */
    if (forward_state_position(s->state) + 2 > s->model->ctx || s->model->chunk < 2) return false;
    return forward_mtp_open(s->state) > 0 && next_is_with(s);
}

void engine_drafts_time(sluice_session *s, uint64_t ns) {
    sluice_model *m = s->model;
    EngineDrafts *d = s->drafts;
    if (!d || m->mtp != ENGINE_MTP_AUTO) return;
    d->group_ns += ns;
    if (++d->group_tokens < GROUP_TOKENS) return;
    if (m->pressure.now == m->plan.experts_total && forward_pays_token(&m->mtp_pays, d->group_ns))
        forward_pays_text(&m->mtp_pays, m->mtp_text, sizeof m->mtp_text);
    d->group_tokens = 0;
    d->group_ns = 0;
}

static int32_t likeliest(const float *logits, uint32_t n) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

/* The ids that follow the states of the open pairs; the last one is about to be fed. */
static const int32_t *next_ids(const sluice_session *s) {
    return s->ids + forward_state_position(s->state) - forward_mtp_open(s->state) + 1;
}

ErrCode engine_drafts_step(sluice_session *s, int32_t id, const ForwardWatch *watch, const ForwardProbe *probe, Err *err) {
    sluice_model *m = s->model;
    EngineDrafts *d = s->drafts;
    const uint32_t vocab = m->model->shape.vocab;
    s->ids[forward_state_position(s->state)] = id;
    ErrCode code = forward_mtp_guess(m->forward, s->state, next_ids(s), m->logits, err);
    if (code) return code;
    d->id = likeliest(m->logits, vocab);
    forward_state_mark(s->state, 1);
    code = forward_step(m->forward, &(ForwardSegment){s->state, (int32_t[]){id, d->id}, 2}, 1, watch, probe, err);
    if (code) return code;
    forward_logits(m->forward, 0, 2, m->logits);
    forward_mtp_keep(m->forward, s->state, 0, 2);
    memcpy(s->logits, m->logits, vocab * sizeof *s->logits);
    memcpy(d->logits, m->logits + vocab, vocab * sizeof *d->logits);
    d->waiting = true;
    m->stats.drafts++;
    return ERR_OK;
}

ErrCode engine_drafts_before_chunk(sluice_session *s, int32_t first_id, Err *err) {
    if (!s->drafts || forward_mtp_open(s->state) == 0) return ERR_OK;
    s->ids[forward_state_position(s->state)] = first_id;
    return forward_mtp_guess(s->model->forward, s->state, next_ids(s), NULL, err);
}

ErrCode engine_drafts_after_chunk(sluice_session *s, const int32_t *ids, uint32_t n, Err *err) {
    Forward *f = s->model->forward;
    if (!s->drafts) return ERR_OK;
    if (n > 1) return forward_mtp_learn(f, s->state, ids, n, err);
    engine_drafts_after_shared(s, 0, 1);
    return ERR_OK;
}

/* Of tokens fed without guesses only the last is worth its while. */
void engine_drafts_after_shared(sluice_session *s, uint32_t row, uint32_t n) {
    Forward *f = s->model->forward;
    if (!s->drafts) return;
    forward_mtp_forget(f, s->state, n == 1 ? 1 : 0); /* what is open must be of neighbours */
    forward_mtp_keep(f, s->state, row + n - 1, 1);
}
