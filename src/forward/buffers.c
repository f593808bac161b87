/* The memory of a step: laid out once, by one function that first measures and then places. */
#include "forward/inside.h"

#include <math.h>

/* Hands out pieces of one block; with base 0 it only counts, so that the plan and the allocation cannot disagree. */
typedef struct Cutter {
    uintptr_t base;
    uint64_t used;
} Cutter;

static void *take(Cutter *c, uint64_t count, uint64_t size) {
    uint64_t at = c->used;
    c->used += align_up(count * size, 64);
    return c->base ? (void *)(c->base + at) : NULL;
}

static float *floats(Cutter *c, uint64_t count) { return take(c, count, sizeof(float)); }

static void take_rows(Cutter *c, Rows *r, const ForwardConfig *config, uint64_t count, uint32_t n) {
    r->n = n;
    r->stride = (uint32_t)kernels_act_stride(n);
    r->x = floats(c, count * n);
    r->groups = config->precise ? NULL : take(c, count * r->stride, sizeof *r->groups);
    r->acts = take(c, count, sizeof *r->acts);
}

static void bind_rows(Rows *r, uint64_t count) {
    for (uint64_t t = 0; t < count; t++) {
        r->acts[t].x = r->x + t * r->n;
        r->acts[t].groups = r->groups ? r->groups + t * r->stride : NULL;
    }
}

static uint64_t max_u64(uint64_t a, uint64_t b) { return a > b ? a : b; }
static uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }

static void lay_out_mixer(Forward *f, Cutter *c) {
    const ModelShape *s = f->s;
    uint64_t chunk = f->c.chunk, channels = forward_conv_channels(s);
    uint64_t queries = (uint64_t)s->n_heads * s->head_dim * (s->attn_gate ? 2 : 1);
    f->wide = floats(c, chunk * max_u64(channels, queries));
    f->conv = floats(c, chunk * channels);
    f->z = floats(c, chunk * forward_v_width(s));
    f->beta = floats(c, chunk * s->lin_v_heads);
    f->decay = floats(c, chunk * s->lin_v_heads);
    f->k = floats(c, chunk * s->n_kv_heads * s->head_dim);
    f->v = floats(c, chunk * s->n_kv_heads * s->head_dim);
    take_rows(c, &f->lin_o, &f->c, chunk, forward_v_width(s));
    take_rows(c, &f->att_o, &f->c, chunk, s->n_heads * s->head_dim);
    f->att_parts = floats(c, forward_attend_parts_floats(&f->c));
    f->cosines = floats(c, chunk * s->rotary_dim / 2);
    f->sines = floats(c, chunk * s->rotary_dim / 2);
    f->inv_freq = floats(c, s->rotary_dim / 2);
    if (f->c.mtp) take_rows(c, &f->mtp_in, &f->c, chunk, 2 * s->hidden);
}

static void lay_out_experts(Forward *f, Cutter *c) {
    const ModelShape *s = f->s;
    uint64_t chunk = f->c.chunk, k = f->c.top_k;
    f->router = floats(c, chunk * s->n_experts);
    f->top_ids = take(c, chunk * k, sizeof *f->top_ids);
    f->top_w = floats(c, chunk * k);
    f->picks = take(c, chunk * k, sizeof *f->picks);
    f->pick_at = take(c, s->n_experts + 1, sizeof *f->pick_at);
    f->wanted = take(c, s->n_experts, sizeof *f->wanted);
    f->uses = take(c, s->n_experts, sizeof *f->uses);
    f->open = take(c, max_u64(k, EXPERT_BATCH), sizeof *f->open);
    f->jobs = take(c, max_u64(k, EXPERT_BATCH), sizeof *f->jobs);
    f->gathered = take(c, max_u64(chunk, k), sizeof *f->gathered);
    f->up = floats(c, max_u64(chunk, k) * max_u64(s->expert_inner, s->shared_inner));
    take_rows(c, &f->inner, &f->c, max_u64(chunk, k), s->expert_inner);
    take_rows(c, &f->shared_inner, &f->c, chunk, s->shared_inner);
    f->out = floats(c, max_u64(chunk, k) * s->hidden);
    f->shared_out = floats(c, s->shared_inner ? chunk * s->hidden : 0);
    f->shared_w = floats(c, chunk);
    bool ahead = f->c.lookahead != FORWARD_AHEAD_OFF;
    f->ahead.sum = floats(c, ahead ? s->hidden : 0);
    f->ahead.x = floats(c, ahead ? s->hidden : 0);
    f->ahead.router = floats(c, ahead ? s->n_experts : 0);
    f->ahead.all = take(c, ahead ? s->n_experts : 0, sizeof *f->ahead.all);
    f->ahead.guess = take(c, ahead ? k : 0, sizeof *f->ahead.guess);
}

/* The longest row that is decoded, attention's parts. */
static uint64_t scratch_floats(const ForwardConfig *c) {
    const ModelShape *s = &c->model->shape;
    uint64_t n = max_u64(2 * (uint64_t)s->hidden, max_u64(s->expert_inner, s->shared_inner)); /* 2: the draft layer's input */
    n = max_u64(n, max_u64(forward_v_width(s), (uint64_t)s->n_heads * s->head_dim));
    return align_up(max_u64(n, forward_attend_scratch_floats(c)), 64);
}

static void count_layers(const Model *m, uint64_t *linear, uint64_t *full) {
    *linear = *full = 0;
    for (uint32_t l = 0; l < m->shape.n_layers; l++) ++*(m->layers[l].linear ? linear : full);
}

/* Of one session, without what a draft layer needs. */
static uint64_t recurrent_floats(const ForwardConfig *c) {
    uint64_t linear, full;
    count_layers(c->model, &linear, &full);
    return linear * (forward_delta_floats(&c->model->shape) + forward_conv_state_floats(&c->model->shape));
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
    f->x = floats(c, chunk * s->hidden);
    take_rows(c, &f->in, &f->c, chunk, s->hidden);
    f->in_f32 = take(c, chunk, sizeof *f->in_f32);
    f->mix = floats(c, chunk * s->hidden);
    lay_out_mixer(f, c);
    lay_out_experts(f, c);
    f->segments = take(c, most_segments(&f->c), sizeof *f->segments);
    f->kept = floats(c, most_long_segments(&f->c) * recurrent_floats(&f->c));
    f->scratch_floats = scratch_floats(&f->c);
    f->scratch = floats(c, (uint64_t)n_threads * f->scratch_floats);
    return c->used;
}

ForwardSizes forward_sizes(const ForwardConfig *config, int n_threads) {
    Forward probe = {.c = *config, .s = &config->model->shape};
    ForwardSizes sizes = {.buffers = lay_out(&probe, NULL, n_threads)};
    uint64_t linear, full;
    count_layers(config->model, &linear, &full);
    sizes.state = recurrent_floats(config) * sizeof(float);
    sizes.kv = full * 2 * forward_keys_bytes(config);
    if (config->mtp) {
        sizes.state = 2 * sizes.state + FORWARD_MTP_OPEN * (uint64_t)probe.s->hidden * sizeof(float);
        sizes.kv += 2 * forward_keys_bytes(config);
    }
    sizes.position = sizes.kv / (forward_kv_blocks(config) * KERNELS_KEY_BLOCK);
    return sizes;
}

ForwardToken forward_token_bytes(const Model *model, QuantType kv_type) {
    const ModelShape *s = &model->shape;
    uint64_t linear, full;
    count_layers(model, &linear, &full);
    uint64_t conv = s->conv_width ? (uint64_t)forward_conv_channels(s) * (s->conv_width - 1) : 0;
    return (ForwardToken){.state = linear * (forward_delta_floats(s) + conv) * sizeof(float),
                          .position = full * 2 * s->n_kv_heads * quant_row_bytes(kv_type, s->head_dim)};
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
    bind_rows(&f->in, config->chunk);
    bind_rows(&f->lin_o, config->chunk);
    if (config->mtp) bind_rows(&f->mtp_in, config->chunk);
    bind_rows(&f->att_o, config->chunk);
    bind_rows(&f->inner, max_u64(config->chunk, config->top_k));
    bind_rows(&f->shared_inner, config->chunk);
    for (uint32_t t = 0; t < config->chunk; t++) f->in_f32[t].x = f->in.acts[t].x;
    for (uint32_t i = 0; i < f->s->rotary_dim / 2; i++)
        f->inv_freq[i] = (float)(1.0 / pow(f->s->rope_theta, 2.0 * i / f->s->rotary_dim));
    return f;
}

void forward_free(Forward *f) {
    if (!f) return;
    os_pages_free(f->pages, f->pages_bytes);
    mem_free(f);
}
