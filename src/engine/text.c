/* Text through the public API: ids, pieces, chat prompts, and the model's own sampling defaults. */
#include "engine/inside.h"

#include <math.h>
#include <string.h>

static ErrCode need_tokenizer(const sluice_model *m, Err *err) {
    return m->model->tokenizer ? ERR_OK : err_set(err, ERR_UNSUPPORTED, "this model file has no tokenizer; give token ids");
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* 12 bytes per byte for ids while their array grows, and 28 per byte of the longest word while its pairs are merged. A word is never
 * longer than a run of white space and the run of other bytes behind it. */
uint64_t sluice_text_memory(const char *text, size_t len) {
    uint64_t longest[2] = {0, 0}, run = 0;
    for (size_t i = 0; i < len; i++) {
        bool space = is_space(text[i]);
        run = i > 0 && space == is_space(text[i - 1]) ? run + 1 : 1;
        if (run > longest[space]) longest[space] = run;
    }
    return 12 * (uint64_t)len + 28 * (longest[0] + longest[1]);
}

static ErrCode need_room(const sluice_model *m, const char *text, size_t len, Err *err) {
    uint64_t need = sluice_text_memory(text, len), room = m->text_bytes + engine_snapshot_free(m);
    char a[32], b[32], c[32];
    if (need <= room) return ERR_OK;
    return err_set(err, ERR_MEMORY,
                   "tokenising %s of text may take %s, and the memory plan keeps %s for it; give less text at once, or plan for "
                   "it (options.text_bytes)",
                   format_size(len, a), format_size(need, b), format_size(room, c));
}

int sluice_tokenize(const sluice_model *m, const char *text, size_t len, unsigned flags, int32_t **ids, size_t *n, sluice_error *error) {
    Err err = {0};
    TextIds out = {0};
    *ids = NULL;
    *n = 0;
    if (need_tokenizer(m, &err) || need_room(m, text, len, &err) ||
        text_encode(m->model->tokenizer, text, len, flags & SLUICE_NO_SPECIAL ? TEXT_NO_SPECIAL : 0, &out, &err)) {
        text_ids_free(&out);
        return engine_fail(error, &err);
    }
    if (!out.ids) out.ids = MEM_NEW(int32_t, 1);
    if (!out.ids) return engine_fail(error, (err_no_memory(&err, 4, "token ids"), &err));
    *ids = out.ids;
    *n = out.n;
    return SLUICE_OK;
}

size_t sluice_token_text(const sluice_model *m, int32_t id, char *out, size_t size) {
    Str bytes = m->model->tokenizer ? text_token_bytes(m->model->tokenizer, id) : str_make("", 0);
    size_t n = bytes.len < size ? bytes.len : size;
    if (n) memcpy(out, bytes.ptr, n);
    return bytes.len;
}

bool sluice_is_stop(const sluice_model *m, int32_t id) {
    for (int i = 0; i < m->model->n_stop_ids; i++)
        if (m->model->stop_ids[i] == id) return true;
    return false;
}

bool sluice_is_special(const sluice_model *m, int32_t id) {
    return m->model->tokenizer && text_token_is_added(m->model->tokenizer, id);
}

const char *sluice_chat_template(const sluice_model *m) { return m->model->chat_source; }

char *sluice_render(const sluice_model *m, const char *request_json, sluice_error *error) {
    Err err = {0};
    Buf out = {0};
    if (!m->model->chat) {
        err_set(&err, ERR_UNSUPPORTED, m->model->chat_error ? "the model's chat template cannot be used: %s" : "%s",
                m->model->chat_error ? m->model->chat_error : "this model has no chat template; it completes plain text (--raw)");
        engine_fail(error, &err);
        return NULL;
    }
    json_t *request = text_json_load(request_json, strlen(request_json), &err);
    ErrCode code = request ? text_chat_render(m->model->chat, request, &out, &err) : err.code;
    if (request) json_decref(request);
    if (!code && !out.ptr) buf_puts(&out, "");
    if (!code && out.failed) code = err_no_memory(&err, out.len, "a rendered prompt");
    if (code) {
        buf_free(&out);
        engine_fail(error, &err);
        return NULL;
    }
    return out.ptr;
}

void sluice_free(void *p) { mem_free(p); }

/* A model that says do_sample false is greedy. */
void sluice_sampling_default(const sluice_model *m, sluice_sampling *s) {
    const ModelSampling *d = &m->model->sampling;
    *s = (sluice_sampling){0};
#define REAL(field, word, gguf, hf, low, high, otherwise) s->field = isnan(d->field) ? otherwise : d->field;
#define INT(field, word, gguf, hf, low, high, otherwise) s->field = d->field < 0 ? otherwise : d->field;
    MODEL_SAMPLING(REAL, INT)
#undef REAL
#undef INT
    if (!d->do_sample) s->temperature = 0;
}
