/* Sessions: what they hold, logits, sample. */
#include "engine/inside.h"

#include <string.h>

sluice_session *sluice_session_new(sluice_model *m, sluice_error *error) {
    Err err = {0};
    if (m->open_sessions >= m->max_sessions) {
        engine_refuse(error, ERR_STATE, "%d sessions are open and the memory plan has room for no more; set options.sessions",
                      m->open_sessions);
        return NULL;
    }
    sluice_session *s = MEM_NEW(sluice_session, 1);
    if (!s) {
        err_no_memory(&err, sizeof *s, "a session");
        engine_fail(error, &err);
        return NULL;
    }
    s->model = m;
    m->open_sessions++;
    s->ids = MEM_NEW(int32_t, m->ctx);
    s->logits = MEM_NEW(float, m->model->shape.vocab);
    s->sampler = engine_sampler_new(m->model->shape.vocab, m->options.seed, &err);
    if (!s->ids || !s->logits) err_no_memory(&err, (uint64_t)m->ctx * 4 + (uint64_t)m->model->shape.vocab * 4, "a session");
    if (!err.code && m->model->mtp.bound) s->drafts = engine_drafts_new(m, &err);
    if (!err.code) s->state = forward_state_new(m->forward, &err);
    if (err.code) {
        engine_fail(error, &err);
        sluice_session_free(s);
        return NULL;
    }
    return s;
}

void sluice_session_free(sluice_session *s) {
    if (!s) return;
    forward_state_free(s->state);
    engine_drafts_free(s->drafts);
    engine_sampler_free(s->sampler);
    mem_free(s->ids);
    mem_free(s->logits);
    s->model->open_sessions--;
    mem_free(s);
}

void sluice_session_reset(sluice_session *s) {
    engine_drafts_reset(s);
    forward_state_clear(s->state);
    s->has_logits = false;
}

uint32_t engine_position(const sluice_session *s) { return forward_state_position(s->state) - engine_drafts_waiting(s); }

int sluice_position(const sluice_session *s) { return (int)engine_position(s); }

const int32_t *sluice_ids(const sluice_session *s, size_t *n) {
    *n = engine_position(s);
    return s->ids;
}

const float *sluice_logits(const sluice_session *s) { return s->has_logits ? s->logits : NULL; }

void sluice_set_probe(sluice_session *s, const sluice_probe *probe) {
    if (probe) s->probe = *probe;
    else memset(&s->probe, 0, sizeof s->probe);
}

/* ---- sampling ---- */

void sluice_session_seed(sluice_session *s, uint64_t seed) { xoshiro_seed(&s->sampler->random, seed); }

int32_t sluice_sample_allowed(sluice_session *s, const sluice_sampling *sampling, const uint32_t *allowed) {
    if (!s->has_logits) return -1;
    return engine_sampler_draw(s->sampler, s->logits, s->ids, engine_position(s), sampling, allowed);
}

int32_t sluice_sample(sluice_session *s, const sluice_sampling *sampling) { return sluice_sample_allowed(s, sampling, NULL); }
