/* The first step of opening: options become values, the headers of the files a network whose weights are still on disk, and the disk is
 * opened. All that a plan needs, and nothing large. A sketch, which is only planned for, has neither disk nor threads. */
#include "engine/inside.h"

enum { DEFAULT_CTX = 4096, DEFAULT_CHUNK = 4096 };

/* Tables of tensors, shapes, tokenizer and template. */
static ErrCode read_files(sluice_model *m, bool sketch, Err *err) {
    const sluice_options *o = &m->options;
    m->format = o->embedded_bytes ? format_open_embedded(o->model, o->embedded_offset, o->embedded_bytes, err) : format_open(o->model, err);
    if (!m->format) return err->code;
    m->model = model_new(m->format, err);
    if (!m->model) return err->code;
    ErrCode code = engine_choose_mtp(m, o->mtp, err);
    if (!code) code = engine_bind_mtp(m, engine_budget(m), err);
    if (!code && !sketch) code = format_hash(m->format, &m->hash, err);
    if (code) return code;
    format_drop_metadata(m->format); /* tens of megabytes that the plan would have to count */
    return ERR_OK;
}

/* Numbers that nobody gave have defaults, most of them the model's own. */
static ErrCode take_numbers(sluice_model *m, const ForwardConfig *forward, Err *err) {
    const sluice_options *o = &m->options;
    const ModelShape *s = &m->model->shape;
    ErrCode code = engine_check_numbers(m, err);
    if (!code) code = engine_check_kv(forward->kv_type, s, err);
    if (code) return code;
    m->kv_type = forward->kv_type;
    m->precise = o->precise;
    m->ctx = o->ctx ? (uint32_t)o->ctx : s->ctx_train && s->ctx_train < DEFAULT_CTX ? s->ctx_train : DEFAULT_CTX;
    m->chunk = o->chunk ? (uint32_t)o->chunk : DEFAULT_CHUNK; /* the plan may shorten it */
    if (m->chunk > m->ctx) m->chunk = m->ctx;
    m->top_k = o->experts ? (uint32_t)o->experts : s->top_k;
    m->max_sessions = o->sessions ? o->sessions : 1;
    /* a prompt of some 100 KB, or of 12 KB beside a model that is itself tiny */
    m->text_bytes = m->model->dense_bytes < (UINT64_C(64) << 20) ? UINT64_C(512) << 10 : UINT64_C(4) << 20;
    if (o->text_bytes > m->text_bytes) m->text_bytes = o->text_bytes;
    return ERR_OK;
}

/* What the step will be given beside the words that are there already; its store comes with the allocations. */
static void describe_step(const sluice_model *m, ForwardConfig *forward) {
    forward->model = m->model;
    forward->pool = m->pool;
    forward->ctx = m->ctx;
    forward->chunk = m->chunk;
    forward->segments = (uint32_t)m->max_sessions;
    forward->top_k = m->top_k;
    forward->mtp = m->model->mtp.bound;
}

ErrCode engine_read_headers(sluice_model *m, ForwardConfig *forward, bool sketch, Err *err) {
    if (!m->options.model) return err_set(err, ERR_USAGE, "no model was named; give a GGUF file or a model folder");
    ErrCode code = engine_choose(m, forward, err);
    if (!code) code = read_files(m, sketch, err);
    if (!code) code = take_numbers(m, forward, err);
    if (code) return code;
    if (!sketch) {
        m->pool = os_pool_new(m->options.threads, err);
        if (!m->pool) return err->code;
        code = engine_open_disk(m, err);
        if (!code) code = engine_add_mirrors(m, err);
        if (code) return code;
    }
    m->slot_bytes = store_slot_bytes(m->model->records, (size_t)model_expert_layers(m->model) * m->model->shape.n_experts, m->disk);
    describe_step(m, forward);
    return ERR_OK;
}
