/* The mixers, in the order of their list, and what others ask of them. */
#include "model/parts.h"

#include <string.h>

const MixerRow *const model_mixers[MODEL_MIXER_COUNT] = {
#define X(NAME, name) [MODEL_MIXER_##NAME] = &model_mixer_##name,
    MODEL_MIXERS(X)
#undef X
};

static const MixerNumber *number_at(ModelMixer mixer, size_t i) {
    const MixerNumber *n = i < MIXER_NUMBERS ? &model_mixers[mixer]->numbers[i] : NULL;
    return n && n->name ? n : NULL;
}

ErrCode model_mixer_numbers(const Hparams *h, ModelShape *s, Err *err) {
    const MixerRow *row = model_mixers[h->arch->other];
    const MixerNumber *n;
    for (size_t i = 0; (n = number_at(h->arch->other, i)) != NULL; i++) {
        uint32_t value;
        TRY(model_hparam_u32(h, &n->key, &value, err));
        memcpy((char *)s + n->at, &value, sizeof value);
    }
    return row->finish ? row->finish(h, s, err) : ERR_OK;
}

const char *model_mixer_name(ModelMixer mixer) { return model_mixers[mixer]->name; }

const char *model_mixer_group(ModelMixer mixer) { return model_mixers[mixer]->group; }

static bool contains(Str s, const char *word) {
    size_t len = strlen(word);
    for (size_t i = 0; i + len <= s.len; i++)
        if (memcmp(s.ptr + i, word, len) == 0) return true;
    return false;
}

bool model_mixer_owns(ModelMixer mixer, Str tensor) {
    for (size_t i = 0; i < MIXER_WORDS && model_mixers[mixer]->words[i]; i++)
        if (contains(tensor, model_mixers[mixer]->words[i])) return true;
    return false;
}

void model_mixer_describe(ModelMixer mixer, const ModelShape *s, Buf *out) { model_mixers[mixer]->describe(s, out); }

const char *model_mixer_number(ModelMixer mixer, const ModelShape *s, size_t i, uint32_t *value) {
    const MixerNumber *n = number_at(mixer, i);
    if (n) memcpy(value, (const char *)s + n->at, sizeof *value);
    return n ? n->name : NULL;
}

uint32_t model_mixer_layers(const Model *m, ModelMixer mixer) {
    uint32_t n = 0;
    for (uint32_t l = 0; l < m->shape.n_layers; l++) n += m->layers[l].mixer == mixer;
    return n;
}

void model_layer_mats(const ModelLayer *l, const ModelMat *out[MODEL_DENSE_MATS]) {
    static const ModelMat none;
    const ModelMat *const others[] = {&l->router, &l->shared_gate, &l->shared_up, &l->shared_down, &l->shared_router};
    for (int i = 0; i < MODEL_MIXER_MATS; i++) out[i] = &none;
    model_mixers[l->mixer]->mats(l, out);
    memcpy(out + MODEL_MIXER_MATS, others, sizeof others);
}
