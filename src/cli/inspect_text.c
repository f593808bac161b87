/* sluice inspect, for people. */
#include "cli/inspect.h"
#include "cli/io.h"

#include <math.h>
#include <string.h>

/* How many layers have which: " (24 linear, 8 full attention)" */
static void print_mixers(const Model *m) {
    out_puts(" (");
    for (int i = MODEL_MIXER_COUNT; i-- > 0;)
        if (i != MODEL_MIXER_FULL && model_mixer_layers(m, (ModelMixer)i))
            out_printf("%u %s, ", model_mixer_layers(m, (ModelMixer)i), model_mixer_name((ModelMixer)i));
    out_printf("%u %s)", model_mixer_layers(m, MODEL_MIXER_FULL), model_mixer_group(MODEL_MIXER_FULL));
}

static void print_shape(const Inspection *in) {
    const Model *m = in->model;
    const ModelShape *s = &m->shape;
    out_printf("shape      %u layers", s->n_layers);
    if (model_mixer_layers(m, MODEL_MIXER_FULL) < s->n_layers) print_mixers(m);
    out_printf(", hidden %u, vocabulary %u%s, made for %u positions\n", s->hidden, s->vocab,
               in->groups[TENSORS_HEAD].n ? "" : " (head tied to the embedding)", s->ctx_train);
    for (int i = 0; i < MODEL_MIXER_COUNT; i++) {
        Buf line = {0};
        if (i != MODEL_MIXER_FULL && !model_mixer_layers(m, (ModelMixer)i)) continue;
        model_mixer_describe((ModelMixer)i, s, &line);
        out_printf("%-10s %s\n", model_mixer_name((ModelMixer)i), line.ptr ? line.ptr : "");
        buf_free(&line);
    }
    out_printf("experts    %u per layer, %u used per token, inner size %u%s\n", s->n_experts, s->top_k, s->expert_inner,
               s->norm_topk ? ", weights normalised" : "");
    if (s->shared_inner) out_printf("           and a shared expert of %u\n", s->shared_inner);
}

static void print_record(const Inspection *in) {
    const RecordLayout *r = &in->record;
    char a[32], b[32];
    if (r->bytes_total == 0) return;
    out_printf("record     gate %s %u + up %s %u + down %s %u bytes = %s", quant_traits(r->type[0])->name, r->part_bytes[0],
               quant_traits(r->type[1])->name, r->part_bytes[1], quant_traits(r->type[2])->name, r->part_bytes[2],
               format_size((uint64_t)r->part_bytes[0] + r->part_bytes[1] + r->part_bytes[2], a));
    out_puts(r->contiguous ? ", in one piece\n" : ", in three pieces\n");
    if (r->bytes_min != r->bytes_max)
        out_printf("           layers differ: %llu to %llu bytes\n", (unsigned long long)r->bytes_min, (unsigned long long)r->bytes_max);
    out_printf("           all records %s; one token reads %s when nothing is cached\n", format_size(r->bytes_total, a),
               format_size(r->bytes_per_token, b));
}

static void print_groups(const Inspection *in) {
    char size[32];
    out_printf("\n%-18s %8s %16s %12s  %s\n", "tensors", "count", "elements", "bytes", "types");
    for (int g = 0; g < TENSORS_GROUPS; g++) {
        const TensorGroup *t = &in->groups[g];
        if (t->n == 0) continue;
        out_printf("%-18s %8u %16llu %12s ", tensor_group_name((TensorGroupId)g), t->n, (unsigned long long)t->elements,
                   format_size(t->bytes, size));
        for (int q = 0; q < QUANT_TYPE_COUNT; q++) {
            if (!t->bytes_of_type[q]) continue;
            out_printf(" %s", quant_traits((QuantType)q)->name);
            if (t->bytes_of_type[q] != t->bytes) out_printf(" (%s)", format_size(t->bytes_of_type[q], size));
        }
        out_puts("\n");
    }
}

static void print_words(const Inspection *in) {
    const Model *m = in->model;
    if (m && m->tokenizer) {
        out_printf("\ntokenizer  %u tokens", text_token_count(m->tokenizer));
        if (in->merges) out_printf(", %llu merges", (unsigned long long)in->merges);
        if (in->split[0]) out_printf(", split %s", in->split);
        out_puts("\n");
    } else {
        out_puts("\ntokenizer  none\n");
    }
    if (in->chat.len == 0) {
        out_puts("template   none: a base model, it continues text\n");
    } else {
        size_t line = strcspn(in->chat.ptr, "\n");
        out_printf("template   %zu bytes: %.*s%s\n", in->chat.len, (int)(line < 90 ? line : 90), in->chat.ptr, line > 90 ? "..." : "");
        if (m && m->chat_error) out_printf("           cannot be used: %s\n", m->chat_error);
    }
}

static void print_defaults(const Model *m) {
    out_puts("stop       ");
    if (m->n_stop_ids == 0) out_puts("no end-of-text token");
    for (int i = 0; i < m->n_stop_ids; i++) {
        Buf text = {0};
        if (m->tokenizer) text_decode(m->tokenizer, m->stop_ids[i], false, &text);
        out_printf("%s%d %s", i ? ", " : "", m->stop_ids[i], text.ptr ? text.ptr : "");
        buf_free(&text);
    }
    out_puts("\nsampling   ");
    const ModelSampling *s = &m->sampling;
    bool any = false;
    if (!s->do_sample) out_puts("greedy"), any = true;
#define REAL(field, word, ...) \
    if (!isnan(s->field)) out_printf("%s" word " %g", any ? ", " : "", (double)s->field), any = true;
#define INT(field, word, ...) \
    if (s->field >= 0) out_printf("%s" word " %d", any ? ", " : "", s->field), any = true;
    MODEL_SAMPLING(REAL, INT)
#undef REAL
#undef INT
    out_puts(any ? " (the model's own)\n" : "the model says nothing\n");
}

static void print_tensors(const Inspection *in) {
    const FormatModel *f = in->format;
    int width = 4;
    for (uint32_t i = 0; i < f->n_tensors; i++)
        if ((int)f->tensors[i].name.len > width) width = (int)f->tensors[i].name.len;
    out_printf("\n%-*s  %-7s  %-22s  %4s  %14s  %12s\n", width, "name", "type", "shape", "file", "offset", "bytes");
    for (uint32_t i = 0; i < f->n_tensors; i++) {
        const FormatTensor *t = &f->tensors[i];
        Buf shape = {0};
        for (int d = 0; d < t->n_dims; d++) buf_printf(&shape, d ? " x %llu" : "%llu", (unsigned long long)t->dims[d]);
        out_printf("%-*.*s  %-7s  %-22s  %4u  %14llu  %12llu\n", width, (int)t->name.len, t->name.ptr, t->type_name,
                   shape.ptr ? shape.ptr : "scalar", t->file, (unsigned long long)t->offset, (unsigned long long)t->bytes);
        buf_free(&shape);
    }
    for (uint32_t i = 0; i < f->n_files && f->n_files > 1; i++) out_printf("file %u: %s\n", i, f->files[i].path);
}

void inspect_text(const Inspection *in, bool tensors) {
    char size[32];
    out_printf("model      %s: %s, %u file%s, %s\n", in->path, in->format->kind == FORMAT_GGUF ? "GGUF" : "safetensors folder",
               in->format->n_files, in->format->n_files == 1 ? "" : "s", format_size(in->bytes, size));
    out_printf("           %s%s%s\n", in->arch, in->name[0] ? ", " : "", in->name);
    if (in->model) {
        print_shape(in);
        print_record(in);
    } else {
        out_printf("           cannot be run: %s\n", in->why_not.text);
    }
    print_groups(in);
    print_words(in);
    if (in->model) print_defaults(in->model);
    if (tensors) print_tensors(in);
}
