/* Which part of the network a tensor belongs to, by its name in GGUF files and in Hugging Face folders. */
#include "cli/inspect.h"

#include <string.h>

/* The first row with a word that the name contains decides, so the order matters: norms lie inside every other part. */
static const struct {
    const char *word;
    TensorGroupId group;
} rules[] = {
    {"nextn", TENSORS_DRAFT},          {"mtp.", TENSORS_DRAFT},
    {"visual.", TENSORS_VISION},       {"vision_tower", TENSORS_VISION},
    {"norm", TENSORS_NORM},
    {"token_embd", TENSORS_EMBEDDING}, {"embed_tokens", TENSORS_EMBEDDING},
    {"lm_head", TENSORS_HEAD},
    {"shexp", TENSORS_SHARED},         {"shared_expert", TENSORS_SHARED},
    {"_exps", TENSORS_EXPERTS},        {"mlp.experts.", TENSORS_EXPERTS},
    {"ffn_gate_inp", TENSORS_ROUTER},  {"mlp.gate.", TENSORS_ROUTER},
};

static bool contains(Str s, const char *word) {
    size_t len = strlen(word);
    for (size_t i = 0; i + len <= s.len; i++)
        if (memcmp(s.ptr + i, word, len) == 0) return true;
    return false;
}

TensorGroupId tensor_group(Str name) {
    if (str_eq_c(name, "output.weight")) return TENSORS_HEAD;
    for (size_t i = 0; i < COUNT_OF(rules); i++)
        if (contains(name, rules[i].word)) return rules[i].group;
    for (int i = MODEL_MIXER_COUNT; i-- > 0;) /* full attention last: its word is part of others */
        if (model_mixer_owns((ModelMixer)i, name)) return (TensorGroupId)(TENSORS_MIXERS + i);
    return TENSORS_OTHER;
}

const char *tensor_group_name(TensorGroupId id) {
    static const char *const names[TENSORS_GROUPS] = {
        [TENSORS_EMBEDDING] = "embedding", [TENSORS_HEAD] = "head", [TENSORS_NORM] = "norms", [TENSORS_ROUTER] = "router",
        [TENSORS_SHARED] = "shared expert", [TENSORS_EXPERTS] = "routed experts", [TENSORS_DRAFT] = "draft (MTP)",
        [TENSORS_VISION] = "vision", [TENSORS_OTHER] = "other",
    };
    return names[id] ? names[id] : model_mixer_group((ModelMixer)(id - TENSORS_MIXERS));
}
