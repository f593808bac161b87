#include "cli/shape.h"

#include <string.h>

static const char *shape_name_at(size_t i, void *user) {
    (void)user;
    const ForgeShape *s = forge_shape_at(i);
    return s ? s->name : NULL;
}

static ErrCode unknown_shape(const char *name, Err *err) {
    Buf all = {0};
    for (size_t i = 0; forge_shape_at(i); i++) buf_printf(&all, "%s%s", i ? ", " : "", forge_shape_at(i)->name);
    const char *near = nearest_name(name, strlen(name), shape_name_at, NULL), *list = all.ptr && !all.failed ? all.ptr : "";
    if (near) err_set(err, ERR_USAGE, "--shape %s: unknown; did you mean %s? There are %s", name, near, list);
    else err_set(err, ERR_USAGE, "--shape %s: unknown; there are %s", name, list);
    buf_free(&all);
    return ERR_USAGE;
}

ErrCode shape_type(const char *flag, const char *name, QuantType *type, Err *err) {
    if (quant_from_name(name, type) && quant_traits(*type)->decode && quant_traits(*type)->ggml_id >= 0) return ERR_OK;
    Buf all = {0};
    for (int t = 0; t < QUANT_TYPE_COUNT; t++) {
        const QuantTraits *q = quant_traits((QuantType)t);
        if (q->decode && q->ggml_id >= 0) buf_printf(&all, "%s%s", all.len ? ", " : "", q->name);
    }
    err_set(err, ERR_USAGE, "%s %s: no number format of weights; there are %s", flag, name, all.ptr && !all.failed ? all.ptr : "others");
    buf_free(&all);
    return ERR_USAGE;
}

ErrCode shape_options(const Options *o, ForgeOptions *out, Err *err) {
    const char *name = opt_text(o, OPT_SHAPE, "");
    const ForgeShape *shape = forge_shape(name);
    *out = (ForgeOptions){.layers = (uint32_t)opt_int(o, OPT_LAYERS, 0), .vocab = (uint32_t)opt_int(o, OPT_VOCAB, 0)};
    if (!shape) return unknown_shape(name, err);
    out->shape = *shape;
    out->skew = opt_given(o, OPT_SKEW) ? o->value[OPT_SKEW].real : 0;
    out->seed = opt_given(o, OPT_SEED) ? (uint64_t)o->value[OPT_SEED].integer : 0;
    out->mtp = opt_on(o, OPT_MTP_LAYER);
    if (out->mtp && strcmp(shape->arch, "qwen35moe") != 0)
        return err_set(err, ERR_USAGE, "--mtp-layer: only models of the Qwen3.5 family have one in their files, not %s", shape->name);
    if (out->layers > shape->layers)
        return err_set(err, ERR_USAGE, "--layers %u: %s has %u", out->layers, shape->name, shape->layers);
    ErrCode code = shape_type("--quant", opt_text(o, OPT_QUANT, "q4_k"), &out->experts, err);
    return code ? code : shape_type("--dense", opt_text(o, OPT_DENSE, "q8_0"), &out->dense, err);
}
