/* Opening what a command works on, without loading weights. */
#include "cli/source.h"
#include "cli/io.h"
#include "os/os.h"

#include <string.h>

const char *source_name(const Options *o) { return opt_text(o, OPT_MODEL, "the embedded model"); }

FormatModel *source_format(const Options *o, Err *err) {
    const char *path = opt_text(o, OPT_MODEL, NULL);
    if (path) return format_open(path, err);
    uint64_t offset, bytes;
    if (embedded_locate(&offset, &bytes, err)) return NULL;
    return format_open_embedded(EMBEDDED_PATH, offset, bytes, err);
}

static ErrCode open_model(const Options *o, Source *s, Err *err) {
    s->format = source_format(o, err);
    if (!s->format) return err->code;
    s->model = model_new(s->format, err);
    if (!s->model) return err->code;
    return ERR_OK;
}

/* tokenizer.json, and what lies beside it. */
static ErrCode open_tokenizer_file(const char *path, Source *s, Err *err) {
    enum { MAX_BYTES = 256 << 20 };
    Buf text = {0}, beside = {0}, config = {0};
    ErrCode code = os_read_file(path, MAX_BYTES, &text, err);
    const char *slash = strrchr(path, '/');
    buf_put(&beside, path, slash ? (size_t)(slash - path) + 1 : 0);
    buf_puts(&beside, "tokenizer_config.json");
    if (!code && beside.failed) code = err_no_memory(err, beside.len, "a path");
    if (!code && os_exists(beside.ptr)) code = os_read_file(beside.ptr, MAX_BYTES, &config, err);
    if (!code) {
        s->own_tokenizer = text_tokenizer_from_json(str_make(text.ptr, text.len), str_make(config.ptr, config.len), err);
        s->tokenizer = s->own_tokenizer;
        if (!s->tokenizer) code = err_prefix(err, "%s", path);
    }
    buf_free(&text);
    buf_free(&beside);
    buf_free(&config);
    return code;
}

/* A file given by flag goes before a model of a variable or of config.json; two flags contradict each other. */
static ErrCode check_one(const Options *o, OptionId file, const char *name, Err *err) {
    if (opt_given(o, file) && o->value[OPT_MODEL].source == SOURCE_FLAG)
        return err_set(err, ERR_USAGE, "-m and --%s exclude each other", name);
    return ERR_OK;
}

ErrCode source_open_tokenizer(const Options *o, Source *s, Err *err) {
    memset(s, 0, sizeof *s);
    ErrCode code = check_one(o, OPT_TOKENIZER, "tokenizer", err);
    if (code) return code;
    if (opt_given(o, OPT_TOKENIZER)) return open_tokenizer_file(opt_text(o, OPT_TOKENIZER, NULL), s, err);
    code = open_model(o, s, err);
    if (code) return code;
    s->tokenizer = s->model->tokenizer;
    if (!s->tokenizer)
        return err_set(err, ERR_UNSUPPORTED, "%s has no tokenizer; name one with --tokenizer tokenizer.json", source_name(o));
    return ERR_OK;
}

ErrCode source_open_template(const Options *o, Source *s, Err *err) {
    memset(s, 0, sizeof *s);
    ErrCode code = check_one(o, OPT_TEMPLATE, "template", err);
    if (code) return code;
    if (opt_given(o, OPT_TEMPLATE)) {
        const char *path = opt_text(o, OPT_TEMPLATE, NULL);
        Buf text = {0};
        code = input_file(path, &text, err);
        if (!code) {
            s->own_template = text_template_new(text.ptr ? text.ptr : "", text.len, err);
            s->chat = s->own_template;
            if (!s->chat) code = err_prefix(err, "%s", path);
        }
        buf_free(&text);
        return code;
    }
    code = open_model(o, s, err);
    if (code) return code;
    s->chat = s->model->chat;
    if (s->chat) return ERR_OK;
    if (s->model->chat_error)
        return err_set(err, ERR_UNSUPPORTED, "the chat template of %s cannot be used: %s", source_name(o), s->model->chat_error);
    return err_set(err, ERR_UNSUPPORTED, "%s has no chat template; name one with --template FILE", source_name(o));
}

void source_close(Source *s) {
    if (s->own_tokenizer) text_tokenizer_free(s->own_tokenizer);
    if (s->own_template) text_template_free(s->own_template);
    if (s->model) model_free(s->model);
    if (s->format) format_close(s->format);
    memset(s, 0, sizeof *s);
}
