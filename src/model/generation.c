/* How an answer ends and how it is sampled, as far as the model itself says: end-of-generation tokens, beginning-of-text token,
 * sampling defaults. Files disagree on which token ends a turn, so all that are named anywhere count. */
#include "model/parts.h"

#include <math.h>
#include <string.h>

static ErrCode add_stop(Model *m, int32_t id, Err *err) {
    for (int i = 0; i < m->n_stop_ids; i++)
        if (m->stop_ids[i] == id) return ERR_OK;
    if (m->n_stop_ids == MODEL_MAX_STOP)
        return err_set(err, ERR_UNSUPPORTED, "the model names more than %d end-of-generation tokens", MODEL_MAX_STOP);
    m->stop_ids[m->n_stop_ids++] = id;
    return ERR_OK;
}

/* -1 (also as an unsigned number) is the usual way to write "none". */
static ErrCode as_id(const Model *m, const char *name, double value, int32_t *id, Err *err) {
    *id = -1;
    if (value == -1.0 || value == 4294967295.0) return ERR_OK;
    if (!(value >= 0 && value < m->shape.vocab) || value != floor(value))
        return err_set(err, ERR_FORMAT, "%s is %.15g, which is no token of the %u in the vocabulary", name, value, m->shape.vocab);
    *id = (int32_t)value;
    return ERR_OK;
}

static ErrCode add_stop_number(Model *m, const char *name, double value, Err *err) {
    int32_t id;
    TRY(as_id(m, name, value, &id, err));
    return id < 0 ? ERR_OK : add_stop(m, id, err);
}

/* ---- GGUF ---- */

static ErrCode key_ids(Model *m, const char *name, Err *err) {
    const FormatKey *k = format_key(m->format, name);
    for (uint64_t i = 0; k && i < k->count; i++) {
        double v;
        if (!format_key_f64(k, i, &v)) return err_set(err, ERR_FORMAT, "%s must be a token id", name);
        TRY(add_stop_number(m, name, v, err));
    }
    return ERR_OK;
}

static ErrCode key_real(const Model *m, const char *name, double low, double high, double *v, bool *found, Err *err) {
    const FormatKey *k = name ? format_key(m->format, name) : NULL;
    *found = k != NULL;
    if (!k) return ERR_OK;
    if (k->is_array || !format_key_f64(k, 0, v)) return err_set(err, ERR_FORMAT, "%s must be a number", name);
    if (!(*v >= low && *v <= high)) return err_set(err, ERR_FORMAT, "%s is %g, but must be from %g to %g", name, *v, low, high);
    return ERR_OK;
}

static ErrCode member_real(const json_t *o, const char *name, double low, double high, double *v, bool *found, Err *err) {
    const json_t *j = model_hf_member(o, name);
    *found = j != NULL;
    if (!j) return ERR_OK;
    if (!json_is_number(j)) return err_set(err, ERR_FORMAT, "generation_config.json: %s must be a number", name);
    *v = json_number_value(j);
    if (!(*v >= low && *v <= high))
        return err_set(err, ERR_FORMAT, "generation_config.json: %s is %g, but must be from %g to %g", name, *v, low, high);
    return ERR_OK;
}

/* ---- sampling ---- */

static ErrCode sampling(Model *m, const HfJson *hf, Err *err) {
    ModelSampling *s = &m->sampling;
#define REAL(field, ...) .field = NAN,
#define INT(field, ...) .field = -1,
    *s = (ModelSampling){MODEL_SAMPLING(REAL, INT) .do_sample = true};
#undef REAL
#undef INT
    const struct {
        const char *gguf, *hf;
        double low, high;
        float *real;
        int *whole;
    } rows[] = {
#define REAL(field, word, gguf, hf, low, high, otherwise) {gguf, hf, low, high, &s->field, NULL},
#define INT(field, word, gguf, hf, low, high, otherwise) {gguf, hf, low, high, NULL, &s->field},
        MODEL_SAMPLING(REAL, INT)
#undef REAL
#undef INT
    };
    bool gguf = m->format->kind == FORMAT_GGUF;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        double v = 0;
        bool found;
        TRY(gguf ? key_real(m, rows[i].gguf, rows[i].low, rows[i].high, &v, &found, err)
                 : member_real(hf->generation, rows[i].hf, rows[i].low, rows[i].high, &v, &found, err));
        if (found && rows[i].real) *rows[i].real = (float)v;
        else if (found) *rows[i].whole = (int)v;
    }
    s->do_sample = !json_is_false(model_hf_member(hf->generation, "do_sample"));
    return ERR_OK;
}

/* ---- folders ---- */

static ErrCode member_ids(Model *m, const json_t *object, const char *file, Err *err) {
    const json_t *eos = model_hf_member(object, "eos_token_id");
    size_t n = json_is_array(eos) ? json_array_size(eos) : eos ? 1 : 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_is_array(eos) ? json_array_get(eos, i) : eos;
        if (!json_is_number(one)) return err_set(err, ERR_FORMAT, "%s: eos_token_id must be a token id or a list of them", file);
        if (add_stop_number(m, "eos_token_id", json_number_value(one), err) != ERR_OK) return err_prefix(err, "%s", file);
    }
    return ERR_OK;
}

/* A token that tokenizer_config.json names by its text, plain or as {"content": text}. -1: none. */
static int32_t named_token(const Model *m, const HfJson *hf, const char *name) {
    const json_t *t = model_hf_member(hf->tokenizer, name);
    const char *text = json_string_value(json_is_object(t) ? model_hf_member(t, "content") : t);
    int32_t id;
    return text && m->tokenizer && text_token_id(m->tokenizer, text, &id) ? id : -1;
}

static ErrCode find_bos(Model *m, const HfJson *hf, Err *err) {
    double v = -1;
    const char *name = "tokenizer.ggml.bos_token_id";
    m->bos_id = -1;
    if (m->format->kind == FORMAT_GGUF) {
        bool found;
        TRY(key_real(m, name, -1, 4294967295.0, &v, &found, err));
    } else {
        m->bos_id = named_token(m, hf, "bos_token");
        if (m->bos_id >= 0) return ERR_OK;
        name = "bos_token_id";
        const json_t *j = model_hf_member(hf->generation, name);
        if (!j) j = model_hf_member(hf->text, name);
        if (json_is_number(j)) v = json_number_value(j);
    }
    return as_id(m, name, v, &m->bos_id, err);
}

ErrCode model_generation_open(Model *m, const HfJson *hf, Err *err) {
    static const char *const keys[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eos_token_ids", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    static const char *const texts[] = {"<|im_end|>", "<|endoftext|>"};
    int32_t id;
    for (size_t i = 0; i < COUNT_OF(keys); i++) TRY(key_ids(m, keys[i], err));
    TRY(member_ids(m, hf->generation, "generation_config.json", err));
    TRY(member_ids(m, hf->config, "config.json", err));
    TRY(member_ids(m, hf->text, "config.json", err));
    id = named_token(m, hf, "eos_token");
    if (id >= 0) TRY(add_stop(m, id, err));
    for (size_t i = 0; m->tokenizer && i < COUNT_OF(texts); i++)
        if (text_token_id(m->tokenizer, texts[i], &id) && text_token_is_special(m->tokenizer, id)) TRY(add_stop(m, id, err));
    TRY(find_bos(m, hf, err));
    return sampling(m, hf, err);
}
