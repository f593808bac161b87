/* sluice inspect --json: the same for programs, one object. */
#include "cli/inspect.h"
#include "cli/io.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *number(uint64_t n) { return json_integer((json_int_t)n); }

/* "layers_linear", and the mixer's own numbers. */
static void set_mixer(json_t *o, const Model *m, ModelMixer mixer) {
    char layers[64];
    const char *name;
    uint32_t value;
    snprintf(layers, sizeof layers, "layers_%s", model_mixer_name(mixer));
    json_object_set_new(o, layers, number(model_mixer_layers(m, mixer)));
    for (size_t i = 0; (name = model_mixer_number(mixer, &m->shape, i, &value)) != NULL; i++) json_object_set_new(o, name, number(value));
}

static json_t *shape_json(const Model *m) {
    const ModelShape *s = &m->shape;
    json_t *o = json_object();
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {
        {"layers", s->n_layers}, {"hidden", s->hidden}, {"vocab", s->vocab}, {"ctx_train", s->ctx_train}, {"heads", s->n_heads},
        {"kv_heads", s->n_kv_heads}, {"head_dim", s->head_dim}, {"rotary_dim", s->rotary_dim}, {"experts", s->n_experts},
        {"experts_per_token", s->top_k}, {"expert_inner", s->expert_inner}, {"shared_inner", s->shared_inner},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) json_object_set_new(o, rows[i].name, number(rows[i].value));
    for (int i = 0; i < MODEL_MIXER_COUNT; i++)
        if (i != MODEL_MIXER_FULL) set_mixer(o, m, (ModelMixer)i);
    json_object_set_new(o, "rope_theta", json_real(s->rope_theta));
    json_object_set_new(o, "norm_topk", json_boolean(s->norm_topk));
    json_object_set_new(o, "attn_gate", json_boolean(s->attn_gate));
    json_object_set_new(o, "heads_tiled", json_boolean(s->heads_tiled));
    return o;
}

static json_t *groups_json(const Inspection *in) {
    json_t *list = json_array();
    for (int g = 0; g < TENSORS_GROUPS; g++) {
        const TensorGroup *t = &in->groups[g];
        if (t->n == 0) continue;
        json_t *types = json_object();
        for (int q = 0; q < QUANT_TYPE_COUNT; q++)
            if (t->bytes_of_type[q]) json_object_set_new(types, quant_traits((QuantType)q)->name, number(t->bytes_of_type[q]));
        json_array_append_new(list, json_pack("{s:s,s:i,s:o,s:o,s:o}", "group", tensor_group_name((TensorGroupId)g), "tensors",
                                              (int)t->n, "elements", number(t->elements), "bytes", number(t->bytes), "types", types));
    }
    return list;
}

static json_t *record_json(const Inspection *in) {
    static const char *const names[3] = {"gate", "up", "down"};
    const RecordLayout *r = &in->record;
    json_t *parts = json_array();
    for (int i = 0; i < 3; i++)
        json_array_append_new(parts, json_pack("{s:s,s:s,s:o}", "part", names[i], "type", quant_traits(r->type[i])->name, "bytes",
                                               number(r->part_bytes[i])));
    return json_pack("{s:i,s:i,s:o,s:o,s:o,s:b,s:o,s:o}", "count", (int)in->model->shape.n_experts, "per_token",
                     (int)in->model->shape.top_k, "record_bytes", number(r->bytes_max), "record_bytes_min", number(r->bytes_min),
                     "parts", parts, "contiguous", r->contiguous, "bytes", number(r->bytes_total), "bytes_per_token_cold",
                     number(r->bytes_per_token));
}

static json_t *words_json(const Inspection *in) {
    const Model *m = in->model;
    if (!m || !m->tokenizer) return json_null();
    json_t *o = json_pack("{s:i,s:o}", "tokens", (int)text_token_count(m->tokenizer), "merges", number(in->merges));
    if (in->split[0]) json_object_set_new(o, "split", json_text(in->split, strlen(in->split)));
    return o;
}

static json_t *template_json(const Inspection *in) {
    if (in->chat.len == 0) return json_null();
    size_t line = strcspn(in->chat.ptr, "\n");
    json_t *o = json_pack("{s:o,s:o,s:b}", "bytes", number(in->chat.len), "first_line", json_text(in->chat.ptr, line), "usable",
                          in->model && in->model->chat);
    if (in->model && in->model->chat_error)
        json_object_set_new(o, "error", json_text(in->model->chat_error, strlen(in->model->chat_error)));
    return o;
}

/* "top-k" as top_k */
static void set_word(json_t *o, const char *word, json_t *value) {
    char key[32];
    snprintf(key, sizeof key, "%s", word);
    for (char *c = key; *c; c++)
        if (*c == '-') *c = '_';
    json_object_set_new(o, key, value);
}

/* 0.7f as 0.7, not as 0.699999988 */
static json_t *real(float value) {
    char text[32];
    snprintf(text, sizeof text, "%.7g", (double)value);
    return json_real(strtod(text, NULL));
}

static json_t *sampling_json(const ModelSampling *s) {
    json_t *o = json_object();
    json_object_set_new(o, "do_sample", json_boolean(s->do_sample));
#define REAL(field, word, ...) \
    if (!isnan(s->field)) set_word(o, word, real(s->field));
#define INT(field, word, ...) \
    if (s->field >= 0) set_word(o, word, json_integer(s->field));
    MODEL_SAMPLING(REAL, INT)
#undef REAL
#undef INT
    return o;
}

static json_t *tensors_json(const FormatModel *f) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < f->n_tensors; i++) {
        const FormatTensor *t = &f->tensors[i];
        json_t *shape = json_array();
        for (int d = 0; d < t->n_dims; d++) json_array_append_new(shape, number(t->dims[d]));
        json_array_append_new(list, json_pack("{s:o,s:s,s:s,s:o,s:s,s:o,s:o}", "name", json_text(t->name.ptr, t->name.len), "group",
                                              tensor_group_name(tensor_group(t->name)), "type", t->type_name, "shape", shape, "file",
                                              f->files[t->file].path, "offset", number(t->offset), "bytes", number(t->bytes)));
    }
    return list;
}

void inspect_json(const Inspection *in, bool tensors) {
    json_t *o = json_object(), *files = json_array();
    for (uint32_t i = 0; i < in->format->n_files; i++) {
        const FormatFile *f = &in->format->files[i];
        json_array_append_new(files, json_pack("{s:s,s:o,s:o}", "path", f->path, "offset", number(f->base), "bytes",
                                               number(f->size - f->base)));
    }
    json_object_set_new(o, "model", json_text(in->path, strlen(in->path)));
    json_object_set_new(o, "format", json_string(in->format->kind == FORMAT_GGUF ? "gguf" : "safetensors"));
    json_object_set_new(o, "architecture", json_text(in->arch, strlen(in->arch)));
    json_object_set_new(o, "name", json_text(in->name, strlen(in->name)));
    json_object_set_new(o, "runnable", json_boolean(in->model != NULL));
    if (!in->model) json_object_set_new(o, "error", json_text(in->why_not.text, strlen(in->why_not.text)));
    json_object_set_new(o, "bytes", number(in->bytes));
    json_object_set_new(o, "files", files);
    json_object_set_new(o, "tensor_count", json_integer(in->format->n_tensors));
    json_object_set_new(o, "groups", groups_json(in));
    if (in->model) {
        json_object_set_new(o, "shape", shape_json(in->model));
        json_object_set_new(o, "experts", record_json(in));
        json_object_set_new(o, "stop_ids", json_ids(in->model->stop_ids, (size_t)in->model->n_stop_ids));
        json_object_set_new(o, "sampling", sampling_json(&in->model->sampling));
    }
    json_object_set_new(o, "tokenizer", words_json(in));
    json_object_set_new(o, "template", template_json(in));
    if (tensors) json_object_set_new(o, "tensors", tensors_json(in->format));
    out_json(o);
}
