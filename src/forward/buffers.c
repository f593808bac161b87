/* The memory of a step: laid out once, by one function that first measures and then places. */
#include "forward/inside.h"

void *forward_take(Cutter *c, uint64_t count, uint64_t size) {
    uint64_t at = c->used;
    c->used += align_up(count * size, 64);
    return c->base ? (void *)(c->base + at) : NULL;
}

float *forward_take_floats(Cutter *c, uint64_t count) { return forward_take(c, count, sizeof(float)); }

void forward_take_rows(Cutter *c, Rows *r, const ForwardConfig *config, uint64_t count, uint32_t n) {
    r->n = n;
    r->stride = (uint32_t)kernels_act_stride(n);
    r->x = forward_take_floats(c, count * n);
    r->groups = config->precise ? NULL : forward_take(c, count * r->stride, sizeof *r->groups);
    r->acts = forward_take(c, count, sizeof *r->acts);
    for (uint64_t t = 0; r->acts && t < count; t++) {
        r->acts[t].x = r->x + t * r->n;
        r->acts[t].groups = r->groups ? r->groups + t * r->stride : NULL;
    }
}

static uint64_t max_u64(uint64_t a, uint64_t b) { return a > b ? a : b; }
static uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* What mixers need only while they run lies in the same memory: as much as the largest of them takes. */
static void lay_out_mixers(Forward *f, Cutter *c) {
    Cutter counted = {0}, passing = {0};
    for (int i = 0; i < MODEL_MIXER_COUNT; i++) {
        Cutter one = {0};
        (void)forward_mixers[i]->lay_out(&f->c, &counted, &one);
        passing.used = max_u64(passing.used, one.used);
    }
    passing.base = (uintptr_t)forward_take(c, passing.used, 1);
    for (int i = 0; i < MODEL_MIXER_COUNT; i++) {
        passing.used = 0;
        f->mixers[i] = forward_mixers[i]->lay_out(&f->c, c, &passing);
    }
}

static void lay_out_experts(Forward *f, Cutter *c) {
    const ModelShape *s = f->s;
    Route *r = &f->route;
    Experts *e = &f->experts;
    Ahead *a = &f->ahead;
    uint64_t chunk = f->c.chunk, k = f->c.top_k, few = min_u64(chunk, FEW_TOKENS), rows = max_u64(chunk, few * k);
    r->logits = forward_take_floats(c, chunk * s->n_experts);
    r->top_ids = forward_take(c, chunk * k, sizeof *r->top_ids);
    r->top_w = forward_take_floats(c, chunk * k);
    r->picks = forward_take(c, chunk * k, sizeof *r->picks);
    r->pick_at = forward_take(c, s->n_experts + 1, sizeof *r->pick_at);
    r->wanted = forward_take(c, s->n_experts, sizeof *r->wanted);
    r->uses = forward_take(c, s->n_experts, sizeof *r->uses);
    e->open = forward_take(c, max_u64(few * k, EXPERT_BATCH), sizeof *e->open);
    e->jobs = forward_take(c, max_u64(few * k, EXPERT_BATCH), sizeof *e->jobs);
    e->gathered = forward_take(c, rows, sizeof *e->gathered);
    e->up = forward_take_floats(c, rows * max_u64(s->expert_inner, s->shared_inner));
    forward_take_rows(c, &e->inner, &f->c, rows, s->expert_inner);
    forward_take_rows(c, &e->shared_inner, &f->c, chunk, s->shared_inner);
    e->out = forward_take_floats(c, rows * s->hidden);
    e->shared_out = forward_take_floats(c, s->shared_inner ? chunk * s->hidden : 0);
    r->shared_w = forward_take_floats(c, chunk);
    uint64_t ahead = f->c.lookahead != FORWARD_AHEAD_OFF;
    a->x = forward_take_floats(c, ahead * few * s->hidden);
    a->router = forward_take_floats(c, ahead * few * s->n_experts);
    a->all = forward_take(c, ahead * s->n_experts, sizeof *a->all);
    a->guess = forward_take(c, ahead * few * k, sizeof *a->guess);
    a->hint = forward_take(c, ahead * few * k, sizeof *a->hint);
}

/* The longest row that is decoded, what mixers need. */
static uint64_t scratch_floats(const ForwardConfig *c) {
    const ModelShape *s = &c->model->shape;
    uint64_t n = max_u64(2 * (uint64_t)s->hidden, max_u64(s->expert_inner, s->shared_inner)); /* 2: the draft layer's input */
    for (int i = 0; i < MODEL_MIXER_COUNT; i++)
        if (forward_mixers[i]->scratch) n = max_u64(n, forward_mixers[i]->scratch(c));
    return align_up(n, 64);
}

/* ---- what layers remember of a sequence ---- */

ForwardLists forward_lists_of(const ForwardConfig *c, uint32_t layer) {
    const ForwardMixer *mixer = forward_mixer_of(&c->model->layers[layer]);
    return mixer->lists ? mixer->lists(c) : (ForwardLists){0};
}

static uint32_t count_layers(const ForwardConfig *c) { return c->model->shape.n_layers + c->mtp; }

/* Where each layer's part of a state is; layers may be NULL. at: the end of all. */
static void place_layers(const ForwardConfig *c, LayerAt *layers, LayerAt *at) {
    *at = (LayerAt){0};
    for (uint32_t l = 0; l < count_layers(c); l++) {
        const ForwardMixer *mixer = forward_mixer_of(&c->model->layers[l]);
        at->layer = &c->model->layers[l];
        at->number = l;
        if (layers) layers[l] = *at;
        at->recurrent_at += mixer->recurrent ? mixer->recurrent(c) : 0;
        at->lists_at += forward_list_block(c, forward_lists_of(c, l), forward_lists_of(c, l).n, 0);
    }
}

uint64_t forward_recurrent_floats(const ForwardConfig *c) {
    LayerAt end;
    place_layers(c, NULL, &end);
    return end.recurrent_at;
}

static uint64_t most_segments(const ForwardConfig *c) { return c->segments ? c->segments : 1; }

static uint64_t most_long_segments(const ForwardConfig *c) {
    uint64_t n = min_u64(most_segments(c), c->chunk / (FORWARD_SHORT + 1));
    return min_u64(n, FORWARD_LONG_SEGMENTS);
}

static uint64_t lay_out(Forward *f, void *base, int n_threads) {
    const ModelShape *s = f->s;
    Cutter cutter = {(uintptr_t)base, 0}, *c = &cutter;
    uint64_t chunk = f->c.chunk;
    f->x = forward_take_floats(c, chunk * s->hidden);
    forward_take_rows(c, &f->in, &f->c, chunk, s->hidden);
    f->in_f32 = forward_take(c, chunk, sizeof *f->in_f32);
    f->mix = forward_take_floats(c, chunk * s->hidden);
    f->layers = forward_take(c, count_layers(&f->c), sizeof *f->layers);
    lay_out_mixers(f, c);
    if (f->c.mtp) forward_take_rows(c, &f->mtp_in, &f->c, chunk, 2 * s->hidden);
    lay_out_experts(f, c);
    f->segments = forward_take(c, most_segments(&f->c), sizeof *f->segments);
    f->kept = forward_take_floats(c, most_long_segments(&f->c) * forward_recurrent_floats(&f->c));
    f->scratch_floats = scratch_floats(&f->c);
    f->scratch = forward_take_floats(c, (uint64_t)n_threads * f->scratch_floats);
    return c->used;
}

ForwardSizes forward_sizes(const ForwardConfig *config, int n_threads) {
    Forward probe = {.c = *config, .s = &config->model->shape};
    ForwardSizes sizes = {.buffers = lay_out(&probe, NULL, n_threads)};
    LayerAt end;
    place_layers(config, NULL, &end);
    sizes.state = end.recurrent_at * sizeof(float);
    sizes.kv = end.lists_at;
    if (config->mtp) sizes.state = 2 * sizes.state + FORWARD_MTP_OPEN * (uint64_t)probe.s->hidden * sizeof(float);
    sizes.position = sizes.kv / (forward_blocks(config) * KERNELS_KEY_BLOCK);
    return sizes;
}

ForwardToken forward_token_bytes(const Model *model, QuantType kv_type) {
    ForwardToken all = {0};
    for (uint32_t l = 0; l < model->shape.n_layers; l++) {
        ForwardToken one = forward_mixer_of(&model->layers[l])->token(model, kv_type);
        all.state += one.state;
        all.position += one.position;
    }
    return all;
}

Forward *forward_new(const ForwardConfig *config, Err *err) {
    int n_threads = os_pool_threads(config->pool);
    Forward *f = MEM_NEW(Forward, 1);
    if (!f) {
        err_no_memory(err, sizeof *f, "a forward pass");
        return NULL;
    }
    f->c = *config;
    f->c.segments = (uint32_t)most_segments(config);
    f->s = &config->model->shape;
    f->pages_bytes = forward_sizes(config, n_threads).buffers;
    f->pages = os_pages_new(f->pages_bytes, err);
    if (!f->pages) {
        mem_free(f);
        return NULL;
    }
    lay_out(f, f->pages, n_threads);
    forward_ahead_new(f);
    LayerAt end;
    place_layers(config, f->layers, &end);
    for (uint32_t t = 0; t < config->chunk; t++) f->in_f32[t].x = f->in.acts[t].x;
    return f;
}

void forward_free(Forward *f) {
    if (!f) return;
    os_pages_free(f->pages, f->pages_bytes);
    mem_free(f);
}
