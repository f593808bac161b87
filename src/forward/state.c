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
    s->pages_bytes = sizes.state + sizes.kv;
    s->pages = os_pages_new(s->pages_bytes, err);
    if (!s->pages) {
        mem_free(s);
        return NULL;
    }
    uint64_t linear = 0;
    for (uint32_t l = 0; l < f->s->n_layers; l++) linear += f->c.model->layers[l].linear;
    uint64_t delta = linear * forward_delta_floats(f->s), conv = linear * forward_conv_state_floats(f->s);
    s->recurrent_bytes = (delta + conv) * sizeof(float);
    s->delta = s->pages;
    s->conv = s->delta + delta;
    if (f->c.mtp) {
        s->marked_delta = s->conv + conv;
        s->marked_conv = s->marked_delta + delta;
        s->mtp_rows = s->marked_conv + conv;
    }
    s->kv = (uint8_t *)s->pages + sizes.state;
    return s;
}

void forward_state_free(ForwardState *s) {
    if (!s) return;
    os_pages_free(s->pages, s->pages_bytes);
    mem_free(s);
}

void forward_state_clear(ForwardState *s) {
    memset(s->delta, 0, s->recurrent_bytes); /* keys and values beyond the position are never read */
    s->position = s->mtp_open = s->mtp_count = 0;
    s->broken = false;
}

uint32_t forward_state_position(const ForwardState *s) { return s->position; }

void forward_state_break(ForwardState *s) { s->broken = true; }

bool forward_state_broken(const ForwardState *s) { return s->broken; }

void forward_state_mark(ForwardState *s, uint32_t tokens) { s->mark = tokens; }

static void swap(float **a, float **b) {
    float *was = *a;
    *a = *b;
    *b = was;
}

/* The two states change places: what is taken back is never needed again. Keys and values beyond the position are overwritten. */
void forward_state_back(ForwardState *s) {
    uint32_t taken = s->position - s->marked_position;
    swap(&s->delta, &s->marked_delta);
    swap(&s->conv, &s->marked_conv);
    s->position = s->marked_position;
    s->mtp_open -= taken < s->mtp_open ? taken : s->mtp_open;
}

/* What the draft layer's open pairs need beside keys and values. */
typedef struct SavedMtp {
    uint32_t open, count;
} SavedMtp;

static uint64_t mtp_bytes(const ForwardState *s) {
    return s->mtp_rows ? sizeof(SavedMtp) + FORWARD_MTP_OPEN * (uint64_t)s->f->s->hidden * sizeof(float) : 0;
}

/* Keys and values lie [full layers][2][kv_heads][blocks]: each head's blocks up to the position are copied. */
typedef struct KvRows {
    uint64_t runs, stride, bytes; /* runs of `bytes` bytes, `stride` apart */
} KvRows;

static KvRows kv_rows(const ForwardState *s, uint32_t position) {
    const ForwardConfig *c = &s->f->c;
    uint64_t kv_bytes = s->pages_bytes - (uint64_t)(s->kv - (uint8_t *)s->pages);
    uint64_t block = kernels_kv_bytes(c->kv_type, c->model->shape.head_dim), stride = forward_kv_blocks(c) * block;
    uint64_t blocks = (position + (uint64_t)KERNELS_KEY_BLOCK - 1) / KERNELS_KEY_BLOCK;
    KvRows r = {stride ? kv_bytes / stride : 0, stride, blocks * block};
    return r;
}

uint64_t forward_state_save_bytes(const ForwardState *s) {
    KvRows r = kv_rows(s, s->position);
    return s->recurrent_bytes + mtp_bytes(s) + r.runs * r.bytes;
}

void forward_state_save(const ForwardState *s, void *bytes) {
    KvRows r = kv_rows(s, s->position);
    uint8_t *to = bytes;
    memcpy(to, s->delta, s->recurrent_bytes);
    to += s->recurrent_bytes;
    if (s->mtp_rows) {
        SavedMtp saved = {s->mtp_open, s->mtp_count};
        memcpy(to, &saved, sizeof saved);
        memcpy(to + sizeof saved, s->mtp_rows, mtp_bytes(s) - sizeof saved);
        to += mtp_bytes(s);
    }
    for (uint64_t i = 0; i < r.runs; i++) memcpy(to + i * r.bytes, s->kv + i * r.stride, r.bytes);
}

void forward_state_restore(ForwardState *s, const void *bytes, uint32_t position) {
    KvRows r = kv_rows(s, position);
    const uint8_t *from = bytes;
    memcpy(s->delta, from, s->recurrent_bytes);
    from += s->recurrent_bytes;
    if (s->mtp_rows) {
        SavedMtp saved;
        memcpy(&saved, from, sizeof saved);
        memcpy(s->mtp_rows, from + sizeof saved, mtp_bytes(s) - sizeof saved);
        s->mtp_open = saved.open;
        s->mtp_count = saved.count;
        from += mtp_bytes(s);
    }
    for (uint64_t i = 0; i < r.runs; i++) memcpy(s->kv + i * r.stride, from + i * r.bytes, r.bytes);
    s->position = position;
    s->broken = false;
}
