/* sluice inspect: gathers what the headers say; printing is in inspect_text.c and inspect_json.c. */
#include "cli/inspect.h"
#include "cli/commands.h"
#include "cli/source.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static void gather_tensors(Inspection *in) {
    const FormatModel *f = in->format;
    for (uint32_t i = 0; i < f->n_tensors; i++) {
        const FormatTensor *t = &f->tensors[i];
        TensorGroup *g = &in->groups[tensor_group(t->name)];
        g->n++;
        g->elements += format_tensor_count(t);
        g->bytes += t->bytes;
        g->bytes_of_type[t->type] += t->bytes;
    }
    for (uint32_t i = 0; i < f->n_files; i++) in->bytes += f->files[i].size - f->files[i].base;
}

static void gather_record(Inspection *in) {
    const Model *m = in->model;
    RecordLayout *r = &in->record;
    if (m->shape.n_experts == 0) return;
    r->contiguous = true;
    r->bytes_min = UINT64_MAX;
    for (uint32_t l = 0; l < m->shape.n_layers; l++) {
        for (uint32_t e = 0; e < m->shape.n_experts; e++) {
            const DiskRange *p = model_record(m, l, e);
            uint64_t bytes = (uint64_t)p[0].bytes + p[1].bytes + p[2].bytes;
            if (bytes < r->bytes_min) r->bytes_min = bytes;
            if (bytes > r->bytes_max) r->bytes_max = bytes;
            r->bytes_total += bytes;
            for (int i = 0; i < 2; i++)
                r->contiguous = r->contiguous && p[i].file == p[i + 1].file && p[i].offset + p[i].bytes == p[i + 1].offset;
            if (e == 0) r->bytes_per_token += bytes * m->shape.top_k;
        }
    }
    for (int i = 0; i < 3; i++) {
        r->type[i] = m->layers[0].expert[i].type;
        r->part_bytes[i] = model_record(m, 0, 0)[i].bytes;
    }
}

static void copy_key(const FormatModel *f, const char *key, char *out, size_t size) {
    const FormatKey *k = format_key(f, key);
    Str s;
    if (k && format_key_str(k, 0, &s)) snprintf(out, size, "%.*s", (int)(s.len < size ? s.len : size - 1), s.ptr);
}

static void gather_gguf(Inspection *in) {
    const FormatModel *f = in->format;
    copy_key(f, "general.architecture", in->arch, sizeof in->arch);
    copy_key(f, "general.name", in->name, sizeof in->name);
    copy_key(f, "tokenizer.ggml.pre", in->split, sizeof in->split);
    const FormatKey *k = format_key(f, "tokenizer.ggml.merges");
    if (k && k->is_array) in->merges = k->count;
    Str chat;
    k = format_key(f, "tokenizer.chat_template");
    if (k && format_key_str(k, 0, &chat)) buf_put(&in->chat, chat.ptr, chat.len);
}

static json_t *load(Str text) { return text.ptr ? json_loadb(text.ptr, text.len, JSON_DECODE_INT_AS_REAL, NULL) : NULL; }

/* tokenizer_config.json holds one template, or a list of named ones. */
static const char *config_template(const json_t *config) {
    const json_t *t = json_object_get(config, "chat_template");
    size_t i;
    json_t *one;
    if (json_is_string(t)) return json_string_value(t);
    json_array_foreach(t, i, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        if (name && strcmp(name, "default") == 0) return json_string_value(json_object_get(one, "template"));
    }
    return NULL;
}

/* The regex with which tokenizer.json splits text, wherever in the pre-tokenizer it stands. */
static const char *split_regex(const json_t *pre) {
    const char *found = json_string_value(json_object_get(json_object_get(pre, "pattern"), "Regex"));
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(pre, "pretokenizers"), i, one) {
        if (found) break;
        found = split_regex(one);
    }
    return found;
}

static void gather_folder(Inspection *in) {
    const FormatModel *f = in->format;
    json_t *config = load(f->config_json), *tokenizer = load(f->tokenizer_json), *words = load(f->tokenizer_config_json);
    const char *arch = json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
    if (arch) snprintf(in->arch, sizeof in->arch, "%s", arch);
    in->merges = json_array_size(json_object_get(json_object_get(tokenizer, "model"), "merges"));
    const char *regex = split_regex(json_object_get(tokenizer, "pre_tokenizer"));
    if (regex) snprintf(in->split, sizeof in->split, "regex %.100s%s", regex, strlen(regex) > 100 ? "..." : "");
    const char *chat = config_template(words);
    if (f->chat_template.ptr) buf_put(&in->chat, f->chat_template.ptr, f->chat_template.len);
    else if (chat) buf_puts(&in->chat, chat);
    json_decref(config);
    json_decref(tokenizer);
    json_decref(words);
}

ErrCode inspect_command(const Options *o, Err *err) {
    Inspection in = {.path = source_name(o)};
    in.format = source_format(o, err);
    if (!in.format) return err->code;
    /* a file that cannot be run can still be looked into */
    in.model = model_new(in.format, &in.why_not);
    gather_tensors(&in);
    if (in.format->kind == FORMAT_GGUF) gather_gguf(&in);
    else gather_folder(&in);
    if (in.model) {
        gather_record(&in);
        snprintf(in.arch, sizeof in.arch, "%s", model_arch_name(in.model->shape.arch));
    }
    if (opt_on(o, OPT_JSON)) inspect_json(&in, opt_on(o, OPT_TENSORS));
    else inspect_text(&in, opt_on(o, OPT_TENSORS));
    buf_free(&in.chat);
    if (in.model) model_free(in.model);
    format_close(in.format);
    return ERR_OK;
}
