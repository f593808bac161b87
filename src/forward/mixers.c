/* The mixers of a model's layers, in the order of the model's list. */
#include "forward/inside.h"

const ForwardMixer *const forward_mixers[MODEL_MIXER_COUNT] = {
#define X(NAME, name) [MODEL_MIXER_##NAME] = &forward_mixer_##name,
    MODEL_MIXERS(X)
#undef X
};

void forward_mixers_begin(Forward *f) {
    for (int i = 0; i < MODEL_MIXER_COUNT; i++)
        if (forward_mixers[i]->begin) forward_mixers[i]->begin(f);
}
