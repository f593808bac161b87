/* Opening and freeing a model: the order of the steps. */
#include "model/parts.h"

static ErrCode open_all(Model *m, HfJson *hf, Err *err) {
    const FormatModel *format = m->format;
    if (format->kind == FORMAT_SAFETENSORS) TRY(model_hf_json_open(hf, format, err));
    m->inner = MEM_NEW(struct ModelInner, 1);
    if (!m->inner) return err_no_memory(err, sizeof *m->inner, "the model");
    m->inner->arch = model_arch_find(format, hf->config, hf->text, err);
    if (!m->inner->arch) return err ? err->code : ERR_UNSUPPORTED;
    m->shape.arch = m->inner->arch->arch;

    Hparams h = {.format = format, .arch = m->inner->arch, .text = hf->text};
    TRY(h.text ? model_hparams_hf(&h, hf, m, err) : model_hparams_gguf(&h, m, err));
    TRY(model_hparams_check(&h, &m->shape, err));

    TRY(model_bind_model(m, hf, err));
    m->inner->tied = m->head.rows == 0;
    if (m->inner->tied) m->head = m->embedding;

    TRY(model_vocab_open(m, hf, err));
    return model_generation_open(m, hf, err);
}

Model *model_new(const FormatModel *format, Err *err) {
    Err own = {0};
    HfJson hf = {0};
    Model *m = MEM_NEW(Model, 1);
    if (!m) {
        err_no_memory(err, sizeof *m, "the model");
        return NULL;
    }
    m->format = format;
    ErrCode code = open_all(m, &hf, &own);
    model_hf_json_close(&hf);
    if (code == ERR_OK) return m;
    if (err) {
        *err = own;
        err_prefix(err, "%s", format->path);
    }
    model_free(m);
    return NULL;
}

void model_free(Model *m) {
    if (!m) return;
    text_tokenizer_free(m->tokenizer);
    text_template_free(m->chat);
    mem_free(m->chat_source);
    mem_free(m->chat_error);
    mem_free(m->records);
    mem_free(m->layers);
    if (m->inner) {
        mem_free(m->inner->steps);
        mem_free(m->inner->homes);
    }
    mem_free(m->inner);
    mem_free(m);
}
