/* What a session remembers: delta-rule and convolution state of the linear layers, keys and values of the full ones. */
#include "forward/inside.h"

#include <string.h>

ForwardState *forward_state_new(const Forward *f, Err *err) {
    ForwardState *s = MEM_NEW(ForwardState, 1);
    if (!s) {
        err_no_memory(err, sizeof *s, "a session");
        return NULL;
    }
    ForwardSizes sizes = forward_sizes(&f->c, 1);
    s->f = f;
    s->recurrent_bytes = sizes.state;
    s->pages_bytes = sizes.state + sizes.kv;
    s->pages = os_pages_new(s->pages_bytes, err);
    if (!s->pages) {
        mem_free(s);
        return NULL;
    }
    uint64_t linear = 0;
    for (uint32_t l = 0; l < f->s->n_layers; l++) linear += f->c.model->layers[l].linear;
    s->delta = s->pages;
    s->conv = s->delta + linear * forward_delta_floats(f->s);
    s->kv = (uint8_t *)s->pages + sizes.state;
    return s;
}

void forward_state_free(ForwardState *s) {
    if (!s) return;
    os_pages_free(s->pages, s->pages_bytes);
    mem_free(s);
}

void forward_state_clear(ForwardState *s) {
    memset(s->pages, 0, s->recurrent_bytes); /* keys and values beyond the position are never read */
    s->position = 0;
    s->broken = false;
}

uint32_t forward_state_position(const ForwardState *s) { return s->position; }

/* Keys and values lie [full layers][2][kv_heads][ctx][head_dim]: each head's first `position` rows are copied. */
typedef struct KvRows {
    uint64_t runs, stride, bytes; /* runs of `bytes` bytes, `stride` apart */
} KvRows;

static KvRows kv_rows(const ForwardState *s, uint32_t position) {
    const ModelShape *shape = s->f->s;
    uint64_t row = (uint64_t)shape->head_dim * quant_traits(s->f->c.kv_type)->block_bytes;
    uint64_t kv_bytes = s->pages_bytes - s->recurrent_bytes, stride = s->f->c.ctx * row;
    KvRows r = {stride ? kv_bytes / stride : 0, stride, position * row};
    return r;
}

uint64_t forward_state_save_bytes(const ForwardState *s) {
    KvRows r = kv_rows(s, s->position);
    return s->recurrent_bytes + r.runs * r.bytes;
}

void forward_state_save(const ForwardState *s, void *bytes) {
    KvRows r = kv_rows(s, s->position);
    uint8_t *to = bytes;
    memcpy(to, s->pages, s->recurrent_bytes);
    to += s->recurrent_bytes;
    for (uint64_t i = 0; i < r.runs; i++) memcpy(to + i * r.bytes, s->kv + i * r.stride, r.bytes);
}

void forward_state_restore(ForwardState *s, const void *bytes, uint32_t position) {
    KvRows r = kv_rows(s, position);
    const uint8_t *from = bytes;
    memcpy(s->pages, from, s->recurrent_bytes);
    from += s->recurrent_bytes;
    for (uint64_t i = 0; i < r.runs; i++) memcpy(s->kv + i * r.stride, from + i * r.bytes, r.bytes);
    s->position = position;
    s->broken = false;
}
