/* Uneven routing. Random routers use every expert equally often, whatever came before: the worst case for a cache, and unlike any real
 * text. With a skew S the weights bring about what recorded traces show:
 *
 *   popularity   In each layer the experts have ranks, and a term -3/4 S ln(rank) in the router's logits, nearly Zipf's law with
 *                exponent S. A linear router has no bias, so every embedding row begins with the same values, the constant (a
 *                quarter of its square), and the router's weights in those columns turn it into the term.
 *   topics       Tokens belong to one of 64 topics, by their id: the topic of id i is i * 64 / vocabulary. The values behind the
 *                constant (a quarter too) are the topic's, and the router looks at them as much as at the rest of the token where S is
 *                1 or more. Tokens of one topic thus share experts. The output head prefers tokens of the topic at hand, so what
 *                the model writes by itself stays with a topic for long and then drifts.
 *
 * Both survive through the layers because what a layer adds to the residual is small beside the embedding (see layout.c). The share of
 * the logits that is noise, from token and topic together, has the spread of a Gumbel variable, which makes the k largest a draw
 * from Zipf's distribution. */
#include "forge/inside.h"

#include <math.h>
#include <string.h>

#define GUMBEL_SPREAD 1.2825498301618641 /* pi / sqrt(6) */

enum { SALT_CONSTANT = 1 << 30, SALT_TOPIC, SALT_RANK };

static const double constant_share = 0.25, topic_share = 0.25, topic_noise = 0.5;
static const double popularity_of_skew = 0.75; /* measured: with it a skew of 1 gives the hit rates of recorded traces */
static const double stay_logit = 9.4; /* 63 topics at e^0 against one at e^9.4: one token in 200 leaves */

double forge_token_rms(const Forge *f) {
    if (!f->skew.region) return 1;
    double columns = (double)f->o.shape.hidden, own = columns - 2 * (double)f->skew.region;
    return sqrt((1 - constant_share - topic_share) * columns / own);
}

static uint64_t region_elems(const Forge *f) {
    const QuantTraits *t = quant_traits(f->o.dense);
    return align_up(f->o.shape.hidden / 8, t->block_elems);
}

/* Blocks of one region with a given root mean square; of one salt and number they differ in nothing but that. */
static ErrCode make_blocks(const Forge *f, double rms, uint64_t salt, uint64_t number, uint8_t *dst, Err *err) {
    uint8_t *room = mem_new(f->skew.region_bytes + FORGE_BLOCKS_SLACK, 1);
    if (!room) return err_no_memory(err, f->skew.region_bytes, "the skew of the routers");
    ForgeRecipe recipe;
    Xoshiro random;
    ErrCode code = forge_recipe(&recipe, f->o.dense, rms, err);
    if (!code) {
        xoshiro_seed(&random, forge_hash(f->o.seed, salt, number));
        forge_blocks(&recipe, &random, room, f->skew.region_bytes / quant_traits(f->o.dense)->block_bytes);
        memcpy(dst, room, f->skew.region_bytes);
    }
    mem_free(room);
    return code;
}

/* A random order of the experts in each layer, and what their rank is worth. */
static void make_popularity(const Forge *f, float *popularity) {
    const ForgeShape *s = &f->o.shape;
    for (uint32_t l = 0; l < s->layers + f->o.mtp; l++, popularity += s->experts) {
        Xoshiro random;
        xoshiro_seed(&random, forge_hash(f->o.seed, SALT_RANK, l));
        for (uint32_t e = 0; e < s->experts; e++) {
            uint32_t other = (uint32_t)(xoshiro_next(&random) % (e + 1));
            popularity[e] = popularity[other];
            popularity[other] = (float)(-popularity_of_skew * f->o.skew * log(e + 1.0));
        }
    }
}

static ErrCode no_room(const Forge *f, Err *err) {
    return err_set(err, ERR_UNSUPPORTED, "--skew needs embedding rows of at least four blocks, but %u values of %s are %llu; choose "
                   "another type for the dense weights", f->o.shape.hidden, quant_traits(f->o.dense)->name,
                   (unsigned long long)(f->o.shape.hidden / quant_traits(f->o.dense)->block_elems));
}

ErrCode forge_skew_new(Forge *f, Err *err) {
    ForgeSkew *k = &f->skew;
    const ForgeShape *s = &f->o.shape;
    if (f->o.skew <= 0) return ERR_OK;
    uint64_t region = region_elems(f);
    if (4 * region > s->hidden) return no_room(f, err);
    k->region = region;
    k->region_bytes = quant_row_bytes(f->o.dense, region);
    k->constant = mem_new(k->region_bytes, 1);
    k->topics = mem_new(FORGE_TOPICS, k->region_bytes);
    k->head_topics = mem_new(FORGE_TOPICS, k->region_bytes);
    k->constant_values = MEM_NEW(float, region);
    k->popularity = MEM_NEW(float, ((size_t)s->layers + f->o.mtp) * s->experts);
    if (!k->constant || !k->topics || !k->head_topics || !k->constant_values || !k->popularity)
        return err_no_memory(err, (2 * FORGE_TOPICS + 1) * k->region_bytes, "the skew of the routers");
    double columns = (double)s->hidden, topic_rms = sqrt(topic_share * columns / (double)region);
    TRY(make_blocks(f, sqrt(constant_share * columns / (double)region), SALT_CONSTANT, 0, k->constant, err));
    for (uint64_t i = 0; i < FORGE_TOPICS; i++) {
        TRY(make_blocks(f, topic_rms, SALT_TOPIC, i, k->topics + i * k->region_bytes, err));
        TRY(make_blocks(f, topic_rms * stay_logit / (topic_share * columns), SALT_TOPIC, i, k->head_topics + i * k->region_bytes, err));
    }
    quant_decode(f->o.dense, k->constant, k->constant_values, region);
    double squares = 0;
    for (uint64_t i = 0; i < region; i++) squares += (double)k->constant_values[i] * (double)k->constant_values[i];
    for (uint64_t i = 0; i < region; i++) k->constant_values[i] /= (float)squares;
    make_popularity(f, k->popularity);
    double shared = topic_noise * (f->o.skew < 1 ? f->o.skew : 1);
    k->topic_rms = GUMBEL_SPREAD * sqrt(shared / (topic_share * s->hidden));
    k->token_rms = GUMBEL_SPREAD * sqrt((1 - shared) / ((1 - topic_share - constant_share) * s->hidden));
    return ERR_OK;
}

void forge_skew_free(Forge *f) {
    mem_free(f->skew.constant);
    mem_free(f->skew.topics);
    mem_free(f->skew.head_topics);
    mem_free(f->skew.constant_values);
    mem_free(f->skew.popularity);
}

void forge_skew_rows(const Forge *f, const ForgeTensor *t, uint64_t first, uint64_t n, uint8_t *blocks) {
    const ForgeSkew *k = &f->skew;
    const QuantTraits *traits = quant_traits(t->recipe.type);
    const uint64_t row_blocks = t->dims[0] / traits->block_elems, region = k->region / traits->block_elems, size = traits->block_bytes;
    for (uint64_t i = 0; i < n; i++, blocks += size) {
        uint64_t row = (first + i) / row_blocks, column = (first + i) % row_blocks;
        if (column < region && t->kind == FORGE_TOKENS) memcpy(blocks, k->constant + column * size, size);
        if (column < region || column >= 2 * region) continue;
        uint64_t topic = row * FORGE_TOPICS / t->dims[1];
        memcpy(blocks, (t->kind == FORGE_HEAD ? k->head_topics : k->topics) + topic * k->region_bytes + (column - region) * size, size);
    }
}

float forge_skew_router(const Forge *f, const ForgeTensor *t, uint64_t expert, uint64_t column, float normal) {
    const ForgeSkew *k = &f->skew;
    if (!k->region) return normal * (float)(GUMBEL_SPREAD / sqrt((double)f->o.shape.hidden));
    if (column < k->region) return k->popularity[(uint64_t)t->layer * f->o.shape.experts + expert] * k->constant_values[column];
    return normal * (float)(column < 2 * k->region ? k->topic_rms : k->token_rms);
}
